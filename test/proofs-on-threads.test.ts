// The proofs hold on several threads as they do on one: the programs with real servers, for a moment.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../", import.meta.url));

const PROGRAMS = [
  "test/crash/crash.ts --mode kill --kills 2",
  "test/linear/linear.ts --seconds 1",
  "test/fuzz/fuzz.ts --seconds 2",
  "test/soak/churn.ts --queues 20",
];

describe("on several threads", { concurrency: 2 }, () => {
  for (const program of PROGRAMS) {
    test(program, async () => {
      const { stdout } = await promisify(execFile)(process.execPath, program.split(" "), {
        cwd: root,
        env: { ...process.env, QUERATOR_THREADS: "3" },
      });
      assert.match(stdout, /^\w+: ok, /);
    });
  }
});
