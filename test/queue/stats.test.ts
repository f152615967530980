// What queue.stats of /v2 tells: a queue in numbers, and what has become of its items ever since it was
// made. That nothing comes or goes uncounted, whatever happens, is a matter of the simulation.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueueStatsRequestSchema,
  QueueStatsResponseSchema,
} from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

// biome-ignore lint/suspicious/noExplicitAny: replies have every shape
type Json = any;

// What there is any of, and was counted; that the rest is told as 0, and what is measured, have tests of their own.
async function totals(server: TestServer, queue = "q"): Promise<Json> {
  const { counts, ...all } = (await server.ok("/v2/queue.stats", { queue_name: queue })).totals;
  const { rates: _, wait_time: _waits, run_time: _runs, ...rest } = all;
  return { ...withoutZeros(rest), counts: withoutZeros(counts) };
}

function withoutZeros(numbers: object): object {
  return Object.fromEntries(Object.entries(numbers).filter(([, number]) => number !== 0));
}

async function produce(server: TestServer, ...items: object[]): Promise<void> {
  await server.ok("/v2/queue.produce", { queue_name: "q", items });
}

async function lease(server: TestServer, count: number): Promise<{ lease_id: string }[]> {
  const request = { queue_name: "q", batch_size: count };
  const { items } = await server.ok("/v2/queue.lease", request);
  assert.equal(items.length, count);
  return items.map(({ lease_id }: Json) => ({ lease_id }));
}

async function end(server: TestServer, verb: string, leases: object[]): Promise<void> {
  const reply = await server.ok(`/v2/queue.${verb}`, { queue_name: "q", leases });
  assert.equal(reply.failed, undefined);
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });

  describe(`the statistics of a queue, on ${place}`, () => {
    test("count whatever becomes of an item", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { dead_queue: "dead", max_attempts: 3 });
      await server.advance("0s");
      assert.deepEqual(await totals(server), { counts: {} });

      await produce(server, ...Array.from({ length: 9 }, (_, i) => ({ utf8: String(i) })));
      await produce(server, { utf8: "later", delay: "24h" });
      const leases = await lease(server, 7);
      await end(server, "complete", leases.slice(0, 2));
      await end(server, "retry", [leases[2]!, { ...leases[3]!, delay: "23h" }]);
      await end(server, "release", [leases[4]!]);
      await end(server, "extend", [{ ...leases[5]!, for: "2m" }]);
      await end(server, "extend", [{ ...leases[5]!, for: "3m" }]);
      await end(server, "reject", [leases[6]!]);
      const counts = {
        produced: 10,
        leased: 7,
        completed: 2,
        retried: 2,
        released: 1,
        extended: 2,
        moved: 1,
        dead: { rejected: 1 },
      };
      const now = { waiting: 4, scheduled: 2, leased: 1, oldest_age: "0s" };
      assert.deepEqual(await totals(server), { ...now, counts });
      assert.deepEqual(await totals(server, "dead"), {
        waiting: 1,
        oldest_age: "0s",
        counts: { received: 1 },
      });

      // A lease that nobody ends, and what is taken away.
      await server.advance("3m1s");
      const ended = { ...counts, lease_ends: 1 };
      const after = await server.until(async () => {
        const seen = await totals(server);
        return seen.leased === undefined && seen;
      });
      assert.deepEqual(after, { waiting: 5, scheduled: 2, oldest_age: "3m1s", counts: ended });
      const { items } = await server.ok("/v2/items.list", { queue_name: "q", limit: 1 });
      await server.ok("/v2/items.delete", { queue_name: "q", ids: [items[0].id] });
      await server.ok("/v2/queue.clear", { queue_name: "q", queue: true, scheduled: true });
      assert.deepEqual(await totals(server), { counts: { ...ended, deleted: 7 } });
    });

    test("count the dead by why, wherever they go", async (t) => {
      const server = await start(t);
      await server.createQueue("dead", { expire_timeout: "1000h" });
      const settings = { max_attempts: 1, lease_timeout: "1m", expire_timeout: "1h" };
      await server.createQueue("q", { ...settings, dead_queue: "dead" });
      for (const isThere of [true, false]) {
        if (!isThere) await server.ok("/v2/queues.delete", { queue_name: "dead", force: true });
        await server.advance("0s");
        await produce(server, { utf8: "a" }, { utf8: "b" }, { utf8: "c" }, { utf8: "d" });
        const [first, second] = await lease(server, 3);
        await end(server, "retry", [first!]);
        await end(server, "reject", [second!]);
        await server.advance("61s");
        await server.until(async () => (await totals(server)).leased === undefined);
        await server.advance("1h");
        await server.until(async () => (await totals(server)).waiting === undefined);
        const times = isThere ? 1 : 2;
        assert.deepEqual((await totals(server)).counts, {
          produced: 4 * times,
          leased: 3 * times,
          lease_ends: times,
          moved: 4,
          dead: { attempts: 2 * times, expired: times, rejected: times },
        });
        if (isThere) assert.deepEqual((await totals(server, "dead")).counts, { received: 4 });
      }
    });

    test("are told of several queues in one call, also where one is missing", async (t) => {
      const server = await start(t);
      for (const name of ["q", "other"]) await server.createQueue(name);
      await server.advance("0s");
      await server.produce("other", "a", "b");
      await server.produce("q", "a");
      const names = ["other", "nope", "q"];
      const reply = await server.ok("/v2/queue.stats", { queue_names: names });
      assert.deepEqual(Object.keys(reply), ["queues"]);
      const { queues } = reply;
      assert.deepEqual(
        queues.map((each: Json) => [each.queue_name, each.totals?.waiting, each.code]),
        [
          ["other", 2, undefined],
          ["nope", undefined, "queue_not_found"],
          ["q", 1, undefined],
        ],
      );
      assert.match(queues[1].detail, /no such queue named 'nope'/);
      const { queue_name, logical_queues } = await server.ok("/v2/queue.stats", {
        queue_name: "q",
      });
      assert.deepEqual([queue_name, logical_queues], ["q", queues[2].logical_queues]);
      const both = { queue_name: "q", queue_names: ["q"] };
      const tooMany = { queue_names: Array<string>(101).fill("q") };
      for (const [request, field] of [
        [both, "queue_names"],
        [tooMany, "queue_names"],
        [{ queue_names: ["q", ""] }, "queue_names[1]"],
        [{}, "queue_name"],
      ] as const) {
        const { status, body } = await server.call("/v2/queue.stats", request);
        assert.deepEqual([status, body.code, body.field], [400, "invalid_field", field]);
      }
      // The contract of /v1 knows nothing of it.
      const old = await server.call("/v1/queue.stats", { queue_names: ["q"] });
      assert.equal(old.status, 455);
      assert.deepEqual(Object.keys(await server.ok("queue.stats", { queue_name: "q" })).sort(), [
        "logicalQueues",
        "queue_name",
      ]);
    });

    test("tell how old the item is that is leased next", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { requested_partitions: 2, lease_timeout: "1h" });
      await server.advance("0s");
      const oldest = async (): Promise<string | undefined> => (await totals(server)).oldest_age;
      assert.equal(await oldest(), undefined);
      await server.produce("q", "a");
      await server.advance("10s");
      await server.produce("q", "b");
      await server.advance("5s");
      assert.equal(await oldest(), "15s");
      // Memory holds nothing of what waits until it is wanted.
      await server.ok("queue.reload", { queue_name: "q" });
      assert.equal(await oldest(), "15s");
      const leased: string[] = [];
      while (leased.length < 2) {
        const { items, partition = 0 } = await server.lease("q");
        leased.push(items[0].id);
        if (leased.length === 1) continue;
        assert.equal(await oldest(), undefined);
        await server.retry("q", [{ id: items[0].id }], partition);
        assert.match((await oldest()) ?? "", /^1?5s$/);
      }
    });
  });
}

