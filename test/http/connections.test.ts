// What happens on a connection, below requests and replies.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { brokenReply } from "../../src/http/edge.ts";
import { ReplyReader, requestText } from "../support/http-text.ts";
import { setup, type TestServer } from "../support/server.ts";

async function open(t: TestContext, server: TestServer): Promise<Socket> {
  const socket = connect(server.server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}

/** Reads until the text has been seen so many times, or the end. */
async function readUntil(socket: Socket, text: string, times = 1): Promise<string> {
  let seen = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    seen += chunk;
    if (seen.split(text).length > times) break;
  }
  return seen;
}

/** The reply to what is refused below the API, which ends its connection. */
function assertBroken(seen: string, status: number, message: RegExp): void {
  const reader = new ReplyReader();
  reader.add(Buffer.from(seen));
  const reply = reader.next()!;
  assert.equal(reply.status, status, seen);
  assert.equal(reply.headers.get("connection"), "close");
  assert.equal(reply.headers.get("content-type"), "application/json");
  const { code, code_text, message: text, ...rest } = JSON.parse(reply.body.toString());
  assert.deepEqual([code, typeof code_text, rest], [status, "string", {}]);
  assert.match(text, message);
  assert.equal(reader.rest.length, 0);
}

test("requests that are sent without waiting for replies are answered in order", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const socket = await open(t, server);
  const produce = {
    queue_name: "q",
    request_timeout: "1m",
    items: [{ utf8: "x" }],
  };
  socket.write(
    requestText("queue.produce", produce) +
      requestText("queue.nope", "{}") +
      requestText("queue.produce", produce),
  );
  const seen = await readUntil(socket, "HTTP/1.1 ", 3);
  const statuses = [...seen.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]);
  assert.deepEqual(statuses, ["200", "501", "200"]);
  await server.until(async () => (await server.stats("q")).total === 2);
});

test("a request that comes while another waits is answered after it", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const socket = await open(t, server);
  socket.write(
    requestText("queue.lease", {
      queue_name: "q",
      batch_size: 1,
      client_id: "c",
      request_timeout: "1m",
    }),
  );
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  socket.write(requestText("queues.info", { queue_name: "q" }));
  await server.produce("q", "x");
  const seen = await readUntil(socket, '"created_at"');
  assert.match(seen, /^HTTP\/1\.1 200 [\s\S]*"items":\[[\s\S]*HTTP\/1\.1 200 /);
  // And those after it as well.
  socket.write(requestText("queue.nope", "{}"));
  assert.match(await readUntil(socket, "no such method"), /^HTTP\/1\.1 501 /);
});

test("a client that does not wait for replies has few requests served at a time", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const socket = await open(t, server);
  const many = 100;
  for (let i = 0; i < many; i++) {
    socket.write(
      requestText("queue.lease", {
        queue_name: "q",
        batch_size: 1,
        client_id: `c${i}`,
        request_timeout: "1m",
      }),
    );
  }
  const waiting = async (): Promise<number> => (await server.stats("q")).lease_waiting as number;
  await server.until(async () => (await waiting()) >= 16);
  const produced = Array.from({ length: many }, (_, i) => `item ${i}`);
  for (let i = 0; i < many; i++) {
    assert.ok((await waiting()) <= 16);
    await server.produce("q", produced[i]!);
  }
  const seen = await readUntil(socket, '"items":[', many);
  assert.equal(seen.match(/HTTP\/1\.1 200/g)?.length, many);
  const leased = [...seen.matchAll(/"bytes":"([^"]*)"/g)].map(([, bytes]) => atob(bytes!));
  assert.deepEqual(leased, produced);
});

