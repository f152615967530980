// What waits in a queue that is deleted is told so at once, and that it is in vain to come again.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { World } from "../support/items.ts";
import { setup } from "../support/server.ts";

for (const threads of [1, 2]) {
  describe(`with ${threads} thread(s)`, () => {
    test("leases and waits for items end with 404 when their queue is deleted", async (t) => {
      const w = new World(await setup(t, { threads }));
      // Queues are spread over the threads: one of these is at home elsewhere.
      for (const queue of ["a", "b"]) {
        await w.server.createQueue(queue);
        const [id] = await w.produce(queue, { utf8: "x", delay: "1h" });
        const request_timeout = "10m";
        const waits = [
          w.call("item.wait", { id, request_timeout }),
          w.call("queue.lease", { queue_name: queue, request_timeout }),
        ];
        // What is asked of a queue is done in its order: the item is waited for by then.
        await w.server.until(async () => {
          await w.ok("item.explain", { id });
          return (await w.server.stats(queue)).lease_waiting === 1;
        });
        await w.ok("queues.delete", { queue_name: queue });
        for (const { status, body } of await Promise.all(waits)) {
          const { code, retryable = false, detail, details } = body;
          assert.deepEqual([status, code, retryable], [404, "queue_not_found", false]);
          assert.equal(detail, `queue does not exist; no such queue named '${queue}'`);
          assert.deepEqual(details, { queue_name: queue });
        }
      }
    });
  });
}

test("under /v1 a lease is told what it always was when its queue is deleted", async (t) => {
  const w = new World(await setup(t));
  await w.server.createQueue("q");
  const request = { queue_name: "q", client_id: "c", batch_size: 1, request_timeout: "10m" };
  const lease = w.server.call("/v1/queue.lease", request);
  await w.server.until(async () => (await w.server.stats("q")).lease_waiting === 1);
  await w.ok("queues.delete", { queue_name: "q" });
  const { status, body } = await lease;
  assert.deepEqual([status, body.message], [453, "queue is shutting down"]);
});
