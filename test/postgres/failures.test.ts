// What is wrong with PostgreSQL, or the way to it, is one clear line at the start; later it makes
// partitions fail until it is right again. Passwords are nowhere.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { loadConfig } from "../../src/config/config.ts";
import { startServer } from "../../src/server/server.ts";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { targetOf } from "../../src/storage/postgres/target.ts";
import { NEW_COUNTERS } from "../../src/storage/storage.ts";
import { changes, item } from "../conformance/storage.ts";
import { queryOnce, startPostgres } from "../support/postgres.ts";
import { payloads, SILENT, TestServer } from "../support/server.ts";

const postgres = await startPostgres();
after(() => postgres.stop());

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
const secret = "s3cret-word";
const at = (user: string, database: string, port = postgres.port): string =>
  `postgres://${user}:${secret}@127.0.0.1:${port}/${database}`;

const open = (url: string) => {
  const { postgres: found } = loadConfig({ postgres: url }, {}).queueStorage;
  return openPostgresStorage({
    name: "p",
    target: targetOf(found!),
    schema: found!.schema,
    connectionsMax: 2,
  });
};

const REFUSALS = [
  ["a wrong password", at("postgres", "postgres"), /password authentication failed.*check user/],
  ["a port where nothing listens", at("postgres", "postgres", 1), /ECONNREFUSED.*is it running/],
] as const;

for (const [what, url, message] of REFUSALS) {
  test(`${what} is one line at the start`, async () => {
    await assert.rejects(
      startServer({ postgres: url, address: "127.0.0.1:0" }, { logger: SILENT }),
      (error) => {
        const text = (error as Error).message;
        assert.match(text, message);
        assert.ok(!text.includes(secret) && !text.includes("\n"), text);
        return true;
      },
    );
  });
}

test("a database that is not there is named, with what to do", async () => {
  const url = postgres.url.replace(/postgres$/, "nowhere");
  await assert.rejects(open(url), /database "nowhere" does not exist; create the database/);
});

test("a schema of a later version is refused", async () => {
  const { url, drop } = await postgres.createDatabase();
  await (await open(url)).close();
  await queryOnce(url, "INSERT INTO querator.migrations (version) VALUES (99)");
  await assert.rejects(open(url), /written by a later version of Querator \(tables of version 99/);
  await drop();
});

test("a role with the documented privileges makes the tables and serves", async () => {
  const { url, drop } = await postgres.createDatabase();
  const name = new URL(url).pathname.slice(1);
  await queryOnce(url, `CREATE ROLE plain LOGIN PASSWORD '${secret}'`);
  await queryOnce(url, `REVOKE CREATE ON DATABASE ${name} FROM PUBLIC`);
  await assert.rejects(open(at("plain", name)), /permission denied.*POSTGRESQL\.md/);
  await queryOnce(url, "CREATE SCHEMA querator AUTHORIZATION plain");
  const storage = await open(at("plain", name));
  const made = { queue: "q", number: 0, idPrefix: "p".repeat(18), createdAt: 1 };
  const [key] = await storage.createPartitions([made]);
  await storage.commit([changes(key!, { adds: [item(1)] })]);
  await storage.close();
  await drop();
});

test("a restart of PostgreSQL fails requests with 454, and nothing that was acknowledged", async (t) => {
  const { url } = await postgres.createDatabase();
  const server = new TestServer(
    await startServer({ postgres: url, address: "127.0.0.1:0" }, { logger: SILENT }),
  );
  t.after(() => server.server.stop());
  await server.createQueue("q");
  await server.produce("q", "before");
  await postgres.kill();
  const refused = await server.call("queue.produce", {
    queue_name: "q",
    request_timeout: "5s",
    items: [{ utf8: "meanwhile" }],
  });
  assert.equal(refused.status, 454);
  assert.equal((await fetch(`${server.server.address}/health`)).status, 503);
  await postgres.start();
  for (;;) {
    const { status } = await server.call("queue.produce", {
      queue_name: "q",
      request_timeout: "5s",
      items: [{ utf8: "after" }],
    });
    if (status === 200) break;
    assert.equal(status, 454);
  }
  const leased = payloads(await server.lease("q", 10));
  assert.deepEqual(leased, ["before", "after"]);
});

test("migrate --dry-run prints SQL that makes the tables, and makes none", async () => {
  const { url, drop } = await postgres.createDatabase();
  const run = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)(process.execPath, [COMMAND, "migrate", "--postgres", url, ...args]))
      .stdout;
  const sql = await run("--dry-run");
  assert.match(sql, /CREATE SCHEMA "querator";/);
  const made = "SELECT 1 FROM pg_namespace WHERE nspname = 'querator'";
  assert.deepEqual(await queryOnce(url, made), []);
  await queryOnce(url, `BEGIN; ${sql} COMMIT`);
  assert.match(await run(), /nothing to do/);
  await (await open(url)).close();
  await drop();
});

test("a table of partitions that was rewritten behind its back stops no commit", async () => {
  const { url, drop } = await postgres.createDatabase();
  const storage = await open(url);
  const made = ["a", "b"].map((queue, number) => ({
    queue,
    number,
    idPrefix: queue.repeat(18),
    createdAt: 1,
  }));
  const [key, other] = await storage.createPartitions(made);
  const counters = { ...NEW_COUNTERS, tail: 2, total: 1 };
  await storage.commit([changes(key!, { counters, adds: [item(1)] })]);
  await queryOnce(url, `DELETE FROM querator.partitions WHERE key = ${other}`);
  await queryOnce(url, "VACUUM FULL querator.partitions");
  const places = "SELECT ctid::text FROM querator.partitions";
  assert.deepEqual(await queryOnce(url, places), [{ ctid: "(0,1)" }]);
  await storage.commit([changes(key!, { counters: { ...counters, tail: 3 }, adds: [item(2)] })]);
  assert.equal((await storage.loadPartition(key!)).counters.tail, 3);
  await storage.close();
  await drop();
});
