// What died, and the way back, on the command line.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Cli, finish, said, setup } from "./setup.ts";

/** A command line with items that have died into `dead`; answers their ids. */
async function withDead(t: TestContext, count: number): Promise<{ cli: Cli; ids: string[] }> {
  const cli = await setup(t);
  const { server } = cli;
  await server.createQueue("dead");
  await server.createQueue("mails", { dead_queue: "dead" });
  const items = Array.from({ length: count }, () => ({ kind: "mail" }));
  const { results } = await server.ok("/v2/queue.produce", { queue_name: "mails", items });
  const leased = await server.ok("/v2/queue.lease", { queue_name: "mails", batch_size: count });
  const leases = leased.items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: "mails", leases });
  return { cli, ids: results.map(({ id }: { id: string }) => id) };
}

test("dead groups shows what died alike, and redrive moves a group back", async (t) => {
  const { cli, ids } = await withDead(t, 3);
  await cli.server.produce("dead", "put there");
  const table = await cli.run(["dead", "groups", "dead"]);
  assert.equal(table.code, 0, table.stderr);
  assert.match(table.stdout, /COUNT +REASON +KIND .*\n +3 +rejected +mail .* mails /);
  assert.equal(table.stderr, "Found 2 groups among 4 items\n");
  const { groups, count } = await cli.json("dead", "groups", "dead");
  assert.deepEqual([count, groups[0].count, groups[0].sample], [2, 3, ids[2]]);

  const group = ["--fingerprint", groups[0].fingerprint];
  const dry = await cli.run(["redrive", "dead", ...group, "--dry-run"]);
  assert.deepEqual(
    [dry.code, dry.stderr],
    [0, "Would move 3 items of queue 'dead' back to where they came from\n"],
  );
  assert.equal((await cli.server.list("dead")).length, 4);
  const done = await cli.run(["redrive", "dead", ...group, "--yes"]);
  assert.deepEqual(
    [done.code, done.stderr],
    [0, "Successfully moved 3 items of queue 'dead' back to where they came from\n"],
  );
  assert.equal((await cli.server.list("mails")).length, 3);
  const rest = await cli.run(["redrive", "dead", "--yes"]);
  assert.match(rest.stderr, /^Successfully moved 0 items .*; 1 passed over\n$/);
  const gone = await cli.run(["redrive", "dead", "--id", ids[0]!, "--yes"]);
  assert.match(gone.stderr, /^Successfully moved 0 items .*; 1 not found\n$/);
  const other = await cli.json("redrive", "dead", "--to", "jobs", "--yes");
  assert.deepEqual([other.state, other.moved, other.to], ["done", 1, "jobs"]);

  const { redrives } = await cli.json("redrives", "list", "dead");
  assert.deepEqual(
    redrives.map(({ moved = 0 }) => moved),
    [1, 0, 0, 3],
  );
  assert.equal(redrives[1].not_found, 1);
});

test("a redrive that is stopped, as what it moves dies again, has failed", async (t) => {
  const { cli } = await withDead(t, 3);
  const { server } = cli;
  await server.advance("1ms"); // time stands still: it moves one
  const ratio = ["--rate", "10", "--stop-at-failure-ratio", "0.5"];
  const ended = finish(cli.start(["redrive", "dead", ...ratio, "--yes"]));
  const { items } = await server.ok("/v2/queue.lease", { queue_name: "mails" });
  const leases = items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
  await server.ok("/v2/queue.reject", { queue_name: "mails", leases });
  const { code, stderr } = await ended;
  assert.equal(code, 1);
  assert.match(stderr, /^Error: stopped, as too many died again: moved 1 item .*; 1 died again\n$/);
});

test("a redrive asks first, and without anybody to ask nothing is done", async (t) => {
  const { cli } = await withDead(t, 1);
  const { code, stderr } = await cli.run(["redrive", "dead"]);
  assert.equal(code, 2);
  assert.match(stderr, /--yes/);
  assert.equal((await cli.server.list("dead")).length, 1);
});

test("a redrive goes on when its command is interrupted, until it is cancelled", async (t) => {
  const { cli } = await withDead(t, 50);
  const { server } = cli;
  await server.advance("1ms"); // time stands still: it is never done
  const child = cli.start(["redrive", "dead", "--rate", "10", "--yes"]);
  const seen = await server.until(async () => {
    const { redrives } = await server.ok("/v2/redrives.list", { queue_name: "dead" });
    return redrives?.[0]?.moved === 1 && redrives[0];
  });
  const told = said(child.stderr!, /ends it/);
  const ended = finish(child);
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
  assert.match(await told, new RegExp(`querator redrives cancel dead ${seen.id}`));
  const { redrives } = await server.ok("/v2/redrives.list", { queue_name: "dead" });
  assert.equal(redrives[0].state, "running");
  const shown = await cli.ok(["redrives", "info", "dead", seen.id]);
  assert.match(shown, new RegExp(`^id +${seen.id}\n`));
  assert.match(shown, /^state +running$/m);
  assert.equal((await cli.json("redrives", "info", "dead", seen.id)).moved, 1);
  const { code, stderr } = await cli.run(["redrives", "cancel", "dead", seen.id]);
  assert.deepEqual([code, stderr], [0, "The redrive is cancelled; it has moved 1 item\n"]);
  const gone = await cli.run(["redrives", "cancel", "dead", "none"]);
  assert.equal(gone.code, 3, gone.stderr);
});

test("a redrive that is not waited for tells how to find it again", async (t) => {
  const { cli } = await withDead(t, 2);
  const { code, stderr } = await cli.run(["redrive", "dead", "--detach", "--yes"]);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^Began to move items of queue 'dead' back to where they came from: \S+\n$/);
  await cli.server.until(async () => (await cli.server.list("mails")).length === 2);
});
