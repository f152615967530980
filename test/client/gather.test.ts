// Calls that travel together: how many requests they make, who gets which result, what is bounded.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type ClientOptions,
  InvalidRequestError,
  LeaseLostError,
  type QueratorClient,
  QueratorError,
  QueueNotFoundError,
  TooMuchWaitingError,
  TryAgainError,
} from "@querator/client";
import {
  itemsOf,
  LOSE_REPLY,
  PASS,
  type Passing,
  proxyOf,
  refuse,
  type TestProxy,
} from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

interface Watched {
  /** Through the proxy. */
  readonly client: QueratorClient;
  /** Past it. */
  readonly direct: QueratorClient;
  readonly proxy: TestProxy;
}

async function watched(t: TestContext, options: Partial<ClientOptions> = {}): Promise<Watched> {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  return { client: clientOf(t, proxy.url, options), direct, proxy };
}

/** Holds the first request of a path until it is let go; `held` resolves when it is there. */
function holdFirst(proxy: TestProxy, path: string) {
  const held = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let isFirst = true;
  proxy.treat = async (request) => {
    if (request.path === path && isFirst) {
      isFirst = false;
      held.resolve();
      await go.promise;
    }
    return PASS;
  };
  return { held: held.promise, go: () => go.resolve() };
}

const counts = (requests: readonly Passing[]): number[] =>
  requests.map((request) => itemsOf(request).length);

async function leased(client: QueratorClient, count: number) {
  await client.produce(
    "jobs",
    Array.from({ length: count }, (_, i) => ({ payload: String(i) })),
  );
  return client.lease("jobs", { batchSize: count });
}

test("an idle client sends at once, and what is called meanwhile travels in the next request", async (t) => {
  const { client, direct, proxy } = await watched(t);
  const { held, go } = holdFirst(proxy, "queue.produce");
  const first = client.produce("jobs", { payload: "0" });
  await held;
  const others = Array.from({ length: 1_500 }, (_, i) =>
    client.produce("jobs", { payload: String(i + 1) }),
  );
  go();
  await Promise.all([first, ...others]);
  assert.deepEqual(counts(proxy.requests), [1, 1_000, 500]);
  const items = await Array.fromAsync(direct.items.list("jobs"), ({ payload }) =>
    Number(Buffer.from(payload).toString()),
  );
  assert.deepEqual(
    items,
    Array.from({ length: 1_501 }, (_, i) => i),
  );
});

test("calls made in one run of the program travel in one request", async (t) => {
  const { client, proxy } = await watched(t);
  await Promise.all(Array.from({ length: 32 }, () => client.produce("jobs", {})));
  assert.deepEqual(counts(proxy.requests), [32]);
});

test("calls of different queues and kinds do not wait for each other", async (t) => {
  const { client, direct, proxy } = await watched(t);
  await direct.queues.create({ queueName: "other", leaseTimeout: "1m", expireTimeout: "24h" });
  const items = await leased(direct, 2);
  const { held, go } = holdFirst(proxy, "queue.produce");
  const first = client.produce("jobs", {});
  await held;
  await client.produce("other", {});
  await client.complete("jobs", items[0]!);
  await client.retry("jobs", items[1]!);
  go();
  await first;
});

test("a request holds no more bytes than the server takes", async (t) => {
  const { client, proxy } = await watched(t);
  const payload = "é".repeat(100_000);
  await Promise.all(Array.from({ length: 60 }, () => client.produce("jobs", { payload })));
  assert.ok(proxy.requests.length > 2);
  for (const { body } of proxy.requests) assert.ok(Buffer.byteLength(body) < 5_000_000);
});

test("an item too big for any request fails only its own caller", async (t) => {
  const { client, direct } = await watched(t);
  const big = client.produce("jobs", { payload: "x".repeat(5_000_000) });
  const small = client.produce("jobs", { payload: "small" });
  await assert.rejects(big, /request body exceeds 5.0MB limit/);
  await small;
  assert.equal((await direct.stats("jobs")).total, 1);
});

