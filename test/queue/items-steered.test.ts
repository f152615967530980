// What changes items that are named by their ids, waits for them, and explains them.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { HOUR } from "../../src/clock.ts";
import { retryLater } from "../../src/errors.ts";
import { CompleteRequest, type Told } from "../../src/queue/queue.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, World, world } from "../support/items.ts";
import { TestQueue } from "../support/queue.ts";
import { setup, temporaryDirectory } from "../support/server.ts";

async function _order(w: World, queue: string): Promise<string[]> {
  return (await w.lease(queue, 10)).map(({ utf8 }: Json) => utf8);
}

test("what waits and is changed keeps its id and goes to the end of the line", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [first, second] = (await w.produce(
    "q",
    { utf8: "a", kind: "mail", headers: { h: "v" } },
    { utf8: "b" },
    { utf8: "c" },
  )) as [string, string];
  const before = await w.get(first);
  const changed = await w.ok("item.update", { id: first, utf8: "A", if_state: "waiting" });
  assert.deepEqual([changed.id, changed.state, changed.kind], [first, "waiting", "mail"]);
  assert.deepEqual([changed.created_at, changed.headers], [before.created_at, { h: "v" }]);
  assert.equal((await w.get(first, { payload: true })).utf8, "A");
  await w.ok("item.update", { id: second, delay: "5m" });
  const later = await w.get(second, { payload: true });
  assert.deepEqual([later.state, later.utf8], ["scheduled", "b"]);
  const leased = await w.lease("q", 10);
  assert.deepEqual(
    leased.map(({ utf8 }: Json) => utf8),
    ["c", "A"],
  );
  assert.deepEqual([leased[1].id, leased[1].headers, leased[1].attempts], [first, { h: "v" }, 1]);
  await w.server.advance("6m");
  const items = await w.lease("q", 10);
  assert.ok(items.some(({ id }: Json) => id === second));
});

test("what is scheduled and is changed stays scheduled, until it is told otherwise", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  await w.server.advance("0s");
  const [id] = (await w.produce("q", { utf8: "a", delay: "5m" })) as [string];
  const before = await w.get(id);
  await w.ok("item.update", { id, json: { a: 1 } });
  const after = await w.get(id, { payload: true });
  assert.deepEqual(
    [after.state, after.enqueue_at, after.json],
    ["scheduled", before.enqueue_at, { a: 1 }],
  );
  await w.ok("item.update", { id, expire_in: "1h", delay: "10m" });
  const moved = await w.get(id);
  assert.ok(moved.enqueue_at > after.enqueue_at && moved.expire_at < after.expire_at);
  await w.ok("item.update", { id, delay: "0s", if_state: "scheduled" });
  assert.equal(await w.state(id), "waiting");
  const [leased] = await w.lease("q");
  assert.equal(leased.id, id);
  const stats = await w.server.stats("q");
  assert.deepEqual([stats.total, stats.scheduled ?? 0], [1, 0]);
});

test("a change is refused of what is leased, is in another state, or is not there", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [id] = (await w.produce("q", { utf8: "a" })) as [string];
  const other = await w.call("item.update", { id, utf8: "b", if_state: "scheduled" });
  assert.deepEqual([other.status, other.body.code], [409, "precondition_failed"]);
  assert.match(other.body.detail, /waiting/);
  await w.lease("q");
  const leased = await w.call("item.update", { id, delay: "5m" });
  assert.deepEqual([leased.status, leased.body.code], [409, "precondition_failed"]);
  assert.match(leased.body.detail, /leased/);
  for (const [request, field] of [
    [{ utf8: "a", json: 1 }, "utf8"],
    [{ delay: "1m", enqueue_at: "2100-01-01T00:00:00Z" }, "delay"],
    [{ delay: "-1m" }, "delay"],
    [{ expire_in: "0s" }, "expire_in"],
    [{ delay: "1m", if_state: "leased" }, "if_state"],
  ] as const) {
    const { status, body } = await w.call("item.update", { id, ...request });
    assert.deepEqual([status, body.field], [400, field], JSON.stringify(request));
  }
  const unknown = `${id.slice(0, -1)}z`;
  assert.equal((await w.call("item.update", { id: unknown, delay: "1m" })).status, 404);
});

