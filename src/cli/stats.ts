// The commands for the state of a queue: stats, clear, reload.

import type {
  DroppedItems,
  PartitionStats,
  QueueRates,
  QueueTimes,
  QueueTotals,
} from "@querator/client";
import type { Command } from "commander";
import { yesOption } from "./arguments.ts";
import { confirm } from "./confirm.ts";
import { type Column, snakeCase } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { age, count, perSecond, plural, took } from "./text.ts";

const COLUMNS: readonly Column<PartitionStats>[] = [
  { title: "PARTITION", value: ({ partition }) => String(partition), isRight: true },
  { title: "WAITING", value: (stats) => count(stats.total - stats.totalLeased), isRight: true },
  { title: "LEASED", value: ({ totalLeased }) => count(totalLeased), isRight: true },
  { title: "SCHEDULED", value: ({ scheduled }) => count(scheduled), isRight: true },
  { title: "AGE", value: ({ averageAgeMs }) => age(averageAgeMs), isRight: true },
  {
    title: "LEASED FOR",
    value: ({ averageLeasedAgeMs }) => age(averageLeasedAgeMs),
    isRight: true,
  },
  { title: "FAILURES", value: ({ failures }) => count(failures), isRight: true },
];

interface ClearOptions {
  readonly waiting?: boolean;
  readonly leased?: boolean;
  readonly scheduled?: boolean;
  readonly yes?: boolean;
}

export function addStatsCommands(program: Command): void {
  program
    .command("stats <queue>")
    .description("count what lies in a queue and what waits for it")
    .addHelpText(
      "after",
      `
What has become of items is counted ever since the queue was made; what never happened is left out.
Behind it is how many of them there were a second in the last minute. How long items waited to be
leased, and ran until their consumers ended that, is of the last five minutes: half of them took no
longer than p50, 99 out of a hundred no longer than p99. Both begin anew when the server starts.
Items are deleted if they expire, have been leased too often or are given up, and the queue has no
dead queue for them; where that has happened it is shown how often.

Examples:
  querator stats jobs
  querator stats jobs -o json`,
    )
    .action(withSession(stats));

  program
    .command("clear <queue>")
    .description("remove items of a queue: those that wait, unless you say which")
    .option("--waiting", "what waits")
    .option("--leased", "what is leased, and what waits")
    .option("--scheduled", "what is scheduled")
    .addOption(yesOption())
    .addHelpText(
      "after",
      `
Examples:
  querator clear jobs
  querator clear jobs --leased --scheduled --yes`,
    )
    .action(withSession(clear));

  program
    .command("reload <queue>")
    .description("let the server read the state of a queue anew from its storage")
    .addHelpText(
      "after",
      `
Example:
  querator reload jobs`,
    )
    .action(withSession(reload));
}

async function stats({ client, out, signal }: Session, queue: string): Promise<void> {
  const { logicalQueues, ...sums } = await client.stats(queue, { signal });
  if (out.format !== "table") {
    await out.record(snakeCase({ ...sums, logicalQueues }), []);
    return;
  }
  const partitions = logicalQueues
    .flatMap((logical) => logical.partitions)
    .map((each, partition) => ({ ...each, partition }));
  await out.write(`${out.lines(partitions, COLUMNS).join("\n")}\n\n`);
  const sum = (pick: (logical: (typeof logicalQueues)[number]) => number): string =>
    count(logicalQueues.reduce((total, logical) => total + pick(logical), 0));
  await out.record(undefined, [
    ["requests in flight", sum(({ inFlight }) => inFlight)],
    ["leases waiting", sum(({ leaseWaiting }) => leaseWaiting)],
    ["produces waiting", sum(({ produceWaiting }) => produceWaiting)],
    ["completes waiting", sum(({ completeWaiting }) => completeWaiting)],
    ...totalRows(sums.totals),
    ...droppedRows(sums.dropped),
  ]);
}

// What there is in any queue, and of the rest what there is in this one.
function totalRows(totals: QueueTotals): [string, string][] {
  const { kept, oldestAgeMs, counts, rates, waitTime, runTime } = totals;
  const rows: [string, string][] = [];
  if (oldestAgeMs !== undefined) rows.push(["oldest waits for", age(oldestAgeMs)]);
  if (waitTime !== undefined) rows.push(["waited", times(waitTime)]);
  if (runTime !== undefined) rows.push(["ran", times(runTime)]);
  if (kept > 0) rows.push(["ended, and kept", count(kept)]);
  if (counts === undefined) return rows;
  const { dead, ...others } = counts;
  for (const [what, name] of COUNTS) {
    const isUsual = what === "produced" || what === "leased" || what === "completed";
    if (isUsual || others[what] > 0) rows.push([name, counted(others[what], rates?.[what])]);
  }
  const died: [string, number][] = [
    ["dead: expired", dead.expired],
    ["dead: attempts used up", dead.attempts],
    ["dead: given up", dead.rejected],
  ];
  return [...rows, ...seen(died)];
}

const COUNTS: readonly [what: Exclude<keyof QueueRates, "dead">, name: string][] = [
  ["produced", "produced"],
  ["leased", "leased"],
  ["completed", "completed"],
  ["retried", "retried"],
  ["released", "released"],
  ["extended", "extended"],
  ["leaseEnds", "leases that ended by themselves"],
  ["cancelled", "cancelled"],
  ["deduplicated", "duplicates"],
  ["deleted", "cleared or deleted"],
  ["received", "from other queues"],
  ["moved", "to other queues"],
];

function counted(number: number, rate = 0): string {
  const lately = perSecond(rate);
  return lately === "0" ? count(number) : `${count(number)} (${lately}/s)`;
}

function times({ p50Ms, p90Ms, p99Ms, maxMs }: QueueTimes): string {
  return `p50 ${took(p50Ms)}, p90 ${took(p90Ms)}, p99 ${took(p99Ms)}, longest ${took(maxMs)}`;
}

function droppedRows({ attempts, expired, rejected }: DroppedItems): [string, string][] {
  const rows: [string, number][] = [
    ["deleted: expired", expired],
    ["deleted: attempts used up", attempts],
    ["deleted: given up", rejected],
  ];
  return seen(rows);
}

// Only where there is something to see.
function seen(rows: readonly [string, number][]): [string, string][] {
  return rows.filter(([, number]) => number > 0).map(([what, number]) => [what, count(number)]);
}

async function clear(session: Session, queue: string, options: ClearOptions): Promise<void> {
  const { client, out, signal } = session;
  const { leased = false, scheduled = false, yes } = options;
  const waiting = options.waiting ?? (leased || !scheduled);
  const before = await client.stats(queue, { signal });
  const counts: [isMeant: boolean, number: number, what: string][] = [
    [waiting || leased, before.total - before.totalLeased, "waiting"],
    [leased, before.totalLeased, "leased"],
    [scheduled, before.scheduled, "scheduled"],
  ];
  const meant = counts.filter(([isMeant]) => isMeant);
  const what = meant.map(([, number, state]) => `${plural(number, `${state} item`)}`).join(", ");
  await confirm(session, `Remove ${what} of queue '${queue}'?`, { yes });
  await client.clear(queue, { queue: waiting || leased, destructive: leased, scheduled, signal });
  out.message(`Successfully cleared queue '${queue}' (${what})`);
}

async function reload({ client, out, signal }: Session, queue: string): Promise<void> {
  await client.reload(queue, { signal });
  out.message(`Successfully reloaded queue '${queue}'`);
}
