// What the OpenAPI document says of every field of every message: what it means, when it must be
// given, and what it may hold. The bounds are those of the checks, imported from where they are
// checked; limits are those of this server. A field without a row here is refused when the document
// is made. Must never check a request itself.

import { ENTRIES_MAX } from "../../codec/message.ts";
import { DURATION_PATTERN } from "../../duration.ts";
import type { Limits } from "../../limits.ts";
import { ID_PATTERN } from "../../queue/queue.ts";
import {
  DEAD_QUEUE_NAME_BYTES_MAX,
  NAMESPACE_BYTES_MAX,
  NAMESPACE_PATTERN,
  NOT_BLANK_PATTERN,
  QUEUE_NAME_BYTES_MAX,
  QUEUE_NAME_PATTERN,
  SYSTEM_NAMESPACE,
} from "../../registry/names.ts";
import {
  MAX_ATTEMPTS_MAX,
  QUEUE_TIMEOUT_LENGTH_MAX,
  REFERENCE_BYTES_MAX,
} from "../../registry/settings.ts";
import { IMPORT_ATTEMPTS_MAX, LIST_LIMIT_DEFAULT, QUEUES_LIST_LIMIT_MAX } from "../validate.ts";

type Json = Readonly<Record<string, unknown>>;

/** What is known of a field beyond its type. */
export interface FieldNote {
  readonly text: string;
  /** Where it is always there: in requests (else they are refused), in replies, or in both. */
  readonly required?: "request" | "reply" | "both";
  /** In requests nothing looks at it: there only for those who send back what they were answered. */
  readonly ignored?: boolean;
  /** Keywords of its schema in requests: what to send. */
  readonly request?: Json;
  /** Those that replace them where more is taken than is to be sent. What does not fit is refused. */
  readonly accepted?: Json;
  /** Those in a call that looks at its form and at nothing else. */
  readonly unheeded?: Json;
  /** Keywords of its schema in replies, as exact as they are now: for tests, not for clients. */
  readonly reply?: Json;
}

type Notes = Readonly<Record<string, Readonly<Record<string, FieldNote>>>>;

/**
 * By message, and by the name that a field has in JSON. A message of `proto/querator/v2` that has the
 * name of another one is `v2.Name` here.
 */
