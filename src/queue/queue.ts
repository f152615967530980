// A queue as the rest of the program sees it: one method for each thing a client can ask of it.
// Nothing is done here: every call becomes a request in the mailbox of the queue's loop.

import type { QueueError } from "../errors.ts";
import type { Dropped, ItemTable } from "../storage/storage.ts";
import type { DeadQueue, QueueContext, QueueRules } from "./context.ts";
import type { Item } from "./item.ts";
import { Loop } from "./loop.ts";
import {
  type ClearOptions,
  clear,
  deleteItems,
  type ImportedItem,
  type ImportResult,
  importItems,
  type ListedItem,
  list,
  reload,
} from "./operations.ts";
import type { Partition } from "./partition.ts";
import {
  CompleteRequest,
  type Leased,
  LeaseRequest,
  ProduceRequest,
  type RetryItem,
  RetryRequest,
} from "./requests.ts";

/** Ages in microseconds. */
export interface PartitionStats {
  readonly total: number;
  readonly leased: number;
  readonly scheduled: number;
  readonly failures: number;
  readonly averageAge: number;
  readonly averageLeasedAge: number;
  /** Ever since the partition was made: deleted although nobody had completed them. */
  readonly dropped: Dropped;
}

export interface QueueStats {
  readonly produceWaiting: number;
  readonly leaseWaiting: number;
  readonly completeWaiting: number;
  readonly inFlight: number;
  readonly partitions: readonly PartitionStats[];
}

/** A lease that waits; `cancel` gives up its place when the client has gone. */
export interface PendingLease {
  readonly leased: Promise<Leased>;
  cancel(): void;
}

/** A queue as the rest of the program uses it, on whatever thread its loop runs. */
export interface QueueHandle {
  readonly name: string;
  readonly partitionCount: number;
  /** Adds items; resolves when they are durable. Deadlines are steady time, the same for all threads. */
  produce(items: readonly Item[], deadline: number): Promise<undefined>;
  /** Waits for at least one item and leases up to `batchSize`. */
  lease(clientId: string, batchSize: number, deadline: number): PendingLease;
  /** Removes leased items, all or none. */
  complete(partition: number, ids: readonly string[], deadline: number): Promise<undefined>;
  /** Gives leased items back, all or none; answers which of them, by index, are not tried again. */
  retry(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
  ): Promise<readonly number[]>;
  /** Gives leased items back as if they had not been leased this time, all or none. */
  release(partition: number, items: readonly RetryItem[], deadline: number): Promise<undefined>;
  /** Gives back what was leased for a client that has gone before it could know. */
  giveBack(partition: number, ids: readonly string[]): void;
  stats(): Promise<QueueStats>;
  clear(options: ClearOptions): Promise<void>;
  reload(): Promise<void>;
  /** A page of a partition, from the item with this id, or the next one, on. */
  list(partition: number, options: PageOptions): Promise<readonly ListedItem[]>;
  import(partition: number, items: readonly ImportedItem[]): Promise<readonly ImportResult[]>;
  /** Removes items whatever their state; answers the ids of those that were not there. */
  delete(partition: number, ids: readonly string[]): Promise<readonly string[]>;
  /** Accepts requests from now on, but serves none until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** The queue as one that takes the dead items of others. */
  readonly deadQueue: DeadQueue;
  /** Takes new rules for what comes from now on. */
  configure(rules: QueueRules): Promise<void>;
}

export interface PageOptions {
  readonly table: ItemTable;
  readonly pivot: string;
  readonly limit: number;
  /** Whether nobody waits for it any more. */
  readonly isGone?: () => boolean;
}

export class Queue implements QueueHandle {
  readonly name: string;
  readonly loop: Loop;

  constructor(
    name: string,
    rules: QueueRules,
    partitions: readonly Partition[],
    context: QueueContext,
  ) {
    this.name = name;
    this.loop = new Loop(name, rules, partitions, context);
  }

  get partitionCount(): number {
    return this.loop.partitions.length;
  }

  get deadQueue(): DeadQueue {
    return this.loop;
  }

  produce(items: readonly Item[], deadline: number): Promise<undefined> {
    return this.loop.submit(new ProduceRequest(items, deadline));
  }

  lease(clientId: string, batchSize: number, deadline: number): PendingLease {
    const request = new LeaseRequest(clientId, batchSize, deadline);
    const leased = this.loop.submit(request);
    return { leased, cancel: () => this.loop.cancel(request) };
  }

  complete(partition: number, ids: readonly string[], deadline: number): Promise<undefined> {
    return this.loop.submit(new CompleteRequest(partition, ids, deadline));
  }

  retry(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
  ): Promise<readonly number[]> {
    return this.loop.submit(new RetryRequest(partition, items, deadline));
  }

  async release(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
  ): Promise<undefined> {
    await this.loop.submit(new RetryRequest(partition, items, deadline, "released"));
  }

  giveBack(partition: number, ids: readonly string[]): void {
    this.loop.giveBack(partition, ids);
  }

  /** True at the time of the call; nothing is read or counted for it. */
  async stats(): Promise<QueueStats> {
    const now = this.loop.context.clock.now();
    const { produce, lease, complete, inFlight } = this.loop.counts;
    return {
      produceWaiting: produce,
      leaseWaiting: lease,
      completeWaiting: complete,
      inFlight,
      partitions: this.loop.partitions.map((partition) => partitionStats(partition, now)),
    };
  }

  clear(options: ClearOptions): Promise<void> {
    return clear(this.loop, options);
  }

  reload(): Promise<void> {
    return reload(this.loop);
  }

  list(partition: number, options: PageOptions): Promise<readonly ListedItem[]> {
    const { pivot, ...rest } = options;
    const of = this.loop.partitions[partition]!;
    const from = pivot === "" ? 0 : of.ids.seqFrom(pivot);
    return list(this.loop, of, { ...rest, from });
  }

  import(partition: number, items: readonly ImportedItem[]): Promise<readonly ImportResult[]> {
    return importItems(this.loop, this.loop.partitions[partition]!, items);
  }

  async delete(partition: number, ids: readonly string[]): Promise<readonly string[]> {
    const of = this.loop.partitions[partition]!;
    const seqs = ids.map((id) => of.ids.seq(id)).filter((seq) => seq >= 0);
    const deleted = await deleteItems(this.loop, of, seqs);
    return ids.filter((id) => !deleted.has(of.ids.seq(id)));
  }

  pause(): Promise<void> {
    return this.loop.pause();
  }

  async resume(): Promise<void> {
    this.loop.resume();
  }

  async configure(rules: QueueRules): Promise<void> {
    this.loop.rules = rules;
    this.loop.wake();
  }

  /** Answers everything that waits with the error, and ends. */
  close(error: QueueError): Promise<void> {
    return this.loop.close(error);
  }
}

function partitionStats(partition: Partition, now: number): PartitionStats {
  const { total, scheduled, createdSum, dropped } = partition.counters;
  const leased = partition.leased.size;
  const elapsed = partition.sinceCreation(now);
  const mean = (sum: number, count: number): number =>
    count === 0 ? 0 : Math.max(Math.round((elapsed - sum / count) * 1000), 0);
  return {
    total,
    leased,
    scheduled,
    failures: partition.failures,
    averageAge: mean(createdSum, total),
    averageLeasedAge: mean(partition.leasedSum, leased),
    dropped,
  };
}
