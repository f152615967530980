// Reads what is due next: scheduled items, expiries and keys. All leave their tables at the head, where
// index entries of what has gone stay until they are vacuumed, which may be never while a
// transaction somewhere is open. So memory keeps, for each partition, a time before which nothing
// is, and reads from there. It is only ever too early: whatever is written lowers it first, and a
// read raises it only if nothing was written beside it.

import { ITEM_HEADER, itemOfHeader } from "../rows/item-rows.ts";
import type { Expiry, KeyEntry, PartitionChanges, StoredItem } from "../storage.ts";
import type { Row, Statement } from "./connection.ts";
import { itemHeaderOf, keyOfRow } from "./rows.ts";
import { KEY_COLUMNS } from "./sql.ts";

type Table = "scheduled" | "expiries" | "keys";

/** Times before which nothing is. */
interface Bounds {
  scheduled: number;
  expiries: number;
  keys: number;
  /** Writes that are under way, and how many have been. */
  writing: number;
  writes: number;
}

export class DueReader {
  readonly #read: (statement: Statement) => Promise<readonly Row[]>;
  readonly #bounds = new Map<number, Bounds>();

  constructor(read: (statement: Statement) => Promise<readonly Row[]>) {
    this.#read = read;
  }

  /** To be called before changes are written. Answers what to call when that has ended. */
  begin(changes: readonly PartitionChanges[]): () => void {
    const written: Bounds[] = [];
    for (const { partition, addsScheduled, moves, addsExpiry, addsKey } of changes) {
      if (addsScheduled.length + moves.length + addsExpiry.length + addsKey.length === 0) continue;
      const bounds = this.#of(partition);
      bounds.writing++;
      bounds.writes++;
      written.push(bounds);
      for (const { dueAt } of addsScheduled) lower(bounds, "scheduled", dueAt);
      for (const { to, dueAt } of moves) if (to === "scheduled") lower(bounds, "scheduled", dueAt);
      for (const { at } of addsExpiry) lower(bounds, "expiries", at);
      for (const { until } of addsKey) if (until !== 0) lower(bounds, "keys", until);
    }
    return () => {
      for (const bounds of written) bounds.writing--;
    };
  }

  forget(key: number): void {
    this.#bounds.delete(key);
  }

  /** See Storage. */
  async scheduled(key: number, limit: number): Promise<readonly StoredItem[]> {
    const rows = await this.#readFrom(key, "scheduled", 5, (from) => ({
      text: `SELECT ${ITEM_HEADER} FROM scheduled WHERE partition = $1 AND due_at >= $2
        ORDER BY due_at, seq LIMIT $3`,
      values: [key, from, limit],
    }));
    return rows.map((row) => itemOfHeader(itemHeaderOf(row)));
  }

  /** See Storage. */
  async expiries(key: number, limit: number): Promise<readonly Expiry[]> {
    const rows = await this.#readFrom(key, "expiries", 0, (from) => ({
      text: `SELECT at, first FROM expiries WHERE partition = $1 AND at >= $2
        ORDER BY at, first LIMIT $3`,
      values: [key, from, limit],
    }));
    return rows.map(([at, first]) => ({ at: Number(at), first: Number(first) }));
  }

  /** See Storage. */
  async keys(key: number, limit: number): Promise<readonly KeyEntry[]> {
    const rows = await this.#readFrom(key, "keys", 3, (from) => ({
      text: `SELECT ${KEY_COLUMNS} FROM keys WHERE partition = $1 AND until >= $2 AND until <> 0
        ORDER BY until, kind, key LIMIT $3`,
      values: [key, from, limit],
    }));
    return rows.map(keyOfRow);
  }

  async #readFrom(
    key: number,
    table: Table,
    column: number,
    statement: (from: number) => Statement,
  ): Promise<readonly Row[]> {
    const bounds = this.#of(key);
    const { writing, writes } = bounds;
    const rows = await this.#read(statement(bounds[table]));
    if (writing === 0 && bounds.writes === writes) {
      const [first] = rows;
      bounds[table] = first === undefined ? Number.MAX_SAFE_INTEGER : Number(first[column]);
    }
    return rows;
  }

  #of(key: number): Bounds {
    let bounds = this.#bounds.get(key);
    if (bounds === undefined) {
      bounds = { scheduled: 0, expiries: 0, keys: 0, writing: 0, writes: 0 };
      this.#bounds.set(key, bounds);
    }
    return bounds;
  }
}

function lower(bounds: Bounds, table: Table, at: number): void {
  bounds[table] = Math.min(bounds[table], at);
}
