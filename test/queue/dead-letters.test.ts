// What a dead queue tells of what lies in it: where each item died, of what, and which died alike.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { QueueLeaseResponseSchema } from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

/** A queue `jobs`, whose items die of their second lease, or after an hour, into `dead`. */
async function start(t: TestContext, options: object = {}): Promise<TestServer> {
  const server = await setup(t, options);
  await server.createQueue("dead");
  const rules = { lease_timeout: "10s", expire_timeout: "1h", max_attempts: 2, dead_queue: "dead" };
  await server.createQueue("jobs", rules);
  return server;
}

/** Puts items in, and answers their ids. */
async function produce(server: TestServer, ...items: object[]): Promise<string[]> {
  const { results } = await server.ok("/v2/queue.produce", { queue_name: "jobs", items });
  return results.map(({ id }: { id: string }) => id);
}

// biome-ignore lint/suspicious/noExplicitAny: items as they are leased
async function lease(server: TestServer, queue: string, batch_size = 1): Promise<any[]> {
  return (await server.ok("/v2/queue.lease", { queue_name: queue, batch_size })).items;
}

// biome-ignore lint/suspicious/noExplicitAny: items as they are listed
async function listed(server: TestServer, queue = "dead"): Promise<any[]> {
  return (await server.ok("/v2/items.list", { queue_name: queue, payload: true })).items ?? [];
}

async function reject(server: TestServer, batch_size: number): Promise<void> {
  const items = await lease(server, "jobs", batch_size);
  const leases = items.map(({ lease_id }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: "jobs", leases });
}

// biome-ignore lint/suspicious/noExplicitAny: groups as they are told
async function groups(server: TestServer, limit?: number): Promise<any> {
  return server.ok("/v2/queue.dead_groups", { queue_name: "dead", limit });
}

for (const [name, driver, threads] of PLACES) {
  test(`an item tells where, when and why it died, whatever it died of (${name})`, async (t) => {
    const server = await start(t, { ...(await freshPlace(t, driver)), threads });
    const { now: begun } = await server.advance("1ms");
    const [rejected, used, ended, expired, expiredLater] = (await produce(
      server,
      { utf8: "a" },
      { utf8: "b" },
      { utf8: "c" },
      { utf8: "d" },
      { utf8: "e", delay: "1m" },
    )) as [string, string, string, string, string];
    await reject(server, 1);
    const two = await lease(server, "jobs", 2);
    const leases = two.map(({ lease_id }) => ({ lease_id }));
    await server.ok("/v2/queue.retry", { queue_name: "jobs", leases });
    await lease(server, "jobs"); // "d" comes before what came back
    const again = await lease(server, "jobs", 2);
    await server.ok("/v2/queue.retry", {
      queue_name: "jobs",
      leases: [{ lease_id: again[0].lease_id }],
    });
    await server.advance("20s"); // "c" dies as its second lease ends, "d" comes back
    await server.until(async () => (await listed(server)).length === 3);
    await server.advance("2m"); // "e" is due
    await server.until(async () => (await listed(server, "jobs")).length === 2);
    await server.advance("2h");
    const dead = await server.until(async () => {
      const items = await listed(server);
      return items.length === 5 && items;
    });
    const seen = dead.map(({ id, utf8, attempts, source }) => [
      utf8,
      attempts ?? 0,
      source.id === id,
      source.queue_name,
      source.reason,
      source.attempts ?? 0,
    ]);
    assert.deepEqual(seen.sort(), [
      ["a", 0, true, "jobs", "rejected", 1],
      ["b", 0, true, "jobs", "attempts", 2],
      ["c", 0, true, "jobs", "attempts", 2],
      ["d", 0, true, "jobs", "expired", 1],
      ["e", 0, true, "jobs", "expired", 0],
    ]);
    const ids = new Map(dead.map(({ utf8, id }) => [utf8, id]));
    assert.deepEqual(
      ["a", "b", "c", "d", "e"].map((each) => ids.get(each)),
      [rejected, used, ended, expired, expiredLater],
    );
    for (const { created_at, source } of dead) {
      assert.equal(source.created_at, begun);
      assert.equal(source.died_at, created_at);
    }
  });
}

test("an import that does not say when its item died says it was then", async (t) => {
  const server = await setup(t);
  await server.createQueue("dead");
  const { now } = await server.advance("0s");
  const source = { queue_name: "q", reason: "rejected" };
  const died_at = "2026-01-02T03:04:05.000006Z";
  const items = [{ source }, { source: { ...source, died_at } }];
  await server.ok("/v2/items.import", { queue_name: "dead", items });
  const listed = await server.ok("/v2/items.list", { queue_name: "dead" });
  const times = listed.items.map((each: (typeof items)[0]) => each.source);
  assert.deepEqual(
    times.map((each: { created_at: string; died_at: string }) => [each.created_at, each.died_at]),
    [
      [now, now],
      [died_at, died_at],
    ],
  );
});

