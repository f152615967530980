// Which queues there are: the endpoints of /v1/queues.*.

import { OK, reply } from "../codec/answer.ts";
import {
  QueueInfoSchema,
  QueuesDeleteRequestSchema,
  QueuesInfoRequestSchema,
  QueuesListRequestSchema,
  QueuesListResponseSchema,
} from "../codec/gen/querator/v1/queues_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalid } from "../errors.ts";
import type { Limits } from "../limits.ts";
import {
  checkNamespace,
  checkQueueName,
  findNamespace,
  NAMESPACE_BYTES_MAX,
  NAMESPACE_PATTERN,
  QUEUE_NAME_PATTERN,
  SYSTEM_NAMESPACE,
} from "../registry/names.ts";
import type { QueueRecord } from "../registry/records.ts";
import {
  maxOf,
  QUEUE_TIMEOUT_LENGTH_MAX,
  type QueueSettings,
  readSettings,
  SETTING_ROWS,
  type SettingRow,
  showSettings,
  withMarks,
} from "../registry/settings.ts";
import { byName, endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { FOUND, internalRetry, negativeLimit, noQueueName, refusal } from "./openapi/errors.ts";
import { type FieldNote, type Notes, PARTITION, QUEUE_NAME } from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import { checkListLimit, LIST_LIMIT_DEFAULT, QUEUES_LIST_LIMIT_MAX } from "./validate.ts";

const spaceInQueueName = refusal("queue name is invalid; 'my jobs' cannot contain whitespace");
const noDeadQueue = refusal("dead_queue does not exist; 'jbos' was not found, create it first");
const longLease = refusal(
  "lease timeout is too long; 1h0m0s cannot be greater than the expire timeout 30m0s",
);

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
  const endpoint = endpointsOf({
    name: "queues",
    about: "Which queues there are.",
    fields: fieldNotes(limits),
  });
  return [
    endpoint({
      path: "/v1/queues.create",
      bodyBytesMax: MEDIUM,
      request: QueueInfoSchema,
      permission: "manage",
      metric: "queues.create",
      queueOf: byName,
      summary: "Creates a queue.",
      example: SETTINGS,
      needs: ["lease_timeout", "expire_timeout", "requested_partitions"],
      errors: {
        noQueueName,
        spaceInQueueName,
        queueExists: refusal("invalid queue; 'jobs' already exists"),
        noDeadQueue,
        longLease,
        noNamespace: {
          kind: "failed",
          message: "namespace does not exist; 'other' was not found",
        },
        internalRetry,
      },
      handler: async (request) => {
        const settings = settingsOf(request);
        const namespace = findNamespace(request.namespace);
        service.checkRunning();
        await queues.create({ ...settings, namespace });
        return OK;
      },
    }),
    endpoint({
      path: "/v1/queues.update",
      bodyBytesMax: 512_000,
      request: QueueInfoSchema,
      permission: "manage",
      metric: "queues.update",
      queueOf: byName,
      summary:
        "Changes the settings of a queue; max_attempts, reference and dead_queue also if they are not given.",
      example: { ...SETTINGS, lease_timeout: "2m" },
      ignores: ["namespace"],
      errors: { ...FOUND, spaceInQueueName, noDeadQueue, longLease, internalRetry },
      handler: async (request) => {
        const settings = settingsOf(request);
        service.checkRunning();
        await queues.update(settings);
        return OK;
      },
    }),
    endpoint({
      path: "/v1/queues.list",
      bodyBytesMax: MEDIUM,
      request: QueuesListRequestSchema,
      reply: QueuesListResponseSchema,
      permission: "read",
      metric: "queues.list",
      summary: "Lists queues by name, from pivot on.",
      example: { limit: 10 },
      errors: { negativeLimit },
      handler: (request) => {
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
      },
    }),
    endpoint({
      path: "/v1/queues.info",
      bodyBytesMax: MEDIUM,
      request: QueuesInfoRequestSchema,
      reply: QueueInfoSchema,
      permission: "read",
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
      permission: "manage",
      metric: "queues.delete",
      queueOf: byName,
      summary: "Deletes a queue with its items.",
      example: { queue_name, force: true },
      errors: {
        ...FOUND,
        spaceInQueueName,
        queueServes: refusal("queue is a dead queue; 'letters' uses it as its dead_queue"),
        internalRetry,
      },
      handler: async (request) => {
        service.checkRunning();
        checkQueueName(request.queueName);
        await queues.delete(request.queueName, request.force);
        return OK;
      },
    }),
  ];
}

// The checks that queues.create and queues.update share, up to those that need the registry.
function settingsOf(info: Decoded<typeof QueueInfoSchema>): QueueSettings {
  checkQueueName(info.queueName);
  const settings = readSettings(info);
  checkNamespace(info.namespace);
  return { ...settings, name: info.queueName };
}

function toInfo(record: QueueRecord): Encodable<typeof QueueInfoSchema> {
  const { name, createdAt, updatedAt, namespace } = record;
  return { queueName: name, createdAt, updatedAt, namespace, ...showSettings(record) };
}

// What the fields of the messages mean.
function fieldNotes(limits: Limits): Notes {
  return {
    QueueInfo: {
      queue_name: QUEUE_NAME,
      created_at: { text: "When the queue was created.", required: "reply", ignored: true },
      updated_at: { text: "When it was changed last.", required: "reply", ignored: true },
      ...Object.fromEntries(
        SETTING_ROWS.map(([key, row]) => [withMarks(key, "_"), settingNote(row, limits)]),
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
  const max = maxOf(row, limits);
  const text = row.text.replace("{max}", String(max));
  if (row.kind === "text") return { text, request: { maxLength: max } };
  if (row.kind === "name") {
    const accepted = { pattern: QUEUE_NAME_PATTERN.replace("+$", "*$") };
    return { text, request: { maxLength: max, pattern: "^[^~\\s]*$" }, accepted };
  }
  // Of a queue that was made under a higher limit the reply may say more.
  const reply = { minimum: row.min, ...(row.limit === undefined && { maximum: max }) };
  const request = { minimum: row.isNeeded ? 0 : row.min, maximum: max };
  return { text, ...(row.isNeeded && { required: "reply" }), request, reply };
}
