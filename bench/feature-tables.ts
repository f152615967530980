// Tables of what each feature costs beside a plain queue that is measured in the same run: from produce to complete
// (features), in writes (writes), at produce and in memory (unique, keys), of items that die (dead). Most of
// them are measured on every storage that --storages names.

import { setTimeout as sleep } from "node:timers/promises";
import { HttpClient } from "./http-client.ts";
import { BATCH, type CountedServer, median, SINGLE } from "./measure.ts";
import { difference, fixed, megabytes, OURS, print, type TableRun, whole } from "./table-run.ts";
import { openHttp } from "./target.ts";
import type { WIRE_FORMATS } from "./wire-format.ts";

type Format = keyof typeof WIRE_FORMATS;

const FEATURES: readonly (readonly [string, Format])[] = [
  ["a plain queue", "v2-text"],
  ["a unique key each", "v2-unique"],
  ["extended once", "v2-extend"],
  ["history, and a result each", "v2-history"],
  ["completed with the next item", "v2-next"],
  ["the next item by a call of its own", "v2-next-apart"],
];

// By our own load generator, which alone knows these formats.
export async function features(run: TableRun): Promise<void> {
  for (const place of run.options.storages) {
    const rows = await run.inTurn(FEATURES, ([, format]) =>
      run.withServer(
        {},
        async (server) => {
          const figures: number[] = [];
          for (const load of [SINGLE, BATCH]) {
            const { load: result, did } = await run.under(server, { ...load, format }, OURS);
            const { completed, itemsPerSecond, produceMs } = result;
            figures.push(itemsPerSecond, produceMs.p50, (did.cpuMs * 1_000) / completed);
            figures.push(did.commits / completed, did.records / completed);
            figures.push(did.writtenBytes / completed);
          }
          return figures;
        },
        place,
      ),
    );
    for (const [load, at] of [
      ["single items", 0],
      ["batches of 100", 6],
    ] as const) {
      print(
        `From produce to complete on ${place}, ${load}:`,
        [
          "",
          "items/s",
          "ratio",
          "produce p50 ms",
          "CPU µs an item",
          "commits",
          "records",
          "bytes written",
        ],
        rows.map((figures, i) => {
          const [items, p50, cpu, commits, records, bytes] = figures.slice(at);
          return [
            FEATURES[i]![0],
            whole(items!),
            fixed(items! / rows[0]![at]!, 2),
            fixed(p50!, 2),
            fixed(cpu!),
            fixed(commits!, 3),
            fixed(records!, 2),
            whole(bytes!),
          ];
        }),
      );
    }
  }
}

/** How many items are counted, one after the other and in batches of 100. */
const COUNTED = 200;

/** What commits write for an item; nothing in it depends on how fast anything is. */
export async function writes(run: TableRun): Promise<void> {
  const rows: unknown[][] = [];
  for (const [name, format] of FEATURES) {
    const figures = await run.withServer(
      {},
      async (server) => {
        const all: number[] = [];
        for (const batch of [1, 100]) {
          const target = openHttp(server.url, batch, format);
          const queue = `counted-${batch}`;
          await target.createQueue(queue);
          const producer = await target.producer();
          const consumer = await target.consumer(queue, 0);
          const before = await server.figures();
          for (let i = 0; i < COUNTED; i += batch) {
            const payloads = Array.from({ length: batch }, (_, n) => String(n).padStart(100));
            if (!(await producer.produce(queue, payloads))) run.wrong++;
            const leased = await consumer.lease();
            if (typeof leased === "string" || !(await leased.complete())) run.wrong++;
          }
          const did = difference(before, await server.figures());
          producer.close();
          consumer.close();
          all.push(did.commits / COUNTED, did.records / COUNTED);
        }
        return all;
      },
      "memory",
    );
    rows.push([name, ...figures.map((each) => fixed(each, 2))]);
  }
  print(
    "What is written for an item from produce to complete, alone and in batches of 100:",
    ["", "commits", "records", "commits in batches", "records in batches"],
    rows,
  );
}

const BODY = "x".repeat(100);

/** What an item asks for, by how many there were before it. */
type ItemText = (n: number) => string;

const UNIQUE_ROWS: readonly (readonly [string, ItemText])[] = [
  ["without a key", () => `{"utf8":"${BODY}"}`],
  ["a key of its own", (n) => `{"utf8":"${BODY}","unique_key":"user-${n}"}`],
  ["a key that is taken", () => `{"utf8":"${BODY}","unique_key":"taken"}`],
  [
    "a key that is taken, replace",
    () => `{"utf8":"${BODY}","unique_key":"taken","on_duplicate":"replace"}`,
  ],
];

