// Timers that keep their word: setTimeout fires at once if it is told to wait for longer than 24 days.

const LONGEST_MS = 2 ** 31 - 1;

export type Timer = ReturnType<typeof setTimeout>;

/** Calls back after a time, however long; after 24 days at the latest. `clearTimeout` ends it. */
export function startTimer(callback: () => void, ms: number): Timer {
  return setTimeout(callback, Math.min(ms, LONGEST_MS));
}
