// Says that a queue has deleted items that nobody completed: a line at once, and then at most one a
// minute with all that came since the last. What is counted for good is in the counters of partitions.

import { type CancelTimer, type Clock, MINUTE } from "../clock.ts";
import type { Logger } from "../log.ts";
import { type Dropped, type DropReason, NONE_DROPPED } from "../storage/storage.ts";

const INTERVAL = MINUTE;

const WHY: Readonly<Record<DropReason, string>> = {
  expired: "not completed within expire_timeout",
  attempts: "leased max_attempts times",
  rejected: "given up by their consumer",
};

const HINT =
  "give the queue a dead_queue that exists to keep such items, a longer expire_timeout, or more max_attempts";

export class DropLog {
  readonly #queue: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  // Not said yet.
  #drops = NONE_DROPPED;
  // No line is written while it runs.
  #cancelTimer: CancelTimer | undefined;

  constructor(queue: string, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#queue = queue;
    this.#clock = clock;
    this.#log = log;
  }

  note(drops: Dropped): void {
    const { attempts, expired, rejected } = this.#drops;
    this.#drops = {
      attempts: attempts + drops.attempts,
      expired: expired + drops.expired,
      rejected: rejected + drops.rejected,
    };
    if (this.#cancelTimer === undefined) this.#write();
  }

  /** Says what has not been said. */
  close(): void {
    this.#cancelTimer?.();
    this.#write();
    this.#cancelTimer?.();
  }

  #write(): void {
    this.#cancelTimer = undefined;
    const drops = this.#drops;
    const reasons = (Object.keys(WHY) as DropReason[]).filter((reason) => drops[reason] > 0);
    if (reasons.length === 0) return;
    const whys = reasons.map((reason) => `${drops[reason]} ${WHY[reason]}`).join(", ");
    this.#log.warn({ queue: this.#queue, ...drops }, `items were deleted: ${whys}; ${HINT}`);
    this.#drops = NONE_DROPPED;
    this.#cancelTimer = this.#clock.wakeAfter(INTERVAL, () => this.#write());
  }
}
