// A whole run of the overload: a server with small limits is given far more than it can carry on
// many queues, while one quiet queue is used as before. Memory stays bounded, what is too much is
// refused as overload, what was accepted is done exactly once, and the quiet queue stays usable.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Api } from "../support/api.ts";
import { GoodClient, type Latency } from "../support/good-client.ts";
import { megabytes } from "../support/holdings.ts";
import { PipeClient } from "../support/pipe-client.ts";
import type { ProofResult } from "../support/program.ts";
import { ServerProcess, type StorageKind, threads } from "../support/server-process.ts";
import type { FloodCommand, FloodNotice, FloodOptions, FloodResult } from "./flood.ts";

export interface OverloadOptions {
  readonly seed: number;
  /** For how long the flood lasts. */
  readonly seconds: number;
  readonly queues: number;
  /** How long the quiet queue is measured alone before. */
  readonly aloneMs: number;
  readonly storage: StorageKind;
  readonly progress: (text: string) => void;
}

// Small, so that a small flood goes beyond every one of them.
const LIMITS = {
  "queued-requests": 40,
  "waiting-leases": 200,
  "leased-items": 2_000,
  "ready-items": 1_000,
  "ready-bytes": 16 * 1024 * 1024,
  "lease-reply-bytes": 1024 * 1024,
  "request-bytes": 16 * 1024 * 1024,
} as const;

const DEPTH = 100;
const CONSUMERS = 3;
const PAYLOAD_BYTES_MAX = 4_000;
const STALL_MS = 10_000;
const DRAIN_MS_MAX = 600_000;
const FLOOD_MS = 60_000;

// What a server may need beyond what it has at rest: a few times what it may hold, and what traffic
// takes until the garbage collector has seen it.
const RISE_MAX = 4 * (LIMITS["ready-bytes"] + LIMITS["request-bytes"]) + 300_000_000 * threads;

// The quiet queue shares a core with the flood. It may become slower by this factor, or take so long
// at all, whichever is more.
const SLOWER_MAX = 200;
const SLOW_MS = 500;
const BOUND_MS = 10_000;
const JUDGED_MIN = 10;
const QUIET = "quiet";

/** Floods a server; answers what it could not bear. */
export async function overload(options: OverloadOptions): Promise<ProofResult> {
  const failures: string[] = [];
  const server = await ServerProcess.start({ storage: options.storage, limits: LIMITS });
  const api = new Api(server.port);
  const flood = fork(fileURLToPath(new URL("./flood.ts", import.meta.url)));
  try {
    const queues = Array.from({ length: options.queues }, (_, i) => `flooded-${i}`);
    for (const queue of [QUIET, ...queues]) await createQueue(api, queue);
    const quiet = new GoodClient({ port: server.port, queue: QUIET, boundMs: BOUND_MS });
    await sleep(options.aloneMs / 2);
    quiet.enter("alone");
    await sleep(options.aloneMs);
    const calm = server.rss;
    const { port } = server;
    const shape = { depth: DEPTH, consumers: CONSUMERS, payloadBytesMax: PAYLOAD_BYTES_MAX };
    const begin = { port, seed: options.seed, queues, stallMs: STALL_MS, ...shape };
    const series = await runFlood(flood, server, { options, begin, quiet });
    const result = await stopFlood(flood);
    await quiet.stop();
    failures.push(...quiet.failures, ...result.failures, ...server.errors);
    const peak = Math.max(...series, server.rss);
    if (peak > calm + RISE_MAX) {
      failures.push(`memory rose from ${megabytes(calm)} to ${megabytes(peak)}`);
    }
    const alone = quiet.latency("alone");
    const beside = quiet.latency("beside");
    failures.push(...judgeLatency(alone, beside), ...judgeOverload(result));
    failures.push(...(await tooManyLeases(server.port, api, queues[0]!)));
    failures.push(...(await notEmpty(api, queues)));
    const figures = describe(result, { alone, beside, calm, series });
    return { failures, figures };
  } catch (error) {
    const end = server.end === undefined ? "" : `, the server ended: ${server.end}`;
    return { failures: [...failures, `${(error as Error).message}${end}`], figures: "no figures" };
  } finally {
    flood.kill("SIGKILL");
    api.close();
    await server.dispose();
  }
}

async function createQueue(api: Api, queue_name: string): Promise<void> {
  const settings = { lease_timeout: "10m", expire_timeout: "24h", requested_partitions: 1 };
  await api.ok("queues.create", { queue_name, ...settings });
}

