// `node test/crash/torn.ts`: data files that were cut off, overwritten, exchanged or removed. The
// server serves what was committed, or refuses to start with a message that helps, or answers 454 for
// what it cannot read. It never serves wrong data.

import { Command } from "commander";
import { count, positive, seedOption } from "../support/options.ts";
import { conclude, endOnSignals, progress } from "../support/program.ts";
import { Random } from "../support/random.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { DAMAGES } from "./damage.ts";
import { makeHistory } from "./history.ts";
import { type TornOutcome, type TornRound, tornRound } from "./torn-round.ts";

// Rounds that one history serves, and its commits.
const ROUNDS_OF_A_HISTORY = 100;
const STEPS = 250;
const OUTCOMES: readonly TornOutcome[] = ["whole", "older", "partly", "refused", "WRONG"];

const program = new Command("torn")
  .description("Show what a server does with data files that are damaged")
  .option("--rounds <n>", "how often something is damaged", count, 300)
  .option("--seconds <n>", "go on for so long, in place of a number of rounds", positive)
  .option("--only <kinds>", "kinds of damage, by the beginning of their names, with commas", "")
  .addOption(seedOption())
  .parse();
const { rounds, seconds, only, seed } = program.opts<{
  rounds: number;
  seconds?: number;
  only: string;
  seed: number;
}>();
const end = seconds === undefined ? undefined : performance.now() + seconds * 1_000;
const kinds = DAMAGES.filter(({ name }) => only.split(",").some((each) => name.startsWith(each)));
if (kinds.length === 0) program.error(`error: --only ${only}: there is no such damage`);

endOnSignals();

const random = new Random(seed);
const results: TornRound[] = [];
let trouble = "";
const goesOn = (): boolean =>
  end === undefined ? results.length < rounds : results.length === 0 || performance.now() < end; // making a history takes time as well
while (goesOn() && trouble === "") {
  const directory = makeScratch();
  try {
    const history = await makeHistory({ directory, random, steps: STEPS });
    for (let i = 0; i < ROUNDS_OF_A_HISTORY && goesOn(); i++) {
      const damage = kinds[results.length % kinds.length]!;
      const result = await tornRound(history, damage, random);
      results.push(result);
      if (result.outcome !== "WRONG") continue;
      const what = `${result.damage} (${result.done})`;
      progress(`round ${results.length}: ${what}\n  ${result.details.join("\n  ")}`);
    }
  } catch (error) {
    trouble = (error as Error).stack ?? String(error);
    progress(trouble);
  } finally {
    removeScratch(directory);
  }
  progress(`${results.length} rounds`);
}

const ended = (outcome: TornOutcome, damage?: string): number =>
  results.filter((r) => r.outcome === outcome && (damage ?? r.damage) === r.damage).length;
for (const { name } of kinds) {
  const counts = OUTCOMES.map((outcome) => `${outcome} ${ended(outcome, name)}`);
  progress(`${name.padEnd(18)} ${counts.join(", ")}`);
}
const refusals = new Set(
  results
    .filter(({ outcome }) => outcome === "refused")
    .map(({ details }) => details[0]!.replaceAll(/'[^']*\//g, "'")),
);
for (const refusal of refusals) progress(refusal);
const isOk = results.length > 0 && ended("WRONG") === 0 && trouble === "";
conclude(
  "torn",
  isOk,
  `seed ${seed}; ${results.length} damaged directories: ${ended("whole")} lost nothing, ` +
    `${ended("older")} went back to an earlier commit, ${ended("partly")} served in part, ` +
    `${ended("refused")} refused, ${ended("WRONG")} wrong`,
);
process.exit();
