// What is said of a body that is no message. Clients of /v1 know its words, which name a field and no
// more; those of /v2 say what was meant. Whatever the words are, an error carries the path of the field
// that it is about. Must never be asked for an error before there is one: paths are made for it alone.

import { distance } from "fastest-levenshtein";
import { QueueError, queueError } from "../errors.ts";
import type { Table } from "./message.ts";

/** The words of one version of the API, by what is wrong; a `path` leads to a field, "" to the body. */
export interface Complaints {
  /** It cannot be read at all. */
  unreadable(text: string): QueueError;
  unknownField(table: Table, path: string, key: string): QueueError;
  /** A field of Protobuf that is not known, by the path that ends in its number; undefined if it is passed over. */
  readonly unknownNumber: ((path: string) => QueueError) | undefined;
  /** A field is given twice; "" if it is not known which. */
  twice(path: string): QueueError;
  /** A value of the wrong type, as a text that shows it. */
  wrong(path: string, expected: string, shown: string): QueueError;
  /** Anything else that a field cannot be: `what` goes on after its name. */
  bad(path: string, what: string): QueueError;
}

/** Those for a message, by its name in proto/. */
export function complaintsOf(typeName: string): Complaints {
  return typeName.startsWith("querator.v1.") ? V1 : V2;
}

const V1 = make(
  {
    prefix: "proto: ",
    shorten: (path) => path.slice(path.lastIndexOf(".") + 1),
    unknownNumber: undefined,
  },
  (_, path, key) => queueError("unknown_field", { field: show(join(path, key)).toWellFormed() }),
);

// What a newer client says must not be lost without a word.
const unknownNumber = (path: string): QueueError => {
  const field = show(path);
  return new QueueError("content", `unknown field number ${field}`, {
    code: "unknown_field",
    field,
  });
};

const V2 = make({ prefix: "", shorten: (path) => path, unknownNumber }, (table, path, key) => {
  const field = show(join(path, key)).toWellFormed();
  const meant = likely(key, table) ?? closest(key, table);
  const hint = meant === undefined ? "" : `; did you mean '${meant}'?`;
  const more = ADVICE[meant ?? ""] ?? "";
  const message = `unknown field '${field}'${meant === undefined ? hint : `${hint}${more}`}`;
  return new QueueError("content", message, { code: "unknown_field", field });
});

function make(
  {
    prefix,
    shorten,
    unknownNumber,
  }: Pick<Complaints, "unknownNumber"> & {
    readonly prefix: string;
    readonly shorten: (path: string) => string;
  },
  unknownField: Complaints["unknownField"],
): Complaints {
  const complain = (text: string, path: string): QueueError => {
    const message = `${prefix}${text}`.toWellFormed(); // it may quote what was sent
    if (path === "") return new QueueError("content", message);
    const field = show(path).toWellFormed();
    return new QueueError("content", message, { code: "invalid_field", field });
  };
  const nameOf = (path: string): string => (path === "" ? "the body" : `field ${show(path)}`);
  return {
    unknownField,
    unknownNumber,
    unreadable: (text) => complain(text, ""),
    twice: (path) =>
      complain(`${path === "" ? "a field" : `field ${path}`} is given more than once`, path),
    wrong: (path, expected, shown) =>
      complain(`${nameOf(path)} must be ${expected}, not ${show(shown)}`, path),
    bad: (path, what) => complain(`${nameOf(shorten(path))} ${what}`, path),
  };
}

const SHOWN_MAX = 100;
// No name is longer, and looking for a near one takes the product of both lengths.
const NAME_LENGTH_MAX = 40;

// What other queues, and /v1, call what has another name here.
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  queue_name: ["name", "queue", "queuename"],
  lease_id: ["id", "item_id", "receipt_handle", "token"],
  id: ["lease_id", "item_id", "job_id", "message_id"],
  leases: ["ids", "items", "lease_ids"],
  json: ["payload", "body", "data", "message", "value", "args"],
  items: ["item", "messages", "jobs", "payloads"],
  client: ["client_id", "consumer", "worker"],
  batch_size: ["limit", "count", "max", "max_messages"],
  request_timeout: ["timeout", "wait", "wait_time"],
  delay: ["delay_seconds", "after", "in", "retry_after"],
  enqueue_at: ["run_at", "scheduled_at", "at", "start_after"],
  at: ["retry_at", "run_at"],
  for: ["duration", "extend_by", "lease_timeout"],
  max_attempts: ["retries", "max_retries", "attempts", "retry_limit"],
  dead_queue: ["dead_letter_queue", "dlq", "dead_letter"],
  lease_timeout: ["visibility_timeout", "ack_deadline"],
  expire_timeout: ["ttl", "retention", "expire_in"],
  unique_key: ["dedup_id", "deduplication_id", "job_key", "singleton_key"],
};

// The text in place of a payload, of which there are three forms; each lease is an object.
const ADVICE: Readonly<Record<string, string>> = {
  json: " A payload is given as 'json', 'utf8' or 'bytes'",
  leases: ' They are objects: {"lease_id": ...}',
};

// The field of this message that has the name elsewhere.
function likely(key: string, { fields }: Table): string | undefined {
  if (key.length > NAME_LENGTH_MAX) return undefined;
  const name = key.toLowerCase();
  return fields.find(({ jsonName }) => OTHER_NAMES[jsonName]?.includes(name))?.jsonName;
}

// The name that a client may have meant, as far as a slip of the pen leads.
function closest(key: string, { fields }: Table): string | undefined {
  if (key.length > NAME_LENGTH_MAX) return undefined;
  let best: string | undefined;
  let least = Math.max(2, Math.floor(key.length / 3)) + 1;
  for (const { jsonName } of fields) {
    const steps = distance(key.toLowerCase(), jsonName);
    if (steps >= least) continue;
    least = steps;
    best = jsonName;
  }
  return best;
}

/** What is shown of a text: its beginning. */
export function show(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}...` : text;
}

/** A value as an error shows it, and no more of it than is shown. */
export function shown(value: unknown): string {
  const some = typeof value === "string" ? value.slice(0, SHOWN_MAX + 1) : value;
  return JSON.stringify(some) ?? "nothing";
}

/** The path of a member or of an entry. */
export function join(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  return path === "" ? key : `${path}.${key}`;
}
