// What an error is under /v2: a problem of RFC 9457 with a code, in JSON and in Protobuf, whichever
// reader has read the request, and also where there is no endpoint; and the id by which a request is
// found again. Under /v1 none of this shows.

import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { fromBinary, toJson } from "@bufbuild/protobuf";
import { OK } from "../../src/codec/answer.ts";
import { ProblemSchema } from "../../src/codec/gen/querator/v2/problem_pb.ts";
import { invalidField, type QueueError, queueError } from "../../src/errors.ts";
import type { Endpoint, Exchange, Page } from "../../src/http/edge.ts";
import { RequestMeter } from "../../src/http/meters.ts";
import { HttpServer } from "../../src/http/server.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import type { Logger } from "../../src/log.ts";
import type { Reply } from "../support/http-text.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { SILENT } from "../support/server.ts";

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
}

// In one request there is nothing that a plain one may not have, in the other a body in chunks, and in
// the third a field that wants an answer before the body.
const READERS = ["plain", "chunked", "expecting"] as const;

/** A server with an endpoint that does this, on both paths, and how to ask it in a way. */
async function open(
  t: TestContext,
  handle: (exchange: Exchange) => void,
  log: Logger = SILENT,
): Promise<(sent: Sent, reader?: (typeof READERS)[number]) => Promise<Reply>> {
  const endpoint: Endpoint = {
    bodyBytesMax: 64,
    meter: new RequestMeter("call"),
    handle: (_body, _format, exchange) => {
      handle(exchange);
      return OK;
    },
  };
  const endpoints = new Map([
    ["/v1/call", endpoint],
    ["/v2/call", endpoint],
  ]);
  const page: Page = { handle: () => ({ status: 200, type: "text/plain", body: "page" }) };
  const pages = new Map([
    ["/page", page],
    ["/v2/page", page],
  ]);
  const http = new HttpServer({ endpoints, pages, limits: DEFAULT_LIMITS, log });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  t.after(() => http.closeAllConnections());
  t.after(() => http.close());
  const { port } = http.address() as AddressInfo;
  return async (
    { method = "POST", path = "/v2/call", headers = [], body = "{}" },
    reader = "plain",
  ) => {
    const connection = await RawConnection.open(port);
    const isChunked = reader === "chunked";
    const lines = [
      `${method} ${path} HTTP/1.1`,
      "Host: localhost",
      isChunked ? "Transfer-Encoding: chunked" : `Content-Length: ${body.length}`,
      ...(reader === "expecting" ? ["Expect: 100-continue"] : []),
      ...headers,
    ];
    const sent = isChunked ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
    const text = `${lines.join("\r\n")}\r\n\r\n${sent}`;
    const outcome = await connection.send(text, { waitMs: 10_000, bodiless: method === "HEAD" });
    connection.destroy();
    assert.equal(outcome.kind, "reply", lines.join(" | "));
    return (outcome as Extract<typeof outcome, { kind: "reply" }>).reply;
  };
}

function failing(error: Error): () => never {
  return () => {
    throw error;
  };
}

// biome-ignore lint/suspicious/noExplicitAny: a body is looked into as its reader would
function jsonOf({ body }: Reply): any {
  return JSON.parse(body.toString());
}

test("an error of an endpoint is a problem under /v2, and what it was under /v1", async (t) => {
  const error = queueError("not_leased", { verb: "released", id: "x" });
  const ask = await open(t, failing(error));
  for (const reader of READERS) {
    const { status, headers, body } = await ask({ headers: ["X-Request-Id: mine"] }, reader);
    assert.equal(status, 409);
    assert.equal(headers.get("content-type"), "application/problem+json");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("x-request-id"), "mine");
    assert.equal(
      body.toString(),
      '{"type":"/docs#not_leased","title":"Not leased","status":409,"code":"not_leased",' +
        `"detail":"item(s) cannot be released; 'x' is not marked as leased","request_id":"mine",` +
        '"details":{"verb":"released","id":"x"}}',
    );
    const before = await ask({ path: "/v1/call", headers: ["X-Request-Id: mine"] }, reader);
    assert.equal(before.status, 400);
    assert.equal(before.headers.get("content-type"), "application/json");
    assert.equal(before.headers.has("x-request-id"), false);
    assert.equal(
      before.body.toString(),
      `{"code":400,"code_text":"Bad Request","message":"${error.message}"}`,
    );
  }
});

