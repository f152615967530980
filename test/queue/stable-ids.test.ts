// The id of an item is the one under which it was accepted, wherever it moves, until its end; and what leads
// to it goes with it. /v1 shows where an item lies, so this looks at storage.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SECOND, SystemClock } from "../../src/clock.ts";
import { MESSAGES, retryLater } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { attributesOf } from "../../src/queue/attributes.ts";
import { IdSpace } from "../../src/queue/ids.ts";
import { idOf, KEY } from "../../src/queue/keys.ts";
import { type ImportedItem, Queue, Turns } from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord, type Storage, type StoredItem } from "../../src/storage/storage.ts";
import { RULES } from "../support/queue.ts";
import { SILENT, setup, type TestServer } from "../support/server.ts";

interface Found {
  readonly item: StoredItem;
  /** The id of where it lies. */
  readonly place: string;
  /** What it is. */
  readonly id: string;
}

interface World {
  readonly server: TestServer;
  /** The items of a queue by their payloads, as they lie in storage. */
  items(queue: string): Promise<Record<string, Found>>;
  /** Where a name leads in a queue; undefined if nowhere. */
  find(queue: string, kind: number, name: string): Promise<number | undefined>;
}

async function world(t: TestContext): Promise<World> {
  const storages: Storage[] = [];
  const wrapStorage = (storage: Storage): Storage => {
    storages.push(storage);
    return storage;
  };
  const server = await setup(t, {}, { wrapStorage });
  const [storage] = storages as [Storage];
  const partition = async (queue: string) =>
    (await storage.listPartitions()).find((each) => each.queue === queue)!;
  return {
    server,
    async items(queue) {
      const { key, idPrefix } = await partition(queue);
      return itemsOf(storage, key, idPrefix);
    },
    async find(queue, kind, name) {
      const { key } = await partition(queue);
      return (await storage.findKeys(key, kind, [name])).get(name)?.seq;
    },
  };
}

async function itemsOf(
  storage: Storage,
  key: number,
  prefix: string,
): Promise<Record<string, Found>> {
  const ids = new IdSpace(prefix);
  const all = { from: 0, before: Number.MAX_SAFE_INTEGER, limit: 1_000, bytesMax: 1e9 };
  const found: Record<string, Found> = {};
  for (const table of ["items", "scheduled"] as const) {
    for (const item of await storage.readItems(key, table, { ...all, records: true })) {
      const place = ids.id(item.seq);
      found[item.record.payload.toString()] = { item, place, id: idOf(ids, item) };
    }
  }
  return found;
}

const idsOf = (reply: { items: { id: string }[] }): string[] => reply.items.map(({ id }) => id);

test("an item that never moved has no entry, one that did keeps the id that it had first", async (t) => {
  const { server, items, find } = await world(t);
  await server.createQueue("q");
  await server.produce("q", "stays", "comes back");
  const [stays, back] = idsOf(await server.lease("q", 2)) as [string, string];
  assert.equal((await server.retry("q", [{ id: back }])).status, 200);
  const [again] = idsOf(await server.lease("q", 1)) as [string];
  assert.equal((await server.retry("q", [{ id: again }])).status, 200);
  const left = await items("q");
  assert.deepEqual(
    [left.stays!.id, left.stays!.place, left.stays!.item.attributes],
    [stays, stays, ""],
  );
  assert.equal(await find("q", KEY.id, stays), undefined);
  const moved = left["comes back"]!;
  assert.equal(moved.id, back);
  assert.ok(moved.place > again && again > back);
  assert.equal(await find("q", KEY.id, back), moved.item.seq);
  assert.equal(await find("q", KEY.id, again), undefined);
});

test("a lease that ends, a retry for later and its time leave the id as it was, and an end leaves nothing", async (t) => {
  const { server, items, find } = await world(t);
  await server.createQueue("q");
  await server.produce("q", "it");
  const [first] = idsOf(await server.lease("q")) as [string];
  const { now } = await server.advance("61s");
  const [second] = idsOf(await server.lease("q")) as [string];
  assert.equal((await items("q")).it!.id, first);
  const retry_at = new Date(Date.parse(now) + 60_000).toISOString();
  assert.equal((await server.retry("q", [{ id: second, retry_at }])).status, 200);
  const scheduled = (await items("q")).it!;
  assert.deepEqual([scheduled.id, scheduled.place], [first, second]);
  assert.equal(await find("q", KEY.id, first), scheduled.item.seq);
  await server.advance("61s");
  const [third] = idsOf(await server.lease("q")) as [string];
  const { id, place, item } = (await items("q")).it!;
  assert.deepEqual([id, place], [first, third]);
  assert.equal(await find("q", KEY.id, first), item.seq);
  assert.equal((await server.complete("q", [third])).status, 200);
  assert.equal(await find("q", KEY.id, first), undefined);
});

test("a scheduled item keeps its id when its time comes", async (t) => {
  const { server, items, find } = await world(t);
  await server.createQueue("q");
  const { now } = await server.advance("0s");
  const enqueue_at = new Date(Date.parse(now) + 60_000).toISOString();
  const produce = { queue_name: "q", request_timeout: "1s" };
  await server.ok("queue.produce", { ...produce, items: [{ utf8: "later", enqueue_at }] });
  const [listed] = await server.list("q", "scheduled");
  assert.equal(await find("q", KEY.id, listed.id), undefined);
  await server.advance("61s");
  const [leased] = idsOf(await server.lease("q")) as [string];
  assert.notEqual(leased, listed.id);
  const { id, item } = (await items("q")).later!;
  assert.equal(id, listed.id);
  assert.equal(await find("q", KEY.id, listed.id), item.seq);
});

