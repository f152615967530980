// Items as they lie in storage, in the JSON of the API and as it travels: times and numbers keep all their
// digits, which a Date would not. Lists are read page by page.

import type { WireStorageItem } from "@querator/client";
import type { Column } from "./output.ts";
import type { Session } from "./session.ts";
import { preview, time } from "./text.ts";

/** One item; what has its default value is left out. */
export interface StoredItem extends WireStorageItem {
  readonly id: string;
}

export const STATES = [
  "waiting",
  "leased",
  "scheduled",
  "held",
  "dead",
  "completed",
  "expired",
  "cancelled",
  "rejected",
] as const;
export type State = (typeof STATES)[number];

// What one request asks for.
const PAGE = 1_000;

export interface ItemsOptions {
  /** What waits and what is leased, if it is left out. */
  readonly state?: State | undefined;
  /** All, if it is left out. */
  readonly partition?: number | undefined;
  /** What else is to be so of them, by the names that the API has for it. */
  readonly filters?: Readonly<Record<string, string | undefined>>;
  /** Where an earlier list ended. */
  readonly cursor?: string | undefined;
  readonly limit?: number | undefined;
  /** How many one request asks for at most. */
  readonly page?: number;
  /** Told, at the end of each page, where the next begins; "" after the last. */
  readonly onPage?: (cursor: string) => void;
}

/** All items that are meant, at most `limit`. */
export async function* itemsOf(
  { client, signal }: Session,
  queue: string,
  options: ItemsOptions,
): AsyncGenerator<StoredItem, void, undefined> {
  const { state, partition, filters, page: most = PAGE, onPage } = options;
  let { cursor, limit: left = Number.POSITIVE_INFINITY } = options;
  while (left > 0 && cursor !== "") {
    const limit = Math.min(left, most);
    const which = { queue_name: queue, state, partition, ...filters };
    const request = { ...which, cursor, limit, payload: true };
    const page = await client.call<{ items?: StoredItem[]; next_cursor?: string }>(
      "items.list",
      request,
      { signal, isRepeatable: true, isExact: true },
    );
    const { items = [], next_cursor: next = "" } = page;
    yield* items;
    left -= items.length;
    cursor = next;
    onPage?.(next);
  }
}

/** How many partitions a queue has. */
export async function partitionsOf({ client, signal }: Session, queue: string): Promise<number> {
  const { logicalQueues } = await client.stats(queue, { signal });
  return logicalQueues.flatMap((logical) => logical.partitions).length;
}

/** The payload in bytes. */
export function payloadOf({
  json,
  utf8,
  bytes = "",
}: Pick<StoredItem, "json" | "utf8" | "bytes">): Uint8Array {
  if (json !== undefined) return Buffer.from(JSON.stringify(json));
  return utf8 === undefined ? Buffer.from(bytes, "base64") : Buffer.from(utf8);
}

/** How people see items. */
export const ITEM_COLUMNS: readonly Column<StoredItem>[] = [
  { title: "PARTITION", value: ({ partition = 0 }) => String(partition), isRight: true },
  { title: "ID", value: ({ id }) => id },
  { title: "LEASED UNTIL", value: (item) => time(item.lease_deadline) || "-" },
  { title: "ATTEMPTS", value: ({ attempts = 0 }) => String(attempts), isRight: true },
  { title: "CREATED", value: (item) => time(item.created_at) },
  { title: "KIND", value: ({ kind = "" }) => kind, widest: 20 },
  { title: "REFERENCE", value: ({ reference = "" }) => reference, widest: 30 },
  { title: "PAYLOAD", value: (item) => preview(payloadOf(item)) },
];

const DUE: Column<StoredItem> = { title: "DUE", value: (item) => time(item.enqueue_at) || "?" };

/** How they see those that are scheduled, which nobody has leased. */
export const SCHEDULED_COLUMNS = ITEM_COLUMNS.map((column) =>
  column.title === "LEASED UNTIL" ? DUE : column,
);
