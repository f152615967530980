// What the log tells of requests, turns and commits that are slow: which they were, how long they took and where the time
// went; and that nobody is slow who waits for items.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Logger } from "../../src/log.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { SILENT, setup, type TestServer } from "../support/server.ts";

// So long that what is not held up takes less, however slow the machine is.
const SLOW_MS = 400;

interface Line {
  readonly msg: string;
  readonly path?: string;
  readonly queue?: string;
  readonly storage?: string;
  readonly request_id?: string;
  readonly status?: number;
  readonly ms: number;
  readonly [field: string]: unknown;
}

interface World {
  readonly server: TestServer;
  readonly storage: FaultyStorage;
  /** The lines that were logged as warnings. */
  readonly lines: Line[];
}

async function open(t: TestContext, slow = `${SLOW_MS}ms`): Promise<World> {
  const lines: Line[] = [];
  let storage: FaultyStorage | undefined;
  const warn = (fields: object, msg: string) => lines.push({ ...fields, msg } as Line);
  const server = await setup(
    t,
    { slowRequest: slow, slowTurn: slow, slowCommit: slow },
    {
      logger: { ...SILENT, warn } as unknown as Logger,
      wrapStorage: (inner) => {
        storage = new FaultyStorage(inner);
        return storage.storage;
      },
    },
  );
  await server.createQueue("jobs");
  return { server, storage: storage!, lines };
}

/** Time passes, in which this thread does nothing else. */
function pass(ms = SLOW_MS + 10): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

async function post(
  { server }: World,
  path: string,
  request: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(`${server.server.address}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(request),
  });
}

const ITEMS = { queue_name: "jobs", items: [{ utf8: "secret" }] };

/** Sends a request whose commit takes long. */
async function held(world: World, path: string, request: object, headers = {}): Promise<Response> {
  const { storage } = world;
  storage.next("commit", "wait");
  const reply = post(world, path, request, headers);
  await storage.waits();
  pass();
  storage.release();
  return reply;
}

test("a request, its turn and its commit are told when the commit takes long", async (t) => {
  const world = await open(t);
  const reply = await held(world, "/v2/queue.produce", ITEMS, { "X-Request-Id": "mine-1" });
  assert.equal(reply.status, 200);
  const { lines } = world;
  const [commit, turn, request] = ["commit", "turn", "request"].map((what) =>
    lines.find(({ msg }) => msg === `a ${what} was slow`),
  );
  assert.deepEqual(
    { ...commit, ms: 0 },
    { msg: "a commit was slow", storage: "mem-0", ms: 0, partitions: 1, changes: 1, waiting: 0 },
  );
  const { ms, read_ms, plan_ms, commit_ms, after_ms, ...rest } = turn!;
  assert.deepEqual(rest, { msg: "a turn was slow", queue: "jobs", requests: 1 });
  assert.ok((commit_ms as number) >= SLOW_MS, JSON.stringify(turn));
  const parts = [read_ms, plan_ms, commit_ms, after_ms] as number[];
  assert.ok(Math.abs(parts.reduce((sum, each) => sum + each, 0) - ms) < 1, JSON.stringify(turn));
  assert.deepEqual(
    { ...request, ms: 0, body_bytes: 0 },
    {
      msg: "a request was slow",
      path: "/v2/queue.produce",
      ms: 0,
      request_id: "mine-1",
      status: 200,
      queue: "jobs",
      body_bytes: 0,
    },
  );
  for (const line of [commit, turn, request]) assert.ok(line!.ms >= SLOW_MS, JSON.stringify(line));
  assert.doesNotMatch(JSON.stringify(lines), /secret/);
});

test("a request that is read by node:http is told alike, and that it waited for its body is not", async (t) => {
  const { server, lines, storage } = await open(t);
  // A body without a stated length is read by node:http.
  const produce = (id: string, work: () => void): Promise<Response> => {
    const body = new ReadableStream({
      async pull(controller) {
        work();
        controller.enqueue(Buffer.from(JSON.stringify(ITEMS)));
        controller.close();
      },
    });
    const headers = { "Content-Type": "application/json", "X-Request-Id": id };
    const init = { method: "POST", headers, body, duplex: "half" } as RequestInit;
    return fetch(`${server.server.address}/v2/queue.produce`, init);
  };
  assert.equal((await produce("mine-1", pass)).status, 200);
  assert.equal(lines.length, 0);
  storage.next("commit", "wait");
  const reply = produce("mine-2", () => undefined);
  await storage.waits();
  pass();
  storage.release();
  assert.equal((await reply).status, 200);
  const request = lines.find(({ msg }) => msg === "a request was slow");
  assert.equal(request?.request_id, "mine-2");
  assert.equal(request?.queue, "jobs");
});

test("a request of /v1 is told, with the id that its client gave", async (t) => {
  const world = await open(t);
  const request = { ...ITEMS, request_timeout: "1m" };
  const headers = { "X-Request-Id": "old-1" };
  assert.equal((await held(world, "/v1/queue.produce", request, headers)).status, 200);
  const line = world.lines.find(({ msg }) => msg === "a request was slow");
  assert.deepEqual([line?.path, line?.request_id], ["/v1/queue.produce", "old-1"]);
});

test("who waits for items, or for the end of one, is not slow; who waits for a commit then is", async (t) => {
  const world = await open(t);
  const { server, lines, storage } = world;
  const lease = { queue_name: "jobs", batch_size: 1, request_timeout: "1m" };
  const waits = async (what: "lease" | "watchers") =>
    server.until(async () => {
      const { queues } = await server.ok("/v2/debug.dump", {});
      return queues[0][what] === 1;
    });

  const given = post(world, "/v2/queue.lease", lease);
  await waits("lease");
  pass();
  await server.ok("/v2/queue.produce", ITEMS);
  const { items } = (await (await given).json()) as { items: { id: string; lease_id: string }[] };
  const [{ id, lease_id } = assert.fail()] = items;

  const ended = post(world, "/v2/item.wait", { id, queue_name: "jobs", request_timeout: "1m" });
  await waits("watchers");
  pass();
  await server.ok("/v2/queue.complete", { queue_name: "jobs", leases: [{ lease_id }] });
  assert.equal((await ended).status, 200);

  const inVain = post(world, "/v2/queue.lease", lease);
  await waits("lease");
  pass();
  await server.advance("2m");
  assert.deepEqual(await (await inVain).json(), { items: [] });
  assert.deepEqual(lines.slice(), []);

  const late = post(world, "/v2/queue.lease", lease, { "X-Request-Id": "late" });
  await waits("lease");
  pass();
  storage.next("commit", "wait");
  const produced = server.ok("/v2/queue.produce", ITEMS);
  await storage.waits();
  pass();
  storage.release();
  await Promise.all([late, produced]);
  const line = lines.find(({ request_id }) => request_id === "late");
  assert.ok(line !== undefined && line.ms >= SLOW_MS && line.ms < 2 * SLOW_MS, `${line?.ms}`);
  assert.ok((line.waited_ms as number) >= SLOW_MS);
});

test("with 0 nothing is told", async (t) => {
  const world = await open(t, "0");
  assert.equal((await held(world, "/v2/queue.produce", ITEMS)).status, 200);
  assert.deepEqual(world.lines, []);
});
