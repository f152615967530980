// A short run of the simulation, the histories that have broken the server before, and that the
// simulation itself is what it says: the same commands make the same history.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { histories } from "./commands.ts";
import { PROMISES } from "./promises.ts";
import { REGRESSIONS } from "./regressions.ts";
import { runHistory, trySeed } from "./sim.ts";

describe("regressions", () => {
  for (const [name, commands] of Object.entries(REGRESSIONS)) {
    for (const storage of ["memory", "sqlite", "postgres"] as const) {
      test(`${name} (${storage})`, async () => {
        await runHistory(commands, storage);
      });
    }
  }
});

describe("promises", () => {
  for (const [name, commands] of Object.entries(PROMISES)) {
    test(name, async () => {
      await runHistory(commands, "memory");
    });
  }
});

test("the same commands make the same history", async () => {
  const [commands] = fc.sample(histories(150, true), { seed: 7, numRuns: 1 });
  const first = await runHistory(commands!, "memory");
  const second = await runHistory(commands!, "memory");
  const third = await runHistory(commands!, "sqlite");
  assert.ok(first.history.length > 100);
  assert.deepEqual(second.history, first.history);
  assert.deepEqual(third.history, first.history);
});

for (const [storage, stepsMin, crashesMin] of [
  ["memory", 1_000, 6],
  ["sqlite", 1_000, 6],
  ["postgres", 500, 3],
] as const) {
  test(`random histories agree with the model (${storage})`, async () => {
    let steps = 0;
    let crashes = 0;
    for (let seed = 1; steps < stepsMin; seed++) {
      const broken = await trySeed(
        { seed, length: 100, trouble: seed % 3 !== 0, storage },
        (figures) => {
          steps += figures.commands;
          crashes += figures.crashes;
        },
      );
      assert.equal(broken, undefined, `${broken?.history.join("\n")}\n${broken?.error}`);
    }
    assert.ok(crashes > crashesMin);
  });
}
