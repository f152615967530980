// Which queues there are: the endpoints of queues.*. Under /v2 a name is enough to create one, and what an
// update does not name stays; /v1 needs most settings, and takes some that are missing for empty.

import { DONE, OK, reply } from "../codec/answer.ts";
import {
  QueueInfoSchema,
  QueuesDeleteRequestSchema,
  QueuesInfoRequestSchema,
  QueuesListRequestSchema,
  QueuesListResponseSchema,
} from "../codec/gen/querator/v1/queues_pb.ts";
import {
  QueuesDeleteRequestSchema as DeleteRequestV2,
  QueuesInfoRequestSchema as InfoRequestV2,
  QueueInfoSchema as InfoV2,
  QueuesListRequestSchema as ListRequestV2,
  QueuesListResponseSchema as ListResponseV2,
  QueuesApplyRequestSchema,
  QueuesApplyResponseSchema,
  QueuesCreateRequestSchema,
  QueuesUpdateRequestSchema,
} from "../codec/gen/querator/v2/queues_pb.ts";
import { DoneResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalid, invalidField, type QueueError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { type WantedQueue, within } from "../registry/apply.ts";
import {
  checkNamespace,
  checkQueueName,
  NAMESPACE_BYTES_MAX,
  NAMESPACE_PATTERN,
  nameOf,
  QUEUE_NAME_PATTERN,
  SYSTEM_NAMESPACE,
} from "../registry/names.ts";
import type { QueueRecord } from "../registry/records.ts";
import {
  changeOfV1,
  maxOf,
  type NamedSettings,
  QUEUE_TIMEOUT_LENGTH_MAX,
  type QueueSettings,
  readChange,
  readNamed,
  readV1,
  SETTING_ROWS,
  type SettingRow,
  type SettingValue,
  showInWords,
  showSettings,
  withMarks,
} from "../registry/settings.ts";
import { WITH_QUEUE } from "./audited.ts";
import { readCursor, toCursor } from "./cursor.ts";
import { byName, endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import {
  badCursor,
  FOUND,
  FOUND_V2,
  internalRetry,
  negativeLimit,
  noQueueName,
  noQueueNameV2,
  problem,
  refusal,
} from "./openapi/errors.ts";
import {
  CURSOR,
  type FieldNote,
  NEXT_CURSOR,
  type Notes,
  PARTITION,
  QUEUE_NAME,
} from "./openapi/fields.ts";
import { namedRetry, POLICY_NOTES, shownRetry } from "./policy.ts";
import { DONE_NOTES } from "./results.ts";
import { findQueue, type Service } from "./service.ts";
import { checkListLimit, LIST_LIMIT_DEFAULT, QUEUES_LIST_LIMIT_MAX } from "./validate.ts";

const spaceInQueueName = refusal("queue name is invalid; 'my jobs' cannot contain whitespace");
const noDeadQueue = refusal("dead_queue does not exist; 'jbos' was not found, create it first");
const longLease = refusal(
  "lease timeout is too long; 1h0m0s cannot be greater than the expire timeout 30m0s",
);

// Queues that one call makes and changes at most.
const APPLIED_MAX = 1_000;

const queue_name = "jobs";
const SETTINGS = {
  queue_name,
  lease_timeout: "1m",
  expire_timeout: "24h",
  requested_partitions: 1,
};

/** The endpoints. */
export function queuesEndpoints(service: Service): readonly RowEndpoint[] {
  const { queues, limits } = service;
  const endpoint = endpointsOf(
    {
      name: "queues",
      about: "Which queues there are.",
      fields: { ...fieldNotes(limits), ...POLICY_NOTES, ...DONE_NOTES },
    },
    service,
  );
  return [
    endpoint({
      path: "/v1/queues.create",
      bodyBytesMax: MEDIUM,
      request: QueueInfoSchema,
      permission: "queue.create",
      audit: WITH_QUEUE,
      metric: "queues.create",
      queueOf: byName,
      namespaceOf: named,
      checkName: checkQueueName,
      summary: "Creates a queue.",
      example: SETTINGS,
      needs: ["lease_timeout", "expire_timeout", "requested_partitions"],
      errors: {
        noQueueName,
        spaceInQueueName,
        queueExists: refusal("invalid queue; 'jobs' already exists"),
        noDeadQueue,
        longLease,
        noNamespace: problem(
          "namespace_not_found",
          "namespace does not exist; 'other' was not found",
        ),
        internalRetry,
      },
      handler: async (request, _, __, namespace, deed) => {
        const settings = settingsOf(request);
        service.auth.state.checkNamespace(namespace);
        await queues.create({ ...settings, namespace }, undefined, deed);
        return OK;
      },
    }),
    endpoint({
      path: "/v1/queues.update",
      bodyBytesMax: 512_000,
      request: QueueInfoSchema,
      permission: "queue.update",
      audit: WITH_QUEUE,
      metric: "queues.update",
      queueOf: byName,
      checkName: checkQueueName,
      summary:
        "Changes the settings of a queue; max_attempts, reference and dead_queue also if they are not given.",
      example: { ...SETTINGS, lease_timeout: "2m" },
      ignores: ["namespace"],
      errors: { ...FOUND, spaceInQueueName, noDeadQueue, longLease, internalRetry },
      handler: async (request, _, __, ___, deed) => {
        const settings = settingsOf(request);
        await queues.update(changeOfV1(settings, request), undefined, 0, deed);
        return OK;
      },
    }),
    endpoint({
      path: "/v1/queues.list",
      bodyBytesMax: MEDIUM,
      request: QueuesListRequestSchema,
      reply: QueuesListResponseSchema,
      permission: "queue.list",
      metric: "queues.list",
      namespaceOf: named,
      summary: "Lists queues by name, from pivot on.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request, _, __, namespace) => {
        const limit = checkListLimit(request.limit, QUEUES_LIST_LIMIT_MAX);
        const { pivot } = request;
        if (pivot.includes("~")) {
          throw invalid(`pivot is invalid; '${pivot}' cannot contain '~' character`);
        }
        const records = queues.list({ namespace, pivot, limit });
        return reply(QueuesListResponseSchema, { items: records.map(toInfo) });
      },
    }),
    endpoint({
      path: "/v1/queues.info",
      bodyBytesMax: MEDIUM,
      request: QueuesInfoRequestSchema,
      reply: QueueInfoSchema,
      permission: "queue.stats",
      metric: "queues.info",
      queueOf: byName,
      summary: "Shows the settings of a queue.",
      example: { queue_name },
      errors: FOUND,
      handler: (request) => {
        findQueue(service, request.queueName);
        return reply(QueueInfoSchema, toInfo(queues.record(request.queueName)));
      },
    }),
    endpoint({
      path: "/v1/queues.delete",
      bodyBytesMax: MEDIUM,
      request: QueuesDeleteRequestSchema,
      permission: "queue.delete",
      audit: WITH_QUEUE,
      metric: "queues.delete",
      queueOf: byName,
      checkName: checkQueueName,
      summary: "Deletes a queue with its items.",
      example: { queue_name, force: true },
      errors: {
        ...FOUND,
        spaceInQueueName,
        queueServes: refusal("queue is a dead queue; 'letters' uses it as its dead_queue"),
        internalRetry,
      },
      handler: async ({ queueName, force }, _, __, ___, deed) => {
        await queues.delete(queueName, force, undefined, deed);
        return OK;
      },
    }),

    endpoint({
      path: "/v2/queues.create",
      repeats: "itself",
      bodyBytesMax: MEDIUM,
      request: QueuesCreateRequestSchema,
      reply: InfoV2,
      permission: "queue.create",
      audit: WITH_QUEUE,
      metric: "queues.create",
      queueOf: byName,
      checkName: checkQueueName,
      summary: "Creates a queue; what is not given has its default.",
      example: { queue_name },
      errors: {
        noQueueName: noQueueNameV2,
        queueExists: problem("queue_exists", "invalid queue; 'jobs' already exists"),
        noDeadQueue: problem("invalid_field", noDeadQueue.message, { field: "dead_queue" }),
        longLease: problem("invalid_field", longLease.message, { field: "lease_timeout" }),
        internalRetry,
      },
      handler: async (request, _, repeat, namespace, deed) => {
        const { queueName: name } = request;
        const settings = readNamed(namedOf(request));
        service.auth.state.checkNamespace(namespace);
        const queue = { ...settings, name, namespace };
        return reply(InfoV2, toInfoV2(await queues.create(queue, repeat, deed)));
      },
    }),
    endpoint({
      path: "/v2/queues.update",
      repeats: "itself",
      bodyBytesMax: MEDIUM,
      request: QueuesUpdateRequestSchema,
      reply: InfoV2,
      permission: "queue.update",
      audit: WITH_QUEUE,
      metric: "queues.update",
      queueOf: byName,
      checkName: checkQueueName,
      summary: "Changes the settings of a queue; what is not given stays, if partial is not false.",
      example: { queue_name, lease_timeout: "2m" },
      errors: {
        ...FOUND_V2,
        noDeadQueue: problem("invalid_field", noDeadQueue.message, { field: "dead_queue" }),
        longLease: problem("invalid_field", longLease.message, { field: "lease_timeout" }),
        otherVersion: problem("precondition_failed", "queue 'jobs' has version 1, not 3"),
        internalRetry,
      },
      handler: async (request, _, repeat, __, deed) => {
        const { queueName: name, partial, ifVersion } = request;
        const named = namedOf(request);
        const change = partial === false ? readNamed(named) : readChange(named);
        const updated = await queues.update({ ...change, name }, repeat, ifVersion, deed);
        return reply(InfoV2, toInfoV2(updated));
      },
    }),
    endpoint({
      path: "/v2/queues.apply",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: QueuesApplyRequestSchema,
      reply: QueuesApplyResponseSchema,
      permission: "queue.update",
      audit: {
        isWithin: true,
        target: ({ queues: list }) => list.map(({ queueName }) => queueName).join(" "),
      },
      metric: "queues.apply",
      alsoNeeds: "queue.create",
      summary:
        "Makes the queues of a list, and changes those that are there: all of it or nothing.",
      description:
        "What a queue has that the list does not name stays, and so do queues that are not in the list. Dead queues may stand anywhere in it. Done again it changes nothing, so it takes no Idempotency-Key.",
      example: { queues: [{ queue_name, max_attempts: 5 }] },
      needs: ["queues"],
      errors: {
        noQueues: problem("invalid_field", noQueues().message, { field: "queues" }),
        noDeadQueueInList: problem("invalid_field", noDeadQueue.message, {
          field: "queues[0].dead_queue",
        }),
        internalRetry,
      },
      handler: async ({ queues: list, dryRun }, _, __, namespace, deed) => {
        const wanted = wantedOf(list);
        service.auth.state.checkNamespace(namespace);
        const diffs = await queues.apply(namespace, wanted, dryRun, deed);
        return reply(QueuesApplyResponseSchema, { queues: diffs });
      },
    }),
    endpoint({
      path: "/v2/queues.list",
      bodyBytesMax: MEDIUM,
      request: ListRequestV2,
      reply: ListResponseV2,
      permission: "queue.list",
      metric: "queues.list",
      summary: "Lists queues by name.",
      example: { limit: 10 },
      errors: { badCursor },
      handler: (request, _, __, namespace) => {
        service.auth.state.checkNamespace(namespace);
        const limit = checkListLimit(request.limit, QUEUES_LIST_LIMIT_MAX);
        const [pivot] = request.cursor === "" ? [""] : readCursor(request.cursor, 1);
        const records = queues.list({ namespace, pivot: String(pivot), limit: limit + 1 });
        const next = records[limit];
        return reply(ListResponseV2, {
          queues: records.slice(0, limit).map(toInfoV2),
          ...(next && { nextCursor: toCursor([nameOf(next.name)]) }),
        });
      },
    }),
    endpoint({
      path: "/v2/queues.info",
      bodyBytesMax: MEDIUM,
      request: InfoRequestV2,
      reply: InfoV2,
      permission: "queue.stats",
      metric: "queues.info",
      queueOf: byName,
      summary: "Shows the settings of a queue.",
      example: { queue_name },
      errors: FOUND_V2,
      handler: ({ queueName }) => {
        findQueue(service, queueName);
        return reply(InfoV2, toInfoV2(queues.record(queueName)));
      },
    }),
    endpoint({
      path: "/v2/queues.delete",
      repeats: "itself",
      bodyBytesMax: MEDIUM,
      request: DeleteRequestV2,
      reply: DoneResponseSchema,
      permission: "queue.delete",
      audit: WITH_QUEUE,
      metric: "queues.delete",
      queueOf: byName,
      checkName: checkQueueName,
      summary: "Deletes a queue with its items.",
      example: { queue_name, force: true },
      errors: {
        ...FOUND_V2,
        queueServes: problem(
          "queue_in_use",
          "queue is a dead queue; 'letters' uses it as its dead_queue",
        ),
        internalRetry,
      },
      handler: async ({ queueName, force }, _, repeat, __, deed) => {
        await queues.delete(queueName, force, repeat, deed);
        return DONE;
      },
    }),
  ];
}

function named({ namespace }: { readonly namespace: string }): string {
  return namespace;
}

// The checks that queues.create and queues.update share, up to those that need the registry.
function settingsOf(info: Decoded<typeof QueueInfoSchema>): QueueSettings {
  const settings = readV1(info);
  checkNamespace(info.namespace);
  return { ...settings, name: info.queueName };
}

function wantedOf(list: Decoded<typeof QueuesApplyRequestSchema>["queues"]): WantedQueue[] {
  if (list.length === 0) throw noQueues();
  if (list.length > APPLIED_MAX) {
    throw invalidField("queues", `queues is invalid; cannot be more than ${APPLIED_MAX}`);
  }
  return list.map((queue, i) =>
    within(`queues[${i}]`, () => {
      checkQueueName(queue.queueName);
      const named = namedOf(queue);
      return { name: queue.queueName, named: readChange(named), settings: readNamed(named) };
    }),
  );
}

function noQueues(): QueueError {
  return invalidField("queues", "queues cannot be empty; at least one queue is required");
}

function toInfo(record: QueueRecord): Encodable<typeof QueueInfoSchema> {
  const { name, createdAt, updatedAt, namespace } = record;
  const shown = showSettings(record);
  return { queueName: nameOf(name), createdAt, updatedAt, namespace, ...shown };
}

function toInfoV2(record: QueueRecord): Encodable<typeof InfoV2> {
  const { name, createdAt, changedAt, version, partitions } = record;
  const settings = showInWords(record);
  return {
    queueName: nameOf(name),
    ...settings,
    retry: shownRetry(settings),
    partitions: partitions.length,
    createdAt,
    updatedAt: changedAt,
    version,
  };
}

/** What a client of /v2 says of a queue, setting by setting. */
export function namedOf(
  request: Decoded<typeof QueuesCreateRequestSchema> | Decoded<typeof QueuesUpdateRequestSchema>,
): NamedSettings {
  return { ...request, ...namedRetry(request) };
}

// What the fields of the messages mean.
function fieldNotes(limits: Limits): Notes {
  const settings = SETTING_ROWS.filter(([, { field }]) => field === undefined).map(
    ([key, row]): [string, FieldNote] => [withMarks(key, "_"), settingNoteV2(row, limits)],
  );
  settings.push(["retry", { text: "How items are tried again that fail." }]);
  const named = { queue_name: QUEUE_NAME, ...Object.fromEntries(settings) };
  return {
    "v2.QueuesCreateRequest": named,
    "v2.QueuesUpdateRequest": {
      ...named,
      partial: {
        text: "Whether what is not given stays as it is, as it does by default; false gives it its default.",
      },
      if_version: {
        text: "The queue is changed only if it has this version, as queues.info tells it; 0 means any.",
      },
    },
    "v2.QueuesApplyRequest": {
      queues: {
        text: `What there is to be: 1 to ${APPLIED_MAX} queues, each with the settings that are to be as they are given.`,
        request: { minItems: 1, maxItems: APPLIED_MAX },
      },
      dry_run: { text: "Only answers what would be done." },
    },
    "v2.QueuesApplyResponse": {
      queues: {
        text: "What was done, or would be, in the order of the request.",
        required: "reply",
      },
    },
    "v2.QueueDiff": {
      queue_name: QUEUE_NAME,
      action: { text: "created, updated or unchanged.", required: "reply" },
      changes: {
        text: "The settings that get another value; of a new queue those that are given.",
        required: "reply",
      },
    },
    "v2.SettingDiff": {
      setting: { text: "Its name, as in the request.", required: "reply" },
      from: { text: "What it was, as text; not set of a new queue." },
      to: { text: "What it is now, or would be." },
    },
    "v2.QueueInfo": {
      queue_name: QUEUE_NAME,
      ...Object.fromEntries(settings),
      partitions: { text: "How many partitions it has.", required: "reply", reply: { minimum: 1 } },
      created_at: { text: "When the queue was created.", required: "reply" },
      updated_at: { text: "When it was changed last.", required: "reply" },
      version: {
        text: "1 when it is created, one more after each change; an update that changes nothing is none.",
        required: "reply",
        reply: { minimum: 1 },
      },
    },
    "v2.QueuesListRequest": {
      limit: {
        text: `How many at most, up to ${QUEUES_LIST_LIMIT_MAX}; 0 means ${LIST_LIMIT_DEFAULT}.`,
        request: { minimum: 0, maximum: QUEUES_LIST_LIMIT_MAX },
      },
      cursor: CURSOR,
    },
    "v2.QueuesListResponse": {
      queues: { text: "In order of their names.", required: "reply" },
      next_cursor: NEXT_CURSOR,
    },
    QueueInfo: {
      queue_name: QUEUE_NAME,
      created_at: { text: "When the queue was created.", required: "reply", ignored: true },
      updated_at: { text: "When it was changed last.", required: "reply", ignored: true },
      ...Object.fromEntries(
        SETTING_ROWS.filter(([, { isNew }]) => isNew !== true).map(([key, row]) => [
          withMarks(key, "_"),
          settingNote(row, limits),
        ]),
      ),
      partitions: { text: "Empty in this version.", ignored: true },
      namespace: {
        text: `Always ${SYSTEM_NAMESPACE} in this version.`,
        required: "reply",
        accepted: { enum: ["", SYSTEM_NAMESPACE] },
        unheeded: { maxLength: NAMESPACE_BYTES_MAX, pattern: NAMESPACE_PATTERN },
        reply: { const: SYSTEM_NAMESPACE },
      },
    },
    PartitionInfo: { partition: { text: PARTITION.text } },
    QueuesListRequest: {
      pivot: {
        text: "The first name to list, or the next one after it; from the start if it is empty.",
        request: { pattern: "^[^~]*$" },
      },
      limit: {
        text: `How many at most, up to ${QUEUES_LIST_LIMIT_MAX}; 0 means ${LIST_LIMIT_DEFAULT}.`,
        request: { minimum: 0, maximum: QUEUES_LIST_LIMIT_MAX },
      },
      namespace: { text: "Whose queues; all of this server are in _system." },
    },
    QueuesListResponse: { items: { text: "In order of their names." } },
    QueuesDeleteRequest: {
      queue_name: QUEUE_NAME,
      force: { text: "Also if it is the dead queue of another one." },
    },
    QueuesInfoRequest: { queue_name: QUEUE_NAME },
  };
}

function settingNote(row: SettingRow, limits: Limits): FieldNote {
  if (row.kind === "duration") {
    return {
      text: row.text,
      required: "reply",
      request: { maxLength: QUEUE_TIMEOUT_LENGTH_MAX, pattern: DURATION_PATTERN },
      accepted: { pattern: `^$|${DURATION_PATTERN}` },
      reply: { pattern: DURATION_PATTERN },
    };
  }
  if (row.kind === "flag") return { text: row.text };
  if (row.kind === "choice") {
    const { text, values } = row;
    return { text, request: { enum: values }, reply: { enum: values } };
  }
  const max = maxOf(row, limits);
  const text = row.text.replace("{max}", String(max));
  if (row.kind === "text") return { text, request: { maxLength: max } };
  if (row.kind === "name") {
    const accepted = { pattern: QUEUE_NAME_PATTERN.replace("+$", "*$") };
    return { text, request: { maxLength: max, pattern: "^[^~\\s]*$" }, accepted };
  }
  // Of a queue that was made under a higher limit the reply may say more.
  const isFixed = row.kind === "factor" || row.limit === undefined;
  const reply = { minimum: row.min, ...(isFixed && { maximum: max }) };
  const request = { minimum: row.isNeeded ? 0 : row.min, maximum: max };
  return { text, ...(row.isNeeded && { required: "reply" }), request, reply };
}

// Under /v2: with the default, and with the word that stands for it; 0 and "" are values like any other.
function settingNoteV2(row: SettingRow, limits: Limits): FieldNote {
  const note = settingNote(row, limits);
  if (row.kind !== "duration") {
    const text = note.text.replace(" An update without it keeps the number.", "");
    const request = row.kind === "count" ? { ...note.request, minimum: row.min } : note.request;
    return { ...note, text: `${text}${defaultOf(row.default)}`, ...(request && { request }) };
  }
  const word = row.word === undefined ? "" : `^${row.word}$|`;
  const pattern = `${word}${DURATION_PATTERN}`;
  const text = row.word === undefined ? note.text : "How long an item may live, or never.";
  return {
    ...note,
    text: `${text}${defaultOf(row.word ?? row.default)}`,
    request: { maxLength: QUEUE_TIMEOUT_LENGTH_MAX, pattern },
    accepted: { pattern },
    reply: { pattern },
  };
}

function defaultOf(value: SettingValue): string {
  return value === "" || value === false ? "" : ` By default ${value}.`;
}
