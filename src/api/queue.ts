// The work with one queue: the endpoints of queue.*. Those under /v2 do what those of /v1 do, and say and
// take more.

import { OK, reply } from "../codec/answer.ts";
import {
  QueueClearRequestSchema,
  QueueLeaseRequestSchema,
  QueueLeaseResponseSchema,
  QueueProduceRequestSchema,
  QueueReloadRequestSchema,
  QueueStatsRequestSchema,
  QueueStatsResponseSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import { QueueStatsResponseSchema as StatsResponseV2 } from "../codec/gen/querator/v2/queue_pb.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalid, MESSAGES } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { LeaseRequest, ProduceRequest, type QueueHandle } from "../queue/queue.ts";
import { isBlank, NOT_BLANK_PATTERN } from "../registry/names.ts";
import { byName, endpointsOf, type RowEndpoint, SMALL } from "./endpoint.ts";
import { leaseAnswer, toItems } from "./item-records.ts";
import { leaseEndpoints, leaseNotes } from "./leases.ts";
import {
  FOUND,
  outcomeUnknown,
  partitionFailing,
  QUEUED,
  refusal,
  requestTimeout,
  retry,
  shortTimeout,
  TIMED,
} from "./openapi/errors.ts";
import { type FieldNote, id, type Notes, PARTITION, QUEUE_NAME } from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import { logicalStats, logicalStatsV2, STATS_NOTES } from "./stats.ts";
import {
  checkTimeoutGiven,
  checkTimeoutMax,
  checkTimeoutMin,
  parseRequestTimeout,
} from "./validate.ts";

const queue_name = "jobs";

/** The endpoints. */
export function queueEndpoints(service: Service): readonly RowEndpoint[] {
  const { clock, limits } = service;
  const endpoint = endpointsOf({
    name: "queue",
    about: "The work with one queue.",
    fields: { ...fieldNotes(limits), ...leaseNotes(limits), ...STATS_NOTES },
  });
  const find = (name: string): QueueHandle => findQueue(service, name);

  const stats = {
    bodyBytesMax: SMALL,
    request: QueueStatsRequestSchema,
    permission: "read",
    metric: "stats",
    queueOf: byName,
    example: { queue_name },
    errors: FOUND,
  } as const;

  return [
    // --- hot ---
    endpoint({
      path: "/v1/queue.produce",
      bodyBytesMax: limits.produceBytes,
      request: QueueProduceRequestSchema,
      permission: "produce",
      metric: "produce",
      queueOf: byName,
      summary: "Puts items into a queue; answers when they are stored.",
      example: { queue_name, request_timeout: "1m", items: [{ kind: "mail", utf8: "hello" }] },
      errors: {
        ...FOUND,
        ...TIMED,
        shortTimeout,
        noItems: refusal("items cannot be empty; at least one item is required"),
        requestTimeout,
        outcomeUnknown,
        ...QUEUED,
      },
      handler: async (request) => {
        const queue = find(request.queueName);
        const timeout = parseRequestTimeout(request.requestTimeout);
        checkTimeoutGiven(timeout);
        checkTimeoutMax(timeout, true);
        checkTimeoutMin(timeout);
        const { items } = request;
        if (items.length === 0)
          throw invalid("items cannot be empty; at least one item is required");
        if (items.length > limits.produceBatch) {
          throw invalid(
            `items is invalid; max_produce_batch_size is ${limits.produceBatch} but received ${items.length}`,
          );
        }
        await queue.submit(new ProduceRequest(toItems(items), clock.steady() + timeout));
        return OK;
      },
    }),
    endpoint({
      path: "/v1/queue.lease",
      bodyBytesMax: SMALL,
      request: QueueLeaseRequestSchema,
      reply: QueueLeaseResponseSchema,
      permission: "lease",
      metric: "lease",
      queueOf: byName,
      summary: "Leases items to a client; waits for some until request_timeout.",
      example: { queue_name, request_timeout: "1m", client_id: "worker-1", batch_size: 1 },
      errors: {
        ...FOUND,
        noClientId: refusal("invalid client id; cannot be empty"),
        noBatchSize: refusal("invalid batch size; must be greater than zero"),
        ...TIMED,
        shortTimeout,
        duplicateClientId: refusal(MESSAGES.duplicateClientId),
        leaseTimeout: retry(MESSAGES.leaseTimeout),
        outcomeUnknown,
        ...QUEUED,
      },
      handler: async (request, exchange) => {
        const queue = find(request.queueName);
        const timeout = parseRequestTimeout(request.requestTimeout);
        const { clientId, batchSize } = request;
        if (isBlank(clientId)) throw invalid("invalid client id; cannot be empty");
        if (batchSize <= 0) throw invalid("invalid batch size; must be greater than zero");
        if (batchSize > limits.leaseBatch) {
          throw invalid(
            `invalid batch size; max_lease_batch_size is ${limits.leaseBatch}, but ${batchSize} was requested`,
          );
        }
        checkTimeoutGiven(timeout);
        checkTimeoutMax(timeout);
        checkTimeoutMin(timeout);
        const lease = new LeaseRequest(clientId, batchSize, clock.steady() + timeout);
        const answer = queue.submit(lease);
        exchange.onGone(() => queue.cancel(lease));
        const leased = await answer;
        if (exchange.isGone()) {
          const { partition, ids, items } = leased;
          queue.giveBack(
            partition,
            items.map(({ seq }) => ids.id(seq)),
          );
        }
        return leaseAnswer(request.queueName, leased);
      },
    }),
    ...leaseEndpoints(service, endpoint),

    // --- the queue as a whole ---
    endpoint({
      ...stats,
      path: "/v1/queue.stats",
      reply: QueueStatsResponseSchema,
      summary: "Counts what is in a queue and what waits for it.",
      handler: async ({ queueName }) => {
        const logicalQueues = [logicalStats(await find(queueName).stats())];
        return reply(QueueStatsResponseSchema, { queueName, logicalQueues });
      },
    }),
    endpoint({
      ...stats,
      path: "/v2/queue.stats",
      reply: StatsResponseV2,
      summary: "Counts as /v1 does, and tells what was deleted without having been completed.",
      handler: async ({ queueName }) => {
        const logicalQueues = [logicalStatsV2(await find(queueName).stats())];
        return reply(StatsResponseV2, { queueName, logicalQueues });
      },
    }),
    endpoint({
      path: "/v1/queue.clear",
      bodyBytesMax: SMALL,
      request: QueueClearRequestSchema,
      permission: "manage",
      metric: "clear",
      queueOf: byName,
      summary: "Removes the items of a queue, the scheduled ones, or both.",
      example: { queue_name, queue: true },
      needsOneOf: ["queue", "scheduled"],
      errors: {
        ...FOUND,
        nothingToClear: refusal("invalid clear request; one of 'queue', 'scheduled' must be true"),
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request) => {
        const queue = find(request.queueName);
        if (!request.queue && !request.scheduled) {
          throw invalid("invalid clear request; one of 'queue', 'scheduled' must be true");
        }
        await queue.clear(request);
        return OK;
      },
    }),
    endpoint({
      path: "/v1/queue.reload",
      bodyBytesMax: SMALL,
      request: QueueReloadRequestSchema,
      permission: "manage",
      metric: "reload",
      queueOf: byName,
      summary: "Reads a queue from its storage again.",
      example: { queue_name },
      errors: { ...FOUND, ...QUEUED },
      handler: async (request) => {
        await find(request.queueName).reload();
        return OK;
      },
    }),
  ];
}

// What the fields of the messages mean, those of leases.ts and stats.ts not.
function fieldNotes({ produceBatch, leaseBatch }: Limits): Notes {
  return {
    QueueProduceRequest: {
      queue_name: QUEUE_NAME,
      request_timeout: timeoutNote("How long to try, from 10ms to less than 15m."),
      items: {
        text: `The items, from 1 to ${produceBatch}; they are stored in this order.`,
        required: "request",
        request: { minItems: 1, maxItems: produceBatch },
      },
    },
    QueueProduceItem: {
      encoding: { text: "How the payload is to be read; the server does not look at it." },
      kind: { text: "What kind of work it is; the server does not look at it." },
      reference: { text: "Anything that the producer wants to find again." },
      enqueue_at: { text: "When the item is to become leasable; at once if that is past." },
      bytes: { text: "The payload, in base64." },
      utf8: { text: "The payload as a text, if bytes is empty." },
    },
    QueueLeaseRequest: {
      queue_name: QUEUE_NAME,
      batch_size: {
        text: `How many items at most, from 1 to ${leaseBatch}.`,
        required: "request",
        request: { minimum: 1, maximum: leaseBatch },
      },
      client_id: {
        text: "Who leases. One client has one lease request at a time on a queue.",
        required: "request",
        request: { minLength: 1, pattern: "\\S" },
        accepted: { pattern: NOT_BLANK_PATTERN },
      },
      request_timeout: timeoutNote("How long to wait for items, from 10ms to 15m."),
    },
    QueueLeaseResponse: {
      queue_name: QUEUE_NAME,
      partition: { ...PARTITION, text: "Where the items lie; complete and retry need it." },
      items: { text: "The items, at least one.", required: "reply", reply: { minItems: 1 } },
    },
    QueueLeaseItem: {
      encoding: { text: "As it was produced." },
      kind: { text: "As it was produced." },
      reference: { text: "As it was produced." },
      id: id("Names this lease of the item; another lease has another id."),
      attempts: {
        text: "How often it has been leased, this time included.",
        required: "reply",
        reply: { minimum: 1 },
      },
      lease_deadline: { text: "When the lease ends by itself.", required: "reply" },
      bytes: { text: "The payload, in base64." },
    },
    QueueClearRequest: {
      queue_name: QUEUE_NAME,
      scheduled: { text: "Removes scheduled items. This or queue must be true." },
      queue: { text: "Removes items that wait. This or scheduled must be true." },
      destructive: { text: "With queue: removes leased items too." },
    },
    QueueReloadRequest: { queue_name: QUEUE_NAME },
    QueueStatsRequest: { queue_name: QUEUE_NAME },
  };
}

function timeoutNote(text: string): FieldNote {
  return { text, required: "request", request: { minLength: 1, pattern: DURATION_PATTERN } };
}
