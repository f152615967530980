// `node test/fuzz/fuzz.ts`: sends whatever can be thought of to every endpoint of a real server, in
// both formats, and holds it to what it must be whatever comes: never broken, never stuck, always
// with a well-formed answer, and unchanged by what it refuses.

import { Command } from "commander";
import { positive, seedOption } from "../support/options.ts";
import { progress, runProgram } from "../support/program.ts";
import { fuzz } from "./fuzz-run.ts";

const options = new Command("fuzz")
  .description("Fuzz every endpoint of a real server")
  .option("--seconds <n>", "for how long", positive, 60)
  .addOption(seedOption())
  .option("--endpoint <path>", "fuzz only this one, such as queue.lease")
  .addHelpText(
    "after",
    `
Examples:
  node test/fuzz/fuzz.ts --seconds 600
  node test/fuzz/fuzz.ts --seed 7 --endpoint queue.retry`,
  )
  .parse()
  .opts<{ seconds: number; seed: number; endpoint?: string }>();

await runProgram("fuzz", async () => {
  const { failures, figures } = await fuzz({ ...options, progress });
  return { failures, figures: `seed ${options.seed}, ${figures}` };
});
