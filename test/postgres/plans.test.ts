// How PostgreSQL goes about the statements of a commit: from the rows that it is given to those of
// the table, never the other way round. A plan that begins at the table is the cheapest where
// statistics say that it is empty, as they do of tables whose rows come and go; beside a transaction
// that stays open it walks over everything that has gone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection, type Statement } from "../../src/storage/postgres/connection.ts";
import { migrate } from "../../src/storage/postgres/schema.ts";
import type { Of } from "../../src/storage/postgres/sql.ts";
import * as sql from "../../src/storage/postgres/sql.ts";
import { blocksOf, TABLES_OF_A_PARTITION } from "../../src/storage/rows/item-rows.ts";
import { NEW_COUNTERS } from "../../src/storage/storage.ts";
import { entry, item } from "../conformance/storage.ts";
import { queryOnce, testDatabase } from "../support/postgres.ts";

const COUNTERS = NEW_COUNTERS;
const LEASE = { first: 1, last: 1, deadline: 1, leasedAt: 1, extendedAt: 0 };
const EXPIRY = { at: 1, first: 1 };

/** Every statement of a commit, of a deletion and of a list of keys, for rows of so many partitions. */
function statements(count: number): Statement[] {
  const each = <T>(value: T): Of<T>[] => Array.from({ length: count }, (_, i) => [i + 1, value]);
  const counters = each(COUNTERS).map(([key]) => ({ key, place: "(0,1)", counters: COUNTERS }));
  return [
    sql.updateCounters(counters),
    sql.insertBlocks(each(blocksOf([item(1)])[0]!)),
    sql.insertScheduled(each(item(1))),
    sql.insertHeld(each({ group: "g", item: item(1) })),
    sql.insertLeases(each(LEASE)),
    sql.deleteRanges("items", each({ first: 1, last: 2 })),
    sql.deleteRanges("scheduled", each({ first: 1, last: 2 })),
    sql.deleteRanges("held", each({ first: 1, last: 2 })),
    sql.deleteRows("leases", each(1)),
    sql.deleteRows("removed", each(1)),
    sql.putRemoved(each({ chunk: 1, bits: new Uint8Array(128) })),
    sql.changeExpiries(each(EXPIRY), true),
    sql.changeExpiries(each(EXPIRY), false),
    sql.deleteKeys(each(entry("k", 1))),
    sql.putKeys(each(entry("k", 1))),
    sql.blocksAt(each(1)),
    sql.singleItemsAt("scheduled", each(1)),
    sql.singleItemsAt("held", each(1)),
    sql.listKeys(1, 1, { after: "", limit: 9, order: "ascending" }),
    sql.listKeys(1, 1, { after: "k", limit: 9, order: "ascending" }),
    sql.listKeys(1, 1, { after: "k", limit: 9, order: "descending" }),
    ...TABLES_OF_A_PARTITION.map((table) => sql.sweepRows(table, 1, undefined, 1)),
  ];
}

test("no statement of a commit or a deletion walks a table, though statistics say that it is empty", async (t) => {
  const connectionString = await testDatabase(t);
  const connection = new Connection({
    target: { connectionString },
    schema: "querator",
    applicationName: "test",
  });
  t.after(() => connection.close());
  await migrate(connection, "querator");
  // Rows that have gone leave tables and indexes large, and of no rows by their statistics.
  await queryOnce(
    connectionString,
    `WITH n AS (SELECT generate_series(1, 3000) AS n),
       a AS (INSERT INTO querator.leases SELECT 1, n, n, 1, 1 FROM n),
       b AS (INSERT INTO querator.expiries SELECT 1, n, n FROM n),
       c AS (INSERT INTO querator.keys SELECT 1, 1, n::text::bytea, n, n % 2, '' FROM n),
       d AS (INSERT INTO querator.removed SELECT 1, n, '' FROM n),
       e AS (INSERT INTO querator.items SELECT 1, n, n, 1, 1, 1, 1, '', 1, 1, '', '', '' FROM n),
       f AS (INSERT INTO querator.held SELECT 1, n, '', 1, 1, 1, 1, 0, '', 1, '', '', 1 FROM n)
     INSERT INTO querator.scheduled SELECT 1, n, 1, 1, 1, 1, n, '', 1, '', '', 1 FROM n`,
  );
  for (const table of TABLES_OF_A_PARTITION) {
    await queryOnce(connectionString, `DELETE FROM querator.${table}`);
  }
  await queryOnce(connectionString, "ANALYZE");

  const walks: string[] = [];
  for (const { text, values = [] } of [...statements(1), ...statements(2)]) {
    await connection.script(`PREPARE probe AS ${text}`);
    const nulls = values.map(() => "NULL").join(", ");
    const [plan] = await connection.run([{ text: `EXPLAIN (COSTS off) EXECUTE probe(${nulls})` }]);
    await connection.script("DEALLOCATE probe");
    const lines = plan!.map(([line]) => line!.trim());
    for (const [i, line] of lines.entries()) {
      if (
        !/^(-> +)?(Seq|Index|Index Only|Bitmap Heap) Scan .* on [a-z]/.test(line) &&
        !line.includes("Seq Scan")
      )
        continue;
      if (!/^Index Cond: .*partition/.test(lines[i + 1] ?? "")) walks.push(lines.join("\n"));
    }
  }
  assert.deepEqual(walks, []);
});
