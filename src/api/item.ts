// What is done with single items that are named by their ids: the endpoints of /v2/item.*. An item is found
// whatever has become of it: where it lies, among what has ended and is kept, in the dead queue of the queue
// that it was in, and where redrives have sent it.

import { randomUUID } from "node:crypto";
import { type Answer, reply } from "../codec/answer.ts";
import {
  ItemCancelRequestSchema,
  ItemExplainRequestSchema,
  ItemExplainResponseSchema,
  ItemGetRequestSchema,
  ItemSchema,
  ItemUpdateRequestSchema,
  ItemWaitRequestSchema,
} from "../codec/gen/querator/v2/items_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalidField, plainError, queueError } from "../errors.ts";
import {
  type FoundItem,
  type ItemChange,
  idError,
  type QueueHandle,
  stateOf,
  type Told,
} from "../queue/queue.ts";
import { fullName, nameOf, QUEUE_NAME_BYTES_MAX, QUEUE_NAME_PATTERN } from "../registry/names.ts";
import type { QueueRecord } from "../registry/records.ts";
import { LIFETIME_PATTERN, readDuration, readLifetime } from "../registry/settings.ts";
import { ItemRecord } from "../storage/storage.ts";
import { endpointsOf, MEDIUM, type RowEndpoint } from "./endpoint.ts";
import { toItemV2, withPayload } from "./item-records.ts";
import { BAD_TIMEOUTS_V2, FOUND_V2, partitionFailing, problem, QUEUED } from "./openapi/errors.ts";
import { EXAMPLE_ID, id as idNote, type Notes, PAYLOAD, TIMEOUT } from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import { readTimeout } from "./validate.ts";

/** What names an item. */
interface Named {
  readonly queueName: string;
  readonly id: string;
}

/** An item, and the queue in which it lies, or lay. */
interface Found {
  readonly item: FoundItem;
  readonly queue: QueueHandle;
}

// The states in which an item may be changed.
const CHANGEABLE = ["waiting", "scheduled", "held", "dead"];

// How often a change of a payload is tried again if its item moves meanwhile.
const UPDATE_TRIES = 5;

const NOTHING_KNOWN = new ItemRecord("", Buffer.alloc(0));

// Queues in which one item is looked for.
const PLACES_MAX = 1_000;

// How often they are gone through: what moves from one that is yet to be looked at into one that was is seen by none
// of the looks, and would have to do so each time again.
const ROUNDS = 3;

const queue_name = "jobs";

