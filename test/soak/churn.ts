// `node test/soak/churn.ts`: a thousand queues made, used and deleted leave nothing behind, neither
// in memory nor in the file, and their names can be used again. The server is the real one, on SQLite
// in a temporary directory.

import { Command, InvalidArgumentError } from "commander";
import { freshSeed } from "../support/random.ts";
import { churn } from "./churn-run.ts";

function positive(text: string): number {
  const number = Number(text);
  if (number > 0) return number;
  throw new InvalidArgumentError("use a number above 0");
}

function whole(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0) return number;
  throw new InvalidArgumentError("use a whole number");
}

const program = new Command("churn")
  .description("Make, use and delete very many queues on a real server")
  .option("--queues <n>", "how many, each living twice", whole, 1_000)
  .option("--seconds <n>", "begin no queue after so long", positive, 300)
  .option("--seed <n>", "repeats the choices of a run (default: another each time)", whole)
  .addHelpText(
    "after",
    `
Examples:
  node test/soak/churn.ts
  node test/soak/churn.ts --queues 20000 --seconds 600`,
  )
  .parse();
const given = program.opts<{ queues: number; seconds: number; seed?: number }>();
const seed = given.seed ?? freshSeed();

const { failures, figures } = await churn({
  ...given,
  seed,
  progress: (text) => process.stderr.write(`${text}\n`),
});
for (const failure of failures) process.stderr.write(`${failure}\n`);
const verdict = failures.length === 0 ? "ok" : `FAILED, ${failures.length} failures`;
process.stdout.write(`churn: ${verdict}, seed ${seed}, ${figures}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;
