// A redrive into a queue of another storage: what it has moved is on its way from then on, and nobody can do anything to
// it where it was, whatever becomes of the other storage, and when.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, World } from "../support/items.ts";
import { setup, temporaryDirectory } from "../support/server.ts";

interface Place {
  readonly w: World;
  /** Where the dead queue lies, and where all others do but `near`. */
  readonly own: FaultyStorage;
  readonly other: FaultyStorage;
  readonly again: () => Promise<World>;
}

/** Where to look for an item that another queue has given an id, when that cannot be asked. */
const DEAD = { queue_name: "dead" };

const RULES = { dead_queue: "dead", max_attempts: 1, lease_timeout: "10s" };

/** Time stands still but where a test moves it on. */
async function start(t: TestContext): Promise<Place> {
  const dir = temporaryDirectory(t);
  const config = join(dir, "querator.yaml");
  const storages = ["a", "b"].map(
    (name) => `- {name: ${name}, driver: sqlite, config: {storage-dir: ${dir}/${name}}}`,
  );
  writeFileSync(config, `partition-storage:\n  ${storages.join("\n  ")}\n`);
  const faulty: FaultyStorage[] = [];
  const open = async (): Promise<World> => {
    const wrapStorage = (inner: FaultyStorage["storage"]) => {
      faulty.push(new FaultyStorage(inner));
      return faulty.at(-1)!.storage;
    };
    return new World(await setup(t, { config, memory: undefined as never }, { wrapStorage }));
  };
  const w = await open();
  await w.server.advance("0s");
  // Each goes where fewer are.
  await w.server.createQueue("dead");
  await w.server.createQueue("jobs", RULES);
  await w.server.createQueue("near");
  await w.server.createQueue("elsewhere");
  return { w, own: faulty[0]!, other: faulty[1]!, again: open };
}

/** Puts items into a queue, and has them die. */
async function kill(w: World, queue: string, ...items: object[]): Promise<string[]> {
  const ids = await w.produce(queue, ...items);
  await die(w, queue, items.length);
  return ids;
}

async function die(w: World, queue: string, count: number): Promise<void> {
  const items = await w.lease(queue, count);
  const leases = items.map(({ lease_id }) => lease_id);
  const results = await w.end("queue.reject", queue, leases);
  assert.ok(results.every((each) => each === "ok"));
  await w.server.until(async () => {
    const { totals } = await w.ok("queue.stats", { queue_name: queue });
    return totals.leased + totals.scheduled === 0;
  });
}

async function redrive(w: World, more: object = {}): Promise<Json> {
  return w.ok("queue.redrive", { queue_name: "dead", ...more });
}

async function info(w: World, { id }: Json): Promise<Json> {
  return w.ok("redrives.info", { queue_name: "dead", id });
}

async function ended(w: World, begun: Json): Promise<Json> {
  return w.server.until(async () => {
    const now = await info(w, begun);
    return now.state !== "running" && now;
  });
}

async function totals(w: World, queue_name: string): Promise<Json> {
  return (await w.ok("queue.stats", { queue_name })).totals;
}

async function placeOf(w: World, id: string, more: object = {}): Promise<string> {
  const { status, body } = await w.call("item.get", { id, ...more });
  return status === 200 ? `${body.queue_name} ${body.state}` : body.code;
}

/** What rests after a failure is tried again. */
async function until(w: World, id: string, place: string): Promise<void> {
  await w.server.until(async () => {
    await w.server.advance("1s");
    return (await placeOf(w, id)) === place;
  });
}

