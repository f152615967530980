// The end of a client, and of leases that are aborted: what is waited for, what is refused, and what
// becomes of items whose reply is on its way.

import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { ClosedError, defineQueue, QueratorClient } from "@querator/client";
import { PASS, proxyOf } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

test("close waits for calls of every kind, and cuts none of them off", async (t) => {
  const { server } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const client = new QueratorClient({ url: proxy.url });
  const held = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  proxy.treat = async () => {
    held.resolve();
    await go.promise;
    return PASS;
  };
  const deleted = client.queues.delete("jobs");
  await held.promise;
  const closed = client.close();
  go.resolve();
  await Promise.all([deleted, closed]);
});

test("close waits for calls of several steps that were begun before", async (t) => {
  const { server, client: direct } = await setup(t);
  for (const begin of [
    (client: QueratorClient) => client.queue(defineQueue({ name: "jobs" })).produce("a"),
    (client: QueratorClient) => client.queue(defineQueue({ name: "jobs" })).produceMany(["b"]),
    (client: QueratorClient) => client.queues.update("jobs", { reference: "mine" }),
    (client: QueratorClient) => client.health(),
  ]) {
    const client = new QueratorClient({ url: server.server.address });
    await Promise.all([begin(client), client.close()]);
  }
  assert.equal((await direct.stats("jobs")).total, 2);
  assert.equal((await direct.queues.info("jobs")).reference, "mine");
});

test("a client that is closed refuses every call", async (t) => {
  const { server } = await setup(t);
  const client = new QueratorClient({ url: server.server.address });
  await client.close();
  for (const call of [
    () => client.produce("jobs", {}),
    () => client.lease("jobs"),
    () => client.complete("jobs", "id"),
    () => client.retry("jobs", { leaseId: "id" }),
    () => client.stats("jobs"),
    () => client.queues.info("jobs"),
    () => client.items.list("jobs").next(),
    () => client.queue(defineQueue({ name: "jobs" })).produce(1),
    () => client.queues.update("jobs", {}),
    () => client.health(),
  ]) {
    await assert.rejects(call, ClosedError);
  }
});

test("close ends although the server answers nothing, and what it ends says so", async (t) => {
  const { server } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const held = Promise.withResolvers<void>();
  proxy.treat = (_, number) => {
    if (number === 2) held.resolve();
    return new Promise(() => undefined);
  };
  const client = new QueratorClient({ url: proxy.url });
  const calls = Promise.allSettled([client.stats("jobs"), client.produce("jobs", {})]);
  await held.promise;
  await client.close({ timeoutMs: 1 });
  for (const result of await calls) {
    assert.ok(result.status === "rejected" && result.reason instanceof ClosedError);
  }
});

test("what close cuts is uncertain if it was on its way, and what had not been sent is not", async (t) => {
  const { server } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const held = Promise.withResolvers<void>();
  proxy.treat = () => {
    held.resolve();
    return new Promise(() => undefined);
  };
  const client = new QueratorClient({ url: proxy.url });
  const isUncertain = (call: Promise<unknown>): Promise<boolean> =>
    call.then(
      () => assert.fail("done"),
      (error) => error instanceof ClosedError && error.uncertain,
    );
  const sent = isUncertain(client.produce("jobs", {}));
  await held.promise;
  const waiting = isUncertain(client.produce("jobs", {}));
  await client.close({ timeoutMs: 0 });
  const late = isUncertain(client.produce("jobs", {}));
  assert.deepEqual(await Promise.all([sent, waiting, late]), [true, false, false]);
});

test("what close cuts between two requests is uncertain if the first may have been done", async () => {
  for (const [code, uncertain] of [
    ["ECONNRESET", true],
    ["ECONNREFUSED", false],
  ] as const) {
    const client = new QueratorClient({
      url: "http://localhost:1",
      fetch: () => Promise.reject(Object.assign(new Error("no luck"), { code })),
      requestTimeout: "14m",
      retry: { baseMs: 1e5, capMs: 1e5 },
    });
    const produced = client.produce("jobs", {}, { mayRepeat: true });
    const failed = assert.rejects(produced, { code: "closed", uncertain });
    // It has failed once, and waits.
    await new Promise((resolve) => setImmediate(resolve));
    await client.close({ timeoutMs: 0 });
    await failed;
  }
});

