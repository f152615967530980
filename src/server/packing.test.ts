import assert from "node:assert/strict";
import { test } from "node:test";
import { packError, QueueError, queueError } from "../errors.ts";
import {
  type AnyHotRequest,
  CompleteRequest,
  ExtendRequest,
  IdSpace,
  Item,
  KINDS,
  LeaseRequest,
  NO_OUTCOMES,
  ProduceRequest,
  RetryRequest,
} from "../queue/queue.ts";
import { ItemRecord } from "../storage/storage.ts";
import { packAnswer, packRequest, unpackAnswer, unpackRequest } from "./packing.ts";

const records = ["a", "", "bc"].map((text) => new ItemRecord('"kind":"k"', Buffer.from(text)));
const items = records.map((record, i) => new Item(record, i * 1e15));
const given = [
  { id: "a", retryAt: 0, dead: true },
  { id: "b", retryAt: 1e15, dead: false },
];
const ids = new IdSpace("p".repeat(18));
const held = records.map((record, i) => {
  return Object.assign(new Item(record, 0), { seq: i + 1, attempts: i + 2 });
});
const lease = { partition: 3, ids, deadline: 1e15, items: held, records, waitedUntil: 7 };

const extended = [
  { id: "a", for: 1e6 },
  { id: "b", for: 2e6 },
];
const refused = [{ index: 0, error: queueError("lease_ended", { lease_id: "a" }) }];

const TRIPS: readonly [request: AnyHotRequest, answer: unknown][] = [
  [new ProduceRequest(items, 1), { partition: 3, first: 7, scheduled: [0, 2] }],
  [new LeaseRequest("client", 7, 2), lease],
  [new LeaseRequest("client", 7, 2, { isShared: true }), lease],
  [new CompleteRequest(3, ["a", "b"], 3), NO_OUTCOMES],
  [
    new CompleteRequest(3, ["a", "b"], 3, { together: "listed", results: ["1", ""] }),
    { dead: [], refused },
  ],
  [new RetryRequest(3, given, 4, { together: "each" }), { dead: [1], refused }],
  [new RetryRequest(3, given, 5, { verb: "released" }), NO_OUTCOMES],
  [new ExtendRequest(3, extended, 6), { deadlines: [0, 1e15], refused }],
  [new ExtendRequest(3, extended, 6, "listed"), { deadlines: [], refused }],
];

test("requests of every kind and their answers travel between threads", () => {
  assert.deepEqual([...new Set(TRIPS.map(([{ kind }]) => kind))], KINDS);
  for (const [request, answer] of TRIPS) {
    const { kind } = request;
    const arrived = unpackRequest(kind, structuredClone(packRequest(request)));
    assert.deepEqual(seen(arrived), seen(request));
    const answered = unpackAnswer(kind, structuredClone(packAnswer(kind, answer)));
    assert.deepEqual(seen(answered), seen(answer));
    if (answer === NO_OUTCOMES) assert.equal(answered, NO_OUTCOMES);
  }
});

// What is in something, with payloads as texts: their bytes lie elsewhere after a trip.
function seen(value: unknown): unknown {
  if (value instanceof ItemRecord) return [value.text, value.payload.toString()];
  if (value instanceof IdSpace) return value.prefix;
  if (value instanceof QueueError) return { ...packError(value), is: "QueueError" };
  if (Array.isArray(value)) return value.map(seen);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, seen(each)]));
}
