// What a worker does with what it learns while it runs: items that are cancelled, progress, results, errors that say
// what becomes of an item, pauses, and more or fewer handlers. Against a real server with virtual time.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  defineQueue,
  Fatal,
  fixed,
  type HandlerContext,
  ItemCancelledError,
  RetryLater,
  ServerError,
  UniqueKeyTakenError,
  type Worker,
  type WorkItem,
} from "@querator/client";
import { z } from "zod";
import { startTestServer, type TestServer } from "../../src/testing.ts";
import { startOldServer } from "../support/old-server.ts";
import { clientOf } from "./setup.ts";

async function setup(t: TestContext): Promise<TestServer> {
  const server = await startTestServer({ queues: ["dead"] });
  t.after(() => server.stop());
  const settings = { leaseTimeout: "1m", keepCompleted: "1h", keepPayload: true } as const;
  await server.client.queues.create({ queueName: "jobs", deadQueue: "dead", ...settings });
  return server;
}

function closing<T>(t: TestContext, worker: Worker<T>): Worker<T> {
  t.after(() => worker.close({ timeoutMs: 0 }));
  return worker;
}

const many = (count: number) => Array.from({ length: count }, (_, i) => ({ payload: String(i) }));

/** Resolves when a signal is aborted, with its reason. */
function aborted({ signal }: HandlerContext): Promise<unknown> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
  });
}

test("a handler learns that its item was cancelled by the next extension, and what it does counts no more", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const { id } = await client.produce("jobs", {});
  const begun = Promise.withResolvers<void>();
  const reasons: unknown[] = [];
  const handle = async (_: WorkItem, context: HandlerContext): Promise<void> => {
    begun.resolve();
    reasons.push(await aborted(context));
    throw reasons[0];
  };
  // Extended at once, and again and again.
  const worker = closing(t, client.worker("jobs", handle, { leaseTimeout: "300ms" }));
  const failures: unknown[] = [];
  worker.on("failed", ({ error }) => failures.push(error));
  const cancelled = worker.events.once("cancelled");
  await begun.promise;
  const marked = await client.items.cancel(id!);
  assert.deepEqual([marked.state, marked.isCancelled], ["leased", true]);
  assert.equal((await cancelled).item.id, id);
  assert.ok(reasons[0] instanceof ItemCancelledError);
  await server.waitFor(() => worker.counters.running === 0);
  const { cancelled: count, failed, lost, released } = worker.counters;
  assert.deepEqual([count, failed, lost, released, failures], [1, 0, 0, 0, []]);
  assert.equal((await client.items.wait(id!)).state, "cancelled");
  assert.equal((await client.stats("jobs")).total, 0);
});

test("a handler that ends before it can learn of it has its item cancelled all the same", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(2));
  const handle = async (item: WorkItem): Promise<void> => {
    await client.items.cancel(item.id);
    if (item.text === "1") throw new Error("no luck");
  };
  const worker = closing(t, client.worker("jobs", handle));
  await server.waitFor(() => worker.counters.cancelled === 2);
  const { completed, retried, failed } = worker.counters;
  assert.deepEqual([completed, retried, failed], [0, 0, 1]);
  assert.equal((await client.stats("jobs")).total, 0);
});

test("of a batch only what is cancelled is let go, until all of it is", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const produced = await client.produce("jobs", many(2));
  const begun = Promise.withResolvers<void>();
  const one = Promise.withResolvers<void>();
  const handle = async (items: readonly WorkItem[], context: HandlerContext): Promise<void> => {
    begun.resolve();
    await server.waitFor(() => items[0]!.isCancelled);
    assert.deepEqual([items[1]!.isCancelled, context.signal.aborted], [false, false]);
    one.resolve();
    await aborted(context);
  };
  const options = { batch: 2, leaseTimeout: "300ms" };
  const worker = closing(t, client.worker("jobs", handle, options));
  await begun.promise;
  await client.items.cancel(produced[0]!.id!);
  await one.promise;
  await client.items.cancel(produced[1]!.id!);
  await server.waitFor(() => worker.counters.cancelled === 2);
});

