// The verbs for single items: items get|cancel|update|wait|explain, and what items list filters.

import assert from "node:assert/strict";
import { test } from "node:test";
import { finish, ndjson, setup } from "./setup.ts";

test("an item is shown, explained, changed and cancelled by its id", async (t) => {
  const cli = await setup(t);
  const produce = { queue_name: "jobs", items: [{ json: { n: 1 }, kind: "mail" }] };
  const { results } = await cli.server.ok("/v2/queue.produce", produce);
  const { id } = results[0];
  const shown = await cli.ok(["items", "get", id]);
  assert.match(shown, /^id +\w{27}\nqueue +jobs\nstate +waiting\n/);
  assert.match(shown, /\nkind +mail\npayload +\{"n":1\}\n$/);
  assert.deepEqual((await cli.json("items", "get", id, "-q", "jobs")).json, { n: 1 });
  const why = await cli.json("items", "explain", id);
  assert.deepEqual(
    [why.id, why.state, why.reasons.map(({ code }: { code: string }) => code)],
    [id, "waiting", ["no_consumer", "in_line"]],
  );
  assert.match(await cli.ok(["items", "explain", id]), /\nitems before it +0\n/);

  const changed = await cli.run(["items", "update", id, "--delay", "1h", "--json", '{"n":2}']);
  assert.match(changed.stderr, new RegExp(`^Changed item '${id}'; it is scheduled until .*\n$`));
  assert.deepEqual((await cli.json("items", "get", id)).json, { n: 2 });
  const refused = await cli.run(["items", "update", id, "--delay", "0s", "--if-state", "waiting"]);
  assert.deepEqual([refused.code, refused.stdout], [1, ""]);
  assert.match(refused.stderr, /scheduled/);
  await cli.ok(["items", "update", id, "--delay", "0s"]);

  const asked = await cli.run(["items", "cancel", id]);
  assert.equal(asked.code, 2);
  const [leased] = (await cli.server.lease("jobs")).items;
  const marked = await cli.run(["items", "cancel", id, "--yes"]);
  assert.equal(marked.stderr, `Item '${id}' is leased, and ends with its lease\n`);
  assert.match(await cli.ok(["items", "get", id]), /\nstate +leased, cancelled\n/);
  await cli.server.complete("jobs", [leased.id]);
  assert.equal((await cli.run(["items", "get", id])).code, 3);
});

test("an item of a dead queue tells why, where and when it died, and a list does", async (t) => {
  const cli = await setup(t);
  await cli.server.createQueue("dead");
  await cli.server.ok("/v2/queues.update", { queue_name: "jobs", dead_queue: "dead" });
  const own = { unique_key: "k", max_attempts: 3, expire_in: "never" };
  const item = { json: 1, headers: { tenant: "acme" }, ...own };
  const produce = { queue_name: "jobs", items: [item] };
  const { id } = (await cli.server.ok("/v2/queue.produce", produce)).results[0];
  const waiting = await cli.ok(["item", "get", id]);
  assert.match(waiting, /\nattempts +0 of 3\n/);
  assert.match(waiting, /\nexpires +never\nunique key +k\nheaders +\{"tenant":"acme"\}\n/);
  const { items } = await cli.server.ok("/v2/queue.lease", { queue_name: "jobs" });
  const why = ["--error", "no such customer", "--error-type", "Lookup"];
  await cli.ok(["reject", "jobs", items[0].lease_id, ...why]);
  assert.match(
    await cli.ok(["item", "get", id]),
    /\nlast error +Lookup: no such customer\ndied in +jobs \(rejected\)\ndied +\S+ \S+Z\ntried there +1 time\nfingerprint +\w{16}\n/,
  );
  const list = await cli.ok(["items", "list", "dead", "--state", "dead"]);
  assert.match(
    list,
    /DIED .* FROM +REASON +ERROR +PAYLOAD\n.* jobs +rejected +Lookup: no such customer +1\n$/,
  );
});

test("what has ended is listed with its result, or its error", async (t) => {
  const cli = await setup(t);
  await cli.server.ok("/v2/queues.update", { queue_name: "jobs", keep_completed: "1h" });
  await cli.server.produce("jobs", "a", "b");
  const lease = { queue_name: "jobs", batch_size: 2 };
  const { items } = await cli.server.ok("/v2/queue.lease", lease);
  await cli.ok(["complete", "jobs", items[0].lease_id, "--result", '{"sent":1}']);
  await cli.ok(["reject", "jobs", items[1].lease_id, "--error", "no"]);
  assert.match(
    await cli.ok(["items", "list", "jobs", "--state", "completed"]),
    / ENDED .* RESULT\n.* \{"sent":1\}\n$/,
  );
  assert.match(
    await cli.ok(["items", "list", "jobs", "--state", "rejected"]),
    / ENDED .* ERROR\n.* no\n$/,
  );
});

