// What a worker is told, and what it tells: handlers, options, events and counters.

import type { Duration } from "./duration.ts";
import type { LeasedItem } from "./items.ts";
import type { RetryPolicy } from "./retry-policy.ts";
import type { HandlerContext, WorkItem } from "./work-item.ts";

/**
 * Returning completes the item, throwing gives it back by the policy. What is returned is the item's result if the
 * definition of its queue says what that is.
 */
export type Handler<T, Result = unknown> = (
  item: WorkItem<T>,
  context: HandlerContext,
) => Result | Promise<Result>;

/** As Handler, for those items of the batch that have no outcome of their own. */
export type BatchHandler<T> = (items: readonly WorkItem<T>[], context: HandlerContext) => unknown;

export interface WorkerOptions {
  /** Handlers that run at the same time; 10 by default. */
  readonly concurrency?: number | undefined;
  /** Items leased ahead at most, beyond those that handlers have; as many as they have by default. */
  readonly prefetch?: number | undefined;
  /** Items of these kinds only, 16 at most; what is passed over stays in order. All by default. */
  readonly kinds?: readonly string[] | undefined;
  /** How long leases last, in place of what the queue says: 10ms to 12h. */
  readonly leaseTimeout?: Duration | undefined;
  /**
   * When failed items are tried again. By default the queue's own policy decides, and `exponential()` if it has none;
   * `server` leaves it to the server in any case, as items may have policies of their own.
   */
  readonly retry?: RetryPolicy | "server" | undefined;
  /** After which a handler's signal is aborted and its items count as failed; none by default. */
  readonly handlerTimeout?: Duration | undefined;
  /**
   * Whether the leases of what handlers are at are extended for as long as they run; yes by default. With
   * `false` a handler has to end before the lease that its queue gives.
   */
  readonly extend?: boolean | undefined;
  /** For how long each time, 12h at most; as long as they were given for, by default. */
  readonly extendFor?: Duration | undefined;
  /** How long an item is kept since it was leased, 12h by default: then its handler's signal is aborted. */
  readonly extendMax?: Duration | undefined;
  /** How long one lease request waits for items; that of the client by default. */
  readonly requestTimeout?: Duration | undefined;
  /** Closes the worker on SIGINT and SIGTERM, of which the second ends the program as usual. */
  readonly handleSignals?: boolean | undefined;
  /** How long `await using` and signals let handlers go on; 30s by default. */
  readonly closeTimeout?: Duration | undefined;
}

export interface BatchOptions extends WorkerOptions {
  /** Items that a handler is given at most, 1 to 1000: those that are there, without waiting for more. */
  readonly batch: number;
}

export interface WorkerEvents {
  leased: { readonly items: readonly LeasedItem[] };
  completed: { readonly item: LeasedItem };
  /** `at` is not there if that is at once, or as the server's policy says. */
  retried: { readonly item: LeasedItem; readonly at: Date | undefined };
  /** Given back without having counted: nobody had begun it or could read it, or its handler is not waited for. */
  released: { readonly item: LeasedItem; readonly at: Date | undefined };
  /**
   * It goes to the dead queue, or is gone: its handler or the policy said so, or its queue did, at a retry or as its
   * lease ended. Of the last it is told after `lost`, if it is in a dead queue or its queue keeps what has ended.
   */
  dead: { readonly item: LeasedItem; readonly reason: string };
  /** Somebody had cancelled it: what its handler has come to counts no more. */
  cancelled: { readonly item: LeasedItem };
  /** A handler threw, or its item could not be decoded. */
  failed: { readonly item: LeasedItem; readonly error: unknown };
  /** The lease had ended before the item was, or before the server could be told. Somebody else does it again. */
  lost: { readonly item: LeasedItem };
  /** A lease found nothing, and no handler runs. */
  idle: undefined;
  /** A request failed, of a server that is away the first that has for a while. The worker goes on. */
  error: { readonly error: unknown };
  /** Requests are answered again, after an `error` that was about them. */
  recovered: { readonly afterMs: number };
}

/** All since the worker was made, and what it has in hand. */
export interface WorkerCounters {
  readonly leased: number;
  readonly completed: number;
  readonly retried: number;
  readonly released: number;
  readonly dead: number;
  readonly cancelled: number;
  readonly failed: number;
  readonly lost: number;
  /** Items that handlers have. */
  readonly running: number;
  /** Items leased ahead. */
  readonly buffered: number;
}
