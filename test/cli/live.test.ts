// What watches a server and puts load on it: tail, top, bench.

import assert from "node:assert/strict";
import { test } from "node:test";
import { finish, ndjson, said, setup } from "./setup.ts";

function texts(output: string): string[] {
  return ndjson(output).map(({ bytes, utf8 }) => utf8 ?? Buffer.from(bytes, "base64").toString());
}

test("tail shows the newest items of a queue, whatever has gone from it", async (t) => {
  const cli = await setup(t);
  assert.equal(await cli.ok(["tail", "jobs", "--no-follow"]), "");
  await cli.server.produce("jobs", ...Array.from({ length: 700 }, (_, i) => `item ${i}`));
  const leased = (await cli.server.lease("jobs", 690)).items as { id: string }[];
  const ids = leased.map(({ id }) => id).slice(100);
  await cli.server.complete("jobs", ids);
  for (const [lines, expected] of [
    [0, []],
    [1, ["item 699"]],
    [10, Array.from({ length: 10 }, (_, i) => `item ${i + 690}`)],
  ] as const) {
    const args = ["tail", "jobs", "--no-follow", "-n", String(lines), "-o", "ndjson"];
    assert.deepEqual(texts(await cli.ok(args)), expected, `${lines} lines`);
  }
  const table = await cli.ok(["tail", "jobs", "--no-follow", "-n", "1"]);
  assert.match(table, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ {2}p0 {2}\w{27} {2}item 699\n$/);
  assert.equal((await cli.server.stats("jobs")).total, 110, "nothing was taken");

  // Of those before the gap as many as are missing behind it, and all that there are.
  for (const [lines, total, first] of [
    [12, 12, "item 98"],
    [109, 109, "item 1"],
    [110, 110, "item 0"],
    [500, 110, "item 0"],
  ] as const) {
    const args = ["tail", "jobs", "--no-follow", "-n", String(lines), "-o", "ndjson"];
    const shown = texts(await cli.ok(args));
    assert.deepEqual([shown.length, shown[0], shown.at(-1)], [total, first, "item 699"]);
  }
});

test("tail follows what arrives and what comes back, and ends with 130 on SIGINT", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "old");
  const args = ["tail", "jobs", "-n", "1", "--interval", "10ms", "-o", "ndjson"];
  const child = cli.start(args);
  const ended = finish(child);
  assert.deepEqual(texts(await said(child.stdout!, /\n/)), ["old"]);
  await cli.ok(["produce", "jobs", "-p", "later", "--delay", "1h"]);
  await cli.server.produce("jobs", "new");
  assert.deepEqual(texts(await said(child.stdout!, /\n/)), ["new"]);
  const { items } = await cli.server.lease("jobs", 2);
  await cli.server.produce("jobs", "newer");
  assert.deepEqual(texts(await said(child.stdout!, /\n/)), ["newer"]);
  await cli.server.retry("jobs", [{ id: items[0].id }]);
  const [back] = ndjson(await said(child.stdout!, /\n/));
  assert.deepEqual([back.id, back.attempts], [items[0].id, 1]);
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
});

test("stats and top tell what was deleted, once there is something", async (t) => {
  const cli = await setup(t);
  assert.doesNotMatch(await cli.ok(["stats", "jobs"]), /deleted/);
  assert.doesNotMatch(await cli.ok(["top", "--once"]), /DELETED|DEAD/);
  await cli.server.produce("jobs", "a", "b", "c");
  const { items } = await cli.server.lease("jobs", 2);
  await cli.ok(["reject", "jobs", ...items.map(({ id }: { id: string }) => id)]);
  await cli.server.advance("25h");
  await cli.server.until(async () => (await cli.server.stats("jobs")).total === undefined);
  const stats = await cli.ok(["stats", "jobs"]);
  assert.match(stats, /\ndeleted: expired +1\ndeleted: given up +2\n$/);
  const { dropped, logical_queues } = await cli.json("stats", "jobs");
  assert.deepEqual(dropped, { attempts: 0, expired: 1, rejected: 2 });
  assert.deepEqual(logical_queues[0].partitions[0].dropped, dropped);
  assert.match(
    await cli.ok(["top", "--once"]),
    /FAILING +DEAD A\/E\/R +DELETED\njobs .* 0\/1\/2 +3\n$/,
  );
  const [row] = (await cli.json("top", "--once")).queues;
  assert.deepEqual([row.dead, row.dropped], [{ attempts: 0, expired: 1, rejected: 2 }, 3]);
});

