// `node test/crash/restart-time.ts`: how long a start takes after a kill, with an empty queue, with a
// million waiting items, and with a hundred thousand leased ones. From the start of the process to
// the line that says it is ready, and to the reply of the first lease. What waits must not matter.

import { statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { count } from "../support/options.ts";
import { conclude, endOnSignals, progress } from "../support/program.ts";
import { makeScratch, removeScratch } from "../support/scratch.ts";
import { Client } from "./client.ts";
import { call } from "./history.ts";
import { Host } from "./host.ts";
import { makePayload } from "./payload.ts";

const BATCH = 1_000;
const READY_MS_MAX = 1_000;

interface Row {
  readonly name: string;
  readonly waiting: number;
  readonly leased: number;
}

interface Start {
  readonly readyMs: number;
  readonly leaseMs: number;
}

const program = new Command("restart-time")
  .description("Measure how long a start takes after a kill")
  .option("--items <n>", "how many items wait", count, 1_000_000)
  .option("--leased <n>", "how many are leased in the last row", count, 100_000)
  .option("--starts <n>", "how often each row is started", count, 7)
  .option("--dir <dir>", "where the data lies; on a real disk", tmpdir())
  .parse();
const { items, leased, starts, dir } = program.opts<{
  items: number;
  leased: number;
  starts: number;
  dir: string;
}>();

endOnSignals();

async function fill(client: Client, { waiting, leased }: Row): Promise<void> {
  await call(client, "queues.create", {
    queue_name: "q",
    lease_timeout: "10h",
    expire_timeout: "100h",
    requested_partitions: 1,
  });
  let serial = 0;
  const lane = async (): Promise<void> => {
    while (serial < waiting + leased) {
      const produced = Array.from({ length: BATCH }, () => {
        serial++;
        return { utf8: makePayload(serial, 80), reference: String(serial) };
      });
      const request = { queue_name: "q", request_timeout: "1m", items: produced };
      await call(client, "queue.produce", request);
      if (serial % 100_000 === 0) progress(`  ${serial} items`);
    }
  };
  await Promise.all([lane(), lane()]);
  for (let done = 0; done < leased; done += BATCH) await lease(client, BATCH);
}

function lease(client: Client, batchSize: number): Promise<object> {
  const request = { queue_name: "q", client_id: "c", batch_size: batchSize };
  return call(client, "queue.lease", { ...request, request_timeout: "10s" });
}

// Starts the server after a kill, has one item leased, and kills it again.
async function startOnce(host: Host, client: Client, hasItems: boolean): Promise<Start> {
  await host.start();
  const { spawnedAt } = host.server;
  const readyMs = performance.now() - spawnedAt;
  if (!hasItems) {
    const item = { utf8: makePayload(1, 80), reference: "1" };
    const request = { queue_name: "q", request_timeout: "1m", items: [item] };
    await call(client, "queue.produce", request);
  }
  await lease(client, 1);
  const leaseMs = performance.now() - spawnedAt;
  await host.kill();
  return { readyMs, leaseMs };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!;

async function measure(row: Row): Promise<readonly Start[]> {
  const directory = makeScratch(dir);
  try {
    const dataDir = join(directory, "data");
    const host = new Host({ dataDir });
    const client = new Client(host);
    progress(`${row.name}: fills`);
    await host.start();
    await fill(client, row);
    await host.kill();
    const bytes = statSync(join(dataDir, "querator.db")).size;
    const results: Start[] = [];
    for (let i = 0; i < starts; i++) results.push(await startOnce(host, client, row.waiting > 0));
    const ready = results.map(({ readyMs }) => Math.round(readyMs));
    progress(`${row.name}: ${Math.round(bytes / 1e6)} MB, ready after ${ready.join(", ")} ms`);
    return results;
  } finally {
    removeScratch(directory);
  }
}

const rows: readonly Row[] = [
  { name: "empty", waiting: 0, leased: 0 },
  { name: `${items} waiting`, waiting: items, leased: 0 },
  { name: `${items} waiting and ${leased} leased`, waiting: items, leased },
];
const figures: string[] = [];
let isOk = true;
for (const row of rows) {
  try {
    const results = await measure(row);
    const ready = median(results.map(({ readyMs }) => readyMs));
    const first = median(results.map(({ leaseMs }) => leaseMs));
    isOk &&= Math.max(ready, first) < READY_MS_MAX;
    const text = `ready ${Math.round(ready)} ms, first lease ${Math.round(first)} ms`;
    figures.push(`${row.name}: ${text}`);
  } catch (error) {
    isOk = false;
    figures.push(`${row.name}: did not end`);
    progress((error as Error).stack ?? String(error));
  }
}
conclude("restart-time", isOk, `medians of ${starts} starts after a kill; ${figures.join("; ")}`);
process.exit();
