import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { holds } from "../../test/support/properties.ts";
import { IdSpace, idError, newIdPrefix } from "./ids.ts";

const NOW = 1_790_000_000_000_000;
const seqs = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

test("ids are valid KSUIDs, ascend with their numbers, and can be turned back", () => {
  holds(
    fc.property(seqs, seqs, (a, b) => {
      const ids = new IdSpace(newIdPrefix(NOW));
      for (const seq of [a, b]) {
        assert.equal(idError(ids.id(seq)), undefined);
        assert.equal(ids.seq(ids.id(seq)), seq);
        assert.equal(ids.seqFrom(ids.id(seq)), seq);
      }
      assert.equal(a < b, ids.id(a) < ids.id(b));
    }),
  );
});

test("consecutive ids are successors as KSUIDs, and carry the time of the partition", () => {
  const ids = new IdSpace(newIdPrefix(NOW));
  const value = (id: string): bigint => {
    const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    return [...id].reduce((sum, digit) => sum * 62n + BigInt(alphabet.indexOf(digit)), 0n);
  };
  for (const seq of [0, 1, 61, 62, 3_843, 3_844, 14_776_335, 10 ** 12]) {
    assert.equal(value(ids.id(seq + 1)) - value(ids.id(seq)), 1n);
  }
  const seconds = Number(value(ids.id(10 ** 15)) >> 128n) + 1_400_000_000;
  assert.ok(Math.abs(seconds - NOW / 1_000_000) <= 1);
});

test("ids of other partitions are none of this one", () => {
  const ids = new IdSpace(newIdPrefix(NOW));
  const other = new IdSpace(newIdPrefix(NOW));
  assert.equal(ids.seq(other.id(5)), -1);
  assert.equal(ids.seqFrom("0".repeat(27)), 0);
  assert.equal(ids.seqFrom("aWgEPTl1tmebfsQzFP4bxwgy80V"), Number.MAX_SAFE_INTEGER);
});

test("texts that are no KSUIDs are refused with their reason", () => {
  assert.match(idError("")!.message, /^invalid storage id; '': Valid encoded KSUIDs are 27/);
  assert.match(idError("x".repeat(28))!.message, /are 27 characters$/);
  assert.match(idError("\u00e4".repeat(27))!.message, /are 27 characters$/);
  for (const id of [
    `${"\u00e4".repeat(13)}a`,
    "aWgEPTl1tmebfsQzFP4bxwgy80W",
    "z".repeat(27),
    `${"0".repeat(26)}-`,
  ]) {
    assert.match(idError(id)!.message, /are bounded by 0{27} and aWgEPTl1tmebfsQzFP4bxwgy80V$/);
  }
});
