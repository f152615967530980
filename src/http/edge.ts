// What both ways of reading HTTP share (server.ts, connection.ts): what an endpoint is, and how an answer
// or an error becomes a reply: in `answer` and `errorReply`, where every request ends that has got as far as
// a path. Knows no rule of a queue.

import { type IncomingMessage, STATUS_CODES } from "node:http";
import { SECOND } from "../clock.ts";
import type { Answer, Format } from "../codec/answer.ts";
import { ReplySchema } from "../codec/gen/querator/v1/reply_pb.ts";
import { encodeJson } from "../codec/json.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import {
  ERROR_KINDS,
  ERRORS,
  type ErrorCode,
  MESSAGES,
  QueueError,
  queueError,
  retryLater,
} from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { Access } from "./access.ts";
import type { Head, Told } from "./head.ts";
import { JSON_MEDIA, type Media } from "./media.ts";
import { encodeProblem, PROBLEM_TYPE, RETRY_AFTER } from "./problem.ts";

/** What a handler may know of the request beside its body. */
export interface Exchange {
  /** The header X-Request-Id, or what was made in place of it. */
  readonly requestId: string;
  /** The header Idempotency-Key: 1 to 255 visible characters; "" if there is none, and under /v1. */
  readonly idempotencyKey: string;
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
  handle(body: Buffer, format: Format, exchange: Exchange): Promise<Answer> | Answer;
}

/** What is read with GET or HEAD at a path. */
export interface Page {
  handle(request: IncomingMessage): Promise<PageReply> | PageReply;
}

/** A page as it goes out. */
export interface PageReply extends Reply {
  /** Beside those of every reply. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** What all connections of a server have in common. */
export interface Edge {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly pages: ReadonlyMap<string, Page>;
  readonly limits: Limits;
  readonly log: Logger;
  readonly held: Held;
  /** Before which no request is served any more, while the server closes the sockets that listen. */
  gate?: Promise<void> | undefined;
  /** Who is let in. */
  readonly access: Access;
  /** An idle connection is closed after so many microseconds. */
  readonly keepAlive: number;
}

/** Bytes that requests and replies hold at present, over all connections. */
export interface Held {
  bytes: number;
}

/** A reply before it is put on the wire. */
export interface Reply {
  readonly status: number;
  /** Its Content-Type. */
  readonly type: string;
  readonly body: string | Uint8Array;
  /** Whether the connection ends with it: another one may lead to a server that can do more. */
  readonly isLast?: boolean;
  /** Seconds after which the same may be sent again. */
  readonly retryAfter?: number;
}

// A longer text is encoded before it is sent: joined to its head it would be copied twice.
const SHORT_REPLY_CHARS = 4_096;

/** Small requests are served however much others hold. */
export const FREE_BYTES = 4_096;

/** A reply of at least so many bytes is refused if others hold too much. */
export const LARGE_REPLY_BYTES = 65_536;

/** A reply that its client does not take at once has this long to make progress. */
export const STALLED_REPLY = 60 * SECOND;

/** Has the endpoint answer; undefined if the client goes before that. */
export async function answer(
  head: Head,
  body: Buffer,
  exchange: Exchange,
  edge: Edge,
): Promise<Reply | undefined> {
  const { endpoint, sent, accepted } = head;
  try {
    if (edge.gate !== undefined) await edge.gate;
    const given = await endpoint.handle(body, sent.format, exchange);
    if (exchange.isGone()) return undefined;
    const text = given.encode(accepted.format);
    if (endpoint.isRead === true && !hasRoomFor(text.length, edge)) {
      throw retryLater(MESSAGES.overloaded);
    }
    const isLong = typeof text === "string" && text.length > SHORT_REPLY_CHARS;
    return { status: 200, type: accepted.type, body: isLong ? Buffer.from(text) : text };
  } catch (error) {
    return errorReply(error, head, accepted, edge);
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

/** The reply that tells of an error, as its path has it; what is not meant for users is logged. */
export function errorReply(error: unknown, told: Told, media: Media, edge: Edge): Reply {
  const { path, requestId } = told;
  let known: QueueError;
  if (error instanceof QueueError) {
    known = error;
  } else {
    edge.log.error({ err: error, path, request_id: requestId }, "request failed");
    known = queueError("internal", {});
  }
  const { format, type } = media;
  const isLast = LAST.includes(known.code);
  if (told.isV2) {
    const { status } = ERRORS[known.code];
    const body = encodeProblem(known, format, requestId);
    const own = { status, type: format === "json" ? PROBLEM_TYPE : type, body, isLast };
    return status === 429 || status === 503 ? { ...own, retryAfter: RETRY_AFTER } : own;
  }
  const { status, text } = ERROR_KINDS[known.kind];
  const reply = { code: status, codeText: text, message: known.message, details: {} };
  const body =
    format === "json" ? encodeJson(ReplySchema, reply) : encodeProtobuf(ReplySchema, reply);
  return { status, type, body, isLast };
}

// What this server says as long as it serves nothing. Behind what deals out connections, a client that
// kept its own would hear it for ever.
const LAST: readonly ErrorCode[] = ["standby", "taken_over", "shutting_down"];

/** For `brokenReply`: no request will be served any more on a connection that waits for one. */
export const ENDING = "ENDING";

// What the parser of node:http refuses beside what is plainly wrong.
const BROKEN: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_INVALID_METHOD: [400, "http method is unknown, or this is not HTTP; only POST"],
  HPE_HEADER_OVERFLOW: [431, "request headers are too large"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "chunk extensions are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "request was not sent in time"],
  // 408 says that whatever is on its way may be sent again (RFC 9110, 15.5.9).
  [ENDING]: [408, MESSAGES.serviceShutdown],
};

/** All of the reply to what is no whole request of HTTP, by the code of the error; its connection ends. */
export function brokenReply(errorCode = ""): string {
  const [code, message] = BROKEN[errorCode] ?? [400, "request is not valid HTTP"];
  const codeText = STATUS_CODES[code]!;
  const body = encodeJson(ReplySchema, { code, codeText, message });
  return (
    `HTTP/1.1 ${code} ${codeText}\r\nContent-Type: ${JSON_MEDIA.type}\r\n` +
    `X-Content-Type-Options: nosniff\r\nContent-Length: ${lengthOf(body)}\r\n` +
    `Connection: close\r\n\r\n${body}`
  );
}

/** Bytes of a body on the wire. */
export function lengthOf(body: string | Uint8Array): number {
  return typeof body === "string" ? Buffer.byteLength(body) : body.length;
}
