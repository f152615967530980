// What time does to items: leases end, items expire, scheduled items become due, and what has
// failed too often dies. Pure and synchronous, like the batch; the loop says when to look. Nothing
// here scans a queue: every partition knows what is due next.

import type { DropReason, StoredItem } from "../storage/storage.ts";
import { boundFor, condemnedFor } from "./condemned.ts";
import type { QueueRules } from "./context.ts";
import { COUNT } from "./counts.ts";
import { HEARD } from "./heard.ts";
import { CANCELLED, DROPPED } from "./history.ts";
import type { Item } from "./item.ts";
import { isLater } from "./later.ts";
import type { Moment } from "./lease-ends.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import { lifetimeOf, maxAttemptsOf, type Random, type RetryRules, retryDelayOf } from "./policy.ts";
import { takeOut } from "./take-out.ts";

// How many items of a partition one batch moves; what is left over follows in the next.
const STEP = 1_000;

/** What the queue says, and what is left to chance. */
export interface LifecycleRules extends RetryRules, Pick<QueueRules, "onLeaseEnd"> {
  /** Whether what dies is ended by `DeadLetters`, and not here. */
  readonly buries: boolean;
  readonly random: Random;
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
  maxAttempts: number,
  now: number,
): DropReason | undefined {
  if (maxAttempts !== 0 && item.attempts >= maxAttempts) return "attempts";
  return item.expireAt < now ? "expired" : undefined;
}

/** An item that dies, and why. */
export interface Dead {
  readonly item: StoredItem;
  readonly reason: DropReason;
}

/**
 * Ends the leases that are over: items go back to the tail, at once or later, or die if they have been
 * leased too often, are older than they may become, or may not outlive a lease. Answers the dead that are
 * to be buried.
 */
export function endLeases(
  part: PartitionBatch,
  rules: LifecycleRules,
  at: Moment,
): readonly Dead[] {
  const dead: Dead[] = [];
  for (const item of part.of.leaseEnds.ended(at, STEP)) {
    if (item.note?.cancelled === true) {
      // Its lease has ended since this turn has read what is kept of what ends: the next turn reads it.
      if (part.of.keeping !== undefined && part.records?.has(item.seq) !== true) continue;
      takeOut(part, "items", item, CANCELLED);
      continue;
    }
    const reason = diesOfLeaseEnd(item, rules, part.now);
    if (reason !== undefined && rules.buries) {
      dead.push({ item, reason });
      continue;
    }
    part.claim(item);
    part.tally(COUNT.leaseEnds);
    if (reason === undefined) {
      comeBack(part, item, rules);
      part.heard?.note(HEARD.leaseEnded, item);
    } else {
      part.remove(item, DROPPED[reason]);
    }
  }
  return dead;
}

function diesOfLeaseEnd(item: Item, rules: LifecycleRules, now: number): DropReason | undefined {
  const reason = diesOf(item, maxAttemptsOf(item, rules), now);
  return reason ?? (rules.onLeaseEnd === "reject" ? "rejected" : undefined);
}

function comeBack(part: PartitionBatch, item: Item, rules: LifecycleRules): void {
  const delay = rules.onLeaseEnd === "retry_delayed" ? retryDelayOf(item, rules, rules.random) : 0;
  const dueAt = part.now + delay;
  if (isLater(dueAt, part.now)) part.schedule(item, dueAt);
  else part.requeue(item);
}

/** What is due and goes to another queue. */
export interface Leaving {
  /** To the dead queue. */
  readonly dead: readonly Dead[];
  /** To the one that it was produced for, or is redriven to. */
  readonly bound: readonly StoredItem[];
}

/**
 * Makes the scheduled items that are due leasable, in order of their time, then of production. Answers those that
 * are to go to another queue instead.
 */
export function fireScheduled(part: PartitionBatch, rules: LifecycleRules): Leaving {
  const dead: Dead[] = [];
  const bound: StoredItem[] = [];
  for (const due of part.of.scheduled.dueBefore(part.now, STEP)) {
    const reason = condemnedFor(due);
    if (boundFor(due.item) !== undefined) {
      bound.push(due.item);
    } else if (reason === undefined) {
      // An item that was accepted for a time beyond its own expiry was not to be had: its time begins now.
      const { expireAt, attributes } = due.item;
      const anew = part.now + lifetimeOf(attributes, rules);
      part.fire(due, expireAt < part.now ? anew : expireAt);
    } else if (rules.buries) {
      dead.push({ item: due.item, reason });
    } else {
      part.removeScheduled(due.item, DROPPED[reason]);
    }
  }
  return { dead, bound };
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
