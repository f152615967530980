// What every reply must be, whatever was asked: in time, of a documented status, well-formed in the
// format asked for, with just the documented fields. It knows the messages from their descriptors
// and uses the library's own codecs, not those of the server.

import { isDeepStrictEqual } from "node:util";
import {
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonValue,
  type MessageShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { ReplySchema } from "../../src/codec/gen/querator/v1/reply_pb.ts";
import { ProblemSchema } from "../../src/codec/gen/querator/v2/problem_pb.ts";
import { ERROR_KINDS, ERRORS, type ErrorCode, MESSAGES } from "../../src/errors.ts";
import type { Reply } from "../support/http-text.ts";
import type { Outcome } from "../support/raw-connection.ts";
import { innerMessage, isRawJson } from "./endpoints.ts";
import { type Format, type Input, repliesIn, replyTypeOf } from "./input.ts";
import { isAnsweredBelow } from "./odd-http.ts";

/** What is wrong with an outcome; `kind` is the same for the same fault. */
export interface Fault {
  readonly kind: string;
  readonly detail: string;
}

/** A reply that is as it should be. */
export interface Judged {
  readonly status: number;
  /** The body as its canonical JSON; undefined where there is none. */
  readonly body: JsonValue | undefined;
}

// What wire.md lists; 500 is documented too, but nothing that a client sends may cause it.
const DOCUMENTED = new Map(Object.values(ERROR_KINDS).map(({ status, text }) => [status, text]));
const NEVER = MESSAGES.internalRetry;
// Of /v2 the same is true.
const OF_PROBLEMS = new Set(Object.values(ERRORS).map(({ status }) => status));

/** The statuses with which node:http itself refuses what is not HTTP, or expects what there is not. */
const BELOW = new Set([400, 408, 413, 417, 431, 501, 505]);

/** Judges an outcome. */
export function judge(input: Input, outcome: Outcome): Fault | Judged {
  if (input.raw !== undefined) return judgeRaw(input, outcome);
  if (outcome.kind !== "reply") {
    const received = outcome.kind === "closed" ? outcome.received.toString("latin1", 0, 200) : "";
    return { kind: `no reply from ${input.path}, ${outcome.kind}`, detail: received };
  }
  const { reply } = outcome;
  if (isAnsweredBelow(input))
    return judgeStatus(input, reply) ?? { status: reply.status, body: undefined };
  return isHealth(input) ? judgeHealth(reply) : judgeReply(input, reply);
}

/** Whether the server itself does not know what became of the request. */
export function isUnknown({ status, body }: Judged): boolean {
  const { message, detail = message } = (body ?? {}) as { message?: string; detail?: string };
  const isIt = body === undefined || detail === MESSAGES.outcomeUnknown;
  return (status === 454 || status === 503) && isIt;
}

/** Whether something was wrong with a reply. */
export function isFault(judged: Fault | Judged): judged is Fault {
  return "kind" in judged;
}

/** Whether errors are problems there. */
function isV2({ path }: Input): boolean {
  return path.startsWith("/v2/");
}

function isHealth({ method, path }: Input): boolean {
  return method === "GET" && path.split("?")[0] === "/health";
}

// Bytes that are hardly HTTP may be answered, cut off, or wait for more.
function judgeRaw(input: Input, outcome: Outcome): Fault | Judged {
  if (outcome.kind !== "reply") return { status: 0, body: undefined };
  const { status } = outcome.reply;
  if (BELOW.has(status)) return { status, body: undefined };
  return judgeStatus(input, outcome.reply) ?? { status, body: undefined };
}

function judgeStatus(input: Input, { status, body }: Reply): Fault | undefined {
  const isPage = input.raw !== undefined || input.path === "/";
  const isRefusal =
    (!isV2(input) && DOCUMENTED.has(status)) ||
    ((isV2(input) || input.raw !== undefined) && OF_PROBLEMS.has(status));
  const known = status === 200 || (status === 302 && isPage) || (isRefusal && status !== 500);
  if (known) return undefined;
  return { kind: `status ${status} from ${input.path}`, detail: body.toString("utf8", 0, 500) };
}

function judgeHealth(reply: Reply): Fault | Judged {
  const type = reply.headers.get("content-type");
  const fine = reply.status === 200 && type === "application/health+json";
  if (!fine) return { kind: "health", detail: `${reply.status} ${type}` };
  return { status: 200, body: undefined };
}

function judgeReply(input: Input, reply: Reply): Fault | Judged {
  const status = judgeStatus(input, reply);
  if (status !== undefined) return status;
  const format = repliesIn(input);
  const type = reply.headers.get("content-type");
  const isProblem = isV2(input) && reply.status !== 200;
  const inJson = format === "json" && isProblem;
  const expected = inJson ? "application/problem+json" : replyTypeOf(input);
  if (type !== expected) {
    return { kind: `reply to ${reply.status} is ${type}`, detail: `not ${expected}` };
  }
  if (reply.headers.get("x-content-type-options") !== "nosniff") {
    return { kind: "no nosniff header", detail: String(reply.status) };
  }
  const refusal = isProblem ? ProblemSchema : ReplySchema;
  const schema = reply.status === 200 ? input.endpoint.response : refusal;
  try {
    const body = decode(schema, reply.body, format);
    if (isProblem) return judgeProblem(reply, body as unknown as Problem);
    if (isV2(input) && !reply.headers.has("x-request-id")) {
      return { kind: "no request id", detail: input.endpoint.path };
    }
    return judgeBody(reply.status, schema, body) ?? { status: reply.status, body };
  } catch (error) {
    const detail = `${(error as Error).message}: ${reply.body.toString("utf8", 0, 500)}`;
    return { kind: `malformed reply to ${input.endpoint.path}`, detail };
  }
}

// Decodes strictly: a field nobody knows, one in an odd order or a default that is written out shows
// in that encoding anew gives something else.
function decode(schema: DescMessage, body: Buffer, format: Format): JsonValue {
  let message: MessageShape<DescMessage>;
  if (format === "json") {
    const value = asProtojson(schema, JSON.parse(body.toString()), (json) => JSON.stringify(json));
    message = fromJson(schema, value);
    if (!isDeepStrictEqual(toJson(schema, message), withoutNothing(value))) {
      throw new Error("not as it is written");
    }
  } else {
    message = fromBinary(schema, body);
    if (!sameFields(Buffer.from(toBinary(schema, message)), body))
      throw new Error("unknown fields");
  }
  const given = toJson(schema, message);
  if (format === "json") return given;
  return asProtojson(schema, given, (text) => JSON.stringify(JSON.parse(String(text))));
}

// A reply may say that a list is empty, which the library leaves out.
function withoutNothing(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(withoutNothing);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, each]) => !isDeepStrictEqual(each, []));
  return Object.fromEntries(members.map(([name, each]) => [name, withoutNothing(each)]));
}

