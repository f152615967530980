// What is read of a partition in SQLite. Synchronous; knows what is removed although its rows are there.
// Rows that are not what was written are never answered.

import { sumOfRow } from "../rows/checksum.ts";
import {
  BLOCK_COLUMNS,
  BLOCK_HEADER,
  type BlockHeader,
  type BlockRow,
  ITEM_COLUMNS,
  ITEM_HEADER,
  type ItemHeader,
  type ItemRow,
  itemOf,
  itemOfHeader,
  itemsOfHeader,
  recordsOf,
} from "../rows/item-rows.ts";
import { RemovedRows } from "../rows/removed-rows.ts";
import {
  type Counters,
  type Expiry,
  type ItemTable,
  type KeyEntry,
  LANE_SPAN,
  type LeaseMark,
  type ListKeysOptions,
  type PartitionState,
  type ReadOptions,
  type StoredItem,
} from "../storage.ts";
import { COUNTERS, type CountersRow, countersOf, sumOfCounters } from "./counters.ts";
import type { Statements } from "./statements.ts";

/** The block that may hold an item: the last one that begins at it or before. */
export const BLOCK_AT =
  "first = (SELECT max(first) FROM items WHERE partition = @p AND first <= @s)";

const KEY_COLUMNS = "kind, key, seq, until, value, sum";
type KeyRow = [number, string, number, number, string, number];

/** A block with all its items. */
export interface Block {
  readonly first: number;
  readonly items: readonly StoredItem[];
}

export class Reader {
  readonly #statements: Statements;
  /** What is gone although its rows are there; written by the Writer. */
  removed: RemovedRows;

  constructor(statements: Statements) {
    this.#statements = statements;
    this.removed = this.#readRemoved();
  }

  /** Reads anew what memory holds of the file. */
  refresh(): void {
    this.removed = this.#readRemoved();
  }