test("to cancel again answers the same while the item is leased or kept, and else that it is gone", async (t) => {
  const w = await world(t);
  await w.ok("queues.create", { queue_name: "q" });
  await w.ok("queues.create", { queue_name: "kept", keep_completed: "1h" });
  const [held] = (await w.produce("q", { utf8: "a" })) as [string];
  await w.lease("q");
  const [gone] = (await w.produce("q", { utf8: "b" })) as [string];
  const [kept] = (await w.produce("kept", { utf8: "c" })) as [string];
  for (const [id, again] of [
    [held, 200],
    [kept, 200],
    [gone, 404],
  ] as const) {
    const first = await w.call("item.cancel", { id });
    const second = await w.call("item.cancel", { id });
    assert.deepEqual([first.status, second.status], [200, again]);
    if (again === 404) assert.equal(second.body.code, "item_not_found");
    else assert.deepEqual([second.body.id, second.body.state], [id, first.body.state]);
  }
});

test("what was changed is so after a restart", async (t) => {
  const dataDir = temporaryDirectory(t);
  let w = await world(t, { dataDir });
  await w.server.createQueue("q");
  const [first, second] = (await w.produce("q", { utf8: "a" }, { utf8: "b" })) as [string, string];
  await w.ok("item.update", { id: first, bytes: "AAE=" });
  await w.ok("item.cancel", { id: second });
  await w.server.server.stop();
  w = await world(t, { dataDir });
  assert.equal((await w.get(first, { payload: true })).bytes, "AAE=");
  assert.equal(await w.state(second), "item_not_found");
  assert.deepEqual(
    (await w.lease("q", 10)).map(({ id }: Json) => id),
    [first],
  );
});

for (const threads of [1, 2]) {
  const name = `who waits for an item is told when it has ended, however it ends (${threads} threads)`;
  // One that is not told waits far longer.
  test(name, { timeout: 60_000 }, async (t) => {
    const dataDir = temporaryDirectory(t);
    const w = await world(t, { dataDir, threads });
    await w.server.createQueue("q");
    await w.server.createQueue("other"); // on the other thread, if there is one
    for (const queue of ["q", "other"]) {
      // So it does not matter whether one waits by then or comes later.
      await w.ok("queues.update", { queue_name: queue, keep_completed: "1h" });
      const ids = await w.produce(queue, { utf8: "a" }, { utf8: "b" }, { utf8: "c" });
      const [first, second, third] = ids as [string, string, string];
      const waits = ids.map((id) =>
        w.ok("item.wait", { id, request_timeout: "10m", payload: true }),
      );
      const [leased] = await w.lease(queue);
      assert.equal(leased.id, first);
      await w.ok("item.cancel", { id: third });
      assert.deepEqual(pick(await waits[2]), [third, "cancelled", queue]);
      await w.ok("item.cancel", { id: second });
      assert.deepEqual(pick(await waits[1]), [second, "cancelled", queue]);
      await w.end("queue.complete", queue, [leased.lease_id]);
      const ended = await waits[0];
      assert.deepEqual(pick(ended), [first, "completed", queue]);
      assert.ok(ended.ended_at);
    }
  });
}

const pick = ({ id, state, queue_name }: Json) => [id, state, queue_name];

async function explained(w: World, id: string): Promise<Json> {
  return w.ok("item.explain", { id });
}

test("a wait ends with its time, and at once for what is dead or not there", async (t) => {
  const w = await world(t);
  await w.server.createQueue("dead");
  await w.server.createQueue("q", { dead_queue: "dead" });
  const [id] = (await w.produce("q", { utf8: "a" })) as [string];
  assert.deepEqual(pick(await w.ok("item.wait", { id, request_timeout: "10ms" })), [
    id,
    "waiting",
    "q",
  ]);
  const unknown = await w.call("item.wait", { id: `${id.slice(0, -1)}z` });
  assert.equal(unknown.body.code, "item_not_found");
  const [leased] = await w.lease("q");
  const wait = w.ok("item.wait", { id, request_timeout: "1m" });
  await w.end("queue.reject", "q", [leased.lease_id]);
  const [found, , queue] = pick(await wait);
  assert.deepEqual([found, queue], [id, "dead"]);
});

