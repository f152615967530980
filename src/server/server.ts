// The composition root: storage, queues and HTTP are put together here, and stopped in the reverse
// order. A server is a function of its options; the command line and embedding programs start it
// the same way.

import type { Worker } from "node:worker_threads";
import type { OverviewService } from "../api/overview.ts";
import type { QueuesService } from "../api/service.ts";
import { type Audit, AuditLog } from "../auth/audit.ts";
import type { AuthChanges, AuthService } from "../auth/service.ts";
import { AuthStore } from "../auth/store.ts";
import {
  type Clock,
  type ClockChange,
  changeClock,
  makeClock,
  SystemClock,
  sameForAll,
  type WallShift,
} from "../clock.ts";
import {
  type Config,
  loadConfig,
  type ServerOptions,
  type StorageConfig,
  storageOfThread,
} from "../config/config.ts";
import { connectionsWithin, explainDescriptors, watchDescriptors } from "../descriptors.ts";
import { ERRORS, plainError, type QueueError } from "../errors.ts";
import {
  canSharePort,
  checkFree,
  type Listener,
  listen,
  listeningSockets,
  urlOf,
} from "../http/listen.ts";
import { HttpMeters } from "../http/meters.ts";
import { createLogger, type Logger } from "../log.ts";
import type { Overview } from "../observe/overview.ts";
import type { ThreadFigures } from "../observe/render.ts";
import type { WantedFigures } from "../registry/figures.ts";
import type { PartitionSite } from "../registry/placement.ts";
import { Queues } from "../registry/queues.ts";
import { storagesInUse } from "../registry/records.ts";
import { type Storage, StorageTaken } from "../storage/storage.ts";
import { VERSION } from "../version.ts";
import { Certificates } from "./certificates.ts";
import { checkClosed, tellOpen } from "./closed.ts";
import { createConfigured } from "./configured-queues.ts";
import { ServerEvents } from "./events.ts";
import { makeFirstKey } from "./first-key.ts";
import { checkHealth, within } from "./health.ts";
import { KeyUse, type UsedKeys } from "./key-use.ts";
import { elsewhere, type Forward, invoke } from "./link.ts";
import { render, threadFigures, wantedBy } from "./metrics.ts";
import { ServerMode } from "./mode.ts";
import { makeAdminHttp, makeHttp, type NodeOptions } from "./node.ts";
import { openOverview } from "./overview.ts";
import { Pool, type WholeServer } from "./pool.ts";
import { locationOf, Shard, type ShardOptions } from "./shard.ts";
import { ThreadWatch } from "./thread-watch.ts";

// A stop ends within this time and the one that clients have to fetch their last answers, whatever
// hangs: what queues and storages need to end what they are doing.
const RELEASE_MS = 5_000;

// A server for fewer connections says so: somebody may have meant more.
const FEW_CONNECTIONS = 1_000;

// How often a server that waits tries to take the data.
const OWN_RETRY_MS = 500;

export interface RunningServer {
  /** A URL by which it is reached from here: `http://host:port`, `https://host:port`, `unix:/path`. */
  readonly address: string;
  readonly host: string;
  /** 0 of a Unix socket. */
  readonly port: number;
  /** The same of the address for those who run it, if it has one. */
  readonly adminAddress: string | undefined;
  /** Reads the files of TLS anew; undefined if it speaks none. What cannot be used is logged, and changes nothing. */
  readonly reload: (() => Promise<void>) | undefined;
  /** Resolves if a thread of the server ends that should not; the server then stops by itself. */
  readonly died: Promise<void>;
  /** Stops within 10 seconds; may be called more than once. The log tells the reason, if one is given. */
  stop(reason?: string): Promise<void>;
}

