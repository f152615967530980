// Items that are named by their ids: what is told of them wherever they are, and that one which is cancelled
// never comes back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Json, world } from "../support/items.ts";
import { temporaryDirectory } from "../support/server.ts";

test("item.get tells what an item is, from produce on, by its id alone", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [first, second] = (await w.produce(
    "q",
    { json: { a: 1 }, kind: "mail", reference: "r", headers: { h: "v" } },
    { utf8: "later", delay: "5m" },
  )) as [string, string];
  const waiting = await w.get(first);
  assert.deepEqual(
    [waiting.id, waiting.state, waiting.queue_name, waiting.kind, waiting.reference],
    [first, "waiting", "q", "mail", "r"],
  );
  assert.deepEqual(
    [waiting.json, waiting.headers, waiting.attempts ?? 0],
    [undefined, { h: "v" }, 0],
  );
  assert.deepEqual((await w.get(first, { payload: true, queue_name: "q" })).json, { a: 1 });
  const scheduled = await w.get(second);
  assert.equal(scheduled.state, "scheduled");
  assert.ok(scheduled.enqueue_at > scheduled.created_at);
  const [leased] = await w.lease("q");
  const held = await w.get(first);
  assert.deepEqual(
    [held.state, held.lease_id, held.lease_deadline, held.attempts],
    ["leased", leased.lease_id, leased.lease_deadline, 1],
  );
});

test("item.get finds an item that has moved, and not one that has ended or never was", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [id] = (await w.produce("q", { utf8: "a" })) as [string];
  const [leased] = await w.lease("q");
  assert.deepEqual(await w.end("queue.retry", "q", [leased.lease_id]), ["ok"]);
  const back = await w.get(id);
  assert.deepEqual([back.id, back.state, back.attempts], [id, "waiting", 1]);
  const [again] = await w.lease("q");
  assert.notEqual(again.lease_id, id);
  // What a lease is called is no name of its item.
  assert.equal(await w.state(again.lease_id), "item_not_found");
  assert.deepEqual(await w.end("queue.complete", "q", [again.lease_id]), ["ok"]);
  assert.equal(await w.state(id), "item_not_found");
  const unknown = await w.call("item.get", { id: `${id.slice(0, -1)}z` });
  assert.deepEqual([unknown.status, unknown.body.code], [404, "item_not_found"]);
  for (const [request, field] of [
    [{}, "id"],
    [{ id: "abc" }, "id"],
  ] as const) {
    const { status, body } = await w.call("item.get", request);
    assert.deepEqual([status, body.code, body.field], [400, "invalid_field", field]);
  }
  assert.equal((await w.call("item.get", { id, queue_name: "none" })).body.code, "queue_not_found");
});

test("item.get finds what has died in the dead queue of its queue, by the same id", async (t) => {
  const w = await world(t);
  await w.server.createQueue("dead");
  await w.server.createQueue("q", { dead_queue: "dead" });
  const [id] = (await w.produce("q", { utf8: "a" })) as [string];
  const [leased] = await w.lease("q");
  assert.deepEqual(await w.end("queue.reject", "q", [leased.lease_id]), ["ok"]);
  for (const queue_name of [undefined, "q", "dead"]) {
    const item = await w.get(id, { queue_name });
    assert.deepEqual([item.id, item.queue_name], [id, "dead"]);
  }
});

for (const threads of [1, 2]) {
  test(`an item is found in any of several queues and partitions (${threads} threads)`, async (t) => {
    const dataDir = temporaryDirectory(t);
    const w = await world(t, { dataDir, threads });
    for (const name of ["a", "b", "c"])
      await w.server.createQueue(name, { requested_partitions: 3 });
    const ids: [string, string][] = [];
    for (const name of ["a", "b", "c", "a", "b", "c"]) {
      const [id] = (await w.produce(name, { utf8: name })) as [string];
      ids.push([name, id]);
    }
    for (const [name, id] of ids) {
      const item = await w.get(id, { payload: true });
      assert.deepEqual([item.id, item.queue_name, item.utf8], [id, name, name]);
    }
    // A queue that is gone has given nothing.
    await w.ok("queues.delete", { queue_name: "b", force: true });
    for (const [name, id] of ids) {
      assert.equal(await w.state(id), name === "b" ? "item_not_found" : "waiting");
    }
  });
}

test("what waits or is scheduled is gone when it is cancelled", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const ids = await w.produce("q", { utf8: "a" }, { utf8: "b" }, { utf8: "later", delay: "5m" });
  const [first, second, third] = ids as [string, string, string];
  for (const id of [first, third]) {
    const item = await w.ok("item.cancel", { id });
    assert.deepEqual([item.id, item.state], [id, "cancelled"]);
    assert.ok(item.ended_at);
    assert.equal(await w.state(id), "item_not_found");
    assert.equal((await w.call("item.cancel", { id })).status, 404);
  }
  const leased = await w.lease("q", 10);
  assert.deepEqual(
    leased.map(({ id }: Json) => id),
    [second],
  );
  await w.server.advance("10m");
  const stats = await w.server.stats("q");
  assert.deepEqual([stats.total, stats.scheduled ?? 0], [1, 0]);
});

const ENDINGS = [
  ["queue.complete", {}],
  ["queue.retry", {}],
  ["queue.retry", { delay: "5m" }],
  ["queue.release", {}],
  ["queue.reject", {}],
] as const;

