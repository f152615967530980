// What dead queues hold, and the way out of them: queue.dead_groups, queue.redrive and redrives.*. Where an
// item has died is told of it wherever it is shown.

import { reply } from "../codec/answer.ts";
import {
  QueueDeadGroupsRequestSchema,
  QueueDeadGroupsResponseSchema,
  QueueRedriveRequestSchema,
  RedriveRequestSchema,
  RedriveSchema,
  RedrivesListRequestSchema,
  RedrivesListResponseSchema,
} from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalidField } from "../errors.ts";
import {
  DEAD_LOOKED_AT_MAX,
  ID_PATTERN,
  idError,
  type QueueHandle,
  type RedriveInfo,
  type RedriveOptions,
} from "../queue/queue.ts";
import { nameOf } from "../registry/names.ts";
import { readDuration } from "../registry/settings.ts";
import { given, ofQueue, someOf } from "./audited.ts";
import { DEAD_SOURCE_NOTES } from "./dead-source.ts";
import { byName, endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { checkAges } from "./items-list.ts";
import { FOUND_V2, partitionFailing, problem, QUEUED } from "./openapi/errors.ts";
import { count, type FieldNote, type Notes, QUEUE_NAME } from "./openapi/fields.ts";
import { findOtherQueue, findQueue, type Service } from "./service.ts";

const GROUPS_DEFAULT = 100;
const GROUPS_MAX = 1_000;
const IDS_MAX = 1_000;
const RATE_MAX = 1_000_000;
const NO_ID = "id is invalid; cannot be empty";
const STATES = ["running", "done", "stopped", "cancelled"] as const;

const queue_name = "jobs";
const EXAMPLE_REDRIVE = "0hp0d4yqpl4-5f1c9a02";

/** Those of queue.*. */
export function deadEndpoints(
  service: Service,
  endpoint: ReturnType<typeof endpointsOf>,
): readonly RowEndpoint[] {
  return [
    endpoint({
      path: "/v2/queue.dead_groups",
      bodyBytesMax: MEDIUM,
      request: QueueDeadGroupsRequestSchema,
      reply: QueueDeadGroupsResponseSchema,
      permission: "item.read",
      metric: "dead_groups",
      queueOf: byName,
      summary: "Groups what lies in a dead queue by what it died of.",
      example: { queue_name },
      errors: {
        ...FOUND_V2,
        manyGroups: problem(
          "invalid_field",
          `limit is invalid; cannot be greater than ${GROUPS_MAX}`,
          { field: "limit" },
        ),
        partitionFailing,
        ...QUEUED,
      },
      handler: async ({ queueName, limit }) => {
        const queue = findQueue(service, queueName);
        checkBetween("limit", limit, GROUPS_MAX);
        const found = await queue.deadGroups(limit === 0 ? GROUPS_DEFAULT : limit);
        const groups = found.groups.map(({ sourceQueue, ...rest }) => ({
          ...rest,
          sourceQueue: nameOf(sourceQueue),
        }));
        return reply(QueueDeadGroupsResponseSchema, { ...found, groups });
      },
    }),
    endpoint({
      path: "/v2/queue.redrive",
      bodyBytesMax: MEDIUM,
      request: QueueRedriveRequestSchema,
      reply: RedriveSchema,
      permission: "queue.redrive",
      audit: {
        target: ofQueue,
        changes: ({ to, ids, queueName: _, dryRun: __, ...rest }) =>
          given({ to: nameOf(to), ids: ids.length === 0 ? "" : someOf(ids), ...rest }),
        isTrial: ({ dryRun }) => dryRun,
      },
      metric: "redrive",
      queueOf: byName,
      summary: "Begins to move items out of a dead queue, back to where they came from.",
      description:
        "It goes on by itself, in steps, also after a restart: redrives.info tells how far it is. Items keep their id, and their attempts begin anew.",
      example: { queue_name, dry_run: true },
      errors: {
        ...FOUND_V2,
        sameQueue: problem("invalid_field", sameQueue(queue_name), { field: "to" }),
        badRatio: problem(
          "invalid_field",
          "stop_at_failure_ratio is invalid; '2' is not between 0 and 1",
          { field: "stop_at_failure_ratio" },
        ),
        partitionFailing,
        ...QUEUED,
      },
      handler: async (request) => {
        const { queueName, to } = request;
        const queue = findQueue(service, queueName);
        if (to === queueName) throw invalidField("to", sameQueue(nameOf(to)));
        if (to !== "") findOtherQueue(service, "to", to);
        return redriveReply(queueName, await queue.redrive(optionsOf(request)));
      },
    }),
  ];
}

/** Those of redrives.*. */
export function redrivesEndpoints(service: Service): readonly RowEndpoint[] {
  const endpoint = endpointsOf(
    {
      name: "redrives",
      about: "What moves items out of dead queues.",
      fields: REDRIVE_NOTES,
    },
    service,
  );
  const noRedriveId = problem("invalid_field", NO_ID, { field: "id" });
  function find(queueName: string, id: string): QueueHandle {
    const queue = findQueue(service, queueName);
    if (id === "") throw invalidField("id", NO_ID);
    return queue;
  }

  const noSuchRedrive = problem("redrive_not_found", "redrive does not exist; 'abc'");
  const ofOne = {
    bodyBytesMax: MEDIUM,
    request: RedriveRequestSchema,
    reply: RedriveSchema,
    queueOf: byName,
    example: { queue_name, id: EXAMPLE_REDRIVE },
    errors: { ...FOUND_V2, noRedriveId, noSuchRedrive, partitionFailing, ...QUEUED },
  } as const;
  return [
    endpoint({
      path: "/v2/redrives.list",
      bodyBytesMax: MEDIUM,
      request: RedrivesListRequestSchema,
      reply: RedrivesListResponseSchema,
      permission: "queue.stats",
      metric: "redrives.list",
      queueOf: byName,
      summary: "Lists the redrives of a dead queue: those that run, and the last that have ended.",
      example: { queue_name },
      errors: { ...FOUND_V2, partitionFailing, ...QUEUED },
      handler: async ({ queueName }) => {
        const redrives = await findQueue(service, queueName).redrives();
        return reply(RedrivesListResponseSchema, {
          redrives: redrives.map((info) => told(queueName, info)),
        });
      },
    }),
    endpoint({
      ...ofOne,
      path: "/v2/redrives.info",
      permission: "queue.stats",
      metric: "redrives.info",
      summary: "Shows how far a redrive is.",
      handler: async ({ queueName, id }) =>
        redriveReply(queueName, await find(queueName, id).redriveInfo(id)),
    }),
    endpoint({
      ...ofOne,
      path: "/v2/redrives.cancel",
      permission: "queue.redrive",
      audit: { target: ofQueue, changes: ({ id }) => [{ field: "redrive", from: id }] },
      metric: "redrives.cancel",
      summary: "Ends a redrive where it is; what it has moved stays moved.",
      handler: async ({ queueName, id }) =>
        redriveReply(queueName, await find(queueName, id).cancelRedrive(id)),
    }),
  ];
}

function told(queueName: string, info: RedriveInfo): Encodable<typeof RedriveSchema> {
  return { ...info, to: nameOf(info.to), queueName: nameOf(queueName) };
}

function redriveReply(queueName: string, info: RedriveInfo) {
  return reply(RedriveSchema, told(queueName, info));
}

function sameQueue(name: string): string {
  return `to is invalid; '${name}' is the queue itself`;
}

function optionsOf(request: Decoded<typeof QueueRedriveRequestSchema>): RedriveOptions {
  const { to, ids, fingerprint, kind, limit, rate, dryRun, stopAtFailureRatio: stopAt } = request;
  if (ids.length > IDS_MAX) {
    throw invalidField("ids", `ids is invalid; cannot have more than ${IDS_MAX} entries`);
  }
  for (const [index, id] of ids.entries()) {
    if (idError(id) === undefined) continue;
    throw invalidField(`ids[${index}]`, `ids[${index}] is invalid; '${id}' is no id of an item`);
  }
  checkBetween("limit", limit, Number.MAX_SAFE_INTEGER);
  checkBetween("rate", rate, RATE_MAX);
  if (!(stopAt >= 0 && stopAt <= 1)) {
    throw invalidField(
      "stop_at_failure_ratio",
      `stop_at_failure_ratio is invalid; '${stopAt}' is not between 0 and 1`,
    );
  }
  const olderThan = readAge("older_than", request.olderThan);
  const newerThan = readAge("newer_than", request.newerThan);
  if (newerThan === 0 && request.newerThan !== "") {
    const given = request.newerThan;
    throw invalidField("newer_than", `newer_than is invalid; '${given}' must be greater than 0`);
  }
  checkAges({
    isNone: newerThan > 0 && olderThan > newerThan,
    olderThan: request.olderThan,
    newerThan: request.newerThan,
  });
  return { to, ids, fingerprint, kind, olderThan, newerThan, limit, rate, dryRun, stopAt };
}

function readAge(field: string, text: string): number {
  const age = readDuration(text, { field, called: field, examples: "30s, 5m or 24h" });
  if (age < 0) throw invalidField(field, `${field} is invalid; '${text}' cannot be negative`);
  return Math.trunc(age);
}

function checkBetween(field: string, value: number, max: number): void {
  if (value < 0) throw invalidField(field, `${field} is invalid; ${field} cannot be negative`);
  if (value > max) throw invalidField(field, `${field} is invalid; cannot be greater than ${max}`);
}

// --- what the fields mean ---

const ID_OF_REDRIVE: FieldNote = {
  text: "The redrive.",
  required: "request",
  request: { minLength: 1 },
};
const AGE = {
  request: { pattern: DURATION_PATTERN },
  accepted: { pattern: `^$|${DURATION_PATTERN}` },
};

const REDRIVE_NOTES: Notes = {
  RedrivesListRequest: { queue_name: { ...QUEUE_NAME, text: "The dead queue." } },
  RedrivesListResponse: { redrives: { text: "The newest first.", required: "reply" } },
  RedriveRequest: { queue_name: { ...QUEUE_NAME, text: "The dead queue." }, id: ID_OF_REDRIVE },
  Redrive: {
    id: { text: "The redrive; of a dry run there is none." },
    queue_name: { ...QUEUE_NAME, text: "The dead queue." },
    to: { text: "Where its items go; not given if each goes to where it came from." },
    state: {
      text: "running, done, stopped (by stop_at_failure_ratio) or cancelled.",
      required: "reply",
      reply: { enum: STATES },
    },
    moved: count("Moved so far; of a dry run: what would be."),
    looked_at: count(
      `Looked at so far; a dry run looks at ${DEAD_LOOKED_AT_MAX} items and a few more at most.`,
    ),
    total: count("How many there were to be looked at when it began."),
    skipped: count(
      "Passed over: leased, or there is nowhere to go for them, as it is not known where they came from, or that queue is not there any more.",
    ),
    failed: count("Moved, and dead again."),
    not_found: count("Of the `ids` that were asked for: those of which nothing lies in the queue."),
    started_at: { text: "When it began.", required: "reply" },
    ended_at: { text: "When it ended, if it has." },
  },
};

/** Those of the messages of queue.*. */
export const DEAD_NOTES: Notes = {
  ...DEAD_SOURCE_NOTES,
  QueueDeadGroupsRequest: {
    queue_name: { ...QUEUE_NAME, text: "The dead queue." },
    limit: {
      text: `How many groups at most, the largest, up to ${GROUPS_MAX}; ${GROUPS_DEFAULT} if it is not given.`,
      request: { minimum: 0, maximum: GROUPS_MAX },
    },
  },
  QueueDeadGroupsResponse: {
    groups: { text: "Those with the most items first.", required: "reply" },
    complete: {
      text: `Whether all that lies there was counted: one call looks at ${DEAD_LOOKED_AT_MAX} items.`,
    },
    looked_at: count("How many items that were."),
  },
  DeadGroup: {
    fingerprint: {
      text: "What tells it from others; a redrive of this group takes it.",
      required: "reply",
    },
    kind: { text: "As the last of them was produced." },
    error_type: { text: "As the consumer of the last of them has said." },
    message: { text: "The same; its beginning." },
    reason: { text: "Why the last of them died: attempts, expired or rejected." },
    source_queue: { text: "Where the last of them came from." },
    count: { text: "How many there are.", required: "reply", reply: { minimum: 1 } },
    first_at: { text: "When the first of them died.", required: "reply" },
    last_at: { text: "When the last of them died.", required: "reply" },
    sample: {
      text: "The id of the last of them.",
      required: "reply",
      reply: { pattern: ID_PATTERN },
    },
  },
  QueueRedriveRequest: {
    queue_name: { ...QUEUE_NAME, text: "The dead queue." },
    to: { text: "The queue that the items go to; each to where it came from if it is not given." },
    ids: {
      text: `Only these items, at most ${IDS_MAX}; all that are there when it begins if nothing of this and the next four is given.`,
      request: { maxItems: IDS_MAX, items: { pattern: ID_PATTERN } },
    },
    fingerprint: { text: "Only those of this group, as queue.dead_groups tells it." },
    kind: { text: "Only those of this kind." },
    older_than: { text: "Only what died so long ago, or longer.", ...AGE },
    newer_than: { text: "Only what died so long ago, or less long; greater than 0s.", ...AGE },
    limit: {
      text: "How many are moved at most; any number if it is not given.",
      request: { minimum: 0 },
    },
    rate: {
      text: `How many a second are moved at most, up to ${RATE_MAX}; as fast as it goes if it is not given.`,
      request: { minimum: 0, maximum: RATE_MAX },
    },
    dry_run: { text: "Counts what would be moved, and moves nothing." },
    stop_at_failure_ratio: {
      text: "Stops once this part of those that were moved have come back dead, from 0 to 1; never if it is not given.",
      request: { minimum: 0, maximum: 1 },
    },
  },
  Redrive: REDRIVE_NOTES.Redrive!,
};
