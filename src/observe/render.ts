// What the threads of a server have told, as one exposition: sums over threads, and queues by themselves.

import { SECOND } from "../clock.ts";
import type { HttpFigures } from "../http/meters.ts";
import { Octaves, type OctaveTotals } from "../octaves.ts";
import { namedCounts, type Times } from "../queue/queue.ts";
import { compareLoad, type HomeFigures, type NamedFigures } from "../registry/figures.ts";
import { nameOf, namespaceOf } from "../registry/names.ts";
import type { StorageFigures } from "../storage/storage.ts";
import {
  Exposition,
  type Form,
  LabelText,
  LONG_TIMES,
  NUMBERS,
  REQUEST_TIMES,
  SHORT_TIMES,
} from "./exposition.ts";
import { COUNTED_NAMES, type CountedName } from "./families.ts";

/** What one thread tells. */
export interface ThreadFigures {
  readonly thread: number;
  readonly home: HomeFigures;
  readonly http: HttpFigures;
  readonly storages: readonly (StorageFigures & { readonly storage: string })[];
  readonly lag: OctaveTotals;
  /** In microseconds. */
  readonly busy: number;
  readonly heapBytes: number;
}

/** What is told of the process. */
export interface ProcessFigures {
  readonly version: string;
  readonly isServing: boolean;
  readonly residentBytes: number;
  /** In microseconds. */
  readonly cpu: number;
  readonly startedAt: number;
}

// Queues by themselves take no more than this: what is collected from many servers must stay small.
const QUEUES_BYTES_MAX = 1_800_000;

// One that is named by the configuration is told beside what is told of the server.
const NAMED_BYTES_MAX = 1_000_000;

/** The server as a whole, and the queues that were told by themselves. */
export function renderServer(
  threads: readonly ThreadFigures[],
  process: ProcessFigures,
  now: number,
  form: Form,
): string {
  const out = new Exposition(form);
  addProcess(out, threads, process);
  addTotals(out, threads);
  addStorages(out, threads);
  addHttp(out, threads);
  addQueues(out, queuesOf(threads), now, NAMED_BYTES_MAX);
  return out.text();
}

/** Queues by themselves: at most `top`, those first in which most waits and is leased. */
export function renderQueues(
  threads: readonly ThreadFigures[],
  top: number,
  now: number,
  form: Form,
): string {
  const out = new Exposition(form);
  const told = addQueues(out, queuesOf(threads).slice(0, top), now, QUEUES_BYTES_MAX);
  out.add("querator_queues_left_out", Math.min(top, queuesOf(threads).length) - told);
  return out.text();
}

function queuesOf(threads: readonly ThreadFigures[]): readonly NamedFigures[] {
  return threads.flatMap(({ home }) => home.queues).sort(compareLoad);
}

function sumOf(all: readonly OctaveTotals[]): OctaveTotals {
  const sum = new Octaves();
  for (const each of all) sum.add(each);
  return sum;
}

function addProcess(
  out: Exposition,
  threads: readonly ThreadFigures[],
  { version, isServing, residentBytes, cpu, startedAt }: ProcessFigures,
): void {
  out.add("querator_build_info", 1, { version });
  out.add("querator_serving", isServing ? 1 : 0);
  out.add("querator_threads", threads.length);
  out.add("process_resident_memory_bytes", residentBytes);
  out.add("process_cpu_seconds_total", cpu / SECOND);
  out.add("process_start_time_seconds", startedAt / SECOND);
  for (const { thread: number, lag, busy, heapBytes } of threads) {
    const thread = String(number);
    out.histogram("querator_event_loop_lag_seconds", lag, SHORT_TIMES, { thread });
    out.add("querator_event_loop_busy_seconds_total", busy / SECOND, { thread });
    out.add("querator_heap_bytes", heapBytes, { thread });
  }
}

