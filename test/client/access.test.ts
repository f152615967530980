// Namespaces, users, keys, roles and bindings through the client, and a client that is about one namespace.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import {
  AuthenticationError,
  ExistsError,
  InvalidRequestError,
  NotFoundError,
  PermissionError,
  QueratorError,
  QueueNotFoundError,
} from "@querator/client";
import { ADMIN_KEY, setupClosed } from "../support/server.ts";
import { clientOf } from "./setup.ts";

test("a client makes what there is to who may do what, and lists and ends it", async (t) => {
  const { address } = (await setupClosed(t)).server;
  const admin = clientOf(t, address, { key: ADMIN_KEY });
  const made = await admin.namespaces.create({
    name: "acme",
    keyTag: "ac",
    quotas: { queues: 3, requestsPerSecond: 7 },
  });
  assert.deepEqual([made.name, made.keyTag, made.quotas.requestsPerSecond], ["acme", "ac", 7]);
  assert.ok(made.createdAt instanceof Date);
  const changed = await admin.namespaces.update("acme", { description: "d" });
  assert.deepEqual([changed.description, changed.quotas.queues], ["d", 3]);
  assert.deepEqual(await admin.namespaces.info("acme"), changed);
  const names = await Array.fromAsync(admin.namespaces.list({ pageSize: 1 }), ({ name }) => name);
  assert.deepEqual(names, ["_system", "acme"]);

  const user = await admin.users.create({ username: "jane", email: "j@x", externalId: "e" });
  assert.deepEqual([user.username, user.email, user.externalId], ["jane", "j@x", "e"]);
  const role = { name: "r", namespace: "acme" };
  await admin.roles.create(role, ["queue.list"]);
  const { permissions, isStandard } = await admin.roles.update(role, [
    "queue.list",
    "queue.create",
  ]);
  assert.deepEqual([permissions, isStandard], [["queue.list", "queue.create"], false]);
  const choice = { roleName: "r", userId: user.id, namespace: "acme" };
  const binding = await admin.bindings.create(choice);
  assert.deepEqual([binding.roleName, binding.namespace], ["r", "acme"]);
  const bindings = await Array.fromAsync(admin.bindings.list({ namespace: "acme" }));
  assert.deepEqual(bindings, [binding]);
  const roles = await Array.fromAsync(admin.roles.list(), ({ name }) => name);
  assert.ok(roles.includes("Admin"));

  const { key, ...info } = await admin.keys.create({
    userId: user.id,
    namespace: "acme",
    name: "n",
    expireIn: "1h",
  });
  assert.match(key, /^qtr-ac-/);
  assert.deepEqual(await Array.fromAsync(admin.keys.list({ userId: user.id })), [info]);
  const tenant = clientOf(t, address, { key });
  await tenant.queues.create({ queueName: "q" });
  await assert.rejects(tenant.queues.info("q"), PermissionError);
  const next = await admin.keys.rotate(info.id, { overlap: 0 });
  await assert.rejects(Array.fromAsync(tenant.queues.list()), { code: "key-expired" });
  assert.equal(await admin.keys.revoke({ id: next.id }), 1);
  const gone = clientOf(t, address, { key: next.key });
  await assert.rejects(gone.queues.info("q"), AuthenticationError);
  assert.equal(await admin.keys.revoke({ userId: user.id, before: new Date("2100-01-01") }), 1);

  const cases: [() => Promise<unknown>, new (...args: never[]) => Error, string][] = [
    [() => admin.namespaces.create({ name: "acme" }), ExistsError, "namespace-exists"],
    [() => admin.users.create({ username: "jane" }), ExistsError, "user-exists"],
    [() => admin.roles.create(role, []), ExistsError, "role-exists"],
    [() => admin.bindings.create(choice), ExistsError, "binding-exists"],
    [() => admin.namespaces.info("other"), NotFoundError, "namespace-not-found"],
    [() => admin.users.delete("other"), NotFoundError, "user-not-found"],
    [() => admin.keys.revoke({ id: "other" }), NotFoundError, "key-not-found"],
    [() => admin.roles.delete({ name: "other" }), NotFoundError, "role-not-found"],
    [() => admin.roles.delete({ name: "Admin" }), InvalidRequestError, "role-is-standard"],
    [() => admin.roles.delete(role), InvalidRequestError, "role-in-use"],
    [() => admin.namespaces.delete("acme"), InvalidRequestError, "namespace-in-use"],
    [
      () => admin.users.create({ username: "x", mail: "y" } as never),
      InvalidRequestError,
      "invalid",
    ],
  ];
  for (const [call, kind, code] of cases) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof QueratorError && error instanceof kind, code);
      assert.equal(error.code, code);
      return true;
    });
  }
  await admin.bindings.delete(choice);
  await admin.roles.delete(role);
  await admin.users.delete(user.id);
});

