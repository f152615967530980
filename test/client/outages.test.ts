// What a client and a worker do while the server is away: they go on for as long as the time lasts that
// the call or the lease has, however many requests that takes, and tell of it once.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ClosedError, NetworkError, TimeoutError, TryAgainError } from "@querator/client";
import { LOSE_REPLY, LOSE_REQUEST, PASS, proxyOf, refuse, type Treatment } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

const OVERLOADED = refuse(454, "queue is overloaded; try again later");
// Far more than what was once the most.
const MANY = 30;

/** A client of a proxy that treats requests of one path as it is told, and lets all others pass. */
async function away(t: TestContext, path: string, treatOf: (count: number) => Treatment) {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  let count = 0;
  proxy.treat = (request) => (request.path === path ? treatOf(++count) : PASS);
  const client = clientOf(t, proxy.url, { retry: { baseMs: 1, capMs: 2 } });
  return { server, direct, proxy, client, sent: () => count };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

for (const [name, lost] of [
  ["requests", LOSE_REQUEST],
  ["replies", LOSE_REPLY],
] as const) {
  test(`a worker completes what it has done after an outage of many ${name}`, async (t) => {
    const { direct, client } = await away(t, "queue.complete", (count) =>
      count <= MANY ? lost : PASS,
    );
    await direct.produce("jobs", [{}, {}, {}]);
    const errors: unknown[] = [];
    await using worker = client.worker("jobs", () => undefined);
    worker.on("error", ({ error }) => errors.push(error));
    await until(() => worker.counters.completed + worker.counters.lost === 3);
    assert.deepEqual(errors, []);
    assert.equal(worker.counters.completed, 3);
    assert.equal((await direct.stats("jobs")).total, 0);
  });
}

test("a worker gives an item back after an outage of many requests", async (t) => {
  const { direct, client } = await away(t, "queue.retry", (count) =>
    count <= MANY ? LOSE_REQUEST : PASS,
  );
  await direct.produce("jobs", {});
  await using worker = client.worker("jobs", (item) => {
    if (item.attempts === 1) item.retry();
  });
  await worker.events.once("completed");
  assert.equal(worker.counters.retried, 1);
});

test("an item whose end cannot be told before its lease ends is lost, once", async (t) => {
  const { direct, client, sent } = await away(t, "queue.complete", () => LOSE_REQUEST);
  await direct.queues.create({ queueName: "short", leaseTimeout: "700ms", expireTimeout: "1h" });
  await direct.produce("short", {});
  const lost: unknown[] = [];
  const errors: unknown[] = [];
  await using worker = client.worker("short", ({ attempts }) =>
    attempts === 1 ? undefined : new Promise((resolve) => setTimeout(resolve, 100)),
  );
  worker.on("lost", (event) => lost.push(event));
  worker.on("error", ({ error }) => errors.push(error));
  await worker.events.once("lost");
  assert.deepEqual([worker.counters.lost, lost.length, errors.length], [1, 1, 0]);
  assert.ok(sent() > 8, `sent ${sent()} times`);
});

test("a produce is repeated until its own time-out, and no longer", async (t) => {
  const { client, sent } = await away(t, "queue.produce", () => OVERLOADED);
  const start = performance.now();
  await assert.rejects(client.produce("jobs", {}, { requestTimeout: "300ms" }), TryAgainError);
  const took = performance.now() - start;
  assert.ok(took > 280 && took < 5_000, `took ${took} ms`);
  assert.ok(sent() > 8, `sent ${sent()} times`);
});

test("a repeated produce tells the server how much of its time is left", async (t) => {
  const { client, proxy } = await away(t, "queue.produce", (count) =>
    count <= 200 ? OVERLOADED : PASS,
  );
  await client.produce("jobs", {}, { requestTimeout: "2s" });
  const timeouts = proxy.requests.map(
    ({ body }) => (JSON.parse(body) as { request_timeout: string }).request_timeout,
  );
  assert.equal(timeouts[0], "2s");
  const last = Number.parseInt(timeouts.at(-1)!, 10);
  assert.ok(last > 10_000 && last < 1_900_000, `${last} us`);
});

test("what waits behind a produce that is not answered fails in its own time, and was not sent", async (t) => {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const arrived = Promise.withResolvers<void>();
  proxy.treat = () => {
    arrived.resolve();
    return new Promise(() => undefined);
  };
  const client = clientOf(t, proxy.url, { timeoutMargin: "100ms" });
  const options = { requestTimeout: "200ms" };
  const first = client.produce("jobs", {}, options);
  first.catch(() => undefined);
  await arrived.promise;
  await assert.rejects(client.produce("jobs", {}, options), (error) => {
    assert.ok(error instanceof TimeoutError && error.retryable && !error.uncertain);
    return /^Not sent in time/.test(error.message);
  });
  await assert.rejects(first, (error) => error instanceof TimeoutError && error.uncertain);
  assert.equal(proxy.requests.length, 1);
  assert.equal((await direct.stats("jobs")).total, 0);
});

test("items whose leases end during an outage are lost, each once, and no error is told of each", async (t) => {
  const { direct, client, sent } = await away(t, "queue.complete", () => LOSE_REQUEST);
  await direct.queues.create({ queueName: "short", leaseTimeout: "1s", maxAttempts: 1 });
  await direct.produce("short", Array(5).fill({}));
  const errors: unknown[] = [];
  // With waits that would reach beyond the end of the lease.
  const slow = clientOf(t, client.url, { retry: { baseMs: 600, capMs: 600 } });
  await using worker = slow.worker("short", () => undefined);
  worker.on("error", ({ error }) => errors.push(error));
  await until(() => worker.counters.lost === 5);
  assert.deepEqual(errors, []);
  assert.ok(sent() > 0);
});

test("complete is sent until the lease has ended, or for its own time-out if it is given one", async (t) => {
  const { direct, client } = await away(t, "queue.complete", () => LOSE_REQUEST);
  await direct.queues.create({ queueName: "short", leaseTimeout: "500ms", expireTimeout: "1h" });
  await direct.produce("short", [{}, {}]);
  const [item, other] = await direct.lease("short", { batchSize: 2 });
  const start = performance.now();
  await assert.rejects(
    client.complete("short", item!, { requestTimeout: "100ms" }),
    (error) => error instanceof NetworkError && error.uncertain,
  );
  assert.ok(performance.now() - start < 400);
  await assert.rejects(client.complete("short", other!), NetworkError);
  assert.ok(performance.now() - start > 400);
});

for (const how of ["retry", "release", "dead"] as const) {
  test(`what a loop ends with ${how} is sent until the lease has ended`, async (t) => {
    const { direct, client } = await away(t, `queue.${how === "dead" ? "reject" : how}`, () => {
      return LOSE_REQUEST;
    });
    await direct.queues.create({ queueName: "short", leaseTimeout: "500ms" });
    await direct.produce("short", {});
    for await (const item of client.consume("short")) {
      const start = performance.now();
      await assert.rejects(item[how](), NetworkError);
      const tookMs = performance.now() - start;
      assert.ok(tookMs > 300 && tookMs < 15_000, `${tookMs} ms`);
      break;
    }
  });
}

test("a worker tells once that its server is away, and that it is back", async (t) => {
  let isAway = true;
  const { direct, client, sent } = await away(t, "queue.lease", () =>
    isAway ? LOSE_REQUEST : PASS,
  );
  const told: string[] = [];
  await using worker = client.worker("jobs", () => undefined, { requestTimeout: "50ms" });
  worker.on("error", ({ error }) => told.push((error as Error).name));
  worker.on("recovered", ({ afterMs }) => told.push(afterMs > 0 ? "recovered" : "never away"));
  await until(() => sent() > 2 * MANY);
  isAway = false;
  await direct.produce("jobs", {});
  await worker.events.once("completed");
  assert.deepEqual(told, ["NetworkError", "recovered"]);
});

test("a worker that is closed while its server is away ends in time and says what is not known", async (t) => {
  const { direct, client } = await away(t, "queue.complete", () => LOSE_REQUEST);
  await direct.produce("jobs", [{}, {}, {}]);
  const errors: unknown[] = [];
  const worker = client.worker("jobs", () => undefined);
  worker.on("error", ({ error }) => errors.push(error));
  await until(() => worker.counters.leased === 3 && worker.counters.running === 0);
  const start = performance.now();
  await worker.close({ timeoutMs: 100 });
  const took = performance.now() - start;
  assert.ok(took < 8_000, `took ${took} ms`);
  // That the server is away may have been told before.
  assert.ok(errors.length <= 2);
  const error = errors.at(-1);
  assert.ok(error instanceof ClosedError && error.uncertain);
  assert.match(error.message, /the end of 3 item\(s\)/);
  await client.close({ timeoutMs: 1_000 });
});

test("a program that somebody waits for is soon told that no server is there", async (t) => {
  const retry = { attemptsMaxAtFirst: 2, baseMs: 1, capMs: 2 };
  const client = clientOf(t, "http://127.0.0.1:1", { retry });
  const start = performance.now();
  await assert.rejects(client.stats("jobs"), NetworkError);
  assert.ok(performance.now() - start < 5_000);
});
