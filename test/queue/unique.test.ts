// Unique keys: a queue has one item of each at a time, whatever its partition, its state and what is asked at
// once; the key is free in the commit that ends the item, however it ends, and not before.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { SECOND, VirtualClock } from "../../src/clock.ts";
import type { ServerOptions } from "../../src/config/config.ts";
import {
  Item,
  type Leased,
  LeaseRequest,
  ProduceRequest,
  type UniqueWish,
} from "../../src/queue/queue.ts";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { ItemRecord } from "../../src/storage/storage.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { TestQueue } from "../support/queue.ts";
import { type Reply, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

interface ProduceResult {
  readonly id: string;
  readonly status: string;
  readonly code?: string;
}

interface LeasedItem {
  readonly id: string;
  readonly lease_id: string;
  readonly utf8: string;
  readonly attempts: number;
}

class Producer {
  readonly server: TestServer;

  constructor(server: TestServer) {
    this.server = server;
  }

  call(items: readonly object[], more: object = {}): Promise<Reply> {
    return this.server.call("/v2/queue.produce", { queue_name: "q", items, ...more });
  }

  async all(...items: readonly object[]): Promise<readonly ProduceResult[]> {
    return (await this.server.ok("/v2/queue.produce", { queue_name: "q", items })).results;
  }

  /** One item with the key `k`, which must not be refused. */
  async one(utf8: string, more: object = {}): Promise<ProduceResult> {
    const [result] = await this.all({ utf8, unique_key: "k", ...more });
    return result!;
  }

  /** Whether the key is that of some item. */
  async isTaken(key = "k"): Promise<boolean> {
    const { status, body } = await this.call([
      { utf8: "probe", unique_key: key, on_duplicate: "reject" },
    ]);
    if (status === 409) {
      assert.equal(body.code, "unique_key_taken");
      return true;
    }
    const [{ id }] = body.results;
    await this.delete(id);
    return false;
  }

  async delete(...ids: readonly string[]): Promise<void> {
    await this.server.ok("/v2/items.delete", { queue_name: "q", ids });
  }

  async lease(batch_size = 1, request_timeout = "10s"): Promise<readonly LeasedItem[]> {
    const request = { queue_name: "q", batch_size, request_timeout };
    return (await this.server.ok("/v2/queue.lease", request)).items;
  }

  async end(verb: string, item: LeasedItem, more: object = {}): Promise<void> {
    const leases = [{ lease_id: item.lease_id, ...more }];
    const { results } = await this.server.ok(`/v2/queue.${verb}`, { queue_name: "q", leases });
    assert.equal(results[0].ok, true);
  }

  /** What waits, and what is scheduled. */
  async payloads(): Promise<readonly string[]> {
    const list = { queue_name: "q", payload: true };
    const { items: waiting = [] } = await this.server.ok("/v2/items.list", list);
    const { items: scheduled = [] } = await this.server.ok("/v2/items.list", {
      ...list,
      state: "scheduled",
    });
    return [...waiting, ...scheduled].map(({ utf8 }: { utf8: string }) => utf8);
  }
}

for (const [place, driver, threads] of PLACES) {
  const options = async (t: TestContext): Promise<ServerOptions> => ({
    threads,
    ...(await freshPlace(t, driver)),
  });

  const start = async (t: TestContext, settings: object = {}): Promise<Producer> => {
    const server = await setup(t, await options(t));
    await server.createQueue("q", settings);
    return new Producer(server);
  };

  describe(`unique keys on ${place}`, () => {
    test("the second item with a key is none, and answers the first, in whatever partition", async (t) => {
      const queue = await start(t, { requested_partitions: 3 });
      const first = await queue.one("a");
      assert.equal(first.status, "created");
      const { items: seen } = await queue.server.ok("/v2/items.list", { queue_name: "q" });
      assert.equal(seen[0].unique_key, "k");
      for (let i = 0; i < 4; i++) {
        await queue.all({ utf8: `other ${i}` }); // so that partitions differ
        assert.deepEqual(await queue.one("b"), { id: first.id, status: "duplicate" });
      }
      assert.equal((await queue.all({ utf8: "c", unique_key: "l" }))[0]?.status, "created");
      const items = [await queue.lease(9), await queue.lease(9), await queue.lease(9)].flat();
      assert.equal(items.find(({ id }) => id === first.id)?.utf8, "a");
      assert.deepEqual(await queue.one("b"), { id: first.id, status: "duplicate" });
    });

    test("of those that are sent at once one is created", async (t) => {
      const queue = await start(t, { requested_partitions: 2 });
      const results = await Promise.all(Array.from({ length: 12 }, (_, i) => queue.one(`${i}`)));
      assert.equal(new Set(results.map(({ id }) => id)).size, 1);
      assert.deepEqual(results.map(({ status }) => status).toSorted(), [
        "created",
        ...new Array(11).fill("duplicate"),
      ]);
      assert.equal((await queue.payloads()).length, 1);
    });

    test("so it is within one request, whose other items are created in order", async (t) => {
      const queue = await start(t);
      const results = await queue.all(
        { utf8: "a", unique_key: "k" },
        { utf8: "b" },
        { utf8: "c", unique_key: "k" },
        { utf8: "d", unique_key: "l", delay: "1h" },
        { utf8: "e", unique_key: "l", on_duplicate: "replace" },
        { utf8: "f" },
      );
      assert.deepEqual(
        results.map(({ status }) => status),
        ["created", "created", "duplicate", "scheduled", "replaced", "created"],
      );
      assert.equal(results[2]?.id, results[0]?.id);
      assert.equal(results[4]?.id, results[3]?.id);
      assert.deepEqual(await queue.payloads(), ["a", "b", "e", "f"]);
    });

    test("a refusal says which item has the key, and nothing is done", async (t) => {
      const queue = await start(t);
      const { id } = await queue.one("a");
      const reject = { utf8: "b", unique_key: "k", on_duplicate: "reject" };
      const { status, body } = await queue.call([reject]);
      assert.deepEqual(
        [status, body.code, body.field, body.details, body.retryable ?? false],
        [409, "unique_key_taken", "items[0].unique_key", { key: "k", id }, false],
      );
      const mixed = await queue.call([{ utf8: "c" }, reject]);
      assert.deepEqual([mixed.status, mixed.body.failed], [200, 1]);
      assert.deepEqual(
        [mixed.body.results[0].status, mixed.body.results[1].code, mixed.body.results[1].id],
        ["created", "unique_key_taken", undefined],
      );
      const none = await queue.call([{ utf8: "d" }, reject, { utf8: "e", unique_key: "m" }], {
        all_or_none: true,
      });
      assert.deepEqual([none.status, none.body.code], [409, "some_refused"]);
      assert.deepEqual(
        none.body.results.map(({ code }: { code?: string }) => code),
        [undefined, "unique_key_taken", undefined],
      );
      assert.equal(await queue.isTaken("m"), false);
      assert.deepEqual(await queue.payloads(), ["a", "c"]);
    });

    test("all or none of what can be done is done, also with the same key twice", async (t) => {
      const queue = await start(t);
      const reject = { unique_key: "k", on_duplicate: "reject" };
      const twice = await queue.call(
        [
          { utf8: "a", ...reject },
          { utf8: "b", ...reject },
        ],
        {
          all_or_none: true,
        },
      );
      assert.deepEqual([twice.status, twice.body.code], [409, "some_refused"]);
      assert.deepEqual(await queue.payloads(), []);
      const once = await queue.call([{ utf8: "a", ...reject }], { all_or_none: true });
      assert.deepEqual([once.status, once.body.results[0].status], [200, "created"]);
    });

    for (const [how, end] of Object.entries<(queue: Producer, id: string) => Promise<void>>({
      "is completed": async (queue) => {
        const [item] = await queue.lease();
        assert.equal(await queue.isTaken(), true);
        await queue.end("complete", item!);
      },
      "is completed after a retry and a release": async (queue) => {
        await queue.end("retry", (await queue.lease())[0]!);
        assert.equal(await queue.isTaken(), true);
        await queue.end("release", (await queue.lease())[0]!);
        assert.equal(await queue.isTaken(), true);
        await queue.end("complete", (await queue.lease())[0]!);
      },
      "is completed under /v1": async (queue) => {
        const { items } = await queue.server.lease("q");
        await queue.server.complete("q", [items[0].id]);
      },
      "is rejected": async (queue) => queue.end("reject", (await queue.lease())[0]!),
      "is deleted": async (queue, id) => queue.delete(id),
      "is deleted while it is leased": async (queue, id) => {
        await queue.lease();
        assert.equal(await queue.isTaken(), true);
        await queue.delete(id);
      },
      "is cleared": async (queue) => {
        await queue.server.ok("/v2/queue.clear", { queue_name: "q", queue: true });
      },
      "expires while it waits": async (queue) => {
        await queue.server.advance("25h");
      },
      "has been leased too often": async (queue) => {
        for (let i = 0; i < 3; i++) {
          assert.equal(await queue.isTaken(), true);
          const [item] = await queue.lease();
          if (i < 2) await queue.end("retry", item!);
        }
        await queue.server.advance("2m");
      },
    })) {
      test(`a key is free once its item ${how}`, async (t) => {
        const queue = await start(t, { max_attempts: 3 });
        const { id } = await queue.one("a");
        assert.equal(await queue.isTaken(), true);
        await end(queue, id);
        await queue.server.until(async () => !(await queue.isTaken()));
        assert.notEqual((await queue.one("b")).id, id);
        assert.deepEqual(await queue.payloads(), ["b"]);
      });

      test(`so it is with a dead queue once its item ${how}`, async (t) => {
        const server = await setup(t, await options(t));
        await server.createQueue("dead");
        await server.createQueue("q", { max_attempts: 3, dead_queue: "dead" });
        const queue = new Producer(server);
        const { id } = await queue.one("a");
        await end(queue, id);
        await server.until(async () => !(await queue.isTaken()));
        assert.equal((await queue.one("b")).status, "created");
        assert.equal(await queue.isTaken(), true);
      });
    }

    test("a key that is for as long as it waits is free once its item is leased", async (t) => {
      const queue = await start(t);
      const waiting = { unique_while: "waiting" };
      const first = await queue.one("a", waiting);
      assert.deepEqual(await queue.one("b", waiting), { id: first.id, status: "duplicate" });
      const [leased] = await queue.lease();
      const second = await queue.one("c", waiting);
      assert.equal(second.status, "created");
      // It comes back without its key, and takes none away.
      await queue.end("retry", leased!);
      assert.deepEqual(await queue.one("d", waiting), { id: second.id, status: "duplicate" });
      const items = await queue.lease(2);
      assert.deepEqual(
        items.map(({ utf8 }) => utf8),
        ["c", "a"],
      );
      const third = await queue.one("e", waiting);
      for (const item of items) await queue.end("complete", item);
      assert.deepEqual(await queue.one("f"), { id: third.id, status: "duplicate" });
    });

    test("so it is if a lease waits for it, in the same commit", async (t) => {
      const queue = await start(t);
      const request = { queue_name: "q", request_timeout: "10s" };
      const leasing = queue.server.ok("/v2/queue.lease", request);
      await queue.server.until(async () => (await queue.server.stats("q")).lease_waiting === 1);
      await queue.one("a", { unique_while: "waiting" });
      assert.equal((await leasing).items[0].utf8, "a");
      assert.equal(await queue.isTaken(), false);
    });

    test("a key that is for a time is free after it, and not before", async (t) => {
      const queue = await start(t);
      const { id } = await queue.one("a", { unique_for: "1h" });
      const [item] = await queue.lease();
      await queue.end("complete", item!);
      assert.deepEqual(await queue.one("b"), { id, status: "duplicate" });
      await queue.server.advance("59m");
      assert.deepEqual(await queue.one("b"), { id, status: "duplicate" });
      await queue.server.advance("1m");
      const second = await queue.one("c");
      assert.equal(second.status, "created");
      await queue.server.advance("2h"); // what ends by itself is swept, and not what took its place
      assert.deepEqual(await queue.one("d"), { id: second.id, status: "duplicate" });
    });

    test("an item whose time has passed leaves the key to the one that has it then", async (t) => {
      const queue = await start(t);
      await queue.one("a", { unique_for: "1m" });
      await queue.server.advance("1m");
      const second = await queue.one("b");
      const items = await queue.lease(2);
      await queue.end("retry", items[0]!);
      assert.deepEqual(await queue.one("c"), { id: second.id, status: "duplicate" });
      await queue.end("complete", (await queue.lease())[0]!);
      assert.deepEqual(await queue.one("c"), { id: second.id, status: "duplicate" });
    });

    test("replace gives what waits the new payload at the end of the line, under its id", async (t) => {
      const queue = await start(t, { requested_partitions: 2 });
      const first = await queue.one("a");
      await queue.all({ utf8: "x" }, { utf8: "y" }, { utf8: "z" });
      const replaced = await queue.one("b", { on_duplicate: "replace" });
      assert.deepEqual(replaced, { id: first.id, status: "replaced" });
      assert.deepEqual(await queue.one("c"), { id: first.id, status: "duplicate" });
      assert.deepEqual((await queue.one("d", { on_duplicate: "replace" })).id, first.id);
      const items = [...(await queue.lease(9)), ...(await queue.lease(9))];
      assert.deepEqual(items.map(({ utf8 }) => utf8).toSorted(), ["d", "x", "y", "z"]);
      const mine = items.find(({ id }) => id === first.id)!;
      assert.deepEqual([mine.utf8, mine.attempts], ["d", 1]);
      // What is leased is left alone.
      assert.deepEqual(await queue.one("e", { on_duplicate: "replace" }), {
        id: first.id,
        status: "duplicate",
      });
      await queue.end("complete", mine);
      assert.equal(await queue.isTaken(), false);
    });

    test("replace gives what is scheduled its time as well, and extend begins a delay anew", async (t) => {
      const queue = await start(t);
      const { id } = await queue.one("a", { delay: "10m" });
      await queue.server.advance("9m");
      const later = { delay: "10m", on_duplicate: "extend" };
      assert.deepEqual(await queue.one("b", later), { id, status: "replaced" });
      await queue.server.advance("9m");
      assert.equal((await queue.server.list("q", "scheduled")).length, 1);
      await queue.one("c", { on_duplicate: "extend" });
      await queue.server.advance("9m");
      assert.equal((await queue.server.list("q", "scheduled")).length, 1);
      await queue.server.advance("2m");
      await queue.server.until(async () => (await queue.server.list("q")).length === 1);
      const [item] = await queue.lease();
      assert.deepEqual([item!.id, item!.utf8], [id, "c"]);
      await queue.end("complete", item!);
      await queue.one("d", { delay: "10m" });
      await queue.one("e", { on_duplicate: "replace" });
      assert.equal((await queue.lease())[0]?.utf8, "e");
    });

    test("what is replaced while leases wait is leased once, and as it is then", async (t) => {
      const queue = await start(t);
      await queue.all({ utf8: "x" }, { utf8: "a", unique_key: "k" }, { utf8: "y" });
      const request = { queue_name: "q", batch_size: 9 };
      const [, { items }, more] = await Promise.all([
        queue.one("b", { on_duplicate: "replace" }),
        queue.server.ok("/v2/queue.lease", request),
        queue.lease(9, "10ms"),
      ]);
      const all = [...items, ...more, ...(await queue.lease(9, "10ms"))];
      const texts = all.map(({ utf8 }: LeasedItem) => utf8).toSorted();
      assert.ok(texts.join() === "b,x,y" || texts.join() === "a,x,y", texts.join());
      for (const item of all) await queue.end("complete", item);
      assert.equal(await queue.isTaken(), false);
    });

    test("keep_latest lets one run and one wait, with the newest payload", async (t) => {
      const queue = await start(t, { requested_partitions: 2 });
      const latest = { on_duplicate: "keep_latest" };
      const first = await queue.one("a", latest);
      assert.equal(first.status, "created");
      assert.deepEqual(await queue.one("b", latest), { id: first.id, status: "replaced" });
      const [running] = await queue.lease();
      assert.equal(running?.utf8, "b");
      const next = await queue.one("c", latest);
      assert.equal(next.status, "created");
      assert.notEqual(next.id, first.id);
      assert.deepEqual(await queue.one("d", latest), { id: next.id, status: "replaced" });
      assert.deepEqual(await queue.one("e"), { id: first.id, status: "duplicate" });
      assert.deepEqual(await queue.payloads(), ["b", "d"]);
      // It waits as long as the other one has not ended, also between its attempts.
      await queue.end("retry", running!);
      assert.deepEqual(await queue.one("f", latest), { id: next.id, status: "replaced" });
      const again = await queue.lease(9);
      assert.deepEqual(
        again.map(({ utf8 }) => utf8),
        ["b"],
      );
      await queue.end("complete", again[0]!);
      const [second] = await queue.lease(9);
      assert.deepEqual([second!.id, second!.utf8, second!.attempts], [next.id, "f", 1]);
      assert.equal(await queue.isTaken(), true);
      await queue.end("complete", second!);
      assert.equal(await queue.isTaken(), false);
      assert.deepEqual(await queue.payloads(), []);
    });

    test("keep_latest with a time has what waits behind another come at that time, after the end of the other", async (t) => {
      const queue = await start(t);
      const latest = { on_duplicate: "keep_latest" };
      // While none runs it waits for its time, and the newest has its own.
      const first = await queue.one("a", { ...latest, delay: "1h" });
      assert.equal(first.status, "scheduled");
      assert.deepEqual(await queue.one("b", latest), { id: first.id, status: "replaced" });
      const [running] = await queue.lease();
      assert.equal(running?.utf8, "b");
      // The first ends before the time of what waits, which was there before, and which comes in the same turn.
      const next = await queue.one("c", { ...latest, delay: "10m" });
      assert.equal(next.status, "created");
      const { enqueue_at } = await queue.server.ok("/v2/item.get", { id: next.id });
      await queue.end("complete", running!);
      const waits = await queue.server.ok("/v2/item.get", { id: next.id });
      assert.deepEqual([waits.state, waits.enqueue_at], ["scheduled", enqueue_at]);
      assert.equal(await queue.isTaken(), true);
      assert.deepEqual(await queue.one("d", { ...latest, delay: "20m" }), {
        id: next.id,
        status: "replaced",
      });
      await queue.server.advance("15m");
      assert.equal(await queue.isTaken(), true);
      await queue.server.advance("6m");
      const [second] = await queue.lease();
      assert.deepEqual([second!.id, second!.utf8, second!.attempts], [next.id, "d", 1]);
      // One whose time is over when its turn comes is there at once.
      await queue.one("e", { ...latest, delay: "1ms" });
      await queue.server.advance("1s");
      await queue.end("complete", second!);
      const [third] = await queue.lease();
      assert.equal(third?.utf8, "e");
      // The delay of what waits begins anew with extend.
      await queue.one("f", { ...latest, delay: "10m" });
      await queue.server.advance("30s");
      await queue.one("g", { on_duplicate: "extend" });
      await queue.end("complete", third!);
      await queue.server.advance("9m45s");
      assert.deepEqual(await queue.payloads(), ["g"]);
      await queue.server.advance("30s");
      const [fourth] = await queue.lease();
      await queue.end("complete", fourth!);
      assert.equal(await queue.isTaken(), false);
      assert.deepEqual(await queue.payloads(), []);
    });

    test("what waits behind an item can be deleted, and is as free as the key then", async (t) => {
      const queue = await start(t);
      const latest = { on_duplicate: "keep_latest" };
      await queue.one("a");
      const [running] = await queue.lease();
      await queue.delete((await queue.one("b", latest)).id);
      assert.equal((await queue.one("c", latest)).status, "created");
      await queue.server.ok("/v2/queue.clear", { queue_name: "q", scheduled: true });
      await queue.one("d", latest);
      await queue.delete(running!.id);
      assert.deepEqual(await queue.payloads(), ["d"]);
      await queue.server.ok("/v2/queue.clear", {
        queue_name: "q",
        queue: true,
        scheduled: true,
        destructive: true,
      });
      assert.equal(await queue.isTaken(), false);
    });

    test("what has a key can be updated and cancelled, and what waits behind it then has its turn", async (t) => {
      const queue = await start(t);
      const { id } = await queue.one("a", { delay: "1h" });
      const update = { queue_name: "q", id, utf8: "b", delay: "2h" };
      await queue.server.ok("/v2/item.update", update);
      assert.deepEqual(await queue.one("c"), { id, status: "duplicate" });
      await queue.server.ok("/v2/item.cancel", { queue_name: "q", id });
      assert.equal(await queue.isTaken(), false);
      await queue.one("d");
      const [running] = await queue.lease();
      const behind = await queue.one("e", { on_duplicate: "keep_latest" });
      const early = await queue.server.call("/v2/item.update", {
        queue_name: "q",
        id: behind.id,
        delay: "1s",
      });
      assert.deepEqual([early.status, early.body.code], [409, "precondition_failed"]);
      await queue.server.ok("/v2/item.update", { queue_name: "q", id: behind.id, utf8: "f" });
      await queue.end("complete", running!);
      const [next] = await queue.lease();
      assert.deepEqual([next?.id, next?.utf8], [behind.id, "f"]);
      assert.equal(await queue.isTaken(), true);
    });

    test("of those that come at once while one runs one waits, and all are answered", async (t) => {
      const queue = await start(t, { requested_partitions: 2 });
      await queue.one("a");
      const [running] = await queue.lease();
      const latest = { on_duplicate: "keep_latest" };
      const [results] = await Promise.all([
        Promise.all(Array.from({ length: 8 }, (_, i) => queue.one(`${i}`, latest))),
        queue.end("complete", running!),
      ]);
      const [last] = await queue.lease(9);
      assert.ok(results.some(({ id }) => id === last!.id));
      await queue.end("complete", last!);
      // Another may have come when nothing ran any more.
      const left = await queue.payloads();
      assert.ok(left.length <= 1, left.join());
      assert.equal(await queue.isTaken(), left.length === 1);
    });

    test("with an Idempotency-Key the same is answered, and done once", async (t) => {
      const queue = await start(t);
      const send = async (items: readonly object[]): Promise<Reply> => {
        const response = await fetch(`${queue.server.server.address}/v2/queue.produce`, {
          method: "POST",
          headers: { "Content-Type": "application/json", "Idempotency-Key": "i" },
          body: JSON.stringify({ queue_name: "q", items }),
        });
        return { status: response.status, body: await response.json() };
      };
      const { id } = await queue.one("a");
      const items = [
        { utf8: "b", unique_key: "k", on_duplicate: "replace" },
        { utf8: "c", unique_key: "k", on_duplicate: "reject" },
        { utf8: "d", unique_key: "l" },
      ];
      const first = await send(items);
      assert.deepEqual([first.body.results[0].id, first.body.failed], [id, 1]);
      await queue.delete(id);
      assert.deepEqual(await send(items), first);
      assert.deepEqual(await queue.payloads(), ["d"]);
    });

    if (driver !== "memory") {
      test("a restart changes nothing of it", async (t) => {
        const where = await options(t);
        const server = await setup(t, where);
        await server.createQueue("q", { requested_partitions: 2 });
        const before = new Producer(server);
        const [a, b, c, d] = await before.all(
          { utf8: "a", unique_key: "a" },
          { utf8: "b", unique_key: "b", unique_while: "waiting" },
          { utf8: "c", unique_key: "c", unique_for: "1h" },
          { utf8: "d", unique_key: "d", delay: "1h" },
        );
        const leased = await before.lease(9);
        assert.equal(leased.length, 3);
        await before.end("complete", leased.find(({ id }) => id === c!.id)!);
        await server.server.stop();
        const queue = new Producer(await setup(t, where));
        const results = await queue.all(
          { utf8: "a", unique_key: "a" },
          { utf8: "b", unique_key: "b" },
          { utf8: "c", unique_key: "c" },
          { utf8: "d", unique_key: "d", on_duplicate: "replace" },
        );
        assert.deepEqual(
          results.map(({ status }) => status),
          ["duplicate", "created", "duplicate", "replaced"],
        );
        assert.deepEqual([results[0]?.id, results[2]?.id, results[3]?.id], [a!.id, c!.id, d!.id]);
        for (const { id } of leased) {
          if (id !== c!.id) await queue.delete(id);
        }
        assert.deepEqual(
          [await queue.isTaken("a"), await queue.isTaken("b")],
          [false, true],
          b!.id,
        );
      });

      test("what waits behind another waits after a restart as well", async (t) => {
        const where = await options(t);
        const server = await setup(t, where);
        await server.createQueue("q");
        const before = new Producer(server);
        await before.one("a");
        const [running] = await before.lease();
        const { id } = await before.one("b", { on_duplicate: "keep_latest" });
        await server.server.stop();
        const queue = new Producer(await setup(t, where));
        assert.deepEqual(await queue.one("c", { on_duplicate: "keep_latest" }), {
          id,
          status: "replaced",
        });
        await queue.end("complete", running!);
        assert.equal((await queue.lease())[0]?.utf8, "c");
      });
    }
  });
}

test("what is wrong with unique keys is said, and nothing is done", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const queue = new Producer(server);
  for (const [item, field] of [
    [{ unique_key: "k".repeat(256) }, "unique_key"],
    [{ unique_key: "é".repeat(128) }, "unique_key"],
    [{ unique_key: "a\0b" }, "unique_key"],
    [{ unique_key: "k", unique_while: "leased" }, "unique_while"],
    [{ unique_key: "k", unique_for: "0s" }, "unique_for"],
    [{ unique_key: "k", unique_for: "-1s" }, "unique_for"],
    [{ unique_key: "k", unique_for: "8761h" }, "unique_for"],
    [{ unique_key: "k", unique_for: "soon" }, "unique_for"],
    [{ unique_key: "k", unique_for: "1h", unique_while: "waiting" }, "unique_for"],
    [{ unique_key: "k", unique_for: "1h", on_duplicate: "keep_latest" }, "unique_for"],
    [{ unique_key: "k", unique_while: "waiting", on_duplicate: "keep_latest" }, "unique_while"],
    [{ unique_key: "" }, "unique_key"],
    [{ unique_key: "", on_duplicate: "replace" }, "unique_key"],
    [{ unique_key: "k", on_duplicate: "ignore" }, "on_duplicate"],
    [{ unique_while: "waiting" }, "unique_while"],
    [{ unique_for: "1h" }, "unique_for"],
    [{ on_duplicate: "reject" }, "on_duplicate"],
  ] as const) {
    const { status, body } = await queue.call([{ utf8: "a" }, { utf8: "b", ...item }]);
    assert.deepEqual([status, body.field], [400, `items[1].${field}`], JSON.stringify(item));
  }
  assert.deepEqual(await queue.payloads(), []);
  const longest = { utf8: "a", unique_key: "é".repeat(127), unique_for: "8760h" };
  assert.equal((await queue.all(longest))[0]?.status, "created");
});

