// Headers of a user's own, as a proxy in front of a server may want them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, request } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { type Cli, setup } from "./setup.ts";

interface Proxy {
  readonly url: string;
  /** The headers of every request that has come. */
  readonly seen: IncomingHttpHeaders[];
}

/** A proxy that lets nobody pass without a header. */
async function proxyOf(t: TestContext, cli: Cli): Promise<Proxy> {
  const seen: IncomingHttpHeaders[] = [];
  const proxy = createServer((incoming, outgoing) => {
    seen.push(incoming.headers);
    if (incoming.headers["x-tenant"] === undefined) {
      outgoing.writeHead(401).end("<html>who are you?</html>");
      return;
    }
    const { port } = cli.server.server;
    const { method, url, headers } = incoming;
    const onward = request({ port, host: "127.0.0.1", method, path: url, headers }, (reply) => {
      outgoing.writeHead(reply.statusCode!, reply.headers);
      reply.pipe(outgoing);
    });
    incoming.pipe(onward);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => proxy.closeAllConnections());
  t.after(() => proxy.close());
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, seen };
}

test("headers go with every request, from options and the environment", async (t) => {
  const cli = await setup(t);
  const { url, seen } = await proxyOf(t, cli);
  const env = { QUERATOR_ENDPOINT: url };
  assert.notEqual((await cli.run(["list"], { env })).code, 0);

  const headers = ["--header", "X-Tenant: blue", "--header", "X-Trace:a: b"];
  await cli.ok([...headers, "create", "other"], { env });
  await cli.ok(["produce", "jobs", "-p", "hello", ...headers], { env });
  assert.match(await cli.ok(["list", ...headers], { env }), /jobs/);
  const sent = seen.filter((each) => each["x-tenant"] !== undefined);
  assert.ok(sent.length >= 3);
  for (const each of sent) assert.deepEqual([each["x-tenant"], each["x-trace"]], ["blue", "a: b"]);

  const QUERATOR_HEADERS = "\nX-Tenant: green\n X-Other : 1\n";
  const both = { env: { ...env, QUERATOR_HEADERS } };
  await cli.ok(["list"], both);
  assert.deepEqual([seen.at(-1)!["x-tenant"], seen.at(-1)!["x-other"]], ["green", "1"]);
  await cli.ok(["list", "--header", "x-tenant: blue"], both);
  assert.deepEqual([seen.at(-1)!["x-tenant"], seen.at(-1)!["x-other"]], ["blue", "1"]);

  // Completion asks as the command would.
  const words = ["--header", "X-Tenant: a", "--header", "X-Other: b", "info", "jo"];
  assert.match(await cli.ok(["__complete", "--", ...words], { env }), /^jobs/);
  assert.deepEqual([seen.at(-1)!["x-tenant"], seen.at(-1)!["x-other"]], ["a", "b"]);
});

test("headers that cannot be sent are refused before anything is", async (t) => {
  const cli = await setup(t);
  const rows: [args: string[], message: RegExp][] = [
    [["--header", "secret"], /--header: a header is invalid; use "Name: value"/],
    [["--header", "bad name: secret"], /--header: 'bad name' is invalid/],
    [["--header", ": secret"], /--header: '' is invalid/],
    [["--header", "X-A: secret\r\nX-B: c"], /the value of 'X-A' is invalid; use printable ASCII/],
    [["--header", "X-A: s\u00e9cret"], /the value of 'X-A' is invalid/],
    [["--header", "Content-Length: 5"], /'Content-Length' is about the connection/],
    [["--header", "X-A: 1", "--header", "x-a: 2"], /--header: 'x-a' is given more than once/],
    [
      ["--key", "secret", "--header", "authorization: Basic x"],
      /either a key or a header 'Authorization'/,
    ],
  ];
  for (const [args, message] of rows) {
    const { code, stderr } = await cli.run(["list", ...args]);
    assert.equal(code, 2, args.join(" "));
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /secret/);
  }
  const { code, stderr } = await cli.run(["list"], {
    env: { QUERATOR_HEADERS: "X-A: 1\nnonsense" },
  });
  assert.equal(code, 2);
  assert.match(stderr, /QUERATOR_HEADERS: a header is invalid/);
  const local = await cli.run(["version", "--header", "X-A: 1"]);
  assert.equal(local.code, 2);
  assert.match(local.stderr, /knows no option --header/);
});
