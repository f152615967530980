// What queue.stats of /v2 tells of the last minutes: rates, and how long items wait and run. The clock stands
// still and is moved, so every number is known.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { HOUR, SECOND, VirtualClock } from "../../src/clock.ts";
import {
  QueueStatsRequestSchema,
  QueueStatsResponseSchema,
} from "../../src/codec/gen/querator/v2/queue_pb.ts";
import {
  CompleteRequest,
  type Leased,
  LeaseRequest,
  type Measured,
  RetryRequest,
} from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { leaseIds, TestQueue } from "../support/queue.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

// biome-ignore lint/suspicious/noExplicitAny: replies have every shape
type Json = any;

async function totals(server: TestServer): Promise<Json> {
  return (await server.ok("/v2/queue.stats", { queue_name: "q" })).totals;
}

// Those that are not 0.
async function rates(server: TestServer): Promise<Json> {
  const { rates: all } = await totals(server);
  return Object.fromEntries(Object.entries(all).filter(([, rate]) => rate !== 0));
}

async function produce(server: TestServer, ...items: object[]): Promise<void> {
  await server.ok("/v2/queue.produce", { queue_name: "q", items });
}

/** Leases all that wait, which are so many, in whatever partitions they lie. */
async function lease(server: TestServer, count: number): Promise<{ lease_id: string }[]> {
  await server.until(async () => (await totals(server)).waiting === count);
  const leases: { lease_id: string }[] = [];
  while (leases.length < count) {
    const { items } = await server.ok("/v2/queue.lease", { queue_name: "q", batch_size: count });
    leases.push(...items.map(({ lease_id }: Json) => ({ lease_id })));
  }
  return leases;
}

async function end(server: TestServer, verb: string, leases: object[]): Promise<void> {
  const reply = await server.ok(`/v2/queue.${verb}`, { queue_name: "q", leases });
  assert.equal(reply.failed, undefined);
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext, settings: object = {}): Promise<TestServer> => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    await server.advance("0s");
    await server.createQueue("q", { lease_timeout: "1h", requested_partitions: 2, ...settings });
    return server;
  };

  describe(`what is measured of a queue, on ${place}`, () => {
    test("rates are those of the last minute, or of the life of the queue", async (t) => {
      const server = await start(t, { max_attempts: 2 });
      const items = Array.from({ length: 60 }, (_, i) => ({ utf8: String(i) }));
      await produce(server, ...items.slice(0, 30));
      await produce(server, ...items.slice(30));
      assert.deepEqual(await rates(server), { produced: 60 });
      await server.advance("30s");
      const leases = await lease(server, 60);
      await end(server, "complete", leases.slice(0, 30));
      await end(server, "retry", leases.slice(30, 45));
      await end(server, "reject", leases.slice(45, 54));
      await end(server, "release", leases.slice(54, 57));
      const ended = { completed: 1, retried: 0.5, dead: 0.3, released: 0.1 };
      assert.deepEqual(await rates(server), { produced: 2, leased: 2, ...ended });
      // The minute is not over.
      await server.advance("25s");
      const sooner = { completed: 0.545, retried: 0.273, dead: 0.164, released: 0.055 };
      assert.deepEqual(await rates(server), { produced: 1.091, leased: 1.091, ...sooner });
      await server.advance("30s");
      const later = { completed: 0.5, retried: 0.25, dead: 0.15, released: 0.05 };
      assert.deepEqual(await rates(server), { leased: 1, ...later });
      await server.advance("10s");
      assert.deepEqual(await rates(server), {});
    });

    test("an item waits from when it is in line until it is leased", async (t) => {
      const server = await start(t);
      const waitTime = async (): Promise<Json> => (await totals(server)).wait_time;
      await produce(server, { utf8: "a" }, { utf8: "b" });
      await produce(server, { utf8: "later", delay: "10s" });
      assert.equal(await waitTime(), undefined);
      await server.advance("10.001s");
      await server.until(async () => (await totals(server)).waiting === 3);
      await server.advance("20s");
      const leases = await lease(server, 3);
      // Two have waited for 30.001 s and one for 20: each number is the end of a bucket, or the longest.
      const longest = { p90: "30.001s", p95: "30.001s", p99: "30.001s", max: "30.001s" };
      assert.deepEqual(await waitTime(), { count: 3, p50: "30.001s", ...longest });
      // What comes back waits anew, at once or when its time has come.
      await end(server, "retry", [leases[0]!, { ...leases[1]!, delay: "5s" }]);
      await end(server, "release", [leases[2]!]);
      await server.advance("5.001s");
      await server.until(async () => (await totals(server)).waiting === 3);
      await server.advance("1s");
      await lease(server, 3);
      assert.deepEqual(await waitTime(), {
        count: 6,
        p50: "6.291456s",
        ...longest,
      });
      // It is forgotten.
      await server.advance("6m");
      assert.equal(await waitTime(), undefined);
    });

    test("a lease runs until its consumer ends it by completing, retrying or rejecting", async (t) => {
      const server = await start(t, { max_attempts: 2 });
      const runTime = async (): Promise<Json> => (await totals(server)).run_time;
      const utf8 = "a";
      await produce(server, { utf8 }, { utf8 }, { utf8 }, { utf8 }, { utf8 });
      const leases = await lease(server, 5);
      await server.advance("4s");
      await end(server, "complete", [leases[0]!]);
      const first = { p50: "4s", p90: "4s", p95: "4s", p99: "4s", max: "4s" };
      assert.deepEqual(await runTime(), { count: 1, ...first });
      await server.advance("4s");
      await end(server, "retry", [leases[1]!]);
      await end(server, "extend", [{ ...leases[2]!, for: "30m" }]);
      await server.advance("8s");
      await end(server, "reject", [leases[3]!]);
      await end(server, "release", [leases[4]!]);
      await server.advance("16s");
      // An extension does not begin anew.
      await end(server, "complete", [leases[2]!]);
      const rest = { p90: "32s", p95: "32s", p99: "32s", max: "32s" };
      assert.deepEqual(await runTime(), { count: 4, p50: "8.388608s", ...rest });
      // One that nobody ends does not count.
      const [last] = await lease(server, 2);
      await server.advance("61m");
      await server.until(async () => (await totals(server)).leased === 0);
      assert.equal(await runTime(), undefined);
      assert.ok(last);
    });
  });
}

