// When items are tried again that failed: as their queue says, or they themselves. What their consumers say of
// the failure stays with them.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const queue_name = "q";

type Json = Readonly<Record<string, unknown>>;

interface Item {
  readonly id: string;
  readonly lease_id: string;
  readonly utf8: string;
  readonly attempts: number;
  readonly state?: string;
  readonly enqueue_at?: string;
  readonly last_error?: Json;
}

/** Leases up to so many items, waiting for none. */
async function lease(server: TestServer, count = 1, more: Json = {}): Promise<readonly Item[]> {
  const request = { queue_name, batch_size: count, request_timeout: "10ms", ...more };
  return (await server.ok("/v2/queue.lease", request)).items;
}

/** The items of a state, after all that time has brought about. */
async function list(server: TestServer, state = "", queue = queue_name): Promise<readonly Item[]> {
  return (
    (await server.ok("/v2/items.list", { queue_name: queue, state, payload: true })).items ?? []
  );
}

async function retry(server: TestServer, ...leases: readonly Json[]): Promise<void> {
  const { failed } = await server.ok("/v2/queue.retry", { queue_name, leases });
  assert.equal(failed, undefined);
}

async function create(server: TestServer, settings: Json = {}): Promise<void> {
  await server.ok("/v2/queues.create", { queue_name, ...settings });
}

async function produce(server: TestServer, ...items: readonly Json[]): Promise<void> {
  await server.ok("/v2/queue.produce", { queue_name, items });
}

