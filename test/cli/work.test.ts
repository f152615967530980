// Working with items on the command line: produce, lease, complete, retry, release, reject, extend.

import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startOldServer } from "../support/old-server.ts";
import { payloads, temporaryDirectory } from "../support/server.ts";
import { finish, ndjson, setup } from "./setup.ts";

test("produce takes its payload from an option or from stdin, with all that travels along", async (t) => {
  const cli = await setup(t);
  const texts = ["--encoding", "text", "--kind", "greet", "--reference", "r-1"];
  const { stdout, stderr } = await cli.run(["produce", "jobs", "-p", "hellö", ...texts]);
  assert.equal(stdout, "");
  assert.match(stderr, /^Successfully produced item '\w{27}' with payload of 6 bytes\n$/);
  const bytes = Uint8Array.of(0, 255, 10, 128);
  await cli.ok(["produce", "jobs"], { input: bytes });
  const [text, raw] = (await cli.server.lease("jobs", 2)).items;
  assert.deepEqual([text.encoding, text.kind, text.reference], ["text", "greet", "r-1"]);
  assert.equal(Buffer.from(text.bytes, "base64").toString(), "hellö");
  assert.deepEqual([...Buffer.from(raw.bytes, "base64")], [...bytes]);
});

test("produce makes an item of every line, or of every line of JSON", async (t) => {
  const cli = await setup(t);
  const lines = Array.from({ length: 2_500 }, (_, i) => `line ${i}`);
  const { stderr } = await cli.run(["produce", "jobs", "--lines", "--kind", "k"], {
    input: lines.join("\n"),
  });
  assert.equal(stderr, "Successfully produced 2,500 items\n");
  const listed = await cli.server.list("jobs");
  assert.equal(listed.length, 1_000);
  assert.ok(listed.every(({ kind }) => kind === "k"));
  assert.equal((await cli.server.stats("jobs")).total, 2_500);

  await cli.server.createQueue("b");
  const items = [
    { utf8: "one", kind: "x", reference: "r" },
    { bytes: "AP8=", encoding: "raw" },
    { bytes: "_w" },
    { utf8: "later", enqueue_at: "2100-01-01T00:00:00Z" },
  ];
  const input = items.map((item) => `${JSON.stringify(item)}\n`).join("");
  await cli.ok(["produce", "b", "--ndjson", "--kind", "default"], { input });
  const [one, two, three] = await cli.server.list("b");
  assert.deepEqual([one.payload, one.kind, one.reference], ["b25l", "x", "r"]);
  assert.deepEqual([two.payload, two.kind, two.encoding], ["AP8=", "default", "raw"]);
  assert.equal(three.payload, "/w==");
  assert.deepEqual(payloads({ items: await cli.server.list("b", "scheduled") }), ["later"]);
});

test("produce takes JSON, headers and delays, and keeps every digit of a number", async (t) => {
  const cli = await setup(t);
  const headers = ["--item-header", "tenant=acme", "--item-header", "trace=a=b"];
  const value = '{"n":12345678901234567890,"e":1.50}';
  await cli.ok(["produce", "jobs", "--json", "-p", value, ...headers]);
  const lines = [
    '{"json":{"big":0.1000000000000000055},"headers":{"a":"b"}}',
    '{"json":null}',
    '{"utf8":"later","delay":"1h"}',
  ];
  await cli.ok(["produce", "jobs", "--ndjson"], { input: lines.join("\n") });
  await cli.ok(["produce", "jobs", "--json", "--lines"], { input: "[1]\n2\n" });
  const list = await cli.ok(["items", "list", "jobs", "-o", "ndjson"]);
  assert.ok(list.includes(`"json":${value}`), list);
  assert.ok(list.includes('"json":{"big":0.1000000000000000055}'), list);
  const [first, second, third, ...rest] = ndjson(list);
  assert.deepEqual(first.headers, { tenant: "acme", trace: "a=b" });
  assert.deepEqual([second.headers, third.json], [{ a: "b" }, null]);
  assert.deepEqual(
    rest.map(({ json }) => json),
    [[1], 2],
  );
  const { items } = await cli.json("items", "list", "jobs", "--state", "scheduled");
  assert.equal(items[0].utf8, "later");
  const copied = await cli.ok(["items", "export", "jobs"]);
  await cli.server.createQueue("copy");
  await cli.ok(["items", "import", "copy"], { input: copied });
  assert.ok((await cli.ok(["items", "list", "copy", "-o", "ndjson"])).includes(`"json":${value}`));
  const wrong = await cli.run(["produce", "jobs", "--json", "-p", "{"]);
  assert.deepEqual([wrong.code, wrong.stderr], [1, "Error: --payload: this is not JSON\n"]);
  assert.equal((await cli.run(["produce", "jobs", "-p", "", "--item-header", "x"])).code, 2);
});

