// `npm run bench:tables`: how the server behaves as something grows - clients, queues, what waits,
// payloads, the time of a commit, threads - what each feature and TLS cost beside the plain queue, and what one
// tenant does to another, each a table of docs/PERFORMANCE.md. What is compared is measured in turn on the same machine, and medians of several runs
// are printed.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { backlog, lists } from "./backlog-tables.ts";
import { tenants, tls } from "./closed-tables.ts";
import { events } from "./event-tables.ts";
import { dead, features, keys, unique, writes } from "./feature-tables.ts";
import { HttpClient } from "./http-client.ts";
import { BATCH, measure, positive, SINGLE, wrongs } from "./measure.ts";
import { hasRedis, startRedis } from "./redis.ts";
import {
  fixed,
  megabytes,
  OURS,
  PLACES,
  type Place,
  print,
  type TableOptions,
  TableRun,
  whole,
} from "./table-run.ts";

const TABLES = {
  clients,
  queues,
  backlog,
  payloads,
  formats,
  waiters,
  features,
  writes,
  unique,
  keys,
  lists,
  dead,
  tenants,
  tls,
  events,
  sync,
  redis,
  commits,
  threads,
} as const satisfies Record<string, (run: TableRun) => Promise<void>>;

function places(text: string): readonly Place[] {
  const names = text.split(",");
  const isPlace = (name: string): name is Place => PLACES.some((place) => place === name);
  if (names.every(isPlace)) return names;
  throw new InvalidArgumentError(`use some of ${PLACES}`);
}

const program = new Command("bench:tables")
  .description("Measure how the server behaves as something grows, and what features cost")
  .option("--seconds <n>", "how long each row is measured", positive, 4)
  .option("--runs <n>", "how often each row is measured", positive, 3)
  .option("--only <names>", `some of ${Object.keys(TABLES)}`)
  .option("--items <n>", "how many items wait in the largest backlog", positive, 10_000_000)
  .option("--keys <n>", "how many unique keys there are at once", positive, 1_000_000)
  .option("--storages <names>", `where features are measured, some of ${PLACES}`, places, PLACES)
  .option("--dir <dir>", "where the server's data lies; on a real disk", tmpdir())
  .option("--loadgen <file>", "use this load generator program in place of our own")
  .parse();
const options = program.opts<TableOptions>();

const unknown = options.only?.split(",").find((name) => !Object.hasOwn(TABLES, name));
if (unknown !== undefined) {
  program.error(`error: --only ${unknown}: use some of ${Object.keys(TABLES)}`);
}

const run = new TableRun(options);

// --- the tables ---

async function clients(): Promise<void> {
  const counts = [1, 2, 4, 8, 16, 32, 64, 128, 256];
  const rows = await run.inTurn(counts, (count) =>
    run.withServer({}, async (server) => {
      const load = { ...SINGLE, producers: count, consumers: count };
      const { load: result, did } = await run.under(server, load);
      // A produce, a lease and a complete for each.
      const requests = result.completed * 3;
      const { completed, itemsPerSecond, produceMs } = result;
      return [
        itemsPerSecond,
        (did.commits * itemsPerSecond) / completed,
        requests / did.commits,
        produceMs.p50,
        produceMs.p99,
        did.writtenBytes / completed,
        (did.cpuMs * 1_000) / completed,
        did.allocatedBytes / completed,
        did.gcMs / did.cpuMs,
      ];
    }),
  );
  print(
    "Single items, by the number of producers and of consumers:",
    [
      "clients of each",
      "items/s",
      "commits/s",
      "requests a commit",
      "produce p50 ms",
      "p99 ms",
      "bytes written an item",
      "CPU µs an item",
      "heap bytes an item",
      "in GC",
    ],
    rows.map(([items, commits, requests, p50, p99, bytes, cpu, heap, gc], i) => [
      counts[i],
      whole(items!),
      whole(commits!),
      fixed(requests!),
      fixed(p50!, 2),
      fixed(p99!, 2),
      whole(bytes!),
      fixed(cpu!),
      whole(heap!),
      `${fixed(gc! * 100)} %`,
    ]),
  );
}

