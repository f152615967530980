// The embedded default: one SQLite file for all partitions of a thread, so that one fsync serves
// every queue that has work. WAL with synchronous=FULL: a commit has reached the disk before it is
// answered. The file can be opened with the sqlite3 tool, copied or streamed while the server runs.
// node:sqlite is synchronous, and that is meant: while the disk works, requests gather in the
// sockets and make the next batch bigger. Rows carry checksums; one that is not what was written is
// never served.

import { stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { SystemClock } from "../../clock.ts";
import { sumOfRow } from "../rows/checksum.ts";
import { TABLES_OF_A_PARTITION } from "../rows/item-rows.ts";
import type {
  Expiry,
  ItemTable,
  KeyEntry,
  ListKeysOptions,
  NewPartition,
  PartitionChanges,
  PartitionState,
  ReadOptions,
  Storage,
  StorageFigures,
  StoredItem,
  StoredPartition,
  StoredRecord,
} from "../storage.ts";
import {
  COUNTERS,
  type CountersRow,
  countersOf,
  countersRow,
  SUM_OF_NEW,
  sumOfCounters,
  UPDATE_COUNTERS,
} from "./counters.ts";
import { startError, useError } from "./errors.ts";
import { openFile, type SqliteFile, type SqliteOptions } from "./file.ts";
import { FileLocked, fileLocked, isBusy, whenUnlocked } from "./locks.ts";
import type { StorageWatch } from "./log.ts";
import { Reader } from "./reader.ts";
import { Statements } from "./statements.ts";
import { Writer } from "./writer.ts";

// Disks take their time whatever a virtual clock says.
const CLOCK = new SystemClock();

// More than one partition can give within an interval, and few beside all that there are.
const NUMBERS_PASSED = 2 ** 24;

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

type WatchedOptions = SqliteOptions & { readonly watch: StorageWatch };

class SqliteStorage implements Storage {
  readonly name: string;
  readonly location: string;
  readonly isDurable = true;
  readonly #file: SqliteFile;
  readonly #statements: Statements;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #watch: StorageWatch;
  readonly #isLazy: boolean;
  // Partitions of which more was acknowledged than is there: nothing of them is used that was not read since.
  readonly #stale = new Set<number>();
  // Whether what is above is still to be read anew.
  #isDistrusted = false;
  #isLocked = false;

  constructor({ name, syncInterval = 0, watch }: WatchedOptions, file: SqliteFile) {
    this.name = name;
    this.location = `sqlite:${dirname(file.path)}`;
    this.#file = file;
    this.#watch = watch;
    this.#isLazy = syncInterval > 0;
    this.#statements = new Statements(file.db, file.path);
    this.#reader = new Reader(this.#statements);
    this.#writer = new Writer(this.#statements, this.#reader);
    if (file.mayLack) this.#passNumbers();
  }

  // Items that a power cut has taken had numbers, and clients may still hold them: none is given again.
  #passNumbers(): void {
    this.#transact(() => {
      const rows = this.#statements.read(`SELECT key, ${COUNTERS} FROM partitions`).all();
      const update = this.#statements.prepare(UPDATE_COUNTERS);
      for (const [key, sum, ...row] of rows as unknown as [number, number, ...CountersRow][]) {
        const counters = countersOf(row);
        if (sumOfCounters(counters) !== sum) continue; // whoever loads it will find it damaged
        counters.tail += NUMBERS_PASSED;
        counters.lanes = counters.lanes.map((lane) => ({
          ...lane,
          tail: lane.tail + NUMBERS_PASSED,
        }));
        update.run(...countersRow(counters), key);
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
      this.#reader.refresh();
      const keys = this.#statements.read("SELECT key FROM partitions").all() as unknown as [
        number,
      ][];
      for (const [each] of keys) this.#stale.add(each);
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

  // On the disk when it resolves, as the file is opened with synchronous = FULL, unless it was to be lazy.
  async commit(changes: readonly PartitionChanges[]): Promise<void> {
    await this.#transaction(() => {
      for (const change of changes) {
        this.#use(change.partition);
        this.#writer.write(change);
      }
    });
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    return this.#durably(() => {
      const insert = this.#statements.prepare(
        "INSERT INTO partitions (queue, number, id_prefix, created_at, sum) VALUES (?, ?, ?, ?, ?)",
      );
      return partitions.map((p) =>
        Number(insert.run(p.queue, p.number, p.idPrefix, p.createdAt, SUM_OF_NEW).lastInsertRowid),
      );
    });
  }

  async listPartitions(): Promise<readonly StoredPartition[]> {
    const sql =
      "SELECT key, queue, number, id_prefix, created_at, dropped FROM partitions ORDER BY key";
    const rows = this.#reading(undefined, () => this.#statements.read(sql).all()) as unknown as [
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
      const update = this.#statements.prepare("UPDATE partitions SET dropped = 1 WHERE key = ?");
      for (const key of keys) update.run(key);
    });
  }

  async sweep(limit: number): Promise<boolean> {
    return this.#transaction(() => {
      const next = this.#statements.prepare(
        "SELECT min(key) AS key FROM partitions WHERE dropped = 1",
      );
      let left = limit;
      for (;;) {
        const key = (next.get() as { key: number | null }).key;
        if (key === null) return false;
        for (const table of TABLES_OF_A_PARTITION) {
          left -= this.#writer.sweep(table, key, left);
          if (left <= 0) return true;
        }
        this.#reader.removed.forget(key);
        this.#statements.prepare("DELETE FROM partitions WHERE key = ?").run(key);
      }
    });
  }

  async loadPartition(key: number): Promise<PartitionState> {
    return this.#reading(undefined, () => {
      const state = this.#reader.load(key);
      this.#stale.delete(key);
      return state;
    });
  }

  async readItems(
    key: number,
    table: ItemTable,
    options: ReadOptions,
  ): Promise<readonly StoredItem[]> {
    return this.#reading(key, () => this.#reader.items(key, table, options));
  }

  async readScheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    return this.#reading(key, () => this.#reader.scheduled(key, limit));
  }

  async readHeld(key: number, group: string, limit: number): Promise<readonly StoredItem[]> {
    return this.#reading(key, () => this.#reader.held(key, group, limit));
  }

  async readExpiries(key: number, limit: number): Promise<readonly Expiry[]> {
    return this.#reading(key, () => this.#reader.expiries(key, limit));
  }

  async findKeys(
    key: number,
    kind: number,
    keys: readonly string[],
  ): Promise<ReadonlyMap<string, KeyEntry>> {
    return this.#reading(key, () => this.#reader.keys(key, kind, keys));
  }

  async listKeys(
    key: number,
    kind: number,
    options: ListKeysOptions,
  ): Promise<readonly KeyEntry[]> {
    return this.#reading(key, () => this.#reader.listKeys(key, kind, options));
  }

  async readKeysDue(key: number, limit: number): Promise<readonly KeyEntry[]> {
    return this.#reading(key, () => this.#reader.keysDue(key, limit));
  }

  async putQueues(records: readonly StoredRecord[], gone: readonly string[] = []): Promise<void> {
    await this.#durably(() => {
      const remove = this.#statements.prepare("DELETE FROM queues WHERE name = ?");
      for (const name of gone) remove.run(name);
      const put = this.#statements.prepare(
        "INSERT OR REPLACE INTO queues (name, record, sum) VALUES (?, ?, ?)",
      );
      for (const { name, record } of records) put.run(name, record, sumOfRow(name, record));
    });
  }

  async deleteQueue(name: string): Promise<void> {
    await this.#durably(() => {
      this.#statements.prepare("DELETE FROM queues WHERE name = ?").run(name);
    });
  }

  async listQueues(): Promise<readonly StoredRecord[]> {
    let rows: [string, string, number][];
    try {
      this.#use();
      const statement = this.#statements.read("SELECT name, record, sum FROM queues ORDER BY name");
      rows = statement.all() as unknown as [string, string, number][];
    } catch (error) {
      throw startError(this.#file.path, error); // a start reads them, and its user must know the file
    }
    return rows.map(([name, record, sum]) => {
      this.#statements.check(sumOfRow(name, record) === sum, `record of queue '${name}'`);
      return { name, record };
    });
  }

  async figures(): Promise<StorageFigures> {
    const { path } = this.#file;
    const sizeOf = async (file: string): Promise<number> => {
      const found = await stat(file).catch(() => undefined);
      return found?.size ?? 0;
    };
    const [dataBytes, walBytes] = [await sizeOf(path), await sizeOf(`${path}-wal`)];
    const { bavail, bsize } = await statfs(dirname(path));
    const syncs = this.#file.log.syncs.totals();
    return { dataBytes, walBytes, freeBytes: bavail * bsize, syncs };
  }

  async check(): Promise<void> {
    this.#reading(undefined, () =>
      this.#statements.prepare("SELECT key FROM partitions LIMIT 1").get(),
    );
  }

  async close(): Promise<void> {
    this.#file.close(true);
  }

  // While another program holds a lock the thread goes on with everything else.
  async #transaction<T>(work: () => T, syncsNow = false): Promise<T> {
    try {
      try {
        return this.#transact(work, syncsNow);
      } catch (error) {
        if (!isBusy(error)) throw error;
      }
      return await whenUnlocked(this.#file.path, () => this.#transact(work, syncsNow));
    } catch (error) {
      throw this.#explained(error);
    }
  }

  // On the disk when it resolves, also where commits are synced now and then: what the registry of queues
  // believes it must never lose.
  async #durably<T>(work: () => T): Promise<T> {
    const result = await this.#transaction(work, true);
    await this.#file.log.settled();
    return result;
  }

  // `syncsNow`: also where commits are synced now and then; elsewhere each of them is.
  #transact<T>(work: () => T, syncsNow: boolean): T {
    const { db, log } = this.#file;
    const isLifted = syncsNow && this.#isLazy;
    this.#use();
    this.#writer.bytes = 0;
    if (isLifted) db.exec("PRAGMA synchronous = FULL");
    try {
      this.#statements.prepare("BEGIN IMMEDIATE").run();
      this.#noteLock(undefined);
      const result = work();
      const began = CLOCK.steady();
      this.#statements.prepare("COMMIT").run();
      if (isLifted || !this.#isLazy) log.syncs.note(CLOCK.steady() - began);
      this.#reader.removed.commit();
      log.wrote(this.#writer.bytes, isLifted);
      return result;
    } catch (error) {
      this.#reader.removed.rollback();
      if (db.isTransaction) this.#statements.prepare("ROLLBACK").run();
      log.refused(error);
      throw error;
    } finally {
      if (isLifted) db.exec("PRAGMA synchronous = NORMAL");
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
}
