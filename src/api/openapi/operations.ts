// What the OpenAPI document says of each endpoint beyond its messages: a summary, an example that a
// test sends, the reply, and errors of its own. An endpoint without a row here is refused when the
// document is made. Holds data only.

import type { DescMessage } from "@bufbuild/protobuf";
import {
  QueueLeaseResponseSchema,
  QueueStatsResponseSchema,
} from "../../codec/gen/querator/v1/queue_pb.ts";
import {
  QueueInfoSchema,
  QueuesListResponseSchema,
} from "../../codec/gen/querator/v1/queues_pb.ts";
import {
  StorageItemsImportResponseSchema,
  StorageItemsListResponseSchema,
} from "../../codec/gen/querator/v1/storage_pb.ts";
import {
  QueueRetryResponseSchema as RetryResponseV2,
  QueueStatsResponseSchema as StatsResponseV2,
} from "../../codec/gen/querator/v2/queue_pb.ts";
import {
  StorageItemsDeleteResponseSchema as DeleteResponseV2,
  StorageItemsImportResponseSchema as ImportResponseV2,
} from "../../codec/gen/querator/v2/storage_pb.ts";
import { TIMESTAMP_PATTERN } from "../../codec/timestamp.ts";
import { DURATION_PATTERN } from "../../duration.ts";
import type { ErrorName } from "./errors.ts";

export interface Operation {
  readonly tag: "queue" | "queues" | "storage" | "dev";
  readonly summary: string;
  /** Fields that this call needs, and other calls with the same message do not. */
  readonly needs?: readonly string[];
  /** Fields that it does not look at, although other calls with the same message do. */
  readonly ignores?: readonly string[];
  /** Fields of which one must be true. */
  readonly needsOneOf?: readonly string[];
  /** Examples of errors that not every call can give. */
  readonly errors: readonly ErrorName[];
  readonly example: Readonly<Record<string, unknown>>;
  /** Only `{"code":200}` if it is not given. */
  readonly reply?: DescMessage;
  /** Of endpoints that know JSON only. */
  readonly schema?: Readonly<Record<string, unknown>>;
  readonly replySchema?: Readonly<Record<string, unknown>>;
}

const FOUND: readonly ErrorName[] = ["noSuchQueue", "noQueueName"];
const QUEUED: readonly ErrorName[] = ["queueShutdown", "internalRetry"];
const TIMED: readonly ErrorName[] = ["noTimeout", "badTimeout", "longTimeout"];

// Of what gives leases back under /v2.
const OF_LEASES: readonly ErrorName[] = [
  ...FOUND,
  "noSuchPartition",
  "badTimeout",
  "longTimeout",
  "shortTimeout",
  "noLeases",
  "atAndDelay",
  "badId",
  "noSuchId",
  "requestTimeout",
  "outcomeUnknown",
  "partitionFailing",
  ...QUEUED,
];

const queue_name = "jobs";
const ID = "3MYU1bRy3722FDmQTN000000001";
const SETTINGS = {
  queue_name,
  lease_timeout: "1m",
  expire_timeout: "24h",
  requested_partitions: 1,
};
const NAMED = {
  type: "object",
  additionalProperties: false,
  properties: { queue_name: { type: "string", description: "The queue." } },
  required: ["queue_name"],
};
const CLOCK = {
  type: "object",
  additionalProperties: false,
  properties: {
    advance: {
      type: "string",
      pattern: DURATION_PATTERN,
      description: "By how much time moves on; from then on it stands still.",
    },
    now: {
      type: "string",
      format: "date-time",
      pattern: TIMESTAMP_PATTERN,
      description: "What time it is to be, in place of advance; it stands still there.",
    },
    run: { type: "boolean", description: "Whether time then runs on." },
  },
};
const NOW = {
  type: "object",
  properties: {
    now: { type: "string", format: "date-time", description: "What time it is for the server." },
  },
  required: ["now"],
};

