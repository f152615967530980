// The dashboard in a real browser: its frame, and how one gets in.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BROWSER, openPage, serveDashboard } from "../support/browser.ts";
import { ADMIN_KEY, setup, setupClosed } from "../support/server.ts";

test("the queues of a server are shown", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, `${url}#/queues`);
  await page.getByRole("link", { name: "orders" }).waitFor();
  assert.equal(await page.title(), "Queues · Querator");
});

test("a key is asked for where there has to be one", BROWSER, async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/queues.create", { queue_name: "orders" });
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, `${url}#/queues`, { mayFail: /401/ });
  await page.getByLabel("API key").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("does not accept this key").waitFor();
  await page.getByLabel("API key").fill(ADMIN_KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "orders" }).waitFor();
});
