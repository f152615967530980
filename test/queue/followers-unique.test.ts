// A complete that produces items with unique keys, and for several queues: all of it or nothing, and what became of
// each item is answered.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, World } from "../support/items.ts";
import { type Reply, setup } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const KEY = { unique_key: "k" };

async function start(
  t: TestContext,
  ...how: Parameters<typeof setup> extends [unknown, ...infer R] ? R : never
): Promise<World> {
  const w = new World(await setup(t, ...how));
  for (const name of ["q", "r", "s"]) await w.server.createQueue(name);
  return w;
}

/** Calls until no queue is too busy, of which nothing is done. */
function calm(call: () => Promise<Reply>, w: World): Promise<Reply> {
  return w.server.until(async () => {
    const reply = await call();
    return !/queue is busy/.test(reply.body.detail ?? "") && reply;
  });
}

/** Completes a lease of q. */
function complete(w: World, lease_id: string, ...produce: object[]): Promise<Reply> {
  return w.call("queue.complete", { queue_name: "q", leases: [{ lease_id }], produce });
}

/** One that is leased. */
async function leased(w: World, item: object = { utf8: "step" }): Promise<Json> {
  await w.produce("q", item);
  return (await w.lease("q"))[0];
}

/** What waits in a queue, and is scheduled, in order. */
async function texts(w: World, queue: string): Promise<string[]> {
  const all: Json[] = [];
  for (const state of ["waiting", "scheduled"]) {
    const { items = [] } = await w.ok("items.list", { queue_name: queue, state, payload: true });
    all.push(...items);
  }
  return all.map(({ utf8 }) => utf8);
}

