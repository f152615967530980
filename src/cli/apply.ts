// queues apply: the queues of a file are made, or changed to what the file says, and what that is can be seen
// before it is done.

import { basename } from "node:path";
import type { QueueDiff, QueueSettings } from "@querator/client";
import type { Command } from "commander";
import type { NamedQueue } from "../config/config.ts";
import { printable } from "../printable.ts";
import { usage } from "./failure.ts";
import { contentOf } from "./lines.ts";
import { jsonText, type Output, snakeCase } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { plural } from "./text.ts";

const SIGNS = { created: "+", updated: "~", unchanged: "=" } as const;
const COLOURS = { created: "green", updated: "yellow", unchanged: "dim" } as const;

export function addApplyCommand(program: Command): void {
  program
    .command("queues")
    .description("work on many queues at once")
    .command("apply <file>")
    .description("make the queues of a file, and change those that are there; - for stdin")
    .option("--dry-run", "only show what would be done")
    .addHelpText(
      "after",
      `
The file is YAML with the part 'queues:' of the server's configuration file. All of it is done, or
nothing. Settings that the file does not name stay, and so do queues that it does not name.

Example:
  querator queues apply queues.yaml --dry-run`,
    )
    .action(withSession(apply));
}

async function apply(
  { client, out, signal }: Session,
  file: string,
  { dryRun = false }: { readonly dryRun?: boolean },
): Promise<void> {
  const text = (await contentOf(file, signal)).toString();
  // Loaded here, for the other commands start sooner without it.
  const { readQueues } = await import("../config/config.ts");
  const queues = readQueues(text, file === "-" ? "stdin" : basename(file)).map(settingsOf);
  if (queues.length === 0) throw usage(`'${file}' has no queues`, "They stand under 'queues:'");
  const diffs = await client.queues.apply(queues, { dryRun, signal });
  if (out.format === "table") await out.write(diffs.map((diff) => textOf(diff, out)).join(""));
  else if (out.format === "json") {
    await out.write(jsonText({ queues: snakeCase(diffs), dry_run: dryRun }, "json"));
  } else for (const diff of diffs) await out.write(jsonText(snakeCase(diff), "ndjson"));
  const count = (action: QueueDiff["action"]): number =>
    diffs.filter((diff) => diff.action === action).length;
  const told = `${count("created")} created, ${count("updated")} updated, ${count("unchanged")} unchanged`;
  out.message(
    dryRun
      ? `Nothing was done; of ${plural(diffs.length, "queue")} there would be ${told}`
      : `Successfully applied ${plural(diffs.length, "queue")}: ${told}`,
  );
}

// As the client takes them, which has a policy in one.
function settingsOf({ name: queueName, named }: NamedQueue): QueueSettings {
  const { retryDelay: delay, retryFactor: factor, retryMaxDelay: maxDelay, ...others } = named;
  const { retryJitter: jitter, ...rest } = others;
  const retry = { delay, factor, maxDelay, jitter };
  const hasRetry = Object.values(retry).some((value) => value !== undefined);
  return { queueName, ...rest, ...(hasRetry && { retry }) } as QueueSettings;
}

// A line for the queue, and one for each setting that changes.
function textOf({ queueName, action, changes }: QueueDiff, out: Output): string {
  const lines = [out.style(COLOURS[action], `${SIGNS[action]} ${printable(queueName)}  ${action}`)];
  for (const { setting, from = "", to = "" } of changes) {
    const values = action === "created" ? shown(to) : `${shown(from)} -> ${shown(to)}`;
    lines.push(`    ${setting.replaceAll(/[._]/g, "-")}: ${values}`);
  }
  return `${lines.join("\n")}\n`;
}

function shown(value: string): string {
  return value === "" ? "(none)" : printable(value);
}
