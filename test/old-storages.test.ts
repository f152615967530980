// What an earlier version has written is read as it was, served, and not written anew. What a later one has
// written is refused: test/restart.test.ts and test/postgres/failures.test.ts.

import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import type { ServerOptions } from "../src/config/config.ts";
import { attributesOf, NO_ATTRIBUTES } from "../src/queue/attributes.ts";
import { KEY } from "../src/queue/keys.ts";
import { openPostgresStorage } from "../src/storage/postgres/postgres.ts";
import { sumOfRow } from "../src/storage/rows/checksum.ts";
import { openSqliteStorage } from "../src/storage/sqlite/sqlite.ts";
import type { KeyEntry, Storage, StoredItem } from "../src/storage/storage.ts";
import {
  makeOldFile,
  makeOldSchema,
  OLD_NOW,
  type OldItem,
  oldPartitions,
  type PlainItem,
  uncountedPartitions,
} from "./support/old-storages.ts";
import { queryOnce, testDatabase } from "./support/postgres.ts";
import { payloads, setup, temporaryDirectory } from "./support/server.ts";

const ALL = { from: 0, before: Number.MAX_SAFE_INTEGER, limit: 1e6, bytesMax: 1e12 };

function plain({ record, ...rest }: StoredItem): PlainItem {
  return { ...rest, text: record.text, payload: record.payload.toString() };
}

// As the versions before attributes had it.
function oldForm({ record, attributes, ...rest }: StoredItem): OldItem {
  const { source, max, ...others } = attributesOf(attributes);
  assert.deepEqual({ ...others, source: "", max: 0 }, NO_ATTRIBUTES);
  const payload = record.payload.toString();
  return { ...rest, sourceId: source, maxAttempts: max, text: record.text, payload };
}

/** What the last version before attributes has left, or the last one that counted nothing. */
type Age = "before attributes" | "before counts";

/** A fresh place with what an earlier version has left in it. */
async function oldPlace(
  t: TestContext,
  driver: "sqlite" | "postgres",
  age: Age = "before attributes",
): Promise<{ options: ServerOptions; open(): Promise<Storage> }> {
  const isOlder = age === "before attributes";
  if (driver === "sqlite") {
    const dir = temporaryDirectory(t);
    makeOldFile(dir, isOlder ? 2 : 3, isOlder ? "sqlite-2" : "sqlite-3");
    return { options: { dataDir: dir }, open: () => openSqliteStorage({ name: "s", dir }) };
  }
  const url = await testDatabase(t);
  await makeOldSchema(url, isOlder ? 3 : 4, isOlder ? "postgres-3" : "postgres-4");
  const options = { target: { connectionString: url }, schema: "querator", connectionsMax: 2 };
  return { options: { postgres: url }, open: () => openPostgresStorage({ name: "p", ...options }) };
}

