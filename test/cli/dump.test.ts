// The command that shows what a server holds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setup } from "./setup.ts";

test("dump shows the server, its threads and its queues, and how many are left out", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "a", "b");
  await cli.server.createQueue("mails");
  const { code, stdout, stderr } = await cli.run(["dump", "--limit", "1"]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^server version=\S+ .* mode=serving /);
  assert.match(stdout, /^thread thread=0 .* queues=2/m);
  assert.match(stdout, /^ {2}commits storage=mem-0/m);
  assert.match(stdout, /^queue queue_name=jobs thread=0 state=idle/m);
  assert.match(stdout, /^ {2}partition partition=0 storage=mem-0 waiting=2 ready=2/m);
  assert.doesNotMatch(stdout, /mails/);
  assert.match(stderr, /There is 1 more queue\n/);

  const { server, threads, queues, queues_left_out } = await cli.json("dump");
  assert.deepEqual([server.mode, threads.length, queues_left_out], ["serving", 1, 0]);
  assert.deepEqual(
    queues.map(({ queue_name }: { queue_name: string }) => queue_name),
    ["jobs", "mails"],
  );
});
