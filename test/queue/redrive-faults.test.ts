// A redrive whose commits fail, or of whose commits nobody knows what became of them: each item is done once,
// though its copy may be done before its original is gone.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Fault, FaultyStorage } from "../support/faulty-storage.ts";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";

const PLACES = {
  "one storage": "- {name: a, driver: memory}",
  "two storages": "- {name: a, driver: memory}\n  - {name: b, driver: memory}",
};

interface World {
  readonly server: TestServer;
  readonly storages: readonly FaultyStorage[];
}

async function start(t: TestContext, storages: string): Promise<World> {
  const config = join(temporaryDirectory(t), "querator.yaml");
  writeFileSync(config, `partition-storage:\n  ${storages}\n`);
  const faulty: FaultyStorage[] = [];
  const server = await setup(
    t,
    { config, memory: undefined as never },
    {
      wrapStorage: (inner) => {
        faulty.push(new FaultyStorage(inner));
        return faulty.at(-1)!.storage;
      },
    },
  );
  return { server, storages: faulty };
}

const ITEMS = 6;

/** Redrives items, and completes what comes, as long as anything is left; answers the ids in that order. */
async function redriven({ server, storages }: World, faults: readonly Fault[]): Promise<string[]> {
  await server.createQueue("dead");
  await server.createQueue("jobs", { dead_queue: "dead", lease_timeout: "1s" });
  const request = { queue_name: "jobs", batch_size: ITEMS };
  const items = Array.from({ length: ITEMS }, () => ({}));
  await server.ok("/v2/queue.produce", { queue_name: "jobs", items });
  const { items: first } = await server.ok("/v2/queue.lease", request);
  const leases = first.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: "jobs", leases });
  for (const storage of storages) storage.next("commit", ...faults);

  const done: string[] = [];
  let begun: string | undefined;
  let isEnded = false;
  while (!isEnded) {
    if (begun === undefined) {
      // Some items at a time, so that there are several steps. If its answer is lost it may be there.
      const { body } = await server.call("/v2/queue.redrive", { queue_name: "dead", rate: 40 });
      begun = body.id ?? (await list(server))[0]?.id;
      continue;
    }
    const lease = await server.call("/v2/queue.lease", { ...request, request_timeout: "10ms" });
    for (const { id, lease_id } of lease.body.items ?? []) {
      const complete = { queue_name: "jobs", leases: [{ lease_id }] };
      while (true) {
        const { status, body } = await server.call("/v2/queue.complete", complete);
        // What was done, and not answered, is not there the next time.
        if (status !== 200) continue;
        done.push(id);
        assert.ok(body.failed === undefined || body.results[0].code === "lease_ended");
        break;
      }
    }
    const states = (await list(server)).map(({ state }) => state);
    // What goes to another storage is on its way for a while after it has moved.
    const { total: onTheirWay = 0 } = await server.stats("dead");
    const { total = 0 } = await server.stats("jobs");
    isEnded = states.length > 0 && !states.includes("running") && total + onTheirWay === 0;
  }
  return done;
}

// biome-ignore lint/suspicious/noExplicitAny: redrives as they are told
async function list(server: TestServer): Promise<any[]> {
  const { status, body } = await server.call("/v2/redrives.list", { queue_name: "dead" });
  return status === 200 ? (body.redrives ?? []) : [{ state: "running" }];
}

test("what is redriven, or done, before its original could be removed does not die once more", async (t) => {
  const { server, storages } = await start(t, PLACES["two storages"]);
  const [, other] = storages;
  await server.createQueue("dead");
  await server.createQueue("jobs", { dead_queue: "dead", lease_timeout: "1s", max_attempts: 1 });
  await server.createQueue("again");
  const items = [{ utf8: "redriven" }, { utf8: "done" }];
  await server.ok("/v2/queue.produce", { queue_name: "jobs", items });
  await server.ok("/v2/queue.lease", { queue_name: "jobs", batch_size: 2 });
  other!.always("commit", "fail");
  await server.advance("2s");
  const dead = await server.until(async () => {
    const { items: found = [] } = await server.ok("/v2/items.list", { queue_name: "dead" });
    return found.length === 2 && found;
  });
  const ids = [dead[0].id];
  await server.ok("/v2/queue.redrive", { queue_name: "dead", to: "again", ids });
  await server.until(async () => (await list(server))[0].state === "done");
  const { items: rest } = await server.ok("/v2/queue.lease", { queue_name: "dead" });
  const leases = [{ lease_id: rest[0].lease_id }];
  await server.ok("/v2/queue.complete", { queue_name: "dead", leases });
  assert.equal((await server.stats("jobs")).total, 2);
  other!.heal();
  await server.advance("10s");
  await server.until(async () => ((await server.stats("jobs")).total ?? 0) === 0);
  assert.equal((await server.list("dead")).length, 0);
  assert.equal((await server.list("again")).length, 1);
});

for (const [name, storages] of Object.entries(PLACES)) {
  for (const fault of ["fail", "lose-reply"] as const) {
    test(`each item is done once, whichever commit fails (${fault}, ${name})`, async (t) => {
      for (let before = 0; before < 8; before++) {
        const world = await start(t, storages);
        const faults = [...Array.from({ length: before }, (): Fault => "pass"), fault];
        const done = await redriven(world, faults);
        assert.equal(new Set(done).size, ITEMS, `${before} commits before`);
        assert.equal(done.length, ITEMS, `${before} commits before`);
        assert.equal((await world.server.list("dead")).length, 0);
        const moved = (await list(world.server)).reduce((sum, each) => sum + (each.moved ?? 0), 0);
        assert.equal(moved, ITEMS, `${before} commits before`);
        await world.server.server.stop();
      }
    });
  }
}
