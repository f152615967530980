// How a thread is doing, beside what it does: how late its timers come, how much of the time it is busy, and its heap.

import { performance } from "node:perf_hooks";
import { type CancelTimer, MILLISECOND, MINUTE, SystemClock } from "../clock.ts";
import { Octaves, type OctaveTotals } from "../octaves.ts";
import type { SlowLogs } from "../slow.ts";

const EVERY = 200 * MILLISECOND;
const HALF_MINUTE = MINUTE / 2;

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
  /** What is told of what is slow on the thread. */
  readonly slow: SlowLogs;
  #cancel: CancelTimer;
  // The latest timers of this half of a minute and of the one before; how busy the thread was when those began.
  #latest = [0, 0];
  #utilization = [performance.eventLoopUtilization(), performance.eventLoopUtilization()];
  #halfUntil: number;

  constructor(slow: SlowLogs) {
    this.slow = slow;
    this.#halfUntil = this.#clock.steady() + HALF_MINUTE;
    this.#cancel = this.#arm();
  }

  #arm(): CancelTimer {
    const at = this.#clock.steady() + EVERY;
    return this.#clock.wakeAfter(EVERY, () => {
      const now = this.#clock.steady();
      const late = Math.max(now - at, 0);
      this.#lag.note(late);
      this.#turn(now);
      this.#latest[0] = Math.max(this.#latest[0]!, late);
      this.slow.sweep();
      this.#cancel = this.#arm();
    });
  }

  // Another half of a minute begins.
  #turn(now: number): void {
    if (now < this.#halfUntil) return;
    this.#halfUntil = now + HALF_MINUTE;
    this.#latest = [0, this.#latest[0]!];
    this.#utilization = [performance.eventLoopUtilization(), this.#utilization[0]!];
  }

  /** Of the last minute, or half of one: how late timers came at worst, and the part of it in which it was busy. */
  lately(): { readonly latest: number; readonly busy: number } {
    const { utilization } = performance.eventLoopUtilization(this.#utilization[1]);
    return { latest: Math.max(...this.#latest), busy: Math.round(utilization * 1_000) / 1_000 };
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
