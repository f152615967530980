// Tables of a server that is not open to everybody: what a tenant at its limits does to another one (tenants), and what
// TLS costs (tls). What is compared is measured in turn, within one run; all with our own load generator, which
// alone shows keys and speaks TLS.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { NO_OPENSSL } from "../test/support/certificates.ts";
import type { HammerOptions, HammerResult } from "./hammer.ts";
import { HttpClient } from "./http-client.ts";
import { BATCH, type CountedServer, measure, ROWS, SINGLE, wrongs } from "./measure.ts";
import { fixed, OURS, print, type TableRun, whole } from "./table-run.ts";

const FIRST_KEY = `qtr-bench-${"A".repeat(43)}`;
const CONNECTIONS = 16;

/** What the other tenant may do, and in what batches it produces; nothing of one that is silent. */
const NEIGHBOURS = [
  ["silent", undefined, 0],
  ["100 calls a second, 1,000 items, 1 MB", { ...full(1_000), requests_per_second: 100 }, 1],
  ["the same, batches of 100", { ...full(1_000), requests_per_second: 100 }, 100],
  ["1,000 items, 1 MB", full(1_000), 1],
  ["the same, batches of 100", full(1_000), 100],
] as const;

function full(items: number): object {
  return { items, bytes: items * 1_000 };
}

/** How long requests of a tenant take while another one asks for far more than it may. */
export async function tenants(run: TableRun): Promise<void> {
  for (const place of run.options.storages) {
    const options = { auth: "keys", bootstrapKey: FIRST_KEY };
    const rows = await run.withServer(options, (server) => beside(run, server), place);
    print(
      `200 items a second of one tenant on ${place}, beside another that produces from ${CONNECTIONS} connections without a pause, by what that one may:`,
      [
        "the other one may",
        "produce p50 ms",
        "p99 ms",
        "ratio",
        "end to end p50 ms",
        "p99 ms",
        "ratio",
        "of the other let in/s",
        "refused/s",
      ],
      rows.map(([p50, p99, ratio, end50, end99, endRatio, taken, refused], i) => [
        NEIGHBOURS[i]![0],
        fixed(p50!, 2),
        fixed(p99!, 2),
        fixed(ratio!, 2),
        fixed(end50!, 2),
        fixed(end99!, 2),
        fixed(endRatio!, 2),
        whole(taken!),
        whole(refused!),
      ]),
    );
  }
}

type Ask = (path: string, request: object) => Promise<Record<string, unknown>>;

function asker(client: HttpClient): Ask {
  return async (path, request) => {
    const { status, body } = await client.post(`/v2/${path}`, JSON.stringify(request));
    if (status !== 200) throw new Error(`${path}: ${body.toString()}`);
    return JSON.parse(body.toString());
  };
}

async function beside(
  run: TableRun,
  { url }: CountedServer,
): Promise<readonly (readonly number[])[]> {
  const admin = await HttpClient.open(new URL(url), FIRST_KEY);
  const ask = asker(admin);
  const tenant = async (namespace: string): Promise<string> => {
    await ask("namespaces.create", { name: namespace });
    const { id: user_id } = await ask("users.create", { username: namespace });
    await ask("bindings.create", { user_id, role_name: "NamespaceOwner", namespace });
    return String((await ask("keys.create", { user_id, name: "bench", namespace })).key);
  };
  const seconds = run.options.seconds;
  const load = {
    ...ROWS.latency,
    payloadBytes: 100,
    seconds,
    format: "v2-text",
    key: await tenant("measured"),
  } as const;
  const key = await tenant("other");
  const other = await HttpClient.open(new URL(url), key);
  // What the server has never done takes longer.
  await measure(url, load, undefined);
  // Of the round under way, for ratios within it.
  let [alone, endAlone] = [0, 0];
  const rows = await run.inTurn(NEIGHBOURS, async ([, quotas, batch]) => {
    await asker(other)("queues.create", QUEUE);
    await ask("namespaces.update", { name: "other", quotas: quotas ?? {} });
    const hammer = { url, key, queue: QUEUE.queue_name, connections: CONNECTIONS, batch };
    const end = quotas === undefined ? undefined : await startHammer(ask, hammer);
    const result = await measure(url, load, undefined);
    const { taken, refused, failed, took } = (await end?.()) ?? NOTHING;
    run.wrong += wrongs(result) + failed;
    await ask("namespaces.update", { name: "other", quotas: {} });
    await asker(other)("queues.delete", { ...QUEUE, force: true });
    const { produceMs: produce, endToEndMs: endToEnd } = result;
    if (quotas === undefined) [alone, endAlone] = [produce.p99, endToEnd.p99];
    return [
      ...[produce.p50, produce.p99, produce.p99 / alone],
      ...[endToEnd.p50, endToEnd.p99, endToEnd.p99 / endAlone],
      ...[taken / took, refused / took],
    ];
  });
  admin.close();
  other.close();
  return rows;
}

