// What is kept of items that have ended: how, for how long, how many, and what came of the work. It is as
// durable as the end itself, and a queue that keeps nothing writes nothing.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { HOUR, VirtualClock } from "../../src/clock.ts";
import { CompleteRequest } from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { TestQueue } from "../support/queue.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const queue_name = "q";

type Json = Readonly<Record<string, unknown>>;

interface Leased {
  readonly id: string;
  readonly lease_id: string;
}

async function create(server: TestServer, settings: Json = {}): Promise<void> {
  await server.ok("/v2/queues.create", { queue_name, keep_completed: "1h", ...settings });
}

async function produce(server: TestServer, ...items: readonly Json[]): Promise<void> {
  await server.ok("/v2/queue.produce", { queue_name, items });
}

async function lease(server: TestServer, count = 1): Promise<readonly Leased[]> {
  return (await server.ok("/v2/queue.lease", { queue_name, batch_size: count })).items;
}

async function complete(server: TestServer, ...leases: readonly Json[]): Promise<void> {
  const { failed } = await server.ok("/v2/queue.complete", { queue_name, leases });
  assert.equal(failed, undefined);
}

const get = (server: TestServer, id: string, payload = false) =>
  server.call("/v2/item.get", { queue_name, id, payload });

async function states(server: TestServer, state: string): Promise<readonly string[]> {
  const { items = [] } = await server.ok("/v2/items.list", { queue_name, state });
  return items.map(({ id }: Leased) => id);
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });

  describe(`history on ${place}`, () => {
    test("tells how each item ended, with its result, its error and what it was", async (t) => {
      const server = await start(t);
      await server.advance("0s");
      await create(server, { max_attempts: 2, lease_timeout: "1m", expire_timeout: "30m" });
      const items = ["done", "rejected", "expired", "cancelled", "attempts"];
      await produce(server, ...items.map((kind) => ({ kind, reference: "r", utf8: kind })));
      const [done, rejected, expired, cancelled, attempts] = await lease(server, 5);
      await complete(server, { lease_id: done!.lease_id, result: { n: 1.5, s: "ä" } });
      const error = { type: "E", message: "m" };
      const reject = { queue_name, leases: [{ lease_id: rejected!.lease_id, error }] };
      await server.ok("/v2/queue.reject", reject);
      const release = [expired, cancelled].map((each) => ({ lease_id: each!.lease_id }));
      await server.ok("/v2/queue.release", { queue_name, leases: release });
      await server.ok("/v2/item.cancel", { queue_name, id: cancelled!.id });
      const retry = { queue_name, leases: [{ lease_id: attempts!.lease_id, delay: "1m" }] };
      await server.ok("/v2/queue.retry", retry);
      await server.advance("61s");
      const [, last] = await server.until(async () => {
        const waiting = await states(server, "waiting");
        return waiting.length === 2 && (await lease(server, 2));
      });
      assert.equal(last!.id, attempts!.id);
      await server.advance("31m");
      await server.until(async () => (await states(server, "rejected")).length === 2);
      await server.until(async () => (await states(server, "expired")).length === 1);
      const all = await Promise.all(
        [done, rejected, expired, cancelled, attempts].map((each) => get(server, each!.id)),
      );
      assert.deepEqual(
        all.map(({ body }) => [body.kind, body.state, body.attempts, body.reference]),
        [
          ["done", "completed", 1, "r"],
          ["rejected", "rejected", 1, "r"],
          ["expired", "expired", 1, "r"],
          ["cancelled", "cancelled", undefined, "r"],
          ["attempts", "rejected", 2, "r"],
        ],
      );
      assert.deepEqual(all[0]!.body.result, { n: 1.5, s: "ä" });
      assert.deepEqual(all[1]!.body.last_error, error);
      assert.ok(all[0]!.body.ended_at >= all[0]!.body.created_at);
      assert.deepEqual(await states(server, "completed"), [done!.id]);
    });

    test("is there after a restart, for its time, and then gone", async (t) => {
      const options = await freshPlace(t, driver);
      let server = await setup(t, { threads, ...options });
      const { now } = await server.advance("0s");
      await create(server, { keep_payload: true });
      await produce(server, { json: { a: [1, 2.0] } }, { utf8: "x".repeat(64 * 1024 + 1) });
      const [a, b] = await lease(server, 2);
      await complete(server, { lease_id: a!.lease_id, result: "ok" }, { lease_id: b!.lease_id });
      if (driver !== "memory") {
        await server.server.stop();
        server = await setup(t, { threads, ...options });
        await server.ok("dev.clock", { now });
      }
      const { body } = await get(server, a!.id, true);
      assert.deepEqual([body.state, body.result, body.json], ["completed", "ok", { a: [1, 2] }]);
      // Too large to be kept.
      const { body: large } = await get(server, b!.id, true);
      assert.deepEqual([large.state, large.utf8 ?? ""], ["completed", ""]);
      await server.advance("59m");
      assert.equal((await get(server, a!.id)).status, 200);
      await server.advance("2m");
      assert.equal((await get(server, a!.id)).status, 404);
      assert.deepEqual(await states(server, "completed"), []);
      const stats = async () => (await server.ok("/v2/queue.stats", { queue_name })).totals.kept;
      await server.advance("2h");
      await server.until(async () => (await stats()) === 0);
    });

    test("is bounded in number, and forgets first what was produced first", async (t) => {
      const server = await start(t);
      await create(server, { keep_max: 3 });
      const ids: string[] = [];
      for (let i = 0; i < 4; i++) {
        await produce(server, { utf8: "a" }, { utf8: "b" });
        const items = await lease(server, 2);
        await complete(server, ...items.map(({ lease_id }) => ({ lease_id })));
        ids.push(...items.map(({ id }) => id));
      }
      await server.until(async () => (await states(server, "completed")).length === 3);
      assert.deepEqual(await states(server, "completed"), ids.slice(-3));
      assert.equal((await server.ok("/v2/queue.stats", { queue_name })).totals.kept, 3);
      await server.ok("/v2/queues.update", { queue_name, keep_max: 1 });
      await server.until(async () => (await states(server, "completed")).length === 1);
    });

    test("goes sooner once it is to be kept for a shorter time, and at once if it is not to be kept", async (t) => {
      const server = await start(t);
      await server.advance("0s");
      await create(server);
      const end = async (): Promise<string> => {
        await produce(server, { utf8: "a" });
        const [leased] = await lease(server);
        await complete(server, { lease_id: leased!.lease_id });
        return leased!.id;
      };
      const old = await end();
      await server.advance("20m");
      const young = await end();
      const update = (keep_completed: string): Promise<unknown> =>
        server.ok("/v2/queues.update", { queue_name, keep_completed });
      const kept = async () => (await server.ok("/v2/queue.stats", { queue_name })).totals.kept;
      await update("10m");
      await server.until(async () => (await get(server, old)).status === 404);
      assert.deepEqual(await states(server, "completed"), [young]);
      await server.advance("11m");
      assert.equal((await get(server, young)).status, 404);
      await end();
      await update("0s");
      await server.until(async () => (await kept()) === 0);
      assert.deepEqual(await states(server, "completed"), []);
    });

    test("forgets by its id what has ended", async (t) => {
      const server = await start(t);
      await create(server, { requested_partitions: 2 });
      await produce(server, { utf8: "a" }, { utf8: "b" });
      const [a, b] = await lease(server, 2);
      await complete(server, { lease_id: a!.lease_id }, { lease_id: b!.lease_id });
      const request = { queue_name, ids: [a!.id] };
      const { failed, results } = await server.ok("/v2/items.delete", request);
      assert.deepEqual([failed, results[0].ok], [undefined, true]);
      assert.equal((await get(server, a!.id)).status, 404);
      assert.deepEqual(await states(server, "completed"), [b!.id]);
      assert.equal((await server.ok("/v2/queue.stats", { queue_name })).totals.kept, 1);
      const again = await server.ok("/v2/items.delete", request);
      assert.equal(again.results[0].code, "item_not_found");
    });

    test("tells what a cancelled item was that ends beside one that dies", async (t) => {
      const server = await start(t);
      await create(server, { keep_payload: true });
      const item = { kind: "mail", reference: "r", headers: { h: "1" } };
      for (const more of [{}, { dead_queue: "dead" }]) {
        await server.createQueue("dead").catch(() => undefined);
        await server.ok("/v2/queues.update", { queue_name, ...more });
        await produce(server, { ...item, utf8: "a" }, { ...item, utf8: "b" });
        const [a, b] = await lease(server, 2);
        await server.ok("/v2/item.cancel", { queue_name, id: a!.id });
        const leases = [{ lease_id: a!.lease_id }, { lease_id: b!.lease_id }];
        const { results } = await server.ok("/v2/queue.reject", { queue_name, leases });
        assert.deepEqual([results[0].code, results[1].ok], ["item_cancelled", true]);
        const { body } = await get(server, a!.id, true);
        assert.deepEqual(
          [body.state, body.kind, body.reference, body.headers, body.utf8],
          ["cancelled", "mail", "r", { h: "1" }, "a"],
        );
      }
    });

    test("holds nothing of what was deleted, or has gone to a dead queue", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await create(server, { dead_queue: "dead" });
      await produce(server, { utf8: "a" }, { utf8: "b" });
      const [a, b] = await lease(server, 2);
      const reject = { queue_name, leases: [{ lease_id: a!.lease_id }] };
      await server.ok("/v2/queue.reject", reject);
      await server.ok("/v2/items.delete", { queue_name, ids: [b!.id] });
      for (const state of ["completed", "rejected", "expired", "cancelled"]) {
        assert.deepEqual(await states(server, state), []);
      }
      assert.equal((await get(server, a!.id)).body.queue_name, "dead");
      assert.equal((await get(server, b!.id)).status, 404);
    });
  });
}

