// Whether everybody can use the dashboard: what axe-core finds in each page, dark and light, wide and narrow; by keys alone;
// and what it weighs.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { assertAccessible } from "../support/accessible.ts";
import { faultsIn } from "../support/axe.ts";
import { BROWSER, openPage, serveDashboard } from "../support/browser.ts";
import { ADMIN_KEY, setupClosed, type TestServer } from "../support/server.ts";

const BYTES_MAX = 60_000;
const PHONE = { width: 360, height: 740 };

/** What there is to see of each page. */
const PAGES: readonly (readonly [hash: string, shown: (page: Page) => Promise<unknown>])[] = [
  ["overview", (page) => page.locator("canvas").nth(1).waitFor()],
  ["queues", (page) => page.getByRole("link", { name: "orders", exact: true }).waitFor()],
  ["queues/orders", (page) => page.locator("canvas").nth(3).waitFor()],
  ["queues/orders?tab=consumers", (page) => page.getByText("client-").first().waitFor()],
  ["queues/orders?tab=settings", (page) => page.getByText("Lease timeout").waitFor()],
  ["queues/orders?tab=partitions", (page) => page.getByText("Failures").waitFor()],
  ["queues/orders/items", (page) => page.getByRole("cell", { name: "waiting" }).waitFor()],
  ["queues/orders/items?state=dead", (page) => page.getByText("No item fits").waitFor()],
  ["queues/orders/dead", (page) => page.getByText("Nothing is dead here").waitFor()],
  ["queues/dead-orders/redrives", (page) => page.getByText("Nothing was put back").waitFor()],
  ["namespaces", (page) => page.getByRole("link", { name: "billing" }).waitFor()],
  ["namespaces/billing", (page) => page.getByText("0 of 1,000").waitFor()],
  ["users", (page) => page.getByRole("cell", { name: "jane" }).first().waitFor()],
  ["roles", (page) => page.getByRole("cell", { name: "Viewer standard", exact: true }).waitFor()],
  ["bindings", (page) => page.getByRole("cell", { name: "Operator" }).first().waitFor()],
  ["keys", (page) => page.getByRole("cell", { name: "worker" }).first().waitFor()],
  ["audit", (page) => page.getByRole("cell", { name: "keys.create" }).waitFor()],
  ["cluster", (page) => page.getByRole("cell", { name: "memory" }).first().waitFor()],
  ["settings", (page) => page.getByRole("row", { name: "Audit Yes" }).waitFor()],
  ["try?queue=orders", (page) => page.getByText("Counts what is in a queue").waitFor()],
];

/** What is asked on the pages about access; the last one is answered with a key. */
const DIALOGS = [
  ["namespaces", "Create a namespace"],
  ["users", "Delete … jane"],
  ["roles", "Create a role"],
  ["roles", "Look at Viewer"],
  ["bindings", "Give a role"],
  ["keys", "Create a key"],
  ["keys", "Revoke … worker"],
  ["keys", "Rotate … worker"],
] as const;

function opened(...[t, url, options]: Parameters<typeof openPage>): Promise<Page> {
  return openPage(t, url, { key: ADMIN_KEY, ...options });
}

async function busyServer(t: Parameters<typeof setupClosed>[0]): Promise<TestServer> {
  const server = await setupClosed(t);
  await server.createQueue("dead-orders");
  await server.createQueue("orders", { dead_queue: "dead-orders", max_attempts: 1 });
  await server.produce("orders", "a", "b");
  await server.lease("orders");
  await server.ok("/v2/namespaces.create", { name: "billing", quotas: { items: 1_000 } });
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  await server.ok("/v2/bindings.create", { user_id, role_name: "Operator" });
  await server.ok("/v2/keys.create", { user_id, name: "worker" });
  return server;
}

test("axe finds nothing in any page, in light and in dark colours", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  const page = await opened(t, url);
  for (const [hash, shown] of PAGES) {
    await page.goto(`${url}#/${hash}`);
    await shown(page);
    await assertAccessible(page, hash);
  }
});