async function measured({ queue }: TestQueue): Promise<Measured> {
  return (await queue.stats()).measured;
}

async function complete(world: TestQueue, ids: readonly string[]): Promise<void> {
  await world.queue.submit(new CompleteRequest(0, ids, world.deadline));
}

test("no step of the wall clock shows in what is measured", async (t) => {
  const clock = new VirtualClock();
  const world = await TestQueue.open(t, { clock });
  await world.produce(0, clock.now() + 10 * SECOND);
  clock.step(HOUR);
  // The step has made the second one leasable.
  while ((await world.items()).length < 2) await world.settled();
  clock.advance(2 * SECOND);
  const ids = leaseIds(await world.lease(2));
  assert.equal(ids.length, 2);
  clock.step(-2 * HOUR);
  clock.advance(3 * SECOND);
  await complete(world, ids);
  const { rates: all, wait, run } = await measured(world);
  assert.deepEqual([wait!.count, wait!.max, wait!.p50], [2, 2 * SECOND, 2 * SECOND]);
  assert.deepEqual([run!.count, run!.max, run!.p50], [2, 3 * SECOND, 3 * SECOND]);
  assert.equal(all.completed, 2 / 5);
});

test("with a restart it begins anew, and what was there before tells how long by its times", async (t) => {
  const clock = new VirtualClock();
  const first = await TestQueue.open(t, { clock });
  const [held] = await first.leased(1);
  await first.produce(0, 0, 0);
  clock.advance(20 * SECOND);
  const [back] = leaseIds(await first.lease(1));
  await first.queue.submit(new CompleteRequest(0, [back!], first.deadline));
  const second = await first.reopened();
  const fresh = await measured(second);
  assert.deepEqual([fresh.rates.produced, fresh.wait, fresh.run], [0, undefined, undefined]);
  clock.advance(10 * SECOND);
  await complete(second, [held!]);
  await second.produce(0);
  clock.advance(SECOND);
  await second.lease(3);
  const { rates: all, wait, run } = await measured(second);
  assert.equal(all.leased, 3 / 11);
  assert.deepEqual([run!.count, run!.max], [1, 30 * SECOND]);
  assert.deepEqual([wait!.count, wait!.max, wait!.p50], [3, 31 * SECOND, 31 * SECOND]);
});

