// PostgreSQL on the same machine, reached through the file of a Unix socket, in every way that a user
// may name it.

import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { PASSWORD } from "../support/postgres-binaries.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { ServerNode } from "./node.ts";

describe("a Unix socket", { skip: process.platform === "win32" }, () => {
  let directory: string;
  let postgres: Postgres;
  before(async () => {
    directory = makeScratch();
    chmodSync(directory, 0o777); // PostgreSQL may run as somebody else
    postgres = await startPostgres({ settings: { unix_socket_directories: directory } });
  });
  after(async () => {
    await postgres.stop();
    removeScratch(directory);
  });

  const user = `postgres:${PASSWORD}`;
  const encoded = (): string => directory.replaceAll("/", "%2F");
  const ways: Readonly<Record<string, () => string>> = {
    "a host among the parameters": () =>
      `postgres://${user}@/postgres?host=${directory}&port=${postgres.port}`,
    "a host among the parameters beside another": () =>
      `postgres://${user}@localhost:${postgres.port}/postgres?host=${encoded()}`,
    "an encoded host": () => `postgresql://${user}@${encoded()}:${postgres.port}/postgres`,
    "a user among the parameters, and TLS asked for": () =>
      `postgres:///postgres?host=${directory}&port=${postgres.port}&user=postgres&password=${PASSWORD}&sslmode=verify-full`,
  };
  for (const [way, url] of Object.entries(ways)) {
    test(`is used for ${way}`, async (t) => {
      const node = new ServerNode(t, url());
      await node.said('"address"');
      const place = `postgres:${directory}:${postgres.port}/postgres/querator`;
      assert.ok(node.lines.join("\n").includes(place), node.lines.join("\n"));
      assert.ok(!node.lines.join("\n").includes(PASSWORD));
      const { status } = await node.call("queues.list", {});
      assert.equal(status, 200);
      await node.end("SIGTERM");
    });
  }

  test("is used for the variables of the environment", async (t) => {
    const node = new ServerNode(t, "env", [], {
      PGHOST: directory,
      PGPORT: String(postgres.port),
      PGUSER: "postgres",
      PGPASSWORD: PASSWORD,
    });
    await node.said('"address"');
    assert.equal((await node.call("queues.list", {})).status, 200);
    await node.end("SIGTERM");
  });

  test("that nobody listens on is named", async (t) => {
    const node = new ServerNode(t, `postgres://${user}@/postgres?host=${directory}/none&port=1`);
    await assert.rejects(node.said('"address"'), (error: Error) => {
      assert.match(error.message, new RegExp(`PostgreSQL at ${directory}/none:1/postgres: `));
      assert.ok(!error.message.includes(PASSWORD));
      return true;
    });
  });
});
