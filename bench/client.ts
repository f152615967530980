// `npm run bench:client`: what one process carries through the TypeScript client from produce to complete,
// one item a call, against a durable server in a process of its own; and beside it what BullMQ and a plain
// list carry over a durable Redis, if it is there. All are measured in turn, several times.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Command } from "commander";
import type { ClientLoadOptions, ClientLoadResult } from "./client-load.ts";
import type { SubjectName } from "./client-subjects.ts";
import { checkDisk, median, positive, startServer, stop } from "./measure.ts";
import { hasRedis, startRedis } from "./redis.ts";

interface Options {
  readonly seconds: number;
  readonly runs: number;
  readonly callers: number;
  readonly dir: string;
  readonly redis: boolean;
}

const here = dirname(fileURLToPath(import.meta.url));

const options = new Command("bench:client")
  .description("Measure the TypeScript client against a durable server, and others beside it")
  .option("--seconds <n>", "how long each run lasts", positive, 5)
  .option("--runs <n>", "how often it is measured", positive, 3)
  .option("--callers <n>", "callers that produce, and as many that consume", positive, 32)
  .option("--dir <dir>", "where data lies; on a real disk", tmpdir())
  .option("--no-redis", "leave out what needs Redis")
  .parse()
  .opts<Options>();

const { callers } = options;
const OURS: Partial<Record<SubjectName, string>> = {
  callers: `the client: ${callers} callers, consumed by ${callers} callers`,
  worker: `the client: ${callers} callers, consumed by a worker, concurrency ${callers}`,
};
const RIVALS: Partial<Record<SubjectName, string>> = {
  bullmq: `BullMQ: ${callers} callers of add, a worker, concurrency ${callers}`,
  "bullmq addBulk": "BullMQ: addBulk of 32, a worker, concurrency 100",
  "redis list": `a list in Redis: ${callers} callers, consumed by ${callers} callers`,
};

const results = new Map<SubjectName, ClientLoadResult[]>();

async function measure(subject: SubjectName, url: string): Promise<void> {
  const load: ClientLoadOptions = {
    subject,
    url,
    producers: callers,
    consumers: callers,
    seconds: options.seconds,
    cap: 1_000,
    payloadBytes: 100,
  };
  const args = [join(here, "client-load.ts"), JSON.stringify(load)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  results.set(subject, [...(results.get(subject) ?? []), JSON.parse(stdout) as ClientLoadResult]);
  process.stderr.write(`${subject}: ${stdout}`);
}

const dir = mkdtempSync(join(options.dir, "querator-bench-"));
checkDisk(dir);
const withRedis = options.redis && hasRedis();
try {
  for (let run = 1; run <= options.runs; run++) {
    const [url, server] = await startServer(["--data-dir", join(dir, `data-${run}`)]);
    for (const subject of Object.keys(OURS)) await measure(subject as SubjectName, url);
    await stop(server);
    if (!withRedis) continue;
    const redis = await startRedis(join(dir, `redis-${run}`));
    for (const subject of Object.keys(RIVALS)) await measure(subject as SubjectName, redis.socket);
    await redis.stop();
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}

const lines = [
  "| what | items/s (min..max) | CPU of the process an item, microseconds |",
  "|---|---|---|",
];
for (const [subject, all] of results) {
  const per = all.map(({ itemsPerSecond }) => itemsPerSecond);
  const cpu = median(all.map(({ cpuMs, completed }) => (cpuMs * 1_000) / completed)).toFixed(1);
  const range = `${median(per)} (${Math.min(...per)}..${Math.max(...per)})`;
  lines.push(`| ${OURS[subject] ?? RIVALS[subject]} | ${range} | ${cpu} |`);
}
process.stdout.write(`${lines.join("\n")}\n`);
if (!withRedis) {
  process.stdout.write(
    "BullMQ and the list are skipped: no redis-server on the path, or --no-redis\n",
  );
}
if ([...results.values()].flat().some(({ lost, twice }) => lost + twice > 0)) {
  process.stderr.write("Error: items were lost or doubled\n");
  process.exitCode = 1;
}
