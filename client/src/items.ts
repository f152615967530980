// Items as programs see them, and how they travel: what is produced becomes JSON here, and what is
// leased or listed comes out of it. A payload is decoded when somebody asks for it, for many handlers
// need only its text, or nothing.

import { fromBase64, toBase64, utf8, utf8Bytes } from "./bytes.ts";
import { type Duration, toText } from "./duration.ts";
import { InvalidRequestError, textOf } from "./errors.ts";

/** The texts that travel with a payload; the server gives them back as they came. */
export interface ItemTexts {
  /** How the payload is encoded, in words of your own. */
  readonly encoding?: string | undefined;
  /** What sort of work it is. */
  readonly kind?: string | undefined;
  /** What you know the item by. */
  readonly reference?: string | undefined;
}

/** An item to produce: a payload or a JSON value, or neither, which is an empty payload. */
export interface ProduceItem extends ItemTexts {
  /** Text or bytes. */
  readonly payload?: string | Uint8Array | undefined;
  /** Any value that JSON has, `null` included: it is leased as that value. */
  readonly json?: unknown;
  /** What is about the payload: up to 32 texts by name, of 4 KiB together. */
  readonly headers?: Headers | undefined;
  /** When it may first be leased; at once if neither is given. */
  readonly enqueueAt?: Date | undefined;
  /** The same as a time from now, by the clock of the server. */
  readonly delay?: Duration | undefined;
}

export type Headers = Readonly<Record<string, string>>;

/** What became of an item that was produced; a server that knows /v1 only does not tell. */
export interface ProducedItem {
  /** What it is until its end, however often it is leased. */
  readonly id: string | undefined;
  readonly status: "created" | "scheduled" | undefined;
}

/** A lease by its name; every leased item is one. */
export interface ItemRef {
  readonly leaseId: string;
  /** When it ends, in milliseconds since 1970: until then its end is sent again if it must be. */
  readonly leaseDeadlineMs?: number;
}

/** A leased item that is given back. */
export interface RetryItem extends ItemRef {
  /** When it may be leased again; at once if neither is given. */
  readonly at?: Date | undefined;
  /** The same as a time from now, by the clock of the server. */
  readonly delay?: Duration | undefined;
}

/** A leased item that is to be kept. */
export interface ExtendItem extends ItemRef {
  /** How long its lease lasts from now on, in place of what is said for all. */
  readonly for?: Duration | undefined;
}

/** The JSON of a leased item. */
export interface WireLeasedItem {
  readonly id?: string;
  readonly lease_id: string;
  readonly fence?: number;
  readonly lease_deadline?: string;
  readonly attempts?: number;
  readonly json?: unknown;
  readonly utf8?: string;
  readonly bytes?: string;
  readonly headers?: Headers;
  readonly encoding?: string;
  readonly kind?: string;
  readonly reference?: string;
  readonly created_at?: string;
}

const NO_HEADERS: Headers = Object.freeze({});

/** An item that is leased to you until its deadline. */
export class LeasedItem implements ItemRef {
  readonly queueName: string;
  readonly #wire: WireLeasedItem;
  // Decoded when somebody asks for it.
  #payload: Uint8Array | undefined;
  #deadlineMs: number | undefined;

  constructor(queueName: string, wire: WireLeasedItem) {
    this.queueName = queueName;
    this.#wire = wire;
  }

  /** What another item of the same lease is made of. */
  static wireOf(item: LeasedItem): WireLeasedItem {
    return item.#wire;
  }

  /** For the client: its lease was extended. */
  static extended(item: LeasedItem, deadlineMs: number): void {
    item.#deadlineMs = deadlineMs;
  }

  /** What the item is, from produce until its end. Of a server that knows /v1 only that of the lease. */
  get id(): string {
    return this.#wire.id ?? this.#wire.lease_id;
  }

  /** What this lease of it is: under it the item is completed, given back or kept. */
  get leaseId(): string {
    return this.#wire.lease_id;
  }

  /**
   * Greater for each later lease of the item, for other systems that are to refuse what comes late; 0 of a
   * server that knows /v1 only.
   */
  get fence(): number {
    return this.#wire.fence ?? 0;
  }

  /** How often it has been leased, this time included. */
  get attempts(): number {
    return this.#wire.attempts ?? 0;
  }

  get encoding(): string {
    return this.#wire.encoding ?? "";
  }

  get kind(): string {
    return this.#wire.kind ?? "";
  }

  get reference(): string {
    return this.#wire.reference ?? "";
  }

  get headers(): Headers {
    return this.#wire.headers ?? NO_HEADERS;
  }