test("what was not committed is not measured", async (t) => {
  const faulty = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const world = await TestQueue.open(t, { storages: [faulty.storage] });
  faulty.next("commit", "fail");
  await assert.rejects(world.produce(0, 0));
  await world.produce(0, 0, 0);
  faulty.next("commit", "fail");
  await assert.rejects(world.lease(3));
  const ids = leaseIds(await world.lease(3));
  faulty.next("commit", "fail");
  await assert.rejects(complete(world, ids));
  await complete(world, ids);
  const { rates: all, wait, run } = await measured(world);
  assert.deepEqual([all.produced, all.leased, all.completed], [3, 3, 3]);
  assert.deepEqual([wait!.count, run!.count], [3, 3]);
});

test("a lease that a failed commit did not end is held as long as it is", async (t) => {
  const faulty = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const clock = new VirtualClock();
  const world = await TestQueue.open(t, { storages: [faulty.storage], clock });
  const ids = await world.leased(1);
  clock.advance(2 * SECOND);
  faulty.next("commit", "fail");
  await assert.rejects(world.extend([ids[0]!, HOUR]));
  // Were it read from storage by its wall time, it would have been held for an hour more.
  clock.step(HOUR);
  clock.advance(SECOND);
  await complete(world, ids);
  assert.equal((await measured(world)).run!.max, 3 * SECOND);
});

test("what was changed waits anew in its new place", async (t) => {
  const server = await setup(t);
  await server.advance("0s");
  await server.createQueue("q");
  await produce(server, { utf8: "a" }, { utf8: "b", delay: "1h" });
  const { items } = await server.ok("/v2/items.list", { queue_name: "q", state: "scheduled" });
  await server.advance("10s");
  await server.ok("/v2/item.update", { queue_name: "q", id: items[0].id, delay: "0s" });
  await server.advance("5s");
  await lease(server, 2);
  const { count, p50, max } = (await totals(server)).wait_time;
  assert.deepEqual([count, p50, max], [2, "5.24288s", "15s"]);
});

test("what is measured travels as Protobuf as well", async (t) => {
  const server = await setup(t);
  await server.advance("0s");
  await server.createQueue("q");
  await produce(server, { utf8: "a" }, { utf8: "b" });
  await server.advance("2s");
  const leases = await lease(server, 2);
  await server.advance("3s");
  await end(server, "complete", leases);
  const request = create(QueueStatsRequestSchema, { queueName: "q" });
  const response = await fetch(`${server.server.address}/v2/queue.stats`, {
    method: "POST",
    headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
    body: Buffer.from(toBinary(QueueStatsRequestSchema, request)),
  });
  const body = new Uint8Array(await response.arrayBuffer());
  const { totals: sums } = fromBinary(QueueStatsResponseSchema, body);
  assert.equal(sums!.rates!.produced, 0.4);
  assert.equal(sums!.rates!.retried, 0);
  const { count, p50, max } = sums!.waitTime!;
  assert.deepEqual([count, p50, max], [2n, "2s", "2s"]);
  assert.equal(sums!.runTime!.p99, "3s");
});

test("how long items have waited is told of all that one batch leases, however long their leases last", async (t) => {
  const clock = new VirtualClock();
  const q = await TestQueue.open(t, { clock });
  const leases = await q.leased(4);
  // Each comes back at another time.
  for (const id of leases) {
    const items = [{ id, retryAt: 0, dead: false }];
    await q.queue.submit(new RetryRequest(0, items, q.deadline));
    clock.advance(SECOND);
  }
  const before = (await q.queue.stats()).measured.wait!.count;
  const lease = (leaseTimeout: number): Promise<Leased> =>
    q.queue.submit(
      new LeaseRequest("", 2, q.deadline, { isShared: true, leaseTimeout: leaseTimeout * SECOND }),
    );
  const leased = await Promise.all([lease(10), lease(20)]);
  assert.deepEqual(
    leased.map(({ items }) => items.length),
    [2, 2],
  );
  const { count, max } = (await q.queue.stats()).measured.wait!;
  assert.deepEqual([count - before, max], [4, 4 * SECOND]);
});
