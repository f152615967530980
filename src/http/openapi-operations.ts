// What the OpenAPI document says of each endpoint beyond its messages: a summary, the fields that
// must be given, an example that a test sends, and the reply. An endpoint without a row here is
// refused when the document is made. Holds data only.

import type { DescMessage } from "@bufbuild/protobuf";
import { QueueLeaseResponseSchema, QueueStatsResponseSchema } from "./gen/querator/v1/queue_pb.ts";
import { QueueInfoSchema, QueuesListResponseSchema } from "./gen/querator/v1/queues_pb.ts";
import {
  StorageItemsImportResponseSchema,
  StorageItemsListResponseSchema,
} from "./gen/querator/v1/storage_pb.ts";

export interface Operation {
  readonly tag: "queue" | "queues" | "storage" | "dev";
  readonly summary: string;
  /** Fields without which the request is refused, by their names in JSON. */
  readonly required?: readonly string[];
  readonly example: Readonly<Record<string, unknown>>;
  /** Only `{"code":200}` if it is not given. */
  readonly reply?: DescMessage;
  /** Of endpoints that know JSON only. */
  readonly schema?: Readonly<Record<string, unknown>>;
  readonly replySchema?: Readonly<Record<string, unknown>>;
}

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
  properties: { queue_name: { type: "string" } },
  required: ["queue_name"],
};
const CLOCK = {
  type: "object",
  additionalProperties: false,
  properties: {
    advance: { type: "string" },
    now: { type: "string", format: "date-time" },
    run: { type: "boolean" },
  },
};
const NOW = { type: "object", properties: { now: { type: "string", format: "date-time" } } };

/** By path. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  "/v1/queue.produce": {
    tag: "queue",
    summary: "Puts items into a queue; answers when they are stored.",
    required: ["queue_name", "request_timeout", "items"],
    example: { queue_name, request_timeout: "1m", items: [{ kind: "mail", utf8: "hello" }] },
  },
  "/v1/queue.lease": {
    tag: "queue",
    summary: "Leases items to a client; waits for some until request_timeout.",
    required: ["queue_name", "request_timeout", "client_id", "batch_size"],
    example: { queue_name, request_timeout: "1m", client_id: "worker-1", batch_size: 10 },
    reply: QueueLeaseResponseSchema,
  },
  "/v1/queue.complete": {
    tag: "queue",
    summary: "Ends leases: the work is done. All ids of a request, or none.",
    required: ["queue_name", "request_timeout", "ids"],
    example: { queue_name, request_timeout: "1m", partition: 0, ids: [ID] },
  },
  "/v1/queue.retry": {
    tag: "queue",
    summary: "Ends leases: the work is to be tried again, later, or never (dead).",
    required: ["queue_name", "items"],
    example: { queue_name, partition: 0, items: [{ id: ID }] },
  },
  "/v1/queue.stats": {
    tag: "queue",
    summary: "Counts what is in a queue and what waits for it.",
    required: ["queue_name"],
    example: { queue_name },
    reply: QueueStatsResponseSchema,
  },
  "/v1/queue.clear": {
    tag: "queue",
    summary: "Removes the items of a queue, the scheduled ones, or both.",
    required: ["queue_name"],
    example: { queue_name, queue: true },
  },
  "/v1/queue.reload": {
    tag: "queue",
    summary: "Reads a queue from its storage again.",
    required: ["queue_name"],
    example: { queue_name },
  },
  "/v1/queues.create": {
    tag: "queues",
    summary: "Creates a queue.",
    required: ["queue_name", "requested_partitions"],
    example: SETTINGS,
  },
  "/v1/queues.update": {
    tag: "queues",
    summary: "Changes the settings of a queue.",
    required: ["queue_name"],
    example: { ...SETTINGS, lease_timeout: "2m" },
  },
  "/v1/queues.list": {
    tag: "queues",
    summary: "Lists queues by name, from pivot on.",
    example: { limit: 10 },
    reply: QueuesListResponseSchema,
  },
  "/v1/queues.info": {
    tag: "queues",
    summary: "Shows the settings of a queue.",
    required: ["queue_name"],
    example: { queue_name },
    reply: QueueInfoSchema,
  },
  "/v1/queues.delete": {
    tag: "queues",
    summary: "Deletes a queue with its items.",
    required: ["queue_name"],
    example: { queue_name, force: true },
  },
  "/v1/storage/items.list": {
    tag: "storage",
    summary: "Lists the items of a partition, from pivot on.",
    required: ["queue_name"],
    example: { queue_name, partition: 0, limit: 10 },
    reply: StorageItemsListResponseSchema,
  },
  "/v1/storage/scheduled.list": {
    tag: "storage",
    summary: "Lists the scheduled items of a partition, from pivot on.",
    required: ["queue_name"],
    example: { queue_name, partition: 0, limit: 10 },
    reply: StorageItemsListResponseSchema,
  },
  "/v1/storage/items.import": {
    tag: "storage",
    summary: "Adds items to a partition as they are given.",
    required: ["queue_name", "items"],
    example: { queue_name, partition: 0, items: [{ source_id: "a-1", payload: "aGVsbG8=" }] },
    reply: StorageItemsImportResponseSchema,
  },
  "/v1/storage/items.delete": {
    tag: "storage",
    summary: "Deletes items of a partition, leased or not.",
    required: ["queue_name", "ids"],
    example: { queue_name, partition: 0, ids: [ID] },
  },
  "/v1/dev.clock": {
    tag: "dev",
    summary: "Changes what time it is for the server.",
    example: { advance: "5m" },
    schema: CLOCK,
    replySchema: NOW,
  },
  "/v1/dev.pause": {
    tag: "dev",
    summary: "Holds the loop of a queue.",
    example: { queue_name },
    schema: NAMED,
  },
  "/v1/dev.resume": {
    tag: "dev",
    summary: "Lets the loop of a queue go on.",
    example: { queue_name },
    schema: NAMED,
  },
};
