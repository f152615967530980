// The errors of the OpenAPI document: which kinds a call can give, with examples of what they say. Those
// of one endpoint stand in its row, under names that are the same wherever the same is said; here are
// those of all, and of many. A test provokes each example, so that none is wrong. Must never be what makes
// an error.

import {
  detailNames,
  ERROR_KINDS,
  ERRORS,
  type ErrorCode,
  type ErrorKind,
  type ErrorRow,
  MESSAGES,
  QueueError,
} from "../../errors.ts";
import { STATUS_CODES } from "../../http/node-http.ts";
import { encodeProblem, PROBLEM_TYPE } from "../../http/problem.ts";

type Json = Readonly<Record<string, unknown>>;

/** An error that a call may answer with, for the documents. */
export interface ErrorExample {
  readonly kind: ErrorKind;
  readonly message: string;
  /** Under /v2, where the message does not tell it. */
  readonly code?: ErrorCode;
  /** Which field is wrong, under /v2. */
  readonly field?: string;
}

/** Examples by their names in the document; the constant ones have the names of MESSAGES. */
export type Errors = Readonly<Record<string, ErrorExample>>;

/** What is wrong with the request. */
export function refusal(message: string): ErrorExample {
  return { kind: "invalid", message };
}

/** What may succeed if it is sent again. */
export function retry(message: string): ErrorExample {
  return { kind: "retry", message };
}

/** What can go wrong under /v2. */
export function problem(
  code: ErrorCode,
  message: string,
  { field }: { readonly field?: string } = {},
): ErrorExample {
  return { kind: ERRORS[code].kind, message, code, ...(field !== undefined && { field }) };
}

// --- of many calls ---

export const noSuchQueue = refusal("queue does not exist; no such queue named 'jbos'");
export const noQueueName = refusal("queue name is invalid; queue name cannot be empty");
export const negativeLimit = refusal("limit is invalid; limit cannot be negative");
export const noSuchPartition = refusal("partition is invalid; '9' is not a valid partition");
export const badId = refusal("invalid storage id; 'abc': Valid encoded KSUIDs are 27 characters");
export const internalRetry = retry(MESSAGES.internalRetry);
export const partitionFailing = retry(
  "partition not available; partition '0' is failing, retry again",
);

/** Of calls on a queue that there must be. */
export const FOUND: Errors = { noSuchQueue, noQueueName };

/** Of calls that the loop of a queue answers. */
export const QUEUED: Errors = {
  queueShutdown: { kind: "failed", message: MESSAGES.queueShutdown },
  internalRetry,
};

export const outcomeUnknown = retry(MESSAGES.outcomeUnknown);
export const requestTimeout = retry(MESSAGES.requestTimeout);
export const shortTimeout = refusal(
  "request timeout is invalid; minimum timeout is '10ms' but '5ms' was requested",
);

/** Of calls that have a time-out. */
export const BAD_TIMEOUTS: Errors = {
  badTimeout: refusal(
    'request timeout is invalid; time: missing unit in duration "5" - expected format: 900ms, 5m or 15m',
  ),
  longTimeout: refusal(
    "request timeout is invalid; maximum timeout is '15m' but '16m0s' was requested",
  ),
};

/** Of calls that need one. */
export const TIMED: Errors = {
  noTimeout: refusal("request timeout is required; '5m' is recommended, 15m is the maximum"),
  ...BAD_TIMEOUTS,
};

// --- of many calls of /v2 ---

export const noQueueNameV2 = problem("invalid_field", noQueueName.message, { field: "queue_name" });
export const badCursor = problem("invalid_field", "cursor is invalid; it is none of this list", {
  field: "cursor",
});

/** Of calls on a queue that there must be. */
export const FOUND_V2: Errors = {
  noSuchQueue: problem("queue_not_found", noSuchQueue.message),
  noQueueName: noQueueNameV2,
};

/** Of calls that have a time-out. */
export const BAD_TIMEOUTS_V2: Errors = Object.fromEntries(
  Object.entries({ ...BAD_TIMEOUTS, shortTimeout }).map(([name, { message }]) => [
    name,
    problem("invalid_field", message, { field: "request_timeout" }),
  ]),
);

// --- of all calls ---

/** What every call can be answered with, whatever it does. */
const OF_ALL: Errors = {
  otherSite: {
    kind: "forbidden",
    message:
      "access denied; a page of another site may not use this server, --allowed-origins names those that may",
  },
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
};

/** What every call under /v1 can be answered with beyond that. */
const OF_V1: Errors = {
  badAuthorization: { kind: "unauthorized", message: "invalid authorization header format" },
};

const internal: ErrorExample = { kind: "internal", message: MESSAGES.internal };

/** What every call of the API can be answered with beyond that. */
const OF_API: Errors = {
  keyExpired: problem("key_expired", ERRORS.key_expired.text),
  serviceShutdown: { kind: "failed", message: MESSAGES.serviceShutdown },
  overloaded: retry(MESSAGES.overloaded),
  standby: retry(MESSAGES.standby),
  takenOver: retry(MESSAGES.takenOver),
  internal,
};

/** What every call under /v2 can be answered with beyond that; it has a code of its own for what cannot be read. */
const OF_V2: Errors = {
  emptyBody: problem("invalid_request", "the body is empty"),
};

const denied: ErrorExample = { kind: "forbidden", message: "access denied" };
const deniedV2 = problem("permission_denied", "access denied; this needs queue.list");

const unknownField: ErrorExample = { kind: "content", message: "proto: unknown field colour" };
const unknownFieldV2 = problem("unknown_field", "unknown field 'colour'", { field: "colour" });

const keyOfAnother = problem(
  "idempotency_mismatch",
  "Idempotency-Key was used for another request; 'order-17'",
);

