// The quick forms of overload.ts and churn.ts, side by side: each has a server of its own.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { freshSeed } from "../support/random.ts";
import { churn } from "./churn-run.ts";
import { overload } from "./overload-run.ts";

const seed = freshSeed();
const progress = (): void => undefined;

describe("a real server in a rush", { concurrency: true }, () => {
  test("refuses what is too much, and does what it has accepted exactly once", async () => {
    const shape = { seconds: 0.5, queues: 5, aloneMs: 150, storage: "sqlite" } as const;
    const { failures } = await overload({ seed, ...shape, progress });
    const again = `node test/soak/overload.ts --seconds 1 --queues 5 --seed ${seed}`;
    assert.deepEqual(failures, [], again);
  });

  test("keeps nothing of queues that were made, used and deleted", async () => {
    const { failures } = await churn({ seed, queues: 20, seconds: 10, progress });
    assert.deepEqual(failures, [], `node test/soak/churn.ts --queues 20 --seed ${seed}`);
  });
});
