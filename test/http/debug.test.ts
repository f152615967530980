// What debug.dump tells: what the loops hold while something hangs, in counts and without a word of clients; of many queues
// those that something is wrong with; over threads, in both formats, and in the log.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  DebugDumpRequestSchema,
  DebugDumpResponseSchema,
} from "../../src/codec/gen/querator/v2/debug_pb.ts";
import type { Logger } from "../../src/log.ts";
import { joinDumps, type ThreadDump } from "../../src/observe/dump.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { SILENT, setup, setupClosed, type TestServer } from "../support/server.ts";

interface World {
  readonly server: TestServer;
  readonly storage: FaultyStorage;
}

async function open(t: TestContext, logger: Logger = SILENT): Promise<World> {
  let storage: FaultyStorage | undefined;
  const server = await setup(
    t,
    {},
    {
      logger,
      wrapStorage: (inner) => {
        storage = new FaultyStorage(inner);
        return storage.storage;
      },
    },
  );
  return { server, storage: storage! };
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
async function dump(server: TestServer, request: object = {}): Promise<any> {
  return server.ok("/v2/debug.dump", request);
}

const items = (...texts: string[]) => texts.map((utf8) => ({ utf8 }));

test("what a queue holds is told, by kind and by where it lies", async (t) => {
  const { server } = await open(t);
  await server.createQueue("jobs", { requested_partitions: 2 });
  await server.createQueue("empty");
  await server.advance("0s");
  const queue_name = "jobs";
  await server.ok("/v2/queue.produce", { queue_name, items: items("a", "b", "c") });
  const later = [{ utf8: "d", delay: "10m" }];
  const { results } = await server.ok("/v2/queue.produce", { queue_name, items: later });
  await server.ok("/v2/queue.lease", { queue_name, batch_size: 2 });
  const lease = server.call("/v2/queue.lease", { queue_name: "empty", request_timeout: "1m" });
  const watch = server.call("/v2/item.wait", { queue_name, id: results[0].id });
  const told = await server.until(async () => {
    const now = await dump(server);
    const [thread] = now.threads;
    return thread.waiting_leases === 1 && thread.watched_items === 1 && now;
  });
  const [jobs, empty] = told.queues;
  assert.deepEqual(
    [jobs.queue_name, jobs.state, jobs.thread, jobs.watchers, jobs.lease],
    ["jobs", "idle", 0, 1, undefined],
  );
  assert.deepEqual([empty.queue_name, empty.lease, empty.unanswered], ["empty", 1, 1]);
  const sum = (of: string): number =>
    jobs.partitions.reduce((all: number, each: Record<string, number>) => all + (each[of] ?? 0), 0);
  assert.deepEqual(
    ["waiting", "leased", "scheduled", "ready", "scheduled_window", "failures"].map(sum),
    [1, 2, 1, 1, 1, 0],
  );
  assert.ok(jobs.next_due_at > "2" && jobs.partitions.length === 2);
  const [thread] = told.threads;
  assert.deepEqual([thread.thread, thread.queues, thread.silent], [0, 2, undefined]);
  assert.ok(thread.connections >= 3 && thread.open_requests === 3, JSON.stringify(thread));
  assert.ok(thread.heap_bytes > 1_000_000 && thread.busy >= 0 && thread.busy <= 1);
  const { mode, version, pid, node } = told.server;
  assert.deepEqual([mode, pid, node], ["serving", process.pid, process.versions.node]);
  assert.match(version, /^\d+\.\d+/);
  assert.equal(told.queues_left_out, undefined);
  await server.advance("10m");
  await Promise.all([lease, watch]);
});

test("what hangs is told while it hangs: the turn, the commit, and what waits behind them", async (t) => {
  const { server, storage } = await open(t);
  await server.createQueue("jobs");
  const produce = { queue_name: "jobs", items: items("a") };
  storage.next("commit", "wait");
  const held = server.ok("/v2/queue.produce", produce);
  await storage.waits();
  const behind = [server.ok("/v2/queue.produce", produce), server.ok("/v2/queue.produce", produce)];
  const { queues, threads } = await server.until(async () => {
    const now = await dump(server);
    return now.queues[0].produce === 2 && now;
  });
  const { state, in_turn, unanswered, turn_time } = queues[0];
  assert.deepEqual([state, in_turn, unanswered], ["committing", 1, 3]);
  assert.match(turn_time, /^[\d.]+(µs|ms|s)$/);
  const [commits] = threads[0].commits;
  assert.equal(commits.storage, "mem-0");
  assert.match(commits.under_way, /^[\d.]+(µs|ms|s)$/);
  storage.release();
  await Promise.all([held, ...behind]);
  const after = await dump(server);
  assert.deepEqual(
    [after.queues[0].state, after.queues[0].turn_time, after.threads[0].commits[0].under_way],
    ["idle", undefined, undefined],
  );
});

test("a queue that fails comes before one that holds more, and the others are counted", async (t) => {
  const { server, storage } = await open(t);
  for (const name of ["full", "failing", "small"]) await server.createQueue(name);
  await server.ok("/v2/queue.produce", { queue_name: "full", items: items("a", "b", "c") });
  await server.ok("/v2/queue.produce", { queue_name: "small", items: items("a") });
  storage.next("commit", "fail");
  storage.always("loadPartition", "fail");
  const refused = await server.call("/v2/queue.produce", {
    queue_name: "failing",
    items: items("a"),
  });
  assert.equal(refused.status, 503);
  const two = await dump(server, { limit: 2 });
  assert.deepEqual(
    two.queues.map((queue: { queue_name: string }) => queue.queue_name),
    ["failing", "full"],
  );
  assert.equal(two.queues_left_out, 1);
  const [partition] = two.queues[0].partitions;
  assert.ok(partition.failures >= 1 && partition.stale === true, JSON.stringify(partition));
  const one = await dump(server, { limit: 1 });
  assert.deepEqual([one.queues.length, one.queues_left_out], [1, 2]);
});

test("how many queues are told is bounded", async (t) => {
  const { server } = await open(t);
  for (const limit of [-1, 1_001]) {
    const { status, body } = await server.call("/v2/debug.dump", { limit });
    assert.deepEqual([status, body.code, body.field], [400, "invalid_field", "limit"]);
  }
  for (let i = 0; i < 22; i++) await server.createQueue(`q${i}`);
  const told = await dump(server);
  assert.deepEqual([told.queues.length, told.queues_left_out], [20, 2]);
  assert.equal((await dump(server, { limit: 1_000 })).queues.length, 22);
});

test("of a queue with many partitions some are told", async (t) => {
  const { server } = await open(t);
  await server.createQueue("wide", { requested_partitions: 40 });
  const [wide] = (await dump(server)).queues;
  assert.deepEqual([wide.partitions.length, wide.partitions_left_out], [32, 8]);
});

test("nothing that a client has sent is told but names of queues", async (t) => {
  const { server } = await open(t);
  await server.createQueue("jobs", { reference: "secret" });
  const queue_name = "jobs";
  const response = await fetch(`${server.server.address}/v2/queue.produce`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": "secret" },
    body: JSON.stringify({
      queue_name,
      items: [
        { utf8: "secret", kind: "secret", reference: "secret", headers: { secret: "secret" } },
        { utf8: "secret", unique_key: "secret" },
      ],
    }),
  });
  assert.equal(response.status, 200);
  await server.ok("/v2/queue.lease", { queue_name, client: "secret" });
  const told = await dump(server);
  assert.equal(told.queues[0].partitions[0].leased, 1);
  assert.doesNotMatch(JSON.stringify(told), /secret/);
});

