// The log (WAL) of a SQLite file: how it comes to the disk, how it is taken over into the file, and
// what happens when either fails. SQLite does not do it by itself here, for it passes over a
// takeover that fails, and reads on in a log whose sync has failed. A system may then have let go
// what was not on the disk: the pages read as something else, or read right until the power goes.
//
// The one rule: after a sync that failed, no matter whose, SQLite must forget what it believes of the
// log. The header of its index (-shm) is cleared, so that it reads the log anew, up to the first
// frame whose checksum is not right: that is a commit as it was. What is then there is written once
// more, whole, and synced, for nobody knows what of it the disk has; and nothing is served before
// that has gone well. `synchronous = FULL` loses nothing by it: what it has acknowledged was synced.

import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { isFailedSync } from "./errors.ts";
import { holders, nameAll } from "./locks.ts";

// Frames that are taken over at a time, as SQLite has it by default.
const TAKEOVER_FRAMES = 1_000;
// How many frames there are is looked up at the latest after so many commits.
const LOOK_COMMITS_MAX = 64;
const FRAME_BYTES = 4_096 + 24;
/** A log that has grown beyond this is cut off again when it has been taken over. */
const LOG_BYTES_KEPT = 32 * 1024 ** 2;
// Beyond this a log that cannot be taken over is told of.
const LOG_BYTES_TOLD = 64 * 1024 ** 2;
// After what time a takeover is tried again that failed or was held up.
const TAKEOVER_RETRY_MS = 1_000;
const REPAIR_RETRY_MS = 250;
// For how long after a repair `/health` still tells of it: long enough to be seen by who looks now and then.
const TOLD_MS = 5_000;
const CHUNK_BYTES = 1024 ** 2;

// Where things are in the index: two copies of a header, then how far the log was taken over.
const HEADER_BYTES = 96;
const FRAMES_AT = 16;
const SALT_AT = 32;
const SALT_BYTES = 8;

/** Who is told what becomes of a storage. */
export interface StorageWatch {
  /** Something is wrong, and what to do; undefined: not any more. */
  trouble(check: string, text: string | undefined): void;
  /** What was read before, and what was acknowledged lately, may not be there any more. */
  distrust(): void;
}

/** What could not be done with a log, and what that was like before. */
interface Failed {
  readonly what: "sync" | "takeover";
  readonly text: string;
  readonly before: string;
  readonly isAgain: boolean;
}

export interface SqliteLogOptions {
  readonly path: string;
  readonly db: DatabaseSync;
  /** Microseconds between two syncs; 0 if every commit syncs. */
  readonly syncInterval: number;
  readonly watch: StorageWatch;
}

export class SqliteLog {
  readonly #path: string;
  readonly #db: DatabaseSync;
  readonly #watch: StorageWatch;
  readonly #isLazy: boolean;
  // Both stay open until the database is closed: closing a file ends all locks that the process has on it.
  readonly #log: number;
  readonly #index: number;
  #syncTimer: NodeJS.Timeout | undefined;
  // By what they are for.
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #closed = false;

  // Commits since the beginning of the last sync that went well, and when that was.
  #unsynced = 0;
  #syncedAt = new Date();
  // The sync that is under way beside everything else.
  #syncing: Promise<void> | undefined;

  // The frames of the log when they were looked up last, and up to where a takeover was tried.
  #frames = 0;
  #tried = 0;
  // Commits, and bytes of items, until they are looked up again; and how many commits those were at first.
  #commitsToLook = 1;
  #bytesToLook = 0;
  #commitsPerLook = 1;
  #isHeldUp = false;
  #isHeldUpTold = false;
  #takesOverAfterSync = false;

  // Set while nothing may be served: why.
  #failure: Error | undefined;
  #losses = 0;

