// Histories that are right by construction: random clients against a tiny lease queue, in virtual
// time, each operation at a random moment between its begin and its end. It shares no rule with the
// checker, so that the two can be held against each other.

import { Random } from "../support/random.ts";
import {
  type Call,
  type Cancel,
  type Extend,
  type Get,
  type History,
  type LeasedItem,
  type ListedItem,
  type Operation,
  type Produce,
  REPLIES,
} from "./history.ts";
import { RULES } from "./plan.ts";

// Leases wait as long as it takes to prove that the queue is empty.
const WAIT = RULES.provenWait;

/** What an item keeps, wherever it is. */
interface Thing {
  readonly payload: string;
  /** Its id when it was produced, which is that of the item. */
  readonly first: string;
  readonly key: string;
  /** Set when it was cancelled while it was leased. */
  isMarked: boolean;
}

interface Waits {
  readonly thing: Thing;
  readonly payload: string;
  readonly id: string;
  readonly attempts: number;
}

interface Held extends Waits {
  readonly deadline: number;
}

// An operation under way: what was asked, and what has come of it.
interface Pending {
  asked: Operation;
  /** Whether its client goes away before the reply. */
  readonly cut: boolean;
  /** Set when its moment has come. */
  reply: string | undefined;
  leased: readonly LeasedItem[];
  listed: readonly ListedItem[];
  extended: Extend["items"];
}

const NOTHING_YET = { reply: undefined, leased: [], listed: [], extended: [] };

export interface ReferenceOptions {
  readonly clients: number;
  readonly operations: number;
  /** How often a client goes away before its reply. */
  readonly cuts: number;
  readonly leaseTimeout: number;
}

/** A right history, which ends when everything has been completed. */
export function makeHistory(seed: number, options: ReferenceOptions): History {
  return new Reference(new Random(seed), options).run();
}

class Reference {
  readonly #random: Random;
  readonly #options: ReferenceOptions;
  #now = 1_000;
  #ids = 0;
  #payloads = 0;
  readonly #waiting: Waits[] = [];
  readonly #leased = new Map<string, Held>();
  /** Ids that clients know, and of those with a key those of the items. */
  readonly #known: string[] = [];
  readonly #named: string[] = [];
  readonly #pending: Pending[] = [];
  readonly #ended: Operation[] = [];

  constructor(random: Random, options: ReferenceOptions) {
    this.#random = random;
    this.#options = options;
  }

  run(): History {
    for (let begun = 0; begun < this.#options.operations || this.#pending.length > 0; ) {
      this.#now += 1 + this.#random.below(400);
      const idle = this.#options.clients - this.#pending.filter((each) => !each.cut).length;
      const way = this.#random.below(4);
      if (way === 0 && begun < this.#options.operations && idle > 0) {
        this.#begin(`c${begun++}`);
      } else if (way === 1) this.#happen();
      else if (way === 2) this.#finish();
      else this.#expireOne();
    }
    this.#drain();
    const { leaseTimeout } = this.#options;
    return { queue: "reference", leaseTimeout, operations: this.#ended };
  }

  #begin(client: string): void {
    const asked = this.#ask({ client, start: this.#now, end: Infinity, reply: undefined });
    const cut = this.#random.chance(this.#options.cuts);
    this.#pending.push({ asked, cut, ...NOTHING_YET });
  }