// The entries of a map may be written in any order, which the library makes its own.
function sameFields(one: Buffer, other: Buffer): boolean {
  return one.equals(other) || Buffer.compare(one.toSorted(), other.toSorted()) === 0;
}

// What the library reads and writes where the JSON of the server is another: a value of JSON is a text
// there, and a number of 64 bits as well.
function asProtojson(
  schema: DescMessage,
  value: JsonValue,
  textOf: (json: JsonValue) => string,
): JsonValue {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const members = Object.entries(value).map(([name, given]): [string, JsonValue] => {
    const field = schema.fields.find(({ jsonName }) => jsonName === name);
    if (field === undefined) return [name, given];
    if (isRawJson(field)) return [name, textOf(given)];
    if (field.scalar === INT64)
      return [name, Array.isArray(given) ? given.map(String) : String(given)];
    const inner = innerMessage(field);
    if (inner === undefined) return [name, given];
    if (!Array.isArray(given)) return [name, asProtojson(inner, given, textOf)];
    return [name, given.map((each) => asProtojson(inner, each, textOf))];
  });
  return Object.fromEntries(members);
}

const INT64 = 3;

function judgeBody(status: number, schema: DescMessage, body: JsonValue): Fault | undefined {
  if (schema.typeName !== ReplySchema.typeName) return undefined;
  const { code, code_text: text, message, ...rest } = body as Record<string, unknown>;
  const expected = status === 200 ? undefined : DOCUMENTED.get(status);
  const told = status === 200 ? message === undefined : typeof message === "string";
  if (code !== status || text !== expected || !told || Object.keys(rest).length > 0) {
    return { kind: `reply with status ${status} has other fields`, detail: JSON.stringify(body) };
  }
  if (message === NEVER) return { kind: "storage failed", detail: JSON.stringify(body) };
  return undefined;
}

interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retryable?: boolean;
  readonly request_id: string;
}

// A problem agrees with the catalogue and with its reply; the id of its request is no part of what is said.
function judgeProblem({ status, headers }: Reply, body: Problem): Fault | Judged {
  const { request_id, ...said } = body;
  const { code, type, title, detail, retryable = false } = said;
  const row = Object.hasOwn(ERRORS, code) ? ERRORS[code as ErrorCode] : undefined;
  const isRight =
    row?.status === status &&
    said.status === status &&
    row.retryable === retryable &&
    type === `/docs#${code}` &&
    title !== undefined &&
    detail !== undefined &&
    headers.get("x-request-id") === request_id &&
    headers.has("retry-after") === [429, 503].includes(status) &&
    headers.has("allow") === (status === 405);
  if (!isRight)
    return { kind: `wrong problem with status ${status}`, detail: JSON.stringify(body) };
  if (code === "storage_unavailable") {
    return { kind: "storage failed", detail: JSON.stringify(body) };
  }
  return { status, body: said as unknown as JsonValue };
}
