// What Prometheus reads: that its form is right, that numbers are those of what was done, whatever becomes of queues,
// and that nobody reads what they may not.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, type TestContext, test } from "node:test";
import { FAMILIES } from "../../src/observe/families.ts";
import { parse, type Scrape } from "../support/exposition.ts";
import { ADMIN_KEY, setup, setupClosed, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

interface Got {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

async function get(
  server: TestServer,
  path: string,
  { key, accept, at = server.server.address }: { key?: string; accept?: string; at?: string } = {},
): Promise<Got> {
  const response = await fetch(`${at}${path}`, {
    headers: {
      ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
      ...(accept === undefined ? {} : { Accept: accept }),
    },
  });
  const type = response.headers.get("content-type") ?? "";
  return { status: response.status, type, text: await response.text() };
}

async function scrape(server: TestServer, path = "/metrics", key?: string): Promise<Scrape> {
  const { status, text } = await get(server, path, key === undefined ? {} : { key });
  assert.equal(status, 200, text);
  return parse(text);
}

/** What was counted of items, and is not 0, by what comes behind `querator_items_`. */
function counted(of: Scrape, start = "querator_items_", labels = {}): Record<string, number> {
  const found: Record<string, number> = {};
  for (const name of of.families.keys()) {
    if (!name.startsWith(start) || !name.endsWith("_total")) continue;
    for (const { labels: own, value } of of.all(name)) {
      if (!Object.entries(labels).every(([key, text]) => own[key] === text)) continue;
      const what = name.slice(start.length, -"_total".length);
      if (value !== 0) found[own.reason === undefined ? what : `${what} ${own.reason}`] = value;
    }
  }
  return found;
}

async function createIn(server: TestServer, namespace: string, queue_name: string, key = "") {
  const { status } = await fetch(`${server.server.address}/v2/queues.create`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-Querator-Namespace": namespace,
      ...(key && { Authorization: `Bearer ${key}` }),
    },
    body: JSON.stringify({ queue_name }),
  });
  assert.equal(status, 200);
}

async function lease(server: TestServer, count: number, queue = "q"): Promise<object[]> {
  const { items } = await server.ok("/v2/queue.lease", { queue_name: queue, batch_size: count });
  assert.equal(items.length, count);
  return items.map(({ lease_id }: { lease_id: string }) => ({ lease_id }));
}

async function end(server: TestServer, verb: string, leases: object[]): Promise<void> {
  const reply = await server.ok(`/v2/queue.${verb}`, { queue_name: "q", leases });
  assert.equal(reply.failed, undefined);
}