export function fieldNotes(limits: Limits): Notes {
  const queueName: FieldNote = {
    text: `The queue. At most ${QUEUE_NAME_BYTES_MAX} bytes, without white space and '~'.`,
    required: "both",
    request: { minLength: 1, maxLength: QUEUE_NAME_BYTES_MAX, pattern: "^[^~\\s]+$" },
    accepted: { pattern: QUEUE_NAME_PATTERN },
  };
  const partition: FieldNote = {
    text: "The partition; the first one is 0.",
    request: { minimum: 0 },
    reply: { minimum: 0 },
  };
  const id = (text: string): FieldNote => ({ text, required: "both", ...both(ID) });
  const ids = (text: string, max: Json = {}): FieldNote => ({
    text,
    required: "request",
    request: { minItems: 1, ...max, items: ID },
  });
  const listed = (text: string): FieldNote => ({ text });
  const imported = listed(
    "As they are now, in the order of the request; in place of one whose source_id was there, the item that is.",
  );
  const { produceBatch, leaseBatch, completeBatch } = limits;

  const logicalStats: Readonly<Record<string, FieldNote>> = {
    produce_waiting: count("Produce requests that wait."),
    lease_waiting: count("Lease requests that wait for items."),
    complete_waiting: count("Complete and retry requests that wait."),
    in_flight: count("Produce, lease, complete and retry requests that are not answered."),
    partitions: { text: "In order of their numbers.", required: "reply", reply: { minItems: 1 } },
  };
  const partitionStats: Readonly<Record<string, FieldNote>> = {
    partition,
    total: count("Items, leased ones included, scheduled ones not."),
    total_leased: count("Leased items."),
    failures: count("Failures of its storage in a row; 0 if it works."),
    average_age: duration("The mean time since its items were produced, a duration."),
    average_leased_age: duration("The mean time since its leases began, a duration."),
    scheduled: count("Scheduled items."),
  };
  // What gives leased items back under /v2.
  const endings: Readonly<Record<string, FieldNote>> = {
    queue_name: queueName,
    partition,
    request_timeout: {
      text: "How long to try, from 10ms to 15m; 30s if it is not given.",
      request: { pattern: `^$|${DURATION_PATTERN}` },
    },
    leases: {
      text: `What is given back, from 1 to ${completeBatch} leases.`,
      required: "request",
      request: { minItems: 1, maxItems: completeBatch },
    },
  };
  const ending: Readonly<Record<string, FieldNote>> = {
    lease_id: id("The id of a leased item."),
    at: { text: "When the item is to become leasable again; at once if it is not given." },
    delay: {
      text: "The same as a duration from now, in place of at.",
      request: { pattern: `^$|${DURATION_PATTERN}` },
    },
  };

  return {
    QueueProduceRequest: {
      queue_name: queueName,
      request_timeout: requestTimeout("How long to try, from 10ms to less than 15m."),
      items: {
        text: `The items, from 1 to ${produceBatch}; they are stored in this order.`,
        required: "request",
        request: { minItems: 1, maxItems: produceBatch },
      },
    },
    QueueProduceItem: {
      encoding: { text: "How the payload is to be read; the server does not look at it." },
      kind: { text: "What kind of work it is; the server does not look at it." },
      reference: { text: "Anything that the producer wants to find again." },
      enqueue_at: { text: "When the item is to become leasable; at once if that is past." },
      bytes: { text: "The payload, in base64." },
      utf8: { text: "The payload as a text, if bytes is empty." },
    },
    QueueLeaseRequest: {
      queue_name: queueName,
      batch_size: {
        text: `How many items at most, from 1 to ${leaseBatch}.`,
        required: "request",
        request: { minimum: 1, maximum: leaseBatch },
      },
      client_id: {
        text: "Who leases. One client has one lease request at a time on a queue.",
        required: "request",
        request: { minLength: 1, pattern: "\\S" },
        accepted: { pattern: NOT_BLANK_PATTERN },
      },
      request_timeout: requestTimeout("How long to wait for items, from 10ms to 15m."),
    },
    QueueLeaseResponse: {
      queue_name: queueName,
      partition: { ...partition, text: "Where the items lie; complete and retry need it." },
      items: { text: "The items, at least one.", required: "reply", reply: { minItems: 1 } },
    },
    QueueLeaseItem: {
      encoding: { text: "As it was produced." },
      kind: { text: "As it was produced." },
      reference: { text: "As it was produced." },
      id: id("Names this lease of the item; another lease has another id."),
      attempts: {
        text: "How often it has been leased, this time included.",
        required: "reply",
        reply: { minimum: 1 },
      },
      lease_deadline: { text: "When the lease ends by itself.", required: "reply" },
      bytes: { text: "The payload, in base64." },
    },
    QueueCompleteRequest: {
      queue_name: queueName,
      partition,
      request_timeout: {
        text: "How long to try, up to 15m; as long as that if it is negative.",
        required: "request",
        request: { minLength: 1, pattern: DURATION_PATTERN },
        accepted: { pattern: SIGNED_DURATION_PATTERN },
      },
      ids: ids(`The ids of leased items, from 1 to ${completeBatch}.`, { maxItems: completeBatch }),
    },
    QueueRetryRequest: {
      queue_name: queueName,
      partition,
      items: {
        text: `What is given back, from 1 to ${completeBatch} items.`,
        required: "request",
        request: { minItems: 1, maxItems: completeBatch },
      },
    },
    QueueRetryItem: {
      id: id("The id of a leased item."),
      retry_at: { text: "When the item is to become leasable again; at once if it is not given." },
      dead: { text: "It is not to be tried again: to the dead queue, or deleted without one." },
    },
    QueueReleaseRequest: endings,
    QueueReleaseLease: ending,
    "v2.QueueRetryRequest": endings,
    QueueRetryLease: {
      ...ending,
      dead: { text: "It is not to be tried again: to the dead queue, or deleted without one." },
    },
    QueueRetryResponse: {
      results: { text: "In the order of the leases.", required: "reply", reply: { minItems: 1 } },
    },
    QueueRetryResult: {
      ok: { text: "Always true, as all of them are done or none.", required: "reply" },
      dead: {
        text: "The item will not be tried again: it was asked for, or its attempts or its time are over.",
      },
    },
    QueueClearRequest: {
      queue_name: queueName,
      scheduled: { text: "Removes scheduled items. This or queue must be true." },
      queue: { text: "Removes items that wait. This or scheduled must be true." },
      destructive: { text: "With queue: removes leased items too." },
    },
    QueueReloadRequest: { queue_name: queueName },
    QueueStatsRequest: { queue_name: queueName },
    QueueStatsResponse: {
      queue_name: queueName,
      logicalQueues: {
        text: "The loops of the queue: one in this version.",
        required: "reply",
        reply: { minItems: 1 },
      },
    },
    QueueLogicalStats: logicalStats,
    QueuePartitionStats: partitionStats,
    "v2.QueueStatsResponse": {
      queue_name: queueName,
      logicalQueues: {
        text: "The loops of the queue: one in this version.",
        required: "reply",
        reply: { minItems: 1 },
      },
    },
    "v2.QueueLogicalStats": {
      ...logicalStats,
      dropped: { text: "The sum over all partitions; left out if nothing was dropped." },
    },
    "v2.QueuePartitionStats": {
      ...partitionStats,
      dropped: { text: "Of this partition; left out if nothing was dropped." },
    },
    DroppedItems: {
      attempts: count("Deleted after max_attempts leases, as there was no dead queue."),
      expired: count("Deleted as they expired, and there was no dead queue."),
      rejected: count("Deleted as their consumer gave them up, and there was no dead queue."),
    },
    QueueInfo: {
      queue_name: queueName,
      created_at: { text: "When the queue was created.", required: "reply", ignored: true },
      updated_at: { text: "When it was changed last.", required: "reply", ignored: true },
      dead_queue: {
        text: `The queue for items that fail too often or expire; none if empty. It must exist, and have no dead queue. At most ${DEAD_QUEUE_NAME_BYTES_MAX} bytes.`,
        request: {
          maxLength: DEAD_QUEUE_NAME_BYTES_MAX,
          pattern: "^[^~\\s]*$",
        },
        accepted: { pattern: QUEUE_NAME_PATTERN.replace("+$", "*$") },
      },
      reference: {
        text: `Anything that its owner wants to note, up to ${REFERENCE_BYTES_MAX} bytes.`,
        request: { maxLength: REFERENCE_BYTES_MAX },
      },
      lease_timeout: queueTimeout("How long a lease lasts; not longer than expire_timeout."),
      expire_timeout: queueTimeout(
        "How long an item may live; 876000h, a hundred years, is as good as ever.",
      ),
      max_attempts: {
        text: "How often an item may be leased; 0 sets no limit.",
        request: { minimum: 0, maximum: MAX_ATTEMPTS_MAX },
        reply: { minimum: 0, maximum: MAX_ATTEMPTS_MAX },
      },
      requested_partitions: {
        text: `How many partitions the queue is to have, up to ${limits.partitions}. An update without it keeps the number.`,
        required: "reply",
        request: { minimum: 0, maximum: limits.partitions },
        reply: { minimum: 1 },
      },
      partitions: { text: "Empty in this version.", ignored: true },
      namespace: {
        text: `Always ${SYSTEM_NAMESPACE} in this version.`,
        required: "reply",
        accepted: { enum: ["", SYSTEM_NAMESPACE] },
        unheeded: { maxLength: NAMESPACE_BYTES_MAX, pattern: NAMESPACE_PATTERN },
        reply: { const: SYSTEM_NAMESPACE },
      },
    },
    PartitionInfo: { partition: { text: partition.text } },
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
    QueuesListResponse: { items: listed("In order of their names.") },
    QueuesDeleteRequest: {
      queue_name: queueName,
      force: { text: "Also if it is the dead queue of another one." },
    },
    QueuesInfoRequest: { queue_name: queueName },
    Reply: {
      code: { text: "Equal to the HTTP status.", required: "reply" },
      code_text: { text: "What the status is called." },
      message: { text: "What was wrong: a constant part, and after '; ' the details." },
      details: { text: "Empty in this version." },
    },
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
      queue_name: queueName,
      partition,
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
    StorageItemsListResponse: { items: listed("In order of their ids.") },
    StorageItemsImportRequest: {
      queue_name: queueName,
      partition,
      items: {
        text: `The items, from 1 to ${ENTRIES_MAX}.`,
        required: "request",
        request: { minItems: 1, maxItems: ENTRIES_MAX },
      },
    },
    StorageItemsImportResponse: { items: imported },
    "v2.StorageItemsImportResponse": {
      items: imported,
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
        reply: { items: { type: "string", ...ID } },
      },
    },
    StorageItemsDeleteRequest: {
      queue_name: queueName,
      partition,
      ids: ids("The ids of items; unknown ones are passed over."),
    },
  };
}

const ID = { pattern: ID_PATTERN };
const SIGNED_DURATION_PATTERN = DURATION_PATTERN.replace("\\+?", "[+-]?");

function both(keywords: Json): { readonly request: Json; readonly reply: Json } {
  return { request: keywords, reply: keywords };
}

function requestTimeout(text: string): FieldNote {
  return { text, required: "request", request: { minLength: 1, pattern: DURATION_PATTERN } };
}

function queueTimeout(text: string): FieldNote {
  return {
    text,
    required: "reply",
    request: { maxLength: QUEUE_TIMEOUT_LENGTH_MAX, pattern: DURATION_PATTERN },
    accepted: { pattern: `^$|${DURATION_PATTERN}` },
    reply: { pattern: DURATION_PATTERN },
  };
}

function duration(text: string): FieldNote {
  return { text, required: "reply", reply: { pattern: SIGNED_DURATION_PATTERN } };
}

function count(text: string): FieldNote {
  return { text, reply: { minimum: 0 } };
}
