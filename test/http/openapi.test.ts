// The OpenAPI document tells what the server does: its routes and errors are those of the code, its
// examples are answered as it says, and the page shows all of it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { ERROR_KINDS, MESSAGES } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { isThere } from "../support/commands.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, leasesOf, ON_LEASES, OpenApi, withNeeded } from "../support/openapi.ts";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** All that is taken, and exactly what is answered. */
const exact = OpenApi.tolerant();

interface World {
  readonly server: TestServer;
  /** What is served. */
  readonly openApi: OpenApi;
  readonly document: Json;
}

async function open(t: TestContext, options = {}): Promise<World> {
  const server = await setup(t, options);
  const openApi = await OpenApi.of(server);
  return { server, openApi, document: openApi.document };
}

const routes = [...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).keys()];
const DEV = ["/v1/dev.clock", "/v1/dev.pause", "/v1/dev.resume"]; // setup() starts with --dev

test("the documents lint clean, with --dev and without", async (t) => {
  const { server, document } = await open(t);
  const plain = (await open(t, { dev: false })).document;
  assert.equal("/v1/dev.clock" in document.paths, true);
  assert.equal("/v1/dev.clock" in plain.paths, false);
  const old: Json = await (await fetch(`${server.server.address}/openapi-3.0.json`)).json();
  assert.deepEqual([document.openapi, old.openapi], ["3.1.0", "3.0.3"]);
  const dir = temporaryDirectory(t);
  const files = [document, plain, old, exact.document].map((each, i) => {
    const file = join(dir, `${i}.json`);
    writeFileSync(file, JSON.stringify(each));
    return file;
  });
  const redocly = join(root, "node_modules/.bin/redocly");
  const args = ["lint", "--config", join(root, "redocly.yaml"), ...files];
  const env = { ...process.env, REDOCLY_TELEMETRY: "off", CI: "true" };
  await promisify(execFile)(redocly, args, { cwd: root, env }).catch((error: Json) => {
    assert.fail(`${error.stdout}\n${error.stderr}`);
  });
});

test("the document has every route of the server, and no other", async (t) => {
  const { document } = await open(t);
  const pages = [
    "/health",
    "/metrics",
    "/metrics/queues",
    "/openapi.json",
    "/openapi-3.0.json",
    "/docs",
    "/v2/events",
  ];
  assert.deepEqual(Object.keys(document.paths).sort(), [...routes, ...DEV, ...pages].sort());
});

test("every kind of error and every constant message is in the document", async (t) => {
  const { document } = await open(t);
  for (const { status, text } of Object.values(ERROR_KINDS)) {
    assert.ok(document.info.description.includes(`- \`${status}\` ${text}: `), text);
  }
  const messages = Object.values<Json>(document.components.examples).map(
    ({ value }) => value.message,
  );
  for (const message of Object.values(MESSAGES)) assert.ok(messages.includes(message), message);
});

test("every reference in the documents leads somewhere, and every component is used", async (t) => {
  for (const { document } of [(await open(t)).openApi, exact]) checkReferences(document);
});

function checkReferences(document: Json): void {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)];
  const used = new Set(references.map(([, path]) => path!));
  for (const path of used) {
    const target = path.split("/").reduce((value: Json, key) => value?.[key], document);
    assert.ok(target, path);
  }
  for (const kind of ["schemas", "examples"]) {
    for (const name of Object.keys(document.components[kind])) {
      assert.ok(used.has(`components/${kind}/${name}`), name);
    }
  }
}

// In an order in which each call finds what it needs; an id is that of an item that is leased.
function inOrder(openApi: OpenApi): string[] {
  const first = ["/v1/queues.create", "/v1/queue.produce", "/v1/queue.lease", "/v1/queue.complete"];
  const last = ["/v1/storage/items.delete", "/v1/queues.delete", "/v1/dev.clock"];
  const between = openApi.calls.filter((path) => !first.includes(path) && !last.includes(path));
  // Those of /v2 need the queue again.
  const isEnd = (path: string): boolean => path === "/v2/queues.delete";
  return [
    ...first,
    ...between.filter((path) => !isEnd(path) && path !== "/v2/queues.create"),
    ...last.filter((path) => path !== "/v1/dev.clock"),
    "/v2/queues.create",
    "/v2/queues.delete",
    "/v1/dev.clock",
  ];
}

