// Items between the wire and the queue. A producer's item becomes one opaque record where its
// request is parsed: its texts as the very JSON that a lease will answer, and its payload as bytes.
// A lease reply in JSON is then put together from ready pieces, without encoding a text again.

import { Item } from "../queue/item.ts";
import type { ListedItem } from "../queue/operations.ts";
import type { Leased } from "../queue/requests.ts";
import type { ItemRecord } from "../storage/storage.ts";
import type { Answer } from "./answer.ts";
import {
  QueueLeaseResponseSchema,
  type QueueProduceItemSchema,
} from "./gen/querator/v1/queue_pb.ts";
import type { StorageItemSchema } from "./gen/querator/v1/storage_pb.ts";
import { base64 } from "./json.ts";
import type { Decoded, Encodable } from "./message.ts";
import { encodeProtobuf } from "./protobuf.ts";
import { formatTimestamp, ZERO_TIME } from "./timestamp.ts";

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

/** The item that a produce request holds. */
export function toItem(item: Decoded<typeof QueueProduceItemSchema>): Item {
  const payload = item.bytes.length > 0 ? item.bytes : Buffer.from(item.utf8);
  return new Item({ text: textOf(item), payload }, Math.max(item.enqueueAt, 0));
}

/** The record of an item to import. */
export function toRecord(item: Decoded<typeof StorageItemSchema>): ItemRecord {
  return { text: textOf(item), payload: item.payload };
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
    const { text, payload } = leased.records[i]!;
    if (text !== lastText) before = text === "" ? '{"id":"' : `{${text},"id":"`;
    if (attempts !== lastAttempts) after = `","attempts":${attempts}${deadline}`;
    lastText = text;
    lastAttempts = attempts;
    if (i > 0) reply += ",";
    reply += before + leased.ids.id(seq) + after;
    reply += payload.length === 0 ? "}" : `,"bytes":"${base64(payload)}"}`;
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
  return {
    ...textsOf(item.record.text),
    id: item.id,
    sourceId: item.sourceId,
    isLeased: item.isLeased,
    leaseDeadline: item.leaseDeadline === 0 ? ZERO_TIME : item.leaseDeadline,
    expireDeadline: item.expireAt,
    createdAt: item.createdAt,
    attempts: item.attempts,
    maxAttempts: item.maxAttempts,
    payload: item.record.payload,
  };
}
