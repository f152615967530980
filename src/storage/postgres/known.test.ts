import assert from "node:assert/strict";
import { test } from "node:test";
import type { Row } from "./connection.ts";
import { KnownPartitions } from "./known.ts";

type Rows = readonly (readonly Row[])[];

// Item 5 of partition 1 is gone; and nothing is.
const BIT: Rows = [[["1", "(0,2)"]], [["1", "0", `\\x20${"00".repeat(127)}`]]];
const NO_BIT: Rows = [[["1", "(0,1)"]], []];

function setUp() {
  const reads: PromiseWithResolvers<Rows>[] = [];
  const known = new KnownPartitions(() => {
    reads.push(Promise.withResolvers<Rows>());
    return reads.at(-1)!.promise;
  });
  return { known, reads };
}

test("a partition is read once for all who ask at the same time", async () => {
  const { known, reads } = setUp();
  const asked = [known.know([1]), known.know([1]), known.snapshot(1)] as const;
  reads[0]!.resolve(BIT);
  const [, , snapshot] = await Promise.all(asked);
  assert.equal(reads.length, 1);
  assert.equal(known.placeOf(1), "(0,2)");
  assert.equal(snapshot.has(5), true);
  await known.know([1]);
  assert.equal(reads.length, 1);
});

test("what was forgotten while it was read is read again", async () => {
  const { known, reads } = setUp();
  const snapshot = known.snapshot(1);
  known.forget([1]);
  const later = known.know([1]);
  // The later one is answered first, and the earlier one is not to take its place.
  reads[1]!.resolve(BIT);
  await later;
  reads[0]!.resolve(NO_BIT);
  assert.equal((await snapshot).has(5), true);
  assert.equal(known.removed.of(1)?.has(5), true);
  assert.equal(known.placeOf(1), "(0,2)");
});

test("a partition that could not be read is read again when it is asked for next", async () => {
  const { known, reads } = setUp();
  const refused = assert.rejects(known.know([1]), /lost/);
  reads[0]!.reject(new Error("lost"));
  await refused;
  const absent = assert.rejects(known.know([1, 2]), /no partition 2/);
  reads[1]!.resolve(NO_BIT);
  await absent;
  assert.equal(known.placeOf(1), "(0,1)");
});
