// Items as programs see them, and how they travel: what is produced becomes JSON here, and what is
// leased comes out of it. A payload is decoded when somebody asks for it, for many handlers need only its
// text, or nothing.

import { fromBase64, toBase64, utf8, utf8Bytes } from "./bytes.ts";
import { type Duration, lifetimeText, toText } from "./duration.ts";
import { InvalidRequestError, textOf } from "./errors.ts";
import { JsonText } from "./exact-json.ts";
import {
  decodeItemError,
  encodeItemError,
  type GivenItemError,
  type ItemError,
} from "./item-error.ts";
import { checkNames, type Names, namesOf } from "./names.ts";
import { encodeRetrySettings, type RetrySettings } from "./retry-settings.ts";

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
  /** A text of which the queue has one item at a time, over all its partitions: 1 to 255 bytes. */
  readonly uniqueKey?: string | undefined;
  /** For how long the key is taken: `pending`, the default, until the item has ended; `waiting` until it is leased. */
  readonly uniqueWhile?: "waiting" | "pending" | undefined;
  /** In place of that: for so long from now on, also after its end. */
  readonly uniqueFor?: Duration | undefined;
  /**
   * What to do if the key is taken. `return`, the default, answers the item that is there; `reject` is a
   * UniqueKeyTakenError. `replace` gives the one that waits this payload and time, and `extend` does so
   * with its delay begun anew; `keep_latest` lets one wait behind the one that runs.
   */
  readonly onDuplicate?: "return" | "reject" | "replace" | "extend" | "keep_latest" | undefined;
  /** How often it may be leased, in place of what its queue says; 0 for any number. */
  readonly maxAttempts?: number | undefined;
  /** How long it may live, in place of what its queue says. */
  readonly expireIn?: Duration | "never" | undefined;
  /** When it is tried again, in place of what its queue says. */
  readonly retry?: RetrySettings | undefined;
  /**
   * The trace that it belongs to, as W3C Trace Context writes it, and what tracing systems add to that. A client with
   * `tracing` sees to it. Lost with a server that knows /v1 only.
   */
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
}

export type Headers = Readonly<Record<string, string>>;

/** What became of an item that was produced; a server that knows /v1 only does not tell. */
export interface ProducedItem {
  /** What it is until its end, however often it is leased; of a duplicate that of the item that is there. */
  readonly id: string | undefined;
  /** Of one with a `uniqueKey` that was taken also `duplicate`, or `replaced`. */
  readonly status: "created" | "scheduled" | "duplicate" | "replaced" | undefined;
}

/** What a server tells that knows /v1 only. */
export const NOT_TOLD: ProducedItem = Object.freeze({ id: undefined, status: undefined });

/** A lease by its name; every leased item is one. */
export interface ItemRef {
  readonly leaseId: string;
  /** When it ends, in milliseconds since 1970: until then its end is sent again if it must be. */
  readonly leaseDeadlineMs?: number;
}

/** A leased item that is done. */
export interface DoneItem extends ItemRef {
  /** What came of the work: any JSON up to 64 KiB, kept if its queue has `keepCompleted`. */
  readonly result?: unknown;
}

/** A leased item that is given back. */
export interface ReleaseItem extends ItemRef {
  /** When it may be leased again; at once if neither is given. */
  readonly at?: Date | undefined;
  /** The same as a time from now, by the clock of the server. */
  readonly delay?: Duration | undefined;
}

/** A leased item that is to be tried again: if no time is given, when its retry settings say, or those of its queue. */
export interface RetryItem extends ReleaseItem {
  /** Why it failed, for whoever looks at it later, and for the next who leases it. */
  readonly error?: GivenItemError | undefined;
}

/** A leased item that is given up. */
export interface RejectItem extends ItemRef {
  /** Why it failed, for whoever looks at it later. */
  readonly error?: GivenItemError | undefined;
}

/** A leased item that is to be kept. */
export interface ExtendItem extends ItemRef {
  /** How long its lease lasts from now on, in place of what is said for all. */
  readonly for?: Duration | undefined;
  /** How far the work is, any JSON up to 4 KiB: for `items.get` to tell, as long as the lease lasts. */
  readonly progress?: unknown;
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
  readonly last_error?: Partial<ItemError>;
  readonly source?: WireDeadSource;
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** Where an item of a dead queue comes from. */
export interface DeadSource {
  readonly queueName: string;
  /** What it was there, which is what it is here. */
  readonly id: string;
  readonly attempts: number;
  readonly createdAt: Date | undefined;
  readonly diedAt: Date | undefined;
  /** `attempts`, `expired` or `rejected`. */
  readonly reason: string;
  /** The same of all that died alike. */
  readonly fingerprint: string;
}

export interface WireDeadSource {
  readonly queue_name?: string;
  readonly id?: string;
  readonly attempts?: number;
  readonly created_at?: string;
  readonly died_at?: string;
  readonly reason?: string;
  readonly fingerprint?: string;
}

export const NO_HEADERS: Headers = Object.freeze({});

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

