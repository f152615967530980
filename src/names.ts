// The rules for names: of queues, dead queues and namespaces. Lengths are bytes of UTF-8.

import { invalid, QueueError } from "./errors.ts";

/** The namespace of everything, and the only one in this version. */
export const SYSTEM_NAMESPACE = "_system";

// White space as Unicode and the Go language define it: not the same as \s.
const WHITE_SPACE = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const BLANK = new RegExp(`^(?:${WHITE_SPACE.source})*$`);

export function isBlank(text: string): boolean {
  return BLANK.test(text);
}

/** The checks before a look-up: a name that fails no other check simply does not exist. */
export function checkLookupName(name: string): void {
  if (isBlank(name)) throw invalid("queue name is invalid; queue name cannot be empty");
  if (name.includes("~")) {
    throw invalid(`queue name is invalid; '${name}' cannot contain '~' character`);
  }
}

/** The checks of a name that a queue is to have. */
export function checkQueueName(name: string): void {
  if (Buffer.byteLength(name) > 512) {
    throw invalid("queue name is invalid; cannot be greater than '512' characters");
  }
  if (isBlank(name)) throw invalid("queue name is invalid; queue name cannot be empty");
  if (WHITE_SPACE.test(name)) {
    throw invalid(`queue name is invalid; '${name}' cannot contain whitespace`);
  }
  checkLookupName(name);
}

/** The checks of the name of a dead queue; "" names none. */
export function checkDeadQueueName(name: string): void {
  if (Buffer.byteLength(name) > 500) {
    throw invalid("dead queue is invalid; cannot be greater than '500' characters");
  }
  if (WHITE_SPACE.test(name)) {
    throw invalid(`dead queue is invalid; '${name}' cannot contain whitespace`);
  }
  if (name.includes("~")) {
    throw invalid(`dead queue is invalid; '${name}' cannot contain '~' character`);
  }
}

/** The checks of a namespace; answers the one that is meant. */
export function checkNamespace(name: string): string {
  if (name === "" || name === SYSTEM_NAMESPACE) return SYSTEM_NAMESPACE;
  if (Buffer.byteLength(name) > 256) {
    throw invalid("namespace name is invalid; cannot be greater than '256' characters");
  }
  if (isBlank(name)) throw invalid("namespace name is invalid; cannot be empty");
  if (WHITE_SPACE.test(name)) {
    throw invalid(`namespace name is invalid; '${name}' cannot contain whitespace`);
  }
  for (const character of ["~", ":"]) {
    if (name.includes(character)) {
      throw invalid(`namespace name is invalid; '${name}' cannot contain '${character}' character`);
    }
  }
  throw new QueueError("failed", `namespace does not exist; '${name}' was not found`);
}
