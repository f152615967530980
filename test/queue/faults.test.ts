// What happens when storage fails: nobody is told what is not true, and nothing is lost.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { payloads, setup, type TestServer } from "../support/server.ts";
import { type Driver, freshPlace } from "../support/storages.ts";

const RETRY = "internal error, try your request again";

async function faulty(
  t: TestContext,
  driver: Driver,
): Promise<{ server: TestServer; storage: FaultyStorage }> {
  let storage: FaultyStorage | undefined;
  const server = await setup(t, await freshPlace(t, driver), {
    wrapStorage: (inner) => {
      storage = new FaultyStorage(inner);
      return storage.storage;
    },
  });
  await server.createQueue("q");
  return { server, storage: storage! };
}

const produceA = { queue_name: "q", request_timeout: "10s", items: [{ utf8: "a" }] };

for (const driver of ["memory", "sqlite", "postgres"] as const) {
  describe(`a failing storage (${driver})`, () => {
    for (const fault of ["fail", "half-way"] as const) {
      test(`a produce whose commit fails (${fault}) is answered 454 and leaves nothing`, async (t) => {
        const { server, storage } = await faulty(t, driver);
        storage.next("commit", fault);
        const { status, body } = await server.call("queue.produce", produceA);
        assert.equal(status, 454);
        assert.equal(body.message, RETRY);
        assert.deepEqual(await server.list("q"), []);
        await server.produce("q", "b");
        assert.deepEqual(payloads(await server.lease("q", 5)), ["b"]);
      });

      test(`a lease whose commit fails (${fault}) is answered 454 and leases nothing`, async (t) => {
        const { server, storage } = await faulty(t, driver);
        await server.produce("q", "a", "b");
        storage.next("commit", fault);
        const lease = { queue_name: "q", request_timeout: "1s", client_id: "c", batch_size: 5 };
        assert.equal((await server.call("queue.lease", lease)).status, 454);
        const { items } = await server.lease("q", 5);
        assert.deepEqual(payloads({ items }), ["a", "b"]);
        assert.equal(items[0].attempts, 1);
      });

      test(`a complete whose commit fails (${fault}) is answered 454 and completes nothing`, async (t) => {
        const { server, storage } = await faulty(t, driver);
        await server.produce("q", "a");
        const { items } = await server.lease("q");
        storage.next("commit", fault);
        assert.equal((await server.complete("q", [items[0].id])).status, 454);
        assert.equal((await server.complete("q", [items[0].id])).status, 200);
      });

      test(`a retry whose commit fails (${fault}) is answered 454 and moves nothing`, async (t) => {
        const { server, storage } = await faulty(t, driver);
        await server.produce("q", "a");
        const { items } = await server.lease("q");
        storage.next("commit", fault);
        assert.equal((await server.retry("q", [{ id: items[0].id }])).status, 454);
        assert.equal((await server.retry("q", [{ id: items[0].id }])).status, 200);
        assert.equal((await server.lease("q")).items[0].attempts, 2);
      });
    }

    test("every request of a batch that fails is answered 454", async (t) => {
      const { server, storage } = await faulty(t, driver);
      await server.ok("dev.pause", { queue_name: "q" });
      const calls = Array.from({ length: 5 }, () => server.call("queue.produce", produceA));
      await server.until(async () => (await server.stats("q")).produce_waiting === 5);
      storage.next("commit", "fail");
      await server.ok("dev.resume", { queue_name: "q" });
      for (const { status } of await Promise.all(calls)) assert.equal(status, 454);
      assert.deepEqual(await server.list("q"), []);
    });

    test("a commit whose reply is lost does not confuse the queue", async (t) => {
      const { server, storage } = await faulty(t, driver);
      storage.next("commit", "lose-reply");
      assert.equal((await server.call("queue.produce", produceA)).status, 454);
      await server.produce("q", "b");
      assert.deepEqual(payloads({ items: await server.list("q") }), ["a", "b"]);
      const { items } = await server.lease("q", 2);
      storage.next("commit", "lose-reply");
      assert.equal((await server.complete("q", [items[0].id])).status, 454);
      const again = await server.complete("q", [items[0].id]);
      assert.match(again.body.message, /does not exist$/);
      assert.equal((await server.complete("q", [items[1].id])).status, 200);
      assert.equal((await server.stats("q")).total, undefined);
    });

    test("a lease whose reply is lost comes back when the lease has ended", async (t) => {
      const { server, storage } = await faulty(t, driver);
      await server.produce("q", "a");
      storage.next("commit", "lose-reply");
      const lease = { queue_name: "q", request_timeout: "1s", client_id: "c", batch_size: 1 };
      assert.equal((await server.call("queue.lease", lease)).status, 454);
      await server.advance("61s");
      const { items } = await server.lease("q");
      assert.equal(items[0].attempts, 2);
    });

    test("failures show in the statistics, and are over when storage works again", async (t) => {
      const { server, storage } = await faulty(t, driver);
      storage.always("commit", "fail");
      await server.call("queue.produce", produceA);
      await server.call("queue.produce", produceA);
      assert.equal((await server.stats("q")).failures, 2);
      storage.heal();
      await server.produce("q", "b");
      assert.equal((await server.stats("q")).failures, undefined);
    });

    test("a storage that cannot even be read answers 454, and waiting leases wait on", async (t) => {
      const { server, storage } = await faulty(t, driver);
      storage.next("commit", "fail");
      storage.always("loadPartition", "fail");
      assert.equal((await server.call("queue.produce", produceA)).status, 454);
      const waiting = server.lease("q");
      await server.until(async () => (await server.stats("q")).lease_waiting === 1);
      assert.equal((await server.call("queue.produce", produceA)).status, 454);
      storage.heal();
      await server.produce("q", "b");
      assert.deepEqual(payloads(await waiting), ["b"]);
    });

    test("requests whose commit hangs are answered when their time is over", async (t) => {
      const { server, storage } = await faulty(t, driver);
      await server.advance("0s");
      storage.next("commit", "wait");
      const hanging = server.call("queue.produce", produceA);
      await storage.waits();
      const behind = server.call("queue.produce", { ...produceA, request_timeout: "5s" });
      await server.until(async () => (await server.stats("q")).produce_waiting === 1);
      await server.advance("6s");
      assert.match((await behind).body.message, /^request timeout; the request was not executed/);
      await server.advance("6s");
      assert.match((await hanging).body.message, /the outcome is unknown$/);
      storage.release();
      await server.until(async () => (await server.list("q")).length === 1);
    });

    test("a dead letter is neither lost nor doubled when the commit that moves it fails", async (t) => {
      const { server, storage } = await faulty(t, driver);
      await server.createQueue("dead");
      await server.createQueue("source", { dead_queue: "dead", max_attempts: 1 });
      await server.produce("source", "a");
      await server.lease("source");
      storage.next("commit", "fail", "lose-reply", "half-way");
      await server.until(async () => {
        await server.advance("61s");
        const { failures, total } = await server.stats("source");
        return failures === undefined && total === undefined;
      });
      await server.until(async () => (await server.stats("dead")).failures === undefined);
      assert.equal((await server.list("dead")).length, 1);
    });

    test("a dead queue that does not answer does not stop the queue that uses it", async (t) => {
      const { server } = await faulty(t, driver);
      await server.createQueue("dead");
      await server.createQueue("source", { dead_queue: "dead", max_attempts: 1 });
      await server.produce("source", "a");
      await server.lease("source");
      await server.ok("dev.pause", { queue_name: "dead" });
      await server.advance("61s");
      let isProduced = false;
      const patient = { ...produceA, queue_name: "source", request_timeout: "10m" };
      const produced = server.ok("queue.produce", patient).then(() => {
        isProduced = true;
      });
      // Until the source gives up on this delivery.
      await server.until(async () => {
        await server.advance("2s");
        return isProduced;
      });
      await produced;
      await server.ok("dev.resume", { queue_name: "dead" });
      await server.until(async () => {
        await server.advance("2s");
        return (await server.list("dead")).length === 1;
      });
    });
  });
}

