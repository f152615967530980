// One run against one data directory: the server's place, its clients, and their ledger. A mode of
// crash.ts sets it up, harms the server in its own way, and has it judged when all has drained.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Random } from "../support/random.ts";
import { keepScratch, makeScratch, removeScratch } from "../support/scratch.ts";
import { threads } from "../support/server-process.ts";
import { Client } from "./client.ts";
import { Host } from "./host.ts";
import { Ledger } from "./ledger.ts";
import { Load } from "./load.ts";
import { QUEUE_PLANS } from "./queue-plan.ts";
import { judge, type Verdict } from "./verdict.ts";

export interface ModeOptions {
  readonly seed: number;
  /** How often the server is killed, stopped, or cut off. */
  readonly kills: number;
  /** For how many milliseconds it lives in between, at most. */
  readonly lifeMs: number;
  /** How many milliseconds producers rest between requests. */
  readonly paceMs: number;
  /** Whether a file system may be mounted. */
  readonly mounts: boolean;
  /** The database that the server keeps its data in, in place of a directory. */
  readonly postgres?: string;
  readonly progress: (text: string) => void;
}

/** What a mode has found. */
export interface ModeResult {
  readonly mode: string;
  /** The figures, for the summary. */
  readonly figures: string;
  readonly violations: readonly string[];
}

export interface RunOptions extends ModeOptions {
  readonly mode: string;
  /** Where the data directory is made; a temporary directory if it is left out. */
  readonly directory?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class CrashRun {
  readonly directory: string;
  readonly host: Host;
  readonly client: Client;
  readonly ledger: Ledger;
  readonly load: Load;
  readonly random: Random;
  readonly allows = { shutdown: false, storageFailure: false, loss: false };
  readonly #options: RunOptions;

  constructor(options: RunOptions) {
    this.#options = options;
    this.random = new Random(options.seed);
    this.directory = options.directory ?? makeScratch();
    const { env = {}, postgres } = options;
    // Every thread has a file of its own.
    this.ledger = new Ledger(QUEUE_PLANS, { isApart: threads > 1 && postgres === undefined });
    this.host = new Host({ dataDir: join(this.directory, "data"), postgres, env });
    // A server that takes over from one that was killed waits until that one is surely gone.
    this.allows.storageFailure = postgres !== undefined;
    this.client = new Client(this.host);
    const { client, ledger, allows } = this;
    const { paceMs, seed } = options;
    this.load = new Load({ client, ledger, allows, paceMs, random: new Random(seed + 1) });
  }

  async start(): Promise<void> {
    await this.host.start();
    await this.load.start();
  }

  /** Whether there is any use in going on. */
  get isHopeless(): boolean {
    return this.load.isHopeless || this.host.hasFallen;
  }

  /** Lets the server live for a random while. */
  async live(): Promise<void> {
    await sleep(this.random.below(this.#options.lifeMs));
  }

  progress(text: string): void {
    const { produces, deliveries, violations } = this.ledger;
    const counts = `${produces.length} produces, ${deliveries.length} deliveries`;
    const bad = violations.length === 0 ? "" : `, ${violations.length} VIOLATIONS`;
    this.#options.progress(`${this.#options.mode}: ${text}, ${counts}${bad}`);
  }

  /** Lets everything drain, stops the server, and judges. */
  async finish(): Promise<Verdict> {
    const { postgres } = this.#options;
    this.progress("drains");
    const drained = !this.isHopeless && (await this.load.drain());
    this.load.abandon();
    const verdict = judge(this.ledger, drained);
    for (const request of this.client.silent) this.ledger.violation("silent", request);
    this.client.close();
    const { code, ms } = await this.host.terminate();
    if (code !== 0) this.ledger.violation("exit", `the last stop ended with ${code} after ${ms}`);
    if (!this.allows.storageFailure) {
      for (const line of this.host.failures) this.ledger.violation("log", line);
    }
    if (postgres !== undefined) this.#checkSecrets(postgres);
    return verdict;
  }

  // What is logged may be read by those who may not read the database.
  #checkSecrets(postgres: string): void {
    const { password } = new URL(postgres);
    for (const line of this.host.failures) {
      if (line.includes(password)) this.ledger.violation("secret", line);
    }
  }

  /** Ends whatever still runs, and removes the data, unless it shows what went wrong unexpectedly. */
  async close(expectsViolations = false): Promise<void> {
    this.load.abandon();
    this.client.close();
    await this.host.end();
    if (this.ledger.violations.length === 0 || expectsViolations) {
      removeScratch(this.directory);
    } else {
      keepScratch(this.directory);
      this.#options.progress(`the data is kept in ${this.directory}`);
    }
  }
}

/** The figures that every mode reports. */
export function figuresOf(verdict: Verdict): string {
  const { acknowledged, surfaced, delivered, completed, dead, lost, doubled } = verdict;
  return `${acknowledged} items acknowledged and ${surfaced} of unknown outcome found, ${delivered} deliveries, ${completed} completed, ${dead} died as planned, lost ${lost}, doubled ${doubled}`;
}
