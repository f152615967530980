// `node test/soak/churn.ts`: a thousand queues made, used and deleted leave nothing behind, neither
// in memory nor in the file, and their names can be used again. The server is the real one, on SQLite
// in a temporary directory.

import { Command } from "commander";
import { count, positive, seedOption } from "../support/options.ts";
import { progress, runProgram } from "../support/program.ts";
import { churn } from "./churn-run.ts";

const options = new Command("churn")
  .description("Make, use and delete very many queues on a real server")
  .option("--queues <n>", "how many, each living twice", count, 1_000)
  .option("--seconds <n>", "begin no queue after so long", positive, 300)
  .addOption(seedOption())
  .addHelpText(
    "after",
    `
Examples:
  node test/soak/churn.ts
  node test/soak/churn.ts --queues 20000 --seconds 600`,
  )
  .parse()
  .opts<{ queues: number; seconds: number; seed: number }>();

await runProgram("churn", async () => {
  const { failures, figures } = await churn({ ...options, progress });
  return { failures, figures: `seed ${options.seed}, ${figures}` };
});
