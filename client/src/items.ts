// Items as programs see them, and how they travel: what is produced becomes JSON here, and what is
// leased or listed comes out of it. A payload is decoded when somebody asks for it, for many handlers
// need only its text, or nothing.

import { fromBase64, toBase64, utf8 } from "./bytes.ts";
import { type Duration, toMs, toText } from "./duration.ts";
import { InvalidRequestError } from "./errors.ts";

/** The texts that travel with a payload; the server gives them back as they came. */
export interface ItemTexts {
  /** How the payload is encoded, in words of your own. */
  readonly encoding?: string | undefined;
  /** What sort of work it is. */
  readonly kind?: string | undefined;
  /** What you know the item by. */
  readonly reference?: string | undefined;
}

/** An item to produce. */
export interface ProduceItem extends ItemTexts {
  /** Text or bytes; empty if left out. */
  readonly payload?: string | Uint8Array | undefined;
  /** When it may first be leased; at once if left out. */
  readonly enqueueAt?: Date | undefined;
}

/** The id of a leased item and the partition it lies in; every leased item is one. */
export interface ItemRef {
  readonly id: string;
  /** 0 if left out. */
  readonly partition?: number;
  /** When its lease ends, in milliseconds since 1970: until then its end is sent again if it must be. */
  readonly leaseDeadlineMs?: number;
}

/** What becomes of a leased item that is given back. */
export interface RetryItem extends ItemRef {
  /** When it may be leased again; at once if neither is given. */
  readonly retryAt?: Date | undefined;
  /** The same as a time from now, by the clock of the server if it knows /v2. */
  readonly delay?: Duration | undefined;
  /** To the dead queue, or gone if the queue has none. */
  readonly dead?: boolean | undefined;
}

/** A leased item that is given back without its attempt being counted. */
export interface ReleaseItem extends ItemRef {
  /** When it may be leased again; at once if neither is given. */
  readonly at?: Date | undefined;
  /** The same as a time from now, by the clock of the server. */
  readonly delay?: Duration | undefined;
}

/** The JSON of a leased item. */
export interface WireLeasedItem {
  readonly id: string;
  readonly encoding?: string;
  readonly kind?: string;
  readonly reference?: string;
  readonly attempts?: number;
  readonly lease_deadline?: string;
  readonly bytes?: string;
}

/** An item that is leased to you until its deadline. */
export class LeasedItem implements ItemRef {
  readonly queueName: string;
  readonly partition: number;
  readonly #wire: WireLeasedItem;
  // Decoded when somebody asks for it.
  #payload: Uint8Array | undefined;
  #deadlineMs: number | undefined;

  constructor(queueName: string, partition: number, wire: WireLeasedItem) {
    this.queueName = queueName;
    this.partition = partition;
    this.#wire = wire;
  }

  /** What another item of the same lease is made of. */
  static wireOf(item: LeasedItem): WireLeasedItem {
    return item.#wire;
  }

