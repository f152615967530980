// What the OpenAPI document says of fields: what they mean, when they must be given, and what they may
// hold. The notes on them stand with the endpoints of their noun; here is what those have in common. The
// bounds are those of the checks, imported from where they are checked; limits are those of this server.
// A field without a note is refused when the document is made. Must never check a request itself.

import { DURATION_PATTERN } from "../../duration.ts";
import { ID_PATTERN } from "../../queue/queue.ts";
import { QUEUE_NAME_BYTES_MAX, QUEUE_NAME_PATTERN } from "../../registry/names.ts";

type Json = Readonly<Record<string, unknown>>;

/** What is known of a field beyond its type. */
export interface FieldNote {
  readonly text: string;
  /** Where it is always there: in requests (else they are refused), in replies, or in both. */
  readonly required?: "request" | "reply" | "both";
  /** In requests nothing looks at it: there only for those who send back what they were answered. */
  readonly ignored?: boolean;
  /** Keywords of its schema in requests: what to send. */
  readonly request?: Json;
  /** Those that replace them where more is taken than is to be sent. What does not fit is refused. */
  readonly accepted?: Json;
  /** Those in a call that looks at its form and at nothing else. */
  readonly unheeded?: Json;
  /** Keywords of its schema in replies, as exact as they are now: for tests, not for clients. */
  readonly reply?: Json;
}

/**
 * By message, and by the name that a field has in JSON. A message of `proto/querator/v2` that has the
 * name of another one is `v2.Name` here.
 */
export type Notes = Readonly<Record<string, Readonly<Record<string, FieldNote>>>>;

/** Of the answer to what succeeds without data, and of those to all that fails under /v1 and /v2. */
export const REPLY_NOTES: Notes = {
  Reply: {
    code: { text: "Equal to the HTTP status.", required: "reply" },
    code_text: { text: "What the status is called." },
    message: { text: "What was wrong: a constant part, and after '; ' the details." },
    details: { text: "Empty in this version." },
  },
  ItemResult: {
    ok: { text: "Whether it was done." },
    code: { text: "Why not: a code as errors have it." },
    detail: { text: "The same for people." },
    dead: {
      text: "The item will not be tried again: it was rejected, or its attempts or its time are over.",
    },
    lease_deadline: { text: "Of queue.extend: when the lease ends now." },
  },
  Problem: {
    type: { text: "Where the code is explained, on the page of this server.", required: "reply" },
    title: { text: "The code in words.", required: "reply" },
    status: { text: "Equal to the HTTP status.", required: "reply" },
    code: { text: "What programs compare: it does not change.", required: "reply" },
    detail: { text: "What was wrong this time, for people.", required: "reply" },
    field: {
      text: "The field of the request that is wrong, such as items[3].kind, or the header.",
    },
    retryable: { text: "The same request may succeed later, unchanged." },
    request_id: {
      text: "The X-Request-Id of the request, which is in the log of the server as well.",
      required: "reply",
    },
    details: { text: "What the detail speaks of, by name." },
    results: {
      text: "Of a call with all_or_none: what is wrong with each, in the order of the request. One that could have been done has no code.",
    },
  },
};

/** The id of an item in examples. */
export const EXAMPLE_ID = "3MYU1bRy3722FDmQTN000000001";

const ID = { pattern: ID_PATTERN };

/** A duration that may be negative. */
export const SIGNED_DURATION_PATTERN = DURATION_PATTERN.replace("\\+?", "[+-]?");

export const QUEUE_NAME: FieldNote = {
  text: `The queue. At most ${QUEUE_NAME_BYTES_MAX} bytes, without white space and '~'.`,
  required: "both",
  request: { minLength: 1, maxLength: QUEUE_NAME_BYTES_MAX, pattern: "^[^~\\s]+$" },
  accepted: { pattern: QUEUE_NAME_PATTERN },
};

export const PARTITION: FieldNote = {
  text: "The partition; the first one is 0.",
  request: { minimum: 0 },
  reply: { minimum: 0 },
};

/** Of calls of /v1 that need one. */
export function neededTimeout(text: string): FieldNote {
  return { text, required: "request", request: { minLength: 1, pattern: DURATION_PATTERN } };
}

/** Of all calls of /v2 that have one. */
export const TIMEOUT: FieldNote = {
  text: "How long to try, from 10ms to 15m; 30s if it is not given.",
  request: { pattern: DURATION_PATTERN },
  accepted: { pattern: `^$|${DURATION_PATTERN}` },
};

/** A time, or a delay from now in place of it. */
export function atOrDelay(name: string, text: string): Readonly<Record<string, FieldNote>> {
  return {
    [name]: { text },
    delay: {
      text: `The same as a duration from now, in place of ${name}.`,
      request: { pattern: DURATION_PATTERN },
      accepted: { pattern: `^$|${DURATION_PATTERN}` },
    },
  };
}

/** The payload of an item under /v2, wherever it occurs. */
export const PAYLOAD: Readonly<Record<string, FieldNote>> = {
  json: {
    text: "The payload as a value of JSON, whatever it is: kept and answered as it is written.",
  },
  utf8: { text: "The payload, if it is a text." },
  bytes: { text: "The payload, if it is anything else, in base64." },
};

export const CURSOR: FieldNote = {
  text: "The next_cursor of the page before; from the start if it is not given.",
};
export const NEXT_CURSOR: FieldNote = {
  text: "Where the next page begins; there is none without.",
};

export function id(text: string): FieldNote {
  return { text, required: "both", request: ID, reply: ID };
}

export function ids(text: string, max: Json = {}): FieldNote {
  return { text, required: "request", request: { minItems: 1, ...max, items: ID } };
}

/** A number of things. */
export function count(text: string): FieldNote {
  return { text, reply: { minimum: 0 } };
}