// Every outcome that an item can have; what the counters of all queues are to be afterwards.
async function history(server: TestServer): Promise<Record<string, number>> {
  await server.createQueue("dead");
  await server.createQueue("q", { dead_queue: "dead", max_attempts: 1 });
  await server.advance("0s");
  const items = Array.from({ length: 9 }, (_, i) => ({ utf8: String(i) }));
  await server.ok("/v2/queue.produce", { queue_name: "q", items });
  const twice = [{ utf8: "u", unique_key: "u" }];
  await server.ok("/v2/queue.produce", { queue_name: "q", items: twice });
  await server.ok("/v2/queue.produce", { queue_name: "q", items: twice });
  await server.ok("/v2/queue.produce", {
    queue_name: "q",
    items: [
      { utf8: "later", delay: "20h" },
      { utf8: "over", expire_in: "1m" },
    ],
  });
  const leases = await lease(server, 8);
  await server.advance("2s");
  await end(server, "complete", leases.slice(0, 3));
  await end(server, "release", [leases[3]!]);
  await end(server, "extend", [{ ...leases[4]!, for: "2m" }]);
  await end(server, "reject", [leases[5]!]);
  await end(server, "retry", [leases[6]!]); // its only attempt
  const listed = await server.ok("/v2/items.list", { queue_name: "q", state: "scheduled" });
  await server.ok("/v2/item.cancel", { queue_name: "q", id: listed.items[0].id });
  return {
    produced: 12,
    deduplicated: 1,
    leased: 8,
    completed: 3,
    released: 1,
    extended: 1,
    cancelled: 1,
    moved: 2,
    received: 2,
    "dead rejected": 1,
    "dead attempts": 1,
  };
}

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<[TestServer, () => Promise<TestServer>]> => {
    const options = { threads, ...(await freshPlace(t, driver)) };
    const server = await setup(t, options);
    return [
      server,
      async () => {
        await server.server.stop();
        return setup(t, options);
      },
    ];
  };

  describe(`metrics, on ${place}`, () => {
    test("tell what has become of items, also of queues that are gone, and begin anew with a start", async (t) => {
      const [server, restart] = await start(t);
      const expected = await history(server);
      const seen = await scrape(server);
      assert.deepEqual(counted(seen), expected);
      const gauges = {
        queues: 2,
        partitions: 2,
        partitions_failing: 0,
        items_waiting: 6,
        items_leased: 2,
        items_scheduled: 0,
        items_held: 0,
        items_dead: 2,
        consumers_waiting: 0,
        serving: 1,
        threads,
      };
      const oldest = seen.value("querator_oldest_item_age_seconds")!;
      assert.ok(Math.abs(oldest - 2) < 0.5, String(oldest));
      for (const [name, value] of Object.entries(gauges)) {
        assert.equal(seen.value(`querator_${name}`), value, name);
      }
      // Of what is read ahead nothing is promised.
      assert.ok([4, 5, 6].includes(seen.value("querator_items_ready")!));
      assert.equal(seen.value("querator_item_wait_seconds_count"), 8);
      assert.ok(seen.value("querator_item_wait_seconds_sum")! < 0.5);
      assert.equal(seen.value("querator_item_run_seconds_count"), 5);
      // The clocks of threads are not set in the same moment.
      const ran = seen.value("querator_item_run_seconds_sum")!;
      assert.ok(Math.abs(ran - 10) < 0.5, String(ran));
      assert.equal(seen.value("querator_item_run_seconds_bucket", { le: "1.048576" }), 0);
      assert.equal(seen.value("querator_item_run_seconds_bucket", { le: "4.194304" }), 5);
      for (const name of ["commit_seconds", "commit_changes"]) {
        const counts = seen.all(`querator_${name}_count`).map(({ value }) => value);
        assert.ok(Math.max(...counts) > 5, name);
      }
      assert.ok(seen.value("querator_turn_seconds_count")! > 5);
      // Each commit of SQLite has reached the disk by itself, and no other storage tells of that.
      const syncs = seen.all("querator_sync_seconds_count").map(({ value }) => value);
      assert.equal(syncs.length, driver === "sqlite" ? threads : 0);
      if (driver === "sqlite") assert.ok(Math.max(...syncs) > 5, String(syncs));

      // What has no lease any more, and what nobody took in time.
      await server.advance("3m");
      const ended = { ...expected, lease_ends: 2, moved: 5, received: 5 };
      const later = { ...ended, "dead attempts": 3, "dead expired": 1 };
      await server.until(async () => (await scrape(server)).value("querator_items_dead") === 5);
      assert.deepEqual(counted(await scrape(server)), later);

      await server.ok("/v2/queues.delete", { queue_name: "q" });
      const gone = await scrape(server);
      assert.deepEqual(counted(gone), later);
      assert.equal(gone.value("querator_queues"), 1);
      assert.equal(gone.value("querator_items_waiting"), 5);

      if (driver === "memory") return;
      const again = await restart();
      await again.advance("1h");
      const after = await scrape(again);
      assert.deepEqual(counted(after), {});
      assert.equal(after.value("querator_items_waiting"), 5);
      // Nobody has leased since the start: storage is asked how old they are, and nobody waits for that.
      await again.until(
        async () => (await scrape(again)).value("querator_oldest_item_age_seconds")! > 0,
      );
    });

    test("tell of queues by themselves, those first that have most to do", async (t) => {
      const [server] = await start(t);
      for (const [queue, count] of [
        ["a", 1],
        ["b", 3],
        ["c", 2],
      ] as const) {
        await server.createQueue(queue);
        const items = Array.from({ length: count }, () => ({ utf8: queue }));
        await server.ok("/v2/queue.produce", { queue_name: queue, items });
      }
      await lease(server, 1, "b");
      const names = (of: Scrape): string[] =>
        of.all("querator_queue_items_waiting").map(({ labels }) => labels.queue!);
      assert.deepEqual(names(await scrape(server, "/metrics/queues")), ["b", "c", "a"]);
      const two = await scrape(server, "/metrics/queues?top=2");
      assert.deepEqual(names(two), ["b", "c"]);
      assert.equal(two.value("querator_queues_left_out"), 0);
      const labels = { namespace: "_system", queue: "b" };
      assert.deepEqual(counted(two, "querator_queue_items_", labels), { produced: 3, leased: 1 });
      assert.equal(two.value("querator_queue_items_leased", labels), 1);
      assert.equal(two.value("querator_queue_wait_seconds_count", labels), 1);
      assert.equal(two.value("querator_queue_consumers_needed", labels), 1);
      const none = { namespace: "_system", queue: "a" };
      assert.equal(two.value("querator_queue_items_waiting", none), undefined);
    });
  });
}

