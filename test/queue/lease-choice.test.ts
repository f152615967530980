// Leases that say more than how many: for how long, and of which kinds. What they pass over keeps its place, and
// what they hold is theirs as any lease is, whatever lies around it, also after a restart.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { MINUTE, SECOND, VirtualClock } from "../../src/clock.ts";
import {
  CompleteRequest,
  Item,
  LeaseRequest,
  ProduceRequest,
  RetryRequest,
} from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { TestQueue } from "../support/queue.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const queue_name = "q";

type Json = Readonly<Record<string, unknown>>;

interface Leased {
  readonly lease_id: string;
  readonly utf8: string;
  readonly kind?: string;
  readonly lease_deadline: string;
}

function lease(server: TestServer, more: Json): Promise<readonly Leased[]> {
  const request = { queue_name, request_timeout: "10s", ...more };
  return server.ok("/v2/queue.lease", request).then(({ items }) => items);
}

/** What waits. While time stands still a lease that finds nothing would wait for ever. */
async function waiting(server: TestServer): Promise<readonly string[]> {
  const request = { queue_name, state: "waiting", payload: true };
  return texts((await server.ok("/v2/items.list", request)).items ?? []);
}

const texts = (items: readonly Leased[]): readonly string[] => items.map(({ utf8 }) => utf8);

// A text names its kind by its first letter.
async function produce(server: TestServer, ...given: readonly string[]): Promise<void> {
  const items = given.map((utf8) => ({ utf8, kind: utf8[0] }));
  await server.ok("/v2/queue.produce", { queue_name, items });
}

for (const [place, driver, threads] of PLACES) {
  describe(`a lease of some kinds on ${place}`, () => {
    test("gets items of these, and what it passes over stays in order", async (t) => {
      const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
      await server.ok("/v2/queues.create", { queue_name });
      await produce(server, "a1", "b1", "c1", "b2", "a2", "c2", "b3");
      const bs = await lease(server, { kinds: ["b"], batch_size: 2 });
      assert.deepEqual(texts(bs), ["b1", "b2"]);
      const some = await lease(server, { kinds: ["x", "c", "a"], batch_size: 3 });
      assert.deepEqual(texts(some), ["a1", "c1", "a2"]);
      assert.deepEqual(texts(await lease(server, { kinds: ["a"], request_timeout: "10ms" })), []);
      const rest = await lease(server, { batch_size: 9 });
      assert.deepEqual(texts(rest), ["c2", "b3"]);
      const leases = [...bs, ...some, ...rest].map(({ lease_id }) => ({ lease_id }));
      const done = await server.ok("/v2/queue.complete", { queue_name, leases });
      assert.equal(done.failed, undefined);
    });

    test("holds them after a restart until its deadline, and then they come back", async (t) => {
      if (driver === "memory") return;
      const options = await freshPlace(t, driver);
      const first = await setup(t, { threads, ...options });
      const { now } = await first.advance("0s");
      await first.ok("/v2/queues.create", { queue_name, lease_timeout: "1m" });
      await produce(first, "a1", "b1", "b2", "a2", "b3", "a3");
      const bs = await lease(first, { kinds: ["b"], batch_size: 9, lease_timeout: "5m" });
      const [a1] = await lease(first, { batch_size: 1 });
      await first.ok("/v2/queue.complete", { queue_name, leases: [{ lease_id: bs[1]!.lease_id }] });
      await first.server.stop();

      const second = await setup(t, { threads, ...options });
      await second.ok("dev.clock", { now });
      assert.deepEqual(texts(await lease(second, { batch_size: 9 })), ["a2", "a3"]);
      assert.deepEqual(await waiting(second), []);
      const leases = [{ lease_id: bs[0]!.lease_id }, { lease_id: a1!.lease_id }];
      const done = await second.ok("/v2/queue.complete", { queue_name, leases });
      assert.equal(done.failed, undefined);
      await second.advance("4m");
      await second.until(async () => (await waiting(second)).length === 2);
      await second.advance("2m");
      await second.until(async () => (await waiting(second)).length === 3);
      assert.deepEqual(texts(await lease(second, { kinds: ["b"] })), ["b3"]);
    });
  });

  test(`each lease lasts as long as it says, or as its queue does (${place})`, async (t) => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    const { now } = await server.advance("0s");
    await server.ok("/v2/queues.create", { queue_name, lease_timeout: "1m" });
    // All three are dealt to at once.
    const asked = Promise.all(
      [{}, { lease_timeout: "10s" }, { lease_timeout: "12h" }].map((more) =>
        lease(server, { batch_size: 2, ...more }),
      ),
    );
    await server.until(async () => (await server.stats("q")).lease_waiting === 3);
    await produce(server, "a", "b", "c", "d", "e", "f");
    const dealt = await asked;
    const left = dealt.map((items) =>
      items.map((item) => (Date.parse(item.lease_deadline) - Date.parse(now)) / 1_000),
    );
    assert.deepEqual(left, [
      [60, 60],
      [10, 10],
      [43_200, 43_200],
    ]);
    await server.advance("11s");
    await server.until(async () => (await waiting(server)).length === 2);
    const short = await lease(server, { batch_size: 9, lease_timeout: "1h" });
    assert.deepEqual(texts(short).toSorted(), texts(dealt[1]!).toSorted());
    await server.advance("50s");
    await server.until(async () => (await waiting(server)).length === 2);
    const usual = await lease(server, { batch_size: 9 });
    assert.deepEqual(texts(usual).toSorted(), texts(dealt[0]!).toSorted());
  });
}

