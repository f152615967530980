// A loop over a queue, one item at a time. Going on to the next item completes the one before, unless the
// loop has decided otherwise; leaving the loop gives back what is not completed.

import type { QueratorClient } from "./client.ts";
import type { HotOptions, NextItems } from "./client-options.ts";
import { isNotImplemented, LeaseLostError, ValidationError } from "./errors.ts";
import { HeldItem, leaseOf } from "./held-item.ts";
import type { GivenItemError } from "./item-error.ts";
import type { ReleaseItem } from "./items.ts";
import type { QueueDefinition } from "./queue-definition.ts";
import { FactsOfQueue, INVALID_AFTER_MS, noDeadQueue } from "./queue-facts.ts";
import { backAt, checkWhen, type RetryWhen } from "./work-item.ts";

export interface ConsumeOptions extends HotOptions {
  /** Items leased at a time, 1 to 1000; 1 by default. All must be done before their lease ends. */
  readonly batchSize?: number | undefined;
}

/** An item of a loop. It can be ended once, and extended before. */
export class ConsumedItem<T = undefined> extends HeldItem<T> {
  #isEnded = false;

  /** Whether it has been completed or given back. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** It is done. Rejects with a LeaseLostError if its lease has ended before. */
  async complete(
    result?: unknown,
    { produce }: { readonly produce?: NextItems | readonly NextItems[] | undefined } = {},
  ): Promise<void> {
    this.#isEnded = true;
    const { client } = this.lease;
    const done = { ...this.ref, result };
    if (produce === undefined) await client.complete(this.queueName, done);
    else await client.complete(this.queueName, done, { produce });
  }

  /** Gives it back to the queue, with an error that is kept with it. */
  async retry({
    error,
    ...when
  }: RetryWhen & { readonly error?: GivenItemError | undefined } = {}): Promise<void> {
    await this.lease.client.retry(this.queueName, { ...this.#back(when), error });
  }

  /** To the dead queue, or gone if there is none. */
  async dead(error?: GivenItemError): Promise<void> {
    this.#isEnded = true;
    await this.lease.client.reject(this.queueName, { ...this.ref, error });
  }

  /** Gives it back as if it had not been leased; as an attempt, if the server cannot. */
  async release(when: RetryWhen = {}): Promise<void> {
    const { client } = this.lease;
    const back = this.#back(when);
    try {
      await client.release(this.queueName, back);
    } catch (error) {
      if (!isNotImplemented(error)) throw error;
      await client.retry(this.queueName, back);
    }
  }

  #back(when: RetryWhen): ReleaseItem {
    checkWhen(when);
    this.#isEnded = true;
    return { ...this.ref, ...backAt(when, this.lease.client.now()) };
  }
}

/** Leases items for as long as somebody asks for the next one. */
export async function* consume<T>(
  client: QueratorClient,
  definition: QueueDefinition<never, T>,
  { batchSize = 1, requestTimeout, signal }: ConsumeOptions,
): AsyncGenerator<ConsumedItem<T>, void, undefined> {
  let held: ConsumedItem<T>[] = [];
  const facts = new FactsOfQueue(definition.name, (name, timeout) =>
    client.queues.info(name, { timeout }),
  );
  let hasToldNoDeadQueue = false;
  try {
    for (;;) {
      const leased = await client.lease(definition.name, { batchSize, requestTimeout, signal });
      const lease = leaseOf(client, leased);
      held = leased.map((item) => new ConsumedItem<T>(item, undefined as T, lease));
      while (held.length > 0) {
        // It is, or soon will be, somebody else's.
        if (held[0]!.endsAtMs <= client.steady()) {
          held.shift();
          continue;
        }
        const item = await decode(definition, held[0]!);
        if (item instanceof ValidationError) {
          if (definition.onInvalid === "throw") throw item;
          const { hasDeadQueue } = await facts.get();
          if (!hasDeadQueue && !hasToldNoDeadQueue) {
            hasToldNoDeadQueue = true;
            console.error(noDeadQueue(definition.name, item).message);
          }
          await putAside(held[0]!, item, hasDeadQueue);
          held.shift();
          continue;
        }
        held[0] = item;
        yield item;
        if (!item.isEnded) await item.complete();
        held.shift();
      }
    }
  } finally {
    // The loop was left, or a call failed: what it has begun counts, the rest does not. What cannot be given
    // back comes back when its lease ends.
    const [begun, ...rest] = held;
    const isOpen = begun !== undefined && !begun.isEnded;
    await Promise.allSettled([
      ...(isOpen ? [begun.retry()] : []),
      ...rest.map((item) => item.release()),
    ]);
  }
}

async function decode<T>(
  definition: QueueDefinition<never, T>,
  item: ConsumedItem<T>,
): Promise<ConsumedItem<T> | ValidationError> {
  const decoded = await definition.decode(item);
  if (decoded instanceof ValidationError) return decoded;
  return new ConsumedItem(item, decoded, item.lease);
}

// An item that nobody can read: never deleted, as a schema may change.
async function putAside(
  item: ConsumedItem<unknown>,
  error: ValidationError,
  hasDeadQueue: boolean,
): Promise<void> {
  const gone = hasDeadQueue ? item.dead(error) : item.release({ delay: INVALID_AFTER_MS });
  await gone.catch((failure: unknown) => {
    if (!(failure instanceof LeaseLostError)) throw failure;
  });
}
