// Items on their way from one queue into another: copies of them are put into partition 0 of that queue,
// by asking its loop, and they are taken out here. In one transaction if both partitions share a storage;
// else the copies are written first, each under the id of its original, so that a repetition after a crash
// is recognised. No loop waits for another for longer than a delivery may take. Why items move, and whether
// they should, is none of its business.

import { MILLISECOND, SECOND } from "../clock.ts";
import { plainError, retryLater } from "../errors.ts";
import { type ItemTable, NO_RECORD, type StoredItem } from "../storage/storage.ts";
import { type Attributes, attributesOf, withAttributes } from "./attributes.ts";
import { type Commits, type Delivered, NOTHING_DELIVERED } from "./commits.ts";
import type { Intake, QueueContext } from "./context.ts";
import type { Ending } from "./history.ts";
import { idOf, KEY } from "./keys.ts";
import { type Delivery, type Letter, NotDelivered } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";

/** How long letters wait for the loop of the other queue before the sender goes on with other work. */
export const DELIVERY_TIMEOUT = 500 * MILLISECOND;
// How long it then goes on before the next try.
const DELIVERY_RETRY = SECOND;

/** How much may move at once: what comes after the item that reaches it stays. */
export interface Load {
  readonly items: number;
  readonly bytes: number;
}

/** What one delivery carries. */
export const DELIVERY: Load = { items: 256, bytes: 16 * 1024 * 1024 };
/** All at once, which only what one client has asked for in one request may be. */
export const WHOLE: Load = { items: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY };

/** Some items, from where to where. */
export interface Transfer {
  /** In order of their numbers, all in one table. Records that memory does not hold are read. */
  readonly items: readonly StoredItem[];
  /** For each of them, why it moves. */
  readonly endings: readonly Ending[];
  readonly table: ItemTable;
  /** The commit that takes them out, with all else that it does and serves. */
  readonly from: PartitionBatch;
  readonly to: Intake;
  readonly load: Load;
  /** What the copies are to have in place of what their originals have, beside their source. */
  readonly sets: Partial<Attributes>;
}

/** Deliveries that a batch takes in, with those of their letters that are new. */
export interface Accepted extends Delivered {
  readonly letters: readonly Letter[];
}

const NOTHING_ACCEPTED: Accepted = { ...NOTHING_DELIVERED, letters: [] };

export class Transfers {
  readonly #context: QueueContext;
  readonly #commits: Commits;
  #restsUntil = 0;

  constructor(context: QueueContext, commits: Commits) {
    this.#context = context;
    this.#commits = commits;
  }

  /**
   * Until when, in steady time, nothing is sent, because what was sent before has not been taken; 0 if
   * that is not so.
   */
  get restsUntil(): number {
    if (this.#restsUntil !== 0 && this.#restsUntil <= this.#context.clock.steady()) {
      this.#restsUntil = 0;
    }
    return this.#restsUntil;
  }

  /**
   * Moves the first of the items, as many as the load allows, and commits the part that takes them out,
   * whose requests are answered. If that cannot be done nothing moves, and they get a retryable error.
   */
  async move({ items, endings, table, from, to, load, sets }: Transfer): Promise<void> {
    const { storage } = from.of;
    const moved = await this.#read(from.of, table, items, load);
    if (moved === undefined) {
      this.#commits.refuse(from, plainError("storage_unavailable"));
      return;
    }
    for (const [i, item] of moved.entries()) from.takeOut(table, item, endings[i]!);
    from.finish();
    const letters = moved.map((item) => toLetter(from.of, item, sets));
    const isTogether = to.storage === storage;
    try {
      await to.deliver(letters, isTogether ? from : undefined);
      if (!isTogether) await this.#commits.write(storage, [from]);
    } catch (error) {
      if (error instanceof NotDelivered) this.#commits.refuse(from, retryLater(error.message));
      else this.#commits.failed([from], error);
      this.#restsUntil = this.#context.clock.steady() + DELIVERY_RETRY;
      return;
    }
    await this.#commits.succeeded([from]);
  }

