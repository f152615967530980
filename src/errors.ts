// Every error that a client can see, and nothing else. One class, one closed set of kinds, one
// table from kind to status. Expected errors are values of this class; anything else that is
// thrown is a defect, which the HTTP edge answers with 500 and logs. The texts that clients
// compare literally are constants here; they are never reworded. Imports nothing of ours.

/** The kinds of error, named by what the client can do about them. */
export type ErrorKind =
  | "invalid"
  | "unauthorized"
  | "forbidden"
  | "encoded"
  | "failed"
  | "retry"
  | "content"
  | "internal"
  | "not-implemented"
  | "transport";

/** Status and status text for each kind: the HTTP status is also the `code` of the reply's body. */
export const ERROR_KINDS: Readonly<
  Record<ErrorKind, { readonly status: number; readonly text: string; readonly retryable: boolean }>
> = {
  invalid: { status: 400, text: "Bad Request", retryable: false },
  unauthorized: { status: 401, text: "Unauthorized", retryable: false },
  forbidden: { status: 403, text: "Forbidden", retryable: false },
  encoded: { status: 415, text: "Unsupported Media Type", retryable: false },
  failed: { status: 453, text: "Request Failed", retryable: false },
  retry: { status: 454, text: "Retry Request", retryable: true },
  content: { status: 455, text: "Client Content Error", retryable: false },
  internal: { status: 500, text: "Internal Service Error", retryable: true },
  "not-implemented": { status: 501, text: "Not Implemented", retryable: false },
  transport: { status: 512, text: "Transport Error", retryable: true },
};

/** An error that a client is told about. `message` is `<constant part>; <detail>`. */
export class QueueError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "QueueError";
    this.kind = kind;
  }

  /** The HTTP status, which is also the `code` in the body. */
  get status(): number {
    return ERROR_KINDS[this.kind].status;
  }

  /** Whether the same request may succeed later, unchanged. */
  get retryable(): boolean {
    return ERROR_KINDS[this.kind].retryable;
  }
}

/** Texts that clients compare literally. */
export const MESSAGES = {
  leaseTimeout: "request timeout; no items are in the queue, try again",
  requestTimeout: "request timeout; the request was not executed, try again",
  outcomeUnknown: "request timeout; the storage did not answer in time, the outcome is unknown",
  duplicateClientId:
    "duplicate client id; a client cannot make multiple leased requests to the same queue",
  serviceShutdown: "service is shutting down",
  queueShutdown: "queue is shutting down",
  overloaded: "queue is overloaded; try again later",
  standby: "another server owns the data; try again later, or another server",
  takenOver: "another server has taken over; what was asked of this one may have been done",
  internalRetry: "internal error, try your request again",
  internal: "Internal Error",
} as const;

/** A request that is wrong: 400. */
export function invalid(message: string): QueueError {
  return new QueueError("invalid", message);
}

/** A request that may succeed if it is sent again: 454. */
export function retryLater(message: string, cause?: unknown): QueueError {
  return new QueueError("retry", message, cause === undefined ? undefined : { cause });
}
