// A migration that cannot go on ends, in bounded time, with a line that says what to do.

import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { Connection } from "../../src/storage/postgres/connection.ts";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { MIGRATIONS, migrate } from "../../src/storage/postgres/schema.ts";
import { makeOldSchema } from "../support/old-storages.ts";
import { queryOnce, sharedPostgres, testDatabase } from "../support/postgres.ts";
import { StallingRelay } from "./stalling-relay.ts";

const timeouts = { connectMs: 5_000, statementMs: 400 };

const open = (connectionString: string) =>
  openPostgresStorage({
    name: "p",
    target: { connectionString },
    schema: "querator",
    connectionsMax: 2,
    timeouts,
  });

const LOCKED = /lock timeout; somebody holds a lock.*pg_locks/;

test("a migration waits for another one, but not for ever", async (t) => {
  const url = await testDatabase(t);
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("SELECT pg_advisory_lock(hashtext('querator querator'))");
  await assert.rejects(open(url), LOCKED);
  await other.end();
  await (await open(url)).close();
});

test("a migration that needs a table which somebody holds fails, changes nothing, and can be repeated", async (t) => {
  const url = await testDatabase(t);
  await makeOldSchema(url, 1);
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("BEGIN; LOCK TABLE querator.partitions IN ACCESS SHARE MODE");
  await assert.rejects(open(url), LOCKED);
  await other.end();
  const version = "SELECT max(version) FROM querator.migrations";
  assert.deepEqual(await queryOnce(url, version), [{ max: 1 }]);
  await (await open(url)).close();
  assert.deepEqual(await queryOnce(url, version), [{ max: MIGRATIONS.length }]);
});

test("a migration whose connection hangs is given up", async (t) => {
  const url = await testDatabase(t);
  const relay = await StallingRelay.start(t, Number(new URL(await sharedPostgres()).port));
  const connection = new Connection({
    target: { connectionString: relay.through(url) },
    schema: "querator",
    applicationName: "test",
    timeouts,
  });
  t.after(() => connection.close());
  await migrate(connection, "querator");
  relay.hold();
  await assert.rejects(connection.script("SELECT 1"), /no answer after 500 ms/);
  relay.letGo();
  await connection.script("SELECT 1");
});
