// The queue as it must be, for one order of things: a tail to which stays are appended, a head from
// which they are taken, and what is leased. Every change can be taken back, so that the search can
// try another order. It knows no time: when a step may happen is the business of the search.

import { type Extend, REPLIES } from "./history.ts";
import type { Plan, Stay, Step } from "./plan.ts";

// What a stay is at the moment.
const ABSENT = 0;
const WAITING = 1;
// It was cancelled while it waited: nobody has leased it.
const TAKEN_OUT = 2;
const LEASED = 3;
const OVER = 4;
// Its lease has ended by time, and where the item is now nobody sees.
const GONE = 5;
// It was cancelled, and its lease has ended by time.
const LAPSED = 6;
type State =
  | typeof ABSENT
  | typeof WAITING
  | typeof TAKEN_OUT
  | typeof LEASED
  | typeof OVER
  | typeof GONE
  | typeof LAPSED;

export class Model {
  readonly #plan: Plan;
  readonly #states: Uint8Array;
  /** All stays in the order in which they were appended; those before #head have been taken. */
  readonly #appended: Stay[] = [];
  #head = 0;
  // How many of the known ids have been appended.
  #ranks = 0;
  // How many wait, and how many are leased or gone.
  #waiting = 0;
  #leased = 0;
  // How many items of each unique key are there.
  readonly #taken: Int32Array;
  // What was cancelled while it was leased.
  readonly #marked: Stay[] = [];
  // How many stays were taken by leases that had no reply.
  #takenUnseen = 0;
  // Appended stays whose ids nobody saw.
  readonly #unnamed: Stay[] = [];
  // Stays that are, or were, gone, lapsed or taken out.
  readonly #gone: Stay[] = [];
  // When leases may end by time, and those that were extended.
  readonly #deadlines: Float64Array;
  readonly #extended: Stay[] = [];
  // What was done, to be undone from the end: a stay, and its state before or its deadline before.
  readonly #log: (
    | { readonly stay: Stay; readonly before: State }
    | { readonly stay: Stay; readonly deadline: number }
    | { readonly head: number }
    | { readonly marked: true }
  )[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#states = new Uint8Array(plan.stays.length);
    this.#taken = new Int32Array(1 + Math.max(-1, ...plan.stays.map(({ key }) => key)));
    this.#deadlines = Float64Array.from(plan.stays, ({ deadline }) => deadline ?? 0);
  }

  /** The present, to come back to with `backTo`. */
  get mark(): number {
    return this.#log.length;
  }

  backTo(mark: number): void {
    while (this.#log.length > mark) {
      const entry = this.#log.pop()!;
      if ("head" in entry) {
        this.#head = entry.head;
        continue;
      }
      if ("marked" in entry) {
        this.#marked.pop();
        continue;
      }
      const { stay } = entry;
      if ("deadline" in entry) {
        this.#deadlines[stay.index] = entry.deadline;
        this.#extended.pop();
        continue;
      }
      const { before } = entry;
      const state = this.#state(stay);
      if (state === WAITING) {
        this.#appended.pop();
        if (stay.rank >= 0) this.#ranks--;
        else this.#unnamed.pop();
      } else if (state === LEASED) {
        this.#head--;
      } else if (state === GONE || state === LAPSED || state === TAKEN_OUT) {
        this.#gone.pop();
      }
      this.#count(stay, state, before);
      if (!stay.leaseSeen && before < LEASED && state >= LEASED) this.#takenUnseen--;
      this.#states[stay.index] = before;
    }
  }

  /** Whatever has to do with the future of the model, beside the steps that were taken. */
  get signature(): string {
    let text = `${this.#ranks}.${this.#head}`;
    for (const stay of this.#unnamed) {
      const state = this.#state(stay);
      if (state === LEASED) text += `,${stay.index}`;
      else if (state === WAITING)
        text += `,${stay.index}@${this.#appended.indexOf(stay, this.#head)}`;
    }
    for (const stay of this.#extended) {
      if (this.isLeased(stay)) text += `,${stay.index}until${this.#deadlines[stay.index]}`;
    }
    for (const stay of this.#gone) {
      const state = this.#state(stay);
      if (state === GONE) text += `,${stay.index}g`;
      else if (state === LAPSED) text += `,${stay.index}l`;
      else if (state === TAKEN_OUT) text += `,${stay.index}o`;
    }
    for (const stay of this.#marked) text += `,${stay.index}m${this.#state(stay)}`;
    return text;
  }

  /** What was cancelled, and is still leased: it is over when its lease is. */
  get dying(): readonly Stay[] {
    return this.#marked.filter((stay) => holds(this.#state(stay)) === 1);
  }

  isLeased(stay: Stay): boolean {
    return this.#state(stay) === LEASED;
  }

  /** The earliest at which time may end the lease of a stay. */
  deadlineOf({ index, unsureDeadline }: Stay): number {
    return Math.min(this.#deadlines[index]!, unsureDeadline);
  }

  /**
   * The stay from which an item can come back by time to begin a later one, and how many stays
   * there have been between the two that nobody saw.
   */
  origin(stay: Stay): { readonly from: Stay; readonly unseen: number } | undefined {
    let unseen = 0;
    let from = stay.previous;
    while (from !== undefined && from.rank < 0 && this.#state(from) === ABSENT) {
      unseen++;
      from = from.previous;
    }
    if (from === undefined || holds(this.#state(from)) === 0) return undefined;
    if (this.#marked.includes(from)) return undefined;
    return { from, unseen };
  }

  /** The stay that holds the next of the known ids. */
  get nextRanked(): Stay | undefined {
    return this.#plan.ranked[this.#ranks];
  }

  // --- what changes it; answers false, with the change half done, if it cannot be ---

  /** Does what a step does, if it can be; leases without a reply may have taken `taken` items in all. */
  apply(step: Step, taken: number): boolean {
    switch (step.kind) {
      case "produce":
        if (step.key >= 0 && this.#taken[step.key]! > 0) return false;
        return step.stays.every((stay) => this.#append(stay));
      case "taken":
        return step.stay.key === step.key && this.#live(step.stay) !== undefined;
      case "cancel":
        return this.#cancel(step);
      case "get":
        return this.#is(step);
      case "pass":
        return this.#pass(step, taken);
      case "end":
        return this.#end(step);
      case "extend":
        return step.items.every((item) => this.#extend(item));
      case "nothing":
        return this.#waiting === 0;
      case "list":
        return this.#shows(step.items);
    }
  }

  /**
   * Time has ended the lease of an item, which begins its next stay that somebody sees: at the tail.
   * In between it may have been leased by clients that had no reply; where it stood then is not checked.
   */
  comeBack(stay: Stay, taken: number): boolean {
    const { from, unseen } = this.origin(stay)!;
    if (this.#takenUnseen + unseen > taken) return false;
    this.#set(from, OVER);
    for (let each = from.next!; each !== stay; each = each.next!) this.#set(each, OVER);
    return this.#append(stay);
  }

  /** Time has ended the lease of an item, and nobody has seen what came after. */
  vanish(stay: Stay): boolean {
    this.#set(stay, GONE);
    this.#gone.push(stay);
    return true;
  }

  /** Time has ended the lease of what was cancelled: it is there no more. */
  lapse(stay: Stay): boolean {
    this.#set(stay, LAPSED);
    this.#gone.push(stay);
    return true;
  }

  /** A lease that had no reply takes what stands at the head. */
  takeUnseen(taken: number): boolean {
    const stay = this.#front;
    if (stay === undefined || stay.leaseSeen || this.#takenUnseen >= taken) return false;
    this.#take(stay);
    return true;
  }

  #append(stay: Stay): boolean {
    if (this.#state(stay) !== ABSENT) return false;
    if (stay.rank >= 0 && stay.rank !== this.#ranks) return false;
    this.#set(stay, WAITING);
    this.#appended.push(stay);
    if (stay.rank >= 0) this.#ranks++;
    else this.#unnamed.push(stay);
    return true;
  }

  // What stands at the head, behind what was cancelled there.
  get #front(): Stay | undefined {
    let stay = this.#appended[this.#head];
    while (stay !== undefined && this.#state(stay) !== WAITING) {
      this.#log.push({ head: this.#head++ });
      stay = this.#appended[this.#head];
    }
    return stay;
  }

  // The stay in which an item is there, given its first.
  #live(first: Stay): Stay | undefined {
    let stay: Stay | undefined = first;
    while (stay !== undefined && !isThere(this.#state(stay))) stay = stay.next;
    return stay;
  }

  // One that waits is there no more; one that is leased, by a lease that nobody sees perhaps, ends with that.
  #cancel({ stay: first, outcome }: Step & { kind: "cancel" }): boolean {
    const stay = this.#live(first);
    if (stay === undefined) return outcome === "absent" || outcome === undefined;
    const state = this.#state(stay);
    const mayBeHeld = state !== WAITING && outcome !== "cancelled";
    if (outcome === "absent" || (state === WAITING && outcome === "marked")) return false;
    if (state === LEASED && !mayBeHeld) return false;
    if (mayBeHeld) {
      if (this.#marked.includes(stay)) return true;
      this.#marked.push(stay);
      this.#log.push({ marked: true });
      return true;
    }
    this.#set(stay, TAKEN_OUT);
    this.#gone.push(stay);
    return true;
  }

  #is({ stay: first, state }: Step & { kind: "get" }): boolean {
    const stay = this.#live(first);
    if (stay === undefined) return state === "absent";
    const actual = this.#state(stay);
    if (actual === GONE) return state !== "absent";
    if (actual === WAITING) return state === "waiting";
    return state === (this.#marked.includes(stay) ? "marked" : "leased");
  }

  #take(stay: Stay): void {
    this.#set(stay, LEASED);
    this.#head++;
  }

  #pass({ stays, hungry, dealt }: Step & { kind: "pass" }, taken: number): boolean {
    const before = this.#takenUnseen;
    for (const stay of stays) {
      while (this.#front !== stay) if (!this.takeUnseen(taken)) return false;
      this.#take(stay);
    }
    while (hungry && this.#waiting > 0) {
      if (!this.takeUnseen(taken)) return false;
    }
    return dealt || this.#takenUnseen > before;
  }

  #end({ ids, back, verb, reply }: Step & { kind: "end" }): boolean {
    if (this.#answer(ids, verb) !== reply) return false;
    if (reply !== REPLIES.ok) return true;
    const stays = ids.map((id) => this.#plan.byId.get(id)!);
    for (const stay of stays) this.#set(stay, OVER);
    return stays.every((stay, i) => {
      if (!back[i] || this.#marked.includes(stay)) return true;
      return stay.next !== undefined && this.#append(stay.next);
    });
  }

  // Each by itself. What was ever leased has a number before the head.
  #extend({ id, outcome, deadline }: Extend["items"][number]): boolean {
    const stay = this.#plan.byId.get(id);
    const state = stay === undefined ? ABSENT : this.#state(stay);
    if (stay === undefined || state === ABSENT) return outcome === "item_not_found";
    if (state === WAITING) return outcome === "not_leased";
    if (state !== LEASED) return outcome === "lease_ended";
    if (this.#marked.includes(stay)) return outcome === "item_cancelled";
    if (outcome !== "ok") return false;
    this.#log.push({ stay, deadline: this.#deadlines[stay.index]! });
    this.#deadlines[stay.index] = deadline;
    this.#extended.push(stay);
    return true;
  }

  // What a complete or a retry must be answered now.
  #answer(ids: readonly string[], verb: "completed" | "retried"): string {
    const used = new Set<string>();
    for (const id of ids) {
      const stay = this.#plan.byId.get(id);
      const state = stay === undefined ? ABSENT : this.#state(stay);
      if (state === WAITING) return REPLIES.notLeased(id, verb);
      if (state !== LEASED || used.has(id)) return REPLIES.absent(id);
      used.add(id);
    }
    return REPLIES.ok;
  }

  #shows(items: readonly { stay: Stay; leased: boolean }[]): boolean {
    if (items.length !== this.#waiting + this.#leased) return false;
    return items.every(({ stay, leased }) => this.#state(stay) === (leased ? LEASED : WAITING));
  }

  #state(stay: Stay): State {
    return this.#states[stay.index] as State;
  }

  #count({ key }: Stay, before: State, after: State): void {
    this.#leased += holds(after) - holds(before);
    this.#waiting += Number(after === WAITING) - Number(before === WAITING);
    if (key >= 0) this.#taken[key]! += Number(isThere(after)) - Number(isThere(before));
  }

  #set(stay: Stay, state: State): void {
    const before = this.#state(stay);
    this.#log.push({ stay, before });
    this.#states[stay.index] = state;
    this.#count(stay, before, state);
    if (!stay.leaseSeen && before < LEASED && state >= LEASED) this.#takenUnseen++;
  }
}

// Whether an item is there, wherever that is.
function isThere(state: State): boolean {
  return state === WAITING || state === LEASED || state === GONE;
}

// Whether an item is with a client, for all that is known.
function holds(state: State): 0 | 1 {
  return state === LEASED || state === GONE ? 1 : 0;
}
