// How a tenant is told that it would use more than it may: in both formats and versions, by both readers of HTTP, with
// and without TLS, on all threads. What counts is in test/queue/quotas.test.ts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { request as requestTls } from "node:https";
import { buffer } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { QueueProduceRequestSchema as ProduceV1 } from "../../src/codec/gen/querator/v1/queue_pb.ts";
import { ReplySchema } from "../../src/codec/gen/querator/v1/reply_pb.ts";
import { ProblemSchema } from "../../src/codec/gen/querator/v2/problem_pb.ts";
import { QueueProduceRequestSchema } from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { Authority, NO_OPENSSL } from "../support/certificates.ts";
import { ADMIN_KEY, setupClosed } from "../support/server.ts";

/** How a request is read: as a plain one, or by node:http, which takes all that is not. */
const READERS = ["keep-alive", "keep-alive, x"] as const;

interface Told {
  readonly status: number;
  readonly type: string | undefined;
  readonly retryAfter: string | undefined;
  readonly body: Buffer;
}

type Ask = (
  path: string,
  body: object | Uint8Array,
  how?: { readonly key?: string; readonly connection?: string },
) => Promise<Told>;

/** A server, asked on a connection of its own each time: JSON, or bytes of Protobuf. */
async function open(t: TestContext, isSecure: boolean, threads: number): Promise<Ask> {
  const authority = isSecure ? new Authority(t) : undefined;
  const pair = authority?.sign("server");
  const files = pair && { tlsCert: pair.cert, tlsKey: pair.key };
  const { server } = await setupClosed(t, { threads, ...files });
  const ca = authority && readFileSync(authority.ca);
  return async (path, body, { key = ADMIN_KEY, connection = "keep-alive" } = {}) => {
    const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
    const type = body instanceof Uint8Array ? "application/protobuf" : "application/json";
    const headers = {
      Host: "localhost",
      Authorization: `Bearer ${key}`,
      "Content-Type": type,
      Accept: type,
      "Content-Length": bytes.length,
      Connection: connection,
    };
    const how = { method: "POST", agent: false, headers, ...(ca && { ca }) };
    const sent = (isSecure ? requestTls : request)(`${server.address}/${path}`, how);
    sent.end(bytes);
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    const { statusCode, headers: got } = response;
    const whole = await buffer(response);
    sent.destroy();
    const [told, retryAfter] = [got["content-type"], got["retry-after"]];
    return { status: statusCode!, type: told, retryAfter, body: whole };
  };
}

/** A namespace with quotas and a queue, and a key that is for it only. */
async function tenant(ask: Ask, quotas: object): Promise<string> {
  // biome-ignore lint/suspicious/noExplicitAny: replies are looked at member by member
  const ok = async (path: string, body: object, key = ADMIN_KEY): Promise<any> => {
    const { status, body: text } = await ask(path, body, { key });
    assert.equal(status, 200, `${path}: ${text}`);
    return JSON.parse(text.toString());
  };
  const namespace = "acme";
  await ok("v2/namespaces.create", { name: namespace });
  const { id: user_id } = await ok("v2/users.create", { username: "acme" });
  await ok("v2/bindings.create", { user_id, role_name: "NamespaceOwner", namespace });
  const { key } = await ok("v2/keys.create", { user_id, namespace });
  await ok("v2/queues.create", { queue_name: "jobs" }, key);
  await ok("v2/namespaces.update", { name: namespace, quotas });
  // From now on time stands still, and with it what may be in a second.
  await ok("v1/dev.clock", { advance: "1s" });
  return key;
}

const items = [{ utf8: "x" }, { utf8: "y" }];
const IN_JSON = { queue_name: "jobs", items };
const IN_PROTOBUF = toBinary(
  QueueProduceRequestSchema,
  create(QueueProduceRequestSchema, {
    queueName: "jobs",
    items,
  }),
);
const OLD_PROTOBUF = toBinary(
  ProduceV1,
  create(ProduceV1, { queueName: "jobs", requestTimeout: "10s", items }),
);

const QUOTAS = [
  [{ items: 1 }, "1", "items"],
  [{ bytes: 1 }, "1", "bytes"],
  [{ requests_per_second: 1 }, "1", "requests a second"],
  [{ items_per_second: 1 }, "2", "items a second"],
] as const;

for (const isSecure of [false, true]) {
  for (const threads of [1, 2]) {
    const name = `who would use too much is told so, and when to come again, ${isSecure ? "over TLS, " : ""}${threads} thread(s)`;
    test(name, { skip: isSecure && NO_OPENSSL }, async (t) => {
      for (const [quotas, retryAfter, what] of QUOTAS) {
        const ask = await open(t, isSecure, threads);
        const key = await tenant(ask, quotas);
        // What a second holds is used up by the first.
        const isRate = what.endsWith("second");
        if (isRate) assert.equal((await ask("v2/queue.produce", IN_PROTOBUF, { key })).status, 200);
        const detail = `namespace has reached its quota; 'acme' may have 1 ${what}`;
        const details = { namespace: "acme", max: "1", what, seconds: retryAfter };
        for (const connection of READERS) {
          const how = { key, connection };
          const inJson = await ask("v2/queue.produce", IN_JSON, how);
          assert.deepEqual(
            [inJson.status, inJson.type, inJson.retryAfter],
            [429, "application/problem+json", retryAfter],
          );
          const problem = JSON.parse(inJson.body.toString());
          assert.deepEqual([problem.code, problem.detail], ["quota_exceeded", detail]);
          assert.deepEqual(problem.details, details);
          const told = await ask("v2/queue.produce", IN_PROTOBUF, how);
          assert.deepEqual(
            [told.status, told.type, told.retryAfter],
            [429, "application/protobuf", retryAfter],
          );
          const message = fromBinary(ProblemSchema, told.body);
          assert.deepEqual(
            [message.status, message.code, message.detail, message.retryable, message.details],
            [429, "quota_exceeded", detail, true, details],
          );
          const old = await ask("v1/queue.produce", OLD_PROTOBUF, how);
          assert.deepEqual(
            [old.status, old.type, old.retryAfter],
            [454, "application/protobuf", undefined],
          );
          const reply = fromBinary(ReplySchema, old.body);
          assert.deepEqual([reply.code, reply.message], [454, detail]);
        }
        // Others may go on, and so may the tenant when its second is over.
        assert.equal((await ask("v2/queues.list", {})).status, 200);
        if (!isRate) continue;
        await ask("v1/dev.clock", { advance: `${retryAfter}s` });
        assert.equal((await ask("v2/queue.produce", IN_PROTOBUF, { key })).status, 200);
      }
    });
  }
}
