// What `migrate` does to files of an earlier version, and says of others.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { MIGRATIONS } from "../../src/storage/sqlite/migrations.ts";
import { makeOldFile } from "../support/old-storages.ts";
import { payloads, setup as setupServer, temporaryDirectory } from "../support/server.ts";
import { setup } from "./setup.ts";

test("migrate shows what it would do to a file, then does it, and then there is nothing to do", async (t) => {
  const cli = await setup(t);
  const dir = temporaryDirectory(t);
  const path = makeOldFile(dir, 2, "sqlite-2");
  const before = readFileSync(path);
  const args = ["migrate", "--data-dir", dir];
  const sql = await cli.ok([...args, "--dry-run"]);
  assert.ok(sql.startsWith(`-- sqlite:${path}\n`), sql.slice(0, 200));
  assert.match(sql, /CREATE TABLE keys[\s\S]*PRAGMA user_version = \d+;\n$/);
  assert.doesNotMatch(sql, /CREATE TABLE queues/);
  assert.deepEqual(readFileSync(path), before);
  assert.equal(await cli.ok(args), `-- sqlite:${path}: up to date now\n`);
  assert.equal(await cli.ok([...args, "--dry-run"]), `-- sqlite:${path}: nothing to do\n`);
  const server = await setupServer(t, { dataDir: dir });
  assert.equal(payloads(await server.lease("dead", 9)).length, 2);
});

test("migrate shows and does what is left to do to a file of the version before", async (t) => {
  const cli = await setup(t);
  const dir = temporaryDirectory(t);
  makeOldFile(dir, 3, "sqlite-3");
  const args = ["migrate", "--data-dir", dir];
  const sql = await cli.ok([...args, "--dry-run"]);
  assert.match(sql, /ADD COLUMN counts[\s\S]*PRAGMA user_version = \d+;\n$/);
  assert.doesNotMatch(sql, /CREATE TABLE/);
  await cli.ok(args);
  assert.match(await cli.ok([...args, "--dry-run"]), /: nothing to do\n$/);
});

test("migrate makes no file, and refuses one of a later version", async (t) => {
  const cli = await setup(t);
  const dir = temporaryDirectory(t);
  const path = join(dir, "querator.db");
  assert.equal(await cli.ok(["migrate", "--data-dir", dir]), `-- sqlite:${path}: nothing to do\n`);
  makeOldFile(dir, 1);
  const db = new DatabaseSync(path);
  db.exec("PRAGMA user_version = 99");
  db.close();
  for (const more of [[], ["--dry-run"]]) {
    const { code, stderr } = await cli.run(["migrate", "--data-dir", dir, ...more]);
    assert.equal(code, 1);
    const known = MIGRATIONS.length;
    const said = `was written by a later version of querator (schema 99, this one knows ${known})`;
    assert.ok(stderr.includes(said), stderr);
  }
});
