// Who has no key, a wrong one, or one that was taken away: on every storage, on every thread, on connections that
// are remembered and by both readers of HTTP.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Reply as RawReply } from "../support/http-text.ts";
import { requestText } from "../support/http-text.ts";
import { RawConnection } from "../support/raw-connection.ts";
import { ADMIN_KEY, SILENT, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

const WAIT_MS = 20_000;
const UNKNOWN = `qtr-live-${"z".repeat(43)}`;

interface MadeKey {
  readonly id: string;
  readonly key: string;
  readonly user: string;
}

let users = 0;

/** A user with the role Admin, and a key of theirs. */
async function newKey(server: TestServer, options: object = {}): Promise<MadeKey> {
  const { id: user_id } = await server.ok("/v2/users.create", { username: `user-${++users}` });
  const binding = { namespace: "_system", role_name: "Admin", user_id };
  await server.ok("/v2/bindings.create", binding);
  const { key, info } = await server.ok("/v2/keys.create", { user_id, ...options });
  return { id: info.id, key, user: user_id };
}

/** How a request is read: as a plain one, or by node:http, which takes all that is not. */
const READERS = [
  ["a plain request", ""],
  ["a request that node:http reads", "Connection: keep-alive, x\r\n"],
] as const;

async function ask(
  connection: RawConnection,
  path: string,
  body: object,
  key: string | undefined,
  more = "",
): Promise<RawReply> {
  const headers = key === undefined ? more : `Authorization: Bearer ${key}\r\n${more}`;
  const outcome = await connection.send(requestText(path, body, headers), { waitMs: WAIT_MS });
  assert.equal(outcome.kind, "reply", `${path}: ${outcome.kind}`);
  return (outcome as { reply: RawReply }).reply;
}

async function connect(t: TestContext, server: TestServer): Promise<RawConnection> {
  const connection = await RawConnection.open(server.server.port);
  t.after(() => connection.destroy());
  return connection;
}

/** Enough connections that every thread has some. */
function connectAll(t: TestContext, server: TestServer, threads: number): Promise<RawConnection[]> {
  return Promise.all(Array.from({ length: threads * 8 }, () => connect(t, server)));
}

const bodyOf = (reply: RawReply) => JSON.parse(reply.body.toString());

for (const [reader, more] of READERS) {
  test(`${reader} without a key that is taken is refused`, async (t) => {
    const server = await setupClosed(t);
    await server.createQueue("jobs");
    const connection = await connect(t, server);
    const told = async (path: string, key: string | undefined) => {
      const reply = await ask(connection, path, { queue_name: "jobs" }, key, more);
      return [reply.status, bodyOf(reply).code, reply.headers.get("www-authenticate")];
    };
    assert.deepEqual(await told("v2/queues.info", ADMIN_KEY), [200, undefined, undefined]);
    assert.deepEqual(await told("v2/queues.info", undefined), [401, "unauthenticated", "Bearer"]);
    assert.deepEqual(await told("v2/queues.info", UNKNOWN), [401, "unauthenticated", "Bearer"]);
    assert.deepEqual(await told("v2/queues.info", "none"), [401, "unauthenticated", "Bearer"]);
    assert.deepEqual(await told("queues.info", undefined), [403, 403, undefined]);
    assert.deepEqual(await told("queues.info", UNKNOWN), [401, 401, undefined]);
    assert.deepEqual(await told("v2/queues.info", ADMIN_KEY), [200, undefined, undefined]);
  });
}

test("who has no key learns nothing of what is there", async (t) => {
  const server = (await setupClosed(t)).as(undefined);
  await server.as(ADMIN_KEY).createQueue("jobs");
  for (const key of [undefined, UNKNOWN]) {
    for (const path of ["/v1/queues.info", "/v2/queues.info", "/v2/queue.stats"]) {
      const [there, missing] = await Promise.all(
        ["jobs", "none"].map((queue_name) => server.as(key).call(path, { queue_name })),
      );
      for (const { body } of [there!, missing!]) delete body.request_id;
      assert.deepEqual(there, missing, path);
    }
  }
});

test("the endpoints for tests need a key as well", async (t) => {
  const server = await setupClosed(t);
  const { status } = await server.as(undefined).call("/v1/dev.clock", { advance: "1s" });
  assert.equal(status, 403);
  await server.advance("1s");
});

test("health tells who has no key its status only, and documents need none", async (t) => {
  const server = await setupClosed(t);
  const get = async (path: string, key?: string) => {
    const headers = key === undefined ? {} : { Authorization: `Bearer ${key}` };
    return fetch(server.server.address + path, { headers });
  };
  for (const key of [undefined, UNKNOWN]) {
    const health = await get("/health", key);
    assert.equal(health.status, 200);
    assert.deepEqual(await health.json(), { status: "pass" });
  }
  const { version, checks } = (await (await get("/health", ADMIN_KEY)).json()) as {
    version?: string;
    checks?: object;
  };
  assert.ok(version !== undefined && checks !== undefined);
  for (const path of ["/docs", "/openapi.json", "/openapi-3.0.json"]) {
    assert.equal((await get(path)).status, 200, path);
  }
});

for (const [place, driver, threads] of PLACES) {
  test(`a key that is taken away is refused at once, wherever it was used: ${place}`, async (t) => {
    const server = await setupClosed(t, { ...(await freshPlace(t, driver)), threads });
    const { id, key } = await newKey(server);
    const connections = await connectAll(t, server, threads);
    for (const [i, connection] of connections.entries()) {
      const more = READERS[i % 2]![1];
      assert.equal((await ask(connection, "v2/queues.list", {}, key, more)).status, 200);
    }
    await server.ok("/v2/keys.revoke", { id });
    for (const connection of connections) {
      const reply = await ask(connection, "v2/queues.list", {}, key);
      assert.deepEqual([reply.status, bodyOf(reply).detail], [401, "api key does not exist"]);
    }
    const { status } = await server.as(key).call("/v1/queues.list", {});
    assert.equal(status, 401);
  });
}

test("the keys of a user who is deleted end with them", async (t) => {
  const server = await setupClosed(t, { threads: 2 });
  const { key, user } = await newKey(server);
  const connections = await connectAll(t, server, 2);
  for (const each of connections) {
    assert.equal((await ask(each, "v2/queues.list", {}, key)).status, 200);
  }
  await server.ok("/v2/users.delete", { id: user });
  for (const each of connections) {
    assert.equal((await ask(each, "v2/queues.list", {}, key)).status, 401);
  }
});

/** A request that waits in the name of a key until there is something to answer. */
async function startWaiting(
  server: TestServer,
  connection: RawConnection,
  options: {
    readonly key: string;
    readonly more?: string;
    readonly path?: string;
    readonly body?: object;
    readonly queue?: string;
  },
): Promise<() => Promise<RawReply>> {
  const { key, more = "", path = "v2/queue.lease", body = {}, queue = "jobs" } = options;
  const before = path === "v2/queue.lease" ? await waitingIn(server, queue) : 0;
  const request = { queue_name: queue, request_timeout: "10m", ...body };
  const reply = ask(connection, path, request, key, more);
  reply.catch(() => undefined); // it is looked at later
  if (path === "v2/queue.lease") {
    await server.until(async () => (await waitingIn(server, queue)) > before);
  }
  return () => reply;
}

async function waitingIn(server: TestServer, queue: string): Promise<number> {
  const { lease_waiting: waiting = 0 } = await server.stats(queue);
  return Number(waiting);
}

for (const [reader, more] of READERS) {
  for (const threads of [1, 3]) {
    test(`${reader} that waits in the name of a key ends with it, with ${threads} thread(s)`, async (t) => {
      const server = await setupClosed(t, { threads });
      for (const queue of ["jobs", "b", "c"]) await server.createQueue(queue);
      const { id, key } = await newKey(server);
      const waiting = [];
      for (const queue of ["jobs", "b", "c"]) {
        const connection = await connect(t, server);
        waiting.push(await startWaiting(server, connection, { key, more, queue }));
      }
      await server.ok("/v2/keys.revoke", { id });
      for (const replyOf of waiting) {
        const reply = await replyOf();
        assert.deepEqual([reply.status, bodyOf(reply).code], [401, "unauthenticated"]);
        assert.equal(reply.headers.get("connection"), "close");
      }
      // What is produced now is not for who waited.
      for (const queue of ["jobs", "b", "c"]) {
        await server.produce(queue, "x");
        assert.equal((await server.lease(queue)).items.length, 1, queue);
      }
    });
  }
}

test("who waits for an item is told no more of it when the key is taken away", async (t) => {
  const server = await setupClosed(t);
  await server.createQueue("jobs");
  await server.produce("jobs", "x");
  const [item] = await server.list("jobs");
  const { id, key } = await newKey(server);
  const replies = [];
  for (const [, more] of READERS) {
    const connection = await connect(t, server);
    const body = { id: item.id };
    replies.push(await startWaiting(server, connection, { key, more, path: "v2/item.wait", body }));
  }
  // Both have come in: what they sent is answered only after what came before on the same thread.
  await server.ok("/v2/item.get", { queue_name: "jobs", id: item.id });
  await server.ok("/v2/keys.revoke", { id });
  for (const replyOf of replies) assert.equal((await replyOf()).status, 401);
});

for (const [reader, more] of READERS) {
  test(`${reader} that is yet to begin to wait when its key is taken away does not wait`, async (t) => {
    const server = await setupClosed(t);
    await server.createQueue("jobs");
    await server.produce("jobs", "x");
    const [item] = await server.list("jobs");
    const { id, key } = await newKey(server);
    // The item is looked for before anybody waits for its end; here that takes until the loop goes on.
    await server.ok("dev.pause", { queue_name: "jobs" });
    const connection = await connect(t, server);
    const body = { id: item.id };
    const waiting = await startWaiting(server, connection, {
      key,
      more,
      path: "v2/item.wait",
      body,
    });
    for (let i = 0; i < 5; i++) await server.ok("/v2/queues.list", {});
    await server.ok("/v2/keys.revoke", { id });
    await server.ok("dev.resume", { queue_name: "jobs" });
    const reply = await waiting();
    assert.deepEqual([reply.status, bodyOf(reply).code], [401, "unauthenticated"]);
    assert.equal(reply.headers.get("connection"), "close");
  });
}

test("a key that ends by itself ends what waits in its name, and is refused from then on", async (t) => {
  const server = await setupClosed(t, { threads: 2 });
  await server.createQueue("jobs");
  await server.advance("1s");
  const { key } = await newKey(server, { expire_in: "1h" });
  const connections = await connectAll(t, server, 2);
  for (const each of connections) {
    assert.equal((await ask(each, "v2/queues.list", {}, key)).status, 200);
  }
  const waiting = await startWaiting(server, connections.pop()!, { key });
  await server.advance("59m");
  for (const each of connections) {
    assert.equal((await ask(each, "v2/queues.list", {}, key)).status, 200);
  }
  const lease = await startWaiting(server, connections.pop()!, { key });
  await server.advance("1m");
  const { status, body } = await lease();
  assert.deepEqual([status, JSON.parse(body.toString()).code], [401, "key_expired"]);
  assert.equal((await waiting()).status, 200); // its time was over long before
  for (const each of connections) {
    const reply = await ask(each, "v2/queues.list", {}, key);
    assert.deepEqual([reply.status, bodyOf(reply).code], [401, "key_expired"]);
  }
});

test("who waits in the name of a key that was rotated waits on until it ends", async (t) => {
  const server = await setupClosed(t);
  await server.createQueue("jobs");
  const { id, key } = await newKey(server);
  for (const [, more] of READERS) {
    const connection = await connect(t, server);
    const remembered = await connect(t, server);
    assert.equal((await ask(remembered, "v2/queues.list", {}, key)).status, 200);
    const waiting = await startWaiting(server, connection, { key, more });
    await server.ok("/v2/keys.rotate", { id, overlap: "1h" });
    assert.equal((await ask(remembered, "v2/queues.list", {}, key)).status, 200);
    await server.produce("jobs", "x");
    const reply = await waiting();
    assert.deepEqual([reply.status, bodyOf(reply).items.length], [200, 1]);
    assert.equal((await ask(connection, "v2/queues.list", {}, key)).status, 200);
  }
  const last = await startWaiting(server, await connect(t, server), { key });
  await server.ok("/v2/keys.rotate", { id, overlap: "0s" });
  assert.equal((await last()).status, 401);
});

test("a role that is taken away is missed at once, on connections that are remembered as well", async (t) => {
  const server = await setupClosed(t, { threads: 2 });
  const { key, user: user_id } = await newKey(server);
  const connections = await connectAll(t, server, 2);
  for (const each of connections) {
    assert.equal((await ask(each, "v2/queues.list", {}, key)).status, 200);
  }
  const binding = { namespace: "_system", role_name: "Admin", user_id };
  await server.ok("/v2/bindings.delete", binding);
  for (const each of connections) {
    const reply = await ask(each, "v2/queues.list", {}, key);
    assert.deepEqual([reply.status, bodyOf(reply).code], [403, "permission_denied"]);
  }
  await server.ok("/v2/bindings.create", binding);
  for (const each of connections) {
    assert.equal((await ask(each, "v2/queues.list", {}, key)).status, 200);
  }
});

test("a connection says who it is with every request", async (t) => {
  const server = await setupClosed(t);
  const connection = await connect(t, server);
  const [first, second] = [await newKey(server), await newKey(server)];
  const status = async (key?: string) => (await ask(connection, "v2/queues.list", {}, key)).status;
  assert.equal(await status(first.key), 200);
  await server.ok("/v2/bindings.delete", {
    namespace: "_system",
    role_name: "Admin",
    user_id: second.user,
  });
  assert.equal(await status(second.key), 403);
  assert.equal(await status(undefined), 401);
  assert.equal(await status(first.key), 200);
});

test("when a key was used is known after a stop, and costs no request a write", async (t) => {
  const place = await freshPlace(t, "sqlite");
  const { id, key } = await (async () => {
    const server = await setupClosed(t, { ...place, threads: 2 });
    const made = await newKey(server);
    const revision = await server.ok("/v2/keys.list", {});
    for (const each of await connectAll(t, server, 2)) {
      await ask(each, "v2/queues.list", {}, made.key);
    }
    assert.deepEqual(await server.ok("/v2/keys.list", {}), revision);
    await server.server.stop();
    return made;
  })();
  const again = await setupClosed(t, { ...place, threads: 2 });
  const { keys } = await again.ok("/v2/keys.list", {});
  const { last_used_at: at } = keys.find((each: { id: string }) => each.id === id);
  assert.ok(Math.abs(Date.parse(at) - Date.now()) < 60_000, at);
  assert.equal((await again.as(key).call("/v2/queues.list", {})).status, 200);
});

test("when a key was used is known also if it got another end since", async (t) => {
  const server = await setupClosed(t, { threads: 2 });
  const { id, key } = await newKey(server);
  for (const each of await connectAll(t, server, 2)) {
    await ask(each, "v2/queues.list", {}, key);
  }
  await server.ok("/v2/keys.rotate", { id, overlap: "1h" });
  await server.advance("6m");
  await server.until(async () => {
    const { keys } = await server.ok("/v2/keys.list", {});
    return keys.find((each: { id: string }) => each.id === id).last_used_at !== undefined;
  });
});

test("when a key was used is written down now and then", async (t) => {
  const server = await setupClosed(t, { threads: 2 });
  const { id, key } = await newKey(server);
  await server.as(key).ok("/v2/queues.list", {});
  await server.advance("6m");
  await server.until(async () => {
    const { keys } = await server.ok("/v2/keys.list", {});
    return keys.find((each: { id: string }) => each.id === id).last_used_at !== undefined;
  });
});

test("wrong keys are answered 429 after some, and right ones from the same address as before", async (t) => {
  const lines: object[] = [];
  const warn = (fields: object): void => void lines.push(fields);
  const server = await setupClosed(t, {}, { logger: { ...SILENT, warn } as typeof SILENT });
  const connection = await connect(t, server);
  for (let i = 0; i < 20; i++) {
    assert.equal((await ask(connection, "v2/queues.list", {}, UNKNOWN)).status, 401);
  }
  const reply = await ask(connection, "v2/queues.list", {}, UNKNOWN);
  assert.deepEqual([reply.status, bodyOf(reply).code], [429, "rate_limited"]);
  const seconds = Number(reply.headers.get("retry-after"));
  assert.ok(seconds > 1 && seconds <= 60, String(seconds));
  assert.equal((await ask(connection, "queues.list", {}, UNKNOWN)).status, 401);
  assert.equal((await ask(connection, "v2/queues.list", {}, ADMIN_KEY)).status, 200);
  assert.equal((await ask(connection, "v2/queues.list", {}, undefined)).status, 401);
  assert.deepEqual(lines, [{ from: "127.0.0.1", key_tag: "live", attempts: 1 }]);
});
