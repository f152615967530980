// `querator migrate`: brings the tables of PostgreSQL up to date, or prints what that would do. The
// server does the same when it starts; this is for those who let another role do it.

import type { Command } from "commander";
import { loadConfig } from "../config/config.ts";
import { ConfigError } from "../config/section.ts";

interface MigrateOptions {
  readonly postgres?: string;
  readonly config?: string;
  readonly dryRun?: boolean;
}

export function addMigrateCommand(program: Command): void {
  program
    .command("migrate")
    .description("bring the tables of PostgreSQL up to date")
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
  querator migrate --postgres env --dry-run
  querator migrate --config querator.yaml`,
    )
    .action(async ({ dryRun = false, ...options }: MigrateOptions) => {
      await runMigrate(options, dryRun);
    });
}

async function runMigrate(options: MigrateOptions, dryRun: boolean): Promise<void> {
  const { queueStorage, partitionStorage } = loadConfig(options, process.env);
  const byPlace = new Map(
    [queueStorage, ...partitionStorage].flatMap(({ postgres }) =>
      postgres === undefined ? [] : [[postgres.location, postgres] as const],
    ),
  );
  if (byPlace.size === 0) throw new ConfigError("no storage is in PostgreSQL; give --postgres");
  // Loaded here, for the other commands start sooner without it.
  const [{ migratePostgres }, { targetOf }] = await Promise.all([
    import("../storage/postgres/postgres.ts"),
    import("../storage/postgres/target.ts"),
  ]);
  for (const [location, postgres] of byPlace) {
    const sql = await migratePostgres(targetOf(postgres), postgres.schema, dryRun);
    if (sql === "") process.stdout.write(`-- ${location}: nothing to do\n`);
    else if (dryRun) process.stdout.write(`-- ${location}\n${sql}`);
    else process.stdout.write(`-- ${location}: up to date now\n`);
  }
}
