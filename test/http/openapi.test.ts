// The OpenAPI document tells what the server does: its routes and errors are those of the code, its
// examples are answered as it says, and the page shows all of it.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { ERROR_KINDS, MESSAGES } from "../../src/errors.ts";
import { makeEndpoints, type Service } from "../../src/http/routes.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { setup, type TestServer } from "../support/server.ts";

// biome-ignore lint/suspicious/noExplicitAny: the document is looked into as a reader would
type Json = any;

async function open(t: TestContext): Promise<{ server: TestServer; document: Json }> {
  const server = await setup(t);
  const response = await fetch(`${server.server.address}/openapi.json`);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  return { server, document: await response.json() };
}

const routes = [...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).keys()];

test("the document has every route of the server, and no other", async (t) => {
  const { document } = await open(t);
  const dev = ["/v1/dev.clock", "/v1/dev.pause", "/v1/dev.resume"]; // setup() starts with --dev
  const pages = ["/health", "/openapi.json", "/docs"];
  assert.deepEqual(Object.keys(document.paths).sort(), [...routes, ...dev, ...pages].sort());
});

test("every call documents every error, and every constant message is an example", async (t) => {
  const { document } = await open(t);
  const statuses = Object.values(ERROR_KINDS).map(({ status }) => String(status));
  for (const path of routes) {
    const { responses } = document.paths[path].post;
    assert.deepEqual(Object.keys(responses).sort(), ["200", ...statuses].sort(), path);
  }
  const responses: Json[] = Object.values(document.components.responses);
  const messages = responses
    .flatMap(({ content }) => Object.values<Json>(content["application/json"].examples ?? {}))
    .map(({ value }) => value.message);
  assert.deepEqual(messages.sort(), Object.values(MESSAGES).sort());
});

test("every reference in the document leads somewhere", async (t) => {
  const { document } = await open(t);
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)];
  assert.ok(references.length > 0);
  for (const [, path] of references) {
    const target = path!.split("/").reduce((value: Json, key) => value?.[key], document);
    assert.ok(target, path!);
  }
});

test("every example is answered with 200 and with no field that is not documented", async (t) => {
  const { server, document } = await open(t);
  // In an order in which each finds what it needs; an id is that of an item that is leased.
  const first = ["/v1/queues.create", "/v1/queue.produce", "/v1/queue.lease", "/v1/queue.complete"];
  const last = ["/v1/storage/items.delete", "/v1/queues.delete"];
  const between = routes.filter((path) => !first.includes(path) && !last.includes(path));
  for (const path of [...first, ...between, ...last]) {
    const { requestBody, responses } = document.paths[path].post;
    const { example } = requestBody.content["application/json"];
    const ids = path === "/v1/queue.complete" || path === "/v1/queue.retry";
    const request = ids ? await withLeasedId(server, path, example) : example;
    const { status, body } = await server.call(path.slice("/v1/".length), request);
    assert.equal(status, 200, `${path}: ${JSON.stringify(body)}`);
    checkShape(body, responses[200].content["application/json"].schema, document, path);
  }
});

async function withLeasedId(server: TestServer, path: string, example: Json): Promise<Json> {
  await server.produce("jobs", "one more");
  const { items } = await server.lease("jobs");
  const { id } = items[0];
  const isComplete = path === "/v1/queue.complete";
  return isComplete ? { ...example, ids: [id] } : { ...example, items: [{ id }] };
}

function checkShape(value: Json, schema: Json, document: Json, where: string): void {
  if (schema.anyOf !== undefined) {
    checkShape(value, schema.anyOf[0], document, where); // the others are of null and quoted numbers
  } else if (schema.$ref !== undefined) {
    const target = document.components.schemas[schema.$ref.split("/").at(-1)];
    checkShape(value, target, document, where);
  } else if (schema.type === "array") {
    assert.ok(Array.isArray(value), where);
    for (const entry of value) checkShape(entry, schema.items, document, `${where}[]`);
  } else if (schema.type === "object") {
    for (const [name, member] of Object.entries(value)) {
      assert.ok(schema.properties[name], `${where}.${name} is not documented`);
      checkShape(member, schema.properties[name], document, `${where}.${name}`);
    }
  } else {
    assert.equal(typeof value, schema.type === "integer" ? "number" : schema.type, where);
  }
}

test("every field of an example is documented", async (t) => {
  const { document } = await open(t);
  for (const path of routes) {
    const { schema, example } = document.paths[path].post.requestBody.content["application/json"];
    const { allOf } = schema;
    checkShape(example, allOf === undefined ? schema : allOf[0], document, path);
    for (const name of allOf?.[1].required ?? []) assert.ok(name in example, `${path}: ${name}`);
  }
});

test("a call without a field that must be given is refused", async (t) => {
  const { server, document } = await open(t);
  await server.createQueue("jobs");
  for (const path of routes) {
    const { schema, example } = document.paths[path].post.requestBody.content["application/json"];
    for (const name of schema.allOf?.[1].required ?? []) {
      const { [name]: _, ...rest } = example;
      const { status, body } = await server.call(path.slice("/v1/".length), rest);
      assert.equal(status, 400, `${path} without ${name}: ${JSON.stringify(body)}`);
    }
  }
});

test("what the decoder reads beside plain JSON is in the schemas of requests", async (t) => {
  const { server, document } = await open(t);
  const request = { limit: "10", pivot: null };
  assert.equal((await server.call("queues.list", request)).status, 200);
  const { limit, pivot } = document.components.schemas.QueuesListRequest.properties;
  assert.match(request.limit, new RegExp(limit.anyOf[0].anyOf[1].pattern));
  assert.deepEqual(pivot.anyOf[1], { type: "null" });
});

test("the pattern of bytes is what the decoder reads", async (t) => {
  const { server, document } = await open(t);
  await server.createQueue("jobs");
  const { bytes } = document.components.schemas.QueueProduceItemInput.properties;
  const pattern = new RegExp(bytes.anyOf[0].pattern);
  const texts = ["", "aGk=", "aGk", "aA==", "aA", "-_-_", "+/+/", "a", "aGk==", "a b=", "\u0013"];
  for (const text of texts) {
    const items = [{ bytes: text }];
    const request = { queue_name: "jobs", request_timeout: "1m", items };
    const { status } = await server.call("queue.produce", request);
    assert.equal(status, pattern.test(text) ? 200 : 455, JSON.stringify(text));
  }
});

test("the page shows every call, and may load nothing from elsewhere", async (t) => {
  const { server, document } = await open(t);
  const response = await fetch(`${server.server.address}/docs`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-security-policy")!, /^default-src 'none'; style-src/);
  const page = await response.text();
  assert.doesNotMatch(page, /<script|https?:|src=/);
  for (const methods of Object.values<Json>(document.paths)) {
    for (const { operationId } of Object.values<Json>(methods)) {
      assert.ok(page.includes(`id="${operationId}"`), operationId);
    }
  }
  for (const [, anchor] of page.matchAll(/href="#([^"]+)"/g)) {
    assert.ok(page.includes(`id="${anchor}"`), anchor!);
  }
});

for (const path of ["/openapi.json", "/docs"]) {
  test(`${path} is read with GET only`, async (t) => {
    const server = await setup(t);
    const status = async (method: string): Promise<number> =>
      (await fetch(`${server.server.address}${path}`, { method })).status;
    assert.equal(await status("HEAD"), 400);
    assert.equal(await status("PUT"), 400);
    assert.equal(await status("POST"), 501);
  });
}
