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

const PAYLOAD: Column<StoredItem> = { title: "PAYLOAD", value: (item) => preview(payloadOf(item)) };

/** How people see items. */
export const ITEM_COLUMNS: readonly Column<StoredItem>[] = [
  { title: "PARTITION", value: ({ partition = 0 }) => String(partition), isRight: true },
  { title: "ID", value: ({ id }) => id },
  { title: "LEASED UNTIL", value: (item) => time(item.lease_deadline) || "-" },
  { title: "ATTEMPTS", value: ({ attempts = 0 }) => String(attempts), isRight: true },
  { title: "CREATED", value: (item) => time(item.created_at) },
  { title: "KIND", value: ({ kind = "" }) => kind, widest: 20 },
  { title: "REFERENCE", value: ({ reference = "" }) => reference, widest: 30 },
  PAYLOAD,
];

/** Why the last attempt at an item failed; empty if nobody has said. */
export function errorOf({ last_error: error }: StoredItem): string {
  if (error === undefined) return "";
  const { type = "", message = "" } = error;
  return type === "" || message === "" ? type + message : `${type}: ${message}`;
}

const DUE: Column<StoredItem> = { title: "DUE", value: (item) => time(item.enqueue_at) || "?" };
const DIED: Column<StoredItem> = { title: "DIED", value: ({ source }) => time(source?.died_at) };
const FROM: Column<StoredItem> = {
  title: "FROM",
  value: ({ source }) => source?.queue_name ?? "",
  widest: 24,
};
const REASON: Column<StoredItem> = { title: "REASON", value: ({ source }) => source?.reason ?? "" };
const ENDED: Column<StoredItem> = { title: "ENDED", value: (item) => time(item.ended_at) };
const ERROR: Column<StoredItem> = { title: "ERROR", value: errorOf, widest: 60 };
const RESULT: Column<StoredItem> = {
  title: "RESULT",
  value: ({ result }) => (result === undefined ? "" : JSON.stringify(result)),
  widest: 60,
};

/** How people see items that are all in one state, in which other things are of interest than a lease. */
export function columnsOf(state: State | undefined): readonly Column<StoredItem>[] {
  switch (state) {
    case "scheduled":
      return withLease(DUE);
    case "dead":
      return [...withLease(DIED).slice(0, -1), FROM, REASON, ERROR, PAYLOAD];
    case "completed":
      return [...withLease(ENDED), RESULT];
    case "expired":
    case "cancelled":
    case "rejected":
      return [...withLease(ENDED), ERROR];
    default:
      return ITEM_COLUMNS;
  }
}

function withLease(instead: Column<StoredItem>): readonly Column<StoredItem>[] {
  return ITEM_COLUMNS.map((column) => (column.title === "LEASED UNTIL" ? instead : column));
}
