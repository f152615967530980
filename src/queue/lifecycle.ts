// What time does to items: leases end, items expire, scheduled items become due, and what has
// failed too often dies. Pure and synchronous, like the batch; the loop says when to look. Nothing
// here scans a queue: every partition knows what is due next.

import type { DropReason, StoredItem } from "../storage/storage.ts";
import { condemnedFor } from "./condemned.ts";
import { COUNT } from "./counts.ts";
import { DROPPED } from "./history.ts";
import type { Moment } from "./lease-ends.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";

// How many items of a partition one batch moves; what is left over follows in the next.
const STEP = 1_000;

export interface LifecycleRules {
  /** Leases after which an item dies; 0 for any number. */
  readonly maxAttempts: number;
  /** Microseconds. */
  readonly expireTimeout: number;
  /** Whether dead items go to another queue. */
  readonly hasDeadQueue: boolean;
}

/**
 * When something of a partition is due next: the wall time after which there is work here. Leases that
 * hold on after their deadline are left out: they end by steady time.
 */
export function nextDue(partition: Partition, isStill: boolean): number {
  return Math.min(
    partition.leaseEnds.next(isStill),
    partition.scheduled.first?.at ?? Number.POSITIVE_INFINITY,
    partition.expiries.first?.at ?? Number.POSITIVE_INFINITY,
    partition.keysEndAt,
  );
}

/**
 * Why an item dies when its lease ends without completion: it has been leased too often, or is older
 * than it may become; undefined if it lives. Never asked while the lease is still valid.
 */
export function diesOf(
  item: Pick<StoredItem, "attempts" | "expireAt">,
  rules: Pick<LifecycleRules, "maxAttempts">,
  now: number,
): DropReason | undefined {
  if (rules.maxAttempts !== 0 && item.attempts >= rules.maxAttempts) return "attempts";
  return item.expireAt < now ? "expired" : undefined;
}

/** An item that dies, and why. */
export interface Dead {
  readonly item: StoredItem;
  readonly reason: DropReason;
}

/**
 * Ends the leases that are over: items go back to the tail, or die if they have been leased too
 * often or are older than they may become. Answers the dead that have a dead queue to go to.
 */
export function endLeases(
  part: PartitionBatch,
  rules: LifecycleRules,
  at: Moment,
): readonly Dead[] {
  const dead: Dead[] = [];
  for (const item of part.of.leaseEnds.ended(at, STEP)) {
    const reason = diesOf(item, rules, part.now);
    if (reason !== undefined && rules.hasDeadQueue) {
      dead.push({ item, reason });
      continue;
    }
    part.claim(item);
    part.tally(COUNT.leaseEnds);
    if (reason === undefined) {
      part.requeue(item);
    } else {
      part.remove(item, DROPPED[reason]);
    }
  }
  return dead;
}

/**
 * Makes the scheduled items that are due leasable, in order of their time, then of production. Answers
 * those that are condemned, and have a dead queue to go to.
 */
export function fireScheduled(part: PartitionBatch, rules: LifecycleRules): readonly Dead[] {
  const dead: Dead[] = [];
  for (const due of part.of.scheduled.dueBefore(part.now, STEP)) {
    const reason = condemnedFor(due);
    if (reason === undefined) {
      // An item that was accepted for a time beyond its own expiry was not to be had: its time begins now.
      const { expireAt } = due.item;
      part.fire(due, expireAt < part.now ? part.now + rules.expireTimeout : expireAt);
    } else if (rules.hasDeadQueue) {
      dead.push({ item: due.item, reason });
    } else {
      part.removeScheduled(due.item, DROPPED[reason]);
    }
  }
  return dead;
}

/** Of waiting items: those that have expired, and when the next one will; infinite if none will. */
export function splitExpired(
  items: readonly StoredItem[],
  now: number,
): { readonly expired: readonly StoredItem[]; readonly nextAt: number } {
  const expired = items.filter((item) => item.expireAt < now);
  let nextAt = Number.POSITIVE_INFINITY;
  for (const { expireAt } of items) if (expireAt >= now) nextAt = Math.min(nextAt, expireAt);
  return { expired, nextAt };
}