/** The endpoints. */
export function itemEndpoints(service: Service): readonly RowEndpoint[] {
  const { clock, limits, queues } = service;
  const endpoint = endpointsOf(
    { name: "item", about: "Single items, by their ids.", fields: FIELDS },
    service,
  );

  const ofItem = {
    bodyBytesMax: MEDIUM,
    reply: ItemSchema,
    queueOf,
    isOfItem: true,
    example: { queue_name, id: EXAMPLE_ID },
    errors: {
      noSuchQueue: FOUND_V2.noSuchQueue!,
      noItemId: problem("invalid_field", "id is missing; say which item", { field: "id" }),
      badItemId: problem("invalid_field", "id is invalid; 'abc' is no id of an item", {
        field: "id",
      }),
      noSuchItem: problem(
        "item_not_found",
        `item does not exist; '${EXAMPLE_ID}' is the id of none, or of one that has ended and is not kept`,
      ),
      partitionFailing,
      ...QUEUED,
    },
  } as const;

  // The queue that is named, or else the one that has given the id.
  function queueOf({ queueName, id }: Named): string {
    const name = queueName === "" ? queues.giverOf(id) : queueName;
    if (name === undefined) throw queueError("item_not_found", { id });
    return name;
  }

  function checkId(id: string): void {
    if (id === "") throw invalidField("id", "id is missing; say which item");
    if (idError(id) !== undefined) {
      throw invalidField("id", `id is invalid; '${id}' is no id of an item`);
    }
  }

  // Does something with an item where it is: in its queue, in the dead queue of that, or in one to which either
  // has sent what was redriven, and so on from there. Who may read the first may read what is found in the others.
  async function inQueue<T>(
    named: Named,
    does: (queue: QueueHandle) => Promise<T | undefined>,
  ): Promise<{ readonly queue: QueueHandle; readonly done: T }> {
    service.checkRunning();
    checkId(named.id);
    const name = queueOf(named);
    for (let round = 0; round < ROUNDS; round++) {
      const places = new Map([[name, findQueue(service, name)]]);
      // What is added meanwhile comes last.
      for (const [place, queue] of places) {
        const done = await does(queue);
        if (done !== undefined) return { queue, done };
        for (const next of [deadQueueOf(queues.record(place)), ...(await queue.sentTo())]) {
          if (next === "" || places.size === PLACES_MAX) continue;
          const handle = ifThere(next);
          if (handle !== undefined) places.set(next, handle);
        }
      }
      // From a single one nothing has ever gone anywhere.
      if (places.size === 1) break;
    }
    throw queueError("item_not_found", { id: named.id });
  }

  // It may have been deleted since.
  function ifThere(name: string): QueueHandle | undefined {
    try {
      return queues.get(name);
    } catch {
      return undefined;
    }
  }

  async function find(named: Named): Promise<Found> {
    const { queue, done } = await inQueue(named, async (each) => (await each.find(named.id))[0]);
    return { queue, item: done };
  }

  return [
    endpoint({
      ...ofItem,
      path: "/v2/item.get",
      request: ItemGetRequestSchema,
      permission: "item.read",
      metric: "item.get",
      summary: "Tells what an item is and what has become of it, wherever it is.",
      handler: async (request) => itemAnswer(await find(request), request),
    }),

    endpoint({
      ...ofItem,
      path: "/v2/item.cancel",
      request: ItemCancelRequestSchema,
      permission: "item.cancel",
      audit: "never",
      metric: "item.cancel",
      summary:
        "Sees to it that an item never comes back. One that waits is removed; one that is leased ends with its lease, of which its holder learns by item_cancelled.",
      errors: {
        ...ofItem.errors,
        itemEnded: problem("precondition_failed", "item cannot be cancelled; it is completed"),
      },
      handler: async (request) => {
        const { queue, done } = await inQueue(
          request,
          async (each) => (await each.cancelItem(request.id))[0],
        );
        return itemAnswer({ queue, item: done });
      },
    }),

    endpoint({
      ...ofItem,
      bodyBytesMax: limits.produceBytes,
      path: "/v2/item.update",
      request: ItemUpdateRequestSchema,
      permission: "queue.produce",
      audit: "never",
      metric: "item.update",
      summary:
        "Changes an item that is not leased. It keeps its id, and goes to the end of the line.",
      example: { queue_name, id: EXAMPLE_ID, expire_in: "1h" },
      errors: {
        ...ofItem.errors,
        badIfState: problem(
          "invalid_field",
          `if_state is invalid; 'done' is none of ${CHANGEABLE.join(", ")}`,
          { field: "if_state" },
        ),
        itemLeased: problem("precondition_failed", "item cannot be changed; it is leased"),
      },
      handler: async (request) => {
        service.checkRunning();
        const change = readChange(request, clock.now());
        for (let tries = 0; tries < UPDATE_TRIES; tries++) {
          const content = await newContent(request);
          const { queue, done } = await inQueue(request, async (each) => {
            const updated = await each.updateItem(request.id, change, content);
            return updated === "stale" ? updated : updated[0];
          });
          if (done !== "stale") return itemAnswer({ queue, item: done });
        }
        throw plainError("overloaded");
      },
    }),

    endpoint({
      ...ofItem,
      path: "/v2/item.wait",
      waits: true,
      request: ItemWaitRequestSchema,
      permission: "item.read",
      metric: "item.wait",
      summary:
        "Waits until an item has ended or is dead, and answers it then; or as it is when the time is over.",
      errors: { ...ofItem.errors, ...BAD_TIMEOUTS_V2 },
      handler: async (request, exchange) => {
        service.checkRunning();
        const until = clock.steady() + readTimeout(request.requestTimeout);
        let found = await find(request);
        let { queue } = found;
        const ticket = randomUUID();
        exchange.onGone(() => void queue.unwatch(ticket).catch(() => undefined));
        for (let places = 1; !isOver(found.item) && !exchange.isGone(); places++) {
          ({ queue } = found);
          const told = await queue.watch(request.id, ticket, until - clock.steady());
          try {
            found = await find(request);
          } catch (error) {
            const last = typeof told === "string" ? undefined : lastSeen(found, told);
            if (last === undefined) throw error;
            return itemAnswer(last, request);
          }
          // What was on its way into another queue is waited for there.
          const hasMoved = found.queue.name !== queue.name;
          if (!hasMoved || places === PLACES_MAX || until <= clock.steady()) break;
        }
        return itemAnswer(found, request);
      },
    }),

    endpoint({
      ...ofItem,
      path: "/v2/item.explain",
      request: ItemExplainRequestSchema,
      reply: ItemExplainResponseSchema,
      permission: "item.read",
      metric: "item.explain",
      summary: "Tells why an item is not running, and when it is likely to.",
      handler: async (request) => {
        const { id } = request;
        const { done } = await inQueue(request, (each) => each.explain(id));
        return reply(ItemExplainResponseSchema, { id, ...done });
      },
    }),
  ];

  // With a payload that is given, the record that is to be: what is about the payload stays as it is.
  async function newContent(request: UpdateRequest) {
    const { json, utf8, bytes } = request;
    if (json === "" && utf8 === undefined && bytes === undefined) return [];
    const { item } = await find(request);
    const record: ItemRecord = withPayload(item.record, { json, utf8, bytes });
    return [{ ofSeq: item.seq, record }];
  }
}

