// The worker and the loop over a queue, against a real server with virtual time.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  ClosedError,
  exponential,
  fixed,
  type HandlerAborted,
  LeaseLostError,
  QueratorClient,
  type Worker,
  type WorkItem,
} from "@querator/client";
import { startTestServer, type TestServer } from "../../src/testing.ts";
import { LOSE_REQUEST, PASS, proxyOf } from "./proxy.ts";
import { clientOf } from "./setup.ts";

async function setup(t: TestContext): Promise<TestServer> {
  const server = await startTestServer({ queues: ["dead"] });
  t.after(() => server.stop());
  const times = { leaseTimeout: "1m", expireTimeout: "24h" };
  await server.client.queues.create({ queueName: "jobs", deadQueue: "dead", ...times });
  return server;
}

function closing<T>(t: TestContext, worker: Worker<T>): Worker<T> {
  t.after(() => worker.close({ timeoutMs: 0 }));
  return worker;
}

const many = (count: number) => Array.from({ length: count }, (_, i) => ({ payload: String(i) }));

test("returning completes, throwing retries, and items may say what becomes of them", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", [
    { payload: "fine" },
    { payload: "throws" },
    { payload: "later" },
    { payload: "hopeless" },
  ]);
  const seen: string[] = [];
  const handle = (item: WorkItem): void => {
    seen.push(`${item.text} ${item.attempts}`);
    if (item.attempts > 1) return;
    if (item.text === "throws") throw new Error("no luck");
    if (item.text === "later") item.retry({ delay: "1h" });
    if (item.text === "hopeless") item.dead("cannot be done");
  };
  const worker = closing(t, client.worker("jobs", handle, { retry: fixed("5m") }));
  const failed = worker.events.once("failed");
  const dead = worker.events.once("dead");
  await server.drain(["jobs"]);
  assert.match(String((await failed).error), /no luck/);
  assert.equal((await dead).reason, "cannot be done");
  assert.equal((await client.stats("jobs")).scheduled, 2);
  assert.equal((await client.stats("dead")).total, 1);
  await server.clock.advance("5m1s");
  // Completed, not only seen: its lease would end with the next step of time.
  await server.waitFor(() => worker.counters.completed === 2);
  assert.ok(seen.includes("throws 2"));
  assert.ok(!seen.includes("later 2"));
  await server.clock.advance("1h");
  await server.waitFor(() => worker.counters.completed === 3);
  const { leased, completed, retried, failed: failures, dead: letters } = worker.counters;
  assert.deepEqual([leased, completed, retried, failures, letters], [6, 3, 2, 1, 1]);
});

test("policies give up after as many attempts as they are told", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", {});
  const fail = (): never => {
    throw new Error("never works");
  };
  const worker = closing(t, client.worker("jobs", fail, { retry: fixed(0, { max: 3 }) }));
  const { reason } = await worker.events.once("dead");
  assert.equal(reason, "never works");
  assert.equal(worker.counters.failed, 3);
  const item = {} as never;
  const policy = exponential({ base: "1s", cap: "10s", jitter: false, max: 6 });
  const waits = [1, 2, 3, 4, 5, 6].map((attempts) => policy({ attempts, error: undefined, item }));
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 10_000, "dead"]);
});

for (const [name, settings] of [
  ["to a dead queue", { deadQueue: "dead" }],
  ["and it has no dead queue", {}],
] as const) {
  test(`an item that its queue ends at a retry is dead, ${name}`, async (t) => {
    const server = await setup(t);
    const { client } = server;
    const times = { leaseTimeout: "1m", expireTimeout: "1h" };
    await client.queues.create({ queueName: "few", maxAttempts: 2, ...times, ...settings });
    await client.produce("few", [{ payload: "throws" }, { payload: "retries" }]);
    const told: string[] = [];
    const worker = closing(
      t,
      client.worker(
        "few",
        (item) => {
          if (item.text === "throws") throw new Error("broken");
          item.retry();
        },
        { retry: fixed(0) },
      ),
    );
    worker.on("retried", ({ item }) => told.push(`retried ${item.text}`));
    worker.on("dead", ({ item, reason }) => told.push(`dead ${item.text}: ${reason}`));
    await server.waitFor(() => worker.counters.dead === 2);
    assert.deepEqual(told.sort(), [
      "dead retries: its queue has ended it, by maxAttempts or expireTimeout",
      "dead throws: broken",
      "retried retries",
      "retried throws",
    ]);
    const { retried, dead, failed } = worker.counters;
    assert.deepEqual([retried, dead, failed], [2, 2, 2]);
    const inDead = (await client.stats("dead")).total;
    assert.equal(inDead, "deadQueue" in settings ? 2 : 0);
  });
}

