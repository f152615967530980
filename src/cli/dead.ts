// The commands for dead queues: what died there of what, and the way back.

import type { Command } from "commander";
import { duration, whole, yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { CommandError, Interrupted, usage } from "./failure.ts";
import type { Listing } from "./output.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";
import { count, plural, time } from "./text.ts";

// How often a redrive is looked at.
const LOOK_MS = 250;

/** As the API has them; what is 0 or empty is not there. */
interface DeadGroup {
  readonly fingerprint: string;
  readonly count: number;
  readonly kind?: string;
  readonly error_type?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly source_queue?: string;
  readonly last_at: string;
  readonly sample: string;
}

interface DeadGroups {
  readonly groups?: readonly DeadGroup[];
  readonly complete?: boolean;
  readonly looked_at?: number;
}

interface Redrive {
  readonly id?: string;
  readonly to?: string;
  readonly state: "running" | "done" | "stopped" | "cancelled";
  readonly moved?: number;
  readonly looked_at?: number;
  readonly total?: number;
  readonly skipped?: number;
  readonly failed?: number;
  readonly not_found?: number;
  readonly started_at: string;
  readonly ended_at?: string;
}

interface RedriveOptions {
  readonly to?: string;
  readonly id?: readonly string[];
  readonly fingerprint?: string;
  readonly kind?: string;
  readonly olderThan?: string;
  readonly newerThan?: string;
  readonly limit?: number;
  readonly rate?: number;
  readonly stopAtFailureRatio?: number;
  readonly dryRun?: boolean;
  readonly detach?: boolean;
  readonly yes?: boolean;
}

export function addDeadCommands(program: Command): void {
  program
    .command("dead")
    .description("look into dead queues")
    .command("groups <queue>")
    .description("group what lies in a dead queue by what it died of")
    .option("--limit <n>", "groups at most, the largest", whole(1, 1_000), 100)
    .addHelpText(
      "after",
      `
Items are one group that are of the same kind and died of the same error, whatever the numbers, ids
and quoted texts in its message.

Example:
  querator dead groups dead`,
    )
    .action(withSession(groups));

  program
    .command("redrive <queue>")
    .description("move items out of a dead queue, back to where they came from")
    .option("--to <queue>", "move them there")
    .option("--id <id...>", "only these items")
    .option("--fingerprint <fingerprint>", "only those of this group, as dead groups tells it")
    .option("--kind <kind>", "only those of this kind")
    .option("--older-than <time>", "only what died so long ago, or longer", duration)
    .option("--newer-than <time>", "only what died so long ago, or less long", duration)
    .option("--limit <n>", "items at most", whole(1))
    .option("--rate <n>", "items a second at most", whole(1, 1_000_000))
    .option("--stop-at-failure-ratio <ratio>", "stop once so many have died again, 0 to 1", ratio)
    .option("--dry-run", "count what would be moved, and move nothing")
    .option("--detach", "do not wait until it is done")
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
The server does it, whether this command waits for it or not: one that is interrupted goes on.
querator redrives cancel ends it.

Examples:
  querator redrive dead --dry-run
  querator redrive dead --fingerprint 3f0c9a1be2d47785 --rate 10 --stop-at-failure-ratio 0.5 --yes
  querator redrive dead --to jobs --limit 100 --yes`,
    )
    .action(withSession(redrive));

  const redrives = program.command("redrives").description("see and end what redrives do");
  redrives
    .command("list <queue>")
    .description("list the redrives of a dead queue: those that run, and the last that have ended")
    .addHelpText(
      "after",
      `
Example:
  querator redrives list dead`,
    )
    .action(withSession(list));
  for (const [verb, about, action] of [
    ["info", "show how far a redrive is", info],
    ["cancel", "end a redrive where it is; what it has moved stays moved", cancel],
  ] as const) {
    redrives
      .command(`${verb} <queue> <id>`)
      .description(about)
      .addHelpText(
        "after",
        `
Example:
  querator redrives ${verb} dead 0hp0d4yqpl4-5f1c9a02`,
      )
      .action(withSession(action));
  }
}

function ratio(text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && number > 0 && number <= 1) return number;
  throw usage(`--stop-at-failure-ratio is invalid; '${text}' is not above 0 and up to 1`);
}

const GROUPS: Listing<DeadGroup> = {
  name: "groups",
  json: (group) => group,
  columns: [
    { title: "COUNT", value: (group) => count(group.count), isRight: true },
    { title: "REASON", value: ({ reason = "" }) => reason },
    { title: "KIND", value: ({ kind = "" }) => kind, widest: 20 },
    { title: "ERROR", value: ({ error_type = "" }) => error_type, widest: 24 },
    { title: "MESSAGE", value: ({ message = "" }) => message, widest: 60 },
    { title: "FROM", value: ({ source_queue = "" }) => source_queue, widest: 24 },
    { title: "LAST", value: ({ last_at }) => time(last_at) },
    { title: "FINGERPRINT", value: ({ fingerprint }) => fingerprint },
    { title: "SAMPLE", value: ({ sample }) => sample },
  ],
};

async function groups(
  { client, out, signal }: Session,
  queue: string,
  { limit }: { readonly limit: number },
): Promise<void> {
  const request = { queue_name: queue, limit };
  const options = { isRepeatable: true, signal };
  const found = await client.call<DeadGroups>("queue.dead_groups", request, options);
  const shown = await out.list(found.groups ?? [], GROUPS);
  const looked = plural(found.looked_at ?? 0, "item");
  const rest = found.complete === true ? "" : "; there are more, which were not looked at";
  out.message(`Found ${plural(shown, "group")} among ${looked}${rest}`);
}

async function redrive(session: Session, queue: string, options: RedriveOptions): Promise<void> {
  const { client, out, signal } = session;
  const { to, id: ids, fingerprint, kind, limit, rate, dryRun = false, detach = false } = options;
  const request = {
    queue_name: queue,
    to,
    ids,
    fingerprint,
    kind,
    older_than: options.olderThan,
    newer_than: options.newerThan,
    limit,
    rate,
    stop_at_failure_ratio: options.stopAtFailureRatio,
  };
  const where = to === undefined ? "back to where they came from" : `to queue '${to}'`;
  if (!dryRun) {
    const most = limit === undefined ? "" : `, ${limit} at most,`;
    const question = `Move items of queue '${queue}'${most} ${where}?`;
    await confirm(session, question, options);
  }
  let seen = await client.call<Redrive>(
    "queue.redrive",
    { ...request, dry_run: dryRun },
    { signal },
  );
  if (!dryRun && !detach) seen = await watch(session, queue, seen);
  if (out.format !== "table") await out.record(seen, []);
  const told = summary(seen, { queue, where, dryRun });
  if (!dryRun && seen.state === "stopped") throw new CommandError(told);
  out.message(told);
}

// Shows how far it is until it has ended. If nobody waits any more, it goes on.
async function watch(session: Session, queue: string, begun: Redrive): Promise<Redrive> {
  const { client, clock, out, signal, sleep } = session;
  const progress = new Progress(clock, `items out of '${queue}'`);
  let seen = begun;
  try {
    while (seen.state === "running") {
      const { moved = 0, looked_at: lookedAt = 0, total = 0 } = seen;
      progress.update(moved, total, total === 0 ? undefined : lookedAt / total);
      await sleep(LOOK_MS);
      const request = { queue_name: queue, id: seen.id };
      const options = { isRepeatable: true, signal };
      seen = await client.call<Redrive>("redrives.info", request, options);
    }
  } catch (error) {
    progress.end();
    if (error instanceof Interrupted) {
      out.message(`It goes on; 'querator redrives cancel ${queue} ${seen.id}' ends it`);
    }
    throw error;
  }
  progress.end();
  return seen;
}

const DID = {
  done: "Successfully moved",
  stopped: "stopped, as too many died again: moved",
  cancelled: "Cancelled: moved",
} as const;

function summary(
  seen: Redrive,
  how: { readonly queue: string; readonly where: string; readonly dryRun: boolean },
): string {
  const { queue, where, dryRun } = how;
  const { id, state, moved = 0, skipped = 0, failed = 0, not_found: notFound = 0 } = seen;
  const { looked_at: lookedAt = 0, total = 0 } = seen;
  const items = `${plural(moved, "item")} of queue '${queue}' ${where}`;
  const passed =
    (skipped === 0 ? "" : `; ${count(skipped)} passed over`) +
    (notFound === 0 ? "" : `; ${count(notFound)} not found`);
  if (dryRun) {
    const more = lookedAt < total ? `; looked at ${count(lookedAt)} of ${count(total)} only` : "";
    return `Would move ${items}${passed}${more}`;
  }
  if (state === "running") return `Began to move items of queue '${queue}' ${where}: ${id}`;
  return `${DID[state]} ${items}${passed}${failed === 0 ? "" : `; ${count(failed)} died again`}`;
}

const REDRIVES: Listing<Redrive> = {
  name: "redrives",
  json: (each) => each,
  columns: [
    { title: "ID", value: ({ id = "" }) => id },
    { title: "STATE", value: ({ state }) => state },
    { title: "MOVED", value: ({ moved = 0 }) => count(moved), isRight: true },
    { title: "PASSED OVER", value: ({ skipped = 0 }) => count(skipped), isRight: true },
    { title: "DIED AGAIN", value: ({ failed = 0 }) => count(failed), isRight: true },
    { title: "NOT FOUND", value: ({ not_found = 0 }) => count(not_found), isRight: true },
    { title: "LOOKED AT", value: ({ looked_at = 0 }) => count(looked_at), isRight: true },
    { title: "OF", value: ({ total = 0 }) => count(total), isRight: true },
    { title: "TO", value: ({ to = "" }) => to, widest: 24 },
    { title: "STARTED", value: ({ started_at }) => time(started_at) },
    { title: "ENDED", value: ({ ended_at }) => time(ended_at) },
  ],
};

async function list({ client, out, signal }: Session, queue: string): Promise<void> {
  const { redrives = [] } = await client.call<{ readonly redrives?: readonly Redrive[] }>(
    "redrives.list",
    { queue_name: queue },
    { isRepeatable: true, signal },
  );
  const shown = await out.list(redrives, REDRIVES);
  out.message(`Found ${plural(shown, "redrive")}`);
}

async function info({ client, out, signal }: Session, queue: string, id: string): Promise<void> {
  const request = { queue_name: queue, id };
  const seen = await client.call<Redrive>("redrives.info", request, { isRepeatable: true, signal });
  const rows = REDRIVES.columns.map(
    ({ title, value }) => [title.toLowerCase(), value(seen)] as const,
  );
  await out.record(
    seen,
    rows.filter(([, text]) => text !== ""),
  );
}

async function cancel({ client, out, signal }: Session, queue: string, id: string): Promise<void> {
  const request = { queue_name: queue, id };
  const ended = await client.call<Redrive>("redrives.cancel", request, { signal });
  if (out.format !== "table") await out.record(ended, []);
  out.message(`The redrive is ${ended.state}; it has moved ${plural(ended.moved ?? 0, "item")}`);
}
