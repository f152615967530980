// What a queue promises, seen from outside, on every storage that is there.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { payloads, type Reply, setup, type TestServer } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

for (const [place, driver, threads] of PLACES) {
  const start = async (t: TestContext): Promise<TestServer> =>
    setup(t, { threads, ...(await freshPlace(t, driver)) });

  describe(`a queue on ${place}`, () => {
    test("hands items out in the order in which they were produced", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b");
      await server.produce("q", "c");
      assert.deepEqual(payloads(await server.lease("q", 2)), ["a", "b"]);
      assert.deepEqual(payloads(await server.lease("q", 2)), ["c"]);
    });

    test("gives a completed item to nobody again", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a");
      const { items } = await server.lease("q");
      assert.equal((await server.complete("q", [items[0].id])).status, 200);
      const again = await server.complete("q", [items[0].id]);
      assert.equal(again.body.message, `invalid storage id; '${items[0].id}' does not exist`);
      assert.deepEqual(await server.list("q"), []);
      const stats = await server.stats("q");
      assert.equal(stats.total, undefined);
    });

    test("puts an item whose lease has ended to the tail, under a new id", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b");
      const first = await server.lease("q");
      await server.advance("61s");
      const second = await server.until(async () => {
        const items = await server.list("q");
        return items.every((item) => !item.is_leased) && items;
      });
      assert.deepEqual(payloads({ items: second }), ["b", "a"]);
      assert.equal(second[1].attempts, 1);
      const stale = await server.complete("q", [first.items[0].id]);
      assert.match(stale.body.message, /does not exist$/);
      const { items } = await server.lease("q", 2);
      assert.deepEqual(
        items.map((item: { attempts: number }) => item.attempts),
        [1, 2],
      );
    });

    test("wakes a waiting lease when a lease ends", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a");
      await server.lease("q");
      const waiting = server.ok("queue.lease", {
        queue_name: "q",
        request_timeout: "10m",
        batch_size: 1,
        client_id: "waits",
      });
      await server.until(async () => (await server.stats("q")).lease_waiting === 1);
      await server.advance("61s");
      assert.deepEqual(payloads(await waiting), ["a"]);
    });

    test("retries at once to the tail, later when its time has come", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const { now } = await server.advance("0s");
      await server.produce("q", "a", "b", "c");
      const { items } = await server.lease("q", 2);
      const later = new Date(Date.parse(now) + 60_000).toISOString();
      const reply = await server.retry("q", [
        { id: items[0].id },
        { id: items[1].id, retry_at: later },
      ]);
      assert.equal(reply.status, 200);
      assert.deepEqual(payloads({ items: await server.list("q") }), ["c", "a"]);
      const [scheduled] = await server.list("q", "scheduled");
      assert.equal(scheduled.id, items[1].id);
      await server.advance("61s");
      await server.until(async () => (await server.list("q", "scheduled")).length === 0);
      const all = await server.lease("q", 10);
      assert.deepEqual(payloads(all), ["c", "a", "b"]);
      assert.equal(all.items[2].attempts, 2);
    });

    test("treats complete and retry as all or nothing", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b");
      const { items } = await server.lease("q");
      const [, waiting] = await server.list("q");
      const reply = await server.complete("q", [items[0].id, waiting.id]);
      assert.equal(
        reply.body.message,
        `item(s) cannot be completed; '${waiting.id}' is not marked as leased`,
      );
      const retried = await server.retry("q", [{ id: items[0].id }, { id: items[0].id }]);
      assert.equal(retried.body.message, `invalid storage id; '${items[0].id}' does not exist`);
      assert.equal((await server.complete("q", [items[0].id])).status, 200);
    });

    test("fires scheduled items in order of their time, then of production", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const { now } = await server.advance("0s");
      const at = (ms: number): string => new Date(Date.parse(now) + ms).toISOString();
      const items = [
        { utf8: "late", enqueue_at: at(60_000) },
        { utf8: "early 1", enqueue_at: at(30_000) },
        { utf8: "now", enqueue_at: at(50) },
        { utf8: "early 2", enqueue_at: at(30_000) },
      ];
      await server.ok("queue.produce", { queue_name: "q", request_timeout: "1s", items });
      const stats = await server.stats("q");
      assert.equal(stats.total, 1);
      assert.equal(stats.scheduled, 3);
      await server.advance("61s");
      await server.until(async () => (await server.stats("q")).scheduled === undefined);
      assert.deepEqual(payloads(await server.lease("q", 10)), [
        "now",
        "early 1",
        "early 2",
        "late",
      ]);
    });

    test("moves what fails too often to the dead queue, once", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { dead_queue: "dead", max_attempts: 2 });
      await server.ok("queue.produce", {
        queue_name: "q",
        request_timeout: "1s",
        items: [{ utf8: "a", kind: "k", reference: "r", encoding: "e" }],
      });
      await server.lease("q");
      await server.advance("61s");
      const { items } = await server.lease("q");
      assert.equal(items[0].attempts, 2);
      await server.advance("61s");
      const [letter] = await server.until(async () => {
        const letters = await server.list("dead");
        return letters.length > 0 && letters;
      });
      assert.equal(letter.source_id, items[0].id);
      assert.deepEqual(payloads({ items: [letter] }), ["a"]);
      assert.deepEqual([letter.kind, letter.reference, letter.encoding], ["k", "r", "e"]);
      assert.equal(letter.attempts, undefined);
      assert.deepEqual(await server.list("q"), []);
    });

    test("lets the consumer on the last attempt complete", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { max_attempts: 1 });
      await server.produce("q", "a");
      const { items } = await server.lease("q");
      await server.advance("30s");
      assert.equal((await server.complete("q", [items[0].id])).status, 200);
    });

    test("deletes what fails too often if there is no dead queue", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { max_attempts: 1 });
      await server.produce("q", "a");
      await server.lease("q");
      await server.advance("61s");
      await server.until(async () => (await server.stats("q")).total === undefined);
    });

    test("moves an item to the dead queue when its consumer says so", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { dead_queue: "dead" });
      await server.produce("q", "a", "b");
      const { items } = await server.lease("q", 2);
      const waiting = server.lease("dead");
      const reply = await server.retry("q", [{ id: items[0].id, dead: true }, { id: items[1].id }]);
      assert.equal(reply.status, 200);
      assert.deepEqual(payloads(await waiting), ["a"]);
      assert.deepEqual(payloads({ items: await server.list("q") }), ["b"]);
    });

    test("moves what several consumers give up in one batch, and tells each its own error", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", { dead_queue: "dead" });
      await server.produce("q", "a", "b", "c", "d");
      const { items } = await server.lease("q", 3);
      const [, , , waiting] = await server.list("q");
      await server.ok("dev.pause", { queue_name: "q" });
      const replies: Promise<Reply>[] = [];
      for (const retried of [
        [{ id: items[0].id, dead: true }],
        [
          { id: items[1].id, dead: true },
          { id: waiting.id, dead: true },
        ],
        [{ id: items[2].id, dead: true }, { id: items[1].id }],
      ]) {
        const count = replies.push(server.retry("q", retried));
        await server.until(async () => (await server.stats("q")).complete_waiting === count);
      }
      await server.ok("dev.resume", { queue_name: "q" });
      const [first, second, third] = await Promise.all(replies);
      assert.equal(first!.status, 200);
      assert.equal(
        second!.body.message,
        `item(s) cannot be retried; '${waiting.id}' is not marked as leased`,
      );
      assert.equal(third!.status, 200);
      assert.deepEqual(payloads({ items: await server.list("dead") }), ["a", "c"]);
      assert.deepEqual(payloads({ items: await server.list("q") }), ["d", "b"]);
    });

    test("expires what waits too long, and what was leased when its lease ends", async (t) => {
      const server = await start(t);
      await server.createQueue("dead");
      await server.createQueue("q", {
        dead_queue: "dead",
        expire_timeout: "2m",
        lease_timeout: "2m",
      });
      await server.produce("q", "a", "b");
      await server.advance("60s");
      const { items } = await server.lease("q");
      await server.advance("61s");
      await server.until(async () => (await server.list("dead")).length === 1);
      assert.deepEqual(payloads({ items: await server.list("dead") }), ["b"]);
      assert.equal((await server.list("q"))[0].id, items[0].id);
      await server.advance("60s");
      await server.until(async () => (await server.list("dead")).length === 2);
    });

    test("expires items out of order of production when the time-out was lowered", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "long");
      await server.ok("queues.update", {
        queue_name: "q",
        lease_timeout: "10s",
        expire_timeout: "1m",
      });
      await server.produce("q", "short");
      await server.advance("61s");
      await server.until(async () => (await server.stats("q")).total === 1);
      assert.deepEqual(payloads(await server.lease("q", 5)), ["long"]);
    });

    test("answers a waiting lease when its time is over", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const waiting = server.call("queue.lease", {
        queue_name: "q",
        request_timeout: "1m",
        batch_size: 1,
        client_id: "c",
      });
      await server.until(async () => (await server.stats("q")).lease_waiting === 1);
      await server.advance("61s");
      const { status, body } = await waiting;
      assert.equal(status, 454);
      assert.equal(body.message, "request timeout; no items are in the queue, try again");
    });

    test("refuses a second waiting lease of the same client", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const lease = { queue_name: "q", request_timeout: "1m", batch_size: 1, client_id: "c" };
      const waiting = server.call("queue.lease", lease);
      await server.until(async () => (await server.stats("q")).lease_waiting === 1);
      const { status, body } = await server.call("queue.lease", lease);
      assert.equal(status, 400);
      assert.equal(
        body.message,
        "duplicate client id; a client cannot make multiple leased requests to the same queue",
      );
      await server.produce("q", "a");
      assert.equal((await waiting).status, 200);
    });

    test("gives nothing to a client that has gone", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const gone = new AbortController();
      const lease = { queue_name: "q", request_timeout: "1m", batch_size: 1, client_id: "c" };
      const waiting = server.call("queue.lease", lease, gone.signal).catch(() => undefined);
      await server.until(async () => (await server.stats("q")).lease_waiting === 1);
      gone.abort();
      await waiting;
      await server.until(async () => (await server.stats("q")).lease_waiting === undefined);
      await server.produce("q", "a");
      assert.equal((await server.stats("q")).total_leased, undefined);
      assert.equal((await server.call("queue.lease", lease)).status, 200);
    });

    test("deals items one at a time over the leases that wait", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const ask = (client: string, batch: number): Promise<{ items: object[] }> =>
        server.ok("queue.lease", {
          queue_name: "q",
          request_timeout: "1m",
          batch_size: batch,
          client_id: client,
        });
      const waiting: Promise<{ items: object[] }>[] = [];
      for (const [i, batch] of [20, 6, 1].entries()) {
        waiting.push(ask(`c${i}`, batch));
        await server.until(async () => (await server.stats("q")).lease_waiting === i + 1);
      }
      await server.produce("q", ...Array.from({ length: 23 }, (_, i) => String(i)));
      const counts = (await Promise.all(waiting)).map((reply) => reply.items.length);
      assert.deepEqual(counts, [16, 6, 1]);
    });

    test("spreads items over partitions, and leases over items", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { requested_partitions: 2 });
      for (let i = 0; i < 5; i++) {
        await server.produce("q", ...Array.from({ length: 10 }, (_, k) => `${i}-${k}`));
      }
      const { partitions } = await server.stats("q");
      assert.deepEqual(
        partitions.map((partition: { total: number }) => partition.total),
        [30, 20],
      );
      const leased = await server.lease("q", 100);
      assert.equal(leased.items.length, 30);
      assert.equal(leased.partition, undefined);
      const other = await server.lease("q", 100);
      assert.equal(other.partition, 1);
      assert.equal(other.items.length, 20);
    });

    test("clears what waits, what is leased and what is scheduled, each when asked to", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const { now } = await server.advance("0s");
      const later = new Date(Date.parse(now) + 60_000).toISOString();
      await server.produce("q", "a", "b", "c");
      await server.lease("q");
      await server.ok("queue.produce", {
        queue_name: "q",
        request_timeout: "1s",
        items: [{ utf8: "later", enqueue_at: later }],
      });
      await server.ok("queue.clear", { queue_name: "q", queue: true });
      assert.deepEqual(payloads({ items: await server.list("q") }), ["a"]);
      await server.ok("queue.clear", { queue_name: "q", queue: true, destructive: true });
      assert.deepEqual(await server.list("q"), []);
      assert.equal((await server.list("q", "scheduled")).length, 1);
      await server.ok("queue.clear", { queue_name: "q", scheduled: true });
      assert.equal((await server.list("q", "scheduled")).length, 0);
      await server.produce("q", "d");
      assert.deepEqual(payloads(await server.lease("q", 5)), ["d"]);
    });

    test("imports items as they are, each source once", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const { now } = await server.advance("0s");
      const deadline = new Date(Date.parse(now) + 30_000).toISOString();
      const items = [
        {
          source_id: "s1",
          payload: Buffer.from("a").toString("base64"),
          attempts: 3,
          max_attempts: 7,
        },
        { source_id: "s2", is_leased: true, lease_deadline: deadline, attempts: 1 },
        { source_id: "s1", kind: "again" },
      ];
      const reply = await server.ok("storage/items.import", { queue_name: "q", items });
      assert.equal(reply.items.length, 3);
      assert.equal(reply.items[1].is_leased, true);
      assert.equal(Date.parse(reply.items[1].lease_deadline), Date.parse(deadline));
      const listed = await server.list("q");
      assert.equal(listed.length, 2);
      assert.equal(listed[0].attempts, 3);
      assert.equal(listed[0].max_attempts, 7);
      const { items: leased } = await server.lease("q", 5);
      assert.equal(leased.length, 1);
      assert.equal(leased[0].attempts, 4);
      await server.advance("31s");
      const back = await server.lease("q", 5);
      assert.equal(back.items[0].attempts, 2);
      await server.complete("q", [leased[0].id]);
      await server.ok("storage/items.import", { queue_name: "q", items: [items[0]] });
      assert.equal((await server.list("q")).length, 2);
    });

    test("moves scheduled items with their times, under /v2 only", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { expire_timeout: "2h", max_attempts: 2 });
      await server.createQueue("new", { expire_timeout: "1m", max_attempts: 2 });
      const { now } = await server.advance("0s");
      const at = (ms: number): string => new Date(Date.parse(now) + ms).toISOString();
      const soon = { utf8: "soon", kind: "k", enqueue_at: at(30_000).replace("Z", "125Z") };
      const items = [
        { utf8: "late", enqueue_at: at(3_600_000) },
        soon,
        { ...soon, utf8: "second" },
      ];
      await server.produce("q", "retried");
      const leased = await server.lease("q");
      await server.retry("q", [{ id: leased.items[0].id, retry_at: at(60_000) }]);
      await server.ok("queue.produce", { queue_name: "q", request_timeout: "1s", items });

      const plain = await server.list("q", "scheduled");
      const scheduled = async (queue_name: string) =>
        (await server.ok("/v2/items.list", { queue_name, state: "scheduled", payload: true }))
          .items;
      const due = await scheduled("q");
      assert.deepEqual(
        due.map((item: { enqueue_at: string }) => Date.parse(item.enqueue_at) - Date.parse(now)),
        [60_000, 3_600_000, 30_000, 30_000],
      );
      assert.match(due[2].enqueue_at, /125Z$/); // of its microseconds too nothing is lost
      assert.ok(plain.every((item) => !("enqueue_at" in item)));

      const request = { queue_name: "new", items: due };
      const { results } = await server.ok("/v2/items.import", request);
      assert.deepEqual(
        results.map(({ status }: { status: string }) => status),
        due.map(() => "scheduled"),
      );
      const kept = ({ id: _, created_at: __, ...item }: { id: string; created_at: string }) => item;
      await server.ok("queue.reload", { queue_name: "new" });
      const listed = await scheduled("new");
      assert.deepEqual(listed.map(kept), due.map(kept));
      const idOf = ({ id }: { id: string }): string => id;
      assert.deepEqual(listed.map(idOf), results.map(idOf));
      const stats = await server.stats("new");
      assert.deepEqual([stats.total, stats.scheduled], [undefined, 4]);
      await server.advance("61s");
      await server.until(async () => (await server.stats("new")).scheduled === 1);
      const fired = await server.lease("new", 10);
      assert.deepEqual(payloads(fired), ["soon", "second", "retried"]);
      assert.equal(fired.items[2].attempts, 2);

      // A time that has passed means at once; under /v1 so does every time.
      const again = [{ ...due[1], id: "", enqueue_at: at(0) }];
      await server.ok("/v2/items.import", { queue_name: "new", items: again });
      const { enqueue_at } = due[1];
      const old = { payload: due[1].bytes, enqueue_at };
      await server.ok("storage/items.import", { queue_name: "new", items: [old] });
      assert.deepEqual(payloads(await server.lease("new", 10)), ["late", "late"]);
    });

    test("passes over a scheduled item whose source is there, and releases it with the item", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const item = { source_id: "s", enqueue_at: "2100-01-01T00:00:00Z" };
      const request = { queue_name: "q", items: [item] };
      const scheduled = async (): Promise<number> => (await server.stats("q")).scheduled ?? 0;
      await server.ok("/v2/items.import", request);
      const { results } = await server.ok("/v2/items.import", request);
      const list = { queue_name: "q", state: "scheduled" };
      const [there] = (await server.ok("/v2/items.list", list)).items;
      assert.deepEqual([await scheduled(), results], [1, [{ id: there.id, status: "duplicate" }]]);
      await server.ok("queue.clear", { queue_name: "q", scheduled: true });
      await server.ok("/v2/items.import", request);
      assert.equal(await scheduled(), 1);
    });

    test("answers an import of a known source with the item that is there", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const base64 = (text: string): string => Buffer.from(text).toString("base64");
      const items = ["waits", "comes back", "leased", "scheduled"].map((source_id) => ({
        source_id,
        kind: source_id,
        utf8: `the first of ${source_id}`,
        ...(source_id === "scheduled" ? { enqueue_at: "2100-01-01T00:00:00Z" } : {}),
      }));
      const request = { queue_name: "q", items };
      const statusesOf = ({ results }: { results: { status: string }[] }) =>
        results.map(({ status }) => status);
      const first = await server.ok("/v2/items.import", request);
      assert.deepEqual(statusesOf(first), ["created", "created", "created", "scheduled"]);
      // One comes back under a new id, another stays leased.
      const { items: leased } = await server.lease("q", 3);
      const ids = leased.map(({ id }: { id: string }) => id);
      await server.retry("q", [{ id: ids[1] }, { id: ids[0] }]);

      const lists = ["items.list", "scheduled.list"].map(
        async (list) => (await server.ok(`storage/${list}`, { queue_name: "q" })).items,
      );
      const there = new Map(
        (await Promise.all(lists)).flat().map((item) => [item.source_id, item]),
      );
      assert.equal(there.size, 4);
      const other = items.map((item) => ({ ...item, kind: "other", utf8: "other" }));
      const fresh = { source_id: "new", utf8: "new" };
      const all = [other[2]!, fresh, other[0]!, other[3]!, other[1]!, fresh];
      const reply = await server.ok("/v2/items.import", { queue_name: "q", items: all });
      const known = ["leased", "waits", "scheduled", "comes back"];
      // Those that came back have kept their ids, wherever they lie.
      assert.deepEqual(
        [0, 2, 3, 4].map((i) => reply.results[i].id),
        [2, 0, 3, 1].map((i) => first.results[i].id),
      );
      assert.equal(there.get("leased").is_leased, true);
      assert.deepEqual(
        [there.get("comes back").attempts, there.get("comes back").payload],
        [1, base64("the first of comes back")],
      );
      const duplicate = "duplicate";
      const statuses = [duplicate, "created", duplicate, duplicate, duplicate, duplicate];
      assert.deepEqual(statusesOf(reply), statuses);
      assert.equal(reply.results[5].id, reply.results[1].id);

      // Under /v1 with the same fields as ever, after a restart of the partition too.
      await server.ok("queue.reload", { queue_name: "q" });
      const again = all.map(({ utf8, ...item }) => ({ ...item, payload: base64(utf8) }));
      const plain = await server.ok("storage/items.import", { queue_name: "q", items: again });
      assert.deepEqual(Object.keys(plain), ["items"]);
      assert.deepEqual(
        [0, 2, 3, 4].map((i) => plain.items[i]),
        known.map((source) => there.get(source)),
      );
      assert.ok(!("enqueue_at" in plain.items[3]));
      assert.equal((await server.stats("q")).total, 4);
    });

    test("answers the items of very many known sources, wherever they are", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { requested_partitions: 1 });
      // More than are looked for in one step, half of them scheduled.
      const items = Array.from({ length: 4_500 }, (_, i) => ({
        source_id: `source ${i}`,
        utf8: String(i),
        ...(i % 2 === 0 ? { enqueue_at: "2100-01-01T00:00:00Z" } : {}),
      }));
      const first = await server.ok("/v2/items.import", { queue_name: "q", items });
      const other = items.map((item) => ({ ...item, utf8: "other" })).reverse();
      const again = await server.ok("/v2/items.import", { queue_name: "q", items: other });
      const duplicates = first.results.map(({ id }: { id: string }) => ({
        id,
        status: "duplicate",
      }));
      assert.deepEqual(again.results, duplicates.toReversed());
    });

    test("answers an import with the deadlines that it was given", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const times = {
        lease_deadline: "2100-01-01T00:00:00.123456Z",
        expire_deadline: "2100-01-02T00:00:00.123456Z",
      };
      const items = [times, { ...times, is_leased: true }, {}];
      const reply = await server.ok("storage/items.import", { queue_name: "q", items });
      const deadlines = (of: typeof items): object[] =>
        of.map(({ lease_deadline }: Partial<typeof times>) => ({ lease_deadline }));
      const none = { lease_deadline: "0001-01-01T00:00:00Z" };
      assert.deepEqual(deadlines(reply.items), [...deadlines([times, times]), none]);
      // What is not leased has none.
      assert.deepEqual(deadlines(await server.list("q")), [none, ...deadlines([times]), none]);
      assert.equal((await server.lease("q", 3)).items.length, 2);
    });

    test("keeps times of the farthest years", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { lease_timeout: "2562047h", expire_timeout: "2562047h" });
      const end = "9999-12-31T23:59:59Z";
      await server.ok("queue.produce", {
        queue_name: "q",
        request_timeout: "10s",
        items: [{ utf8: "waits" }, { utf8: "comes late", enqueue_at: end }],
      });
      const items = [
        { expire_deadline: end },
        { is_leased: true, lease_deadline: end, expire_deadline: end },
      ];
      await server.ok("storage/items.import", { queue_name: "q", items });
      assert.equal((await server.lease("q")).items.length, 1);
      await server.ok("queue.reload", { queue_name: "q" });
      const listed = await server.list("q");
      assert.deepEqual(
        listed.map((item) => [item.expire_deadline.slice(0, 4), item.lease_deadline.slice(0, 4)]),
        [
          ["2319", "2319"],
          ["9999", "0001"],
          ["9999", "9999"],
        ],
      );
      assert.equal(listed[1].expire_deadline, end);
      assert.equal((await server.list("q", "scheduled")).length, 1);
      assert.equal((await server.lease("q", 5)).items.length, 1);
    });

    test("deletes items whatever their state, and ignores unknown ids", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      const { now } = await server.advance("0s");
      const later = new Date(Date.parse(now) + 60_000).toISOString();
      await server.produce("q", "a", "b");
      await server.ok("queue.produce", {
        queue_name: "q",
        request_timeout: "1s",
        items: [{ utf8: "c", enqueue_at: later }],
      });
      await server.lease("q");
      const ids = [...(await server.list("q")), ...(await server.list("q", "scheduled"))].map(
        (item) => item.id,
      );
      await server.ok("storage/items.delete", { queue_name: "q", ids });
      await server.ok("storage/items.delete", { queue_name: "q", ids });
      const stats = await server.stats("q");
      assert.deepEqual(
        [stats.total, stats.total_leased, stats.scheduled],
        [undefined, undefined, undefined],
      );
    });

    test("tells under /v2 which items it has deleted", async (t) => {
      const server = await start(t);
      await server.createQueue("q", { requested_partitions: 2 });
      await server.createQueue("other");
      await server.produce("q", "a", "b", "c");
      await server.produce("other", "a");
      await server.lease("q");
      const idsOf = async (queue: string): Promise<string[]> =>
        (await server.list(queue)).map(({ id }) => id);
      const [a, b, c] = (await idsOf("q")) as [string, string, string];
      const [elsewhere] = (await idsOf("other")) as [string];
      const remove = async (queue_name: string, ...ids: string[]): Promise<string[]> => {
        const { results, failed = 0 } = await server.ok("/v2/items.delete", { queue_name, ids });
        const told: string[] = results.map(({ ok, code }: { ok?: true; code: string }) =>
          ok ? "ok" : code,
        );
        assert.equal(failed, told.filter((each) => each !== "ok").length);
        return told;
      };
      const unknown = "item_not_found";
      assert.deepEqual(await remove("q", elsewhere), [unknown]);
      assert.deepEqual(await remove("other", b, "x"), [unknown, "invalid_field"]);
      assert.deepEqual(await remove("q", a, elsewhere, b, a), ["ok", unknown, "ok", unknown]);
      assert.deepEqual(await remove("q", a, c), [unknown, "ok"]);
      assert.deepEqual([await idsOf("q"), await idsOf("other")], [[], [elsewhere]]);
      // /v1 passes over them, as it always did.
      const request = { queue_name: "q", ids: [a, elsewhere] };
      assert.deepEqual(await server.ok("storage/items.delete", request), { code: 200 });
    });

    test("pages through items from a pivot", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a", "b", "c");
      const all = await server.list("q");
      const page = await server.ok("storage/items.list", {
        queue_name: "q",
        pivot: all[1].id,
        limit: 1,
      });
      assert.deepEqual(payloads(page), ["b"]);
      const from = (pivot: string): Promise<object> =>
        server.ok("storage/items.list", { queue_name: "q", pivot });
      assert.equal(payloads(await from("0".repeat(27))).length, 3);
      assert.equal(payloads(await from("aWgEPTl1tmebfsQzFP4bxwgy80V")).length, 0);
    });

    test("holds requests of a paused queue, and answers them when it goes on", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.ok("dev.pause", { queue_name: "q" });
      const produced = server.produce("q", "a");
      await server.until(async () => (await server.stats("q")).produce_waiting === 1);
      assert.equal((await server.stats("q")).in_flight, 1);
      await server.ok("dev.resume", { queue_name: "q" });
      await produced;
    });

    test("answers a request of a paused queue when its time is over, and does not execute it", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.advance("0s");
      await server.ok("dev.pause", { queue_name: "q" });
      const produced = server.call("queue.produce", {
        queue_name: "q",
        request_timeout: "1s",
        items: [{ utf8: "a" }],
      });
      await server.until(async () => (await server.stats("q")).produce_waiting === 1);
      await server.advance("2s");
      assert.equal((await produced).status, 454);
      await server.ok("dev.resume", { queue_name: "q" });
      await server.produce("q", "b");
      assert.deepEqual(payloads({ items: await server.list("q") }), ["b"]);
    });

    test("starts empty when it is created again after a deletion", async (t) => {
      const server = await start(t);
      await server.createQueue("q");
      await server.produce("q", "a");
      await server.ok("queues.delete", { queue_name: "q" });
      await server.createQueue("q");
      assert.deepEqual(await server.list("q"), []);
    });
  });
}
