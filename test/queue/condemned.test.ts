// What is on its way to a dead queue in another storage is told from what is to be leasable by what is
// written down with it, also as versions before this one have written it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { VirtualClock } from "../../src/clock.ts";
import { withAttributes } from "../../src/queue/attributes.ts";
import { PartitionBatch } from "../../src/queue/partition-batch.ts";
import { Item } from "../../src/queue/queue.ts";
import { type DropReason, ItemRecord } from "../../src/storage/storage.ts";
import { TestQueue } from "../support/queue.ts";

const LATER = 1e9;

/** How a scheduled item lies in storage. */
interface Stored {
  readonly at: number;
  readonly attempts?: number;
  /** As far after its time as this. */
  readonly expiresAfter?: number;
  readonly died?: DropReason;
}

const CONDEMNED: readonly [how: string, reason: DropReason, stored: Stored][] = [
  ["its attribute", "attempts", { at: 1e6, died: "attempts" }],
  ["its attribute, whatever its time", "expired", { at: 1, died: "expired" }],
  ["a time of 1970", "rejected", { at: 1 }],
  ["a time of 1970", "attempts", { at: 2 }],
  ["a time of 1970", "expired", { at: 3 }],
  ["an expiry just before its time", "rejected", { at: 5e8, attempts: 1, expiresAfter: -1 }],
];

for (const [how, reason, stored] of CONDEMNED) {
  test(`a scheduled item is not leased that has died of '${reason}' by ${how}`, async (t) => {
    const { queue, clock } = await opened(t, stored);
    clock.advance(LATER);
    await queue.queue.reload();
    await queue.produce(0);
    const { items } = await queue.lease(10);
    assert.equal(items.length, 1, "only what was produced");
    const { dropped } = (await queue.queue.stats()).partitions[0]!;
    assert.deepEqual(dropped, { attempts: 0, expired: 0, rejected: 0, [reason]: 1 });
  });
}

for (const stored of [
  { at: 4 },
  { at: 5e8, expiresAfter: -1 },
  { at: 5e8, attempts: 1, expiresAfter: -2 },
]) {
  test(`a scheduled item is leased that is stored as ${JSON.stringify(stored)}`, async (t) => {
    const { queue, clock } = await opened(t, stored);
    clock.advance(LATER);
    await queue.queue.reload();
    assert.equal((await queue.lease(10)).items.length, 1);
  });
}

async function opened(
  t: Parameters<typeof TestQueue.open>[0],
  { at, attempts = 0, expiresAfter = LATER * 100, died }: Stored,
): Promise<{ queue: TestQueue; clock: VirtualClock }> {
  const clock = new VirtualClock();
  const queue = await TestQueue.open(t, { clock });
  const { loop } = queue.queue;
  const part = new PartitionBatch(loop.partitions[0]!, clock.now());
  // Times far from the beginning of 1970 are from now on.
  const dueAt = at < 1e8 ? at : clock.now() + at;
  const item = new Item(new ItemRecord("", Buffer.from("a")), dueAt);
  item.attempts = attempts;
  item.createdAt = clock.now();
  item.attributes = died === undefined ? "" : withAttributes("", { died });
  part.add(item);
  item.expireAt = dueAt + expiresAfter;
  await loop.commitAlone(part);
  return { queue: await queue.reopened(), clock };
}
