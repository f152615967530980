// A storage in PostgreSQL as a thread of the server opens it. In a file of its own with all that it needs,
// so that a server without such a storage starts without the driver.

import type { StorageConfig } from "../config/config.ts";
import type { Logger } from "../log.ts";
import { examinePostgres, type PostgresDoctorOptions } from "../storage/postgres/doctor.ts";
import { openPostgresStorage } from "../storage/postgres/postgres.ts";
import { targetOf } from "../storage/postgres/target.ts";
import type { Storage } from "../storage/storage.ts";

/** Opens it, and says in the log what will hurt. */
export async function openPostgres(
  { name, postgres }: StorageConfig,
  log: Logger,
  onLost: () => void,
): Promise<Storage> {
  const { connectMs, statementMs, schema, maxConns: connectionsMax } = postgres!;
  const place = { target: targetOf(postgres!), schema, timeouts: { connectMs, statementMs } };
  const storage = await openPostgresStorage({
    name,
    connectionsMax,
    ...place,
    onLost,
    onAway: (err) => log.error({ err, storage: name }, "storage does not answer"),
    onBack: () => log.info({ storage: name }, "storage answers again"),
  });
  await warnOf(name, place, log);
  return storage;
}

// Says what will hurt, a line each; what cannot be found out stops nothing.
async function warnOf(storage: string, place: PostgresDoctorOptions, log: Logger): Promise<void> {
  try {
    for (const { check, status, text } of await examinePostgres(place)) {
      if (status !== "ok") log.warn({ storage, check, reason: text }, "storage needs attention");
    }
  } catch (err) {
    log.warn({ storage, err }, "storage cannot be examined");
  }
}