/** By path. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  "/v1/queue.produce": {
    tag: "queue",
    summary: "Puts items into a queue; answers when they are stored.",
    example: { queue_name, request_timeout: "1m", items: [{ kind: "mail", utf8: "hello" }] },
    errors: [
      ...FOUND,
      ...TIMED,
      "shortTimeout",
      "noItems",
      "requestTimeout",
      "outcomeUnknown",
      ...QUEUED,
    ],
  },
  "/v1/queue.lease": {
    tag: "queue",
    summary: "Leases items to a client; waits for some until request_timeout.",
    example: { queue_name, request_timeout: "1m", client_id: "worker-1", batch_size: 1 },
    reply: QueueLeaseResponseSchema,
    errors: [
      ...FOUND,
      "noClientId",
      "noBatchSize",
      ...TIMED,
      "shortTimeout",
      "duplicateClientId",
      "leaseTimeout",
      "outcomeUnknown",
      ...QUEUED,
    ],
  },
  "/v1/queue.complete": {
    tag: "queue",
    summary: "Ends leases: the work is done. All ids of a request, or none.",
    example: { queue_name, request_timeout: "1m", partition: 0, ids: [ID] },
    errors: [
      ...FOUND,
      "noSuchPartition",
      ...TIMED,
      "noIds",
      "badId",
      "noSuchId",
      "requestTimeout",
      "outcomeUnknown",
      "partitionFailing",
      ...QUEUED,
    ],
  },
  "/v1/queue.retry": {
    tag: "queue",
    summary: "Ends leases: the work is to be tried again, later, or never (dead).",
    example: { queue_name, partition: 0, items: [{ id: ID }] },
    errors: [
      ...FOUND,
      "noSuchPartition",
      "badId",
      "noSuchId",
      "requestTimeout",
      "outcomeUnknown",
      "partitionFailing",
      ...QUEUED,
    ],
  },
  "/v2/queue.retry": {
    tag: "queue",
    summary: "Ends leases as /v1 does, and tells which items will not be tried again.",
    example: { queue_name, partition: 0, leases: [{ lease_id: ID }] },
    reply: RetryResponseV2,
    errors: OF_LEASES,
  },
  "/v1/queue.stats": {
    tag: "queue",
    summary: "Counts what is in a queue and what waits for it.",
    example: { queue_name },
    reply: QueueStatsResponseSchema,
    errors: FOUND,
  },
  "/v2/queue.release": {
    tag: "queue",
    summary:
      "Gives leased items back as if they had not been leased: it does not count as an attempt.",
    example: { queue_name, partition: 0, leases: [{ lease_id: ID }] },
    errors: OF_LEASES,
  },
  "/v2/queue.stats": {
    tag: "queue",
    summary: "Counts as /v1 does, and tells what was deleted without having been completed.",
    example: { queue_name },
    reply: StatsResponseV2,
    errors: FOUND,
  },
  "/v1/queue.clear": {
    tag: "queue",
    summary: "Removes the items of a queue, the scheduled ones, or both.",
    example: { queue_name, queue: true },
    needsOneOf: ["queue", "scheduled"],
    errors: [...FOUND, "nothingToClear", "partitionFailing", ...QUEUED],
  },
  "/v1/queue.reload": {
    tag: "queue",
    summary: "Reads a queue from its storage again.",
    example: { queue_name },
    errors: [...FOUND, ...QUEUED],
  },
  "/v1/queues.create": {
    tag: "queues",
    summary: "Creates a queue.",
    example: SETTINGS,
    needs: ["lease_timeout", "expire_timeout", "requested_partitions"],
    errors: [
      "noQueueName",
      "spaceInQueueName",
      "queueExists",
      "noDeadQueue",
      "longLease",
      "noNamespace",
      "internalRetry",
    ],
  },
  "/v1/queues.update": {
    tag: "queues",
    summary:
      "Changes the settings of a queue; max_attempts, reference and dead_queue also if they are not given.",
    ignores: ["namespace"],
    example: { ...SETTINGS, lease_timeout: "2m" },
    errors: [...FOUND, "spaceInQueueName", "noDeadQueue", "longLease", "internalRetry"],
  },
  "/v1/queues.list": {
    tag: "queues",
    summary: "Lists queues by name, from pivot on.",
    example: { limit: 10 },
    reply: QueuesListResponseSchema,
    errors: ["negativeLimit"],
  },
  "/v1/queues.info": {
    tag: "queues",
    summary: "Shows the settings of a queue.",
    example: { queue_name },
    reply: QueueInfoSchema,
    errors: FOUND,
  },
  "/v1/queues.delete": {
    tag: "queues",
    summary: "Deletes a queue with its items.",
    example: { queue_name, force: true },
    errors: [...FOUND, "spaceInQueueName", "queueServes", "internalRetry"],
  },
  "/v1/storage/items.list": {
    tag: "storage",
    summary: "Lists the items of a partition, from pivot on.",
    example: { queue_name, partition: 0, limit: 10 },
    reply: StorageItemsListResponseSchema,
    errors: [...FOUND, "noSuchPartition", "negativeLimit", "partitionFailing", ...QUEUED],
  },
  "/v1/storage/scheduled.list": {
    tag: "storage",
    summary: "Lists the scheduled items of a partition, from pivot on.",
    example: { queue_name, partition: 0, limit: 10 },
    reply: StorageItemsListResponseSchema,
    errors: [...FOUND, "noSuchPartition", "negativeLimit", "partitionFailing", ...QUEUED],
  },
  "/v1/storage/items.import": {
    tag: "storage",
    summary: "Adds items to a partition as they are given.",
    example: { queue_name, partition: 0, items: [{ source_id: "a-1", payload: "aGVsbG8=" }] },
    reply: StorageItemsImportResponseSchema,
    errors: [...FOUND, "noSuchPartition", "badAttempts", "partitionFailing", ...QUEUED],
  },
  "/v2/storage/scheduled.list": {
    tag: "storage",
    summary: "Lists scheduled items as /v1 does, and tells when they are due.",
    example: { queue_name, partition: 0, limit: 10 },
    reply: StorageItemsListResponseSchema,
    errors: [...FOUND, "noSuchPartition", "negativeLimit", "partitionFailing", ...QUEUED],
  },
  "/v2/storage/items.import": {
    tag: "storage",
    summary:
      "Adds items as /v1 does, and tells what became of each; those with a later enqueue_at are scheduled.",
    example: {
      queue_name,
      partition: 0,
      items: [{ source_id: "a-2", payload: "aGVsbG8=", enqueue_at: "2100-01-01T00:00:00Z" }],
    },
    reply: ImportResponseV2,
    errors: [
      ...FOUND,
      "noSuchPartition",
      "badAttempts",
      "leasedAndScheduled",
      "partitionFailing",
      ...QUEUED,
    ],
  },
  "/v1/storage/items.delete": {
    tag: "storage",
    summary: "Deletes items of a partition, leased or not.",
    example: { queue_name, partition: 0, ids: [ID] },
    errors: [...FOUND, "noSuchPartition", "badId", "partitionFailing", ...QUEUED],
  },
  "/v2/storage/items.delete": {
    tag: "storage",
    summary: "Deletes items of a partition, leased or not, and tells which of them were there.",
    example: { queue_name, partition: 0, ids: [ID] },
    reply: DeleteResponseV2,
    errors: [...FOUND, "noSuchPartition", "badId", "partitionFailing", ...QUEUED],
  },
  "/v1/dev.clock": {
    tag: "dev",
    summary: "Changes what time it is for the server.",
    example: { advance: "5m" },
    schema: CLOCK,
    replySchema: NOW,
    errors: ["twoTimes"],
  },
  "/v1/dev.pause": {
    tag: "dev",
    summary: "Holds the loop of a queue.",
    example: { queue_name },
    schema: NAMED,
    errors: ["noSuchQueue"],
  },
  "/v1/dev.resume": {
    tag: "dev",
    summary: "Lets the loop of a queue go on.",
    example: { queue_name },
    schema: NAMED,
    errors: ["noSuchQueue"],
  },
};