test("a request may come in pieces, wherever it is cut", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const text = requestText("queue.produce", {
    queue_name: "q",
    request_timeout: "1m",
    items: [{ utf8: "\u00e4".repeat(10) }],
  });
  const bytes = Buffer.from(text);
  const body = bytes.indexOf("\r\n\r\n") + 4;
  for (const cut of [1, 20, body - 2, body, body + 1, bytes.length - 1]) {
    const socket = await open(t, server);
    socket.setNoDelay(true);
    socket.write(bytes.subarray(0, cut));
    // So that the server has taken in the first piece.
    await server.stats("q");
    await server.stats("q");
    socket.write(bytes.subarray(cut));
    assert.match(await readUntil(socket, "}"), /^HTTP\/1\.1 200 /, `cut at ${cut}`);
    // A plain one again, on the same connection.
    socket.write(bytes);
    assert.match(await readUntil(socket, "}"), /^HTTP\/1\.1 200 /, `after a cut at ${cut}`);
  }
  assert.equal((await server.stats("q")).total, 12);
});

test("a request that ends in the middle gets a 400", async (t) => {
  const server = await setup(t);
  for (const half of [
    "POST /v1/queue.lease HTTP/1.1\r\nHo",
    "POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
  ]) {
    const socket = await open(t, server);
    socket.end(half);
    const seen = await readUntil(socket, "never seen");
    assertBroken(seen, 400, /^request is not valid HTTP$/);
  }
});

// A field that is of no account keeps a request from being read as a plain one.
test("plain requests and others get the same replies, to the letter", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const protobuf = "Accept: application/protobuf\r\n";
  for (const [path, body, fields] of [
    ["queues.info", { queue_name: "q" }, ""],
    ["queue.stats", { queue_name: "q" }, protobuf],
    ["queue.produce", { queue_name: "q", request_timeout: "1m", items: [{ utf8: "x" }] }, ""],
    ["queue.lease", { queue_name: "none", batch_size: 1, client_id: "c" }, ""],
    ["queue.lease", "{", ""],
    ["queue.lease", { queue_name: "q" }, protobuf],
    ["queues.info", { queue_name: "q" }, "Authorization: Bearer x\r\nX-Trace: 1\r\n"],
    ["queues.info", { queue_name: "q" }, "Authorization: Basic x\r\n"],
    ["queues.info", { queue_name: "q" }, "Content-Type: text/plain\r\n"],
    ["queues.info", { queue_name: "q" }, "Accept: text/plain\r\n"],
  ] as const) {
    const replies = ["", "TE: trailers\r\n"].map(async (field) => {
      const socket = await open(t, server);
      socket.write(requestText(path, body, fields + field));
      const seen = await readUntil(socket, fields === protobuf ? "\r\n\r\n" : "}");
      return seen.replace(/Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/, "Date");
    });
    const [plain, other] = await Promise.all(replies);
    assert.match(plain!, /^HTTP\/1\.1 \d{3} [\s\S]*\r\nDate\r\n/);
    assert.equal(plain, other, `${path} ${fields}`);
  }
});

test("what leaves it open where a request ends is refused", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const produce = requestText("queue.produce", {
    queue_name: "q",
    request_timeout: "1m",
    items: [{ utf8: "x" }],
  });
  const length = /Content-Length: \d+/.exec(produce)![0];
  for (const [what, fields] of [
    ["two lengths", `Content-Length: 1\r\n${length}`],
    ["the length twice", `${length}\r\n${length}`],
    ["a length with a sign", length.replace(": ", ": +")],
    ["a list of lengths", `${length}, ${length.slice(16)}`],
    ["a length and chunks", `${length}\r\nTransfer-Encoding: chunked`],
    ["chunks and a length", `Transfer-Encoding: chunked\r\n${length}`],
    ["an unknown encoding", `${length}\r\nTransfer-Encoding: x`],
    ["a space before the colon", length.replace(":", " :")],
    ["a folded line", `X: a\r\n ${length}`],
    ["a bare line feed", `X: a\n${length}`],
    ["a bare carriage return", `X: a\r${length}`],
    ["a zero", `X: a\0\r\n${length}`],
  ] as const) {
    const socket = await open(t, server);
    socket.on("error", () => undefined);
    socket.write(produce.replace(length, fields));
    const seen = await readUntil(socket, "never seen").catch(() => "");
    assert.match(seen, /^HTTP\/1\.1 400 /, what);
    assert.match(seen, /\r\nConnection: close\r\n/, what);
  }
  assert.equal((await server.stats("q")).total, undefined);
});

