// Seeded randomness for histories and for clients: the same seed makes the same choices. Not meant
// to be strong, only small and quick.

/** A small seeded source of randomness. */
export class Random {
  #state: number;

  /** A seed of several numbers gives a source of its own for each of their combinations. */
  constructor(...seed: readonly number[]) {
    this.#state = 0;
    for (const number of seed) {
      this.#state = (this.#state ^ number) >>> 0;
      this.#state = Math.floor(this.next() * 2 ** 32);
    }
  }

  /** A number from 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, not including, `below`. */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** One of the values; undefined if there is none. */
  pick<T>(values: readonly T[]): T | undefined {
    return values[this.below(values.length)];
  }
}
