// What is there after a restart, and what a start refuses.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startServer } from "../src/server/server.ts";
import { openSqliteStorage } from "../src/storage/sqlite/sqlite.ts";
import { ItemRecord, NEW_COUNTERS, type StoredItem } from "../src/storage/storage.ts";
import { changes } from "./conformance/storage.ts";
import { payloads, SILENT, setup, type TestServer, temporaryDirectory } from "./support/server.ts";
import { freshPlace } from "./support/storages.ts";

for (const driver of ["sqlite", "postgres"] as const) {
  test(`everything that was acknowledged is there after a restart, as it was (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const first = await setup(t, place);
    const { now } = await first.advance("0s");
    const later = new Date(Date.parse(now) + 600_000).toISOString();
    await first.createQueue("dead");
    await first.createQueue("q", { max_attempts: 3, dead_queue: "dead", reference: "ref" });
    await first.produce("q", "a", "b", "c", "d");
    const produce = { queue_name: "q", request_timeout: "1s" };
    await first.ok("queue.produce", { ...produce, items: [{ utf8: "later", enqueue_at: later }] });
    const { items } = await first.lease("q", 2);
    await first.complete("q", [items[0].id]);
    const [infoBefore, itemsBefore, scheduledBefore, statsBefore] = await look(first);
    await first.server.stop();

    const second = await setup(t, place);
    await second.ok("dev.clock", { now });
    const [info, listed, scheduled, stats] = await look(second);
    assert.deepEqual(info, infoBefore);
    assert.deepEqual(listed, itemsBefore);
    assert.deepEqual(scheduled, scheduledBefore);
    assert.equal(stats.total, statsBefore.total);
    assert.equal(stats.total_leased, 1);
    assert.equal(stats.scheduled, 1);
    assert.equal((await second.complete("q", [items[1].id])).status, 200);
    await second.produce("q", "e");
    const ids = (await second.list("q")).map((item: { id: string }) => item.id);
    assert.deepEqual(ids, [...ids].sort());
    assert.deepEqual(payloads(await second.lease("q", 9)), ["c", "d", "e"]);

    async function look(server: TestServer) {
      return [
        await server.ok("queues.info", { queue_name: "q" }),
        await server.list("q"),
        await server.list("q", "scheduled"),
        await server.stats("q"),
      ];
    }
  });

  test(`a lease goes on over a restart and ends at its deadline, not before (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const first = await setup(t, place);
    await first.createQueue("q", { lease_timeout: "1m" });
    const { now } = await first.advance("0s");
    const waiting = first.lease("q");
    await first.until(async () => (await first.stats("q")).lease_waiting === 1);
    await first.produce("q", "leased as it was produced");
    await waiting;
    await first.produce("q", "leased later");
    await first.lease("q");
    await first.server.stop();

    const second = await setup(t, place);
    await second.ok("dev.clock", { now });
    await second.advance("59s");
    assert.equal((await second.stats("q")).total_leased, 2);
    await second.advance("2s");
    await second.until(async () => (await second.stats("q")).total_leased === undefined);
    const { items } = await second.lease("q", 5);
    assert.deepEqual(payloads({ items }), ["leased as it was produced", "leased later"]);
    assert.deepEqual([items[0].attempts, items[1].attempts], [2, 2]);
  });

  test(`ids go on where they ended, even if nothing is left (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const first = await setup(t, place);
    await first.createQueue("q");
    await first.produce("q", "a");
    const [before] = (await first.lease("q")).items;
    await first.complete("q", [before.id]);
    await first.server.stop();
    const second = await setup(t, place);
    await second.produce("q", "b");
    const [after] = (await second.lease("q")).items;
    assert.ok(after.id > before.id);
  });
}

test("a second server on the same directory is refused, also in the same process", async (t) => {
  const dir = temporaryDirectory(t);
  await setup(t, { dataDir: dir });
  await assert.rejects(startServer({ address: "127.0.0.1:0", dataDir: dir }, { logger: SILENT }), {
    message: `data directory '${dir}' is in use by another server; stop it, or choose another directory`,
  });
});

test("a file that is no SQLite file is refused", async (t) => {
  const dir = temporaryDirectory(t);
  writeFileSync(join(dir, "querator.db"), "this is a text ".repeat(1_000));
  await assert.rejects(startServer({ address: "127.0.0.1:0", dataDir: dir }), {
    message: /querator.db' is not a SQLite file; move it away, or choose another data directory$/,
  });
});

test("a SQLite file of another program is refused and left alone", async (t) => {
  const dir = temporaryDirectory(t);
  const db = new DatabaseSync(join(dir, "querator.db"));
  db.exec("CREATE TABLE mine (x)");
  db.close();
  await assert.rejects(startServer({ address: "127.0.0.1:0", dataDir: dir }), {
    message: /querator.db' is a SQLite file of another program/,
  });
});

test("a log without its file is refused and left alone", async (t) => {
  const dir = temporaryDirectory(t);
  writeFileSync(join(dir, "querator.db-wal"), "x");
  await assert.rejects(startServer({ address: "127.0.0.1:0", dataDir: dir }), {
    message: /querator.db' is missing or empty, but there was data in it; restore it/,
  });
  assert.equal(readFileSync(join(dir, "querator.db-wal"), "utf8"), "x");
});

test("a file that is gone, although there was data, is not made anew", async (t) => {
  const dir = temporaryDirectory(t);
  const server = await setup(t, { dataDir: dir });
  await server.server.stop();
  const file = join(dir, "querator.db");
  for (const damage of [() => writeFileSync(file, ""), () => rmSync(file)]) {
    damage();
    await assert.rejects(startServer({ address: "127.0.0.1:0", dataDir: dir }), {
      message: /querator.db' is missing or empty, but there was data in it; restore it/,
    });
  }
});

test("a file of a later version is refused", async (t) => {
  const dir = temporaryDirectory(t);
  const server = await setup(t, { dataDir: dir });
  await server.server.stop();
  const db = new DatabaseSync(join(dir, "querator.db"));
  db.exec("PRAGMA user_version = 99");
  db.close();
  await assert.rejects(startServer({ address: "127.0.0.1:0", dataDir: dir }), {
    message:
      /was written by a later version of querator \(schema 99, this one knows \d+\); start that version$/,
  });
  const after = new DatabaseSync(join(dir, "querator.db"));
  assert.deepEqual({ ...after.prepare("PRAGMA user_version").get() }, { user_version: 99 });
  after.close();
});

test("what an earlier version was to bury is buried, and what it was to retry is retried", async (t) => {
  const dir = temporaryDirectory(t);
  const first = await setup(t, { dataDir: dir });
  await first.createQueue("dead");
  await first.createQueue("q", { dead_queue: "dead" });
  await first.server.stop();
  const storage = await openSqliteStorage({ name: "s", dir });
  const { key } = (await storage.listPartitions()).find(({ queue }) => queue === "q")!;
  const now = Date.now() * 1_000;
  const minute = 60_000_000;
  const scheduled = (seq: number, dueAt: number, expireAt: number): StoredItem => ({
    seq,
    createdAt: now - 60 * minute,
    expireAt,
    attempts: 1,
    leaseDeadline: 0,
    dueAt,
    attributes: "",
    record: new ItemRecord("", Buffer.from(`${seq}`)),
  });
  await storage.commit([
    changes(key, {
      counters: { ...NEW_COUNTERS, tail: 3, scheduled: 2 },
      // Condemned as it was; and a retry that was accepted for later than its expiry.
      addsScheduled: [
        scheduled(1, now - minute, now - minute - 1),
        scheduled(2, now - minute, now - 10 * minute),
      ],
    }),
  ]);
  await storage.close();
  const second = await setup(t, { dataDir: dir });
  assert.deepEqual(payloads(await second.lease("dead")), ["1"]);
  const retried = await second.lease("q");
  assert.deepEqual(payloads(retried), ["2"]);
  assert.equal(retried.items[0].attempts, 2);
});

test("a directory that cannot be made is refused with the reason", async (t) => {
  const dir = temporaryDirectory(t);
  appendFileSync(join(dir, "file"), "");
  await assert.rejects(
    startServer({ address: "127.0.0.1:0", dataDir: join(dir, "file", "data") }),
    /cannot open '.*querator.db': /,
  );
});

test("a file system that takes no directories is told from one that does", {
  skip: existsSync("/proc/self") ? false : "there is no /proc here",
}, () => {
  const bin = fileURLToPath(new URL("../bin/querator.js", import.meta.url));
  const args = [bin, "server", "--address", "127.0.0.1:0", "--data-dir", "/proc/querator"];
  const { status, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(status, 1);
  assert.match(stderr, /^Error: cannot open '\/proc\/querator\/querator.db': /);
});

test("an address that is in use is refused, and the storage is let go", async (t) => {
  const dir = temporaryDirectory(t);
  const other = join(dir, "other");
  mkdirSync(other);
  const server = await setup(t, { dataDir: join(dir, "one") });
  const { port } = server.server;
  const address = `127.0.0.1:${port}`;
  await assert.rejects(startServer({ address, dataDir: other }, { logger: SILENT }), {
    message: `address ${address} is in use; stop what listens there, or choose another with --address`,
  });
  await setup(t, { dataDir: other });
});

test("stopping answers what waits, reports failing health, and ends", async (t) => {
  const server = await setup(t, { dataDir: temporaryDirectory(t) });
  await server.createQueue("q");
  const lease = { queue_name: "q", request_timeout: "10m", batch_size: 1, client_id: "c" };
  const waiting = server.call("queue.lease", lease);
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  await server.server.stop();
  const { status, body } = await waiting;
  assert.equal(status, 453);
  assert.equal(body.message, "queue is shutting down");
});

test("deleting a queue answers its waiting leases", async (t) => {
  const server = await setup(t, { dataDir: temporaryDirectory(t) });
  await server.createQueue("q");
  const lease = { queue_name: "q", request_timeout: "10m", batch_size: 1, client_id: "c" };
  const waiting = server.call("queue.lease", lease);
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  await server.ok("queues.delete", { queue_name: "q" });
  assert.equal((await waiting).body.message, "queue is shutting down");
});