test("progress is told at once, then the last of a second, and it says that an item is cancelled", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const { id } = await client.produce("jobs", {});
  const handle = async (item: WorkItem, context: HandlerContext): Promise<void> => {
    assert.throws(() => item.progress(undefined), { code: "invalid" });
    for (let done = 0; done < 50; done++) item.progress({ done });
    await server.waitFor(async () => {
      const { progress } = await client.items.get(id!);
      return (progress as { done: number } | undefined)?.done === 49;
    });
    await client.items.cancel(id!);
    item.progress("more");
    const reason = await aborted(context);
    assert.ok(reason instanceof ItemCancelledError);
  };
  const worker = closing(t, client.worker("jobs", handle));
  worker.on("failed", ({ error }) => assert.fail(error as Error));
  await worker.events.once("cancelled");
  assert.equal(worker.counters.failed, 0);
});

const sums = defineQueue({
  name: "jobs",
  schema: z.array(z.number()),
  result: z.object({ sum: z.number() }),
});

test("what a handler returns is the result of its item, checked where it is returned and where it is read", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const queue = client.queue(sums);
  const handle = ({ value, attempts }: WorkItem<number[]>) => {
    const sum = value.reduce((a, b) => a + b, 0);
    return attempts === 1 && sum === 0 ? ({ total: 0 } as never) : { sum };
  };
  const worker = closing(t, queue.worker(handle, { retry: fixed(0) }));
  const failed = worker.events.once("failed");
  const { id } = await queue.produce([1, 2]);
  const { state, result, endedAt } = await queue.wait(id!);
  assert.deepEqual([state, result], ["completed", { sum: 3 }]);
  assert.deepEqual((await queue.get(id!)).result satisfies { sum: number } | undefined, { sum: 3 });
  assert.ok(endedAt instanceof Date);
  const odd = await queue.produce([]);
  assert.match(String((await failed).error), /A result of queue 'jobs' does not fit its schema/);
  const second = await queue.wait(odd.id!);
  assert.deepEqual([second.result, second.attempts], [{ sum: 0 }, 2]);
  assert.match(second.lastError!.message, /does not fit its schema/);
  // @ts-expect-error: it is no such result
  const wrong = () => queue.worker(() => ({ total: 1 }));
  assert.equal(typeof wrong, "function");
});

test("without a definition that has results only what a handler says is one", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const produced = await client.produce("jobs", [{ payload: "returns" }, { payload: "says" }]);
  const handle = (item: WorkItem): unknown => {
    if (item.text === "says") item.complete({ said: true });
    return { returned: true };
  };
  closing(t, client.worker("jobs", handle));
  const [returns, says] = await Promise.all(produced.map(({ id }) => client.items.wait(id!)));
  assert.deepEqual([returns!.state, returns!.result], ["completed", undefined]);
  assert.deepEqual([says!.state, says!.result], ["completed", { said: true }]);
});

test("what is to be done next is produced with the end of an item, or the item has failed", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.queues.create({ queueName: "next" });
  await client.produce("jobs", many(1));
  const handle = (item: WorkItem): void => {
    const queueName = item.attempts === 1 ? "nowhere" : "next";
    const items = [{ json: { after: item.id } }, { json: 2 }];
    item.complete({ done: true }, { produce: [{ queueName, items }] });
  };
  const worker = closing(t, client.worker("jobs", handle, { retry: fixed(0) }));
  const { error } = await worker.events.once("failed");
  assert.match((error as Error).message, /nowhere/);
  const { item } = await worker.events.once("completed");
  const next = await client.lease("next", { batchSize: 10 });
  assert.deepEqual(
    next.map((each) => each.json()),
    [{ after: item.id }, 2],
  );
  assert.deepEqual((await client.items.get(item.id)).result, { done: true });
});

test("what is to be done next may have keys and go to several queues; a key that is taken has the item fail", async (t) => {
  const server = await setup(t);
  const { client } = server;
  for (const queueName of ["bill", "mail"]) await client.queues.create({ queueName });
  const once = { uniqueKey: "order-1", onDuplicate: "reject" } as const;
  const { id: taken } = await client.produce("mail", { payload: "first", ...once });
  await client.produce("jobs", many(1));
  const handle = (item: WorkItem): void => {
    const produce = [
      { queueName: "bill", items: { payload: "bill", ...once } },
      { queueName: "mail", items: { payload: "mail", ...once } },
      { items: { payload: "next", uniqueKey: "own", delay: "1h" } },
    ];
    item.complete({ done: true }, { produce });
  };
  const worker = closing(t, client.worker("jobs", handle, { retry: fixed(0) }));
  const { error } = await worker.events.once("failed");
  assert.ok(error instanceof UniqueKeyTakenError, String(error));
  assert.equal((await client.stats("bill")).total, 0);
  await client.items.cancel(taken!);
  const { item } = await worker.events.once("completed");
  assert.equal((await client.items.get(item.id)).state, "completed");
  for (const queueName of ["bill", "mail"]) {
    const [only, ...more] = await client.lease(queueName, { batchSize: 9 });
    assert.deepEqual([only!.text, more], [queueName, []]);
  }
});

