// What operators do to the items of a queue: clear, import, delete, list. Each is an Operation of
// the loop, so it has its place among the other requests, and each takes bounded steps, so that
// clearing ten million items keeps no producer waiting. Nothing here is on the hot path.

import type { QueueError } from "../errors.ts";
import type { ItemRecord, ItemTable, StoredItem } from "../storage/storage.ts";
import { Item } from "./item.ts";
import { momentOf } from "./lease-ends.ts";
import type { Loop } from "./loop.ts";
import type { Operation } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import { isLater, PartitionBatch } from "./partition-batch.ts";

// Items that one step reads or removes.
const STEP = 2_000;
const PAGE_BYTES = 16 * 1024 * 1024;

export interface ClearOptions {
  /** Removes what waits. */
  readonly queue: boolean;
  /** With `queue`: removes what is leased as well. */
  readonly destructive: boolean;
  /** Removes what is scheduled. */
  readonly scheduled: boolean;
}

/** One item as an operator sees it: with its lease as it is now. */
export interface ListedItem extends StoredItem {
  readonly id: string;
  readonly isLeased: boolean;
}

/** An item to import. Times in microseconds; 0 stands for none. */
export interface ImportedItem {
  readonly sourceId: string;
  readonly isLeased: boolean;
  readonly leaseDeadline: number;
  readonly expireAt: number;
  /** When it becomes leasable; only of one that is not leased. */
  readonly dueAt: number;
  readonly attempts: number;
  readonly maxAttempts: number;
  readonly record: ItemRecord;
}

/** What became of an imported item; undefined if its source was there already. */
export type ImportResult = ListedItem | undefined;

// Runs steps of an operation in the loop until one answers a result.
function run<T>(
  loop: Loop,
  partitions: readonly Partition[],
  step: () => Promise<T | undefined>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const operation: Operation = {
    partitions,
    async step() {
      const result = await step();
      if (result === undefined) return false;
      resolve(result);
      return true;
    },
    fail: (error: QueueError) => reject(error),
  };
  loop.operate(operation);
  return promise;
}

/** Removes what the options say, up to what was there when it began. */
export async function clear(loop: Loop, options: ClearOptions): Promise<void> {
  for (const partition of loop.partitions) {
    let bound: number | undefined;
    let from = 0;
    const steps: (() => Promise<true | undefined>)[] = [];
    if (options.queue) {
      steps.push(async () => {
        from = Math.max(from, partition.counters.head);
        const items = await read(partition, "items", { from, before: bound!, limit: STEP });
        const part = new PartitionBatch(partition, loop.context.clock.now());
        for (const item of items) if (!partition.leased.has(item.seq)) part.removeWaiting(item);
        part.passHead(items);
        if (part.touched) await loop.commitAlone(part);
        from = (items.at(-1)?.seq ?? 0) + 1;
        return items.length < STEP || undefined;
      });
    }
    if (options.queue && options.destructive) {
      steps.push(async () => {
        const part = new PartitionBatch(partition, loop.context.clock.now());
        let n = 0;
        for (const item of partition.leased.values()) {
          if (item.seq >= bound!) continue;
          part.claim(item);
          part.remove(item);
          if (++n === STEP) break;
        }
        if (part.touched) await loop.commitAlone(part);
        return n < STEP || undefined;
      });
    }
    if (options.scheduled) {
      steps.push(async () => {
        const items = await read(partition, "scheduled", { from: 0, before: bound!, limit: STEP });
        const part = new PartitionBatch(partition, loop.context.clock.now());
        for (const item of items) part.removeScheduled(item);
        if (part.touched) await loop.commitAlone(part);
        return items.length < STEP || undefined;
      });
    }
    for (const step of steps) {
      await run(loop, [partition], () => {
        bound ??= partition.counters.tail;
        return step();
      });
    }
  }
}

/** Reads everything that memory holds of the queue anew. */
export async function reload(loop: Loop): Promise<void> {
  await run(loop, [], async () => {
    const { clock } = loop.context;
    for (const partition of loop.partitions) await partition.load(() => momentOf(clock));
    return true;
  });
  loop.wake();
}

