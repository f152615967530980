// queues.apply and versions: many queues are made and changed in one write or not at all, a dry run tells what
// would be done, and a change may be made to depend on the version of a queue.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueuesApplyRequestSchema,
  QueuesApplyResponseSchema,
} from "../../src/codec/gen/querator/v2/queues_pb.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { type Reply, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const apply = (server: TestServer, queues: readonly object[], more: object = {}): Promise<Reply> =>
  server.call("/v2/queues.apply", { queues, ...more });

async function names(server: TestServer): Promise<readonly string[]> {
  const { queues = [] } = await server.ok("/v2/queues.list", {});
  return queues.map(({ queue_name }: { queue_name: string }) => queue_name);
}

async function version(server: TestServer, queue_name = "q"): Promise<number> {
  return (await server.ok("/v2/queues.info", { queue_name })).version;
}

for (const [place, driver, threads] of PLACES) {
  describe(`on ${place}`, () => {
    test("queues are made and changed, and what is not named stays", async (t) => {
      const where = await freshPlace(t, driver);
      const server = await setup(t, { threads, ...where });
      await server.ok("/v2/queues.create", { queue_name: "q", reference: "r", max_attempts: 2 });
      await server.ok("/v2/queues.create", { queue_name: "other" });
      const list = [
        { queue_name: "q", dead_queue: "dead", max_attempts: 3 }, // before the queue that it needs
        { queue_name: "dead", expire_timeout: "never" },
        { queue_name: "new", lease_timeout: "5m", dead_queue: "dead" },
      ];
      const expected = [
        {
          queue_name: "q",
          action: "updated",
          changes: [
            { setting: "dead_queue", to: "dead" },
            { setting: "max_attempts", from: "2", to: "3" },
          ],
        },
        {
          queue_name: "dead",
          action: "created",
          changes: [{ setting: "expire_timeout", to: "never" }],
        },
        {
          queue_name: "new",
          action: "created",
          changes: [
            { setting: "dead_queue", to: "dead" },
            { setting: "lease_timeout", to: "5m0s" },
          ],
        },
      ];
      const dry = await apply(server, list, { dry_run: true });
      assert.deepEqual(dry.body, { queues: expected });
      assert.deepEqual(await names(server), ["other", "q"]);
      assert.equal(await version(server), 1);

      assert.deepEqual((await apply(server, list)).body, { queues: expected });
      const again = (await apply(server, list)).body.queues;
      assert.deepEqual(
        again.map(({ action, changes }: { action: string; changes: object }) => [action, changes]),
        Array(3).fill(["unchanged", []]),
      );
      const { reference, max_attempts } = await server.ok("/v2/queues.info", { queue_name: "q" });
      assert.deepEqual([reference, max_attempts, await version(server)], ["r", 3, 2]);

      // They work, and so does the new dead queue.
      await server.ok("/v2/queue.produce", { queue_name: "new", items: [{ utf8: "a" }] });
      const [{ lease_id }] = (await server.ok("/v2/queue.lease", { queue_name: "new" })).items;
      await server.ok("/v2/queue.reject", { queue_name: "new", leases: [{ lease_id }] });
      assert.equal((await server.ok("/v2/queue.lease", { queue_name: "dead" })).items.length, 1);

      if (driver === "memory") return;
      await server.server.stop();
      const restarted = await setup(t, { threads, ...where });
      assert.deepEqual(await names(restarted), ["dead", "new", "other", "q"]);
      assert.equal(await version(restarted), 2);
    });

    test("one queue that cannot be as it is listed, and nothing is done", async (t) => {
      const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
      await server.ok("/v2/queues.create", { queue_name: "dead" });
      await server.ok("/v2/queues.create", { queue_name: "q", dead_queue: "dead" });
      const fine = { queue_name: "fine" };
      const wrong: readonly [readonly object[], string, RegExp][] = [
        [[{ queue_name: "a b" }], "queues[1].queue_name", /whitespace/],
        [[{ queue_name: "fine" }], "queues[1].queue_name", /in the list already/],
        [[{ queue_name: "a", lease_timeout: "soon" }], "queues[1].lease_timeout", /lease timeout/],
        [
          [{ queue_name: "a", lease_timeout: "2h", expire_timeout: "1h" }],
          "queues[1].lease_timeout",
          /too long/,
        ],
        [[{ queue_name: "q", expire_timeout: "1s" }], "queues[1].lease_timeout", /too long/],
        [[{ queue_name: "a", max_attempts: -1 }], "queues[1].max_attempts", /negative/],
        [[{ queue_name: "a", dead_queue: "no" }], "queues[1].dead_queue", /does not exist; 'no'/],
        [[{ queue_name: "a", dead_queue: "q" }], "queues[1].dead_queue", /its own dead_queue/],
        [[{ queue_name: "dead", dead_queue: "fine" }], "queues[1].dead_queue", /dead_queue of 'q'/],
        [
          [
            { queue_name: "a", dead_queue: "b" },
            { queue_name: "b", dead_queue: "fine" },
          ],
          "queues[1].dead_queue",
          /its own/,
        ],
      ];
      for (const [list, field, detail] of wrong) {
        for (const dry_run of [true, false]) {
          const { status, body } = await apply(server, [fine, ...list], { dry_run });
          assert.deepEqual([status, body.code, body.field], [400, "invalid_field", field]);
          assert.match(body.detail, detail);
        }
      }
      assert.deepEqual(await names(server), ["dead", "q"]);
      assert.equal((await apply(server, [])).body.field, "queues");

      // A dead queue that is given up in the same list is free for another use.
      const moved = [
        { queue_name: "q", dead_queue: "" },
        { queue_name: "dead", dead_queue: "fine" },
        fine,
      ];
      assert.equal((await apply(server, moved)).status, 200);
    });
  });
}