test("a result that is too large is a failure of its item, and no end without it", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", {});
  const handle = (item: WorkItem): void => {
    item.complete("x".repeat(item.attempts === 1 ? 70_000 : 60_000));
  };
  const worker = closing(t, client.worker("jobs", handle, { retry: fixed(0) }));
  const { error } = await worker.events.once("failed");
  assert.match((error as Error).message, /result/);
  const { item } = await worker.events.once("completed");
  assert.equal(item.attempts, 2);
});

test("what is thrown is kept with the item, and seen by whoever has it next", async (t) => {
  const server = await setup(t);
  const { client } = server;
  class CardDeclined extends Error {}
  await client.produce("jobs", {});
  const seen: (string | undefined)[] = [];
  const handle = (item: WorkItem): void => {
    seen.push(item.lastError?.message);
    if (item.attempts === 1) throw new CardDeclined("no money");
    if (item.attempts === 2) throw new Fatal("never");
  };
  const worker = closing(t, client.worker("jobs", handle, { retry: fixed(0) }));
  const { item, reason } = await worker.events.once("dead");
  assert.deepEqual([seen, reason, worker.counters.failed], [[undefined, "no money"], "never", 2]);
  const dead = await client.items.get(item.id, { queueName: "jobs" });
  const { state, lastError } = dead;
  assert.deepEqual([state, lastError!.type, lastError!.message], ["dead", "Fatal", "never"]);
  assert.match(lastError!.stack, /steering\.test/);
});

test("RetryLater is no failure, and says when whatever the policy says", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", {});
  const handle = (item: WorkItem): void => {
    if (item.attempts === 1) throw new RetryLater("1h", "closed for lunch");
    assert.equal(item.lastError!.message, "closed for lunch");
  };
  const worker = closing(t, client.worker("jobs", handle, { retry: () => "dead" }));
  const { at } = await worker.events.once("retried");
  assert.ok(at!.getTime() - server.clock.now().getTime() > 3_590_000);
  await server.clock.advance("61m");
  await worker.events.once("completed");
  assert.deepEqual([worker.counters.failed, worker.counters.dead], [0, 0]);
  assert.throws(() => new RetryLater("soon"), { code: "invalid" });
});

test("a worker without a policy leaves retries to its queue, if that has one, and its own overrides it", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.queues.create({ queueName: "patient", retry: { delay: "20m", jitter: 0 } });
  const fail = (): never => {
    throw new Error("no luck");
  };
  // Of an item without a policy of its own, and of one with.
  for (const [queueName, options, minutes, own] of [
    ["patient", {}, 20, 40],
    ["patient", { retry: fixed("50m") }, 50, 50],
    ["jobs", { retry: "server" }, 0, 40],
  ] as const) {
    const [plain, special] = await client.produce(queueName, [
      {},
      { retry: { delay: "40m", jitter: 0 } },
    ]);
    const worker = client.worker(queueName, fail, options);
    await server.waitFor(() => worker.counters.retried >= 2);
    await worker.close();
    for (const [{ id }, expected] of [
      [plain!, minutes],
      [special!, own],
    ] as const) {
      const { enqueueAt } = await client.items.get(id!);
      const ms = (enqueueAt?.getTime() ?? 0) - server.clock.now().getTime();
      assert.ok(expected === 0 ? ms < 0 : Math.abs(ms / 60_000 - expected) < 1, `${ms}`);
    }
    await client.clear(queueName, { scheduled: true, queue: true, destructive: true });
  }
  // Without any policy it is not at once, for then it would be so again and again.
  const { id } = await client.produce("jobs", {});
  const worker = closing(t, client.worker("jobs", fail));
  const { item, at } = await worker.events.once("retried");
  assert.equal(item.id, id);
  assert.ok(at instanceof Date);
});

