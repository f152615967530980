// Every call of the client against a real server, in memory and durable, and the errors that it throws.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  AuthenticationError,
  ClosedError,
  InvalidRequestError,
  LeaseLostError,
  NetworkError,
  QueratorClient,
  QueratorError,
  QueueExistsError,
  QueueNotFoundError,
} from "@querator/client";
import { startOldServer } from "../support/old-server.ts";
import { temporaryDirectory } from "../support/server.ts";
import { clientOf, setup } from "./setup.ts";

for (const storage of ["memory", "sqlite"] as const) {
  test(`items go from produce through lease to complete, on ${storage}`, async (t) => {
    const server = storage === "memory" ? {} : { dataDir: temporaryDirectory(t) };
    const { client } = await setup(t, { server });
    await client.produce("jobs", [
      { payload: "a text: ü", encoding: "text", kind: "greet", reference: "r-1" },
      { payload: new Uint8Array([0, 255, 128]) },
      {},
    ]);
    const items = await client.lease("jobs", { batchSize: 10 });
    assert.equal(items.length, 3);
    const [text, bytes, empty] = items;
    assert.equal(text!.text, "a text: ü");
    assert.equal(text!.queueName, "jobs");
    assert.deepEqual([text!.encoding, text!.kind, text!.reference], ["text", "greet", "r-1"]);
    assert.equal(text!.attempts, 1);
    assert.ok(text!.leaseDeadline > new Date());
    assert.deepEqual([...bytes!.payload], [0, 255, 128]);
    assert.equal(empty!.payload.length, 0);
    assert.equal((await client.stats("jobs")).totalLeased, 3);
    await client.complete("jobs", items);
    assert.equal((await client.stats("jobs")).total, 0);
  });
}

test("retry gives items back at once and at a time, reject gives them up", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({ queueName: "dead", leaseTimeout: 60_000, expireTimeout: "24h" });
  await client.queues.update("jobs", { deadQueue: "dead" });
  await client.produce("jobs", [{ payload: "now" }, { payload: "later" }, { payload: "dead" }]);
  const [now, later, dead] = await client.lease("jobs", { batchSize: 3 });
  const at = new Date(Date.now() + 3_600_000);
  await client.retry("jobs", [now!, { leaseId: later!.leaseId, at }]);
  await client.reject("jobs", dead!);
  const [again] = await client.lease("jobs", { batchSize: 3 });
  assert.deepEqual([again!.text, again!.attempts], ["now", 2]);
  const scheduled = await Array.fromAsync(client.items.list("jobs", { state: "scheduled" }));
  assert.deepEqual(scheduled.map(textOf), ["later"]);
  const [letter] = await client.lease("dead");
  assert.equal(letter!.text, "dead");
});

test("statistics tell what has become of items, of one queue or of several", async (t) => {
  const { client, server } = await setup(t);
  await server.advance("1m");
  await client.queues.create({ queueName: "other" });
  await client.produce("jobs", [{ payload: "a" }, { payload: "b" }, { payload: "c" }]);
  await server.advance("2s");
  const [done, dead] = await client.lease("jobs", { batchSize: 2 });
  await client.complete("jobs", done!);
  await client.reject("jobs", dead!);
  const stats = await client.stats("jobs");
  const never = {
    retried: 0,
    released: 0,
    extended: 0,
    leaseEnds: 0,
    cancelled: 0,
    deduplicated: 0,
    deleted: 0,
    received: 0,
    moved: 0,
  };
  const times = (ms: number) => ({
    count: 2,
    p50Ms: ms,
    p90Ms: ms,
    p95Ms: ms,
    p99Ms: ms,
    maxMs: ms,
  });
  assert.deepEqual(stats.totals, {
    waiting: 1,
    scheduled: 0,
    leased: 0,
    held: 0,
    kept: 0,
    oldestAgeMs: 2_000,
    counts: {
      produced: 3,
      leased: 2,
      completed: 1,
      ...never,
      dead: { attempts: 0, expired: 0, rejected: 1 },
    },
    rates: { produced: 0.05, leased: 0.033, completed: 0.017, ...never, dead: 0.017 },
    waitTime: times(2_000),
    runTime: times(0),
  });
  const several = await client.statsOf(["other", "none", "jobs"]);
  assert.deepEqual(
    several.map(({ queueName }) => queueName),
    ["other", "jobs"],
  );
  assert.deepEqual(several[1], stats);
  assert.deepEqual(several[0]!.totals.oldestAgeMs, undefined);
  assert.deepEqual(await client.statsOf([]), []);
});

test("an item is not leased before its enqueueAt", async (t) => {
  const { client, server } = await setup(t);
  const enqueueAt = new Date(Date.now() + 3_600_000);
  await client.produce("jobs", { payload: "later", enqueueAt });
  assert.equal((await client.stats("jobs")).scheduled, 1);
  await server.advance("61m");
  assert.equal((await client.lease("jobs"))[0]!.text, "later");
});

