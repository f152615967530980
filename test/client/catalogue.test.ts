// The client tells errors apart by their texts, as servers before the catalogue have none but those:
// what the catalogue says of an error is what the client makes of its reply.

import assert from "node:assert/strict";
import { test } from "node:test";
import { errorOfReply } from "../../client/src/errors.ts";
import { ERROR_KINDS, ERRORS, type ErrorCode } from "../../src/errors.ts";

// Beside those whose code is the same word by word.
const CALLED: Partial<Record<ErrorCode, string>> = {
  timed_out: "not-executed",
  taken_over: "outcome-unknown",
  queue_shutting_down: "shutting-down",
  storage_unavailable: "try-again",
  partition_failing: "try-again",
  storage_unusable: "failed",
  namespace_not_found: "failed",
  client_gone: "network",
  unauthenticated: "unauthorized",
  permission_denied: "forbidden",
  no_such_method: "not-implemented",
  unsupported_encoding: "content",
  unsupported_media_type: "content",
  not_acceptable: "content",
  invalid_request: "content",
  unknown_field: "content",
  invalid_field: "invalid",
  method_not_allowed: "invalid",
  queue_in_use: "invalid",
  body_too_large: "invalid",
};

test("the client knows every error of the catalogue by its text", () => {
  for (const [code, { kind, text, retryable }] of Object.entries(ERRORS)) {
    const { status } = ERROR_KINDS[kind];
    const error = errorOfReply(status, JSON.stringify({ code: status, message: text }));
    assert.equal(error.code, CALLED[code as ErrorCode] ?? code.replaceAll("_", "-"), code);
    assert.equal(error.retryable, retryable, code);
  }
});