const QUEUE = { queue_name: "jobs" };
const NOTHING = { taken: 0, refused: 0, failed: 0, took: 1 };

// Answers, once it hammers, how to end that, what came of it and in how many seconds.
async function startHammer(
  ask: Ask,
  options: HammerOptions,
): Promise<() => Promise<HammerResult & { readonly took: number }>> {
  const script = fileURLToPath(new URL("hammer.ts", import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(options)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const printed = text(child.stdout);
  const from = performance.now();
  const isThere = async (): Promise<boolean> => {
    const { used } = await ask("namespaces.info", { name: "other" });
    return Number((used as { items?: number } | undefined)?.items ?? 0) > 0;
  };
  while (!(await isThere())) await sleep(20);
  return async () => {
    child.stdin.end();
    const result = JSON.parse(await printed) as HammerResult;
    return { ...result, took: (performance.now() - from) / 1_000 };
  };
}

const HANDSHAKES = 400;

/** The same server with and without TLS. */
export async function tls(run: TableRun): Promise<void> {
  if (NO_OPENSSL !== false) {
    process.stdout.write(`\nTLS is skipped: ${NO_OPENSSL}\n`);
    return;
  }
  const dir = mkdtempSync(join(run.options.dir, "querator-bench-"));
  const [tlsCert, tlsKey] = [join(dir, "server.crt"), join(dir, "server.key")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const files = ["-keyout", tlsKey, "-out", tlsCert, "-subj", "/CN=localhost"];
  execFileSync("openssl", ["req", "-x509", ...kind, ...files], { stdio: "pipe" });
  const shapes = [
    ["plain", {}],
    ["TLS", { tlsCert, tlsKey }],
  ] as const;
  for (const place of run.options.storages) {
    const rows = await run.inTurn(shapes, ([, settings]) =>
      run.withServer(settings, (server) => secured(run, server), place),
    );
    print(
      `With and without TLS on ${place}, connections kept but for the last column:`,
      [
        "",
        "single items/s",
        "ratio",
        "produce p50 ms",
        "CPU µs an item",
        "ratio",
        "batched items/s",
        "ratio",
        "CPU µs an item",
        "ratio",
        "CPU µs of a new connection and a request",
      ],
      rows.map(([single, p50, cpu, batch, batchCpu, opened], i) => [
        shapes[i]![0],
        whole(single!),
        fixed(single! / rows[0]![0]!, 2),
        fixed(p50!, 2),
        fixed(cpu!),
        fixed(cpu! / rows[0]![2]!, 2),
        whole(batch!),
        fixed(batch! / rows[0]![3]!, 2),
        fixed(batchCpu!, 2),
        fixed(batchCpu! / rows[0]![4]!, 2),
        whole(opened!),
      ]),
    );
  }
  rmSync(dir, { recursive: true, force: true });
}

async function secured(run: TableRun, server: CountedServer): Promise<readonly number[]> {
  const single = await run.under(server, SINGLE, OURS);
  const batch = await run.under(server, BATCH, OURS);
  const before = await server.figures();
  for (let i = 0; i < HANDSHAKES; i++) {
    const client = await HttpClient.open(new URL(server.url));
    const { status } = await client.post("/v2/queues.list", '{"limit":1}');
    if (status !== 200) run.wrong++;
    client.close();
  }
  const cpuMs = (await server.figures()).cpuMs - before.cpuMs;
  return [
    single.load.itemsPerSecond,
    single.load.produceMs.p50,
    (single.did.cpuMs * 1_000) / single.load.completed,
    batch.load.itemsPerSecond,
    (batch.did.cpuMs * 1_000) / batch.load.completed,
    (cpuMs * 1_000) / HANDSHAKES,
  ];
}
