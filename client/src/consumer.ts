// A loop over a queue, one item at a time. Going on to the next item completes the one before, unless the
// loop has decided otherwise; leaving the loop gives back what is not completed.

import type { QueratorClient } from "./client.ts";
import type { HotOptions } from "./client-options.ts";
import { LeaseLostError, ValidationError } from "./errors.ts";
import { LeasedItem, type RetryItem } from "./items.ts";
import type { QueueDefinition } from "./queue-definition.ts";
import { checkWhen, type RetryWhen, retryAt } from "./work-item.ts";

export interface ConsumeOptions extends HotOptions {
  /** Items leased at a time, 1 to 1000; 1 by default. All must be done before their lease ends. */
  readonly batchSize?: number | undefined;
}

/** An item of a loop. Each of its methods may be called once. */
export class ConsumedItem<T = undefined> extends LeasedItem {
  readonly value: T;
  readonly #client: QueratorClient;
  #isEnded = false;

  constructor(client: QueratorClient, item: LeasedItem, value: T) {
    super(item.queueName, item.partition, LeasedItem.wireOf(item));
    this.#client = client;
    this.value = value;
  }

  /** Whether it has been completed or given back. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** It is done. Rejects with a LeaseLostError if its lease has ended before. */
  async complete(): Promise<void> {
    this.#isEnded = true;
    await this.#client.complete(this.queueName, this);
  }

  /** Gives it back to the queue. */
  async retry(when: RetryWhen = {}): Promise<void> {
    checkWhen(when);
    await this.#back({ retryAt: retryAt(when, this.#client.now()) });
  }

  /** To the dead queue, or gone if there is none. */
  async dead(): Promise<void> {
    await this.#back({ dead: true });
  }

  async #back(how: Pick<RetryItem, "retryAt" | "dead">): Promise<void> {
    this.#isEnded = true;
    const { id, partition } = this;
    await this.#client.retry(this.queueName, { id, partition, ...how });
  }
}

/** Leases items for as long as somebody asks for the next one. */
export async function* consume<T>(
  client: QueratorClient,
  definition: QueueDefinition<never, T>,
  { batchSize = 1, requestTimeout, signal }: ConsumeOptions,
): AsyncGenerator<ConsumedItem<T>, void, undefined> {
  let held: ConsumedItem<T>[] = [];
  try {
    for (;;) {
      const leased = await client.lease(definition.name, { batchSize, requestTimeout, signal });
      const endsAtMs = client.steady() + (leased[0]?.leaseDeadlineMs ?? 0) - client.now();
      held = leased.map((item) => new ConsumedItem<T>(client, item, undefined as T));
      while (held.length > 0) {
        // It is, or soon will be, somebody else's.
        if (endsAtMs <= client.steady()) {
          held.shift();
          continue;
        }
        const item = await decode(client, definition, held[0]!);
        if (item === undefined) {
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
    // The loop was left, or a call failed. What cannot be given back comes back when its lease ends.
    const back = held.filter(({ isEnded }) => !isEnded).map((item) => item.retry());
    await Promise.allSettled(back);
  }
}

// Nothing if the item has gone to the dead queue.
async function decode<T>(
  client: QueratorClient,
  definition: QueueDefinition<never, T>,
  item: ConsumedItem<T>,
): Promise<ConsumedItem<T> | undefined> {
  const decoded = await definition.decode(item);
  if (!(decoded instanceof ValidationError)) return new ConsumedItem(client, item, decoded);
  if (definition.onInvalid === "throw") throw decoded;
  await item.dead().catch((error: unknown) => {
    if (!(error instanceof LeaseLostError)) throw error;
  });
  return undefined;
}
