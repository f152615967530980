// What a namespace may use: exact under many at once, on all threads, after a restart, and live. Others notice nothing.

import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import { type TestContext, test } from "node:test";
import { ADMIN_KEY, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace } from "../support/storages.ts";

const PLACES = [
  ["memory", 1],
  ["memory", 2],
  ["sqlite", 1],
  ["sqlite", 2],
  ["postgres", 1],
] as const;

interface Called {
  readonly status: number;
  readonly retryAfter: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: replies are looked at member by member
  readonly body: any;
}

/** Calls /v2 in a namespace. */
async function call(
  server: TestServer,
  path: string,
  request: object,
  { namespace = "acme", version = "v2", signal = AbortSignal.timeout(20_000) } = {},
): Promise<Called> {
  const response = await fetch(`${server.server.address}/${version}/${path}`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${ADMIN_KEY}`,
      "Content-Type": "application/json",
      ...(namespace !== "" && { "X-Querator-Namespace": namespace }),
    },
    body: JSON.stringify(request),
    signal,
  });
  const text = await response.text();
  const retryAfter = response.headers.get("Retry-After");
  return { status: response.status, retryAfter, body: text === "" ? {} : JSON.parse(text) };
}

async function ok(...args: Parameters<typeof call>) {
  const { status, body } = await call(...args);
  assert.equal(status, 200, `${args[1]} ${JSON.stringify(body)}`);
  return body;
}

async function made(t: TestContext, quotas: object, options: object = {}): Promise<TestServer> {
  const server = await setupClosed(t, options);
  for (const name of ["acme", "other"]) {
    const own = name === "acme" ? { quotas } : {};
    await ok(server, "namespaces.create", { name, ...own }, { namespace: "" });
    await ok(
      server,
      "queues.create",
      { queue_name: "jobs", requested_partitions: 2 },
      { namespace: name },
    );
  }
  return server;
}

const used = async (server: TestServer) =>
  (await ok(server, "namespaces.info", { name: "acme" }, { namespace: "" })).used ?? {};
const items = (n: number, utf8 = "x") => Array.from({ length: n }, () => ({ utf8 }));
const setQuotas = (server: TestServer, quotas: object) =>
  ok(server, "namespaces.update", { name: "acme", quotas }, { namespace: "" });

for (const [driver, threads] of PLACES) {
  const place = `${driver}, ${threads} thread(s)`;

  test(`never one item more is accepted than the quota, ${place}`, async (t) => {
    const options = { ...(await freshPlace(t, driver)), threads };
    const server = await made(t, { items: 50 }, options);
    await ok(server, "queues.create", { queue_name: "more", requested_partitions: 2 });
    const produce = (i: number) =>
      call(server, "queue.produce", {
        queue_name: i % 2 === 0 ? "jobs" : "more",
        items: items(3),
      });
    const replies = await Promise.all(Array.from({ length: 60 }, (_, i) => produce(i)));
    const taken = replies.filter(({ status }) => status === 200).length;
    assert.equal(taken, 16);
    const refused = replies.find(({ status }) => status !== 200)!;
    assert.deepEqual(
      [refused.status, refused.body.code, refused.body.detail, refused.retryAfter],
      [429, "quota_exceeded", "namespace has reached its quota; 'acme' may have 50 items", "1"],
    );
    assert.equal((await used(server)).items, 48);
    await ok(server, "queue.produce", { queue_name: "jobs", items: items(2) });
    const old = { queue_name: "jobs", request_timeout: "10s", items: items(1) };
    const v1 = await call(server, "queue.produce", old, { version: "v1" });
    assert.deepEqual([v1.status, v1.body.code], [454, 454]);
    const imported = await call(server, "items.import", { queue_name: "jobs", items: items(1) });
    assert.equal(imported.body.code, "quota_exceeded");
    await ok(
      server,
      "queue.produce",
      { queue_name: "jobs", items: items(9) },
      { namespace: "other" },
    );
    // What is leased counts until it has ended.
    const leased = await ok(server, "queue.lease", { queue_name: "jobs", batch_size: 4 });
    assert.equal((await used(server)).items, 50);
    const leases = leased.items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
    await ok(server, "queue.complete", { queue_name: "jobs", leases });
    assert.equal((await used(server)).items, 50 - leases.length);
    // What follows takes the place of what ends.
    await ok(server, "queue.produce", { queue_name: "jobs", items: items(leases.length) });
    const [next] = (await ok(server, "queue.lease", { queue_name: "jobs" })).items;
    const then = { queue_name: "jobs", leases: [{ lease_id: next.lease_id }] };
    const two = { ...then, produce: [{ queue_name: "jobs", items: items(2) }] };
    assert.equal((await call(server, "queue.complete", two)).body.code, "quota_exceeded");
    await ok(server, "queue.complete", {
      ...then,
      produce: [{ queue_name: "jobs", items: items(1) }],
    });
    assert.equal((await used(server)).items, 50);
    await ok(server, "queue.clear", { queue_name: "jobs", queue: true }, { version: "v1" });
    await ok(server, "queues.delete", { queue_name: "more" });
    const { items: left = 0, bytes = 0 } = await used(server);
    assert.deepEqual([left, Number(bytes)], [0, 0]);
  });

  test(`never one byte more is accepted than the quota, ${place}`, async (t) => {
    const options = { ...(await freshPlace(t, driver)), threads };
    const server = await made(t, {}, options);
    await ok(server, "queue.produce", { queue_name: "jobs", items: items(1, "y".repeat(100)) });
    const one = Number((await used(server)).bytes);
    assert.ok(one >= 100);
    await setQuotas(server, { bytes: one * 10 + 1 });
    const replies = await Promise.all(
      Array.from({ length: 40 }, () =>
        call(server, "queue.produce", { queue_name: "jobs", items: items(1, "y".repeat(100)) }),
      ),
    );
    assert.equal(replies.filter(({ status }) => status === 200).length, 9);
    assert.equal(Number((await used(server)).bytes), one * 10);
    for (let left = 10; left > 0; ) {
      const found = await ok(server, "queue.lease", { queue_name: "jobs", batch_size: 10 });
      const leases = found.items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
      await ok(server, "queue.complete", { queue_name: "jobs", leases });
      left -= leases.length;
      assert.equal(Number((await used(server)).bytes ?? 0), one * left);
    }
  });
}

for (const [driver, threads] of PLACES.filter(([driver]) => driver !== "memory")) {
  test(`what is used is known after a restart, ${driver}, ${threads} thread(s)`, async (t) => {
    const options = { ...(await freshPlace(t, driver)), threads };
    const server = await setupClosed(t, options);
    await ok(
      server,
      "namespaces.create",
      { name: "acme", quotas: { items: 5 } },
      { namespace: "" },
    );
    await ok(server, "queues.create", { queue_name: "jobs", requested_partitions: 2 });
    await ok(server, "queue.produce", { queue_name: "jobs", items: items(4) });
    await ok(server, "queue.lease", { queue_name: "jobs" });
    const before = await used(server);
    await server.server.stop();
    const again = await setupClosed(t, options);
    const { items: count, bytes, queues } = await used(again);
    assert.deepEqual([count, bytes, queues], [before.items, before.bytes, 1]);
    await ok(again, "queue.produce", { queue_name: "jobs", items: items(1) });
    const more = await call(again, "queue.produce", { queue_name: "jobs", items: items(1) });
    assert.equal(more.status, 429);
  });
}

test("a dead letter arrives whatever the quota is, and adds nothing", async (t) => {
  const server = await made(t, { items: 2 }, { threads: 2 });
  await ok(server, "queues.create", { queue_name: "dead" });
  await ok(server, "queues.create", { queue_name: "dying", dead_queue: "dead", max_attempts: 1 });
  await ok(server, "queue.produce", { queue_name: "dying", items: items(2) });
  await setQuotas(server, { items: 1 });
  const { items: leased } = await ok(server, "queue.lease", { queue_name: "dying", batch_size: 2 });
  const leases = leased.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await ok(server, "queue.reject", { queue_name: "dying", leases });
  const dead = await ok(server, "items.list", { queue_name: "dead" });
  assert.equal(dead.items.length, 2);
  assert.equal((await used(server)).items, 2);
});

test("queues are counted when they are made, one by one and applied, and live", async (t) => {
  const server = await made(t, { queues: 3 }, { threads: 2 });
  const create = (queue_name: string) => call(server, "queues.create", { queue_name });
  const replies = await Promise.all(["a", "b", "c", "d"].map(create));
  assert.deepEqual(replies.map(({ status }) => status).toSorted(), [200, 200, 429, 429]);
  const applied = await call(server, "queues.apply", { queues: [{ queue_name: "e" }] });
  assert.equal(applied.body.code, "quota_exceeded");
  assert.equal((await used(server)).queues, 3);
  await setQuotas(server, { queues: 1 });
  // Lowered it refuses what is new, and takes nothing away.
  assert.equal((await ok(server, "queues.list", {})).queues.length, 3);
  assert.equal((await create("f")).status, 429);
  await setQuotas(server, {});
  assert.equal((await create("f")).status, 200);
});

test("as many calls and items pass in a second as the quota says, and are told when more may come", async (t) => {
  const server = await made(t, {}, { threads: 2 });
  await setQuotas(server, { requests_per_second: 1 });
  const stats = () => call(server, "queue.stats", { queue_name: "jobs" }, { version: "v1" });
  const replies = await Promise.all(Array.from({ length: 6 }, stats));
  assert.equal(replies.filter(({ status }) => status === 200).length, 1);
  assert.equal(replies.filter(({ status }) => status === 454).length, 5);
  assert.equal((await call(server, "queues.list", {}, { namespace: "other" })).status, 200);
  await setQuotas(server, { items_per_second: 2 });
  // More than fits takes a full second, and is waited for: 20 items are 10 seconds.
  await ok(server, "queue.produce", { queue_name: "jobs", items: items(20) });
  const more = await call(server, "queue.produce", { queue_name: "jobs", items: items(2) });
  assert.deepEqual([more.status, more.retryAfter], [429, "10"]);
  const lease = await call(server, "queue.lease", { queue_name: "jobs" });
  assert.deepEqual([lease.status, lease.body.code], [429, "quota_exceeded"]);
});

test("a rate that is set anew counts at once, whatever was too much for the one before", async (t) => {
  const server = await made(t, { items_per_second: 1 }, { threads: 2 });
  await server.advance("0s");
  const produce = (n: number) =>
    call(server, "queue.produce", { queue_name: "jobs", items: items(n) });
  assert.equal((await produce(1_000)).status, 200);
  const { status, retryAfter } = await produce(1);
  assert.ok(status === 429 && Number(retryAfter) >= 1_000, `${status} ${retryAfter}`);
  await setQuotas(server, { items_per_second: 100 });
  assert.equal((await produce(100)).status, 200);
  assert.equal((await produce(1)).status, 429);
  // What is set to what it was is as it was.
  await setQuotas(server, { items_per_second: 100 });
  assert.equal((await produce(1)).status, 429);
});

for (const threads of [1, 2]) {
  test(`so many leases wait as may, and those whose clients go make room, with ${threads} thread(s)`, async (t) => {
    const server = await made(t, { waiting_leases: 2 }, { threads });
    const gone = new AbortController();
    const request = { queue_name: "jobs", request_timeout: "30s" };
    const waiting = [0, 1].map(() =>
      call(server, "queue.lease", request, { signal: gone.signal }).catch(() => undefined),
    );
    await server.until(async () => (await used(server)).waiting_leases === 2);
    const third = await call(server, "queue.lease", request);
    assert.deepEqual([third.status, third.body.code], [429, "quota_exceeded"]);
    gone.abort();
    await Promise.all(waiting);
    await server.until(async () => (await used(server)).waiting_leases === undefined);
    const short = { queue_name: "jobs", request_timeout: "20ms" };
    assert.equal((await call(server, "queue.lease", short)).status, 200);
  });
}

for (const threads of [1, 2]) {
  test(`so many connections show a key of a namespace as may, with ${threads} thread(s)`, async (t) => {
    const server = await made(t, { connections: 3 }, { threads });
    const user = await ok(server, "users.create", { username: "u" }, { namespace: "" });
    const bind = { user_id: user.id, role_name: "Operator", namespace: "acme" };
    await ok(server, "bindings.create", bind, { namespace: "" });
    const { key } = await ok(
      server,
      "keys.create",
      { user_id: user.id, name: "k", namespace: "acme" },
      { namespace: "" },
    );
    const agents = Array.from({ length: 8 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
    t.after(() => {
      for (const agent of agents) agent.destroy();
    });
    const list = (agent: Agent) => post(server, agent, key);
    const statuses = await Promise.all(agents.map(list));
    assert.deepEqual(statuses.toSorted(), [
      "200 keep-alive",
      "200 keep-alive",
      "200 keep-alive",
      ...Array.from({ length: 5 }, () => "429 close"),
    ]);
    assert.equal((await used(server)).connections, 3);
    for (const agent of agents) agent.destroy();
    await server.until(async () => (await used(server)).connections === undefined);
    const other = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => other.destroy());
    assert.equal(await list(other), "200 keep-alive");
    // With another key it is no connection of the namespace any more.
    assert.equal(await post(server, other, ADMIN_KEY), "200 keep-alive");
    assert.equal((await used(server)).connections, undefined);
  });
}

function post(server: TestServer, agent: Agent, key: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const url = `${server.server.address}/v2/queues.list`;
  const sent = request(url, { method: "POST", agent, headers }, (response) => {
    response.resume();
    response.once("end", () => resolve(`${response.statusCode} ${response.headers.connection}`));
  });
  sent.once("error", reject);
  sent.end("{}");
  return promise;
}
