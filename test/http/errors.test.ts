// Every message of the wire contract is one row here, sent as JSON and as Protobuf.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { DescMessage } from "@bufbuild/protobuf";
import * as queue from "../../src/codec/gen/querator/v1/queue_pb.ts";
import * as queues from "../../src/codec/gen/querator/v1/queues_pb.ts";
import { ReplySchema } from "../../src/codec/gen/querator/v1/reply_pb.ts";
import * as storage from "../../src/codec/gen/querator/v1/storage_pb.ts";
import { decodeJson } from "../../src/codec/json.ts";
import { decodeProtobuf, encodeProtobuf } from "../../src/codec/protobuf.ts";
import { startServer } from "../../src/server/server.ts";
import { SILENT, TestServer } from "../support/server.ts";

const SCHEMAS: Readonly<Record<string, DescMessage>> = {
  "queue.produce": queue.QueueProduceRequestSchema,
  "queue.lease": queue.QueueLeaseRequestSchema,
  "queue.complete": queue.QueueCompleteRequestSchema,
  "queue.retry": queue.QueueRetryRequestSchema,
  "queue.stats": queue.QueueStatsRequestSchema,
  "queue.clear": queue.QueueClearRequestSchema,
  "queue.reload": queue.QueueReloadRequestSchema,
  "queues.create": queues.QueueInfoSchema,
  "queues.update": queues.QueueInfoSchema,
  "queues.list": queues.QueuesListRequestSchema,
  "queues.info": queues.QueuesInfoRequestSchema,
  "queues.delete": queues.QueuesDeleteRequestSchema,
  "storage/items.list": storage.StorageItemsListRequestSchema,
  "storage/items.import": storage.StorageItemsImportRequestSchema,
  "storage/items.delete": storage.StorageItemsDeleteRequestSchema,
  "storage/scheduled.list": storage.StorageItemsListRequestSchema,
};

const ID = "3MYU1bRy3722FDmQTN000000001";
const q = { queue_name: "q" };
const item = { utf8: "x" };
const produce = { ...q, request_timeout: "1m", items: [item] };
const lease = { ...q, request_timeout: "1m", client_id: "c", batch_size: 1 };
const complete = { ...q, request_timeout: "1m", ids: [ID] };
const info = {
  queue_name: "new",
  lease_timeout: "1m",
  expire_timeout: "1h",
  requested_partitions: 1,
};
const long = (n: number): string => "x".repeat(n);

const NO_TIMEOUT = "request timeout is required; '5m' is recommended, 15m is the maximum";
const BAD_TIMEOUT = (error: string): string =>
  `request timeout is invalid; ${error} - expected format: 900ms, 5m or 15m`;
const TOO_LONG = (d: string): string =>
  `request timeout is invalid; maximum timeout is '15m' but '${d}' was requested`;
const TOO_SHORT = (d: string): string =>
  `request timeout is invalid; minimum timeout is '10ms' but '${d}' was requested`;
const UNKNOWN_ID = `invalid storage id; '${ID}' does not exist`;
const BAD_BOUNDS =
  "Valid encoded KSUIDs are bounded by 000000000000000000000000000 and aWgEPTl1tmebfsQzFP4bxwgy80V";

type Row = [path: string, request: object, message: string, code?: number];

