// What a server holds and does at this moment, put together from what its threads tell of themselves. Bounded by how many
// queues are told; those that something is wrong with come first.

import { compareWeights, type QueueDump, type Weight } from "../queue/queue.ts";
import type { HomeDump } from "../registry/homes.ts";

/** Queues that are told if it is not said how many, and how many may be asked for. */
export const DUMP_QUEUES_DEFAULT = 20;
export const DUMP_QUEUES_MAX = 1_000;

/** What a thread tells. */
export interface ThreadDump {
  readonly thread: number;
  readonly latest: number;
  readonly busy: number;
  readonly heapBytes: number;
  readonly connections: number;
  readonly openRequests: number;
  readonly home: HomeDump;
}

/** What is told of the server as a whole; times in wall time, and in microseconds. */
export interface ProcessDump {
  readonly version: string;
  readonly node: string;
  readonly pid: number;
  readonly mode: string;
  readonly reason: string;
  readonly startedAt: number;
  readonly uptime: number;
  readonly residentBytes: number;
}

/** A thread that has not answered. */
export interface SilentThread {
  readonly thread: number;
  readonly home?: undefined;
}

export interface ServerDump {
  readonly server: ProcessDump;
  readonly threads: readonly (ThreadDump | SilentThread)[];
  readonly queues: readonly (QueueDump & { readonly thread: number })[];
  readonly queuesLeftOut: number;
}

/** Puts together what threads have told; `undefined` of those that have not. */
export function joinDumps(
  server: ProcessDump,
  told: readonly (ThreadDump | undefined)[],
  limit: number,
): ServerDump {
  const threads = told.map((each, thread): ThreadDump | SilentThread => each ?? { thread });
  const all = threads.flatMap(({ thread, home }): (QueueDump & Weight & { thread: number })[] =>
    (home?.told ?? []).map((queue) => ({ ...queue, thread })),
  );
  const queues = all.sort(compareWeights).slice(0, limit);
  const known = threads.reduce((sum, { home }) => sum + (home?.queues ?? 0), 0);
  return { server, threads, queues, queuesLeftOut: known - queues.length };
}
