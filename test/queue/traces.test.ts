// The trace that an item belongs to stays with it, whatever becomes of the item, and is told wherever the item is.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ItemGetRequestSchema, ItemSchema } from "../../src/codec/gen/querator/v2/items_pb.ts";
import {
  QueueLeaseRequestSchema,
  QueueLeaseResponseSchema,
  QueueProduceRequestSchema,
  QueueProduceResponseSchema,
} from "../../src/codec/gen/querator/v2/queue_pb.ts";
import { type Json, World, world } from "../support/items.ts";
import { post } from "../support/post.ts";
import { setup } from "../support/server.ts";
import { freshPlace, PLACES } from "../support/storages.ts";

/** A traceparent like no other. */
const traceOf = (n: number): string =>
  `00-${n.toString(16).padStart(32, "a")}-${n.toString(16).padStart(16, "b")}-01`;

const traces = (items: readonly Json[]): unknown[] => items.map(({ traceparent }) => traceparent);

/** What it tells of its trace. */
const told = ({ traceparent, tracestate }: Json): unknown[] => [traceparent, tracestate];

async function sent(w: World, path: string, body: object, headers: Json): Promise<Json> {
  const url = `${w.server.server.address}/v2/${path}`;
  const { status, text } = await post(url, JSON.stringify(body), { headers });
  assert.equal(status, 200, text);
  return JSON.parse(text);
}

for (const [place, driver, threads] of PLACES) {
  describe(`the trace of an item on ${place}`, () => {
    test("is told through retry, schedule, death and redrive, also after a restart", async (t) => {
      const options = { threads, ...(await freshPlace(t, driver)) };
      let w = new World(await setup(t, options));
      const restart = async (): Promise<void> => {
        if (driver === "memory") return;
        await w.server.server.stop();
        w = new World(await setup(t, options));
      };
      await w.server.createQueue("dead", { requested_partitions: 2 });
      await w.server.createQueue("q", { requested_partitions: 2, dead_queue: "dead" });
      const mine = { traceparent: traceOf(1), tracestate: "a=1,b=2" };
      const [id, later, plain] = (await w.produce(
        "q",
        { utf8: "a", ...mine },
        { utf8: "b", traceparent: traceOf(2), delay: "1h" },
        { utf8: "c" },
      )) as [string, string, string];
      await restart();
      const [first] = await w.lease("q");
      assert.deepEqual([first.id, ...told(first)], [id, traceOf(1), "a=1,b=2"]);
      await w.end("queue.retry", "q", [first.lease_id], { error: { message: "once" } });
      await restart();
      assert.deepEqual(told(await w.get(later)), [traceOf(2), undefined]);
      assert.deepEqual(told(await w.get(plain)), [undefined, undefined]);
      await w.ok("item.update", { id: later, delay: "0s", utf8: "b2" });
      const leased: Json[] = [];
      while (leased.length < 3) leased.push(...(await w.lease("q", 3)));
      const byId = new Map(leased.map((item) => [item.id, item]));
      assert.deepEqual(
        [id, later, plain].map((each) => told(byId.get(each))),
        [
          [traceOf(1), "a=1,b=2"],
          [traceOf(2), undefined],
          [undefined, undefined],
        ],
      );
      const rejected = await w.end(
        "queue.reject",
        "q",
        [id, later].map((each) => byId.get(each).lease_id),
        { error: { message: "twice" } },
      );
      assert.deepEqual(rejected, ["ok", "ok"]);
      await restart();
      const list = { queue_name: "dead" };
      const letters = await w.server.until(async () => {
        const { items = [] } = await w.ok("items.list", list);
        return items.length === 2 && items;
      });
      assert.deepEqual(traces(letters).sort(), [traceOf(1), traceOf(2)]);
      await w.ok("queue.redrive", { queue_name: "dead" });
      const back: Json[] = [];
      while (back.length < 2) back.push(...(await w.lease("q", 2)));
      assert.deepEqual(traces(back).sort(), [traceOf(1), traceOf(2)]);
      assert.deepEqual(told(back.find((item) => item.id === id)), [traceOf(1), "a=1,b=2"]);
    });

    test("is that of the request for items that say nothing of one", async (t) => {
      const w = new World(await setup(t, { threads, ...(await freshPlace(t, driver)) }));
      for (const name of ["q", "other", "third"]) await w.server.createQueue(name);
      const headers = { traceparent: traceOf(7), tracestate: "v=7" };
      const items = [
        { utf8: "a" },
        { utf8: "b", traceparent: traceOf(8) },
        { utf8: "c", max_attempts: 3 },
      ];
      await sent(w, "queue.produce", { queue_name: "q", items }, headers);
      const [a, b, c] = await w.lease("q", 3);
      assert.deepEqual([a, b, c].map(told), [
        [traceOf(7), "v=7"],
        [traceOf(8), undefined],
        [traceOf(7), "v=7"],
      ]);
      // A connection without more of them is none that asks for a trace.
      await w.produce("q", { utf8: "d" });
      assert.deepEqual(traces(await w.lease("q")), [undefined]);
      const whole = {
        queue_name: "q",
        leases: [{ lease_id: a.lease_id }],
        produce: ["q", "other", "third"].map((queue_name) => ({
          queue_name,
          items: [{ utf8: "x" }, { utf8: "y", traceparent: traceOf(9) }],
        })),
      };
      const { produced } = await sent(w, "queue.complete", whole, { traceparent: traceOf(6) });
      const found = await Promise.all(
        produced.map(({ id }: Json) =>
          w.server.until(async () => {
            const { status, body } = await w.call("item.get", { id });
            return status === 200 && body;
          }),
        ),
      );
      assert.deepEqual(traces(found), [6, 9, 6, 9, 6, 9].map(traceOf));
    });
  });
}

