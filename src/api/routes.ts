// The endpoints of the API, one row each: path, body limit, request message, handler. A handler
// checks in the order that wire.md section 2 states, calls one method of a queue or of the
// registry, and answers. To find what the server does for a path, begin here.

import type { Clock } from "../clock.ts";
import { OK, reply } from "../codec/answer.ts";
import {
  QueueClearRequestSchema,
  QueueCompleteRequestSchema,
  QueueLeaseRequestSchema,
  QueueProduceRequestSchema,
  QueueReloadRequestSchema,
  QueueRetryRequestSchema,
  QueueStatsRequestSchema,
  QueueStatsResponseSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import {
  QueueInfoSchema,
  QueuesDeleteRequestSchema,
  QueuesInfoRequestSchema,
  QueuesListRequestSchema,
  QueuesListResponseSchema,
} from "../codec/gen/querator/v1/queues_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { formatDuration } from "../duration.ts";
import { invalid } from "../errors.ts";
import { decode } from "../http/decode.ts";
import type { Endpoint } from "../http/edge.ts";
import type { Limits } from "../limits.ts";
import {
  CompleteRequest,
  LeaseRequest,
  ProduceRequest,
  type QueueHandle,
  RetryRequest,
} from "../queue/queue.ts";
import {
  checkLookupName,
  checkNamespace,
  checkQueueName,
  findNamespace,
  isBlank,
  SYSTEM_NAMESPACE,
} from "../registry/names.ts";
import type { Queues } from "../registry/queues.ts";
import type { QueueRecord } from "../registry/records.ts";
import { checkQueueTimeouts, type QueueSettings } from "../registry/settings.ts";
import { leaseAnswer, toItems } from "./items.ts";
import { logicalStats } from "./stats.ts";
import { type AddRoute, addStorageEndpoints } from "./storage-routes.ts";
import { addV2Endpoints } from "./v2-routes.ts";
import {
  checkEndings,
  checkListLimit,
  checkPartition,
  checkTimeoutGiven,
  checkTimeoutMax,
  checkTimeoutMin,
  completeDeadline,
  parseRequestTimeout,
  QUEUES_LIST_LIMIT_MAX,
  RETRY_TIMEOUT,
} from "./validate.ts";

/** Which queues there are, and what changes that; on one thread the registry itself. */
export type QueuesService = Pick<
  Queues,
  "get" | "record" | "list" | "create" | "update" | "delete"
>;

/** What the endpoints work on. */
export interface Service {
  readonly queues: QueuesService;
  readonly clock: Clock;
  readonly limits: Limits;
  /** Throws the answer that every call gets while the server stops. */
  checkRunning(): void;
}

const SMALL = 512;
const MEDIUM = 256_000;

/** All endpoints by path. */
export function makeEndpoints(service: Service): ReadonlyMap<string, Endpoint> {
  const { queues, clock, limits } = service;

  function find(name: string): QueueHandle {
    service.checkRunning();
    checkLookupName(name);
    return queues.get(name);
  }

  const endpoints = new Map<string, Endpoint>();
  const route =
    (isRead: boolean): AddRoute =>
    (path, bodyBytesMax, schema, handler) => {
      endpoints.set(path, {
        bodyBytesMax,
        isRead,
        request: schema,
        handle(body, format, exchange) {
          const request = decode(schema, body, format, () => exchange.isGone());
          if (!(request instanceof Promise)) return handler(request, exchange);
          return request.then((decoded) => handler(decoded, exchange));
        },
      });
    };
  const post = route(false);
  const read = route(true);

  // --- hot ---

  post("/v1/queue.produce", limits.produceBytes, QueueProduceRequestSchema, async (request) => {
    const queue = find(request.queueName);
    const timeout = parseRequestTimeout(request.requestTimeout);
    checkTimeoutGiven(timeout);
    checkTimeoutMax(timeout, true);
    checkTimeoutMin(timeout);
    const { items } = request;
    if (items.length === 0) throw invalid("items cannot be empty; at least one item is required");
    if (items.length > limits.produceBatch) {
      throw invalid(
        `items is invalid; max_produce_batch_size is ${limits.produceBatch} but received ${items.length}`,
      );
    }
    await queue.submit(new ProduceRequest(toItems(items), clock.steady() + timeout));
    return OK;
  });

  post("/v1/queue.lease", SMALL, QueueLeaseRequestSchema, async (request, exchange) => {
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
  });

  post("/v1/queue.complete", MEDIUM, QueueCompleteRequestSchema, async (request) => {
    const queue = find(request.queueName);
    checkPartition(request.partition, queue.partitionCount);
    const timeout = parseRequestTimeout(request.requestTimeout);
    checkEndings("ids", request.ids.length, limits);
    checkTimeoutMax(timeout);
    checkTimeoutGiven(timeout);
    const deadline = completeDeadline(clock.steady(), timeout);
    await queue.submit(new CompleteRequest(request.partition, request.ids, deadline));
    return OK;
  });

  post("/v1/queue.retry", MEDIUM, QueueRetryRequestSchema, async (request) => {
    const queue = find(request.queueName);
    checkPartition(request.partition, queue.partitionCount);
    checkEndings("items", request.items.length, limits);
    const deadline = clock.steady() + RETRY_TIMEOUT;
    await queue.submit(new RetryRequest(request.partition, request.items, deadline));
    return OK;
  });

  // --- one queue ---

  read("/v1/queue.stats", SMALL, QueueStatsRequestSchema, async (request) => {
    const stats = await find(request.queueName).stats();
    return reply(QueueStatsResponseSchema, {
      queueName: request.queueName,
      logicalQueues: [logicalStats(stats)],
    });
  });

  post("/v1/queue.clear", SMALL, QueueClearRequestSchema, async (request) => {
    const queue = find(request.queueName);
    if (!request.queue && !request.scheduled) {
      throw invalid("invalid clear request; one of 'queue', 'scheduled' must be true");
    }
    await queue.clear(request);
    return OK;
  });

  post("/v1/queue.reload", SMALL, QueueReloadRequestSchema, async (request) => {
    await find(request.queueName).reload();
    return OK;
  });

  // --- queues ---

  post("/v1/queues.create", MEDIUM, QueueInfoSchema, async (request) => {
    const settings = checkSettings(request);
    const namespace = findNamespace(request.namespace);
    service.checkRunning();
    await queues.create({ ...settings, namespace });
    return OK;
  });

  post("/v1/queues.update", 512_000, QueueInfoSchema, async (request) => {
    const settings = checkSettings(request);
    service.checkRunning();
    await queues.update(settings);
    return OK;
  });

  read("/v1/queues.list", MEDIUM, QueuesListRequestSchema, (request) => {
    service.checkRunning();
    const limit = checkListLimit(request.limit);
    if (limit > QUEUES_LIST_LIMIT_MAX) {
      throw invalid(`limit is invalid; cannot be greater than ${QUEUES_LIST_LIMIT_MAX}`);
    }
    const { pivot, namespace } = request;
    if (pivot.includes("~")) {
      throw invalid(`pivot is invalid; '${pivot}' cannot contain '~' character`);
    }
    const records = queues.list({ namespace: namespace || SYSTEM_NAMESPACE, pivot, limit });
    return reply(QueuesListResponseSchema, { items: records.map(toInfo) });
  });

  read("/v1/queues.info", MEDIUM, QueuesInfoRequestSchema, (request) => {
    find(request.queueName);
    return reply(QueueInfoSchema, toInfo(queues.record(request.queueName)));
  });

  post("/v1/queues.delete", MEDIUM, QueuesDeleteRequestSchema, async (request) => {
    service.checkRunning();
    checkQueueName(request.queueName);
    await queues.delete(request.queueName, request.force);
    return OK;
  });

  // --- storage ---

  addStorageEndpoints({ find, post, read });

  // --- what goes beyond /v1 ---

  addV2Endpoints({ find, post, read, clock, limits });

  return endpoints;
}

// The checks that queues.create and queues.update share, up to those that need the registry.
function checkSettings(info: Decoded<typeof QueueInfoSchema>): QueueSettings {
  checkQueueName(info.queueName);
  const timeouts = checkQueueTimeouts(info.leaseTimeout, info.expireTimeout);
  checkNamespace(info.namespace);
  return {
    ...timeouts,
    name: info.queueName,
    maxAttempts: info.maxAttempts,
    deadQueue: info.deadQueue,
    reference: info.reference,
    requestedPartitions: info.requestedPartitions,
  };
}

function toInfo(record: QueueRecord): Encodable<typeof QueueInfoSchema> {
  const { createdAt, updatedAt, deadQueue, reference, maxAttempts, namespace } = record;
  return {
    queueName: record.name,
    createdAt,
    updatedAt,
    deadQueue,
    reference,
    maxAttempts,
    namespace,
    leaseTimeout: formatDuration(record.leaseTimeout),
    expireTimeout: formatDuration(record.expireTimeout),
    requestedPartitions: record.requestedPartitions,
  };
}
