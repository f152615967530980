// How V8 is to treat the memory of a server that is a process of its own: of `querator server`, and of
// what benchmarks measure in its place. A server inside another program leaves that to the program.

import { setFlagsFromString } from "node:v8";

/**
 * Keeps V8 from making objects old from the start because those made before at the same place lived
 * long. While a queue fills up, items do; later they live for a moment, and would be garbage that only
 * full collections find. A tenth of what a server carries beside a million items that wait. To be called
 * before the server is loaded.
 */
export function keepItemsYoung(): void {
  setFlagsFromString("--no-allocation-site-pretenuring");
}
