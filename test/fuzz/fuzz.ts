// `node test/fuzz/fuzz.ts`: sends whatever can be thought of to every endpoint of a real server, in
// both formats, and holds it to what it must be whatever comes: never broken, never stuck, always
// with a well-formed answer, and unchanged by what it refuses.

import { Command, InvalidArgumentError } from "commander";
import { freshSeed } from "../support/random.ts";
import { fuzz } from "./fuzz-run.ts";

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

const program = new Command("fuzz")
  .description("Fuzz every endpoint of a real server")
  .option("--seconds <n>", "for how long", positive, 60)
  .option("--seed <n>", "repeats the choices of a run (default: another each time)", whole)
  .option("--endpoint <path>", "fuzz only this one, such as queue.lease")
  .addHelpText(
    "after",
    `
Examples:
  node test/fuzz/fuzz.ts --seconds 600
  node test/fuzz/fuzz.ts --seed 7 --endpoint queue.retry`,
  )
  .parse();
const given = program.opts<{ seconds: number; seed?: number; endpoint?: string }>();
const seed = given.seed ?? freshSeed();

const { failures, figures } = await fuzz({
  seed,
  seconds: given.seconds,
  ...(given.endpoint === undefined ? {} : { endpoint: given.endpoint }),
  progress: (text) => process.stderr.write(`${text}\n`),
});
for (const failure of failures) process.stderr.write(`\n${failure}\n`);
const verdict = failures.length === 0 ? "ok" : `FAILED, ${failures.length} findings`;
process.stdout.write(`fuzz: ${verdict}, seed ${seed}, ${figures}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;
