// The leased items of a partition by their numbers. Neighbours are mostly leased and ended together, so
// they lie in chunks, which forget what is taken out: see ForgetfulMap for why a Map does not.

import type { Item } from "./item.ts";

// The least that a lone item takes is a chunk.
const CHUNK = 64;

class Chunk {
  readonly number: number;
  readonly items: (Item | undefined)[] = new Array<Item | undefined>(CHUNK).fill(undefined);
  size = 0;

  constructor(number: number) {
    this.number = number;
  }
}

export class LeasedItems {
  readonly #chunks = new Map<number, Chunk>();
  // The one that was found last.
  #last: Chunk | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(seq: number): Item | undefined {
    return this.#find(Math.floor(seq / CHUNK))?.items[seq % CHUNK];
  }

  has(seq: number): boolean {
    return this.get(seq) !== undefined;
  }

  /** Puts an item in, which is not in yet. */
  add(item: Item): void {
    const number = Math.floor(item.seq / CHUNK);
    let chunk = this.#find(number);
    if (chunk === undefined) {
      chunk = new Chunk(number);
      this.#chunks.set(number, chunk);
      this.#last = chunk;
    }
    chunk.items[item.seq % CHUNK] = item;
    chunk.size++;
    this.#size++;
  }

  /** Takes an item out, which is in. */
  delete({ seq }: Item): void {
    const chunk = this.#find(Math.floor(seq / CHUNK))!;
    chunk.items[seq % CHUNK] = undefined;
    chunk.size--;
    this.#size--;
    if (chunk.size > 0) return;
    this.#chunks.delete(chunk.number);
    this.#last = undefined;
  }

  clear(): void {
    this.#chunks.clear();
    this.#last = undefined;
    this.#size = 0;
  }

  /** All of them, in no order. */
  *values(): Generator<Item, void, undefined> {
    for (const { items } of this.#chunks.values()) {
      for (const item of items) if (item !== undefined) yield item;
    }
  }

  #find(number: number): Chunk | undefined {
    if (this.#last?.number === number) return this.#last;
    const chunk = this.#chunks.get(number);
    if (chunk !== undefined) this.#last = chunk;
    return chunk;
  }
}
