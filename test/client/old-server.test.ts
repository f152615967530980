// What the client does with a server, or a proxy before it, that knows /v1 only: it says in /v1 what that can
// say, with the outcome of each item, and nothing of what it cannot.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  InvalidRequestError,
  LeaseLostError,
  type QueratorClient,
  QueratorError,
  QueueNotFoundError,
  ServerError,
} from "@querator/client";
import { startOldServer } from "../support/old-server.ts";
import { PASS, proxyOf } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

/** A client of a server that knows /v1 only, and one of the server that it really is. */
async function old(t: TestContext) {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, await startOldServer(t, server.server.address));
  return { client: clientOf(t, proxy.url), direct, proxy, server };
}

const many = (count: number) => Array.from({ length: count }, (_, i) => ({ payload: String(i) }));

function isNotImplemented(error: unknown): boolean {
  assert.ok(error instanceof ServerError, String(error));
  assert.deepEqual(
    [error.code, error.retryable, error.uncertain],
    ["not-implemented", false, false],
  );
  assert.match(error.message, /^The server, or a proxy before it, knows \/v1 only, which has no /);
  return true;
}

test("items go through an old server as through any other, without what it does not tell", async (t) => {
  const { client, direct } = await old(t);
  const at = new Date(Date.now() + 3_600_000);
  const texts = { encoding: "text", kind: "greet", reference: "r-1" };
  const produced = await client.produce("jobs", [
    { payload: "ü", ...texts },
    { payload: new Uint8Array([0, 255]) },
    { payload: "at", enqueueAt: at },
    { payload: "after", delay: "1h" },
  ]);
  assert.deepEqual(produced, Array(4).fill({ id: undefined, status: undefined }));
  assert.equal((await direct.stats("jobs")).scheduled, 2);
  const [text, bytes] = await client.lease("jobs", { batchSize: 10 });
  assert.deepEqual(
    [text!.text, text!.encoding, text!.kind, text!.reference, text!.attempts, text!.fence],
    ["ü", "text", "greet", "r-1", 1, 0],
  );
  assert.deepEqual([...bytes!.payload], [0, 255]);
  assert.deepEqual([text!.headers, text!.createdAt], [{}, undefined]);
  await client.complete("jobs", text!);
  await client.retry("jobs", { leaseId: bytes!.leaseId, delay: "1h" });
  const { total, scheduled } = await direct.stats("jobs");
  assert.deepEqual([total, scheduled], [0, 3]);
  const [stats, ...others] = await client.statsOf(["nope", "jobs"]);
  assert.deepEqual([stats!.queueName, others.length], ["jobs", 0]);
  assert.deepEqual(stats!.totals, {
    waiting: 0,
    scheduled: 3,
    leased: 0,
    held: 0,
    kept: 0,
    oldestAgeMs: undefined,
    counts: undefined,
    rates: undefined,
    waitTime: undefined,
    runTime: undefined,
  });
  assert.deepEqual(await client.lease("jobs", { requestTimeout: "20ms" }), []);
});

test("leases of several partitions are ended in one call, each by itself", async (t) => {
  const { client, direct } = await old(t);
  await client.queues.create({ queueName: "wide", requestedPartitions: 3, deadQueue: "jobs" });
  for (const item of many(12)) await client.produce("wide", item);
  const items = [];
  while (items.length < 12) items.push(...(await client.lease("wide", { batchSize: 12 })));
  const [gone, also, ...rest] = items;
  await direct.complete(
    "wide",
    [gone!, also!].map(({ leaseId }) => leaseId.split("@")[0]!),
  );
  const ended = client.complete("wide", [gone!, ...rest.slice(0, 5), also!]);
  await assert.rejects(ended, (error) => {
    assert.ok(error instanceof LeaseLostError && error.code === "lease-ended");
    assert.deepEqual(
      error.failures.map(({ index, error: own }) => [index, (own as LeaseLostError).leaseId]),
      [
        [0, gone!.leaseId],
        [6, also!.leaseId],
      ],
    );
    return true;
  });
  assert.equal((await direct.stats("wide")).total, 5);
  await client.reject("wide", rest.slice(5, 7));
  assert.equal((await direct.stats("jobs")).total, 2);
  // One that is none fails its own caller.
  const bad = client.complete("wide", "not 'an' id");
  await Promise.all([
    client.complete("wide", rest.slice(7)),
    assert.rejects(bad, InvalidRequestError),
  ]);
  assert.equal((await direct.stats("wide")).total, 0);
});

