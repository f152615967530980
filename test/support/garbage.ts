// Tests that look at what is still held need the rest to be gone: all garbage of this process is
// collected, more than once, as what a turn of the event loop still holds goes with the next
// collection only.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Collects all garbage, also what only this turn of the event loop still holds. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let i = 0; i < 3; i++) {
    await new Promise(setImmediate);
    collect();
  }
}
