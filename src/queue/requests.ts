// The requests that travel from the edge to a queue's loop and come back as answers, a class for each
// kind. A request is made once, waits in the loop's mailbox, is planned into a batch, and is settled
// exactly once: after the commit of its batch, or earlier by its deadline, its client or the end of the
// queue. Code that treats all kinds alike needs to know only what is here.

import { HOUR, MILLISECOND } from "../clock.ts";
import type { QueueError } from "../errors.ts";
import type { ItemRecord } from "../storage/storage.ts";
import type { ItemError } from "./attributes.ts";
import type { Repeat } from "./idempotency.ts";
import type { IdSpace } from "./ids.ts";
import type { Item } from "./item.ts";
import { Kinds } from "./kinds.ts";
import type { Partition } from "./partition.ts";
import type { UniqueWish } from "./unique.ts";

/** An item that a request named and that memory does not know: only storage can tell whether it waits. */
export interface Doubt {
  readonly partition: Partition;
  readonly seq: number;
  /** The error that replaces the request's own if the item is there. */
  readonly ifWaiting: QueueError;
}

/** The kinds of hot requests, in the order in which a batch plans them; numbers, as they index lists. */
export const Kind = { produce: 0, lease: 1, complete: 2, retry: 3, extend: 4 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];
export const KINDS: readonly Kind[] = Object.values(Kind);

/** Any of them; `R["result"]` is what a successful answer of an `R` carries. */
export type AnyHotRequest =
  | ProduceRequest
  | LeaseRequest
  | CompleteRequest
  | RetryRequest
  | ExtendRequest;

/** A list of requests for each kind. */
export type ByKind = AnyHotRequest[][] & {
  [K in Kind]: Extract<AnyHotRequest, { readonly kind: K }>[];
};

/** What a hot request waits for; `T` is what a successful answer carries. */
export abstract class HotRequest<T> {
  abstract readonly kind: Kind;
  /** When it must be answered, in steady time, which is the same for all threads. */
  readonly deadline: number;
  /** Whether it has been answered. */
  settled = false;
  /** What the plan decided; undefined while the answer is the success in `result`. */
  error: QueueError | undefined = undefined;
  doubt: Doubt | undefined = undefined;
  /** Its idempotency key, if it has one; set before it is submitted. */
  repeat: Repeat | undefined = undefined;
  abstract result: T;
  readonly #answer: {
    readonly promise: Promise<T>;
    resolve(result: T): void;
    reject(error: QueueError): void;
  } = Promise.withResolvers<T>();

  constructor(deadline: number) {
    this.deadline = deadline;
  }

  get promise(): Promise<T> {
    return this.#answer.promise;
  }

  /** Whether the plan has decided to do nothing; sent again, the same request may succeed. */
  get isRefused(): boolean {
    return this.error !== undefined;
  }

  /** Forgets what a plan decided that has come to nothing. */
  unplan(): void {
    this.error = undefined;
    this.doubt = undefined;
  }

  /** Answers what the plan decided. */
  settle(): void {
    if (this.settled) return;
    this.settled = true;
    if (this.error === undefined) this.#answer.resolve(this.result);
    else this.#answer.reject(this.error);
  }

  /** Answers with an error, whatever was planned. */
  fail(error: QueueError): void {
    this.error = error;
    this.settle();
  }
}

/** Where the items of one produce lie: under consecutive numbers of one partition. */
export interface Produced {
  readonly partition: number;
  /** The sequence number of the first of them. */
  readonly first: number;
  /** The indexes, ascending, of those that wait for their time. */
  readonly scheduled: readonly number[];
  /** Where some have unique keys, what became of each, in place of all that; one that is refused has no id. */
  readonly each?: readonly ProducedItem[];
  readonly refused?: readonly Refused[];
}

/** What became of one item. */
export interface ProducedItem {
  /** That of the item that is there now. */
  readonly id: string;
  readonly status: "created" | "scheduled" | "duplicate" | "replaced";
}

/**
 * Adds items, all to one partition. An item whose unique key is taken may be none, or go where the one lies
 * that has the key.
 */
export class ProduceRequest extends HotRequest<Produced> {
  readonly kind = Kind.produce;
  readonly items: readonly Item[];
  /** By index, the unique keys that items ask for; undefined if none does. */
  readonly unique: readonly (UniqueWish | undefined)[] | undefined;
  readonly together: Exclude<Together, "all">;
  result!: Produced;