for (const [name, settings, isTold] of [
  ["to a dead queue", { deadQueue: "dead" }, true],
  ["and its end is kept", { keepCompleted: "1h" }, true],
  ["and nothing is kept of it", {}, false],
] as const) {
  test(`an item whose last lease ends is lost, and dead as far as that is known: ${name}`, async (t) => {
    const server = await setup(t);
    const { client } = server;
    const times = { leaseTimeout: "1m", expireTimeout: "1h" };
    await client.queues.create({ queueName: "few", maxAttempts: 2, ...times, ...settings });
    await client.produce("few", { payload: "slow" });
    const told: string[] = [];
    const handle = async (): Promise<void> => {
      await server.clock.advance("2m");
    };
    const worker = closing(t, client.worker("few", handle, { extend: false }));
    worker.on("lost", ({ item }) => told.push(`lost ${item.attempts}`));
    worker.on("dead", ({ item, reason }) => told.push(`dead ${item.attempts}: ${reason}`));
    await server.waitFor(() => worker.counters.lost === 2);
    await worker.close();
    assert.deepEqual(told, [
      "lost 1",
      "lost 2",
      ...(isTold ? ["dead 2: its lease has ended, and its queue has ended it with that"] : []),
    ]);
    assert.equal(worker.counters.dead, isTold ? 1 : 0);
  });
}

test("an item that expires while it is worked at is dead when it is given back", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const times = { leaseTimeout: "10m", expireTimeout: "10m" };
  await client.queues.create({ queueName: "short", ...times });
  await client.produce("short", {});
  await server.clock.advance("5m");
  const worker = closing(
    t,
    client.worker("short", async (item) => {
      await server.clock.advance("6m");
      item.retry();
    }),
  );
  await worker.events.once("dead");
  assert.deepEqual([worker.counters.dead, worker.counters.retried], [1, 0]);
});

test("retry tells who is dead, of many calls that travel together, each its own", async (t) => {
  const { client } = await setup(t);
  const times = { leaseTimeout: "1m", expireTimeout: "1h" };
  await client.queues.create({ queueName: "few", maxAttempts: 2, ...times });
  await client.produce("few", many(20));
  await client.retry("few", await client.lease("few", { batchSize: 10 }));
  const items = await client.lease("few", { batchSize: 20 });
  const dead: string[] = [];
  await Promise.all(
    items.map((item) => client.retry("few", item, { onDead: (id) => dead.push(id) })),
  );
  const last = items.filter(({ attempts }) => attempts === 2).map(({ leaseId }) => leaseId);
  assert.equal(last.length, 10);
  assert.deepEqual(dead.sort(), last.sort());
});

test("items are given back to a server that knows /v1 only, or behind a proxy that lets nothing else pass", async (t) => {
  const { client: direct, url } = await setup(t);
  for (const status of [501, 404]) {
    const proxy = await proxyOf(t, url);
    let asked = 0;
    proxy.treatPath = (path) => {
      if (!path.startsWith("/v2/")) return PASS;
      asked++;
      return { kind: "answer", status, body: "<html>no such page</html>" };
    };
    const client = clientOf(t, proxy.url);
    await direct.produce("jobs", {});
    for (let i = 0; i < 2; i++) {
      await client.retry("jobs", (await client.lease("jobs"))[0]!);
    }
    await direct.complete("jobs", (await direct.lease("jobs"))[0]!);
    // Of all calls together, as what it is like is believed for a while.
    assert.equal(asked, 1);
  }
});

