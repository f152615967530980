// What is wrong with a server, in words that somebody understands who sees it for the first time: what it is, since when, and
// what to do. Found in the numbers that were collected, and in nothing else; decided anew each time, so a warning
// goes as soon as its reason is gone.

import { HOUR, MINUTE, SECOND } from "../clock.ts";
import { nameOf, namespaceOf } from "../registry/names.ts";
import { type Column, DEAD_COLUMNS, type QueueTable } from "../registry/queue-table.ts";
import type { ThreadFigures } from "./render.ts";

const DAY = 24 * HOUR;

// Items may wait so long with nobody asking for them: consumers are started again, or deployed.
const LEFT_AFTER = 5 * MINUTE;
const OLD_AFTER = 15 * MINUTE;
// Of late: less may happen by chance.
const DYING_MIN = 5;
const LEASE_ENDS_MIN = 10;
const LEASE_ENDS_PART = 0.1;
const QUOTA_PART = 0.9;
// What a timer was late by, as its octave: a quarter of a second and more; seen so often since the last sample.
const LAG_OCTAVE = 18;
const LAG_MIN = 3;
const DISK_LOW = 2 ** 31;
const DISK_OUT = 2 ** 29;
const DISK_FULL_SOON = DAY;

/** A storage, as it is known without asking it. */
export interface StorageFacts {
  readonly name: string;
  readonly kind: "memory" | "sqlite" | "postgres";
  /** How many of its partitions do not work, and of how many. */
  readonly failing: number;
  readonly partitions: number;
  /** What else is wrong with it. */
  readonly troubles: readonly string[];
}

/** The same as it is shown. */
export interface StorageState {
  readonly name: string;
  readonly kind: string;
  readonly state: "ok" | "trouble" | "failing";
  readonly trouble?: string;
  readonly dataBytes?: number;
  readonly freeBytes?: number;
}

/** How much a namespace uses of what it may. */
export interface QuotaUse {
  readonly namespace: string;
  /** As people call it: `items`, `waiting leases`. */
  readonly what: string;
  readonly used: number;
  readonly max: number;
}

/** Something that is wrong. */
export interface Problem {
  /** What it is known by. */
  readonly key: string;
  readonly code: string;
  readonly severity: "error" | "warning";
  /** Its name, without its namespace; undefined if it is about no queue. */
  readonly queue?: string;
  /** Undefined if it is about the server as a whole. */
  readonly namespace?: string;
  /** Why a queue is among the worst; undefined if it is not. */
  readonly worst?: "failing" | "no_consumers" | "dead_rising" | "lease_ends" | "oldest";
  /** How bad it is, among others of its code. */
  readonly value: number;
  readonly text: string;
}

/** What it is looked for in. */
export interface Evidence {
  readonly table: QueueTable;
  readonly threads: readonly ThreadFigures[];
  readonly takesDead: ReadonlySet<string>;
  readonly now: number;
  /** As it was some minutes ago, and how long ago that was. */
  readonly late: { readonly table: QueueTable; readonly threads: readonly ThreadFigures[] };
  readonly lateFor: number;
  /** As it was some seconds ago. */
  readonly recent: { readonly threads: readonly ThreadFigures[] };
  readonly facts: readonly StorageFacts[];
  readonly states: readonly StorageState[];
  readonly quotas: readonly QuotaUse[];
  deadQueueOf(name: string): string;
  leaseTimeoutOf(name: string): string;
  /** Since when, in wall time, what has a key is wrong. */
  readonly since: ReadonlyMap<string, number>;
}

// The worst first.
const ORDER = [
  "storage_failing",
  "partitions_failing",
  "disk_filling",
  "storage_trouble",
  "commits_failing",
  "no_consumers",
  "no_dead_queue",
  "items_dying",
  "lease_ends",
  "quota_near",
  "oldest_item",
  "event_loop_lag",
];

