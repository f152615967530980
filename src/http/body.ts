// The bodies of requests: read past the streams of node:http, which cost more than all else that a
// small request needs, and bounded, each by itself and all that are held together.

import { IncomingMessage } from "node:http";
import { invalid, MESSAGES, type QueueError, retryLater } from "../errors.ts";
import type { Limits } from "../limits.ts";

/** Bytes that requests and replies hold at present, over all connections. */
export interface Held {
  bytes: number;
}

// Small requests are served however much others hold.
const FREE_BYTES = 4_096;

/**
 * A request as node:http makes it, whose body goes straight to a `Body` if it has one: `push` is
 * what the parser calls with each piece, and with null after the last. Without one it is the stream
 * that it is elsewhere.
 */
export class BodyRequest extends IncomingMessage {
  body: Body | undefined = undefined;

  override push(chunk: Buffer | null): boolean {
    if (this.body === undefined) return super.push(chunk);
    if (chunk === null) this.body.end();
    else this.body.add(chunk);
    return true;
  }

  // node:http empties a stream that nobody has read before it goes on to the next request.
  override resume(): this {
    return this.body === undefined ? super.resume() : this;
  }

  override destroy(error?: Error): this {
    this.body?.abort();
    return super.destroy(error);
  }
}

/** The body of a request: bounded by itself, and together with all others that are held. */
export class Body {
  readonly #request: BodyRequest;
  readonly #bytesMax: number;
  readonly #held: Held;
  readonly #limits: Limits;
  readonly #reading = Promise.withResolvers<Buffer | undefined>();
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(request: BodyRequest, bytesMax: number, held: Held, limits: Limits) {
    this.#request = request;
    this.#bytesMax = bytesMax;
    this.#held = held;
    this.#limits = limits;
  }

  /** Reads it; undefined if the client has gone before its end. Rejects if it is too large. */
  read(): Promise<Buffer | undefined> {
    if (Number(this.#request.headers["content-length"] ?? 0) > this.#bytesMax) {
      this.#refuse(this.#tooLarge());
    } else {
      this.#request.body = this;
    }
    return this.#reading.promise;
  }

  add(chunk: Buffer): void {
    this.#bytes += chunk.length;
    this.#held.bytes += chunk.length;
    if (this.#bytes > this.#bytesMax) this.#refuse(this.#tooLarge());
    else if (this.#bytes > FREE_BYTES && this.#held.bytes > this.#limits.requestBytes) {
      this.#refuse(retryLater(MESSAGES.overloaded));
    } else this.#chunks.push(chunk);
  }

  end(): void {
    const chunks = this.#chunks;
    this.#reading.resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
  }

  /** The client has gone; of no account after the end. */
  abort(): void {
    this.#reading.resolve(undefined);
  }

  /** Says that it is held no longer. */
  release(): void {
    this.#held.bytes -= this.#bytes;
    this.#bytes = 0;
  }

  // What is still to come is a stream again, for whoever answers to throw away.
  #refuse(error: QueueError): void {
    this.#request.body = undefined;
    this.#chunks = [];
    this.release();
    this.#reading.reject(error);
  }

  #tooLarge(): QueueError {
    return invalid(`request body exceeds ${formatSize(this.#bytesMax)} limit`);
  }
}

/** A size as the limit texts give it: `512B`, `5.0MB`, `250.0KiB`. */
export function formatSize(bytes: number): string {
  const [step, units] =
    bytes % 1024 === 0
      ? ([1024, ["KiB", "MiB", "GiB"]] as const)
      : ([1000, ["kB", "MB", "GB"]] as const);
  if (bytes < step) return `${bytes}B`;
  let size = bytes / step;
  let unit = 0;
  while (size >= step && unit < units.length - 1) {
    size /= step;
    unit++;
  }
  return `${size.toFixed(1)}${units[unit]}`;
}