test("stats and top tell how fast a queue is, how long its items wait and how long they run", async (t) => {
  const cli = await setup(t);
  assert.doesNotMatch(await cli.ok(["stats", "jobs"]), /waited|ran|\/s/);
  await cli.server.advance("1m");
  await cli.server.produce("jobs", "a", "b", "c");
  await cli.server.advance("2s");
  const { items } = await cli.server.lease("jobs", 3);
  await cli.server.advance("9ms");
  await cli.server.complete("jobs", [items[0].id]);
  const text = await cli.ok(["stats", "jobs"]);
  assert.match(text, /\nwaited +p50 2s, p90 2s, p99 2s, longest 2s\n/);
  assert.match(text, /\nran +p50 9ms, p90 9ms, p99 9ms, longest 9ms\n/);
  assert.match(
    text,
    /\nproduced +3 \(0.05\/s\)\nleased +3 \(0.05\/s\)\ncompleted +1 \(0.02\/s\)\n/,
  );
  const { totals } = await cli.json("stats", "jobs");
  assert.equal(totals.rates.produced, 0.05);
  assert.deepEqual([totals.wait_time.count, totals.wait_time.p90_ms], [3, 2_000]);
  const table = await cli.ok(["top", "--once"]);
  assert.match(table, /\njobs +0 +2 +0 +- +0.05 +0.02 +2s +9ms /);
  const [row] = (await cli.json("top", "--once")).queues;
  assert.deepEqual([row.wait_p95_ms, row.run_p95_ms], [2_000, 9]);
});

test("top looks once, or so often, at all queues or those that are named", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("busy", { requested_partitions: 2 });
  await cli.server.produce("busy", "a", "b", "c");
  await cli.server.lease("busy");
  const table = await cli.ok(["top", "--once"]);
  assert.match(
    table,
    /^QUEUE +WAITING +LEASED +SCHEDULED +CHANGE\/S +IN\/S +DONE\/S +WAIT +RUN +AGE +LEASED FOR +CONSUMERS +IN FLIGHT +FAILING\n/,
  );
  assert.match(table, /\nbusy +2 +1 +0 +- .*\njobs +0 +0 +0 +- .*\n$/);
  const { queues, count, endpoint } = await cli.json("top", "--once", "jobs");
  assert.deepEqual([count, endpoint], [1, `${cli.endpoint}/`]);
  assert.deepEqual([queues[0].queue_name, queues[0].waiting], ["jobs", 0]);
  const looks = ndjson(
    await cli.ok(["top", "-n", "2", "--interval", "1ms", "-o", "ndjson", "busy"]),
  );
  assert.deepEqual(
    looks.map((row) => [row.waiting, row.leased, row.change_per_second]),
    [
      [2, 1, undefined],
      [2, 1, 0],
    ],
  );
});

test("top goes on when the server is away for a while", async (t) => {
  const cli = await setup(t);
  const child = cli.start(["top", "--interval", "1ms", "-o", "ndjson"]);
  const ended = finish(child);
  await said(child.stdout!, /\n/);
  await cli.server.server.stop();
  await said(child.stderr!, /Error: /);
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
});

test("bench loses nothing, takes its queue away, and tells latencies", async (t) => {
  const cli = await setup(t);
  const flags = ["--duration", "200ms", "--producers", "3", "--consumers", "2", "-b", "5"];
  const result = await cli.json("bench", ...flags, "--unfinished", "50", "--partitions", "2");
  assert.ok(result.items > 0);
  assert.equal(result.items % 5, 0);
  assert.deepEqual([result.lost, result.twice], [0, 0]);
  const { produce, end_to_end } = result.latencies_ms;
  assert.equal(produce.calls, result.items / 5);
  assert.equal(end_to_end.calls, result.items);
  assert.ok(end_to_end.p50 <= end_to_end.p99 && end_to_end.p99 <= end_to_end.max);
  const counted = end_to_end.buckets.reduce(
    (sum: number, { calls }: { calls: number }) => sum + calls,
    0,
  );
  assert.equal(counted, result.items);
  const table = await cli.ok(["bench", "--duration", "100ms"]);
  assert.match(
    table,
    /^[\d,]+ items in [\d.]+s, [\d,]+ a second\n\nLATENCY +CALLS +MEAN +P50 +P90 /,
  );
  assert.match(table, /\nEND TO END\n +< /);
  assert.equal((await cli.json("list")).count, 1);
});

test("bench touches no queue that is there, and takes its own away when it is interrupted", async (t) => {
  const cli = await setup(t);
  const { code, stderr } = await cli.run(["bench", "--queue", "jobs"]);
  assert.equal(code, 1);
  assert.match(stderr, /^Error: invalid queue; 'jobs' already exists/);
  const child = cli.start(["bench", "--queue", "mine", "--duration", "1h"]);
  const ended = finish(child);
  await cli.server.until(
    async () => (await cli.server.call("queues.info", { queue_name: "mine" })).status === 200,
  );
  // As it comes through npx: the terminal sends it to all, and npx passes on what it got.
  child.kill("SIGTERM");
  child.kill("SIGINT");
  assert.ok([130, 143].includes((await ended).code!));
  assert.equal((await cli.json("list")).count, 1);
});
