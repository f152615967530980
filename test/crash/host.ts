// The place where the server under test runs: one data directory and one port, on which it is
// started again after each death. Clients ask here where the server is, and wait while it is down,
// as nothing may be sent to a port on which nobody listens. What the server logs as a failure is kept.

import { type Exit, isTrouble, ServerProcess, StartRefused } from "../support/server-process.ts";

// How often a start is tried if the port is still taken.
const PORT_TRIES = 20;

export interface HostOptions {
  readonly dataDir: string;
  /** The database that the data is in, in place of the directory. */
  readonly postgres?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
  /** Over how many storages partitions are spread. */
  readonly places?: number;
}

interface Waiter {
  readonly resolve: (port: number) => void;
  readonly reject: (error: Error) => void;
}

export class Host {
  readonly dataDir: string;
  readonly #postgres: string | undefined;
  readonly #places: number;
  env: Readonly<Record<string, string>>;
  /** Lines of the log that tell of a failure, over all starts. */
  readonly failures: string[] = [];
  /** Milliseconds from the start of a process to its being ready: the longest. */
  longestStartMs = 0;
  #port = 0;
  #server: ServerProcess | undefined;
  #isUp = false;
  #waiting: Waiter[] = [];
  /** Whether the server may end by itself: it is cut off at one of its calls. */
  mayEnd = false;
  // Set when the server has ended and nobody asked it to.
  #ended: Error | undefined;

  constructor({ dataDir, postgres, env = {}, places = 1 }: HostOptions) {
    this.#places = places;
    this.dataDir = dataDir;
    this.#postgres = postgres;
    this.env = env;
  }

  /** Whether the server has ended although nobody asked it to. */
  get hasFallen(): boolean {
    return this.#ended !== undefined;
  }

  /** The process that was started last. */
  get server(): ServerProcess {
    return this.#server!;
  }

  /** Resolves with the port when the server is up; rejects if it has ended by itself. */
  up(): Promise<number> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (this.#isUp) return Promise.resolve(this.#port);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Starts the server and waits until it is ready; rejects with StartRefused. */
  async start(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const server = this.spawn();
      try {
        await this.serve(server);
        return;
      } catch (error) {
        const taken = error instanceof StartRefused && error.stderr.includes("is in use; stop");
        if (!taken || attempt === PORT_TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** Starts a process without waiting for it. */
  spawn(): ServerProcess {
    const { dataDir, env } = this;
    const places = this.#places;
    const postgres = this.#postgres === undefined ? {} : { postgres: this.#postgres };
    this.#server = new ServerProcess({ dataDir, env, port: this.#port, places, ...postgres });
    return this.#server;
  }

  /** Waits until a process is ready, and sends the clients there. */
  async serve(server: ServerProcess): Promise<void> {
    await server.ready;
    this.#port = server.port;
    this.longestStartMs = Math.max(this.longestStartMs, performance.now() - server.spawnedAt);
    this.#isUp = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve(this.#port);
    void server.exited.then((exit) => {
      if (this.#server !== server || !this.#isUp) return;
      this.#isUp = false;
      if (this.mayEnd) return;
      const how = `${JSON.stringify(exit)} ${server.stderr}`;
      this.#ended = new Error(`the server has ended by itself: ${how}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    });
  }

  async kill(): Promise<Exit> {
    this.#isUp = false;
    const exit = await this.server.kill();
    this.#keepFailures();
    return exit;
  }

  /** Kills what still runs, if anything does. */
  async end(): Promise<void> {
    if (this.#server !== undefined && this.#server.end === undefined) await this.kill();
  }

  async terminate(): Promise<Exit & { readonly ms: number }> {
    this.#isUp = false;
    const exit = await this.server.terminate();
    this.#keepFailures();
    return exit;
  }

  #keepFailures(): void {
    for (const line of this.server.log) {
      if (isTrouble(line)) this.failures.push(JSON.stringify(line));
    }
    if (this.server.stderr !== "") this.failures.push(this.server.stderr);
  }
}
