// The program: `node test/linear/linear.ts --seconds 60`. Checks that a real server's queues are
// linearizable under many clients; prints how it goes, and one line at the end.

import { readFileSync } from "node:fs";
import { Command } from "commander";
import { count, positive, seedOption, storageOption } from "../support/options.ts";
import { type ProofResult, progress, runProgram } from "../support/program.ts";
import type { StorageKind } from "../support/server-process.ts";
import { check } from "./checker.ts";
import { fromText } from "./history.ts";
import { explain } from "./report.ts";
import { run } from "./run.ts";

const program = new Command("linear")
  .description("Check that queues are linearizable: every reply fits one order of all operations")
  .option("--seconds <n>", "how long to go on", positive, 30)
  .addOption(seedOption())
  .option("--clients <n>", "clients of each queue", count, 10)
  .option("--queues <n>", "queues at a time", count, 4)
  .option(
    "--round-ms <n>",
    "how long clients act before their histories are checked",
    positive,
    1_500,
  )
  .addOption(storageOption("sqlite"))
  .option("--url <url>", "test a server that is running already")
  .option("--replay <file>", "check a history that was kept, and do nothing else")
  .parse();
const options = program.opts<{
  seconds: number;
  seed: number;
  clients: number;
  queues: number;
  roundMs: number;
  storage: StorageKind;
  url?: string;
  replay?: string;
}>();

await runProgram("linear", async () =>
  options.replay === undefined ? runRounds() : replay(options.replay),
);

async function runRounds(): Promise<ProofResult> {
  const result = await run({ ...options, progress });
  return {
    failures: result.failure === undefined ? [] : [result.failure],
    figures:
      `${result.rounds} rounds, ${result.queues} queues, ${result.operations} operations checked, ` +
      `${result.unanswered} without a reply, ${result.expired} leases expired, ` +
      `${result.states} states explored, seed ${options.seed}`,
  };
}

function replay(file: string): ProofResult {
  const history = fromText(readFileSync(file, "utf8"));
  const { kind, states } = check(history);
  const why = kind === "wrong" ? explain(history) : kind;
  return {
    failures: kind === "right" ? [] : [why],
    figures: `${history.operations.length} operations, ${states} states`,
  };
}
