// Looking into storage, and moving queues from one server to another.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { startOldServer } from "../support/old-server.ts";
import { setup as setupServer, temporaryDirectory } from "../support/server.ts";
import { Cli, finish, ndjson, setup } from "./setup.ts";

/** What an export and an import must keep of an item: everything that the API can carry. */
// biome-ignore lint/suspicious/noExplicitAny: items as they are listed
function kept({ lease_id, created_at, ...rest }: any): object {
  return rest;
}

// biome-ignore lint/suspicious/noExplicitAny: items as they are listed
async function listed(cli: Cli, queue: string, state?: string): Promise<any[]> {
  const request = { queue_name: queue, state, payload: true };
  return (await cli.server.ok("/v2/items.list", request)).items ?? [];
}

test("items export and import carry every field from one storage to another", async (t) => {
  const from = await setup(t, { dataDir: temporaryDirectory(t) });
  const to = new Cli(t, await setupServer(t));
  for (const { server } of [from, to]) {
    await server.createQueue("q", { requested_partitions: 2, max_attempts: 9 });
  }
  const items = [
    {
      bytes: "AP8K",
      encoding: "raw \u0000",
      kind: "ü",
      reference: "a\nb",
      attempts: 3,
      headers: { tenant: "a", "x y": "ü" },
    },
    {
      source_id: "from-elsewhere",
      state: "leased",
      attempts: 2,
      lease_deadline: "2099-01-02T03:04:05.678901Z",
      expire_at: "2100-01-02T03:04:05.000001Z",
      utf8: "text",
      traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
      tracestate: "v=1",
    },
    {},
  ];
  await from.server.ok("/v2/items.import", { queue_name: "q", items });
  await from.server.ok("/v2/items.import", {
    queue_name: "q",
    partition: 1,
    items: items.slice(1),
  });
  await from.server.produce("q", "x", "y");
  await from.server.lease("q");

  const exported = await from.run(["items", "export", "q"]);
  assert.equal(exported.stderr, "Successfully exported 7 items of queue 'q'\n");
  const imported = await to.run(["items", "import", "q"], { input: exported.stdout });
  assert.equal(imported.stderr, "Successfully imported 7 items into queue 'q'\n");
  const before = await listed(from, "q");
  const after = await listed(to, "q");
  assert.equal(before.length, 7);
  assert.deepEqual(after.map(kept), before.map(kept));
  assert.deepEqual(new Set(before.map(({ partition = 0 }) => partition)), new Set([0, 1]));
});

test("what is exported with rules of its own is imported with them", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("copy");
  const own = { max_attempts: 3, retry: { delay: "1m" }, headers: { a: "b" } };
  await cli.server.ok("/v2/queue.produce", {
    queue_name: "jobs",
    items: [{ utf8: "x", unique_key: "once", ...own }],
  });
  const { items } = await cli.server.ok("/v2/queue.lease", { queue_name: "jobs" });
  await cli.server.ok("/v2/queue.extend", {
    queue_name: "jobs",
    leases: [{ lease_id: items[0].lease_id, progress: 7 }],
  });
  const { stdout } = await cli.run(["items", "export", "jobs"]);
  await cli.run(["items", "import", "copy"], { input: stdout });
  const [copied] = ndjson(await cli.ok(["items", "export", "copy"]));
  assert.equal(copied.max_attempts, 3);
  assert.equal(copied.retry.delay, ndjson(stdout)[0].retry.delay);
  assert.deepEqual(copied.headers, { a: "b" });
});

