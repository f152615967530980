// Loaded before a server to hold up its start: it says that it is about to begin, and does so after a while.

import { registerHooks } from "node:module";

const WHILE_MS = 300;

registerHooks({
  load(url, context, next) {
    if (/\/src\/server\/server\.ts$/.test(url)) {
      process.stderr.write("about to start\n");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WHILE_MS);
    }
    return next(url, context);
  },
});