test("who waits for what is not kept is told what it was when it ended, and nothing older", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const [same, changed] = await w.produce("q", { utf8: "a", kind: "k" }, { utf8: "b", kind: "k" });
  const waits = [same, changed].map((id) =>
    w.ok("item.wait", { id, request_timeout: "15m", payload: true }),
  );
  // Both wait by then: what is asked of a queue is done in its order.
  for (const id of [same, changed]) await w.ok("item.explain", { id });
  await w.ok("item.update", { id: changed, utf8: "c" });
  const error = { type: "E", message: "m" };
  const [first] = await w.lease("q");
  await w.end("queue.reject", "q", [first.lease_id], { error });
  const [second] = await w.lease("q");
  await w.end("queue.retry", "q", [second.lease_id], { error });
  const [again] = await w.lease("q");
  await w.end("queue.complete", "q", [again.lease_id], { result: 1 });
  const told = (await Promise.all(waits)).map((item) => [
    item.state,
    item.utf8,
    item.kind,
    item.attempts,
    item.last_error?.type,
    item.result,
  ]);
  assert.deepEqual(told, [
    ["rejected", "a", "k", 1, "E", undefined],
    ["completed", undefined, undefined, 2, "E", 1],
  ]);
});

test("who waits is told when a lease ends for the last time, and when an item expires", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q", { max_attempts: 1, expire_timeout: "5m" });
  await w.ok("queues.update", { queue_name: "q", keep_completed: "1h" });
  await w.server.advance("0s");
  const [first] = (await w.produce("q", { utf8: "a" })) as [string];
  await w.lease("q");
  const [second] = (await w.produce("q", { utf8: "b" })) as [string];
  const waits = [first, second].map((id) => w.ok("item.wait", { id, request_timeout: "15m" }));
  await w.server.advance("2m");
  assert.equal((await waits[0]).state, "rejected");
  await w.server.advance("6m");
  assert.equal((await waits[1]).state, "expired");
});

test("of an item that is not kept those are told who wait, by the commit that ends it, or that nobody can tell", async (t) => {
  const world = await TestQueue.open(t, {});
  const { queue } = world;
  const [first, second, third] = (await world.leased(3)) as [string, string, string];
  const watch = (id: string) => queue.watch(id, id, HOUR);
  const waits = [watch(first), watch(second), watch(third)];
  // What is asked later is done later.
  await queue.find(first);
  await queue.submit(new CompleteRequest(0, [first], world.deadline, { results: ["[7]"] }));
  const { how, reason, at, result } = (await waits[0]) as Told;
  assert.deepEqual([how, reason, at, result], ["completed", "", world.clock.now(), "[7]"]);
  await queue.unwatch(second);
  assert.equal(await waits[1], "waits");
  assert.equal(await watch(first), "absent");
  const error = retryLater("it ends");
  const refused = assert.rejects(waits[2]!, error);
  await queue.close(error);
  await refused;
});

function codes({ reasons }: Json): string[] {
  return reasons.map(({ code }: Json) => code);
}

test("item.explain says why an item is not running", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  await w.server.advance("0s");
  const ids = await w.produce(
    "q",
    { utf8: "a" },
    { utf8: "b" },
    { utf8: "c" },
    { utf8: "d", delay: "5m" },
  );
  const [first, second, third, fourth] = ids as [string, string, string, string];
  const idle = await explained(w, third);
  assert.deepEqual([idle.id, idle.state, idle.position], [third, "waiting", 2]);
  assert.deepEqual(codes(idle), ["no_consumer", "in_line"]);
  const [leased] = await w.lease("q");
  const held = await explained(w, first);
  assert.deepEqual([held.state, codes(held)], ["leased", ["leased"]]);
  assert.equal(held.reasons[0].until, leased.lease_deadline);
  const next = await explained(w, third);
  assert.deepEqual([next.position, codes(next)], [1, ["in_line"]]);
  assert.ok(next.expected_at);
  // A number that is missing in between is nobody's place.
  await w.ok("item.cancel", { id: second });
  assert.equal((await explained(w, third)).position ?? 0, 0);
  const later = await explained(w, fourth);
  assert.deepEqual([later.state, codes(later)], ["scheduled", ["scheduled"]]);
  assert.equal(later.reasons[0].until, (await w.get(fourth)).enqueue_at);
  await w.server.advance("1m");
  assert.ok(codes(await explained(w, third)).includes("no_consumer"));
  assert.equal((await w.call("item.explain", { id: second })).body.code, "item_not_found");
});

