// Items between the wire and the queue. A producer's item becomes one opaque record where its
// request is parsed: its texts as the very JSON that a lease will answer, and its payload as bytes.
// A lease reply in JSON is then put together from ready pieces, without encoding a text again.
//
// The text of a record is `<members>`, those that all versions know, or `<members><tab><form><headers>`, if
// there is what /v1 knows nothing of: a letter for the form in which the payload was given, none for bytes,
// and the headers as a JSON object, if there are any. JSON has neither tabs in its texts, nor line breaks,
// which are what storage parts the texts of several records by.

import type { Answer } from "../codec/answer.ts";
import {
  QueueLeaseResponseSchema,
  type QueueProduceItemSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import type { StorageItemSchema } from "../codec/gen/querator/v1/storage_pb.ts";
import type { ItemSchema } from "../codec/gen/querator/v2/items_pb.ts";
import { DeadSourceSchema, ItemErrorSchema } from "../codec/gen/querator/v2/policy_pb.ts";
import {
  QueueLeaseResponseSchema as LeaseResponseV2,
  type QueueProduceItemSchema as ProduceItemV2,
} from "../codec/gen/querator/v2/queue_pb.ts";
import { encodeJson } from "../codec/json.ts";
import { type Decoded, type Encodable, NO_ENTRIES } from "../codec/message.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import { formatTimestamp, ZERO_TIME } from "../codec/timestamp.ts";
import { invalidField } from "../errors.ts";
import {
  attributesOf,
  type FoundItem,
  Item,
  idOf,
  isPlain,
  type Leased,
  type ListedItem,
  plainTraceparent,
  stateOf,
} from "../queue/queue.ts";
import { ItemRecord } from "../storage/storage.ts";
import { deadSourceOf } from "./dead-source.ts";
import { shownOwnRetry } from "./policy.ts";

interface Texts {
  readonly encoding: string;
  readonly kind: string;
  readonly reference: string;
}

type Headers = Readonly<Record<string, string>>;

/** How a payload was given: `j` is JSON and `u` a text, both kept as their UTF-8; "" is bytes. */
type Form = "j" | "u" | "";

const TAB = "\t";

const NO_TEXTS: Texts = { encoding: "", kind: "", reference: "" };

// The texts of the last item and what became of them: items of one batch mostly share them.
let lastTexts = NO_TEXTS;
let lastMore = "";
let lastText = "";

/** The text of a record; `more` is what /v1 knows nothing of. */
function textOf({ encoding, kind, reference }: Texts, more = ""): string {
  const same =
    encoding === lastTexts.encoding &&
    kind === lastTexts.kind &&
    reference === lastTexts.reference &&
    more === lastMore;
  if (same) return lastText;
  lastTexts = { encoding, kind, reference };
  lastMore = more;
  const members = Object.entries(lastTexts)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `"${name}":${JSON.stringify(value)}`)
    .join(",");
  lastText = more === "" ? members : members + TAB + more;
  return lastText;
}

/** What the text of a record holds. */
interface Parts {
  /** The members of a JSON object. */
  readonly members: string;
  readonly form: Form;
  /** A JSON object, or "". */
  readonly headers: string;
}

function partsOf(text: string): Parts {
  const end = text.indexOf(TAB);
  if (end === -1) return { members: text, form: "", headers: "" };
  const letter = text[end + 1];
  const form = letter === "j" || letter === "u" ? letter : "";
  return { members: text.slice(0, end), form, headers: text.slice(end + 1 + form.length) };
}

interface Known extends Texts {
  readonly form: Form;
  readonly headers: Headers;
}

let lastParsed = "";
let lastKnown: Known = { ...NO_TEXTS, form: "", headers: NO_ENTRIES };

/** What a record says of its item, for those who do not answer it as JSON. */
function knownOf(text: string): Known {
  if (text === lastParsed) return lastKnown;
  const { members, form, headers } = partsOf(text);
  lastKnown = {
    ...NO_TEXTS,
    ...(JSON.parse(`{${members}}`) as Partial<Texts>),
    form,
    headers: headers === "" ? NO_ENTRIES : (JSON.parse(headers) as Headers),
  };
  lastParsed = text;
  return lastKnown;
}

// What /v1 shows of it.
function textsOf(text: string): Texts {
  const { encoding, kind, reference } = knownOf(text);
  return { encoding, kind, reference };
}

// --- what comes in ---

// Payloads that share their bytes also stay in memory as long as one of them does.
const SHARED_MAX = 64 * 1024;

/** How a version of the API has its items. */
interface Reading<Given> {
  /** The payload as a text; "" if it is given as bytes. */
  payload(item: Given): string;
  text(item: Given, index: number): string;
  dueAt(item: Given, index: number): number;
  /** Those that the item is to have, "" for none; undefined if none of them has any. */
  readonly attributes: ((item: Given, index: number) => string) | undefined;
}

