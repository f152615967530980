// What an endpoint is: a row that says all there is to say of it, in the file of its noun. The server is
// made from the rows, and so are the OpenAPI document and the page. A handler checks in the order that
// clients rely on, calls one method of a queue or of the registry, and answers.

import type { DescMessage } from "@bufbuild/protobuf";
import { type AuditChange, type Deed, SERVER_DEED } from "../auth/audit.ts";
import { isRead, type Permission } from "../auth/permissions.ts";
import type { Answer, Format } from "../codec/answer.ts";
import type { Decoded } from "../codec/message.ts";
import { decode } from "../http/decode.ts";
import type { Endpoint, Exchange } from "../http/edge.ts";
import { RequestMeter } from "../http/meters.ts";
import type { Repeat } from "../queue/queue.ts";
import { auditedOf } from "./audited.ts";
import { enter, spendCall } from "./entry.ts";
import { onceOf, repeatOf } from "./once.ts";
import type { Errors } from "./openapi/errors.ts";
import type { Notes } from "./openapi/fields.ts";
import { findQueue, type Service } from "./service.ts";

type Json = Readonly<Record<string, unknown>>;

/** What endpoints have in common that are about the same. */
export interface Noun {
  readonly name: string;
  /** What the documents say of them all. */
  readonly about: string;
  /** What the fields of their messages mean. */
  readonly fields: Notes;
}

/** What is said of an endpoint, whatever it decodes. */
export interface Described {
  readonly path: string;
  readonly bodyBytesMax: number;
  /** What its caller must be allowed to do, in the namespace that it is about. */
  readonly permission: Permission;
  /**
   * What the audit says of it; `never` of what changes nothing, or is the work that queues are for. Not given of what
   * only reads.
   */
  readonly audit?: Audited<never> | "never";
  /** What it is counted as: its verb, the same under /v1 and /v2. */
  readonly metric: string;
  readonly summary: string;
  /** What is to be said beyond that. */
  readonly description?: string;
  /** A request, in JSON. A test sends it. */
  readonly example: Json;
  /** Examples of errors that not every call can give. */
  readonly errors: Errors;
  /** The message that it decodes; none if it knows JSON only. */
  readonly request?: DescMessage;
  /** The message that it answers; only `{"code":200}` if it is not given. */
  readonly reply?: DescMessage;
}

/** What the audit says of an endpoint. */
export interface Audited<Request> {
  /** What a request is about: a queue, a role, a key. */
  target(request: Request): string;
  /** Whether the entry is in the same write as the change, by what the handler calls; else it is written before the answer. */
  readonly isWithin?: true;
  /** What a request changes, of those that are not `isWithin`; nothing secret, and nothing of an item but its id. */
  changes?(request: Request): readonly AuditChange[];
  /** Whether a request only tries what would be done. */
  isTrial?(request: Request): boolean;
}

/** An endpoint as it is written down. */
export interface Row<Request extends DescMessage> extends Described {
  readonly request: Request;
  /** Fields that this call needs, and other calls with the same message do not. */
  readonly needs?: readonly string[];
  /** Fields that it does not look at, although other calls with the same message do. */
  readonly ignores?: readonly string[];
  /** Fields of which one must be true. */
  readonly needsOneOf?: readonly string[];
  /** A second permission that is needed. */
  readonly alsoNeeds?: Permission;
  /** Whether it is no call of those that a namespace may make in a second. */
  readonly isFree?: true;
  /** Whether it is about the server as a whole, and so about `_system`. */
  readonly isOfServer?: true;
  /** Whether it is about all namespaces that its caller may see, if none is named: the handler is then given "". */
  readonly isOfAll?: true;
  /** The namespace that a request names; not given if it can name none beside that of its caller. "" names none. */
  namespaceOf?(request: Decoded<Request>): string;
  /** Checks what a request says by itself, before it is asked whether its caller may do it. */
  check?(request: Decoded<Request>): void;
  /** The name of the queue that a request is about; not given if it is about none. */
  queueOf?(request: Decoded<Request>): string;
  /** Whether a request may name an item by its `id` alone: then its queue is the one that has given it. */
  readonly isOfItem?: true;
  /** Checks the name of the queue; by default as one that may be there. */
  checkName?(name: string): void;
  /**
   * How a call that changes something treats an Idempotency-Key. By default its answer is kept in the queue;
   * `itself`: the handler sees to it; `never`: a key is refused.
   */
  readonly repeats?: "itself" | "never";
  readonly audit?: Audited<Decoded<Request>> | "never";
  handler(
    request: Decoded<Request>,
    exchange: Exchange,
    repeat: Repeat | undefined,
    /** The namespace that it is about. */
    namespace: string,
    /** How it was asked for, if the audit tells of it. */
    deed: Deed,
  ): Promise<Answer> | Answer;
}

/** One that knows JSON only, by the schemas of what it is sent and of what it answers. */
export interface JsonRow extends Described {
  readonly schema: Json & { readonly properties: Json };
  readonly replySchema?: Json;
  queueOf?(request: Json): string;
  handler(request: Json): Promise<Answer> | Answer;
}

/** The endpoint that is made of a row. */
export interface RowEndpoint extends Endpoint {
  readonly noun: Noun;
  readonly row: Row<DescMessage> | JsonRow;
}

export const SMALL = 512;
export const MEDIUM = 256_000;
export const IMPORT = 64_000_000;

/** Of rows whose request names a queue. */
export function byName(request: { readonly queueName: string }): string {
  return request.queueName;
}

/** What makes endpoints of the rows of a noun. */
export function endpointsOf(
  noun: Noun,
  service: Service,
): <Request extends DescMessage>(row: Row<Request>) => RowEndpoint {
  return (row) => {
    const { request: schema, path } = row;
    const handler = auditedOf(row, service);
    const handle = onceOf({ ...row, handler }, (queue) => findQueue(service, queue));
    return makeEndpoint(noun, row, (body, format, exchange) => {
      if (service.auth.accounts.isAnyLimited) spendCall(row, exchange, service);
      const { idempotencyKey: key } = exchange;
      const repeat = key === "" ? undefined : repeatOf(key, path, body);
      const does = repeat === undefined ? handler : handle;
      const request = decode(schema, body, format, exchange);
      if (!(request instanceof Promise)) {
        return does(request, exchange, repeat, enter(row, request, exchange, service), SERVER_DEED);
      }
      return request.then((decoded) =>
        does(decoded, exchange, repeat, enter(row, decoded, exchange, service), SERVER_DEED),
      );
    });
  };
}

/** Makes an endpoint. All are objects of one shape, whatever their rows say. */
export function makeEndpoint(
  noun: Noun,
  row: Row<DescMessage> | JsonRow,
  handle: (body: Buffer, format: Format, exchange: Exchange) => Promise<Answer> | Answer,
): RowEndpoint {
  const { bodyBytesMax, permission, metric } = row;
  const meter = new RequestMeter(metric);
  return { bodyBytesMax, meter, isRead: isRead(permission), noun, row, handle };
}
