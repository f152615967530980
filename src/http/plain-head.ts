// Reads the heads of plain requests: a POST to a known endpoint, with a body of a stated length, that uses
// nothing else of HTTP/1.1. A head that is not plain is no error here: its request is left to node:http,
// and so is every request that is refused because of its head. So there is never a doubt where a body
// ends: either this reader is sure, or it does not read.

import type { Access } from "./access.ts";
import type { Endpoint } from "./edge.ts";
import { admit, type Head, isV2 } from "./head.ts";
import { acceptedMedia, type Media, sentMedia } from "./media.ts";
import { requestIdOf } from "./request-id.ts";

/** Longer heads are not plain. */
export const PLAIN_HEAD_BYTES_MAX = 2_048;

// Clients send the same few heads again and again; only the values of some fields change. Of heads whose first
// lines are equally long this many are remembered, over all clients.
const KNOWN_MAX = 64;

const REQUEST_LINE = /^POST (\/[!-~]*) HTTP\/1\.1$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
const FIELD_VALUE = /^[\t -~]*$/;
// Matches from its `lastIndex` on, which is set before each use.
const VALUE_CHARACTERS = /[\t -~]*/y;

const ZERO = 0x30;
const DIGITS_MAX = 9;

// These fields change what a body means, where a request ends or what becomes of its connection, or ask for
// an answer before the body is sent.
const NOT_PLAIN = new Set([
  "content-encoding",
  "expect",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
// A plain request has each of these fields once at most: what several mean is for node:http to decide.
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
  "x-querator-namespace",
  "x-request-id",
]);

// Fields whose values may differ from request to request. Only the values of the first VALUES_READ are used;
// the others are skipped.
const VARYING: readonly string[] = [
  "content-length",
  "authorization",
  "x-request-id",
  "idempotency-key",
  "traceparent",
  "x-querator-namespace",
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
const VALUES_READ = 6;

/** What heads have in common that differ only in the values of the VARYING fields. */
interface Form {
  readonly path: string;
  readonly isV2: boolean;
  readonly endpoint: Endpoint;
  readonly sent: Media;
  readonly accepted: Media;
  /** The text before each value, and after the last one. */
  readonly between: readonly string[];
  /** For each value, the index of its field in VARYING. */
  readonly places: readonly number[];
  /** The head that was read last; kept only if the next can differ from it in nothing but its length. */
  last: Head | undefined;
  readonly keepsLast: boolean;
}

/** Reads heads, and recognises those whose form it has seen before. */
export class PlainHeads {
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  readonly #access: Access;
  // Forms by the length of their first line, so that few have to be tried; one that fits moves forward.
  readonly #known: Form[][] = [];
  // Of the head at hand: the values, by the index of their field in VARYING, and the content length as a number.
  readonly #values: (string | undefined)[] = VARYING.map(() => undefined);
  #length = 0;

  constructor(endpoints: ReadonlyMap<string, Endpoint>, access: Access) {
    this.#endpoints = endpoints;
    this.#access = access;
    for (let i = 0; i < PLAIN_HEAD_BYTES_MAX; i++) this.#known.push([]);
  }

  /** Reads a head, without the empty line at its end; undefined if it is not plain. */
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

  // Whether a head has this form; if so, its values are in #values and #length afterwards.
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

  // The head of a form with the values that #fits has read; undefined if it is not to be answered here.
  #headOf(form: Form): Head | undefined {
    const contentLength = this.#length;
    if (form.last?.contentLength === contentLength) return form.last;
    const { path, isV2, endpoint, sent, accepted } = form;
    if (contentLength > endpoint.bodyBytesMax) return undefined;
    const [, authorization, givenId, givenKey, traceparent, namespace] = this.#values;
    const head: Head = {
      path,
      isV2,
      endpoint,
      sent,
      accepted,
      contentLength,
      authorization,
      // Under /v1 an id is needed only if an error is logged.
      requestId: isV2 || givenId !== undefined ? requestIdOf(givenId) : "",
      idempotencyKey: givenKey === undefined ? undefined : detached(givenKey),
      traceparent,
      namespace,
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
    if (!this.#letsIn(fields, endpoint)) return undefined;
    const sent = sentMedia(fields.get("content-type"));
    const ofV2 = isV2(path!);
    const accepted = acceptedMedia(fields.get("accept"), { firstCounts: !ofV2 });
    if (sent === undefined || accepted === undefined) return undefined;
    const { between, places } = cut(first!, lines);
    // Under /v2 each request has an id of its own, so no head is that of the request before.
    const keepsLast =
      !ofV2 && places.every((place) => place === CONTENT_LENGTH || place >= VALUES_READ);
    const shape = { path: path!, isV2: ofV2, endpoint, sent, accepted };
    return { ...shape, between, places, last: undefined, keepsLast };
  }

  // Whether the access rules let the request in, with nothing to be said about it in the reply.
  #letsIn(fields: ReadonlyMap<string, string>, { isRead }: Endpoint): boolean {
    try {
      const source = { method: "POST", header: (name: string) => fields.get(name) };
      if (this.#access.check(source) !== undefined) return false;
      if (isRead !== true) this.#access.checkChange(source);
      return true;
    } catch {
      return false;
    }
  }
}

// A request that is not admitted is left to node:http, which answers the error.
function isAdmitted(head: Head): boolean {
  try {
    admit(head);
    return true;
  } catch {
    return false;
  }
}

// A copy of a part of a head: a slice that is kept for long would keep the whole head in memory.
function detached(value: string): string {
  return Buffer.from(value, "latin1").toString("latin1");
}

// Splits a head into the values that vary and the text between them.
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
  // Copied, so that they are flat strings: they are compared with every head.
  return { between: [...between, before].map(detached), places };
}

// The fields, by name in lower case; undefined if one of them is not plain.
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
