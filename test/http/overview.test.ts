// What those who run the server are shown: the server, its queues, and what has become of one. The clock stands still
// and is moved, so every number is known.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueueHistoryRequestSchema,
  QueueHistoryResponseSchema,
  QueuesOverviewRequestSchema,
  QueuesOverviewResponseSchema,
  ServerOverviewResponseSchema,
} from "../../src/codec/gen/querator/v2/overview_pb.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { ADMIN_KEY, setup, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

// biome-ignore lint/suspicious/noExplicitAny: replies have every shape
type Json = any;

async function produce(server: TestServer, queue_name: string, count: number): Promise<void> {
  const items = Array.from({ length: count }, (_, i) => ({ utf8: String(i) }));
  await server.ok("/v2/queue.produce", { queue_name, items });
}

/** Leases items, of whatever partitions, and ends their leases with a verb. */
async function work(server: TestServer, queue_name: string, count: number, verb = "complete") {
  for (let done = 0; done < count; ) {
    const wanted = { queue_name, batch_size: count - done, client: "c" };
    const { items } = await server.ok("/v2/queue.lease", wanted);
    const leases = items.map(({ lease_id }: Json) => ({ lease_id }));
    if (leases.length > 0) await server.ok(`/v2/queue.${verb}`, { queue_name, leases });
    done += leases.length;
  }
}

function overview(server: TestServer, more: object = {}): Promise<Json> {
  return server.ok("/v2/server.overview", more);
}

async function list(server: TestServer, more: object = {}): Promise<Json[]> {
  return (await server.ok("/v2/queues.overview", more)).queues;
}

const names = (queues: Json[]): string[] => queues.map(({ queue_name }) => queue_name);

/** Moves the time to the next sample, and waits until it is taken. */
async function nextSample(server: TestServer, queue_name: string): Promise<void> {
  const points = async (): Promise<number[]> =>
    (await server.ok("/v2/queue.history", { queue_name })).at;
  const before = await points();
  await server.advance("30s");
  await server.until(async () => (await points()).length > before.length);
}

/** Stands still where a sample has just been taken. */
async function standStill(server: TestServer): Promise<void> {
  const { now } = await server.advance("0s");
  const at = Math.ceil(Date.parse(now) / 30_000) * 30;
  // A timer that was set in real time may be a little late.
  await server.advance(`${at * 1_000 + 10 - Date.parse(now)}ms`);
  await server.until(async () => (await overview(server)).series.at.slice(0, -1).includes(at));
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    await standStill(server);
    return server;
  };

  describe(`the overview, on ${place}`, () => {
    test("sums up what there is, and what has happened of late", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("jobs", { requested_partitions: 3, dead_queue: "dead" });
      await produce(server, "jobs", 20);
      await work(server, "jobs", 5);
      await work(server, "jobs", 3, "reject");
      const seen = await overview(server);
      const { totals, windows, series, rates } = seen;
      assert.deepEqual([seen.mode, seen.whole, seen.threads], ["serving", true, threads]);
      const sums = { waiting: 15, leased: 0, scheduled: 0, held: 0, dead: 3, consumers_waiting: 0 };
      assert.deepEqual(totals, { queues: 2, ...sums, oldest_age: totals.oldest_age });
      for (const span of ["1h", "6h", "24h", "7d"]) {
        const window = windows.find((each: Json) => each.span === span);
        // What has moved to the dead queue has neither come nor gone.
        assert.deepEqual(window, { span, in: 20, out: 5, dead: 3 });
      }
      assert.ok(rates.in > 0 && rates.out > 0 && rates.dead > 0);
      assert.deepEqual([series.step, series.in.at(-1), series.waiting.at(-1)], [30, 20, 15]);
      const { storages } = seen;
      assert.deepEqual(new Set(storages.map(({ kind }: Json) => kind)), new Set([driver]));
      assert.ok(storages.every(({ state }: Json) => state === "ok"));
      assert.equal(storages.length, threads);

      const queues = await list(server);
      assert.deepEqual(
        queues.map((each) => [each.queue_name, each.waiting, each.dead, each.takes_dead]),
        [
          ["dead", 3, 0, true],
          ["jobs", 12, 3, false],
        ],
      );
      assert.deepEqual([queues[1].dead_queue, queues[1].state], ["dead", "ok"]);
    });

    test("tells what has become of a queue point by point", async (t) => {
      const server = await start(t);
      await server.createQueue("jobs", { requested_partitions: 2 });
      const present = await server.ok("/v2/queue.history", { queue_name: "jobs" });
      assert.deepEqual([present.kept, present.at.length], [false, 1]);
      await produce(server, "jobs", 10);
      await nextSample(server, "jobs");
      await work(server, "jobs", 4);
      await work(server, "jobs", 1, "retry");
      await nextSample(server, "jobs");
      await produce(server, "jobs", 1);
      const seen = await server.ok("/v2/queue.history", { queue_name: "jobs", span: "1h" });
      assert.deepEqual([seen.kept, seen.step, seen.span], [true, 30, "1h"]);
      assert.deepEqual(seen.in, [10, 0, 1]);
      assert.deepEqual(seen.out, [0, 4, 0]);
      assert.deepEqual(seen.retried, [0, 1, 0]);
      assert.deepEqual(seen.waiting, [10, 6, 7]);
      assert.equal(seen.at[1] - seen.at[0], 30);
      assert.equal(seen.at[0] % 30, 0);
      const coarse = await server.ok("/v2/queue.history", { queue_name: "jobs", span: "7d" });
      const sum = (column: number[]): number => column.reduce((a, b) => a + b, 0);
      assert.deepEqual([sum(coarse.in), sum(coarse.out), coarse.waiting.at(-1)], [11, 4, 7]);
      // How long they waited is known of the one after that in which something happened.
      await server.advance("5s");
      await work(server, "jobs", 2);
      await nextSample(server, "jobs");
      await work(server, "jobs", 1);
      await nextSample(server, "jobs");
      const { wait_p99, run_p50 } = await server.ok("/v2/queue.history", { queue_name: "jobs" });
      assert.ok(
        wait_p99.some((each: number) => each >= 30),
        JSON.stringify(wait_p99),
      );
      assert.ok(run_p50.some((each: number) => each >= 0));
      const [queue] = await list(server);
      assert.ok(queue.spark.length >= 2 && queue.spark.length <= 30);
    });
  });
}

