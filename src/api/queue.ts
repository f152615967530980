// The work with one queue: the endpoints of queue.*. Those of /v1 are a dialect of those of /v2: the same is
// done, less of it can be said. What is hot has files of its own beside this one.

import { DONE, OK, reply } from "../codec/answer.ts";
import {
  QueueClearRequestSchema,
  QueueReloadRequestSchema,
  QueueStatsRequestSchema,
  QueueStatsResponseSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import {
  QueueClearRequestSchema as ClearRequestV2,
  type QueueStatsOfOneSchema,
  QueueReloadRequestSchema as ReloadRequestV2,
  QueueStatsRequestSchema as StatsRequestV2,
  QueueStatsResponseSchema as StatsResponseV2,
} from "../codec/gen/querator/v2/queue_pb.ts";
import { DoneResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { invalidField, QueueError } from "../errors.ts";
import type { ClearOptions, QueueHandle } from "../queue/queue.ts";
import { nameOf } from "../registry/names.ts";
import { given, ofQueue } from "./audited.ts";
import { DEAD_NOTES, deadEndpoints } from "./dead.ts";
import { endingEndpoints, endingNotes } from "./endings.ts";
import { byName, endpointsOf, MEDIUM, type RowEndpoint, SMALL } from "./endpoint.ts";
import { leaseEndpoints, leaseNotes } from "./lease.ts";
import { FOUND, FOUND_V2, partitionFailing, problem, QUEUED, refusal } from "./openapi/errors.ts";
import { type Notes, QUEUE_NAME } from "./openapi/fields.ts";
import { produceEndpoints, produceNotes } from "./produce.ts";
import { DONE_NOTES, RESULTS_NOTES } from "./results.ts";
import { findQueue, type Service } from "./service.ts";
import { logicalStats, logicalStatsV2, STATS_NOTES, STATS_QUEUES_MAX, totalsOf } from "./stats.ts";

const queue_name = "jobs";

/** The endpoints. */
export function queueEndpoints(service: Service): readonly RowEndpoint[] {
  const { limits, clock } = service;
  const endpoint = endpointsOf(
    {
      name: "queue",
      about: "The work with one queue.",
      fields: {
        ...produceNotes(limits),
        ...leaseNotes(limits),
        ...endingNotes(limits),
        ...RESULTS_NOTES,
        ...DONE_NOTES,
        ...STATS_NOTES,
        ...DEAD_NOTES,
        ...NOTES,
      },
    },
    service,
  );
  const find = (name: string): QueueHandle => findQueue(service, name);

  const stats = {
    permission: "queue.stats",
    metric: "stats",
    queueOf: byName,
    example: { queue_name },
  } as const;
  const clearing = {
    permission: "queue.clear",
    metric: "clear",
    audit: {
      target: ofQueue,
      changes: ({ queue, scheduled, destructive }: ClearOptions) =>
        given({ queue, scheduled, destructive }),
    },
    queueOf: byName,
    summary: "Removes the items of a queue, the scheduled ones, or both.",
    example: { queue_name, queue: true },
    needsOneOf: ["queue", "scheduled"],
  } as const;
  const reloading = {
    permission: "queue.update",
    audit: "never", // nothing is another afterwards
    metric: "reload",
    queueOf: byName,
    summary: "Reads a queue from its storage again.",
    example: { queue_name },
  } as const;

  async function clear(request: ClearOptions & { readonly queueName: string }): Promise<void> {
    const queue = find(request.queueName);
    if (!request.queue && !request.scheduled) throw invalidField("queue", NOTHING_TO_CLEAR);
    await queue.clear(request);
  }

  async function statsOf(queueName: string): Promise<Encodable<typeof QueueStatsOfOneSchema>> {
    const stats = await find(queueName).stats();
    const totals = totalsOf(stats, clock.now());
    return { queueName: nameOf(queueName), logicalQueues: [logicalStatsV2(stats)], totals };
  }

  // One queue that is not there keeps nothing of the others back.
  async function statsOrWhyNot(
    queueName: string,
  ): Promise<Encodable<typeof QueueStatsOfOneSchema>> {
    try {
      return await statsOf(queueName);
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      return { queueName: nameOf(queueName), code: error.code, detail: error.detail };
    }
  }

  return [
    ...produceEndpoints(service, endpoint),
    ...leaseEndpoints(service, endpoint),
    ...endingEndpoints(service, endpoint),
    ...deadEndpoints(service, endpoint),

    // --- the queue as a whole ---
    endpoint({
      ...stats,
      path: "/v1/queue.stats",
      bodyBytesMax: SMALL,
      request: QueueStatsRequestSchema,
      reply: QueueStatsResponseSchema,
      errors: FOUND,
      summary: "Counts what is in a queue and what waits for it.",
      handler: async ({ queueName }) => {
        const logicalQueues = [logicalStats(await find(queueName).stats())];
        return reply(QueueStatsResponseSchema, { queueName: nameOf(queueName), logicalQueues });
      },
    }),
    endpoint({
      ...stats,
      path: "/v2/queue.stats",
      bodyBytesMax: MEDIUM,
      request: StatsRequestV2,
      reply: StatsResponseV2,
      errors: FOUND_V2,
      summary:
        "Counts what is in a queue, or in several, what waits for it, and what has become of its items.",
      handler: async ({ queueName, queueNames }) => {
        if (queueNames.length === 0) {
          return reply(StatsResponseV2, await statsOf(queueName));
        }
        service.checkRunning();
        checkStatsNames(queueName, queueNames);
        return reply(StatsResponseV2, { queues: await Promise.all(queueNames.map(statsOrWhyNot)) });
      },
    }),
    endpoint({
      ...clearing,
      path: "/v1/queue.clear",
      bodyBytesMax: SMALL,
      request: QueueClearRequestSchema,
      errors: {
        ...FOUND,
        nothingToClear: refusal(NOTHING_TO_CLEAR),
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request) => {
        await clear(request);
        return OK;
      },
    }),
    endpoint({
      ...clearing,
      path: "/v2/queue.clear",
      bodyBytesMax: MEDIUM,
      request: ClearRequestV2,
      reply: DoneResponseSchema,
      errors: {
        ...FOUND_V2,
        nothingToClear: problem("invalid_field", NOTHING_TO_CLEAR, { field: "queue" }),
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request) => {
        await clear(request);
        return DONE;
      },
    }),
    endpoint({
      ...reloading,
      path: "/v1/queue.reload",
      bodyBytesMax: SMALL,
      request: QueueReloadRequestSchema,
      errors: { ...FOUND, ...QUEUED },
      handler: async ({ queueName }) => {
        await find(queueName).reload();
        return OK;
      },
    }),
    endpoint({
      ...reloading,
      path: "/v2/queue.reload",
      bodyBytesMax: MEDIUM,
      request: ReloadRequestV2,
      reply: DoneResponseSchema,
      errors: { ...FOUND_V2, ...QUEUED },
      handler: async ({ queueName }) => {
        await find(queueName).reload();
        return DONE;
      },
    }),
  ];
}

function checkStatsNames(queueName: string, queueNames: readonly string[]): void {
  if (queueName !== "") throw invalidField("queue_names", NAMES_TWICE);
  if (queueNames.length > STATS_QUEUES_MAX) {
    const text = `queue_names is invalid; max number of queues is ${STATS_QUEUES_MAX}`;
    throw invalidField("queue_names", text);
  }
  const empty = queueNames.indexOf("");
  if (empty !== -1) throw invalidField(`queue_names[${empty}]`, NO_NAME);
}

const NO_NAME = "queue name is invalid; queue name cannot be empty";
const NAMES_TWICE = "queue_names is invalid; give queue_name or queue_names, not both";
const NOTHING_TO_CLEAR = "invalid clear request; one of 'queue', 'scheduled' must be true";

// What the fields of the messages mean, those of the files beside this one not.
const NOTES: Notes = {
  QueueClearRequest: {
    queue_name: QUEUE_NAME,
    scheduled: { text: "Removes scheduled items. This or queue must be true." },
    queue: { text: "Removes items that wait. This or scheduled must be true." },
    destructive: { text: "With queue: removes leased items too." },
  },
  QueueReloadRequest: { queue_name: QUEUE_NAME },
  QueueStatsRequest: { queue_name: QUEUE_NAME },
};