test("produce says of which key there is one, how often items are tried, and how long they live", async (t) => {
  const cli = await setup(t);
  const own = ["--max-attempts", "3", "--expire-in", "2h"];
  const key = ["--unique-key", "daily", "--unique-while", "waiting"];
  await cli.ok(["produce", "jobs", "-p", "a", ...key, ...own]);
  const again = await cli.run(["produce", "jobs", "-p", "b", ...key]);
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stderr, /^The key is taken by item '\w{27}'; nothing was produced\n$/);
  const refused = await cli.run(["produce", "jobs", "-p", "b", ...key, "--on-duplicate", "reject"]);
  assert.notEqual(refused.code, 0);
  const replaced = await cli.run([
    "produce",
    "jobs",
    "-p",
    "c",
    ...key,
    ...own,
    "--on-duplicate",
    "replace",
  ]);
  assert.match(replaced.stderr, /^Successfully replaced item '\w{27}' with payload of 1 bytes\n$/);
  const input = [
    '{"utf8":"d","unique_key":"x","unique_for":"1h","max_attempts":5,"expire_in":"1h"}',
    '{"utf8":"e","unique_key":"x","unique_while":"pending","on_duplicate":"return"}',
    '{"utf8":"f","retry":{"delay":"1m","factor":3,"max_delay":"2m","jitter":0.5}}',
  ].join("\n");
  const told = await cli
    .ok(["produce", "jobs", "--ndjson", "--unique-while", "waiting", "-o", "ndjson"], { input })
    .catch(String);
  assert.match(told, /unique_key/); // the third line has no key that could be waited with
  const lines = await cli.ok(["produce", "jobs", "--ndjson", "-o", "ndjson"], { input });
  assert.deepEqual(
    ndjson(lines).map(({ status }) => status),
    ["created", "duplicate", "created"],
  );
  const every = ["--lines", "--unique-key", "one", "--unique-for", "1h", "-o", "ndjson"];
  const same = await cli.ok(["produce", "jobs", ...every], { input: "g\nh\n" });
  assert.deepEqual(
    ndjson(same).map(({ status }) => status),
    ["created", "duplicate"],
  );
  const [a, d, f, g] = ndjson(await cli.ok(["items", "list", "jobs", "-o", "ndjson"]));
  assert.deepEqual([a.utf8, d.utf8, f.utf8, g.bytes], ["c", "d", "f", "Zw=="]);
  assert.deepEqual([a.unique_key, a.max_attempts], ["daily", 3]);
  assert.deepEqual([d.unique_key, d.max_attempts], ["x", 5]);
  const hours = (item: { readonly expire_at: string; readonly created_at: string }): number =>
    Math.round((Date.parse(item.expire_at) - Date.parse(item.created_at)) / 3_600_000);
  assert.deepEqual([hours(a), hours(d)], [2, 1]);
  assert.deepEqual(f.retry, { delay: "1m0s", factor: 3, max_delay: "2m0s", jitter: 0.5 });
});

test("lease and work take items of some kinds only, for as long as is said", async (t) => {
  const cli = await setup(t);
  const kinds = ["mail", "sms", "fax"];
  for (const kind of kinds) await cli.ok(["produce", "jobs", "-p", kind, "--kind", kind]);
  const args = ["-b", "5", "--kinds", "fax,sms", "--lease-timeout", "3h"];
  const { items } = await cli.json("lease", "jobs", ...args);
  assert.deepEqual(
    items.map(({ kind }: { kind: string }) => kind),
    ["sms", "fax"],
  );
  await cli.server.advance("2h");
  assert.equal((await cli.server.stats("jobs")).total_leased, 2);
  const work = ["work", "jobs", "--kinds", "fax", "--kinds", "mail", "--lease-timeout", "1m"];
  const child = cli.start([...work, "--", "true"]);
  const ended = finish(child);
  await cli.server.until(async () => {
    await sleep(10);
    return (await cli.server.stats("jobs")).total === 2;
  });
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
  for (const [odd, pattern] of [
    [["--kinds", "a,,b"], /Use names such as mail,sms/],
    [["--lease-timeout", "1ms"], /Use a duration from 10ms to 12h/],
  ] as const) {
    const { code, stderr } = await cli.run(["lease", "jobs", ...odd]);
    assert.equal(code, 2);
    assert.match(stderr, pattern);
  }
});

