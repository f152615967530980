// How a thread is doing, beside what it does: how late its timers come, how much of the time it is busy, and its heap.

import { performance } from "node:perf_hooks";
import { type CancelTimer, MILLISECOND, SystemClock } from "../clock.ts";
import { Octaves, type OctaveTotals } from "../octaves.ts";

const EVERY = 200 * MILLISECOND;

/** What is told of a thread. */
export interface ThreadState {
  readonly lag: OctaveTotals;
  /** Time in which the thread had something to do, in microseconds. */
  readonly busy: number;
  readonly heapBytes: number;
}

export class ThreadWatch {
  // What happens to the thread happens in real time.
  readonly #clock = new SystemClock();
  readonly #lag = new Octaves();
  #cancel: CancelTimer;

  constructor() {
    this.#cancel = this.#arm();
  }

  #arm(): CancelTimer {
    const at = this.#clock.steady() + EVERY;
    return this.#clock.wakeAfter(EVERY, () => {
      this.#lag.note(Math.max(this.#clock.steady() - at, 0));
      this.#cancel = this.#arm();
    });
  }

  state(): ThreadState {
    return {
      lag: this.#lag.totals(),
      busy: performance.eventLoopUtilization().active * MILLISECOND,
      heapBytes: process.memoryUsage().heapUsed,
    };
  }

  stop(): void {
    this.#cancel();
  }
}
