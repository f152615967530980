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
  | "duplicate-client"
  | "unauthorized"
  | "forbidden"
  | "failed"
  | "shutting-down"
  | "no-items"
  | "overloaded"
  | "not-executed"
  | "outcome-unknown"
  | "try-again"
  | "content"
  | "internal"
  | "not-implemented"
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

/** The request is wrong, or does not fit the state of the queue: 400, 455, or seen before it was sent. */
export class InvalidRequestError extends QueratorError {}

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

/** The key is missing, wrong or expired: 401. */
export class AuthenticationError extends QueratorError {}

/** The key does not permit this: 403. */
export class PermissionError extends QueratorError {}

/** The server cannot do it: 453, 500, 501, 512, and while it shuts down. */
export class ServerError extends QueratorError {}

/** The server asks to try again: 454, when it is overloaded or something took too long. */
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
  [400, /^duplicate client id;/, "duplicate-client"],
  [453, / is shutting down$/, "shutting-down"],
  [454, /^request timeout; no items /, "no-items"],
  [454, /^queue is overloaded;/, "overloaded"],
  [454, /^request timeout; the request was not executed/, "not-executed"],
  [454, /^request timeout; the storage did not answer/, "outcome-unknown"],
];

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: "invalid",
  401: "unauthorized",
  403: "forbidden",
  415: "content",
  453: "failed",
  454: "try-again",
  455: "content",
  500: "internal",
  501: "not-implemented",
  512: "network",
};

/** The error for a reply whose status is not 200. */
export function errorOfReply(status: number, body: string): QueratorError {
  const message = messageOf(body);
  if (message === undefined || BY_STATUS[status] === undefined) return strangeReply(status, body);
  const code = BY_MESSAGE.find(([s, text]) => s === status && text.test(message))?.[2];
  return build(status, code ?? BY_STATUS[status], message);
}

function messageOf(body: string): string | undefined {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    return typeof message === "string" ? message : undefined;
  } catch {
    return undefined;
  }
}

// What is surely not done: the server says so before it looks at the queue, or refuses to take it.
const SURE: readonly ErrorCode[] = ["overloaded", "not-executed", "no-items"];

function build(status: number, code: ErrorCode, message: string): QueratorError {
  const itemId = /'([^']*)'/.exec(message)?.[1];
  switch (code) {
    case "queue-not-found":
      return new QueueNotFoundError(code, message, { status });
    case "queue-exists":
      return new QueueExistsError(code, message, { status });
    case "item-not-found":
    case "not-leased":
      return new LeaseLostError(code, message, {
        status,
        ...(itemId === undefined ? {} : { itemId }),
      });
    case "unauthorized":
      return new AuthenticationError(code, message, { status });
    case "forbidden":
      return new PermissionError(code, message, { status });
    case "shutting-down": {
      const uncertain = message !== "service is shutting down";
      return new ServerError(code, message, { status, retryable: true, uncertain });
    }
    case "failed":
    case "not-implemented":
      return new ServerError(code, message, { status });
    case "internal":
    case "network":
      return new ServerError(code, message, { status, retryable: true, uncertain: true });
  }
  if (status === 454) {
    const uncertain = !SURE.includes(code);
    return new TryAgainError(code, message, { status, retryable: true, uncertain });
  }
  return new InvalidRequestError(code, message, { status });
}

/** The error for a reply of status 200 that is not Querator's: what was asked may be done. */
export function invalidReply(text: string, cause?: unknown): ServerError {
  return new ServerError("invalid-reply", text, { status: 200, uncertain: true, cause });
}

// Something between us and the server has answered, or it is no such server.
function strangeReply(status: number, body: string): QueratorError {
  const start = body.slice(0, 200);
  const text = `The server answered status ${status} in a form that is not Querator's: ${start}`;
  const retryable = status === 429 || (status >= 502 && status <= 504);
  // Too many requests, or one that is too large for a proxy: nothing has passed.
  const uncertain = status !== 429 && status !== 413;
  return new ServerError("invalid-reply", text, { status, retryable, uncertain });
}

/** What was thrown, as text; anything can be. */
export function textOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return "something was thrown that has no text";
  }
}