test("a worker that is paused leases and begins nothing, lets handlers go on, and goes on itself", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const go = Promise.withResolvers<void>();
  const begun: string[] = [];
  const handle = async ({ text }: WorkItem): Promise<void> => {
    begun.push(text);
    if (text === "0") await go.promise;
  };
  const worker = closing(t, client.worker("jobs", handle, { concurrency: 1 }));
  await server.waitFor(async () => {
    return (await client.stats("jobs")).logicalQueues[0]!.leaseWaiting === 1;
  });
  await client.produce("jobs", many(1));
  await server.waitFor(() => begun.length === 1);
  worker.pause();
  worker.pause();
  assert.equal(worker.isPaused, true);
  await client.produce("jobs", many(3).slice(1));
  go.resolve();
  await worker.events.once("completed");
  const { total, totalLeased, logicalQueues } = await client.stats("jobs");
  assert.deepEqual([total, totalLeased, logicalQueues[0]!.leaseWaiting], [2, 0, 0]);
  worker.resume();
  await server.waitFor(() => worker.counters.completed === 3);
  assert.deepEqual(begun, ["0", "1", "2"]);
  // Also while a lease waits, which then is no trouble.
  worker.on("error", ({ error }) => assert.fail(error as Error));
  worker.pause();
  await worker.close();
  worker.resume();
  assert.equal(worker.counters.leased, 3);
});

test("what a paused worker has leased ahead goes back uncounted", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(8));
  const go = Promise.withResolvers<void>();
  const handle = async ({ text }: WorkItem): Promise<void> => {
    if (text === "1") await go.promise;
  };
  const worker = closing(t, client.worker("jobs", handle, { concurrency: 1, prefetch: 5 }));
  await server.waitFor(() => worker.counters.buffered === 5);
  worker.pause();
  await server.waitFor(() => worker.counters.released === 5);
  const attempts = await Array.fromAsync(client.items.list("jobs"), (item) => item.attempts);
  assert.deepEqual(attempts.sort(), [0, 0, 0, 0, 0, 0, 1]);
  go.resolve();
});

test("the number of handlers can be changed while they run", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(12));
  let running = 0;
  let most = 0;
  const waiting: (() => void)[] = [];
  const handle = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => waiting.push(resolve));
    running--;
  };
  const worker = closing(t, client.worker("jobs", handle, { concurrency: 1 }));
  await server.waitFor(() => running === 1);
  worker.concurrency = 5;
  await server.waitFor(() => running === 5);
  worker.concurrency = 2;
  for (const go of waiting.splice(0)) go();
  await server.waitFor(() => running === 2);
  most = 0;
  while (worker.counters.completed < 12) {
    for (const go of waiting.splice(0)) go();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual([most, worker.concurrency], [2, 2]);
  assert.throws(() => {
    worker.concurrency = 0;
  }, /concurrency is invalid/);
});

test("a worker of some kinds leaves all others in their order", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", [
    { payload: "0", kind: "a" },
    { payload: "1", kind: "b" },
    { payload: "2", kind: "a" },
    { payload: "3", kind: "b" },
  ]);
  const worker = closing(
    t,
    client.worker("jobs", () => undefined, { kinds: ["b"] }),
  );
  await server.waitFor(() => worker.counters.completed === 2);
  const left = await client.lease("jobs", { batchSize: 10 });
  assert.deepEqual(
    left.map(({ text }) => text),
    ["0", "2"],
  );
});

test("what a worker that is closed does not wait for is given back uncounted", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.queues.create({ queueName: "once", maxAttempts: 1 });
  await client.produce("once", {});
  const begun = Promise.withResolvers<void>();
  const worker = client.worker("once", async (_, context) => {
    begun.resolve();
    await aborted(context);
  });
  await begun.promise;
  await worker.close({ timeoutMs: 0 });
  assert.equal(worker.counters.released, 1);
  const [item] = await client.lease("once");
  assert.equal(item!.attempts, 1);
});

test("what a server of /v1 cannot keep is told, and no reason not to end items", async (t) => {
  const server = await setup(t);
  const client = clientOf(t, await startOldServer(t, server.url));
  await server.client.produce("jobs", many(2));
  const worker = closing(
    t,
    client.worker(
      "jobs",
      (item) => {
        if (item.text === "1" && item.attempts === 1) throw new Error("not this time");
        item.complete({ fine: true });
      },
      { retry: fixed(0) },
    ),
  );
  const errors: unknown[] = [];
  worker.on("error", ({ error }) => errors.push(error));
  await server.waitFor(() => worker.counters.completed === 2);
  await worker.close();
  const told = errors.map((error) => (error as Error).message);
  assert.ok(errors.every((error) => error instanceof ServerError));
  assert.equal(told.filter((text) => /^Results of queue 'jobs' are lost/.test(text)).length, 1);
  await assert.rejects(client.lease("jobs", { kinds: ["a"] }), { code: "not-implemented" });
  await assert.rejects(client.items.get("i"), { code: "not-implemented" });
});
