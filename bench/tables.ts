// `npm run bench:tables`: how the server behaves as something grows - clients, queues, what waits,
// payloads, the time of a commit, threads - each a table of docs/PERFORMANCE.md. What is compared is
// measured in turn on the same machine, and medians of several runs are printed.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { HttpClient } from "./http-client.ts";
import type { LoadResult } from "./load.ts";
import {
  CountedServer,
  checkDisk,
  type Load,
  measure,
  median,
  positive,
  wrongs,
} from "./measure.ts";
import { hasRedis, startRedis } from "./redis.ts";
import type { ServerFigures } from "./server.ts";
import { openHttp } from "./target.ts";

const SINGLE = { producers: 32, consumers: 32, batch: 1, cap: 1_000, rate: 0, payloadBytes: 100 };
const BATCH = { producers: 8, consumers: 8, batch: 100, cap: 5_000, rate: 0, payloadBytes: 100 };

const TABLES = {
  clients,
  queues,
  backlog,
  payloads,
  formats,
  waiters,
  unique,
  sync,
  redis,
  commits,
  threads,
  dead,
} as const satisfies Record<string, () => Promise<void>>;

const program = new Command("bench:tables")
  .description("Measure how the server behaves as something grows")
  .option("--seconds <n>", "how long each row is measured", positive, 4)
  .option("--runs <n>", "how often each row is measured", positive, 3)
  .option("--only <names>", `some of ${Object.keys(TABLES)}`)
  .option("--items <n>", "how many items wait in the largest backlog", positive, 10_000_000)
  .option("--dir <dir>", "where the server's data lies; on a real disk", tmpdir())
  .option("--loadgen <file>", "use this load generator program in place of our own")
  .parse();
const options = program.opts<{
  seconds: number;
  runs: number;
  only?: string;
  items: number;
  dir: string;
  loadgen?: string;
}>();

const unknown = options.only?.split(",").find((name) => !Object.hasOwn(TABLES, name));
if (unknown !== undefined) {
  program.error(`error: --only ${unknown}: use some of ${Object.keys(TABLES)}`);
}

/** In place of the program of --loadgen. */
const OURS = "ours";

interface Measured {
  readonly load: LoadResult;
  /** What the server did meanwhile. */
  readonly did: ServerFigures;
  readonly after: ServerFigures;
}

let wrong = 0;

async function under(
  server: CountedServer,
  load: Omit<Load, "seconds">,
  loadgen = options.loadgen,
): Promise<Measured> {
  const before = await server.figures();
  const { seconds } = options;
  const program = loadgen === OURS ? undefined : loadgen;
  const result = await measure(server.url, { ...load, seconds }, program);
  wrong += wrongs(result);
  const after = await server.figures();
  const did = Object.fromEntries(
    Object.entries(after).map(([key, value]) => [
      key,
      (value as number) - before[key as keyof ServerFigures],
    ]),
  ) as unknown as ServerFigures;
  return { load: result, did, after };
}