for (const [place, driver, threads] of PLACES) {
  const open = async (t: TestContext): Promise<World> =>
    start(t, { threads, ...(await freshPlace(t, driver)) });

  describe(`a complete that produces items with keys on ${place}`, () => {
    test("an item produces itself anew under its own key, which is free with its end", async (t) => {
      for (const on_duplicate of ["return", "reject", "replace", "extend", "keep_latest"]) {
        const w = await open(t);
        let item = await leased(w, { utf8: "0", ...KEY });
        for (const utf8 of ["1", "2"]) {
          const { status, body } = await complete(w, item.lease_id, {
            items: [{ utf8, ...KEY, on_duplicate }],
          });
          assert.equal(status, 200, JSON.stringify(body));
          assert.equal(body.produced[0].status, "created");
          assert.deepEqual(
            (await w.ok("queue.produce", { queue_name: "q", items: [{ utf8: "x", ...KEY }] }))
              .results,
            [{ id: body.produced[0].id, status: "duplicate" }],
          );
          [item] = await w.lease("q");
          assert.equal(item.utf8, utf8);
        }
        await w.server.server.stop();
      }
    });

    test("what becomes of each is answered, and counted once", async (t) => {
      const w = await open(t);
      const item = await leased(w);
      const [first] = await w.produce("q", { utf8: "a", ...KEY });
      const { status, body } = await complete(
        w,
        item.lease_id,
        {
          items: [
            { utf8: "b", ...KEY },
            { utf8: "c", unique_key: "l", delay: "1h" },
          ],
        },
        {
          items: [
            { utf8: "d", ...KEY, on_duplicate: "replace" },
            { utf8: "plain" },
            { utf8: "e", unique_key: "m" },
            { utf8: "f", unique_key: "m" },
          ],
        },
      );
      assert.equal(status, 200, JSON.stringify(body));
      const statuses = body.produced.map((each: Json) => each.status);
      assert.deepEqual(statuses, [
        "duplicate",
        "scheduled",
        "replaced",
        "created",
        "created",
        "duplicate",
      ]);
      const ids = body.produced.map((each: Json) => each.id);
      assert.deepEqual([ids[0], ids[2], ids[4]], [first, first, ids[5]]);
      assert.deepEqual(await texts(w, "q"), ["d", "plain", "e", "c"]);
      const { totals } = await w.ok("queue.stats", { queue_name: "q" });
      assert.equal(totals.counts.deduplicated, 3);
    });

    test("one that is refused refuses the whole call by its field, and nothing is done", async (t) => {
      const w = await open(t);
      const item = await leased(w);
      const [id] = await w.produce("q", { utf8: "a", ...KEY });
      const reject = { utf8: "b", ...KEY, on_duplicate: "reject" };
      const { status, body } = await complete(
        w,
        item.lease_id,
        { items: [{ utf8: "x", unique_key: "x" }] },
        { items: [{ utf8: "y" }, reject] },
      );
      assert.deepEqual(
        [status, body.code, body.field, body.details],
        [409, "unique_key_taken", "produce[1].items[1].unique_key", { key: "k", id }],
      );
      assert.deepEqual(await texts(w, "q"), ["a"]);
      assert.equal(await w.state(item.id), "leased");
      assert.equal((await complete(w, item.lease_id, { items: [{ utf8: "z" }] })).status, 200);
    });

    test("what waits behind what ends gets its turn, or is replaced, and one of the key is left", async (t) => {
      for (const [on_duplicate, status, left] of [
        ["return", "duplicate", ["behind"]],
        ["replace", "replaced", ["next"]],
        ["keep_latest", "replaced", ["next"]],
      ] as const) {
        const w = await open(t);
        const item = await leased(w, { utf8: "first", ...KEY });
        const latest = { ...KEY, on_duplicate: "keep_latest" };
        const [id] = await w.produce("q", { utf8: "behind", ...latest });
        const { body } = await complete(w, item.lease_id, {
          items: [{ utf8: "next", ...KEY, on_duplicate }],
        });
        assert.deepEqual(body.produced, [{ id, status }]);
        const [turn, ...more] = await w.lease("q", 9);
        assert.deepEqual([turn.utf8, more], [left[0], []]);
        const again = await w.ok("queue.produce", { queue_name: "q", items: [{ ...KEY }] });
        assert.deepEqual(again.results, [{ id, status: "duplicate" }]);
        await w.server.server.stop();
      }
    });

    test("the keys outlast a restart, and so does that they are free", async (t) => {
      if (driver === "memory") return;
      const options = { threads, ...(await freshPlace(t, driver)) };
      const before = await start(t, options);
      const item = await leased(before, { utf8: "0", ...KEY });
      const { body } = await complete(before, item.lease_id, {
        items: [{ utf8: "1", unique_key: "l" }],
      });
      await before.server.server.stop();
      const w = new World(await setup(t, options));
      const items = [{ ...KEY }, { unique_key: "l" }];
      const { results } = await w.ok("queue.produce", { queue_name: "q", items });
      const [free, taken] = results;
      assert.deepEqual(
        [free.status, taken],
        ["created", { id: body.produced[0].id, status: "duplicate" }],
      );
    });
  });

  if (threads > 1) continue;
  describe(`a complete that produces for several queues on ${place}`, () => {
    test("all of it is one transaction, with the keys of each queue", async (t) => {
      const w = await open(t);
      const item = await leased(w);
      const [taken] = await w.produce("s", { utf8: "a", ...KEY });
      const { status, body } = await complete(
        w,
        item.lease_id,
        { queue_name: "r", items: [{ utf8: "r1", ...KEY }] },
        { items: [{ utf8: "own" }] },
        { queue_name: "s", items: [{ utf8: "s1", ...KEY }, { utf8: "s2" }] },
        { queue_name: "r", items: [{ utf8: "r2" }] },
      );
      assert.equal(status, 200, JSON.stringify(body));
      assert.deepEqual(
        body.produced.map((each: Json) => each.status),
        ["created", "created", "duplicate", "created", "created"],
      );
      assert.equal(body.produced[2].id, taken);
      assert.deepEqual(await texts(w, "q"), ["own"]);
      assert.deepEqual(await texts(w, "r"), ["r1", "r2"]);
      assert.deepEqual(await texts(w, "s"), ["a", "s2"]);
      assert.equal(await w.state(body.produced[4].id), "waiting");
    });

    test("one of them that refuses an item refuses all", async (t) => {
      const w = await open(t);
      const item = await leased(w);
      await w.produce("s", { utf8: "a", ...KEY });
      const { status, body } = await complete(
        w,
        item.lease_id,
        { queue_name: "r", items: [{ utf8: "r1", ...KEY }] },
        { queue_name: "s", items: [{ utf8: "s1", ...KEY, on_duplicate: "reject" }] },
      );
      assert.deepEqual([status, body.field], [409, "produce[1].items[0].unique_key"]);
      assert.deepEqual(await texts(w, "r"), []);
      assert.equal(await w.state(item.id), "leased");
      // Nothing has taken the key that was not refused.
      const { results } = await w.ok("queue.produce", { queue_name: "r", items: [{ ...KEY }] });
      assert.equal(results[0].status, "created");
    });

    test("of many at once each does its own, and of their key one is left", async (t) => {
      const w = await open(t);
      await w.produce("q", ...Array.from({ length: 30 }, (_, i) => ({ utf8: `${i}` })));
      const items = await w.lease("q", 30);
      const replies = await Promise.all(
        items.map(({ lease_id, utf8 }) =>
          calm(
            () =>
              complete(
                w,
                lease_id,
                {
                  queue_name: "r",
                  items: [{ utf8 }, { utf8: "one", ...KEY, on_duplicate: "replace" }],
                },
                { queue_name: "s", items: [{ utf8 }] },
              ),
            w,
          ),
        ),
      );
      for (const { status, body } of replies) assert.equal(status, 200, JSON.stringify(body));
      const all = Array.from({ length: 30 }, (_, i) => `${i}`);
      assert.deepEqual((await texts(w, "r")).toSorted(), [...all, "one"].toSorted());
      assert.deepEqual((await texts(w, "s")).toSorted(), all.toSorted());
    });

    test("is answered the same once more to who sends it again, and done once", async (t) => {
      const w = await open(t);
      const { lease_id } = await leased(w, { utf8: "a", ...KEY });
      const produce = [
        { items: [{ utf8: "b", ...KEY }] },
        { queue_name: "r", items: [{ utf8: "c", ...KEY }] },
        { queue_name: "s", items: [{ utf8: "d" }] },
      ];
      const body = JSON.stringify({ queue_name: "q", leases: [{ lease_id }], produce });
      const send = async (): Promise<Json> => {
        const headers = { "Content-Type": "application/json", "Idempotency-Key": "once" };
        const url = `${w.server.server.address}/v2/queue.complete`;
        const response = await fetch(url, { method: "POST", headers, body });
        assert.equal(response.status, 200);
        return response.json();
      };
      const first = await send();
      assert.deepEqual(await send(), first);
      const left = await Promise.all(["q", "r", "s"].map((queue) => texts(w, queue)));
      assert.deepEqual(left, [["b"], ["c"], ["d"]]);
    });
  });
}

