// The pages about access and the server in a real browser, on a live server: what they show, and everything that they do.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { BROWSER, pageOf } from "../support/browser.ts";
import { setup, setupClosed, type TestServer } from "../support/server.ts";

const button = (page: Page, name: string | RegExp) => page.getByRole("button", { name });
const dialog = (page: Page) => page.getByRole("dialog");
const cell = (page: Page, name: string) => page.getByRole("cell", { name, exact: true });

async function userOf(server: TestServer, username: string): Promise<string> {
  return (await server.ok("/v2/users.create", { username })).id;
}

/** A key that is for one namespace only, in which it may do what the role allows. */
async function keyIn(server: TestServer, namespace: string, role: string): Promise<string> {
  await server.ok("/v2/namespaces.create", { name: namespace });
  const user_id = await userOf(server, `of-${namespace}`);
  await server.ok("/v2/bindings.create", { namespace, user_id, role_name: role });
  return (await server.ok("/v2/keys.create", { user_id, namespace })).key;
}

test(
  "a namespace is made, its quotas are shown with what is used, and changed",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const page = await pageOf(t, server, "namespaces");
    await button(page, "Create a namespace").click();
    await dialog(page).getByLabel("Name", { exact: true }).fill("billing");
    await dialog(page).getByLabel("Description").fill("Invoices");
    await dialog(page).getByLabel("Items", { exact: true }).fill("many");
    await page.getByText("This is no whole number").waitFor();
    assert.equal(await button(page, "Create").last().isDisabled(), true);
    await dialog(page).getByLabel("Items", { exact: true }).fill("1,000");
    await button(page, "Create").last().click();
    await page.getByRole("heading", { name: "billing", level: 1 }).waitFor();
    await page.getByText("0 of 1,000").waitFor();

    await button(page, "Edit").click();
    await dialog(page).getByLabel("Queues", { exact: true }).fill("7");
    await button(page, "Save").click();
    await page.getByText("0 of 7").waitFor();
    const { description, quotas } = await server.ok("/v2/namespaces.info", { name: "billing" });
    assert.deepEqual([description, quotas.items, quotas.queues], ["Invoices", 1_000, 7]);
  },
);

test(
  "a namespace is deleted once its name was typed, and not while it has queues",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const key = await keyIn(server, "old", "NamespaceOwner");
    await server.as(key).ok("/v2/queues.create", { queue_name: "orders" });
    const page = await pageOf(t, server, "namespaces", { mayFail: /40[0-9]/ });
    await page.getByRole("link", { name: "old" }).click();
    await button(page, "Delete …").click();
    assert.equal(await button(page, "Delete it").isDisabled(), true);
    await page.getByLabel("Type old to go on").fill("old");
    await button(page, "Delete it").click();
    await page.getByRole("alert").getByText("namespace").first().waitFor();
    await server.as(key).ok("/v2/queues.delete", { queue_name: "orders" });
    const [binding] = (await server.ok("/v2/bindings.list", { namespace: "old" })).bindings;
    const { user_id, role_name } = binding;
    await server.ok("/v2/bindings.delete", { namespace: "old", user_id, role_name });
    await button(page, "Delete it").click();
    await page.getByText("old was deleted").waitFor();
    await cell(page, "_system").waitFor();
    assert.equal((await server.call("/v2/namespaces.info", { name: "old" })).status, 404);
  },
);

test(
  "a user is made, leads to its keys, and is deleted once its name was typed",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const page = await pageOf(t, server, "users");
    await button(page, "Create a user").click();
    await dialog(page).getByLabel("Name", { exact: true }).fill("jane");
    await dialog(page).getByLabel("Email").fill("jane@example.com");
    await button(page, "Create").last().click();
    await cell(page, "jane@example.com").waitFor();

    await page.getByRole("link", { name: "Keys jane" }).click();
    await page.getByText("There is no key").waitFor();
    await page.goBack();
    await button(page, "Delete … jane").click();
    await page.getByLabel("Type jane to go on").fill("jane");
    await button(page, "Delete it").click();
    await cell(page, "jane").waitFor({ state: "detached" });
    const { users } = await server.ok("/v2/users.list", {});
    assert.equal(
      users.some((each: { username: string }) => each.username === "jane"),
      false,
    );
  },
);