for (const driver of ["sqlite", "postgres"] as const) {
  test(`everything that an earlier version has written is read as it was (${driver})`, async (t) => {
    const { open } = await oldPlace(t, driver);
    for (const _ of ["brought up to date", "as it is then"]) {
      const storage = await open();
      const partitions = await storage.listPartitions();
      const expected = oldPartitions(driver === "sqlite" ? "sqlite-2" : "postgres-3");
      assert.equal(partitions.length, expected.length);
      for (const [i, old] of expected.entries()) {
        const { key, queue, idPrefix } = partitions[i]!;
        assert.deepEqual([queue, idPrefix], [old.queue, old.idPrefix]);
        const { counters, leased, leases } = await storage.loadPartition(key);
        assert.deepEqual(counters, { ...old.counters, held: 0, lanes: [], counts: [] });
        assert.deepEqual(
          leased.map(({ seq }) => seq),
          old.leased,
        );
        assert.deepEqual(
          leases.toSorted((a, b) => a.first - b.first),
          old.leases.map((mark) => ({ ...mark, extendedAt: 0 })),
        );
        assert.deepEqual(await storage.readExpiries(key, 1_000), old.expiries);
        for (const table of ["items", "scheduled"] as const) {
          const items = await storage.readItems(key, table, { ...ALL, records: true });
          assert.deepEqual(items.map(oldForm), old[table]);
          const headers = await storage.readItems(key, table, { ...ALL, records: false });
          assert.deepEqual(
            headers.map(({ attributes }) => attributes),
            items.map(({ attributes }) => attributes),
          );
        }
        const names = ["gone", ...old.sources.map(([source]) => source)];
        const found = await storage.findKeys(key, KEY.source, names);
        assert.deepEqual(
          [...found.values()].toSorted((a, b) => a.seq - b.seq),
          old.sources
            .map(([source, seq]) => ({ kind: 1, key: source, seq, until: 0, value: "" }))
            .toSorted((a, b) => a.seq - b.seq),
        );
        assert.deepEqual(await storage.readItems(key, "held", { ...ALL, records: true }), []);
      }
      await storage.close();
    }
  });

  test(`what an earlier version has written is served, and leaves when it is done (${driver})`, async (t) => {
    const { options, open } = await oldPlace(t, driver);
    const server = await setup(t, options);
    await server.ok("dev.clock", { now: OLD_NOW });
    await server.advance("24h");
    const [dead, work] = oldPartitions(driver === "sqlite" ? "sqlite-2" : "postgres-3");
    const letters = await server.list("dead");
    assert.deepEqual(
      letters.map((item) => item.source_id),
      dead!.items.map((item) => item.sourceId),
    );
    const imported = { queue_name: "q", partition: 0, items: [{ source_id: "again" }] };
    const { items: known } = await server.ok("storage/items.import", imported);
    assert.deepEqual([known[0].source_id, payloads({ items: known })], ["again", ["again"]]);
    for (const [queue, count] of [
      ["q", work!.items.length],
      ["dead", 2],
    ] as const) {
      const reply = await server.lease(queue, 100);
      assert.equal(reply.items.length, count);
      const ids = reply.items.map((item: { id: string }) => item.id);
      assert.equal((await server.complete(queue, ids)).status, 200);
    }
    await server.ok("queue.clear", { queue_name: "q", scheduled: true });
    await server.server.stop();
    const storage = await open();
    for (const { key, queue } of await storage.listPartitions()) {
      assert.equal((await storage.loadPartition(key)).counters.total, 0, queue);
      const names = [...dead!.sources, ...work!.sources].map(([source]) => source);
      assert.equal((await storage.findKeys(key, KEY.source, names)).size, 0, queue);
    }
    await storage.close();
  });
}

