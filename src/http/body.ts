// The bodies of requests that node:http reads: bounded, each by itself and all that are held together.

import type { IncomingMessage } from "node:http";
import { plainError, type QueueError, queueError } from "../errors.ts";
import { Chunks } from "./chunks.ts";
import { type Edge, FREE_BYTES } from "./edge.ts";

/** The body of a request: bounded by itself, and together with all others that are held. */
export class Body {
  readonly #request: IncomingMessage;
  readonly #bytesMax: number;
  readonly #edge: Edge;
  readonly #reading = Promise.withResolvers<Buffer | undefined>();
  #chunks = new Chunks();
  #bytes = 0;
  #isRefused = false;

  constructor(request: IncomingMessage, bytesMax: number, edge: Edge) {
    this.#request = request;
    this.#bytesMax = bytesMax;
    this.#edge = edge;
  }

  /** Reads it; undefined if the client has gone before its end. Rejects if it is too large. */
  read(): Promise<Buffer | undefined> {
    const request = this.#request;
    if (Number(request.headers["content-length"] ?? 0) > this.#bytesMax) {
      this.#refuse(this.#tooLarge());
    } else {
      request.on("data", (chunk: Buffer) => this.#add(chunk));
      request.on("end", () => this.#reading.resolve(this.#chunks.take()));
      request.on("error", () => this.#reading.resolve(undefined));
    }
    return this.#reading.promise;
  }

  // What comes after a refusal is thrown away.
  #add(chunk: Buffer): void {
    if (this.#isRefused) return;
    const { held, limits } = this.#edge;
    this.#bytes += chunk.length;
    held.bytes += chunk.length;
    if (this.#bytes > this.#bytesMax) this.#refuse(this.#tooLarge());
    else if (this.#bytes > FREE_BYTES && held.bytes > limits.requestBytes) {
      this.#refuse(plainError("overloaded"));
    } else this.#chunks.add(chunk);
  }

  /** Says that it is held no longer. */
  release(): void {
    this.#edge.held.bytes -= this.#bytes;
    this.#bytes = 0;
  }

  #refuse(error: QueueError): void {
    this.#isRefused = true;
    this.#chunks = new Chunks();
    this.release();
    this.#reading.reject(error);
  }

  #tooLarge(): QueueError {
    return queueError("body_too_large", { max: formatSize(this.#bytesMax) });
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