test("queues that complete into two others each, in a ring, are all done", async (t) => {
  const w = await start(t);
  const others: Readonly<Record<string, readonly string[]>> = {
    q: ["r", "s"],
    r: ["s", "q"],
    s: ["q", "r"],
  };
  const items = new Map<string, Json[]>();
  for (const queue of Object.keys(others)) {
    await w.produce(queue, ...Array.from({ length: 10 }, () => ({ utf8: "first" })));
    items.set(queue, await w.lease(queue, 10));
  }
  const calls: Promise<Reply>[] = [];
  for (const [queue, leases] of items) {
    calls.push(
      ...leases.map(({ lease_id }) =>
        calm(
          () =>
            w.call("queue.complete", {
              queue_name: queue,
              leases: [{ lease_id }],
              produce: others[queue]!.map((name) => ({
                queue_name: name,
                items: [{ utf8: "next" }, { utf8: "one", ...KEY }],
              })),
            }),
          w,
        ),
      ),
    );
  }
  for (const { status, body } of await Promise.all(calls)) {
    assert.equal(status, 200, JSON.stringify(body));
  }
  for (const queue of Object.keys(others)) {
    const left = await texts(w, queue);
    assert.equal(left.filter((utf8) => utf8 === "next").length, 20);
    assert.equal(left.filter((utf8) => utf8 === "one").length, 1);
  }
});

for (const fault of ["fail", "half-way", "lose-reply"] as const) {
  test(`a commit that is answered by '${fault}' leaves all of it or nothing, in every queue`, async (t) => {
    let faulty: FaultyStorage | undefined;
    const wrapStorage = (storage: Storage): Storage => {
      faulty = new FaultyStorage(storage);
      return faulty.storage;
    };
    const w = await start(t, { ...(await freshPlace(t, "sqlite")) }, { wrapStorage });
    const item = await leased(w, { utf8: "a", ...KEY });
    const [old] = await w.produce("r", { utf8: "old", ...KEY });
    const produce = [
      { items: [{ utf8: "own", ...KEY }] },
      { queue_name: "r", items: [{ utf8: "new", ...KEY, on_duplicate: "replace" }] },
      { queue_name: "s", items: [{ utf8: "other", ...KEY }] },
    ];
    faulty!.next("commit", fault);
    assert.equal((await complete(w, item.lease_id, ...produce)).status, 503);
    const read = async (): Promise<string[][]> =>
      Promise.all(["q", "r", "s"].map((queue) => texts(w, queue)));
    const done = [["own"], ["new"], ["other"]];
    const isDone = fault === "lose-reply";
    assert.deepEqual(await read(), isDone ? done : [[], ["old"], []]);
    assert.equal(await w.state(old!), "waiting");
    const again = await w.server.until(async () => {
      const reply = await complete(w, item.lease_id, ...produce);
      return reply.status < 500 && reply;
    });
    assert.equal(again.status, isDone ? 409 : 200, JSON.stringify(again.body));
    assert.deepEqual(await read(), done);
    // One item has each key, and is what is leased.
    for (const queue of ["q", "r", "s"]) {
      const { results } = await w.ok("queue.produce", { queue_name: queue, items: [{ ...KEY }] });
      const [only, ...more] = await w.lease(queue, 9);
      assert.deepEqual([results[0].status, results[0].id, more], ["duplicate", only.id, []]);
    }
  });
}
