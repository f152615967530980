// A redrive moves items out of a dead queue, each once, and none is lost, whatever happens meanwhile.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const RULES = { lease_timeout: "10s", max_attempts: 1, dead_queue: "dead" };

/** Queues whose items die of their first lease, all into `dead`. */
async function start(t: TestContext, options: object = {}, ...queues: string[]) {
  const server = await setup(t, options);
  await server.createQueue("dead");
  for (const queue of ["jobs", ...queues]) await server.createQueue(queue, RULES);
  return server;
}

/** Puts items into a queue, and has them die. */
async function kill(server: TestServer, queue: string, ...items: object[]): Promise<string[]> {
  const { results } = await server.ok("/v2/queue.produce", { queue_name: queue, items });
  await die(server, queue, items.length);
  return results.map(({ id }: { id: string }) => id);
}

async function die(server: TestServer, queue: string, batch_size: number): Promise<void> {
  const { items } = await server.ok("/v2/queue.lease", { queue_name: queue, batch_size });
  const leases = items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: queue, leases });
}

// biome-ignore lint/suspicious/noExplicitAny: redrives as they are told
async function redrive(server: TestServer, request: object = {}): Promise<any> {
  return server.ok("/v2/queue.redrive", { queue_name: "dead", ...request });
}

// biome-ignore lint/suspicious/noExplicitAny: redrives as they are told
async function info(server: TestServer, id: string): Promise<any> {
  return server.ok("/v2/redrives.info", { queue_name: "dead", id });
}

/** Waits until a redrive has ended. */
// biome-ignore lint/suspicious/noExplicitAny: redrives as they are told
async function ended(server: TestServer, { id }: { readonly id: string }): Promise<any> {
  return server.until(async () => {
    const seen = await info(server, id);
    return seen.state !== "running" && seen;
  });
}

// biome-ignore lint/suspicious/noExplicitAny: items as they are listed
async function listed(server: TestServer, queue: string): Promise<any[]> {
  return (await server.ok("/v2/items.list", { queue_name: queue, payload: true })).items ?? [];
}

async function idsIn(server: TestServer, queue: string): Promise<string[]> {
  return (await listed(server, queue)).map(({ id }) => id);
}

for (const [name, driver, threads] of PLACES) {
  test(`items go back to where each came from, under their ids, and begin anew (${name})`, async (t) => {
    const options = { ...(await freshPlace(t, driver)), threads };
    const server = await start(t, options, "mails", "more");
    const a = await kill(server, "jobs", { utf8: "a", kind: "k" }, { json: { b: 1 } });
    const b = await kill(server, "mails", { utf8: "c" }, { utf8: "d" }, { utf8: "e" });
    const c = await kill(server, "more", { utf8: "f" });
    const begun = await redrive(server);
    assert.deepEqual([begun.state, begun.total, begun.queue_name], ["running", 6, "dead"]);
    const { started_at, ended_at, ...seen } = await ended(server, begun);
    const all = { state: "done", moved: 6, looked_at: 6, total: 6 };
    assert.deepEqual(seen, { id: begun.id, queue_name: "dead", ...all });
    assert.ok(ended_at >= started_at);
    assert.deepEqual(await idsIn(server, "dead"), []);
    assert.deepEqual(await idsIn(server, "jobs"), a);
    assert.deepEqual(await idsIn(server, "mails"), b);
    assert.deepEqual(await idsIn(server, "more"), c);
    const [first, second] = await listed(server, "jobs");
    assert.deepEqual([first.utf8, first.kind, first.attempts], ["a", "k", undefined]);
    assert.deepEqual(second.json, { b: 1 });
    for (const item of await listed(server, "jobs")) assert.equal("source" in item, false);
    const { items } = await server.ok("/v2/queue.lease", { queue_name: "jobs", batch_size: 2 });
    assert.deepEqual(
      items.map((item: { id: string; attempts: number }) => [item.id, item.attempts]),
      a.map((id) => [id, 1]),
    );
    // And die again as any other.
    const leases = items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
    await server.ok("/v2/queue.retry", { queue_name: "jobs", leases });
    assert.deepEqual(await idsIn(server, "dead"), a);
    assert.equal((await info(server, begun.id)).failed, 2);
  });
}

