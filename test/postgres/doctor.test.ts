// `querator doctor`, and the warnings of a start: each is provoked, and gone when its cause is.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { loadConfig } from "../../src/config/config.ts";
import { startServer } from "../../src/server/server.ts";
import { examineSqlite, type Finding } from "../../src/storage/doctor.ts";
import { examinePostgres, judge, type PostgresFacts } from "../../src/storage/postgres/doctor.ts";
import { migratePostgres } from "../../src/storage/postgres/postgres.ts";
import { targetOf } from "../../src/storage/postgres/target.ts";
import { queryOnce, startPostgres } from "../support/postgres.ts";
import { SILENT, setup, temporaryDirectory } from "../support/server.ts";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));

const postgres = await startPostgres({
  fsync: true,
  settings: {
    max_prepared_transactions: 2,
    hot_standby_feedback: "on",
    wal_receiver_status_interval: 1,
  },
});
after(() => postgres.stop());
await migratePostgres(target(postgres.url), "querator", false);

function target(url: string) {
  return targetOf(loadConfig({ postgres: url }, {}).queueStorage.postgres!);
}

/** What is not well, by check; transactions of any age count as old. */
async function complaints(url = postgres.url): Promise<Record<string, string>> {
  const options = { target: target(url), schema: "querator", oldMs: 0 };
  return asComplaints(await examinePostgres(options));
}

function asComplaints(findings: readonly Finding[]): Record<string, string> {
  return Object.fromEntries(
    findings.filter(({ status }) => status !== "ok").map(({ check, text }) => [check, text]),
  );
}

/** Sets it for the whole server; resolves when it holds. */
async function configure(name: string, value: string | undefined, shown: string): Promise<void> {
  const change = value === undefined ? `RESET ${name}` : `SET ${name} = '${value}'`;
  await postgres.query(`ALTER SYSTEM ${change}`);
  await postgres.query("SELECT pg_reload_conf()");
  const isSet = `SELECT 1 WHERE current_setting('${name}') = '${shown}'`;
  while ((await postgres.query(isSet)).length === 0);
}

function run(...args: string[]): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [COMMAND, "doctor", ...args], (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), out: stdout + stderr });
    });
  });
}

test("a server that is well: every check is ok, and the exit code is 0", async () => {
  const { code, out } = await run("--postgres", postgres.url);
  assert.equal(code, 0, out);
  assert.match(out, /^postgres-0: postgres:127\.0\.0\.1:\d+\/postgres\/querator$/m);
  assert.match(out, /^ {2}ok {7}version: PostgreSQL \d+/m);
  assert.match(out, /^ {2}ok {7}tables: served by nobody at present$/m);
  assert.doesNotMatch(out, /not-a-secret/);
});

test("a transaction that stays open", async () => {
  const client = new pg.Client({ connectionString: postgres.url, application_name: "report" });
  await client.connect();
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
  const text = (await complaints())["old transactions"]!;
  assert.match(
    text,
    /session \d+ \(postgres, "report", idle in transaction\) .*pg_terminate_backend/,
  );
  const { code, out } = await run("--postgres", postgres.url, "--old", "0s");
  assert.equal(code, 1);
  assert.match(out, /^ {2}warning {2}old transactions: session/m);
  await client.end();
  assert.deepEqual(await complaints(), {});
});

test("a transaction that was prepared and forgotten", async () => {
  await queryOnce(postgres.url, "CREATE TABLE prepared (n int)");
  await queryOnce(
    postgres.url,
    "BEGIN; INSERT INTO prepared VALUES (1); PREPARE TRANSACTION 'left'",
  );
  assert.match(
    (await complaints())["old transactions"]!,
    /"left" has been prepared .*ROLLBACK PREPARED/,
  );
  await queryOnce(postgres.url, "ROLLBACK PREPARED 'left'");
  assert.deepEqual(await complaints(), {});
});

test("standbys: asynchronous ones, one that is gone and pins an old state, a missing one", async () => {
  const standby = await postgres.startStandby({ isSynchronous: false });
  assert.match(
    (await complaints()).replication!,
    /follow asynchronously.*synchronous_standby_names/,
  );
  const there = "SELECT 1 FROM pg_replication_slots WHERE xmin IS NOT NULL";
  await standby.query("SELECT 1");
  while ((await postgres.query(there)).length === 0);
  assert.match((await complaints(standby.url)).primary!, /is a standby.*name the primary/);
  await standby.kill();
  while ((await postgres.query("SELECT 1 FROM pg_replication_slots WHERE active")).length > 0);
  const found = await complaints();
  assert.match(found["old transactions"]!, /slot "standby_1" holds an old state: drop it/);
  assert.match(found["replication slots"]!, /nobody reads from standby_1/);
  await postgres.query("SELECT pg_drop_replication_slot('standby_1')");
  await configure("synchronous_standby_names", "nowhere", "nowhere");
  assert.match((await complaints()).replication!, /no such standby is there: commits wait/);
  await configure("synchronous_standby_names", undefined, "");
  assert.deepEqual(await complaints(), {});
});

