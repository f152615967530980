// The audit over HTTP: what leaves an entry and what does not, what an entry tells and what it never tells, who sees
// it, and how long.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { makeDevEndpoints } from "../../src/api/dev.ts";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { isRead } from "../../src/auth/permissions.ts";
import {
  AuditListRequestSchema,
  AuditListResponseSchema,
} from "../../src/codec/gen/querator/v2/access_pb.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import type { Storage } from "../../src/storage/storage.ts";
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
  for (const [place, driver, threads] of PLACES) {
    test(place, async (t) => {
      const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
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
        const fresh = after.slice(
          0,
          after.findIndex(({ id }) => id === before[0]?.id),
        );
        const calls = fresh.map(({ call, outcome }) => [call, outcome]);
        assert.deepEqual(calls, [[path.replace(/^\/v\d\//, ""), "done"]], path);
      }
    });
  }
});

describe("an entry tells who has done what, from where, and is there after a restart", () => {
  for (const [place, driver, threads] of PLACES) {
    test(place, async (t) => {
      const where = { threads, ...(await freshPlace(t, driver)) };
      const server = await setupClosed(t, where);
      const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
      await server.ok("/v2/bindings.create", { role_name: "Admin", user_id });
      const { info, key } = await server.ok("/v2/keys.create", { user_id, key_tag: "ops" });
      const jane = server.as(key);
      await jane.ok("/v2/queues.create", { queue_name: "jobs", max_attempts: 3 });
      await jane.ok("/v2/queues.update", { queue_name: "jobs", max_attempts: 5 });
      await jane.ok("/v2/queues.update", { queue_name: "jobs", max_attempts: 5 });
      const list_ = [{ queue_name: "jobs", lease_timeout: "2m" }, { queue_name: "more" }];
      await jane.ok("/v2/queues.apply", { queues: list_, dry_run: true });
      await jane.ok("/v2/queues.apply", { queues: list_ });
      await jane.ok("/v2/queue.redrive", { queue_name: "jobs", dry_run: true });
      await jane.ok("/v2/queue.clear", { queue_name: "jobs", queue: true });
      await jane.ok("/v2/queues.delete", { queue_name: "jobs" });
      // Nothing was done.
      assert.equal((await jane.call("/v2/queues.delete", { queue_name: "jobs" })).status, 404);
      const check = async (asked: TestServer): Promise<void> => {
        const entries = await list(asked, { user_id });
        assert.deepEqual(entries.map(told), [
          ["queues.delete", "jobs", "done"],
          ["queue.clear", "jobs", "done", ["queue", undefined, "true"]],
          ["queues.apply", "jobs", "done", ["lease_timeout", "1m0s", "2m0s"]],
          ["queues.apply", "more", "done"],
          ["queues.update", "jobs", "done", ["max_attempts", "3", "5"]],
          ["queues.create", "jobs", "done", ["max_attempts", undefined, "3"]],
        ]);
        for (const entry of entries) {
          const { id, at, request_id, call, target, outcome, changes, ...who } = entry;
          assert.deepEqual(who, {
            user_id,
            username: "jane",
            key_id: info.id,
            key_tag: "ops",
            address: "127.0.0.1",
            namespace: "_system",
          });
          assert.match(request_id, /./);
        }
        const ids = entries.map(({ id }) => id);
        assert.deepEqual(ids, ids.toSorted().reverse());
        // What the server has done by itself, and what was done to users and keys.
        const others = (await list(asked)).slice(entries.length);
        assert.deepEqual(others.map(told), [
          ["keys.create", info.id, "done", ["user_id", undefined, user_id]],
          ["bindings.create", user_id, "done", ["role", undefined, "Admin"]],
          ["users.create", user_id, "done", ["username", undefined, "jane"]],
          ["start", "admin", "done", ["key", undefined, "first"]],
        ]);
      };
      await check(server);
      if (driver === "memory") return;
      await server.server.stop();
      await check(await setupClosed(t, where));
    });
  }
});

test("without authentication everybody is anonymous, with an address", async (t) => {
  const server = await setup(t);
  await server.createQueue("jobs");
  const [entry] = await list(server);
  assert.deepEqual(
    [entry!.user_id, entry!.address, entry!.key_id],
    ["anonymous", "127.0.0.1", undefined],
  );
});

test("settings of users, namespaces, roles and keys are told from what they were to what they are", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/namespaces.create", { name: "acme", quotas: { queues: 3 } });
  await server.ok("/v2/namespaces.update", {
    name: "acme",
    description: "d",
    quotas: { items: 9 },
  });
  await server.ok("/v2/namespaces.update", { name: "acme", description: "d" });
  const role = { namespace: "acme", name: "r" };
  await server.ok("/v2/roles.create", { ...role, permissions: ["queue.list"] });
  await server.ok("/v2/roles.update", { ...role, permissions: ["queue.list", "queue.stats"] });
  await server.ok("/v2/roles.delete", role);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const made = await server.ok("/v2/keys.create", { user_id, namespace: "acme" });
  const next = await server.ok("/v2/keys.rotate", { id: made.info.id, overlap: "0s" });
  await server.ok("/v2/users.delete", { id: user_id });
  const calls = (await list(server)).map(told);
  assert.deepEqual(calls, [
    ["users.delete", user_id, "done", ["username", "jane", undefined]],
    ["users.create", user_id, "done", ["username", undefined, "jane"]],
    [
      "namespaces.update",
      "acme",
      "done",
      ["description", undefined, "d"],
      ["quotas.queues", "3", undefined],
      ["quotas.items", undefined, "9"],
    ],
    ["namespaces.create", "acme", "done", ["quotas.queues", undefined, "3"]],
  ]);
  const inAcme = (await list(server, { namespace: "acme" })).map(told);
  const [deleted, rotated, ...rest] = inAcme;
  const both = `2: ${made.info.id} ${next.info.id}`;
  const username = ["username", "jane", undefined];
  assert.deepEqual(deleted, ["users.delete", user_id, "done", username, ["keys", both, undefined]]);
  assert.deepEqual(rotated!.slice(0, 4), [
    "keys.rotate",
    made.info.id,
    "done",
    ["key", undefined, next.info.id],
  ]);
  assert.deepEqual(rest, [
    [
      "keys.create",
      made.info.id,
      "done",
      ["user_id", undefined, user_id],
      ["namespace", undefined, "acme"],
    ],
    ["roles.delete", "r", "done", ["permissions", "queue.list queue.stats", undefined]],
    ["roles.update", "r", "done", ["permissions", "queue.list", "queue.list queue.stats"]],
    ["roles.create", "r", "done", ["permissions", undefined, "queue.list"]],
  ]);
});