async function withLeasedId(server: TestServer, path: string, example: Json): Promise<Json> {
  if (path.startsWith("/v2/item.")) {
    const items = [{ utf8: "one more", delay: "1h" }];
    const { results } = await server.ok("/v2/queue.produce", { queue_name: "jobs", items });
    const short = path === "/v2/item.wait" ? { request_timeout: "10ms" } : {};
    return { ...example, ...short, id: results[0].id };
  }
  const isDeletion = path === "/v2/items.delete";
  if (!ON_LEASES.test(path) && path !== "/v2/queue.lease" && !isDeletion) {
    return withNeeded(server, path, example);
  }
  await server.produce("jobs", "one more");
  if (path === "/v2/queue.lease") return example;
  const { items } = await server.lease("jobs");
  const { id } = items[0];
  return { ...example, ...(isDeletion ? { ids: [id] } : leasesOf(path, [id])) };
}

const call = (server: TestServer, path: string, request: Json) => server.call(path, request);

test("every example fits its schema and is answered with 200 and what is documented", async (t) => {
  const { server, openApi } = await open(t);
  for (const path of inOrder(openApi)) {
    const example = openApi.example(path);
    const reply = await call(server, path, await withLeasedId(server, path, example));
    assert.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`);
    for (const each of [openApi, exact]) {
      assert.equal(each.requestMismatch(path, example), "", path);
      assert.equal(each.replyMismatch(path, reply), "", path);
    }
  }
});

test("replies with every field set are as documented", async (t) => {
  const { server, openApi } = await open(t);
  await server.createQueue("dead");
  const settings = { dead_queue: "dead", reference: "r", max_attempts: 3, requested_partitions: 1 };
  await server.createQueue("jobs", settings);
  const texts = { encoding: "e", kind: "k", reference: "r", utf8: "u" };
  const later = { ...texts, enqueue_at: "2100-01-01T00:00:00.5Z" };
  const items = [texts, later];
  await server.ok("queue.produce", { queue_name: "jobs", request_timeout: "1m", items });
  const imported = {
    source_id: "s",
    is_leased: true,
    attempts: 1,
    max_attempts: 2,
    payload: "aGk",
  };
  const again = { queue_name: "jobs", items: [imported, { ...imported, id: "x" }] };
  const calls: [string, object][] = [
    ["queue.lease", { queue_name: "jobs", request_timeout: "1m", client_id: "c", batch_size: 9 }],
    ["queue.stats", { queue_name: "jobs" }],
    ["queues.list", {}],
    ["queues.info", { queue_name: "jobs" }],
    ["storage/items.import", again],
    ["storage/items.list", { queue_name: "jobs" }],
    ["storage/scheduled.list", { queue_name: "jobs" }],
  ];
  const ofV2 = { ...texts, utf8: "", json: { a: [1] }, headers: { h: "v" } };
  const scheduled = { utf8: "x", delay: "1h" };
  const queue_name = "jobs";
  const callsV2: [string, object][] = [
    ["/v2/queue.produce", { queue_name, items: [ofV2, ofV2, scheduled, { bytes: "aGk=" }] }],
    ["/v2/queue.lease", { queue_name, batch_size: 1 }],
    ["/v2/items.list", { queue_name, payload: true, limit: 3 }],
    ["/v2/items.list", { queue_name, payload: true, state: "scheduled" }],
    ["/v2/items.import", { queue_name, items: [{ ...ofV2, source_id: "t", state: "leased" }] }],
    ["/v2/items.delete", { queue_name, ids: ["x"] }],
    ["/v2/queue.complete", { queue_name, leases: [{ lease_id: "x" }] }],
    ["/v2/queue.stats", { queue_name }],
    ["/v2/queue.stats", { queue_names: [queue_name, "none"] }],
    ["/v2/queues.list", { limit: 1 }],
    ["/v2/queues.info", { queue_name }],
  ];
  for (const [name, request] of [...calls, ...callsV2]) {
    const path = name.startsWith("/") ? name : `/v1/${name}`;
    const reply = await server.call(path, request);
    assert.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`);
    // A later server may say more; this one does not.
    const more = { ...reply, body: { ...reply.body, colour: "red" } };
    for (const each of [openApi, exact]) {
      assert.equal(each.replyMismatch(path, reply), "", path);
      assert.equal(each.replyMismatch(path, more) === "", each === openApi, path);
    }
  }
});