test("what came of the work, and why it failed, is told with the end of a lease", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("dead");
  await cli.ok(["update", "jobs", "--keep-completed", "1h", "--dead-queue", "dead"]);
  await cli.server.produce("jobs", "a", "b", "c");
  const [a, b, c] = ndjson(await cli.ok(["lease", "jobs", "-b", "3", "-o", "ndjson"]));
  const result = '{"n":12345678901234567890}';
  await cli.ok(["complete", "jobs", a.lease_id, "--result", result]);
  const ended = await cli.ok(["items", "get", a.id, "-o", "ndjson"]);
  assert.ok(ended.includes(`"result":${result}`), ended);
  await cli.ok(["retry", "jobs", b.lease_id, "--error", "no answer", "--error-type", "Timeout"]);
  assert.deepEqual((await cli.json("items", "get", b.id)).last_error, {
    type: "Timeout",
    message: "no answer",
  });
  await cli.ok(["reject", "jobs", c.lease_id, "--error", "no such customer"]);
  assert.deepEqual((await cli.json("items", "get", c.id)).last_error, {
    message: "no such customer",
  });
  const odd = await cli.run(["complete", "jobs", "x", "--result", "{"]);
  assert.equal(odd.code, 2);
  assert.match(odd.stderr, /--result <json>' argument '{' is invalid. It is not JSON/);
});

test("work runs a command for each item, for as long as it takes, and gives back what it fails at", async (t) => {
  const cli = await setup(t);
  await cli.ok(["update", "jobs", "--lease-timeout", "500ms"]);
  const script = `
    const { QUERATOR_ATTEMPTS: attempts, QUERATOR_ITEM_ID: id, QUERATOR_KIND: kind } = process.env;
    let text = "";
    process.stdin.on("data", (data) => (text += data)).on("end", () => {
      console.log(JSON.stringify({ text, attempts, id, kind }));
      if (text === "fails" && attempts === "1") process.exit(3);
      setTimeout(() => undefined, text === "slow" ? 1500 : 0);
    });`;
  for (const text of ["slow", "fails"])
    await cli.ok(["produce", "jobs", "-p", text, "--kind", "k"]);
  const child = cli.start([
    "work",
    "jobs",
    "--concurrency",
    "2",
    "--",
    process.execPath,
    "-e",
    script,
  ]);
  const ended = finish(child);
  await cli.server.until(async () => {
    await sleep(10); // commands take their time, and looking is quick
    const { total, scheduled } = await cli.server.stats("jobs");
    return !total && !scheduled;
  });
  child.kill("SIGINT");
  const { code, stdout, stderr } = await ended;
  assert.equal(code, 130);
  const runs = ndjson(stdout).map(({ text, attempts, kind }) => [text, attempts, kind]);
  assert.deepEqual(runs.sort(), [
    ["fails", "1", "k"],
    ["fails", "2", "k"],
    ["slow", "1", "k"],
  ]);
  assert.match(stderr, /^\w{27}: the command ended with 3\n$/);
  const none = await cli.run(["work", "jobs"]);
  assert.deepEqual([none.code, none.stderr.split("\n")[0]], [2, "Error: no command is given"]);
  assert.equal((await cli.run(["work", "nowhere", "--", "true"])).code, 3);
});

test("extend lets leases last longer, and tells which have ended", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "a", "b");
  const lines = await cli.ok(["lease", "jobs", "-b", "2", "-o", "ndjson"]);
  const [a] = ndjson(lines);
  const input = { input: lines };
  const { stderr } = await cli.run(["extend", "jobs", "--for", "2h", "--file", "-"], input);
  assert.equal(stderr, "Successfully extended 2 item(s) in queue 'jobs'\n");
  await cli.server.advance("1h");
  assert.equal((await cli.server.stats("jobs")).total_leased, 2);
  await cli.ok(["complete", "jobs", a.lease_id]);
  const ended = await cli.run(["extend", "jobs", "--for", "1m", "--file", "-"], input);
  assert.equal(ended.code, 3);
  assert.match(
    ended.stderr,
    /^Error: Of 2 items of this call 1 were done, another failed: lease has/,
  );
  assert.equal((await cli.run(["extend", "jobs", a.lease_id])).code, 2);
});

