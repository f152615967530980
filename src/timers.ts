// Work for later that ends with its owner: once closed, nothing that was put off is done.

import type { CancelTimer, Clock } from "./clock.ts";

export class Timers {
  readonly #clock: Clock;
  readonly #pending = new Set<CancelTimer>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Does the work after so many microseconds. */
  after(duration: number, work: () => void): void {
    if (this.#closed) return;
    const cancel = this.#clock.wakeAfter(duration, () => {
      this.#pending.delete(cancel);
      work();
    });
    this.#pending.add(cancel);
  }

  /** Does the work after everything that is ready now. */
  soon(work: () => void): void {
    setImmediate(() => {
      if (!this.#closed) work();
    });
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#pending) cancel();
    this.#pending.clear();
  }
}
