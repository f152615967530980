// How fast the items of a partition were leased of late: what an estimate of when the turn of one comes is made
// of. Known to memory only, and noted once a batch, whatever that holds.

import { SECOND } from "../clock.ts";

// It looks back so long, and twice as long at most.
export const PACE_SPAN = 10 * SECOND;

export class Pace {
  #begins = 0;
  #count = 0;
  #before = 0;

  /** So many were leased now. */
  note(count: number, now: number): void {
    this.#turn(now);
    this.#count += count;
  }

  /** Items a second; 0 if there were none of late. */
  rate(now: number): number {
    this.#turn(now);
    return ((this.#count + this.#before) * SECOND) / (now - this.#begins + PACE_SPAN);
  }

  #turn(now: number): void {
    const age = now - this.#begins;
    if (age >= 0 && age < PACE_SPAN) return;
    // A clock that was set back begins anew as well.
    this.#before = age >= 0 && age < 2 * PACE_SPAN ? this.#count : 0;
    this.#begins = age >= 0 && age < 2 * PACE_SPAN ? this.#begins + PACE_SPAN : now;
    this.#count = 0;
  }
}