const ROWS: readonly Row[] = [
  // the look-up, the same for every call on a queue
  ...[
    "queue.produce",
    "queue.lease",
    "queue.complete",
    "queue.retry",
    "queue.stats",
    "queue.clear",
    "queue.reload",
    "queues.info",
    "storage/items.list",
    "storage/items.import",
    "storage/items.delete",
    "storage/scheduled.list",
  ].flatMap((path): Row[] => [
    [path, {}, "queue name is invalid; queue name cannot be empty"],
    [path, { queue_name: " \t" }, "queue name is invalid; queue name cannot be empty"],
    [path, { queue_name: "a~b" }, "queue name is invalid; 'a~b' cannot contain '~' character"],
    [path, { queue_name: "nope" }, "queue does not exist; no such queue named 'nope'"],
    [path, { queue_name: "a b" }, "queue does not exist; no such queue named 'a b'"],
  ]),
  ...[
    "queue.complete",
    "queue.retry",
    "storage/items.list",
    "storage/items.import",
    "storage/items.delete",
    "storage/scheduled.list",
  ].flatMap((path): Row[] => [
    [path, { ...q, partition: 1 }, "partition is invalid; '1' is not a valid partition"],
    [path, { ...q, partition: -1 }, "partition is invalid; '-1' is not a valid partition"],
  ]),

  ["queue.produce", { ...produce, request_timeout: "" }, NO_TIMEOUT],
  ["queue.produce", { ...produce, request_timeout: "0ms" }, NO_TIMEOUT],
  [
    "queue.produce",
    { ...produce, request_timeout: "foo" },
    BAD_TIMEOUT('time: invalid duration "foo"'),
  ],
  [
    "queue.produce",
    { ...produce, request_timeout: "5" },
    BAD_TIMEOUT('time: missing unit in duration "5"'),
  ],
  [
    "queue.produce",
    { ...produce, request_timeout: "5d" },
    BAD_TIMEOUT('time: unknown unit "d" in duration "5d"'),
  ],
  ["queue.produce", { ...produce, request_timeout: "15m" }, TOO_LONG("15m0s")],
  ["queue.produce", { ...produce, request_timeout: "9ms" }, TOO_SHORT("9ms")],
  ["queue.produce", { ...produce, request_timeout: "-1s" }, TOO_SHORT("-1s")],
  [
    "queue.produce",
    { ...produce, items: [] },
    "items cannot be empty; at least one item is required",
  ],
  [
    "queue.produce",
    { ...produce, items: Array(1001).fill({}) },
    "items is invalid; max_produce_batch_size is 1000 but received 1001",
  ],

  ["queue.lease", { ...lease, client_id: " " }, "invalid client id; cannot be empty"],
  ["queue.lease", { ...lease, batch_size: 0 }, "invalid batch size; must be greater than zero"],
  ["queue.lease", { ...lease, batch_size: -1 }, "invalid batch size; must be greater than zero"],
  [
    "queue.lease",
    { ...lease, batch_size: 1001 },
    "invalid batch size; max_lease_batch_size is 1000, but 1001 was requested",
  ],
  ["queue.lease", { ...lease, request_timeout: "" }, NO_TIMEOUT],
  ["queue.lease", { ...lease, request_timeout: "15m1ms" }, TOO_LONG("15m0.001s")],
  ["queue.lease", { ...lease, request_timeout: "9ms" }, TOO_SHORT("9ms")],
  [
    "queue.lease",
    { queue_name: "q", request_timeout: "x" },
    BAD_TIMEOUT('time: invalid duration "x"'),
  ],
  [
    "queue.lease",
    { ...lease, request_timeout: "10ms" },
    "request timeout; no items are in the queue, try again",
    454,
  ],

  ["queue.complete", { ...complete, ids: [] }, "ids is invalid; list of ids cannot be empty"],
  [
    "queue.complete",
    { ...complete, ids: Array(1001).fill(ID) },
    "ids is invalid; max_complete_batch_size is 1000 but received 1001",
  ],
  ["queue.complete", { ...complete, request_timeout: "16m" }, TOO_LONG("16m0s")],
  ["queue.complete", { ...complete, request_timeout: "" }, NO_TIMEOUT],
  [
    "queue.complete",
    { ...complete, request_timeout: "x", ids: [] },
    BAD_TIMEOUT('time: invalid duration "x"'),
  ],
  [
    "queue.complete",
    { ...complete, ids: ["x"] },
    "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters",
  ],
  [
    "queue.complete",
    { ...complete, ids: [long(27).replace(/./g, "z")] },
    `invalid storage id; '${long(27).replace(/./g, "z")}': ${BAD_BOUNDS}`,
  ],
  ["queue.complete", complete, UNKNOWN_ID],
  ["queue.complete", { ...complete, request_timeout: "-1s" }, UNKNOWN_ID],

  ["queue.retry", { ...q, items: [] }, "items is invalid; list of items cannot be empty"],
  [
    "queue.retry",
    { ...q, items: Array(1001).fill({ id: ID }) },
    "items is invalid; max_complete_batch_size is 1000 but received 1001",
  ],
  [
    "queue.retry",
    { ...q, items: [{ id: "x" }] },
    "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters",
  ],
  ["queue.retry", { ...q, items: [{ id: ID }] }, UNKNOWN_ID],

  ["queue.clear", q, "invalid clear request; one of 'queue', 'scheduled' must be true"],
  [
    "queue.clear",
    { ...q, destructive: true },
    "invalid clear request; one of 'queue', 'scheduled' must be true",
  ],

  ...["queues.create", "queues.update", "queues.delete"].flatMap((path): Row[] => [
    [
      path,
      { queue_name: long(513) },
      "queue name is invalid; cannot be greater than '512' characters",
    ],
    [path, { queue_name: "" }, "queue name is invalid; queue name cannot be empty"],
    [
      path,
      { queue_name: "a\u2003b" },
      "queue name is invalid; 'a\u2003b' cannot contain whitespace",
    ],
    [path, { queue_name: "a~" }, "queue name is invalid; 'a~' cannot contain '~' character"],
  ]),
  ...["queues.create", "queues.update"].flatMap((path): Row[] => [
    [
      path,
      { ...info, queue_name: "q", lease_timeout: long(16) },
      "lease timeout is invalid; cannot be greater than '15' characters",
    ],
    [
      path,
      { ...info, queue_name: "q", expire_timeout: long(16) },
      "expire timeout is invalid; cannot be greater than '15' characters",
    ],
    [
      path,
      { ...info, queue_name: "q", expire_timeout: "x", lease_timeout: "y" },
      'expire timeout is invalid; time: invalid duration "x" - expected format: 60m, 2h or 24h',
    ],
    [
      path,
      { ...info, queue_name: "q", lease_timeout: "1y" },
      'lease timeout is invalid; time: unknown unit "y" in duration "1y" - expected format: 8m, 15m or 1h',
    ],
    [
      path,
      { ...info, namespace: long(257) },
      "namespace name is invalid; cannot be greater than '256' characters",
    ],
    [path, { ...info, namespace: " " }, "namespace name is invalid; cannot be empty"],
    [
      path,
      { ...info, namespace: "a b" },
      "namespace name is invalid; 'a b' cannot contain whitespace",
    ],
    [
      path,
      { ...info, namespace: "a~" },
      "namespace name is invalid; 'a~' cannot contain '~' character",
    ],
    [
      path,
      { ...info, namespace: "a:" },
      "namespace name is invalid; 'a:' cannot contain ':' character",
    ],
  ]),
  [
    "queues.create",
    { ...info, namespace: "other" },
    "namespace does not exist; 'other' was not found",
    453,
  ],
  // A queue stays in the namespace that it has.
  [
    "queues.update",
    { ...info, queue_name: "nope", namespace: "other" },
    "queue does not exist; no such queue named 'nope'",
  ],
  ["queues.create", { ...info, queue_name: "q" }, "invalid queue; 'q' already exists"],
  ...["new", "q"].flatMap((name): Row[] => {
    const path = name === "new" ? "queues.create" : "queues.update";
    const base = { ...info, queue_name: name };
    return [
      [
        path,
        { ...base, dead_queue: long(501) },
        "dead queue is invalid; cannot be greater than '500' characters",
      ],
      [
        path,
        { ...base, dead_queue: "a b" },
        "dead queue is invalid; 'a b' cannot contain whitespace",
      ],
      [
        path,
        { ...base, dead_queue: "a~" },
        "dead queue is invalid; 'a~' cannot contain '~' character",
      ],
      [path, { ...base, dead_queue: name }, "dead_queue cannot reference itself"],
      [
        path,
        { ...base, dead_queue: "nope" },
        "dead_queue does not exist; 'nope' was not found, create it first",
      ],
      [
        path,
        { ...base, dead_queue: "chained" },
        "dead_queue is invalid; 'chained' already has its own dead_queue configured",
      ],
      [
        path,
        { ...base, reference: long(2001) },
        "reference field is invalid; cannot be greater than '2000' characters",
      ],
      [
        path,
        { ...base, max_attempts: 65537 },
        "max attempts is invalid; cannot be greater than 65536",
      ],
      [path, { ...base, max_attempts: -1 }, "max attempts is invalid; cannot be negative number"],
      [path, { ...base, requested_partitions: -1 }, "partitions is invalid; cannot be less than 1"],
      [
        path,
        { ...base, requested_partitions: 1025 },
        "partitions is invalid; cannot be greater than 1024",
      ],
      [path, { ...base, lease_timeout: "-1m" }, "lease timeout is invalid; cannot be negative"],
      [
        path,
        { ...base, lease_timeout: "2h" },
        "lease timeout is too long; 2h0m0s cannot be greater than the expire timeout 1h0m0s",
      ],
    ];
  }),
  [
    "queues.create",
    { ...info, requested_partitions: 0 },
    "partitions is invalid; cannot be less than 1",
  ],
  ["queues.create", { ...info, lease_timeout: "" }, "lease timeout is invalid; cannot be empty"],
  ["queues.create", { ...info, expire_timeout: "0" }, "expire timeout is invalid; cannot be empty"],
  ["queues.update", { queue_name: "nope" }, "queue does not exist; no such queue named 'nope'"],
  [
    "queues.update",
    { queue_name: "q", lease_timeout: "25h" },
    "lease timeout is too long; 25h0m0s cannot be greater than the expire timeout 24h0m0s",
  ],
  [
    "queues.update",
    { queue_name: "dead", dead_queue: "q" },
    "dead_queue is invalid; 'dead' is itself the dead_queue of 'chained'",
  ],
  ["queues.delete", { queue_name: "nope" }, "queue does not exist; no such queue named 'nope'"],
  [
    "queues.delete",
    { queue_name: "dead" },
    "queue is a dead queue; 'chained' uses it as its dead_queue",
  ],
  ["queues.list", { limit: -1 }, "limit is invalid; limit cannot be negative"],
  ["queues.list", { limit: 65537 }, "limit is invalid; cannot be greater than 65536"],
  ["queues.list", { pivot: "a~" }, "pivot is invalid; 'a~' cannot contain '~' character"],

  ...["storage/items.list", "storage/scheduled.list"].flatMap((path): Row[] => [
    [path, { ...q, pivot: "x" }, "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters"],
    [path, { ...q, limit: -1 }, "limit is invalid; limit cannot be negative"],
  ]),
  ["storage/items.import", q, "items is invalid; cannot be empty"],
  ...[-1, 1_000_000_001].map(
    (attempts): Row => [
      "storage/items.import",
      { ...q, items: [{ attempts }] },
      `attempts is invalid; '${attempts}' is not between 0 and 1000000000`,
    ],
  ),
  ["storage/items.delete", q, "ids is invalid; cannot be empty"],
  [
    "storage/items.delete",
    { ...q, ids: ["x"] },
    "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters",
  ],
];

