// Leases of many callers that travel as one: while a lease request to a queue is under way, further
// callers gather, and the next request asks for what all of them want. Items are handed out in the
// order in which callers came. An item for which nobody is left is given back to the queue.

import type { LeasedItem } from "./items.ts";
import { startTimer, type Timer } from "./timer.ts";

export interface SharedLeasesOptions {
  readonly batchMax: number;
  /** One lease request; answers nothing when its time passes without items. */
  readonly lease: (
    batchSize: number,
    timeoutMs: number,
    signal: AbortSignal,
  ) => Promise<LeasedItem[]>;
  readonly giveBack: (items: readonly LeasedItem[]) => void;
}

interface Caller {
  readonly want: number;
  /** By performance.now(). */
  readonly until: number;
  readonly resolve: (items: LeasedItem[]) => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
  readonly timer: Timer;
  isOver: boolean;
}

export class SharedLeases {
  readonly #options: SharedLeasesOptions;
  // In the order in which they came.
  #callers = new Set<Caller>();
  #isRunning = false;
  // Of the request under way; it is aborted when none of those that it asks for is left.
  #asked: Caller[] = [];
  #controller = new AbortController();

  constructor(options: SharedLeasesOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return !this.#isRunning;
  }

  lease(want: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<LeasedItem[]> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const caller: Caller = {
        want,
        until: performance.now() + timeoutMs,
        resolve,
        reject,
        signal,
        onAbort: () => this.#leave(caller, () => reject(signal!.reason)),
        timer: startTimer(() => this.#timeOut(caller), timeoutMs),
        isOver: false,
      };
      signal?.addEventListener("abort", caller.onAbort, { once: true });
      this.#callers.add(caller);
      if (this.#isRunning) return;
      this.#isRunning = true;
      queueMicrotask(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#callers.size > 0) {
      let want = 0;
      let until = Number.POSITIVE_INFINITY;
      this.#asked = [];
      for (const caller of this.#callers) {
        if (want + caller.want > this.#options.batchMax) break;
        want += caller.want;
        until = Math.min(until, caller.until);
        this.#asked.push(caller);
      }
      this.#controller = new AbortController();
      const timeoutMs = Math.max(until - performance.now(), 10);
      try {
        const items = await this.#options.lease(want, timeoutMs, this.#controller.signal);
        this.#handOut(items);
      } catch (error) {
        for (const caller of this.#asked) this.#leave(caller, () => caller.reject(error));
      }
      this.#asked = [];
      // Whoever has just been answered may call again at once.
      if (this.#callers.size === 0) await undefined;
    }
    this.#isRunning = false;
  }

  #handOut(items: readonly LeasedItem[]): void {
    let from = 0;
    for (const caller of this.#callers) {
      if (from === items.length) break;
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
    if (this.#asked.includes(caller)) return;
    this.#leave(caller, () => caller.resolve([]));
  }

  #leave(caller: Caller, answer: () => void): void {
    if (caller.isOver) return;
    caller.isOver = true;
    clearTimeout(caller.timer);
    caller.signal?.removeEventListener("abort", caller.onAbort);
    this.#callers.delete(caller);
    answer();
    const { length } = this.#asked;
    if (length > 0 && this.#asked.every(({ isOver }) => isOver)) this.#controller.abort();
  }
}
