// A queue as the rest of the program sees it, which imports nothing of this folder but this file. What
// clients ask for all the time is a request, taken by one method whatever its kind; what operators ask for
// has a method each. Nothing is done here: every call goes to the queue's loop.

import type { QueueError } from "../errors.ts";
import type { Dropped, ItemTable, Storage } from "../storage/storage.ts";
import type { Intake, QueueContext, QueueRules } from "./context.ts";
import { type DeadGroups, deadGroups } from "./dead-groups.ts";
import { type IdSpace, IdSpaces } from "./ids.ts";
import { momentOf } from "./lease-ends.ts";
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
  recall,
  reload,
  remember,
} from "./operations.ts";
import { Partition } from "./partition.ts";
import type { RedriveInfo, RedriveOptions } from "./redrive.ts";
import type { Repeat } from "./repeat.ts";
import type { AnyHotRequest, LeaseRequest } from "./requests.ts";

export {
  type Attributes,
  attributesOf,
  type ItemError,
  type Origin,
  type RetryOverrides,
  withAttributes,
} from "./attributes.ts";
export type { Intake, QueueContext, QueueRules } from "./context.ts";
export {
  type DeadGroup,
  type DeadGroups,
  LOOKED_AT_MAX as DEAD_LOOKED_AT_MAX,
} from "./dead-groups.ts";
export { unknownLease } from "./endings.ts";
export { fingerprintOf } from "./fingerprint.ts";
export { ID_PATTERN, IdSpace, IdSpaces, idError, newIdPrefix } from "./ids.ts";
export { Item } from "./item.ts";
export { idOf } from "./keys.ts";
export { type Letter, NotDelivered } from "./mailbox.ts";
export type { ClearOptions, ImportedItem, ImportResult, ListedItem } from "./operations.ts";
export { draw, lifetimeOf } from "./policy.ts";
export type { RedriveInfo, RedriveOptions, RedriveState } from "./redrive.ts";
export { REPEAT_KEPT, type Repeat } from "./repeat.ts";
export * from "./requests.ts";
export { Turns } from "./turns.ts";

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

/** What operators ask of a queue: of plain data and lists of items, so that all of it travels between threads alike. */
export interface QueueOperations {
  stats(): Promise<QueueStats>;
  clear(options: ClearOptions): Promise<void>;
  reload(): Promise<void>;
  /** A page of a partition, from the item with this id, or the next one, on. */
  list(partition: number, options: PageOptions): Promise<readonly ListedItem[]>;
  import(partition: number, items: readonly ImportedItem[]): Promise<readonly ImportResult[]>;
  /**
   * Removes items whatever their state, by the ids of their places; with `moved` also by those that they had
   * before they moved. Answers the ids of those that were not there.
   */
  delete(
    partition: number,
    ids: readonly string[],
    options?: { readonly moved: boolean },
  ): Promise<readonly string[]>;
  /**
   * Begins what is asked for under a key, for what is no request. Answers what was answered before; if it is
   * new, `remember` or `forget` must follow. Rejects if it is under way (429), or was another request (409).
   */
  recall(repeat: Repeat): Promise<string | undefined>;
  /** It was done, and this was answered. */
  remember(repeat: Repeat, answer: string): Promise<void>;
  /** It was not done. */
  forget(repeat: Repeat): Promise<void>;
  /** Groups what lies in a dead queue by what it died of; answers the largest. */
  deadGroups(limit: number): Promise<DeadGroups>;
  /** Begins to move items out of a dead queue. */
  redrive(options: RedriveOptions): Promise<RedriveInfo>;
  /** Those that run, and the last that have ended; the newest first. */
  redrives(): Promise<readonly RedriveInfo[]>;
  /** A redrive as it is now; rejects (404) if there is none of this id. */
  redriveInfo(id: string): Promise<RedriveInfo>;
  cancelRedrive(id: string): Promise<RedriveInfo>;
  /** Accepts requests from now on, but serves none until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Takes new rules for what comes from now on. */
  configure(rules: QueueRules): Promise<void>;
}