let server: TestServer;
before(async () => {
  server = new TestServer(
    await startServer({ address: "127.0.0.1:0", memory: true, dev: true }, { logger: SILENT }),
  );
  await server.createQueue("q");
  await server.createQueue("dead");
  await server.createQueue("chained", { dead_queue: "dead" });
});
after(() => server.server.stop());

const TEXTS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  453: "Request Failed",
  454: "Retry Request",
  455: "Client Content Error",
};

for (const [path, request, message, code = 400] of ROWS) {
  const shown = JSON.stringify(request);
  test(`${path} refuses ${shown.length > 80 ? `${shown.slice(0, 80)}...` : shown}: ${message.slice(0, 60)}`, async () => {
    const expected = { code, code_text: TEXTS[code], message };
    assert.deepEqual(await server.call(path, request), { status: code, body: expected });

    const schema = SCHEMAS[path]!;
    const body = encodeProtobuf(schema, decodeJson(schema, Buffer.from(JSON.stringify(request))));
    for (const accept of ["application/json", "application/protobuf"]) {
      const response = await fetch(`${server.server.address}/v1/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/protobuf", Accept: accept },
        body: body as Uint8Array<ArrayBuffer>,
      });
      assert.equal(response.status, code);
      const bytes = Buffer.from(await response.arrayBuffer());
      if (accept === "application/json") {
        assert.deepEqual(JSON.parse(bytes.toString()), expected);
      } else {
        const reply = decodeProtobuf(ReplySchema, bytes);
        assert.deepEqual([reply.code, reply.codeText, reply.message], [code, TEXTS[code], message]);
      }
    }
  });
}

// --- bodies that are not what they claim ---

const BODIES: readonly [what: string, path: string, body: string | Uint8Array, pattern: RegExp][] =
  [
    ["an empty body", "queue.produce", "", /^proto: the body is empty/],
    ["broken JSON", "queue.produce", "{", /^proto: syntax error/],
    ["trailing data", "queue.stats", '{"queue_name":"q"} x', /^proto: syntax error/],
    ["a list", "queue.stats", "[]", /^proto: the body must be an object/],
    ["an unknown field", "queue.stats", '{"queue_name":"q","x":1}', /^proto: unknown field x/],
    [
      "the field retry of clear",
      "queue.clear",
      '{"queue_name":"q","retry":true}',
      /unknown field retry/,
    ],
    ["__proto__", "queue.stats", '{"__proto__":{}}', /^proto: unknown field __proto__/],
    ["a field twice", "queue.stats", '{"queue_name":"q","queue_name":"q"}', /more than once/],
    [
      "a field under both names",
      "queue.stats",
      '{"queue_name":"q","queueName":"q"}',
      /more than once/,
    ],
    [
      "a number for a text",
      "queue.stats",
      '{"queue_name":1}',
      /field queue_name must be a string, not 1/,
    ],
    ["a fraction", "queues.list", '{"limit":1.5}', /field limit must be a whole number/],
    ["a huge number", "queues.list", '{"limit":2147483648}', /field limit must be a whole number/],
    ["a huge exponent", "queues.list", '{"limit":1e400}', /field limit must be a whole number/],
    [
      "a text for a flag",
      "queue.clear",
      '{"queue_name":"q","queue":"true"}',
      /field queue must be true/,
    ],
    [
      "bad base64",
      "queue.produce",
      '{"queue_name":"q","items":[{"bytes":"a"}]}',
      /items\[0\].bytes must be base64/,
    ],
    [
      "base64 with a hole",
      "queue.produce",
      '{"queue_name":"q","items":[{"bytes":"YW%h"}]}',
      /bytes must be base64/,
    ],
    [
      "a date without T",
      "queue.produce",
      '{"queue_name":"q","items":[{"enqueue_at":"2024-01-01 12:00:00.0"}]}',
      /items\[0\].enqueue_at must be a time/,
    ],
    [
      "a day that does not exist",
      "queue.produce",
      '{"queue_name":"q","items":[{"enqueue_at":"2023-02-29T00:00:00Z"}]}',
      /enqueue_at must be a time/,
    ],
    [
      "null in a list",
      "queue.produce",
      '{"queue_name":"q","items":[null]}',
      /items\[0\] must be an object, not null/,
    ],
    [
      "half a surrogate pair",
      "queue.stats",
      '{"queue_name":"\\ud800"}',
      /queue_name must be valid Unicode/,
    ],
    [
      "half a surrogate pair as the name of a field",
      "queue.stats",
      '{"\\ud800":1}',
      /unknown field \ufffd/,
    ],
    [
      "lists without an end in each other",
      "storage/items.import",
      `{"items":${"[".repeat(1_000_000)}`,
      /field items\[0\] must be an object, not \[\[/,
    ],
    [
      "a field that is not known, however much follows",
      "storage/items.import",
      `{"items":[{${Array.from({ length: 40_000 }, (_, i) => `"k${i}":1`).join(",")}}]}`,
      /unknown field items\[0\]\.k0$/,
    ],
    [
      "more entries of a list than memory should hold",
      "storage/items.import",
      `{"items":[${"{},".repeat(200_001)}{}]}`,
      /field items has more than 200000 entries/,
    ],
    ["a text that never ends", "queue.stats", `{"queue_name":"${"x".repeat(400)}`, /syntax error/],
    ["bytes that are no UTF-8", "queue.stats", Uint8Array.of(0x7b, 0xff, 0x7d), /not valid UTF-8/],
  ];

for (const [what, path, body, pattern] of BODIES) {
  test(`${path} refuses ${what}`, async () => {
    const response = await fetch(`${server.server.address}/v1/${path}`, {
      method: "POST",
      body: body as string,
      headers: { "Content-Type": "application/json" },
    });
    assert.equal(response.status, 455);
    const reply = (await response.json()) as { message: string; code: number };
    assert.equal(reply.code, 455);
    assert.match(reply.message, /^proto: /);
    assert.match(reply.message, pattern);
    const stats = await server.stats("q");
    assert.equal(stats.total, undefined);
  });
}

for (const [what, bytes] of [
  ["a field cut off", [0x0a, 0x05, 0x61]],
  ["text that is no UTF-8", [0x0a, 0x01, 0xff]],
  ["a wire type that does not exist", [0x0f]],
] as const) {
  test(`Protobuf: queue.stats refuses ${what}`, async () => {
    const response = await fetch(`${server.server.address}/v1/queue.stats`, {
      method: "POST",
      body: Uint8Array.from(bytes),
      headers: { "Content-Type": "application/protobuf" },
    });
    assert.equal(response.status, 455);
    assert.match(((await response.json()) as { message: string }).message, /^proto: /);
  });
}

// --- transport ---

async function send(
  path: string,
  options: RequestInit,
): Promise<{ status: number; message: string; headers: Headers }> {
  const response = await fetch(`${server.server.address}${path}`, options);
  const { message } = (await response.json()) as { message: string };
  return { status: response.status, message, headers: response.headers };
}

test("only POST is allowed, before anything else is looked at", async () => {
  for (const path of ["/v1/queue.stats", "/nope", "/doc"]) {
    const { status, message } = await send(path, { method: "GET" });
    assert.equal(status, 400);
    assert.equal(message, "http method 'GET' not allowed; only POST");
  }
});

test("an unknown path is not implemented, and so is a POST to /health", async () => {
  for (const path of ["/v1/nope", "/health", "/v1/users.update", "/v1/queues.rebalance"]) {
    const { status, message } = await send(path, { method: "POST" });
    assert.equal(status, 501);
    assert.equal(message, `no such method; ${path}`);
  }
});

test("an Authorization header that is none is refused, a bearer token of any content is not", async () => {
  const options = { method: "POST", body: "{}", headers: { Authorization: "Basic x" } };
  const { status, message } = await send("/v1/queues.list", options);
  assert.equal(status, 401);
  assert.equal(message, "invalid authorization header format");
  const headers = { Authorization: "Bearer anything", "Content-Type": "application/json" };
  const response = await fetch(`${server.server.address}/v1/queues.list`, {
    method: "POST",
    body: "{}",
    headers,
  });
  assert.equal(response.status, 200);
});

test("errors come in the format that Accept asks for, whatever is wrong", async () => {
  const rows: [string, RequestInit, number][] = [
    ["/v1/queue.stats", { method: "DELETE" }, 400],
    ["/v1/queue.stats", { method: "POST", headers: { Authorization: "Basic x" } }, 401],
    ["/v1/nope", { method: "POST" }, 501],
    ["/v1/queue.stats", { method: "POST", headers: { "Content-Type": "text/plain" } }, 455],
  ];
  for (const [path, options, code] of rows) {
    const headers = { ...options.headers, Accept: "application/protobuf" };
    const response = await fetch(`${server.server.address}${path}`, { ...options, headers });
    assert.equal(response.headers.get("content-type"), "application/protobuf");
    const body = Buffer.from(await response.arrayBuffer());
    assert.equal(decodeProtobuf(ReplySchema, body).code, code);
  }
});

test("content types: what counts, what is refused", async () => {
  const types: [string, number][] = [
    ["application/json", 200],
    ["APPLICATION/JSON; charset=utf-8", 200],
    ["*/*", 200],
    ["application/*", 200],
    [" application/json , text/plain", 200],
    ["text/plain", 455],
    ["application/jsonx", 455],
  ];
  for (const [type, status] of types) {
    const options = { method: "POST", body: "{}" };
    const sent = await send("/v1/queues.list", { ...options, headers: { "Content-Type": type } });
    assert.equal(sent.status, status, type);
    const headers = { "Content-Type": "application/json", Accept: type };
    const accepted = await send("/v1/queues.list", { ...options, headers });
    assert.equal(accepted.status, status, type);
    if (status === 455) {
      assert.equal(
        sent.message,
        `Content-Type header '${type}' is invalid format or unrecognized content type`,
      );
      assert.equal(
        accepted.message,
        `Accept header '${type}' is invalid format or unrecognized content type, only [application/json,application/protobuf] are supported by this method`,
      );
    }
    assert.equal(sent.headers.get("x-content-type-options"), "nosniff");
  }
});

test("what is beyond ASCII in a head is shown as it was meant, and changes no terminal", async () => {
  const rows: [string, string][] = [
    ["text/\u00fcn\u00ef\u043a", "text/\u00fcn\u00ef\u043a"],
    ["text/\u202ex", "text/\\u202ex"],
  ];
  const body = "{}";
  for (const [type, shown] of rows) {
    const bytes = Buffer.from(type).toString("latin1");
    const sent = await send("/v1/queues.list", {
      method: "POST",
      body,
      headers: { "Content-Type": bytes },
    });
    assert.ok(sent.message?.startsWith(`Content-Type header '${shown}' is `), sent.message);
    const headers = { "Content-Type": "application/json", Accept: bytes };
    const accepted = await send("/v1/queues.list", { method: "POST", body, headers });
    assert.ok(accepted.message?.startsWith(`Accept header '${shown}' is `), accepted.message);
  }
  const headers = { "Content-Type": "text/\u00ff" };
  const { message } = await send("/v1/queues.list", { method: "POST", body, headers });
  assert.ok(message?.startsWith("Content-Type header 'text/\ufffd' is "), message);
});

test("bodies may be as large as their limit, and not a byte larger", async () => {
  const limits: [string, number, string][] = [
    ["queue.produce", 5_000_000, "5.0MB"],
    ["queue.lease", 512, "512B"],
    ["queue.stats", 512, "512B"],
    ["queue.clear", 512, "512B"],
    ["queue.reload", 512, "512B"],
    ["queues.update", 512_000, "500.0KiB"],
    ["queues.create", 256_000, "250.0KiB"],
    ["queue.complete", 256_000, "250.0KiB"],
    ["queues.list", 256_000, "250.0KiB"],
    ["storage/items.import", 64_000_000, "61.0MiB"],
  ];
  for (const [path, limit, text] of limits) {
    const post = (bytes: number): ReturnType<typeof send> =>
      send(`/v1/${path}`, {
        method: "POST",
        body: `{}${" ".repeat(bytes - 2)}`,
        headers: { "Content-Type": "application/json" },
      });
    const { message: fits } = await post(limit);
    assert.doesNotMatch(fits ?? "", /exceeds/);
    const { status, message } = await post(limit + 1);
    assert.equal(status, 400);
    assert.equal(message, `request body exceeds ${text} limit`);
  }
});
