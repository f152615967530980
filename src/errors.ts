// Every error that a client can see, and nothing else. One class, and one catalogue, a row for each
// code; codes are never renamed, and texts never reworded, for clients go by them. Under /v1 the
// kind of an error tells its status. Expected errors are values of this class; anything else that is
// thrown is a defect, which the HTTP edge answers with 500 and logs. Imports nothing of ours.

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

/** Under /v1: status and status text for each kind. The status is also the `code` of the reply's body. */
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

/** What is the same for all errors of a code. */
export interface ErrorRow {
  /** What it is under /v1. */
  readonly kind: ErrorKind;
  /** Under /v2: its HTTP status. */
  readonly status: number;
  /** Under /v2: whether the same may be sent again. */
  readonly retryable: boolean;
  /** What is in braces are its details. */
  readonly text: string;
  /** The same under /v2, where the text speaks of what only /v1 has. */
  readonly detail?: string;
}

// A row in one line: a catalogue is read by columns.
function row<const Text extends string>(
  kind: ErrorKind,
  status: number,
  retryable: boolean,
  text: Text,
  detail?: string,
): ErrorRow & { readonly text: Text } {
  return { kind, status, retryable, text, ...(detail !== undefined && { detail }) };
}

const [AGAIN, IN_VAIN] = [true, false];

/** All errors, by code. */
// biome-ignore format: a table
export const ERRORS = {
  invalid_request: row("content", 400, IN_VAIN, "{detail}"),
  invalid_field: row("invalid", 400, IN_VAIN, "{detail}"),
  unknown_field: row("content", 400, IN_VAIN, "proto: unknown field {field}"),
  unauthenticated: row("unauthorized", 401, IN_VAIN, "invalid authorization header format"),
  key_expired: row("unauthorized", 401, IN_VAIN, "api key has expired"),
  permission_denied: row("forbidden", 403, IN_VAIN, "access denied; {detail}"),
  read_only: row("forbidden", 403, IN_VAIN, "nothing can be changed from here; the server was started with --ui read-only"),
  no_such_method: row("not-implemented", 404, IN_VAIN, "no such method; {path}"),
  queue_not_found: row("invalid", 404, IN_VAIN, "queue does not exist; no such queue named '{queue_name}'"),
  item_not_found: row("invalid", 404, IN_VAIN, "invalid storage id; '{id}' does not exist", "item does not exist; '{id}' is the id of none, or of one that has ended and is not kept"),
  redrive_not_found: row("invalid", 404, IN_VAIN, "redrive does not exist; '{id}'"),
  namespace_not_found: row("failed", 404, IN_VAIN, "namespace does not exist; '{namespace}' was not found"),
  user_not_found: row("failed", 404, IN_VAIN, "user does not exist; '{id}' was not found"),
  key_not_found: row("unauthorized", 404, IN_VAIN, "api key does not exist"),
  role_not_found: row("failed", 404, IN_VAIN, "role does not exist; '{role}' was not found"),
  binding_not_found: row("failed", 404, IN_VAIN, "role binding does not exist; '{binding}' was not found"),
  method_not_allowed: row("invalid", 405, IN_VAIN, "http method '{method}' not allowed; only POST"),
  not_acceptable: row("content", 406, IN_VAIN, "Accept header '{accept}' is invalid format or unrecognized content type, only [application/json,application/protobuf] are supported by this method"),
  queue_exists: row("invalid", 409, IN_VAIN, "invalid queue; '{queue_name}' already exists"),
  namespace_exists: row("invalid", 409, IN_VAIN, "namespace already exists; '{namespace}' already exists"),
  namespace_in_use: row("invalid", 409, IN_VAIN, "namespace has {what}; '{namespace}' has {what}, delete {what} first"),
  user_exists: row("invalid", 409, IN_VAIN, "username is already taken; '{username}' is already taken"),
  role_exists: row("invalid", 409, IN_VAIN, "role already exists; '{role}' already exists"),
  role_in_use: row("invalid", 409, IN_VAIN, "role has active bindings; '{role}' has active bindings, delete bindings first"),
  role_is_standard: row("invalid", 409, IN_VAIN, "cannot modify or delete standard role; '{role}' is a standard role"),
  binding_exists: row("invalid", 409, IN_VAIN, "role binding already exists; binding for user '{user}' to role '{role}' in namespace '{namespace}' already exists"),
  queue_in_use: row("invalid", 409, IN_VAIN, "queue is a dead queue; '{used_by}' uses it as its dead_queue"),
  not_leased: row("invalid", 409, IN_VAIN, "item(s) cannot be {verb}; '{id}' is not marked as leased"),
  lease_ended: row("invalid", 409, IN_VAIN, "lease has ended; '{lease_id}' holds nothing any more"),
  item_cancelled: row("invalid", 409, IN_VAIN, "item was cancelled; '{id}'"),
  precondition_failed: row("invalid", 409, IN_VAIN, "{detail}"),
  some_refused: row("invalid", 409, IN_VAIN, "nothing was done; {refused} of {count} are refused"),
  unique_key_taken: row("invalid", 409, IN_VAIN, "unique key is taken; '{key}' is that of item '{id}'"),
  idempotency_mismatch: row("invalid", 409, IN_VAIN, "Idempotency-Key was used for another request; '{key}'"),
  request_in_progress: row("retry", 429, AGAIN, "a request with this Idempotency-Key is under way; '{key}'"),
  duplicate_client: row("invalid", 409, IN_VAIN, "duplicate client id; a client cannot make multiple leased requests to the same queue"),
  body_too_large: row("invalid", 413, IN_VAIN, "request body exceeds {max} limit"),
  unsupported_media_type: row("content", 415, IN_VAIN, "Content-Type header '{content_type}' is invalid format or unrecognized content type"),
  unsupported_encoding: row("encoded", 415, IN_VAIN, "{header} '{coding}' is not supported; send the body as it is, not compressed"),
  quota_exceeded: row("retry", 429, AGAIN, "namespace has reached its quota; '{namespace}' may have {max} {what}"),
  rate_limited: row("unauthorized", 429, AGAIN, "api key is not taken, and too many such requests come from this address; try again in {seconds}s"),
  overloaded: row("retry", 429, AGAIN, "queue is overloaded; try again later"),
  client_gone: row("transport", 499, AGAIN, "client has gone"),
  internal: row("internal", 500, AGAIN, "Internal Error"),
  storage_unusable: row("failed", 500, IN_VAIN, "{detail}"),
  storage_unavailable: row("retry", 503, AGAIN, "internal error, try your request again"),
  partition_failing: row("retry", 503, AGAIN, "partition not available; partition '{partition}' is failing, retry again"),
  outcome_unknown: row("retry", 503, AGAIN, "request timeout; the storage did not answer in time, the outcome is unknown"),
  standby: row("retry", 503, AGAIN, "another server owns the data; try again later, or another server"),
  taken_over: row("retry", 503, AGAIN, "another server has taken over; what was asked of this one may have been done"),
  shutting_down: row("failed", 503, AGAIN, "service is shutting down"),
  queue_shutting_down: row("failed", 503, AGAIN, "queue is shutting down"),
  no_items: row("retry", 504, AGAIN, "request timeout; no items are in the queue, try again"),
  timed_out: row("retry", 504, AGAIN, "request timeout; the request was not executed, try again"),
};

