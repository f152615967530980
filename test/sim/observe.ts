// What a client with access to everything sees of the server at one moment: every queue with its
// record, its statistics and all its items, page by page. The checks work on such views alone.

import assert from "node:assert/strict";
import type { Refusal } from "../../src/errors.ts";
import { type OnLeaseEnd, UNIQUE_KEYS } from "./commands.ts";
import type { World } from "./world.ts";

/** An item as a list shows it. Times are microseconds since 1970; 0 stands for none. */
export interface SeenItem {
  /** The number that its payload carries: what it is, whatever its id. */
  readonly n: number;
  readonly id: string;
  readonly isLeased: boolean;
  readonly deadline: number;
  readonly attempts: number;
  readonly createdAt: number;
  readonly expireAt: number;
  readonly sourceId: string;
  // As /v2 tells:
  /** What it is, wherever it lies. */
  readonly itemId: string;
  readonly isCancelled: boolean;
  /** Of one that is scheduled; of one that waits behind another its own time, or 0. */
  readonly dueAt: number;
  readonly isBehind: boolean;
  /** The queue that a redrive has sent it to, as long as it is on its way there; "" for none. */
  readonly boundTo: string;
  /** "" for none, as of the next. */
  readonly uniqueKey: string;
  readonly kind: string;
  readonly traceparent: string;
}

/** How an item has ended, as its queue keeps it. */
export interface SeenEnd {
  readonly itemId: string;
  readonly state: "completed" | "cancelled" | "expired" | "rejected";
  readonly endedAt: number;
  readonly partition: number;
  /** As JSON has it; "" for none. */
  readonly result: string;
}

export interface SeenPartition {
  /** Waiting and leased items, by id. */
  readonly items: readonly SeenItem[];
  readonly scheduled: readonly SeenItem[];
}

/** Durations in microseconds. */
export interface Settings {
  readonly leaseTimeout: number;
  readonly expireTimeout: number;
  readonly maxAttempts: number;
  readonly deadQueue: string;
  readonly retryDelay: number;
  readonly retryFactor: number;
  readonly retryMaxDelay: number;
  readonly retryJitter: number;
  readonly onLeaseEnd: OnLeaseEnd;
  readonly keep: number;
  readonly keepMax: number;
}

/** What was deleted without having been completed, and without a dead queue, by why. */
export interface SeenDrops {
  readonly attempts: number;
  readonly expired: number;
  readonly rejected: number;
}

/** What has become of items since the queue was made, by what is counted; of the dead see SeenCounts. */
const COUNTED = [
  "produced",
  "received",
  "leased",
  "completed",
  "retried",
  "released",
  "extended",
  "lease_ends",
  "cancelled",
  "deduplicated",
  "deleted",
  "moved",
] as const;

export type SeenCounts = Readonly<Record<(typeof COUNTED)[number], number>> & {
  /** Wherever they went. */
  readonly dead: SeenDrops;
};

export interface SeenQueue {
  readonly name: string;
  /** Tells a queue from an earlier one of the same name. */
  readonly createdAt: number;
  readonly settings: Settings;
  readonly partitions: readonly SeenPartition[];
  /** Since the queue was made. */
  readonly drops: SeenDrops;
  readonly counts: SeenCounts;
  /** What is kept of what has ended, by the id of the item. */
  readonly ended: ReadonlyMap<string, SeenEnd>;
  /** The unique keys that are taken, and by which item. */
  readonly keys: ReadonlyMap<string, string>;
  /** Whether a redrive is under way out of it. */
  readonly isRedriven: boolean;
}

export interface View {
  readonly at: number;
  /** The same moment in steady time, which no step of the wall clock moves. */
  readonly steady: number;
  readonly queues: ReadonlyMap<string, SeenQueue>;
}

const PAGE = 7;

