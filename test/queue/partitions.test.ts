// How a queue is spread over partitions, and partitions over storages.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { testSchema } from "../support/postgres.ts";
import { payloads, setup, type TestServer, temporaryDirectory } from "../support/server.ts";
import { type Driver, freshPlace } from "../support/storages.ts";

async function queueIn(driver: Driver, t: TestContext, partitions: number): Promise<TestServer> {
  const server = await setup(t, await freshPlace(t, driver));
  await server.createQueue("q", { requested_partitions: partitions });
  return server;
}

async function totals(server: TestServer, queue = "q"): Promise<number[]> {
  const { partitions } = await server.stats(queue);
  return partitions.map((each: { total?: number }) => each.total ?? 0);
}

const some = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i));

/** Starts a server from a configuration file; `DIR` in the text is a directory of the test's own. */
async function configured(
  t: TestContext,
  yaml: string,
  wrap?: (storage: FaultyStorage, name: string) => void,
): Promise<TestServer> {
  const dir = temporaryDirectory(t);
  const config = join(dir, "querator.yaml");
  writeFileSync(config, yaml.replaceAll("DIR", dir));
  return setup(
    t,
    { config, memory: undefined as never },
    {
      wrapStorage: (inner) => {
        if (wrap === undefined) return inner;
        const faulty = new FaultyStorage(inner);
        wrap(faulty, inner.name);
        return faulty.storage;
      },
    },
  );
}

for (const driver of ["memory", "postgres"] as const) {
  const withQueue = (t: TestContext, partitions: number) => queueIn(driver, t, partitions);
  describe(`partitions (${driver})`, () => {
    test("items go where the fewest wait, first to the first", async (t) => {
      const server = await withQueue(t, 2);
      await server.produce("q", ...some(10));
      await server.produce("q", ...some(11));
      assert.deepEqual(await totals(server), [10, 11]);
      await server.produce("q", "x");
      assert.deepEqual(await totals(server), [11, 11]);
    });

    test("ten requests over ten partitions give each its share", async (t) => {
      const server = await withQueue(t, 10);
      for (let i = 0; i < 10; i++) await server.produce("q", ...some(5));
      assert.deepEqual(await totals(server), Array(10).fill(5));
    });

    test("scheduled items count for where the next ones go", async (t) => {
      const server = await withQueue(t, 2);
      const items = [{ utf8: "later", enqueue_at: "2100-01-01T00:00:00Z" }];
      await server.ok("queue.produce", { queue_name: "q", request_timeout: "1m", items });
      const { partitions } = await server.stats("q");
      assert.deepEqual(
        partitions.map((each: { scheduled?: number }) => each.scheduled ?? 0),
        [1, 0],
      );
    });

    for (const partitions of [1, 5]) {
      test(`ten items are dealt evenly to five leases that wait (${partitions} partitions)`, async (t) => {
        const server = await withQueue(t, partitions);
        await server.ok("dev.pause", { queue_name: "q" });
        const leases = [1, 2, 3, 4, 5].map(() => server.lease("q", 10));
        const produced = server.produce("q", ...some(10));
        await server.until(async () => {
          const { lease_waiting, produce_waiting } = await server.stats("q");
          return lease_waiting === 5 && produce_waiting === 1;
        });
        await server.ok("dev.resume", { queue_name: "q" });
        await produced;
        const counts = (await Promise.all(leases)).map(({ items }) => items.length);
        assert.deepEqual(counts, [2, 2, 2, 2, 2]);
      });
    }

    test("leases are given the partition that holds the most", async (t) => {
      const server = await withQueue(t, 3);
      await server.produce("q", ...some(1));
      await server.produce("q", ...some(5));
      await server.produce("q", ...some(3));
      const partitions: number[] = [];
      for (let i = 0; i < 3; i++) partitions.push((await server.lease("q", 10)).partition ?? 0);
      assert.deepEqual(partitions, [1, 2, 0]);
    });

    test("a partition has its own ids, and complete must name it", async (t) => {
      const server = await withQueue(t, 2);
      await server.produce("q", "a", "b");
      await server.produce("q", "c");
      const { items } = await server.lease("q", 2);
      const wrong = await server.complete("q", [items[0].id], 1);
      assert.equal(wrong.body.message, `invalid storage id; '${items[0].id}' does not exist`);
      assert.equal((await server.complete("q", [items[0].id], 0)).status, 200);
    });
  });
}