  /** Takes charge of the log of a file that was just opened; throws if it cannot be read or written. */
  constructor({ path, db, syncInterval, watch }: SqliteLogOptions) {
    this.#path = path;
    this.#db = db;
    this.#watch = watch;
    this.#isLazy = syncInterval > 0;
    db.exec("PRAGMA wal_autocheckpoint = 0");
    db.exec(`PRAGMA journal_size_limit = ${LOG_BYTES_KEPT}`);
    db.exec("BEGIN IMMEDIATE");
    const opened: number[] = [];
    try {
      opened.push(openSync(`${path}-wal`, "r+"), openSync(`${path}-shm`, "r+"));
      [this.#log, this.#index] = opened as [number, number];
      // The process before this one may have met a sync that failed.
      this.#writeAgain();
    } catch (error) {
      for (const file of opened) closeSync(file);
      throw error;
    } finally {
      db.exec("ROLLBACK");
    }
    if (this.#isLazy) {
      this.#syncTimer = setInterval(() => this.#sync(), syncInterval / 1_000).unref();
    }
  }

  /** Throws while nothing may be read or written. */
  checkSound(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Says that something was committed, with about so many bytes, and perhaps synced; throws if it may
   * not be there any more.
   */
  wrote(bytes: number, isSynced: boolean): void {
    if (isSynced) this.#noteSynced();
    else if (this.#isLazy) this.#unsynced++;
    this.#commitsToLook--;
    this.#bytesToLook -= bytes;
    if (this.#commitsToLook > 0 && this.#bytesToLook > 0) return;
    const losses = this.#losses;
    this.#look();
    this.#checkLosses(losses);
  }

  /**
   * Resolves when no sync is under way that may have failed already, with which a commit that was synced
   * after it would be gone as well; then it rejects.
   */
  async settled(): Promise<void> {
    const losses = this.#losses;
    await this.#syncing;
    this.#checkLosses(losses);
  }

  #checkLosses(before: number): void {
    this.checkSound();
    if (this.#losses !== before) throw new Error(`'${this.#path}-wal' was lost in part`);
  }

  #noteSynced(): void {
    this.#unsynced = 0;
    this.#syncedAt = new Date();
  }

  /** Says that a commit was refused, and why. */
  refused(error: unknown): void {
    if (this.#isLazy && isFailedSync(error)) this.#fail("sync", error);
  }

  /** To be called before the database is closed. True if all that was committed is on the disk. */
  beforeClose(): boolean {
    const losses = this.#losses;
    clearInterval(this.#syncTimer);
    if (this.#isLazy && this.#unsynced > 0 && this.#failure === undefined) {
      try {
        fdatasyncSync(this.#log);
      } catch (error) {
        this.#fail("sync", error);
      }
    }
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    return this.#failure === undefined && this.#losses === losses;
  }

  /** To be called when the database is closed. */
  afterClose(): void {
    closeSync(this.#index);
    // The number of a file that is closed while it is being synced could be given to another.
    if (this.#syncing === undefined) closeSync(this.#log);
    else void this.#syncing.then(() => closeSync(this.#log));
  }

  // --- syncing ---

  // Beside everything else: then no commit waits for the disk.
  #sync(): void {
    if (this.#unsynced === 0 || this.#syncing !== undefined || this.#failure !== undefined) return;
    const before = this.#unsynced;
    const at = new Date();
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#log, (error) => {
        this.#syncing = undefined;
        resolve();
        if (this.#closed) return;
        if (error !== null) {
          this.#fail("sync", error);
          return;
        }
        this.#unsynced = Math.max(this.#unsynced - before, 0);
        this.#syncedAt = at;
        if (this.#takesOverAfterSync) this.#takeOver();
      });
    });
  }

  // --- taking the log over into the file ---

  #look(): void {
    const frames = this.#framesNow();
    const commits = this.#commitsPerLook - Math.max(this.#commitsToLook, 0);
    const perCommit = Math.max((frames - this.#frames) / commits, 1);
    if (frames < this.#frames) this.#tried = 0; // it has begun anew
    this.#frames = frames;
    const left = TAKEOVER_FRAMES - (frames - this.#tried);
    this.#lookAfter(Math.min(Math.max(Math.floor(left / perCommit), 1), LOOK_COMMITS_MAX));
    this.#bytesToLook = left * FRAME_BYTES;
    if (left <= 0) this.#takeOver();
  }

  #lookAfter(commits: number): void {
    this.#commitsToLook = commits;
    this.#bytesToLook = TAKEOVER_FRAMES * FRAME_BYTES;
    this.#commitsPerLook = commits;
  }

  // SQLite syncs the log first, then the file when it has all of it. While a sync is under way on another
  // thread, which may have failed already, another one could go well although pages are gone.
  #takeOver(): void {
    if (this.#failure !== undefined) return;
    this.#takesOverAfterSync = this.#syncing !== undefined;
    if (this.#takesOverAfterSync) return;
    try {
      const { log, checkpointed } = this.#checkpoint("PASSIVE");
      this.#frames = Math.max(log, 0);
      this.#tried = this.#frames;
      this.#lookAfter(1);
      this.#watch.trouble("takeover", undefined);
      this.#noteHeldUp(log !== checkpointed, log * FRAME_BYTES);
    } catch (error) {
      this.#fail("takeover", error);
      this.#later("takeover", TAKEOVER_RETRY_MS, () => this.#takeOver());
    }
  }

  #checkpoint(mode: "PASSIVE" | "TRUNCATE"): {
    readonly log: number;
    readonly checkpointed: number;
  } {
    return this.#db.prepare(`PRAGMA wal_checkpoint(${mode})`).get() as {
      log: number;
      checkpointed: number;
    };
  }

  // A program that reads the file in a transaction keeps the log from beginning anew.
  #noteHeldUp(isHeldUp: boolean, bytes: number): void {
    const wasHeldUp = this.#isHeldUp;
    this.#isHeldUp = isHeldUp;
    if (isHeldUp) {
      this.#later("takeover", TAKEOVER_RETRY_MS, () => this.#takeOver());
      if (bytes > LOG_BYTES_TOLD && !this.#isHeldUpTold) {
        this.#isHeldUpTold = true;
        this.#watch.trouble("log", heldUpText(this.#path));
      }
      return;
    }
    this.#isHeldUpTold = false;
    this.#watch.trouble("log", undefined);
    // The next commit but one would cut it off, but perhaps there is none.
    if (wasHeldUp && bytes > LOG_BYTES_KEPT) this.#checkpoint("TRUNCATE");
  }

  // --- when it fails ---

  #fail(what: "sync" | "takeover", cause: unknown): void {
    if (this.#failure !== undefined) return;
    const { message } = cause as Error;
    const text =
      what === "sync"
        ? `'${this.#path}-wal' could not be synced (${message})`
        : `'${this.#path}-wal' could not be taken over into '${this.#path}' (${message})`;
    this.#failure = new Error(`${text}, and not be written again since; see to the disk`, {
      cause,
    });
    const before = this.#mark();
    writeSync(this.#index, Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    this.#repair({ what, text, before, isAgain: false });
  }

  // Once more and once more, until the log has been read anew and written again.
  #repair(failed: Failed): void {
    const { what, text, before, isAgain } = failed;
    try {
      this.#db.exec("BEGIN IMMEDIATE"); // reads it anew, and keeps others from writing
      try {
        this.#writeAgain();
      } finally {
        this.#db.exec("ROLLBACK");
      }
    } catch (error) {
      if (this.#closed) return;
      this.#later("repair", REPAIR_RETRY_MS, () => this.#repair({ ...failed, isAgain: true }));
      if (isAgain) return;
      const why = (error as Error).message;
      this.#watch.trouble(
        "sync",
        `${text}, and not be written again (${why}): nothing is acknowledged until it is, which is tried all the time; see to the disk`,
      );
      this.#watch.distrust();
      return;
    }
    this.#failure = undefined;
    this.#frames = this.#framesNow();
    this.#tried = 0;
    this.#lookAfter(1);
    // All of a log that holds nothing yet is in the file.
    const isWhole = before.startsWith("0 ") || this.#mark() === before;
    this.#tellRepaired(what, text, isWhole);
    this.#noteSynced();
  }

  #tellRepaired(what: Failed["what"], text: string, isWhole: boolean): void {
    if (what === "takeover" && isWhole) {
      this.#watch.trouble("sync", undefined);
      this.#watch.trouble(
        "takeover",
        `${text}; what was acknowledged is safe in the log, which grows until it can be; see to the disk`,
      );
      return;
    }
    const since = this.#syncedAt.toISOString();
    const fate = isWhole
      ? "all of them were still there, and have been written again"
      : "some or all of them are lost, and the queues go on from what is left";
    this.#watch.trouble(
      "sync",
      `${text}, and not all of the ${this.#unsynced} commits since ${since} were on the disk: ${fate}; see to the disk`,
    );
    this.#later("told", TOLD_MS, () => {
      if (this.#failure === undefined) this.#watch.trouble("sync", undefined);
    });
    if (isWhole) return;
    this.#losses++;
    this.#watch.distrust();
  }

