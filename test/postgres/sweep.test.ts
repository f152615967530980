// What becomes of the rows of a deleted queue.

import assert from "node:assert/strict";
import { test } from "node:test";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { TABLES_OF_A_PARTITION } from "../../src/storage/rows/item-rows.ts";
import { changes, entry, item } from "../conformance/storage.ts";
import { queryOnce, testDatabase } from "../support/postgres.ts";

test("a deletion in steps of any size leaves no row of its partitions, and all of others", async (t) => {
  const connectionString = await testDatabase(t);
  const storage = await openPostgresStorage({
    name: "p",
    target: { connectionString },
    schema: "querator",
    connectionsMax: 2,
  });
  t.after(() => storage.close());
  const numbers = Array.from({ length: 20 }, (_, i) => i + 1);
  const rows = {
    // Not alike, so that each has a row of its own.
    adds: numbers.map((seq) => item(seq, { createdAt: seq })),
    addsScheduled: numbers.map((seq) => item(seq, { dueAt: seq })),
    leases: numbers.map((first) => ({
      first,
      last: first,
      deadline: 1,
      leasedAt: 1,
      extendedAt: 0,
    })),
    // Several at the same time, too.
    addsExpiry: numbers.map((first) => ({ at: Math.ceil(first / 7), first })),
    addsHeld: numbers.map((seq) => ({ group: `g${seq % 3}`, item: item(seq + 100) })),
    // Of several kinds, in the order of neither number nor name.
    addsKey: numbers.map((seq) => entry(`${seq * 7_919} \u0000`, seq, { kind: (seq % 3) + 1 })),
    removes: [{ first: 3, last: 3 }],
  };
  const count = async (key: number): Promise<number> => {
    const counts = TABLES_OF_A_PARTITION.map(
      (table) => `(SELECT count(*) FROM querator.${table} WHERE partition = ${key})`,
    );
    const [row] = await queryOnce(connectionString, `SELECT ${counts.join(" + ")} AS n`);
    return Number(row!.n);
  };
  for (const limit of [1, 3, 20, 1_000]) {
    const keys = await storage.createPartitions(
      ["a", "b"].map((queue) => ({ queue, number: 0, idPrefix: queue.repeat(18), createdAt: 1 })),
    );
    await storage.commit(keys.map((key) => changes(key, rows)));
    const before = await count(keys[1]!);
    assert.ok(before > 110, String(before));
    await storage.dropPartitions([keys[0]!]);
    while (await storage.sweep(limit));
    assert.equal(await count(keys[0]!), 0);
    assert.equal(await count(keys[1]!), before);
  }
});
