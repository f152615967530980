// Each error that the OpenAPI document gives as an example of a call is what that call answers:
// provoked on a server, compared letter for letter, and judged by the schema of its status.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { makeEndpoints } from "../../src/api/routes.ts";
import type { Service } from "../../src/api/service.ts";
import { MESSAGES, QueueError, retryLater } from "../../src/errors.ts";
import { HttpServer } from "../../src/http/server.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/limits.ts";
import { withAccess } from "../support/access.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Json, jsonOf, leasesOf, ON_LEASES, OpenApi, withNeeded } from "../support/openapi.ts";
import { type Reply, SILENT, setup, setupClosed, TestServer } from "../support/server.ts";

const exact = OpenApi.tolerant();

interface World {
  readonly server: TestServer;
  readonly openApi: OpenApi;
  readonly storage: FaultyStorage;
  /** The documented example, of what there is. */
  readonly request: (path: string) => Promise<Json>;
  /** Calls with it, changed. */
  readonly call: (path: string, change?: object) => Promise<Reply>;
}

/** A server with the queue of the examples, and one that uses it as its dead queue. */
async function open(t: TestContext, limits: Partial<Limits> = {}): Promise<World> {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: FaultyStorage["storage"]): FaultyStorage["storage"] => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, { limits }, { wrapStorage });
  await server.createQueue("jobs");
  await server.createQueue("letters", { dead_queue: "jobs" });
  const openApi = await OpenApi.of(server);
  const request = (path: string): Promise<Json> => withAccess(server, path, openApi.example(path));
  const call = async (path: string, change: object = {}): Promise<Reply> =>
    server.call(path, { ...(await request(path)), ...change });
  return { server, openApi, storage: storage!, request, call };
}

// An error under /v2 has another form, and so an example of its own.
function exampleOf(path: string, name: string): string {
  return path.startsWith("/v2/") ? `${name}V2` : name;
}

/** Which calls can give this error, as the document says. */
function callsWith({ calls, document }: OpenApi, name: string): string[] {
  return calls.filter((path) =>
    Object.values<Json>(document.paths[path].post.responses).some(
      (response) => jsonOf(response).examples?.[exampleOf(path, name)],
    ),
  );
}

function check({ openApi }: Pick<World, "openApi">, path: string, name: string, reply: Reply) {
  const example = exampleOf(path, name);
  const { value } = openApi.document.components.examples[example];
  const { request_id, results: _, ...body } = reply.body;
  // No two requests have the same.
  const { request_id: shown, ...expected } = value;
  assert.equal(typeof request_id, typeof shown, `${path} ${name}`);
  const status = path.startsWith("/v2/") ? value.status : value.code;
  assert.deepEqual({ status: reply.status, body }, { status, body: expected }, `${path} ${name}`);
  for (const each of [openApi, exact]) {
    assert.equal(each.replyMismatch(path, reply), "", `${path} ${name}`);
  }
  const { examples } = jsonOf(openApi.operation(path).responses[reply.status]);
  assert.ok(examples[example], `${path} ${name}`);
}

const ID = "3MYU1bRy3722FDmQTN000000001";
const ids = (path: string, id: string): object =>
  ON_LEASES.test(path) ? leasesOf(path, [id]) : { ids: [id] };

// One that is refused if its key is that of another item.
const KEYED = { items: [{ unique_key: "jane", on_duplicate: "reject" }] };

