// A client that has an owner and a standby to turn to: behind what deals its connections or requests out
// between them in turn, and with the addresses of both.

import assert from "node:assert/strict";
import { once } from "node:events";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { type TestContext, test } from "node:test";
import type { QueratorClient } from "@querator/client";
import { clientOf } from "../client/setup.ts";
import { testDatabase } from "../support/postgres.ts";
import { ServerNode } from "./node.ts";

const TAKEN = "has taken over and serves all queues";

async function both(t: TestContext): Promise<{ owner: ServerNode; standby: ServerNode }> {
  const url = await testDatabase(t);
  const owner = new ServerNode(t, url);
  await owner.said("querator is ready");
  const standby = new ServerNode(t, url);
  await standby.said("querator is on standby");
  assert.equal((await owner.createQueue("jobs")).status, 200);
  return { owner, standby };
}

async function started(t: TestContext, server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Deals out connections in turn. */
function tcpRoundRobin(t: TestContext, addresses: readonly string[]): Promise<string> {
  let next = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const { port, hostname } = new URL(addresses[next++ % addresses.length]!);
    const to = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    socket.pipe(to);
    to.pipe(socket);
    socket.on("error", () => to.destroy());
    to.on("error", () => socket.destroy());
    t.after(() => {
      to.destroy();
      socket.destroy();
    });
  });
  return started(t, server);
}

/** Deals out requests in turn. */
function httpRoundRobin(t: TestContext, addresses: readonly string[]): Promise<string> {
  let next = 0;
  const server = createHttpServer((request, response) => {
    pass(request, response).catch(() => response.destroy());
  });
  const pass = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const answer = await fetch(addresses[next++ % addresses.length]! + request.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: Buffer.concat(chunks),
    });
    response.writeHead(answer.status, { "Content-Type": "application/json" });
    response.end(await answer.text());
  };
  t.after(() => server.closeAllConnections());
  return started(t, server);
}

async function produceAll(client: QueratorClient, count: number): Promise<void> {
  // Some travel together, and some alone.
  for (let i = 0; i < count; i += 10) {
    await Promise.all(
      Array.from({ length: 10 }, (_, n) => client.produce("jobs", { payload: `${i + n}` })),
    );
  }
}

for (const [name, roundRobin] of [
  ["connections", tcpRoundRobin],
  ["requests", httpRoundRobin],
] as const) {
  test(`behind a round robin of ${name} every produce and every end of an item succeeds`, async (t) => {
    const { owner, standby } = await both(t);
    const url = await roundRobin(t, [standby.address, owner.address]);
    const client = clientOf(t, url, { retry: { baseMs: 1, capMs: 20 } });
    await produceAll(client, 200);
    const direct = clientOf(t, owner.address);
    assert.equal((await direct.stats("jobs")).total, 200);
    const seen = new Set<string>();
    const worker = client.worker("jobs", ({ text }) => void seen.add(text));
    while (worker.counters.completed < 200) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await worker.close();
    assert.deepEqual([seen.size, worker.counters.lost], [200, 0]);
    assert.equal((await direct.stats("jobs")).total, 0);
  });
}

test("of several addresses the one that works is used, whichever it is, also after it has changed", async (t) => {
  const { owner, standby } = await both(t);
  const urls = ["http://127.0.0.1:1", standby.address, owner.address];
  const client = clientOf(t, "", { url: undefined, urls });
  await produceAll(client, 50);
  assert.equal(new URL(client.url).port, new URL(owner.address).port);
  // While it stops, and until the other has taken over, nothing is lost and nothing done twice.
  const producing = produceAll(client, 100);
  const ended = owner.end("SIGTERM");
  await producing;
  await ended;
  await standby.said(TAKEN);
  assert.equal(new URL(client.url).port, new URL(standby.address).port);
  assert.equal((await client.stats("jobs")).total, 150);
});
