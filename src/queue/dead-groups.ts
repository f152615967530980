// What lies in a dead queue, in groups of what died alike. It is read without payloads, in steps of the loop,
// and not without end: so much is looked at and no more, which the answer says.

import type { ItemTable, StoredItem } from "../storage/storage.ts";
import { attributesOf } from "./attributes.ts";
import { boundFor } from "./condemned.ts";
import { fingerprintOf, kindOf } from "./fingerprint.ts";
import { idOf } from "./keys.ts";
import type { Loop } from "./loop.ts";
import { run } from "./operations.ts";
import type { Partition } from "./partition.ts";

/** Items that died alike. Times in microseconds since 1970. */
export interface DeadGroup {
  readonly fingerprint: string;
  readonly count: number;
  readonly firstAt: number;
  readonly lastAt: number;
  // Of the one that died last:
  readonly kind: string;
  readonly errorType: string;
  readonly message: string;
  /** "" if it has not died, but was put here by a producer, or before deaths were written down. */
  readonly reason: string;
  readonly sourceQueue: string;
  readonly sample: string;
}

export interface DeadGroups {
  /** Those with the most items first. */
  readonly groups: readonly DeadGroup[];
  /** Whether all was looked at. */
  readonly complete: boolean;
  readonly lookedAt: number;
}

/** Items that one call looks at. */
export const LOOKED_AT_MAX = 100_000;
// Groups that are counted; what belongs to others is left out, and the answer is not complete.
const GROUPS_MAX = 10_000;
const MESSAGE_MAX = 512;
// Items that one step reads, and records that one step reads for what was counted.
const STEP = 2_000;
const SAMPLES = 100;

interface Counted {
  readonly fingerprint: string;
  count: number;
  firstAt: number;
  lastAt: number;
  last: Place;
}

interface Place {
  readonly partition: Partition;
  readonly table: ItemTable;
  readonly item: StoredItem;
}

/** The fingerprint of an item of a dead queue; of one that has not died it is made of what it says. */
export function fingerprintIn(attributes: string): string {
  const { from, error } = attributesOf(attributes);
  return from?.fingerprint ?? fingerprintOf({ kind: "", error, reason: "" });
}

/** When an item of a dead queue has died, or else when it was put there. */
export function diedAt(item: Pick<StoredItem, "attributes" | "createdAt">): number {
  return attributesOf(item.attributes).from?.diedAt ?? item.createdAt;
}

/** Groups what lies in a queue; answers the largest groups. */
export async function deadGroups(loop: Loop, limit: number): Promise<DeadGroups> {
  const groups = new Map<string, Counted>();
  let lookedAt = 0;
  let isComplete = true;

  function look(place: Place): void {
    lookedAt++;
    // It is on its way out.
    if (boundFor(place.item) !== undefined) return;
    const at = diedAt(place.item);
    const fingerprint = fingerprintIn(place.item.attributes);
    const group = groups.get(fingerprint);
    if (group === undefined) {
      if (groups.size < GROUPS_MAX) {
        groups.set(fingerprint, { fingerprint, count: 1, firstAt: at, lastAt: at, last: place });
      } else {
        isComplete = false;
      }
      return;
    }
    group.count++;
    group.firstAt = Math.min(group.firstAt, at);
    if (at < group.lastAt) return;
    group.lastAt = at;
    group.last = place;
  }

  for (const partition of loop.partitions) {
    for (const table of ["items", "scheduled"] as const) {
      let from = 0;
      await run(loop, [partition], async () => {
        if (table === "items" && from === 0) {
          // What is leased is in memory, wherever it lies.
          for (const item of partition.leased.values()) look({ partition, table, item });
          from = partition.counters.head;
        }
        const limitNow = Math.min(STEP, LOOKED_AT_MAX - lookedAt);
        if (limitNow <= 0) {
          isComplete = false;
          return true;
        }
        const items = await partition.storage.readItems(partition.key, table, {
          from,
          before: Number.MAX_SAFE_INTEGER,
          limit: limitNow,
          bytesMax: Number.MAX_SAFE_INTEGER,
          records: false,
        });
        for (const item of items) {
          if (!partition.leased.has(item.seq)) look({ partition, table, item });
        }
        from = (items.at(-1)?.seq ?? 0) + 1;
        return items.length < limitNow || undefined;
      });
    }
  }
  const largest = [...groups.values()].sort((a, b) => b.count - a.count || b.lastAt - a.lastAt);
  const told: DeadGroup[] = [];
  for (let i = 0; i < Math.min(limit, largest.length); i += SAMPLES) {
    const some = largest.slice(i, Math.min(i + SAMPLES, limit));
    await run(loop, [], async () => {
      for (const group of some) told.push(await describe(group));
      return true;
    });
  }
  return { groups: told, complete: isComplete, lookedAt };
}

async function describe({ last, ...group }: Counted): Promise<DeadGroup> {
  const { partition, table, item } = last;
  const { from, error } = attributesOf(item.attributes);
  // It may be gone since: then its kind is not told.
  const [stored] = await partition.storage.readItems(partition.key, table, {
    from: item.seq,
    before: item.seq + 1,
    limit: 1,
    bytesMax: 1,
    records: true,
  });
  return {
    ...group,
    kind: stored === undefined ? "" : kindOf(stored.record.text),
    errorType: error?.type ?? "",
    message: (error?.message ?? "").slice(0, MESSAGE_MAX),
    reason: from?.reason ?? "",
    sourceQueue: from?.queue ?? "",
    sample: idOf(partition.ids, item),
  };
}
