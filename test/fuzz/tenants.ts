// `node test/fuzz/tenants.ts`: fuzzes a server that asks for keys, as one tenant among others and as who has no key.

import { Command } from "commander";
import { positive, seedOption } from "../support/options.ts";
import { progress, runProgram } from "../support/program.ts";
import { fuzzTenants } from "./tenants-run.ts";

const options = new Command("tenants")
  .description("Fuzz a server with keys, and see that no tenant learns of or harms another")
  .option("--seconds <n>", "for how long", positive, 40)
  .addOption(seedOption())
  .parse()
  .opts<{ seconds: number; seed: number }>();

await runProgram("tenants", async () => {
  const { failures, figures } = await fuzzTenants({ ...options, progress });
  return { failures, figures: `seed ${options.seed}, ${figures}` };
});
