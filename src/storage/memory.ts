// The reference driver, and the one behind `--memory`: ordered tables in memory, nothing on disk.
// A commit is checked whole before any of it is applied, and applying cannot fail, so that it
// happens or it does not. Nothing here scans what is held: rows lie in chunks, and every operation
// costs a binary search and the rows it touches. What was removed is let go at once, because rows
// carry payloads. Records are kept by reference and never written to.

import {
  type Counters,
  type Expiry,
  type ItemTable,
  type LeaseMark,
  NEW_COUNTERS,
  type NewPartition,
  NO_RECORD,
  type PartitionChanges,
  type PartitionState,
  type ReadOptions,
  type SeqRange,
  type Storage,
  type StoredItem,
  type StoredPartition,
} from "./storage.ts";

// Inserting in the middle moves half a chunk on average, so a chunk is small; appending fills it up.
const CHUNK_ROWS = 512;
// Neighbours that together hold fewer are merged, so that scattered removals leave no thin chunks.
const MERGE_ROWS = CHUNK_ROWS / 4;

/** Rows in ascending order of a part of them, the key. No chunk is ever empty. */
class SortedTable<K, T extends K> {
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

type Seq = Pick<StoredItem, "seq">;
type Due = Pick<StoredItem, "dueAt" | "seq">;

const bySeq = (a: Seq, b: Seq): number => a.seq - b.seq;
const byDue = (a: Due, b: Due): number => a.dueAt - b.dueAt || a.seq - b.seq;
const byAt = (a: Expiry, b: Expiry): number => a.at - b.at || a.first - b.first;

/** All rows of one partition. */
class Partition {
  stored: StoredPartition;
  counters: Counters = { ...NEW_COUNTERS };
  readonly items = new SortedTable<Seq, StoredItem>(bySeq);
  readonly scheduled = new SortedTable<Seq, StoredItem>(bySeq);
  /** An index: the rows of `scheduled` in the order in which they are due. */
  readonly due = new SortedTable<Due, StoredItem>(byDue);
  /** By `first`. */
  readonly leases = new Map<number, LeaseMark>();
  readonly expiries = new SortedTable<Expiry, Expiry>(byAt);
  /** The number of the item of each; 0 if there is none. */
  readonly sources = new Map<string, number>();

  constructor(stored: StoredPartition) {
    this.stored = stored;
  }

  /** Throws if the changes cannot all be applied; changes nothing. */
  check(changes: PartitionChanges): void {
    this.#checkAdds("items", changes.adds);
    this.#checkAdds("scheduled", changes.addsScheduled);
    this.#checkLeases(changes);
    if (changes.moves.length > 0) this.#checkMoves(changes);
    const sources = new Set<string>();
    for (const id of changes.addsSource) {
      if (this.sources.has(id) || sources.has(id)) throw this.#error(`source '${id}' is known`);
      sources.add(id);
    }
  }

  /** Applies changes that were checked. */
  apply(changes: PartitionChanges): void {
    this.counters = { ...changes.counters };
    for (const id of changes.addsSource) this.sources.set(id, 0);
    for (const item of changes.adds) this.#put("items", copyOf(item));
    for (const item of changes.addsScheduled) this.#put("scheduled", copyOf(item));
    for (const first of changes.releases) this.leases.delete(first);
    for (const lease of changes.leases) this.leases.set(lease.first, { ...lease });
    for (const move of changes.moves) {
      const { toSeq: seq, attempts, expireAt, dueAt } = move;
      const item = this.#take(move.from, move.fromSeq)!;
      this.#put(move.to, { ...item, seq, attempts, expireAt, dueAt, leaseDeadline: 0 });
    }
    for (const range of changes.removes) this.#removeRange("items", range);
    for (const range of changes.removesScheduled) this.#removeRange("scheduled", range);
    for (const expiry of changes.addsExpiry) this.expiries.add({ ...expiry });
    for (const expiry of changes.removesExpiry) this.expiries.remove(expiry);
    for (const id of changes.removesSource) this.sources.delete(id);
  }

  /** Removes at most so many rows of any kind; answers how many. */
  removeSome(limit: number): number {
    let left = limit;
    left -= this.items.removeSome(left);
    left -= this.scheduled.removeSome(left);
    if (this.scheduled.size === 0) this.due.removeSome(Number.POSITIVE_INFINITY);
    left -= deleteSome(this.leases, left);
    left -= this.expiries.removeSome(left);
    left -= deleteSome(this.sources, left);
    return limit - left;
  }