function keyed(text: string, deadline: number, wish: Partial<UniqueWish> = {}): ProduceRequest {
  const item = new Item(new ItemRecord("", Buffer.from(text)), 0);
  const unique = { key: "k", while: "pending", for: 0, onDuplicate: "return", ...wish } as const;
  return new ProduceRequest([item], deadline, [unique]);
}

const textOf = ({ records }: Leased): readonly string[] =>
  records.map(({ payload }) => payload.toString());

test("what is replaced in a turn is not leased in the same one as it was", async (t) => {
  const { queue, deadline } = await TestQueue.open(t, {});
  const plain = new ProduceRequest([new Item(new ItemRecord("", Buffer.from("x")), 0)], deadline);
  await queue.submit(keyed("a", deadline));
  await queue.submit(plain);
  const [replaced, leased] = await Promise.all([
    queue.submit(keyed("b", deadline, { onDuplicate: "replace" })),
    queue.submit(new LeaseRequest("c", 9, deadline)),
  ]);
  assert.equal(replaced.each?.[0]?.status, "replaced");
  assert.deepEqual(textOf(leased).toSorted(), ["b", "x"]);
});

test("while a partition fails items with keys are refused, and others are not", async (t) => {
  const faulty = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const storages = [faulty.storage, new MemoryStorage({ name: "b" })];
  const { queue, deadline } = await TestQueue.open(t, { storages });
  faulty.always("findKeys", "fail");
  await assert.rejects(queue.submit(keyed("a", deadline)), { code: "partition_failing" });
  const item = new Item(new ItemRecord("", Buffer.from("x")), 0);
  const { partition } = await queue.submit(new ProduceRequest([item], deadline));
  assert.equal(partition, 1);
});

test("a commit that fails replaces nothing, and takes no key", async (t) => {
  const faulty = new FaultyStorage(new MemoryStorage({ name: "a" }));
  const clock = new VirtualClock();
  const { queue, deadline } = await TestQueue.open(t, { storages: [faulty.storage], clock });
  await queue.submit(keyed("a", deadline));
  faulty.always("commit", "fail");
  const failing = [
    queue.submit(keyed("b", deadline, { onDuplicate: "replace" })),
    queue.submit(keyed("c", deadline, { key: "l" })),
    queue.submit(keyed("d", deadline, { key: "l" })),
  ];
  for (const each of await Promise.allSettled(failing)) assert.equal(each.status, "rejected");
  faulty.heal();
  clock.advance(SECOND);
  const leased = await queue.submit(new LeaseRequest("c", 9, deadline));
  assert.deepEqual(textOf(leased), ["a"]);
  const { each } = await queue.submit(keyed("e", deadline, { key: "l" }));
  assert.equal(each?.[0]?.status, "created");
});