/** A queue as the rest of the program uses it, on whatever thread its loop runs. */
export interface QueueHandle extends QueueOperations {
  readonly name: string;
  readonly partitionCount: number;
  /** The ids of a partition. */
  ids(partition: number): IdSpace;
  /** The partition in which an item lies that has this id, or that this lease holds; -1 if in none of this queue. */
  partitionOf(id: string): number;
  /** Does what a request asks, and answers it once that is durable. */
  submit<R extends AnyHotRequest>(request: R): Promise<R["result"]>;
  /** Gives up the place of a lease whose client has gone. */
  cancel(lease: LeaseRequest): void;
  /** Gives back what was leased for a client that has gone before it could know. */
  giveBack(partition: number, ids: readonly string[]): void;
  /** The queue as one that takes the dead items of others. */
  readonly intake: Intake;
}

export interface PageOptions {
  readonly table: ItemTable;
  readonly pivot: string;
  readonly limit: number;
  /** Whether nobody waits for it any more. */
  readonly isGone?: () => boolean;
}

/** Where a partition lies. */
export interface Place {
  readonly key: number;
  readonly idPrefix: string;
  readonly createdAt: number;
  readonly storage: Storage;
}

/** What `Queue.open` needs. */
export interface OpenOptions {
  readonly places: readonly Place[];
  readonly context: QueueContext;
  /** Told of a partition that could not be read. */
  readonly onFailing: (partition: number, error: unknown) => void;
}

export class Queue implements QueueHandle {
  readonly name: string;
  readonly loop: Loop;
  readonly #ids: IdSpaces;

  constructor(
    name: string,
    rules: QueueRules,
    partitions: readonly Partition[],
    context: QueueContext,
  ) {
    this.name = name;
    this.loop = new Loop(name, rules, partitions, context);
    this.#ids = new IdSpaces(partitions.map(({ ids }) => ids));
  }

  /** A queue of partitions as they lie in storage; one that cannot be read is failing, and is tried again. */
  static async open(
    name: string,
    rules: QueueRules,
    { places, context, onFailing }: OpenOptions,
  ): Promise<Queue> {
    const { limits, budget, clock } = context;
    const partitions: Partition[] = [];
    for (const [number, { storage, ...place }] of places.entries()) {
      const partition = new Partition({ ...place, number }, { storage, limits, budget });
      try {
        await partition.load(() => momentOf(clock));
      } catch (error) {
        onFailing(number, error);
        partition.distrust(clock.steady());
      }
      partitions.push(partition);
    }
    return new Queue(name, rules, partitions, context);
  }

  get partitionCount(): number {
    return this.loop.partitions.length;
  }

  ids(partition: number): IdSpace {
    return this.#ids.of(partition);
  }

  partitionOf(id: string): number {
    return this.#ids.partitionOf(id);
  }

  get intake(): Intake {
    return this.loop;
  }

  submit<R extends AnyHotRequest>(request: R): Promise<R["result"]> {
    return this.loop.submit(request);
  }

  cancel(lease: LeaseRequest): void {
    this.loop.cancel(lease);
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

  async delete(
    partition: number,
    ids: readonly string[],
    options = { moved: false },
  ): Promise<readonly string[]> {
    const deleted = await deleteItems(this.loop, this.loop.partitions[partition]!, ids, options);
    return ids.filter((id) => !deleted.has(id));
  }

  recall(repeat: Repeat): Promise<string | undefined> {
    return recall(this.loop, repeat);
  }

  remember(repeat: Repeat, answer: string): Promise<void> {
    return remember(this.loop, repeat, answer);
  }

  async forget(repeat: Repeat): Promise<void> {
    this.loop.repeats.forget(repeat);
  }

  deadGroups(limit: number): Promise<DeadGroups> {
    return deadGroups(this.loop, limit);
  }

  redrive(options: RedriveOptions): Promise<RedriveInfo> {
    return this.loop.redrives.start(options);
  }

  redrives(): Promise<readonly RedriveInfo[]> {
    return this.loop.redrives.list();
  }

  redriveInfo(id: string): Promise<RedriveInfo> {
    return this.loop.redrives.info(id);
  }

  cancelRedrive(id: string): Promise<RedriveInfo> {
    return this.loop.redrives.cancel(id);
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