test("a large body that is refused before its end is answered, and its connection closed", async (t) => {
  const server = await setup(t);
  const socket = await open(t, server);
  socket.write(
    "POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{",
  );
  const seen = await readUntil(socket, "limit");
  assert.match(seen, /^HTTP\/1\.1 400 /);
  assert.match(seen, /\r\nConnection: close\r\n/);
  assert.match(seen, /request body exceeds 512B limit/);
});

test("a client that goes on sending what was refused can still read why", async (t) => {
  const server = await setup(t);
  const socket = await open(t, server);
  const read = readUntil(socket, "limit");
  socket.write(
    "POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n",
  );
  for (let i = 0; i < 200; i++) {
    if (!socket.write("x".repeat(100_000))) await once(socket, "drain");
  }
  assert.match(await read, /request body exceeds 512B limit/);
});

test("connections that come together are taken in together", async (t) => {
  const server = await setup(t);
  const sockets: Socket[] = [];
  for (let i = 0; i < 64; i++) sockets.push(connect(server.server.port, "127.0.0.1"));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const answered = sockets.map(async (socket) => {
    socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(socket, "data");
  });
  let rounds = 0;
  const count = (): void => {
    rounds++;
    immediate = setImmediate(count);
  };
  let immediate = setImmediate(count);
  // Long rounds, as under load: no more than a few are needed.
  const long = new Int32Array(new SharedArrayBuffer(4));
  const slow = setInterval(() => Atomics.wait(long, 0, 0, 20), 1);
  await Promise.all(answered);
  clearInterval(slow);
  clearImmediate(immediate);
  assert.ok(rounds < 32, `${rounds} rounds`);
});

test("the target of a request may be a whole URL", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const socket = await open(t, server);
  socket.write(
    requestText("queues.info", { queue_name: "q" }).replace("/v1/", "http://somewhere/v1/"),
  );
  assert.match(await readUntil(socket, '"queue_name"'), /^HTTP\/1\.1 200 /);
});

