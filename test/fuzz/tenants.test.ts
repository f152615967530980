// The quick form of tenants.ts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { freshSeed } from "../support/random.ts";
import { fuzzTenants } from "./tenants-run.ts";

test("whatever a tenant sends, it learns nothing of another and changes nothing of theirs", async () => {
  const seed = freshSeed();
  const { failures } = await fuzzTenants({ seed, seconds: 1.5, progress: () => undefined });
  assert.deepEqual(failures, [], `node test/fuzz/tenants.ts --seed ${seed}`);
});
