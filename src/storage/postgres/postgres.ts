// Partitions and records in a PostgreSQL database, for those who already run one that replicates and
// is backed up. PostgreSQL keeps tables and decides nothing: one server owns a schema, and every
// transaction checks that it still does. A commit is one round trip. Changes are made one after
// another, reads beside them on other connections. After a failure whose outcome is not known nothing
// that memory holds of a partition is used before it was read anew.

import { hostname } from "node:os";
import pg from "pg";
import { countsOf } from "../rows/counts.ts";
import {
  BLOCK_HEADER,
  ITEM_HEADER,
  itemOf,
  itemOfHeader,
  itemsOfHeader,
} from "../rows/item-rows.ts";
import { lanesOf } from "../rows/lanes.ts";
import {
  type Expiry,
  type ItemTable,
  type KeyEntry,
  LANE_SPAN,
  type ListKeysOptions,
  type NewPartition,
  type PartitionChanges,
  type PartitionState,
  type ReadOptions,
  type Storage,
  type StorageFigures,
  StorageTaken,
  type StoredItem,
  type StoredPartition,
  type StoredRecord,
} from "../storage.ts";
import {
  Connection,
  type ConnectionOptions,
  DEFAULT_TIMEOUTS,
  placeOf,
  type Row,
  type Statement,
  type Target,
  type Timeouts,
} from "./connection.ts";
import { DueReader } from "./due.ts";
import { NOT_OWNER, PostgresError, ROW_MOVED } from "./errors.ts";
import { KnownPartitions } from "./known.ts";
import { type Ownership, takeOwnership } from "./owner.ts";
import { type Pages, readBlockItems, readSingleItems } from "./pages.ts";
import { type Block, blockOf, planCommit } from "./plan.ts";
import { checkPooling } from "./pooling.ts";
import { blockOfRow, headerOfRow, itemHeaderOf, itemRowOf, keyOfRow } from "./rows.ts";
import { migrate, pendingSql } from "./schema.ts";
import type { Of } from "./sql.ts";
import * as sql from "./sql.ts";
import { Sweeper } from "./sweep.ts";
import { bytea, byteas, int8s, textOf } from "./values.ts";

export interface PostgresOptions {
  readonly name: string;
  readonly target: Target;
  readonly schema: string;
  /** At least 2. */
  readonly connectionsMax: number;
  /** 5 s to connect, and 20 s for a statement, by default. */
  readonly timeouts?: Timeouts | undefined;
  /** Called once if another server has taken over; every call fails from then on. */
  readonly onLost?: ((reason: Error) => void) | undefined;
  /** Called when PostgreSQL does not answer any more, or fails, also where nobody asks it anything. */
  readonly onAway?: ((reason: Error) => void) | undefined;
  /** Called when it works again. */
  readonly onBack?: (() => void) | undefined;
}

// For a migration, which may have to look for every item that has a source. That the server has gone is seen
// sooner by the connection itself.
const MIGRATION_MS = 600_000;

/**
 * Opens a schema, and makes it if need be.
 * Rejects with a PostgresError whose message says what is wrong and what to do, and with StorageTaken
 * while another server owns the schema.
 */
export async function openPostgresStorage(options: PostgresOptions): Promise<Storage> {
  const { target, schema, connectionsMax, timeouts = DEFAULT_TIMEOUTS } = options;
  const applicationName = "querator";
  await checkPooling({ target, applicationName, connectMs: timeouts.connectMs });
  const connections = Array.from(
    { length: connectionsMax },
    () => new Connection({ target, schema, applicationName, timeouts }),
  );
  const [control, commits, ...reads] = connections as [Connection, Connection, ...Connection[]];
  try {
    const isPending = (await pendingSql(control, schema)) !== "";
    if (isPending) await migratePatiently({ target, schema, applicationName, timeouts });
    const storage = new PostgresStorage(options, { control, commits, reads });
    await storage.own();
    return storage;
  } catch (error) {
    await Promise.all(connections.map((each) => each.close()));
    const isTaken = error instanceof PostgresError && error.code === NOT_OWNER;
    throw isTaken ? new StorageTaken(error.message, { cause: error }) : error;
  }
}

/** Brings a schema up to date, unless it is only asked for; answers the SQL, "" if there is none to run. */
export async function migratePostgres(
  target: Target,
  schema: string,
  dryRun: boolean,
): Promise<string> {
  const applicationName = "querator";
  await checkPooling({ target, applicationName, connectMs: DEFAULT_TIMEOUTS.connectMs });
  const options = { target, schema, applicationName };
  const connection = new Connection(options);
  try {
    const sql = await pendingSql(connection, schema);
    if (!dryRun) await migratePatiently(options);
    return sql;
  } finally {
    await connection.close();
  }
}

