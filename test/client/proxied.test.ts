// What a client makes of a proxy in front of its server: refusals and pages of the proxy's own, bodies
// that it finds too large, and the proxies that the environment of Node names.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpRequest, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import {
  AuthenticationError,
  InvalidRequestError,
  PermissionError,
  type QueratorClient,
  type QueratorError,
  ServerError,
  TooLargeError,
  TryAgainError,
} from "@querator/client";
import { BASE_ENVIRONMENT } from "../support/environment.ts";
import { PASS, type Passing, proxyOf, type TestProxy } from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

const BODIES = {
  html: "<html><head><title>Sorry</title></head></html>",
  nothing: "",
  "JSON of its own": '{"message":"Forbidden","error":"no"}',
  "JSON with another code": '{"code":1020,"message":"access denied"}',
};

interface Expected {
  readonly type: new (code: never, message: never, facts: never) => QueratorError;
  readonly code: string;
  readonly retryable: boolean;
  readonly uncertain: boolean;
}

const refused = { retryable: false, uncertain: false };
const later = { retryable: true, uncertain: false };
const unknown = { retryable: true, uncertain: true };

const STATUSES: readonly [status: number, expected: Expected][] = [
  [401, { type: AuthenticationError, code: "unauthorized", ...refused }],
  [403, { type: PermissionError, code: "forbidden", ...refused }],
  [404, { type: ServerError, code: "wrong-url", ...refused }],
  [405, { type: ServerError, code: "invalid-reply", ...refused }],
  [407, { type: AuthenticationError, code: "unauthorized", ...refused }],
  [408, { type: TryAgainError, code: "unavailable", ...later }],
  [413, { type: InvalidRequestError, code: "too-large", ...refused }],
  [421, { type: ServerError, code: "invalid-reply", ...refused }],
  [425, { type: TryAgainError, code: "unavailable", ...later }],
  [429, { type: TryAgainError, code: "unavailable", ...later }],
  [500, { type: ServerError, code: "unavailable", ...unknown }],
  [501, { type: ServerError, code: "invalid-reply", ...refused }],
  [502, { type: ServerError, code: "unavailable", ...unknown }],
  [503, { type: TryAgainError, code: "unavailable", ...unknown }],
  [504, { type: ServerError, code: "unavailable", ...unknown }],
  [522, { type: ServerError, code: "unavailable", ...unknown }],
];

async function behind(
  t: TestContext,
  retry = {},
): Promise<{ client: QueratorClient; direct: QueratorClient; proxy: TestProxy }> {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const client = clientOf(t, proxy.url, { retry: { baseMs: 1, capMs: 2, ...retry } });
  return { client, direct, proxy };
}

test("what a proxy answers in the server's place is an error by its status", async (t) => {
  const { client, proxy } = await behind(t, { attemptsMax: 1 });
  for (const [name, body] of Object.entries(BODIES)) {
    for (const [status, { type, ...facts }] of STATUSES) {
      proxy.treat = () => ({ kind: "answer", status, body });
      for (const call of [() => client.produce("jobs", {}), () => client.stats("jobs")]) {
        await assert.rejects(call, (error) => {
          assert.ok(error instanceof type, `${status} with ${name}: ${error}`);
          const { code, retryable, uncertain } = error;
          assert.deepEqual({ code, retryable, uncertain }, facts, `${status} with ${name}`);
          assert.equal(error.status, status);
          return true;
        });
      }
    }
  }
});

for (const status of [408, 425, 429]) {
  test(`a produce is repeated after ${status} of a proxy, and done once`, async (t) => {
    const { client, direct, proxy } = await behind(t);
    proxy.treat = (_, number) =>
      number <= 20 ? { kind: "answer", status, body: BODIES.html } : PASS;
    await client.produce("jobs", {});
    assert.equal((await direct.stats("jobs")).total, 1);
  });
}

