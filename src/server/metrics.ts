// Collects what Prometheus reads: each thread is asked once, and tells what it has counted anyway. The first thread
// puts the answers together.

import type { MetricsRequest } from "../api/metrics.ts";
import type { Clock } from "../clock.ts";
import type { HttpMeters } from "../http/meters.ts";
import { renderQueues, renderServer, type ThreadFigures } from "../observe/render.ts";
import type { WantedFigures } from "../registry/figures.ts";
import { VERSION } from "../version.ts";
import type { Shard } from "./shard.ts";
import type { ThreadWatch } from "./thread-watch.ts";

/** What is asked of one thread. */
export interface ThreadParts {
  readonly shard: Shard;
  readonly meters: HttpMeters;
  readonly watch: ThreadWatch;
}

/** What a thread tells. */
export async function threadFigures(
  thread: number,
  { shard, meters, watch }: ThreadParts,
  wanted: WantedFigures,
): Promise<ThreadFigures> {
  const storages = Array.from(shard.storages.values(), async (storage) => ({
    storage: storage.name,
    // One that fails has nothing to tell; that it does shows elsewhere.
    ...(await storage.figures?.().catch(() => undefined)),
  }));
  return {
    thread,
    home: shard.home.figures(wanted),
    http: meters.figures(),
    storages: await Promise.all(storages),
    ...watch.state(),
  };
}

/** Which queues a request is about, by themselves. */
export function wantedBy({ of, top, namespaces }: MetricsRequest, names: readonly string[]) {
  return of === "server" ? { top: 0, namespaces, names } : { top, namespaces, names: [] };
}

/** The answer to a request, of what all threads have told. */
export function render(
  { of, top, form }: MetricsRequest,
  threads: readonly ThreadFigures[],
  { clock, isServing }: { readonly clock: Clock; readonly isServing: boolean },
): string {
  const now = clock.now();
  if (of === "queues") return renderQueues(threads, top, now, form);
  const { user, system } = process.cpuUsage();
  const state = {
    version: VERSION,
    isServing,
    residentBytes: process.memoryUsage.rss(),
    cpu: user + system,
    startedAt: performance.timeOrigin * 1_000,
  };
  return renderServer(threads, state, now, form);
}
