// When an item whose handler failed is tried again, and when it is given up, as its worker says; what the server
// says of it are retry-settings.ts.

import { fullJitter } from "./backoff.ts";
import { type Duration, toMs } from "./duration.ts";
import type { LeasedItem } from "./items.ts";

/** What a policy decides by. */
export interface Failure {
  /** How often the item has been leased, this time included: 1 for the first failure. */
  readonly attempts: number;
  readonly error: unknown;
  readonly item: LeasedItem;
}

/** Answers how long to wait before the item is leased again, or that it is dead. */
export type RetryPolicy = (failure: Failure) => Duration | "dead";

export interface AttemptsBound {
  /** After so many leases the item is dead; without bound by default (that of the queue holds). */
  readonly max?: number | undefined;
}

/** The same wait every time. */
export function fixed(delay: Duration, { max }: AttemptsBound = {}): RetryPolicy {
  const ms = toMs(delay, "delay");
  return ({ attempts }) => (isOver(attempts, max) ? "dead" : ms);
}

/**
 * Waits that double from `base` (1s) to `cap` (15m). With `jitter`, the default, each is a random part of
 * that, so that what failed together does not come back together.
 */
export function exponential(
  options: AttemptsBound & {
    readonly base?: Duration | undefined;
    readonly cap?: Duration | undefined;
    readonly jitter?: boolean | undefined;
  } = {},
): RetryPolicy {
  const { base = "1s", cap = "15m", jitter = true, max } = options;
  const baseMs = toMs(base, "base");
  const capMs = toMs(cap, "cap");
  return ({ attempts }) => {
    if (isOver(attempts, max)) return "dead";
    if (jitter) return fullJitter({ baseMs, capMs }, attempts);
    return Math.min(capMs, baseMs * 2 ** Math.min(attempts - 1, 40));
  };
}

function isOver(attempts: number, max: number | undefined): boolean {
  return max !== undefined && attempts >= max;
}
