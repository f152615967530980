// How items lie in the tables of SQLite and PostgreSQL. What is scheduled or held has a row each, for it leaves one by one.
// What is leased or waits lies in blocks: consecutive items that share everything but their records
// and attributes are one row, for a row costs far more than what is in it. A block is never changed; items of it
// that are gone are known by their bits (removed-rows.ts), and a block that is gone in part is
// written anew as what is left of it. Both kinds of row carry a checksum.

import { ItemRecord, NO_RECORD, type StoredItem } from "../storage.ts";
import { sumOfItem, sumOfRow } from "./checksum.ts";
import { packRecords, packTexts, unpackRecords, unpackTexts } from "./records.ts";
import { CHUNK } from "./removed-rows.ts";

/** To read one item is to read its block: so it must not be large. */
export const BLOCK_ITEMS_MAX = 128;
const BLOCK_BYTES_MAX = 64 * 1024;

/** Where rows of a partition lie, beside its own. */
export const TABLES_OF_A_PARTITION = [
  "items",
  "scheduled",
  "held",
  "leases",
  "expiries",
  "keys",
  "removed",
] as const;

// --- attributes ---

// What the column `attributes` of a row holds. Rows of versions that knew only two attributes have the
// source of their item there, and what it may be leased at most in place of the form; so do rows without
// any, which are nearly all, with "" and 0. They are read as what later ones hold. An import could say
// any number of 32 bits, also a negative one: this is one that nobody has ever said.
const AS_GIVEN = -1_364_350_034;

const formOf = (attributes: string): number => (attributes === "" ? 0 : AS_GIVEN);

function attributesOf(column: string, form: number): string {
  if (form === AS_GIVEN || (column === "" && form === 0)) return column;
  const source = column === "" ? {} : { source: column };
  return JSON.stringify(form === 0 ? source : { ...source, max: form });
}

// --- single items ---

export const ITEM_HEADER =
  "seq, created_at, expire_at, attempts, lease_deadline, due_at, attributes, form";
export const ITEM_COLUMNS = `${ITEM_HEADER}, text, payload, sum`;

/** A row of ITEM_HEADER. */
export type ItemHeader = [number, number, number, number, number, number, string, number];
/** A row of ITEM_COLUMNS. */
export type ItemRow = [...ItemHeader, string, Uint8Array | null, number];

/** The values of ITEM_COLUMNS for an item. */
export function itemValues(item: StoredItem): ItemRow {
  const header: ItemHeader = [
    item.seq,
    item.createdAt,
    item.expireAt,
    item.attempts,
    item.leaseDeadline,
    item.dueAt,
    item.attributes,
    formOf(item.attributes),
  ];
  const { text, payload } = item.record;
  return [...header, text, payload, sumOfHeader(header, text, payload)];
}

function sumOfHeader(header: ItemHeader, text: string, payload: Uint8Array): number {
  const [attributes, form] = [header[6], header[7]];
  const numbers = header.slice(0, 6) as number[];
  return sumOfItem({ numbers, attributes, form, text, payload });
}

export function itemOfHeader(row: ItemHeader): StoredItem {
  const [seq, createdAt, expireAt, attempts, leaseDeadline, dueAt] = row;
  const times = { createdAt, expireAt, leaseDeadline, dueAt };
  const attributes = attributesOf(row[6], row[7]);
  return { seq, ...times, attempts, attributes, record: NO_RECORD };
}

/** The item of a row; undefined if it is not what was written. */
export function itemOf(row: ItemRow): StoredItem | undefined {
  const header = row as unknown as ItemHeader;
  const record = new ItemRecord(row[8], row[9] ?? NO_RECORD.bytes);
  if (sumOfHeader(header, record.text, record.payload) !== row[10]) return undefined;
  return { ...itemOfHeader(header), record };
}

// --- blocks ---

export const BLOCK_HEADER =
  "first, last, created_at, expire_at, attempts, lease_deadline, attributes, form";
export const BLOCK_COLUMNS = `${BLOCK_HEADER}, sum, texts, ends, payloads`;

/** A row of BLOCK_HEADER; the attributes are those of all its items, as texts are packed. */
export type BlockHeader = [number, number, number, number, number, number, string, number];
/** A row of BLOCK_COLUMNS. */
export type BlockRow = [...BlockHeader, number, string, Uint8Array, Uint8Array];

/** Rows for items in ascending order, of so many bytes at most, unless it is one item. */
export function blocksOf(items: readonly StoredItem[], bytesMax = BLOCK_BYTES_MAX): BlockRow[] {
  const rows: BlockRow[] = [];
  for (let start = 0; start < items.length; ) {
    const length = blockLength(items, start, bytesMax);
    rows.push(blockValues(items, start, length));
    start += length;
  }
  return rows;
}

// How many items from `start` on can be one block.
function blockLength(items: readonly StoredItem[], start: number, bytesMax: number): number {
  const head = items[start]!;
  // No block has items of two rows of bits.
  const room = CHUNK - (head.seq % CHUNK);
  const most = Math.min(items.length - start, BLOCK_ITEMS_MAX, room);
  let bytes = sizeOf(head);
  let length = 1;
  for (; length < most; length++) {
    const item = items[start + length]!;
    bytes += sizeOf(item);
    const alike =
      bytes <= bytesMax &&
      item.seq === head.seq + length &&
      item.createdAt === head.createdAt &&
      item.expireAt === head.expireAt &&
      item.attempts === head.attempts &&
      item.leaseDeadline === head.leaseDeadline;
    if (!alike) break;
  }
  return length;
}

function sizeOf({ attributes, record }: StoredItem): number {
  return attributes.length + record.size;
}

// The values of BLOCK_COLUMNS for so many items from `start` on.
function blockValues(items: readonly StoredItem[], start: number, length: number): BlockRow {
  const head = items[start]!;
  const records: ItemRecord[] = new Array(length);
  let attributes = "";
  for (let i = 0; i < length; i++) {
    const item = items[start + i]!;
    records[i] = item.record;
    if (item.attributes !== "") attributes = item.attributes;
  }
  if (attributes !== "") {
    attributes = packTexts(items.slice(start, start + length).map((item) => item.attributes));
  }
  const { texts, ends, payloads } = packRecords(records);
  const header: BlockHeader = [
    head.seq,
    head.seq + length - 1,
    head.createdAt,
    head.expireAt,
    head.attempts,
    head.leaseDeadline,
    attributes,
    formOf(attributes),
  ];
  const endBytes = new Uint8Array(ends.buffer);
  const sum = sumOfRow(...header, texts, endBytes, payloads);
  return [...header, sum, texts, endBytes, payloads];
}

/** The items of a block; without `records` they have none. */
export function itemsOfHeader(row: BlockHeader, records?: readonly ItemRecord[]): StoredItem[] {
  const [first, last, createdAt, expireAt, attempts, leaseDeadline, column, form] = row;
  const items: StoredItem[] = new Array(last - first + 1);
  // Of a row of before they are those of each of its items.
  const packed = form === AS_GIVEN ? unpackTexts(column) : attributesOf(column, form);
  for (let i = 0; i < items.length; i++) {
    // Member by member: there are many, and spread members take several times as long.
    items[i] = {
      seq: first + i,
      createdAt,
      expireAt,
      attempts,
      leaseDeadline,
      dueAt: 0,
      attributes: typeof packed === "string" ? packed : (packed[i] ?? ""),
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