describe("storages", () => {
  test("while one partition fails the others serve", async (t) => {
    const storages = new Map<string, FaultyStorage>();
    const server = await configured(
      t,
      `
queue-storage: {name: meta, driver: memory}
partition-storage:
  - {name: one, driver: memory}
  - {name: two, driver: memory}
`,
      (storage, name) => storages.set(name, storage),
    );
    await server.createQueue("q", { requested_partitions: 2 });
    storages.get("one")!.always("commit", "fail");
    storages.get("one")!.always("loadPartition", "fail");
    const produce = { queue_name: "q", request_timeout: "1m", items: [{ utf8: "x" }] };
    assert.equal((await server.call("queue.produce", produce)).status, 454);
    for (let i = 0; i < 3; i++) await server.produce("q", String(i));
    assert.deepEqual(await totals(server), [0, 3]);
    assert.equal((await server.lease("q", 9)).partition, 1);
    const refused = await server.complete("q", ["x"], 0);
    assert.deepEqual(
      [refused.status, refused.body.message],
      [454, "partition not available; partition '0' is failing, retry again"],
    );
    storages.get("one")!.heal();
    await server.advance("10s");
    await server.until(async () => (await server.stats("q")).partitions[0].failures === undefined);
    await server.produce("q", "healed");
    await server.produce("q", "healed");
    assert.deepEqual(await totals(server), [1, 4]);
  });

  test("partitions are dealt by affinity, and none is dropped", async (t) => {
    const keys = new Map<string, FaultyStorage>();
    const server = await configured(
      t,
      `
partition-storage:
  - {name: a, driver: memory, affinity: 1}
  - {name: b, driver: memory, affinity: 0.5}
  - {name: c, driver: memory, affinity: 0.3}
  - {name: d, driver: memory, affinity: 0.1}
`,
      (storage, name) => keys.set(name, storage),
    );
    await server.createQueue("q", { requested_partitions: 100 });
    const shares: number[] = [];
    for (const storage of keys.values()) {
      shares.push((await storage.storage.listPartitions()).length);
    }
    // 100 / 1.9 of each: 52.6, 26.3, 15.8, 5.3; the two left over go to those that then have the least.
    assert.deepEqual(shares, [53, 26, 16, 5]);
    await server.createQueue("small");
    assert.equal((await server.stats("small")).partitions.length, 1);
  });

  test("queues of one partition are spread over the storages by affinity", async (t) => {
    const storages: FaultyStorage[] = [];
    const server = await configured(
      t,
      `
partition-storage:
  - {name: a, driver: memory, affinity: 2}
  - {name: b, driver: memory, affinity: 2}
  - {name: c, driver: memory, affinity: 1}
`,
      (storage) => storages.push(storage),
    );
    for (let i = 0; i < 10; i++) await server.createQueue(`q-${i}`);
    const shares = storages.map(async ({ storage }) => (await storage.listPartitions()).length);
    assert.deepEqual(await Promise.all(shares), [4, 4, 2]);
  });

  test("queues of the configuration are ordinary queues, made once", async (t) => {
    const dir = temporaryDirectory(t);
    const config = join(dir, "querator.yaml");
    const yaml = (leaseTimeout: string): string => `
partition-storage:
  - {name: disk, driver: sqlite, config: {storage-dir: ${dir}/data}}
queues:
  - {name: dead, lease-timeout: 1m, expire-timeout: 1h}
  - {name: work, dead-queue: dead, lease-timeout: ${leaseTimeout}, expire-timeout: 2h, max-attempts: 3, reference: r, partitions: [{storage-name: disk}, {storage-name: disk}]}
`;
    writeFileSync(config, yaml("5m"));
    const first = await setup(t, { config, memory: undefined as never });
    const { items } = await first.ok("queues.list", {});
    assert.deepEqual(
      items.map((info: { queue_name: string }) => info.queue_name),
      ["dead", "work"],
    );
    const { created_at, updated_at, ...info } = items[1];
    assert.equal(created_at, updated_at);
    assert.deepEqual(info, {
      queue_name: "work",
      dead_queue: "dead",
      reference: "r",
      lease_timeout: "5m0s",
      expire_timeout: "2h0m0s",
      max_attempts: 3,
      requested_partitions: 2,
      namespace: "_system",
    });
    await first.produce("work", "a");
    await first.server.stop();
    writeFileSync(config, yaml("9m"));
    const second = await setup(t, { config, memory: undefined as never });
    assert.equal((await second.ok("queues.info", { queue_name: "work" })).lease_timeout, "5m0s");
    assert.deepEqual(payloads(await second.lease("work")), ["a"]);
  });

  test("a dead queue of the configuration may stand after the queue that names it", async (t) => {
    const server = await configured(
      t,
      "memory: true\nqueues: [{name: q, dead-queue: d}, {name: d}, {name: r, dead-queue: d}]\n",
    );
    for (const queue_name of ["q", "r"]) {
      assert.equal((await server.ok("queues.info", { queue_name })).dead_queue, "d");
    }
  });

  test("a wrong queue of the configuration stops the start, and says where it stands", async (t) => {
    for (const [queues, expected] of [
      ["{name: q, lease-timeout: 2h, expire-timeout: 1h}", /queues\[0\]: lease timeout/],
      ["{name: p}, {name: q, dead-queue: none}", /queues\[1\]: dead_queue does not exist; 'none'/],
      ["{name: q, dead-queue: q}", /queues\[0\]: dead_queue cannot reference itself/],
      [
        "{name: a, dead-queue: b}, {name: b, dead-queue: c}, {name: c}",
        /queues\[0\]: dead_queue is invalid; 'b' already has its own/,
      ],
      ["{name: q}, {name: q}", /queues\[1\]: invalid queue; 'q' already exists/],
    ] as const) {
      const start = configured(t, `memory: true\nqueues: [${queues}]\n`);
      const pattern = new RegExp(`^ConfigError: querator\\.yaml: ${expected.source}`);
      await assert.rejects(start, pattern);
    }
  });

  for (const driver of ["sqlite", "postgres"] as const) {
    const apart = async (
      t: TestContext,
      settings = "",
    ): Promise<{ server: TestServer; storages: Map<string, FaultyStorage> }> => {
      const config =
        driver === "sqlite"
          ? "storage-dir: DIR/two"
          : `connection-string: "${await testSchema(t)}"`;
      const storages = new Map<string, FaultyStorage>();
      const server = await configured(
        t,
        `
partition-storage:
  - {name: one, driver: memory}
  - {name: two, driver: ${driver}, config: {${config}}}
queues:
  - {name: dead, lease-timeout: 1m, expire-timeout: 1h, partitions: [{storage-name: two}]}
  - {name: work, dead-queue: dead, lease-timeout: 1m, expire-timeout: 1h, ${settings} partitions: [{storage-name: one}]}
`,
        (storage, name) => storages.set(name, storage),
      );
      return { server, storages };
    };

    for (const crash of [false, true]) {
      test(`dead letters cross from one storage to another${crash ? ", once, also if removing the original fails" : ""} (${driver})`, async (t) => {
        const { server, storages } = await apart(t, "max-attempts: 1,");
        await server.produce("work", "a", "b");
        const { items } = await server.lease("work", 2);
        if (crash) storages.get("one")!.next("commit", "fail", "fail");
        await server.advance("61s");
        await server.until(async () => {
          await server.advance("6s");
          return (await totals(server, "work"))[0] === 0;
        });
        const dead = await server.list("dead");
        assert.deepEqual(payloads({ items: dead }), ["a", "b"]);
        assert.deepEqual(
          dead.map((item) => item.source_id),
          items.map((item: { id: string }) => item.id),
        );
      });
    }

    // What its consumer gave up must not come back, although nothing but that request says so.
    for (const [fails, storage, faults] of [
      ["removing the original fails", "one", 2],
      ["the dead queue does not take it at first", "two", 1],
    ] as const) {
      test(`an item that its consumer gave up goes to another storage once, also if ${fails} (${driver})`, async (t) => {
        const { server, storages } = await apart(t);
        await server.produce("work", "a");
        const { items } = await server.lease("work");
        const { id } = items[0];
        const commits = storages.get(storage)!;
        const before = commits.commits.length;
        // The first commit of the original's storage is the one that the answer stands for.
        if (storage === "one") commits.next("commit", "pass");
        for (let i = 0; i < faults; i++) commits.next("commit", "fail");
        assert.equal((await server.retry("work", [{ id, dead: true }])).status, 200);
        await server.until(async () => {
          await server.advance("6s");
          const { failures, scheduled } = await server.stats("work");
          return failures === undefined && scheduled === undefined;
        });
        assert.ok(commits.commits.length > before + faults);
        assert.deepEqual(await server.list("work"), []);
        const dead = await server.list("dead");
        assert.deepEqual(
          dead.map((item) => [item.source_id, Buffer.from(item.payload, "base64").toString()]),
          [[id, "a"]],
        );
      });
    }
  }
});
