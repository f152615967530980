// What all benchmarks share: starting a server and stopping it, putting load on it with our own load
// generator or with another program, and medians.

import { type ChildProcess, execFile, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, statfsSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { InvalidArgumentError } from "commander";
import type { LoadOptions, LoadResult } from "./load.ts";
import type { ServerFigures } from "./server.ts";

const here = dirname(fileURLToPath(import.meta.url));
const TMPFS = 0x01021994;

/** The loads that are compared; durations are added. */
export const ROWS = {
  single: { producers: 32, consumers: 32, batch: 1, cap: 1_000, rate: 0 },
  many: { producers: 128, consumers: 128, batch: 1, cap: 1_000, rate: 0 },
  batch: { producers: 8, consumers: 8, batch: 100, cap: 5_000, rate: 0 },
  latency: { producers: 1, consumers: 4, batch: 1, cap: 5_000, rate: 200 },
} as const;

export type Row = keyof typeof ROWS;

/** The two loads by which tables compare. */
export const SINGLE = { ...ROWS.single, payloadBytes: 100 };
export const BATCH = { ...ROWS.batch, payloadBytes: 100 };

/** What the command line of `npm run bench` says. */
export interface BenchOptions {
  readonly storage: "sqlite" | "postgres";
  readonly against?: string;
  readonly seconds: number;
  /** How long a server is put under the same load before it is measured. */
  readonly warmUp: number;
  readonly runs: number;
  readonly only?: string;
  readonly dir: string;
  readonly serverArgs: string;
  readonly loadgen?: string;
  readonly out?: string;
}

/** Writes the figures as JSON, with what they were measured on. */
export function writeResults(options: BenchOptions, figures: object): void {
  const now = new Date().toISOString().replaceAll(":", "-");
  const out = options.out ?? join("bench-results", `${now}.json`);
  mkdirSync(dirname(out), { recursive: true });
  const machine = { node: process.version, cores: cpus().length, cpu: cpus()[0]?.model };
  writeFileSync(out, `${JSON.stringify({ machine, options, ...figures }, null, 2)}\n`);
  process.stderr.write(`written to ${out}\n`);
}

/** Reads a number that is not negative. */
export function notNegative(text: string): number {
  const number = Number(text);
  if (number >= 0) return number;
  throw new InvalidArgumentError("use a number from 0 on");
}

/** Reads a number above 0. */
export function positive(text: string): number {
  const number = Number(text);
  if (number > 0) return number;
  throw new InvalidArgumentError("use a number above 0");
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1]!;

/** Warns if a directory does not lie on a disk. */
export function checkDisk(dir: string): void {
  if (statfsSync(dir).type !== TMPFS) return;
  process.stderr.write(`warning: ${dir} lies in memory; choose a disk with --dir\n`);
}

/** Starts a program that prints a line with its address; answers it and the process. */
export async function start(
  script: string,
  args: readonly string[],
): Promise<[string, ChildProcess]> {
  const child = spawn(process.execPath, [script, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return [await addressOf(child, script), child];
}

async function addressOf(child: ChildProcess, script: string): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) {
    const { address } = JSON.parse(line) as { address?: string };
    if (address !== undefined) return address;
  }
  throw new Error(`${script} did not start`);
}

export async function stop(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  if (child.exitCode === null) await once(child, "exit");
}

/** The bare server: what HTTP and JSON alone cost. */
export function startBare(): Promise<[string, ChildProcess]> {
  return start(join(here, "bare.ts"), []);
}

/** The real server, from the command line. */
export function startServer(args: readonly string[]): Promise<[string, ChildProcess]> {
  const address = ["--address", "127.0.0.1:0", "--log-format", "json"];
  return start(join(here, "../bin/querator.js"), ["server", ...address, ...args]);
}

/** A server that counts what it does; see server.ts. */
export class CountedServer {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  static async start(options: object): Promise<CountedServer> {
    const child = fork(join(here, "server.ts"), [JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    return new CountedServer(await addressOf(child, "server.ts"), child);
  }

  /** With `collect` garbage is collected before it looks at its memory. */
  async figures(ask: "look" | "collect" = "look"): Promise<ServerFigures> {
    const answer = once(this.#child, "message");
    this.#child.send(ask);
    return ((await answer) as [ServerFigures])[0];
  }

  async stop(): Promise<void> {
    await stop(this.#child);
  }
}

export type Load = Omit<LoadOptions, "url">;

type Measuring = Pick<BenchOptions, "warmUp" | "loadgen">;

/** Puts load on a server that is to be measured with it, if the options say so. */
export async function warm(url: string, load: Load, { warmUp, loadgen }: Measuring): Promise<void> {
  if (warmUp > 0) await measure(url, { ...load, seconds: warmUp }, loadgen);
}

/** Measures a server, warmed up if the options say so. */
export async function measureServer(
  url: string,
  load: Load,
  options: Measuring,
): Promise<LoadResult> {
  await warm(url, load, options);
  return measure(url, load, options.loadgen);
}

/** Puts load on a server; with a program in place of our own load generator if one is named. */
export async function measure(
  url: string,
  load: Load,
  program: string | undefined,
): Promise<LoadResult> {
  if (program !== undefined) return measureWith(program, url, load);
  const options: LoadOptions = { ...load, url };
  const { stdout } = await promisify(execFile)(process.execPath, [
    join(here, "load.ts"),
    JSON.stringify(options),
  ]);
  return JSON.parse(stdout) as LoadResult;
}

// The load generator that others measure us with prints other names for the same figures.
async function measureWith(program: string, url: string, load: Load): Promise<LoadResult> {
  const flags = {
    url,
    for: `${load.seconds}s`,
    cap: load.cap,
    rate: load.rate,
    producers: load.producers,
    consumers: load.consumers,
    batch: load.batch,
    queues: load.queues ?? 1,
    size: load.payloadBytes,
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`-${name}`, String(value)]);
  const { stdout } = await promisify(execFile)(program, args);
  const line = JSON.parse(stdout) as Record<string, number> &
    Record<string, { p50: number; p99: number }>;
  return {
    completed: line.completed!,
    itemsPerSecond: line.completed_per_s!,
    failed: line.failed!,
    lost: line.lost!,
    twice: line.leased_twice!,
    disorder: line.out_of_order!,
    produceMs: line.produce_ms!,
    endToEndMs: line.end_to_end_ms!,
  };
}

/** How many things went wrong that never may. */
export function wrongs({ failed, lost, twice, disorder }: LoadResult): number {
  return failed + lost + twice + disorder;
}
