// What is deleted although nobody has completed it is counted for good, by why, and said in the log, at
// most once a minute for each queue.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { SILENT, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

interface Dropped {
  readonly attempts?: number;
  readonly expired?: number;
  readonly rejected?: number;
}

async function dropped(server: TestServer, queue = "q"): Promise<Dropped | undefined> {
  const { logical_queues: logicalQueues } = await server.ok("/v2/queue.stats", {
    queue_name: queue,
  });
  return logicalQueues[0].dropped;
}

async function drop(server: TestServer, expected: Dropped): Promise<void> {
  const seen = await server.until(async () => {
    const now = await dropped(server);
    return JSON.stringify(now) === JSON.stringify(expected) && now;
  });
  assert.deepEqual(seen, expected);
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });

  describe(`items that nobody completed, on ${place}`, () => {
    test("are counted by why, where they were", async (t) => {
      const server = await start(t);
      const short = { lease_timeout: "30m", expire_timeout: "1h" };
      await server.createQueue("q", { ...short, max_attempts: 2, requested_partitions: 2 });
      assert.equal(await dropped(server), undefined);
      await server.advance("0s");
      // Given up by their consumer.
      await server.produce("q", "a", "b");
      const given = await server.lease("q", 2);
      const ids = given.items.map(({ id }: { id: string }) => ({ id, dead: true }));
      await server.retry("q", ids, given.partition ?? 0);
      await drop(server, { rejected: 2 });
      // Expired while they wait.
      await server.produce("q", "c", "d", "e");
      await server.advance("61m");
      await drop(server, { expired: 3, rejected: 2 });
      // Leased too often: the second time by the end of the lease, without a request.
      await server.produce("q", "f");
      const first = await server.lease("q");
      await server.retry("q", [{ id: first.items[0].id }], first.partition ?? 0);
      await server.lease("q");
      await server.advance("31m");
      await drop(server, { attempts: 1, expired: 3, rejected: 2 });
      // Expired while it was leased, and given back.
      await server.produce("q", "g");
      await server.advance("40m");
      const late = await server.lease("q");
      await server.advance("25m");
      await server.retry("q", [{ id: late.items[0].id }], late.partition ?? 0);
      await drop(server, { attempts: 1, expired: 4, rejected: 2 });
      const { logical_queues: logicalQueues } = await server.ok("/v2/queue.stats", {
        queue_name: "q",
      });
      const parts: Dropped[] = logicalQueues[0].partitions.map(
        (each: { dropped?: Dropped }) => each.dropped ?? {},
      );
      const sum = (reason: keyof Dropped): number =>
        parts.reduce((count, each) => count + (each[reason] ?? 0), 0);
      assert.deepEqual([sum("attempts"), sum("expired"), sum("rejected")], [1, 4, 2]);
      // What an operator takes away is none of it, nor what is completed.
      await server.produce("q", "h", "i", "j");
      const done = await server.lease("q");
      await server.complete("q", [done.items[0].id], done.partition ?? 0);
      await server.ok("queue.clear", { queue_name: "q", queue: true, destructive: true });
      assert.deepEqual(await dropped(server), { attempts: 1, expired: 4, rejected: 2 });
      // The contract of /v1 knows nothing of it.
      const { logicalQueues: old } = await server.ok("queue.stats", { queue_name: "q" });
      assert.equal(old[0].dropped, undefined);
    });

    test("are not counted if they go to a dead queue, and are if that is gone", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { dead_queue: "dead", max_attempts: 1 });
      for (const isThere of [true, false]) {
        if (!isThere) await server.ok("queues.delete", { queue_name: "dead", force: true });
        await server.produce("q", "a", "b");
        const { items } = await server.lease("q", 2);
        await server.retry("q", [{ id: items[0].id, dead: true }, { id: items[1].id }]);
        assert.deepEqual(await dropped(server), isThere ? undefined : { attempts: 1, rejected: 1 });
      }
      assert.equal((await server.stats("q")).total, undefined);
    });
  });
}

for (const driver of ["sqlite", "postgres"] as const) {
  test(`the counts outlast a restart (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const first = await setup(t, place);
    await first.createQueue("q", { max_attempts: 1 });
    await first.produce("q", "a");
    const { items } = await first.lease("q");
    await first.retry("q", [{ id: items[0].id }]);
    await drop(first, { attempts: 1 });
    await first.server.stop();
    const second = await setup(t, place);
    assert.deepEqual(await dropped(second), { attempts: 1 });
    await second.ok("queue.reload", { queue_name: "q" });
    assert.deepEqual(await dropped(second), { attempts: 1 });
  });
}

test("the log says it at once, then at most once a minute, with all that came since", async (t) => {
  const lines: [object, string | undefined][] = [];
  const warn = (fields: object, text?: string): void => {
    lines.push([fields, text]);
  };
  const server = await setup(t, {}, { logger: { ...SILENT, warn } });
  await server.createQueue("q", { max_attempts: 1 });
  await server.createQueue("other");
  await server.advance("0s");
  const reject = async (count: number): Promise<void> => {
    await server.produce("q", ...Array<string>(count).fill("x"));
    const { items } = await server.lease("q", count);
    await server.retry(
      "q",
      items.map(({ id }: { id: string }) => ({ id, dead: true })),
    );
  };
  await reject(2);
  assert.equal(lines.length, 1);
  const [[fields, text]] = lines as [[object, string]];
  assert.deepEqual(fields, { queue: "q", attempts: 0, expired: 0, rejected: 2 });
  assert.equal(
    text,
    "items were deleted: 2 given up by their consumer; give the queue a dead_queue that exists to keep such items, a longer expire_timeout, or more max_attempts",
  );
  await server.advance("30s");
  await reject(3);
  await reject(4);
  await server.produce("q", "y");
  const { items } = await server.lease("q");
  await server.retry("q", [{ id: items[0].id }]);
  assert.equal(lines.length, 1);
  await server.advance("31s");
  await server.until(async () => lines.length === 2);
  assert.deepEqual(lines[1]![0], { queue: "q", attempts: 1, expired: 0, rejected: 7 });
  // Nothing more to say, until there is.
  await server.advance("5m");
  assert.equal(lines.length, 2);
  await server.produce("q", "z");
  await server.advance("25h");
  await server.until(async () => lines.length === 3);
  assert.deepEqual(lines[2]![0], { queue: "q", attempts: 0, expired: 1, rejected: 0 });
  assert.match(lines[2]![1]!, /^items were deleted: 1 not completed within expire_timeout; /);
  await reject(1);
  await server.server.stop();
  assert.equal(lines.length, 4);
  assert.deepEqual(lines[3]![0], { queue: "q", attempts: 0, expired: 0, rejected: 1 });
});