test("what is wrong with a lease is told by its field", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const WRONG: readonly (readonly [Json, string])[] = [
    [{ lease_timeout: "9ms" }, "lease_timeout"],
    [{ lease_timeout: "13h" }, "lease_timeout"],
    [{ lease_timeout: "long" }, "lease_timeout"],
    [{ kinds: new Array(17).fill("a") }, "kinds"],
    [{ kinds: ["a", ""] }, "kinds[1]"],
    [{ kinds: ["ä".repeat(129)] }, "kinds[0]"],
  ];
  for (const [more, field] of WRONG) {
    const { status, body } = await server.call("/v2/queue.lease", { queue_name, ...more });
    assert.deepEqual([status, body.field], [400, field]);
  }
});

test("a kind is told by nothing that only looks like it", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const items = [
    { utf8: "1", kind: "aa" },
    { utf8: "2", encoding: '"kind":"a"', reference: '","kind":"a"' },
    { utf8: "3", headers: { kind: "a" } },
    { utf8: "4", kind: "A" },
    { utf8: "5", encoding: "x", kind: "a", reference: "y", headers: { h: "z" } },
    { utf8: "6", kind: 'a"ä\n' },
  ];
  await server.ok("/v2/queue.produce", { queue_name, items });
  assert.deepEqual(texts(await lease(server, { kinds: ["a"], batch_size: 9 })), ["5"]);
  assert.deepEqual(texts(await lease(server, { kinds: ['a"ä\n'], batch_size: 9 })), ["6"]);
});

test("a lease of a kind that lies behind many others is found, and waits for what comes", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  for (let i = 0; i < 12; i++) {
    await produce(server, ...Array.from({ length: 500 }, (_, n) => `a${i * 500 + n}`));
  }
  await produce(server, "b1");
  assert.deepEqual(texts(await lease(server, { kinds: ["b"] })), ["b1"]);
  const waits = lease(server, { kinds: ["b"] });
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  assert.deepEqual(texts(await lease(server, { batch_size: 2 })), ["a0", "a1"]);
  await produce(server, "a", "b2");
  assert.deepEqual(texts(await waits), ["b2"]);
});

test("neither leases of a kind nor others keep each other waiting", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const waits = async (count: number): Promise<unknown> =>
    server.until(async () => (await server.stats("q")).lease_waiting === count);
  const ask = (more: Json): Promise<readonly Leased[]> => lease(server, more);
  const first = ask({ kinds: ["a"] });
  await waits(1);
  const second = ask({});
  await waits(2);
  const third = ask({ kinds: ["a"] });
  await waits(3);
  for (const [text, request] of [
    ["a1", first],
    ["a2", second],
    ["a3", third],
  ] as const) {
    await produce(server, text);
    assert.deepEqual(texts(await request), [text]);
  }
});

// --- whatever is leased, in whatever order ---

const record = (kind: string): ItemRecord => new ItemRecord(`"kind":"${kind}"`, Buffer.from(kind));

type Step =
  | { readonly does: "produce"; readonly kinds: readonly string[] }
  | {
      readonly does: "lease";
      readonly kinds: readonly string[];
      readonly count: number;
      readonly minutes: number;
    }
  | { readonly does: "complete" | "retry" | "lose"; readonly nth: number }
  | { readonly does: "advance" | "restart" | "fail" };