test("the trace of a header that is not valid is none, and one of /v1 is not looked at", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const valid = traceOf(1);
  const wrong = [
    "",
    "x",
    valid.toUpperCase(),
    valid.slice(0, -1),
    `${valid}-00`,
    `ff${valid.slice(2)}`,
    `00-${"0".repeat(32)}-${"b".repeat(16)}-01`,
    `00-${"a".repeat(32)}-${"0".repeat(16)}-01`,
    `${valid},${valid}`,
  ];
  const body = { queue_name: "q", items: [{ utf8: "a" }] };
  for (const traceparent of wrong) {
    await sent(w, "queue.produce", body, { traceparent, tracestate: "a=1" });
    assert.deepEqual(told((await w.lease("q"))[0]), [undefined, undefined], traceparent);
  }
  // Of a version that is to come what is known is taken.
  await sent(w, "queue.produce", body, { traceparent: `01${valid.slice(2)}-more` });
  assert.deepEqual(traces(await w.lease("q")), [valid]);
  // Another field changes which reader has the head.
  await sent(w, "queue.produce", body, { traceparent: valid, tracestate: "a=1", TE: "trailers" });
  assert.deepEqual(told((await w.lease("q"))[0]), [valid, "a=1"]);
  await sent(w, "queue.produce", body, { traceparent: valid, tracestate: "x".repeat(513) });
  assert.deepEqual(told((await w.lease("q"))[0]), [valid, undefined]);
  const url = `${w.server.server.address}/v1/queue.produce`;
  const old = { ...body, request_timeout: "1s" };
  await post(url, JSON.stringify(old), { headers: { traceparent: valid } });
  assert.deepEqual(traces(await w.lease("q")), [undefined]);
});

