// What is repeated and what is not, shown by a proxy that loses requests and replies, and answers in the
// server's place.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  LeaseLostError,
  NetworkError,
  QueratorError,
  type RetryOptions,
  ServerError,
  TimeoutError,
  TryAgainError,
} from "@querator/client";
import { MESSAGES, retryLater } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Mailbox } from "../../src/queue/mailbox.ts";
import { ProduceRequest } from "../../src/queue/requests.ts";
import {
  CUT_CLIENT,
  LOSE_REPLY,
  LOSE_REQUEST,
  PASS,
  proxyOf,
  refuse,
  type Treatment,
} from "./proxy.ts";
import { clientOf, setup } from "./setup.ts";

/** A client whose first requests are treated in turn, and all others pass. */
async function treated(t: TestContext, ...treatments: Treatment[]) {
  return treatedWith(t, {}, ...treatments);
}

async function treatedWith(
  t: TestContext,
  retry: Partial<RetryOptions>,
  ...treatments: Treatment[]
) {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  proxy.treat = (_, number) => treatments[number - 1] ?? PASS;
  const client = clientOf(t, proxy.url, { retry: { baseMs: 1, capMs: 2, ...retry } });
  return { client, direct, proxy };
}

const TAKEN_OVER = "another server has taken over; what was asked of this one may have been done";
const OVERLOADED = refuse(454, "queue is overloaded; try again later");
const NOT_EXECUTED = refuse(454, "request timeout; the request was not executed, try again");
const UNKNOWN = refuse(454, "internal error, try your request again");
const STOPPING = refuse(453, "service is shutting down");

test("a call that only reads is repeated after whatever may pass", async (t) => {
  const { client, proxy } = await treated(
    t,
    LOSE_REPLY,
    LOSE_REQUEST,
    OVERLOADED,
    UNKNOWN,
    STOPPING,
    refuse(500, "Internal Error"),
  );
  assert.equal((await client.stats("jobs")).total, 0);
  assert.equal(proxy.requests.length, 7);
});

test("a produce is repeated when it surely did not happen", async (t) => {
  const { client, direct, proxy } = await treated(t, OVERLOADED, NOT_EXECUTED, STOPPING);
  await client.produce("jobs", { payload: "once" });
  assert.equal(proxy.requests.length, 4);
  assert.equal((await direct.stats("jobs")).total, 1);
});

for (const refusal of [
  refuse(454, "another server owns the data; try again later, or another server"),
  refuse(453, "queue is shutting down"),
  refuse(408, "service is shutting down"),
]) {
  test(`a produce is repeated after ${refusal.body}`, async (t) => {
    const { client, direct, proxy } = await treated(t, refusal, refusal);
    await client.produce("jobs", { payload: "once" });
    assert.equal(proxy.requests.length, 3);
    assert.equal((await direct.stats("jobs")).total, 1);
  });
}

test("what ends leases is surely not done by a queue that stops, under either version", async (t) => {
  const stopped = refuse(453, "queue is shutting down");
  const all = Array.from({ length: 5 }, () => stopped);
  const { client, direct } = await treatedWith(t, { attemptsMax: 1 }, ...all);
  await direct.produce("jobs", {});
  const [item] = await direct.lease("jobs");
  const isSure = (error: unknown): boolean => error instanceof QueratorError && !error.uncertain;
  for (const end of ["complete", "retry", "release", "reject"] as const) {
    await assert.rejects(client[end]("jobs", item!), isSure);
  }
  await assert.rejects(client.extend("jobs", item!, { for: "1m" }), isSure);
});

test("what may be done in part when a server ends is not repeated", async (t) => {
  const stopped = refuse(453, "queue is shutting down");
  const lost = refuse(454, TAKEN_OVER);
  const { client } = await treated(t, stopped, lost);
  for (let i = 0; i < 2; i++) {
    await assert.rejects(client.clear("jobs", { queue: true }), (error) => {
      return error instanceof QueratorError && error.uncertain && error.retryable;
    });
  }
});

test("an operation that a server ends when it loses the data says that it may be done", async () => {
  const mailbox = new Mailbox(DEFAULT_LIMITS, { leases: 0 });
  const said: string[] = [];
  const operation = {
    partitions: [],
    step: async () => false,
    fail: ({ message }: Error) => void said.push(message),
  };
  const produce = new ProduceRequest([], Number.POSITIVE_INFINITY);
  mailbox.addOperation(operation);
  mailbox.add(produce);
  mailbox.close(retryLater(MESSAGES.standby));
  mailbox.addOperation(operation);
  await assert.rejects(produce.promise, { message: MESSAGES.standby });
  assert.deepEqual(said, [TAKEN_OVER, TAKEN_OVER]);
});

