// The checker itself: it must take every history that a right queue can give, and refuse what it
// cannot.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { holds } from "../support/properties.ts";
import { Random } from "../support/random.ts";
import { check } from "./checker.ts";
import { CORRUPTIONS } from "./corruptions.ts";
import { fromText, toText } from "./history.ts";
import { RULES } from "./plan.ts";
import { makeHistory } from "./reference.ts";
import { explain } from "./report.ts";
import { script } from "./script.ts";
import { cutAt, shrink, without } from "./shrink.ts";

const LOOSE = { ...RULES, exactDeal: false };
const LEASE_TIMEOUT = 3_000;

const RIGHT: Readonly<Record<string, string>> = {
  "an item is produced, leased and completed": `
    0-1  p  produce a b
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 = ok
    6-7  c  lease 5 = b@2
    8-9  c  complete 2 = ok
    10-11  c  list =`,
  "operations that overlap take effect in any order": `
    0-9  p  produce a
    0-9  q  produce b
    1-8  c  lease 1 at 5 = b@1
    1-8  d  lease 1 at 6 = a@2
    3-20 c  complete 1 = ok
    3-20 d  complete 1 = absent 1`,
  "an extended lease ends by its new deadline, the others by theirs": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1 b@2
    50-51  c  extend 1:100 = ok
    52-150  d  lease 1 at 110 = b@3:2
    140-200  d  lease 1 at 160 = a@4:2`,
  "a lease that was shortened ends early": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    10-11  c  extend 1:20 = ok
    12-150  d  lease 1 at 40 = a@2:2`,
  "an extension without a reply may have happened, or not": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1 b@2
    10-?  c  extend 1:20 2:900
    12-150  d  lease 1 at 40 = a@3:2
    140-200  d  lease 1 at 160 = b@4:2`,
  "each lease of an extension has its own outcome": `
    0-1  p  produce a b c
    2-3  c  lease 2 = a@1 b@2
    4-5  c  complete 1 = ok
    6-7  c  list = b@2:1! c@3
    8-9  c  extend 1:50 2:50 3:50 9:50 = ended ok waits absent`,
  "an extension is refused when time has ended the lease": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    110-111  c  extend 1:50 = ended
    112-?  d  complete 1`,
  "a lease waits for an item": `
    0-50  c  lease 1 at 41 = a@1
    40-42 p  produce a`,
  "a lease gets nothing while the queue is empty for a moment": `
    0-1  p  produce a
    2-300  d  lease 1 = nothing
    3-250  c  lease 1 at 249 = a@1
    251-255  p  produce b`,
  "leases of one pass are dealt one item at a time in turn": `
    0-1  p  produce a b c d e f
    2-9  c  lease 3 at 5 = a@1 c@3 e@5
    2-9  d  lease 2 at 5 = b@2 d@4
    10-19  c  lease 1 = f@6`,
  "a pass that empties the queue may leave leases hungry": `
    2-9  c  lease 5 at 5 = a@1 c@3
    2-9  d  lease 5 at 5 = b@2
    2-9  p  produce a b c`,
  "what is retried goes to the tail in the order of the list": `
    0-1  p  produce a b c
    2-3  c  lease 2 = a@1 b@2
    4-5  c  retry 2 1 = ok
    6-7  c  lease 5 = c@3 b@4:2 a@5:2`,
  "a dead item is gone": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1 b@2
    4-5  c  retry 2dead 1 = ok
    6-7  c  list = a@3:1`,
  "a lease ends after its deadline": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-150  d  lease 1 at 110 = a@2:2
    151-152  c  complete 1 = absent 1`,
  "a lease may outlive its deadline": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    500-501  c  complete 1 = ok`,
  "a complete that races with the end of the lease may win or lose": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1 b@2
    100-120  c  complete 1 = ok
    100-120  d  complete 2 = absent 2
    121-122  c  lease 2 = b@3:2`,
  "a complete of several is refused as a whole": `
    0-1  p  produce a b
    2-3  c  lease 1 = a@1
    4-5  c  list = a@1:1! b@2
    6-7  c  complete 1 2 = waits 2
    8-9  c  complete 1 1 = absent 1
    10-11  c  complete 1 = ok`,
  "a request without a reply may have been executed": `
    0-?  p  produce a b
    2-3  c  lease 1 = a@1
    4-?  c  complete 1
    5-6  c  list = b@2`,
  "a request without a reply may not have been executed": `
    0-?  p  produce x
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-?  c  complete 1
    5-6  c  list = a@1:1!
    7-8  c  complete 1 = ok
    9-10  c  list =`,
  "a request without a reply may be executed late": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-?  c  complete 1
    5-6  c  list = a@1:1!
    7-8  c  list =`,
  "a lease without a reply may have taken items": `
    0-1  p  produce a b c
    2-?  c  lease 2
    3-4  d  lease 1 at 4 = c@3
    5-300  d  lease 5 at 290 = a@4:2 b@5:2`,
  "of several who want one key at the same time one has it": `
    0-9  p  claim k a = 1
    0-9  q  claim k = taken 1
    0-9  r  claim k = taken 1
    10-11  c  lease 2 at 11 = a@1
    12-13  q  claim k = taken 1
    14-15  c  complete 1 = ok
    14-20  q  claim k b = 2
    14-20  r  claim k = taken 1
    21-22  c  list = b@2`,
  "a key is that of its item also when it has come back": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  c  retry 1 = ok
    6-7  p  claim k = taken 1
    8-9  c  get 1 = waiting
    10-11  c  lease 1 = a@2:2
    12-13  c  get 1 = leased
    120-150  p  claim k = taken 1`,
  "keys do not keep each other": `
    0-1  p  claim k a = 1
    2-3  p  claim l b = 2
    4-5  c  lease 2 = a@1 b@2`,
  "what is cancelled while it waits is gone, and its key is free": `
    0-1  p  claim k a = 1
    2-3  p  produce b
    4-5  c  cancel 1 = cancelled
    6-7  p  claim k c = 3
    8-9  c  get 1 = absent
    10-11  c  lease 5 = b@2 c@3
    12-13  c  cancel 1 = absent`,
  "what is cancelled while it is leased is gone with its lease": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  cancel 1 = marked
    6-7  d  cancel 1 = marked
    8-9  d  get 1 = marked
    10-11  p  claim k = taken 1
    12-13  c  extend 1:50 = cancelled
    14-15  c  retry 1 = ok
    16-17  p  claim k b = 2
    18-19  c  list = b@2`,
  "what is cancelled while it is leased does not outlive the time of its lease": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  cancel 1 = marked
    110-150  p  claim k b = 2
    151-152  c  complete 1 = absent 1
    153-154  c  list = b@2`,
  "a cancel without a reply may have happened, or not": `
    0-1  p  claim k a = 1
    2-3  p  claim l b = 2
    4-?  c  cancel 1
    4-?  d  cancel 2
    6-7  p  claim k c = 3
    8-9  c  lease 5 = b@2 c@3
    10-11  c  list = b@2:1! c@3:1!`,
  "a cancel finds what time has given back unseen": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    110-150  d  cancel 1 = cancelled
    151-152  p  claim k b = 3
    153-154  c  list = b@3`,
  "a cancel finds what is leased by a lease without a reply": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    105-?  d  lease 1
    110-150  c  complete 1 = absent 1
    151-152  d  cancel 1 = marked
    153-154  p  claim k = taken 1
    300-301  p  claim k b = 3`,
  "a retry without a reply and the end of the lease look the same": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1 b@2
    4-?  c  retry 1
    5-6  c  lease 1 = a@3:2
    120-150  c  lease 1 at 140 = b@4:2`,
};

const WRONG: Readonly<Record<string, string>> = {
  "an item is lost": `
    0-1  p  produce a b
    2-3  c  lease 5 = a@1
    4-5  c  complete 1 = ok
    6-7  c  list =`,
  "an item is lost between others": `
    0-1  p  produce a b c
    2-3  c  lease 2 = a@1 c@3`,
  "an item is leased to two clients at a time": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  d  lease 1 = a@1`,
  "an item is leased anew before its lease has ended": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-90  d  lease 1 = a@2:2`,
  "two items come out in the wrong order": `
    0-1  p  produce a
    2-3  p  produce b
    4-5  c  lease 1 = b@1
    6-7  c  lease 1 = a@2`,
  "an item overtakes another of the same request": `
    0-1  p  produce a b
    4-5  c  lease 1 = b@1
    6-7  c  lease 1 = a@2`,
  "ids do not ascend": `
    0-1  p  produce a b
    4-5  c  lease 1 = a@2
    6-7  c  lease 1 = b@1`,
  "a request is torn apart": `
    0-9  p  produce a b
    0-9  q  produce x
    10-11  c  lease 5 = a@1 x@2 b@3`,
  "a stale complete succeeds": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-150  d  lease 1 at 110 = a@2:2
    151-152  c  complete 1 = ok`,
  "a complete succeeds twice": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-9  c  complete 1 = ok
    4-9  d  complete 1 = ok`,
  "a complete of something that waits succeeds": `
    0-1  p  produce a
    2-3  c  list = a@1
    4-5  c  complete 1 = ok
    6-7  c  list =`,
  "a complete is refused although the item is leased": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 = absent 1`,
  "a complete is refused with the wrong error": `
    0-1  p  produce a
    2-3  c  list = a@1
    4-5  c  complete 1 = absent 1
    6-7  c  lease 1 = a@1`,
  "a complete is refused for another reason than the first": `
    0-1  p  produce a
    2-3  c  list = a@1
    4-5  c  complete 1 9 = absent 9`,
  "a complete that is refused is done in part": `
    0-1  p  produce a b
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 9 = absent 9
    6-7  c  list = b@2`,
  "an item comes out that was never produced": `
    0-1  p  produce a
    2-3  c  lease 2 = a@1 x@2`,
  "an item comes out before it was produced": `
    0-1  c  lease 1 = a@1
    2-3  p  produce a`,
  "an item that is retried keeps its place at the head": `
    0-1  p  produce a b
    2-3  c  lease 1 = a@1
    4-5  c  retry 1 = ok
    6-7  c  lease 1 = a@1.5:2`,
  "an item that is retried keeps its id": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  retry 1 = ok
    6-7  c  lease 1 = a@1:2`,
  "retried items go back in another order": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1 b@2
    4-5  c  retry 2 1 = ok
    6-7  c  lease 2 = a@3:2 b@4:2`,
  "a dead item comes back": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  retry 1dead = ok
    200-201  c  lease 1 = a@2:2`,
  "a lease ends before its deadline": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-150  d  lease 1 at 95 = a@2:2
    151-152  d  complete 2 = ok`,
  "an extended lease ends before its new deadline": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    50-51  c  extend 1:100 = ok
    52-150  d  lease 1 at 120 = a@2:2`,
  "a lease that was shortened ends before that": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    10-11  c  extend 1:50 = ok
    12-150  d  lease 1 at 40 = a@2:2`,
  "an extension of what is over succeeds": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 = ok
    6-7  c  extend 1:50 = ok`,
  "an extension is refused though the lease is held": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  extend 1:50 = ended
    6-7  c  complete 1 = ok`,
  "a lease that is held is said to wait": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  extend 1:50 = waits
    6-7  c  complete 1 = ok`,
  "a deadline is not that of the moment": `
    0-1  p  produce a
    2-3  c  lease 1 at 20 = a@1`,
  "attempts do not grow": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  retry 1 = ok
    6-7  c  lease 1 = a@2:1`,
  "attempts grow too fast": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  retry 1 = ok
    6-7  c  lease 1 = a@2:3`,
  "a lease gets more than it wanted": `
    0-1  p  produce a b
    2-3  c  lease 1 = a@1 b@2`,
  "a lease gets less than it wanted and there is": `
    0-1  p  produce a b
    2-3  c  lease 2 = a@1
    4-5  c  lease 2 = b@2`,
  "one lease of a pass gets all": `
    0-1  p  produce a b c d
    2-9  c  lease 2 at 5 = a@1 b@2
    2-9  d  lease 2 at 5 = c@3 d@4`,
  "a lease gets nothing although there is an item all the time": `
    0-1  p  produce a
    2-300  c  lease 1 = nothing
    301-302  c  lease 1 = a@1`,
  "a waiting lease is not woken": `
    0-400  c  lease 1 = nothing
    10-11  p  produce a
    401-402  d  lease 1 = a@1`,
  "a list shows what has been completed": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 = ok
    6-7  c  list = a@1:1!`,
  "a list shows an item as waiting that is leased": `
    0-1  p  produce a
    2-3  c  lease 1 = a@1
    4-5  c  list = a@1
    6-7  c  complete 1 = ok`,
  "two items of one key are there at a time": `
    0-1  p  claim k a = 1
    2-3  p  claim k b = 2`,
  "two items of one key are there at a time, the one of them leased": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  p  claim k b = 2
    6-7  c  complete 1 = ok`,
  "two items of one key are there though time has ended the lease of one": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    110-150  p  claim k b = 2
    151-152  c  lease 5 = a@3:2`,
  "a key is taken that is free": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 = ok
    6-7  p  claim k = taken 1`,
  "a key is that of an item with another": `
    0-1  p  claim k a = 1
    2-3  p  claim l = taken 1`,
  "of two who want one key none has it": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  c  complete 1 = ok
    6-9  p  claim k = taken 1
    6-9  q  claim k = taken 1`,
  "what was cancelled is leased": `
    0-1  p  claim k a = 1
    2-3  d  cancel 1 = cancelled
    4-5  c  lease 1 = a@1`,
  "what was cancelled while it was leased comes back": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  cancel 1 = marked
    120-150  c  lease 1 at 140 = a@2:2`,
  "what was cancelled while it was leased is given back": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  cancel 1 = marked
    6-7  c  retry 1 = ok
    8-9  c  list = a@2:1`,
  "the key of what is leased is free with its cancel": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  cancel 1 = marked
    6-7  p  claim k b = 2`,
  "a lease of what was cancelled is extended": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  cancel 1 = marked
    6-7  c  extend 1:50 = ok`,
  "an extension is refused as cancelled though nobody has": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    6-7  c  extend 1:50 = cancelled`,
  "what waits is cancelled as if it were leased": `
    0-1  p  claim k a = 1
    2-3  d  cancel 1 = marked`,
  "what is leased is shown as waiting": `
    0-1  p  claim k a = 1
    2-3  c  lease 1 = a@1
    4-5  d  get 1 = waiting
    6-7  c  complete 1 = ok`,
  "what is there is not found": `
    0-1  p  claim k a = 1
    2-3  d  get 1 = absent
    4-5  c  lease 1 = a@1`,
  "a lease without a reply takes more than it wanted": `
    0-1  p  produce a b c
    2-?  c  lease 1
    3-4  d  lease 1 at 4 = c@3`,
};

describe("what is right is taken", () => {
  for (const [name, text] of Object.entries(RIGHT)) {
    test(name, () => {
      const history = script(text);
      const verdict = check(history);
      assert.equal(verdict.kind, "right", verdict.kind === "wrong" ? explain(history) : "");
    });
  }
});

describe("what is wrong is refused", () => {
  for (const [name, text] of Object.entries(WRONG)) {
    test(name, () => assert.equal(check(script(text)).kind, "wrong"));
  }
});

const histories = (cuts: number) =>
  fc
    .record({
      seed: fc.nat(1_000_000),
      clients: fc.integer({ min: 1, max: 12 }),
      operations: fc.integer({ min: 1, max: 80 }),
    })
    .map((shape) => ({
      ...shape,
      history: makeHistory(shape.seed, { ...shape, cuts, leaseTimeout: LEASE_TIMEOUT }),
      random: new Random(shape.seed, 1),
    }));

describe("random histories of a right queue", () => {
  test("are taken", () => {
    holds(
      fc.property(histories(0), ({ history }) => {
        assert.equal(check(history).kind, "right");
      }),
    );
  });

  test("are taken if replies are lost", () => {
    holds(
      fc.property(histories(0.1), ({ history }) => {
        assert.equal(check(history).kind, "right");
      }),
    );
  });

  test("are taken after they were kept as text", () => {
    const history = makeHistory(1, {
      ...{ clients: 4, operations: 80, cuts: 0.1 },
      leaseTimeout: LEASE_TIMEOUT,
    });
    assert.deepEqual(fromText(toText(history)), history);
  });

  // What shrinking does to a wrong history must not make a right one wrong.
  test("are not wrong if they are cut off or items are left out", () => {
    holds(
      fc.property(histories(0.1), ({ history, random }) => {
        const ends = history.operations.map(({ end }) => end).filter(Number.isFinite);
        const cut = cutAt(history, random.pickIfAny(ends) ?? 0);
        const payloads = cut.operations.flatMap((o) => (o.kind === "produce" ? o.payloads : []));
        const some = new Set(payloads.filter(() => random.chance(0.5)));
        const options = { rules: LOOSE, statesMax: 10_000 };
        assert.notEqual(check(cut, options).kind, "wrong");
        assert.notEqual(check(without(cut, some), options).kind, "wrong");
      }),
    );
  });

  for (const [name, corrupt] of Object.entries(CORRUPTIONS)) {
    test(`are refused if ${name}`, () => {
      holds(
        fc.property(histories(0), fc.constantFrom(RULES, LOOSE), ({ history, random }, rules) => {
          const corrupted = corrupt(history, random);
          if (corrupted === undefined) return;
          assert.equal(check(corrupted, { rules }).kind, "wrong");
        }),
      );
    });
  }
});

test("the search does not grow with the length of a history", () => {
  const history = makeHistory(7, {
    ...{ clients: 12, operations: 3_000, cuts: 0.03 },
    leaseTimeout: LEASE_TIMEOUT,
  });
  const { kind, states } = check(history);
  assert.equal(kind, "right");
  assert.ok(states < 5 * history.operations.length, `${states} states`);
});

test("a failing history is shown by its smallest wrong part", () => {
  const right = makeHistory(9, {
    ...{ clients: 6, operations: 150, cuts: 0 },
    leaseTimeout: LEASE_TIMEOUT,
  });
  const wrong = CORRUPTIONS["a complete succeeds twice"]!(right, new Random(9))!;
  const { operations } = shrink(wrong).history;
  assert.deepEqual(
    operations.map(({ kind }) => kind).filter((kind) => kind !== "lease"),
    ["produce", "complete", "complete"],
  );
  const text = explain(wrong);
  assert.match(text, /no order explains this/);
  assert.match(text, /\n> +[\d.]+ \.\. +[\d.]+ {2}\w+ +complete #\d+ -> ok$/m);
});
