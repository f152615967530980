// What an item costs in writes, counted as storage is given them: a queue that uses nothing new writes what it always
// has, and each feature adds what it is documented to add, and no more. docs/PERFORMANCE.md shows the same figures.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { setup, type TestServer } from "../support/server.ts";
import { type Driver, freshPlace } from "../support/storages.ts";
import { type Writes, writesOf } from "../support/writes.ts";

const queue_name = "q";

type Json = Readonly<Record<string, unknown>>;

interface Feature {
  readonly settings?: Json;
  /** Of each item, by its number. */
  item?(index: number): Json;
  /** Of each lease that is completed. */
  readonly lease?: Json;
  /** Of the complete of so many. */
  complete?(count: number): Json;
  /** Between lease and complete. */
  meanwhile?(server: TestServer, leases: readonly Json[]): Promise<unknown>;
  /** Beyond what a plain item costs, or in place of it. */
  readonly alone: Writes;
  readonly ofTen: Writes;
}

// The item is written three times; the mark of its lease is removed with it. Up to 1,000 items share an expiry.
const PLAIN = { commits: 3, adds: 1, addsExpiry: 1, leases: 1, releases: 1, removes: 1 } as const;
const TEN = { ...PLAIN, adds: 10 } as const;

const FEATURES: Readonly<Record<string, Feature>> = {
  "a plain item": { alone: {}, ofTen: {} },
  "an item with a kind, headers and a reference": {
    item: () => ({ kind: "k", reference: "r", headers: { a: "b" } }),
    alone: {},
    ofTen: {},
  },
  "an item of a queue that keeps nothing, with a result": {
    settings: { keep_completed: "0s", keep_max: 10, keep_payload: true },
    lease: { result: { a: 1 } },
    alone: {},
    ofTen: {},
  },
  "an item of a queue with a retry policy and a dead queue": {
    settings: { retry: { delay: "1m" }, max_attempts: 3, dead_queue: "next" },
    alone: {},
    ofTen: {},
  },
  "an item with a unique key": {
    item: (index) => ({ unique_key: `key-${index}` }),
    alone: { addsKey: 1, removesKey: 1 },
    ofTen: { addsKey: 10, removesKey: 10 },
  },
  "an item that is kept with its result": {
    settings: { keep_completed: "1h" },
    lease: { result: { a: 1 } },
    alone: { addsKey: 1 },
    ofTen: { addsKey: 10 },
  },
  "an item whose lease is extended once": {
    meanwhile: (server, leases) =>
      server.ok("/v2/queue.extend", {
        queue_name,
        leases: leases.map((lease) => ({ ...lease, for: "10m" })),
      }),
    alone: { commits: 4, leases: 2, releases: 2 },
    ofTen: { commits: 4, leases: 2, releases: 2 },
  },
  "an item that is completed with the next one of its queue": {
    complete: (count) => ({ produce: [{ items: Array(count).fill({ utf8: "next" }) }] }),
    alone: { adds: 2 },
    ofTen: { adds: 20 },
  },
  "an item that is completed with the next one of another queue": {
    complete: (count) => ({
      produce: [{ queue_name: "next", items: Array(count).fill({ utf8: "next" }) }],
    }),
    alone: { adds: 2, addsExpiry: 2 },
    ofTen: { adds: 20, addsExpiry: 2 },
  },
};

// Produces, leases and completes so many items together; answers all that was written for them.
async function written(
  t: TestContext,
  driver: Driver,
  { settings, item, lease, complete, meanwhile }: Feature,
  count: number,
): Promise<Writes> {
  const storages: FaultyStorage[] = [];
  const server = await setup(t, await freshPlace(t, driver), {
    wrapStorage: (inner) => {
      storages.push(new FaultyStorage(inner));
      return storages.at(-1)!.storage;
    },
  });
  await server.ok("/v2/queues.create", { queue_name: "next" });
  await server.ok("/v2/queues.create", { queue_name, ...settings });
  const before = storages.map(({ commits }) => commits.length);
  const items = Array.from({ length: count }, (_, i) => ({ utf8: `${i}`, ...item?.(i) }));
  await server.ok("/v2/queue.produce", { queue_name, items });
  const leased = await server.ok("/v2/queue.lease", { queue_name, batch_size: count });
  const leases: Json[] = leased.items.map(({ lease_id }: Json) => ({ lease_id }));
  assert.equal(leases.length, count);
  await meanwhile?.(server, leases);
  await server.ok("/v2/queue.complete", {
    queue_name,
    leases: leases.map((each) => ({ ...each, ...lease })),
    ...complete?.(count),
  });
  return writesOf(storages.flatMap(({ commits }, i) => commits.slice(before[i])));
}

for (const driver of ["memory", "sqlite"] as const) {
  describe(`what is written on ${driver}`, () => {
    for (const [name, feature] of Object.entries(FEATURES)) {
      test(`for ${name}`, async (t) => {
        assert.deepEqual(await written(t, driver, feature, 1), { ...PLAIN, ...feature.alone });
        assert.deepEqual(await written(t, driver, feature, 10), { ...TEN, ...feature.ofTen });
      });
    }
  });
}

test("what is written for an item that is there already: a commit, and nothing of it", async (t) => {
  const storage: { commits: FaultyStorage["commits"] }[] = [];
  const server = await setup(
    t,
    {},
    {
      wrapStorage: (inner) => {
        const faulty = new FaultyStorage(inner);
        storage.push(faulty);
        return faulty.storage;
      },
    },
  );
  await server.ok("/v2/queues.create", { queue_name });
  const items = [{ utf8: "a", unique_key: "k" }];
  await server.ok("/v2/queue.produce", { queue_name, items });
  const { commits } = storage[0]!;
  const before = commits.length;
  const { results } = await server.ok("/v2/queue.produce", { queue_name, items });
  assert.equal(results[0].status, "duplicate");
  assert.deepEqual(writesOf(commits.slice(before)), { commits: 1 });
});
