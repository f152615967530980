// Namespaces, users, keys, roles and bindings under /v1, as the contract has them (wire.md 5.8), word by word, and
// under /v2: what a key of one namespace sees of them, and what nobody can give away.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  KeysCreateRequestSchema,
  MadeKeySchema,
} from "../../src/codec/gen/querator/v2/access_pb.ts";
import type { Json } from "../support/openapi.ts";
import { setup, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const LONG = "x".repeat(300);
const ID = /^[0-9A-Za-z]{27}$/;

type Refused = readonly [path: string, request: object, status: number, message: string];

async function checkRefused(server: TestServer, cases: readonly Refused[]): Promise<void> {
  for (const [path, request, status, message] of cases) {
    const reply = await server.call(path, request);
    const shown = `${path} ${JSON.stringify(request).slice(0, 80)}`;
    assert.deepEqual([reply.status, reply.body.message], [status, message], shown);
  }
}

test("/v1 namespaces are made, changed, listed and deleted as the contract says", async (t) => {
  const server = await setup(t);
  assert.deepEqual((await server.ok("namespaces.list", {})).items, [{ name: "_system" }]);
  const made = { name: "acme", description: "d", api_key_tag: "ac" };
  assert.deepEqual(await server.ok("namespaces.create", made), { code: 200 });
  await server.ok("namespaces.create", { name: "b" });
  const [system, acme] = (await server.ok("namespaces.list", {})).items;
  assert.equal(system.name, "_system");
  const { created_at, ...rest } = acme;
  assert.deepEqual([typeof created_at, rest], ["string", made]);
  const names = async (request: object): Promise<string[]> =>
    (await server.ok("namespaces.list", request)).items.map(({ name }: Json) => name);
  assert.deepEqual(await names({ pivot: "acme", limit: 1 }), ["acme"]);
  assert.deepEqual(await names({ pivot: "ad" }), ["b"]);
  // What is left out is cleared.
  await server.ok("namespaces.update", { name: "acme" });
  assert.deepEqual((await server.ok("namespaces.list", { pivot: "acme" })).items[0], {
    name: "acme",
    created_at,
  });
  const length = "namespace name is invalid; cannot be greater than '256' characters";
  const empty = "namespace name is invalid; cannot be empty";
  const tag = "api_key_tag is invalid; ";
  for (const verb of ["create", "update"]) {
    await checkRefused(server, [
      [`namespaces.${verb}`, { name: LONG }, 400, length],
      [`namespaces.${verb}`, {}, 400, empty],
      [`namespaces.${verb}`, { name: "  " }, 400, empty],
      [
        `namespaces.${verb}`,
        { name: "a b~:" },
        400,
        "namespace name is invalid; 'a b~:' cannot contain whitespace",
      ],
      [
        `namespaces.${verb}`,
        { name: "a~:" },
        400,
        "namespace name is invalid; 'a~:' cannot contain '~' character",
      ],
      [
        `namespaces.${verb}`,
        { name: "a:" },
        400,
        "namespace name is invalid; 'a:' cannot contain ':' character",
      ],
      [
        `namespaces.${verb}`,
        { name: "_a", api_key_tag: "A".repeat(17) },
        400,
        `${tag}cannot be greater than 16 characters`,
      ],
      [
        `namespaces.${verb}`,
        { name: "_a", api_key_tag: "A" },
        400,
        `${tag}must be lowercase alphanumeric only`,
      ],
      [
        `namespaces.${verb}`,
        { name: "_a" },
        400,
        "namespace name is reserved; '_a' names starting with '_' are reserved",
      ],
    ]);
  }
  const gone = "namespace does not exist; 'c' was not found";
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await server.ok("queues.create", { queue_name: "q", namespace: "acme", ...settings });
  const role = await server.ok("roles.create", { namespace: "acme", name: "r" });
  assert.match(role.id, ID);
  const { id: user_id } = await server.ok("users.create", { username: "jane" });
  const binding = { namespace: "acme", role_name: "r", user_id };
  await server.ok("rolebindings.create", binding);
  const used = (what: string): Refused => [
    "namespaces.delete",
    { name: "acme" },
    400,
    `namespace has ${what}; 'acme' has ${what}, delete ${what} first`,
  ];
  await checkRefused(server, [
    ["namespaces.create", { name: "acme" }, 400, "namespace already exists; 'acme' already exists"],
    ["namespaces.update", { name: "c" }, 453, gone],
    ["namespaces.delete", { name: "c" }, 453, gone],
    ["namespaces.list", { limit: -1 }, 400, "limit is invalid; limit cannot be negative"],
    ["queues.create", { queue_name: "q", namespace: "c", ...settings }, 453, gone],
    used("role bindings"),
  ]);
  await server.ok("rolebindings.delete", binding);
  await checkRefused(server, [used("roles")]);
  await server.ok("roles.delete", { namespace: "acme", name: "r" });
  await checkRefused(server, [used("queues")]);
  await server.ok("queues.delete", { queue_name: "q" });
  await server.ok("namespaces.delete", { name: "acme" });
});

test("/v1 users, keys, roles and bindings are as the contract says", async (t) => {
  const server = await setup(t);
  assert.deepEqual(await server.ok("users.list", {}), {});
  assert.deepEqual(await server.ok("roles.list", {}), {});
  await server.ok("namespaces.create", { name: "acme", api_key_tag: "ac" });
  const person = { username: "jane", email: "j@x", external_id: "e" };
  const { id: user_id } = await server.ok("users.create", person);
  assert.match(user_id, ID);
  const [user] = (await server.ok("users.list", { pivot: user_id })).items;
  assert.deepEqual(
    { ...user, created_at: "", updated_at: "" },
    {
      id: user_id,
      ...person,
      created_at: "",
      updated_at: "",
    },
  );
  const made = await server.ok("apikeys.create", { user_id, name: "n", namespace_scope: "acme" });
  assert.deepEqual(Object.keys(made).sort(), ["id", "key", "prefix"]);
  assert.ok(made.key.startsWith("qtr-ac-") && made.key.startsWith(made.prefix));
  // A scope need not be there, and a key may be over from the beginning.
  const over = { user_id, namespace_scope: "none", expires_at: "2020-01-01T00:00:00Z" };
  const live = await server.ok("apikeys.create", over);
  assert.match(live.key, /^qtr-live-/);
  const { items } = await server.ok("apikeys.list", { user_id });
  assert.ok(!JSON.stringify(items).includes(made.key));
  assert.deepEqual(
    items.map(({ id }: Json) => id),
    [made.id, live.id].sort(),
  );
  assert.deepEqual(await server.ok("apikeys.list", { user_id: "other" }), {});
  const permissions = ["queue.lease", "queue.lease"];
  const role = await server.ok("roles.create", { namespace: "acme", name: "r", permissions });
  const [shown] = (await server.ok("roles.list", { namespace: "acme" })).items;
  assert.deepEqual([shown.id, shown.permissions], [role.id, ["queue.lease"]]);
  await server.ok("roles.update", { namespace: "acme", name: "r", permissions: ["queue.clear"] });
  const given = { namespace: "acme", role_name: "r", user_id };
  const binding = await server.ok("rolebindings.create", given);
  const [bound] = (await server.ok("rolebindings.list", { namespace: "acme", user_id_filter: "x" }))
    .items;
  assert.deepEqual([bound.id, bound.role_id, bound.user_id], [binding.id, role.id, user_id]);

  const empty = (field: string): string => `${field} is invalid; cannot be empty`;
  const long = (field: string, max: number): string =>
    `${field} is invalid; cannot be greater than '${max}' characters`;
  const noUser = "user does not exist; 'x' was not found";
  const noRole = "role does not exist; 'acme:x' was not found";
  const named = { namespace: "acme", name: "r" };
  await checkRefused(server, [
    ["users.create", { username: LONG, email: LONG }, 400, long("username", 128)],
    ["users.create", { email: LONG }, 400, empty("username")],
    ["users.create", { username: " ", email: LONG, external_id: LONG }, 400, long("email", 256)],
    ["users.create", { username: " ", external_id: LONG }, 400, long("external_id", 256)],
    ["users.create", { username: " " }, 400, empty("username")],
    ["users.create", person, 400, "username is already taken; 'jane' is already taken"],
    ["users.delete", { id: "x" }, 453, noUser],
    ["apikeys.create", { name: LONG }, 400, empty("user_id")],
    ["apikeys.create", { user_id: "x", name: LONG, key_tag: "A" }, 400, long("name", 128)],
    [
      "apikeys.create",
      { user_id: "x", key_tag: "a".repeat(17) },
      400,
      "key_tag is invalid; cannot be greater than 16 characters",
    ],
    [
      "apikeys.create",
      { user_id: "x", key_tag: "A" },
      400,
      "key_tag is invalid; must be lowercase alphanumeric only",
    ],
    ["apikeys.create", { user_id: "x" }, 453, noUser],
    ["apikeys.delete", { id: "x" }, 401, "api key does not exist"],
    ["roles.create", { name: LONG }, 400, empty("namespace")],
    ["roles.create", { namespace: "c", permissions: ["x"] }, 400, empty("name")],
    ["roles.create", { namespace: "c", name: LONG }, 400, long("name", 128)],
    [
      "roles.create",
      { namespace: "c", name: "a:b", permissions: ["x"] },
      400,
      "name is invalid; 'a:b' cannot contain ':' character",
    ],
    [
      "roles.create",
      { namespace: "c", name: "Admin", permissions: ["queue.*"] },
      400,
      "permission is invalid; 'queue.*' is not a recognized permission",
    ],
    [
      "roles.create",
      { namespace: "c", name: "Admin" },
      400,
      "cannot modify or delete standard role; 'Admin' is a standard role",
    ],
    [
      "roles.create",
      { namespace: "c", name: "r" },
      453,
      "namespace does not exist; 'c' was not found",
    ],
    ["roles.create", named, 400, "role already exists; 'acme:r' already exists"],
    // What every object has is no standard role.
    [
      "roles.update",
      { namespace: "acme", name: "constructor" },
      453,
      "role does not exist; 'acme:constructor' was not found",
    ],
    ["roles.update", { name: "r" }, 400, empty("namespace")],
    ["roles.update", { namespace: "acme" }, 400, empty("name")],
    ["roles.update", { namespace: "acme", name: "x" }, 453, noRole],
    ["roles.delete", { namespace: "acme", name: "x" }, 453, noRole],
    [
      "roles.delete",
      named,
      400,
      "role has active bindings; 'r' has active bindings, delete bindings first",
    ],
    ["rolebindings.create", { role_name: "r" }, 400, empty("namespace")],
    ["rolebindings.create", { namespace: "acme" }, 400, empty("role_name")],
    ["rolebindings.create", { namespace: "acme", role_name: "x" }, 400, empty("user_id")],
    [
      "rolebindings.create",
      { namespace: "acme", role_name: "x", user_id: "a:b" },
      400,
      "user_id is invalid; 'a:b' cannot contain ':' character",
    ],
    ["rolebindings.create", { ...given, role_name: "x", user_id: "x" }, 453, noRole],
    ["rolebindings.create", { ...given, user_id: "x" }, 453, noUser],
    [
      "rolebindings.create",
      given,
      400,
      `role binding already exists; binding for user '${user_id}' to role '${role.id}' in namespace 'acme' already exists`,
    ],
    [
      "rolebindings.delete",
      { ...given, user_id: "a:b" },
      400,
      "user_id is invalid; 'a:b' cannot contain ':' character",
    ],
    ["rolebindings.delete", { ...given, role_name: "x" }, 453, noRole],
    [
      "rolebindings.delete",
      { ...given, user_id: "x" },
      453,
      `role binding does not exist; 'acme:x:${role.id}' was not found`,
    ],
  ]);
  await server.ok("apikeys.delete", { id: live.id });
  await server.ok("users.delete", { id: user_id });
  for (const list of ["users.list", "apikeys.list"])
    assert.deepEqual(await server.ok(list, {}), {});
  assert.deepEqual(await server.ok("rolebindings.list", { namespace: "acme" }), {});
});

/** A server with a tenant, and with one who may do all in the namespace `acme`, by a key of it. */
async function withTenant(t: Parameters<typeof setupClosed>[0]) {
  const admin = await setupClosed(t);
  for (const name of ["acme", "other"]) await admin.ok("/v2/namespaces.create", { name });
  const user = await admin.ok("/v2/users.create", { username: "owner" });
  const user_id: string = user.id;
  const binding = { namespace: "acme", role_name: "NamespaceOwner", user_id };
  await admin.ok("/v2/bindings.create", binding);
  const key = await admin.ok("/v2/keys.create", { user_id, namespace: "acme" });
  return { admin, user_id, tenant: admin.as(key.key), keyId: key.info.id as string };
}

test("a key of one namespace has to do with keys, roles and bindings of that namespace only", async (t) => {
  const { admin, user_id, tenant, keyId } = await withTenant(t);
  const { info: elsewhere } = await admin.ok("/v2/keys.create", { user_id, namespace: "other" });
  const { info: forAll } = await admin.ok("/v2/keys.create", { user_id });
  const ids = (await tenant.ok("/v2/keys.list", {})).keys.map(({ id }: Json) => id);
  assert.deepEqual(ids, [keyId]);
  // What it may not see looks as if it were not there.
  for (const id of [elsewhere.id, forAll.id, "0".repeat(27)]) {
    for (const verb of ["rotate", "revoke"]) {
      const { status, body } = await tenant.call(`/v2/keys.${verb}`, { id });
      assert.deepEqual(
        [status, body.code, body.detail],
        [404, "key_not_found", `key does not exist; '${id}' was not found`],
      );
    }
  }
  await tenant.ok("/v2/roles.create", { name: "r", permissions: ["queue.lease"] });
  await tenant.ok("/v2/bindings.create", { role_name: "r", user_id });
  const { bindings } = await tenant.ok("/v2/bindings.list", {});
  assert.deepEqual(
    bindings.map(({ namespace, role_name }: Json) => [namespace, role_name]),
    [
      ["acme", "NamespaceOwner"],
      ["acme", "r"],
    ],
  );
  for (const namespace of ["other", "none", "_system"]) {
    for (const noun of ["roles", "bindings"]) {
      assert.equal((await tenant.call(`/v2/${noun}.list`, { namespace })).status, 403);
    }
    assert.equal((await tenant.call("/v2/keys.create", { user_id, namespace })).status, 403);
    assert.equal((await tenant.call("/v2/namespaces.info", { name: namespace })).status, 403);
  }
  assert.equal((await tenant.ok("/v2/namespaces.info", { name: "acme" })).name, "acme");
  // Of many, it ends its own.
  const before = "2100-01-01T00:00:00Z";
  assert.deepEqual(await tenant.ok("/v2/keys.revoke", { user_id, before }), { revoked: 1 });
  const left = (await admin.ok("/v2/keys.list", { user_id })).keys.map(({ id }: Json) => id);
  assert.deepEqual(left.sort(), [elsewhere.id, forAll.id].sort());
});

test("who is denied is told what the call needs, and under /v1 what the contract says", async (t) => {
  const server = await setupClosed(t);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const { key } = await server.ok("/v2/keys.create", { user_id });
  const jane = server.as(key);
  const produce = [{ queue_name: "b", items: [{ utf8: "x" }] }];
  const leases = [{ lease_id: "x" }];
  for (const [path, request, needs] of [
    ["queues.list", {}, "queue.list"],
    ["queues.apply", { queues: [{ queue_name: "a" }] }, "queue.update and queue.create"],
    ["queue.complete", { queue_name: "a", leases }, "queue.complete"],
    ["queue.complete", { queue_name: "a", leases, produce }, "queue.complete and queue.produce"],
  ] as const) {
    const { status, body } = await jane.call(`/v2/${path}`, request);
    assert.deepEqual([status, body.detail], [403, `access denied; this needs ${needs}`]);
  }
  const { body } = await jane.call("queues.list", {});
  assert.deepEqual(body, { code: 403, code_text: "Forbidden", message: "access denied" });
});

test("nobody gives what they do not have", async (t) => {
  const { admin, user_id, tenant } = await withTenant(t);
  const { keys } = await admin.ok("/v2/keys.list", {});
  const first = keys.find(({ name }: Json) => name === "first").user_id;
  const cases: [path: string, request: object][] = [
    // A key of who may do more.
    ["/v2/keys.create", { user_id: first }],
    ["/v2/roles.create", { name: "x", permissions: ["user.create"] }],
    ["/v2/bindings.create", { role_name: "Admin", user_id }],
  ];
  for (const [path, request] of cases) {
    const { status, body } = await tenant.call(path, request);
    assert.deepEqual([status, body.code], [403, "permission_denied"], path);
  }
  await tenant.ok("/v2/roles.create", { name: "r" });
  const raised = await tenant.call("/v2/roles.update", { name: "r", permissions: ["user.create"] });
  assert.equal(raised.status, 403);
  // Whoever may do everything, with a key for one namespace they cannot make one for all; not under /v1 either.
  const { key } = await admin.ok("/v2/keys.create", { user_id: first, namespace: "acme" });
  const scoped = admin.as(key);
  for (const namespace_scope of ["", "other"]) {
    const { status } = await scoped.call("apikeys.create", { user_id: first, namespace_scope });
    assert.equal(status, 403, namespace_scope);
  }
  await scoped.ok("apikeys.create", { user_id: first, namespace_scope: "acme" });
});

test("nobody gets into the namespace of everybody with a key of somebody who has a role there", async (t) => {
  const { admin, tenant } = await withTenant(t);
  const { id: user_id } = await admin.ok("/v2/users.create", { username: "operator" });
  // It allows no more than the owner of a namespace may there, but everywhere.
  const binding = { namespace: "_system", role_name: "Operator", user_id };
  await admin.ok("/v2/bindings.create", binding);
  const { info } = await admin.ok("/v2/keys.create", { user_id, namespace: "acme" });
  for (const [path, request] of [
    ["/v2/keys.create", { user_id }],
    ["/v1/apikeys.create", { user_id, namespace_scope: "acme" }],
    ["/v2/keys.rotate", { id: info.id }],
  ] as const) {
    assert.equal((await tenant.call(path, request)).status, 403, path);
  }
  await admin.ok("/v2/bindings.delete", binding);
  await tenant.ok("/v2/keys.create", { user_id });
});

test("a key is told once, and no Idempotency-Key has it told again", async (t) => {
  const server = await setupClosed(t);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const { info, key } = await server.ok("/v2/keys.create", { user_id, expire_in: "1h" });
  for (const path of ["/v2/keys.list", "/v1/apikeys.list"]) {
    assert.ok(!JSON.stringify(await server.ok(path, {})).includes(key), path);
  }
  const next = await server.ok("/v2/keys.rotate", { id: info.id, overlap: "10m" });
  assert.notEqual(next.key, key);
  assert.equal(next.info.expires_at, info.expires_at);
  const { keys } = await server.ok("/v2/keys.list", { user_id });
  const old = keys.find(({ id }: Json) => id === info.id);
  assert.ok(old.expires_at < info.expires_at);
  for (const path of ["keys.create", "keys.rotate", "users.create"]) {
    const response = await fetch(`${server.server.address}/v2/${path}`, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        Authorization: `Bearer ${next.key}`,
        "Idempotency-Key": "k",
      },
      body: JSON.stringify(path === "keys.rotate" ? { id: info.id } : { user_id }),
    });
    assert.ok([400, 403].includes(response.status), path);
  }
});

