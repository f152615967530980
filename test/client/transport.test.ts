// One request and its reply: what is refused, bounded and let go, over sockets of Node and over fetch.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type TestContext, test } from "node:test";
import {
  InvalidRequestError,
  NetworkError,
  QueratorClient,
  QueratorError,
  TimeoutError,
} from "@querator/client";
import { makeTransport, type TransportOptions } from "../../client/src/transport.ts";

async function serve(t: TestContext, listener: RequestListener) {
  const server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { server, url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`) };
}

const PLATFORMS = { "our sockets": undefined, fetch: globalThis.fetch } as const;
const GET = { method: "GET", path: "/", body: "", timeoutMs: 10_000, signal: undefined } as const;

for (const [name, fetch] of Object.entries(PLATFORMS)) {
  const make = (url: URL, options: Partial<TransportOptions> = {}) =>
    makeTransport({ url, headers: {}, fetch, ...options });

  test(`${name}: a signal that is aborted already sends nothing`, async (t) => {
    let count = 0;
    const { url } = await serve(t, (_, response) => {
      count++;
      response.end();
    });
    const signal = AbortSignal.abort(new Error("enough"));
    const client = new QueratorClient({ url, ...(fetch === undefined ? {} : { fetch }) });
    await assert.rejects(make(url).send({ ...GET, signal }), /^Error: enough$/);
    await assert.rejects(client.stats("jobs", { signal }), /^Error: enough$/);
    assert.equal(count, 0);
  });

  test(`${name}: a redirect is not followed`, async (t) => {
    const paths: string[] = [];
    const { url } = await serve(t, (request, response) => {
      paths.push(request.url!);
      response.writeHead(302, { Location: "/elsewhere" }).end();
    });
    assert.equal((await make(url).send(GET)).status, 302);
    assert.deepEqual(paths, ["/"]);
  });

  test(`${name}: a reply that is too large is refused`, async (t) => {
    const { url } = await serve(t, (_, response) => {
      response.writeHead(200, { "Content-Length": 11 }).end("hello world");
    });
    assert.equal((await make(url, { replyBytesMax: 11 }).send(GET)).body, "hello world");
    await assert.rejects(make(url, { replyBytesMax: 10 }).send(GET), (error) => {
      assert.ok(error instanceof QueratorError && error.code === "invalid-reply");
      assert.match(error.message, /is larger than 10 bytes$/);
      return true;
    });
  });

  test(`${name}: a reply that breaks off is an error that says it may be done`, async (t) => {
    const { url } = await serve(t, (request, response) => {
      response.writeHead(200, { "Content-Length": 100 }).write('{"code":');
      setImmediate(() => request.socket.destroy());
    });
    await assert.rejects(make(url).send(GET), (error) => {
      assert.ok(error instanceof QueratorError && error.code === "network");
      return error.retryable && error.uncertain;
    });
  });

  test(`${name}: a time-out longer than timers can be does not pass at once`, async (t) => {
    const { url } = await serve(t, (_, response) => {
      setImmediate(() => setImmediate(() => response.end("there")));
    });
    assert.equal((await make(url).send({ ...GET, timeoutMs: 1e12 })).body, "there");
  });
}

test("our sockets: a connection over which nothing travels is closed by the client", async (t) => {
  const { url, server } = await serve(t, (_, response) => {
    response.end();
  });
  server.keepAliveTimeout = 0;
  const opened = once(server, "connection") as Promise<[Socket]>;
  await makeTransport({ url, headers: {}, fetch: undefined, idleMs: 1 }).send(GET);
  const [socket] = await opened;
  if (!socket.destroyed) await once(socket, "close");
});

test("what a header cannot carry is refused when the client is made", () => {
  const url = "http://localhost:1";
  const refuse = (options: object, text: RegExp): void => {
    assert.throws(
      () => new QueratorClient({ url, ...options }),
      (error) => error instanceof InvalidRequestError && text.test(error.message),
    );
  };
  refuse({ key: "key\n" }, /^key is invalid/);
  refuse({ headers: { "X-Team": "\u{1f600}" } }, /^headers\['X-Team'\] is invalid/);
  refuse({ headers: { "X Team": "a" } }, /^headers is invalid; 'X Team' cannot be/);
  refuse({ headers: { "": "a" } }, /^headers is invalid; '' cannot be/);
});

test("whatever a fetch of your own throws is a NetworkError", async () => {
  const url = new URL("http://localhost:1");
  for (const thrown of [undefined, null, "no luck", Object.create(null)]) {
    const transport = makeTransport({ url, headers: {}, fetch: () => Promise.reject(thrown) });
    await assert.rejects(transport.send(GET), (error) => {
      return error instanceof NetworkError && error.uncertain && error.retryable;
    });
  }
});

test("a fetch that ignores its signal is left alone at the end of a call", async () => {
  const url = new URL("http://localhost:1");
  const never = () => new Promise<never>(() => undefined);
  const stuck = { ok: true, status: 200, headers: new Headers(), text: never };
  for (const fetch of [never, async () => stuck as unknown as Response]) {
    const transport = makeTransport({ url, headers: {}, fetch });
    await assert.rejects(transport.send({ ...GET, timeoutMs: 1 }), TimeoutError);
    const controller = new AbortController();
    const sent = transport.send({ ...GET, signal: controller.signal });
    setImmediate(() => controller.abort(new Error("enough")));
    await assert.rejects(sent, /^Error: enough$/);
  }
});