/** Storages as they are shown. */
export function storageStates(
  facts: readonly StorageFacts[],
  threads: readonly ThreadFigures[],
): readonly StorageState[] {
  const figures = new Map(
    threads.flatMap(({ storages }) => storages.map((each) => [each.storage, each] as const)),
  );
  return facts.map(({ name, kind, failing, partitions, troubles }) => {
    const { dataBytes, walBytes = 0, freeBytes } = figures.get(name) ?? { storage: name };
    const broken =
      failing === 0 ? [] : [`${failing} of ${partitions} partitions in it do not work`];
    const trouble = [...broken, ...troubles].join("; ");
    return {
      name,
      kind,
      state: failing > 0 ? "failing" : troubles.length > 0 ? "trouble" : "ok",
      ...(trouble !== "" && { trouble }),
      ...(dataBytes !== undefined && { dataBytes: dataBytes + walBytes }),
      ...(freeBytes !== undefined && { freeBytes }),
    };
  });
}

/** Whether items wait in a queue, and nobody has asked for any for minutes. */
export function isLeft(
  table: QueueTable,
  row: number,
  { now, takesDead }: Pick<Evidence, "now" | "takesDead">,
): boolean {
  if (table.get(row, "waiting") === 0) return false;
  if (table.get(row, "leased") > 0 || table.get(row, "consumersWaiting") > 0) return false;
  if (now - askedAt(table, row) < LEFT_AFTER) return false;
  const oldestAt = table.get(row, "oldestAt");
  if (oldestAt !== 0 && now - oldestAt < LEFT_AFTER) return false;
  // What is dead waits for people.
  return !takesDead.has(table.names[row]!);
}

// 0 of a queue of which nobody has ever asked.
function askedAt(table: QueueTable, row: number): number {
  return table.get(row, "askedAt") || table.get(row, "knownSince");
}

/** All that is wrong, the worst first. */
export function findProblems(evidence: Evidence): Problem[] {
  const found = [
    ...ofStorages(evidence),
    ...ofCommits(evidence),
    ...ofQueues(evidence),
    ...ofQuotas(evidence),
    ...ofThreads(evidence),
  ];
  return found.sort((a, b) => ORDER.indexOf(a.code) - ORDER.indexOf(b.code) || b.value - a.value);
}

// --- storages ---

function* ofStorages({ states, facts, late, lateFor, since, now }: Evidence): Iterable<Problem> {
  for (const [i, { name, state, trouble = "", freeBytes }] of states.entries()) {
    const { failing } = facts[i]!;
    if (state === "failing") {
      const key = `storage_failing ${name}`;
      yield {
        key,
        code: "storage_failing",
        severity: "error",
        value: failing,
        text: `Storage '${name}' does not work${sinceText(since, key, now)}: ${trouble}. What lies there is kept, and cannot be produced to or leased until it is back; it is tried again by itself. The log says why it fails: check that its disk or database is there, and has room.`,
      };
    } else if (state === "trouble") {
      const key = `storage_trouble ${name}`;
      yield {
        key,
        code: "storage_trouble",
        severity: "warning",
        value: 1,
        text: `Storage '${name}' works, but needs attention${sinceText(since, key, now)}: ${trouble}.`,
      };
    }
    if (freeBytes === undefined) continue;
    const before = freeBefore(late.threads, name);
    const used = before === undefined ? 0 : before - freeBytes;
    const left = used > 0 ? (freeBytes / used) * lateFor : Number.POSITIVE_INFINITY;
    // What is measured over minutes says nothing of days; a disk with much room is not about to be full.
    const isSoon = left < DISK_FULL_SOON && lateFor >= 4 * MINUTE && freeBytes < 64 * DISK_LOW;
    if (freeBytes >= DISK_LOW && !isSoon) continue;
    const soon = isSoon ? `, and at the present rate it is full in ${words(left)}` : "";
    yield {
      key: `disk_filling ${name}`,
      code: "disk_filling",
      severity: freeBytes < DISK_OUT || left < HOUR ? "error" : "warning",
      value: -freeBytes,
      text: `The disk of storage '${name}' has ${bytes(freeBytes)} left${soon}. When it is full nothing can be produced or completed any more: make room on it, or clear queues that are not needed.`,
    };
  }
}

function freeBefore(threads: readonly ThreadFigures[], name: string): number | undefined {
  for (const { storages } of threads) {
    const found = storages.find(({ storage }) => storage === name);
    if (found !== undefined) return found.freeBytes;
  }
  return undefined;
}

