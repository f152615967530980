// What a look at a storage finds, and the look at a SQLite file: whether it is whole, and whether there
// is room for it to grow. Changes nothing; a server may be running meanwhile.

import { existsSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { isEmpty, lockOf } from "./sqlite/file.ts";
import { holders, nameAll } from "./sqlite/locks.ts";
import type { StoredRecord } from "./storage.ts";

/** One thing that was looked at. */
export interface Finding {
  readonly check: string;
  /** failed: it does not work; warning: it works, but will not for long, or not as one may think. */
  readonly status: "ok" | "warning" | "failed";
  /** What is so; for a warning also what to do. */
  readonly text: string;
}

export interface SqliteDoctorOptions {
  readonly dir: string;
  readonly file: string;
  /** Whether queues have partitions in it. */
  readonly mustExist?: boolean;
  /** Less room on the disk is a warning; 1 GiB by default. */
  readonly freeBytesMin?: number;
  /** A larger log is a warning; 64 MiB by default. */
  readonly logBytesMax?: number;
}

const MIB = 1024 ** 2;
const size = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`;

/** Examines a file. Reads all of it, which takes a while if it is large. */
export function examineSqlite(options: SqliteDoctorOptions): Finding[] {
  const {
    dir,
    file,
    mustExist = false,
    freeBytesMin = 1024 * MIB,
    logBytesMax = 64 * MIB,
  } = options;
  const path = join(dir, file);
  if (isEmpty(path)) return [examineMissing(path, mustExist)];
  const { bavail, bsize } = statfsSync(dir);
  const free = bavail * bsize;
  const log = existsSync(`${path}-wal`) ? statSync(`${path}-wal`).size : 0;
  return [
    examineFile(path),
    free < freeBytesMin
      ? { check: "disk", status: "warning", text: `${size(free)} free: make room` }
      : { check: "disk", status: "ok", text: `${size(free)} free` },
    log > logBytesMax
      ? {
          check: "log",
          status: "warning",
          text: `'${path}-wal' has ${size(log)}: end programs that have read the file for long${nameAll(holders(path, "read"))}`,
        }
      : { check: "log", status: "ok", text: size(log) },
  ];
}

/** The records in a file; none if they cannot be read, which `examineSqlite` tells. */
export function sqliteRecords({ dir, file }: SqliteDoctorOptions): StoredRecord[] {
  const path = join(dir, file);
  if (isEmpty(path)) return [];
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true });
    const rows = db.prepare("SELECT name, record FROM queues").all() as unknown as StoredRecord[];
    return rows.map(({ name, record }) => ({ name, record }));
  } catch {
    return [];
  } finally {
    db?.close();
  }
}

function examineMissing(path: string, mustExist: boolean): Finding {
  const missing = (status: Finding["status"], why: string): Finding => ({
    check: "file",
    status,
    text: `'${path}' is not there${why}`,
  });
  if (mustExist)
    return missing("failed", ", but queues have partitions in it: mount or restore it");
  if (!isEmpty(lockOf(path))) {
    return missing("failed", ", but there was data in it: restore it from a backup");
  }
  return missing("warning", ": no server has used it");
}

function examineFile(path: string): Finding {
  const check = "file";
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { readOnly: true });
    const { quick_check: said } = db.prepare("PRAGMA quick_check(1)").get() as {
      quick_check: string;
    };
    if (said === "ok") return { check, status: "ok", text: `whole, ${size(statSync(path).size)}` };
    return { check, status: "failed", text: `damaged (${said}): restore it from a backup` };
  } catch (error) {
    const text = `cannot be read (${(error as Error).message}): is it a file of querator?`;
    return { check, status: "failed", text };
  } finally {
    db?.close();
  }
}
