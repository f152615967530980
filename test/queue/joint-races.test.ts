// Completes that produce for others, where several meet in one turn, or what they wait for takes long. Time stands
// still, and moves only as a test says.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, World } from "../support/items.ts";
import { type Reply, setup } from "../support/server.ts";

const KEY = { unique_key: "k" };

async function start(t: TestContext): Promise<{ w: World; storage: FaultyStorage }> {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: Storage): Storage => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const w = new World(await setup(t, { memory: true }, { wrapStorage }));
  for (const name of ["q", "r", "s"]) await w.server.createQueue(name);
  await w.server.advance("0s");
  return { w, storage: storage! };
}

async function leased(w: World, count: number): Promise<string[]> {
  await w.produce("q", ...Array.from({ length: count }, () => ({ utf8: "step" })));
  return (await w.lease("q", count)).map(({ lease_id }: Json) => lease_id);
}

function complete(w: World, lease_id: string, produce: object[], more = {}): Promise<Reply> {
  return w.call("queue.complete", { queue_name: "q", leases: [{ lease_id }], produce, ...more });
}

async function inFlight(w: World, queue_name: string, count: number): Promise<void> {
  await w.server.until(async () => (await w.server.stats(queue_name)).in_flight === count);
}

/** Has requests come while a turn of q is under way, so that the next one takes them together. */
async function together(
  w: World,
  storage: FaultyStorage,
  ...calls: readonly (() => Promise<Reply>)[]
): Promise<Reply[]> {
  storage.next("commit", "wait");
  const busy = w.produce("q", { utf8: "busy" });
  await storage.waits();
  const replies: Promise<Reply>[] = [];
  for (const [i, call] of calls.entries()) {
    replies.push(call());
    await inFlight(w, "q", i + 2);
  }
  storage.release();
  await busy;
  return Promise.all(replies);
}

test("a complete whose time passes while it waits for another queue does not take a key that is taken", async (t) => {
  const { w, storage } = await start(t);
  const [lease] = await leased(w, 1);
  const [first] = await w.produce("r", { utf8: "first", ...KEY });
  storage.next("commit", "wait");
  const busy = w.produce("r", { utf8: "busy" });
  await storage.waits();
  const produce = [{ queue_name: "r", items: [{ utf8: "second", ...KEY }] }];
  const late = complete(w, lease!, produce, { request_timeout: "50ms" });
  await inFlight(w, "q", 1);
  await w.server.advance("100ms");
  const { status, body } = await late;
  assert.deepEqual([status, body.detail], [503, "the other queue is busy, try again"]);
  storage.release();
  await busy;
  const { items } = await w.ok("items.list", { queue_name: "r", payload: true });
  assert.deepEqual(
    items.map(({ utf8 }: Json) => utf8),
    ["first", "busy"],
  );
  const { results } = await w.ok("queue.produce", { queue_name: "r", items: [{ ...KEY }] });
  assert.deepEqual(results, [{ id: first, status: "duplicate" }]);
});

for (const queue_name of ["q", "r"]) {
  test(`of two that want a key in ${queue_name} at once the second is told whose it is`, async (t) => {
    const { w, storage } = await start(t);
    const leases = await leased(w, 2);
    const produce = [
      { queue_name, items: [{ utf8: "x" }, { utf8: "y", ...KEY, on_duplicate: "reject" }] },
    ];
    const [one, two] = await together(
      w,
      storage,
      () => complete(w, leases[0]!, produce),
      () => complete(w, leases[1]!, produce),
    );
    assert.equal(one!.status, 200, JSON.stringify(one!.body));
    const { status, body } = two!;
    assert.deepEqual(
      [status, body.code, body.field],
      [409, "unique_key_taken", "produce[0].items[1].unique_key"],
    );
    assert.equal(body.details.id, one!.body.produced[1].id);
    assert.equal(await w.state(one!.body.produced[1].id), "waiting");
  });

  test(`nobody is refused a key in ${queue_name} that is not taken after all`, async (t) => {
    const { w, storage } = await start(t);
    const leases = await leased(w, 2);
    const produce = [{ queue_name, items: [{ utf8: "y", ...KEY, on_duplicate: "reject" }] }];
    storage.next("commit", "wait", "fail");
    const busy = w.produce("q", { utf8: "busy" });
    await storage.waits();
    const replies = leases.map((lease) => complete(w, lease, produce));
    await inFlight(w, "q", 3);
    storage.release();
    await busy;
    for (const { status, body } of await Promise.all(replies)) {
      assert.equal(status, 503, JSON.stringify(body));
    }
  });
}