  override get isRefused(): boolean {
    if (this.error !== undefined) return true;
    return this.together === "listed" && (this.result.refused?.length ?? 0) > 0;
  }

  constructor(
    items: readonly Item[],
    deadline: number,
    unique: ProduceRequest["unique"] = undefined,
    together: ProduceRequest["together"] = "each",
  ) {
    super(deadline);
    this.items = items;
    this.unique = unique;
    this.together = together;
  }
}

/** What one lease request was given: items of one partition under one deadline. */
export interface Leased {
  readonly partition: number;
  readonly ids: IdSpace;
  readonly deadline: number;
  readonly items: readonly Item[];
  /** The records of the items; the items themselves no longer have them. */
  readonly records: readonly ItemRecord[];
  /** Until when it has waited for them at most, in steady time: when the turn began that has leased them. */
  readonly waitedUntil: number;
}

interface LeaseOptions {
  readonly isShared?: boolean;
  readonly ticket?: number;
  /** How long the lease lasts, in microseconds; 0 for as long as the queue says. */
  readonly leaseTimeout?: number;
  /** Only items of these kinds. */
  readonly kinds?: readonly string[] | undefined;
}

/** A place in a ready window, as long as it is the same window. */
export interface Looked {
  readonly window: number;
  readonly seq: number;
}

let tickets = 0;

/**
 * Waits for at least one item, and leases up to `batchSize`. Of one client one request waits at a time,
 * or any number of those that are shared: their client is a name for people.
 */
export class LeaseRequest extends HotRequest<Leased> {
  readonly kind = Kind.lease;
  readonly clientId: string;
  readonly batchSize: number;
  readonly isShared: boolean;
  /** Identifies it between the thread that made it and the one where it waits. */
  readonly ticket: number;
  readonly leaseTimeout: number;
  readonly kinds: Kinds | undefined;
  result!: Leased;
  /** Its key in the mailbox, which chooses that of a shared one. */
  waitsAs: string | number;
  /** The items that the batch at hand deals to it. */
  items: Item[] = [];
  records: ItemRecord[] = [];
  bytes = 0;
  /** With `kinds`: up to where each window has been looked through in vain. */
  lookedTo: Map<Partition, Looked> | undefined = undefined;

  constructor(
    clientId: string,
    batchSize: number,
    deadline: number,
    { isShared = false, ticket = ++tickets, leaseTimeout = 0, kinds }: LeaseOptions = {},
  ) {
    super(deadline);
    this.clientId = clientId;
    this.batchSize = batchSize;
    this.isShared = isShared;
    this.ticket = ticket;
    this.leaseTimeout = leaseTimeout;
    this.kinds = kinds === undefined ? undefined : new Kinds(kinds);
    this.waitsAs = clientId;
  }

  /** Whether the batch at hand has dealt items to it, so that it can no longer be withdrawn. */
  get isDealt(): boolean {
    return this.items.length > 0;
  }

  /** Whether a record of so many bytes would make the reply too large; one item is always given. */
  isFullBy(bytes: number, bytesMax: number): boolean {
    return this.items.length > 0 && this.bytes + bytes > bytesMax;
  }

  /** Deals it an item, with the record that it had before it was leased. */
  deal(item: Item, record: ItemRecord): void {
    this.items.push(item);
    this.records.push(record);
    this.bytes += record.size;
  }

  /** Forgets the items that it was dealt by a batch whose commit has failed. */
  undeal(): void {
    this.items = [];
    this.records = [];
    this.bytes = 0;
  }
}

/**
 * What becomes of the leases of one request, if some of them cannot be ended. `all`: nothing is done, and
 * the first is the error of the request. `listed`: nothing is done, and all of them are refused. `each`:
 * they are refused, and the others are ended.
 */
export type Together = "all" | "listed" | "each";

/** A lease that a request named, by its index, and why nothing is done to it. */
export interface Refused {
  readonly index: number;
  readonly error: QueueError;
}

/** What there is to say of the leases of a request, by their index; of the others it is done. */
export interface Outcomes {
  /** Their items are not tried again: they went to the dead queue, or were deleted. */
  readonly dead: readonly number[];
  readonly refused: readonly Refused[];
  /** Where the followers of a complete lie, for each of its queues. */
  readonly produced?: readonly Produced[];
}

// Of what is to be done to all leases or none, and cannot be.
function isNothingDone({
  together,
  result,
}: {
  readonly together: Together;
  readonly result: { readonly refused: readonly Refused[] };
}): boolean {
  return together === "listed" && result.refused.length > 0;
}

