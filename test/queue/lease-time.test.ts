// How long a lease lasts: for its whole time from when the client was answered, however long its commit
// took and however the wall clock was set, and then a little more. These tests take real time.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServerOptions } from "../../src/config/config.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { setup, type TestServer } from "../support/server.ts";
import { type Driver, freshPlace } from "../support/storages.ts";

const LEASE_MS = 700;
const SLOW_MS = 400;

interface World {
  readonly server: TestServer;
  readonly storage: FaultyStorage;
  /** Milliseconds by which the wall clock was set. */
  readonly wallShift: Float64Array<SharedArrayBuffer>;
}

async function start(t: TestContext, options: ServerOptions): Promise<World> {
  let storage: FaultyStorage | undefined;
  const wallShift = new Float64Array(new SharedArrayBuffer(8));
  const wrapStorage = (inner: Storage): Storage => {
    storage = new FaultyStorage(inner);
    return storage.storage;
  };
  const server = await setup(t, { dev: false, ...options }, { wrapStorage, wallShift });
  return { server, storage: storage!, wallShift };
}

/** Makes a queue that holds one item. */
async function makeQueue({ server }: World): Promise<void> {
  await server.createQueue("q", { lease_timeout: `${LEASE_MS}ms` });
  await server.produce("q", "a");
}

/** Leases the item in a commit that takes its time; answers when that ended, before the reply left. */
async function leaseSlowly({ server, storage }: World, ms = SLOW_MS): Promise<number> {
  storage.next("commit", "wait");
  const leasing = server.lease("q");
  await storage.waits();
  await sleep(ms);
  const ended = performance.now();
  storage.release();
  assert.equal((await leasing).items[0].attempts, 1);
  return ended;
}

/** Waits for the item to be leased again; answers when it was. */
async function leaseAgain(server: TestServer): Promise<number> {
  const { items } = await server.lease("q");
  assert.equal(items[0].attempts, 2);
  return performance.now();
}

function checkWhole(from: number, to: number): void {
  assert.ok(to - from >= LEASE_MS, `leased again after ${to - from} ms`);
}

const EVERYWHERE = (["memory", "sqlite", "postgres"] as const).flatMap((driver) =>
  [false, true].map((dev) => ({ driver: driver as Driver, dev })),
);

for (const { driver, dev } of EVERYWHERE) {
  const name = `${driver}${dev ? ", --dev" : ""}`;
  test(`a lease lasts its whole time after a slow commit (${name})`, async (t) => {
    const world = await start(t, { ...(await freshPlace(t, driver)), dev });
    await makeQueue(world);
    const from = await leaseSlowly(world);
    checkWhole(from, await leaseAgain(world.server));
  });
}

test("what is produced and leased in one slow commit is leased for its whole time", async (t) => {
  const { server, storage } = await start(t, { memory: true });
  await server.createQueue("q", { lease_timeout: `${LEASE_MS}ms` });
  const leasing = server.lease("q");
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  storage.next("commit", "wait");
  const producing = server.produce("q", "a");
  await storage.waits();
  await sleep(SLOW_MS);
  const from = performance.now();
  storage.release();
  await producing;
  assert.equal((await leasing).items[0].attempts, 1);
  checkWhole(from, await leaseAgain(server));
});

for (const path of ["queue.reload", "a failure"]) {
  test(`${path} does not cut a lease short`, async (t) => {
    const world = await start(t, { memory: true });
    const { server, storage } = world;
    await makeQueue(world);
    const from = await leaseSlowly(world, LEASE_MS + 100);
    if (path === "queue.reload") {
      await server.ok(path, { queue_name: "q" });
    } else {
      storage.next("commit", "fail");
      const request = { queue_name: "q", request_timeout: "1s", items: [{ utf8: "b" }] };
      assert.equal((await server.call("queue.produce", request)).status, 454);
    }
    checkWhole(from, await leaseAgain(server));
  });
}

test("a lease that was answered late lasts its whole time after a restart", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const world = await start(t, place);
  await makeQueue(world);
  const from = await leaseSlowly(world);
  await world.server.server.stop();
  const { server } = await start(t, place);
  checkWhole(from, await leaseAgain(server));
});

test("a wall clock that is set forward does not cut leases short", async (t) => {
  const world = await start(t, { memory: true });
  await makeQueue(world);
  const from = await leaseSlowly(world, 0);
  const again = leaseAgain(world.server);
  world.wallShift[0] = 3_600_000;
  checkWhole(from, await again);
});

test("a wall clock that is set forward and back again changes nothing for leases", async (t) => {
  const world = await start(t, { memory: true });
  const { server, wallShift } = world;
  await makeQueue(world);
  const from = await leaseSlowly(world, 0);
  const again = leaseAgain(server);
  wallShift[0] = 3_600_000;
  await server.ok("queue.clear", { queue_name: "q", scheduled: true }); // the queue looks
  wallShift[0] = 0;
  const to = await again;
  checkWhole(from, to);
  assert.ok(to - from < 30_000);
});

test("of a wall clock that is set back leases last longer by the step", async (t) => {
  const world = await start(t, { memory: true });
  const { server, wallShift } = world;
  await makeQueue(world);
  const first = await server.lease("q");
  wallShift[0] = -1_000;
  const second = await server.lease("q");
  assert.equal(second.items[0].attempts, 2);
  const [end, next] = [first, second].map(({ items }) => Date.parse(items[0].lease_deadline));
  assert.ok(next! - LEASE_MS >= end!, `it ended ${end! - (next! - LEASE_MS)} ms too soon`);
});

test("a start with a wall clock that is behind holds leases for no longer than they were given", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const world = await start(t, place);
  await makeQueue(world);
  await leaseSlowly(world, 0);
  await world.server.server.stop();
  const wallShift = new Float64Array(new SharedArrayBuffer(8));
  wallShift[0] = -365 * 24 * 3_600_000; // no battery
  const server = await setup(t, { dev: false, ...place }, { wallShift });
  const again = leaseAgain(server);
  wallShift[0] = 0; // the time has come over the network
  await again;
});