// That have failed of late, whether or not they do now.
function* ofCommits({ threads, late, lateFor, facts }: Evidence): Iterable<Problem> {
  const shown = new Set(facts.filter(({ failing }) => failing === 0).map(({ name }) => name));
  for (const { home } of threads) {
    for (const { storage, failures } of home.commits) {
      const before = late.threads
        .flatMap(({ home: { commits } }) => commits)
        .find((each) => each.storage === storage);
      const count = failures - (before?.failures ?? 0);
      if (count <= 0 || !shown.has(storage)) continue;
      yield {
        key: `commits_failing ${storage}`,
        code: "commits_failing",
        severity: "warning",
        value: count,
        text: `Writing to storage '${storage}' has failed ${times(count)} ${within(lateFor)}, and works again. Who was told so has to send the request again, as clients do by themselves. The log says why; if it goes on, look at its disk or database.`,
      };
    }
  }
}

// --- queues ---

function* ofQueues(evidence: Evidence): Iterable<Problem> {
  const { table } = evidence;
  for (let row = 0; row < table.names.length; row++) yield* ofQueue(evidence, row);
}

function* ofQueue(evidence: Evidence, row: number): Iterable<Problem> {
  const { table, now, since, takesDead } = evidence;
  const full = table.names[row]!;
  const get = (column: Column): number => table.get(row, column);
  const [queue, namespace] = [nameOf(full), namespaceOf(full)];
  const place = { queue, namespace };
  const waiting = get("waiting");
  if (get("failing") > 0) {
    const key = `partitions_failing ${full}`;
    yield {
      ...place,
      key,
      code: "partitions_failing",
      severity: "error",
      worst: "failing",
      value: get("failing"),
      text: `${get("failing")} of ${get("partitions")} partitions of queue '${queue}' do not work${sinceText(since, key, now)}, for their storage fails. Items in them are kept and wait until it is back; it is tried again by itself.`,
    };
  }
  if (isLeft(table, row, evidence)) {
    const asked = get("askedAt");
    const never = `nobody has asked for any since the server has started, ${words(now - get("knownSince"))} ago`;
    const who =
      asked === 0 ? never : `nobody has asked for any for ${words(now - askedAt(table, row))}`;
    yield {
      ...place,
      key: `no_consumers ${full}`,
      code: "no_consumers",
      severity: "warning",
      worst: "no_consumers",
      value: waiting,
      text: `${items(waiting)} ${waiting === 1 ? "waits" : "wait"} in queue '${queue}', and ${who}. Start its consumers, or see why they do not reach this server.`,
    };
  } else if (waiting > 0 && !takesDead.has(full)) {
    const oldestAt = get("oldestAt");
    if (oldestAt !== 0 && now - oldestAt > OLD_AFTER) {
      yield {
        ...place,
        key: `oldest_item ${full}`,
        code: "oldest_item",
        severity: "warning",
        worst: "oldest",
        value: Math.round((now - oldestAt) / SECOND),
        text: `The oldest item that waits in queue '${queue}' is ${words(now - oldestAt)} old, with ${count(waiting)} in line. Its consumers are too few or too slow: start more of them.`,
      };
    }
  }
  yield* ofDeaths(evidence, row, place);
}

