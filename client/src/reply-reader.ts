// Reads one reply from a connection (RFC 9112): a head, and a body of a stated length, in chunks, or up to
// the end of the connection. It is strict: what leaves a doubt where the reply ends is an error, and the
// connection is not used again.

import type { TransportReply } from "./transport.ts";

const HEAD_END = "\r\n\r\n";
const CR = 0x0d;
const LF = 0x0a;
const HEAD_BYTES_MAX = 65_536;
// Of the line before a chunk, which may carry extensions, and of a trailer.
const LINE_BYTES_MAX = 8_192;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: |$)/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
const LENGTH = /^\d{1,15}$/;
const CHUNK_SIZE = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i;

const EMPTY = Buffer.alloc(0);

/** What is read next. */
type Place =
  | "head"
  | "length"
  | "chunk-size"
  | "chunk"
  | "chunk-end"
  | "trailers"
  | "to-end"
  | "whole";

export class ReplyReader {
  readonly #bytesMax: number;
  readonly #onTooLarge: () => Error;
  #place: Place = "head";
  // What has come and cannot be read before more does.
  #rest: Buffer | undefined;
  // Of the body, or of the chunk that is being read.
  #missing = 0;
  // What has come of the body: as it was read, or the beginning of a larger buffer.
  #body: Buffer = EMPTY;
  #bytes = 0;
  #status = 0;
  #date: string | undefined;
  #keepsOpen = true;
  #keepMs = Number.POSITIVE_INFINITY;

  /** A body of more than `bytesMax` bytes throws what `onTooLarge` makes. */
  constructor(bytesMax: number, onTooLarge: () => Error) {
    this.#bytesMax = bytesMax;
    this.#onTooLarge = onTooLarge;
  }

  /** Reads what has come; true if the reply is whole. Throws if it is no HTTP, or too large. */
  push(data: Buffer): boolean {
    let rest = this.#rest === undefined ? data : Buffer.concat([this.#rest, data]);
    this.#rest = undefined;
    for (;;) {
      const left = this.#step(rest);
      if (this.#place === "whole") {
        // Nothing was asked for that it could belong to.
        if (left !== undefined && left.length > 0) this.#keepsOpen = false;
        return true;
      }
      if (left === undefined) return false;
      rest = left;
    }
  }

  /** The connection has ended; true if the reply is whole. */
  end(): boolean {
    if (this.#place !== "to-end") return false;
    this.#place = "whole";
    return true;
  }

  /** How long the server keeps the connection for another request, in milliseconds; 0 if it does not. */
  get keepMs(): number {
    return this.#keepsOpen ? this.#keepMs : 0;
  }

  /** The reply, when it is whole. */
  get reply(): TransportReply {
    const body = this.#body.toString("utf8", 0, this.#bytes);
    return { status: this.#status, body, date: this.#date };
  }

  // Reads one thing; answers what is left, or nothing if more has to come.
  #step(rest: Buffer): Buffer | undefined {
    switch (this.#place) {
      case "head":
        return this.#readHead(rest);
      case "length":
        return this.#readBytes(rest, "whole");
      case "chunk":
        return this.#readBytes(rest, "chunk-end");
      case "to-end":
        this.#missing = Number.POSITIVE_INFINITY;
        return this.#readBytes(rest, "whole");
      default:
        return this.#readLine(rest);
    }
  }

  #readBytes(rest: Buffer, next: Place): Buffer | undefined {
    const bytes = rest.length > this.#missing ? rest.subarray(0, this.#missing) : rest;
    this.#missing -= bytes.length;
    this.#append(bytes);
    if (this.#missing > 0) return undefined;
    this.#place = next;
    return rest.subarray(bytes.length);
  }

  #append(bytes: Buffer): void {
    const length = this.#bytes + bytes.length;
    if (length > this.#bytesMax) throw this.#onTooLarge();
    if (this.#bytes === 0) {
      this.#body = bytes;
    } else {
      if (length > this.#body.length) {
        const larger = Buffer.allocUnsafe(2 * length);
        this.#body.copy(larger, 0, 0, this.#bytes);
        this.#body = larger;
      }
      bytes.copy(this.#body, this.#bytes);
    }
    this.#bytes = length;
  }

  #readLine(rest: Buffer): Buffer | undefined {
    const end = rest.indexOf("\r\n");
    if (end === -1 || end > LINE_BYTES_MAX) {
      if (rest.length > LINE_BYTES_MAX) throw broken("a line of its chunks is too long");
      this.#rest = rest;
      return undefined;
    }
    const line = rest.toString("latin1", 0, end);
    if (this.#place === "chunk-size") {
      const size = CHUNK_SIZE.exec(line)?.[1];
      if (size === undefined) throw broken("the size of a chunk is none");
      this.#missing = Number.parseInt(size, 16);
      this.#place = this.#missing === 0 ? "trailers" : "chunk";
    } else if (this.#place === "chunk-end") {
      if (line !== "") throw broken("a chunk is longer than it says");
      this.#place = "chunk-size";
    } else if (line === "") {
      this.#place = "whole";
    }
    return rest.subarray(end + 2);
  }

  #readHead(rest: Buffer): Buffer | undefined {
    const end = rest.indexOf(HEAD_END);
    if (end === -1 || end > HEAD_BYTES_MAX) {
      if (rest.length > HEAD_BYTES_MAX) throw broken("its head is too long");
      // What is no HTTP may never have the end of a head, nor one whose lines end in another way.
      const start = rest.toString("latin1", 0, 5);
      if (start.length === 5 && start !== "HTTP/") throw broken("it is no HTTP");
      if (endsLineAlone(rest)) throw broken("its lines do not end in CR LF");
      this.#rest = rest;
      return undefined;
    }
    this.#parseHead(rest.toString("latin1", 0, end));
    return rest.subarray(end + HEAD_END.length);
  }

