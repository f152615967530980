// `querator migrate`: brings the tables of storages up to date, or prints what that would do. The server does
// the same when it starts; this is for those who let another role do it, or want to know before.

import type { Command } from "commander";
import type { StorageConfig } from "../config/config.ts";
import { ConfigError } from "../config/section.ts";

interface MigrateOptions {
  readonly dataDir?: string;
  readonly postgres?: string;
  readonly config?: string;
  readonly dryRun?: boolean;
}

export function addMigrateCommand(program: Command): void {
  program
    .command("migrate")
    .description("bring the tables of the storages of a server up to date")
    .option("--data-dir <dir>", "the data directory of the server (default: ./querator-data)")
    .option(
      "--postgres <url>",
      "the PostgreSQL: a URL, or env for DATABASE_URL or PGHOST and the like",
    )
    .option("--config <file>", "a YAML file that names storages")
    .option("--dry-run", "print the SQL, and change nothing")
    .addHelpText(
      "after",
      `
Examples:
  querator migrate --data-dir /var/lib/querator --dry-run
  querator migrate --postgres env --dry-run
  querator migrate --config querator.yaml`,
    )
    .action(async ({ dryRun = false, ...options }: MigrateOptions) => {
      await runMigrate(options, dryRun);
    });
}

async function runMigrate(options: MigrateOptions, dryRun: boolean): Promise<void> {
  // Loaded here, as the drivers below: the other commands start sooner without them.
  const [{ loadConfig }, { allStorages }] = await Promise.all([
    import("../config/config.ts"),
    import("./all-storages.ts"),
  ]);
  const config = loadConfig(options, process.env);
  const byPlace = new Map<string, StorageConfig>();
  for (const storage of allStorages(config, new Set())) {
    const { driver, dir, file, postgres } = storage;
    if (driver === "memory") continue;
    byPlace.set(postgres?.location ?? `sqlite:${dir}/${file}`, storage);
  }
  if (byPlace.size === 0) throw new ConfigError("no storage keeps anything; give --data-dir");
  for (const [location, storage] of byPlace) {
    const sql = await migrate(storage, dryRun);
    if (sql === "") process.stdout.write(`-- ${location}: nothing to do\n`);
    else if (dryRun) process.stdout.write(`-- ${location}\n${sql}`);
    else process.stdout.write(`-- ${location}: up to date now\n`);
  }
}

async function migrate(storage: StorageConfig, dryRun: boolean): Promise<string> {
  const { dir, file, postgres } = storage;
  if (postgres === undefined) {
    const { migrateSqlite } = await import("../storage/sqlite/file.ts");
    return await migrateSqlite({ dir: dir!, file }, dryRun);
  }
  const [{ migratePostgres }, { targetOf }] = await Promise.all([
    import("../storage/postgres/postgres.ts"),
    import("../storage/postgres/target.ts"),
  ]);
  return await migratePostgres(targetOf(postgres), postgres.schema, dryRun);
}
