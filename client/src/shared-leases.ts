// Leases of many callers that travel as one: while a lease request to a queue is under way, further
// callers gather, and the next request asks for what all of them want. Items are handed out in the
// order in which callers came. An item for which nobody is left is given back to the queue.

import type { LeaseOptions } from "./client-options.ts";
import type { QueratorError } from "./errors.ts";
import type { LeasedItem } from "./items.ts";
import { startTimer, type Timer } from "./timer.ts";

export interface SharedLeasesOptions {
  readonly batchMax: number;
  /** One lease request; answers nothing when its time passes without items. */
  readonly lease: (request: SharedLease) => Promise<LeasedItem[]>;
  readonly giveBack: (items: readonly LeasedItem[]) => void;
}

interface SharedLease {
  readonly batchSize: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly onRepeat: (failure: QueratorError) => void;
}

type CallerOptions = Pick<LeaseOptions, "signal" | "onRepeat">;

// Kept among those who wait, and half of all.
const OVER_MAX = 64;

interface Caller {
  readonly want: number;
  /** By performance.now(). */
  readonly until: number;
  readonly resolve: (items: LeasedItem[]) => void;
  readonly reject: (error: unknown) => void;
  readonly options: CallerOptions;
  readonly onAbort: () => void;
  readonly timer: Timer;
  /** The request under way asks for it. */
  isAsked: boolean;
  isOver: boolean;
}

export class SharedLeases {
  readonly #options: SharedLeasesOptions;
  // In the order in which they came, with some that are over.
  #callers: Caller[] = [];
  // Those that are not.
  #waiting = 0;
  #isRunning = false;
  // Of the request under way; it is aborted when none of those that it asks for is left.
  #asked: Caller[] = [];
  #askedLeft = 0;
  #controller = new AbortController();

  constructor(options: SharedLeasesOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return !this.#isRunning;
  }

  lease(want: number, timeoutMs: number, options: CallerOptions): Promise<LeasedItem[]> {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const caller: Caller = {
        want,
        until: performance.now() + timeoutMs,
        resolve,
        reject,
        options,
        onAbort: () => this.#leave(caller, () => reject(signal!.reason)),
        timer: startTimer(() => this.#timeOut(caller), timeoutMs),
        isAsked: false,
        isOver: false,
      };
      signal?.addEventListener("abort", caller.onAbort, { once: true });
      if (this.#callers.length > 2 * this.#waiting + OVER_MAX) this.#forgetThoseOver();
      this.#callers.push(caller);
      this.#waiting++;
      if (this.#isRunning) return;
      this.#isRunning = true;
      queueMicrotask(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting > 0) {
      this.#forgetThoseOver();
      let want = 0;
      let until = Number.POSITIVE_INFINITY;
      this.#asked = [];
      for (const caller of this.#callers) {
        if (want + caller.want > this.#options.batchMax) break;
        want += caller.want;
        until = Math.min(until, caller.until);
        caller.isAsked = true;
        this.#asked.push(caller);
      }
      this.#askedLeft = this.#asked.length;
      this.#controller = new AbortController();
      const timeoutMs = Math.max(until - performance.now(), 10);
      try {
        const items = await this.#options.lease({
          batchSize: want,
          timeoutMs,
          signal: this.#controller.signal,
          onRepeat: (failure) => {
            for (const { isOver, options } of this.#asked) if (!isOver) options.onRepeat?.(failure);
          },
        });
        this.#handOut(items);
      } catch (error) {
        for (const caller of this.#asked) this.#leave(caller, () => caller.reject(error));
      }
      for (const caller of this.#asked) caller.isAsked = false;
      this.#asked = [];
      // Callers that have just been answered may call again at once.
      if (this.#waiting === 0) await undefined;
    }
    this.#forgetThoseOver();
    this.#isRunning = false;
  }

  #forgetThoseOver(): void {
    this.#callers = this.#callers.filter(({ isOver }) => !isOver);
  }

  #handOut(items: readonly LeasedItem[]): void {
    let from = 0;
    for (const caller of this.#callers) {
      if (from === items.length) break;
      if (caller.isOver) continue;
      const some = items.slice(from, from + caller.want);
      from += some.length;
      this.#leave(caller, () => caller.resolve(some));
    }
    if (from < items.length) this.#options.giveBack(items.slice(from));
    if (items.length > 0) return;
    // The server's time has passed: so has that of those who have waited as long.
    const now = performance.now();
    for (const caller of this.#asked) {
      if (caller.until <= now + 5) this.#leave(caller, () => caller.resolve([]));
    }
  }

  // Those for whom the request under way asks wait until it ends: then nothing that was leased for them
  // has to be given back.
  #timeOut(caller: Caller): void {
    if (caller.isAsked) return;
    this.#leave(caller, () => caller.resolve([]));
  }

  #leave(caller: Caller, answer: () => void): void {
    if (caller.isOver) return;
    caller.isOver = true;
    clearTimeout(caller.timer);
    caller.options.signal?.removeEventListener("abort", caller.onAbort);
    this.#waiting--;
    answer();
    if (caller.isAsked && --this.#askedLeft === 0) this.#controller.abort();
  }
}
