// The dashboard in a real browser: what died, by what it died of, and the way back.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import type { ServerOptions } from "../../src/config/config.ts";
import { assertAccessible } from "../support/accessible.ts";
import { BROWSER, type Opened, openWorld } from "../support/browser.ts";
import type { World } from "../support/items.ts";

const HISTORY = { kept: true, step: 600, at: [1_796_093_400, 1_796_094_000], dead: [1, 4] };

/** A queue "orders" whose items die with their first failed attempt, and go to "orders-dead". */
function dashboard(t: TestContext, options: ServerOptions = {}): Promise<Opened> {
  const settings = { dead_queue: "orders-dead", max_attempts: 1 };
  const stubs = { "v2/queue.history": () => HISTORY };
  return openWorld(t, [{ queue_name: "orders-dead" }, { queue_name: "orders", ...settings }], {
    ...options,
    stubs,
  });
}

/** Produces items that die at once, each of the same error; answers their ids. */
async function die(world: World, count: number, type: string, kind = ""): Promise<string[]> {
  const items = Array.from({ length: count }, (_, json) => ({ json, ...(kind && { kind }) }));
  const ids = await world.produce("orders", ...items);
  const leases = (await world.lease("orders", count)).map(({ lease_id }) => lease_id);
  const error = { type, message: "no luck" };
  await world.end("queue.reject", "orders", leases, { error });
  return ids;
}

const group = (page: Page, type: string) => page.getByRole("row").filter({ hasText: type });

const waiting = async (world: World, queue: string): Promise<number> =>
  (await world.ok("queue.stats", { queue_name: queue })).totals.waiting;

test("what died is grouped, with how many, one of them, and how many more", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const ids = await die(world, 3, "SmtpError", "mail");
  await die(world, 1, "DiskError");
  const page = await open("queues/orders/dead");
  await group(page, "SmtpError: no luck").getByRole("cell", { name: "3", exact: true }).waitFor();
  await group(page, "DiskError: no luck").getByText("rejected").waitFor();
  await page.getByText("5 died in the last 24 hours").waitFor();
  await die(world, 2, "SmtpError", "mail");
  await page.keyboard.press("u");
  await group(page, "SmtpError").getByRole("cell", { name: "+2", exact: true }).waitFor();
  await group(page, "SmtpError").getByRole("link", { name: "Items" }).click();
  await page.getByRole("row").filter({ hasText: ids[0]! }).waitFor();
  assert.equal(await page.getByRole("row").count(), 6);
  await page.goBack();
  await group(page, "SmtpError").getByRole("link", { name: "Sample" }).click();
  await page.getByText("Died (rejected)", { exact: true }).waitFor();
  await page.getByText("1 attempt · SmtpError: no luck").waitFor();
});

