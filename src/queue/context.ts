// What a queue needs to know beside its partitions: the rules that its record states, and what all
// queues of a server share. Types only.

import type { Clock } from "../clock.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { Accounts } from "../quotas.ts";
import type { Storage } from "../storage/storage.ts";
import type { Commits } from "./commits.ts";
import type { KeyHolders } from "./duplicates.ts";
import type { Ears } from "./heard.ts";
import type { Letter } from "./mailbox.ts";
import type { Partition, ReadyBudget } from "./partition.ts";
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
  /** What namespaces use; undefined where there are none. */
  readonly accounts?: Accounts;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly turns: Turns;
  readonly budget: ReadyBudget;
  /** Leases that wait, and those who wait for the end of an item, over all queues. */
  readonly waiting: { leases: number; items: number };
  readonly log: Logger;
  /** What is left to chance. */
  readonly random: Random;
  /** Takes what happens, if somebody listens. */
  readonly ears?: Ears;
  readonly findIntake: (queue: string) => Intake | undefined;
}

/** What else there is to say of a delivery. */
export interface DeliveryOptions {
  /** For how long it waits to be taken, in microseconds; DELIVERY_TIMEOUT by default. */
  readonly patience?: number | undefined;
}

export interface LendOptions {
  /** Whether the other takes no turn until then; it waits as long as for a delivery. */
  readonly isWaiting: boolean;
}

/** A queue whose loop stands still, so that its changes can be planned and committed with those of another. */
export interface Still {
  readonly name: string;
  readonly partitions: readonly Partition[];
  readonly rules: QueueRules;
  readonly commits: Commits;
  readonly keyHolders: KeyHolders;
}

/** One that belongs to another loop, which goes on once it was given back. */
export interface Lent extends Still {
  giveBack(): void;
}

/** A queue as another one sees it whose items it takes in. */
export interface Intake {
  /** Its full name. */
  readonly name: string;
  /** Where they go: the storage of partition 0; undefined if another thread owns it. */
  readonly storage: Storage | undefined;
  /**
   * Takes copies of items into partition 0. With a companion from the same storage, originals
   * and copies change in one commit; the caller applies the companion after this has resolved.
   * Rejects with NotDelivered if nothing has happened, and never will.
   */
  deliver(
    letters: readonly Letter[],
    companion: PartitionBatch | undefined,
    how?: DeliveryOptions,
  ): Promise<void>;
  /**
   * Has its loop stand still, with nothing under way, until it is given back; undefined if another thread owns it.
   * Rejects with NotDelivered if it is closed, or was too busy for one that waits.
   */
  readonly lend?: ((to: Intake, how: LendOptions) => Promise<Lent>) | undefined;
  /** Whether it has nothing to do, so that it can take what it is sent at once. */
  readonly isIdle?: boolean | undefined;
  /** The queue that it waits for; of another thread it is not known. */
  readonly sendsTo?: Intake | undefined;
}
