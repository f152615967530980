// What the load of bench/client.ts works on: the TypeScript client with a server, and beside it BullMQ and
// a plain list of Redis, each with the settings that were best for it here. A subject counts nothing.

import { type LeasedItem, QueratorClient } from "@querator/client";

export interface SubjectOptions {
  /** Where the server listens; the path of the socket of Redis. */
  readonly url: string;
  readonly queue: string;
  readonly consumers: number;
}

export interface Subject {
  /** Items of one call; 1 if left out. */
  readonly bulk?: number;
  /** Resolves when the items, each known by its number, are durable. */
  produce(references: readonly string[], payload: string): Promise<void>;
  /**
   * Works through the queue until the signal is aborted: `take` is the work on an item, `count` says that it
   * has been completed.
   */
  consume(take: (reference: string) => void, count: () => void, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export const SUBJECTS = {
  /** Calls of lease and complete. */
  callers: (options) => openClient(options, "callers"),
  worker: (options) => openClient(options, "worker"),
  bullmq: (options) => openBullMq(options, { bulk: 1, enableAutoPipelining: true }),
  "bullmq addBulk": (options) =>
    openBullMq({ ...options, consumers: 100 }, { bulk: 32, enableAutoPipelining: false }),
  "redis list": openList,
} as const satisfies Record<string, (options: SubjectOptions) => Promise<Subject>>;

export type SubjectName = keyof typeof SUBJECTS;

async function openClient(
  { url, queue, consumers }: SubjectOptions,
  consumer: "callers" | "worker",
): Promise<Subject> {
  const client = new QueratorClient({ url });
  await client.queues.create({ queueName: queue, leaseTimeout: "5m", expireTimeout: "24h" });
  return {
    async produce([reference], payload) {
      await client.produce(queue, { payload, reference });
    },
    async consume(take, count, signal) {
      if (consumer === "worker") {
        const handle = (item: LeasedItem): void => take(item.reference);
        const worker = client.worker(queue, handle, { concurrency: consumers });
        worker.on("completed", count);
        await aborted(signal);
        await worker.close();
        return;
      }
      const consume = async (): Promise<void> => {
        for (;;) {
          const [item] = await client.lease(queue, { signal });
          if (item === undefined) continue;
          take(item.reference);
          await client.complete(queue, item);
          count();
        }
      };
      await Promise.allSettled(Array.from({ length: consumers }, consume));
    },
    close: () => client.close(),
  };
}

// Jobs that are completed go at once, and none that has stalled is looked for. Tried were a concurrency of
// 32, 100, 128 and 300, bulks by callers for 32 and 128, and automatic pipelining: single jobs were
// faster with it (10,200 a second, 7,600 without), bulks without (13,000 at a concurrency of 100; 11,700).
async function openBullMq(
  { url, queue: name, consumers }: SubjectOptions,
  { bulk, enableAutoPipelining }: { bulk: number; enableAutoPipelining: boolean },
): Promise<Subject> {
  const { Queue, Worker } = await import("bullmq"); // not loaded where it is not measured
  const connection = { path: url, enableAutoPipelining, maxRetriesPerRequest: null };
  const defaultJobOptions = { removeOnComplete: true, removeOnFail: true };
  const queue = new Queue<string>(name, { connection, defaultJobOptions });
  await queue.waitUntilReady();
  return {
    bulk,
    async produce(references, payload) {
      if (bulk === 1) await queue.add(references[0]!, payload);
      else await queue.addBulk(references.map((reference) => ({ name: reference, data: payload })));
    },
    async consume(take, count, signal) {
      const worker = new Worker<string>(name, async (job) => take(job.name), {
        connection,
        concurrency: consumers,
        skipStalledCheck: true,
        skipLockRenewal: true,
      });
      worker.on("completed", count);
      await aborted(signal);
      await worker.close();
    },
    close: () => queue.close(),
  };
}

// What people write themselves: a list for what waits and one for what is being worked on. Nothing comes
// back by itself when a consumer dies.
async function openList({ url, queue, consumers }: SubjectOptions): Promise<Subject> {
  const { Redis } = await import("ioredis");
  const redis = new Redis({ path: url, enableAutoPipelining: true });
  const taken = `${queue}:taken`;
  return {
    async produce([reference], payload) {
      await redis.lpush(queue, `${reference} ${payload}`);
    },
    async consume(take, count, signal) {
      const consume = async (): Promise<void> => {
        while (!signal.aborted) {
          const item = await redis.lmove(queue, taken, "RIGHT", "LEFT");
          if (item === null) {
            await new Promise((resolve) => setImmediate(resolve));
            continue;
          }
          take(item.slice(0, item.indexOf(" ")));
          await redis.lrem(taken, -1, item);
          count();
        }
      };
      await Promise.all(Array.from({ length: consumers }, consume));
    },
    async close() {
      await redis.quit();
    },
  };
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => signal.addEventListener("abort", resolve));
}
