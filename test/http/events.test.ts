// What happens is told as it happens to who listens at /v2/events: all that is committed, in order and once, nothing
// else, and to nobody who may not know of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, type EventReader, listen, refusal, type Told } from "../support/events.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import type { Json } from "../support/openapi.ts";
import { ADMIN_KEY, setup, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

async function produce(server: TestServer, queue_name: string, n: number): Promise<string[]> {
  const items = Array.from({ length: n }, (_, i) => ({ utf8: `${i}` }));
  const { results } = await server.ok("/v2/queue.produce", { queue_name, items });
  return results.map(({ id }: Json) => id);
}

async function lease(server: TestServer, queue_name: string, batch_size = 1): Promise<Json[]> {
  const { items = [] } = await server.ok("/v2/queue.lease", {
    queue_name,
    batch_size,
    request_timeout: "1s",
  });
  return items;
}

const leasesOf = (items: readonly Json[]) => items.map(({ lease_id }) => ({ lease_id }));
const typesOf = (told: readonly Told[]) => told.map(({ type }) => type);
const idsOf = (told: readonly Told[]) => told.map(({ data }) => data.id);

/** All that has happened so far: up to a sign that is made for this. */
async function soFar(server: TestServer, reader: EventReader): Promise<Told[]> {
  await server.ok("/v2/queues.create", { queue_name: "sign" });
  await server.ok("/v2/queues.delete", { queue_name: "sign" });
  const told = await reader.until("queue_deleted");
  return told.filter(({ data }) => data.queue_name !== "sign");
}

for (const [place, driver, threads] of PLACES) {
  test(`on ${place} the life of an item is told in order, without what it holds`, async (t) => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    const reader = await listen(t, server);
    assert.equal(reader.response.headers["content-type"], "text/event-stream");
    await server.ok("/v2/queues.create", { queue_name: "dead" });
    const settings = { dead_queue: "dead", max_attempts: 2 };
    await server.ok("/v2/queues.create", { queue_name: "jobs", ...settings });
    const [id] = await produce(server, "jobs", 1);
    const queue_name = "jobs";
    let leases = leasesOf(await lease(server, queue_name));
    await server.ok("/v2/queue.extend", {
      queue_name,
      leases: leases.map((each) => ({ ...each, for: "1m" })),
    });
    await server.ok("/v2/queue.release", { queue_name, leases });
    leases = leasesOf(await lease(server, queue_name));
    await server.ok("/v2/queue.retry", {
      queue_name,
      leases: leases.map((each) => ({ ...each, delay: "0s" })),
    });
    leases = leasesOf(await lease(server, queue_name));
    await server.ok("/v2/queue.reject", { queue_name, leases });
    leases = leasesOf(await lease(server, "dead"));
    await server.ok("/v2/queue.complete", { queue_name: "dead", leases });
    const told = await soFar(server, reader);
    const ofQueue = (name: string) =>
      told
        .filter(({ data }) => data.queue_name === name)
        .map(({ type, data }) => [type, data.attempts ?? data.reason]);
    assert.deepEqual(ofQueue("jobs"), [
      ["queue_created", undefined],
      ["produced", 0],
      ["leased", 1],
      ["extended", 1],
      ["released", 0],
      ["leased", 1],
      ["retried", 1],
      ["leased", 2],
      ["dead", 2],
    ]);
    assert.deepEqual(ofQueue("dead"), [
      ["queue_created", undefined],
      ["received", 0],
      ["leased", 1],
      ["completed", 1],
    ]);
    const ofItems = told.filter(({ data }) => data.id !== undefined);
    assert.deepEqual(new Set(idsOf(ofItems)), new Set([id]));
    const dead = told.find(({ type }) => type === "dead")!;
    const { time, ...rest } = dead.data;
    assert.match(time, /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d+Z$/);
    const where = { queue_name, partition: 0, id, attempts: 2 };
    assert.deepEqual(rest, { type: "dead", reason: "rejected", ...where });
    assert.equal(new Set(told.map(({ cursor }) => cursor)).size, told.length);
  });

  test(`on ${place} who comes back is told what they have missed, once`, async (t) => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    for (const name of ["a", "b", "c"]) {
      await server.ok("/v2/queues.create", { queue_name: name, requested_partitions: 2 });
    }
    const query = "?types=produced";
    let reader = await listen(t, server, query);
    const made: string[] = [];
    const told: Told[] = [];
    for (let round = 0; round < 8; round++) {
      for (const name of ["a", "b", "c"]) made.push(...(await produce(server, name, 7)));
      // In the middle of what was made together, too.
      told.push(...(await reader.take(4)));
      const { cursor } = told.at(-1)!;
      reader.leave();
      for (const name of ["a", "b", "c"]) made.push(...(await produce(server, name, 3)));
      reader =
        round % 2 === 0
          ? await listen(t, server, query, { "Last-Event-ID": cursor })
          : await listen(t, server, `${query}&after=${cursor}`);
    }
    told.push(...(await reader.take(made.length - told.length)));
    assert.deepEqual(
      typesOf(told),
      made.map(() => "produced"),
    );
    assert.deepEqual(idsOf(told).sort(), made.sort());
    for (const name of ["a", "b", "c"]) {
      for (const partition of [0, 1]) {
        const ids = told
          .filter(({ data }) => data.queue_name === name && data.partition === partition)
          .map(({ data }) => data.id);
        assert.deepEqual(ids, ids.toSorted(), "in the order in which they were produced");
      }
    }
  });
}