test("what a redrive has moved is on its way, and nobody can take it or hold it up, also after a restart", async (t) => {
  const { w, other, again } = await start(t);
  const [id] = await kill(w, "jobs", { utf8: "x" });
  other.always("findKeys", "fail");
  const done = await ended(w, await redrive(w));
  assert.deepEqual([done.moved, done.looked_at, done.total], [1, 1, 1]);
  assert.equal(await placeOf(w, id!, DEAD), "dead scheduled");
  const { reasons } = await w.ok("item.explain", { id, ...DEAD });
  assert.equal(
    reasons[0].detail,
    "it is on its way to the queue 'jobs', to which a redrive sends it",
  );
  assert.equal((await w.get(id!, DEAD)).source, undefined);
  const { groups } = await w.ok("queue.dead_groups", { queue_name: "dead" });
  assert.deepEqual(groups, []);
  await w.ok("queue.clear", {
    queue_name: "dead",
    scheduled: true,
    queue: true,
    destructive: true,
  });
  await w.ok("items.delete", { queue_name: "dead", ids: [id] });
  for (const [path, change] of [
    ["item.cancel", {}],
    ["item.update", { delay: "0s" }],
  ] as const) {
    const { status, body } = await w.call(path, { id, ...DEAD, ...change });
    assert.deepEqual([status, body.code], [409, "precondition_failed"]);
    assert.match(body.detail, /on its way to 'jobs'/);
  }
  // Neither goes it elsewhere, nor is it there to be leased.
  const second = await ended(w, await redrive(w, { to: "near" }));
  assert.deepEqual([second.moved ?? 0, second.skipped], [0, 1]);
  const byId = await ended(w, await redrive(w, { to: "near", ids: [id] }));
  assert.deepEqual([byId.moved ?? 0, byId.skipped], [0, 1]);
  const request = { queue_name: "dead", request_timeout: "10ms" };
  const lease = w.ok("queue.lease", request);
  await w.server.advance("1s");
  assert.deepEqual((await lease).items ?? [], []);
  await w.server.server.stop();

  const later = await again();
  await until(later, id!, "jobs waiting");
  const [item] = await later.lease("jobs");
  assert.deepEqual([item.id, item.utf8, item.attempts, item.source], [id, "x", 1, undefined]);
  assert.deepEqual(await later.end("queue.complete", "jobs", [item.lease_id]), ["ok"]);
  const { counts } = await totals(later, "dead");
  assert.deepEqual([Number(counts.received), Number(counts.moved)], [1, 1]);
  const jobs = await totals(later, "jobs");
  assert.deepEqual([Number(jobs.counts.received), Number(jobs.counts.moved)], [1, 1]);
  assert.equal(await placeOf(later, id!), "item_not_found");
});

for (const fault of ["fail", "lose-reply"] as const) {
  for (const which of ["own", "other"] as const) {
    test(`what was scheduled in the dead queue is done once, whichever commit fails (${which}: ${fault})`, async (t) => {
      for (let before = 0; before < 4; before++) {
        const { w, ...storages } = await start(t);
        const [id] = await w.produce("dead", { utf8: "x", delay: "3s" });
        storages[which].next(
          "commit",
          ...Array.from({ length: before }, () => "pass" as const),
          fault,
        );
        await w.call("queue.redrive", { queue_name: "dead", to: "jobs" });
        // Its time comes while it is on its way, and others would have it elsewhere.
        const done: string[] = [];
        for (let i = 0; i < 40; i++) {
          if (i === 3) await w.call("queue.redrive", { queue_name: "dead", to: "elsewhere" });
          if (i === 5) await w.call("queue.redrive", { queue_name: "dead", to: "near" });
          for (const queue_name of ["jobs", "dead", "near", "elsewhere"]) {
            await w.server.advance("250ms");
            const { status: isKnown, body } = await w.call("queue.stats", { queue_name });
            if (isKnown !== 200 || (body.totals.waiting ?? 0) === 0) continue;
            const lease = { queue_name, request_timeout: "10s" };
            const { items = [] } = (await w.call("queue.lease", lease)).body;
            for (const { lease_id, id: leased } of items) {
              const end = { queue_name, leases: [{ lease_id }] };
              let status = 0;
              while (status !== 200) {
                ({ status } = await w.call("queue.complete", end));
                if (status !== 200) await w.server.advance("100ms");
              }
              done.push(leased);
            }
          }
        }
        assert.deepEqual(done, [id], `${before} commits before`);
        await w.server.server.stop();
      }
    });
  }
}

test("what comes back and dies again is counted by the redrive, which ends by that, and can be redriven again", async (t) => {
  const { w } = await start(t);
  const ids = await kill(w, "jobs", {}, {}, {}, {});
  const begun = await redrive(w, { rate: 20, stop_at_failure_ratio: 0.5 });
  await w.server.until(async () => (await info(w, begun)).moved === 2);
  await die(w, "jobs", 1);
  const { state, failed } = await ended(w, begun);
  assert.deepEqual([state, failed], ["stopped", 1]);
  // The same ids go the same way as often as they die.
  for (let round = 0; round < 3; round++) {
    await ended(w, await redrive(w));
    await w.server.until(async () => (await totals(w, "jobs")).waiting === 4);
    await die(w, "jobs", 4);
    assert.equal((await totals(w, "dead")).waiting, 4);
  }
  for (const id of ids) assert.equal(await placeOf(w, id), "dead dead");
});

