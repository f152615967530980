// The composition root: storage, queues and HTTP are put together here, and stopped in the reverse
// order. A server is a function of its options; the command line and embedding programs start it
// the same way.

import type { Worker } from "node:worker_threads";
import { type Clock, type ClockChange, changeClock, makeClock } from "./clock.ts";
import {
  type Config,
  loadConfig,
  type ServerOptions,
  type StorageConfig,
  storageOfThread,
} from "./config.ts";
import { MESSAGES, QueueError } from "./errors.ts";
import type { Failing } from "./host.ts";
import { makeDevEndpoints } from "./http/dev.ts";
import { canSharePort, checkFree, listen } from "./http/listen.ts";
import { makeEndpoints } from "./http/routes.ts";
import { createHttpServer, type Health } from "./http/server.ts";
import { checkQueueTimeouts } from "./http/validate.ts";
import { createLogger, type Logger } from "./log.ts";
import { SYSTEM_NAMESPACE } from "./names.ts";
import type { PartitionSite } from "./placement.ts";
import { storagesInUse } from "./queue-records.ts";
import { Queues } from "./queues.ts";
import type { Storage } from "./storage/storage.ts";
import { Pool, type Registry } from "./threads/pool.ts";
import { Shard } from "./threads/shard.ts";
import { VERSION } from "./version.ts";

// A stop ends within this time and the one that clients have to fetch their last answers, whatever
// hangs: what queues and storages need to end what they are doing.
const RELEASE_MS = 5_000;

const HEALTH_MS = 5_000;

export interface RunningServer {
  /** Where it listens: `http://host:port`. */
  readonly address: string;
  readonly host: string;
  readonly port: number;
  /** Resolves if a thread of the server ends that should not; the server then stops by itself. */
  readonly died: Promise<void>;
  /** Stops within 10 seconds; may be called more than once. */
  stop(): Promise<void>;
}

export interface ServerHooks {
  /** In place of one that writes to standard output. */
  readonly logger?: Logger;
  /** Wraps each storage that the first thread opens: for tests that make storage fail. */
  readonly wrapStorage?: (storage: Storage) => Storage;
  /** Is given each thread beside the first: for tests that end one. */
  readonly onThread?: (thread: Worker) => void;
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
  const clock = makeClock(config.dev);
  const shard = new Shard({ config, clock, log, wrapStorage: hooks.wrapStorage });
  const { onThread } = hooks;
  const parts: Parts = { config, log, clock, shard, onThread, pool: undefined, queues: undefined };
  try {
    await open(parts);
    return await serve(parts);
  } catch (error) {
    await release(parts).catch(() => undefined); // what went wrong first counts
    throw error;
  }
}

/** What a server is made of, as far as it is open. */
interface Parts {
  readonly config: Config;
  readonly log: Logger;
  readonly clock: Clock;
  /** Of the first thread, which also holds the registry. */
  readonly shard: Shard;
  readonly onThread: ServerHooks["onThread"];
  /** The other threads, if there are any. */
  pool: Pool | undefined;
  queues: Queues | undefined;
  isStopping?: boolean;
}

// --- opening ---

// The storage of the records must be there. Of the others each may be away; then what lies there
// waits until it is back, and everything else is served.
async function open(parts: Parts): Promise<void> {
  const { config, shard, log, clock } = parts;
  const records = await shard.openStorage(config.queueStorage);
  const inUse = await storagesInUse(records);
  const homes = allHomes(config, inUse);
  const withExistence = (each: StorageConfig) => ({
    storage: each,
    mustExist: inUse.has(each.name),
  });
  for (const each of homes[0]!) await shard.openStorageOrWait(each, inUse.has(each.name));
  if (config.threads > 1) {
    parts.pool = await Pool.start({
      config,
      log,
      shard,
      storages: homes.slice(1).map((storages) => storages.map(withExistence)),
      registry: () => registryOf(parts),
      onThread: parts.onThread,
    });
  }
  const { pool } = parts;
  parts.queues = await Queues.open({
    clock,
    log,
    limits: config.limits,
    records,
    partitions: sites(parts, homes),
    homes: [shard.host, ...(pool?.homes ?? [])],
    directory: shard.directory,
    ...(pool === undefined ? {} : { tell: (name, queue) => pool.announce(name, queue) }),
  });
  await createConfigured(parts.queues, config);
}

// Which storages belong to which thread. Those that more threads have left behind are shared out
// among the threads there are; they get no new partitions.
function allHomes(config: Config, inUse: ReadonlySet<string>): readonly StorageConfig[][] {
  const homes = Array.from({ length: config.threads }, (): StorageConfig[] => []);
  if (!config.isSpread) {
    homes[0]!.push(...config.partitionStorage);
    return homes;
  }
  const known = config.partitionStorage.length;
  for (const [i, storage] of config.partitionStorage.entries()) homes[i]!.push(storage);
  for (const name of inUse) {
    const index = Number(/-(\d+)$/.exec(name)?.[1]);
    const storage = storageOfThread(index, config.queueStorage);
    if (index < known || storage.name !== name) continue;
    homes[index % config.threads]!.push({ ...storage, affinity: 0 });
  }
  return homes;
}

