// A complete that produces for a queue that another thread serves, or that lies in the file of a thread that is no more:
// what is produced is written with the complete, and gets there once, whatever happens in between. So does what died for
// a dead queue that lies there.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type Fault, FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, World } from "../support/items.ts";
import { type Reply, setup, temporaryDirectory } from "../support/server.ts";

const OTHERS = ["a", "b", "c", "d", "e", "f"];

async function createAll(w: World): Promise<World> {
  for (const name of ["q", ...OTHERS]) await w.server.createQueue(name);
  return w;
}

async function leased(w: World, queue = "q"): Promise<Json> {
  await w.produce(queue, { utf8: "step" });
  return (await w.lease(queue))[0];
}

function complete(w: World, lease_id: string, ...produce: object[]): Promise<Reply> {
  return w.call("queue.complete", { queue_name: "q", leases: [{ lease_id }], produce });
}

/** Where an item is, as who asks for it by its id is told. */
async function placeOf(w: World, id: string): Promise<string> {
  const { status, body } = await w.call("item.get", { id });
  return status === 200 ? `${body.queue_name} ${body.state}` : body.code;
}

async function until(w: World, id: string, place: string): Promise<void> {
  await w.server.until(async () => (await placeOf(w, id)) === place);
}

/** The same of what is tried again after a rest, which real time would take long for. */
async function untilTriedAgain(w: World, id: string, place: string): Promise<void> {
  await w.server.until(async () => {
    await w.server.advance("1s");
    return (await placeOf(w, id)) === place;
  });
}

/** Ids of one partition begin alike: what was written beside its lease has one of that. */
const isOfLease = ({ lease_id }: Json, id: string): boolean =>
  id.slice(0, 18) === lease_id.slice(0, 18);

for (const [place, options] of [
  ["memory", { memory: true }],
  ["sqlite", undefined],
] as const) {
  const open = async (t: TestContext): Promise<World> => {
    const where: ServerOptions = options ?? { dataDir: temporaryDirectory(t) };
    return createAll(new World(await setup(t, { threads: 3, ...where })));
  };

  test(`what is produced gets to its queue on whatever thread, under the id that was answered (${place})`, async (t) => {
    const w = await open(t);
    const item = await leased(w);
    const { status, body } = await complete(
      w,
      item.lease_id,
      ...OTHERS.map((queue_name) => ({
        queue_name,
        items: [
          { utf8: queue_name, max_attempts: 7 },
          { utf8: "later", delay: "1h" },
        ],
      })),
      { items: [{ utf8: "own" }] },
    );
    assert.equal(status, 200, JSON.stringify(body));
    const ids: string[] = body.produced.map((each: Json) => each.id);
    const apart = OTHERS.filter((_, i) => isOfLease(item, ids[2 * i]!));
    assert.ok(apart.length > 0 && apart.length < OTHERS.length, apart.join());
    for (const [i, queue_name] of OTHERS.entries()) {
      const [now, later] = [body.produced[2 * i], body.produced[2 * i + 1]];
      assert.deepEqual([now.status, later.status], ["created", "scheduled"]);
      await until(w, now.id, `${queue_name} waiting`);
      await until(w, later.id, `${queue_name} scheduled`);
      const [due, wanted] = [(await w.get(later.id)).enqueue_at, Date.now() + 3_600_000];
      assert.ok(Math.abs(Date.parse(due) - wanted) < 600_000, due);
      const [next, ...more] = await w.lease(queue_name, 9);
      assert.deepEqual([next.id, next.utf8, next.attempts, more], [now.id, queue_name, 1, []]);
      assert.equal((await w.get(now.id)).max_attempts, 7);
      assert.deepEqual(await w.end("queue.complete", queue_name, [next.lease_id]), ["ok"]);
    }
    const { totals } = await w.ok("queue.stats", { queue_name: "q" });
    assert.deepEqual([totals.waiting, totals.scheduled ?? 0], [1, 0]);
  });

  test(`a key of what goes to another thread is refused by its field (${place})`, async (t) => {
    const w = await open(t);
    const item = await leased(w);
    const refused: string[] = [];
    for (const queue_name of OTHERS) {
      const one = await leased(w);
      const reply = await complete(w, one.lease_id, {
        queue_name,
        items: [{ utf8: "x" }, { utf8: "y", unique_key: "k" }],
      });
      if (reply.status === 200) continue;
      assert.deepEqual([reply.status, reply.body.field], [400, "produce[0].items[1].unique_key"]);
      assert.match(reply.body.detail, /is served by another thread/);
      assert.equal(await w.state(one.id), "leased");
      refused.push(queue_name);
    }
    assert.ok(refused.length > 0);
    assert.equal(await w.state(item.id), "leased");
  });
}