test("a list that nobody reads to its end ends quietly, and one that is read slowly has all of it", async (t) => {
  const cli = await setup(t);
  const text = "x".repeat(2_000);
  for (let i = 0; i < 3; i++) {
    await cli.server.produce("jobs", ...Array.from({ length: 900 }, () => text));
  }
  const list = ["items", "list", "jobs", "-o", "ndjson"];
  const left = cli.start(list);
  const ended = finish(left);
  left.stdout!.once("data", () => left.stdout!.destroy());
  const { code, stderr } = await ended;
  assert.deepEqual([code, stderr], [0, ""]);

  // More than a pipe holds waits until somebody reads it.
  const slow = cli.start(list);
  const pieces: Buffer[] = [];
  for await (const piece of slow.stdout!) {
    pieces.push(piece);
    if (pieces.length < 20) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(ndjson(Buffer.concat(pieces).toString()).length, 2_700);
});

test("a large queue goes page by page through a pipe, in its order", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("copy");
  const big = "x".repeat(1_500_000);
  for (let i = 0; i < 6; i++) await cli.server.produce("jobs", big, `${i}`, big);
  await cli.server.produce("jobs", ...Array.from({ length: 1_000 }, (_, i) => `item ${i}`));
  const source = cli.start(["items", "export", "jobs"]);
  const sink = cli.start(["items", "import", "copy"]);
  source.stdout!.pipe(sink.stdin!);
  const results = await Promise.all([finish(source), finish(sink)]);
  assert.deepEqual(
    results.map(({ code }) => code),
    [0, 0],
  );
  const lines = [];
  for (const queue of ["jobs", "copy"]) {
    const text = await cli.ok(["items", "export", queue]);
    lines.push(ndjson(text).map(({ utf8 }) => utf8));
  }
  assert.equal(lines[0]!.length, 1_018);
  assert.deepEqual(lines[1], lines[0]);
});

for (const flags of [[], ["--source-ids"]]) {
  test(`an import ${flags.join()} can be run again, and adds nothing twice`, async (t) => {
    const cli = await setup(t);
    await cli.server.createQueue("copy");
    await cli.server.produce("jobs", "a", "b", "c");
    const file = join(temporaryDirectory(t), "jobs.ndjson");
    const lines = (await cli.ok(["items", "export", "jobs"])).split("\n");
    writeFileSync(file, lines.slice(0, 2).join("\n"));
    await cli.ok(["items", "import", "copy", ...flags, "--file", file]);
    writeFileSync(file, lines.join("\n"));
    const { stderr } = await cli.run(["items", "import", "copy", ...flags, "--file", file]);
    assert.equal(
      stderr,
      "Successfully imported 1 item into queue 'copy'\n" +
        "Passed over 2 items whose id or source_id was there already\n",
    );
    assert.equal((await cli.server.stats("copy")).total, 3);
  });
}

test("leased items stay leased unless they are released; partitions that are missing are told", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("two", { requested_partitions: 2 });
  await cli.server.produce("two", "a");
  await cli.server.produce("two", "b");
  await cli.server.lease("two");
  const input = await cli.ok(["items", "export", "two"]);
  const { stderr } = await cli.run(["items", "import", "jobs"], { input });
  assert.match(
    stderr,
    /Warning: the queue has 1 partition, so 1 item went to another than the one/,
  );
  assert.equal((await cli.server.stats("jobs")).total_leased, 1);
  await cli.server.createQueue("released", { requested_partitions: 2 });
  await cli.ok(["items", "import", "released", "--release", "-p", "1"], { input });
  const released = await cli.server.list("released", "items", 1);
  assert.deepEqual(
    released.map(({ is_leased }) => is_leased),
    [undefined, undefined],
  );
});

