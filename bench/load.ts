// The load generator, a process of its own: producers and consumers in a closed loop, or one paced
// producer. Producers pause while too much is unfinished, so that the figure is what the server
// carries from produce through lease to complete. Each item has a number, so that one that is lost,
// doubled or out of order is seen. Takes its options as JSON in the first argument, prints one JSON line.

import type { RivalName } from "./rivals.ts";
import { openHttp, type Producer, type Target } from "./target.ts";
import type { WIRE_FORMATS } from "./wire-format.ts";

export interface LoadOptions {
  readonly url: string;
  /**
   * In place of our server one of rivals.ts, whose database `url` names, or `redis-list`, for which it
   * is the path of a socket.
   */
  readonly rival?: string;
  readonly producers: number;
  readonly consumers: number;
  readonly batch: number;
  /** Unfinished items at which producers pause. */
  readonly cap: number;
  readonly seconds: number;
  /** Items a second of one producer, in place of as fast as it goes; 0 for that. */
  readonly rate: number;
  /** How many of them come with one request; 1 by default. */
  readonly atOnce?: number;
  readonly payloadBytes: number;
  /** A queue that exists, in place of new ones; of what waits in it there is as much afterwards. */
  readonly queue?: string;
  /** Over how many queues the load is spread; 1 by default. */
  readonly queues?: number;
  /** `json` by default. */
  readonly format?: keyof typeof WIRE_FORMATS;
  /** Requests that a producer sends at once, without waiting for the answers between; 1 by default. */
  readonly pipelined?: number;
  /** The key that every request shows. */
  readonly key?: string;
}

export interface Quantiles {
  readonly p50: number;
  readonly p99: number;
}

export interface LoadResult {
  readonly completed: number;
  readonly itemsPerSecond: number;
  readonly failed: number;
  readonly lost: number;
  readonly twice: number;
  readonly disorder: number;
  /** Milliseconds. */
  readonly produceMs: Quantiles;
  readonly endToEndMs: Quantiles;
}

const options = JSON.parse(process.argv[2]!) as LoadOptions;
const { queues: queueCount = 1, pipelined = 1, atOnce = 1 } = options;

async function openTarget(): Promise<Target> {
  const { url, batch, rival, format = "json", key } = options;
  if (rival === undefined) return openHttp(url, batch, format, key);
  if (rival === "redis-list") {
    const { redisList } = await import("./redis-list.ts");
    return redisList(url, batch);
  }
  const { RIVALS } = await import("./rivals.ts");
  return RIVALS[rival as RivalName](url, batch);
}

const target = await openTarget();
const prefix = `bench-${process.pid}-${Date.now()}`;
const queues = options.queue
  ? [options.queue]
  : Array.from({ length: queueCount }, (_, i) => `${prefix}-${i}`);
const padding = "x".repeat(Math.max(options.payloadBytes - 36, 0));

let produced = 0;
let completed = 0;
let failed = 0;
let twice = 0;
let disorder = 0;
let producing = true;
let lastDone = 0;
const seen = new Set<number>();
const produceMs: number[] = [];
const endToEndMs: number[] = [];
// Set when everything is prepared.
let start = 0;
let end = 0;
let drainBy = 0;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

// Other than those of a load before, which may wait in the queue.
let number = Date.now() * 1_000;

function makePayloads(count: number): string[] {
  const payloads: string[] = [];
  for (let i = 0; i < count; i++) {
    const head = `${String(++number).padStart(17)} ${performance.now().toFixed(3).padStart(17)}`;
    payloads.push(`${head} ${padding}`);
  }
  return payloads;
}

async function produce(_: unknown, index: number): Promise<void> {
  const client = await target.producer();
  let turn = index;
  const count = options.rate > 0 ? atOnce : options.batch;
  let next = performance.now();
  while (performance.now() < end) {
    if (options.rate > 0) {
      next += (1000 * atOnce) / options.rate;
      await sleep(Math.max(next - performance.now(), 0));
    } else if (produced - completed >= options.cap) {
      await sleep(1);
      continue;
    }
    // With more queues than producers each serves several.
    const queue = queues[turn % queues.length]!;
    turn += options.producers;
    const requests = Array.from({ length: pipelined }, () => makePayloads(count));
    await Promise.all(requests.map((payloads) => produceOne(client, queue, payloads)));
  }
  client.close();
}

async function produceOne(
  client: Producer,
  queue: string,
  payloads: readonly string[],
): Promise<void> {
  const from = performance.now();
  if (!(await client.produce(queue, payloads))) {
    failed++;
    return;
  }
  produceMs.push(performance.now() - from);
  produced += payloads.length;
}

async function consume(index: number): Promise<void> {
  const client = await target.consumer(queues[index % queues.length]!, index);
  while (performance.now() < drainBy && (producing || completed < produced)) {
    const leased = await client.lease();
    if (leased === "none") continue;
    if (leased === "failed") {
      failed++;
      continue;
    }
    const now = performance.now();
    let last = 0;
    for (const head of leased.heads) {
      const serial = Number(head.slice(0, 17));
      endToEndMs.push(now - Number(head.slice(18, 35)));
      if (seen.has(serial)) twice++;
      seen.add(serial);
      if (options.rate > 0 && serial < last) disorder++;
      last = serial;
    }
    if (leased.heads.length === 0) continue;
    if (await leased.complete()) completed += leased.heads.length;
    else failed++;
    lastDone = performance.now();
  }
  client.close();
}

function quantiles(values: number[]): Quantiles {
  values.sort((a, b) => a - b);
  const at = (q: number): number => Number((values[Math.floor(values.length * q)] ?? 0).toFixed(3));
  return { p50: at(0.5), p99: at(0.99) };
}

for (const queue of queues) if (options.queue === undefined) await target.createQueue(queue);

start = performance.now();
end = start + options.seconds * 1000;
drainBy = end + 20_000;
// Every queue has a consumer.
const consumerCount = Math.max(options.consumers, queues.length);
const consumers = Array.from({ length: consumerCount }, (_, i) => consume(i));
const producers = Array.from({ length: options.rate > 0 ? 1 : options.producers }, produce);
await Promise.all(producers);
producing = false;
await Promise.all(consumers);
await target.close();
if (target.completesLate) lastDone = performance.now();

const result: LoadResult = {
  completed,
  itemsPerSecond: Math.round((completed / (lastDone - start)) * 1000),
  failed,
  lost: Math.max(produced - completed, 0),
  twice,
  disorder,
  produceMs: quantiles(produceMs),
  endToEndMs: quantiles(endToEndMs),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
