// queues apply: the queues of a file on the command line, what would change and what has changed.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../support/server.ts";
import { ndjson, setup } from "./setup.ts";

const FILE = `
address: localhost:1
queues:
  - name: jobs
    max-attempts: 3
    dead-queue: dead
  - name: dead
    expire-timeout: never
`;

test("what a file says is shown, and done", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("other");
  const path = join(temporaryDirectory(t), "queues.yaml");
  writeFileSync(path, FILE);
  const lines = [
    "~ jobs  updated",
    "    dead-queue: (none) -> dead",
    "    max-attempts: 0 -> 3",
    "+ dead  created",
    "    expire-timeout: never",
    "",
  ].join("\n");
  const dry = await cli.run(["queues", "apply", path, "--dry-run"]);
  assert.deepEqual(
    [dry.code, dry.stdout, dry.stderr],
    [0, lines, "Nothing was done; of 2 queues there would be 1 created, 1 updated, 0 unchanged\n"],
  );
  assert.equal((await cli.json("list")).count, 2);
  const done = await cli.run(["queues", "apply", path]);
  assert.deepEqual(
    [done.code, done.stdout, done.stderr],
    [0, lines, "Successfully applied 2 queues: 1 created, 1 updated, 0 unchanged\n"],
  );
  assert.equal((await cli.json("info", "jobs")).max_attempts, 3);
  const again = await cli.run(["queues", "apply", path]);
  assert.equal(again.stdout, "= jobs  unchanged\n= dead  unchanged\n");
});

test("a program gets what changes, and may send the file through a pipe", async (t) => {
  const cli = await setup(t);
  const changes = [{ setting: "max_attempts", from: "0", to: "2" }];
  const queues = [{ queue_name: "jobs", action: "updated", changes }];
  const input = "queues: [{name: jobs, max-attempts: 2}]";
  const args = ["queues", "apply", "-", "--dry-run", "-o"];
  assert.deepEqual(JSON.parse(await cli.ok([...args, "json"], { input })), {
    queues,
    dry_run: true,
  });
  assert.deepEqual(ndjson(await cli.ok([...args, "ndjson"], { input })), queues);
});

test("every setting of a file is applied, and applied again it changes nothing", async (t) => {
  const cli = await setup(t);
  const settings = [
    ["expire-timeout", "48h0m0s"],
    ["keep-completed", "24h0m0s"],
    ["keep-max", "5"],
    ["keep-payload", "true"],
    ["lease-timeout", "2m0s"],
    ["max-attempts", "4"],
    ["on-lease-end", "retry_delayed"],
    ["reference", "r"],
    ["requested-partitions", "2"],
    ["retry-delay", "1s"],
    ["retry-factor", "3"],
    ["retry-jitter", "0.5"],
    ["retry-max-delay", "1m0s"],
  ];
  const lines = settings.map(([name, value]) => `    ${name}: ${value}`);
  const input = `queues:\n  - name: q\n${lines.join("\n")}\n`;
  const stdout = await cli.ok(["queues", "apply", "-"], { input });
  assert.deepEqual(stdout.trimEnd().split("\n").toSorted(), ["+ q  created", ...lines].toSorted());
  assert.equal(await cli.ok(["queues", "apply", "-"], { input }), "= q  unchanged\n");
});

test("a text in the file may take one away", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("q", { dead_queue: "jobs" });
  const input = 'queues: [{name: q, dead-queue: ""}]';
  const stdout = await cli.ok(["queues", "apply", "-"], { input });
  assert.equal(stdout, "~ q  updated\n    dead-queue: jobs -> (none)\n");
});

for (const [input, code, text] of [
  ["queues: []", 2, /^Error: '-' has no queues\n/],
  ["queues: [{name: a, colour: red}]", 2, /^Error: stdin: queues\[0\]\.colour: is not a known key/],
  ["queues: [{max-attempts: 1}]", 2, /^Error: stdin: queues\[0\]\.name: is missing/],
  ["queues: [{name: a, partitions: [{}]}]", 2, /partitions: cannot be applied to a server/],
  ["queues: [{name: a}, {name: a}]", 1, /^Error: .*'a' is in the list already/],
  [
    "queues: [{name: b}, {name: a, dead-queue: no}]",
    1,
    /^Error: queues\[1\]\.dead_queue: dead_queue does not exist; 'no'/,
  ],
  ["queues: {", 2, /^Error: stdin:1: /],
] as const) {
  test(`a file that cannot be applied changes nothing: ${input}`, async (t) => {
    const cli = await setup(t);
    const { code: ended, stdout, stderr } = await cli.run(["queues", "apply", "-"], { input });
    assert.deepEqual([ended, stdout], [code, ""]);
    assert.match(stderr, text);
    assert.equal((await cli.json("list")).count, 1);
  });
}