test("a program is told what became of each item", async (t) => {
  const cli = await setup(t);
  const one = await cli.json("produce", "jobs", "-p", "a");
  assert.deepEqual(
    [one.count, Object.keys(one.results[0]), one.results[0].status],
    [1, ["id", "status"], "created"],
  );
  const lines = await cli.ok(["produce", "jobs", "--lines", "-o", "ndjson"], { input: "b\nc\n" });
  assert.deepEqual(
    ndjson(lines).map(({ status }) => status),
    ["created", "created"],
  );
  const whole = await cli.ok(["produce", "jobs", "--lines", "-o", "json"], {
    input: "d\n".repeat(1_500),
  });
  assert.equal(JSON.parse(whole).count, 1_500);
  // What was produced before a line that cannot be meant.
  const input = `${'{"utf8":"e"}\n'.repeat(1_000)}nonsense`;
  const part = await cli.run(["produce", "jobs", "--ndjson", "-o", "json"], { input });
  assert.deepEqual([part.code, JSON.parse(part.stdout).count], [1, 1_000]);

  const { items } = await cli.json("lease", "jobs", "-b", "5");
  const ids = items.map(({ lease_id }: { lease_id: string }) => lease_id);
  const extended = await cli.json("extend", "jobs", ids[0], "--for", "1h");
  assert.deepEqual(
    [extended.count, extended.results[0].ok, extended.results[0].lease_id],
    [1, true, ids[0]],
  );
  assert.ok(Date.parse(extended.results[0].lease_deadline) > 0);
  for (const [i, verb] of ["complete", "retry", "release", "reject"].entries()) {
    const done = await cli.json(verb, "jobs", ids[i]);
    assert.deepEqual(done, { results: [{ lease_id: ids[i], ok: true }], count: 1 });
  }
  const mixed = await cli.run(["complete", "jobs", ids[0], ids[4], "-o", "ndjson"]);
  const [gone, done] = ndjson(mixed.stdout);
  assert.equal(mixed.code, 3);
  assert.deepEqual(
    [gone.lease_id, gone.code, typeof gone.detail],
    [ids[0], "lease_ended", "string"],
  );
  assert.deepEqual(done, { lease_id: ids[4], ok: true });
  // People are told in words.
  assert.equal(await cli.ok(["produce", "jobs", "-p", "f"]), "");
});

test("a lease cannot be extended for longer than the server allows, which is said at once", async (t) => {
  const cli = await setup(t);
  const { code, stderr } = await cli.run(["extend", "jobs", "x", "--for", "13h"]);
  assert.equal(code, 2);
  assert.match(
    stderr,
    /--for <time>' argument '13h' is invalid\. Use a duration from 1ms to 12h\./,
  );
});

