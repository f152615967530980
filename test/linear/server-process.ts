// A real server in a process of its own, on a free port, with its data in a temporary directory.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../../bin/querator.js", import.meta.url));
const LOG_LINES_MAX = 20;

export type StorageKind = "memory" | "sqlite";

export class ServerProcess {
  readonly url: URL;
  /** Log lines that tell of something that should not happen. */
  readonly complaints: string[];
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(url: URL, complaints: string[], child: ChildProcess, directory: string) {
    this.url = url;
    this.complaints = complaints;
    this.#child = child;
    this.#directory = directory;
  }

  static async start(storage: StorageKind): Promise<ServerProcess> {
    const directory = await mkdtemp(join(tmpdir(), "querator-linear-"));
    const where = storage === "memory" ? ["--memory"] : ["--data-dir", directory];
    const args = ["server", "--address", "127.0.0.1:0", "--log-format", "json", ...where];
    const child = spawn(process.execPath, [COMMAND, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH },
    });
    const complaints: string[] = [];
    const complain = (line: string): void => {
      if (complaints.length < LOG_LINES_MAX) complaints.push(line);
    };
    const { promise, resolve, reject } = Promise.withResolvers<URL>();
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { address, level } = JSON.parse(line) as { address?: string; level?: string };
      if (address !== undefined) resolve(new URL(address));
      else if (level === "warn" || level === "error") complain(line);
    });
    createInterface({ input: child.stderr }).on("line", complain);
    child.once("exit", (code, signal) => {
      reject(new Error(`the server did not start: ${complaints.join("\n")}`));
      if (code !== 0) complain(`the server ended with ${code ?? signal}`);
    });
    try {
      return new ServerProcess(await promise, complaints, child, directory);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGTERM");
      await once(this.#child, "exit");
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
