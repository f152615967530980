// The whole state of a server as its clients can see it, and a fresh world to begin with. Two states
// are compared text by text; what changes with time alone, the ages, is left out, and what time has
// moved between two looks can be told from the deadlines in the first.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Api } from "../support/api.ts";
import type { PipeClient } from "../support/pipe-client.ts";
import { BASE_QUEUES, type Focus } from "./valid-message.ts";

/** Everything that is visible: for each queue and each list a text. */
export type State = ReadonlyMap<string, string>;

interface PartitionStats {
  readonly partition?: number;
  readonly total?: number;
  readonly scheduled?: number;
  readonly failures?: number;
}

interface Stats {
  readonly logical_queues: readonly {
    readonly lease_waiting?: number;
    readonly partitions: readonly PartitionStats[];
  }[];
  readonly totals?: { readonly kept?: number };
}

const LEASES_GONE_MS = 3_000;
const STATS_BYTES_MAX = 512;
const TIMES_OF = "scheduled times of";
const REDRIVES_OF = "redrives of";
const ENDED = ["completed", "cancelled", "expired", "rejected"] as const;

/** Reads the state, all that can be asked at once at once. Nothing may wait in any queue. */
export async function readState(client: PipeClient): Promise<State> {
  const state = new Map<string, string>();
  const { items: queues = [] } = await ask(client, "queues.list", { limit: 65_536 });
  state.set("queues", JSON.stringify(queues));
  const asked: Promise<void>[] = [];
  for (const { queue_name: queue } of queues as readonly { queue_name: string }[]) {
    asked.push(readQueue(client, queue, state));
  }
  await Promise.all(asked);
  return state;
}

async function readQueue(
  client: PipeClient,
  queue: string,
  state: Map<string, string>,
): Promise<void> {
  // A name may be so long that no request for its statistics is within the limit.
  const fits = Buffer.byteLength(JSON.stringify({ queue_name: queue })) <= STATS_BYTES_MAX;
  const stats = fits ? await statsAtRest(client, queue) : UNKNOWN;
  const { partitions } = stats.logical_queues[0]!;
  state.set(`stats of ${queue}`, withoutAges(stats));
  const asked: Promise<void>[] = [];
  const kept = stats.totals?.kept ?? 0;
  if (kept > 0) for (const each of ENDED) asked.push(readEnded(client, queue, each, state));
  if (fits) asked.push(readRedrives(client, queue, state));
  const read = async (table: "items" | "scheduled", partition: number): Promise<void> => {
    const request = { queue_name: queue, partition, limit: 100_000 };
    const { items = [] } = await ask(client, `storage/${table}.list`, request);
    state.set(`${table} of ${queue}, partition ${partition}`, JSON.stringify(items));
  };
  for (const { partition = 0, total = 0, scheduled = 0, failures = 0 } of partitions) {
    if (failures > 0) throw new Error(`partition ${partition} of '${queue}' is failing`);
    // What holds nothing by its statistics is looked at only where that is cheap.
    if (total > 0 || partition < 3) asked.push(read("items", partition));
    if (scheduled > 0 || partition < 3) asked.push(read("scheduled", partition));
    if (scheduled > 0) asked.push(readTimes(client, { queue, partition }, state));
  }
  await Promise.all(asked);
}

async function readEnded(
  client: PipeClient,
  queue_name: string,
  ended: (typeof ENDED)[number],
  state: Map<string, string>,
): Promise<void> {
  const request = { queue_name, state: ended, limit: 10_000 };
  const { items = [] } = await ask(client, "v2/items.list", request);
  state.set(`${ended} of ${queue_name}`, JSON.stringify(items));
}

async function readRedrives(
  client: PipeClient,
  queue_name: string,
  state: Map<string, string>,
): Promise<void> {
  const { redrives = [] } = await ask(client, "v2/redrives.list", { queue_name });
  if (redrives.length > 0) state.set(`${REDRIVES_OF} ${queue_name}`, JSON.stringify(redrives));
}

// When scheduled items are due, which only /v2 tells.
async function readTimes(
  client: PipeClient,
  { queue, partition }: { readonly queue: string; readonly partition: number },
  state: Map<string, string>,
): Promise<void> {
  const request = { queue_name: queue, partition, state: "scheduled", limit: 10_000 };
  const { items = [] } = await ask(client, "v2/items.list", request);
  const times = (items as readonly { enqueue_at?: string }[]).map((item) => item.enqueue_at ?? "");
  state.set(`${TIMES_OF} ${queue}, partition ${partition}`, JSON.stringify(times));
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
async function ask(client: PipeClient, path: string, request: object): Promise<any> {
  const { status, body } = await client.post(path, request);
  if (status !== 200) throw new Error(`${path}: ${status} ${body.toString()}`);
  return JSON.parse(body.toString());
}

// Of a queue that cannot be asked.
const UNKNOWN: Stats = { logical_queues: [{ partitions: [{ total: 1 }] }] };

// A lease whose client has gone may take a moment to go as well.
async function statsAtRest(client: PipeClient, queue: string): Promise<Stats> {
  const giveUpAt = Date.now() + LEASES_GONE_MS;
  for (;;) {
    const stats: Stats = await ask(client, "v2/queue.stats", { queue_name: queue });
    if (stats.logical_queues[0]!.lease_waiting === undefined) return stats;
    if (Date.now() > giveUpAt) {
      throw new Error(`a lease still waits in '${queue}', its client is gone`);
    }
    await sleep(10);
  }
}

// That there was one more of a unique key is counted, though nothing else is done.
function withoutAges(stats: Stats): string {
  return JSON.stringify(stats, (key, value) =>
    /_age$|^deduplicated$|^(rates|wait_time|run_time)$/.test(key) ? undefined : value,
  );
}

/** What differs between two states, for people. */
export function differences(before: State, after: State): readonly string[] {
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys]
    .filter((key) => before.get(key) !== after.get(key))
    .map((key) => `${key}: ${short(before.get(key))} became ${short(after.get(key))}`);
}

