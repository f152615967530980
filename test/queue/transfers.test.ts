// Items move from one queue into another, whatever for: each is in one of both, whole, at any failure.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { VirtualClock } from "../../src/clock.ts";
import { QueueError } from "../../src/errors.ts";
import { Commits } from "../../src/queue/commits.ts";
import { MOVED } from "../../src/queue/history.ts";
import { Mailbox } from "../../src/queue/mailbox.ts";
import { PartitionBatch } from "../../src/queue/partition-batch.ts";
import {
  attributesOf,
  CompleteRequest,
  type Intake,
  type ListedItem,
  NO_OUTCOMES,
} from "../../src/queue/queue.ts";
import {
  DELIVERY,
  DELIVERY_TIMEOUT,
  type Load,
  leadsBack,
  Transfers,
} from "../../src/queue/transfers.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import type { ItemTable, StoredItem } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { leaseIds, TestQueue } from "../support/queue.ts";

const PAGE = { pivot: "", limit: 100 };

/** Two queues, and what moves items from the first into the second. */
class Pair {
  readonly from: TestQueue;
  readonly to: TestQueue;
  readonly storage: FaultyStorage;
  /** That of the second queue. */
  readonly other: FaultyStorage;
  readonly clock: VirtualClock;
  readonly transfers: Transfers;
  /** Resolves when items have arrived at the second queue, whether it takes them or not. */
  readonly arrival: Promise<void>;
  readonly intake: Intake;
  readonly #mailbox: Mailbox;

