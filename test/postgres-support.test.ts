// PostgreSQL as tests use it: what the proofs of the driver `postgres` rest on.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import pg from "pg";
import {
  createDatabase,
  type Postgres,
  queryOnce,
  startPostgres,
  testDatabase,
} from "./support/postgres.ts";

const SUPPORT = new URL("support/postgres.ts", import.meta.url).href;

describe("PostgreSQL for tests", { concurrency: true }, () => {
  test("keeps what is committed when it is restarted and when it is killed", async () => {
    const server = await startPostgres();
    try {
      const { url } = await server.createDatabase();
      await queryOnce(url, "CREATE TABLE kept (n int)");
      await queryOnce(url, "INSERT INTO kept VALUES (1)");
      const { port } = server;
      await server.restart();
      await queryOnce(url, "INSERT INTO kept VALUES (2)");
      const open = queryOnce(url, "SELECT pg_sleep(600)");
      const broken = assert.rejects(open);
      await server.kill();
      await broken;
      await server.restart();
      assert.equal(server.port, port);
      assert.deepEqual(await queryOnce(url, "SELECT n FROM kept ORDER BY n"), [{ n: 1 }, { n: 2 }]);
    } finally {
      await server.stop();
    }
    assert.equal(existsSync(server.directory), false);
  });

  test("hangs while it is paused", async () => {
    const server = await startPostgres();
    try {
      const client = new pg.Client({ connectionString: server.url, query_timeout: 100 });
      await client.connect();
      server.pause();
      await assert.rejects(client.query("SELECT 1"), /timeout/);
      const late = queryOnce(server.url, "SELECT 7 AS n");
      server.resume();
      assert.deepEqual(await late, [{ n: 7 }]);
      await client.end();
    } finally {
      await server.stop();
    }
  });

  test("has a synchronous standby that holds every commit when it is promoted", async () => {
    const primary = await startPostgres();
    let promoted: Postgres | undefined;
    try {
      await primary.query("CREATE TABLE kept (n int)");
      const standby = await primary.startStandby();
      await primary.query("INSERT INTO kept VALUES (1)");
      await assert.rejects(standby.query("INSERT INTO kept VALUES (2)"), /read-only transaction/);
      await primary.kill();
      await standby.promote();
      promoted = standby;
      await primary.stop();
      await standby.query("INSERT INTO kept VALUES (3)");
      const kept = await standby.query("SELECT n FROM kept ORDER BY n");
      assert.deepEqual(kept, [{ n: 1 }, { n: 3 }]);
    } finally {
      await primary.stop();
      await promoted?.stop();
    }
  });

  test("gives each test an empty database", async (t) => {
    const urls = await Promise.all([testDatabase(t), testDatabase(t)]);
    assert.notEqual(urls[0], urls[1]);
    for (const url of urls) await queryOnce(url, "CREATE TABLE kept (n int)");
    const { url, drop } = await createDatabase(urls[0]!);
    await drop();
    await assert.rejects(queryOnce(url, "SELECT 1"), /does not exist/);
  });

  for (const end of ["stop", "kill"]) {
    test(`keeps a program that waits for its ${end} running until its log is closed`, async () => {
      // What outlives the server, and holds its log open.
      const leftOver = "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; sleep 1 &'";
      const script = `const { startPostgres } = await import(${JSON.stringify(SUPPORT)});
        const server = await startPostgres();
        await server.query(${JSON.stringify(leftOver)});
        await server.${end}();
        console.log("ended");
        await server.stop();`;
      const program = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const lines = createInterface({ input: program.stdout });
      const said: string[] = [];
      lines.on("line", (line) => said.push(line));
      const [code] = (await once(program, "close")) as [number];
      assert.deepEqual([said, code], [["ended"], 0]);
    });
  }

  test("does not outlive a program that is killed", async () => {
    const script = `const { startPostgres } = await import(${JSON.stringify(SUPPORT)});
      const { pid, directory } = await startPostgres();
      console.log(JSON.stringify({ pid, directory }));
      setInterval(() => undefined, 1_000);`;
    const program = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface({ input: program.stdout }), "line")) as [string];
    const { pid, directory } = JSON.parse(line) as { pid: number; directory: string };
    assert.doesNotThrow(() => process.kill(pid, 0));
    program.kill("SIGKILL");
    while (existsSync(directory)) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.throws(() => process.kill(pid, 0));
  });
});
