// Queues whose items go to one another, so that their loops wait for one another. Time stands still: what waits for
// a time-out waits for ever.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Json, World } from "../support/items.ts";
import { setup } from "../support/server.ts";

const COUNT = 20;

const waiting = async (w: World, queue_name: string): Promise<number> =>
  (await w.ok("queue.stats", { queue_name })).totals.waiting;

test("a queue that completes into one whose dead queue it is does not wait for it in vain", async (t) => {
  const w = new World(await setup(t));
  await w.server.advance("0s");
  await w.server.createQueue("a");
  await w.server.createQueue("b", { dead_queue: "a" });
  const leasesOf = async (queue: string): Promise<string[]> => {
    await w.produce(queue, ...Array.from({ length: COUNT }, () => ({ utf8: queue })));
    return (await w.lease(queue, COUNT)).map(({ lease_id }: Json) => lease_id);
  };
  const [ofA, ofB] = [await leasesOf("a"), await leasesOf("b")];
  const produce = [{ queue_name: "b", items: [{ utf8: "next" }] }];
  const done = await Promise.all(
    ofA.flatMap((lease_id, i) => [
      w.ok("queue.complete", { queue_name: "a", leases: [{ lease_id }], produce }),
      w.end("queue.reject", "b", [ofB[i]!]),
    ]),
  );
  for (const [i, each] of done.entries()) {
    if (i % 2 === 0) assert.equal(each.produced.length, 1);
    else assert.deepEqual(each, ["ok"]);
  }
  assert.deepEqual([await waiting(w, "a"), await waiting(w, "b")], [COUNT, COUNT]);
});

test("a redrive and what dies meanwhile in the queue that it fills do not wait for one another in vain", async (t) => {
  const w = new World(await setup(t));
  await w.server.advance("0s");
  await w.server.createQueue("dead");
  await w.server.createQueue("q", { dead_queue: "dead" });
  const leases: string[] = [];
  for (let i = 0; i < 4; i++) {
    await w.produce("q", ...Array.from({ length: 500 }, () => ({ utf8: "x" })));
    const some = (await w.lease("q", 500)).map(({ lease_id }: Json) => lease_id);
    if (i < 3) await w.end("queue.reject", "q", some);
    else leases.push(...some);
  }
  await w.ok("queue.redrive", { queue_name: "dead" });
  for (let i = 0; i < 40; i++) {
    const done = await w.end("queue.reject", "q", leases.slice(i, i + 1));
    assert.deepEqual(done, ["ok"]);
  }
  // A step of the redrive that was in vain is done again after a rest.
  await w.server.until(async () => {
    await w.server.advance("1s");
    const { redrives } = await w.ok("redrives.list", { queue_name: "dead" });
    return redrives[0].state === "done";
  });
  const total = (await waiting(w, "q")) + (await waiting(w, "dead"));
  assert.equal(total, 2_000 - (leases.length - 40));
});
