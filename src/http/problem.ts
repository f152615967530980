// What an error looks like under /v2: a problem of RFC 9457, in JSON or as the message of Protobuf. All
// that it says comes from the error and its row of the catalogue. Must never be asked under /v1.

import { create, toBinary } from "@bufbuild/protobuf";
import type { Format } from "../codec/answer.ts";
import { ProblemSchema } from "../codec/gen/querator/v2/problem_pb.ts";
import { ERRORS, type ErrorCode, type QueueError } from "../errors.ts";

/** The Content-Type of a problem in JSON; in Protobuf it is the one that was asked for. */
export const PROBLEM_TYPE = "application/problem+json";

/** Seconds after which whoever is sent away with 429 or 503 may come again. */
export const RETRY_AFTER = 1;

/** The body of an error, with the id of the request that it answers. */
export function encodeProblem(
  { code, message, field, details = {} }: QueueError,
  format: Format,
  requestId: string,
): string | Uint8Array {
  const { status, retryable } = ERRORS[code];
  const type = `/docs#${code}`;
  const title = titleOf(code);
  const detail = message.toWellFormed();
  const wrong = field?.toWellFormed() ?? "";
  const told = textsOf(details);
  if (format === "protobuf") {
    const init = { type, title, status, code, detail, field: wrong, retryable, requestId };
    return toBinary(ProblemSchema, create(ProblemSchema, { ...init, details: told }));
  }
  return JSON.stringify({
    ...{ type, title, status, code, detail },
    // As everywhere, what is empty or false is left out.
    ...(wrong !== "" && { field: wrong }),
    ...(retryable && { retryable }),
    request_id: requestId,
    ...(Object.keys(told).length > 0 && { details: told }),
  });
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
