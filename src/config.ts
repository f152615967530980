// Options once, Config ever after: flags (or what an embedding program gives) win over the
// environment, the environment over the file, the file over the defaults. What comes out is
// complete, checked and frozen; nothing further in asks for a default. Every mistake is one line
// that says where it is, what it is, and what is allowed.

import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { LineCounter, parseDocument } from "yaml";
import { MILLISECOND, MINUTE } from "./clock.ts";
import { ConfigError, Section } from "./config-section.ts";
import { DurationError, parseDuration } from "./duration.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import type { LogFormat, LogLevel } from "./log.ts";

export interface StorageConfig {
  readonly name: string;
  readonly driver: "memory" | "sqlite";
  /** The directory of sqlite. */
  readonly dir: string | undefined;
  /** The name of its file there. */
  readonly file: string;
  /** The share of partitions it gets, relative to the others. */
  readonly affinity: number;
  /** Microseconds of acknowledged work that a power cut may take; 0: none. */
  readonly syncInterval: number;
}

export interface QueueConfig {
  readonly name: string;
  readonly deadQueue: string;
  readonly leaseTimeout: string;
  readonly expireTimeout: string;
  readonly maxAttempts: number;
  readonly reference: string;
  readonly requestedPartitions: number;
  /** Where each partition lies; empty: shared out by affinity. */
  readonly partitions: readonly { readonly partition: number; readonly storageName: string }[];
}

export interface Config {
  /** "" means all interfaces. */
  readonly host: string;
  readonly port: number;
  readonly dev: boolean;
  readonly threads: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly queueStorage: StorageConfig;
  readonly partitionStorage: readonly StorageConfig[];
  /** Whether every thread has a storage of its own; else all are with the first. */
  readonly isSpread: boolean;
  readonly queues: readonly QueueConfig[];
  readonly limits: Limits;
}

/** What a user may say; whatever is left out has the default of docs/CONFIGURATION.md. */
export interface ServerOptions {
  /** `HOST:PORT`; port 0 takes a free one. Default `localhost:2319`. */
  readonly address?: string;
  /** Where data is kept. Default `./querator-data`. */
  readonly dataDir?: string;
  /** Keeps everything in memory, and nothing on disk. */
  readonly memory?: boolean;
  /**
   * `full`: nothing is acknowledged before it is on disk. `interval`: written at once, and on disk
   * within `syncInterval`; a power cut may take that much, a crash of the process nothing.
   * Default `full`.
   */
  readonly sync?: (typeof SYNCS)[number];
  /** Such as `100ms`, from 1ms to 1m; only with `interval`. Default `1s`. */
  readonly syncInterval?: string;
  /** Threads that serve requests; queues are spread over them. Default 1. */
  readonly threads?: number;
  /** Adds the endpoints for tests: virtual time and held queues. Never in production. */
  readonly dev?: boolean;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
  /** A YAML file. */
  readonly config?: string;
  readonly limits?: Partial<Limits>;
}

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export const LOG_FORMATS = ["text", "json", "color"] as const;
export const SYNCS = ["full", "interval"] as const;
const DRIVERS = ["memory", "sqlite"] as const;
const SYNC_INTERVAL_MIN = MILLISECOND;
const SYNC_INTERVAL_MAX = MINUTE;

/** The environment variable of each option. */
export const ENVIRONMENT = {
  address: "QUERATOR_ADDRESS",
  dataDir: "QUERATOR_DATA_DIR",
  memory: "QUERATOR_MEMORY",
  dev: "QUERATOR_DEV",
  sync: "QUERATOR_SYNC",
  syncInterval: "QUERATOR_SYNC_INTERVAL",
  threads: "QUERATOR_THREADS",
  logLevel: "QUERATOR_LOG_LEVEL",
  logFormat: "QUERATOR_LOG_FORMAT",
  config: "QUERATOR_CONFIG",
} as const satisfies Record<Exclude<keyof ServerOptions, "limits">, string>;