test(
  "a role is made of boxes that are ticked, changed and deleted; standard ones are only looked at",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const page = await pageOf(t, server, "roles");
    const rolesOf = async (): Promise<string[][]> =>
      (await server.ok("/v2/roles.list", {})).roles
        .filter((each: { is_standard: boolean }) => !each.is_standard)
        .map((each: { name: string; permissions: string[] }) => [each.name, ...each.permissions]);
    await button(page, "Create a role").click();
    await dialog(page).getByLabel("Name", { exact: true }).fill("shipper");
    await dialog(page).getByLabel("queue.lease").check();
    await dialog(page).getByLabel("queue.complete").check();
    await page.getByText("2 chosen").waitFor();
    await button(page, "Create").last().click();
    await page.getByText("shipper was made").waitFor();
    assert.deepEqual(await rolesOf(), [["shipper", "queue.lease", "queue.complete"]]);

    await button(page, "Edit shipper").click();
    await dialog(page).getByLabel("queue.complete").uncheck();
    await button(page, "Save").click();
    await page.getByText("shipper was changed").waitFor();
    assert.deepEqual(await rolesOf(), [["shipper", "queue.lease"]]);

    await button(page, "Look at Viewer").click();
    await dialog(page).getByText("queue.stats").waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await button(page, "Delete … Viewer").count(), 0);
    await button(page, "Delete … shipper").click();
    await page.getByLabel("Type shipper to go on").fill("shipper");
    await button(page, "Delete it").click();
    await cell(page, "shipper").waitFor({ state: "detached" });
    assert.deepEqual(await rolesOf(), []);
  },
);

test("a role is given to a user in a namespace, and taken away", BROWSER, async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/namespaces.create", { name: "billing" });
  const id = await userOf(server, "jane");
  const page = await pageOf(t, server, "bindings");
  await page.getByLabel("Namespace").selectOption("billing");
  await page.getByText("Nobody has a role here").waitFor();
  await button(page, "Give a role").click();
  await dialog(page).getByLabel("User").selectOption("jane");
  await dialog(page).getByLabel("Role").selectOption("Operator");
  await dialog(page).getByRole("button", { name: "Give a role" }).click();
  await cell(page, "jane").waitFor();
  const bindings = async (): Promise<object[]> =>
    (await server.ok("/v2/bindings.list", { namespace: "billing" })).bindings;
  assert.partialDeepStrictEqual(await bindings(), [{ user_id: id, role_name: "Operator" }]);

  await button(page, /Take away … Operator/).click();
  await button(page, "Take it away").click();
  await page.getByText("Nobody has a role here").waitFor();
  assert.deepEqual(await bindings(), []);
});

test(
  "a key is shown once, and works; rotated it is another, and revoked it is none",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const user_id = await userOf(server, "jane");
    await server.ok("/v2/bindings.create", { user_id, role_name: "Viewer" });
    const page = await pageOf(t, server, `keys?user=${user_id}`);
    const status = async (key: string): Promise<number> =>
      (await server.as(key).call("/v2/queues.list", {})).status;
    const shown = async (): Promise<string> => {
      // It is shown this once, so nothing that may slip takes it away.
      for (const pressed of ["Escape", "Escape"]) await page.keyboard.press(pressed);
      const key = (await page.getByLabel("Key", { exact: true }).textContent()) ?? "";
      await button(page, "Copy").click();
      await page.getByText(/^Copied|did not let/).waitFor();
      await button(page, "I have kept it").click();
      await dialog(page).waitFor({ state: "detached" });
      assert.equal((await page.content()).includes(key), false);
      return key;
    };
    await button(page, "Create a key").click();
    await dialog(page).getByLabel("Name", { exact: true }).fill("worker");
    await dialog(page).getByLabel("Ends in").fill("24h");
    await button(page, "Create").last().click();
    const first = await shown();
    assert.equal(await status(first), 200);
    await cell(page, "worker").waitFor();

    await button(page, "Rotate … worker").click();
    await dialog(page).getByLabel("The old one goes on for").fill("0s");
    await button(page, "Make the new key").click();
    const second = await shown();
    assert.deepEqual([await status(first), await status(second)], [401, 200]);

    await button(page, "Revoke … worker").last().click();
    await button(page, "Revoke it").click();
    await page.getByText("worker was revoked").waitFor();
    assert.equal(await status(second), 401);
  },
);

