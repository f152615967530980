// Single items by their ids, from the client: what they are, where they are, and what has become of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ItemCancelledError, ItemNotFoundError, type LeasedItem } from "@querator/client";
import { LOSE_REPLY, PASS, proxyOf } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

test("an item is looked up by its id wherever it is", async (t) => {
  const { client } = await setup(t);
  await client.queues.create({ queueName: "dead" });
  await client.queues.create({ queueName: "few", deadQueue: "dead", requestedPartitions: 3 });
  const details = { kind: "k", reference: "r", headers: { a: "b" }, maxAttempts: 3 };
  const { id } = await client.produce("few", { json: { n: 1 }, delay: "1h", ...details });
  const scheduled = await client.items.get(id!);
  assert.equal(scheduled.state, "scheduled");
  assert.ok(scheduled.enqueueAt! > new Date());
  assert.equal(Buffer.from(scheduled.payload).toString(), '{"n":1}');
  const { kind, reference, headers, queueName, form } = scheduled;
  assert.deepEqual(
    [kind, reference, headers, queueName, form],
    ["k", "r", { a: "b" }, "few", "json"],
  );
  const bare = await client.items.get(id!, { queueName: "few", payload: false });
  assert.equal(bare.payload.length, 0);

  const updated = await client.items.update(id!, { delay: 0, payload: "new" });
  assert.deepEqual([updated.id, updated.state], [id, "waiting"]);
  const [item] = await client.lease("few");
  assert.deepEqual([item!.id, item!.text, item!.kind], [id, "new", "k"]);
  const leased = await client.items.get(id!);
  assert.deepEqual([leased.state, leased.leaseId, leased.attempts], ["leased", item!.leaseId, 1]);
  await assert.rejects(client.items.update(id!, { delay: 0 }), { code: "precondition-failed" });

  await client.reject("few", { leaseId: item!.leaseId, error: new TypeError("no luck") });
  const dead = await client.items.get(id!, { queueName: "few" });
  assert.deepEqual([dead.state, dead.queueName], ["dead", "dead"]);
  await assert.rejects(client.items.get("2xEsnX0nOk4fbGBzPN6bcqGDOkB"), ItemNotFoundError);
});

test("an item is changed only in the state that is asked for", async (t) => {
  const { client } = await setup(t);
  const { id } = await client.produce("jobs", { payload: "a" });
  const change = { enqueueAt: new Date(Date.now() + 3_600_000) };
  const wrong = client.items.update(id!, change, { ifState: "scheduled" });
  await assert.rejects(wrong, { code: "precondition-failed" });
  assert.equal((await client.items.update(id!, change, { ifState: "waiting" })).state, "scheduled");
});

test("what is cancelled is gone at once, or once its holder has learned it", async (t) => {
  const { client } = await setup(t);
  const [first, second] = await client.produce("jobs", [{}, {}]);
  assert.equal((await client.items.cancel(first!.id!)).state, "cancelled");
  const items = await client.lease("jobs", { batchSize: 2 });
  assert.deepEqual(
    items.map(({ id }) => id),
    [second!.id],
  );
  const marked = await client.items.cancel(second!.id!);
  assert.deepEqual([marked.state, marked.isCancelled], ["leased", true]);
  const [item] = items as [LeasedItem];
  await assert.rejects(client.extend("jobs", item, { for: "1m" }), ItemCancelledError);
  await assert.rejects(client.retry("jobs", item), ItemCancelledError);
  assert.equal((await client.stats("jobs")).total, 0);
});

test("a cancel whose reply is lost is answered again as it was", async (t) => {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  proxy.treat = (_, number) => (number === 1 ? LOSE_REPLY : PASS);
  const client = clientOf(t, proxy.url, { retry: { baseMs: 1, capMs: 2 } });
  const { id } = await direct.produce("jobs", {});
  assert.equal((await client.items.cancel(id!, { queueName: "jobs" })).state, "cancelled");
  const [first, second] = proxy.requests;
  assert.deepEqual(second, first);
});

test("who waits for an item is told when it has ended, and how it is when the time is over", async (t) => {
  const { client } = await setup(t);
  const { id } = await client.produce("jobs", {});
  const early = await client.items.wait(id!, { requestTimeout: "20ms" });
  assert.deepEqual([early.state, early.endedAt], ["waiting", undefined]);
  const waiting = client.items.wait(id!);
  const [item] = await client.lease("jobs");
  await client.complete("jobs", item!);
  const { state, endedAt } = await waiting;
  assert.equal(state, "completed");
  assert.ok(endedAt instanceof Date);
  const controller = new AbortController();
  const second = await client.produce("jobs", {});
  const aborted = client.items.wait(second.id!, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
});

test("why an item is not running is explained", async (t) => {
  const { client } = await setup(t);
  const [, second] = await client.produce("jobs", [{}, {}]);
  const { state, reasons, position } = await client.items.explain(second!.id!);
  assert.deepEqual([state, position], ["waiting", 1]);
  assert.ok(
    reasons.length > 0 && reasons.every(({ code, detail }) => code !== "" && detail !== ""),
  );
  const later = await client.produce("jobs", { delay: "1h" });
  const [reason] = (await client.items.explain(later.id!)).reasons;
  assert.equal(reason!.code, "scheduled");
  assert.ok(reason!.until! > new Date());
});

test("lists show what is asked for, the newest first if that is", async (t) => {
  const { client } = await setup(t);
  await client.produce("jobs", [
    { payload: "0", kind: "a", reference: "x" },
    { payload: "1", kind: "b", reference: "x" },
    { payload: "2", kind: "a", reference: "y" },
  ]);
  const show = (options: object) =>
    Array.fromAsync(client.items.list("jobs", options), ({ payload }) =>
      Buffer.from(payload).toString(),
    );
  assert.deepEqual(await show({ kind: "a" }), ["0", "2"]);
  assert.deepEqual(await show({ reference: "x", order: "newest", pageSize: 1 }), ["1", "0"]);
  assert.deepEqual(await show({ olderThan: "1h" }), []);
  assert.deepEqual(await show({ newerThan: "1h", kind: "b" }), ["1"]);
});
