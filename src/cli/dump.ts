// Shows what a server holds and does at this moment: for who looks for what is wrong.

import type { ServerDump } from "@querator/client";
import type { Command } from "commander";
import { printable } from "../printable.ts";
import { whole } from "./arguments.ts";
import { type Session, withSession } from "./session.ts";

interface DumpOptions {
  readonly limit: number;
}

const LIMIT_DEFAULT = 20;

export function addDumpCommand(program: Command): void {
  program
    .command("dump")
    .description("show what a server holds and does at this moment, in counts")
    .option("--limit <n>", "of how many queues at most", whole(1), LIMIT_DEFAULT)
    .addHelpText(
      "after",
      `
Of the server, its threads and its queues; those that something is wrong with come first, and then those
that hold most. Nothing of items is shown. A server that does not answer any more writes the same to
its log when it gets SIGUSR2.

Examples:
  querator dump
  querator dump --limit 100 -o json > dump.json`,
    )
    .action(withSession(showDump));
}

async function showDump({ client, out, signal }: Session, { limit }: DumpOptions): Promise<void> {
  const { server, threads, queues, queuesLeftOut } = await client.dump({ limit, signal });
  if (out.format !== "table") {
    await out.record({ server, threads, queues, queues_left_out: queuesLeftOut }, []);
    return;
  }
  const lines = [
    lineOf("server", server),
    ...threads.flatMap((thread) => block("thread", thread, ["commits"])),
    ...queues.flatMap((queue) => block("queue", queue, ["partitions"])),
  ];
  await out.write(`${lines.join("\n")}\n`);
  if (queuesLeftOut === 0) return;
  const [are, queue] = queuesLeftOut === 1 ? ["is", "queue"] : ["are", "queues"];
  out.message(`There ${are} ${queuesLeftOut} more ${queue}`);
}

// A line, and one below it for each of what it has several of.
function block(
  name: string,
  whole: ServerDump["server"],
  lists: readonly ("commits" | "partitions")[],
): string[] {
  const rest = Object.entries(whole).filter(([key]) => !(lists as readonly string[]).includes(key));
  const below = lists.flatMap((key) =>
    ((whole[key] ?? []) as readonly ServerDump["server"][]).map((each) =>
      lineOf(`  ${key === "commits" ? "commits" : "partition"}`, each),
    ),
  );
  return [lineOf(name, Object.fromEntries(rest)), ...below];
}

function lineOf(name: string, fields: ServerDump["server"]): string {
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${printable(String(value))}`);
  return `${name}${pairs.join("")}`;
}
