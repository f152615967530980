// The quick form of hostile.ts: every attack for a moment, with small numbers and small limits.

import assert from "node:assert/strict";
import { test } from "node:test";
import { freshSeed } from "../support/random.ts";
import { hostile } from "./hostile-run.ts";

test("clients that do not behave neither stop the others nor leave anything behind", async () => {
  const seed = freshSeed();
  const asksForKeys = seed % 2 === 0;
  const { failures } = await hostile({
    seed,
    quick: true,
    secondsEach: 0.06,
    asksForKeys,
    storage: "memory",
    progress: () => undefined,
  });
  const keys = asksForKeys ? " --keys" : "";
  const repeat = `node test/fuzz/hostile.ts --quick --seconds 0.06${keys} --seed ${seed}`;
  assert.deepEqual(failures, [], repeat);
});
