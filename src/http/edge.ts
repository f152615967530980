// What the two readers of HTTP share (connection.ts and server.ts): what an endpoint is, and how its answer or
// an error becomes a reply. Every request that has a path ends in `answer` or in `errorReply`. Knows no
// rule of a queue.

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { ClientCertificate, Principal } from "../auth/principal.ts";
import { ANONYMOUS, refused } from "../auth/state.ts";
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
import { type Account, isOfConnections } from "../quotas.ts";
import type { Access } from "./access.ts";
import type { Attempts } from "./attempts.ts";
import type { Head, Told } from "./head.ts";
import { JSON_MEDIA, type Media } from "./media.ts";
import type { HttpMeters, RequestMeter } from "./meters.ts";
import { STATUS_CODES } from "./node-http.ts";
import { encodeProblem, PROBLEM_TYPE, RETRY_AFTER } from "./problem.ts";
import { requestIdOf } from "./request-id.ts";
import { certificateOf } from "./secure.ts";
import type { Stream } from "./streams.ts";

/** What a handler may know of the request beside its body. */
export interface Exchange {
  /** The X-Request-Id header, or the id that was made for a request without one. */
  readonly requestId: string;
  /** The Idempotency-Key header: 1 to 255 visible characters; "" if there is none, and always under /v1. */
  readonly idempotencyKey: string;
  /** The X-Querator-Namespace header; "" if there is none. */
  readonly namespace: string;
  /** Who sends it. */
  readonly principal: Principal;
  /** The address that its connection comes from; `unix` of a Unix socket. */
  readonly address: string;
  /** Whether the client has gone away before it was answered. */
  isGone(): boolean;
  /** Calls `gone`, once, if the client goes away before it is answered. */
  onGone(gone: () => void): void;
}

/** The address that a connection comes from. */
export function peerOf({ remoteAddress = "unix" }: Socket): string {
  return remoteAddress.replace(/^::ffff:(?=\d+\.)/, "");
}

/** One endpoint: how large its body may be, and what it does. */
export interface Endpoint {
  readonly bodyBytesMax: number;
  /** Counts its requests. */
  readonly meter: RequestMeter;
  /** Whether it changes nothing, so that a large reply may be refused when memory is short. */
  readonly isRead?: boolean;
  handle(body: Buffer, format: Format, exchange: Exchange): Promise<Answer> | Answer;
}

/** What answers GET and HEAD at a path. */
export interface Page {
  /** `reader` is undefined of who shows a key that is not taken. */
  handle(request: IncomingMessage, reader: Principal | undefined): Promise<PageReply> | PageReply;
}

/** Pages by their paths. */
export type Pages = Pick<ReadonlyMap<string, Page>, "get">;

/** The reply of a page. */
export interface PageReply extends Reply {
  /** In addition to those that every reply has. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** What all connections of a server have in common. */
export interface Edge {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly pages: Pages;
  readonly streams: ReadonlyMap<string, Stream>;
  readonly limits: Limits;
  readonly log: Logger;
  readonly held: Held;
  /** If set, requests wait for it before they are executed: the server is about to close its listening sockets. */
  gate?: Promise<void> | undefined;
  /** Decides who is let in. */
  readonly access: Access;
  /** Knows who sends a request; undefined if nobody has to say so. */
  readonly auth: Authority | undefined;
  /** Counts who shows keys that are not taken. */
  readonly attempts: Attempts;
  /** Microseconds after which an idle connection is closed. */
  readonly keepAlive: number;
  /** What is counted of requests. */
  readonly meters: HttpMeters;
  /** The steady time, of the system. */
  readonly steady: () => number;
}

/** Knows who sends a request. */
export interface Authority {
  /** `certificate` is what the connection has shown. Throws a QueueError (401) if it is nobody that is known. */
  principalOf(authorization: string | undefined, certificate?: ClientCertificate): Principal;
  /** Whether one that a connection remembers is still taken. */
  isTaken(principal: Principal): boolean;
  /** What a namespace uses. */
  accountOf(namespace: string): Account;
}

/** Bytes of requests and replies that are in memory at present, over all connections. */
export interface Held {
  bytes: number;
}

/** A reply before it is put on the wire. */
export interface Reply {
  readonly status: number;
  /** The Content-Type header. */
  readonly type: string;
  readonly body: string | Uint8Array;
  /** Whether it closes its connection: on another one the client may reach a server that can do more. */
  readonly isLast?: boolean;
  /** Seconds after which the client may send the same request again. */
  readonly retryAfter?: number;
}

// A longer text is encoded by itself: joined to its head first, it would be copied twice.
const SHORT_REPLY_CHARS = 4_096;

/** Requests up to this size are taken however much memory others hold. */
export const FREE_BYTES = 4_096;

/** A reply of at least this size is refused if others hold too much memory. */
export const LARGE_REPLY_BYTES = 65_536;

/** How long a client that does not take its reply at once may make no progress. */
export const STALLED_REPLY = 60 * SECOND;

/** Has the endpoint answer, and makes a reply of it; undefined if the client has gone meanwhile. */
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
    if (exchange.isGone()) return undefined;
    return errorReply(errorFor(error, exchange.principal, head, edge), head, accepted, edge);
  }
}

