// Keys of a caller's own: the server does a call once, whoever makes it again under the same key.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { defineQueue, type LeasedItem, QueratorError } from "@querator/client";
import { LOSE_REPLY, PASS, proxyOf } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

async function world(t: TestContext) {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  // Whoever makes the call again may have been started anew.
  const [client, again] = [clientOf(t, proxy.url), clientOf(t, proxy.url)];
  const keys = () => proxy.requests.map(({ key }) => key);
  return { server, direct, proxy, client, again, keys };
}

const isMismatch = (error: unknown): boolean =>
  error instanceof QueratorError && error.code === "invalid" && error.status === 409;

test("a produce under a key of one's own is done once, and answered the same to another client", async (t) => {
  const { client, again, direct, keys } = await world(t);
  const options = { idempotencyKey: "order-1" };
  const items = [{ payload: "a" }, { payload: "b" }];
  const first = await client.produce("jobs", items, options);
  assert.deepEqual(await again.produce("jobs", items, options), first);
  assert.equal((await direct.stats("jobs")).total, 2);
  await assert.rejects(again.produce("jobs", { payload: "c" }, options), isMismatch);
  assert.deepEqual(keys(), ["order-1", "order-1", "order-1"]);
  // What is more than one request holds has a key for each, and the same the next time.
  const many = Array.from({ length: 1_500 }, () => ({ payload: "m" }));
  const made = await client.produce("jobs", many, { idempotencyKey: "many", mayRepeat: true });
  assert.deepEqual(await again.produce("jobs", many, { idempotencyKey: "many" }), made);
  assert.equal((await direct.stats("jobs")).total, 1_502);
  assert.deepEqual(keys().slice(3), ["many", "many.1", "many", "many.1"]);
});

test("a queue with types takes a key for what is produced", async (t) => {
  const { client, again, direct, keys } = await world(t);
  const jobs = defineQueue<string>({ name: "jobs" });
  const options = { idempotencyKey: "order-1", reference: "r" };
  const first = await client.queue(jobs).produce("a", options);
  assert.deepEqual(await again.queue(jobs).produce("a", options), first);
  assert.equal((await direct.stats("jobs")).total, 1);
  assert.deepEqual(keys(), ["order-1", "order-1"]);
});

test("a lost reply is asked for again under the same key, and others do not travel along", async (t) => {
  const { client, proxy, direct, keys } = await world(t);
  let count = 0;
  proxy.treat = () => (++count === 1 ? LOSE_REPLY : PASS);
  await Promise.all([
    client.produce("jobs", { payload: "a" }, { idempotencyKey: "k" }),
    client.produce("jobs", { payload: "b" }),
  ]);
  assert.equal((await direct.stats("jobs")).total, 2);
  assert.equal(keys().filter((key) => key === "k").length >= 1, true);
  assert.equal(new Set(keys()).size, 2);
});

test("every call that changes something takes a key, and answers the same again", async (t) => {
  const { client, again, direct, keys } = await world(t);
  await direct.queues.create({ queueName: "dead" });
  await direct.queues.update("jobs", { deadQueue: "dead", keepCompleted: "1h" });
  const lease = async (): Promise<LeasedItem> => {
    await direct.produce("jobs", {});
    return (await direct.lease("jobs"))[0]!;
  };
  const [a, b, c, d, e, f] = [
    await lease(),
    await lease(),
    await lease(),
    await lease(),
    await lease(),
    await lease(),
  ];
  const { id } = await direct.produce("jobs", { delay: "1h" });
  const imported = [{ payload: "i" }];
  const calls: Record<string, (by: typeof client, idempotencyKey: string) => Promise<unknown>> = {
    complete: (by, key) => by.complete("jobs", a.leaseId, { idempotencyKey: key }),
    completeAll: (by, key) =>
      by.complete("jobs", b.leaseId, { idempotencyKey: key, allOrNone: true }),
    completeAndProduce: (by, key) =>
      by.complete("jobs", c.leaseId, { idempotencyKey: key, produce: { items: [{}] } }),
    extend: (by, key) => by.extend("jobs", d.leaseId, { idempotencyKey: key, for: "5m" }),
    retry: (by, key) => by.retry("jobs", { leaseId: d.leaseId }, { idempotencyKey: key }),
    release: (by, key) => by.release("jobs", { leaseId: e.leaseId }, { idempotencyKey: key }),
    reject: (by, key) => by.reject("jobs", f.leaseId, { idempotencyKey: key }),
    update: (by, key) => by.items.update(id!, { payload: "u" }, { idempotencyKey: key }),
    cancel: (by, key) => by.items.cancel(id!, { idempotencyKey: key }),
    import: (by, key) => by.items.import("jobs", imported, { idempotencyKey: key }),
    redrive: (by, key) => by.redrive("dead", { idempotencyKey: key }),
    create: (by, key) => by.queues.create({ queueName: "n" }, { idempotencyKey: key }),
    updateQueue: (by, key) => by.queues.update("n", { reference: "r" }, { idempotencyKey: key }),
    deleteQueue: (by, key) => by.queues.delete("n", { idempotencyKey: key }),
    raw: (by, key) =>
      by.call("queue.produce", { queue_name: "jobs", items: [{}] }, { idempotencyKey: key }),
    clear: (by, key) => by.clear("jobs", { queue: true, idempotencyKey: key }),
    deleteItems: (by, key) => by.items.delete("jobs", [id!], { idempotencyKey: key }),
  };
  for (const [name, call] of Object.entries(calls)) {
    const first = await call(client, name);
    assert.deepEqual(await call(again, name), first, name);
    assert.deepEqual(keys().slice(-2), [name, name]);
  }
  for (const idempotencyKey of ["", "a b", "ä", "x\r\ny: z"]) {
    await assert.rejects(
      client.produce("jobs", {}, { idempotencyKey }),
      /idempotencyKey is invalid/,
    );
  }
});
