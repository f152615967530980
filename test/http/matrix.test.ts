// Who may do what: every endpoint, made from the rows, for every standard role and every kind of key, in its own
// namespace, in that of others and in one that is not there, on a queue that is there and on one that is not. What
// is allowed is worked out here anew, from the contract. First all that is to be refused is asked for: the
// replies must not differ in one byte by what is there, and nothing may have changed.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { type Permission, STANDARD_ROLES } from "../../src/auth/permissions.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { type Reply, ReplyReader, requestText } from "../support/http-text.ts";
import type { Json } from "../support/openapi.ts";
import { ADMIN_KEY, setupClosed, type TestServer } from "../support/server.ts";

const [OWN, OTHER, MISSING, SYSTEM] = ["own", "other", "missing", "_system"];

// The contract of /v1 says where a permission is looked for; names of permissions, here once more, are those of
// wire.md 5.4 and of issue 25.
const OF_SERVER = /^\/v\d\/(users\.|apikeys\.|debug\.|namespaces\.(create|update|list|delete)$)/;
const NAMES_ITSELF = /^\/v2\/namespaces\.info$/;

/** One endpoint, as far as it counts who may call it. */
interface Call {
  readonly path: string;
  readonly needs: readonly Permission[];
  readonly example: Json;
  /** Names of its fields. */
  readonly fields: ReadonlySet<string>;
}

const CALLS: readonly Call[] = [
  ...makeEndpoints({ limits: DEFAULT_LIMITS } as Service).values(),
].map(({ row }) => {
  assert.ok("request" in row && row.request !== undefined, row.path);
  const also = "alsoNeeds" in row && row.alsoNeeds !== undefined ? [row.alsoNeeds] : [];
  return {
    path: row.path,
    needs: [row.permission, ...also],
    example: row.example,
    fields: new Set(row.request.fields.map(({ jsonName }) => jsonName)),
  };
});

/** Who calls: a user with a role somewhere, and a key that may be for one namespace only. */
interface Caller {
  readonly role: string;
  readonly boundIn: string;
  readonly scope: string;
  readonly key: string;
}

function mayCall({ role, boundIn, scope }: Caller, { path, needs }: Call, about: string): boolean {
  const target = OF_SERVER.test(path) ? SYSTEM : about;
  const allows = needs.every((each) => STANDARD_ROLES[role]!.includes(each));
  if (!allows) return false;
  if (scope !== "" && target !== scope) {
    // By the contract of /v1 such a key may be about `_system`, for which only bindings there count.
    return path.startsWith("/v1/") && target === SYSTEM && boundIn === SYSTEM;
  }
  return boundIn === target || boundIn === SYSTEM;
}

// What a call is told so that it is about a namespace, and a queue if it names one.
function requestOf({ path, example, fields }: Call, namespace: string, queue: string): string {
  const isKnown = (field: string): boolean => fields.has(field);
  const { produce: _, ...rest } = example;
  const request = {
    ...rest,
    ...(isKnown("namespace") && { namespace }),
    ...(NAMES_ITSELF.test(path) && { name: namespace }),
    ...("queue_name" in example && { queue_name: queue }),
    ...(isKnown("request_timeout") && { request_timeout: "10ms" }),
  };
  const header = `X-Querator-Namespace: ${namespace}\r\nX-Request-Id: same\r\n`;
  return requestText(path.replace(/^\/(v1\/)?/, ""), request, header);
}

/** Sends requests on one connection, one behind the other; answers the replies in order. */
async function send(
  server: TestServer,
  requests: readonly string[],
  { key, localAddress }: { readonly key?: string; readonly localAddress?: string },
): Promise<Reply[]> {
  if (requests.length === 0) return [];
  const own = key === undefined ? "" : `Authorization: Bearer ${key}\r\n`;
  const { hostname: host, port } = new URL(server.server.address);
  const socket = connect({ host, port: Number(port), ...(localAddress && { localAddress }) });
  const { promise, resolve, reject } = Promise.withResolvers<Reply[]>();
  const reader = new ReplyReader();
  const replies: Reply[] = [];
  const next = (): void => {
    const request = requests[replies.length];
    if (request === undefined) resolve(replies);
    else socket.write(request.replace("\r\n", `\r\n${own}`));
  };
  socket.setNoDelay(true);
  socket.on("connect", next);
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("the connection was closed")));
  socket.on("data", (chunk: Buffer) => {
    reader.add(chunk);
    for (let reply = reader.next(); reply !== undefined; reply = reader.next()) {
      replies.push(reply);
      next();
    }
  });
  try {
    return await promise;
  } finally {
    socket.removeAllListeners("close").destroy();
  }
}

