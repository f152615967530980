// What an extension of a lease promises: the item is nobody else's before its new deadline, whatever
// becomes of the others of its lease, of the wall clock and of the server.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as fc from "fast-check";
import { HOUR, MILLISECOND, SECOND, VirtualClock } from "../../src/clock.ts";
import { CompleteRequest, ExtendRequest, RetryRequest } from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { openSqliteStorage } from "../../src/storage/sqlite/sqlite.ts";
import { ItemRecord, type LeaseMark, type Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { TestQueue } from "../support/queue.ts";
import { temporaryDirectory } from "../support/server.ts";

const LEASE = 60 * SECOND;

interface World {
  readonly test: TestQueue;
  readonly clock: VirtualClock;
  readonly storage: FaultyStorage;
}

async function start(t: TestContext, inner: Storage = memory()): Promise<World> {
  const clock = new VirtualClock();
  const storage = new FaultyStorage(inner);
  const rules = { leaseTimeout: LEASE, expireTimeout: 100 * HOUR };
  return {
    clock,
    storage,
    test: await TestQueue.open(t, { storages: [storage.storage], clock, rules }),
  };
}

const memory = (): Storage => new MemoryStorage({ name: "a" });

/** By number, in order: the deadline of what is leased, from now, and how often it has been leased. */
async function held({ test, clock }: Pick<World, "test" | "clock">) {
  const items = await test.items();
  return items
    .filter(({ isLeased }) => isLeased)
    .map(({ seq, leaseDeadline, attempts }) => [seq, leaseDeadline - clock.now(), attempts]);
}

async function marks({ storage }: World): Promise<readonly LeaseMark[]> {
  const { leases } = await storage.storage.loadPartition(1);
  return leases.toSorted((a, b) => a.first - b.first);
}

const STORAGES: readonly (readonly [name: string, make: (t: TestContext) => Promise<Storage>])[] = [
  ["memory", async () => memory()],
  ["sqlite", (t) => openSqliteStorage({ name: "a", dir: temporaryDirectory(t) })],
];

for (const [name, make] of STORAGES) {
  test(`an extended item stays while the others of its lease come back (${name})`, async (t) => {
    const world = await start(t, await make(t));
    const { test, clock } = world;
    const [, second] = (await test.leased(3)) as [string, string, string];
    const { deadlines, refused } = await test.extend([second, 3 * LEASE]);
    assert.deepEqual([deadlines, refused], [[clock.now() + 3 * LEASE], []]);
    clock.advance(LEASE + 1);
    assert.equal((await test.leaseNow(10)).length, 2);
    clock.advance(2 * LEASE - 1);
    assert.equal((await test.leaseNow(10)).length, 2); // those two, and still not the other
    clock.advance(1);
    assert.equal((await test.leaseNow(10)).length, 1);
  });

  test(`a restart finds every lease as it was extended (${name})`, async (t) => {
    let { test, clock, storage } = await start(t, await make(t));
    const ids = await test.leased(6);
    const [a, b, c, d, , f] = ids as [string, string, string, string, string, string];
    await test.extend([a, 100 * SECOND], [b, 100 * SECOND], [d, 200 * SECOND]);
    await test.extend([b, 20 * SECOND], [c, 300 * SECOND], [f, HOUR]);
    await test.extend([a, 400 * SECOND]);
    const expected = [
      [1, 400 * SECOND, 1],
      [2, 20 * SECOND, 1],
      [3, 300 * SECOND, 1],
      [4, 200 * SECOND, 1],
      [5, LEASE, 1],
      [6, HOUR, 1],
    ];
    assert.deepEqual(await held({ test, clock }), expected);
    test = await test.reopened();
    assert.deepEqual(await held({ test, clock }), expected);
    await test.extend([b, 500 * SECOND], [a, SECOND]);
    test = await test.reopened();
    expected[0] = [1, SECOND, 1];
    expected[1] = [2, 500 * SECOND, 1];
    assert.deepEqual(await held({ test, clock }), expected);
    await test.queue.submit(new CompleteRequest(0, ids, test.deadline));
    assert.deepEqual(await marks({ test, clock, storage }), []);
  });
}

test("a restart keeps the extension of what was leased as it was produced, and of what was imported as leased", async (t) => {
  const world = await start(t);
  const { clock } = world;
  let { test } = world;
  const lease = test.lease(2);
  await test.produce(0, 0); // written as leased
  const { ids, items } = await lease;
  const record = new ItemRecord("", Buffer.from("b"));
  const base = { sourceId: "", expireAt: 0, dueAt: 0, maxAttempts: 0, record };
  await test.queue.import(
    0,
    [true, false, true, true].map((isLeased) => {
      return { ...base, isLeased, leaseDeadline: 0, attempts: isLeased ? 3 : 0 };
    }),
  );
  const all = [...items.map(({ seq }) => seq), 3, 5, 6].map((seq) => ids.id(seq));
  const given = await test.extend(...all.map((id) => [id, 2 * LEASE] as const));
  assert.deepEqual(given.refused, []);
  const expected = [
    [1, 2 * LEASE, 1],
    [2, 2 * LEASE, 1],
    [3, 2 * LEASE, 3],
    [5, 2 * LEASE, 3],
    [6, 2 * LEASE, 3],
  ];
  assert.deepEqual(await held({ test, clock }), expected);
  assert.deepEqual(
    (await marks(world)).map(({ first, last }) => [first, last]),
    [
      [1, 3],
      [5, 6],
    ],
  );
  test = await test.reopened();
  assert.deepEqual(await held({ test, clock }), expected);
  clock.advance(LEASE + 1);
  assert.deepEqual(await test.leaseNow(10), [ids.id(4)]);
});

test("an extension may be shorter than what is left, and takes nothing from the others", async (t) => {
  const world = await start(t);
  const { test, clock } = world;
  const [first] = (await test.leased(2)) as [string, string];
  await test.extend([first, SECOND]);
  clock.advance(SECOND + 1);
  assert.equal((await test.leaseNow(10)).length, 1);
  clock.advance(LEASE - 2 * SECOND - 1);
  assert.equal((await test.leaseNow(10)).length, 0);
});

test("a time out of bounds is taken as the bound, and the answer tells", async (t) => {
  const { test, clock } = await start(t);
  const [a, b] = (await test.leased(2)) as [string, string];
  const { deadlines } = await test.extend([a, -5], [b, 13 * HOUR]);
  assert.deepEqual(
    deadlines.map((at) => at - clock.now()),
    [MILLISECOND, 12 * HOUR],
  );
});

test("items extended together share one mark, and no mark outlives what it holds", async (t) => {
  const world = await start(t);
  const { test } = world;
  const ids = await test.leased(8);
  const extend = (...which: readonly number[]): Promise<unknown> =>
    test.extend(...which.map((i) => [ids[i]!, 2 * LEASE] as const));
  const ranges = async () =>
    (await marks(world)).map(({ first, last, extendedAt }) => [first, last, extendedAt !== 0]);
  await extend(2, 1, 3, 6);
  assert.deepEqual(await ranges(), [
    [1, 8, false],
    [2, 4, true],
    [7, 7, true],
  ]);
  await extend(0); // the first of its mark, which begins later from now on
  assert.deepEqual(await ranges(), [
    [1, 1, true],
    [2, 4, true],
    [5, 8, false],
    [7, 7, true],
  ]);
  await extend(0, 1, 2, 3, 4, 5, 6, 7);
  assert.deepEqual(await ranges(), [[1, 8, true]]);
});

test("an extension is answered when it is durable", async (t) => {
  const { test, storage } = await start(t);
  const [id] = (await test.leased(1)) as [string];
  storage.next("commit", "wait");
  let isAnswered = false;
  const extended = test.extend([id, 2 * LEASE]).then((answer) => {
    isAnswered = true;
    return answer;
  });
  await storage.waits();
  assert.equal(isAnswered, false);
  const written = storage.commits.at(-1)!.flatMap(({ leases }) => leases);
  storage.release();
  const { deadlines } = await extended;
  assert.deepEqual(
    written.map(({ deadline }) => deadline),
    deadlines,
  );
});

test("an extension whose commit fails has not happened; one whose reply is lost may have", async (t) => {
  let { test, clock, storage } = await start(t);
  const [id] = (await test.leased(1)) as [string];
  storage.next("commit", "fail");
  await assert.rejects(test.extend([id, 2 * LEASE]), { code: "storage_unavailable" });
  test = await test.reopened();
  assert.deepEqual(await held({ test, clock }), [[1, LEASE, 1]]);
  storage.next("commit", "lose-reply");
  await assert.rejects(test.extend([id, 2 * LEASE]), { code: "storage_unavailable" });
  test = await test.reopened();
  assert.deepEqual(await held({ test, clock }), [[1, 2 * LEASE, 1]]);
});

test("what ends a lease in the same turn goes before its extension, and nothing ends it after", async (t) => {
  const { test, clock, storage } = await start(t);
  const [a, b, c] = (await test.leased(3)) as [string, string, string];
  storage.next("commit", "wait");
  const first = test.produce(0);
  await storage.waits();
  const extended = test.extend([a, 2 * LEASE], [b, 2 * LEASE], [c, 2 * LEASE]);
  const completed = test.queue.submit(new CompleteRequest(0, [a], test.deadline));
  const back = { id: b, retryAt: 0, dead: false };
  const retried = test.queue.submit(new RetryRequest(0, [back], test.deadline));
  clock.advance(LEASE + 1); // the lease of c is over when the turn begins: it is extended all the same
  storage.release();
  await Promise.all([first, completed, retried]);
  const { refused } = await extended;
  assert.deepEqual(
    refused.map(({ index, error }) => [index, error.code]),
    [
      [0, "lease_ended"],
      [1, "lease_ended"],
    ],
  );
  assert.deepEqual(await held({ test, clock }), [[3, 2 * LEASE, 1]]);
});

test("listed extends all or tells of each why not", async (t) => {
  const world = await start(t);
  const { test, clock } = world;
  const ids = await test.leased(2);
  const extend = (...which: readonly string[]) => {
    const items = which.map((id) => ({ id, for: 2 * LEASE }));
    return test.queue.submit(new ExtendRequest(0, items, test.deadline, "listed"));
  };
  const refused = await extend(ids[0]!, "x", test.queue.ids(0).id(9), ids[1]!);
  assert.deepEqual(refused.deadlines, []);
  assert.deepEqual(
    refused.refused.map(({ index, error }) => [index, error.code]),
    [
      [1, "invalid_field"],
      [2, "item_not_found"],
    ],
  );
  assert.deepEqual(await held(world), [
    [1, LEASE, 1],
    [2, LEASE, 1],
  ]);
  const done = await extend(...ids);
  assert.deepEqual(done, { deadlines: ids.map(() => clock.now() + 2 * LEASE), refused: [] });
});

test("the later extension stands though the wall clock was set back between the two, also after a restart", async (t) => {
  let { test, clock } = await start(t);
  const [first, second] = (await test.leased(3)) as [string, string, string];
  await test.extend([first, HOUR], [second, HOUR]); // under one mark
  clock.step(-10 * SECOND);
  const { deadlines } = await test.extend([second, 100 * SECOND]);
  test = await test.reopened();
  const { leaseDeadline } = (await test.items())[1]!;
  assert.deepEqual(deadlines, [leaseDeadline]);
});

test("an extended lease holds for its whole time though the wall clock is set forward", async (t) => {
  const { test, clock } = await start(t);
  const [id] = (await test.leased(1)) as [string];
  clock.advance(SECOND);
  await test.extend([id, 100 * SECOND]);
  clock.step(HOUR);
  assert.deepEqual(await test.leaseNow(1), []);
  clock.advance(99 * SECOND);
  assert.deepEqual(await test.leaseNow(1), []);
  clock.advance(SECOND + 1);
  assert.equal((await test.leaseNow(1)).length, 1);
});

// --- any order of things ---

type Step =
  | { readonly kind: "lease"; readonly count: number; readonly waits: boolean }
  | { readonly kind: "extend"; readonly picks: readonly number[]; readonly seconds: number }
  | { readonly kind: "end"; readonly picks: readonly number[]; readonly completes: boolean }
  | { readonly kind: "advance"; readonly seconds: number }
  | { readonly kind: "reopen" };

const picks = fc.array(fc.nat(11), { minLength: 1, maxLength: 5 });
const kind = <K extends Step["kind"]>(name: K): fc.Arbitrary<K> => fc.constant(name);
const STEPS: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind("lease"),
      count: fc.integer({ min: 1, max: 5 }),
      waits: fc.boolean(),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: kind("extend"),
      picks,
      seconds: fc.constantFrom(1, 30, 90, 90, 200),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind("end"), picks, completes: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: kind("advance"), seconds: fc.constantFrom(2, 31, 61) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind("reopen") }) },
);

