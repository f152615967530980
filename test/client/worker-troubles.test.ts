// Workers and loops where something is wrong: validators with mistakes, clocks, times that are too long.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { defineQueue, fixed, type HandlerContext, type RetryPolicy } from "@querator/client";
import { startTestServer, type TestServer } from "../../src/testing.ts";
import { PASS, proxyOf } from "./proxy.ts";
import { clientOf } from "./setup.ts";

async function setup(t: TestContext): Promise<TestServer> {
  const server = await startTestServer({ queues: ["jobs"] });
  t.after(() => server.stop());
  return server;
}

for (const kind of ["at once", "later"] as const) {
  test(`a validator that throws ${kind} fails its item alone, which is tried again`, async (t) => {
    const server = await setup(t);
    const { client } = server;
    let isBroken = true;
    const validate = (value: unknown) => {
      if (value === "trap" && isBroken) throw new Error("a mistake");
      return { value: value as string };
    };
    const schema = {
      "~standard": {
        version: 1 as const,
        vendor: "test",
        validate: kind === "at once" ? validate : async (value: unknown) => validate(value),
      },
    };
    const queue = defineQueue({ name: "jobs", schema });
    await client.produce(
      "jobs",
      ["a", "trap", "b"].map((text) => ({ payload: JSON.stringify(text) })),
    );
    const seen: string[] = [];
    await using worker = client.worker(queue, ({ value }) => seen.push(value), { retry: fixed(0) });
    const { error } = await worker.events.once("failed");
    assert.match(String(error), /a mistake/);
    isBroken = false;
    await server.waitFor(() => worker.counters.completed === 3);
    assert.deepEqual(seen.sort(), ["a", "b", "trap"]);
  });
}

const NO_TEXT: readonly unknown[] = [
  Object.create(null),
  {
    toString() {
      throw new Error("no text");
    },
  },
];

test("whatever a handler throws, its item is dead after as many attempts as were allowed", async (t) => {
  const { client } = await setup(t);
  for (const thrown of NO_TEXT) {
    await client.produce("jobs", {});
    const fail = (): never => {
      throw thrown;
    };
    await using worker = client.worker("jobs", fail, { retry: fixed(0, { max: 1 }) });
    const { reason } = await worker.events.once("dead");
    assert.equal(reason, "something was thrown that has no text");
  }
});

test("a policy that throws, or answers what is no wait, lets its item wait 10 seconds", async (t) => {
  const { client } = await setup(t);
  const said = t.mock.method(console, "error", () => undefined).mock;
  const policies: RetryPolicy[] = [
    ...NO_TEXT.map((thrown) => () => {
      throw thrown;
    }),
    () => 1e18,
    () => "a while",
  ];
  for (const retry of policies) {
    await client.produce("jobs", {});
    const fail = (): never => {
      throw new Error("no luck");
    };
    const from = client.now();
    await using worker = client.worker("jobs", fail, { retry });
    const { at } = await worker.events.once("retried");
    const ms = at!.getTime() - from;
    assert.ok(ms >= 10_000 && ms < 20_000, `${ms} ms`);
  }
  assert.equal(said.callCount(), policies.length);
});

test("a retry at a time that cannot be told fails where it is asked for", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", {});
  await using worker = client.worker("jobs", (item) => {
    assert.throws(() => item.retry({ after: "1h" } as never), /given back has no 'after'/);
    assert.throws(() => item.retry({ delay: 1e18 }), /delay is invalid; got '1000000000000000000'/);
    assert.throws(() => item.retry({ at: new Date(8e15) }), /at is invalid/);
  });
  await worker.events.once("completed");
});

test("a handler may be given more time than timers can be set to, and close may wait without end", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", {});
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const handle = async (): Promise<void> => {
    begun.resolve();
    await go.promise;
  };
  const worker = client.worker("jobs", handle, { handlerTimeout: "1000h" });
  await begun.promise;
  const closed = worker.close({ timeoutMs: Number.POSITIVE_INFINITY });
  // Long enough for a timer of a millisecond.
  await new Promise((resolve) => setTimeout(resolve, 5));
  go.resolve();
  await closed;
  assert.deepEqual([worker.counters.completed, worker.counters.failed], [1, 0]);
});

