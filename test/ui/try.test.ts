// The dashboard in a real browser: sending a test item, and calling any method.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import { assertAccessible } from "../support/accessible.ts";
import { BROWSER, type Opened, openPage, openWorld, serveDashboard } from "../support/browser.ts";
import { setupClosed } from "../support/server.ts";

function dashboard(t: TestContext, options: ServerOptions = {}): Promise<Opened> {
  return openWorld(t, [{ queue_name: "orders" }], options);
}

test("a test item is sent as it was typed", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const page = await open("try?queue=orders");
  await page.getByLabel(/^Payload/).fill("{ no");
  await page.getByText("This is not JSON.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Send" }).isDisabled(), true);
  await page.getByLabel(/^Payload/).fill('{"name":"Ada"}');
  await page.getByLabel("Kind").fill("mail");
  await page.getByLabel("Delay").fill("1h");
  await page.locator("summary").click();
  await page.getByLabel(/^Headers/).fill("tenant: acme");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("scheduled:").waitFor();
  const [item] = (await world.ok("items.list", { queue_name: "orders", state: "scheduled" })).items;
  const { json, kind, headers } = await world.get(item.id, { payload: true });
  assert.deepEqual(
    { json, kind, headers },
    { json: { name: "Ada" }, kind: "mail", headers: { tenant: "acme" } },
  );
  await page.getByRole("link", { name: item.id }).click();
  await page.getByText("Leasable", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Send one like it" }).click();
  const kindField = page.getByLabel("Kind");
  await world.server.until(async () => (await kindField.inputValue()) === "mail");
  await page.getByRole("button", { name: "text" }).first().click();
  await page.getByLabel(/^Payload/).fill("plain");
  await page.getByLabel(/^Payload/).press("Control+Enter");
  await page.getByText("created:").waitFor();
  const [text] = (await world.ok("items.list", { queue_name: "orders", payload: true })).items;
  assert.deepEqual([text.utf8, text.headers], ["plain", { tenant: "acme" }]);
});

test("why an item is refused is shown", BROWSER, async (t) => {
  const { open } = await dashboard(t);
  const page = await open("try?queue=nowhere", { mayFail: /404/ });
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("queue_not_found").waitFor();
});

test("any method is called with its example, and its answer is shown", BROWSER, async (t) => {
  const { world, open } = await dashboard(t);
  const page = await open("try?queue=orders", { mayFail: /404/ });
  await page.getByLabel("Search methods").fill("queues.in");
  await page.getByLabel(/^Method/).selectOption("queues.info");
  assert.match(page.url(), /method=queues\.info/);
  await page.getByText("200 OK").waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Call queues.info" }).click();
  await page.getByText("200 OK").waitFor();
  await page.getByText(/^\d+ ms · \d+ bytes$/).waitFor();
  await page.getByText('"orders"', { exact: true }).waitFor();
  await page.getByLabel(/^Body/).fill('{"queue_name":"nowhere"}');
  await page.getByRole("button", { name: "Call queues.info" }).click();
  await page.getByText("404").first().waitFor();
  await page.getByRole("button", { name: "Text", exact: true }).click();
  await page.getByText('"code": "queue_not_found"').waitFor();
  await page.getByLabel("Search methods").fill("produce");
  await page.getByLabel(/^Method/).selectOption("queue.produce");
  await page
    .getByLabel(/^Body/)
    .fill('{"queue_name":"orders","items":[{"json":12345678901234567890}]}');
  await page.getByRole("button", { name: "Call queue.produce" }).click();
  await page.getByText("200 OK").waitFor();
  const reply = await fetch(`${world.server.server.address}/v2/items.list`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"queue_name":"orders","payload":true}',
  });
  assert.match(await reply.text(), /12345678901234567890/, "no number is changed on the way");
});

test("a method is called with the key at hand", BROWSER, async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/queues.create", { queue_name: "orders" });
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, `${url}#/try?queue=orders`, { key: server.key });
  await page.getByRole("button", { name: "Call queue.stats" }).click();
  await page.getByText("200 OK").waitFor();
});

test("what changes nothing is called where the server is read-only", BROWSER, async (t) => {
  const { open } = await dashboard(t, { ui: "read-only" });
  const page = await open("try?queue=orders&method=queue.clear");
  await page.getByRole("button", { name: "Call queue.clear" }).waitFor();
  for (const name of ["Send", "Call queue.clear"]) {
    assert.equal(await page.getByRole("button", { name }).isDisabled(), true, name);
  }
  await page.getByLabel(/^Method/).selectOption("queue.stats");
  await page.getByRole("button", { name: "Call queue.stats" }).click();
  await page.getByText("200 OK").waitFor();
});

test("the page can be used by everybody, and on a phone", BROWSER, async (t) => {
  const { open } = await dashboard(t);
  const page = await open("try?queue=orders", { viewport: { width: 390, height: 844 } });
  await page.getByRole("button", { name: "Call queue.stats" }).click();
  await page.getByText("200 OK").waitFor();
  await assertAccessible(page);
});
