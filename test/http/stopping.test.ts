// What clients see of a graceful stop: every request is done or surely not, on connections that are busy,
// idle, new, or of node:http.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { QueratorClient } from "@querator/client";
import { setup, type TestServer, temporaryDirectory } from "../support/server.ts";

// Forty producers with a kept connection each, until nobody listens any more. Some rest between two
// requests, and every other one sends in chunks, which node:http reads.
const PRODUCERS = `
  import { Agent, request } from "node:http";
  const address = process.argv[1];
  const outcomes = {};
  const stored = [];
  function produce(agent, text, isChunked) {
    return new Promise((resolve) => {
      const body = JSON.stringify({
        queue_name: "jobs", request_timeout: "10s", items: [{ utf8: text }],
      });
      const headers = {
        "Content-Type": "application/json",
        ...(isChunked ? {} : { "Content-Length": Buffer.byteLength(body) }),
      };
      const sent = request(address + "/v1/queue.produce", { method: "POST", agent, headers }, (reply) => {
        let answer = "";
        reply.setEncoding("utf8").on("data", (data) => (answer += data));
        reply.on("end", () => {
          const said = reply.statusCode === 200 ? "" : " " + JSON.parse(answer).message;
          const closes = said !== "" && reply.headers.connection !== "close" ? " and kept" : "";
          resolve(reply.statusCode + said + closes);
        });
        reply.on("error", (error) => resolve(error.code ?? error.message));
      });
      sent.on("error", (error) => resolve(error.code ?? error.message));
      if (isChunked) sent.write(body);
      sent.end(isChunked ? undefined : body);
    });
  }
  await Promise.all(Array.from({ length: 40 }, async (_, i) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = 0; ; n++) {
      const text = i + "/" + n;
      const outcome = await produce(agent, text, i % 2 === 1);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (outcome === "200") stored.push(text);
      if (outcome === "ECONNREFUSED") break;
      if (i % 4 < 2) await new Promise((resolve) => setTimeout(resolve, i + Math.random() * 10));
      if (n === 5) process.stderr.write(".");
    }
    agent.destroy();
  }));
  console.log(JSON.stringify({ outcomes, stored }));
`;

function producers(t: TestContext, { server }: TestServer): ChildProcess {
  const child = spawn(process.execPath, [
    "--input-type=module",
    "--eval",
    PRODUCERS,
    server.address,
  ]);
  t.after(() => child.kill("SIGKILL"));
  return child;
}

for (const threads of [1, 2]) {
  test(`every produce of a graceful stop is stored or surely refused, with ${threads} thread(s)`, async (t) => {
    const place = { dataDir: temporaryDirectory(t), threads };
    const first = await setup(t, place);
    await first.createQueue("jobs", { requested_partitions: threads });
    const child = producers(t, first);
    let out = "";
    child.stdout!.on("data", (data) => (out += data));
    let busy = 0;
    for await (const dots of child.stderr!) {
      busy += dots.length;
      if (busy >= 40) break;
    }
    await first.server.stop();
    if (child.exitCode === null) await once(child, "close");
    const { outcomes, stored } = JSON.parse(out) as {
      outcomes: Record<string, number>;
      stored: string[];
    };
    const sure = [
      "200",
      "453 service is shutting down",
      "453 queue is shutting down",
      "408 service is shutting down",
      "ECONNREFUSED",
    ];
    const others = Object.keys(outcomes).filter((outcome) => !sure.includes(outcome));
    assert.deepEqual(others, [], JSON.stringify(outcomes));
    const second = await setup(t, place);
    await using client = new QueratorClient({ url: second.server.address });
    const there: string[] = [];
    for (let partition = 0; partition < threads; partition++) {
      for await (const { payload } of client.items.list("jobs", { partition })) {
        there.push(Buffer.from(payload).toString());
      }
    }
    const kept = new Set(there);
    assert.equal(kept.size, there.length, "nothing is stored twice");
    assert.deepEqual(
      stored.filter((text) => !kept.has(text)),
      [],
    );
    assert.equal(kept.size, stored.length, "nothing is stored that was refused");
  });
}

async function opened(t: TestContext, { server }: TestServer): Promise<Socket> {
  const socket = connect({ port: server.port, host: server.host, allowHalfOpen: true });
  t.after(() => socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

async function reply(socket: Socket): Promise<string> {
  let text = "";
  while (!text.includes("}")) text += String((await once(socket, "data"))[0]);
  return text;
}

const stats = (more = ""): string => {
  const body = '{"queue_name":"jobs"}';
  return `POST /v1/queue.stats HTTP/1.1\r\nHost: localhost\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
};

for (const [kind, more] of [
  ["plain", ""],
  ["of node:http", "TE: trailers\r\n"],
] as const) {
  test(`an idle connection (${kind}) is told what becomes of a request on its way, and ends`, async (t) => {
    const server = await setup(t);
    await server.createQueue("jobs");
    const socket = await opened(t, server);
    socket.write(stats(more));
    assert.match(await reply(socket), /^HTTP\/1\.1 200 /);
    const stopped = server.server.stop();
    let said = "";
    socket.on("data", (data) => (said += data));
    await once(socket, "end");
    assert.match(
      said,
      /^HTTP\/1\.1 408 Request Timeout\r\n(.*\r\n)*Connection: close\r\n(.*\r\n)*\r\n\{.*"service is shutting down"/,
    );
    // Whatever comes now is thrown away, and the connection is not reset for it.
    socket.end(stats(more));
    await once(socket, "close");
    await stopped;
    assert.equal(said.match(/HTTP\/1\.1/g)?.length, 1);
  });

  test(`a reply during a stop (${kind}) says that its connection ends, and nothing follows it`, async (t) => {
    const server = await setup(t);
    await server.createQueue("jobs");
    const socket = await opened(t, server);
    const body = JSON.stringify({
      queue_name: "jobs",
      client_id: "x",
      batch_size: 1,
      request_timeout: "1m",
    });
    socket.write(
      `POST /v1/queue.lease HTTP/1.1\r\nHost: localhost\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    await server.until(async () => (await server.stats("jobs")).lease_waiting === 1);
    const stopped = server.server.stop();
    let said = "";
    socket.on("data", (data) => (said += data));
    await once(socket, "end");
    assert.match(said, /^HTTP\/1\.1 453 /);
    assert.match(said, /\r\nConnection: close\r\n/);
    assert.match(said, /queue is shutting down/);
    socket.end();
    await stopped;
  });
}

test("a connection made during a stop is refused with an answer, until nobody listens", async (t) => {
  const server = await setup(t);
  await server.createQueue("jobs");
  const waiting = await opened(t, server);
  const before = await opened(t, server);
  // Of a request whose rest comes in time.
  const whole = stats();
  before.write(whole.slice(0, -5));
  await server.stats("jobs");
  const stopped = server.server.stop();
  before.write(whole.slice(-5));
  const [refused] = (await once(before, "data")) as [Buffer];
  assert.match(
    String(refused),
    /^HTTP\/1\.1 453 .*\r\nConnection: close\r\n.*service is shutting down/s,
  );
  before.end();
  waiting.end();
  await stopped;
  const late = connect({ port: server.server.port, host: server.server.host });
  const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
});
