// Turns the changes of a commit into statements. What a commit removes of what it has itself added is
// never written; items that move, and blocks that lose a part, are read before it: those are rare.
// Plans in memory only; the driver reads, writes, and settles what became of it.

import {
  type BlockHeader,
  type BlockRow,
  blocksOf,
  itemsOfHeader,
  recordsOf,
} from "../rows/item-rows.ts";
import { CHUNK, type RemovedRows } from "../rows/removed-rows.ts";
import type {
  Expiry,
  HeldItem,
  ItemTable,
  KeyEntry,
  KeyName,
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
  singleItems(
    table: "scheduled" | "held",
    places: readonly Of<number>[],
  ): Promise<readonly Of<StoredItem>[]>;
}

/** Items on their way into a table that has a row for each, or out of it. */
interface Single<T> {
  readonly adds: Of<T>[];
  readonly ranges: Of<SeqRange>[];
  /** Those that move away, by partition and number. */
  readonly moved: Map<string, StoredItem>;
}

const single = <T>(): Single<T> => ({ adds: [], ranges: [], moved: new Map() });

const isIn = (seq: number, ranges: readonly SeqRange[]): boolean =>
  ranges.some(({ first, last }) => seq >= first && seq <= last);

function addedTo(
  table: ItemTable,
  added: Pick<PartitionChanges, "adds" | "addsScheduled" | "addsHeld">,
): readonly StoredItem[] {
  if (table === "held") return added.addsHeld.map(({ item }) => item);
  return table === "items" ? added.adds : added.addsScheduled;
}

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
  readonly #items: Of<StoredItem>[] = [];
  readonly #ranges: Of<SeqRange>[] = [];
  readonly #scheduled = single<StoredItem>();
  readonly #held = single<HeldItem>();
  readonly #leases: Of<LeaseMark>[] = [];
  readonly #releases: Of<number>[] = [];
  readonly #bits: Of<{ readonly chunk: number; readonly bits: Uint8Array }>[] = [];
  readonly #drops: Of<number>[] = [];
  readonly #addsExpiry: Of<Expiry>[] = [];
  readonly #removesExpiry: Of<Expiry>[] = [];
  readonly #removesKey: Of<KeyName>[] = [];
  readonly #addsKey: Of<KeyEntry>[] = [];

  constructor(removed: RemovedRows, reads: Reads) {
    this.#removed = removed;
    this.#reads = reads;
  }

  /** Reads the items that move, unless they are added by the same changes. */
  async readMoved(changes: readonly PartitionChanges[]): Promise<void> {
    const places: Record<ItemTable, Of<number>[]> = { items: [], scheduled: [], held: [] };
    for (const { partition, moves, ...added } of changes) {
      for (const { from, fromSeq } of moves) {
        if (addedTo(from, added).some(({ seq }) => seq === fromSeq)) continue;
        places[from].push([partition, fromSeq]);
      }
    }
    if (places.items.length > 0) this.#movedBlocks = await this.#reads.blocks(places.items);
    for (const table of ["scheduled", "held"] as const) {
      if (places[table].length === 0) continue;
      const { moved } = this.#single(table);
      for (const [key, item] of await this.#reads.singleItems(table, places[table])) {
        moved.set(`${key} ${item.seq}`, item);
      }
    }
  }

  #single(table: "scheduled" | "held"): Single<StoredItem> | Single<HeldItem> {
    return table === "scheduled" ? this.#scheduled : this.#held;
  }

  /** Takes the changes of one partition. */
  take(change: PartitionChanges): void {
    const key = change.partition;
    const of = <T>(values: readonly T[]): Of<T>[] => values.map((value) => [key, value]);
    this.#leases.push(...of(change.leases));
    this.#releases.push(...of(change.releases));
    this.#addsExpiry.push(...of(change.addsExpiry));
    this.#removesExpiry.push(...of(change.removesExpiry));
    this.#removesKey.push(...of(change.removesKey));
    this.#addsKey.push(...of(change.addsKey));
    this.#scheduled.ranges.push(...of(change.removesScheduled));
    this.#held.ranges.push(...of(change.removesHeld));
    this.#takeItems(change);
    const { ranges, writes, drops } = this.#removed.changes(key);
    this.#ranges.push(...of(ranges));
    this.#bits.push(...of(writes));
    this.#drops.push(...of(drops));
  }

  #takeItems(change: PartitionChanges): void {
    const { partition: key, adds, moves, removes, removesScheduled, removesHeld } = change;
    if (adds.length > 0) {
      const bytes = adds.reduce((sum, { record }) => sum + record.size, 0);
      this.#removed.noteAdded(key, adds.length, bytes);
    }
    let items = [...adds];
    let scheduled = [...change.addsScheduled];
    let held = [...change.addsHeld];
    for (const move of moves) {
      const { from, fromSeq, to, toSeq: seq, attempts, expireAt, dueAt, attributes, group } = move;
      const own = addedTo(from, { adds: items, addsScheduled: scheduled, addsHeld: held });
      const added = own.find((each) => each.seq === fromSeq);
      const item = added ?? this.#takeMoved(key, move);
      if (item === undefined) throw new Error(`no item ${fromSeq} in ${from} of partition ${key}`);
      if (added !== undefined) {
        items = items.filter((each) => each !== added);
        scheduled = scheduled.filter((each) => each !== added);
        held = held.filter((each) => each.item !== added);
      }
      const moved = { ...item, seq, attempts, expireAt, dueAt, attributes, leaseDeadline: 0 };
      if (to === "held") held.push({ group, item: moved });
      else (to === "items" ? items : scheduled).push(moved);
    }
    // Mostly what is removed was added long ago.
    const lastRemoved = removes.reduce((last, range) => Math.max(last, range.last), 0);
    if (items.some(({ seq }) => seq <= lastRemoved)) {
      items = items.filter(({ seq }) => !isIn(seq, removes));
    }
    if (removesScheduled.length > 0) {
      scheduled = scheduled.filter(({ seq }) => !isIn(seq, removesScheduled));
    }
    if (removesHeld.length > 0) held = held.filter(({ item }) => !isIn(item.seq, removesHeld));
    for (const range of removes) {
      if (range.last - range.first >= RANGE_MIN) this.#ranges.push([key, range]);
      else this.#removed.mark(key, range);
    }
    for (const item of items) this.#items.push([key, item]);
    for (const item of scheduled) this.#scheduled.adds.push([key, item]);
    for (const each of held) this.#held.adds.push([key, each]);
  }

  // Takes an item that was there before from its table.
  #takeMoved(key: number, { from, fromSeq }: Move): StoredItem | undefined {
    const range = { first: fromSeq, last: fromSeq };
    if (from !== "items") {
      const { moved, ranges } = this.#single(from);
      const id = `${key} ${fromSeq}`;
      const found = moved.get(id);
      moved.delete(id);
      ranges.push([key, range]);
      return found;
    }
    if (this.#removed.of(key)?.has(fromSeq) === true) return undefined;
    this.#removed.mark(key, range);
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
      for (const row of blocksOf(items, BLOCK_BYTES_MAX)) rows.push([key, row]);
      start = end;
    }
    return rows;
  }

  statements(): readonly Statement[] {
    const all: (Statement | false)[] = [
      this.#ranges.length > 0 && sql.deleteRanges("items", this.#ranges),
      this.#items.length > 0 && sql.insertBlocks(this.#blocks()),
      this.#scheduled.ranges.length > 0 && sql.deleteRanges("scheduled", this.#scheduled.ranges),
      this.#scheduled.adds.length > 0 && sql.insertScheduled(this.#scheduled.adds),
      this.#held.ranges.length > 0 && sql.deleteRanges("held", this.#held.ranges),
      this.#held.adds.length > 0 && sql.insertHeld(this.#held.adds),
      this.#releases.length > 0 && sql.deleteRows("leases", this.#releases),
      this.#leases.length > 0 && sql.insertLeases(this.#leases),
      this.#drops.length > 0 && sql.deleteRows("removed", this.#drops),
      this.#bits.length > 0 && sql.putRemoved(this.#bits),
      this.#addsExpiry.length > 0 && sql.changeExpiries(this.#addsExpiry, true),
      this.#removesExpiry.length > 0 && sql.changeExpiries(this.#removesExpiry, false),
      this.#removesKey.length > 0 && sql.deleteKeys(this.#removesKey),
      this.#addsKey.length > 0 && sql.putKeys(this.#addsKey),
    ];
    return all.filter((each) => each !== false);
  }
}