test("a few of one group are put back first", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  await die(world, 5, "SmtpError");
  await die(world, 2, "DiskError");
  const page = await open("queues/orders-dead/dead");
  await group(page, "SmtpError").getByRole("button", { name: "Put back" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("5 would move.").waitFor();
  assert.equal(await waiting(world, "orders"), 0, "a dry run moves nothing");
  await dialog.getByLabel("At most so many").fill("some");
  await dialog.getByText("This is no whole number.").waitFor();
  assert.equal(await dialog.getByRole("button", { name: "Begin" }).isDisabled(), true);
  await dialog.getByLabel("At most so many").fill("2");
  await dialog.getByLabel("So many a second").fill("1000");
  await dialog.getByRole("button", { name: "Begin" }).click();
  await page.getByRole("row").filter({ hasText: "done" }).waitFor();
  await group(page, "SmtpError").getByRole("cell", { name: "3", exact: true }).waitFor();
  assert.equal(await waiting(world, "orders"), 2);
  assert.equal(await waiting(world, "orders-dead"), 5);
});

test("a redrive stops if what it has put back dies again", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  await die(world, 50, "SmtpError");
  const page = await open("queues/orders/dead");
  await page.getByRole("button", { name: "Put all back …" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("So many a second").fill("10");
  await dialog.getByLabel(/^Stop if/).fill("20");
  await dialog.getByRole("button", { name: "Begin" }).click();
  await page.getByRole("row").filter({ hasText: "running" }).waitFor();
  const stopped = page.getByRole("row").filter({ hasText: "stopped: they died again" });
  for (let looks = 0; looks < 100 && (await stopped.count()) === 0; looks++) {
    const leases = (await world.lease("orders", 10)).map(({ lease_id }) => lease_id);
    await world.end("queue.reject", "orders", leases, { error: { type: "Again" } });
    const { redrives } = await world.ok("redrives.list", { queue_name: "orders-dead" });
    if (redrives[0].state !== "running") break;
  }
  await stopped.waitFor();
});

test("a redrive is ended where it is", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  await die(world, 20, "SmtpError");
  await world.ok("queue.redrive", { queue_name: "orders-dead", rate: 1 });
  const page = await open("queues/orders-dead/redrives");
  await page.getByRole("button", { name: "End it" }).click();
  await page.getByText("what has moved stays moved").waitFor();
  await page.getByRole("row").filter({ hasText: "cancelled" }).waitFor();
  const { redrives } = await world.ok("redrives.list", { queue_name: "orders-dead" });
  assert.equal(redrives[0].state, "cancelled");
  assert.ok((await waiting(world, "orders-dead")) > 0);
});

test("single items, and all that match, are put back", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const [one] = await die(world, 1, "DiskError", "disk");
  await die(world, 4, "SmtpError", "mail");
  const others = await die(world, 2, "SmtpError", "sms");
  const page = await open(`queues/orders/items/${one}`);
  await page.getByRole("button", { name: "Put back" }).waitFor();
  await page.keyboard.press("b");
  await page.getByRole("button", { name: "Put 1 back" }).click();
  await page.getByText("Done: 1 of 1.").waitFor();
  assert.equal(await world.state(one!), "waiting");
  await page.goto(page.url().replace(/#.*/, "#/queues/orders-dead/items?state=dead&kind=mail"));
  await page.getByRole("button", { name: "Put all back …" }).click();
  await page.getByText("It would be done to 4.").waitFor();
  await page.getByRole("button", { name: "Put 4 back" }).click();
  await page.getByText("Done: 4 of 4.").waitFor();
  assert.equal(await waiting(world, "orders"), 5);
  await page.keyboard.press("Escape");
  const filter = "#/queues/orders-dead/items?state=dead&error_type=SmtpError";
  await page.goto(page.url().replace(/#.*/, filter));
  await page.getByRole("row").filter({ hasText: others[0]! }).waitFor();
  await page.getByRole("button", { name: "Put all back …" }).click();
  await page.getByText("It would be done to 2.").waitFor();
  await page.getByRole("button", { name: "Put 2 back" }).click();
  await page.getByText("Done: 2 of 2.").waitFor();
  assert.equal(await waiting(world, "orders"), 7);
});

test("nothing is put back where the server is read-only", BROWSER, async (t) => {
  const { world, open } = await dashboard(t, { ui: "read-only" });
  await die(world, 1, "SmtpError");
  const page = await open("queues/orders/dead");
  const button = group(page, "SmtpError").getByRole("button", { name: "Put back" });
  assert.equal(await button.isDisabled(), true);
  for (const key of ["r", "?"]) await page.keyboard.press(key);
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  assert.equal(await page.getByRole("dialog").count(), 1);
});

test("the pages of dead letters can be used by everybody, and on a phone", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  await die(world, 3, "SmtpError", "mail");
  const page = await open("queues/orders/dead", { viewport: { width: 390, height: 844 } });
  await group(page, "SmtpError").waitFor();
  await assertAccessible(page);
  await page.keyboard.press("r");
  await page.getByText("3 would move.").waitFor();
  await assertAccessible(page);
  await page.getByRole("button", { name: "Begin" }).click();
  await page.getByRole("row").filter({ hasText: "done" }).waitFor();
  await page.goto(page.url().replace(/#.*/, "#/queues/orders-dead/redrives"));
  await page.getByRole("row").filter({ hasText: "done" }).waitFor();
  await assertAccessible(page);
});
