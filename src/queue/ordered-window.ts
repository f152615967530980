// The first entries of an ordered table that may be far larger than memory: what is due next.
// The window always holds a gapless beginning of the table, or nothing; what lies behind it is
// read again when the window has run empty.

export interface Entry {
  readonly at: number;
  readonly seq: number;
}

export class OrderedWindow<T extends Entry> {
  readonly #limit: number;
  readonly #entries: T[] = [];
  // Whether the table holds nothing that the window does not.
  #complete = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many entries it has. */
  get size(): number {
    return this.#entries.length;
  }

  /** How many entries to read in order to fill it. */
  get limit(): number {
    return this.#limit;
  }

  /** Whether the table holds nothing that is not known here. */
  get isComplete(): boolean {
    return this.#complete;
  }

  /** The entry that is due first, of those that are known. */
  get first(): T | undefined {
    return this.#entries[0];
  }

  /** Whether storage must be read before `first` can be trusted. */
  get needsFill(): boolean {
    return this.#entries.length === 0 && !this.#complete;
  }

  /** Takes the first `limit` entries of the table, or all if they are fewer. */
  fill(entries: readonly T[]): void {
    this.#entries.length = 0;
    this.#entries.push(...entries);
    this.#complete = entries.length < this.#limit;
  }

  /** Forgets everything, so that it is read again. */
  invalidate(): void {
    this.#entries.length = 0;
    this.#complete = false;
  }

  /** The first entries that are due before `now`, at most `limit`. */
  dueBefore(now: number, limit: number): readonly T[] {
    let n = 0;
    while (n < limit && n < this.#entries.length && this.#entries[n]!.at < now) n++;
    return this.#entries.slice(0, n);
  }

  /** Notes that an entry was added to the table. */
  add(entry: T): void {
    const entries = this.#entries;
    const last = entries.at(-1);
    if (!this.#complete && (last === undefined || compare(entry, last) > 0)) return;
    let index = entries.length;
    while (index > 0 && compare(entry, entries[index - 1]!) < 0) index--;
    entries.splice(index, 0, entry);
    if (entries.length > this.#limit) {
      entries.pop();
      this.#complete = false;
    }
  }

  /** Notes that an entry was removed from the table. */
  remove(entry: Entry): void {
    const entries = this.#entries;
    let low = 0;
    for (let high = entries.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (compare(entries[middle]!, entry) < 0) low = middle + 1;
      else high = middle;
    }
    if (low < entries.length && compare(entries[low]!, entry) === 0) entries.splice(low, 1);
  }
}

function compare(a: Entry, b: Entry): number {
  return a.at - b.at || a.seq - b.seq;
}