/** The keys of the file, as they are written at each level. */
export const FILE_KEYS = {
  top: [
    "address",
    "data-dir",
    "memory",
    "dev",
    "sync",
    "sync-interval",
    "threads",
    "logging",
    "queue-storage",
    "partition-storage",
    "auth-backend",
    "queues",
    "limits",
  ],
  logging: ["level", "handler"],
  storage: ["name", "driver", "affinity", "config"],
  storageConfig: ["storage-dir", "sync", "sync-interval"],
  auth: ["driver"],
  queue: [
    "name",
    "dead-queue",
    "lease-timeout",
    "expire-timeout",
    "max-attempts",
    "reference",
    "requested-partitions",
    "partitions",
  ],
  partition: ["partition", "read-only", "storage-name"],
  limits: Object.keys(DEFAULT_LIMITS).map(kebab),
} as const;

/** Settles all options; throws a ConfigError. */
export function loadConfig(options: ServerOptions, env: NodeJS.ProcessEnv): Config {
  const given = new Section("options", { ...options } as Record<string, unknown>);
  const fromEnv = environment(env);
  const path = given.text("config") ?? fromEnv.text("config", ENVIRONMENT.config);
  const file = path === undefined ? new Section("", {}) : readFile(path);
  file.only(FILE_KEYS.top);
  const logging = file.section("logging");
  logging.only(FILE_KEYS.logging);
  checkAuth(file.section("auth-backend"));

  const memory = given.flag("memory");
  const dataDir = given.text("dataDir");
  const envMemory = fromEnv.flag("memory", ENVIRONMENT.memory);
  const envDir = fromEnv.text("dataDir", ENVIRONMENT.dataDir);
  if (memory === true && dataDir !== undefined) {
    throw new ConfigError("give either --memory or --data-dir, not both");
  }
  if (envMemory === true && envDir !== undefined) {
    throw new ConfigError(`give either ${ENVIRONMENT.memory} or ${ENVIRONMENT.dataDir}, not both`);
  }
  const threads =
    given.number("threads", 1, THREADS_MAX) ??
    fromEnv.number("threads", 1, THREADS_MAX, { shown: ENVIRONMENT.threads }) ??
    file.number("threads", 1, THREADS_MAX) ??
    1;
  const syncs = [
    readSync(given, { sync: "sync", interval: "syncInterval" }),
    readSync(fromEnv, { sync: "sync", interval: "syncInterval" }, ENVIRONMENT),
    readSync(file, { sync: "sync", interval: "sync-interval" }),
  ];
  const syncInterval = syncs.find((each) => each !== undefined);
  const choice = { threads, syncInterval: syncInterval ?? 0 };
  const storages =
    chosenStorage(choice, memory, dataDir) ??
    chosenStorage(choice, memory ?? envMemory, envDir) ??
    fileStorage(file, choice, memory ?? envMemory);
  checkSync(storages, syncInterval);

  const address =
    given.text("address") ??
    fromEnv.text("address", ENVIRONMENT.address) ??
    file.text("address") ??
    "localhost:2319";
  return deepFreeze({
    ...parseAddress(address),
    dev: given.flag("dev") ?? fromEnv.flag("dev", ENVIRONMENT.dev) ?? file.flag("dev") ?? false,
    threads,
    logLevel:
      given.oneOf("logLevel", LOG_LEVELS) ??
      fromEnv.oneOf("logLevel", LOG_LEVELS, ENVIRONMENT.logLevel) ??
      logging.oneOf("level", LOG_LEVELS) ??
      "info",
    logFormat:
      given.oneOf("logFormat", LOG_FORMATS) ??
      fromEnv.oneOf("logFormat", LOG_FORMATS, ENVIRONMENT.logFormat) ??
      logging.oneOf("handler", LOG_FORMATS) ??
      "color",
    ...storages,
    queues: file.list("queues").map((queue) => parseQueue(queue, storages.partitionStorage)),
    limits: parseLimits(file.section("limits"), given.section("limits")),
  });
}

function environment(env: NodeJS.ProcessEnv): Section {
  const values: Record<string, unknown> = {};
  for (const [option, variable] of Object.entries(ENVIRONMENT)) {
    const value = env[variable];
    if (value === undefined || value === "") continue;
    if (option === "memory" || option === "dev") {
      values[option] = { true: true, 1: true, false: false, 0: false }[value] ?? value;
    } else {
      values[option] = option === "threads" && /^\d+$/.test(value) ? Number(value) : value;
    }
  }
  return new Section("environment", values);
}

