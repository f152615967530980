// Queues and their state on the command line: create, list, info, update, delete, stats, clear,
// reload.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setup } from "./setup.ts";

test("create makes a queue whose items never expire, unless it is told otherwise", async (t) => {
  const cli = await setup(t);
  const { code, stdout, stderr } = await cli.run(["create", "a", "--lease-timeout", "2m"]);
  assert.deepEqual(
    [code, stdout, stderr],
    [
      0,
      "",
      "Successfully created queue 'a' (partitions: 1, lease-timeout: 2m0s, expire-timeout: never)\n",
    ],
  );
  const flags = [
    "--max-attempts",
    "3",
    "--dead-queue",
    "a",
    "--reference",
    "r",
    "--partitions",
    "2",
  ];
  await cli.ok(["create", "b", "--expire-timeout", "5h", ...flags]);
  const info = await cli.json("info", "b");
  assert.deepEqual(
    [info.lease_timeout, info.expire_timeout, info.expire_timeout_ms, info.max_attempts],
    ["1m0s", "5h0m0s", 18_000_000, 3],
  );
  assert.deepEqual([info.dead_queue, info.reference, info.requested_partitions], ["a", "r", 2]);

  // As the server has it, which knows durations only.
  const { expire_timeout } = await cli.server.ok("queues.info", { queue_name: "a" });
  assert.equal(expire_timeout, "876000h0m0s");
  const never = await cli.json("info", "a");
  assert.deepEqual([never.expire_timeout, never.expire_timeout_ms], ["never", 876_000 * 3_600_000]);
  assert.match(await cli.ok(["info", "a"]), /expire timeout +never\n/);
  assert.match(await cli.ok(["list"]), /\na +2m0s +never /);
  const said = await cli.run(["create", "c", "--expire-timeout", "never"]);
  assert.match(said.stderr, /lease-timeout: 1m0s, expire-timeout: never\)\n$/);
  const wrong = await cli.run(["create", "d", "--expire-timeout", "always"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /--expire-timeout <time>' argument 'always' is invalid.*or never/s);

  const again = await cli.run(["create", "a"]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /^Error: invalid queue; 'a' already exists\n$/);
});

test("update may ask for the version that info shows", async (t) => {
  const cli = await setup(t);
  assert.equal((await cli.json("info", "jobs")).version, 1);
  await cli.ok(["update", "jobs", "--max-attempts", "2", "--if-version", "1"]);
  const late = await cli.run(["update", "jobs", "--max-attempts", "3", "--if-version", "1"]);
  assert.equal(late.code, 1);
  assert.match(late.stderr, /^Error: queue 'jobs' has version 2, not 1\n/);
  assert.match(await cli.ok(["info", "jobs"]), /version +2\n/);
});

test("list prints a table for people, and JSON or NDJSON for programs", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("älter", { max_attempts: 7 });
  const { stdout, stderr } = await cli.run(["list"]);
  assert.match(
    stdout,
    /^NAME +LEASE +EXPIRE +ATTEMPTS +PARTITIONS +DEAD QUEUE +CREATED\njobs +1m0s/,
  );
  assert.match(stdout, /\nälter +1m0s +24h0m0s +7 +1 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\n$/);
  assert.equal(stderr, "Found 2 queue(s)\n");
  for (const args of [[], ["--limit", "1"]]) {
    const text = await cli.ok(["list", ...args, "-o", "json"]);
    assert.equal(text, `${JSON.stringify(JSON.parse(text), null, 2)}\n`);
  }
  const limited = await cli.run(["list", "--limit", "1"]);
  assert.equal(limited.stderr, "Found 1 queue(s); there may be more, see --limit\n");
  assert.ok(!stdout.includes("\x1b"), "no colours where nobody sees them");
  const { queues, count } = await cli.json("list");
  assert.equal(count, 2);
  assert.deepEqual(
    queues.map((queue: { queue_name: string }) => queue.queue_name),
    ["jobs", "älter"],
  );
  const lines = await cli.ok(["list", "--limit", "1", "-o", "ndjson"]);
  assert.equal(JSON.parse(lines).queue_name, "jobs");
});

test("update changes what is given and leaves the rest", async (t) => {
  const cli = await setup(t);
  await cli.ok(["update", "jobs", "--max-attempts", "4", "--reference", "r"]);
  const { stderr } = await cli.run(["update", "jobs", "--lease-timeout", "30s"]);
  assert.equal(stderr, "Successfully updated queue 'jobs'\n");
  const info = await cli.json("info", "jobs");
  assert.deepEqual(
    [info.max_attempts, info.reference, info.lease_timeout, info.expire_timeout],
    [4, "r", "30s", "24h0m0s"],
  );
  await cli.ok(["update", "jobs", "--expire-timeout", "3h"]);
  assert.equal((await cli.json("info", "jobs")).lease_timeout, "30s");
  await cli.ok(["update", "jobs", "--expire-timeout", "never"]);
  assert.equal((await cli.json("info", "jobs")).expire_timeout, "never");
  const long = await cli.run(["update", "jobs", "--lease-timeout", "5h", "--expire-timeout", "4h"]);
  assert.match(long.stderr, /^Error: lease timeout is too long; 5h0m0s cannot be greater than/);

  const nothing = await cli.run(["update", "jobs"]);
  assert.equal(nothing.code, 2);
  assert.match(nothing.stderr, /^Error: nothing to change is given\n/);
});