test("what dies keeps its id in the dead queue, and leaves nothing behind", async (t) => {
  const { server, items, find } = await world(t);
  await server.createQueue("dead");
  await server.createQueue("q", { dead_queue: "dead" });
  await server.produce("q", "moved", "never moved");
  const [moved, other] = idsOf(await server.lease("q", 2)) as [string, string];
  await server.retry("q", [{ id: moved }]);
  const [again] = idsOf(await server.lease("q")) as [string];
  await server.retry("q", [
    { id: again, dead: true },
    { id: other, dead: true },
  ]);
  const dead = await items("dead");
  assert.deepEqual([dead.moved!.id, dead["never moved"]!.id], [moved, other]);
  assert.equal(attributesOf(dead.moved!.item.attributes).source, again);
  assert.equal(await find("dead", KEY.id, moved), dead.moved!.item.seq);
  assert.equal(await find("dead", KEY.source, again), dead.moved!.item.seq);
  assert.deepEqual(await items("q"), {});
  assert.equal(await find("q", KEY.id, moved), undefined);
});

test("what is deleted or cleared, waiting, leased or scheduled, leaves no names", async (t) => {
  const { server, items, find } = await world(t);
  await server.createQueue("q");
  const names = ["leased", "waits", "leased 2", "waits 2"];
  const stored = names.map((source_id) => ({
    source_id,
    payload: Buffer.from(source_id).toString("base64"),
    ...(source_id.startsWith("leased") ? { is_leased: true } : {}),
  }));
  const fill = () =>
    server.ok("storage/items.import", { queue_name: "q", partition: 0, items: stored });
  // Two that have moved, and are scheduled then.
  await server.produce("q", "scheduled", "scheduled 2");
  const firsts = idsOf(await server.lease("q", 2));
  await server.retry(
    "q",
    firsts.map((id) => ({ id })),
  );
  const moved = idsOf(await server.lease("q", 2));
  const retry_at = "2100-01-01T00:00:00Z";
  await server.retry(
    "q",
    moved.map((id) => ({ id, retry_at })),
  );
  await fill();
  const before = await items("q");
  assert.equal(Object.keys(before).length, 6);
  for (const name of names) {
    assert.equal(await find("q", KEY.source, name), before[name]!.item.seq, name);
  }
  for (const [i, name] of ["scheduled", "scheduled 2"].entries()) {
    assert.equal(await find("q", KEY.id, firsts[i]!), before[name]!.item.seq, name);
  }
  const ids = ["leased", "waits", "scheduled"].map((name) => before[name]!.place);
  await server.ok("storage/items.delete", { queue_name: "q", partition: 0, ids });
  assert.equal(Object.keys(await items("q")).length, 3);
  await server.ok("queue.clear", { queue_name: "q", queue: true, destructive: true });
  await server.ok("queue.clear", { queue_name: "q", scheduled: true });
  assert.deepEqual(await items("q"), {});
  for (const name of names) assert.equal(await find("q", KEY.source, name), undefined, name);
  for (const id of firsts) assert.equal(await find("q", KEY.id, id), undefined, id);
});

test("an import keeps an id when told, is passed over if that is there, and refused if it is yet to be given", async (t) => {
  const storage = new MemoryStorage({ name: "m" });
  const clock = new SystemClock();
  const made = { queue: "q", number: 0, idPrefix: "p".repeat(18), createdAt: 1 };
  const [key] = (await storage.createPartitions([made])) as [number];
  const context = {
    clock,
    limits: DEFAULT_LIMITS,
    turns: new Turns(),
    budget: { bytes: 0 },
    waiting: { leases: 0, items: 0 },
    random: () => 0,
    log: SILENT,
    findIntake: () => undefined,
  };
  const rules = { ...RULES, leaseTimeout: SECOND, expireTimeout: 1e12 };
  const queue = await Queue.open("q", rules, {
    places: [{ key, idPrefix: made.idPrefix, createdAt: 1, storage }],
    context,
    onFailing: (_, error) => assert.ifError(error),
  });
  t.after(() => queue.loop.close(retryLater(MESSAGES.serviceShutdown)));
  const imported = (name: string, id?: string): ImportedItem => ({
    sourceId: "",
    isLeased: false,
    leaseDeadline: 0,
    expireAt: 0,
    dueAt: 0,
    attempts: 0,
    maxAttempts: 0,
    record: new ItemRecord("", Buffer.from(name)),
    ...(id === undefined ? {} : { id }),
  });
  const elsewhere = new IdSpace("o".repeat(18)).id(7);
  const first = await queue.import(0, [imported("plain"), imported("kept", elsewhere)]);
  assert.deepEqual(
    first.map(({ status }) => status),
    ["created", "created"],
  );
  const there = await itemsOf(storage, key, made.idPrefix);
  assert.equal(there.kept!.id, elsewhere);
  assert.equal(there.plain!.item.attributes, "");
  // Once by its entry, once by its place, and once within the same import.
  const third = new IdSpace("o".repeat(18)).id(8);
  const again = await queue.import(0, [
    imported("a", elsewhere),
    imported("b", there.plain!.place),
    imported("c", third),
    imported("d", third),
  ]);
  assert.deepEqual(
    again.map(({ status, id }) => [status, id]),
    [
      ["duplicate", there.kept!.place],
      ["duplicate", there.plain!.place],
      ["created", again[2]!.id],
      ["duplicate", again[2]!.id],
    ],
  );
  const ids = new IdSpace(made.idPrefix);
  await assert.rejects(queue.import(0, [imported("e", ids.id(100))]), /yet to be given/);
  assert.deepEqual(Object.keys(await itemsOf(storage, key, made.idPrefix)), ["plain", "kept", "c"]);
});
