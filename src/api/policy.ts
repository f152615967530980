// What is said of how items are tried again, by queues and by items, and of why their attempts fail: as it
// travels, and as the queue has it. The bounds of an item's own policy are those of its queue's settings.

import type { ItemErrorSchema, RetryPolicySchema } from "../codec/gen/querator/v2/policy_pb.ts";
import type { Decoded, Encodable } from "../codec/message.ts";
import { DURATION_PATTERN, formatDuration } from "../duration.ts";
import { invalidField } from "../errors.ts";
import type { ItemError, RetryOverrides } from "../queue/queue.ts";
import {
  checkWaits,
  type GivenSettings,
  type NamedSettings,
  readLifetime,
  readSetting,
  SETTINGS,
} from "../registry/settings.ts";
import type { FieldNote, Notes } from "./openapi/fields.ts";

type Policy = Decoded<typeof RetryPolicySchema>;

// --- of a queue ---

/** What a client says of the retries of a queue, as its settings are named. */
export function namedRetry({
  retry,
  maxAttempts,
}: {
  readonly retry: Policy | undefined;
  readonly maxAttempts: number | undefined;
}): Pick<
  NamedSettings,
  "maxAttempts" | "retryDelay" | "retryFactor" | "retryMaxDelay" | "retryJitter"
> {
  return {
    maxAttempts: maxAttemptsOf({ retry, maxAttempts }, ""),
    retryDelay: retry?.delay,
    retryFactor: retry?.factor,
    retryMaxDelay: retry?.maxDelay,
    retryJitter: retry?.jitter,
  };
}

/** The settings of a queue that say it, as they are shown. */
export function shownRetry(shown: GivenSettings): Encodable<typeof RetryPolicySchema> {
  return {
    delay: shown.retryDelay,
    factor: shown.retryFactor,
    maxDelay: shown.retryMaxDelay,
    jitter: shown.retryJitter,
    maxAttempts: shown.maxAttempts,
  };
}

// It may be said in two places, but not two things.
function maxAttemptsOf(
  {
    retry,
    maxAttempts,
  }: { readonly retry: Policy | undefined; readonly maxAttempts: number | undefined },
  path: string,
): number | undefined {
  const other = retry?.maxAttempts;
  if (maxAttempts === undefined || other === undefined || other === maxAttempts) {
    return maxAttempts ?? other;
  }
  const field = `${path}retry.max_attempts`;
  throw invalidField(
    field,
    `${field} is invalid; '${other}' is not the '${maxAttempts}' that max_attempts says`,
  );
}

// --- of an item ---

/**
 * What an item says of its retries itself; undefined if it says nothing. A first wait that is longer than the longest
 * of its queue raises that, if none is given with it.
 */
export function readOwnRetry(
  item: { readonly retry: Policy | undefined; readonly maxAttempts: number | undefined },
  path: string,
  longestOfQueue: () => number,
): RetryOverrides | undefined {
  const maxAttempts = maxAttemptsOf(item, `${path}.`);
  if (maxAttempts === undefined && item.retry === undefined) return undefined;
  const { delay, factor, maxDelay, jitter } = item.retry ?? ({} as Partial<Policy>);
  const at = `${path}.retry`;
  const read: RetryOverrides = {
    ...(delay !== undefined && {
      delay: readSetting(`${at}.delay`, SETTINGS.retryDelay, delay) as number,
    }),
    ...(factor !== undefined && {
      factor: readSetting(`${at}.factor`, SETTINGS.retryFactor, factor) as number,
    }),
    ...(maxDelay !== undefined && {
      maxDelay: readSetting(`${at}.max_delay`, SETTINGS.retryMaxDelay, maxDelay) as number,
    }),
    ...(jitter !== undefined && {
      jitter: readSetting(`${at}.jitter`, SETTINGS.retryJitter, jitter) as number,
    }),
    ...(maxAttempts !== undefined && {
      maxAttempts: readSetting(`${path}.max_attempts`, SETTINGS.maxAttempts, maxAttempts) as number,
    }),
  };
  if (read.delay === undefined) return Object.keys(read).length === 0 ? undefined : read;
  if (read.maxDelay === undefined) {
    return read.delay > longestOfQueue() ? { ...read, maxDelay: read.delay } : read;
  }
  checkWaits(`${at}.delay`, { retryDelay: read.delay, retryMaxDelay: read.maxDelay });
  return read;
}

