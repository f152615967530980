// What the requests of a queue answer, item by item: where a produce has put its items, which leases
// could be ended and why not the others.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { HOUR, SECOND } from "../../src/clock.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Mailbox } from "../../src/queue/mailbox.ts";
import {
  CompleteRequest,
  type IdSpace,
  LeaseRequest,
  NO_OUTCOMES,
  type Outcomes,
  RetryRequest,
  type Together,
  unknownLease,
} from "../../src/queue/queue.ts";
import { RemoteQueue } from "../../src/server/remote-queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { leaseIds, TestQueue } from "../support/queue.ts";

const codes = ({ refused }: Outcomes): readonly (readonly [number, string])[] =>
  refused.map(({ index, error }) => [index, error.code]);

/** A queue where there is one lease of every kind: its ids by what they are. */
async function world(t: TestContext) {
  const test = await TestQueue.open(t, { rules: { maxAttempts: 2 } });
  const { queue } = test;
  const [ended, a, b] = (await test.leased(3)) as [string, string, string];
  await queue.submit(new CompleteRequest(0, [ended], test.deadline));
  const { first } = await test.produce(0);
  const ids = queue.ids(0);
  const wrong = {
    malformed: "x",
    elsewhere: `${"B".repeat(18)}000000001`,
    unheardOf: ids.id(first + 1),
    waiting: ids.id(first),
    ended,
  };
  return { test, queue, ids, a, b, wrong };
}

const REFUSALS = [
  [1, "invalid_field"],
  [2, "item_not_found"],
  [3, "item_not_found"],
  [4, "not_leased"],
  [5, "lease_ended"],
  [6, "lease_ended"],
] as const;

const leased = (test: TestQueue): Promise<number> =>
  test.queue.stats().then(({ partitions }) => partitions[0]!.leased);

test("a produce tells where its items lie, and which of them wait for their time", async (t) => {
  const storage = new MemoryStorage({ name: "a" });
  const test = await TestQueue.open(t, { storages: [storage, storage] });
  const later = test.clock.now() + HOUR;
  const soon = test.clock.now() + 1;
  const first = await test.produce(0, later, soon, later);
  const second = await test.produce(0);
  assert.deepEqual(first, { partition: 0, first: 1, scheduled: [1, 3] });
  assert.deepEqual(second, { partition: 1, first: 1, scheduled: [] });
  const third = await test.produce(0);
  assert.deepEqual(third, { partition: 1, first: 2, scheduled: [] });
  const given = await test.lease(2);
  assert.equal(given.partition, 0);
  assert.deepEqual(
    leaseIds(given),
    [1, 3].map((seq) => test.queue.ids(0).id(seq)),
  );
});

test("an id tells the partition that it is of, here and on another thread", async (t) => {
  const storage = new MemoryStorage({ name: "a" });
  const { queue } = await TestQueue.open(t, { storages: [storage, storage] });
  const prefixes = [0, 1].map((partition) => queue.ids(partition).prefix);
  const remote = new RemoteQueue("q", prefixes, undefined as never);
  for (const each of [queue, remote]) {
    assert.equal(each.partitionCount, 2);
    const made: readonly [IdSpace, IdSpace] = [each.ids(0), each.ids(1)];
    for (const [partition, ids] of made.entries()) {
      assert.equal(each.partitionOf(ids.id(7)), partition);
      assert.equal(each.partitionOf(`${ids.prefix}00000000_`), -1);
      assert.equal(each.partitionOf(ids.prefix), -1);
    }
    assert.equal(each.partitionOf(`${"B".repeat(18)}000000001`), -1);
    assert.equal(each.partitionOf(""), -1);
  }
});

test("with each, what can be completed is, and every refusal says why", async (t) => {
  const { test, queue, a, b, wrong } = await world(t);
  const ids = [a, ...Object.values(wrong), a, b];
  const result = await queue.submit(
    new CompleteRequest(0, ids, test.deadline, { together: "each" }),
  );
  assert.deepEqual(codes(result), REFUSALS);
  assert.deepEqual(result.dead, []);
  assert.equal(result.refused[5]!.error.message, `lease has ended; '${a}' holds nothing any more`);
  assert.equal(await leased(test), 0);
});

