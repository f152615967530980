// What is slow is said at once, and then once a minute with how many were left out, however many there are.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MILLISECOND, MINUTE, SECOND, VirtualClock } from "./clock.ts";
import type { Logger } from "./log.ts";
import { SlowLog } from "./slow.ts";

function open({ limit = SECOND } = {}) {
  const clock = new VirtualClock();
  const lines: unknown[] = [];
  const log = {
    warn: (fields: object, text: string) => lines.push({ ...fields, text }),
  } as unknown as Logger;
  const slow = new SlowLog({ what: "turn", key: "queue", limit }, log, clock);
  const note = (queue: string, ms: number) =>
    slow.note(queue, ms * MILLISECOND, () => ({ requests: 3 }));
  /** What was said since this was asked last. */
  const said = () => lines.splice(0);
  return { clock, slow, note, said };
}

test("what is slow is said with its numbers, what is not is not", () => {
  const { note, said } = open();
  note("jobs", 999.9);
  assert.deepEqual(said(), []);
  note("jobs", 1_234.56);
  assert.deepEqual(said(), [{ queue: "jobs", ms: 1_234.6, requests: 3, text: "a turn was slow" }]);
});

test("with 0 nothing is slow", () => {
  const { note, said } = open({ limit: 0 });
  note("jobs", 1e9);
  assert.deepEqual(said(), []);
});

test("more of the same is said once a minute, as long as there is more", () => {
  const { clock, slow, note, said } = open();
  for (const ms of [1_000, 5_000, 2_000]) note("jobs", ms);
  note("mails", 1_500);
  assert.equal(said().length, 2);
  clock.advance(MINUTE - 1);
  slow.sweep();
  assert.deepEqual(said(), []);
  clock.advance(1);
  slow.sweep();
  const more = { queue: "jobs", count: 2, slowest_ms: 5_000, text: "more turns were slow" };
  assert.deepEqual(said(), [more]);
  // That was the line of the queue for the next minute; the other one has had none.
  note("jobs", 3_000);
  note("mails", 1_000);
  assert.deepEqual(
    said().map((line) => (line as { queue: string }).queue),
    ["mails"],
  );
  clock.advance(MINUTE);
  slow.sweep();
  assert.deepEqual(said(), [{ ...more, count: 1, slowest_ms: 3_000 }]);
  clock.advance(MINUTE);
  slow.sweep();
  note("jobs", 1_000);
  assert.deepEqual(said(), [{ queue: "jobs", ms: 1_000, requests: 3, text: "a turn was slow" }]);
});

test("of many queues twenty have a line of their own in a minute, and the others one together", () => {
  const { clock, slow, note, said } = open();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 1_000; i++) note(`q${i}`, 1_000 + i);
  }
  assert.equal(said().length, 20);
  clock.advance(MINUTE);
  slow.sweep();
  const lines = said();
  assert.equal(lines.length, 21);
  assert.deepEqual(lines.at(-1), {
    count: 3 * 980,
    slowest_ms: 1_999,
    text: "more turns were slow",
  });
  clock.advance(MINUTE);
  slow.sweep();
  assert.deepEqual(said(), []);
});
