// The command line behind proxies that take less than the server, and against servers of which one is
// away.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LOSE_REQUEST, PASS, proxyOf, refuse, type TestProxy } from "../client/proxy.ts";
import { finish, said, setup } from "./setup.ts";

function limit(proxy: TestProxy, bytes: number): void {
  proxy.treat = ({ body }) =>
    body.length > bytes
      ? { kind: "answer", status: 413, body: "<html>Request Entity Too Large</html>" }
      : PASS;
}

const line = (i: number): string => `${i} ${"x".repeat(200)}`;

test("produce --lines passes a proxy that takes a few lines, in order", async (t) => {
  const cli = await setup(t);
  const proxy = await proxyOf(t, cli.endpoint);
  limit(proxy, 3_000);
  const lines = Array.from({ length: 60 }, (_, i) => line(i));
  const env = { QUERATOR_ENDPOINT: proxy.url };
  const { code, stderr } = await cli.run(["produce", "jobs", "--lines"], {
    env,
    input: lines.join("\n"),
  });
  assert.deepEqual([code, stderr], [0, "Successfully produced 60 items\n"]);
  const payloads = (await cli.server.list("jobs")).map(({ payload = "" }) => atob(payload));
  assert.deepEqual(payloads, lines);
  const long = ["a", "b", "c".repeat(9_000), "d"].join("\n");
  const failed = await cli.run(["produce", "jobs", "--lines"], { env, input: long });
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /Error: line 3: this item is too large; /);
  assert.match(failed.stderr, /those of lines 1 to 4 may be there as well/);
});

test("items import passes a proxy that takes a few items, in order", async (t) => {
  const cli = await setup(t);
  const proxy = await proxyOf(t, cli.endpoint);
  limit(proxy, 3_000);
  const env = { QUERATOR_ENDPOINT: proxy.url };
  const item = (i: number, size: number): string =>
    JSON.stringify({ reference: String(i), bytes: btoa("x".repeat(size)) });
  const input = Array.from({ length: 60 }, (_, i) => item(i, 100)).join("\n");
  const { code, stderr } = await cli.run(["items", "import", "jobs"], { env, input });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^Successfully imported 60 items/);
  assert.deepEqual(
    (await cli.server.list("jobs")).map(({ reference }) => Number(reference)),
    Array.from({ length: 60 }, (_, i) => i),
  );
  const large = [item(60, 100), item(61, 9_000), item(62, 100)].join("\n");
  const failed = await cli.run(["items", "import", "jobs"], { env, input: large });
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /Error: line 2: this item is too large; /);
  assert.match(failed.stderr, /^1 item had been imported before this failed/);
});

test("produce --lines goes on after an outage, however many requests it takes", async (t) => {
  const cli = await setup(t);
  const proxy = await proxyOf(t, cli.endpoint);
  const overloaded = refuse(454, "queue is overloaded; try again later");
  proxy.treat = (_, number) => (number > 1 && number <= 7 ? overloaded : PASS);
  const { code, stderr } = await cli.run(["produce", "jobs", "--lines"], {
    env: { QUERATOR_ENDPOINT: proxy.url },
    input: "x\n".repeat(1_500),
  });
  assert.deepEqual([code, stderr], [0, "Successfully produced 1,500 items\n"]);
});

test("tail goes on after an outage, however many requests it takes", async (t) => {
  const cli = await setup(t);
  const proxy = await proxyOf(t, cli.endpoint);
  const produce = (utf8: string): Promise<unknown> =>
    cli.server.ok("queue.produce", {
      queue_name: "jobs",
      request_timeout: "5s",
      items: [{ utf8 }],
    });
  await produce("one");
  const child = cli.start(["tail", "jobs", "--interval", "1ms", "-o", "ndjson"], {
    QUERATOR_ENDPOINT: proxy.url,
  });
  await said(child.stdout!, /\n/);
  const isBack = Promise.withResolvers<void>();
  let refusals = 0;
  proxy.treat = () => {
    if (++refusals <= 6) return LOSE_REQUEST;
    isBack.resolve();
    return PASS;
  };
  await isBack.promise;
  await produce("two");
  await said(child.stdout!, /\n/);
  child.kill("SIGINT");
  assert.equal((await finish(child)).code, 130);
});

test("of several endpoints one that works is used, and one that is none is named", async (t) => {
  const cli = await setup(t);
  const endpoint = `http://127.0.0.1:1,${cli.endpoint}`;
  const env = { QUERATOR_ENDPOINT: endpoint };
  const { code, stderr } = await cli.run(["produce", "jobs", "-p", "x"], { env });
  assert.equal(code, 0, stderr);
  assert.equal((await cli.server.stats("jobs")).total, 1);
  await cli.ok(["list", "--endpoint", endpoint]);
  const bad = await cli.run(["list", "--endpoint", `${cli.endpoint},ftp://there`]);
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /endpoint 'ftp:\/\/there' is invalid/);
});
