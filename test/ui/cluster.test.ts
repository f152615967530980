// The page of the server in a real browser: what is wrong with it; and what it holds at the moment, which is shown to who
// asks for it and may see it, and to nobody before.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Locator, Page } from "playwright-core";
import { faultsIn } from "../support/axe.ts";
import { BROWSER, openPage, serveDashboard } from "../support/browser.ts";
import { setup, setupClosed } from "../support/server.ts";

const PHONE = { width: 360, height: 740 };

const show = (page: Page): Promise<void> =>
  page.getByRole("button", { name: "Show it", exact: true }).click();
const threads = (page: Page): Locator => page.getByRole("region", { name: "Threads" });

for (const colorScheme of ["light", "dark"] as const) {
  test(
    `what a server holds is shown once it is asked for, in ${colorScheme} colours`,
    BROWSER,
    async (t) => {
      const server = await setupClosed(t);
      await server.ok("/v2/queues.create", { queue_name: "orders" });
      const { url } = await serveDashboard(t, server);
      const options = { key: server.key, colorScheme, viewport: PHONE };
      const page = await openPage(t, `${url}#/settings`, options);
      const asked: string[] = [];
      page.on("request", (request) => asked.push(new URL(request.url()).pathname));
      await page.goto(`${url}#/cluster`);
      await page.getByText("Works").first().waitFor();
      assert.equal(asked.includes("/v2/debug.dump"), false);

      await show(page);
      await threads(page).locator("tbody tr").first().waitFor();
      await page.locator(".tree", { hasText: "orders" }).first().waitFor();
      assert.equal(asked.filter((path) => path === "/v2/debug.dump").length, 1);
      assert.deepEqual(await faultsIn(page), []);
      assert.equal(await page.evaluate("document.documentElement.scrollWidth"), PHONE.width);
      await page.getByRole("button", { name: "Show it again" }).waitFor();
    },
  );
}

test("what is wrong with a server is read on a phone, however long it is", BROWSER, async (t) => {
  const warning = {
    code: "thread_busy",
    severity: "warning",
    text: "Thread 0 is busy. ".repeat(20),
  };
  const overview = { version: "1", mode: "serving", started_at: "2026-01-01T00:00:00Z" };
  const told = { ...overview, whole: true, threads: 1, storages: [], warnings: [warning] };
  const server = await setup(t);
  const { url } = await serveDashboard(t, server, { stubs: { "v2/server.overview": () => told } });
  const page = await openPage(t, `${url}#/cluster`, { viewport: PHONE });
  await page.getByText("Thread 0 is busy.").waitFor();
  assert.equal(await page.evaluate("document.documentElement.scrollWidth"), PHONE.width);
  assert.deepEqual(await faultsIn(page), []);
});

test("a thread that is silent, and queues that are left out, are told", BROWSER, async (t) => {
  const dump = {
    server: { version: "1", node: "26", mode: "serving" },
    threads: [
      { thread: 0, busy: 0.256, latest: "12ms", heap_bytes: 2_048, connections: 1_234 },
      { thread: 1, silent: true },
    ],
    queues: [],
    queues_left_out: 4_900,
  };
  const server = await setup(t);
  const { url } = await serveDashboard(t, server, { stubs: { "v2/debug.dump": () => dump } });
  const page = await openPage(t, `${url}#/cluster`);
  await show(page);
  await page.getByText("There are 4,900 more queues").waitFor();
  const rows = await threads(page).locator("tbody tr").allInnerTexts();
  assert.match(rows[0]!, /^0\s+26 %\s+12 ms\s+2 KiB\s+1,234\s+0\s+0$/);
  assert.match(rows[1]!, /^1\s+■\s+Does not answer(\s+–){6}$/);
});

test("who may not see what a server holds reads which permission it takes", BROWSER, async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/namespaces.create", { name: "billing" });
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const binding = { namespace: "billing", user_id, role_name: "NamespaceOwner" };
  await server.ok("/v2/bindings.create", binding);
  const { key } = await server.ok("/v2/keys.create", { user_id, namespace: "billing" });
  const { url } = await serveDashboard(t, server);
  const page = await openPage(t, `${url}#/cluster`, { key, mayFail: /403/ });
  await show(page);
  await page.getByRole("alert").getByText("It takes the permission system.debug").waitFor();
  assert.equal(await threads(page).count(), 0);
});

test(
  "what a server holds can be looked at where the dashboard is read-only",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t, { ui: "read-only" });
    const { url } = await serveDashboard(t, server);
    const page = await openPage(t, `${url}#/cluster`, { key: server.key });
    await show(page);
    await threads(page).locator("tbody tr").first().waitFor();
  },
);

test(
  "the audit and the server say what it means that no keys are asked for",
  BROWSER,
  async (t) => {
    const { url } = await serveDashboard(t, await setup(t));
    const page = await openPage(t, `${url}#/audit`);
    await page.getByText("started with --auth keys").waitFor();
    await page.goto(`${url}#/cluster`);
    await page.getByRole("heading", { name: "Cluster and storage", level: 1 }).waitFor();
    await page.getByText("started with --auth keys").waitFor();
  },
);
