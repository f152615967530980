// The clock of the histories: monotonic, in microseconds, of this process. Deadlines come as wall time
// of the server; how far the wall clock is ahead is kept here, so that both can be compared.

import { parseTimestamp } from "../../src/codec/timestamp.ts";

// Between two readings that are further apart the process was held up.
const CLOSE = 200;

// Written by wallAhead alone.
let ahead = performance.timeOrigin * 1_000;

/** Microseconds on a clock that never steps. */
export function now(): number {
  return Math.round(performance.now() * 1_000);
}

/** A time that the server wrote, on our clock. */
export function onOurClock(text: string): number {
  const wall = parseTimestamp(text);
  if (wall === undefined) throw new Error(`'${text}' is no time`);
  return Math.round(wall - wallAhead());
}

// Date.now() cuts off what is finer than a millisecond, so each reading gives bounds only.
function wallAhead(): number {
  for (let tries = 0; tries < 100; tries++) {
    const before = now();
    const wall = Date.now() * 1_000;
    const after = now();
    if (after - before > CLOSE) continue;
    ahead = Math.min(Math.max(ahead, wall - after), wall + 1_000 - before);
    break;
  }
  return ahead;
}