test("a problem names the field that is wrong", async (t) => {
  let error: QueueError = invalidField("items[3].kind", "kind is invalid; it is too long");
  const ask = await open(t, () => {
    throw error;
  });
  const told = jsonOf(await ask({}));
  assert.deepEqual(
    [told.status, told.code, told.field, told.detail, "details" in told],
    [400, "invalid_field", "items[3].kind", error.message, false],
  );
  error = queueError("unknown_field", { field: "colour" });
  assert.equal(jsonOf(await ask({})).field, "colour");
});

test("a problem is a message in Protobuf, under the name that was asked for", async (t) => {
  const ask = await open(t, failing(queueError("queue_not_found", { queue_name: "q" })));
  for (const type of ["application/protobuf", "application/x-protobuf"]) {
    for (const reader of READERS) {
      const headers = [`Accept: ${type}`, "X-Request-Id: mine"];
      const reply = await ask({ headers }, reader);
      assert.deepEqual([reply.status, reply.headers.get("content-type")], [404, type]);
      const json = jsonOf(await ask({ headers: ["X-Request-Id: mine"] }, reader));
      assert.deepEqual(toJson(ProblemSchema, fromBinary(ProblemSchema, reply.body)), json);
    }
  }
});

test("what is sent away for a while is told when to come again", async (t) => {
  let error = queueError("overloaded", {});
  const ask = await open(t, () => {
    throw error;
  });
  for (const reader of READERS) {
    error = queueError("overloaded", {});
    const full = await ask({}, reader);
    assert.deepEqual([full.status, full.headers.get("retry-after")], [429, "1"]);
    assert.equal(jsonOf(full).retryable, true);
    error = queueError("standby", {});
    const standby = await ask({}, reader);
    assert.deepEqual([standby.status, standby.headers.get("retry-after")], [503, "1"]);
    assert.equal(standby.headers.get("connection"), "close");
    error = queueError("timed_out", {});
    const late = await ask({}, reader);
    assert.deepEqual([late.status, late.headers.has("retry-after")], [504, false]);
    error = queueError("overloaded", {});
    const before = await ask({ path: "/v1/call" }, reader);
    assert.deepEqual([before.status, before.headers.has("retry-after")], [454, false]);
  }
});

test("what is refused before there is an endpoint is a problem as well, by its path", async (t) => {
  const ask = await open(t, () => undefined);
  const long = "x".repeat(65);
  const rows: readonly [Sent, number, string][] = [
    [{ path: "/v2/nothing" }, 404, "no_such_method"],
    [{ path: "/v2/nothing", method: "GET", body: "" }, 404, "no_such_method"],
    [{ method: "GET", body: "" }, 405, "method_not_allowed"],
    [{ method: "DELETE", body: "" }, 405, "method_not_allowed"],
    [{ headers: ["Accept: text/html"] }, 406, "not_acceptable"],
    [{ headers: ["Content-Type: text/html"] }, 415, "unsupported_media_type"],
    [{ headers: ["Content-Encoding: gzip"] }, 415, "unsupported_encoding"],
    [{ headers: ["Origin: http://evil.example"] }, 403, "permission_denied"],
    [{ headers: ["Host: other"] }, 400, "invalid_field"],
    [{ body: long }, 413, "body_too_large"],
  ];
  for (const [sent, status, code] of rows) {
    const reply = await ask(sent);
    const problem = jsonOf(reply);
    assert.deepEqual([reply.status, problem.status, problem.code], [status, status, code]);
    assert.equal(reply.headers.get("content-type"), "application/problem+json", code);
    assert.equal(reply.headers.get("x-request-id"), problem.request_id, code);
    assert.equal(reply.headers.get("allow"), status === 405 ? "POST" : undefined, code);
    const path = (sent.path ?? "/v2/call").replace("/v2/", "/v1/");
    const before = await ask({ ...sent, path });
    assert.deepEqual(Object.keys(jsonOf(before)), ["code", "code_text", "message"], code);
    assert.equal(before.headers.has("x-request-id"), false);
    assert.equal(before.headers.has("allow"), false);
  }
});