/** The same as it is shown; the number of attempts has a field of its own. */
export function shownOwnRetry(
  own: RetryOverrides | undefined,
): Encodable<typeof RetryPolicySchema> | undefined {
  if (own === undefined) return undefined;
  const { delay, factor, maxDelay, jitter } = own;
  const shown = {
    ...(delay !== undefined && { delay: formatDuration(delay) }),
    ...(factor !== undefined && { factor }),
    ...(maxDelay !== undefined && { maxDelay: formatDuration(maxDelay) }),
    ...(jitter !== undefined && { jitter }),
  };
  return Object.keys(shown).length === 0 ? undefined : shown;
}

/** How long an item may live, in microseconds; 0 for as long as its queue says. */
export function readExpireIn(text: string, path: string): number {
  return text === "" ? 0 : readLifetime(text, `${path}.expire_in`);
}

// --- of an attempt ---

/** Bytes of what is kept of an error, and of its type alone. */
export const ERROR_BYTES_MAX = 4_096;
const TYPE_BYTES_MAX = 256;

/** Why an attempt failed, cut to what is kept of it; undefined if nothing is said. */
export function readError(
  error: Decoded<typeof ItemErrorSchema> | undefined,
): ItemError | undefined {
  if (error === undefined) return undefined;
  const type = cut(error.type, TYPE_BYTES_MAX);
  let left = ERROR_BYTES_MAX - Buffer.byteLength(type);
  const message = cut(error.message, left);
  left -= Buffer.byteLength(message);
  const stack = cut(error.stack, left);
  return type === "" && message === "" && stack === "" ? undefined : { type, message, stack };
}

function cut(text: string, bytesMax: number): string {
  if (Buffer.byteLength(text) <= bytesMax) return text;
  // A letter that does not fit as a whole is left out.
  return Buffer.from(text)
    .subarray(0, bytesMax)
    .toString()
    .replace(/\uFFFD$/, "");
}

const OPTIONAL_DURATION = { pattern: DURATION_PATTERN };

/** Of the fields of an item that say it. */
export const OWN_RETRY: Readonly<Record<string, FieldNote>> = {
  max_attempts: {
    text: "How often the item may be leased, in place of what its queue says; 0 for any number.",
    request: { minimum: SETTINGS.maxAttempts.min, maximum: SETTINGS.maxAttempts.max },
  },
  retry: { text: "How the item is tried again, where it is not as its queue says." },
};

/** What the fields of the messages mean. */
export const POLICY_NOTES: Notes = {
  RetryPolicy: {
    delay: { text: SETTINGS.retryDelay.text, request: OPTIONAL_DURATION },
    factor: {
      text: `By what each later wait is longer than the one before. By default ${SETTINGS.retryFactor.default}.`,
      request: { minimum: SETTINGS.retryFactor.min, maximum: SETTINGS.retryFactor.max },
    },
    max_delay: {
      text: `The longest wait. By default ${SETTINGS.retryMaxDelay.default}, or as long as the delay if that is longer.`,
      request: OPTIONAL_DURATION,
    },
    jitter: {
      text: `What part of a wait is left to chance: it is between the wait less that part and the whole of it. By default ${SETTINGS.retryJitter.default}.`,
      request: { minimum: SETTINGS.retryJitter.min, maximum: SETTINGS.retryJitter.max },
    },
    max_attempts: {
      text: "How often an item may be leased; 0 for any number. The same as the field max_attempts beside it.",
      request: { minimum: SETTINGS.maxAttempts.min, maximum: SETTINGS.maxAttempts.max },
    },
  },
  ItemError: {
    type: {
      text: `The kind of error, such as the name of its class. Cut at ${TYPE_BYTES_MAX} bytes.`,
    },
    message: { text: `What went wrong. With the others cut at ${ERROR_BYTES_MAX} bytes in all.` },
    stack: { text: "Where it went wrong." },
  },
};
