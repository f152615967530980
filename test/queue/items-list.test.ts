// items.list: what is asked for is found, page by page, in the order that is wanted, whatever lies between.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Json, type World, world } from "../support/items.ts";

/** All pages of a list, of so many items each; answers the payloads. */
async function pages(
  w: World,
  queue_name: string,
  request: object,
  limit: number,
): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < 1_000; page++) {
    const reply = await w.ok("items.list", {
      queue_name,
      payload: true,
      limit,
      cursor,
      ...request,
    });
    const { items = [], next_cursor } = reply;
    assert.ok(items.length <= limit);
    found.push(...items.map(({ utf8 }: Json) => utf8));
    if (next_cursor === undefined) return found;
    cursor = next_cursor;
  }
  throw new Error("the list does not end");
}

test("a list filters by kind, reference and age", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  await w.server.advance("0s");
  await w.produce("q", { utf8: "a", kind: "mail", reference: "x" }, { utf8: "b", kind: "sms" });
  await w.server.advance("10m");
  await w.produce("q", { utf8: "c", kind: "mail" }, { utf8: "d", kind: "mail", delay: "1h" });
  for (const limit of [1, 2, 100]) {
    const list = (request: object) => pages(w, "q", request, limit);
    assert.deepEqual(await list({}), ["a", "b", "c"]);
    assert.deepEqual(await list({ kind: "mail" }), ["a", "c"]);
    assert.deepEqual(await list({ kind: "mail", reference: "x" }), ["a"]);
    assert.deepEqual(await list({ kind: "none" }), []);
    assert.deepEqual(await list({ older_than: "5m" }), ["a", "b"]);
    assert.deepEqual(await list({ newer_than: "5m" }), ["c"]);
    assert.deepEqual(await list({ older_than: "10m", newer_than: "10m" }), ["a", "b"]);
    assert.deepEqual(await list({ state: "scheduled", kind: "mail" }), ["d"]);
    assert.deepEqual(await list({ state: "held" }), []);
  }
});

test("a list is newest first if that is asked for, over gaps and several partitions", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q", { requested_partitions: 2 });
  const names = Array.from({ length: 40 }, (_, i) => `${i}`);
  for (const name of names) await w.produce("q", { utf8: name });
  // Only the first and the last of each partition stay.
  const all = await w.ok("items.list", { queue_name: "q", payload: true });
  const ids = [0, 1].flatMap((number) =>
    all.items.filter(({ partition = 0 }: Json) => partition === number).slice(1, -2),
  );
  await w.ok("items.delete", { queue_name: "q", ids: ids.map(({ id }: Json) => id) });
  const oldest = await pages(w, "q", {}, 100);
  assert.equal(oldest.length, 6);
  const expected = [...oldest.slice(0, 3).reverse(), ...oldest.slice(3).reverse()];
  for (const limit of [1, 2, 4, 100]) {
    assert.deepEqual(await pages(w, "q", { order: "newest" }, limit), expected);
    const one = await pages(w, "q", { order: "newest", partition: 1 }, limit);
    assert.deepEqual(one, expected.slice(3));
    const waiting = await pages(w, "q", { order: "newest", state: "waiting" }, limit);
    assert.deepEqual(waiting, expected);
  }
});

test("of what is leased and what waits each state has its own", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  await w.produce("q", ...["a", "b", "c", "d"].map((utf8) => ({ utf8 })));
  await w.lease("q", 2);
  for (const limit of [1, 3, 100]) {
    assert.deepEqual(await pages(w, "q", { state: "leased" }, limit), ["a", "b"]);
    assert.deepEqual(await pages(w, "q", { state: "waiting" }, limit), ["c", "d"]);
    assert.deepEqual(await pages(w, "q", { state: "waiting", order: "newest" }, limit), ["d", "c"]);
    assert.deepEqual(await pages(w, "q", { state: "completed" }, limit), []);
  }
});

test("a list goes on only as it began", async (t) => {
  const w = await world(t);
  for (const name of ["q", "other"]) {
    await w.server.createQueue(name, { requested_partitions: 2 });
    for (let i = 0; i < 4; i++) await w.produce(name, { kind: "mail" }, { delay: "1h" });
  }
  const asked = { queue_name: "q", limit: 1, kind: "mail" };
  const { next_cursor: cursor } = await w.ok("items.list", asked);
  for (const other of [
    { queue_name: "other" },
    { order: "newest" },
    { state: "waiting" },
    { state: "completed" },
    { partition: 0 },
    { kind: "sms" },
    { kind: "" },
    { reference: "x" },
    { error_type: "x" },
    { older_than: "1m" },
    { newer_than: "1m" },
  ]) {
    const { status, body } = await w.call("items.list", { ...asked, ...other, cursor });
    const seen = [status, body.code, body.field];
    assert.deepEqual(seen, [400, "invalid_field", "cursor"], JSON.stringify(other));
  }
  // How much of it is told, and that it begins with the oldest, is the same list.
  const same = { ...asked, limit: 9, payload: true, order: "oldest", cursor };
  assert.equal((await w.ok("items.list", same)).items.length, 3);
});

test("a list refuses what it cannot be asked", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  for (const [request, field] of [
    [{ state: "done" }, "state"],
    [{ order: "random" }, "order"],
    [{ older_than: "5" }, "older_than"],
    [{ newer_than: "-5m" }, "newer_than"],
    [{ older_than: "2h", newer_than: "1h" }, "newer_than"],
    [{ cursor: "x" }, "cursor"],
  ] as const) {
    const { status, body } = await w.call("items.list", { queue_name: "q", ...request });
    assert.deepEqual([status, body.code, body.field], [400, "invalid_field", field]);
  }
});

test("a list in which nothing is is there all the same under /v2, and left out under /v1", async (t) => {
  const w = await world(t);
  assert.deepEqual(await w.ok("queues.list", {}), { queues: [] });
  await w.server.createQueue("q");
  const queue_name = "q";
  for (const state of ["", "leased", "scheduled", "held", "completed"]) {
    assert.deepEqual(await w.ok("items.list", { queue_name, state }), { items: [] });
  }
  await w.produce("q", { kind: "mail" });
  assert.deepEqual(await w.ok("items.list", { queue_name, kind: "sms" }), { items: [] });
  assert.deepEqual(await w.ok("redrives.list", { queue_name }), { redrives: [] });
  const none = { queue_name: "empty", lease_timeout: "1m" };
  const { queues } = await w.ok("queues.apply", { queues: [none] });
  assert.equal(queues[0].action, "created");
  assert.deepEqual((await w.ok("queues.apply", { queues: [none] })).queues[0].changes, []);
  const groups = await w.ok("queue.dead_groups", { queue_name: "empty" });
  assert.deepEqual(groups, { groups: [], complete: true });
  // An error has no list but of what was refused, and an ending none of what it does not produce.
  const { body } = await w.call("items.list", { queue_name: "nowhere" });
  assert.equal("results" in body, false);
  const [{ lease_id }] = await w.lease("q");
  const leases = [{ lease_id }, { lease_id }];
  const ended = await w.ok("queue.complete", { queue_name, leases });
  assert.deepEqual(Object.keys(ended), ["results", "failed"]);
  const ofV1 = { queue_name, partition: 0 };
  assert.deepEqual(await w.server.ok("storage/items.list", ofV1), {});
  assert.deepEqual(await w.server.ok("storage/scheduled.list", ofV1), {});
});
