// What operators do to the items of a queue: clear, import, delete, list. Each is an Operation of
// the loop, so it has its place among the other requests, and each takes bounded steps, so that
// clearing ten million items keeps no producer waiting. Nothing here is on the hot path.

import { invalid, type QueueError } from "../errors.ts";
import type {
  ItemRecord,
  ItemTable,
  KeyEntry,
  KeyName,
  SeqRange,
  StoredItem,
} from "../storage/storage.ts";
import type { TraceContext } from "../trace-context.ts";
import { type ItemError, type Origin, type RetryOverrides, withAttributes } from "./attributes.ts";
import { partitionFailing } from "./batch.ts";
import { BEHIND_AT, behindFirst } from "./behind.ts";
import { isOnItsWay } from "./condemned.ts";
import { happenedTo } from "./heard.ts";
import { DELETED, keptUntil } from "./history.ts";
import type { Repeat } from "./idempotency.ts";
import { Item } from "./item.ts";
import { KEY, namesOf } from "./keys.ts";
import { isLater } from "./later.ts";
import { momentOf } from "./lease-ends.ts";
import type { Loop } from "./loop.ts";
import type { Operation } from "./mailbox.ts";
import type { Note } from "./notes.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { roomFor } from "./room.ts";

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
  /** What is noted of one that is leased. */
  readonly note: Note | undefined;
}

/** An item to import. Times in microseconds; 0 stands for none. */
export interface ImportedItem {
  readonly sourceId: string;
  /** The id that it is to keep; without one it gets a new one. */
  readonly id?: string;
  readonly isLeased: boolean;
  readonly leaseDeadline: number;
  readonly expireAt: number;
  /** When it becomes leasable; only of one that is not leased. */
  readonly dueAt: number;
  readonly attempts: number;
  /** How often it may be leased, as /v1 says: told to those who ask, and nothing else. */
  readonly maxAttempts: number;
  readonly retry?: RetryOverrides | undefined;
  readonly error?: ItemError | undefined;
  /** Where it died, of one that lay in a dead queue. */
  readonly from?: Origin | undefined;
  readonly trace?: TraceContext | undefined;
  readonly record: ItemRecord;
}

/** An item that was imported, or the one that was there already: with its source, or its id. */
export interface ImportResult extends ListedItem {
  readonly status: "created" | "scheduled" | "duplicate";
}

// What items that are there already may hold together: that much may lie in memory for one import.
const KNOWN_BYTES_MAX = 64_000_000;
// So many numbers that are not wanted are read rather than left out by another read.
const GAP_MAX = 16;

/** Runs steps of an operation in the loop until one answers a result. These partitions must work for it. */
export function run<T>(
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
    let scheduledFrom = 0;
    const steps: (() => Promise<true | undefined>)[] = [];
    // First, so that nothing that waits behind an item gets its turn with the end of that, be it scheduled too.
    if (options.scheduled) {
      steps.push(async () => {
        const part = new PartitionBatch(partition, loop.context.clock.now());
        let n = 0;
        for (const { seq, item } of partition.behind.values()) {
          if (seq >= bound!) continue;
          part.removeScheduled(item, DELETED);
          if (++n === STEP) break;
        }
        if (part.touched) await loop.commitAlone(part);
        return n < STEP || undefined;
      });
      steps.push(async () => {
        const range = { from: scheduledFrom, before: bound!, limit: STEP };
        const items = await read(partition, "scheduled", range);
        const part = new PartitionBatch(partition, loop.context.clock.now());
        // What was produced for another queue is that queue's; of what is condemned a copy may be there already.
        for (const item of items) if (!isOnItsWay(item)) part.removeScheduled(item, DELETED);
        if (part.touched) await loop.commitAlone(part);
        scheduledFrom = (items.at(-1)?.seq ?? 0) + 1;
        return items.length < STEP || undefined;
      });
    }
    if (options.queue) {
      steps.push(async () => {
        from = Math.max(from, partition.counters.head);
        const items = await read(partition, "items", { from, before: bound!, limit: STEP });
        const part = new PartitionBatch(partition, loop.context.clock.now());
        for (const item of items) {
          if (!partition.leased.has(item.seq)) part.removeWaiting(item, DELETED);
        }
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
          part.remove(item, DELETED);
          if (++n === STEP) break;
        }
        if (part.touched) await loop.commitAlone(part);
        return n < STEP || undefined;
      });
    }
    for (const step of steps) {
      await run(loop, [partition], () => {
        bound ??= partition.counters.tail;
        return step();
      });
    }
  }
  const { ears, name, context } = loop;
  if (ears?.isHeard === true) {
    ears.publish(happenedTo(name, "queue_cleared", context.clock.now()));
  }
}

