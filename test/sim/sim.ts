// `npm run sim`: random histories against the model, for so long or so many. Each comes from a seed;
// one that fails is made as small as it can be, and printed with what repeats it.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidArgumentError, Command as Program } from "commander";
import * as fc from "fast-check";
import { MemoryStorage } from "../../src/storage/memory.ts";
import { openSqliteStorage } from "../../src/storage/sqlite.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type Command, histories } from "./commands.ts";
import { type RunFigures, Simulation } from "./run.ts";

export interface SimOptions {
  readonly seed: number;
  /** Commands in one history. */
  readonly length: number;
  /** Whether storage fails and the server crashes. */
  readonly trouble: boolean;
  readonly storage: "memory" | "sqlite";
}

/** Runs one history on disks of its own. */
export async function runHistory(
  commands: readonly Command[],
  storage: SimOptions["storage"],
): Promise<Simulation> {
  const disks = new Map<string, Storage>();
  const dir = storage === "sqlite" ? mkdtempSync(join(tmpdir(), "querator-sim-")) : "";
  const openDisk = async (name: string): Promise<Storage> => {
    let disk = disks.get(name);
    if (storage === "sqlite") {
      await disk?.close();
      disk = await openSqliteStorage({ name, dir: join(dir, name) });
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
    throw error;
  } finally {
    for (const disk of disks.values()) await disk.close();
    if (dir !== "") rmSync(dir, { recursive: true, force: true });
  }
}

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
  const result = await fc.check(property, { seed: options.seed, numRuns: 1, endOnFailure: false });
  return result.failed ? last : undefined;
}

function whole(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number)) return number;
  throw new InvalidArgumentError("use a whole number");
}

async function main(): Promise<void> {
  const options = new Program("sim")
    .description("Simulate random histories of a server, and check every reply against a model")
    .option("--seconds <n>", "how long to go on", Number, 60)
    .option("--seed <n>", "the first seed; each history takes the next", whole, Date.now() % 1e9)
    .option("--runs <n>", "how many histories, in place of --seconds", whole)
    .option("--length <n>", "commands in one history", whole, 120)
    .option("--calm", "without failures and crashes")
    .option("--storage <driver>", "memory or sqlite", "memory")
    .option("--history", "print each history")
    .parse()
    .opts();
  const total: RunFigures = {
    commands: 0,
    calls: 0,
    windows: 0,
    calmWindows: 0,
    crashes: 0,
    faults: 0,
    items: 0,
  };
  const start = performance.now();
  let runs = 0;
  const more = (): boolean =>
    options.runs === undefined
      ? performance.now() - start < options.seconds * 1000
      : runs < options.runs;
  for (let seed: number = options.seed; more(); seed++, runs++) {
    const trouble = options.calm !== true && seed % 3 !== 0;
    const { length, storage } = options;
    const broken = await trySeed({ seed, length, trouble, storage }, (figures) => {
      for (const key of Object.keys(total) as (keyof RunFigures)[]) total[key] += figures[key];
    });
    if (broken === undefined) {
      if (runs % 50 === 49) process.stderr.write(`seed ${seed}: ${runs + 1} histories\n`);
      continue;
    }
    process.stdout.write(`${broken.history.join("\n")}\n${broken.error}\n`);
    process.stdout.write(
      `sim: FAILED at seed ${seed}; repeat with: npm run sim -- --seed ${seed} --runs 1 --length ${length}\n`,
    );
    process.exitCode = 1;
    return;
  }
  process.stdout.write(
    `sim: ok, ${runs} histories from seed ${options.seed}, ${total.commands} steps, ${total.calls} calls, ` +
      `${total.items} items, ${total.windows} views (${total.calmWindows} exact), ` +
      `${total.faults} faults, ${total.crashes} restarts\n`,
  );
}

if (import.meta.main) await main();
