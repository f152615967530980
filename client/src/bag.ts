// What comes and goes all the time, in no order. A Set does it too, but whenever one has made itself a new
// table the old one refers to it: once an old one has outlived a few collections of garbage, so does
// everything that the set has held since, until all of the heap is collected.

export interface InBag {
  /** Where it lies in its bag, which alone changes it; -1 at first. */
  slot: number;
}

export class Bag<T extends InBag> {
  #all: T[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(each: T): void {
    each.slot = this.#all.push(each) - 1;
  }

  /** Takes it out, if it is in. */
  delete(each: T): void {
    if (this.#all[each.slot] !== each) return;
    const last = this.#all.pop()!;
    if (last !== each) {
      this.#all[each.slot] = last;
      last.slot = each.slot;
    }
    each.slot = -1;
  }

  clear(): void {
    this.#all = [];
  }

  /** Those that are in now. */
  [Symbol.iterator](): Iterator<T> {
    return [...this.#all].values();
  }
}