test("scheduled items move with their time, or are due at once with --due", async (t) => {
  const from = await setup(t, { dataDir: temporaryDirectory(t) });
  const to = new Cli(t, await setupServer(t));
  for (const { server } of [from, to]) await server.createQueue("q", { requested_partitions: 2 });
  await to.server.createQueue("jobs");
  const at = "2100-01-02T03:04:05.678901Z";
  const items = [{ bytes: "YQ==", attempts: 2, kind: "k", enqueue_at: at }, { source_id: "s" }];
  for (const partition of [0, 1]) {
    await from.server.ok("/v2/items.import", { queue_name: "q", partition, items });
  }
  const exported = await from.run(["items", "export", "q"]);
  assert.equal(exported.stderr, "Successfully exported 4 items of queue 'q' (2 scheduled)\n");
  const imported = await to.run(["items", "import", "q"], { input: exported.stdout });
  assert.equal(imported.stderr, "Successfully imported 4 items into queue 'q' (2 scheduled)\n");
  const before = await listed(from, "q", "scheduled");
  const after = await listed(to, "q", "scheduled");
  assert.deepEqual(
    after.map(({ enqueue_at }) => enqueue_at),
    [at, at],
  );
  assert.deepEqual(after.map(kept), before.map(kept));
  const due = await to.run(["items", "import", "jobs", "--due"], {
    input: await from.ok(["items", "list", "q", "--state", "scheduled", "-o", "ndjson"]),
  });
  assert.match(due.stderr, /Successfully imported 2 items into queue 'jobs'\n/);
  const { total, scheduled } = await to.server.stats("jobs");
  assert.deepEqual([total, scheduled], [2, undefined]);
  const table = await to.ok(["items", "list", "q", "--state", "scheduled"]);
  assert.match(table, /^PARTITION +ID +DUE +ATTEMPTS +CREATED +KIND +REFERENCE +PAYLOAD\n/);
  assert.match(table, / 2100-01-02 03:04:05Z /);
});

test("from a server that does not tell when items are due they are not exported, which is told", async (t) => {
  const cli = await setup(t);
  const env = { QUERATOR_ENDPOINT: await startOldServer(t, cli.endpoint) };
  await cli.ok(["produce", "jobs", "-p", "now"]);
  await cli.ok(["produce", "jobs", "-p", "later", "--delay", "1h"]);
  const { code, stdout, stderr } = await cli.run(["items", "export", "jobs"], { env });
  assert.deepEqual([code, ndjson(stdout).length], [0, 1]);
  assert.match(stderr, /Warning: 1 scheduled item of the queue is not among them/);
  const table = await cli.ok(["items", "list", "jobs", "--state", "scheduled"], { env });
  assert.match(table, / later\n$/);
  const input = await cli.ok(["items", "export", "jobs"]);
  const refused = await cli.run(["items", "import", "jobs"], { env, input });
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /Error: this server cannot import scheduled items/);
  assert.match(refused.stderr, /--due/);
  assert.deepEqual((await cli.server.stats("jobs")).total, 1);
  await cli.ok(["items", "import", "jobs", "--due"], { env, input });
  assert.deepEqual((await cli.server.stats("jobs")).total, 3);
});

test("import refuses what it cannot carry, says where, and how far it came", async (t) => {
  const cli = await setup(t);
  const rows: [string, RegExp][] = [
    ['{"bytes":"YQ=="}\n{"payloda":"YQ=="}', /Error: line 2: 'payloda' cannot be imported/],
    ['{"enqueue_at":1}', /Error: line 1: 'enqueue_at' must be a string/],
    ['{"attempts":"1"}', /Error: line 1: 'attempts' must be a number/],
    ['{"partition":-1}', /Error: line 1: 'partition' must be a whole number/],
    ["\n\nnonsense", /Error: line 3: this is not the JSON of an item/],
  ];
  for (const [input, pattern] of rows) {
    const { code, stderr } = await cli.run(["items", "import", "jobs"], { input });
    assert.equal(code, 1, input);
    assert.match(stderr, /^0 items had been imported before this failed\n/);
    assert.match(stderr, pattern);
  }
  const good = '{"bytes":"YQ=="}\n'.repeat(1_000);
  const { stderr } = await cli.run(["items", "import", "jobs"], { input: `${good}nonsense` });
  assert.match(stderr, /^1,000 items had been imported before this failed\nError: line 1001: /);
  assert.equal((await cli.server.stats("jobs")).total, 1_000);
  const path = join(temporaryDirectory(t), "some");
  writeFileSync(path, Buffer.of(0x0a, 0xff));
  const bytes = await cli.run(["items", "import", "jobs", "--file", path]);
  assert.match(bytes.stderr, /\nError: line 2 of '.*\/some': it is not valid UTF-8\n$/);
  const file = await cli.run(["items", "import", "jobs", "--file", "/no/such/file"]);
  assert.equal(file.code, 2);
  assert.match(file.stderr, /Error: cannot read '\/no\/such\/file': ENOENT/);
});