  /** When it was produced; not told by a server that knows /v1 only. */
  get createdAt(): Date | undefined {
    return decodeDate(this.#wire.created_at);
  }

  /** When the lease ends, by the clock of the server. */
  get leaseDeadline(): Date {
    return new Date(this.leaseDeadlineMs);
  }

  /** The same in milliseconds since 1970. */
  get leaseDeadlineMs(): number {
    this.#deadlineMs ??= Date.parse(this.#wire.lease_deadline ?? "1970-01-01T00:00:00Z");
    return this.#deadlineMs;
  }

  /** As bytes, in whatever form it was produced. */
  get payload(): Uint8Array {
    this.#payload ??= payloadOf(this.#wire);
    return this.#payload;
  }

  /** The payload as text in UTF-8; of a JSON value its JSON. */
  get text(): string {
    const { utf8: text, json } = this.#wire;
    if (text !== undefined) return text;
    return json === undefined ? utf8(this.payload) : JSON.stringify(json);
  }

  /** The JSON value that was produced, or the payload as JSON; throws a SyntaxError if it is none. */
  json<T = unknown>(): T {
    const { json } = this.#wire;
    return (json === undefined ? JSON.parse(this.text) : json) as T;
  }
}

function payloadOf({ json, utf8: text, bytes }: WirePayload): Uint8Array {
  if (json !== undefined) return utf8Bytes(JSON.stringify(json));
  return text === undefined ? fromBase64(bytes ?? "") : utf8Bytes(text);
}

interface WirePayload {
  readonly json?: unknown;
  readonly utf8?: string;
  readonly bytes?: string;
}

/** An item as it lies in storage. */
export interface StorageItem extends Required<ItemTexts> {
  readonly id: string;
  readonly state: "waiting" | "leased" | "scheduled";
  readonly partition: number;
  /** The id that it had in another queue or server, if it came from one. */
  readonly sourceId: string;
  /** Of one that is leased. */
  readonly leaseId: string | undefined;
  readonly leaseDeadline: Date | undefined;
  readonly expireAt: Date | undefined;
  readonly createdAt: Date | undefined;
  /** When it becomes leasable, if it is scheduled; servers that know /v1 only do not tell it. */
  readonly enqueueAt: Date | undefined;
  readonly attempts: number;
  readonly headers: Headers;
  /** As bytes, in whatever form it was produced. */
  readonly payload: Uint8Array;
  /** The form in which it was produced. */
  readonly form: "json" | "utf8" | "bytes";
}

/** What an import came to. */
export interface ImportedItem {
  /** Of the item that is there now; servers that know /v1 only do not tell it of a duplicate. */
  readonly id: string | undefined;
  readonly status: "created" | "scheduled" | "duplicate";
}

/** An item to import: what is left out is empty, or the queue's own. */
export type ImportItem = Partial<
  Pick<
    StorageItem,
    | "id"
    | "sourceId"
    | "state"
    | "leaseDeadline"
    | "expireAt"
    | "enqueueAt"
    | "attempts"
    | "headers"
    | "form"
    | "encoding"
    | "kind"
    | "reference"
  >
> & { readonly payload?: string | Uint8Array | undefined };

/** The JSON of an item in storage. */
export interface WireStorageItem extends WirePayload {
  readonly id?: string;
  readonly state?: StorageItem["state"];
  readonly partition?: number;
  readonly source_id?: string;
  readonly lease_id?: string;
  readonly lease_deadline?: string;
  readonly expire_at?: string;
  readonly created_at?: string;
  readonly enqueue_at?: string;
  readonly attempts?: number;
  readonly headers?: Headers;
  readonly reference?: string;
  readonly encoding?: string;
  readonly kind?: string;
}

/** An item to produce, as JSON. */
export function encodeItem(item: ProduceItem): string {
  const { enqueueAt, delay, headers } = item;
  let text = encodePayload(item);
  if (item.encoding) text += `,"encoding":${JSON.stringify(item.encoding)}`;
  if (item.kind) text += `,"kind":${JSON.stringify(item.kind)}`;
  if (item.reference) text += `,"reference":${JSON.stringify(item.reference)}`;
  if (headers !== undefined) text += encodeHeaders(headers);
  if (enqueueAt !== undefined) {
    if (delay !== undefined) throw twoTimes("delay");
    text += `,"enqueue_at":"${encodeDate(enqueueAt, "enqueueAt")}"`;
  } else if (delay !== undefined) text += `,"delay":"${toText(delay, "delay")}"`;
  return `${text}}`;
}

// The beginning of an object.
function encodePayload({ payload, json }: ProduceItem): string {
  if (json !== undefined) {
    if (payload !== undefined) throw invalid("json is invalid; give either a payload or json");
    return `{"json":${encodeJson(json)}`;
  }
  if (payload instanceof Uint8Array) return `{"bytes":"${toBase64(payload)}"`;
  if (typeof payload === "string") return `{"utf8":${JSON.stringify(payload)}`;
  if (payload === undefined) return '{"utf8":""';
  const got = typeof payload;
  throw invalid(`payload is invalid; it must be a text or a Uint8Array, got ${got}`);
}

function encodeJson(value: unknown): string {
  let text: string | undefined;
  let cause: unknown;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch (error) {
    cause = error;
  }
  if (text !== undefined) return text;
  const what = cause === undefined ? `a ${typeof value}` : textOf(cause);
  throw invalid(`json is invalid; it cannot be written as JSON: ${what}`, cause);
}

function encodeHeaders(headers: Headers): string {
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === "string") continue;
    throw invalid(`headers is invalid; '${name}' must be a text, got ${typeof value}`);
  }
  const text = JSON.stringify(headers);
  return text === "{}" ? "" : `,"headers":${text}`;
}