test("a lease of a dead queue tells the same in both formats, and /v1 nothing of it", async (t) => {
  const server = await start(t);
  const [id] = await produce(server, { utf8: "a", kind: "mail" }, { utf8: "b" });
  await reject(server, 2);
  const [{ source: expected }] = await listed(server);
  const [first] = await lease(server, "dead");
  assert.deepEqual(first.source, expected);
  assert.equal(first.source.id, id);
  const response = await fetch(`${server.server.address}/v2/queue.lease`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/protobuf" },
    body: JSON.stringify({ queue_name: "dead" }),
  });
  const body = new Uint8Array(await response.arrayBuffer());
  const [second] = fromBinary(QueueLeaseResponseSchema, body).items;
  assert.equal(second!.source!.queueName, "jobs");
  assert.equal(second!.source!.reason, "rejected");
  assert.equal(second!.source!.attempts, 1);
  assert.equal(second!.source!.id, second!.id);
  for (const item of await server.list("dead")) assert.equal("source" in item, false);
});

test("what has not died tells no source, and neither does a queue of the living", async (t) => {
  const server = await start(t);
  await server.produce("dead", "put there");
  await produce(server, { utf8: "a" });
  for (const queue of ["dead", "jobs"]) {
    for (const item of [...(await listed(server, queue)), ...(await lease(server, queue))]) {
      assert.equal("source" in item, false);
    }
  }
});

test("what died alike is one group, by what it died of; the largest come first", async (t) => {
  const server = await start(t);
  const [, second, third] = await produce(server, { kind: "mail" }, { kind: "mail" }, {});
  await reject(server, 3);
  await produce(server, { utf8: "late", kind: "mail" });
  await server.advance("2h");
  await server.until(async () => (await listed(server)).length === 4);
  await server.produce("dead", "put there");
  const { groups: found, complete, looked_at } = await groups(server);
  assert.equal(complete, true);
  assert.equal(looked_at, 5);
  // biome-ignore lint/suspicious/noExplicitAny: groups as they are told
  const byCount = (found as any[]).map(({ count, kind, reason, source_queue, sample }) => [
    [count, kind, reason, source_queue],
    sample,
  ]);
  assert.deepEqual(byCount[0], [[2, "mail", "rejected", "jobs"], second]);
  const ofOne = byCount.slice(1).map(([what]) => what);
  assert.deepEqual(
    new Set(ofOne.map(String)),
    new Set(["1,mail,expired,jobs", "1,,rejected,jobs", "1,,,"]),
  );
  assert.ok(byCount.some(([, sample]) => sample === third));
  const prints = new Map((await listed(server)).map(({ id, source }) => [id, source?.fingerprint]));
  assert.equal(found[0].fingerprint, prints.get(second));
  assert.equal(new Set(found.map((each: { fingerprint: string }) => each.fingerprint)).size, 4);
  assert.deepEqual((await groups(server, 1)).groups, [found[0]]);
});

test("what is leased or scheduled in a dead queue is counted as well, also after a restart", async (t) => {
  const options = { dataDir: temporaryDirectory(t) };
  const server = await start(t, options);
  await produce(server, { kind: "k" }, { kind: "k" }, { kind: "k" });
  await reject(server, 3);
  const [first] = await lease(server, "dead", 2);
  const leases = [{ lease_id: first.lease_id, delay: "1h" }];
  await server.ok("/v2/queue.retry", { queue_name: "dead", leases });
  const before = await groups(server);
  assert.deepEqual([before.groups[0].count, before.groups.length], [3, 1]);
  await server.server.stop();
  assert.deepEqual(await groups(await setup(t, options)), before);
});

test("a group whose place has been taken by nobody is not told of, and bad limits are refused", async (t) => {
  const server = await start(t);
  assert.deepEqual(await groups(server), { groups: [], complete: true });
  for (const limit of [-1, 1_001]) {
    const { status, body } = await server.call("/v2/queue.dead_groups", {
      queue_name: "dead",
      limit,
    });
    assert.deepEqual([status, body.code, body.field], [400, "invalid_field", "limit"]);
  }
});

