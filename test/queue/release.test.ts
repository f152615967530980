// Giving leased items back without counting the attempt: what nobody began is as if it had not been
// leased, whatever max_attempts says.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueueReleaseRequestSchema,
  type QueueStatsResponse,
  QueueStatsResponseSchema,
} from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { ResultsResponseSchema } from "../../src/codec/gen/querator/v2/result_pb.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { payloads, type Reply, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const release = (server: TestServer, queue: string, leases: object[]): Promise<Reply> =>
  server.call("/v2/queue.release", { queue_name: queue, leases });

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });

  describe(`a release on ${place}`, () => {
    test("does not count, and puts the item to the tail under a new id", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { max_attempts: 1 });
      await server.produce("q", "a", "b");
      for (let round = 0; round < 3; round++) {
        const { items } = await server.lease("q");
        assert.equal(items[0].attempts, 1);
        const reply = await release(server, "q", [{ lease_id: items[0].id }]);
        assert.deepEqual(reply, { status: 200, body: { results: [{ ok: true }] } });
        const stale = await server.complete("q", [items[0].id]);
        assert.match(stale.body.message, /does not exist$/);
      }
      const { items } = await server.lease("q", 2);
      assert.deepEqual(payloads({ items }), ["b", "a"]);
      assert.deepEqual(
        items.map((item: { attempts: number }) => item.attempts),
        [1, 1],
      );
    });

    test("keeps the attempts that counted", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a");
      const first = await server.lease("q");
      await server.retry("q", [{ id: first.items[0].id }]);
      const second = await server.lease("q");
      assert.equal(second.items[0].attempts, 2);
      await release(server, "q", [{ lease_id: second.items[0].id }]);
      assert.equal((await server.list("q"))[0].attempts, 1);
      assert.equal((await server.lease("q")).items[0].attempts, 2);
    });

    test("at a time and after a delay", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { max_attempts: 1 });
      const { now } = await server.advance("0s");
      await server.produce("q", "a", "b", "c");
      const { items } = await server.lease("q", 3);
      const at = new Date(Date.parse(now) + 3_600_000).toISOString();
      await release(server, "q", [
        { lease_id: items[0].id, at },
        { lease_id: items[1].id, delay: "30m" },
        { lease_id: items[2].id, delay: "0s" },
      ]);
      assert.equal((await server.stats("q")).scheduled, 2);
      assert.deepEqual(payloads(await server.lease("q", 3)), ["c"]);
      await server.advance("31m");
      assert.deepEqual(payloads(await server.lease("q", 3)), ["b"]);
      await server.advance("30m");
      const last = await server.lease("q", 3);
      assert.deepEqual(payloads(last), ["a"]);
      assert.equal(last.items[0].attempts, 1);
    });

    test("says of each lease what is wrong, as complete does", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b");
      const { items } = await server.lease("q");
      const waiting = (await server.list("q")).find((item) => !item.is_leased);
      for (const [lease_id, code, detail] of [
        [
          waiting.id,
          "not_leased",
          `item(s) cannot be released; '${waiting.id}' is not marked as leased`,
        ],
        [
          "0".repeat(27),
          "item_not_found",
          `lease does not exist; '${"0".repeat(27)}' is no lease_id of this queue, as queue.lease answers it`,
        ],
        [
          "x",
          "invalid_field",
          "lease does not exist; 'x' is no lease_id of this queue, as queue.lease answers it",
        ],
      ]) {
        const { status, body } = await release(server, "q", [{ lease_id }]);
        assert.deepEqual([status, body], [200, { results: [{ code, detail }], failed: 1 }]);
      }
      assert.equal((await server.stats("q")).total_leased, 1);
      const twice = { lease_id: items[0].id };
      const { body } = await release(server, "q", [twice, twice]);
      assert.deepEqual([body.results[0], body.results[1].code], [{ ok: true }, "lease_ended"]);
    });

    test("wakes a lease that waits", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { max_attempts: 1 });
      await server.produce("q", "a");
      const { items } = await server.lease("q");
      const waiting = server.lease("q");
      await server.until(async () => (await server.stats("q")).lease_waiting === 1);
      await release(server, "q", [{ lease_id: items[0].id }]);
      assert.deepEqual(payloads(await waiting), ["a"]);
    });

    test("of an expired item is judged as the end of its lease", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", {
        lease_timeout: "1h",
        expire_timeout: "1h",
        max_attempts: 1,
        dead_queue: "dead",
      });
      await server.advance("0s");
      await server.produce("q", "a", "b");
      await server.advance("30m");
      const { items } = await server.lease("q", 2);
      await server.advance("45m");
      const [now, later] = items;
      await release(server, "q", [{ lease_id: now.id }, { lease_id: later.id, delay: "1m" }]);
      const dead = await server.until(async () => {
        const list = await server.list("dead");
        return list.length > 0 && list;
      });
      assert.deepEqual(payloads({ items: dead }), ["a"]);
      // A time that was accepted is kept.
      await server.advance("2m");
      assert.deepEqual(payloads(await server.lease("q", 2)), ["b"]);
    });
  });
}

