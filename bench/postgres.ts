// `npm run bench -- --storage postgres`: the server on PostgreSQL beside other queues over the same
// PostgreSQL, which is started for it and syncs every commit. All are measured in turn in each run,
// each in a fresh database, with the same load; medians and ratios are printed, and what each item
// cost in statements, commits and bytes of the write-ahead log.

import { cpus } from "node:os";
import {
  createDatabase,
  type Postgres,
  queryOnce,
  startPostgres,
} from "../test/support/postgres.ts";
import type { LoadResult } from "./load.ts";
import {
  type BenchOptions,
  checkDisk,
  measure,
  median,
  ROWS,
  type Row,
  startServer,
  stop,
  warm,
  writeResults,
  wrongs,
} from "./measure.ts";
import { RIVALS, type RivalName } from "./rivals.ts";

const OURS = "querator";
type Name = RivalName | typeof OURS;

const SETTINGS = {
  shared_buffers: "256MB",
  max_wal_size: "4GB",
  max_connections: 300,
  autovacuum_naptime: "10s",
  shared_preload_libraries: "pg_stat_statements",
  "pg_stat_statements.track": "top",
} as const;

/** What a load made the database do. */
interface Cost {
  readonly statements: number;
  readonly commits: number;
  readonly walBytes: number;
}

interface Run {
  readonly row: Row;
  readonly name: Name;
  readonly load: LoadResult;
  readonly cost: Cost;
}

/** Starts a PostgreSQL as it is measured here: every commit is synced. */
export function startMeasured(dir: string): Promise<Postgres> {
  checkDisk(dir);
  return startPostgres({ parent: dir, fsync: true, settings: SETTINGS });
}

/** Measures all contestants and prints tables. */
export async function benchPostgres(rows: readonly Row[], options: BenchOptions): Promise<void> {
  const known: readonly Name[] = [OURS, ...(Object.keys(RIVALS) as RivalName[])];
  const names = known.filter((name) => (options.against ?? name) === name || name === OURS);
  const runs: Run[] = [];
  const server = await startMeasured(options.dir);
  try {
    await server.query("CREATE EXTENSION pg_stat_statements");
    for (let run = 1; run <= options.runs; run++) {
      for (const row of rows) {
        for (const name of names) {
          process.stderr.write(`run ${run} of ${options.runs}, ${row}: ${name}\n`);
          runs.push({ row, name, ...(await measureOne(server, name, row, options)) });
        }
      }
    }
    print(server.version, names, rows, runs, options);
  } finally {
    await server.stop();
  }
  writeResults(options, { postgres: server.version, settings: SETTINGS, runs });
  const bad = runs.filter(({ name, load }) => name === OURS && wrongs(load) > 0);
  if (bad.length === 0) return;
  process.stderr.write(`Error: the server did something wrong: ${JSON.stringify(bad[0]!.load)}\n`);
  process.exitCode = 1;
}

async function measureOne(
  server: Postgres,
  name: Name,
  row: Row,
  options: BenchOptions,
): Promise<Pick<Run, "load" | "cost">> {
  const load = { ...ROWS[row], seconds: options.seconds, payloadBytes: 100 };
  const { url, drop } = await createDatabase(server.url);
  try {
    if (name !== OURS) {
      // What the load itself begins with, making tables, is little.
      const before = await costs(server, url);
      const result = await measure(url, { ...load, rival: name }, undefined);
      return { load: result, cost: difference(before, await costs(server, url)) };
    }
    const args = options.serverArgs.split(" ").filter((arg) => arg !== "");
    const [address, child] = await startServer(["--postgres", url, ...args]);
    try {
      await warm(address, load, options);
      const before = await costs(server, url);
      const result = await measure(address, load, options.loadgen);
      return { load: result, cost: difference(before, await costs(server, url)) };
    } finally {
      await stop(child);
    }
  } finally {
    await drop();
  }
}

async function costs(server: Postgres, url: string): Promise<Cost> {
  const database = new URL(url).pathname.slice(1);
  const [row] = await queryOnce(
    server.url,
    `SELECT (SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE dbid = d.oid) AS statements,
       d.commits, pg_current_wal_lsn() - '0/0'::pg_lsn AS wal
     FROM (SELECT datid AS oid, xact_commit AS commits FROM pg_stat_database WHERE datname = $1) d`,
    [database],
  );
  return {
    statements: Number(row!.statements),
    commits: Number(row!.commits),
    walBytes: Number(row!.wal),
  };
}

function difference(before: Cost, after: Cost): Cost {
  return {
    statements: after.statements - before.statements,
    commits: after.commits - before.commits,
    walBytes: after.walBytes - before.walBytes,
  };
}

function print(
  version: string,
  names: readonly Name[],
  rows: readonly Row[],
  runs: readonly Run[],
  options: BenchOptions,
): void {
  const cpu = `${cpus().length} x ${cpus()[0]?.model ?? "?"}`;
  const lines = [
    `PostgreSQL ${version}, node ${process.version}, ${cpu}, medians of ${options.runs} runs of ${options.seconds} s`,
    "",
    "| load | queue | items/s (min..max) | ratio | produce p50 / p99 ms | end to end p50 / p99 ms | statements | commits | WAL bytes an item |",
    "|---|---|---|---|---|---|---|---|---|",
  ];
  for (const row of rows) {
    const of = (name: Name): Run[] => runs.filter((run) => run.row === row && run.name === name);
    const ours = median(of(OURS).map(({ load }) => load.itemsPerSecond));
    for (const name of names) {
      const mine = of(name);
      const per = mine.map(({ load }) => load.itemsPerSecond);
      const mid = (pick: (run: Run) => number, digits = 2): string =>
        median(mine.map(pick)).toFixed(digits);
      const each = (pick: (cost: Cost) => number, digits: number): string =>
        mid(({ cost, load }) => pick(cost) / load.completed, digits);
      const cells = [
        row,
        name,
        `${whole(median(per))} (${whole(Math.min(...per))}..${whole(Math.max(...per))})`,
        (ours / median(per)).toFixed(2),
        `${mid((r) => r.load.produceMs.p50)} / ${mid((r) => r.load.produceMs.p99)}`,
        `${mid((r) => r.load.endToEndMs.p50)} / ${mid((r) => r.load.endToEndMs.p99)}`,
        each((cost) => cost.statements, 3),
        each((cost) => cost.commits, 3),
        each((cost) => cost.walBytes, 0),
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  lines.push("", `The ratio is ${OURS} to the other; statements and commits are for an item.`);
  process.stdout.write(`${lines.join("\n")}\n`);
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");
