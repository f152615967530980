// What a complete produces: in the same transaction, for its own queue and for one other, both or neither. With keys, and
// for several, see followers-unique.test.ts; on another thread, followers-apart.test.ts.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { QueueCompleteRequestSchema } from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { ResultsResponseSchema } from "../../src/codec/gen/querator/v2/result_pb.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const queue_name = "q";

type Json = Readonly<Record<string, unknown>>;

interface Item {
  readonly id: string;
  readonly lease_id: string;
  readonly utf8: string;
}

async function start(server: TestServer): Promise<TestServer> {
  for (const name of [queue_name, "next"])
    await server.ok("/v2/queues.create", { queue_name: name });
  return server;
}

async function leased(server: TestServer, count = 1, queue = queue_name): Promise<readonly Item[]> {
  const items = Array.from({ length: count }, (_, i) => ({ utf8: `${queue}${i}` }));
  await server.ok("/v2/queue.produce", { queue_name: queue, items });
  return (await server.ok("/v2/queue.lease", { queue_name: queue, batch_size: count })).items;
}

async function there(server: TestServer, queue: string, state = ""): Promise<readonly Item[]> {
  const request = { queue_name: queue, state, payload: true };
  return (await server.ok("/v2/items.list", request)).items ?? [];
}

const complete = (server: TestServer, leases: readonly Item[], produce: readonly Json[]) =>
  server.call("/v2/queue.complete", {
    queue_name,
    leases: leases.map(({ lease_id }) => ({ lease_id })),
    produce,
  });

for (const [place, driver, threads] of PLACES) {
  const open = async (t: TestContext): Promise<TestServer> =>
    start(await setup(t, { threads, ...(await freshPlace(t, driver)) }));

  describe(`a complete that produces on ${place}`, () => {
    test("adds to its own queue, and answers what it has added", async (t) => {
      const server = await open(t);
      const [a, b] = await leased(server, 2);
      const produce = [
        { items: [{ utf8: "1" }, { utf8: "2", delay: "1h" }] },
        { queue_name, items: [{ json: { n: 3 }, kind: "k" }] },
      ];
      const { status, body } = await complete(server, [a!, b!], produce);
      assert.equal(status, 200);
      assert.deepEqual(body.results, [{ ok: true }, { ok: true }]);
      const statuses = body.produced.map((each: Json) => each.status);
      assert.deepEqual(statuses, ["created", "scheduled", "created"]);
      const ids = body.produced.map(({ id }: Item) => id);
      const items = await there(server, queue_name);
      assert.deepEqual(
        items.map(({ id }) => id),
        [ids[0], ids[2]],
      );
      assert.deepEqual(
        (await there(server, queue_name, "scheduled")).map(({ id }) => id),
        [ids[1]],
      );
    });

    test("does nothing at all if a lease cannot be ended", async (t) => {
      const server = await open(t);
      const [a, b] = await leased(server, 2);
      await complete(server, [a!], []);
      const { status, body } = await complete(server, [a!, b!], [{ items: [{ utf8: "1" }] }]);
      assert.deepEqual([status, body.code], [409, "some_refused"]);
      assert.deepEqual(
        (await there(server, queue_name)).map(({ id }) => id),
        [b!.id],
      );
    });
  });

  // Of several threads each has its own storage.
  if (threads > 1) continue;
  describe(`a complete that produces for another queue on ${place}`, () => {
    test("does both in one transaction, also if both queues do it to each other", async (t) => {
      const server = await open(t);
      const here = await leased(server, 20);
      const other = await leased(server, 20, "next");
      const all = here.flatMap((item, i) => [
        complete(
          server,
          [item],
          [
            { queue_name: "next", items: [{ utf8: `to next ${i}` }] },
            { items: [{ utf8: `own ${i}` }] },
          ],
        ),
        server.call("/v2/queue.complete", {
          queue_name: "next",
          leases: [{ lease_id: other[i]!.lease_id }],
          produce: [{ queue_name, items: [{ utf8: `to q ${i}` }] }],
        }),
      ]);
      for (const { status, body } of await Promise.all(all)) {
        assert.equal(status, 200, JSON.stringify(body));
      }
      const texts = async (queue: string) =>
        (await there(server, queue)).map(({ utf8 }) => utf8).toSorted();
      const numbers = Array.from({ length: 20 }, (_, i) => i);
      const mine = numbers.flatMap((i) => [`own ${i}`, `to q ${i}`]);
      assert.deepEqual(await texts(queue_name), mine.toSorted());
      assert.deepEqual(await texts("next"), numbers.map((i) => `to next ${i}`).toSorted());
    });

    test("does neither if a lease cannot be ended, and says what cannot be done", async (t) => {
      const server = await open(t);
      const [a, b] = await leased(server, 2);
      await complete(server, [a!], []);
      const produce = [{ queue_name: "next", items: [{ utf8: "1" }] }];
      const refused = await complete(server, [a!, b!], produce);
      assert.deepEqual([refused.status, refused.body.code], [409, "some_refused"]);
      const WRONG: readonly (readonly [readonly Json[], number, string])[] = [
        [[{ items: [] }], 400, "produce[0].items"],
        [[{ queue_name: "none", items: [{}] }], 404, "produce[0].queue_name"],
        [[{ items: [{}, { json: 1, utf8: "a" }] }], 400, "produce[0].items[1].utf8"],
        [[...produce, { items: [{ delay: "x" }] }], 400, "produce[1].items[0].delay"],
        [[{ items: [{ unique_key: "" }] }], 400, "produce[0].items[0].unique_key"],
        [
          [...produce, { items: [{}, { on_duplicate: "reject" }] }],
          400,
          "produce[1].items[1].on_duplicate",
        ],
      ];
      for (const [given, status, field] of WRONG) {
        const reply = await complete(server, [b!], given);
        assert.equal(reply.status, status);
        assert.equal(reply.body.field, field);
      }
      assert.deepEqual(await there(server, "next"), []);
      assert.deepEqual(
        (await there(server, queue_name, "leased")).map(({ id }) => id),
        [b!.id],
      );
    });

    test("is answered the same once more to who sends it again", async (t) => {
      const server = await open(t);
      const [a] = await leased(server);
      const body = JSON.stringify({
        queue_name,
        leases: [{ lease_id: a!.lease_id }],
        produce: [{ queue_name: "next", items: [{ utf8: "1" }] }],
      });
      const send = async (): Promise<unknown> => {
        const headers = { "Content-Type": "application/json", "Idempotency-Key": "k" };
        const url = `${server.server.address}/v2/queue.complete`;
        const response = await fetch(url, { method: "POST", headers, body });
        assert.equal(response.status, 200);
        return response.json();
      };
      const first = await send();
      assert.deepEqual(await send(), first);
      assert.equal((await there(server, "next")).length, 1);
    });
  });
}

