// From a history to what the search works on. Each item is followed through its stays: a stay begins
// when the item is appended to the tail and ends when its lease does, so the number of leases
// (`attempts`) and the payload name a stay, and each stay has an id of its own. Ids must ascend in
// the order in which stays are appended, which tells the search what must be appended next; whether
// the history bears that out is judged by the search, step by step. What is wrong with a single reply,
// or between two, is found here.

import {
  type Cancel,
  type Complete,
  type Extend,
  type Get,
  type History,
  type Operation,
  REPLIES,
  type Retry,
} from "./history.ts";
import { leaseSteps, type Unseen } from "./passes.ts";
import { findProblem } from "./replies.ts";

/** How exact a check is. */
export interface Rules {
  /** How far the clocks of client and server may be apart, in microseconds. */
  readonly tolerance: number;
  /**
   * How long a lease must have waited in vain, at its end, to prove that the queue was empty for a
   * moment of that time. A server that is held up may need some time to look.
   */
  readonly provenWait: number;
  /** Whether a pass must deal exactly round-robin, and leave nothing while a lease wants more. */
  readonly exactDeal: boolean;
}

export const RULES: Rules = { tolerance: 3_000, provenWait: 200_000, exactDeal: true };

/** One stay of an item in the queue: from its append to the end of its lease. */
export class Stay {
  readonly payload: string;
  /** 1 for the stay that a produce begins. */
  readonly number: number;
  readonly index: number;
  id: string | undefined = undefined;
  /** Its place among all ids that were seen; -1 if its own was not. */
  rank = -1;
  /** Whether a lease reply shows it. */
  leaseSeen = false;
  /** When its lease may end by time, as it was given; undefined if no reply says. */
  deadline: number | undefined = undefined;
  /** The earliest to which extensions may have put that of which nobody knows. */
  unsureDeadline = Number.POSITIVE_INFINITY;
  /** The end of the first operation that shows it. */
  seenBy = Number.POSITIVE_INFINITY;
  /** Whether a reply says that a complete or retry has ended it. */
  endSeen = false;
  /** The number of its unique key; -1 if it has none. */
  key = -1;
  readonly previous: Stay | undefined;
  /** The next stay of the item, if there may be one. */
  next: Stay | undefined = undefined;

  constructor(payload: string, previous: Stay | undefined, index: number) {
    this.payload = payload;
    this.previous = previous;
    if (previous !== undefined) previous.next = this;
    this.key = previous?.key ?? -1;
    this.number = (previous?.number ?? 0) + 1;
    this.index = index;
  }
}

/** What an operation, or several leases of one pass, do at one moment between start and end. */
export type Step = {
  readonly start: number;
  /** Infinite if it need not happen at all. */
  readonly end: number;
  readonly operations: readonly Operation[];
} & (
  | {
      readonly kind: "produce";
      readonly stays: readonly Stay[];
      /** The number of the unique key, which must be free; -1 for none. */
      readonly key: number;
    }
  /** Of these the stay is the first of an item, which is named by its id. */
  | { readonly kind: "taken"; readonly stay: Stay; readonly key: number }
  | { readonly kind: "cancel"; readonly stay: Stay; readonly outcome: Cancel["outcome"] }
  | { readonly kind: "get"; readonly stay: Stay; readonly state: Get["state"] }
  | {
      readonly kind: "pass";
      /** In the order in which they must stand at the head. */
      readonly stays: readonly Stay[];
      /** Whether a lease got less than it wanted, so that nothing may be left. */
      readonly hungry: boolean;
      /** Whether the replies by themselves are a right deal. */
      readonly dealt: boolean;
    }
  | {
      readonly kind: "end";
      readonly verb: "completed" | "retried";
      readonly ids: readonly string[];
      /** What is appended anew: of a retry the items that are not dead. */
      readonly back: readonly boolean[];
      readonly reply: string;
      /** The stay that is refused because it is absent. */
      readonly absent: Stay | undefined;
    }
  | {
      readonly kind: "extend";
      readonly items: Extend["items"];
      /** The stays that are refused because their leases have ended. */
      readonly ended: readonly Stay[];
      readonly refusesAll: boolean;
    }
  | { readonly kind: "nothing" }
  | { readonly kind: "list"; readonly items: readonly { stay: Stay; leased: boolean }[] }
);

export interface Plan {
  readonly steps: readonly Step[];
  readonly stays: readonly Stay[];
  readonly byId: ReadonlyMap<string, Stay>;
  /** The stays whose ids are known, in the order of their ids. */
  readonly ranked: readonly Stay[];
  /** Whether the last thing that was seen is a list: what it does not show is gone for good. */
  readonly closed: boolean;
  /** What somebody has cancelled, or may have: by payload. */
  readonly cancelled: ReadonlySet<string>;
  readonly unseen: Unseen;
  readonly leaseTimeout: number;
  readonly tolerance: number;
}

