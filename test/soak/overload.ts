// `node test/soak/overload.ts`: more load than the server can carry, on many queues, for a while.
// Memory stays bounded, what is too much is refused, what was accepted is done exactly once, and a
// quiet queue beside the flood stays usable.

import { Command, InvalidArgumentError, Option } from "commander";
import { freshSeed } from "../support/random.ts";
import { overload } from "./overload-run.ts";

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

const program = new Command("overload")
  .description("Give a real server more than it can carry, and see that it stays sound")
  .option("--seconds <n>", "how long the flood lasts", positive, 120)
  .option("--seed <n>", "repeats the choices of a run (default: another each time)", whole)
  .option("--queues <n>", "how many queues are flooded", whole, 30)
  .addOption(
    new Option("--storage <driver>", "what the server keeps its data in")
      .choices(["memory", "sqlite"])
      .default("sqlite"),
  )
  .addHelpText(
    "after",
    `
Examples:
  node test/soak/overload.ts --seconds 600 --queues 60
  node test/soak/overload.ts --seconds 30 --storage memory`,
  )
  .parse();
const given = program.opts<{
  seconds: number;
  seed?: number;
  queues: number;
  storage: "memory" | "sqlite";
}>();
const seed = given.seed ?? freshSeed();

const { failures, figures } = await overload({
  ...given,
  seed,
  aloneMs: 5_000,
  progress: (text) => process.stderr.write(`${text}\n`),
});
for (const failure of failures) process.stderr.write(`${failure}\n`);
const verdict = failures.length === 0 ? "ok" : `FAILED, ${failures.length} failures`;
process.stdout.write(`overload: ${verdict}, seed ${seed}, ${figures}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;
