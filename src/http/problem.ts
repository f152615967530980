// What an error looks like under /v2: a problem of RFC 9457, in JSON or as the message of Protobuf. All
// that it says comes from the error and its row of the catalogue. Must never be asked under /v1.

import type { Format } from "../codec/answer.ts";
import { ProblemSchema } from "../codec/gen/querator/v2/problem_pb.ts";
import { encodeJson } from "../codec/json.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import { ERRORS, type ErrorCode, type QueueError, SomeRefusedError } from "../errors.ts";

/** The Content-Type of a problem in JSON; in Protobuf it is the one that was asked for. */
export const PROBLEM_TYPE = "application/problem+json";

// What to do, where the text of /v1 leaves it open and may not change.
const ADVICE: Partial<Record<ErrorCode, string>> = {
  unsupported_media_type: "send Content-Type: application/json, or application/protobuf",
};

/** Seconds after which whoever is sent away with 429 or 503 may come again. */
export const RETRY_AFTER = 1;

/** The body of an error, with the id of the request that it answers. */
export function encodeProblem(
  error: QueueError,
  format: Format,
  requestId: string,
): string | Uint8Array {
  const { code, detail, field = "", details = {} } = error;
  const { status, retryable } = ERRORS[code];
  const problem = {
    type: `/docs#${code}`,
    title: titleOf(code),
    status,
    code,
    detail: (code in ADVICE ? `${detail}; ${ADVICE[code]}` : detail).toWellFormed(),
    field: field.toWellFormed(),
    retryable,
    requestId,
    details: textsOf(details),
    results: error instanceof SomeRefusedError ? error.results : undefined,
  };
  return format === "json"
    ? encodeJson(ProblemSchema, problem)
    : encodeProtobuf(ProblemSchema, problem);
}

/** A code in words: `Queue not found`. */
export function titleOf(code: ErrorCode): string {
  return `${code[0]!.toUpperCase()}${code.slice(1).replaceAll("_", " ")}`;
}

// But for what the problem says in members of its own.
function textsOf(details: Readonly<Record<string, string | number>>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(details)) {
    if (name !== "detail" && name !== "field") texts[name] = String(value).toWellFormed();
  }
  return texts;
}