test("the statistics of an empty queue are numbers", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const { totals } = await server.ok("/v2/queue.stats", { queue_name: "q" });
  const counts = {
    produced: 0,
    leased: 0,
    completed: 0,
    retried: 0,
    released: 0,
    extended: 0,
    lease_ends: 0,
    cancelled: 0,
    deduplicated: 0,
    deleted: 0,
    received: 0,
    moved: 0,
  };
  const rates = { ...counts, dead: 0 };
  const states = { waiting: 0, scheduled: 0, leased: 0, held: 0, kept: 0 };
  assert.deepEqual(totals, { ...states, counts, rates });
});

for (const driver of ["sqlite", "postgres"] as const) {
  test(`what was counted outlasts a restart (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const first = await setup(t, place);
    await first.createQueue("q", { requested_partitions: 2 });
    await first.produce("q", "a", "b");
    await first.produce("q", "c");
    const [one, two] = await lease(first, 2);
    await end(first, "complete", [one!]);
    await end(first, "release", [two!]);
    const counted = { produced: 3, leased: 2, completed: 1, released: 1 };
    assert.deepEqual((await totals(first)).counts, counted);
    await first.server.stop();
    const second = await setup(t, place);
    assert.deepEqual((await totals(second)).counts, counted);
    await lease(second, 1);
    await second.ok("queue.reload", { queue_name: "q" });
    assert.deepEqual((await totals(second)).counts, { ...counted, leased: 3 });
  });
}

test("what was imported counts as produced, and what is there already does not", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const items = [{ source_id: "s" }, { source_id: "s" }, { is_leased: true }];
  for (const _ of ["first", "again"]) {
    await server.ok("storage/items.import", { queue_name: "q", items });
  }
  assert.deepEqual((await totals(server)).counts, { produced: 3 });
  assert.equal((await totals(server)).leased, 2);
});

test("the totals travel as Protobuf as well", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  await server.produce("q", "a", "b");
  const [one] = await lease(server, 1);
  await end(server, "complete", [one!]);
  const ask = async (request: object): Promise<Json> => {
    const body = toBinary(
      QueueStatsRequestSchema,
      create(QueueStatsRequestSchema, request as Json),
    );
    const response = await fetch(`${server.server.address}/v2/queue.stats`, {
      method: "POST",
      headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
      body: Buffer.from(body),
    });
    assert.equal(response.status, 200);
    return fromBinary(QueueStatsResponseSchema, new Uint8Array(await response.arrayBuffer()));
  };
  const { totals: sums } = await ask({ queueName: "q" });
  assert.deepEqual(
    [sums.waiting, sums.counts.produced, sums.counts.completed, sums.counts.retried],
    [1n, 2n, 1n, 0n],
  );
  const { queues } = await ask({ queueNames: ["nope", "q"] });
  assert.deepEqual(
    [queues[0].code, queues[1].queueName, queues[1].totals.waiting],
    ["queue_not_found", "q", 1n],
  );
});