for (const how of ["goes away", "has waited long enough"] as const) {
  test(`what is dealt to a client that ${how} meanwhile is as if it had not been leased`, async (t) => {
    let storage: FaultyStorage | undefined;
    const wrapStorage = (inner: Storage): Storage => {
      storage = new FaultyStorage(inner);
      return storage.storage;
    };
    const server = await setup(t, {}, { wrapStorage });
    await server.createQueue("q", { lease_timeout: "24h", max_attempts: 1 });
    await server.advance("0s");
    await server.produce("q", "a", "b");
    storage!.next("commit", "wait");
    const gone = new AbortController();
    const lease = { queue_name: "q", request_timeout: "1m", batch_size: 2, client_id: "c" };
    const leased = server.call("queue.lease", lease, gone.signal).catch(() => undefined);
    await storage!.waits();
    if (how === "goes away") {
      gone.abort();
      await leased;
      // Whatever the server is told of a connection it has been told by now.
      await server.ok("queue.stats", { queue_name: "q" });
      await new Promise((resolve) => setTimeout(resolve, 20));
    } else {
      await server.advance("2m");
      assert.equal((await leased)!.status, 454);
    }
    storage!.release();
    await server.until(async () => {
      const { total_leased, lease_waiting } = await server.stats("q");
      return total_leased === undefined && lease_waiting === undefined;
    });
    const { items } = await server.lease("q", 2);
    assert.deepEqual(payloads({ items }), ["a", "b"]);
    assert.deepEqual(
      items.map((item: { attempts: number }) => item.attempts),
      [1, 1],
    );
  });
}

test("what was released is as it was after a restart", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const first = await setup(t, place);
  await first.createQueue("q", { max_attempts: 1 });
  await first.produce("q", "a", "b");
  const { items } = await first.lease("q", 2);
  await release(first, "q", [{ lease_id: items[0].id }, { lease_id: items[1].id, delay: "200ms" }]);
  await first.server.stop();
  const second = await setup(t, place);
  for (const payload of ["a", "b"]) {
    const again = await second.lease("q");
    assert.deepEqual(payloads(again), [payload]);
    assert.equal(again.items[0].attempts, 1);
  }
});

test("the checks of a release name the field", async (t) => {
  const server = await setup(t, { limits: { completeBatch: 2 } });
  await server.createQueue("q");
  const lease_id = "0".repeat(27);
  const at = "2100-01-01T00:00:00Z";
  for (const [request, text] of [
    [{ leases: [] }, "leases is invalid; list of leases cannot be empty"],
    [{}, "leases is invalid; list of leases cannot be empty"],
    [
      { leases: [{ lease_id }, { lease_id }, { lease_id }] },
      "leases is invalid; max_complete_batch_size is 2 but received 3",
    ],
    [
      { leases: [{ lease_id }, { lease_id, at, delay: "1m" }] },
      "leases[1].delay is invalid; give either 'at' or 'delay'",
    ],
    [
      { leases: [{ lease_id, delay: "5" }] },
      'leases[0].delay is invalid; time: missing unit in duration "5" - expected format: 30s, 5m or 1h',
    ],
    [
      { leases: [{ lease_id, delay: "-5s" }] },
      "leases[0].delay is invalid; '-5s' cannot be negative",
    ],
    [
      { leases: [{ lease_id }], request_timeout: "0s" },
      "request timeout is invalid; minimum timeout is '10ms' but '0s' was requested",
    ],
    [
      { leases: [{ lease_id }], request_timeout: "16m" },
      "request timeout is invalid; maximum timeout is '15m' but '16m0s' was requested",
    ],
  ] as const) {
    const { status, body } = await server.call("/v2/queue.release", {
      queue_name: "q",
      ...request,
    });
    assert.deepEqual([status, body.code, body.detail], [400, "invalid_field", text]);
  }
  const { status, body } = await server.call("/v2/queue.release", {
    queue_name: "nope",
    leases: [{ lease_id }],
  });
  assert.deepEqual(
    [status, body.code, body.details],
    [404, "queue_not_found", { queue_name: "nope" }],
  );
  const unknown = await server.call("/v2/queue.release", { queue_name: "q", ids: [lease_id] });
  assert.deepEqual([unknown.status, unknown.body.code], [400, "unknown_field"]);
  assert.equal((await server.call("/v1/queue.release", { queue_name: "q" })).status, 501);
});

async function protobuf(server: TestServer, path: string, body: Uint8Array): Promise<Uint8Array> {
  const response = await fetch(`${server.server.address}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
    body: Buffer.from(body),
  });
  assert.equal(response.status, 200);
  return new Uint8Array(await response.arrayBuffer());
}

test("a release and the statistics travel as Protobuf as well", async (t) => {
  const server = await setup(t);
  await server.createQueue("q", { max_attempts: 1, requested_partitions: 2 });
  await server.produce("q", "a");
  const { items, partition = 0 } = await server.lease("q");
  const request = { queueName: "q", leases: [{ leaseId: items[0].id, delay: "1h" }] };
  const body = toBinary(QueueReleaseRequestSchema, create(QueueReleaseRequestSchema, request));
  const reply = fromBinary(
    ResultsResponseSchema,
    await protobuf(server, "/v2/queue.release", body),
  );
  assert.deepEqual([reply.results.map(({ ok }) => ok), reply.failed], [[true], 0]);
  const asked = Buffer.from([0x0a, 1, "q".charCodeAt(0)]);
  const stats: QueueStatsResponse = fromBinary(
    QueueStatsResponseSchema,
    await protobuf(server, "/v2/queue.stats", asked),
  );
  const [logical] = stats.logicalQueues;
  assert.equal(logical!.partitions[partition]!.scheduled, 1);
  assert.equal(logical!.partitions.length, 2);
  assert.equal(logical!.dropped, undefined);
});