test("a result that is too large is refused by its field, and nothing is done", async (t) => {
  const server = await setup(t);
  await create(server);
  await produce(server, { utf8: "a" }, { utf8: "b" });
  const [a, b] = await lease(server, 2);
  const large = "x".repeat(64 * 1024 - 1); // two quotes more
  const leases = [{ lease_id: a!.lease_id }, { lease_id: b!.lease_id, result: large }];
  const { status, body } = await server.call("/v2/queue.complete", { queue_name, leases });
  assert.deepEqual([status, body.field], [400, "leases[1].result"]);
  assert.equal((await states(server, "leased")).length, 2);
});

test("a duration that is empty is refused where a queue or an item says it, and nothing changes", async (t) => {
  const server = await setup(t);
  await create(server);
  for (const [field, said] of [
    ["keep_completed", { keep_completed: "" }],
    ["retry.delay", { retry: { delay: "" } }],
    ["retry.max_delay", { retry: { max_delay: "" } }],
  ] as const) {
    const calls = [
      ["queues.create", { queue_name: "other", ...said }, field],
      ["queues.update", { queue_name, ...said }, field],
      ["queues.apply", { queues: [{ queue_name, ...said }] }, `queues[0].${field}`],
    ] as const;
    for (const [call, request, at] of calls) {
      const { status, body } = await server.call(`/v2/${call}`, request);
      assert.deepEqual([status, body.field], [400, at], `${call} ${field}`);
      assert.match(body.detail, / is invalid; cannot be empty$/);
    }
  }
  const items = [{ utf8: "a", retry: { max_delay: "" } }];
  const { body } = await server.call("/v2/queue.produce", { queue_name, items });
  assert.deepEqual(body.field, "items[0].retry.max_delay");
  const { keep_completed } = await server.ok("/v2/queues.info", { queue_name });
  assert.equal(keep_completed, "1h0m0s");
});

