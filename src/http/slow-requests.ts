// What is told of a request that was slow: which one, and where its time went. What it has waited for is not counted:
// items that were not there, another request, or its own body. Asked only of what took long.

import { type SlowLog, toMs } from "../slow.ts";
import type { Told } from "./head.ts";

/** A request that was answered; times are steady. */
export interface Answered {
  readonly told: Told;
  readonly status: number;
  /** The queue that it was about; "" if it was about none, or nobody came to know. */
  readonly queue: string;
  readonly bodyBytes: number;
  /** When its head was there, all of it was there, until when it waited, and when it was answered. */
  readonly headAt: number;
  readonly readAt: number;
  readonly waitedUntil: number;
  readonly answeredAt: number;
}

/** Tells of a request, if it was slow without what it has waited for. */
export function noteSlow(slow: SlowLog, request: Answered): void {
  const { told, status, queue, bodyBytes, headAt, readAt, waitedUntil, answeredAt } = request;
  const from = Math.min(Math.max(readAt, waitedUntil), answeredAt);
  const readTime = readAt - headAt;
  slow.note(told.path, answeredAt - from, () => ({
    ...(told.requestId !== "" && { request_id: told.requestId }),
    status,
    ...(queue !== "" && { queue }),
    body_bytes: bodyBytes,
    ...(readTime > 0 && { read_ms: toMs(readTime) }),
    ...(waitedUntil > readAt && { waited_ms: toMs(from - readAt) }),
  }));
}
