// work: a worker whose handler is a command. It gets the payload on stdin and the rest in its environment; how
// it ends says what becomes of the item. The worker extends leases for as long as commands run.

import { spawn } from "node:child_process";
import { once } from "node:events";
import type { WorkItem } from "@querator/client";
import type { Command } from "commander";
import { printable } from "../printable.ts";
import { type LeaseChoice, leaseOptions, milliseconds, whole } from "./arguments.ts";
import { usage } from "./failure.ts";
import { type Session, withSession } from "./session.ts";

interface WorkOptions extends LeaseChoice {
  readonly concurrency: number;
  readonly extend: boolean;
  readonly extendFor?: number;
  readonly extendMax?: number;
}

export function addWorkCommand(program: Command): void {
  leaseOptions(
    program
      .command("work <queue> [command...]")
      .description("run a command for each item: 0 completes it, all else gives it back"),
  )
    .option("--concurrency <n>", "commands at the same time", whole(1, 1_000), 1)
    .option("--extend-for <time>", "how long a lease lasts each time it is extended", milliseconds)
    .option("--extend-max <time>", "how long an item is kept since it was leased", milliseconds)
    .option("--no-extend", "a command has to end before the lease that its queue gives")
    .addHelpText(
      "after",
      `
The payload comes on stdin; QUERATOR_ITEM_ID, _LEASE_ID, _FENCE, _ATTEMPTS, _KIND, _REFERENCE and
_ENCODING are set. A command is told to end when its lease has ended, or its item was cancelled.
What fails is tried again as the policy of its queue says, or after waits that grow if it has none.
Ctrl-C waits for the commands that run, and ends.

Examples:
  querator work jobs --concurrency 4 -- ./handle.sh --fast
  querator work jobs --kinds mail,sms --lease-timeout 5m -- ./send.sh`,
    )
    .action(withSession(work));
}

async function work(
  { client, out, signal }: Session,
  queue: string,
  command: readonly string[],
  options: WorkOptions,
): Promise<void> {
  if (command.length === 0) {
    throw usage("no command is given", "Such as: querator work jobs -- ./handle.sh");
  }
  // That there is no such queue is said at once.
  await client.stats(queue, { signal });
  const run = (item: WorkItem, { signal: end }: { readonly signal: AbortSignal }): Promise<void> =>
    runCommand(command, item, end);
  const { concurrency, kinds, leaseTimeout, extend, extendFor, extendMax } = options;
  const how = { concurrency, kinds, leaseTimeout, extend, extendFor, extendMax };
  const worker = client.worker(queue, run, how);
  const tell = (item: WorkItem | { readonly id: string }, text: string): void =>
    out.message(`${item.id}: ${printable(text)}`);
  worker.on("failed", ({ item, error }) => tell(item, (error as Error).message));
  worker.on("lost", ({ item }) => tell(item, "its lease had ended; it is done again"));
  worker.on("cancelled", ({ item }) => tell(item, "it was cancelled"));
  worker.on("dead", ({ item }) => tell(item, "it will not be tried again"));
  worker.on("error", ({ error }) => out.message(printable((error as Error).message)));
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  await worker.close();
  throw signal.reason;
}

/** Resolves if the command ends with 0, and rejects if it does not. */
async function runCommand(
  [program, ...args]: readonly string[],
  item: WorkItem,
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(program!, args, {
    stdio: ["pipe", "inherit", "inherit"],
    signal,
    killSignal: "SIGTERM",
    env: {
      ...process.env,
      QUERATOR_ITEM_ID: item.id,
      QUERATOR_LEASE_ID: item.leaseId,
      QUERATOR_FENCE: String(item.fence),
      QUERATOR_ATTEMPTS: String(item.attempts),
      QUERATOR_KIND: item.kind,
      QUERATOR_REFERENCE: item.reference,
      QUERATOR_ENCODING: item.encoding,
    },
  });
  child.stdin.on("error", () => undefined); // it need not read it
  child.stdin.end(item.payload);
  const [code, name] = (await once(child, "close")) as [number | null, string | null];
  if (code === 0) return;
  throw new Error(
    code === null ? `the command was ended by ${name}` : `the command ended with ${code}`,
  );
}
