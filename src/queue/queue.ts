// A queue as the rest of the program sees it, which imports nothing of this folder but this file. What
// clients ask for all the time is a request, taken by one method whatever its kind; what operators ask for
// has a method each. Nothing is done here: every call goes to the queue's loop.

import type { QueueError } from "../errors.ts";
import type { Account } from "../quotas.ts";
import type { Dropped, ItemTable, Storage } from "../storage/storage.ts";
import type { ConsumersSeen } from "./consumers.ts";
import type { Intake, QueueContext, QueueRules } from "./context.ts";
import { type DeadGroups, deadGroups } from "./dead-groups.ts";
import { type Explanation, explain } from "./explain.ts";
import { detailOf, figuresOf, type QueueDetail, type QueueFigures } from "./figures.ts";
import type { Repeat } from "./idempotency.ts";
import { type IdSpace, IdSpaces } from "./ids.ts";
import { momentOf } from "./lease-ends.ts";
import { type EndedOptions, type FoundItem, find, listEnded } from "./lookup.ts";
import { Loop } from "./loop.ts";
import type { Measured } from "./measures.ts";
import {
  type ClearOptions,
  clear,
  deleteItems,
  type ImportedItem,
  type ImportResult,
  importItems,
  type ListedItem,
  list,
  listNewest,
  recall,
  reload,
  remember,
} from "./operations.ts";
import { Partition } from "./partition.ts";
import type { RedriveInfo, RedriveOptions } from "./redrive.ts";
import type { AnyHotRequest, LeaseRequest } from "./requests.ts";
import { cancelItem, type ItemChange, type NewContent, updateItem, watch } from "./steering.ts";
import type { Told } from "./watchers.ts";

export {
  type Attributes,
  attributesOf,
  type ItemError,
  isPlain,
  type Origin,
  type RetryOverrides,
  withAttributes,
} from "./attributes.ts";
export type { Intake, QueueContext, QueueRules } from "./context.ts";
export { COUNT, type Counts, sumOfCounts } from "./counts.ts";
export {
  type DeadGroup,
  type DeadGroups,
  LOOKED_AT_MAX as DEAD_LOOKED_AT_MAX,
} from "./dead-groups.ts";
export { unknownLease } from "./endings.ts";
export type { Explanation, Reason } from "./explain.ts";
export {
  type Gauges,
  namedCounts,
  type QueueDetail,
  type QueueFigures,
  type TimesEver,
} from "./figures.ts";
export { fingerprintOf } from "./fingerprint.ts";
export {
  type Ears,
  HAPPENINGS,
  type Happened,
  type Happening,
  happenedTo,
  type QueueEars,
} from "./heard.ts";
export { REPEAT_KEPT, type Repeat } from "./idempotency.ts";
export { ID_PATTERN, IdSpace, IdSpaces, idError, newIdPrefix, prefixOf } from "./ids.ts";
export { Item } from "./item.ts";
export { idOf } from "./keys.ts";
export { ENDED_STATES, type FoundItem, type ItemState, LIVE_STATES, stateOf } from "./lookup.ts";
export { type Letter, NotDelivered } from "./mailbox.ts";
export type { Measured, Rates } from "./measures.ts";
export type { ClearOptions, ImportedItem, ImportResult, ListedItem } from "./operations.ts";
export { draw, lifetimeOf } from "./policy.ts";
export type { RedriveInfo, RedriveOptions, RedriveState } from "./redrive.ts";
export * from "./requests.ts";
export type { ItemChange } from "./steering.ts";
export type { Times } from "./time-histogram.ts";
export { Turns } from "./turns.ts";
export {
  ON_DUPLICATE,
  UNIQUE_FOR_MAX,
  UNIQUE_FOR_MIN,
  UNIQUE_KEY_BYTES_MAX,
  type UniqueWish,
} from "./unique.ts";
export type { Told } from "./watchers.ts";

