// A server on several threads is the same server: what a client can ask of it goes to the thread on
// which the queue is at home, wherever it arrives, and data outlives any change of their number.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Worker } from "node:worker_threads";
import { VirtualClock } from "../src/clock.ts";
import { loadConfig, type ServerOptions } from "../src/config/config.ts";
import { QueueError } from "../src/errors.ts";
import { Kind } from "../src/queue/queue.ts";
import { makeQueueCalls } from "../src/server/queue-calls.ts";
import { startServer } from "../src/server/server.ts";
import { Shard } from "../src/server/shard.ts";
import { payloads, SILENT, setup, TestServer, temporaryDirectory } from "./support/server.ts";

const QUEUES = ["a", "b", "c", "d", "e"];

async function start(t: TestContext, options: ServerOptions): Promise<TestServer> {
  const server = await startServer(
    { address: "127.0.0.1:0", dev: true, ...options },
    { logger: SILENT },
  );
  t.after(() => server.stop());
  return new TestServer(server);
}

/** Every request on a connection of its own, so that all threads get some. */
function onFreshConnections(server: TestServer): (path: string, body: object) => Promise<unknown> {
  return async (path, body) => {
    const whole = path.startsWith("/") ? path : `/v1/${path}`;
    const response = await fetch(server.server.address + whole, {
      method: "POST",
      headers: { "Content-Type": "application/json", Connection: "close" },
      body: JSON.stringify(body),
    });
    const reply: unknown = await response.json();
    assert.equal(response.status, 200, `${path}: ${JSON.stringify(reply)}`);
    return reply;
  };
}

test("queues are spread over threads, and every thread serves every queue", async (t) => {
  const dataDir = temporaryDirectory(t);
  const server = await setup(t, { threads: 3, dataDir });
  for (const queue of QUEUES) await server.createQueue(queue);
  const ask = onFreshConnections(server);
  for (let i = 0; i < 10; i++) {
    for (const queue_name of QUEUES) {
      const items = [{ utf8: `${queue_name}${i}`, kind: "k" }, { reference: "no payload" }];
      await ask("queue.produce", { queue_name, request_timeout: "10s", items });
    }
  }
  for (const queue_name of QUEUES) {
    const lease = { queue_name, request_timeout: "10s", client_id: "c", batch_size: 100 };
    const reply = (await ask("queue.lease", lease)) as {
      items: { id: string; bytes?: string }[];
    };
    const expected = Array.from({ length: 10 }, (_, i) => [`${queue_name}${i}`, ""]).flat();
    assert.deepEqual(payloads(reply), expected);
    const ids = reply.items.map(({ id }) => id);
    await ask("queue.complete", { queue_name, request_timeout: "10s", ids });
    assert.equal((await server.stats(queue_name)).total, undefined);
  }
  const listed = (await ask("queues.list", {})) as { items: { queue_name: string }[] };
  assert.deepEqual(
    listed.items.map(({ queue_name }) => queue_name),
    QUEUES,
  );
  assert.ok(existsSync(join(dataDir, "querator-2.db")));
});

test("leases are extended and ended one by one, whatever thread is asked", async (t) => {
  const server = await setup(t, { threads: 3 });
  const ask = onFreshConnections(server);
  const queues = new Map<string, readonly string[]>();
  for (const queue_name of QUEUES) {
    await server.createQueue(queue_name);
    const items = ["a", "b", "c"].map((utf8) => ({ utf8 }));
    const produced = (await ask("/v2/queue.produce", { queue_name, items })) as {
      results: { id: string }[];
    };
    const reply = (await ask("/v2/queue.lease", { queue_name, batch_size: 3 })) as {
      items: { lease_id: string }[];
    };
    const ids = reply.items.map(({ lease_id }) => lease_id);
    assert.deepEqual(
      produced.results.map(({ id }) => id),
      ids,
    );
    const leases = ids.slice(0, 2).map((lease_id) => ({ lease_id, for: "10m" }));
    const extended = (await ask("/v2/queue.extend", { queue_name, leases })) as {
      results: { ok?: boolean; lease_deadline?: string }[];
    };
    assert.ok(extended.results.every(({ ok, lease_deadline }) => ok && lease_deadline));
    queues.set(queue_name, ids);
  }
  await server.advance("2m");
  for (const [queue_name, ids] of queues) {
    await server.until(async () => (await server.stats(queue_name)).total_leased === 2);
    const leases = ids.map((lease_id) => ({ lease_id }));
    const { results, failed } = (await ask("/v2/queue.complete", { queue_name, leases })) as {
      results: { ok?: boolean; code?: string }[];
      failed: number;
    };
    assert.deepEqual([results[0], results[1], failed], [{ ok: true }, { ok: true }, 1]);
    assert.equal(results[2]!.code, "lease_ended");
  }
});