type UpdateRequest = Decoded<typeof ItemUpdateRequestSchema>;

function readChange(request: UpdateRequest, now: number): ItemChange {
  const { enqueueAt, delay = "", json, utf8, bytes, expireIn, ifState } = request;
  const payloads = [json === "" ? undefined : json, utf8, bytes].filter(
    (each) => each !== undefined,
  );
  if (payloads.length > 1) {
    throw invalidField(
      bytes !== undefined ? "bytes" : "utf8",
      "there is more than one payload; give one of json, utf8 and bytes",
    );
  }
  if (ifState !== "" && !CHANGEABLE.includes(ifState)) {
    throw invalidField(
      "if_state",
      `if_state is invalid; '${ifState}' is none of ${CHANGEABLE.join(", ")}`,
    );
  }
  if (enqueueAt !== 0 && delay !== "") {
    throw invalidField("delay", "delay is invalid; give either 'enqueue_at' or 'delay'");
  }
  const wait = delay === "" ? undefined : readDelay(delay);
  const life = expireIn === "" ? undefined : readLifetime(expireIn, "expire_in");
  return {
    dueAt: wait !== undefined ? now + wait : enqueueAt === 0 ? undefined : Math.max(enqueueAt, 0),
    expireAt: life === undefined ? undefined : now + life,
    ifState,
  };
}

function readDelay(given: string): number {
  const field = "delay";
  const duration = readDuration(given, { field, called: field, examples: "30s, 5m or 1h" });
  if (duration >= 0) return Math.trunc(duration);
  throw invalidField(field, `${field} is invalid; '${given}' cannot be negative`);
}

function itemAnswer({ item, queue }: Found, { payload = false } = {}): Answer {
  const shown = toItemV2(item, { partition: item.partition, payload });
  return reply(ItemSchema, { ...shown, queueName: nameOf(queue.name) });
}

// The full name of a queue's dead queue; "" if it has none.
function deadQueueOf({ namespace, deadQueue }: QueueRecord): string {
  return deadQueue === "" ? "" : fullName(namespace, deadQueue);
}

