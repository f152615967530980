// What a complete produces in the same transaction: items for its own queue and for others, with unique keys if they
// ask for some. Which they are, and what is answered of them.

import type { QueueCompleteProduceSchema } from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { invalidField, QueueError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type {
  Followers,
  Item,
  Outcomes,
  Produced,
  ProducedItem,
  QueueHandle,
  UniqueWish,
} from "../queue/queue.ts";
import type { TraceContext } from "../trace-context.ts";
import { newItemsReader } from "./produce.ts";
import { findOtherQueue, type Service } from "./service.ts";
import { readUniqueKeys } from "./unique-keys.ts";

type Given = readonly Decoded<typeof QueueCompleteProduceSchema>[];

type Told = Pick<ProducedItem, "id" | "status">;

/** All for one queue. */
class OfQueue implements Followers {
  readonly queue: string;
  readonly handle: QueueHandle;
  readonly items: Item[] = [];
  readonly entries: { readonly index: number; readonly count: number }[] = [];
  unique: (UniqueWish | undefined)[] | undefined = undefined;

  constructor(queue: string, handle: QueueHandle) {
    this.queue = queue;
    this.handle = handle;
  }

  add(index: number, items: readonly Item[], unique: Followers["unique"]): void {
    if (unique !== undefined) this.unique ??= new Array(this.items.length).fill(undefined);
    this.unique?.push(...(unique ?? new Array(items.length).fill(undefined)));
    this.items.push(...items);
    this.entries.push({ index, count: items.length });
  }
}

/** What is to be produced, and how to tell what was. */
export class FollowersOfCall {
  readonly #queues: readonly OfQueue[];
  // By entry of the call.
  readonly #queueOf: readonly OfQueue[];

  /** Items that say nothing of a trace belong to this one. */
  constructor(service: Service, queue: QueueHandle, given: Given, trace?: TraceContext) {
    const queues = new Map<string, OfQueue>();
    const readItems = newItemsReader(service);
    let count = 0;
    this.#queueOf = given.map(({ queueName, items }, index) => {
      const path = `produce[${index}]`;
      const name = queueName === queue.name ? "" : queueName;
      let of = queues.get(name);
      if (of === undefined) {
        const handle = name === "" ? queue : findOtherQueue(service, `${path}.queue_name`, name);
        of = new OfQueue(name, handle);
        queues.set(name, of);
      }
      checkCount(`${path}.items`, items.length, service.limits, count);
      count += items.length;
      within(path, () => {
        of.add(index, readItems(items, queueName || queue.name, trace), readUniqueKeys(items));
      });
      return of;
    });
    this.#queues = [...queues.values()];
  }

  get followers(): readonly Followers[] {
    return this.#queues.map(({ queue, items, unique, entries }) => ({
      queue,
      items,
      unique,
      entries,
    }));
  }

  /** What became of them, in their order. */
  results({ produced = [] }: Outcomes): readonly Told[] {
    const there = new Map(
      this.#queues.map((of, i) => [of, told(of.handle, produced[i], of.items.length)]),
    );
    return this.#queueOf.flatMap((of, index) => {
      const { count } = of.entries.find((entry) => entry.index === index)!;
      return there.get(of)!.splice(0, count);
    });
  }
}

// Where none has a key their ids are consecutive.
function told(queue: QueueHandle, produced: Produced | undefined, count: number): Told[] {
  if (produced === undefined) return [];
  const { partition, first, scheduled, each } = produced;
  if (each !== undefined) return [...each];
  const space = queue.ids(partition);
  const later = new Set(scheduled);
  return Array.from({ length: count }, (_, i) => ({
    id: space.id(first + i),
    status: later.has(i) ? "scheduled" : "created",
  }));
}

function checkCount(field: string, count: number, { produceBatch }: Limits, before: number): void {
  if (count === 0)
    throw invalidField(field, `${field} cannot be empty; at least one item is required`);
  if (before + count <= produceBatch) return;
  throw invalidField(
    field,
    `${field} is invalid; max_produce_batch_size is ${produceBatch} but received ${before + count}`,
  );
}

// A field of an item is one of the entry that it is in.
function within<T>(path: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof QueueError) || error.field === undefined) throw error;
    throw invalidField(`${path}.${error.field}`, `${path}.${error.message}`);
  }
}
