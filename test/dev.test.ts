// Virtual time, for those who test their own programs against the server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setup } from "./support/server.ts";

test("time runs until it is set, stands still then, and runs again when told to", async (t) => {
  const server = await setup(t);
  const now = async (request: object = {}): Promise<number> =>
    Date.parse((await server.ok("dev.clock", request)).now);
  assert.ok(Math.abs((await now()) - Date.now()) < 60_000);

  const start = Date.parse("2030-01-01T00:00:00Z");
  assert.equal(await now({ now: "2030-01-01T00:00:00Z" }), start);
  assert.equal(await now(), start);
  assert.equal(await now({ advance: "1m30s" }), start + 90_000);
  assert.equal(await now({ advance: "250us" }), start + 90_000);
  assert.equal((await server.ok("dev.clock", {})).now, "2030-01-01T00:01:30.000250Z");

  const running = await now({ run: true });
  assert.ok(running >= start + 90_000);
  await server.until(async () => (await now()) > running);
  const still = await now({ run: false });
  assert.equal(await now(), still);
});

test("everything that lives by time follows virtual time", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  await server.ok("dev.clock", { now: "2030-01-01T00:00:00Z" });
  await server.produce("q", "a");
  const { items } = await server.lease("q");
  assert.equal(items[0].lease_deadline, "2030-01-01T00:01:00Z");
  const waiting = server.call("queue.lease", {
    queue_name: "q",
    request_timeout: "30s",
    client_id: "c",
    batch_size: 1,
  });
  await server.until(async () => (await server.stats("q")).lease_waiting === 1);
  await server.advance("31s");
  assert.equal((await waiting).status, 454);
  await server.advance("30s");
  assert.equal((await server.lease("q")).items[0].attempts, 2);
});

test("what the clock does not understand is refused and changes nothing", async (t) => {
  const server = await setup(t);
  const { now } = await server.ok("dev.clock", { now: "2030-01-01T00:00:00Z" });
  for (const [request, message] of [
    [{ advance: "-1m" }, "advance is invalid; time cannot go back"],
    [{ advance: "soon" }, /^advance is invalid; time: invalid duration/],
    [{ advance: 5 }, /^advance is invalid; /],
    [{ now: "today" }, "now is invalid; expected a time as in RFC 3339"],
    [{ now: "2031-01-01T00:00:00Z", advance: "1m" }, /^clock is invalid; /],
    [{ run: "yes" }, "run is invalid; it must be true or false"],
    [{ forward: "1m" }, /^unknown field forward/],
  ] as const) {
    const { status, body } = await server.call("dev.clock", request);
    assert.ok(status === 400 || status === 455);
    if (typeof message === "string") assert.equal(body.message, message);
    else assert.match(body.message, message);
  }
  assert.deepEqual(await server.ok("dev.clock", {}), { now });
});

test("a held queue must exist", async (t) => {
  const server = await setup(t);
  for (const path of ["dev.pause", "dev.resume"]) {
    const { body } = await server.call(path, { queue_name: "nope" });
    assert.equal(body.message, "queue does not exist; no such queue named 'nope'");
  }
});