test("who asks for an item that is not there is told why that may be", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", "a");
  const unknown = (await cli.json("items", "list", "jobs")).items[0].id;
  await cli.ok(["items", "cancel", unknown, "--yes"]);
  const { code, stderr } = await cli.run(["items", "get", unknown]);
  assert.equal(code, 3);
  assert.match(
    stderr,
    /\nWhat has ended is there only if its queue keeps it: see --keep-completed/,
  );
});

test("items update wants something to change, and one of what cannot be both", async (t) => {
  const cli = await setup(t);
  for (const args of [
    [],
    ["--delay", "1h", "--at", "2100-01-01T00:00:00Z"],
    ["-p", "a", "--json", "1"],
    ["--json", "{"],
    ["--delay", "-1h"],
    ["--if-state", "leased"],
  ]) {
    const { code } = await cli.run(["items", "update", "3MYU1bRy3722FDmQTN000000001", ...args]);
    assert.equal(code, 2, args.join(" "));
  }
});

test("items wait ends when the item has", async (t) => {
  const cli = await setup(t);
  const keep = { queue_name: "jobs", keep_completed: "1h" };
  await cli.server.ok("/v2/queues.update", keep);
  const produce = { queue_name: "jobs", items: [{ utf8: "a" }] };
  const { results } = await cli.server.ok("/v2/queue.produce", produce);
  const { id } = results[0];
  const waiting = await cli.json("items", "wait", id, "--timeout", "10ms");
  assert.equal(waiting.state, "waiting");
  const [leased] = (await cli.server.lease("jobs")).items;
  const ended = finish(cli.start(["items", "wait", id, "--timeout", "5m", "-o", "json"]));
  await cli.server.complete("jobs", [leased.id]);
  const { code, stdout } = await ended;
  assert.deepEqual([code, JSON.parse(stdout).state], [0, "completed"]);
});

test("items list filters, and never cuts what a pipe reads", async (t) => {
  const cli = await setup(t);
  await cli.server.produce("jobs", ...Array.from({ length: 250 }, (_, i) => `${i}`));
  const produce = { queue_name: "jobs", items: [{ utf8: "m", kind: "mail", reference: "r" }] };
  await cli.server.ok("/v2/queue.produce", produce);
  const list = async (...args: string[]) =>
    ndjson(await cli.ok(["items", "list", "jobs", "-o", "ndjson", ...args]));
  assert.equal((await list()).length, 251);
  assert.equal((await list("--limit", "3")).length, 3);
  for (const args of [
    ["--kind", "mail"],
    ["--reference", "r"],
    ["--order", "newest", "--limit", "1"],
  ]) {
    assert.deepEqual(
      (await list(...args)).map(({ utf8 }) => utf8),
      ["m"],
      args.join(" "),
    );
  }
  assert.deepEqual(await list("--older-than", "1h"), []);
  assert.equal((await list("--newer-than", "1h", "--state", "waiting")).length, 251);
  assert.deepEqual(await list("--state", "completed"), []);
});

test("JSON that is given goes to the server as it stands, every digit and space of it", async (t) => {
  const cli = await setup(t);
  const json = '{"a": 1.0,  "b":[12345678901234567890, 1e2]}';
  // What the server keeps is what it was sent: it is looked for in the text of its reply.
  const textOf = async (id: string): Promise<string> => {
    const body = JSON.stringify({ id, payload: true });
    const headers = { "content-type": "application/json" };
    const url = `${cli.endpoint}/v2/item.get`;
    return (await fetch(url, { method: "POST", headers, body })).text();
  };
  await cli.server.ok("/v2/queues.update", { queue_name: "jobs", keep_completed: "1h" });
  const made = await cli.json("produce", "jobs", "--json", "--payload", json);
  const { id } = made.results[0];
  assert.ok((await textOf(id)).includes(`"json":${json}`), "produce");
  await cli.ok(["items", "update", id, "-p", "other"]);
  await cli.ok(["items", "update", id, "--json", json]);
  assert.ok((await textOf(id)).includes(`"json":${json}`), "items update");
  const [leased] = (await cli.server.ok("/v2/queue.lease", { queue_name: "jobs" })).items;
  const told = await cli.run(["extend", "jobs", leased.lease_id, "--progress", json]);
  assert.deepEqual(
    [told.code, told.stderr],
    [0, "Successfully extended 1 item(s) in queue 'jobs'\n"],
  );
  assert.ok((await textOf(id)).includes(`"progress":${json}`), "extend");
  const [shown] = (await cli.json("extend", "jobs", leased.lease_id, "--progress", "1.0")).results;
  assert.equal(shown.ok, true);
  await cli.ok(["extend", "jobs", leased.lease_id, "--progress", "2", "--for", "5m"]);
  assert.ok((await textOf(id)).includes('"progress":2'), "extend with a time");
  for (const args of [[], ["--progress", "{"]]) {
    assert.equal((await cli.run(["extend", "jobs", leased.lease_id, ...args])).code, 2);
  }
  await cli.ok(["complete", "jobs", leased.lease_id, "--result", json]);
  assert.ok((await textOf(id)).includes(`"result":${json}`), "complete");
});