test("what destroys asks first, and does nothing without somebody to ask", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "one", "two");
  const id = (await cli.server.list("jobs"))[0].id;
  for (const args of [
    ["delete", "jobs"],
    ["clear", "jobs"],
    ["items", "delete", "jobs", id],
  ]) {
    const { code, stderr } = await cli.run(args);
    assert.equal(code, 2, args.join(" "));
    assert.match(stderr, /^Error: there is no terminal to ask on, so nothing was done\nGive --yes/);
  }
  assert.equal((await cli.server.stats("jobs")).total, 2);
  await cli.ok(["items", "delete", "jobs", id, "--yes"]);
  assert.equal((await cli.server.stats("jobs")).total, 1);
  const { stderr } = await cli.run(["delete", "jobs", "-y"]);
  assert.equal(stderr, "Successfully deleted queue 'jobs'\n");
  assert.equal((await cli.json("list")).count, 0);
});

test("delete takes a dead queue of another only with --force", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("other", { dead_queue: "jobs" });
  const refused = await cli.run(["delete", "jobs", "--yes"]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^Error: queue is a dead queue; 'other' uses it/);
  await cli.ok(["delete", "jobs", "--force"]);
});

test("clear removes what waits, and what else it is told", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "a", "b", "c");
  await cli.server.lease("jobs", 1);
  await cli.ok(["produce", "jobs", "-p", "later", "--delay", "1h"]);
  const { stderr } = await cli.run(["clear", "jobs", "-y"]);
  assert.equal(stderr, "Successfully cleared queue 'jobs' (2 waiting items)\n");
  let stats = await cli.json("stats", "jobs");
  assert.deepEqual([stats.total, stats.total_leased, stats.scheduled], [1, 1, 1]);
  await cli.ok(["clear", "jobs", "--scheduled", "-y"]);
  stats = await cli.json("stats", "jobs");
  assert.deepEqual([stats.total, stats.scheduled], [1, 0]);
  await cli.ok(["clear", "jobs", "--leased", "-y"]);
  assert.equal((await cli.json("stats", "jobs")).total, 0);
});

test("stats counts what lies in each partition and what waits for it", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("two", { requested_partitions: 2 });
  await cli.server.produce("two", "a", "b");
  await cli.server.produce("two", "c");
  const table = await cli.ok(["stats", "two"]);
  assert.match(table, /^PARTITION +WAITING +LEASED +SCHEDULED +AGE +LEASED FOR +FAILURES\n/);
  assert.match(table, /\n +0 +2 +0 +0 .*\n +1 +1 +0 +0 /);
  assert.match(table, /\nleases waiting +0\n/);
  assert.match(
    table,
    /\noldest waits for +\d[^\n]*\nproduced +3 \(\S+\/s\)\nleased +0\ncompleted +0\n/,
  );
  assert.doesNotMatch(table, /retried|dead/);
  const stats = await cli.json("stats", "two");
  assert.deepEqual([stats.queue_name, stats.total], ["two", 3]);
  assert.deepEqual([stats.totals.waiting, stats.totals.counts.produced], [3, 3]);
  assert.equal(stats.logical_queues[0].partitions[1].total, 1);
  const { stderr } = await cli.run(["reload", "two"]);
  assert.equal(stderr, "Successfully reloaded queue 'two'\n");
});

test("a queue that is not there ends with 3, and the name that is meant is told", async (t) => {
  const cli = await setup(t);
  for (const args of [
    ["info", "jbos"],
    ["stats", "jbos"],
    ["delete", "Job", "-y"],
    ["produce", "job", "-p", "x"],
    ["lease", "jobs2"],
    ["items", "list", "jbos"],
    ["items", "import", "jbos"],
    ["tail", "jbos"],
    ["top", "jbos"],
  ]) {
    const { code, stderr, stdout } = await cli.run(args);
    assert.equal(code, 3, `${args.join(" ")}: ${stderr}`);
    assert.equal(stdout, "");
    assert.match(stderr, /^Error: no such queue '\w+'; did you mean 'jobs'\?\n$/);
  }
  const far = await cli.run(["info", "something-else"]);
  assert.equal(far.code, 3);
  assert.match(far.stderr, /^Error: no such queue 'something-else'\n'querator list' shows/);
});
