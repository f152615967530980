// Rows of the storage in memory, in order. They lie in chunks: every operation costs a binary search and
// the rows that it touches, and nothing scans what is held. What is removed is let go at once.

// Inserting in the middle moves half a chunk on average, so a chunk is small; appending fills it up.
const CHUNK_ROWS = 512;
// Neighbours that together hold fewer are merged, so that scattered removals leave no thin chunks.
const MERGE_ROWS = CHUNK_ROWS / 4;

/** Rows in ascending order of a part of them, the key. No chunk is ever empty. */
export class SortedTable<K, T extends K> {
  readonly #compare: (a: K, b: K) => number;
  #chunks: T[][] = [];
  #size = 0;

  constructor(compare: (a: K, b: K) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#size;
  }

  get last(): T | undefined {
    return this.#chunks.at(-1)?.at(-1);
  }

  /** Adds a row, unless there is one with its key. */
  add(row: T): void {
    const last = this.#chunks.at(-1);
    if (last === undefined || this.#compare(last.at(-1)!, row) < 0) {
      if (last === undefined || last.length === CHUNK_ROWS) this.#chunks.push([row]);
      else last.push(row);
      this.#size++;
      return;
    }
    const at = this.#chunkOf(row);
    const chunk = this.#chunks[at]!;
    const index = this.#indexIn(chunk, row);
    if (this.#isAt(chunk, index, row)) return;
    chunk.splice(index, 0, row);
    this.#size++;
    if (chunk.length > CHUNK_ROWS) this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK_ROWS / 2));
  }

  has(key: K): boolean {
    const chunk = this.#chunks[this.#chunkOf(key)];
    return chunk !== undefined && this.#isAt(chunk, this.#indexIn(chunk, key), key);
  }

  /** Removes and answers the row with a key. */
  remove(key: K): T | undefined {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) return undefined;
    const index = this.#indexIn(chunk, key);
    if (!this.#isAt(chunk, index, key)) return undefined;
    // shift() of an array costs the same whatever its length, splice() moves what lies behind.
    const row = index === 0 ? chunk.shift() : chunk.splice(index, 1)[0];
    this.#size--;
    if (chunk.length === 0) {
      if (at === 0) this.#chunks.shift();
      else this.#chunks.splice(at, 1);
    } else if (!this.#merge(at)) this.#merge(at - 1);
    return row;
  }

  /** The rows from the first on whose key is not before this one. The table must not change meanwhile. */
  *from(key: K): Generator<T, void, undefined> {
    const start = this.#chunkOf(key);
    for (let at = start; at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]!;
      let index = at === start ? this.#indexIn(chunk, key) : 0;
      for (; index < chunk.length; index++) yield chunk[index]!;
    }
  }

  /** The rows before a key, the last of them first; without one, all. The table must not change meanwhile. */
  *backFrom(key?: K): Generator<T, void, undefined> {
    const start = key === undefined ? this.#chunks.length - 1 : this.#chunkOf(key);
    for (let at = start; at >= 0; at--) {
      const chunk = this.#chunks[at];
      if (chunk === undefined) return; // there is none at all
      const isFirst = at === start && key !== undefined;
      let index = isFirst ? this.#indexIn(chunk, key) : chunk.length;
      while (index > 0) yield chunk[--index]!;
    }
  }

  /** At most so many rows, those that come first. */
  first(limit: number): readonly T[] {
    const rows: T[] = [];
    for (const chunk of this.#chunks) {
      if (rows.length >= limit) break;
      rows.push(...chunk.slice(0, limit - rows.length));
    }
    return rows;
  }

  /** Removes at most so many rows, those that come last; answers how many. */
  removeSome(limit: number): number {
    let removed = 0;
    while (removed < limit && this.#chunks.length > 0) {
      const last = this.#chunks.at(-1)!;
      const count = Math.min(last.length, limit - removed);
      last.length -= count;
      if (last.length === 0) this.#chunks.pop();
      removed += count;
    }
    this.#size -= removed;
    return removed;
  }

  /** The last chunk that begins with the key or before it; the first if there is none. */
  #chunkOf(key: K): number {
    let low = 0;
    for (let high = this.#chunks.length - 1; low < high; ) {
      const middle = (low + high + 1) >>> 1;
      if (this.#compare(this.#chunks[middle]![0]!, key) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #indexIn(chunk: readonly T[], key: K): number {
    let low = 0;
    for (let high = chunk.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#compare(chunk[middle]!, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #isAt(chunk: readonly T[], index: number, key: K): boolean {
    return index < chunk.length && this.#compare(chunk[index]!, key) === 0;
  }

  #merge(at: number): boolean {
    const chunk = this.#chunks[at];
    const next = this.#chunks[at + 1];
    if (chunk === undefined || next === undefined) return false;
    if (chunk.length + next.length >= MERGE_ROWS) return false;
    chunk.push(...next);
    this.#chunks.splice(at + 1, 1);
    return true;
  }
}
