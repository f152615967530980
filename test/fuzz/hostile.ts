// `node test/fuzz/hostile.ts`: clients that do not behave - slow, mute, greedy, gone - against a
// real server, while a well-behaved client must go on as if nothing were the matter. --quick is what
// npm test runs.

import { Command, InvalidArgumentError, Option } from "commander";
import { freshSeed } from "../support/random.ts";
import { ATTACKS } from "./attacks.ts";
import { hostile } from "./hostile-run.ts";

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

const program = new Command("hostile")
  .description("Attack a real server while a well-behaved client works on")
  .option("--seconds <n>", "how long each attack goes on, at least", positive, 10)
  .option("--seed <n>", "repeats the choices of a run (default: another each time)", whole)
  .option(
    "--attack <names>",
    `only those with one of these in their names: ${Object.keys(ATTACKS).join("; ")}`,
  )
  .option("--quick", "the quick form: small numbers and small limits", false)
  .addOption(
    new Option("--storage <driver>", "what the server keeps its data in")
      .choices(["memory", "sqlite"])
      .default("memory"),
  )
  .addHelpText(
    "after",
    `
Examples:
  node test/fuzz/hostile.ts --seconds 20
  node test/fuzz/hostile.ts --attack "never read,large bodies"`,
  )
  .parse();
const given = program.opts<{
  seconds: number;
  seed?: number;
  attack?: string;
  quick: boolean;
  storage: "memory" | "sqlite";
}>();
const seed = given.seed ?? freshSeed();

const { failures, figures } = await hostile({
  seed,
  quick: given.quick,
  secondsEach: given.seconds,
  ...(given.attack === undefined ? {} : { only: given.attack.split(",") }),
  storage: given.storage,
  progress: (text) => process.stderr.write(`${text}\n`),
});
for (const failure of failures) process.stderr.write(`${failure}\n`);
const verdict = failures.length === 0 ? "ok" : `FAILED, ${failures.length} failures`;
process.stdout.write(`hostile: ${verdict}, seed ${seed}, ${figures}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;
