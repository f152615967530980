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

test("it works behind a proxy under a prefix", BROWSER, async (t) => {
  const server = await setup(t);
  await server.createQueue("orders");
  const { url } = await serveDashboard(t, server, { prefix: "/tools/queues" });
  const page = await openPage(t, url);
  await page.getByRole("link", { name: "Queues" }).first().click();
  await page.getByRole("link", { name: "orders" }).click();
  await page.getByRole("heading", { name: "orders", level: 1 }).waitFor();
});

test("where it is read-only, what changes something is off", BROWSER, async (t) => {
  const server = await setup(t, { ui: "read-only" });
  await server.createQueue("orders");
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, `${url}#/queues/orders`);
  await page.getByText("Read-only").first().waitFor();
  for (const name of ["Clear …", "Delete …"]) {
    assert.equal(await page.getByRole("button", { name }).isDisabled(), true, name);
  }
});

test("what a key may not see is named", BROWSER, async (t) => {
  const server = await setupClosed(t);
  const { id } = await server.ok("/v2/users.create", { username: "nobody" });
  const { key } = await server.ok("/v2/keys.create", { user_id: id });
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, `${url}#/queues`, { key, mayFail: /403/ });
  await page.getByRole("alert").getByText("It takes the permission queue.list").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").waitFor();
  assert.equal(await page.evaluate("sessionStorage.length"), 0);
});

test(
  "it says so while the server does not answer, and goes on when it does",
  BROWSER,
  async (t) => {
    const server = await setup(t);
    await server.createQueue("orders");
    let isAway = false;
    const { url } = await serveDashboard(t, server, { isAway: () => isAway });
    const page = await openPage(t, `${url}#/queues`);
    await page.getByRole("link", { name: "orders" }).waitFor();
    isAway = true;
    await page.getByText("The server does not answer").waitFor();
    // Not loaded yet: it is when the server is back.
    await page.getByRole("link", { name: "Overview" }).click();
    isAway = false;
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await page.getByText("The server does not answer").waitFor({ state: "detached" });
  },
);