export interface ServerHooks {
  /** In place of one that writes to standard output. */
  readonly logger?: Logger;
  /** Wraps each storage that the first thread opens: for tests that make storage fail. */
  readonly wrapStorage?: (storage: Storage) => Storage;
  /** Is given each thread beside the first: for tests that end one. */
  readonly onThread?: (thread: Worker) => void;
  /** Sets the wall clock apart from the system's: for tests that set it while the server runs. */
  readonly wallShift?: WallShift;
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
  const wanted = loadConfig(options, process.env);
  checkClosed(wanted);
  const config = withinDescriptors(wanted);
  const log = hooks.logger ?? createLogger({ level: config.logLevel, format: config.logFormat });
  const { onThread, wrapStorage, wallShift } = hooks;
  const clock = makeClock(config.dev, wallShift);
  const certificates =
    config.tls && new Certificates({ config: config.tls, clock: new SystemClock(), log });
  const lost = Promise.withResolvers<void>();
  const shard = newShard({ config, clock, log, wrapStorage }, lost.resolve);
  const parts: Parts = {
    config,
    isBounded: config !== wanted,
    log,
    clock,
    shard,
    onThread,
    wrapStorage,
    wallShift,
    lost: lost.promise,
    pool: undefined,
    queues: undefined,
    audit: undefined,
    auth: undefined,
    keyUse: undefined,
    events: undefined,
    overview: undefined,
    certificates,
    mode: new ServerMode(),
    meters: new HttpMeters(),
    watch: new ThreadWatch(),
  };
  try {
    try {
      await open(parts);
      parts.mode.become({ name: "serving" });
    } catch (error) {
      if (!(error instanceof StorageTaken)) throw error;
      parts.mode.become({ name: "standby", reason: error.message });
    }
    const server = await serve(parts);
    void keepOwning(parts, server.address);
    return server;
  } catch (error) {
    const reason = explainDescriptors(error); // before any of them is given back
    parts.watch.stop();
    await release(parts).catch(() => undefined); // what went wrong first counts
    throw reason;
  }
}

// More connections than there is room for are closed by the server, which knows why.
function withinDescriptors(config: Config): Config {
  const storages = [...new Set([config.queueStorage, ...config.partitionStorage])];
  const connections = connectionsWithin({
    threads: config.threads,
    listening: listeningSockets(config) + (config.admin === undefined ? 0 : 2),
    files: storages.filter(({ driver }) => driver === "sqlite").length,
    databases: storages.reduce((sum, { postgres }) => sum + (postgres?.maxConns ?? 0), 0),
  });
  if (connections >= config.limits.connections) return config;
  return { ...config, limits: { ...config.limits, connections } };
}

function newShard(options: ShardOptions, onLost: () => void): Shard {
  return new Shard({ ...options, onLost });
}