/** Looks at everything; throws if a list or a statistic contradicts another. */
export async function observe(world: World): Promise<View> {
  const queues = new Map<string, SeenQueue>();
  const { queues: records = [] } = await ask(world, "v2/queues.list", {});
  for (const record of records) {
    const name = record.queue_name as string;
    const { logical_queues, totals } = await ask(world, "v2/queue.stats", { queue_name: name });
    const [stats] = logical_queues;
    const partitions: SeenPartition[] = [];
    const known = await listV2(world, name);
    for (let partition = 0; partition < stats.partitions.length; partition++) {
      const items = await list(world, "items", { name, partition, known });
      const scheduled = await list(world, "scheduled", { name, partition, known });
      partitions.push({ items, scheduled });
      checkStats(world, stats.partitions[partition], { items, scheduled }, `${name}/${partition}`);
    }
    const drops = dropsOf(stats, name);
    const counts = countsOf(totals.counts ?? {});
    checkTotals(totals, partitions, name);
    checkCounts(counts, partitions, drops, name);
    const kept = Number(totals.kept ?? 0);
    const ended = kept === 0 ? NOTHING_KEPT : await listEnded(world, name);
    // Those of which the time is over are shown no more, and swept now and then.
    assert.ok(ended.size <= kept, `${name}: kept of totals`);
    const waiting = world.waitingLeases.filter((call) => call.request.queue_name === name);
    assert.equal(stats.lease_waiting ?? 0, waiting.length, `${name}: lease_waiting`);
    assert.equal(stats.produce_waiting ?? 0, 0, `${name}: produce_waiting`);
    assert.equal(stats.in_flight ?? 0, waiting.length, `${name}: in_flight`);
    queues.set(name, {
      name,
      createdAt: parseTime(record.created_at),
      settings: settingsOf(record),
      partitions,
      drops,
      counts,
      ended,
      keys: await keysOf(world, name),
      isRedriven: await isRedriven(world, name),
    });
  }
  const { waiting, budget } = world.server;
  assert.equal(waiting.leases, world.waitingLeases.length, "waiting leases of the server");
  assert.ok(budget.bytes >= 0 && budget.bytes <= world.limits.readyBytes + 2_000, "ready bytes");
  return { at: world.clock.now(), steady: world.clock.steady(), queues };
}

// biome-ignore lint/suspicious/noExplicitAny: replies have every shape
async function ask(world: World, path: string, request: Record<string, unknown>): Promise<any> {
  const call = await world.ask(path, request);
  assert.equal(call.status, 200, `${path} ${JSON.stringify(request)}: ${call.body}`);
  return call.body;
}

// biome-ignore lint/suspicious/noExplicitAny: replies have every shape
type Reply = any;

function settingsOf(record: Reply): Settings {
  const { retry = {} } = record;
  return {
    leaseTimeout: parseGo(record.lease_timeout),
    expireTimeout: record.expire_timeout === "never" ? NEVER : parseGo(record.expire_timeout),
    maxAttempts: record.max_attempts ?? 0,
    deadQueue: record.dead_queue ?? "",
    retryDelay: parseGo(retry.delay ?? ""),
    retryFactor: retry.factor ?? 0,
    retryMaxDelay: parseGo(retry.max_delay ?? ""),
    retryJitter: retry.jitter ?? 0,
    onLeaseEnd: record.on_lease_end,
    keep: parseGo(record.keep_completed),
    keepMax: record.keep_max ?? 0,
  };
}

const NEVER = 876_000 * 3.6e9;

/** What only /v2 tells of items, by their numbers. */
type Known = ReadonlyMap<number, Reply>;

async function listV2(world: World, queue: string): Promise<Known> {
  const known = new Map<number, Reply>();
  for (const state of [undefined, "scheduled"]) {
    const request = { queue_name: queue, ...(state !== undefined && { state }), payload: true };
    for (const item of await pages(world, request)) {
      const boundTo = state === undefined ? "" : await whereTo(world, queue, item);
      const mayWait = state !== undefined && boundTo === "";
      const isBehind = mayWait && (await waitsBehind(world, queue, item));
      known.set(numberLeased(item), { ...item, isBehind, boundTo });
    }
  }
  return known;
}

// One that has a time of its own for after its turn looks like any other that is scheduled, until it is explained.
async function waitsBehind(world: World, queue: string, item: Reply): Promise<boolean> {
  const { id, unique_key, enqueue_at } = item;
  if (unique_key === undefined || enqueue_at === undefined) return enqueue_at === undefined;
  const { reasons } = await ask(world, "v2/item.explain", { queue_name: queue, id });
  return reasons.some(({ code }: { code: string }) => code === "behind");
}

