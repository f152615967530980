// What a complete produces in the same transaction: items for its own queue, and for one other whose items lie
// in the same storage. Which they are, and what is answered of them.

import type {
  QueueCompleteProduceSchema,
  QueueProduceItemSchema,
} from "../codec/gen/querator/v2/queue_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { invalidField, QueueError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Followers, Item, Outcomes, Produced, QueueHandle } from "../queue/queue.ts";
import { toItemsV2 } from "./item-records.ts";
import { attributesOfNew, dueAtOf } from "./produce.ts";
import { findOtherQueue, type Service } from "./service.ts";

type Given = readonly Decoded<typeof QueueCompleteProduceSchema>[];

/** One entry: how many items it has, and whether they are for another queue. */
interface Entry {
  readonly count: number;
  readonly isElsewhere: boolean;
}

/** What is to be produced, and how to tell what was. */
export class FollowersOfCall {
  readonly #queue: QueueHandle;
  readonly #other: QueueHandle | undefined;
  readonly #entries: readonly Entry[];
  readonly followers: Followers;

  constructor(service: Service, queue: QueueHandle, given: Given) {
    const { limits } = service;
    const own: Item[] = [];
    const others: Item[] = [];
    const entries: Entry[] = [];
    let other: QueueHandle | undefined;
    let field = "";
    for (const [index, { queueName, items }] of given.entries()) {
      const path = `produce[${index}]`;
      const isElsewhere = queueName !== "" && queueName !== queue.name;
      if (isElsewhere && other !== undefined && other.name !== queueName) {
        const name = `${path}.queue_name`;
        const text = `'${queueName}' is a third queue; one beside the own is all that there can be`;
        throw invalidField(name, `${name} is invalid; ${text}`);
      }
      if (isElsewhere && other === undefined) {
        field = `${path}.queue_name`;
        other = findOtherQueue(service, field, queueName);
      }
      checkCount(`${path}.items`, items.length, limits, own.length + others.length);
      const made = within(path, () => readItems(items, service, queueName || queue.name));
      (isElsewhere ? others : own).push(...made);
      entries.push({ count: items.length, isElsewhere });
    }
    this.#queue = queue;
    this.#other = other;
    this.#entries = entries;
    const elsewhere = other && { queue: other.name, field, items: others };
    this.followers = { own, elsewhere };
  }

  /** What became of them, in their order. */
  results({ produced }: Outcomes): readonly Told[] {
    const { own, elsewhere } = this.followers;
    const there = {
      own: told(this.#queue, produced?.own, own.length),
      elsewhere: told(this.#other, produced?.elsewhere, elsewhere?.items.length ?? 0),
    };
    return this.#entries.flatMap(({ count, isElsewhere }) =>
      there[isElsewhere ? "elsewhere" : "own"].splice(0, count),
    );
  }
}

interface Told {
  readonly id: string;
  readonly status: string;
}

// Their ids are consecutive.
function told(
  queue: QueueHandle | undefined,
  produced: Produced | undefined,
  count: number,
): Told[] {
  if (queue === undefined || produced === undefined) return [];
  const { partition, first, scheduled } = produced;
  const ids = queue.ids(partition);
  const later = new Set(scheduled);
  return Array.from({ length: count }, (_, i) => ({
    id: ids.id(first + i),
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

function readItems(
  items: readonly Decoded<typeof QueueProduceItemSchema>[],
  service: Service,
  queueName: string,
): readonly Item[] {
  for (const [index, item] of items.entries()) {
    const { uniqueKey, uniqueWhile, uniqueFor, onDuplicate } = item;
    if (uniqueKey === "" && uniqueWhile === "" && uniqueFor === "" && onDuplicate === "") continue;
    const field = `items[${index}].unique_key`;
    throw invalidField(field, `${field} is invalid; what a complete produces cannot be unique`);
  }
  return toItemsV2(items, {
    dueAt: dueAtOf(service.clock),
    attributes: attributesOfNew(service, queueName),
  });
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
