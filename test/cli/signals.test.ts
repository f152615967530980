// How the signals that end a command are told apart from copies of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { onEndSignal } from "../../src/cli/signals.ts";
import { MILLISECOND, VirtualClock } from "../../src/clock.ts";

test("copies of a signal are passed over; one that comes later asks again", () => {
  const clock = new VirtualClock();
  const heard: string[] = [];
  const forget = onEndSignal(clock, {
    first: (name) => heard.push(`first ${name}`),
    again: (name) => heard.push(`again ${name}`),
  });
  process.emit("SIGINT", "SIGINT");
  process.emit("SIGINT", "SIGINT");
  clock.advance(499 * MILLISECOND);
  process.emit("SIGTERM", "SIGTERM");
  assert.deepEqual(heard, ["first SIGINT"]);
  clock.advance(MILLISECOND);
  process.emit("SIGTERM", "SIGTERM");
  assert.deepEqual(heard, ["first SIGINT", "again SIGTERM"]);
  forget();
  assert.equal(process.listenerCount("SIGTERM"), 0);
});
