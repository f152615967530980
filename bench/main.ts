// `npm run bench`: what the server carries on this machine, beside what the machine could do. Each
// run measures the real server and a bare one in turn, so that noise hits both; medians of all runs
// are printed with their ratios, and everything is written as JSON.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Command, InvalidArgumentError } from "commander";
import type { LoadOptions, LoadResult } from "./load.ts";
import { bareCommits, bareFsyncMicros } from "./sqlite.ts";

const ROWS = {
  single: { producers: 32, consumers: 32, batch: 1, cap: 1_000, rate: 0 },
  batch: { producers: 8, consumers: 8, batch: 100, cap: 5_000, rate: 0 },
  latency: { producers: 1, consumers: 4, batch: 1, cap: 5_000, rate: 200 },
} as const;

type Row = keyof typeof ROWS;

interface Run {
  readonly row: Row;
  readonly server: LoadResult;
  readonly bare: LoadResult;
}

const TMPFS = 0x01021994;

function positive(text: string): number {
  const number = Number(text);
  if (number > 0) return number;
  throw new InvalidArgumentError("use a number above 0");
}

const program = new Command("bench")
  .description("Measure the server on this machine")
  .option("--seconds <n>", "how long each row is measured", positive, 5)
  .option("--runs <n>", "how often everything is measured", positive, 3)
  .option("--only <row>", "single, batch or latency")
  .option("--dir <dir>", "where the server's data lies; on a real disk", tmpdir())
  .option("--server-args <args>", "more flags for the server", "")
  .option("--loadgen <file>", "use this load generator program in place of our own")
  .option("--out <file>", "where to write the figures as JSON")
  .parse();
const options = program.opts<{
  seconds: number;
  runs: number;
  only?: string;
  dir: string;
  serverArgs: string;
  loadgen?: string;
  out?: string;
}>();
const rows = (Object.keys(ROWS) as Row[]).filter((row) => (options.only ?? row) === row);
if (rows.length === 0) program.error(`error: --only ${options.only}: use single, batch or latency`);

const here = dirname(fileURLToPath(import.meta.url));

/** Starts a server that prints a line with its address; answers it and how to end it. */
async function start(script: string, args: readonly string[]): Promise<[string, ChildProcess]> {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const { address } = JSON.parse(line) as { address?: string };
    if (address !== undefined) return [address, child];
  }
  throw new Error(`${script} did not start`);
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "exit");
}

async function measure(row: Row, url: string): Promise<LoadResult> {
  const shape = ROWS[row];
  if (options.loadgen !== undefined) return measureWith(options.loadgen, row, url);
  const load: LoadOptions = { ...shape, url, seconds: options.seconds, payloadBytes: 100 };
  const { stdout } = await promisify(execFile)(process.execPath, [
    join(here, "load.ts"),
    JSON.stringify(load),
  ]);
  return JSON.parse(stdout) as LoadResult;
}

// The load generator that others measure us with prints other names for the same figures.
async function measureWith(program: string, row: Row, url: string): Promise<LoadResult> {
  const { producers, consumers, batch, cap, rate } = ROWS[row];
  const { stdout } = await promisify(execFile)(program, [
    ...["-url", url, "-for", `${options.seconds}s`, "-cap", String(cap), "-rate", String(rate)],
    ...["-producers", String(producers), "-consumers", String(consumers), "-batch", String(batch)],
  ]);
  const line = JSON.parse(stdout) as Record<string, number> &
    Record<string, { p50: number; p99: number }>;
  return {
    completed: line.completed!,
    itemsPerSecond: line.completed_per_s!,
    failed: line.failed!,
    lost: line.lost!,
    twice: line.leased_twice!,
    disorder: line.out_of_order!,
    produceMs: line.produce_ms!,
    endToEndMs: line.end_to_end_ms!,
  };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!;

const dir = mkdtempSync(join(options.dir, "querator-bench-"));
if (statfsSync(dir).type === TMPFS) {
  process.stderr.write(`warning: ${dir} lies in memory; choose a disk with --dir\n`);
}
const runs: Run[] = [];
const commits: Record<number, number[]> = { 1: [], 12: [], 100: [] };
const fsyncs: number[] = [];
try {
  for (let run = 1; run <= options.runs; run++) {
    process.stderr.write(`run ${run} of ${options.runs}\n`);
    fsyncs.push(bareFsyncMicros(dir));
    for (const batch of Object.keys(commits)) {
      const { commitMicros } = bareCommits(mkdtempSync(join(dir, "bare-")), Number(batch), 1);
      commits[Number(batch)]!.push(commitMicros);
    }
    const args = ["--address", "127.0.0.1:0", "--log-format", "json"];
    const [url, server] = await start(join(here, "../bin/querator.js"), [
      "server",
      ...args,
      "--data-dir",
      join(dir, `data-${run}`),
      ...options.serverArgs.split(" ").filter((arg) => arg !== ""),
    ]);
    const [bareUrl, bare] = await start(join(here, "bare.ts"), []);
    for (const row of rows) {
      runs.push({ row, server: await measure(row, url), bare: await measure(row, bareUrl) });
    }
    await stop(server);
    await stop(bare);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}

const lines: string[] = [];
lines.push(
  `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? "?"}, medians of ${options.runs} runs of ${options.seconds} s`,
);
lines.push("");
lines.push(
  "| load | items/s (min..max) | bare server | ratio | produce p50 / p99 ms | end to end p50 / p99 ms |",
);
lines.push("|---|---|---|---|---|---|");
for (const row of rows) {
  const mine = runs.filter((run) => run.row === row);
  const per = mine.map((run) => run.server.itemsPerSecond);
  const bare = median(mine.map((run) => run.bare.itemsPerSecond));
  const ratio = median(mine.map((run) => run.server.itemsPerSecond / run.bare.itemsPerSecond));
  const latency = (pick: (result: LoadResult) => number): string =>
    median(mine.map((run) => pick(run.server))).toFixed(2);
  lines.push(
    `| ${row} | ${median(per)} (${Math.min(...per)}..${Math.max(...per)}) | ${bare} | ${ratio.toFixed(2)} | ${latency((r) => r.produceMs.p50)} / ${latency((r) => r.produceMs.p99)} | ${latency((r) => r.endToEndMs.p50)} / ${latency((r) => r.endToEndMs.p99)} |`,
  );
}
lines.push("");
lines.push(`bare fsync of 4 KiB: ${median(fsyncs)} microseconds`);
for (const [batch, micros] of Object.entries(commits)) {
  const per = Math.round((Number(batch) * 1e6) / median(micros));
  lines.push(
    `bare SQLite commit of ${batch} added, ${batch} removed: ${median(micros)} microseconds, ${per} items/s`,
  );
}
process.stdout.write(`${lines.join("\n")}\n`);

const out =
  options.out ?? join("bench-results", `${new Date().toISOString().replaceAll(":", "-")}.json`);
mkdirSync(dirname(out), { recursive: true });
const machine = { node: process.version, cores: cpus().length, cpu: cpus()[0]?.model };
writeFileSync(out, `${JSON.stringify({ machine, options, runs, commits, fsyncs }, null, 2)}\n`);
process.stderr.write(`written to ${out}\n`);

const bad = runs.filter(
  ({ server }) => server.failed + server.lost + server.twice + server.disorder > 0,
);
if (bad.length > 0) {
  process.stderr.write(
    `Error: requests failed, or items were lost, doubled or out of order: ${JSON.stringify(bad[0]!.server)}\n`,
  );
  process.exitCode = 1;
}