test("a lease that finds nothing answers no items", async (t) => {
  const { client } = await setup(t);
  assert.deepEqual(await client.lease("jobs", { requestTimeout: "20ms" }), []);
  assert.deepEqual(await client.lease("jobs", { requestTimeout: 20, client: "me" }), []);
});

test("queues are made, listed, described, changed and deleted", async (t) => {
  const { client } = await setup(t);
  const settings = { leaseTimeout: "90s", expireTimeout: 7_200_000, maxAttempts: 3 };
  assert.equal(await client.queues.createIfMissing({ queueName: "a", ...settings }), true);
  assert.equal(await client.queues.createIfMissing({ queueName: "a", ...settings }), false);
  await client.queues.update("a", { reference: "mine" });
  const info = await client.queues.info("a");
  assert.deepEqual(
    [info.leaseTimeout, info.expireTimeoutMs, info.maxAttempts, info.reference],
    ["1m30s", 7_200_000, 3, "mine"],
  );
  assert.ok(info.createdAt! <= info.updatedAt!);
  const names = await Array.fromAsync(client.queues.list(), ({ queueName }) => queueName);
  assert.deepEqual(names, ["a", "jobs"]);
  await client.queues.delete("a");
  await assert.rejects(client.queues.info("a"), QueueNotFoundError);
});

test("a list goes on from page to page without gaps and repeats", async (t) => {
  const { client } = await setup(t);
  const payloads = Array.from({ length: 25 }, (_, i) => `item ${i}`);
  await client.produce(
    "jobs",
    payloads.map((payload) => ({ payload })),
  );
  for (const pageSize of [1, 2, 12, 24, 25, 26]) {
    const items = await Array.fromAsync(client.items.list("jobs", { pageSize }));
    assert.deepEqual(items.map(textOf), payloads, `pages of ${pageSize}`);
  }
});

test("a list goes on after a page that the server ended for its bytes", async (t) => {
  const { client } = await setup(t);
  const payload = "x".repeat(1_600_000);
  for (let i = 0; i < 7; i++) await client.produce("jobs", [{ payload }, { payload }, { payload }]);
  let count = 0;
  for await (const item of client.items.list("jobs"))
    count += item.payload.length === 1_600_000 ? 1 : 0;
  assert.equal(count, 21);
});

test("call makes any call of the API with its JSON as it travels", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", { payload: "hi" });
  const { items } = await client.call<{ items: { utf8: string; expire_at: string }[] }>(
    "items.list",
    { queue_name: "jobs", payload: true },
  );
  assert.equal(items[0]!.utf8, "hi");
  assert.match(items[0]!.expire_at, /T.*Z$/);
  const old = await client.call<{ items: { payload: string }[] }>("v1/storage/items.list", {
    queue_name: "jobs",
  });
  assert.equal(old.items[0]!.payload, "aGk=");
  await assert.rejects(client.call("queue.stats", { queue_name: "none" }), QueueNotFoundError);
  await assert.rejects(client.call("no.such", {}), { code: "not-implemented", status: 404 });
  await assert.rejects(client.call("v1/no.such", {}), { code: "not-implemented", status: 501 });
});

test("items are listed, imported and deleted, and a queue is cleared and reloaded", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({ queueName: "copy", leaseTimeout: "1m", expireTimeout: "24h" });
  await client.produce("jobs", [{ payload: "one", kind: "k" }, { payload: "two" }]);
  const items = await Array.fromAsync(client.items.list("jobs"));
  const moved = items.map((item) => ({ ...item, sourceId: item.id, leaseDeadline: undefined }));
  const imported = await client.items.import("copy", moved);
  const listed = await Array.fromAsync(client.items.list("copy"));
  assert.deepEqual(listed.map(textOf), ["one", "two"]);
  assert.deepEqual(
    listed.map(({ id }) => id),
    imported.map(({ id }) => id),
  );
  assert.equal(listed[0]!.sourceId, items[0]!.id);
  assert.deepEqual([listed[0]!.kind, listed[0]!.form], ["k", "utf8"]);
  const other = moved.map((item) => ({ ...item, payload: "other" }));
  const again = await client.items.import("copy", [...other, { payload: "three" }]);
  assert.deepEqual((await Array.fromAsync(client.items.list("copy"))).map(textOf), [
    "one",
    "two",
    "three",
  ]);
  assert.equal(again[0]!.id, imported[0]!.id);
  assert.deepEqual(
    [...imported, ...again].map(({ status }) => status),
    ["created", "created", "duplicate", "duplicate", "created"],
  );
  // Its id is what it is, in whatever queue; of another one it is not deleted.
  assert.equal(imported[0]!.id, items[0]!.id);
  await client.queues.create({ queueName: "other" });
  assert.equal(await client.items.delete("other", [items[0]!.id]), 0);
  assert.equal(await client.items.delete("copy", [imported[0]!.id!, again[2]!.id!]), 2);
  assert.equal(await client.items.delete("copy", [imported[0]!.id!]), 0);
  await client.reload("copy");
  assert.equal((await client.stats("copy")).total, 1);
  await client.clear("copy", { queue: true });
  assert.equal((await client.stats("copy")).total, 0);
});

