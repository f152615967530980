// The embedded default: one SQLite file for all partitions of a thread, so that one fsync serves
// every queue that has work. WAL with synchronous=FULL: a commit has reached the disk before it is
// answered. The file can be opened with the sqlite3 tool, copied or streamed while the server runs.
// node:sqlite is synchronous, and that is meant: while the disk works, requests gather in the
// sockets and make the next batch bigger. Rows carry checksums; one that is not what was written is
// never served.

import { dirname } from "node:path";
import type { StatementSync } from "node:sqlite";
import { sumOfItem, sumOfRow } from "./checksum.ts";
import { RemovedRows } from "./removed-rows.ts";
import { openFile, type SqliteFile, type SqliteOptions, startError } from "./sqlite-file.ts";
import {
  type Counters,
  type Expiry,
  type ItemTable,
  type LeaseMark,
  type Move,
  type NewPartition,
  NO_RECORD,
  type PartitionChanges,
  type PartitionState,
  type ReadOptions,
  recordBytes,
  type SeqRange,
  type Storage,
  type StoredItem,
  type StoredPartition,
} from "./storage.ts";

const COLUMNS =
  "partition, seq, created_at, expire_at, attempts, lease_deadline, due_at, source_id, max_attempts, text, payload, sum";
const HEADER =
  "seq, created_at, expire_at, attempts, lease_deadline, due_at, source_id, max_attempts";

// Rows in one INSERT. Consecutive items that share everything but their record are written by the
// widest statement that fits: each row then binds its record only.
const INSERT_ROWS = [64, 8, 1] as const;

const TABLES_OF_A_PARTITION = [
  "items",
  "scheduled",
  "leases",
  "expiries",
  "sources",
  "removed",
] as const;

// A range of at least so many items is deleted at once: that rewrites few pages for many rows.
const RANGE_MIN = 256;

type HeaderRow = [number, number, number, number, number, number, string, number];
type ItemRow = [...HeaderRow, string, Uint8Array | null, number];

/**
 * Opens, and makes if need be, the file in the directory.
 * Rejects with a QueueError whose message names the file and says what to do: when another server
 * has the directory, when the file is not ours, is damaged, or was written by a later version.
 */
export async function openSqliteStorage(options: SqliteOptions): Promise<Storage> {
  const opened = openFile(options);
  try {
    return new SqliteStorage(options.name, opened);
  } catch (error) {
    opened.close();
    throw startError(opened.path, error);
  }
}

class SqliteStorage implements Storage {
  readonly name: string;
  readonly location: string;
  readonly isDurable = true;
  readonly #file: SqliteFile;
  readonly #statements = new Map<string, StatementSync>();
  readonly #removed = new RemovedRows();

  constructor(name: string, file: SqliteFile) {
    this.name = name;
    this.location = `sqlite:${dirname(file.path)}`;
    this.#file = file;
    const rows = this.#read("SELECT partition, chunk, bits, sum FROM removed").iterate();
    for (const row of rows) {
      const [key, chunk, bits, sum] = row as unknown as [number, number, Uint8Array, number];
      this.#check(sumOfRow(chunk, bits) === sum, `removed items of partition ${key}`);
      this.#removed.load(key, chunk, bits);
    }
  }

