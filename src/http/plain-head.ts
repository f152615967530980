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

// A client sends few different heads, again and again, but for the values that change. So many are known
// whose first line is equally long, of all clients.
const KNOWN_MAX = 64;

const REQUEST_LINE = /^POST (\/[!-~]*) HTTP\/1\.1$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
const FIELD_VALUE = /^[\t -~]*$/;
// From where it is set to.
const VALUE_CHARACTERS = /[\t -~]*/y;

const ZERO = 0x30;
const DIGITS_MAX = 9;

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

const CONTENT_LENGTH = 0;
const VALUES_READ = 5;

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
  /** The head that was read last, if the next can differ from it in nothing but its length. */
  last: Head | undefined;
  readonly keepsLast: boolean;
}

/** Reads heads, and knows again those that it has read. */
export class PlainHeads {
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  readonly #access: Access;
  // By the length of the first line, which leads to few; those that are met more often come first.
  readonly #known: Form[][] = [];
  // Of the head that is read: the values by their places in VARYING, and the first one as a number.
  readonly #values: (string | undefined)[] = VARYING.map(() => undefined);
  #length = 0;

  constructor(endpoints: ReadonlyMap<string, Endpoint>, access: Access) {
    this.#endpoints = endpoints;
    this.#access = access;
    for (let i = 0; i < PLAIN_HEAD_BYTES_MAX; i++) this.#known.push([]);
  }

  /** Reads a head, from its first line to before the empty one; undefined if it is not plain. */
  read(text: string): Head | undefined {
    const forms = this.#known[text.indexOf("\r")];
    if (forms === undefined) return undefined; // a head of one line
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
      const place = places[i]!;
      if (place === CONTENT_LENGTH) {
        const from = at;
        let length = 0;
        let digit = text.charCodeAt(at) - ZERO;
        while (digit >= 0 && digit <= 9) {
          length = length * 10 + digit;
          digit = text.charCodeAt(++at) - ZERO;
        }
        if (at === from || at - from > DIGITS_MAX) return false;
        this.#length = length;
        continue;
      }
      VALUE_CHARACTERS.lastIndex = at;
      VALUE_CHARACTERS.test(text);
      const end = VALUE_CHARACTERS.lastIndex;
      if (place < VALUES_READ) values[place] = text.slice(at, end).trim();
      at = end;
    }
    const last = between[places.length]!;
    return text.length - at === last.length && text.startsWith(last, at);
  }

  // With the values of the one that was looked at last; undefined if they are not plain.
  #headOf(form: Form): Head | undefined {
    const contentLength = this.#length;
    if (form.last?.contentLength === contentLength) return form.last;
    const { path, isV2, endpoint, sent, accepted } = form;
    if (contentLength > endpoint.bodyBytesMax) return undefined;
    const [, authorization, givenId, givenKey, traceparent] = this.#values;
    const head: Head = {
      path,
      isV2,
      endpoint,
      sent,
      accepted,
      contentLength,
      authorization,
      // Under /v1 nobody is told of it, unless something fails.
      requestId: isV2 || givenId !== undefined ? requestIdOf(givenId) : "",
      idempotencyKey: givenKey === undefined ? undefined : detached(givenKey),
      traceparent,
    };
    if (!isAdmitted(head)) return undefined;
    if (form.keepsLast) form.last = head;
    return head;
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
    const { between, places } = cut(first!, lines);
    // Under /v2 each has an id of its own.
    const keepsLast =
      !ofV2 && places.every((place) => place === CONTENT_LENGTH || place >= VALUES_READ);
    const shape = { path: path!, isV2: ofV2, endpoint, sent, accepted };
    return { ...shape, between, places, last: undefined, keepsLast };
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
  // Flat, for they are compared with each head.
  return { between: [...between, before].map(detached), places };
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