test("what was not committed is not told", async (t) => {
  let faulty: FaultyStorage | undefined;
  const server = await setup(
    t,
    {},
    {
      wrapStorage: (storage) => {
        faulty = new FaultyStorage(storage);
        return faulty.storage;
      },
    },
  );
  await server.ok("/v2/queues.create", { queue_name: "jobs" });
  const reader = await listen(t, server, "?queues=jobs");
  const [id] = await produce(server, "jobs", 1);
  faulty!.next("commit", "fail");
  const items = [{ utf8: "lost" }];
  const request = { queue_name: "jobs", items };
  assert.equal((await server.call("/v2/queue.produce", request)).status, 503);
  await server.advance("1m");
  const [other] = await produce(server, "jobs", 1);
  assert.deepEqual(idsOf(await reader.take(2)), [id, other]);
});

test("a cursor from before what nobody has listened to is answered with a gap", async (t) => {
  const server = await setup(t);
  for (const queue_name of ["a", "b"]) await server.ok("/v2/queues.create", { queue_name });
  let reader = await listen(t, server, "?queues=a");
  await produce(server, "a", 1);
  const { cursor } = (await reader.take(1))[0]!;
  reader.leave();
  await produce(server, "b", 1);
  reader = await listen(t, server, `?queues=a,b&after=${cursor}`);
  assert.deepEqual(
    (await reader.take(1)).map(({ data }) => data),
    [{ type: "gap", reason: "not_kept" }],
  );
});

test("a listener is told of the queues, the types and the item that they ask for, and of nothing else", async (t) => {
  const server = await setup(t);
  for (const queue_name of ["a", "b"]) await server.ok("/v2/queues.create", { queue_name });
  const ofA = await listen(t, server, "?queues=a");
  const ends = await listen(t, server, "?types=completed,dead&types=queue_deleted");
  const [first, second] = await produce(server, "a", 2);
  const ofItem = await listen(t, server, `?item=${second}`);
  await produce(server, "b", 1);
  await server.ok("/v2/queue.complete", {
    queue_name: "a",
    leases: leasesOf(await lease(server, "a", 2)),
  });
  await server.ok("/v2/queues.delete", { queue_name: "b" });
  await server.ok("/v2/queues.delete", { queue_name: "a" });
  const rest = ["leased", "leased", "completed", "completed", "queue_deleted"];
  assert.deepEqual(typesOf(await ofA.until("queue_deleted")), ["produced", "produced", ...rest]);
  const told = await ends.take(4);
  assert.deepEqual(typesOf(told), ["completed", "completed", "queue_deleted", "queue_deleted"]);
  assert.deepEqual(idsOf(told).slice(0, 2), [first, second]);
  assert.deepEqual(typesOf(await ofItem.take(2)), ["leased", "completed"]);
});