const kind = fc.constantFrom("a", "b", "c");
const STEP: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    does: fc.constant("produce" as const),
    kinds: fc.array(kind, { minLength: 1, maxLength: 6 }),
  }),
  fc.record({
    does: fc.constant("lease" as const),
    kinds: fc.uniqueArray(kind, { maxLength: 2 }),
    count: fc.integer({ min: 1, max: 4 }),
    minutes: fc.constantFrom(0, 1, 3),
  }),
  fc.record({ does: fc.constantFrom("complete" as const, "retry" as const), nth: fc.nat(20) }),
  fc.record({ does: fc.constantFrom("advance" as const, "restart" as const, "fail" as const) }),
);

test("whatever is asked, an item is leased once at a time, first come first served, and none is lost", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(STEP, { minLength: 5, maxLength: 40 }), async (steps) => {
      const clock = new VirtualClock();
      const storage = new FaultyStorage(new MemoryStorage({ name: "a" }));
      const rules = { leaseTimeout: MINUTE };
      let test = await TestQueue.open(t, { storages: [storage.storage], clock, rules });
      let waiting: string[] = []; // kinds, in order
      const held = new Map<string, { readonly kind: string; readonly until: number }>();
      const pass = async (time: number): Promise<void> => {
        clock.advance(time);
        await test.settled();
        // Of one lease they come back in their order, and its deadline is that of no other.
        for (const [id, { kind: each, until }] of [...held].toSorted(
          ([, a], [, b]) => a.until - b.until,
        )) {
          if (until >= clock.now()) continue;
          held.delete(id);
          waiting.push(each);
        }
      };
      for (const step of steps) {
        await pass(1);
        switch (step.does) {
          case "produce":
            await test.queue.submit(
              new ProduceRequest(
                step.kinds.map((each) => new Item(record(each), 0)),
                test.deadline,
              ),
            );
            waiting.push(...step.kinds);
            break;
          case "lease": {
            const { kinds, count, minutes } = step;
            const request = new LeaseRequest("", count, test.deadline, {
              isShared: true,
              leaseTimeout: minutes * MINUTE,
              kinds: kinds.length === 0 ? undefined : kinds,
            });
            const answer = test.queue.submit(request);
            await test.settled();
            if (!request.settled) test.queue.cancel(request);
            const leased = await answer.catch(() => undefined);
            const got = leased?.records.map(({ payload }) => payload.toString()) ?? [];
            // Of some kinds there may be more beyond the window, for the next lease.
            const wanted = waiting.filter((each) => kinds.length === 0 || kinds.includes(each));
            const least = kinds.length === 0 ? count : 1;
            assert.ok(got.length >= Math.min(wanted.length, least) && got.length <= count);
            const expected = wanted.slice(0, got.length);
            assert.deepEqual(got, expected);
            let left = got.length;
            waiting = waiting.filter(
              (each) => !((kinds.length === 0 || kinds.includes(each)) && left-- > 0),
            );
            for (const [i, { seq }] of leased?.items.entries() ?? []) {
              const id = leased!.ids.id(seq);
              assert.ok(!held.has(id));
              const until = clock.now() + (minutes || 1) * MINUTE;
              held.set(id, { kind: expected[i]!, until });
            }
            break;
          }
          case "complete":
          case "retry": {
            const id = [...held.keys()][step.nth];
            if (id === undefined) break;
            const isRetry = step.does === "retry";
            await test.queue.submit(
              isRetry
                ? new RetryRequest(0, [{ id, retryAt: 0, dead: false }], test.deadline)
                : new CompleteRequest(0, [id], test.deadline),
            );
            if (isRetry) waiting.push(held.get(id)!.kind);
            held.delete(id);
            break;
          }
          case "advance":
            await pass(61 * SECOND);
            break;
          case "restart":
            test = await test.reopened();
            break;
          case "fail": {
            // A lease that comes to nothing: everything is as it was.
            storage.next("commit", "fail");
            const request = new LeaseRequest("", 3, test.deadline, {
              isShared: true,
              kinds: ["b"],
            });
            const answer = test.queue.submit(request).then(
              () => true,
              () => false,
            );
            await test.settled().catch(() => undefined);
            storage.heal();
            if (!request.settled) test.queue.cancel(request);
            assert.equal(await answer, false);
            await pass(SECOND);
            break;
          }
        }
        const items = await test.items();
        assert.equal(items.filter(({ isLeased }) => isLeased).length, held.size);
        assert.equal(items.filter(({ isLeased }) => !isLeased).length, waiting.length);
      }
    }),
    { numRuns: 60 },
  );
});
