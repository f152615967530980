// Since when what waits in a partition can be leased, in steady time, whatever the wall clock does meanwhile.
// All that one batch puts in line, be it new, given back, due or changed, gets the numbers from the tail on, at
// one moment: so one entry for each batch tells it of all items. Entries that the head has passed are dropped;
// of a long line some are left out, the more the longer ago they are, and an item may then seem to have waited
// a thirty-second longer than it has: so 24 KiB are enough for any line. Known to memory only: of what lay in
// storage before, an item that has never moved tells when it was produced, and one that has is not measured.

import { isPlain } from "./attributes.ts";
import type { Item } from "./item.ts";
import type { Moment } from "./lease-ends.ts";
import type { TimeHistogram } from "./time-histogram.ts";

const ENTRIES_MAX = 1_024;

// What an item has waited may seem longer by this part of it.
const PART = 32;

export class Arrivals {
  // From which number on, and since when: both ascend. What stands before #start has been passed. And when what was
  // left out behind it came last.
  #firsts: number[] = [];
  #times: number[] = [];
  #lasts: number[] = [];
  #start = 0;

  /** What has this number, or a later one that is not noted otherwise, can be leased since now. */
  note(first: number, steady: number): void {
    const last = this.#firsts.length - 1;
    if (last >= this.#start && this.#firsts[last] === first) {
      this.#times[last] = steady;
      this.#lasts[last] = steady;
      return;
    }
    if (last + 1 === ENTRIES_MAX) this.#makeRoom(steady);
    this.#firsts.push(first);
    this.#times.push(steady);
    this.#lasts.push(steady);
  }

  /** Notes how long items have waited, in order of their numbers, that are leased now. */
  measure(
    items: readonly Item[],
    { now, steady }: Omit<Moment, "isStill">,
    into: TimeHistogram,
  ): void {
    const firsts = this.#firsts;
    const known = this.#start < firsts.length ? firsts[this.#start]! : Number.POSITIVE_INFINITY;
    let i = 0;
    for (; i < items.length && items[i]!.seq < known; i++) {
      const { attributes, createdAt } = items[i]!;
      if (isPlain(attributes)) into.note(Math.max(now - createdAt, 0), 1, steady);
    }
    if (i === items.length) return;
    for (let entry = this.#entryOf(items[i]!.seq); i < items.length; entry++) {
      const end = entry + 1 < firsts.length ? firsts[entry + 1]! : Number.POSITIVE_INFINITY;
      const from = i;
      while (i < items.length && items[i]!.seq < end) i++;
      if (i > from) into.note(steady - this.#times[entry]!, i - from, steady);
    }
  }

  /** Nothing is leased any more that lies before the head. */
  forget(head: number): void {
    while (this.#start + 1 < this.#firsts.length && this.#firsts[this.#start + 1]! <= head) {
      this.#start++;
    }
  }

  // The last that begins at a number or before it.
  #entryOf(seq: number): number {
    let low = this.#start;
    for (let high = this.#firsts.length - 1; low < high; ) {
      const middle = (low + high + 1) >>> 1;
      if (this.#firsts[middle]! <= seq) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // Without an entry, what it is of seems to have come with the one before it.
  #makeRoom(steady: number): void {
    // Only of a line that grows for years more than the usual has to go.
    let kept = this.#thinned(steady, PART);
    for (let part = PART; kept.firsts.length > (ENTRIES_MAX * 3) / 4; part /= 2) {
      kept = this.#thinned(steady, part / 2);
    }
    this.#firsts = kept.firsts;
    this.#times = kept.times;
    this.#lasts = kept.lasts;
    this.#start = 0;
  }

  #thinned(
    steady: number,
    part: number,
  ): { readonly firsts: number[]; readonly times: number[]; readonly lasts: number[] } {
    const firsts: number[] = [];
    const times: number[] = [];
    const lasts: number[] = [];
    for (let i = this.#start; i < this.#firsts.length; i++) {
      const last = this.#lasts[i]!;
      if (times.length > 0 && (last - times.at(-1)!) * part <= steady - last) {
        lasts[lasts.length - 1] = last;
        continue;
      }
      firsts.push(this.#firsts[i]!);
      times.push(this.#times[i]!);
      lasts.push(last);
    }
    return { firsts, times, lasts };
  }
}