test("produce refuses lines that cannot be meant, and says which", async (t) => {
  const cli = await setup(t);
  const rows: [string, RegExp][] = [
    ['{"utf8":"a"}\n{"utf":"b"}', /Error: line 2: 'utf' is unknown; use json, utf8, bytes, /],
    ["nonsense", /Error: line 1: this is not the JSON of an item/],
    ["[]", /Error: line 1: this is not the JSON of an item/],
    ['{"utf8":1}', /Error: line 1: 'utf8' must be a text/],
    ['{"bytes":"§"}', /Error: line 1: 'bytes' must be base64/],
    ['{"bytes":"a"}', /Error: line 1: 'bytes' must be base64/],
    ['{"bytes":"YWJjZ"}', /Error: line 1: 'bytes' must be base64/],
    ['{"bytes":"YQ="}', /Error: line 1: 'bytes' must be base64/],
    ['{"bytes":"YWJj="}', /Error: line 1: 'bytes' must be base64/],
    ['{"bytes":"","utf8":""}', /Error: line 1: give one of 'json', 'utf8' and 'bytes'/],
    ['{"json":1,"utf8":""}', /Error: line 1: give one of 'json', 'utf8' and 'bytes'/],
    ['{"headers":{"a":1}}', /Error: line 1: 'headers' must be texts by name/],
    ['{"delay":"a while"}', /Error: line 1: 'delay' must be a duration such as 30s/],
    ['{"unique_for":"a while"}', /Error: line 1: 'unique_for' must be a duration such as 30s/],
    ['{"expire_in":1}', /Error: line 1: 'expire_in' must be a text/],
    ['{"max_attempts":"3"}', /Error: line 1: 'max_attempts' must be a number/],
    ['{"on_duplicate":"drop"}', /Error: line 1: 'on_duplicate' must be one of return, reject, /],
    ['{"unique_while":"ever"}', /Error: line 1: 'unique_while' must be one of pending, waiting/],
    ['{"retry":"5s"}', /Error: line 1: 'retry' must be an object/],
    ['{"retry":{"wait":"5s"}}', /Error: line 1: 'retry.wait' is unknown; use delay, factor, /],
    ['{"retry":{"delay":5}}', /Error: line 1: 'retry.delay' must be a duration such as 30s/],
    ['{"enqueue_at":"soon"}', /Error: line 1: 'enqueue_at' must be a time such as/],
    [
      '{"enqueue_at":"9999-12-31T23:59:59-05:00"}',
      /Error: line 1: 'enqueue_at' must be a time such as/,
    ],
    ['\n{"kind":"\\ud800"}', /Error: line 2: 'kind' must be valid Unicode/],
  ];
  for (const [input, pattern] of rows) {
    const { code, stderr } = await cli.run(["produce", "jobs", "--ndjson"], { input });
    assert.equal(code, 1, input);
    assert.match(stderr, /^0 items had been produced before this failed\n/);
    assert.match(stderr, pattern);
  }
  assert.equal((await cli.json("stats", "jobs")).total, 0);
});

test("what is leased is completed by its ids, its file, or its NDJSON", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "a", "b", "c", "d");
  const reply = await cli.json("lease", "jobs", "--client", "me");
  assert.deepEqual([reply.queue_name, reply.items.length], ["jobs", 1]);
  const [{ lease_id: id, attempts, bytes }] = reply.items;
  assert.deepEqual([attempts, bytes], [1, "YQ=="]);
  const byId = await cli.run(["complete", "jobs", id]);
  assert.equal(byId.stderr, "Successfully completed 1 item(s) in queue 'jobs'\n");

  const table = await cli.run(["lease", "jobs", "-b", "2"]);
  assert.match(
    table.stdout,
    /^ID +LEASE ID +ATTEMPTS +LEASED UNTIL +KIND +REFERENCE +PAYLOAD\n\w{27} +\w{27} +1 .* b\n/,
  );
  assert.equal(table.stderr, "Successfully leased 2 item(s) from queue 'jobs'\n");
  const ids = (await cli.server.list("jobs")).filter((item) => item.is_leased);
  const file = join(temporaryDirectory(t), "ids");
  writeFileSync(file, `${ids.map((item) => item.id).join("\n")}\n`);
  await cli.ok(["complete", "jobs", "--file", file]);

  const lines = await cli.ok(["lease", "jobs", "-o", "ndjson"]);
  assert.equal(ndjson(lines)[0].queue_name, "jobs");
  await cli.ok(["complete", "jobs", "--file", "-"], { input: lines });
  assert.equal((await cli.json("stats", "jobs")).total, 0);

  const again = await cli.run(["complete", "jobs", id]);
  assert.equal(again.code, 3);
  assert.match(
    again.stderr,
    /^Error: lease has ended; '\w{27}' .*\nA lease id is what lease wrote/,
  );
  const none = await cli.run(["complete", "jobs"]);
  assert.equal(none.code, 2);
  const odd = await cli.run(["complete", "jobs", "--file", "-"], { input: "{}" });
  assert.equal(odd.code, 2);
  assert.match(
    odd.stderr,
    /^Error: line 1: this is neither an id nor the JSON of an item with 'lease_id'\n/,
  );
});

