// Leases that are made to last longer: by a call, by the item in hand, and by a worker for as long as its
// handlers run. Leases are short here, and what is waited for are events.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type HandlerContext,
  LeaseLostError,
  type QueratorClient,
  QueratorError,
  ServerError,
  type WorkItem,
} from "@querator/client";
import { startTestServer } from "../../src/testing.ts";
import { startOldServer } from "../support/old-server.ts";
import { itemsOf, LOSE_REPLY, LOSE_REQUEST, PASS, proxyOf, type Treatment } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

const many = (count: number) => Array.from({ length: count }, (_, i) => ({ payload: String(i) }));

async function virtual(t: TestContext) {
  const server = await startTestServer({ queues: ["jobs"] });
  t.after(() => server.stop());
  // From now on its time stands.
  await server.clock.advance(0);
  return server;
}

test("an extended lease lasts from now on for as long as it was asked for, and no other one", async (t) => {
  const { client, clock } = await virtual(t);
  await client.produce("jobs", many(3));
  const items = await client.lease("jobs", { batchSize: 3 });
  const [a, b] = items as [(typeof items)[0], (typeof items)[0]];
  const until = new Date(clock.now().getTime() + 600_000);
  assert.deepEqual(await client.extend("jobs", b, { for: "10m" }), until);
  assert.deepEqual(b.leaseDeadline, until);
  assert.ok(a.leaseDeadline < until);
  await clock.advance("5m");
  const again = await client.lease("jobs", { batchSize: 3 });
  assert.deepEqual(
    again.map(({ text, attempts }) => [text, attempts]),
    [
      ["0", 2],
      ["2", 2],
    ],
  );
  // Also a shorter one counts.
  await client.extend("jobs", b.leaseId, { for: "1m" });
  await clock.advance("2m");
  await assert.rejects(client.complete("jobs", b), LeaseLostError);
});

test("each lease of a call is extended by itself, unless it is to be all or none", async (t) => {
  const { client, clock } = await virtual(t);
  await client.produce("jobs", many(4));
  const items = await client.lease("jobs", { batchSize: 4 });
  await client.complete("jobs", items[1]!);
  const before = items[0]!.leaseDeadline;
  const isPartly = (error: unknown): boolean => {
    assert.ok(error instanceof LeaseLostError && error.code === "lease-ended");
    assert.deepEqual(
      error.failures.map(({ index }) => index),
      [1],
    );
    return true;
  };
  const all = client.extend("jobs", items, { for: "1h", allOrNone: true });
  await assert.rejects(all, isPartly);
  assert.deepEqual(items[0]!.leaseDeadline, before);
  await assert.rejects(client.extend("jobs", items, { for: "1h" }), isPartly);
  for (const i of [0, 2, 3]) {
    assert.equal(items[i]!.leaseDeadlineMs, clock.now().getTime() + 3_600_000);
  }
  const rest = [items[0]!, { leaseId: items[2]!.leaseId, for: "2h" }, items[3]!.leaseId];
  const deadlines = await client.extend("jobs", rest, { for: "3h", allOrNone: true });
  const hours = deadlines.map(
    (deadline) => (deadline.getTime() - clock.now().getTime()) / 3_600_000,
  );
  assert.deepEqual(hours, [3, 2, 3]);
  assert.deepEqual(await client.extend("jobs", [], { for: "1h" }), []);
  await assert.rejects(client.extend("jobs", items[0]!, { for: "a while" }), /for is invalid/);
  await assert.rejects(client.extend("jobs", items[0]!, { for: "13h" }), { code: "invalid" });
});

test("an item of a loop is kept by its extension", async (t) => {
  const { client, clock } = await virtual(t);
  await client.produce("jobs", {});
  for await (const item of client.consume("jobs")) {
    for (const duration of [undefined, "10m"]) {
      const before = item.leaseDeadline;
      await clock.advance("50s");
      const deadline = await item.extend(duration);
      assert.ok(deadline > before);
      assert.deepEqual(item.leaseDeadline, deadline);
    }
    await clock.advance("9m");
    await item.complete();
    break;
  }
  assert.equal((await client.stats("jobs")).total, 0);
});

