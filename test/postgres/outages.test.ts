// PostgreSQL fails in the midst of work: requests are answered 454 within the time-outs, all that was
// acknowledged stays, nothing is doubled, and everything works again by itself.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import pg from "pg";
import { loadConfig } from "../../src/config/config.ts";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { targetOf } from "../../src/storage/postgres/target.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { changes, item } from "../conformance/storage.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { payloads, SILENT, setup, type TestServer, temporaryDirectory } from "../support/server.ts";
import { StallingRelay } from "./stalling-relay.ts";

const postgres = await startPostgres();
after(() => postgres.stop());

let schemas = 0;

/** A schema of the test's own, with time-outs that are soon over. */
function place(base = postgres.url): { url: string; schema: string } {
  const url = new URL(base);
  const schema = `s${++schemas}`;
  url.searchParams.set("schema", schema);
  url.searchParams.set("connect-timeout", "600ms");
  url.searchParams.set("statement-timeout", "600ms");
  return { url: url.href, schema };
}

const produce = (server: TestServer, utf8: string) =>
  server.call("queue.produce", { queue_name: "q", request_timeout: "1m", items: [{ utf8 }] });

/** Produces until it is answered 200; everything before must be a 454. */
async function producedAtLast(server: TestServer, utf8: string): Promise<void> {
  await server.until(async () => {
    const { status } = await produce(server, utf8);
    if (status !== 200) assert.equal(status, 454);
    return status === 200;
  });
}

async function health(server: TestServer): Promise<[number, string]> {
  const reply = await fetch(`${server.server.address}/health`);
  return [reply.status, await reply.text()];
}

async function listed(server: TestServer): Promise<string[]> {
  return payloads({ items: await server.list("q") });
}

// --- connections that hang ---

const HANGS: readonly [string, (t: TestContext) => Promise<[string, () => void, () => void]>][] = [
  [
    "a PostgreSQL that is paused",
    async () => [postgres.url, () => postgres.pause(), () => postgres.resume()],
  ],
  [
    "a network that swallows every answer",
    async (t) => {
      const relay = await StallingRelay.start(t, postgres.port);
      return [relay.through(postgres.url), () => relay.hold(), () => relay.letGo()];
    },
  ],
];

for (const [what, prepare] of HANGS) {
  test(`${what}: 454 within the time-outs, then it works again by itself`, async (t) => {
    const [base, hang, goOn] = await prepare(t);
    t.after(goOn);
    const server = await setup(t, { postgres: place(base).url });
    await server.createQueue("q");
    await server.produce("q", "before");
    hang();
    assert.equal((await produce(server, "unknown")).status, 454);
    assert.equal((await health(server))[0], 503);
    assert.equal((await produce(server, "refused")).status, 454);
    const { failures } = await server.stats("q");
    assert.ok(failures > 0);
    goOn();
    await producedAtLast(server, "after");
    const items = await listed(server);
    // Of what was answered 454 at most one each is there, and only what PostgreSQL had been sent.
    assert.deepEqual(
      items.filter((each) => each !== "unknown" && each !== "refused"),
      ["before", "after"],
    );
    assert.equal(new Set(items).size, items.length);
    assert.equal((await server.stats("q")).failures, undefined);
    assert.equal((await health(server))[0], 200);
  });
}

test("a commit whose answer is lost is found out about: its items are there once", async (t) => {
  const relay = await StallingRelay.start(t, postgres.port);
  const server = await setup(t, { postgres: place(relay.through(postgres.url)).url });
  await server.createQueue("q");
  await server.produce("q", "before");
  relay.hold();
  assert.equal((await produce(server, "unknown")).status, 454);
  relay.letGo();
  await producedAtLast(server, "after");
  assert.deepEqual(await listed(server), ["before", "unknown", "after"]);
  assert.deepEqual(payloads(await server.lease("q", 10)), ["before", "unknown", "after"]);
});

// --- statements that fail ---

test("a lock that somebody else holds: 454, and all others are served", async (t) => {
  const { url, schema } = place();
  const server = await setup(t, { postgres: url });
  await server.createQueue("q");
  const other = new pg.Client({ connectionString: postgres.url });
  await other.connect();
  await other.query(`BEGIN; LOCK TABLE ${schema}.items IN ACCESS EXCLUSIVE MODE`);
  assert.equal((await produce(server, "refused")).status, 454);
  assert.ok((await server.stats("q")).failures > 0);
  assert.match((await health(server))[1], /1 of 1 partitions are failing, in postgres-0/);
  await other.query("ROLLBACK");
  await other.end();
  await producedAtLast(server, "after");
  assert.deepEqual(await listed(server), ["after"]);
});

