// The clock and the timers of the page: nothing else reads the one or sets the other.

/** Milliseconds since 1970. */
export function now(): number {
  return Date.now();
}

/** Runs something once, later; what is answered takes it back. */
export function later(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}
