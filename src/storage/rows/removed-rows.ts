// Which items are gone although their rows are still there. Items are completed one here and one
// there, by whichever consumer is done first, and deleting a single row rewrites a page full of
// neighbours that will go in the next moment. So a removal is first written as a bit, 1,024 of
// them to a small row, and the rows of the items go later, in whole ranges. How much is held back
// is bounded. What a transaction marks counts at once, and for good only after `commit`.

import type { SeqRange } from "../storage.ts";

/** Numbers that share one row of bits. */
export const CHUNK = 1_024;

// What one partition may hold back: items, bytes of them, chunks; and what all may, in items.
const ITEMS_MAX = 2 * CHUNK;
const BYTES_MAX = 8 * 1024 * 1024;
const CHUNKS_MAX = 8;
const ALL_ITEMS_MAX = 64 * CHUNK;

// Until items have been added it is not known how large those that are removed may be.
const BYTES_UNKNOWN = 64 * 1024;
const MEAN_WEIGHT = 1 / 64;

/** What a commit has to write so that storage holds what memory does. */
export interface RemovedChanges {
  /** Rows of items to delete. */
  readonly ranges: readonly SeqRange[];
  /** Rows of bits to write, and those to delete. */
  readonly writes: readonly { readonly chunk: number; readonly bits: Uint8Array }[];
  readonly drops: readonly number[];
}

/** The items of one partition that are held back; within a transaction a copy. */
class Held {
  readonly chunks: Map<number, Uint8Array>;
  readonly changed = new Set<number>();
  count: number;
  meanBytes: number;

  constructor(from?: Held) {
    this.chunks = new Map(from?.chunks);
    this.count = from?.count ?? 0;
    this.meanBytes = from?.meanBytes ?? BYTES_UNKNOWN;
  }

  has(seq: number): boolean {
    const bits = this.chunks.get(Math.floor(seq / CHUNK));
    return bits !== undefined && (bits[(seq % CHUNK) >> 3]! & (1 << (seq & 7))) !== 0;
  }

  mark(seq: number): void {
    const chunk = Math.floor(seq / CHUNK);
    let bits = this.chunks.get(chunk);
    if (bits === undefined || !this.changed.has(chunk)) {
      bits = bits === undefined ? new Uint8Array(CHUNK / 8) : bits.slice();
      this.chunks.set(chunk, bits);
      this.changed.add(chunk);
    }
    const index = (seq % CHUNK) >> 3;
    const bit = 1 << (seq & 7);
    if ((bits[index]! & bit) === 0) this.count++;
    bits[index]! |= bit;
  }

  get isFull(): boolean {
    const itemsMax = Math.min(ITEMS_MAX, BYTES_MAX / this.meanBytes);
    return this.count > itemsMax || this.chunks.size > CHUNKS_MAX;
  }

  /** Gives up the chunk with the lowest numbers: answers its number and what it held. */
  shift(): { readonly chunk: number; readonly ranges: readonly SeqRange[] } {
    const chunk = Math.min(...this.chunks.keys());
    const ranges = rangesOf(chunk * CHUNK, this.chunks.get(chunk)!);
    for (const { first, last } of ranges) this.count -= last - first + 1;
    this.chunks.delete(chunk);
    this.changed.delete(chunk);
    return { chunk, ranges };
  }
}

export class RemovedRows {
  readonly #held = new Map<number, Held>();
  // Copies of those that the transaction under way changes.
  readonly #pending = new Map<number, Held>();
  #count = 0;

  /** Takes a row of bits as it was found at opening; throws if it is none. */
  load(partition: number, chunk: number, bits: Uint8Array): void {
    if (bits.length !== CHUNK / 8) throw new Error(`removed items of chunk ${chunk} are damaged`);
    const held = this.#held.get(partition) ?? new Held();
    held.chunks.set(chunk, bits);
    for (const { first, last } of rangesOf(chunk * CHUNK, bits)) {
      held.count += last - first + 1;
      this.#count += last - first + 1;
    }
    this.#held.set(partition, held);
  }

  /** Tells removed items of a partition from those that are there; undefined if none is held back. */
  of(partition: number): { has(seq: number): boolean } | undefined {
    const held = this.#pending.get(partition) ?? this.#held.get(partition);
    return held === undefined || held.count === 0 ? undefined : held;
  }

  /**
   * Tells what is removed, as of now, for a read that is on its way while a commit may be: whether
   * the read sees it or not, nothing is answered that either side of it has removed.
   */
  snapshot(partition: number): { has(seq: number): boolean } {
    const held = this.#held.get(partition);
    // Chunks are replaced, never written to, until they are committed; the map of them is not.
    const pending = this.#pending.get(partition);
    const marked = pending === undefined ? undefined : new Held(pending);
    return { has: (seq) => held?.has(seq) === true || marked?.has(seq) === true };
  }

  /** Forgets what is held of a partition, for it is read anew. */
  reset(partition: number): void {
    this.#count -= this.#held.get(partition)?.count ?? 0;
    this.#held.delete(partition);
    this.#pending.delete(partition);
  }

  /** Marks items as removed. */
  mark(partition: number, { first, last }: SeqRange): void {
    const held = this.#change(partition);
    for (let seq = first; seq <= last; seq++) held.mark(seq);
  }

  /** Notes that so many items, with so many bytes, were added: how large those are that go later. */
  noteAdded(partition: number, items: number, bytes: number): void {
    const held = this.#change(partition);
    const weight = Math.min(items * MEAN_WEIGHT, 1);
    held.meanBytes += (bytes / items - held.meanBytes) * weight;
  }

  /** What has to be written for a partition before the transaction is committed. */
  changes(partition: number): RemovedChanges {
    const held = this.#pending.get(partition);
    if (held === undefined) return { ranges: [], writes: [], drops: [] };
    const ranges: SeqRange[] = [];
    const drops: number[] = [];
    const allFull = this.#count > ALL_ITEMS_MAX;
    while (held.isFull || (allFull && held.count > 0)) {
      const given = held.shift();
      ranges.push(...given.ranges);
      drops.push(given.chunk);
    }
    const writes = Array.from(held.changed, (chunk) => ({ chunk, bits: held.chunks.get(chunk)! }));
    return { ranges, writes, drops };
  }

  /** Forgets a partition whose rows are gone. */
  forget(partition: number): void {
    this.#pending.set(partition, new Held());
  }

  commit(): void {
    for (const [partition, held] of this.#pending) {
      this.#count += held.count - (this.#held.get(partition)?.count ?? 0);
      held.changed.clear();
      this.#held.set(partition, held);
    }
    this.#pending.clear();
  }

  rollback(): void {
    this.#pending.clear();
  }

  #change(partition: number): Held {
    let held = this.#pending.get(partition);
    if (held === undefined) {
      held = new Held(this.#held.get(partition));
      this.#pending.set(partition, held);
    }
    return held;
  }
}

// The runs of bits that are set; the first bit stands for the number `base`.
function rangesOf(base: number, bits: Uint8Array): readonly SeqRange[] {
  const ranges: SeqRange[] = [];
  let first = -1;
  for (let i = 0; i <= CHUNK; i++) {
    const set = i < CHUNK && (bits[i >> 3]! & (1 << (i & 7))) !== 0;
    if (set && first < 0) first = i;
    if (!set && first >= 0) {
      ranges.push({ first: base + first, last: base + i - 1 });
      first = -1;
    }
  }
  return ranges;
}
