// Options once, Config ever after: flags (or what an embedding program gives) win over the
// environment, the environment over the file, the file over the defaults. What comes out is
// complete, checked and frozen; nothing further in asks for a default. Every mistake is one line
// that says where it is, what it is, and what is allowed.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import type * as Yaml from "yaml";
import { QueueError } from "../errors.ts";
import { DEFAULT_LIMITS, type Limits } from "../limits.ts";
import type { LogFormat, LogLevel } from "../log.ts";
import { checkQueueName } from "../registry/names.ts";
import {
  checkGiven,
  type GivenSettings,
  SETTING_ROWS,
  type SettingRow,
  type SettingValue,
  withMarks,
} from "../registry/settings.ts";
import { AUTH_BACKEND_KEYS, type AuthConfig, readAuth } from "./auth.ts";
import {
  type AUTHS,
  type CLIENT_AUTHS,
  LOG_FORMATS,
  LOG_LEVELS,
  type SYNCS,
  type TLS_VERSIONS,
  type UIS,
} from "./choices.ts";
import { readAccess, readKeepAlive, readMetricsQueues, readUi } from "./http.ts";
import {
  LISTENING_ENVIRONMENT,
  LISTENING_KEYS,
  type ListeningConfig,
  readListening,
} from "./listening.ts";
import { ConfigError, readSecretFile, Section } from "./section.ts";
import {
  checkSync,
  checkThreads,
  chosenStorage,
  fileStorage,
  type Place,
  readSync,
  STORAGE_KEYS,
  type StorageConfig,
} from "./storages.ts";

export { checkKey, firstKeyFile } from "./auth.ts";
export type { Address, TlsConfig } from "./listening.ts";
export { readSecretFile } from "./section.ts";
export { type StorageConfig, storageOfThread } from "./storages.ts";

export interface QueueConfig extends GivenSettings {
  /** Where it stands in the file, for messages. */
  readonly place: string;
  readonly name: string;
  /** Where each partition lies; empty: shared out by affinity. */
  readonly partitions: readonly { readonly partition: number; readonly storageName: string }[];
}

export interface Config extends ListeningConfig {
  readonly dev: boolean;
  readonly threads: number;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly queueStorage: StorageConfig;
  readonly partitionStorage: readonly StorageConfig[];
  /** Microseconds after which an idle connection is closed. */
  readonly keepAlive: number;
  /** Origins of pages that may use the server, and more names that it answers to; `*` for any. */
  readonly allowedOrigins: readonly string[];
  readonly allowedHosts: readonly string[];
  /** Queues of which /metrics tells by themselves, by their full names. */
  readonly metricsQueues: readonly string[];
  /** Whether there is a dashboard, and whether it may change anything. */
  readonly ui: (typeof UIS)[number];
  readonly auth: AuthConfig;
  /** Whether every thread has a storage of its own; else all are with the first. */
  readonly isSpread: boolean;
  readonly queues: readonly QueueConfig[];
  readonly limits: Limits;
}

/** What a user may say; whatever is left out has the default of docs/CONFIGURATION.md. */
export interface ServerOptions {
  /** `HOST:PORT`, or `unix:/PATH`; port 0 takes a free one. Default `localhost:2319`. */
  readonly address?: string;
  /** Who may use a Unix socket, as a file mode. Default `0660`. */
  readonly socketMode?: string;
  /** One more address, in the same form, for those who run the server, over plain HTTP: its state, its metrics, and unless `ui` is `off` the dashboard and all of /v2. */
  readonly adminAddress?: string;
  /** A file with a certificate, and those between it and its authority; with it the server speaks TLS only. */
  readonly tlsCert?: string;
  /** The file with its key. */
  readonly tlsKey?: string;
  /** The oldest TLS that is spoken. Default `1.2`. */
  readonly tlsMinVersion?: (typeof TLS_VERSIONS)[number];
  /** A file with the authorities whose certificates clients show. */
  readonly tlsClientCa?: string;
  /** Whether a client without a certificate is let in. Default `required`: it is not. */
  readonly tlsClientAuth?: (typeof CLIENT_AUTHS)[number];
  /** Where data is kept. Default `./querator-data`. */
  readonly dataDir?: string;
  /** Keeps everything in memory, and nothing on disk. */
  readonly memory?: boolean;
  /** A PostgreSQL to keep data in, as a URL; `env` takes DATABASE_URL or the PG* variables. */
  readonly postgres?: string;
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
  /** How long an idle connection is kept, such as `2m`, from 1s to 24h. Default `75s`. */
  readonly keepAliveTimeout?: string;
  /**
   * Origins whose pages may use the server from a browser, such as `https://jobs.example.com`, in a list
   * or with commas between them; `*` for all. None by default.
   */
  readonly allowedOrigins?: string | readonly string[];
  /**
   * Names by which the server is reached beside those of its machine, where it listens for this machine
   * only; `*` for any. None by default.
   */
  readonly allowedHosts?: string | readonly string[];
  /**
   * Queues of which `/metrics` tells by themselves, at most 100, in a list or with commas between them; one of a
   * namespace as `NAMESPACE~QUEUE`. None by default.
   */
  readonly metricsQueues?: string | readonly string[];
  /**
   * The dashboard at `/ui`: at the admin address, if there is one. With `read-only` whatever changes anything is refused to
   * pages of this server, and at the admin address to everybody. Default `on`.
   */
  readonly ui?: (typeof UIS)[number];
  /**
   * `keys`: callers show a key, and may do what its roles allow. `none`: everybody may do everything; to listen
   * beyond this machine like that it has to be said. Default `none`.
   */
  readonly auth?: (typeof AUTHS)[number];
  /** The first key, which may do everything; used by the first start with `keys` only. By default one is made. */
  readonly bootstrapKey?: string;
  /** A file that has the first key. */
  readonly bootstrapKeyFile?: string;
  /** Adds the endpoints for tests: virtual time and held queues. Never in production. */
  readonly dev?: boolean;
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
  /** A YAML file. */
  readonly config?: string;
  readonly limits?: Partial<Limits>;
}

