// Requests that take long, as they are told to whoever wants to hear of them. What tells of them costs a request that
// does not take long one comparison.

import type { Edge, Reply } from "./edge.ts";
import type { Told } from "./head.ts";

/** One that took long. */
export interface SlowRequest {
  readonly method: string;
  readonly path: string;
  readonly requestId: string;
  /** The headers, as given. */
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  /** The queue that it was about, as it has named it; "" if it has not got that far, or is about none. */
  readonly about: string;
  readonly status: number;
  /** Bytes of the body of the reply. */
  readonly replyBytes: number;
  /** How long it took until its reply was given to the socket, in microseconds. */
  readonly took: number;
}

/** Who hears of them. */
export interface SlowRequests {
  /** How long one takes that is told, in microseconds. */
  readonly after: number;
  /** Must return at once. */
  note(request: SlowRequest): void;
}

/** Tells of a request, which has taken long. */
export function noteSlow(
  { slow }: Edge,
  { path, requestId, traceparent, tracestate }: Told,
  { status, body }: Reply,
  more: Pick<SlowRequest, "method" | "about" | "took">,
): void {
  slow?.note({
    path,
    requestId,
    traceparent,
    tracestate,
    status,
    replyBytes: body.length,
    ...more,
  });
}
