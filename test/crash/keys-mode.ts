// Deaths under a load that names items: unique keys, cancels, results, and what follows a complete. The server is
// killed, asked to stop, and cut off from its power; over PostgreSQL its database is killed as well. Never are there
// two live items of a key, a key is free when its item has ended and not before, what was cancelled never comes back,
// a result that was acknowledged is there, and what follows a complete is there if, and only if, that was done.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createDatabase, type Postgres, startPostgres } from "../support/postgres.ts";
import { Random } from "../support/random.ts";
import { keepScratch, makeScratch, removeScratch } from "../support/scratch.ts";
import { threads } from "../support/server-process.ts";
import { Client } from "./client.ts";
import type { ModeOptions, ModeResult } from "./crash-run.ts";
import { Host } from "./host.ts";
import { KeyedLedger } from "./keyed-ledger.ts";
import { KeyedLoad } from "./keyed-load.ts";
import { judgeKeys } from "./keyed-verdict.ts";
import { NoCompiler, PowerCut, type Survival } from "./powercut.ts";

type Death = "killed" | "stopped" | "cut off" | "without its database";

const SURVIVALS = { nothing: 4, pages: 3, sectors: 2, all: 1 } as const;
const DIES_IN_START = 0.2;
const START_MS = 250;
const AWAY_MS = 500;
// How many requests a life waits for, and how much longer it may be for that.
const REQUESTS_MAX = 150;
const LIFE_MS_MAX = 2_000;
const RECOVER_MS = 30_000;

/** Has the server die again and again while items are named by keys and ids. */
export function keysMode(options: ModeOptions): Promise<ModeResult> {
  return new KeysRun(options).play({ killed: 4, stopped: 1, "cut off": 3 });
}

/** The same over PostgreSQL, which dies as well. */
export async function keysOverPostgres(options: ModeOptions): Promise<ModeResult> {
  const database = await startPostgres({ fsync: true });
  try {
    const { url: postgres } = await createDatabase(database.url);
    const run = new KeysRun({ ...options, postgres }, database);
    return await run.play({ killed: 4, stopped: 1, "without its database": 2 });
  } finally {
    await database.stop();
  }
}

class KeysRun {
  readonly #options: ModeOptions;
  readonly #database: Postgres | undefined;
  readonly #directory = makeScratch();
  readonly #random: Random;
  readonly #host: Host;
  readonly #client: Client;
  readonly #ledger = new KeyedLedger();
  readonly #load: KeyedLoad;
  readonly #power: PowerCut | undefined;
  readonly #deaths = { killed: 0, stopped: 0, "cut off": 0, "without its database": 0 };
  #inStarts = 0;

  constructor(options: ModeOptions, database?: Postgres) {
    const { seed, postgres, paceMs } = options;
    this.#options = options;
    this.#database = database;
    this.#random = new Random(seed);
    const dataDir = join(this.#directory, "data");
    this.#host = new Host({ dataDir, postgres });
    this.#client = new Client(this.#host);
    this.#load = new KeyedLoad({
      ...{ client: this.#client, ledger: this.#ledger, paceMs, random: new Random(seed + 1) },
      storageMayFail: postgres !== undefined,
      isThreaded: threads > 1,
    });
    if (postgres === undefined) this.#power = this.#powerCut(dataDir);
  }

  #powerCut(dataDir: string): PowerCut | undefined {
    try {
      return new PowerCut({ directory: this.#directory, dataDir, random: this.#random });
    } catch (error) {
      if (!(error instanceof NoCompiler)) throw error;
      this.#options.progress(`keys: the power is not cut: ${error.message}`);
      return undefined;
    }
  }

  async play(weights: Readonly<Partial<Record<Death, number>>>): Promise<ModeResult> {
    const { kills, progress } = this.#options;
    const random = this.#random;
    try {
      await this.#start();
      await this.#load.start();
      for (let time = 1; time <= kills && !this.#isHopeless; time++) {
        await this.#live();
        const death = random.weighted(weights);
        this.#deaths[death]++;
        await this.#die(death);
        progress(`keys: ${death}, ${time} of ${kills}, ${this.#figures}`);
      }
      await this.#finish();
      const { violations } = this.#ledger;
      const deaths = Object.entries(this.#deaths).map(
        ([death, count]) => `${count} times ${death}`,
      );
      const figures = `${deaths.join(", ")}, killed in ${this.#inStarts} starts, ${this.#figures}`;
      return { mode: "keys", figures, violations };
    } finally {
      await this.#close();
    }
  }

  get #isHopeless(): boolean {
    return this.#load.isHopeless || this.#host.hasFallen;
  }

