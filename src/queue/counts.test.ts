// What was told once as a sum never goes back, whatever storage has lost.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COUNT, goneBack } from "./counts.ts";

test("what storage has lost of what was counted is made up for, and nothing else", () => {
  const [from, known] = [
    [100, 5],
    [130, 5],
  ];
  const told = known[COUNT.produced]! - from[COUNT.produced]!;
  for (const [read, more] of [
    [[120, 7], 0],
    [[130, 5], 0],
    [[140, 5], 10],
    [[], 0],
  ] as const) {
    const base = goneBack(from, known, read);
    assert.equal((read[COUNT.produced] ?? 0) - base[COUNT.produced]!, told + more);
    assert.ok((read[COUNT.received] ?? 0) - base[COUNT.received]! >= 0);
  }
});
