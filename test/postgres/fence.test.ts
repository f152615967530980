// What keeps a replaced owner from writing lies in each transaction, not in what the owner knows.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { changes } from "../conformance/storage.ts";
import { testDatabase } from "../support/postgres.ts";

test("no transaction of an owner that was replaced is committed, before it has heard of it", async (t) => {
  const connectionString = await testDatabase(t);
  const open = async (): Promise<Storage> => {
    const options = { name: "p", schema: "querator", connectionsMax: 3 };
    const storage = await openPostgresStorage({ ...options, target: { connectionString } });
    t.after(() => storage.close());
    return storage;
  };
  const first = await open();
  const [key] = await first.createPartitions([
    { queue: "q", number: 0, idPrefix: "prefix", createdAt: 1 },
  ]);
  const change = changes(key!, {});
  await first.commit([change]);

  const admin = new pg.Client({ connectionString });
  await admin.connect();
  await admin.query("UPDATE querator.heartbeat SET renewed_at = '-infinity'");
  await admin.end();
  const second = await open();

  const refused = { code: "QU001" };
  const counters = { ...change.counters, tail: 7 };
  await assert.rejects(first.commit([{ ...change, counters }]), refused);
  await assert.rejects(first.putQueues([{ name: "q", record: "{}" }]), refused);
  await assert.rejects(first.createPartitions([]), refused);
  await assert.rejects(first.dropPartitions([key!]), refused);
  assert.equal((await second.loadPartition(key!)).counters.tail, 1);
  assert.deepEqual(await second.listQueues(), []);
  assert.equal((await second.listPartitions())[0]?.dropped, false);
});
