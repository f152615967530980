// `node test/soak/overload.ts`: more load than the server can carry, on many queues, for a while.
// Memory stays bounded, what is too much is refused, what was accepted is done exactly once, and a
// quiet queue beside the flood stays usable.

import { Command } from "commander";
import { count, positive, seedOption, storageOption } from "../support/options.ts";
import { progress, runProgram } from "../support/program.ts";
import type { StorageKind } from "../support/server-process.ts";
import { overload } from "./overload-run.ts";

const options = new Command("overload")
  .description("Give a real server more than it can carry, and see that it stays sound")
  .option("--seconds <n>", "how long the flood lasts", positive, 120)
  .addOption(seedOption())
  .option("--queues <n>", "how many queues are flooded", count, 30)
  .addOption(storageOption("sqlite"))
  .addHelpText(
    "after",
    `
Examples:
  node test/soak/overload.ts --seconds 600 --queues 60
  node test/soak/overload.ts --seconds 30 --storage memory`,
  )
  .parse()
  .opts<{ seconds: number; seed: number; queues: number; storage: StorageKind }>();

await runProgram("overload", async () => {
  const { failures, figures } = await overload({ ...options, aloneMs: 5_000, progress });
  return { failures, figures: `seed ${options.seed}, ${figures}` };
});
