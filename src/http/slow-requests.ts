// Requests that were slow, as they are told to whoever wants to hear of them: which one, and where its time went. What it
// has waited for is not counted: items that were not there, another request, or its own body. One that is not slow costs
// a comparison.

import { type SlowLog, toMs } from "../slow.ts";
import type { Edge, Reply } from "./edge.ts";
import type { Told } from "./head.ts";

/** A request that was answered; times are steady. */
export interface Answered {
  readonly told: Told;
  readonly method: string;
  /** The queue that it was about; "" if it was about none, or nobody came to know. */
  readonly queue: string;
  readonly bodyBytes: number;
  /** When its head was there, all of it was there, until when it waited, and when it was answered. */
  readonly headAt: number;
  readonly readAt: number;
  readonly waitedUntil: number;
  readonly answeredAt: number;
}

/** One that was slow. */
export interface SlowRequest extends Answered {
  readonly status: number;
  /** Bytes of the body of the reply. */
  readonly replyBytes: number;
  /** How long it took, in microseconds. */
  readonly took: number;
  /** How long it has waited since it was read. */
  readonly waited: number;
}

/** Who hears of them. */
export interface SlowRequests {
  /** How long one takes that is told, in microseconds. */
  readonly limit: number;
  /** Must return at once. */
  note(request: SlowRequest): void;
}

/** How long none takes that anybody hears of. */
export function slowAfter(slow: readonly SlowRequests[]): number {
  return Math.min(...slow.map(({ limit }) => limit));
}

/** Tells of a request, if it was slow without what it has waited for. */
export function noteSlow({ slow }: Edge, { status, body }: Reply, request: Answered): void {
  const { readAt, waitedUntil, answeredAt } = request;
  const from = Math.min(Math.max(readAt, waitedUntil), answeredAt);
  const took = answeredAt - from;
  const told = { ...request, status, replyBytes: body.length, took, waited: from - readAt };
  for (const each of slow) if (took >= each.limit) each.note(told);
}

/** Tells the log. */
export class SlowRequestLog implements SlowRequests {
  readonly #log: SlowLog;

  constructor(log: SlowLog) {
    this.#log = log;
  }

  get limit(): number {
    return this.#log.limit;
  }

  note(request: SlowRequest): void {
    const { told, status, queue, bodyBytes, headAt, readAt, took, waited } = request;
    const readTime = readAt - headAt;
    this.#log.note(told.path, took, () => ({
      ...(told.requestId !== "" && { request_id: told.requestId }),
      status,
      ...(queue !== "" && { queue }),
      body_bytes: bodyBytes,
      ...(readTime > 0 && { read_ms: toMs(readTime) }),
      ...(waited > 0 && { waited_ms: toMs(waited) }),
    }));
  }
}
