// An item in the hands of a worker's handler, what may become of it, and what its handler knows of its time.

import type { NextItems } from "./client-options.ts";
import { type Duration, toMs } from "./duration.ts";
import { InvalidRequestError, ItemCancelledError, LeaseLostError, textOf } from "./errors.ts";
import { HeldItem, type Holder } from "./held-item.ts";
import { checkNames, namesOf } from "./names.ts";
import { Progress } from "./progress.ts";
import { startTimer, type Timer } from "./timer.ts";

/** When an item is leased again: as its queue's policy says if nothing else does, or at once without one. */
export type RetryWhen =
  | { readonly at?: Date | undefined; readonly delay?: undefined }
  | { readonly delay?: Duration | undefined; readonly at?: undefined };

type Next = NextItems | readonly NextItems[];

/** What becomes of an item. */
export type Outcome =
  | { readonly kind: "complete"; readonly result?: unknown; readonly produce?: Next | undefined }
  | {
      readonly kind: "retry";
      readonly when: RetryWhen;
      readonly reason?: string;
      readonly error?: unknown;
    }
  /** As if it had not been leased this time. */
  | { readonly kind: "release"; readonly when: RetryWhen }
  | { readonly kind: "dead"; readonly reason: string; readonly error?: unknown };

/** A leased item with the value that its queue's definition decodes from it. */
export class WorkItem<T = undefined> extends HeldItem<T> {
  #outcome: Outcome | undefined;
  // Made when its handler first tells of it.
  #progress: Progress | undefined;

  /** What the handler has decided; the last word counts. */
  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  /**
   * It is done when the handler ends, whatever happens to others of its batch; what came of the work is any JSON up to
   * 64 KiB. With `produce` what is to be done next is produced in the same transaction: both or neither.
   */
  complete(result?: unknown, { produce }: { readonly produce?: Next | undefined } = {}): void {
    this.#outcome = { kind: "complete", result, produce };
  }

  /** It goes back to the queue when the handler ends; the error is kept with it. */
  retry(when: RetryWhen & { readonly error?: unknown } = {}): void {
    checkWhen(when);
    const { error } = when;
    this.#outcome = { kind: "retry", when, error };
  }

  /**
   * It goes to the dead queue when the handler ends, or is gone if the queue has none. The reason, a text or an
   * error, is kept with it.
   */
  dead(reason: unknown = ""): void {
    const error = reason === "" ? undefined : reason;
    this.#outcome = { kind: "dead", reason: textOf(reason), error };
  }

  /**
   * Says how far the work is, any JSON up to 4 KiB: for `client.items.get` to tell. Of what is said the last counts,
   * once a second at most.
   */
  progress(value: unknown): void {
    if (this.#progress === undefined) {
      const progress = new Progress(this);
      this.#progress = progress;
      this.holder?.whenOver(() => progress.stop());
    }
    this.#progress.tell(value);
  }
}

// Earlier and later the server cannot be told: a year has four digits.
const EARLIEST_MS = Date.parse("0001-01-01T00:00:00Z");
const LATEST_MS = Date.UTC(9999, 11, 31);
const DELAY_MS_MAX = 365 * 86_400_000;

const OF_WHEN = namesOf<RetryWhen & { readonly error?: unknown }>({
  at: true,
  delay: true,
  error: true,
});

/** Throws an InvalidRequestError if nothing can be leased again then. */
export function checkWhen(when: RetryWhen): void {
  checkNames(when, OF_WHEN, "what is given back");
  const { at, delay } = when;
  if (delay !== undefined && Date.now() + toMs(delay, "delay") > LATEST_MS) {
    const text = `delay is invalid; got '${delay}', which ends after the year 9999`;
    throw new InvalidRequestError("invalid", text);
  }
  if (at === undefined) return;
  if (!(at instanceof Date && at.getTime() >= EARLIEST_MS && at.getTime() <= LATEST_MS)) {
    const text = "at is invalid; it must be a Date of the years 1 to 9999";
    throw new InvalidRequestError("invalid", text);
  }
}

/** How the server is told: a wait by its own clock, unless it is a time, or too long to be said as a wait. */
export function backAt(
  when: RetryWhen,
  now: number,
): { readonly at?: Date | undefined; readonly delay?: number } {
  const delay = when.delay === undefined ? undefined : toMs(when.delay, "delay");
  if (when.at !== undefined) return { at: when.at };
  if (delay === undefined) return {};
  // Nothing is said of no wait: the policy of the queue would decide.
  return delay > DELAY_MS_MAX ? { at: timeOf(when, now) } : { delay: Math.max(delay, 0) };
}