/** How many seconds from now the only scheduled item is due in. */
async function waits(server: TestServer): Promise<number> {
  const [item] = await list(server, "scheduled");
  const { now } = await server.advance("0s");
  return (Date.parse(item!.enqueue_at!) - Date.parse(now)) / 1_000;
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    await server.advance("0s");
    return server;
  };

  describe(`a retry policy on ${place}`, () => {
    test("makes each wait longer than the one before, up to the longest", async (t) => {
      const server = await start(t);
      const retries = { delay: "10s", factor: 3, max_delay: "1m", jitter: 0 };
      await create(server, { retry: retries });
      await produce(server, { utf8: "a" });
      const seen: number[] = [];
      for (let i = 0; i < 4; i++) {
        const [item] = await server.until(async () => {
          const items = await lease(server);
          return items.length > 0 && items;
        });
        await retry(server, { lease_id: item!.lease_id });
        seen.push(await waits(server));
        await server.advance("61s");
      }
      assert.deepEqual(seen, [10, 30, 60, 60]);
    });

    test("leaves a part of each wait to chance", async (t) => {
      const server = await start(t);
      await create(server, { retry: { delay: "100s", jitter: 0.5 } });
      const texts = Array.from({ length: 50 }, (_, i) => ({ utf8: `${i}` }));
      await produce(server, ...texts);
      const items = await lease(server, 50);
      await retry(server, ...items.map(({ lease_id }) => ({ lease_id })));
      const { now } = await server.advance("0s");
      const delays = (await list(server, "scheduled")).map(
        ({ enqueue_at }) => (Date.parse(enqueue_at!) - Date.parse(now)) / 1_000,
      );
      assert.equal(delays.length, 50);
      for (const delay of delays) assert.ok(delay >= 50 && delay <= 100, `${delay}`);
      assert.ok(new Set(delays).size > 40);
    });

    test("leaves times that are given as they are, and what is released, and /v1", async (t) => {
      const server = await start(t);
      await create(server, { retry: { delay: "1h" } });
      await produce(server, { utf8: "a" }, { utf8: "b" }, { utf8: "c" }, { utf8: "d" });
      const [a, b, c, d] = await lease(server, 4);
      await retry(
        server,
        { lease_id: a!.lease_id, delay: "0s" },
        { lease_id: b!.lease_id, delay: "5s" },
      );
      await server.ok("/v2/queue.release", { queue_name, leases: [{ lease_id: c!.lease_id }] });
      await server.retry("q", [{ id: d!.lease_id }]);
      const waiting = (await list(server, "waiting")).map(({ utf8 }) => utf8);
      assert.deepEqual(waiting.toSorted(), ["a", "c", "d"]);
      assert.equal(await waits(server), 5);
    });

    test("of an item goes before that of its queue, also when the item has moved", async (t) => {
      const server = await start(t);
      await create(server, { max_attempts: 1, retry: { delay: "1h", jitter: 0 } });
      const own = { max_attempts: 3, retry: { delay: "10s", factor: 1 } };
      await produce(server, { utf8: "own", ...own }, { utf8: "plain" });
      const shown = (await list(server))[0] as unknown as Json;
      assert.deepEqual([shown.max_attempts, shown.retry], [3, { delay: "10s", factor: 1 }]);
      for (let i = 0; i < 3; i++) {
        const items = await lease(server, 2);
        assert.ok(items.some(({ utf8 }) => utf8 === "own"));
        await retry(server, ...items.map(({ lease_id }) => ({ lease_id })));
        if (i === 2) break;
        assert.equal(await waits(server), 10);
        await server.advance("11s");
        await server.until(async () => (await list(server, "waiting")).length === 1);
      }
      assert.deepEqual(await list(server), []);
      assert.deepEqual(await list(server, "scheduled"), []);
    });

    test("ends an item that may live for less long than others", async (t) => {
      const server = await start(t);
      await create(server);
      await produce(server, { utf8: "short", expire_in: "5m" }, { utf8: "long" });
      await produce(server, { utf8: "later", expire_in: "5m", delay: "10m" });
      await server.advance("6m");
      await server.until(async () => (await list(server)).length === 1);
      await server.advance("5m");
      const due = await server.until(async () => {
        const items = await list(server);
        return items.length === 2 && items;
      });
      assert.deepEqual(
        due.map(({ utf8 }) => utf8),
        ["long", "later"],
      );
      await server.advance("6m");
      await server.until(async () => (await list(server)).length === 1);
    });

    test("lets an item live for ever that others outlive", async (t) => {
      const server = await start(t);
      await create(server, { expire_timeout: "5m", lease_timeout: "1m" });
      await produce(server, { utf8: "short" }, { utf8: "long", expire_in: "never" });
      await server.advance("1000h");
      const left = await server.until(async () => {
        const items = await list(server);
        return items.length === 1 && items;
      });
      assert.equal(left[0]!.utf8, "long");
    });

    test("decides about leases that end by themselves, if the queue says so", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      const settings = { lease_timeout: "1m", dead_queue: "dead" };
      await create(server, { ...settings, retry: { delay: "30s", jitter: 0 } });
      await produce(server, { utf8: "a" });
      // At once by default.
      assert.equal((await lease(server, 1, { request_timeout: "1m" })).length, 1);
      await server.advance("61s");
      await server.until(async () => (await list(server, "waiting")).length === 1);
      const update = (on_lease_end: string) =>
        server.ok("/v2/queues.update", { queue_name, on_lease_end });
      await update("retry_delayed");
      assert.equal((await lease(server, 1, { request_timeout: "1m" })).length, 1);
      await server.advance("61s");
      await server.until(async () => (await list(server, "scheduled")).length === 1);
      assert.equal(await waits(server), 60); // the second attempt
      await server.advance("61s");
      await server.until(async () => (await list(server, "waiting")).length === 1);
      await update("reject");
      assert.equal((await lease(server, 1, { request_timeout: "1m" })).length, 1);
      await server.advance("61s");
      await server.until(async () => (await list(server, "", "dead")).length === 1);
      assert.deepEqual(await list(server), []);
    });

    test("error of a retry is answered with the next lease, cut, until there is another", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await create(server, { dead_queue: "dead" });
      await produce(server, { utf8: "a" });
      const [first] = await lease(server);
      assert.equal(first!.last_error, undefined);
      const error = { type: "TimeoutError", message: "too slow", stack: "ä".repeat(4_000) };
      await retry(server, { lease_id: first!.lease_id, error });
      const [second] = await lease(server);
      const { type, message, stack } = second!.last_error as typeof error;
      assert.deepEqual([type, message], [error.type, error.message]);
      assert.ok(error.stack.startsWith(stack));
      assert.ok([4_095, 4_096].includes(Buffer.byteLength(type + message + stack)));
      // A retry that says nothing of it leaves it, and so does a time.
      await retry(server, { lease_id: second!.lease_id, delay: "1m" });
      const [scheduled] = await list(server, "scheduled");
      assert.deepEqual(scheduled!.last_error, second!.last_error);
      await server.advance("61s");
      await server.until(async () => (await list(server, "waiting")).length === 1);
      const [third] = await lease(server);
      assert.deepEqual(third!.last_error, second!.last_error);
      const leases = [{ lease_id: third!.lease_id, error: { message: "no" } }];
      await server.ok("/v2/queue.reject", { queue_name, leases });
      const [dead] = await list(server, "", "dead");
      assert.deepEqual([dead!.id, dead!.last_error], [first!.id, { message: "no" }]);
    });
  });
}

test("an item's own wait is not cut by what its queue says later", async (t) => {
  const server = await setup(t);
  await server.advance("0s");
  const retries = { delay: "1s", max_delay: "1h", jitter: 0 };
  await create(server, { retry: retries });
  await produce(server, { utf8: "a", retry: { delay: "7s" } });
  await server.ok("/v2/queues.update", { queue_name, retry: { max_delay: "5s" } });
  const [leased] = await lease(server);
  await retry(server, { lease_id: leased!.lease_id });
  assert.equal(await waits(server), 7);
});