async function withServer<T>(
  settings: object,
  work: (server: CountedServer, dir: string) => Promise<T>,
): Promise<T> {
  const dir = mkdtempSync(join(options.dir, "querator-bench-"));
  checkDisk(dir);
  try {
    const server = await CountedServer.start({ dataDir: join(dir, "data"), ...settings });
    try {
      return await work(server, dir);
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Medians over all runs of what each row measures, rows in turn so that noise hits all of them. */
async function inTurn<Row>(
  rows: readonly Row[],
  run: (row: Row) => Promise<readonly number[]>,
): Promise<readonly (readonly number[])[]> {
  const seen = rows.map((): (readonly number[])[] => []);
  for (let i = 0; i < options.runs; i++) {
    for (const [index, row] of rows.entries()) seen[index]!.push(await run(row));
  }
  return seen.map((runs) => runs[0]!.map((_, column) => median(runs.map((each) => each[column]!))));
}

function print(
  title: string,
  head: readonly string[],
  rows: readonly (readonly unknown[])[],
): void {
  const line = (cells: readonly unknown[]): string => `| ${cells.join(" | ")} |\n`;
  const rule = line(head.map(() => "---"));
  process.stdout.write(`\n${title}\n\n${line(head)}${rule}${rows.map(line).join("")}`);
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");
const fixed = (value: number, digits = 1): string => value.toFixed(digits);
const megabytes = (bytes: number): string => `${whole(bytes / 1e6)} MB`;

// --- the tables ---

async function clients(): Promise<void> {
  const counts = [1, 2, 4, 8, 16, 32, 64, 128, 256];
  const rows = await inTurn(counts, (count) =>
    withServer({}, async (server) => {
      const load = { ...SINGLE, producers: count, consumers: count };
      const { load: result, did } = await under(server, load);
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
  const rows = await inTurn(counts, (count) =>
    withServer({}, async (server) => {
      const consumers = Math.max(count, 64);
      const single = await under(server, { ...SINGLE, producers: 64, consumers, queues: count });
      const batch = await under(server, { ...BATCH, consumers: Math.max(count, 8), queues: count });
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

const FILL = 1_000;

// By our own load generator: another one counts only what comes after the backlog.
async function backlog(): Promise<void> {
  const sizes = [0, Math.round(options.items / 10), options.items];
  const dir = mkdtempSync(join(options.dir, "querator-bench-"));
  checkDisk(dir);
  const dataDirs = sizes.map((size) => join(dir, String(size)));
  const servers: CountedServer[] = [];
  try {
    for (const [i, size] of sizes.entries()) {
      servers[i] = await CountedServer.start({ dataDir: dataDirs[i] });
      await fill(servers[i].url, size);
    }
    const measured = await inTurn(servers, async (server) => {
      const { load, after } = await under(server, { ...BATCH, queue: BACKLOG }, OURS);
      return [load.itemsPerSecond, after.rssBytes];
    });
    const rows: unknown[][] = [];
    for (const [i, [itemsPerSecond, rssBytes]] of measured.entries()) {
      await servers[i]!.stop();
      const dataDir = dataDirs[i]!;
      const starts: number[] = [];
      for (let start = 0; start < 5; start++) {
        const from = performance.now();
        const again = await CountedServer.start({ dataDir });
        starts.push(performance.now() - from);
        await again.stop();
      }
      rows.push([
        whole(sizes[i]!),
        whole(itemsPerSecond!),
        fixed(itemsPerSecond! / measured[0]![0]!, 2),
        megabytes(rssBytes!),
        megabytes(statSync(join(dataDir, "querator.db")).size),
        `${whole(median(starts))} ms`,
      ]);
    }
    print(
      "Batches of 100 beside what waits already:",
      ["waiting items", "items/s", "ratio", "memory", "file", "ready after a start"],
      rows,
    );
  } finally {
    for (const server of servers) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

const BACKLOG = "backlog";

/** Makes a queue in which so many items wait. */
async function fill(url: string, size: number): Promise<void> {
  const target = openHttp(url, FILL);
  await target.createQueue(BACKLOG);
  const producer = await target.producer();
  for (let filled = 0; filled < size; filled += FILL) {
    const count = Math.min(FILL, size - filled);
    const payloads = Array.from({ length: count }, (_, i) => String(filled + i).padEnd(100));
    if (!(await producer.produce(BACKLOG, payloads))) throw new Error("the backlog was refused");
  }
  producer.close();
}

async function payloads(): Promise<void> {
  const shapes = [
    ["100 B", { ...BATCH, payloadBytes: 100 }],
    ["10 kB", { ...BATCH, batch: 10, cap: 1_000, payloadBytes: 10_000 }],
    ["1 MB", { ...BATCH, batch: 1, cap: 50, payloadBytes: 1_000_000 }],
  ] as const;
  const rows = await inTurn(shapes, ([, load]) =>
    withServer({}, async (server) => {
      const { load: result, did, after } = await under(server, load);
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
  const rows = await inTurn(shapes, ([, shape]) =>
    withServer({}, async (server) => {
      const figures: number[] = [];
      for (const load of [SINGLE, BATCH]) {
        const { load: result, did } = await under(server, { ...load, ...shape }, OURS);
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
  const rows = await inTurn([count], () =>
    withServer({}, async (server) => {
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
      const { load, after } = await under(server, { ...SINGLE, rate: 200 });
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

/** What an item asks for, by how many there were before it. */
type ItemText = (n: number) => string;

const UNIQUE_ROWS: readonly (readonly [string, ItemText])[] = [
  ["without a key", () => `{"utf8":"${"x".repeat(100)}"}`],
  ["a key of its own", (n) => `{"utf8":"${"x".repeat(100)}","unique_key":"user-${n}"}`],
  ["a key that is taken", () => `{"utf8":"${"x".repeat(100)}","unique_key":"taken"}`],
  [
    "a key that is taken, replace",
    () => `{"utf8":"${"x".repeat(100)}","unique_key":"taken","on_duplicate":"replace"}`,
  ],
];

async function unique(): Promise<void> {
  const rows = await inTurn(UNIQUE_ROWS, async ([, text]) => {
    const rates: number[] = [];
    for (const { producers, batch } of [SINGLE, BATCH]) {
      rates.push(await withServer({}, (server) => produced(server, { producers, batch, text })));
    }
    return rates;
  });
  print(
    "Items a second that are only produced, with unique keys:",
    ["", "32 producers, single items", "8 producers, batches of 100"],
    rows.map((rates, i) => [UNIQUE_ROWS[i]![0], ...rates.map(whole)]),
  );
  const million = 1_000_000;
  const [, text] = UNIQUE_ROWS[1]!;
  const figures = await withServer({}, async (server) => {
    const before = await server.figures();
    const started = performance.now();
    await produced(server, { producers: 8, batch: 1_000, text, count: million });
    const seconds = (performance.now() - started) / 1_000;
    const after = await server.figures();
    const client = await HttpClient.open(new URL(server.url));
    const times: number[] = [];
    for (let i = 0; i < 1_000; i++) {
      const at = performance.now();
      await client.post("/v2/queue.produce", `{"queue_name":"keys","items":[${text(i * 997)}]}`);
      times.push(performance.now() - at);
    }
    client.close();
    return [seconds, after.rssBytes - before.rssBytes, median(times)] as const;
  });
  print(
    `${whole(million)} keys:`,
    ["written in", "memory more than before", "p50 of a duplicate among them"],
    [[`${fixed(figures[0])} s`, megabytes(figures[1]), `${fixed(figures[2], 2)} ms`]],
  );
}

// Produces for as long as a row lasts, or so many, on as many connections as there are producers; answers items a second.
async function produced(
  server: CountedServer,
  {
    producers,
    batch,
    text,
    count = Number.POSITIVE_INFINITY,
  }: {
    readonly producers: number;
    readonly batch: number;
    readonly text: ItemText;
    readonly count?: number;
  },
): Promise<number> {
  const url = new URL(server.url);
  const clients = await Promise.all(Array.from({ length: producers }, () => HttpClient.open(url)));
  await clients[0]!.post("/v2/queues.create", '{"queue_name":"keys"}');
  const started = performance.now();
  const until =
    count === Number.POSITIVE_INFINITY ? started + options.seconds * 1_000 : count * 1e6;
  let asked = 0;
  let done = 0;
  const work = async (client: HttpClient): Promise<void> => {
    while (performance.now() < until && asked < count) {
      const items = Array.from({ length: batch }, () => text(asked++)).join(",");
      const { status } = await client.post(
        "/v2/queue.produce",
        `{"queue_name":"keys","items":[${items}]}`,
      );
      if (status !== 200) wrong++;
      done += batch;
    }
  };
  await Promise.all(clients.map(work));
  const seconds = (performance.now() - started) / 1_000;
  for (const client of clients) client.close();
  return done / seconds;
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
  const rows = await inTurn(shapes, async ([, shape]) => {
    if (typeof shape !== "string") {
      return withServer(shape, async ({ url }) => bothLoads({ url }));
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
    wrong += wrongs(result);
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

const DEAD_ITEMS = 20_000;
const LOOK_MS = 5;

async function dead(): Promise<void> {
  const shapes = [100, 10_000];
  const rows = await inTurn(shapes, (payloadBytes) =>
    withServer({}, async ({ url }) => {
      const client = await HttpClient.open(new URL(url));
      const ok = async <T>(path: string, request: object): Promise<T> => {
        const { status, body } = await client.post(`/v2/${path}`, JSON.stringify(request));
        if (status !== 200) wrong++;
        return JSON.parse(body.toString()) as T;
      };
      await ok("queues.create", { queue_name: "dead" });
      await ok("queues.create", { queue_name: "jobs", dead_queue: "dead" });
      const batch = Math.min(1_000, Math.floor(4_000_000 / payloadBytes));
      const items = Array.from({ length: batch }, () => ({ utf8: "x".repeat(payloadBytes) }));
      for (let i = 0; i < DEAD_ITEMS; i += batch) {
        await ok("queue.produce", { queue_name: "jobs", items });
      }
      let began = performance.now();
      const perSecond = (): number => (DEAD_ITEMS * 1_000) / (performance.now() - began);
      for (let left = DEAD_ITEMS; left > 0; ) {
        const request = { queue_name: "jobs", batch_size: batch };
        const leased = await ok<{ items: { lease_id: string }[] }>("queue.lease", request);
        const leases = leased.items.map(({ lease_id }) => ({ lease_id }));
        await ok("queue.reject", { queue_name: "jobs", leases });
        left -= leases.length;
      }
      const died = perSecond();
      began = performance.now();
      await ok("queue.dead_groups", { queue_name: "dead" });
      const groupsMs = performance.now() - began;
      began = performance.now();
      let redrive = await ok<{ id: string; state: string; moved?: number }>("queue.redrive", {
        queue_name: "dead",
      });
      while (redrive.state === "running") {
        await sleep(LOOK_MS);
        redrive = await ok("redrives.info", { queue_name: "dead", id: redrive.id });
      }
      if (redrive.moved !== DEAD_ITEMS) wrong++;
      const redriven = perSecond();
      client.close();
      return [died, groupsMs, redriven];
    }),
  );
  print(
    `${whole(DEAD_ITEMS)} items that their consumer rejects, and a redrive of all, by the size of their payloads:`,
    ["bytes", "leased and rejected/s", "dead_groups ms", "redriven/s"],
    rows.map(([died, groupsMs, redriven], i) => [
      whole(shapes[i]!),
      whole(died!),
      whole(groupsMs!),
      whole(redriven!),
    ]),
  );
}

async function compare(
  title: string,
  what: string,
  shapes: readonly (readonly [string, object])[],
  queueCount = 1,
): Promise<void> {
  const rows = await inTurn(shapes, ([, settings]) =>
    withServer(settings, async (server) => {
      const consumers = Math.max(queueCount, 32);
      const single = await under(server, { ...SINGLE, consumers, queues: queueCount });
      const large = { ...BATCH, producers: 16, consumers: 16, queues: queueCount };
      const batch = await under(server, queueCount === 1 ? BATCH : large);
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
const chosen = options.only?.split(",") ?? Object.keys(TABLES);
for (const name of chosen) {
  const table = TABLES[name as keyof typeof TABLES];
  if (table === undefined) throw new Error(`--only ${name}: use ${Object.keys(TABLES)}`);
  process.stderr.write(`${name}\n`);
  await table();
}
if (wrong > 0) {
  process.stderr.write(`Error: ${wrong} requests failed, or items were lost, doubled or moved\n`);
  process.exitCode = 1;
}
