// The head of a request, the same whichever reader has read it (plain-head.ts or server.ts), and what is
// checked before the body is read. Knows no endpoint by name.

import { invalidField, queueError } from "../errors.ts";
import type { Endpoint } from "./edge.ts";
import type { Media } from "./media.ts";

/** What a head says, before anybody has looked for its endpoint. */
export interface Told {
  readonly path: string;
  /** Whether the path is one of /v2. */
  readonly isV2: boolean;
  readonly authorization: string | undefined;
  /** The id that the client gave, or a new one; "" if one is made only when it is needed. */
  readonly requestId: string;
  /** As the client gave it; not used under /v1. */
  readonly idempotencyKey: string | undefined;
  readonly traceparent: string | undefined;
  readonly tracestate: string | undefined;
  /** As the client gave it. */
  readonly namespace: string | undefined;
}

/** A head whose endpoint is known, and whose formats are supported. */
export interface Head extends Told {
  readonly endpoint: Endpoint;
  /** The format of the body, and that of the reply. */
  readonly sent: Media;
  readonly accepted: Media;
  /** Bytes of the body; -1 if the head does not say. */
  readonly contentLength: number;
}

const IDEMPOTENCY_KEY = /^[!-~]{1,255}$/;

/** Whether a path is one of /v2, which has its own form of errors, and accepts more than /v1. */
export function isV2(path: string): boolean {
  return path.startsWith("/v2/");
}

/**
 * Checks the Authorization and Idempotency-Key headers; throws a QueueError. There is no authentication yet,
 * so every caller is let in. Only /v1 refuses another scheme than Bearer, for its clients rely on that; it is
 * most likely meant for a proxy in front.
 */
export function admit({ isV2, authorization, idempotencyKey }: Told): void {
  if (authorization !== undefined && !isV2 && !authorization.startsWith("Bearer ")) {
    throw queueError("unauthenticated", {});
  }
  if (idempotencyKey !== undefined && isV2 && !IDEMPOTENCY_KEY.test(idempotencyKey)) {
    const text = "Idempotency-Key header is invalid; it must have 1 to 255 visible characters";
    throw invalidField("Idempotency-Key", text);
  }
}