for (const status of [500, 502, 503, 504]) {
  test(`what may be done twice, or has a key, is repeated after ${status} of a proxy`, async (t) => {
    const { client, direct, proxy } = await behind(t);
    const treat = (_: Passing, number: number) =>
      number % 20 !== 0 ? ({ kind: "answer", status, body: BODIES.html } as const) : PASS;
    proxy.treat = treat;
    await client.produce("jobs", {});
    assert.equal(proxy.requests.length, 20);
    // In its own time, and not otherwise.
    proxy.treat = () => ({ kind: "answer", status, body: BODIES.html });
    const late = client.produce("jobs", {}, { requestTimeout: "200ms" });
    await assert.rejects(late, { status, uncertain: true });
    proxy.treat = treat;
    assert.equal((await direct.stats("jobs")).total, 1);
    const [item] = await client.lease("jobs", { isShared: false });
    await client.complete("jobs", item!);
    assert.equal((await client.stats("jobs")).total, 0);
  });
}

// --- bodies that are too large ---

/** A proxy that takes so many bytes. */
function limit(proxy: TestProxy, bytes: number): void {
  proxy.treat = ({ body }) =>
    body.length > bytes ? { kind: "answer", status: 413, body: BODIES.html } : PASS;
}

const sized = (...sizes: readonly number[]) =>
  sizes.map((size, i) => ({ payload: String(i).padEnd(size, ".") }));

async function payloads(client: QueratorClient): Promise<number[]> {
  const items = await Array.fromAsync(client.items.list("jobs"));
  return items.map(({ payload }) => Number.parseInt(Buffer.from(payload).toString(), 10));
}

test("one produce of many items passes a proxy that takes a few, in order", async (t) => {
  const { client, direct, proxy } = await behind(t);
  limit(proxy, 3_000);
  await client.produce("jobs", sized(...Array.from({ length: 100 }, (_, i) => 200 + i)));
  assert.deepEqual(
    await payloads(direct),
    Array.from({ length: 100 }, (_, i) => i),
  );
  // What it has learned it does not try again and again.
  const before = proxy.requests.length;
  await client.produce("jobs", sized(...Array.from({ length: 100 }, () => 200)));
  const after = proxy.requests.slice(before);
  assert.ok(after.every(({ body }) => body.length <= 3_000));
  assert.equal((await direct.stats("jobs")).total, 200);
});

test("the one item that is too large for a proxy is named, and the others are done", async (t) => {
  const { client, direct, proxy } = await behind(t);
  limit(proxy, 3_000);
  await assert.rejects(client.produce("jobs", sized(900, 900, 900, 5_000, 900)), (error) => {
    assert.ok(error instanceof TooLargeError && error.index === 3 && error.status === 413);
    assert.ok(error.uncertain, "a part of it was done");
    assert.match(
      error.message,
      /^Of 5 items of this call 4 were done, another failed: Item 4 of 5 is too large to be sent, with 50\d\d bytes: /,
    );
    return true;
  });
  assert.deepEqual(await payloads(direct), [0, 1, 2, 4]);
  await assert.rejects(client.produce("jobs", sized(5_000)), (error) => {
    assert.ok(error instanceof TooLargeError && !error.uncertain && !error.retryable);
    return /^The item is too large/.test(error.message);
  });
});

for (const verb of ["complete", "retry"] as const) {
  test(`${verb} of many items passes a proxy that takes a few`, async (t) => {
    const { client, direct, proxy } = await behind(t);
    await direct.produce("jobs", Array(300).fill({}));
    const items = await direct.lease("jobs", { batchSize: 300 });
    limit(proxy, 1_000);
    await client[verb]("jobs", items);
    assert.equal((await direct.stats("jobs")).totalLeased, 0);
    assert.equal((await direct.stats("jobs")).total, verb === "complete" ? 0 : 300);
  });
}

test("an import of many items passes a proxy that takes a few, in order", async (t) => {
  const { client, direct, proxy } = await behind(t);
  limit(proxy, 3_000);
  const items = sized(...Array.from({ length: 50 }, () => 300));
  const imported = await client.items.import("jobs", items);
  assert.equal(imported.length, 50);
  assert.deepEqual(
    await payloads(direct),
    Array.from({ length: 50 }, (_, i) => i),
  );
  await assert.rejects(client.items.import("jobs", sized(300, 9_000, 300)), (error) => {
    assert.ok(error instanceof TooLargeError && error.uncertain);
    return error.index === 1;
  });
});

