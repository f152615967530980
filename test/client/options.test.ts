// An option that nobody knows has no effect: so it is an error at the call, with the nearest name that there is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidRequestError, type QueratorClient, UniqueKeyTakenError } from "@querator/client";
import { startTestServer } from "../../src/testing.ts";

const ID = "000000000000000000000000001";

type Call = (client: QueratorClient) => Promise<unknown>;

// What a program without types may say, and what is answered.
const SLIPS: readonly (readonly [call: Call, told: RegExp])[] = [
  [(c) => c.produce("q", {}, odd({ allornone: true })), /produce has no .* mean 'allOrNone'/],
  [
    (c) => c.lease("q", odd({ batchsize: 2 })),
    /lease has no 'batchsize'; did you mean 'batchSize'/,
  ],
  [(c) => c.complete("q", ID, odd({ results: 1 })), /complete has no .* mean 'result'/],
  [(c) => c.complete("q", odd({ leaseId: ID, results: 1 })), /what is complete has no 'results'/],
  [(c) => c.retry("q", odd({ leaseId: ID, after: "1m" })), /what is given back has no 'after'/],
  [(c) => c.retry("q", { leaseId: ID }, odd({ ondead: test })), /retry has no .* mean 'onDead'/],
  [(c) => c.release("q", odd({ leaseId: ID, error: {} })), /what is released has no 'error'/],
  [(c) => c.release("q", { leaseId: ID }, odd({ wait: 1 })), /release has no 'wait'/],
  [(c) => c.reject("q", odd({ leaseId: ID, reason: "x" })), /what is rejected has no 'reason'/],
  [(c) => c.reject("q", ID, odd({ errors: {} })), /reject has no 'errors'/],
  [(c) => c.extend("q", ID, odd({ for: "1m", duration: 1 })), /extend has no 'duration'/],
  [
    (c) => c.extend("q", odd({ leaseId: ID, fore: 1 }), { for: 1 }),
    /what is extended has no 'fore'/,
  ],
  [(c) => c.items.get(ID, odd({ queue: "q" })), /items.get has no 'queue'/],
  [(c) => c.items.cancel(ID, odd({ queuename: "q" })), /items.cancel has no .* mean 'queueName'/],
  [
    (c) => c.items.update(ID, {}, odd({ ifstate: "held" })),
    /items.update has no .* mean 'ifState'/,
  ],
  [(c) => c.items.wait(ID, odd({ timeout: "1m" })), /items.wait has no 'timeout'/],
  [(c) => c.items.explain(ID, odd({ payload: true })), /items.explain has no 'payload'/],
  [async (c) => c.items.list("q", odd({ status: "dead" })).next(), /items.list has no 'status'/],
];

// biome-ignore lint/suspicious/noExplicitAny: what a program without types says
function odd(options: object): any {
  return options;
}

test("a name that a call does not know is refused, with the nearest that there is", async (t) => {
  const { client, stop } = await start();
  t.after(stop);
  for (const [call, told] of SLIPS) {
    await assert.rejects(call(client), (error) => {
      assert.ok(error instanceof InvalidRequestError);
      assert.match(error.message, told);
      return true;
    });
  }
  assert.equal((await client.stats("q")).total, 0);
});

test("a produce with allOrNone produces all of its items, or none and tells why of each", async (t) => {
  const { client, stop } = await start();
  t.after(stop);
  const one = { uniqueKey: "k", onDuplicate: "reject" } as const;
  const [first] = await client.produce("q", [one, {}], { allOrNone: true });
  assert.equal(first?.status, "created");
  await assert.rejects(client.produce("q", [{}, one, {}], { allOrNone: true }), (error) => {
    assert.ok(error instanceof UniqueKeyTakenError);
    assert.deepEqual([error.failures.map(({ index }) => index), error.uncertain], [[1], false]);
    return true;
  });
  assert.equal((await client.stats("q")).total, 2);
  const many = Array.from({ length: 1_001 }, () => ({}));
  await assert.rejects(client.produce("q", many, { allOrNone: true }), InvalidRequestError);
  // Without it the others are there.
  await assert.rejects(client.produce("q", [{}, one, {}]), UniqueKeyTakenError);
  assert.equal((await client.stats("q")).total, 4);
});

test("an item may live for ever in a queue in which others do not", async (t) => {
  const { client, stop } = await start();
  t.after(stop);
  const { id } = await client.produce("q", { expireIn: "never" });
  const { expireAt } = await client.items.update(id!, { expireIn: "1h" });
  assert.ok(expireAt!.getTime() < Date.now() + 2 * 3_600_000);
  const changed = await client.items.update(id!, { expireIn: "never" });
  assert.ok(changed.expireAt!.getFullYear() > 2100);
});

async function start() {
  const server = await startTestServer({ queues: ["q"] });
  return { client: server.client, stop: () => server.stop() };
}
