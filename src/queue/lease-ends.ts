// When the leases of a partition end. A lease is stored with its deadline, in wall time, which its
// client was told; and it holds for its whole time from when its client was answered, which is
// measured in steady time. It is over when both have passed, and a little more: so neither the time
// that its commit took nor a step of the wall clock ever cuts it short. Written by the loop of its
// queue alone.

import { type Clock, MILLISECOND } from "../clock.ts";
import type { Grant, Item } from "./item.ts";

// A lease is not given to the next consumer before the last one, who counts from when its reply
// arrived, is sure to know that it is over.
const GRACE = 5 * MILLISECOND;
// Of a lease that was read from storage it is not known when its client was answered: that may have
// been as long after its deadline was taken as a commit takes.
const STORED_GRACE = 500 * MILLISECOND;

/** A moment by both clocks. While time stands still nothing takes any, and there is no grace. */
export interface Moment {
  readonly now: number;
  readonly steady: number;
  readonly isStill: boolean;
}

/** The present. */
export function momentOf(clock: Clock): Moment {
  return { now: clock.now(), steady: clock.steady(), isStill: clock.isStill };
}

/** Grants in order of a time; those that hold nothing any more are passed over, and dropped now and then. */
class OrderedGrants {
  readonly #timeOf: (grant: Grant) => number;
  #grants: Grant[] = [];
  // What stands before it has been taken out.
  #start = 0;

  constructor(timeOf: (grant: Grant) => number) {
    this.#timeOf = timeOf;
  }

  get size(): number {
    return this.#grants.length;
  }

  get first(): Grant | undefined {
    const grants = this.#grants;
    while (grants[this.#start]?.remaining === 0) this.#start++;
    return grants[this.#start];
  }

  /** Behind those of the same time. Nearly always that is the end; after a step of the wall clock it is not. */
  add(grant: Grant): void {
    const grants = this.#grants;
    const time = this.#timeOf(grant);
    const last = grants.length - 1;
    if (last < this.#start || this.#timeOf(grants[last]!) <= time) {
      grants.push(grant);
      return;
    }
    let low = this.#start;
    for (let high = last; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#timeOf(grants[middle]!) <= time) low = middle + 1;
      else high = middle;
    }
    grants.splice(low, 0, grant);
  }

  /** Shows them from the first on until `look` answers "stop"; takes those out for which it answers "take". */
  walk(look: (grant: Grant) => "keep" | "take" | "stop"): void {
    const grants = this.#grants;
    const kept: Grant[] = [];
    let end = this.#start;
    for (; end < grants.length; end++) {
      const grant = grants[end]!;
      if (grant.remaining === 0) continue;
      const wanted = look(grant);
      if (wanted === "stop") break;
      if (wanted === "keep") kept.push(grant);
    }
    this.#start = end - kept.length;
    for (const [i, grant] of kept.entries()) grants[this.#start + i] = grant;
  }

  sweep(): void {
    this.#grants = this.#grants.slice(this.#start).filter((grant) => grant.remaining > 0);
    this.#start = 0;
  }

  clear(): void {
    this.#grants = [];
    this.#start = 0;
  }
}

export class LeaseEnds {
  /** Those whose deadline is not known to have passed. */
  readonly #byDeadline = new OrderedGrants((grant) => grant.deadline);
  /** Those whose deadline has passed, and which hold on. */
  readonly #held = new OrderedGrants((grant) => grant.heldUntil + grant.grace);
  #empty = 0;

  /** Puts a lease among those that are watched. */
  add(grant: Grant): void {
    this.#byDeadline.add(grant);
  }

  /** Notes that a lease holds nothing any more. Leases end in any order; a sweep when half are empty keeps the cost constant. */
  noteEmpty(): void {
    this.#empty++;
    if (this.#empty < 64 || this.#empty * 2 <= this.#byDeadline.size + this.#held.size) return;
    this.#byDeadline.sweep();
    this.#held.sweep();
    this.#empty = 0;
  }

  /** The wall time after which a lease may have ended; infinite if there is none. */
  next(isStill: boolean): number {
    const { first } = this.#byDeadline;
    return first === undefined ? Number.POSITIVE_INFINITY : first.deadline + (isStill ? 0 : GRACE);
  }

  /** The same in steady time, for those whose deadline has passed. */
  nextHeld(isStill: boolean): number {
    const { first } = this.#held;
    if (first === undefined) return Number.POSITIVE_INFINITY;
    return first.heldUntil + (isStill ? 0 : first.grace);
  }

  /** Leased items whose lease has ended, at most about `limit`. */
  ended({ now, steady, isStill }: Moment, limit: number): readonly Item[] {
    const items: Item[] = [];
    const before = now - (isStill ? 0 : GRACE);
    const holds = (grant: Grant): boolean =>
      grant.heldUntil + (isStill ? 0 : grant.grace) >= steady;
    const add = (grant: Grant): "keep" => {
      for (const item of grant.items) {
        if (item.grant === grant && !item.ending) items.push(item);
      }
      return "keep";
    };
    this.#byDeadline.walk((grant) => {
      if (grant.deadline >= before || items.length >= limit) return "stop";
      if (!holds(grant)) return add(grant);
      this.#held.add(grant);
      return "take";
    });
    this.#held.walk((grant) => {
      if (items.length >= limit) return "stop";
      // While time stands still there is no grace, and so they are not in order.
      if (holds(grant)) return isStill ? "keep" : "stop";
      if (grant.deadline < before) return add(grant);
      this.#byDeadline.add(grant); // the wall clock was set back since
      return "take";
    });
    return items;
  }

  clear(): void {
    this.#byDeadline.clear();
    this.#held.clear();
    this.#empty = 0;
  }
}

/** Makes a lease hold from now on, when its client is answered, for as long as it was promised. */
export function holdFrom(grant: Grant, steady: number): void {
  grant.heldUntil = steady + grant.duration;
  grant.grace = GRACE;
}

/** Makes a lease hold that begins now. */
export function holdNew(grant: Grant, steady: number): void {
  grant.heldSince = steady;
  holdFrom(grant, steady);
}

/** The same for a lease that was read from storage: for what is left of it, but not for longer than it was given. */
export function holdStored(grant: Grant, { now, steady }: Moment): void {
  grant.heldSince = steady - Math.max(now - grant.leasedAt, 0);
  grant.heldUntil = steady + Math.min(grant.deadline - now, grant.duration);
  grant.grace = STORED_GRACE;
}
