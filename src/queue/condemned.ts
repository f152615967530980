// What waits among the scheduled items only to go to another queue, and not to be leased here: to the dead queue, how
// that is written down, now and by earlier versions; or to the one that it was produced for, or that a redrive sends it to.

// What cannot get there is due all the time, before all else that is scheduled, and must not keep that from its turn.

import { SECOND } from "../clock.ts";
import type { DropReason, StoredItem } from "../storage/storage.ts";
import { attributesOf, type Bound, withAttributes } from "./attributes.ts";
import type { Due, Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";

/** What is on its way is due at once, however the wall clock may be set back meanwhile. */
export const LONG_AGO = SECOND;

// If it is as much as this, or there is more than is looked at, it steps aside for a while.
export const CROWD = 500;
export const CROWD_RETRY = 10 * SECOND;

/** Whether so many that are due and cannot go on keep others from their turn. */
export function isCrowd(count: number, { scheduled }: Partition): boolean {
  return count >= CROWD || !scheduled.isComplete;
}

/** Puts off what is condemned: under other numbers, so it says by which its copy may be known already. */
export function putOffCondemned(
  part: PartitionBatch,
  items: readonly StoredItem[],
  time: number,
): void {
  for (const item of items) {
    const { seq, dueAt, attributes } = item;
    const due = { at: dueAt, seq, item };
    const { sentAs } = attributesOf(attributes);
    const changed = withAttributes(attributes, {
      sentAs: sentAs || part.of.ids.id(seq),
      died: condemnedFor(due) ?? "",
    });
    const as = { ...item, attributes: changed };
    part.postpone({ ...due, item: as }, part.now + time);
  }
}

/** Why a scheduled item waits for the dead queue, and not to be leased; undefined if it does not. */
export function condemnedFor({ at, item }: Due): DropReason | undefined {
  return attributesOf(item.attributes).died || condemnedBefore(at, item);
}

/** Where a scheduled item is to go that was produced for another queue, or is redriven; undefined for nowhere. */
export function boundFor({ attributes }: Pick<StoredItem, "attributes">): Bound | undefined {
  return attributesOf(attributes).bound;
}

/** Whether a scheduled item goes to another queue, where a copy of it may be already. */
export function isOnItsWay(item: StoredItem): boolean {
  return (
    boundFor(item) !== undefined ||
    condemnedFor({ at: item.dueAt, seq: item.seq, item }) !== undefined
  );
}

// As earlier versions have written it down: by a time that no client can have asked for, and before that by an expiry.
const CONDEMNED_AT: readonly (DropReason | undefined)[] = [
  undefined,
  "rejected",
  "attempts",
  "expired",
];

function condemnedBefore(at: number, { attempts, expireAt }: StoredItem): DropReason | undefined {
  return CONDEMNED_AT[at] ?? (attempts > 0 && expireAt === at - 1 ? "rejected" : undefined);
}

/** The expiry of what is to be leasable: it is not written down as earlier versions did what was condemned. */
export function expiryOf(
  { attempts, expireAt }: Pick<StoredItem, "attempts" | "expireAt">,
  dueAt: number,
): number {
  return attempts > 0 && expireAt === dueAt - 1 ? dueAt : expireAt;
}
