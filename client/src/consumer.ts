// A loop over a queue, one item at a time. Going on to the next item completes the one before, unless the
// loop has decided otherwise; leaving the loop gives back what is not completed.

import type { QueratorClient } from "./client.ts";
import type { HotOptions } from "./client-options.ts";
import { isUnknownPath, LeaseLostError, ValidationError } from "./errors.ts";
import { LeasedItem, type RetryItem } from "./items.ts";
import type { QueueDefinition } from "./queue-definition.ts";
import { FactsOfQueue, INVALID_AFTER_MS, noDeadQueue } from "./queue-facts.ts";
import { backAt, checkWhen, type RetryWhen } from "./work-item.ts";

export interface ConsumeOptions extends HotOptions {
  /** Items leased at a time, 1 to 1000; 1 by default. All must be done before their lease ends. */
  readonly batchSize?: number | undefined;
}

/** An item of a loop. Each of its methods may be called once. */
export class ConsumedItem<T = undefined> extends LeasedItem {
  readonly value: T;
  readonly #client: QueratorClient;
  readonly #endsAtMs: number;
  #isEnded = false;

  /** `endsAtMs` is when its lease ends, by the client's `steady`. */
  constructor(client: QueratorClient, item: LeasedItem, value: T, endsAtMs: number) {
    super(item.queueName, item.partition, LeasedItem.wireOf(item));
    this.#client = client;
    this.#endsAtMs = endsAtMs;
    this.value = value;
  }

  // Until its lease ends, its end is sent again.
  get #ref(): Required<Pick<RetryItem, "id" | "partition" | "leaseDeadlineMs">> {
    const { id, partition } = this;
    const leaseDeadlineMs = this.#client.now() + this.#endsAtMs - this.#client.steady();
    return { id, partition, leaseDeadlineMs };
  }

  /** Whether it has been completed or given back. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** It is done. Rejects with a LeaseLostError if its lease has ended before. */
  async complete(): Promise<void> {
    this.#isEnded = true;
    await this.#client.complete(this.queueName, this.#ref);
  }

  /** Gives it back to the queue. */
  async retry(when: RetryWhen = {}): Promise<void> {
    checkWhen(when);
    const { at, delay } = backAt(when, this.#client.now());
    await this.#back({ retryAt: at, delay });
  }

  /** To the dead queue, or gone if there is none. */
  async dead(): Promise<void> {
    await this.#back({ dead: true });
  }

  /** Gives it back as if it had not been leased; as an attempt, if the server cannot. */
  async release(when: RetryWhen = {}): Promise<void> {
    checkWhen(when);
    this.#isEnded = true;
    const { at, delay } = backAt(when, this.#client.now());
    try {
      await this.#client.release(this.queueName, { ...this.#ref, at, delay });
    } catch (error) {
      if (!isUnknownPath(error)) throw error;
      await this.#client.retry(this.queueName, { ...this.#ref, retryAt: at, delay });
    }
  }

  async #back(how: Pick<RetryItem, "retryAt" | "delay" | "dead">): Promise<void> {
    this.#isEnded = true;
    await this.#client.retry(this.queueName, { ...this.#ref, ...how });
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
      const endsAtMs = client.steady() + (leased[0]?.leaseDeadlineMs ?? 0) - client.now();
      held = leased.map((item) => new ConsumedItem<T>(client, item, undefined as T, endsAtMs));
      while (held.length > 0) {
        // It is, or soon will be, somebody else's.
        if (endsAtMs <= client.steady()) {
          held.shift();
          continue;
        }
        const item = await decode(client, definition, held[0]!, endsAtMs);
        if (item instanceof ValidationError) {
          if (definition.onInvalid === "throw") throw item;
          const { hasDeadQueue } = await facts.get();
          if (!hasDeadQueue && !hasToldNoDeadQueue) {
            hasToldNoDeadQueue = true;
            console.error(noDeadQueue(definition.name, item).message);
          }
          await putAside(held[0]!, hasDeadQueue);
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
  client: QueratorClient,
  definition: QueueDefinition<never, T>,
  item: ConsumedItem<T>,
  endsAtMs: number,
): Promise<ConsumedItem<T> | ValidationError> {
  const decoded = await definition.decode(item);
  if (decoded instanceof ValidationError) return decoded;
  return new ConsumedItem(client, item, decoded, endsAtMs);
}

// An item that nobody can read: never deleted, as a schema may change.
async function putAside(item: ConsumedItem<unknown>, hasDeadQueue: boolean): Promise<void> {
  const gone = hasDeadQueue ? item.dead() : item.release({ after: INVALID_AFTER_MS });
  await gone.catch((error: unknown) => {
    if (!(error instanceof LeaseLostError)) throw error;
  });
}