function itemsOf<Given extends { readonly bytes: Uint8Array }>(
  given: readonly Given[],
  reading: Reading<Given>,
): Item[] {
  const items: Item[] = new Array(given.length);
  for (let at = 0; at < given.length; ) {
    let text = reading.payload(given[at]!);
    let next = at + 1;
    while (next < given.length) {
      const more = reading.payload(given[next]!);
      if (text.length + more.length > SHARED_MAX) break;
      text += more;
      next++;
    }
    const shared = Buffer.from(text);
    const isAscii = shared.length === text.length;
    for (let start = 0; at < next; at++) {
      const item = given[at]!;
      const payload = reading.payload(item);
      const end = start + (isAscii ? payload.length : Buffer.byteLength(payload));
      const own = reading.text(item, at);
      const record =
        item.bytes.length > 0
          ? new ItemRecord(own, item.bytes)
          : new ItemRecord(own, shared, start, end);
      const made = new Item(record, reading.dueAt(item, at));
      if (reading.attributes !== undefined) made.attributes = reading.attributes(item, at);
      items[at] = made;
      start = end;
    }
  }
  return items;
}

type ProduceItem = Decoded<typeof QueueProduceItemSchema>;

const OF_V1: Reading<ProduceItem> = {
  // Bytes count before letters.
  payload: ({ bytes, utf8 }) => (bytes.length > 0 ? "" : utf8),
  text: (item) => textOf(item),
  dueAt: ({ enqueueAt }) => Math.max(enqueueAt, 0),
  attributes: undefined,
};

/** The items that a produce request of /v1 holds. */
export function toItems(given: readonly ProduceItem[]): Item[] {
  return itemsOf(given, OF_V1);
}

type ProduceItemOfV2 = Decoded<typeof ProduceItemV2>;

/** How those of /v2 are read; `dueAt` says when they are to become leasable, 0 for at once. */
export function readingV2(
  dueAt: Reading<ProduceItemOfV2>["dueAt"],
  attributes?: Reading<ProduceItemOfV2>["attributes"],
): Reading<ProduceItemOfV2> {
  return { payload: textPayload, text: textOfV2, dueAt, attributes };
}

/** The items that a produce request of /v2 holds. */
export function toItemsV2(
  given: readonly ProduceItemOfV2[],
  reading: Reading<ProduceItemOfV2>,
): Item[] {
  return itemsOf(given, reading);
}

/** What items of /v2 have in common, wherever they occur. */
interface Content extends Texts {
  readonly json: string;
  readonly utf8: string;
  readonly bytes: Uint8Array;
  readonly headers: Headers;
}

function textPayload({ json, utf8 }: Content): string {
  return json === "" ? utf8 : json;
}

function textOfV2(item: Content, index: number): string {
  const { json, utf8, bytes, headers } = item;
  const form: Form = json !== "" ? "j" : utf8 !== "" ? "u" : "";
  if (form !== "" && (bytes.length > 0 || (form === "j" && utf8 !== ""))) {
    throw invalidField(
      `items[${index}].${bytes.length > 0 ? "bytes" : "utf8"}`,
      `items[${index}] has more than one payload; give one of json, utf8 and bytes`,
    );
  }
  return textOf(item, headers === NO_ENTRIES ? form : form + headersJson(headers, index));
}

/** Of one item: entries, and bytes of their names and values. */
export const HEADERS_MAX = 32;
export const HEADERS_BYTES_MAX = 4_096;

function headersJson(headers: Headers, index: number): string {
  const names = Object.keys(headers);
  const field = `items[${index}].headers`;
  if (names.length > HEADERS_MAX) {
    throw invalidField(field, `${field} is invalid; cannot have more than ${HEADERS_MAX} entries`);
  }
  let bytes = 0;
  for (const name of names) bytes += Buffer.byteLength(name) + Buffer.byteLength(headers[name]!);
  if (bytes > HEADERS_BYTES_MAX) {
    const max = `cannot be greater than '${HEADERS_BYTES_MAX}' bytes`;
    throw invalidField(field, `${field} is invalid; ${max}`);
  }
  return names.length === 0 ? "" : JSON.stringify(headers);
}

/** The record of an item to import. */
export function toRecord(item: Decoded<typeof StorageItemSchema>): ItemRecord {
  return new ItemRecord(textOf(item), item.payload);
}

/** The same of /v2; its place in the list is for errors. */
export function toRecordV2(item: Decoded<typeof ItemSchema>, index: number): ItemRecord {
  const text = textOfV2(item, index);
  return new ItemRecord(text, item.bytes.length > 0 ? item.bytes : Buffer.from(textPayload(item)));
}

