// A live view of queues. On a terminal it is drawn anew in place, and the screen is given back as
// it was; elsewhere each look is a table, or JSON. A server that cannot be reached for a while is
// waited for.

import { type DroppedItems, QueratorError, type QueueStats } from "@querator/client";
import type { Command } from "commander";
import { SECOND } from "../clock.ts";
import { printable } from "../printable.ts";
import { durationOption, whole } from "./arguments.ts";
import { usage } from "./failure.ts";
import { onKeys } from "./keys.ts";
import { type Column, jsonText } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { age, count, fit, perSecond, plural, took, width } from "./text.ts";

// So many queues are asked for in one call: as many as it may name.
const ASKED_AT_ONCE = 100;
const SCREEN = { open: "\x1b[?1049h\x1b[?25l", close: "\x1b[?25h\x1b[?1049l" };

/** What one look tells of a queue. */
interface Row {
  readonly queue_name: string;
  readonly waiting: number;
  readonly leased: number;
  readonly scheduled: number;
  /**
   * By how many items the queue grows in a second, between the last look and this; none at the
   * first.
   */
  readonly change_per_second: number | undefined;
  /** Of the last minute; none with a server that does not measure. */
  readonly produced_per_second: number | undefined;
  readonly completed_per_second: number | undefined;
  /** Of the last five minutes; none if nothing was leased, or ended. */
  readonly wait_p95_ms: number | undefined;
  readonly run_p95_ms: number | undefined;
  readonly average_age_ms: number;
  readonly average_leased_age_ms: number;
  readonly leases_waiting: number;
  readonly requests_in_flight: number;
  readonly failing_partitions: number;
  /** Wherever they went, by why, ever since the queue was made; none with a server that does not count. */
  readonly dead: DroppedItems | undefined;
  /** Deleted although nobody had completed them, ever since the queue was made. */
  readonly dropped: number;
}

// A name is never cut to less, however narrow the terminal; and not to less than this for columns that can be done without
// on one that is as wide as most.
const NAME_COLUMNS_MIN = 10;
const NAME_COLUMNS = 16;
const COMMON_COLUMNS = 80;

const FIGURES: readonly Column<Row>[] = [
  { title: "WAITING", value: ({ waiting }) => count(waiting), isRight: true },
  { title: "LEASED", value: ({ leased }) => count(leased), isRight: true },
  { title: "SCHEDULED", value: ({ scheduled }) => count(scheduled), isRight: true },
  { title: "CHANGE/S", value: (row) => signed(row.change_per_second), isRight: true },
  { title: "IN/S", value: (row) => rate(row.produced_per_second), isRight: true },
  { title: "DONE/S", value: (row) => rate(row.completed_per_second), isRight: true },
  { title: "WAIT", value: (row) => long(row.wait_p95_ms), isRight: true },
  { title: "RUN", value: (row) => long(row.run_p95_ms), isRight: true },
  { title: "AGE", value: (row) => age(row.average_age_ms), isRight: true },
  { title: "LEASED FOR", value: (row) => age(row.average_leased_age_ms), isRight: true },
  { title: "CONSUMERS", value: (row) => count(row.leases_waiting), isRight: true },
  { title: "IN FLIGHT", value: (row) => count(row.requests_in_flight), isRight: true },
  { title: "FAILING", value: (row) => count(row.failing_partitions), isRight: true },
];
// In this order they go where a terminal has no room for them; what waits, is leased and fails is always there.
const LEFT_OUT = [
  "LEASED FOR",
  "IN FLIGHT",
  "AGE",
  "CHANGE/S",
  "CONSUMERS",
  "SCHEDULED",
  "DELETED",
  "RUN",
  "WAIT",
  "IN/S",
  "DONE/S",
  "DEAD A/E/R",
];
// These are shown only where there is something to see.
const DEAD: Column<Row> = {
  title: "DEAD A/E/R",
  value: ({ dead }) =>
    dead === undefined ? "-" : [dead.attempts, dead.expired, dead.rejected].map(count).join("/"),
  isRight: true,
};
const DROPPED: Column<Row> = {
  title: "DELETED",
  value: ({ dropped }) => count(dropped),
  isRight: true,
};

