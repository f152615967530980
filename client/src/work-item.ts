// An item in the hands of a worker's handler, what may become of it, and what its handler knows of its time.

import { type Duration, toMs } from "./duration.ts";
import { InvalidRequestError, LeaseLostError } from "./errors.ts";
import { HeldItem, type Holder } from "./held-item.ts";
import { startTimer, type Timer } from "./timer.ts";

/** When an item is leased again: at once if nothing is said. */
export type RetryWhen =
  | { readonly at?: Date | undefined; readonly after?: undefined }
  | { readonly after?: Duration | undefined; readonly at?: undefined };

/** What becomes of an item. */
export type Outcome =
  | { readonly kind: "complete" }
  | { readonly kind: "retry"; readonly when: RetryWhen; readonly reason?: string }
  /** As if it had not been leased this time. */
  | { readonly kind: "release"; readonly when: RetryWhen }
  | { readonly kind: "dead"; readonly reason: string };

/** A leased item with the value that its queue's definition decodes from it. */
export class WorkItem<T = undefined> extends HeldItem<T> {
  #outcome: Outcome | undefined;

  /** What the handler has decided; the last word counts. */
  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  /** It is done, whatever happens to others of its batch. */
  complete(): void {
    this.#outcome = { kind: "complete" };
  }

  /** It goes back to the queue when the handler ends. */
  retry(when: RetryWhen = {}): void {
    checkWhen(when);
    this.#outcome = { kind: "retry", when };
  }

  /**
   * It goes to the dead queue when the handler ends, or is gone if the queue has none. The reason is for the
   * `dead` event of this worker: the server has no place for it yet, and does not keep it.
   */
  dead(reason = ""): void {
    this.#outcome = { kind: "dead", reason };
  }
}

// Earlier and later the server cannot be told: a year has four digits.
const EARLIEST_MS = Date.parse("0001-01-01T00:00:00Z");
const LATEST_MS = Date.UTC(9999, 11, 31);
const DELAY_MS_MAX = 365 * 86_400_000;

/** Throws an InvalidRequestError if nothing can be leased again then. */
export function checkWhen({ at, after }: RetryWhen): void {
  if (after !== undefined && Date.now() + toMs(after, "after") > LATEST_MS) {
    const text = `after is invalid; got '${after}', which ends after the year 9999`;
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
  const delay = when.after === undefined ? 0 : toMs(when.after, "after");
  if (when.at !== undefined || delay > DELAY_MS_MAX) return { at: timeOf(when, now) };
  return delay <= 0 ? {} : { delay };
}

/** The time that is meant, if it is not now. */
export function timeOf({ at, after }: RetryWhen, now: number): Date | undefined {
  if (at !== undefined) return at;
  const ms = after === undefined ? 0 : toMs(after, "after");
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

  /** Aborted, with a LeaseLostError or a HandlerAborted as reason, when it is no use to go on. */
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
