// Every error that the client throws, as one tree of classes. A reply of the server becomes an error
// here and nowhere else, by its code; its message is kept as it came. What an error says about a request is a
// promise: `retryable` that the same call may succeed later, `uncertain` that it may have been done.
// A call that is aborted rejects with the reason of its signal, which is none of these.

import { oldError } from "./dialect-errors.ts";

/** What went wrong, for programs to compare. New ones may be added; none is renamed. */
export type ErrorCode =
  | "invalid"
  | "queue-not-found"
  | "queue-exists"
  | "item-not-found"
  | "item-cancelled"
  | "precondition-failed"
  | "unique-key-taken"
  | "redrive-not-found"
  | "namespace-not-found"
  | "namespace-exists"
  | "namespace-in-use"
  | "user-not-found"
  | "user-exists"
  | "key-not-found"
  | "role-not-found"
  | "role-exists"
  | "role-in-use"
  | "role-is-standard"
  | "binding-not-found"
  | "binding-exists"
  | "not-leased"
  | "lease-ended"
  | "some-refused"
  | "unique-key-taken"
  | "duplicate-client"
  | "unauthorized"
  | "key-expired"
  | "rate-limited"
  | "forbidden"
  | "quota-exceeded"
  | "failed"
  | "shutting-down"
  | "standby"
  | "no-items"
  | "overloaded"
  | "not-executed"
  | "outcome-unknown"
  | "try-again"
  | "content"
  | "internal"
  | "not-implemented"
  | "wrong-url"
  | "too-large"
  | "unavailable"
  | "network"
  | "timeout"
  | "invalid-reply"
  | "too-much-waiting"
  | "closed"
  | "validation"
  | "codec";

export interface ErrorFacts {
  /** The HTTP status, if the server answered. */
  readonly status?: number;
  readonly retryable?: boolean;
  readonly uncertain?: boolean;
  /** What of the request is wrong: `items[3].kind`. */
  readonly field?: string;
  /** The lease that it is about. */
  readonly leaseId?: string;
  readonly requestId?: string;
  readonly cause?: unknown;
}

/** One item of a call that was not done. */
export interface ItemFailure {
  /** Which item of the call it is, from 0 on. */
  readonly index: number;
  /** A QueratorError, or the reason of a signal. */
  readonly error: unknown;
}

/** The root of all errors of this package. */
export class QueratorError extends Error {
  readonly code: ErrorCode;
  /** The HTTP status, if the server answered. */
  readonly status: number | undefined;
  /** Whether the same call may succeed later, unchanged. */
  readonly retryable: boolean;
  /** Whether the server may have done what was asked all the same, in this attempt or one before. */
  uncertain: boolean;
  /** What of the request is wrong, if the server says it: `items[3].kind`. */
  readonly field: string | undefined;
  /** Under which the server's log speaks of the request. */
  readonly requestId: string | undefined;
  /** Of a call for several items: those that were not done, in order. */
  failures: readonly ItemFailure[] = [];

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.code = code;
    this.status = facts.status;
    this.retryable = facts.retryable ?? false;
    this.uncertain = facts.uncertain ?? false;
    this.field = facts.field;
    this.requestId = facts.requestId;
  }
}

/** The request is wrong, or does not fit the state of the queue: 400 to 422, or seen before it was sent. */
export class InvalidRequestError extends QueratorError {}

/** One item alone is more than the server, or a proxy before it, takes. */
export class TooLargeError extends InvalidRequestError {
  /** Which item of the call it is, from 0 on. */
  readonly index: number;

  constructor(index: number, message: string, facts: ErrorFacts = {}) {
    super("too-large", message, facts);
    this.index = index;
  }
}

/** There is no such queue. */
export class QueueNotFoundError extends InvalidRequestError {}

/** A queue of that name exists already. */
export class QueueExistsError extends InvalidRequestError {}

/** There is no such namespace, user, key, role or binding: `code` says which. */
export class NotFoundError extends InvalidRequestError {}

/** There is a namespace, user, role or binding like that already: `code` says which. */
export class ExistsError extends InvalidRequestError {}

/** There is no such item, or nothing is kept of it any more. */
export class ItemNotFoundError extends InvalidRequestError {}

/** The unique key is that of another item, and the call has asked to be refused then. */
export class UniqueKeyTakenError extends InvalidRequestError {}