test("a call that the server itself finds too large is sent in parts", async (t) => {
  const { client, direct, proxy } = await behind(t);
  proxy.treat = ({ body }) =>
    body.length > 3_000
      ? {
          kind: "answer",
          status: 400,
          body: '{"code":400,"message":"request body exceeds 3.0kB limit"}',
        }
      : PASS;
  await client.produce("jobs", sized(900, 900, 900, 900, 900));
  assert.deepEqual(await payloads(direct), [0, 1, 2, 3, 4]);
  await assert.rejects(client.produce("jobs", sized(9_000)), { code: "too-large", status: 400 });
});

test("a proxy that refuses by the length alone, and reads nothing, is understood", async (t) => {
  const { server, client: direct } = await setup(t);
  const target = new URL(server.server.address);
  const proxy = createServer((request, response) => {
    if (Number(request.headers["content-length"]) > 300_000) {
      response.writeHead(413, { Connection: "close" });
      response.end(BODIES.html);
      // As nginx does: what still comes is thrown away.
      request.resume();
      return;
    }
    const { method, url, headers } = request;
    request.pipe(
      httpRequest(
        { host: target.hostname, port: target.port, method, path: url, headers },
        (from) => {
          response.writeHead(from.statusCode!, from.headers);
          from.pipe(response);
        },
      ),
    );
  });
  const client = clientOf(t, await started(t, proxy));
  await client.produce("jobs", sized(...Array.from({ length: 20 }, () => 100_000)));
  assert.deepEqual(
    await payloads(direct),
    Array.from({ length: 20 }, (_, i) => i),
  );
});

// --- the proxies of the environment ---

async function started(t: TestContext, server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A forward proxy, for whole URLs and for tunnels, that counts what passes. */
async function forwardProxy(t: TestContext): Promise<{ url: string; passed: string[] }> {
  const passed: string[] = [];
  const proxy = createServer((request, response) => {
    passed.push(`${request.method} ${request.url}`);
    const { method, headers } = request;
    request.pipe(
      httpRequest(new URL(request.url!), { method, headers }, (from) => {
        response.writeHead(from.statusCode!, from.headers);
        from.pipe(response);
      }),
    );
  });
  proxy.on("connect", (request, socket) => {
    passed.push(`CONNECT ${request.url}`);
    const { hostname, port } = new URL(`http://${request.url}`);
    const to = connect(Number(port), hostname, () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      to.pipe(socket);
      socket.pipe(to);
    });
    to.on("error", () => socket.destroy());
    socket.on("error", () => to.destroy());
    t.after(() => to.destroy());
  });
  return { url: await started(t, proxy), passed };
}

const PROGRAM = `
  import { QueratorClient } from "@querator/client";
  const client = new QueratorClient({ url: process.argv[1] });
  await client.produce("jobs", { payload: "through" });
  const [item] = await client.lease("jobs");
  await client.complete("jobs", item);
  console.log(item.text);
  await client.close();
`;

for (const [name, envOf, goesThrough] of [
  ["goes", () => ({ NODE_USE_ENV_PROXY: "1" }), true],
  ["goes, if it is told so by a flag,", () => ({ NODE_OPTIONS: "--use-env-proxy" }), true],
  ["does not go, as Node does not, unless it is told to,", () => ({}), false],
  [
    "does not go where NO_PROXY says so,",
    () => ({ NODE_USE_ENV_PROXY: "1", NO_PROXY: "127.0.0.1" }),
    false,
  ],
] as const) {
  test(`a client ${name} through the proxy of its environment`, async (t) => {
    const { server } = await setup(t);
    const proxy = await forwardProxy(t);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--input-type=module", "--eval", PROGRAM, server.server.address],
      { env: { ...BASE_ENVIRONMENT, HTTP_PROXY: proxy.url, ...envOf() } },
    );
    assert.equal(stdout.trim(), "through");
    assert.equal(proxy.passed.length > 0, goesThrough, proxy.passed.join());
  });
}