test("what is kept is written with the end, or not at all; without history nothing is", async (t) => {
  const storage = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const clock = new VirtualClock();
  const rules = { keepCompleted: HOUR };
  const kept = await TestQueue.open(t, { storages: [storage.storage], clock, rules });
  const [id] = (await kept.leased(1)) as [string];
  const complete = (test: TestQueue, ending: string): Promise<unknown> =>
    test.queue.submit(new CompleteRequest(0, [ending], test.deadline, { results: ["1"] }));
  storage.next("commit", "fail");
  await assert.rejects(complete(kept, id));
  assert.equal(await storage.storage.findKeys(1, 5, [id]).then(({ size }) => size), 0);
  clock.advance(HOUR / 3_600);
  await complete(kept, id);
  const entry = (await storage.storage.findKeys(1, 5, [id])).get(id)!;
  assert.equal((JSON.parse(entry.value) as Json).result, "1");

  const plainStorage = new FaultyStorage(new MemoryStorage({ name: "b" }));
  const plain = await TestQueue.open(t, { storages: [plainStorage.storage], clock });
  const [other] = (await plain.leased(1)) as [string];
  await complete(plain, other);
  assert.deepEqual(
    plainStorage.commits.flat().flatMap(({ addsKey }) => addsKey),
    [],
  );
});