function sites({ shard, pool }: Parts, homes: readonly StorageConfig[][]): PartitionSite[] {
  return homes.flatMap((storages, home) =>
    storages.map(({ name, affinity }): PartitionSite => {
      const facts = pool?.storages[home - 1]?.find((each) => each.name === name);
      const storage = facts === undefined ? shard.storages.get(name)! : pool!.storage(home, facts);
      return { storage, affinity, home };
    }),
  );
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

// --- serving ---

async function serve(parts: Parts): Promise<RunningServer> {
  const { config, log, clock, shard, pool } = parts;
  const queues = parts.queues!;
  const { limits } = shard;
  const checkRunning = (): void => {
    if (parts.isStopping === true) throw new QueueError("failed", MESSAGES.serviceShutdown);
  };
  const endpoints = new Map(makeEndpoints({ queues, clock, limits, checkRunning }));
  const { health, changeClock: change } = registryOf(parts);
  if (config.dev) {
    for (const [path, endpoint] of makeDevEndpoints({ queues, changeClock: change })) {
      endpoints.set(path, endpoint);
    }
  }
  const http = createHttpServer({ endpoints, limits, log, health });
  const { host } = config;
  if (canSharePort && config.port !== 0) await checkFree(host, config.port);
  const listener = await listen(http, { host, port: config.port });
  const { port } = listener;
  if (canSharePort) await pool?.listen({ host, port });

  const address = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const storages = [...shard.storages.values(), ...(pool?.storages.flat() ?? [])];
  log.info(
    {
      address,
      storage: [...new Set(storages.map(({ location }) => location))].join(","),
      version: VERSION,
      ...(pool === undefined ? {} : { threads: config.threads }),
      ...(config.partitionStorage.some((each) => each.syncInterval > 0)
        ? { sync: "interval" }
        : {}),
      ...(config.dev ? { dev: true } : {}),
    },
    "querator is ready",
  );

  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped ??= (async () => {
      parts.isStopping = true;
      await within(RELEASE_MS, release(parts)).catch((err: unknown) => {
        log.error({ err }, "stopped before everything had ended");
      });
      await listener.drain();
      log.info("querator has stopped");
    })();
    return stopped;
  };
  const died = Promise.withResolvers<void>();
  void pool?.died.then(async (err) => {
    if (stopped !== undefined) return;
    log.error({ err }, "the server stops, for its queues on that thread are silent");
    await stop();
    died.resolve();
  });
  return { address, host, port, died: died.promise, stop };
}

// Ends queues, then storages, then the connections of the other threads; whatever fails, the rest is
// ended all the same.
async function release({ queues, pool, shard }: Parts): Promise<void> {
  const failures: unknown[] = [];
  shard.host.refuse(new QueueError("failed", MESSAGES.serviceShutdown));
  for (const end of [
    () => pool?.refuse(),
    () => queues?.close(),
    () => shard.close(),
    () => pool?.stop(),
  ]) {
    await end()?.catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}

// What the first thread does for all others, and for itself.
function registryOf(parts: Parts): Registry {
  const { clock, pool, shard, config } = parts;
  const queues = parts.queues!;
  return {
    createQueue: (settings) => queues.create(settings),
    updateQueue: (settings) => queues.update(settings),
    deleteQueue: (name, force) => queues.delete(name, force),
    health: () => checkHealth(shard.storages.get(config.queueStorage.name)!, parts),
    async changeClock({ advance, ...change }: ClockChange) {
      // The same time for all.
      const set = advance === undefined ? change : { ...change, set: clock.now() + advance };
      const now = changeClock(clock, set);
      await pool?.changeClock(set);
      return now;
    },
  };
}

// Fails if records cannot be read or no partition works; warns if some partitions do not.
async function checkHealth(records: Storage, { queues, isStopping }: Parts): Promise<Health> {
  let status: "pass" | "warn" | "fail";
  let output: string;
  try {
    if (isStopping === true) throw new Error(MESSAGES.serviceShutdown);
    [status, output] = judge(await within(HEALTH_MS, queues!.failing()));
    await within(HEALTH_MS, records.check()).catch((cause: unknown) => {
      throw new Error("storage check failed", { cause });
    });
  } catch (error) {
    [status, output] = ["fail", (error as Error).message];
  }
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const check = { componentType: "datastore", status, time, ...(output === "" ? {} : { output }) };
  const body = JSON.stringify({ status, version: VERSION, checks: { "queues:storage": [check] } });
  return { pass: status !== "fail", body };
}

function judge({ partitions, total, storages }: Failing): ["pass" | "warn" | "fail", string] {
  if (partitions === 0) return ["pass", ""];
  const output = `${partitions} of ${total} partitions are failing, in ${storages.join(", ")}`;
  return [partitions === total ? "fail" : "warn", output];
}

// Rejects if the work takes longer.
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no end after ${ms} ms`)), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
