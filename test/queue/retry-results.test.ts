// What POST /v2/queue.retry answers of each item, on every storage that is there: whether it will be tried
// again, whoever has decided that.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueueRetryRequestSchema,
  QueueRetryResponseSchema,
} from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const PATH = "/v2/queue.retry";

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });
  const leaseIds = async (server: TestServer, count: number): Promise<string[]> =>
    (await server.lease("q", count)).items.map(({ id }: { id: string }) => id);
  const leasesOf = (ids: readonly string[]) => ids.map((lease_id) => ({ lease_id }));

  describe(`retry on ${place}`, () => {
    for (const deadQueue of ["", "dead"]) {
      const where = deadQueue === "" ? "without a dead queue" : "with a dead queue";

      test(`tells which items max_attempts has ended, ${where}`, async (t) => {
        const server = await start(t);
        await server.createQueue("dead");
        await server.createQueue("q", { max_attempts: 2, dead_queue: deadQueue });
        await server.produce("q", "a", "b");
        const first = await server.ok(PATH, {
          queue_name: "q",
          leases: leasesOf(await leaseIds(server, 2)),
        });
        assert.deepEqual(first, { results: [{ ok: true }, { ok: true }] });
        await server.produce("q", "c");
        const last = await server.ok(PATH, {
          queue_name: "q",
          leases: leasesOf(await leaseIds(server, 3)),
        });
        assert.deepEqual(last, {
          results: [{ ok: true, dead: true }, { ok: true, dead: true }, { ok: true }],
        });
        assert.equal((await server.stats("q")).total, 1);
        assert.equal((await server.stats("dead")).total, deadQueue === "" ? undefined : 2);
      });

      test(`tells what was given up or has expired, ${where}`, async (t) => {
        const server = await start(t);
        await server.createQueue("dead");
        await server.createQueue("q", {
          dead_queue: deadQueue,
          lease_timeout: "10m",
          expire_timeout: "10m",
        });
        await server.produce("q", "a", "b");
        await server.advance("5m");
        const [a, b] = await leaseIds(server, 2);
        const given = await server.ok(PATH, {
          queue_name: "q",
          leases: [{ lease_id: a, dead: true }],
        });
        assert.deepEqual(given, { results: [{ ok: true, dead: true }] });
        await server.advance("6m");
        const over = await server.ok(PATH, { queue_name: "q", leases: leasesOf([b!]) });
        assert.deepEqual(over, { results: [{ ok: true, dead: true }] });
      });
    }

    test("puts an item back later, and does all of it or nothing", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b");
      const [a, b] = await leaseIds(server, 2);
      const bad = await server.call(PATH, { queue_name: "q", leases: leasesOf([a!, a!]) });
      assert.deepEqual([bad.status, bad.body.code], [404, "item_not_found"]);
      assert.equal((await server.stats("q")).total_leased, 2);
      const both = await server.call(PATH, {
        queue_name: "q",
        leases: [{ lease_id: a, at: "2100-01-01T00:00:00Z", delay: "1m" }],
      });
      assert.equal(both.body.detail, "leases[0].delay is invalid; give either 'at' or 'delay'");
      await server.ok(PATH, {
        queue_name: "q",
        leases: [
          { lease_id: a, delay: "1h" },
          { lease_id: b, at: "2100-01-01T00:00:00Z" },
        ],
      });
      assert.equal((await server.list("q", "scheduled")).length, 2);
      await server.advance("61m");
      await server.until(async () => (await server.stats("q")).total === 1);
    });
  });
}

test("retry tells it in Protobuf as well", async (t) => {
  const server = await setup(t);
  await server.createQueue("q", { max_attempts: 1 });
  await server.produce("q", "a");
  const { items } = await server.lease("q");
  const body = toBinary(QueueRetryRequestSchema, {
    $typeName: "querator.v2.QueueRetryRequest",
    queueName: "q",
    partition: 0,
    requestTimeout: "",
    leases: [
      { $typeName: "querator.v2.QueueRetryLease", leaseId: items[0].id, delay: "", dead: false },
    ],
  });
  const type = "application/protobuf";
  const reply = await fetch(server.server.address + PATH, {
    method: "POST",
    headers: { "Content-Type": type, Accept: type },
    body,
  });
  const { results } = fromBinary(
    QueueRetryResponseSchema,
    new Uint8Array(await reply.arrayBuffer()),
  );
  assert.deepEqual(
    results.map(({ ok, dead }) => [ok, dead]),
    [[true, true]],
  );
});
