// Who was there last for an item, also where more kinds are asked for than are kept.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Consumers } from "./consumers.ts";
import { Kinds } from "./kinds.ts";

const textOf = (kind: string): string => `"kind":"${kind}"`;

test("of kinds that are not known any more it is only known when they were asked for at the latest", () => {
  const consumers = new Consumers(1);
  for (let i = 0; i < 1_100; i++) consumers.note({ kinds: new Kinds([`k${i}`]) }, 10 + i);
  assert.equal(consumers.lastFor(textOf("k1099")), 1109);
  assert.equal(consumers.lastFor(textOf("k100")), 110);
  assert.equal(consumers.lastFor(textOf("k0")), 109);
  assert.equal(consumers.lastFor(""), 0);
  consumers.note({ kinds: new Kinds(["k0"]) }, 2_000);
  consumers.note({ kinds: undefined }, 1_500);
  assert.deepEqual(
    ["k0", "k5", "k1099"].map((kind) => consumers.lastFor(textOf(kind))),
    [2_000, 1_500, 1_500],
  );
});