for (const [path, more] of ENDINGS) {
  test(`${path} ${JSON.stringify(more)} of what was cancelled tells it, and the item is gone`, async (t) => {
    const w = await world(t);
    await w.server.createQueue("dead");
    await w.server.createQueue("q", { dead_queue: "dead" });
    const [id, other] = (await w.produce("q", { utf8: "a" }, { utf8: "b" })) as [string, string];
    const leased = await w.lease("q", 2);
    const lease_ids = leased.map(({ lease_id }: Json) => lease_id);
    const marked = await w.ok("item.cancel", { id });
    assert.deepEqual([marked.state, marked.cancelled], ["leased", true]);
    assert.equal((await w.get(id)).cancelled, true);
    // Again is as once.
    assert.deepEqual((await w.ok("item.cancel", { id })).cancelled, true);
    assert.deepEqual(await w.end("queue.extend", "q", lease_ids, { for: "2m" }), [
      "item_cancelled",
      "ok",
    ]);
    assert.deepEqual(await w.end(path, "q", lease_ids, more), ["item_cancelled", "ok"]);
    assert.equal(await w.state(id), "item_not_found");
    assert.notEqual(await w.state(other), "leased");
    assert.deepEqual(await w.end(path, "q", [lease_ids[0]], more), ["lease_ended"]);
    await w.server.advance("10m");
    assert.equal(await w.state(id), "item_not_found");
    const left = await w.server.stats("dead");
    assert.equal(left.total ?? 0, path === "queue.reject" ? 1 : 0);
  });
}

test("a call that is to be done as a whole does nothing if one item was cancelled", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [id] = (await w.produce("q", { utf8: "a" }, { utf8: "b" })) as [string];
  const leases = (await w.lease("q", 2)).map(({ lease_id }: Json) => ({ lease_id }));
  await w.ok("item.cancel", { id });
  const { status, body } = await w.call("queue.complete", {
    queue_name: "q",
    leases,
    all_or_none: true,
  });
  assert.deepEqual([status, body.code], [409, "some_refused"]);
  assert.deepEqual(
    body.results.map(({ code }: Json) => code),
    ["item_cancelled", undefined],
  );
  const { total, total_leased } = await w.server.stats("q");
  assert.deepEqual([total, total_leased], [2, 2]);
});

test("what was cancelled ends with its lease, and also by /v1, which does not tell", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const ids = await w.produce("q", { utf8: "a" }, { utf8: "b" }, { utf8: "c" }, { utf8: "d" });
  const leased = await w.lease("q", 4);
  for (const id of ids.slice(0, 3)) await w.ok("item.cancel", { id });
  const [first, second] = leased.map(({ lease_id }: Json) => lease_id) as [string, string];
  assert.equal((await w.server.complete("q", [first])).status, 200);
  assert.equal((await w.server.retry("q", [{ id: second }])).status, 200);
  await w.server.advance("2m");
  const again = await w.lease("q", 10);
  assert.deepEqual(
    again.map(({ id }: Json) => id),
    [ids[3]],
  );
  const { total } = await w.server.stats("q");
  assert.equal(total, 1);
});

test("a cancellation and progress are known after a restart, and end with the lease", async (t) => {
  const dataDir = temporaryDirectory(t);
  let w = await world(t, { dataDir });
  await w.server.createQueue("q");
  const [id, other] = (await w.produce("q", { utf8: "a" }, { utf8: "b" })) as [string, string];
  const lease_ids = (await w.lease("q", 2)).map(({ lease_id }: Json) => lease_id);
  await w.ok("item.cancel", { id });
  assert.deepEqual(await w.end("queue.extend", "q", [lease_ids[1]], { progress: { at: 7 } }), [
    "ok",
  ]);
  await w.server.server.stop();
  w = await world(t, { dataDir });
  assert.equal((await w.get(id)).cancelled, true);
  assert.deepEqual((await w.get(other)).progress, { at: 7 });
  assert.deepEqual(await w.end("queue.extend", "q", lease_ids, { for: "2m" }), [
    "item_cancelled",
    "ok",
  ]);
  assert.deepEqual(await w.end("queue.retry", "q", lease_ids), ["item_cancelled", "ok"]);
  assert.equal(await w.state(id), "item_not_found");
  const [back] = await w.lease("q", 2);
  assert.equal(back.id, other);
  assert.equal((await w.get(other)).progress, undefined);
});

test("progress alone leaves the end of a lease as it is, and the last that was told counts", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [id] = (await w.produce("q", { utf8: "a" })) as [string];
  await w.server.advance("0s");
  const [leased] = await w.lease("q");
  const leases = (more: object) => ({
    queue_name: "q",
    leases: [{ lease_id: leased.lease_id, ...more }],
  });
  for (const progress of [1, { done: 0.5 }, "nearly"]) {
    const { results } = await w.ok("queue.extend", leases({ progress }));
    assert.deepEqual([results[0].ok, results[0].lease_deadline], [true, leased.lease_deadline]);
    assert.deepEqual((await w.get(id)).progress, progress);
  }
  const longer = await w.ok("queue.extend", leases({ for: "5m", progress: null }));
  assert.ok(longer.results[0].lease_deadline > leased.lease_deadline);
  const held = await w.get(id);
  assert.deepEqual([held.progress, held.lease_deadline], [null, longer.results[0].lease_deadline]);
  const missing = await w.call("queue.extend", leases({}));
  assert.deepEqual([missing.status, missing.body.field], [400, "leases[0].for"]);
  const large = await w.call("queue.extend", leases({ progress: "x".repeat(5_000) }));
  assert.deepEqual([large.status, large.body.field], [400, "leases[0].progress"]);
});
