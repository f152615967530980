// What `querator doctor` does: looks at every storage of a configuration and at who may come in, and prints what it
// has found.

import { authRecordsAmong } from "../auth/records.ts";
import {
  firstKeyFile,
  loadConfig,
  type ServerOptions,
  type StorageConfig,
} from "../config/config.ts";
import { type StoredQueue, storagesOf } from "../registry/records.ts";
import { examineSqlite, type Finding, sqliteRecords } from "../storage/doctor.ts";
import { examinePostgres, OLD_MS, postgresRecords } from "../storage/postgres/doctor.ts";
import { targetOf } from "../storage/postgres/target.ts";
import type { StoredRecord } from "../storage/storage.ts";
import { allStorages } from "./all-storages.ts";
import { examineDoors } from "./doors.ts";

/** Examines the storages, and who may come in; true if all is well. */
export async function examineServer(
  options: Pick<
    ServerOptions,
    | "address"
    | "socketMode"
    | "adminAddress"
    | "auth"
    | "dataDir"
    | "postgres"
    | "config"
    | "tlsCert"
    | "tlsKey"
    | "tlsMinVersion"
    | "tlsClientCa"
    | "tlsClientAuth"
  >,
  oldMs: number = OLD_MS,
): Promise<boolean> {
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