test("data is found again by fewer threads and by more", async (t) => {
  const dataDir = temporaryDirectory(t);
  let produced = 0;
  for (const threads of [1, 3, 2, 1, 4]) {
    const server = await start(t, { threads, dataDir });
    for (const queue of QUEUES) {
      if (produced === 0) await server.createQueue(queue);
      await server.produce(queue, String(produced));
    }
    produced++;
    const extra = `made on ${threads}`.replaceAll(" ", "-");
    await server.createQueue(`${extra}-${produced}`);
    for (const queue of QUEUES) {
      const expected = Array.from({ length: produced }, (_, i) => String(i));
      assert.deepEqual(payloads({ items: await server.list(queue) }), expected);
    }
    await server.server.stop();
  }
  const server = await start(t, { threads: 2, dataDir });
  const { items } = await server.ok("queues.list", {});
  assert.equal(items.length, QUEUES.length + produced);
});

test("dead items reach a dead queue on another thread, once", async (t) => {
  const server = await setup(t, { threads: 2 });
  await server.createQueue("dead");
  for (const queue of QUEUES) {
    await server.createQueue(queue, { dead_queue: "dead", max_attempts: 1 });
    await server.produce(queue, queue);
    await server.lease(queue);
  }
  await server.advance("61s");
  await server.until(async () => (await server.list("dead")).length === QUEUES.length);
  assert.deepEqual(payloads({ items: await server.list("dead") }).sort(), QUEUES);
  // Originals go once their copies are durable.
  for (const queue of QUEUES) {
    await server.until(async () => (await server.stats(queue)).total === undefined);
  }
});

test("updates and deletions are known on every thread before they are answered", async (t) => {
  const server = await setup(t, { threads: 3 });
  const ask = onFreshConnections(server);
  for (let i = 0; i < 6; i++) {
    await server.createQueue("q");
    const items = [{ utf8: "x" }];
    await ask("queue.produce", { queue_name: "q", request_timeout: "10s", items });
    await server.ok("queues.update", { queue_name: "q", reference: String(i), max_attempts: 3 });
    for (let n = 0; n < 4; n++) {
      const info = (await ask("queues.info", { queue_name: "q" })) as { reference: string };
      assert.equal(info.reference, String(i));
    }
    await server.ok("queues.delete", { queue_name: "q" });
    for (let n = 0; n < 4; n++) {
      await assert.rejects(ask("queues.info", { queue_name: "q" }), /no such queue named 'q'/);
      assert.deepEqual(await ask("queues.list", {}), {});
    }
  }
});

test("a stop answers what waits on every thread", async (t) => {
  const server = await setup(t, { threads: 3 });
  for (const queue of QUEUES) await server.createQueue(queue);
  const lease = (queue_name: string) =>
    server.call("queue.lease", {
      queue_name,
      request_timeout: "1m",
      client_id: "c",
      batch_size: 1,
    });
  const waiting = QUEUES.map(lease);
  for (const queue of QUEUES) {
    await server.until(async () => (await server.stats(queue)).lease_waiting === 1);
  }
  await server.server.stop();
  for (const { status, body } of await Promise.all(waiting)) {
    assert.deepEqual([status, body.message], [453, "queue is shutting down"]);
  }
});

test("a request that a stop overtakes on its way to another thread is not told that its queue is gone", async () => {
  const config = loadConfig({ memory: true }, {});
  const { home } = new Shard({ config, clock: new VirtualClock(), log: SILENT });
  const calls = makeQueueCalls(home);
  await assert.rejects(calls.submit("q", Kind.complete, 0, [], 0), {
    kind: "invalid",
    message: "queue does not exist; no such queue named 'q'",
  });
  home.refuse(new QueueError("failed", "service is shutting down"));
  await assert.rejects(calls.submit("q", Kind.complete, 0, [], 0), {
    kind: "failed",
    message: "service is shutting down",
  });
});

test("a thread that ends takes the server with it", { timeout: 20_000 }, async (t) => {
  const threads: Worker[] = [];
  const errors: string[] = [];
  const log = { ...SILENT, error: (_: unknown, message: string) => errors.push(message) };
  const server = await startServer(
    { address: "127.0.0.1:0", memory: true, threads: 2 },
    { logger: log as unknown as typeof SILENT, onThread: (thread) => threads.push(thread) },
  );
  t.after(() => server.stop());
  for (const queue of QUEUES) await new TestServer(server).createQueue(queue);
  await threads[0]!.terminate();
  await server.died;
  assert.equal(errors[0], "the server stops, for its queues on that thread are silent");
  await assert.rejects(fetch(`${server.address}/health`));
});

test("a port that somebody else listens on is not shared with them", async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) =>
    other.listen({ port: 0, host: "127.0.0.1", reusePort: true }, resolve),
  );
  t.after(() => other.close());
  const { port } = other.address() as { port: number };
  await assert.rejects(
    start(t, { address: `127.0.0.1:${port}`, memory: true, threads: 2 }),
    /address 127\.0\.0\.1:\d+ is in use; stop what listens there/,
  );
});

test("a directory that another server has is refused whatever the number of threads", async (t) => {
  const dataDir = temporaryDirectory(t);
  await start(t, { threads: 2, dataDir });
  await assert.rejects(start(t, { threads: 3, dataDir }), /is in use by another server/);
});
