// The HTTP server. Every connection begins as a plain one (connection.ts), on which most stay; what
// is not plain is read here, with node:http: GETs, bodies without a stated length, several requests at
// once, and whatever is to be refused. Errors leave through one place. The order of the checks is
// that of wire.md 1.1; it is written out in `handle`.

import { type IncomingMessage, Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { MILLISECOND, MINUTE } from "../clock.ts";
import { invalid, QueueError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { printable } from "../printable.ts";
import type { Format } from "./answer.ts";
import { Body, formatSize } from "./body.ts";
import { Connections } from "./connection.ts";
import {
  answer,
  brokenReply,
  CONTENT_TYPES,
  type Edge,
  type Exchange,
  errorReply,
  formatOf,
  isAuthorization,
  KEEP_ALIVE,
  LARGE_REPLY_BYTES,
  lengthOf,
  type Reply,
  STALLED_REPLY,
} from "./edge.ts";
import { makePages, type SendPage } from "./pages.ts";
import { Pipelines } from "./pipeline.ts";

export interface HttpOptions extends Omit<Edge, "held"> {
  /** Whether storage answers; and whether the server still takes work. */
  readonly health: () => Promise<Health>;
}

export interface Health {
  readonly pass: boolean;
  readonly body: string;
}

const DISCARD_BYTES_MAX = 65_536;

// It is told once in a while that connections are closed because there are too many.
const TELL_AGAIN = MINUTE;

// How long a connection with a refused body may be silent before it is closed.
const LINGER_MS = 10_000;

/** What node:http needs beside what plain connections do. */
interface FullEdge extends Edge, HttpOptions {
  readonly sendPage: SendPage;
}

/** A server that is not listening yet. */
export class HttpServer extends Server {
  readonly #connections: Connections;
  readonly #limit: number;
  readonly #log: Logger;
  #open = 0;
  // When it was last told that connections are closed because there are too many.
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(options: HttpOptions) {
    const { endpoints, limits, log } = options;
    const sendPage = makePages({ endpoints, limits, formatSize });
    const edge: FullEdge = { ...options, held: { bytes: 0 }, sendPage };
    const pipelines = new Pipelines();
    super({ requireHostHeader: false }, (request, response) => {
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
    this.keepAliveTimeout = KEEP_ALIVE / MILLISECOND;
    this.on("clientError", cutOff);
    this.#limit = limits.connections;
    this.#log = log;
    const [serve] = this.listeners("connection");
    this.removeAllListeners("connection");
    this.#connections = new Connections(edge, (socket) => serve!.call(this, socket));
    this.on("connection", (socket) => this.#accept(socket));
  }

  #accept(socket: Socket): void {
    if (this.#open >= this.#limit) {
      socket.destroy();
      this.#tellRefused();
      return;
    }
    this.#open++;
    socket.once("close", () => {
      this.#open--;
    });
    this.#connections.add(socket);
  }

  #tellRefused(): void {
    const now = this.#connections.now();
    // The system's clock may be put back.
    if (Math.abs(now - this.#toldAt) < TELL_AGAIN) return;
    this.#toldAt = now;
    this.#log.warn(
      { connections: this.#limit },
      "there are as many connections as may be; more are closed",
    );
  }

  override close(closed?: (error?: Error) => void): this {
    this.#connections.end();
    return super.close(closed);
  }

  override closeAllConnections(): void {
    this.#connections.destroy();
    super.closeAllConnections();
  }
}

// Answers what the parser refuses, or what is not sent in time, as node:http would but with a body.
function cutOff(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Not into a reply that has begun. Nothing public tells of it; node:http looks here as well.
  const { _httpMessage: begun } = socket as { _httpMessage?: ServerResponse | null };
  if (socket.writable && begun?.headersSent !== true) socket.write(brokenReply(error.code));
  socket.destroy(error);
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  edge: FullEdge,
): Promise<void> {
  const path = pathOf(request.url!);
  let accepted = formatOf(request.headers.accept) ?? "json"; // errors come in it too
  let body: Body | undefined;
  try {
    checkHost(request, response);
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
    accepted = acceptedFormat(request.headers.accept);
    const sent = sentFormat(request.headers["content-type"]);
    body = new Body(request, endpoint.bodyBytesMax, edge);
    const bytes = await body.read();
    if (bytes === undefined) return; // the client has gone
    const head = { path, endpoint, sent, accepted };
    const reply = await answer(head, bytes, exchangeOf(request, response), edge);
    if (reply !== undefined) send(response, reply, edge);
  } catch (error) {
    refuse(request, response, errorReply(error, accepted, path, edge), edge);
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

// node:http would refuse it without a body.
function checkHost({ httpVersion, headers }: IncomingMessage, response: ServerResponse): void {
  if (headers.host !== undefined || httpVersion !== "1.1") return;
  response.setHeader("Connection", "close");
  throw invalid("host header is missing");
}

// Without authentication every caller is welcome, but a header that is none is still refused.
function checkAuthorization(request: IncomingMessage): void {
  if (!isAuthorization(request.headers.authorization)) {
    throw new QueueError("unauthorized", "invalid authorization header format");
  }
}

// --- content types ---

function sentFormat(header = ""): Format {
  const format = formatOf(header);
  if (format !== undefined) return format;
  throw new QueueError(
    "content",
    `Content-Type header '${shown(header)}' is invalid format or unrecognized content type`,
  );
}

function acceptedFormat(header = ""): Format {
  const format = formatOf(header);
  if (format !== undefined) return format;
  throw new QueueError(
    "content",
    `Accept header '${shown(header)}' is invalid format or unrecognized content type, only [application/json,application/protobuf] are supported by this method`,
  );
}

// A letter of a header is a byte of what was mostly meant as UTF-8.
function shown(header: string): string {
  return printable(Buffer.from(header, "latin1").toString());
}

// --- replies ---

function send(response: ServerResponse, reply: Reply, edge: Edge): void {
  if (response.destroyed) return;
  const length = lengthOf(reply.body);
  writeHead(response, reply, length);
  response.end(reply.body);
  if (length >= LARGE_REPLY_BYTES) holdUntilTaken(response, length, edge);
}

function writeHead(response: ServerResponse, { status, format }: Reply, length: number): void {
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
  socket.setTimeout(STALLED_REPLY / MILLISECOND); // without progress node:http then destroys the socket
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

// With the end of a reply that closes its connection, node:http destroys the socket. If the client
// is still sending, the system then resets the connection, and the client may never see the answer.
// So the end waits for that of the request, or until its sender has had enough time to look.
function sendAndLinger(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  writeHead(response, reply, lengthOf(reply.body));
  response.write(reply.body);
  const end = (): void => {
    response.end();
  };
  request.once("close", end); // also after its end
  response.setTimeout(LINGER_MS, end);
}

async function sendHealth(response: ServerResponse, edge: FullEdge): Promise<void> {
  const { pass, body } = await edge.health();
  response.writeHead(pass ? 200 : 503, {
    "Content-Type": "application/health+json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}
