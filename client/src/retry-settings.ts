// When the server tries failed items again by itself, of a queue or of one item; a worker may have a policy of its
// own, which is retry-policy.ts.

import { type Duration, toText } from "./duration.ts";

/** What is left out stays as it is, or has its default. */
export interface RetrySettings {
  /** How long the first retry waits; at once by default. */
  readonly delay?: Duration | undefined;
  /** By what each later wait is longer than the one before; 2 by default. */
  readonly factor?: number | undefined;
  /** The longest wait; an hour by default. */
  readonly maxDelay?: Duration | undefined;
  /** What part of a wait is left to chance, from 0 to 1; 0.2 by default. */
  readonly jitter?: number | undefined;
  /** After so many leases it is tried no more; 0 for no bound. Of a queue the same as its `maxAttempts`. */
  readonly maxAttempts?: number | undefined;
}

export interface WireRetrySettings {
  readonly delay?: string | undefined;
  readonly factor?: number | undefined;
  readonly max_delay?: string | undefined;
  readonly jitter?: number | undefined;
  readonly max_attempts?: number | undefined;
}

export function encodeRetrySettings(settings: RetrySettings): WireRetrySettings {
  const { delay, factor, maxDelay, jitter, maxAttempts } = settings;
  return {
    delay: delay === undefined ? undefined : toText(delay, "retry.delay"),
    factor,
    max_delay: maxDelay === undefined ? undefined : toText(maxDelay, "retry.maxDelay"),
    jitter,
    max_attempts: maxAttempts,
  };
}

export function decodeRetrySettings(
  wire: WireRetrySettings | undefined,
): RetrySettings | undefined {
  if (wire === undefined) return undefined;
  const { delay, factor, max_delay: maxDelay, jitter, max_attempts: maxAttempts } = wire;
  return { delay, factor, maxDelay, jitter, maxAttempts };
}
