// `node test/fuzz/hostile.ts`: clients that do not behave - slow, mute, greedy, gone - against a
// real server, while a well-behaved client must go on as if nothing were the matter. --quick is what
// npm test runs.

import { Command } from "commander";
import { positive, seedOption, storageOption } from "../support/options.ts";
import { progress, runProgram } from "../support/program.ts";
import type { StorageKind } from "../support/server-process.ts";
import { ATTACKS } from "./attacks.ts";
import { hostile } from "./hostile-run.ts";

const options = new Command("hostile")
  .description("Attack a real server while a well-behaved client works on")
  .option("--seconds <n>", "how long each attack goes on, at least", positive, 10)
  .addOption(seedOption())
  .option(
    "--attack <names>",
    `only those with one of these in their names: ${Object.keys(ATTACKS).join("; ")}`,
  )
  .option("--quick", "the quick form: small numbers and small limits", false)
  .option("--keys", "a server that asks for keys", false)
  .addOption(storageOption("memory"))
  .addHelpText(
    "after",
    `
Examples:
  node test/fuzz/hostile.ts --seconds 20
  node test/fuzz/hostile.ts --attack "never read,large bodies"`,
  )
  .parse()
  .opts<{
    seconds: number;
    seed: number;
    attack?: string;
    quick: boolean;
    keys: boolean;
    storage: StorageKind;
  }>();

await runProgram("hostile", async () => {
  const { seconds: secondsEach, attack, keys: asksForKeys, ...rest } = options;
  const only = attack === undefined ? {} : { only: attack.split(",") };
  const { failures, figures } = await hostile({
    ...rest,
    ...only,
    secondsEach,
    asksForKeys,
    progress,
  });
  return { failures, figures: `seed ${options.seed}, ${figures}` };
});