// The schema of what a call is sent, and the fields that it must have.
function requestSchema({ document }: OpenApi, path: string): Json {
  const { schema } = document.paths[path].post.requestBody.content["application/json"];
  return document.components.schemas[schema.$ref.split("/").at(-1)];
}

// By the contract of /v1, what is named "" is looked for.
const LOOKS_UP = /^\/v1\/(users|apikeys|roles|rolebindings)\.delete$/;

test("a call needs the fields that must be given, and no others", async (t) => {
  const { server, openApi } = await open(t);
  for (const path of inOrder(openApi).filter((each) => !DEV.includes(each))) {
    const required: string[] = requestSchema(openApi, path).required ?? [];
    const example = await withLeasedId(server, path, openApi.example(path));
    for (const name of required) {
      for (const bad of [
        { ...example, [name]: undefined },
        { ...example, [name]: null },
      ]) {
        const request = JSON.parse(JSON.stringify(bad));
        for (const each of [openApi, exact]) {
          assert.notEqual(each.requestMismatch(path, request), "", `${path} ${name}`);
        }
        const { status, body } = await call(server, path, request);
        const details = `${path} without ${name}: ${JSON.stringify(body)}`;
        if (!LOOKS_UP.test(path)) assert.equal(status, 400, details);
        else assert.ok(status === 401 || status === 453, details);
      }
    }
    const isOneOfSeveral = /\/queue\.clear$|^\/v2\/queue\.stats$|\/keys\.revoke$/.test(path);
    const names = [...required, ...(isOneOfSeveral ? Object.keys(example).slice(0, 2) : [])];
    const request = Object.fromEntries(names.map((name) => [name, example[name]]));
    for (const each of [openApi, exact])
      assert.equal(each.requestMismatch(path, request), "", path);
    const reply = await call(server, path, await withNeeded(server, path, request));
    assert.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`);
  }
});

test("what the decoder reads beside plain JSON is in the tolerant document only", async (t) => {
  const { server, openApi } = await open(t);
  const odd = { limit: "10", pivot: null };
  for (const request of [odd, { limit: 10, pivot: "" }]) {
    assert.equal(exact.requestMismatch("/v1/queues.list", request), "");
    assert.equal(openApi.requestMismatch("/v1/queues.list", request) === "", request !== odd);
    assert.equal((await server.call("queues.list", request)).status, 200);
  }
  const wrong = { limit: "ten" };
  assert.notEqual(exact.requestMismatch("/v1/queues.list", wrong), "");
  assert.equal((await server.call("queues.list", wrong)).status, 455);
});

// Every schema of a document, with the place where it is.
function* schemasIn(value: Json, place = ""): Iterable<[place: string, schema: Json]> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield [place, value];
  for (const [key, each] of Object.entries<Json>(value)) {
    const isExample = key === "example" || key === "examples";
    if (!isExample) yield* schemasIn(each, `${place}/${key}`);
  }
}

test("what is served is flat, for generators of clients", async (t) => {
  const { document } = await open(t);
  const isSchema = (place: string): boolean => !/\/properties$/.test(place);
  for (const [place, schema] of schemasIn(document)) {
    if (!isSchema(place)) continue;
    for (const word of ["allOf", "anyOf", "oneOf", "not", "const", "nullable", "contentEncoding"]) {
      assert.ok(!(word in schema), `${place} has ${word}`);
    }
    if ("type" in schema) assert.equal(typeof schema.type, "string", place);
    if ("format" in schema)
      assert.ok(!("pattern" in schema), `${place} has a format and a pattern`);
    if ("enum" in schema) for (const each of schema.enum) assert.match(each, /^[a-z_]+$/, place);
    if ("$ref" in schema) assert.deepEqual(Object.keys(schema), ["$ref"], place);
    // Dialects of regular expressions differ in the rest.
    if ("pattern" in schema) assert.doesNotMatch(schema.pattern, /\\[upPdwb]|\(\?/, place);
  }
  for (const [path, { get: page, post }] of Object.entries<Json>(document.paths)) {
    if (post === undefined) {
      // No client needs it, and generators know few content types.
      for (const each of Object.values<Json>(page.responses)) assert.ok(!("content" in each), path);
      continue;
    }
    const contents = [["request", post.requestBody], ...Object.entries<Json>(post.responses)];
    for (const [what, { content }] of contents) {
      const isProblem = path.startsWith("/v2/") && /^[45]/.test(what);
      const type = isProblem ? "application/problem+json" : "application/json";
      assert.deepEqual(Object.keys(content), [type], path);
      assert.deepEqual(Object.keys(content[type].schema), ["$ref"], path);
    }
  }
});

test("no name that a generator makes of a call is that of a schema", async (t) => {
  const { document } = await open(t);
  const schemas = Object.keys(document.components.schemas).map((name) => name.toLowerCase());
  const ids: string[] = [];
  for (const methods of Object.values<Json>(document.paths)) {
    for (const { operationId } of Object.values<Json>(methods)) ids.push(operationId);
  }
  for (const id of ids) {
    assert.match(id, /^[a-z][A-Za-z0-9]*$/);
    // Of oapi-codegen, hey-api and others; `Request` is ours, and none of them makes a type of it.
    for (const end of ["Response", "Responses", "Params", "Data", "Error", "Errors", ""]) {
      assert.ok(!schemas.includes(`${id}${end}`.toLowerCase()), `${id}${end}`);
    }
  }
  assert.equal(new Set(ids.map((id) => id.toLowerCase())).size, ids.length);
});

test("what is served asks for nothing else than what the server takes", async (t) => {
  const { openApi } = await open(t);
  const bounds = ["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"];
  for (const path of openApi.calls) {
    const served = requestSchema(openApi, path);
    const taken = requestSchema(exact, path);
    assert.deepEqual(served.required, taken.required, path);
    assert.equal(served.additionalProperties, false);
    for (const [name, field] of Object.entries<Json>(served.properties)) {
      for (const bound of bounds) {
        if (bound in field) assert.equal(field[bound], taken.properties[name][bound], name);
      }
    }
  }
});

test("the address of the server is where the document is", async (t) => {
  const { document, server } = await open(t);
  const [{ url }] = document.servers;
  const at = (where: string): string => new URL(url, where).href;
  assert.equal(at(`${server.server.address}/openapi.json`), `${server.server.address}/`);
  assert.equal(at("https://example.com/queues/openapi.json"), "https://example.com/queues/");
});

test("health is as documented, whether it passes or fails", async (t) => {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: FaultyStorage["storage"]): FaultyStorage["storage"] => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, {}, { wrapStorage });
  for (const status of [200, 503]) {
    if (status === 503) storage!.always("check", "fail");
    const response = await fetch(`${server.server.address}/health`);
    assert.equal(response.status, status);
    const type = response.headers.get("content-type")!;
    const { schema } = exact.document.paths["/health"].get.responses[status].content[type];
    const body: Json = await response.json();
    assert.equal(exact.mismatch(schema, body), "");
    assert.notEqual(exact.mismatch(schema, { ...body, colour: "red" }), "");
  }
});

test("the page shows every call, and may load nothing from elsewhere", async (t) => {
  const { server, document } = await open(t);
  const response = await fetch(`${server.server.address}/docs`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-security-policy")!, /^default-src 'none'; style-src/);
  const page = await response.text();
  const commands = new RegExp(`curl ${server.server.address}`, "g");
  assert.doesNotMatch(page.replace(commands, ""), /<script|https?:|src=/);
  // Also where a proxy serves it under a path of its own.
  for (const [, link] of page.matchAll(/href="([^#"][^"]*)"/g)) {
    assert.doesNotMatch(link!, /^\/|:/);
    assert.equal((await fetch(new URL(link!, response.url))).status, 200);
  }
  for (const path of Object.keys(document.paths)) {
    const id = path.replace(/^\/(v1\/)?/, "");
    assert.ok(page.includes(`id="${id}"`), id);
  }
  for (const [, anchor] of page.matchAll(/href="#([^"]+)"/g)) {
    assert.ok(page.includes(`id="${anchor}"`), anchor!);
  }
});

test("the commands on the page work as they stand", async (t) => {
  const { server, document } = await open(t);
  const page = await (await fetch(`${server.server.address}/docs`)).text();
  const commands = [...page.matchAll(/<pre>(curl [^<]*)<\/pre>/g)].map(([, text]) =>
    text!.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&"),
  );
  assert.equal(commands.length, Object.keys(document.paths).length);
  if (!isThere("command -v curl")) return t.skip("there is no curl");
  for (const command of commands) {
    // Events go on until nobody listens.
    const end = command.includes("/v2/events") ? "--max-time 1 || true" : "";
    const script = `${command} -s -o /dev/null -w '%{http_code}' ${end}`;
    const { stdout: status } = await promisify(execFile)("sh", ["-c", script]);
    // There is no queue and no user yet, so that some are told so; but all are understood.
    const expected = command.includes("/v2/") ? /^(200|404)$/ : /^(200|400|401|453)$/;
    assert.match(status, expected, command);
  }
});

test("the page shows the address that it was asked by, and nothing else of a request", async (t) => {
  const { server } = await open(t);
  const { port } = new URL(server.server.address);
  const own = `http://127.0.0.1:${port}`;
  const shown = async (headers: Record<string, string>): Promise<string> => {
    const text = await getText(server.server.address, "/docs", headers);
    const addresses = [...text.matchAll(/<pre>curl (\S*)\/health</g)].map(
      ([, address]) => address!,
    );
    assert.equal(addresses.length, 1);
    assert.doesNotMatch(text, /evil/);
    return addresses[0]!;
  };
  assert.equal(await shown({}), own);
  assert.equal(await shown({ Host: `localhost:${port}` }), `http://localhost:${port}`);
  assert.equal(await shown({ Host: `[::1]:${port}` }), `http://[::1]:${port}`);
  const behind = { "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/queues/" };
  assert.equal(await shown({ Host: "127.0.0.1", ...behind }), "https://127.0.0.1/queues");
  const odd = ["/evil'", "//evil.example", "evil", "/evil/../x", "/a$(evil)", "/a;evil", "/a evil"];
  for (const prefix of odd) {
    assert.equal(await shown({ "X-Forwarded-Prefix": prefix }), own, prefix);
    assert.equal(await shown({ "X-Forwarded-Proto": prefix }), own, prefix);
  }
  assert.equal(await shown({ "X-Forwarded-Host": "evil.example" }), own);
});

function getText(address: string, path: string, headers: Record<string, string>): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  get(`${address}${path}`, { headers }, (response) => {
    response.on("error", reject);
    response
      .setEncoding("utf8")
      .toArray()
      .then((parts) => resolve(parts.join("")), reject);
  }).on("error", reject);
  return promise;
}

test("the page can be read by ear and by keys", async (t) => {
  const { server } = await open(t);
  const page = await (await fetch(`${server.server.address}/docs`)).text();
  assert.match(page, /<html lang="en">/);
  assert.match(page, /<body><a class="skip" href="#top">/);
  const levels = [...page.matchAll(/<h([1-6])[ >]/g)].map(([, level]) => Number(level));
  assert.equal(levels.filter((level) => level === 1).length, 1);
  assert.equal(levels[0], 1, "the title comes first");
  for (const [i, level] of levels.entries()) {
    assert.ok(level <= (levels[i - 1] ?? 0) + 1, "no level is skipped");
  }
  assert.doesNotMatch(page, /<th>|<div class="scroll">/, "heads have a scope, scrolling has keys");
  const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length, "no id is there twice");
});

for (const path of ["/openapi.json", "/openapi-3.0.json", "/docs"]) {
  test(`${path} is read with GET and HEAD only`, async (t) => {
    const server = await setup(t);
    const status = async (method: string): Promise<number> =>
      (await fetch(`${server.server.address}${path}`, { method })).status;
    assert.equal(await status("HEAD"), 200);
    assert.equal(await status("PUT"), 400);
    assert.equal(await status("POST"), 501);
  });
}