// Two tenants, each with a key of its namespace.
async function tenants(t: TestContext, options: object = {}) {
  const server = await setupClosed(t, options);
  const keyOf = async (namespace: string): Promise<TestServer> => {
    await server.ok("/v2/namespaces.create", { name: namespace });
    const { id: user_id } = await server.ok("/v2/users.create", { username: namespace });
    await server.ok("/v2/bindings.create", { namespace, role_name: "NamespaceOwner", user_id });
    const { key } = await server.ok("/v2/keys.create", { user_id, namespace });
    return server.as(key);
  };
  return { server, own: await keyOf("own"), other: await keyOf("other") };
}

describe("a key of one namespace sees the entries of this one only", () => {
  for (const threads of [1, 2]) {
    test(`with ${threads} threads`, async (t) => {
      const { server, own, other } = await tenants(t, { threads });
      await own.ok("/v2/queues.create", { queue_name: "jobs" });
      await other.ok("/v2/queues.create", { queue_name: "theirs" });
      await server.ok("/v2/queues.create", { queue_name: "ours" });
      const targets = async (asked: TestServer, request: object): Promise<unknown[]> =>
        (await list(asked, { call: "queues.create", ...request })).map(({ target }) => target);
      assert.deepEqual(await targets(own, {}), ["jobs"]);
      assert.deepEqual(await targets(other, {}), ["theirs"]);
      assert.deepEqual(await targets(own, { target: "theirs" }), []);
      // Who may read the audit of all.
      assert.deepEqual(await targets(server, {}), ["ours"]);
      assert.deepEqual(await targets(server, { namespace: "other" }), ["theirs"]);
      const all = await targets(server, { all_namespaces: true });
      assert.deepEqual(all, ["ours", "theirs", "jobs"]);
      const spaces = new Set((await list(own)).map(({ namespace }) => namespace));
      assert.deepEqual([...spaces], ["own"]);
      for (const request of [
        { namespace: "other" },
        { namespace: "_system" },
        { namespace: "none" },
        { all_namespaces: true },
      ]) {
        assert.equal((await own.call("/v2/audit.list", request)).status, 403);
      }
      const both = { namespace: "other", all_namespaces: true };
      assert.equal((await server.call("/v2/audit.list", both)).body.field, "all_namespaces");
    });
  }
});