test("no more handlers run at the same time than allowed, and those that are allowed do", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(20));
  let running = 0;
  let most = 0;
  const go = Promise.withResolvers<void>();
  const handle = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await go.promise;
    running--;
  };
  const worker = closing(t, client.worker("jobs", handle, { concurrency: 4 }));
  await server.waitFor(() => running === 4);
  // Nothing is known yet of how long handlers take: nothing is leased ahead.
  assert.equal((await client.stats("jobs")).totalLeased, 4);
  go.resolve();
  await server.drain(["jobs"]);
  assert.equal(most, 4);
  assert.equal(worker.counters.completed, 20);
});

test("quick handlers let a worker lease ahead, up to what it is told", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(30));
  const sizes: number[] = [];
  const options = { concurrency: 1, prefetch: 5 };
  const worker = closing(
    t,
    client.worker("jobs", () => undefined, options),
  );
  worker.on("leased", ({ items }) => sizes.push(items.length));
  await server.drain(["jobs"]);
  assert.equal(sizes[0], 1);
  assert.equal(Math.max(...sizes), 6);
});

test("what was leased ahead is not begun when its lease has ended", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(7));
  const blocked = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const begun: string[] = [];
  const handle = async ({ text, attempts }: WorkItem): Promise<void> => {
    begun.push(`${text} ${attempts}`);
    if (text !== "1" || attempts > 1) return;
    blocked.resolve();
    await go.promise;
  };
  const options = { concurrency: 1, prefetch: 5 };
  const worker = closing(t, client.worker("jobs", handle, options));
  await blocked.promise;
  await server.waitFor(() => worker.counters.buffered === 5 && worker.counters.completed === 1);
  await server.clock.advance("2m");
  go.resolve();
  await server.drain(["jobs"]);
  assert.deepEqual(begun.slice(0, 2), ["0 1", "1 1"]);
  assert.deepEqual(begun.slice(2).sort(), ["1 2", "2 2", "3 2", "4 2", "5 2", "6 2"]);
  assert.equal(worker.counters.lost, 6);
});

test("a worker whose client was closed says so and ends", async (t) => {
  const server = await setup(t);
  const client = new QueratorClient({ url: server.url });
  const worker = client.worker("jobs", () => undefined);
  const failure = worker.events.once("error");
  await server.waitFor(async () => {
    const { logicalQueues } = await server.client.stats("jobs");
    return logicalQueues[0]!.leaseWaiting === 1;
  });
  await client.close();
  assert.ok((await failure).error instanceof ClosedError);
  await worker.close();
});