  /** Under which it is completed or retried; it changes when the item comes back to the queue. */
  get id(): string {
    return this.#wire.id;
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

  /** When the lease ends, by the clock of the server. */
  get leaseDeadline(): Date {
    return new Date(this.leaseDeadlineMs);
  }

  /** The same in milliseconds since 1970. */
  get leaseDeadlineMs(): number {
    this.#deadlineMs ??= Date.parse(this.#wire.lease_deadline ?? "1970-01-01T00:00:00Z");
    return this.#deadlineMs;
  }

  get payload(): Uint8Array {
    this.#payload ??= fromBase64(this.#wire.bytes ?? "");
    return this.#payload;
  }

  /** The payload as text in UTF-8. */
  get text(): string {
    return utf8(this.payload);
  }

  /** The payload as JSON; throws a SyntaxError if it is none. */
  json<T = unknown>(): T {
    return JSON.parse(this.text) as T;
  }
}

/** An item as it lies in storage. */
export interface StorageItem extends Required<ItemTexts> {
  readonly id: string;
  /** The id that it had in another queue or server, if it came from one. */
  readonly sourceId: string;
  readonly isLeased: boolean;
  /** Nothing if it is not leased. */
  readonly leaseDeadline: Date | undefined;
  readonly expireDeadline: Date | undefined;
  readonly createdAt: Date | undefined;
  /** When it becomes leasable, if it is scheduled; servers that know /v1 only do not tell it. */
  readonly enqueueAt: Date | undefined;
  readonly attempts: number;
  readonly maxAttempts: number;
  readonly payload: Uint8Array;
}

/** What an import came to: the item that was made of it, or the one that its sourceId was there with. */
export interface ImportedItem extends StorageItem {
  readonly status: "created" | "scheduled" | "duplicate";
}

/** An item to import: what is left out is empty, or the queue's own. */
export type ImportItem = Partial<
  Pick<
    StorageItem,
    | "sourceId"
    | "isLeased"
    | "leaseDeadline"
    | "expireDeadline"
    | "enqueueAt"
    | "attempts"
    | "maxAttempts"
    | "encoding"
    | "kind"
    | "reference"
  >
> & { readonly payload?: string | Uint8Array | undefined };

/** The JSON of an item in storage. */
export interface WireStorageItem {
  readonly id?: string;
  readonly source_id?: string;
  readonly is_leased?: boolean;
  readonly lease_deadline?: string;
  readonly expire_deadline?: string;
  readonly created_at?: string;
  readonly enqueue_at?: string;
  readonly attempts?: number;
  readonly max_attempts?: number;
  readonly reference?: string;
  readonly encoding?: string;
  readonly kind?: string;
  readonly payload?: string;
}

/** An item to produce, as JSON. */
export function encodeItem(item: ProduceItem): string {
  const { payload, enqueueAt } = item;
  let text: string;
  if (payload instanceof Uint8Array) text = `{"bytes":"${toBase64(payload)}"`;
  else if (typeof payload === "string") text = `{"utf8":${JSON.stringify(payload)}`;
  else if (payload === undefined) text = '{"utf8":""';
  else {
    throw new InvalidRequestError(
      "invalid",
      `payload is invalid; it must be a text or a Uint8Array, got ${typeof payload}`,
    );
  }
  if (item.encoding) text += `,"encoding":${JSON.stringify(item.encoding)}`;
  if (item.kind) text += `,"kind":${JSON.stringify(item.kind)}`;
  if (item.reference) text += `,"reference":${JSON.stringify(item.reference)}`;
  if (enqueueAt !== undefined) text += `,"enqueue_at":"${encodeDate(enqueueAt, "enqueueAt")}"`;
  return `${text}}`;
}

/** A leased item that is given back, as JSON. */
export function encodeRetry({ id, retryAt: at, delay, dead }: RetryItem, now: number): string {
  checkOneTime(at, delay);
  const retryAt = delay === undefined ? at : new Date(now + toMs(delay, "delay"));
  let text = `{"id":${JSON.stringify(id)}`;
  if (retryAt !== undefined) text += `,"retry_at":"${encodeDate(retryAt, "retryAt")}"`;
  return `${text}${dead === true ? ',"dead":true' : ""}}`;
}

/** The same as /v2 has it. */
export function encodeRetryLease({ id, retryAt, delay, dead }: RetryItem): string {
  checkOneTime(retryAt, delay);
  let text = `{"lease_id":${JSON.stringify(id)}`;
  if (retryAt !== undefined) text += `,"at":"${encodeDate(retryAt, "retryAt")}"`;
  if (delay !== undefined) text += `,"delay":"${toText(delay, "delay")}"`;
  return `${text}${dead === true ? ',"dead":true' : ""}}`;
}

export function encodeRelease({ id, at, delay }: ReleaseItem): string {
  checkOneTime(at, delay);
  let text = `{"lease_id":${JSON.stringify(id)}`;
  if (at !== undefined) text += `,"at":"${encodeDate(at, "at")}"`;
  if (delay !== undefined) text += `,"delay":"${toText(delay, "delay")}"`;
  return `${text}}`;
}

function checkOneTime(at: Date | undefined, delay: Duration | undefined): void {
  if (at === undefined || delay === undefined) return;
  throw new InvalidRequestError("invalid", "delay is invalid; give either a time or a delay");
}

export function encodeImport(item: ImportItem): WireStorageItem {
  const { payload, leaseDeadline, expireDeadline, enqueueAt } = item;
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  return {
    source_id: item.sourceId ?? "",
    is_leased: item.isLeased ?? false,
    attempts: item.attempts ?? 0,
    max_attempts: item.maxAttempts ?? 0,
    reference: item.reference ?? "",
    encoding: item.encoding ?? "",
    kind: item.kind ?? "",
    ...(bytes === undefined ? {} : { payload: toBase64(bytes) }),
    ...(leaseDeadline === undefined
      ? {}
      : { lease_deadline: encodeDate(leaseDeadline, "leaseDeadline") }),
    ...(expireDeadline === undefined
      ? {}
      : { expire_deadline: encodeDate(expireDeadline, "expireDeadline") }),
    ...(enqueueAt === undefined ? {} : { enqueue_at: encodeDate(enqueueAt, "enqueueAt") }),
  };
}

export function decodeStorageItem(wire: WireStorageItem): StorageItem {
  return {
    id: wire.id ?? "",
    sourceId: wire.source_id ?? "",
    isLeased: wire.is_leased ?? false,
    leaseDeadline: decodeDate(wire.lease_deadline),
    expireDeadline: decodeDate(wire.expire_deadline),
    createdAt: decodeDate(wire.created_at),
    enqueueAt: decodeDate(wire.enqueue_at),
    attempts: wire.attempts ?? 0,
    maxAttempts: wire.max_attempts ?? 0,
    encoding: wire.encoding ?? "",
    kind: wire.kind ?? "",
    reference: wire.reference ?? "",
    payload: fromBase64(wire.payload ?? ""),
  };
}

/** A time of the server; nothing for one that was never set. */
export function decodeDate(text: string | undefined): Date | undefined {
  return text === undefined || text.startsWith("0001-") ? undefined : new Date(text);
}

function encodeDate(date: Date, what: string): string {
  if (date instanceof Date && !Number.isNaN(date.getTime())) return date.toISOString();
  throw new InvalidRequestError("invalid", `${what} is invalid; it must be a valid Date`);
}
