// The heads of plain requests: a POST to an endpoint whose body has a stated length, and nothing that
// asks for more of HTTP/1.1 than that. What is not plain in the least point is no error here, but
// is left to node:http, and so are all requests that will be refused because of their head. So
// there is no doubt where a body ends: either this reader is sure, or it does not read.

import type { Access } from "./access.ts";
import type { Endpoint } from "./edge.ts";
import { admit, type Head, isV2 } from "./head.ts";
import { acceptedMedia, type Media, sentMedia } from "./media.ts";
import { requestIdOf } from "./request-id.ts";

/** Longer heads are not plain. */
export const PLAIN_HEAD_BYTES_MAX = 2_048;

// A client sends few different heads, again and again, if it is not for the values that change: so many
// are known of each endpoint, of all clients.
const KNOWN_MAX = 32;

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
  "idempotency-key",
  "origin",
  "sec-fetch-site",
  "traceparent",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-request-id",
]);

// Their values may be others in each request, and are read each time. Only those in the first places are
// of interest here.
const VARYING: readonly string[] = [
  "content-length",
  "authorization",
  "x-request-id",
  "idempotency-key",
  "traceparent",
  "baggage",
  "cookie",
  "date",
  "forwarded",
  "tracestate",
  "user-agent",
  "via",
  "x-forwarded-for",
  "x-forwarded-port",
  "x-real-ip",
];

/** What heads have in common that differ in such values only. */
interface Form {
  readonly path: string;
  readonly isV2: boolean;
  readonly endpoint: Endpoint;
  readonly sent: Media;
  readonly accepted: Media;
  /** The text before each value, and behind the last. */
  readonly between: readonly string[];
  /** Of each value its place in VARYING. */
  readonly places: readonly number[];
}

/** Reads heads, and knows again those that it has read. */
export class PlainHeads {
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  readonly #access: Access;
  // By the first line, which leads to few of them; those that are met more often come first.
  readonly #known = new Map<string, Form[]>();
  // The values of the head that is read, by their places in VARYING.
  readonly #values: (string | undefined)[] = VARYING.map(() => undefined);

  constructor(endpoints: ReadonlyMap<string, Endpoint>, access: Access) {
    this.#endpoints = endpoints;
    this.#access = access;
  }

  /** Reads a head, from its first line to before the empty one; undefined if it is not plain. */
  read(text: string): Head | undefined {
    const first = text.slice(0, text.indexOf("\r\n"));
    const forms = this.#known.get(first) ?? [];
    for (let i = 0; i < forms.length; i++) {
      const form = forms[i]!;
      if (!this.#fits(form, text)) continue;
      if (i > 0) {
        forms[i] = forms[i - 1]!;
        forms[i - 1] = form;
      }
      return this.#headOf(form);
    }
    const form = this.#parse(text);
    if (form === undefined || !this.#fits(form, text)) return undefined;
    if (forms.length === 0) this.#known.set(first, forms);
    if (forms.length === KNOWN_MAX) forms.pop();
    forms.push(form);
    return this.#headOf(form);
  }

  // Whether a head has a form; notes its values.
  #fits({ between, places }: Form, text: string): boolean {
    const values = this.#values;
    for (let i = 0; i < VALUES_READ; i++) values[i] = undefined;
    let at = 0;
    for (let i = 0; i < places.length; i++) {
      const before = between[i]!;
      if (!text.startsWith(before, at)) return false;
      at += before.length;
      const next = text.indexOf("\r\n", at);
      const end = next === -1 ? text.length : next;
      const value = text.slice(at, end);
      if (!FIELD_VALUE.test(value)) return false;
      values[places[i]!] = value.trim();
      at = end;
    }
    const last = between[places.length]!;
    return text.length - at === last.length && text.startsWith(last, at);
  }

  // With the values of the one that was looked at last; undefined if they are not plain.
  #headOf({ path, isV2, endpoint, sent, accepted }: Form): Head | undefined {
    const [length, authorization, givenId, givenKey, traceparent] = this.#values;
    if (length === undefined || !LENGTH.test(length)) return undefined;
    const contentLength = Number(length);
    if (contentLength > endpoint.bodyBytesMax) return undefined;
    const head: Head = {
      path,
      isV2,
      endpoint,
      sent,
      accepted,
      contentLength,
      authorization,
      requestId: requestIdOf(givenId),
      idempotencyKey: givenKey === undefined ? undefined : detached(givenKey),
      traceparent,
    };
    return isAdmitted(head) ? head : undefined;
  }

  #parse(text: string): Form | undefined {
    const [first, ...lines] = text.split("\r\n");
    const path = REQUEST_LINE.exec(first!)?.[1];
    const endpoint = path === undefined ? undefined : this.#endpoints.get(path);
    const fields = fieldsOf(lines);
    if (endpoint === undefined || fields === undefined) return undefined;
    if (!fields.has("host") || !fields.has("content-length")) return undefined;
    const connection = fields.get("connection") ?? "keep-alive";
    if (connection.toLowerCase() !== "keep-alive") return undefined;
    if (!this.#letsIn(fields)) return undefined;
    const sent = sentMedia(fields.get("content-type"));
    const ofV2 = isV2(path!);
    const accepted = acceptedMedia(fields.get("accept"), { firstCounts: !ofV2 });
    if (sent === undefined || accepted === undefined) return undefined;
    return { path: path!, isV2: ofV2, endpoint, sent, accepted, ...cut(first!, lines) };
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

const VALUES_READ = 5;

// What is refused is for node:http to answer.
function isAdmitted(head: Head): boolean {
  try {
    admit(head);
    return true;
  } catch {
    return false;
  }
}

// A part of a head that may be kept for long: by itself it would keep all of the head in memory.
function detached(value: string): string {
  return Buffer.from(value, "latin1").toString("latin1");
}

// Cuts the values that vary out of a head.
function cut(first: string, lines: readonly string[]): Pick<Form, "between" | "places"> {
  const between: string[] = [];
  const places: number[] = [];
  let before = first;
  for (const line of lines) {
    const colon = line.indexOf(":");
    const place = VARYING.indexOf(line.slice(0, colon).toLowerCase());
    if (place === -1) {
      before += `\r\n${line}`;
      continue;
    }
    between.push(`${before}\r\n${/^.*?:[\t ]*/.exec(line)![0]}`);
    places.push(place);
    before = "";
  }
  return { between: [...between, before], places };
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
