// A queue is stuck, and somebody who has never seen this server opens the dashboard: the overview names the queue and the
// reason in words, without a click.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import type { ServerHooks } from "../../src/server/server.ts";
import { BROWSER, openPage, serveDashboard } from "../support/browser.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { setup, type TestServer } from "../support/server.ts";

// So long a stranger looks.
const MINUTE_MS = 60_000;

async function setupStuck(t: TestContext, hooks: ServerHooks = {}): Promise<TestServer> {
  const server = await setup(t, {}, hooks);
  // Beside one that is well.
  await server.createQueue("emails");
  await server.createQueue("dead-orders");
  await server.createQueue("orders", { dead_queue: "dead-orders", max_attempts: 3 });
  return server;
}

function produce(server: TestServer, count: number, more: object = {}): Promise<unknown> {
  const items = Array.from({ length: count }, (_, i) => ({ utf8: String(i), ...more }));
  return server.ok("/v2/queue.produce", { queue_name: "orders", items });
}

/** What the first page says as soon as it says something of a queue; it leads to the queue. */
async function told(t: TestContext, server: TestServer, reason: RegExp): Promise<void> {
  const { url } = await serveDashboard(t, server);
  const page: Page = await openPage(t, url);
  const lines = page.locator(".warnings li").filter({ hasText: "'orders'" });
  const line = lines.filter({ hasText: reason }).first();
  await line.waitFor({ timeout: MINUTE_MS });
  assert.equal(await page.locator(".warnings li").filter({ hasText: "'emails'" }).count(), 0);
  await line.getByRole("link", { name: "Look at orders" }).click();
  await page.getByRole("heading", { name: "orders", level: 1 }).waitFor();
}

test("nobody asks for its items", BROWSER, async (t) => {
  const server = await setupStuck(t);
  await produce(server, 12);
  await server.advance("20m");
  await told(t, server, /12 items wait .* nobody has asked for any .* Start its consumers/);
});

test("its consumers crash, so that leases end by themselves", BROWSER, async (t) => {
  const server = await setupStuck(t);
  await server.advance("1s");
  await produce(server, 12);
  await server.ok("/v2/queue.lease", { queue_name: "orders", batch_size: 12, client: "c" });
  await server.advance("61s");
  await told(t, server, /12 of 12 leases .* ended by themselves .* consumers have crashed/);
});

test("all of its items are scheduled for later", BROWSER, async (t) => {
  const server = await setupStuck(t);
  await produce(server, 12, { delay: "6h" });
  await told(t, server, /All 12 items .* are scheduled for later/);
});

test("its items are poison, and die", BROWSER, async (t) => {
  const server = await setupStuck(t);
  await produce(server, 6);
  const { items } = await server.ok("/v2/queue.lease", {
    queue_name: "orders",
    batch_size: 6,
    client: "c",
  });
  const leases = items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: "orders", leases });
  await told(t, server, /6 items .* have died .* their consumer gave them up .* 'dead-orders'/);
});

test("its storage fails", BROWSER, async (t) => {
  let faulty: FaultyStorage | undefined;
  const wrapStorage = (storage: ConstructorParameters<typeof FaultyStorage>[0]) => {
    faulty = new FaultyStorage(storage);
    return faulty.storage;
  };
  const server = await setupStuck(t, { wrapStorage });
  faulty!.always("commit", "fail");
  const failed = await server.call("/v2/queue.produce", {
    queue_name: "orders",
    items: [{ utf8: "x" }],
  });
  assert.equal(failed.status, 503);
  await told(t, server, /1 of 1 partitions .* do not work.* storage fails/);
});
