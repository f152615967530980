// The reference driver, and the one behind `--memory`: ordered tables in memory, nothing on disk.
// A commit is checked whole before any of it is applied, and applying cannot fail, so that it
// happens or it does not. What was removed is let go at once, because rows carry payloads. Records are
// kept by reference and never written to.

import { SortedTable } from "./sorted-table.ts";
import {
  type Counters,
  type Expiry,
  type HeldItem,
  type ItemTable,
  type KeyEntry,
  type KeyName,
  LANE_SPAN,
  type LeaseMark,
  type ListKeysOptions,
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
  type StoredRecord,
} from "./storage.ts";

type Seq = Pick<StoredItem, "seq">;
type Due = Pick<StoredItem, "dueAt" | "seq">;
type InGroup = { readonly group: string; readonly seq: number };
type Ending = Pick<KeyEntry, "until" | "kind" | "key">;

/** What of a partition is in `held`. */
interface HeldRow extends StoredItem {
  readonly group: string;
}

// One text for each name; kinds are small numbers.
const nameOf = ({ kind, key }: KeyName): string => `${kind} ${key}`;

const bySeq = (a: Seq, b: Seq): number => a.seq - b.seq;
const byDue = (a: Due, b: Due): number => a.dueAt - b.dueAt || a.seq - b.seq;
const byAt = (a: Expiry, b: Expiry): number => a.at - b.at || a.first - b.first;
const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byGroup = (a: InGroup, b: InGroup): number => byText(a.group, b.group) || a.seq - b.seq;
const byUntil = (a: Ending, b: Ending): number =>
  a.until - b.until || a.kind - b.kind || byText(a.key, b.key);

const byName = (a: Pick<KeyName, "key">, b: Pick<KeyName, "key">): number => byBytes(a.key, b.key);

