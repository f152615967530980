// What ends leases, in the noun `queue`: complete, retry, and release of /v2.

import { SECOND } from "../clock.ts";
import { OK, reply } from "../codec/answer.ts";
import {
  QueueCompleteRequestSchema,
  QueueRetryRequestSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import {
  type QueueReleaseLeaseSchema,
  QueueReleaseRequestSchema,
  QueueRetryRequestSchema as RetryRequestV2,
  QueueRetryResponseSchema as RetryResponseV2,
} from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalid } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { CompleteRequest, type QueueHandle, type RetryItem, RetryRequest } from "../queue/queue.ts";
import { readDuration } from "../registry/settings.ts";
import { byName, type endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import {
  BAD_TIMEOUTS,
  badId,
  type Errors,
  FOUND,
  noSuchPartition,
  outcomeUnknown,
  partitionFailing,
  QUEUED,
  refusal,
  requestTimeout,
  shortTimeout,
  TIMED,
} from "./openapi/errors.ts";
import {
  EXAMPLE_ID,
  type FieldNote,
  id,
  ids,
  type Notes,
  PARTITION,
  QUEUE_NAME,
  SIGNED_DURATION_PATTERN,
} from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import {
  checkEndings,
  checkPartition,
  checkTimeoutGiven,
  checkTimeoutMax,
  checkTimeoutMin,
  completeDeadline,
  parseRequestTimeout,
  RETRY_TIMEOUT,
} from "./validate.ts";

const TIMEOUT_DEFAULT = 30 * SECOND;

// What can become of the end of a lease.
const ENDED: Errors = {
  badId,
  noSuchId: refusal(`invalid storage id; '${EXAMPLE_ID}' does not exist`),
  requestTimeout,
  outcomeUnknown,
  partitionFailing,
  ...QUEUED,
};

const queue_name = "jobs";

/** The endpoints. */
export function leaseEndpoints(
  service: Service,
  endpoint: ReturnType<typeof endpointsOf>,
): readonly RowEndpoint[] {
  const { clock, limits } = service;
  // What gives leases back under /v2.
  const ofLeases = {
    bodyBytesMax: MEDIUM,
    permission: "complete",
    queueOf: byName,
    example: { queue_name, partition: 0, leases: [{ lease_id: EXAMPLE_ID }] },
    errors: {
      ...FOUND,
      noSuchPartition,
      ...BAD_TIMEOUTS,
      shortTimeout,
      noLeases: refusal("leases is invalid; list of leases cannot be empty"),
      atAndDelay: refusal("leases[0].delay is invalid; give either 'at' or 'delay'"),
      ...ENDED,
    },
  } as const;

  // The checks that it has in common.
  function findEnding({
    queueName,
    partition,
    requestTimeout,
    leases,
  }: Decoded<typeof QueueReleaseRequestSchema>): {
    readonly queue: QueueHandle;
    readonly timeout: number;
  } {
    const queue = findQueue(service, queueName);
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

  return [
    endpoint({
      path: "/v1/queue.complete",
      bodyBytesMax: MEDIUM,
      request: QueueCompleteRequestSchema,
      permission: "complete",
      metric: "complete",
      queueOf: byName,
      summary: "Ends leases: the work is done. All ids of a request, or none.",
      example: { queue_name, request_timeout: "1m", partition: 0, ids: [EXAMPLE_ID] },
      errors: {
        ...FOUND,
        noSuchPartition,
        ...TIMED,
        noIds: refusal("ids is invalid; list of ids cannot be empty"),
        ...ENDED,
      },
      handler: async (request) => {
        const queue = findQueue(service, request.queueName);
        checkPartition(request.partition, queue.partitionCount);
        const timeout = parseRequestTimeout(request.requestTimeout);
        checkEndings("ids", request.ids.length, limits);
        checkTimeoutMax(timeout);
        checkTimeoutGiven(timeout);
        const deadline = completeDeadline(clock.steady(), timeout);
        await queue.submit(new CompleteRequest(request.partition, request.ids, deadline));
        return OK;
      },
    }),

    endpoint({
      path: "/v1/queue.retry",
      bodyBytesMax: MEDIUM,
      request: QueueRetryRequestSchema,
      permission: "complete",
      metric: "retry",
      queueOf: byName,
      summary: "Ends leases: the work is to be tried again, later, or never (dead).",
      example: { queue_name, partition: 0, items: [{ id: EXAMPLE_ID }] },
      errors: { ...FOUND, noSuchPartition, ...ENDED },
      handler: async (request) => {
        const queue = findQueue(service, request.queueName);
        checkPartition(request.partition, queue.partitionCount);
        checkEndings("items", request.items.length, limits);
        const deadline = clock.steady() + RETRY_TIMEOUT;
        await queue.submit(new RetryRequest(request.partition, request.items, deadline));
        return OK;
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.release",
      request: QueueReleaseRequestSchema,
      metric: "release",
      summary:
        "Gives leased items back as if they had not been leased: it does not count as an attempt.",
      handler: async (request) => {
        const { queue, timeout } = findEnding(request);
        const items = request.leases.map((lease, i) => toRetryItem(lease, i, false));
        const deadline = clock.steady() + timeout;
        await queue.submit(
          new RetryRequest(request.partition, items, deadline, { verb: "released" }),
        );
        return OK;
      },
    }),
    endpoint({
      ...ofLeases,
      path: "/v2/queue.retry",
      request: RetryRequestV2,
      reply: RetryResponseV2,
      metric: "retry",
      summary: "Ends leases as /v1 does, and tells which items will not be tried again.",
      handler: async (request) => {
        const { queue, timeout } = findEnding(request);
        const items = request.leases.map((lease, i) => toRetryItem(lease, i, lease.dead));
        const retry = new RetryRequest(request.partition, items, clock.steady() + timeout);
        const died = new Set((await queue.submit(retry)).dead);
        const results = items.map((_, i) => ({ ok: true, dead: died.has(i) }));
        return reply(RetryResponseV2, { results });
      },
    }),
  ];
}

/** What the fields of the messages mean. */
export function leaseNotes({ completeBatch }: Limits): Notes {
  // What gives leased items back under /v2.
  const endings: Readonly<Record<string, FieldNote>> = {
    queue_name: QUEUE_NAME,
    partition: PARTITION,
    request_timeout: {
      text: "How long to try, from 10ms to 15m; 30s if it is not given.",
      request: { pattern: `^$|${DURATION_PATTERN}` },
    },
    leases: {
      text: `What is given back, from 1 to ${completeBatch} leases.`,
      required: "request",
      request: { minItems: 1, maxItems: completeBatch },
    },
  };
  const ending: Readonly<Record<string, FieldNote>> = {
    lease_id: id("The id of a leased item."),
    at: { text: "When the item is to become leasable again; at once if it is not given." },
    delay: {
      text: "The same as a duration from now, in place of at.",
      request: { pattern: `^$|${DURATION_PATTERN}` },
    },
  };

  return {
    QueueCompleteRequest: {
      queue_name: QUEUE_NAME,
      partition: PARTITION,
      request_timeout: {
        text: "How long to try, up to 15m; as long as that if it is negative.",
        required: "request",
        request: { minLength: 1, pattern: DURATION_PATTERN },
        accepted: { pattern: SIGNED_DURATION_PATTERN },
      },
      ids: ids(`The ids of leased items, from 1 to ${completeBatch}.`, { maxItems: completeBatch }),
    },
    QueueRetryRequest: {
      queue_name: QUEUE_NAME,
      partition: PARTITION,
      items: {
        text: `What is given back, from 1 to ${completeBatch} items.`,
        required: "request",
        request: { minItems: 1, maxItems: completeBatch },
      },
    },
    QueueRetryItem: {
      id: id("The id of a leased item."),
      retry_at: { text: "When the item is to become leasable again; at once if it is not given." },
      dead: { text: "It is not to be tried again: to the dead queue, or deleted without one." },
    },
    QueueReleaseRequest: endings,
    QueueReleaseLease: ending,
    "v2.QueueRetryRequest": endings,
    QueueRetryLease: {
      ...ending,
      dead: { text: "It is not to be tried again: to the dead queue, or deleted without one." },
    },
    QueueRetryResponse: {
      results: { text: "In the order of the leases.", required: "reply", reply: { minItems: 1 } },
    },
    QueueRetryResult: {
      ok: { text: "Always true, as all of them are done or none.", required: "reply" },
      dead: {
        text: "The item will not be tried again: it was asked for, or its attempts or its time are over.",
      },
    },
  };
}