test("an attempt at what is not allowed is told where it was made, once a minute", async (t) => {
  const { server, own } = await tenants(t);
  const attempt = { queue_name: "theirs" };
  const into = async (namespace: string): Promise<number> => {
    const response = await fetch(`${server.server.address}/v2/queues.create`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Authorization: `Bearer ${own.key}`,
        "X-Querator-Namespace": namespace,
      },
      body: JSON.stringify(attempt),
    });
    return response.status;
  };
  const denied = async (): Promise<Json[]> =>
    (await list(server, { namespace: "other" })).filter(({ outcome }) => outcome === "denied");
  assert.equal(await into("other"), 403);
  assert.equal(await into("other"), 403);
  const [first, ...more] = await server.until(async () => {
    const found = await denied();
    return found.length > 0 && found;
  });
  assert.deepEqual(more, []);
  assert.deepEqual(told(first!), ["queues.create", "theirs", "denied"]);
  assert.equal(first!.username, "own");
  await server.advance("61s");
  assert.equal(await into("other"), 403);
  await server.until(async () => (await denied()).length === 2);
  // To read is no attempt at a change, and to give what one has not is one.
  assert.equal((await own.call("/v2/audit.list", { namespace: "other" })).status, 403);
  const role = { namespace: "own", name: "strong", permissions: ["user.create"] };
  assert.equal((await own.call("/v2/roles.create", role)).status, 403);
  const inOwn = await server.until(async () => {
    const found = (await list(own)).filter(({ outcome }) => outcome === "denied");
    return found.length > 0 && found;
  });
  assert.deepEqual(inOwn.map(told), [["roles.create", "strong", "denied"]]);
  assert.equal((await denied()).length, 2);
});

