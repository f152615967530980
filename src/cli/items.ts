// The commands that look into storage: items list|delete|export|import and scheduled list.

import type { Command } from "commander";
import { byPartition, namedItems, partitionOption, whole, yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { exportItems } from "./export.ts";
import { CommandError, EXIT } from "./failure.ts";
import { importItems } from "./import.ts";
import { type Session, withSession } from "./session.ts";
import { ITEM_COLUMNS, itemsOf, partitionsOf, SCHEDULED_COLUMNS, type Table } from "./stored.ts";
import { plural } from "./text.ts";

// As many ids as one request may hold.
const IDS_MAX = 5_000;

export function addItemCommands(program: Command): void {
  const items = program
    .command("items")
    .description("look into storage, and change what lies there");
  listing(items, "items");

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
    .option(
      "--source-ids",
      "mark items by their old ids, so that running it again adds none that is still there",
    )
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
    .addOption(partitionOption())
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
Example:
  querator items list jobs -o ndjson > some && querator items delete jobs --file some`,
    )
    .action(withSession(remove));

  listing(program.command("scheduled").description("look at scheduled items"), "scheduled");
}

function listing(group: Command, table: Table): void {
  group
    .command("list <queue>")
    .description(table === "items" ? "list what waits or is leased" : "list what is scheduled")
    .option("--limit <n>", "items at most", whole(1), 100)
    .option("--pivot <id>", "the id to begin with")
    .addOption(partitionOption())
    .addHelpText(
      "after",
      `
Example:
  querator ${table} list jobs --limit 10 -o ndjson`,
    )
    .action(
      withSession((session: Session, queue: string, options: ListOptions) =>
        list(session, queue, table, options),
      ),
    );
}

interface ListOptions {
  readonly limit: number;
  readonly pivot?: string;
  readonly partition?: number;
}

async function list(
  session: Session,
  queue: string,
  table: Table,
  { limit, pivot, partition }: ListOptions,
): Promise<void> {
  const partitions = await partitionsOf(session, queue, partition);
  const columns = table === "items" ? ITEM_COLUMNS : SCHEDULED_COLUMNS;
  const rows = itemsOf(session, queue, { table, partitions, pivot, limit });
  const count = await session.out.list(rows, {
    name: "items",
    columns,
    json: (item) => item,
  });
  const more = count === limit ? "; there may be more, see --limit" : "";
  session.out.message(`Found ${count} item(s)${more}`);
}

async function remove(
  session: Session,
  queue: string,
  ids: string[],
  {
    file,
    partition,
    yes,
  }: { readonly file?: string; readonly partition?: number; readonly yes?: boolean },
): Promise<void> {
  const { client, out, signal } = session;
  const groups = byPartition(await namedItems(ids, file, signal), partition);
  const count = [...groups.values()].reduce((sum, some) => sum + some.length, 0);
  await confirm(session, `Delete ${plural(count, "item")} of queue '${queue}'?`, { yes });
  let deleted = 0;
  let isTold = true;
  for (const [number, some] of groups) {
    for (let i = 0; i < some.length; i += IDS_MAX) {
      const part = some.slice(i, i + IDS_MAX);
      const there = await client.items.delete(queue, part, { partition: number, signal });
      deleted += there ?? part.length;
      isTold &&= there !== undefined;
    }
  }
  if (!isTold) {
    // A server before /v2 passes over those that it does not know, and does not tell.
    out.message(`Deleted ${plural(count, "item")} of queue '${queue}', as far as they were there`);
    return;
  }
  const where = partition === undefined ? "in their partitions" : `in partition ${partition}`;
  if (deleted === 0) {
    const none = count === 1 ? "no such item" : `none of these ${count} items`;
    throw new CommandError(
      `nothing was deleted: queue '${queue}' has ${none}`,
      EXIT.notFound,
      `Ids change when an item comes back, and are looked for ${where}; see querator items list`,
    );
  }
  out.message(`Deleted ${plural(deleted, "item")} of queue '${queue}'`);
  if (deleted < count) out.message(`${plural(count - deleted, "id")} had no item ${where}`);
}
