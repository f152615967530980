// The load of bench/client.ts, a process of its own: callers that produce one item each and callers that
// lease and complete one each, all in one client. Each item has a number, so that one that is lost or
// doubled is seen. Takes its options as JSON in the first argument, prints one JSON line.

import { type LeasedItem, QueratorClient } from "@querator/client";

export interface ClientLoadOptions {
  readonly url: string;
  readonly producers: number;
  readonly consumers: number;
  /** Whether a worker consumes, in place of callers of lease and complete. */
  readonly isWorker: boolean;
  readonly seconds: number;
  /** Unfinished items at which producers pause. */
  readonly cap: number;
  readonly payloadBytes: number;
}

export interface ClientLoadResult {
  readonly completed: number;
  readonly itemsPerSecond: number;
  readonly lost: number;
  readonly twice: number;
  readonly cpuMs: number;
}

const options = JSON.parse(process.argv[2]!) as ClientLoadOptions;
const client = new QueratorClient({ url: options.url });
const queue = `bench-client-${process.pid}`;
await client.queues.create({ queueName: queue, leaseTimeout: "5m", expireTimeout: "24h" });

const padding = "x".repeat(options.payloadBytes);
const seen = new Set<string>();
let produced = 0;
let completed = 0;
let twice = 0;
let isProducing = true;
let resume = Promise.withResolvers<void>();
const done = new AbortController();

async function produce(): Promise<void> {
  while (isProducing) {
    if (produced - completed >= options.cap) {
      await resume.promise;
      continue;
    }
    const reference = String(++produced);
    await client.produce(queue, { payload: padding, reference });
  }
}

function take({ reference }: LeasedItem): void {
  if (seen.has(reference)) twice++;
  seen.add(reference);
}

function count(): void {
  completed++;
  if (produced - completed < options.cap) {
    resume.resolve();
    resume = Promise.withResolvers();
  }
  if (!isProducing && completed === produced) done.abort();
}

async function consume(): Promise<void> {
  for (;;) {
    const [item] = await client.lease(queue, { signal: done.signal });
    if (item === undefined) continue;
    take(item);
    await client.complete(queue, item);
    count();
  }
}

async function work(): Promise<void> {
  const worker = client.worker(queue, take, { concurrency: options.consumers });
  worker.on("completed", count);
  await new Promise((resolve) => done.signal.addEventListener("abort", resolve));
  await worker.close();
}

const cpuFrom = process.cpuUsage();
const from = performance.now();
const producers = Array.from({ length: options.producers }, produce);
const consumers = options.isWorker ? [work()] : Array.from({ length: options.consumers }, consume);
setTimeout(() => {
  isProducing = false;
  resume.resolve();
}, options.seconds * 1_000);
await Promise.all(producers);
if (completed === produced) done.abort();
await Promise.allSettled(consumers);
const seconds = (performance.now() - from) / 1_000;
const cpu = process.cpuUsage(cpuFrom);
const result: ClientLoadResult = {
  completed,
  itemsPerSecond: Math.round(completed / seconds),
  lost: produced - seen.size,
  twice,
  cpuMs: Math.round((cpu.user + cpu.system) / 1_000),
};
await client.close();
process.stdout.write(`${JSON.stringify(result)}\n`);