  #ask(call: Call): Operation {
    const random = this.#random;
    const ids = Array.from(
      { length: 1 + random.below(3) },
      () => random.pickIfAny(this.#known) ?? id(0),
    );
    const named = random.pickIfAny(this.#named) ?? id(0);
    switch (random.below(12)) {
      case 9: {
        const key = `k${random.below(2)}`;
        return { kind: "produce", ...call, payloads: [`p${++this.#payloads}`], key, id: "" };
      }
      case 10:
        return { kind: "cancel", ...call, id: named, outcome: undefined };
      case 11:
        return { kind: "get", ...call, id: named, state: undefined };
      case 8: {
        const items = ids.map((each) => {
          const duration = 1 + random.below(2 * this.#options.leaseTimeout);
          return { id: each, duration, outcome: undefined, deadline: 0 };
        });
        return { kind: "extend", ...call, items };
      }
      case 0:
      case 1: {
        const payloads = Array.from({ length: 1 + random.below(4) }, () => `p${++this.#payloads}`);
        return { kind: "produce", ...call, payloads, key: "", id: "" };
      }
      case 2:
      case 3:
        return { kind: "lease", ...call, batch: 1 + random.below(4), wait: WAIT, items: [] };
      case 4:
      case 5:
        return { kind: "complete", ...call, ids };
      case 6: {
        const items = ids.map((each) => ({ id: each, dead: random.chance(0.2) }));
        return { kind: "retry", ...call, items };
      }
      default:
        return { kind: "list", ...call, items: [] };
    }
  }

  // The moment of one operation, or of a pass of several leases.
  #happen(): void {
    const waits = this.#pending.filter((each) => each.reply === undefined);
    const pending = this.#random.pickIfAny(waits);
    if (pending === undefined) return;
    const { asked } = pending;
    switch (asked.kind) {
      case "produce":
        pending.asked = asked.key === "" ? this.#produce(asked) : this.#claim(asked);
        pending.reply = REPLIES.ok;
        break;
      case "cancel":
        pending.asked = { ...asked, outcome: this.#cancel(asked.id) };
        pending.reply = REPLIES.ok;
        break;
      case "get":
        pending.asked = { ...asked, state: this.#stateOf(asked.id) };
        pending.reply = REPLIES.ok;
        break;
      case "lease": {
        const others = waits.filter((each) => each.asked.kind === "lease" && each !== pending);
        this.#deal([pending, ...others.filter(() => this.#random.chance(0.6))]);
        break;
      }
      case "complete": {
        const items = asked.ids.map((each) => ({ id: each, dead: true }));
        pending.reply = this.#endAll(items, "completed");
        break;
      }
      case "retry":
        pending.reply = this.#endAll(asked.items, "retried");
        break;
      case "extend":
        pending.reply = REPLIES.ok;
        pending.extended = asked.items.map((each) => this.#extend(each));
        break;
      case "list":
        pending.reply = REPLIES.ok;
        pending.listed = this.#shown();
    }
  }

  #produce(asked: Produce): Produce {
    for (const payload of asked.payloads) this.#appendNew(payload, "");
    return asked;
  }

  #claim(asked: Produce): Operation {
    const { key, payloads, ...call } = asked;
    const all = [...this.#waiting, ...this.#leased.values()];
    const holder = all.find(({ thing }) => thing.key === key);
    if (holder !== undefined) return { ...call, kind: "taken", key, id: holder.thing.first };
    return { ...asked, id: this.#appendNew(payloads[0]!, key) };
  }

  #cancel(first: string): Cancel["outcome"] {
    const place = this.#waiting.findIndex(({ thing }) => thing.first === first);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      return "cancelled";
    }
    const held = [...this.#leased.values()].find(({ thing }) => thing.first === first);
    if (held === undefined) return "absent";
    held.thing.isMarked = true;
    return "marked";
  }

  #stateOf(first: string): Get["state"] {
    if (this.#waiting.some(({ thing }) => thing.first === first)) return "waiting";
    const held = [...this.#leased.values()].find(({ thing }) => thing.first === first);
    if (held === undefined) return "absent";
    return held.thing.isMarked ? "marked" : "leased";
  }

  #deal(leases: readonly Pending[]): void {
    if (this.#waiting.length === 0) {
      // A lease may give up while the queue is empty.
      leases[0]!.reply = REPLIES.nothing;
      return;
    }
    const deadline = this.#now + this.#options.leaseTimeout;
    let active = leases;
    while (active.length > 0 && this.#waiting.length > 0) {
      for (const lease of active) {
        const item = this.#waiting.shift();
        if (item === undefined) break;
        const leased = { ...item, attempts: item.attempts + 1, deadline };
        this.#leased.set(item.id, leased);
        const { thing: _, ...shown } = leased;
        lease.leased = [...lease.leased, { ...shown, deadlineText: String(deadline) }];
        lease.reply = REPLIES.ok;
      }
      active = active.filter(
        ({ asked, leased }) => asked.kind === "lease" && leased.length < asked.batch,
      );
    }
  }

  #extend(item: Extend["items"][number]): Extend["items"][number] {
    const held = this.#leased.get(item.id);
    if (held === undefined) {
      const waits = this.#waiting.some(({ id }) => id === item.id);
      const ended = item.id <= id(this.#ids) && item.id !== id(0);
      return { ...item, outcome: waits ? "not_leased" : ended ? "lease_ended" : "item_not_found" };
    }
    if (held.thing.isMarked) return { ...item, outcome: "item_cancelled" };
    const deadline = this.#now + item.duration;
    this.#leased.set(item.id, { ...held, deadline });
    return { ...item, outcome: "ok", deadline };
  }

  #endAll(
    items: readonly { readonly id: string; readonly dead: boolean }[],
    verb: "completed" | "retried",
  ): string {
    const found = new Set<Held>();
    for (const { id } of items) {
      if (this.#waiting.some((each) => each.id === id)) return REPLIES.notLeased(id, verb);
      const held = this.#leased.get(id);
      if (held === undefined || found.has(held)) return REPLIES.absent(id);
      found.add(held);
    }
    for (const { id, dead } of items) {
      const held = this.#leased.get(id)!;
      this.#leased.delete(id);
      if (!dead) this.#append(held);
    }
    return REPLIES.ok;
  }

  #appendNew(payload: string, key: string): string {
    const first = id(++this.#ids);
    const thing = { payload, first, key, isMarked: false };
    this.#waiting.push({ thing, payload, id: first, attempts: 0 });
    return first;
  }

  // What was cancelled is there no more.
  #append({ thing, payload, attempts }: Held): void {
    if (!thing.isMarked) this.#waiting.push({ thing, payload, id: id(++this.#ids), attempts });
  }

  #shown(): ListedItem[] {
    const items = this.#waiting.map(({ payload, id, attempts }) => {
      return { payload, id, attempts, leased: false };
    });
    for (const { payload, id, attempts } of this.#leased.values()) {
      items.push({ payload, id, attempts, leased: true });
    }
    return items.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  // The reply arrives; or never, and then the operation may not even have happened.
  #finish(): void {
    const ready = this.#pending.filter((each) => each.reply !== undefined || each.cut);
    const pending = this.#random.pickIfAny(ready);
    if (pending === undefined) return;
    this.#pending.splice(this.#pending.indexOf(pending), 1);
    const { cut, reply, leased, listed, extended } = pending;
    const asked = cut ? unanswered(pending.asked) : pending.asked;
    if (asked === undefined) return;
    if (cut) {
      this.#ended.push(asked);
      return;
    }
    // Not what is said to have a key: it may be that of a produce whose reply was lost, and nothing tells which.
    if (asked.kind === "produce" && asked.id !== "") {
      this.#named.push(asked.id);
      if (this.#named.length > 6) this.#named.shift();
    }
    this.#ended.push(answered(asked, { end: this.#now, reply, leased, listed, extended }));
    this.#known.push(...[...leased, ...listed].map((item) => item.id));
    if (this.#known.length > 12) this.#known.splice(0, this.#known.length - 12);
  }

  #expireOne(): void {
    const over = [...this.#leased.values()].filter((each) => each.deadline < this.#now);
    const held = this.#random.pickIfAny(over);
    if (held === undefined) return;
    this.#leased.delete(held.id);
    this.#append(held);
  }

  // One client takes and completes what is left, and sees that nothing is.
  #drain(): void {
    this.#now += 3 * this.#options.leaseTimeout;
    while (this.#leased.size > 0) this.#expireOne();
    const call = { client: "drain", end: Infinity, reply: undefined };
    while (this.#waiting.length > 0) {
      const lease = { ...call, start: this.#now++, batch: 5, wait: WAIT, items: [] };
      const asked: Operation = { kind: "lease", ...lease };
      const pending: Pending = { asked, cut: false, ...NOTHING_YET };
      this.#deal([pending]);
      this.#ended.push(answered(asked, { ...pending, end: ++this.#now }));
      const ids = pending.leased.map((item) => item.id);
      this.#now += 5;
      const complete: Operation = { kind: "complete", ...call, start: this.#now, ids };
      for (const id of ids) this.#leased.delete(id);
      this.#ended.push({ ...complete, end: ++this.#now, reply: REPLIES.ok });
    }
    const list: Operation = { kind: "list", ...call, start: ++this.#now, items: [] };
    this.#ended.push({ ...list, end: ++this.#now, reply: REPLIES.ok });
  }
}

// As its client knows it, who had no reply: one whose key was taken has done nothing.
function unanswered(asked: Operation): Operation | undefined {
  if (asked.kind === "taken") return undefined;
  if (asked.kind === "produce") return { ...asked, id: "" };
  if (asked.kind === "cancel") return { ...asked, outcome: undefined };
  if (asked.kind === "get") return { ...asked, state: undefined };
  return asked;
}

function answered(
  asked: Operation,
  {
    end,
    reply,
    leased,
    listed,
    extended,
  }: Omit<Pending, "asked" | "cut"> & { readonly end: number },
): Operation {
  if (asked.kind === "lease") return { ...asked, end, reply, items: leased };
  if (asked.kind === "extend") return { ...asked, end, reply, items: extended };
  if (asked.kind === "list") return { ...asked, end, reply, items: listed };
  return { ...asked, end, reply };
}

function id(number: number): string {
  return String(number).padStart(27, "0");
}