test("scheduled items are listed with their time, and imported with it", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({ queueName: "copy", leaseTimeout: "1m", expireTimeout: "24h" });
  const enqueueAt = new Date(Date.now() + 3_600_000);
  await client.produce("jobs", { payload: "later", enqueueAt });
  const items = await Array.fromAsync(client.items.list("jobs", { state: "scheduled" }));
  assert.deepEqual(
    items.map(({ enqueueAt }) => enqueueAt),
    [enqueueAt],
  );
  const moved = items.map((item) => ({ ...item, leaseDeadline: undefined }));
  const imported = await client.items.import("copy", moved);
  assert.equal(imported[0]!.status, "scheduled");
  const [copy] = await Array.fromAsync(client.items.list("copy", { state: "scheduled" }));
  assert.deepEqual(copy!.enqueueAt, enqueueAt);
  assert.equal((await client.stats("copy")).scheduled, 1);
});

test("of a server that knows /v1 only scheduled items are listed without their time", async (t) => {
  const { client, server } = await setup(t);
  const url = await startOldServer(t, server.server.address);
  await using old = new QueratorClient({ url });
  const enqueueAt = new Date(Date.now() + 3_600_000);
  await client.produce("jobs", [{ payload: "later", enqueueAt }]);
  const items = await Array.fromAsync(old.items.list("jobs", { state: "scheduled" }));
  assert.deepEqual(
    items.map((item) => [textOf(item), item.enqueueAt]),
    [["later", undefined]],
  );
  const plain = [{ sourceId: "s", payload: "one" }];
  assert.equal((await old.items.import("jobs", plain))[0]!.status, "created");
  await old.items.import("jobs", [{ ...plain[0], payload: "other" }]);
  const [item, ...more] = await Array.fromAsync(old.items.list("jobs"));
  assert.deepEqual([textOf(item!), more.length], ["one", 0]);
  // It does not tell.
  assert.equal(await old.items.delete("jobs", [item!.id]), undefined);
  // It would take the item as due at once.
  await assert.rejects(old.items.import("jobs", [{ enqueueAt }]), { code: "not-implemented" });
  assert.equal((await client.stats("jobs")).total, 0);
});

test("items of several partitions are completed in one call", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({
    queueName: "wide",
    leaseTimeout: "1m",
    expireTimeout: "24h",
    requestedPartitions: 3,
  });
  for (let i = 0; i < 6; i++) await client.produce("wide", { payload: String(i) });
  const items = [];
  while (items.length < 6) items.push(...(await client.lease("wide", { batchSize: 6 })));
  const listed = await Array.fromAsync(client.items.list("wide"));
  assert.ok(new Set(listed.map(({ partition }) => partition)).size > 1);
  await client.complete("wide", items);
  assert.equal((await client.stats("wide")).total, 0);
});

test("health says how the server is", async (t) => {
  const { client } = await setup(t);
  assert.equal((await client.health()).status, "pass");
});

test("more than a thousand items, and more than one request holds, travel in order", async (t) => {
  const { client } = await setup(t);
  const payload = "x".repeat(4_000);
  const items = Array.from({ length: 2_500 }, (_, i) => ({ payload, reference: String(i) }));
  await client.produce("jobs", items);
  const references: string[] = [];
  while (references.length < items.length) {
    const leased = await client.lease("jobs", { batchSize: 1_000 });
    references.push(...leased.map(({ reference }) => reference));
    await client.complete("jobs", leased);
  }
  assert.deepEqual(
    references,
    items.map(({ reference }) => reference),
  );
});

// --- errors ---

