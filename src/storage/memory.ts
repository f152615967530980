// The reference driver, and the one behind `--memory`: ordered tables in memory, nothing on disk.
// A commit is checked whole before any of it is applied, so it happens or it does not.

import {
  type Expiry,
  type ItemTable,
  type NewPartition,
  NO_RECORD,
  type PartitionChanges,
  type PartitionState,
  type ReadOptions,
  type Storage,
  type StoredItem,
  type StoredPartition,
} from "./storage.ts";

/** Entries in ascending order: quick to append to, to take from the front of, and to search. */
class SortedTable<T> {
  readonly #compare: (a: T, b: T) => number;
  #rows: (T | undefined)[] = [];
  // Keys stay where a row was removed, so that searching still works; compacted now and then.
  #keys: T[] = [];
  #start = 0;
  #removed = 0;

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#rows.length - this.#start - this.#removed;
  }

  /** Adds a row, or puts it in the place of its equal. */
  put(row: T): void {
    const last = this.#keys.at(-1);
    if (last === undefined || this.#compare(row, last) > 0) {
      this.#keys.push(row);
      this.#rows.push(row);
      return;
    }
    const index = this.#find(row);
    if (index < this.#keys.length && this.#compare(this.#keys[index]!, row) === 0) {
      if (this.#rows[index] === undefined) this.#removed--;
      this.#rows[index] = row;
      this.#keys[index] = row;
    } else {
      this.#keys.splice(index, 0, row);
      this.#rows.splice(index, 0, row);
    }
  }

  get(row: T): T | undefined {
    const index = this.#find(row);
    const found = this.#rows[index];
    return found !== undefined && this.#compare(found, row) === 0 ? found : undefined;
  }

  remove(row: T): boolean {
    const index = this.#find(row);
    const found = this.#rows[index];
    if (found === undefined || this.#compare(found, row) !== 0) return false;
    this.#rows[index] = undefined;
    this.#removed++;
    while (this.#start < this.#rows.length && this.#rows[this.#start] === undefined) {
      this.#start++;
      this.#removed--;
    }
    if (this.#start > 1_024 && this.#start * 2 > this.#rows.length) this.#compact();
    else if (this.#removed > 1_024 && this.#removed * 2 > this.#rows.length) this.#compact();
    return true;
  }

  /** The rows from the first that is not before `from` on. */
  *from(from: T): Iterable<T> {
    for (let i = this.#find(from); i < this.#rows.length; i++) {
      const row = this.#rows[i];
      if (row !== undefined) yield row;
    }
  }

  #find(row: T): number {
    let low = this.#start;
    for (let high = this.#keys.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#compare(this.#keys[middle]!, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #compact(): void {
    const rows = this.#rows.filter((row) => row !== undefined);
    this.#rows = rows;
    this.#keys = [...rows];
    this.#start = 0;
    this.#removed = 0;
  }
}

type Seq = Pick<StoredItem, "seq">;
type Due = Pick<StoredItem, "dueAt" | "seq">;

interface MemoryPartition {
  stored: StoredPartition;
  counters: PartitionState["counters"];
  readonly items: SortedTable<Seq>;
  readonly scheduled: SortedTable<Seq>;
  readonly due: SortedTable<Due>;
  readonly leases: Map<number, PartitionState["leases"][number]>;
  readonly expiries: SortedTable<Expiry>;
  readonly sources: Set<string>;
}

const bySeq = (a: Seq, b: Seq): number => a.seq - b.seq;

export class MemoryStorage implements Storage {
  readonly name: string;
  readonly driver = "memory";
  readonly #partitions = new Map<number, MemoryPartition>();
  readonly #queues = new Map<string, string>();
  #lastKey = 0;

  constructor(options: { readonly name: string }) {
    this.name = options.name;
  }

  async commit(changes: readonly PartitionChanges[]): Promise<void> {
    for (const change of changes) this.#check(change);
    for (const change of changes) this.#apply(change);
  }

  #partition(key: number): MemoryPartition {
    const partition = this.#partitions.get(key);
    if (partition === undefined) throw new Error(`no partition ${key} in storage '${this.name}'`);
    return partition;
  }

  #check(change: PartitionChanges): void {
    const partition = this.#partition(change.partition);
    const { key } = partition.stored;
    for (const table of ["items", "scheduled"] as const) {
      const added = table === "items" ? change.adds : change.addsScheduled;
      const seqs = new Set<number>();
      for (const { seq } of added) {
        if (seqs.has(seq) || partition[table].get({ seq }) !== undefined) {
          throw new Error(`item ${seq} is in ${table} of partition ${key} already`);
        }
        seqs.add(seq);
      }
      for (const move of change.moves) {
        if (move.from !== table) continue;
        if (seqs.has(move.fromSeq) || partition[table].get({ seq: move.fromSeq }) !== undefined) {
          continue;
        }
        throw new Error(`no item ${move.fromSeq} in ${table} of partition ${key}`);
      }
    }
    const sources = new Set<string>();
    for (const id of change.addsSource) {
      if (sources.has(id) || partition.sources.has(id)) {
        throw new Error(`source '${id}' is in partition ${key} already`);
      }
      sources.add(id);
    }
  }

  #apply(change: PartitionChanges): void {
    const partition = this.#partition(change.partition);
    partition.counters = { ...change.counters };
    for (const item of change.adds) partition.items.put(copy(item));
    for (const item of change.addsScheduled) schedule(partition, copy(item));
    for (const lease of change.leases) partition.leases.set(lease.first, { ...lease });
    for (const move of change.moves) {
      const item = take(partition, move.from, move.fromSeq)!;
      const { toSeq: seq, attempts, expireAt, dueAt } = move;
      const moved = { ...item, seq, attempts, expireAt, dueAt, leaseDeadline: 0 };
      if (move.to === "items") partition.items.put(moved);
      else schedule(partition, moved);
    }
    for (const { first, last } of change.removes) {
      for (const { seq } of rangeOf(partition.items, first, last)) take(partition, "items", seq);
    }
    for (const { first, last } of change.removesScheduled) {
      for (const { seq } of rangeOf(partition.scheduled, first, last)) {
        take(partition, "scheduled", seq);
      }
    }
    for (const first of change.releases) partition.leases.delete(first);
    for (const expiry of change.addsExpiry) partition.expiries.put({ ...expiry });
    for (const expiry of change.removesExpiry) partition.expiries.remove(expiry);
    for (const id of change.addsSource) partition.sources.add(id);
    for (const id of change.removesSource) partition.sources.delete(id);
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    return partitions.map(({ queue, number, idPrefix, createdAt }) => {
      const key = ++this.#lastKey;
      this.#partitions.set(key, {
        stored: { key, queue, number, idPrefix, createdAt, dropped: false },
        counters: { head: 1, tail: 1, total: 0, scheduled: 0, createdSum: 0 },
        items: new SortedTable(bySeq),
        scheduled: new SortedTable(bySeq),
        due: new SortedTable((a, b) => a.dueAt - b.dueAt || a.seq - b.seq),
        leases: new Map(),
        expiries: new SortedTable((a, b) => a.at - b.at || a.first - b.first),
        sources: new Set(),
      });
      return key;
    });
  }

  async listPartitions(): Promise<readonly StoredPartition[]> {
    return [...this.#partitions.values()].map((partition) => partition.stored);
  }

  async dropPartitions(keys: readonly number[]): Promise<void> {
    for (const key of keys) {
      const partition = this.#partition(key);
      partition.stored = { ...partition.stored, dropped: true };
    }
  }

  // Nothing has to be removed row by row here: a partition is let go whole.
  async sweep(_limit: number): Promise<boolean> {
    for (const { stored } of this.#partitions.values()) {
      if (stored.dropped) this.#partitions.delete(stored.key);
    }
    return false;
  }

  async loadPartition(key: number): Promise<PartitionState> {
    const { counters, items, leases } = this.#partition(key);
    const leased: StoredItem[] = [];
    for (const item of items.from({ seq: 0 }) as Iterable<StoredItem>) {
      if (item.seq >= counters.head) break;
      leased.push({ ...item, record: NO_RECORD });
    }
    return {
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
    const rows = this.#partition(key)[table].from({ seq: options.from }) as Iterable<StoredItem>;
    const items: StoredItem[] = [];
    let bytes = 0;
    for (const item of rows) {
      if (item.seq >= options.before || items.length >= options.limit) break;
      items.push(options.records ? item : { ...item, record: NO_RECORD });
      bytes += options.records ? item.record.payload.length : 0;
      if (options.records && bytes >= options.bytesMax) break;
    }
    return items;
  }

  async readScheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    const items: StoredItem[] = [];
    for (const item of this.#partition(key).due.from({ dueAt: 0, seq: 0 })) {
      if (items.length >= limit) break;
      items.push({ ...(item as StoredItem), record: NO_RECORD });
    }
    return items;
  }

  async readExpiries(key: number, limit: number): Promise<readonly Expiry[]> {
    const expiries: Expiry[] = [];
    for (const expiry of this.#partition(key).expiries.from({ at: 0, first: 0 })) {
      if (expiries.length >= limit) break;
      expiries.push(expiry);
    }
    return expiries;
  }

  async findSources(key: number, sourceIds: readonly string[]): Promise<ReadonlySet<string>> {
    const { sources } = this.#partition(key);
    return new Set(sourceIds.filter((id) => sources.has(id)));
  }

  async putQueue(name: string, record: string): Promise<void> {
    this.#queues.set(name, record);
  }

  async deleteQueue(name: string): Promise<void> {
    this.#queues.delete(name);
  }

  async listQueues(): Promise<readonly { readonly name: string; readonly record: string }[]> {
    return [...this.#queues]
      .map(([name, record]) => ({ name, record }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  async check(): Promise<void> {}

  async close(): Promise<void> {
    this.#partitions.clear();
    this.#queues.clear();
  }
}

// The loop goes on to change its own items; what is stored must not change with them.
function copy(item: StoredItem): StoredItem {
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

function schedule(partition: MemoryPartition, item: StoredItem): void {
  partition.scheduled.put(item);
  partition.due.put(item);
}

function take(partition: MemoryPartition, table: ItemTable, seq: number): StoredItem | undefined {
  const item = partition[table].get({ seq }) as StoredItem | undefined;
  if (item === undefined) return undefined;
  partition[table].remove(item);
  if (table === "scheduled") partition.due.remove(item);
  return item;
}

function rangeOf(table: SortedTable<Seq>, first: number, last: number): readonly Seq[] {
  const rows: Seq[] = [];
  for (const row of table.from({ seq: first })) {
    if (row.seq > last) break;
    rows.push(row);
  }
  return rows;
}