/** The item is not leased under this name any more: its lease has ended, or it was completed before. */
export class LeaseLostError extends InvalidRequestError {
  /** The lease that it is about, if that is known. */
  readonly leaseId: string | undefined;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(code, message, facts);
    this.leaseId = facts.leaseId;
  }
}

/** The item was cancelled: nothing more is to be done with it, and nobody else gets it. */
export class ItemCancelledError extends LeaseLostError {}

/** The key is missing, wrong or expired: 401; or too many wrong ones came from here: 429; or a proxy wants a password: 407. */
export class AuthenticationError extends QueratorError {}

/** The key does not permit this: 403. */
export class PermissionError extends QueratorError {}

/** The server cannot do it: 5xx, no such method, and while it shuts down; or what answers is none. */
export class ServerError extends QueratorError {}

/** The server or a proxy asks to try again: 408, 425, 429, 503, 504. */
export class TryAgainError extends QueratorError {}

/** The server could not be reached, or the connection broke. */
export class NetworkError extends QueratorError {}

/** No answer within the request's time-out and its margin. */
export class TimeoutError extends NetworkError {}

/** More waits in this client to be produced than `waitingItemsMax` allows. */
export class TooMuchWaitingError extends QueratorError {}

/** The client or worker has been closed. */
export class ClosedError extends QueratorError {}

/** One thing that a validator found. */
export interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** A value does not fit the schema of its queue, or its payload could not be decoded. */
export class ValidationError extends QueratorError {
  readonly issues: readonly Issue[];

  constructor(
    code: "validation" | "codec",
    message: string,
    issues: readonly Issue[],
    cause?: unknown,
  ) {
    super(code, message, { cause });
    this.issues = issues;
  }
}

// What a code of the server is called here, where it is not the same with dashes.
const CALLED: Readonly<Record<string, ErrorCode>> = {
  invalid_field: "invalid",
  method_not_allowed: "invalid",
  queue_in_use: "invalid",
  idempotency_mismatch: "invalid",
  body_too_large: "too-large",
  invalid_request: "content",
  unknown_field: "content",
  not_acceptable: "content",
  unsupported_media_type: "content",
  unsupported_encoding: "content",
  unauthenticated: "unauthorized",
  permission_denied: "forbidden",
  read_only: "forbidden",
  storage_unusable: "failed",
  no_such_method: "not-implemented",
  client_gone: "network",
  storage_unavailable: "try-again",
  request_in_progress: "try-again",
  partition_failing: "try-again",
  taken_over: "outcome-unknown",
  queue_shutting_down: "shutting-down",
  timed_out: "not-executed",
};

// Those that are called the same.
const SAME: readonly ErrorCode[] = [
  "queue-not-found",
  "queue-exists",
  "item-not-found",
  "item-cancelled",
  "precondition-failed",
  "unique-key-taken",
  "redrive-not-found",
  "namespace-not-found",
  "namespace-exists",
  "namespace-in-use",
  "user-not-found",
  "user-exists",
  "key-not-found",
  "role-not-found",
  "role-exists",
  "role-in-use",
  "role-is-standard",
  "binding-not-found",
  "binding-exists",
  "key-expired",
  "rate-limited",
  "quota-exceeded",
  "not-leased",
  "lease-ended",
  "some-refused",
  "unique-key-taken",
  "duplicate-client",
  "overloaded",
  "outcome-unknown",
  "standby",
  "shutting-down",
  "no-items",
  "internal",
];

/** An error in the form of /v2, which says its status again, as far as it is read here. */
interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly field?: string;
  readonly retryable?: boolean;
  readonly request_id?: string;
  readonly details?: { readonly id?: string };
  /** Of a call for several items that was to be done as a whole. */
  readonly results?: readonly ItemResult[];
}

/** What a reply tells of one item of a call. */
export interface ItemResult {
  readonly ok?: boolean;
  readonly id?: string;
  readonly status?: string;
  readonly dead?: boolean;
  readonly lease_deadline?: string;
  /** Of an item that was refused, as in an error. */
  readonly code?: string;
  readonly detail?: string;
}

/** The error for a reply whose status is not 200, to a call of this path below /v2/. */
export function errorOfReply(status: number, body: string, path = ""): QueratorError {
  const told = parsed(body);
  if (isProblem(told, status)) return errorOfProblem(told, path);
  const { code, message } = told as { readonly code?: unknown; readonly message?: unknown };
  const isOld = code === status && typeof message === "string";
  return (isOld ? oldError(status, message, path) : undefined) ?? strangeReply(status, body);
}