test("a file of ids that cannot be meant is wrong use, and it is said where it is wrong", async (t) => {
  const cli = await setup(t);
  const file = join(temporaryDirectory(t), "ids");
  const rows: [string | Uint8Array, RegExp][] = [
    [Buffer.of(0x61, 0x0a, 0xff, 0x0a), /^Error: line 2 of '.*\/ids': it is not valid UTF-8\n$/],
    ["a\n\n{}", /^Error: line 3 of '.*\/ids': this is neither an id nor the JSON of an item/],
  ];
  for (const [content, pattern] of rows) {
    writeFileSync(file, content);
    for (const command of [
      ["complete"],
      ["retry"],
      ["extend", "--for", "1m"],
      ["items", "delete", "-y"],
    ]) {
      const { code, stderr } = await cli.run([...command, "jobs", "--file", file]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, pattern);
    }
  }
});

test("an id that is named twice is completed or given back once", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "a", "b");
  const [a, b] = ndjson(await cli.ok(["lease", "jobs", "-b", "2", "-o", "ndjson"]));
  const back = await cli.run(["retry", "jobs", b.lease_id, b.lease_id]);
  assert.equal(back.stderr, "Successfully gave back 1 item(s) in queue 'jobs'\n");
  const input = `${a.lease_id}\n${JSON.stringify({ lease_id: a.lease_id })}\n`;
  const done = await cli.run(["complete", "jobs", a.lease_id, "--file", "-"], { input });
  assert.equal(done.stderr, "Successfully completed 1 item(s) in queue 'jobs'\n");
  assert.equal((await cli.json("stats", "jobs")).total, 1);
});

test("more ids than a request holds are ended in pieces, and it is told how far that came", async (t) => {
  const cli = await setup(t);
  await cli.ok(["produce", "jobs", "--lines"], { input: "x\n".repeat(3_000) });
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    ids.push(...(await cli.server.lease("jobs", 1_000)).items.map(({ id }: { id: string }) => id));
  }
  await cli.ok(["complete", "jobs", ids[1_500]!, ids[1_600]!]);
  const back = await cli.run(["retry", "jobs", "--file", "-"], { input: ids.join("\n") });
  assert.equal(back.code, 3);
  const [first, second, far, error] = back.stderr.split("\n");
  assert.match(first!, new RegExp(`^${ids[1_500]}: lease has ended; '${ids[1_500]}'`));
  assert.match(second!, new RegExp(`^${ids[1_600]}: lease has ended; `));
  assert.equal(
    far,
    `The first 1,000 of 3,000 items had been given back before this failed, up to ${ids[999]}; the next 1,000 may be as well`,
  );
  assert.match(
    error!,
    /^Error: Of 1000 items of this call 998 were done, another failed: lease has/,
  );
  const none = await cli.run(["complete", "jobs", "--file", "-"], { input: ids.join("\n") });
  assert.match(none.stderr, /\nand 990 items more\nNone of 3,000 items had been completed before /);
  const { code } = await cli.run(["complete", "jobs", "--file", "-"], {
    input: ids.slice(2_000).join("\n"),
  });
  assert.equal(code, 0);
  assert.equal((await cli.server.stats("jobs")).total, 1_998);
});

test("items of several partitions are completed each in its own", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("two", { requested_partitions: 2 });
  await cli.server.produce("two", "a");
  await cli.server.produce("two", "b");
  const input =
    (await cli.ok(["lease", "two", "-o", "ndjson"])) +
    (await cli.ok(["lease", "two", "-o", "ndjson"]));
  const { items } = await cli.json("items", "list", "two", "--state", "leased");
  assert.deepEqual(
    items.map(({ partition = 0 }: { partition?: number }) => partition),
    [0, 1],
  );
  await cli.ok(["complete", "two", "--file", "-"], { input });
  assert.equal((await cli.json("stats", "two")).total, 0);
});

