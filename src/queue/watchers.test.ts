import assert from "node:assert/strict";
import { test } from "node:test";
import { SECOND, VirtualClock } from "../clock.ts";
import { plainError } from "../errors.ts";
import { Pace } from "./pace.ts";
import { type Told, WATCHED_MAX, Watchers } from "./watchers.ts";

const was = { partition: 0, seq: 1, createdAt: 1, attempts: 1, attributes: "" };
const told: Told = { how: "completed", reason: "", at: 1, result: "", ...was };

test("all who wait for an item are told, and nobody else", async () => {
  const waiting = { leases: 0, items: 0 };
  const watchers = new Watchers(new VirtualClock(), waiting);
  const [a, b, c] = [
    watchers.watch("a", "1", SECOND),
    watchers.watch("a", "2", SECOND),
    watchers.watch("b", "3", SECOND),
  ];
  assert.deepEqual([watchers.size, waiting.items, watchers.has("a")], [3, 3, true]);
  watchers.tell("a", told);
  watchers.tell("none", told);
  assert.deepEqual([await a, await b], [told, told]);
  assert.deepEqual([watchers.size, waiting.items, watchers.has("a")], [1, 1, false]);
  watchers.drop("3");
  watchers.drop("3");
  assert.equal(await c, undefined);
  assert.deepEqual([watchers.size, waiting.items], [0, 0]);
});

test("a wait ends with its time, and with the queue", async () => {
  const clock = new VirtualClock();
  const watchers = new Watchers(clock, { items: 0 });
  const short = watchers.watch("a", "1", SECOND);
  const long = watchers.watch("a", "2", 3 * SECOND);
  clock.advance(2 * SECOND);
  assert.equal(await short, undefined);
  assert.equal(watchers.size, 1);
  const error = plainError("queue_shutting_down");
  watchers.close(error);
  await assert.rejects(long, error);
  await assert.rejects(watchers.watch("a", "3", SECOND), error);
});

test("how many wait is bounded over all queues", async () => {
  const waiting = { leases: 0, items: WATCHED_MAX - 1 };
  const watchers = new Watchers(new VirtualClock(), waiting);
  const last = watchers.watch("a", "1", SECOND);
  await assert.rejects(watchers.watch("a", "2", SECOND), { code: "overloaded" });
  watchers.tell("a", told);
  assert.equal(await last, told);
  assert.equal(waiting.items, WATCHED_MAX - 1);
});

test("a pace is that of the last seconds, and is forgotten after them", () => {
  const pace = new Pace();
  const start = 1_000 * SECOND;
  assert.equal(pace.rate(start), 0);
  for (let i = 0; i < 20; i++) pace.note(10, start + i * SECOND);
  const rate = pace.rate(start + 20 * SECOND);
  assert.ok(rate > 8 && rate < 12, `${rate}`);
  assert.equal(pace.rate(start + 60 * SECOND), 0);
  pace.note(10, start); // the clock was set back
  assert.ok(pace.rate(start + SECOND) > 0);
});
