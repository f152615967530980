// What a wall clock that is set while the server runs may do, and what not: how long something takes or
// waits is none of its business. The tests set it apart from the system's, on all threads.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServerOptions } from "../src/config/config.ts";
import type { Storage } from "../src/storage/storage.ts";
import { FaultyStorage } from "./support/faulty-storage.ts";
import {
  payloads,
  type Reply,
  setup,
  type TestServer,
  temporaryDirectory,
} from "./support/server.ts";
import { type Driver, freshPlace } from "./support/storages.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

// Whatever waits by the steady clock is answered long before that, and by the wall clock long after.
const PATIENCE_MS = 20_000;

type Stepping = TestServer & {
  /** Sets the wall clock forwards, or back. */
  step(ms: number): void;
};

/** A server whose time is not virtual, and whose wall clock can be set. */
async function stepping(
  t: TestContext,
  options: ServerOptions = {},
  wrapStorage: (storage: Storage) => Storage = (storage) => storage,
): Promise<Stepping> {
  const wallShift = new Float64Array(new SharedArrayBuffer(8));
  const server = await setup(t, { dev: false, ...options }, { wallShift, wrapStorage });
  return Object.assign(server, {
    step(ms: number): void {
      wallShift[0]! += ms;
    },
  });
}

// As a storage on a slow disk: every commit takes so long, once it is done.
function slowCommits(ms: number): (storage: Storage) => Storage {
  return (storage) =>
    new Proxy(storage, {
      get(target, key) {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== "function") return member;
        return async (...args: unknown[]) => {
          const result: unknown = await Reflect.apply(member, target, args);
          if (key === "commit") await sleep(ms);
          return result;
        };
      },
    });
}

// Many clients, each with its next request as soon as it has the answer to the last.
async function burst(
  server: TestServer,
  queues: readonly string[],
  clients: number,
): Promise<void> {
  await Promise.all(
    Array.from({ length: clients }, async (_, i) => {
      for (let n = 0; n < 8; n++) await server.produce(queues[i % queues.length]!, `${i}-${n}`);
    }),
  );
}

// Every queue still takes an item, and hands it out.
async function checkServes(server: TestServer, queues: readonly string[]): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  for (const queue of queues) {
    const items = [{ utf8: "x" }];
    const produce = { queue_name: queue, request_timeout: "10s", items };
    assert.equal((await server.call("queue.produce", produce, signal)).status, 200);
    const lease = { queue_name: queue, request_timeout: "10s", batch_size: 1, client_id: "c" };
    const leased = await server.call("queue.lease", lease, signal);
    assert.equal(leased.status, 200);
    const ids = [leased.body.items[0].id];
    const { partition = 0 } = leased.body;
    const complete = { queue_name: queue, partition, ids, request_timeout: "10s" };
    assert.equal((await server.call("queue.complete", complete, signal)).status, 200);
  }
}

for (const [driver, threads] of [
  ["memory", 1],
  ["sqlite", 1],
  ["sqlite", 2],
  ["postgres", 1],
] as const) {
  for (const clients of [8, 32]) {
    const name = `after a burst of ${clients} clients the wall clock may be set: ${driver}, ${threads} thread(s)`;
    test(name, { timeout: 6 * PATIENCE_MS }, async (t) => {
      const place = await freshPlace(t, driver as Driver);
      const server = await stepping(t, { ...place, threads }, slowCommits(4));
      const queues = ["a", "b", "c"];
      for (const queue of queues) await server.createQueue(queue);
      for (const by of [-HOUR_MS, -20_000, HOUR_MS, 24 * HOUR_MS, -48 * HOUR_MS]) {
        await burst(server, queues, clients);
        server.step(by);
        await checkServes(server, queues);
      }
    });
  }
}

test("while clients are served the wall clock may be set", {
  timeout: 6 * PATIENCE_MS,
}, async (t) => {
  const server = await stepping(t, { dataDir: temporaryDirectory(t) }, slowCommits(4));
  await server.createQueue("q");
  const signal = AbortSignal.timeout(PATIENCE_MS);
  let isOver = false;
  const produced = Array.from({ length: 32 }, async (_, i) => {
    let count = 0;
    while (!isOver) {
      const request = { queue_name: "q", request_timeout: "10s", items: [{ utf8: `${i}` }] };
      assert.equal((await server.call("queue.produce", request, signal)).status, 200);
      count++;
    }
    return count;
  });
  for (let i = 0; i < 10; i++) {
    await sleep(30);
    server.step(i % 2 === 0 ? -HOUR_MS : HOUR_MS);
  }
  isOver = true;
  const counts = await Promise.all(produced);
  const total = counts.reduce((sum, count) => sum + count, 0);
  assert.equal((await server.stats("q")).total, total);
});

for (const [what, ms] of [
  ["back", -30_000],
  ["back", -HOUR_MS],
  ["forward", HOUR_MS],
] as const) {
  test(`request_timeout is kept while the wall clock is set ${what} by ${Math.abs(ms)} ms`, async (t) => {
    const server = await stepping(t);
    await server.createQueue("q");
    const from = performance.now();
    const request = { queue_name: "q", request_timeout: "1s", batch_size: 1, client_id: "c" };
    const waiting = server.call("queue.lease", request, AbortSignal.timeout(PATIENCE_MS));
    await server.until(async () => (await server.stats("q")).lease_waiting === 1);
    server.step(ms);
    // Whatever else the queue does brings the lease no closer to its end.
    const later = { utf8: "later", enqueue_at: "2100-01-01T00:00:00Z" };
    await server.ok("queue.produce", {
      queue_name: "q",
      request_timeout: "10s",
      items: [later],
    });
    assert.equal((await waiting).status, 454);
    assert.ok(performance.now() - from >= 1_000, "it was answered early");
  });
}

