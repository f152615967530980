// Seeded random choices, so that a seed repeats what a run does. Where processes and sockets are at
// work the seed fixes the choices, not the order in which things happen. Cheap and good enough for
// tests; no secrets are made of it.

/** A seed for a run that was given none; short enough to be typed. */
export function freshSeed(): number {
  return Math.floor(Math.random() * 1e9);
}

/** A source of choices that repeats with its seed. */
export class Random {
  #state = 0;

  /** A seed of several numbers gives a source of its own for each of their combinations. */
  constructor(...seed: readonly number[]) {
    for (const number of seed) {
      this.#state = (this.#state ^ number) >>> 0;
      this.#state = Math.floor(this.next() * 2 ** 32); // small seeds differ in few bits
    }
  }

  /** A number from 0 up to, not including, 1. */
  next(): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, not including, `bound`. */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  /** A whole number of a range, both ends included. */
  between([low, high]: readonly [number, number]): number {
    return low + this.below(high - low + 1);
  }

  /** A small number mostly, now and then one up to `bound`. */
  length(bound: number): number {
    return this.below(1 + 2 ** this.below(Math.ceil(Math.log2(bound + 1)) + 1)) % (bound + 1);
  }

  /** True with this probability, from 0 to 1. */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  /** One of the values, of which there must be some. */
  pick<T>(values: readonly T[]): T {
    if (values.length === 0) throw new Error("there is nothing to pick from");
    return values[this.below(values.length)]!;
  }

  /** One of the values; undefined if there is none. */
  pickIfAny<T>(values: readonly T[]): T | undefined {
    return values[this.below(values.length)];
  }

  /** One of the names, as often as its weight says. */
  weighted<K extends string>(weights: Readonly<Partial<Record<K, number>>>): K {
    const entries = Object.entries(weights) as [K, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      left -= weight;
      if (left < 0) return name;
    }
    return entries.at(-1)![0];
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}
