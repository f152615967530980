// The log (WAL) of a SQLite file: how it is synced to the disk, how it is taken over into the file (a
// checkpoint), and what happens when either fails. It is done here because SQLite ignores a takeover that
// fails, and goes on reading a log whose sync has failed. The system may then have dropped pages that are
// not on the disk: they read as something else, or read right until the power goes.
//
// The one rule: after a failed sync, no matter who asked for it, SQLite must forget what it knows of the
// log. The header of its index (-shm) is cleared, so that it reads the log anew, up to the first frame
// with a wrong checksum: this is the state after some commit. Nobody knows how much of that the disk has,
// so all of it is written once more and synced, and nobody may read or write before that has succeeded.
// With `synchronous = FULL` nothing is lost by it: whatever was acknowledged had been synced.

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
import { SystemClock } from "../../clock.ts";
import { Octaves } from "../../octaves.ts";
import { isFailedSync } from "./errors.ts";
import { holders, nameAll } from "./locks.ts";

// Disks take their time whatever a virtual clock says.
const CLOCK = new SystemClock();

// The log is taken over when it has grown by so many frames, as with SQLite by default.
const TAKEOVER_FRAMES = 1_000;
// After so many commits, at the latest, the number of frames is read again.
const LOOK_COMMITS_MAX = 64;
const FRAME_BYTES = 4_096 + 24;
/** A log that has grown beyond this is truncated when it has been taken over. */
const LOG_BYTES_KEPT = 32 * 1024 ** 2;
// A log that cannot be taken over is reported when it has grown beyond this.
const LOG_BYTES_TOLD = 64 * 1024 ** 2;
// How long after a takeover that failed, or was held up, it is tried again.
const TAKEOVER_RETRY_MS = 1_000;
const REPAIR_RETRY_MS = 250;
// How long `/health` goes on reporting a repair, so that somebody who looks every few seconds sees it.
const TOLD_MS = 5_000;
const CHUNK_BYTES = 1024 ** 2;

// The layout of the index: two copies of a header, then how far the log has been taken over.
const HEADER_BYTES = 96;
const FRAMES_AT = 16;
const SALT_AT = 32;
const SALT_BYTES = 8;

/** Is told what is wrong with a storage. */
export interface StorageWatch {
  /** Something is wrong: a text that says what, and what to do; undefined when it is over. */
  trouble(check: string, text: string | undefined): void;
  /** What was read before, and what was acknowledged lately, may be lost. */
  distrust(): void;
}

/** What could not be done with the log, the mark of the log before that, and whether its repair has failed before. */
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
  /** How long the disk took to have what was committed: commits that sync, and syncs by themselves. */
  readonly syncs = new Octaves();
  readonly #path: string;
  readonly #db: DatabaseSync;
  readonly #watch: StorageWatch;
  readonly #isLazy: boolean;
  // Both stay open until the database is closed: closing a file ends all locks that the process has on it.
  readonly #log: number;
  readonly #index: number;
  #syncTimer: NodeJS.Timeout | undefined;
  // By their purpose.
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #closed = false;

  // How many commits there were since the last successful sync began, and when that was.
  #unsynced = 0;
  #syncedAt = new Date();
  // The sync that is under way on another thread.
  #syncing: Promise<void> | undefined;

  // How many frames the log had when they were read last, and up to which one a takeover was tried.
  #frames = 0;
  #tried = 0;
  // After how many commits, or bytes of items, they are read again; and how many commits that was at first.
  #commitsToLook = 1;
  #bytesToLook = 0;
  #commitsPerLook = 1;
  #isHeldUp = false;
  #isHeldUpTold = false;
  #takesOverAfterSync = false;

  // Set while nothing may be read or written: why.
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
   * Says that something was committed, about how many bytes, and whether it was synced; throws if it may be
   * lost already.
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
   * Waits for the sync that is under way, if any. If it fails, commits that were synced later may be lost as
   * well: then it rejects.
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
    // If it were closed during its sync, its descriptor could be given to another file.
    if (this.#syncing === undefined) closeSync(this.#log);
    else void this.#syncing.then(() => closeSync(this.#log));
  }

  // --- syncing ---

  // On another thread, so that no commit waits for the disk.
  #sync(): void {
    if (this.#unsynced === 0 || this.#syncing !== undefined || this.#failure !== undefined) return;
    const before = this.#unsynced;
    const at = new Date();
    const began = CLOCK.steady();
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#log, (error) => {
        this.#syncing = undefined;
        resolve();
        if (this.#closed) return;
        if (error !== null) {
          this.#fail("sync", error);
          return;
        }
        this.syncs.note(CLOCK.steady() - began);
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
    if (frames < this.#frames) this.#tried = 0; // SQLite has begun to write the log from its start again
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

  // SQLite syncs the log, copies it, and syncs the file. This must not be done while our own sync is under way:
  // if that one has failed already, the next one could succeed although pages are gone.
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

  // As long as another program reads the file in a transaction, the log cannot be written from its start again.
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
    // SQLite would truncate it with the commit after the next, but there may be none.
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

  // Tries, again and again, until the log has been read anew and written again.
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
    // An empty log has lost nothing.
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

  // After a failed sync the system may take pages for clean that the disk does not have. Only writing them again
  // brings them to the disk.
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

  // Different for any two states of the log.
  #mark(): string {
    const salt = Buffer.alloc(SALT_BYTES);
    readSync(this.#index, salt, 0, SALT_BYTES, SALT_AT);
    return `${this.#framesNow()} ${salt.toString("hex")}`;
  }

  // Replaces the timer of the same name, if there is one.
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