/** Everything was done, and there is nothing more to say. */
export const NO_OUTCOMES: Outcomes = { dead: [], refused: [] };

export interface CompleteOptions {
  readonly together?: Together;
  readonly results?: readonly string[] | undefined;
  readonly followers?: readonly Followers[] | undefined;
}

/** Items for one queue that are produced in the transaction that completes others. */
export interface Followers {
  /** "" for the same queue. */
  readonly queue: string;
  readonly items: readonly Item[];
  /** As those of a ProduceRequest. */
  readonly unique: ProduceRequest["unique"];
  /** Of which entries of the call they are, in order, and how many of each. */
  readonly entries: readonly { readonly index: number; readonly count: number }[];
}

/** Removes leased items. */
export class CompleteRequest extends HotRequest<Outcomes> {
  readonly kind = Kind.complete;
  readonly partition: number;
  readonly ids: readonly string[];
  readonly together: Together;
  /** What came of the work, for each id, in JSON; "" for nothing. */
  readonly results: readonly string[] | undefined;
  /** Only where all is done or nothing; those of each queue are together. */
  readonly followers: readonly Followers[] | undefined;
  /** Whether it takes more than its own partition to produce them. */
  readonly isJoint: boolean;
  result = NO_OUTCOMES;

  override get isRefused(): boolean {
    return this.error !== undefined || isNothingDone(this);
  }

  constructor(
    partition: number,
    ids: readonly string[],
    deadline: number,
    { together = "all", results, followers }: CompleteOptions = {},
  ) {
    super(deadline);
    this.partition = partition;
    this.ids = ids;
    this.together = together;
    this.results = results;
    this.followers = followers;
    this.isJoint =
      followers?.some(({ queue, unique }) => queue !== "" || unique !== undefined) === true;
  }
}

/** In place of a time: when the retry policy says. */
export const BY_POLICY = Number.NEGATIVE_INFINITY;

/** One item of a retry: back to the tail at once (retryAt 0 or near), later, or to the dead queue. */
export interface RetryItem {
  readonly id: string;
  /** Or BY_POLICY. */
  readonly retryAt: number;
  readonly dead: boolean;
  /** Why it failed, as its consumer says. */
  readonly error?: ItemError | undefined;
}

/** How a RetryRequest gives back. */
export interface RetryOptions {
  /** `released` as if the items had never been leased this time. */
  readonly verb?: "retried" | "released";
  readonly together?: Together;
}

/** Gives leased items back. */
export class RetryRequest extends HotRequest<Outcomes> {
  readonly kind = Kind.retry;
  readonly partition: number;
  readonly items: readonly RetryItem[];
  readonly verb: "retried" | "released";
  readonly together: Together;
  result = NO_OUTCOMES;

  override get isRefused(): boolean {
    return this.error !== undefined || isNothingDone(this);
  }

  override unplan(): void {
    super.unplan();
    this.result = NO_OUTCOMES;
  }

  constructor(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
    { verb = "retried", together = "all" }: RetryOptions = {},
  ) {
    super(deadline);
    this.partition = partition;
    this.items = items;
    this.verb = verb;
    this.together = together;
  }
}

/** How long a lease may be extended for, in microseconds; other times are moved to the nearer bound. */
export const EXTENSION_MIN = MILLISECOND;
export const EXTENSION_MAX = 12 * HOUR;

/** A lease that is to end so many microseconds from now, whether that is later than it would or earlier. */
export interface ExtendItem {
  readonly id: string;
  /** 0 leaves its end as it is. */
  readonly for: number;
  /** How far the work is, in JSON; "" if that is not said. */
  readonly progress?: string;
}

export interface Extended {
  /** By the index of the lease; 0 for one that is refused. Empty if nothing was done. */
  readonly deadlines: readonly number[];
  readonly refused: readonly Refused[];
}

/** Gives leases new deadlines, counted from when it is done; as durable when it is answered as a lease is. */
export class ExtendRequest extends HotRequest<Extended> {
  readonly kind = Kind.extend;
  readonly partition: number;
  readonly items: readonly ExtendItem[];
  readonly together: Exclude<Together, "all">;
  result!: Extended;

  override get isRefused(): boolean {
    return this.error !== undefined || isNothingDone(this);
  }

  constructor(
    partition: number,
    items: readonly ExtendItem[],
    deadline: number,
    together: ExtendRequest["together"] = "each",
  ) {
    super(deadline);
    this.partition = partition;
    this.items = items;
    this.together = together;
  }
}
