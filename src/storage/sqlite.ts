// The embedded default: one SQLite file for all partitions of a thread, so that one fsync serves
// every queue that has work. WAL with synchronous=FULL: a commit has reached the disk before it is
// answered. The file can be opened with the sqlite3 tool, copied or streamed while the server runs;
// a second server is kept out by an exclusive lock on a small file of its own beside it, which the
// operating system lifts when the process ends, however it ends. node:sqlite is synchronous, and
// that is meant: while the disk works, requests gather in the sockets and make the next batch bigger.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { QueueError } from "../errors.ts";
import { RemovedRows } from "./removed-rows.ts";
import {
  type Expiry,
  type ItemTable,
  type LeaseMark,
  type Move,
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

// "QRTR": what tells our files from other SQLite files.
const APPLICATION_ID = 0x51525452;

// Each entry takes the schema one version further; the version of a file is its user_version.
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE queues (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE partitions (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    number INTEGER NOT NULL,
    id_prefix TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 1,
    tail INTEGER NOT NULL DEFAULT 1,
    total INTEGER NOT NULL DEFAULT 0,
    scheduled INTEGER NOT NULL DEFAULT 0,
    created_sum REAL NOT NULL DEFAULT 0
  );
  CREATE TABLE items (
    partition INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expire_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    source_id TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    text TEXT NOT NULL,
    payload BLOB,
    PRIMARY KEY (partition, seq)
  ) WITHOUT ROWID;
  CREATE TABLE scheduled (
    partition INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expire_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    source_id TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    text TEXT NOT NULL,
    payload BLOB,
    PRIMARY KEY (partition, seq)
  ) WITHOUT ROWID;
  CREATE INDEX scheduled_due ON scheduled (partition, due_at, seq);
  CREATE TABLE leases (
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    leased_at INTEGER NOT NULL,
    PRIMARY KEY (partition, first)
  ) WITHOUT ROWID;
  CREATE TABLE expiries (
    partition INTEGER NOT NULL,
    at INTEGER NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (partition, at, first)
  ) WITHOUT ROWID;
  CREATE TABLE sources (
    partition INTEGER NOT NULL,
    source_id TEXT NOT NULL,
    PRIMARY KEY (partition, source_id)
  ) WITHOUT ROWID;
  CREATE TABLE removed (
    partition INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    bits BLOB NOT NULL,
    PRIMARY KEY (partition, chunk)
  ) WITHOUT ROWID;
  `,
];

const COLUMNS =
  "partition, seq, created_at, expire_at, attempts, lease_deadline, due_at, source_id, max_attempts, text, payload";
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
type ItemRow = [...HeaderRow, string, Uint8Array | null];

export interface SqliteOptions {
  readonly name: string;
  readonly dir: string;
  /** Whether the file must be there already: false makes it if need be. */
  readonly mustExist?: boolean;
}

/**
 * Opens, and makes if need be, the file `querator.db` in the directory.
 * Rejects with a QueueError whose message names the file and says what to do: when another server
 * has the directory, when the file is not ours, is damaged, or was written by a later version.
 */
export async function openSqliteStorage(options: SqliteOptions): Promise<Storage> {
  const dir = resolve(options.dir);
  const file = join(dir, "querator.db");
  let lock: DatabaseSync | undefined;
  let db: DatabaseSync | undefined;
  try {
    const existed = existsSync(file);
    if (!existed && options.mustExist === true) {
      throw new QueueError(
        "failed",
        `'${file}' is not there, but queues have partitions in it; mount or restore it`,
      );
    }
    makeDirectory(dir);
    lock = takeLock(dir);
    db = new DatabaseSync(file, { enableForeignKeyConstraints: false, timeout: 5_000 });
    if (existed) checkOurs(db, file);
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    db.exec("PRAGMA cache_size = -65536");
    db.exec("PRAGMA temp_store = MEMORY");
    migrate(db, file);
    return new SqliteStorage(options.name, file, db, lock);
  } catch (error) {
    db?.close();
    lock?.close();
    if (error instanceof QueueError) throw error;
    throw startError(file, error);
  }
}

// SQLite syncs the directory of its files, but not those above it: without that a power cut soon
// after the first start could take the whole directory away.
function makeDirectory(dir: string): void {
  const first = mkdirSync(dir, { recursive: true, mode: 0o700 });
  if (first === undefined) return; // all of it was there
  for (let made = dir; ; made = dirname(made)) {
    const parent = openSync(dirname(made), "r");
    try {
      fsyncSync(parent);
    } finally {
      closeSync(parent);
    }
    if (made === first) return;
  }
}

function takeLock(dir: string): DatabaseSync {
  const file = join(dir, "querator.lock");
  const lock = new DatabaseSync(file, { timeout: 0 });
  try {
    lock.exec("PRAGMA locking_mode = EXCLUSIVE");
    lock.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    lock.close();
    if (errorCode(cause) !== SQLITE_BUSY) throw startError(file, cause);
    throw new QueueError(
      "failed",
      `data directory '${dir}' is in use by another server; stop it, or choose another directory`,
      { cause },
    );
  }
  return lock;
}

function checkOurs(db: DatabaseSync, file: string): void {
  const id = pragma(db, "application_id");
  if (id === APPLICATION_ID) return;
  const objects = db.prepare("SELECT count(*) AS n FROM sqlite_schema").get() as { n: number };
  if (id === 0 && objects.n === 0) return; // made, but never written: a first start that was cut off
  throw new QueueError(
    "failed",
    `'${file}' is a SQLite file of another program; move it away, or choose another data directory`,
  );
}

function migrate(db: DatabaseSync, file: string): void {
  const version = pragma(db, "user_version");
  if (version > MIGRATIONS.length) {
    throw new QueueError(
      "failed",
      `'${file}' was written by a later version of querator (schema ${version}, this one knows ${MIGRATIONS.length}); start that version`,
    );
  }
  if (version === MIGRATIONS.length) return;
  db.exec("BEGIN IMMEDIATE");
  for (const sql of MIGRATIONS.slice(version)) db.exec(sql);
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
  db.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
  db.exec("COMMIT");
}

function pragma(db: DatabaseSync, name: string): number {
  const row = db.prepare(`PRAGMA ${name}`).get() as Record<string, number>;
  return row[name] ?? 0;
}

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

function errorCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === "number" ? code & 0xff : undefined;
}

function startError(file: string, cause: unknown): QueueError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = errorCode(cause);
  const text =
    code === SQLITE_NOTADB
      ? `'${file}' is not a SQLite file; move it away, or choose another data directory`
      : code === SQLITE_CORRUPT
        ? `'${file}' is damaged (${reason}); restore it from a backup, or move it away to start empty`
        : `cannot open '${file}': ${reason}`;
  return new QueueError("failed", text, { cause });
}

class SqliteStorage implements Storage {
  readonly name: string;
  readonly location: string;
  readonly isDurable = true;
  readonly #file: string;
  readonly #db: DatabaseSync;
  readonly #lock: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #removed = new RemovedRows();

  constructor(name: string, file: string, db: DatabaseSync, lock: DatabaseSync) {
    this.name = name;
    this.location = `sqlite:${dirname(file)}`;
    this.#file = file;
    this.#db = db;
    this.#lock = lock;
    const rows = this.#read("SELECT partition, chunk, bits FROM removed").iterate();
    for (const row of rows) {
      this.#removed.load(...(row as unknown as [number, number, Uint8Array]));
    }
  }

  async commit(changes: readonly PartitionChanges[]): Promise<void> {
    this.#transaction(() => {
      for (const change of changes) this.#write(change);
    });
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    const insert = this.#prepare(
      "INSERT INTO partitions (queue, number, id_prefix, created_at) VALUES (?, ?, ?, ?)",
    );
    return this.#transaction(() =>
      partitions.map((p) =>
        Number(insert.run(p.queue, p.number, p.idPrefix, p.createdAt).lastInsertRowid),
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
      "SELECT id_prefix, head, tail, total, scheduled, created_sum FROM partitions WHERE key = ?",
    ).get(key) as unknown as [string, number, number, number, number, number] | undefined;
    if (row === undefined) throw new Error(`no partition ${key} in '${this.#file}'`);
    const [idPrefix, head, tail, total, scheduled, createdSum] = row;
    const removed = this.#removed.of(key);
    const leased = this.#read(
      `SELECT ${HEADER} FROM items WHERE partition = ? AND seq < ? ORDER BY seq`,
    ).all(key, head) as unknown as HeaderRow[];
    const leases = this.#read(
      "SELECT first, last, deadline, leased_at FROM leases WHERE partition = ? ORDER BY first",
    ).all(key) as unknown as [number, number, number, number][];
    return {
      idPrefix,
      counters: { head, tail, total, scheduled, createdSum },
      leased: leased.filter(([seq]) => removed?.has(seq) !== true).map(withoutRecord),
      leases: leases.map(([first, last, deadline, leasedAt]) => ({
        first,
        last,
        deadline,
        leasedAt,
      })),
    };
  }

  async readItems(
    key: number,
    table: ItemTable,
    options: ReadOptions,
  ): Promise<readonly StoredItem[]> {
    const { from, before, limit, bytesMax, records } = options;
    const statement = this.#read(
      `SELECT ${HEADER}${records ? ", text, payload" : ""} FROM ${table}
       WHERE partition = ? AND seq >= ? AND seq < ? ORDER BY seq`,
    );
    const removed = table === "items" ? this.#removed.of(key) : undefined;
    const items: StoredItem[] = [];
    if (limit <= 0) return items;
    let bytes = 0;
    for (const row of statement.iterate(key, from, before)) {
      const [seq] = row as unknown as HeaderRow;
      if (removed?.has(seq) === true) continue;
      const item = records
        ? withRecord(row as unknown as ItemRow)
        : withoutRecord(row as unknown as HeaderRow);
      items.push(item);
      bytes += item.record.payload.length;
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
    this.#prepare("INSERT OR REPLACE INTO queues (name, record) VALUES (?, ?)").run(name, record);
  }

  async deleteQueue(name: string): Promise<void> {
    this.#prepare("DELETE FROM queues WHERE name = ?").run(name);
  }

  async listQueues(): Promise<readonly { name: string; record: string }[]> {
    const rows = this.#read("SELECT name, record FROM queues ORDER BY name").all() as unknown as [
      string,
      string,
    ][];
    return rows.map(([name, record]) => ({ name, record }));
  }

  async check(): Promise<void> {
    this.#prepare("SELECT key FROM partitions LIMIT 1").get();
  }

  async close(): Promise<void> {
    this.#db.close();
    this.#lock.close();
  }

  #write(change: PartitionChanges): void {
    const key = change.partition;
    const { head, tail, total, scheduled, createdSum } = change.counters;
    const updated = this.#prepare(
      "UPDATE partitions SET head = ?, tail = ?, total = ?, scheduled = ?, created_sum = ? WHERE key = ?",
    ).run(head, tail, total, scheduled, createdSum, key);
    if (updated.changes !== 1) throw new Error(`no partition ${key} in '${this.#file}'`);
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
      this.#prepare("INSERT OR REPLACE INTO removed (partition, chunk, bits) VALUES (?, ?, ?)").run(
        key,
        chunk,
        bits,
      );
    }
    for (const chunk of drops) {
      this.#prepare("DELETE FROM removed WHERE partition = ? AND chunk = ?").run(key, chunk);
    }
  }

  #add(table: ItemTable, key: number, items: readonly StoredItem[]): void {
    if (items.length === 0) return;
    if (table === "items") {
      let bytes = 0;
      for (const { record } of items) bytes += record.text.length + record.payload.length;
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
    const records: (string | Uint8Array)[] = [];
    for (let i = start; i < start + rows; i++) {
      const { text, payload } = items[i]!.record;
      records.push(text, payload);
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

  #lease(key: number, { first, last, deadline, leasedAt }: LeaseMark): void {
    this.#prepare(
      "INSERT INTO leases (partition, first, last, deadline, leased_at) VALUES (?, ?, ?, ?, ?)",
    ).run(key, first, last, deadline, leasedAt);
  }

  #move(key: number, move: Move): void {
    const gone = move.from === "items" && this.#removed.of(key)?.has(move.fromSeq) === true;
    const inserted = this.#prepare(
      `INSERT INTO ${move.to} (${COLUMNS})
       SELECT partition, ?, created_at, ?, ?, 0, ?, source_id, max_attempts, text, payload
       FROM ${move.from} WHERE partition = ? AND seq = ?`,
    ).run(move.toSeq, move.expireAt, move.attempts, move.dueAt, key, move.fromSeq);
    if (gone || inserted.changes !== 1) {
      throw new Error(`no item ${move.fromSeq} in ${move.from} of partition ${key}`);
    }
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

  #transaction<T>(work: () => T): T {
    this.#prepare("BEGIN IMMEDIATE").run();
    try {
      const result = work();
      this.#prepare("COMMIT").run();
      this.#removed.commit();
      return result;
    } catch (error) {
      this.#removed.rollback();
      if (this.#db.isTransaction) this.#prepare("ROLLBACK").run();
      throw error;
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
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
      (_, i) => `(@p, @s + ${i}, @c, @e, @a, @l, @d, @f, @m, ?, ?)`,
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

function withRecord(row: ItemRow): StoredItem {
  const [seq, createdAt, expireAt, attempts, leaseDeadline, dueAt, sourceId, maxAttempts] = row;
  const record = { text: row[8], payload: row[9] ?? NO_RECORD.payload };
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