// What to change in the example of a call so that it gives the error.
const CHANGES: Record<string, (path: string) => object> = {
  unknownField: () => ({ colour: "red" }),
  noSuchQueue: () => ({ queue_name: "jbos" }),
  noQueueName: () => ({ queue_name: "" }),
  spaceInQueueName: () => ({ queue_name: "my jobs" }),
  queueExists: () => ({}),
  queueServes: () => ({ force: false }),
  noDeadQueue: () => ({ queue_name: "other", dead_queue: "jbos" }),
  noDeadQueueInList: () => ({ queues: [{ queue_name: "other", dead_queue: "jbos" }] }),
  noQueues: () => ({ queues: [] }),
  otherVersion: () => ({ if_version: 3 }),
  noNamespace: () => ({ namespace: "other" }),
  noSuchNamespace: (path) => ({ [path.includes("/namespaces.") ? "name" : "namespace"]: "other" }),
  noNamespaceName: () => ({ name: "" }),
  reserved: () => ({ name: "_own" }),
  namespaceExists: () => ({}),
  noUsername: () => ({ username: "" }),
  usernameTaken: () => ({}),
  noSuchUser: (path) => ({ [path.includes("/users.") ? "id" : "user_id"]: "nobody" }),
  noUserId: () => ({ user_id: "" }),
  noKeyId: () => ({ id: "" }),
  noKeyChosen: () => ({ id: "" }),
  noSuchKey: () => ({ id: "abc" }),
  noSuchApiKey: () => ({ id: "abc" }),
  oneOrAll: () => ({ namespace: "acme", all_namespaces: true }),
  badExpiry: () => ({ expires_at: "2100-01-01T00:00:00Z", expire_in: "1h" }),
  longOverlap: () => ({ overlap: "721h" }),
  noRoleNamespace: () => ({ namespace: "" }),
  noRoleName: () => ({ name: "" }),
  badPermission: () => ({ permissions: ["queue.all"] }),
  standardRole: () => ({ name: "Admin" }),
  roleExists: () => ({}),
  noSuchRole: () => ({ namespace: "other" }),
  noBindingNamespace: () => ({ namespace: "" }),
  noRoleToBind: () => ({ role_name: "" }),
  noRoleOfName: () => ({ role_name: "other" }),
  colonInUser: () => ({ user_id: "a:b" }),
  noTimeout: () => ({ request_timeout: "" }),
  badTimeout: () => ({ request_timeout: "5" }),
  longTimeout: () => ({ request_timeout: "16m" }),
  shortTimeout: () => ({ request_timeout: "5ms" }),
  longLease: () => ({ queue_name: "other", lease_timeout: "1h", expire_timeout: "30m" }),
  noClientId: () => ({ client_id: "" }),
  noBatchSize: () => ({ batch_size: 0 }),
  noItems: () => ({ items: [] }),
  noIds: () => ({ ids: [] }),
  noLeases: () => ({ leases: [] }),
  someRefused: (path) => ({
    ...(path.endsWith("/queue.produce") ? KEYED : ids(path, "x")),
    all_or_none: true,
  }),
  longLeaseTimeout: () => ({ lease_timeout: "13h" }),
  manyKinds: () => ({ kinds: Array.from({ length: 17 }, (_, i) => `k${i}`) }),
  uniqueKeyTaken: () => KEYED,
  badExtension: () => ({ leases: [{ lease_id: ID, for: "13h" }] }),
  twoPayloads: () => ({ items: [{ json: 1, utf8: "a" }] }),
  largeBatch: () => ({ batch_size: 5_000 }),
  badState: () => ({ state: "done" }),
  badCursor: () => ({ cursor: "x" }),
  badSort: () => ({ sort: "age" }),
  longSearch: () => ({ search: "x".repeat(513) }),
  badSpan: () => ({ span: "2h" }),
  atAndDelay: () => ({ leases: [{ lease_id: ID, at: "2100-01-01T00:00:00Z", delay: "1m" }] }),
  noSuchPartition: () => ({ partition: 9 }),
  badId: (path) => ids(path, "abc"),
  noSuchId: (path) => ids(path, ID),
  noItemId: () => ({ id: "" }),
  badItemId: () => ({ id: "abc" }),
  noSuchItem: () => ({}),
  badIfState: () => ({ if_state: "done" }),
  noRedriveId: () => ({ id: "" }),
  noSuchRedrive: () => ({ id: "abc" }),
  manyGroups: () => ({ limit: 1_001 }),
  sameQueue: () => ({ to: "jobs" }),
  badRatio: () => ({ stop_at_failure_ratio: 2 }),
  nothingToClear: () => ({ queue: false }),
  negativeLimit: () => ({ limit: -1 }),
  badAttempts: () => ({ items: [{ attempts: -1 }] }),
  leasedAndScheduled: () => ({
    items: [{ state: "leased", enqueue_at: "2100-01-01T00:00:00Z" }],
  }),
  twoTimes: () => ({ now: "2030-01-01T00:00:00Z" }),
};

// What is done a second time.
const TWICE = ["namespaceExists", "usernameTaken", "roleExists"];

