// Turns the changes of a commit into statements. What a commit removes of what it has itself added is
// never written; items that move, and blocks that lose a part, are read before it: those are rare.
// Plans in memory only; the driver reads, writes, and settles what became of it.

import {
  type BlockHeader,
  type BlockRow,
  blockLength,
  blockValues,
  itemsOfHeader,
  recordsOf,
} from "../rows/item-rows.ts";
import { CHUNK, type RemovedRows } from "../rows/removed-rows.ts";
import type {
  Expiry,
  LeaseMark,
  Move,
  PartitionChanges,
  SeqRange,
  StoredItem,
} from "../storage.ts";
import type { Statement } from "./connection.ts";
import type { Of } from "./sql.ts";
import * as sql from "./sql.ts";

// So that a block is one row of a page, and not cut up beside the table.
const BLOCK_BYTES_MAX = 7_000;
// A larger range is deleted at once, without bits. Not a smaller one: blocks at its edges would have
// to be read before the commit, where a whole row of bits has none.
const RANGE_MIN = 2 * CHUNK;

export interface Block {
  readonly first: number;
  readonly last: number;
  /** With their records. */
  readonly items: readonly StoredItem[];
}

/** The items of a block with their records; undefined if it is not what was written. */
export function blockOf(row: BlockRow): Block | undefined {
  const records = recordsOf(row);
  if (records === undefined) return undefined;
  const items = itemsOfHeader(row as unknown as BlockHeader, records);
  return { first: row[0], last: row[1], items };
}

/** What has to be read before a commit can be planned. */
export interface Reads {
  blocks(places: readonly Of<number>[]): Promise<readonly Of<Block>[]>;
  scheduled(places: readonly Of<number>[]): Promise<readonly Of<StoredItem>[]>;
}

const isIn = (seq: number, ranges: readonly SeqRange[]): boolean =>
  ranges.some(({ first, last }) => seq >= first && seq <= last);

/** Marks what is removed, and answers the statements that write the changes, but for the counters. */
export async function planCommit(
  changes: readonly PartitionChanges[],
  removed: RemovedRows,
  reads: Reads,
): Promise<readonly Statement[]> {
  const plan = new Plan(removed, reads);
  await plan.readMoved(changes);
  for (const change of changes) plan.take(change);
  await plan.cutBlocks();
  return plan.statements();
}

class Plan {
  readonly #removed: RemovedRows;
  readonly #reads: Reads;
  #movedBlocks: readonly Of<Block>[] = [];
  readonly #movedScheduled = new Map<string, StoredItem>();
  readonly #items: Of<StoredItem>[] = [];
  readonly #scheduled: Of<StoredItem>[] = [];
  readonly #ranges: Of<SeqRange>[] = [];
  readonly #scheduledRanges: Of<SeqRange>[] = [];
  readonly #leases: Of<LeaseMark>[] = [];
  readonly #releases: Of<number>[] = [];
  readonly #bits: Of<{ readonly chunk: number; readonly bits: Uint8Array }>[] = [];
  readonly #drops: Of<number>[] = [];
  readonly #addsExpiry: Of<Expiry>[] = [];
  readonly #removesExpiry: Of<Expiry>[] = [];
  readonly #addsSource: Of<string>[] = [];
  readonly #removesSource: Of<string>[] = [];

  constructor(removed: RemovedRows, reads: Reads) {
    this.#removed = removed;
    this.#reads = reads;
  }

  /** Reads the items that move, unless they are added by the same changes. */
  async readMoved(changes: readonly PartitionChanges[]): Promise<void> {
    const items: Of<number>[] = [];
    const scheduled: Of<number>[] = [];
    for (const { partition, moves, adds, addsScheduled } of changes) {
      for (const { from, fromSeq } of moves) {
        const added = from === "items" ? adds : addsScheduled;
        if (added.some(({ seq }) => seq === fromSeq)) continue;
        (from === "items" ? items : scheduled).push([partition, fromSeq]);
      }
    }
    if (items.length > 0) this.#movedBlocks = await this.#reads.blocks(items);
    if (scheduled.length === 0) return;
    for (const [key, item] of await this.#reads.scheduled(scheduled)) {
      this.#movedScheduled.set(`${key} ${item.seq}`, item);
    }
  }

  /** Takes the changes of one partition. */
  take(change: PartitionChanges): void {
    const key = change.partition;
    const of = <T>(values: readonly T[]): Of<T>[] => values.map((value) => [key, value]);
    this.#leases.push(...of(change.leases));
    this.#releases.push(...of(change.releases));
    this.#addsExpiry.push(...of(change.addsExpiry));
    this.#removesExpiry.push(...of(change.removesExpiry));
    this.#addsSource.push(...of(change.addsSource));
    this.#removesSource.push(...of(change.removesSource));
    this.#scheduledRanges.push(...of(change.removesScheduled));
    this.#takeItems(change);
    const { ranges, writes, drops } = this.#removed.changes(key);
    this.#ranges.push(...of(ranges));
    this.#bits.push(...of(writes));
    this.#drops.push(...of(drops));
  }

