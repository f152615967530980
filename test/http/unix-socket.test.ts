// A server at a Unix socket, and one that tells its state at an address of its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { QueratorClient } from "@querator/client";
import type { ServerOptions } from "../../src/config/config.ts";
import { type RunningServer, startServer } from "../../src/server/server.ts";
import { SILENT, temporaryDirectory } from "../support/server.ts";

async function start(t: TestContext, options: ServerOptions): Promise<RunningServer> {
  const server = await startServer({ memory: true, ...options }, { logger: SILENT });
  t.after(() => server.stop());
  return server;
}

async function works(t: TestContext, server: RunningServer): Promise<void> {
  const client = new QueratorClient({ url: server.address });
  t.after(() => client.close());
  await client.queues.create({ queueName: "jobs" });
  await client.produce("jobs", { payload: "through a file" });
  assert.equal((await client.lease("jobs"))[0]!.text, "through a file");
  assert.equal((await client.health()).status, "pass");
}

for (const threads of [1, 2]) {
  test(`a client works through a Unix socket, on ${threads} thread(s)`, async (t) => {
    const path = join(temporaryDirectory(t), "q.sock");
    const server = await start(t, { address: `unix:${path}`, threads });
    assert.equal(server.address, `unix:${path}`);
    assert.equal(statSync(path).mode & 0o777, 0o660);
    await works(t, server);
    await server.stop();
    assert.equal(existsSync(path), false);
  });
}

test("a socket has the mode that was said", async (t) => {
  const path = join(temporaryDirectory(t), "q.sock");
  await start(t, { address: `unix:${path}`, socketMode: "0600" });
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test("a socket at which nobody listens is taken over, and one at which somebody does is not", async (t) => {
  const path = join(temporaryDirectory(t), "q.sock");
  // What a server leaves behind that was killed.
  const program = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  await once(spawn(process.execPath, ["-e", program]), "exit");
  assert.ok(existsSync(path));
  const server = await start(t, { address: `unix:${path}` });
  await works(t, server);
  await assert.rejects(
    start(t, { address: `unix:${path}` }),
    /^Error: address unix:.*q\.sock is in use; stop what listens there/,
  );
  assert.equal((await new QueratorClient({ url: server.address }).health()).status, "pass");
});

test("a file that is no socket is not touched", async (t) => {
  const path = join(temporaryDirectory(t), "q.sock");
  writeFileSync(path, "mine");
  const started = start(t, { address: `unix:${path}` });
  await assert.rejects(
    started,
    /^Error: cannot listen at unix:.*: there is a file that is no socket$/,
  );
  assert.ok(statSync(path).isFile());
});

test("a client says that nobody listens at a socket, and that fetch knows none", async (t) => {
  const url = `unix:${join(temporaryDirectory(t), "none.sock")}`;
  const client = new QueratorClient({ url, retry: { attemptsMaxAtFirst: 1 } });
  await assert.rejects(client.queues.info("q"), new RegExp(`Cannot reach ${url}: `));
  assert.throws(() => new QueratorClient({ url, fetch }), /a Unix socket is for Node alone/);
  assert.throws(() => new QueratorClient({ url: "unix:relative" }), /url is invalid/);
});

test("the admin address tells the state of the server, and has nothing of /v1 and no documents", async (t) => {
  const server = await start(t, { address: "127.0.0.1:0", adminAddress: "127.0.0.1:0" });
  const admin = server.adminAddress!;
  for (const address of [admin, server.address]) {
    const reply = await fetch(`${address}/health`);
    assert.deepEqual(
      [reply.status, ((await reply.json()) as { status: string }).status],
      [200, "pass"],
    );
  }
  for (const [method, path] of [
    ["GET", "/docs"],
    ["GET", "/openapi.json"],
    ["POST", "/v1/queues.list"],
  ] as const) {
    const init = method === "POST" ? { method, body: "{}" } : { method };
    const { status } = await fetch(`${admin}${path}`, init);
    assert.ok(status >= 400, `${path} ${status}`);
  }
  await server.stop();
  await assert.rejects(fetch(`${admin}/health`));
});

test("an admin address that is taken ends the start, and nothing of it is left", async (t) => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  t.after(() => other.close());
  const { port } = other.address() as { port: number };
  const path = join(temporaryDirectory(t), "q.sock");
  const started = start(t, { address: `unix:${path}`, adminAddress: `127.0.0.1:${port}` });
  await assert.rejects(started, new RegExp(`^Error: address 127\\.0\\.0\\.1:${port} is in use`));
  assert.equal(existsSync(path), false);
});
