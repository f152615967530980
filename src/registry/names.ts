// The rules for names: of queues, dead queues and namespaces. Lengths are bytes of UTF-8.

import { SYSTEM_NAMESPACE } from "../auth/permissions.ts";
import { invalidField } from "../errors.ts";

export { SYSTEM_NAMESPACE };

// Stands between a namespace and a name; neither can have it.
const BETWEEN = "~";

/**
 * What a queue is known as inside, where there is one of each: its name, with its namespace before it if that is
 * not `_system`. Every name that comes from outside is made one of these once (api/entry.ts), and is made
 * its name again where it is told.
 */
export function fullName(namespace: string, name: string): string {
  return namespace === SYSTEM_NAMESPACE ? name : `${namespace}${BETWEEN}${name}`;
}

/** The name in a full name, as its users have it. */
export function nameOf(full: string): string {
  return full.slice(full.indexOf(BETWEEN) + 1);
}

/** The namespace in a full name. */
export function namespaceOf(full: string): string {
  const end = full.indexOf(BETWEEN);
  return end === -1 ? SYSTEM_NAMESPACE : full.slice(0, end);
}

export const QUEUE_NAME_BYTES_MAX = 512;
export const DEAD_QUEUE_NAME_BYTES_MAX = 500;
export const NAMESPACE_BYTES_MAX = 256;

// White space as Unicode and the Go language define it: not the same as \s.
const SPACES = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WHITE_SPACE = new RegExp(`[${SPACES}]`);
const BLANK = new RegExp(`^[${SPACES}]*$`);

/** What the checks of a queue's name allow, as a pattern for the API's document. */
export const QUEUE_NAME_PATTERN = `^[^~${SPACES}]+$`;
/** The same of namespaces, which may be left out. */
export const NAMESPACE_PATTERN = `^[^~:${SPACES}]*$`;
/** The same of a text that is refused if it is blank. */
export const NOT_BLANK_PATTERN = `[^${SPACES}]`;

export function isBlank(text: string): boolean {
  return BLANK.test(text);
}

/** The checks before a look-up: a name that fails no other check simply does not exist. */
export function checkLookupName(name: string): void {
  if (isBlank(name))
    throw invalidField("queue_name", "queue name is invalid; queue name cannot be empty");
  if (name.includes("~")) {
    throw invalidField(
      "queue_name",
      `queue name is invalid; '${name}' cannot contain '~' character`,
    );
  }
}

/** The checks of a name that a queue is to have. */
export function checkQueueName(name: string): void {
  if (Buffer.byteLength(name) > QUEUE_NAME_BYTES_MAX) {
    throw invalidField(
      "queue_name",
      `queue name is invalid; cannot be greater than '${QUEUE_NAME_BYTES_MAX}' characters`,
    );
  }
  if (isBlank(name))
    throw invalidField("queue_name", "queue name is invalid; queue name cannot be empty");
  if (WHITE_SPACE.test(name)) {
    throw invalidField("queue_name", `queue name is invalid; '${name}' cannot contain whitespace`);
  }
  checkLookupName(name);
}

/** The checks of the name of a dead queue; "" names none. */
export function checkDeadQueueName(name: string): void {
  if (Buffer.byteLength(name) > DEAD_QUEUE_NAME_BYTES_MAX) {
    throw invalidField(
      "dead_queue",
      `dead queue is invalid; cannot be greater than '${DEAD_QUEUE_NAME_BYTES_MAX}' characters`,
    );
  }
  if (WHITE_SPACE.test(name)) {
    throw invalidField("dead_queue", `dead queue is invalid; '${name}' cannot contain whitespace`);
  }
  if (name.includes("~")) {
    throw invalidField(
      "dead_queue",
      `dead queue is invalid; '${name}' cannot contain '~' character`,
    );
  }
}

/** The checks of the name of a namespace, in the field that has it; "" names the one of everything. */
export function checkNamespace(name: string, field = "namespace"): void {
  if (name === "") return;
  if (Buffer.byteLength(name) > NAMESPACE_BYTES_MAX) {
    throw invalidField(
      field,
      `namespace name is invalid; cannot be greater than '${NAMESPACE_BYTES_MAX}' characters`,
    );
  }
  if (isBlank(name)) throw invalidField(field, "namespace name is invalid; cannot be empty");
  if (WHITE_SPACE.test(name)) {
    throw invalidField(field, `namespace name is invalid; '${name}' cannot contain whitespace`);
  }
  for (const character of ["~", ":"]) {
    if (name.includes(character)) {
      throw invalidField(
        field,
        `namespace name is invalid; '${name}' cannot contain '${character}' character`,
      );
    }
  }
}
