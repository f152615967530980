// `node test/crash/torn.ts`: data files that were cut off, overwritten, exchanged or removed. The
// server serves what was committed, or refuses to start with a message that helps, or answers 454 for
// what it cannot read. It never serves wrong data.

import { Command, InvalidArgumentError } from "commander";
import { freshSeed, Random } from "../support/random.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { DAMAGES } from "./damage.ts";
import { makeHistory } from "./history.ts";
import { type TornOutcome, type TornRound, tornRound } from "./torn-round.ts";

// Rounds that one history serves, and its commits.
const ROUNDS_OF_A_HISTORY = 100;
const STEPS = 250;
const OUTCOMES: readonly TornOutcome[] = ["whole", "older", "partly", "refused", "WRONG"];

function whole(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0) return number;
  throw new InvalidArgumentError("use a whole number");
}

const program = new Command("torn")
  .description("Show what a server does with data files that are damaged")
  .option("--rounds <n>", "how often something is damaged", whole, 300)
  .option("--seconds <n>", "go on for so long, in place of a number of rounds", whole)
  .option("--only <kinds>", "kinds of damage, by the beginning of their names, with commas", "")
  .option("--seed <n>", "fixes the damage", whole, freshSeed())
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

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const random = new Random(seed);
const results: TornRound[] = [];
let trouble = "";
const goesOn = (): boolean =>
  end === undefined ? results.length < rounds : performance.now() < end;
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
      process.stderr.write(`round ${results.length}: ${what}\n  ${result.details.join("\n  ")}\n`);
    }
  } catch (error) {
    trouble = (error as Error).stack ?? String(error);
    process.stderr.write(`${trouble}\n`);
  } finally {
    removeScratch(directory);
  }
  process.stderr.write(`${results.length} rounds\n`);
}

const count = (outcome: TornOutcome, damage?: string): number =>
  results.filter((r) => r.outcome === outcome && (damage ?? r.damage) === r.damage).length;
for (const { name } of kinds) {
  const counts = OUTCOMES.map((outcome) => `${outcome} ${count(outcome, name)}`);
  process.stderr.write(`${name.padEnd(18)} ${counts.join(", ")}\n`);
}
const refusals = new Set(
  results
    .filter(({ outcome }) => outcome === "refused")
    .map(({ details }) => details[0]!.replaceAll(/'[^']*\//g, "'")),
);
for (const refusal of refusals) process.stderr.write(`${refusal}\n`);
const isOk = results.length > 0 && count("WRONG") === 0 && trouble === "";
process.stdout.write(
  `torn: ${isOk ? "ok" : "FAILED"}, seed ${seed}; ${results.length} damaged directories: ${count("whole")} lost nothing, ${count("older")} went back to an earlier commit, ${count("partly")} served in part, ${count("refused")} refused, ${count("WRONG")} wrong\n`,
);
process.exit(isOk ? 0 : 1);
