// How the changes of a commit become rows of SQLite. Synchronous, inside the transaction of the storage:
// whoever calls it commits or rolls back, the file and the RemovedRows alike.

import type { StatementSync } from "node:sqlite";
import { sumOfRow } from "../rows/checksum.ts";
import {
  BLOCK_COLUMNS,
  blocksOf,
  ITEM_COLUMNS,
  itemValues,
  type TABLES_OF_A_PARTITION,
} from "../rows/item-rows.ts";
import { CHUNK } from "../rows/removed-rows.ts";
import type {
  KeyEntry,
  LeaseMark,
  Move,
  PartitionChanges,
  SeqRange,
  StoredItem,
} from "../storage.ts";
import { countersRow, UPDATE_COUNTERS } from "./counters.ts";
import { BLOCK_AT, type Block, type Reader, sumOfKey, sumOfLease } from "./reader.ts";
import type { Statements } from "./statements.ts";

// A range of at least so many items is deleted at once. A smaller one waits as bits: its edges would cut
// blocks, which a whole row of bits never does.
const RANGE_MIN = 2 * CHUNK;

// Made once: a text that is put together anew is hashed anew to find its statement.
const INSERT_BLOCK = `INSERT INTO items (partition, ${BLOCK_COLUMNS})
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const BOUNDS_AT = `SELECT first, last FROM items WHERE partition = @p AND ${BLOCK_AT}`;

export class Writer {
  readonly #statements: Statements;
  readonly #reader: Reader;
  /** Bytes of the items that were added since it was last set to 0. */
  bytes = 0;

  constructor(statements: Statements, reader: Reader) {
    this.#statements = statements;
    this.#reader = reader;
  }

  write(change: PartitionChanges): void {
    const key = change.partition;
    const updated = this.#prepare(UPDATE_COUNTERS).run(...countersRow(change.counters), key);
    if (updated.changes !== 1) throw this.#statements.missing(key);
    this.#add(key, change.adds);
    for (const item of change.addsScheduled) this.#addScheduled(key, item);
    for (const { group, item } of change.addsHeld) this.#addHeld(key, item, group);
    for (const first of change.releases) {
      this.#prepare("DELETE FROM leases WHERE partition = ? AND first = ?").run(key, first);
    }
    for (const lease of change.leases) this.#lease(key, lease);
    this.#move(key, change.moves);
    for (const range of change.removes) {
      if (range.last - range.first >= RANGE_MIN) this.#remove(key, range);
      else this.#reader.removed.mark(key, range);
    }
    for (const range of change.removesScheduled) this.#removeSingle(key, "scheduled", range);
    for (const range of change.removesHeld) this.#removeSingle(key, "held", range);
    for (const { at, first } of change.addsExpiry) {
      this.#prepare("INSERT OR IGNORE INTO expiries (partition, at, first) VALUES (?, ?, ?)").run(
        key,
        at,
        first,
      );
    }
    for (const { at, first } of change.removesExpiry) {
      this.#prepare("DELETE FROM expiries WHERE partition = ? AND at = ? AND first = ?").run(
        key,
        at,
        first,
      );
    }
    for (const { kind, key: name } of change.removesKey) {
      this.#prepare("DELETE FROM keys WHERE partition = ? AND kind = ? AND key = ?").run(
        key,
        kind,
        name,
      );
    }
    for (const entry of change.addsKey) this.#putKey(key, entry);
    this.#writeRemoved(key);
  }

  #add(key: number, items: readonly StoredItem[]): void {
    if (items.length === 0) return;
    let bytes = 0;
    for (const { record } of items) bytes += record.size;
    this.bytes += bytes;
    this.#reader.removed.noteAdded(key, items.length, bytes);
    this.#insert(key, items);
  }

  #insert(key: number, items: readonly StoredItem[]): void {
    const insert = this.#prepare(INSERT_BLOCK);
    for (const row of blocksOf(items)) insert.run(key, ...row);
  }

  #addScheduled(key: number, item: StoredItem): void {
    this.bytes += item.record.size;
    this.#prepare(
      `INSERT INTO scheduled (partition, ${ITEM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(key, ...itemValues(item));
  }

  // The group is not in the sum of the row: it is in the item's attributes as well, for those who need it.
  #addHeld(key: number, item: StoredItem, group: string): void {
    this.bytes += item.record.size;
    this.#prepare(
      `INSERT INTO held (partition, in_group, ${ITEM_COLUMNS})
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(key, group, ...itemValues(item));
  }

  #lease(key: number, lease: LeaseMark): void {
    const { first, last, deadline, leasedAt, extendedAt } = lease;
    this.#prepare(
      `INSERT INTO leases (partition, first, last, deadline, leased_at, extended_at, sum)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ).run(key, first, last, deadline, leasedAt, extendedAt, sumOfLease(lease));
  }

  #putKey(partition: number, entry: KeyEntry): void {
    const { kind, key, seq, until, value } = entry;
    this.#prepare(
      `INSERT OR REPLACE INTO keys (partition, kind, key, seq, until, value, sum)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ).run(partition, kind, key, seq, until, value, sumOfKey(entry));
  }

  #move(key: number, moves: readonly Move[]): void {
    const back: StoredItem[] = [];
    // Items that come back together mostly lie together.
    let block: Block | undefined;
    for (const { from, fromSeq, to, group, ...rest } of moves) {
      let item: StoredItem | undefined;
      if (from !== "items") {
        item = this.#reader.singleItem(key, from, fromSeq);
        this.#removeSingle(key, from, { first: fromSeq, last: fromSeq });
      } else if (this.#reader.removed.of(key)?.has(fromSeq) !== true) {
        const isThere = block !== undefined && fromSeq >= block.first;
        item = isThere ? block!.items[fromSeq - block!.first] : undefined;
        if (item === undefined) {
          block = this.#reader.blockAt(key, fromSeq);
          item = block?.items[fromSeq - block.first];
        }
        this.#reader.removed.mark(key, { first: fromSeq, last: fromSeq });
      }
      if (item === undefined) throw new Error(`no item ${fromSeq} in ${from} of partition ${key}`);
      const { toSeq: seq, attempts, expireAt, dueAt, attributes } = rest;
      const moved = { ...item, seq, attempts, expireAt, dueAt, attributes, leaseDeadline: 0 };
      if (to === "scheduled") {
        this.#addScheduled(key, moved);
      } else if (to === "held") {
        this.#addHeld(key, moved, group);
      } else {
        this.bytes += item.record.size;
        back.push(moved);
      }
    }
    this.#insert(key, back);
  }

  #removeSingle(key: number, table: "scheduled" | "held", { first, last }: SeqRange): void {
    this.#prepare(`DELETE FROM ${table} WHERE partition = ? AND seq BETWEEN ? AND ?`).run(
      key,
      first,
      last,
    );
  }

  // Deletes the rows of a range. Of blocks that lie in it in part the rest is written anew.
  #remove(key: number, { first, last }: SeqRange): void {
    const rest: StoredItem[] = [];
    const bounds = this.#statements.read(BOUNDS_AT);
    for (const edge of first === last ? [first] : [first, last]) {
      const at = bounds.get({ p: key, s: edge }) as unknown as [number, number] | undefined;
      const isCut = at !== undefined && at[1] >= edge && (at[0] < first || at[1] > last);
      if (!isCut) continue;
      const { items } = this.#reader.blockAt(key, edge)!;
      rest.push(...items.filter(({ seq }) => seq < first || seq > last));
      this.#prepare("DELETE FROM items WHERE partition = ? AND first = ?").run(key, at[0]);
    }
    this.#prepare("DELETE FROM items WHERE partition = ? AND first >= ? AND first <= ?").run(
      key,
      first,
      last,
    );
    this.#insert(key, rest);
  }

  #writeRemoved(key: number): void {
    const { ranges, writes, drops } = this.#reader.removed.changes(key);
    for (const range of ranges) this.#remove(key, range);
    for (const { chunk, bits } of writes) {
      this.#prepare(
        "INSERT OR REPLACE INTO removed (partition, chunk, bits, sum) VALUES (?, ?, ?, ?)",
      ).run(key, chunk, bits, sumOfRow(chunk, bits));
    }
    for (const chunk of drops) {
      this.#prepare("DELETE FROM removed WHERE partition = ? AND chunk = ?").run(key, chunk);
    }
  }

  /** Removes at most so many rows of a table; answers how many. */
  sweep(table: (typeof TABLES_OF_A_PARTITION)[number], key: number, limit: number): number {
    // SQLite has no DELETE ... LIMIT as it is built here, so the rows are chosen by their key.
    const column = {
      items: "first",
      scheduled: "seq",
      held: "seq",
      leases: "first",
      expiries: "at, first",
      keys: "kind, key",
      removed: "chunk",
    }[table];
    const { changes } = this.#prepare(
      `DELETE FROM ${table} WHERE partition = @p AND (${column}) IN
       (SELECT ${column} FROM ${table} WHERE partition = @p LIMIT @n)`,
    ).run({ p: key, n: limit });
    return Number(changes);
  }

  #prepare(sql: string): StatementSync {
    return this.#statements.prepare(sql);
  }
}
