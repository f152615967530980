// The real server in a process of its own, as a user starts it: `bin/querator.js server`, on a free
// port unless it is told another. It says where it listens, what it logs, how much memory it has and
// how it has ended; it can be asked to stop, and killed. No server outlives the program that started
// it, and neither does a directory that was made for it.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { BASE_ENVIRONMENT } from "./environment.ts";
import type { Holdings } from "./holdings.ts";
import { makeScratch, removeScratch } from "./scratch.ts";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
const OBSERVER = new URL("./observer.ts", import.meta.url).href;

const LINES_KEPT = 1_000;
// A start that has neither become ready nor ended after so long never will.
const START_MS_MAX = 30_000;
// And one that does not stop is killed, and counts as one that was killed.
const STOP_MS_MAX = 20_000;
const HOLDINGS_MS_MAX = 60_000;

const living = new Set<ChildProcess>();
// Before directories are removed, in which it would go on writing.
process.prependListener("exit", () => {
  for (const child of living) child.kill("SIGKILL");
});

export type StorageKind = "memory" | "sqlite" | "postgres";

export interface ServerProcessOptions {
  /** SQLite unless it is said, or `postgres` is given. */
  readonly storage?: StorageKind;
  /** The database that it keeps its data in. */
  readonly postgres?: string;
  /** Where SQLite keeps the data; a directory made for this server if it is left out. */
  readonly dataDir?: string;
  /** Over how many storages partitions are spread, of SQLite, in directories of their own; one unless it is said. */
  readonly places?: number;
  /** 0, the default, for a free one. */
  readonly port?: number;
  /** More of the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Limits that differ from the defaults, by their keys in the configuration file. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Whether `holdings` can be asked for; it costs the start some time. */
  readonly isObserved?: boolean;
  /** The script to run, in place of the one of this tree. */
  readonly command?: string;
  /** The Node to run it with, in place of the one that runs this. */
  readonly node?: string;
}

/** One line of the server's log. */
export interface LogLine {
  readonly storage?: string;
  readonly level: string;
  readonly msg: string;
  readonly time?: string;
  readonly address?: string;
  readonly check?: string;
  readonly reason?: string;
  readonly queue?: string;
  readonly partition?: number;
}

