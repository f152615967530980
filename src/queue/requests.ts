// The requests that travel from the edge to a queue's loop and come back as answers, a class for each
// kind. A request is made once, waits in the loop's mailbox, is planned into a batch, and is settled
// exactly once: after the commit of its batch, or before any by its deadline, its client or the end of
// the queue. All that is done with requests whatever their kind knows only what is here.

import type { QueueError } from "../errors.ts";
import type { ItemRecord } from "../storage/storage.ts";
import type { IdSpace } from "./ids.ts";
import type { Item } from "./item.ts";
import type { Partition } from "./partition.ts";

/** An item that a request named and that memory does not know: only storage can tell whether it waits. */
export interface Doubt {
  readonly partition: Partition;
  readonly seq: number;
  /** The error in place of the request's own, if the item is there. */
  readonly ifWaiting: QueueError;
}

/** The kinds of hot requests, in the order in which a batch plans them; numbers, as they index lists. */
export const Kind = { produce: 0, lease: 1, complete: 2, retry: 3 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];
export const KINDS: readonly Kind[] = Object.values(Kind);

/** Any of them; `R["result"]` is what a successful answer of an `R` carries. */
export type AnyHotRequest = ProduceRequest | LeaseRequest | CompleteRequest | RetryRequest;

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

/** Adds items, all to one partition. */
export class ProduceRequest extends HotRequest<undefined> {
  readonly kind = Kind.produce;
  readonly items: readonly Item[];
  result = undefined;

  constructor(items: readonly Item[], deadline: number) {
    super(deadline);
    this.items = items;
  }
}

/** What one lease request was given: items of one partition under one deadline. */
export interface Leased {
  readonly partition: number;
  readonly ids: IdSpace;
  readonly deadline: number;
  readonly items: readonly Item[];
  /** The records of the items, which the items themselves let go. */
  readonly records: readonly ItemRecord[];
}

let tickets = 0;

/** Waits for at least one item, and leases up to `batchSize`. */
export class LeaseRequest extends HotRequest<Leased> {
  readonly kind = Kind.lease;
  readonly clientId: string;
  readonly batchSize: number;
  /** What names it between the thread that made it and the one where it waits. */
  readonly ticket: number;
  result!: Leased;
  /** What the batch at hand deals to it. */
  items: Item[] = [];
  records: ItemRecord[] = [];
  bytes = 0;

  constructor(clientId: string, batchSize: number, deadline: number, ticket = ++tickets) {
    super(deadline);
    this.clientId = clientId;
    this.batchSize = batchSize;
    this.ticket = ticket;
  }

  /** Whether the batch at hand has dealt items to it, so that it is too late to take its place away. */
  get isDealt(): boolean {
    return this.items.length > 0;
  }

  /** Gives back what a batch dealt that came to nothing. */
  undeal(): void {
    this.items = [];
    this.records = [];
    this.bytes = 0;
  }
}

/** Removes leased items, all of them or none. */
export class CompleteRequest extends HotRequest<undefined> {
  readonly kind = Kind.complete;
  readonly partition: number;
  readonly ids: readonly string[];
  result = undefined;

  constructor(partition: number, ids: readonly string[], deadline: number) {
    super(deadline);
    this.partition = partition;
    this.ids = ids;
  }
}

/** One item of a retry: back to the tail at once (retryAt 0 or near), later, or to the dead queue. */
export interface RetryItem {
  readonly id: string;
  readonly retryAt: number;
  readonly dead: boolean;
}

/**
 * Gives leased items back, all of them or none; those that are `released` as if they had never been leased
 * this time. Answers which of them, by their index, are not tried again.
 */
export class RetryRequest extends HotRequest<readonly number[]> {
  readonly kind = Kind.retry;
  readonly partition: number;
  readonly items: readonly RetryItem[];
  readonly verb: "retried" | "released";
  readonly result: number[] = [];

  constructor(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
    verb: RetryRequest["verb"] = "retried",
  ) {
    super(deadline);
    this.partition = partition;
    this.items = items;
    this.verb = verb;
  }
}