test("the audit tells who has changed what, is filtered, and read on", BROWSER, async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/queues.create", { queue_name: "orders", max_attempts: 2 });
  await server.ok("/v2/queues.update", { queue_name: "orders", max_attempts: 9 });
  for (let i = 0; i < 50; i++) await userOf(server, `user-${i}`);
  const page = await pageOf(t, server, "audit");
  await cell(page, "users.create").first().waitFor();
  await button(page, "Next page").click();
  await button(page, "First page").waitFor();
  await cell(page, "queues.update").waitFor();
  await page.getByLabel("Call", { exact: true }).fill("queues.update");
  await cell(page, "users.create").waitFor({ state: "detached" });
  await page.getByText("1 change").first().click();
  await page.getByRole("listitem").filter({ hasText: "max_attempts 2 → 9" }).waitFor();
  assert.match(page.url(), /call=queues.update/);
  await page.reload();
  await cell(page, "orders").waitFor();
  await page.getByLabel("Target", { exact: true }).fill("other");
  await page.getByText("Nothing of the kind").waitFor();
});

test("the server and its storages are told, and saved as a report", BROWSER, async (t) => {
  const server = await setupClosed(t);
  const page = await pageOf(t, server, "cluster");
  await page.getByText("Works").first().waitFor();
  await page
    .getByRole("cell", { name: /memory/ })
    .first()
    .waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    button(page, "Save the report").click(),
  ]);
  const { overview, health } = JSON.parse(readFileSync(await download.path(), "utf8"));
  assert.deepEqual([overview.mode, health.status], ["serving", "pass"]);
});

test(
  "settings hold for all pages, and tell what the key may see; signing out forgets it",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const page = await pageOf(t, server, "settings");
    await page.getByRole("row", { name: "Audit Yes" }).waitFor();
    await page.locator("main").getByLabel("Colours").selectOption("dark");
    await page.locator("html[data-theme=dark]").waitFor();
    await page.getByLabel("Ask the server again").selectOption("off");
    await page.locator("main").getByLabel("Times in UTC").uncheck();
    assert.equal(await page.locator(".side").getByLabel("Times in UTC").isChecked(), false);

    await page.getByRole("link", { name: "Users" }).click();
    await page.getByRole("heading", { name: "Users" }).waitFor();
    await page.getByRole("link", { name: "Settings" }).click();
    assert.equal(await page.getByLabel("Ask the server again").inputValue(), "off");
    await page.locator("main").getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("API key").waitFor();
    assert.equal(await page.evaluate("sessionStorage.length"), 0);
  },
);