export type ErrorCode = keyof typeof ERRORS;

const PLACES = /\{(\w+)\}/g;

type NamesIn<Text> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | NamesIn<Rest>
  : never;

/** What the text of an error speaks of, by the names in its row. */
export type ErrorDetails = Readonly<Record<string, string | number>>;

// Of an error of this kind that does not say its code.
const CODES: Readonly<Record<ErrorKind, ErrorCode>> = {
  invalid: "invalid_field",
  unauthorized: "unauthenticated",
  forbidden: "permission_denied",
  encoded: "unsupported_encoding",
  failed: "storage_unusable",
  retry: "storage_unavailable",
  content: "invalid_request",
  internal: "internal",
  "not-implemented": "no_such_method",
  transport: "client_gone",
};

const CODES_BY_TEXT: ReadonlyMap<string, ErrorCode> = new Map(
  (Object.keys(ERRORS) as ErrorCode[]).map((code) => [ERRORS[code].text, code]),
);

interface QueueErrorOptions extends ErrorOptions {
  /** By default that of the text, or of the kind. */
  readonly code?: ErrorCode;
  readonly details?: ErrorDetails | undefined;
  /** By default the detail of that name. */
  readonly field?: string | undefined;
  /** What it says under /v2, if that is not the message. */
  readonly detail?: string | undefined;
}

/** An error that a client is told about. `message` is `<constant part>; <detail>`. */
export class QueueError extends Error {
  readonly kind: ErrorKind;
  readonly code: ErrorCode;
  readonly details: ErrorDetails | undefined;
  /** What of the request is wrong: the path of a field, such as `items[3].kind`, or the name of a header. */
  readonly field: string | undefined;
  /** What it says under /v2. */
  readonly detail: string;

