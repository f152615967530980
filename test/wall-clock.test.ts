// What a wall clock that is set while the server runs may do, and what not: how long something takes or
// waits is none of its business. The tests set it apart from the system's, on all threads.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServerOptions } from "../src/config.ts";
import type { Storage } from "../src/storage/storage.ts";
import { setup, type TestServer, temporaryDirectory } from "./support/server.ts";
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