/** A storage, and a queue that lies in it. */
interface Placed {
  readonly queue: string;
  readonly storage: FaultyStorage;
}

/** A server on one thread that has found the files of several, and for each in which q is not a queue that is. */
async function apartOf(
  t: TestContext,
  threads: number,
): Promise<{
  readonly w: World;
  readonly own: FaultyStorage;
  readonly others: readonly Placed[];
  readonly again: () => Promise<World>;
}> {
  const dataDir = temporaryDirectory(t);
  const before = await createAll(new World(await setup(t, { threads, dataDir })));
  // By what their ids begin with.
  const prefixes = new Map<string, string>();
  for (const queue of ["q", ...OTHERS]) {
    const { id, lease_id } = await leased(before, queue);
    prefixes.set(id.slice(0, 18), queue);
    if (queue !== "q") await before.end("queue.complete", queue, [lease_id]);
  }
  await before.server.server.stop();
  const faulty: FaultyStorage[] = [];
  const open = async (): Promise<World> => {
    const wrapStorage = (storage: Storage): Storage => {
      faulty.push(new FaultyStorage(storage));
      return faulty.at(-1)!.storage;
    };
    return new World(await setup(t, { threads: 1, dataDir }, { wrapStorage }));
  };
  const w = await open();
  let own: FaultyStorage | undefined;
  const others: Placed[] = [];
  for (const storage of faulty) {
    const partitions = await storage.storage.listPartitions();
    const queues = partitions.flatMap(({ idPrefix }) => prefixes.get(idPrefix) ?? []);
    if (queues.includes("q")) own = storage;
    else others.push({ queue: queues[0]!, storage });
  }
  assert.equal(others.length, threads - 1);
  return { w, own: own!, others, again: open };
}

/** The same with one queue and one storage beside that of q. */
async function apart(t: TestContext): Promise<{
  readonly w: World;
  readonly other: string;
  readonly own: FaultyStorage;
  readonly others: FaultyStorage;
  readonly again: () => Promise<World>;
}> {
  const { others, ...places } = await apartOf(t, 2);
  const [{ queue: other, storage }] = others as [Placed];
  return { ...places, other, others: storage };
}

/** A queue that lies in the same file as q. */
async function nearOf(w: World): Promise<string> {
  for (const name of OTHERS) {
    const item = await leased(w);
    const { body } = await complete(w, item.lease_id, { queue_name: name, items: [{}] });
    const { id } = body.produced[0];
    await until(w, id, `${name} waiting`);
    await w.ok("item.cancel", { id });
    if (!isOfLease(item, id)) return name;
  }
  throw new Error("all lie elsewhere");
}

for (const [which, faults] of [
  ["own", ["fail"]],
  ["own", ["lose-reply"]],
  ["own", ["pass", "fail"]],
  ["own", ["pass", "lose-reply"]],
  ["own", ["pass", "half-way", "fail", "lose-reply"]],
  ["others", ["fail"]],
  ["others", ["lose-reply"]],
  ["others", ["half-way", "lose-reply", "lose-reply"]],
] as const satisfies readonly [string, readonly Fault[]][]) {
  test(`each is done once, if commits of ${which} are answered by ${faults.join(", ")}`, async (t) => {
    const { w, other, ...storages } = await apart(t);
    const items = [];
    for (let i = 0; i < 3; i++) items.push(await leased(w));
    // What was leased for an answer that is lost comes back.
    await w.ok("queues.update", { queue_name: other, lease_timeout: "3s" });
    storages[which].next("commit", ...faults);
    const done: string[] = [];
    const wanted = items.map(({ id }) => id);
    // Each is completed until it is known to be, and what comes is done at once.
    for (const { id, lease_id } of items) {
      await w.server.until(async () => {
        const reply = await complete(w, lease_id, { queue_name: other, items: [{ utf8: id }] });
        return reply.status < 500;
      });
    }
    await w.server.until(async () => {
      const request = { queue_name: other, batch_size: 9, request_timeout: "10ms" };
      const { items: some = [] } = (await w.call("queue.lease", request)).body;
      for (const { lease_id, utf8 } of some) {
        const end = { queue_name: other, leases: [{ lease_id }] };
        await w.server.until(async () => (await w.call("queue.complete", end)).status === 200);
        done.push(utf8);
      }
      const { status, body } = await w.call("queue.stats", { queue_name: "q" });
      return done.length >= 3 && status === 200 && (body.totals.scheduled ?? 0) === 0;
    });
    assert.deepEqual(done.toSorted(), wanted.toSorted());
    // Nothing comes once more.
    await w.server.advance("1h");
    await w.produce("q", { utf8: "last" });
    const { totals } = await w.ok("queue.stats", { queue_name: other });
    assert.equal(totals.waiting + totals.scheduled + totals.leased, 0);
  });
}

