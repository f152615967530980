// Items that have ended and are kept: what calls on single items tell of them, and refuse.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Json, World } from "../support/items.ts";
import { setup } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

for (const [place, driver, threads] of PLACES) {
  describe(`what has ended on ${place}`, () => {
    test("is told by its id, listed and explained, also after a restart", async (t) => {
      const options = { threads, ...(await freshPlace(t, driver)) };
      let w = new World(await setup(t, options));
      await w.server.createQueue("q");
      await w.ok("queues.update", {
        queue_name: "q",
        keep_completed: "1h",
        keep_payload: true,
        max_attempts: 3,
      });
      const items = ["done", "marked", "given up", "waits"].map((utf8) => ({ utf8, kind: utf8 }));
      const ids = await w.produce("q", ...items);
      const [done, marked, dropped, waits] = ids as [string, string, string, string];
      const leases = (await w.lease("q", 3)).map(({ lease_id }: Json) => lease_id);
      const wait = w.ok("item.wait", { id: done, request_timeout: "1m" });
      await w.end("queue.complete", "q", [leases[0]], { result: { n: 1 } });
      assert.deepEqual([(await wait).state, (await wait).result], ["completed", { n: 1 }]);
      await w.ok("item.cancel", { id: marked });
      assert.deepEqual(await w.end("queue.complete", "q", [leases[1]]), ["item_cancelled"]);
      await w.end("queue.reject", "q", [leases[2]], { error: { type: "Bad", message: "no" } });
      const cancelled = await w.ok("item.cancel", { id: waits });
      if (driver !== "memory") {
        await w.server.server.stop();
        w = new World(await setup(t, options));
      }
      assert.deepEqual(await Promise.all(ids.map((id) => w.state(id))), [
        "completed",
        "cancelled",
        "rejected",
        "cancelled",
      ]);
      const first = await w.get(done, { payload: true });
      assert.deepEqual([first.result, first.utf8, first.kind], [{ n: 1 }, "done", "done"]);
      assert.deepEqual([first.queue_name, first.attempts, first.lease_id], ["q", 1, undefined]);
      const last = await w.get(waits);
      assert.deepEqual([last.ended_at, last.utf8], [cancelled.ended_at, undefined]);
      assert.equal((await w.get(dropped)).last_error.type, "Bad");
      const list = async (request: object): Promise<string[]> =>
        (await w.ok("items.list", { queue_name: "q", ...request })).items?.map(
          ({ id }: Json) => id,
        ) ?? [];
      assert.deepEqual(await list({ state: "cancelled" }), [marked, waits]);
      assert.deepEqual(await list({ state: "cancelled", order: "newest" }), [waits, marked]);
      assert.deepEqual(await list({ state: "rejected", error_type: "Bad" }), [dropped]);
      assert.deepEqual(await list({ state: "rejected", error_type: "Good" }), []);
      assert.deepEqual(await list({ state: "completed", kind: "done" }), [done]);
      assert.deepEqual(await list({}), []);
      // One after the other, whatever lies between.
      const page = { queue_name: "q", state: "cancelled", limit: 1 };
      const { next_cursor: cursor } = await w.ok("items.list", page);
      assert.deepEqual(await list({ ...page, cursor }), [waits]);
      const why = await w.ok("item.explain", { id: done });
      assert.deepEqual([why.state, why.reasons[0].code], ["completed", "ended"]);
    });
  });
}

test("what has ended is not changed, and cancelled once only", async (t) => {
  const w = new World(await setup(t));
  await w.server.createQueue("q");
  await w.ok("queues.update", { queue_name: "q", keep_completed: "1h" });
  const [done, waits] = (await w.produce("q", { utf8: "a" }, { utf8: "b" })) as [string, string];
  const [lease] = await w.lease("q");
  await w.end("queue.complete", "q", [lease.lease_id]);
  for (const [path, more] of [
    ["item.cancel", {}],
    ["item.update", { utf8: "c" }],
  ] as const) {
    const { status, body } = await w.call(path, { id: done, ...more });
    assert.deepEqual([status, body.code], [409, "precondition_failed"], path);
    assert.match(body.detail, /completed/);
  }
  const once = await w.ok("item.cancel", { id: waits });
  const again = await w.ok("item.cancel", { id: waits });
  assert.deepEqual([again.state, again.ended_at], ["cancelled", once.ended_at]);
  assert.equal((await w.ok("item.wait", { id: waits, request_timeout: "1m" })).state, "cancelled");
  const { counts } = (await w.ok("queue.stats", { queue_name: "q" })).totals;
  assert.deepEqual([counts.completed, counts.cancelled], [1, 1]);
  await w.server.advance("2h");
  assert.deepEqual([await w.state(done), await w.state(waits)], Array(2).fill("item_not_found"));
});

test("what is cancelled while it is leased is counted as that, and its lease has not ended by itself", async (t) => {
  const w = new World(await setup(t));
  await w.server.createQueue("q");
  const ids = await w.produce("q", { utf8: "a" }, { utf8: "b" }, { utf8: "c" });
  const leases = (await w.lease("q", 3)).map(({ lease_id }: Json) => lease_id);
  for (const id of ids) await w.ok("item.cancel", { id });
  await w.end("queue.complete", "q", [leases[0]]);
  await w.end("queue.retry", "q", [leases[1]]);
  const { counts } = (await w.ok("queue.stats", { queue_name: "q" })).totals;
  assert.deepEqual([counts.cancelled, counts.completed ?? 0, counts.lease_ends ?? 0], [2, 0, 0]);
  assert.equal(counts.retried ?? 0, 0);
  await w.server.advance("2m");
  await w.server.until(async () => {
    const after = (await w.ok("queue.stats", { queue_name: "q" })).totals.counts;
    return after.cancelled === 3 && after.lease_ends === 1;
  });
});