function addTotals(out: Exposition, threads: readonly ThreadFigures[]): void {
  const all = threads.map(({ home }) => home.totals);
  const sum = (pick: (totals: HomeFigures["totals"]) => number): number =>
    all.reduce((total, each) => total + pick(each), 0);
  const homes = threads.map(({ home }) => home);
  out.add(
    "querator_queues",
    sum(({ queues }) => queues),
  );
  out.add(
    "querator_partitions",
    sum(({ gauges }) => gauges.partitions),
  );
  out.add(
    "querator_partitions_failing",
    sum(({ gauges }) => gauges.failing),
  );
  out.add(
    "querator_items_waiting",
    sum(({ gauges }) => gauges.waiting),
  );
  out.add(
    "querator_items_leased",
    sum(({ gauges }) => gauges.leased),
  );
  out.add(
    "querator_items_scheduled",
    sum(({ gauges }) => gauges.scheduled),
  );
  out.add(
    "querator_items_held",
    sum(({ gauges }) => gauges.held),
  );
  out.add(
    "querator_items_kept",
    sum(({ gauges }) => gauges.kept),
  );
  out.add(
    "querator_items_dead",
    sum(({ dead }) => dead),
  );
  out.add(
    "querator_items_ready",
    sum(({ gauges }) => gauges.ready),
  );
  out.add(
    "querator_ready_bytes",
    homes.reduce((total, { readyBytes }) => total + readyBytes, 0),
  );
  const oldest = Math.max(...all.map(({ oldestAge }) => oldestAge));
  out.add("querator_oldest_item_age_seconds", oldest / SECOND);
  out.add(
    "querator_consumers_waiting",
    sum(({ gauges }) => gauges.consumersWaiting),
  );
  out.add(
    "querator_requests_in_flight",
    sum(({ gauges }) => gauges.inFlight),
  );
  const places = Math.max(...all.map(({ counts }) => counts.length));
  const counts = Array.from({ length: places }, (_, what) => sum((each) => each.counts[what] ?? 0));
  addCounts(out, "querator_items_", counts);
  const times = (which: keyof HomeFigures["times"]): OctaveTotals =>
    sumOf(homes.map((home) => home.times[which]));
  out.histogram("querator_item_wait_seconds", times("wait"), LONG_TIMES);
  out.histogram("querator_item_run_seconds", times("run"), LONG_TIMES);
  out.histogram("querator_turn_seconds", times("turn"), SHORT_TIMES);
}

const PLACES: Readonly<Record<CountedName, keyof ReturnType<typeof namedCounts>>> = {
  produced: "produced",
  received: "received",
  leased: "leased",
  completed: "completed",
  retried: "retried",
  released: "released",
  extended: "extended",
  lease_ends: "leaseEnds",
  cancelled: "cancelled",
  deduplicated: "deduplicated",
  deleted: "deleted",
  moved: "moved",
};

function addCounts(
  out: Exposition,
  start: string,
  counts: readonly number[],
  labels?: LabelText,
): void {
  const named = namedCounts(counts);
  const add = (name: string, value: number, own?: Readonly<Record<string, string>>): void =>
    out.add(`${start}${name}_total`, value, own, labels);
  for (const name of COUNTED_NAMES) add(name, named[PLACES[name]]);
  add("dead", named.deadAttempts, { reason: "attempts" });
  add("dead", named.deadExpired, { reason: "expired" });
  add("dead", named.deadRejected, { reason: "rejected" });
}

