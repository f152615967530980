// Rejects, completes that produce and redrives between queues, many at once: who finds the other queue busy waits for
// it, and what was there is there once.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import { type Json, World } from "../support/items.ts";
import { Random } from "../support/random.ts";
import { setup } from "../support/server.ts";
import { freshPlace } from "../support/storages.ts";

const CLIENTS = 6;
const ROUNDS = 14;
const ITEMS = 120;

/** A storm between queues of which the last is the dead queue of all others; answers what was asked, by status. */
async function storm(
  t: TestContext,
  names: readonly string[],
  options: ServerOptions,
): Promise<{ readonly w: World; readonly statuses: Map<string, number> }> {
  const w = new World(await setup(t, options));
  for (const name of names) await w.server.createQueue(name);
  const dead_queue = names.at(-1)!;
  for (const queue_name of names) {
    if (queue_name !== dead_queue) {
      await w.ok("queues.update", { queue_name, dead_queue, max_attempts: 1 });
    }
    const items = Array.from({ length: ITEMS }, (_, n) => ({ utf8: `${queue_name}${n}` }));
    await w.ok("queue.produce", { queue_name, items });
  }
  const statuses = new Map<string, number>();
  const note = async (path: string, request: object): Promise<void> => {
    const { status, body } = await w.call(path, request);
    const what = status === 200 ? path : `${path} ${status} ${body.detail}`;
    statuses.set(what, (statuses.get(what) ?? 0) + 1);
  };
  const client = async (seed: number): Promise<void> => {
    const random = new Random(seed);
    for (let round = 0; round < ROUNDS; round++) {
      const queue_name = names[(seed + round) % names.length]!;
      const request = { queue_name, batch_size: 6, request_timeout: "20ms" };
      const { items = [] } = (await w.call("queue.lease", request)).body;
      await Promise.all(
        items.map(({ lease_id, utf8 }: Json, i: number) => {
          const leases = [{ lease_id }];
          if (queue_name !== dead_queue && random.next() < 0.5) {
            return note("queue.reject", { queue_name, leases });
          }
          const others = names.filter((name) => name !== queue_name);
          const first = others[i % others.length]!;
          const produce: object[] = [{ queue_name: first, items: [{ utf8 }] }];
          // What takes two queues leaves nothing in the second that would be counted.
          const second = others[(i + 1) % others.length]!;
          if (second !== first && random.next() < 0.5)
            produce.push({ queue_name: second, items: [{ utf8: "also" }] });
          return note("queue.complete", { queue_name, leases, produce });
        }),
      );
      if (random.next() < 0.3) await note("queue.redrive", { queue_name: dead_queue });
    }
  };
  // Leases some, and never comes back: they die of that.
  const forgetful = async (): Promise<void> => {
    const request = { batch_size: 3, request_timeout: "5ms", lease_timeout: "10ms" };
    for (let round = 0; round < ROUNDS; round++) {
      await w.call("queue.lease", { queue_name: names[0], ...request });
    }
  };
  const clients = Array.from({ length: CLIENTS }, (_, seed) => client(seed));
  await Promise.all([...clients, forgetful()]);
  return { w, statuses };
}

async function texts(w: World, names: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const queue_name of names) {
    const { items = [] } = await w.ok("items.list", { queue_name, payload: true, limit: 1_000 });
    for (const { utf8 } of items) if (utf8 !== "also") found.push(utf8);
  }
  return found.toSorted();
}

async function calmDown(w: World, names: readonly string[]): Promise<void> {
  await w.server.until(async () => {
    for (const queue_name of names) {
      const { redrives = [] } = await w.ok("redrives.list", { queue_name });
      if (redrives.some(({ state }: Json) => state === "running")) return false;
      const { totals } = await w.ok("queue.stats", { queue_name });
      if (totals.leased > 0 || totals.scheduled > 0) return false;
    }
    return true;
  });
}

for (const [place, driver, threads] of [
  ["memory", "memory", 1],
  ["sqlite", "sqlite", 1],
  ["sqlite with two threads", "sqlite", 2],
] as const) {
  describe(`a storm on ${place}`, () => {
    for (const names of [
      ["a", "b"],
      ["a", "b", "c"],
    ]) {
      test(`between ${names.length} queues refuses nothing, loses nothing and doubles nothing`, async (t) => {
        const where = await freshPlace(t, driver);
        const { w, statuses } = await storm(t, names, { threads, ...where });
        const refused = [...statuses.keys()].filter((what) => what.includes(" "));
        assert.deepEqual(refused, [], JSON.stringify([...statuses]));
        assert.equal(statuses.size, 3);
        await calmDown(w, names);
        const wanted = names.flatMap((name) =>
          Array.from({ length: ITEMS }, (_, n) => `${name}${n}`),
        );
        assert.deepEqual(await texts(w, names), wanted.toSorted());
      });
    }
  });
}
