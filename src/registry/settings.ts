// What a client may say of a queue, and the checks of it that need nothing but limits. A check
// throws a QueueError (400) with the text that clients rely on.

import { DurationError, formatDuration, parseDuration } from "../duration.ts";
import { invalid } from "../errors.ts";
import type { QueueRecord } from "./records.ts";

export const REFERENCE_BYTES_MAX = 2_000;
export const MAX_ATTEMPTS_MAX = 65_536;
/** Characters of the duration of a queue. */
export const QUEUE_TIMEOUT_LENGTH_MAX = 15;

/** The expire_timeout of a queue that never takes an item away because of its age: a hundred years. */
export const NEVER = "876000h0m0s";

/** What a client says when it creates or updates a queue; 0 and "" stand for not given. */
export type QueueSettings = Pick<
  QueueRecord,
  | "name"
  | "leaseTimeout"
  | "expireTimeout"
  | "maxAttempts"
  | "deadQueue"
  | "reference"
  | "requestedPartitions"
>;

/** A queue that is to be made. */
export interface NewQueue extends QueueSettings {
  readonly namespace: string;
  /** The storage of each partition, in place of the shares by affinity. */
  readonly storages?: readonly string[];
}

/** The checks of the two durations of a queue, in microseconds; a text that is not given is 0. */
export function checkQueueTimeouts(
  lease: string,
  expire: string,
): {
  readonly leaseTimeout: number;
  readonly expireTimeout: number;
} {
  for (const [what, text] of [
    ["lease", lease],
    ["expire", expire],
  ] as const) {
    if (Buffer.byteLength(text) <= QUEUE_TIMEOUT_LENGTH_MAX) continue;
    throw invalid(
      `${what} timeout is invalid; cannot be greater than '${QUEUE_TIMEOUT_LENGTH_MAX}' characters`,
    );
  }
  const expireTimeout = readDuration(expire, "expire timeout", "60m, 2h or 24h");
  const leaseTimeout = readDuration(lease, "lease timeout", "8m, 15m or 1h");
  return { leaseTimeout: toMicros(leaseTimeout), expireTimeout: toMicros(expireTimeout) };
}

// Durations of queues are whole microseconds; what is less than one counts as none.
function toMicros(duration: number): number {
  return duration < 0 ? Math.floor(duration) : Math.trunc(duration);
}

/** Reads a duration, in microseconds; 0 for one that was not given. */
export function readDuration(text: string, what: string, examples: string): number {
  if (text === "") return 0;
  try {
    return parseDuration(text);
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
    throw invalid(`${what} is invalid; ${error.message} - expected format: ${examples}`);
  }
}

/** Texts and numbers, in the order that clients rely on. */
export function checkSettings(settings: QueueSettings | QueueRecord, partitionsMax: number): void {
  if (Buffer.byteLength(settings.reference) > REFERENCE_BYTES_MAX) {
    throw invalid(
      `reference field is invalid; cannot be greater than '${REFERENCE_BYTES_MAX}' characters`,
    );
  }
  if (settings.maxAttempts > MAX_ATTEMPTS_MAX) {
    throw invalid(`max attempts is invalid; cannot be greater than ${MAX_ATTEMPTS_MAX}`);
  }
  if (settings.maxAttempts < 0) throw invalid("max attempts is invalid; cannot be negative number");
  if (settings.requestedPartitions < 1) {
    throw invalid("partitions is invalid; cannot be less than 1");
  }
  if (settings.requestedPartitions > partitionsMax) {
    throw invalid(`partitions is invalid; cannot be greater than ${partitionsMax}`);
  }
}

/** Both time-outs must be positive and in order. */
export function checkTimeouts(settings: QueueSettings | QueueRecord): void {
  for (const [what, timeout] of [
    ["lease", settings.leaseTimeout],
    ["expire", settings.expireTimeout],
  ] as const) {
    if (timeout < 0) throw invalid(`${what} timeout is invalid; cannot be negative`);
    if (timeout < 1) throw invalid(`${what} timeout is invalid; cannot be empty`);
  }
  checkOrder(settings);
}

/** An item must not expire before its first lease could end. */
export function checkOrder({ leaseTimeout, expireTimeout }: QueueSettings | QueueRecord): void {
  if (leaseTimeout <= expireTimeout) return;
  throw invalid(
    `lease timeout is too long; ${formatDuration(leaseTimeout)} cannot be greater than the expire timeout ${formatDuration(expireTimeout)}`,
  );
}