test("one request that wants a key twice is told of its own item by its path", async (t) => {
  const { w } = await start(t);
  const [lease] = await leased(w, 1);
  const one = { utf8: "x", ...KEY, on_duplicate: "reject" };
  const { status, body } = await complete(w, lease!, [
    { queue_name: "r", items: [{ utf8: "a" }] },
    { queue_name: "r", items: [one, one] },
  ]);
  assert.deepEqual([status, body.field], [409, "produce[1].items[1].unique_key"]);
  assert.equal(body.details.id, "produce[1].items[0]");
  assert.match(body.detail, /that of item 'produce\[1\]\.items\[0\]'/);
});

test("a queue that is deleted before its turn comes is not found, by the field of each call", async (t) => {
  const { w, storage } = await start(t);
  const leases = await leased(w, 2);
  const of = (...names: string[]): object[] =>
    names.map((queue_name) => ({ queue_name, items: [{}] }));
  storage.next("commit", "wait");
  const busy = w.produce("q", { utf8: "busy" });
  await storage.waits();
  const replies = [complete(w, leases[0]!, of("r", "s")), complete(w, leases[1]!, of("s", "r"))];
  await inFlight(w, "q", 3);
  await w.ok("queues.delete", { queue_name: "r" });
  storage.release();
  await busy;
  assert.deepEqual(
    (await Promise.all(replies)).map(({ status, body }) => [status, body.code, body.field]),
    [
      [404, "queue_not_found", "produce[0].queue_name"],
      [404, "queue_not_found", "produce[1].queue_name"],
    ],
  );
});

const TEXTS = ["one", "two"];

for (const isOn of [true, false]) {
  test(`a complete that waits is kept by what its queue says when it is done (switched ${isOn ? "on" : "off"})`, async (t) => {
    const { w, storage } = await start(t);
    const keep = (time: string): Promise<Json> =>
      w.ok("queues.update", { queue_name: "q", keep_completed: time, keep_payload: true });
    await keep(isOn ? "0s" : "1h");
    const ids = await w.produce("q", ...TEXTS.map((utf8) => ({ utf8, kind: "k" })));
    const leases = (await w.lease("q", 2)).map(({ lease_id }: Json) => lease_id);
    const check = async (i: number): Promise<void> => {
      const { status, body } = await w.call("item.get", { id: ids[i], payload: true });
      if (!isOn) assert.equal(status, 404);
      else assert.deepEqual([body.state, body.kind, body.utf8], ["completed", "k", TEXTS[i]]);
    };
    // The first waits for the other queue, the second for what it asks of it.
    storage.next("findKeys", "wait");
    const long = w.produce("r", { utf8: "long", ...KEY });
    await storage.waits();
    const produce = [{ queue_name: "r", items: [{ utf8: "next" }] }];
    const first = complete(w, leases[0]!, produce);
    await inFlight(w, "q", 1);
    await keep(isOn ? "1h" : "0s");
    storage.release();
    await long;
    assert.equal((await first).status, 200);
    await check(0);
    await keep(isOn ? "0s" : "1h");
    storage.next("findKeys", "wait");
    const second = complete(w, leases[1]!, [{ queue_name: "r", items: [{ unique_key: "l" }] }]);
    await storage.waits();
    await keep(isOn ? "1h" : "0s");
    storage.release();
    assert.equal((await second).status, 200);
    await check(1);
  });
}
