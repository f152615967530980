// What is done with items by their ids is the same on every storage, over threads, after a restart, and in
// both formats.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  ItemCancelRequestSchema,
  ItemExplainRequestSchema,
  ItemExplainResponseSchema,
  ItemGetRequestSchema,
  ItemSchema,
  ItemsListRequestSchema,
  ItemsListResponseSchema,
  ItemUpdateRequestSchema,
  ItemWaitRequestSchema,
} from "../../src/codec/gen/querator/v2/items_pb.ts";
import { type Json, World } from "../support/items.ts";
import { setup } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

for (const [place, driver, threads] of PLACES) {
  describe(`items by their ids on ${place}`, () => {
    test("are found, marked, changed and removed, also after a restart", async (t) => {
      const options = { threads, ...(await freshPlace(t, driver)) };
      let w = new World(await setup(t, options));
      await w.server.createQueue("q", { requested_partitions: 2 });
      await w.server.createQueue("other");
      const ids = await w.produce("q", ...["a", "b", "c", "d"].map((utf8) => ({ utf8 })));
      const [first, second, third, fourth] = ids as [string, string, string, string];
      const [other] = (await w.produce("other", { utf8: "o" })) as [string];
      const lease_ids = (await w.lease("q", 2)).map(({ lease_id }: Json) => lease_id);
      await w.ok("item.cancel", { id: first });
      await w.end("queue.extend", "q", [lease_ids[1]], { progress: [1, 2] });
      await w.ok("item.update", { id: third, json: { n: 1 } });
      await w.ok("item.cancel", { id: other });
      if (driver !== "memory") {
        await w.server.server.stop();
        w = new World(await setup(t, options));
      }
      const held = await w.get(first);
      assert.deepEqual([held.state, held.cancelled], ["leased", true]);
      assert.deepEqual((await w.get(second)).progress, [1, 2]);
      assert.deepEqual((await w.get(third, { payload: true })).json, { n: 1 });
      assert.equal(await w.state(other), "item_not_found");
      const newest = await w.ok("items.list", { queue_name: "q", order: "newest" });
      assert.deepEqual(
        newest.items.map(({ id }: Json) => id),
        [third, fourth, second, first],
      );
      const [why] = (await w.ok("item.explain", { id: third })).reasons.slice(-1);
      assert.equal(why.code, "in_line");
      const waits = [first, second].map((id) => w.call("item.wait", { id, request_timeout: "1m" }));
      await w.ok("item.explain", { id: first });
      await w.ok("item.explain", { id: second });
      assert.deepEqual(await w.end("queue.complete", "q", lease_ids), ["item_cancelled", "ok"]);
      // One that came too late for the end finds nothing any more.
      for (const [i, { status, body }] of (await Promise.all(waits)).entries()) {
        if (status !== 404) assert.equal(body.state, ["cancelled", "completed"][i]);
      }
      assert.deepEqual(
        [await w.state(first), await w.state(second)],
        Array(2).fill("item_not_found"),
      );
      assert.deepEqual(
        (await w.lease("q", 10)).map(({ id }: Json) => id),
        [fourth, third],
      );
    });
  });
}

test("items by their ids are the same in Protobuf", async (t) => {
  const w = new World(await setup(t));
  await w.server.createQueue("q");
  const [id, other] = (await w.produce("q", { json: { a: 1 } }, { utf8: "b", kind: "k" })) as [
    string,
    string,
  ];
  const found = await w.protobuf(
    "item.get",
    ItemGetRequestSchema,
    { id, payload: true },
    ItemSchema,
  );
  assert.deepEqual(
    [found.id, found.state, found.queueName, found.json],
    [id, "waiting", "q", '{"a":1}'],
  );
  const update = { id, json: "[2]", delay: "1h", ifState: "waiting" };
  const changed = await w.protobuf("item.update", ItemUpdateRequestSchema, update, ItemSchema);
  assert.deepEqual([changed.id, changed.state], [id, "scheduled"]);
  const explained = await w.protobuf(
    "item.explain",
    ItemExplainRequestSchema,
    { id },
    ItemExplainResponseSchema,
  );
  assert.deepEqual([explained.state, explained.reasons[0]?.code], ["scheduled", "scheduled"]);
  const [lease] = await w.lease("q");
  await w.end("queue.extend", "q", [lease.lease_id], { progress: { p: 0.5 } });
  const marked = await w.protobuf(
    "item.cancel",
    ItemCancelRequestSchema,
    { id: other },
    ItemSchema,
  );
  assert.deepEqual(
    [marked.state, marked.cancelled, marked.progress],
    ["leased", true, '{"p":0.5}'],
  );
  const wait = { id: other, requestTimeout: "10ms" };
  const waited = await w.protobuf("item.wait", ItemWaitRequestSchema, wait, ItemSchema);
  assert.equal(waited.state, "leased");
  const list = { queueName: "q", kind: "k", order: "newest" };
  const listed = await w.protobuf(
    "items.list",
    ItemsListRequestSchema,
    list,
    ItemsListResponseSchema,
  );
  assert.deepEqual(
    listed.items.map((item) => item.id),
    [other],
  );
});
