// The commands that look into storage: items list|delete|export|import.

import { type Command, Option } from "commander";
import { duration, namesOf, partitionOption, whole, yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { exportItems } from "./export.ts";
import { CommandError, EXIT } from "./failure.ts";
import { importItems } from "./import.ts";
import { addItemVerbs } from "./item.ts";
import { type Session, withSession } from "./session.ts";
import { columnsOf, itemsOf, STATES, type State } from "./stored.ts";
import { plural } from "./text.ts";

// What a terminal is shown, if nothing else is said.
const LIMIT = 100;
// As many ids as one request may hold.
const IDS_MAX = 5_000;

export function addItemCommands(program: Command): void {
  const items = program
    .command("items")
    .alias("item")
    .description("look into storage, and change what lies there");
  addItemVerbs(items);
  items
    .command("list <queue>")
    .description("list what waits or is leased, or what is in another state")
    .addOption(new Option("--state <state>", "only those").choices(STATES))
    .option("--kind <kind>", "only those of this kind")
    .option("--reference <reference>", "only those with this reference")
    .option("--error-type <type>", "only those whose last attempt failed so")
    .option("--older-than <time>", "only those that were produced so long ago, or longer", duration)
    .option("--newer-than <time>", "only those that were produced so long ago, or less", duration)
    .addOption(new Option("--order <order>", "of each partition").choices(["oldest", "newest"]))
    .option("--limit <n>", "items at most; in a pipe all, on a terminal 100", whole(1))
    .option("--cursor <cursor>", "where an earlier list ended, as it said")
    .addOption(partitionOption())
    .addHelpText(
      "after",
      `
Examples:
  querator items list jobs --limit 10 -o ndjson
  querator items list jobs --state scheduled
  querator items list jobs --order newest --kind mail --older-than 1h`,
    )
    .action(withSession(list));

  items
    .command("export <queue>")
    .description("write all items as NDJSON, for items import")
    .addOption(partitionOption())
    .addHelpText(
      "after",
      `
Scheduled items are among them, with their time. Of a queue that is in use it is no exact picture:
stop who works on it first.

Example:
  querator items export jobs > jobs.ndjson`,
    )
    .action(withSession(exportItems));

  items
    .command("import <queue>")
    .description("add items as items export wrote them")
    .option("--file <path>", "the file to read; stdin if it is left out", "-")
    .addOption(partitionOption())
    .option("--release", "what is leased waits in the new queue")
    .option("--due", "what is scheduled is due at once")
    .option("--source-ids", "mark items by their ids as their source as well")
    .addHelpText(
      "after",
      `
Every item goes to the partition that it came from, unless --partition says where all go.

Examples:
  querator items import jobs --file jobs.ndjson
  querator items export jobs | querator items import jobs --endpoint http://other:2319`,
    )
    .action(withSession(importItems));

  items
    .command("delete <queue> [ids...]")
    .description(
      "delete items whatever their state; ids that are unknown are passed over, if one is not",
    )
    .option("--file <path>", "ids, one a line, or NDJSON of items list; - for stdin")
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
Example:
  querator items list jobs -o ndjson > some && querator items delete jobs --file some`,
    )
    .action(withSession(remove));
}

interface ListOptions {
  readonly state?: State;
  readonly kind?: string;
  readonly reference?: string;
  readonly errorType?: string;
  readonly olderThan?: string;
  readonly newerThan?: string;
  readonly order?: string;
  readonly limit?: number;
  readonly cursor?: string;
  readonly partition?: number;
}

async function list(session: Session, queue: string, options: ListOptions): Promise<void> {
  const columns = columnsOf(options.state);
  let next = "";
  const onPage = (cursor: string): void => {
    next = cursor;
  };
  const { kind, reference, errorType, olderThan, newerThan, order } = options;
  const filters = {
    kind,
    reference,
    error_type: errorType,
    older_than: olderThan,
    newer_than: newerThan,
    order,
  };
  // Who reads a pipe gets all; what is cut there nobody notices.
  const { limit = session.out.isTerminal ? LIMIT : undefined } = options;
  const which = { ...options, filters, limit, onPage };
  const count = await session.out.list(itemsOf(session, queue, which), {
    name: "items",
    columns,
    json: (item) => item,
  });
  const more = next === "" ? "" : `; go on with --cursor '${next}', or see --limit`;
  session.out.message(`Found ${count} item(s)${more}`);
}

async function remove(
  session: Session,
  queue: string,
  named: string[],
  { file, yes }: { readonly file?: string; readonly yes?: boolean },
): Promise<void> {
  const { client, out, signal } = session;
  const ids = await namesOf(named, { file, signal, member: "id" });
  const { length: count } = ids;
  await confirm(session, `Delete ${plural(count, "item")} of queue '${queue}'?`, { yes });
  let deleted = 0;
  let isTold = true;
  for (let i = 0; i < count; i += IDS_MAX) {
    const there = await client.items.delete(queue, ids.slice(i, i + IDS_MAX), { signal });
    deleted += there ?? 0;
    isTold &&= there !== undefined;
  }
  if (!isTold) {
    // A server that knows /v1 only passes over those that it does not know, and does not tell.
    out.message(`Deleted ${plural(count, "item")} of queue '${queue}', as far as they were there`);
    return;
  }
  if (deleted === 0) {
    const none = count === 1 ? "no such item" : `none of these ${count} items`;
    throw new CommandError(
      `nothing was deleted: queue '${queue}' has ${none}`,
      EXIT.notFound,
      "querator items list shows those that there are",
    );
  }
  out.message(`Deleted ${plural(deleted, "item")} of queue '${queue}'`);
  if (deleted < count) out.message(`${plural(count - deleted, "id")} had no item there`);
}
