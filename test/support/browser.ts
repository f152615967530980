// A real browser for tests of the dashboard: Chromium, started once for a file of tests. A page fails its test
// if it writes an error to its console, throws, or breaks the policy it was sent with. The dashboard is served
// here, with the calls passed on to a server of the test's own.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, type TestContext } from "node:test";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { loadAssets } from "../../src/ui/assets.ts";
import type { TestServer } from "./server.ts";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** For the options of tests: why they are skipped, if there is no browser. */
export const BROWSER = {
  skip: existsSync(CHROMIUM) ? false : `there is no ${CHROMIUM}: apt-get install chromium`,
};

export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

let started: Promise<Browser> | undefined;
after(async () => (await started)?.close());

export interface PageOptions extends BrowserContextOptions {
  /** The key that it is signed in with. */
  readonly key?: string | undefined;
  /** What its console may say, as when the server is to be away: such as /ERR_CONNECTION_REFUSED/. */
  readonly mayFail?: RegExp;
}

/** A page of its own, without anything kept of others; whatever goes wrong in it fails the test at its end. */
export async function openPage(
  t: TestContext,
  url: string,
  { key, mayFail, ...options }: PageOptions = {},
): Promise<Page> {
  started ??= chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  const context = await (await started).newContext(options);
  const page = await context.newPage();
  const troubles: string[] = [];
  page.on("pageerror", (error) => troubles.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") troubles.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(
      troubles.filter((each) => mayFail === undefined || !mayFail.test(each)),
      [],
    );
  });
  if (key !== undefined) {
    await context.addInitScript(`sessionStorage.setItem("querator.key", ${JSON.stringify(key)})`);
  }
  await page.goto(url);
  return page;
}

/** What is asked for by a test in place of the server; "v2/" and the method, or a file. */
export type Stub = (body: unknown) => object;

export interface Dashboard {
  /** Where the page is. */
  readonly url: string;
}

/** Serves the dashboard, and passes the calls on to the server; `stubs` answer in its place. */
export async function serveDashboard(
  t: TestContext,
  { server, key }: TestServer,
  { readOnly = false, stubs = {} }: { readOnly?: boolean; stubs?: Record<string, Stub> } = {},
): Promise<Dashboard> {
  const assets = loadAssets();
  const config = { version: "test", readOnly, auth: key !== undefined, namespaceDefault: "" };
  const serve = async (incoming: IncomingMessage, reply: ServerResponse): Promise<void> => {
    const path = incoming.url!.slice(1).split("?")[0]!;
    if (path === "ui/config.json") return void reply.end(JSON.stringify(config));
    if (path.startsWith("ui/")) {
      const asset = await assets.find(path.slice(3));
      if (asset === undefined) return void reply.writeHead(404).end();
      reply.writeHead(200, { "content-type": asset.type, "content-security-policy": POLICY });
      return void reply.end(asset.bytes);
    }
    const stub = stubs[path];
    if (stub !== undefined) {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk);
      const answer = stub(JSON.parse(Buffer.concat(chunks).toString() || "{}"));
      reply.writeHead(200, { "content-type": "application/json" });
      return void reply.end(JSON.stringify(answer));
    }
    const { method, headers } = incoming;
    const passed = request(`${server.address}/${incoming.url!.slice(1)}`, {
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
  };
  const http = createServer((incoming, reply) => void serve(incoming, reply));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    http.closeAllConnections();
    http.close();
  });
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/ui/` };
}