test("what could not be delivered is on its way still after a restart, and nobody can take it away", async (t) => {
  const { w, other, others, again } = await apart(t);
  const item = await leased(w);
  others.always("findKeys", "fail");
  const { status, body } = await complete(w, item.lease_id, {
    queue_name: other,
    items: [{ utf8: "next" }],
  });
  assert.equal(status, 200, JSON.stringify(body));
  const { id } = body.produced[0];
  assert.equal(await placeOf(w, id), "q scheduled");
  await w.ok("queue.clear", { queue_name: "q", scheduled: true, queue: true });
  await w.ok("items.delete", { queue_name: "q", ids: [id] });
  const cancel = await w.call("item.cancel", { id });
  assert.deepEqual([cancel.status, cancel.body.code], [409, "precondition_failed"]);
  assert.match(cancel.body.detail, new RegExp(`on its way to '${other}'`));
  const { reasons } = await w.ok("item.explain", { id });
  assert.match(reasons[0].detail, /it is on its way to the queue/);
  await w.server.server.stop();
  const later = await again();
  await until(later, id, `${other} waiting`);
  const found = await later.lease(other, 9);
  assert.deepEqual(
    found.map((each) => [each.id, each.utf8]),
    [[id, "next"]],
  );
});

test("what a queue is not rid of keeps nobody from its dead queue", async (t) => {
  const { w, other, others } = await apart(t);
  const near = await nearOf(w);
  await w.ok("queues.update", { queue_name: "q", dead_queue: near });
  await w.server.advance("0s");
  const items = [await leased(w), await leased(w)];
  others.always("findKeys", "fail");
  const { body } = await complete(w, items[0].lease_id, { queue_name: other, items: [{}] });
  // Done by a turn after the one that tries to send it.
  await w.produce("q", { utf8: "x" });
  assert.equal(await placeOf(w, body.produced[0].id), "q scheduled");
  assert.deepEqual(await w.end("queue.reject", "q", [items[1].lease_id]), ["ok"]);
  await until(w, items[1].id, `${near} dead`);
});

for (const [method, fault] of [
  ["findKeys", "fail"],
  ["commit", "fail"],
  ["commit", "lose-reply"],
] as const) {
  test(`a queue does not fail because one that it produces for does (${method}: ${fault})`, async (t) => {
    const { w, other, own, others } = await apart(t);
    await w.server.advance("0s");
    const item = await leased(w);
    others.always(method, fault);
    // What is distrusted is read anew.
    own.always("loadPartition", "fail");
    await complete(w, item.lease_id, { queue_name: other, items: [{}] });
    await w.produce("q", { utf8: "x" });
    const [next] = await w.lease("q");
    assert.deepEqual(await w.end("queue.complete", "q", [next.lease_id]), ["ok"]);
  });
}

test("a queue that takes nothing keeps nothing from another", async (t) => {
  const places = await apartOf(t, 3);
  const { w } = places;
  const [failing, fine] = places.others;
  await w.server.advance("0s");
  const item = await leased(w);
  failing!.storage.always("findKeys", "fail");
  await complete(
    w,
    item.lease_id,
    { queue_name: failing!.queue, items: [{ utf8: "first" }] },
    { queue_name: fine!.queue, items: [{ utf8: "second" }] },
  );
  await w.server.until(async () => {
    await w.server.advance("1s");
    const { totals } = await w.ok("queue.stats", { queue_name: fine!.queue });
    return totals.waiting === 1;
  });
  const [second] = await w.lease(fine!.queue);
  assert.equal(second.utf8, "second");
});