test("in Protobuf the same is told", async (t) => {
  const { server } = await open(t);
  await server.createQueue("jobs");
  await server.produce("jobs", "a");
  const type = "application/protobuf";
  const response = await fetch(`${server.server.address}/v2/debug.dump`, {
    method: "POST",
    headers: { "Content-Type": type, Accept: type },
    body: toBinary(DebugDumpRequestSchema, create(DebugDumpRequestSchema, { limit: 5 })),
  });
  assert.equal(response.status, 200);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const { server: process_, threads, queues } = fromBinary(DebugDumpResponseSchema, bytes);
  assert.equal(process_?.mode, "serving");
  assert.deepEqual([threads[0]?.thread, threads[0]?.queues], [0, 1n]);
  assert.deepEqual([queues[0]?.queueName, queues[0]?.partitions[0]?.waiting], ["jobs", 1n]);
});

test("a queue of a namespace is told with it", async (t) => {
  const server = await setupClosed(t);
  await server.ok("/v2/namespaces.create", { name: "acme" });
  const settings = { lease_timeout: "1m", expire_timeout: "1h", requested_partitions: 1 };
  await server.ok("queues.create", { queue_name: "jobs", namespace: "acme", ...settings });
  const [{ queue_name, namespace } = assert.fail()] = (await dump(server)).queues;
  assert.deepEqual([queue_name, namespace], ["jobs", "acme"]);
});