test("what is wrong with a policy is told by its field", async (t) => {
  const server = await setup(t);
  await create(server);
  const WRONG: readonly (readonly [Json, string])[] = [
    [{ retry: { delay: "-1s" } }, "retry.delay"],
    [{ retry: { delay: "8761h" } }, "retry.delay"],
    [{ retry: { factor: 0.5 } }, "retry.factor"],
    [{ retry: { jitter: 1.5 } }, "retry.jitter"],
    [{ retry: { max_delay: "soon" } }, "retry.max_delay"],
    [{ max_attempts: -1 }, "max_attempts"],
    [{ max_attempts: 2, retry: { max_attempts: 3 } }, "retry.max_attempts"],
  ];
  for (const [policy, field] of WRONG) {
    const queue = await server.call("/v2/queues.update", { queue_name, ...policy });
    assert.deepEqual([queue.status, queue.body.field], [400, field]);
    const items = [{ utf8: "a" }, { utf8: "b", ...policy }];
    const item = await server.call("/v2/queue.produce", { queue_name, items });
    assert.deepEqual([item.status, item.body.field], [400, `items[1].${field}`]);
  }
  const ends = await server.call("/v2/queues.update", { queue_name, on_lease_end: "later" });
  assert.deepEqual([ends.status, ends.body.field], [400, "on_lease_end"]);
  const items = [{ utf8: "a", expire_in: "0s" }];
  const lives = await server.call("/v2/queue.produce", { queue_name, items });
  assert.deepEqual([lives.status, lives.body.field], [400, "items[0].expire_in"]);
  assert.deepEqual(await list(server), []);
});

test("a first wait that is longer than the longest is refused, or raises one that is not given", async (t) => {
  const server = await setup(t);
  await server.advance("0s");
  const odd = { delay: "10m", max_delay: "5m" };
  const refused = async (path: string, request: Json, field: string): Promise<void> => {
    const { status, body } = await server.call(path, request);
    assert.deepEqual([status, body.code, body.field], [400, "invalid_field", field]);
  };
  await refused("/v2/queues.create", { queue_name, retry: odd }, "retry.delay");
  const queues = [{ queue_name, retry: odd }];
  await refused("/v2/queues.apply", { queues }, "queues[0].retry.delay");
  const made = await server.ok("/v2/queues.create", { queue_name, retry: { delay: "2h" } });
  assert.equal(made.retry.max_delay, "2h0m0s");
  const change = (
    retry: Json,
  ): Promise<{ readonly retry: { readonly delay: string; readonly max_delay: string } }> =>
    server.ok("/v2/queues.update", { queue_name, retry });
  await refused("/v2/queues.update", { queue_name, retry: odd }, "retry.delay");
  const short = { queue_name, retry: { max_delay: "1h" } };
  await refused("/v2/queues.update", short, "retry.max_delay");
  await refused("/v2/queues.apply", { queues: [short] }, "queues[0].retry.max_delay");
  assert.equal((await change({ delay: "3h" })).retry.max_delay, "3h0m0s");
  assert.equal((await change({ delay: "1m", max_delay: "1h", jitter: 0 })).retry.delay, "1m0s");
  const [diff] = (
    await server.ok("/v2/queues.apply", { queues: [{ queue_name, retry: { delay: "90m" } }] })
  ).queues;
  assert.deepEqual(
    diff.changes.map(({ setting, to }: Json) => [setting, to]),
    [
      ["retry.delay", "1h30m0s"],
      ["retry.max_delay", "1h30m0s"],
    ],
  );
  await change({ delay: "1m", max_delay: "1h" });

  const items = [{ utf8: "a" }, { utf8: "b", retry: odd }];
  await refused("/v2/queue.produce", { queue_name, items }, "items[1].retry.delay");
  await produce(server, { utf8: "a", retry: { delay: "2h", jitter: 0 } });
  const [leased] = await lease(server);
  const follow = [{ items: [{ utf8: "c", retry: odd }] }];
  const leases = [{ lease_id: leased!.lease_id }];
  const path = "produce[0].items[0].retry.delay";
  await refused("/v2/queue.complete", { queue_name, leases, produce: follow }, path);
  await retry(server, ...leases);
  assert.equal(await waits(server), 7_200);
});

test("a queue shows its policy, and an update changes what it names", async (t) => {
  const server = await setup(t);
  await create(server, { retry: { delay: "5s", max_attempts: 7 } });
  const before = await server.ok("/v2/queues.info", { queue_name });
  assert.equal(before.max_attempts, 7);
  assert.deepEqual(before.retry, {
    delay: "5s",
    factor: 2,
    max_delay: "1h0m0s",
    jitter: 0.2,
    max_attempts: 7,
  });
  assert.equal(before.on_lease_end, "retry_now");
  await server.ok("/v2/queues.update", { queue_name, retry: { factor: 1 } });
  // /v1 neither knows of it nor takes it away.
  await server.ok("queues.update", { queue_name, lease_timeout: "2m" });
  const after = await server.ok("/v2/queues.info", { queue_name });
  assert.deepEqual(after.retry, { ...before.retry, factor: 1, max_attempts: 0 });
  const { retry: _, ...old } = await server.ok("queues.info", { queue_name });
  assert.equal(_, undefined);
  assert.ok(!("on_lease_end" in old));
});