test("what is sent again with its Idempotency-Key is one entry", async (t) => {
  const server = await setup(t);
  const send = async (path: string, request: object, key: string): Promise<void> => {
    const response = await fetch(`${server.server.address}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
      body: JSON.stringify(request),
    });
    assert.equal(response.status, 200, await response.text());
  };
  for (let i = 0; i < 2; i++) {
    await send("/v2/queues.create", { queue_name: "jobs" }, "a");
    await send("/v2/queue.clear", { queue_name: "jobs", queue: true }, "b");
  }
  assert.deepEqual(
    (await list(server)).map(({ call }) => call),
    ["queue.clear", "queues.create"],
  );
});

test("in Protobuf it is the same", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name: "jobs", max_attempts: 3 });
  const request = create(AuditListRequestSchema, { call: "queues.create" });
  const response = await fetch(`${server.server.address}/v2/audit.list`, {
    method: "POST",
    headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
    body: toBinary(AuditListRequestSchema, request),
  });
  const reply = fromBinary(AuditListResponseSchema, new Uint8Array(await response.arrayBuffer()));
  const [entry] = reply.entries;
  const [change] = entry!.changes;
  assert.deepEqual(
    [entry!.target, change!.field, change!.from, change!.to, typeof entry!.at?.seconds],
    ["jobs", "max_attempts", undefined, "3", "bigint"],
  );
});

test("pages and filters lead through all entries, newest first", async (t) => {
  const server = await setup(t);
  const names = Array.from({ length: 7 }, (_, i) => `q${i}`);
  const times: string[] = [];
  for (const name of names) {
    times.push((await server.advance("1m")).now);
    await server.createQueue(name);
  }
  const seen: string[] = [];
  let cursor = "";
  do {
    const page = await server.ok("/v2/audit.list", { limit: 3, cursor });
    seen.push(...page.entries.map(({ target }: Json) => target));
    cursor = page.next_cursor ?? "";
    // What is new since comes before, and in no page behind.
    if (cursor !== "") await server.createQueue(`new${seen.length}`);
  } while (cursor !== "");
  assert.deepEqual(seen, names.toReversed());
  const between = await list(server, { since: times[2], until: times[4], call: "queues.create" });
  assert.deepEqual(
    between.map(({ target }) => target),
    ["q3", "q2"],
  );
  assert.deepEqual((await list(server, { target: "q5" })).length, 1);
  assert.deepEqual(await list(server, { call: "queues.delete" }), []);
  for (const [request, field] of [
    [{ cursor: "abc" }, "cursor"],
    [{ limit: -1 }, "limit"],
    [{ namespace: "a b" }, "namespace"],
  ] as const) {
    const { status, body } = await server.call("/v2/audit.list", request);
    assert.deepEqual([status, body.field], [400, field]);
  }
});

test("an entry is kept for 30 days, and then storage holds it no more", async (t) => {
  const { server, storage } = await faulty(t, await freshPlace(t, "sqlite"));
  const stored = async (): Promise<number> =>
    (await storage.storage.listQueues()).filter(({ name }) => name.startsWith("~audit~")).length;
  for (let i = 0; i < 3; i++) await server.createQueue(`q${i}`);
  await server.advance(`${30 * 24 - 1}h`);
  assert.equal((await list(server)).length, 3);
  await server.advance("1h");
  await server.createQueue("late");
  assert.deepEqual(
    (await list(server)).map(({ target }) => target),
    ["late"],
  );
  await server.advance("2h");
  await server.until(async () => (await stored()) === 1);
});

test("what was done later comes first, also if the clock is set back, and after a restart", async (t) => {
  const where = { dev: false, ...(await freshPlace(t, "sqlite")) };
  const wallShift = new Float64Array(new SharedArrayBuffer(8));
  const server = await setup(t, where, { wallShift });
  for (const name of ["a", "b"]) await server.createQueue(name);
  wallShift[0]! -= 3_600_000;
  for (const name of ["c", "d"]) await server.createQueue(name);
  await server.server.stop();
  const restarted = await setup(t, where, { wallShift });
  await restarted.createQueue("e");
  const entries = await list(restarted);
  assert.deepEqual(
    entries.map(({ target }) => target),
    ["e", "d", "c", "b", "a"],
  );
  assert.ok(entries[2]!.at < entries[3]!.at, "when it was is told by the clock of then");
});

test("no more than 20,000 entries are kept, and who has changed little loses nothing to who changes much", async (t) => {
  const started = await setup(t);
  const { now } = await started.advance("0s");
  const storedAs = (i: number, namespace: string) => ({
    name: `~audit~3${String(i).padStart(26, "0")}`,
    record: JSON.stringify({
      ...{ userId: "u", keyId: "", keyTag: "", address: "", requestId: "", username: "" },
      ...{ namespace, call: "roles.create", target: `t${i}`, changes: [], outcome: "done" },
      at: Date.parse(now) * 1_000,
    }),
  });
  const old = Array.from({ length: 20_000 }, (_, i) =>
    storedAs(i, i < 10 ? "quiet" : i % 2 === 0 ? "busy" : "busier"),
  );
  old[10] = storedAs(10, "busier");
  let storage: Storage | undefined;
  const wrapStorage = (inner: Storage): Storage => {
    if (storage === undefined) void inner.putQueues(old); // memory takes it at once
    storage ??= inner;
    return inner;
  };
  const server = await setup(t, {}, { wrapStorage });
  const stored = async (): Promise<Set<string>> =>
    new Set((await storage!.listQueues()).map(({ name }) => name));
  assert.equal((await stored()).size, 20_000);
  await server.ok("/v2/roles.create", { name: "r" });
  const after = await stored();
  assert.equal([...after].filter((name) => name.startsWith("~audit~")).length, 20_000);
  assert.deepEqual(
    old.filter(({ name }) => !after.has(name)),
    [old[10]],
  );
  assert.equal((await list(server, { namespace: "quiet" })).length, 10);
  assert.deepEqual(
    (await list(server)).map(({ target }) => target),
    ["r"],
  );
});

describe("a change whose write fails has no entry, and one that is answered has", () => {
  for (const driver of ["sqlite", "postgres"] as const) {
    for (const fault of ["fail", "lose-reply"] as const) {
      test(`${driver}, ${fault}`, async (t) => {
        const where = await freshPlace(t, driver);
        const { server, storage } = await faulty(t, where);
        await server.createQueue("jobs");
        storage.next("putQueues", fault);
        const failed = await server.call("/v2/queues.create", { queue_name: "failed" });
        assert.equal(failed.status, 503);
        await server.ok("/v2/namespaces.create", { name: "acme" });
        storage.next("putQueues", fault);
        assert.equal((await server.call("/v2/namespaces.delete", { name: "acme" })).status, 503);
        // What lies elsewhere has changed already, and the caller is told that it may have.
        await server.produce("jobs", "a");
        storage.next("putQueues", fault);
        const clear = { queue_name: "jobs", queue: true };
        assert.equal((await server.call("/v2/queue.clear", clear)).status, 503);
        await server.ok("/v2/queue.clear", clear);
        const check = async (asked: TestServer): Promise<void> => {
          const entries = (await list(asked)).map(({ call, target, outcome }) =>
            [call, target, outcome].join(" "),
          );
          assert.deepEqual(entries, [
            "queue.clear jobs done",
            "queue.clear jobs unknown",
            "namespaces.create acme done",
            "queues.create jobs done",
          ]);
        };
        await check(server);
        await server.server.stop();
        await check(await setup(t, where));
      });
    }
  }
});

test("no entry and no line of the log has a key or what items hold", async (t) => {
  const lines: string[] = [];
  const note = (...args: unknown[]): void => void lines.push(JSON.stringify(args));
  const logger = { ...SILENT, debug: note, info: note, warn: note, error: note };
  const server = await setupClosed(t, {}, { logger });
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const { key, info } = await server.ok("/v2/keys.create", { user_id });
  const next = await server.ok("/v2/keys.rotate", { id: info.id });
  await server.createQueue("jobs");
  await server.produce("jobs", "hidden-payload");
  const items = [{ utf8: "hidden-payload", headers: { token: "hidden-header" } }];
  const made = await server.ok("/v2/queue.produce", { queue_name: "jobs", items });
  const ids = made.results.map(({ id }: Json) => id);
  await server.ok("/v2/items.delete", { queue_name: "jobs", ids });
  await server.ok("/v2/queue.clear", { queue_name: "jobs", queue: true });
  // People put keys where ids belong.
  await server.call("/v2/keys.revoke", { id: key });
  await server.ok("/v2/queues.create", { queue_name: key });
  await server.as(undefined).call("/v2/queues.delete", { queue_name: next.key });
  await fetch(`${server.server.address}/v2/queues.create`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-Querator-Namespace": next.key,
      "X-Request-Id": next.key,
    },
    body: JSON.stringify({ queue_name: "jobs" }),
  });
  await server.until(async () => {
    const all = await list(server, { all_namespaces: true, user_id: "anonymous" });
    return all.length === 2;
  });
  const text = JSON.stringify([await list(server, { all_namespaces: true }), lines]);
  for (const secret of [key, next.key, ADMIN_KEY, "hidden-payload", "hidden-header"]) {
    const entropy = secret.replace(/^qtr-\w+-/, "");
    assert.ok(!text.includes(entropy), `${secret} is told`);
  }
  assert.ok(text.includes(ids[0]));
  assert.ok(lines.some((line) => line.includes('"audit"') && line.includes('"items.delete"')));
});

async function faulty(t: TestContext, place: object) {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: Storage): Storage => {
    storage ??= new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, place, { wrapStorage });
  return { server, storage: storage! };
}
