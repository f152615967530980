// What SQLite and the disk alone cost: commits of so many added and so many removed rows, as large
// as our items, with nothing around them; and a bare write with fsync.

import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout } from "node:timers/promises";

export interface CommitResult {
  readonly itemsPerSecond: number;
  readonly commitMicros: number;
}

/** Commits of `batch` inserts and `batch` deletes for some seconds. */
export function bareCommits(dir: string, batch: number, seconds: number): CommitResult {
  const db = new DatabaseSync(join(dir, `bare-${batch}.db`));
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  db.exec("CREATE TABLE items (seq INTEGER PRIMARY KEY, record BLOB NOT NULL)");
  const insert = db.prepare("INSERT INTO items (seq, record) VALUES (?, ?)");
  const remove = db.prepare("DELETE FROM items WHERE seq BETWEEN ? AND ?");
  const begin = db.prepare("BEGIN");
  const commit = db.prepare("COMMIT");
  const record = Buffer.alloc(200, 120);
  let seq = 0;
  let commits = 0;
  const start = performance.now();
  while (performance.now() - start < seconds * 1000) {
    begin.run();
    remove.run(seq - batch, seq - 1);
    for (let i = 0; i < batch; i++) insert.run(seq++, record);
    commit.run();
    commits++;
  }
  const elapsed = performance.now() - start;
  db.close();
  return {
    itemsPerSecond: Math.round((commits * batch * 1000) / elapsed),
    commitMicros: Math.round((elapsed * 1000) / commits),
  };
}

/**
 * The median of appending 4 KiB and waiting for the disk, in microseconds; one after the other, or
 * with pauses, after which caches are cold and processors slow.
 */
export async function bareFsyncMicros(dir: string, pauseMs = 0): Promise<number> {
  const file = openSync(join(dir, "bare.log"), "a");
  const block = Buffer.alloc(4_096);
  const micros: number[] = [];
  for (let i = 0; i < 500; i++) {
    if (pauseMs > 0) await setTimeout(pauseMs);
    const start = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    micros.push((performance.now() - start) * 1000);
  }
  closeSync(file);
  return Math.round(micros.sort((a, b) => a - b)[micros.length >> 1]!);
}
