// `querator events`: what happens, a line each, until it is ended.

import assert from "node:assert/strict";
import { test } from "node:test";
import { finish, ndjson, said, setup } from "./setup.ts";

test("events shows what happens as it happens, and ends with 130 on SIGINT", async (t) => {
  const cli = await setup(t);
  const child = cli.start(["events", "jobs", "--types", "produced,completed", "-o", "ndjson"]);
  const ended = finish(child);
  // It listens once it shows something.
  let isShown = false;
  const first = said(child.stdout!, /\n/);
  void first.then(() => {
    isShown = true;
  });
  while (!isShown) {
    await cli.server.produce("jobs", "x");
    await new Promise((resolve) => setImmediate(resolve));
  }
  const [event] = ndjson(await first);
  assert.equal(event.type, "produced");
  assert.equal(event.queue_name, "jobs");
  assert.match(event.cursor, /^[0-9a-f]{8}\.\d+$/);
  const { items } = await cli.server.lease("jobs");
  await cli.server.complete("jobs", [items[0].id]);
  await said(child.stdout!, new RegExp(`"completed".*${items[0].id}`));
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
});
