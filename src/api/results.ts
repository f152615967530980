// The answer of /v2 to a call on several things: what became of each, in the order of the request.

import type { Answer } from "../codec/answer.ts";
import { ResultsResponseSchema } from "../codec/gen/querator/v2/result_pb.ts";
import { encodeJson } from "../codec/json.ts";
import { encodeProtobuf } from "../codec/protobuf.ts";
import type { QueueError } from "../errors.ts";
import type { Notes } from "./openapi/fields.ts";

/** One of them, by its index, and why nothing was done. */
export interface Refused {
  readonly index: number;
  readonly error: QueueError;
}

/** What there is to say of them, by their index. */
export interface Told {
  readonly dead?: readonly number[];
  /** When leases end now, by the index of each; 0 for one that is refused. */
  readonly deadlines?: readonly number[];
  /** What was produced with it. */
  readonly made?: readonly { readonly id: string; readonly status: string }[];
  readonly refused: readonly Refused[];
}

/** The answer. That all are done, and no more, is what there mostly is to say. */
export function resultsAnswer(count: number, told: Told): Answer {
  const { dead = [], deadlines = [], made = [], refused } = told;
  return {
    encode: (format) => {
      const isPlain = dead.length + deadlines.length + made.length + refused.length === 0;
      if (isPlain && format === "json") return plainJson(count);
      const results: Result[] = new Array(count).fill(DONE);
      for (const [index, leaseDeadline] of deadlines.entries()) {
        results[index] = { ok: true, leaseDeadline };
      }
      for (const index of dead) results[index] = DEAD;
      for (const { index, error } of refused) results[index] = resultOf(error);
      const produced = made.length === 0 ? undefined : made;
      const message = { results, failed: refused.length, produced };
      return format === "json"
        ? encodeJson(ResultsResponseSchema, message)
        : encodeProtobuf(ResultsResponseSchema, message);
    },
  };
}

interface Result {
  readonly ok?: boolean;
  readonly dead?: boolean;
  readonly leaseDeadline?: number;
  readonly code?: string;
  readonly detail?: string;
}

const DONE: Result = { ok: true };
const DEAD: Result = { ok: true, dead: true };

function resultOf({ code, detail }: QueueError): Result {
  return { code, detail };
}

function plainJson(count: number): string {
  return count === 0 ? "{}" : `{"results":[{"ok":true}${',{"ok":true}'.repeat(count - 1)}]}`;
}

/** What the fields mean of the reply that only says that it is done. */
export const DONE_NOTES: Notes = {
  DoneResponse: { ok: { text: "That it was done.", required: "reply" } },
};

/** What the fields of the messages mean. */
export const RESULTS_NOTES: Notes = {
  ResultsResponse: {
    results: { text: "In the order of the request.", required: "reply", reply: { minItems: 1 } },
    failed: { text: "How many of them are not ok." },
    produced: {
      text: "Of queue.complete with produce: what became of those items, in their order.",
    },
  },
};
