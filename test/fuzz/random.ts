// Seeded random numbers, so that a seed repeats every choice of a run. Where processes and sockets
// are involved the seed fixes the choices, not the order in which things happen. Cheap and good enough
// for tests; no secrets are made of it.

/** A seed to begin with where none was given. */
export function freshSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}

/** A source of choices that repeats with its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
    for (let i = 0; i < 8; i++) this.#next(); // small seeds differ in few bits
  }

  // A Weyl sequence through a mixer of 32 bits.
  #next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  }

  /** A whole number from 0 up to, not including, `bound`. */
  below(bound: number): number {
    return Math.floor((this.#next() / 2 ** 32) * bound);
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new Error("there is nothing to pick from");
    return choices[this.below(choices.length)]!;
  }

  /** A small number mostly, now and then one up to `bound`. */
  length(bound: number): number {
    return this.below(1 + 2 ** this.below(Math.ceil(Math.log2(bound + 1)) + 1)) % (bound + 1);
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.alloc(count);
    for (let i = 0; i < count; i++) bytes[i] = this.#next() >>> 24;
    return bytes;
  }
}