test("request_timeout is kept on every thread while the wall clock is set back", async (t) => {
  const server = await stepping(t, { dataDir: temporaryDirectory(t), threads: 2 });
  const queues = ["a", "b", "c", "d"];
  for (const queue of queues) await server.createQueue(queue);
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const waiting = queues.map(async (queue) => {
    const from = performance.now();
    const request = { queue_name: queue, request_timeout: "1s", batch_size: 1, client_id: "c" };
    const { status } = await server.call("queue.lease", request, signal);
    return { status, ms: performance.now() - from };
  });
  for (const queue of queues) {
    await server.until(async () => (await server.stats(queue)).lease_waiting === 1);
  }
  server.step(-HOUR_MS);
  for (const { status, ms } of await Promise.all(waiting)) {
    assert.equal(status, 454);
    assert.ok(ms >= 1_000, `it was answered after ${ms} ms`);
  }
});

test("a scheduled item fires when the wall clock says so, also if it was set while nothing happened", async (t) => {
  const server = await stepping(t);
  await server.createQueue("q");
  const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
  const items = [
    { utf8: "soon", enqueue_at: at(600) },
    { utf8: "in half an hour", enqueue_at: at(HOUR_MS / 2) },
  ];
  await server.ok("queue.produce", { queue_name: "q", request_timeout: "10s", items });
  const lease = async (timeout: string): Promise<{ status: number; body: { items: [] } }> =>
    await server.call("queue.lease", {
      queue_name: "q",
      request_timeout: timeout,
      batch_size: 1,
      client_id: "c",
    });
  server.step(-HOUR_MS);
  assert.equal((await lease("1s")).status, 454);
  for (const [step, payload] of [
    [HOUR_MS, "soon"],
    [HOUR_MS, "in half an hour"],
  ] as const) {
    const leasing = lease("20s");
    await server.until(async () => (await server.stats("q")).lease_waiting === 1);
    server.step(step);
    const { status, body } = await leasing;
    assert.equal(status, 200);
    assert.deepEqual(payloads(body), [payload]);
  }
});

test("waiting for what a set clock has put off takes no work", async (t) => {
  const server = await stepping(t);
  for (const queue of ["a", "b"]) {
    await server.createQueue(queue);
    await server.produce(queue, ...Array.from({ length: 500 }, String));
    for (let i = 0; i < 10; i++) await server.lease(queue, 25);
    const later = { utf8: "later", enqueue_at: new Date(Date.now() + MINUTE_MS).toISOString() };
    await server.ok("queue.produce", {
      queue_name: queue,
      request_timeout: "10s",
      items: [later],
    });
  }
  for (const by of [HOUR_MS, -HOUR_MS, -HOUR_MS, 2 * HOUR_MS]) {
    server.step(by);
    await sleep(1_200); // it is noticed
    const before = process.cpuUsage();
    await sleep(1_000);
    const { user, system } = process.cpuUsage(before);
    const ms = (user + system) / 1_000;
    assert.ok(ms < 300, `${ms} ms of work in a second after a step by ${by} ms`);
  }
});

test("a partition that fails is tried again although the wall clock was set back", async (t) => {
  let storage: FaultyStorage | undefined;
  const server = await stepping(t, {}, (inner) => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  });
  await server.createQueue("q");
  storage!.always("commit", "fail");
  const request = { queue_name: "q", request_timeout: "1s", items: [{ utf8: "a" }] };
  assert.equal((await server.call("queue.produce", request)).status, 454);
  server.step(-HOUR_MS);
  storage!.heal();
  const until = performance.now() + PATIENCE_MS;
  while ((await server.stats("q")).failures !== undefined) {
    assert.ok(performance.now() < until, "it is not tried again");
    await sleep(20);
  }
});

test("a dead queue is asked again although the wall clock was set back", async (t) => {
  const server = await stepping(t, { dev: true });
  await server.createQueue("dead");
  await server.createQueue("q", { dead_queue: "dead", lease_timeout: "12h" });
  await server.produce("q", "a");
  const { items } = await server.lease("q");
  const bury = (): Promise<Reply> => server.retry("q", [{ id: items[0].id, dead: true }]);
  await server.ok("dev.pause", { queue_name: "dead" });
  const refused = bury();
  let isOver = false;
  void refused.finally(() => {
    isOver = true;
  });
  while (!isOver) await server.advance("10s");
  assert.equal((await refused).status, 454);
  await server.ok("dev.resume", { queue_name: "dead" });
  server.step(-HOUR_MS);
  const until = performance.now() + PATIENCE_MS;
  while ((await bury()).status !== 200) {
    assert.ok(performance.now() < until, "it is left alone");
    await sleep(50);
  }
  assert.deepEqual(payloads(await server.lease("dead")), ["a"]);
});

for (const year of [1970, 2300]) {
  test(`a queue may be made and used while the wall clock says ${year}`, async (t) => {
    const server = await stepping(t);
    server.step(Date.UTC(year, 0, 2) - Date.now());
    await server.createQueue("q");
    await server.produce("q", "a", "b");
    const { items } = await server.lease("q", 2);
    assert.deepEqual(payloads({ items }), ["a", "b"]);
    const ids = items.map(({ id }: { id: string }) => id);
    for (const id of ids) assert.match(id, /^[0-9A-Za-z]{27}$/);
    assert.equal((await server.complete("q", ids)).status, 200);
  });
}
