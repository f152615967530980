// Items between the wire and the queue. A producer's item becomes one opaque record where its
// request is parsed: its texts as the very JSON that a lease will answer, and its payload as bytes.
// A lease reply in JSON is then put together from ready pieces, without encoding a text again.

import type { Answer } from "../codec/answer.ts";
import {
  QueueLeaseResponseSchema,
  type QueueProduceItemSchema,
} from "../codec/gen/querator/v1/queue_pb.ts";
import type { StorageItemSchema } from "../codec/gen/querator/v1/storage_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import { formatTimestamp, ZERO_TIME } from "../codec/timestamp.ts";
import { attributesOf, Item, type Leased, type ListedItem } from "../queue/queue.ts";
import { ItemRecord } from "../storage/storage.ts";

interface Texts {
  readonly encoding: string;
  readonly kind: string;
  readonly reference: string;
}

const NO_TEXTS: Texts = { encoding: "", kind: "", reference: "" };

// The texts of the last item and what became of them: items of one batch mostly share them.
let lastTexts = NO_TEXTS;
let lastText = "";

/** The members of a JSON object that hold the texts of an item, those that are set. */
function textOf({ encoding, kind, reference }: Texts): string {
  const same =
    encoding === lastTexts.encoding && kind === lastTexts.kind && reference === lastTexts.reference;
  if (same) return lastText;
  lastTexts = { encoding, kind, reference };
  lastText = Object.entries(lastTexts)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `"${name}":${JSON.stringify(value)}`)
    .join(",");
  return lastText;
}

function textsOf(text: string): Texts {
  if (text === lastText) return lastTexts;
  lastTexts = { ...NO_TEXTS, ...(JSON.parse(`{${text}}`) as Partial<Texts>) };
  lastText = text;
  return lastTexts;
}

type ProduceItem = Decoded<typeof QueueProduceItemSchema>;

// Payloads that share their bytes also stay in memory as long as one of them does.
const SHARED_MAX = 64 * 1024;

/** The items that a produce request holds. */
export function toItems(given: readonly ProduceItem[]): Item[] {
  const items: Item[] = new Array(given.length);
  for (let at = 0; at < given.length; ) {
    let text = utf8Of(given[at]!);
    let next = at + 1;
    while (next < given.length && text.length + given[next]!.utf8.length <= SHARED_MAX) {
      text += utf8Of(given[next++]!);
    }
    const shared = Buffer.from(text);
    const isAscii = shared.length === text.length;
    for (let start = 0; at < next; at++) {
      const item = given[at]!;
      const utf8 = utf8Of(item);
      const end = start + (isAscii ? utf8.length : Buffer.byteLength(utf8));
      const record =
        item.bytes.length > 0
          ? new ItemRecord(textOf(item), item.bytes)
          : new ItemRecord(textOf(item), shared, start, end);
      items[at] = new Item(record, Math.max(item.enqueueAt, 0));
      start = end;
    }
  }
  return items;
}

// Bytes count before letters.
function utf8Of({ bytes, utf8 }: ProduceItem): string {
  return bytes.length > 0 ? "" : utf8;
}

/** The record of an item to import. */
export function toRecord(item: Decoded<typeof StorageItemSchema>): ItemRecord {
  return new ItemRecord(textOf(item), item.payload);
}

/** The answer to a lease. */
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
    if (text !== lastText) before = text === "" ? '{"id":"' : `{${text},"id":"`;
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

/** An item as lists show it. */
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
