// An item in the hands of a worker's handler or of a loop over a queue, what may become of it, and what
// its handler knows of its time.

import { type Duration, toMs } from "./duration.ts";
import { InvalidRequestError } from "./errors.ts";
import { LeasedItem } from "./items.ts";

/** When an item is leased again: at once if nothing is said. */
export type RetryWhen =
  | { readonly at?: Date | undefined; readonly after?: undefined }
  | { readonly after?: Duration | undefined; readonly at?: undefined };

/** What becomes of an item. */
export type Outcome =
  | { readonly kind: "complete" }
  | { readonly kind: "retry"; readonly when: RetryWhen }
  | { readonly kind: "dead"; readonly reason: string };

/** A leased item with the value that its queue's definition decodes from it. */
export class WorkItem<T = undefined> extends LeasedItem {
  readonly value: T;
  #outcome: Outcome | undefined;

  constructor(item: LeasedItem, value: T) {
    super(item.queueName, item.partition, LeasedItem.wireOf(item));
    this.value = value;
  }

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

  /** It goes to the dead queue when the handler ends, or is gone if the queue has none. */
  dead(reason = ""): void {
    this.#outcome = { kind: "dead", reason };
  }
}

function checkWhen({ at, after }: RetryWhen): void {
  if (after !== undefined) toMs(after, "after");
  if (at !== undefined && !(at instanceof Date && !Number.isNaN(at.getTime()))) {
    throw new InvalidRequestError("invalid", "at is invalid; it must be a valid Date");
  }
}

/** The time that is meant, if it is not now. */
export function retryAt({ at, after }: RetryWhen, now: number): Date | undefined {
  if (at !== undefined) return at;
  const ms = after === undefined ? 0 : toMs(after, "after");
  return ms <= 0 ? undefined : new Date(now + ms);
}

/** Why a handler's signal was aborted; the reason of the signal is one. */
export class HandlerAborted extends Error {
  readonly code: "lease-ended" | "handler-timeout" | "shutdown";

  constructor(code: HandlerAborted["code"]) {
    super(ABORT_TEXTS[code]);
    this.name = "HandlerAborted";
    this.code = code;
  }
}

const ABORT_TEXTS = {
  "lease-ended": "The lease of the item has ended; somebody else may have it now",
  "handler-timeout": "The handler took longer than handlerTimeout",
  shutdown: "The worker was closed, and does not wait any longer",
} as const;

/** What a handler knows beside its items. */
export class HandlerContext {
  readonly attempts: number;
  readonly #deadlineMs: number;
  readonly #now: () => number;
  // Made when the handler first asks for it: most never do.
  #controller: AbortController | undefined;
  #leaseTimer: ReturnType<typeof setTimeout> | undefined;
  #reason: HandlerAborted | undefined;
  #isOver = false;

  constructor(items: readonly LeasedItem[], now: () => number) {
    this.attempts = Math.max(...items.map(({ attempts }) => attempts));
    this.#deadlineMs = Math.min(...items.map(({ leaseDeadlineMs }) => leaseDeadlineMs));
    this.#now = now;
  }

  /** Of the item, of a batch the earliest; by the clock of the server. */
  get leaseDeadline(): Date {
    return new Date(this.#deadlineMs);
  }

  /** Aborted, with a HandlerAborted as reason, when it is no use to go on. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
      else if (!this.#isOver) this.#watchLease();
    }
    return this.#controller.signal;
  }

  /** For the worker: aborts the signal. */
  abort(code: HandlerAborted["code"]): HandlerAborted {
    this.#reason ??= new HandlerAborted(code);
    this.#controller?.abort(this.#reason);
    this.end();
    return this.#reason;
  }

  /** For the worker: the handler has ended. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#leaseTimer);
  }

  #watchLease(): void {
    const ms = this.#deadlineMs - this.#now();
    // A timer cannot wait longer; then it looks again.
    this.#leaseTimer = setTimeout(
      () => {
        if (this.#now() >= this.#deadlineMs) this.abort("lease-ended");
        else this.#watchLease();
      },
      Math.min(Math.max(ms, 0), 3_600_000),
    );
  }
}
