// The transport over sockets against servers that write what they like: every form of a reply that HTTP/1.1
// has, in every piece, what is refused, and which connections are used again.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import {
  InvalidRequestError,
  NetworkError,
  QueratorClient,
  QueratorError,
  TimeoutError,
} from "@querator/client";
import { makeTransport, type TransportOptions } from "../../client/src/transport.ts";
import { setup } from "./setup.ts";

const GET = { method: "GET", path: "/", body: "", timeoutMs: 10_000, signal: undefined } as const;

/** A server that calls back with each request's text; the number counts connections. */
async function serve(
  t: TestContext,
  answer: (socket: Socket, request: string, number: number) => void,
) {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    const number = sockets.size;
    socket.on("error", () => undefined);
    socket.on("end", () => socket.end());
    socket.on("data", (data) => answer(socket, data.toString("latin1"), number));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const make = (options: Partial<TransportOptions> = {}) => {
    const transport = makeTransport({ url, headers: {}, fetch: undefined, ...options });
    t.after(() => transport.close());
    return transport;
  };
  return { url, make, sockets };
}

const FORMS = {
  "of a stated length": "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nh\u00e9llo w\u00f6r\u00df",
  "without a body": "HTTP/1.1 204 No Content\r\n\r\n",
  "of length 0": "HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
  "in chunks":
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\nA\r\n, wonderfu\r\n1\r\nl\r\n0\r\nX-Trailer: 1\r\n\r\n",
  "in no chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "after one that is not the last":
    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast",
  "that has two equal lengths":
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
} as const;

const BODIES: Record<keyof typeof FORMS, string> = {
  "of a stated length": "h\u00e9llo w\u00f6r\u00df",
  "without a body": "",
  "of length 0": "",
  "in chunks": "hello, wonderful",
  "in no chunks": "",
  "after one that is not the last": "last",
  "that has two equal lengths": "ok",
};

for (const [name, text] of Object.entries(FORMS) as [keyof typeof FORMS, string][]) {
  test(`a reply ${name} is read, wherever it is cut, over one connection`, async (t) => {
    const bytes = Buffer.from(text);
    let cut = 0;
    const { make, sockets } = await serve(t, (socket) => {
      socket.setNoDelay();
      socket.write(bytes.subarray(0, cut));
      // The first piece is on its way before the second is written.
      setImmediate(() => setImmediate(() => socket.write(bytes.subarray(cut))));
    });
    const transport = make();
    for (cut = 0; cut <= bytes.length; cut++) {
      const { status, body } = await transport.send(GET);
      assert.equal(body, BODIES[name], `cut at ${cut}`);
      assert.equal(status, name === "without a body" ? 204 : 200);
    }
    assert.equal(sockets.size, 1);
  });
}

test("a reply byte by byte is read", async (t) => {
  const bytes = [...Buffer.from(FORMS["in chunks"])];
  const { make } = await serve(t, (socket) => {
    socket.setNoDelay();
    const next = (): void => {
      socket.write(Buffer.of(bytes.shift()!));
      if (bytes.length > 0) setImmediate(next);
    };
    next();
  });
  assert.equal((await make().send(GET)).body, "hello, wonderful");
});

const LAST = {
  "up to the end of the connection": "HTTP/1.1 200 OK\r\n\r\nall of it",
  "that says that it is the last":
    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nall of it",
  "of HTTP/1.0": "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nall of it",
  "followed by something": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall of it?",
  "from a server that keeps a connection for a second":
    "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 9\r\n\r\nall of it",
} as const;

for (const [name, text] of Object.entries(LAST)) {
  test(`after a reply ${name} the connection is not used again`, async (t) => {
    const { make, sockets } = await serve(t, (socket) => {
      if (name.startsWith("up to")) socket.end(text);
      else socket.write(text);
    });
    const transport = make();
    for (let i = 1; i <= 3; i++) {
      assert.equal((await transport.send(GET)).body, "all of it");
      assert.equal(sockets.size, i);
    }
  });
}

