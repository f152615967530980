// The catalogue of errors: what its rows promise, and that an error keeps what it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  detailNames,
  ERRORS,
  type ErrorCode,
  invalid,
  invalidField,
  MESSAGES,
  packError,
  plainError,
  QueueError,
  queueError,
  retryLater,
  unpackError,
} from "./errors.ts";

test("codes are in snake case, no two have one text, and the status of /v2 tells what to do", () => {
  const texts = new Set<string>();
  for (const [code, { status, retryable, text }] of Object.entries(ERRORS)) {
    assert.match(code, /^[a-z]+(_[a-z]+)*$/);
    if (text !== "{detail}") assert.ok(!texts.has(text), code);
    texts.add(text);
    const mayPass = [429, 499, 503, 504].includes(status) || code === "internal";
    assert.equal(retryable, mayPass, code);
  }
});

test("a text is made of details as they are", () => {
  const error = queueError("not_leased", { verb: "$&{id}", id: "{verb}" });
  assert.equal(error.message, "item(s) cannot be $&{id}; '{verb}' is not marked as leased");
  assert.deepEqual([error.code, error.status], ["not_leased", 400]);
  assert.deepEqual(error.details, { verb: "$&{id}", id: "{verb}" });
  assert.deepEqual(detailNames(ERRORS.not_leased.text), ["verb", "id"]);
});

test("an error has the code of its text, else one of its kind", () => {
  const told: readonly [QueueError, ErrorCode][] = [
    [retryLater(MESSAGES.overloaded), "overloaded"],
    [retryLater(MESSAGES.leaseTimeout), "no_items"],
    [new QueueError("failed", MESSAGES.serviceShutdown), "shutting_down"],
    [plainError("queue_shutting_down"), "queue_shutting_down"],
    [invalid("ids is invalid; cannot be empty"), "invalid_field"],
    [new QueueError("content", "proto: the body is empty"), "invalid_request"],
  ];
  for (const [error, code] of told) assert.equal(error.code, code);
});

test("what a client is told costs no stack, and all other errors have theirs", () => {
  assert.equal(retryLater("again").stack, "QueueError: again");
  assert.match(new Error("a defect").stack!, /^Error: a defect\n {4}at /);
});

test("an error names the field that is wrong", () => {
  const error = invalidField("items[3].kind", "kind is invalid; it is too long");
  assert.deepEqual(
    [error.code, error.field, error.status],
    ["invalid_field", "items[3].kind", 400],
  );
  assert.equal(queueError("unknown_field", { field: "colour" }).field, "colour");
  assert.equal(invalid("it is wrong").field, undefined);
});

test("an error is the same on another thread", () => {
  for (const error of [
    queueError("queue_not_found", { queue_name: "q" }),
    invalidField("delay", "delay is invalid"),
  ]) {
    const moved = unpackError(structuredClone(packError(error)));
    assert.ok(moved instanceof QueueError);
    assert.deepEqual(packError(moved), packError(error));
    assert.equal(moved.field, error.field);
  }
});
