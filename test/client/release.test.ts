// What no handler began costs no attempt, and never the item: what a worker has leased ahead when it is
// closed, what it could not begin in time, what came too late, and what it cannot read. Against a
// server that can release, and against one that knows /v1 only.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  defineQueue,
  exponential,
  fixed,
  InvalidRequestError,
  LeaseLostError,
  type QueratorClient,
  ServerError,
} from "@querator/client";
import { startTestServer, type TestServer } from "../../src/testing.ts";
import { startOldServer } from "../support/old-server.ts";
import { clientOf } from "./setup.ts";

const many = (count: number) => Array.from({ length: count }, (_, i) => ({ payload: String(i) }));
const turn = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function start(t: TestContext, maxAttempts: number): Promise<TestServer> {
  const server = await startTestServer();
  t.after(() => server.stop());
  await server.client.queues.create({ queueName: "jobs", maxAttempts });
  return server;
}

async function lost(client: QueratorClient): Promise<number> {
  const { attempts, expired, rejected } = (await client.stats("jobs")).dropped;
  return attempts + expired + rejected;
}

for (const kind of ["one that can release", "one that knows /v1 only"] as const) {
  test(`a worker that is closed loses nothing on its last attempt, with ${kind}`, async (t) => {
    const server = await start(t, 1);
    const { client: direct } = server;
    const isOld = kind !== "one that can release";
    const url = isOld ? await startOldServer(t, server.url) : server.url;
    const client = clientOf(t, url);
    await direct.produce("jobs", many(1_000));
    const enough = Promise.withResolvers<void>();
    const worker = client.worker("jobs", async () => {
      await turn(5);
      if (worker.counters.completed > 150 && (isOld || worker.counters.buffered > 0)) {
        enough.resolve();
      }
    });
    await enough.promise;
    await worker.close();
    const { completed, failed, lost: late, released } = worker.counters;
    assert.deepEqual([failed, late], [0, 0]);
    if (!isOld) assert.ok(released > 0, "nothing had been leased ahead");
    assert.equal(await lost(direct), 0);
    const { total, totalLeased } = await direct.stats("jobs");
    assert.deepEqual([completed + total, totalLeased], [1_000, 0]);
    // All that is left is there as if nobody had leased it.
    let done = 0;
    await using rest = direct.worker("jobs", () => void done++, { concurrency: 100 });
    await server.waitFor(async () => (await direct.stats("jobs")).total === 0);
    await rest.close();
    assert.equal(completed + done, 1_000);
  });
}

test("with a server that cannot release, items are leased ahead only where leases are not counted", async (t) => {
  for (const [maxAttempts, isAhead] of [
    [0, true],
    [3, false],
  ] as const) {
    const server = await start(t, maxAttempts);
    const client = clientOf(t, await startOldServer(t, server.url));
    await server.client.produce("jobs", many(600));
    let most = 0;
    const worker = client.worker("jobs", async () => {
      await turn(2);
      most = Math.max(most, worker.counters.buffered);
    });
    await server.waitFor(() => worker.counters.completed === 600);
    await worker.close();
    assert.equal(most > 0, isAhead, `buffered ${most}`);
  }
});

test("what a worker could not begin in time is given back before its lease ends", async (t) => {
  const server = await start(t, 1);
  const { client: direct } = server;
  await direct.queues.update("jobs", { leaseTimeout: "2s" });
  const client = clientOf(t, server.url);
  await direct.produce("jobs", many(400));
  const isStuck = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const worker = client.worker("jobs", async () => {
    if (worker.counters.completed < 100 || worker.counters.buffered === 0) return turn(2);
    isStuck.resolve();
    return go.promise;
  });
  await isStuck.promise;
  await server.waitFor(() => worker.counters.released > 0);
  go.resolve();
  await server.waitFor(async () => (await direct.stats("jobs")).total === 0);
  await worker.close();
  assert.deepEqual([worker.counters.completed, worker.counters.lost], [400, 0]);
  assert.equal(await lost(direct), 0);
});

