// `node test/crash/crash.ts`: proof that a killed server has lost nothing. Real servers, real
// clients and a real clock; the clients outlive the server and know what it has acknowledged. The
// modes: kill (SIGKILL at random moments), term (SIGTERM under load),
// full (the file system runs full), power (a power cut: what was not synced is gone), disk (calls that
// sync, write, truncate or read fail, with every way to sync), redrive (SIGKILL while items go to a dead queue
// and back), redrive-apart (the same, and each has a storage of its own), keys (all of it under a load of unique keys, cancels, results and what follows a complete), access (SIGKILL while
// API keys and roles change). Over PostgreSQL: kill, term, database (the database is killed and starts again), failover (its
// standby takes over), keys, access.

import { Command, Option } from "commander";
import { count, seedOption } from "../support/options.ts";
import { conclude, endOnSignals, progress } from "../support/program.ts";
import { accessMode } from "./access-mode.ts";
import type { ModeOptions, ModeResult } from "./crash-run.ts";
import {
  accessOverPostgres,
  databaseMode,
  failoverMode,
  killOverPostgres,
  termOverPostgres,
} from "./database-modes.ts";
import { diskMode } from "./disk-mode.ts";
import { fullMode } from "./full-mode.ts";
import { keysMode, keysOverPostgres } from "./keys-mode.ts";
import { killMode } from "./kill-mode.ts";
import { powerMode } from "./power-mode.ts";
import { redriveApartMode, redriveMode } from "./redrive-mode.ts";
import { termMode } from "./term-mode.ts";

type Modes = Readonly<Record<string, (options: ModeOptions) => Promise<ModeResult>>>;

const MODES: Readonly<Record<string, Modes>> = {
  sqlite: {
    kill: killMode,
    term: termMode,
    full: fullMode,
    power: powerMode,
    disk: diskMode,
    redrive: redriveMode,
    "redrive-apart": redriveApartMode,
    keys: keysMode,
    access: accessMode,
  },
  postgres: {
    kill: killOverPostgres,
    term: termOverPostgres,
    database: databaseMode,
    failover: failoverMode,
    keys: keysOverPostgres,
    access: accessOverPostgres,
  },
};

// How many violations of each kind are shown.
const SHOWN = 4;

const program = new Command("crash")
  .description("Show that a server that is killed loses nothing")
  .addOption(
    new Option("--mode <mode>", "what happens to the server")
      .choices([...new Set(Object.values(MODES).flatMap(Object.keys)), "all"])
      .default("kill"),
  )
  .addOption(
    new Option("--storage <driver>", "what the server keeps its data in")
      .choices(Object.keys(MODES))
      .default("sqlite"),
  )
  .option("--kills <n>", "how often it happens", count, 40)
  .option("--life <ms>", "how long the server lives in between, at most", count, 1_200)
  .option("--no-mount", "mode full: limit the size of files in place of mounting a small disk")
  .addOption(seedOption())
  .parse();
const { mode, storage, kills, life, mount, seed } = program.opts<{
  mode: string;
  storage: string;
  kills: number;
  life: number;
  mount: boolean;
  seed: number;
}>();

const modes = MODES[storage]!;
if (mode !== "all" && modes[mode] === undefined) {
  program.error(
    `error: --mode ${mode}: over ${storage} use ${Object.keys(modes).join(", ")} or all`,
  );
}

endOnSignals();

const results: ModeResult[] = [];
for (const [name, run] of Object.entries(modes)) {
  if (mode !== "all" && mode !== name) continue;
  try {
    results.push(await run({ seed, kills, lifeMs: life, paceMs: 0, mounts: mount, progress }));
  } catch (error) {
    const violations = [(error as Error).stack ?? String(error)];
    results.push({ mode: name, figures: "did not end", violations });
  }
}

const violations = results.flatMap((result) => result.violations);
const kinds = Map.groupBy(violations, (violation) => violation.split(":")[0]);
for (const [kind, ofKind] of kinds) {
  for (const violation of ofKind.slice(0, SHOWN)) progress(violation);
  if (ofKind.length > SHOWN) progress(`and ${ofKind.length - SHOWN} more of "${kind}"`);
}
const figures = results.map((result) => `${result.mode}: ${result.figures}`).join("; ");
const isOk = violations.length === 0;
const verdict = isOk ? "" : `${violations.length} violations, `;
conclude("crash", isOk, `${verdict}seed ${seed}; ${figures}`);
process.exit();