/** What a server is made of, as far as it is open. */
interface Parts {
  readonly config: Config;
  /** Whether fewer connections are taken than the configuration says. */
  readonly isBounded: boolean;
  readonly log: Logger;
  readonly clock: Clock;
  /** Of the first thread, which also holds the registry. */
  shard: Shard;
  readonly onThread: ServerHooks["onThread"];
  readonly wrapStorage: ServerHooks["wrapStorage"];
  readonly wallShift: ServerHooks["wallShift"];
  /** Resolves if another server has taken a storage of the shard over. */
  lost: Promise<void>;
  readonly mode: ServerMode;
  /** Of the first thread: what is counted of requests, and how it is doing. */
  readonly meters: HttpMeters;
  readonly watch: ThreadWatch;
  /** Of a server that speaks TLS. */
  readonly certificates: Certificates | undefined;
  /** The work that makes this server the owner again, while it is under way. */
  owning?: Promise<void>;
  /** The other threads, if there are any. */
  pool: Pool | undefined;
  queues: Queues | undefined;
  audit: AuditLog | undefined;
  auth: AuthStore | undefined;
  /** Writes down when keys were used, on a server with authentication. */
  keyUse: KeyUse | undefined;
  events: ServerEvents | undefined;
  overview: Overview | undefined;
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
  const events = new ServerEvents(shard.events, () => parts.pool);
  parts.events = events;
  if (config.threads > 1) {
    parts.pool = await Pool.start({
      events,
      config,
      log,
      shard,
      storages: homes.slice(1).map((storages) => storages.map(withExistence)),
      registry: registryOf(parts),
      whole: wholeServer(parts),
      auth: authChangesOf(parts),
      audit: auditOf(parts),
      onThread: parts.onThread,
      wallShift: parts.wallShift,
    });
  }
  const { pool } = parts;
  const usernameOf = (id: string): string => shard.auth.users.get(id)?.username ?? "";
  const audit = await AuditLog.open({ clock, log, records, usernameOf });
  parts.audit = audit;
  parts.queues = await Queues.open({
    clock,
    log,
    limits: config.limits,
    records,
    partitions: sites(parts, homes),
    homes: [shard.home, ...(pool?.homes ?? [])],
    directory: shard.directory,
    audit,
    happened: (happened) => shard.events.publish(happened),
    checkNamespace: (namespace, more) => {
      shard.auth.checkNamespace(namespace);
      const there = shard.directory.countIn(namespace);
      shard.accounts.limited(namespace)?.checkQueues(there, more);
    },
    ...(pool === undefined ? {} : { tell: (name, queue) => pool.announce(name, queue) }),
  });
  const { queues } = parts;
  audit.start((work) => queues.inOrder(work));
  parts.auth = await AuthStore.open({
    clock,
    records,
    audit,
    state: shard.auth,
    inOrder: (work) => queues.inOrder(work),
    queuesIn: (namespace) => shard.directory.countIn(namespace),
    ...(pool === undefined ? {} : { tell: (changes, isAll) => pool.announceAuth(changes, isAll) }),
  });
  if (config.auth.isOn) {
    await makeFirstKey(parts.auth, config, log);
    parts.keyUse = new KeyUse({ clock, log, store: parts.auth, takeUsed: usedKeysOf(parts) });
  }
  tellOpen(config, parts.auth.isBootstrapped, log);
  await createConfigured(parts.queues, config);
  parts.overview = await openOverview({
    ...parts,
    queues,
    records,
    storages: [config.queueStorage, ...homes.flat()],
    collect: (wanted) => collect(parts, wanted),
  });
}

// The keys that were used on any thread since this was asked last.
function usedKeysOf({ shard, pool }: Parts): () => Promise<readonly UsedKeys[]> {
  return async () => [shard.auth.takeUsed(), ...((await pool?.takeUsedKeys()) ?? [])];
}

// Takes the data whenever it can be had: at once, or when its owner is gone; and if another server
// takes it over, all that was known of it is given up, and it is waited for again.
async function keepOwning(parts: Parts, address: string): Promise<void> {
  const { log, mode } = parts;
  for (;;) {
    if (mode.name === "serving") {
      await parts.lost;
      if (mode.name !== "serving") return;
      mode.become({ name: "standby", reason: ERRORS.standby.text });
      // Before what is open has ended, which may take long: the other server may have taken keys away.
      parts.shard.auth.unload(plainError("standby"));
      log.error({ address }, "another server has taken over; this one serves no queues now");
      await renew(parts);
    }
    while (mode.name === "standby") {
      await pause(OWN_RETRY_MS);
      if (mode.name !== "standby") return;
      parts.owning = tryOwning(parts);
      await parts.owning;
    }
    if (mode.name === "stopping") return;
    log.info({ address }, "querator has taken over and serves all queues");
  }
}

async function tryOwning(parts: Parts): Promise<void> {
  const { log, mode } = parts;
  try {
    await open(parts);
    mode.become({ name: "serving" });
  } catch (error) {
    const reason = (error as Error).message;
    if (!(error instanceof StorageTaken) && mode.reason !== reason) {
      log.warn({ err: error }, "the data cannot be taken; it is tried again");
    }
    mode.become({ name: "standby", reason });
    await renew(parts);
  }
}

