// The dashboard as the server itself serves it, in a browser: with the policy that it is sent with, from its kept files,
// and below a path of a proxy.

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { BROWSER, openPage } from "../support/browser.ts";
import { setup } from "../support/server.ts";

/** Passes on what is below a path, as proxies do; answers where that is. */
async function behindProxy(t: TestContext, address: string, prefix: string): Promise<string> {
  const proxy = createServer((incoming, reply) => {
    if (!incoming.url!.startsWith(`${prefix}/`)) return void reply.writeHead(404).end();
    const { method, headers } = incoming;
    const passed = request(address + incoming.url!.slice(prefix.length), {
      method: method!,
      headers,
    });
    passed.on("response", (answer) => {
      reply.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(reply);
    });
    passed.on("error", () => reply.destroy());
    reply.on("close", () => passed.destroy());
    incoming.pipe(passed);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}${prefix}`;
}

for (const prefix of ["", "/jobs"]) {
  test(
    `a browser shows it at '${prefix}/ui', and asks for nothing elsewhere`,
    BROWSER,
    async (t) => {
      const { server } = await setup(t);
      const at = prefix === "" ? server.address : await behindProxy(t, server.address, prefix);
      const page = await openPage(t, "about:blank");
      const asked: string[] = [];
      page.on("request", (each) => asked.push(each.url()));
      await page.goto(`${at}/ui`);
      await page.waitForSelector("#app main");
      assert.equal(new URL(page.url()).pathname, `${prefix}/ui/`);
      const elsewhere = asked.filter((url) => !url.startsWith(`${at}/`));
      assert.deepEqual(elsewhere, []);
      // Kept for ever, as what they hold does not change below their path.
      const scripts = asked.filter((url) => url.endsWith(".js"));
      assert.ok(scripts.length > 5 && scripts.every((url) => url.includes("/ui/~")));
    },
  );
}