export async function unique(run: TableRun): Promise<void> {
  for (const place of run.options.storages) {
    const rows = await run.inTurn(UNIQUE_ROWS, async ([, text]) => {
      const rates: number[] = [];
      for (const { producers, batch } of [SINGLE, BATCH]) {
        const load = { producers, batch, text };
        rates.push(await run.withServer({}, (server) => produced(run, server, load), place));
      }
      return rates;
    });
    print(
      `Items a second that are only produced, with unique keys, on ${place}:`,
      ["", "32 producers, single items", "ratio", "8 producers, batches of 100", "ratio"],
      rows.map((rates, i) => [
        UNIQUE_ROWS[i]![0],
        ...rates.flatMap((rate, at) => [whole(rate), fixed(rate / rows[0]![at]!, 2)]),
      ]),
    );
  }
}

const KEYS_ROWS: readonly (readonly [string, ItemText])[] = [
  UNIQUE_ROWS[0]!,
  UNIQUE_ROWS[1]!,
  ["a key for an hour", (n) => `{"utf8":"${BODY}","unique_key":"user-${n}","unique_for":"1h"}`],
];

const LOOKUPS = 1_000;

/** Memory while there are very many keys, and once their items have ended. */
export async function keys(run: TableRun): Promise<void> {
  const { keys: count } = run.options;
  const rows: unknown[][] = [];
  for (const [name, text] of KEYS_ROWS) {
    const figures = await run.withServer({}, async (server) => {
      const before = await server.figures("collect");
      const started = performance.now();
      await produced(run, server, { producers: 8, batch: 1_000, text, count });
      const seconds = (performance.now() - started) / 1_000;
      const there = await server.figures("collect");
      const lookUp = await duplicates(run, server, text, count);
      const endedIn = await endAll(run, server, count);
      const ended = await server.figures("collect");
      const more = ({ heapBytes, rssBytes }: typeof before): readonly string[] => [
        megabytes(heapBytes - before.heapBytes),
        megabytes(rssBytes - before.rssBytes),
      ];
      return [fixed(seconds), fixed(lookUp, 2), ...more(there), fixed(endedIn), ...more(ended)];
    });
    rows.push([name, ...figures]);
  }
  print(
    `${whole(count)} items with unique keys, after garbage was collected; memory beyond that of the start:`,
    [
      "",
      "written in s",
      "p50 of one more, ms",
      "heap with them",
      "RSS",
      "leased and completed in s",
      "heap after that",
      "RSS",
    ],
    rows,
  );
}

// How long one more takes, of a key that is there already if there are keys.
async function duplicates(
  run: TableRun,
  server: CountedServer,
  text: ItemText,
  count: number,
): Promise<number> {
  const client = await HttpClient.open(new URL(server.url));
  const times: number[] = [];
  for (let i = 0; i < LOOKUPS; i++) {
    const at = performance.now();
    const item = text((i * 997) % count);
    const { status } = await client.post(PRODUCE, `{"queue_name":"keys","items":[${item}]}`);
    if (status !== 200) run.wrong++;
    times.push(performance.now() - at);
  }
  client.close();
  return median(times);
}

/** Leases and completes all of them, and what there is more; answers the seconds. */
async function endAll(run: TableRun, server: CountedServer, count: number): Promise<number> {
  const started = performance.now();
  let ended = 0;
  const work = async (): Promise<void> => {
    const client = await HttpClient.open(new URL(server.url));
    for (;;) {
      const ask = '{"queue_name":"keys","batch_size":1000,"request_timeout":"100ms"}';
      const { body } = await client.post("/v2/queue.lease", ask);
      const { items = [] } = JSON.parse(body.toString()) as { items?: { lease_id: string }[] };
      if (items.length === 0) break;
      const leases = items.map(({ lease_id }) => ({ lease_id }));
      const request = JSON.stringify({ queue_name: "keys", leases });
      const { status } = await client.post("/v2/queue.complete", request);
      if (status !== 200) run.wrong++;
      ended += items.length;
    }
    client.close();
  };
  await Promise.all(Array.from({ length: 4 }, work));
  if (ended < count) run.wrong += count - ended;
  return (performance.now() - started) / 1_000;
}

const PRODUCE = "/v2/queue.produce";