async function queues(): Promise<void> {
  const counts = [1, 50, 5_000];
  const rows = await run.inTurn(counts, (count) =>
    run.withServer({}, async (server) => {
      const consumers = Math.max(count, 64);
      const single = await run.under(server, {
        ...SINGLE,
        producers: 64,
        consumers,
        queues: count,
      });
      const batch = await run.under(server, {
        ...BATCH,
        consumers: Math.max(count, 8),
        queues: count,
      });
      return [single.load.itemsPerSecond, batch.load.itemsPerSecond, batch.after.rssBytes];
    }),
  );
  print(
    "The same load over more queues, each with a consumer of its own:",
    ["queues", "single items/s", "batched items/s", "memory"],
    rows.map(([single, batch, rss], i) => [
      whole(counts[i]!),
      whole(single!),
      whole(batch!),
      megabytes(rss!),
    ]),
  );
}

async function payloads(): Promise<void> {
  const shapes = [
    ["100 B", { ...BATCH, payloadBytes: 100 }],
    ["10 kB", { ...BATCH, batch: 10, cap: 1_000, payloadBytes: 10_000 }],
    ["1 MB", { ...BATCH, batch: 1, cap: 50, payloadBytes: 1_000_000 }],
  ] as const;
  const rows = await run.inTurn(shapes, ([, load]) =>
    run.withServer({}, async (server) => {
      const { load: result, did, after } = await run.under(server, load);
      const { completed, itemsPerSecond } = result;
      const bytes = itemsPerSecond * load.payloadBytes;
      return [itemsPerSecond, bytes, did.writtenBytes / completed, after.rssBytes];
    }),
  );
  print(
    "Larger payloads:",
    ["payload", "batch", "items/s", "payload a second", "bytes written an item", "memory"],
    rows.map(([items, bytes, written, rss], i) => [
      shapes[i]![0],
      shapes[i]![1].batch,
      whole(items!),
      megabytes(bytes!),
      whole(written!),
      megabytes(rss!),
    ]),
  );
}

// By our own load generator, for others speak JSON only.
async function formats(): Promise<void> {
  const shapes = [
    ["JSON", {}],
    ["Protobuf", { format: "protobuf" }],
    ["JSON under /v2, texts as payloads", { format: "v2-text" }],
    ["JSON under /v2, JSON as payloads", { format: "v2-json" }],
    ["JSON, 8 produces of a producer at once", { pipelined: 8 }],
  ] as const;
  const rows = await run.inTurn(shapes, ([, shape]) =>
    run.withServer({}, async (server) => {
      const figures: number[] = [];
      for (const load of [SINGLE, BATCH]) {
        const { load: result, did } = await run.under(server, { ...load, ...shape }, OURS);
        figures.push(result.itemsPerSecond, (did.cpuMs * 1_000) / result.completed);
      }
      return figures;
    }),
  );
  print(
    "By the format of requests and replies, with our own load generator, which is slower than the server:",
    ["", "single items/s", "CPU µs an item", "batched items/s", "CPU µs an item"],
    rows.map(([single, singleCpu, batch, batchCpu], i) => [
      shapes[i]![0],
      whole(single!),
      fixed(singleCpu!),
      whole(batch!),
      fixed(batchCpu!, 2),
    ]),
  );
}

async function waiters(): Promise<void> {
  const count = 10_000;
  const rows = await run.inTurn([count], () =>
    run.withServer({}, async (server) => {
      const url = new URL(server.url);
      const control = await HttpClient.open(url);
      const settings = `"lease_timeout":"5m","expire_timeout":"24h","requested_partitions":1`;
      for (let i = 0; i < 100; i++) {
        await control.post("/v1/queues.create", `{"queue_name":"idle-${i}",${settings}}`);
      }
      const before = await server.figures();
      const waiting: HttpClient[] = [];
      for (let i = 0; i < count; i++) {
        const client = await HttpClient.open(url);
        waiting.push(client);
        const ask = `{"queue_name":"idle-${i % 100}","request_timeout":"5m","batch_size":1,"client_id":"c${i}"}`;
        client.post("/v1/queue.lease", ask).catch(() => undefined);
      }
      const { load, after } = await run.under(server, { ...SINGLE, rate: 200 });
      for (const client of waiting) client.close();
      control.close();
      return [(after.rssBytes - before.rssBytes) / count, load.produceMs.p50];
    }),
  );
  print(
    `${whole(count)} leases that wait on 100 idle queues, each on a connection of its own:`,
    ["memory a waiting lease", "produce p50 beside them, 200 a second"],
    rows.map(([bytes, p50]) => [`${fixed(bytes! / 1_000)} kB`, `${fixed(p50!, 2)} ms`]),
  );
}

