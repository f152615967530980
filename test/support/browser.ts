// A real browser for tests of the dashboard: Chromium, started once for a file of tests. A page fails its test
// if it writes an error to its console, throws, or breaks the policy it was sent with.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, type TestContext } from "node:test";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { ServerOptions } from "../../src/config/config.ts";
import { World } from "./items.ts";
import { setup, type TestServer } from "./server.ts";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** For the options of tests: why they are skipped, if there is no browser. */
export const BROWSER = {
  skip: existsSync(CHROMIUM) ? false : `there is no ${CHROMIUM}: apt-get install chromium`,
};

// A server may stop before the page that asks it.
const GONE = /net::ERR_(CONNECTION|EMPTY_RESPONSE|INCOMPLETE)|status of 503/;
const PATIENCE_MS = 60_000;

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
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const troubles: string[] = [];
  page.on("pageerror", (error) => troubles.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") troubles.push(message.text());
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(
      troubles.filter((each) => !GONE.test(each) && mayFail?.test(each) !== true),
      [],
    );
  });
  if (key !== undefined) {
    // An empty page has no storage.
    await context.addInitScript(
      `if (location.origin !== "null") sessionStorage.setItem("querator.key", ${JSON.stringify(key)})`,
    );
  }
  await page.goto(url);
  return page;
}

/** What answers in place of the server. */
export type Stub = (body: unknown) => object;

/** What lies between a page and its server. */
export interface Between {
  /** By the path of a call, such as "v2/queues.list". */
  readonly stubs?: Readonly<Record<string, Stub>>;
  /** Where the proxy has the server, such as "/tools/queues". */
  readonly prefix?: string;
  /** Whether it answers nothing now. */
  readonly isAway?: () => boolean;
}

export interface Dashboard {
  /** Where the page is. */
  readonly url: string;
}

/** The dashboard of a server, through a proxy if something is to lie between. */
export async function serveDashboard(
  t: TestContext,
  { server }: TestServer,
  { stubs, prefix = "", isAway }: Between = {},
): Promise<Dashboard> {
  if (stubs === undefined && prefix === "" && isAway === undefined)
    return { url: `${server.address}/ui/` };
  const serve = async (incoming: IncomingMessage, reply: ServerResponse): Promise<void> => {
    if (isAway?.()) return void incoming.destroy();
    const url = incoming.url!.slice(prefix.length + 1);
    const stub = stubs?.[url.split("?")[0]!];
    if (stub !== undefined) {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk);
      const answer = stub(JSON.parse(Buffer.concat(chunks).toString() || "{}"));
      reply.writeHead(200, { "content-type": "application/json" });
      return void reply.end(JSON.stringify(answer));
    }
    const { method, headers } = incoming;
    const passed = request(`${server.address}/${url}`, { method: method!, headers });
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
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}${prefix}/ui/` };
}

/** A page of the dashboard, by what stands behind the `#`, signed in with the key of the server. */
export async function pageOf(
  t: TestContext,
  server: TestServer,
  hash: string,
  options: PageOptions = {},
): Promise<Page> {
  const { url } = await serveDashboard(t, server);
  return openPage(t, `${url}#/${hash}`, { key: server.key, ...options });
}

/** A server with queues, and what opens a page of its dashboard. */
export interface Opened {
  readonly world: World;
  open(hash: string, options?: PageOptions): Promise<Page>;
}

/** Makes these queues on a server of the test's own, and serves its dashboard. */
export async function openWorld(
  t: TestContext,
  queues: readonly object[],
  { stubs, ...options }: ServerOptions & Pick<Between, "stubs"> = {},
): Promise<Opened> {
  const server = await setup(t, options);
  const world = new World(server);
  for (const queue of queues) await world.ok("queues.create", queue);
  const { url } = await serveDashboard(t, server, { ...(stubs && { stubs }) });
  return { world, open: (hash, more) => openPage(t, `${url}#/${hash}`, more) };
}