/** A queue with short leases, its client behind a proxy, and one past it. */
async function short(t: TestContext, leaseTimeout: string) {
  const { server, client: direct } = await setup(t);
  await direct.queues.update("jobs", { leaseTimeout });
  const proxy = await proxyOf(t, server.server.address);
  const extensions = () => proxy.requests.filter(({ path }) => path === "queue.extend");
  /** What is done to the extensions, by their number. */
  const treatExtensions = (treatOf: (number: number) => Treatment): void => {
    let count = 0;
    proxy.treat = ({ path }) => (path === "queue.extend" ? treatOf(++count) : PASS);
  };
  return { server, direct, client: clientOf(t, proxy.url), proxy, extensions, treatExtensions };
}

/** Resolves when the lease of an item has been moved so often. */
async function moved(item: WorkItem, times: number): Promise<void> {
  let seen = 0;
  let last = item.leaseDeadlineMs;
  await until(() => {
    if (item.leaseDeadlineMs > last) seen++;
    last = item.leaseDeadlineMs;
    return seen >= times;
  });
}

// What never happens fails its test, and does not go on.
const PATIENCE_MS = 20_000;

async function until(isSo: () => boolean): Promise<void> {
  const from = performance.now();
  while (!isSo()) {
    assert.ok(performance.now() - from < PATIENCE_MS, `never: ${isSo}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a handler may take many times as long as its lease, and its item is nobody else's", async (t) => {
  const { client, direct } = await short(t, "2s");
  await direct.produce("jobs", {});
  const attempts: number[] = [];
  const begun = Promise.withResolvers<void>();
  let wasAborted = false;
  await using worker = client.worker("jobs", async (item, { signal }) => {
    attempts.push(item.attempts);
    if (attempts.length > 1) return;
    begun.resolve();
    await moved(item, 3);
    wasAborted = signal.aborted;
  });
  await begun.promise;
  // Somebody who waits for the item.
  const other = direct.lease("jobs", { requestTimeout: "10s", isShared: false });
  await worker.events.once("completed");
  await worker.close();
  assert.deepEqual([attempts, wasAborted, worker.counters.lost], [[1], false, 0]);
  assert.equal((await direct.stats("jobs")).total, 0);
  await direct.produce("jobs", { payload: "next" });
  assert.equal((await other)[0]!.text, "next");
});

test("all that is due is extended in one request, and what is done before costs none", async (t) => {
  const { client, direct, extensions } = await short(t, "2s");
  await direct.produce("jobs", many(200));
  await using quick = client.worker("jobs", () => undefined, { concurrency: 20 });
  await until(() => quick.counters.completed === 200);
  await quick.close();
  assert.deepEqual(extensions(), []);
  await direct.produce("jobs", many(30));
  await using worker = client.worker("jobs", (item) => moved(item, 2), { concurrency: 30 });
  await until(() => worker.counters.completed === 30);
  assert.equal(worker.counters.lost, 0);
  const counts = extensions().map((request) => itemsOf(request).length);
  assert.ok(Math.max(...counts) === 30, counts.join());
  assert.ok(counts.length <= 8, counts.join());
});

test("a batch is extended item by item", async (t) => {
  const { client, direct, extensions } = await short(t, "2s");
  await direct.produce("jobs", many(5));
  await using worker = client.worker("jobs", (items) => moved(items[4]!, 2), { batch: 5 });
  await until(() => worker.counters.completed === 5);
  assert.ok(extensions().some((request) => itemsOf(request).length === 5));
});

test("leases are extended for extendFor, and not if extend is false", async (t) => {
  const { client, direct, extensions } = await short(t, "2s");
  await direct.produce("jobs", {});
  await using worker = client.worker("jobs", (item) => moved(item, 1), { extendFor: "7m" });
  await worker.events.once("completed");
  await worker.close();
  assert.deepEqual(
    extensions()
      .flatMap(itemsOf)
      .map((lease) => (lease as { for: string }).for),
    ["420000000us"],
  );
  await direct.produce("jobs", {});
  const reasons: unknown[] = [];
  const handle = async (item: WorkItem, { signal }: HandlerContext): Promise<void> => {
    if (item.attempts > 1) return;
    reasons.push(await whenAborted(signal));
    await over(direct, item);
  };
  await using none = client.worker("jobs", handle, { extend: false });
  await none.events.once("lost");
  assert.equal(extensions().length, 1);
  assert.ok(reasons[0] instanceof LeaseLostError);
});

/** Resolves when the server knows a lease no more. */
async function over(client: QueratorClient, { leaseId }: WorkItem): Promise<void> {
  for (const from = performance.now(); performance.now() - from < PATIENCE_MS; ) {
    const items = await Array.fromAsync(client.items.list("jobs"));
    if (items.every((item) => item.leaseId !== leaseId)) return;
  }
  assert.fail("its lease does not end");
}

async function whenAborted(signal: AbortSignal): Promise<unknown> {
  await until(() => signal.aborted);
  return signal.reason;
}

test("an extendFor that is shorter than the lease never makes it shorter", async (t) => {
  const { client, direct } = await short(t, "1s");
  await direct.produce("jobs", {});
  const deadlines: number[] = [];
  await using worker = client.worker(
    "jobs",
    async (item) => {
      for (let i = 0; i < 3; i++) {
        deadlines.push(item.leaseDeadlineMs);
        await moved(item, 1);
      }
    },
    { extendFor: "400ms" },
  );
  await worker.events.once("completed");
  assert.deepEqual(deadlines, deadlines.toSorted());
  assert.ok(deadlines[2]! > deadlines[0]!);
});

test("a handler may make its lease shorter, and the worker keeps it all the same", async (t) => {
  const { client, direct } = await short(t, "1h");
  await direct.produce("jobs", {});
  const attempts: number[] = [];
  await using worker = client.worker("jobs", async (item, { signal }) => {
    attempts.push(item.attempts);
    assert.equal(signal.aborted, false);
    await item.extend("2s");
    await moved(item, 1);
    assert.ok(item.leaseDeadlineMs > Date.now() + 3_000_000);
  });
  await worker.events.once("completed");
  assert.deepEqual(attempts, [1]);
});

test("an item is kept no longer than extendMax, and then its handler hears of it", async (t) => {
  // Long enough for an extension on a machine that is busy: one that comes too late ends the lease before its time.
  const { client, direct } = await short(t, "3s");
  await direct.produce("jobs", {});
  const from = performance.now();
  const reason = Promise.withResolvers<unknown>();
  const handle = async (item: WorkItem, { signal }: HandlerContext): Promise<void> => {
    if (item.attempts > 1) return;
    reason.resolve(await whenAborted(signal));
    await over(direct, item);
  };
  await using worker = client.worker("jobs", handle, { extendMax: "5s", concurrency: 1 });
  const aborted = await reason.promise;
  const tookMs = performance.now() - from;
  assert.ok(aborted instanceof LeaseLostError && aborted.code === "lease-ended");
  assert.ok(tookMs >= 4_900, `took ${tookMs} ms`);
  await until(() => worker.counters.lost === 1);
});

test("a lease that is reported ended aborts its handler's signal at once, and that of no other", async (t) => {
  const { client, direct } = await short(t, "5s");
  await direct.produce("jobs", many(2));
  const [victim] = await Array.fromAsync(direct.items.list("jobs"));
  const begun: WorkItem[] = [];
  const reason = Promise.withResolvers<unknown>();
  const other = Promise.withResolvers<void>();
  let wasAborted = true;
  const handle = async (item: WorkItem, { signal }: HandlerContext): Promise<void> => {
    begun.push(item);
    if (item.id === victim!.id) return reason.resolve(await whenAborted(signal));
    await other.promise;
    wasAborted = signal.aborted;
  };
  const from = performance.now();
  await using worker = client.worker("jobs", handle);
  await until(() => begun.length === 2);
  await direct.items.delete("jobs", [victim!.id]);
  const aborted = await reason.promise;
  // With the first extension, and not when the lease would have ended.
  assert.ok(performance.now() - from < 4_500);
  assert.ok(aborted instanceof LeaseLostError);
  assert.equal(aborted.leaseId, begun.find(({ id }) => id === victim!.id)!.leaseId);
  other.resolve();
  await until(() => worker.counters.completed === 1 && worker.counters.lost === 1);
  assert.equal(wasAborted, false);
});

for (const [name, treatment] of [
  ["requests", LOSE_REQUEST],
  ["replies", LOSE_REPLY],
] as const) {
  test(`an extension whose ${name} are lost is sent again until the lease ends`, async (t) => {
    const { client, direct, treatExtensions, extensions } = await short(t, "3s");
    treatExtensions((number) => (number <= 2 ? treatment : PASS));
    await direct.produce("jobs", {});
    const attempts: number[] = [];
    await using worker = client.worker("jobs", async (item) => {
      attempts.push(item.attempts);
      await moved(item, 2);
    });
    await worker.events.once("completed");
    assert.deepEqual([attempts, worker.counters.lost], [[1], 0]);
    assert.ok(extensions().length >= 4);
  });
}

test("extensions do not wait behind the ends of items", async (t) => {
  const { client, direct, proxy } = await short(t, "500ms");
  const go = Promise.withResolvers<void>();
  proxy.treat = async ({ path }) => {
    if (path === "queue.complete") await go.promise;
    return PASS;
  };
  await direct.produce("jobs", many(2));
  const isMoved = Promise.withResolvers<void>();
  await using worker = client.worker("jobs", async (item) => {
    if (item.text === "0") return;
    await moved(item, 4);
    isMoved.resolve();
    await go.promise;
  });
  await isMoved.promise;
  assert.equal((await direct.stats("jobs")).totalLeased >= 1, true);
  go.resolve();
  await until(() => worker.counters.completed >= 1);
});

test("with a server that knows /v1 only nothing is extended, and the worker says so once", async (t) => {
  const { server, direct } = await short(t, "300ms");
  const client: QueratorClient = clientOf(t, await startOldServer(t, server.server.address));
  await direct.produce("jobs", many(3));
  const errors: unknown[] = [];
  const seen = new Set<string>();
  await using worker = client.worker("jobs", async (item, { signal }) => {
    // By its text: on a busy machine a lease may end before its handler begins, or before it is completed.
    if (seen.has(item.text)) return;
    seen.add(item.text);
    await whenAborted(signal);
    await over(direct, item);
  });
  worker.on("error", ({ error }) => errors.push(error));
  await until(() => worker.counters.completed === 3 && worker.counters.lost >= 3);
  assert.equal(errors.length, 1);
  const [error] = errors;
  assert.ok(error instanceof ServerError && error.code === "not-implemented");
  assert.match(error.message, /^Leases of queue 'jobs' cannot be extended: .* knows \/v1 only/);
  const [item] = await direct.lease("jobs", { requestTimeout: "20ms" });
  assert.equal(item, undefined);
  const refused = client.extend("jobs", "some lease", { for: "1m" });
  await assert.rejects(refused, (each) => {
    return each instanceof QueratorError && each.code === "not-implemented" && !each.uncertain;
  });
});

test("options of extension that make no sense are refused at once", () => {
  const client = clientOf({ after: () => undefined } as never, "http://localhost:1");
  const refuse = (options: object, text: RegExp): void => {
    assert.throws(() => client.worker("jobs", () => undefined, options), text);
  };
  refuse({ extendFor: 0 }, /extendFor is invalid; got '0', it must be from 1ms to 12h/);
  refuse({ extendFor: "13h" }, /extendFor is invalid/);
  refuse({ extendMax: "a while" }, /extendMax is invalid/);
});
