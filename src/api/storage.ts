// What lies in storage, for operators, as /v1 has it: the endpoints of storage/*. Replies do not tell when
// a scheduled item is due, and imports do not look at it (decision 13): items.ts has that of /v2.

import { OK, reply } from "../codec/answer.ts";
import {
  StorageItemsDeleteRequestSchema,
  StorageItemsImportRequestSchema,
  StorageItemsImportResponseSchema,
  StorageItemsListRequestSchema,
  StorageItemsListResponseSchema,
} from "../codec/gen/querator/v1/storage_pb.ts";
import { type Decoded, ENTRIES_MAX } from "../codec/message.ts";
import type { Exchange } from "../http/edge.ts";
import { ID_PATTERN, idError } from "../queue/queue.ts";
import { ofQueue, someOf } from "./audited.ts";
import { byName, endpointsOf, IMPORT, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { toRecord, toStorageItem } from "./item-records.ts";
import {
  badId,
  FOUND,
  negativeLimit,
  noSuchPartition,
  partitionFailing,
  QUEUED,
  refusal,
} from "./openapi/errors.ts";
import { EXAMPLE_ID, ids, type Notes, PARTITION, QUEUE_NAME } from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import {
  checkIdCount,
  checkImport,
  checkListLimit,
  checkPartition,
  IMPORT_ATTEMPTS_MAX,
  LIST_LIMIT_DEFAULT,
} from "./validate.ts";

const queue_name = "jobs";
const badAttempts = refusal("attempts is invalid; '-1' is not between 0 and 1000000000");

/** The endpoints. */
export function storageEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf(
    {
      name: "storage",
      about: "What lies in a partition, for operators.",
      fields: FIELDS,
    },
    service,
  );

  // --- lists ---

  const list = {
    bodyBytesMax: MEDIUM,
    request: StorageItemsListRequestSchema,
    reply: StorageItemsListResponseSchema,
    permission: "queue.stats",
    queueOf: byName,
    example: { queue_name, partition: 0, limit: 10 },
    errors: { ...FOUND, noSuchPartition, negativeLimit, partitionFailing, ...QUEUED },
  } as const;

  const lister =
    (table: "items" | "scheduled") =>
    async (request: Decoded<typeof StorageItemsListRequestSchema>, exchange: Exchange) => {
      const queue = findQueue(service, request.queueName);
      checkPartition(request.partition, queue.partitionCount);
      const { pivot } = request;
      if (pivot !== "") checkIds([pivot]);
      const limit = checkListLimit(request.limit);
      const items = await queue.list(request.partition, {
        table,
        pivot,
        limit,
        isGone: () => exchange.isGone(),
      });
      return reply(StorageItemsListResponseSchema, { items: items.map(toStorageItem) });
    };

  return [
    endpoint({
      ...list,
      path: "/v1/storage/items.list",
      metric: "items.list",
      summary: "Lists the items of a partition, from pivot on.",
      handler: lister("items"),
    }),
    endpoint({
      ...list,
      path: "/v1/storage/scheduled.list",
      metric: "scheduled.list",
      summary: "Lists the scheduled items of a partition, from pivot on.",
      handler: lister("scheduled"),
    }),
    endpoint({
      path: "/v1/storage/items.import",
      bodyBytesMax: IMPORT,
      request: StorageItemsImportRequestSchema,
      reply: StorageItemsImportResponseSchema,
      permission: "queue.produce",
      audit: "never",
      metric: "items.import",
      queueOf: byName,
      summary: "Adds items to a partition as they are given.",
      example: { queue_name, partition: 0, items: [{ source_id: "a-1", payload: "aGVsbG8=" }] },
      errors: { ...FOUND, noSuchPartition, badAttempts, partitionFailing, ...QUEUED },
      handler: async (request) => {
        const { partition, items } = request;
        const queue = findQueue(service, request.queueName);
        checkPartition(partition, queue.partitionCount);
        checkImport(items);
        const results = await queue.import(
          partition,
          items.map((item) => ({
            sourceId: item.sourceId,
            isLeased: item.isLeased,
            leaseDeadline: Math.max(item.leaseDeadline, 0),
            expireAt: Math.max(item.expireDeadline, 0),
            dueAt: 0,
            attempts: item.attempts,
            maxAttempts: item.maxAttempts,
            record: toRecord(item),
          })),
        );
        return reply(StorageItemsImportResponseSchema, { items: results.map(toStorageItem) });
      },
    }),
    endpoint({
      path: "/v1/storage/items.delete",
      bodyBytesMax: MEDIUM,
      request: StorageItemsDeleteRequestSchema,
      permission: "queue.clear",
      audit: { target: ofQueue, changes: ({ ids }) => [{ field: "items", from: someOf(ids) }] },
      metric: "items.delete",
      queueOf: byName,
      summary: "Deletes items of a partition, leased or not.",
      example: { queue_name, partition: 0, ids: [EXAMPLE_ID] },
      errors: { ...FOUND, noSuchPartition, badId, partitionFailing, ...QUEUED },
      handler: async ({ queueName, partition, ids }) => {
        const queue = findQueue(service, queueName);
        checkPartition(partition, queue.partitionCount);
        checkIdCount(ids);
        checkIds(ids);
        await queue.delete(partition, [...new Set(ids)]);
        return OK;
      },
    }),
  ];
}

