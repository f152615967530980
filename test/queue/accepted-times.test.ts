// A time that was accepted is kept: an item that is to be leasable later than it expires is leasable
// then, whatever it has been through, and its time to be leased begins anew. What its consumer gave up
// still goes to the dead queue, and is never handed out again.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { payloads, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const HOUR = 3_600_000;
const SHORT = { lease_timeout: "10m", expire_timeout: "1h" };

function later(now: string, hours: number): string {
  return new Date(Date.parse(now) + hours * HOUR).toISOString();
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });

  const isWaiting = (server: TestServer, queue: string, count: number): Promise<unknown> =>
    server.until(async () => (await server.list(queue)).length === count);

  describe(`a time that was accepted, on ${place}`, () => {
    for (const deadQueue of ["", "dead"]) {
      test(`a retry later than the expiry is kept ${deadQueue === "" ? "without" : "with"} a dead queue`, async (t) => {
        const server = await start(t);
        await server.createQueue("dead");
        await server.createQueue("q", { ...SHORT, dead_queue: deadQueue });
        const { now } = await server.advance("0s");
        await server.produce("q", "a");
        const { items } = await server.lease("q");
        const retry = { id: items[0].id, retry_at: later(now, 2) };
        assert.equal((await server.retry("q", [retry])).status, 200);
        await server.advance("2h1s");
        await isWaiting(server, "q", 1);
        // As long as the queue says, from then on.
        await server.advance("59m");
        const again = await server.lease("q");
        assert.deepEqual(payloads(again), ["a"]);
        assert.equal(again.items[0].attempts, 2);
        assert.equal((await server.complete("q", [again.items[0].id])).status, 200);
        assert.deepEqual(await server.list("dead"), []);
      });
    }

    test("it is not leasable for ever: it expires as anew", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { ...SHORT, dead_queue: "dead" });
      const { now } = await server.advance("0s");
      await server.produce("q", "a");
      const { items } = await server.lease("q");
      await server.retry("q", [{ id: items[0].id, retry_at: later(now, 2) }]);
      await server.advance("2h1s");
      await isWaiting(server, "q", 1);
      await server.advance("61m");
      await isWaiting(server, "dead", 1);
      assert.deepEqual(await server.list("q"), []);
    });

    test("an item that expired while it was leased is kept if its retry is for later", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { lease_timeout: "1h", expire_timeout: "1h" });
      await server.advance("0s");
      await server.produce("q", "a");
      await server.advance("30m");
      const { items } = await server.lease("q");
      const { now } = await server.advance("45m");
      const retry = { id: items[0].id, retry_at: later(now, 1) };
      assert.equal((await server.retry("q", [retry])).status, 200);
      assert.equal((await server.list("q", "scheduled")).length, 1);
      await server.advance("61m");
      await isWaiting(server, "q", 1);
      assert.deepEqual(payloads(await server.lease("q")), ["a"]);
    });

    test("max_attempts still counts", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { ...SHORT, dead_queue: "dead", max_attempts: 2 });
      let { now } = await server.advance("0s");
      await server.produce("q", "a");
      for (let attempt = 1; attempt <= 2; attempt++) {
        const { items } = await server.lease("q");
        assert.equal(items[0].attempts, attempt);
        await server.retry("q", [{ id: items[0].id, retry_at: later(now, 2) }]);
        ({ now } = await server.advance("2h1s"));
        if (attempt === 1) await isWaiting(server, "q", 1);
      }
      await isWaiting(server, "dead", 1);
      assert.deepEqual(await server.list("q"), []);
      assert.deepEqual(await server.list("q", "scheduled"), []);
    });

    test("an import that was leased before, and has expired when it is due, is kept", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { ...SHORT, dead_queue: "dead" });
      const { now } = await server.advance("0s");
      // The last one expires a microsecond before it is due: what was given up is never taken for it.
      const dues = [later(now, 2), later(now, 2).replace("Z", "001Z")];
      const items = dues.map((enqueue_at, i) => ({
        enqueue_at,
        expire_at: later(now, 2 - 1 + i),
        attempts: 3,
        utf8: `${i}`,
      }));
      await server.ok("/v2/items.import", { queue_name: "q", items });
      await server.advance("2h1s");
      await isWaiting(server, "q", 2);
      assert.deepEqual(payloads(await server.lease("q", 2)), ["0", "1"]);
      assert.deepEqual(await server.list("dead"), []);
    });

    test("a retry a microsecond after the expiry is kept too", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { ...SHORT, dead_queue: "dead" });
      await server.advance("0s");
      await server.produce("q", "a");
      const { items } = await server.lease("q");
      const [{ expire_deadline }] = await server.list("q");
      const micros = Number(/\.(\d+)Z$/.exec(expire_deadline)?.[1]?.padEnd(6, "0") ?? 0) + 1;
      const retry_at = expire_deadline.replace(
        /(\.\d+)?Z$/,
        `.${String(micros).padStart(6, "0")}Z`,
      );
      await server.retry("q", [{ id: items[0].id, retry_at }]);
      await server.advance("1h1s");
      await isWaiting(server, "q", 1);
      assert.deepEqual(payloads(await server.lease("q")), ["a"]);
      assert.deepEqual(await server.list("dead"), []);
    });
  });
}

for (const driver of ["memory", "sqlite", "postgres"] as const) {
  test(`what never expires is there after ninety years, to the microsecond (${driver})`, async (t) => {
    const place = await freshPlace(t, driver);
    const server = await setup(t, place);
    // As command line and client write it; the Go server reads it as well.
    const expire_timeout = "876000h0m0s";
    await server.createQueue("q", { expire_timeout });
    const info = await server.ok("queues.info", { queue_name: "q" });
    assert.equal(info.expire_timeout, expire_timeout);
    const { now } = await server.advance("0s");
    await server.produce("q", "a", "b");
    const { items } = await server.lease("q");
    await server.retry("q", [{ id: items[0].id, retry_at: later(now, 24) }]);
    const [item] = await server.list("q");
    assert.equal(micros(item.expire_deadline) - micros(item.created_at), 3_153_600_000_000_000n);
    await server.advance("788400h");
    await isThere(server, 2);
    assert.deepEqual(payloads(await server.lease("q", 2)), ["b", "a"]);
    const { logical_queues: logicalQueues } = await server.ok("/v2/queue.stats", {
      queue_name: "q",
    });
    assert.equal(logicalQueues[0].dropped, undefined);
  });
}

const isThere = (server: TestServer, count: number): Promise<unknown> =>
  server.until(async () => (await server.list("q")).length === count);

function micros(text: string): bigint {
  const [, seconds, fraction = ""] = /^(.{19})(?:\.(\d+))?Z$/.exec(text)!;
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000n + BigInt(fraction.padEnd(6, "0").slice(0, 6));
}

test("a time that was accepted outlasts a restart that comes after it", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const first = await setup(t, place);
  await first.createQueue("dead");
  await first.createQueue("q", { lease_timeout: "1s", expire_timeout: "1s", dead_queue: "dead" });
  await first.produce("q", "a");
  const { items } = await first.lease("q");
  const retry_at = new Date(Date.now() + 1_500).toISOString();
  assert.equal((await first.retry("q", [{ id: items[0].id, retry_at }])).status, 200);
  await first.server.stop();
  await new Promise((resolve) => setTimeout(resolve, 1_600));
  const second = await setup(t, place);
  assert.deepEqual(payloads(await second.lease("q")), ["a"]);
});