test("a failed commit leaves both queues as they were", async (t) => {
  let faulty: FaultyStorage | undefined;
  const wrapStorage = (storage: Storage): Storage => {
    faulty = new FaultyStorage(storage);
    return faulty.storage;
  };
  const server = await start(
    await setup(t, { ...(await freshPlace(t, "sqlite")) }, { wrapStorage }),
  );
  const [a] = await leased(server);
  const produce = [{ queue_name: "next", items: [{ utf8: "1" }] }, { items: [{ utf8: "2" }] }];
  faulty!.next("commit", "fail");
  const failed = await complete(server, [a!], produce);
  assert.equal(failed.status, 503);
  assert.deepEqual(await there(server, "next"), []);
  assert.deepEqual(
    (await there(server, queue_name)).map(({ id }) => id),
    [a!.id],
  );
  const again = await server.until(async () => {
    const reply = await complete(server, [a!], produce);
    return reply.status === 200 && reply;
  });
  assert.equal(again.body.produced.length, 2);
  assert.equal((await there(server, "next")).length, 1);
});

test("queues that complete into each other in a ring do not wait for one another in vain", async (t) => {
  const server = await setup(t);
  const next: Readonly<Record<string, string>> = { a: "b", b: "c", c: "a" };
  const names = Object.keys(next);
  const leases: [string, Item][] = [];
  for (const name of names) await server.ok("/v2/queues.create", { queue_name: name });
  for (const name of names) {
    for (const item of await leased(server, 20, name)) leases.push([name, item]);
  }
  const replies = await Promise.all(
    leases.map(([name, { lease_id }]) =>
      server.call("/v2/queue.complete", {
        queue_name: name,
        leases: [{ lease_id }],
        produce: [{ queue_name: next[name], items: [{ utf8: "next" }] }],
      }),
    ),
  );
  for (const { status, body } of replies) assert.equal(status, 200, JSON.stringify(body));
  for (const name of names) assert.equal((await there(server, name)).length, 20);
});