// Answers the memory of the server over time.
async function runFlood(
  flood: ChildProcess,
  server: ServerProcess,
  run: { options: OverloadOptions; begin: FloodOptions; quiet: GoodClient },
): Promise<readonly number[]> {
  const { options, begin, quiet } = run;
  const begun = once(flood, "message", { signal: AbortSignal.timeout(FLOOD_MS) });
  flood.send({ begin } satisfies FloodCommand);
  await begun;
  quiet.enter("beside");
  const series: number[] = [];
  const stepMs = Math.min(1_000, (options.seconds * 1_000) / 10);
  for (let at = 0; at < options.seconds * 1_000; at += stepMs) {
    await sleep(stepMs);
    if (server.end !== undefined) throw new Error(`the server ended: ${server.end}`);
    series.push(server.rss);
    if (series.length % 10 === 0)
      options.progress(`${Math.round(at / 1_000)} s, ${megabytes(server.rss)}`);
  }
  // On a busy machine one request of the quiet queue may take longer than a short flood.
  for (let i = 0; i < 1_000 && quiet.latency("beside").requests === 0; i++) await sleep(10);
  quiet.enter("drain");
  return series;
}

async function stopFlood(flood: ChildProcess): Promise<FloodResult> {
  const stopped = once(flood, "message", { signal: AbortSignal.timeout(DRAIN_MS_MAX) });
  flood.send({ stop: true } satisfies FloodCommand);
  const [notice] = (await stopped) as [FloodNotice];
  if ("begun" in notice) throw new Error("the flood has not ended");
  return notice.ended;
}

function judgeLatency(alone: Latency, beside: Latency): readonly string[] {
  if (beside.requests === 0) return ["the quiet queue was not served beside the flood"];
  // Of so few, as in a short flood on a busy machine, there is no median.
  if (beside.requests < JUDGED_MIN) return [];
  const slow = beside.p50 > Math.max(alone.p50 * SLOWER_MAX, SLOW_MS);
  return slow ? [`the quiet queue took ${beside.p50} ms, alone ${alone.p50} ms`] : [];
}

function judgeOverload({ counts, overloaded }: FloodResult): readonly string[] {
  const failures: string[] = [];
  if (overloaded.produce === 0) failures.push("nothing was refused: this was no overload");
  if (counts.accepted === 0) failures.push("nothing was accepted");
  return failures;
}

// The queues are empty now: of more leases than may wait the rest is refused at once.
async function tooManyLeases(port: number, api: Api, queue: string): Promise<readonly string[]> {
  // Each thread has its share of what may wait.
  const limit = Math.ceil(LIMITS["waiting-leases"] / threads);
  const beyond = 20;
  const clients = Array.from({ length: limit + beyond }, () => new PipeClient(port));
  let overloaded = 0;
  const asked = clients.map(async (client, i) => {
    const lease = {
      queue_name: queue,
      client_id: `many-${i}`,
      batch_size: 1,
      request_timeout: "1m",
    };
    const reply = await client.post("queue.lease", lease).catch(() => undefined);
    if (reply?.status === 454) overloaded++;
  });
  let waiting = 0;
  for (let i = 0; i < 500 && (overloaded < beyond || waiting < limit); i++) {
    await sleep(10);
    const { logicalQueues } = await api.ok("queue.stats", { queue_name: queue });
    waiting = logicalQueues[0].lease_waiting ?? 0;
  }
  for (const client of clients) client.close();
  await Promise.all(asked);
  if (overloaded === beyond && waiting === limit) return [];
  return [`of ${limit + beyond} leases ${waiting} waited and ${overloaded} were refused`];
}

async function notEmpty(api: Api, queues: readonly string[]): Promise<readonly string[]> {
  const failures: string[] = [];
  for (const queue_name of queues) {
    const { logicalQueues } = await api.ok("queue.stats", { queue_name });
    const { total = 0, total_leased: leased = 0 } = logicalQueues[0].partitions[0];
    if (total > 0 || leased > 0)
      failures.push(`${queue_name} still has ${total}, ${leased} leased`);
  }
  return failures;
}

function describe(
  { counts, overloaded }: FloodResult,
  seen: { alone: Latency; beside: Latency; calm: number; series: readonly number[] },
): string {
  const { alone, beside, calm, series } = seen;
  const ms = (latency: Latency): string =>
    `p50 ${latency.p50.toFixed(1)} p99 ${latency.p99.toFixed(1)} ms`;
  const refused = Object.entries(overloaded).map(([verb, count]) => `${verb} ${count}`);
  return [
    `${counts.accepted} items accepted, ${counts.completed} completed, ${counts.refused} refused`,
    `refused as overload: ${refused.join(", ")}`,
    `quiet queue alone ${ms(alone)}, beside ${ms(beside)}, ratio ${(beside.p50 / alone.p50).toFixed(0)}`,
    `rss at rest ${megabytes(calm)}, then ${series.map((rss) => Math.round(rss / 1e6)).join(" ")}`,
  ].join("; ");
}