  /** Why its last attempt failed, if its consumer has said so. */
  get lastError(): ItemError | undefined {
    return decodeItemError(this.#wire.last_error);
  }

  /** Of an item of a dead queue: where it comes from, and why it is there. */
  get source(): DeadSource | undefined {
    return decodeSource(this.#wire.source);
  }

  /** The trace that it was produced in, as W3C Trace Context writes it. */
  get traceparent(): string | undefined {
    return this.#wire.traceparent;
  }

  /** What tracing systems have added to that. */
  get tracestate(): string | undefined {
    return this.#wire.tracestate;
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

export function payloadOf({ json, utf8: text, bytes }: WirePayload): Uint8Array {
  if (json !== undefined) return utf8Bytes(JSON.stringify(json));
  return text === undefined ? fromBase64(bytes ?? "") : utf8Bytes(text);
}

export interface WirePayload {
  readonly json?: unknown;
  readonly utf8?: string;
  readonly bytes?: string;
}

const OF_AN_ITEM = namesOf<ProduceItem>({
  payload: true,
  json: true,
  encoding: true,
  kind: true,
  reference: true,
  headers: true,
  enqueueAt: true,
  delay: true,
  uniqueKey: true,
  uniqueWhile: true,
  uniqueFor: true,
  onDuplicate: true,
  maxAttempts: true,
  expireIn: true,
  retry: true,
  traceparent: true,
  tracestate: true,
});

/** An item to produce, as JSON. */
export function encodeItem(item: ProduceItem): string {
  checkNames(item, OF_AN_ITEM, "an item to produce");
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
  const { uniqueKey, uniqueWhile, uniqueFor, onDuplicate, maxAttempts, expireIn, retry } = item;
  if ((uniqueKey ?? uniqueWhile ?? uniqueFor ?? onDuplicate) !== undefined) {
    text += encodeUnique(item);
  }
  if (maxAttempts !== undefined) text += `,"max_attempts":${encodeWhole(maxAttempts)}`;
  if (expireIn !== undefined) text += `,"expire_in":"${lifetimeText(expireIn, "expireIn")}"`;
  if (retry !== undefined) text += `,"retry":${JSON.stringify(encodeRetrySettings(retry))}`;
  const { traceparent, tracestate } = item;
  if (traceparent !== undefined) text += `,"traceparent":${JSON.stringify(traceparent)}`;
  if (tracestate !== undefined) text += `,"tracestate":${JSON.stringify(tracestate)}`;
  return `${text}}`;
}

function encodeUnique({ uniqueKey, uniqueWhile, uniqueFor, onDuplicate }: ProduceItem): string {
  const members = {
    unique_key: uniqueKey,
    unique_while: uniqueWhile,
    unique_for: uniqueFor === undefined ? undefined : toText(uniqueFor, "uniqueFor"),
    on_duplicate: onDuplicate,
  };
  return `,${JSON.stringify(members).slice(1, -1)}`;
}

function encodeWhole(count: number): number {
  if (Number.isInteger(count)) return count;
  throw invalid(`maxAttempts is invalid; it must be a whole number, got ${count}`);
}

/** A payload as the beginning of an object. */
export function encodePayload({ payload, json }: Pick<ProduceItem, "payload" | "json">): string {
  if (json !== undefined) {
    if (payload !== undefined) throw invalid("json is invalid; give either a payload or json");
    return `{"json":${encodeJson(json, "json")}`;
  }
  if (payload instanceof Uint8Array) return `{"bytes":"${toBase64(payload)}"`;
  if (typeof payload === "string") return `{"utf8":${JSON.stringify(payload)}`;
  if (payload === undefined) return '{"utf8":""';
  const got = typeof payload;
  throw invalid(`payload is invalid; it must be a text or a Uint8Array, got ${got}`);
}

/** A value as JSON; throws an InvalidRequestError that names `what` if it is none. */
export function encodeJson(value: unknown, what: string): string {
  if (value instanceof JsonText) return value.text;
  let text: string | undefined;
  let cause: unknown;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch (error) {
    cause = error;
  }
  if (text !== undefined) return text;
  const why = cause === undefined ? `a ${typeof value}` : textOf(cause);
  throw invalid(`${what} is invalid; it cannot be written as JSON: ${why}`, cause);
}

export function encodeHeaders(headers: Headers): string {
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value === "string") continue;
    throw invalid(`headers is invalid; '${name}' must be a text, got ${typeof value}`);
  }
  const text = JSON.stringify(headers);
  return text === "{}" ? "" : `,"headers":${text}`;
}

const REF = { leaseId: true, leaseDeadlineMs: true } as const;
const DONE = namesOf<DoneItem>({ ...REF, result: true });
const REJECTED = namesOf<RejectItem>({ ...REF, error: true });
const RELEASED = namesOf<ReleaseItem>({ ...REF, at: true, delay: true });
const RETRIED = namesOf<RetryItem>({ ...REF, at: true, delay: true, error: true });

export const EXTENDED = namesOf<ExtendItem>({ ...REF, for: true, progress: true });

/** Refuses what an end of a lease cannot say. A leased item has more to it than its lease. */
export function checkRef(ref: ItemRef, known: Names, what: string): void {
  if (!(ref instanceof LeasedItem)) checkNames(ref, known, what);
}

/** A lease, as JSON. */
export function encodeLease(ref: string | ItemRef): string {
  return `{"lease_id":${encodeLeaseId(typeof ref === "string" ? ref : ref.leaseId)}}`;
}

/** One whose item is done. */
export function encodeDone(ref: string | DoneItem): string {
  const lease = encodeLease(ref);
  if (typeof ref === "string") return lease;
  checkRef(ref, DONE, "what is complete");
  if (ref.result === undefined) return lease;
  return `${lease.slice(0, -1)},"result":${encodeJson(ref.result, "result")}}`;
}

/** One whose item is given up. */
export function encodeRejected(ref: string | RejectItem): string {
  const lease = encodeLease(ref);
  if (typeof ref === "string") return lease;
  checkRef(ref, REJECTED, "what is rejected");
  if (ref.error === undefined) return lease;
  return `${lease.slice(0, -1)},"error":${encodeItemError(ref.error)}}`;
}

function encodeLeaseId(leaseId: string): string {
  if (typeof leaseId === "string") return JSON.stringify(leaseId);
  throw invalid(`leaseId is invalid; it must be a text, got ${typeof leaseId}`);
}

/** One whose item is given back. */
export function encodeBack(ref: RetryItem): string {
  checkRef(ref, RETRIED, "what is given back");
  return encodedBack(ref);
}

/** The same without an error: it was not begun. */
export function encodeReleased(ref: ReleaseItem): string {
  checkRef(ref, RELEASED, "what is released");
  return encodedBack(ref);
}

function encodedBack({ leaseId, at, delay, error }: RetryItem): string {
  if (at !== undefined && delay !== undefined) throw twoTimes("delay");
  let text = `{"lease_id":${encodeLeaseId(leaseId)}`;
  if (at !== undefined) text += `,"at":"${encodeDate(at, "at")}"`;
  if (delay !== undefined) text += `,"delay":"${toText(delay, "delay")}"`;
  if (error !== undefined) text += `,"error":${encodeItemError(error)}`;
  return `${text}}`;
}

function twoTimes(what: string): InvalidRequestError {
  return invalid(`${what} is invalid; give either a time or a delay`);
}

/** The error of something that cannot be sent. */
export function invalid(text: string, cause?: unknown): InvalidRequestError {
  return new InvalidRequestError("invalid", text, cause === undefined ? {} : { cause });
}

export function decodeSource(wire: WireDeadSource | undefined): DeadSource | undefined {
  if (wire === undefined) return undefined;
  return {
    queueName: wire.queue_name ?? "",
    id: wire.id ?? "",
    attempts: wire.attempts ?? 0,
    createdAt: decodeDate(wire.created_at),
    diedAt: decodeDate(wire.died_at),
    reason: wire.reason ?? "",
    fingerprint: wire.fingerprint ?? "",
  };
}

/** A time of the server; nothing for one that was never set. */
export function decodeDate(text: string | undefined): Date | undefined {
  return text === undefined || text.startsWith("0001-") ? undefined : new Date(text);
}

/** A time as the server reads it; throws an InvalidRequestError that names `what` if it is none. */
export function encodeDate(date: Date, what: string): string {
  if (date instanceof Date && !Number.isNaN(date.getTime())) return date.toISOString();
  throw invalid(`${what} is invalid; it must be a valid Date`);
}