  #takeItems(change: PartitionChanges): void {
    const { partition: key, adds, addsScheduled, moves, removes, removesScheduled } = change;
    if (adds.length > 0) {
      const bytes = adds.reduce((sum, { record }) => sum + record.size, 0);
      this.#removed.noteAdded(key, adds.length, bytes);
    }
    let items = [...adds];
    let scheduled = [...addsScheduled];
    for (const move of moves) {
      const { from, fromSeq, to, toSeq: seq, attempts, expireAt, dueAt } = move;
      const item = this.#takeMoved(key, move, from === "items" ? items : scheduled);
      if (item === undefined) throw new Error(`no item ${fromSeq} in ${from} of partition ${key}`);
      if (from === "items" && items.includes(item)) items = items.filter((each) => each !== item);
      if (from === "scheduled") scheduled = scheduled.filter((each) => each !== item);
      const moved = { ...item, seq, attempts, expireAt, dueAt, leaseDeadline: 0 };
      (to === "items" ? items : scheduled).push(moved);
    }
    // Mostly what is removed was added long ago.
    const lastRemoved = removes.reduce((last, range) => Math.max(last, range.last), 0);
    if (items.some(({ seq }) => seq <= lastRemoved)) {
      items = items.filter(({ seq }) => !isIn(seq, removes));
    }
    if (removesScheduled.length > 0) {
      scheduled = scheduled.filter(({ seq }) => !isIn(seq, removesScheduled));
    }
    for (const range of removes) {
      if (range.last - range.first >= RANGE_MIN) this.#ranges.push([key, range]);
      else this.#removed.mark(key, range);
    }
    for (const item of items) this.#items.push([key, item]);
    for (const item of scheduled) this.#scheduled.push([key, item]);
  }

  #takeMoved(
    key: number,
    { from, fromSeq }: Move,
    added: readonly StoredItem[],
  ): StoredItem | undefined {
    const item = added.find(({ seq }) => seq === fromSeq);
    if (item !== undefined) return item;
    if (from === "scheduled") {
      const id = `${key} ${fromSeq}`;
      const found = this.#movedScheduled.get(id);
      this.#movedScheduled.delete(id);
      this.#scheduledRanges.push([key, { first: fromSeq, last: fromSeq }]);
      return found;
    }
    if (this.#removed.of(key)?.has(fromSeq) === true) return undefined;
    this.#removed.mark(key, { first: fromSeq, last: fromSeq });
    for (const [of, { first, last, items }] of this.#movedBlocks) {
      if (of === key && fromSeq >= first && fromSeq <= last) return items[fromSeq - first];
    }
    return undefined;
  }

  /** Of blocks that lie in deleted ranges in part, the rest is written anew. */
  async cutBlocks(): Promise<void> {
    if (this.#ranges.length === 0) return;
    const edges: Of<number>[] = [];
    for (const [key, { first, last }] of this.#ranges) {
      // No block goes from one row of bits to the next.
      const cutsFirst = first % CHUNK !== 0;
      const cutsLast = (last + 1) % CHUNK !== 0;
      if (cutsFirst) edges.push([key, first]);
      if (cutsLast && !(cutsFirst && first === last)) edges.push([key, last]);
    }
    if (edges.length === 0) return;
    const mine = new Map<number, SeqRange[]>();
    for (const [key, range] of this.#ranges) {
      const ranges = mine.get(key);
      if (ranges === undefined) mine.set(key, [range]);
      else ranges.push(range);
    }
    for (const [key, block] of await this.#reads.blocks(edges)) {
      const ranges = mine.get(key)!;
      const rest = block.items.filter(({ seq }) => !isIn(seq, ranges));
      if (rest.length === block.items.length) continue;
      this.#ranges.push([key, { first: block.first, last: block.first }]);
      for (const item of rest) this.#items.push([key, item]);
    }
  }

  #blocks(): Of<BlockRow>[] {
    const rows: Of<BlockRow>[] = [];
    for (let start = 0; start < this.#items.length; ) {
      const key = this.#items[start]![0];
      let end = start;
      while (this.#items[end]?.[0] === key) end++;
      const items = this.#items.slice(start, end).map(([, item]) => item);
      for (let at = 0; at < items.length; ) {
        const length = blockLength(items, at, BLOCK_BYTES_MAX);
        rows.push([key, blockValues(items, at, length)]);
        at += length;
      }
      start = end;
    }
    return rows;
  }

  statements(): readonly Statement[] {
    const all: (Statement | false)[] = [
      this.#ranges.length > 0 && sql.deleteRanges("items", this.#ranges),
      this.#items.length > 0 && sql.insertBlocks(this.#blocks()),
      this.#scheduledRanges.length > 0 && sql.deleteRanges("scheduled", this.#scheduledRanges),
      this.#scheduled.length > 0 && sql.insertScheduled(this.#scheduled),
      this.#releases.length > 0 && sql.deleteRows("leases", this.#releases),
      this.#leases.length > 0 && sql.insertLeases(this.#leases),
      this.#drops.length > 0 && sql.deleteRows("removed", this.#drops),
      this.#bits.length > 0 && sql.putRemoved(this.#bits),
      this.#addsExpiry.length > 0 && sql.changeExpiries(this.#addsExpiry, true),
      this.#removesExpiry.length > 0 && sql.changeExpiries(this.#removesExpiry, false),
      this.#addsSource.length > 0 && sql.changeSources(this.#addsSource, true),
      this.#removesSource.length > 0 && sql.changeSources(this.#removesSource, false),
    ];
    return all.filter((each) => each !== false);
  }
}