test("retry gives items back at once or at a time, reject gives them up", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("dead");
  await cli.ok(["update", "jobs", "--dead-queue", "dead"]);
  await cli.server.produce("jobs", "now", "later", "dead");
  const { items } = await cli.server.lease("jobs", 3);
  const [now, later, dead] = items.map((item: { id: string }) => item.id);
  await cli.ok(["retry", "jobs", now]);
  await cli.ok(["retry", "jobs", later, "--delay", "1h"]);
  const { stderr } = await cli.run(["reject", "jobs", dead]);
  assert.match(stderr, /^Successfully gave up 1 item\(s\)/);
  const waiting = await cli.server.list("jobs");
  assert.deepEqual(payloads({ items: waiting }), ["now"]);
  assert.equal(waiting[0].attempts, 1);
  assert.deepEqual(payloads({ items: await cli.server.list("jobs", "scheduled") }), ["later"]);
  assert.deepEqual(payloads({ items: await cli.server.list("dead") }), ["dead"]);
  const both = ["--at", "2030-01-31T12:00:00Z", "--delay", "1h"];
  assert.equal((await cli.run(["retry", "jobs", now, ...both])).code, 2);
});

test("retry says how many items died of it", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("once", { max_attempts: 1 });
  await cli.server.produce("once", "a");
  const [item] = ndjson(await cli.ok(["lease", "once", "-o", "ndjson"]));
  const { code, stderr } = await cli.run(["retry", "once", item.lease_id]);
  assert.equal(code, 0);
  assert.match(stderr, /^1 item will not be tried again, for attempts or time were over/);
});

test("release gives items back at once or later, and counts no attempt", async (t) => {
  const cli = await setup(t);
  await cli.ok(["update", "jobs", "--max-attempts", "1"]);
  await cli.server.produce("jobs", "now", "later", "leased");
  const { items } = await cli.server.lease("jobs", 3);
  const [now, later, leased] = items.map((item: { id: string }) => item.id);
  const { stderr } = await cli.run(["release", "jobs", now]);
  assert.equal(stderr, "Successfully released 1 item(s) in queue 'jobs'\n");
  await cli.ok(["release", "jobs", "--file", "-", "--delay", "1h"], { input: `${later}\n` });
  const list = await cli.server.list("jobs");
  const waiting = list.filter((item) => !item.is_leased);
  assert.deepEqual(payloads({ items: waiting }), ["now"]);
  assert.equal(waiting[0].attempts, undefined);
  const scheduled = await cli.server.list("jobs", "scheduled");
  assert.deepEqual(payloads({ items: scheduled }), ["later"]);
  assert.equal(scheduled[0].attempts, undefined);
  const gone = await cli.run(["release", "jobs", now]);
  assert.equal(gone.code, 3);
  const both = await cli.run([
    "release",
    "jobs",
    leased,
    "--at",
    "2030-01-01T00:00:00Z",
    "--delay",
    "1h",
  ]);
  assert.equal(both.code, 2);
  // A server of /v1 does nothing, and says so.
  const env = { QUERATOR_ENDPOINT: await startOldServer(t, cli.server.server.address) };
  const old = await cli.run(["release", "jobs", leased], { env });
  assert.equal(old.code, 1);
  assert.match(
    old.stderr,
    /^Error: The server, or a proxy before it, knows \/v1 only, which has no /,
  );
  assert.equal((await cli.server.stats("jobs")).total_leased, 1);
  assert.equal((await cli.json("stats", "jobs")).total_leased, 1);
  assert.match(await cli.ok(["stats", "jobs"], { env }), /WAITING/);
});

test("a lease that finds nothing ends with 5; for programs the answer is there all the same", async (t) => {
  const cli = await setup(t);
  const { code, stdout, stderr } = await cli.run([
    "lease",
    "jobs",
    "--timeout",
    "20ms",
    "-o",
    "json",
  ]);
  assert.equal(code, 5);
  assert.deepEqual(JSON.parse(stdout), { queue_name: "jobs", items: [] });
  assert.equal(stderr, "Error: no items are in queue 'jobs', waited 20ms\n");
});

