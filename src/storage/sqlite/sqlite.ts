// The embedded default: one SQLite file for all partitions of a thread, so that one fsync serves
// every queue that has work. WAL with synchronous=FULL: a commit has reached the disk before it is
// answered. The file can be opened with the sqlite3 tool, copied or streamed while the server runs.
// node:sqlite is synchronous, and that is meant: while the disk works, requests gather in the
// sockets and make the next batch bigger. Rows carry checksums; one that is not what was written is
// never served.

import { dirname } from "node:path";
import type { StatementSync } from "node:sqlite";
import { sumOfRow } from "../rows/checksum.ts";
import {
  BLOCK_COLUMNS,
  BLOCK_HEADER,
  type BlockHeader,
  type BlockRow,
  blockLength,
  blockValues,
  ITEM_COLUMNS,
  ITEM_HEADER,
  type ItemHeader,
  type ItemRow,
  itemOf,
  itemOfHeader,
  itemsOfHeader,
  itemValues,
  recordsOf,
  TABLES_OF_A_PARTITION,
} from "../rows/item-rows.ts";
import { CHUNK, RemovedRows } from "../rows/removed-rows.ts";
import {
  type Counters,
  type Expiry,
  type ItemTable,
  type LeaseMark,
  type Move,
  NEW_COUNTERS,
  type NewPartition,
  type PartitionChanges,
  type PartitionState,
  type ReadOptions,
  type SeqRange,
  type Storage,
  type StoredItem,
  type StoredPartition,
} from "../storage.ts";
import { startError, useError } from "./errors.ts";
import { openFile, type SqliteFile, type SqliteOptions } from "./file.ts";
import { FileLocked, fileLocked, isBusy, whenUnlocked } from "./locks.ts";
import type { StorageWatch } from "./log.ts";

// A range of at least so many items is deleted at once. A smaller one waits as bits: its edges would cut
// blocks, which a whole row of bits never does.
const RANGE_MIN = 2 * CHUNK;

// More than one partition can give within an interval, and few beside all that there are.
const NUMBERS_PASSED = 2 ** 24;

// The block that may hold an item: the last one that begins at it or before.
const BLOCK_AT = "first = (SELECT max(first) FROM items WHERE partition = @p AND first <= @s)";

/**
 * Opens, and makes if need be, the file in the directory.
 * Rejects with a QueueError whose message names the file and says what to do: when another server
 * has the directory, when the file is not ours, is damaged, or was written by a later version.
 */
export async function openSqliteStorage(options: SqliteOptions): Promise<Storage> {
  let storage: SqliteStorage | undefined;
  const watch: StorageWatch = {
    trouble: (check, text) => options.watch?.trouble(check, text),
    distrust() {
      storage?.distrust();
      options.watch?.distrust();
    },
  };
  const opened = await openFile({ ...options, watch });
  try {
    storage = new SqliteStorage({ ...options, watch }, opened);
    return storage;
  } catch (error) {
    opened.close(false);
    throw startError(opened.path, error);
  }
}

// What a partition counts, and the sum over it, in the order of `countersOf`.
const COUNTERS =
  "sum, head, tail, total, scheduled, created_sum, dropped_attempts, dropped_expired, dropped_rejected";

type CountersRow = [number, number, number, number, number, number, number, number];

type WatchedOptions = SqliteOptions & { readonly watch: StorageWatch };

class SqliteStorage implements Storage {
  readonly name: string;
  readonly location: string;
  readonly isDurable = true;
  readonly #file: SqliteFile;
  readonly #statements = new Map<string, StatementSync>();
  readonly #watch: StorageWatch;
  readonly #isLazy: boolean;
  #removed: RemovedRows;
  // Partitions of which more was acknowledged than is there: nothing of them is used that was not read since.
  readonly #stale = new Set<number>();
  // Whether what is above is still to be read anew.
  #isDistrusted = false;
  #isLocked = false;
  // Bytes of the items that the transaction under way adds.
  #bytes = 0;