for (const driver of ["sqlite", "postgres"] as const) {
  test(`what the version before counts has written is read as it was, and served (${driver})`, async (t) => {
    const { options, open } = await oldPlace(t, driver, "before counts");
    const partitions = uncountedPartitions(driver === "sqlite" ? "sqlite-3" : "postgres-4");
    for (const _ of ["brought up to date", "as it is then"]) {
      const storage = await open();
      const stored = await storage.listPartitions();
      assert.deepEqual(
        stored.map(({ queue, idPrefix }) => [queue, idPrefix]),
        partitions.map(({ queue, idPrefix }) => [queue, idPrefix]),
      );
      for (const [i, old] of partitions.entries()) {
        const { key } = stored[i]!;
        const { counters, leased, leases } = await storage.loadPartition(key);
        assert.deepEqual(counters, { ...old.counters, counts: [] });
        assert.deepEqual(
          leased.map(({ seq }) => seq),
          old.leased,
        );
        assert.deepEqual(
          leases.toSorted((a, b) => a.first - b.first),
          old.leases,
        );
        assert.deepEqual(await storage.readExpiries(key, 1_000), old.expiries);
        for (const table of ["items", "scheduled"] as const) {
          const items = await storage.readItems(key, table, { ...ALL, records: true });
          assert.deepEqual(items.map(plain), old[table]);
        }
        const keys: KeyEntry[] = [];
        for (const kind of Object.values(KEY)) {
          const all = { after: "", limit: 1_000, order: "ascending" } as const;
          keys.push(...(await storage.listKeys(key, kind, all)));
        }
        assert.deepEqual(keys, old.keys);
      }
      await storage.close();
    }
    assert.ok(partitions.some(({ keys }) => keys.some(({ until }) => until !== 0)));
    const server = await setup(t, options);
    await server.ok("dev.clock", { now: OLD_NOW });
    await server.advance("24h");
    for (const { queue, items, scheduled, counters } of partitions) {
      // What nobody has counted counts as received, so that nothing is missing afterwards.
      const { attempts, expired, rejected } = counters.dropped;
      const there = items.length + scheduled.length;
      const { totals } = await server.ok("/v2/queue.stats", { queue_name: queue });
      const { received = 0, lease_ends: _, dead = {}, moved = 0 } = totals.counts;
      assert.equal(received - moved, there + attempts + expired + rejected, queue);
      assert.equal(dead.attempts ?? 0, attempts, queue);
      if (items.length === 0) continue;
      const reply = await server.lease(queue, 100);
      assert.equal(reply.items.length, items.length, queue);
      const ids = reply.items.map((item: { id: string }) => item.id);
      assert.equal((await server.complete(queue, ids)).status, 200);
    }
  });
}

test("a file of the first version is brought up to date", async (t) => {
  const dir = temporaryDirectory(t);
  makeOldFile(dir, 1);
  const server = await setup(t, { dataDir: dir });
  await server.createQueue("q", { max_attempts: 1 });
  await server.produce("q", "a");
  assert.deepEqual(payloads(await server.lease("q")), ["a"]);
});

test("whatever number of attempts an item was imported with by an earlier version, it is read", async (t) => {
  const dir = temporaryDirectory(t);
  const path = makeOldFile(dir, 2, "sqlite-2");
  const db = new DatabaseSync(path);
  const partition = 2; // that of the queue "q"
  const rows = db
    .prepare(
      `SELECT first, last, created_at, expire_at, attempts, lease_deadline, source_id, max_attempts,
         texts, ends, payloads FROM items WHERE partition = ? AND source_id <> '' AND first = last`,
    )
    .all(partition) as Record<string, number | string | Uint8Array>[];
  const update = db.prepare(
    "UPDATE items SET max_attempts = ?, sum = ? WHERE partition = ? AND first = ?",
  );
  const given = new Map<number, number>();
  for (const [i, row] of rows.entries()) {
    const max = [-1, -2, 2 ** 31 - 1, -(2 ** 31)][i % 4]!;
    const first = Number(row.first);
    const sum = sumOfRow(...Object.values({ ...row, max_attempts: max }));
    update.run(max, sum, partition, first);
    given.set(first, max);
  }
  db.close();
  assert.equal(new Set(given.values()).size, 4);
  const storage = await openSqliteStorage({ name: "s", dir });
  t.after(() => storage.close());
  const { key } = (await storage.listPartitions()).find(({ queue }) => queue === "q")!;
  const { items } = oldPartitions("sqlite-2")[1]!;
  const read = await storage.readItems(key, "items", { ...ALL, records: true });
  for (const { seq, sourceId } of items.filter((item) => given.has(item.seq))) {
    const { attributes } = read.find((item) => item.seq === seq)!;
    const { source, max } = attributesOf(attributes);
    assert.deepEqual([source, max], [sourceId, given.get(seq)]);
  }
});

