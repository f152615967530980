// Buckets by powers of two: each value is in the first whose bound it does not exceed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OCTAVES, Octaves } from "./octaves.ts";

test("a value is counted where its bound is, up to the largest", () => {
  for (const [value, bucket] of [
    [0, 0],
    [0.5, 0],
    [1, 0],
    [1.5, 1],
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
    [2 ** 31 - 1, 31],
    [2 ** 31, 31],
    [2 ** 31 + 1, 32],
    [2 ** 40, 40],
    [2 ** 40 + 2 ** 20, 41],
    [2 ** 50, OCTAVES],
  ] as const) {
    const octaves = new Octaves();
    octaves.note(value, 3);
    assert.equal(octaves.counts[bucket], 3, String(value));
    assert.equal(octaves.sum, 3 * value);
  }
});

test("totals stay as they were told", () => {
  const octaves = new Octaves();
  octaves.note(4);
  const told = octaves.totals();
  octaves.note(4);
  assert.equal(told.counts[2], 1);
  octaves.add(told);
  assert.equal(octaves.counts[2], 3);
  assert.equal(octaves.sum, 12);
});