test("whatever is leased, extended, ended and restarted, each lease has its last deadline and no mark is left over", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEPS, { minLength: 5, maxLength: 40 }), async (steps) => {
      const world = await start(t);
      let { test } = world;
      const { clock } = world;
      // By lease id.
      const deadlines = new Map<string, number>();
      const pick = (which: readonly number[]): readonly string[] => {
        const ids = [...deadlines.keys()];
        return [...new Set(which.flatMap((i) => ids[i % Math.max(ids.length, 1)] ?? []))];
      };
      for (const step of steps) {
        switch (step.kind) {
          case "lease": {
            const zeros = Array.from({ length: step.count }, () => 0);
            if (!step.waits) await test.produce(...zeros);
            const lease = test.lease(step.count);
            if (step.waits) await test.produce(...zeros);
            const { ids, items, deadline } = await lease;
            for (const { seq } of items) deadlines.set(ids.id(seq), deadline);
            break;
          }
          case "extend": {
            const ids = pick(step.picks);
            if (ids.length === 0) break;
            const duration = step.seconds * SECOND;
            const given = await test.extend(...ids.map((id) => [id, duration] as const));
            assert.deepEqual(given.refused, []);
            for (const [i, id] of ids.entries()) {
              assert.equal(given.deadlines[i], clock.now() + duration);
              deadlines.set(id, clock.now() + duration);
            }
            break;
          }
          case "end": {
            const ids = pick(step.picks);
            if (ids.length === 0) break;
            const items = ids.map((id) => ({ id, retryAt: 0, dead: false }));
            const request = step.completes
              ? new CompleteRequest(0, ids, test.deadline)
              : new RetryRequest(0, items, test.deadline);
            await test.queue.submit(request);
            for (const id of ids) deadlines.delete(id);
            break;
          }
          case "advance":
            clock.advance(step.seconds * SECOND);
            await test.settled();
            for (const [id, at] of deadlines) if (at < clock.now()) deadlines.delete(id);
            break;
          case "reopen":
            test = await test.reopened();
        }
        const leased = (await test.items()).filter(({ isLeased }) => isLeased);
        const seen = leased.map(({ id, leaseDeadline }) => [id, leaseDeadline] as const);
        const expected = [...deadlines].sort(([a], [b]) => (a < b ? -1 : 1));
        assert.deepEqual(seen, expected);
      }
      const ids = [...deadlines.keys()];
      if (ids.length > 0) await test.queue.submit(new CompleteRequest(0, ids, test.deadline));
      assert.deepEqual(await marks(world), []);
    }),
    { numRuns: 120 },
  );
});
