import assert from "node:assert/strict";
import { test } from "node:test";
import { changes, item } from "../../test/conformance/storage.ts";
import { DEFAULT_LIMITS } from "../limits.ts";
import { MemoryStorage } from "../storage/memory.ts";
import { ItemRecord, type LeaseMark, NEW_COUNTERS, type StoredItem } from "../storage/storage.ts";
import { Partition } from "./partition.ts";

const mark = (first: number, last: number, deadline: number, extendedAt = 0): LeaseMark => ({
  first,
  last,
  deadline,
  leasedAt: 1,
  extendedAt,
});

/** What a partition reads of items and marks: by number the deadline, the attempts, and the mark. */
async function load(
  head: number,
  items: readonly StoredItem[],
  leases: readonly LeaseMark[],
): Promise<object> {
  const storage = new MemoryStorage({ name: "m" });
  const stored = { queue: "q", number: 0, idPrefix: "x".repeat(18), createdAt: 1 };
  const [key] = (await storage.createPartitions([stored])) as [number];
  const counters = { ...NEW_COUNTERS, head, tail: 100, total: items.length };
  await storage.commit([changes(key, { counters, adds: items, leases })]);
  const partition = new Partition(
    { ...stored, key },
    { storage, limits: DEFAULT_LIMITS, budget: { bytes: 0 } },
  );
  await partition.load(() => ({ now: 5, steady: 5, isStill: true }));
  return Object.fromEntries(
    Array.from(partition.leased.values(), ({ seq, attempts, grant }) => [
      seq,
      [grant!.deadline, attempts, grant!.mark],
    ]),
  );
}

const plain = (...seqs: number[]): StoredItem[] => seqs.map((seq) => item(seq, { attempts: 2 }));
const own = (seq: number, leaseDeadline: number): StoredItem =>
  item(seq, { attempts: 7, leaseDeadline, createdAt: 1, record: new ItemRecord("", Buffer.of()) });

test("an extension stands over the mark with which its items were leased, and counts no attempt", async () => {
  const marks = [mark(1, 4, 50), mark(2, 3, 90, 10)];
  const expected = { 1: [50, 3, 1], 2: [90, 3, 2], 3: [90, 3, 2], 4: [50, 3, 1] };
  assert.deepEqual(await load(5, plain(1, 2, 3, 4), marks), expected);
  assert.deepEqual(await load(5, plain(1, 2, 3, 4), marks.toReversed()), expected);
});

test("an item that only an extension covers was leased all the same", async () => {
  const marks = [mark(1, 1, 90, 10), mark(2, 3, 50)];
  assert.deepEqual(await load(4, plain(1, 2, 3), marks), {
    1: [90, 3, 1],
    2: [50, 3, 2],
    3: [50, 3, 2],
  });
});

test("of several extensions the latest stands, also if it is shorter or begins earlier", async () => {
  const marks = [mark(3, 3, 99, 20), mark(1, 6, 50), mark(2, 4, 60, 30), mark(4, 6, 70, 10)];
  assert.deepEqual(await load(7, plain(1, 2, 3, 4, 5, 6), marks), {
    1: [50, 3, 1],
    2: [60, 3, 2],
    3: [60, 3, 2],
    4: [60, 3, 2],
    5: [70, 3, 4],
    6: [70, 3, 4],
  });
});

test("a deadline of its own stands over the mark of a lease, and an extension over that deadline", async () => {
  const items = [...plain(1), own(2, 77), own(3, 77), ...plain(4)];
  const marks = [mark(1, 4, 50), mark(3, 3, 90, 10)];
  assert.deepEqual(await load(5, items, marks), {
    1: [50, 3, 1],
    2: [77, 7, 0],
    3: [90, 7, 3],
    4: [50, 3, 1],
  });
});

test("imported items that are leased ahead of the head are found under extensions of several, each once", async () => {
  const items = [...plain(1, 2), own(10, 77), own(11, 77), own(12, 77), own(14, 78), ...plain(15)];
  const marks = [
    mark(14, 14, 78),
    mark(10, 12, 90, 10),
    mark(11, 11, 77),
    mark(12, 12, 77),
    mark(1, 1, 50),
  ];
  assert.deepEqual(await load(2, items, marks), {
    1: [50, 3, 1],
    10: [90, 7, 10],
    11: [90, 7, 10],
    12: [90, 7, 10],
    14: [78, 7, 14],
  });
});

test("an item before the head that no mark covers is damage", async () => {
  await assert.rejects(load(3, plain(1, 2), [mark(1, 1, 50)]), /leased without a lease/);
});
