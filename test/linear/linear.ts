// The program: `node test/linear/linear.ts --seconds 60`. Checks that a real server's queues are
// linearizable under many clients; prints how it goes, and one line at the end.

import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import type { StorageKind } from "../support/server-process.ts";
import { check } from "./checker.ts";
import { fromText } from "./history.ts";
import { explain } from "./report.ts";
import { run } from "./run.ts";

function positive(text: string): number {
  const number = Number(text);
  if (number > 0) return number;
  throw new InvalidArgumentError("use a number above 0");
}

const program = new Command("linear")
  .description("Check that queues are linearizable: every reply fits one order of all operations")
  .option("--seconds <n>", "how long to go on", positive, 30)
  .option("--seed <n>", "what fixes the choices of the clients", Number, Date.now() % 1_000_000)
  .option("--clients <n>", "clients of each queue", positive, 10)
  .option("--queues <n>", "queues at a time", positive, 4)
  .option(
    "--round-ms <n>",
    "how long clients act before their histories are checked",
    positive,
    1_500,
  )
  .addOption(
    new Option("--storage <kind>", "what the server keeps its data in")
      .choices(["memory", "sqlite"])
      .default("sqlite"),
  )
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

if (options.replay === undefined) await runRounds();
else replay(options.replay);

async function runRounds(): Promise<void> {
  const progress = (text: string): void => void process.stderr.write(`${text}\n`);
  const result = await run({ ...options, url: options.url, progress });
  if (result.failure !== undefined) process.stderr.write(`${result.failure}\n`);
  summarise(
    result.failure === undefined,
    `${result.rounds} rounds, ${result.queues} queues, ${result.operations} operations checked, ` +
      `${result.unanswered} without a reply, ${result.expired} leases expired, ` +
      `${result.states} states explored, seed ${options.seed}`,
  );
}

function replay(file: string): void {
  const history = fromText(readFileSync(file, "utf8"));
  const { kind, states } = check(history);
  if (kind === "wrong") process.stderr.write(`${explain(history)}\n`);
  summarise(kind === "right", `${kind}, ${history.operations.length} operations, ${states} states`);
}

function summarise(ok: boolean, figures: string): void {
  process.stdout.write(`linear: ${ok ? "ok" : "FAILED"}, ${figures}\n`);
  process.exitCode = ok ? 0 : 1;
}