  constructor(kind: ErrorKind, message: string, options: QueueErrorOptions = {}) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0; // where it was made is nobody's business, and costs eight times the rest
    super(message, options);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = "QueueError";
    this.kind = kind;
    this.code = options.code ?? CODES_BY_TEXT.get(message) ?? CODES[kind];
    this.details = options.details;
    this.field = options.field ?? fieldIn(options.details);
    this.detail = options.detail ?? message;
  }

  /** The HTTP status under /v1, which is also the `code` in the body. */
  get status(): number {
    return ERROR_KINDS[this.kind].status;
  }

  /** Whether the same request may succeed later, unchanged: under /v1. */
  get retryable(): boolean {
    return ERROR_KINDS[this.kind].retryable;
  }
}

function fieldIn(details: ErrorDetails | undefined): string | undefined {
  const field = details?.field;
  return field === undefined ? undefined : String(field);
}

/** One of several things that a request asked for, as a client is told of it; nothing if it could be done. */
export interface Refusal {
  readonly code?: ErrorCode;
  readonly detail?: string;
}

/** The error of a request of which all is done or nothing, with what is wrong with each thing it asked for. */
export class SomeRefusedError extends QueueError {
  readonly results: readonly Refusal[];

  constructor(refused: ReadonlyMap<number, QueueError>, count: number) {
    const { message, details } = queueError("some_refused", { refused: refused.size, count });
    super("invalid", message, { code: "some_refused", details });
    this.results = Array.from({ length: count }, (_, index) => {
      const error = refused.get(index);
      return error === undefined ? {} : { code: error.code, detail: error.detail };
    });
  }
}

/** Texts that clients compare literally. */
export const MESSAGES = {
  leaseTimeout: ERRORS.no_items.text,
  requestTimeout: ERRORS.timed_out.text,
  outcomeUnknown: ERRORS.outcome_unknown.text,
  duplicateClientId: ERRORS.duplicate_client.text,
  serviceShutdown: ERRORS.shutting_down.text,
  queueShutdown: ERRORS.queue_shutting_down.text,
  overloaded: ERRORS.overloaded.text,
  standby: ERRORS.standby.text,
  takenOver: ERRORS.taken_over.text,
  internalRetry: ERRORS.storage_unavailable.text,
  internal: ERRORS.internal.text,
} as const;

/** What an error can tell beside its text: the names of its details. */
export function detailNames(text: string): readonly string[] {
  return Array.from(text.matchAll(PLACES), (match) => match[1]!);
}

/** An error as it travels between threads, where its class is lost. */
export type PackedError = Pick<QueueError, "kind" | "message" | "code" | "details" | "field"> & {
  /** If it is not the message. */
  readonly detail?: string | undefined;
};

export function packError(error: QueueError): PackedError {
  const { kind, message, code, details, field, detail } = error;
  return { kind, message, code, details, field, ...(detail !== message && { detail }) };
}

export function unpackError({ kind, message, ...options }: PackedError): QueueError {
  return new QueueError(kind, message, options);
}

type DetailsOf<Code extends ErrorCode> = Readonly<
  Record<NamesIn<(typeof ERRORS)[Code]["text"]>, string | number>
>;

/** Codes whose text is always the same. */
type PlainCode = {
  [Code in ErrorCode]: [keyof DetailsOf<Code>] extends [never] ? Code : never;
}[ErrorCode];

/** The error of a code, with its text made of these details. */
export function queueError<Code extends ErrorCode>(
  code: Code,
  details: DetailsOf<Code>,
): QueueError {
  const { kind, text, detail }: ErrorRow = ERRORS[code];
  const given: ErrorDetails = details;
  const filled = (template: string): string =>
    template.replace(PLACES, (_, name: string) => String(given[name]));
  return new QueueError(kind, filled(text), { code, details, detail: detail && filled(detail) });
}

/** The error of a code whose text has no details, and what is behind it, if that is known. */
export function plainError(code: PlainCode, cause?: unknown): QueueError {
  const { kind, text } = ERRORS[code];
  return new QueueError(kind, text, cause === undefined ? { code } : { code, cause });
}

/** What waits in a queue that is deleted is told this: it is there no more, which /v1 says in words of its own. */
export function queueDeleted(name: string): QueueError {
  const { code, details, detail } = queueError("queue_not_found", { queue_name: name });
  const { kind, text } = ERRORS.queue_shutting_down;
  return new QueueError(kind, text, { code, details, detail });
}

/** A request that is wrong: 400. */
export function invalid(message: string): QueueError {
  return new QueueError("invalid", message);
}

/** The same of one field of it, by its path, or of a header, by its name: `field` of the reply under /v2. */
export function invalidField(field: string, message: string): QueueError {
  return new QueueError("invalid", message, { code: "invalid_field", field });
}

/** A request that may succeed if it is sent again: 454. */
export function retryLater(message: string, cause?: unknown): QueueError {
  return new QueueError("retry", message, cause === undefined ? undefined : { cause });
}
