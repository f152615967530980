import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { holds } from "../test/support/properties.ts";
import { DurationError, formatDuration, parseDuration } from "./duration.ts";

const PARSED: readonly [text: string, micros: number][] = [
  ["0", 0],
  ["+0", 0],
  ["5s", 5_000_000],
  ["1h30m", 5_400_000_000],
  ["-1.5s", -1_500_000],
  ["+250ms", 250_000],
  [".5ms", 500],
  ["1.ms", 1_000],
  ["1us", 1],
  ["1\u00b5s", 1],
  ["1\u03bcs", 1],
  ["1500ns", 1.5],
  ["0.1ms", 100],
  ["1h2m3s4ms5us6ns", 3_723_004_005.006],
];

for (const [text, micros] of PARSED) {
  test(`parseDuration() reads ${text}`, () => assert.equal(parseDuration(text), micros));
}

const REFUSED: readonly [text: string, message: string][] = [
  ["", 'time: invalid duration ""'],
  ["foo", 'time: invalid duration "foo"'],
  ["-", 'time: invalid duration "-"'],
  [".s", 'time: invalid duration ".s"'],
  ["5", 'time: missing unit in duration "5"'],
  ["1m5", 'time: missing unit in duration "1m5"'],
  ["5d", 'time: unknown unit "d" in duration "5d"'],
  ["5 s", 'time: unknown unit " s" in duration "5 s"'],
  ["1\u00fc", 'time: unknown unit "\\xc3\\xbc" in duration "1\\xc3\\xbc"'],
  ['1"', 'time: unknown unit "\\"" in duration "1\\""'],
  ["5constructor", 'time: unknown unit "constructor" in duration "5constructor"'],
  ["9999999h", 'time: invalid duration "9999999h"'],
];

for (const [text, message] of REFUSED) {
  test(`parseDuration() refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseDuration(text), new DurationError(message));
  });
}

const WRITTEN: readonly [micros: number, text: string][] = [
  [60_000_000, "1m0s"],
  [86_400_000_000, "24h0m0s"],
  [5_400_000_000, "1h30m0s"],
  [1_500_000, "1.5s"],
  [100_000, "100ms"],
  [16_595.658, "16.595658ms"],
  [1, "1\u00b5s"],
  [0.001, "1ns"],
  [0, "0s"],
  [-300_000_000, "-5m0s"],
  [900_001_000, "15m0.001s"],
];

for (const [micros, text] of WRITTEN) {
  test(`formatDuration() writes ${text}`, () => assert.equal(formatDuration(micros), text));
}

test("what was written is read back", () => {
  holds(
    fc.property(fc.integer({ min: -(10 ** 14), max: 10 ** 14 }), (micros) => {
      assert.equal(parseDuration(formatDuration(micros)), micros === 0 ? 0 : micros);
    }),
  );
});
