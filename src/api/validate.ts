// The checks that need nothing but the request and the limits, each with its exact
// text. A check throws a QueueError (400); routes call them in the order that clients rely on.

import { type Clock, MILLISECOND, MINUTE, SECOND } from "../clock.ts";
import { formatDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { readDuration } from "../registry/settings.ts";

const REQUEST_TIMEOUT_MIN = 10 * MILLISECOND;
const REQUEST_TIMEOUT_MAX = 15 * MINUTE;
const TIMEOUT_DEFAULT = 30 * SECOND;

/** What a list whose limit is 0 may hold, and the most that a list of queues may be asked for. */
export const LIST_LIMIT_DEFAULT = 1_000;
export const QUEUES_LIST_LIMIT_MAX = 65_536;

/** Attempts of an imported item: far from where a field of 32 bits ends, however often it is leased. */
export const IMPORT_ATTEMPTS_MAX = 1_000_000_000;

/** What a retry, which carries no time-out, is given. */
export const RETRY_TIMEOUT = 5 * MINUTE;

// Clients use the same few time-outs over and over, and parsing one costs as much as many a request.
const TIMEOUTS_MAX = 64;
const TIMEOUT_LENGTH_MAX = 32;
const timeouts = new Map<string, number>();

const REQUEST_TIMEOUT = {
  field: "request_timeout",
  called: "request timeout",
  examples: "900ms, 5m or 15m",
};

/** Parses the time-out of a request, in microseconds; 0 if it was not given. */
export function parseRequestTimeout(text: string): number {
  const known = timeouts.get(text);
  if (known !== undefined) return known;
  const timeout = readDuration(text, REQUEST_TIMEOUT);
  if (text.length <= TIMEOUT_LENGTH_MAX) {
    if (timeouts.size === TIMEOUTS_MAX) timeouts.clear();
    timeouts.set(text, timeout);
  }
  return timeout;
}

export function checkTimeoutGiven(timeout: number): void {
  if (timeout !== 0) return;
  throw invalidField(
    "request_timeout",
    "request timeout is required; '5m' is recommended, 15m is the maximum",
  );
}

/** The time-out of a request under /v2, where every request may go without. */
export function readTimeout(text: string): number {
  if (text === "") return TIMEOUT_DEFAULT;
  const timeout = parseRequestTimeout(text);
  checkTimeoutMax(timeout);
  checkTimeoutMin(timeout);
  return timeout;
}

/** The longest time-out is 15m, which itself is refused if `exclusive`. */
export function checkTimeoutMax(timeout: number, exclusive = false): void {
  if (timeout < REQUEST_TIMEOUT_MAX || (timeout === REQUEST_TIMEOUT_MAX && !exclusive)) return;
  throw invalidField(
    "request_timeout",
    `request timeout is invalid; maximum timeout is '15m' but '${formatDuration(timeout)}' was requested`,
  );
}

export function checkTimeoutMin(timeout: number): void {
  if (timeout >= REQUEST_TIMEOUT_MIN) return;
  throw invalidField(
    "request_timeout",
    `request timeout is invalid; minimum timeout is '10ms' but '${formatDuration(timeout)}' was requested`,
  );
}

/** The deadline of a complete, in steady time; its time-out may be negative: that asks for none. */
export function completeDeadline(steady: number, timeout: number): number {
  return steady + (timeout < 0 ? REQUEST_TIMEOUT_MAX : timeout);
}

/** The limit of a list: 0 means the default. */
export function checkListLimit(limit: number, max = Number.MAX_SAFE_INTEGER): number {
  if (limit < 0) throw invalidField("limit", "limit is invalid; limit cannot be negative");
  if (limit > max) {
    throw invalidField("limit", `limit is invalid; cannot be greater than ${max}`);
  }
  return limit === 0 ? LIST_LIMIT_DEFAULT : limit;
}

/** A partition must be one of the queue's. */
export function checkPartition(partition: number, partitionCount: number): void {
  if (partition >= 0 && partition < partitionCount) return;
  throw invalidField("partition", `partition is invalid; '${partition}' is not a valid partition`);
}

/** What both versions refuse in items to import. */
export function checkImport(items: readonly { readonly attempts: number }[]): void {
  if (items.length === 0) throw invalidField("items", "items is invalid; cannot be empty");
  for (const [index, { attempts }] of items.entries()) {
    if (attempts >= 0 && attempts <= IMPORT_ATTEMPTS_MAX) continue;
    throw invalidField(
      `items[${index}].attempts`,
      `attempts is invalid; '${attempts}' is not between 0 and ${IMPORT_ATTEMPTS_MAX}`,
    );
  }
}

export function checkIdCount(ids: readonly string[]): void {
  if (ids.length === 0) throw invalidField("ids", "ids is invalid; cannot be empty");
}

/** How many leased items one request may end. */
export function checkEndings(
  what: "ids" | "items" | "leases",
  count: number,
  limits: Limits,
): void {
  if (count === 0) throw invalidField(what, `${what} is invalid; list of ${what} cannot be empty`);
  if (count > limits.completeBatch) {
    throw invalidField(
      what,
      `${what} is invalid; max_complete_batch_size is ${limits.completeBatch} but received ${count}`,
    );
  }
}

interface Moment {
  readonly at: number;
  readonly delay: string;
  /** Of what holds both fields. */
  readonly path: string;
  /** Of the field `at`. */
  readonly name: string;
}

/** The time that a delay from now leads to; it may not be given beside the time itself. */
export function readMoment({ at, delay, path, name }: Moment, clock: Clock): number {
  const field = `${path}.delay`;
  if (at !== 0) throw invalidField(field, `${field} is invalid; give either '${name}' or 'delay'`);
  const later = readDuration(delay, { field, called: field, examples: "30s, 5m or 1h" });
  if (later < 0) throw invalidField(field, `${field} is invalid; '${delay}' cannot be negative`);
  const now = clock.now();
  return now + Math.trunc(later);
}
