// A queue definition together with a client: what is produced and consumed through it has its types.

import type { QueratorClient } from "./client.ts";
import type { ProduceOptions } from "./client-options.ts";
import type { ConsumedItem, ConsumeOptions } from "./consumer.ts";
import type { StorageItem } from "./item-records.ts";
import type { ProducedItem, ProduceItem } from "./items.ts";
import type { QueueDefinition } from "./queue-definition.ts";
import type { GetItemOptions, WaitForItemOptions } from "./stored-items.ts";
import type { Worker } from "./worker.ts";
import type { BatchHandler, BatchOptions, Handler, WorkerOptions } from "./worker-options.ts";

/** Of an item beside its value. */
export type ProduceDetails = Pick<
  ProduceItem,
  | "kind"
  | "reference"
  | "headers"
  | "enqueueAt"
  | "delay"
  | "uniqueKey"
  | "uniqueWhile"
  | "uniqueFor"
  | "onDuplicate"
  | "maxAttempts"
  | "expireIn"
  | "retry"
  | "traceparent"
  | "tracestate"
>;

/** An item with a result of its type: nothing as long as it has not ended, or if its handler has returned none. */
export interface EndedItem<Result> extends StorageItem {
  readonly result: Result | undefined;
}

/** Produces what is encoded only now. */
export type ProduceEncoded = (
  encoding: () => Promise<readonly ProduceItem[]>,
  options: ProduceOptions,
) => Promise<readonly ProducedItem[]>;

export class TypedQueue<In, Out, ResultIn = unknown, ResultOut = ResultIn> {
  readonly definition: QueueDefinition<In, Out, ResultIn, ResultOut>;
  readonly #client: QueratorClient;
  readonly #produce: ProduceEncoded;

  constructor(
    client: QueratorClient,
    definition: QueueDefinition<In, Out, ResultIn, ResultOut>,
    produce: ProduceEncoded,
  ) {
    this.#client = client;
    this.#produce = produce;
    this.definition = definition;
  }

  /** Adds a value; rejects with a ValidationError if it does not fit the schema. */
  async produce(value: In, options: ProduceDetails & ProduceOptions = {}): Promise<ProducedItem> {
    const [produced] = await this.produceMany([value], options);
    return produced!;
  }

  /** Adds values; none of them if one does not fit. */
  async produceMany(
    values: readonly In[],
    options: ProduceDetails & ProduceOptions = {},
  ): Promise<readonly ProducedItem[]> {
    const { requestTimeout, mayRepeat, allOrNone, idempotencyKey, signal, onRepeat, ...details } =
      options;
    const rest = { requestTimeout, mayRepeat, allOrNone, idempotencyKey, signal, onRepeat };
    return this.#produce(async () => {
      const encoded = await Promise.all(values.map((value) => this.definition.encode(value)));
      return encoded.map((item) => ({ ...item, ...details }));
    }, rest);
  }

  /** As the client's worker. */
  worker(handler: BatchHandler<Out>, options: BatchOptions): Worker<Out>;
  worker(handler: Handler<Out, ResultIn>, options?: WorkerOptions): Worker<Out>;
  worker(handler: never, options?: WorkerOptions): Worker<Out> {
    return this.#client.worker(this.definition, handler, options);
  }

  /**
   * Waits until an item has ended, as `client.items.wait` does, with its result; rejects with a ValidationError if
   * that does not fit.
   */
  async wait(id: string, options: WaitForItemOptions = {}): Promise<EndedItem<ResultOut>> {
    const { name } = this.definition;
    return this.#withResult(await this.#client.items.wait(id, { queueName: name, ...options }));
  }

  /** An item as it is now, or as it ended, as `client.items.get` answers it; its result as `wait` does. */
  async get(id: string, options: GetItemOptions = {}): Promise<EndedItem<ResultOut>> {
    const { name } = this.definition;
    return this.#withResult(await this.#client.items.get(id, { queueName: name, ...options }));
  }

  async #withResult(item: StorageItem): Promise<EndedItem<ResultOut>> {
    const { result: ofResult } = this.definition;
    const isThere = item.result !== undefined && ofResult !== undefined;
    const result = isThere ? await ofResult.read(item.result) : (item.result as ResultOut);
    return { ...item, result };
  }

  /** As the client's consume. */
  consume(options: ConsumeOptions = {}): AsyncGenerator<ConsumedItem<Out>, void, undefined> {
    return this.#client.consume(this.definition, options);
  }
}
