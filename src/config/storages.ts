// What is said of storages, one by one or for all: where each keeps its data, and how. Answers
// complete StorageConfigs; opens nothing.

import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { MILLISECOND, MINUTE } from "../clock.ts";
import { DurationError, parseDuration } from "../duration.ts";
import { SYNCS } from "./choices.ts";
import { POSTGRES_KEYS, type PostgresConfig, parsePostgres } from "./postgres.ts";
import { ConfigError, Section } from "./section.ts";

export interface StorageConfig {
  readonly name: string;
  readonly driver: "memory" | "sqlite" | "postgres";
  /** The directory of sqlite. */
  readonly dir: string | undefined;
  /** The name of its file there. */
  readonly file: string;
  /** Of postgres: how to reach it. */
  readonly postgres?: PostgresConfig;
  /** The share of partitions it gets, relative to the others. */
  readonly affinity: number;
  /** Microseconds of acknowledged work that a power cut may take; 0: none. */
  readonly syncInterval: number;
}

const DRIVERS = ["memory", "sqlite", "postgres"] as const;
const SYNC_INTERVAL_MIN = MILLISECOND;
const SYNC_INTERVAL_MAX = MINUTE;

const FILE_STORAGE_KEYS = ["storage-dir", "sync", "sync-interval"] as const;

/** The keys of a storage in the file. */
export const STORAGE_KEYS = {
  storage: ["name", "driver", "affinity", "config"],
  storageConfig: [...FILE_STORAGE_KEYS, ...POSTGRES_KEYS],
} as const;

/** What is said of storages that are not named one by one. */
export interface StorageChoice {
  readonly threads: number;
  /** Microseconds; 0: every commit. */
  readonly syncInterval: number;
  readonly env: NodeJS.ProcessEnv;
}

/** Where data is kept, as one source says it; one of them at most. */
export interface Place {
  readonly memory: boolean | undefined;
  readonly dataDir: string | undefined;
  readonly postgres: string | undefined;
}

export interface Storages {
  readonly isSpread: boolean;
  readonly queueStorage: StorageConfig;
  readonly partitionStorage: readonly StorageConfig[];
}

// What one source says of syncing: the interval in microseconds, 0 for `full`; undefined if nothing.
export function readSync(
  section: Section,
  keys: { readonly sync: string; readonly interval: string },
  shown: { readonly sync: string; readonly syncInterval: string } | undefined = undefined,
): number | undefined {
  const sync = section.oneOf(keys.sync, SYNCS, shown?.sync);
  const text = section.text(keys.interval, shown?.syncInterval);
  const shownInterval = shown?.syncInterval ?? keys.interval;
  if (sync !== "interval") {
    if (text === undefined) return sync === "full" ? 0 : undefined;
    throw section.error(shownInterval, `"${text}" needs sync to be interval`);
  }
  let interval = Number.NaN;
  try {
    interval = parseDuration(text ?? "1s");
  } catch (error) {
    if (!(error instanceof DurationError)) throw error;
  }
  if (interval >= SYNC_INTERVAL_MIN && interval <= SYNC_INTERVAL_MAX) return interval;
  throw section.error(shownInterval, `"${text}" is not allowed; use a time from 1ms to 1m`);
}

// An option that would do nothing is a mistake.
export function checkSync(
  { isSpread, queueStorage }: Storages,
  syncInterval: number | undefined,
): void {
  if (syncInterval === undefined) return;
  if (!isSpread) throw new ConfigError("give sync with each storage that has a name");
  if (queueStorage.driver === "memory" && syncInterval > 0) {
    throw new ConfigError("sync is not allowed with memory, which keeps nothing on disk");
  }
  if (queueStorage.driver === "postgres" && syncInterval > 0) {
    // What is lost of a file is lost with the server. A database can crash alone: what it had not
    // synced would be gone, and memory would still count with it.
    throw new ConfigError(
      "sync: interval is not allowed with postgres; if the database crashed the server would go on with commits that are gone",
    );
  }
}

