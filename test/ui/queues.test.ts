// The pages of queues in a real browser, on a live server: what they show, and everything that they do.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { BROWSER, pageOf } from "../support/browser.ts";
import { setup, setupClosed } from "../support/server.ts";

const button = (page: Page, name: string | RegExp) => page.getByRole("button", { name });

test(
  "queues are searched and sorted by the server, and the address says how",
  BROWSER,
  async (t) => {
    const server = await setup(t);
    for (const name of ["orders", "emails", "old-orders"]) await server.createQueue(name);
    await server.produce("emails", "a", "b");
    const page = await pageOf(t, server, "queues");
    await page.getByRole("link", { name: "emails" }).waitFor();

    await page.getByLabel("Search by name").fill("ORDERS");
    await page.getByText("2 queues").waitFor();
    assert.match(page.url(), /search=ORDERS/);
    await page.getByLabel("Search by name").fill("");
    await button(page, "Waiting").click();
    await page.locator("tbody tr").first().getByRole("link", { name: "emails" }).waitFor();
    assert.match(page.url(), /sort=waiting&order=down/);
    await page.reload();
    await page.locator("tbody tr").first().getByRole("link", { name: "emails" }).waitFor();
  },
);

test("thousands of queues are shown a page at a time", BROWSER, async (t) => {
  const server = await setup(t);
  const queues = Array.from({ length: 60 }, (_, i) => ({
    queue_name: `queue-${String(i).padStart(2, "0")}`,
  }));
  await server.ok("/v2/queues.apply", { queues });
  const page = await pageOf(t, server, "queues");
  await button(page, "Next page").click();
  await page.getByRole("link", { name: "queue-59" }).waitFor();
  await button(page, "First page").click();
  await page.getByRole("link", { name: "queue-00" }).waitFor();
});

test("a queue is created with settings of one's own", BROWSER, async (t) => {
  const server = await setup(t);
  const page = await pageOf(t, server, "queues");
  await button(page, "Create a queue").first().click();
  await page.getByLabel("Name", { exact: true }).fill("orders");
  await page.getByText("Settings: what is left").click();
  await page.getByLabel(/^Max attempts/).fill("7");
  await page.getByLabel(/^Retry delay/).fill("3s");
  await button(page, "Create").last().click();
  await page.getByRole("heading", { name: "orders", level: 1 }).waitFor();
  const info = await server.ok("/v2/queues.info", { queue_name: "orders" });
  assert.deepEqual(
    [info.max_attempts, info.retry.delay, info.retry.factor, info.lease_timeout],
    [7, "3s", 2, "1m0s"],
  );
});

test("what a server refuses is said where it was asked for", BROWSER, async (t) => {
  const server = await setup(t);
  const page = await pageOf(t, server, "queues", { mayFail: /400/ });
  await button(page, "Create a queue").first().click();
  await page.getByLabel("Name", { exact: true }).fill("a~b");
  await button(page, "Create").last().click();
  await page.getByRole("alert").getByText("invalid_field").waitFor();
});

test("settings are changed, with what changes shown before", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  const page = await pageOf(t, server, "queues/orders?tab=settings");
  await button(page, "Edit").click();
  await page.getByText("Nothing yet.").waitFor();
  await page.getByLabel(/^Lease timeout/).fill("2m");
  await page.getByLabel(/^Keep their payloads/).check();
  assert.deepEqual(await page.locator(".diff li").allInnerTexts(), [
    "lease_timeout 1m0s → 2m",
    "keep_payload no → yes",
  ]);
  await button(page, "Save 2 changes").click();
  await page.getByText("The settings of orders were changed").waitFor();
  await page.getByRole("definition").getByText("2m0s").waitFor();
  const info = await server.ok("/v2/queues.info", { queue_name: "orders" });
  assert.deepEqual([info.lease_timeout, info.keep_payload], ["2m0s", true]);
});

test(
  "settings that somebody else has changed meanwhile are not overwritten",
  BROWSER,
  async (t) => {
    const server = await setup(t);
    await server.createQueue("orders");
    const page = await pageOf(t, server, "queues/orders?tab=settings", { mayFail: /409|412/ });
    await button(page, "Edit").click();
    await server.ok("/v2/queues.update", { queue_name: "orders", max_attempts: 5 });
    await page.getByLabel(/^Max attempts/).fill("9");
    await button(page, "Save 1 change").click();
    await page.getByRole("alert").waitFor();
    const info = await server.ok("/v2/queues.info", { queue_name: "orders" });
    assert.equal(info.max_attempts, 5);
  },
);

test("a queue is cleared once its name was typed", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  await server.produce("orders", "a", "b");
  const page = await pageOf(t, server, "queues/orders");
  await button(page, "Clear …").click();
  const clear = button(page, "Clear it");
  assert.equal(await clear.isDisabled(), true);
  await page.getByLabel("Type orders to go on").fill("order");
  assert.equal(await clear.isDisabled(), true);
  await page.getByLabel("Type orders to go on").fill("orders");
  await clear.click();
  await page.getByText("orders was cleared").waitFor();
  assert.deepEqual(await server.list("orders"), []);
});

test("a queue is deleted once its name was typed", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  await server.createQueue("emails");
  // The page may ask once more for what has just gone.
  const page = await pageOf(t, server, "queues/orders", { mayFail: /404/ });
  await button(page, "Delete …").click();
  await page.getByLabel("Type orders to go on").fill("orders");
  await button(page, "Delete it").click();
  await page.getByText("1 queue", { exact: true }).waitFor();
  assert.equal((await server.call("/v2/queues.info", { queue_name: "orders" })).status, 404);
});

test("a queue's numbers follow what happens in it", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  const page = await pageOf(t, server, "queues/orders");
  const waiting = page.locator(".figure", { hasText: "Waiting" }).first();
  await waiting.getByText("0", { exact: true }).waitFor();
  await server.produce("orders", "a", "b", "c");
  await waiting.getByText("3", { exact: true }).waitFor();
  await page.locator("canvas").nth(3).waitFor();
});

test("a queue of a namespace is found by its address", BROWSER, async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/namespaces.create", { name: "billing", quotas: { items: 1_000 } });
  const page = await pageOf(t, server, "queues?ns=billing");
  await button(page, "Create a queue").first().click();
  await page.getByLabel("Name", { exact: true }).fill("invoices");
  await button(page, "Create").last().click();
  await page.getByRole("heading", { name: "invoices", level: 1 }).waitFor();
  assert.match(page.url(), /ns=billing/);
  await page.getByText("0 of 1,000").waitFor();
});