  get #figures(): string {
    const { made, leases, finishes, violations } = this.#ledger;
    const of = (kind: string): number =>
      finishes.filter((each) => each.outcome === "acked" && each.kind === kind).length;
    const taken = made.filter(({ status }) => /^(refused|duplicate|replaced)$/.test(status)).length;
    const bad = violations.length === 0 ? "" : `, ${violations.length} VIOLATIONS`;
    return `${made.length} items sent, ${taken} with a key that was taken, ${leases} leased, ${of("complete")} completed, ${of("cancel") + of("mark")} cancelled${bad}`;
  }

  // Some lives are long enough for something to be done in them, however busy the machine is.
  async #live(): Promise<void> {
    const random = this.#random;
    await sleep(random.below(this.#options.lifeMs));
    if (random.chance(0.4)) return;
    const wanted = this.#load.acked + random.below(REQUESTS_MAX);
    const end = Date.now() + LIFE_MS_MAX;
    while (this.#load.acked < wanted && Date.now() < end && !this.#isHopeless) await sleep(5);
  }

  async #die(death: Death): Promise<void> {
    if (death === "without its database") return this.#restartDatabase(this.#database!);
    if (death === "stopped") {
      const { code, signal } = await this.#host.terminate();
      if (code !== 0) this.#ledger.violation("exit", `SIGTERM ended with ${code ?? signal}`);
    } else {
      await this.#host.kill();
      if (death === "cut off") this.#power?.cut(this.#random.weighted<Survival>(SURVIVALS));
    }
    while (this.#random.chance(DIES_IN_START)) {
      this.#prepare();
      const server = this.#host.spawn();
      await sleep(this.#random.below(START_MS));
      await server.kill();
      this.#inStarts++;
    }
    await this.#start();
  }

  async #start(): Promise<void> {
    this.#prepare();
    await this.#host.start();
  }

  #prepare(): void {
    if (this.#power === undefined) return;
    this.#power.prepare();
    this.#host.env = this.#power.env();
  }

  async #restartDatabase(database: Postgres): Promise<void> {
    await database.kill();
    await sleep(this.#random.below(AWAY_MS));
    await database.restart("immediate");
    const { acked } = this.#load;
    const end = Date.now() + RECOVER_MS;
    while (this.#load.acked === acked && !this.#isHopeless) {
      if (Date.now() > end) {
        this.#ledger.violation("stuck", "the database is there, and nothing works");
        return;
      }
      await sleep(20);
    }
  }

  async #finish(): Promise<void> {
    const ledger = this.#ledger;
    this.#options.progress("keys: drains");
    const isDrained = !this.#isHopeless && (await this.#load.drain());
    if (isDrained) {
      judgeKeys(ledger, await this.#load.kept());
      await this.#load.checkFree();
    }
    this.#load.abandon();
    for (const request of this.#client.silent) ledger.violation("silent", request);
    this.#client.close();
    const { code } = await this.#host.terminate();
    if (code !== 0) ledger.violation("exit", `the last stop ended with ${code}`);
    if (this.#database !== undefined) return;
    for (const line of this.#host.failures) ledger.violation("log", line);
  }

  async #close(): Promise<void> {
    this.#load.abandon();
    this.#client.close();
    await this.#host.end();
    if (this.#ledger.violations.length === 0) {
      removeScratch(this.#directory);
    } else {
      keepScratch(this.#directory);
      this.#options.progress(`keys: the data is kept in ${this.#directory}`);
    }
  }
}
