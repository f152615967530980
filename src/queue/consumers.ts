// Who has asked a queue for items, by the names that they gave, and when last: what it is told from that nobody is there for
// an item that waits. A lease that wants some kinds only is no consumer of others. Known to memory only, and noted once for each
// lease request, when it waits no more, whether it was given anything or not.

import { Kinds } from "./kinds.ts";
import type { LeaseRequest } from "./requests.ts";

// Of so many kinds it is known when they were asked for; of the others only when that was at the latest.
const KINDS_MAX = 1_000;
// And of so many names; of a quarter more before those are forgotten that have asked longest ago.
const NAMES_MAX = 1_000;
const NAME_LENGTH_MAX = 256;

interface Asked {
  readonly kind: Kinds;
  at: number;
}

/** Somebody who has asked for items. */
export interface Consumer {
  readonly name: string;
  /** When a request of theirs was answered last. */
  readonly at: number;
  /** How many items they were given since they are known. */
  readonly leased: number;
  /** How many requests of theirs wait for items. */
  readonly waiting: number;
}

/** Those that have asked a queue for items, the last ones first. */
export interface ConsumersSeen {
  /** Since when it is known. */
  readonly since: number;
  readonly total: number;
  readonly consumers: readonly Consumer[];
}

export class Consumers {
  /** Since when it is known; in wall time, as all times here. */
  readonly since: number;
  #anyAt = 0;
  #pickedAt = 0;
  // Those that were asked for last come last.
  readonly #byKind = new Map<string, Asked>();
  #forgottenAt = 0;
  readonly #byName = new Map<string, { at: number; leased: number }>();

  constructor(now: number) {
    this.since = now;
  }

  /** When somebody asked last for items of some kinds only; 0 for never. */
  get pickedAt(): number {
    return this.#pickedAt;
  }

  /** When anybody asked last; 0 for never. */
  get lastAt(): number {
    return Math.max(this.#anyAt, this.#pickedAt);
  }

  /** This request waited until now, and was given so many items. */
  note(
    { clientId, kinds }: Pick<LeaseRequest, "clientId" | "kinds">,
    now: number,
    given: number,
  ): void {
    const seen = this.#byName.get(clientId);
    if (seen === undefined) this.#add(clientId, now, given);
    else {
      seen.at = now;
      seen.leased += given;
    }
    if (kinds === undefined) {
      this.#anyAt = now;
      return;
    }
    this.#pickedAt = now;
    for (const name of kinds.names) {
      const asked = this.#byKind.get(name) ?? { kind: new Kinds([name]), at: now };
      asked.at = now;
      this.#byKind.delete(name);
      this.#byKind.set(name, asked);
    }
    for (const [name, { at }] of this.#byKind) {
      if (this.#byKind.size <= KINDS_MAX) break;
      this.#byKind.delete(name);
      this.#forgottenAt = at;
    }
  }

  #add(name: string, at: number, leased: number): void {
    if (name === "" || name.length > NAME_LENGTH_MAX) return;
    this.#byName.set(name, { at, leased });
    if (this.#byName.size <= NAMES_MAX * 1.25) return;
    const sorted = [...this.#byName].sort(([, a], [, b]) => b.at - a.at);
    for (const [each] of sorted.slice(NAMES_MAX)) this.#byName.delete(each);
  }

  /** Those that were seen last, or wait now, which have these names. */
  seen(waiting: Iterable<string>, limit: number): ConsumersSeen {
    const requests = new Map<string, number>();
    for (const name of waiting) {
      if (name !== "") requests.set(name, (requests.get(name) ?? 0) + 1);
    }
    const all = new Map<string, Consumer>();
    for (const [name, count] of requests) all.set(name, { name, at: 0, leased: 0, waiting: count });
    for (const [name, { at, leased }] of this.#byName) {
      all.set(name, { name, at, leased, waiting: requests.get(name) ?? 0 });
    }
    // Who waits is here now.
    const consumers = [...all.values()]
      .sort((a, b) => Number(b.waiting > 0) - Number(a.waiting > 0) || b.at - a.at)
      .slice(0, limit);
    return { since: this.since, total: all.size, consumers };
  }

  /** When somebody asked last who would have taken an item with this text; 0 for never. */
  lastFor(text: string): number {
    let last = this.#anyAt;
    for (const { kind, at } of this.#byKind.values()) {
      if (at > last && kind.has(text)) last = at;
    }
    return text.includes('"kind":') ? Math.max(last, this.#forgottenAt) : last;
  }
}
