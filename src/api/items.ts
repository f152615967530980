// What lies in storage, for operators: the endpoints of storage/*. Those under /v2 are the ones of /v1,
// and say more: when a scheduled item is due (clients of /v1 rely on replies without it, and on imports
// that ignore it, decision 13), what was imported, and what was deleted.

import { OK, reply } from "../codec/answer.ts";
import {
  type StorageItemSchema,
  StorageItemsDeleteRequestSchema,
  StorageItemsImportRequestSchema,
  StorageItemsImportResponseSchema,
  StorageItemsListRequestSchema,
  StorageItemsListResponseSchema,
} from "../codec/gen/querator/v1/storage_pb.ts";
import {
  StorageItemsDeleteResponseSchema as DeleteResponseV2,
  StorageItemsImportResponseSchema as ImportResponseV2,
} from "../codec/gen/querator/v2/storage_pb.ts";
import { type Decoded, ENTRIES_MAX } from "../codec/message.ts";
import { invalid } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import { ID_PATTERN, idError, type ListedItem } from "../queue/queue.ts";
import { byName, endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
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
import {
  count,
  EXAMPLE_ID,
  type FieldNote,
  ids,
  type Notes,
  PARTITION,
  QUEUE_NAME,
} from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import {
  checkListLimit,
  checkPartition,
  IMPORT_ATTEMPTS_MAX,
  LIST_LIMIT_DEFAULT,
} from "./validate.ts";

const IMPORT = 64_000_000;

type ImportRequest = Decoded<typeof StorageItemsImportRequestSchema>;
type ImportedItem = Decoded<typeof StorageItemSchema>;

const queue_name = "jobs";
const badAttempts = refusal("attempts is invalid; '-1' is not between 0 and 1000000000");

/** The endpoints. */
export function itemsEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf({
    name: "storage",
    about: "What lies in a partition, for operators.",
    fields: FIELDS,
  });

  // --- lists ---

  const list = {
    bodyBytesMax: MEDIUM,
    request: StorageItemsListRequestSchema,
    reply: StorageItemsListResponseSchema,
    permission: "read",
    queueOf: byName,
    example: { queue_name, partition: 0, limit: 10 },
    errors: { ...FOUND, noSuchPartition, negativeLimit, partitionFailing, ...QUEUED },
  } as const;

  const lister =
    (table: "items" | "scheduled", show: typeof toStorageItem) =>
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
      return reply(StorageItemsListResponseSchema, { items: items.map(show) });
    };

  // --- imports ---

  const importing = {
    bodyBytesMax: IMPORT,
    request: StorageItemsImportRequestSchema,
    permission: "manage",
    metric: "items.import",
    queueOf: byName,
  } as const;

  async function importItems(request: ImportRequest, dueAt: (item: ImportedItem) => number) {
    const { partition, items } = request;
    const queue = findQueue(service, request.queueName);
    checkPartition(partition, queue.partitionCount);
    if (items.length === 0) throw invalid("items is invalid; cannot be empty");
    for (const { attempts } of items) {
      if (attempts >= 0 && attempts <= IMPORT_ATTEMPTS_MAX) continue;
      throw invalid(
        `attempts is invalid; '${attempts}' is not between 0 and ${IMPORT_ATTEMPTS_MAX}`,
      );
    }
    if (items.some((item) => item.isLeased && dueAt(item) !== 0)) {
      throw invalid("enqueue_at is invalid; a leased item cannot be scheduled");
    }
    return await queue.import(
      partition,
      items.map((item) => ({
        sourceId: item.sourceId,
        isLeased: item.isLeased,
        leaseDeadline: Math.max(item.leaseDeadline, 0),
        expireAt: Math.max(item.expireDeadline, 0),
        dueAt: dueAt(item),
        attempts: item.attempts,
        maxAttempts: item.maxAttempts,
        record: toRecord(item),
      })),
    );
  }

  // --- deletions ---

  const deleting = {
    bodyBytesMax: MEDIUM,
    request: StorageItemsDeleteRequestSchema,
    permission: "manage",
    metric: "items.delete",
    queueOf: byName,
    example: { queue_name, partition: 0, ids: [EXAMPLE_ID] },
    errors: { ...FOUND, noSuchPartition, badId, partitionFailing, ...QUEUED },
  } as const;

  async function deleteItems(request: Decoded<typeof StorageItemsDeleteRequestSchema>) {
    const queue = findQueue(service, request.queueName);
    checkPartition(request.partition, queue.partitionCount);
    if (request.ids.length === 0) throw invalid("ids is invalid; cannot be empty");
    checkIds(request.ids);
    const ids = [...new Set(request.ids)];
    const unknown = await queue.delete(request.partition, ids);
    return { deleted: ids.length - unknown.length, unknown };
  }

  return [
    endpoint({
      ...list,
      path: "/v1/storage/items.list",
      metric: "items.list",
      summary: "Lists the items of a partition, from pivot on.",
      handler: lister("items", toStorageItem),
    }),
    endpoint({
      ...list,
      path: "/v1/storage/scheduled.list",
      metric: "scheduled.list",
      summary: "Lists the scheduled items of a partition, from pivot on.",
      handler: lister("scheduled", toStorageItem),
    }),
    endpoint({
      ...list,
      path: "/v2/storage/scheduled.list",
      metric: "scheduled.list",
      summary: "Lists scheduled items as /v1 does, and tells when they are due.",
      handler: lister("scheduled", toScheduledItem),
    }),
    endpoint({
      ...importing,
      path: "/v1/storage/items.import",
      reply: StorageItemsImportResponseSchema,
      summary: "Adds items to a partition as they are given.",
      example: { queue_name, partition: 0, items: [{ source_id: "a-1", payload: "aGVsbG8=" }] },
      errors: { ...FOUND, noSuchPartition, badAttempts, partitionFailing, ...QUEUED },
      handler: async (request) => {
        const results = await importItems(request, () => 0);
        return reply(StorageItemsImportResponseSchema, { items: results.map(toStorageItem) });
      },
    }),
    endpoint({
      ...importing,
      path: "/v2/storage/items.import",
      reply: ImportResponseV2,
      summary:
        "Adds items as /v1 does, and tells what became of each; those with a later enqueue_at are scheduled.",
      example: {
        queue_name,
        partition: 0,
        items: [{ source_id: "a-2", payload: "aGVsbG8=", enqueue_at: "2100-01-01T00:00:00Z" }],
      },
      errors: {
        ...FOUND,
        noSuchPartition,
        badAttempts,
        leasedAndScheduled: refusal("enqueue_at is invalid; a leased item cannot be scheduled"),
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request) => {
        const results = await importItems(request, (item) => Math.max(item.enqueueAt, 0));
        const statuses = results.map(({ status }) => status);
        return reply(ImportResponseV2, { items: results.map(toScheduledItem), statuses });
      },
    }),
    endpoint({
      ...deleting,
      path: "/v1/storage/items.delete",
      summary: "Deletes items of a partition, leased or not.",
      handler: async (request) => {
        await deleteItems(request);
        return OK;
      },
    }),
    endpoint({
      ...deleting,
      path: "/v2/storage/items.delete",
      reply: DeleteResponseV2,
      summary: "Deletes items of a partition, leased or not, and tells which of them were there.",
      handler: async (request) => reply(DeleteResponseV2, await deleteItems(request)),
    }),
  ];
}

function toScheduledItem(item: ListedItem): ReturnType<typeof toStorageItem> {
  return { ...toStorageItem(item), enqueueAt: item.dueAt };
}

function checkIds(ids: readonly string[]): void {
  for (const id of ids) {
    const error = idError(id);
    if (error !== undefined) throw error;
  }
}

const IMPORTED: FieldNote = {
  text: "As they are now, in the order of the request; in place of one whose source_id was there, the item that is.",
};

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
  StorageItemsImportResponse: { items: IMPORTED },
  "v2.StorageItemsImportResponse": {
    items: IMPORTED,
    statuses: {
      text: "What became of each, in the order of the request: created, scheduled, or duplicate if its source_id was there.",
      required: "reply",
      reply: { items: { type: "string", enum: ["created", "scheduled", "duplicate"] } },
    },
  },
  "v2.StorageItemsDeleteResponse": {
    deleted: count("How many items were there, and are deleted now."),
    unknown: {
      text: "The ids of which there is no item in this partition.",
      reply: { items: { type: "string", pattern: ID_PATTERN } },
    },
  },
  StorageItemsDeleteRequest: {
    queue_name: QUEUE_NAME,
    partition: PARTITION,
    ids: ids("The ids of items; unknown ones are passed over."),
  },
};
