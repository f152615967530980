// A SQLite file of ours: making, locking and opening it, its schema, and the versions of that. What
// cannot be opened is refused with a message that names the file and says what to do. A second
// server is kept out by an exclusive lock on a small file beside it, which the operating system
// lifts when the process ends, however it ends. That file also remembers that there was data, so
// that a file that is gone is not taken for one that was never made, and whether a server that did
// not sync every commit has not closed it.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../errors.ts";
import { startError } from "./errors.ts";
import { BUSY_MS, isBusy, whenUnlocked } from "./locks.ts";
import { SqliteLog, type StorageWatch } from "./log.ts";

// "QRTR": what tells our files from other SQLite files.
const APPLICATION_ID = 0x51525452;
// The same of the lock beside a file that is in use with commits that are not synced at once: "OPEN".
const MARK = 0x4f50454e;

// Each entry takes the schema one version further; the version of a file is its user_version.
// `sum` is a checksum of the row; see checksum.ts. Times are REAL: microseconds of far years go
// beyond the integers that JavaScript can read.
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE queues (name TEXT PRIMARY KEY, record TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE partitions (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    number INTEGER NOT NULL,
    id_prefix TEXT NOT NULL,
    created_at REAL NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0,
    head INTEGER NOT NULL DEFAULT 1,
    tail INTEGER NOT NULL DEFAULT 1,
    total INTEGER NOT NULL DEFAULT 0,
    scheduled INTEGER NOT NULL DEFAULT 0,
    created_sum REAL NOT NULL DEFAULT 0,
    sum INTEGER NOT NULL
  );
  CREATE TABLE items (
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expire_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline REAL NOT NULL,
    source_id TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    texts TEXT NOT NULL,
    ends BLOB NOT NULL,
    payloads BLOB NOT NULL,
    PRIMARY KEY (partition, first)
  ) WITHOUT ROWID;
  CREATE TABLE scheduled (
    partition INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expire_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    lease_deadline REAL NOT NULL,
    due_at REAL NOT NULL,
    source_id TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    text TEXT NOT NULL,
    payload BLOB,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, seq)
  ) WITHOUT ROWID;
  CREATE INDEX scheduled_due ON scheduled (partition, due_at, seq);
  CREATE TABLE leases (
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    deadline REAL NOT NULL,
    leased_at REAL NOT NULL,
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, first)
  ) WITHOUT ROWID;
  CREATE TABLE expiries (
    partition INTEGER NOT NULL,
    at REAL NOT NULL,
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
    sum INTEGER NOT NULL,
    PRIMARY KEY (partition, chunk)
  ) WITHOUT ROWID;
  `,
  // The counters of what was taken away; and where the item of a source is: nearly no items have one, and
  // those that have none are not in the index.
  `
  ALTER TABLE partitions ADD COLUMN dropped_attempts INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE partitions ADD COLUMN dropped_expired INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE partitions ADD COLUMN dropped_rejected INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX items_source ON items (partition, source_id) WHERE source_id <> '';
  CREATE INDEX scheduled_source ON scheduled (partition, source_id) WHERE source_id <> '';
  `,
  // When a lease was extended.
  `
  ALTER TABLE leases ADD COLUMN extended_at REAL NOT NULL DEFAULT 0;
  `,
];

export interface SqliteOptions {
  readonly name: string;
  readonly dir: string;
  /** The name of the file; `querator.db` by default. */
  readonly file?: string;
  /** Microseconds of acknowledged work that a power cut may take; by default none. */
  readonly syncInterval?: number;
  /** Whether the file must be there already: false makes it if need be. */
  readonly mustExist?: boolean;
  /** Told what becomes of it; by default nobody is. */
  readonly watch?: StorageWatch;
}

/** A file that is open, and its lock. */
export interface SqliteFile {
  readonly path: string;
  readonly db: DatabaseSync;
  readonly log: SqliteLog;
  /** Whether commits that were not synced at once may have been lost before, for it was not closed. */
  readonly mayLack: boolean;
  /** Closes it; `isSound` says that nothing is lacking from now on. */
  close(isSound: boolean): void;
}

/** Opens the file; rejects with a QueueError whose message is meant for the user. */
export async function openFile(options: SqliteOptions): Promise<SqliteFile> {
  const path = join(resolve(options.dir), options.file ?? "querator.db");
  try {
    return await whenUnlocked(path, () => openNow(path, options));
  } catch (error) {
    throw startError(path, error);
  }
}

function openNow(path: string, options: SqliteOptions): SqliteFile {
  const { syncInterval = 0, watch = UNWATCHED } = options;
  const dir = dirname(path);
  let lock: Lock | undefined;
  let db: DatabaseSync | undefined;
  try {
    if (options.mustExist === true && isEmpty(path)) {
      throw new QueueError(
        "failed",
        `'${path}' is not there, but queues have partitions in it; mount or restore it`,
      );
    }
    makeDirectory(dir);
    lock = takeLock(path);
    // SQLite would make a new file, and throw away what the log still has of the old one.
    if (isEmpty(path) && (lock.hadData || !isEmpty(`${path}-wal`))) {
      throw new QueueError(
        "failed",
        `'${path}' is missing or empty, but there was data in it; restore it from a backup, or move the directory away to start empty`,
      );
    }
    const isNew = isEmpty(path);
    db = new DatabaseSync(path, { enableForeignKeyConstraints: false, timeout: BUSY_MS });
    if (!isNew) checkOurs(db, path);
    db.exec("PRAGMA journal_mode = WAL");
    db.exec(`PRAGMA synchronous = ${syncInterval === 0 ? "FULL" : "NORMAL"}`);
    // 16 MiB. A queue reads a page when its items leave, long after it wrote it, so more helps little;
    // and after most commits that take pages of the file anew SQLite walks the whole cache.
    db.exec("PRAGMA cache_size = -16384");
    db.exec("PRAGMA temp_store = MEMORY");
    db.exec("PRAGMA cell_size_check = ON");
    migrate(db, path);
    lock.noteData();
    const [openDb, openLock] = [db, lock];
    const log = new SqliteLog({ path, db, syncInterval, watch });
    const mayLack = lock.isMarked;
    if (syncInterval > 0) lock.mark(true);
    return {
      path,
      db,
      log,
      mayLack,
      close(isSound) {
        const isSynced = log.beforeClose();
        openDb.close();
        log.afterClose();
        try {
          if (isSound && isSynced) openLock.mark(false);
        } finally {
          openLock.close();
        }
      },
    };
  } catch (error) {
    db?.close();
    lock?.close();
    throw error;
  }
}

const UNWATCHED: StorageWatch = { trouble() {}, distrust() {} };

/** Whether a file is missing, or was made and never written. */
export function isEmpty(path: string): boolean {
  return !existsSync(path) || statSync(path).size === 0;
}

// SQLite syncs the directory of its files, but not those above it: without that a power cut soon
// after the first start could take the whole directory away.
function makeDirectory(dir: string): void {
  const missing: string[] = [];
  for (let each = resolve(dir); !existsSync(each); each = dirname(each)) missing.unshift(each);
  // One by one: on a file system that takes no directories Node's own way would never end.
  for (const each of missing) {
    try {
      mkdirSync(each, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const parent = openSync(dirname(each), "r");
    try {
      fsyncSync(parent);
    } finally {
      closeSync(parent);
    }
  }
}

interface Lock {
  /** Whether the file beside it has ever held data. */
  readonly hadData: boolean;
  /** Remembers that it does from now on. */
  noteData(): void;
  /** Whether the file is open, or was not closed, with commits that are not synced at once. */
  readonly isMarked: boolean;
  mark(isMarked: boolean): void;
  close(): void;
}

/** The lock of a file; it is empty as long as the file has never held data. */
export function lockOf(path: string): string {
  return path.replace(/\.db$/, ".lock");
}

function takeLock(path: string): Lock {
  const file = lockOf(path);
  const lock = new DatabaseSync(file, { timeout: 0 });
  let hadData: boolean;
  let isMarked: boolean;
  try {
    // In this mode a lock that was taken once is kept until the end, whatever is committed.
    lock.exec("PRAGMA locking_mode = EXCLUSIVE");
    lock.exec("BEGIN EXCLUSIVE");
    hadData = pragma(lock, "user_version") === 1;
    isMarked = pragma(lock, "application_id") === MARK;
    lock.exec("COMMIT");
  } catch (cause) {
    lock.close();
    if (!isBusy(cause)) throw startError(file, cause);
    throw new QueueError(
      "failed",
      `data directory '${dirname(path)}' is in use by another server; stop it, or choose another directory`,
      { cause },
    );
  }
  return {
    hadData,
    noteData() {
      if (!hadData) lock.exec("PRAGMA user_version = 1");
    },
    get isMarked() {
      return isMarked;
    },
    mark(wanted) {
      if (wanted !== isMarked) lock.exec(`PRAGMA application_id = ${wanted ? MARK : 0}`);
      isMarked = wanted;
    },
    close: () => lock.close(),
  };
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
