// The dashboard as it is served: where it is, what browsers may do with it and for how long they keep what, and who
// may change nothing. What it shows is tested in a browser (test/ui).

import assert from "node:assert/strict";
import { request } from "node:http";
import { type TestContext, test } from "node:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { ConfigError } from "../../src/config/section.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { ADMIN_KEY, setup, setupClosed } from "../support/server.ts";

interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
}

interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

// With node:http, for fetch sets what a browser alone may, and follows redirects.
function ask(url: string, { method = "GET", headers = {}, body }: Asked = {}): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on("data", (chunk: Buffer) => chunks.push(chunk));
      reply.on("error", reject);
      reply.on("end", () => {
        const got = reply.headers as Got["headers"];
        resolve({ status: reply.statusCode!, headers: got, body: Buffer.concat(chunks) });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function post(url: string, body: object, headers: Readonly<Record<string, string>> = {}) {
  const type = { "Content-Type": "application/json" };
  return ask(url, { method: "POST", headers: { ...type, ...headers }, body: JSON.stringify(body) });
}

/** What the page refers to. */
function linksIn(page: Buffer): string[] {
  return Array.from(page.toString().matchAll(/(?:src|href)="([^"]+)"/g), ([, link]) => link!);
}

test("the dashboard is a page and its files, all of them relative", async (t) => {
  const { server } = await setup(t, { threads: 2 });
  const moved = await ask(`${server.address}/ui`);
  // Not from the root: a proxy may serve it under a path of its own.
  assert.deepEqual([moved.status, moved.headers.location], [302, "ui/"]);
  const page = await ask(`${server.address}/ui/`);
  assert.equal(page.status, 200);
  assert.match(page.headers["content-type"]!, /^text\/html/);
  assert.equal(page.headers["cache-control"], "no-cache");
  const links = linksIn(page.body);
  assert.ok(links.some((link) => link.endsWith("app/main.js")));
  for (const link of links) {
    assert.match(link, /^~[\w-]{12}\/\w/);
    const file = await ask(`${server.address}/ui/${link}`);
    assert.equal(file.status, 200, link);
    assert.equal(file.headers["cache-control"], "public, max-age=31536000, immutable", link);
    // And what scripts import is there, too.
    for (const [, from] of file.body.toString().matchAll(/\bfrom ?"(\.[^"]+)"/g)) {
      const found = new URL(from!, `${server.address}/ui/${link}`);
      assert.equal((await ask(String(found))).status, 200, `${link}: ${from}`);
    }
  }
  for (const path of ["none.js", "../package.json", "%2e%2e/package.json", "app", "~x/", "~/a"]) {
    const { status } = await ask(`${server.address}/ui/${path}`);
    assert.ok(status >= 400 && status < 500, `${path} ${status}`);
  }
  const none = await ask(`${server.address}/ui/none.js`);
  assert.equal(none.status, 404);
});

test("a browser may do nothing with it but what it is for", async (t) => {
  const { server } = await setup(t);
  for (const path of ["ui", "ui/", "ui/app/main.js", "ui/config.json", "ui/none"]) {
    const { headers } = await ask(`${server.address}/${path}`);
    const policy = headers["content-security-policy"]!;
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'; /, path);
    assert.match(policy, /base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/, path);
    assert.doesNotMatch(policy, /unsafe|\*|https?:/, path);
    assert.equal(headers["x-content-type-options"], "nosniff", path);
    assert.equal(headers["referrer-policy"], "no-referrer", path);
    assert.equal(headers["x-frame-options"], "DENY", path);
    assert.equal(headers["cross-origin-opener-policy"], "same-origin", path);
  }
});

test("files are sent compressed to who takes that, and not at all to who has them", async (t) => {
  const { server } = await setup(t);
  const url = `${server.address}/ui/lib/preact.js`;
  const plain = await ask(url);
  assert.deepEqual(
    [plain.headers["content-encoding"], plain.headers.vary],
    [undefined, "Accept-Encoding"],
  );
  const br = await ask(url, { headers: { "Accept-Encoding": "gzip, deflate, br" } });
  assert.equal(br.headers["content-encoding"], "br");
  assert.deepEqual(brotliDecompressSync(br.body), plain.body);
  const gz = await ask(url, { headers: { "Accept-Encoding": "gzip;q=0.5, br;q=0" } });
  assert.equal(gz.headers["content-encoding"], "gzip");
  assert.deepEqual(gunzipSync(gz.body), plain.body);
  const none = await ask(url, { headers: { "Accept-Encoding": "identity, gzip;q=0" } });
  assert.deepEqual(none.body, plain.body);
  const tags = [plain, br, gz].map(({ headers }) => headers.etag!);
  assert.equal(new Set(tags).size, 3);
  for (const tag of [tags[0]!, `"x", W/${tags[0]}`]) {
    const { status, body, headers } = await ask(url, { headers: { "If-None-Match": tag } });
    assert.deepEqual([status, body.length, headers.etag], [304, 0, tags[0]]);
    assert.equal(headers["content-length"], undefined);
  }
  const other = await ask(url, { headers: { "If-None-Match": tags[1]! } });
  assert.equal(other.status, 200);
  const head = await ask(url, { method: "HEAD" });
  assert.deepEqual([head.status, head.body.length], [200, 0]);
  assert.equal(head.headers["content-length"], String(plain.body.length));
});

test("config.json tells what a page has to know before anybody signs in", async (t) => {
  const read = async (address: string): Promise<Record<string, unknown>> =>
    JSON.parse((await ask(`${address}/ui/config.json`)).body.toString());
  const open = await setup(t);
  const { version, ...rest } = await read(open.server.address);
  assert.equal(typeof version, "string");
  assert.deepEqual(rest, { readOnly: false, auth: false, namespaceDefault: "_system" });
  const closed = await setupClosed(t, { ui: "read-only" });
  const { readOnly, auth } = await read(closed.server.address);
  assert.deepEqual([readOnly, auth], [true, true]);
});

test("with --ui off there is no dashboard", async (t) => {
  const { server } = await setup(t, { ui: "off", adminAddress: "127.0.0.1:0" });
  for (const address of [server.address, server.adminAddress!]) {
    for (const path of ["ui", "ui/", "ui/config.json"]) {
      assert.ok((await ask(`${address}/${path}`)).status >= 400, path);
    }
  }
  // Then the admin address is for probes.
  assert.ok((await post(`${server.adminAddress}/v2/queues.list`, {})).status >= 400);
  assert.ok((await ask(`${server.adminAddress}/v2/events`)).status >= 400);
  assert.equal((await ask(`${server.adminAddress}/health`)).status, 200);
  await setup(t, { ui: "off", adminAddress: "0.0.0.0:0" });
});

test("at the admin address, if there is one, is the dashboard, with all calls of /v2 and the same keys", async (t) => {
  const admin = await setupClosed(t, { adminAddress: "127.0.0.1:0" });
  const { address, adminAddress } = admin.server;
  assert.ok((await ask(`${address}/ui/`)).status >= 400);
  assert.equal((await ask(`${adminAddress}/ui/`)).status, 200);
  const key = { Authorization: `Bearer ${ADMIN_KEY}` };
  const create = { queue_name: "jobs" };
  assert.equal((await post(`${adminAddress}/v2/queues.create`, create)).status, 401);
  assert.equal((await post(`${adminAddress}/v2/queues.create`, create, key)).status, 200);
  assert.equal((await post(`${adminAddress}/v2/queues.info`, create, key)).status, 200);
  assert.ok((await post(`${adminAddress}/v1/queues.list`, {}, key)).status >= 400);
  // What it counts is counted once.
  const { body } = await ask(`${adminAddress}/metrics`, { headers: key });
  const counted = /^querator_http_requests_total\{method="queues.create",code="200"\} (\d+)/m;
  assert.equal(counted.exec(body.toString())?.[1], "1");
});

test("an admin address that others reach is refused while nobody has to show a key", async (t) => {
  const open = setup(t, { adminAddress: "0.0.0.0:0" });
  await assert.rejects(open, (error: Error) => {
    assert.ok(error instanceof ConfigError);
    assert.match(error.message, /^admin-address: '0\.0\.0\.0' can be reached from other machines/);
    return true;
  });
});

// What a browser says of a page of the server.
function pageOf(address: string): Readonly<Record<string, string>> {
  return { Origin: new URL(address).origin, "Sec-Fetch-Site": "same-origin" };
}

async function readOnly(t: TestContext, more: object = {}) {
  const { server } = await setup(t, { ui: "read-only", dev: false, ...more });
  const create = { queue_name: "jobs" };
  assert.equal((await post(`${server.address}/v2/queues.create`, create)).status, 200);
  return server;
}

const ENDPOINTS = [...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).values()].filter(
  ({ row }) => row.path.startsWith("/v2/"),
);

