// An Idempotency-Key: the same request is answered the same, and done once, as long as the key is kept; another
// request with the key is a mistake, and changes nothing.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { SECOND, VirtualClock } from "../../src/clock.ts";
import type { ServerOptions } from "../../src/config/config.ts";
import { plainError } from "../../src/errors.ts";
import { Item, ProduceRequest } from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord, type Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { TestQueue } from "../support/queue.ts";
import { type Reply, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

async function send(
  { server }: TestServer,
  path: string,
  request: object,
  key = "k",
): Promise<Reply> {
  const response = await fetch(`${server.address}/v2/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(request),
  });
  return { status: response.status, body: await response.json() };
}

const produce = (utf8: string, more: object = {}): object => ({
  queue_name: "q",
  items: [{ utf8, ...more }],
});

async function waiting(server: TestServer): Promise<readonly string[]> {
  const { items = [] } = await server.ok("/v2/items.list", { queue_name: "q", payload: true });
  return items.map(({ utf8 }: { utf8: string }) => utf8);
}

async function leaseOne(server: TestServer): Promise<string> {
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "q" });
  return items[0].lease_id;
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext, settings: object = {}): Promise<TestServer> => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    await server.createQueue("q", settings);
    return server;
  };

  describe(`with an Idempotency-Key on ${place}`, () => {
    test("a produce is done once, and answers the same ids", async (t) => {
      const server = await start(t, { requested_partitions: 3 });
      await server.ok("/v2/queue.produce", produce("before")); // so that partitions differ
      const first = await send(server, "queue.produce", produce("a"));
      const again = await send(server, "queue.produce", produce("a"));
      const other = await send(server, "queue.produce", produce("a"), "another");
      assert.equal(first.status, 200);
      assert.deepEqual(again, first);
      assert.notDeepEqual(other.body, first.body);
      assert.deepEqual((await waiting(server)).toSorted(), ["a", "a", "before"]);
    });

    test("of several that are sent at once one is done, and all answer it", async (t) => {
      const server = await start(t, { requested_partitions: 2 });
      const replies = await Promise.all(
        Array.from({ length: 8 }, () => send(server, "queue.produce", produce("a"))),
      );
      for (const reply of replies) assert.deepEqual(reply, replies[0]);
      assert.deepEqual(await waiting(server), ["a"]);
    });

    test("another request is refused, and changes nothing", async (t) => {
      const server = await start(t);
      await send(server, "queue.produce", produce("a"));
      const reply = await send(server, "queue.produce", produce("b"));
      assert.deepEqual([reply.status, reply.body.code], [409, "idempotency_mismatch"]);
      assert.equal(reply.body.retryable ?? false, false);
      const lease = { queue_name: "q", leases: [{ lease_id: await leaseOne(server) }] };
      const complete = await send(server, "queue.complete", lease);
      assert.deepEqual([complete.status, complete.body.code], [409, "idempotency_mismatch"]);
      assert.deepEqual(await waiting(server), ["a"]);
    });

    test("so it is if what the key was used for lies in another partition", async (t) => {
      const server = await start(t, { requested_partitions: 2 });
      for (const text of ["a", "b", "c"]) await server.produce("q", text);
      const [one, two, three] = [
        await leaseOne(server),
        await leaseOne(server),
        await leaseOne(server),
      ];
      const of = (...ids: readonly string[]): object => ({
        queue_name: "q",
        leases: ids.map((lease_id) => ({ lease_id })),
      });
      assert.equal((await send(server, "queue.complete", of(one))).status, 200);
      for (const other of [two, three]) {
        const reply = await send(server, "queue.complete", of(other));
        assert.deepEqual([reply.status, reply.body.code], [409, "idempotency_mismatch"]);
      }
      const both = await send(server, "queue.complete", of(two, three), "both");
      assert.deepEqual(both.body.results, [{ ok: true }, { ok: true }]);
      assert.deepEqual(await send(server, "queue.complete", of(two, three), "both"), both);
    });

    test("what ends leases answers each of them as it did, also those that it refused", async (t) => {
      const server = await start(t, { max_attempts: 1 });
      await server.produce("q", "a", "b", "c", "d");
      const ended = await leaseOne(server);
      await server.ok("/v2/queue.complete", { queue_name: "q", leases: [{ lease_id: ended }] });
      for (const [verb, more] of [
        ["complete", {}],
        ["retry", {}],
        ["extend", { for: "5m" }],
      ] as const) {
        const leases = [
          { lease_id: await leaseOne(server), ...more },
          { lease_id: ended, ...more },
        ];
        const request = { queue_name: "q", leases };
        const first = await send(server, `queue.${verb}`, request, verb);
        assert.equal(first.status, 200);
        assert.equal(first.body.results[0].ok, true);
        assert.equal(first.body.results[1].code, "lease_ended");
        assert.deepEqual(await send(server, `queue.${verb}`, request, verb), first);
      }
    });

    test("a key is kept for ten minutes", async (t) => {
      const server = await start(t);
      await server.advance("1s");
      await send(server, "queue.produce", produce("a"));
      await server.advance("9m59s");
      await send(server, "queue.produce", produce("a"));
      assert.deepEqual(await waiting(server), ["a"]);
      await server.advance("2s");
      await send(server, "queue.produce", produce("a"));
      assert.deepEqual(await waiting(server), ["a", "a"]);
    });

    test("what operators do is done once", async (t) => {
      const server = await start(t);
      const { results } = await server.ok("/v2/queue.produce", produce("a"));
      const ids = [results[0].id];
      const first = await send(server, "items.delete", { queue_name: "q", ids });
      assert.deepEqual(await send(server, "items.delete", { queue_name: "q", ids }), first);
      const clear = { queue_name: "q", queue: true };
      await send(server, "queue.clear", clear, "clear");
      await server.ok("/v2/queue.produce", produce("b"));
      assert.equal((await send(server, "queue.clear", clear, "clear")).status, 200);
      assert.deepEqual(await waiting(server), ["b"]);
      const failed = await send(server, "queue.clear", { queue_name: "q" }, "nothing");
      assert.equal(failed.body.code, "invalid_field");
      assert.deepEqual(
        await send(server, "queue.clear", { queue_name: "q" }, "nothing").then(
          ({ body }) => body.code,
        ),
        "invalid_field",
      );
    });

    test("a queue is created, changed and deleted once", async (t) => {
      const server = await start(t);
      const created = { queue_name: "new" };
      const first = await send(server, "queues.create", created);
      assert.equal(first.status, 200);
      assert.deepEqual(await send(server, "queues.create", created), first);
      const again = await send(server, "queues.create", created, "another");
      assert.equal(again.body.code, "queue_exists");
      const changed = { queue_name: "new", max_attempts: 3 };
      assert.equal(
        (await send(server, "queues.update", changed)).body.code,
        "idempotency_mismatch",
      );
      const change = await send(server, "queues.update", changed, "change");
      await server.ok("/v2/queues.update", { queue_name: "new", max_attempts: 5 });
      assert.deepEqual(await send(server, "queues.update", changed, "change"), change);
      const info = await server.ok("/v2/queues.info", { queue_name: "new" });
      assert.equal(info.max_attempts, 5);
      assert.equal((await send(server, "queues.delete", created, "delete")).status, 200);
      assert.deepEqual(await send(server, "queues.create", created), first);
      assert.equal((await send(server, "queues.info", created)).status, 404);
      await server.ok("/v2/queues.create", created);
      assert.equal((await send(server, "queues.delete", created, "delete")).status, 200);
      assert.equal((await server.ok("/v2/queues.info", created)).queue_name, "new");
    });

    if (driver !== "memory") {
      test("all of that holds after a restart", async (t) => {
        const options: ServerOptions = { threads, ...(await freshPlace(t, driver)) };
        const before = await setup(t, options);
        await before.createQueue("q", { requested_partitions: 2 });
        await before.createQueue("gone");
        const first = await send(before, "queue.produce", produce("a", { delay: "1h" }));
        await before.produce("q", "b", "c");
        const leases = [{ lease_id: await leaseOne(before) }];
        const complete = { queue_name: "q", leases };
        const completed = await send(before, "queue.complete", complete, "complete");
        await send(before, "queues.delete", { queue_name: "gone" }, "delete");
        await before.server.stop();
        const after = await setup(t, options);
        assert.deepEqual(await send(after, "queue.produce", produce("a", { delay: "1h" })), first);
        const mismatch = await send(after, "queue.produce", produce("b"));
        assert.equal(mismatch.body.code, "idempotency_mismatch");
        assert.deepEqual(await send(after, "queue.complete", complete, "complete"), completed);
        const { status } = await send(after, "queues.delete", { queue_name: "gone" }, "delete");
        assert.equal(status, 200);
      });
    }
  });
}

test("a lease takes no Idempotency-Key, and says so", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const { status, body } = await send(server, "queue.lease", { queue_name: "q" });
  assert.deepEqual([status, body.code, body.field], [400, "invalid_field", "Idempotency-Key"]);
});

test("what a failed commit was to do is done when it is sent again, and once", async (t) => {
  let faulty: FaultyStorage | undefined;
  const wrapStorage = (storage: Storage): Storage => {
    faulty = new FaultyStorage(storage);
    return faulty.storage;
  };
  const server = await setup(t, {}, { wrapStorage });
  await server.createQueue("q");
  for (const fault of ["fail", "lose-reply"] as const) {
    faulty!.next("commit", fault);
    const first = await send(server, "queue.produce", produce(fault), fault);
    assert.equal(first.body.retryable, true);
    const again = await server.until(async () => {
      const reply = await send(server, "queue.produce", produce(fault), fault);
      return reply.status === 200 && reply;
    });
    assert.deepEqual(await send(server, "queue.produce", produce(fault), fault), again);
  }
  assert.deepEqual(await waiting(server), ["fail", "lose-reply"]);
});

test("keys that have ended leave storage", async (t) => {
  let storage: Storage | undefined;
  const server = await setup(t, {}, { wrapStorage: (given: Storage) => (storage = given) });
  await server.createQueue("q");
  await server.advance("1s");
  for (let i = 0; i < 3; i++) await send(server, "queue.produce", produce("a"), `key-${i}`);
  const { key } = (await storage!.listPartitions())[0]!;
  assert.equal((await storage!.readKeysDue(key, 10)).length, 3);
  await server.advance("11m");
  await server.until(async () => (await storage!.readKeysDue(key, 10)).length === 0);
});

test("a key that was used in one partition is known in all of them", async (t) => {
  const server = await setup(t);
  await server.createQueue("q", { requested_partitions: 2 });
  await server.produce("q", "a");
  await server.produce("q", "b");
  const leases = [await leaseOne(server), await leaseOne(server)].map((lease_id) => ({ lease_id }));
  const ended = { queue_name: "q", leases: leases.slice(0, 1) };
  assert.equal((await send(server, "queue.complete", ended)).status, 200);
  const other = { queue_name: "q", leases: leases.slice(1) };
  assert.equal((await send(server, "queue.complete", other)).body.code, "idempotency_mismatch");
  const clear = { queue_name: "q", queue: true, destructive: true };
  assert.equal((await send(server, "queue.clear", clear)).body.code, "idempotency_mismatch");
  // Nor may what is asked of leases be named as what was asked of the queue was.
  await send(server, "queue.clear", clear, "clear");
  assert.equal(
    (await send(server, "queue.complete", other, "clear")).body.code,
    "idempotency_mismatch",
  );
});

test("what was refused as a whole is tried anew", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const { results } = await server.ok("/v2/queue.produce", produce("a"));
  // The lease is named as what has never moved is.
  const leases = [{ lease_id: results[0].id }];
  for (const verb of ["complete", "retry", "extend"]) {
    const more = verb === "extend" ? { for: "5m" } : {};
    const of = leases.map((lease) => ({ ...lease, ...more }));
    const request = { queue_name: "q", leases: of, all_or_none: true };
    const refused = await send(server, `queue.${verb}`, request, verb);
    assert.deepEqual([refused.status, refused.body.code], [409, "some_refused"]);
  }
  assert.equal(await leaseOne(server), results[0].id);
  for (const verb of ["extend", "complete"]) {
    const more = verb === "extend" ? { for: "5m" } : {};
    const of = leases.map((lease) => ({ ...lease, ...more }));
    const request = { queue_name: "q", leases: of, all_or_none: true };
    assert.equal((await send(server, `queue.${verb}`, request, verb)).status, 200);
  }
});

test("a key whose answer could not be kept is free again", async (t) => {
  const faulty = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const clock = new VirtualClock();
  const { queue } = await TestQueue.open(t, { storages: [faulty.storage], clock });
  const repeat = { key: "k", digest: "d" };
  assert.equal(await queue.recall(repeat), undefined);
  await assert.rejects(queue.recall(repeat), { code: "request_in_progress" });
  // The partition is failing when the answer is to be kept.
  faulty.always("loadPartition", "fail");
  queue.loop.distrust("a");
  await assert.rejects(queue.remember(repeat, "{}"), { code: "partition_failing" });
  faulty.heal();
  clock.advance(SECOND);
  assert.equal(await queue.recall(repeat), undefined);
});

function named(deadline: number): ProduceRequest {
  const item = new Item(new ItemRecord("", Buffer.from("a")), 0);
  const request = new ProduceRequest([item], deadline);
  request.repeat = { key: "k", digest: "d" };
  return request;
}

test("however many requests with one key come at once, it is looked for twice", async (t) => {
  let looks = 0;
  const storage = new MemoryStorage({ name: "a" });
  const find = storage.findKeys.bind(storage);
  storage.findKeys = (...args) => {
    looks++;
    return find(...args);
  };
  const { queue, deadline } = await TestQueue.open(t, { storages: [storage] });
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => queue.submit(named(deadline))),
  );
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
  assert.equal(looks, 2);
});

test("what waits for another request with its key is answered when the queue ends", async (t) => {
  const faulty = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const { queue, deadline } = await TestQueue.open(t, { storages: [faulty.storage] });
  const requests = [named(deadline), named(deadline)];
  faulty.next("findKeys", "wait");
  const answers = Promise.allSettled(requests.map((request) => queue.submit(request)));
  await faulty.waits();
  const closed = queue.close(plainError("shutting_down"));
  faulty.release();
  await closed;
  const [first, second] = await answers;
  assert.equal(first!.status, "fulfilled");
  assert.equal(second!.status === "rejected" && second!.reason.code, "shutting_down");
});