/** Ages in microseconds. */
export interface PartitionStats {
  readonly total: number;
  readonly leased: number;
  readonly scheduled: number;
  readonly held: number;
  readonly failures: number;
  readonly averageAge: number;
  readonly averageLeasedAge: number;
  /** Ever since the partition was made: deleted although nobody had completed them. */
  readonly dropped: Dropped;
  /** What has become of items ever since; see counts.ts. */
  readonly counts: readonly number[];
  /** When the item was produced that is leased next; 0 if none waits, or storage cannot tell. */
  readonly nextCreatedAt: number;
}

export interface QueueStats {
  readonly produceWaiting: number;
  readonly leaseWaiting: number;
  readonly completeWaiting: number;
  readonly inFlight: number;
  readonly partitions: readonly PartitionStats[];
  /** Of the last minutes, since the start. */
  readonly measured: Measured;
}

/** What operators ask of a queue: of plain data and lists of items, so that all of it travels between threads alike. */
export interface QueueOperations {
  stats(): Promise<QueueStats>;
  /** Who has asked for items, the last ones first. */
  consumers(limit: number): Promise<ConsumersSeen>;
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
  /** The item that has this id, or had it, as it is now; none if there is none, and what has ended is not kept. */
  find(id: string): Promise<readonly FoundItem[]>;
  /** Those that have ended and are kept, by their ids, from the one behind `after` on. */
  listEnded(partition: number, options: EndedOptions): Promise<readonly FoundItem[]>;
  /** Sees to it that an item never comes back, and answers it as it is then; none if there is none. */
  cancelItem(id: string): Promise<readonly FoundItem[]>;
  /** Changes an item that is not leased, and what it holds if that is given; "stale" if that was made of an older one. */
  updateItem(
    id: string,
    change: ItemChange,
    content: readonly NewContent[],
  ): Promise<readonly FoundItem[] | "stale">;
  /**
   * Waits until an item is gone, for so many microseconds: "waits" if it is still there then, "absent" if it is
   * not there to begin with. The ticket is of this call alone, for `unwatch`.
   */
  watch(id: string, ticket: string, time: number): Promise<Told | "waits" | "absent">;
  /** Nobody waits any more. */
  unwatch(ticket: string): Promise<void>;
  /** Why an item is not running; undefined if there is none. */
  explain(id: string): Promise<Explanation | undefined>;
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
  /** The queues to which redrives have sent items, by their names. */
  sentTo(): Promise<readonly string[]>;
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
  /** An id: the page begins with its place, or, newest first, before it; "" for the beginning. */
  readonly pivot: string;
  /** By their places; oldest by default. */
  readonly order?: "oldest" | "newest";
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
  /** That of its namespace, if that has one. */
  readonly account?: Account | undefined;
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
    account?: Account,
  ) {
    this.name = name;
    this.loop = new Loop(name, rules, partitions, context, account);
    this.#ids = new IdSpaces(partitions.map(({ ids }) => ids));
  }

  /** A queue of partitions as they lie in storage; one that cannot be read is failing, and is tried again. */
  static async open(
    name: string,
    rules: QueueRules,
    { places, context, account, onFailing }: OpenOptions,
  ): Promise<Queue> {
    const { limits, budget, clock } = context;
    const partitions: Partition[] = [];
    for (const [number, { storage, ...place }] of places.entries()) {
      const partition = new Partition({ ...place, number }, { storage, limits, budget, account });
      try {
        await partition.load(() => momentOf(clock));
      } catch (error) {
        onFailing(number, error);
        partition.distrust(clock.steady());
      }
      partitions.push(partition);
    }
    return new Queue(name, rules, partitions, context, account);
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

  /**
   * True at the time of the call; nothing is counted for it, and at most one item of each partition is read:
   * the next one, where memory holds none.
   */
  async stats(): Promise<QueueStats> {
    const { partitions, measures, context } = this.loop;
    const { now, steady } = momentOf(context.clock);
    const { produce, lease, complete, inFlight } = this.loop.counts;
    const parts = partitions.map((partition) => partitionStats(partition, now));
    const measured = measures.tell(steady);
    const nexts = await Promise.all(partitions.map((partition) => partition.nextCreatedAt()));
    return {
      produceWaiting: produce,
      leaseWaiting: lease,
      completeWaiting: complete,
      inFlight,
      partitions: parts.map((part, i) => ({ ...part, nextCreatedAt: nexts[i]! })),
      measured,
    };
  }

  async consumers(limit: number): Promise<ConsumersSeen> {
    const names = Array.from(this.loop.waitingLeases, ({ clientId }) => clientId);
    return this.loop.consumers.seen(names, limit);
  }

  /** The same at once, for what collects numbers; see figures.ts. */
  figures(): QueueFigures {
    return figuresOf(this.loop);
  }

  /** What is told beside that of a queue by itself. */
  detail(): QueueDetail {
    return detailOf(this.loop, this.loop.context.clock.steady());
  }

  /** Asks storage, at most for one item of each partition, what `figures` would not know. */
  async lookUpOldest(): Promise<void> {
    for (const partition of this.loop.partitions) {
      if (partition.hasUnknownNext) await partition.nextCreatedAt();
    }
  }

  /** Whether `figures` does not know how old the oldest is. */
  get hasUnknownOldest(): boolean {
    return this.loop.partitions.some(({ hasUnknownNext }) => hasUnknownNext);
  }

  clear(options: ClearOptions): Promise<void> {
    return clear(this.loop, options);
  }

  reload(): Promise<void> {
    return reload(this.loop);
  }

  list(partition: number, options: PageOptions): Promise<readonly ListedItem[]> {
    const { pivot, order, ...rest } = options;
    const of = this.loop.partitions[partition]!;
    if (order === "newest") {
      const before = pivot === "" ? Number.MAX_SAFE_INTEGER : of.ids.seqFrom(pivot);
      return listNewest(this.loop, of, { ...rest, before });
    }
    const from = pivot === "" ? 0 : of.ids.seqFrom(pivot);
    return list(this.loop, of, { ...rest, from });
  }

  find(id: string): Promise<readonly FoundItem[]> {
    return find(this.loop, id);
  }

  listEnded(partition: number, options: EndedOptions): Promise<readonly FoundItem[]> {
    return listEnded(this.loop, this.loop.partitions[partition]!, options);
  }

  cancelItem(id: string): Promise<readonly FoundItem[]> {
    return cancelItem(this.loop, id);
  }

  updateItem(
    id: string,
    change: ItemChange,
    content: readonly NewContent[],
  ): Promise<readonly FoundItem[] | "stale"> {
    return updateItem(this.loop, id, change, content);
  }

  watch(id: string, ticket: string, time: number): Promise<Told | "waits" | "absent"> {
    return watch(this.loop, id, { ticket, time });
  }

  async unwatch(ticket: string): Promise<void> {
    this.loop.watchers.drop(ticket);
  }

  explain(id: string): Promise<Explanation | undefined> {
    return explain(this.loop, id);
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

  sentTo(): Promise<readonly string[]> {
    return this.loop.redrives.sentTo();
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

function partitionStats(partition: Partition, now: number): Omit<PartitionStats, "nextCreatedAt"> {
  const { total, scheduled, held, createdSum, dropped, counts } = partition.counters;
  const leased = partition.leased.size;
  const elapsed = partition.sinceCreation(now);
  const mean = (sum: number, count: number): number =>
    count === 0 ? 0 : Math.max(Math.round((elapsed - sum / count) * 1000), 0);
  return {
    total,
    leased,
    scheduled,
    held,
    failures: partition.failures,
    averageAge: mean(createdSum, total),
    averageLeasedAge: mean(partition.leasedSum, leased),
    dropped,
    counts,
  };
}
