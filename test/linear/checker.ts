// Whether a history of one queue is linearizable: whether there is one order of all operations, each
// at a moment between its begin and its end, in which a FIFO lease queue gives exactly these
// replies. The search is that of Wing and Gong with the refinements of Lowe: the begins and ends of
// operations stand in one list; what ends first is done first, and others are done before it only
// if it is not possible yet (just in time); configurations that were seen are not tried again.
// Beside the operations there are steps that nobody asked for: time ends a lease, a lease whose
// reply was lost takes items. Queues are independent, so each is checked by itself.

import type { History, Operation } from "./history.ts";
import { Model } from "./model.ts";
import { makePlan, type Plan, RULES, type Rules, type Stay, type Step } from "./plan.ts";

export interface Figures {
  /** Configurations that were looked at. */
  readonly states: number;
  /** Leases that time has ended, in the order that was found. */
  readonly expired: number;
}

export type Verdict =
  | ({ readonly kind: "right" } & Figures)
  | ({
      readonly kind: "wrong";
      readonly text: string;
      /** Those that no order has a place for. */
      readonly operations: readonly Operation[];
    } & Figures)
  /** The search was given up. */
  | ({ readonly kind: "undecided" } & Figures);

export interface CheckOptions {
  readonly rules?: Rules;
  /** Configurations after which the search is given up. */
  readonly statesMax?: number;
}

/** Checks the history of one queue. */
export function check(history: History, options: CheckOptions = {}): Verdict {
  const plan = makePlan(history, options.rules ?? RULES);
  if (!("steps" in plan)) return { kind: "wrong", ...plan, states: 0, expired: 0 };
  return new Search(plan, options).run();
}

// Begin of step i is entry 2i, its end entry 2i+1. The list is circular, around an entry of its own.
class Entries {
  readonly head: number;
  readonly times: Float64Array;
  /** The place of an entry in the list as it was. */
  readonly places: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  constructor(steps: readonly Step[]) {
    this.head = 2 * steps.length;
    this.times = new Float64Array(this.head);
    const order: number[] = [];
    steps.forEach(({ start, end }, i) => {
      this.times[2 * i] = start;
      this.times[2 * i + 1] = end;
      order.push(2 * i);
      if (Number.isFinite(end)) order.push(2 * i + 1);
    });
    order.sort((a, b) => this.times[a]! - this.times[b]! || (a & 1) - (b & 1));
    this.places = new Int32Array(this.head + 1);
    this.#next = new Int32Array(this.head + 1);
    this.#previous = new Int32Array(this.head + 1);
    let previous = this.head;
    order.forEach((entry, place) => {
      this.places[entry] = place;
      this.#join(previous, entry);
      previous = entry;
    });
    this.#join(previous, this.head);
  }

  #join(entry: number, next: number): void {
    this.#next[entry] = next;
    this.#previous[next] = entry;
  }

  after(entry: number): number {
    return this.#next[entry]!;
  }

  remove(step: number): void {
    for (const entry of this.#entriesOf(step))
      this.#join(this.#previous[entry]!, this.#next[entry]!);
  }

  /** Takes back the last `remove` that was not taken back yet. */
  restore(step: number): void {
    for (const entry of this.#entriesOf(step).reverse()) {
      this.#next[this.#previous[entry]!] = entry;
      this.#previous[this.#next[entry]!] = entry;
    }
  }

  #entriesOf(step: number): number[] {
    return Number.isFinite(this.times[2 * step + 1]) ? [2 * step, 2 * step + 1] : [2 * step];
  }
}

// What may be done next: a step, by its number, or something that nobody asked for.
type Choice =
  | number
  | { readonly kind: "come back" | "vanish" | "lapse"; readonly stay: Stay }
  | { readonly kind: "take unseen" };

interface Frame {
  readonly choices: readonly Choice[];
  tried: number;
  /** How the model and the list of done steps were. */
  readonly mark: number;
  readonly done: number;
}