test("axe finds nothing in the dialogs, in light and in dark colours", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  const page = await opened(t, `${url}#/queues`);
  await page.getByRole("button", { name: "Create a queue" }).click();
  await page.getByText("Settings: what is left").click();
  await assertAccessible(page);
  await page.keyboard.press("Escape");
  await page.goto(`${url}#/queues/orders?tab=settings`);
  await page.getByRole("button", { name: "Edit" }).click();
  await page.getByLabel("Max attempts").fill("3");
  await assertAccessible(page);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Clear …" }).click();
  await assertAccessible(page);
  for (const [hash, name] of DIALOGS) {
    await page.keyboard.press("Escape");
    await page.goto(`${url}#/${hash}`);
    await page.getByRole("button", { name }).first().click();
    await page.getByRole("dialog").waitFor();
    await assertAccessible(page, name);
  }
  await page.getByRole("button", { name: "Make the new key" }).click();
  await page.getByRole("button", { name: "Copy" }).waitFor();
  await assertAccessible(page);
});

test("a phone shows every page without scrolling sideways", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  const page = await opened(t, url, { viewport: PHONE, hasTouch: true });
  for (const [hash, shown] of PAGES) {
    await page.goto(`${url}#/${hash}`);
    await shown(page);
    assert.equal(await page.evaluate("document.documentElement.scrollWidth"), PHONE.width, hash);
    assert.deepEqual(await faultsIn(page), [], hash);
  }
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
});

test("everything is reached by keys, and ? says by which", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  const page = await opened(t, url);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await help.getByText("Go to Queues").waitFor();
  assert.deepEqual(await faultsIn(page), []);
  await page.keyboard.press("Escape");
  await help.waitFor({ state: "detached" });

  await page.keyboard.press("g");
  await page.keyboard.press("q");
  await page.getByRole("link", { name: "orders", exact: true }).waitFor();
  await page.keyboard.press("t");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "orders", exact: true, level: 1 }).waitFor();
  await page.keyboard.press("3");
  await page.getByRole("button", { name: "Edit" }).waitFor();
});

test("what is typed into a field is no shortcut", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  const page = await opened(t, `${url}#/queues`);
  await page.getByRole("link", { name: "orders", exact: true }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("c?go");
  await page.getByText("No queue has “c?go” in its name").waitFor();
});

test("colours and the zone of times are as somebody has chosen, also later", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  const page = await opened(t, `${url}#/queues/orders?tab=settings`, {
    timezoneId: "Asia/Kolkata",
  });
  const created = page.locator("dl.pairs time").last();
  const shown = async (): Promise<string> => {
    await created.waitFor();
    return (await created.allInnerTexts()).join();
  };
  assert.match(await shown(), /Z$/);
  const utc = new Date(await shown());
  await page.getByLabel("Colours").selectOption("dark");
  await page.getByLabel("Times in UTC").uncheck();
  await page.reload();
  await page.locator("html[data-theme=dark]").waitFor();
  const local = new Date(`${(await shown()).replace(" ", "T")}+05:30`);
  assert.equal(local.getTime(), utc.getTime());
});

test("a browser loads no more than 60 kB for any page", BROWSER, async (t) => {
  const { url } = await serveDashboard(t, await busyServer(t));
  for (const [hash, shown] of PAGES) {
    const page = await opened(t, "about:blank");
    const loaded: Promise<readonly [path: string, bytes: number]>[] = [];
    page.on("requestfinished", (request) => {
      if (!/\.(js|css|svg|html)$|\/ui\/$/.test(request.url())) return;
      loaded.push(request.sizes().then((sizes) => [request.url(), sizes.responseBodySize]));
    });
    await page.goto(`${url}#/${hash}`);
    await shown(page);
    const files = await Promise.all(loaded);
    const all = files.reduce((sum, [, bytes]) => sum + bytes, 0);
    t.diagnostic(`${hash}: ${all} bytes in ${files.length} files`);
    assert.ok(all > 10_000 && all <= BYTES_MAX, `${hash}: ${all} bytes, ${files.join("; ")}`);
  }
});
