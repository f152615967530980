// When a storage says that what was read from it may not be there any more, its partitions are read
// anew, and serve again soon: whatever the wall clock shows.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { SystemClock } from "../../src/clock.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { TestQueue } from "../support/queue.ts";

const ITEMS = 5;

/** A queue with a partition in each of the storages, and some items in each partition. */
async function filled(t: TestContext, storages: readonly MemoryStorage[]): Promise<TestQueue> {
  const test = await TestQueue.open(t, { storages, clock: new SystemClock() });
  for (const _ of storages) await test.produce(...Array.from({ length: ITEMS }, () => 0));
  return test;
}

for (const [name, places] of [
  ["one storage", ["a", "a"]],
  ["two storages, one of which is distrusted", ["a", "b"]],
] as const) {
  test(`partitions in ${name} serve all that they hold after a distrust`, async (t) => {
    const a = new MemoryStorage({ name: "a" });
    const test = await filled(
      t,
      places.map((place) => (place === "a" ? a : new MemoryStorage({ name: place }))),
    );
    test.queue.loop.distrust("a");
    let leased = 0;
    while (leased < places.length * ITEMS) leased += (await test.lease(100)).items.length;
    assert.equal(leased, places.length * ITEMS);
    for (const { stale, failures } of test.queue.loop.partitions) {
      assert.deepEqual({ stale, failures }, { stale: false, failures: 0 });
    }
  });
}
