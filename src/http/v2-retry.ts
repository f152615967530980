// POST /v2/queue.retry, a row of routes.ts: it does what that of /v1 does, and answers of each item
// whether it will be tried again, which its queue decides as well: by max_attempts and expire_timeout.

import { type Clock, SECOND } from "../clock.ts";
import { invalid } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { QueueHandle } from "../queue/queue.ts";
import type { RetryItem } from "../queue/requests.ts";
import { readDuration } from "../queue-settings.ts";
import { reply } from "./answer.ts";
import {
  type QueueRetryLeaseSchema,
  QueueRetryLeasesRequestSchema,
  QueueRetryLeasesResponseSchema,
} from "./gen/querator/v2/retry_pb.ts";
import type { Decoded } from "./message.ts";
import type { AddRoute } from "./storage-routes.ts";
import {
  checkPartition,
  checkTimeoutMax,
  checkTimeoutMin,
  parseRequestTimeout,
} from "./validate.ts";

const BODY_BYTES_MAX = 256_000;
const TIMEOUT_DEFAULT = 30 * SECOND;

/** Adds the endpoint; `find` answers the queue of a name. */
export function addRetryEndpoint({
  find,
  post,
  clock,
  limits,
}: {
  readonly find: (queueName: string) => QueueHandle;
  readonly post: AddRoute;
  readonly clock: Clock;
  readonly limits: Limits;
}): void {
  post("/v2/queue.retry", BODY_BYTES_MAX, QueueRetryLeasesRequestSchema, async (request) => {
    const { partition, requestTimeout, leases } = request;
    const queue = find(request.queueName);
    checkPartition(partition, queue.partitionCount);
    const timeout = requestTimeout === "" ? TIMEOUT_DEFAULT : parseRequestTimeout(requestTimeout);
    checkCount(leases.length, limits.completeBatch);
    checkTimeoutMax(timeout);
    checkTimeoutMin(timeout);
    const now = clock.now();
    const items = leases.map((lease, i) => toRetry(lease, `leases[${i}]`, now));
    const died = new Set(await queue.retry(partition, items, now + timeout));
    const results = items.map((_, i) => ({ ok: true, dead: died.has(i) }));
    return reply(QueueRetryLeasesResponseSchema, { results });
  });
}

function checkCount(count: number, max: number): void {
  if (count === 0) throw invalid("leases is invalid; list of leases cannot be empty");
  if (count <= max) return;
  throw invalid(`leases is invalid; max_complete_batch_size is ${max} but received ${count}`);
}

function toRetry(
  { leaseId: id, at, delay, dead }: Decoded<typeof QueueRetryLeaseSchema>,
  where: string,
  now: number,
): RetryItem {
  if (delay === "") return { id, retryAt: at, dead };
  if (at !== 0) throw invalid(`${where}.delay is invalid; give either 'at' or 'delay'`);
  const later = readDuration(delay, `${where}.delay`, "30s, 5m or 1h");
  if (later < 0) throw invalid(`${where}.delay is invalid; '${delay}' cannot be negative`);
  return { id, retryAt: now + Math.trunc(later), dead };
}