/** One page of a partition's items, ascending by id, from `from` on. */
export function list(
  loop: Loop,
  partition: Partition,
  options: { table: ItemTable; from: number; limit: number; isGone?: () => boolean },
): Promise<readonly ListedItem[]> {
  const { table, from, limit, isGone } = options;
  return run(loop, [partition], async () => {
    if (isGone?.() === true) return []; // a large page for nobody would keep others waiting
    const items = await partition.storage.readItems(partition.key, table, {
      from,
      before: Number.MAX_SAFE_INTEGER,
      limit,
      bytesMax: PAGE_BYTES,
      records: true,
    });
    return items.map((item) => listed(partition, item));
  });
}

function listed(partition: Partition, item: StoredItem): ListedItem {
  const leased = partition.leased.get(item.seq);
  return {
    ...item,
    id: partition.ids.id(item.seq),
    isLeased: leased !== undefined,
    attempts: leased?.attempts ?? item.attempts,
    leaseDeadline: leased?.grant?.deadline ?? 0,
  };
}

/** Adds items as they are given, under new ids; one whose source is there already is left out. */
export function importItems(
  loop: Loop,
  partition: Partition,
  imports: readonly ImportedItem[],
): Promise<readonly ImportResult[]> {
  return run(loop, [partition], async () => {
    const now = loop.context.clock.now();
    const sources = imports.flatMap((each) => each.sourceId || []);
    const known = new Set(await partition.storage.findSources(partition.key, sources));
    const part = new PartitionBatch(partition, now);
    const results = imports.map((each): ImportResult => {
      if (each.sourceId !== "" && known.has(each.sourceId)) return undefined;
      known.add(each.sourceId);
      const item = new Item(each.record, isLater(each.dueAt, now) ? each.dueAt : 0);
      item.createdAt = now;
      item.expireAt = each.expireAt || now + loop.rules.expireTimeout;
      item.attempts = each.attempts;
      item.maxAttempts = each.maxAttempts;
      item.sourceId = each.sourceId;
      if (each.isLeased) {
        item.leaseDeadline = each.leaseDeadline || now + loop.rules.leaseTimeout;
        part.addLeased(item);
      } else {
        part.add(item);
      }
      const { seq, createdAt, expireAt, attempts, maxAttempts, sourceId, leaseDeadline } = item;
      const stored = { seq, createdAt, expireAt, attempts, maxAttempts, sourceId, leaseDeadline };
      const id = partition.ids.id(seq);
      return { ...stored, dueAt: item.dueAt, id, isLeased: each.isLeased, record: each.record };
    });
    part.dropReady();
    if (part.touched) await loop.commitAlone(part);
    return results;
  });
}

/** Removes items by number, whether they wait, are leased or are scheduled; unknown ones are ignored. */
export async function deleteItems(
  loop: Loop,
  partition: Partition,
  seqs: readonly number[],
): Promise<void> {
  const left = [...new Set(seqs)];
  await run(loop, [partition], async () => {
    const part = new PartitionBatch(partition, loop.context.clock.now());
    for (const seq of left.splice(0, STEP)) {
      const leased = part.leased(seq);
      if (leased !== undefined) {
        part.claim(leased);
        part.remove(leased);
        continue;
      }
      const one = { from: seq, before: seq + 1, limit: 1 };
      for (const item of await read(partition, "items", one)) part.removeWaiting(item);
      for (const item of await read(partition, "scheduled", one)) part.removeScheduled(item);
    }
    if (part.touched) await loop.commitAlone(part);
    return left.length === 0 || undefined;
  });
}

function read(
  partition: Partition,
  table: ItemTable,
  range: { from: number; before: number; limit: number },
): Promise<readonly StoredItem[]> {
  return partition.storage.readItems(partition.key, table, {
    ...range,
    bytesMax: Number.MAX_SAFE_INTEGER,
    records: false,
  });
}