test("autovacuum that is off, for all or for a table", async () => {
  await configure("autovacuum", "off", "off");
  await queryOnce(postgres.url, "ALTER TABLE querator.leases SET (autovacuum_enabled = false)");
  assert.match((await complaints()).autovacuum!, /autovacuum is off: .*; .*is off for leases/);
  await configure("autovacuum", undefined, "on");
  await queryOnce(postgres.url, "ALTER TABLE querator.leases RESET (autovacuum_enabled)");
  assert.deepEqual(await complaints(), {});
});

test("commits that are not as durable as they seem", async () => {
  await configure("fsync", undefined, "on");
  await configure("full_page_writes", "off", "off");
  assert.match((await complaints()).durability!, /full_page_writes is off/);
  await configure("full_page_writes", undefined, "on");
  assert.deepEqual(await complaints(), {});
});

test("facts that cannot be provoked here: versions, fsync, poolers, a role that sees little", () => {
  const facts: PostgresFacts = {
    version: 130_023,
    isStandby: false,
    readOnly: "",
    settings: {
      fsync: "off",
      full_page_writes: "on",
      autovacuum: "on",
      track_counts: "off",
      commit: "off",
    },
    standbyNames: "",
    seesSessions: false,
    unvacuumed: [],
    pins: [],
    slots: [],
    standbys: { all: 0, synchronous: 0 },
  };
  const found = judge(facts);
  const { version, durability, autovacuum, ...rest } = asComplaints(found);
  assert.equal(version, "PostgreSQL 13 is too old: use 14 or later");
  assert.match(durability!, /fsync is off.*; synchronous_commit is off.*pooler/);
  assert.match(autovacuum!, /track_counts is off/);
  assert.deepEqual(rest, {});
  const old = found.find(({ check }) => check === "old transactions")!;
  assert.match(old.text, /sees no sessions of others: GRANT pg_monitor/);
});

test("what cannot be reached is one line, without the password", async () => {
  const url = "postgres://postgres:s3cret-word@127.0.0.1:1/postgres";
  const { code, out } = await run("--postgres", url);
  assert.equal(code, 1);
  assert.match(out, /^ {2}failed {3}connection: PostgreSQL at 127\.0\.0\.1:1.*ECONNREFUSED/m);
  assert.doesNotMatch(out, /s3cret|at .*\.ts/);
});

test("a start warns of it, a line each", async (t) => {
  await postgres.query("SELECT pg_create_physical_replication_slot('left_behind', true)");
  t.after(() => postgres.query("SELECT pg_drop_replication_slot('left_behind')"));
  const lines: string[] = [];
  const warn = (fields: { check?: string; reason?: string }, text: string): void =>
    void lines.push(`${text}: ${fields.check}: ${fields.reason}`);
  const logger = { ...SILENT, warn } as unknown as typeof SILENT;
  const server = await startServer({ postgres: postgres.url, address: "127.0.0.1:0" }, { logger });
  await server.stop();
  assert.equal(lines.length, 1, lines.join("\n"));
  assert.match(
    lines[0]!,
    /^storage needs attention: replication slots: nobody reads from left_behi/,
  );
});

// --- SQLite ---

test("SQLite: a file that is whole, also while a server runs; little room; a long log", async (t) => {
  const dir = temporaryDirectory(t);
  const server = await setup(t, { dataDir: dir });
  await server.createQueue("q");
  const { code, out } = await run("--data-dir", dir);
  if (code !== 0) assert.match(out, /warning {2}disk: \d+ MiB free: make room/);
  assert.match(out, /^ {2}ok {7}file: whole/m);
  const options = { dir, file: "querator.db" };
  const tight = asComplaints(examineSqlite({ ...options, freeBytesMin: 2 ** 60, logBytesMax: 0 }));
  assert.deepEqual(Object.keys(tight), ["disk", "log"]);
  await server.produce("q", "still works");
});

test("SQLite: a file that is damaged, and one that is not there", async (t) => {
  const dir = temporaryDirectory(t);
  const none = await run("--data-dir", dir);
  assert.equal(none.code, 1);
  assert.match(none.out, /warning {2}file: '.*querator\.db' is not there/);
  const server = await setup(t, { dataDir: dir });
  await server.createQueue("q");
  await server.server.stop();
  const fd = openSync(join(dir, "querator.db"), "r+");
  for (let page = 1; page < 12; page++)
    writeSync(fd, Buffer.alloc(2_000, 0x5a), 0, 2_000, page * 4_096);
  closeSync(fd);
  const { code, out } = await run("--data-dir", dir);
  assert.equal(code, 1);
  assert.match(out, /failed {3}file: (damaged|cannot be read)/);
});