test("requests are counted by what they call and by their status, errors by their code", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  for (let i = 0; i < 3; i++) await server.produce("q", "x");
  await server.ok("/v2/queue.produce", { queue_name: "q", items: [{ utf8: "x" }] });
  await server.call("/v2/queue.produce", { queue_name: "none", items: [{ utf8: "x" }] });
  await server.call("/v2/nothing", {});
  // By the other reader, before the endpoint is asked.
  const url = `${server.server.address}/v2/queue.produce`;
  const refused = await fetch(url, {
    method: "POST",
    body: "x",
    headers: { "Content-Type": "a/b" },
  });
  assert.equal(refused.status, 415);
  const seen = await scrape(server);
  const requests = (method: string, code: string): number | undefined =>
    seen.value("querator_http_requests_total", { method, code });
  assert.equal(requests("produce", "200"), 4);
  assert.equal(requests("produce", "404"), 1);
  assert.equal(requests("produce", "415"), 1);
  assert.equal(requests("other", "404"), 1);
  const took = (code: string): number | undefined =>
    seen.value("querator_http_request_seconds_count", { method: "produce", code });
  assert.deepEqual([took("200"), took("404"), took("415")], [4, 1, 1]);
  assert.equal(seen.value("querator_errors_total", { code: "queue_not_found" }), 1);
  assert.equal(seen.value("querator_errors_total", { code: "no_such_method" }), 1);
  assert.ok(seen.value("querator_http_connections")! > 0);
  // The page is counted once it is answered.
  const next = await scrape(server);
  assert.equal(next.value("querator_http_requests_total", { method: "page", code: "200" }), 1);
});

test("who waits for items is told, and how many consumers are needed", async (t) => {
  const server = await setup(t);
  await server.createQueue("q");
  await server.advance("0s");
  const waits = server.lease("q");
  const labels = { namespace: "_system", queue: "q" };
  await server.until(async () => (await scrape(server)).value("querator_consumers_waiting") === 1);
  const idle = await scrape(server, "/metrics/queues");
  assert.equal(idle.value("querator_queue_consumers_waiting", labels), 1);
  assert.equal(idle.value("querator_queue_consumers_needed", labels), 0);
  await server.produce("q", "x");
  const { items } = await waits;
  await server.advance("16s");
  await server.complete("q", [items[0].id]);
  // Of 60 that wait each takes 16 s, and one a second came.
  const many = Array.from({ length: 60 }, () => "x");
  await server.produce("q", ...many);
  await server.advance("44s");
  const seen = await scrape(server, "/metrics/queues");
  const needed = seen.value("querator_queue_consumers_needed", labels)!;
  assert.ok(needed >= 30 && needed <= 36, String(needed));
});