test("a body without a stated length that grows too large is refused as well", async (t) => {
  const server = await setup(t);
  const socket = await open(t, server);
  socket.write(
    "POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  for (let i = 0; i < 3; i++) socket.write(`c8\r\n${"x".repeat(200)}\r\n`);
  const seen = await readUntil(socket, "limit");
  assert.match(seen, /^HTTP\/1\.1 400 /);
  assert.match(seen, /\r\nConnection: close\r\n/);
});

test("what is not HTTP gets a 400 and is cut off; the server goes on", async (t) => {
  const server = await setup(t);
  const unknown = /^http method is unknown, or this is not HTTP; only POST$/;
  const invalid = /^request is not valid HTTP$/;
  for (const [bytes, message] of [
    ["FOO /v1/queue.produce HTTP/1.1\r\nHost: localhost\r\n\r\n", unknown],
    ["\x16\x03\x01\0\u00ff\r\n\r\n", unknown],
    ["GET\r\n\r\n", unknown],
    ["POST /v1/queue.lease HTTP/1.1\r\n:x\r\n\r\n", invalid],
    ["POST /v1/queue.lease HTTP/7.7\r\nHost: localhost\r\n\r\n", invalid],
    ["POST /v1/queue.lease HTTP/1.1\r\n\r\n", /^host header is missing$/],
  ] as const) {
    const socket = await open(t, server);
    socket.write(bytes, "latin1");
    const seen = await readUntil(socket, "never seen");
    assertBroken(seen, 400, message);
  }
  await server.createQueue("q");
});

test("what follows a reply that has begun is cut off without another", async (t) => {
  const server = await setup(t);
  const socket = await open(t, server);
  socket.on("error", () => undefined);
  // Refused at its head; its body is still read, and then is none.
  socket.write(
    "POST /v1/queue.nope HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
  );
  let seen = await readUntil(socket, "no such method");
  socket.write("nonsense\r\n");
  seen += await readUntil(socket, "never seen").catch(() => "");
  assert.deepEqual(seen.match(/HTTP\/1\.1 \d+/g), ["HTTP/1.1 501"]);
});

test("what is refused for its size or its slowness says so", () => {
  for (const [code, status, message] of [
    ["HPE_HEADER_OVERFLOW", 431, /^request headers are too large$/],
    ["HPE_CHUNK_EXTENSIONS_OVERFLOW", 413, /^chunk extensions are too large$/],
    ["ERR_HTTP_REQUEST_TIMEOUT", 408, /^request was not sent in time$/],
  ] as const) {
    assertBroken(brokenReply(code), status, message);
  }
});

test("headers beyond their limit are refused", async (t) => {
  const server = await setup(t);
  const socket = await open(t, server);
  socket.on("error", () => undefined);
  socket.write(
    `POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\nX-Big: ${"x".repeat(100_000)}\r\n\r\n`,
  );
  const seen = await readUntil(socket, "never seen").catch(() => "");
  if (seen !== "") assertBroken(seen, 431, /^request headers are too large$/); // else it was reset
});

test("a connection that is half closed still gets its answer", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  const socket = await open(t, server);
  socket.end(requestText("queues.info", { queue_name: "q" }));
  const seen = await readUntil(socket, "never seen");
  assert.match(seen, /^HTTP\/1\.1 200 /);
});

test("connections beyond the limit wait or are closed, and room comes back", async (t) => {
  const server = await setup(t, { limits: { connections: 2 } });
  const [one, two] = [await open(t, server), await open(t, server)];
  two.on("error", () => undefined);
  const health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
  one.write(health);
  assert.match(await readUntil(one, "}"), /^HTTP\/1\.1 200 /);
  const third = await open(t, server);
  third.on("error", () => undefined);
  third.write(health);
  assert.equal(await readUntil(third, "}").catch(() => ""), "");
  one.destroy();
  await server.until(async () => {
    const again = connect(server.server.port, "127.0.0.1");
    again.on("error", () => undefined);
    again.write(health);
    const seen = await readUntil(again, "}").catch(() => "");
    again.destroy();
    return seen.startsWith("HTTP/1.1 200 ");
  });
});

for (const [reader, headers] of [
  ["plain requests", ""],
  ["all others", "Expect: 100-continue\r\n"],
] as const) {
  test(`an idle connection is told how long it is kept, and is kept no longer: ${reader}`, async (t) => {
    const server = await setup(t, { keepAliveTimeout: "1500ms" });
    const socket = await open(t, server);
    const closed = once(socket, "close");
    socket.write(requestText("queues.list", "{}", headers));
    const seen = await readUntil(socket, "{}");
    assert.match(seen, /\r\nConnection: keep-alive\r\nKeep-Alive: timeout=1\r\n/i);
    const from = performance.now();
    socket.resume();
    await closed;
    const kept = performance.now() - from;
    // Not before what was told; when the machine is busy, much later.
    assert.ok(kept > 1_000 && kept < 20_000, `${kept} ms`);
  });
}

test("by default an idle connection is kept for 75 seconds", async (t) => {
  const server = await setup(t);
  for (const headers of ["", "Expect: 100-continue\r\n"]) {
    const socket = await open(t, server);
    socket.write(requestText("queues.list", "{}", headers));
    assert.match(await readUntil(socket, "{}"), /\r\nKeep-Alive: timeout=75\r\n/);
  }
});