test("what comes after close is given back uncounted, or done if the server would end it", async (t) => {
  for (const isOld of [false, true]) {
    const server = await start(t, 1);
    const client = clientOf(t, isOld ? await startOldServer(t, server.url) : server.url);
    const worker = client.worker("jobs", () => turn(1));
    // So that it knows what the server can.
    await server.client.produce("jobs", many(200));
    await server.waitFor(() => worker.counters.completed === 200);
    await server.waitFor(async () => {
      const { logicalQueues } = await server.client.stats("jobs");
      return logicalQueues[0]!.leaseWaiting === 1;
    });
    const produced = server.client.produce("jobs", many(5));
    const closed = worker.close();
    await Promise.all([produced, closed]);
    assert.equal(await lost(server.client), 0);
    // Whatever was dealt to it is either done, or there as if it had not been leased.
    await server.waitFor(async () => (await server.client.stats("jobs")).totalLeased === 0);
    const { total } = await server.client.stats("jobs");
    assert.equal(total + worker.counters.completed, 205);
  }
});

test("leases that nobody wants any more are given back uncounted", async (t) => {
  const server = await start(t, 1);
  const { client } = server;
  const controller = new AbortController();
  const { signal } = controller;
  const leased = client.lease("jobs", { batchSize: 5, signal });
  await server.waitFor(async () => {
    const { logicalQueues } = await client.stats("jobs");
    return logicalQueues[0]!.leaseWaiting === 1;
  });
  const produced = client.produce("jobs", many(5));
  controller.abort();
  await Promise.all([produced, assert.rejects(leased)]);
  await server.waitFor(async () => {
    const { total, totalLeased } = await client.stats("jobs");
    return total === 5 && totalLeased === 0;
  });
  const items = await client.lease("jobs", { batchSize: 5 });
  assert.deepEqual(
    items.map(({ attempts }) => attempts),
    [1, 1, 1, 1, 1],
  );
});

test("leaving a loop counts the item that it had begun, and no other", async (t) => {
  for (const isOld of [false, true]) {
    const server = await start(t, 0);
    const client = clientOf(t, isOld ? await startOldServer(t, server.url) : server.url);
    await server.client.produce("jobs", many(3));
    for await (const item of client.consume("jobs", { batchSize: 3 })) {
      assert.equal(item.text, "0");
      break;
    }
    const items = await server.client.items.list("jobs").next();
    assert.ok(items.value !== undefined);
    const all = await Array.fromAsync(server.client.items.list("jobs"));
    const attempts = all.map((each) => each.attempts).sort();
    assert.deepEqual(attempts, isOld ? [1, 1, 1] : [0, 0, 1]);
  }
});

test("release gives back at once, at a time and after a delay, and says what it cannot", async (t) => {
  const server = await start(t, 1);
  const { client, clock } = server;
  await client.produce("jobs", many(4));
  await clock.advance(0);
  const [a, b, c, d] = await client.lease("jobs", { batchSize: 4 });
  const at = new Date(clock.now().getTime() + 60_000);
  await client.release("jobs", [
    a!,
    { leaseId: b!.leaseId, at },
    { leaseId: c!.leaseId, delay: "2m" },
  ]);
  assert.equal((await client.stats("jobs")).scheduled, 2);
  await assert.rejects(client.release("jobs", a!), LeaseLostError);
  await assert.rejects(
    client.release("jobs", { leaseId: d!.leaseId, at, delay: 5 }),
    InvalidRequestError,
  );
  await assert.rejects(
    client.release("jobs", { leaseId: d!.leaseId, delay: "soon" }),
    InvalidRequestError,
  );
  await Promise.all([client.release("jobs", d!), assert.rejects(client.release("jobs", b!))]);
  await clock.advance("3m");
  const again = await client.lease("jobs", { batchSize: 4 });
  assert.deepEqual(
    again.map(({ attempts }) => attempts),
    [1, 1, 1, 1],
  );
  assert.equal(await client.knowsV2("jobs"), true);
  const old = clientOf(t, await startOldServer(t, server.url));
  assert.equal(await old.knowsV2("jobs"), false);
  const refused = old.release("jobs", again[0]!);
  await assert.rejects(refused, (error) => {
    return error instanceof ServerError && error.code === "not-implemented";
  });
  assert.equal((await old.stats("jobs")).totalLeased, 4);
  assert.deepEqual((await old.stats("jobs")).dropped, { attempts: 0, expired: 0, rejected: 0 });
});

// --- items that cannot be read ---

