// Who was there last for an item, also where more kinds are asked for than are kept.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Consumers } from "./consumers.ts";
import { Kinds } from "./kinds.ts";

const textOf = (kind: string): string => `"kind":"${kind}"`;

test("of kinds that are not known any more it is only known when they were asked for at the latest", () => {
  const consumers = new Consumers(1);
  for (let i = 0; i < 1_100; i++)
    consumers.note({ clientId: "", kinds: new Kinds([`k${i}`]) }, 10 + i, 1);
  assert.equal(consumers.lastFor(textOf("k1099")), 1109);
  assert.equal(consumers.lastFor(textOf("k100")), 110);
  assert.equal(consumers.lastFor(textOf("k0")), 109);
  assert.equal(consumers.lastFor(""), 0);
  consumers.note({ clientId: "", kinds: new Kinds(["k0"]) }, 2_000, 1);
  consumers.note({ clientId: "", kinds: undefined }, 1_500, 1);
  assert.deepEqual(
    ["k0", "k5", "k1099"].map((kind) => consumers.lastFor(textOf(kind))),
    [2_000, 1_500, 1_500],
  );
});

test("of so many names those are known that have asked last, with what they were given", () => {
  const consumers = new Consumers(1);
  for (let i = 0; i < 2_000; i++) consumers.note({ clientId: `c${i}`, kinds: undefined }, i, 1);
  consumers.note({ clientId: "c1999", kinds: undefined }, 3_000, 4);
  consumers.note({ clientId: "", kinds: undefined }, 4_000, 1);
  const { total, consumers: last } = consumers.seen(["c1998", "new", "new", ""], 3);
  assert.ok(total >= 1_000 && total <= 1_251);
  assert.deepEqual(last, [
    { name: "c1998", at: 1_998, leased: 1, waiting: 1 },
    { name: "new", at: 0, leased: 0, waiting: 2 },
    { name: "c1999", at: 3_000, leased: 5, waiting: 0 },
  ]);
});