/** All data of PostgreSQL is with one thread. */
export function checkThreads({ queueStorage, partitionStorage }: Storages, threads: number): void {
  const isThere = [queueStorage, ...partitionStorage].some(({ driver }) => driver === "postgres");
  if (isThere && threads > 1) {
    throw new ConfigError(`threads: ${threads} is not allowed with postgres; use 1`);
  }
}

const FILE = "querator.db";
const DEFAULT_PLACE: Place = { memory: false, dataDir: "./querator-data", postgres: undefined };
const DEFAULT_NAMES = { memory: "mem-0", sqlite: "sqlite-0", postgres: "postgres-0" } as const;

/** The storage of the thread with this index: in a data directory, or in memory if there is none. */
export function storageOfThread(
  index: number,
  { dir, syncInterval }: Pick<StorageConfig, "dir" | "syncInterval">,
): StorageConfig {
  const file = index === 0 ? FILE : `querator-${index}.db`;
  const common = { dir: dir && resolve(dir), file, affinity: 1, syncInterval };
  if (dir === undefined) return { name: `mem-${index}`, driver: "memory", ...common };
  return { name: `sqlite-${index}`, driver: "sqlite", ...common };
}

/** What a source chooses: a storage for each thread, or one in PostgreSQL. */
export function chosenStorage(
  { threads, syncInterval, env }: StorageChoice,
  { memory, dataDir, postgres }: Place,
): Storages | undefined {
  if (postgres !== undefined && memory !== true) {
    const section = new Section("postgres", {});
    const connectionString = postgres === "env" ? undefined : postgres;
    const storage: StorageConfig = {
      name: "postgres-0",
      driver: "postgres",
      dir: undefined,
      file: "",
      postgres: parsePostgres(section, env, connectionString),
      affinity: 1,
      syncInterval,
    };
    return { queueStorage: storage, partitionStorage: [storage], isSpread: true };
  }
  if (memory !== true && dataDir === undefined) return undefined;
  const dir = memory === true ? undefined : dataDir;
  const storages = Array.from({ length: threads }, (_, i) =>
    storageOfThread(i, { dir, syncInterval }),
  );
  return { queueStorage: storages[0]!, partitionStorage: storages, isSpread: true };
}

// `saidMemory` is what was said of memory further up, which wins.
export function fileStorage(
  file: Section,
  choice: StorageChoice,
  saidMemory: boolean | undefined,
): Storages {
  const memory = saidMemory ?? file.flag("memory");
  const dataDir = file.text("data-dir");
  const postgres = file.text("postgres");
  if (memory === true && dataDir !== undefined) {
    throw file.error("memory", "give either memory or data-dir, not both");
  }
  if (postgres !== undefined && (dataDir !== undefined || file.flag("memory") === true)) {
    throw file.error("postgres", "give either this or memory or data-dir, not both");
  }
  const simple = chosenStorage(choice, { memory, dataDir, postgres });
  const named = ["queue-storage", "partition-storage"].find((key) => file.has(key));
  if (named === undefined) return simple ?? chosenStorage(choice, DEFAULT_PLACE)!;
  if (simple !== undefined) {
    throw file.error(named, "give either this or memory, data-dir or postgres, not both");
  }
  const partitionStorage = file
    .list("partition-storage")
    .map((each) => parseStorage(each, choice.env, true));
  if (file.has("partition-storage") && partitionStorage.length === 0) {
    throw file.error("partition-storage", "[] is not allowed; name at least one storage");
  }
  // Queue records go where the partitions are unless the file says otherwise: records in memory
  // over durable partitions would lose every queue at a restart.
  const queueStorage = file.has("queue-storage")
    ? parseQueueStorage(file.section("queue-storage"), choice.env, partitionStorage)
    : partitionStorage[0]!;
  const all = {
    isSpread: false,
    queueStorage,
    partitionStorage: partitionStorage.length > 0 ? partitionStorage : [queueStorage],
  };
  checkStorages(file, [all.queueStorage, ...all.partitionStorage]);
  return all;
}

