// The errors of /v1, whose replies have no codes: they are told apart by their status and the constant part
// of their texts, which servers never reword. To go with dialect.ts, some day.

import { type ErrorCode, makeError, type QueratorError } from "./errors.ts";

const BY_MESSAGE: readonly [status: number, text: RegExp, code: ErrorCode][] = [
  [400, /^queue does not exist;/, "queue-not-found"],
  [400, /^invalid queue; .* already exists$|^queue '.*' already exists$/s, "queue-exists"],
  [400, /^invalid storage id; .* does not exist$/s, "item-not-found"],
  [400, /^redrive does not exist;/, "redrive-not-found"],
  [400, /^item\(s\) cannot be /, "not-leased"],
  [400, /^lease has ended;/, "lease-ended"],
  [400, /^nothing was done;/, "some-refused"],
  [400, /^unique key is taken;/, "unique-key-taken"],
  [400, /^duplicate client id;/, "duplicate-client"],
  [400, /^request body exceeds /, "too-large"],
  [400, /^namespace already exists;/, "namespace-exists"],
  [400, /^namespace has /, "namespace-in-use"],
  [400, /^username is already taken;/, "user-exists"],
  [400, /^role already exists;/, "role-exists"],
  [400, /^role has active bindings;/, "role-in-use"],
  [400, /^cannot modify or delete standard role;/, "role-is-standard"],
  [400, /^role binding already exists;/, "binding-exists"],
  [401, /^api key has expired$/, "key-expired"],
  [401, /^api key is not taken, and too many/, "rate-limited"],
  [453, /^namespace does not exist;/, "namespace-not-found"],
  [453, /^user does not exist;/, "user-not-found"],
  [453, /^role does not exist;/, "role-not-found"],
  [453, /^role binding does not exist;/, "binding-not-found"],
  [454, /^namespace has reached its quota;/, "quota-exceeded"],
  [453, / is shutting down$/, "shutting-down"],
  [454, /^request timeout; no items /, "no-items"],
  [454, /^queue is overloaded;/, "overloaded"],
  [454, /^another server owns the data;/, "standby"],
  [454, /^another server has taken over;/, "outcome-unknown"],
  [454, /^request timeout; the request was not executed/, "not-executed"],
  [454, /^request timeout; the storage did not answer/, "outcome-unknown"],
];

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: "invalid",
  401: "unauthorized",
  403: "forbidden",
  408: "unavailable",
  415: "content",
  453: "failed",
  454: "try-again",
  455: "content",
  500: "internal",
  501: "not-implemented",
  512: "network",
};

// What is about the whole request, no matter whose items are in it; or what of it is wrong.
const WHOLE = /^(queue|partition|request timeout|service|namespace) |^proto: field (\S+) /;

/** The error of a reply in the form of /v1; nothing if it has no such status. */
export function oldError(status: number, message: string, path: string): QueratorError | undefined {
  const code = BY_MESSAGE.find(([s, text]) => s === status && text.test(message))?.[2];
  const known = code ?? BY_STATUS[status];
  if (known === undefined) return undefined;
  const leaseId = /'([^']*)'/.exec(message)?.[1];
  const [, whole, field = whole] = WHOLE.exec(message) ?? [];
  return makeError(known, message, {
    status,
    path,
    ...(leaseId === undefined ? {} : { leaseId }),
    ...(field === undefined ? {} : { field }),
    isWhole: message === "service is shutting down",
  });
}