const load = createRequire(import.meta.url);

const FLAGS = { memory: "--memory", dataDir: "--data-dir", postgres: "--postgres" } as const;

/** The environment variable of each option. */
export const ENVIRONMENT = {
  ...LISTENING_ENVIRONMENT,
  dataDir: "QUERATOR_DATA_DIR",
  memory: "QUERATOR_MEMORY",
  postgres: "QUERATOR_POSTGRES",
  dev: "QUERATOR_DEV",
  sync: "QUERATOR_SYNC",
  syncInterval: "QUERATOR_SYNC_INTERVAL",
  threads: "QUERATOR_THREADS",
  keepAliveTimeout: "QUERATOR_KEEP_ALIVE_TIMEOUT",
  allowedOrigins: "QUERATOR_ALLOWED_ORIGINS",
  allowedHosts: "QUERATOR_ALLOWED_HOSTS",
  metricsQueues: "QUERATOR_METRICS_QUEUES",
  ui: "QUERATOR_UI",
  auth: "QUERATOR_AUTH",
  bootstrapKey: "QUERATOR_BOOTSTRAP_KEY",
  bootstrapKeyFile: "QUERATOR_BOOTSTRAP_KEY_FILE",
  logLevel: "QUERATOR_LOG_LEVEL",
  logFormat: "QUERATOR_LOG_FORMAT",
  config: "QUERATOR_CONFIG",
} as const satisfies Record<Exclude<keyof ServerOptions, "limits">, string>;

/** The keys of the file, as they are written at each level. */
export const FILE_KEYS = {
  top: [
    ...LISTENING_KEYS,
    "data-dir",
    "memory",
    "postgres",
    "dev",
    "sync",
    "sync-interval",
    "threads",
    "keep-alive-timeout",
    "allowed-origins",
    "allowed-hosts",
    "metrics-queues",
    "ui",
    "logging",
    "queue-storage",
    "partition-storage",
    "auth",
    "auth-backend",
    "bootstrap-key-file",
    "queues",
    "limits",
  ],
  logging: ["level", "handler"],
  ...STORAGE_KEYS,
  auth: AUTH_BACKEND_KEYS,
  queue: ["name", ...SETTING_ROWS.map(([key]) => kebab(key)), "partitions"],
  partition: ["partition", "read-only", "storage-name"],
  limits: Object.keys(DEFAULT_LIMITS).map(kebab),
} as const;

// So many that more would hardly help; each takes some megabytes.
const THREADS_MAX = 64;

/** Settles all options; throws a ConfigError. */
export function loadConfig(options: ServerOptions, env: NodeJS.ProcessEnv): Config {
  const given = new Section("options", { ...options } as Record<string, unknown>);
  const fromEnv = environment(env);
  const path = given.text("config") ?? fromEnv.text("config", ENVIRONMENT.config);
  const file = path === undefined ? new Section("", {}) : readFile(path);
  file.only(FILE_KEYS.top);
  const logging = file.section("logging");
  logging.only(FILE_KEYS.logging);

  const places = [
    readPlace(given, { memory: "memory", dataDir: "dataDir", postgres: "postgres" }, FLAGS),
    readPlace(fromEnv, { memory: "memory", dataDir: "dataDir", postgres: "postgres" }, ENVIRONMENT),
  ] as const;
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
  const choice = { threads, syncInterval: syncInterval ?? 0, env };
  const saidMemory = places[0].memory ?? places[1].memory;
  const storages =
    chosenStorage(choice, places[0]) ??
    chosenStorage(choice, { ...places[1], memory: saidMemory }) ??
    fileStorage(file, choice, saidMemory);
  checkSync(storages, syncInterval);
  checkThreads(storages, threads);

  return deepFreeze({
    ...readListening(given, fromEnv, file),
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
    keepAlive: readKeepAlive(given, fromEnv, file),
    ...readAccess(given, fromEnv, file),
    metricsQueues: readMetricsQueues(given, fromEnv, file),
    ui: readUi(given, fromEnv, file),
    auth: readAuth(given, fromEnv, file),
    ...storages,
    queues: file.list("queues").map((queue) => parseQueue(queue, storages.partitionStorage)),
    limits: parseLimits(file.section("limits"), given.section("limits")),
  });
}

