// Queues as the model holds them: plain lists, made of what was seen, and compared with what is seen afterwards.
// What happens to them in between is in model.ts.

import assert from "node:assert/strict";
import type { SeenCounts, SeenDrops, SeenItem, SeenQueue, Settings } from "./observe.ts";
import { NOTHING_OWN, type Own } from "./produced.ts";
import type { Call } from "./world.ts";

/** An item as the model holds it; "" is an id that the model does not know. */
export interface Item {
  readonly n: number;
  id: string;
  /** The id that it had first. */
  readonly itemId: string;
  attempts: number;
  deadline: number;
  readonly kind: string;
  readonly createdAt: number;
  expireAt: number;
  sourceId: string;
  /** Whether it ends with its lease, whatever is asked. */
  isCancelled: boolean;
  /** What it says in place of its queue. */
  own: Own;
}

export class Partition {
  waiting: Item[] = [];
  readonly leased = new Map<string, Item>();
  readonly scheduled = new Map<number, Item>();
  /** What came to the tail from several sides at once: its order is not fixed. */
  arrivals: Item[] = [];

  /** Items that count when a produce looks for the emptiest partition. */
  get load(): number {
    return this.waiting.length + this.scheduled.size;
  }
}

export type Reason = keyof SeenDrops;

type Counts = Record<Exclude<keyof SeenCounts, "dead">, number> & {
  readonly dead: Record<Reason, number>;
};

export interface Queue {
  readonly name: string;
  readonly settings: Settings;
  readonly partitions: readonly Partition[];
  readonly drops: Record<Reason, number>;
  readonly counts: Counts;
  /** By the ids that items keep. */
  readonly itemIds: ReadonlyMap<string, SeenItem>;
  /** What an item of this number says in the queue. */
  readonly ownOf: (n: number) => Own;
  /** Leases that are not answered, in order of arrival. */
  leases: Call[];
}

/** A queue as it was seen. */
export function toQueue(seen: SeenQueue, ownOf: Queue["ownOf"]): Queue {
  const { name, settings, partitions, drops, counts } = seen;
  return {
    name,
    itemIds: new Map(
      partitions
        .flatMap(({ items, scheduled }) => [...items, ...scheduled])
        .map((item) => [item.itemId, item]),
    ),
    ownOf,
    settings,
    drops: { ...drops },
    counts: { ...counts, dead: { ...counts.dead } },
    leases: [],
    partitions: partitions.map(({ items, scheduled }) => {
      const partition = new Partition();
      for (const each of items) {
        const item = { ...each, own: ownOf(each.n) };
        if (item.isLeased) partition.leased.set(item.id, item);
        else partition.waiting.push(item);
      }
      for (const item of scheduled) {
        partition.scheduled.set(item.n, { ...item, own: ownOf(item.n) });
      }
      return partition;
    }),
  };
}

/** Why an item dies when its lease ends without completion. */
export function diesOf(item: Item, { settings }: Queue, now: number): Reason | undefined {
  const max = item.own.maxAttempts ?? settings.maxAttempts;
  if (max !== 0 && item.attempts >= max) return "attempts";
  return item.expireAt < now ? "expired" : undefined;
}

/** Moves an item to partition 0 of the dead queue, as a copy. */
export function die(
  item: Item,
  queue: Queue,
  world: { queues: ReadonlyMap<string, Queue>; now: number; reason: Reason },
): void {
  const { queues, now, reason } = world;
  const target = queues.get(queue.settings.deadQueue);
  queue.counts.dead[reason]++;
  if (target === undefined) {
    queue.drops[reason]++;
    return;
  }
  queue.counts.moved++;
  target.counts.received++;
  target.partitions[0]!.arrivals.push({
    n: item.n,
    kind: item.kind,
    id: "",
    itemId: item.itemId,
    attempts: 0,
    deadline: 0,
    createdAt: now,
    expireAt: now + target.settings.expireTimeout,
    sourceId: item.id,
    isCancelled: false,
    own: NOTHING_OWN,
  });
}

// --- comparison ---

/** Checks that a queue is as it is seen. */
export function compare(queue: Queue, seen: SeenQueue): void {
  assert.deepEqual(queue.drops, seen.drops, `${queue.name}: dropped`);
  assert.deepEqual(queue.counts, seen.counts, `${queue.name}: counts`);
  for (const [index, partition] of queue.partitions.entries()) {
    const where = `${queue.name}/${index}`;
    const { items, scheduled } = seen.partitions[index]!;
    const waiting = items.filter((item) => !item.isLeased);
    const leased = items.filter((item) => item.isLeased);
    sameItems(where, "leased", [...partition.leased.values()], leased);
    const still = partition.waiting.length;
    sameItems(where, "waiting", partition.waiting, waiting.slice(0, still), true);
    const came = waiting.slice(still);
    sameItems(where, "at the tail", partition.arrivals, came);
    sameItems(where, "scheduled", [...partition.scheduled.values()], scheduled);
  }
}

function sameItems(
  where: string,
  what: string,
  expected: readonly Item[],
  seen: readonly SeenItem[],
  inOrder = false,
): void {
  const plain = ({
    n,
    attempts,
    deadline,
    createdAt,
    expireAt,
    isCancelled,
  }: Item | SeenItem): object => ({
    n,
    attempts,
    deadline,
    createdAt,
    expireAt,
    isCancelled,
  });
  const byNumber = (a: { n: number }, b: { n: number }): number => a.n - b.n;
  const wanted = inOrder ? expected : [...expected].sort(byNumber);
  const found = inOrder ? seen : [...seen].sort(byNumber);
  assert.deepEqual(found.map(plain), wanted.map(plain), `${where}: ${what}`);
  for (const [i, { n, id, sourceId }] of wanted.entries()) {
    if (id !== "") assert.equal(found[i]!.id, id, `${where}: id of item ${n}`);
    if (sourceId !== "") assert.equal(found[i]!.sourceId, sourceId, `${where}: source of ${n}`);
  }
}
