// What calls about single items, endings, dead letters and settings are on the wire, and what their replies become:
// shown by a server that only writes down what it is sent. What they do is in the tests beside this.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import {
  InvalidRequestError,
  ItemCancelledError,
  ItemNotFoundError,
  type QueratorClient,
  QueratorError,
} from "@querator/client";
import { clientOf } from "./setup.ts";

interface Written {
  readonly path: string;
  readonly request: Record<string, unknown>;
  readonly key: string | undefined;
}

/** A client of a server that answers each call with what is next, and writes down what it was. */
async function setup(t: TestContext) {
  const written: Written[] = [];
  const replies: { readonly status: number; readonly body: object }[] = [];
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await Array.fromAsync(request)).toString();
    const key = request.headers["idempotency-key"] as string | undefined;
    written.push({ path: request.url!.slice(4), request: JSON.parse(body), key });
    const reply = replies.shift() ?? { status: 200, body: {} };
    response.writeHead(reply.status).end(JSON.stringify(reply.body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const client = clientOf(t, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  /** Makes a call that is answered this; answers what it was sent, and what came of it. */
  const told = async <T>(body: object, call: (client: QueratorClient) => Promise<T>) => {
    replies.push({ status: 200, body });
    const result = await call(client);
    return { ...written.pop()!, result };
  };
  /** The same of one that is refused. */
  const refused = async (code: string, call: (client: QueratorClient) => Promise<unknown>) => {
    const body = { status: 409, code, detail: "it cannot be", request_id: "r" };
    replies.push({ status: 409, body });
    const error = await call(client).then(
      () => assert.fail("it was not refused"),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof QueratorError);
    return error;
  };
  return { client, told, refused };
}

const OK = { results: [{ ok: true }] };

test("what may be said of an item is produced with it", async (t) => {
  const { told, client } = await setup(t);
  const { request, result } = await told({ results: [{ id: "i", status: "duplicate" }] }, (c) =>
    c.produce("jobs", {
      payload: "a",
      uniqueKey: "k",
      uniqueWhile: "waiting",
      uniqueFor: "1h",
      onDuplicate: "keep_latest",
      maxAttempts: 0,
      expireIn: 1_500,
      retry: { delay: "5s", factor: 3, maxDelay: "1m", jitter: 0, maxAttempts: 7 },
    }),
  );
  assert.deepEqual(request.items, [
    {
      utf8: "a",
      unique_key: "k",
      unique_while: "waiting",
      unique_for: "1h",
      on_duplicate: "keep_latest",
      max_attempts: 0,
      expire_in: "1500000us",
      retry: { delay: "5s", factor: 3, max_delay: "1m", jitter: 0, max_attempts: 7 },
    },
  ]);
  assert.deepEqual(result, { id: "i", status: "duplicate" });
  const taken = await assert.rejects(client.produce("jobs", { maxAttempts: 1.5 }), {
    message: "maxAttempts is invalid; it must be a whole number, got 1.5",
  });
  assert.equal(taken, undefined);
  // A way to treat duplicates without a key is sent, for the server to refuse.
  const lone = await told({ results: [{ id: "i", status: "created" }] }, (c) =>
    c.produce("jobs", { onDuplicate: "reject" }),
  );
  assert.deepEqual(lone.request.items, [{ utf8: "", on_duplicate: "reject" }]);
});

test("leases say how long they last, and of which kinds; those that say the same travel together", async (t) => {
  const { told } = await setup(t);
  const lease = (c: QueratorClient) =>
    c.lease("jobs", { leaseTimeout: "5s", kinds: ["a", "b"], requestTimeout: "1s" });
  const item = {
    lease_id: "l",
    last_error: { type: "T", message: "m" },
    source: { queue_name: "q", id: "i", attempts: 3, reason: "attempts", fingerprint: "f" },
  };
  const { request, result } = await told({ items: [item, item] }, (c) =>
    Promise.all([lease(c), lease(c)]),
  );
  assert.deepEqual([request.batch_size, request.lease_timeout], [2, "5s"]);
  assert.deepEqual(request.kinds, ["a", "b"]);
  const [[leased]] = result as [[(typeof result)[0][0]], unknown];
  assert.deepEqual(leased!.lastError, { type: "T", message: "m", stack: "" });
  const { diedAt, createdAt, ...source } = leased!.source!;
  assert.deepEqual([diedAt, createdAt], [undefined, undefined]);
  assert.deepEqual(source, {
    queueName: "q",
    id: "i",
    attempts: 3,
    reason: "attempts",
    fingerprint: "f",
  });
});

test("complete takes a result of each or of all, and null is one", async (t) => {
  const { told } = await setup(t);
  const body = { results: [{ ok: true }, { ok: true }, { ok: true }] };
  const { request } = await told(body, (c) =>
    c.complete("jobs", ["a", { leaseId: "b", result: [1] }, { leaseId: "c", result: null }], {
      result: { sum: 2 },
    }),
  );
  assert.deepEqual(request.leases, [
    { lease_id: "a", result: { sum: 2 } },
    { lease_id: "b", result: [1] },
    { lease_id: "c", result: null },
  ]);
  const circle: { self?: unknown } = {};
  circle.self = circle;
  await assert.rejects(
    told(OK, (c) => c.complete("jobs", "a", { result: circle })),
    /^InvalidRequestError: result is invalid; it cannot be written as JSON: /,
  );
});

test("complete with produce is one request under a key, and answers what was produced", async (t) => {
  const { told } = await setup(t);
  const produced = [{ id: "n", status: "created" }];
  const { request, key, result } = await told({ ...OK, produced }, (c) =>
    c.complete("jobs", "a", {
      result: 1,
      requestTimeout: "9s",
      produce: [
        { items: { payload: "next" } },
        { queueName: "mails", items: [{ json: { to: "x" }, delay: "1m" }] },
      ],
    }),
  );
  assert.match(key!, /\S/);
  assert.deepEqual(request, {
    queue_name: "jobs",
    request_timeout: "9s",
    all_or_none: true,
    leases: [{ lease_id: "a", result: 1 }],
    produce: [
      { queue_name: "jobs", items: [{ utf8: "next" }] },
      { queue_name: "mails", items: [{ json: { to: "x" }, delay: "1m" }] },
    ],
  });
  assert.deepEqual(result, produced);
});

test("why an item failed is told, whatever was thrown", async (t) => {
  const { told } = await setup(t);
  class CardDeclined extends Error {}
  const error = new CardDeclined("no money");
  const given = [error, "a text", { type: "T", message: "m" }, { odd: true }, new TypeError("x")];
  const errors: Record<string, string>[] = [];
  for (const each of given) {
    const refs = { leaseId: "a", error: each as Error };
    const retried = await told(OK, (c) => c.retry("jobs", refs));
    const rejected = await told(OK, (c) => c.reject("jobs", refs));
    assert.deepEqual(rejected.request.leases, retried.request.leases);
    const [lease] = retried.request.leases as { readonly error: Record<string, string> }[];
    errors.push(lease!.error);
  }
  const [thrown, text, parts, odd, other] = errors;
  assert.match(thrown!.stack!, /^at .*wire\.test/);
  assert.deepEqual(
    { ...thrown, stack: "" },
    { type: "CardDeclined", message: "no money", stack: "" },
  );
  assert.deepEqual([text, parts], [{ message: "a text" }, { type: "T", message: "m" }]);
  assert.deepEqual(odd, { message: "[object Object]" });
  assert.deepEqual([other!.type, other!.message], ["TypeError", "x"]);
});

test("extend takes a time, or progress, or both, and neither is refused", async (t) => {
  const { told, client } = await setup(t);
  const at = "2026-01-01T00:00:00.000Z";
  const refs = { leaseId: "a", leaseDeadlineMs: Date.parse(at) + 60_000 };
  const both = await told({ results: [{ ok: true, lease_deadline: at }] }, (c) =>
    c.extend("jobs", refs, { for: "1m", progress: { done: 3 } }),
  );
  assert.deepEqual(both.request.leases, [{ lease_id: "a", for: "1m", progress: { done: 3 } }]);
  assert.equal(both.result.toISOString(), at);
  const progress = await told(OK, (c) => c.extend("jobs", { ...refs, progress: 0.5 }, {}));
  assert.deepEqual(progress.request.leases, [{ lease_id: "a", progress: 0.5 }]);
  assert.equal(progress.result.getTime(), refs.leaseDeadlineMs);
  await assert.rejects(client.extend("jobs", refs, {}), InvalidRequestError);
});

test("items are looked up, changed, cancelled, waited for and explained by their id", async (t) => {
  const { told } = await setup(t);
  const wire = {
    id: "i",
    state: "completed",
    queue_name: "jobs",
    attempts: 2,
    result: { ok: 1 },
    ended_at: "2026-01-01T00:00:00Z",
    last_error: { message: "m" },
    unique_key: "k",
    max_attempts: 3,
    retry: { delay: "5s" },
  };
  const got = await told(wire, (c) => c.items.get("i"));
  assert.deepEqual([got.path, got.request], ["item.get", { id: "i", payload: true }]);
  const { state, queueName, result, endedAt, lastError, uniqueKey, maxAttempts } = got.result;
  assert.deepEqual(
    [state, queueName, result, uniqueKey, maxAttempts],
    ["completed", "jobs", { ok: 1 }, "k", 3],
  );
  assert.deepEqual([endedAt, lastError!.message], [new Date("2026-01-01T00:00:00Z"), "m"]);

  const where = { queueName: "jobs" };
  const cancelled = await told({ ...wire, state: "leased", cancelled: true }, (c) =>
    c.items.cancel("i", where),
  );
  assert.deepEqual(cancelled.request, { queue_name: "jobs", id: "i" });
  assert.equal(cancelled.result.isCancelled, true);

  const updated = await told(wire, (c) =>
    c.items.update(
      "i",
      { json: { a: 1 }, delay: 0, expireIn: "1h" },
      { ...where, ifState: "waiting" },
    ),
  );
  assert.deepEqual(updated.request, {
    queue_name: "jobs",
    id: "i",
    if_state: "waiting",
    json: { a: 1 },
    delay: "0us",
    expire_in: "1h",
  });
  const moved = await told(wire, (c) => c.items.update("i", { enqueueAt: new Date(0) }));
  assert.deepEqual(moved.request, { id: "i", enqueue_at: "1970-01-01T00:00:00.000Z" });

  const waited = await told(wire, (c) => c.items.wait("i", { requestTimeout: "5s" }));
  assert.equal(waited.path, "item.wait");
  assert.deepEqual(waited.request, { id: "i", payload: true, request_timeout: "5000000us" });

  const why = {
    id: "i",
    state: "waiting",
    reasons: [{ code: "in_line", detail: "3 before it" }],
    position: 3,
  };
  const { result: explained } = await told(why, (c) => c.items.explain("i"));
  assert.deepEqual(explained, {
    id: "i",
    state: "waiting",
    reasons: [{ code: "in_line", detail: "3 before it", until: undefined, since: undefined }],
    position: 3,
    expectedAt: undefined,
  });
  // Of something in between, with status 200.
  await assert.rejects(
    told({}, (c) => c.items.get("i")),
    { code: "invalid-reply" },
  );
});

test("what the server refuses of an item is of a class or code of its own", async (t) => {
  const { refused } = await setup(t);
  assert.ok(
    (await refused("item_not_found", (c) => c.items.get("i"))) instanceof ItemNotFoundError,
  );
  const cancelled = await refused("item_cancelled", (c) => c.complete("jobs", "l"));
  assert.ok(cancelled instanceof ItemCancelledError);
  const codes = [];
  for (const code of ["precondition_failed", "unique_key_taken", "redrive_not_found"]) {
    codes.push((await refused(code, (c) => c.items.update("i", {}))).code);
  }
  assert.deepEqual(codes, ["precondition-failed", "unique-key-taken", "redrive-not-found"]);
});

test("lists take filters", async (t) => {
  const { told } = await setup(t);
  const { request } = await told({ items: [] }, (c) =>
    Array.fromAsync(
      c.items.list("jobs", {
        state: "dead",
        kind: "k",
        reference: "r",
        errorType: "E",
        olderThan: "1h",
        newerThan: 1_000,
        order: "newest",
      }),
    ),
  );
  assert.deepEqual(request, {
    queue_name: "jobs",
    state: "dead",
    payload: true,
    kind: "k",
    reference: "r",
    error_type: "E",
    older_than: "1h",
    newer_than: "1000000us",
    order: "newest",
    limit: 1000,
  });
});

test("dead letters are grouped and redriven", async (t) => {
  const { told } = await setup(t);
  const wire = { fingerprint: "f", error_type: "T", count: 2, sample: "i" };
  const grouped = await told({ groups: [wire], complete: true, looked_at: 2 }, (c) =>
    c.deadGroups("dead", { limit: 5 }),
  );
  assert.deepEqual(grouped.request, { queue_name: "dead", limit: 5 });
  const [group] = grouped.result.groups;
  assert.deepEqual([group!.errorType, group!.count, grouped.result.isComplete], ["T", 2, true]);

  const redrive = {
    id: "r",
    queue_name: "dead",
    state: "running",
    moved: 1,
    total: 9,
    not_found: 2,
  };
  const begun = await told(redrive, (c) =>
    c.redrive("dead", {
      to: "jobs",
      ids: ["i"],
      fingerprint: "f",
      kind: "k",
      olderThan: "1h",
      limit: 10,
      rate: 5,
      dryRun: true,
      stopAtFailureRatio: 0.5,
    }),
  );
  assert.deepEqual(begun.request, {
    queue_name: "dead",
    to: "jobs",
    ids: ["i"],
    fingerprint: "f",
    kind: "k",
    older_than: "1h",
    limit: 10,
    rate: 5,
    dry_run: true,
    stop_at_failure_ratio: 0.5,
  });
  assert.deepEqual(
    [begun.result.state, begun.result.moved, begun.result.skipped, begun.result.notFound],
    ["running", 1, 0, 2],
  );
  const paths = [
    await told(redrive, (c) => c.redrives.info("dead", "r")),
    await told(redrive, (c) => c.redrives.cancel("dead", "r")),
    await told({ redrives: [redrive] }, (c) => c.redrives.list("dead")),
  ].map(({ path }) => path);
  assert.deepEqual(paths, ["redrives.info", "redrives.cancel", "redrives.list"]);
});

test("queues have a policy, a history and a version", async (t) => {
  const { told } = await setup(t);
  const settings = {
    retry: { delay: "5s" },
    onLeaseEnd: "retry_delayed",
    keepCompleted: "24h",
    keepMax: 10,
    keepPayload: true,
  } as const;
  const wire = {
    retry: { delay: "5s" },
    on_lease_end: "retry_delayed",
    keep_completed: "24h",
    keep_max: 10,
    keep_payload: true,
  };
  const made = await told({ queue_name: "jobs" }, (c) =>
    c.queues.create({ queueName: "jobs", ...settings }),
  );
  assert.deepEqual(made.request, { queue_name: "jobs", ...wire });
  const changed = await told({ queue_name: "jobs" }, (c) =>
    c.queues.update("jobs", settings, { ifVersion: 4 }),
  );
  assert.deepEqual(changed.request, { queue_name: "jobs", if_version: 4, ...wire });
  const { result } = await told({ queue_name: "jobs", ...wire, version: 5 }, (c) =>
    c.queues.info("jobs"),
  );
  const { retry, onLeaseEnd, keepCompletedMs, keepMax, keepPayload, version } = result;
  assert.deepEqual(
    [onLeaseEnd, keepCompletedMs, keepMax, keepPayload, version],
    ["retry_delayed", 86_400_000, 10, true, 5],
  );
  assert.equal(retry!.delay, "5s");
});

test("options that nobody knows are refused by name, with the nearest that there is", async (t) => {
  const { client } = await setup(t);
  const url = "http://localhost:1";
  const odd = <T>(options: object): T => options as T;
  for (const [call, text] of [
    [
      () => client.produce("jobs", odd({ paylod: "a" })),
      /^an item .* 'paylod'; did you mean 'payload'\?$/,
    ],
    [() => client.produce("jobs", odd({ max_attempts: 1 })), / did you mean 'maxAttempts'\?$/],
    [() => client.produce("jobs", { retry: odd({ dealy: 1 }) }), /^retry has no 'dealy'; did/],
    [() => client.queues.create(odd({ queueName: "a", lease_timeout: "1m" })), /'leaseTimeout'\?$/],
    [() => client.items.update("i", odd({ at: new Date() })), /^a change of an item has no 'at'/],
    [() => client.redrive("dead", odd({ dry: true })), /^a redrive has no 'dry'/],
    [async () => client.worker("jobs", () => 1, odd({ concurency: 5 })), /'concurrency'\?$/],
    [
      async () => clientOf(t, url, odd({ keys: "k" })),
      /^a client has no 'keys'; did you mean 'key'/,
    ],
    [() => client.produce("jobs", odd({ somethingElse: 1 })), /^an item .* no 'somethingElse'$/],
  ] as const) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof InvalidRequestError);
      assert.match(error.message, text);
      return true;
    });
  }
});
