// The trace that items belong to: what their fields say of it, or else the headers of the request that brings them.

import type { QueueProduceItemSchema } from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { invalidField } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import {
  isTracestate,
  TRACEPARENT_LENGTH,
  TRACESTATE_MAX,
  type TraceContext,
  validTraceparent,
} from "../trace-context.ts";
import type { FieldNote } from "./openapi/fields.ts";

type Given = Pick<Decoded<typeof QueueProduceItemSchema>, "traceparent" | "tracestate">;

/** The trace of a request by its headers; undefined without one. What is not valid is as if it were not there. */
export function traceOf({
  traceparent: given,
  tracestate = "",
}: Pick<Exchange, "traceparent" | "tracestate">): TraceContext | undefined {
  if (given === undefined) return undefined;
  const traceparent = validTraceparent(given);
  if (traceparent === undefined) return undefined;
  return { traceparent, tracestate: isTracestate(tracestate) ? tracestate : "" };
}

/** What an item says of its trace; undefined if it says nothing. */
export function readTrace(
  { traceparent, tracestate }: Given,
  path: string,
): TraceContext | undefined {
  if (traceparent === "") {
    if (tracestate === "") return undefined;
    const field = `${path}.tracestate`;
    throw invalidField(field, `${field} is invalid; there is no traceparent`);
  }
  const valid = validTraceparent(traceparent);
  if (valid === undefined) {
    const field = `${path}.traceparent`;
    const text = `'${traceparent.slice(0, 64)}' is none as W3C Trace Context has them`;
    throw invalidField(field, `${field} is invalid; ${text}`);
  }
  if (!isTracestate(tracestate)) {
    const field = `${path}.tracestate`;
    const text = `it must be of printable ASCII characters, and not more than '${TRACESTATE_MAX}'`;
    throw invalidField(field, `${field} is invalid; ${text}`);
  }
  return { traceparent: valid, tracestate };
}

/** The fields that show it. */
export const TRACE: Readonly<Record<keyof TraceContext, FieldNote>> = {
  traceparent: {
    text: "The trace that it belongs to, as W3C Trace Context writes it, if it was produced with one.",
    request: { minLength: TRACEPARENT_LENGTH },
    accepted: { pattern: "^$|^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}" },
  },
  tracestate: {
    text: "What tracing systems add to that.",
    request: { maxLength: TRACESTATE_MAX },
  },
};

/** The same of an item that is produced. */
export const OWN_TRACE: typeof TRACE = {
  traceparent: {
    ...TRACE.traceparent,
    text: "The trace that the item belongs to, as W3C Trace Context writes it; by default that of the request, by its traceparent header. It stays with the item.",
  },
  tracestate: {
    ...TRACE.tracestate,
    text: "What tracing systems add to that; by default the tracestate header, with that of traceparent.",
  },
};
