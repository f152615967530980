// The composition root: storage, queues and HTTP are put together here, and stopped in the reverse
// order. A server is a function of its options; the command line and embedding programs start it
// the same way.

import type { AddressInfo } from "node:net";
import { type Clock, MILLISECOND, SECOND, SystemClock, VirtualClock } from "./clock.ts";
import { type Config, loadConfig, type ServerOptions, type StorageConfig } from "./config.ts";
import { MESSAGES, QueueError } from "./errors.ts";
import { makeDevEndpoints } from "./http/dev.ts";
import { makeEndpoints } from "./http/routes.ts";
import { createHttpServer, type Health } from "./http/server.ts";
import { checkQueueTimeouts } from "./http/validate.ts";
import { createLogger, type Logger } from "./log.ts";
import { SYSTEM_NAMESPACE } from "./names.ts";
import { Turns } from "./queue/turns.ts";
import { storagesInUse } from "./queue-records.ts";
import { Queues } from "./queues.ts";
import { awayStorage } from "./storage/away.ts";
import { MemoryStorage } from "./storage/memory.ts";
import { openSqliteStorage } from "./storage/sqlite.ts";
import type { Storage } from "./storage/storage.ts";
import { VERSION } from "./version.ts";

// A lease is not given to the next consumer before the last one, who counts from when its reply
// arrived, is sure to know that it is over.
const LEASE_GRACE = 5 * MILLISECOND;

// A stop ends within these times, whatever hangs: first what the queues and storages need to end
// what they are doing, then what clients need to take their answers away.
const RELEASE_MS = 5_000;
const DRAIN_MS = 3_000;

const HEALTH_MS = 5_000;

// How often a storage that is away is tried again, at most.
const STORAGE_RETRY = SECOND;

export interface RunningServer {
  /** Where it listens: `http://host:port`. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** Stops within 10 seconds; may be called more than once. */
  stop(): Promise<void>;
}

export interface ServerHooks {
  /** In place of one that writes to standard output. */
  readonly logger?: Logger;
  /** Wraps each storage as it is opened: for tests that make storage fail. */
  readonly wrapStorage?: (storage: Storage) => Storage;
}

/**
 * Starts a server; resolves when it accepts requests.
 * Rejects with a ConfigError for a wrong option, and with an error whose message is meant for the
 * user when the address or the data directory cannot be used.
 */