test("a method that a path does not take is told which ones it does", async (t) => {
  const ask = await open(t, () => undefined);
  assert.equal((await ask({ path: "/v2/page", method: "GET", body: "" })).body.toString(), "page");
  for (const method of ["POST", "PUT"]) {
    const reply = await ask({ path: "/v2/page", method });
    assert.deepEqual([reply.status, reply.headers.get("allow")], [405, "GET, HEAD"]);
    assert.equal(jsonOf(reply).code, "method_not_allowed");
  }
  assert.equal((await ask({ path: "/page", method: "PUT" })).status, 400);
  assert.equal((await ask({ path: "/page" })).status, 501);
});

test("a request keeps the id that it has, and is given one if it has none", async (t) => {
  const seen: string[] = [];
  const ask = await open(t, ({ requestId }) => seen.push(requestId));
  const made = new Set<string>();
  for (const reader of READERS) {
    for (const id of ["a", "!~", "x".repeat(128), "4bf92f35-77b3-4da6"]) {
      const reply = await ask({ headers: [`X-Request-Id: ${id}`] }, reader);
      assert.deepEqual([reply.status, reply.headers.get("x-request-id")], [200, id]);
      assert.equal(seen.pop(), id);
    }
    const others = ["", "two words", "x".repeat(129), "\u00e9", "a\tb"];
    for (const headers of [[], ...others.map((id) => [`X-Request-Id: ${id}`])]) {
      const reply = await ask({ headers }, reader);
      const id = reply.headers.get("x-request-id")!;
      assert.match(id, /^[!-~]{1,128}$/);
      assert.equal(seen.pop(), id);
      assert.ok(!made.has(id) && !others.includes(id), id);
      made.add(id);
    }
    const twice = await ask({ headers: ["X-Request-Id: a", "X-Request-Id: b"] }, reader);
    assert.doesNotMatch(twice.headers.get("x-request-id")!, /,/);
  }
});

test("the log tells of a defect with the id of its request, the reply nothing of it", async (t) => {
  const lines: object[] = [];
  const log: Logger = { ...SILENT, error: (fields: object) => lines.push(fields) };
  const ask = await open(t, failing(new TypeError("a defect")), log);
  for (const reader of READERS) {
    for (const path of ["/v1/call", "/v2/call"]) {
      const reply = await ask({ path, headers: ["X-Request-Id: mine"] }, reader);
      assert.equal(reply.status, 500);
      assert.doesNotMatch(reply.body.toString(), /defect/);
      const { path: where, request_id } = lines.pop() as Record<string, unknown>;
      assert.deepEqual([where, request_id], [path, "mine"]);
    }
  }
  const { request_id } = jsonOf(await ask({}));
  assert.equal((lines.pop() as { request_id: string }).request_id, request_id);
});

test("an idempotency key gets to the endpoint, if it is one", async (t) => {
  const seen: string[] = [];
  const ask = await open(t, ({ idempotencyKey }) => seen.push(idempotencyKey));
  for (const reader of READERS) {
    for (const key of ["k", "a-key/with!signs~", "x".repeat(255)]) {
      assert.equal((await ask({ headers: [`Idempotency-Key: ${key}`] }, reader)).status, 200);
      assert.equal(seen.pop(), key);
    }
    await ask({}, reader);
    assert.equal(seen.pop(), "");
    for (const key of ["", "two words", "x".repeat(256), "\u00e9"]) {
      const headers = [`Idempotency-Key: ${key}`];
      const reply = await ask({ headers }, reader);
      const { code, field } = jsonOf(reply);
      assert.deepEqual([reply.status, code, field], [400, "invalid_field", "Idempotency-Key"]);
      // There it means nothing.
      assert.equal((await ask({ path: "/v1/call", headers }, reader)).status, 200);
      assert.equal(seen.pop(), "");
    }
    const twice = ["Idempotency-Key: a", "Idempotency-Key: b"];
    assert.equal((await ask({ headers: twice }, reader)).status, 400);
    assert.equal(seen.length, 0);
  }
});