test("a client of one namespace is about its queues", async (t) => {
  const { address } = (await setupClosed(t)).server;
  const [all, acme] = [{}, { namespace: "acme" }].map((more) =>
    clientOf(t, address, { key: ADMIN_KEY, ...more }),
  );
  await all!.namespaces.create({ name: "acme" });
  await acme!.queues.create({ queueName: "jobs" });
  await all!.queues.create({ queueName: "jobs" });
  await acme!.produce("jobs", { payload: "a" });
  const [item] = await acme!.lease("jobs");
  assert.equal(item?.text, "a");
  await acme!.complete("jobs", item!);
  assert.equal((await all!.stats("jobs")).total, 0);
  await all!.queues.delete("jobs");
  const other = clientOf(t, address, { key: ADMIN_KEY, namespace: "_system" });
  await assert.rejects(other.queues.info("jobs"), QueueNotFoundError);
});

test("a server that knows no namespaces is not asked for the queues of everybody", async (t) => {
  const asked: string[] = [];
  const old = createServer((request, response) => {
    asked.push(request.url!);
    const path = request.url!;
    response.writeHead(501, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ code: 501, message: `no such method; ${path}` }));
  });
  await new Promise<void>((resolve) => old.listen(0, "127.0.0.1", resolve));
  t.after(() => old.close());
  t.after(() => old.closeAllConnections());
  const url = `http://127.0.0.1:${(old.address() as AddressInfo).port}`;
  const client = clientOf(t, url, { namespace: "acme" });
  for (let i = 0; i < 2; i++) {
    await assert.rejects(client.produce("jobs", { payload: "x" }), { code: "not-implemented" });
  }
  assert.ok(asked.length > 0);
  for (const path of asked) assert.match(path, /^\/v2\//);
});

test("a client lists who has changed what, page by page", async (t) => {
  const { address } = (await setupClosed(t)).server;
  const admin = clientOf(t, address, { key: ADMIN_KEY });
  await admin.queues.create({ queueName: "jobs", maxAttempts: 3 });
  await admin.queues.update("jobs", { maxAttempts: 5 });
  await admin.queues.delete("jobs");
  await admin.namespaces.create({ name: "acme" });
  await admin.queues.create({ queueName: "theirs" }, { signal: AbortSignal.timeout(10_000) });
  const entries = await Array.fromAsync(admin.audit.list({ target: "jobs", pageSize: 1 }));
  assert.deepEqual(
    entries.map(({ call, outcome, changes }) => [call, outcome, changes]),
    [
      ["queues.delete", "done", []],
      ["queues.update", "done", [{ field: "max_attempts", from: "3", to: "5" }]],
      ["queues.create", "done", [{ field: "max_attempts", from: undefined, to: "3" }]],
    ],
  );
  const [first] = entries;
  assert.ok(first!.at instanceof Date);
  assert.deepEqual([first!.username, first!.namespace], ["admin", "_system"]);
  const since = entries[1]!.at!;
  const later = admin.audit.list({ allNamespaces: true, since, call: "queues.delete" });
  assert.equal((await Array.fromAsync(later)).length, 1);
  const before = admin.audit.list({ until: since, userId: first!.userId });
  assert.deepEqual(await Array.fromAsync(before, ({ call }) => call), ["queues.create"]);
});
