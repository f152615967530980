// The head of a request, the same whichever reader has read it (plain-head.ts, server.ts), and what must
// hold for it before its body is read. Knows no endpoint.

import { invalidField, queueError } from "../errors.ts";
import type { Endpoint } from "./edge.ts";
import type { Media } from "./media.ts";

/** What a head says, whatever it asks for. */
export interface Told {
  readonly path: string;
  /** Whether the path is one of /v2. */
  readonly isV2: boolean;
  readonly authorization: string | undefined;
  /** The one that was given, or a new one. */
  readonly requestId: string;
  /** As it was given; under /v1 nobody looks at it. */
  readonly idempotencyKey: string | undefined;
  readonly traceparent: string | undefined;
}

/** A head that can be served: its endpoint is known, and so are its formats. */
export interface Head extends Told {
  readonly endpoint: Endpoint;
  /** The format of the body, and that of the reply. */
  readonly sent: Media;
  readonly accepted: Media;
  /** Bytes of the body; -1 if it is not said. */
  readonly contentLength: number;
}

const IDEMPOTENCY_KEY = /^[!-~]{1,255}$/;

/** Whether a path is one of /v2, where errors are problems, and more is let pass than under /v1. */
export function isV2(path: string): boolean {
  return path.startsWith("/v2/");
}

/**
 * Checks who asks; throws a QueueError. Without authentication every caller is welcome. An authorization
 * of another form is most likely for a proxy in front; under /v1 clients rely on hearing of it.
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
