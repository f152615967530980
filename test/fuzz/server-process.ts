// The real server in a process of its own, as a user starts it: `bin/querator.js server`. It tells
// where it listens, how much memory it has, what it logged as an error, and whether it has ended
// although nobody asked it to.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Holdings } from "./observer.ts";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
const OBSERVER = new URL("./observer.ts", import.meta.url).href;

const READY_MS = 20_000;
const STOP_MS = 15_000;
const HOLDINGS_MS = 60_000;

export interface ServerProcessOptions {
  readonly storage: "memory" | "sqlite";
  /** Limits that differ from the defaults, by their keys in the configuration file. */
  readonly limits?: Readonly<Record<string, number>>;
}

/** One server process, and the directory with its files. */
export class ServerProcess {
  readonly pid: number;
  port = 0;
  /** What the server has logged as an error, or written about its end. */
  readonly errors: string[] = [];
  readonly #child: ChildProcess;
  readonly #directory: string;

  readonly #options: ServerProcessOptions;

  private constructor(options: ServerProcessOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
    const config = join(this.#directory, "querator.yaml");
    const limits = Object.entries(options.limits ?? {}).map(([key, value]) => `  ${key}: ${value}`);
    writeFileSync(config, limits.length === 0 ? "" : `limits:\n${limits.join("\n")}\n`);
    const storage = options.storage === "memory" ? ["--memory"] : ["--data-dir", this.dataDir];
    const args = ["--address", "127.0.0.1:0", "--log-format", "json", ...storage];
    this.#child = spawn(
      process.execPath,
      ["--import", OBSERVER, COMMAND, "server", "--config", config, ...args],
      { stdio: ["ignore", "pipe", "pipe", "ipc"], env: { PATH: process.env.PATH } },
    );
    this.pid = this.#child.pid!;
    const lines = (stream: "stdout" | "stderr"): ReturnType<typeof createInterface> =>
      createInterface({ input: this.#child[stream]! });
    lines("stderr").on("line", (line) => this.errors.push(line));
    lines("stdout").on("line", (line) => {
      if (line.includes('"level":"error"')) this.errors.push(line);
      const address = /"address":"http:\/\/[^"]*:(\d+)"/.exec(line);
      if (address !== null) this.port = Number(address[1]);
    });
  }

  static start(options: ServerProcessOptions): Promise<ServerProcess> {
    return ServerProcess.#startIn(options, mkdtempSync(join(tmpdir(), "querator-fuzz-")));
  }

  /** Starts another server on the data of this one, which has ended. */
  again(): Promise<ServerProcess> {
    return ServerProcess.#startIn(this.#options, this.#directory);
  }

  static async #startIn(options: ServerProcessOptions, directory: string): Promise<ServerProcess> {
    const server = new ServerProcess(options, directory);
    const giveUpAt = Date.now() + READY_MS;
    while (server.port === 0) {
      if (server.end !== undefined || Date.now() > giveUpAt) {
        await server.dispose();
        throw new Error(`the server did not start: ${server.errors.join("\n")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return server;
  }

  /** Where a server on SQLite keeps its data. */
  get dataDir(): string {
    return join(this.#directory, "data");
  }

  /** How it ended, if it has. */
  get end(): string | undefined {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null) return `exit code ${exitCode}`;
    return signalCode === null ? undefined : `signal ${signalCode}`;
  }

  /** Resident memory in bytes; 0 once it has ended. */
  get rss(): number {
    return this.end === undefined ? residentBytes(this.pid) : 0;
  }

  /** Collects the server's garbage and tells what it holds then. */
  async holdings(): Promise<Holdings> {
    const answered = once(this.#child, "message", { signal: AbortSignal.timeout(HOLDINGS_MS) });
    this.#child.send("holdings");
    const [held] = (await answered) as [Holdings];
    return held;
  }

  /** Stops it as an operator would; answers how it ended. */
  async stop(): Promise<string> {
    if (this.end === undefined) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    return this.end!;
  }

  /** Ends the process, whatever it does, and removes its files. */
  async dispose(): Promise<void> {
    if (this.end === undefined) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function residentBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0; // it has ended in this very moment
  }
}

/** Megabytes for people. */
export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1_000_000)} MB`;
}