test("keyOfAnother is what each call that documents it answers", async (t) => {
  const { openApi } = await open(t);
  const paths = callsWith(openApi, "keyOfAnother");
  assert.ok(paths.length > 0);
  for (const path of paths) {
    const world = await open(t);
    const items = [{ id: ID, utf8: "of the example" }];
    await world.server.ok("/v2/items.import", { queue_name: "jobs", items });
    const send = async (body: string): Promise<Reply> => {
      const headers = { "Content-Type": "application/json", "Idempotency-Key": "order-17" };
      const url = `${world.server.server.address}${path}`;
      const response = await fetch(url, { method: "POST", headers, body });
      return { status: response.status, body: await response.json() };
    };
    const change = path.endsWith("queues.create") ? { queue_name: "other" } : {};
    const example = await withNeeded(world.server, path, openApi.example(path));
    const body = JSON.stringify({ ...example, ...change });
    assert.equal((await send(body)).status, 200, path);
    check(world, path, "keyOfAnother", await send(`${body} `));
  }
});

for (const [name, change] of Object.entries(CHANGES)) {
  test(`${name} is what each call that documents it answers`, async (t) => {
    const world = await open(t);
    const paths = callsWith(world.openApi, name);
    assert.ok(paths.length > 0);
    for (const path of paths) {
      const isUpdate = path.endsWith("/queues.update"); // of a queue that there is
      const queue = isUpdate && "queue_name" in change(path) ? { queue_name: "jobs" } : {};
      const isByName = name === "noDeadQueue" || name === "longLease";
      const request = { ...change(path), ...(isByName ? queue : {}) };
      if (TWICE.includes(name)) {
        const example = await world.request(path);
        await world.server.ok(path, example);
        check(world, path, name, await world.server.call(path, example));
        continue;
      }
      let reply = await world.call(path, request);
      if (request === undefined || !("items" in request) || request.items !== KEYED.items) {
        check(world, path, name, reply);
        continue;
      }
      // The item that has the key has another id each time.
      const { id } = reply.body.results[0];
      reply = await world.call(path, request);
      check(world, path, name, JSON.parse(JSON.stringify(reply).replaceAll(id, ID)));
    }
  });
}

test("nextKeyTaken is what each call that documents it answers", async (t) => {
  const world = await open(t);
  const paths = callsWith(world.openApi, "nextKeyTaken");
  assert.deepEqual(paths, ["/v2/queue.complete"]);
  const queue_name = "jobs";
  const items = [{ utf8: "step" }, { unique_key: "jane", delay: "1h" }];
  const { results } = await world.server.ok("/v2/queue.produce", { queue_name, items });
  const leased = await world.server.ok("/v2/queue.lease", { queue_name, batch_size: 1 });
  const leases = leased.items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  const reply = await world.call(paths[0]!, { leases, produce: [KEYED] });
  const text = JSON.stringify(reply).replaceAll(results[1].id, ID);
  check(world, paths[0]!, "nextKeyTaken", JSON.parse(text));
});

const HEADERS: Record<string, Record<string, string>> = {
  badAuthorization: { Authorization: "Basic abc" },
  otherSite: { "Sec-Fetch-Site": "cross-site" },
  encodedBody: { "Content-Encoding": "gzip", "Content-Type": "application/json" },
  wrongContentType: { "Content-Type": "text/html" },
  wrongAccept: { Accept: "text/html" },
};

for (const [name, headers] of Object.entries(HEADERS)) {
  test(`${name} is what every call answers`, async (t) => {
    const { server, openApi } = await open(t);
    for (const path of openApi.calls) {
      const isTold = name !== "badAuthorization" || path.startsWith("/v1/");
      assert.equal(callsWith(openApi, name).includes(path), isTold, path);
      if (!isTold) continue;
      const request = { method: "POST", headers, body: "{}" };
      const response = await fetch(`${server.server.address}${path}`, request);
      const reply = { status: response.status, body: await response.json() };
      check({ openApi }, path, name, reply);
    }
  });
}

test("emptyBody is what every call of /v2 answers", async (t) => {
  const { server, openApi } = await open(t);
  for (const path of openApi.calls) {
    const isTold = path.startsWith("/v2/");
    assert.equal(callsWith(openApi, "emptyBody").includes(path), isTold, path);
    if (!isTold) continue;
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(`${server.server.address}${path}`, { method: "POST", headers });
    const reply = { status: response.status, body: await response.json() };
    check({ openApi }, path, "emptyBody", reply);
  }
});