async function migratePatiently(options: ConnectionOptions): Promise<void> {
  const { timeouts = DEFAULT_TIMEOUTS } = options;
  const patient = { ...timeouts, statementMs: MIGRATION_MS };
  const connection = new Connection({ ...options, timeouts: patient });
  try {
    await migrate(connection, options.schema);
  } finally {
    await connection.close();
  }
}

interface Connections {
  readonly control: Connection;
  readonly commits: Connection;
  /** May be none. */
  readonly reads: readonly Connection[];
}

class PostgresStorage implements Storage {
  readonly name: string;
  readonly location: string;
  readonly isDurable = true;
  readonly #options: PostgresOptions;
  readonly #connections: Connections;
  readonly #known: KnownPartitions;
  readonly #due: DueReader;
  readonly #pages: Pages;
  readonly #sweeper: Sweeper;
  #ownership: Ownership | undefined;
  #lost: PostgresError | undefined;
  // The last change; the next one waits for it.
  #changing: Promise<unknown> = Promise.resolve();
  // How many transactions ended without anybody knowing how; and of these, how many can no more
  // come to pass.
  #doubts = 0;
  #settled = 0;
  #settling: Promise<void> | undefined;
  #nextRead = 0;

  constructor(options: PostgresOptions, connections: Connections) {
    this.name = options.name;
    const place = placeOf(new pg.Client(options.target));
    this.location = `postgres:${place}/${options.schema}`;
    this.#options = options;
    this.#connections = connections;
    this.#known = new KnownPartitions(async (statements) => {
      await this.#settle();
      return this.#connections.control.run(statements);
    });
    this.#due = new DueReader((statement) => this.#read(statement));
    this.#sweeper = new Sweeper({
      read: async (statement) => (await connections.control.run([statement]))[0]!,
      change: (statement) =>
        this.#change(async () => (await this.#fenced(connections.control, [statement]))[1]!),
      onGone: (key) => {
        this.#known.forget([key]);
        this.#due.forget(key);
      },
    });
    this.#pages = {
      read: (statement) => this.#read(statement),
      removed: (key) => this.#known.snapshot(key),
      block: (row) => blockOf(blockOfRow(row)) ?? damaged(this.location, `items from ${row[0]}`),
      item: (row) => itemOf(itemRowOf(row)) ?? damaged(this.location, `item ${row[0]}`),
    };
  }

  async own(): Promise<void> {
    this.#ownership = await takeOwnership(this.#connections.control, {
      holder: `${hostname()}:${process.pid}`,
      onLost: (reason) => this.#lose(reason),
      onAway: (reason) => this.#options.onAway?.(reason),
      onBack: () => this.#options.onBack?.(),
    });
  }

  #lose(reason: PostgresError): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    this.#options.onLost?.(reason);
  }

  // --- changing ---

  commit(changes: readonly PartitionChanges[]): Promise<void> {
    return this.#change(async () => {
      const written = this.#due.begin(changes);
      try {
        await this.#tryCommit(changes).catch((error: unknown) => {
          // Somebody has rewritten the table: VACUUM FULL, for one.
          if ((error as PostgresError).code === ROW_MOVED) return this.#tryCommit(changes);
          throw error;
        });
      } finally {
        written();
      }
    });
  }

  async #tryCommit(changes: readonly PartitionChanges[]): Promise<void> {
    const keys = changes.map(({ partition }) => partition);
    try {
      await this.#settle();
      await this.#known.know(keys);
      await this.#write(changes);
    } catch (error) {
      this.#known.removed.rollback();
      this.#known.forget(keys);
      throw error;
    }
  }

  async #write(changes: readonly PartitionChanges[]): Promise<void> {
    const { commits } = this.#connections;
    const planned = await planCommit(changes, this.#known.removed, {
      blocks: async (places) => {
        const [rows] = await commits.run([sql.blocksAt(places)]);
        return rows!.map((row): Of<Block> => [Number(row[0]), this.#pages.block(row.slice(1))]);
      },
      singleItems: async (table, places) => {
        const [rows] = await commits.run([sql.singleItemsAt(table, places)]);
        return rows!.map((row) => [Number(row[0]), this.#pages.item(row.slice(1))]);
      },
    });
    const counters = changes.map(({ partition, counters }) => ({
      key: partition,
      place: this.#known.placeOf(partition),
      counters,
    }));
    const [, [updated] = []] = await this.#fenced(commits, [
      sql.updateCounters(counters),
      ...planned,
    ]);
    for (const each of updated![0]!.split(";")) {
      const [key, place] = each.split(" ") as [string, string];
      this.#known.moved(Number(key), place);
    }
    this.#known.removed.commit();
  }

  async createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]> {
    return this.#change(async () => {
      const [, rows] = await this.#fenced(this.#connections.control, [
        {
          text: `INSERT INTO partitions (queue, number, id_prefix, created_at)
            SELECT queue, number, convert_from(id_prefix, 'UTF8'), created_at
            FROM unnest($1::bytea[], $2::int8[], $3::bytea[], $4::int8[])
              WITH ORDINALITY u(queue, number, id_prefix, created_at, i) ORDER BY i
            RETURNING key`,
          values: [
            byteas(partitions.map(({ queue }) => queue)),
            int8s(partitions.map(({ number }) => number)),
            byteas(partitions.map(({ idPrefix }) => idPrefix)),
            int8s(partitions.map(({ createdAt }) => createdAt)),
          ],
        },
      ]);
      return rows!.map(([key]) => Number(key));
    });
  }

  async dropPartitions(keys: readonly number[]): Promise<void> {
    await this.#change(async () => {
      this.#known.forget(keys);
      await this.#fenced(this.#connections.control, [
        {
          text: "UPDATE partitions SET dropped = true WHERE key = ANY($1::int8[])",
          values: [int8s(keys)],
        },
      ]);
    });
  }

  sweep(limit: number): Promise<boolean> {
    return this.#sweeper.sweep(limit);
  }

  async putQueues(records: readonly StoredRecord[], gone: readonly string[] = []): Promise<void> {
    const removes = { text: "DELETE FROM queues WHERE name = ANY($1)", values: [byteas(gone)] };
    await this.#change(() =>
      this.#fenced(this.#connections.control, [
        ...(gone.length === 0 ? [] : [removes]),
        ...records.map(({ name, record }) => ({
          text: `INSERT INTO queues (name, record) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET record = excluded.record`,
          values: [bytea(name), bytea(record)],
        })),
      ]),
    );
  }

  async deleteQueue(name: string): Promise<void> {
    await this.#change(() =>
      this.#fenced(this.#connections.control, [
        { text: "DELETE FROM queues WHERE name = $1", values: [bytea(name)] },
      ]),
    );
  }

  // --- reading ---

  async listPartitions(): Promise<readonly StoredPartition[]> {
    const rows = await this.#read({
      text: `SELECT key, queue, number, id_prefix, created_at, dropped FROM partitions ORDER BY key`,
    });
    return rows.map(([key, queue, number, idPrefix, createdAt, dropped]) => ({
      key: Number(key),
      queue: textOf(queue),
      number: Number(number),
      idPrefix: idPrefix!,
      createdAt: Number(createdAt),
      dropped: dropped === "t",
    }));
  }

  async loadPartition(key: number): Promise<PartitionState> {
    await this.#settle();
    this.#known.forget([key]);
    await this.#known.know([key]);
    const { control } = this.#connections;
    const [partitions, blocks, leases] = await control.run([
      {
        text: `SELECT id_prefix, lanes, counts, head, tail, total, scheduled, held, created_sum,
          dropped_attempts, dropped_expired, dropped_rejected FROM partitions WHERE key = $1`,
        values: [key],
      },
      {
        // The heads of all lanes are known by the row itself, so that all is of one moment.
        text: `SELECT b.* FROM (
            SELECT key, 0::int8 AS low, head FROM partitions WHERE key = $1
            UNION ALL
            SELECT key, split_part(each, ' ', 1)::int8 * ${LANE_SPAN}, split_part(each, ' ', 2)::int8
            FROM partitions, unnest(string_to_array(nullif(lanes, ''), ',')) each WHERE key = $1) l,
          LATERAL (SELECT ${BLOCK_HEADER} FROM items t WHERE t.partition = l.key
            AND t.first >= l.low AND t.first < l.head OFFSET 0) b ORDER BY b.first`,
        values: [key],
      },
      {
        text: "SELECT first, last, deadline, leased_at, extended_at FROM leases WHERE partition = $1",
        values: [key],
      },
    ]);
    const row = partitions![0];
    if (row === undefined) throw new Error(`no partition ${key} in '${this.location}'`);
    const [head, tail, total, scheduled, held, createdSum, attempts, expired, rejected] = row
      .slice(3)
      .map(Number) as [number, number, number, number, number, number, number, number, number];
    const dropped = { attempts, expired, rejected };
    const lanes = lanesOf(row[1]!);
    const counts = countsOf(row[2]!);
    const removed = this.#known.removed.of(key);
    const headOf = (seq: number): number => {
      const lane = Math.floor(seq / LANE_SPAN);
      return lane === 0 ? head : (lanes.find((each) => each.lane === lane)?.head ?? 0);
    };
    return {
      idPrefix: row[0]!,
      counters: { head, tail, total, scheduled, held, createdSum, dropped, lanes, counts },
      leased: blocks!
        .flatMap((each) => itemsOfHeader(headerOfRow(each)))
        .filter(({ seq }) => seq < headOf(seq) && removed?.has(seq) !== true),
      leases: leases!.map((each) => {
        const [first, last, deadline, leasedAt, extendedAt] = each.map(Number) as [
          number,
          number,
          number,
          number,
          number,
        ];
        return { first, last, deadline, leasedAt, extendedAt };
      }),
    };
  }

  async readItems(
    key: number,
    table: ItemTable,
    options: ReadOptions,
  ): Promise<readonly StoredItem[]> {
    if (table !== "items") return readSingleItems(this.#pages, table, key, options);
    return readBlockItems(this.#pages, key, options);
  }

  readScheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    return this.#due.scheduled(key, limit);
  }

  async readHeld(key: number, group: string, limit: number): Promise<readonly StoredItem[]> {
    const rows = await this.#read({
      text: `SELECT ${ITEM_HEADER} FROM held WHERE partition = $1 AND in_group = $2
        ORDER BY seq LIMIT $3`,
      values: [key, bytea(group), limit],
    });
    return rows.map((row) => itemOfHeader(itemHeaderOf(row)));
  }

  readExpiries(key: number, limit: number): Promise<readonly Expiry[]> {
    return this.#due.expiries(key, limit);
  }

  async findKeys(
    key: number,
    kind: number,
    keys: readonly string[],
  ): Promise<ReadonlyMap<string, KeyEntry>> {
    const rows = await this.#read({
      text: `SELECT ${sql.KEY_COLUMNS} FROM keys
        WHERE partition = $1 AND kind = $2 AND key = ANY($3::bytea[])`,
      values: [key, kind, byteas(keys)],
    });
    return new Map(rows.map(keyOfRow).map((entry) => [entry.key, entry]));
  }

  async listKeys(
    key: number,
    kind: number,
    options: ListKeysOptions,
  ): Promise<readonly KeyEntry[]> {
    return (await this.#read(sql.listKeys(key, kind, options))).map(keyOfRow);
  }

  readKeysDue(key: number, limit: number): Promise<readonly KeyEntry[]> {
    return this.#due.keys(key, limit);
  }

  async listQueues(): Promise<readonly StoredRecord[]> {
    const rows = await this.#read({ text: "SELECT name, record FROM queues ORDER BY name" });
    return rows.map(([name, record]) => ({ name: textOf(name), record: textOf(record) }));
  }

  async figures(): Promise<StorageFigures> {
    const { control, commits, reads } = this.#connections;
    const all = [control, commits, ...reads];
    const epoch = this.#ownership?.epoch;
    return {
      roundTrips: all.reduce((sum, each) => sum + each.roundTrips, 0),
      ...(epoch === undefined ? {} : { epoch }),
    };
  }

  async check(): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost;
    await this.#settle();
    await this.#connections.control.run([sql.fence(this.#ownership!)]);
  }

  async close(): Promise<void> {
    await this.#changing.catch(() => undefined);
    await this.#ownership?.release().catch(() => undefined);
    const { control, commits, reads } = this.#connections;
    await Promise.all([control, commits, ...reads].map((each) => each.close()));
  }

  // --- transactions ---

  // Nothing may be read while a commit, of which nothing is known, could still come to pass.
  async #settle(): Promise<void> {
    while (this.#settled !== this.#doubts) {
      const doubts = this.#doubts;
      this.#settling ??= this.#ownership!.settle()
        .then(() => {
          this.#settled = doubts;
        })
        .finally(() => {
          this.#settling = undefined;
        });
      await this.#settling;
    }
  }

  // Changes wait for each other.
  #change<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#changing.then(work);
    this.#changing = next.catch(() => undefined);
    return next;
  }

  // Runs statements in one transaction, unless another server owns the data.
  async #fenced(
    connection: Connection,
    statements: readonly Statement[],
  ): Promise<readonly (readonly Row[])[]> {
    if (this.#lost !== undefined) throw this.#lost;
    await this.#settle();
    try {
      return await connection.run([sql.fence(this.#ownership!), ...statements]);
    } catch (error) {
      const failure = error as PostgresError;
      if (failure.code === NOT_OWNER) this.#lose(failure);
      else if (!failure.isUndone) this.#doubts++;
      throw failure;
    }
  }

  async #read(statement: Statement): Promise<readonly Row[]> {
    if (this.#lost !== undefined) throw this.#lost;
    await this.#settle();
    const { reads, commits } = this.#connections;
    const connection = reads.length === 0 ? commits : reads[this.#nextRead++ % reads.length]!;
    const [rows] = await connection.run([statement]);
    return rows!;
  }
}

// What was read is not what was written: it must not be served.
function damaged(location: string, what: string): never {
  throw new Error(`'${location}' is damaged (${what}); restore it from a backup`);
}