const REFUSED = [
  ["a serialisation failure", "40001"],
  ["a deadlock", "40P01"],
  ["a statement that takes too long", "57014"],
  ["a disk that is full", "53100"],
  ["a server that shuts down", "57P01"],
] as const;

for (const [what, code] of REFUSED) {
  test(`${what} (${code}) is answered 454, and leaves nothing behind`, async (t) => {
    const { url, schema } = place();
    const lines: string[] = [];
    const note = (fields: unknown, text: string): void =>
      void lines.push(`${text}: ${(fields as { err?: Error }).err?.message}`);
    const logger = { ...SILENT, warn: note, error: note } as unknown as typeof SILENT;
    const server = await setup(t, { postgres: url }, { logger });
    await server.createQueue("q");
    await server.produce("q", "before");
    await postgres.query(`CREATE FUNCTION ${schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '${code}'; END $$`);
    await postgres.query(`CREATE TRIGGER refuse BEFORE INSERT ON ${schema}.items
      EXECUTE FUNCTION ${schema}.refuse()`);
    assert.equal((await produce(server, "refused")).status, 454);
    assert.deepEqual(await listed(server), ["before"]);
    await postgres.query(`DROP TRIGGER refuse ON ${schema}.items`);
    await producedAtLast(server, "after");
    assert.deepEqual(await listed(server), ["before", "after"]);
    assert.match(lines.join("\n"), /partition is failing: PostgreSQL at .*refused by the test/);
  });
}

test("a disk that is full is answered 454, said with what to do, and works with space", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("only root can mount a small disk");
  const disk = mkdtempSync(join(tmpdir(), "querator-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], { stdio: "pipe" });
  } catch {
    rmSync(disk, { recursive: true });
    return t.skip("a small disk cannot be mounted here");
  }
  let small: Postgres | undefined;
  try {
    small = await startPostgres();
    const { uid, gid } = statSync(small.dataDirectory);
    chownSync(disk, uid, gid);
    await small.query(`CREATE TABLESPACE small LOCATION '${disk}'`);
    await small.query("CREATE DATABASE small TABLESPACE small");
    const { url } = place(small.url.replace(/postgres$/, "small"));
    const lines: string[] = [];
    const note = (fields: unknown): void =>
      void lines.push(String((fields as { err?: Error }).err?.message));
    const logger = { ...SILENT, warn: note, error: note } as unknown as typeof SILENT;
    const server = await setup(t, { postgres: url }, { logger });
    await server.createQueue("q");
    const big = "x".repeat(1_000_000);
    let kept = 0;
    for (;;) {
      const { status } = await produce(server, big);
      if (status === 454) break;
      kept++;
      assert.ok(status === 200 && kept < 100);
    }
    assert.match(
      lines.join("\n"),
      /could not extend file .*; free space on the disk of PostgreSQL/,
    );
    execFileSync("mount", ["-o", "remount,size=200m", disk]);
    await producedAtLast(server, "after");
    assert.equal((await server.stats("q")).total, kept + 1);
    await server.server.stop();
  } finally {
    await small?.stop();
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  }
});

// --- sessions that hang in the midst of a commit ---

function open(url: string): Promise<Storage> {
  const { postgres: found } = loadConfig({ postgres: url }, {}).queueStorage;
  const { connectMs, statementMs, schema, maxConns } = found!;
  const timeouts = { connectMs, statementMs };
  return openPostgresStorage({
    name: "p",
    target: targetOf(found!),
    schema,
    connectionsMax: maxConns,
    timeouts,
  });
}

/** A session that has begun a commit, and of which nothing more is heard. */
async function hangingCommit(schema: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: postgres.url });
  client.on("error", () => undefined); // it is ended by the storage
  await client.connect();
  await client.query(`SET search_path = ${schema}; BEGIN; SELECT fence(epoch, term) FROM owner`);
  return client;
}

const isEnded = async (client: pg.Client): Promise<boolean> =>
  client.query("SELECT 1").then(
    () => false,
    () => true,
  );

test("a take-over ends the session of an owner that hangs in the midst of a commit", async () => {
  const { url, schema } = place();
  const first = await open(url);
  await first.close();
  const hanging = await hangingCommit(schema);
  const second = await open(url);
  assert.ok(await isEnded(hanging));
  const made = { queue: "q", number: 0, idPrefix: "p".repeat(18), createdAt: 1 };
  assert.deepEqual((await second.createPartitions([made])).length, 1);
  await second.close();
});

