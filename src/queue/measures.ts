// What is measured of a queue, over all its partitions, by its loop: how much becomes of items in a second, of
// the last minute, and how long they wait and run. Kept in memory only, so it begins anew with each start, and
// counts what is committed and nothing else. In steady time: no step of the wall clock shows. A queue in which
// nothing happens has nothing but these few fields; one that is used has 18 KiB at most, whatever it does.

import { MINUTE, SECOND } from "../clock.ts";
import type { Octaves } from "../octaves.ts";
import { COUNT } from "./counts.ts";
import type { Grant, Item } from "./item.ts";
import { TimeHistogram, type Times } from "./time-histogram.ts";

// The last minute is made of so many slots, and a part of the one before them.
const SLOT = 5 * SECOND;
const SLOTS = MINUTE / SLOT + 1;

// The last place of the counts, `kept`, is of what is there, and has no rate.
const COUNTS = COUNT.kept;

/** How many a second, of the last minute, or since the start if that was later; see counts.ts. */
export interface Rates {
  readonly produced: number;
  readonly received: number;
  readonly leased: number;
  readonly completed: number;
  readonly retried: number;
  readonly released: number;
  readonly extended: number;
  readonly leaseEnds: number;
  readonly cancelled: number;
  readonly deduplicated: number;
  readonly deleted: number;
  readonly moved: number;
  /** For whatever reason. */
  readonly dead: number;
}

/** What is told of them. */
export interface Measured {
  readonly rates: Rates;
  /** Of items that were leased in the last minutes: since when they could have been. Undefined for none. */
  readonly wait: Times | undefined;
  /** Of leases that their consumers have ended by completing, retrying or rejecting: for how long they held. */
  readonly run: Times | undefined;
}

export class Measures {
  readonly wait: TimeHistogram;
  readonly run: TimeHistogram;
  readonly #begunAt: number;
  // What was counted in each slot, one behind the other; the slot of a time has its place by its number.
  #slots: Uint32Array | undefined;
  // The number of the last one that was written to.
  #slot = 0;

  /** From this steady time on. `all` is of all queues of the thread. */
  constructor(steady: number, all?: { readonly wait: Octaves; readonly run: Octaves }) {
    this.#begunAt = steady;
    this.wait = new TimeHistogram(all?.wait);
    this.run = new TimeHistogram(all?.run);
  }

  /** A commit has brought the counts of a partition from one state to the next. */
  count(before: readonly number[], after: readonly number[], steady: number): void {
    if (before === after) return;
    this.#turn(Math.floor(steady / SLOT));
    const slots = this.#slots!;
    const at = (this.#slot % SLOTS) * COUNTS;
    for (let what = 0; what < COUNTS; what++)
      slots[at + what]! += after[what]! - (before[what] ?? 0);
  }

  /** The consumers of these have ended their leases, which they still have. */
  ended(items: readonly Item[], steady: number): void {
    // Mostly many of one lease come together.
    let grant: Grant | undefined;
    let count = 0;
    for (const item of items) {
      if (item.grant !== grant) {
        if (grant !== undefined) this.run.note(steady - grant.heldSince, count, steady);
        grant = item.grant;
        count = 0;
      }
      count++;
    }
    if (grant !== undefined) this.run.note(steady - grant.heldSince, count, steady);
  }

  tell(steady: number): Measured {
    return {
      rates: this.#rates(steady),
      wait: this.wait.times(steady),
      run: this.run.times(steady),
    };
  }

  /** How many items came in a second, wherever from; the same as in what `tell` tells. */
  comingPerSecond(steady: number): number {
    return this.#rateOf(steady)(COUNT.produced, COUNT.received);
  }

  #rateOf(steady: number): (...counted: readonly number[]) => number {
    const now = Math.floor(steady / SLOT);
    if (this.#slots !== undefined) this.#turn(now);
    // The oldest slot counts as far as it lies within the minute.
    const oldest = 1 - (steady - now * SLOT) / SLOT;
    const seconds = Math.min(Math.max(steady - this.#begunAt, SECOND), MINUTE) / SECOND;
    return (...counted) => {
      let sum = 0;
      for (let slot = now - SLOTS + 1; slot <= now; slot++) {
        const at = (((slot % SLOTS) + SLOTS) % SLOTS) * COUNTS;
        const weight = slot === now - SLOTS + 1 ? oldest : 1;
        for (const what of counted) sum += weight * (this.#slots?.[at + what] ?? 0);
      }
      return sum / seconds;
    };
  }

  #rates(steady: number): Rates {
    const rate = this.#rateOf(steady);
    return {
      produced: rate(COUNT.produced),
      received: rate(COUNT.received),
      leased: rate(COUNT.leased),
      completed: rate(COUNT.completed),
      retried: rate(COUNT.retried),
      released: rate(COUNT.released),
      extended: rate(COUNT.extended),
      leaseEnds: rate(COUNT.leaseEnds),
      cancelled: rate(COUNT.cancelled),
      deduplicated: rate(COUNT.deduplicated),
      deleted: rate(COUNT.deleted),
      moved: rate(COUNT.moved),
      dead: rate(COUNT.deadAttempts, COUNT.deadExpired, COUNT.deadRejected),
    };
  }

  // Empties the slots between the last one that was written to and the one of now.
  #turn(now: number): void {
    this.#slots ??= new Uint32Array(SLOTS * COUNTS);
    if (this.#slot === now) return;
    for (let slot = Math.max(this.#slot + 1, now - SLOTS + 1); slot <= now; slot++) {
      const at = (slot % SLOTS) * COUNTS;
      this.#slots.fill(0, at, at + COUNTS);
    }
    this.#slot = now;
  }
}
