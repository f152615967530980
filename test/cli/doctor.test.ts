// What `doctor` says of data directories, beside a server that runs or without one.

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../support/server.ts";
import { type Cli, setup } from "./setup.ts";

/** A directory that a server with two threads has used, and that lies still. */
async function used(t: TestContext): Promise<{ readonly cli: Cli; readonly dir: string }> {
  const dir = temporaryDirectory(t);
  const cli = await setup(t, { dataDir: dir, threads: 2 });
  await cli.server.createQueue("two", { requested_partitions: 2 });
  await cli.server.server.stop();
  return { cli, dir };
}

test("doctor looks at the files of all threads, as many as there were", async (t) => {
  const { cli, dir } = await used(t);
  const well = await cli.ok(["doctor", "--data-dir", dir]);
  assert.match(well, /^sqlite-0: .*\n {2}ok +file: whole/);
  assert.match(well, /^sqlite-1: .*\n {2}ok +file: whole/m);
  const file = join(dir, "querator-1.db");
  writeFileSync(file, "nothing that SQLite has written");
  const damaged = await cli.run(["doctor", "--data-dir", dir]);
  assert.equal(damaged.code, 1);
  assert.match(
    damaged.stdout,
    /^sqlite-1: .*\n {2}failed +file: cannot be read \(file is not a data/m,
  );
});

test("doctor tells that a file is gone in which queues have partitions", async (t) => {
  const { cli, dir } = await used(t);
  for (const name of ["querator-1.db", "querator-1.lock"]) rmSync(join(dir, name));
  const { code, stdout } = await cli.run(["doctor", "--data-dir", dir]);
  assert.equal(code, 1);
  assert.match(
    stdout,
    /\n {2}failed +file: '.*querator-1\.db' is not there, but queues have partitions in it: mount /,
  );
});

test("doctor tells a file that is gone from one that never was", async (t) => {
  const { cli, dir } = await used(t);
  rmSync(join(dir, "querator.db"));
  const { code, stdout } = await cli.run(["doctor", "--data-dir", dir]);
  assert.equal(code, 1);
  assert.match(
    stdout,
    /failed +file: '.*querator\.db' is not there, but there was data in it: rest/,
  );
  const never = await cli.run(["doctor", "--data-dir", join(dir, "never")]);
  assert.equal(never.code, 1);
  assert.match(never.stdout, /warning +file: '.*querator\.db' is not there: no server has used it/);
});