test("denied and keyExpired are what every call of the API can answer", async (t) => {
  const server = await setupClosed(t);
  const openApi = await OpenApi.of(server);
  const user = await server.ok("users.create", { username: "jane" });
  const keyOf = async (more: object): Promise<string> =>
    (await server.ok("apikeys.create", { user_id: user.id, ...more })).key;
  const without = server.as(await keyOf({}));
  const expired = await keyOf({ expires_at: "2020-01-01T00:00:00Z" });
  const paths = openApi.calls.filter((path) => !path.includes("/dev."));
  for (const name of ["denied", "keyExpired"]) assert.deepEqual(callsWith(openApi, name), paths);
  for (const [i, path] of paths.entries()) {
    check({ openApi }, path, "denied", await without.call(path, openApi.example(path)));
    // Of one address only so many wrong keys are looked at in a minute.
    const localAddress = `127.0.2.${1 + (i >> 3)}`;
    check(
      { openApi },
      path,
      "keyExpired",
      await post(server, path, { key: expired, localAddress }),
    );
  }
});

async function post(
  { server }: TestServer,
  path: string,
  { key, localAddress }: { readonly key: string; readonly localAddress: string },
): Promise<Reply> {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${key}` };
  const request = httpRequest(`${server.address}${path}`, {
    method: "POST",
    headers,
    localAddress,
  });
  request.end("{}");
  const [response] = await once(request, "response");
  return { status: response.statusCode, body: await json(response) };
}

// --- errors that need more than a request ---

test("what can be done no more to an item that is leased, or has ended, is refused as documented", async (t) => {
  const world = await open(t);
  const { server } = world;
  await server.ok("/v2/queues.update", { queue_name: "jobs", keep_completed: "1h" });
  await server.produce("jobs", "one");
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "jobs" });
  const [{ id, lease_id }] = items;
  for (const [path, name] of [
    ["/v2/item.update", "itemLeased"],
    ["/v2/item.cancel", "itemEnded"],
  ] as const) {
    assert.deepEqual(callsWith(world.openApi, name), [path]);
    if (name === "itemEnded") {
      await server.ok("/v2/queue.complete", { queue_name: "jobs", leases: [{ lease_id }] });
    }
    check(world, path, name, await world.call(path, { id }));
  }
});

const FAILURES: Record<string, () => never> = {
  serviceShutdown: () => {
    throw new QueueError("failed", MESSAGES.serviceShutdown);
  },
  takenOver: () => {
    throw retryLater(MESSAGES.takenOver);
  },
  standby: () => {
    throw retryLater(MESSAGES.standby);
  },
  internal: () => {
    throw new TypeError("a defect");
  },
};

for (const [name, fail] of Object.entries(FAILURES)) {
  test(`${name} is what every call of the API can answer`, async (t) => {
    const { openApi } = await open(t);
    const service = {
      limits: DEFAULT_LIMITS,
      queues: {},
      auth: { accounts: { isAnyLimited: false } },
      checkRunning: fail,
    } as unknown as Service;
    const endpoints = makeEndpoints(service);
    const limits = DEFAULT_LIMITS;
    const http = new HttpServer({ endpoints, pages: new Map(), limits, log: SILENT });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    t.after(() => http.closeAllConnections());
    t.after(() => http.close());
    const address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const failing = new TestServer({ address } as TestServer["server"]);
    for (const path of endpoints.keys()) {
      const reply = await failing.call(path, openApi.example(path));
      check({ openApi }, path, name, reply);
    }
  });
}

// Holds the queue, and resolves when the request has got to it.
async function held(world: World, path: string, change: object = {}) {
  const { server, call } = world;
  await server.ok("dev.pause", { queue_name: "jobs" });
  const reply = call(path, change);
  await server.until(async () => (await server.stats("jobs")).in_flight > 0);
  return { reply }; // not the promise itself, which would be waited for
}

test("requests that wait too long are answered as documented", async (t) => {
  for (const path of callsWith((await open(t)).openApi, "requestTimeout")) {
    const world = await open(t);
    const { reply } = await held(world, path, ON_LEASES.test(path) ? ids(path, ID) : {});
    await world.server.advance("20m");
    check(world, path, "requestTimeout", await reply);
  }
});

test("a lease that finds no items, and one that has a twin, are answered as documented", async (t) => {
  const world = await open(t);
  const first = world.call("/v1/queue.lease");
  await world.server.until(async () => (await world.server.stats("jobs")).lease_waiting === 1);
  check(world, "/v1/queue.lease", "duplicateClientId", await world.call("/v1/queue.lease"));
  await world.server.advance("2m");
  check(world, "/v1/queue.lease", "leaseTimeout", await first);
});

test("requests whose commit does not end are answered as documented", async (t) => {
  for (const path of callsWith((await open(t)).openApi, "outcomeUnknown")) {
    const world = await open(t);
    await world.server.produce("jobs", "one", "two");
    const leased = (await world.server.lease("jobs")).items[0].id;
    world.storage.next("commit", "wait");
    const isEnding = ON_LEASES.test(path);
    const reply = world.call(path, isEnding ? ids(path, leased) : {});
    await world.storage.waits();
    await world.server.advance("20m");
    check(world, path, "outcomeUnknown", await reply);
    world.storage.release();
  }
});

test("requests in front of a full queue, and of one that is deleted, are answered as documented", async (t) => {
  for (const path of callsWith((await open(t)).openApi, "queueShutdown")) {
    const world = await open(t, { queuedRequests: 1, waitingLeases: 1 });
    await world.server.produce("jobs", "one");
    const [there] = await world.server.list("jobs");
    await world.server.ok("dev.pause", { queue_name: "jobs" });
    // One gets in; so it is the other that is answered first.
    const [one, other] = ["a", "b"].map((client) => {
      if (path === "/v2/items.delete") return world.call(path, { ids: [there.id] });
      return world.call(path, path === "/v1/queue.lease" ? { client_id: client } : {});
    });
    const first = await Promise.race([one!, other!]);
    check(world, path, "overloaded", first);
    await world.server.ok("queues.delete", { queue_name: "jobs", force: true });
    const second = (await Promise.all([one!, other!])).find((each) => each !== first)!;
    // Under /v2 it says what has become of the queue.
    if (path.startsWith("/v2/")) assert.equal(second.body.code, "queue_not_found", path);
    else check(world, path, "queueShutdown", second);
  }
});

const FAILING = [
  "commit",
  "createPartitions",
  "loadPartition",
  "putQueues",
  "deleteQueue",
  "readItems",
  "findKeys",
  "listKeys",
] as const;

test("calls whose storage fails are answered as documented", async (t) => {
  for (const path of callsWith((await open(t)).openApi, "internalRetry")) {
    const world = await open(t);
    await world.server.produce("jobs", "one", "two");
    const leased = (await world.server.lease("jobs")).items[0].id;
    const isEnding = ON_LEASES.test(path);
    const example = await world.request(path);
    for (const method of FAILING) world.storage.always(method, "fail");
    const other = path.endsWith("/queues.create") ? { queue_name: "other" } : {};
    const isDelete = path.endsWith("/items.delete");
    const change = isEnding || isDelete ? ids(path, leased) : other;
    const reply = await world.server.call(path, { ...example, ...change });
    check(world, path, "internalRetry", reply);
    if (callsWith(world.openApi, "partitionFailing").includes(path)) {
      world.storage.always("commit", "fail");
      await world.call("/v1/queue.produce");
      check(world, path, "partitionFailing", await world.call(path, change));
    }
    world.storage.heal();
  }
});

test("every example of an error is provoked here", async (t) => {
  const { openApi } = await open(t);
  const apart: string[] = ["requestTimeout", "outcomeUnknown", "leaseTimeout", "overloaded"];
  const alone: string[] = [
    "duplicateClientId",
    "denied",
    "emptyBody",
    "itemEnded",
    "itemLeased",
    "keyExpired",
    "keyOfAnother",
    "nextKeyTaken",
    "queueShutdown",
    "internalRetry",
    "partitionFailing",
  ];
  const tables = [CHANGES, HEADERS, FAILURES].flatMap((table) => Object.keys(table));
  const provoked = [...tables, ...apart, ...alone];
  const documented = Object.keys(openApi.document.components.examples);
  const names = new Set(documented.map((name) => name.replace(/V2$/, "")));
  assert.deepEqual([...names].sort(), provoked.sort());
});