class Search {
  readonly #plan: Plan;
  readonly #model: Model;
  readonly #entries: Entries;
  readonly #statesMax: number;
  /** Steps that were done, in order. */
  readonly #done: number[] = [];
  readonly #frames: Frame[] = [];
  readonly #seen = new Set<string>();
  // The step that the search has come to, at its furthest.
  #furthest = -1;

  constructor(plan: Plan, { statesMax = 2_000_000 }: CheckOptions) {
    this.#plan = plan;
    this.#model = new Model(plan);
    this.#entries = new Entries(plan.steps);
    this.#statesMax = statesMax;
  }

  run(): Verdict {
    this.#settle();
    if (this.#firstEnd === this.#entries.head) return { kind: "right", ...this.#figures };
    this.#push();
    for (let frame = this.#frames.at(-1); frame !== undefined; frame = this.#frames.at(-1)) {
      this.#backTo(frame);
      const choice = frame.choices[frame.tried++];
      if (choice === undefined) {
        this.#frames.pop();
        continue;
      }
      if (!this.#do(choice)) continue;
      this.#settle();
      if (this.#firstEnd === this.#entries.head) return { kind: "right", ...this.#figures };
      if (this.#seen.size >= this.#statesMax) return { kind: "undecided", ...this.#figures };
      if (this.#isNew()) this.#push();
    }
    const { operations } = this.#plan.steps[this.#furthest]!;
    return { kind: "wrong", text: "no order explains this", operations, ...this.#figures };
  }

  get #figures(): Figures {
    let expired = 0;
    for (const { choices, tried } of this.#frames) {
      const choice = choices[tried - 1];
      if (typeof choice === "object" && choice.kind === "come back") expired++;
    }
    return { states: this.#seen.size, expired };
  }

  // The end that comes first of all that are left: the step that must be done by then.
  get #firstEnd(): number {
    let entry = this.#entries.after(this.#entries.head);
    while ((entry & 1) === 0 && entry !== this.#entries.head) entry = this.#entries.after(entry);
    return entry;
  }

  // Does all that changes nothing as soon as it is right: later is never better.
  #settle(): void {
    const { head } = this.#entries;
    let entry = this.#entries.after(head);
    while ((entry & 1) === 0 && entry !== head) {
      const step = entry >> 1;
      const next = this.#entries.after(entry);
      if (changesNothing(this.#plan.steps[step]!) && this.#do(step)) {
        // Where the first end was, there may be more now.
        entry = this.#entries.after(head);
      } else {
        entry = next;
      }
    }
  }

  #push(): void {
    const end = this.#firstEnd;
    const place = this.#entries.places[end]!;
    if (this.#furthest === -1 || place > this.#entries.places[2 * this.#furthest + 1]!) {
      this.#furthest = end >> 1;
    }
    const { mark } = this.#model;
    this.#frames.push({ choices: this.#choices(end), tried: 0, mark, done: this.#done.length });
  }

  // First what costs nothing if it is wrong, then what must be done by now, then what must be appended
  // next, then the others.
  #choices(end: number): readonly Choice[] {
    const due = end >> 1;
    const now = this.#entries.times[end]!;
    const steps: number[] = [];
    const choices: Choice[] = [];
    const { head } = this.#entries;
    for (let e = this.#entries.after(head); e !== end; e = this.#entries.after(e)) {
      const step = this.#plan.steps[e >> 1]!;
      if (!changesNothing(step)) steps.push(e >> 1);
      for (const stay of endedIn(step)) {
        if (this.#mayVanish(stay, now)) choices.push({ kind: "vanish", stay });
      }
    }
    if (steps.includes(due)) choices.push(due);
    const next = this.#model.nextRanked;
    const origin = next && this.#model.origin(next);
    if (origin !== undefined && this.#mayEnd(origin.from, now, origin.unseen)) {
      choices.push({ kind: "come back", stay: next! });
    }
    for (const stay of this.#model.dying) {
      // Until when a lease lasts that nobody sees is not known.
      const isUnseen = !this.#model.isLeased(stay);
      if (isUnseen || this.#mayEnd(stay, now, 0)) choices.push({ kind: "lapse", stay });
    }
    for (const step of steps) if (step !== due) choices.push(step);
    choices.push({ kind: "take unseen" });
    return choices;
  }

  // Time may end a lease once its deadline has come before the first end that is left. Leases that
  // nobody saw took their time as well.
  #mayEnd(stay: Stay, now: number, unseen: number): boolean {
    const { leaseTimeout, tolerance } = this.#plan;
    const deadline = this.#model.deadlineOf(stay);
    return !stay.endSeen && deadline + unseen * leaseTimeout - tolerance <= now;
  }

  // An item that is refused as absent, or whose lease is said to have ended, may be so because time has ended its lease, although nobody
  // saw what became of it right then. Whether it did matters to those alone who name its id.
  #mayVanish(stay: Stay, now: number): boolean {
    if (!this.#model.isLeased(stay) || this.#model.dying.includes(stay)) return false;
    const { closed, cancelled } = this.#plan;
    const ends = !closed || cancelled.has(stay.payload);
    const unseen = stay.next === undefined ? ends : stay.next.rank < 0;
    return unseen && this.#mayEnd(stay, now, 0);
  }

  #do(choice: Choice): boolean {
    const mark = this.#model.mark;
    const done = this.#tryChoice(choice);
    if (!done) this.#model.backTo(mark);
    else if (typeof choice === "number") {
      this.#entries.remove(choice);
      this.#done.push(choice);
    }
    return done;
  }

  #tryChoice(choice: Choice): boolean {
    const end = this.#firstEnd;
    const now = end === this.#entries.head ? Infinity : this.#entries.times[end]!;
    const taken = this.#plan.unseen.until(now);
    if (typeof choice === "number") return this.#model.apply(this.#plan.steps[choice]!, taken);
    switch (choice.kind) {
      case "come back":
        return this.#model.comeBack(choice.stay, taken);
      case "vanish":
        return this.#model.vanish(choice.stay);
      case "lapse":
        return this.#model.lapse(choice.stay);
      case "take unseen":
        return this.#model.takeUnseen(taken);
    }
  }

  #backTo({ mark, done }: Frame): void {
    this.#model.backTo(mark);
    while (this.#done.length > done) this.#entries.restore(this.#done.pop()!);
  }

  // Nothing after the first end can have been done, so what is left before it tells what is done.
  #isNew(): boolean {
    const end = this.#firstEnd;
    let key = `${end}:${this.#model.signature}`;
    const { head } = this.#entries;
    for (let e = this.#entries.after(head); e !== end; e = this.#entries.after(e)) key += ` ${e}`;
    const { size } = this.#seen;
    return this.#seen.add(key).size > size;
  }
}

function changesNothing(step: Step): boolean {
  return (
    step.kind === "nothing" ||
    step.kind === "list" ||
    step.kind === "taken" ||
    step.kind === "get" ||
    (step.kind === "cancel" && step.outcome === "absent") ||
    (step.kind === "end" && step.reply !== "ok") ||
    (step.kind === "extend" && step.refusesAll)
  );
}

// The stays whose leases must have ended for what a step was answered.
function endedIn(step: Step): readonly Stay[] {
  if (step.kind === "extend") return step.ended;
  // What was leased waits now, if it can be taken out, or is seen there.
  const waits =
    (step.kind === "cancel" && step.outcome === "cancelled") ||
    (step.kind === "get" && step.state === "waiting");
  if (waits) return chain(step.stay);
  return step.kind === "end" && step.absent !== undefined ? [step.absent] : [];
}

function chain(first: Stay): readonly Stay[] {
  const stays: Stay[] = [];
  for (let stay: Stay | undefined = first; stay !== undefined; stay = stay.next) stays.push(stay);
  return stays;
}