  constructor({ name, syncInterval = 0, watch }: WatchedOptions, file: SqliteFile) {
    this.name = name;
    this.location = `sqlite:${dirname(file.path)}`;
    this.#file = file;
    this.#watch = watch;
    this.#isLazy = syncInterval > 0;
    this.#removed = this.#readRemoved();
    if (file.mayLack) this.#passNumbers();
  }

  #readRemoved(): RemovedRows {
    const removed = new RemovedRows();
    const rows = this.#read("SELECT partition, chunk, bits, sum FROM removed").iterate();
    for (const row of rows) {
      const [key, chunk, bits, sum] = row as unknown as [number, number, Uint8Array, number];
      this.#check(sumOfRow(chunk, bits) === sum, `removed items of partition ${key}`);
      removed.load(key, chunk, bits);
    }
    return removed;
  }

  // Items that a power cut has taken had numbers, and clients may still hold them: none is given again.
  #passNumbers(): void {
    this.#transact(() => {
      const rows = this.#read(`SELECT key, ${COUNTERS} FROM partitions`).all();
      const update = this.#prepare("UPDATE partitions SET tail = ?, sum = ? WHERE key = ?");
      for (const [key, sum, ...row] of rows as unknown as [number, number, ...CountersRow][]) {
        const counters = countersOf(row);
        if (sumOfCounters(counters) !== sum) continue; // whoever loads it will find it damaged
        counters.tail += NUMBERS_PASSED;
        update.run(counters.tail, sumOfCounters(counters), key);
      }
    }, true);
  }

  /** What was read before may not be there any more. */
  distrust(): void {
    this.#isDistrusted = true;
  }

  // Every use of the storage comes through here first.
  #use(key?: number): void {
    this.#file.log.checkSound();
    if (this.#isDistrusted) {
      const removed = this.#readRemoved();
      const keys = this.#read("SELECT key FROM partitions").all() as unknown as [number][];
      for (const [each] of keys) this.#stale.add(each);
      this.#removed = removed;
      this.#isDistrusted = false;
    }
    if (key !== undefined && this.#stale.has(key)) {
      throw new Error(`partition ${key} of '${this.#file.path}' is to be read anew`);
    }
  }

  // Reads, with errors that name the file.
  #reading<T>(key: number | undefined, work: () => T): T {
    try {
      this.#use(key);
      return work();
    } catch (error) {
      throw this.#explained(error);
    }
  }

  async commit(changes: readonly PartitionChanges[]): Promise<void> {
    await this.#transaction(() => {
      for (const change of changes) this.#write(change);
    });
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    const sum = sumOfCounters(NEW_COUNTERS);
    return this.#durably(() => {
      const insert = this.#prepare(
        "INSERT INTO partitions (queue, number, id_prefix, created_at, sum) VALUES (?, ?, ?, ?, ?)",
      );
      return partitions.map((p) =>
        Number(insert.run(p.queue, p.number, p.idPrefix, p.createdAt, sum).lastInsertRowid),
      );
    });
  }

  async listPartitions(): Promise<readonly StoredPartition[]> {
    const sql =
      "SELECT key, queue, number, id_prefix, created_at, dropped FROM partitions ORDER BY key";
    const rows = this.#reading(undefined, () => this.#read(sql).all()) as unknown as [
      number,
      string,
      number,
      string,
      number,
      number,
    ][];
    return rows.map(([key, queue, number, idPrefix, createdAt, dropped]) => ({
      key,
      queue,
      number,
      idPrefix,
      createdAt,
      dropped: dropped !== 0,
    }));
  }

  async dropPartitions(keys: readonly number[]): Promise<void> {
    await this.#durably(() => {
      const update = this.#prepare("UPDATE partitions SET dropped = 1 WHERE key = ?");
      for (const key of keys) update.run(key);
    });
  }

  async sweep(limit: number): Promise<boolean> {
    return this.#transaction(() => {
      const next = this.#prepare("SELECT min(key) AS key FROM partitions WHERE dropped = 1");
      let left = limit;
      for (;;) {
        const key = (next.get() as { key: number | null }).key;
        if (key === null) return false;
        for (const table of TABLES_OF_A_PARTITION) {
          left -= this.#removeSome(table, key, left);
          if (left <= 0) return true;
        }
        this.#removed.forget(key);
        this.#prepare("DELETE FROM partitions WHERE key = ?").run(key);
      }
    });
  }

  async loadPartition(key: number): Promise<PartitionState> {
    return this.#reading(undefined, () => {
      const state = this.#load(key);
      this.#stale.delete(key);
      return state;
    });
  }

  #load(key: number): PartitionState {
    const found = this.#read(`SELECT id_prefix, ${COUNTERS} FROM partitions WHERE key = ?`).get(
      key,
    ) as unknown as [string, number, ...CountersRow] | undefined;
    if (found === undefined) throw new Error(`no partition ${key} in '${this.#file.path}'`);
    const [idPrefix, sum, ...row] = found;
    const counters = countersOf(row);
    this.#check(sumOfCounters(counters) === sum, `counters of partition ${key}`);
    const removed = this.#removed.of(key);
    const blocks = this.#read(
      `SELECT ${BLOCK_HEADER} FROM items WHERE partition = ? AND first < ? ORDER BY first`,
    ).all(key, counters.head) as unknown as BlockHeader[];
    const leases = this.#read(
      `SELECT first, last, deadline, leased_at, extended_at, sum FROM leases WHERE partition = ?
       ORDER BY first`,
    ).all(key) as unknown as [number, number, number, number, number, number][];
    return {
      idPrefix,
      counters,
      leased: blocks
        .flatMap((block) => itemsOfHeader(block))
        .filter(({ seq }) => seq < counters.head && removed?.has(seq) !== true),
      leases: leases.map(([first, last, deadline, leasedAt, extendedAt, leaseSum]) => {
        const lease = { first, last, deadline, leasedAt, extendedAt };
        this.#check(sumOfLease(lease) === leaseSum, `a lease of partition ${key}`);
        return lease;
      }),
    };
  }

  async readItems(
    key: number,
    table: ItemTable,
    options: ReadOptions,
  ): Promise<readonly StoredItem[]> {
    return this.#reading(key, () => this.#readItems(key, table, options));
  }

  #readItems(key: number, table: ItemTable, options: ReadOptions): readonly StoredItem[] {
    const { limit, bytesMax } = options;
    const items: StoredItem[] = [];
    if (limit <= 0) return items;
    let bytes = 0;
    let last = options.from - 1;
    const rows =
      table === "items" ? this.#blocks(key, options) : this.#scheduledItems(key, options);
    for (const found of rows) {
      for (const item of found) {
        const isInOrder = item.seq > last && item.seq < options.before;
        this.#check(isInOrder, `order of ${table} of partition ${key}`);
        last = item.seq;
        items.push(item);
        bytes += item.record.size;
        if (items.length >= limit || bytes >= bytesMax) return items;
      }
    }
    return items;
  }

  // What is wanted of each block.
  *#blocks(key: number, { from, before, records }: ReadOptions): Iterable<readonly StoredItem[]> {
    const removed = this.#removed.of(key);
    const rows = this.#read(
      `SELECT ${records ? BLOCK_COLUMNS : BLOCK_HEADER} FROM items
       WHERE partition = @p AND first < @b AND first >= ifnull(
         (SELECT max(first) FROM items WHERE partition = @p AND first <= @s), 0)
       ORDER BY first`,
    ).iterate({ p: key, s: from, b: before });
    const isWanted = (seq: number): boolean =>
      seq >= from && seq < before && removed?.has(seq) !== true;
    for (const row of rows as Iterable<unknown>) {
      const [first, last] = row as BlockHeader;
      let wanted = 0;
      for (let seq = first; seq <= last; seq++) if (isWanted(seq)) wanted++;
      if (wanted === 0) continue;
      const items = records
        ? this.#itemsOf(key, row as BlockRow)
        : itemsOfHeader(row as BlockHeader);
      yield wanted === items.length ? items : items.filter(({ seq }) => isWanted(seq));
    }
  }

  *#scheduledItems(
    key: number,
    { from, before, records }: ReadOptions,
  ): Iterable<readonly StoredItem[]> {
    const rows = this.#read(
      `SELECT ${records ? ITEM_COLUMNS : ITEM_HEADER} FROM scheduled
       WHERE partition = ? AND seq >= ? AND seq < ? ORDER BY seq`,
    ).iterate(key, from, before);
    for (const row of rows as Iterable<unknown>) {
      yield [records ? this.#itemOf(key, row as ItemRow) : itemOfHeader(row as ItemHeader)];
    }
  }

  async readScheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    const sql = `SELECT ${ITEM_HEADER} FROM scheduled WHERE partition = ? ORDER BY due_at, seq LIMIT ?`;
    const rows = this.#reading(key, () => this.#read(sql).all(key, limit));
    return (rows as unknown as ItemHeader[]).map(itemOfHeader);
  }

  async readExpiries(key: number, limit: number): Promise<readonly Expiry[]> {
    const sql = "SELECT at, first FROM expiries WHERE partition = ? ORDER BY at, first LIMIT ?";
    const rows = this.#reading(key, () => this.#read(sql).all(key, limit));
    return (rows as unknown as [number, number][]).map(([at, first]) => ({ at, first }));
  }

  async findSources(
    key: number,
    sourceIds: readonly string[],
  ): Promise<ReadonlyMap<string, number>> {
    return this.#reading(key, () => {
      const isKnown = this.#prepare("SELECT 1 FROM sources WHERE partition = ? AND source_id = ?");
      const found = new Map<string, number>();
      for (const id of sourceIds) {
        if (isKnown.get(key, id) !== undefined) found.set(id, this.#itemOfSource(key, id));
      }
      return found;
    });
  }

  // With a condition that the indexes have: without it SQLite would not use them.
  #itemOfSource(key: number, sourceId: string): number {
    const removed = this.#removed.of(key);
    for (const [column, table] of [
      ["first", "items"],
      ["seq", "scheduled"],
    ]) {
      const rows = this.#read(
        `SELECT ${column} FROM ${table} WHERE partition = ? AND source_id = ? AND source_id <> ''`,
      ).all(key, sourceId) as unknown as [number][];
      for (const [seq] of rows) {
        if (table === "scheduled" || removed?.has(seq) !== true) return seq;
      }
    }
    return 0;
  }

  async putQueue(name: string, record: string): Promise<void> {
    await this.#durably(() => {
      this.#prepare("INSERT OR REPLACE INTO queues (name, record, sum) VALUES (?, ?, ?)").run(
        name,
        record,
        sumOfRow(name, record),
      );
    });
  }

  async deleteQueue(name: string): Promise<void> {
    await this.#durably(() => {
      this.#prepare("DELETE FROM queues WHERE name = ?").run(name);
    });
  }

  async listQueues(): Promise<readonly { name: string; record: string }[]> {
    let rows: [string, string, number][];
    try {
      this.#use();
      const statement = this.#read("SELECT name, record, sum FROM queues ORDER BY name");
      rows = statement.all() as unknown as [string, string, number][];
    } catch (error) {
      throw startError(this.#file.path, error); // a start reads them, and its user must know the file
    }
    return rows.map(([name, record, sum]) => {
      this.#check(sumOfRow(name, record) === sum, `record of queue '${name}'`);
      return { name, record };
    });
  }

  async check(): Promise<void> {
    this.#reading(undefined, () => this.#prepare("SELECT key FROM partitions LIMIT 1").get());
  }

  async close(): Promise<void> {
    this.#file.close(true);
  }

  #write(change: PartitionChanges): void {
    const key = change.partition;
    this.#use(key);
    const { head, tail, total, scheduled, createdSum, dropped } = change.counters;
    const sum = sumOfCounters(change.counters);
    const updated = this.#prepare(
      `UPDATE partitions SET head = ?, tail = ?, total = ?, scheduled = ?, created_sum = ?, sum = ?,
       dropped_attempts = ?, dropped_expired = ?, dropped_rejected = ? WHERE key = ?`,
    ).run(
      head,
      tail,
      total,
      scheduled,
      createdSum,
      sum,
      dropped.attempts,
      dropped.expired,
      dropped.rejected,
      key,
    );
    if (updated.changes !== 1) throw new Error(`no partition ${key} in '${this.#file.path}'`);
    this.#add(key, change.adds);
    for (const item of change.addsScheduled) this.#addScheduled(key, item);
    for (const first of change.releases) {
      this.#prepare("DELETE FROM leases WHERE partition = ? AND first = ?").run(key, first);
    }
    for (const lease of change.leases) this.#lease(key, lease);
    this.#move(key, change.moves);
    for (const range of change.removes) {
      if (range.last - range.first >= RANGE_MIN) this.#remove(key, range);
      else this.#removed.mark(key, range);
    }
    for (const { first, last } of change.removesScheduled) {
      this.#prepare("DELETE FROM scheduled WHERE partition = ? AND seq BETWEEN ? AND ?").run(
        key,
        first,
        last,
      );
    }
    for (const { at, first } of change.addsExpiry) {
      this.#prepare("INSERT OR IGNORE INTO expiries (partition, at, first) VALUES (?, ?, ?)").run(
        key,
        at,
        first,
      );
    }
    for (const { at, first } of change.removesExpiry) {
      this.#prepare("DELETE FROM expiries WHERE partition = ? AND at = ? AND first = ?").run(
        key,
        at,
        first,
      );
    }
    for (const id of change.addsSource) {
      this.#prepare("INSERT INTO sources (partition, source_id) VALUES (?, ?)").run(key, id);
    }
    for (const id of change.removesSource) {
      this.#prepare("DELETE FROM sources WHERE partition = ? AND source_id = ?").run(key, id);
    }
    this.#writeRemoved(key);
  }

  #writeRemoved(key: number): void {
    const { ranges, writes, drops } = this.#removed.changes(key);
    for (const range of ranges) this.#remove(key, range);
    for (const { chunk, bits } of writes) {
      this.#prepare(
        "INSERT OR REPLACE INTO removed (partition, chunk, bits, sum) VALUES (?, ?, ?, ?)",
      ).run(key, chunk, bits, sumOfRow(chunk, bits));
    }
    for (const chunk of drops) {
      this.#prepare("DELETE FROM removed WHERE partition = ? AND chunk = ?").run(key, chunk);
    }
  }

  #add(key: number, items: readonly StoredItem[]): void {
    if (items.length === 0) return;
    let bytes = 0;
    for (const { record } of items) bytes += record.size;
    this.#bytes += bytes;
    this.#removed.noteAdded(key, items.length, bytes);
    this.#insert(key, items);
  }

  #insert(key: number, items: readonly StoredItem[]): void {
    const insert = this.#prepare(
      `INSERT INTO items (partition, ${BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    for (let start = 0; start < items.length; ) {
      const length = blockLength(items, start);
      insert.run(key, ...blockValues(items, start, length));
      start += length;
    }
  }

  #addScheduled(key: number, item: StoredItem): void {
    this.#bytes += item.record.size;
    this.#prepare(
      `INSERT INTO scheduled (partition, ${ITEM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(key, ...itemValues(item));
  }

  #lease(key: number, lease: LeaseMark): void {
    const { first, last, deadline, leasedAt, extendedAt } = lease;
    this.#prepare(
      `INSERT INTO leases (partition, first, last, deadline, leased_at, extended_at, sum)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ).run(key, first, last, deadline, leasedAt, extendedAt, sumOfLease(lease));
  }

  #move(key: number, moves: readonly Move[]): void {
    const back: StoredItem[] = [];
    // Items that come back together mostly lie together.
    let block: { readonly first: number; readonly items: readonly StoredItem[] } | undefined;
    for (const { from, fromSeq, to, toSeq: seq, attempts, expireAt, dueAt } of moves) {
      let item: StoredItem | undefined;
      if (from === "scheduled") {
        item = this.#takeScheduled(key, fromSeq);
      } else if (this.#removed.of(key)?.has(fromSeq) !== true) {
        const isThere = block !== undefined && fromSeq >= block.first;
        item = isThere ? block!.items[fromSeq - block!.first] : undefined;
        if (item === undefined) {
          block = this.#blockAt(key, fromSeq);
          item = block?.items[fromSeq - block.first];
        }
        this.#removed.mark(key, { first: fromSeq, last: fromSeq });
      }
      if (item === undefined) throw new Error(`no item ${fromSeq} in ${from} of partition ${key}`);
      this.#bytes += item.record.size;
      const moved = { ...item, seq, attempts, expireAt, dueAt, leaseDeadline: 0 };
      if (to === "scheduled") this.#addScheduled(key, moved);
      else back.push(moved);
    }
    this.#insert(key, back);
  }

  #takeScheduled(key: number, seq: number): StoredItem | undefined {
    const row = this.#read(
      `SELECT ${ITEM_COLUMNS} FROM scheduled WHERE partition = ? AND seq = ?`,
    ).get(key, seq) as unknown as ItemRow | undefined;
    this.#prepare("DELETE FROM scheduled WHERE partition = ? AND seq = ?").run(key, seq);
    return row && this.#itemOf(key, row);
  }

  // The block that holds an item, with all its items.
  #blockAt(
    key: number,
    seq: number,
  ): { readonly first: number; readonly items: readonly StoredItem[] } | undefined {
    const row = this.#read(
      `SELECT ${BLOCK_COLUMNS} FROM items WHERE partition = @p AND ${BLOCK_AT}`,
    ).get({ p: key, s: seq }) as unknown as BlockRow | undefined;
    if (row === undefined || row[1] < seq) return undefined;
    return { first: row[0], items: this.#itemsOf(key, row) };
  }

  // Deletes the rows of a range. Of blocks that lie in it in part the rest is written anew.
  #remove(key: number, { first, last }: SeqRange): void {
    const rest: StoredItem[] = [];
    const bounds = this.#read(`SELECT first, last FROM items WHERE partition = @p AND ${BLOCK_AT}`);
    for (const edge of first === last ? [first] : [first, last]) {
      const at = bounds.get({ p: key, s: edge }) as unknown as [number, number] | undefined;
      const isCut = at !== undefined && at[1] >= edge && (at[0] < first || at[1] > last);
      if (!isCut) continue;
      const { items } = this.#blockAt(key, edge)!;
      rest.push(...items.filter(({ seq }) => seq < first || seq > last));
      this.#prepare("DELETE FROM items WHERE partition = ? AND first = ?").run(key, at[0]);
    }
    this.#prepare("DELETE FROM items WHERE partition = ? AND first >= ? AND first <= ?").run(
      key,
      first,
      last,
    );
    this.#insert(key, rest);
  }

  // SQLite has no DELETE ... LIMIT as it is built here, so the rows are chosen by their key.
  #removeSome(table: (typeof TABLES_OF_A_PARTITION)[number], key: number, limit: number): number {
    const column = {
      items: "first",
      scheduled: "seq",
      leases: "first",
      expiries: "at, first",
      sources: "source_id",
      removed: "chunk",
    }[table];
    const { changes } = this.#prepare(
      `DELETE FROM ${table} WHERE partition = ?1 AND (${column}) IN
       (SELECT ${column} FROM ${table} WHERE partition = ?1 LIMIT ?2)`
        .replaceAll("?1", "@p")
        .replace("?2", "@n"),
    ).run({ p: key, n: limit });
    return Number(changes);
  }

  #itemOf(key: number, row: ItemRow): StoredItem {
    return itemOf(row) ?? this.#damaged(`item ${row[0]} of partition ${key}`);
  }

  #itemsOf(key: number, row: BlockRow): readonly StoredItem[] {
    const records = recordsOf(row) ?? this.#damaged(`items from ${row[0]} of partition ${key}`);
    return itemsOfHeader(row as unknown as BlockHeader, records);
  }

  // What was read is not what was written: it must not be served.
  #check(isRight: boolean, what: string): void {
    if (!isRight) this.#damaged(what);
  }

  #damaged(what: string): never {
    throw new Error(`'${this.#file.path}' is damaged (${what}); restore it from a backup`);
  }

  // While another program holds a lock the thread goes on with everything else.
  async #transaction<T>(work: () => T, isDurable = false): Promise<T> {
    try {
      try {
        return this.#transact(work, isDurable);
      } catch (error) {
        if (!isBusy(error)) throw error;
      }
      return await whenUnlocked(this.#file.path, () => this.#transact(work, isDurable));
    } catch (error) {
      throw this.#explained(error);
    }
  }

  // On the disk when it resolves, also where commits are synced now and then: what the registry of queues
  // believes it must never lose.
  async #durably<T>(work: () => T): Promise<T> {
    const result = await this.#transaction(work, this.#isLazy);
    await this.#file.log.settled();
    return result;
  }

  #transact<T>(work: () => T, isDurable: boolean): T {
    const { db, log } = this.#file;
    this.#use();
    this.#bytes = 0;
    if (isDurable) db.exec("PRAGMA synchronous = FULL");
    try {
      this.#prepare("BEGIN IMMEDIATE").run();
      this.#noteLock(undefined);
      const result = work();
      this.#prepare("COMMIT").run();
      this.#removed.commit();
      log.wrote(this.#bytes, isDurable);
      return result;
    } catch (error) {
      this.#removed.rollback();
      if (db.isTransaction) this.#prepare("ROLLBACK").run();
      log.refused(error);
      throw error;
    } finally {
      if (isDurable) db.exec("PRAGMA synchronous = NORMAL");
    }
  }

  // What has gone wrong, with the name of the file.
  #explained(cause: unknown): unknown {
    const error = isBusy(cause) ? fileLocked(this.#file.path, cause) : cause;
    if (error instanceof FileLocked) this.#noteLock(error.message);
    return useError(this.#file.path, error);
  }

  #noteLock(text: string | undefined): void {
    if (text === undefined && !this.#isLocked) return;
    this.#isLocked = text !== undefined;
    this.#watch.trouble("lock", text);
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#file.db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** A statement that answers rows as arrays. */
  #read(sql: string): StatementSync {
    const statement = this.#prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  }
}

// Of a partition that has dropped nothing it is what it was before these were counted.
// Of a row, without its sum.
function countersOf(row: CountersRow): Counters {
  const [head, tail, total, scheduled, createdSum, attempts, expired, rejected] = row;
  const dropped = { attempts, expired, rejected };
  return { head, tail, total, scheduled, createdSum, dropped };
}

function sumOfCounters(counters: Readonly<Counters>): number {
  const { head, tail, total, scheduled, createdSum } = counters;
  const { attempts, expired, rejected } = counters.dropped;
  if (attempts + expired + rejected === 0)
    return sumOfRow(head, tail, total, scheduled, createdSum);
  return sumOfRow(head, tail, total, scheduled, createdSum, attempts, expired, rejected);
}

// Of a lease that was never extended it is what it was before leases could be.
function sumOfLease({ first, last, deadline, leasedAt, extendedAt }: LeaseMark): number {
  if (extendedAt === 0) return sumOfRow(first, last, deadline, leasedAt);
  return sumOfRow(first, last, deadline, leasedAt, extendedAt);
}