  #parseHead(head: string): void {
    const [first = "", ...lines] = head.split("\r\n");
    const match = STATUS_LINE.exec(first);
    if (match === null) throw broken("it is no HTTP");
    const status = Number(match[2]);
    // Another reply follows.
    if (status < 200) {
      if (status === 101) throw broken("it changes the protocol");
      return;
    }
    this.#status = status;
    if (match[1] === "0") this.#keepsOpen = false;
    let length: string | undefined;
    let isChunked = false;
    for (const line of lines) {
      const colon = line.indexOf(":");
      const name = line.slice(0, Math.max(colon, 0));
      if (!FIELD_NAME.test(name)) throw broken("a line of its head is no header");
      const value = line.slice(colon + 1).trim();
      switch (name.toLowerCase()) {
        case "content-length":
          if (!LENGTH.test(value) || (length !== undefined && length !== value)) {
            throw broken("its Content-Length is none");
          }
          length = value;
          break;
        case "transfer-encoding":
          if (value.toLowerCase() !== "chunked") throw broken("its Transfer-Encoding is not known");
          isChunked = true;
          break;
        case "connection":
          if (/\bclose\b/i.test(value)) this.#keepsOpen = false;
          break;
        case "keep-alive": {
          const seconds = /\btimeout=(\d+)/i.exec(value)?.[1];
          // It must not be closed in the moment in which a request leaves.
          if (seconds !== undefined) this.#keepMs = Math.max(Number(seconds) * 1_000 - 1_000, 0);
          break;
        }
        case "date":
          this.#date = value;
      }
    }
    if (status === 204 || status === 304) {
      this.#place = "whole";
    } else if (isChunked) {
      // A server that says both may mean another end than those before us.
      if (length !== undefined) throw broken("it has a Content-Length and chunks");
      this.#place = "chunk-size";
    } else if (length === undefined) {
      this.#place = "to-end";
      this.#keepsOpen = false;
    } else {
      this.#missing = Number(length);
      if (this.#missing > this.#bytesMax) throw this.#onTooLarge();
      this.#place = this.#missing === 0 ? "whole" : "length";
    }
  }
}

function endsLineAlone(bytes: Buffer): boolean {
  const at = bytes.indexOf(LF);
  return at !== -1 && bytes[at - 1] !== CR;
}

function broken(why: string): Error {
  return new Error(`the answer cannot be read, ${why}`);
}
