import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import type { ImportedItem, ImportResult, Letter, QueueOperations } from "../queue/queue.ts";
import type { LocalHome } from "../registry/homes.ts";
import { ItemRecord } from "../storage/storage.ts";
import { Link } from "./link.ts";
import { makeQueueCalls, type QueueCalls } from "./queue-calls.ts";
import { RemoteQueue } from "./remote-queue.ts";

const all = Buffer.from("payloads of many requests lie here");
const record = new ItemRecord('"kind":"k"', all, 0, 8);
const times = { expireAt: 2e15, leaseDeadline: 0, dueAt: 0, attempts: 1, maxAttempts: 0 };
const imported: ImportedItem = { ...times, sourceId: "s", isLeased: false, record };
const listed = {
  ...times,
  attributes: '{"source":"s"}',
  isLeased: false,
  note: undefined,
  record,
  id: "i",
  seq: 3,
  createdAt: 1,
};
const result: ImportResult = { ...listed, status: "created" };
const found = { ...listed, partition: 1, end: undefined };
const change = { dueAt: 0, expireAt: undefined, ifState: "" };
const rules = { leaseTimeout: 1, expireTimeout: 2, maxAttempts: 3, deadQueue: "" };
const stats = {
  produceWaiting: 1,
  leaseWaiting: 2,
  completeWaiting: 3,
  inFlight: 4,
  partitions: [],
};

// What is asked for, and what the queue answers.
const CALLS: { readonly [K in keyof QueueOperations]: readonly [unknown[], unknown] } = {
  stats: [[], stats],
  consumers: [[10], { since: 1, total: 0, consumers: [] }],
  clear: [[{ queue: true, destructive: false, scheduled: true }], undefined],
  reload: [[], undefined],
  list: [
    [1, { table: "items", pivot: "", limit: 3 }],
    [listed, listed],
  ],
  import: [[1, [imported, imported]], [result]],
  delete: [[1, ["a", "b"]], ["b"]],
  find: [["a"], [found]],
  listEnded: [[1, { after: "", limit: 3, order: "newest" }], [found]],
  cancelItem: [["a"], [found]],
  updateItem: [["a", change, [{ ofSeq: 3, record }]], "stale"],
  watch: [["a", "ticket", 5], "waits"],
  unwatch: [["ticket"], undefined],
  explain: [["a"], undefined],
  recall: [[{ key: "k", digest: "d" }], "{}"],
  remember: [[{ key: "k", digest: "d" }, "{}"], undefined],
  forget: [[{ key: "k", digest: "d" }], undefined],
  deadGroups: [[7], { groups: [], complete: true, lookedAt: 0 }],
  redrive: [[{ to: "", ids: ["a"] }], { id: "r" }],
  redrives: [[], [{ id: "r" }]],
  sentTo: [[], ["b"]],
  redriveInfo: [["r"], { id: "r" }],
  cancelRedrive: [["r"], { id: "r" }],
  pause: [[], undefined],
  resume: [[], undefined],
  configure: [[rules], undefined],
};

test("whatever operators ask of a queue of another thread arrives there, and its answer here", async (t) => {
  const arrived: [string, unknown[]][] = [];
  const queue = Object.fromEntries(
    Object.entries(CALLS).map(([method, [, answer]]) => [
      method,
      async (...args: unknown[]) => {
        arrived.push([method, args]);
        return answer;
      },
    ]),
  );
  const remote = connect(t, queue) as unknown as Record<string, (...args: unknown[]) => unknown>;
  for (const [method, [args, answer]] of Object.entries(CALLS)) {
    assert.deepEqual(seen(await remote[method]!(...args)), seen(answer), method);
    assert.deepEqual(seen(arrived.pop()), seen([method, args]));
  }
});

test("a page for nobody is not asked of another thread", async (t) => {
  const remote = connect(t, {});
  const options = { table: "items", pivot: "", limit: 1, isGone: () => true } as const;
  assert.deepEqual(await remote.list(0, options), []);
});

test("copies of dead items arrive whole on another thread", async (t) => {
  const letters: Letter[] = [];
  const intake = { deliver: async (some: readonly Letter[]) => void letters.push(...some) };
  const sent = [{ attributes: '{"source":"s"}', record }];
  await connect(t, { intake }).intake.deliver(sent, undefined);
  assert.deepEqual(seen(letters), seen(sent));
});

function connect(t: { after(end: () => void): void }, queue: object): RemoteQueue {
  const { port1, port2 } = new MessageChannel();
  const home = new Link(port2, makeQueueCalls({ queue: () => queue } as unknown as LocalHome));
  const link = new Link<QueueCalls>(port1, {});
  t.after(() => {
    link.close(new Error("the test is over"));
    home.close(new Error("the test is over"));
  });
  return new RemoteQueue("q", [], link);
}

// What is in something, with payloads as texts: their bytes lie elsewhere after a trip.
function seen(value: unknown): unknown {
  if (value instanceof ItemRecord) return [value.text, value.payload.toString()];
  if (Array.isArray(value)) return value.map(seen);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, seen(each)]));
}