test("only what is asked for moves", async (t) => {
  const server = await start(t, {}, "other");
  const [a, b] = (await kill(server, "jobs", { kind: "mail" }, { kind: "sms" })) as [
    string,
    string,
  ];
  await server.advance("1h");
  const [c, d] = (await kill(server, "jobs", { kind: "mail" }, { kind: "mail" })) as [
    string,
    string,
  ];
  const print = new Map(
    (await listed(server, "dead")).map((each) => [each.id, each.source.fingerprint]),
  );
  const dry = async (request: object): Promise<number> => {
    const { state, moved = 0, id } = await redrive(server, { ...request, dry_run: true });
    assert.deepEqual([state, id], ["done", undefined]);
    return moved;
  };
  assert.equal(await dry({}), 4);
  assert.equal(await dry({ kind: "mail" }), 3);
  assert.equal(await dry({ fingerprint: print.get(b) }), 1);
  assert.equal(await dry({ older_than: "30m" }), 2);
  assert.equal(await dry({ newer_than: "30m" }), 2);
  assert.equal(await dry({ kind: "mail", newer_than: "30m" }), 2);
  assert.equal(await dry({ limit: 3 }), 3);
  const unknown = "000000000000000000000000000";
  assert.equal(await dry({ ids: [a, d, unknown] }), 2);
  const { not_found } = await redrive(server, { ids: [unknown, d], dry_run: true });
  assert.equal(not_found, 1);
  assert.equal((await listed(server, "dead")).length, 4);

  const some = await ended(server, await redrive(server, { ids: [d, a, a], kind: "mail" }));
  assert.deepEqual([some.moved, some.looked_at, some.total], [2, 2, 2]);
  assert.equal("not_found" in some, false);
  // Those that have moved are there no more, and what is of another kind is.
  const late = await ended(
    server,
    await redrive(server, { ids: [d, b, unknown, a], kind: "mail" }),
  );
  assert.deepEqual(
    [late.moved, late.looked_at, late.skipped, late.not_found],
    [undefined, 4, undefined, 3],
  );
  assert.deepEqual(await idsIn(server, "jobs"), [a, d]);
  const one = await ended(server, await redrive(server, { kind: "mail", limit: 1, to: "other" }));
  assert.deepEqual([one.moved, one.to], [1, "other"]);
  assert.deepEqual(await idsIn(server, "other"), [c]);
  assert.deepEqual(await idsIn(server, "dead"), [b]);
  // What it leaves in a dead queue can still be leased there.
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "dead" });
  assert.equal(items[0].id, b);
});

test("what has nowhere to go, or is leased, stays, and is counted", async (t) => {
  const server = await start(t, {}, "gone");
  const [a, b] = await kill(server, "gone", {}, {});
  const [c, d] = await kill(server, "jobs", {}, {});
  await server.produce("dead", "put there");
  await server.ok("/v2/queues.delete", { queue_name: "gone" });
  const done = await ended(server, await redrive(server));
  assert.deepEqual([done.moved, done.skipped, done.looked_at], [2, 3, 5]);
  assert.deepEqual(await idsIn(server, "jobs"), [c, d]);
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "dead" });
  assert.equal(items[0].id, a);
  const rest = await ended(server, await redrive(server, { to: "jobs", ids: [a, b] }));
  assert.deepEqual([rest.moved, rest.skipped], [1, 1]);
  assert.deepEqual(await idsIn(server, "jobs"), [c, d, b]);
  assert.deepEqual((await idsIn(server, "dead")).length, 2);
});

test("more than one step moves all, in order, also what waits in a dead queue for its time", async (t) => {
  const server = await start(t);
  const ids: string[] = [];
  for (let i = 0; i < 7; i++) {
    ids.push(...(await kill(server, "jobs", ...Array.from({ length: 100 }, () => ({})))));
  }
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "dead" });
  const leases = [{ lease_id: items[0].lease_id, delay: "1h" }];
  await server.ok("/v2/queue.retry", { queue_name: "dead", leases });
  const done = await ended(server, await redrive(server));
  assert.deepEqual([done.moved, done.looked_at, done.total], [700, 700, 700]);
  assert.deepEqual(await idsIn(server, "jobs"), [...ids.slice(1), ids[0]]);
});

test("at a rate it takes its time, and can be ended", async (t) => {
  const server = await start(t);
  await kill(server, "jobs", ...Array.from({ length: 30 }, () => ({})));
  await server.advance("1ms");
  const begun = await redrive(server, { rate: 10 });
  for (let seconds = 1; seconds <= 2; seconds++) {
    for (let i = 0; i < 10; i++) {
      await server.until(async () => (await info(server, begun.id)).moved > 10 * (seconds - 1) + i);
      assert.equal((await info(server, begun.id)).moved, 10 * (seconds - 1) + i + 1);
      await server.advance("100ms");
    }
  }
  const cancelled = await server.ok("/v2/redrives.cancel", { queue_name: "dead", id: begun.id });
  assert.equal(cancelled.state, "cancelled");
  await server.advance("10s");
  const { moved, state } = await info(server, begun.id);
  assert.equal(state, "cancelled");
  assert.equal((await listed(server, "dead")).length, 30 - moved);
  assert.equal((await listed(server, "jobs")).length, moved);
  const again = await server.ok("/v2/redrives.cancel", { queue_name: "dead", id: begun.id });
  assert.deepEqual(again, await info(server, begun.id));
});