test("both forms are understood, and names and labels are escaped", async (t) => {
  const server = await setup(t);
  const name = 'a"b\\c,d={}';
  await server.createQueue(name);
  await server.produce(name, "x");
  const accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.3";
  for (const path of ["/metrics", "/metrics/queues"]) {
    const plain = await get(server, path);
    assert.equal(plain.type, "text/plain; version=0.0.4; charset=utf-8");
    const open = await get(server, path, { accept });
    assert.equal(open.type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    const [one, other] = [parse(plain.text), parse(open.text, "openmetrics")];
    assert.deepEqual([...one.families.keys()], [...other.families.keys()]);
  }
  const seen = await scrape(server, "/metrics/queues");
  const labels = { namespace: "_system", queue: name };
  assert.equal(seen.value("querator_queue_items_waiting", labels), 1);
});

test("what is asked for is bounded and known", async (t) => {
  const server = await setup(t);
  for (const query of ["top=0", "top=1001", "top=x", "top=1&top=2", "all=1", "namespace=a~b"]) {
    const { status, text } = await get(server, `/metrics/queues?${query}`);
    assert.equal(status, 400, `${query}: ${text}`);
  }
  assert.equal((await get(server, "/metrics?top=1")).status, 400);
  assert.equal((await get(server, "/metrics/queues?top=1000")).status, 200);
});

test("many queues with long names make no answer longer than two million bytes", async (t) => {
  const server = await setup(t);
  const queues = Array.from({ length: 5_000 }, (_, i) => ({
    queue_name: `${String(i).padStart(4, "0")}-${"n".repeat(450)}`,
  }));
  for (let i = 0; i < queues.length; i += 100) {
    await server.ok("/v2/queues.apply", { queues: queues.slice(i, i + 100) });
  }
  const { text } = await get(server, "/metrics/queues?top=1000");
  assert.ok(text.length < 2_000_000, String(text.length));
  const seen = parse(text);
  const told = seen.all("querator_queue_items_waiting").length;
  assert.ok(told > 50, String(told));
  assert.equal(seen.value("querator_queues_left_out"), 1_000 - told);
  const whole = await get(server, "/metrics");
  assert.ok(whole.text.length < 100_000, String(whole.text.length));
  assert.equal(parse(whole.text).value("querator_queues"), 5_000);
});

test("queues that the configuration names are told with the server, whatever they have", async (t) => {
  const server = await setup(t, { metricsQueues: "named,missing,acme~own" });
  await server.ok("/v2/namespaces.create", { name: "acme" });
  for (const queue of ["named", "other"]) await server.createQueue(queue);
  await createIn(server, "acme", "own");
  const seen = await scrape(server);
  const told = seen.all("querator_queue_items_waiting").map(({ labels }) => labels);
  assert.deepEqual(told, [
    { namespace: "acme", queue: "own" },
    { namespace: "_system", queue: "named" },
  ]);
});

test("the address for those who run the server has the same", async (t) => {
  const server = await setup(t, { adminAddress: "127.0.0.1:0" });
  const at = server.server.adminAddress!;
  const { status, text } = await get(server, "/metrics", { at });
  assert.equal(status, 200);
  assert.equal(parse(text).value("querator_queues"), 0);
  assert.equal((await get(server, "/metrics/queues", { at })).status, 200);
});

async function keyFor(
  admin: TestServer,
  username: string,
  role_name: string,
  { namespace = "_system", scope = "" } = {},
): Promise<string> {
  const { id: user_id } = await admin.ok("/v2/users.create", { username });
  await admin.ok("/v2/bindings.create", { user_id, role_name, namespace });
  return (await admin.ok("/v2/keys.create", { user_id, ...(scope && { namespace: scope }) })).key;
}

test("who may not know of a server or a queue is told nothing of it", async (t) => {
  const admin = await setupClosed(t, { metricsQueues: "q,acme~q" });
  for (const name of ["acme", "other"]) {
    await admin.ok("/v2/namespaces.create", { name });
    await createIn(admin, name, "q", ADMIN_KEY);
  }
  await admin.createQueue("q");
  for (const path of ["/metrics", "/metrics/queues", "/metrics/queues?namespace=acme"]) {
    assert.equal((await get(admin, path)).status, 401, path);
    assert.equal((await get(admin, path, { key: `qtr-a-${"b".repeat(43)}` })).status, 401, path);
  }
  const told = async (path: string, key: string): Promise<string[]> =>
    (await scrape(admin, path, key))
      .all("querator_queue_items_waiting")
      .map(({ labels }) => labels.namespace!)
      .sort();
  const all = ["_system", "acme", "other"];

  const viewer = await keyFor(admin, "viewer", "Viewer");
  assert.deepEqual(await told("/metrics/queues", viewer), all);
  assert.deepEqual(await told("/metrics", viewer), ["_system", "acme"]);

  // Bound in one namespace, or with a key for it alone.
  const bound = await keyFor(admin, "bound", "Viewer", { namespace: "acme" });
  const scoped = await keyFor(admin, "scoped", "Viewer", { scope: "acme" });
  for (const key of [bound, scoped]) {
    assert.deepEqual(await told("/metrics/queues", key), ["acme"]);
    assert.deepEqual(await told("/metrics/queues?namespace=acme", key), ["acme"]);
    for (const path of [
      "/metrics",
      "/metrics/queues?namespace=other",
      "/metrics/queues?namespace=_system",
    ]) {
      assert.equal((await get(admin, path, { key })).status, 403, path);
    }
  }

  // Who may know of the server alone.
  const outside = await keyFor(admin, "outside", "PublicViewer");
  assert.deepEqual(await told("/metrics", outside), []);
  assert.equal((await get(admin, "/metrics/queues", { key: outside })).status, 403);
  const producer = await keyFor(admin, "producer", "Producer");
  assert.equal((await get(admin, "/metrics", { key: producer })).status, 403);
});

test("the document has a row for each metric, and no other", () => {
  const text = readFileSync(new URL("../../docs/METRICS.md", import.meta.url), "utf8");
  const rows = [
    ...text.matchAll(/^\| `((?:querator|process)_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$/gm),
  ];
  const documented = rows.map(([, name, type, labels, help]) => [name, type, labels, help]);
  const known = Object.entries(FAMILIES).map(([name, { type, labels = [], help }]) => [
    name,
    type,
    labels.join(", "),
    help,
  ]);
  assert.deepEqual(documented, known);
});
