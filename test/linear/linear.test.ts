// The quick form of the program: one round against a real server, on each storage that needs no
// other program.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { StorageKind } from "../support/server-process.ts";
import { run } from "./run.ts";

describe("queues are linearizable under many clients", { concurrency: true }, () => {
  for (const storage of ["sqlite", "memory"] satisfies StorageKind[]) {
    test(`on ${storage}`, async (t) => {
      const result = await run({
        ...{ seconds: 0.1, roundMs: 500, queues: 4, clients: 8, storage },
        seed: Date.now() % 1_000_000,
        progress: (text) => t.diagnostic(text),
      });
      assert.equal(result.failure, undefined);
      assert.ok(result.operations > 0);
    });
  }
});