// Date is all that may differ.
function textOf({ status, headers, body }: Reply): string {
  const rest = [...headers].filter(([name]) => name !== "date");
  return `${status} ${JSON.stringify(rest)} ${body}`;
}

interface World {
  readonly server: TestServer;
  readonly callers: readonly Caller[];
  readonly expired: string;
  readonly revoked: string;
}

async function open(t: TestContext): Promise<World> {
  const server = await setupClosed(t, { dev: false });
  for (const name of [OWN, OTHER]) {
    await server.ok("/v2/namespaces.create", { name });
    const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
    await server.ok("queues.create", { queue_name: "jobs", namespace: name, ...settings });
  }
  const keyOf = async (user_id: string, more: object = {}): Promise<string> =>
    (await server.ok("apikeys.create", { user_id, ...more })).key;
  const callers: Caller[] = [];
  for (const role_name of Object.keys(STANDARD_ROLES)) {
    for (const namespace of [OWN, SYSTEM]) {
      const username = `${role_name} of ${namespace}`;
      const { id: user_id } = await server.ok("/v2/users.create", { username });
      await server.ok("/v2/bindings.create", { namespace, role_name, user_id });
      for (const scope of ["", OWN!]) {
        const key = await keyOf(user_id, { namespace_scope: scope });
        callers.push({ role: role_name, boundIn: namespace!, scope, key });
      }
    }
  }
  const { id } = await server.ok("/v2/users.create", { username: "late" });
  await server.ok("/v2/bindings.create", { role_name: "Admin", user_id: id });
  const expired = await keyOf(id, { expires_at: "2020-01-01T00:00:00Z" });
  const revoked = await keyOf(id, { name: "revoked" });
  const { keys } = await server.ok("/v2/keys.list", { user_id: id });
  const gone = keys.find(({ name }: { name: string }) => name === "revoked");
  await server.ok("/v2/keys.revoke", { id: gone.id });
  return { server, callers, expired, revoked };
}

const PLACES = [OWN, OTHER, MISSING, SYSTEM].flatMap((about) =>
  ["jobs", "none"].map((queue) => ({ about: about!, queue })),
);

// All that can be seen of what there is.
async function seen(server: TestServer): Promise<string> {
  const lists = ["namespaces", "users"].map((noun) => server.ok(`/v2/${noun}.list`, {}));
  for (const namespace of [OWN, OTHER, SYSTEM]) {
    for (const noun of ["roles", "bindings"]) {
      lists.push(server.ok(`/v2/${noun}.list`, { namespace }));
    }
    lists.push(server.ok("queues.list", { namespace }));
  }
  const { keys } = await server.ok("/v2/keys.list", {});
  const known = keys.map(({ last_used_at: _, ...rest }: Json) => rest);
  return JSON.stringify([...(await Promise.all(lists)), known]);
}

function isRefused(path: string, { status, body }: Reply): boolean {
  if (status === 403) return true;
  // By the contract that is what apikeys.delete says of an id that is that of none.
  return status === 401 && !(path === "/v1/apikeys.delete" && /does not exist/.test(`${body}`));
}

test("every role may do exactly what it allows, and what is refused tells nothing", async (t) => {
  const { server, callers } = await open(t);
  const before = await seen(server);
  const cases = CALLS.flatMap((call) => PLACES.map((place) => ({ call, place })));
  const isFine = (caller: Caller, { call, place }: (typeof cases)[number]): boolean =>
    mayCall(caller, call, place.about);
  const textFor = ({ call, place }: (typeof cases)[number]): string =>
    requestOf(call, place.about, place.queue);
  const counts = { refused: 0, allowed: 0 };

  await Promise.all(
    callers.map(async (caller) => {
      const refused = cases.filter((each) => !isFine(caller, each));
      const replies = await send(server, refused.map(textFor), caller);
      const texts = new Map<string, string>();
      for (const [i, { call, place }] of refused.entries()) {
        const shown = `${JSON.stringify(caller)} ${call.path} ${JSON.stringify(place)}`;
        const text = textOf(replies[i]!);
        assert.equal(replies[i]!.status, 403, `${shown}: ${text}`);
        assert.equal(text, texts.get(call.path) ?? text, shown);
        texts.set(call.path, text);
      }
      counts.refused += refused.length;
    }),
  );
  assert.equal(await seen(server), before);

  await Promise.all(
    callers.map(async (caller) => {
      const allowed = cases.filter((each) => isFine(caller, each));
      const replies = await send(server, allowed.map(textFor), caller);
      for (const [i, { call, place }] of allowed.entries()) {
        const shown = `${JSON.stringify(caller)} ${call.path} ${JSON.stringify(place)}`;
        assert.ok(!isRefused(call.path, replies[i]!), `${shown}: ${textOf(replies[i]!)}`);
      }
      counts.allowed += allowed.length;
    }),
  );
  const { refused, allowed } = counts;
  t.diagnostic(
    `${CALLS.length} calls, ${callers.length} callers: ${refused} refused, ${allowed} allowed`,
  );
  assert.equal(refused + allowed, cases.length * callers.length);
});