test("all or none is what an old server does of one partition", async (t) => {
  const { client, direct } = await old(t);
  await direct.produce("jobs", many(3));
  const items = await client.lease("jobs", { batchSize: 3 });
  await direct.complete("jobs", items[2]!.leaseId);
  const all = { allOrNone: true };
  await assert.rejects(client.complete("jobs", items, all), LeaseLostError);
  assert.equal((await direct.stats("jobs")).totalLeased, 2);
  await client.complete("jobs", items.slice(0, 2), all);
  assert.equal((await direct.stats("jobs")).total, 0);
  const several = client.complete("jobs", ["a", "b@1"], all);
  await assert.rejects(several, isNotImplemented);
});

test("what an old server cannot be told is refused, and nothing has happened", async (t) => {
  const { client, direct, proxy } = await old(t);
  await direct.produce("jobs", many(1));
  const [item] = await client.lease("jobs");
  const before = proxy.requests.length;
  for (const call of [
    () => client.produce("jobs", { json: { a: 1 } }),
    () => client.produce("jobs", { payload: "a", headers: { a: "b" } }),
    () => client.release("jobs", item!),
    () => client.extend("jobs", item!, { for: "1m" }),
    () => client.items.import("jobs", [{ enqueueAt: new Date(Date.now() + 3_600_000) }]),
    () => client.items.import("jobs", [{ headers: { a: "b" } }]),
    () => client.items.import("jobs", [{ payload: "1", form: "json" }]),
    () => client.produce("jobs", { uniqueKey: "k" }),
    () => client.produce("jobs", { maxAttempts: 1 }),
    () => client.lease("jobs", { kinds: ["a"] }),
    () => client.lease("jobs", { leaseTimeout: "1s" }),
    () => client.complete("jobs", item!, { result: 1 }),
    () => client.complete("jobs", item!, { produce: { items: {} } }),
    () => client.extend("jobs", item!, { progress: 1 }),
    () => client.items.get("id"),
    () => client.items.cancel("id"),
    () => client.items.wait("id"),
    () => client.items.list("jobs", { kind: "a" }).next(),
    () => client.deadGroups("jobs"),
    () => client.redrive("jobs"),
    () => client.queues.create({ queueName: "more", keepCompleted: "1h" }),
    () => client.queues.update("jobs", {}, { ifVersion: 1 }),
    () => client.call("no.such", {}),
  ]) {
    await assert.rejects(call, isNotImplemented, String(call));
  }
  assert.equal(proxy.requests.length, before);
  const { total, totalLeased, scheduled } = await direct.stats("jobs");
  assert.deepEqual([total, totalLeased, scheduled], [1, 1, 0]);
  assert.equal(await client.knowsV2("jobs"), false);
});