test("a trace of an item that is not valid is refused, by its field, and nothing is done", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const refused = async (item: object, field: string): Promise<void> => {
    for (const [path, more] of [
      ["queue.produce", {}],
      ["items.import", { partition: 0 }],
    ] as const) {
      const items = [{ utf8: "fine" }, { utf8: "not", ...item }];
      const { status, body } = await w.call(path, { queue_name: "q", items, ...more });
      assert.deepEqual([status, body.field], [400, `items[1].${field}`], JSON.stringify(body));
    }
  };
  await refused({ traceparent: "x" }, "traceparent");
  await refused({ traceparent: `${traceOf(1)}-00` }, "traceparent");
  await refused({ tracestate: "a=1" }, "tracestate");
  await refused({ traceparent: traceOf(1), tracestate: "ä=1" }, "tracestate");
  await refused({ traceparent: traceOf(1), tracestate: "x".repeat(513) }, "tracestate");
  assert.deepEqual((await w.ok("items.list", { queue_name: "q" })).items, []);
});

test("the trace of an item is kept with what has ended, and through a list and an import", async (t) => {
  const w = await world(t);
  await w.ok("queues.create", { queue_name: "q", keep_completed: "1h" });
  await w.ok("queues.create", { queue_name: "copy" });
  const mine = { traceparent: traceOf(1), tracestate: "a=1" };
  const [id] = (await w.produce("q", { utf8: "a", ...mine })) as [string];
  const { items } = await w.ok("items.list", { queue_name: "q", payload: true });
  await w.ok("items.import", { queue_name: "copy", items });
  assert.deepEqual(told((await w.lease("copy"))[0]), [traceOf(1), "a=1"]);
  const [leased] = await w.lease("q");
  await w.end("queue.complete", "q", [leased.lease_id]);
  const ended = await w.get(id);
  assert.deepEqual([ended.state, ...told(ended)], ["completed", traceOf(1), "a=1"]);
});

test("an item that takes the place of another brings its own trace", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const key = { unique_key: "k", on_duplicate: "replace" };
  await w.produce("q", { utf8: "a", traceparent: traceOf(1), ...key });
  await w.produce("q", { utf8: "b", traceparent: traceOf(2), ...key });
  const [item] = await w.lease("q");
  assert.deepEqual([item.utf8, item.traceparent], ["b", traceOf(2)]);
});

test("the trace of an item does not take its size from the account of its namespace", async (t) => {
  const w = await world(t);
  await w.ok("namespaces.create", { name: "small", quotas: { bytes: 2_000 } });
  const headers = { "X-Querator-Namespace": "small", traceparent: traceOf(1) };
  await sent(w, "queues.create", { queue_name: "q" }, headers);
  const body = { queue_name: "q", items: [{ utf8: "x".repeat(1_200) }] };
  // Each time what is complete makes room for the next.
  for (let i = 0; i < 5; i++) {
    await sent(w, "queue.produce", body, headers);
    const { items } = await sent(w, "queue.lease", { queue_name: "q" }, headers);
    assert.deepEqual(traces(items), [traceOf(1)]);
    const leases = [{ lease_id: items[0].lease_id }];
    await sent(w, "queue.complete", { queue_name: "q", leases }, headers);
  }
});

test("the trace of an item is the same in Protobuf", async (t) => {
  const w = await world(t);
  await w.server.createQueue("q");
  const mine = { traceparent: traceOf(1), tracestate: "a=1" };
  const items = [{ utf8: "a", ...mine }];
  const request = { queueName: "q", items };
  const { results } = await w.protobuf(
    "queue.produce",
    QueueProduceRequestSchema,
    request,
    QueueProduceResponseSchema,
  );
  const found = await w.protobuf(
    "item.get",
    ItemGetRequestSchema,
    { id: results[0]!.id },
    ItemSchema,
  );
  assert.deepEqual([found.traceparent, found.tracestate], [traceOf(1), "a=1"]);
  const leased = await w.protobuf(
    "queue.lease",
    QueueLeaseRequestSchema,
    { queueName: "q" },
    QueueLeaseResponseSchema,
  );
  const [item] = leased.items;
  assert.deepEqual([item!.traceparent, item!.tracestate], [traceOf(1), "a=1"]);
});
