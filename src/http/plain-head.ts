// The heads of plain requests: a POST to an endpoint whose body has a stated length, and nothing that
// asks for more of HTTP/1.1 than that. What is not plain in the least point is no error here, but
// is left to node:http, and so are all requests that will be refused because of their head. So
// there is no doubt where a body ends: either this reader is sure, or it does not read.

import type { Access } from "./access.ts";
import { type Endpoint, isAuthorization, isV2, type RequestHead } from "./edge.ts";
import { acceptedMedia, sentMedia } from "./media.ts";

/** The head of a plain request. */
export interface PlainHead extends RequestHead {
  /** Bytes of the body, which the endpoint allows. */
  readonly bodyBytes: number;
}

/** Longer heads are not plain. */
export const PLAIN_HEAD_BYTES_MAX = 2_048;

// A client sends few different heads, again and again. So many are known, of all clients.
const KNOWN_MAX = 256;

const REQUEST_LINE = /^POST (\/[!-~]*) HTTP\/1\.1$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
const FIELD_VALUE = /^[\t -~]*$/;
const LENGTH = /^\d{1,9}$/;

// They change what a body means or where a request ends, what becomes of its connection, or want an
// answer before the body.
const NOT_PLAIN = new Set([
  "content-encoding",
  "expect",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
// Of these a plain request has one at most: what several mean is for node:http to say.
const SINGLE = new Set([
  "accept",
  "authorization",
  "connection",
  "content-length",
  "content-type",
  "host",
  "origin",
  "sec-fetch-site",
  "x-forwarded-host",
  "x-forwarded-proto",
]);

/** Reads heads, and knows again those that it has read. */
export class PlainHeads {
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  readonly #access: Access;
  readonly #known = new Map<string, PlainHead>();

  constructor(endpoints: ReadonlyMap<string, Endpoint>, access: Access) {
    this.#endpoints = endpoints;
    this.#access = access;
  }

  /** Reads a head, from its first line to before the empty one; undefined if it is not plain. */
  read(text: string): PlainHead | undefined {
    let head = this.#known.get(text);
    if (head === undefined) {
      head = this.#parse(text);
      if (head === undefined) return undefined;
      if (this.#known.size === KNOWN_MAX) this.#known.clear();
      this.#known.set(text, head);
    }
    return head;
  }

  #parse(text: string): PlainHead | undefined {
    const [first, ...lines] = text.split("\r\n");
    const path = REQUEST_LINE.exec(first!)?.[1];
    const endpoint = path === undefined ? undefined : this.#endpoints.get(path);
    const fields = fieldsOf(lines);
    if (endpoint === undefined || fields === undefined || !fields.has("host")) return undefined;
    const length = fields.get("content-length");
    if (length === undefined || !LENGTH.test(length)) return undefined;
    const bodyBytes = Number(length);
    if (bodyBytes > endpoint.bodyBytesMax) return undefined;
    const connection = fields.get("connection") ?? "keep-alive";
    if (connection.toLowerCase() !== "keep-alive") return undefined;
    if (!isAuthorization(fields.get("authorization"), path!) || !this.#letsIn(fields))
      return undefined;
    const sent = sentMedia(fields.get("content-type"));
    const accepted = acceptedMedia(fields.get("accept"), { firstCounts: !isV2(path!) });
    if (sent === undefined || accepted === undefined) return undefined;
    return { path: path!, endpoint, bodyBytes, sent: sent.format, accepted };
  }

  // What is refused, or must be told that it is not, is for node:http to answer.
  #letsIn(fields: ReadonlyMap<string, string>): boolean {
    try {
      const source = { method: "POST", header: (name: string) => fields.get(name) };
      return this.#access.check(source) === undefined;
    } catch {
      return false;
    }
  }
}

// The fields by name in lower case; undefined if one of them is not plain.
function fieldsOf(lines: readonly string[]): Map<string, string> | undefined {
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const value = line.slice(colon + 1);
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value) || NOT_PLAIN.has(name)) return undefined;
    if (SINGLE.has(name) && fields.has(name)) return undefined;
    fields.set(name, value.trim());
  }
  return fields;
}
