// Every error that the client throws, as one tree of classes. A reply of the server becomes an error
// here and nowhere else; its message is kept as it came. What an error says about a request is a
// promise: `retryable` that the same call may succeed later, `uncertain` that it may have been done.
// A call that is aborted rejects with the reason of its signal, which is none of these.

/** What went wrong, for programs to compare. New ones may be added; none is renamed. */
export type ErrorCode =
  | "invalid"
  | "queue-not-found"
  | "queue-exists"
  | "item-not-found"
  | "not-leased"
  | "lease-ended"
  | "duplicate-client"
  | "unauthorized"
  | "forbidden"
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
  /** The item that the server names. */
  readonly itemId?: string;
  readonly cause?: unknown;
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

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.code = code;
    this.status = facts.status;
    this.retryable = facts.retryable ?? false;
    this.uncertain = facts.uncertain ?? false;
  }
}

/** The request is wrong, or does not fit the state of the queue: 4xx, 455, or seen before it was sent. */
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

/** The item is not leased under this id any more: its lease has ended, or it was completed before. */
export class LeaseLostError extends InvalidRequestError {
  /** The id that the server names. */
  readonly itemId: string | undefined;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(code, message, facts);
    this.itemId = facts.itemId;
  }
}

/** The key is missing, wrong or expired: 401; or a proxy wants a password: 407. */
export class AuthenticationError extends QueratorError {}

/** The key does not permit this: 403. */
export class PermissionError extends QueratorError {}

/** The server cannot do it: 453, 500, 501, 512, and while it shuts down; or what answers is none. */
export class ServerError extends QueratorError {}

/** The server or a proxy asks to try again: 454, 408, 425, 429, 503. */
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

// Texts of the server that tell cases of one status apart. Each is the constant part of a message.
const BY_MESSAGE: readonly [status: number, text: RegExp, code: ErrorCode][] = [
  [400, /^queue does not exist;/, "queue-not-found"],
  [400, /^invalid queue; .* already exists$|^queue '.*' already exists$/s, "queue-exists"],
  [400, /^invalid storage id; .* does not exist$/s, "item-not-found"],
  [400, /^item\(s\) cannot be /, "not-leased"],
  [400, /^lease has ended;/, "lease-ended"],
  [400, /^duplicate client id;/, "duplicate-client"],
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
  408: "unavailable",
  403: "forbidden",
  415: "content",
  453: "failed",
  454: "try-again",
  455: "content",
  500: "internal",
  501: "not-implemented",
  512: "network",
};

// What the codes of /v2 are called here; the others are told by their status.
const BY_CODE: Readonly<Record<string, ErrorCode>> = {
  queue_not_found: "queue-not-found",
  queue_exists: "queue-exists",
  item_not_found: "item-not-found",
  not_leased: "not-leased",
  duplicate_client: "duplicate-client",
  overloaded: "overloaded",
  standby: "standby",
  outcome_unknown: "outcome-unknown",
  taken_over: "outcome-unknown",
  timed_out: "not-executed",
  no_items: "no-items",
  internal: "internal",
  storage_unavailable: "try-again",
  partition_failing: "try-again",
  shutting_down: "shutting-down",
  queue_shutting_down: "shutting-down",
  unauthenticated: "unauthorized",
  permission_denied: "forbidden",
  storage_unusable: "failed",
  namespace_not_found: "failed",
  no_such_method: "not-implemented",
  client_gone: "network",
  invalid_request: "content",
  unknown_field: "content",
  not_acceptable: "content",
  unsupported_encoding: "content",
  unsupported_media_type: "content",
};

/** The error for a reply whose status is not 200, to a call of this path below /v1/. */
export function errorOfReply(status: number, body: string, path = ""): QueratorError {
  const told = read(body);
  if (isProblem(told, status)) return problem(told, path);
  const { code, message } = told;
  // In the form of the server, which says its status again.
  if (code !== status || typeof message !== "string" || BY_STATUS[status] === undefined) {
    return strangeReply(status, body);
  }
  const known = BY_MESSAGE.find(([s, text]) => s === status && text.test(message))?.[2];
  return build(known ?? BY_STATUS[status], message, { status, path });
}

interface Told {
  readonly code?: unknown;
  readonly message?: unknown;
}

interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retryable?: boolean;
  readonly details?: { readonly id?: string };
}

function read(body: string): Told {
  try {
    return Object(JSON.parse(body)) as Told;
  } catch {
    return {};
  }
}

// The form of errors under /v2, which says its status again as well.
function isProblem(told: Told, status: number): told is Problem {
  const { code, status: again, detail } = told as Partial<Problem>;
  return again === status && typeof code === "string" && typeof detail === "string";
}

function problem(told: Problem, path: string): QueratorError {
  const { status, code, detail, retryable = false, details } = told;
  const known = Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : undefined;
  if (known !== undefined) return build(known, detail, { status, path, itemId: details?.id });
  // Of a later server: what can be told by its status, and by what it says of itself.
  if (retryable) {
    return new TryAgainError("try-again", detail, { status, retryable, uncertain: status >= 500 });
  }
  if (status >= 500) return new ServerError("failed", detail, { status });
  return build(BY_STATUS[status] ?? "invalid", detail, { status, path });
}

// What is surely not done: the server says so before it looks at the queue, or refuses to take it.
const SURE: readonly ErrorCode[] = ["overloaded", "not-executed", "no-items", "standby"];

// A queue that ends refuses those of these calls that it has not begun, and answers the others.
const HOT = /^(v2\/)?queue\.(produce|lease|complete|retry|release)$/;

interface Known {
  readonly status: number;
  readonly path: string;
  /** That of which the server speaks; in its message if it is not given. */
  readonly itemId?: string | undefined;
}

function build(code: ErrorCode, message: string, known: Known): QueratorError {
  const { status, path, itemId = /'([^']*)'/.exec(message)?.[1] } = known;
  switch (code) {
    case "queue-not-found":
      return new QueueNotFoundError(code, message, { status });
    case "queue-exists":
      return new QueueExistsError(code, message, { status });
    case "item-not-found":
    case "not-leased":
    case "lease-ended":
      return new LeaseLostError(code, message, {
        status,
        ...(itemId === undefined ? {} : { itemId }),
      });
    case "unauthorized":
      return new AuthenticationError(code, message, { status });
    case "forbidden":
      return new PermissionError(code, message, { status });
    case "shutting-down": {
      const uncertain = message !== "service is shutting down" && !HOT.test(path);
      return new ServerError(code, message, { status, retryable: true, uncertain });
    }
    case "failed":
    case "not-implemented":
      return new ServerError(code, message, { status });
    case "internal":
    case "network":
      return new ServerError(code, message, { status, retryable: true, uncertain: true });
    case "unavailable":
      return new TryAgainError(code, message, { status, retryable: true });
    case "overloaded":
    case "not-executed":
    case "no-items":
    case "standby":
    case "outcome-unknown":
    case "try-again": {
      const uncertain = !SURE.includes(code);
      return new TryAgainError(code, message, { status, retryable: true, uncertain });
    }
  }
  return new InvalidRequestError(code, message, { status });
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
  if (!(error instanceof QueratorError)) return false;
  return error.status === 413 || /^request body exceeds /.test(error.message);
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

/** To repeat a call of which a part was done is to do that part twice, whatever the error was. */
export function partlyDone(error: unknown, done: number, all: number): unknown {
  if (!(error instanceof QueratorError)) return error;
  const { code, status, retryable } = error;
  const text = `Of ${all} requests of this call ${done} were done, another failed: ${error.message}`;
  const facts = {
    ...(status === undefined ? {} : { status }),
    retryable,
    uncertain: true,
    cause: error,
  };
  if (error instanceof TooLargeError) return new TooLargeError(error.index, text, facts);
  const itemId = error instanceof LeaseLostError ? error.itemId : undefined;
  const ErrorClass = error.constructor as typeof QueratorError;
  return new ErrorClass(code, text, { ...facts, ...(itemId === undefined ? {} : { itemId }) });
}

/** Whether a call is refused by a server that does not know it, or by a proxy that lets none of its version pass. */
export function isUnknownPath(error: unknown): boolean {
  if (!(error instanceof QueratorError) || error.uncertain) return false;
  const { status, code } = error;
  if (status === 404) return code === "not-implemented" || code === "wrong-url";
  return status === 501 || status === 405;
}

/** What was thrown, as text; anything can be. */
export function textOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return "something was thrown that has no text";
  }
}