test("fields of /v2 are bounded, and named when they are wrong", async (t) => {
  const server = await setup(t);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const cases: [path: string, request: object, field: string][] = [
    ["namespaces.create", { name: "" }, "name"],
    ["namespaces.create", { name: "a", description: "x".repeat(1_025) }, "description"],
    ["namespaces.create", { name: "a", quotas: { items: -1 } }, "quotas.items"],
    ["namespaces.list", { limit: 1_001 }, "limit"],
    ["namespaces.list", { cursor: "x" }, "cursor"],
    ["users.create", { username: "\t" }, "username"],
    ["users.delete", {}, "id"],
    ["keys.create", { user_id, expires_at: "2020-01-01T00:00:00Z" }, "expires_at"],
    ["keys.create", { user_id, expire_in: "0s" }, "expire_in"],
    ["keys.create", { user_id, expire_in: "x" }, "expire_in"],
    ["keys.create", { user_id, namespace: "a~b" }, "namespace"],
    ["keys.rotate", { id: "x", overlap: "-1s" }, "overlap"],
    ["keys.revoke", { id: "x", user_id }, "id"],
    ["roles.create", { name: "a:b" }, "name"],
    ["roles.create", { name: "a", permissions: ["queue.lease", "x"] }, "permissions[1]"],
    ["roles.list", { namespace: "a:b" }, "namespace"],
    ["bindings.create", { role_name: "r" }, "user_id"],
  ];
  for (const [path, request, field] of cases) {
    const { status, body } = await server.call(`/v2/${path}`, request);
    assert.deepEqual([status, body.code, body.field], [400, "invalid_field", field], path);
  }
});