test("errors are of a class by their meaning, with the server's message", async (t) => {
  const { client, server } = await setup(t);
  const settings = { queueName: "jobs", leaseTimeout: "1m", expireTimeout: "24h" };
  await assert.rejects(client.produce("nowhere", {}), (error) => {
    assert.ok(error instanceof QueueNotFoundError && error instanceof QueratorError);
    assert.equal(error.message, "queue does not exist; no such queue named 'nowhere'");
    assert.deepEqual(
      [error.name, error.code, error.status, error.retryable, error.uncertain],
      ["QueueNotFoundError", "queue-not-found", 404, false, false],
    );
    return true;
  });
  await assert.rejects(client.queues.create(settings), QueueExistsError);
  await assert.rejects(client.complete("jobs", "0".repeat(27)), LeaseLostError);
  await assert.rejects(client.lease("jobs", { batchSize: 0 }), InvalidRequestError);
  await assert.rejects(client.lease("jobs", { batchSize: 0, client: "c" }), InvalidRequestError);
  await assert.rejects(client.produce("jobs", {}, { requestTimeout: "soon" }), /requestTimeout/);
  await assert.rejects(client.produce("jobs", { enqueueAt: new Date("x") }), /enqueueAt/);
  const stranger = clientOf(t, server.server.address, { headers: { Authorization: "Basic x" } });
  const strange = stranger.call("v1/queues.info", { queue_name: "jobs" });
  await assert.rejects(strange, AuthenticationError);
  for (const [options, text] of [
    [{ url: "localhost:2319" }, /^url is invalid; got 'localhost:2319'/],
    [{}, /^url is invalid; got 'undefined'/],
    [{ urls: [] }, /^urls is invalid; it must be a list of one or more/],
    [{ urls: ["http://a", "ftp://b"] }, /^urls\[1\] is invalid; got 'ftp:\/\/b'/],
    [{ url: "http://a", urls: ["http://b"] }, /^give either url or urls/],
  ] as const) {
    assert.throws(() => new QueratorClient(options), { message: text });
  }
});

test("a server that is not there is a NetworkError that says so", async (t) => {
  const { server } = await setup(t);
  const { address } = server.server;
  await server.server.stop();
  const client = clientOf(t, address, { retry: { attemptsMax: 2, baseMs: 1 } });
  await assert.rejects(client.stats("jobs"), (error) => {
    assert.ok(error instanceof NetworkError);
    assert.match(error.message, /Cannot reach http:\/\/127.*ECONNREFUSED.*is the server running/);
    assert.deepEqual([error.retryable, error.uncertain], [true, false]);
    return true;
  });
});

test("an aborted lease is forgotten by the server", async (t) => {
  const { client, server } = await setup(t);
  for (const name of [undefined, "me"]) {
    const controller = new AbortController();
    const { signal } = controller;
    const options = name === undefined ? { signal } : { signal, client: name };
    const lease = client.lease("jobs", options);
    await server.until(async () => (await server.stats("jobs")).lease_waiting === 1);
    controller.abort(new Error("enough"));
    await assert.rejects(lease, /^Error: enough$/);
    await server.until(async () => (await server.stats("jobs")).lease_waiting === undefined);
  }
  await client.produce("jobs", { payload: "kept" });
  assert.equal((await client.stats("jobs")).totalLeased, 0);
});

test("a call with a signal that is aborted already is not made", async (t) => {
  const { client } = await setup(t);
  const options = { signal: AbortSignal.abort(new Error("never")) };
  const never = /^Error: never$/;
  await assert.rejects(client.produce("jobs", {}, options), never);
  await assert.rejects(client.lease("jobs", options), never);
  await assert.rejects(client.stats("jobs", options), never);
  assert.equal((await client.stats("jobs")).total, 0);
});

test("a closed client finishes what is under way and refuses what comes after", async (t) => {
  const { client } = await setup(t);
  const reader = clientOf(t, client.url);
  const produced = client.produce("jobs", {});
  const lease = assert.rejects(client.lease("jobs", { client: "me" }), ClosedError);
  await client.close();
  await produced;
  await lease;
  assert.equal((await reader.stats("jobs")).total, 1);
  await assert.rejects(client.produce("jobs", {}), ClosedError);
});

test("everything also works over fetch", async (t) => {
  const { client, server } = await setup(t, { client: { fetch: globalThis.fetch, key: "k" } });
  await client.produce("jobs", { payload: "by fetch" });
  const [item] = await client.lease("jobs");
  await client.complete("jobs", item!);
  assert.equal(item!.text, "by fetch");
  const controller = new AbortController();
  const lease = client.lease("jobs", { signal: controller.signal });
  await server.until(async () => (await server.stats("jobs")).lease_waiting === 1);
  controller.abort(new Error("enough"));
  await assert.rejects(lease, /^Error: enough$/);
  await server.until(async () => (await server.stats("jobs")).lease_waiting === undefined);
  const gone = await setup(t);
  await gone.server.server.stop();
  const options = { fetch: globalThis.fetch, retry: { attemptsMax: 1 } };
  const late = clientOf(t, gone.server.server.address, options);
  await assert.rejects(late.stats("jobs"), (error) => {
    return error instanceof NetworkError && !error.uncertain;
  });
});

function textOf({ payload }: { payload: Uint8Array }): string {
  return Buffer.from(payload).toString();
}
