// Shows what happens, as it happens, until it is ended. A server that goes away is waited for, and what was missed is
// said.

import type { ServerEvent } from "@querator/client";
import type { Command } from "commander";
import { printable } from "../printable.ts";
import { usage } from "./failure.ts";
import { jsonText } from "./output.ts";
import { type Session, withSession } from "./session.ts";

interface EventsOptions {
  readonly types?: string;
  readonly item?: string;
  readonly after?: string;
}

export function addEventsCommand(program: Command): void {
  program
    .command("events [queue...]")
    .description("show what happens to items and queues, as it happens")
    .option("--types <types>", "only these, with commas in between: produced, completed, dead, ...")
    .option("--item <id>", "only what becomes of this item")
    .option("--after <cursor>", "go on behind the event that has this cursor")
    .addHelpText(
      "after",
      `
It begins with what happens next, and goes on until Ctrl-C. What could not be told, because the server
has begun anew or is not waited for, is shown as an event 'gap'.

Examples:
  querator events jobs --types completed,dead
  querator events -o ndjson | jq -r 'select(.type == "dead") | .id'`,
    )
    .action(withSession(showEvents));
}

async function showEvents(
  { client, out, signal }: Session,
  queues: readonly string[],
  { types, item, after }: EventsOptions,
): Promise<void> {
  if (out.format === "json") throw usage("events writes a table or NDJSON");
  const events = client.events({ queues, types: types?.split(","), item, after, signal });
  for await (const event of events) {
    const { data, cursor } = event;
    await out.write(
      out.format === "table" ? `${lineOf(event)}\n` : jsonText({ ...data, cursor }, "ndjson"),
    );
  }
}

function lineOf({ time, type, queueName, namespace, id, attempts, reason }: ServerEvent): string {
  const queue = namespace === "" ? queueName : `${namespace}/${queueName}`;
  const parts = [
    (time?.toISOString() ?? "").padEnd(24),
    type.padEnd(12),
    printable(queue),
    id,
    id === "" ? "" : `attempt ${attempts}`,
    reason,
  ];
  return parts.filter((part) => part !== "").join("  ");
}
