// Tables of what many waiting items do to a queue (backlog), and of what looking for some among them does
// (lists). Both fill queues over HTTP in large batches; ten million items take a minute or two.

import { mkdtempSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { HttpClient } from "./http-client.ts";
import { BATCH, CountedServer, checkDisk, median } from "./measure.ts";
import { fixed, megabytes, OURS, print, type TableRun, whole } from "./table-run.ts";
import { openHttp } from "./target.ts";

const FILL = 1_000;
const FILLERS = 4;

// By our own load generator: another one counts only what comes after the backlog.
export async function backlog(run: TableRun): Promise<void> {
  const sizes = [0, Math.round(run.options.items / 10), run.options.items];
  const dir = mkdtempSync(join(run.options.dir, "querator-bench-"));
  checkDisk(dir);
  const dataDirs = sizes.map((size) => join(dir, String(size)));
  const servers: CountedServer[] = [];
  try {
    for (const [i, size] of sizes.entries()) {
      servers[i] = await CountedServer.start({ dataDir: dataDirs[i] });
      await fill(servers[i].url, size);
    }
    const measured = await run.inTurn(servers, async (server) => {
      const { load, after } = await run.under(server, { ...BATCH, queue: BACKLOG }, OURS);
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

/** How often each kind of page is asked for. */
const PAGES = 20;

/** What a page asks for: the state of affairs of a queue in which all items but the last are of one kind. */
const LOOKS = {
  rare: `"kind":"rare"`,
  common: `"kind":"load"`,
  newest: `"kind":"rare","order":"newest"`,
  old: `"older_than":"12h"`,
} as const;

/** Lists by filter beside so many items, and the load beside lists. */
export async function lists(run: TableRun): Promise<void> {
  const { items } = run.options;
  const sizes = [...new Set([Math.min(10_000, items), Math.round(items / 10), items])];
  const dir = mkdtempSync(join(run.options.dir, "querator-bench-"));
  checkDisk(dir);
  const servers: CountedServer[] = [];
  try {
    for (const [i, size] of sizes.entries()) {
      servers[i] = await CountedServer.start({ dataDir: join(dir, String(i)) });
      await fill(servers[i].url, size);
      await addRare(servers[i].url);
    }
    const rows = await run.inTurn(servers, async (server) => {
      const url = new URL(server.url);
      const alone = await run.under(server, { ...BATCH, queue: BACKLOG }, OURS);
      const client = await HttpClient.open(url);
      const times: number[] = [];
      for (const look of Object.values(LOOKS)) {
        const pages = new Pages(client, look);
        for (let i = 0; i < PAGES; i++) await pages.next();
        run.wrong += pages.failed;
        times.push(median(pages.times));
      }
      const beside = new Pages(client, LOOKS.rare);
      let over = false;
      const looking = (async () => {
        while (!over) await beside.next();
      })();
      const { load, after } = await run.under(server, { ...BATCH, queue: BACKLOG }, OURS);
      over = true;
      await looking;
      client.close();
      run.wrong += beside.failed;
      const { itemsPerSecond } = load;
      const without = alone.load.itemsPerSecond;
      return [
        ...times,
        without,
        itemsPerSecond,
        itemsPerSecond / without,
        median(beside.times),
        after.rssBytes,
      ];
    });
    print(
      "`items.list` by filter beside what waits, ms a page of up to 100; a page looks at 10,000 items at most. Then batches of 100 beside one who lists without a pause:",
      [
        "waiting items",
        "a kind that is rare",
        "one that all have",
        "the newest of the rare",
        "by age",
        "items/s",
        "beside lists",
        "ratio",
        "a page beside them",
        "memory",
      ],
      rows.map(([rare, common, newest, old, alone, beside, ratio, page, rss], i) => [
        whole(sizes[i]!),
        fixed(rare!, 2),
        fixed(common!, 2),
        fixed(newest!, 2),
        fixed(old!, 2),
        whole(alone!),
        whole(beside!),
        fixed(ratio!, 2),
        fixed(page!, 2),
        megabytes(rss!),
      ]),
    );
  } finally {
    for (const server of servers) await server.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Pages of a list, one after the other, from the start again after the last. */
class Pages {
  readonly times: number[] = [];
  failed = 0;
  readonly #client: HttpClient;
  readonly #look: string;
  #cursor = "";

  constructor(client: HttpClient, look: string) {
    this.#client = client;
    this.#look = look;
  }

  async next(): Promise<void> {
    const from = performance.now();
    const cursor = this.#cursor === "" ? "" : `,"cursor":"${this.#cursor}"`;
    const request = `{"queue_name":"${BACKLOG}","limit":100,${this.#look}${cursor}}`;
    const { status, body } = await this.#client.post("/v2/items.list", request);
    if (status !== 200) this.failed++;
    const { next_cursor = "" } = JSON.parse(body.toString()) as { next_cursor?: string };
    this.#cursor = next_cursor;
    this.times.push(performance.now() - from);
  }
}

async function addRare(address: string): Promise<void> {
  const client = await HttpClient.open(new URL(address));
  const items = `[{"kind":"rare","utf8":"${"-1".padEnd(100)}"}]`;
  const request = `{"queue_name":"${BACKLOG}","items":${items}}`;
  const { status } = await client.post("/v2/queue.produce", request);
  client.close();
  if (status !== 200) throw new Error("the rare item was refused");
}

const BACKLOG = "backlog";

/** Makes a queue in which so many items wait. */
async function fill(url: string, size: number): Promise<void> {
  const target = openHttp(url, FILL);
  await target.createQueue(BACKLOG);
  let filled = 0;
  const work = async (): Promise<void> => {
    const producer = await target.producer();
    while (filled < size) {
      const from = filled;
      filled = Math.min(filled + FILL, size);
      const numbers = Array.from({ length: filled - from }, (_, i) => from + i);
      const payloads = numbers.map((number) => String(number).padEnd(100));
      if (!(await producer.produce(BACKLOG, payloads))) throw new Error("the backlog was refused");
    }
    producer.close();
  };
  await Promise.all(Array.from({ length: FILLERS }, work));
}
