// What the server holds and does at this moment: each thread is asked, and one that hangs is passed over. Told over the API,
// and in the log.

import { toDump } from "../api/debug.ts";
import { SECOND } from "../clock.ts";
import { createLogger, type LogFormat, type Logger } from "../log.ts";
import {
  DUMP_QUEUES_DEFAULT,
  joinDumps,
  type ServerDump,
  type ThreadDump,
} from "../observe/dump.ts";
import { VERSION } from "../version.ts";
import type { ThreadParts } from "./metrics.ts";
import type { ServerMode } from "./mode.ts";
import type { Pool } from "./pool.ts";

/** What a thread holds. */
export function threadDump(
  thread: number,
  { shard, meters, watch }: ThreadParts,
  limit: number,
): ThreadDump {
  const { heapBytes } = watch.state();
  return {
    thread,
    ...watch.lately(),
    heapBytes,
    connections: meters.connections,
    openRequests: meters.answering.reduce((sum, count) => sum + count(), 0),
    home: shard.home.dump(limit),
  };
}

/** What the server holds: of at most so many queues. */
export async function serverDump(
  parts: ThreadParts & { readonly pool: Pool | undefined; readonly mode: ServerMode },
  limit = DUMP_QUEUES_DEFAULT,
): Promise<ServerDump> {
  const { pool, mode } = parts;
  const others = (await pool?.dump(limit)) ?? [];
  const server = {
    version: VERSION,
    node: process.versions.node,
    pid: process.pid,
    mode: mode.name,
    reason: mode.reason ?? "",
    startedAt: Math.floor(performance.timeOrigin * 1_000),
    uptime: Math.floor(process.uptime() * SECOND),
    residentBytes: process.memoryUsage.rss(),
  };
  return joinDumps(server, [threadDump(0, parts, limit), ...others], limit);
}

/** Writes it to a log, or to one of this form that leaves nothing out: a line for the server, each thread and queue. */
export function writeDump(dump: ServerDump, to: Logger | { readonly logFormat: LogFormat }): void {
  const log = "logFormat" in to ? createLogger({ level: "info", format: to.logFormat }) : to;
  const { server, threads, queues, queues_left_out } = toDump(dump);
  log.info({ ...server, ...(queues_left_out && { queues_left_out }) }, "dump: server");
  for (const thread of threads ?? []) log.info(thread, "dump: thread");
  for (const queue of queues ?? []) log.info(queue, "dump: queue");
}
