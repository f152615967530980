// The commands for queues as a whole: create, list, info, update, delete.

import type { QueueChanges, QueueInfo } from "@querator/client";
import { type Command, Option } from "commander";
import { anyDuration, decimal, duration, expiry, retryOf, whole, yesOption } from "./arguments.ts";
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
  readonly retryDelay?: string;
  readonly retryFactor?: number;
  readonly retryMaxDelay?: string;
  readonly retryJitter?: number;
  readonly onLeaseEnd?: NonNullable<QueueChanges["onLeaseEnd"]>;
  readonly keepCompleted?: string;
  readonly keepMax?: number;
  /** Of `--keep-payload` and `--no-keep-payload`. */
  readonly keepPayload?: boolean;
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
    .option("--partitions <n>", "how many partitions it has", whole(1))
    .option("--retry-delay <time>", "how long the first retry waits; 0s for at once", anyDuration)
    .option("--retry-factor <n>", "by what each later wait is longer, 1 to 100", decimal(1, 100))
    .option("--retry-max-delay <time>", "the longest wait of a retry", anyDuration)
    .option("--retry-jitter <n>", "what part of a wait is left to chance, 0 to 1", decimal(0, 1))
    .addOption(
      new Option(
        "--on-lease-end <what>",
        "what becomes of items whose lease ends by itself",
      ).choices(LEASE_ENDS),
    )
    .option("--keep-completed <time>", "how long ended items are kept; 0s for not", anyDuration)
    .option("--keep-max <n>", "ended items that a partition keeps at most", whole(1, 1_000_000))
    .option("--keep-payload", "whether their payloads are kept as well")
    .option("--no-keep-payload", "the opposite");
}

const LEASE_ENDS = ["retry_now", "retry_delayed", "reject"];

// What /v2 knows and not /v1 is said only where it is wanted.
function moreOf(options: SettingsOptions): QueueChanges {
  const { onLeaseEnd, keepCompleted, keepMax, keepPayload } = options;
  const retry = retryOf(options);
  return {
    ...(retry !== undefined && { retry }),
    onLeaseEnd,
    keepCompleted,
    keepMax,
    keepPayload,
  };
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
      ...moreOf(options),
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
    ["retry", retryText(queue)],
    ["on lease end", queue.onLeaseEnd],
    ["keep completed", keepText(queue)],
    ["created", time(queue.createdAt)],
    ["updated", time(queue.updatedAt)],
    ["version", String(queue.version)],
  ]);
}

function retryText({ retry }: QueueInfo): string {
  if (retry === undefined) return "-";
  const { delay = "0s", factor, maxDelay, jitter } = retry;
  if (delay === "0s") return "at once";
  return `after ${delay}, factor ${factor}, up to ${maxDelay}, jitter ${jitter}`;
}

function keepText({ keepCompleted, keepMax, keepPayload }: QueueInfo): string {
  if (keepCompleted === "0s") return "-";
  return `${keepCompleted}, up to ${keepMax}${keepPayload ? ", with payloads" : ""}`;
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
    ...moreOf(options),
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