test("what the server refuses of an item is told with the line that holds it", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("two", { requested_partitions: 2 });
  const file = join(temporaryDirectory(t), "some");
  for (const [wrong, expected] of [
    ['"bytes":"%"', `'bytes' must be base64, not "%"`],
    ['"attempts":1.5', "'attempts' must be a whole number of 32 bits, not 1.5"],
    ['"expire_at":"soon"', `'expire_at' must be a time as in RFC 3339, not "soon"`],
  ]) {
    writeFileSync(file, `\n{"partition":1}\n{"partition":0}\n\n{"partition":1,${wrong}}\n`);
    const { code, stderr } = await cli.run(["items", "import", "two", "--file", file]);
    assert.equal(code, 1);
    assert.ok(stderr.endsWith(`\nError: line 5 of '${file}': ${expected}\n`), stderr);
  }
});

test("what ends a line in other programs but not in JSON moves as it is", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("copy");
  const items = [{ reference: "a\u2028b\u2029c\rd\u0085e", kind: "\ufeff" }];
  await cli.server.ok("storage/items.import", { queue_name: "jobs", items });
  const input = await cli.ok(["items", "export", "jobs"]);
  // A byte order mark, as some editors write it, and an end of another system.
  await cli.ok(["items", "import", "copy"], { input: `\ufeff${input.replace("\n", "\r\n")}` });
  const [copy] = await cli.server.list("copy");
  assert.deepEqual([copy.reference, copy.kind], [items[0]!.reference, "\ufeff"]);
});

test("what an import did is told when one of several partitions refuses its part", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("two", { requested_partitions: 2 });
  const input = '{"partition":0}\n{"partition":1,"attempts":2000000000}\n';
  const { code, stderr } = await cli.run(["items", "import", "two"], { input });
  assert.equal(code, 1);
  assert.equal(
    stderr,
    "1 item had been imported before this failed; those of lines 1 to 2 may be there as well\n" +
      "Error: line 2: attempts is invalid; '2000000000' is not between 0 and 1000000000\n",
  );
});

function* endless(): Generator<Buffer> {
  for (const chunk = Buffer.alloc(1_000_000, "a"); ; ) yield chunk;
}

test("a line without end is refused, and is not held whole", async (t) => {
  const cli = await setup(t);
  for (const args of [
    ["items", "import", "jobs"],
    ["produce", "jobs", "--lines"],
    ["produce", "jobs"],
  ]) {
    const child = cli.start(args);
    const ended = finish(child);
    await pipeline(Readable.from(endless()), child.stdin!).catch(() => undefined);
    const { code, stderr } = await ended;
    assert.equal(code, 1);
    assert.match(
      stderr,
      /Error: (line 1: it is longer|the payload is larger) than 100,000,000 bytes/,
    );
  }
});

test("an import that waits for stdin ends with 130 on SIGINT", async (t) => {
  const cli = await setup(t);
  const child = cli.start(["items", "import", "jobs"]);
  const result = finish(child);
  // A thousand lines are one request: once the second is there, the first was answered.
  child.stdin!.write('{"bytes":"YQ=="}\n'.repeat(2_000));
  await cli.server.until(async () => (await cli.server.stats("jobs")).total === 2_000);
  child.kill("SIGINT");
  const { code, stderr } = await result;
  assert.equal(code, 130);
  assert.match(stderr, /^[12],000 items had been imported before this failed/);
});

