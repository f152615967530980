// What a worker has to know of its queue before it gives something up for good: whether there is a dead
// queue (one that is named may have been deleted all the same), after how many leases the server ends an item, and
// whether it has a retry policy. Asked for when it is first needed, and again after some seconds, for all of it can be
// changed at any time. A server that does not tell counts as one that would delete.

import { toMs } from "./duration.ts";
import { QueueNotFoundError, ValidationError } from "./errors.ts";
import type { QueueInfo } from "./queues.ts";

/** How long an item that nobody can read is put off, where there is no dead queue for it. */
export const INVALID_AFTER_MS = 60_000;

export interface QueueFacts {
  readonly hasDeadQueue: boolean;
  /** Whether an item that is given back after so many leases is surely not its last time. */
  mayComeBack(attempts: number): boolean;
  /** Whether it says itself when failed items are tried again. */
  readonly hasRetry: boolean;
  /** Whether the server never ends an item because of its leases. */
  readonly isUnbounded: boolean;
}

const UNKNOWN: QueueFacts = {
  hasDeadQueue: false,
  mayComeBack: () => false,
  hasRetry: false,
  isUnbounded: false,
};
const KEPT_MS = 5_000;
const TIMEOUT = "5s";

type Info = Pick<QueueInfo, "maxAttempts" | "deadQueue" | "retry">;

export class FactsOfQueue {
  readonly #queueName: string;
  readonly #ask: (queueName: string, timeout: string) => Promise<Info>;
  #asked: Promise<QueueFacts> | undefined;
  #askedAt = 0;

  constructor(queueName: string, ask: (queueName: string, timeout: string) => Promise<Info>) {
    this.#queueName = queueName;
    this.#ask = ask;
  }

  /** Never rejects. */
  get(): Promise<QueueFacts> {
    const now = performance.now();
    if (this.#asked === undefined || now - this.#askedAt > KEPT_MS) {
      this.#askedAt = now;
      this.#asked = this.#facts().catch(() => {
        // The next one who wants to know asks again.
        this.#asked = undefined;
        return UNKNOWN;
      });
    }
    return this.#asked;
  }

  async #facts(): Promise<QueueFacts> {
    const { maxAttempts, deadQueue, retry } = await this.#ask(this.#queueName, TIMEOUT);
    return {
      hasDeadQueue: deadQueue !== "" && (await this.#isThere(deadQueue)),
      mayComeBack: (attempts) => maxAttempts === 0 || attempts < maxAttempts,
      hasRetry: toMs(retry?.delay ?? 0, "retry.delay") > 0,
      isUnbounded: maxAttempts === 0,
    };
  }

  async #isThere(queueName: string): Promise<boolean> {
    try {
      await this.#ask(queueName, TIMEOUT);
      return true;
    } catch (error) {
      if (error instanceof QueueNotFoundError) return false;
      throw error;
    }
  }
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
