// What POST /v2/queue.retry and its like answer of each lease, on every storage that is there: whether it is
// done, whether the item will be tried again, whoever has decided that, and what all_or_none makes of it.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { QueueRetryRequestSchema } from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { ResultsResponseSchema } from "../../src/codec/gen/querator/v2/result_pb.ts";
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
        const reject = "/v2/queue.reject";
        const given = await server.ok(reject, { queue_name: "q", leases: leasesOf([a!]) });
        assert.deepEqual(given, { results: [{ ok: true, dead: true }] });
        await server.advance("6m");
        const over = await server.ok(PATH, { queue_name: "q", leases: leasesOf([b!]) });
        assert.deepEqual(over, { results: [{ ok: true, dead: true }] });
      });
    }

    test("answers each lease by itself, unless all is to be done or nothing", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b", "c");
      const [a, b] = await leaseIds(server, 2);
      const [c] = (await server.list("q")).slice(2);
      const queue_name = "q";
      const unknown = `${a!.slice(0, -3)}zzz`;
      const leases = leasesOf([a!, c.id, unknown, "x"]);
      const codes = ["not_leased", "item_not_found", "invalid_field"];
      const all = await server.call(PATH, { queue_name, leases, all_or_none: true });
      assert.deepEqual([all.status, all.body.code], [409, "some_refused"]);
      const told = all.body.results.map(({ code }: { code?: string }) => code);
      assert.deepEqual(told, [undefined, ...codes]);
      assert.equal((await server.stats("q")).total_leased, 2);
      const each = await server.ok(PATH, { queue_name, leases });
      assert.deepEqual([each.failed, each.results[0]], [3, { ok: true }]);
      assert.deepEqual(
        each.results.slice(1).map(({ code }: { code: string }) => code),
        codes,
      );
      const twice = await server.ok("/v2/queue.complete", {
        queue_name,
        leases: leasesOf([a!, b!, b!]),
      });
      assert.deepEqual(
        twice.results.map(({ ok, code }: { ok?: boolean; code?: string }) => ok ?? code),
        ["lease_ended", true, "lease_ended"],
      );
      await server.ok("/v2/queue.complete", {
        queue_name,
        leases: leasesOf(await leaseIds(server, 2)),
        all_or_none: true,
      });
      assert.equal((await server.stats("q")).total, undefined);
    });

    test("ends leases of several partitions in one call", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { requested_partitions: 3 });
      for (const payload of ["a", "b", "c"]) await server.produce("q", payload);
      const ids = [];
      for (let i = 0; i < 3; i++) ids.push(...(await leaseIds(server, 1)));
      const request = { queue_name: "q", leases: leasesOf([...ids, "x"]) };
      const refused = await server.call(PATH, { ...request, all_or_none: true });
      assert.deepEqual([refused.status, refused.body.field], [400, "all_or_none"]);
      const { results, failed } = await server.ok(PATH, request);
      assert.deepEqual(results.slice(0, 3), [{ ok: true }, { ok: true }, { ok: true }]);
      assert.deepEqual([results[3].code, failed], ["invalid_field", 1]);
    });

    test("an extension answers when each lease ends now, in every partition", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { requested_partitions: 2 });
      await server.advance("0s");
      for (const payload of ["a", "b"]) await server.produce("q", payload);
      const ids = [...(await leaseIds(server, 1)), ...(await leaseIds(server, 1))];
      const { now } = await server.advance("0s");
      const later = new Date(Date.parse(now) + 600_000).toISOString().slice(0, 19);
      const leases = [...ids, "x"].map((lease_id) => ({ lease_id, for: "10m" }));
      const { results, failed } = await server.ok("/v2/queue.extend", { queue_name: "q", leases });
      for (const { ok, lease_deadline } of results.slice(0, 2)) {
        assert.ok(ok && lease_deadline.startsWith(later), lease_deadline);
      }
      assert.deepEqual([results[2].code, failed], ["invalid_field", 1]);
      await server.advance("9m");
      assert.equal((await server.list("q", "items", 0))[0].is_leased, true);
      for (const given of ["13h", "0s", "", "-1s"]) {
        const request = { queue_name: "q", leases: [{ lease_id: ids[0], for: given }] };
        const { status, body } = await server.call("/v2/queue.extend", request);
        assert.deepEqual([status, body.field], [400, "leases[0].for"], given);
      }
    });

    test("puts an item back later", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b");
      const [a, b] = await leaseIds(server, 2);
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
  const request = { queueName: "q", leases: [{ leaseId: items[0].id }] };
  const body = toBinary(QueueRetryRequestSchema, create(QueueRetryRequestSchema, request));
  const type = "application/protobuf";
  const reply = await fetch(server.server.address + PATH, {
    method: "POST",
    headers: { "Content-Type": type, Accept: type },
    body,
  });
  const { results } = fromBinary(ResultsResponseSchema, new Uint8Array(await reply.arrayBuffer()));
  assert.deepEqual(
    results.map(({ ok, dead }) => [ok, dead]),
    [[true, true]],
  );
});
