// Locks that other programs hold on a SQLite file of ours: who holds them, as far as the system
// tells, and what a user is told of it. A lock is waited for in short tries, between which the
// thread does everything else it has to do.

import { readFileSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { sqliteCode } from "./errors.ts";

const SQLITE_BUSY = 5;

/** How long SQLite itself waits for a lock, which blocks the thread: for what others do in passing. */
export const BUSY_MS = 10;
// A lock is tried so often, with so long a pause in between: about a second.
const TRIES = 20;
const PAUSE_MS = 40;

// Which bytes of the shared memory (-shm) stand for which lock, as SQLite has it, and of the file
// those that a writer in exclusive mode holds.
const WRITE_BYTES = [120, 120] as const;
const READ_BYTES = [123, 127] as const;
const FILE_BYTES = [0x40000000, 0x40000000 + 511] as const;

/** Another program holds a lock, and did not let it go in time. */
export class FileLocked extends Error {}

/** Whether an error of SQLite says that another connection holds a lock. */
export function isBusy(error: unknown): boolean {
  return (sqliteCode(error) & 0xff) === SQLITE_BUSY;
}

/** Does the work as soon as no other program's lock is in its way; rejects with FileLocked if that takes too long. */
export async function whenUnlocked<T>(path: string, work: () => T): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return work();
    } catch (cause) {
      if (!isBusy(cause)) throw cause;
      if (tries === TRIES) throw fileLocked(path, cause);
    }
    await sleep(PAUSE_MS);
  }
}

/** What to say of a file that another program has locked. */
export function fileLocked(path: string, cause: unknown): FileLocked {
  const who = nameAll(holders(path, "write"));
  const text = `another program${who} holds a lock on '${path}'; end it, or wait until it is done`;
  return new FileLocked(text, { cause });
}

/** The programs that hold a lock, for a message: " (pid 7, sqlite3)"; "" if that cannot be found out. */
export function nameAll(pids: readonly number[]): string {
  if (pids.length === 0) return "";
  const names = pids.map((pid) => {
    try {
      return `pid ${pid}, ${readFileSync(`/proc/${pid}/comm`, "utf8").trim()}`;
    } catch {
      return `pid ${pid}`;
    }
  });
  return ` (${names.join("; ")})`;
}

/** The other processes that keep others from writing a file, or that read it in a transaction. Linux tells. */
export function holders(path: string, kind: "write" | "read"): readonly number[] {
  const pids = new Set<number>();
  try {
    const shm = statSync(`${path}-shm`, { throwIfNoEntry: false })?.ino;
    const file = statSync(path, { throwIfNoEntry: false })?.ino;
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      const lock = /(READ|WRITE) +(\d+) \S+:(\d+) (\d+) (\d+|EOF)$/.exec(line);
      if (lock === null || line.includes("->")) continue;
      const [, mode, pid, inode, start, end] = lock;
      const covers = ([first, last]: readonly [number, number]): boolean =>
        Number(start) <= last && (end === "EOF" || Number(end) >= first);
      const isMine = Number(pid) === process.pid;
      const isIt =
        kind === "read"
          ? Number(inode) === shm && mode === "READ" && covers(READ_BYTES)
          : mode === "WRITE" &&
            ((Number(inode) === shm && covers(WRITE_BYTES)) ||
              (Number(inode) === file && covers(FILE_BYTES)));
      if (isIt && !isMine) pids.add(Number(pid));
    }
  } catch {
    // Not Linux, or not allowed: then it stays unnamed.
  }
  return [...pids];
}