test(
  "a key for one namespace sees what is in it, and reads what it lacks for the rest",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const key = await keyIn(server, "billing", "NamespaceOwner");
    await server.as(key).ok("/v2/queues.create", { queue_name: "invoices" });
    await server.ok("/v2/queues.create", { queue_name: "secret" });
    const page = await pageOf(t, server, "queues", { key, mayFail: /403/ });
    await page.getByRole("link", { name: "invoices" }).waitFor();
    assert.equal(await page.getByText("secret").count(), 0);

    for (const [title, permission] of [
      ["Namespaces", "namespace.list"],
      ["Users", "user.list"],
    ] as const) {
      await page.getByRole("link", { name: title }).click();
      await page.getByRole("alert").getByText(`It takes the permission ${permission}`).waitFor();
    }
    await page.getByRole("link", { name: "Keys" }).click();
    await cell(page, "billing").waitFor();
    await page.getByRole("link", { name: "Audit" }).click();
    await cell(page, "queues.create").waitFor();
    assert.equal(await page.getByText("secret").count(), 0);
    await page.getByRole("link", { name: "Cluster and storage" }).click();
    await page.getByText("it takes queue.stats in _system").waitFor();
    await page.getByRole("link", { name: "Settings" }).click();
    await page.getByRole("row", { name: "Users No: it takes user.list" }).waitFor();

    await page.getByRole("link", { name: "Namespaces" }).click();
    await page.getByLabel("Its name").fill("billing");
    await button(page, "Look at it").click();
    await page.getByRole("heading", { name: "billing", level: 1 }).waitFor();
    await page.getByText("1, without limit").waitFor();
  },
);

test(
  "who may not list the standard roles makes a role by naming what it allows",
  BROWSER,
  async (t) => {
    const server = await setupClosed(t);
    const key = await keyIn(server, "billing", "NamespaceOwner");
    const page = await pageOf(t, server, "roles", { key, mayFail: /403/ });
    await button(page, "Create a role").click();
    await dialog(page).getByLabel("Name", { exact: true }).fill("shipper");
    await dialog(page).getByLabel("Others").fill("queue.lease queue.complete");
    await button(page, "Create").last().click();
    await cell(page, "shipper").waitFor();
    const { roles } = await server.ok("/v2/roles.list", { namespace: "billing" });
    assert.deepEqual(roles[0].permissions, ["queue.lease", "queue.complete"]);
  },
);

test("where the dashboard is read-only nothing about access can be changed", BROWSER, async (t) => {
  const server = await setupClosed(t, { ui: "read-only" });
  const headers = { authorization: `Bearer ${server.key}`, "content-type": "application/json" };
  const id = await userOf(server, "jane");
  await server.ok("/v2/keys.create", { user_id: id, name: "worker" });
  await server.ok("/v2/namespaces.create", { name: "billing" });
  const page = await pageOf(t, server, "namespaces", { mayFail: /403/ });
  for (const [hash, name] of [
    ["namespaces", "Create a namespace"],
    ["namespaces/billing", "Edit"],
    ["namespaces/billing", "Delete …"],
    ["users", "Create a user"],
    ["users", "Delete … jane"],
    ["roles", "Create a role"],
    ["bindings", "Give a role"],
    ["keys", "Create a key"],
    ["keys", "Rotate … worker"],
    ["keys", "Revoke … worker"],
  ] as const) {
    await page.goto(page.url().replace(/#.*/, `#/${hash}`));
    await button(page, name).first().waitFor();
    assert.equal(await button(page, name).first().isDisabled(), true, name);
  }
  // Nor by who asks from the page without a button.
  const told = await page.evaluate(
    `fetch("../v2/users.delete", { method: "POST", headers: ${JSON.stringify(headers)}, body: ${JSON.stringify(JSON.stringify({ id }))} }).then((reply) => reply.text())`,
  );
  assert.match(String(told), /read_only/);
  await page.goto(page.url().replace(/#.*/, "#/settings"));
  await page.getByText("started with --ui read-only").waitFor();
});

test("a server that asks nobody for a key says what that means", BROWSER, async (t) => {
  const page = await pageOf(t, await setup(t), "users");
  for (const title of ["Users", "Namespaces", "Roles", "Bindings", "Keys", "Settings"]) {
    await page.getByRole("link", { name: title, exact: true }).click();
    await page.getByRole("heading", { name: title, level: 1 }).waitFor();
    await page.getByText("started with --auth keys").waitFor();
  }
});
