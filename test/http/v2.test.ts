// What /v2 says and takes beyond /v1: payloads in the form in which they were produced, headers, an id and
// a status for each item, empty leases, settings with defaults, lists that go on.

import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  QueueLeaseRequestSchema,
  QueueLeaseResponseSchema,
  QueueProduceRequestSchema,
  QueueProduceResponseSchema,
} from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const queue_name = "q";

/** Calls with a body as it is written; answers the text of the reply. */
async function raw(server: TestServer, path: string, body: string): Promise<string> {
  const response = await fetch(`${server.server.address}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body,
  });
  assert.equal(response.status, 200, await response.clone().text());
  return response.text();
}

const lease = (server: TestServer, more: object = {}) =>
  server.ok("/v2/queue.lease", { queue_name, request_timeout: "10s", ...more });

test("a payload is leased in the form in which it was produced, JSON byte for byte", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const json = ['{"a" : [1, 2.50,\t1e3], "ü":"\\u00e9","a":null}', "null", '"x"', "-0.0", " [ ]"];
  const items = json.map((value) => `{"json":${value},"kind":"k"}`).join(",");
  await raw(server, "/v2/queue.produce", `{"queue_name":"q","items":[${items}]}`);
  const reply = await raw(server, "/v2/queue.lease", '{"queue_name":"q","batch_size":9}');
  for (const value of json) assert.ok(reply.includes(`"json":${value.trim()}}`), value);
  const others = [
    { utf8: 'té"xt\u2028' },
    { bytes: "AP8=" },
    { utf8: "h", headers: { a: "1", __proto__x: "ü" }, reference: "r", encoding: "e" },
    {},
  ];
  await server.ok("/v2/queue.produce", { queue_name, items: others });
  const leased = (await lease(server, { batch_size: 10 })).items;
  const shown = leased.map(
    ({
      id,
      lease_id,
      fence,
      lease_deadline,
      attempts,
      created_at,
      ...rest
    }: object & Record<string, unknown>) => {
      assert.equal(id, lease_id);
      assert.ok(Number.isInteger(fence) && attempts === 1 && lease_deadline && created_at);
      return rest;
    },
  );
  assert.deepEqual(shown, others);
});

for (const [place, driver, threads] of PLACES) {
  test(`forms and headers are kept on ${place}, whatever lies beside them`, async (t) => {
    const server = await setup(t, { threads, ...(await freshPlace(t, driver)) });
    await server.ok("/v2/queues.create", { queue_name });
    const items = [
      { json: { a: "\t\n" }, headers: { "a\tb": "\n" }, kind: "k" },
      { utf8: "\t\n" },
      { utf8: "x", kind: "k\tl" },
      { bytes: "AA==", headers: { h: "" } },
      { json: null },
      {},
    ];
    await server.ok("/v2/queue.produce", { queue_name, items });
    await server.ok("/v2/queue.reload", { queue_name });
    const list = { queue_name, payload: true };
    const listed = (await server.ok("/v2/items.list", list)).items;
    const content = ({ json, utf8, bytes, headers, kind }: Record<string, unknown>) =>
      JSON.stringify({ json, utf8, bytes, headers, kind });
    assert.deepEqual(listed.map(content), items.map(content));
    const { items: leased } = await lease(server, { batch_size: 9 });
    assert.deepEqual(leased.map(content), items.map(content));
  });
}

test("/v1 shows items of /v2 without what it does not know, and /v2 those of /v1 as bytes", async (t) => {
  const server = await setup(t);
  await server.createQueue(queue_name);
  const item = { json: { a: 1 }, headers: { h: "v" }, kind: "k", reference: "r" };
  await server.ok("/v2/queue.produce", { queue_name, items: [item, { utf8: "x", headers: {} }] });
  const [listed] = await server.list(queue_name);
  assert.deepEqual([listed.kind, listed.reference], ["k", "r"]);
  const { items } = await server.lease(queue_name, 2);
  const [first, second] = items;
  assert.deepEqual(Object.keys(first), [
    "kind",
    "reference",
    "id",
    "attempts",
    "lease_deadline",
    "bytes",
  ]);
  assert.equal(Buffer.from(first.bytes, "base64").toString(), '{"a":1}');
  assert.equal(Buffer.from(second.bytes, "base64").toString(), "x");
  await server.produce(queue_name, "old");
  const [old] = (await lease(server)).items;
  assert.equal(Buffer.from(old.bytes, "base64").toString(), "old");
});

test("produce answers an id for each item, by which it is leased, and whether it is scheduled", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const items = [
    { utf8: "a" },
    { utf8: "b", delay: "1h" },
    { utf8: "c", enqueue_at: "2100-01-01T00:00:00Z" },
    { utf8: "d", enqueue_at: "2001-01-01T00:00:00Z" },
  ];
  const { results } = await server.ok("/v2/queue.produce", { queue_name, items });
  assert.deepEqual(
    results.map(({ status }: { status: string }) => status),
    ["created", "scheduled", "scheduled", "created"],
  );
  const leased = (await lease(server, { batch_size: 10 })).items;
  assert.deepEqual(
    leased.map(({ id }: { id: string }) => id),
    [results[0].id, results[3].id],
  );
  const scheduled = (await server.ok("/v2/items.list", { queue_name, state: "scheduled" })).items;
  assert.deepEqual(
    scheduled.map(({ id }: { id: string }) => id),
    [results[1].id, results[2].id],
  );
});

test("a lease that finds nothing answers no items, and any number wait under one client", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  assert.deepEqual(await lease(server, { request_timeout: "10ms" }), { items: [] });
  const waiting = [1, 2, 3].map(() => lease(server, { client: "one" }));
  await server.until(async () => (await server.stats(queue_name)).lease_waiting === 3);
  await server.ok("/v2/queue.produce", { queue_name, items: [{ utf8: "a" }, { utf8: "b" }, {}] });
  for (const reply of await Promise.all(waiting)) assert.equal(reply.items.length, 1);
});

test("a fence grows from lease to lease of an item", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  await server.ok("/v2/queue.produce", { queue_name, items: [{ utf8: "a" }] });
  let fence = 0;
  for (let attempt = 1; attempt <= 3; attempt++) {
    const [item] = (await lease(server)).items;
    assert.equal(item.attempts, attempt);
    assert.ok(item.fence > fence);
    fence = item.fence;
    await server.ok("/v2/queue.retry", { queue_name, leases: [{ lease_id: item.lease_id }] });
  }
});

test("an item keeps its id, through retries and the dead queue, and is deleted by it", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name: "dead", requested_partitions: 2 });
  const settings = { max_attempts: 2, dead_queue: "dead", requested_partitions: 2 };
  await server.ok("/v2/queues.create", { queue_name, ...settings });
  const made = await server.ok("/v2/queue.produce", { queue_name, items: [{ json: 1 }, {}] });
  const [{ id }, other] = made.results;
  const seen = new Set<string>();
  for (let attempt = 1; attempt <= 2; attempt++) {
    const [item, second] = (await lease(server, { batch_size: 2 })).items;
    assert.deepEqual([item.id, item.attempts], [id, attempt]);
    seen.add(item.lease_id);
    const leases = [{ lease_id: item.lease_id }];
    await server.ok("/v2/queue.retry", { queue_name, leases });
    if (second === undefined) continue;
    await server.ok("/v2/queue.release", { queue_name, leases: [{ lease_id: second.lease_id }] });
    const removed = await server.ok("/v2/items.delete", { queue_name, ids: [other.id, other.id] });
    assert.deepEqual([removed.results[0], removed.failed], [{ ok: true }, 1]);
  }
  assert.equal(seen.size, 2);
  const [dead] = (await server.ok("/v2/items.list", { queue_name: "dead", payload: true })).items;
  assert.deepEqual([dead.id, dead.json], [id, 1]);
  const copy = { queue_name, items: [dead, { ...dead, source_id: "" }] };
  const { results } = await server.ok("/v2/items.import", copy);
  assert.deepEqual(results, [
    { id, status: "created" },
    { id, status: "duplicate" },
  ]);
  const { results: gone } = await server.ok("/v2/items.delete", { queue_name: "dead", ids: [id] });
  assert.deepEqual(gone, [{ ok: true }]);
  assert.deepEqual(await server.ok("/v2/items.list", { queue_name: "dead" }), { items: [] });
});

test("an item that is deleted by both of its ids at once is gone once", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const items = [{ utf8: "a" }, { utf8: "b" }];
  await server.ok("/v2/queue.produce", { queue_name, items });
  const leases = (await lease(server, { batch_size: 2 })).items;
  await server.ok("/v2/queue.release", {
    queue_name,
    leases: leases.map(({ lease_id }: { lease_id: string }) => ({ lease_id })),
  });
  const [leased] = (await lease(server, {})).items;
  const [waiting] = (await server.ok("/v2/items.list", { queue_name, state: "waiting" })).items;
  const ids = [leased.id, leased.lease_id];
  const { results } = await server.ok("/v2/items.delete", { queue_name, ids });
  assert.deepEqual([results[0].ok, results[1].code], [true, "item_not_found"]);
  const stats = await server.ok("/v1/queue.stats", { queue_name });
  assert.equal(stats.logicalQueues[0].partitions[0].total, 1);
  assert.equal((await lease(server)).items[0].id, waiting.id);
});

test("an item that dies again, while what it died as before is still there, is another item there", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name: "dead" });
  await server.ok("/v2/queues.create", { queue_name, dead_queue: "dead" });
  await server.ok("/v2/queue.produce", { queue_name, items: [{ utf8: "a" }] });
  const reject = async (): Promise<void> => {
    const [{ lease_id }] = (await lease(server)).items;
    await server.ok("/v2/queue.reject", { queue_name, leases: [{ lease_id }] });
  };
  const buried = async (): Promise<readonly { id: string }[]> =>
    (await server.ok("/v2/items.list", { queue_name: "dead", payload: true })).items ?? [];
  await reject();
  const [{ source_id: _, ...first }] = (await buried()) as readonly [
    { id: string; source_id: string },
  ];
  const { results } = await server.ok("/v2/items.import", { queue_name, items: [first] });
  assert.deepEqual(results, [{ id: first.id, status: "created" }]);
  await reject();
  // Nor has it that of one that was produced there.
  await server.ok("/v2/queue.produce", { queue_name: "dead", items: [{ utf8: "b" }] });
  const produced = (await buried())[2]!;
  await server.ok("/v2/items.import", { queue_name, items: [produced] });
  await reject();
  const ids = (await buried()).map(({ id }) => id);
  assert.deepEqual([ids[0], ids[2]], [first.id, produced.id]);
  assert.equal(new Set(ids).size, 4);
  for (const id of ids.toReversed()) {
    const gone = await server.ok("/v2/items.delete", { queue_name: "dead", ids: [id] });
    assert.deepEqual(gone.results, [{ ok: true }]);
  }
  assert.deepEqual(await buried(), []);
});

test("an id that is yet to be given in any partition cannot be imported", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name, requested_partitions: 2 });
  for (const utf8 of ["a", "b"]) {
    await server.ok("/v2/queue.produce", { queue_name, items: [{ utf8 }] });
  }
  const { items } = await server.ok("/v2/items.list", { queue_name });
  for (const { id } of items as readonly { id: string }[]) {
    const next = `${id.slice(0, -1)}${Number(id.at(-1)) + 1}`;
    for (const partition of [0, 1]) {
      const request = { queue_name, partition, items: [{ id: next, utf8: "c" }] };
      const { status, body } = await server.call("/v2/items.import", request);
      assert.equal(status, 400);
      assert.equal(body.detail, `id is invalid; '${next}' is yet to be given`);
    }
  }
});

test("what is wrong is told with its field, and a slip of the pen with what was meant", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const produce = "/v2/queue.produce";
  const headers = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`h${i}`, ""]));
  const rows: [path: string, request: object, code: string, field: string, detail: RegExp][] = [
    [produce, { queuename: "q" }, "unknown_field", "queuename", /did you mean 'queue_name'\?$/],
    [
      produce,
      { queue_name, items: [{}, { kidn: "k" }] },
      "unknown_field",
      "items[1].kidn",
      /^unknown field 'items\[1\]\.kidn'; did you mean 'kind'\?$/,
    ],
    [produce, { queue_name, colour: 1 }, "unknown_field", "colour", /^unknown field 'colour'$/],
    [produce, { name: "q" }, "unknown_field", "name", /did you mean 'queue_name'\?$/],
    [
      produce,
      { queue_name, items: [{ payload: "x" }] },
      "unknown_field",
      "items[0].payload",
      /; did you mean 'json'\? A payload is given as 'json', 'utf8' or 'bytes'$/,
    ],
    [
      "/v2/queue.complete",
      { queue_name, ids: ["x"] },
      "unknown_field",
      "ids",
      /; did you mean 'leases'\? They are objects: \{"lease_id": \.\.\.\}$/,
    ],
    [
      "/v2/queue.complete",
      { queue_name, leases: [{ id: "x" }] },
      "unknown_field",
      "leases[0].id",
      /; did you mean 'lease_id'\?$/,
    ],
    [
      produce,
      { queue_name, items: [{ json: 1, colour: 1 }] },
      "unknown_field",
      "items[0].colour",
      /^unknown field 'items\[0\]\.colour'$/,
    ],
    [
      produce,
      { queue_name, items: [{ kind: 1 }] },
      "invalid_field",
      "items[0].kind",
      /^field items\[0\]\.kind must be a string, not 1$/,
    ],
    [
      produce,
      { queue_name, items: [{ headers: { a: 1 } }] },
      "invalid_field",
      "items[0].headers.a",
      /must be a string/,
    ],
    [produce, { queue_name, items: [] }, "invalid_field", "items", /cannot be empty/],
    [
      produce,
      { queue_name, items: [{}, { utf8: "a", json: 1 }] },
      "invalid_field",
      "items[1].utf8",
      /more than one payload/,
    ],
    [
      produce,
      { queue_name, items: [{ utf8: "a", bytes: "AA==" }] },
      "invalid_field",
      "items[0].bytes",
      /more than one payload/,
    ],
    [
      produce,
      { queue_name, items: [{ headers }] },
      "invalid_field",
      "items[0].headers",
      /32 entries/,
    ],
    [
      produce,
      { queue_name, items: [{ headers: { a: "ü".repeat(2_048) } }] },
      "invalid_field",
      "items[0].headers",
      /4096/,
    ],
    [
      produce,
      { queue_name, items: [{ delay: "1h", enqueue_at: "2100-01-01T00:00:00Z" }] },
      "invalid_field",
      "items[0].delay",
      /give either 'enqueue_at' or 'delay'/,
    ],
    [
      produce,
      { queue_name, items: [{ delay: "x" }] },
      "invalid_field",
      "items[0].delay",
      /invalid/,
    ],
    [produce, { queue_name, request_timeout: "1ms" }, "invalid_field", "request_timeout", /10ms/],
    ["/v2/queue.lease", { queue_name, batch_size: 5_000 }, "invalid_field", "batch_size", /1000/],
    ["/v2/queue.lease", { queue_name: "" }, "invalid_field", "queue_name", /empty/],
    [
      "/v2/queue.complete",
      { queue_name, leases: [] },
      "invalid_field",
      "leases",
      /cannot be empty/,
    ],
    ["/v2/items.list", { queue_name, state: "done" }, "invalid_field", "state", /'done'/],
    ["/v2/items.list", { queue_name, cursor: "x" }, "invalid_field", "cursor", /none of this list/],
    ["/v2/items.list", { queue_name, partition: 1 }, "invalid_field", "partition", /'1'/],
    ["/v2/queues.create", { queue_name: "a b" }, "invalid_field", "queue_name", /whitespace/],
    [
      "/v2/queues.create",
      { queue_name: "n", lease_timeout: "0s" },
      "invalid_field",
      "lease_timeout",
      /empty/,
    ],
    [
      "/v2/queues.create",
      { queue_name: "n", requested_partitions: 0 },
      "invalid_field",
      "requested_partitions",
      /less than 1/,
    ],
    [
      "/v2/queues.create",
      { queue_name: "n", dead_queue: "no" },
      "invalid_field",
      "dead_queue",
      /create it first/,
    ],
  ];
  for (const [path, request, code, field, detail] of rows) {
    const { status, body } = await server.call(path, request);
    const shown = `${path} ${JSON.stringify(request)}`;
    assert.deepEqual([status, body.code, body.field], [400, code, field], shown);
    assert.match(body.detail, detail, shown);
  }
});

test("a call that there is not is answered with the one that was meant, if one is near", async (t) => {
  const server = await setup(t);
  for (const [path, meant] of [
    ["/v2/queue.prodce", "/v2/queue.produce"],
    ["/v2/queues.produce", "/v2/queue.produce"],
    ["/v2/queue/lease", "/v2/queue.lease"],
    ["/v2/Queue.Lease", "/v2/queue.lease"],
    ["/v2/complete", "/v2/queue.complete"],
    ["/v2/something.else", undefined],
    [`/v2/${"x".repeat(10_000)}`, undefined],
  ] as const) {
    const { status, body } = await server.call(path, {});
    const hint = meant === undefined ? "" : `; did you mean '${meant}'?`;
    assert.deepEqual(
      [status, body.code, body.detail],
      [404, "no_such_method", `no such method; ${path}${hint}`],
    );
  }
});

test("ids and lease ids that are none are told apart, in the words of /v2", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const unknown = "0".repeat(27);
  const calls = ["complete", "retry", "release", "reject", "extend"] as const;
  for (const call of calls) {
    const leases = [unknown, "x"].map((lease_id) => ({
      lease_id,
      ...(call === "extend" && { for: "1m" }),
    }));
    const { results } = await server.ok(`/v2/queue.${call}`, { queue_name, leases });
    assert.deepEqual(
      results.map(({ detail }: { detail: string }) => detail),
      [unknown, "x"].map(
        (id) =>
          `lease does not exist; '${id}' is no lease_id of this queue, as queue.lease answers it`,
      ),
    );
    const all = await server.call(`/v2/queue.${call}`, { queue_name, leases, all_or_none: true });
    assert.match(all.body.results[0].detail, /^lease does not exist/);
  }
  const { results } = await server.ok("/v2/items.delete", { queue_name, ids: [unknown, "x"] });
  assert.deepEqual(
    results.map(({ detail }: { detail: string }) => detail),
    [
      `item does not exist; '${unknown}' is the id of none, or of one that has ended and is not kept`,
      "id is invalid; 'x' is none, ids have 27 letters and digits",
    ],
  );
});

test("an update that changes nothing leaves the time of a queue and its version, but for what /v1 shows", async (t) => {
  const server = await setup(t);
  await server.advance("0s");
  const made = await server.ok("/v2/queues.create", { queue_name, reference: "r" });
  await server.advance("1m");
  const same = await server.ok("/v2/queues.update", { queue_name, reference: "r" });
  assert.deepEqual(same, made);
  const old = (await server.ok("/v1/queues.info", { queue_name })) as { updated_at: string };
  assert.ok(old.updated_at > made.updated_at);
  const other = await server.ok("/v2/queues.update", { queue_name, reference: "s" });
  assert.deepEqual([other.version, other.updated_at], [2, old.updated_at]);
  assert.deepEqual(await server.ok("/v2/queues.info", { queue_name }), other);
});

test("a name is enough for a queue, and an update changes what it names", async (t) => {
  const server = await setup(t);
  const { created_at, updated_at, version, ...made } = await server.ok("/v2/queues.create", {
    queue_name,
  });
  assert.ok(created_at && updated_at && version === 1);
  const defaults = {
    queue_name,
    lease_timeout: "1m0s",
    expire_timeout: "never",
    requested_partitions: 1,
    partitions: 1,
    retry: { delay: "0s", factor: 2, max_delay: "1h0m0s", jitter: 0.2, max_attempts: 0 },
    on_lease_end: "retry_now",
    keep_completed: "0s",
    keep_max: 10_000,
  };
  assert.deepEqual(made, defaults);
  const update = async (request: object) => {
    const { created_at, updated_at, version, ...rest } = await server.ok("/v2/queues.update", {
      queue_name,
      ...request,
    });
    return rest;
  };
  const some = { max_attempts: 3, reference: "r", expire_timeout: "1h" };
  const retry = { ...defaults.retry, max_attempts: 3 };
  const changed = {
    ...defaults,
    max_attempts: 3,
    retry,
    reference: "r",
    expire_timeout: "1h0m0s",
  };
  assert.deepEqual(await update(some), changed);
  assert.deepEqual(await update({ lease_timeout: "2m" }), { ...changed, lease_timeout: "2m0s" });
  const { max_attempts: _, ...bounded } = { ...changed, lease_timeout: "2m0s" };
  const unlimited = { ...bounded, retry: defaults.retry };
  assert.deepEqual(await update({ max_attempts: 0 }), unlimited);
  assert.deepEqual(await update({ partial: false, expire_timeout: "never" }), defaults);
  assert.deepEqual(
    (await server.call("/v2/queues.info", { queue_name: "no" })).body.code,
    "queue_not_found",
  );
  assert.deepEqual(await server.ok("/v2/queues.delete", { queue_name }), { ok: true });
});

test("queues are listed page by page, whatever becomes of them meanwhile", async (t) => {
  const server = await setup(t);
  for (const name of ["a", "b", "c", "d", "ü"]) {
    await server.ok("/v2/queues.create", { queue_name: name });
  }
  const names = ({ queues = [] }: { queues?: { queue_name: string }[] }) =>
    queues.map((each) => each.queue_name);
  const first = await server.ok("/v2/queues.list", { limit: 2 });
  assert.deepEqual(names(first), ["a", "b"]);
  await server.ok("/v2/queues.delete", { queue_name: "c" });
  const second = await server.ok("/v2/queues.list", { limit: 2, cursor: first.next_cursor });
  assert.deepEqual([names(second), second.next_cursor], [["d", "ü"], undefined]);
});

test("items are listed by state over all partitions, and imported as they are listed", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name, requested_partitions: 3 });
  for (let i = 0; i < 9; i++) {
    await server.ok("/v2/queue.produce", {
      queue_name,
      items: [{ json: { i }, headers: { i: `${i}` } }],
    });
  }
  await server.ok("/v2/queue.produce", { queue_name, items: [{ utf8: "later", delay: "1h" }] });
  const { items: leased } = await lease(server, { batch_size: 2 });
  const all = async (request: object) => {
    const found: Record<string, unknown>[] = [];
    let pages = 0;
    for (let cursor: string | undefined = ""; cursor !== undefined; pages++) {
      const page: { items?: Record<string, unknown>[]; next_cursor?: string } = await server.ok(
        "/v2/items.list",
        { queue_name, limit: 2, cursor, ...request },
      );
      found.push(...(page.items ?? []));
      cursor = page.next_cursor;
    }
    assert.ok(pages > 1);
    return found;
  };
  const listed = await all({ payload: true });
  assert.equal(listed.length, 9);
  assert.equal(new Set(listed.map(({ id }) => id)).size, 9);
  assert.deepEqual(
    (await all({ state: "leased" })).map(({ lease_id, state }) => [lease_id, state]),
    leased.map(({ lease_id }: { lease_id: string }) => [lease_id, "leased"]),
  );
  const waiting = await all({ state: "waiting" });
  assert.equal(waiting.length, 7);
  assert.ok(waiting.every((item) => item.state === "waiting" && !("json" in item)));
  const inOne = await server.ok("/v2/items.list", { queue_name, partition: 1 });
  assert.ok(inOne.items.every(({ partition }: { partition: number }) => partition === 1));
  const scheduled = await server.ok("/v2/items.list", {
    queue_name,
    state: "scheduled",
    payload: true,
  });
  assert.deepEqual([scheduled.items.length, scheduled.items[0].utf8], [1, "later"]);

  await server.ok("/v2/queues.create", { queue_name: "copy" });
  const items = [...listed, ...scheduled.items];
  const { results } = await server.ok("/v2/items.import", { queue_name: "copy", items });
  assert.deepEqual(
    results.map(({ status }: { status: string }) => status),
    [...listed.map(() => "created"), "scheduled"],
  );
  const copied = await server.ok("/v2/items.list", { queue_name: "copy", payload: true });
  const content = (item: Record<string, unknown>) => [
    item.json,
    item.headers,
    item.state,
    item.attempts,
  ];
  assert.deepEqual(copied.items.map(content), listed.map(content));
});

test("the same travels as Protobuf, with JSON as a text", async (t) => {
  const server = await setup(t);
  await server.ok("/v2/queues.create", { queue_name });
  const call = async <A extends DescMessage>(path: string, body: Uint8Array, reply: A) => {
    const type = "application/protobuf";
    const response = await fetch(server.server.address + path, {
      method: "POST",
      headers: { "Content-Type": type, Accept: type },
      body: Buffer.from(body),
    });
    return { status: response.status, reply, bytes: new Uint8Array(await response.arrayBuffer()) };
  };
  const items = [
    { json: '{"a" : 1}', headers: { h: "v" } },
    { utf8: "x" },
    { bytes: Buffer.of(0) },
  ];
  const produce = (given: typeof items) =>
    toBinary(
      QueueProduceRequestSchema,
      create(QueueProduceRequestSchema, { queueName: queue_name, items: given }),
    );
  const made = await call("/v2/queue.produce", produce(items), QueueProduceResponseSchema);
  const { results } = fromBinary(QueueProduceResponseSchema, made.bytes);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["created", "created", "created"],
  );
  const ask = toBinary(
    QueueLeaseRequestSchema,
    create(QueueLeaseRequestSchema, { queueName: queue_name, batchSize: 3 }),
  );
  const leased = await call("/v2/queue.lease", ask, QueueLeaseResponseSchema);
  const [a, b, c] = fromBinary(QueueLeaseResponseSchema, leased.bytes).items;
  assert.deepEqual(
    [a!.json, a!.headers, b!.utf8, [...c!.bytes]],
    ['{"a" : 1}', { h: "v" }, "x", [0]],
  );
  assert.deepEqual([a!.id, typeof a!.fence], [results[0]!.id, "bigint"]);
  const bad = await call(
    "/v2/queue.produce",
    produce([{ json: "{a}", headers: {} as never }]),
    QueueProduceResponseSchema,
  );
  assert.equal(bad.status, 400);
});
