// The HTTP edge: from socket to handler and back. Has the body read within its limit (body.ts), tells
// its format as Content-Type says, calls the one handler of the path, and encodes the answer as Accept says. Every
// error leaves through one place. Knows no rule of a queue. The order of the checks is that of
// wire.md 1.1; it is written out in `handle`.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { DescMessage } from "@bufbuild/protobuf";
import { ERROR_KINDS, MESSAGES, QueueError, retryLater } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { Answer, Format } from "./answer.ts";
import { Body, BodyRequest, formatSize, type Held } from "./body.ts";
import { ReplySchema } from "./gen/querator/v1/reply_pb.ts";
import { encodeJson } from "./json.ts";
import { makePages, type SendPage } from "./pages.ts";
import { encodeProtobuf } from "./protobuf.ts";

/** What a handler may know of the request beside its body. */
export interface Exchange {
  /** Whether the client has gone away before it was answered. */
  readonly isGone: () => boolean;
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

export interface HttpOptions {
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly limits: Limits;
  readonly log: Logger;
  /** Whether storage answers; and whether the server still takes work. */
  readonly health: () => Promise<Health>;
}

export interface Health {
  readonly pass: boolean;
  readonly body: string;
}

const DISCARD_BYTES_MAX = 65_536;

// A reply of at least so many bytes counts until the client has taken it, and has this long to
// make progress. Smaller ones end up in the buffers of the socket at once.
const LARGE_REPLY_BYTES = 65_536;
const STALLED_REPLY_MS = 60_000;
// A text of so many characters goes out in one piece with its head.
const SHORT_REPLY_CHARS = 4_096;

// How long a connection with a refused body may be silent before it is closed.
const LINGER_MS = 10_000;

const CONTENT_TYPES = { json: "application/json", protobuf: "application/protobuf" } as const;

/** What one HTTP server works with. */
interface Edge extends HttpOptions {
  readonly held: Held;
  readonly sendPage: SendPage;
}

/** A server that is not listening yet. */
export function createHttpServer(options: HttpOptions): Server {
  const { endpoints, limits } = options;
  const sendPage = makePages({ endpoints, limits, formatSize });
  const edge: Edge = { ...options, held: { bytes: 0 }, sendPage };
  const server = createServer({ IncomingMessage: BodyRequest }, (request, response) => {
    handle(request, response, edge).catch((error: unknown) => {
      options.log.error({ err: error }, "request failed");
      response.destroy();
    });
  });
  // A client that does not finish its request in time, or sits on an idle connection, is cut off.
  server.headersTimeout = 10_000;
  server.requestTimeout = 60_000;
  server.keepAliveTimeout = 75_000;
  let connections = 0;
  server.prependListener("connection", (socket) => {
    if (connections >= options.limits.connections) {
      socket.destroy();
      return;
    }
    connections++;
    socket.once("close", () => {
      connections--;
    });
  });
  return server;
}

async function handle(request: BodyRequest, response: ServerResponse, edge: Edge): Promise<void> {
  const path = pathOf(request.url!);
  let format = formatOf(request.headers.accept) ?? "json"; // errors come in it too
  let body: Body | undefined;
  try {
    if (request.method !== "POST") {
      if (request.method === "GET" && path === "/health") {
        await sendHealth(response, edge);
        return;
      }
      if (request.method === "GET" && edge.sendPage(path, response)) return;
      throw new QueueError("invalid", `http method '${request.method}' not allowed; only POST`);
    }
    checkAuthorization(request);
    const endpoint = edge.endpoints.get(path);
    if (endpoint === undefined) {
      throw new QueueError("not-implemented", `no such method; ${path}`);
    }
    format = acceptedFormat(request.headers.accept);
    const sent = sentFormat(request.headers["content-type"]);
    body = new Body(request, endpoint.bodyBytesMax, edge.held, edge.limits);
    const bytes = await body.read();
    if (bytes === undefined) return; // the client has gone
    const answer = await endpoint.handle(bytes, sent, exchangeOf(request, response));
    if (request.socket.destroyed) return;
    const reply = answer.encode(format);
    if (endpoint.isRead === true && !hasRoomFor(reply.length, edge)) {
      throw retryLater(MESSAGES.overloaded);
    }
    send(response, 200, format, reply, edge);
  } catch (error) {
    sendError(request, response, format, error, edge);
  } finally {
    body?.release();
  }
}

function exchangeOf({ socket }: IncomingMessage, response: ServerResponse): Exchange {
  return {
    isGone: () => socket.destroyed,
    onGone(gone) {
      response.once("close", () => {
        if (!response.writableEnded) gone();
      });
    },
  };
}

// The target may be a whole URL, as it is sent to proxies.
function pathOf(url: string): string {
  const target = url.startsWith("/") ? url : url.replace(/^https?:\/\/[^/?]*/i, "");
  const end = target.indexOf("?");
  return end === -1 ? target : target.slice(0, end);
}

// Without authentication every caller is welcome, but a header that is none is still refused.
function checkAuthorization(request: IncomingMessage): void {
  const { authorization } = request.headers;
  if (authorization !== undefined && !authorization.startsWith("Bearer ")) {
    throw new QueueError("unauthorized", "invalid authorization header format");
  }
}

// --- content types ---

function formatOf(header: string | undefined): Format | undefined {
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

function sentFormat(header: string | undefined): Format {
  const format = formatOf(header);
  if (format !== undefined) return format;
  throw new QueueError(
    "content",
    `Content-Type header '${header}' is invalid format or unrecognized content type`,
  );
}

function acceptedFormat(header: string | undefined): Format {
  const format = formatOf(header);
  if (format !== undefined) return format;
  throw new QueueError(
    "content",
    `Accept header '${header}' is invalid format or unrecognized content type, only [application/json,application/protobuf] are supported by this method`,
  );
}

// --- replies ---

function send(
  response: ServerResponse,
  status: number,
  format: Format,
  body: string | Uint8Array,
  edge: Edge,
): void {
  // A long text would be copied once more to go out in one piece with its head.
  const bytes =
    typeof body === "string" && body.length > SHORT_REPLY_CHARS ? Buffer.from(body) : body;
  const length = lengthOf(bytes);
  writeHead(response, status, format, length);
  response.end(bytes);
  if (length >= LARGE_REPLY_BYTES) holdUntilTaken(response, length, edge);
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

function lengthOf(body: string | Uint8Array): number {
  return typeof body === "string" ? Buffer.byteLength(body) : body.length;
}

function writeHead(response: ServerResponse, status: number, format: Format, length: number): void {
  response.writeHead(status, [
    "Content-Type",
    CONTENT_TYPES[format],
    "X-Content-Type-Options",
    "nosniff",
    "Content-Length",
    String(length),
  ]);
}

// A client that does not take a large reply away must not keep it in memory for ever.
function holdUntilTaken(response: ServerResponse, length: number, edge: Edge): void {
  // Of the request: a reply behind another on its connection has no socket yet.
  const { socket } = response.req;
  if (socket.destroyed) return;
  edge.held.bytes += length;
  socket.setTimeout(STALLED_REPLY_MS); // without progress node:http then destroys the socket
  // The end of the socket is what ends the response, so that both may call.
  let isHeld = true;
  const release = (): void => {
    if (isHeld) edge.held.bytes -= length;
    isHeld = false;
    response.off("close", release);
    socket.off("close", release);
  };
  // Before node:http sets the time-out of an idle connection.
  response.prependOnceListener("finish", () => socket.setTimeout(0));
  response.on("close", release);
  socket.on("close", release); // all that a reply behind another hears when its client goes
}

function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  format: Format,
  error: unknown,
  edge: Edge,
): void {
  let known: QueueError;
  if (error instanceof QueueError) {
    known = error;
  } else {
    edge.log.error({ err: error, path: request.url }, "request failed");
    known = new QueueError("internal", MESSAGES.internal);
  }
  if (response.destroyed) return;
  const { status, text } = ERROR_KINDS[known.kind];
  const reply = { code: status, codeText: text, message: known.message, details: {} };
  // What is left of a body that was refused is read and thrown away, so that the client can read
  // the answer; requestTimeout bounds how long that takes. A connection on which much is still to
  // come is not worth keeping.
  if (!request.complete) {
    const length = Number(request.headers["content-length"] ?? 0);
    if ("transfer-encoding" in request.headers || length > DISCARD_BYTES_MAX) {
      response.setHeader("Connection", "close");
    }
    request.resume();
  }
  const body =
    format === "json" ? encodeJson(ReplySchema, reply) : encodeProtobuf(ReplySchema, reply);
  if (response.hasHeader("Connection")) sendAndLinger(request, response, { status, format, body });
  else send(response, status, format, body, edge);
}

// With the end of a reply that closes its connection, node:http destroys the socket. If the client
// is still sending, the system then resets the connection, and the client may never see the answer.
// So the end waits for that of the request, or until its sender has had enough time to look.
function sendAndLinger(
  request: IncomingMessage,
  response: ServerResponse,
  { status, format, body }: { status: number; format: Format; body: string | Uint8Array },
): void {
  writeHead(response, status, format, lengthOf(body));
  response.write(body);
  const end = (): void => {
    response.end();
  };
  request.once("close", end); // also after its end
  response.setTimeout(LINGER_MS, end);
}

async function sendHealth(response: ServerResponse, edge: Edge): Promise<void> {
  const { pass, body } = await edge.health();
  response.writeHead(pass ? 200 : 503, {
    "Content-Type": "application/health+json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}