function* ofDeaths(
  { table, late, lateFor, deadQueueOf, leaseTimeoutOf }: Evidence,
  row: number,
  place: { readonly queue: string; readonly namespace: string },
): Iterable<Problem> {
  const full = table.names[row]!;
  const { queue } = place;
  const since = (column: Column): number => table.since(late.table, row, column);
  const reasons = DEAD_COLUMNS.map((column) => ({ column, count: since(column) }));
  const dead = reasons.reduce((sum, { count: each }) => sum + each, 0);
  const minutes = Math.max(lateFor / MINUTE, 1);
  if (dead > 0 && deadQueueOf(full) === "") {
    yield {
      ...place,
      key: `no_dead_queue ${full}`,
      code: "no_dead_queue",
      severity: "warning",
      worst: "dead_rising",
      value: dead / minutes,
      text: `${items(dead)} of queue '${queue}' ${dead === 1 ? "has" : "have"} died ${within(lateFor)}, and ${dead === 1 ? "is" : "are"} lost, as it has no dead queue. Give it one with its setting dead_queue, so that what dies can be looked at and tried again.`,
    };
  } else if (dead >= DYING_MIN) {
    const most = reasons.reduce((a, b) => (b.count > a.count ? b : a));
    yield {
      ...place,
      key: `items_dying ${full}`,
      code: "items_dying",
      severity: "warning",
      worst: "dead_rising",
      value: dead / minutes,
      text: `${items(dead)} of queue '${queue}' have died ${within(lateFor)}, ${most.count === dead ? "all" : "most"} of them because ${REASONS[most.column]} (${count(most.count)}). See their errors in queue '${nameOf(deadQueueOf(full))}', and redrive them from there once the reason is gone.`,
    };
  }
  const ends = since("leaseEnds");
  const leases = Math.max(since("leases"), ends);
  if (ends >= LEASE_ENDS_MIN && ends >= leases * LEASE_ENDS_PART) {
    const timeout = leaseTimeoutOf(full);
    yield {
      ...place,
      key: `lease_ends ${full}`,
      code: "lease_ends",
      severity: "warning",
      worst: "lease_ends",
      value: ends / minutes,
      text: `${count(ends)} of ${count(leases)} leases of queue '${queue}' have ended by themselves ${within(lateFor)}: consumers have crashed, or take longer than its lease_timeout${timeout === "" ? "" : ` of ${timeout}`}. See whether they crash; else have them extend their leases, or raise lease_timeout.`,
    };
  }
}

const REASONS: Readonly<Record<(typeof DEAD_COLUMNS)[number], string>> = {
  deadAttempts: "their attempts were used up",
  deadExpired: "they had expired before they were done",
  deadRejected: "their consumer gave them up",
};

// --- the rest ---

function* ofQuotas({ quotas }: Evidence): Iterable<Problem> {
  for (const { namespace, what, used, max } of quotas) {
    if (used < max * QUOTA_PART) continue;
    const isFull = used >= max;
    yield {
      key: `quota_near ${namespace} ${what}`,
      code: "quota_near",
      severity: isFull ? "error" : "warning",
      namespace,
      value: used / max,
      text: `Namespace '${namespace}' has ${count(used)} of the ${count(max)} ${what} that it may have${isFull ? "; more are refused" : ""}. Raise its quota with namespaces.update, or see what uses so many.`,
    };
  }
}

function* ofThreads({ threads, recent, since, now }: Evidence): Iterable<Problem> {
  for (const { thread, lag } of threads) {
    const before = recent.threads.find((each) => each.thread === thread)?.lag;
    let late = 0;
    for (let octave = LAG_OCTAVE; octave < lag.counts.length; octave++) {
      late += lag.counts[octave]! - (before?.counts[octave] ?? 0);
    }
    if (late < LAG_MIN) continue;
    const key = `event_loop_lag ${thread}`;
    yield {
      key,
      code: "event_loop_lag",
      severity: "warning",
      value: late,
      text: `Thread ${thread} of the server is so busy that all it does is late by a quarter of a second and more${sinceText(since, key, now)}. Give it another processor, use more --threads, or send larger batches.`,
    };
  }
}

// --- words ---

function sinceText(since: ReadonlyMap<string, number>, key: string, now: number): string {
  const at = since.get(key);
  return at === undefined ? "" : `, for ${words(now - at)} now`;
}

function within(time: number): string {
  return `in the last ${words(Math.max(time, MINUTE))}`;
}

const NUMBERS = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function count(number: number): string {
  return NUMBERS.format(number);
}

function items(number: number): string {
  return number === 1 ? "1 item" : `${count(number)} items`;
}

function times(number: number): string {
  return number === 1 ? "once" : `${count(number)} times`;
}

function bytes(number: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let size = number;
  for (; size >= 1_024 && unit < units.length - 1; unit++) size /= 1_024;
  return `${Math.round(size * 10) / 10} ${units[unit]}`;
}

const UNITS: readonly (readonly [name: string, micros: number])[] = [
  ["day", DAY],
  ["hour", HOUR],
  ["minute", MINUTE],
  ["second", SECOND],
];

// To one unit, as people say it.
function words(time: number): string {
  for (const [name, micros] of UNITS) {
    const many = Math.floor(time / micros);
    // Below two of a unit, the next smaller one tells more.
    if (many >= 2 || (many === 1 && name === "second")) {
      return `${many} ${name}${many === 1 ? "" : "s"}`;
    }
  }
  return "1 second";
}