// Ends what is open, and begins with nothing.
async function renew(parts: Parts): Promise<void> {
  const { config, clock, log, wrapStorage } = parts;
  await release(parts, plainError("standby")).catch((err: unknown) => {
    log.warn({ err }, "not everything could be closed");
  });
  const lost = Promise.withResolvers<void>();
  parts.lost = lost.promise;
  parts.queues = undefined;
  parts.auth = undefined;
  parts.audit = undefined;
  parts.keyUse = undefined;
  parts.events = undefined;
  parts.overview = undefined;
  parts.shard = newShard({ config, clock, log, wrapStorage }, lost.resolve);
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

// --- serving ---

async function serve(parts: Parts): Promise<RunningServer> {
  const { config, log, clock, shard, pool, mode } = parts;
  const queues = registryOf(parts);
  const { limits } = shard;
  const checkRunning = (): void => mode.checkServing();
  const { health, metrics, changeClock: change } = wholeServer(parts);
  const auth: AuthService = {
    isOn: config.auth.isOn,
    // Another one after the data was lost and taken again.
    get state() {
      return parts.shard.auth;
    },
    get accounts() {
      return parts.shard.accounts;
    },
    changes: authChangesOf(parts),
  };
  const overview = elsewhere<OverviewService>(wholeServer(parts).overview);
  const service = { queues, auth, audit: auditOf(parts), overview, clock, limits, checkRunning };
  const { meters } = parts;
  const listeners = () => parts.events!.listeners;
  const observed = { meters, health, metrics, listeners };
  const options = { config, log, ...observed, changeClock: change, ...service };
  const http = makeHttp(options);
  const { certificates } = parts;
  if (certificates !== undefined) http.secure(certificates.material);
  const { host, socket, socketMode, admin } = config;
  if (canSharePort && config.port !== 0) await checkFree(host, config.port);
  const listener = await listen(http, { host, port: config.port, socket, socketMode });
  const { port } = listener;
  if (canSharePort && socket === undefined) {
    await pool?.listen({ host, port }, certificates?.material);
  }
  const adminListener = admin && (await listenForAdmin(options, listener));
  certificates?.follow(async (material) => {
    http.secure(material);
    await parts.pool?.secure(material);
  });

  const address = urlOf({ host, port, socket }, certificates !== undefined);
  const adminAddress = admin && urlOf({ ...admin, port: adminListener!.port });
  // Of a server on standby none is open.
  const all = [config.queueStorage, ...config.partitionStorage];
  log.info(
    {
      address,
      listens: listener.addresses.join(","),
      ...(adminAddress === undefined ? {} : { admin: adminAddress }),
      ...(certificates === undefined ? {} : { tls_until: certificates.until }),
      storage: [...new Set(all.map(locationOf))].join(","),
      ...(mode.reason === undefined ? {} : { reason: mode.reason }),
      version: VERSION,
      ...(pool === undefined ? {} : { threads: config.threads }),
      ...(config.partitionStorage.some((each) => each.syncInterval > 0)
        ? { sync: "interval" }
        : {}),
      ...(parts.isBounded ? { connections: config.limits.connections } : {}),
      ...(config.auth.isOn ? { auth: "keys" } : {}),
      ...(config.dev ? { dev: true } : {}),
    },
    mode.name === "standby" ? "querator is on standby" : "querator is ready",
  );

  const { connections } = config.limits;
  if (parts.isBounded && connections < FEW_CONNECTIONS) {
    log.warn(
      { connections },
      "there are few file descriptors; raise ulimit -n for more connections",
    );
  }
  const forgetDescriptors = watchDescriptors({
    gone: (reason) => log.error({ reason }, "no file descriptors are left"),
    back: () => log.info("there are file descriptors again"),
  });
  let stopped: Promise<void> | undefined;
  const stop = (reason?: string): Promise<void> => {
    stopped ??= (async () => {
      if (reason !== undefined) log.info({ reason }, "querator is stopping");
      mode.become({ name: "stopping" });
      listener.startEnding();
      forgetDescriptors();
      certificates?.stop();
      parts.watch.stop();
      await parts.owning?.catch(() => undefined);
      await within(RELEASE_MS, release(parts)).catch((err: unknown) => {
        log.error({ err }, "stopped before everything had ended");
      });
      await listener.drain();
      await adminListener?.drain();
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
  const reload = certificates && (() => certificates.reload());
  return { address, host, port, adminAddress, reload, died: died.promise, stop };
}

async function listenForAdmin(options: NodeOptions, listener: Listener): Promise<Listener> {
  const { admin, socketMode } = options.config;
  try {
    return await listen(makeAdminHttp(options), { ...admin!, socketMode, isAlone: true });
  } catch (error) {
    await listener.drain();
    throw error;
  }
}

// Ends queues, then storages, then the connections of the other threads; whatever fails, the rest is
// ended all the same.
async function release(parts: Parts, error?: QueueError): Promise<void> {
  const { queues, pool, shard } = parts;
  const failures: unknown[] = [];
  shard.home.refuse(plainError("shutting_down"));
  parts.events?.close(error ?? plainError("shutting_down"));
  for (const end of [
    () => parts.overview?.end(error === undefined),
    () => pool?.refuse(),
    () => parts.keyUse?.end(error === undefined),
    async () => parts.audit?.close(),
    () => queues?.close(error),
    () => shard.close(),
    () => pool?.stop(),
  ]) {
    await end()?.catch((error: unknown) => failures.push(error));
  }
  // Whom connections remember may be nobody when the data is taken again.
  shard.auth.unload(error ?? plainError("shutting_down"));
  if (failures.length > 0) throw failures[0];
}

// The registry that is open at the time of each call.
function registryOf(parts: Parts): QueuesService {
  const forward: Forward = (method, args) => {
    parts.mode.checkServing();
    return invoke(parts.queues!, method, args);
  };
  // Every request looks its queue up, after it has checked that this server serves.
  return elsewhere<QueuesService>(forward, {
    get: (name) => parts.queues!.get(name),
    hasNamespaces: () => parts.shard.directory.hasNamespaces(),
    namespaceOf: (name, sees) => parts.shard.directory.namespaceOf(name, sees),
    countIn: (namespace) => parts.shard.directory.countIn(namespace),
  });
}

// The same of who there is.
function authChangesOf(parts: Parts): AuthChanges {
  return elsewhere<AuthChanges>((method, args) => {
    parts.mode.checkServing();
    return invoke(parts.auth!, method, args);
  });
}

// And of what they have done.
function auditOf(parts: Parts): Audit {
  return elsewhere<Audit>((method, args) => {
    parts.mode.checkServing();
    return invoke(parts.audit!, method, args);
  });
}

// What all threads tell.
async function collect(parts: Parts, wanted: WantedFigures): Promise<readonly ThreadFigures[]> {
  const others = (await parts.pool?.figures(wanted)) ?? [];
  return [await threadFigures(0, parts, wanted), ...others];
}

function wholeServer(parts: Parts): WholeServer {
  const { clock, config } = parts;
  return {
    health: () => checkHealth(parts.shard.storages.get(config.queueStorage.name), parts),
    async metrics(request) {
      const wanted = wantedBy(request, config.metricsQueues);
      const isServing = parts.mode.name === "serving";
      // A sum without one of them would go back.
      const threads = isServing
        ? await collect(parts, wanted)
        : [await threadFigures(0, parts, wanted)];
      return render(request, threads, { clock, isServing });
    },
    overview: (method, args) => {
      parts.mode.checkServing();
      return invoke(parts.overview!, method, args);
    },
    async changeClock(wanted: ClockChange) {
      const change = sameForAll(clock, wanted);
      const now = changeClock(clock, change);
      await parts.pool?.changeClock(change);
      return now;
    },
  };
}

// Keeps no process alive.
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