test("item.explain tells since when nobody is there who would take an item, and promises no time then", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const { now: start } = await w.server.advance("0s");
  const ids = await w.produce(
    "q",
    { utf8: "a", kind: "mail" },
    { utf8: "b", kind: "fax" },
    { utf8: "c" },
  );
  const [mail, fax, plain] = ids as [string, string, string];
  const wanting = (kinds: string[], request_timeout = "10s"): Promise<Json> =>
    w.ok("queue.lease", { queue_name: "q", batch_size: 1, request_timeout, kinds });
  const why = async (id: string): Promise<Json> => {
    const { reasons, expected_at } = await explained(w, id);
    const { since, detail } = reasons.find(({ code }: Json) => code === "no_consumer") ?? {};
    return { since, detail, expected_at };
  };
  const never = { detail: "nobody has asked for it since the server has started" };
  const { since, ...rest } = await why(plain);
  assert.deepEqual(rest, { ...never, expected_at: undefined });
  assert.ok(Date.parse(since) <= Date.parse(start));
  await w.server.advance("1m");
  assert.equal((await w.ok("queue.lease", { queue_name: "q", batch_size: 1 })).items[0].id, mail);
  const { now: leasedAt } = await w.server.advance("0s");
  assert.ok((await why(plain)).expected_at);
  // What some kinds were leased by says nothing of when the turn of others comes.
  await w.server.advance("5m");
  assert.deepEqual(await why(fax), {
    since: leasedAt,
    detail: "no consumer that asks for its kind 'fax' was seen for 5m0s",
    expected_at: undefined,
  });
  assert.deepEqual((await wanting(["fax"])).items[0].id, fax);
  const [other] = (await w.produce("q", { utf8: "d", kind: "fax" })) as [string];
  assert.deepEqual(await why(other), {
    since: undefined,
    detail: undefined,
    expected_at: undefined,
  });
  assert.equal((await why(plain)).since, leasedAt);
  // One that waits is a consumer of what it wants, and of nothing else.
  const waits = wanting(["pigeon"], "15m");
  await w.server.until(async () => (await w.server.stats("q")).lease_waiting === 1);
  const { detail } = await why(plain);
  assert.equal(detail, "nobody has asked for it for 5m0s; who waits wants other kinds");
  await w.produce("q", { utf8: "e", kind: "pigeon" });
  assert.equal((await waits).items.length, 1);
});

test("item.explain says that nobody asks for a kind, and promises no time, though others are leased", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  await w.server.advance("0s");
  const items = Array.from({ length: 20 }, () => ({ kind: "mail" }));
  const [fax] = (await w.produce("q", { kind: "fax" }, ...items)) as [string];
  const [later] = (await w.produce("q", { kind: "fax", delay: "1h" })) as [string];
  const lease = { queue_name: "q", batch_size: 10, kinds: ["mail"] };
  for (let i = 0; i < 2; i++) {
    assert.equal((await w.ok("queue.lease", lease)).items.length, 10);
    await w.server.advance("1s");
  }
  const never = "no consumer that asks for its kind 'fax' was seen since the server has started";
  const first = await explained(w, fax);
  assert.deepEqual([codes(first), first.expected_at], [["no_consumer", "in_line"], undefined]);
  assert.equal(first.reasons[0].detail, never);
  const second = await explained(w, later);
  assert.deepEqual([codes(second), second.expected_at], [["scheduled", "no_consumer"], undefined]);
  assert.equal(second.reasons[1].detail, never);
  assert.ok(second.reasons[0].until);
  // Once there is one, the time is told.
  assert.equal((await w.ok("queue.lease", { ...lease, kinds: ["fax"] })).items[0].id, fax);
  const third = await explained(w, later);
  assert.deepEqual([codes(third), third.expected_at], [["scheduled"], third.reasons[0].until]);
});

test("what could not be committed has not happened, and may be asked for again", async (t) => {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: FaultyStorage["storage"]): FaultyStorage["storage"] => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const w = new World(await setup(t, {}, { wrapStorage }));
  await w.server.createQueue("q");
  const [first, second] = (await w.produce("q", { utf8: "a" }, { utf8: "b" })) as [string, string];
  const [leased] = await w.lease("q");
  for (const [path, request] of [
    ["item.cancel", { id: first }],
    ["item.cancel", { id: second }],
    ["item.update", { id: second, utf8: "c" }],
  ] as const) {
    storage!.next("commit", "fail");
    const { status, body } = await w.call(path, request);
    assert.deepEqual([status, body.retryable], [503, true], path);
    await w.server.until(async () => (await w.call("item.get", { id: second })).status === 200);
  }
  assert.equal((await w.get(first)).cancelled, undefined);
  assert.equal((await w.get(second, { payload: true })).utf8, "b");
  assert.deepEqual(await w.end("queue.extend", "q", [leased.lease_id], { for: "1m" }), ["ok"]);
  await w.ok("item.update", { id: second, utf8: "c" });
  assert.equal((await w.get(second, { payload: true })).utf8, "c");
});

