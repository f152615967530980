// A connection begins with the reader of plain requests, and goes over to node:http with the first one
// that is not plain. Whichever reads a request, under /v2 the reply is the same: status, headers and body.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import type { Reply } from "../support/http-text.ts";
import { OpenApi } from "../support/openapi.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { setup } from "../support/server.ts";

interface Request {
  readonly path: string;
  readonly headers: readonly string[];
  readonly body: string;
}

/** Sends a request in a way of its own. */
type Reader = (request: Request) => string;

const LONG_FIELD = `X-Long: ${"x".repeat(2_100)}`;

// The first of them is the one that needs no node:http.
const READERS: Readonly<Record<string, Reader>> = {
  plain: ({ path, headers, body }) => withLength(path, headers, body),
  "in chunks": ({ path, headers, body }) => {
    const lines = ["Host: localhost", ...headers, "Transfer-Encoding: chunked"];
    const chunks = [...body].map((letter) => `1\r\n${letter}\r\n`).join("");
    return `POST ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n${chunks}0\r\n\r\n`;
  },
  "with a long head": ({ path, headers, body }) => withLength(path, [...headers, LONG_FIELD], body),
  "with a query": ({ path, headers, body }) => withLength(`${path}?x=1`, headers, body),
};

function withLength(path: string, headers: readonly string[], body: string): string {
  const lines = ["Host: localhost", ...headers, `Content-Length: ${body.length}`];
  return `POST ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n${body}`;
}

/** A server of its own for a reader, as what it is asked may change it. */
async function open(t: TestContext): Promise<(text: string) => Promise<Reply>> {
  const started = await setup(t);
  // Where it is the same time for all, and stays so.
  await started.ok("dev.clock", { now: "2030-01-01T00:00:00Z" });
  const { server } = started;
  return async (text) => {
    const connection = await RawConnection.open(server.port);
    const outcome = await connection.send(text, { waitMs: 10_000, bodiless: false });
    connection.destroy();
    assert.equal(outcome.kind, "reply", text);
    return (outcome as Extract<typeof outcome, { kind: "reply" }>).reply;
  };
}

// Ids are others on another server. In Protobuf a letter may be what comes behind one.
function shown({ status, headers, body }: Reply): unknown {
  const text = body.toString("latin1").replace(/\b[0-9A-Za-z]{27}/g, "<id>");
  // A connection on which much may still come is not kept: that is about the bytes, not about the reply.
  const own = ["date", "connection", "keep-alive"];
  const told = [...headers].filter(([name]) => !own.includes(name)).sort();
  return { status, headers: told, text };
}

// They tell of the moment at which they are asked.
const OF_NOW = ["/v2/debug.dump", "/v2/server.overview", "/v2/queue.history"];
const PATHS = [...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).keys()].filter(
  (path) => path.startsWith("/v2/") && !OF_NOW.includes(path),
);
const CREATE = {
  path: "/v1/queues.create",
  body: JSON.stringify({
    queue_name: "jobs",
    lease_timeout: "1m",
    expire_timeout: "1h",
    requested_partitions: 1,
  }),
  headers: [],
};

function* requests(): Iterable<Request> {
  const openApi = OpenApi.tolerant();
  for (const path of PATHS) {
    const example = openApi.example(path);
    const good = JSON.stringify(example);
    for (const body of [good, "{}", "", "{", "[]", JSON.stringify({ ...example, colour: 1 })]) {
      yield { path, headers: [], body };
    }
    for (const header of [
      "Accept: application/protobuf",
      "Accept: application/x-protobuf",
      "Accept: text/html",
      "Accept: text/html, application/json;q=0.1",
      "Content-Type: application/protobuf",
      "Content-Type: text/plain",
      "Authorization: Basic dXNlcjpwYXNz",
      "Authorization: Bearer key",
      "Idempotency-Key: key",
      "Idempotency-Key: no key",
      "Origin: http://localhost",
      "Origin: http://evil.example",
      "Sec-Fetch-Site: cross-site",
      "User-Agent: \t curl/8 ",
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ]) {
      yield { path, headers: [header], body: good };
    }
  }
  yield { path: "/v2/nothing", headers: [], body: "{}" };
}

test("under /v2 a reply is the same whichever reader has read the request", async (t) => {
  assert.ok(PATHS.length > 0);
  const seen = new Set<number>();
  const asks = await Promise.all(Object.values(READERS).map(() => open(t)));
  for (const withQueue of [false, true]) {
    for (const ask of asks) if (withQueue) await ask(READERS.plain!(CREATE));
    for (const { path, headers, body } of requests()) {
      // Given, so that it is the same as well.
      const request = { path, headers: ["X-Request-Id: mine", ...headers], body };
      const replies: Reply[] = [];
      for (const [i, read] of Object.values(READERS).entries()) {
        replies.push(await asks[i]!(read(request)));
      }
      const [first, ...others] = replies.map(shown);
      seen.add(replies[0]!.status);
      for (const [i, other] of others.entries()) {
        const what = `${Object.keys(READERS)[i + 1]}: ${path} ${headers} ${body}`;
        assert.deepEqual(other, first, what);
      }
    }
  }
  for (const status of [200, 400, 403, 404, 406, 415]) assert.ok(seen.has(status), String(status));
});

// --- what is known of heads that were read before ---

test("heads that differ in what varies are each read as they are", async (t) => {
  const ask = await open(t);
  await ask(READERS.plain!(CREATE));
  const body = '{"queue_name":"jobs"}';
  const path = PATHS.find((each) => each.endsWith("/queue.stats"))!;
  const names = ["X-Request-Id", "x-request-id", "X-REQUEST-ID"];
  for (let i = 0; i < 300; i++) {
    const headers = [
      `User-Agent: agent/${i}`,
      `${names[i % 3]}:${" ".repeat(i % 4)}id-${i}${" ".repeat(i % 2)}`,
      `Authorization: Bearer ${i}`,
      `Idempotency-Key: key-${i}`,
      `X-Forwarded-For: 10.0.0.${i % 250}`,
    ];
    const padded = `${body}${" ".repeat(i)}`;
    const reply = await ask(withLength(path, headers, padded));
    assert.deepEqual([reply.status, reply.headers.get("x-request-id")], [200, `id-${i}`]);
  }
  // The same form, but for a value that is none.
  for (const [header, status] of [
    ["Idempotency-Key: two words", 400],
    ["X-Request-Id: a\u0000b", 400],
    ["User-Agent: a\rb", 400],
    ["Content-Length: 21\u00a0", 400],
    ["Content-Length: 0x15", 400],
    ["Content-Length: ", 400],
    ["Content-Length: -1", 400],
    ["Content-Length: 99999999999", 413],
    ["Transfer-Encoding: identity", 400],
  ] as const) {
    const lines = [
      "Host: localhost",
      "User-Agent: agent",
      "X-Request-Id: id",
      "Content-Length: 21",
    ];
    const name = header.slice(0, header.indexOf(":"));
    const others = lines.filter((line) => !line.startsWith(`${name}:`));
    const good = `POST ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n${body}`;
    const bad = `POST ${path} HTTP/1.1\r\n${[...others, header].join("\r\n")}\r\n\r\n${body}`;
    assert.equal((await ask(good)).status, 200);
    assert.equal((await ask(bad)).status, status, JSON.stringify(header));
    assert.equal((await ask(good)).status, 200);
  }
});
