// `npm run bench:health`: whether tables stay healthy over PostgreSQL. An hour of churn goes through
// one queue in a few minutes, and for the middle third of it another session holds a transaction open,
// as a forgotten report does, so that nothing dead can be removed. Printed for each step: what is
// carried, how large tables and indexes are, and what lies dead in them.

import { Command } from "commander";
import pg from "pg";
import { createDatabase, queryOnce, type Row } from "../test/support/postgres.ts";
import type { LoadResult } from "./load.ts";
import { measure, median, positive, ROWS, startServer, stop, wrongs } from "./measure.ts";
import { startMeasured } from "./postgres.ts";
import { openHttp } from "./target.ts";

const QUEUE = "churn";

const options = new Command("bench:health")
  .description("Show that tables over PostgreSQL stay healthy")
  .option("--steps <n>", "how many steps; the middle third has a transaction open", positive, 9)
  .option("--seconds <n>", "how long a step puts each of two loads on the server", positive, 10)
  .option("--dir <dir>", "where the database lies; on a real disk", "/tmp")
  .option("--server-args <args>", "more flags for the server", "")
  .parse()
  .opts<{ steps: number; seconds: number; dir: string; serverArgs: string }>();

interface Step {
  readonly isPinned: boolean;
  readonly batch: LoadResult;
  readonly single: LoadResult;
  readonly sizes: Row;
  readonly walBytes: number;
}

// Of all schemas but those of PostgreSQL itself.
const SIZES = `
  SELECT count(*) AS tables, sum(pg_table_size(relid)) AS heap, sum(pg_indexes_size(relid)) AS indexes,
    sum(n_dead_tup) AS dead, sum(n_live_tup) AS live, sum(autovacuum_count) AS vacuums,
    sum(n_tup_upd) AS updates, sum(n_tup_hot_upd) AS hot
  FROM pg_stat_user_tables`;
const LARGEST = `
  SELECT relname, pg_table_size(relid) AS heap, pg_indexes_size(relid) AS indexes, n_dead_tup AS dead
  FROM pg_stat_user_tables ORDER BY pg_total_relation_size(relid) DESC LIMIT 6`;
const WAL = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal";

const steps: Step[] = [];
let largest: Row[] = [];
const database = await startMeasured(options.dir);
try {
  const { url } = await createDatabase(database.url);
  const args = options.serverArgs.split(" ").filter((arg) => arg !== "");
  const [address, server] = await startServer(["--postgres", url, ...args]);
  const pin = new pg.Client({ connectionString: url });
  try {
    await openHttp(address, 1).createQueue(QUEUE);
    await pin.connect();
    for (let i = 0; i < options.steps; i++) {
      const third = Math.floor((i * 3) / options.steps);
      const isFirst = i === 0 || Math.floor(((i - 1) * 3) / options.steps) !== third;
      if (isFirst && third === 1) {
        await pin.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
        await pin.query("SELECT txid_current()");
      }
      if (isFirst && third === 2) await pin.query("COMMIT");
      steps.push(await step(address, url, third === 1));
      process.stderr.write(`step ${i + 1} of ${options.steps}\n`);
      if (third === 1) largest = await queryOnce(url, LARGEST);
    }
    print(largest, await queryOnce(url, LARGEST), database.version);
  } finally {
    await pin.end();
    await stop(server);
  }
} finally {
  await database.stop();
}

const wrong = steps.reduce((sum, { batch, single }) => sum + wrongs(batch) + wrongs(single), 0);
if (wrong > 0) {
  process.stderr.write(`Error: ${wrong} requests failed, or items were lost, doubled or moved\n`);
  process.exitCode = 1;
}
process.exit();

async function step(address: string, url: string, isPinned: boolean): Promise<Step> {
  const load = { seconds: options.seconds, payloadBytes: 100, queue: QUEUE };
  const [before] = await queryOnce(url, WAL);
  const batch = await measure(address, { ...ROWS.batch, ...load }, undefined);
  const single = await measure(address, { ...ROWS.single, ...load }, undefined);
  const [after] = await queryOnce(url, WAL);
  const [sizes] = await queryOnce(url, SIZES);
  const walBytes = Number(after!.wal) - Number(before!.wal);
  return { isPinned, batch, single, sizes: sizes!, walBytes };
}

function print(pinned: readonly Row[], end: readonly Row[], version: string): void {
  const lines = [
    `PostgreSQL ${version}, ${options.steps} steps of ${options.seconds} s batches of 100 and ${options.seconds} s single items`,
    "",
    "| step | transaction open | batched items/s | single items/s | items so far | tables MB | indexes MB | live | dead | vacuums | WAL bytes an item |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
  ];
  let items = 0;
  for (const [i, { isPinned, batch, single, sizes, walBytes }] of steps.entries()) {
    const done = batch.completed + single.completed;
    items += done;
    const cells = [
      i + 1,
      isPinned ? "yes" : "",
      whole(batch.itemsPerSecond),
      whole(single.itemsPerSecond),
      whole(items),
      megabytes(sizes.heap),
      megabytes(sizes.indexes),
      whole(Number(sizes.live)),
      whole(Number(sizes.dead)),
      whole(Number(sizes.vacuums)),
      whole(walBytes / done),
    ];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  lines.push(
    "",
    ...tables("Largest with the transaction open", pinned),
    ...tables("At the end", end),
  );
  const last = steps.at(-1)!.sizes;
  lines.push(
    `Updates that were HOT: ${whole(Number(last.hot))} of ${whole(Number(last.updates))}.`,
  );
  const third = Math.ceil(options.steps / 3);
  for (const load of ["batch", "single"] as const) {
    const of = (some: readonly Step[]): number => median(some.map((s) => s[load].itemsPerSecond));
    const [first, end] = [of(steps.slice(0, third)), of(steps.slice(-third))];
    const ratio = (end / first).toFixed(2);
    lines.push(`${load}: ${whole(first)} items/s at the start, ${whole(end)} at the end: ${ratio}`);
  }
  process.stdout.write(`${lines.join("\n")}\n`);
}

function tables(title: string, rows: readonly Row[]): string[] {
  const list = rows.map(
    ({ relname, heap, indexes, dead }) =>
      `${relname} ${megabytes(heap)} + ${megabytes(indexes)} MB, ${whole(Number(dead))} dead`,
  );
  return [`${title}: ${list.join("; ")}.`];
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

function megabytes(bytes: unknown): string {
  return (Number(bytes) / 1e6).toFixed(1);
}