/** All columns; on a terminal names are cut so that the figures have room. */
function columnsOf({ out }: Session, rows: readonly Row[]): readonly Column<Row>[] {
  const hasDied = rows.some(({ dead }) => dead !== undefined && sumOf(dead) > 0);
  const hasDropped = rows.some(({ dropped }) => dropped > 0);
  let columns = [...FIGURES, ...(hasDied ? [DEAD] : []), ...(hasDropped ? [DROPPED] : [])];
  const name = terminalColumns() < COMMON_COLUMNS ? NAME_COLUMNS_MIN : NAME_COLUMNS;
  let figures = width(out.lines(rows, columns)[0]!);
  for (const least of out.isTerminal ? LEFT_OUT : []) {
    if (figures + 2 + name <= terminalColumns()) break;
    columns = columns.filter(({ title }) => title !== least);
    figures = width(out.lines(rows, columns)[0]!);
  }
  const widest = Math.max(NAME_COLUMNS_MIN, terminalColumns() - figures - 2);
  return [{ title: "QUEUE", value: ({ queue_name }) => queue_name, widest }, ...columns];
}

function sumOf({ attempts, expired, rejected }: DroppedItems): number {
  return attempts + expired + rejected;
}

function terminalColumns(): number {
  return process.stdout.columns || 80;
}

interface TopOptions {
  readonly interval: number;
  readonly count?: number;
  readonly once?: boolean;
}

export function addTopCommand(program: Command): void {
  program
    .command("top [queues...]")
    .description("watch queues, all unless some are named: depth, rates, times, what died")
    .addOption(durationOption("--interval <time>", "how often to look", "2s"))
    .option("-n, --count <n>", "end after so many looks", whole(1))
    .option("--once", "look once")
    .addHelpText(
      "after",
      `
CHANGE/S is how fast a queue grows or shrinks, all items counted; IN/S and DONE/S are items that
were produced and completed, of the last minute; WAIT and RUN are what 95 out of a hundred items
took at most to be leased, and then to be ended, of the last five; AGE and LEASED FOR are means;
CONSUMERS are leases that wait for items; FAILING are partitions whose storage fails. Shown once there
are some: DEAD A/E/R are items that died by their attempts, expired, and were rejected; DELETED are those
of them that went nowhere. A narrow terminal shows fewer columns. On a terminal q ends it, as Ctrl-C does.

Examples:
  querator top
  querator top jobs dead --once`,
    )
    .action(withSession(top));
}

async function top(whole: Session, queues: string[], options: TopOptions): Promise<void> {
  const { out, clock } = whole;
  if (options.once && options.count !== undefined) throw usage("give either --once or --count");
  const looks = options.once ? 1 : (options.count ?? Number.POSITIVE_INFINITY);
  const isLive = out.isTerminal && out.format === "table" && looks > 1;
  let before = new Map<string, number>();
  let lookedAt = 0;
  let rows: Row[] = [];
  const quit = new AbortController();
  const signal = AbortSignal.any([whole.signal, quit.signal]);
  const session: Session = { ...whole, signal, sleep: (ms) => whole.sleep(ms, signal) };
  const giveBack = (): void => void process.stdout.write(SCREEN.close);
  let forgetKeys = (): void => undefined;
  if (isLive) {
    process.once("exit", giveBack);
    await out.write(SCREEN.open);
    forgetKeys = onKeys({
      quit: () => quit.abort(),
      suspend: giveBack,
      resume: () => void process.stdout.write(SCREEN.open),
    });
  }
  try {
    for (let look = 1; look <= looks; look++) {
      let trouble = "";
      try {
        const stats = await statsOf(session, queues);
        const now = clock.steady();
        const seconds = (now - lookedAt) / SECOND;
        rows = stats.map((each) => rowOf(each, before.get(each.queueName), seconds));
        rows.sort((a, b) => b.waiting - a.waiting || (a.queue_name < b.queue_name ? -1 : 1));
        before = new Map(stats.map((each) => [each.queueName, sizeOf(each)]));
        lookedAt = now;
      } catch (error) {
        session.signal.throwIfAborted();
        const mayPass = error instanceof QueratorError && error.retryable && look > 1;
        if (!mayPass) throw error;
        trouble = error.message;
      }
      if (isLive) await draw(session, rows, trouble);
      else await print(session, rows, { trouble, isLast: look === looks });
      if (look < looks) await session.sleep(options.interval);
    }
  } catch (error) {
    if (!quit.signal.aborted) throw error;
  } finally {
    forgetKeys();
    if (isLive) {
      process.off("exit", giveBack);
      giveBack();
    }
  }
}

async function statsOf(session: Session, named: readonly string[]): Promise<QueueStats[]> {
  const { client, signal } = session;
  const names =
    named.length > 0
      ? [...named]
      : await Array.fromAsync(client.queues.list({ signal }), ({ queueName }) => queueName);
  const all: QueueStats[] = [];
  for (let i = 0; i < names.length; i += ASKED_AT_ONCE) {
    all.push(...(await client.statsOf(names.slice(i, i + ASKED_AT_ONCE), { signal })));
  }
  // One that was deleted since it was listed is not missed; one that was named is.
  const missed = named.find((name) => !all.some(({ queueName }) => queueName === name));
  if (missed !== undefined) await client.stats(missed, { signal });
  return all;
}

