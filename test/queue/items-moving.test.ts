// Single items that are asked for while they move from one queue into another: they are found, wherever they are by
// then.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setup, type TestServer } from "../support/server.ts";

interface Moving {
  readonly server: TestServer;
  readonly id: string;
}

/** An item in a dead queue that stands still, and that moves it back where it came from as soon as it goes on. */
async function moving(t: TestContext): Promise<Moving> {
  const server = await setup(t);
  await server.createQueue("dead");
  await server.createQueue("jobs", { dead_queue: "dead" });
  await server.ok("/v2/queue.produce", { queue_name: "jobs", items: [{}, {}] });
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "jobs", batch_size: 2 });
  const leases = items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: "jobs", leases });
  await server.advance("1s"); // from now on time stands still
  const { id: redrive } = await server.ok("/v2/queue.redrive", { queue_name: "dead", rate: 1 });
  await server.until(async () => {
    const info = await server.ok("/v2/redrives.info", { queue_name: "dead", id: redrive });
    return info.moved === 1;
  });
  await server.ok("dev.pause", { queue_name: "dead" });
  await server.advance("2s");
  return { server, id: items[1].id };
}

const CALLS = {
  "item.get": {},
  "item.explain": {},
  "item.wait": { request_timeout: "10ms" },
  "item.update": { expire_in: "1h" },
};

for (const [call, more] of Object.entries(CALLS)) {
  test(`${call} finds an item that is redriven while it is looked for`, async (t) => {
    const { server, id } = await moving(t);
    const asked = server.call(`/v2/${call}`, { id, ...more });
    // It has been looked for in its queue, where it is not yet.
    for (let i = 0; i < 3; i++) await server.ok("/v2/item.get", { id: await idOfFirst(server) });
    await server.ok("dev.resume", { queue_name: "dead" });
    if (call === "item.wait") await server.ok("dev.clock", { run: true });
    const { status, body } = await asked;
    assert.deepEqual([status, body.state], [200, "waiting"]);
  });
}

test("an item that is redriven while it is cancelled never comes back", async (t) => {
  const { server, id } = await moving(t);
  const asked = server.call("/v2/item.cancel", { id });
  for (let i = 0; i < 3; i++) await server.ok("/v2/item.get", { id: await idOfFirst(server) });
  await server.ok("dev.resume", { queue_name: "dead" });
  const { status, body } = await asked;
  assert.deepEqual([status, body.state], [200, "cancelled"]);
});

async function idOfFirst(server: TestServer): Promise<string> {
  const { items } = await server.ok("/v2/items.list", { queue_name: "jobs" });
  return items[0].id;
}
