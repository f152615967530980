// Longer reads of items, a page at a time, from a number on: never from the head of a queue, where
// what was deleted lies until it is vacuumed. What is removed but still there is left out as it was
// known when the page was asked for.

import {
  BLOCK_COLUMNS,
  BLOCK_HEADER,
  BLOCK_ITEMS_MAX,
  ITEM_COLUMNS,
  ITEM_HEADER,
  itemOfHeader,
  itemsOfHeader,
} from "../rows/item-rows.ts";
import type { ReadOptions, StoredItem } from "../storage.ts";
import type { Row, Statement } from "./connection.ts";
import type { Block } from "./plan.ts";
import { headerOfRow, itemHeaderOf } from "./rows.ts";

// Rows of one page.
const PAGE = 64;

/** What pages are made of. */
export interface Pages {
  read(statement: Statement): Promise<readonly Row[]>;
  removed(key: number): Promise<{ has(seq: number): boolean }>;
  /** Of BLOCK_COLUMNS; throws if the row is damaged. */
  block(row: Row): Block;
  /** Of ITEM_COLUMNS; throws if the row is damaged. */
  item(row: Row): StoredItem;
}

interface Page {
  readonly items: readonly StoredItem[];
  /** Where to go on; undefined at the end. */
  readonly next: number | undefined;
}

export function readBlockItems(
  pages: Pages,
  key: number,
  options: ReadOptions,
): Promise<readonly StoredItem[]> {
  return readAll(options, (rest) => blockPage(pages, key, rest));
}

export function readSingleItems(
  pages: Pages,
  table: "scheduled" | "held",
  key: number,
  options: ReadOptions,
): Promise<readonly StoredItem[]> {
  return readAll(options, (rest) => singlePage(pages, table, key, rest));
}

async function readAll(
  options: ReadOptions,
  readPage: (rest: ReadOptions) => Promise<Page>,
): Promise<readonly StoredItem[]> {
  const { limit, bytesMax } = options;
  const items: StoredItem[] = [];
  let bytes = 0;
  let from: number | undefined = options.from;
  while (from !== undefined && items.length < limit) {
    const rest = { ...options, from, limit: limit - items.length, bytesMax: bytesMax - bytes };
    const page: Page = await readPage(rest);
    for (const item of page.items) {
      items.push(item);
      bytes += item.record.size;
      if (items.length >= limit || bytes >= bytesMax) return items;
    }
    from = page.next;
  }
  return items;
}

// Without a limit; PostgreSQL has no infinite whole number.
const finite = (limit: number): number => Math.min(limit, Number.MAX_SAFE_INTEGER);

async function blockPage(
  pages: Pages,
  key: number,
  { from, before, limit, bytesMax, records }: ReadOptions,
): Promise<Page> {
  const removed = await pages.removed(key);
  const range = `FROM items WHERE partition = $1 AND first > $2::int8 - ${BLOCK_ITEMS_MAX}
    AND last >= $2 AND first < $3 ORDER BY first LIMIT $4`;
  const values = [key, from, finite(before), Math.min(limit, PAGE)];
  const rows = await pages.read(
    records
      ? {
          text: `SELECT ${BLOCK_COLUMNS} FROM (SELECT *, sum(octet_length(payloads)) OVER
              (ORDER BY first ROWS UNBOUNDED PRECEDING) - octet_length(payloads) AS before
            FROM (SELECT * ${range}) a) b WHERE before < $5 ORDER BY first`,
          values: [...values, finite(bytesMax)],
        }
      : { text: `SELECT ${BLOCK_HEADER} ${range}`, values },
  );
  const items = rows
    .flatMap((row) => (records ? pages.block(row).items : itemsOfHeader(headerOfRow(row))))
    .filter(({ seq }) => seq >= from && seq < before && !removed.has(seq));
  const last = rows.at(-1);
  return { items, next: last === undefined ? undefined : Number(last[1]) + 1 };
}

async function singlePage(
  pages: Pages,
  table: "scheduled" | "held",
  key: number,
  { from, before, limit, records }: ReadOptions,
): Promise<Page> {
  const rows = await pages.read({
    text: `SELECT ${records ? ITEM_COLUMNS : ITEM_HEADER} FROM ${table}
      WHERE partition = $1 AND seq >= $2 AND seq < $3 ORDER BY seq LIMIT $4`,
    values: [key, from, finite(before), Math.min(limit, PAGE)],
  });
  const items = rows.map((row) => (records ? pages.item(row) : itemOfHeader(itemHeaderOf(row))));
  const last = items.at(-1);
  return { items, next: last === undefined ? undefined : last.seq + 1 };
}
