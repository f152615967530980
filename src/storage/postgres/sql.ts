// The statements of the PostgreSQL driver, but for reads that are made in one place. Each takes all
// its rows at once, so that there are few texts, and a commit is one round trip whatever it changes.
// None may walk from the head of a queue: what has been deleted there is passed over row by row until
// it is vacuumed. So a plan must go from the given rows to those of the table, whatever statistics
// say: where they join, the table stands in a LATERAL that OFFSET keeps apart.

import { packCounts } from "../rows/counts.ts";
import {
  BLOCK_COLUMNS,
  BLOCK_ITEMS_MAX,
  type BlockRow,
  ITEM_COLUMNS,
  type ItemRow,
  itemValues,
  type TABLES_OF_A_PARTITION,
} from "../rows/item-rows.ts";
import { packLanes } from "../rows/lanes.ts";
import type {
  Counters,
  Expiry,
  HeldItem,
  ItemTable,
  KeyEntry,
  KeyName,
  LeaseMark,
  ListKeysOptions,
  SeqRange,
  StoredItem,
} from "../storage.ts";
import type { Statement } from "./connection.ts";
import { bytea, byteas, int8s, plainArray, type Value } from "./values.ts";

export const KEY_COLUMNS = "kind, key, seq, until, value";

/** Something of a partition. */
export type Of<T> = readonly [key: number, value: T];

/** A column of the rows that a statement is given. */
type Column =
  | { readonly type: "int8"; readonly values: readonly number[] }
  | { readonly type: "bytea"; readonly values: readonly (Uint8Array | string)[] }
  | { readonly type: "tid" | "text"; readonly values: readonly string[] };

interface Given {
  readonly isOne: boolean;
  /** What stands for the rows in FROM. */
  readonly rows: string;
  readonly values: readonly Value[];
}

/** The key of the partition, then what else a row has. */
function given<T>(rows: readonly Of<T>[], ...columns: readonly Column[]): Given {
  return givenColumns([{ type: "int8", values: rows.map(([key]) => key) }, ...columns]);
}

function givenColumns(columns: readonly Column[]): Given {
  // What most commits have is one row. PostgreSQL takes that as plain values in half the time.
  if (columns[0]!.values.length === 1) {
    const types = columns.map(({ type }, i) => `$${i + 1}::${type}`);
    const values = columns.map(({ values: [value] }): Value => {
      if (typeof value === "object") {
        return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      }
      return value!;
    });
    return { isOne: true, rows: `(VALUES (${types.join(", ")}))`, values };
  }
  const types = columns.map(({ type }, i) => `$${i + 1}::${type}[]`);
  return { isOne: false, rows: `unnest(${types.join(", ")})`, values: columns.map(arrayOf) };
}

function arrayOf({ type, values }: Column): Value {
  if (type === "int8") return int8s(values);
  return type === "bytea" ? byteas(values) : plainArray(values);
}

function numbers<T>(rows: readonly Of<T>[], read: (value: T) => number): Column {
  return { type: "int8", values: rows.map(([, value]) => read(value)) };
}

function bytes<T>(rows: readonly Of<T>[], read: (value: T) => Uint8Array | string): Column {
  // A text goes as its bytes, by itself as in an array.
  const values = rows.map(([, value]) => {
    const each = read(value);
    return typeof each === "string" ? Buffer.from(each) : each;
  });
  return { type: "bytea", values };
}

/** Deletes rows that meet a condition on the given ones; `columns` are those of the given rows. */
function deleteFrom(table: string, rows: Given, columns: string, condition: string): Statement {
  const { isOne, values } = rows;
  const text = isOne
    ? `DELETE FROM ${table} t USING ${rows.rows} u(${columns}) WHERE ${condition}`
    : `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(SELECT f.ctid FROM ${rows.rows} u(${columns}),
        LATERAL (SELECT t.ctid FROM ${table} t WHERE ${condition} OFFSET 0) f))`;
  return { text, values };
}