// What is on its way to another queue has no time, as what waits behind another, and no key.
async function whereTo(world: World, queue: string, item: Reply): Promise<string> {
  const { id, unique_key, enqueue_at } = item;
  if (unique_key !== undefined || enqueue_at !== undefined) return "";
  const { reasons } = await ask(world, "v2/item.explain", { queue_name: queue, id });
  const [, to] =
    /^it is on its way to the queue '(.*)', to which a redrive sends it$/.exec(reasons[0].detail) ??
    [];
  assert.ok(
    to !== undefined,
    `${queue}: item ${id} is scheduled for no time: ${reasons[0].detail}`,
  );
  return to;
}

async function pages(world: World, request: Record<string, unknown>): Promise<readonly Reply[]> {
  const all: Reply[] = [];
  for (let cursor = ""; ; ) {
    const page = await ask(world, "v2/items.list", { ...request, cursor });
    all.push(...(page.items ?? []));
    cursor = page.next_cursor ?? "";
    if (cursor === "") return all;
  }
}

const NOTHING_KEPT: ReadonlyMap<string, SeenEnd> = new Map();

async function listEnded(world: World, queue: string): Promise<ReadonlyMap<string, SeenEnd>> {
  const ended = new Map<string, SeenEnd>();
  for (const state of ["completed", "cancelled", "expired", "rejected"] as const) {
    for (const item of await pages(world, { queue_name: queue, state })) {
      const { id: itemId, ended_at, partition = 0, result } = item;
      const shown = result === undefined ? "" : String(result);
      const endedAt = parseTime(ended_at);
      ended.set(itemId, { itemId, state, endedAt, partition, result: shown });
    }
  }
  return ended;
}

// Asks for each key, and for one that is refused in any case, so that nothing is done.
async function keysOf(world: World, queue: string): Promise<ReadonlyMap<string, string>> {
  const wanted = [...UNIQUE_KEYS, "nobody's", "nobody's"];
  const items = wanted.map((unique_key) => ({ unique_key, on_duplicate: "reject" }));
  const request = { queue_name: queue, items, all_or_none: true };
  const { refusals } = await world.ask("v2/queue.produce", request);
  assert.equal(refusals?.length, wanted.length, `${queue}: keys are not told`);
  const keys = new Map<string, string>();
  for (const [i, key] of UNIQUE_KEYS.entries()) {
    const { code, detail = "" }: Refusal = refusals![i]!;
    if (code === undefined) continue;
    assert.equal(code, "unique_key_taken", `${queue}: ${key}`);
    keys.set(key, /of item '(.*)'/.exec(detail)![1]!);
  }
  return keys;
}

async function isRedriven(world: World, queue: string): Promise<boolean> {
  if (queue !== "dead") return false;
  const { redrives = [] } = await ask(world, "v2/redrives.list", { queue_name: queue });
  return redrives.some(({ state }: { state: string }) => state === "running");
}

// Pages with a small limit, so that paging is tested as well.
async function list(
  world: World,
  table: "items" | "scheduled",
  { name, partition, known }: { name: string; partition: number; known: Known },
): Promise<readonly SeenItem[]> {
  const seen: SeenItem[] = [];
  let pivot = "";
  for (;;) {
    const request = { queue_name: name, partition, pivot, limit: PAGE };
    const { items = [] } = await ask(world, `storage/${table}.list`, request);
    const page: SeenItem[] = items.map((item: Reply) => {
      const n = Number(Buffer.from(item.payload, "base64").toString());
      const more = known.get(n);
      assert.ok(more !== undefined, `${name}: item ${n} is not in the list of /v2`);
      return {
        n,
        id: item.id,
        isLeased: item.is_leased ?? false,
        deadline: parseTime(item.lease_deadline),
        attempts: item.attempts ?? 0,
        createdAt: parseTime(item.created_at),
        expireAt: parseTime(item.expire_deadline),
        sourceId: item.source_id ?? "",
        itemId: more.id,
        isCancelled: more.cancelled ?? false,
        dueAt: parseTime(more.enqueue_at),
        isBehind: more.isBehind,
        boundTo: more.boundTo,
        uniqueKey: more.unique_key ?? "",
        traceparent: more.traceparent ?? "",
        kind: more.kind ?? "",
      };
    });
    seen.push(...(pivot === "" ? page : page.slice(1)));
    if (page.length < PAGE) return seen;
    pivot = page.at(-1)!.id;
  }
}

/** The number that a payload carries. */
export function numberOf(payload: string): number {
  return Number(Buffer.from(payload, "base64").toString());
}

/** The number of an item that a lease answers. */
export function numberLeased({ bytes, utf8 }: { bytes?: string; utf8?: string }): number {
  return utf8 === undefined ? numberOf(bytes!) : Number(utf8);
}