function parsed(body: string): object {
  try {
    return Object(JSON.parse(body)) as object;
  } catch {
    return {};
  }
}

function isProblem(told: object, status: number): told is Problem {
  const { code, status: again, detail } = told as Partial<Problem>;
  return again === status && typeof code === "string" && typeof detail === "string";
}

function errorOfProblem(problem: Problem, path: string): QueratorError {
  const { status, code, detail, field, retryable = false, request_id, details, results } = problem;
  const known = codeOf(code);
  const error = makeError(known ?? codeOfStatus(status, retryable), detail, {
    status,
    path,
    isWhole: code === "shutting_down",
    // Of a later server: what it says of itself.
    ...(known === undefined ? { retryable, uncertain: retryable && status >= 500 } : {}),
    ...(field === undefined ? {} : { field }),
    ...(request_id === undefined ? {} : { requestId: request_id }),
    ...(details?.id === undefined ? {} : { leaseId: details.id }),
  });
  if (results !== undefined) {
    error.failures = results.flatMap((result, index) =>
      result.code === undefined ? [] : [{ index, error: errorOfResult(result) }],
    );
  }
  return error;
}

/** The error for one item of several. */
export function errorOfResult({ code = "", detail = "" }: ItemResult, leaseId?: string) {
  return makeError(codeOf(code) ?? "invalid", detail, leaseId === undefined ? {} : { leaseId });
}

function codeOf(code: string): ErrorCode | undefined {
  if (Object.hasOwn(CALLED, code)) return CALLED[code];
  const same = code.replaceAll("_", "-") as ErrorCode;
  return SAME.includes(same) ? same : undefined;
}

// Of a code that is new since this was written.
function codeOfStatus(status: number, retryable: boolean): ErrorCode {
  if (retryable) return "try-again";
  if (status >= 500) return "failed";
  if (status === 401) return "unauthorized";
  return status === 403 ? "forbidden" : "invalid";
}

// A queue that ends refuses those of these calls that it has not begun, and answers the others.
const HOT = /^(v1\/)?queue\.(produce|lease|complete|retry|release|reject|extend)$/;

// Calls that look for an item by what it is, and not by a lease.
const ITEM = /^item\./;

interface MadeFacts extends ErrorFacts {
  /** Of the call. */
  readonly path?: string;
  /** It is the server that ends, and has looked at no queue. */
  readonly isWhole?: boolean;
}

/** An error of the server, of the class that its code has. What it says of the request goes with the code. */
export function makeError(code: ErrorCode, message: string, given: MadeFacts): QueratorError {
  const { path = "", isWhole = false, ...facts } = given;
  switch (code) {
    case "queue-not-found":
      return new QueueNotFoundError(code, message, facts);
    case "queue-exists":
      return new QueueExistsError(code, message, facts);
    case "unique-key-taken":
      return new UniqueKeyTakenError(code, message, facts);
    case "item-cancelled":
      return new ItemCancelledError(code, message, facts);
    case "item-not-found":
      if (ITEM.test(path)) return new ItemNotFoundError(code, message, facts);
      return new LeaseLostError(code, message, facts);
    case "not-leased":
    case "lease-ended":
      return new LeaseLostError(code, message, facts);
    case "namespace-not-found":
    case "user-not-found":
    case "key-not-found":
    case "role-not-found":
    case "binding-not-found":
      return new NotFoundError(code, message, facts);
    case "namespace-exists":
    case "user-exists":
    case "role-exists":
    case "binding-exists":
      return new ExistsError(code, message, facts);
    case "unauthorized":
    case "key-expired":
      return new AuthenticationError(code, message, facts);
    case "rate-limited":
      return new AuthenticationError(code, message, { retryable: true, ...facts });
    case "forbidden":
      return new PermissionError(code, message, facts);
    case "shutting-down":
      return new ServerError(code, message, {
        retryable: true,
        ...facts,
        uncertain: !isWhole && !HOT.test(path),
      });
    case "failed":
    case "not-implemented":
      return new ServerError(code, message, facts);
    case "internal":
    case "network":
      return new ServerError(code, message, { retryable: true, ...facts, uncertain: true });
    // What is surely not done: the server says so before it looks at the queue, or refuses to take it.
    case "overloaded":
    case "quota-exceeded":
    case "not-executed":
    case "no-items":
    case "standby":
    case "unavailable":
      return new TryAgainError(code, message, { retryable: true, ...facts });
    case "try-again":
    case "outcome-unknown":
      return new TryAgainError(code, message, { retryable: true, uncertain: true, ...facts });
  }
  return new InvalidRequestError(code, message, facts);
}

