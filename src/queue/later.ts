// Which times that clients give are worth waiting for.

import { MILLISECOND } from "../clock.ts";

/** Times nearer than this are treated as now. */
const SOON = 100 * MILLISECOND;

/** Whether a time that a client gave is far enough ahead to be worth scheduling. */
export function isLater(at: number, now: number): boolean {
  return at >= now + SOON;
}