// What one source says of where data is kept: one place at most.
function readPlace(
  section: Section,
  keys: { readonly memory: string; readonly dataDir: string; readonly postgres: string },
  shown: { readonly memory: string; readonly dataDir: string; readonly postgres: string },
): Place {
  const place = {
    memory: section.flag(keys.memory, shown.memory),
    dataDir: section.text(keys.dataDir, shown.dataDir),
    postgres: section.text(keys.postgres, shown.postgres),
  };
  const given = [
    ...(place.memory === true ? [shown.memory] : []),
    ...(place.dataDir === undefined ? [] : [shown.dataDir]),
    ...(place.postgres === undefined ? [] : [shown.postgres]),
  ];
  if (given.length > 1) throw new ConfigError(`give either ${given.join(" or ")}, not both`);
  return place;
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
  readSecretFiles(env, values);
  return new Section("environment", values);
}

// Secrets that lie in files, where no list of processes and no crash report shows them.
function readSecretFiles(env: NodeJS.ProcessEnv, values: Record<string, unknown>): void {
  const variable = `${ENVIRONMENT.postgres}_FILE`;
  const path = env[variable];
  if (path === undefined || path === "") return;
  if (values.postgres !== undefined) {
    throw new ConfigError(`give either ${ENVIRONMENT.postgres} or ${variable}, not both`);
  }
  values.postgres = readSecretFile(path, variable);
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
  return parseFile(text, basename(path));
}

// `source` is what errors call the file.
function parseFile(text: string, source: string): Section {
  // Loaded here, for a server without a file starts sooner.
  const { LineCounter, parseDocument } = load("yaml") as typeof Yaml;
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const problem = document.errors[0];
  if (problem !== undefined) {
    const { line } = lineCounter.linePos(problem.pos[0]);
    throw new ConfigError(`${source}:${line}: ${problem.message}`);
  }
  const value: unknown = document.toJS() ?? {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new ConfigError(`${source}: must be a mapping of keys to values`);
  }
  return new Section(source, value as Record<string, unknown>);
}

// --- the parts ---

function parseQueue(section: Section, storages: readonly StorageConfig[]): QueueConfig {
  section.only(FILE_KEYS.queue);
  const name = section.text("name");
  if (name === undefined) throw section.error("name", "is missing; a queue needs a name");
  check(section, "name", () => checkQueueName(name));
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
  const settings = SETTING_ROWS.map(([key, row]) => [key, readSetting(section, kebab(key), row)]);
  const given = Object.fromEntries(settings) as GivenSettings;
  return { place: section.place, name, partitions, ...given };
}

/** A queue of a file that is applied to a server, with the settings that it names. */
export interface NamedQueue {
  readonly name: string;
  readonly named: Partial<GivenSettings>;
}

/** The queues of a configuration file, of which nothing else is looked at; throws a ConfigError that names `source`. */
export function readQueues(text: string, source: string): readonly NamedQueue[] {
  const file = parseFile(text, source);
  file.only(FILE_KEYS.top);
  return file.list("queues").map((section) => {
    section.only(FILE_KEYS.queue);
    const name = section.text("name");
    if (name === undefined) throw section.error("name", "is missing; a queue needs a name");
    if (section.has("partitions")) {
      const text = "cannot be applied to a server that runs; use requested-partitions";
      throw section.error("partitions", text);
    }
    const named = SETTING_ROWS.filter(([key]) => section.has(kebab(key))).map(([key, row]) => {
      const isText = row.kind === "text" || row.kind === "name";
      const isNone = isText && section.isEmpty(kebab(key));
      return [key, isNone ? "" : readSetting(section, kebab(key), row)];
    });
    return { name, named: Object.fromEntries(named) as Partial<GivenSettings> };
  });
}

function readSetting(section: Section, key: string, row: SettingRow): SettingValue {
  if (row.kind === "flag") return section.flag(key) ?? row.default;
  if (row.kind === "factor")
    return section.number(key, row.min, row.max, { whole: false }) ?? row.default;
  if (row.kind === "count") return section.number(key, row.min, row.max) ?? row.default;
  const text = section.text(key);
  if (text === undefined || (row.kind === "duration" && text === row.word)) return row.default;
  check(section, key, () => checkGiven(key, row, text));
  return text;
}

// What the API would refuse is refused here, where it can be said where it stands.
function check(section: Section, key: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (error instanceof QueueError) throw section.error(key, error.message);
    throw error;
  }
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
  return withMarks(name, "-");
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const each of Object.values(value)) deepFreeze(each);
    Object.freeze(value);
  }
  return value;
}
