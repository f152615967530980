// Items as they lie in a queue, or lay there before they ended: what is listed or looked up comes out of JSON here,
// and what is imported, or changed where it lies, becomes JSON.

import { utf8 } from "./bytes.ts";
import { type Duration, lifetimeText, toText } from "./duration.ts";
import { textOf } from "./errors.ts";
import { decodeItemError, type ItemError } from "./item-error.ts";
import {
  type DeadSource,
  decodeDate,
  decodeSource,
  encodeDate,
  encodeHeaders,
  encodePayload,
  type Headers,
  type ItemTexts,
  invalid,
  NO_HEADERS,
  type ProduceItem,
  payloadOf,
  type WireDeadSource,
  type WirePayload,
} from "./items.ts";
import { checkNames, namesOf } from "./names.ts";
import {
  decodeRetrySettings,
  type RetrySettings,
  type WireRetrySettings,
} from "./retry-settings.ts";

/** Where an item is: in its queue, or in its dead queue; or how it has ended. */
export type ItemState =
  | "waiting"
  | "scheduled"
  | "leased"
  | "held"
  | "dead"
  | "completed"
  | "expired"
  | "cancelled"
  | "rejected";

/** An item as it lies in storage, or lay. */
export interface StorageItem extends Required<ItemTexts> {
  readonly id: string;
  readonly state: ItemState;
  /** Where it lies, or lay. */
  readonly queueName: string;
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
  /** Why its last attempt failed, if its consumer has said so. */
  readonly lastError: ItemError | undefined;
  /** Of one that is leased: how far the work is, if its consumer has said so. */
  readonly progress: unknown;
  /** Of one that is completed: what came of the work, if its consumer has said so. */
  readonly result: unknown;
  /** When it ended; undefined as long as it has not. */
  readonly endedAt: Date | undefined;
  /** Of one in a dead queue: where it comes from. */
  readonly source: DeadSource | undefined;
  readonly uniqueKey: string;
  /** Its own, if it has one. */
  readonly maxAttempts: number | undefined;
  /** Its own, if it has some. */
  readonly retry: RetrySettings | undefined;
  /** Of one that is leased: it was cancelled, and its holder is yet to learn it. */
  readonly isCancelled: boolean;
  /** The trace that it was produced in, as W3C Trace Context writes it; "" without one. */
  readonly traceparent: string;
  readonly tracestate: string;
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
    | "traceparent"
    | "tracestate"
  >
> & { readonly payload?: string | Uint8Array | undefined };

/** What is changed of an item that is not leased; what is left out stays. */
export interface ItemChanges extends Pick<ProduceItem, "payload" | "json"> {
  /** When it is to become leasable. */
  readonly enqueueAt?: Date | undefined;
  /** The same as a time from now, by the clock of the server; 0 for at once. */
  readonly delay?: Duration | undefined;
  /** How long it may live from now on. */
  readonly expireIn?: Duration | "never" | undefined;
}

/** The JSON of an item in storage. */
export interface WireStorageItem extends WirePayload {
  readonly id?: string;
  readonly state?: StorageItem["state"];
  readonly queue_name?: string;
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
  readonly last_error?: Partial<ItemError>;
  readonly progress?: unknown;
  readonly result?: unknown;
  readonly ended_at?: string;
  readonly source?: WireDeadSource;
  readonly unique_key?: string;
  readonly max_attempts?: number;
  readonly retry?: WireRetrySettings;
  readonly cancelled?: boolean;
  readonly traceparent?: string;
  readonly tracestate?: string;
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
    traceparent: item.traceparent || undefined,
    tracestate: item.tracestate || undefined,
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

const CHANGES = namesOf<ItemChanges>({
  payload: true,
  json: true,
  enqueueAt: true,
  delay: true,
  expireIn: true,
});

/** What is to be changed of an item, as members of an object. */
export function encodeChanges(changes: ItemChanges): string {
  checkNames(changes, CHANGES, "a change of an item");
  const { payload, json, enqueueAt, delay, expireIn } = changes;
  if (enqueueAt !== undefined && delay !== undefined) {
    throw invalid("delay is invalid; give either a time or a delay");
  }
  const isPayload = payload !== undefined || json !== undefined;
  const content = isPayload ? `,${encodePayload({ payload, json }).slice(1)}` : "";
  const members = JSON.stringify({
    enqueue_at: enqueueAt && encodeDate(enqueueAt, "enqueueAt"),
    delay: delay === undefined ? undefined : toText(delay, "delay"),
    expire_in: expireIn === undefined ? undefined : lifetimeText(expireIn, "expireIn"),
  }).slice(1, -1);
  return members === "" ? content : `${content},${members}`;
}

/** An item of this queue, if it does not say of which. */
export function decodeStorageItem(wire: WireStorageItem, queueName = ""): StorageItem {
  const { json, utf8: text } = wire;
  return {
    id: wire.id ?? "",
    state: wire.state ?? "waiting",
    queueName: wire.queue_name ?? queueName,
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
    lastError: decodeItemError(wire.last_error),
    progress: wire.progress,
    result: wire.result,
    endedAt: decodeDate(wire.ended_at),
    source: decodeSource(wire.source),
    uniqueKey: wire.unique_key ?? "",
    maxAttempts: wire.max_attempts,
    retry: decodeRetrySettings(wire.retry),
    isCancelled: wire.cancelled ?? false,
    traceparent: wire.traceparent ?? "",
    tracestate: wire.tracestate ?? "",
  };
}