  get isEmpty(): boolean {
    const { items, scheduled, leases, expiries, sources } = this;
    return items.size + scheduled.size + leases.size + expiries.size + sources.size === 0;
  }

  // New items nearly always ascend behind all that is there; that is seen without a look-up.
  #checkAdds(table: ItemTable, items: readonly StoredItem[]): void {
    let after = this[table].last?.seq ?? 0;
    let ascending = true;
    for (const { seq } of items) {
      if (seq <= after) ascending = false;
      after = seq;
    }
    if (ascending) return;
    const seqs = new Set<number>();
    for (const { seq } of items) {
      if (this[table].has({ seq }) || seqs.has(seq)) throw this.#taken(table, seq);
      seqs.add(seq);
    }
  }

  #checkLeases({ releases, leases }: PartitionChanges): void {
    const firsts = new Set<number>();
    for (const { first } of leases) {
      const isTaken = this.leases.has(first) && !releases.includes(first);
      if (isTaken || firsts.has(first)) {
        throw this.#error(`there is a lease mark at ${first}`);
      }
      firsts.add(first);
    }
  }

  // Moves see what was added, and one another: an item can be moved on, its old number be taken.
  #checkMoves({ adds, addsScheduled, moves }: PartitionChanges): void {
    const changed = {
      items: new Map(adds.map(({ seq }) => [seq, true])),
      scheduled: new Map(addsScheduled.map(({ seq }) => [seq, true])),
    };
    const has = (table: ItemTable, seq: number): boolean =>
      changed[table].get(seq) ?? this[table].has({ seq });
    for (const { from, fromSeq, to, toSeq } of moves) {
      if (!has(from, fromSeq)) throw this.#error(`there is no item ${fromSeq} in ${from}`);
      if (has(to, toSeq)) throw this.#taken(to, toSeq);
      changed[from].set(fromSeq, false);
      changed[to].set(toSeq, true);
    }
  }

  #put(table: ItemTable, item: StoredItem): void {
    this[table].add(item);
    const { sourceId, seq } = item;
    if (sourceId !== "" && this.sources.has(sourceId)) this.sources.set(sourceId, seq);
    if (table === "scheduled") this.due.add(item);
  }

  #take(table: ItemTable, seq: number): StoredItem | undefined {
    const item = this[table].remove({ seq });
    if (item !== undefined && table === "scheduled") this.due.remove(item);
    return item;
  }

  #removeRange(table: ItemTable, { first, last }: SeqRange): void {
    if (first === last) {
      this.#take(table, first);
      return;
    }
    const seqs: number[] = [];
    for (const { seq } of this[table].from({ seq: first })) {
      if (seq > last) break;
      seqs.push(seq);
    }
    for (const seq of seqs) this.#take(table, seq);
  }

  #taken(table: ItemTable, seq: number): Error {
    return this.#error(`there is an item ${seq} in ${table} already`);
  }

  #error(reason: string): Error {
    return new Error(`Cannot commit to partition ${this.stored.key} as ${reason}`);
  }
}

/** Keeps everything in memory, and loses it when it is closed. */
export class MemoryStorage implements Storage {
  readonly name: string;
  readonly location = "memory";
  readonly isDurable = false;
  // By key; a Map keeps them in the order in which they were made, which is that of their keys.
  readonly #partitions = new Map<number, Partition>();
  readonly #queues = new Map<string, string>();
  #lastKey = 0;

  constructor(options: { readonly name: string }) {
    this.name = options.name;
  }