const numbers = { name: "jobs", schema: { "~standard": numberSchema() } };

function numberSchema() {
  return {
    version: 1 as const,
    vendor: "here",
    validate: (value: unknown) =>
      typeof value === "number" ? { value } : { issues: [{ message: "no number" }] },
  };
}

for (const onInvalid of [undefined, "dead"] as const) {
  test(`an invalid item is kept where there is no dead queue (onInvalid: ${onInvalid})`, async (t) => {
    const server = await start(t, 1);
    const { client, clock } = server;
    await clock.advance(0);
    await client.produce("jobs", [...many(3), { payload: '"x"' }, { payload: "no JSON" }]);
    const seen: unknown[] = [];
    const errors: string[] = [];
    const invalid: unknown[] = [];
    const worker = client.worker(
      defineQueue<number>({ ...numbers, onInvalid }),
      ({ value }) => void seen.push(value),
      // A policy that gives up at once has no say in it.
      { retry: fixed(0, { max: 1 }) },
    );
    worker.on("error", ({ error }) => errors.push((error as Error).message));
    worker.on("failed", ({ error }) => invalid.push(error));
    for (let round = 1; round <= 3; round++) {
      await server.waitFor(async () => (await client.stats("jobs")).scheduled === 2);
      await server.waitFor(() => worker.counters.released === 2 * round);
      await clock.advance("61s");
    }
    await server.waitFor(() => worker.counters.released === 8);
    await worker.close();
    assert.deepEqual(seen, [0, 1, 2]);
    assert.ok(invalid.length >= 6);
    assert.equal(errors.length, 1, errors.join("\n"));
    assert.match(errors[0]!, /^Queue 'jobs' has no dead queue for items that are not valid/);
    assert.equal(await lost(client), 0);
    assert.equal((await client.stats("jobs")).scheduled, 2);
    // Once there is one they go there.
    await client.queues.create({ queueName: "dead" });
    await client.queues.update("jobs", { deadQueue: "dead" });
    await clock.advance("61s");
    await using again = client.worker(defineQueue<number>({ ...numbers, onInvalid }), () => {});
    await server.waitFor(() => again.counters.dead === 2);
    assert.equal((await client.stats("dead")).total, 2);
  });
}

test("an invalid item is kept where the dead queue that is named was deleted", async (t) => {
  const server = await start(t, 1);
  const { client, clock } = server;
  await clock.advance(0);
  await client.queues.create({ queueName: "dead" });
  await client.queues.update("jobs", { deadQueue: "dead" });
  await client.queues.delete("dead", { force: true });
  await client.produce("jobs", { payload: "no JSON" });
  const worker = client.worker(defineQueue<number>({ ...numbers, onInvalid: "dead" }), () => {});
  worker.on("error", () => undefined);
  await server.waitFor(() => worker.counters.released === 1);
  await worker.close();
  assert.equal(await lost(client), 0);
  assert.equal((await client.stats("jobs")).scheduled, 1);
});

test("a loop keeps invalid items too", async (t) => {
  const server = await start(t, 1);
  const { client } = server;
  const { error } = console;
  const lines: string[] = [];
  console.error = (line: string) => void lines.push(line);
  t.after(() => {
    console.error = error;
  });
  await client.produce("jobs", [{ payload: '"x"' }, { payload: '"y"' }, { payload: "5" }]);
  for await (const item of client.consume(defineQueue<number>(numbers))) {
    assert.equal(item.value, 5);
    await item.complete();
    break;
  }
  assert.equal((await client.stats("jobs")).scheduled, 2);
  assert.equal(await lost(client), 0);
  assert.equal(lines.length, 1);
});

test("a validator that throws costs no item its last attempt", async (t) => {
  const server = await start(t, 1);
  const { client } = server;
  const schema = {
    "~standard": {
      ...numberSchema(),
      validate: (): { value: number } => {
        throw new TypeError("a mistake");
      },
    },
  };
  await client.produce("jobs", many(2));
  const worker = client.worker(defineQueue<number>({ name: "jobs", schema }), () => {}, {
    retry: exponential({ max: 1 }),
  });
  await server.waitFor(() => worker.counters.released === 2);
  await worker.close();
  assert.equal(await lost(client), 0);
  assert.equal((await client.stats("jobs")).scheduled, 2);
});