test("read-only: pages of the server change nothing, whatever they call", async (t) => {
  const { address } = await readOnly(t);
  for (const { row, isRead } of ENDPOINTS) {
    // Again, so that the form of its head is known.
    for (const from of [pageOf(address), pageOf(address)]) {
      const { status, body } = await post(`${address}${row.path}`, row.example, from);
      const { code } = JSON.parse(body.toString()) as { code?: string };
      if (isRead === true) assert.notEqual(code, "read_only", row.path);
      else assert.deepEqual([status, code], [403, "read_only"], row.path);
    }
  }
  // Each of the two is enough, and so is what a proxy tells.
  const produce = { queue_name: "jobs", items: [{ utf8: "x" }] };
  for (const from of [
    { Origin: address },
    { "Sec-Fetch-Site": "same-origin" },
    { Origin: "http://jobs.example.com", "X-Forwarded-Host": "jobs.example.com" },
  ]) {
    const { status } = await post(`${address}/v2/queue.produce`, produce, from);
    assert.equal(status, 403, JSON.stringify(from));
  }
  // Programs are no pages.
  assert.equal((await post(`${address}/v2/queue.produce`, produce)).status, 200);
  const seen = await post(`${address}/v2/queue.stats`, { queue_name: "jobs" }, pageOf(address));
  assert.equal(JSON.parse(seen.body.toString()).totals.waiting, 1);
});

test("read-only: nothing is changed through the admin address, by whomever", async (t) => {
  const { address, adminAddress } = await readOnly(t, { adminAddress: "127.0.0.1:0" });
  for (const { row, isRead } of ENDPOINTS) {
    const { body } = await post(`${adminAddress}${row.path}`, row.example);
    const { code } = JSON.parse(body.toString()) as { code?: string };
    assert.equal(code === "read_only", isRead !== true, row.path);
  }
  const produce = { queue_name: "jobs", items: [{ utf8: "x" }] };
  assert.equal((await post(`${address}/v2/queue.produce`, produce)).status, 200);
});

test("what is not read-only may be changed by pages of the server", async (t) => {
  const { server } = await setup(t, { dev: false });
  const create = { queue_name: "jobs" };
  const from = pageOf(server.address);
  assert.equal((await post(`${server.address}/v2/queues.create`, create, from)).status, 200);
});