function short(text = "nothing"): string {
  return text.length > 600 ? `${text.slice(0, 600)}... (${text.length} characters)` : text;
}

interface Deadlines {
  readonly is_leased?: boolean;
  readonly lease_deadline: string;
  readonly expire_deadline: string;
}

/** Whether a lease, a wait or an item that the state shows has come to its end by then. */
export function somethingWasDue(state: State, until: number): boolean {
  for (const [key, text] of state) {
    if (key.startsWith(TIMES_OF)) {
      const times = JSON.parse(text) as readonly string[];
      if (times.some((time) => Date.parse(time) <= until)) return true;
    }
    if (key.startsWith(REDRIVES_OF) && text.includes('"state":"running"')) return true;
    if (!/^(items|scheduled) of /.test(key)) continue;
    for (const item of JSON.parse(text) as readonly Deadlines[]) {
      // A leased item expires when its lease has ended, not before.
      const end = item.is_leased === true ? item.lease_deadline : item.expire_deadline;
      if (Date.parse(end) <= until) return true;
    }
  }
  return false;
}

/** Whether the world is no longer worth fuzzing: a queue is gone, nothing is leased, or it is huge. */
export function isWorn(state: State): boolean {
  let size = 0;
  for (const text of state.values()) size += text.length;
  const there = BASE_QUEUES.every((queue) => state.has(`stats of ${queue}`));
  const leased = [...state.values()].filter((text) => text.includes('"is_leased":true'));
  return !there || leased.length < 2 || size > 400_000 || state.size > 200;
}

/** Deletes every queue and makes those of a fresh world; answers the items that can be named. */
export async function freshWorld(api: Api): Promise<readonly Focus[]> {
  const { items = [] } = await api.ok("queues.list", { limit: 65_536 });
  for (const { queue_name } of items as readonly { queue_name: string }[]) {
    await api.ok("queues.delete", { queue_name, force: true });
  }
  const settings = { lease_timeout: "1h", expire_timeout: "48h" };
  for (const queue_name of [...BASE_QUEUES].reverse()) {
    const [dead_queue, requested_partitions] = queue_name === "jobs" ? ["dead", 2] : ["", 1];
    const keep_completed = queue_name === "jobs" ? "24h" : "0s";
    const more = { queue_name, dead_queue, requested_partitions, keep_completed };
    await api.ok("v2/queues.create", { ...settings, ...more });
  }
  const ended = await endSome(api);
  const seen: Focus[] = [...ended];
  for (const [i, queue_name] of ["jobs", "jobs", "dead", BASE_QUEUES[3]].entries()) {
    const enqueue_at = "2200-01-01T00:00:00Z";
    const produced = Array.from({ length: 4 + i }, (_, n) => ({ kind: "k", utf8: `item ${n}` }));
    const produce = { queue_name, request_timeout: "10s", items: [...produced, { enqueue_at }] };
    await api.ok("queue.produce", produce);
    const lease = { queue_name, request_timeout: "10s", batch_size: 2, client_id: randomUUID() };
    const { partition = 0, items: leased } = await api.ok("queue.lease", lease);
    for (const each of leased) seen.push({ queue: queue_name, partition, ids: [each.id] });
    const { items: listed } = await api.ok("storage/items.list", { queue_name, partition });
    seen.push({ queue: queue_name, partition, ids: listed.map((each: { id: string }) => each.id) });
  }
  return seen;
}

// Items that have died, ended and been cancelled, so that what is about those finds some.
async function endSome(api: Api): Promise<readonly Focus[]> {
  const queue_name = "jobs";
  const items = Array.from({ length: 6 }, (_, n) => ({ kind: "k", json: n }));
  const { results } = await api.ok("v2/queue.produce", { queue_name, items });
  const { items: leased } = await api.ok("v2/queue.lease", { queue_name, batch_size: 5 });
  const leases = leased.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  const error = { type: "Broken", message: "item 7 is broken" };
  const rejects = leases.slice(0, 3).map((each: object) => ({ ...each, error }));
  await api.ok("v2/queue.reject", { queue_name, leases: rejects });
  const completes = leases.slice(3).map((each: object) => ({ ...each, result: { ok: true } }));
  await api.ok("v2/queue.complete", { queue_name, leases: completes });
  const ids = results.map(({ id }: { id: string }) => id);
  await api.ok("v2/item.cancel", { id: ids[5] });
  return [
    { queue: "dead", partition: 0, ids: ids.slice(0, 3) },
    { queue: queue_name, partition: 0, ids: ids.slice(3) },
  ];
}
