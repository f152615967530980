// The client tells errors under /v1 apart by their texts, as there is no more to them, and those under
// /v2 by their codes: what the catalogue says of an error is what the client makes of both replies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Dialect } from "../../client/src/dialect.ts";
import {
  errorOfReply,
  InvalidRequestError,
  ItemCancelledError,
  LeaseLostError,
  NotFoundError,
  PermissionError,
  ServerError,
  TryAgainError,
  UniqueKeyTakenError,
} from "../../client/src/errors.ts";
import { ERROR_KINDS, ERRORS, type ErrorCode, QueueError } from "../../src/errors.ts";
import { encodeProblem } from "../../src/http/problem.ts";

// Beside those whose code is the same word by word.
const CALLED: Partial<Record<ErrorCode, string>> = {
  timed_out: "not-executed",
  taken_over: "outcome-unknown",
  queue_shutting_down: "shutting-down",
  storage_unavailable: "try-again",
  partition_failing: "try-again",
  storage_unusable: "failed",
  client_gone: "network",
  unauthenticated: "unauthorized",
  permission_denied: "forbidden",
  read_only: "forbidden",
  no_such_method: "not-implemented",
  unsupported_encoding: "content",
  unsupported_media_type: "content",
  not_acceptable: "content",
  invalid_request: "content",
  unknown_field: "content",
  invalid_field: "invalid",
  method_not_allowed: "invalid",
  queue_in_use: "invalid",
  idempotency_mismatch: "invalid",
  request_in_progress: "try-again",
  body_too_large: "too-large",
};

// What no call of /v1 is answered: that has a code only.
const OF_V2_ONLY: Readonly<Record<string, new (...args: never[]) => Error>> = {
  item_cancelled: ItemCancelledError,
  precondition_failed: InvalidRequestError,
  unique_key_taken: UniqueKeyTakenError,
  redrive_not_found: InvalidRequestError,
  key_not_found: NotFoundError,
};

test("the client knows every error of the catalogue by its text", () => {
  for (const [code, { kind, text, retryable }] of Object.entries(ERRORS)) {
    if (Object.hasOwn(OF_V2_ONLY, code)) continue;
    const { status } = ERROR_KINDS[kind];
    const error = errorOfReply(status, JSON.stringify({ code: status, message: text }));
    assert.equal(error.code, CALLED[code as ErrorCode] ?? code.replaceAll("_", "-"), code);
    assert.equal(error.retryable, retryable, code);
  }
});

test("the client knows every error of the catalogue by its code, as the same as by its text", () => {
  for (const [key, row] of Object.entries(ERRORS)) {
    const code = key as ErrorCode;
    const { status, kind, text } = row;
    // Whatever it says in words.
    const problem = new QueueError(kind, "some words", { code });
    const body = encodeProblem(problem, "json", "r").toString();
    const error = errorOfReply(status, body);
    if (Object.hasOwn(OF_V2_ONLY, code)) {
      const { retryable, uncertain } = error;
      assert.equal(error.code, code.replaceAll("_", "-"));
      assert.equal(error.constructor, OF_V2_ONLY[code]);
      assert.deepEqual([error.status, retryable, uncertain], [status, row.retryable, false], code);
      continue;
    }
    const v1 = ERROR_KINDS[kind].status;
    const before = errorOfReply(v1, JSON.stringify({ code: v1, message: text }));
    assert.equal(error.code, before.code, code);
    assert.equal(error.constructor, before.constructor, code);
    assert.equal(error.retryable, before.retryable, code);
    assert.equal(error.status, status, code);
    // A text tells more of this one than its code does not.
    if (code !== "shutting_down") assert.equal(error.uncertain, before.uncertain, code);
  }
});

test("the client makes something of codes that it does not know", () => {
  const reply = (status: number, more: object) =>
    errorOfReply(
      status,
      JSON.stringify({ status, code: "new_code", detail: "it is new", ...more }),
    );
  assert.ok(reply(409, {}) instanceof InvalidRequestError);
  assert.ok(reply(403, {}) instanceof PermissionError);
  assert.ok(reply(500, {}) instanceof ServerError);
  const later = reply(429, { retryable: true });
  assert.ok(later instanceof TryAgainError);
  assert.deepEqual([later.retryable, later.uncertain, later.message], [true, false, "it is new"]);
  assert.equal(reply(503, { retryable: true }).uncertain, true);
  // A name that every object has is no code.
  const odd = { status: 409, code: "constructor", detail: "odd" };
  assert.equal(errorOfReply(409, JSON.stringify(odd)).code, "invalid");
});

test("the client takes from a problem of which item it speaks", () => {
  const details = { verb: "released", id: "an id" };
  const problem = new QueueError("invalid", "some words", { code: "not_leased", details });
  const error = errorOfReply(409, encodeProblem(problem, "json", "r").toString());
  assert.ok(error instanceof LeaseLostError);
  assert.equal(error.leaseId, "an id");
});

test("a server without /v2 is told from one in which something is not there", () => {
  const of = (status: number, code: ErrorCode) =>
    errorOfReply(
      status,
      encodeProblem(new QueueError("invalid", "x", { code }), "json", "r") as string,
    );
  const isOld = (error: unknown): boolean => {
    const dialect = new Dialect(Date.now);
    const isUnknown = dialect.isUnknown(error);
    assert.equal(dialect.knowsV2, !isUnknown);
    return isUnknown;
  };
  // It is in the form of /v2, which is known then.
  assert.equal(isOld(of(404, "no_such_method")), false);
  assert.equal(isOld(of(404, "queue_not_found")), false);
  assert.equal(isOld(of(404, "item_not_found")), false);
  assert.equal(isOld(errorOfReply(404, "<html>")), true);
  assert.equal(isOld(errorOfReply(501, '{"code":501,"message":"no such method; /v2/x"}')), true);
});