test("what of an earlier version is not what was written is found out afterwards as well", async (t) => {
  const dir = temporaryDirectory(t);
  const path = makeOldFile(dir, 2, "sqlite-2");
  const db = new DatabaseSync(path);
  db.exec("UPDATE items SET source_id = 'another' WHERE source_id = 'leased'");
  db.exec("UPDATE items SET max_attempts = 8 WHERE max_attempts = 9 AND attempts = 1");
  db.close();
  const storage = await openSqliteStorage({ name: "s", dir });
  t.after(() => storage.close());
  const { key } = (await storage.listPartitions()).find(({ queue }) => queue === "q")!;
  const { items } = oldPartitions("sqlite-2")[1]!;
  for (const { seq } of items.filter((item) => item.sourceId === "leased" || item.attempts === 1)) {
    if (items.find((item) => item.seq === seq)!.maxAttempts === 0) continue;
    const one = { ...ALL, from: seq, before: seq + 1, records: true };
    await assert.rejects(storage.readItems(key, "items", one), /is damaged/);
  }
});

test("a large file is brought up to date without writing its items anew", async (t) => {
  const dir = temporaryDirectory(t);
  const path = makeOldFile(dir, 2);
  const db = new DatabaseSync(path);
  db.exec("BEGIN");
  const insert = db.prepare(
    `INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline,
       source_id, max_attempts, sum, texts, ends, payloads)
     VALUES (1, ?, ?, 1, 1, 0, 0, '', 0, ?, '', ?, ?)`,
  );
  const payload = new Uint8Array(4_000).fill(7);
  const ends = new Uint8Array(new Uint32Array([4_000]).buffer);
  for (let seq = 1; seq <= 4_000; seq++) {
    insert.run(seq, seq, sumOfRow(seq, seq, 1, 1, 0, 0, "", 0, "", ends, payload), ends, payload);
  }
  const counters = [1, 4_001, 4_000, 0, 0] as const;
  db.prepare(
    `INSERT INTO partitions (queue, number, id_prefix, created_at, head, tail, total, scheduled,
       created_sum, sum) VALUES ('q', 0, 'xxxxxxxxxxxxxxxxxx', 1, ?, ?, ?, ?, ?, ?)`,
  ).run(...counters, sumOfRow(...counters));
  db.exec("COMMIT");
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  db.close();
  const before = statSync(path).size;
  const storage = await openSqliteStorage({ name: "s", dir });
  // Nothing of it is in the file yet.
  const written = statSync(path).size + statSync(join(dir, "querator.db-wal")).size - before;
  assert.ok(before > 16_000_000 && written < 300_000, `${written} of ${before} bytes`);
  const read = { ...ALL, from: 3_999, records: true };
  assert.deepEqual(
    (await storage.readItems(1, "items", read)).map((item) => [item.seq, item.record.size]),
    [
      [3_999, 4_000],
      [4_000, 4_000],
    ],
  );
  await storage.close();
});

test("tables that an earlier server works with are left alone until it has stopped", async (t) => {
  const url = await testDatabase(t);
  await makeOldSchema(url, 3, "postgres-3");
  await queryOnce(
    url,
    "UPDATE querator.heartbeat SET epoch = 5, holder = 'old:1', renewed_at = clock_timestamp()",
  );
  await queryOnce(url, "UPDATE querator.owner SET epoch = 5");
  const options = { target: { connectionString: url }, schema: "querator", connectionsMax: 2 };
  await assert.rejects(openPostgresStorage({ name: "p", ...options }), {
    message:
      /another server \(old:1\) owns the data.*is of an earlier version.*once it has stopped/,
  });
  const version = "SELECT max(version) FROM querator.migrations";
  assert.deepEqual(await queryOnce(url, version), [{ max: 3 }]);
  // It stopped, or is silent: and if it is not gone, it has lost what it had.
  await queryOnce(url, "UPDATE querator.heartbeat SET renewed_at = '-infinity'");
  const storage = await openPostgresStorage({ name: "p", ...options });
  const [owner] = await queryOnce(url, "SELECT epoch FROM querator.owner");
  assert.ok(Number(owner!.epoch) > 6);
  await storage.close();
});