function addStorages(out: Exposition, threads: readonly ThreadFigures[]): void {
  for (const { storage, times, sizes, failures } of threads.flatMap(({ home }) => home.commits)) {
    out.histogram("querator_commit_seconds", times, SHORT_TIMES, { storage });
    out.histogram("querator_commit_changes", sizes, NUMBERS, { storage });
    out.add("querator_commit_failures_total", failures, { storage });
  }
  for (const each of threads.flatMap(({ storages }) => storages)) {
    const { storage, dataBytes, walBytes, freeBytes, syncs, roundTrips, epoch } = each;
    if (dataBytes !== undefined) {
      out.add("querator_storage_bytes", dataBytes, { storage, file: "data" });
      out.add("querator_storage_bytes", walBytes ?? 0, { storage, file: "wal" });
    }
    if (syncs !== undefined) {
      out.histogram("querator_sync_seconds", syncs, SHORT_TIMES, { storage });
    }
    if (freeBytes !== undefined)
      out.add("querator_storage_disk_free_bytes", freeBytes, { storage });
    if (roundTrips !== undefined) {
      out.add("querator_postgres_round_trips_total", roundTrips, { storage });
    }
    if (epoch !== undefined) out.add("querator_postgres_epoch", epoch, { storage });
  }
}

function addHttp(out: Exposition, threads: readonly ThreadFigures[]): void {
  let connections = 0;
  const methods = new Map<string, Map<number, Octaves>>();
  const errors = new Map<string, number>();
  for (const { http } of threads) {
    connections += http.connections;
    for (const { method, statuses } of http.methods) {
      const codes = methods.get(method) ?? new Map<number, Octaves>();
      methods.set(method, codes);
      for (const [code, times] of statuses) {
        const sum = codes.get(code) ?? new Octaves();
        codes.set(code, sum);
        sum.add(times);
      }
    }
    for (const [code, count] of http.errors) errors.set(code, (errors.get(code) ?? 0) + count);
  }
  out.add("querator_http_connections", connections);
  for (const [method, codes] of methods) {
    for (const [code, times] of codes) {
      const labels = { method, code: String(code) };
      out.add("querator_http_requests_total", times.count, labels);
      out.histogram("querator_http_request_seconds", times, REQUEST_TIMES, labels);
    }
  }
  for (const [code, count] of errors) out.add("querator_errors_total", count, { code });
}

// Answers how many of them there was room for.
function addQueues(
  out: Exposition,
  queues: readonly NamedFigures[],
  now: number,
  bytesMax: number,
): number {
  const before = out.bytes;
  let longest = 0;
  for (const [told, queue] of queues.entries()) {
    const begin = out.bytes;
    if (begin - before + Math.max(longest, bytesOf(queue)) > bytesMax) return told;
    addQueue(out, queue, now);
    longest = Math.max(longest, out.bytes - begin);
  }
  return queues.length;
}

// What a queue takes at most: so many series, with both names in each.
function bytesOf({ name }: NamedFigures): number {
  return 40 * (2 * Buffer.byteLength(name) + 120);
}

function addQueue(out: Exposition, of: NamedFigures, now: number): void {
  const labels = new LabelText({ namespace: namespaceOf(of.name), queue: nameOf(of.name) });
  const { gauges, oldestAt, counts, wait, run, consumersNeeded } = of;
  const add = (name: string, value: number): void =>
    out.add(`querator_queue_${name}`, value, undefined, labels);
  add("items_waiting", gauges.waiting);
  add("items_leased", gauges.leased);
  add("items_scheduled", gauges.scheduled);
  add("items_held", gauges.held);
  add("items_ready", gauges.ready);
  add("oldest_item_age_seconds", oldestAt === 0 ? 0 : Math.max(now - oldestAt, 0) / SECOND);
  add("consumers_waiting", gauges.consumersWaiting);
  add("consumers_needed", consumersNeeded);
  add("partitions_failing", gauges.failing);
  addCounts(out, "querator_queue_items_", counts, labels);
  out.summary("querator_queue_wait_seconds", quantilesOf(wait.recent), wait, labels);
  out.summary("querator_queue_run_seconds", quantilesOf(run.recent), run, labels);
}

function quantilesOf(times: Times | undefined): Readonly<Record<string, number>> {
  if (times === undefined) return {};
  return { "0.5": times.p50, "0.9": times.p90, "0.95": times.p95, "0.99": times.p99 };
}
