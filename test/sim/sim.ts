// `npm run sim`: random histories against the model, for so long or so many. Each comes from a seed;
// one that fails is made as small as it can be, and printed with what repeats it.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command as Program } from "commander";
import * as fc from "fast-check";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { openPostgresStorage } from "../../src/storage/postgres/postgres.ts";
import { openSqliteStorage } from "../../src/storage/sqlite/sqlite.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { count, positive, seedOption, storageOption } from "../support/options.ts";
import { queryOnce, sharedPostgres } from "../support/postgres.ts";
import { conclude, endOnSignals, progress } from "../support/program.ts";
import { type Command, histories } from "./commands.ts";
import { NO_FIGURES, type RunFigures, Simulation } from "./run.ts";
import { DISKS } from "./world.ts";

export type SimStorage = "memory" | "sqlite" | "postgres";

export interface SimOptions {
  readonly seed: number;
  /** Commands in one history. */
  readonly length: number;
  /** Whether storage fails and the server crashes. */
  readonly trouble: boolean;
  readonly storage: SimStorage;
}

let runs = 0;

/** Runs one history on disks of its own. */
export async function runHistory(
  commands: readonly Command[],
  storage: SimStorage,
): Promise<Simulation> {
  const run = ++runs;
  const disks = new Map<string, Storage>();
  const dir = storage === "sqlite" ? mkdtempSync(join(tmpdir(), "querator-sim-")) : "";
  const openDisk = async (name: string): Promise<Storage> => {
    let disk = disks.get(name);
    if (storage === "sqlite") {
      await disk?.close();
      disk = await openSqliteStorage({ name, dir: join(dir, name) });
    }
    if (storage === "postgres") {
      await disk?.close();
      disk = await openPostgresStorage({
        name,
        target: { connectionString: await sharedPostgres() },
        schema: schemaOf(run, name),
        connectionsMax: 2,
      });
    }
    disk ??= new MemoryStorage({ name });
    disks.set(name, disk);
    return disk;
  };
  // A small window, so that what waits often lies in storage only; no smaller than what six clients
  // can ask for at once, so that the model need not know of it.
  const simulation = await Simulation.start({ openDisk, limits: { readyItems: 30 } });
  try {
    await simulation.run(commands);
    return simulation;
  } catch (error) {
    (error as { history?: readonly string[] }).history = simulation.history;
    simulation.abandon();
    throw error;
  } finally {
    for (const disk of disks.values()) await disk.close();
    if (storage === "postgres") await dropSchemas(run);
    if (dir !== "") rmSync(dir, { recursive: true, force: true });
  }
}

async function dropSchemas(run: number): Promise<void> {
  const url = await sharedPostgres();
  for (const name of DISKS) {
    await queryOnce(url, `DROP SCHEMA IF EXISTS ${schemaOf(run, name)} CASCADE`);
  }
}

const schemaOf = (run: number, name: string): string => `sim_${process.pid}_${run}_${name}`;

// How long a history that breaks something is made smaller.
const SHRINK_MS = 30_000;

/** Tries histories of one seed; answers what broke, made as small as it can be, or undefined. */
export async function trySeed(
  options: SimOptions,
  onDone: (figures: RunFigures) => void = () => undefined,
): Promise<{ readonly error: string; readonly history: readonly string[] } | undefined> {
  let last: { error: string; history: readonly string[] } | undefined;
  const property = fc.asyncProperty(
    histories(options.length, options.trouble),
    async (commands) => {
      try {
        onDone((await runHistory(commands, options.storage)).figures);
      } catch (error) {
        const { message, stack, history = [] } = error as Error & { history?: string[] };
        last = { error: `${message}\n${stack}`, history };
        throw error;
      }
    },
  );
  const { seed } = options;
  const interruptAfterTimeLimit = SHRINK_MS;
  await fc.check(property, { seed, numRuns: 1, endOnFailure: false, interruptAfterTimeLimit });
  return last;
}

async function main(): Promise<void> {
  const options = new Program("sim")
    .description("Simulate random histories of a server, and check every reply against a model")
    .option("--seconds <n>", "how long to go on", positive, 60)
    .addOption(seedOption())
    .option("--runs <n>", "how many histories, in place of --seconds", count)
    .option("--length <n>", "commands in one history", count, 120)
    .option("--calm", "without failures and crashes", false)
    .addOption(storageOption("memory", ["memory", "sqlite", "postgres"]))
    .parse()
    .opts<{
      seconds: number;
      seed: number;
      runs?: number;
      length: number;
      calm: boolean;
      storage: SimStorage;
    }>();
  endOnSignals();
  const total: RunFigures = { ...NO_FIGURES };
  const start = performance.now();
  let runs = 0;
  const more = (): boolean =>
    options.runs === undefined
      ? performance.now() - start < options.seconds * 1000
      : runs < options.runs;
  for (let seed: number = options.seed; more(); seed++, runs++) {
    const { length, storage, calm } = options;
    const trouble = !calm && seed % 3 !== 0;
    const broken = await trySeed({ seed, length, trouble, storage }, (figures) => {
      for (const key of Object.keys(total) as (keyof RunFigures)[]) total[key] += figures[key];
    });
    if (broken === undefined) {
      if (runs % 50 === 49) progress(`seed ${seed}: ${runs + 1} histories`);
      continue;
    }
    progress(`${broken.history.join("\n")}\n${broken.error}`);
    const same = `--length ${length} --storage ${storage}${calm ? " --calm" : ""}`;
    const repeat = `repeat with: npm run sim -- --seed ${seed} --runs 1 ${same}`;
    conclude("sim", false, `seed ${seed}; ${repeat}`);
    // A server that is busy without end would keep the program from ending.
    await new Promise((resolve) => process.stdout.write("", resolve));
    process.exit(1);
  }
  conclude(
    "sim",
    true,
    `${runs} histories from seed ${options.seed}, ${total.commands} steps, ${total.calls} calls, ` +
      `${total.items} items, ${total.windows} views (${total.calmWindows} exact), ` +
      `${total.faults} faults, ${total.crashes} restarts`,
  );
}

if (import.meta.main) await main();
