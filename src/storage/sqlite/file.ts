// A SQLite file of ours: making, locking and opening it. What cannot be opened is refused with a
// message that names the file and says what to do. A second server is kept out by an exclusive lock on
// a small file beside it, which the operating system lifts when the process ends, however it ends. That file also remembers that there was data, so
// that a file that is gone is not taken for one that was never made, and whether a server that did
// not sync every commit has not closed it.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { QueueError } from "../../errors.ts";
import { startError } from "./errors.ts";
import { BUSY_MS, isBusy, whenUnlocked } from "./locks.ts";
import { SqliteLog, type StorageWatch } from "./log.ts";
import { APPLICATION_ID, migrate, pendingSql, pragma } from "./migrations.ts";

// In the header of the lock beside a file that is in use with commits that are not synced at once: "OPEN".
const MARK = 0x4f50454e;

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

/**
 * Brings a file up to date, unless it is only asked for; answers the SQL, "" if there is none to run, or no file.
 * Rejects as `openFile` does.
 */
export async function migrateSqlite(
  options: Pick<SqliteOptions, "dir" | "file">,
  dryRun: boolean,
): Promise<string> {
  const path = join(resolve(options.dir), options.file ?? "querator.db");
  if (isEmpty(path)) return "";
  let sql: string;
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true });
    checkOurs(db, path);
    sql = pendingSql(db, path);
  } catch (error) {
    throw startError(path, error);
  } finally {
    db?.close();
  }
  // Whether something was lacking is for the server that opens it next.
  if (sql !== "" && !dryRun) (await openFile({ name: "", ...options })).close(false);
  return sql;
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