/** Something that is wrong whatever the order of things. */
export interface Problem {
  readonly text: string;
  readonly operations: readonly Operation[];
}

/** Prepares a history for the search; answers a problem if it is wrong at first sight. */
export function makePlan(history: History, rules: Rules): Plan | Problem {
  const problem = findProblem(history, rules);
  if (problem !== undefined) return problem;
  const stays = new Stays(history);
  const { byId } = stays;
  const steps: Step[] = [];
  for (const operation of history.operations) {
    const step = stepOf(operation, stays, rules);
    if (step !== undefined) steps.push(step);
  }
  const leases = history.operations.filter((each) => each.kind === "lease");
  const { passes, unseen } = leaseSteps(leases, {
    find: (item) => stays.of(item.payload, item.attempts),
    leaseTimeout: history.leaseTimeout,
    rules,
  });
  const { all, ranked, closed, cancelled } = stays;
  const { tolerance } = rules;
  const { leaseTimeout } = history;
  return {
    ...{ steps: [...steps, ...passes], stays: all, byId, ranked, closed, cancelled },
    ...{ unseen, leaseTimeout, tolerance },
  };
}

/** All stays that a history shows or needs. */
class Stays {
  readonly all: Stay[] = [];
  readonly byId = new Map<string, Stay>();
  readonly ranked: readonly Stay[];
  readonly closed: boolean;
  /** Payloads of what somebody has cancelled, or may have. */
  readonly cancelled = new Set<string>();
  readonly #byPayload = new Map<string, Stay[]>();
  readonly #keys = new Map<string, number>();

  constructor({ operations }: History) {
    for (const each of operations) {
      if (each.kind !== "produce") continue;
      for (const payload of each.payloads) this.of(payload, 1).key = this.keyOf(each.key);
    }
    for (const each of operations) this.#note(each);
    this.ranked = [...this.byId.values()].sort((a, b) => (a.id! < b.id! ? -1 : 1));
    this.ranked.forEach((stay, rank) => {
      stay.rank = rank;
    });
    for (const each of operations) this.#noteEnds(each);
    for (const each of operations) {
      if (each.kind === "cancel") this.cancelled.add(this.byId.get(each.id)?.payload ?? "");
    }
    this.closed = isClosed(operations);
  }

  /** The number of a unique key; -1 for none. */
  keyOf(key: string): number {
    if (key === "") return -1;
    const number = this.#keys.get(key) ?? this.#keys.size;
    this.#keys.set(key, number);
    return number;
  }

  /** The first stay of the item with this id, if any reply tells which that is. */
  ofId(id: string): Stay | undefined {
    const stay = this.byId.get(id);
    return stay?.number === 1 ? stay : undefined;
  }

  /** The stay with this number; it and those before it are made if need be. */
  of(payload: string, number: number): Stay {
    let list = this.#byPayload.get(payload);
    if (list === undefined) {
      list = [];
      this.#byPayload.set(payload, list);
    }
    while (list.length < number) {
      const stay = new Stay(payload, list.at(-1), this.all.length);
      list.push(stay);
      this.all.push(stay);
    }
    return list[number - 1]!;
  }

  #note(operation: Operation): void {
    if (operation.kind === "produce") {
      const { payloads, id, end, reply } = operation;
      if (id !== "" && reply === REPLIES.ok) this.#see(payloads[0]!, 1, id, end);
    } else if (operation.kind === "lease") {
      for (const { payload, attempts, id, deadline } of operation.items) {
        const stay = this.#see(payload, attempts, id, operation.end);
        stay.leaseSeen = true;
        stay.deadline = deadline;
      }
    } else if (operation.kind === "list") {
      for (const { payload, attempts, id, leased } of operation.items) {
        this.#see(payload, leased ? attempts : attempts + 1, id, operation.end);
      }
    }
  }

  // Nobody knows whether it happened, or when: its time is counted from its begin.
  #noteUnsure({ start, items }: Extend): void {
    for (const { id, duration } of items) {
      const stay = this.byId.get(id);
      if (stay !== undefined) stay.unsureDeadline = Math.min(stay.unsureDeadline, start + duration);
    }
  }

  #see(payload: string, number: number, id: string, end: number): Stay {
    const stay = this.of(payload, number);
    stay.id = id;
    stay.seenBy = Math.min(stay.seenBy, end);
    this.byId.set(id, stay);
    return stay;
  }

  #noteEnds(operation: Operation): void {
    if (operation.kind === "extend" && operation.reply === undefined) this.#noteUnsure(operation);
    if (operation.reply !== REPLIES.ok) return;
    if (operation.kind === "complete") {
      for (const id of operation.ids) this.#end(id);
    } else if (operation.kind === "retry") {
      for (const { id, dead } of operation.items) {
        this.#end(id);
        if (!dead) this.after(id);
      }
    }
  }

  #end(id: string): void {
    const stay = this.byId.get(id);
    if (stay !== undefined) stay.endSeen = true;
  }

  /** Makes the stay that follows the one with this id, if there is none yet. */
  after(id: string): void {
    const stay = this.byId.get(id);
    if (stay !== undefined) this.of(stay.payload, stay.number + 1);
  }
}

