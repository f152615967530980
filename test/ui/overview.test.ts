// The overview in a real browser: what it shows of a server with work on it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BROWSER, openPage, serveDashboard } from "../support/browser.ts";
import { setup } from "../support/server.ts";

test("the overview shows what the server has, exactly", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  for (let i = 0; i < 3; i++) {
    await server.produce("orders", ...Array.from({ length: 500 }, () => "a"));
  }
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, url);
  const waiting = page.locator(".figure", { hasText: "Waiting" }).first();
  await waiting.getByText("1,500", { exact: true }).waitFor();
  await waiting.getByRole("link").click();
  await page.locator("tbody tr").first().getByText("orders").waitFor();
  assert.match(page.url(), /#\/queues\?sort=waiting&order=down$/);
});

test("warnings are told in words, and lead to their queue", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  await server.produce("orders", "a");
  await server.advance("20m");
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, url);
  await page.getByRole("heading", { name: "What is wrong" }).waitFor();
  await page.getByRole("link", { name: "Look at orders" }).first().click();
  await page.getByRole("heading", { name: "orders", level: 1 }).waitFor();
});