/** What somebody is told of an error: who has shown no key is asked for one, if they may not do what they ask. */
export function errorFor(error: unknown, by: Principal, told: Told, edge: Edge): unknown {
  const isNobody = edge.auth !== undefined && by.userId === ANONYMOUS;
  return isNobody ? askForKey(error, told) : error;
}

// Who has shown no key may be somebody who may.
function askForKey(error: unknown, { isV2 }: Told): unknown {
  const isDenied = error instanceof QueueError && error.code === "permission_denied";
  return isDenied && isV2
    ? refused("authentication required; send Authorization: Bearer KEY")
    : error;
}

/**
 * What becomes of a request that waits when its principal ends. If its key is still taken, as when only its end is
 * another, it waits on as who it then is. Else it is answered, and its connection closed: what it still waits for
 * inside may come at any time, and must find nobody.
 */
export function waitOn(
  told: Told,
  media: Media,
  edge: Edge,
  { before, socket }: { readonly before: Principal; readonly socket: Socket },
): Principal | Reply {
  try {
    const next = edge.auth!.principalOf(told.authorization, certificateOf(socket));
    // Who has shown a certificate is anybody without a key, once their user is gone.
    if (next.userId !== before.userId) throw refused("certificate is of no user");
    return next;
  } catch (error) {
    return { ...errorReply(error, told, media, edge), isLast: true };
  }
}

// However small the limit is, one large reply at a time finds room.
function hasRoomFor(length: number, { held, limits }: Edge): boolean {
  const others = held.bytes;
  return (
    others < LARGE_REPLY_BYTES ||
    length < LARGE_REPLY_BYTES ||
    others + length <= limits.requestBytes
  );
}

/** The reply for an error, in the form of its path. Anything but a QueueError is logged, and told as `internal`. */
export function errorReply(error: unknown, told: Told, media: Media, edge: Edge): Reply {
  const { path, requestId } = told;
  let known: QueueError;
  if (error instanceof QueueError) {
    known = error;
  } else {
    const id = requestId || requestIdOf(undefined);
    edge.log.error({ err: error, path, request_id: id }, "request failed");
    known = queueError("internal", {});
  }
  edge.meters.noteError(known.code);
  const { format, type } = media;
  const isLast = LAST.includes(known.code) || isOfConnections(known);
  if (told.isV2) {
    const { status } = ERRORS[known.code];
    const body = encodeProblem(known, format, requestId);
    const own = { status, type: format === "json" ? PROBLEM_TYPE : type, body, isLast };
    const { seconds = RETRY_AFTER } = known.details ?? {};
    return status === 429 || status === 503 ? { ...own, retryAfter: Number(seconds) } : own;
  }
  const { status, text } = ERROR_KINDS[known.kind];
  const reply = { code: status, codeText: text, message: known.message, details: {} };
  const body =
    format === "json" ? encodeJson(ReplySchema, reply) : encodeProtobuf(ReplySchema, reply);
  return { status, type, body, isLast };
}

// Errors of a server that executes nothing at present. They close the connection: behind a load balancer, a
// client that kept its connection would get the same answer for ever.
const LAST: readonly ErrorCode[] = ["standby", "taken_over", "shutting_down"];

/** Code for `brokenReply`: the server ends a connection that waits for a request. */
export const ENDING = "ENDING";

// What is told of errors of the parser of node:http; of those that are not listed, that it is not valid HTTP.
const BROKEN: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_INVALID_METHOD: [400, "http method is unknown, or this is not HTTP; only POST"],
  HPE_HEADER_OVERFLOW: [431, "request headers are too large"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "chunk extensions are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "request was not sent in time"],
  // 408 says that whatever is on its way may be sent again (RFC 9110, 15.5.9).
  [ENDING]: [408, MESSAGES.serviceShutdown],
};

/** The whole reply to what is not a complete HTTP request, by the code of the error; it closes the connection. */
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
