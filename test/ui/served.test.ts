// The dashboard as the server itself serves it, in a browser: with the policy that it is sent with, from its kept files,
// and below a path of a proxy.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BROWSER, openPage, serveDashboard } from "../support/browser.ts";
import { setup } from "../support/server.ts";

for (const prefix of ["", "/jobs"]) {
  test(
    `a browser shows it at '${prefix}/ui', and asks for nothing elsewhere`,
    BROWSER,
    async (t) => {
      const { url } = await serveDashboard(t, await setup(t), { prefix });
      const at = url.slice(0, -"/ui/".length);
      const page = await openPage(t, "about:blank");
      const asked: string[] = [];
      page.on("request", (each) => asked.push(each.url()));
      await page.goto(`${at}/ui`);
      await page.waitForSelector("#app main");
      assert.equal(new URL(page.url()).pathname, `${prefix}/ui/`);
      const elsewhere = asked.filter((each) => !each.startsWith(`${at}/`));
      assert.deepEqual(elsewhere, []);
      // Kept for ever, as what they hold does not change below their path.
      const scripts = asked.filter((each) => each.endsWith(".js"));
      assert.ok(scripts.length > 5 && scripts.every((each) => each.includes("/ui/~")));
    },
  );
}