test("what is on its way to a dead queue in another storage is neither cancelled nor deleted nor cleared", async (t) => {
  const config = join(temporaryDirectory(t), "querator.yaml");
  const drivers = ["a", "b"].map((name) => `  - {name: ${name}, driver: memory}\n`);
  writeFileSync(config, `partition-storage:\n${drivers.join("")}`);
  const storages: FaultyStorage[] = [];
  const wrapStorage = (inner: Storage): Storage => {
    const faulty = new FaultyStorage(inner);
    storages.push(faulty);
    return faulty.storage;
  };
  const w = new World(await setup(t, { config, memory: false }, { wrapStorage }));
  await w.server.advance("0s");
  await w.ok("queues.create", { queue_name: "d", requested_partitions: 1 });
  await w.ok("queues.create", { queue_name: "q", requested_partitions: 1, dead_queue: "d" });
  const [id] = (await w.produce("q", { utf8: "a" })) as [string];
  const [{ lease_id }] = await w.lease("q");
  // It is condemned and copied, and its original cannot be removed.
  for (const storage of storages) storage.next("commit", "pass", "fail");
  assert.deepEqual(await w.end("queue.reject", "q", [lease_id]), ["ok"]);
  for (const storage of storages) storage.heal();
  const cancelled = await w.call("item.cancel", { id });
  assert.deepEqual([cancelled.status, cancelled.body.code], [409, "precondition_failed"]);
  assert.match(cancelled.body.detail, /on its way to the dead queue, try again/);
  const { results } = await w.ok("items.delete", { queue_name: "q", ids: [id] });
  assert.deepEqual(
    results.map(({ ok, code }: Json) => ok ?? code),
    ["item_not_found"],
  );
  const other = await w.produce("q", { utf8: "b", delay: "1h" });
  await w.ok("queue.clear", { queue_name: "q", scheduled: true, queue: true, destructive: true });
  assert.equal(await w.state(other[0]!), "item_not_found");
  const waiting = async (queue_name: string): Promise<Json> => {
    const { totals } = await w.ok("queue.stats", { queue_name });
    return [totals.waiting, totals.scheduled];
  };
  assert.deepEqual(
    [await waiting("q"), await waiting("d")],
    [
      [0, 1],
      [1, 0],
    ],
  );
  await w.server.advance("1m");
  await w.server.until(async () => (await waiting("q"))[1] === 0);
  assert.deepEqual(await waiting("d"), [1, 0]);
  assert.equal((await w.ok("item.cancel", { id })).state, "cancelled");
  assert.deepEqual(
    [await waiting("q"), await waiting("d")],
    [
      [0, 0],
      [0, 0],
    ],
  );
});

test("the time of what was scheduled begins anew with a change that lets it wait, if it is over", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q", { expire_timeout: "1m" });
  await w.server.advance("0s");
  const [now, later] = (await w.produce(
    "q",
    { utf8: "a", delay: "10m" },
    { utf8: "b", delay: "1h" },
  )) as [string, string];
  await w.server.advance("5m");
  const changed = await w.ok("item.update", { id: now, delay: "0s" });
  assert.ok(Date.parse(changed.expire_at) - Date.parse(changed.created_at) >= 6 * 60_000);
  // What stays scheduled keeps its own, which begins anew when it is due.
  const { expire_at } = await w.get(later);
  assert.equal((await w.ok("item.update", { id: later, delay: "2h" })).expire_at, expire_at);
  await w.server.advance("30s");
  assert.equal((await w.lease("q"))[0].id, now);
});

test("the answer to a change tells all of the item, whether it is scheduled or not", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const texts = { kind: "mail", reference: "r", headers: { h: "v" } };
  const [id] = (await w.produce("q", { utf8: "a", ...texts })) as [string];
  for (const change of [{ delay: "5m" }, { utf8: "b" }, { delay: "10m" }, { delay: "0s" }]) {
    const { kind, reference, headers } = await w.ok("item.update", { id, ...change });
    assert.deepEqual({ kind, reference, headers }, texts, JSON.stringify(change));
  }
});
