// `querator doctor`: looks at the storages of a server, which may be running, and at who may come in, and says
// what is wrong or will be, and what to do. Exit code 1 if there is anything.

import { type Command, InvalidArgumentError, Option } from "commander";
import { authRecordsAmong } from "../auth/records.ts";
import { MILLISECOND } from "../clock.ts";
import { AUTHS, firstKeyFile, loadConfig, type StorageConfig } from "../config/config.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { type StoredQueue, storagesOf } from "../registry/records.ts";
import { examineSqlite, type Finding, sqliteRecords } from "../storage/doctor.ts";
import { examinePostgres, OLD_MS, postgresRecords } from "../storage/postgres/doctor.ts";
import { targetOf } from "../storage/postgres/target.ts";
import type { StoredRecord } from "../storage/storage.ts";
import { allStorages } from "./all-storages.ts";
import { examineDoors } from "./doors.ts";

interface DoctorOptions {
  readonly address?: string;
  readonly auth?: (typeof AUTHS)[number];
  readonly dataDir?: string;
  readonly postgres?: string;
  readonly config?: string;
  /** Milliseconds. */
  readonly old?: number;
}

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("look for what is wrong with a server, or will be, and what it leaves open")
    .option("--data-dir <dir>", "the data directory of the server (default: ./querator-data)")
    .option(
      "--postgres <url>",
      "the PostgreSQL: a URL, or env for DATABASE_URL or PGHOST and the like",
    )
    .option("--config <file>", "the YAML file of the server")
    .option("--address <host:port>", "where the server listens (default: localhost:2319)")
    .addOption(new Option("--auth <how>", "what the server asks callers for").choices(AUTHS))
    .option(
      "--old <time>",
      "from what age on an open transaction is too old (default: 5m)",
      readAge,
    )
    .addHelpText(
      "after",
      `
Examples:
  querator doctor --data-dir /var/lib/querator
  querator doctor --postgres env --old 1m`,
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

// True if all is well.
async function runDoctor(options: Omit<DoctorOptions, "old">, oldMs: number): Promise<boolean> {
  const config = loadConfig(options, process.env);
  const records = await recordsIn(config.queueStorage);
  const inUse = storagesInUse(config.queueStorage, records);
  let isWell = true;
  for (const storage of allStorages(config, inUse)) {
    const findings = await examine(storage, { mustExist: inUse.has(storage.name), oldMs });
    const place = storage.postgres?.location ?? storage.dir ?? "in memory";
    isWell = show(`${storage.name}: ${place}`, findings) && isWell;
  }
  const doors = examineDoors(config, authRecordsAmong(records), firstKeyFile(config.queueStorage));
  return show("access", doors) && isWell;
}

// True if all is well.
function show(title: string, findings: readonly Finding[]): boolean {
  process.stdout.write(`${title}\n`);
  for (const { check, status, text } of findings) {
    process.stdout.write(`  ${status.padEnd(8)} ${check}: ${text}\n`);
  }
  return findings.every(({ status }) => status === "ok");
}

// What cannot be read is told where its storage is examined.
async function recordsIn(storage: StorageConfig): Promise<readonly StoredRecord[]> {
  const { driver, dir, file, postgres } = storage;
  if (driver === "sqlite") return sqliteRecords({ dir: dir!, file });
  if (driver === "memory") return [];
  const { connectMs, statementMs, schema } = postgres!;
  const timeouts = { connectMs, statementMs };
  return postgresRecords({ target: targetOf(postgres!), schema, timeouts }).catch(() => []);
}

// The storages in which queues have partitions, as far as a file of records tells it.
function storagesInUse(
  { driver }: StorageConfig,
  records: readonly StoredRecord[],
): ReadonlySet<string> {
  if (driver !== "sqlite") return new Set();
  return storagesOf(records.map(({ record }) => JSON.parse(record) as StoredQueue));
}

async function examine(
  storage: StorageConfig,
  { mustExist, oldMs }: { readonly mustExist: boolean; readonly oldMs: number },
): Promise<readonly Finding[]> {
  const { driver, dir, file, postgres } = storage;
  if (driver === "memory") return [{ check: "memory", status: "ok", text: "nothing to look at" }];
  if (driver === "sqlite") return examineSqlite({ dir: dir!, file, mustExist });
  const { connectMs, statementMs, schema } = postgres!;
  try {
    const timeouts = { connectMs, statementMs };
    return await examinePostgres({ target: targetOf(postgres!), schema, timeouts, oldMs });
  } catch (error) {
    return [{ check: "connection", status: "failed", text: (error as Error).message }];
  }
}
