// What common tools send beside the request itself: HEAD, lists in Accept, other names of Protobuf,
// encodings, credentials for a proxy.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { QueuesListResponseSchema } from "../../src/codec/gen/querator/v1/queues_pb.ts";
import { ReplySchema } from "../../src/codec/gen/querator/v1/reply_pb.ts";
import { decodeProtobuf } from "../../src/codec/protobuf.ts";
import { type RunningServer, startServer } from "../../src/server/server.ts";
import type { Reply } from "../support/http-text.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { SILENT } from "../support/server.ts";

let server: RunningServer;
before(async () => {
  server = await startServer({ address: "127.0.0.1:0", memory: true }, { logger: SILENT });
  const create = {
    queue_name: "q",
    lease_timeout: "1m",
    expire_timeout: "1h",
    requested_partitions: 1,
  };
  const { status } = await ask("POST", "/v1/queues.create", [], JSON.stringify(create));
  assert.equal(status, 200);
});
after(() => server.stop());

async function ask(
  method: string,
  path: string,
  headers: readonly string[],
  body: string | Buffer = "",
): Promise<Reply> {
  const connection = await RawConnection.open(server.port);
  const length = method === "POST" ? [`Content-Length: ${Buffer.byteLength(body)}`] : [];
  const head = [`${method} ${path} HTTP/1.1`, "Host: localhost", ...headers, ...length].join(
    "\r\n",
  );
  const bytes = Buffer.concat([Buffer.from(`${head}\r\n\r\n`), Buffer.from(body)]);
  const outcome = await connection.send(bytes, { waitMs: 10_000, bodiless: method === "HEAD" });
  connection.destroy();
  assert.equal(outcome.kind, "reply", head);
  return (outcome as Extract<typeof outcome, { kind: "reply" }>).reply;
}

