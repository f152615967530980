// What waits behind the item that has its unique key (`keep_latest`), where the two meet with something else: it
// is there once, never before its turn, and it shows as what it is.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { type Json, type World, world } from "../support/items.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const LATEST = { unique_key: "k", on_duplicate: "keep_latest" };

/** Two items of one key: the first leased, the second behind it. */
interface Two {
  readonly w: World;
  readonly first: string;
  readonly lease: string;
  readonly second: string;
}

async function twoOf(w: World, settings: object = {}): Promise<Two> {
  await w.server.createQueue("q", settings);
  const [first] = await w.produce("q", { utf8: "a", ...LATEST });
  const [{ lease_id: lease }] = await w.lease("q");
  const [second] = await w.produce("q", { utf8: "b", ...LATEST });
  return { w, first: first!, lease, second: second! };
}

/** How many are counted, those that wait and those that are scheduled, and what of them can be leased. */
async function rest(w: World, queue: string): Promise<readonly unknown[]> {
  const { totals } = await w.ok("queue.stats", { queue_name: queue });
  const counted = [totals.waiting ?? 0, totals.scheduled ?? 0];
  const request = { queue_name: queue, batch_size: 10, request_timeout: "50ms" };
  const { items = [] } = await w.ok("queue.lease", request);
  return [...counted, items.map(({ utf8 }: Json) => utf8)];
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext, settings: object = {}): Promise<Two> =>
    twoOf(await world(t, { threads, ...(await freshPlace(t, driver)) }), settings);

  describe(`items with a key that leave together on ${place}`, () => {
    test("both are deleted in one request, in any order", async (t) => {
      for (const order of ["slice", "toReversed"] as const) {
        const { w, first, second } = await start(t);
        const ids = [first, second][order]();
        await w.ok("items.delete", { queue_name: "q", ids });
        assert.deepEqual(await rest(w, "q"), [0, 0, []]);
        assert.deepEqual(
          [await w.state(first), await w.state(second)],
          ["item_not_found", "item_not_found"],
        );
        const [{ status }] = (
          await w.ok("queue.produce", { queue_name: "q", items: [{ utf8: "c", ...LATEST }] })
        ).results;
        assert.equal(status, "created");
        assert.deepEqual(await rest(w, "q"), [1, 0, ["c"]]);
      }
    });

    test("what gets its turn by a complete is leased beside what that complete produces", async (t) => {
      const { w, lease, second } = await start(t);
      const produce = [{ items: [{ utf8: "next", unique_key: "n" }, { utf8: "more" }] }];
      await w.ok("queue.complete", { queue_name: "q", leases: [{ lease_id: lease }], produce });
      assert.deepEqual(await rest(w, "q"), [3, 0, ["b", "next", "more"]]);
      assert.equal(await w.state(second), "leased");
    });

    test("what gets its turn by a complete is not passed by leases of what that complete produces", async (t) => {
      const { w, lease } = await start(t);
      const produce = [{ items: [{ utf8: "next", unique_key: "n" }] }];
      await w.ok("queue.complete", { queue_name: "q", leases: [{ lease_id: lease }], produce });
      const one = { queue_name: "q", batch_size: 1, request_timeout: "10s" };
      const leased = [];
      for (let i = 0; i < 2; i++) leased.push((await w.ok("queue.lease", one)).items[0].utf8);
      assert.deepEqual(leased, ["b", "next"]);
    });

    test("both are cleared, if the first waits for another attempt", async (t) => {
      const { w, lease } = await start(t);
      await w.end("queue.retry", "q", [lease], { delay: "1h" });
      await w.ok("queue.clear", { queue_name: "q", scheduled: true });
      assert.deepEqual(await rest(w, "q"), [0, 0, []]);
      await w.produce("q", { utf8: "c", ...LATEST });
      assert.deepEqual(await rest(w, "q"), [1, 0, ["c"]]);
    });

    test("both are redriven, each once", async (t) => {
      const { w, lease } = await start(t);
      await w.server.createQueue("r");
      await w.end("queue.retry", "q", [lease], { delay: "1h" });
      const { id } = await w.ok("queue.redrive", { queue_name: "q", to: "r" });
      const { state, moved } = await w.server.until(async () => {
        const seen = await w.ok("redrives.info", { queue_name: "q", id });
        return seen.state !== "running" && seen;
      });
      assert.deepEqual([state, moved], ["done", 2]);
      // On another thread they are a moment later, in either order.
      await w.server.until(
        async () => (await w.ok("queue.stats", { queue_name: "r" })).totals.waiting === 2,
      );
      assert.deepEqual(await rest(w, "q"), [0, 0, []]);
      const [waiting, scheduled, texts] = await rest(w, "r");
      assert.deepEqual([waiting, scheduled, (texts as string[]).toSorted()], [2, 0, ["a", "b"]]);
    });
  });
}