/** A lease that ends, as JSON. */
export function encodeLease(ref: string | ItemRef): string {
  return `{"lease_id":${encodeLeaseId(typeof ref === "string" ? ref : ref.leaseId)}}`;
}

function encodeLeaseId(leaseId: string): string {
  if (typeof leaseId === "string") return JSON.stringify(leaseId);
  throw invalid(`leaseId is invalid; it must be a text, got ${typeof leaseId}`);
}

/** One whose item is given back. */
export function encodeBack({ leaseId, at, delay }: RetryItem): string {
  if (at !== undefined && delay !== undefined) throw twoTimes("delay");
  let text = `{"lease_id":${encodeLeaseId(leaseId)}`;
  if (at !== undefined) text += `,"at":"${encodeDate(at, "at")}"`;
  if (delay !== undefined) text += `,"delay":"${toText(delay, "delay")}"`;
  return `${text}}`;
}

function twoTimes(what: string): InvalidRequestError {
  return invalid(`${what} is invalid; give either a time or a delay`);
}

function invalid(text: string, cause?: unknown): InvalidRequestError {
  return new InvalidRequestError("invalid", text, cause === undefined ? {} : { cause });
}

/** An item to import, as JSON. */
export function encodeImport(item: ImportItem): string {
  const { payload, form, leaseDeadline, expireAt, enqueueAt, headers = {} } = item;
  const isText = form === "utf8" || form === "json";
  const content = isText && payload instanceof Uint8Array ? utf8(payload) : payload;
  let text: string;
  if (form === "json") text = `{"json":${checkedJson(String(content))}`;
  else text = encodePayload({ payload: content ?? "" });
  const more: Record<string, unknown> = {
    id: item.id || undefined,
    source_id: item.sourceId || undefined,
    state: item.state,
    attempts: item.attempts,
    reference: item.reference || undefined,
    encoding: item.encoding || undefined,
    kind: item.kind || undefined,
    lease_deadline: leaseDeadline && encodeDate(leaseDeadline, "leaseDeadline"),
    expire_at: expireAt && encodeDate(expireAt, "expireAt"),
    enqueue_at: enqueueAt && encodeDate(enqueueAt, "enqueueAt"),
  };
  const members = JSON.stringify(more).slice(1, -1);
  text += encodeHeaders(headers);
  return members === "" ? `${text}}` : `${text},${members}}`;
}

// It goes into the request as it stands.
function checkedJson(text: string): string {
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    throw invalid(`payload is invalid; it is no JSON: ${textOf(error)}`, error);
  }
}

export function decodeStorageItem(wire: WireStorageItem): StorageItem {
  const { json, utf8: text } = wire;
  return {
    id: wire.id ?? "",
    state: wire.state ?? "waiting",
    partition: wire.partition ?? 0,
    sourceId: wire.source_id ?? "",
    leaseId: wire.lease_id,
    leaseDeadline: decodeDate(wire.lease_deadline),
    expireAt: decodeDate(wire.expire_at),
    createdAt: decodeDate(wire.created_at),
    enqueueAt: decodeDate(wire.enqueue_at),
    attempts: wire.attempts ?? 0,
    headers: wire.headers ?? NO_HEADERS,
    encoding: wire.encoding ?? "",
    kind: wire.kind ?? "",
    reference: wire.reference ?? "",
    payload: payloadOf(wire),
    form: json !== undefined ? "json" : text !== undefined ? "utf8" : "bytes",
  };
}

/** A time of the server; nothing for one that was never set. */
export function decodeDate(text: string | undefined): Date | undefined {
  return text === undefined || text.startsWith("0001-") ? undefined : new Date(text);
}

function encodeDate(date: Date, what: string): string {
  if (date instanceof Date && !Number.isNaN(date.getTime())) return date.toISOString();
  throw invalid(`${what} is invalid; it must be a valid Date`);
}
