// The last events of a server, each with its position: those of one commit lie together. Bounded by their number,
// whatever happens; what falls out at the front is gone.

import type { Happened } from "../queue/queue.ts";

/** What one commit has done in one partition, with the position of the first of it. */
export interface Entry {
  readonly first: number;
  readonly happened: Happened;
}

export class Ring {
  readonly #max: number;
  #entries: Entry[] = [];
  // Those before it have fallen out.
  #start = 0;
  // From here on nothing has fallen out.
  #floor: number;
  #end: number;

  /** Holds so many events, or a few more: those of one commit stay together. */
  constructor(max: number, begin = 0) {
    this.#max = max;
    this.#floor = begin;
    this.#end = begin;
  }

  /** The position from which on all is held. */
  get first(): number {
    return this.#floor;
  }

  /** The position of the next event. */
  get end(): number {
    return this.#end;
  }

  /** Adds what has happened: at the end, or further on, if it has its position from another ring. */
  append(happened: Happened, first = this.#end): void {
    this.#entries.push({ first, happened });
    this.#end = first + happened.ids.length;
    while (this.#end - this.#floor > this.#max && this.#start < this.#entries.length - 1) {
      this.#start++;
      this.#floor = this.#entries[this.#start]!.first;
    }
    if (this.#start > 1_000 && this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Holds nothing any more, and goes on at a position. */
  reset(at: number): void {
    this.#entries = [];
    this.#start = 0;
    this.#floor = at;
    this.#end = at;
  }

  /** Leaves a position out: what happens from now on is behind any that was told before. */
  skip(): void {
    this.#end++;
  }

  /** The entries from the one on that holds a position, until so many events are among them. */
  from(position: number, limit: number): readonly Entry[] {
    const entries = this.#entries;
    let low = this.#start;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { first, happened } = entries[middle]!;
      if (first + happened.ids.length <= position) low = middle + 1;
      else high = middle;
    }
    let last = low;
    for (let n = 0; last < entries.length && n < limit; last++) {
      n += entries[last]!.happened.ids.length;
    }
    return entries.slice(low, last);
  }
}
