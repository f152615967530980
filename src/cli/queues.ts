// The commands for queues as a whole: create, list, info, update, delete.

import type { QueueChanges, QueueInfo } from "@querator/client";
import type { Command } from "commander";
import { duration, expiry, whole, yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { usage } from "./failure.ts";
import { type Listing, snakeCase } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { plural, time } from "./text.ts";

interface SettingsOptions {
  readonly leaseTimeout?: string;
  readonly expireTimeout?: string;
  readonly maxAttempts?: number;
  readonly deadQueue?: string;
  readonly reference?: string;
  readonly partitions?: number;
}

const LISTING: Listing<QueueInfo> = {
  name: "queues",
  json: snakeCase,
  columns: [
    { title: "NAME", value: ({ queueName }) => queueName },
    { title: "LEASE", value: ({ leaseTimeout }) => leaseTimeout },
    { title: "EXPIRE", value: ({ expireTimeout }) => expireTimeout },
    { title: "ATTEMPTS", value: ({ maxAttempts }) => bound(maxAttempts), isRight: true },
    { title: "PARTITIONS", value: (info) => String(info.requestedPartitions), isRight: true },
    { title: "DEAD QUEUE", value: ({ deadQueue }) => deadQueue },
    { title: "CREATED", value: ({ createdAt }) => time(createdAt) },
  ],
};

export function addQueueCommands(program: Command): void {
  settings(program.command("create <queue>").description("make a queue"))
    .addHelpText(
      "after",
      `
Without --lease-timeout a lease lasts 1m; without --expire-timeout an item stays until it is
completed, however long that takes.

Examples:
  querator create jobs
  querator create dead
  querator create jobs --lease-timeout 5m --max-attempts 10 --dead-queue dead`,
    )
    .action(withSession(create));

  program
    .command("list")
    .description("list queues by name")
    .option("--limit <n>", "queues at most", whole(1), 100)
    .addHelpText(
      "after",
      `
Example:
  querator list --limit 1000 -o ndjson`,
    )
    .action(withSession(list));

  program
    .command("info <queue>")
    .description("show the settings of a queue")
    .addHelpText(
      "after",
      `
Example:
  querator info jobs -o json`,
    )
    .action(withSession(info));

  settings(program.command("update <queue>").description("change the settings of a queue"))
    .option("--if-version <n>", "only if the queue has this version, as info shows it", whole(1))
    .addHelpText(
      "after",
      `
What is left out stays as it is. --dead-queue "" takes the dead queue away.

Example:
  querator update jobs --max-attempts 5`,
    )
    .action(withSession(update));

  program
    .command("delete <queue>")
    .description("delete a queue with its items")
    .option("--force", "also if it is the dead queue of another; does not ask")
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
Example:
  querator delete jobs --yes`,
    )
    .action(withSession(remove));
}

function settings(command: Command): Command {
  return command
    .option("--lease-timeout <time>", "how long a lease lasts", duration)
    .option("--expire-timeout <time>", "how long an item may stay in the queue, or never", expiry)
    .option("--max-attempts <n>", "leases of an item before it is dead; 0 for no bound", whole(0))
    .option("--dead-queue <queue>", "where dead items go")
    .option("--reference <text>", "what you know the queue by")
    .option("--partitions <n>", "how many partitions it has", whole(1));
}

async function create(
  { client, out, signal }: Session,
  queueName: string,
  options: SettingsOptions,
): Promise<void> {
  const { leaseTimeout = "1m0s", expireTimeout = "never", partitions = 1 } = options;
  const { maxAttempts, deadQueue, reference } = options;
  await client.queues.create(
    {
      queueName,
      leaseTimeout,
      expireTimeout,
      requestedPartitions: partitions,
      maxAttempts,
      deadQueue,
      reference,
    },
    { signal },
  );
  out.message(
    `Successfully created queue '${queueName}' (partitions: ${partitions}, ` +
      `lease-timeout: ${leaseTimeout}, expire-timeout: ${expireTimeout})`,
  );
}

async function list(
  { client, out, signal }: Session,
  { limit }: { readonly limit: number },
): Promise<void> {
  const queues = client.queues.list({ pageSize: Math.min(limit, 1_000), signal });
  const count = await out.list(take(queues, limit), LISTING);
  const more = count === limit ? "; there may be more, see --limit" : "";
  out.message(`Found ${count} queue(s)${more}`);
}

// The first of what is listed; no page is fetched beyond them.
async function* take<T>(
  items: AsyncGenerator<T, void, undefined>,
  limit: number,
): AsyncGenerator<T, void, undefined> {
  let taken = 0;
  for await (const item of items) {
    yield item;
    if (++taken === limit) return;
  }
}

async function info({ client, out, signal }: Session, queueName: string): Promise<void> {
  const queue = await client.queues.info(queueName, { signal });
  await out.record(snakeCase(queue), [
    ["name", queue.queueName],
    ["lease timeout", queue.leaseTimeout],
    ["expire timeout", queue.expireTimeout],
    ["max attempts", bound(queue.maxAttempts)],
    ["dead queue", queue.deadQueue || "-"],
    ["partitions", String(queue.requestedPartitions)],
    ["reference", queue.reference || "-"],
    ["created", time(queue.createdAt)],
    ["updated", time(queue.updatedAt)],
    ["version", String(queue.version)],
  ]);
}

function bound(maxAttempts: number): string {
  return maxAttempts === 0 ? "-" : String(maxAttempts);
}

async function update(
  { client, out, signal }: Session,
  queueName: string,
  { ifVersion, ...options }: SettingsOptions & { readonly ifVersion?: number },
): Promise<void> {
  const { leaseTimeout, expireTimeout, maxAttempts, deadQueue, reference, partitions } = options;
  if (Object.keys(options).length === 0) {
    throw usage("nothing to change is given", "See 'querator update --help'");
  }
  const changes: QueueChanges = {
    leaseTimeout,
    expireTimeout,
    maxAttempts,
    deadQueue,
    reference,
    requestedPartitions: partitions,
  };
  await client.queues.update(queueName, changes, { ifVersion, signal });
  out.message(`Successfully updated queue '${queueName}'`);
}

async function remove(
  session: Session,
  queueName: string,
  { force = false, yes = force }: { readonly force?: boolean; readonly yes?: boolean },
): Promise<void> {
  const { client, out, signal } = session;
  const { total, scheduled } = await client.stats(queueName, { signal });
  const question = `Delete queue '${queueName}' with ${plural(total + scheduled, "item")}?`;
  await confirm(session, question, { yes });
  await client.queues.delete(queueName, { force, signal });
  out.message(`Successfully deleted queue '${queueName}'`);
}