test("of a cancelled item whose lease ends while a turn reads what others held is kept all the same", async (t) => {
  const storage = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const clock = new VirtualClock();
  const rules = { keepCompleted: HOUR, keepPayload: true };
  const kept = await TestQueue.open(t, { storages: [storage.storage], clock, rules });
  const [cancelled] = (await kept.leased(1)) as [string];
  await kept.queue.cancelItem(cancelled);
  clock.advance(HOUR / 120);
  const [done] = (await kept.leased(1)) as [string];
  storage.next("readItems", "wait");
  const completed = kept.queue.submit(new CompleteRequest(0, [done], kept.deadline, {}));
  await storage.waits();
  clock.advance(HOUR / 90);
  storage.release();
  await completed;
  await kept.settled();
  const entries = await storage.storage.findKeys(1, 5, [cancelled, done]);
  const payloads = [cancelled, done].map((id) => JSON.parse(entries.get(id)!.value).payload);
  assert.deepEqual(payloads, ["YQ==", "YQ=="]);
});

test("what is to be kept for a shorter time goes sooner also if the server ends before it has gone through it", async (t) => {
  const place = await freshPlace(t, "sqlite");
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: Storage): Storage => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const first = await setup(t, place, { wrapStorage });
  await first.advance("0s");
  await create(first, { keep_completed: "24h" });
  const items = Array.from({ length: 2_500 }, () => ({ utf8: "a" }));
  for (const some of [items.slice(0, 1_000), items.slice(1_000, 2_000), items.slice(2_000)]) {
    await produce(first, ...some);
    await complete(first, ...(await lease(first, 1_000)).map(({ lease_id }) => ({ lease_id })));
  }
  await produce(first, { utf8: "b" });
  const [last] = await lease(first);
  await complete(first, { lease_id: last!.lease_id });
  await first.advance("20m");
  // The queue is to keep less from now on, and no commit of its loop goes through any more.
  storage!.always("commit", "fail");
  await first.ok("/v2/queues.update", { queue_name, keep_completed: "10m" });
  assert.equal((await get(first, last!.id)).status, 404);
  await first.server.stop();

  const second = await setup(t, place);
  await second.advance("20m");
  assert.equal((await get(second, last!.id)).status, 404);
  assert.deepEqual(await states(second, "completed"), []);
  // Entries whose time is over are removed in steps, when there is time: long before their first time is over.
  const isRidOfAll = async (server: TestServer): Promise<void> => {
    for (let minute = 0; minute < 60; minute++) {
      await server.advance("1m");
      if ((await server.ok("/v2/queue.stats", { queue_name })).totals.kept === 0) return;
    }
    assert.fail("something is still kept");
  };
  await isRidOfAll(second);
  // It is kept for longer again, and is then to be kept for less than that.
  await second.ok("/v2/queues.update", { queue_name, keep_completed: "12h" });
  await produce(second, { utf8: "c" });
  const [other] = await lease(second);
  await complete(second, { lease_id: other!.lease_id });
  await second.advance("2h");
  assert.equal((await get(second, other!.id)).status, 200);
  await second.server.stop();

  const third = await setup(t, place);
  await third.ok("/v2/queues.update", { queue_name, keep_completed: "1h" });
  await third.advance("4h");
  assert.equal((await get(third, other!.id)).status, 404);
  await isRidOfAll(third);
});
