// Pages of other sites, and names that are not this server's: what a browser can be made to send.

import assert from "node:assert/strict";
import { hostname } from "node:os";
import { type TestContext, test } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import type { Reply } from "../support/http-text.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { setup, type TestServer } from "../support/server.ts";

interface Asked {
  readonly method?: string;
  readonly path?: string;
  /** Lines, the Host among them. */
  readonly headers: readonly string[];
  readonly body?: string;
  readonly version?: string;
}

type Ask = (asked: Asked) => Promise<Reply>;

/** A server, and how to ask it on a connection of its own each time. */
async function open(t: TestContext, options: ServerOptions = {}): Promise<[Ask, TestServer]> {
  const server = await setup(t, options);
  await server.createQueue("q");
  const { port } = server.server;
  const ask: Ask = async ({
    method = "POST",
    path = "/v1/queues.list",
    headers,
    body = "{}",
    version = "1.1",
  }) => {
    const connection = await RawConnection.open(port);
    t.after(() => connection.destroy());
    const length = method === "POST" ? [`Content-Length: ${body.length}`] : [];
    const lines = [`${method} ${path} HTTP/${version}`, ...headers, ...length];
    const text = `${lines.join("\r\n")}\r\n\r\n${method === "POST" ? body : ""}`;
    const outcome = await connection.send(text, { waitMs: 10_000, bodiless: method === "HEAD" });
    assert.equal(outcome.kind, "reply", lines.join(" | "));
    return (outcome as Extract<typeof outcome, { kind: "reply" }>).reply;
  };
  return [ask, server];
}

function assertRefused({ status, body }: Reply, why: RegExp, what: string): void {
  assert.equal(status, 403, `${what}: ${body}`);
  const { message, detail = message, ...rest } = JSON.parse(body.toString());
  if (what.startsWith("/v2/")) {
    assert.deepEqual([rest.status, rest.code], [403, "permission_denied"]);
  } else assert.deepEqual(rest, { code: 403, code_text: "Forbidden" });
  assert.match(detail, why);
}

test("what a page of another site sends is refused, and changes nothing", async (t) => {
  const [ask, server] = await open(t);
  const host = `Host: localhost:${server.server.port}`;
  const others: readonly (readonly string[])[] = [
    ["Origin: http://evil.example"],
    ["Origin: https://evil.example"],
    ["Origin: null"],
    ["Origin: http://localhost:3000"],
    [`Origin: https://localhost:${server.server.port}`],
    ["Origin: http://localhost"],
    ["origin:http://evil.example"],
    ["Origin: "],
    ["Origin: nonsense"],
    [`Origin: http://localhost:${server.server.port}/path`, "Sec-Fetch-Site: cross-site"],
    [`Origin: http://localhost:${server.server.port}`, "Sec-Fetch-Site: cross-site"],
    [`Origin: http://localhost:${server.server.port}`, "Origin: http://evil.example"],
    ["Origin: http://evil.example", "Sec-Fetch-Site: same-origin"],
    ["Origin: http://evil.example", "X-Forwarded-Host: localhost"],
    ["Sec-Fetch-Site: cross-site"],
    ["Sec-Fetch-Site: same-site"],
    ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"],
    ["Sec-Fetch-Site: CROSS-SITE"],
  ];
  const produce = JSON.stringify({
    queue_name: "q",
    request_timeout: "1s",
    items: [{ utf8: "x" }],
  });
  const remove = JSON.stringify({ queue_name: "q", force: true });
  for (const headers of others) {
    for (const [path, body] of [
      ["/v1/queue.produce", produce],
      ["/v1/queues.delete", remove],
      ["/v2/items.list", '{"queue_name":"q"}'],
      ["/v1/dev.clock", '{"advance":"1h"}'],
    ] as const) {
      const what = `${path} ${headers.join()}`;
      // Also with a type that a form may have, and in chunks: refused before either is looked at.
      for (const more of [[], ["Content-Type: text/plain"], ["Accept: text/html"]]) {
        assertRefused(
          await ask({ path, body, headers: [host, ...headers, ...more] }),
          /--allowed-origins/,
          what,
        );
      }
    }
  }
  assert.equal((await server.stats("q")).total, undefined);
});

