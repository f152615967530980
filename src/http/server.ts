// The HTTP server. Every connection begins as a plain one (connection.ts), and most stay that. What is not
// plain is read here, with node:http: GETs, bodies without a stated length, several requests at once, and
// whatever has to be refused. All errors are answered in one place. The order of the checks is that of
// docs/PROTOCOL.md; it is written out in `handle`.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { MILLISECOND, MINUTE, SECOND, SystemClock } from "../clock.ts";
import { invalid, QueueError, queueError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { printable } from "../printable.ts";
import { Access, type AccessRules } from "./access.ts";
import { Attempts } from "./attempts.ts";
import { Body } from "./body.ts";
import { Connections } from "./connection.ts";
import {
  type Authority,
  answer,
  brokenReply,
  type Edge,
  ENDING,
  type Endpoint,
  errorReply,
  LARGE_REPLY_BYTES,
  lengthOf,
  type Page,
  type PageReply,
  type Reply,
  STALLED_REPLY,
} from "./edge.ts";
import { askForKey, HttpExchange, principalOf, readerOf } from "./exchange.ts";
import { admit, isV2, type Told } from "./head.ts";
import { acceptedMedia, JSON_MEDIA, type Media, sentMedia } from "./media.ts";
import { HttpMeters } from "./meters.ts";
import { nearPath } from "./near-path.ts";
import { Server } from "./node-http.ts";
import { Pipelines } from "./pipeline.ts";
import { requestIdOf } from "./request-id.ts";
import { SecureDoor, type TlsMaterial } from "./secure.ts";
import { type Stream, serveStream } from "./streams.ts";

export interface HttpOptions extends Pick<Edge, "endpoints" | "pages" | "limits" | "log"> {
  /** What answers GET and goes on; nothing by default. */
  readonly streams?: Edge["streams"];
  /** Microseconds after which an idle connection is closed; 75 seconds by default. */
  readonly keepAlive?: number;
  /** Knows who sends a request; without it nobody has to say so. */
  readonly auth?: Authority | undefined;
  /** Who is let in; by default nobody from another site. */
  readonly access?: AccessRules;
  /** What is counted of requests, with those of other servers of the thread. */
  readonly meters?: HttpMeters | undefined;
}

/** How long an idle connection is kept by default. */
export const KEEP_ALIVE = 75 * SECOND;

const DISCARD_BYTES_MAX = 65_536;

// How long a browser may remember the answer to a preflight request.
const PREFLIGHT_SECONDS = 600;

// The log says at most this often that connections are closed because there are too many.
const TELL_AGAIN = MINUTE;

// How long a connection with a refused body may be silent before it is closed.
const LINGER_MS = 10_000;

/** The HTTP server; it does not listen before `listen` is called. */
export class HttpServer extends Server {
  readonly #connections: Connections;
  readonly #limit: number;
  readonly #log: Logger;
  #open = 0;
  // The connections that node:http has, each with the reply to its last request.
  readonly #last = new Map<Socket, ServerResponse | undefined>();
  #isEnding = false;
  readonly #edge: Edge;
  // Where connections come in that speak TLS; undefined if none does.
  #door: SecureDoor | undefined;
  // When, in steady time, the log last said that there are too many connections.
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: HttpOptions) {
    const { endpoints, pages, limits, log, keepAlive = KEEP_ALIVE } = options;
    const rules = options.access ?? { origins: [], hosts: [], listensOn: "localhost" };
    const access = new Access(rules, () => this.#boundTo());
    const held = { bytes: 0 };
    const { auth, meters = new HttpMeters(), streams = new Map() } = options;
    const clock = new SystemClock();
    const attempts = new Attempts(clock, log);
    for (const { meter } of endpoints.values()) meters.add(meter);
    const shared = { endpoints, pages, streams, limits, log, held, access };
    const edge: Edge = {
      ...shared,
      auth,
      attempts,
      keepAlive,
      meters,
      steady: () => clock.steady(),
    };
    const pipelines = new Pipelines();
    super({ requireHostHeader: false }, (request, response) => {
      if (!this.#begin(request.socket, response)) return;
      pipelines.add(request.socket, async () => {
        try {
          await handle(request, response, edge);
        } catch (error) {
          log.error({ err: error }, "request failed");
          response.destroy();
        }
      });
    });
    // A client that does not finish its request in time, or sits on an idle connection, is cut off.
    this.headersTimeout = 10_000;
    this.requestTimeout = 60_000;
    this.keepAliveTimeout = keepAlive / MILLISECOND;
    this.on("clientError", cutOff);
    this.#limit = limits.connections;
    this.#edge = edge;
    this.#log = log;
    const [serve] = this.listeners("connection");
    this.removeAllListeners("connection");
    this.#connections = new Connections(edge, (socket) => {
      this.#last.set(socket, undefined);
      socket.once("close", () => this.#last.delete(socket));
      serve!.call(this, socket);
    });
    this.on("connection", (socket) => this.#accept(socket));
  }

  #boundTo(): string | undefined {
    const address = this.address();
    return typeof address === "object" ? address?.address : undefined;
  }

  #accept(socket: Socket): void {
    if (this.#open >= this.#limit) {
      socket.destroy();
      this.#tellRefused();
      return;
    }
    const { meters } = this.#edge;
    this.#open++;
    meters.connections++;
    socket.once("close", () => {
      this.#open--;
      meters.connections--;
    });
    if (this.#door === undefined) this.#connections.add(socket);
    else this.#door.accept(socket);
  }

  /** From now on connections speak TLS, with this. Throws if it cannot be used; what was before goes on then. */
  secure(material: TlsMaterial): void {
    if (this.#door === undefined) {
      this.#door = new SecureDoor(material, (socket) => this.#connections.add(socket));
    } else this.#door.replace(material);
  }

  #tellRefused(): void {
    const now = this.#connections.steady();
    if (now - this.#toldAt < TELL_AGAIN) return;
    this.#toldAt = now;
    this.#log.warn(
      { connections: this.#limit },
      "there are as many connections as may be; more are closed",
    );
  }

  /** How many connections are open. */
  get open(): number {
    return this.#open;
  }

  /** From now on the last reply of each connection closes it, and says so. */
  startEnding(): void {
    this.#isEnding = true;
    this.#connections.startEnding();
    for (const response of this.#last.values()) endAfter(response, true);
  }

  /** From now on requests wait before they are executed, until the function that is answered is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#edge.gate = promise;
    return () => {
      this.#edge.gate = undefined;
      resolve();
    };
  }

  // Notes the last request of a connection; false if it must not be executed, for the connection has ended.
  #begin(socket: Socket, response: ServerResponse): boolean {
    if (socket.writableEnded) return false;
    const before = this.#last.get(socket);
    this.#last.set(socket, response);
    if (!this.#isEnding) return true;
    endAfter(before, false);
    endAfter(response, true);
    return true;
  }

  /** Ends the connections that wait for a request, with a reply that a client that is just sending one understands. */
  override closeIdleConnections(): void {
    this.#connections.endIdle();
    for (const [socket, response] of this.#last) {
      if (response?.writableFinished === false || socket.writableEnded) continue;
      socket.write(brokenReply(ENDING));
      socket.end();
    }
  }

  override closeAllConnections(): void {
    this.#connections.destroy();
    super.closeAllConnections();
    this.#door?.destroy();
  }
}

// Has no effect once the head of the reply has been sent; the connection then waits for the next request.
function endAfter(response: ServerResponse | undefined, isLast: boolean): void {
  if (response !== undefined && !response.headersSent) response.shouldKeepAlive = !isLast;
}

// Answers what the parser refuses, or what is not sent in time, as node:http would, but with a body.
function cutOff(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Not in the middle of another reply. Only a private field tells whether one has begun; node:http uses it too.
  const { _httpMessage: begun } = socket as { _httpMessage?: ServerResponse | null };
  if (socket.writable && begun?.headersSent !== true) socket.write(brokenReply(error.code));
  socket.destroy(error);
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  edge: Edge,
): Promise<void> {
  const { method = "", headers } = request;
  const told = toldOf(request);
  const { path } = told;
  const firstCounts = !told.isV2;
  let accepted = acceptedMedia(headers.accept, { firstCounts }) ?? JSON_MEDIA; // errors come in it too
  let body: Body | undefined;
  const servedAt = edge.steady();
  let meter = edge.meters.other;
  const note = ({ status }: Reply): void => meter.note(status, edge.steady() - servedAt);
  if (told.isV2) response.setHeader("X-Request-Id", told.requestId);
  try {
    checkHost(request, response);
    const header = (name: string): string | undefined => singleOf(headers[name]);
    const origin = edge.access.check({ method, header });
    if (origin !== undefined) tellAllowed(origin, response);
    const endpoint = edge.endpoints.get(path);
    const page = edge.pages.get(path);
    if (method === "OPTIONS" && origin !== undefined && isPreflight(request)) {
      sendPreflight(request, response);
      return;
    }
    if (page !== undefined && (method === "GET" || method === "HEAD")) {
      meter = edge.meters.pages;
      const shown = await page.handle(request, readerOf(request, told, edge));
      note(shown);
      sendPage(response, shown, edge);
      return;
    }
    const stream = edge.streams.get(path);
    if (stream !== undefined && method === "GET") {
      await serveStream(request, response, { told, stream, edge });
      return;
    }
    if (endpoint !== undefined) meter = endpoint.meter;
    if (told.isV2) checkMethodOfV2(method, path, { endpoint, page, stream, edge }, response);
    else if (method !== "POST") throw queueError("method_not_allowed", { method });
    admit(told);
    const principal = principalOf(request, told, edge);
    if (endpoint === undefined) throw queueError("no_such_method", { path });
    if (endpoint.isRead !== true) edge.access.checkChange({ method, header });
    accepted = checkAccept(headers.accept, firstCounts);
    const sent = checkContentType(headers["content-type"]);
    checkEncoding(request, response);
    body = new Body(request, endpoint.bodyBytesMax, edge);
    const bytes = await body.read();
    if (bytes === undefined) return; // the client has gone
    const contentLength = Number(headers["content-length"] ?? -1);
    const head = { ...told, endpoint, sent, accepted, contentLength };
    const exchange = new HttpExchange(response, head, principal, edge, (cut) =>
      send(response, cut, edge),
    );
    const reply = await answer(head, bytes, exchange, edge);
    if (reply === undefined) return;
    note(reply);
    askForKey(response, reply, told);
    send(response, reply, edge);
  } catch (error) {
    const reply = errorReply(error, told, accepted, edge);
    note(reply);
    askForKey(response, reply, told);
    refuse(request, response, reply, edge);
  } finally {
    body?.release();
  }
}

function toldOf({ url, headers }: IncomingMessage): Told {
  const path = pathOf(url!);
  return {
    path,
    isV2: isV2(path),
    authorization: headers.authorization,
    requestId: requestIdOf(singleOf(headers["x-request-id"])),
    idempotencyKey: singleOf(headers["idempotency-key"]),
    traceparent: singleOf(headers.traceparent),
    namespace: singleOf(headers["x-querator-namespace"]),
  };
}

// The target may be a whole URL, as it is sent to proxies.
function pathOf(url: string): string {
  const target = url.startsWith("/") ? url : url.replace(/^https?:\/\/[^/?]*/i, "");
  const end = target.indexOf("?");
  return end === -1 ? target : target.slice(0, end);
}

// A path that has other methods is answered 405 with their names, an unknown path 404.
function checkMethodOfV2(
  method: string,
  path: string,
  {
    endpoint,
    page,
    stream,
    edge,
  }: {
    readonly endpoint: Endpoint | undefined;
    readonly page: Page | undefined;
    readonly stream: Stream | undefined;
    readonly edge: Edge;
  },
  response: ServerResponse,
): void {
  const allowed = [
    ...(endpoint ? ["POST"] : []),
    ...(page ? ["GET", "HEAD"] : []),
    ...(stream ? ["GET"] : []),
  ];
  if (allowed.length === 0) throw noSuchMethod(path, edge);
  if (allowed.includes(method)) return;
  response.setHeader("Allow", allowed.join(", "));
  throw queueError("method_not_allowed", { method });
}

function noSuchMethod(path: string, { endpoints }: Edge): QueueError {
  const error = queueError("no_such_method", { path });
  const near = nearPath(path, endpoints.keys());
  if (near === undefined) return error;
  const { kind, message, code, details } = error;
  const detail = `${message}; did you mean '${near}'?`;
  return new QueueError(kind, message, { code, details, detail });
}

// node:http would answer a missing header without a body, and would use the first of several.
function checkHost(request: IncomingMessage, response: ServerResponse): void {
  const hosts = request.headersDistinct.host?.length ?? 0;
  if (hosts === 1 || (hosts === 0 && request.httpVersion !== "1.1")) return;
  response.setHeader("Connection", "close");
  throw invalid(hosts === 0 ? "host header is missing" : "host header is given more than once");
}

function singleOf(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}

// --- pages of other sites that are allowed ---

function tellAllowed(origin: string, response: ServerResponse): void {
  response.setHeader("Access-Control-Allow-Origin", origin);
  response.setHeader("Access-Control-Expose-Headers", "Date, Retry-After, X-Request-Id");
  response.setHeader("Vary", "Origin");
}

// A browser asks like this before it sends a request that no HTML form could send.
function isPreflight({ headers }: IncomingMessage): boolean {
  return headers["access-control-request-method"] !== undefined;
}

function sendPreflight({ headers }: IncomingMessage, response: ServerResponse): void {
  const wanted = headers["access-control-request-headers"];
  response.setHeader("Access-Control-Allow-Methods", "GET, HEAD, POST");
  if (wanted !== undefined && /^[\w,\t -]*$/.test(wanted)) {
    response.setHeader("Access-Control-Allow-Headers", wanted);
  }
  if (headers["access-control-request-private-network"] === "true") {
    response.setHeader("Access-Control-Allow-Private-Network", "true");
  }
  response.setHeader("Access-Control-Max-Age", PREFLIGHT_SECONDS);
  response.setHeader("Content-Length", 0);
  response.writeHead(204);
  response.end();
}

// --- content types ---

function checkContentType(header = ""): Media {
  const media = sentMedia(header);
  if (media !== undefined) return media;
  throw queueError("unsupported_media_type", { content_type: shown(header) });
}

function checkAccept(header: string | undefined, firstCounts: boolean): Media {
  const media = acceptedMedia(header, { firstCounts });
  if (media !== undefined) return media;
  throw queueError("not_acceptable", { accept: shown(header ?? "") });
}

// Bodies must be sent as they are, not compressed.
function checkEncoding({ headers }: IncomingMessage, response: ServerResponse): void {
  for (const [name, header, plain] of [
    ["Content-Encoding", headers["content-encoding"], "identity"],
    ["Transfer-Encoding", headers["transfer-encoding"], "chunked"],
  ] as const) {
    const codings = (header ?? "").split(",").map((coding) => coding.trim().toLowerCase());
    if (codings.every((coding) => coding === "" || coding === plain)) continue;
    response.setHeader("Accept-Encoding", "identity");
    throw queueError("unsupported_encoding", { header: name, coding: shown(header!) });
  }
}

// node:http reads each byte of a header as one character; most senders meant UTF-8.
function shown(header: string): string {
  return printable(Buffer.from(header, "latin1").toString());
}

// --- replies ---

function send(response: ServerResponse, reply: Reply, edge: Edge): void {
  if (response.destroyed) return;
  if (reply.isLast === true) endAfter(response, true);
  const length = lengthOf(reply.body);
  writeHead(response, reply, length);
  response.end(reply.body);
  if (length >= LARGE_REPLY_BYTES) holdUntilTaken(response, length, edge);
}

function sendPage(response: ServerResponse, reply: PageReply, edge: Edge): void {
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value);
  send(response, reply, edge);
}

function writeHead(
  response: ServerResponse,
  { status, type, retryAfter }: Reply,
  length: number,
): void {
  if (retryAfter !== undefined) response.setHeader("Retry-After", retryAfter);
  // It has no body, and its type and length would be those of the one that is known already.
  if (status === 304) {
    response.writeHead(status);
    return;
  }
  response.writeHead(status, [
    "Content-Type",
    type,
    "X-Content-Type-Options",
    "nosniff",
    "Content-Length",
    String(length),
  ]);
}

// A large reply that waits in the socket counts as held, and its client must not leave it there for ever.
function holdUntilTaken(response: ServerResponse, length: number, edge: Edge): void {
  // That of the request, for a response has none while it waits behind another one.
  const { socket } = response.req;
  if (socket.destroyed) return;
  edge.held.bytes += length;
  socket.setTimeout(STALLED_REPLY / MILLISECOND); // without progress node:http then destroys the socket
  // The response closes when its socket does, so this may be called twice.
  let isHeld = true;
  const release = (): void => {
    if (isHeld) edge.held.bytes -= length;
    isHeld = false;
    response.off("close", release);
    socket.off("close", release);
  };
  // Must run before the listener of node:http, which sets the time-out of an idle connection.
  response.prependOnceListener("finish", () => socket.setTimeout(0));
  response.on("close", release);
  socket.on("close", release); // the only event that a waiting response gets when its client goes
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  edge: Edge,
): void {
  if (response.destroyed) return;
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
  if (response.hasHeader("Connection")) sendAndLinger(request, response, reply);
  else send(response, reply, edge);
}

// After a reply that closes its connection node:http destroys the socket. If the client is still sending, the
// system then resets the connection, and the client may never see the answer. So the reply is ended only
// when the request has ended, or when its sender has had enough time to read.
function sendAndLinger(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  writeHead(response, reply, lengthOf(reply.body));
  response.write(reply.body);
  const end = (): void => {
    response.end();
  };
  request.once("close", end); // also after its end
  response.setTimeout(LINGER_MS, end);
}