test("each thread tells of itself and of its queues, whichever is asked", async (t) => {
  const server = await setup(t, { threads: 3 });
  for (let i = 0; i < 6; i++) {
    await server.createQueue(`q${i}`);
    await server.produce(`q${i}`, "a");
  }
  for (let asked = 0; asked < 6; asked++) {
    const response = await fetch(`${server.server.address}/v2/debug.dump`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Connection: "close" },
      body: "{}",
    });
    const { threads, queues } = (await response.json()) as {
      threads: { thread: number; queues: number }[];
      queues: { queue_name: string; thread: number }[];
    };
    assert.deepEqual(
      threads.map(({ thread, queues: count }) => [thread, count]),
      [
        [0, 2],
        [1, 2],
        [2, 2],
      ],
    );
    assert.deepEqual(queues.map(({ queue_name }) => queue_name).sort(), [
      "q0",
      "q1",
      "q2",
      "q3",
      "q4",
      "q5",
    ]);
    assert.equal(new Set(queues.map(({ thread }) => thread)).size, 3);
  }
});

test("a thread that does not answer is told as one, and the others all the same", () => {
  const state = { version: "1", node: "1", pid: 1, mode: "serving", reason: "" };
  const server = { ...state, startedAt: 0, uptime: 0, residentBytes: 0 };
  const numbers = { latest: 0, busy: 0, heapBytes: 0, connections: 0, openRequests: 0 };
  const home = { queues: 3, waitingLeases: 0, watchedItems: 0, readyBytes: 0 };
  const first: ThreadDump = { thread: 0, ...numbers, home: { ...home, commits: [], told: [] } };
  const { threads, queuesLeftOut } = joinDumps(server, [first, undefined], 5);
  assert.deepEqual(threads, [first, { thread: 1 }]);
  assert.equal(queuesLeftOut, 3);
});

test("the log gets a line for the server, each thread and each queue", async (t) => {
  const lines: { msg: string; queue_name?: string; mode?: string; partitions?: unknown[] }[] = [];
  const info = (fields: object, msg: string) => lines.push({ ...fields, msg });
  const { server } = await open(t, { ...SILENT, info } as unknown as Logger);
  for (const name of ["a", "b"]) await server.createQueue(name);
  lines.length = 0;
  await server.server.dump();
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ["dump: server", "dump: thread", "dump: queue", "dump: queue"],
  );
  assert.equal(lines[0]!.mode, "serving");
  assert.deepEqual([lines[2]!.queue_name, lines[2]!.partitions?.length], ["a", 1]);
});
