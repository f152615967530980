// Which calls of a running server fail: the numbers that powercut.c shares with us in a file. A fault is
// armed at any time, and what it has hit can be read while it goes on.

import { closeSync, openSync, readSync, writeSync } from "node:fs";

const CALLS = { sync: 1, write: 2, truncate: 4, read: 8 } as const;
const FILES = { log: 1, database: 2 } as const;
const ERRORS = { EIO: 5, ENOSPC: 28 } as const;

export interface DiskFault {
  readonly calls: readonly (keyof typeof CALLS)[];
  readonly files: readonly (keyof typeof FILES)[];
  readonly error: keyof typeof ERRORS;
  /** How many calls fail, and how many go well before. */
  readonly times: number;
  readonly skip: number;
  /** What becomes of pages whose sync has failed: read as before at once, or lost with the next cut only. */
  readonly drops: boolean;
  /** Percent of these pages that are on the disk all the same. */
  readonly keeps: number;
  /** Whether writes may write a part before they fail. */
  readonly shortens: boolean;
}

export interface Hits {
  readonly count: number;
  readonly logSyncs: number;
  /** Of how many logs that were. */
  readonly logs: number;
  /** Milliseconds since 1970. */
  readonly first: number;
  readonly last: number;
  /** When the first of what a failed sync of a log was to sync was written. */
  readonly since: number;
}

// struct faults: int times, calls, files, skip, error, drops, keeps, shortens, hits; double first, last,
// since; int log_syncs, shortened; double unsynced; int logs.
const HITS_AT = 32;
const TIMES_AT = 40;
const LOG_SYNCS_AT = 64;
const UNSYNCED_AT = 72;
const LOGS_AT = 80;
const BYTES = 88;

export class DiskFaults {
  readonly file: string;
  readonly #fd: number;

  /** Makes the file; nothing fails yet. */
  constructor(file: string) {
    this.file = file;
    this.#fd = openSync(file, "w+");
    writeSync(this.#fd, Buffer.alloc(BYTES), 0, BYTES, 0);
  }

  arm(fault: DiskFault): void {
    const { calls, files, error, times, skip, drops, keeps, shortens } = fault;
    this.disarm();
    const numbers = new Int32Array(UNSYNCED_AT / 4);
    numbers.set([
      0,
      calls.reduce((sum, call) => sum | CALLS[call], 0),
      files.reduce((sum, each) => sum | FILES[each], 0),
      skip,
      ERRORS[error],
      drops ? 1 : 0,
      keeps,
      shortens ? 1 : 0,
    ]);
    writeSync(this.#fd, numbers, 0, UNSYNCED_AT, 0);
    this.#setTimes(times);
  }

  disarm(): void {
    this.#setTimes(0);
  }

  #setTimes(times: number): void {
    writeSync(this.#fd, Int32Array.of(times), 0, 4, 0);
  }

  get hits(): Hits {
    const bytes = Buffer.alloc(BYTES);
    readSync(this.#fd, bytes, 0, BYTES, 0);
    const times = new Float64Array(bytes.buffer.slice(bytes.byteOffset + TIMES_AT), 0, 3);
    const [first, last, since] = times as unknown as [number, number, number];
    const int = (at: number): number => new Int32Array(bytes.buffer, bytes.byteOffset + at, 1)[0]!;
    const [count, logSyncs, logs] = [HITS_AT, LOG_SYNCS_AT, LOGS_AT].map(int);
    return { count: count!, logSyncs: logSyncs!, logs: logs!, first, last, since };
  }

  /** When the first of what is not synced of a log was written; 0 if all is. */
  get unsyncedSince(): number {
    const time = new Float64Array(1);
    readSync(this.#fd, time, 0, 8, UNSYNCED_AT);
    return time[0]!;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