test("a cursor of another run, or of nothing that was kept, is answered with a gap", async (t) => {
  const place = await freshPlace(t, "sqlite");
  let server = await setup(t, place);
  await server.ok("/v2/queues.create", { queue_name: "jobs" });
  let reader = await listen(t, server, "?queues=jobs");
  await produce(server, "jobs", 1);
  const { cursor } = (await reader.take(1))[0]!;
  reader.leave();
  // What nobody has listened to before.
  reader = await listen(t, server, `?queues=jobs,other&after=${cursor}`);
  assert.deepEqual(
    (await reader.take(1)).map(({ data }) => data),
    [{ type: "gap", reason: "not_kept" }],
  );
  await server.server.stop();
  server = await setup(t, place);
  reader = await listen(t, server, "?queues=jobs", { "Last-Event-ID": cursor });
  const [gap] = await reader.take(1);
  assert.deepEqual(gap!.data, { type: "gap", reason: "restarted" });
  const [id] = await produce(server, "jobs", 1);
  assert.deepEqual(idsOf(await reader.take(1)), [id]);
  // From there on it is a cursor as any other.
  reader.leave();
  reader = await listen(t, server, "?queues=jobs", { "Last-Event-ID": gap!.cursor });
  assert.deepEqual(idsOf(await reader.take(1)), [id]);
});

// --- who may ---

test("who may not read events is refused, and one of a namespace is told of that alone", async (t) => {
  const server = await setupClosed(t);
  assert.equal((await refusal(server, "")).code, "unauthenticated");
  for (const name of ["a", "b"]) {
    await server.ok("/v2/namespaces.create", { name });
  }
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const grant = { namespace: "a", role_name: "NamespaceOwner", user_id };
  await server.ok("/v2/bindings.create", grant);
  const scoped = await server.ok("/v2/keys.create", { user_id, namespace: "a" });
  const open = await server.ok("/v2/keys.create", { user_id });
  const { id: other } = await server.ok("/v2/users.create", { username: "joe" });
  await server.ok("/v2/bindings.create", { ...grant, role_name: "Producer", user_id: other });
  const producer = await server.ok("/v2/keys.create", { user_id: other, namespace: "a" });
  const as = (key: string) => ({ Authorization: `Bearer ${key}` });
  assert.equal((await refusal(server, "", as(open.key))).code, "permission_denied");
  assert.equal((await refusal(server, "", as(producer.key))).code, "permission_denied");
  assert.equal((await refusal(server, "?namespace=b", as(scoped.key))).code, "permission_denied");
  assert.equal(
    (await refusal(server, "?namespace=_system", as(scoped.key))).code,
    "permission_denied",
  );

  const readers = [
    await listen(t, server, "", as(scoped.key)),
    await listen(t, server, "?namespace=a", as(open.key)),
    await listen(t, server, "?namespace=a", as(ADMIN_KEY)),
    await listen(t, server, "", { ...as(ADMIN_KEY), "X-Querator-Namespace": "a" }),
  ];
  const all = await listen(t, server, "?queues=jobs", as(ADMIN_KEY));
  for (const namespace of ["b", "_system", "a"]) {
    const made = await fetch(`${server.server.address}/v2/queues.create`, {
      method: "POST",
      headers: {
        ...as(ADMIN_KEY),
        "Content-Type": "application/json",
        "X-Querator-Namespace": namespace,
      },
      body: JSON.stringify({ queue_name: "jobs" }),
    });
    assert.equal(made.status, 200);
  }
  for (const reader of readers) {
    const [told] = await reader.take(1);
    assert.equal(told!.data.namespace, "a");
    assert.equal(told!.data.queue_name, "jobs");
  }
  const spaces = (await all.take(3)).map(({ data }) => data.namespace);
  assert.deepEqual(spaces, ["b", undefined, "a"]);
});