/** Fails the transaction unless this server owns the data, and has not given up the transaction. */
export function fence({ epoch, term }: { epoch: number; term: number }): Statement {
  return { text: "SELECT fence($1, $2)", values: [epoch, term] };
}

/** Answers `key ctid;key ctid`, and fails the transaction unless every row was met. */
export function updateCounters(
  rows: readonly { readonly key: number; readonly place: string; readonly counters: Counters }[],
): Statement {
  const all = rows.map(({ key, counters }): Of<Counters> => [key, counters]);
  const { rows: from, values } = givenColumns([
    numbers(all, ({ head }) => head),
    numbers(all, ({ tail }) => tail),
    numbers(all, ({ total }) => total),
    numbers(all, ({ scheduled }) => scheduled),
    numbers(all, ({ held }) => held),
    numbers(all, ({ createdSum }) => createdSum),
    numbers(all, ({ dropped }) => dropped.attempts),
    numbers(all, ({ dropped }) => dropped.expired),
    numbers(all, ({ dropped }) => dropped.rejected),
    { type: "text", values: all.map(([, { lanes }]) => packLanes(lanes)) },
    { type: "text", values: all.map(([, { counts }]) => packCounts(counts)) },
    { type: "int8", values: rows.map(({ key }) => key) },
    { type: "tid", values: rows.map(({ place }) => place) },
  ]);
  // That the key is the one that was meant is no condition, as then there would be an index to walk.
  return {
    text: `WITH done AS (
      UPDATE partitions p SET head = u.head, tail = u.tail, total = u.total,
        scheduled = u.scheduled, held = u.held, created_sum = u.created_sum,
        dropped_attempts = u.attempts, dropped_expired = u.expired, dropped_rejected = u.rejected,
        lanes = u.lanes, counts = u.counts
      FROM ${from} u(head, tail, total, scheduled, held, created_sum, attempts, expired, rejected,
        lanes, counts, key, place)
      WHERE p.ctid = u.place RETURNING p.key, p.ctid, p.key = u.key AS met)
      SELECT string_agg(key || ' ' || ctid, ';'),
        CASE WHEN count(*) FILTER (WHERE met) <> $14 THEN expect(0, 1) END FROM done`,
    values: [...values, rows.length],
  };
}

export function insertBlocks(rows: readonly Of<BlockRow>[]): Statement {
  const { rows: from, values } = given(
    rows,
    ...[0, 1, 2, 3, 4, 5].map((i) => numbers(rows, (row) => row[i] as number)),
    bytes(rows, (row) => row[6]),
    numbers(rows, (row) => row[7]),
    numbers(rows, (row) => row[8]),
    bytes(rows, (row) => row[9]),
    bytes(rows, (row) => row[10]),
    bytes(rows, (row) => row[11]),
  );
  return {
    text: `INSERT INTO items (partition, ${BLOCK_COLUMNS}) SELECT * FROM ${from} u`,
    values,
  };
}

export function insertScheduled(items: readonly Of<StoredItem>[]): Statement {
  const { rows: from, values } = given(items, ...itemColumns(items.map(([, item]) => item)));
  return {
    text: `INSERT INTO scheduled (partition, ${ITEM_COLUMNS}) SELECT * FROM ${from} u`,
    values,
  };
}

export function insertHeld(items: readonly Of<HeldItem>[]): Statement {
  const { rows: from, values } = given(
    items,
    bytes(items, ({ group }) => group),
    ...itemColumns(items.map(([, { item }]) => item)),
  );
  return {
    text: `INSERT INTO held (partition, in_group, ${ITEM_COLUMNS}) SELECT * FROM ${from} u`,
    values,
  };
}

function itemColumns(items: readonly StoredItem[]): readonly Column[] {
  const rows = items.map((item): Of<ItemRow> => [0, itemValues(item)]);
  return [
    ...[0, 1, 2, 3, 4, 5].map((i) => numbers(rows, (row) => row[i] as number)),
    bytes(rows, (row) => row[6]),
    numbers(rows, (row) => row[7]),
    bytes(rows, (row) => row[8]),
    bytes(rows, (row) => row[9] ?? ""),
    numbers(rows, (row) => row[10]),
  ];
}