test("however much is on its way to a queue that takes nothing, what else is scheduled comes when it is due", async (t) => {
  const { w, other, others } = await apart(t);
  await w.server.advance("0s");
  others.always("findKeys", "fail");
  const ids: string[] = [];
  for (let i = 0; i < 2; i++) {
    const item = await leased(w);
    const items = Array.from({ length: 700 }, () => ({ utf8: "next" }));
    const { body } = await complete(w, item.lease_id, { queue_name: other, items });
    ids.push(...body.produced.map(({ id }: Json) => id));
  }
  const [due] = await w.produce("q", { utf8: "due", delay: "5s" });
  for (let i = 0; i < 10; i++) await w.server.advance("2s");
  await until(w, due!, "q waiting");
  others.heal();
  const taken = new Set<string>();
  await w.server.until(async () => {
    await w.server.advance("20s");
    const { totals } = await w.ok("queue.stats", { queue_name: other });
    if (totals.waiting === 0) return false;
    const found = await w.lease(other, 1_000);
    for (const { id } of found) taken.add(id);
    const leases = found.map(({ lease_id }) => ({ lease_id }));
    await w.ok("queue.complete", { queue_name: other, leases });
    return taken.size === ids.length;
  });
  assert.deepEqual([...taken].toSorted(), ids.toSorted());
});

test("what is there already does not come once more, though it has stepped aside where it came from", async (t) => {
  const { w, other, own, others } = await apart(t);
  await w.server.advance("0s");
  const item = await leased(w);
  // The copies are written, and their originals stay.
  own.next("commit", "pass", "fail");
  const items = Array.from({ length: 600 }, () => ({ utf8: "next" }));
  const { body } = await complete(w, item.lease_id, { queue_name: other, items });
  const early = await w.lease(other, 10);
  const leases = early.map(({ lease_id }) => ({ lease_id }));
  await w.ok("queue.complete", { queue_name: other, leases });
  others.always("findKeys", "fail");
  const numbers = async (): Promise<Json> =>
    (await w.server.list("q", "scheduled")).map(({ id }) => id).toSorted();
  const before = await numbers();
  for (let i = 0; i < 5; i++) await w.server.advance("2s");
  await w.server.until(async () => (await numbers())[0] !== before[0]);
  others.heal();
  await w.server.until(async () => {
    await w.server.advance("20s");
    return ((await w.ok("queue.stats", { queue_name: "q" })).totals.scheduled ?? 0) === 0;
  });
  const left = await w.lease(other, 1_000);
  const ids = [...early, ...left].map(({ id }) => id);
  assert.deepEqual(ids.toSorted(), body.produced.map(({ id }: Json) => id).toSorted());
});

test("however much cannot get to its dead queue, what else is scheduled comes when it is due", async (t) => {
  const { w, other, others } = await apart(t);
  await w.ok("queues.update", { queue_name: "q", dead_queue: other });
  await w.server.advance("0s");
  const ids: string[] = [];
  for (let i = 0; i < 2; i++) {
    ids.push(...(await w.produce("q", ...Array.from({ length: 700 }, () => ({ utf8: "x" })))));
  }
  others.always("findKeys", "fail");
  for (let i = 0; i < 2; i++) {
    const found = await w.lease("q", 700);
    const ended = await w.end(
      "queue.reject",
      "q",
      found.map(({ lease_id }) => lease_id),
    );
    assert.ok(ended.every((each) => each === "ok"));
  }
  const [due] = await w.produce("q", { utf8: "due", delay: "5s" });
  for (let i = 0; i < 10; i++) await w.server.advance("2s");
  await until(w, due!, "q waiting");
  others.heal();
  await w.server.until(async () => {
    await w.server.advance("20s");
    return (await w.ok("queue.stats", { queue_name: other })).totals.waiting === ids.length;
  });
  const dead = [];
  for (let i = 0; i < 2; i++) dead.push(...(await w.lease(other, 700)));
  assert.deepEqual(dead.map(({ id }) => id).toSorted(), ids.toSorted());
});

test("however many have died with their leases and cannot get to their dead queue, other leases end", async (t) => {
  const { w, other, others } = await apart(t);
  const rules = { dead_queue: other, max_attempts: 1, lease_timeout: "10s" };
  await w.ok("queues.update", { queue_name: "q", ...rules });
  await w.server.advance("0s");
  const ids: string[] = [];
  for (let i = 0; i < 2; i++) {
    ids.push(...(await w.produce("q", ...Array.from({ length: 700 }, () => ({ utf8: "x" })))));
    await w.lease("q", 700);
  }
  await w.server.advance("1s");
  const [late] = await w.produce("q", { utf8: "late", max_attempts: 5 });
  await w.lease("q");
  others.always("findKeys", "fail");
  for (let i = 0; i < 12; i++) await w.server.advance("2s");
  await until(w, late!, "q waiting");
  // They have died, whatever the queue says from now on.
  await w.ok("queues.update", { queue_name: "q", max_attempts: 9 });
  others.heal();
  await w.server.until(async () => {
    await w.server.advance("20s");
    return (await w.ok("queue.stats", { queue_name: other })).totals.waiting === ids.length;
  });
  const dead = [];
  for (let i = 0; i < 2; i++) dead.push(...(await w.lease(other, 700)));
  assert.deepEqual(dead.map(({ id }) => id).toSorted(), ids.toSorted());
  const { counts } = (await w.ok("queue.stats", { queue_name: "q" })).totals;
  assert.equal(Number(counts.dead.attempts), 1_400);
  // Each once; the one that was there before may have ended as well.
  const ended = Number(counts.lease_ends) - 1_401;
  assert.ok(ended === 0 || ended === 1, `${ended}`);
});