/** The record of an item with another payload; what is about the payload stays. */
export function withPayload(
  { text }: ItemRecord,
  given: {
    readonly json: string;
    readonly utf8: string | undefined;
    readonly bytes: Uint8Array | undefined;
  },
): ItemRecord {
  const { json, utf8, bytes } = given;
  const { members, headers } = partsOf(text);
  const form: Form = json !== "" ? "j" : utf8 !== undefined && utf8 !== "" ? "u" : "";
  const more = form + headers;
  const own = more === "" ? members : members + TAB + more;
  return new ItemRecord(own, bytes ?? Buffer.from(json === "" ? (utf8 ?? "") : json));
}

/** What lists go by. */
export function kindAndReference({ text }: ItemRecord): Pick<Texts, "kind" | "reference"> {
  return knownOf(text);
}

// --- what goes out ---

/** The answer to a lease of /v1. */
export function leaseAnswer(queueName: string, leased: Leased): Answer {
  return {
    encode: (format) =>
      format === "json" ? leaseJson(queueName, leased) : leaseProtobuf(queueName, leased),
  };
}

function leaseJson(queueName: string, leased: Leased): string {
  const deadline = `,"lease_deadline":"${formatTimestamp(leased.deadline)}"`;
  let reply = `{"queue_name":${JSON.stringify(queueName)},`;
  if (leased.partition !== 0) reply += `"partition":${leased.partition},`;
  reply += '"items":[';
  // What comes before an item's id and after it: neighbours mostly share it.
  let lastText: string | undefined;
  let lastAttempts = -1;
  let before = "";
  let after = "";
  for (let i = 0; i < leased.items.length; i++) {
    const { seq, attempts } = leased.items[i]!;
    const { text, bytes, start, end } = leased.records[i]!;
    if (text !== lastText) {
      const { members } = partsOf(text);
      before = members === "" ? '{"id":"' : `{${members},"id":"`;
    }
    if (attempts !== lastAttempts) after = `","attempts":${attempts}${deadline}`;
    lastText = text;
    lastAttempts = attempts;
    if (i > 0) reply += ",";
    reply += before + leased.ids.id(seq) + after;
    reply += start === end ? "}" : `,"bytes":"${bytes.toString("base64", start, end)}"}`;
  }
  return `${reply}]}`;
}

function leaseProtobuf(queueName: string, leased: Leased): Uint8Array {
  return encodeProtobuf(QueueLeaseResponseSchema, {
    queueName,
    partition: leased.partition,
    items: leased.items.map((item, i) => {
      const { text, payload } = leased.records[i]!;
      return {
        ...textsOf(text),
        id: leased.ids.id(item.seq),
        attempts: item.attempts,
        leaseDeadline: leased.deadline,
        bytes: payload,
      };
    }),
  });
}

/** The answer to a lease of /v2; undefined stands for no items. */
export function leaseAnswerV2(leased: Leased | undefined): Answer {
  return {
    encode: (format) => {
      if (format === "protobuf") return leaseProtobufV2(leased);
      // That there are none is said: `{}` could be from anybody.
      return leased === undefined ? '{"items":[]}' : leaseJsonV2(leased);
    },
  };
}

function leaseJsonV2({ ids, deadline, items, records }: Leased): string {
  const ends = `,"lease_deadline":"${formatTimestamp(deadline)}","attempts":`;
  let reply = '{"items":[';
  // What comes before an item's id, and after its fence: neighbours mostly share it.
  let lastText: string | undefined;
  let lastAttempts = -1;
  let lastCreated = -1;
  let form: Form = "";
  let before = "";
  let after = "";
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    const { seq, attempts, createdAt } = item;
    const { text, bytes, start, end } = records[i]!;
    if (text !== lastText) {
      const parts = partsOf(text);
      form = parts.form;
      before = parts.members === "" ? '{"' : `{${parts.members},"`;
      if (parts.headers !== "") before += `headers":${parts.headers},"`;
      before += 'id":"';
      lastText = text;
    }
    if (attempts !== lastAttempts || createdAt !== lastCreated) {
      after = `${ends}${attempts},"created_at":"${formatTimestamp(createdAt)}"`;
      lastAttempts = attempts;
      lastCreated = createdAt;
    }
    const leaseId = ids.id(seq);
    const hasLittle = isPlain(item.attributes);
    const id = hasLittle ? leaseId : idOf(ids, item);
    if (i > 0) reply += ",";
    reply += `${before}${id}","lease_id":"${leaseId}","fence":${seq}${after}`;
    if (start !== end) reply += payloadJson(form, bytes, start, end);
    if (!hasLittle) reply += pastJson(item.attributes, id);
    else if (item.attributes !== "") reply += traceJson(plainTraceparent(item.attributes), "");
    reply += "}";
  }
  return `${reply}]}`;
}