/** All error examples of a call, given those of its own. */
export function errorsOf(
  own: Errors,
  {
    isDev,
    isV2,
    takesKey,
  }: { readonly isDev: boolean; readonly isV2: boolean; readonly takesKey: boolean },
): Errors {
  const all = isV2
    ? { ...OF_ALL, ...OF_V2, ...(takesKey && { keyOfAnother }) }
    : { ...OF_V1, ...OF_ALL };
  if (isDev) return { ...own, ...all, internal };
  const ofVersion = isV2
    ? { unknownField: unknownFieldV2, denied: deniedV2 }
    : { unknownField, denied };
  return { ...own, ...all, ...ofVersion, ...OF_API };
}

interface ResponseOptions {
  readonly isTolerant: boolean;
  readonly isV2: boolean;
  /** What an error is in Protobuf, if that is to be said. */
  readonly protobuf: Json | undefined;
}

/** The responses to a call that can fail in these ways, by status. */
export function errorResponses(errors: Errors, options: ResponseOptions): Json {
  return options.isV2 ? problemResponses(errors, options) : replyResponses(errors, options);
}

function replyResponses(errors: Errors, { isTolerant, protobuf }: ResponseOptions): Json {
  const responses: Record<string, Json> = {};
  for (const [kind, { status, text, retryable }] of Object.entries(ERROR_KINDS)) {
    const own = Object.keys(errors).filter((name) => errors[name]!.kind === kind);
    if (own.length === 0) continue;
    const schema = {
      $ref: `#/components/schemas/${isTolerant ? schemaName(kind) : "ErrorReply"}`,
    };
    responses[status] = {
      description: retryable ? `${text}. The same may be sent again.` : `${text}.`,
      content: {
        "application/json": { schema, examples: references(own) },
        ...(protobuf && { "application/protobuf": protobuf }),
      },
    };
  }
  return responses;
}

function problemResponses(errors: Errors, { isTolerant, protobuf }: ResponseOptions): Json {
  const byStatus = new Map<number, string[]>();
  for (const name of Object.keys(errors)) {
    const { status } = ERRORS[asError(errors[name]!).code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), name]);
  }
  const responses: Record<string, Json> = {};
  for (const [status, own] of byStatus) {
    const codes = [...new Set(own.map((name) => asError(errors[name]!).code))];
    const $ref = "#/components/schemas/Problem";
    const exact = { properties: { status: { const: status }, code: { enum: codes } } };
    const mayPass = codes.every((code) => ERRORS[code].retryable);
    const text = `${STATUS_CODES[status]}: ${codes.map((code) => `\`${code}\``).join(", ")}.`;
    responses[status] = {
      description: mayPass ? `${text} The same may be sent again.` : text,
      content: {
        [PROBLEM_TYPE]: {
          schema: isTolerant ? { allOf: [{ $ref }, exact] } : { $ref },
          examples: references(own.map(nameUnderV2)),
        },
        ...(protobuf && { "application/protobuf": protobuf }),
      },
    };
  }
  return responses;
}

function references(names: readonly string[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/examples/${name}` }]));
}

// The same is said in another form there.
function nameUnderV2(name: string): string {
  return `${name}V2`;
}

/** The examples that responses refer to, of the errors of calls under /v1 and of those under /v2. */
export function errorExamples(ofV1: Errors, ofV2: Errors): Json {
  const replies = Object.entries(ofV1).map(([name, { kind, message }]) => {
    const { status, text } = ERROR_KINDS[kind];
    return [name, { summary: message, value: { code: status, code_text: text, message } }];
  });
  const problems = Object.entries(ofV2).map(([name, example]) => {
    const text = encodeProblem(asError(example), "json", EXAMPLE_REQUEST_ID).toString();
    return [nameUnderV2(name), { summary: example.message, value: JSON.parse(text) }];
  });
  return Object.fromEntries([...replies, ...problems]);
}

const EXAMPLE_REQUEST_ID = "6pRkQ0sJ2Xnc-1";

// An example as the error that it is one of: by its text, as all of a code have one with the same places.
function asError({ kind, message, code: told, field }: ErrorExample): QueueError {
  for (const { code, text, pattern } of PATTERNS) {
    const found = ERRORS[code].kind === kind ? pattern.exec(message) : null;
    if (found === null) continue;
    const names = detailNames(text);
    const details = Object.fromEntries(names.map((name, i) => [name, found[i + 1]!]));
    return new QueueError(kind, message, { code, details, field });
  }
  return new QueueError(kind, message, { ...(told && { code: told }), field });
}

// Some have another text under /v2.
const PATTERNS = (Object.keys(ERRORS) as ErrorCode[]).flatMap((code) => {
  const { text, detail = text }: ErrorRow = ERRORS[code];
  return [...new Set([text, detail])].flatMap((each) => {
    if (each === "{detail}") return [];
    const plain = each.replace(/[\\^$.*+?()[\]|]/g, "\\$&");
    const pattern = new RegExp(`^${plain.replace(/\{\w+\}/g, "(.*)")}$`, "s");
    return [{ code, text: each, pattern }];
  });
});

/**
 * The schemas that responses under /v1 refer to, given that of `Reply`. For clients all errors have one:
 * the status tells which it is. The tolerant variant has one of each kind that these errors have.
 */
export function errorSchemas(
  errors: Errors,
  { isTolerant, reply }: { readonly isTolerant: boolean; readonly reply: Json },
): Json {
  const required = ["code", "code_text", "message"];
  if (!isTolerant) return { ErrorReply: { ...reply, required } };
  const kinds = new Set<string>(Object.values(errors).map((each) => each.kind));
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
