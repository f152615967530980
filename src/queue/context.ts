// What a queue needs to know beside its partitions: the rules that its record states, and what all
// queues of a server share. Types only.

import type { Clock } from "../clock.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import type { Letter } from "./mailbox.ts";
import type { ReadyBudget } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import type { Random, RetryRules } from "./policy.ts";
import type { Turns } from "./turns.ts";

/** What the record of a queue says about how its items live. Times in microseconds. */
export interface QueueRules extends RetryRules {
  readonly leaseTimeout: number;
  /** "": none. */
  readonly deadQueue: string;
  /** What becomes of items whose lease ends by itself. */
  readonly onLeaseEnd: "retry_now" | "retry_delayed" | "reject";
  /** How long items are kept that have ended; 0: not at all. */
  readonly keepCompleted: number;
  /** At most so many of them in each partition. */
  readonly keepMax: number;
  /** Whether their payloads are kept as well. */
  readonly keepPayload: boolean;
}

/** What all queues of a server share. */
export interface QueueContext {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly turns: Turns;
  readonly budget: ReadyBudget;
  /** Leases that wait, and those who wait for the end of an item, over all queues. */
  readonly waiting: { leases: number; items: number };
  readonly log: Logger;
  /** What is left to chance. */
  readonly random: Random;
  readonly findIntake: (queue: string) => Intake | undefined;
}

/** A queue as another one sees it whose items it takes in. */
export interface Intake {
  /** Where they go: the storage of partition 0; undefined if another thread owns it. */
  readonly storage: Storage | undefined;
  /**
   * Takes copies of items into partition 0. With a companion from the same storage, originals
   * and copies change in one commit; the caller applies the companion after this has resolved.
   * Rejects with NotDelivered if nothing has happened, and never will: after this time, in microseconds,
   * by default DELIVERY_TIMEOUT.
   */
  deliver(
    letters: readonly Letter[],
    companion: PartitionBatch | undefined,
    patience?: number,
  ): Promise<void>;
}
