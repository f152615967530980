// What lies in a queue, for operators: the endpoints of /v2/items.*. An item is shown, and can be imported
// again, as producers gave it, with what has become of it since.

import { reply } from "../codec/answer.ts";
import {
  type ItemSchema,
  ItemsDeleteRequestSchema,
  ItemsImportRequestSchema,
  ItemsImportResponseSchema,
  ItemsListRequestSchema,
  ItemsListResponseSchema,
} from "../codec/gen/querator/v2/items_pb.ts";
import { ResultsResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import { type Decoded, ENTRIES_MAX } from "../codec/message.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalidField, queueError } from "../errors.ts";
import {
  ENDED_STATES,
  ID_PATTERN,
  type ImportedItem,
  idError,
  LIVE_STATES,
  type QueueHandle,
} from "../queue/queue.ts";
import { ofQueue, someOf } from "./audited.ts";
import { DEAD_SOURCE_NOTES, readDeadSource, SOURCE } from "./dead-source.ts";
import { byName, endpointsOf, IMPORT, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { stableId, toRecordV2 } from "./item-records.ts";
import {
  checkOneOf,
  LISTED_STATES,
  LOOKED_AT_MAX,
  ORDERS,
  pageOf,
  readWanted,
} from "./items-list.ts";
import { badCursor, FOUND_V2, partitionFailing, problem, QUEUED } from "./openapi/errors.ts";
import {
  CURSOR,
  EXAMPLE_ID,
  ids,
  NEXT_CURSOR,
  type Notes,
  PARTITION,
  PAYLOAD,
  QUEUE_NAME,
} from "./openapi/fields.ts";
import { OWN_RETRY, readError, readOwnRetry } from "./policy.ts";
import { type Refused, resultsAnswer } from "./results.ts";
import { findQueue, type Service } from "./service.ts";
import { readTrace, TRACE } from "./trace.ts";
import {
  checkIdCount,
  checkImport,
  checkListLimit,
  checkPartition,
  IMPORT_ATTEMPTS_MAX,
  LIST_LIMIT_DEFAULT,
} from "./validate.ts";

const LIST_LIMIT_MAX = 10_000;

type ImportItem = Decoded<typeof ItemSchema>;

const queue_name = "jobs";

/** The endpoints. */
export function itemsEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf(
    {
      name: "items",
      about: "What lies in a queue, for operators.",
      fields: FIELDS,
    },
    service,
  );

  return [
    endpoint({
      path: "/v2/items.list",
      bodyBytesMax: MEDIUM,
      request: ItemsListRequestSchema,
      reply: ItemsListResponseSchema,
      permission: "item.read",
      metric: "items.list",
      queueOf: byName,
      summary:
        "Lists the items of a queue: what waits and what is leased, or those of a state, also of what has ended and is kept.",
      example: { queue_name, state: "waiting", limit: 10 },
      errors: {
        ...FOUND_V2,
        badState: problem(
          "invalid_field",
          `state is invalid; 'done' is none of ${LISTED_STATES.join(", ")}`,
          { field: "state" },
        ),
        badCursor,
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request, exchange) => {
        const queue = findQueue(service, request.queueName);
        const wanted = readWanted(request, service.clock.now());
        const { partition } = request;
        if (partition !== undefined) checkPartition(partition, queue.partitionCount);
        const limit = checkListLimit(request.limit, LIST_LIMIT_MAX);
        const page = await pageOf(queue, { ...request, limit }, wanted, exchange);
        return reply(ItemsListResponseSchema, page);
      },
    }),
    endpoint({
      path: "/v2/items.import",
      bodyBytesMax: IMPORT,
      request: ItemsImportRequestSchema,
      reply: ItemsImportResponseSchema,
      permission: "queue.produce",
      audit: "never",
      metric: "items.import",
      queueOf: byName,
      summary:
        "Adds items to a partition as they are given. One whose id or source_id is there, in that partition, is passed over.",
      example: {
        queue_name,
        items: [{ source_id: "a-2", utf8: "hello" }],
      },
      errors: {
        ...FOUND_V2,
        leasedAndScheduled: problem(
          "invalid_field",
          "enqueue_at is invalid; a leased item cannot be scheduled",
          { field: "items[0].enqueue_at" },
        ),
        partitionFailing,
        ...QUEUED,
      },
      handler: async ({ queueName, partition, items }, _, __, namespace) => {
        const queue = findQueue(service, queueName);
        checkPartition(partition, queue.partitionCount);
        checkImport(items);
        const now = service.clock.now();
        const longest = (): number => service.queues.record(queue.name).retryMaxDelay;
        const results = await queue.import(
          partition,
          items.map((item, i) => toImport(item, i, { longest, now, namespace })),
        );
        return reply(ItemsImportResponseSchema, {
          results: results.map((result) => ({ id: stableId(result), status: result.status })),
        });
      },
    }),
    endpoint({
      path: "/v2/items.delete",
      bodyBytesMax: MEDIUM,
      request: ItemsDeleteRequestSchema,
      reply: ResultsResponseSchema,
      permission: "queue.clear",
      audit: { target: ofQueue, changes: ({ ids }) => [{ field: "items", from: someOf(ids) }] },
      metric: "items.delete",
      queueOf: byName,
      summary: "Deletes items, whatever their state, and tells which of them were there.",
      example: { queue_name, ids: [EXAMPLE_ID] },
      errors: {
        ...FOUND_V2,
        noIds: problem("invalid_field", "ids is invalid; cannot be empty", { field: "ids" }),
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request) => {
        const queue = findQueue(service, request.queueName);
        checkIdCount(request.ids);
        return resultsAnswer(request.ids.length, await deleteItems(queue, request.ids));
      },
    }),
  ];
}

function toImport(
  item: ImportItem,
  index: number,
  {
    longest,
    now,
    namespace,
  }: { longest(): number; readonly now: number; readonly namespace: string },
): ImportedItem {
  const path = `items[${index}]`;
  // What was held or dead waits where it is imported.
  checkOneOf(item.state, `${path}.state`, LIVE_STATES);
  const isLeased = item.state === "leased";
  const dueAt = Math.max(item.enqueueAt, 0);
  if (isLeased && dueAt !== 0) {
    throw invalidField(
      `${path}.enqueue_at`,
      "enqueue_at is invalid; a leased item cannot be scheduled",
    );
  }
  const error = item.id === "" ? undefined : idError(item.id);
  if (error !== undefined) throw invalidField(`${path}.id`, error.detail);
  return {
    sourceId: item.sourceId,
    ...(item.id !== "" && { id: item.id }),
    isLeased,
    leaseDeadline: Math.max(item.leaseDeadline, 0),
    expireAt: Math.max(item.expireAt, 0),
    dueAt,
    attempts: item.attempts,
    maxAttempts: 0,
    retry: readOwnRetry(item, path, longest),
    error: readError(item.lastError),
    from: readDeadSource(item, path, { now, namespace }),
    trace: readTrace(item, path),
    record: toRecordV2(item, index),
  };
}

// An item that moved may lie in any partition; what is named twice was there once.
async function deleteItems(
  queue: QueueHandle,
  given: readonly string[],
): Promise<{ readonly refused: readonly Refused[] }> {
  const ids = [...new Set(given)].filter((id) => idError(id) === undefined);
  const there = new Set<string>();
  await Promise.all(
    Array.from({ length: queue.partitionCount }, async (_, partition) => {
      const unknown = new Set(await queue.delete(partition, ids, { moved: true }));
      for (const id of ids) if (!unknown.has(id)) there.add(id);
    }),
  );
  const refused: Refused[] = [];
  for (const [index, id] of given.entries()) {
    if (there.delete(id)) continue;
    refused.push({ index, error: idError(id) ?? queueError("item_not_found", { id }) });
  }
  return { refused };
}

// Of fields that are durations.
const AGE = {
  request: { pattern: DURATION_PATTERN },
  accepted: { pattern: `^$|${DURATION_PATTERN}` },
};

// What the fields of the messages mean.
const FIELDS: Notes = {
  ...DEAD_SOURCE_NOTES,
  Item: {
    id: {
      text: "What the item is. An import keeps it, or gives the item one if it is not given; one whose id is there, in the same partition, is passed over.",
      required: "reply",
      request: { pattern: ID_PATTERN },
      accepted: { pattern: `^$|${ID_PATTERN}` },
      reply: { pattern: ID_PATTERN },
    },
    state: {
      text: `Whether it is ${LIVE_STATES.join(", ")}; of one that has ended ${ENDED_STATES.join(", ")}. An import takes it as leased only if this says so, and nothing that has ended.`,
      required: "reply",
      request: { enum: LIVE_STATES },
      accepted: { enum: ["", ...LIVE_STATES] },
      reply: { enum: LISTED_STATES },
    },
    partition: {
      text: "Where it lies; the first partition is 0.",
      ignored: true,
      reply: { minimum: 0 },
    },
    created_at: { text: "When it was produced.", required: "reply", ignored: true },
    attempts: {
      text: "How often it has been leased.",
      request: { minimum: 0, maximum: IMPORT_ATTEMPTS_MAX },
      reply: { minimum: 0 },
    },
    lease_id: { text: "Of one that is leased: its lease.", ignored: true },
    lease_deadline: {
      text: "When its lease ends; in an import, by the queue's lease_timeout if it is not given.",
    },
    enqueue_at: { text: "Of one that is scheduled: when it becomes leasable." },
    expire_at: { text: "When it expires; by the queue's expire_timeout if it is not given." },
    source: SOURCE,
    source_id: {
      text: "Where it came from. An import passes over an item whose source_id is there.",
    },
    kind: { text: "As it was produced." },
    reference: { text: "As it was produced." },
    encoding: { text: "As it was produced." },
    headers: { text: "As it was produced." },
    ...PAYLOAD,
    queue_name: { text: "Of one that is named by its id: where it lies, or lay.", ignored: true },
    last_error: { text: "Why its last attempt failed, if its consumer has said so." },
    result: { text: "Of one that is completed: what came of the work.", ignored: true },
    progress: { text: "Of one that is leased: how far its holder says that it is.", ignored: true },
    unique_key: {
      text: "The unique key that it was produced with. What is imported has none.",
      ignored: true,
    },
    ended_at: { text: "When it ended.", ignored: true },
    cancelled: {
      text: "Of one that is leased: it was cancelled, and its holder is yet to learn it.",
      ignored: true,
    },
    ...OWN_RETRY,
    ...TRACE,
  },
  ItemsListRequest: {
    queue_name: QUEUE_NAME,
    state: {
      text: `Only those that are ${LISTED_STATES.join(", ")}; what waits and what is leased if it is not given.`,
      request: { enum: LISTED_STATES },
      accepted: { enum: ["", ...LISTED_STATES] },
    },
    kind: { text: "Only those of this kind." },
    reference: { text: "Only those with this reference." },
    error_type: { text: "Only those whose last attempt failed with an error of this type." },
    older_than: { ...AGE, text: "Only those that were produced so long ago, or longer." },
    newer_than: { ...AGE, text: "Only those that were produced so long ago, or less long." },
    order: {
      text: "In each partition oldest first, which is the default, or newest first: by their places in line, or by their ids if they have ended.",
      request: { enum: ORDERS },
      accepted: { enum: ["", ...ORDERS] },
    },
    partition: { ...PARTITION, text: "Only those of this partition; of all if it is not given." },
    limit: {
      text: `How many at most, up to ${LIST_LIMIT_MAX}; 0 means ${LIST_LIMIT_DEFAULT}.`,
      request: { minimum: 0, maximum: LIST_LIMIT_MAX },
    },
    cursor: CURSOR,
    payload: { text: "Whether payloads are wanted." },
  },
  ItemsListResponse: {
    items: {
      text: `By partition, and in each in the order in which they are leased. A page may hold fewer than were asked for, or none, and yet not be the last: one call looks at ${LOOKED_AT_MAX} items at most.`,
      required: "reply",
    },
    next_cursor: NEXT_CURSOR,
  },
  ItemsImportRequest: {
    queue_name: QUEUE_NAME,
    partition: PARTITION,
    items: {
      text: `The items, from 1 to ${ENTRIES_MAX}.`,
      required: "request",
      request: { minItems: 1, maxItems: ENTRIES_MAX },
    },
  },
  ItemsImportResponse: {
    results: { text: "In the order of the items.", required: "reply", reply: { minItems: 1 } },
  },
  ItemsImportResult: {
    id: {
      text: "Of the item; of the one that was there, if it is a duplicate.",
      required: "reply",
      reply: { pattern: ID_PATTERN },
    },
    status: {
      text: "created, scheduled, or duplicate if its id or source_id was there.",
      required: "reply",
      reply: { enum: ["created", "scheduled", "duplicate"] },
    },
  },
  ItemsDeleteRequest: { queue_name: QUEUE_NAME, ids: ids("The ids of the items.") },
};
