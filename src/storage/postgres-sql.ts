// The statements of the PostgreSQL driver, but for reads that are made in one place. Each takes all
// its rows as arrays, so that there are as many texts as there are kinds of work, and a commit is
// one round trip whatever it changes. None may walk from the head of a queue: what has been deleted
// there is passed over row by row until it is vacuumed.

import { BLOCK_ITEMS_MAX, type BlockRow, itemValues } from "./item-rows.ts";
import type { Statement } from "./postgres-connection.ts";
import { byteas, int8s, plainArray, type Value } from "./postgres-values.ts";
import type { Counters, Expiry, LeaseMark, SeqRange, StoredItem } from "./storage.ts";

/** Columns of item-rows.ts, as PostgreSQL has them. */
export const BLOCK_HEADER_SQL =
  "first, last, created_at, expire_at, attempts, lease_deadline, source_id, max_attempts";
export const BLOCK_SQL = `${BLOCK_HEADER_SQL}, sum, texts, ends, payloads`;
export const SCHEDULED_HEADER_SQL =
  "seq, created_at, expire_at, attempts, lease_deadline, due_at, source_id, max_attempts";
export const SCHEDULED_SQL = `${SCHEDULED_HEADER_SQL}, text, payload, sum`;

/** Something of a partition. */
export type Of<T> = readonly [key: number, value: T];

const keysOf = (rows: readonly Of<unknown>[]): Buffer => int8s(rows.map(([key]) => key));

function numbers<T>(rows: readonly Of<T>[], read: (value: T) => number): Buffer {
  return int8s(rows.map(([, value]) => read(value)));
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
  return {
    text: `WITH done AS (
      UPDATE partitions p SET head = u.head, tail = u.tail, total = u.total,
        scheduled = u.scheduled, created_sum = u.created_sum
      FROM unnest($1::tid[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])
        u(place, key, head, tail, total, scheduled, created_sum)
      WHERE p.ctid = u.place AND p.key = u.key RETURNING p.key, p.ctid)
      SELECT string_agg(key || ' ' || ctid, ';'), expect(count(*), $8) FROM done`,
    values: [
      plainArray(rows.map(({ place }) => place)),
      keysOf(all),
      numbers(all, ({ head }) => head),
      numbers(all, ({ tail }) => tail),
      numbers(all, ({ total }) => total),
      numbers(all, ({ scheduled }) => scheduled),
      numbers(all, ({ createdSum }) => createdSum),
      rows.length,
    ],
  };
}

export function insertBlocks(rows: readonly Of<BlockRow>[]): Statement {
  return {
    text: `INSERT INTO items (partition, ${BLOCK_SQL}) SELECT * FROM unnest($1::int8[], $2::int8[],
      $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::bytea[], $9::int8[],
      $10::int8[], $11::bytea[], $12::bytea[], $13::bytea[])`,
    values: [
      keysOf(rows),
      ...[0, 1, 2, 3, 4, 5].map((i) => numbers(rows, (row) => row[i] as number)),
      byteas(rows.map(([, row]) => row[6])),
      numbers(rows, (row) => row[7]),
      numbers(rows, (row) => row[8]),
      byteas(rows.map(([, row]) => row[9])),
      byteas(rows.map(([, row]) => row[10])),
      byteas(rows.map(([, row]) => row[11])),
    ],
  };
}

export function insertScheduled(items: readonly Of<StoredItem>[]): Statement {
  const rows = items.map(([key, item]) => [key, itemValues(item)] as const);
  return {
    text: `INSERT INTO scheduled (partition, ${SCHEDULED_SQL}) SELECT * FROM unnest($1::int8[],
      $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::bytea[],
      $9::int8[], $10::bytea[], $11::bytea[], $12::int8[])`,
    values: [
      keysOf(rows),
      ...[0, 1, 2, 3, 4, 5].map((i) => numbers(rows, (row) => row[i] as number)),
      byteas(rows.map(([, row]) => row[6])),
      numbers(rows, (row) => row[7]),
      byteas(rows.map(([, row]) => row[8])),
      byteas(rows.map(([, row]) => row[9] ?? "")),
      numbers(rows, (row) => row[10]),
    ],
  };
}