// --- queue records ---

const RECORDS: readonly [what: string, path: string, request: object, leaves: object][] = [
  [
    "create",
    "queues.create",
    { queue_name: "r", lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 },
    { q: "1m0s" },
  ],
  ["update", "queues.update", { queue_name: "q", lease_timeout: "5m" }, { q: "1m0s" }],
  ["delete", "queues.delete", { queue_name: "q" }, { q: "1m0s" }],
];

const RECORD_FAULTS = RECORDS.flatMap((each) =>
  (["fail", "lose-reply"] as const).flatMap((fault) =>
    (["sqlite", "postgres"] as const).map((driver) => ({ each, fault, driver })),
  ),
);

for (const { each, fault, driver } of RECORD_FAULTS) {
  const [what, path, request, leaves] = each;
  test(`a ${what} whose write fails (${fault}, ${driver}) is answered 454 and changes nothing, also after a restart`, async (t) => {
    const place = await freshPlace(t, driver);
    let storage: FaultyStorage | undefined;
    const wrapStorage = (inner: Storage): Storage => {
      storage = new FaultyStorage(inner);
      return storage.storage;
    };
    const server = await setup(t, place, { wrapStorage });
    await server.createQueue("q");
    await server.produce("q", "before");
    const records = async (on: TestServer): Promise<object> => {
      const { items } = await on.ok("queues.list", {});
      return Object.fromEntries(
        items.map((info: { queue_name: string; lease_timeout: string }) => [
          info.queue_name,
          info.lease_timeout,
        ]),
      );
    };
    storage!.next("putQueues", fault);
    const { status, body } = await server.call(path, request);
    assert.deepEqual([status, body.message], [454, RETRY]);
    assert.deepEqual(await records(server), leaves);
    // What is produced now may be answered only once it is sure that the queue stays.
    const produced = server.produce("q", "after");
    await server.advance("2s");
    await produced;
    await server.server.stop();
    const restarted = await setup(t, place);
    assert.deepEqual(await records(restarted), leaves);
    assert.deepEqual(payloads(await restarted.lease("q", 9)), ["before", "after"]);
    assert.equal((await restarted.call(path, request)).status, 200);
  });
}