for (const driver of ["sqlite", "postgres"] as const) {
  for (const fault of ["fail", "lose-reply"] as const) {
    test(`a list whose write fails (${fault}, ${driver}) changes nothing, also after a restart`, async (t) => {
      const place = await freshPlace(t, driver);
      const { server, storage } = await faulty(t, place);
      await server.ok("/v2/queues.create", { queue_name: "q" });
      const list = [{ queue_name: "q", max_attempts: 7 }, { queue_name: "a" }, { queue_name: "b" }];
      storage.next("putQueues", fault);
      const { status, body } = await apply(server, list);
      assert.deepEqual([status, body.code], [503, "storage_unavailable"]);
      assert.deepEqual(await names(server), ["q"]);
      await server.advance("2s");
      await server.server.stop();
      const restarted = await setup(t, place);
      assert.deepEqual(await names(restarted), ["q"]);
      assert.equal(await version(restarted), 1);
      assert.equal((await apply(restarted, list)).status, 200);
      assert.deepEqual(await names(restarted), ["a", "b", "q"]);
      assert.equal(await version(restarted), 2);
    });
  }
}

for (const driver of ["sqlite", "postgres"] as const) {
  test(`after a crash a list has been applied as a whole or not at all (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const { server, storage } = await faulty(t, place);
    await server.ok("/v2/queues.create", { queue_name: "q" });
    // What was written stays as it is, for nothing is heard of it and nothing can be taken back.
    storage.always("putQueues", "lose-reply");
    storage.always("deleteQueue", "fail");
    const list = [{ queue_name: "a" }, { queue_name: "q", max_attempts: 7 }, { queue_name: "b" }];
    assert.equal((await apply(server, list)).status, 503);
    await server.server.stop();
    const restarted = await setup(t, place);
    assert.deepEqual([await names(restarted), await version(restarted)], [["a", "b", "q"], 2]);
  });
}

test("a list whose partitions cannot all be made leaves nothing behind", async (t) => {
  const { server, storage } = await faulty(t, await freshPlace(t, "sqlite"));
  storage.next("createPartitions", "pass", "fail");
  assert.equal((await apply(server, [{ queue_name: "a" }, { queue_name: "b" }])).status, 503);
  assert.deepEqual(await names(server), []);
  await server.advance("2s");
  const partitions = await server.until(async () => {
    const list = await storage.storage.listPartitions();
    return list.every(({ dropped }) => dropped) && list;
  });
  assert.ok(partitions.length <= 1);
});

async function faulty(t: TestContext, place: object) {
  let storage: FaultyStorage | undefined;
  const wrapStorage = (inner: Storage): Storage => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, place, { wrapStorage });
  return { server, storage: storage! };
}

test("in Protobuf it is the same", async (t) => {
  const server = await setup(t);
  const request = create(QueuesApplyRequestSchema, {
    queues: [{ queueName: "q" }],
  });
  const response = await fetch(`${server.server.address}/v2/queues.apply`, {
    method: "POST",
    headers: { "Content-Type": "application/protobuf", Accept: "application/protobuf" },
    body: toBinary(QueuesApplyRequestSchema, request),
  });
  const reply = fromBinary(QueuesApplyResponseSchema, new Uint8Array(await response.arrayBuffer()));
  assert.deepEqual(
    reply.queues.map(({ queueName, action }) => [queueName, action]),
    [["q", "created"]],
  );
  assert.deepEqual(await names(server), ["q"]);
});

test("an Idempotency-Key is refused, as the answer is never given twice", async (t) => {
  const server = await setup(t);
  const response = await fetch(`${server.server.address}/v2/queues.apply`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": "k" },
    body: JSON.stringify({ queues: [{ queue_name: "q" }] }),
  });
  assert.equal(response.status, 400);
  assert.deepEqual(await names(server), []);
});

for (const [place, driver, threads] of PLACES) {
  test(`a version goes up with each change, and a change may ask for one (${place})`, async (t) => {
    const where = await freshPlace(t, driver);
    const server = await setup(t, { threads, ...where });
    const made = await server.ok("/v2/queues.create", { queue_name: "q" });
    assert.equal(made.version, 1);
    const change = (max_attempts: number, if_version: number): Promise<Reply> =>
      server.call("/v2/queues.update", { queue_name: "q", max_attempts, if_version });
    assert.equal((await change(5, 1)).body.version, 2);
    assert.equal((await change(5, 2)).body.version, 2, "nothing was another");
    const kept = { queue_name: "q", partial: false, max_attempts: 5 };
    assert.equal((await server.ok("/v2/queues.update", kept)).version, 2);
    const late = await change(6, 1);
    assert.deepEqual(
      [late.status, late.body.code, late.body.detail],
      [409, "precondition_failed", "queue 'q' has version 2, not 1"],
    );
    // Under /v1 as well.
    await server.ok("queues.update", {
      queue_name: "q",
      lease_timeout: "2m",
      expire_timeout: "1h",
      requested_partitions: 1,
    });
    const { max_attempts, version } = await server.ok("/v2/queues.info", { queue_name: "q" });
    assert.deepEqual([max_attempts ?? 0, version], [0, 3]);
    assert.equal((await change(7, 0)).body.version, 4);
    const both = await Promise.all([change(8, 4), change(9, 4)]);
    assert.deepEqual(both.map(({ status }) => status).toSorted(), [200, 409]);
    if (driver === "memory") return;
    await server.server.stop();
    const restarted = await setup(t, { threads, ...where });
    assert.equal((await restarted.ok("/v2/queues.info", { queue_name: "q" })).version, 5);
  });
}