  // A system may hold pages that it takes for written and that the disk does not have: nothing but this
  // writes them.
  #writeAgain(): void {
    const { size } = fstatSync(this.#log);
    if (size === 0) return;
    const chunk = Buffer.allocUnsafe(Math.min(size, CHUNK_BYTES));
    for (let at = 0; at < size; ) {
      const length = readSync(this.#log, chunk, 0, chunk.length, at);
      if (length === 0) break;
      for (let done = 0; done < length; ) {
        done += writeSync(this.#log, chunk, done, length - done, at + done);
      }
      at += length;
    }
    fdatasyncSync(this.#log);
  }

  // --- the index ---

  #framesNow(): number {
    const frames = new Uint32Array(1);
    readSync(this.#index, frames, 0, 4, FRAMES_AT);
    return frames[0]!;
  }

  // What tells one state of the log from any other.
  #mark(): string {
    const salt = Buffer.alloc(SALT_BYTES);
    readSync(this.#index, salt, 0, SALT_BYTES, SALT_AT);
    return `${this.#framesNow()} ${salt.toString("hex")}`;
  }

  // Takes the place of a timer for the same.
  #later(name: string, ms: number, work: () => void): void {
    if (this.#closed) return;
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(work, ms).unref());
  }
}

function heldUpText(path: string): string {
  const who = nameAll(holders(path, "read"));
  return `'${path}-wal' has more than ${LOG_BYTES_TOLD / 1024 ** 2} MiB, and grows: another program${who} reads '${path}' in one transaction all the while; end it`;
}
