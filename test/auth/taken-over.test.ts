// A key is taken away on the server that has taken the data over: the one that had it before, and has it again
// later, knows nobody from before.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerNode } from "../postgres/node.ts";
import { requestText } from "../support/http-text.ts";
import { testDatabase } from "../support/postgres.ts";
import { RawConnection } from "../support/raw-connection.ts";

const TAKEN = "has taken over and serves all queues";
const ADMIN = `qtr-test-${"A".repeat(43)}`;
const ENV = { QUERATOR_AUTH: "keys", QUERATOR_BOOTSTRAP_KEY: ADMIN };

async function call(server: ServerNode, path: string, body: object, key = ADMIN) {
  const reply = await fetch(`${server.address}/v2/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: replies of every shape
  return { status: reply.status, body: (await reply.json()) as any };
}

async function ask(connection: RawConnection, path: string, key: string, body = {}) {
  const text = requestText(path, body, `Authorization: Bearer ${key}\r\n`);
  const outcome = await connection.send(text, { waitMs: 30_000 });
  return outcome.kind === "reply" ? outcome.reply.status : outcome.kind;
}

test("a connection that was remembered before another took over is nobody's afterwards", async (t) => {
  const url = await testDatabase(t);
  const first = new ServerNode(t, url, [], ENV);
  await first.said("querator is ready");
  const { body: user } = await call(first, "users.create", { username: "u" });
  const binding = { namespace: "_system", role_name: "Admin", user_id: user.id };
  assert.equal((await call(first, "bindings.create", binding)).status, 200);
  const { body: made } = await call(first, "keys.create", { user_id: user.id });
  const { key } = made;
  await call(first, "queues.create", { queue_name: "q" });
  const port = Number(new URL(first.address).port);
  const [idle, waiting, later] = await Promise.all([0, 1, 2].map(() => RawConnection.open(port)));
  t.after(() => [idle, waiting, later].forEach((each) => void each!.destroy()));
  for (const each of [idle!, waiting!, later!]) {
    assert.equal(await ask(each, "v2/queues.list", key), 200);
  }
  const lease = ask(waiting!, "v2/queue.lease", key, { queue_name: "q", request_timeout: "5m" });
  const second = new ServerNode(t, url, [], ENV);
  await second.said("querator is on standby");
  assert.equal((await call(second, "queues.list", {})).status, 503);
  first.child.kill("SIGSTOP");
  await second.said(TAKEN);
  const revoked = await call(second, "keys.revoke", { id: made.info.id });
  assert.equal(revoked.status, 200);
  assert.equal((await call(second, "queues.list", {}, key)).status, 401);
  first.child.kill("SIGCONT");
  await first.said("this one serves no queues now");
  assert.equal(await lease, 503);
  assert.equal(await ask(later!, "v2/queues.list", key), 503);
  assert.equal((await call(first, "queues.list", {}, "none")).status, 503);
  await second.end("SIGTERM");
  await first.said(TAKEN);
  assert.equal(await ask(idle!, "v2/queues.list", key), 401);
  assert.equal((await call(first, "queues.list", {}, key)).status, 401);
  assert.equal((await call(first, "queues.list", {})).status, 200);
});