for (const verb of ["complete", "retry", "release", "reject"] as const) {
  test(`${verb}: an item that is not leased fails only its own caller, in one request`, async (t) => {
    const { client, direct, proxy } = await watched(t);
    const items = await leased(direct, 20);
    const bad = [3, 7, 19];
    for (const i of bad) await direct.complete("jobs", items[i]!);
    const results = await Promise.allSettled(items.map((item) => client[verb]("jobs", item)));
    for (const [i, result] of results.entries()) {
      assert.equal(result.status, bad.includes(i) ? "rejected" : "fulfilled", `item ${i}`);
      if (result.status === "fulfilled") continue;
      assert.ok(result.reason instanceof LeaseLostError);
      assert.equal(result.reason.leaseId, items[i]!.leaseId);
    }
    assert.deepEqual(counts(proxy.requests), [20]);
    assert.equal((await direct.stats("jobs")).totalLeased, 0);
    const isBack = verb === "retry" || verb === "release";
    assert.equal((await direct.stats("jobs")).total, isBack ? 17 : 0);
  });
}

test("of a call with several items each is done by itself, and it tells which were not", async (t) => {
  const { client, direct, proxy } = await watched(t);
  const items = await leased(direct, 6);
  await direct.complete("jobs", [items[1]!, items[3]!]);
  const bad = client.complete("jobs", items.slice(0, 4));
  const good = client.complete("jobs", items.slice(4));
  await assert.rejects(bad, (error) => {
    assert.ok(error instanceof LeaseLostError && error.code === "lease-ended" && error.uncertain);
    assert.match(error.message, /^Of 4 items of this call 2 were done, another failed: lease has/);
    assert.equal(error.leaseId, items[1]!.leaseId);
    const failures = error.failures.map(({ index, error: own }) => {
      assert.ok(own instanceof LeaseLostError);
      return [index, own.leaseId];
    });
    assert.deepEqual(failures, [
      [1, items[1]!.leaseId],
      [3, items[3]!.leaseId],
    ]);
    return true;
  });
  await good;
  assert.equal((await direct.stats("jobs")).total, 0);
  assert.deepEqual(counts(proxy.requests), [6]);
});

for (const verb of ["complete", "retry", "release", "reject"] as const) {
  test(`${verb} with allOrNone is a request of its own, and done as a whole or not at all`, async (t) => {
    const { client, direct, proxy } = await watched(t);
    const items = await leased(direct, 5);
    await direct.complete("jobs", items[1]!);
    const bad = client[verb]("jobs", items.slice(0, 3), { allOrNone: true });
    const good = client[verb]("jobs", items.slice(3), { allOrNone: true });
    await assert.rejects(bad, (error) => {
      assert.ok(error instanceof QueratorError && error.status === 409 && !error.uncertain);
      assert.deepEqual(
        error.failures.map(({ index, error: own }) => [index, (own as QueratorError).code]),
        [[1, "lease-ended"]],
      );
      return true;
    });
    await good;
    assert.equal((await direct.stats("jobs")).totalLeased, 2);
    assert.deepEqual(counts(proxy.requests), [3, 2]);
    const many = Array(1_001).fill(items[0]!);
    await assert.rejects(client[verb]("jobs", many, { allOrNone: true }), InvalidRequestError);
  });
}

test("a call with allOrNone whose reply was lost is done, and nothing of it twice", async (t) => {
  const { client, direct, proxy } = await watched(t);
  const items = await leased(direct, 3);
  proxy.treat = (_, number) => (number === 1 ? LOSE_REPLY : PASS);
  await client.complete("jobs", items, { allOrNone: true });
  assert.equal(proxy.requests.length, 2);
  assert.equal((await direct.stats("jobs")).total, 0);
});

test("a refusal that names no item is narrowed down to the caller whose item it is", async (t) => {
  const { client, direct, proxy } = await watched(t);
  proxy.treat = ({ body }) =>
    body.includes("poison") ? refuse(455, "proto: something is wrong") : PASS;
  const calls = Array.from({ length: 9 }, (_, i) =>
    client.produce("jobs", { payload: i === 5 ? "poison" : String(i) }),
  );
  const results = await Promise.allSettled(calls);
  assert.deepEqual(
    results.flatMap(({ status }, i) => (status === "rejected" ? [i] : [])),
    [5],
  );
  assert.equal((await direct.stats("jobs")).total, 8);
});