/** Deletes rows whose number lies in a range. */
export function deleteRanges(
  table: "items" | "scheduled",
  ranges: readonly Of<SeqRange>[],
): Statement {
  const column = table === "items" ? "first" : "seq";
  return {
    text: `DELETE FROM ${table} t USING unnest($1::int8[], $2::int8[], $3::int8[]) u(key, a, b)
      WHERE t.partition = u.key AND t.${column} >= u.a AND t.${column} <= u.b`,
    values: [
      keysOf(ranges),
      numbers(ranges, ({ first }) => first),
      numbers(ranges, ({ last }) => last),
    ],
  };
}

export function insertLeases(rows: readonly Of<LeaseMark>[]): Statement {
  return {
    text: `INSERT INTO leases (partition, first, last, deadline, leased_at)
      SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[])`,
    values: [
      keysOf(rows),
      numbers(rows, ({ first }) => first),
      numbers(rows, ({ last }) => last),
      numbers(rows, ({ deadline }) => deadline),
      numbers(rows, ({ leasedAt }) => leasedAt),
    ],
  };
}

/** Deletes the lease marks, or the rows of bits, with these numbers. */
export function deleteRows(table: "leases" | "removed", rows: readonly Of<number>[]): Statement {
  const column = table === "leases" ? "first" : "chunk";
  return {
    text: `DELETE FROM ${table} t USING unnest($1::int8[], $2::int8[]) u(key, n)
      WHERE t.partition = u.key AND t.${column} = u.n`,
    values: [keysOf(rows), numbers(rows, (n) => n)],
  };
}

export function putRemoved(
  rows: readonly Of<{ readonly chunk: number; readonly bits: Uint8Array }>[],
): Statement {
  return {
    text: `INSERT INTO removed (partition, chunk, bits)
      SELECT * FROM unnest($1::int8[], $2::int8[], $3::bytea[])
      ON CONFLICT (partition, chunk) DO UPDATE SET bits = excluded.bits`,
    values: [
      keysOf(rows),
      numbers(rows, ({ chunk }) => chunk),
      byteas(rows.map(([, { bits }]) => bits)),
    ],
  };
}

export function changeExpiries(rows: readonly Of<Expiry>[], isThere: boolean): Statement {
  const given = "unnest($1::int8[], $2::int8[], $3::int8[])";
  return {
    text: isThere
      ? `INSERT INTO expiries (partition, at, first) SELECT * FROM ${given} ON CONFLICT DO NOTHING`
      : `DELETE FROM expiries t USING ${given} u(key, at, first)
         WHERE t.partition = u.key AND t.at = u.at AND t.first = u.first`,
    values: [keysOf(rows), numbers(rows, ({ at }) => at), numbers(rows, ({ first }) => first)],
  };
}

export function changeSources(rows: readonly Of<string>[], isThere: boolean): Statement {
  const given = "unnest($1::int8[], $2::bytea[])";
  return {
    text: isThere
      ? `INSERT INTO sources (partition, source_id) SELECT * FROM ${given}`
      : `DELETE FROM sources t USING ${given} u(key, id)
         WHERE t.partition = u.key AND t.source_id = u.id`,
    values: [keysOf(rows), byteas(rows.map(([, id]) => id))],
  };
}

/** The blocks that hold these items, each once: the partition, then BLOCK_SQL. */
export function blocksAt(places: readonly Of<number>[]): Statement {
  return {
    text: `SELECT i.partition, ${BLOCK_SQL.replaceAll(/(\w+)/g, "i.$1")} FROM (
        SELECT DISTINCT u.key, (SELECT b.first FROM items b WHERE b.partition = u.key
          AND b.first > u.seq - ${BLOCK_ITEMS_MAX} AND b.first <= u.seq
          ORDER BY b.first DESC LIMIT 1) AS first
        FROM unnest($1::int8[], $2::int8[]) u(key, seq)) f
      JOIN items i ON i.partition = f.key AND i.first = f.first ORDER BY i.partition, i.first`,
    values: [keysOf(places), numbers(places, (seq) => seq)],
  };
}

/** The scheduled items with these numbers: the partition, then SCHEDULED_SQL. */
export function scheduledAt(places: readonly Of<number>[]): Statement {
  return {
    text: `SELECT s.partition, ${SCHEDULED_SQL.replaceAll(/(\w+)/g, "s.$1")}
      FROM unnest($1::int8[], $2::int8[]) u(key, seq)
      JOIN scheduled s ON s.partition = u.key AND s.seq = u.seq`,
    values: [keysOf(places), numbers(places, (seq) => seq)],
  };
}

export type { Value };
