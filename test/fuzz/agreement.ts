// The same message must get the same answer whatever it is written in: sent as JSON and as Protobuf,
// answered as JSON and as Protobuf, code and message agree; and so does what a read answers. Where a
// request was accepted and changes something, the next one may find another state: then only those
// are compared that are accepted again.

import { isDeepStrictEqual } from "node:util";
import type { JsonValue } from "@bufbuild/protobuf";
import type { PipeClient } from "../support/pipe-client.ts";
import type { Endpoint } from "./endpoints.ts";
import { FORMATS, type Input, requestTo } from "./input.ts";
import { type Fault, isFault, isUnknown, type Judged, judge } from "./judge.ts";
import { type Entry, toJson, toProtobuf } from "./message-tree.ts";
import type { Sender } from "./sender.ts";
import { readState, somethingWasDue } from "./visible-state.ts";

// Once accepted, accepted again: sending them twice is no error.
const REPEATABLE = /\.(produce|clear|reload|update|import|delete)$/;
const NAMED_ONCE = /(queues|namespaces|users|roles|bindings)\.delete$/;
// They tell of the moment at which they are asked.
const OF_NOW =
  /^\/v2\/(debug\.dump|server\.overview|queues\.overview|queue\.history|queue\.consumers)$/;

const LARGE = 400_000;

export interface Agreement {
  readonly fault: Fault | undefined;
  readonly inputs: readonly Input[];
}

/** Sends a message in all combinations. Where time has moved items meanwhile, nothing is compared. */
export async function agree(
  { sender, client }: { readonly sender: Sender; readonly client: PipeClient },
  endpoint: Endpoint,
  entries: readonly Entry[],
): Promise<Agreement> {
  const inputs = FORMATS.flatMap((sends) => {
    const body = sends === "json" ? toJson(entries) : toProtobuf(entries);
    const made = "portable message";
    return FORMATS.map((accepts) => requestTo(endpoint, body, { sends, accepts, made }));
  });
  // Large bodies are read in another way.
  const padded = Buffer.concat([Buffer.alloc(LARGE, " "), toJson(entries)]);
  if (padded.length <= endpoint.bodyBytesMax) {
    const made = "portable message, padded";
    inputs.push(requestTo(endpoint, padded, { sends: "json", accepts: "json", made }));
  }
  const fitting = inputs.every(({ body }) => body.length <= endpoint.bodyBytesMax);
  if (!fitting) return { fault: undefined, inputs: [] };
  const before = await readState(client);
  const fault = await compare(sender, endpoint, inputs);
  const moved = fault !== undefined && somethingWasDue(before, Date.now());
  return { fault: moved ? undefined : fault, inputs };
}

async function compare(
  sender: Sender,
  endpoint: Endpoint,
  inputs: readonly Input[],
): Promise<Fault | undefined> {
  let first: Judged | undefined;
  for (const input of inputs) {
    const outcome = await sender.send(input);
    if (outcome === undefined) return undefined;
    const judged = judge(input, outcome);
    if (isFault(judged)) return judged;
    if (isUnknown(judged) || isOverdue(judged)) return undefined;
    first ??= judged;
    if (!sameAnswer(endpoint, first, judged)) {
      const detail = `${JSON.stringify(first)} and then ${JSON.stringify(judged)}`;
      return { kind: `formats disagree on ${endpoint.path}`, detail };
    }
  }
  return undefined;
}

// Whether a short time-out is over depends on how busy the machine is.
function isOverdue({ status, body }: Judged): boolean {
  const { message = "", detail = message } = (body ?? {}) as { message?: string; detail?: string };
  return [454, 503, 504].includes(status) && detail.startsWith("request timeout; ");
}

function sameAnswer(endpoint: Endpoint, first: Judged, then: Judged): boolean {
  if (first.status === 200 && !endpoint.reads) {
    const { path } = endpoint;
    const repeats = REPEATABLE.test(path) && !NAMED_ONCE.test(path);
    // A unique key is taken by the first, and a version is another one after it.
    const isBehind = path.startsWith("/v2/") && then.status === 409;
    return !repeats || then.status === 200 || isBehind;
  }
  if (first.status === 200 && OF_NOW.test(endpoint.path)) return then.status === 200;
  return first.status === then.status && isDeepStrictEqual(ageless(first), ageless(then));
}

// Without what time alone changes: ages, and estimates.
function ageless({ body }: Judged): JsonValue {
  const text = JSON.stringify(body ?? null, (key, value) =>
    /_age$|^expected_at$|^(rates|wait_time|run_time)$/.test(key) ? "" : value,
  );
  return JSON.parse(text) as JsonValue;
}
