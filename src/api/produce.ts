// How items come into a queue: queue.produce of both versions.

import type { Clock } from "../clock.ts";
import { type Answer, OK, reply } from "../codec/answer.ts";
import { QueueProduceRequestSchema } from "../codec/gen/querator/v1/queue_pb.ts";
import {
  type QueueProduceItemSchema as ProduceItemV2,
  QueueProduceRequestSchema as ProduceRequestV2,
  QueueProduceResponseSchema as ProduceResponseV2,
} from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import { invalidField, SomeRefusedError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import {
  type IdSpace,
  type Item,
  type Produced,
  type ProducedItem,
  ProduceRequest,
  tracedText,
  withAttributes,
} from "../queue/queue.ts";
import { LIFETIME_PATTERN } from "../registry/settings.ts";
import type { TraceContext } from "../trace-context.ts";
import { byName, type endpointsOf, type RowEndpoint } from "./endpoint.ts";
import { HEADERS_BYTES_MAX, HEADERS_MAX, readingV2, toItems, toItemsV2 } from "./item-records.ts";
import {
  BAD_TIMEOUTS_V2,
  FOUND,
  FOUND_V2,
  outcomeUnknown,
  problem,
  QUEUED,
  refusal,
  requestTimeout,
  shortTimeout,
  TIMED,
} from "./openapi/errors.ts";
import {
  atOrDelay,
  EXAMPLE_ID,
  type Notes,
  neededTimeout,
  PAYLOAD,
  QUEUE_NAME,
  TIMEOUT,
} from "./openapi/fields.ts";
import { OWN_RETRY, readExpireIn, readOwnRetry } from "./policy.ts";
import { findQueue, type Service } from "./service.ts";
import { OWN_TRACE, readTrace, traceOf } from "./trace.ts";
import { readUniqueKeys, UNIQUE_NOTES } from "./unique-keys.ts";
import {
  checkTimeoutGiven,
  checkTimeoutMax,
  checkTimeoutMin,
  parseRequestTimeout,
  readMoment,
  readTimeout,
} from "./validate.ts";

const queue_name = "jobs";

/** The endpoints. */
export function produceEndpoints(
  service: Service,
  endpoint: ReturnType<typeof endpointsOf>,
): readonly RowEndpoint[] {
  const { clock, limits } = service;

  function checkCount(count: number): void {
    if (count === 0) {
      throw invalidField("items", "items cannot be empty; at least one item is required");
    }
    if (count <= limits.produceBatch) return;
    throw invalidField(
      "items",
      `items is invalid; max_produce_batch_size is ${limits.produceBatch} but received ${count}`,
    );
  }

  const readItems = newItemsReader(service);

  return [
    endpoint({
      path: "/v1/queue.produce",
      bodyBytesMax: limits.produceBytes,
      request: QueueProduceRequestSchema,
      permission: "queue.produce",
      audit: "never",
      metric: "produce",
      queueOf: byName,
      summary: "Puts items into a queue; answers when they are stored.",
      example: { queue_name, request_timeout: "1m", items: [{ kind: "mail", utf8: "hello" }] },
      errors: {
        ...FOUND,
        ...TIMED,
        shortTimeout,
        noItems: refusal("items cannot be empty; at least one item is required"),
        requestTimeout,
        outcomeUnknown,
        ...QUEUED,
      },
      handler: async (request) => {
        const queue = findQueue(service, request.queueName);
        const timeout = parseRequestTimeout(request.requestTimeout);
        checkTimeoutGiven(timeout);
        checkTimeoutMax(timeout, true);
        checkTimeoutMin(timeout);
        const { items } = request;
        checkCount(items.length);
        await queue.submit(new ProduceRequest(toItems(items), clock.steady() + timeout));
        return OK;
      },
    }),
    endpoint({
      path: "/v2/queue.produce",
      bodyBytesMax: limits.produceBytes,
      request: ProduceRequestV2,
      reply: ProduceResponseV2,
      permission: "queue.produce",
      audit: "never",
      metric: "produce",
      queueOf: byName,
      summary: "Puts items into a queue; answers their ids when they are stored.",
      example: { queue_name, items: [{ kind: "mail", json: { to: "jane" } }] },
      errors: {
        ...FOUND_V2,
        ...BAD_TIMEOUTS_V2,
        requestTimeout,
        outcomeUnknown,
        noItems: problem("invalid_field", "items cannot be empty; at least one item is required", {
          field: "items",
        }),
        twoPayloads: problem(
          "invalid_field",
          "items[0] has more than one payload; give one of json, utf8 and bytes",
          { field: "items[0].utf8" },
        ),
        uniqueKeyTaken: problem(
          "unique_key_taken",
          `unique key is taken; 'jane' is that of item '${EXAMPLE_ID}'`,
          { field: "items[0].unique_key" },
        ),
        someRefused: problem("some_refused", "nothing was done; 1 of 1 are refused"),
        ...QUEUED,
      },
      repeats: "itself",
      handler: async (request, exchange, repeat) => {
        const queue = findQueue(service, request.queueName);
        const timeout = readTimeout(request.requestTimeout);
        checkCount(request.items.length);
        const items = readItems(request.items, request.queueName, traceOf(exchange));
        const unique = readUniqueKeys(request.items);
        const together = request.allOrNone ? "listed" : "each";
        const produce = new ProduceRequest(items, clock.steady() + timeout, unique, together);
        produce.repeat = repeat;
        const produced = await queue.submit(produce);
        if (produced.each !== undefined) return answerOfEach(produced, request.allOrNone);
        return produceAnswer(queue.ids(produced.partition), produced, items.length);
      },
    }),
  ];
}

type New = Decoded<typeof ProduceItemV2>;

/**
 * Makes what reads the items that are produced under /v2 into a queue. Those that say nothing of a trace belong to
 * that of their request.
 */
export function newItemsReader(
  service: Service,
): (given: readonly New[], queueName: string, trace?: TraceContext) => Item[] {
  const dueAt = dueAtOf(service.clock);
  // For most of them, one that is made once.
  const plain = readingV2(dueAt);
  return (given, queueName, trace) => {
    if (!given.some(hasAttributes)) {
      if (trace === undefined) return toItemsV2(given, plain);
      const all = tracedText(trace);
      return toItemsV2(
        given,
        readingV2(dueAt, () => all),
      );
    }
    return toItemsV2(given, readingV2(dueAt, attributesOfNew(service, queueName, trace)));
  };
}

function dueAtOf(clock: Clock) {
  return ({ enqueueAt, delay }: New, index: number): number =>
    delay === ""
      ? Math.max(enqueueAt, 0)
      : readMoment({ at: enqueueAt, delay, path: `items[${index}]`, name: "enqueue_at" }, clock);
}

// Whether an item says something of itself beside its payload and its time, which for most is nothing.
function hasAttributes(item: New): boolean {
  return hasPolicy(item) || item.traceparent !== "" || item.tracestate !== "";
}

function hasPolicy({ maxAttempts, expireIn, retry }: New): boolean {
  return maxAttempts !== undefined || expireIn !== "" || retry !== undefined;
}

function attributesOfNew({ queues }: Service, queueName: string, ofRequest?: TraceContext) {
  const longest = (): number => queues.record(queueName).retryMaxDelay;
  return (item: New, index: number): string => {
    const at = `items[${index}]`;
    const trace = readTrace(item, at) ?? ofRequest;
    const text = trace === undefined ? "" : tracedText(trace);
    if (!hasPolicy(item)) return text;
    const { maxAttempts, expireIn, retry } = item;
    return withAttributes(text, {
      retry: readOwnRetry({ retry, maxAttempts }, at, longest),
      expireIn: readExpireIn(expireIn, at),
    });
  };
}

// The ids are consecutive, so none is kept for the answer.
function produceAnswer(ids: IdSpace, { first, scheduled }: Produced, count: number): Answer {
  const statuses: string[] = new Array(count).fill("created");
  for (const index of scheduled) statuses[index] = "scheduled";
  return {
    encode: (format) => {
      if (format === "protobuf") {
        const results = statuses.map((status, i) => ({ id: ids.id(first + i), status }));
        return encodeProtobuf(ProduceResponseV2, { results });
      }
      let reply = '{"results":[';
      for (let i = 0; i < count; i++) {
        reply += `${i === 0 ? "" : ","}{"id":"${ids.id(first + i)}","status":"${statuses[i]}"}`;
      }
      return `${reply}]}`;
    },
  };
}

// Each has an id of its own, and may be refused.
function answerOfEach({ each = [], refused = [] }: Produced, allOrNone: boolean): Answer {
  if (allOrNone && refused.length > 0) {
    const errors = new Map(refused.map(({ index, error }) => [index, error]));
    throw new SomeRefusedError(errors, each.length);
  }
  const results: ProduceResult[] = [...each];
  for (const { index, error } of refused) {
    results[index] = { code: error.code, detail: error.message };
  }
  return reply(ProduceResponseV2, { results, failed: refused.length });
}

type ProduceResult = Partial<ProducedItem> & { readonly code?: string; readonly detail?: string };

/** What the fields of the messages mean. */
export function produceNotes({ produceBatch }: Limits): Notes {
  return {
    QueueProduceRequest: {
      queue_name: QUEUE_NAME,
      request_timeout: neededTimeout("How long to try, from 10ms to less than 15m."),
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
    "v2.QueueProduceRequest": {
      queue_name: QUEUE_NAME,
      request_timeout: TIMEOUT,
      items: {
        text: `The items, from 1 to ${produceBatch}; they are stored in this order.`,
        required: "request",
        request: { minItems: 1, maxItems: produceBatch },
      },
      all_or_none: {
        text: "Nothing is done unless all of it can be: else the answer is some_refused, with why for each.",
      },
    },
    "v2.QueueProduceItem": {
      ...PAYLOAD,
      headers: {
        text: `What is about the payload, from text to text: up to ${HEADERS_MAX} entries and ${HEADERS_BYTES_MAX} bytes.`,
        request: { maxProperties: HEADERS_MAX },
      },
      kind: { text: "What kind of work it is; the server does not look at it." },
      reference: { text: "Anything that the producer wants to find again." },
      encoding: { text: "How the payload is to be read; the server does not look at it." },
      ...atOrDelay("enqueue_at", "When the item is to become leasable; at once if that is past."),
      ...OWN_RETRY,
      expire_in: {
        text: "How long the item may live, or never, in place of what its queue says.",
        request: { pattern: LIFETIME_PATTERN },
        accepted: { pattern: `^$|${LIFETIME_PATTERN}` },
      },
      ...UNIQUE_NOTES,
      ...OWN_TRACE,
    },
    QueueProduceResponse: {
      results: { text: "In the order of the items.", required: "reply", reply: { minItems: 1 } },
      failed: { text: "How many of them are refused." },
    },
    QueueProduceResult: {
      id: {
        text: "What the item is that is there now, until its end. Not of one that is refused.",
      },
      status: {
        text: "created, or scheduled if it is to become leasable later; duplicate if its unique key is that of the item that is answered, replaced if it has taken the place of that.",
        reply: { enum: ["created", "scheduled", "duplicate", "replaced"] },
      },
      code: { text: "Why nothing was done, if it is refused: a code as errors have it." },
      detail: { text: "The same for people." },
    },
  };
}