  async commit(changes: readonly PartitionChanges[]): Promise<void> {
    const partitions = changes.map((change) => this.#partition(change.partition));
    // Each is checked against what is there before the commit, which holds for the first only.
    if (new Set(partitions).size < partitions.length) {
      throw new Error(`Cannot commit to storage '${this.name}' as a partition appears twice`);
    }
    for (const [i, change] of changes.entries()) partitions[i]!.check(change);
    for (const [i, change] of changes.entries()) partitions[i]!.apply(change);
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    return partitions.map(({ queue, number, idPrefix, createdAt }) => {
      const key = ++this.#lastKey;
      const stored = { key, queue, number, idPrefix, createdAt, dropped: false };
      this.#partitions.set(key, new Partition(stored));
      return key;
    });
  }

  async listPartitions(): Promise<readonly StoredPartition[]> {
    return Array.from(this.#partitions.values(), (partition) => partition.stored);
  }

  // A key that is gone is passed over: a drop whose reply was lost is asked for again.
  async dropPartitions(keys: readonly number[]): Promise<void> {
    for (const key of keys) {
      const partition = this.#partitions.get(key);
      if (partition !== undefined) partition.stored = { ...partition.stored, dropped: true };
    }
  }

  async sweep(limit: number): Promise<boolean> {
    let left = limit;
    for (const [key, partition] of this.#partitions) {
      if (!partition.stored.dropped) continue;
      left -= partition.removeSome(left);
      if (!partition.isEmpty) return true;
      this.#partitions.delete(key);
    }
    return false;
  }

  async loadPartition(key: number): Promise<PartitionState> {
    const { stored, counters, items, leases } = this.#partition(key);
    const leased: StoredItem[] = [];
    for (const item of items.from({ seq: 0 })) {
      if (item.seq >= counters.head) break;
      leased.push(withoutRecord(item));
    }
    return {
      idPrefix: stored.idPrefix,
      counters: { ...counters },
      leased,
      leases: [...leases.values()].sort((a, b) => a.first - b.first),
    };
  }

  async readItems(
    key: number,
    table: ItemTable,
    options: ReadOptions,
  ): Promise<readonly StoredItem[]> {
    const { from, before, limit, bytesMax, records } = options;
    const items: StoredItem[] = [];
    if (limit <= 0) return items;
    let bytes = 0;
    for (const item of this.#partition(key)[table].from({ seq: from })) {
      if (item.seq >= before) break;
      items.push(records ? item : withoutRecord(item));
      if (items.length >= limit) break;
      bytes += item.record.size;
      if (records && bytes >= bytesMax) break;
    }
    return items;
  }

  async readScheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    const { due } = this.#partition(key);
    return due.first(limit).map(withoutRecord);
  }

  async readExpiries(key: number, limit: number): Promise<readonly Expiry[]> {
    const { expiries } = this.#partition(key);
    return expiries.first(limit);
  }

  async findSources(
    key: number,
    sourceIds: readonly string[],
  ): Promise<ReadonlyMap<string, number>> {
    const { sources } = this.#partition(key);
    const found = new Map<string, number>();
    for (const id of sourceIds) {
      const seq = sources.get(id);
      if (seq !== undefined) found.set(id, seq);
    }
    return found;
  }

  async putQueue(name: string, record: string): Promise<void> {
    this.#queues.set(name, record);
  }

  async deleteQueue(name: string): Promise<void> {
    this.#queues.delete(name);
  }

  // By bytes, not by UTF-16 units as sort() would: those differ beyond the basic plane.
  async listQueues(): Promise<readonly { readonly name: string; readonly record: string }[]> {
    return Array.from(this.#queues, ([name, record]) => ({
      name,
      record,
      bytes: Buffer.from(name),
    }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
      .map(({ name, record }) => ({ name, record }));
  }

  async check(): Promise<void> {}

  async close(): Promise<void> {
    this.#partitions.clear();
    this.#queues.clear();
  }

  #partition(key: number): Partition {
    const partition = this.#partitions.get(key);
    if (partition === undefined) throw new Error(`no partition ${key} in storage '${this.name}'`);
    return partition;
  }
}

// The loop goes on to change its own items; what is stored must not change with them.
function copyOf(item: StoredItem): StoredItem {
  const { seq, createdAt, expireAt, attempts, leaseDeadline } = item;
  const { dueAt, sourceId, maxAttempts, record } = item;
  return {
    seq,
    createdAt,
    expireAt,
    attempts,
    leaseDeadline,
    dueAt,
    sourceId,
    maxAttempts,
    record,
  };
}

function withoutRecord(item: StoredItem): StoredItem {
  return { ...item, record: NO_RECORD };
}

function deleteSome<K>(rows: Map<K, unknown>, limit: number): number {
  let deleted = 0;
  for (const key of rows.keys()) {
    if (deleted >= limit) break;
    rows.delete(key);
    deleted++;
  }
  return deleted;
}
