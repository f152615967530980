// The quick form of fuzz.ts: a real server is fuzzed for a moment on each storage.

import assert from "node:assert/strict";
import { test } from "node:test";
import { freshSeed } from "../support/random.ts";
import { fuzz } from "./fuzz-run.ts";

test("whatever is sent gets a well-formed answer, and what is refused changes nothing", async () => {
  const seed = freshSeed();
  const { failures } = await fuzz({ seed, seconds: 1.2, progress: () => undefined });
  assert.deepEqual(failures, [], `node test/fuzz/fuzz.ts --seed ${seed}`);
});
