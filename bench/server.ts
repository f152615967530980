// A server that counts what it does, for the benchmarks: its commits and what they carry, what the
// garbage collector takes, what it writes. Its options come as JSON in the first argument, `delayMs`
// among them: by that every commit of the first thread is made slower, as on another disk. Asked over
// IPC it answers.

import { readFileSync } from "node:fs";
import { PerformanceObserver } from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import { keepItemsYoung } from "../src/cli/heap.ts";
import type { ServerOptions } from "../src/config/config.ts";
import type { PartitionChanges, Storage } from "../src/storage/storage.ts";
import { collectGarbage } from "../test/support/garbage.ts";
import { recordsOf } from "../test/support/writes.ts";

/** All since the start. */
export interface ServerFigures {
  readonly commits: number;
  /** What commits have written: items added, moved and removed, lease marks, entries. */
  readonly records: number;
  /** Milliseconds in commits. */
  readonly commitMs: number;
  readonly longestCommitMs: number;
  /** Milliseconds in the garbage collector. */
  readonly gcMs: number;
  /** Bytes given to the system to write, to files and to sockets. */
  readonly writtenBytes: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
  /** Bytes that were allocated on the heap. */
  readonly allocatedBytes: number;
  readonly cpuMs: number;
}

const { delayMs = 0, ...options } = JSON.parse(process.argv[2]!) as ServerOptions & {
  delayMs?: number;
};

let commits = 0;
let records = 0;
let commitMs = 0;
let longestCommitMs = 0;
let gcMs = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) gcMs += duration;
}).observe({ entryTypes: ["gc"] });

// A disk that takes longer holds up the thread, as ours does.
const cell = new Int32Array(new SharedArrayBuffer(4));

function counted(storage: Storage): Storage {
  const commit = storage.commit.bind(storage);
  storage.commit = (changes: readonly PartitionChanges[]) => {
    const from = performance.now();
    const done = commit(changes);
    if (delayMs > 0) Atomics.wait(cell, 0, 0, delayMs);
    const took = performance.now() - from;
    commits++;
    records += recordsOf(changes);
    commitMs += took;
    longestCommitMs = Math.max(longestCommitMs, took);
    return done;
  };
  return storage;
}

keepItemsYoung();
const { startServer } = await import("../src/server/server.ts");
const server = await startServer(
  { address: "127.0.0.1:0", logFormat: "json", ...options },
  { wrapStorage: counted },
);
process.on("message", async (ask: "look" | "collect") => {
  if (ask === "collect") await collectGarbage();
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const figures: ServerFigures = {
    commits,
    records,
    commitMs,
    longestCommitMs,
    gcMs,
    writtenBytes: Number(/^wchar: (\d+)/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]),
    rssBytes: rss,
    heapBytes: heapUsed,
    allocatedBytes: getHeapStatistics().total_allocated_bytes,
    cpuMs: (user + system) / 1_000,
  };
  process.send!(figures);
});
process.on("SIGTERM", () => void server.stop().then(() => process.exit(0)));
