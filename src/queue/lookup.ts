// Where an item is that a client names by its id, and what has become of it. An item that never moved lies
// where its id says; one that did has an entry that leads to it, in the partition where it lies; one that
// has ended may be among those that are kept. Nothing here scans: it costs a few reads, whatever the queue holds.

import { ItemRecord, type ItemTable, type KeyEntry, type StoredItem } from "../storage/storage.ts";
import { attributesOf, withAttributes } from "./attributes.ts";
import { partitionFailing } from "./batch.ts";
import { type Kept, keptUntil } from "./history.ts";
import type { Item } from "./item.ts";
import { idOf, KEY } from "./keys.ts";
import type { Loop } from "./loop.ts";
import { type ListedItem, listed, run } from "./operations.ts";
import type { Partition } from "./partition.ts";

/** What an item may be while it is there. */
export const LIVE_STATES = ["waiting", "leased", "scheduled", "held", "dead"] as const;
/** What it may have been when it ended. */
export const ENDED_STATES = ["completed", "expired", "cancelled", "rejected"] as const;

export type EndedState = (typeof ENDED_STATES)[number];
export type ItemState = (typeof LIVE_STATES)[number] | EndedState;

/** How an item has ended. */
export interface End {
  readonly state: EndedState;
  readonly endedAt: number;
  /** JSON as its consumer has written it; "" for none. */
  readonly result: string;
}

// Bytes of what is kept of items that have ended, in one page.
const PAGE_BYTES = 16 * 1024 * 1024;

/** An item as it is now, or as it ended. */
export interface FoundItem extends ListedItem {
  readonly partition: number;
  /** Undefined while it is there. */
  readonly end: End | undefined;
}

/** One that is there, with what the loop knows of it. */
export interface Located {
  readonly partition: Partition;
  readonly table: ItemTable;
  readonly item: StoredItem;
  /** Itself, if it is leased. */
  readonly leased: Item | undefined;
}

/** What it is, as clients are told. */
export function stateOf({
  isLeased,
  dueAt,
  attributes,
  end,
}: Pick<FoundItem, "isLeased" | "dueAt" | "attributes"> & Partial<FoundItem>): ItemState {
  if (end !== undefined) return end.state;
  if (isLeased) return "leased";
  const { died, from } = attributesOf(attributes);
  // What its consumer gave up waits among the scheduled ones for its way into another storage.
  if (died !== "") return "dead";
  if (dueAt !== 0) return "scheduled";
  return from === undefined ? "waiting" : "dead";
}

/** The item of an id; none if there is none, and what has ended is not kept. */
export function find(loop: Loop, id: string): Promise<readonly FoundItem[]> {
  return run(loop, [], async () => {
    const there = await locate(loop, id);
    if (there === undefined) return [];
    return ["item" in there ? foundIn(there) : there.ended];
  });
}

/**
 * What there is under an id, for a step of the loop. Rejects if it is not found and a partition fails in
 * which it may lie.
 */
export async function locate(
  { partitions, context }: Loop,
  id: string,
): Promise<Located | { readonly ended: FoundItem } | undefined> {
  const giver = partitions.find(({ ids }) => ids.seq(id) > 0);
  if (giver !== undefined && !giver.stale) {
    const there = await readAt(giver, giver.ids.seq(id));
    if (there !== undefined && idOf(giver.ids, there.item) === id) return there;
  }
  const working = partitions.filter(({ stale }) => !stale);
  const now = context.clock.now();
  const looks = working.map(async (partition) => {
    const [moved, ended] = await Promise.all([
      entryOf(partition, KEY.id, id),
      entryOf(partition, KEY.ended, id),
    ]);
    if (moved !== undefined) return readAt(partition, moved.seq);
    return ended === undefined || keptUntil(ended, partition.keeping) <= now
      ? undefined
      : { ended: endedItem(partition, ended) };
  });
  // An id may have ended in one partition, and be there in another: what is there counts.
  const all = (await Promise.all(looks)).filter((look) => look !== undefined);
  const found = all.find((look) => "item" in look) ?? all[0];
  if (found !== undefined) return found;
  const failing = partitions.find(({ stale }) => stale);
  if (failing !== undefined) throw partitionFailing(failing);
  return undefined;
}

/** Which of those that have ended a page begins behind, and how many it holds. */
export interface EndedOptions {
  readonly after: string;
  readonly limit: number;
  readonly order: "oldest" | "newest";
}

/** A page of those that have ended and are kept, in the order of their ids. */
export function listEnded(
  loop: Loop,
  partition: Partition,
  { after, limit, order }: EndedOptions,
): Promise<readonly FoundItem[]> {
  const { storage, key } = partition;
  return run(loop, [partition], async () => {
    const now = loop.context.clock.now();
    for (let from = after; ; ) {
      const entries = await storage.listKeys(key, KEY.ended, {
        after: from,
        limit,
        order: order === "newest" ? "descending" : "ascending",
        bytesMax: PAGE_BYTES,
      });
      const kept = entries.filter((entry) => keptUntil(entry, partition.keeping) > now);
      // Those whose time is over are passed by, as long as there are more.
      if (kept.length > 0 || entries.length === 0) {
        return kept.map((entry) => endedItem(partition, entry));
      }
      from = entries.at(-1)!.key;
    }
  });
}

async function entryOf(
  { storage, key }: Partition,
  kind: number,
  id: string,
): Promise<KeyEntry | undefined> {
  return (await storage.findKeys(key, kind, [id])).get(id);
}

async function readAt(partition: Partition, seq: number): Promise<Located | undefined> {
  const { storage, key, leased } = partition;
  const one = { from: seq, before: seq + 1, limit: 1, bytesMax: Number.MAX_SAFE_INTEGER };
  for (const table of ["items", "scheduled", "held"] as const) {
    const [item] = await storage.readItems(key, table, { ...one, records: true });
    if (item === undefined) continue;
    return { partition, table, item, leased: table === "items" ? leased.get(seq) : undefined };
  }
  return undefined;
}

function endedItem({ number }: Partition, { key: id, value }: KeyEntry): FoundItem {
  const kept = JSON.parse(value) as Kept;
  const { createdAt, attempts, text, error, payload = "", state, endedAt, result = "" } = kept;
  const { traceparent = "", tracestate = "" } = kept;
  return {
    seq: 0,
    id,
    partition: number,
    createdAt,
    expireAt: 0,
    attempts,
    leaseDeadline: 0,
    dueAt: 0,
    attributes: withAttributes("", { error, traceparent, tracestate }),
    record: new ItemRecord(text, Buffer.from(payload, "base64")),
    isLeased: false,
    note: undefined,
    end: { state, endedAt, result },
  };
}

/** One that is there, as it is told to clients. */
export function foundIn({ partition, item }: Pick<Located, "partition" | "item">): FoundItem {
  return { ...listed(partition, item), partition: partition.number, end: undefined };
}