test("a signal that lives on keeps nothing of calls that have ended", async (t) => {
  const { client } = await setup(t);
  const { signal } = new AbortController();
  await client.produce("jobs", [{}, {}], { signal });
  const leased = [
    ...(await client.lease("jobs", { signal })),
    ...(await client.lease("jobs", { signal, isShared: false })),
  ];
  await client.complete("jobs", leased, { signal });
  await client.stats("jobs", { signal });
  assert.deepEqual(getEventListeners(signal, "abort"), []);
});

test("the server forgets a lease that is aborted", async (t) => {
  const { server, client } = await setup(t);
  const other = clientOf(t, server.server.address);
  const waiting = async (): Promise<number> =>
    (await other.stats("jobs")).logicalQueues[0]!.leaseWaiting;
  for (const isShared of [true, false]) {
    const controller = new AbortController();
    const lease = client.lease("jobs", { signal: controller.signal, isShared });
    while ((await waiting()) === 0);
    controller.abort(new Error("enough"));
    await assert.rejects(lease, /^Error: enough$/);
    while ((await waiting()) > 0);
  }
  await other.produce("jobs", {});
  assert.equal((await other.lease("jobs"))[0]!.attempts, 1);
});

// --- replies on their way ---

/** A server whose answer to a lease leaves in the moment in which the client goes. */
async function lateServer(t: TestContext) {
  const released: string[] = [];
  const asked = Promise.withResolvers<void>();
  const sockets = new Set<Socket>();
  const answer = (socket: Socket, body: object): void => {
    const text = JSON.stringify(body);
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    let text = "";
    let isLease = false;
    socket.on("data", (chunk) => {
      text += chunk.toString();
      const [head, body = ""] = text.split("\r\n\r\n");
      if (body.length < Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)) return;
      text = "";
      isLease = head!.includes("queue.lease");
      if (isLease) return asked.resolve();
      const { leases } = JSON.parse(body) as { leases: { lease_id: string }[] };
      released.push(...leases.map(({ lease_id }) => lease_id));
      answer(socket, { results: leases.map(() => ({ ok: true })) });
    });
    socket.on("end", () => {
      if (isLease) answer(socket, { items: [{ id: "one", lease_id: "late", attempts: 1 }] });
      socket.end();
    });
    socket.on("error", () => undefined);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, released, asked: asked.promise };
}

for (const isShared of [true, false]) {
  const kind = isShared ? "shared lease" : "lease of its own";
  test(`items that come for a ${kind} in the moment of its abort are given back`, async (t) => {
    const { url, released, asked } = await lateServer(t);
    const client = new QueratorClient({ url });
    const controller = new AbortController();
    const lease = client.lease("jobs", { signal: controller.signal, isShared });
    await asked;
    controller.abort(new Error("enough"));
    await assert.rejects(lease, /^Error: enough$/);
    await client.close();
    assert.deepEqual(released, ["late"]);
  });
}

test("items that come in the moment in which a client is closed are given back", async (t) => {
  const { url, released, asked } = await lateServer(t);
  const client = new QueratorClient({ url });
  const lease = client.lease("jobs");
  await asked;
  await Promise.all([assert.rejects(lease, ClosedError), client.close()]);
  assert.deepEqual(released, ["late"]);
});

test("items that come in the moment in which a worker is closed are given back before it has ended", async (t) => {
  const { url, released, asked } = await lateServer(t);
  const client = clientOf(t, url);
  const worker = client.worker("jobs", () => assert.fail("begun"));
  await asked;
  await worker.close();
  assert.deepEqual(released, ["late"]);
});
