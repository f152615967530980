// One server at a time owns what lies in PostgreSQL; another waits, and takes over when it is gone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { queryOnce, testDatabase } from "../support/postgres.ts";
import { ServerNode } from "./node.ts";

const TAKEN = "has taken over and serves all queues";

test("a second server waits, says so, and serves as soon as the first has stopped", async (t) => {
  const url = await testDatabase(t);
  const first = new ServerNode(t, url);
  await first.said("querator is ready");
  const second = new ServerNode(t, url);
  await second.said("querator is on standby");
  assert.equal((await first.createQueue("q")).status, 200);
  assert.equal((await first.produce("q", "kept")).status, 200);
  const refused = await second.produce("q", "no");
  assert.equal(refused.status, 454);
  assert.match(refused.body, /another server owns the data/);
  const [status, output] = await second.health();
  assert.equal(status, 503);
  assert.match(output, /on standby: another server \(.+\) owns the data/);
  await first.end("SIGTERM");
  await second.said(TAKEN);
  assert.equal((await second.health())[0], 200);
  assert.deepEqual(await second.lease("q"), ["kept"]);
  assert.ok(!second.lines.concat(first.lines).some((line) => line.includes("not-a-secret")));
});

test("when the first is killed the second serves what was acknowledged", async (t) => {
  const url = await testDatabase(t);
  const first = new ServerNode(t, url);
  await first.said("querator is ready");
  const second = new ServerNode(t, url);
  await second.said("querator is on standby");
  await first.createQueue("q");
  await first.produce("q", "kept");
  await first.end("SIGKILL");
  await second.said(TAKEN);
  assert.deepEqual(await second.lease("q"), ["kept"]);
});

test("a server that was paused never writes after another took over, and then waits", async (t) => {
  const url = await testDatabase(t);
  const first = new ServerNode(t, url);
  await first.said("querator is ready");
  await first.createQueue("q");
  await first.produce("q", "one");
  const second = new ServerNode(t, url);
  await second.said("querator is on standby");
  first.child.kill("SIGSTOP");
  await second.said(TAKEN);
  assert.equal((await second.produce("q", "two")).status, 200);
  const late = first.produce("q", "late");
  first.child.kill("SIGCONT");
  assert.equal((await late).status, 454);
  await first.said("this one serves no queues now");
  assert.equal((await first.health())[0], 503);
  assert.deepEqual(await second.lease("q"), ["one", "two"]);
  assert.equal((await second.produce("q", "three")).status, 200);
  await second.end("SIGTERM");
  await first.said(TAKEN);
  assert.deepEqual(await first.lease("q"), ["three"]);
});

test("the clock of the database was set back: an owner that is gone is replaced, one that is there is not", {
  timeout: 60_000,
}, async (t) => {
  const url = await testDatabase(t);
  const setBack = (): Promise<unknown> =>
    queryOnce(url, `UPDATE querator.heartbeat SET renewed_at = clock_timestamp() + '1 hour'`);
  const first = new ServerNode(t, url);
  await first.said("querator is ready");
  await first.createQueue("q");
  await first.produce("q", "kept");
  await setBack();
  const second = new ServerNode(t, url);
  await second.said("querator is on standby");
  assert.equal((await first.produce("q", "also")).status, 200);
  await first.end("SIGKILL");
  await setBack();
  await second.said(TAKEN);
  assert.deepEqual(await second.lease("q"), ["kept", "also"]);
});
