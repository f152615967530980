// What a worker has to know of its queue before it gives something up for good: whether there is a dead
// queue, and after how many leases the server ends an item. Asked for when it is first needed, and again
// after some seconds, for both can be changed at any time. A server that does not tell counts as one
// that would delete.

import { ValidationError } from "./errors.ts";
import type { QueueInfo } from "./queues.ts";

/** How long an item that nobody can read is put off, where there is no dead queue for it. */
export const INVALID_AFTER_MS = 60_000;

export interface QueueFacts {
  readonly hasDeadQueue: boolean;
  /** Whether an item that is given back after so many leases is surely not its last time. */
  mayComeBack(attempts: number): boolean;
  /** Whether the server never ends an item because of its leases. */
  readonly isUnbounded: boolean;
}

const UNKNOWN: QueueFacts = {
  hasDeadQueue: false,
  mayComeBack: () => false,
  isUnbounded: false,
};
const KEPT_MS = 5_000;
const TIMEOUT = "5s";

type Info = Pick<QueueInfo, "maxAttempts" | "deadQueue">;

export class FactsOfQueue {
  readonly #ask: (timeout: string) => Promise<Info>;
  #asked: Promise<QueueFacts> | undefined;
  #askedAt = 0;

  constructor(ask: (timeout: string) => Promise<Info>) {
    this.#ask = ask;
  }

  /** Never rejects. */
  get(): Promise<QueueFacts> {
    const now = performance.now();
    if (this.#asked === undefined || now - this.#askedAt > KEPT_MS) {
      this.#askedAt = now;
      this.#asked = this.#ask(TIMEOUT).then(factsOf, () => {
        // The next one who wants to know asks again.
        this.#asked = undefined;
        return UNKNOWN;
      });
    }
    return this.#asked;
  }
}

function factsOf({ maxAttempts, deadQueue }: Info): QueueFacts {
  return {
    hasDeadQueue: deadQueue !== "",
    mayComeBack: (attempts) => maxAttempts === 0 || attempts < maxAttempts,
    isUnbounded: maxAttempts === 0,
  };
}

/** What is told once, if there is no dead queue for items that are not valid. */
export function noDeadQueue(
  queueName: string,
  { code, issues, message }: ValidationError,
): ValidationError {
  const text =
    `Queue '${queueName}' has no dead queue for items that are not valid: they are kept, and looked at` +
    ` again after a minute. Give it a dead queue, or mend the schema. The first one: ${message}`;
  return new ValidationError(code as "validation" | "codec", text, issues);
}
