// `querator doctor`: looks at the storages of a server, which may be running, and says what is wrong
// or will be, and what to do. Exit code 1 if there is anything.

import { type Command, InvalidArgumentError } from "commander";
import { MILLISECOND } from "../clock.ts";
import { loadConfig, type StorageConfig } from "../config.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { examineSqlite, type Finding } from "../storage/doctor.ts";
import { examinePostgres, OLD_MS } from "../storage/postgres-doctor.ts";
import { targetOf } from "../storage/postgres-target.ts";

interface DoctorOptions {
  readonly dataDir?: string;
  readonly postgres?: string;
  readonly config?: string;
  /** Milliseconds. */
  readonly old?: number;
}

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("look for what is wrong with the storages of a server, or will be")
    .option("--data-dir <dir>", "the data directory of the server (default: ./querator-data)")
    .option(
      "--postgres <url>",
      "the PostgreSQL: a URL, or env for DATABASE_URL or PGHOST and the like",
    )
    .option("--config <file>", "the YAML file of the server")
    .option(
      "--old <time>",
      "from what age on an open transaction is too old (default: 5m)",
      readAge,
    )
    .action(async ({ old = OLD_MS, ...options }: DoctorOptions) => {
      process.exitCode = (await runDoctor(options, old)) ? 0 : 1;
    });
}

function readAge(text: string): number {
  try {
    const age = parseDuration(text) / MILLISECOND;
    if (age >= 0) return age;
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
  }
  throw new InvalidArgumentError("use a time such as 5m");
}

// Answers whether all is well.
async function runDoctor(options: Omit<DoctorOptions, "old">, oldMs: number): Promise<boolean> {
  const { queueStorage, partitionStorage } = loadConfig(options, process.env);
  const storages = new Map([queueStorage, ...partitionStorage].map((each) => [each.name, each]));
  let isWell = true;
  for (const storage of storages.values()) {
    const findings = await examine(storage, oldMs);
    const place = storage.postgres?.location ?? storage.dir ?? "in memory";
    process.stdout.write(`${storage.name}: ${place}\n`);
    for (const { check, status, text } of findings) {
      process.stdout.write(`  ${status.padEnd(8)} ${check}: ${text}\n`);
      if (status !== "ok") isWell = false;
    }
  }
  return isWell;
}

async function examine(storage: StorageConfig, oldMs: number): Promise<readonly Finding[]> {
  const { driver, dir, file, postgres } = storage;
  if (driver === "memory") return [{ check: "memory", status: "ok", text: "nothing to look at" }];
  if (driver === "sqlite") return examineSqlite({ dir: dir!, file });
  const { connectMs, statementMs, schema } = postgres!;
  try {
    const timeouts = { connectMs, statementMs };
    return await examinePostgres({ target: targetOf(postgres!), schema, timeouts, oldMs });
  } catch (error) {
    return [{ check: "connection", status: "failed", text: (error as Error).message }];
  }
}