for (const threads of [1, 3]) {
  test(`consumers are known by the names that they give, on ${threads} thread(s)`, async (t) => {
    const server = await setup(t, { threads });
    await server.advance("0s");
    await server.createQueue("jobs");
    const seen = (more: object = {}): Promise<Json> =>
      server.ok("/v2/queue.consumers", { queue_name: "jobs", ...more });
    const { since, ...none } = await seen();
    assert.ok(Date.parse(since) > 0);
    assert.deepEqual(none, { total: 0, consumers: [] });
    await produce(server, "jobs", 3);
    const lease = (client: string, batch_size: number): Promise<Json> =>
      server.ok("/v2/queue.lease", { queue_name: "jobs", client, batch_size });
    await lease("first", 1);
    const { now } = await server.advance("1m");
    await lease("second", 2);
    const waits = lease("first", 1);
    await server.until(async () => (await seen()).consumers[0].waiting === 1);
    const { consumers } = await seen();
    const [first, second] = consumers;
    assert.deepEqual(
      consumers.map((each: Json) => [each.client, each.waiting, each.leased]),
      [
        ["first", 1, 1],
        ["second", 0, 2],
      ],
    );
    assert.equal(Date.parse(second.last_seen_at), Date.parse(now));
    assert.equal(Date.parse(now) - Date.parse(first.last_seen_at), 60_000);
    assert.equal((await seen({ limit: 1 })).consumers.length, 1);
    await produce(server, "jobs", 1);
    await waits;
    assert.deepEqual((await seen()).consumers[0], {
      client: first.client,
      last_seen_at: second.last_seen_at,
      waiting: 0,
      leased: 2,
    });
  });
}

for (const driver of ["sqlite", "postgres"] as const) {
  test(`what has happened is known after a restart, on ${driver}`, async (t) => {
    const where = await freshPlace(t, driver);
    const first = await setup(t, where);
    await first.createQueue("jobs");
    await produce(first, "jobs", 7);
    await work(first, "jobs", 2);
    await first.server.stop();
    const second = await setup(t, where);
    await produce(second, "jobs", 1);
    const { windows, series, totals } = await overview(second);
    for (const window of windows) assert.deepEqual([window.in, window.out], [8, 2]);
    assert.equal(totals.waiting, 6);
    assert.equal(
      series.in.reduce((a: number, b: number) => a + b, 0),
      8,
    );
  });
}