for (const threads of [1, 3]) {
  test(`who loses their key, or what it allows, is told no more, on ${threads} threads`, async (t) => {
    const server = await setupClosed(t, { threads });
    const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
    const grant = { namespace: "_system", role_name: "Viewer", user_id };
    await server.ok("/v2/bindings.create", grant);
    const made = await server.ok("/v2/keys.create", { user_id });
    const rest = await server.ok("/v2/keys.create", { user_id });
    const as = (key: string) => ({ Authorization: `Bearer ${key}` });
    const readers: EventReader[] = [];
    for (let i = 0; i < threads * 4; i++) readers.push(await listen(t, server, "", as(made.key)));
    const others: EventReader[] = [];
    for (let i = 0; i < threads * 4; i++) others.push(await listen(t, server, "", as(rest.key)));
    await server.ok("/v2/keys.revoke", { id: made.info.id });
    for (const reader of readers) {
      const told = await reader.rest();
      assert.deepEqual(typesOf(told), ["end"]);
      assert.equal(told[0]!.data.code, "unauthenticated");
    }
    await server.ok("/v2/queues.create", { queue_name: "seen" });
    for (const reader of others) assert.deepEqual(typesOf(await reader.take(1)), ["queue_created"]);
    await server.ok("/v2/bindings.delete", grant);
    await server.ok("/v2/queues.create", { queue_name: "unseen" });
    for (const reader of others) {
      const told = await reader.rest();
      assert.deepEqual(typesOf(told), ["end"]);
      assert.equal(told[0]!.data.code, "permission_denied");
    }
  });

  test(`a stop tells those who listen, and waits for none of them, on ${threads} threads`, async (t) => {
    const server = await setup(t, { threads });
    const readers: EventReader[] = [];
    for (let i = 0; i < threads * 4; i++) readers.push(await listen(t, server));
    await server.server.stop();
    for (const reader of readers) {
      const told = await reader.rest();
      assert.deepEqual(
        told.map(({ data }) => data.code),
        ["shutting_down"],
      );
    }
  });
}

// --- what is asked for ---

test("what cannot be meant is refused, with the name of what is wrong", async (t) => {
  const server = await setup(t);
  const told = async (query: string, headers = {}) => {
    const { status, code, field } = await refusal(server, query, headers);
    return [status, code, field];
  };
  assert.deepEqual(await told("?types=made"), [400, "invalid_field", "types"]);
  assert.deepEqual(await told("?queue=a"), [400, "invalid_field", "queue"]);
  assert.deepEqual(await told("?after=1"), [400, "invalid_field", "after"]);
  assert.deepEqual(await told("?item=1"), [400, "invalid_field", "item"]);
  assert.deepEqual(await told("?namespace=a%3Ab"), [400, "invalid_field", "namespace"]);
  const many = Array.from({ length: 101 }, (_, i) => `q${i}`).join();
  assert.deepEqual(await told(`?queues=${many}`), [400, "invalid_field", "queues"]);
  const last = { "Last-Event-ID": "x" };
  assert.deepEqual(await told("", last), [400, "invalid_field", "Last-Event-ID"]);
  const json = { Accept: "application/json" };
  assert.deepEqual(await told("", json), [406, "not_acceptable", undefined]);
  const posted = await fetch(`${server.server.address}/v2/events`, { method: "POST", body: "{}" });
  assert.deepEqual([posted.status, posted.headers.get("allow")], [405, "GET"]);
});

test("there may be so many listeners, and no more", async (t) => {
  const server = await setup(t);
  const readers: EventReader[] = [];
  for (let i = 0; i < 256; i++) readers.push(await listen(t, server));
  const response = await ask(server);
  assert.deepEqual([response.statusCode, response.headers["retry-after"]], [429, "1"]);
  response.resume();
  readers[0]!.leave();
  await server.until(async () => {
    const again = await ask(server);
    again.destroy();
    return again.statusCode === 200;
  });
});

// --- the audit ---

for (const threads of [1, 3]) {
  test(`what the audit notes is told to who asks for it, on ${threads} threads`, async (t) => {
    const server = await setup(t, { threads });
    const readers: EventReader[] = [];
    for (let i = 0; i < threads * 2; i++) readers.push(await listen(t, server, "?types=audited"));
    const both = await listen(t, server, "?types=audited,queue_created,queue_deleted");
    const ofQueue = await listen(t, server, "?types=audited,queue_deleted&queues=jobs");
    const all = await listen(t, server);
    await server.ok("/v2/queues.create", { queue_name: "jobs", lease_timeout: "3m" });
    await produce(server, "jobs", 1);
    await server.ok("/v2/queues.delete", { queue_name: "jobs", force: true });
    const { entries } = await server.ok("/v2/audit.list", {});
    for (const reader of readers) {
      const told = await reader.take(2);
      assert.deepEqual(
        told.map(({ type, data }) => [type, data.call, data.target]),
        [
          ["audited", "queues.create", "jobs"],
          ["audited", "queues.delete", "jobs"],
        ],
      );
      assert.deepEqual(
        told.map(({ data }) => data.entry),
        entries.map(({ id }: Json) => id).toReversed(),
      );
      const [{ time, entry: _, address: __, request_id: ___, ...rest }] = [told[0]!.data];
      assert.equal(time, entries[1].at);
      assert.deepEqual(rest, {
        type: "audited",
        call: "queues.create",
        target: "jobs",
        outcome: "done",
        user_id: "anonymous",
        changes: entries[1].changes,
      });
    }
    const types = ["audited", "queue_created", "audited", "queue_deleted"];
    assert.deepEqual(typesOf(await both.take(4)).sort(), types.sort());
    assert.deepEqual(typesOf(await ofQueue.take(1)), ["queue_deleted"]);
    const rest = ["queue_created", "produced", "queue_deleted"];
    assert.deepEqual(typesOf(await all.until("queue_deleted")), rest);
  });
}

