// What those who listen to events cost the loop: the same load on one server, by turns with 100 listeners and with none,
// in windows so short that noise hits both. Beside what gets through, which says little on a machine that others use,
// the CPU of the server for each item. Listeners are a process of their own that lets all others go first.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { BATCH, type CountedServer, type Load, median, SINGLE } from "./measure.ts";
import { fixed, OURS, print, type TableRun, whole } from "./table-run.ts";

const LISTENERS = 100;

// The load for which there is a promise, and as much as gets through.
const LOADS = [
  ["10,000 items/s, batches of 100", { ...BATCH, rate: 10_000, atOnce: 100 }],
  ["single items", SINGLE],
  ["batches of 100", BATCH],
] as const;

interface Seen {
  readonly items: number;
  readonly cpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly sent: number;
  readonly gaps: number;
}

interface Sent {
  readonly bytes: number;
  readonly gaps: number;
}

async function listen(url: string): Promise<ChildProcess> {
  const script = fileURLToPath(new URL("listeners.ts", import.meta.url));
  const child = fork(script, [url, String(LISTENERS)]);
  await once(child, "message");
  return child;
}

async function sentTo(child: ChildProcess): Promise<Sent> {
  const answer = once(child, "message");
  child.send("ask");
  return ((await answer) as [Sent])[0];
}

async function window(
  run: TableRun,
  server: CountedServer,
  load: Omit<Load, "seconds">,
  listens: boolean,
): Promise<Seen> {
  const listeners = listens ? await listen(server.url) : undefined;
  try {
    const { load: result, did } = await run.under(server, load, OURS);
    const { bytes, gaps } = listeners ? await sentTo(listeners) : { bytes: 0, gaps: 0 };
    const { itemsPerSecond, completed, produceMs } = result;
    const cpu = (did.cpuMs * 1_000) / completed;
    return { items: itemsPerSecond, cpu, ...produceMs, sent: bytes / completed, gaps };
  } finally {
    if (listeners?.exitCode === null) {
      const gone = once(listeners, "exit");
      listeners.disconnect();
      await gone;
    }
  }
}

/** As many windows as there are runs, of each kind, after one of each that does not count. */
export async function events(run: TableRun): Promise<void> {
  for (const place of run.options.storages) {
    const rows: unknown[][] = [];
    for (const [name, load] of LOADS) {
      await run.withServer(
        {},
        async (server) => rows.push([name, ...(await row(run, server, load))]),
        place,
      );
    }
    print(
      `From produce to complete with ${LISTENERS} listeners to all events, on ${place}; what is before a slash is with nobody who listens:`,
      [
        "",
        "items/s",
        "ratio",
        "CPU µs an item",
        "ratio, lowest and highest",
        "produce p50 ms",
        "p99 ms",
        "bytes sent to all an item",
        "gaps",
      ],
      rows,
    );
  }
}

async function row(
  run: TableRun,
  server: CountedServer,
  load: Omit<Load, "seconds">,
): Promise<readonly string[]> {
  const without: Seen[] = [];
  const heard: Seen[] = [];
  for (let i = 0; i <= run.options.runs; i++) {
    // Who comes first has it easier, or not.
    for (const listens of i % 2 === 0 ? [false, true] : [true, false]) {
      const one = await window(run, server, load, listens);
      if (i > 0) (listens ? heard : without).push(one);
    }
  }
  const of = (all: readonly Seen[], what: keyof Seen): number =>
    median(all.map((each) => each[what]));
  const both = (what: keyof Seen, text: (value: number) => string): string =>
    `${text(of(without, what))} / ${text(of(heard, what))}`;
  // Of windows that were measured one after the other.
  const ratios = (what: keyof Seen): number[] =>
    heard.map((each, i) => each[what] / without[i]![what]);
  const cpu = ratios("cpu");
  const range = [Math.min(...cpu), Math.max(...cpu)].map((value) => fixed(value, 3));
  return [
    both("items", whole),
    fixed(median(ratios("items")), 3),
    both("cpu", (value) => fixed(value, 2)),
    `${fixed(median(cpu), 3)} (${range.join("–")})`,
    both("p50", (value) => fixed(value, 2)),
    both("p99", (value) => fixed(value, 1)),
    whole(of(heard, "sent")),
    whole(of(heard, "gaps")),
  ];
}
