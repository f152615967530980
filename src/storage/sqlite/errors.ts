// What SQLite reports as the cause of a failure, and what a user is told of it.

import { QueueError } from "../../errors.ts";

// The kinds, in the low byte, and what the calls to the system among them are.
const SQLITE_ERROR = 1;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;
const CALLS: Readonly<Record<number, string>> = {
  1: "read",
  2: "read",
  3: "write",
  4: "sync",
  5: "sync",
  6: "truncate",
};

/** The code of an error of SQLite, with the kind in its low byte; 0 for any other error. */
export function sqliteCode(error: unknown): number {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === "number" ? code : 0;
}

/** Whether it was a sync that failed: then more may be gone than what was to be written. */
export function isFailedSync(error: unknown): boolean {
  const code = sqliteCode(error);
  return (code & 0xff) === SQLITE_IOERR && CALLS[code >> 8] === "sync";
}

/** What goes wrong while a file is in use, with its name. */
export function useError(file: string, cause: unknown): unknown {
  const code = sqliteCode(cause);
  const reason = cause instanceof Error ? cause.message : String(cause);
  const fail = (text: string): Error => new Error(text, { cause });
  switch (code & 0xff) {
    case SQLITE_IOERR:
      return fail(`cannot ${CALLS[code >> 8] ?? "use"} '${file}': ${reason}; see to its disk`);
    case SQLITE_FULL:
      return fail(`cannot write '${file}': ${reason}; make room on its disk`);
    case SQLITE_CORRUPT: // so it calls a read that fails, too
      return fail(
        `cannot read '${file}': ${reason}; its disk fails to read it, or it is damaged (querator doctor tells)`,
      );
    default:
      return cause;
  }
}

/** What a user is told of a file that cannot be opened. */
export function startError(file: string, cause: unknown): QueueError {
  if (cause instanceof QueueError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code = sqliteCode(cause) & 0xff;
  const text =
    code === SQLITE_NOTADB
      ? `'${file}' is not a SQLite file; move it away, or choose another data directory`
      : code === SQLITE_CORRUPT || code === SQLITE_ERROR
        ? `'${file}' is damaged (${reason}); restore it from a backup, or move it away to start empty`
        : `cannot open '${file}': ${reason}`;
  return new QueueError("failed", text, { cause });
}