test("with each, what can be given back is, and what dies of it is told beside the refusals", async (t) => {
  const { test, queue, a, b, wrong } = await world(t);
  const items = [a, ...Object.values(wrong), a, b].map((id) => {
    return { id, retryAt: 0, dead: id === b };
  });
  const request = new RetryRequest(0, items, test.deadline, { together: "each" });
  const result = await queue.submit(request);
  assert.deepEqual(codes(result), REFUSALS);
  assert.deepEqual(result.dead, [7]);
  assert.equal(await leased(test), 0);
  assert.equal((await test.lease(10)).items.length, 2); // a, and what waited
});

test("listed answers all refusals and changes nothing", async (t) => {
  const { test, queue, a, b, wrong } = await world(t);
  const ids = [a, ...Object.values(wrong), a, b];
  const complete = await queue.submit(
    new CompleteRequest(0, ids, test.deadline, { together: "listed" }),
  );
  assert.deepEqual(codes(complete), REFUSALS);
  const items = ids.map((id) => ({ id, retryAt: 0, dead: true }));
  const retry = new RetryRequest(0, items, test.deadline, { together: "listed" });
  const given = await queue.submit(retry);
  assert.deepEqual([codes(given), given.dead], [REFUSALS, []]);
  assert.equal(await leased(test), 2);
  const whole = new CompleteRequest(0, [a, b], test.deadline, { together: "listed" });
  assert.equal(await queue.submit(whole), NO_OUTCOMES);
  assert.equal(await leased(test), 0);
});

const MODES: readonly Together[] = ["all", "each", "listed"];
for (const together of MODES) {
  test(`where nothing is refused there is nothing to say (${together})`, async (t) => {
    const { test, queue, a, b } = await world(t);
    const complete = new CompleteRequest(0, [a], test.deadline, { together });
    assert.equal(await queue.submit(complete), NO_OUTCOMES);
    const items = [{ id: b, retryAt: 0, dead: false }];
    const retry = new RetryRequest(0, items, test.deadline, { together });
    assert.equal(await queue.submit(retry), NO_OUTCOMES);
  });
}

test("a lease id of no partition is refused as one that no item has, or as no id", () => {
  assert.equal(unknownLease("x").code, "invalid_field");
  assert.equal(unknownLease(`${"B".repeat(18)}000000001`).code, "item_not_found");
});

test("shared leases of one client wait side by side, and each can be given up", async (t) => {
  const test = await TestQueue.open(t, {});
  const { queue } = test;
  const make = (): LeaseRequest =>
    new LeaseRequest("c", 1, test.clock.steady() + 5 * SECOND, { isShared: true });
  const requests = [make(), make(), make()] as const;
  const answers = requests.map((request) => queue.submit(request));
  const alone = (): Promise<unknown> => queue.submit(new LeaseRequest("c", 1, test.deadline));
  const waits = alone();
  await assert.rejects(alone(), { code: "duplicate_client" });
  queue.cancel(requests[1]);
  await assert.rejects(answers[1]!, { code: "client_gone" });
  await test.produce(0, 0, 0);
  const items = await Promise.all([answers[0]!, answers[2]!, waits]);
  assert.equal(items.length, 3);
  assert.equal(queue.loop.counts.lease, 0);
});

test("a mailbox counts shared leases as it does others", () => {
  const all = { leases: 0 };
  const mailbox = new Mailbox({ ...DEFAULT_LIMITS, waitingLeases: 2 }, all);
  const make = (): LeaseRequest => {
    const request = new LeaseRequest("c", 3, 1, { isShared: true });
    request.promise.catch(() => undefined);
    return request;
  };
  assert.deepEqual(
    [make(), make(), make()].map((request) => mailbox.add(request)),
    [true, true, false],
  );
  assert.deepEqual([mailbox.demand, all.leases], [6, 2]);
  mailbox.sweep(1);
  assert.deepEqual([mailbox.demand, all.leases, mailbox.waiting.size], [0, 0, 0]);
});