test("pages and health are for pages of other sites only by following a link", async (t) => {
  const [ask] = await open(t);
  for (const path of ["/health", "/docs", "/openapi.json", "/", "/v1/queues.list"]) {
    for (const method of ["GET", "HEAD"]) {
      const get = (...headers: string[]): Promise<Reply> =>
        ask({ method, path, headers: ["Host: localhost", ...headers] });
      const calm = (await get()).status;
      assert.equal((await get("Origin: http://evil.example")).status, 403, path);
      assert.equal(
        (await get("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")).status,
        403,
      );
      const frame = [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: iframe",
      ];
      assert.equal((await get(...frame)).status, 403);
      const link = [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
      ];
      assert.equal((await get(...link)).status, calm, path);
      for (const site of ["none", "same-origin"]) {
        assert.equal((await get(`Sec-Fetch-Site: ${site}`)).status, calm);
      }
    }
  }
  const preflight = [
    "Host: localhost",
    "Origin: http://evil.example",
    "Access-Control-Request-Method: POST",
  ];
  const asked = await ask({ method: "OPTIONS", headers: preflight });
  assert.equal(asked.status, 403);
  assert.equal(asked.headers.get("access-control-allow-origin"), undefined);
  assert.equal((await ask({ method: "OPTIONS", headers: ["Host: localhost"] })).status, 400);
});

test("pages of this server are served, also behind a proxy", async (t) => {
  const [ask, server] = await open(t, { allowedHosts: ["jobs.example.com"] });
  const { port } = server.server;
  const rows: readonly (readonly string[])[] = [
    [`Host: localhost:${port}`, `Origin: http://localhost:${port}`],
    [`Host: localhost:${port}`, `Origin: http://localhost:${port}`, "Sec-Fetch-Site: same-origin"],
    [`Host: 127.0.0.1:${port}`, `Origin: http://127.0.0.1:${port}`],
    [`Host: [::1]:${port}`, `Origin: http://[::1]:${port}`],
    [`Host: LOCALHOST:${port}`, `Origin: http://localhost:${port}`],
    ["Host: localhost:80", "Origin: http://localhost"],
    ["Host: localhost", "Sec-Fetch-Site: none"],
    ["Host: jobs.example.com", "Origin: https://jobs.example.com", "X-Forwarded-Proto: https"],
    ["Host: jobs.example.com", "Origin: https://jobs.example.com", "Sec-Fetch-Site: same-origin"],
    [
      "Host: jobs.example.com",
      "Origin: https://jobs.example.com",
      "X-Forwarded-Proto: https, http",
    ],
    [
      "Host: 127.0.0.1:2319",
      "Origin: https://jobs.example.com",
      "X-Forwarded-Host: jobs.example.com",
      "X-Forwarded-Proto: https",
    ],
  ];
  for (const headers of rows) {
    assert.equal((await ask({ headers })).status, 200, headers.join());
  }
  for (const headers of [
    ["Host: jobs.example.com", "Origin: https://jobs.example.com"],
    ["Host: jobs.example.com", "Origin: http://jobs.example.com", "X-Forwarded-Proto: https"],
  ]) {
    assert.equal((await ask({ headers })).status, 403, headers.join());
  }
});

test("origins that are allowed are answered as a browser wants it", async (t) => {
  const allowedOrigins = ["https://App.example.com:443", "http://localhost:3000"];
  const [ask] = await open(t, { allowedOrigins });
  for (const origin of ["https://app.example.com", "http://localhost:3000"]) {
    const headers = ["Host: localhost", `Origin: ${origin}`, "Sec-Fetch-Site: cross-site"];
    for (const [path, status] of [
      ["/v1/queues.list", 200],
      ["/v1/nope", 501],
    ] as const) {
      const reply = await ask({ path, headers });
      assert.equal(reply.status, status);
      assert.equal(reply.headers.get("access-control-allow-origin"), origin);
      assert.equal(reply.headers.get("vary"), "Origin");
      assert.equal(reply.headers.get("access-control-allow-credentials"), undefined);
    }
    const page = await ask({ method: "GET", path: "/openapi.json", headers });
    assert.deepEqual([page.status, page.headers.get("access-control-allow-origin")], [200, origin]);
    const preflight = await ask({
      method: "OPTIONS",
      headers: [
        ...headers,
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type,authorization",
        "Access-Control-Request-Private-Network: true",
      ],
    });
    assert.equal(preflight.status, 204);
    const told = (name: string): string | undefined =>
      preflight.headers.get(`access-control-allow-${name}`);
    assert.deepEqual(
      [told("origin"), told("headers"), told("private-network")],
      [origin, "content-type,authorization", "true"],
    );
    assert.match(told("methods")!, /\bPOST\b/);
  }
  for (const origin of ["https://app.example.com.evil.example", "http://app.example.com", "null"]) {
    const reply = await ask({ headers: ["Host: localhost", `Origin: ${origin}`] });
    assertRefused(reply, /--allowed-origins/, origin);
    assert.equal(reply.headers.get("access-control-allow-origin"), undefined);
  }
});

