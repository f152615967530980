// Rows as PostgreSQL answers them, all of it text, turned into the rows of item-rows.ts.

import type { BlockHeader, BlockRow, ItemHeader, ItemRow } from "../rows/item-rows.ts";
import type { KeyEntry } from "../storage.ts";
import type { Row } from "./connection.ts";
import { bytesOf, textOf } from "./values.ts";

/** Of BLOCK_HEADER. */
export function headerOfRow(row: Row): BlockHeader {
  const [first, last, createdAt, expireAt, attempts, leaseDeadline] = row.map(Number) as number[];
  return [
    first!,
    last!,
    createdAt!,
    expireAt!,
    attempts!,
    leaseDeadline!,
    textOf(row[6]),
    Number(row[7]),
  ];
}

/** Of BLOCK_COLUMNS. */
export function blockOfRow(row: Row): BlockRow {
  const header = headerOfRow(row.slice(0, 8));
  // A slice of a Buffer is no copy, as one of plain bytes is.
  const ends = new Uint8Array(bytesOf(row[10]));
  return [...header, Number(row[8]), textOf(row[9]), ends, bytesOf(row[11])];
}

/** Of ITEM_HEADER. */
export function itemHeaderOf(row: Row): ItemHeader {
  const [seq, createdAt, expireAt, attempts, leaseDeadline, dueAt] = row
    .slice(0, 6)
    .map(Number) as number[];
  return [
    seq!,
    createdAt!,
    expireAt!,
    attempts!,
    leaseDeadline!,
    dueAt!,
    textOf(row[6]),
    Number(row[7]),
  ];
}

/** Of ITEM_COLUMNS. */
export function itemRowOf(row: Row): ItemRow {
  return [...itemHeaderOf(row), textOf(row[8]), bytesOf(row[9]), Number(row[10])];
}

/** Of KEY_COLUMNS. */
export function keyOfRow([kind, key, seq, until, value]: Row): KeyEntry {
  return {
    kind: Number(kind),
    key: textOf(key),
    seq: Number(seq),
    until: Number(until),
    value: textOf(value),
  };
}