test("produce --lines keeps every byte of a line, whatever it is", async (t) => {
  const cli = await setup(t);
  const lines = ["\xff\xfe", "a\rb", "a\u2028b", "", "\r", "end"].map((line, i) =>
    i === 0 ? Buffer.from(line, "latin1") : Buffer.from(line),
  );
  const input = Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")])).subarray(0, -1);
  const { stderr } = await cli.run(["produce", "jobs", "--lines"], { input });
  assert.equal(stderr, "Successfully produced 6 items\n");
  const listed = (await cli.server.list("jobs")).map(({ payload = "" }) => payload);
  lines[4] = Buffer.alloc(0); // that was the end of a line of another system
  assert.deepEqual(
    listed,
    lines.map((line) => line.toString("base64")),
  );
  const bad = await cli.run(["produce", "jobs", "--ndjson"], {
    input: Buffer.of(0x22, 0xff, 0x0a),
  });
  assert.equal(bad.code, 1);
  assert.match(bad.stderr, /Error: line 1: it is not valid UTF-8/);
});

test("produce tells which lines may be there if their answer is lost", async (t) => {
  const cli = await setup(t);
  const requests: string[] = [];
  const broken = createServer((request, response) => {
    requests.push(request.url!);
    if (requests.length > 1) request.socket.destroy();
    else {
      const results = Array(1_000).fill({ id: "an id", status: "created" });
      request.resume().on("end", () => response.end(JSON.stringify({ results })));
    }
  });
  await once(broken.listen(0, "127.0.0.1"), "listening");
  t.after(() => broken.close());
  const endpoint = `http://127.0.0.1:${(broken.address() as AddressInfo).port}`;
  const { code, stderr } = await cli.run(["produce", "jobs", "--lines"], {
    env: { QUERATOR_ENDPOINT: endpoint },
    input: "x\n".repeat(1_500),
  });
  assert.equal(code, 4);
  assert.match(
    stderr,
    /^1,000 items had been produced before this failed; those of lines 1001 to 1500 may be there as well\n/,
  );
});

test("a produce that the server holds back ends at once on SIGTERM", async (t) => {
  const cli = await setup(t);
  await cli.server.ok("dev.pause", { queue_name: "jobs" });
  const child = cli.start(["produce", "jobs", "-p", "x", "--timeout", "10m"]);
  const result = finish(child);
  await cli.server.until(async () => (await cli.server.stats("jobs")).in_flight === 1);
  child.kill("SIGTERM");
  assert.deepEqual(await result, { code: 143, stdout: "", stderr: "" });
  await cli.server.ok("dev.resume", { queue_name: "jobs" });
});

test("a lease that waits ends with 130 on SIGINT, and the server forgets it", async (t) => {
  const cli = await setup(t);
  const child = cli.start(["lease", "jobs", "--timeout", "10m"]);
  const result = finish(child);
  await cli.server.until(async () => (await cli.server.stats("jobs")).lease_waiting === 1);
  child.kill("SIGINT");
  assert.deepEqual(await result, { code: 130, stdout: "", stderr: "" });
  await cli.server.until(async () => !(await cli.server.stats("jobs")).lease_waiting);
});

test("complete produces what is to be done next in the same transaction", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("next");
  await cli.ok(["produce", "jobs", "-p", "a", "--unique-key", "k"]);
  const leased = await cli.ok(["lease", "jobs", "-o", "ndjson"]);
  const [{ lease_id }] = ndjson(leased);
  const lines = [
    '{"queue_name":"next","json":{"n":1}}',
    '{"utf8":"b","unique_key":"k"}',
    "",
    '{"queue_name":"next","utf8":"later","delay":"1h"}',
  ];
  const wrong = ['{"queue_name":7,"utf8":"x"}', '{"queu":"next"}', ""].map((input) =>
    cli.run(["complete", "jobs", lease_id, "--produce", "-"], { input }),
  );
  for (const { code, stderr } of await Promise.all(wrong)) assert.notEqual(code, 0, stderr);
  const complete = ["complete", "jobs", lease_id, "--produce", "-", "-o", "ndjson"];
  const told = ndjson(await cli.ok(complete, { input: lines.join("\n") }));
  assert.deepEqual(
    told.map(({ status }) => status),
    ["created", "created", "scheduled"],
  );
  const [own] = ndjson(await cli.ok(["items", "list", "jobs", "-o", "ndjson"]));
  assert.deepEqual([own.id, own.utf8, own.unique_key], [told[1]!.id, "b", "k"]);
  const [next] = ndjson(await cli.ok(["items", "list", "next", "-o", "ndjson"]));
  assert.deepEqual([next.id, next.json], [told[0]!.id, { n: 1 }]);
});