test("what is in its dead queue already does not come there once more, though it has stepped aside", async (t) => {
  const { w, other, own, others } = await apart(t);
  await w.ok("queues.update", { queue_name: "q", dead_queue: other });
  await w.server.advance("0s");
  const ids = await w.produce("q", ...Array.from({ length: 600 }, () => ({ utf8: "x" })));
  const found = await w.lease("q", 600);
  // They are condemned, copies are written, and their originals stay.
  own.next("commit", "pass", "fail");
  await w.end(
    "queue.reject",
    "q",
    found.map(({ lease_id }) => lease_id),
  );
  others.always("findKeys", "fail");
  const numbers = async (): Promise<Json> =>
    (await w.server.list("q", "scheduled")).map(({ id }) => id).toSorted();
  const before = await numbers();
  for (let i = 0; i < 5; i++) await w.server.advance("2s");
  await w.server.until(async () => (await numbers())[0] !== before[0]);
  others.heal();
  await w.server.until(async () => {
    await w.server.advance("20s");
    return ((await w.ok("queue.stats", { queue_name: "q" })).totals.scheduled ?? 0) === 0;
  });
  const dead = await w.lease(other, 1_000);
  assert.deepEqual(dead.map(({ id }) => id).toSorted(), ids.toSorted());
});

test("who waits for the end of what is on its way is told of that, and not before", async (t) => {
  const { w, other, others } = await apart(t);
  const item = await leased(w);
  others.always("findKeys", "fail");
  const { body } = await complete(w, item.lease_id, { queue_name: other, items: [{}] });
  const { id } = body.produced[0];
  const wait = w.call("item.wait", { id, request_timeout: "10m" });
  // Asked after it, and answered before.
  await w.ok("item.explain", { id });
  others.heal();
  await untilTriedAgain(w, id, `${other} waiting`);
  const [there] = await w.lease(other);
  const leases = [{ lease_id: there.lease_id, result: 7 }];
  await w.ok("queue.complete", { queue_name: other, leases });
  const { body: ended } = await wait;
  assert.deepEqual([ended.id, ended.state, ended.result], [id, "completed", 7]);
});

test("what was produced for a queue that was deleted meanwhile waits for one of its name", async (t) => {
  const { w, other, others } = await apart(t);
  const item = await leased(w);
  others.always("findKeys", "fail");
  const next = { queue_name: other, items: [{ utf8: "next" }, { utf8: "later", delay: "24h" }] };
  const { body } = await complete(w, item.lease_id, next);
  const [{ id }, later] = body.produced;
  await w.ok("queues.delete", { queue_name: other, force: true });
  others.heal();
  await w.server.advance("10s");
  // It is looked for from time to time, and what else is scheduled comes when it is due.
  const [due] = await w.produce("q", { utf8: "due", delay: "5m" });
  await w.server.advance("3m");
  await w.server.advance("3m");
  await until(w, due!, "q waiting");
  await until(w, id, "q scheduled");
  await w.server.createQueue(other);
  await w.server.advance("2m");
  await until(w, id, `${other} waiting`);
  await until(w, later.id, `${other} scheduled`);
});

test("a queue that lies in a storage of another name is refused by its field", async (t) => {
  const config = join(temporaryDirectory(t), "querator.yaml");
  const storages = "- {name: x, driver: memory}\n  - {name: y, driver: memory}";
  writeFileSync(config, `partition-storage:\n  ${storages}\n`);
  const w = await createAll(new World(await setup(t, { config, memory: undefined as never })));
  const refused: Reply[] = [];
  for (const queue_name of OTHERS) {
    const item = await leased(w);
    const reply = await complete(w, item.lease_id, { queue_name, items: [{}] });
    if (reply.status === 400) refused.push(reply);
    assert.equal(await w.state(item.id), reply.status === 400 ? "leased" : "item_not_found");
  }
  assert.ok(refused.length > 0);
  for (const { body } of refused) {
    assert.equal(body.field, "produce[0].queue_name");
    assert.match(body.detail, /lies in another storage/);
  }
});
