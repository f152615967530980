// What the verbs for leases do as one thing: end all of them or none, and produce what is to be done next with it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ndjson, setup } from "./setup.ts";

test("complete produces what is to be done next, both or neither", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("mails");
  await cli.server.ok("/v2/queues.update", { queue_name: "jobs", lease_timeout: "1h" });
  await cli.server.produce("jobs", "a", "b");
  const { items } = await cli.server.lease("jobs", 2);
  const [first, second] = items.map((item: { id: string }) => item.id);
  const input = '{"utf8":"one","kind":"mail"}\n{"json":{"two":2}}\n';
  const next = ["--produce", "-", "--to", "mails"];
  const done = await cli.run(["complete", "jobs", first, ...next], { input });
  assert.deepEqual(
    [done.code, done.stderr.split("\n")[0]],
    [0, "Successfully completed 1 item(s) in queue 'jobs', and produced 2 items"],
  );
  assert.equal((await cli.server.list("mails")).length, 2);
  const late = await cli.run(["complete", "jobs", first, second, ...next], { input });
  assert.equal(late.code, 3);
  assert.equal((await cli.server.list("mails")).length, 2);
  assert.equal((await cli.json("stats", "jobs")).total_leased, 1);
  for (const wrong of [
    ["--to", "mails"],
    ["--produce", "/nowhere"],
  ]) {
    assert.equal((await cli.run(["complete", "jobs", second, ...wrong])).code, 2);
  }
});

test("with --all-or-none leases are ended together or not at all", async (t) => {
  const cli = await setup(t);
  await cli.server.ok("/v2/queues.update", { queue_name: "jobs", lease_timeout: "1h" });
  await cli.server.produce("jobs", "a", "b", "c");
  const { items } = await cli.server.lease("jobs", 3);
  const [a, b, c] = items.map((item: { id: string }) => item.id);
  await cli.ok(["complete", "jobs", a]);
  for (const verb of ["complete", "retry", "release", "reject"]) {
    const { code, stdout } = await cli.run([
      verb,
      "jobs",
      a,
      b,
      c,
      "--all-or-none",
      "-o",
      "ndjson",
    ]);
    assert.equal(code, 3, verb);
    const [gone, ...others] = ndjson(stdout);
    assert.equal(typeof gone.code, "string");
    assert.deepEqual(others, [{ lease_id: b }, { lease_id: c }]);
  }
  assert.equal((await cli.json("stats", "jobs")).total_leased, 2);
  await cli.ok(["complete", "jobs", b, c, "--all-or-none"]);
  const one = ["produce", "jobs", "--lines", "--unique-key", "k", "--on-duplicate", "reject"];
  assert.equal((await cli.run([...one, "--all-or-none"], { input: "a\nb\n" })).code, 1);
  assert.equal((await cli.json("stats", "jobs")).total, 0);
});

test("a retry may be at once also where the policy says otherwise, and an item has a policy of its own", async (t) => {
  const cli = await setup(t);
  await cli.ok(["update", "jobs", "--retry-delay", "1h"]);
  await cli.ok(["produce", "jobs", "-p", "a", "--retry-delay", "5m", "--expire-in", "never"]);
  const own = (await cli.json("items", "list", "jobs")).items[0];
  assert.equal(own.retry.delay, "5m0s");
  const [{ id }] = (await cli.server.lease("jobs")).items;
  await cli.ok(["retry", "jobs", id, "--delay", "0s"]);
  assert.equal((await cli.server.list("jobs")).length, 1);
});
