// New items of producers come into a part of a batch: to stay, or to be written there with what else that does, and to
// go on to another queue then (bound-items.ts). Those lie among the scheduled items, where nobody can lease them.

import { withAttributes } from "./attributes.ts";
import { LONG_AGO } from "./condemned.ts";
import type { QueueRules } from "./context.ts";
import type { Item } from "./item.ts";
import { KEY } from "./keys.ts";
import { isLater } from "./later.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import type { Produced, ProducedItem } from "./requests.ts";

type Lifetimes = Pick<QueueRules, "expireTimeout">;

const NONE_SCHEDULED: readonly number[] = [];

/** Adds new items at the tail; those that are due later become scheduled. */
export function produce(part: PartitionBatch, items: readonly Item[], rules: Lifetimes): Produced {
  const first = part.counters.tail;
  let scheduled: number[] | undefined;
  for (const item of items) {
    part.enter(item, rules);
    if (item.dueAt === 0) continue;
    scheduled ??= [];
    scheduled.push(item.seq - first);
  }
  const { number: partition } = part.of;
  return { partition, first, scheduled: scheduled ?? NONE_SCHEDULED };
}

/** Writes new items down that are to go to another queue. */
export function produceFor(
  to: string,
  part: PartitionBatch,
  items: readonly Item[],
  rules: Lifetimes,
): Produced {
  // By which they are found where they have gone.
  part.put({ kind: KEY.sentTo, key: to, seq: 0, until: 0, value: "" });
  const each = items.map((item): ProducedItem => {
    part.begin(item, rules);
    const at = item.dueAt;
    item.attributes = withAttributes(item.attributes, { bound: { to, at } });
    item.dueAt = LONG_AGO;
    part.add(item);
    return {
      id: part.of.ids.id(item.seq),
      status: isLater(at, part.now) ? "scheduled" : "created",
    };
  });
  return { partition: part.of.number, first: 0, scheduled: [], each };
}