  private constructor(
    from: TestQueue,
    to: TestQueue,
    [storage, other]: readonly [FaultyStorage, FaultyStorage],
    clock: VirtualClock,
  ) {
    this.from = from;
    this.to = to;
    this.storage = storage;
    this.other = other;
    this.clock = clock;
    const { context } = from.queue.loop;
    this.#mailbox = new Mailbox(context.limits, context.waiting);
    const commits = new Commits("from", this.#mailbox, context, () => undefined);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.arrival = promise;
    const { intake } = to.queue;
    this.intake = {
      name: intake.name,
      storage: intake.storage,
      deliver: (letters, companion) => {
        resolve();
        return intake.deliver(letters, companion);
      },
    };
    this.transfers = new Transfers(context, commits);
  }

  static async open(t: TestContext, isTogether: boolean): Promise<Pair> {
    const storage = new FaultyStorage(new MemoryStorage({ name: "a" }));
    const other = isTogether ? storage : new FaultyStorage(new MemoryStorage({ name: "b" }));
    const clock = new VirtualClock();
    const from = await TestQueue.open(t, { storages: [storage.storage], clock });
    const to = await TestQueue.open(t, { storages: [other.storage], clock });
    return new Pair(from, to, [storage, other], clock);
  }

  get partition() {
    return this.from.queue.loop.partitions[0]!;
  }

  /** The numbers of the items in both queues; of the second those that their originals had. */
  async places(): Promise<readonly [from: number[], to: number[]]> {
    const there = await list(this.to);
    return [
      (await list(this.from)).map(({ seq }) => seq),
      there.map(({ attributes }) => this.partition.ids.seq(attributesOf(attributes).source)),
    ];
  }

  async move(items: readonly StoredItem[], table: ItemTable, load: Load = DELIVERY): Promise<void> {
    const from = new PartitionBatch(this.partition, this.from.clock.now());
    const endings = items.map(() => MOVED);
    await this.transfers.move({
      items,
      endings,
      table,
      from,
      to: this.intake,
      load,
      sets: () => ({}),
    });
  }

  /** Moves with a request that is answered with it. */
  async moveFor(items: readonly StoredItem[], table: ItemTable): Promise<unknown> {
    const request = new CompleteRequest(0, [], this.from.deadline);
    this.#mailbox.add(request);
    const from = new PartitionBatch(this.partition, this.from.clock.now());
    from.requests.push(request);
    const moved = this.transfers.move({
      items,
      endings: items.map(() => MOVED),
      table,
      from,
      to: this.intake,
      load: DELIVERY,
      sets: () => ({}),
    });
    return (await Promise.all([request.promise.catch((error: unknown) => error), moved]))[0];
  }

  /** Items as a storage tells them that is asked for no records. */
  async stored(table: ItemTable): Promise<readonly StoredItem[]> {
    const options = { from: 0, before: 100, limit: 100, bytesMax: 1e9, records: false };
    return this.partition.storage.readItems(this.partition.key, table, options);
  }
}

async function list({ queue }: TestQueue): Promise<readonly ListedItem[]> {
  const pages = [
    queue.list(0, { table: "items", ...PAGE }),
    queue.list(0, { table: "scheduled", ...PAGE }),
  ];
  return (await Promise.all(pages)).flat();
}

for (const isTogether of [true, false]) {
  describe(isTogether ? "within a storage" : "from one storage to another", () => {
    test("as many items move as the load allows, in order, and the rest stays", async (t) => {
      const pair = await Pair.open(t, isTogether);
      await pair.from.produce(0, 0, 0, 0);
      await pair.move(await pair.stored("items"), "items", { ...DELIVERY, items: 3 });
      assert.deepEqual(await pair.places(), [[4], [1, 2, 3]]);
      await pair.move(await pair.stored("items"), "items", { ...DELIVERY, bytes: 1 });
      assert.deepEqual(await pair.places(), [[], [1, 2, 3, 4]]);
      for (const { record } of await list(pair.to)) assert.equal(record.payload.toString(), "a");
    });

    test("an item moves whether it waits, is leased or is scheduled, and can be leased there", async (t) => {
      const pair = await Pair.open(t, isTogether);
      const { clock } = pair;
      const ids = await pair.from.leased(2);
      await pair.from.produce(0, clock.now() + 1e9);
      await pair.move((await pair.stored("items")).slice(1), "items");
      await pair.move(await pair.stored("scheduled"), "scheduled");
      assert.deepEqual(await pair.places(), [[1], [2, 3, 4]]);
      assert.equal(leaseIds(await pair.to.lease(10)).length, 3);
      // What stayed is held by the lease that it was held by, which knows no other any more.
      const complete = new CompleteRequest(0, [ids[1]!], pair.from.deadline);
      await assert.rejects(pair.from.queue.submit(complete), QueueError);
      await pair.from.queue.submit(new CompleteRequest(0, [ids[0]!], pair.from.deadline));
      assert.deepEqual((await pair.places())[0], []);
      const { total, leased, scheduled } = (await pair.from.queue.stats()).partitions[0]!;
      assert.deepEqual([total, leased, scheduled], [0, 0, 0]);
    });

    test("nothing has moved if the other queue does not take it in time, and nothing is sent for a while", async (t) => {
      const pair = await Pair.open(t, isTogether);
      const { clock } = pair;
      await pair.from.produce(0);
      await pair.to.queue.pause();
      const moved = pair.moveFor(await pair.stored("items"), "items");
      await pair.arrival;
      clock.advance(DELIVERY_TIMEOUT + 1);
      assert.match(String(await moved), /busy, try again/);
      assert.ok(pair.transfers.restsUntil > clock.steady());
      await pair.to.queue.resume();
      assert.deepEqual(await pair.places(), [[1], []]);
      clock.advance(1e6);
      assert.equal(pair.transfers.restsUntil, 0);
      assert.equal(await pair.moveFor(await pair.stored("items"), "items"), NO_OUTCOMES);
      assert.deepEqual(await pair.places(), [[], [1]]);
    });

    test("nothing has moved if the other queue cannot look it up, and its own partition is trusted as before", async (t) => {
      const pair = await Pair.open(t, isTogether);
      await pair.from.produce(0);
      const items = await pair.stored("items");
      pair.other.next("findKeys", "fail");
      const { code, kind } = (await pair.moveFor(items, "items")) as QueueError;
      assert.deepEqual([code, kind], ["storage_unavailable", "retry"]);
      assert.deepEqual([pair.partition.stale, pair.partition.failures], [false, 0]);
      assert.ok(pair.transfers.restsUntil > 0);
      assert.deepEqual(await pair.places(), [[1], []]);
      assert.equal(await pair.moveFor(items, "items"), NO_OUTCOMES);
      assert.deepEqual(await pair.places(), [[], [1]]);
    });

    test("an item is not there twice if its removal fails, and is done again", async (t) => {
      const pair = await Pair.open(t, isTogether);
      await pair.from.produce(0, 0);
      const items = await pair.stored("items");
      pair.storage.next("commit", "fail");
      const { code } = (await pair.moveFor(items, "items")) as QueueError;
      assert.equal(code, "storage_unavailable");
      pair.clock.advance(1e7);
      await pair.from.queue.reload();
      await pair.to.queue.reload();
      const before = await pair.places();
      assert.deepEqual(before, [[1, 2], isTogether ? [] : [1, 2]]);
      assert.equal(await pair.moveFor(items, "items"), NO_OUTCOMES);
      assert.deepEqual(await pair.places(), [[], [1, 2]]);
    });
  });
}

test("who waits for a ring of others does not wait for itself", () => {
  const chain = Array.from({ length: 9 }, (): { sendsTo?: Intake } => ({})) as Intake[];
  const link = (i: number, to: number): void => {
    (chain[i] as { sendsTo?: Intake }).sendsTo = chain[to]!;
  };
  for (let i = 0; i < 7; i++) link(i, i + 1);
  assert.equal(leadsBack(chain[0]!, chain[7]!), true);
  assert.equal(leadsBack(chain[0]!, chain[8]!), false);
  for (let back = 0; back < 8; back++) {
    link(7, back);
    assert.equal(leadsBack(chain[0]!, chain[8]!), false, `back to ${back}`);
    assert.equal(leadsBack(chain[0]!, chain[7]!), true);
  }
});
