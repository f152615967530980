// `npm run bench:client`: what one process carries through the TypeScript client from produce to complete,
// one item a call, against a durable server in a process of its own.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Command } from "commander";
import type { ClientLoadOptions, ClientLoadResult } from "./client-load.ts";
import { checkDisk, median, positive, startServer, stop } from "./measure.ts";

const here = dirname(fileURLToPath(import.meta.url));

const options = new Command("bench:client")
  .description("Measure the TypeScript client against a durable server")
  .option("--seconds <n>", "how long each run lasts", positive, 5)
  .option("--runs <n>", "how often it is measured", positive, 3)
  .option("--callers <n>", "callers that produce, and as many that consume", positive, 32)
  .option("--dir <dir>", "where the server's data lies; on a real disk", tmpdir())
  .parse()
  .opts<{ seconds: number; runs: number; callers: number; dir: string }>();

const dir = mkdtempSync(join(options.dir, "querator-bench-"));
checkDisk(dir);
const results: Record<string, ClientLoadResult[]> = { callers: [], worker: [] };
try {
  for (let run = 1; run <= options.runs; run++) {
    const [url, server] = await startServer(["--data-dir", join(dir, `data-${run}`)]);
    for (const [consumer, all] of Object.entries(results)) {
      const load: ClientLoadOptions = {
        url,
        producers: options.callers,
        consumers: options.callers,
        isWorker: consumer === "worker",
        seconds: options.seconds,
        cap: 1_000,
        payloadBytes: 100,
      };
      const args = [join(here, "client-load.ts"), JSON.stringify(load)];
      const { stdout } = await promisify(execFile)(process.execPath, args);
      all.push(JSON.parse(stdout) as ClientLoadResult);
      process.stderr.write(`run ${run}, ${consumer}: ${stdout}`);
    }
    await stop(server);
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}

const { callers } = options;
const lines = [
  "| produced by | consumed by | items/s (min..max) | client CPU an item, microseconds |",
];
lines.push("|---|---|---|---|");
for (const [consumer, all] of Object.entries(results)) {
  const per = all.map(({ itemsPerSecond }) => itemsPerSecond);
  const cpu = median(all.map(({ cpuMs, completed }) => (cpuMs * 1_000) / completed)).toFixed(1);
  const by = consumer === "worker" ? `a worker, concurrency ${callers}` : `${callers} callers`;
  const range = `${median(per)} (${Math.min(...per)}..${Math.max(...per)})`;
  lines.push(`| ${callers} callers | ${by} | ${range} | ${cpu} |`);
}
process.stdout.write(`${lines.join("\n")}\n`);
const all = Object.values(results).flat();
if (all.some(({ lost, twice }) => lost + twice > 0)) {
  process.stderr.write("Error: items were lost or doubled\n");
  process.exitCode = 1;
}