test("the key of what is on its way is free, and what waited behind it has its turn", async (t) => {
  const { w, other } = await start(t);
  const unique = { unique_key: "k", on_duplicate: "keep_latest" };
  const [first] = await w.produce("dead", { utf8: "first", unique_key: "k" });
  const [held] = await w.lease("dead");
  const [second] = await w.produce("dead", { utf8: "second", ...unique });
  assert.deepEqual(await w.end("queue.retry", "dead", [held.lease_id], { delay: "0s" }), ["ok"]);
  const [kept] = await w.produce("dead", { utf8: "x", unique_key: "p", unique_for: "1h" });
  other.always("findKeys", "fail");
  await ended(w, await redrive(w, { to: "jobs", ids: [first, kept] }));
  assert.equal(await placeOf(w, second!), "dead waiting");
  const replaces = [
    { utf8: "third", unique_key: "k", on_duplicate: "replace" },
    // This one is taken for its time, and what has it cannot be replaced any more.
    { utf8: "y", unique_key: "p", on_duplicate: "replace" },
  ];
  const { results } = await w.ok("queue.produce", { queue_name: "dead", items: replaces });
  assert.deepEqual(
    results.map(({ id, status }: Json) => [id, status]),
    [
      [second, "replaced"],
      [kept, "duplicate"],
    ],
  );
  other.heal();
  await until(w, first!, "jobs waiting");
  await until(w, kept!, "jobs waiting");
  const texts = (await w.lease("jobs", 9)).map(({ utf8 }) => utf8);
  assert.deepEqual(texts.toSorted(), ["first", "x"]);
  assert.equal((await w.lease("dead"))[0].utf8, "third");
  // The key of what has come is not taken where it came to.
  await w.produce("jobs", { unique_key: "k", on_duplicate: "reject" });
});

test("what waits behind another goes with it, and neither is lost", async (t) => {
  const { w } = await start(t);
  const unique = { unique_key: "k", on_duplicate: "keep_latest" };
  const [first] = await w.produce("dead", { unique_key: "k", delay: "1h" });
  await w.produce("dead", { unique_key: "other", delay: "1h" });
  const [held] = await w.produce("dead", { unique_key: "h" });
  const [lease] = await w.lease("dead");
  const [behind] = await w.produce("dead", { ...unique, unique_key: "h" });
  await w.end("queue.retry", "dead", [lease.lease_id], { delay: "1h" });
  const done = await ended(w, await redrive(w, { to: "jobs" }));
  assert.equal(done.moved, 4);
  await w.server.until(async () => (await totals(w, "jobs")).waiting === 4);
  for (const id of [first, held, behind]) assert.equal(await placeOf(w, id!), "jobs waiting");
});

test("what was sent to a queue that was deleted meanwhile waits for one of its name", async (t) => {
  const { w, other } = await start(t);
  const [id] = await kill(w, "jobs", {});
  other.always("findKeys", "fail");
  await ended(w, await redrive(w));
  other.heal();
  await w.ok("queues.delete", { queue_name: "jobs", force: true });
  await w.server.advance("2s");
  await w.server.advance("5m");
  assert.equal(await placeOf(w, id!, DEAD), "dead scheduled");
  await w.server.createQueue("jobs", RULES);
  await w.server.advance("2m");
  await w.server.until(async () => (await totals(w, "jobs")).waiting === 1);
});

test("while the other storage takes nothing the rest stays where it is, and can be kept", async (t) => {
  const { w, other } = await start(t);
  for (let i = 0; i < 4; i++) await kill(w, "jobs", ...Array.from({ length: 500 }, () => ({})));
  other.always("findKeys", "fail");
  const begun = await redrive(w);
  for (let i = 0; i < 20; i++) await w.server.advance("1s");
  const { moved, state } = await info(w, begun);
  assert.equal(state, "running");
  assert.ok(moved > 0 && moved <= 1_024, `${moved} are on their way`);
  await w.ok("redrives.cancel", { queue_name: "dead", id: begun.id });
  other.heal();
  await w.server.until(async () => {
    await w.server.advance("5s");
    return (await totals(w, "dead")).scheduled === 0;
  });
  const last = await info(w, begun);
  assert.deepEqual([last.state, (await totals(w, "jobs")).waiting], ["cancelled", last.moved]);
  assert.equal((await totals(w, "dead")).waiting, 2_000 - last.moved);
});

test("what is dead, and on its way to the dead queue, is redriven nowhere else", async (t) => {
  const { w, own } = await start(t);
  const [id] = await w.produce("jobs", {});
  const [item] = await w.lease("jobs");
  own.always("findKeys", "fail");
  assert.deepEqual(await w.end("queue.reject", "jobs", [item.lease_id]), ["ok"]);
  assert.equal(await placeOf(w, id!), "jobs dead");
  const { id: begun } = await w.ok("queue.redrive", { queue_name: "jobs", to: "elsewhere" });
  const done = await w.server.until(async () => {
    const now = await w.ok("redrives.info", { queue_name: "jobs", id: begun });
    return now.state !== "running" && now;
  });
  assert.deepEqual([done.moved ?? 0, done.skipped], [0, 1]);
  own.heal();
  await until(w, id!, "dead dead");
});