function plainDrops(seen: Partial<SeenDrops> = {}): SeenDrops {
  const { attempts = 0, expired = 0, rejected = 0 } = seen;
  return { attempts, expired, rejected };
}

function dropsOf(stats: Record<string, unknown>, name: string): SeenDrops {
  const sum = plainDrops(stats.dropped as Partial<SeenDrops>);
  const parts = (stats.partitions as { dropped?: Partial<SeenDrops> }[]).map((each) =>
    plainDrops(each.dropped),
  );
  for (const reason of ["attempts", "expired", "rejected"] as const) {
    const all = parts.reduce((count, each) => count + each[reason], 0);
    assert.equal(sum[reason], all, `${name}: dropped.${reason}`);
  }
  return sum;
}

function checkStats(
  world: World,
  stats: Record<string, number> & { average_age: string },
  { items, scheduled }: SeenPartition,
  where: string,
): void {
  assert.equal(stats.total ?? 0, items.length, `${where}: total`);
  const leased = items.filter((item) => item.isLeased).length;
  assert.equal(stats.total_leased ?? 0, leased, `${where}: total_leased`);
  assert.equal(stats.scheduled ?? 0, scheduled.length, `${where}: scheduled`);
  assert.equal(stats.failures ?? 0, 0, `${where}: failures`);
  const ages = items.reduce((sum, item) => sum + world.clock.now() - item.createdAt, 0);
  const mean = items.length === 0 ? 0 : Math.max(ages / items.length, 0);
  assert.ok(Math.abs(parseGo(stats.average_age) - mean) <= 1_000, `${where}: average_age`);
}

function checkTotals(
  totals: Readonly<Record<string, number>>,
  partitions: readonly SeenPartition[],
  name: string,
): void {
  const items = partitions.flatMap((each) => each.items);
  const scheduled = partitions.flatMap((each) => each.scheduled).length;
  const leased = items.filter(({ isLeased }) => isLeased).length;
  assert.equal(totals.waiting ?? 0, items.length - leased, `${name}: waiting of totals`);
  assert.equal(totals.leased ?? 0, leased, `${name}: leased of totals`);
  assert.equal(totals.scheduled ?? 0, scheduled, `${name}: scheduled of totals`);
}

// Nothing appears or disappears without having been counted.
function checkCounts(
  counts: SeenCounts,
  partitions: readonly SeenPartition[],
  drops: SeenDrops,
  name: string,
): void {
  const there = partitions.flatMap(({ items, scheduled }) => [...items, ...scheduled]).length;
  const { completed, cancelled, deleted, moved } = counts;
  const dropped = drops.attempts + drops.expired + drops.rejected;
  assert.equal(
    counts.produced + counts.received,
    there + completed + cancelled + deleted + moved + dropped,
    `${name}: items came or went uncounted: ${there} are there, ${dropped} dropped, ${JSON.stringify(counts)}`,
  );
}

function countsOf(seen: Readonly<Record<string, unknown>>): SeenCounts {
  const counts = Object.fromEntries(COUNTED.map((name) => [name, Number(seen[name] ?? 0)]));
  const dead = plainDrops(seen.dead as Partial<SeenDrops> | undefined);
  return { ...(counts as Record<(typeof COUNTED)[number], number>), dead };
}

/** Microseconds since 1970 of an RFC 3339 time in UTC; 0 for the zero time or none. */
export function parseTime(text: string | undefined): number {
  if (text === undefined || text.startsWith("0001-")) return 0;
  const [, seconds, fraction = ""] = /^(.{19})(?:\.(\d+))?Z$/.exec(text)!;
  return Date.parse(`${seconds}Z`) * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** RFC 3339 with microseconds. */
export function formatTime(micros: number): string {
  const seconds = Math.floor(micros / 1e6);
  const fraction = String(micros - seconds * 1e6).padStart(6, "0");
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

const GO_UNITS: Readonly<Record<string, number>> = { h: 3.6e9, m: 6e7, s: 1e6, ms: 1e3, µs: 1 };

/** Microseconds of a duration in Go's way: 1h0m0s, 1.5s, 20ms. */
export function parseGo(text: string): number {
  let micros = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)(h|ms|m|s|µs)/g)) {
    micros += Number(number) * GO_UNITS[unit!]!;
  }
  return micros;
}
