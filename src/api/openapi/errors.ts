// The errors of the OpenAPI document: which kinds a call can give, with examples of what they say.
// A test provokes each example, so that none is wrong. Must never be what makes an error.

import { ERROR_KINDS, type ErrorKind, MESSAGES } from "../../errors.ts";

type Json = Readonly<Record<string, unknown>>;

interface ErrorExample {
  readonly kind: ErrorKind;
  readonly message: string;
}

const ID = "3MYU1bRy3722FDmQTN000000001";

/** Messages by the names that OPERATIONS uses; the constant ones have the names of MESSAGES. */
const ERROR_EXAMPLES = {
  leaseTimeout: { kind: "retry", message: MESSAGES.leaseTimeout },
  requestTimeout: { kind: "retry", message: MESSAGES.requestTimeout },
  outcomeUnknown: { kind: "retry", message: MESSAGES.outcomeUnknown },
  duplicateClientId: { kind: "invalid", message: MESSAGES.duplicateClientId },
  serviceShutdown: { kind: "failed", message: MESSAGES.serviceShutdown },
  queueShutdown: { kind: "failed", message: MESSAGES.queueShutdown },
  overloaded: { kind: "retry", message: MESSAGES.overloaded },
  standby: { kind: "retry", message: MESSAGES.standby },
  takenOver: { kind: "retry", message: MESSAGES.takenOver },
  internalRetry: { kind: "retry", message: MESSAGES.internalRetry },
  internal: { kind: "internal", message: MESSAGES.internal },
  partitionFailing: {
    kind: "retry",
    message: "partition not available; partition '0' is failing, retry again",
  },
  badAuthorization: { kind: "unauthorized", message: "invalid authorization header format" },
  unknownField: { kind: "content", message: "proto: unknown field colour" },
  wrongContentType: {
    kind: "content",
    message: "Content-Type header 'text/html' is invalid format or unrecognized content type",
  },
  wrongAccept: {
    kind: "content",
    message:
      "Accept header 'text/html' is invalid format or unrecognized content type, only [application/json,application/protobuf] are supported by this method",
  },
  encodedBody: {
    kind: "encoded",
    message: "Content-Encoding 'gzip' is not supported; send the body as it is, not compressed",
  },
  otherSite: {
    kind: "forbidden",
    message:
      "access denied; a page of another site may not use this server, --allowed-origins names those that may",
  },
  noSuchQueue: {
    kind: "invalid",
    message: "queue does not exist; no such queue named 'jbos'",
  },
  noQueueName: {
    kind: "invalid",
    message: "queue name is invalid; queue name cannot be empty",
  },
  spaceInQueueName: {
    kind: "invalid",
    message: "queue name is invalid; 'my jobs' cannot contain whitespace",
  },
  queueExists: { kind: "invalid", message: "invalid queue; 'jobs' already exists" },
  queueServes: {
    kind: "invalid",
    message: "queue is a dead queue; 'letters' uses it as its dead_queue",
  },
  noDeadQueue: {
    kind: "invalid",
    message: "dead_queue does not exist; 'jbos' was not found, create it first",
  },
  noNamespace: {
    kind: "failed",
    message: "namespace does not exist; 'other' was not found",
  },
  noTimeout: {
    kind: "invalid",
    message: "request timeout is required; '5m' is recommended, 15m is the maximum",
  },
  badTimeout: {
    kind: "invalid",
    message:
      'request timeout is invalid; time: missing unit in duration "5" - expected format: 900ms, 5m or 15m',
  },
  longTimeout: {
    kind: "invalid",
    message: "request timeout is invalid; maximum timeout is '15m' but '16m0s' was requested",
  },
  shortTimeout: {
    kind: "invalid",
    message: "request timeout is invalid; minimum timeout is '10ms' but '5ms' was requested",
  },
  longLease: {
    kind: "invalid",
    message: "lease timeout is too long; 1h0m0s cannot be greater than the expire timeout 30m0s",
  },
  noClientId: { kind: "invalid", message: "invalid client id; cannot be empty" },
  noBatchSize: { kind: "invalid", message: "invalid batch size; must be greater than zero" },
  noItems: { kind: "invalid", message: "items cannot be empty; at least one item is required" },
  noIds: { kind: "invalid", message: "ids is invalid; list of ids cannot be empty" },
  noLeases: { kind: "invalid", message: "leases is invalid; list of leases cannot be empty" },
  atAndDelay: {
    kind: "invalid",
    message: "leases[0].delay is invalid; give either 'at' or 'delay'",
  },
  noSuchPartition: {
    kind: "invalid",
    message: "partition is invalid; '9' is not a valid partition",
  },
  badId: {
    kind: "invalid",
    message: "invalid storage id; 'abc': Valid encoded KSUIDs are 27 characters",
  },
  noSuchId: { kind: "invalid", message: `invalid storage id; '${ID}' does not exist` },
  nothingToClear: {
    kind: "invalid",
    message: "invalid clear request; one of 'queue', 'scheduled' must be true",
  },
  negativeLimit: { kind: "invalid", message: "limit is invalid; limit cannot be negative" },
  badAttempts: {
    kind: "invalid",
    message: "attempts is invalid; '-1' is not between 0 and 1000000000",
  },
  leasedAndScheduled: {
    kind: "invalid",
    message: "enqueue_at is invalid; a leased item cannot be scheduled",
  },
  twoTimes: { kind: "invalid", message: "clock is invalid; give either 'advance' or 'now'" },
} as const satisfies Readonly<Record<string, ErrorExample>>;