async function sync(): Promise<void> {
  const shapes = [
    ["full", { sync: "full" }],
    ["interval, 1s", { sync: "interval", syncInterval: "1s" }],
    ["interval, 10ms", { sync: "interval", syncInterval: "10ms" }],
    ["memory", { memory: true, dataDir: undefined }],
  ] as const;
  await compare("When commits are on disk:", "sync", shapes);
}

// With our own load generator for both.
async function redis(): Promise<void> {
  if (!hasRedis()) {
    process.stdout.write("\nRedis is skipped: there is no redis-server on the path\n");
    return;
  }
  const shapes = [
    ["the server, `full`", { sync: "full" }],
    ["a Redis list, `always`", "always"],
    ["the server, `interval` of 1s", { sync: "interval", syncInterval: "1s" }],
    ["a Redis list, `everysec`", "everysec"],
  ] as const;
  const rows = await run.inTurn(shapes, async ([, shape]) => {
    if (typeof shape !== "string") {
      return run.withServer(shape, async ({ url }) => bothLoads({ url }));
    }
    const dir = mkdtempSync(join(options.dir, "querator-bench-"));
    const server = await startRedis(join(dir, "redis"), shape);
    try {
      return await bothLoads({ url: server.socket, rival: "redis-list" });
    } finally {
      await server.stop();
      rmSync(dir, { recursive: true, force: true });
    }
  });
  print(
    "Beside a list in Redis, which has no leases, with our own load generator:",
    ["", "single items/s", "produce p50 ms", "batched items/s", "produce p50 ms"],
    rows.map(([single, singleMs, batch, batchMs], i) => [
      shapes[i]![0],
      whole(single!),
      fixed(singleMs!, 2),
      whole(batch!),
      fixed(batchMs!, 2),
    ]),
  );
}

async function bothLoads(target: { url: string; rival?: string }): Promise<readonly number[]> {
  const figures: number[] = [];
  for (const load of [SINGLE, BATCH]) {
    const { seconds } = options;
    const result = await measure(target.url, { ...load, ...target, seconds }, undefined);
    run.wrong += wrongs(result);
    figures.push(result.itemsPerSecond, result.produceMs.p50);
  }
  return figures;
}

async function commits(): Promise<void> {
  const shapes = [0, 1, 5].map((delayMs) => [`${delayMs} ms`, { delayMs }] as const);
  await compare("A disk that takes longer:", "added to a commit", shapes);
}

async function threads(): Promise<void> {
  const shapes = [1, 2].map((count) => [String(count), { threads: count }] as const);
  await compare("Threads, 16 queues:", "threads", shapes, 16);
}

async function compare(
  title: string,
  what: string,
  shapes: readonly (readonly [string, object])[],
  queueCount = 1,
): Promise<void> {
  const rows = await run.inTurn(shapes, ([, settings]) =>
    run.withServer(settings, async (server) => {
      const consumers = Math.max(queueCount, 32);
      const single = await run.under(server, { ...SINGLE, consumers, queues: queueCount });
      const large = { ...BATCH, producers: 16, consumers: 16, queues: queueCount };
      const batch = await run.under(server, queueCount === 1 ? BATCH : large);
      return [
        single.load.itemsPerSecond,
        single.load.produceMs.p50,
        batch.load.itemsPerSecond,
        batch.load.produceMs.p50,
      ];
    }),
  );
  print(
    title,
    [what, "single items/s", "ratio", "produce p50 ms", "batched items/s", "ratio", "p50 ms"],
    rows.map(([single, singleMs, batch, batchMs], i) => [
      shapes[i]![0],
      whole(single!),
      fixed(single! / rows[0]![0]!, 2),
      fixed(singleMs!, 2),
      whole(batch!),
      fixed(batch! / rows[0]![2]!, 2),
      fixed(batchMs!, 2),
    ]),
  );
}

const cores = execFileSync("nproc").toString().trim();
process.stdout.write(
  `node ${process.version}, ${cores} cores, medians of ${options.runs} runs of ${options.seconds} s\n`,
);
const chosen = (options.only?.split(",") ?? Object.keys(TABLES)) as (keyof typeof TABLES)[];
try {
  for (const name of chosen) {
    process.stderr.write(`${name}\n`);
    await TABLES[name](run);
  }
} finally {
  await run.close();
}
if (run.wrong > 0) {
  process.stderr.write(
    `Error: ${run.wrong} requests failed, or items were lost, doubled or moved\n`,
  );
  process.exitCode = 1;
}
