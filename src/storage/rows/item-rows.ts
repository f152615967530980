// How items lie in the tables of SQLite and PostgreSQL. What is scheduled has a row each, for it leaves one by one.
// What is leased or waits lies in blocks: consecutive items that share everything but their records
// are one row, for a row costs far more than what is in it. A block is never changed; items of it
// that are gone are known by their bits (removed-rows.ts), and a block that is gone in part is
// written anew as what is left of it. Both kinds of row carry a checksum.

import { ItemRecord, NO_RECORD, type StoredItem } from "../storage.ts";
import { sumOfItem, sumOfRow } from "./checksum.ts";
import { packRecords, unpackRecords } from "./records.ts";
import { CHUNK } from "./removed-rows.ts";

/** To read one item is to read its block: so it must not be large. */
export const BLOCK_ITEMS_MAX = 128;
const BLOCK_BYTES_MAX = 64 * 1024;

/** Where rows of a partition lie, beside its own. */
export const TABLES_OF_A_PARTITION = [
  "items",
  "scheduled",
  "leases",
  "expiries",
  "sources",
  "removed",
] as const;

// --- single items ---

export const ITEM_HEADER =
  "seq, created_at, expire_at, attempts, lease_deadline, due_at, source_id, max_attempts";
export const ITEM_COLUMNS = `${ITEM_HEADER}, text, payload, sum`;

/** A row of ITEM_HEADER. */
export type ItemHeader = [number, number, number, number, number, number, string, number];
/** A row of ITEM_COLUMNS. */
export type ItemRow = [...ItemHeader, string, Uint8Array | null, number];

/** The values of ITEM_COLUMNS for an item. */
export function itemValues(item: StoredItem): ItemRow {
  return [
    item.seq,
    item.createdAt,
    item.expireAt,
    item.attempts,
    item.leaseDeadline,
    item.dueAt,
    item.sourceId,
    item.maxAttempts,
    item.record.text,
    item.record.payload,
    sumOfItem(item),
  ];
}

export function itemOfHeader(row: ItemHeader): StoredItem {
  const [seq, createdAt, expireAt, attempts, leaseDeadline, dueAt, sourceId, maxAttempts] = row;
  const times = { createdAt, expireAt, leaseDeadline, dueAt };
  return { seq, ...times, attempts, sourceId, maxAttempts, record: NO_RECORD };
}

/** The item of a row; undefined if it is not what was written. */
export function itemOf(row: ItemRow): StoredItem | undefined {
  const record = new ItemRecord(row[8], row[9] ?? NO_RECORD.bytes);
  const item = { ...itemOfHeader(row as unknown as ItemHeader), record };
  return sumOfItem(item) === row[10] ? item : undefined;
}

// --- blocks ---

export const BLOCK_HEADER =
  "first, last, created_at, expire_at, attempts, lease_deadline, source_id, max_attempts";
export const BLOCK_COLUMNS = `${BLOCK_HEADER}, sum, texts, ends, payloads`;

/** A row of BLOCK_HEADER. */
export type BlockHeader = [number, number, number, number, number, number, string, number];
/** A row of BLOCK_COLUMNS. */
export type BlockRow = [...BlockHeader, number, string, Uint8Array, Uint8Array];

/** How many items from `start` on can be one block; of so many bytes at most, unless it is one item. */
export function blockLength(
  items: readonly StoredItem[],
  start: number,
  bytesMax = BLOCK_BYTES_MAX,
): number {
  const head = items[start]!;
  // No block has items of two rows of bits.
  const room = CHUNK - (head.seq % CHUNK);
  const most = Math.min(items.length - start, BLOCK_ITEMS_MAX, room);
  let bytes = head.record.size;
  let length = 1;
  for (; length < most; length++) {
    const item = items[start + length]!;
    bytes += item.record.size;
    const alike =
      bytes <= bytesMax &&
      item.seq === head.seq + length &&
      item.createdAt === head.createdAt &&
      item.expireAt === head.expireAt &&
      item.attempts === head.attempts &&
      item.leaseDeadline === head.leaseDeadline &&
      item.maxAttempts === head.maxAttempts &&
      item.sourceId === "" &&
      head.sourceId === "";
    if (!alike) break;
  }
  return length;
}

/** The values of BLOCK_COLUMNS for so many items from `start` on. */
export function blockValues(items: readonly StoredItem[], start: number, length: number): BlockRow {
  const head = items[start]!;
  const records: ItemRecord[] = new Array(length);
  for (let i = 0; i < length; i++) records[i] = items[start + i]!.record;
  const { texts, ends, payloads } = packRecords(records);
  const header: BlockHeader = [
    head.seq,
    head.seq + length - 1,
    head.createdAt,
    head.expireAt,
    head.attempts,
    head.leaseDeadline,
    head.sourceId,
    head.maxAttempts,
  ];
  const endBytes = new Uint8Array(ends.buffer);
  const sum = sumOfRow(...header, texts, endBytes, payloads);
  return [...header, sum, texts, endBytes, payloads];
}

/** The items of a block; without `records` they have none. */
export function itemsOfHeader(row: BlockHeader, records?: readonly ItemRecord[]): StoredItem[] {
  const [first, last, createdAt, expireAt, attempts, leaseDeadline, sourceId, maxAttempts] = row;
  const items: StoredItem[] = new Array(last - first + 1);
  for (let i = 0; i < items.length; i++) {
    // Member by member: there are many, and spread members take several times as long.
    items[i] = {
      seq: first + i,
      createdAt,
      expireAt,
      attempts,
      leaseDeadline,
      dueAt: 0,
      sourceId,
      maxAttempts,
      record: records?.[i] ?? NO_RECORD,
    };
  }
  return items;
}

/** The records of a block; undefined if it is not what was written. */
export function recordsOf(row: BlockRow): readonly ItemRecord[] | undefined {
  const [first, last] = row;
  const [sum, texts, endBytes, payloads] = row.slice(8) as [number, string, Uint8Array, Uint8Array];
  const header = row.slice(0, 8) as BlockHeader;
  if (sumOfRow(...header, texts, endBytes, payloads) !== sum) return undefined;
  if (endBytes.length !== (last - first + 1) * 4) return undefined;
  // A copy, for what is read may begin anywhere.
  const ends = new Uint32Array(endBytes.slice().buffer);
  return unpackRecords({ texts, ends, payloads });
}