/**
 * Begins what an operator asks for under a key, in the order of all that is asked of the queue. Answers what
 * it was answered before; undefined if it is new, and then it is under way until it is remembered or forgotten.
 */
export async function recall(loop: Loop, repeat: Repeat): Promise<string | undefined> {
  const partition = loop.partitions[0]!;
  const { answer } = await run(loop, [partition], async () => ({
    answer: await loop.repeats.recall(loop.partitions, repeat),
  }));
  return answer;
}

/** Keeps what an operator was answered. If that fails it is under way no more, and may be done again. */
export async function remember(loop: Loop, repeat: Repeat, answer: string): Promise<void> {
  const partition = loop.partitions[0]!;
  try {
    await run(loop, [partition], async () => {
      await loop.repeats.remember(partition, repeat, answer);
      return true;
    });
  } finally {
    // Whether the loop has done it, or was too busy, or could not.
    loop.repeats.forget(repeat);
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

/** The same, descending by id, from the one before `before` on: empty only if there are none. */
export function listNewest(
  loop: Loop,
  partition: Partition,
  options: { table: ItemTable; before: number; limit: number; isGone?: () => boolean },
): Promise<readonly ListedItem[]> {
  const { table, limit, isGone } = options;
  const { storage, key, counters } = partition;
  let before = Math.min(options.before, counters.tail);
  // Storage reads upwards only, so this looks at so many numbers at a time: at more where few are left, and
  // at fewer where they hold more than one page may.
  let span = limit;
  return run(loop, [partition], async () => {
    while (before > 0 && isGone?.() !== true) {
      const from = Math.max(before - span, 0);
      const read = { from, before, limit, bytesMax: PAGE_BYTES, records: true };
      const items = await storage.readItems(key, table, read);
      const bytes = items.reduce((sum, { record }) => sum + record.size, 0);
      const isCut = (items.length === limit && before - from > limit) || bytes >= PAGE_BYTES;
      if (isCut && before - from > 1) {
        span = Math.ceil((before - from) / 4);
        continue;
      }
      if (items.length > 0) return items.map((item) => listed(partition, item)).reverse();
      before = from;
      span *= 16;
    }
    return [];
  });
}

/** An item of a partition, with its lease. */
export function listed(partition: Partition, item: StoredItem): ListedItem {
  const leased = partition.leased.get(item.seq);
  return {
    ...item,
    id: partition.ids.id(item.seq),
    isLeased: leased !== undefined,
    attempts: leased?.attempts ?? item.attempts,
    leaseDeadline: leased?.grant?.deadline ?? 0,
    note: leased?.note,
  };
}

/**
 * Adds items as they are given, under new numbers. One whose source is there already is left out, and
 * what is there is answered in its place; so is one that is to keep an id which is there.
 */
export function importItems(
  loop: Loop,
  partition: Partition,
  imports: readonly ImportedItem[],
): Promise<readonly ImportResult[]> {
  const attributes = imports.map((each) => {
    const { sourceId: source, maxAttempts: max, id = "", retry, error, from, trace } = each;
    return withAttributes("", { source, max, id, retry, error, from, ...trace });
  });
  const names = [
    ...new Map(attributes.flatMap(namesOf).map((name) => [textOf(name), name])).values(),
  ];
  const found = new KnownItems(partition);
  let looked = 0;
  return run(loop, [partition], async () => {
    checkIds(loop.partitions, imports);
    // Many are looked for step by step; what has become of them since is then seen at once.
    const step = names.slice(looked, looked + STEP);
    looked += step.length;
    let known = await found.find(step);
    if (looked < names.length) return undefined;
    if (step.length < names.length) known = await found.find(names);
    const now = loop.context.clock.now();
    const part = new PartitionBatch(partition, now);
    const added = new Map<string, ImportResult>();
    const results = imports.map((each, i): ImportResult => {
      const mine = namesOf(attributes[i]!).map(textOf);
      for (const name of mine) {
        const there = known.get(name) ?? added.get(name);
        if (there !== undefined) return { ...there, status: "duplicate" };
      }
      // What waited behind another where it was listed waits for nothing here.
      const isScheduled = isLater(each.dueAt, now) && each.dueAt < BEHIND_AT;
      const item = new Item(each.record, isScheduled ? each.dueAt : 0);
      item.createdAt = now;
      item.expireAt = each.expireAt || now + loop.rules.expireTimeout;
      item.attempts = each.attempts;
      item.attributes = attributes[i]!;
      const full = roomFor(partition, [item]);
      if (full !== undefined) {
        part.discard();
        throw full;
      }
      if (each.isLeased) {
        item.leaseDeadline = each.leaseDeadline || now + loop.rules.leaseTimeout;
        part.addLeased(item);
      } else {
        part.add(item);
      }
      const { seq, createdAt, expireAt, attempts, dueAt } = item;
      const result: ImportResult = {
        seq,
        createdAt,
        expireAt,
        attempts,
        attributes: item.attributes,
        dueAt,
        // One that is not leased keeps none, but is answered as it was given.
        leaseDeadline: item.leaseDeadline || each.leaseDeadline,
        id: partition.ids.id(seq),
        isLeased: each.isLeased,
        note: undefined,
        record: each.record,
        status: dueAt === 0 ? "created" : "scheduled",
      };
      for (const name of mine) added.set(name, result);
      return result;
    });
    part.dropReady();
    if (part.touched) await loop.commitAlone(part);
    return results;
  });
}

const textOf = ({ kind, key }: KeyName): string => `${kind} ${key}`;

// An id that some partition is yet to give would be that of two items.
function checkIds(partitions: readonly Partition[], imports: readonly ImportedItem[]): void {
  for (const { id = "" } of imports) {
    const giver = partitions.find(({ ids, counters }) => ids.seq(id) >= counters.tail);
    if (giver === undefined) continue;
    // Of one that was never read it is not known how far it is.
    if (giver.stale) throw partitionFailing(giver);
    throw invalid(`id is invalid; '${id}' is yet to be given`);
  }
}

/** The items that are there under names, read once however often they are looked for. */
class KnownItems {
  readonly #partition: Partition;
  readonly #read = new Map<number, StoredItem>();
  #bytes = 0;

  constructor(partition: Partition) {
    this.#partition = partition;
  }

  /** By name, as they are now; those that are not there are missing. */
  async find(names: readonly KeyName[]): Promise<ReadonlyMap<string, ListedItem>> {
    const { storage, key, ids } = this.#partition;
    const seqs = new Map<string, number>();
    for (const kind of [KEY.source, KEY.id]) {
      const keys = names.flatMap((name) => (name.kind === kind ? name.key : []));
      if (keys.length === 0) continue;
      for (const entry of (await storage.findKeys(key, kind, keys)).values()) {
        seqs.set(textOf(entry), entry.seq);
      }
    }
    // What has never moved has no entry: its id says where it is, if it is there.
    const places = new Map<string, number>();
    for (const name of names) {
      const seq = name.kind === KEY.id && !seqs.has(textOf(name)) ? ids.seq(name.key) : -1;
      if (seq > 0) places.set(textOf(name), seq);
    }
    await this.#readAll([...seqs.values(), ...places.values()]);
    const found = new Map<string, ListedItem>();
    for (const [name, seq] of seqs) {
      const item = this.#read.get(seq);
      if (item === undefined) throw new Error(`'${name}' is known, its item is not there`);
      found.set(name, listed(this.#partition, item));
    }
    for (const [name, seq] of places) {
      const item = this.#read.get(seq);
      if (item !== undefined) found.set(name, listed(this.#partition, item));
    }
    return found;
  }

  async #readAll(seqs: readonly number[]): Promise<void> {
    const { storage, key } = this.#partition;
    for (const table of ["items", "scheduled"] as const) {
      const wanted = new Set(seqs.filter((seq) => !this.#read.has(seq)));
      for (const { first, last } of rangesOf(wanted)) {
        for (let from = first; from <= last; ) {
          const range = {
            from,
            before: last + 1,
            limit: STEP,
            bytesMax: PAGE_BYTES,
            records: true,
          };
          const items = await storage.readItems(key, table, range);
          for (const item of items) if (wanted.has(item.seq)) this.#keep(item);
          from = (items.at(-1)?.seq ?? last) + 1;
        }
      }
    }
  }

  #keep(item: StoredItem): void {
    this.#read.set(item.seq, item);
    this.#bytes += item.record.size;
    if (this.#bytes <= KNOWN_BYTES_MAX) return;
    throw invalid(
      "items is invalid; those that are there already hold too much to answer, import fewer at a time",
    );
  }
}

/** Numbers as ranges to read: what came together lies together, and is read so, with the few that lie in between. */
export function rangesOf(seqs: ReadonlySet<number>): readonly SeqRange[] {
  const ranges: { first: number; last: number }[] = [];
  for (const seq of [...seqs].sort((a, b) => a - b)) {
    const range = ranges.at(-1);
    if (range === undefined || seq - range.last > GAP_MAX) ranges.push({ first: seq, last: seq });
    else range.last = seq;
  }
  return ranges;
}

/**
 * Removes items whether they wait, are leased or are scheduled; unknown ones are ignored. An item is named
 * by the id of its place, or also, with `moved`, by the one that it had before it moved; then also what is kept
 * of one that has ended goes. Answers the ids of those that were there.
 */
export async function deleteItems(
  loop: Loop,
  partition: Partition,
  ids: readonly string[],
  { moved }: { readonly moved: boolean },
): Promise<ReadonlySet<string>> {
  const left = [...new Set(ids)];
  const deleted = new Set<string>();
  await run(loop, [partition], async () => {
    const part = new PartitionBatch(partition, loop.context.clock.now());
    const found: string[] = [];
    const step = left.splice(0, STEP);
    const keys = moved
      ? await partition.storage.findKeys(partition.key, KEY.id, step)
      : new Map<string, KeyEntry>();
    const ended = moved ? await endedOf(partition, step, part.now) : NONE_ENDED;
    if (ended.size > 0) part.forget([...ended.values()]);
    // An item that moved has two ids here, by both of which it may be named: it is gone with the first.
    const gone = new Set<number>();
    const leased: number[] = [];
    const waiting: StoredItem[] = [];
    const scheduled: StoredItem[] = [];
    for (const id of step) {
      const seq = keys.get(id)?.seq ?? partition.ids.seq(id);
      if (seq < 0 || gone.has(seq)) continue;
      if (part.leased(seq) === undefined) {
        const one = { from: seq, before: seq + 1, limit: 1 };
        const some = await read(partition, "items", one);
        // Of what is on its way a copy may be there already, which would stay.
        const others = (await read(partition, "scheduled", one)).filter(
          (item) => !isOnItsWay(item),
        );
        waiting.push(...some);
        scheduled.push(...others);
        if (some.length + others.length === 0) continue;
      } else {
        leased.push(seq);
      }
      gone.add(seq);
      found.push(id);
    }
    for (const item of behindFirst(scheduled)) part.removeScheduled(item, DELETED);
    for (const item of waiting) part.removeWaiting(item, DELETED);
    for (const seq of leased) {
      const item = part.leased(seq)!;
      part.claim(item);
      part.remove(item, DELETED);
    }
    if (part.touched) await loop.commitAlone(part);
    for (const id of found) deleted.add(id);
    for (const id of ended.keys()) deleted.add(id);
    return left.length === 0 || undefined;
  });
  return deleted;
}

const NONE_ENDED: ReadonlyMap<string, KeyEntry> = new Map();

// What is kept of those of these that have ended, by id.
async function endedOf(
  { storage, key, keeping }: Partition,
  ids: readonly string[],
  now: number,
): Promise<ReadonlyMap<string, KeyEntry>> {
  const entries = await storage.findKeys(key, KEY.ended, ids);
  return new Map([...entries].filter(([, entry]) => keptUntil(entry, keeping) > now));
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
