// Who has asked a queue for items, and when last: what it is told from that nobody is there for an item that
// waits. A lease that wants some kinds only is no consumer of others. Known to memory only, and noted once for each
// lease request, when it waits no more, whether it was given anything or not.

import { Kinds } from "./kinds.ts";
import type { LeaseRequest } from "./requests.ts";

// Of so many kinds it is known when they were asked for; of the others only when that was at the latest.
const KINDS_MAX = 1_000;

interface Asked {
  readonly kind: Kinds;
  at: number;
}

export class Consumers {
  /** Since when it is known; in wall time, as all times here. */
  readonly since: number;
  #anyAt = 0;
  #pickedAt = 0;
  // Those that were asked for last come last.
  readonly #byKind = new Map<string, Asked>();
  #forgottenAt = 0;

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

  /** This request waited until now. */
  note({ kinds }: Pick<LeaseRequest, "kinds">, now: number): void {
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

  /** When somebody asked last who would have taken an item with this text; 0 for never. */
  lastFor(text: string): number {
    let last = this.#anyAt;
    for (const { kind, at } of this.#byKind.values()) {
      if (at > last && kind.has(text)) last = at;
    }
    return text.includes('"kind":') ? Math.max(last, this.#forgottenAt) : last;
  }
}
