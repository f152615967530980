// When a storage says that what was read from it may not be there any more, its partitions are read
// anew, and serve again soon: whatever the wall clock shows.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SECOND, SystemClock } from "../../src/clock.ts";
import { MESSAGES, retryLater } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { momentOf } from "../../src/queue/lease-ends.ts";
import { Partition } from "../../src/queue/partition.ts";
import { Item, LeaseRequest, ProduceRequest, Queue, Turns } from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord } from "../../src/storage/storage.ts";
import { SILENT } from "../support/server.ts";

const ITEMS = 5;

/** A queue with a partition in each of the storages, and some items in each partition. */
async function filled(t: TestContext, storages: readonly MemoryStorage[]): Promise<Queue> {
  const clock = new SystemClock();
  const budget = { bytes: 0 };
  const partitions: Partition[] = [];
  for (const [number, storage] of storages.entries()) {
    const place = { queue: "q", number, idPrefix: `${number}`.padStart(18, "p"), createdAt: 1 };
    const [key] = await storage.createPartitions([place]);
    const options = { storage, limits: DEFAULT_LIMITS, budget };
    const partition = new Partition({ ...place, key: key! }, options);
    await partition.load(() => momentOf(clock));
    partitions.push(partition);
  }
  const rules = {
    leaseTimeout: 60 * SECOND,
    expireTimeout: 3_600 * SECOND,
    maxAttempts: 0,
    deadQueue: "",
  };
  const queue = new Queue("q", rules, partitions, {
    clock,
    limits: DEFAULT_LIMITS,
    turns: new Turns(),
    budget,
    waiting: { leases: 0 },
    log: SILENT,
    findDeadQueue: () => undefined,
  });
  t.after(() => queue.loop.close(retryLater(MESSAGES.serviceShutdown)));
  for (let i = 0; i < storages.length; i++) {
    const records = Array.from({ length: ITEMS }, () => new ItemRecord("", Buffer.from("a")));
    const items = records.map((record) => new Item(record, 0));
    await queue.submit(new ProduceRequest(items, clock.steady() + 5 * SECOND));
  }
  return queue;
}

for (const [name, places] of [
  ["one storage", ["a", "a"]],
  ["two storages, one of which is distrusted", ["a", "b"]],
] as const) {
  test(`partitions in ${name} serve all that they hold after a distrust`, async (t) => {
    const a = new MemoryStorage({ name: "a" });
    const queue = await filled(
      t,
      places.map((place) => (place === "a" ? a : new MemoryStorage({ name: place }))),
    );
    queue.loop.distrust("a");
    const clock = new SystemClock();
    let leased = 0;
    for (let client = 0; leased < places.length * ITEMS; client++) {
      const lease = new LeaseRequest(`client ${client}`, 100, clock.steady() + 5 * SECOND);
      leased += (await queue.submit(lease)).items.length;
    }
    assert.equal(leased, places.length * ITEMS);
    for (const { stale, failures } of queue.loop.partitions) {
      assert.deepEqual({ stale, failures }, { stale: false, failures: 0 });
    }
  });
}