for (const [name, treatment, ErrorClass] of [
  ["the reply is lost", LOSE_REPLY, NetworkError],
  ["the server does not know", UNKNOWN, TryAgainError],
] as const) {
  test(`a produce is repeated under its key when ${name}, and done once`, async (t) => {
    const { client, direct, proxy } = await treated(t, treatment, treatment);
    const { id, status } = await client.produce("jobs", { payload: "once" });
    const [first, ...repeats] = proxy.requests;
    assert.match(first!.key!, /^\S{20,}$/);
    assert.deepEqual(repeats, [first, first]);
    const items = await Array.fromAsync(direct.items.list("jobs"), (item) => item.id);
    assert.deepEqual([items, status], [[id], "created"]);
    await client.produce("jobs", {});
    assert.notEqual(proxy.requests.at(-1)!.key, first!.key);
  });

  test(`a produce that may be there twice has no key, and is repeated when ${name}`, async (t) => {
    const { client, direct, proxy } = await treated(t, treatment);
    await client.produce("jobs", {}, { mayRepeat: true });
    assert.deepEqual(
      proxy.requests.map(({ key }) => key),
      [undefined, undefined],
    );
    assert.equal((await direct.stats("jobs")).total, treatment === LOSE_REPLY ? 2 : 1);
  });

  test(`a produce in /v1, which has no keys, is not repeated when ${name}`, async (t) => {
    const page = { kind: "answer", status: 404, body: "<html>not here</html>" } as const;
    const { client, direct, proxy } = await treated(t, page, treatment, treatment);
    await assert.rejects(client.produce("jobs", {}), (error) => {
      assert.ok(error instanceof ErrorClass);
      return error.uncertain && error.retryable;
    });
    assert.equal(proxy.requests.length, 2);
    await client.produce("jobs", {}, { mayRepeat: true });
    assert.equal(proxy.requests.length, 4);
    assert.equal((await direct.stats("jobs")).total, treatment === LOSE_REPLY ? 3 : 1);
  });
}

test("of a produce that is repeated under its key nobody leaves, and what comes later travels by itself", async (t) => {
  const { server, client: direct } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const controller = new AbortController();
  proxy.treat = (_, number) => {
    if (number === 1) controller.abort(new Error("enough"));
    return number === 1 ? LOSE_REPLY : PASS;
  };
  const client = clientOf(t, proxy.url, { retry: { baseMs: 1, capMs: 2 } });
  const { signal } = controller;
  const left = assert.rejects(client.produce("jobs", { payload: "left" }, { signal }), /enough/);
  const { id } = await client.produce("jobs", { payload: "stays" });
  await left;
  const [first, second] = proxy.requests;
  assert.deepEqual(second, first);
  const items = await Array.fromAsync(direct.items.list("jobs"), (item) => [
    Buffer.from(item.payload).toString(),
    item.id === id,
  ]);
  assert.deepEqual(items, [
    ["left", false],
    ["stays", true],
  ]);
});

test("a call stays uncertain if the server was sure of its last attempt only", async (t) => {
  const refused = Array(9).fill(OVERLOADED);
  const { client, direct } = await treatedWith(t, { attemptsMax: 8 }, LOSE_REPLY, ...refused);
  await assert.rejects(client.produce("jobs", {}, { mayRepeat: true }), (error) => {
    assert.ok(error instanceof TryAgainError);
    return error.uncertain;
  });
  assert.equal((await direct.stats("jobs")).total, 1);
});

for (const verb of ["complete", "retry"] as const) {
  test(`${verb}: what was done before its reply was lost is done`, async (t) => {
    const { client, direct, proxy } = await treated(t, LOSE_REPLY);
    await direct.produce("jobs", [{}, {}, {}]);
    const items = await direct.lease("jobs", { batchSize: 3 });
    await Promise.all([client[verb]("jobs", items[0]!), client[verb]("jobs", items.slice(1))]);
    assert.ok(proxy.requests.length > 1);
    assert.equal((await direct.stats("jobs")).totalLeased, 0);
  });

  test(`${verb}: what was not done before its request was lost is done by the next`, async (t) => {
    const { client, direct } = await treated(t, LOSE_REQUEST);
    await direct.produce("jobs", [{}, {}, {}]);
    const items = await direct.lease("jobs", { batchSize: 3 });
    await direct.complete("jobs", items[1]!);
    await client[verb]("jobs", items);
    assert.equal((await direct.stats("jobs")).totalLeased, 0);
  });
}

test("an item that is not leased is an error when no reply was lost", async (t) => {
  const { client, direct } = await treated(t, OVERLOADED);
  await direct.produce("jobs", {});
  const [item] = await direct.lease("jobs");
  await direct.complete("jobs", item!);
  await assert.rejects(client.complete("jobs", item!), LeaseLostError);
});

test("what a wrong request gets is not repeated", async (t) => {
  const { client, proxy } = await treated(t);
  await assert.rejects(client.stats("nowhere"));
  assert.equal(proxy.requests.length, 1);
});

test("repeats end after as many requests as were allowed", async (t) => {
  const refused = Array.from({ length: 50 }, () => OVERLOADED);
  const { client, proxy } = await treatedWith(t, { attemptsMax: 8 }, ...refused);
  await assert.rejects(client.produce("jobs", {}), TryAgainError);
  assert.equal(proxy.requests.length, 8);
});

