// The client reads what happens: over a server that ends and comes back, until it has had enough.

import assert from "node:assert/strict";
import { test } from "node:test";
import { QueratorClient, type ServerEvent } from "@querator/client";
import { ADMIN_KEY, setup, setupClosed, temporaryDirectory } from "../support/server.ts";

async function take(
  events: AsyncGenerator<ServerEvent, void, undefined>,
  count: number,
): Promise<ServerEvent[]> {
  const taken: ServerEvent[] = [];
  while (taken.length < count) {
    const { value, done } = await events.next();
    assert.notEqual(done, true);
    taken.push(value as ServerEvent);
  }
  return taken;
}

test("events are read in order, goes on over a restart with a gap, and end when nobody wants more", async (t) => {
  const dataDir = temporaryDirectory(t);
  let server = await setup(t, { dataDir });
  const { address, port } = server.server;
  await server.ok("/v2/queues.create", { queue_name: "jobs" });
  const client = new QueratorClient({ url: address });
  t.after(() => client.close());
  const events = client.events({ queues: ["jobs"], types: ["produced", "queue_deleted"] });
  const first = events.next();
  // It listens once something that was made for it arrives.
  const made: string[] = [];
  let isHeard = false;
  void first.then(() => {
    isHeard = true;
  });
  await server.until(async () => {
    made.push((await client.produce("jobs", { payload: "x" })).id ?? "");
    return isHeard;
  });
  const begin = (await first).value as ServerEvent;
  const rest = made.slice(made.indexOf(begin.id) + 1);
  assert.deepEqual(
    (await take(events, rest.length)).map(({ id }) => id),
    rest,
  );
  assert.deepEqual([begin.type, begin.queueName, begin.attempts], ["produced", "jobs", 0]);
  await server.server.stop();
  server = await setup(t, { dataDir, address: `127.0.0.1:${port}` });
  const [gap] = await take(events, 1);
  assert.deepEqual([gap!.type, gap!.reason], ["gap", "restarted"]);
  const { id } = await client.produce("jobs", { payload: "y" });
  const [after] = await take(events, 1);
  assert.equal(after!.id, id);
  await events.return();
  const again = client.events({ queues: ["jobs"], types: ["produced"], after: gap!.cursor });
  assert.equal((await take(again, 1))[0]!.id, id);
  await client.close();
  await assert.rejects(again.next(), { code: "closed" });
});

test("a key that is taken away ends the events with its error", async (t) => {
  const server = await setupClosed(t);
  const { id: user_id } = await server.ok("/v2/users.create", { username: "jane" });
  const grant = { namespace: "_system", role_name: "Viewer", user_id };
  await server.ok("/v2/bindings.create", grant);
  const { key, info } = await server.ok("/v2/keys.create", { user_id });
  const client = new QueratorClient({ url: server.server.address, key });
  t.after(() => client.close());
  const nobody = new QueratorClient({ url: server.server.address, key: `${ADMIN_KEY}x` });
  t.after(() => nobody.close());
  await assert.rejects(nobody.events().next(), { status: 401 });
  const events = client.events();
  const next = events.next();
  let isTold = false;
  void next.then(() => {
    isTold = true;
  });
  let n = 0;
  await server.until(async () => {
    await server.ok("/v2/queues.create", { queue_name: `q${n++}` });
    return isTold;
  });
  await server.ok("/v2/keys.revoke", { id: info.id });
  await assert.rejects(
    async () => {
      for await (const event of events) assert.equal(event.type, "queue_created");
    },
    { status: 401 },
  );
});