test("without a key, or with one that is taken no more, nothing can be done", async (t) => {
  const { server, expired, revoked } = await open(t);
  const before = await seen(server);
  const texts = CALLS.map((call) => ({ call, text: requestOf(call, SYSTEM!, "jobs") }));
  const check = (replies: readonly Reply[], from: number, isNone: boolean): void => {
    for (const [i, reply] of replies.entries()) {
      const { path } = texts[from + i]!.call;
      // The contract of /v1 says 403 of who has no key.
      const expected = isNone && path.startsWith("/v1/") ? 403 : 401;
      assert.equal(reply.status, expected, `${path}: ${textOf(reply)}`);
      const asks = reply.headers.get("www-authenticate");
      assert.equal(asks, path.startsWith("/v2/") ? "Bearer" : undefined, path);
    }
  };
  const all = texts.map(({ text }) => text);
  check(await send(server, all, {}), 0, true);
  // Of one address only so many wrong keys are looked at in a minute.
  const PART = 10;
  let address = 1;
  for (const key of [expired, revoked]) {
    for (let from = 0; from < all.length; from += PART) {
      const localAddress = `127.0.1.${++address}`;
      check(await send(server, all.slice(from, from + PART), { key, localAddress }), from, false);
    }
  }
  assert.equal(await seen(server), before);
});

test("a wrong request of who may not send it is refused like any other, where that tells of what is there", async (t) => {
  const { server } = await open(t);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const key = (await server.ok("/v2/keys.create", { user_id })).key;
  const asked = ["jobs", "none", "a~b", ""].map((queue_name) =>
    requestText("v2/queues.info", { queue_name }, "X-Request-Id: same\r\n"),
  );
  const [first, ...others] = (await send(server, asked, { key })).map(textOf);
  assert.match(first!, /^403 /);
  for (const other of others) assert.equal(other, first);
});

test("who names a queue or an item without its namespace learns nothing of others", async (t) => {
  const { server, callers } = await open(t);
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await server.ok("queues.create", { queue_name: "theirs", namespace: OTHER, ...settings });
  const [, there] = await send(
    server,
    [OWN, OTHER].map((name) =>
      requestText(
        "v2/queue.produce",
        { queue_name: "jobs", items: [{ utf8: "x" }] },
        `X-Querator-Namespace: ${name}\r\n`,
      ),
    ),
    { key: ADMIN_KEY },
  );
  const { id } = JSON.parse(there!.body.toString()).results[0];
  const isOperator = ({ role, boundIn, scope }: Caller): boolean =>
    role === "Operator" && boundIn === OWN && scope === "";
  const { key } = callers.find(isOperator)!;
  const ask = async (path: string, request: object): Promise<string> =>
    textOf(
      (await send(server, [requestText(path, request, "X-Request-Id: same\r\n")], { key }))[0]!,
    );
  // There is one of this name elsewhere, which changes nothing.
  assert.match(await ask("v2/queues.info", { queue_name: "jobs" }), /^200 /);
  const none = await ask("v2/queues.info", { queue_name: "none" });
  assert.match(none, /^403 /);
  assert.equal(await ask("v2/queues.info", { queue_name: "theirs" }), none);
  const unknown = id.replace(/.{4}$/, "zzzz");
  for (const path of ["v2/item.get", "v2/item.explain", "v2/item.cancel"]) {
    const header = `X-Querator-Namespace: ${OWN}\r\nX-Request-Id: same\r\n`;
    const requests = [id, unknown].map((each) => requestText(path, { id: each }, header));
    const [forbidden, missing] = (await send(server, requests, { key })).map(textOf);
    assert.match(missing!, /^404 .*item_not_found/, path);
    assert.equal(forbidden!.replaceAll(id, unknown), missing, path);
  }
});
