// What time does to items: leases end, items expire, scheduled items become due, and what has
// failed too often dies. Pure and synchronous, like the batch; the loop says when to look. Nothing
// here scans a queue: every partition knows what is due next.

import type { StoredItem } from "../storage/storage.ts";
import type { Item } from "./item.ts";
import type { Moment } from "./lease-ends.ts";
import type { Due, Partition } from "./partition.ts";
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
  );
}

/**
 * Whether an item dies when its lease ends without completion: it has been leased too often, or is
 * older than it may become. Never asked while the lease is still valid.
 */
export function diesWithLease(
  item: Pick<StoredItem, "attempts" | "expireAt">,
  rules: Pick<LifecycleRules, "maxAttempts">,
  now: number,
): boolean {
  const isExhausted = rules.maxAttempts !== 0 && item.attempts >= rules.maxAttempts;
  return isExhausted || item.expireAt < now;
}

/**
 * Ends the leases that are over: items go back to the tail, or die if they have been leased too
 * often or are older than they may become. Answers the dead that have a dead queue to go to.
 */
export function endLeases(
  part: PartitionBatch,
  rules: LifecycleRules,
  at: Moment,
): readonly Item[] {
  const dead: Item[] = [];
  for (const item of part.of.leaseEnds.ended(at, STEP)) {
    const dies = diesWithLease(item, rules, part.now);
    if (dies && rules.hasDeadQueue) {
      dead.push(item);
      continue;
    }
    part.claim(item);
    if (dies) part.remove(item);
    else part.requeue(item);
  }
  return dead;
}

/**
 * Makes the scheduled items that are due leasable, in order of their time, then of production.
 * Answers those that are dead instead, and have a dead queue to go to: they were leased before, and
 * are older than they may become.
 */
export function fireScheduled(part: PartitionBatch, rules: LifecycleRules): readonly Due[] {
  const dead: Due[] = [];
  for (const due of part.of.scheduled.dueBefore(part.now, STEP)) {
    const { attempts, expireAt } = due.item;
    const isOver = expireAt < part.now;
    if (isOver && attempts > 0 && rules.hasDeadQueue) {
      dead.push(due);
      continue;
    }
    // An item that was scheduled beyond its own expiry was never to be had: its time starts now.
    part.fire(due, isOver && attempts === 0 ? part.now + rules.expireTimeout : expireAt);
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
