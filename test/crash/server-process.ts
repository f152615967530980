// The real server in a process of its own, as a user starts it: `bin/querator.js server` on a data
// directory. It can be killed, asked to stop, and refused to start; what it printed is kept. No
// server outlives the program that started it.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
const LINES_KEPT = 1_000;
// A start that has neither become ready nor ended after so long never will.
const START_MS_MAX = 30_000;
// And one that does not stop is killed, and counts as one that was killed.
const STOP_MS_MAX = 20_000;

const living = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of living) child.kill("SIGKILL");
});

export interface StartOptions {
  readonly dataDir: string;
  /** 0 for a free one. */
  readonly port?: number;
  /** More of the environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** One line of the server's log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly address?: string;
  readonly queue?: string;
  readonly partition?: number;
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
    super(`the server did not start (${JSON.stringify(exit)}): ${stderr.trim()}`);
    this.exit = exit;
    this.stderr = stderr;
  }
}

export class ServerProcess {
  readonly spawnedAt = performance.now();
  /** The port, once it is ready; rejects with StartRefused if it ends before, or if it never is. */
  readonly ready: Promise<number>;
  readonly exited: Promise<Exit>;
  /** The last lines of its log. */
  readonly log: LogLine[] = [];
  stderr = "";
  readonly #child: ChildProcess;

  constructor({ dataDir, port = 0, env = {} }: StartOptions) {
    const args = ["--address", `127.0.0.1:${port}`, "--data-dir", dataDir, "--log-format", "json"];
    const child = spawn(process.execPath, [COMMAND, "server", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH, ...env },
    });
    this.#child = child;
    living.add(child);
    child.stderr!.on("data", (chunk) => (this.stderr += chunk));
    this.exited = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        living.delete(child);
        resolve({ code, signal });
      });
    });
    this.ready = new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`the server neither starts nor ends: ${this.stderr}`));
      }, START_MS_MAX);
      createInterface({ input: child.stdout! }).on("line", (text) => {
        const line = this.#take(text);
        if (line?.address === undefined) return;
        clearTimeout(timer);
        resolve(Number(new URL(line.address).port));
      });
      void this.exited.then((exit) => {
        clearTimeout(timer);
        reject(new StartRefused(exit, this.stderr));
      });
    });
    this.ready.catch(() => undefined); // whoever starts it looks at it later, if at all
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  kill(): Promise<Exit> {
    this.#child.kill("SIGKILL");
    return this.exited;
  }

  /** Asks it to stop; answers how it ended, and after how many milliseconds. */
  async terminate(): Promise<Exit & { readonly ms: number }> {
    const from = performance.now();
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
    const exit = await this.exited;
    clearTimeout(timer);
    return { ...exit, ms: performance.now() - from };
  }

  #take(text: string): LogLine | undefined {
    let line: LogLine;
    try {
      line = JSON.parse(text) as LogLine;
    } catch {
      line = { level: "error", msg: `not a log line: ${text}` };
    }
    this.log.push(line);
    if (this.log.length > LINES_KEPT) this.log.shift();
    return line;
  }
}