// Whether the last thing that happened is a list: what it does not show is gone for good.
function isClosed(operations: readonly Operation[]): boolean {
  const last = operations.toSorted((a, b) => a.start - b.start).at(-1);
  if (last?.kind !== "list" || last.reply !== REPLIES.ok) return false;
  return operations.every(({ end }) => end === Infinity || end <= last.start || end === last.end);
}

// What an operation that is no lease does; undefined if it can be left out.
function stepOf(operation: Operation, stays: Stays, rules: Rules): Step | undefined {
  const { start, end, reply } = operation;
  const operations = [operation];
  switch (operation.kind) {
    case "produce": {
      const made = operation.payloads.map((payload) => stays.of(payload, 1));
      // Nobody knows whether it happened, until one of its items is seen.
      const seenBy = Math.min(...made.map((stay) => firstSeen(stay)));
      if (reply === undefined && seenBy === Number.POSITIVE_INFINITY) return undefined;
      const key = stays.keyOf(operation.key);
      return { kind: "produce", start, end: Math.min(end, seenBy), operations, stays: made, key };
    }
    case "taken": {
      const stay = stays.ofId(operation.id);
      if (reply === undefined || stay === undefined) return undefined;
      return { kind: "taken", start, end, operations, stay, key: stays.keyOf(operation.key) };
    }
    case "cancel": {
      const stay = stays.ofId(operation.id);
      if (stay === undefined) return undefined;
      return { kind: "cancel", start, end, operations, stay, outcome: operation.outcome };
    }
    case "get": {
      const stay = stays.ofId(operation.id);
      if (reply === undefined || stay === undefined) return undefined;
      return { kind: "get", start, end, operations, stay, state: operation.state };
    }
    case "lease": {
      const { wait } = operation;
      if (reply !== REPLIES.nothing || wait < rules.provenWait) return undefined;
      return { kind: "nothing", start: start + wait - rules.provenWait, end, operations };
    }
    case "list": {
      if (reply === undefined) return undefined;
      const items = operation.items.map(({ payload, attempts, leased }) => ({
        stay: stays.of(payload, leased ? attempts : attempts + 1),
        leased,
      }));
      return { kind: "list", start, end, operations, items };
    }
    case "complete":
    case "retry":
      return endStep(operation, stays);
    case "extend": {
      if (reply === undefined) return undefined;
      const { items } = operation;
      const ended = items.flatMap(({ id, outcome }) =>
        outcome === "lease_ended" ? (stays.byId.get(id) ?? []) : [],
      );
      const refusesAll = items.every(({ outcome }) => outcome !== "ok");
      return { kind: "extend", start, end, operations, items, ended, refusesAll };
    }
  }
}

// What a complete or a retry does.
function endStep(operation: Complete | Retry, stays: Stays): Step | undefined {
  const { start, end, reply } = operation;
  const items =
    operation.kind === "retry" ? operation.items : operation.ids.map((id) => ({ id, dead: true }));
  const back = items.map(({ dead }) => !dead);
  const possible = items.every(({ id, dead }) => {
    const stay = stays.byId.get(id);
    if (stay === undefined || stay.endSeen) return false;
    if (dead) return stay.next?.id === undefined;
    // One that was cancelled does not come back.
    return stay.next !== undefined || !stays.closed || stays.cancelled.has(stay.payload);
  });
  // Without a reply it may have succeeded, if nothing that was seen later speaks against it.
  if (reply === undefined) {
    if (!possible) return undefined;
    for (const { id, dead } of items) if (!dead) stays.after(id);
  }
  return {
    kind: "end",
    verb: operation.kind === "retry" ? "retried" : "completed",
    start,
    end,
    operations: [operation],
    ids: items.map(({ id }) => id),
    back,
    reply: reply ?? REPLIES.ok,
    absent: stays.byId.get(items.find(({ id }) => reply === REPLIES.absent(id))?.id ?? ""),
  };
}

// When the item was seen first, in this stay or a later one.
function firstSeen(stay: Stay): number {
  let first = stay.seenBy;
  for (let next = stay.next; next !== undefined; next = next.next) {
    first = Math.min(first, next.seenBy);
  }
  return first;
}