/** A program of its own with `client`; answers when it has written something. */
async function programOf(t: TestContext, { url }: TestServer, text: string) {
  const program = `
    import { QueratorClient } from "@querator/client";
    const client = new QueratorClient({ url: ${JSON.stringify(url)} });
    ${text}
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
  });
  t.after(() => child.kill("SIGKILL"));
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`the program ended with ${code} before it began`);
  });
  await Promise.race([once(child.stdout, "data"), ended]);
  ended.catch(() => undefined);
  return child;
}

test("a signal closes a worker, and the program ends by itself", async (t) => {
  const server = await setup(t);
  await server.client.produce("jobs", {});
  const child = await programOf(
    t,
    server,
    `client.worker("jobs", async () => {
      console.log("begun");
      await new Promise((resolve) => process.once("SIGTERM", resolve));
    }, { handleSignals: true });`,
  );
  child.kill("SIGTERM");
  const [code, signal] = await once(child, "exit");
  assert.deepEqual([code, signal], [0, null]);
  assert.equal((await server.client.stats("jobs")).total, 0);
});

test("a signal closes many workers, and without a warning of Node", async (t) => {
  const server = await setup(t);
  const child = await programOf(
    t,
    server,
    `process.on("warning", () => process.exit(9));
    const workers = Array.from({ length: 12 }, () =>
      client.worker("jobs", () => undefined, { handleSignals: true }));
    await workers[0].close();
    const listeners = () => process.listenerCount("SIGTERM") + process.listenerCount("SIGINT");
    if (listeners() !== 2) process.exit(8);
    process.on("exit", () => listeners() === 0 || process.exit(7));
    setImmediate(() => console.log("begun"));`,
  );
  child.kill("SIGTERM");
  const [code, signal] = await once(child, "exit");
  assert.deepEqual([code, signal], [0, null]);
});

test("a second signal ends the program, also if it is another one", async (t) => {
  const server = await setup(t);
  await server.client.produce("jobs", {});
  const child = await programOf(
    t,
    server,
    `client.worker("jobs", async () => {
      process.once("SIGINT", () => console.log("closing"));
      console.log("begun");
      await new Promise((resolve) => setTimeout(resolve, 1e9));
    }, { handleSignals: true });`,
  );
  child.kill("SIGINT");
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  const [code, signal] = await once(child, "exit");
  assert.deepEqual([code, signal], [null, "SIGTERM"]);
});

test("nothing of a handler that close gave up keeps the program alive", async (t) => {
  const server = await setup(t);
  await server.client.produce("jobs", {});
  const child = await programOf(
    t,
    server,
    `const worker = client.worker("jobs", () => {
      console.log("begun");
      return new Promise(() => undefined);
    }, { handlerTimeout: "1000h" });
    await worker.events.once("leased");
    await worker.close({ timeoutMs: 1 });
    await client.close();`,
  );
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
});

test("a batch handler gets several items, each with an outcome of its own", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(10));
  const sizes: number[] = [];
  const handle = (items: readonly WorkItem[]): void => {
    sizes.push(items.length);
    for (const item of items) {
      if (item.text === "3") item.dead("three");
      if (item.text === "4") item.complete();
    }
    if (items[0]!.attempts === 1) throw new Error("the others");
  };
  const options = { batch: 10, concurrency: 1, retry: fixed(0) };
  const worker = closing(t, client.worker("jobs", handle, options));
  await server.drain(["jobs"]);
  await server.waitFor(() => worker.counters.completed === 9);
  assert.equal(sizes[0], 10);
  assert.equal(worker.counters.failed, 8);
  assert.equal(worker.counters.dead, 1);
});

test("without extension the signal fires when the lease ends, and the end of the item is lost", async (t) => {
  const server = await setup(t);
  await server.client.queues.update("jobs", { leaseTimeout: "50ms" });
  // The server's time stands, so that nobody else is given the item in between.
  const reason = Promise.withResolvers<unknown>();
  await server.client.produce("jobs", {});
  const client = clientOf(t, server.url);
  let count = 0;
  const worker = closing(
    t,
    client.worker(
      "jobs",
      async (_, { signal, leaseDeadline }) => {
        if (++count > 1) return;
        assert.ok(leaseDeadline > new Date(0));
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        reason.resolve(signal.reason);
        await server.waitFor(async () => (await client.stats("jobs")).totalLeased === 0);
      },
      { extend: false },
    ),
  );
  const aborted = await reason.promise;
  assert.ok(aborted instanceof LeaseLostError);
  assert.equal(aborted.code, "lease-ended");
  await server.waitFor(() => worker.counters.lost === 1);
});

test("a handler that takes too long has failed", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", {});
  const codes: string[] = [];
  const handle = (_: WorkItem, { signal }: { signal: AbortSignal }): Promise<void> =>
    new Promise(() => {
      signal.addEventListener("abort", () => codes.push((signal.reason as HandlerAborted).code));
    });
  const options = { handlerTimeout: "20ms", retry: fixed(0, { max: 1 }) };
  const worker = closing(t, client.worker("jobs", handle, options));
  const { reason } = await worker.events.once("dead");
  assert.match(reason, /longer than handlerTimeout/);
  assert.deepEqual(codes, ["handler-timeout"]);
});

test("close leases nothing more, waits for handlers and gives back what was not begun", async (t) => {
  const server = await setup(t);
  const { client } = server;
  await client.produce("jobs", many(3));
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const worker = client.worker(
    "jobs",
    async () => {
      begun.resolve();
      await go.promise;
    },
    { concurrency: 1 },
  );
  await begun.promise;
  const closed = worker.close();
  go.resolve();
  await closed;
  assert.equal(worker.counters.completed, 1);
  const { total, totalLeased } = await client.stats("jobs");
  assert.deepEqual([total, totalLeased], [2, 0]);
});

test("close gives back what handlers do not end in time, and always resolves", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", many(2));
  const signals: AbortSignal[] = [];
  const both = Promise.withResolvers<void>();
  const worker = client.worker("jobs", (_, { signal }) => {
    if (signals.push(signal) === 2) both.resolve();
    return new Promise(() => undefined);
  });
  await both.promise;
  await worker.close({ timeoutMs: 1 });
  assert.ok(signals.every(({ reason }) => (reason as HandlerAborted).code === "shutdown"));
  const { total, totalLeased } = await client.stats("jobs");
  assert.deepEqual([total, totalLeased], [2, 0]);
});

test("a worker closes at the end of its block", async (t) => {
  const server = await setup(t);
  await server.client.produce("jobs", {});
  {
    await using worker = server.client.worker("jobs", () => undefined);
    await worker.events.once("leased");
  }
  assert.equal((await server.client.stats("jobs")).total, 0);
});

test("a worker goes on when its server comes back", async (t) => {
  const server = await setup(t);
  const proxy = await proxyOf(t, server.url);
  let isAway = true;
  proxy.treat = () => (isAway ? LOSE_REQUEST : PASS);
  const client = clientOf(t, proxy.url, { retry: { attemptsMax: 1 } });
  const worker = closing(
    t,
    client.worker("jobs", () => undefined),
  );
  await worker.events.once("error");
  isAway = false;
  await server.client.produce("jobs", {});
  await worker.events.once("completed");
});

test("a worker of a queue with several partitions takes from all of them", async (t) => {
  const server = await setup(t);
  const { client } = server;
  const times = { leaseTimeout: "1m", expireTimeout: "24h" };
  await client.queues.create({ queueName: "wide", requestedPartitions: 4, ...times });
  for (const item of many(40)) await client.produce("wide", item);
  const listed = await Array.fromAsync(client.items.list("wide"));
  const partitions = new Map(listed.map(({ id, partition }) => [id, partition]));
  const seen = new Set<number>();
  closing(
    t,
    client.worker("wide", ({ id }) => seen.add(partitions.get(id)!)),
  );
  await server.drain(["wide"]);
  assert.equal(seen.size, 4);
});

test("a worker says when it is idle", async (t) => {
  const { client } = await setup(t);
  const options = { requestTimeout: "20ms" };
  await closing(
    t,
    client.worker("jobs", () => undefined, options),
  ).events.once("idle");
});

test("options that make no sense are refused at once", () => {
  const client = new QueratorClient({ url: "http://localhost:1" });
  const refuse = (options: object, text: RegExp): void => {
    assert.throws(() => client.worker("jobs", () => undefined, options), text);
  };
  refuse({ concurrency: 0 }, /concurrency is invalid; got 0/);
  refuse({ batch: 1_001 }, /batch is invalid/);
  refuse({ prefetch: -1 }, /prefetch is invalid/);
  refuse({ handlerTimeout: "a while" }, /handlerTimeout is invalid/);
  refuse({ requestTimeout: "a while" }, /requestTimeout is invalid/);
  refuse({ closeTimeout: "a while" }, /closeTimeout is invalid/);
});

// --- consume ---

test("a loop completes what it goes on from, and gives back what it is left with", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", many(5));
  const seen: string[] = [];
  for await (const item of client.consume("jobs", { batchSize: 3 })) {
    seen.push(item.text);
    if (item.text === "0") await item.retry({ delay: "1h" });
    if (item.text === "1") break;
  }
  assert.deepEqual(seen, ["0", "1"]);
  const { total, totalLeased, scheduled } = await client.stats("jobs");
  assert.deepEqual([total, totalLeased, scheduled], [4, 0, 1]);
});

test("a loop ends with its signal", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", {});
  const controller = new AbortController();
  const { signal } = controller;
  const loop = async (): Promise<void> => {
    for await (const item of client.consume("jobs", { signal })) {
      await item.complete();
      controller.abort(new Error("enough"));
    }
  };
  await assert.rejects(loop(), /^Error: enough$/);
  assert.equal((await client.stats("jobs")).total, 0);
});