const BROKEN = {
  "no HTTP": "SSH-2.0-OpenSSH\r\n",
  "no HTTP, with an empty line": "hello\r\n\r\n",
  "another version": "HTTP/2 200\r\n\r\n",
  "no status": "HTTP/1.1 OK\r\n\r\n",
  "a change of protocol": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
  "a line that is no header": "HTTP/1.1 200 OK\r\nContent-Length 2\r\n\r\nok",
  "a space before a colon": "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
  "a header that is folded": "HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
  "lines that end in LF": "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
  "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
  "a length that is none": "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
  "a length and chunks":
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  "an encoding that is not known": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
  "a chunk whose size is none":
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
  "a chunk that is longer than it says":
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
  "a head without end": `HTTP/1.1 200 OK\r\nX-Long: ${"x".repeat(70_000)}`,
  "a chunk's head without end": `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${"x".repeat(9_000)}`,
} as const;

for (const [name, text] of Object.entries(BROKEN)) {
  test(`an answer with ${name} is an error that says that it may be done`, async (t) => {
    const { make, sockets } = await serve(t, (socket) => void socket.write(text));
    await assert.rejects(make().send(GET), (error) => {
      assert.ok(error instanceof NetworkError, String(error));
      assert.match(error.message, /the answer cannot be read, /);
      return error.uncertain;
    });
    const [socket] = sockets;
    if (!socket!.destroyed) await once(socket!, "close");
  });
}

for (const name of ["of a stated length", "in chunks", "after one that is not the last"] as const) {
  test(`a reply ${name} that breaks off anywhere is an error`, async (t) => {
    const bytes = Buffer.from(FORMS[name]);
    let length = 0;
    const { make } = await serve(t, (socket) => void socket.end(bytes.subarray(0, length)));
    const transport = make();
    for (length = 0; length < bytes.length; length++) {
      await assert.rejects(
        transport.send(GET),
        (error) => error instanceof NetworkError && error.retryable && error.uncertain,
        `broken off after ${length}`,
      );
    }
  });
}

test("chunks are bounded together", async (t) => {
  const { make } = await serve(t, (socket) => void socket.write(FORMS["in chunks"]));
  assert.equal((await make({ replyBytesMax: 16 }).send(GET)).body, "hello, wonderful");
  await assert.rejects(
    make({ replyBytesMax: 15 }).send(GET),
    (error) => error instanceof QueratorError && error.code === "invalid-reply",
  );
});

test("a connection that the server has closed meanwhile is not used", async (t) => {
  const { make, sockets } = await serve(t, (socket, _, number) => {
    socket.write(FORMS["of length 0"]);
    if (number === 1) socket.end();
  });
  const transport = make();
  await transport.send(GET);
  const [first] = sockets;
  if (!first!.destroyed) await once(first!, "close");
  await transport.send(GET);
  assert.equal(sockets.size, 2);
});

test("a connection whose time passes in this very moment is not used", async (t) => {
  const { make } = await serve(t, (socket) => void socket.write(FORMS["of length 0"]));
  const transport = make({ idleMs: 20 });
  for (let i = 1; i <= 10; i++) {
    assert.equal((await transport.send(GET)).status, 200);
    await sleep(20); // this timer lies behind that of the connection, in the same list
  }
});

test("a program that was busy for longer than a connection is kept does not use it", async (t) => {
  const { make, sockets } = await serve(t, (socket) => void socket.write(FORMS["of length 0"]));
  const transport = make({ idleMs: 5 });
  await transport.send(GET);
  const until = performance.now() + 10;
  while (performance.now() < until);
  await transport.send(GET);
  assert.equal(sockets.size, 2);
});

test("what ends before there is a connection has surely not been done", async (t) => {
  // It takes the connection in, and says nothing of TLS.
  const { url } = await serve(t, () => undefined);
  const silent = makeTransport({
    url: new URL(url.href.replace("http:", "https:")),
    headers: {},
    fetch: undefined,
  });
  t.after(() => silent.close());
  await assert.rejects(silent.send({ ...GET, timeoutMs: 20 }), (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.match(error.message, /^No connection to https:/);
    return error.retryable && !error.uncertain;
  });
  const controller = new AbortController();
  const waiting = silent.send({ ...GET, isWait: true, signal: controller.signal });
  const from = performance.now();
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /^Error: enough$/);
  assert.ok(performance.now() - from < 900); // not the time that a late reply is given

  const { url: closing, sockets } = await serve(t, () => undefined);
  const broken = makeTransport({
    url: new URL(closing.href.replace("http:", "https:")),
    headers: {},
    fetch: undefined,
  });
  t.after(() => broken.close());
  const sent = broken.send(GET);
  while (sockets.size === 0) await new Promise((resolve) => setImmediate(resolve));
  for (const socket of sockets) socket.destroy();
  await assert.rejects(sent, (error) => error instanceof NetworkError && !error.uncertain);
});