  #readRemoved(): RemovedRows {
    const removed = new RemovedRows();
    const rows = this.#statements.read("SELECT partition, chunk, bits, sum FROM removed").iterate();
    for (const row of rows) {
      const [key, chunk, bits, sum] = row as unknown as [number, number, Uint8Array, number];
      const isRight = sumOfRow(chunk, bits) === sum;
      this.#statements.check(isRight, `removed items of partition ${key}`);
      removed.load(key, chunk, bits);
    }
    return removed;
  }

  /** See Storage. */
  load(key: number): PartitionState {
    const found = this.#statements
      .read(`SELECT id_prefix, ${COUNTERS} FROM partitions WHERE key = ?`)
      .get(key) as unknown as [string, number, ...CountersRow] | undefined;
    if (found === undefined) throw this.#statements.missing(key);
    const [idPrefix, sum, ...row] = found;
    const counters = countersOf(row);
    this.#statements.check(sumOfCounters(counters) === sum, `counters of partition ${key}`);
    return { idPrefix, counters, leased: this.#leased(key, counters), leases: this.#leases(key) };
  }

  #leased(key: number, { head, lanes }: Counters): readonly StoredItem[] {
    const removed = this.removed.of(key);
    const blocks = this.#statements.read(
      `SELECT ${BLOCK_HEADER} FROM items WHERE partition = ? AND first >= ? AND first < ?
       ORDER BY first`,
    );
    return [{ lane: 0, head }, ...lanes].flatMap((lane) => {
      const rows = blocks.all(key, lane.lane * LANE_SPAN, lane.head) as unknown as BlockHeader[];
      return rows
        .flatMap((block) => itemsOfHeader(block))
        .filter(({ seq }) => seq < lane.head && removed?.has(seq) !== true);
    });
  }

  #leases(key: number): readonly LeaseMark[] {
    const rows = this.#statements
      .read(
        "SELECT first, last, deadline, leased_at, extended_at, sum FROM leases WHERE partition = ?",
      )
      .all(key) as unknown as [number, number, number, number, number, number][];
    return rows.map(([first, last, deadline, leasedAt, extendedAt, sum]) => {
      const lease = { first, last, deadline, leasedAt, extendedAt };
      this.#statements.check(sumOfLease(lease) === sum, `a lease of partition ${key}`);
      return lease;
    });
  }

  /** See Storage. */
  items(key: number, table: ItemTable, options: ReadOptions): readonly StoredItem[] {
    const { limit, bytesMax } = options;
    const items: StoredItem[] = [];
    if (limit <= 0) return items;
    let bytes = 0;
    let last = options.from - 1;
    const rows =
      table === "items" ? this.#blocks(key, options) : this.#singleItems(key, table, options);
    for (const found of rows) {
      for (const item of found) {
        const isInOrder = item.seq > last && item.seq < options.before;
        this.#statements.check(isInOrder, `order of ${table} of partition ${key}`);
        last = item.seq;
        items.push(item);
        bytes += item.record.size;
        if (items.length >= limit || bytes >= bytesMax) return items;
      }
    }
    return items;
  }

  // What is wanted of each block.
  *#blocks(key: number, { from, before, records }: ReadOptions): Iterable<readonly StoredItem[]> {
    const removed = this.removed.of(key);
    const rows = this.#statements
      .read(
        `SELECT ${records ? BLOCK_COLUMNS : BLOCK_HEADER} FROM items
         WHERE partition = @p AND first < @b AND first >= ifnull(
           (SELECT max(first) FROM items WHERE partition = @p AND first <= @s), 0)
         ORDER BY first`,
      )
      .iterate({ p: key, s: from, b: before });
    const isWanted = (seq: number): boolean =>
      seq >= from && seq < before && removed?.has(seq) !== true;
    for (const row of rows as Iterable<unknown>) {
      const [first, last] = row as BlockHeader;
      let wanted = 0;
      for (let seq = first; seq <= last; seq++) if (isWanted(seq)) wanted++;
      if (wanted === 0) continue;
      const items = records
        ? this.#itemsOf(key, row as BlockRow)
        : itemsOfHeader(row as BlockHeader);
      yield wanted === items.length ? items : items.filter(({ seq }) => isWanted(seq));
    }
  }

  *#singleItems(
    key: number,
    table: "scheduled" | "held",
    { from, before, records }: ReadOptions,
  ): Iterable<readonly StoredItem[]> {
    const rows = this.#statements
      .read(
        `SELECT ${records ? ITEM_COLUMNS : ITEM_HEADER} FROM ${table}
         WHERE partition = ? AND seq >= ? AND seq < ? ORDER BY seq`,
      )
      .iterate(key, from, before);
    for (const row of rows as Iterable<unknown>) {
      yield [records ? this.#itemOf(key, row as ItemRow) : itemOfHeader(row as ItemHeader)];
    }
  }

  /** See Storage. */
  scheduled(key: number, limit: number): readonly StoredItem[] {
    const rows = this.#statements
      .read(`SELECT ${ITEM_HEADER} FROM scheduled WHERE partition = ? ORDER BY due_at, seq LIMIT ?`)
      .all(key, limit);
    return (rows as unknown as ItemHeader[]).map(itemOfHeader);
  }

  /** See Storage. */
  held(key: number, group: string, limit: number): readonly StoredItem[] {
    const rows = this.#statements
      .read(
        `SELECT ${ITEM_HEADER} FROM held WHERE partition = ? AND in_group = ? ORDER BY seq LIMIT ?`,
      )
      .all(key, group, limit);
    return (rows as unknown as ItemHeader[]).map(itemOfHeader);
  }

  /** See Storage. */
  expiries(key: number, limit: number): readonly Expiry[] {
    const rows = this.#statements
      .read("SELECT at, first FROM expiries WHERE partition = ? ORDER BY at, first LIMIT ?")
      .all(key, limit);
    return (rows as unknown as [number, number][]).map(([at, first]) => ({ at, first }));
  }

  /** See Storage. */
  keys(key: number, kind: number, names: readonly string[]): ReadonlyMap<string, KeyEntry> {
    const statement = this.#statements.read(
      `SELECT ${KEY_COLUMNS} FROM keys WHERE partition = ? AND kind = ? AND key = ?`,
    );
    const found = new Map<string, KeyEntry>();
    for (const name of names) {
      const row = statement.get(key, kind, name) as unknown as KeyRow | undefined;
      if (row !== undefined) found.set(name, this.#keyOf(key, row));
    }
    return found;
  }

  /** See Storage. */
  listKeys(key: number, kind: number, options: ListKeysOptions): readonly KeyEntry[] {
    const { after, limit, order, bytesMax = Number.POSITIVE_INFINITY } = options;
    const entries: KeyEntry[] = [];
    if (limit <= 0) return entries;
    // No name lies before "", and all lie behind it.
    const [from, to] = order === "ascending" ? ["key > ?", "key"] : ["key < ?", "key DESC"];
    const isFirst = order === "descending" && after === "";
    const statement = this.#statements.read(
      `SELECT ${KEY_COLUMNS} FROM keys WHERE partition = ? AND kind = ?
       ${isFirst ? "" : `AND ${from}`} ORDER BY ${to} LIMIT ?`,
    );
    const rows = isFirst
      ? statement.iterate(key, kind, limit)
      : statement.iterate(key, kind, after, limit);
    let bytes = 0;
    for (const row of rows as Iterable<unknown>) {
      const entry = this.#keyOf(key, row as KeyRow);
      entries.push(entry);
      bytes += entry.value.length;
      if (bytes >= bytesMax) break;
    }
    return entries;
  }

  /** See Storage. */
  keysDue(key: number, limit: number): readonly KeyEntry[] {
    // With the condition that the index has: without it SQLite would not use it.
    const rows = this.#statements
      .read(
        `SELECT ${KEY_COLUMNS} FROM keys WHERE partition = ? AND until <> 0
         ORDER BY until, kind, key LIMIT ?`,
      )
      .all(key, limit);
    return (rows as unknown as KeyRow[]).map((row) => this.#keyOf(key, row));
  }

  #keyOf(partition: number, [kind, key, seq, until, value, sum]: KeyRow): KeyEntry {
    const entry = { kind, key, seq, until, value };
    this.#statements.check(sumOfKey(entry) === sum, `a key of partition ${partition}`);
    return entry;
  }

  /** The block that holds an item; undefined if there is none. */
  blockAt(key: number, seq: number): Block | undefined {
    const row = this.#statements
      .read(`SELECT ${BLOCK_COLUMNS} FROM items WHERE partition = @p AND ${BLOCK_AT}`)
      .get({ p: key, s: seq }) as unknown as BlockRow | undefined;
    if (row === undefined || row[1] < seq) return undefined;
    return { first: row[0], items: this.#itemsOf(key, row) };
  }

  /** One item of a table that has a row for each; undefined if it is not there. */
  singleItem(key: number, table: "scheduled" | "held", seq: number): StoredItem | undefined {
    const row = this.#statements
      .read(`SELECT ${ITEM_COLUMNS} FROM ${table} WHERE partition = ? AND seq = ?`)
      .get(key, seq) as unknown as ItemRow | undefined;
    return row && this.#itemOf(key, row);
  }

  #itemOf(key: number, row: ItemRow): StoredItem {
    return itemOf(row) ?? this.#statements.damaged(`item ${row[0]} of partition ${key}`);
  }

  #itemsOf(key: number, row: BlockRow): readonly StoredItem[] {
    const records =
      recordsOf(row) ?? this.#statements.damaged(`items from ${row[0]} of partition ${key}`);
    return itemsOfHeader(row as unknown as BlockHeader, records);
  }
}

/** Of a lease that was never extended it is what it was before leases could be. */
export function sumOfLease({ first, last, deadline, leasedAt, extendedAt }: LeaseMark): number {
  if (extendedAt === 0) return sumOfRow(first, last, deadline, leasedAt);
  return sumOfRow(first, last, deadline, leasedAt, extendedAt);
}

export function sumOfKey({ kind, key, seq, until, value }: KeyEntry): number {
  return sumOfRow(kind, key, seq, until, value);
}