/** Deletes rows whose number lies in a range. */
export function deleteRanges(table: ItemTable, ranges: readonly Of<SeqRange>[]): Statement {
  const column = table === "items" ? "first" : "seq";
  const rows = given(
    ranges,
    numbers(ranges, ({ first }) => first),
    numbers(ranges, ({ last }) => last),
  );
  const condition = `t.partition = u.key AND t.${column} >= u.a AND t.${column} <= u.b`;
  return deleteFrom(table, rows, "key, a, b", condition);
}

export function insertLeases(rows: readonly Of<LeaseMark>[]): Statement {
  const { rows: from, values } = given(
    rows,
    numbers(rows, ({ first }) => first),
    numbers(rows, ({ last }) => last),
    numbers(rows, ({ deadline }) => deadline),
    numbers(rows, ({ leasedAt }) => leasedAt),
    numbers(rows, ({ extendedAt }) => extendedAt),
  );
  return {
    text: `INSERT INTO leases (partition, first, last, deadline, leased_at, extended_at)
      SELECT * FROM ${from} u`,
    values,
  };
}

/** Deletes the lease marks, or the rows of bits, with these numbers. */
export function deleteRows(table: "leases" | "removed", rows: readonly Of<number>[]): Statement {
  const column = table === "leases" ? "first" : "chunk";
  const ofRows = given(
    rows,
    numbers(rows, (n) => n),
  );
  return deleteFrom(table, ofRows, "key, n", `t.partition = u.key AND t.${column} = u.n`);
}

export function putRemoved(
  rows: readonly Of<{ readonly chunk: number; readonly bits: Uint8Array }>[],
): Statement {
  const { rows: from, values } = given(
    rows,
    numbers(rows, ({ chunk }) => chunk),
    bytes(rows, ({ bits }) => bits),
  );
  return {
    text: `INSERT INTO removed (partition, chunk, bits) SELECT * FROM ${from} u
      ON CONFLICT (partition, chunk) DO UPDATE SET bits = excluded.bits`,
    values,
  };
}

export function changeExpiries(expiries: readonly Of<Expiry>[], isThere: boolean): Statement {
  const rows = given(
    expiries,
    numbers(expiries, ({ at }) => at),
    numbers(expiries, ({ first }) => first),
  );
  if (!isThere) {
    const condition = "t.partition = u.key AND t.at = u.at AND t.first = u.first";
    return deleteFrom("expiries", rows, "key, at, first", condition);
  }
  const text = `INSERT INTO expiries (partition, at, first) SELECT * FROM ${rows.rows} u
    ON CONFLICT DO NOTHING`;
  return { text, values: rows.values };
}

export function deleteKeys(names: readonly Of<KeyName>[]): Statement {
  const rows = given(
    names,
    numbers(names, ({ kind }) => kind),
    bytes(names, ({ key }) => key),
  );
  const condition = "t.partition = u.partition AND t.kind = u.kind AND t.key = u.key";
  return deleteFrom("keys", rows, "partition, kind, key", condition);
}

export function putKeys(entries: readonly Of<KeyEntry>[]): Statement {
  const { rows: from, values } = given(
    entries,
    numbers(entries, ({ kind }) => kind),
    bytes(entries, ({ key }) => key),
    numbers(entries, ({ seq }) => seq),
    numbers(entries, ({ until }) => until),
    bytes(entries, ({ value }) => value),
  );
  return {
    text: `INSERT INTO keys (partition, ${KEY_COLUMNS}) SELECT * FROM ${from} u
      ON CONFLICT (partition, kind, key) DO UPDATE
      SET seq = excluded.seq, until = excluded.until, value = excluded.value`,
    values,
  };
}

