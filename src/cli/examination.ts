// What `querator doctor` does: looks at every storage of a configuration, and prints what it has found.

import { loadConfig, type ServerOptions, type StorageConfig } from "../config/config.ts";
import { type StoredQueue, storagesOf } from "../registry/records.ts";
import { examineSqlite, type Finding, sqliteRecords } from "../storage/doctor.ts";
import { examinePostgres, OLD_MS } from "../storage/postgres/doctor.ts";
import { targetOf } from "../storage/postgres/target.ts";
import { allStorages } from "./all-storages.ts";

/** Examines the storages; true if all is well. */
export async function examineStorages(
  options: Pick<ServerOptions, "dataDir" | "postgres" | "config">,
  oldMs: number = OLD_MS,
): Promise<boolean> {
  const config = loadConfig(options, process.env);
  const inUse = storagesInUse(config.queueStorage);
  let isWell = true;
  for (const storage of allStorages(config, inUse)) {
    const findings = await examine(storage, { mustExist: inUse.has(storage.name), oldMs });
    const place = storage.postgres?.location ?? storage.dir ?? "in memory";
    process.stdout.write(`${storage.name}: ${place}\n`);
    for (const { check, status, text } of findings) {
      process.stdout.write(`  ${status.padEnd(8)} ${check}: ${text}\n`);
      if (status !== "ok") isWell = false;
    }
  }
  return isWell;
}

// The storages in which queues have partitions, as far as the file of their records tells it.
function storagesInUse({ driver, dir, file }: StorageConfig): ReadonlySet<string> {
  if (driver !== "sqlite") return new Set();
  return storagesOf(sqliteRecords({ dir: dir!, file }) as StoredQueue[]);
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