function sizeOf({ total, scheduled }: QueueStats): number {
  return total + scheduled;
}

function rowOf(stats: QueueStats, sizeBefore: number | undefined, seconds: number): Row {
  const { total, totalLeased, scheduled, totals, logicalQueues } = stats;
  const partitions = logicalQueues.flatMap((logical) => logical.partitions);
  const sum = (values: readonly number[]): number => values.reduce((all, each) => all + each, 0);
  const mean = (weighed: number, weight: number): number =>
    weight === 0 ? 0 : Math.round(weighed / weight);
  return {
    queue_name: stats.queueName,
    waiting: total - totalLeased,
    leased: totalLeased,
    scheduled,
    change_per_second:
      sizeBefore === undefined ? undefined : (sizeOf(stats) - sizeBefore) / seconds,
    produced_per_second: totals.rates?.produced,
    completed_per_second: totals.rates?.completed,
    wait_p95_ms: totals.waitTime?.p95Ms,
    run_p95_ms: totals.runTime?.p95Ms,
    average_age_ms: mean(sum(partitions.map((each) => each.averageAgeMs * each.total)), total),
    average_leased_age_ms: mean(
      sum(partitions.map((each) => each.averageLeasedAgeMs * each.totalLeased)),
      totalLeased,
    ),
    leases_waiting: sum(logicalQueues.map(({ leaseWaiting }) => leaseWaiting)),
    requests_in_flight: sum(logicalQueues.map(({ inFlight }) => inFlight)),
    failing_partitions: partitions.filter(({ failures }) => failures > 0).length,
    dead: totals.counts?.dead,
    dropped: sumOf(stats.dropped),
  };
}

function rate(number: number | undefined): string {
  return number === undefined ? "-" : perSecond(number);
}

function long(ms: number | undefined): string {
  return ms === undefined ? "-" : took(ms);
}

function signed(number: number | undefined): string {
  if (number === undefined) return "-";
  const text = (
    Math.abs(number) < 10 ? Math.round(number * 10) / 10 : Math.round(number)
  ).toLocaleString("en-GB");
  return number > 0 ? `+${text}` : text;
}

function headOf({ client }: Session, rows: readonly Row[]): string {
  const sum = (pick: (row: Row) => number): number => rows.reduce((all, row) => all + pick(row), 0);
  return (
    `${client.url}  ${plural(rows.length, "queue")}, ` +
    `${count(sum((row) => row.waiting))} waiting, ` +
    `${count(sum((row) => row.leased))} leased, ${count(sum((row) => row.scheduled))} scheduled`
  );
}

async function draw(session: Session, rows: readonly Row[], trouble: string): Promise<void> {
  const { out } = session;
  const columns = terminalColumns();
  const height = process.stdout.rows || 24;
  // Beside them: the head, an empty line, titles, and how many are hidden.
  const shown = rows.slice(0, Math.max(1, height - 4));
  const hidden = rows.length - shown.length;
  const head = trouble === "" ? headOf(session, rows) : printable(trouble);
  const lines = [
    trouble === "" ? fit(head, columns) : out.style("red", fit(head, columns)),
    "",
    ...out.lines(shown, columnsOf(session, shown), columns),
    ...(hidden > 0 ? [`... and ${plural(hidden, "queue")} more`] : []),
  ];
  // Each line clears what was behind it, then all below: so nothing flickers. A line end after the
  // last line would scroll the first one away.
  const drawn = lines.slice(0, height).map((line) => `${line}\x1b[K`);
  await out.write(`\x1b[H${drawn.join("\r\n")}\x1b[J`);
}

async function print(
  session: Session,
  rows: readonly Row[],
  { trouble, isLast }: { readonly trouble: string; readonly isLast: boolean },
): Promise<void> {
  const { out, client, clock } = session;
  if (trouble !== "") {
    out.message(`Error: ${trouble}`);
    return;
  }
  if (out.format === "ndjson") {
    for (const row of rows) await out.write(jsonText(row, "ndjson"));
  } else if (out.format === "json") {
    const at = new Date(clock.now() / 1_000).toISOString();
    await out.write(
      jsonText({ endpoint: client.url, at, queues: rows, count: rows.length }, "json"),
    );
  } else {
    await out.write(
      `${[...out.lines(rows, columnsOf(session, rows)), ...(isLast ? [] : [""])].join("\n")}\n`,
    );
  }
}