test("whatever a handler or a policy answers, the worker goes on", async (t) => {
  const server = await setup(t);
  await server.client.produce("jobs", Array(40).fill({}));
  const withOwn = (value: object, key: string, own: unknown): object =>
    Object.defineProperty(value, key, { value: own });
  const answers: (() => unknown)[] = [
    () => withOwn(Promise.resolve(), "then", () => assert.fail("nobody asks for it")),
    () => withOwn(Promise.resolve(), "then", undefined),
    () => withOwn({}, "then", (done: () => void) => setImmediate(done)),
    () => withOwn(Promise.resolve(), "constructor", { [Symbol.species]: null }),
    () => Promise.reject(new Error("no luck")),
  ];
  let count = 0;
  await using worker = server.client.worker("jobs", () => answers[count++ % 5]!() as never, {
    concurrency: 2,
    // A policy cannot wait; nobody hears of what becomes of it.
    retry: (() => Promise.reject(new Error("nobody hears"))) as never,
  });
  const errors: unknown[] = [];
  worker.on("error", ({ error }) => errors.push(error));
  await server.waitFor(() => worker.counters.completed + worker.counters.retried === 40);
  assert.deepEqual([worker.counters.completed, worker.counters.running], [32, 0]);
  assert.equal(errors.length, 8);
});

test("a worker leases nothing more while what it has done cannot be told to the server", async (t) => {
  const server = await setup(t);
  const { client: direct } = server;
  const proxy = await proxyOf(t, server.url);
  const go = Promise.withResolvers<void>();
  proxy.treat = async ({ path }) => {
    if (path === "queue.complete") await go.promise;
    return PASS;
  };
  await direct.produce("jobs", Array(50).fill({}));
  const client = clientOf(t, proxy.url);
  const options = { concurrency: 2, prefetch: 0 };
  await using worker = client.worker("jobs", () => undefined, options);
  await server.waitFor(() => worker.counters.leased >= 4);
  // Time enough to lease all of them.
  for (let i = 0; i < 50; i++) await client.stats("jobs");
  assert.ok(worker.counters.leased <= 6, `${worker.counters.leased} are leased`);
  go.resolve();
  await server.waitFor(() => worker.counters.completed === 50);
});

test("a worker works although its clock is hours ahead of the server's", async (t) => {
  const server = await setup(t);
  const proxy = await proxyOf(t, server.url);
  const behind = (time: number): Date => new Date(time - 10 * 3_600_000);
  proxy.date = behind(Date.now()).toUTCString();
  proxy.rewrite = (reply) =>
    reply.replace(/"lease_deadline": ?"([^"]+)"/g, (_, deadline: string) => {
      return `"lease_deadline":"${behind(Date.parse(deadline)).toISOString()}"`;
    });
  await server.client.produce("jobs", [{}, {}, {}]);
  const client = clientOf(t, proxy.url);
  const attempts: number[] = [];
  await using worker = client.worker("jobs", (item) => attempts.push(item.attempts));
  await server.waitFor(() => worker.counters.completed + worker.counters.lost === 3);
  assert.deepEqual([attempts, worker.counters.lost], [[1, 1, 1], 0]);
});

test("a loop passes over what its lease has ended for", async (t) => {
  const server = await setup(t);
  await server.client.produce("jobs", [{ payload: "0" }, { payload: "1" }]);
  const seen: string[] = [];
  for await (const item of server.client.consume("jobs", { batchSize: 2 })) {
    seen.push(`${item.text} ${item.attempts}`);
    if (seen.length === 2) break;
    await item.complete();
    await server.clock.advance("2m");
  }
  assert.deepEqual(seen, ["0 1", "1 2"]);
});

test("a clock that is set forward takes nothing that is leased away from a worker", {
  timeout: 30_000,
}, async (t) => {
  const server = await setup(t);
  const client = clientOf(t, server.url);
  await client.produce("jobs", Array(20).fill({}));
  const go = Promise.withResolvers<void>();
  const attempts: number[] = [];
  const handle = async (item: { attempts: number }): Promise<void> => {
    attempts.push(item.attempts);
    if (attempts.length === 3) await go.promise;
  };
  await using worker = client.worker("jobs", handle, { concurrency: 1, prefetch: 5 });
  await server.waitFor(() => attempts.length === 3 && worker.counters.buffered >= 5);
  const { now } = Date;
  t.mock.method(Date, "now", () => now() + 3_600_000);
  go.resolve();
  await server.waitFor(() => worker.counters.completed + worker.counters.lost >= 20);
  assert.deepEqual([worker.counters.completed, worker.counters.lost], [20, 0]);
  assert.deepEqual(attempts, Array(20).fill(1));
});

test("a handler hears of the end of its lease in time although the clock was set back", {
  timeout: 30_000,
}, async (t) => {
  const server = await setup(t);
  const client = clientOf(t, server.url);
  await client.queues.create({ queueName: "short", leaseTimeout: "500ms", expireTimeout: "24h" });
  await client.produce("short", {});
  const { now } = Date;
  const aborted = Promise.withResolvers<unknown>();
  const handle = async (_: unknown, { signal }: HandlerContext): Promise<void> => {
    signal.addEventListener("abort", () => aborted.resolve(signal.reason.code));
    t.mock.method(Date, "now", () => now() - 3_600_000);
    await aborted.promise;
  };
  await using _worker = client.worker("short", handle, { extend: false });
  assert.equal(await aborted.promise, "lease-ended");
});