for (const path of ["/", "/health", "/openapi.json", "/docs"]) {
  test(`HEAD ${path} answers the headers of GET, and nothing else`, async () => {
    const connection = await RawConnection.open(server.port);
    const send = async (method: string): Promise<Reply> => {
      const text = `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
      const outcome = await connection.send(text, { waitMs: 10_000, bodiless: method === "HEAD" });
      assert.equal(outcome.kind, "reply");
      return (outcome as Extract<typeof outcome, { kind: "reply" }>).reply;
    };
    const get = await send("GET");
    // The reply that follows would not be understood if this one had a body.
    const head = await send("HEAD");
    const again = await send("GET");
    connection.destroy();
    const shown = ({ status, headers }: Reply): unknown => [
      status,
      [...headers].filter(([name]) => name !== "date"),
    ];
    assert.deepEqual(shown(head), shown(get));
    assert.equal(Number(head.headers.get("content-length")), get.body.length);
    assert.equal(again.status, get.status);
  });
}

test("HEAD of what cannot be read is refused as GET is", async () => {
  for (const path of ["/v1/queues.list", "/nope"]) {
    assert.equal((await ask("HEAD", path, [])).status, 400);
  }
});

test("the root leads to the documents, wherever a proxy serves it", async () => {
  for (const path of ["/", "/?x=1", "/docs/"]) {
    const { status, headers } = await ask("GET", path, []);
    assert.equal(status, 302);
    for (const [base, docs] of [
      ["http://h", "http://h/docs"],
      ["https://h/queues", "https://h/queues/docs"],
    ]) {
      assert.equal(new URL(headers.get("location")!, base + path).href, docs);
    }
  }
  const response = await fetch(server.address);
  assert.match(response.url, /\/docs$/);
  assert.match(await response.text(), /<title>/);
});

const JSON_TYPE = "application/json";
const PROTOBUF = "application/protobuf";

// Without a slash before it, what /v1 makes of it counts for both.
const ACCEPTS: readonly (readonly [
  accept: string,
  v1: string | undefined,
  v2?: string | undefined,
])[] = [
  ["text/plain, application/json", JSON_TYPE],
  ["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON_TYPE],
  ["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON_TYPE],
  ["text/html, application/protobuf", PROTOBUF],
  ["text/html, application/protobuf;q=0.3, application/json;q=0.2", PROTOBUF],
  ["text/html, application/protobuf;q=0.2, application/json;q=0.3", JSON_TYPE],
  ["text/html, APPLICATION/JSON ; Q=0.1 , */*;q=0", JSON_TYPE],
  ["text/html, */*;q=0.5, application/json;q=0", PROTOBUF],
  ["application/json;q=0, application/protobuf", PROTOBUF],
  ["application/json;q=0.0, */*;q=0.1", PROTOBUF],
  ["application/protobuf;q=0, application/json", JSON_TYPE],
  ["application/protobuf;q=0, */*", JSON_TYPE],
  ["text/*, application/*;q=0.1", JSON_TYPE],
  ["application/x-protobuf", "application/x-protobuf"],
  ["application/vnd.google.protobuf", "application/vnd.google.protobuf"],
  ["text/html, application/x-protobuf;q=0.5, application/json;q=0.4", "application/x-protobuf"],
  [", text/html, application/json", JSON_TYPE],
  ["application/json;charset=utf-8", JSON_TYPE],
  // The first is enough under /v1, whatever its weight.
  ["application/json;q=0.1, application/protobuf", JSON_TYPE, PROTOBUF],
  ["*/*;q=0.1, application/protobuf;q=0.2", JSON_TYPE, PROTOBUF],
  ["application/protobuf, application/json", PROTOBUF],
  ["*/*, application/protobuf", JSON_TYPE],
  ["text/html", undefined],
  ["text/html, text/plain;q=0.5", undefined],
  ["application/json;q=0", undefined],
  ["*/*;q=0", undefined],
  ["application/json;q=0, application/protobuf;q=0, */*;q=0", undefined],
  ["application/xml, application/yaml", undefined],
];

test("Accept is a list with weights, of which the best that there is counts", async () => {
  for (const [accept, v1, v2 = v1] of ACCEPTS) {
    for (const [path, type, status, problem] of [
      ["/v1/storage/scheduled.list", v1, 455, JSON_TYPE],
      ["/v2/items.list", v2, 406, "application/problem+json"],
    ] as const) {
      // Both ways of reading.
      for (const more of [[], ["Expect: 100-continue"]]) {
        const reply = await ask("POST", path, [`Accept: ${accept}`, ...more], '{"queue_name":"q"}');
        assert.equal(reply.status, type === undefined ? status : 200, `${path} ${accept}`);
        assert.equal(reply.headers.get("content-type"), type ?? problem, `${path} ${accept}`);
        if (type === undefined) assert.match(reply.body.toString(), /"Accept header '/);
      }
    }
  }
});

test("a list of many members costs little", async () => {
  const accept = `Accept: ${"a/b;q=0.1,".repeat(1_400)}application/json`;
  assert.equal((await ask("POST", "/v1/queues.list", [accept], "{}")).status, 200);
});

test("Protobuf is taken and answered under its other names too", async () => {
  for (const type of [
    "application/x-protobuf",
    "application/vnd.google.protobuf",
    "Application/X-Protobuf; charset=x",
  ]) {
    const accept = type.split(";")[0]!;
    const reply = await ask(
      "POST",
      "/v1/queues.list",
      [`Content-Type: ${type}`, `Accept: ${accept}`],
      "",
    );
    assert.deepEqual(
      [reply.status, reply.headers.get("content-type")],
      [200, accept.toLowerCase()],
    );
    assert.equal(decodeProtobuf(QueuesListResponseSchema, reply.body).items[0]!.queueName, "q");
    const wrong = await ask(
      "POST",
      "/v1/queues.info",
      [`Content-Type: ${type}`, `Accept: ${accept}`],
      "",
    );
    assert.equal(wrong.headers.get("content-type"), accept.toLowerCase());
    assert.equal(decodeProtobuf(ReplySchema, wrong.body).code, 400);
  }
});

test("an encoded body is 415, and says what to do", async () => {
  const body = gzipSync('{"queue_name":"q"}');
  for (const path of ["/v1/queue.stats", "/v2/items.list"]) {
    for (const header of [
      "Content-Encoding: gzip",
      "content-encoding: GZIP",
      "Content-Encoding: br",
      "Content-Encoding: zstd, identity",
      "Content-Encoding: identity, gzip",
    ]) {
      const { status, headers, body: text } = await ask("POST", path, [header], body);
      assert.equal(status, 415, header);
      const { code, message, detail = message } = JSON.parse(text.toString());
      assert.equal(code, path.startsWith("/v2/") ? "unsupported_encoding" : 415);
      assert.match(detail, /^Content-Encoding '.*' is not supported; send the body as it is/);
      assert.equal(headers.get("accept-encoding"), "identity");
    }
    for (const header of [
      "Content-Encoding: identity",
      "Content-Encoding:",
      "Content-Encoding: Identity",
    ]) {
      assert.equal((await ask("POST", path, [header], '{"queue_name":"q"}')).status, 200, header);
    }
  }
});

test("without authentication /v2 lets any Authorization pass, /v1 a bearer's only", async () => {
  const rows: [string, number][] = [
    ["Basic dXNlcjpwYXNz", 401],
    ["bearer abc", 401],
    ["BEARER abc", 401],
    ["Digest username=x", 401],
    ["", 401],
    ["x", 401],
    ["Bearer abc", 200],
  ];
  for (const [value, v1] of rows) {
    for (const more of [[], ["Expect: 100-continue"]]) {
      const headers = [`Authorization: ${value}`, ...more];
      const body = '{"queue_name":"q"}';
      assert.equal(
        (await ask("POST", "/v1/storage/scheduled.list", headers, body)).status,
        v1,
        value,
      );
      assert.equal((await ask("POST", "/v2/items.list", headers, body)).status, 200, value);
    }
  }
});

test("what common tools send beside a request is let pass", async () => {
  for (const headers of [
    ["Accept: */*", "User-Agent: curl/8.5.0", "Content-Type: application/json"],
    ["Content-Type:", "Accept:"],
    [
      "Content-Type: application/json; charset=utf-8",
      "Accept-Encoding: gzip, deflate, br, zstd",
      "Connection: keep-alive",
    ],
    [
      "Connection: Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    ],
    ["Expect: 100-continue"],
    ["TE: trailers"],
    ["TE: trailers, deflate;q=0.5", "Connection: TE"],
    ["Accept-Language: en", "Sec-Fetch-Mode: cors", "Pragma: no-cache", "Cache-Control: no-cache"],
    [
      "X-Forwarded-For: 10.0.0.1",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: jobs.example.com",
      "Forwarded: for=1",
    ],
    ["Connection: close"],
    ["Cookie: a=b", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
  ]) {
    for (const path of ["/v1/storage/scheduled.list", "/v1/storage/scheduled.list?x=y"]) {
      const reply = await ask("POST", path, headers, '{"queue_name":"q"}');
      assert.equal(reply.status, 200, `${headers.join(" | ")}: ${reply.body}`);
    }
  }
});