/** Of a kind, in order of their names; from a name on unless it is "". */
export function listKeys(
  key: number,
  kind: number,
  { after, limit, order, bytesMax = Number.MAX_SAFE_INTEGER }: ListKeysOptions,
): Statement {
  const [from, direction] = order === "ascending" ? ["AND key > $5", ""] : ["AND key < $5", "DESC"];
  const values = [key, kind, limit, bytesMax];
  return {
    text: `SELECT ${KEY_COLUMNS} FROM (SELECT *, sum(octet_length(value)) OVER
        (ORDER BY key ${direction} ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
      FROM (SELECT ${KEY_COLUMNS} FROM keys WHERE partition = $1 AND kind = $2
        ${after === "" ? "" : from} ORDER BY key ${direction} LIMIT $3) a) b
      WHERE before < $4 ORDER BY key ${direction}`,
    values: after === "" ? values : [...values, bytea(after)],
  };
}

/** The columns that follow the partition in the key of a table, with their types and where they begin. */
const ORDER = {
  items: [["first", "int8", "0"]],
  scheduled: [["seq", "int8", "0"]],
  held: [["seq", "int8", "0"]],
  leases: [["first", "int8", "0"]],
  expiries: [["at", "int8", "0"]],
  keys: [
    ["kind", "int8", "0"],
    ["key", "bytea", "\\x"],
  ],
  removed: [["chunk", "int8", "0"]],
} as const;

/**
 * Deletes rows of a partition in the order of its key, from a place on that a call before has
 * answered: answers how many, and the place of the last.
 */
export function sweepRows(
  table: (typeof TABLES_OF_A_PARTITION)[number],
  key: number,
  from: string | undefined,
  limit: number,
): Statement {
  const order = ORDER[table];
  const columns = order.map(([column]) => column).join(", ");
  const least = order.map(([, type], i) => `$${i + 3}::${type}`).join(", ");
  // Neither a number nor bytes as hex have a space.
  const place = order.map(([column]) => `${column}::text`).join(" || ' ' || ");
  const last = order.map(([column]) => `${column} DESC`).join(", ");
  return {
    text: `WITH gone AS (DELETE FROM ${table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ${table} WHERE partition = $1 AND (${columns}) >= (${least})
        ORDER BY partition, ${columns} LIMIT $2)) RETURNING ${columns})
      SELECT count(*), (SELECT ${place} FROM gone ORDER BY ${last} LIMIT 1) FROM gone`,
    values: [key, limit, ...(from?.split(" ") ?? order.map(([, , first]) => first))],
  };
}

/** The blocks that hold these items, each once: the partition, then BLOCK_COLUMNS. */
export function blocksAt(places: readonly Of<number>[]): Statement {
  const { rows: from, values } = given(
    places,
    numbers(places, (seq) => seq),
  );
  return {
    text: `SELECT f.key, i.* FROM (
        SELECT DISTINCT u.key, (SELECT b.first FROM items b WHERE b.partition = u.key
          AND b.first > u.seq - ${BLOCK_ITEMS_MAX} AND b.first <= u.seq
          ORDER BY b.first DESC LIMIT 1) AS first
        FROM ${from} u(key, seq)) f,
      LATERAL (SELECT ${BLOCK_COLUMNS} FROM items b
        WHERE b.partition = f.key AND b.first = f.first OFFSET 0) i
      ORDER BY f.key, f.first`,
    values,
  };
}

/** The items with these numbers: the partition, then ITEM_COLUMNS. */
export function singleItemsAt(
  table: "scheduled" | "held",
  places: readonly Of<number>[],
): Statement {
  const { rows: from, values } = given(
    places,
    numbers(places, (seq) => seq),
  );
  return {
    text: `SELECT u.key, s.* FROM ${from} u(key, seq), LATERAL (SELECT ${ITEM_COLUMNS}
      FROM ${table} t WHERE t.partition = u.key AND t.seq = u.seq OFFSET 0) s`,
    values,
  };
}