test("a large reply in the smallest chunks takes little more than its length", async (t) => {
  const bytes = 200_000;
  const { make } = await serve(t, (socket) => {
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    socket.write("1\r\nx\r\n".repeat(bytes));
    socket.write("0\r\n\r\n");
  });
  assert.equal((await make().send(GET)).body, "x".repeat(bytes));
});

test("what a server says unasked ends the connection", async (t) => {
  const { make, sockets } = await serve(t, (socket) => void socket.write(FORMS["of length 0"]));
  const transport = make();
  await transport.send(GET);
  const [first] = sockets;
  first!.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
  if (!first!.destroyed) await once(first!, "close");
  assert.equal((await transport.send(GET)).body, "");
  assert.equal(sockets.size, 2);
});

test("requests at the same time have a connection each, and the one used last is used first", async (t) => {
  const held = new Map<string, Socket>();
  const both = Promise.withResolvers<void>();
  let last: Socket | undefined;
  const { make, sockets } = await serve(t, (socket, request) => {
    const [, path] = request.split(" ");
    last = socket;
    if (path === "/now") return void socket.write(FORMS["of length 0"]);
    held.set(path!, socket);
    if (held.size === 2) both.resolve();
  });
  const transport = make();
  const sent = ["/a", "/b"].map((path) => transport.send({ ...GET, path }));
  await both.promise;
  for (const [i, path] of ["/a", "/b"].entries()) {
    held.get(path)!.write(FORMS["of length 0"]);
    await sent[i];
  }
  await transport.send({ ...GET, path: "/now" });
  assert.equal(last, held.get("/b"));
  assert.equal(sockets.size, 2);
});

test("headers travel letter by letter, and those that are given replace the client's own", async (t) => {
  const requests: string[] = [];
  const { url, make } = await serve(t, (socket, request) => {
    requests.push(request);
    socket.write(FORMS["of length 0"]);
  });
  const headers = { "X-Team": "Caf\u00e9", host: "queues.example" };
  await make({ headers }).send({ ...GET, method: "POST", body: "\u00e9" });
  const [request] = requests;
  assert.match(request!, /^POST \/ HTTP\/1\.1\r\nhost: queues\.example\r\n/);
  assert.doesNotMatch(request!, new RegExp(url.host));
  assert.match(request!, /\r\nX-Team: Caf\u00e9\r\n/);
  assert.match(request!, /\r\nContent-Length: 2\r\n\r\n\u00c3\u00a9$/);
});

test("headers about the connection and paths that are none are refused", async () => {
  for (const name of ["Connection", "content-length", "Transfer-Encoding", "Expect", "Upgrade"]) {
    assert.throws(
      () => new QueratorClient({ url: "http://localhost:1", headers: { [name]: "1" } }),
      (error) =>
        error instanceof InvalidRequestError &&
        error.message ===
          `headers is invalid; '${name}' is about the connection, which is the client's own`,
    );
  }
  await using client = new QueratorClient({ url: "http://localhost:1" });
  await assert.rejects(
    client.call("queue.stats HTTP/1.1\r\nX: y", {}),
    (error) => error instanceof InvalidRequestError && /^path is invalid; /.test(error.message),
  );
});

test("a program that has nothing else to do exits, although it has not closed its client", async (t) => {
  const { server } = await setup(t);
  const program = `
    import { QueratorClient } from "@querator/client";
    const client = new QueratorClient({ url: process.argv[1] });
    console.log((await client.health()).status);
  `;
  const args = ["--input-type=module", "--eval", program, server.server.address];
  const cwd = new URL("../..", import.meta.url);
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd });
  assert.equal(stdout, "pass\n");
});