  /**
   * Looks which of the letters that other queues send here are new. One whose source is here already
   * is a repetition after a crash, and is passed over. If storage fails, all are refused.
   */
  async accept(partition: Partition, deliveries: readonly Delivery[]): Promise<Accepted> {
    if (deliveries.length === 0) return NOTHING_ACCEPTED;
    const letters = new Map<string, Letter>();
    for (const letter of deliveries.flatMap((delivery) => delivery.letters)) {
      letters.set(attributesOf(letter.attributes).source, letter);
    }
    try {
      if (partition.stale) throw new Error("partition 0 is failing");
      const sources = [...letters.keys()];
      const known = await partition.storage.findKeys(partition.key, KEY.source, sources);
      for (const source of known.keys()) letters.delete(source);
      await nameApart(partition, letters);
    } catch (error) {
      for (const each of deliveries) each.reject(plainError("storage_unavailable", error));
      return NOTHING_ACCEPTED;
    }
    const companions = deliveries.flatMap((each) => each.companion ?? []);
    return { deliveries, companions, letters: [...letters.values()] };
  }

  // The first of these items with their records, as many as the load allows; undefined if storage fails.
  async #read(
    partition: Partition,
    table: ItemTable,
    items: readonly StoredItem[],
    load: Load,
  ): Promise<readonly StoredItem[] | undefined> {
    const found: StoredItem[] = [];
    let bytes = 0;
    const take = (item: StoredItem): void => {
      found.push(item);
      bytes += item.record.size;
    };
    try {
      while (found.length < Math.min(items.length, load.items) && bytes < load.bytes) {
        const start = found.length;
        const next = items[start]!;
        if (next.record !== NO_RECORD) {
          take(next);
          continue;
        }
        // Items that move together mostly lie together: each run of them is one read.
        const from = next.seq;
        let run = 1;
        while (items[start + run]?.seq === from + run) run++;
        const read = await partition.storage.readItems(partition.key, table, {
          from,
          before: from + run,
          limit: load.items - start,
          bytesMax: load.bytes - bytes,
          records: true,
        });
        if (read[0]?.seq !== from) throw new Error(`item ${from} is not in storage`);
        for (const item of read) take(item);
      }
      return found;
    } catch (error) {
      this.#commits.distrust(partition, error);
      return undefined;
    }
  }
}

// An id names one item. A copy whose id is that of another which is here, as its original was imported with it
// meanwhile, or comes beside it, gets an id of its own.
async function nameApart(partition: Partition, letters: Map<string, Letter>): Promise<void> {
  if (letters.size === 0) return;
  const idOfLetter = ({ attributes }: Letter): string => attributesOf(attributes).id;
  const ids = Array.from(letters.values(), idOfLetter);
  const known = await partition.storage.findKeys(partition.key, KEY.id, ids);
  const taken = new Set(known.keys());
  // What has never moved has no entry: its id says where it is, if it is there.
  for (const id of ids) {
    const seq = partition.ids.seq(id);
    if (seq > 0 && (await hasNeverMoved(partition, seq))) taken.add(id);
  }
  for (const [source, letter] of letters) {
    const id = idOfLetter(letter);
    if (taken.has(id)) {
      const attributes = withAttributes(letter.attributes, { id: "" });
      letters.set(source, { ...letter, attributes });
    }
    taken.add(id);
  }
}

async function hasNeverMoved({ storage, key }: Partition, seq: number): Promise<boolean> {
  const one = { from: seq, before: seq + 1, limit: 1, bytesMax: 1, records: false };
  for (const table of ["items", "scheduled"] as const) {
    const [item] = await storage.readItems(key, table, one);
    if (item !== undefined) return attributesOf(item.attributes).id === "";
  }
  return false;
}

// A copy of an item: it keeps the id of its original, and tells where that lay.
function toLetter({ ids }: Partition, item: StoredItem, sets: Partial<Attributes>): Letter {
  const { seq, attributes, record } = item;
  // A unique key is one of its queue, and stays behind.
  const own = { source: ids.id(seq), id: idOf(ids, item), unique: undefined };
  return { attributes: withAttributes(attributes, { ...sets, ...own }), record };
}
