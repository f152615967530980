// What both ways of reading HTTP share (server.ts, connection.ts): what an endpoint is, which formats
// headers name, and how an answer or an error becomes a reply. Knows no rule of a queue.

import { STATUS_CODES } from "node:http";
import type { DescMessage } from "@bufbuild/protobuf";
import { SECOND } from "../clock.ts";
import { ERROR_KINDS, MESSAGES, QueueError, retryLater } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { Answer, Format } from "./answer.ts";
import { STEPS_FROM_BYTES } from "./decode.ts";
import { ReplySchema } from "./gen/querator/v1/reply_pb.ts";
import { encodeJson } from "./json.ts";
import { encodeProtobuf } from "./protobuf.ts";
import { share } from "./share.ts";

/** What a handler may know of the request beside its body. */
export interface Exchange {
  /** Whether the client has gone away before it was answered. */
  isGone(): boolean;
  /** Calls back, once, if it goes. */
  onGone(gone: () => void): void;
}

/** One endpoint: how large its body may be, and what it does. */
export interface Endpoint {
  readonly bodyBytesMax: number;
  /** It changes nothing, so that a large reply may be refused for want of memory. */
  readonly isRead?: boolean;
  /** The message it decodes, for the OpenAPI document; none if it knows JSON only. */
  readonly request?: DescMessage;
  handle(body: Buffer, format: Format, exchange: Exchange): Promise<Answer> | Answer;
}

/** What all connections of a server have in common. */
export interface Edge {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly limits: Limits;
  readonly log: Logger;
  readonly held: Held;
}

/** Bytes that requests and replies hold at present, over all connections. */
export interface Held {
  bytes: number;
}

/** A request whose head says all that must be known to answer it. */
export interface RequestHead {
  readonly path: string;
  readonly endpoint: Endpoint;
  /** Of the body. */
  readonly sent: Format;
  /** Of the reply. */
  readonly accepted: Format;
}

/** A reply before it is put on the wire. */
export interface Reply {
  readonly status: number;
  readonly format: Format;
  readonly body: string | Uint8Array;
}

// A longer text is encoded before it is sent: joined to its head it would be copied twice.
const SHORT_REPLY_CHARS = 4_096;

/** Small requests are served however much others hold. */
export const FREE_BYTES = 4_096;

// Larger bodies wait for their share of a turn; still larger ones are read in steps, each of which does.
const SHARED_FROM_BYTES = 128 * 1024;

/** A reply of at least so many bytes is refused if others hold too much. */
export const LARGE_REPLY_BYTES = 65_536;

/** A reply that its client does not take at once has this long to make progress. */
export const STALLED_REPLY = 60 * SECOND;

/** An idle connection is closed after so long. */
export const KEEP_ALIVE = 75 * SECOND;

/** The Content-Type of a reply. */
export const CONTENT_TYPES = {
  json: "application/json",
  protobuf: "application/protobuf",
} as const;

/** Has the endpoint answer; undefined if the client goes before that. */
export async function answer(
  head: RequestHead,
  body: Buffer,
  exchange: Exchange,
  edge: Edge,
): Promise<Reply | undefined> {
  const { endpoint, sent, accepted: format } = head;
  try {
    const handle = () => endpoint.handle(body, sent, exchange);
    const isShared = body.length > SHARED_FROM_BYTES && body.length <= STEPS_FROM_BYTES;
    const given = await (isShared ? share.run(handle) : handle());
    if (exchange.isGone()) return undefined;
    const text = given.encode(format);
    if (endpoint.isRead === true && !hasRoomFor(text.length, edge)) {
      throw retryLater(MESSAGES.overloaded);
    }
    const isLong = typeof text === "string" && text.length > SHORT_REPLY_CHARS;
    return { status: 200, format, body: isLong ? Buffer.from(text) : text };
  } catch (error) {
    return errorReply(error, format, head.path, edge);
  }
}

// One large reply always finds room, however small the limit.
function hasRoomFor(length: number, { held, limits }: Edge): boolean {
  const others = held.bytes;
  return (
    others < LARGE_REPLY_BYTES ||
    length < LARGE_REPLY_BYTES ||
    others + length <= limits.requestBytes
  );
}

/** The reply that tells of an error; what is not meant for users is logged. */
export function errorReply(error: unknown, format: Format, path: string, edge: Edge): Reply {
  let known: QueueError;
  if (error instanceof QueueError) {
    known = error;
  } else {
    edge.log.error({ err: error, path }, "request failed");
    known = new QueueError("internal", MESSAGES.internal);
  }
  const { status, text } = ERROR_KINDS[known.kind];
  const reply = { code: status, codeText: text, message: known.message, details: {} };
  const body =
    format === "json" ? encodeJson(ReplySchema, reply) : encodeProtobuf(ReplySchema, reply);
  return { status, format, body };
}

// What the parser of node:http refuses beside what is plainly wrong.
const BROKEN: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_INVALID_METHOD: [400, "http method is unknown, or this is not HTTP; only POST"],
  HPE_HEADER_OVERFLOW: [431, "request headers are too large"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "chunk extensions are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "request was not sent in time"],
};

/** All of the reply to what is no whole request of HTTP, by the code of the error; its connection ends. */
export function brokenReply(errorCode = ""): string {
  const [code, message] = BROKEN[errorCode] ?? [400, "request is not valid HTTP"];
  const codeText = STATUS_CODES[code]!;
  const body = encodeJson(ReplySchema, { code, codeText, message });
  return (
    `HTTP/1.1 ${code} ${codeText}\r\nContent-Type: ${CONTENT_TYPES.json}\r\n` +
    `X-Content-Type-Options: nosniff\r\nContent-Length: ${lengthOf(body)}\r\n` +
    `Connection: close\r\n\r\n${body}`
  );
}

/** Bytes of a body on the wire. */
export function lengthOf(body: string | Uint8Array): number {
  return typeof body === "string" ? Buffer.byteLength(body) : body.length;
}

/** The format that a Content-Type or Accept header names; undefined if it is none of ours. */
export function formatOf(header: string | undefined): Format | undefined {
  if (header === undefined || header === "application/json") return "json";
  switch (/^[^;,]*/.exec(header)![0].trim().toLowerCase()) {
    case "":
    case "*/*":
    case "application/*":
    case "application/json":
      return "json";
    case "application/protobuf":
      return "protobuf";
    default:
      return undefined;
  }
}

/** Whether an Authorization header is one; without authentication every caller is welcome all the same. */
export function isAuthorization(header: string | undefined): boolean {
  return header === undefined || header.startsWith("Bearer ");
}