function readFile(path: string): Section {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(
      `cannot read the configuration file '${path}': ${(cause as Error).message}`,
    );
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const problem = document.errors[0];
  if (problem !== undefined) {
    const { line } = lineCounter.linePos(problem.pos[0]);
    throw new ConfigError(`${basename(path)}:${line}: ${problem.message}`);
  }
  const value: unknown = document.toJS() ?? {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new ConfigError(`${basename(path)}: must be a mapping of keys to values`);
  }
  return new Section(basename(path), value as Record<string, unknown>);
}

// --- the parts ---

function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new ConfigError(
      `address: "${address}" is not allowed; use HOST:PORT, such as localhost:2319 or [::1]:0`,
    );
  }
  return { host: match[1] ?? match[2] ?? "", port };
}

/** What is said of storages that are not named one by one. */
interface StorageChoice {
  readonly threads: number;
  /** Microseconds; 0: every commit. */
  readonly syncInterval: number;
}

interface Storages {
  readonly isSpread: boolean;
  readonly queueStorage: StorageConfig;
  readonly partitionStorage: readonly StorageConfig[];
}

// What one source says of syncing: the interval in microseconds, 0 for `full`; undefined if nothing.
function readSync(
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

// An option that would do nothing is a mistake of whoever gave it.
function checkSync({ isSpread, queueStorage }: Storages, syncInterval: number | undefined): void {
  if (syncInterval === undefined) return;
  if (!isSpread) throw new ConfigError("give sync with each storage that has a name");
  if (queueStorage.driver === "memory" && syncInterval > 0) {
    throw new ConfigError("sync is not allowed with memory, which keeps nothing on disk");
  }
}

// So many that more would hardly help; each takes some megabytes.
const THREADS_MAX = 64;

const FILE = "querator.db";

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

// What --memory or --data-dir chooses: a storage for each thread.
function chosenStorage(
  { threads, syncInterval }: StorageChoice,
  memory: boolean | undefined,
  dataDir: string | undefined,
): Storages | undefined {
  if (memory !== true && dataDir === undefined) return undefined;
  const dir = memory === true ? undefined : dataDir;
  const storages = Array.from({ length: threads }, (_, i) =>
    storageOfThread(i, { dir, syncInterval }),
  );
  return { queueStorage: storages[0]!, partitionStorage: storages, isSpread: true };
}

// `saidMemory` is what was said of memory further up, which wins.
function fileStorage(
  file: Section,
  choice: StorageChoice,
  saidMemory: boolean | undefined,
): Storages {
  const memory = saidMemory ?? file.flag("memory");
  const dir = file.text("data-dir");
  if (memory === true && dir !== undefined) {
    throw file.error("memory", "give either memory or data-dir, not both");
  }
  const simple = chosenStorage(choice, memory, dir);
  const named = ["queue-storage", "partition-storage"].find((key) => file.has(key));
  if (named === undefined) return simple ?? chosenStorage(choice, false, "./querator-data")!;
  if (simple !== undefined) {
    throw file.error(named, "give either this or memory or data-dir, not both");
  }
  const partitionStorage = file.list("partition-storage").map((each) => parseStorage(each, true));
  if (file.has("partition-storage") && partitionStorage.length === 0) {
    throw file.error("partition-storage", "[] is not allowed; name at least one storage");
  }
  // Queue records go where the partitions are unless the file says otherwise: records in memory
  // over durable partitions would lose every queue at a restart.
  const queueStorage = file.has("queue-storage")
    ? parseStorage(file.section("queue-storage"), false)
    : partitionStorage[0]!;
  const all = {
    isSpread: false,
    queueStorage,
    partitionStorage: partitionStorage.length > 0 ? partitionStorage : [queueStorage],
  };
  checkStorages(file, [all.queueStorage, ...all.partitionStorage]);
  return all;
}

function parseStorage(section: Section, hasAffinity: boolean): StorageConfig {
  section.only(FILE_KEYS.storage);
  const config = section.section("config");
  config.only(FILE_KEYS.storageConfig);
  const driver = parseDriver(section);
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
  const name = section.text("name") ?? (driver === "memory" ? "mem-0" : "sqlite-0");
  return {
    name,
    driver,
    affinity,
    file: FILE,
    dir: dir === undefined ? undefined : resolve(dir),
    syncInterval: syncInterval ?? 0,
  };
}

function parseDriver(section: Section): StorageConfig["driver"] {
  const given = section.text("driver") ?? "memory";
  const driver = DRIVERS.find((each) => each === given.toLowerCase());
  if (driver !== undefined) return driver;
  throw section.error("driver", `invalid driver; '${given}' is not one of (${DRIVERS.join(", ")})`);
}

function checkStorages(file: Section, storages: readonly StorageConfig[]): void {
  const byName = new Map<string, StorageConfig>();
  for (const storage of storages) {
    const same = byName.get(storage.name);
    if (same !== undefined && (same.driver !== storage.driver || same.dir !== storage.dir)) {
      throw file.error("partition-storage", `two storages have the name "${storage.name}"`);
    }
    byName.set(storage.name, storage);
  }
  const byDir = new Map<string, StorageConfig>();
  for (const storage of byName.values()) {
    if (storage.dir === undefined) continue;
    const same = byDir.get(storage.dir);
    if (same !== undefined) {
      throw file.error(
        "partition-storage",
        `"${same.name}" and "${storage.name}" have the same storage-dir; each needs its own`,
      );
    }
    byDir.set(storage.dir, storage);
  }
}

function checkAuth(section: Section): void {
  section.only(FILE_KEYS.auth);
  const driver = section.text("driver");
  if (driver === "internal") {
    throw section.error("driver", '"internal" is not available in this version; use none');
  }
  if (driver !== undefined && driver !== "none") {
    throw section.error(
      "driver",
      `invalid auth-backend driver; '${driver}' is not one of (none, internal)`,
    );
  }
}

function parseQueue(section: Section, storages: readonly StorageConfig[]): QueueConfig {
  section.only(FILE_KEYS.queue);
  const name = section.text("name");
  if (name === undefined) throw section.error("name", "is missing; a queue needs a name");
  const partitions = section.list("partitions").map((each, i) => {
    each.only(FILE_KEYS.partition);
    const storageName = each.text("storage-name") ?? storages[0]!.name;
    if (!storages.some((storage) => storage.name === storageName)) {
      throw each.error(
        "storage-name",
        `invalid partition storage; queue '${name}' references '${storageName}' which is undefined`,
      );
    }
    if (each.flag("read-only") === true) {
      throw each.error("read-only", "true is not allowed; read-only partitions are not available");
    }
    const partition = each.number("partition", 0, 65_535) ?? i;
    if (partition !== i) {
      throw each.error("partition", `${partition} is not allowed; number them from 0 in order`);
    }
    return { partition, storageName };
  });
  const leaseTimeout = section.text("lease-timeout") ?? "1m";
  return {
    name,
    partitions,
    leaseTimeout,
    expireTimeout: section.text("expire-timeout") ?? "24h",
    deadQueue: section.text("dead-queue") ?? "",
    reference: section.text("reference") ?? "",
    maxAttempts: section.number("max-attempts", 0, 65_536) ?? 0,
    requestedPartitions: section.number("requested-partitions", 1, 65_536) ?? 1,
  };
}

const LIMIT_MAX = 2 ** 40;

function parseLimits(file: Section, given: Section): Limits {
  file.only(FILE_KEYS.limits);
  given.only(Object.keys(DEFAULT_LIMITS));
  const limits: Record<string, number> = {};
  for (const [name, value] of Object.entries(DEFAULT_LIMITS)) {
    limits[name] =
      given.number(name, 1, LIMIT_MAX) ?? file.number(kebab(name), 1, LIMIT_MAX) ?? value;
  }
  return limits as unknown as Limits;
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const each of Object.values(value)) deepFreeze(each);
    Object.freeze(value);
  }
  return value;
}