export async function startServer(
  options: ServerOptions = {},
  hooks: ServerHooks = {},
): Promise<RunningServer> {
  const config = loadConfig(options, process.env);
  const log = hooks.logger ?? createLogger({ level: config.logLevel, format: config.logFormat });
  // What was opened so far, to be closed in reverse order.
  const releases: (() => Promise<void>)[] = [];
  const release = async (): Promise<void> => {
    for (const each of releases.splice(0).reverse()) await each();
  };
  try {
    const clock = config.dev ? new VirtualClock({ base: new SystemClock() }) : new SystemClock();
    const storages = await openStorages({ config, hooks, clock, log, releases });
    const queues = await Queues.open({
      context: {
        clock,
        limits: config.limits,
        log,
        turns: new Turns(),
        budget: { bytes: 0 },
        waiting: { leases: 0 },
        leaseGrace: config.dev ? 0 : LEASE_GRACE,
      },
      records: storages.get(config.queueStorage.name)!,
      partitions: config.partitionStorage.map(({ name, affinity }) => ({
        storage: storages.get(name)!,
        affinity,
      })),
    });
    releases.push(() => queues.close());
    await createConfigured(queues, config);

    let stopping = false;
    const checkRunning = (): void => {
      if (stopping) throw new QueueError("failed", MESSAGES.serviceShutdown);
    };
    const service = { queues, clock, limits: config.limits, checkRunning };
    const endpoints = new Map(makeEndpoints(service));
    if (clock instanceof VirtualClock) {
      for (const [path, endpoint] of makeDevEndpoints({ queues, clock })) {
        endpoints.set(path, endpoint);
      }
    }
    const records = storages.get(config.queueStorage.name)!;
    const health = (): Promise<Health> => checkHealth(records, queues, stopping);
    const http = createHttpServer({ endpoints, limits: config.limits, log, health });
    await listen(http, config);

    const { port } = http.address() as AddressInfo;
    const shown = config.host.includes(":") ? `[${config.host}]` : config.host;
    const address = `http://${shown}:${port}`;
    const storage = [...storages.values()].map((each) => each.location).join(",");
    log.info(
      { address, storage, version: VERSION, ...(config.dev ? { dev: true } : {}) },
      "querator is ready",
    );

    let stopped: Promise<void> | undefined;
    const stop = async (): Promise<void> => {
      stopping = true;
      await within(RELEASE_MS, release()).catch((err: unknown) => {
        log.error({ err }, "stopped before everything had ended");
      });
      await drain(http);
      log.info("querator has stopped");
    };
    return {
      address,
      host: config.host,
      port,
      stop: () => {
        stopped ??= stop();
        return stopped;
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}

interface Opening {
  readonly config: Config;
  readonly hooks: ServerHooks;
  readonly clock: Clock;
  readonly log: Logger;
  readonly releases: (() => Promise<void>)[];
}

// The storage of the records must be there. Of the others each may be away; then what lies there
// waits until it is back, and everything else is served.
async function openStorages(opening: Opening): Promise<ReadonlyMap<string, Storage>> {
  const { config, hooks, clock, log, releases } = opening;
  const storages = new Map<string, Storage>();
  const add = (storage: Storage): void => {
    storages.set(storage.name, hooks.wrapStorage?.(storage) ?? storage);
    releases.push(() => storage.close());
  };
  add(await openStorage(config.queueStorage, false));
  const inUse = await storagesInUse(storages.get(config.queueStorage.name)!);
  for (const each of config.partitionStorage) {
    if (storages.has(each.name)) continue;
    const open = (): Promise<Storage> => openStorage(each, inUse.has(each.name));
    try {
      add(await open());
    } catch (error) {
      const { name, dir } = each;
      log.error({ err: error, storage: name }, "storage cannot be opened, and is tried again");
      add(
        awayStorage({
          name,
          location: `${each.driver}:${dir}`,
          open,
          reason: error as Error,
          retryAfter: STORAGE_RETRY,
          now: () => clock.now(),
        }),
      );
    }
  }
  return storages;
}

function openStorage({ name, driver, dir }: StorageConfig, mustExist: boolean): Promise<Storage> {
  if (driver === "memory") return Promise.resolve(new MemoryStorage({ name }));
  return openSqliteStorage({ name, dir: dir!, mustExist });
}

// The queues that the configuration names are made like any other; those that exist are left alone.
async function createConfigured(queues: Queues, config: Config): Promise<void> {
  const known = new Set(
    queues
      .list({ namespace: SYSTEM_NAMESPACE, pivot: "", limit: Number.POSITIVE_INFINITY })
      .map((record) => record.name),
  );
  for (const queue of config.queues) {
    if (known.has(queue.name)) continue;
    const storages = queue.partitions.map((partition) => partition.storageName);
    try {
      await queues.create({
        ...checkQueueTimeouts(queue.leaseTimeout, queue.expireTimeout),
        name: queue.name,
        namespace: SYSTEM_NAMESPACE,
        maxAttempts: queue.maxAttempts,
        deadQueue: queue.deadQueue,
        reference: queue.reference,
        requestedPartitions: storages.length || queue.requestedPartitions,
        ...(storages.length > 0 ? { storages } : {}),
      });
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      throw new QueueError(
        error.kind,
        `queue '${queue.name}' of the configuration: ${error.message}`,
      );
    }
  }
}

function listen(http: ReturnType<typeof createHttpServer>, config: Config): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  http.once("error", (cause: NodeJS.ErrnoException) => {
    const where = `${config.host}:${config.port}`;
    const text =
      cause.code === "EADDRINUSE"
        ? `address ${where} is in use; stop what listens there, or choose another with --address`
        : `cannot listen on ${where}: ${cause.message}`;
    reject(new Error(text, { cause }));
  });
  http.listen({ host: config.host, port: config.port, backlog: 4_096 }, () => resolve());
  return promise;
}

// Everything that waited has been answered; connections get a moment to take their answers away.
async function drain(http: ReturnType<typeof createHttpServer>): Promise<void> {
  const closed = new Promise<void>((resolve) => http.close(() => resolve()));
  http.closeIdleConnections();
  const timer = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  await closed;
  clearTimeout(timer);
}

// Fails if records cannot be read or no partition works; warns if some partitions do not.
async function checkHealth(records: Storage, queues: Queues, stopping: boolean): Promise<Health> {
  const { failing } = queues;
  let status: "pass" | "warn" | "fail" = "pass";
  let output = "";
  if (failing.partitions > 0) {
    status = failing.partitions === failing.total ? "fail" : "warn";
    output = `${failing.partitions} of ${failing.total} partitions are failing, in ${failing.storages.join(", ")}`;
  }
  if (stopping) {
    status = "fail";
    output = MESSAGES.serviceShutdown;
  } else {
    await within(HEALTH_MS, records.check()).catch(() => {
      status = "fail";
      output = "storage check failed";
    });
  }
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const check = { componentType: "datastore", status, time, ...(output === "" ? {} : { output }) };
  const body = JSON.stringify({ status, version: VERSION, checks: { "queues:storage": [check] } });
  return { pass: status !== "fail", body };
}

// Rejects if the work takes longer.
async function within(ms: number, work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no end after ${ms} ms`)), ms);
  try {
    await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