// What has become of an item before, as members of its JSON.
function pastJson(text: string, id: string): string {
  const attributes = attributesOf(text);
  const { error, traceparent, tracestate } = attributes;
  const source = deadSourceOf(attributes, id);
  let past = traceJson(traceparent, tracestate);
  if (error !== undefined) past += `,"last_error":${encodeJson(ItemErrorSchema, error)}`;
  if (source !== undefined) past += `,"source":${encodeJson(DeadSourceSchema, source)}`;
  return past;
}

function traceJson(traceparent: string, tracestate: string): string {
  if (traceparent === "") return "";
  const state = tracestate === "" ? "" : `,"tracestate":${JSON.stringify(tracestate)}`;
  return `,"traceparent":"${traceparent}"${state}`;
}

function payloadJson(form: Form, bytes: Buffer, start: number, end: number): string {
  if (form === "j") return `,"json":${bytes.toString("utf8", start, end)}`;
  if (form === "u") return `,"utf8":${JSON.stringify(bytes.toString("utf8", start, end))}`;
  return `,"bytes":"${bytes.toString("base64", start, end)}"`;
}

function leaseProtobufV2(leased: Leased | undefined): Uint8Array {
  if (leased === undefined) return encodeProtobuf(LeaseResponseV2, {});
  const { ids, deadline, items, records } = leased;
  return encodeProtobuf(LeaseResponseV2, {
    items: items.map((item, i) => {
      const { seq, attempts, createdAt } = item;
      const id = idOf(ids, item);
      const { error, traceparent, tracestate } = attributesOf(item.attributes);
      return {
        ...contentOf(records[i]!),
        id,
        leaseId: ids.id(seq),
        fence: seq,
        leaseDeadline: deadline,
        attempts,
        createdAt,
        lastError: error,
        traceparent,
        tracestate,
        source: deadSourceOf(attributesOf(item.attributes), id),
      };
    }),
  });
}

type Shown = Texts & { readonly headers: Headers } & Partial<
    Pick<Content, "json" | "utf8" | "bytes">
  >;

// What a record holds, as fields of a message of /v2.
function contentOf({ text, payload }: ItemRecord): Shown {
  const { form, ...texts } = knownOf(text);
  if (form === "j") return { ...texts, json: payload.toString() };
  if (form === "u") return { ...texts, utf8: payload.toString() };
  return { ...texts, bytes: payload };
}

/** The id of an item under /v2, which it has kept if it has moved. */
export function stableId({ id, attributes }: Pick<ListedItem, "id" | "attributes">): string {
  return attributesOf(attributes).id || id;
}

/** An item as /v2 shows it. */
export function toItemV2(
  item: ListedItem & Partial<FoundItem>,
  { partition, payload }: { readonly partition: number; readonly payload: boolean },
): Encodable<typeof ItemSchema> {
  const { isLeased, leaseDeadline, expireAt, createdAt, attempts, dueAt, note, end } = item;
  const attributes = attributesOf(item.attributes);
  const { source: sourceId, error: lastError, retry, unique, bound } = attributes;
  const { traceparent, tracestate } = attributes;
  const id = stableId(item);
  const { json, utf8, bytes, ...texts } = contentOf(item.record);
  return {
    ...texts,
    ...(payload && { json, utf8, bytes }),
    ...(isLeased && { leaseId: item.id, leaseDeadline }),
    id,
    state: stateOf(item),
    partition,
    createdAt,
    attempts,
    // What waits behind another, or is on its way, is stored with a time that is not its own.
    enqueueAt: unique?.while === "behind" ? (unique.at ?? 0) : (bound?.at ?? dueAt),
    expireAt,
    sourceId,
    source: deadSourceOf(attributes, id),
    lastError,
    uniqueKey: unique?.key,
    traceparent,
    tracestate,
    maxAttempts: retry?.maxAttempts,
    retry: shownOwnRetry(retry),
    ...(note !== undefined && { cancelled: note.cancelled, progress: note.progress }),
    ...(end !== undefined && { endedAt: end.endedAt, result: end.result }),
  };
}

/** An item as lists of /v1 show it. */
export function toStorageItem(item: ListedItem): Encodable<typeof StorageItemSchema> {
  const { source, max } = attributesOf(item.attributes);
  return {
    ...textsOf(item.record.text),
    id: item.id,
    sourceId: source,
    isLeased: item.isLeased,
    leaseDeadline: item.leaseDeadline === 0 ? ZERO_TIME : item.leaseDeadline,
    expireDeadline: item.expireAt,
    createdAt: item.createdAt,
    attempts: item.attempts,
    maxAttempts: max,
    payload: item.record.payload,
  };
}
