// Items as they lie in storage, in the JSON of the API and as it travels: times keep all their
// digits, which a Date would not. Lists are read page by page, each from the id after the last one
// seen.

import { QueratorError, type WireStorageItem } from "@querator/client";
import { nextId } from "./ids.ts";
import type { Column } from "./output.ts";
import type { Session } from "./session.ts";
import { preview, time } from "./text.ts";

/** One item; what has its default value is left out. */
export interface StoredItem extends WireStorageItem {
  readonly partition: number;
  readonly id: string;
}

export type Table = "items" | "scheduled";

// The second tells no time; it is for servers that know no other.
const PATHS: Readonly<Record<Table, readonly string[]>> = {
  items: ["storage/items.list"],
  scheduled: ["v2/storage/scheduled.list", "storage/scheduled.list"],
};

export interface PageOptions {
  readonly table: Table;
  readonly partition: number;
  /** The id to begin with; the first if left out. */
  readonly pivot?: string | undefined;
  readonly limit?: number;
}

/** One page of a partition. */
export async function page(
  { client, signal }: Session,
  queue: string,
  { table, partition, pivot = "", limit = 1_000 }: PageOptions,
): Promise<StoredItem[]> {
  const [first, ...others] = PATHS[table];
  const get = (path: string): Promise<{ items?: Omit<StoredItem, "partition">[] }> =>
    client.call(
      path,
      { queue_name: queue, partition, pivot, limit },
      { signal, isRepeatable: true },
    );
  const { items = [] } = await get(first!).catch((error: unknown) => {
    if (others[0] === undefined || !isUnknownCall(error)) throw error;
    return get(others[0]);
  });
  return items.map((item) => ({ partition, ...item }));
}

/** Whether the server does not know what it was asked for. */
export function isUnknownCall(error: unknown): boolean {
  return error instanceof QueratorError && error.code === "not-implemented";
}

/** All items of a partition from a pivot on, at most `limit`. */
export async function* pages(
  session: Session,
  queue: string,
  options: PageOptions & { readonly limit: number },
): AsyncGenerator<StoredItem, void, undefined> {
  let { pivot } = options;
  let left = options.limit;
  while (left > 0) {
    // A page may be shorter than its limit, for its bytes are bounded: only an empty one is the
    // end.
    const items = await page(session, queue, { ...options, pivot, limit: Math.min(left, 1_000) });
    if (items.length === 0) return;
    yield* items;
    left -= items.length;
    pivot = nextId(items.at(-1)!.id);
  }
}

/** The numbers of a queue's partitions, or the one that is asked for. */
export async function partitionsOf(
  { client, signal }: Session,
  queue: string,
  partition?: number,
): Promise<number[]> {
  const { logicalQueues } = await client.stats(queue, { signal });
  if (partition !== undefined) return [partition];
  return logicalQueues.flatMap((logical) => logical.partitions).map((_, number) => number);
}

/** All items of some partitions, one after the other. */
export async function* itemsOf(
  session: Session,
  queue: string,
  options: {
    readonly table: Table;
    readonly partitions: readonly number[];
    readonly pivot?: string | undefined;
    readonly limit?: number;
  },
): AsyncGenerator<StoredItem, void, undefined> {
  let left = options.limit ?? Number.POSITIVE_INFINITY;
  for (const partition of options.partitions) {
    const { table, pivot } = options;
    for await (const item of pages(session, queue, { table, pivot, partition, limit: left })) {
      yield item;
      left--;
    }
    if (left <= 0) return;
  }
}

/** The payload in bytes. */
export function payloadOf({ payload = "" }: StoredItem): Uint8Array {
  return Buffer.from(payload, "base64");
}

/** How people see items. */
export const ITEM_COLUMNS: readonly Column<StoredItem>[] = [
  { title: "PARTITION", value: ({ partition }) => String(partition), isRight: true },
  { title: "ID", value: ({ id }) => id },
  { title: "LEASED UNTIL", value: (item) => (item.is_leased ? time(item.lease_deadline) : "-") },
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
