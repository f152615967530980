// How fast the items of a partition were leased of late, and when the last was: what an estimate of when the
// turn of one comes is made of. Known to memory only, and noted once a batch, whatever that holds.

import { SECOND } from "../clock.ts";

// It looks back so long, and twice as long at most.
const SPAN = 10 * SECOND;

export class Pace {
  /** When something was leased last, since the start; 0 for never. */
  lastAt = 0;
  #begins = 0;
  #count = 0;
  #before = 0;

  /** So many were leased now. */
  note(count: number, now: number): void {
    this.lastAt = now;
    this.#turn(now);
    this.#count += count;
  }

  /** Items a second; 0 if there were none of late. */
  rate(now: number): number {
    this.#turn(now);
    return ((this.#count + this.#before) * SECOND) / (now - this.#begins + SPAN);
  }

  #turn(now: number): void {
    const age = now - this.#begins;
    if (age >= 0 && age < SPAN) return;
    // A clock that was set back begins anew as well.
    this.#before = age >= 0 && age < 2 * SPAN ? this.#count : 0;
    this.#begins = age >= 0 && age < 2 * SPAN ? this.#begins + SPAN : now;
    this.#count = 0;
  }
}
