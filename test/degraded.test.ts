// One of several storages is away, at the start or later: only what lies there waits, and it comes
// back by itself.

import assert from "node:assert/strict";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { FaultyStorage } from "./support/faulty-storage.ts";
import { payloads, SILENT, setup, type TestServer, temporaryDirectory } from "./support/server.ts";

interface World {
  readonly dir: string;
  readonly lines: string[];
  start(): Promise<TestServer>;
}

/** Records and partition 0 lie in `one`, partition 1 in `two`. */
function world(t: TestContext, wrap = (storage: FaultyStorage["storage"]) => storage): World {
  const dir = temporaryDirectory(t);
  const config = join(dir, "querator.yaml");
  writeFileSync(
    config,
    `
partition-storage:
  - {name: one, driver: sqlite, config: {storage-dir: ${dir}/one}}
  - {name: two, driver: sqlite, config: {storage-dir: ${dir}/two}}
`,
  );
  const lines: string[] = [];
  const note = (_: unknown, text: string): void => void lines.push(text);
  const logger = { ...SILENT, info: note, warn: note, error: note } as unknown as typeof SILENT;
  return {
    dir,
    lines,
    start: () => setup(t, { config, memory: undefined as never }, { logger, wrapStorage: wrap }),
  };
}

async function filled({ start }: World): Promise<void> {
  const server = await start();
  await server.createQueue("q", { requested_partitions: 2 });
  await server.produce("q", "in one");
  await server.produce("q", "in two");
  await server.server.stop();
}

async function health(server: TestServer): Promise<[number, string, string | undefined]> {
  const response = await fetch(`${server.server.address}/health`);
  const body = (await response.json()) as {
    status: string;
    checks: { "queues:storage": [{ output?: string }] };
  };
  return [response.status, body.status, body.checks["queues:storage"][0].output];
}

const failures = async (server: TestServer): Promise<(number | undefined)[]> =>
  (await server.stats("q")).partitions.map((each: { failures?: number }) => each.failures);

const isBack = (server: TestServer) => async (): Promise<boolean> => {
  await server.advance("2s");
  return (await failures(server)).every((each) => each === undefined);
};

test("a storage that cannot be opened at the start is served as soon as it can", async (t) => {
  const it = world(t);
  await filled(it);
  renameSync(join(it.dir, "two"), join(it.dir, "elsewhere"));
  writeFileSync(join(it.dir, "two"), "no directory");

  const server = await it.start();
  assert.ok(it.lines.includes("storage cannot be opened, and is tried again"));
  const [one, two] = await failures(server);
  assert.equal(one, undefined);
  assert.ok(two! > 0);
  assert.deepEqual(await health(server), [200, "warn", "1 of 2 partitions are failing, in two"]);
  assert.deepEqual(payloads(await server.lease("q", 9)), ["in one"]);
  await server.produce("q", "goes to one as well");

  rmSync(join(it.dir, "two"));
  renameSync(join(it.dir, "elsewhere"), join(it.dir, "two"));
  await server.until(isBack(server));
  assert.deepEqual((await health(server)).slice(0, 2), [200, "pass"]);
  assert.deepEqual(payloads({ items: await server.list("q", "items", 1) }), ["in two"]);
});

test("a storage that is not mounted is not made anew", async (t) => {
  const it = world(t);
  await filled(it);
  renameSync(join(it.dir, "two"), join(it.dir, "elsewhere"));
  const server = await it.start();
  await server.createQueue("new", { requested_partitions: 2 });
  await server.produce("new", "a");
  await server.produce("new", "b");
  renameSync(join(it.dir, "elsewhere"), join(it.dir, "two"));
  await server.until(isBack(server));
  assert.deepEqual(payloads({ items: await server.list("q", "items", 1) }), ["in two"]);
});

test("a storage with other partitions than the records say is left alone", async (t) => {
  const it = world(t);
  await filled(it);
  const other = world(t);
  await filled(other);
  rmSync(join(it.dir, "two"), { recursive: true });
  renameSync(join(other.dir, "two"), join(it.dir, "two"));
  const server = await it.start();
  assert.ok(it.lines.includes("storage is left alone"));
  assert.ok((await failures(server))[1]! > 0);
  assert.deepEqual(payloads(await server.lease("q", 9)), ["in one"]);
  await server.server.stop();
  const db = new DatabaseSync(join(it.dir, "two", "querator.db"));
  assert.deepEqual({ ...db.prepare("SELECT count(*) AS n FROM items").get() }, { n: 1 });
  db.close();
});

test("a queue can be deleted while one of its storages is away; its rows go when that is back", async (t) => {
  const it = world(t);
  await filled(it);
  renameSync(join(it.dir, "two"), join(it.dir, "elsewhere"));
  const server = await it.start();
  await server.ok("queues.delete", { queue_name: "q" });
  await server.createQueue("q");
  await server.produce("q", "new");
  await server.server.stop();

  const again = await it.start();
  assert.deepEqual(payloads({ items: await again.list("q") }), ["new"]);
  renameSync(join(it.dir, "elsewhere"), join(it.dir, "two"));
  const rows = (): number => {
    const db = new DatabaseSync(join(it.dir, "two", "querator.db"), { readOnly: true });
    const { n } = db
      .prepare("SELECT (SELECT count(*) FROM items) + (SELECT count(*) FROM partitions) AS n")
      .get() as { n: number };
    db.close();
    return n;
  };
  assert.equal(rows(), 2);
  await again.until(async () => {
    await again.advance("2s");
    return rows() === 0;
  });
  assert.deepEqual(payloads(await again.lease("q", 9)), ["new"]);
});

test("a storage that fails later is said once, and once that it works again", async (t) => {
  const storages = new Map<string, FaultyStorage>();
  const it = world(t, (inner) => {
    const faulty = new FaultyStorage(inner);
    storages.set(inner.name, faulty);
    return faulty.storage;
  });
  const server = await it.start();
  await server.createQueue("q", { requested_partitions: 2 });
  const two = storages.get("two")!;
  two.always("commit", "fail");
  const produce = { queue_name: "q", request_timeout: "1m", items: [{ utf8: "x" }] };
  for (let i = 0; i < 4; i++) await server.call("queue.produce", produce);
  for (let i = 0; i < 5; i++) await server.advance("10s");
  await server.until(async () => (await failures(server))[1]! > 1);
  assert.deepEqual(
    it.lines.filter((line) => line.startsWith("partition")),
    ["partition is failing"],
  );
  two.heal();
  await server.until(isBack(server));
  assert.deepEqual(
    it.lines.filter((line) => line.startsWith("partition")),
    ["partition is failing", "partition works again"],
  );
});

test("without a storage for records there is no start", async (t) => {
  const it = world(t);
  writeFileSync(join(it.dir, "one"), "no directory");
  await assert.rejects(it.start(), /cannot open '.*one.querator\.db'/);
});
