// How a server reaches PostgreSQL: through a Unix socket, in every way that a user may name it, and
// with a password from wherever PostgreSQL's own programs take it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { PASSWORD } from "../support/postgres-binaries.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { temporaryDirectory } from "../support/server.ts";
import { ServerNode } from "./node.ts";

const hasSockets = process.platform !== "win32";

// One of its own: it asks for passwords, and has a socket.
let directory: string;
let postgres: Postgres;
before(async () => {
  directory = makeScratch();
  chmodSync(directory, 0o777); // PostgreSQL may run as somebody else
  const settings = hasSockets ? { unix_socket_directories: directory } : {};
  postgres = await startPostgres({ settings });
});
after(async () => {
  await postgres.stop();
  removeScratch(directory);
});

describe("a Unix socket", { skip: !hasSockets }, () => {
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
      assert.match(error.message, /is it running, and does its socket lie in that directory\?/);
      assert.ok(!error.message.includes(PASSWORD));
      return true;
    });
  });
});

test("a server that accepts connections and then says nothing is named, with what to look for", async (t) => {
  const mute = createServer(() => undefined).listen(0, "127.0.0.1");
  await once(mute, "listening");
  t.after(() => mute.close());
  const { port } = mute.address() as AddressInfo;
  const node = new ServerNode(t, `postgres://u:p@127.0.0.1:${port}/d?connect-timeout=200ms`);
  await assert.rejects(node.said('"address"'), (error: Error) => {
    const text = "timeout expired; nothing came within connect-timeout: is it reachable";
    assert.ok(error.message.includes(`PostgreSQL at 127.0.0.1:${port}/d: ${text}`), error.message);
    return true;
  });
});

describe("a password", () => {
  test("is taken from a file or from the environment if the URL has none", async (t) => {
    const url = new URL(postgres.url);
    const { password, username, port } = url;
    url.password = "";
    const PGPASSFILE = join(temporaryDirectory(t), "passwords");
    writeFileSync(PGPASSFILE, `*:${port}:*:${username}:${password}\n`, { mode: 0o600 });
    for (const env of [{ PGPASSFILE }, { PGPASSWORD: password }]) {
      const node = new ServerNode(t, url.href, [], env);
      await node.said('"address"');
      await node.end("SIGTERM");
      assert.doesNotMatch(node.lines.join("\n"), /[Dd]eprecat/);
    }
  });

  test("that is missing is asked for, and says where it may be put", async (t) => {
    const url = new URL(postgres.url);
    url.password = "";
    const node = new ServerNode(t, url.href, [], {
      PGPASSFILE: join(temporaryDirectory(t), "none"),
    });
    await assert.rejects(node.said('"address"'), (error: Error) => {
      const place = `PostgreSQL at ${url.hostname}:${url.port}${url.pathname}`;
      const text = "it asks for a password and none is given; put it into the URL, PGPASSWORD or";
      assert.ok(error.message.includes(`${place}: ${text}`), error.message);
      return true;
    });
  });
});