/** The error for a reply of status 200 that is not Querator's: what was asked may be done. */
export function invalidReply(text: string, cause?: unknown): ServerError {
  return new ServerError("invalid-reply", text, { status: 200, uncertain: true, cause });
}

// Something between us and the server has answered, or it is no such server. The status says what it
// means, and whether the server can have heard of the request: what refuses it has not passed it on.
function strangeReply(status: number, body: string): QueratorError {
  const start = body.slice(0, 200).replace(/\s+/g, " ").trim() || "an empty body";
  const text = `The server answered status ${status} in a form that is not Querator's: ${start}`;
  switch (status) {
    case 401:
    case 407:
      return new AuthenticationError("unauthorized", text, { status });
    case 403:
      return new PermissionError("forbidden", text, { status });
    case 404: {
      const hint = "; no Querator is there, is the path of the url right?";
      return new ServerError("wrong-url", text + hint, { status });
    }
    case 301:
    case 302:
    case 307:
    case 308: {
      const hint = "; redirects are not followed, is the url right?";
      return new ServerError("wrong-url", text + hint, { status });
    }
    case 413:
      return new InvalidRequestError("too-large", text, { status });
    case 408:
    case 425:
    case 429:
      return new TryAgainError("unavailable", text, { status, retryable: true });
    case 503:
      return new TryAgainError("unavailable", text, { status, retryable: true, uncertain: true });
    case 501:
    case 505:
      return new ServerError("invalid-reply", text, { status });
  }
  // 502 and 504, and what there is beside them, up to the 520s of some networks.
  if (status >= 500) {
    return new ServerError("unavailable", text, { status, retryable: true, uncertain: true });
  }
  const uncertain = status < 400;
  return new ServerError("invalid-reply", text, { status, uncertain });
}

/** Whether less at a time may pass: a request was refused for its size, by a proxy or by the server. */
export function isTooLarge(error: unknown): error is QueratorError {
  return error instanceof QueratorError && error.code === "too-large";
}

/** The error for one item that is refused for its size although nothing else is sent with it. */
export function tooLarge(
  error: QueratorError,
  what: { readonly index: number; readonly of: number; readonly bytes: number },
): TooLargeError {
  const { index, of, bytes } = what;
  const which = of === 1 ? "The item" : `Item ${index + 1} of ${of}`;
  const text = `${which} is too large to be sent, with ${bytes} bytes: ${error.message}`;
  const facts = error.status === undefined ? {} : { status: error.status };
  return new TooLargeError(index, text, { ...facts, cause: error });
}

/**
 * The error of a call for several items of which some, in order, were not done: that of the first, with all
 * of them. To repeat a call of which a part was done is to do that part twice, whatever the error was.
 */
export function failureOf(failures: readonly ItemFailure[], all: number): unknown {
  const { error } = failures[0]!;
  if (all === 1 || !(error instanceof QueratorError)) return error;
  const done = all - failures.length;
  const text =
    done === 0
      ? error.message
      : `Of ${all} items of this call ${done} were done, another failed: ${error.message}`;
  const made = copyOf(error, text, { uncertain: error.uncertain || done > 0 });
  made.failures = failures;
  return made;
}

/** The same error with another text, or with more facts. */
export function copyOf(
  error: QueratorError,
  message: string,
  { uncertain = error.uncertain, field = error.field }: Pick<ErrorFacts, "uncertain" | "field">,
): QueratorError {
  const { code, status, retryable, requestId } = error;
  const leaseId = error instanceof LeaseLostError ? error.leaseId : undefined;
  const facts = {
    retryable,
    uncertain,
    cause: error,
    ...(status === undefined ? {} : { status }),
    ...(field === undefined ? {} : { field }),
    ...(requestId === undefined ? {} : { requestId }),
    ...(leaseId === undefined ? {} : { leaseId }),
  };
  if (error instanceof TooLargeError) return new TooLargeError(error.index, message, facts);
  const ErrorClass = error.constructor as typeof QueratorError;
  return new ErrorClass(code, message, facts);
}

/** Whether the server cannot be asked for this: it is one of an older version. */
export function isNotImplemented(error: unknown): boolean {
  return error instanceof QueratorError && error.code === "not-implemented" && !error.uncertain;
}

/** What was thrown, as text; anything can be. */
export function textOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return "something was thrown that has no text";
  }
}