test("lists of /v2 are fetched page by page", async (t) => {
  const server = await setup(t);
  for (const name of ["c", "a", "b"]) {
    await server.ok("/v2/namespaces.create", { name });
    await server.ok("/v2/users.create", { username: name });
  }
  for (const noun of ["namespaces", "users"]) {
    const all = (await server.ok(`/v2/${noun}.list`, {}))[noun];
    const seen: Json[] = [];
    let cursor = "";
    do {
      const page = await server.ok(`/v2/${noun}.list`, { limit: 2, cursor });
      assert.ok(page[noun].length <= 2);
      seen.push(...page[noun]);
      cursor = page.next_cursor ?? "";
    } while (cursor !== "");
    assert.deepEqual(seen, all);
  }
});

for (const [place, driver, threads] of PLACES) {
  describe(`who may do what on ${place}`, () => {
    test("is kept, in both formats, also after a restart", async (t) => {
      const options = { threads, ...(await freshPlace(t, driver)) };
      let server = await setupClosed(t, options);
      await server.ok("/v2/namespaces.create", { name: "acme", quotas: { items: 5 } });
      await server.ok("/v2/namespaces.update", { name: "acme", description: "d" });
      const { id: userId } = await server.ok("/v2/users.create", { username: "jane" });
      const permissions = ["queue.list", "queue.create"];
      await server.ok("/v2/roles.create", { namespace: "acme", name: "r", permissions });
      const binding = { namespace: "acme", role_name: "r", user_id: userId };
      await server.ok("/v2/bindings.create", binding);
      const { key: first } = await server.ok("/v2/keys.create", { user_id: userId });
      const request = create(KeysCreateRequestSchema, { userId, namespace: "acme", name: "n" });
      const response = await fetch(`${server.server.address}/v2/keys.create`, {
        method: "POST",
        headers: {
          "Content-Type": "application/protobuf",
          Accept: "application/protobuf",
          Authorization: `Bearer ${first}`,
        },
        body: toBinary(KeysCreateRequestSchema, request),
      });
      assert.equal(response.status, 403); // it may make queues, and no keys
      const made = await server.ok("/v2/keys.create", { user_id: userId, namespace: "acme" });
      if (driver !== "memory") {
        await server.server.stop();
        server = await setupClosed(t, options);
      }
      const info = await server.ok("/v2/namespaces.info", { name: "acme" });
      assert.deepEqual([info.description, info.quotas], ["d", { items: 5 }]);
      const tenant = server.as(made.key);
      await tenant.ok("/v2/queues.create", { queue_name: "q" });
      const { queues } = await tenant.ok("/v2/queues.list", {});
      assert.deepEqual(
        queues.map(({ queue_name }: Json) => queue_name),
        ["q"],
      );
      assert.equal((await tenant.call("/v2/queues.info", { queue_name: "q" })).status, 403);
      await server.ok("/v2/roles.update", { namespace: "acme", name: "r" });
      assert.equal((await tenant.call("/v2/queues.list", {})).status, 403);
    });
  });
}

test("keys are made and told in Protobuf as well", async (t) => {
  const server = await setup(t);
  const { id: userId } = await server.ok("/v2/users.create", { username: "jane" });
  const request = create(KeysCreateRequestSchema, { userId, name: "n", keyTag: "t" });
  const type = "application/protobuf";
  const response = await fetch(`${server.server.address}/v2/keys.create`, {
    method: "POST",
    headers: { "Content-Type": type, Accept: type },
    body: toBinary(KeysCreateRequestSchema, request),
  });
  assert.equal(response.status, 200);
  const { key, info } = fromBinary(MadeKeySchema, new Uint8Array(await response.arrayBuffer()));
  assert.match(key, /^qtr-t-/);
  assert.deepEqual([info?.userId, info?.name, info?.namespace], [userId, "n", ""]);
});