test("what another queue is too busy for waits for it, and keeps its own queue from nothing", async (t) => {
  let own: FaultyStorage | undefined;
  let other: FaultyStorage | undefined;
  const wrapStorage = (storage: Storage): Storage => {
    own = new FaultyStorage(storage);
    other = new FaultyStorage(own.storage);
    return other.storage;
  };
  const server = await start(await setup(t, {}, { wrapStorage }));
  await server.ok("/v2/queues.update", { queue_name, dead_queue: "next" });
  const items = await leased(server, 4);
  await server.advance("0s");
  // The other queue is at something that takes long.
  other!.next("findKeys", "wait");
  const long = server.call("/v2/queue.produce", {
    queue_name: "next",
    items: [{ utf8: "long", unique_key: "k" }],
  });
  await other!.waits();
  const replies = items
    .slice(1)
    .map((item) => complete(server, [item], [{ queue_name: "next", items: [{ utf8: "1" }] }]));
  const leases = [{ lease_id: items[0]!.lease_id }];
  replies.push(server.call("/v2/queue.reject", { queue_name, leases }));
  await server.until(async () => {
    const { logical_queues } = await server.ok("/v2/queue.stats", { queue_name });
    return logical_queues[0].complete_waiting === replies.length;
  });
  // Time stands still: who waited for the other within a turn would wait for ever.
  await leased(server, 1);
  other!.release();
  for (const { status, body } of await Promise.all(replies)) {
    assert.equal(status, 200, JSON.stringify(body));
  }
  assert.equal((await long).status, 200);
  assert.equal((await there(server, "next")).length, 5);
});

test("what another queue is too busy for is refused once its time has passed, and not done later", async (t) => {
  let other: FaultyStorage | undefined;
  const wrapStorage = (storage: Storage): Storage => {
    other = new FaultyStorage(storage);
    return other.storage;
  };
  const server = await start(await setup(t, {}, { wrapStorage }));
  await server.ok("/v2/queues.update", { queue_name, dead_queue: "next" });
  const [a, b] = await leased(server, 2);
  await server.advance("0s");
  other!.next("findKeys", "wait");
  const long = server.call("/v2/queue.produce", {
    queue_name: "next",
    items: [{ utf8: "long", unique_key: "k" }],
  });
  await other!.waits();
  const replies = [
    server.call("/v2/queue.complete", {
      queue_name,
      leases: [{ lease_id: a!.lease_id }],
      produce: [{ queue_name: "next", items: [{ utf8: "1" }] }],
      request_timeout: "1s",
    }),
    server.call("/v2/queue.reject", {
      queue_name,
      leases: [{ lease_id: b!.lease_id }],
      request_timeout: "1s",
    }),
  ];
  await server.until(async () => {
    const { logical_queues } = await server.ok("/v2/queue.stats", { queue_name });
    return logical_queues[0].complete_waiting === 2;
  });
  await server.advance("2s");
  assert.deepEqual(
    (await Promise.all(replies)).map(({ status, body }) => [status, body.detail]),
    [
      [503, "the other queue is busy, try again"],
      [503, "dead queue is busy, try again"],
    ],
  );
  other!.release();
  await long;
  // Both queues go on, and both items are leased still.
  await leased(server, 1);
  await leased(server, 1, "next");
  const { totals } = await server.ok("/v2/queue.stats", { queue_name });
  assert.equal(totals.leased, 3);
});

test("what the other queue could not look up is refused, and the own partition is trusted as before", async (t) => {
  let faulty: FaultyStorage | undefined;
  const wrapStorage = (storage: Storage): Storage => {
    faulty = new FaultyStorage(storage);
    return faulty.storage;
  };
  const server = await start(await setup(t, {}, { wrapStorage }));
  const [a, b] = await leased(server, 2);
  const produce = [{ queue_name: "next", items: [{ utf8: "1", unique_key: "k" }] }];
  faulty!.next("findKeys", "fail");
  // What is not trusted any more would be read anew.
  faulty!.always("loadPartition", "fail");
  const { status, body } = await complete(server, [a!], produce);
  assert.deepEqual([status, body.retryable], [503, true]);
  assert.equal((await complete(server, [b!], [])).status, 200);
  faulty!.heal();
  await server.until(async () => (await complete(server, [a!], produce)).status === 200);
  assert.equal((await there(server, "next")).length, 1);
  assert.deepEqual(await there(server, queue_name), []);
});

test("it is said in Protobuf as in JSON", async (t) => {
  const server = await start(await setup(t));
  const [a] = await leased(server);
  const request = create(QueueCompleteRequestSchema, {
    queueName: queue_name,
    leases: [{ leaseId: a!.lease_id, result: '{"n":1}' }],
    produce: [{ queueName: "next", items: [{ utf8: "1" }] }],
  });
  const response = await fetch(`${server.server.address}/v2/queue.complete`, {
    method: "POST",
    headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
    body: toBinary(QueueCompleteRequestSchema, request),
  });
  const bytes = new Uint8Array(await response.arrayBuffer());
  const { results, produced } = fromBinary(ResultsResponseSchema, bytes);
  const [item] = await there(server, "next");
  assert.deepEqual([results[0]!.ok, produced[0]!.id], [true, item!.id]);
});