test("what the audit notes is told to nobody who may not read it, and of their namespace alone", async (t) => {
  const server = await setupClosed(t);
  const as = (key: string) => ({ Authorization: `Bearer ${key}` });
  for (const name of ["a", "b"]) await server.ok("/v2/namespaces.create", { name });
  await server.ok("/v2/roles.create", { name: "listener", permissions: ["events.read"] });
  const made = async (username: string, grant: object, scope = {}): Promise<string> => {
    const { id: user_id } = await server.ok("/v2/users.create", { username });
    await server.ok("/v2/bindings.create", { ...grant, user_id });
    return (await server.ok("/v2/keys.create", { user_id, ...scope })).key;
  };
  const deaf = await made("deaf", { namespace: "_system", role_name: "listener" });
  assert.equal((await refusal(server, "?types=audited", as(deaf))).code, "permission_denied");
  const hears = await listen(t, server, "", as(deaf));
  const owner = { namespace: "a", role_name: "NamespaceOwner" };
  const ofA = await made("owner", owner, { namespace: "a" });
  const readers = [
    await listen(t, server, "?types=audited", as(ofA)),
    await listen(t, server, "?types=audited&namespace=a", as(ADMIN_KEY)),
  ];
  const all = await listen(t, server, "?types=audited", as(ADMIN_KEY));
  for (const namespace of ["b", "_system", "a"]) {
    const reply = await fetch(`${server.server.address}/v2/queues.create`, {
      method: "POST",
      headers: {
        ...as(ADMIN_KEY),
        "Content-Type": "application/json",
        "X-Querator-Namespace": namespace,
      },
      body: JSON.stringify({ queue_name: `of${namespace}` }),
    });
    assert.equal(reply.status, 200);
  }
  for (const reader of readers) {
    const [told] = await reader.take(1);
    assert.deepEqual([told!.data.namespace, told!.data.target], ["a", "ofa"]);
  }
  const told = await all.take(3);
  assert.deepEqual(
    told.map(({ data }) => [data.namespace, data.target]),
    [
      ["b", "ofb"],
      [undefined, "of_system"],
      ["a", "ofa"],
    ],
  );
  assert.ok(typesOf(await hears.take(3)).every((type) => type === "queue_created"));
});

test("who may read the audit no more is told no more of it", async (t) => {
  const server = await setupClosed(t);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  await server.ok("/v2/roles.create", { name: "listener", permissions: ["events.read"] });
  await server.ok("/v2/bindings.create", { namespace: "_system", role_name: "listener", user_id });
  await server.ok("/v2/roles.create", { name: "auditor", permissions: ["audit.read"] });
  const audits = { namespace: "_system", role_name: "auditor", user_id };
  await server.ok("/v2/bindings.create", audits);
  const { key } = await server.ok("/v2/keys.create", { user_id });
  const reader = await listen(t, server, "?types=audited", { Authorization: `Bearer ${key}` });
  await server.ok("/v2/bindings.delete", audits);
  const told = await reader.rest();
  assert.deepEqual(
    told.map(({ type, data }) => [type, data.code]),
    [["end", "permission_denied"]],
  );
});

test("an item that is imported with a lease is told to be leased", async (t) => {
  const server = await setup(t);
  await server.createQueue("jobs");
  const reader = await listen(t, server, "?queues=jobs");
  const leased = { payload: "eA==", is_leased: true };
  await server.ok("storage/items.import", { queue_name: "jobs", partition: 0, items: [leased] });
  assert.deepEqual(typesOf(await reader.take(2)), ["produced", "leased"]);
});