for (const [name, driver, threads] of PLACES) {
  test(`what its consumer says of it goes with an item, and groups it with its like (${name})`, async (t) => {
    const server = await start(t, { ...(await freshPlace(t, driver)), threads });
    const ids = await produce(server, ...Array.from({ length: 5 }, () => ({ kind: "mail" })));
    const items = await lease(server, "jobs", 5);
    const bounced = (n: number) => ({
      type: "Bounced",
      message: `mailbox ${n} of 'a${n}' is full`,
    });
    const leases = items.map(({ lease_id }, n) => ({
      lease_id,
      ...(n < 3 && { error: { ...bounced(n), stack: `at line ${n}` } }),
    }));
    const [late, ...now] = leases;
    await server.ok("/v2/queue.reject", { queue_name: "jobs", leases: now });
    // Of its last attempt, whatever was said of those before.
    await server.ok("/v2/queue.retry", {
      queue_name: "jobs",
      leases: [{ ...late, error: { type: "Timeout", message: "slow" } }],
    });
    const [again] = await lease(server, "jobs");
    assert.equal(again.last_error.type, "Timeout");
    await server.ok("/v2/queue.retry", {
      queue_name: "jobs",
      leases: [{ ...late, lease_id: again.lease_id }],
    });
    const found = await server.until(async () => {
      const all = (await groups(server)).groups;
      return (
        all?.length === 2 &&
        all.reduce((n: number, { count }: { count: number }) => n + count, 0) === 5 &&
        all
      );
    });
    const { count, error_type, message, kind, reason, sample } = found[0];
    assert.deepEqual(
      [count, error_type, message, kind, reason, sample],
      [3, "Bounced", bounced(0).message, "mail", "attempts", ids[0]],
    );
    assert.deepEqual([found[1].count, found[1].error_type], [2, undefined]);
    const dead = new Map((await listed(server)).map((item) => [item.id, item]));
    for (const [n, id] of ids.entries()) {
      const { last_error, source } = dead.get(id);
      assert.deepEqual(last_error, n < 3 ? { ...bounced(n), stack: `at line ${n}` } : undefined);
      assert.equal(source.fingerprint, found[n < 3 ? 0 : 1].fingerprint);
    }
    const { id } = await server.ok("/v2/queue.redrive", {
      queue_name: "dead",
      fingerprint: found[0].fingerprint,
    });
    await server.until(async () => {
      const { state } = await server.ok("/v2/redrives.info", { queue_name: "dead", id });
      return state === "done";
    });
    // Back where it came from it is no dead item any more, and still tells why it failed.
    const back = await listed(server, "jobs");
    assert.deepEqual(new Set(back.map((item) => item.id)), new Set(ids.slice(0, 3)));
    for (const item of back) {
      assert.equal(item.source, undefined);
      assert.equal(item.last_error.type, "Bounced");
    }
    assert.equal((await listed(server)).length, 2);
  });
}

test("what is imported as a list has told it has died where it did, and can go back", async (t) => {
  const [from, to] = [await start(t), await start(t)];
  await produce(from, { kind: "mail" }, { utf8: "b" });
  const leases = (await lease(from, "jobs", 2)).map(({ lease_id }) => ({
    lease_id,
    error: { type: "E", message: "m" },
  }));
  await from.ok("/v2/queue.reject", { queue_name: "jobs", leases });
  const items = await listed(from);
  await to.ok("/v2/items.import", { queue_name: "dead", items });
  const there = await listed(to);
  assert.deepEqual(
    there.map(({ id, source, last_error }) => ({ id, source, last_error })),
    items.map(({ id, source, last_error }) => ({ id, source, last_error })),
  );
  const { id } = await to.ok("/v2/queue.redrive", { queue_name: "dead" });
  await to.until(async () => {
    return (await to.ok("/v2/redrives.info", { queue_name: "dead", id })).state === "done";
  });
  assert.deepEqual(
    new Set((await listed(to, "jobs")).map((item) => item.id)),
    new Set(items.map((item) => item.id)),
  );

  const { source } = items[0];
  const bad: [object, string][] = [
    [{ reason: "bored" }, "reason"],
    [{ queue_name: "" }, "queue_name"],
    [{ fingerprint: "x".repeat(65) }, "fingerprint"],
    [{ attempts: -1 }, "attempts"],
  ];
  for (const [change, field] of bad) {
    const request = { queue_name: "dead", items: [{ source: { ...source, ...change } }] };
    const { status, body } = await to.call("/v2/items.import", request);
    assert.deepEqual([status, body.field], [400, `items[0].source.${field}`]);
  }
  // One without a fingerprint gets it.
  const { fingerprint: _, ...rest } = source;
  const again = { kind: "mail", last_error: items[0].last_error, source: rest };
  await to.ok("/v2/items.import", { queue_name: "dead", items: [again] });
  assert.equal((await listed(to))[0].source.fingerprint, source.fingerprint);
});