  async commit(changes: readonly PartitionChanges[]): Promise<void> {
    this.#transaction(() => {
      for (const change of changes) this.#write(change);
    });
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    const insert = this.#prepare(
      "INSERT INTO partitions (queue, number, id_prefix, created_at, sum) VALUES (?, ?, ?, ?, ?)",
    );
    const sum = sumOfCounters({ head: 1, tail: 1, total: 0, scheduled: 0, createdSum: 0 });
    return this.#transaction(() =>
      partitions.map((p) =>
        Number(insert.run(p.queue, p.number, p.idPrefix, p.createdAt, sum).lastInsertRowid),
      ),
    );
  }

  async listPartitions(): Promise<readonly StoredPartition[]> {
    const rows = this.#read(
      "SELECT key, queue, number, id_prefix, created_at, dropped FROM partitions ORDER BY key",
    ).all() as unknown as [number, string, number, string, number, number][];
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
    const update = this.#prepare("UPDATE partitions SET dropped = 1 WHERE key = ?");
    this.#transaction(() => {
      for (const key of keys) update.run(key);
    });
  }

  async sweep(limit: number): Promise<boolean> {
    const next = this.#prepare("SELECT min(key) AS key FROM partitions WHERE dropped = 1");
    return this.#transaction(() => {
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
    const row = this.#read(
      "SELECT id_prefix, head, tail, total, scheduled, created_sum, sum FROM partitions WHERE key = ?",
    ).get(key) as unknown as [string, number, number, number, number, number, number] | undefined;
    if (row === undefined) throw new Error(`no partition ${key} in '${this.#file.path}'`);
    const [idPrefix, head, tail, total, scheduled, createdSum, sum] = row;
    const counters = { head, tail, total, scheduled, createdSum };
    this.#check(sumOfCounters(counters) === sum, `counters of partition ${key}`);
    const removed = this.#removed.of(key);
    const leased = this.#read(
      `SELECT ${HEADER} FROM items WHERE partition = ? AND seq < ? ORDER BY seq`,
    ).all(key, head) as unknown as HeaderRow[];
    const leases = this.#read(
      "SELECT first, last, deadline, leased_at, sum FROM leases WHERE partition = ? ORDER BY first",
    ).all(key) as unknown as [number, number, number, number, number][];
    return {
      idPrefix,
      counters,
      leased: leased.filter(([seq]) => removed?.has(seq) !== true).map(withoutRecord),
      leases: leases.map(([first, last, deadline, leasedAt, leaseSum]) => {
        const lease = { first, last, deadline, leasedAt };
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
    const { from, before, limit, bytesMax, records } = options;
    const statement = this.#read(
      `SELECT ${HEADER}${records ? ", text, payload, sum" : ""} FROM ${table}
       WHERE partition = ? AND seq >= ? AND seq < ? ORDER BY seq`,
    );
    const removed = table === "items" ? this.#removed.of(key) : undefined;
    const items: StoredItem[] = [];
    if (limit <= 0) return items;
    let bytes = 0;
    let last = from - 1;
    for (const row of statement.iterate(key, from, before)) {
      const [seq] = row as unknown as HeaderRow;
      this.#check(seq > last && seq < before, `order of ${table} of partition ${key}`);
      last = seq;
      if (removed?.has(seq) === true) continue;
      const item = records
        ? this.#withRecord(key, row as unknown as ItemRow)
        : withoutRecord(row as unknown as HeaderRow);
      items.push(item);
      bytes += recordBytes(item.record);
      if (items.length >= limit || bytes >= bytesMax) break;
    }
    return items;
  }

  async readScheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    const rows = this.#read(
      `SELECT ${HEADER} FROM scheduled WHERE partition = ? ORDER BY due_at, seq LIMIT ?`,
    ).all(key, limit) as unknown as HeaderRow[];
    return rows.map(withoutRecord);
  }

  async readExpiries(key: number, limit: number): Promise<readonly Expiry[]> {
    const rows = this.#read(
      "SELECT at, first FROM expiries WHERE partition = ? ORDER BY at, first LIMIT ?",
    ).all(key, limit) as unknown as [number, number][];
    return rows.map(([at, first]) => ({ at, first }));
  }

  async findSources(key: number, sourceIds: readonly string[]): Promise<ReadonlySet<string>> {
    const statement = this.#prepare("SELECT 1 FROM sources WHERE partition = ? AND source_id = ?");
    return new Set(sourceIds.filter((id) => statement.get(key, id) !== undefined));
  }

  async putQueue(name: string, record: string): Promise<void> {
    this.#prepare("INSERT OR REPLACE INTO queues (name, record, sum) VALUES (?, ?, ?)").run(
      name,
      record,
      sumOfRow(name, record),
    );
  }

  async deleteQueue(name: string): Promise<void> {
    this.#prepare("DELETE FROM queues WHERE name = ?").run(name);
  }

  async listQueues(): Promise<readonly { name: string; record: string }[]> {
    let rows: [string, string, number][];
    try {
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
    this.#prepare("SELECT key FROM partitions LIMIT 1").get();
  }

  async close(): Promise<void> {
    this.#file.close();
  }

  #write(change: PartitionChanges): void {
    const key = change.partition;
    const { head, tail, total, scheduled, createdSum } = change.counters;
    const updated = this.#prepare(
      "UPDATE partitions SET head = ?, tail = ?, total = ?, scheduled = ?, created_sum = ?, sum = ? WHERE key = ?",
    ).run(head, tail, total, scheduled, createdSum, sumOfCounters(change.counters), key);
    if (updated.changes !== 1) throw new Error(`no partition ${key} in '${this.#file.path}'`);
    this.#add("items", key, change.adds);
    this.#add("scheduled", key, change.addsScheduled);
    for (const lease of change.leases) this.#lease(key, lease);
    for (const move of change.moves) this.#move(key, move);
    for (const range of change.removes) {
      if (range.last - range.first >= RANGE_MIN) this.#remove("items", key, range);
      else this.#removed.mark(key, range);
    }
    for (const range of change.removesScheduled) this.#remove("scheduled", key, range);
    for (const first of change.releases) {
      this.#prepare("DELETE FROM leases WHERE partition = ? AND first = ?").run(key, first);
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
    for (const range of ranges) this.#remove("items", key, range);
    for (const { chunk, bits } of writes) {
      this.#prepare(
        "INSERT OR REPLACE INTO removed (partition, chunk, bits, sum) VALUES (?, ?, ?, ?)",
      ).run(key, chunk, bits, sumOfRow(chunk, bits));
    }
    for (const chunk of drops) {
      this.#prepare("DELETE FROM removed WHERE partition = ? AND chunk = ?").run(key, chunk);
    }
  }

  #add(table: ItemTable, key: number, items: readonly StoredItem[]): void {
    if (items.length === 0) return;
    if (table === "items") {
      let bytes = 0;
      for (const { record } of items) bytes += recordBytes(record);
      this.#removed.noteAdded(key, items.length, bytes);
    }
    for (let start = 0; start < items.length; ) {
      const run = runLength(items, start);
      for (let done = 0; done < run; ) {
        const rows = INSERT_ROWS.find((n) => n <= run - done)!;
        this.#insert(table, key, items, start + done, rows);
        done += rows;
      }
      start += run;
    }
  }

  #insert(
    table: ItemTable,
    key: number,
    items: readonly StoredItem[],
    start: number,
    rows: number,
  ): void {
    const head = items[start]!;
    const records: (string | Uint8Array | number)[] = [];
    for (let i = start; i < start + rows; i++) {
      const { text, payload } = items[i]!.record;
      records.push(text, payload, sumOfItem(items[i]!));
    }
    this.#prepare(insertSql(table, rows)).run(
      {
        p: key,
        s: head.seq,
        c: head.createdAt,
        e: head.expireAt,
        a: head.attempts,
        l: head.leaseDeadline,
        d: head.dueAt,
        f: head.sourceId,
        m: head.maxAttempts,
      },
      ...records,
    );
  }

  #lease(key: number, lease: LeaseMark): void {
    const { first, last, deadline, leasedAt } = lease;
    this.#prepare(
      "INSERT INTO leases (partition, first, last, deadline, leased_at, sum) VALUES (?, ?, ?, ?, ?, ?)",
    ).run(key, first, last, deadline, leasedAt, sumOfLease(lease));
  }

  #move(key: number, move: Move): void {
    const isGone = move.from === "items" && this.#removed.of(key)?.has(move.fromSeq) === true;
    const row = this.#read(
      `SELECT ${HEADER}, text, payload, sum FROM ${move.from} WHERE partition = ? AND seq = ?`,
    ).get(key, move.fromSeq) as unknown as ItemRow | undefined;
    if (isGone || row === undefined) {
      throw new Error(`no item ${move.fromSeq} in ${move.from} of partition ${key}`);
    }
    const { toSeq: seq, attempts, expireAt, dueAt } = move;
    const item = this.#withRecord(key, row);
    const moved = { ...item, seq, attempts, expireAt, dueAt, leaseDeadline: 0 };
    this.#insert(move.to, key, [moved], 0, 1);
    const range = { first: move.fromSeq, last: move.fromSeq };
    if (move.from === "items") this.#removed.mark(key, range);
    else this.#remove(move.from, key, range);
  }

  #remove(table: ItemTable, key: number, { first, last }: SeqRange): void {
    if (first === last) {
      this.#prepare(`DELETE FROM ${table} WHERE partition = ? AND seq = ?`).run(key, first);
    } else {
      this.#prepare(`DELETE FROM ${table} WHERE partition = ? AND seq BETWEEN ? AND ?`).run(
        key,
        first,
        last,
      );
    }
  }

  // SQLite has no DELETE ... LIMIT as it is built here, so the rows are chosen by their key.
  #removeSome(table: (typeof TABLES_OF_A_PARTITION)[number], key: number, limit: number): number {
    const column = {
      items: "seq",
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

  #withRecord(key: number, row: ItemRow): StoredItem {
    const record = { text: row[8], payload: row[9] ?? NO_RECORD.payload };
    const item = { ...withoutRecord(row as unknown as HeaderRow), record };
    this.#check(sumOfItem(item) === row[10], `item ${item.seq} of partition ${key}`);
    return item;
  }

  // What was read is not what was written: it must not be served.
  #check(isRight: boolean, what: string): void {
    if (isRight) return;
    throw new Error(`'${this.#file.path}' is damaged (${what}); restore it from a backup`);
  }

  #transaction<T>(work: () => T): T {
    this.#prepare("BEGIN IMMEDIATE").run();
    try {
      const result = work();
      this.#prepare("COMMIT").run();
      this.#removed.commit();
      this.#file.wrote();
      return result;
    } catch (error) {
      this.#removed.rollback();
      if (this.#file.db.isTransaction) this.#prepare("ROLLBACK").run();
      throw error;
    }
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

// How many items from `start` on can be written by statements that share everything but the record.
function runLength(items: readonly StoredItem[], start: number): number {
  const head = items[start]!;
  if (head.sourceId !== "") return 1;
  let n = 1;
  for (let i = start + 1; i < items.length; i++, n++) {
    const item = items[i]!;
    const alike =
      item.seq === head.seq + n &&
      item.createdAt === head.createdAt &&
      item.expireAt === head.expireAt &&
      item.attempts === head.attempts &&
      item.leaseDeadline === head.leaseDeadline &&
      item.dueAt === head.dueAt &&
      item.maxAttempts === head.maxAttempts &&
      item.sourceId === "";
    if (!alike) break;
  }
  return n;
}

const insertSqls = new Map<string, string>();

function insertSql(table: ItemTable, rows: number): string {
  const name = `${table}${rows}`;
  let sql = insertSqls.get(name);
  if (sql === undefined) {
    const values = Array.from(
      { length: rows },
      (_, i) => `(@p, @s + ${i}, @c, @e, @a, @l, @d, @f, @m, ?, ?, ?)`,
    );
    sql = `INSERT INTO ${table} (${COLUMNS}) VALUES ${values.join(", ")}`;
    insertSqls.set(name, sql);
  }
  return sql;
}

function withoutRecord(row: HeaderRow): StoredItem {
  const [seq, createdAt, expireAt, attempts, leaseDeadline, dueAt, sourceId, maxAttempts] = row;
  return {
    seq,
    createdAt,
    expireAt,
    attempts,
    leaseDeadline,
    dueAt,
    sourceId,
    maxAttempts,
    record: NO_RECORD,
  };
}

function sumOfCounters({ head, tail, total, scheduled, createdSum }: Counters): number {
  return sumOfRow(head, tail, total, scheduled, createdSum);
}

function sumOfLease({ first, last, deadline, leasedAt }: LeaseMark): number {
  return sumOfRow(first, last, deadline, leasedAt);
}
