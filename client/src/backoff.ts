// How long to wait before something is tried again, and the waiting itself, which a signal ends.

import { startTimer } from "./timer.ts";

/** Waits grow from `baseMs` to `capMs`, doubling. */
export interface Backoff {
  readonly baseMs: number;
  readonly capMs: number;
}

/** A wait with full jitter, in milliseconds, before attempt `attempt` is repeated (from 1 on). */
export function fullJitter({ baseMs, capMs }: Backoff, attempt: number): number {
  return Math.random() * Math.min(capMs, baseMs * 2 ** Math.min(attempt - 1, 40));
}

/** Resolves after a time; rejects with the signal's reason if it is aborted before. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = startTimer(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
