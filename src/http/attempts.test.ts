// Who shows wrong keys is counted by address, within bounds, and told of once a minute.

import assert from "node:assert/strict";
import { test } from "node:test";
import { refused } from "../auth/state.ts";
import { MINUTE, SECOND, VirtualClock } from "../clock.ts";
import { plainError, QueueError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { ADDRESSES_MAX, ATTEMPTS_MAX, Attempts } from "./attempts.ts";

const WRONG = refused("api key does not exist");

function make(): { attempts: Attempts; clock: VirtualClock; lines: object[] } {
  const clock = new VirtualClock();
  const lines: object[] = [];
  const warn = (fields: object): void => void lines.push(fields);
  return { attempts: new Attempts(clock, { warn } as unknown as Logger), clock, lines };
}

const isLimited = (error: unknown): boolean =>
  error instanceof QueueError && error.code === "rate_limited";

test("an address is limited after some attempts, until its minute is over, and no other is", () => {
  const { attempts, clock } = make();
  for (let i = 0; i < ATTEMPTS_MAX; i++) assert.equal(attempts.note("a", "", WRONG), WRONG);
  clock.advance(50 * SECOND);
  const told = attempts.note("a", "", WRONG) as QueueError;
  assert.deepEqual([told.code, told.details], ["rate_limited", { seconds: 10 }]);
  assert.equal(attempts.note("b", "", WRONG), WRONG);
  clock.advance(10 * SECOND);
  assert.equal(attempts.note("a", "", WRONG), WRONG);
});

test("what is no matter of keys is not counted", () => {
  const { attempts, lines } = make();
  const standby = plainError("standby");
  for (let i = 0; i < 2 * ATTEMPTS_MAX; i++) assert.equal(attempts.note("a", "", standby), standby);
  assert.deepEqual([attempts.size, lines], [0, []]);
});

test("so many addresses are known, and the oldest are forgotten first", () => {
  const { attempts } = make();
  for (let i = 0; i <= ATTEMPTS_MAX; i++) attempts.note("first", "", WRONG);
  for (let i = 0; i < ADDRESSES_MAX; i++) {
    attempts.note(`10.0.${i >> 8}.${i & 255}`, "", WRONG);
    assert.ok(attempts.size <= ADDRESSES_MAX);
  }
  assert.equal(attempts.note("first", "", WRONG), WRONG);
});

test("addresses whose minute is over take no room", () => {
  const { attempts, clock } = make();
  for (let i = 0; i < 100; i++) attempts.note(`10.0.0.${i}`, "", WRONG);
  clock.advance(MINUTE);
  attempts.note("a", "", WRONG);
  assert.equal(attempts.size, 1);
});

test("a network of IPv6 is one address, and IPv4 is the same however it is written", () => {
  for (const [one, other, isSame] of [
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true],
    ["2001:db8::1", "2001:db8:0:0:1::", true],
    ["2001:db8:1:2::1", "2001:db8:1:3::1", false],
    ["::ffff:10.0.0.1", "10.0.0.1", true],
    ["::ffff:10.0.0.1", "::ffff:10.0.0.2", false],
    ["::1", "2001::1", false],
  ] as const) {
    const { attempts } = make();
    for (let i = 0; i < ATTEMPTS_MAX; i++) attempts.note(one, "", WRONG);
    assert.equal(isLimited(attempts.note(other, "", WRONG)), isSame, `${one} ${other}`);
  }
});

test("the log is told once a minute, how many there were and of the last", () => {
  const { attempts, clock, lines } = make();
  for (const address of ["a", "b", "c"]) attempts.note(address, "live", WRONG);
  clock.advance(MINUTE);
  attempts.note("d", "", WRONG);
  assert.deepEqual(lines, [
    { from: "a", key_tag: "live", attempts: 1 },
    { from: "d", attempts: 3 },
  ]);
});