/** The order of texts by their bytes in UTF-8, in which what is beyond the basic plane comes last. */
function byBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = weightOf(a.charCodeAt(i)) - weightOf(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

// Halves of pairs, from 0xd800 on, stand for characters behind those from 0xe000 on.
function weightOf(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** All rows of one partition. */
class Partition {
  stored: StoredPartition;
  counters: Counters = { ...NEW_COUNTERS };
  readonly items = new SortedTable<Seq, StoredItem>(bySeq);
  readonly scheduled = new SortedTable<Seq, StoredItem>(bySeq);
  /** An index: the rows of `scheduled` in the order in which they are due. */
  readonly due = new SortedTable<Due, StoredItem>(byDue);
  readonly held = new SortedTable<Seq, HeldRow>(bySeq);
  /** An index: the rows of `held` by what they wait for. */
  readonly groups = new SortedTable<InGroup, HeldRow>(byGroup);
  /** By `first`. */
  readonly leases = new Map<number, LeaseMark>();
  readonly expiries = new SortedTable<Expiry, Expiry>(byAt);
  /** By nameOf. */
  readonly keys = new Map<string, KeyEntry>();
  /** An index: those of `keys` that end by themselves. */
  readonly endingKeys = new SortedTable<Ending, KeyEntry>(byUntil);
  /** An index of each kind that was ever listed, as the others need none: those of `keys` by name. */
  readonly #listed = new Map<number, SortedTable<Pick<KeyName, "key">, KeyEntry>>();

  constructor(stored: StoredPartition) {
    this.stored = stored;
  }

  /** Throws if the changes cannot all be applied; changes nothing. */
  check(changes: PartitionChanges): void {
    this.#checkAdds("items", changes.adds);
    this.#checkAdds("scheduled", changes.addsScheduled);
    this.#checkAdds("held", itemsOf(changes.addsHeld));
    this.#checkLeases(changes);
    if (changes.moves.length > 0) this.#checkMoves(changes);
  }

  /** Applies changes that were checked. */
  apply(changes: PartitionChanges): void {
    this.counters = { ...changes.counters };
    for (const item of changes.adds) this.#put("items", copyOf(item));
    for (const item of changes.addsScheduled) this.#put("scheduled", copyOf(item));
    for (const { group, item } of changes.addsHeld) this.#put("held", copyOf(item), group);
    for (const first of changes.releases) this.leases.delete(first);
    for (const lease of changes.leases) this.leases.set(lease.first, { ...lease });
    for (const move of changes.moves) {
      const { toSeq: seq, attempts, expireAt, dueAt, attributes, group } = move;
      const item = copyOf(this.#take(move.from, move.fromSeq)!);
      const to = { seq, attempts, expireAt, dueAt, attributes, leaseDeadline: 0 };
      this.#put(move.to, { ...item, ...to }, group);
    }
    for (const range of changes.removes) this.#removeRange("items", range);
    for (const range of changes.removesScheduled) this.#removeRange("scheduled", range);
    for (const range of changes.removesHeld) this.#removeRange("held", range);
    for (const expiry of changes.addsExpiry) this.expiries.add({ ...expiry });
    for (const expiry of changes.removesExpiry) this.expiries.remove(expiry);
    for (const name of changes.removesKey) this.#removeKey(name);
    for (const entry of changes.addsKey) {
      this.#removeKey(entry);
      const kept = { ...entry };
      this.keys.set(nameOf(kept), kept);
      this.#listed.get(kept.kind)?.add(kept);
      if (kept.until !== 0) this.endingKeys.add(kept);
    }
  }

  /** Removes at most so many rows of any kind; answers how many. */
  removeSome(limit: number): number {
    let left = limit;
    left -= this.items.removeSome(left);
    left -= this.scheduled.removeSome(left);
    if (this.scheduled.size === 0) this.due.removeSome(Number.POSITIVE_INFINITY);
    left -= this.held.removeSome(left);
    if (this.held.size === 0) this.groups.removeSome(Number.POSITIVE_INFINITY);
    left -= deleteSome(this.leases, left);
    left -= this.expiries.removeSome(left);
    left -= deleteSome(this.keys, left);
    if (this.keys.size === 0) this.endingKeys.removeSome(Number.POSITIVE_INFINITY);
    this.#listed.clear();
    return limit - left;
  }

  get isEmpty(): boolean {
    const { items, scheduled, held, leases, expiries, keys } = this;
    const itemsLeft = items.size + scheduled.size + held.size;
    return itemsLeft + leases.size + expiries.size + keys.size === 0;
  }

  /** Items that are leased because of their place, without records. */
  get leased(): readonly StoredItem[] {
    const leased: StoredItem[] = [];
    const { head, lanes } = this.counters;
    for (const lane of [{ lane: 0, head }, ...lanes]) {
      for (const item of this.items.from({ seq: lane.lane * LANE_SPAN })) {
        if (item.seq >= lane.head) break;
        leased.push(withoutRecord(item));
      }
    }
    return leased;
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
  #checkMoves({ adds, addsScheduled, addsHeld, moves }: PartitionChanges): void {
    const changed = {
      items: new Map(adds.map(({ seq }) => [seq, true])),
      scheduled: new Map(addsScheduled.map(({ seq }) => [seq, true])),
      held: new Map(itemsOf(addsHeld).map(({ seq }) => [seq, true])),
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

  #put(table: ItemTable, item: StoredItem, group = ""): void {
    if (table === "held") {
      const row = { ...item, group };
      this.held.add(row);
      this.groups.add(row);
      return;
    }
    this[table].add(item);
    if (table === "scheduled") this.due.add(item);
  }

  #take(table: ItemTable, seq: number): StoredItem | undefined {
    if (table === "held") {
      const row = this.held.remove({ seq });
      if (row !== undefined) this.groups.remove(row);
      return row;
    }
    const item = this[table].remove({ seq });
    if (item !== undefined && table === "scheduled") this.due.remove(item);
    return item;
  }

  #removeKey(name: KeyName): void {
    const entry = this.keys.get(nameOf(name));
    if (entry === undefined) return;
    this.keys.delete(nameOf(name));
    this.#listed.get(entry.kind)?.remove(entry);
    if (entry.until !== 0) this.endingKeys.remove(entry);
  }

  /** Those of `keys` that are of a kind, by name. */
  keysOf(kind: number): SortedTable<Pick<KeyName, "key">, KeyEntry> {
    let keys = this.#listed.get(kind);
    if (keys === undefined) {
      keys = new SortedTable<Pick<KeyName, "key">, KeyEntry>(byName);
      const all = [...this.keys.values()].filter((entry) => entry.kind === kind);
      for (const entry of all.sort(byName)) keys.add(entry);
      this.#listed.set(kind, keys);
    }
    return keys;
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
    const { stored, counters, leased, leases } = this.#partition(key);
    return {
      idPrefix: stored.idPrefix,
      counters: { ...counters },
      leased,
      leases: [...leases.values()],
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
      items.push(records ? (table === "held" ? copyOf(item) : item) : withoutRecord(item));
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

  async readHeld(key: number, group: string, limit: number): Promise<readonly StoredItem[]> {
    const items: StoredItem[] = [];
    for (const item of this.#partition(key).groups.from({ group, seq: 0 })) {
      if (item.group !== group || items.length >= limit) break;
      items.push(withoutRecord(item));
    }
    return items;
  }

  async findKeys(
    key: number,
    kind: number,
    names: readonly string[],
  ): Promise<ReadonlyMap<string, KeyEntry>> {
    const { keys } = this.#partition(key);
    const found = new Map<string, KeyEntry>();
    for (const name of names) {
      const entry = keys.get(nameOf({ kind, key: name }));
      if (entry !== undefined) found.set(name, entry);
    }
    return found;
  }

  async listKeys(
    key: number,
    kind: number,
    { after, limit, order, bytesMax = Number.POSITIVE_INFINITY }: ListKeysOptions,
  ): Promise<readonly KeyEntry[]> {
    const entries: KeyEntry[] = [];
    if (limit <= 0) return entries;
    const keys = this.#partition(key).keysOf(kind);
    const name = { key: after };
    const rows =
      order === "ascending" ? keys.from(name) : keys.backFrom(after === "" ? undefined : name);
    let bytes = 0;
    for (const entry of rows) {
      if (entry.key === after) continue;
      entries.push(entry);
      bytes += entry.value.length;
      if (entries.length >= limit || bytes >= bytesMax) break;
    }
    return entries;
  }

  async readKeysDue(key: number, limit: number): Promise<readonly KeyEntry[]> {
    return this.#partition(key).endingKeys.first(limit);
  }

  async putQueues(records: readonly StoredRecord[], gone: readonly string[] = []): Promise<void> {
    for (const name of gone) this.#queues.delete(name);
    for (const { name, record } of records) this.#queues.set(name, record);
  }

  async deleteQueue(name: string): Promise<void> {
    this.#queues.delete(name);
  }

  // By bytes, not by UTF-16 units as sort() would: those differ beyond the basic plane.
  async listQueues(): Promise<readonly StoredRecord[]> {
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

// The loop goes on to change its own items; what is stored must not change with them. And what is
// stored has members that are nobody else's.
function copyOf(item: StoredItem, record = item.record): StoredItem {
  const { seq, createdAt, expireAt, attempts, leaseDeadline, dueAt, attributes } = item;
  return { seq, createdAt, expireAt, attempts, leaseDeadline, dueAt, attributes, record };
}

function withoutRecord(item: StoredItem): StoredItem {
  return copyOf(item, NO_RECORD);
}

const itemsOf = (held: readonly HeldItem[]): readonly StoredItem[] => held.map(({ item }) => item);

function deleteSome<K>(rows: Map<K, unknown>, limit: number): number {
  let deleted = 0;
  for (const key of rows.keys()) {
    if (deleted >= limit) break;
    rows.delete(key);
    deleted++;
  }
  return deleted;
}
