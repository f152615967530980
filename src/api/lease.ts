// How items are leased: queue.lease of both versions.

import { MILLISECOND } from "../clock.ts";
import {
  QueueLeaseRequestSchema,
  QueueLeaseResponseSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import {
  QueueLeaseRequestSchema as LeaseRequestV2,
  QueueLeaseResponseSchema as LeaseResponseV2,
} from "../codec/gen/querator/v2/queue_pb.ts";
import { DURATION_PATTERN } from "../duration.ts";
import { invalid, invalidField, MESSAGES, QueueError } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import type { Limits } from "../limits.ts";
import { EXTENSION_MAX, type Leased, LeaseRequest, type QueueHandle } from "../queue/queue.ts";
import { isBlank, NOT_BLANK_PATTERN, nameOf } from "../registry/names.ts";
import { readDuration } from "../registry/settings.ts";
import { SOURCE } from "./dead-source.ts";
import { byName, type endpointsOf, MEDIUM, type RowEndpoint, SMALL } from "./endpoint.ts";
import { leaseAnswer, leaseAnswerV2 } from "./item-records.ts";
import {
  BAD_TIMEOUTS_V2,
  FOUND,
  FOUND_V2,
  outcomeUnknown,
  problem,
  QUEUED,
  refusal,
  retry,
  shortTimeout,
  TIMED,
} from "./openapi/errors.ts";
import {
  id,
  type Notes,
  neededTimeout,
  PARTITION,
  PAYLOAD,
  QUEUE_NAME,
  TIMEOUT,
} from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";
import { TRACE } from "./trace.ts";
import {
  checkTimeoutGiven,
  checkTimeoutMax,
  checkTimeoutMin,
  parseRequestTimeout,
  readTimeout,
} from "./validate.ts";

const queue_name = "jobs";
const CLIENT_BYTES_MAX = 512;
const KINDS_MAX = 16;
const KIND_BYTES_MAX = 256;

/** The endpoints. */
export function leaseEndpoints(
  service: Service,
  endpoint: ReturnType<typeof endpointsOf>,
): readonly RowEndpoint[] {
  const { clock, limits } = service;

  function checkBatchSize(batchSize: number): void {
    if (batchSize <= 0) {
      throw invalidField("batch_size", "invalid batch size; must be greater than zero");
    }
    if (batchSize <= limits.leaseBatch) return;
    throw invalidField(
      "batch_size",
      `invalid batch size; max_lease_batch_size is ${limits.leaseBatch}, but ${batchSize} was requested`,
    );
  }

  // How many they are is known only now: those who come later wait for what is too many.
  function charge(namespace: string, { items }: Leased): void {
    const { accounts } = service.auth;
    if (!accounts.isAnyLimited) return;
    accounts.limited(namespace)?.charge("itemsPerSecond", items.length, clock.steady());
  }

  return [
    endpoint({
      path: "/v1/queue.lease",
      bodyBytesMax: SMALL,
      request: QueueLeaseRequestSchema,
      reply: QueueLeaseResponseSchema,
      permission: "queue.lease",
      audit: "never",
      metric: "lease",
      queueOf: byName,
      summary: "Leases items to a client; waits for some until request_timeout.",
      example: { queue_name, request_timeout: "1m", client_id: "worker-1", batch_size: 1 },
      errors: {
        ...FOUND,
        noClientId: refusal("invalid client id; cannot be empty"),
        noBatchSize: refusal("invalid batch size; must be greater than zero"),
        ...TIMED,
        shortTimeout,
        duplicateClientId: refusal(MESSAGES.duplicateClientId),
        leaseTimeout: retry(MESSAGES.leaseTimeout),
        outcomeUnknown,
        ...QUEUED,
      },
      handler: async (request, exchange, _, namespace) => {
        const queue = findQueue(service, request.queueName);
        const timeout = parseRequestTimeout(request.requestTimeout);
        const { clientId, batchSize } = request;
        if (isBlank(clientId)) throw invalid("invalid client id; cannot be empty");
        checkBatchSize(batchSize);
        checkTimeoutGiven(timeout);
        checkTimeoutMax(timeout);
        checkTimeoutMin(timeout);
        const lease = new LeaseRequest(clientId, batchSize, clock.steady() + timeout);
        const leased = await submitFor(exchange, queue, lease);
        got(exchange, queue, leased);
        charge(namespace, leased);
        return leaseAnswer(nameOf(request.queueName), leased);
      },
    }),
    endpoint({
      path: "/v2/queue.lease",
      repeats: "never",
      bodyBytesMax: MEDIUM,
      request: LeaseRequestV2,
      reply: LeaseResponseV2,
      permission: "queue.lease",
      audit: "never",
      metric: "lease",
      queueOf: byName,
      summary:
        "Leases items; waits for some until request_timeout, and answers none if there are none.",
      example: { queue_name, client: "worker-1", batch_size: 1 },
      errors: {
        ...FOUND_V2,
        ...BAD_TIMEOUTS_V2,
        outcomeUnknown,
        largeBatch: problem(
          "invalid_field",
          "invalid batch size; max_lease_batch_size is 1000, but 5000 was requested",
          { field: "batch_size" },
        ),
        longLeaseTimeout: problem(
          "invalid_field",
          "lease_timeout is invalid; '13h' is not between 10ms and 12h",
          { field: "lease_timeout" },
        ),
        manyKinds: problem(
          "invalid_field",
          `kinds is invalid; cannot have more than ${KINDS_MAX} entries`,
          { field: "kinds" },
        ),
        ...QUEUED,
      },
      handler: async (request, exchange, _, namespace) => {
        const queue = findQueue(service, request.queueName);
        const timeout = readTimeout(request.requestTimeout);
        const batchSize = request.batchSize === 0 ? 1 : request.batchSize;
        checkBatchSize(batchSize);
        const { client, kinds } = request;
        checkKinds(kinds);
        if (Buffer.byteLength(client) > CLIENT_BYTES_MAX) {
          const max = `cannot be greater than '${CLIENT_BYTES_MAX}' bytes`;
          throw invalidField("client", `client is invalid; ${max}`);
        }
        const deadline = clock.steady() + timeout;
        const lease = new LeaseRequest(client, batchSize, deadline, {
          isShared: true,
          leaseTimeout: readLeaseTimeout(request.leaseTimeout),
          kinds: kinds.length === 0 ? undefined : kinds,
        });
        try {
          const leased = await submitFor(exchange, queue, lease);
          got(exchange, queue, leased);
          charge(namespace, leased);
          return leaseAnswerV2(leased);
        } catch (error) {
          if (error instanceof QueueError && error.code === "no_items") return NO_ITEMS;
          throw error;
        }
      },
    }),
  ];
}

const LEASE_TIMEOUT = {
  field: "lease_timeout",
  called: "lease_timeout",
  examples: "30s, 5m or 1h",
};
const LEASE_TIMEOUT_MIN = 10 * MILLISECOND;

// How long a lease lasts, in microseconds; 0 for as long as the queue says.
function readLeaseTimeout(given: string): number {
  if (given === "") return 0;
  const timeout = Math.trunc(readDuration(given, LEASE_TIMEOUT));
  if (timeout >= LEASE_TIMEOUT_MIN && timeout <= EXTENSION_MAX) return timeout;
  const text = `lease_timeout is invalid; '${given}' is not between 10ms and 12h`;
  throw invalidField("lease_timeout", text);
}

function checkKinds(kinds: readonly string[]): void {
  if (kinds.length > KINDS_MAX) {
    const text = `kinds is invalid; cannot have more than ${KINDS_MAX} entries`;
    throw invalidField("kinds", text);
  }
  for (const [index, kind] of kinds.entries()) {
    const bytes = Buffer.byteLength(kind);
    if (bytes > 0 && bytes <= KIND_BYTES_MAX) continue;
    const field = `kinds[${index}]`;
    const wrong =
      bytes === 0 ? "cannot be empty" : `cannot be greater than '${KIND_BYTES_MAX}' bytes`;
    throw invalidField(field, `${field} is invalid; ${wrong}`);
  }
}

const NO_ITEMS = leaseAnswerV2(undefined);

// Waits for items as long as the client does.
function submitFor(exchange: Exchange, queue: QueueHandle, lease: LeaseRequest): Promise<Leased> {
  const leased = queue.submit(lease);
  // As long as it gets none.
  exchange.waitedUntil = Number.POSITIVE_INFINITY;
  exchange.onGone(() => queue.cancel(lease));
  return leased;
}

// It has got some, if its client is still there.
function got(exchange: Exchange, queue: QueueHandle, leased: Leased): void {
  exchange.waitedUntil = leased.waitedUntil;
  if (exchange.isGone()) giveBack(queue, leased);
}

// Takes back what was leased for a client that did not wait for it.
function giveBack(queue: QueueHandle, { partition, ids, items }: Leased): void {
  queue.giveBack(
    partition,
    items.map(({ seq }) => ids.id(seq)),
  );
}

/** What the fields of the messages mean. */
export function leaseNotes({ leaseBatch, readyItems }: Limits): Notes {
  return {
    QueueLeaseRequest: {
      queue_name: QUEUE_NAME,
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
      request_timeout: neededTimeout("How long to wait for items, from 10ms to 15m."),
    },
    QueueLeaseResponse: {
      queue_name: QUEUE_NAME,
      partition: { ...PARTITION, text: "Where the items lie; complete and retry need it." },
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
    "v2.QueueLeaseRequest": {
      queue_name: QUEUE_NAME,
      batch_size: {
        text: `How many items at most, up to ${leaseBatch}; 1 if it is not given.`,
        request: { minimum: 0, maximum: leaseBatch },
      },
      client: {
        text: "Who leases: a name for people. Any number of requests may have the same.",
        request: { maxLength: CLIENT_BYTES_MAX },
      },
      request_timeout: {
        ...TIMEOUT,
        text: "How long to wait for items, from 10ms to 15m; 30s if it is not given.",
      },
      lease_timeout: {
        text: "How long the lease lasts, from 10ms to 12h; as long as the queue says if it is not given.",
        request: { pattern: DURATION_PATTERN },
        accepted: { pattern: `^$|${DURATION_PATTERN}` },
      },
      kinds: {
        text: `Only items of these kinds, up to ${KINDS_MAX}. What is passed over keeps its place. Of each partition the first ${readyItems} items that wait are looked at: what lies further back is found once those before it are leased.`,
        request: {
          maxItems: KINDS_MAX,
          items: { type: "string", minLength: 1, maxLength: KIND_BYTES_MAX },
        },
      },
    },
    "v2.QueueLeaseResponse": {
      items: { text: "An empty list if there were none in time.", required: "reply" },
    },
    "v2.QueueLeaseItem": {
      id: { text: "What the item is, from produce until its end.", required: "reply" },
      lease_id: id("What this lease of it is: what ends or extends it."),
      fence: {
        text: "Greater for each later lease of the same item: what guards other systems against late writers.",
        required: "reply",
        reply: { minimum: 0 },
      },
      lease_deadline: { text: "When the lease ends by itself.", required: "reply" },
      attempts: {
        text: "How often it has been leased, this time included.",
        required: "reply",
        reply: { minimum: 1 },
      },
      ...PAYLOAD,
      headers: { text: "As it was produced." },
      kind: { text: "As it was produced." },
      reference: { text: "As it was produced." },
      encoding: { text: "As it was produced." },
      created_at: { text: "When it was produced.", required: "reply" },
      source: SOURCE,
      last_error: { text: "Why its last attempt failed, if its consumer has said so." },
      ...TRACE,
    },
  };
}
