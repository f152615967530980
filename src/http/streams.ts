// What answers GET at a path for as long as its reader stays: a reply whose body goes on. It is read with node:http.
// Who reads it is checked as for every request, and again when their key is taken away.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Principal } from "../auth/principal.ts";
import { refused } from "../auth/state.ts";
import { QueueError, queueError } from "../errors.ts";
import { type Edge, errorFor } from "./edge.ts";
import { principalOf } from "./exchange.ts";
import { admit, type Told } from "./head.ts";
import { certificateOf } from "./secure.ts";

/** What answers GET at a path, and goes on. */
export interface Stream {
  /** The Content-Type. */
  readonly type: string;
  /** Rejects with a QueueError if nothing is to be read; else `reader.start` has been called. */
  open(reader: StreamReader): Promise<void>;
}

/** A reader, and what they ask for. */
export interface StreamReader {
  readonly query: URLSearchParams;
  /** The X-Querator-Namespace header; "" if there is none. */
  readonly namespace: string;
  /** The Last-Event-ID header; "" if there is none. */
  readonly lastEventId: string;
  /** Who it is at present. */
  readonly principal: Principal;
  /** Begins the reply; undefined if the reader has gone. */
  start(text: string): StreamBody | undefined;
  /** Calls `gone`, once, when the reader has gone, or the reply has ended. */
  onGone(gone: () => void): void;
  /** Calls `ended`, once, if their key is taken away. */
  onRevoked(ended: (error: QueueError) => void): void;
}

/** The body of a reply. */
export interface StreamBody {
  /** False if no more is to be written until `onDrain` says so: the reader does not take it. */
  write(bytes: Buffer): boolean;
  onDrain(drained: () => void): void;
  end(): void;
  destroy(): void;
}

/** Answers a request with a stream; rejects with what it is refused for. */
export async function serveStream(
  request: IncomingMessage,
  response: ServerResponse,
  { told, stream, edge }: { readonly told: Told; readonly stream: Stream; readonly edge: Edge },
): Promise<void> {
  admit(told);
  const reader = new Reader(request, response, { told, stream, edge });
  checkAccept(request.headers.accept, stream.type);
  try {
    if (edge.gate !== undefined) await edge.gate;
    await stream.open(reader);
  } catch (error) {
    throw errorFor(error, reader.principal, told, edge);
  }
}

class Reader implements StreamReader {
  readonly query: URLSearchParams;
  readonly namespace: string;
  readonly lastEventId: string;
  principal: Principal;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #told: Told;
  readonly #edge: Edge;
  readonly #type: string;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    { told, stream, edge }: { readonly told: Told; readonly stream: Stream; readonly edge: Edge },
  ) {
    const url = request.url!;
    const at = url.indexOf("?");
    this.query = new URLSearchParams(at === -1 ? "" : url.slice(at + 1));
    this.namespace = told.namespace ?? "";
    const last = request.headers["last-event-id"];
    this.lastEventId = Array.isArray(last) ? "" : (last ?? "");
    this.principal = principalOf(request, told, edge);
    this.#request = request;
    this.#response = response;
    this.#told = told;
    this.#edge = edge;
    this.#type = stream.type;
  }

  start(text: string): StreamBody | undefined {
    const response = this.#response;
    if (response.destroyed || this.#request.socket.destroyed) return undefined;
    // It ends with its connection, and what is on its way there is kept by nobody in between.
    response.shouldKeepAlive = false;
    response.writeHead(200, [
      "Content-Type",
      this.#type,
      "X-Content-Type-Options",
      "nosniff",
      "Cache-Control",
      "no-store",
      "X-Accel-Buffering",
      "no",
    ]);
    response.write(text);
    const { socket } = this.#request;
    return {
      // In one piece and at once, where the response would make it four, after what is running: who writes to many
      // counts the time that it takes.
      write: (bytes) => socket.write(response.chunkedEncoding ? framed(bytes) : bytes),
      onDrain: (drained) => socket.on("drain", drained),
      end: () => response.end(),
      destroy: () => response.destroy(),
    };
  }

  onGone(gone: () => void): void {
    if (this.#response.destroyed || this.#request.socket.destroyed) gone();
    else this.#response.once("close", gone);
  }

  onRevoked(ended: (error: QueueError) => void): void {
    const { auth } = this.#edge;
    if (auth === undefined) return;
    const cut = (): void => {
      try {
        const next = auth.principalOf(
          this.#told.authorization,
          certificateOf(this.#request.socket),
        );
        if (next.userId !== this.principal.userId) throw refused("certificate is of no user");
        this.principal = next;
        next.onEnd(cut);
      } catch (error) {
        ended(error as QueueError);
      }
    };
    this.principal.onEnd(cut);
    this.#response.once("close", () => this.principal.offEnd(cut));
  }
}

// As a chunk of a body; made once for all who are sent the same bytes.
function framed(bytes: Buffer): Buffer {
  let chunk = chunks.get(bytes);
  if (chunk === undefined) {
    chunk = Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, LINE_END]);
    chunks.set(bytes, chunk);
  }
  return chunk;
}

const chunks = new WeakMap<Buffer, Buffer>();

const LINE_END = Buffer.from("\r\n");

function checkAccept(header: string | undefined, type: string): void {
  if (header === undefined || header.trim() === "") return;
  const [plain = ""] = type.split(";");
  const [family] = plain.split("/");
  const takes = header
    .split(",")
    .map((range) => range.split(";")[0]!.trim().toLowerCase())
    .some((range) => range === plain || range === `${family}/*` || range === "*/*");
  if (takes) return;
  const detail = `Accept header '${header}' is not supported here; this is ${plain}`;
  const { kind, message, code, details } = queueError("not_acceptable", { accept: header });
  throw new QueueError(kind, message, { code, details, detail });
}