test("items list shows what lies there, from a cursor on, and deletes by its own NDJSON", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "one", "\x1b[31mred\u202e", "three");
  await cli.server.lease("jobs");
  const table = await cli.run(["items", "list", "jobs"]);
  assert.match(
    table.stdout,
    /^PARTITION +ID +LEASED UNTIL +ATTEMPTS +CREATED +KIND +REFERENCE +PAYLOAD\n/,
  );
  assert.match(table.stdout, / \\u001b\[31mred\\u202e\n/);
  assert.ok(!table.stdout.includes("\x1b"));
  assert.equal(table.stderr, "Found 3 item(s)\n");
  const { items, count } = await cli.json("items", "list", "jobs");
  assert.equal(count, 3);
  assert.deepEqual([items[0].state, items[1].state], ["leased", "waiting"]);
  const limited = await cli.run(["items", "list", "jobs", "--limit", "1"]);
  const [, cursor] = /^Found 1 item\(s\); go on with --cursor '(\S+)', or/.exec(limited.stderr)!;
  const rest = await cli.ok(["items", "list", "jobs", "--cursor", cursor!, "-o", "ndjson"]);
  assert.equal(ndjson(rest).length, 2);
  const leased = await cli.json("items", "list", "jobs", "--state", "leased");
  assert.deepEqual([leased.count, leased.items[0].lease_id], [1, items[0].lease_id]);
  const { stderr } = await cli.run(["items", "delete", "jobs", "--file", "-", "-y"], {
    input: rest,
  });
  assert.equal(stderr, "Deleted 2 items of queue 'jobs'\n");
  assert.equal((await cli.server.stats("jobs")).total, 1);
  // Of those that are gone or of another queue nothing is deleted, which is told.
  const gone = await cli.run(["items", "delete", "jobs", "--file", "-", "-y"], { input: rest });
  assert.equal(gone.code, 3);
  assert.match(
    gone.stderr,
    /^Error: nothing was deleted: queue 'jobs' has none of these 2 items\n/,
  );
  await cli.server.createQueue("other");
  const [{ id }] = await cli.server.list("jobs");
  const elsewhere = await cli.run(["items", "delete", "other", id, "-y"]);
  assert.equal(elsewhere.code, 3);
  assert.match(elsewhere.stderr, /^Error: nothing was deleted: queue 'other' has no such item\n/);
  const input = `${rest}${JSON.stringify({ ...items[0], partition: 0 })}\n`;
  const some = await cli.run(["items", "delete", "jobs", "--file", "-", "-y"], { input });
  assert.deepEqual(
    [some.code, some.stderr],
    [0, "Deleted 1 item of queue 'jobs'\n2 ids had no item there\n"],
  );
  const old = await startOldServer(t, cli.server.server.address);
  const untold = await cli.run(["items", "delete", "jobs", id, "-y"], {
    env: { QUERATOR_ENDPOINT: old },
  });
  assert.equal(untold.stderr, "Deleted 1 item of queue 'jobs', as far as they were there\n");
  const odd = await cli.run(["items", "list", "jobs", "--partition", "7"]);
  assert.equal(odd.code, 1);
  assert.match(odd.stderr, /^Error: partition is invalid; '7' is not a valid partition\n$/);
});

test("whoever stops reading ends an export in peace", async (t) => {
  const cli = await setup(t);
  const lines = Array.from({ length: 1_000 }, () => "x".repeat(1_000));
  for (let i = 0; i < 4; i++) await cli.server.produce("jobs", ...lines);
  const child = cli.start(["items", "export", "jobs"]);
  child.stdout!.once("data", () => child.stdout!.destroy());
  const { code, stderr } = await finish(child);
  assert.deepEqual([code, stderr], [0, ""]);
});