test("what concerns the whole queue fails every caller, with one request", async (t) => {
  const { client, proxy } = await watched(t);
  const calls = Array.from({ length: 5 }, () => client.produce("nowhere", {}));
  for (const result of await Promise.allSettled(calls)) {
    assert.ok(result.status === "rejected" && result.reason instanceof QueueNotFoundError);
  }
  assert.equal(proxy.requests.length, 1);
});

test("a call for several items that is wrong in one of them sends nothing", async (t) => {
  const { client, proxy } = await watched(t);
  const at = new Date(Number.NaN);
  await assert.rejects(
    client.retry("jobs", [{ leaseId: "one" }, { leaseId: "two", at }]),
    /^InvalidRequestError: at is invalid/,
  );
  assert.deepEqual(proxy.requests, []);
});

test("an id that is none fails its caller", async (t) => {
  const { client, direct } = await watched(t);
  const [item] = await leased(direct, 1);
  const bad = client.complete("jobs", 'not "an" id');
  const good = client.complete("jobs", item!);
  await assert.rejects(bad, InvalidRequestError);
  await good;
});

test("a caller that aborts while it waits is not sent; the others are", async (t) => {
  const { client, direct, proxy } = await watched(t);
  const { held, go } = holdFirst(proxy, "queue.produce");
  const first = client.produce("jobs", { payload: "first" });
  await held;
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = client.produce("jobs", { payload: "aborted" }, { signal });
  const other = client.produce("jobs", { payload: "other" });
  controller.abort(new Error("no more"));
  await assert.rejects(aborted, /no more/);
  go();
  await Promise.all([first, other]);
  const texts = (await direct.lease("jobs", { batchSize: 9 })).map(({ text }) => text);
  assert.deepEqual(texts, ["first", "other"]);
});

test("too much that waits is refused with an error of its own, and counts again when it has gone", async (t) => {
  const { client, proxy } = await watched(t, { waitingItemsMax: 3 });
  const { held, go } = holdFirst(proxy, "queue.produce");
  const all: Promise<unknown>[] = [client.produce("jobs", {})];
  await held;
  all.push(client.produce("jobs", [{}, {}]));
  await assert.rejects(client.produce("jobs", {}), (error) => {
    assert.ok(error instanceof TooMuchWaitingError);
    assert.ok(error.retryable && !error.uncertain);
    assert.match(error.message, /waitingItemsMax \(3\)/);
    return true;
  });
  go();
  await Promise.all(all);
  await client.produce("jobs", [{}, {}, {}]);
});

test("what is leased can be ended however much waits to be produced", async (t) => {
  const { client, direct, proxy } = await watched(t, { waitingItemsMax: 1 });
  const items = await leased(direct, 4);
  const { held, go } = holdFirst(proxy, "queue.produce");
  const first = client.produce("jobs", {});
  await held;
  await Promise.all(items.slice(0, 2).map((item) => client.complete("jobs", item)));
  await Promise.all(items.slice(2).map((item) => client.retry("jobs", item)));
  assert.equal((await direct.stats("jobs")).totalLeased, 0);
  await assert.rejects(client.produce("jobs", {}), TooMuchWaitingError);
  go();
  await first;
});

test("one call may be larger than what may wait, and is sent as a whole or not at all", async (t) => {
  const { client, direct, proxy } = await watched(t, { waitingItemsMax: 1_500 });
  const big = Array.from({ length: 2_500 }, () => ({}));
  await client.produce("jobs", big);
  assert.equal((await direct.stats("jobs")).total, 2_500);
  const { held, go } = holdFirst(proxy, "queue.produce");
  const first = client.produce("jobs", {});
  await held;
  await assert.rejects(client.produce("jobs", big), TooMuchWaitingError);
  go();
  await first;
  assert.equal((await direct.stats("jobs")).total, 2_501);
});

