// What events tell is the whole of what happens: whoever follows those of a queue knows what lies in it, and in what
// state, and has counted what the server counts. Held while everything is done at once that can be done to items.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { ServerOptions } from "../../src/config/config.ts";
import { listen, type Told } from "../support/events.ts";
import type { Json } from "../support/openapi.ts";
import { Random } from "../support/random.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const NAMESPACE = "acme";
const QUEUES = ["a", "b", "dead"];
const CLIENTS = 6;
const ROUNDS = 40;
// Some of what is produced is refused because of that.
const ITEMS_MAX = 60;

// What completes of a queue on one thread cannot do on another.
const IS_APART = /is served by another thread/;

class Tenant {
  readonly server: TestServer;
  readonly refused = new Map<string, number>();

  constructor(server: TestServer) {
    this.server = server;
  }

  /** Calls an endpoint; undefined if it is refused, which much of what is asked for is. */
  async try(path: string, request: object): Promise<Json | undefined> {
    const response = await fetch(`${this.server.server.address}/v2/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Querator-Namespace": NAMESPACE },
      body: JSON.stringify(request),
    });
    const body = (await response.json()) as Json;
    if (response.status === 200) return body;
    const { code } = body;
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1);
    // A storage may take longer than a lease waits, and what becomes of that is told all the same.
    const isRefusal = response.status < 500 || code === "outcome_unknown";
    const isMeant = isRefusal && (!code.startsWith("invalid") || IS_APART.test(body.detail));
    assert.ok(isMeant, `${path} ${JSON.stringify([request, body])}`);
    return undefined;
  }

  async ok(path: string, request: object): Promise<Json> {
    const body = await this.try(path, request);
    assert.ok(body, `${path} ${JSON.stringify([...this.refused])}`);
    return body;
  }

  async listed(queue_name: string, state: string): Promise<Json[]> {
    const all: Json[] = [];
    for (let cursor = ""; ; ) {
      const request = { queue_name, state, limit: 200, ...(cursor && { cursor }) };
      const { items = [], next_cursor } = await this.ok("items.list", request);
      all.push(...items);
      if (!next_cursor) return all;
      cursor = next_cursor;
    }
  }
}

/** Does whatever there is to be done, at random. */
async function work(tenant: Tenant, random: Random): Promise<void> {
  const pick = <T>(of: readonly T[]): T => of[random.below(of.length)]!;
  const newItem = (): object => {
    const item = { utf8: "x", ...(random.next() < 0.2 && { delay: pick(["20ms", "1h"]) }) };
    if (random.next() < 0.6) return item;
    const on_duplicate = pick(["return", "reject", "replace", "extend", "keep_latest"]);
    const isLatest = on_duplicate === "keep_latest";
    return {
      ...item,
      unique_key: pick(["k1", "k2", "k3"]),
      on_duplicate,
      ...(!isLatest && pick([{}, { unique_while: "waiting" }, { unique_for: "10ms" }])),
    };
  };
  const newItems = (): object[] => Array.from({ length: 1 + random.below(4) }, newItem);
  const someId = async (queue_name: string): Promise<string | undefined> => {
    const { items = [] } = await tenant.ok("items.list", { queue_name, limit: 20 });
    return items.length === 0 ? undefined : pick<Json>(items).id;
  };
  for (let round = 0; round < ROUNDS; round++) {
    const queue_name = pick(QUEUES);
    const what = random.next();
    if (what < 0.3) {
      await tenant.try("queue.produce", { queue_name: pick(["a", "b"]), items: newItems() });
    } else if (what < 0.75) {
      const request = { queue_name, batch_size: 1 + random.below(6), request_timeout: "10ms" };
      const lease_timeout = pick(["15ms", "2s"]);
      const { items = [] } = (await tenant.try("queue.lease", { ...request, lease_timeout })) ?? {};
      const ends = items.map(({ lease_id }: Json) => {
        const leases = [{ lease_id }];
        const of = { queue_name, leases };
        const end = random.next();
        if (end < 0.2) return tenant.try("queue.complete", of);
        if (end < 0.4) {
          const to = pick(["", "a", "b", "dead"]);
          const produce = [{ ...(to && { queue_name: to }), items: [newItem()] }];
          return tenant.try("queue.complete", { ...of, produce });
        }
        if (end < 0.55) {
          const delay = pick(["0s", "10ms"]);
          return tenant.try("queue.retry", { ...of, leases: [{ lease_id, delay }] });
        }
        if (end < 0.65) return tenant.try("queue.release", of);
        if (end < 0.8) return tenant.try("queue.reject", of);
        if (end < 0.9) {
          const extended = [{ lease_id, for: "20ms", progress: { done: round } }];
          return tenant.try("queue.extend", { queue_name, leases: extended });
        }
        return undefined; // its lease ends by itself
      });
      await Promise.all(ends);
    } else if (what < 0.97) {
      const id = await someId(queue_name);
      if (id === undefined) continue;
      const of = { queue_name, id };
      if (what < 0.82) await tenant.try("item.cancel", of);
      else if (what < 0.87) await tenant.try("item.update", { ...of, utf8: "other" });
      else if (what < 0.9) await tenant.try("items.delete", { queue_name, ids: [id] });
      else await tenant.try("queue.redrive", { queue_name: "dead", ...pick([{}, { to: "b" }]) });
    } else {
      await tenant.try("queue.clear", {
        queue_name,
        ...pick([{ queue: true }, { scheduled: true }]),
      });
    }
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}

/** Waits until nothing happens by itself any more. */
async function calmDown(tenant: Tenant): Promise<void> {
  await tenant.server.until(async () => {
    const { redrives = [] } = await tenant.ok("redrives.list", { queue_name: "dead" });
    if (redrives.some(({ state }: Json) => state === "running")) return false;
    for (const queue_name of QUEUES) {
      if ((await tenant.listed(queue_name, "leased")).length > 0) return false;
      const scheduled = await tenant.listed(queue_name, "scheduled");
      const isSoon = ({ enqueue_at }: Json): boolean =>
        enqueue_at !== undefined && Date.parse(enqueue_at) < Date.now() + 60_000;
      if (scheduled.some(isSoon)) return false;
    }
    return true;
  });
}

/** What somebody knows of a queue who has heard of nothing but its events. */
class Known {
  /** Whether each item is leased, by its partition and id. */
  readonly items = new Map<string, boolean>();
  readonly counts = new Map<string, number>();

  learn({ type, data: { id, partition, reason } }: Told): void {
    const what = ["dead", "expired"].includes(type) ? `dead ${reason}` : type;
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
    if (id === undefined) return;
    const key = `${partition} ${id}`;
    const isLeased = this.items.get(key);
    const expect = (...states: (boolean | undefined)[]): void =>
      assert.ok(states.includes(isLeased), `${type} of ${key}, which is ${isLeased}`);
    switch (type) {
      case "produced":
      case "received":
        expect(undefined);
        this.items.set(key, false);
        break;
      case "leased":
        expect(false);
        this.items.set(key, true);
        break;
      case "extended":
      case "progress":
      case "cancel_requested":
        expect(true);
        break;
      case "retried":
      case "released":
      case "lease_ended":
        expect(true);
        this.items.set(key, false);
        break;
      case "updated":
        expect(false);
        break;
      case "completed":
        expect(true);
        this.items.delete(key);
        break;
      default:
        expect(false, true);
        this.items.delete(key);
    }
  }
}

// What is told as often as it is counted.
const COUNTED = [
  "produced",
  "received",
  "leased",
  "completed",
  "retried",
  "released",
  "extended",
  "cancelled",
  "deleted",
] as const;

async function check(t: TestContext, options: ServerOptions, partitions: number): Promise<void> {
  const server = await setup(t, options);
  const quotas = { items: ITEMS_MAX };
  await server.ok("/v2/namespaces.create", { name: NAMESPACE, quotas });
  const tenant = new Tenant(server);
  const reader = await listen(t, server, `?namespace=${NAMESPACE}`);
  const shape = { requested_partitions: partitions };
  await tenant.ok("queues.create", { queue_name: "dead", ...shape });
  for (const queue_name of ["a", "b"]) {
    const rules = { dead_queue: "dead", max_attempts: 3, keep_completed: "1h" };
    await tenant.ok("queues.create", { queue_name, ...rules, ...shape });
  }
  await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) => work(tenant, new Random(partitions, i))),
  );
  await calmDown(tenant);
  const counts = new Map<string, Json>();
  for (const queue_name of QUEUES) {
    counts.set(queue_name, (await tenant.ok("queue.stats", { queue_name })).totals);
  }
  await tenant.ok("queues.create", { queue_name: "sign" });
  await tenant.ok("queues.delete", { queue_name: "sign", force: true });
  const told = await reader.until("queue_deleted");
  for (const queue_name of QUEUES) {
    const known = new Known();
    for (const each of told) if (each.data.queue_name === queue_name) known.learn(each);
    const there: string[] = [];
    for (const state of ["waiting", "scheduled"]) {
      for (const { partition = 0, id } of await tenant.listed(queue_name, state)) {
        there.push(`${partition} ${id}`);
      }
    }
    assert.deepEqual([...known.items.keys()].toSorted(), there.toSorted(), queue_name);
    assert.ok([...known.items.values()].every((isLeased) => !isLeased));
    const { counts: counted, waiting = 0, scheduled = 0 } = counts.get(queue_name);
    assert.equal(known.items.size, waiting + scheduled);
    for (const what of COUNTED) {
      assert.equal(known.counts.get(what) ?? 0, counted[what] ?? 0, `${what} in ${queue_name}`);
    }
    for (const reason of ["attempts", "expired", "rejected"]) {
      const deaths = known.counts.get(`dead ${reason}`) ?? 0;
      assert.equal(deaths, counted.dead?.[reason] ?? 0, `dead ${reason} in ${queue_name}`);
    }
    // Who dies is counted among those that have moved, if there is a dead queue.
    const moved = known.counts.get("moved") ?? 0;
    const deaths = queue_name === "dead" ? 0 : sum(Object.values(counted.dead ?? {}));
    assert.equal(moved + deaths, counted.moved ?? 0, `moved out of ${queue_name}`);
  }
  const types = new Set(told.map(({ type }) => type));
  for (const type of ["updated", "lease_ended", "moved", "redrive_ended", "cancelled", "deleted"]) {
    assert.ok(types.has(type), `nothing was ${type}`);
  }
}

for (const [place, driver, threads] of PLACES) {
  for (const partitions of [1, 3]) {
    test(`who follows events knows what lies in each queue, on ${place} with ${partitions} partitions`, async (t) => {
      await check(t, { threads, ...(await freshPlace(t, driver)) }, partitions);
    });
  }
}