test("at a rate as many move in a second as were asked for, however late each step comes", async (t) => {
  const server = await start(t);
  await kill(server, "jobs", ...Array.from({ length: 300 }, () => ({})));
  await server.advance("1ms");
  const { id } = await redrive(server, { rate: 50 });
  const moved = (count: number) =>
    server.until(async () => (await info(server, id)).moved === count);
  // Each tenth of a second has its own five, of which the first come at once.
  await moved(5);
  for (let ms = 130; ms <= 3_900; ms += 130) {
    await server.advance("130ms");
    await moved(5 * (1 + Math.floor(ms / 100)));
  }
  // After a long time in which it could do nothing it makes up for half a second of it, and not for all.
  await server.advance("1500ms");
  await moved(200 + 5 + 30);
  await server.advance("100ms");
  await moved(200 + 5 + 30 + 5);
});

test("it stops when too many of those that it has moved die again", async (t) => {
  const server = await start(t);
  await kill(server, "jobs", ...Array.from({ length: 30 }, () => ({})));
  await server.advance("1ms");
  const begun = await redrive(server, { rate: 20, stop_at_failure_ratio: 0.5 });
  await server.until(async () => (await info(server, begun.id)).moved === 2);
  await server.advance("100ms");
  await server.until(async () => (await info(server, begun.id)).moved === 4);
  await die(server, "jobs", 1);
  assert.deepEqual((await info(server, begun.id)).state, "running");
  await die(server, "jobs", 1);
  const { state, failed, ended_at } = await info(server, begun.id);
  assert.deepEqual([state, failed], ["stopped", 2]);
  assert.ok(ended_at);
  await server.advance("10s");
  assert.equal((await listed(server, "jobs")).length, 2);
  // Those that die later are counted as well.
  await die(server, "jobs", 2);
  assert.equal((await info(server, begun.id)).failed, 4);
});

test("it goes on after a restart", async (t) => {
  const options = { dataDir: temporaryDirectory(t) };
  const server = await start(t, options);
  const ids = await kill(server, "jobs", ...Array.from({ length: 30 }, () => ({})));
  await server.advance("1ms");
  const begun = await redrive(server, { rate: 10 });
  await server.until(async () => (await info(server, begun.id)).moved === 1);
  await server.server.stop();
  const after = await setup(t, options);
  const seen = await after.until(async () => {
    await after.advance("100ms");
    const now = await info(after, begun.id);
    return now.state !== "running" && now;
  });
  assert.deepEqual([seen.state, seen.moved, seen.looked_at], ["done", 30, 30]);
  assert.deepEqual(await idsIn(after, "jobs"), ids);
  assert.deepEqual(await idsIn(after, "dead"), []);
});

test("redrives are listed, the newest first, and old ones are forgotten", async (t) => {
  const server = await start(t);
  const ids: string[] = [];
  for (let i = 0; i < 23; i++) {
    const { id } = await ended(server, await redrive(server));
    ids.unshift(id);
  }
  const { redrives } = await server.ok("/v2/redrives.list", { queue_name: "dead" });
  assert.deepEqual(
    redrives.map(({ id }: { id: string }) => id),
    ids.slice(0, 20),
  );
  const request = { queue_name: "dead", id: ids[22] };
  for (const path of ["/v2/redrives.info", "/v2/redrives.cancel"]) {
    const { status, body } = await server.call(path, request);
    assert.deepEqual([status, body.code], [404, "redrive_not_found"]);
  }
});

