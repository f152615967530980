// What a row says of its endpoint for those who decide and count before its handler does: which queue a
// request is about, what its caller must be allowed to do, and what it is counted as.

import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import { makeDevEndpoints } from "../../src/api/dev.ts";
import { makeStreams } from "../../src/api/events.ts";
import { makeOpenApi } from "../../src/api/openapi/document.ts";
import { makePages } from "../../src/api/pages.ts";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { ANYONE } from "../../src/auth/principal.ts";
import { decodeJson } from "../../src/codec/json.ts";
import { formatSize } from "../../src/http/body.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";

const endpoints = [
  ...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).values(),
  ...makeDevEndpoints({} as Parameters<typeof makeDevEndpoints>[0]).values(),
];

test("a request that names a queue is about that queue", () => {
  for (const { row } of endpoints) {
    const { path, example } = row;
    const queue =
      "schema" in row
        ? row.queueOf?.(example)
        : row.queueOf?.(decodeJson(row.request, Buffer.from(JSON.stringify(example))));
    assert.equal(queue, example.queue_name, path);
  }
});

test("an endpoint is counted by its verb, the same under /v1 and /v2", () => {
  for (const { row } of endpoints) {
    assert.equal(row.metric, row.path.replace(/^\/v\d\/(storage\/|queue\.)?/, ""), row.path);
  }
});

// By the contract of /v1 who may see the counts of a queue may list its items.
const LISTS = ["/v1/storage/items.list"];

test("what is counted as the same needs the same permission", () => {
  const known = new Map<string, string>();
  for (const { row } of endpoints.filter(({ row }) => !LISTS.includes(row.path))) {
    assert.equal(row.permission, known.get(row.metric) ?? row.permission, row.path);
    known.set(row.metric, row.permission);
  }
});

test("the pages of the document are those that are served", async () => {
  const source = {
    endpoints: new Map(),
    formatSize,
    health: async () => ({ pass: true, status: "pass" as const, body: "" }),
    metrics: async () => "",
  };
  const documented = Object.keys(makeOpenApi(source).paths as object);
  const request = { headers: {}, socket: {} } as IncomingMessage;
  const served: string[] = [];
  for (const [path, page] of makePages(source)) {
    assert.equal(page.path, path);
    const permissions: Record<string, string> = {
      "/metrics": "system.metrics",
      "/metrics/queues": "metrics.read",
    };
    assert.equal(page.permission, permissions[path] ?? "none", path);
    // What only leads elsewhere is no page.
    if ((await page.handle(request, ANYONE)).status === 200) served.push(path);
  }
  const streams = makeStreams({
    listeners: () => assert.fail("nobody asks"),
    checkRunning: () => undefined,
  });
  assert.deepEqual([...served, ...streams.keys()], documented);
});