test("what became of a commit is settled although a session hangs with its lock", async () => {
  const { url, schema } = place();
  const storage = await open(url);
  const made = { queue: "q", number: 0, idPrefix: "p".repeat(18), createdAt: 1 };
  const [key] = await storage.createPartitions([made]);
  const hanging = await hangingCommit(schema);
  // The connection of the commit is ended while it waits for a lock: nobody knows what became of it.
  await hanging.query("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
  const failed = assert.rejects(
    storage.commit([changes(key!, { adds: [item(1)] })]),
    /57P01|termin/,
  );
  for (;;) {
    const [row] = await postgres.query(
      `SELECT count(pg_terminate_backend(pid))::int AS n FROM pg_locks
        WHERE relation = '${schema}.items'::regclass AND NOT granted`,
    );
    if (row!.n === 1) break;
  }
  await failed;
  const { counters } = await storage.loadPartition(key!);
  assert.equal(counters.tail, 1);
  assert.ok(await isEnded(hanging));
  await storage.commit([changes(key!, { adds: [item(1)] })]);
  await storage.close();
});

test("a database whose transactions see an old state by default lets no old owner write", async () => {
  const { url: base, drop } = await postgres.createDatabase();
  const name = new URL(base).pathname.slice(1);
  await postgres.query(
    `ALTER DATABASE ${name} SET default_transaction_isolation = 'repeatable read'`,
  );
  const { url, schema } = place(base);
  const storage = await open(url);
  const made = { queue: "q", number: 0, idPrefix: "p".repeat(18), createdAt: 1 };
  const [key] = await storage.createPartitions([made]);
  const other = new pg.Client({ connectionString: base });
  await other.connect();
  // What a take-over does, held up before its end.
  await other.query(`SET search_path = ${schema}; BEGIN ISOLATION LEVEL READ COMMITTED;
    SELECT pg_advisory_xact_lock('owner'::regclass::oid::int, 1); UPDATE owner SET epoch = epoch + 1`);
  const late = assert.rejects(
    storage.commit([changes(key!, { adds: [item(1)] })]),
    /another server owns the data now/,
  );
  const waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
  while ((await postgres.query(waits)).length === 0);
  await other.query("COMMIT");
  await late;
  assert.deepEqual((await other.query("SELECT * FROM items")).rows, []);
  await other.end();
  await storage.close();
  await drop();
});

// --- beside other storages ---

test("beside SQLite: a PostgreSQL that is away at the start, comes, and goes degrades its partitions only", async (t) => {
  const own = await startPostgres();
  t.after(() => own.stop());
  await own.kill();
  const dir = temporaryDirectory(t);
  const config = join(dir, "querator.yaml");
  const { url } = place(own.url);
  writeFileSync(
    config,
    `
partition-storage:
  - {name: disk, driver: sqlite, config: {storage-dir: ${dir}/disk}}
  - {name: database, driver: Postgres, config: {connection-string: "${url}"}}
`,
  );
  const server = await setup(t, { config, memory: undefined as never });
  await server.createQueue("only-disk");
  await server.produce("only-disk", "a");
  await own.start();
  await server.until(async () => {
    await server.advance("2s");
    const made = { queue_name: "q", lease_timeout: "1m", expire_timeout: "24h" };
    const { status } = await server.call("queues.create", { ...made, requested_partitions: 2 });
    if (status !== 200) return false;
    const { partitions } = await server.stats("q");
    const isSpread = (await server.ok("queues.info", { queue_name: "q" })).requested_partitions;
    assert.deepEqual([partitions.length, isSpread], [2, 2]);
    if ((await totalsIn(own)) === 1) return true;
    await server.ok("queues.delete", { queue_name: "q" });
    return false;
  });
  await server.produce("q", "in sqlite");
  await server.produce("q", "in postgres");
  await own.kill();
  for (let i = 0; i < 20; i++) {
    const { status } = await produce(server, `more ${i}`);
    assert.ok(status === 200 || status === 454);
  }
  await server.produce("only-disk", "b");
  const { partitions } = await server.stats("q");
  assert.deepEqual(
    partitions.map((each: { failures?: number }) => (each.failures ?? 0) > 0),
    [false, true],
  );
  const [status, body] = await health(server);
  assert.equal(status, 200);
  assert.match(body, /"status":"warn".*1 of 3 partitions are failing, in database/);
  await own.start();
  await server.until(async () => {
    await server.advance("2s");
    return (await server.stats("q")).partitions[1].failures === undefined;
  });
  assert.equal(payloads({ items: await server.list("q", "items", 1) })[0], "in postgres");
  assert.match((await health(server))[1], /^{"status":"pass"/);
  await server.server.stop();

  async function totalsIn(database: Postgres): Promise<number> {
    const schema = new URL(url).searchParams.get("schema");
    const [row] = await database.query(
      `SELECT count(*)::int AS n FROM ${schema}.partitions WHERE NOT dropped`,
    );
    return row!.n as number;
  }
});