export type ErrorName = keyof typeof ERROR_EXAMPLES;

/** What every call can be answered with, whatever it does. */
const OF_ALL: readonly ErrorName[] = [
  "otherSite",
  "wrongContentType",
  "wrongAccept",
  "encodedBody",
];
/** What every call under /v1 can be answered with beyond that. */
const OF_V1: readonly ErrorName[] = ["badAuthorization"];
/** What every call of the API can be answered with beyond that. */
const OF_API: readonly ErrorName[] = [
  "unknownField",
  "serviceShutdown",
  "overloaded",
  "standby",
  "takenOver",
  "internal",
];

/** All error examples of a call, given those of its own. */
export function errorsOf(
  own: readonly ErrorName[],
  { isDev, isV2 }: { readonly isDev: boolean; readonly isV2: boolean },
): readonly ErrorName[] {
  const all = isV2 ? OF_ALL : [...OF_V1, ...OF_ALL];
  return isDev ? [...own, ...all, "internal"] : [...own, ...all, ...OF_API];
}

/** The responses to a call that can fail in these ways, by status. */
export function errorResponses(
  names: readonly ErrorName[],
  { isTolerant, protobuf }: { readonly isTolerant: boolean; readonly protobuf: Json | undefined },
): Json {
  const responses: Record<string, Json> = {};
  for (const [kind, { status, text, retryable }] of Object.entries(ERROR_KINDS)) {
    const own = names.filter((name) => ERROR_EXAMPLES[name].kind === kind);
    if (own.length === 0) continue;
    const examples = own.map((name) => [name, { $ref: `#/components/examples/${name}` }]);
    const schema = {
      $ref: `#/components/schemas/${isTolerant ? schemaName(kind) : "ErrorReply"}`,
    };
    responses[status] = {
      description: retryable ? `${text}. The same may be sent again.` : `${text}.`,
      content: {
        "application/json": { schema, examples: Object.fromEntries(examples) },
        ...(protobuf && { "application/protobuf": protobuf }),
      },
    };
  }
  return responses;
}

/** The examples that responses refer to. */
export function errorExamples(names: ReadonlySet<ErrorName>): Json {
  return Object.fromEntries(
    [...names].map((name) => {
      const { kind, message } = ERROR_EXAMPLES[name];
      const { status, text } = ERROR_KINDS[kind];
      return [name, { summary: message, value: { code: status, code_text: text, message } }];
    }),
  );
}

/**
 * The schemas that responses refer to, given that of `Reply`. For clients all errors have one: the
 * status tells which it is. The tolerant variant has one of each kind that these errors have.
 */
export function errorSchemas(
  names: ReadonlySet<ErrorName>,
  { isTolerant, reply }: { readonly isTolerant: boolean; readonly reply: Json },
): Json {
  const required = ["code", "code_text", "message"];
  if (!isTolerant) return { ErrorReply: { ...reply, required } };
  const kinds = new Set<string>([...names].map((each) => ERROR_EXAMPLES[each].kind));
  return Object.fromEntries(
    Object.entries(ERROR_KINDS)
      .filter(([kind]) => kinds.has(kind))
      .map(([kind, { status, text }]) => {
        const properties = { code: { const: status }, code_text: { const: text } };
        const $ref = "#/components/schemas/Reply";
        return [schemaName(kind), { allOf: [{ $ref }, { properties, required }] }];
      }),
  );
}

/** All kinds of error, in Markdown. */
export function errorList(): string {
  return Object.values(ERROR_KINDS)
    .map(({ status, text, retryable }) => {
      const advice = retryable ? "the same may be sent again" : "the same would fail again";
      return `- \`${status}\` ${text}: ${advice}.`;
    })
    .join("\n");
}

function schemaName(kind: string): string {
  return `${kind[0]!.toUpperCase()}${kind.slice(1)}Error`;
}