function parseStorage(
  section: Section,
  env: NodeJS.ProcessEnv,
  hasAffinity: boolean,
): StorageConfig {
  section.only(STORAGE_KEYS.storage);
  const config = section.section("config");
  const driver = parseDriver(section);
  config.only(driver === "postgres" ? POSTGRES_KEYS : FILE_STORAGE_KEYS);
  const dir = config.text("storage-dir");
  if (driver === "sqlite" && dir === undefined) {
    throw config.error("storage-dir", "is missing; sqlite needs a directory");
  }
  if (driver === "memory" && dir !== undefined) {
    throw config.error("storage-dir", "is not allowed; memory keeps nothing on disk");
  }
  const syncInterval = readSync(config, { sync: "sync", interval: "sync-interval" });
  if (driver === "memory" && syncInterval !== undefined) {
    throw config.error("sync", "is not allowed; memory keeps nothing on disk");
  }
  const affinity = section.number("affinity", 0.001, 1_000_000, { whole: false }) ?? 1;
  if (!hasAffinity && section.has("affinity")) {
    throw section.error("affinity", "is not allowed; it belongs to partition-storage");
  }
  const name = section.text("name") ?? DEFAULT_NAMES[driver];
  return {
    name,
    driver,
    affinity,
    file: FILE,
    dir: dir === undefined ? undefined : resolve(dir),
    syncInterval: syncInterval ?? 0,
    ...(driver === "postgres" ? { postgres: parsePostgres(config, env) } : {}),
  };
}

// Without a name it is the storage of partitions that lies in the same place, if there is one.
function parseQueueStorage(
  section: Section,
  env: NodeJS.ProcessEnv,
  partitionStorage: readonly StorageConfig[],
): StorageConfig {
  const storage = parseStorage(section, env, false);
  const same = partitionStorage.find(
    (each) => placeOf(each) !== undefined && placeOf(each) === placeOf(storage),
  );
  if (same === undefined || (section.has("name") && storage.name !== same.name)) return storage;
  const { name, affinity } = same;
  if (isDeepStrictEqual({ ...storage, name, affinity }, same)) return same;
  throw section.error(
    "config",
    `differs from that of "${name}", which has the same ${kindOfPlace(same)}; leave queue-storage out if records lie there`,
  );
}

function parseDriver(section: Section): StorageConfig["driver"] {
  const given = section.text("driver") ?? "memory";
  const driver = DRIVERS.find((each) => each === given.toLowerCase());
  if (driver !== undefined) return driver;
  throw section.error("driver", `invalid driver; '${given}' is not one of (${DRIVERS.join(", ")})`);
}

// Undefined for memory, of which each has its own.
function placeOf({ dir, postgres }: StorageConfig): string | undefined {
  return postgres?.location ?? dir;
}

function kindOfPlace({ postgres }: StorageConfig): string {
  return postgres === undefined ? "storage-dir" : "database and schema";
}

function checkStorages(file: Section, storages: readonly StorageConfig[]): void {
  const byName = new Map<string, StorageConfig>();
  for (const storage of storages) {
    const same = byName.get(storage.name);
    if (
      same !== undefined &&
      (same.driver !== storage.driver || placeOf(same) !== placeOf(storage))
    ) {
      throw file.error("partition-storage", `two storages have the name "${storage.name}"`);
    }
    byName.set(storage.name, storage);
  }
  const byPlace = new Map<string, StorageConfig>();
  for (const storage of byName.values()) {
    const place = placeOf(storage);
    if (place === undefined) continue;
    const same = byPlace.get(place);
    if (same !== undefined) {
      throw file.error(
        "partition-storage",
        `"${same.name}" and "${storage.name}" have the same ${kindOfPlace(storage)}; each needs its own`,
      );
    }
    byPlace.set(place, storage);
  }
}
