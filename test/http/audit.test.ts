// The audit over HTTP: what leaves an entry and what does not, what an entry tells and what it never tells, who sees
// it, and how long.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { makeDevEndpoints } from "../../src/api/dev.ts";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { isRead } from "../../src/auth/permissions.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { withAccess } from "../support/access.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import type { Json } from "../support/openapi.ts";
import { ADMIN_KEY, SILENT, setup, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const endpoints = [
  ...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).values(),
  ...makeDevEndpoints({} as Parameters<typeof makeDevEndpoints>[0]).values(),
];

async function list(server: TestServer, request: object = {}): Promise<Json[]> {
  return (await server.ok("/v2/audit.list", request)).entries ?? [];
}

// What an entry says, without when and from where.
function told({ call, target, changes = [], outcome }: Json): Json {
  const values = changes.map(({ field, from, to }: Json) => [field, from, to]);
  return [call, target, outcome, ...values];
}

test("every endpoint that may change something says what the audit is to tell of it", () => {
  for (const { row } of endpoints) {
    const { path, audit, permission } = row;
    if (isRead(permission)) assert.equal(audit, undefined, path);
    else assert.ok(audit !== undefined, `${path} has no word about the audit`);
  }
});

// The work that queues are for, and what changes nothing.
const UNTOLD =
  /^\/v\d\/(queue\.(produce|lease|complete|retry|release|reject|extend|reload)|item\.(cancel|update)|(storage\/)?items\.import|dev\.\w+)$/;

test("only the work that queues are for is not told", () => {
  for (const { row } of endpoints) {
    if (row.audit === undefined) continue;
    assert.equal(row.audit === "never", UNTOLD.test(row.path), row.path);
  }
});

describe("every call that the audit tells leaves its entry, on every storage", () => {
  for (const place of PLACES) {
    test(place, async (t) => {
      const server = await setup(t, await freshPlace(t, place));
      for (const { row } of endpoints) {
        const { path, audit, example } = row;
        if (audit === undefined || audit === "never") continue;
        let request: Json = { ...example };
        if ("queue_name" in request || "queues" in request) {
          await server.call("queues.delete", { queue_name: "jobs", force: true });
          if (!path.endsWith("queues.create") && !path.endsWith("queues.apply")) {
            await server.createQueue("jobs");
          }
        }
        if (path === "/v2/queue.redrive" || path === "/v2/redrives.cancel") {
          const started = await server.ok("/v2/queue.redrive", { queue_name: "jobs" });
          request = path.endsWith("cancel")
            ? { queue_name: "jobs", id: started.id }
            : { queue_name: "jobs" };
        }
        request = await withAccess(server, path, request);
        if (/v2\/roles\.update$/.test(path)) request.permissions = ["queue.list"];
        const before = await list(server, { all_namespaces: true });
        await server.ok(path, request);
        const after = await list(server, { all_namespaces: true });
        const fresh = after.slice(0, after.findIndex(({ id }) => id === before[0]?.id));
        const calls = fresh.map(({ call, outcome }) => [call, outcome]);
        assert.deepEqual(calls, [[path.replace(/^\/v\d\//, ""), "done"]], path);
      }
    });
  }
});