for (const [name, driver, threads] of PLACES) {
  test(`what was sent elsewhere is found by its id wherever it goes from there (${name})`, async (t) => {
    const options = { threads, ...(await freshPlace(t, driver)) };
    let server = await start(t, options, "others");
    await server.createQueue("graves");
    await server.createQueue("last", { ...RULES, dead_queue: "graves" });
    const [id] = await kill(server, "jobs", {});
    await ended(server, await redrive(server, { to: "others" }));
    const where = async (): Promise<string[]> => {
      const { state, queue_name } = await server.ok("/v2/item.get", { id });
      return [queue_name, state];
    };
    assert.deepEqual(await where(), ["others", "waiting"]);
    await die(server, "others", 1);
    await ended(server, await redrive(server, { to: "last" }));
    assert.deepEqual(await where(), ["last", "waiting"]);
    await die(server, "last", 1);
    assert.deepEqual(await where(), ["graves", "dead"]);
    await redrive(server, { queue_name: "graves" });
    await server.until(async () => (await where())[0] === "last");
    if (driver !== "memory") {
      await server.server.stop();
      server = await setup(t, options);
    }
    assert.deepEqual(await where(), ["last", "waiting"]);
    // A queue that is not there any more has none.
    await server.ok("/v2/queues.delete", { queue_name: "others", force: true });
    const { reasons } = await server.ok("/v2/item.explain", { id });
    assert.ok(reasons.length > 0);
    const wait = await server.ok("/v2/item.wait", { id, request_timeout: "10ms" });
    assert.equal(wait.queue_name, "last");
    assert.equal((await server.ok("/v2/item.cancel", { id })).state, "cancelled");
    const { status, body } = await server.call("/v2/item.get", { id });
    assert.deepEqual([status, body.code], [404, "item_not_found"]);
  });
}

test("what cannot be meant is refused, and nothing moves", async (t) => {
  const server = await start(t);
  await kill(server, "jobs", {});
  const refused: [object, string, string?][] = [
    [{ to: "dead" }, "invalid_field", "to"],
    [{ to: "nowhere" }, "queue_not_found", "to"],
    [{ ids: ["x"] }, "invalid_field", "ids[0]"],
    [
      { ids: Array.from({ length: 1_001 }, () => "000000000000000000000000000") },
      "invalid_field",
      "ids",
    ],
    [{ rate: -1 }, "invalid_field", "rate"],
    [{ limit: -1 }, "invalid_field", "limit"],
    [{ older_than: "soon" }, "invalid_field", "older_than"],
    [{ older_than: "-1s" }, "invalid_field", "older_than"],
    [{ newer_than: "-1s" }, "invalid_field", "newer_than"],
    [{ newer_than: "0s" }, "invalid_field", "newer_than"],
    [{ older_than: "2h", newer_than: "1h" }, "invalid_field", "newer_than"],
    [{ stop_at_failure_ratio: 1.5 }, "invalid_field", "stop_at_failure_ratio"],
  ];
  for (const [request, code, field] of refused) {
    const { body } = await server.call("/v2/queue.redrive", { queue_name: "dead", ...request });
    assert.deepEqual([body.code, body.field], [code, field], JSON.stringify(request));
  }
  const none = await server.call("/v2/queue.redrive", { queue_name: "dead", ids: ["x"] });
  assert.equal(none.body.detail, "ids[0] is invalid; 'x' is no id of an item");
  const { body } = await server.call("/v2/queue.clear", { queue_name: "dead" });
  assert.deepEqual([body.code, body.field], ["invalid_field", "queue"]);
  assert.deepEqual(await server.ok("/v2/redrives.list", { queue_name: "dead" }), { redrives: [] });
  assert.equal((await listed(server, "dead")).length, 1);
});

test("what dies in another place than it did before is a dead item as any other there", async (t) => {
  const server = await start(t);
  await server.createQueue("graves");
  await server.createQueue("others", { ...RULES, dead_queue: "graves" });
  const { results } = await server.ok("/v2/queue.produce", {
    queue_name: "jobs",
    items: [{ expire_in: "1h" }],
  });
  await die(server, "jobs", 1);
  const begun = await ended(server, await redrive(server, { to: "others" }));
  await die(server, "others", 1);
  // Its own time is not that of a dead queue.
  await server.advance("2h");
  const [dead] = await listed(server, "graves");
  assert.deepEqual([dead.id, dead.source.queue_name], [results[0].id, "others"]);
  assert.ok(Date.parse(dead.expire_at) > Date.parse(dead.created_at) + 3_600_000);
  assert.equal((await info(server, begun.id)).failed, undefined);
});

test("more redrives of a queue than may run at a time are refused for now, and can be begun later", async (t) => {
  const server = await start(t);
  await server.advance("0s");
  await kill(server, "jobs", ...Array.from({ length: 100 }, () => ({ utf8: "a" })));
  // So slow that it does not end while time stands.
  const slow = { rate: 1 };
  const running = [];
  for (let i = 0; i < 20; i++) running.push(await redrive(server, slow));
  const response = await fetch(`${server.server.address}/v2/queue.redrive`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ queue_name: "dead", ...slow }),
  });
  const { code, retryable } = (await response.json()) as Record<string, unknown>;
  assert.deepEqual(
    [response.status, response.headers.get("retry-after"), code, retryable],
    [429, "1", "overloaded", true],
  );
  await server.ok("/v2/redrives.cancel", { queue_name: "dead", id: running[0].id });
  assert.equal((await redrive(server, slow)).state, "running");
});
