// The OpenAPI document tells what the server does: its routes and errors are those of the code, its
// examples are answered as it says, and the page shows all of it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ERROR_KINDS, MESSAGES } from "../../src/errors.ts";
import { makeEndpoints, type Service } from "../../src/http/routes.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { isThere } from "../support/commands.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, OpenApi } from "../support/openapi.ts";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface World {
  readonly server: TestServer;
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

test("the document lints clean, with --dev and without", async (t) => {
  for (const dev of [true, false]) {
    const { document } = await open(t, { dev });
    assert.equal("/v1/dev.clock" in document.paths, dev);
    const file = join(temporaryDirectory(t), "openapi.json");
    writeFileSync(file, JSON.stringify(document));
    const args = ["redocly", "lint", "--config", join(root, "redocly.yaml"), file];
    const env = { ...process.env, REDOCLY_TELEMETRY: "off", CI: "true" };
    await promisify(execFile)("npx", args, { cwd: root, env }).catch((error: Json) => {
      assert.fail(`${error.stdout}\n${error.stderr}`);
    });
  }
});

test("the document has every route of the server, and no other", async (t) => {
  const { document } = await open(t);
  const pages = ["/health", "/openapi.json", "/docs"];
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

test("every reference in the document leads somewhere, and every component is used", async (t) => {
  const { document } = await open(t);
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
});

// In an order in which each call finds what it needs; an id is that of an item that is leased.
function inOrder(openApi: OpenApi): string[] {
  const first = ["/v1/queues.create", "/v1/queue.produce", "/v1/queue.lease", "/v1/queue.complete"];
  const last = ["/v1/storage/items.delete", "/v1/queues.delete", "/v1/dev.clock"];
  const between = openApi.calls.filter((path) => !first.includes(path) && !last.includes(path));
  return [...first, ...between, ...last];
}

async function withLeasedId(server: TestServer, path: string, example: Json): Promise<Json> {
  if (!/queue\.(complete|retry|release)$/.test(path)) return example;
  await server.produce("jobs", "one more");
  const { items } = await server.lease("jobs");
  const { id } = items[0];
  if (/v2.queue\.(retry|release)$/.test(path)) return { ...example, leases: [{ lease_id: id }] };
  return path === "/v1/queue.retry" ? { ...example, items: [{ id }] } : { ...example, ids: [id] };
}

const call = (server: TestServer, path: string, request: Json) => server.call(path, request);

test("every example fits its schema and is answered with 200 and what is documented", async (t) => {
  const { server, openApi } = await open(t);
  for (const path of inOrder(openApi)) {
    const example = openApi.example(path);
    assert.equal(openApi.requestMismatch(path, example), "", path);
    const reply = await call(server, path, await withLeasedId(server, path, example));
    assert.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`);
    assert.equal(openApi.replyMismatch(path, reply), "", path);
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
  for (const [path, request] of calls) {
    const reply = await server.call(path, request);
    assert.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`);
    assert.equal(openApi.replyMismatch(`/v1/${path}`, reply), "", path);
    const { schema } = openApi.operation(`/v1/${path}`).responses[200].content["application/json"];
    assert.notEqual(openApi.mismatch(schema, { ...reply.body, colour: "red" }), "");
  }
});

// The fields that a request must have by its schema, and by what is asked beside it.
function requiredBy({ document, operation }: OpenApi, path: string): string[] {
  const { schema } = operation.call({ document } as OpenApi, path).requestBody.content[
    "application/json"
  ];
  const parts = schema.allOf ?? [schema];
  return parts.flatMap((part: Json) => {
    const target = part.$ref ? document.components.schemas[part.$ref.split("/").at(-1)] : part;
    return target.required ?? [];
  });
}

test("a call needs the fields that must be given, and no others", async (t) => {
  const { server, openApi } = await open(t);
  for (const path of inOrder(openApi).filter((each) => !DEV.includes(each))) {
    const required = requiredBy(openApi, path);
    const example = await withLeasedId(server, path, openApi.example(path));
    for (const name of required) {
      for (const bad of [
        { ...example, [name]: undefined },
        { ...example, [name]: null },
      ]) {
        const request = JSON.parse(JSON.stringify(bad));
        assert.notEqual(openApi.requestMismatch(path, request), "", `${path} ${name}`);
        const { status, body } = await call(server, path, request);
        assert.equal(status, 400, `${path} without ${name}: ${JSON.stringify(body)}`);
      }
    }
    const names = path === "/v1/queue.clear" ? [...required, "queue"] : required;
    const request = Object.fromEntries(names.map((name) => [name, example[name]]));
    assert.equal(openApi.requestMismatch(path, request), "", path);
    const reply = await call(server, path, request);
    assert.equal(reply.status, 200, `${path}: ${JSON.stringify(reply.body)}`);
  }
});

test("what the decoder reads beside plain JSON is in the schemas of requests", async (t) => {
  const { server, openApi } = await open(t);
  for (const request of [
    { limit: "10", pivot: null },
    { limit: 10, pivot: "" },
  ]) {
    assert.equal(openApi.requestMismatch("/v1/queues.list", request), "");
    assert.equal((await server.call("queues.list", request)).status, 200);
  }
  const wrong = { limit: "ten" };
  assert.notEqual(openApi.requestMismatch("/v1/queues.list", wrong), "");
  assert.equal((await server.call("queues.list", wrong)).status, 455);
});

test("health is as documented, whether it passes or fails", async (t) => {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: FaultyStorage["storage"]): FaultyStorage["storage"] => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, {}, { wrapStorage });
  const openApi = await OpenApi.of(server);
  for (const status of [200, 503]) {
    if (status === 503) storage!.always("check", "fail");
    const response = await fetch(`${server.server.address}/health`);
    assert.equal(response.status, status);
    const type = response.headers.get("content-type")!;
    const { schema } = openApi.document.paths["/health"].get.responses[status].content[type];
    const body: Json = await response.json();
    assert.equal(openApi.mismatch(schema, body), "");
    assert.notEqual(openApi.mismatch(schema, { ...body, colour: "red" }), "");
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

test("the commands on the page work as they stand", async (t) => {
  const { server, document } = await open(t);
  const page = await (await fetch(`${server.server.address}/docs`)).text();
  const commands = [...page.matchAll(/<pre>(curl [^<]*)<\/pre>/g)].map(([, text]) =>
    text!.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&"),
  );
  assert.equal(commands.length, Object.keys(document.paths).length);
  if (!isThere("command -v curl")) return t.skip("there is no curl");
  for (const command of commands) {
    const here = command.replace("localhost:2319", server.server.address);
    const script = `${here} -s -o /dev/null -w '%{http_code}'`;
    const { stdout: status } = await promisify(execFile)("sh", ["-c", script]);
    // There is no queue yet, so that some are told so; but all are understood.
    assert.match(status, /^(200|400)$/, command);
  }
});

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

for (const path of ["/openapi.json", "/docs"]) {
  test(`${path} is read with GET and HEAD only`, async (t) => {
    const server = await setup(t);
    const status = async (method: string): Promise<number> =>
      (await fetch(`${server.server.address}${path}`, { method })).status;
    assert.equal(await status("HEAD"), 200);
    assert.equal(await status("PUT"), 400);
    assert.equal(await status("POST"), 501);
  });
}