/** The time that is meant, if it is not now. */
export function timeOf({ at, delay }: RetryWhen, now: number): Date | undefined {
  if (at !== undefined) return at;
  const ms = delay === undefined ? 0 : toMs(delay, "delay");
  return ms <= 0 ? undefined : new Date(now + ms);
}

/** Why a handler's signal was aborted, if not by a LeaseLostError; the reason of the signal is one or the other. */
export class HandlerAborted extends Error {
  readonly code: "handler-timeout" | "shutdown";

  constructor(code: HandlerAborted["code"]) {
    super(ABORT_TEXTS[code]);
    this.name = "HandlerAborted";
    this.code = code;
  }
}

const ABORT_TEXTS = {
  "handler-timeout": "The handler took longer than handlerTimeout",
  shutdown: "The worker was closed, and does not wait any longer",
} as const;

const LOST = "The lease of the item has ended; somebody else may have it now";

/** What a handler knows beside its items. */
export class HandlerContext implements Holder {
  readonly attempts: number;
  /** For the worker: what keeps its leases, if anything does. */
  keeper: { moved(context: HandlerContext): void } | undefined;
  readonly #items: readonly HeldItem<unknown>[];
  readonly #steady: () => number;
  // Made when the handler first asks for it: most never do.
  #controller: AbortController | undefined;
  #leaseTimer: Timer | undefined;
  #lateTimer: Timer | undefined;
  #reason: Error | undefined;
  #isOver = false;
  // What is to be done when it is over; not there if that is nothing.
  #enders: (() => void)[] | undefined;

  constructor(items: readonly HeldItem<unknown>[], steady: () => number) {
    let attempts = 0;
    for (const item of items) {
      attempts = Math.max(attempts, item.attempts);
      item.holder = this;
    }
    this.attempts = attempts;
    this.#items = items;
    this.#steady = steady;
  }

  /** Of the item, of a batch the earliest; by the clock of the server. It moves when it is extended. */
  get leaseDeadline(): Date {
    return new Date(least(this.#items, ({ leaseDeadlineMs }) => leaseDeadlineMs));
  }

  /**
   * Aborted when it is no use to go on, with the reason: an ItemCancelledError, another LeaseLostError or a
   * HandlerAborted.
   */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
      else if (!this.#isOver) this.#watchLease();
    }
    return this.#controller.signal;
  }

  /** One of its items was extended by hand. */
  moved(): void {
    if (this.#isOver) return;
    if (this.#controller !== undefined) {
      clearTimeout(this.#leaseTimer);
      this.#watchLease();
    }
    this.keeper?.moved(this);
  }

  /** For the worker: an item of several that is cancelled is no reason to stop at the others. */
  refused(item: HeldItem<unknown>, error: LeaseLostError): void {
    if (error instanceof ItemCancelledError) item.cancelled();
    if (!item.isCancelled || this.#items.every(({ isCancelled }) => isCancelled)) {
      this.abort(error);
    }
  }

  /** For the worker. */
  get isAborted(): boolean {
    return this.#reason !== undefined;
  }

  /** For its items. */
  whenOver(callback: () => void): void {
    if (this.#isOver) {
      callback();
      return;
    }
    this.#enders ??= [];
    this.#enders.push(callback);
  }

  /** For the worker: aborts the signal. */
  abort(reason: Error): Error {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
    this.end();
    return this.#reason;
  }

  /** For the worker: aborts the signal after a time, unless it ends before, and rejects with the reason. */
  whenLate(ms: number): Promise<never> {
    return new Promise((_, reject) => {
      const late = (): void => reject(this.abort(new HandlerAborted("handler-timeout")));
      this.#lateTimer = startTimer(late, ms);
    });
  }

  /** For the worker: the handler has ended, or is waited for no more. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#leaseTimer);
    clearTimeout(this.#lateTimer);
    if (this.#enders !== undefined) for (const end of this.#enders) end();
  }

  #watchLease(): void {
    const ms = least(this.#items, ({ endsAtMs }) => endsAtMs) - this.#steady();
    if (ms <= 0) {
      this.abort(new LeaseLostError("lease-ended", LOST));
      return;
    }
    // A timer cannot wait longer; then it looks again, as it does when the lease was extended meanwhile.
    this.#leaseTimer = setTimeout(() => this.#watchLease(), Math.min(ms, 3_600_000));
  }
}

function least(
  items: readonly HeldItem<unknown>[],
  of: (item: HeldItem<unknown>) => number,
): number {
  let least = Number.POSITIVE_INFINITY;
  for (const item of items) least = Math.min(least, of(item));
  return least;
}
