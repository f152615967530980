// How long something took, many times over, in a fixed room: of late, for percentiles, and ever since the start,
// for what reads it again and again. Times fall into buckets of which each octave has eight, so a percentile is
// never too low, and at most 12.5 % too high (or 64 µs, if it is shorter than that); the longest is exact. The
// last five minutes are windows of a minute, the one at hand among them. Noting a time is a few operations on
// integers; nothing is allocated for it but a window of 1.1 KiB, with the first time of a minute. All of it: 8 KiB.

import { MICROSECOND, MINUTE } from "../clock.ts";
import type { Octaves } from "../octaves.ts";

const WINDOW = MINUTE;
const WINDOWS = 5;

// The first bucket is for all below 2^6 µs, the last one for all from 2^40 µs (12.7 days) on.
const LOW = 6;
const HIGH = 40;
const BUCKETS = (HIGH - LOW) * 8 + 2;

/** Percentiles, in microseconds: so many times took no longer. */
export interface Times {
  /** How many there were. */
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Ever since the start. Times in microseconds. */
export interface TimeTotals {
  readonly count: number;
  readonly sum: number;
  /** How many were shorter than each of the times that were asked for. */
  readonly below: readonly number[];
}

interface Window {
  /** Which minute of steady time. */
  number: number;
  readonly counts: Uint32Array;
  max: number;
}

export class TimeHistogram {
  // The newest last; at most WINDOWS, all of the last minutes.
  #windows: Window[] = [];
  // The last of them, and when it ends.
  #window: Window | undefined;
  #until = Number.NEGATIVE_INFINITY;
  // What was in windows that are gone.
  #before: Float64Array | undefined;
  #sum = 0;
  #count = 0;
  // Of all queues of the thread.
  readonly #all: Octaves | undefined;

  /** What is noted is noted in `all` as well. */
  constructor(all?: Octaves) {
    this.#all = all;
  }

  /** So many took so long, and ended now, in steady time. */
  note(time: number, count: number, steady: number): void {
    if (steady >= this.#until) this.#turn(steady);
    const window = this.#window!;
    window.counts[bucketOf(time)]! += count;
    if (time > window.max) window.max = time;
    this.#sum += time * count;
    this.#count += count;
    this.#all?.note(time, count);
  }

  /** How many there ever were, and how long all of them took. */
  get ever(): { readonly count: number; readonly sum: number } {
    return { count: this.#count, sum: this.#sum };
  }

  /** The mean of the last five minutes, to a sixteenth; undefined if there were none. */
  mean(steady: number): number | undefined {
    const { count, max } = this.#recent(steady);
    if (count === 0) return undefined;
    let sum = 0;
    for (let bucket = 0, seen = 0; seen < count; bucket++) {
      const here = RECENT[bucket]!;
      if (here === 0) continue;
      seen += here;
      sum += here * (((bucket === 0 ? 0 : ENDS[bucket - 1]!) + Math.min(ENDS[bucket]!, max)) / 2);
    }
    return sum / count;
  }

  /** Of the last five minutes; undefined if there were none. */
  times(steady: number): Times | undefined {
    const { count, max } = this.#recent(steady);
    if (count === 0) return undefined;
    let bucket = 0;
    let seen = RECENT[0]!;
    // To be asked for the lower ones first.
    const percentile = (percent: number): number => {
      // In whole numbers: 0.95 * 20 is more than 19.
      const rank = Math.ceil((count * percent) / 100);
      while (seen < rank) seen += RECENT[++bucket]!;
      return Math.min(ENDS[bucket]!, max);
    };
    const p50 = percentile(50);
    const p90 = percentile(90);
    const p95 = percentile(95);
    return { count, p50, p90, p95, p99: percentile(99), max };
  }

  // Puts what the last five minutes have counted into `RECENT`, where it is until this is called again.
  #recent(steady: number): { readonly count: number; readonly max: number } {
    this.#leave(steady);
    let count = 0;
    let max = 0;
    if (this.#windows.length > 0) RECENT.fill(0);
    for (const window of this.#windows) {
      for (let bucket = 0; bucket < BUCKETS; bucket++) {
        const here = window.counts[bucket]!;
        if (here === 0) continue;
        RECENT[bucket]! += here;
        count += here;
      }
      if (window.max > max) max = window.max;
    }
    return { count, max };
  }

  /** All there ever were. What is asked for is exact where a bucket ends: at powers of two, and eighths between them. */
  totals(bounds: readonly number[]): TimeTotals {
    const counts = new Float64Array(BUCKETS);
    if (this.#before !== undefined) addTo(counts, this.#before);
    for (const window of this.#windows) addTo(counts, window.counts);
    const below = bounds.map((bound) =>
      counts.reduce((sum, count, bucket) => (endOf(bucket) <= bound ? sum + count : sum), 0),
    );
    return { count: counts.reduce((sum, count) => sum + count, 0), sum: this.#sum, below };
  }

  // Begins the window of this time, in the place of one that is over if there is one.
  #turn(steady: number): void {
    const left = this.#leave(steady);
    const number = Math.floor(steady / WINDOW);
    const counts = left?.counts.fill(0) ?? new Uint32Array(BUCKETS);
    this.#window = { number, counts, max: 0 };
    this.#windows.push(this.#window);
    this.#until = (number + 1) * WINDOW;
  }

  // Lets go of windows that are over; answers one of them.
  #leave(steady: number): Window | undefined {
    const oldest = Math.floor(steady / WINDOW) - WINDOWS + 1;
    let left: Window | undefined;
    while ((this.#windows[0]?.number ?? oldest) < oldest) {
      left = this.#windows.shift()!;
      this.#before ??= new Float64Array(BUCKETS);
      addTo(this.#before, left.counts);
    }
    return left;
  }
}

function addTo(sums: Float64Array, counts: Uint32Array | Float64Array): void {
  for (let bucket = 0; bucket < BUCKETS; bucket++) sums[bucket]! += counts[bucket]!;
}

function bucketOf(time: number): number {
  if (time < 2 ** LOW) return 0;
  if (time >= 2 ** HIGH) return BUCKETS - 1;
  // The operators know 32 bits. So far down, what is cut off is less than a bucket.
  const isLong = time >= 2 ** 31;
  const short = isLong ? time / 2 ** 16 : time;
  const octave = 31 - Math.clz32(short);
  const eighth = (short >>> (octave - 3)) & 7;
  return (octave + (isLong ? 16 : 0) - LOW) * 8 + eighth + 1;
}

// The first time that is longer than those of a bucket.
const ENDS = Float64Array.from({ length: BUCKETS }, (_, bucket) => endOf(bucket));

// A scrape asks thousands of them in a row: they share this.
const RECENT = new Float64Array(BUCKETS);

function endOf(bucket: number): number {
  if (bucket === 0) return 2 ** LOW * MICROSECOND;
  if (bucket === BUCKETS - 1) return Number.POSITIVE_INFINITY;
  const octave = Math.floor((bucket - 1) / 8) + LOW;
  const eighth = (bucket - 1) % 8;
  return (9 + eighth) * 2 ** (octave - 3);
}