function checkIds(ids: readonly string[]): void {
  for (const id of ids) {
    const error = idError(id);
    if (error !== undefined) throw error;
  }
}

// What the fields of the messages mean.
const FIELDS: Notes = {
  StorageItem: {
    id: { text: "Names the item.", ignored: true },
    source_id: {
      text: "Where it came from. An import passes over an item whose source_id is there.",
    },
    is_leased: { text: "Whether it is leased." },
    lease_deadline: { text: "When its lease ends; year 1 if it has none." },
    expire_deadline: { text: "When it expires; by the queue's expire_timeout if not given." },
    dead_deadline: { text: "Not used in this version.", ignored: true },
    created_at: { text: "When it was produced.", ignored: true },
    updated_at: { text: "Not used in this version.", ignored: true },
    enqueue_at: {
      text: "When a scheduled item becomes leasable. Only under /v2; elsewhere never there, and ignored in an import.",
    },
    attempts: {
      text: "How often it has been leased.",
      request: { minimum: 0, maximum: IMPORT_ATTEMPTS_MAX },
      reply: { minimum: 0 },
    },
    max_attempts: { text: "Kept as it was imported; that of the queue counts." },
    reference: { text: "As it was produced." },
    encoding: { text: "As it was produced." },
    kind: { text: "As it was produced." },
    payload: { text: "The payload, in base64." },
  },
  StorageItemsListRequest: {
    queue_name: QUEUE_NAME,
    partition: PARTITION,
    pivot: {
      text: "The first id to list, or the next one after it; from the start if it is empty.",
      request: { pattern: ID_PATTERN },
      accepted: { pattern: `^$|${ID_PATTERN}` },
    },
    limit: {
      text: `How many at most; 0 means ${LIST_LIMIT_DEFAULT}.`,
      request: { minimum: 0 },
    },
  },
  StorageItemsListResponse: { items: { text: "In order of their ids." } },
  StorageItemsImportRequest: {
    queue_name: QUEUE_NAME,
    partition: PARTITION,
    items: {
      text: `The items, from 1 to ${ENTRIES_MAX}.`,
      required: "request",
      request: { minItems: 1, maxItems: ENTRIES_MAX },
    },
  },
  StorageItemsImportResponse: {
    items: {
      text: "As they are now, in the order of the request; in place of one whose source_id was there, the item that is.",
    },
  },
  StorageItemsDeleteRequest: {
    queue_name: QUEUE_NAME,
    partition: PARTITION,
    ids: ids("The ids of items; unknown ones are passed over."),
  },
};
