import assert from "node:assert/strict";
import { test } from "node:test";
import { blanked, fingerprintOf, kindOf } from "./fingerprint.ts";

test("a message is told without what is another each time", () => {
  const alike: readonly [string, string][] = [
    ["order 17 is not there", "order 230 is not there"],
    ["took 1.5 s, 3 retries", "took 20.75 s, 12 retries"],
    ["user 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "user 00000000-4f89-11d3-9a0c-0305e82c33ff"],
    ["at 0x7ffe0", "at 0x12"],
    ["object 507f1f77bcf86cd799439011", "object 60af1f77bcf86cd799439fff"],
    ["item 3MYU1bRy3722FDmQTN000000001", "item 2abU1bRy3722FDmQTN00000000z"],
    ["no such file 'a.txt'", "no such file 'another one.txt'"],
    ['cannot parse "{"', 'cannot parse "[1, 2"'],
    ["at 2026-11-30T17:00:00Z", "at 2025-01-02T03:04:05Z"],
  ];
  for (const [a, b] of alike) assert.equal(blanked(a), blanked(b));
});

test("what a message says stays", () => {
  const apart: readonly [string, string][] = [
    ["cannot connect", "cannot resolve"],
    ["the user's mail bounced, and the host's name is unknown", "the user's name is unknown"],
    ["decade of the facade", "facade of the decade"],
    ["internationalization failed", "misinterpretations failed"],
  ];
  for (const [a, b] of apart) assert.notEqual(blanked(a), blanked(b));
});

test("a fingerprint is of the kind and of what went wrong", () => {
  const error = { type: "TypeError", message: "x is 1", stack: "at 1" };
  const death = { kind: "mail", error, reason: "attempts" } as const;
  const known = fingerprintOf(death);
  assert.match(known, /^[0-9a-f]{16}$/);
  assert.equal(
    fingerprintOf({ ...death, error: { ...error, message: "x is 2", stack: "" } }),
    known,
  );
  // What its consumer has said of it counts, and not what made it the last attempt.
  assert.equal(fingerprintOf({ ...death, reason: "rejected" }), known);
  assert.notEqual(fingerprintOf({ ...death, kind: "sms" }), known);
  assert.notEqual(fingerprintOf({ ...death, error: { ...error, type: "Error" } }), known);
  const silent = { ...death, error: undefined };
  assert.notEqual(fingerprintOf(silent), fingerprintOf({ ...silent, reason: "expired" }));
});

test("the kind is read from the text of a record", () => {
  assert.equal(kindOf(""), "");
  assert.equal(kindOf('"reference":"kind"'), "");
  assert.equal(kindOf('"encoding":"e","kind":"a\\"b","reference":"r"\tj{"kind":"no"}'), 'a"b');
  assert.equal(kindOf('"reference":"r"\tu{"kind":"no"}'), "");
});
