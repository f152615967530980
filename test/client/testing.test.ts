// The helper for tests: virtual time, draining, waiting.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startTestServer } from "../../src/testing.ts";

test("time moves as it is told, for the server and for the client", async () => {
  await using server = await startTestServer({ queues: ["jobs"] });
  const { client, clock } = server;
  await client.produce("jobs", { payload: "work" });
  const [item] = await client.lease("jobs");
  await clock.advance("1h");
  assert.ok(client.now() > item!.leaseDeadlineMs);
  const [again] = await client.lease("jobs");
  assert.equal(again!.attempts, 2);
  const from = clock.now().getTime();
  await clock.advance(90_000);
  assert.equal(clock.now().getTime() - from, 90_000);
  const later = new Date(from + 7_200_000);
  await clock.set(later);
  assert.deepEqual(clock.now(), later);
  await assert.rejects(clock.set(new Date(later.getTime() - 1)), /cannot go back to/);
  assert.deepEqual(clock.now(), later);
  for (const none of [Number.NaN, Number.POSITIVE_INFINITY]) {
    await assert.rejects(clock.advance(none), /Cannot change the clock: advance is invalid; got/);
  }
  await assert.rejects(clock.advance("soon"), /Cannot change the clock: advance is invalid/);
  await clock.run();
  await server.waitFor(() => clock.now() > later);
});

test("draining waits for the last item, and says what is left if it does not come", async () => {
  await using server = await startTestServer({ queues: ["jobs", "other"] });
  const { client } = server;
  await client.produce("jobs", [{}, {}]);
  await client.lease("jobs");
  await assert.rejects(
    server.drain(undefined, { timeoutMs: 1 }),
    /Queues do not drain: 'jobs' holds 2 items, 1 of them leased/,
  );
  await client.clear("jobs", { queue: true, destructive: true });
  await server.drain();
});

test("waiting answers what was waited for, and ends", async () => {
  await using server = await startTestServer();
  let looks = 0;
  const seen = await server.waitFor(() => (++looks === 3 ? `look ${looks}` : undefined));
  assert.equal(seen, "look 3");
  await assert.rejects(
    server.waitFor(() => false, { timeoutMs: 1 }),
    /within 1 ms/,
  );
  // Also of one that is never answered.
  await assert.rejects(
    server.waitFor(() => new Promise<boolean>(() => {}), { timeoutMs: 1 }),
    /within 1 ms/,
  );
});

test("several servers stand beside each other, and a wrong queue leaves none behind", async () => {
  await using one = await startTestServer({ queues: ["jobs"] });
  await using two = await startTestServer({ queues: ["jobs"] });
  await one.client.produce("jobs", {});
  assert.equal((await two.client.stats("jobs")).total, 0);
  await assert.rejects(startTestServer({ queues: ["a b"] }), /cannot contain whitespace/);
});