// What nobody waits for any more.
function isOver(item: FoundItem): boolean {
  return item.end !== undefined || stateOf(item) === "dead";
}

// An item that was waited for and of which nothing is kept: as it was when it ended, and how it has. Nothing if it
// has not, but was taken away. What it holds is known if it lay where it was seen: one that was changed, or moved
// since, lay elsewhere.
function lastSeen({ item, queue }: Found, told: Told): Found | undefined {
  const { how, reason, at: endedAt, result } = told;
  const isDropped = how === "dropped";
  if (how !== "completed" && how !== "cancelled" && !isDropped) return undefined;
  const state = isDropped ? (reason === "expired" ? "expired" : "rejected") : how;
  const end = { state, endedAt, result } as const;
  const { partition, seq, createdAt, attempts, attributes } = told;
  const isSame = partition === item.partition && seq === item.seq;
  const record = isSame ? item.record : NOTHING_KNOWN;
  const was = { partition, seq, createdAt, attempts, attributes, record, expireAt: 0, dueAt: 0 };
  return {
    queue,
    item: { ...item, ...was, isLeased: false, leaseDeadline: 0, note: undefined, end },
  };
}

const DURATION = {
  request: { pattern: DURATION_PATTERN },
  accepted: { pattern: `^$|${DURATION_PATTERN}` },
};
const LIFETIME = {
  request: { pattern: LIFETIME_PATTERN },
  accepted: { pattern: `^$|${LIFETIME_PATTERN}` },
};
const NAMED = {
  queue_name: {
    text: "Where the item is looked for, in its dead queue, and where redrives have sent it; in the queue that has given the id if it is not given.",
    request: { maxLength: QUEUE_NAME_BYTES_MAX },
    accepted: { pattern: `^$|${QUEUE_NAME_PATTERN}` },
  },
  id: idNote("The item."),
};
const WITH_PAYLOAD = { payload: { text: "Whether the payload is wanted." } };

// What the fields of the messages mean; those of Item are noted with its lists.
const FIELDS: Notes = {
  ItemGetRequest: { ...NAMED, ...WITH_PAYLOAD },
  ItemCancelRequest: NAMED,
  ItemUpdateRequest: {
    ...NAMED,
    ...PAYLOAD,
    enqueue_at: { text: "When it is to become leasable; at once if that is past." },
    delay: {
      ...DURATION,
      text: "The same as a duration from now, in place of enqueue_at; 0s for at once.",
    },
    expire_in: { ...LIFETIME, text: "How long it may live from now on, or never." },
    if_state: {
      text: `Only if it is ${CHANGEABLE.join(", ")}, whichever is given.`,
      request: { enum: CHANGEABLE },
      accepted: { enum: ["", ...CHANGEABLE] },
    },
  },
  ItemWaitRequest: {
    ...NAMED,
    ...WITH_PAYLOAD,
    request_timeout: {
      ...TIMEOUT,
      text: "How long to wait, from 10ms to 15m; 30s if it is not given.",
    },
  },
  ItemExplainRequest: NAMED,
  ItemExplainResponse: {
    id: idNote("The item."),
    state: { text: "What it is, as item.get tells it.", required: "reply" },
    reasons: { text: "Why it is not running; what is most to the point first.", required: "reply" },
    position: {
      text: "If it waits: how many of its partition are leased before it, up to 100000.",
    },
    expected_at: {
      text: "When it is likely to be leased, by how fast its partition was of late; not given if nothing was leased of late, or some kinds only.",
    },
  },
  ItemReason: {
    code: {
      text: "scheduled, behind, in_line, no_consumer, leased, dead or ended.",
      required: "reply",
      reply: { enum: ["scheduled", "behind", "in_line", "no_consumer", "leased", "dead", "ended"] },
    },
    detail: { text: "The same for people.", required: "reply" },
    until: { text: "Until when, if that is known." },
    since: {
      text: "Since when, of no_consumer: when somebody was there last who would have taken it, or when the server has started.",
    },
  },
};