test("queues and their items are looked at and changed through an old server", async (t) => {
  const { client, direct } = await old(t);
  await client.queues.create({ queueName: "a", maxAttempts: 3, reference: "kept" });
  await client.queues.update("a", { leaseTimeout: "90s" });
  const info = await client.queues.info("a");
  assert.deepEqual(
    [info.leaseTimeout, info.expireTimeout, info.maxAttempts, info.reference],
    ["1m30s", "never", 3, "kept"],
  );
  // What /v1 does not know of queues it does not tell.
  const untold = { retry: undefined, keepMax: 0, version: info.version };
  assert.deepEqual(info, { ...(await direct.queues.info("a")), ...untold });
  for (let i = 0; i < 5; i++) await client.queues.createIfMissing({ queueName: `b${i}` });
  const names = await Array.fromAsync(client.queues.list({ pageSize: 2 }), (q) => q.queueName);
  assert.deepEqual(names, ["a", "b0", "b1", "b2", "b3", "b4", "jobs"]);
  await client.queues.delete("b0");
  await assert.rejects(client.queues.info("b0"), QueueNotFoundError);
  await assert.rejects(client.stats("b0"), QueueNotFoundError);

  await client.queues.create({ queueName: "wide", requestedPartitions: 3 });
  for (const item of many(9)) await direct.produce("wide", item);
  await direct.lease("wide", { batchSize: 2 });
  for (const state of [undefined, "waiting", "leased"] as const) {
    for (const pageSize of [1, 2, 100]) {
      const show = (each: QueratorClient) =>
        Array.fromAsync(each.items.list("wide", { state, pageSize }), (item) => [
          item.partition,
          item.id,
          item.state,
          Buffer.from(item.payload).toString(),
        ]);
      assert.deepEqual(await show(client), await show(direct), `${state} by ${pageSize}`);
    }
  }
  const [first] = await Array.fromAsync(client.items.list("wide", { partition: 2 }));
  assert.equal(first!.partition, 2);
  assert.equal(await client.items.delete("wide", [first!.id]), undefined);
  assert.equal((await direct.stats("wide")).total, 8);
  const items = [{ sourceId: "s", payload: "one", attempts: 2 }];
  for (let i = 0; i < 2; i++) await client.items.import("jobs", items);
  const [copy, ...more] = await Array.fromAsync(direct.items.list("jobs"));
  assert.deepEqual([copy!.sourceId, copy!.attempts, more.length], ["s", 2, 0]);
  await client.reload("wide");
  await client.clear("wide", { queue: true, destructive: true });
  assert.equal((await client.stats("wide")).total, 0);
});

for (const [status, body] of [
  [501, '{"code":501,"message":"no such method"}'],
  [404, "<html>no such page</html>"],
  [405, "<html>not here</html>"],
] as const) {
  test(`that ${status} is answered to /v2 is believed for a minute, of all calls together`, async (t) => {
    const { server, client: direct } = await setup(t);
    const proxy = await proxyOf(t, server.server.address);
    let isOld = true;
    let asked = 0;
    proxy.treatPath = (path) => {
      if (!path.startsWith("/v2/")) return PASS;
      asked++;
      return isOld ? { kind: "answer", status, body } : PASS;
    };
    const client = clientOf(t, proxy.url);
    await client.produce("jobs", many(2));
    const items = await client.lease("jobs", { batchSize: 2 });
    await client.complete("jobs", items[0]!);
    await client.stats("jobs");
    assert.equal(asked, 1);
    const { now } = performance;
    t.mock.method(performance, "now", () => now.call(performance) + 61_000);
    isOld = false;
    const { id } = await client.produce("jobs", {});
    assert.ok(id !== undefined);
    assert.equal(await client.knowsV2("jobs"), true);
    await client.complete("jobs", items[1]!);
    assert.equal((await direct.stats("jobs")).total, 1);
  });
}

test("an error in the form of /v2 says that the server knows it, whatever it is not", async (t) => {
  const { client, proxy } = await (async () => {
    const { server } = await setup(t);
    const proxy = await proxyOf(t, server.server.address);
    return { client: clientOf(t, proxy.url), proxy };
  })();
  await assert.rejects(client.call("no.such", {}), (error) => {
    return error instanceof QueratorError && error.code === "not-implemented";
  });
  await assert.rejects(client.stats("none"), (error) => {
    assert.ok(error instanceof QueueNotFoundError && error.status === 404);
    assert.match(error.requestId!, /\S/);
    return true;
  });
  assert.equal(proxy.requests.length, 2);
  assert.equal(await client.knowsV2("none"), true);
});