test("a deleted queue whose partitions cannot be removed yet stays deleted, and its name can be used again", async (t) => {
  const { server, storage } = await faulty(t, "sqlite");
  await server.produce("q", "old");
  storage.next("dropPartitions", "fail");
  storage.next("deleteQueue", "fail");
  assert.equal((await server.call("queues.delete", { queue_name: "q" })).status, 200);
  const { body } = await server.call("queues.info", { queue_name: "q" });
  assert.equal(body.message, "queue does not exist; no such queue named 'q'");
  await server.createQueue("q");
  assert.deepEqual(await server.list("q"), []);
});

// --- how much is written ---

test("an item is written three times: added, marked as leased, removed", async (t) => {
  const { server, storage } = await faulty(t, "sqlite");
  await server.produce("q", "a");
  const { items } = await server.lease("q");
  await server.complete("q", [items[0].id]);
  assert.equal(storage.writesOf(1), 3);
});

test("an item that meets a waiting lease is written twice: added as leased, removed", async (t) => {
  const { server, storage } = await faulty(t, "sqlite");
  const waiting = server.lease("q");
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  await server.produce("q", "a");
  const { items } = await waiting;
  await server.complete("q", [items[0].id]);
  assert.equal(storage.writesOf(1), 2);
});

test("what many requests brought is committed once", async (t) => {
  const { server, storage } = await faulty(t, "sqlite");
  await server.createQueue("r");
  await server.ok("dev.pause", { queue_name: "q" });
  const calls = Array.from({ length: 50 }, () => server.produce("q", "a"));
  await server.until(async () => (await server.stats("q")).produce_waiting === 50);
  const before = storage.commits.length;
  await server.ok("dev.resume", { queue_name: "q" });
  await Promise.all(calls);
  assert.equal(storage.commits.length - before, 1);
});
