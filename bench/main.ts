// `npm run bench`: what the server carries on this machine, beside what the machine could do. Each
// run measures the real server and a bare one in turn, so that noise hits both; medians of all runs
// are printed with their ratios, and everything is written as JSON. With `--storage postgres` the
// others are queues over the same PostgreSQL; see postgres.ts.

import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { Command, Option } from "commander";
import type { LoadResult } from "./load.ts";
import {
  type BenchOptions,
  checkDisk,
  measureServer,
  median,
  notNegative,
  positive,
  ROWS,
  type Row,
  startBare,
  startServer,
  stop,
  writeResults,
  wrongs,
} from "./measure.ts";
import { benchPostgres } from "./postgres.ts";
import { RIVALS } from "./rivals.ts";
import { bareCommits, bareFsyncMicros } from "./sqlite.ts";

interface Run {
  readonly row: Row;
  readonly server: LoadResult;
  readonly bare: LoadResult;
}

const program = new Command("bench")
  .description("Measure the server on this machine")
  .addOption(
    new Option("--storage <driver>", "what the server keeps its data in")
      .choices(["sqlite", "postgres"])
      .default("sqlite"),
  )
  .option("--against <name>", `storage postgres: one of ${Object.keys(RIVALS).join("; ")}`)
  .option("--seconds <n>", "how long each row is measured", positive, 5)
  .option("--warm-up <n>", "seconds of the same load before each row, not counted", notNegative, 0)
  .option("--runs <n>", "how often everything is measured", positive, 3)
  .option("--only <row>", "single, many, batch or latency")
  .option("--dir <dir>", "where the server's data lies; on a real disk", tmpdir())
  .option("--server-args <args>", "more flags for the server", "")
  .option("--loadgen <file>", "use this load generator program in place of our own")
  .option("--out <file>", "where to write the figures as JSON")
  .parse();
const options = program.opts<BenchOptions>();
const rows = (Object.keys(ROWS) as Row[]).filter((row) => (options.only ?? row) === row);
if (rows.length === 0)
  program.error(`error: --only ${options.only}: use single, many, batch or latency`);

if (options.storage === "postgres") {
  await benchPostgres(rows, options);
  process.exit();
}

const dir = mkdtempSync(join(options.dir, "querator-bench-"));
checkDisk(dir);
const runs: Run[] = [];
const commits: Record<number, number[]> = { 1: [], 12: [], 100: [] };
const fsyncs: number[] = [];
// As far apart as the requests of the row `latency`.
const pacedFsyncs: number[] = [];
try {
  for (let run = 1; run <= options.runs; run++) {
    process.stderr.write(`run ${run} of ${options.runs}\n`);
    fsyncs.push(await bareFsyncMicros(dir));
    pacedFsyncs.push(await bareFsyncMicros(dir, 1_000 / ROWS.latency.rate));
    for (const batch of Object.keys(commits)) {
      const { commitMicros } = bareCommits(mkdtempSync(join(dir, "bare-")), Number(batch), 1);
      commits[Number(batch)]!.push(commitMicros);
    }
    const [url, server] = await startServer([
      "--data-dir",
      join(dir, `data-${run}`),
      ...options.serverArgs.split(" ").filter((arg) => arg !== ""),
    ]);
    const [bareUrl, bare] = await startBare();
    for (const row of rows) {
      const load = { ...ROWS[row], seconds: options.seconds, payloadBytes: 100 };
      runs.push({
        row,
        server: await measureServer(url, load, options),
        bare: await measureServer(bareUrl, load, options),
      });
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
lines.push(
  `bare fsync of 4 KiB: ${median(fsyncs)} microseconds; ${ROWS.latency.rate} a second: ${median(pacedFsyncs)}`,
);
for (const [batch, micros] of Object.entries(commits)) {
  const per = Math.round((Number(batch) * 1e6) / median(micros));
  lines.push(
    `bare SQLite commit of ${batch} added, ${batch} removed: ${median(micros)} microseconds, ${per} items/s`,
  );
}
process.stdout.write(`${lines.join("\n")}\n`);

writeResults(options, { runs, commits, fsyncs, pacedFsyncs });

const bad = runs.filter(({ server }) => wrongs(server) > 0);
if (bad.length > 0) {
  process.stderr.write(
    `Error: requests failed, or items were lost, doubled or out of order: ${JSON.stringify(bad[0]!.server)}\n`,
  );
  process.exitCode = 1;
}
