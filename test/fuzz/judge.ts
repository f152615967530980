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
import { ERROR_KINDS, MESSAGES } from "../../src/errors.ts";
import type { Reply } from "../support/http-text.ts";
import type { Outcome } from "../support/raw-connection.ts";
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
  const { message } = (body ?? {}) as { message?: string };
  return status === 454 && (body === undefined || message === MESSAGES.outcomeUnknown);
}

/** Whether something was wrong with a reply. */
export function isFault(judged: Fault | Judged): judged is Fault {
  return "kind" in judged;
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
  const known =
    status === 200 || (status === 302 && isPage) || (DOCUMENTED.has(status) && status !== 500);
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
  const expected = replyTypeOf(input);
  if (type !== expected) {
    return { kind: `reply to ${reply.status} is ${type}`, detail: `not ${expected}` };
  }
  if (reply.headers.get("x-content-type-options") !== "nosniff") {
    return { kind: "no nosniff header", detail: String(reply.status) };
  }
  const schema = reply.status === 200 ? input.endpoint.response : ReplySchema;
  try {
    const body = decode(schema, reply.body, format);
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
    const value = JSON.parse(body.toString()) as JsonValue;
    message = fromJson(schema, value);
    if (!isDeepStrictEqual(toJson(schema, message), value)) throw new Error("not as it is written");
  } else {
    message = fromBinary(schema, body);
    if (!Buffer.from(toBinary(schema, message)).equals(body)) throw new Error("unknown fields");
  }
  return toJson(schema, message);
}

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