describe("what takes the place of one that waits behind another has the key as it says itself", () => {
  const replace = { utf8: "c", unique_key: "k", on_duplicate: "replace" };

  /** Whether the key is taken, which changes nothing. */
  async function isTaken(w: World): Promise<boolean> {
    const item = { unique_key: "k", on_duplicate: "reject" };
    const request = { queue_name: "q", items: [item, item], all_or_none: true };
    const { body } = await w.server.call("/v2/queue.produce", request);
    return body.results[0].code === "unique_key_taken";
  }

  for (const [place, driver, threads] of PLACES) {
    const start = async (t: TestContext): Promise<Two> =>
      twoOf(await world(t, { threads, ...(await freshPlace(t, driver)) }));

    test(`for a time from its produce on, whatever becomes of it, on ${place}`, async (t) => {
      const { w, lease, second } = await start(t);
      const [id] = await w.produce("q", { ...replace, unique_for: "60s" });
      assert.equal(id, second);
      await w.server.advance("9s");
      await w.end("queue.complete", "q", [lease]);
      const [{ lease_id: next, utf8 }] = await w.lease("q");
      assert.equal(utf8, "c");
      await w.end("queue.complete", "q", [next]);
      assert.equal(await isTaken(w), true);
      await w.server.advance("52s");
      assert.equal(await isTaken(w), false);
    });

    test(`not at all, if its time is over before its turn, on ${place}`, async (t) => {
      const { w, lease } = await start(t);
      await w.produce("q", { ...replace, unique_for: "5s" });
      await w.server.advance("9s");
      assert.equal(await isTaken(w), true);
      await w.end("queue.complete", "q", [lease]);
      assert.equal(await isTaken(w), false);
      assert.deepEqual(await rest(w, "q"), [1, 0, ["c"]]);
    });

    test(`until it is leased for the first time, on ${place}`, async (t) => {
      const { w, lease } = await start(t);
      await w.produce("q", { ...replace, unique_while: "waiting" });
      await w.end("queue.complete", "q", [lease]);
      assert.equal(await isTaken(w), true);
      await w.lease("q");
      assert.equal(await isTaken(w), false);
    });
  }
});

test("what waits behind another shows no time, and explain says what it waits for", async (t) => {
  const { w, lease, second } = await twoOf(await world(t));
  const item = await w.get(second);
  assert.deepEqual([item.state, item.enqueue_at], ["scheduled", undefined]);
  const list = { queue_name: "q", state: "scheduled" };
  const [listed] = (await w.ok("items.list", list)).items;
  assert.deepEqual([listed.id, listed.enqueue_at], [second, undefined]);
  const { reasons, expected_at } = await w.ok("item.explain", { id: second });
  assert.deepEqual(
    [reasons, expected_at],
    [[{ code: "behind", detail: "it waits for the end of the item that has its key" }], undefined],
  );
  await w.end("queue.complete", "q", [lease]);
  assert.equal(await w.state(second), "waiting");
});

test("what waits behind another cannot be moved in time, and is told why", async (t) => {
  const { w, second } = await twoOf(await world(t));
  const { status, body } = await w.call("item.update", { id: second, delay: "0s" });
  assert.deepEqual([status, body.code], [409, "precondition_failed"]);
  assert.match(body.detail, /it waits for the end of the item that has its key/);
  assert.equal(await w.state(second), "scheduled");
});

test("an import of what was due in a time that never comes is due at once", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const items = [{ utf8: "a", enqueue_at: "2255-03-14T16:00:00Z" }];
  await w.ok("items.import", { queue_name: "q", items });
  assert.deepEqual(await rest(w, "q"), [1, 0, ["a"]]);
});
