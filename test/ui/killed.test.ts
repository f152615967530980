// The dashboard while the server is killed and started again: it says so, and goes on without being loaded anew.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BROWSER, openPage } from "../support/browser.ts";
import { post } from "../support/post.ts";
import { temporaryDirectory } from "../support/server.ts";
import { ServerProcess } from "../support/server-process.ts";

const BANNER = "The server does not answer";

test(
  "a server that is killed is told to be away, and shown again when it is back",
  BROWSER,
  async (t) => {
    const dataDir = temporaryDirectory(t);
    const first = await ServerProcess.start({ dataDir });
    t.after(() => first.dispose());
    const address = `http://127.0.0.1:${first.port}`;
    await post(`${address}/v2/queues.create`, JSON.stringify({ queue_name: "orders" }));
    const page = await openPage(t, `${address}/ui/#/users`, { mayFail: /ERR_|Failed to load/ });
    await page.getByText("There is no user yet").waitFor();
    await page.evaluate("window.stays = true");
    await page.getByRole("link", { name: "Queues" }).click();
    await page.getByRole("link", { name: "orders" }).waitFor();

    await first.kill();
    await page.getByText(BANNER).waitFor();
    // What was shown still is.
    assert.equal(await page.getByRole("link", { name: "orders" }).count(), 1);
    await page.getByRole("link", { name: "Users" }).click();
    await page.getByRole("button", { name: "Create a user" }).click();
    await page.getByRole("dialog").getByLabel("Name", { exact: true }).fill("jane");

    const second = await ServerProcess.start({ dataDir, port: first.port });
    t.after(() => second.dispose());
    await page.getByText(BANNER).waitFor({ state: "detached" });
    // Not even what was being typed is lost.
    await page.getByRole("button", { name: "Create", exact: true }).click();
    await page.getByRole("cell", { name: "jane", exact: true }).waitFor();
    assert.equal(await page.evaluate("window.stays"), true);
  },
);
