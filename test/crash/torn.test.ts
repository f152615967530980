// The quick form of torn.ts: a few damaged directories of each sort.

import assert from "node:assert/strict";
import { test } from "node:test";
import { freshSeed, Random } from "../support/random.ts";
import { temporaryDirectory } from "../support/server.ts";
import { DAMAGES } from "./damage.ts";
import { type History, makeHistory } from "./history.ts";
import { tornRound } from "./torn-round.ts";

const seed = freshSeed();

// What is damaged here; torn.ts goes through all kinds.
const LOG = ["wal-cut", "wal-page-other"];
const FILE = ["db-cut-at-page", "db-flip"];

async function damaged(history: History, names: readonly string[]): Promise<void> {
  const random = new Random(seed + 1);
  const kinds = DAMAGES.filter(({ name }) => names.includes(name));
  const rounds = await Promise.all(kinds.map((damage) => tornRound(history, damage, random)));
  const wrong = rounds.filter(({ outcome }) => outcome === "WRONG");
  assert.deepEqual(wrong, [], `node test/crash/torn.ts --seed ${seed}`);
}

test("a server on damaged files serves what was committed, or refuses to start", async (t) => {
  const directory = temporaryDirectory(t);
  const history = await makeHistory({ directory, random: new Random(seed), steps: 40 });
  await t.test("after damage to the write-ahead log", () => damaged(history, LOG));
  await t.test("after damage to the main file", () => damaged(history, FILE));
});