/** Whether a line tells of trouble. That items which clients gave up were deleted is none, nor that something was slow. */
export function isTrouble({ level, msg }: LogLine): boolean {
  const isExpected =
    level === "warn" && (msg.startsWith("items were deleted: ") || /^(a|more) .* slow$/.test(msg));
  return (level === "warn" || level === "error") && !isExpected;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** The server ended before it was ready. */
export class StartRefused extends Error {
  readonly exit: Exit;
  readonly stderr: string;

  constructor(exit: Exit, stderr: string) {
    super(`the server did not start (${JSON.stringify(exit)}): ${stderr}`);
    this.exit = exit;
    this.stderr = stderr;
  }
}

// How servers are proved, on how many threads and how they sync, is chosen from outside, for all
// programs in the same way.
const { QUERATOR_THREADS, QUERATOR_SYNC, QUERATOR_SYNC_INTERVAL } = process.env;
/** How many threads every server has. */
export const threads = Number(QUERATOR_THREADS ?? 1);
const CHOSEN = Object.fromEntries(
  Object.entries({ QUERATOR_THREADS, QUERATOR_SYNC, QUERATOR_SYNC_INTERVAL }).filter(
    ([, value]) => value !== undefined,
  ),
);

// Lines of a configuration.
function placesIn(dataDir: string, places: number): readonly string[] {
  const place = (_: unknown, i: number): string =>
    `  - {name: place-${i}, driver: sqlite, config: {storage-dir: ${join(dataDir, String(i))}}}`;
  return ["partition-storage:", ...Array.from({ length: places }, place)];
}

/** One server process. */
export class ServerProcess {
  readonly spawnedAt = performance.now();
  readonly dataDir: string;
  /** Resolves when it serves; rejects with StartRefused if it ends before, or if it never does. */
  readonly ready: Promise<void>;
  readonly exited: Promise<Exit>;
  /** The last lines of its log. */
  readonly log: LogLine[] = [];
  /** What it logged as an error or wrote to stderr, as it stood there; who has read it may clear it. */
  readonly errors: string[] = [];
  /** Where it listens, once it is ready. */
  address = "";
  readonly #child: ChildProcess;
  /** Made for this server. */
  readonly #scratch: string | undefined;
  readonly #stderr: string[] = [];

  /** Starts a process without waiting for it. */
  constructor(options: ServerProcessOptions = {}) {
    const { port = 0, env = {}, limits = {}, command = COMMAND, postgres } = options;
    const { node = process.execPath } = options;
    const { storage = postgres === undefined ? "sqlite" : "postgres" } = options;
    assert.equal(
      storage === "postgres",
      postgres !== undefined,
      "a database, and only for postgres",
    );
    const { places = 1 } = options;
    const limitLines = Object.entries(limits).map(([key, value]) => `  ${key}: ${value}`);
    const needsScratch = options.dataDir === undefined || limitLines.length > 0 || places > 1;
    this.#scratch = needsScratch ? makeScratch() : undefined;
    this.dataDir = options.dataDir ?? join(this.#scratch!, "data");
    const args = ["server", "--address", `127.0.0.1:${port}`, "--log-format", "json"];
    if (storage === "memory") args.push("--memory");
    if (storage === "sqlite" && places === 1) args.push("--data-dir", this.dataDir);
    // Not as a flag: the list of processes would show the password.
    const database = postgres === undefined ? {} : { QUERATOR_POSTGRES: postgres };
    const lines = [
      ...(limitLines.length > 0 ? ["limits:", ...limitLines] : []),
      ...(places > 1 ? placesIn(this.dataDir, places) : []),
    ];
    if (lines.length > 0) {
      const config = join(this.#scratch!, "querator.yaml");
      writeFileSync(config, `${lines.join("\n")}\n`);
      args.push("--config", config);
    }
    const isObserved = options.isObserved === true;
    const before = isObserved ? ["--import", OBSERVER] : [];
    this.#child = spawn(node, [...before, command, ...args], {
      stdio: ["ignore", "pipe", "pipe", ...(isObserved ? (["ipc"] as const) : [])],
      env: { ...BASE_ENVIRONMENT, ...CHOSEN, ...database, ...env },
    });
    const child = this.#child;
    living.add(child);
    createInterface({ input: child.stderr! }).on("line", (line) => {
      keep(this.#stderr, line);
      keep(this.errors, line);
    });
    this.exited = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        living.delete(child);
        resolve({ code, signal });
      });
    });
    this.ready = this.#becomesReady();
    this.ready.catch(() => undefined); // whoever starts it looks at it later, if at all
  }

  /** Starts a server and waits until it serves. */
  static async start(options: ServerProcessOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess(options);
    try {
      await server.ready;
      return server;
    } catch (error) {
      await server.dispose();
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get port(): number {
    return Number(new URL(this.address).port);
  }

  get stderr(): string {
    return this.#stderr.join("\n");
  }

  /** How it ended, if it has. */
  get end(): string | undefined {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null) return `exit code ${exitCode}`;
    return signalCode === null ? undefined : `signal ${signalCode}`;
  }

  /** Resident memory in bytes; 0 once it has ended. */
  get rss(): number {
    try {
      const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
    } catch {
      return 0;
    }
  }

  /** Collects the server's garbage and tells what it holds then. */
  async holdings(): Promise<Holdings> {
    const answered = once(this.#child, "message", { signal: AbortSignal.timeout(HOLDINGS_MS_MAX) });
    this.#child.send("holdings");
    const [held] = (await answered) as [Holdings];
    return held;
  }

  kill(): Promise<Exit> {
    this.#child.kill("SIGKILL");
    return this.exited;
  }

  /** Asks it to stop; answers how it ended, and after how many milliseconds. */
  async terminate(
    signal: "SIGTERM" | "SIGINT" | "SIGHUP" = "SIGTERM",
  ): Promise<Exit & { readonly ms: number }> {
    const from = performance.now();
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
    const exit = await this.exited;
    clearTimeout(timer);
    return { ...exit, ms: performance.now() - from };
  }

  /** Ends the process, whatever it does, and removes the directory that was made for it. */
  async dispose(): Promise<void> {
    await this.kill();
    if (this.#scratch !== undefined) removeScratch(this.#scratch);
  }

  #becomesReady(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      reject(new Error(`the server neither starts nor ends: ${this.stderr}`));
    }, START_MS_MAX);
    createInterface({ input: this.#child.stdout! }).on("line", (text) => {
      const { level, address } = this.#take(text);
      if (level === "error") keep(this.errors, text);
      if (address === undefined) return;
      clearTimeout(timer);
      this.address = address;
      resolve();
    });
    void this.exited.then((exit) => {
      clearTimeout(timer);
      reject(new StartRefused(exit, this.stderr));
    });
    return promise;
  }

  #take(text: string): LogLine {
    let line: LogLine;
    try {
      line = JSON.parse(text) as LogLine;
    } catch {
      line = { level: "error", msg: `not a log line: ${text}` };
    }
    keep(this.log, line);
    return line;
  }
}

function keep<T>(lines: T[], line: T): void {
  lines.push(line);
  if (lines.length > LINES_KEPT) lines.shift();
}