test("an abort ends the waiting between repeats", async (t) => {
  const { server } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  const controller = new AbortController();
  proxy.treat = () => {
    setImmediate(() => controller.abort(new Error("enough")));
    return OVERLOADED;
  };
  const client = clientOf(t, proxy.url, {
    retry: { baseMs: 1e9, capMs: 1e9 },
    requestTimeout: "14m",
  });
  const { signal } = controller;
  await assert.rejects(client.produce("jobs", {}, { signal }), /enough/);
});

test("a client gives up when its server answers nothing in time", async (t) => {
  const { server } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  proxy.treat = () => new Promise(() => undefined);
  const client = clientOf(t, proxy.url, { timeoutMargin: 20, retry: { attemptsMax: 1 } });
  await assert.rejects(client.produce("jobs", {}, { requestTimeout: "30ms" }), (error) => {
    assert.ok(error instanceof TimeoutError && error.uncertain);
    assert.match(error.message, /within (50|4\d) ms/);
    return true;
  });
});

test("an answer that is not Querator's is told as such", async (t) => {
  const page = { kind: "answer", status: 404, body: "<html>not here</html>" } as const;
  // Asked for under /v2 first, then under /v1, which is then believed.
  const { client } = await treated(t, page, page, { ...page, status: 200 });
  await assert.rejects(client.stats("jobs"), /status 404 in a form that is not Querator's: <html>/);
  await assert.rejects(client.stats("jobs"), /not JSON: <html>/);
});

for (const body of ["<html>please log in</html>", "null", '{"code":201}', "{}"]) {
  test(`an answer of ${body} with status 200 is not taken for success`, async (t) => {
    const page = { kind: "answer", status: 200, body } as const;
    const { client, direct } = await treated(t, ...Array.from({ length: 9 }, () => page));
    await direct.produce("jobs", {});
    const [item] = await direct.lease("jobs");
    const isStrange = (error: unknown): boolean =>
      error instanceof ServerError && error.code === "invalid-reply" && error.uncertain;
    await assert.rejects(client.produce("jobs", {}), isStrange);
    await assert.rejects(client.complete("jobs", item!), isStrange);
    await assert.rejects(client.retry("jobs", item!), isStrange);
    await assert.rejects(client.lease("jobs"), isStrange);
    await assert.rejects(client.lease("jobs", { isShared: false }), isStrange);
    await assert.rejects(client.extend("jobs", item!, { for: "1m" }), isStrange);
  });
}

test("JSON of status 200 that is not Querator's is no answer to any call", async (t) => {
  const { server } = await setup(t);
  const proxy = await proxyOf(t, server.server.address);
  proxy.treat = () => ({ kind: "answer", status: 200, body: '{"login":"required"}' });
  const client = clientOf(t, proxy.url);
  const settings = { queueName: "more", leaseTimeout: "1m", expireTimeout: "24h" };
  for (const call of [
    () => client.queues.create(settings),
    () => client.queues.createIfMissing(settings),
    () => client.queues.update("jobs", {}),
    () => client.queues.delete("jobs"),
    () => client.queues.info("jobs"),
    () => client.queues.list().next(),
    () => client.clear("jobs", { queue: true }),
    () => client.reload("jobs"),
    () => client.stats("jobs"),
    () => client.items.list("jobs").next(),
    () => client.items.import("jobs", [{}]),
    () => client.items.delete("jobs", ["id"]),
    () => client.items.list("jobs", { state: "scheduled" }).next(),
    () => client.health(),
  ]) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof ServerError && error.code === "invalid-reply", String(call));
      return true;
    });
  }
});

test("a lease is repeated although the server may hold the first request still", async (t) => {
  const { client, direct } = await treated(t, CUT_CLIENT);
  const lease = client.lease("jobs", { isShared: false });
  const waiting = async (): Promise<number> =>
    (await direct.stats("jobs")).logicalQueues[0]!.leaseWaiting;
  const failed = lease.then(
    () => false,
    () => true,
  );
  while ((await waiting()) < 2) {
    if (await Promise.race([failed, false])) break;
  }
  // The first is for the request that nobody hears of.
  await direct.produce("jobs", [{ payload: "lost" }, { payload: "mine" }]);
  assert.equal((await lease)[0]!.text, "mine");
});

test("a repeated lease asks for no more than what is left of its time", async (t) => {
  const { client, direct, proxy } = await treated(t, LOSE_REQUEST);
  await direct.produce("jobs", {});
  await client.lease("jobs", { isShared: false, requestTimeout: "10s" });
  const [first, second] = proxy.requests.map(
    ({ body }) => (JSON.parse(body) as { request_timeout: string }).request_timeout,
  );
  assert.equal(first, "10000000us");
  assert.ok(Number.parseInt(second!, 10) < 10_000_000);
});