test("a call of which only a part was done says that repeating it may do things twice", async (t) => {
  const { client, direct, proxy } = await watched(t, { retry: { attemptsMax: 1 } });
  proxy.treat = (_, number) =>
    number === 2 ? refuse(454, "queue is overloaded; try again later") : PASS;
  const big = Array.from({ length: 2_500 }, () => ({}));
  await assert.rejects(client.produce("jobs", big), (error) => {
    assert.ok(error instanceof TryAgainError && error.uncertain && error.retryable);
    assert.match(
      error.message,
      /^Of 2500 items of this call 1500 were done, another failed: queue is/,
    );
    return true;
  });
  // All that will be done has been when it rejects.
  assert.equal((await direct.stats("jobs")).total, 1_500);
});

test("a proxy that takes less than the server fails only items that are too big by themselves", async (t) => {
  const { client, direct, proxy } = await watched(t);
  proxy.treat = ({ body }) =>
    body.length > 3_000
      ? { kind: "answer", status: 413, body: "<html>Request Entity Too Large</html>" }
      : PASS;
  const sizes = [1_000, 1_000, 4_000, 1_000, 1_000];
  const results = await Promise.allSettled(
    sizes.map((size) => client.produce("jobs", { payload: "x".repeat(size) })),
  );
  assert.deepEqual(
    results.map(({ status }) => status),
    sizes.map((size) => (size > 3_000 ? "rejected" : "fulfilled")),
  );
  assert.equal((await direct.stats("jobs")).total, 4);
});

// --- leases ---

test("leases made at the same time travel together, and each gets what it asked for", async (t) => {
  const { client, proxy } = await watched(t);
  await client.produce(
    "jobs",
    Array.from({ length: 32 }, (_, i) => ({ payload: String(i) })),
  );
  const leases = await Promise.all(Array.from({ length: 32 }, () => client.lease("jobs")));
  assert.equal(proxy.requests.filter(({ path }) => path === "queue.lease").length, 1);
  assert.deepEqual(
    leases.map(([item]) => item!.text),
    Array.from({ length: 32 }, (_, i) => String(i)),
  );
});

test("items for fewer callers than wait go to the first; the others wait on", async (t) => {
  const { client, direct } = await watched(t);
  const leases = Array.from({ length: 3 }, () => client.lease("jobs"));
  const order: number[] = [];
  for (const [i, lease] of leases.entries()) void lease.then(() => order.push(i));
  for (let i = 0; i < 3; i++) await direct.produce("jobs", { payload: String(i) });
  const texts = (await Promise.all(leases)).map(([item]) => item!.text);
  assert.deepEqual(texts, ["0", "1", "2"]);
  assert.deepEqual(order, [0, 1, 2]);
});

test("an item for a caller that has gone goes to the next one, or back to the queue", async (t) => {
  const { client, direct, proxy } = await watched(t);
  const { held, go } = holdFirst(proxy, "queue.lease");
  const controller = new AbortController();
  const { signal } = controller;
  const gone = client.lease("jobs", { signal });
  const kept = client.lease("jobs");
  await held;
  await direct.produce("jobs", [{ payload: "one" }, { payload: "two" }]);
  controller.abort(new Error("gone"));
  await assert.rejects(gone, /gone/);
  go();
  assert.equal((await kept)[0]!.text, "one");
  const [again] = await direct.lease("jobs");
  assert.deepEqual([again!.text, again!.attempts], ["two", 1]);
});

test("a lease that fails fails all that asked, and none that comes later", async (t) => {
  const { client, direct } = await watched(t);
  const leases = [client.lease("late"), client.lease("late")];
  for (const result of await Promise.allSettled(leases)) {
    assert.ok(result.status === "rejected" && result.reason instanceof QueueNotFoundError);
  }
  await direct.queues.create({ queueName: "late", leaseTimeout: "1m", expireTimeout: "24h" });
  await direct.produce("late", { payload: "there" });
  assert.equal((await client.lease("late"))[0]!.text, "there");
});