test("any origin can be allowed, but for those that are none", async (t) => {
  const [ask] = await open(t, { allowedOrigins: "*" });
  const reply = await ask({ headers: ["Host: localhost", "Origin: http://any.example"] });
  assert.equal(reply.headers.get("access-control-allow-origin"), "http://any.example");
  assert.equal(reply.status, 200);
  assert.equal((await ask({ headers: ["Host: localhost", "Origin: null"] })).status, 403);
});

const FINE = [
  "localhost",
  "localhost:1",
  "LOCALHOST:2319",
  "localhost.",
  "jobs.localhost",
  "127.0.0.1:2319",
  "127.1",
  "10.1.2.3",
  "[::1]:2319",
  "[::1]",
  "[fe80::1]:80",
  "host.docker.internal:2319",
  hostname(),
  "",
];
const WRONG = [
  "evil.example",
  "evil.example:2319",
  "localhost.evil.example",
  "localhost@evil.example",
  "evil.example@localhost",
  "evil.example.",
  "127.0.0.1.evil.example",
  "127.0.0.1.nip.io:2319",
  "notlocalhost",
  "[::1].evil.example",
  "evil.example#localhost",
  "local host",
];

test("a server that listens for its own machine answers to the names of it", async (t) => {
  const [ask, server] = await open(t);
  // Both ways of reading: a plain request, and one that is not.
  for (const more of [[], ["Expect: 100-continue"], ["Accept: */*"]]) {
    for (const host of FINE) {
      assert.equal((await ask({ headers: [`Host: ${host}`, ...more] })).status, 200, host);
    }
    for (const host of WRONG) {
      assertRefused(await ask({ headers: [`Host: ${host}`, ...more] }), /--allowed-hosts/, host);
    }
  }
  for (const path of ["/health", "/docs", "/"]) {
    const reply = await ask({ method: "GET", path, headers: ["Host: evil.example"] });
    assertRefused(reply, /not known as 'evil\.example'/, path);
  }
  const twice = await ask({ headers: ["Host: localhost", "Host: evil.example"] });
  assert.equal(twice.status, 400);
  assert.equal((await ask({ headers: [], version: "1.0" })).status, 200);
  // Known heads are known with their host.
  const connection = await RawConnection.open(server.server.port);
  t.after(() => connection.destroy());
  for (const host of ["localhost", "evil.example", "localhost"]) {
    const text = `POST /v1/queues.list HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 2\r\n\r\n{}`;
    const outcome = await connection.send(text, { waitMs: 10_000 });
    assert.equal(
      outcome.kind === "reply" && outcome.reply.status,
      host === "localhost" ? 200 : 403,
    );
  }
});

test("more names can be given, or any", async (t) => {
  const [ask] = await open(t, { allowedHosts: "Jobs.Example.com, other.example" });
  for (const host of ["jobs.example.com:80", "JOBS.example.com", "other.example.", "localhost"]) {
    assert.equal((await ask({ headers: [`Host: ${host}`] })).status, 200, host);
  }
  assert.equal((await ask({ headers: ["Host: more.other.example"] })).status, 403);
  const [any] = await open(t, { allowedHosts: ["*"] });
  assert.equal((await any({ headers: ["Host: evil.example"] })).status, 200);
});

test("a server that listens for others does not look at its name, but at where pages come from", async (t) => {
  const [ask] = await open(t, { address: "0.0.0.0:0", auth: "none" });
  assert.equal((await ask({ headers: ["Host: jobs.example.com"] })).status, 200);
  assert.equal(
    (await ask({ headers: ["Host: a.example", "Origin: http://a.example"] })).status,
    200,
  );
  assert.equal(
    (await ask({ headers: ["Host: a.example", "Origin: http://b.example"] })).status,
    403,
  );
});

test("every thread refuses the same", async (t) => {
  const [ask] = await open(t, {
    threads: 2,
    address: "127.0.0.1:0",
    allowedOrigins: ["http://a.example"],
  });
  for (let i = 0; i < 12; i++) {
    assert.equal((await ask({ headers: ["Host: evil.example"] })).status, 403);
    assert.equal(
      (await ask({ headers: ["Host: localhost", "Origin: http://b.example"] })).status,
      403,
    );
    assert.equal(
      (await ask({ headers: ["Host: localhost", "Origin: http://a.example"] })).status,
      200,
    );
  }
});
