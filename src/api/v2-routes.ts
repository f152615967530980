// The endpoints of /v2 that work with one queue, as rows of routes.ts. They do what those of /v1 do, and
// say and take more; see storage-routes.ts for the others.

import { type Clock, SECOND } from "../clock.ts";
import { OK, reply } from "../codec/answer.ts";
import { QueueStatsRequestSchema } from "../codec/gen/querator/v1/queue_pb.ts";
import {
  type DroppedItemsSchema,
  type QueueReleaseLeaseSchema,
  QueueReleaseRequestSchema,
  QueueRetryRequestSchema,
  QueueRetryResponseSchema,
  QueueStatsResponseSchema,
} from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { invalid } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { type QueueHandle, type RetryItem, RetryRequest } from "../queue/queue.ts";
import { readDuration } from "../registry/settings.ts";
import type { Dropped } from "../storage/storage.ts";
import { logicalStats } from "./stats.ts";
import type { AddRoute } from "./storage-routes.ts";
import {
  checkEndings,
  checkPartition,
  checkTimeoutMax,
  checkTimeoutMin,
  parseRequestTimeout,
} from "./validate.ts";

const SMALL = 512;
const MEDIUM = 256_000;
const TIMEOUT_DEFAULT = 30 * SECOND;
const INT32_MAX = 2 ** 31 - 1;

/** Adds the endpoints; `find` answers the queue of a name. */
export function addV2Endpoints({
  find,
  post,
  read,
  clock,
  limits,
}: {
  readonly find: (queueName: string) => QueueHandle;
  readonly post: AddRoute;
  readonly read: AddRoute;
  readonly clock: Clock;
  readonly limits: Limits;
}): void {
  post("/v2/queue.release", MEDIUM, QueueReleaseRequestSchema, async (request) => {
    const { queue, timeout } = findEnding(request);
    const items = request.leases.map((lease, i) => toRetryItem(lease, i, false));
    const deadline = clock.steady() + timeout;
    await queue.submit(new RetryRequest(request.partition, items, deadline, "released"));
    return OK;
  });

  post("/v2/queue.retry", MEDIUM, QueueRetryRequestSchema, async (request) => {
    const { queue, timeout } = findEnding(request);
    const items = request.leases.map((lease, i) => toRetryItem(lease, i, lease.dead));
    const retry = new RetryRequest(request.partition, items, clock.steady() + timeout);
    const died = new Set(await queue.submit(retry));
    const results = items.map((_, i) => ({ ok: true, dead: died.has(i) }));
    return reply(QueueRetryResponseSchema, { results });
  });

  // The checks that what ends leases has in common.
  function findEnding({
    queueName,
    partition,
    requestTimeout,
    leases,
  }: Decoded<typeof QueueReleaseRequestSchema>): {
    readonly queue: QueueHandle;
    readonly timeout: number;
  } {
    const queue = find(queueName);
    checkPartition(partition, queue.partitionCount);
    const timeout = requestTimeout === "" ? TIMEOUT_DEFAULT : parseRequestTimeout(requestTimeout);
    checkEndings("leases", leases.length, limits);
    checkTimeoutMax(timeout);
    checkTimeoutMin(timeout);
    return { queue, timeout };
  }

  function toRetryItem(
    { leaseId: id, at, delay }: Decoded<typeof QueueReleaseLeaseSchema>,
    index: number,
    dead: boolean,
  ): RetryItem {
    if (delay === "") return { id, retryAt: Math.max(at, 0), dead };
    const field = `leases[${index}].delay`;
    if (at !== 0) throw invalid(`${field} is invalid; give either 'at' or 'delay'`);
    const later = readDuration(delay, field, "30s, 5m or 1h");
    if (later < 0) throw invalid(`${field} is invalid; '${delay}' cannot be negative`);
    const now = clock.now();
    return { id, retryAt: now + Math.trunc(later), dead };
  }

  read("/v2/queue.stats", SMALL, QueueStatsRequestSchema, async ({ queueName }) => {
    const stats = await find(queueName).stats();
    const { partitions, ...logical } = logicalStats(stats);
    const drops = stats.partitions.map(({ dropped }) => dropped);
    return reply(QueueStatsResponseSchema, {
      queueName,
      logicalQueues: [
        {
          ...logical,
          partitions: partitions.map((each, i) => ({ ...each, dropped: toDropped([drops[i]!]) })),
          dropped: toDropped(drops),
        },
      ],
    });
  });
}

// The sum, or nothing if none was dropped.
function toDropped(drops: readonly Dropped[]): Encodable<typeof DroppedItemsSchema> | undefined {
  const sum = (reason: keyof Dropped): number =>
    Math.min(
      drops.reduce((count, each) => count + each[reason], 0),
      INT32_MAX,
    );
  const dropped = { attempts: sum("attempts"), expired: sum("expired"), rejected: sum("rejected") };
  return dropped.attempts + dropped.expired + dropped.rejected === 0 ? undefined : dropped;
}