test("all of it is told in Protobuf as well", async (t) => {
  const server = await setup(t);
  await server.createQueue("jobs");
  await produce(server, "jobs", 2);
  const ask = async (path: string, body: Uint8Array): Promise<Buffer> => {
    const reply = await fetch(`${server.server.address}/v2/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
      body: Buffer.from(body),
    });
    assert.equal(reply.status, 200);
    return Buffer.from(await reply.arrayBuffer());
  };
  const whole = fromBinary(ServerOverviewResponseSchema, await ask("server.overview", Buffer.of()));
  assert.deepEqual(
    [whole.mode, whole.totals?.waiting, whole.series?.waiting],
    ["serving", 2n, [2n]],
  );
  const sorted = create(QueuesOverviewRequestSchema, { sort: "waiting", descending: true });
  const { queues, total } = fromBinary(
    QueuesOverviewResponseSchema,
    await ask("queues.overview", toBinary(QueuesOverviewRequestSchema, sorted)),
  );
  assert.deepEqual([total, queues[0]?.queueName, queues[0]?.waiting], [1n, "jobs", 2n]);
  const wanted = create(QueueHistoryRequestSchema, { queueName: "jobs", span: "24h" });
  const history = fromBinary(
    QueueHistoryResponseSchema,
    await ask("queue.history", toBinary(QueueHistoryRequestSchema, wanted)),
  );
  assert.deepEqual([history.step, history.waiting, history.waitP50], [600, [2n], [-1]]);
  // Lists of numbers are packed, as proto3 has it.
  const bytes = await ask("queue.history", toBinary(QueueHistoryRequestSchema, wanted));
  assert.deepEqual(
    bytes,
    Buffer.from(
      toBinary(QueueHistoryResponseSchema, fromBinary(QueueHistoryResponseSchema, bytes)),
    ),
  );
});

test("queues are searched, sorted and told page by page", async (t) => {
  const server = await setup(t, { threads: 2 });
  for (const [name, count] of [
    ["mail", 3],
    ["Mailing", 1],
    ["other", 2],
    ["none", 0],
  ] as const) {
    await server.createQueue(name);
    if (count > 0) await produce(server, name, count);
  }
  assert.deepEqual(names(await list(server)), ["Mailing", "mail", "none", "other"]);
  assert.deepEqual(names(await list(server, { descending: true })), [
    "other",
    "none",
    "mail",
    "Mailing",
  ]);
  const most = { sort: "waiting", descending: true };
  assert.deepEqual(names(await list(server, most)), ["mail", "other", "Mailing", "none"]);
  assert.deepEqual(names(await list(server, { sort: "waiting" }))[0], "none");
  assert.deepEqual(names(await list(server, { search: "MAIL" })), ["Mailing", "mail"]);
  const first = await server.ok("/v2/queues.overview", { ...most, limit: 3 });
  assert.deepEqual([first.total, first.queues.length], [4, 3]);
  const { next_cursor: cursor } = first;
  const rest = await server.ok("/v2/queues.overview", { ...most, limit: 3, cursor });
  assert.deepEqual([names(rest.queues), rest.next_cursor], [["none"], undefined]);
  for (const [request, field] of [
    [{ sort: "waiting", cursor }, "cursor"],
    [{ ...most, cursor: "nonsense" }, "cursor"],
    [{ sort: "age" }, "sort"],
    [{ limit: 1_001 }, "limit"],
    [{ search: "x".repeat(513) }, "search"],
  ] as const) {
    const { status, body } = await server.call("/v2/queues.overview", request);
    assert.deepEqual([status, body.field], [400, field]);
  }
  const { status, body } = await server.call("/v2/queue.history", {
    queue_name: "mail",
    span: "2h",
  });
  assert.deepEqual([status, body.field], [400, "span"]);
  assert.equal((await server.call("/v2/queue.history", { queue_name: "nil" })).status, 404);
});

test("a key sees its namespace, and nothing of others", async (t) => {
  const admin = await setupClosed(t, { threads: 2 });
  await standStill(admin);
  await admin.createQueue("jobs");
  await produce(admin, "jobs", 1);
  const tenants: TestServer[] = [];
  let bound: TestServer | undefined;
  for (const [name, count] of [
    ["a", 2],
    ["b", 4],
  ] as const) {
    await admin.ok("/v2/namespaces.create", { name });
    const { id: user_id } = await admin.ok("/v2/users.create", { username: name });
    await admin.ok("/v2/bindings.create", {
      namespace: name,
      role_name: "NamespaceOwner",
      user_id,
    });
    const { key } = await admin.ok("/v2/keys.create", { user_id, namespace: name });
    const tenant = admin.as(key);
    await tenant.ok("/v2/queues.create", { queue_name: "jobs", max_attempts: 1 });
    await produce(tenant, "jobs", count);
    tenants.push(tenant);
    // Of one who has several keys, one is for wherever they have a role.
    bound = admin.as((await admin.ok("/v2/keys.create", { user_id })).key);
  }
  const [a, b] = tenants as [TestServer, TestServer];
  await work(b, "jobs", 2, "reject");
  const whole = await overview(admin);
  assert.deepEqual([whole.totals.queues, whole.totals.waiting], [3, 5]);
  assert.ok(whole.warnings.some(({ namespace }: Json) => namespace === "b"));
  const seen = await overview(a);
  assert.deepEqual([seen.whole, seen.threads, seen.storages], [false, undefined, []]);
  assert.deepEqual([seen.totals.queues, seen.totals.waiting, seen.series.in], [1, 2, [2]]);
  assert.deepEqual([seen.worst, seen.warnings], [[], []]);
  assert.deepEqual(await list(a), await list(admin, { namespace: "a" }));
  assert.deepEqual(
    (await list(a)).map((each) => [each.namespace, each.waiting]),
    [["a", 2]],
  );
  const of = await overview(bound!);
  assert.deepEqual([of.whole, of.totals.waiting, of.warnings.length], [false, 2, 1]);
  assert.deepEqual(names(await list(bound!)), ["jobs"]);
  for (const path of ["/v2/server.overview", "/v2/queues.overview"]) {
    assert.equal((await a.call(path, { namespace: "b" })).status, 403, path);
    const { status, body } = await admin.call(path, { namespace: "nowhere" });
    assert.deepEqual([status, body.code], [404, "namespace_not_found"], path);
    assert.equal((await bound!.call(path, { namespace: "_system" })).status, 403, path);
    assert.equal((await admin.as(undefined).call(path, {})).status, 401, path);
  }
  // Someone with no role anywhere sees nothing, and is told so.
  const { id: user_id } = await admin.ok("/v2/users.create", { username: "nobody" });
  const nobody = admin.as((await admin.ok("/v2/keys.create", { user_id })).key);
  assert.equal((await nobody.call("/v2/server.overview", {})).status, 403);

  await admin.advance("30s");
  await admin.until(async () => (await overview(a)).series.at.length === 2);
  const { windows } = await overview(a);
  assert.deepEqual(windows[0], { span: "1h", in: 2, out: 0, dead: 0 });
  assert.deepEqual((await overview(bound!)).series.in, [4, 0]);
  assert.deepEqual((await overview(admin)).series.in, [0, 7, 0]);
});

/** The warnings of a code. */
async function warned(server: TestServer, code: string): Promise<Json[]> {
  return (await overview(server)).warnings.filter((each: Json) => each.code === code);
}

describe("warnings", () => {
  test("tell of items that wait for nobody, until somebody comes", async (t) => {
    const server = await setup(t);
    await standStill(server);
    await server.createQueue("dead");
    await server.createQueue("jobs", { dead_queue: "dead" });
    await produce(server, "jobs", 3);
    await work(server, "jobs", 1, "reject");
    await server.advance("4m");
    assert.deepEqual(await warned(server, "no_consumers"), []);
    assert.equal((await list(server, { search: "jobs" }))[0].state, "ok");
    await server.advance("8m");
    const [warning, ...others] = await warned(server, "no_consumers");
    assert.deepEqual([warning.queue_name, warning.namespace], ["jobs", "_system"]);
    assert.match(
      warning.text,
      /^2 items wait in queue 'jobs', and nobody has asked for any for 12 minutes\. Start its consumers/,
    );
    // What is dead waits for people.
    assert.deepEqual(others, []);
    assert.equal((await list(server, { search: "jobs" }))[0].state, "stuck");
    const { worst } = await overview(server);
    assert.deepEqual([worst[0].what, worst[0].value], ["no_consumers", 2]);
    await work(server, "jobs", 1);
    assert.deepEqual(await warned(server, "no_consumers"), []);
    // Those that are scheduled wait for their time, however far that is.
    await server.createQueue("later");
    await server.ok("/v2/queue.produce", {
      queue_name: "later",
      items: [{ utf8: "x", delay: "240h" }],
    });
    await server.advance("12m");
    const queues = (await warned(server, "no_consumers")).map(({ queue_name }) => queue_name);
    assert.deepEqual(queues, ["jobs"]);
  });

  test("tell of items that die, most of them why, and of those that are lost", async (t) => {
    const server = await setup(t);
    await standStill(server);
    await server.createQueue("dead");
    await server.createQueue("jobs", { dead_queue: "dead", max_attempts: 1 });
    await server.createQueue("bare");
    await produce(server, "jobs", 10);
    await work(server, "jobs", 4, "retry");
    assert.deepEqual(await warned(server, "items_dying"), []);
    await work(server, "jobs", 2, "reject");
    const [dying] = await warned(server, "items_dying");
    assert.match(
      dying.text,
      /^6 items of queue 'jobs' have died in the last .*, most of them because their attempts were used up \(4\)\. See their errors in queue 'dead'/,
    );
    assert.deepEqual(await warned(server, "no_dead_queue"), []);
    await produce(server, "bare", 1);
    await work(server, "bare", 1, "reject");
    const [lost] = await warned(server, "no_dead_queue");
    assert.match(lost.text, /^1 item of queue 'bare' has died in the last .*, and is lost/);
    // It is over when nothing has died for some time.
    for (let i = 0; i < 30; i++) {
      await server.advance("30s");
      if ((await warned(server, "items_dying")).length === 0) break;
    }
    assert.deepEqual(await warned(server, "items_dying"), []);
  });

  test("tell of leases that end by themselves, and of items that wait although somebody works", async (t) => {
    const server = await setup(t);
    await standStill(server);
    await server.createQueue("jobs", { lease_timeout: "1m", max_attempts: 100 });
    await produce(server, "jobs", 12);
    await server.ok("/v2/queue.lease", { queue_name: "jobs", batch_size: 12, client: "c" });
    await server.advance("61s");
    const [ends] = await server.until(async () => {
      const found = await warned(server, "lease_ends");
      return found.length > 0 && found;
    });
    assert.match(
      ends.text,
      /^12 of 12 leases of queue 'jobs' have ended by themselves in the last .* longer than its lease_timeout of 1m0s\./,
    );
    await server.advance("16m");
    await server.ok("/v2/queue.lease", { queue_name: "jobs", batch_size: 1, client: "c" });
    const [old] = await warned(server, "oldest_item");
    assert.match(old.text, /^The oldest item that waits in queue 'jobs' is 17 minutes old/);
  });

  test("tell of a storage that fails, and that it is back", async (t) => {
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
    await server.createQueue("jobs");
    faulty!.always("commit", "fail");
    const failed = await server.call("/v2/queue.produce", {
      queue_name: "jobs",
      items: [{ utf8: "x" }],
    });
    assert.equal(failed.status, 503);
    const [failing] = await warned(server, "storage_failing");
    assert.equal(failing.severity, "error");
    assert.match(failing.text, /^Storage 'mem-0' does not work.*1 of 1 partitions in it/);
    const { storages, worst } = await overview(server);
    assert.deepEqual([storages[0].state, worst[0].what], ["failing", "failing"]);
    assert.equal((await list(server))[0].state, "failing");
    faulty!.heal();
    await server.advance("10s");
    await server.until(async () => (await warned(server, "storage_failing")).length === 0);
    const [again] = await warned(server, "commits_failing");
    assert.match(again.text, /^Writing to storage 'mem-0' has failed .* and works again\./);
  });

  test("tell a namespace that is near its quota", async (t) => {
    const admin = await setupClosed(t);
    await admin.ok("/v2/namespaces.create", { name: "a", quotas: { items: 10 } });
    const { id: user_id } = await admin.ok("/v2/users.create", { username: "a" });
    const binding = { namespace: "a", role_name: "NamespaceOwner", user_id };
    await admin.ok("/v2/bindings.create", binding);
    const a = admin.as((await admin.ok("/v2/keys.create", { user_id, namespace: "a" })).key);
    await a.ok("/v2/queues.create", { queue_name: "jobs" });
    await produce(a, "jobs", 8);
    assert.deepEqual(await warned(a, "quota_near"), []);
    await produce(a, "jobs", 2);
    const [full] = await warned(a, "quota_near");
    assert.equal(full.severity, "error");
    assert.match(full.text, /^Namespace 'a' has 10 of the 10 items .*; more are refused\./);
    assert.equal((await warned(admin.as(ADMIN_KEY), "quota_near")).length, 1);
  });
});