// Produces for as long as a row lasts, or so many, on as many connections as there are producers; answers items a second.
async function produced(
  run: TableRun,
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
    count === Number.POSITIVE_INFINITY ? started + run.options.seconds * 1_000 : count * 1e6;
  let asked = 0;
  let done = 0;
  const work = async (client: HttpClient): Promise<void> => {
    while (performance.now() < until && asked < count) {
      const items = Array.from({ length: batch }, () => text(asked++)).join(",");
      const { status } = await client.post(PRODUCE, `{"queue_name":"keys","items":[${items}]}`);
      if (status !== 200) run.wrong++;
      done += batch;
    }
  };
  await Promise.all(clients.map(work));
  const seconds = (performance.now() - started) / 1_000;
  for (const client of clients) client.close();
  return done / seconds;
}

const DEAD_ITEMS = 20_000;
const LOOK_MS = 5;

/** What dies and is redriven, beside what is completed, and what a client moves by leasing and producing. */
export async function dead(run: TableRun): Promise<void> {
  const shapes = [100, 10_000];
  for (const place of run.options.storages) {
    const rows = await run.inTurn(shapes, (payloadBytes) =>
      run.withServer({}, (server) => deadAndBack(run, server, payloadBytes), place),
    );
    print(
      `${whole(DEAD_ITEMS)} items on ${place} that their consumer rejects, and a redrive of all, by the size of their payloads:`,
      [
        "bytes",
        "leased and completed/s",
        "leased and rejected/s",
        "ratio",
        "dead_groups ms",
        "moved by a client/s",
        "redriven/s",
        "ratio",
        "records an item redriven",
      ],
      rows.map(([completed, died, groupsMs, moved, redriven, records], i) => [
        whole(shapes[i]!),
        whole(completed!),
        whole(died!),
        fixed(died! / completed!, 2),
        whole(groupsMs!),
        whole(moved!),
        whole(redriven!),
        fixed(redriven! / moved!, 2),
        fixed(records!, 2),
      ]),
    );
  }
}

type Leases = readonly { readonly lease_id: string }[];

async function deadAndBack(
  run: TableRun,
  server: CountedServer,
  payloadBytes: number,
): Promise<readonly number[]> {
  const client = await HttpClient.open(new URL(server.url));
  const ok = async <T>(path: string, request: object): Promise<T> => {
    const { status, body } = await client.post(`/v2/${path}`, JSON.stringify(request));
    if (status !== 200) run.wrong++;
    return JSON.parse(body.toString()) as T;
  };
  for (const queue_name of ["dead", "moved"]) await ok("queues.create", { queue_name });
  await ok("queues.create", { queue_name: "jobs", dead_queue: "dead" });
  const batch = Math.min(1_000, Math.floor(4_000_000 / payloadBytes));
  const items = Array.from({ length: batch }, () => ({ utf8: "x".repeat(payloadBytes) }));
  // Answers how many a second are leased, and have this done to them.
  const leaseAll = async (work: (leases: Leases) => Promise<void>): Promise<number> => {
    for (let i = 0; i < DEAD_ITEMS; i += batch) {
      await ok("queue.produce", { queue_name: "jobs", items });
    }
    const began = performance.now();
    for (let left = DEAD_ITEMS; left > 0; ) {
      const request = { queue_name: "jobs", batch_size: batch };
      const leased = await ok<{ items: Leases }>("queue.lease", request);
      const leases = leased.items.map(({ lease_id }) => ({ lease_id }));
      await work(leases);
      left -= leases.length;
    }
    return (DEAD_ITEMS * 1_000) / (performance.now() - began);
  };
  const complete = (leases: Leases): Promise<void> =>
    ok("queue.complete", { queue_name: "jobs", leases });
  const completed = await leaseAll(complete);
  const moved = await leaseAll(async (leases) => {
    await ok("queue.produce", { queue_name: "moved", items: items.slice(0, leases.length) });
    await complete(leases);
  });
  const died = await leaseAll((leases) => ok("queue.reject", { queue_name: "jobs", leases }));
  let began = performance.now();
  await ok("queue.dead_groups", { queue_name: "dead" });
  const groupsMs = performance.now() - began;
  const before = await server.figures();
  began = performance.now();
  let redrive = await ok<{ id: string; state: string; moved?: number }>("queue.redrive", {
    queue_name: "dead",
  });
  while (redrive.state === "running") {
    await sleep(LOOK_MS);
    redrive = await ok("redrives.info", { queue_name: "dead", id: redrive.id });
  }
  const redriven = (DEAD_ITEMS * 1_000) / (performance.now() - began);
  const { records } = difference(before, await server.figures());
  if (redrive.moved !== DEAD_ITEMS) run.wrong++;
  client.close();
  return [completed, died, groupsMs, moved, redriven, records / DEAD_ITEMS];
}
