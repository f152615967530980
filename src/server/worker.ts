// The thread of a shard other than the first. It opens its storages, tells the first shard, which
// holds the registry, that it is there, and then does what that one says: open and close queues,
// listen, stop. Requests for queues that are at home elsewhere go there directly.

import { type MessagePort, workerData } from "node:worker_threads";
import type { OverviewService } from "../api/overview.ts";
import type { QueuesService } from "../api/service.ts";
import type { Audit } from "../auth/audit.ts";
import type { Change } from "../auth/records.ts";
import type { AuthChanges, AuthService } from "../auth/service.ts";
import { type ClockChange, changeClock, makeClock, type WallShift } from "../clock.ts";
import type { Config, StorageConfig } from "../config/config.ts";
import { type PackedError, plainError, unpackError } from "../errors.ts";
import { type Listener, type Listening, listen } from "../http/listen.ts";
import { HttpMeters } from "../http/meters.ts";
import type { TlsMaterial } from "../http/secure.ts";
import type { HttpServer } from "../http/server.ts";
import type { Logger, LogLevel } from "../log.ts";
import type { Page } from "../observe/center.ts";
import type { Interest } from "../observe/hub.ts";
import type { QueueHandle } from "../queue/queue.ts";
import type { WantedFigures } from "../registry/figures.ts";
import type { PlaceableStorage } from "../registry/placement.ts";
import type { AnnouncedQueue } from "../registry/queues.ts";
import { idPrefixesOf, type QueueRecord } from "../registry/records.ts";
import { ThreadEvents } from "./events.ts";
import { elsewhere, invoke, Link } from "./link.ts";
import { threadFigures } from "./metrics.ts";
import { makeHttp } from "./node.ts";
import type { FirstCalls, WholeServer } from "./pool.ts";
import { makeQueueCalls, type QueueCalls } from "./queue-calls.ts";
import { RemoteQueue } from "./remote-queue.ts";
import { Shard } from "./shard.ts";
import { ThreadWatch } from "./thread-watch.ts";

/** What a worker thread is started with. */
export interface WorkerData {
  /** Its index among all shards. */
  readonly index: number;
  readonly config: Config;
  readonly storages: readonly { readonly storage: StorageConfig; readonly mustExist: boolean }[];
  /** A line to every other shard, by its index. */
  readonly ports: ReadonlyMap<number, MessagePort>;
  readonly wallShift: WallShift | undefined;
  /** What all threads count in of what namespaces use. */
  readonly accounts: SharedArrayBuffer;
}

/** What a worker thread lets the first shard do with it. */
export type WorkerCalls = QueueCalls & ReturnType<typeof makeWorkerCalls>;

const { index, config, storages, ports, wallShift, accounts } = workerData as WorkerData;

// The first shard is called before it may call, so that it hears of trouble.
const ours: Record<string, (...args: never[]) => unknown> = {};
const first = new Link<FirstCalls & QueueCalls>(ports.get(0)!, ours);
const log = remoteLogger();
const clock = makeClock(config.dev, wallShift);
const shard = new Shard({ config, clock, log, accounts });
const meters = new HttpMeters();
const watch = new ThreadWatch();
const links = new Map<number, Link<QueueCalls>>();
const events = new ThreadEvents(
  index,
  shard.events,
  elsewhere((method, args) => first.call("events", method, args)),
);
let stopping = false;
let listener: Listener | undefined;
let http: HttpServer | undefined;

for (const { storage, mustExist } of storages) await shard.openStorageOrWait(storage, mustExist);
Object.assign(ours, makeQueueCalls(shard.home), makeWorkerCalls());
for (const [other, port] of ports) {
  links.set(other, other === 0 ? first : new Link(port, makeQueueCalls(shard.home)));
}
await first.call(
  "opened",
  index,
  Array.from(shard.storages.values(), ({ name, location, isDurable }) => ({
    name,
    location,
    isDurable,
  })),
);

function makeWorkerCalls() {
  return {
    openQueue: async (record: QueueRecord) => {
      await shard.home.open(record);
    },
    closeQueue: (name: string, error: PackedError) => shard.home.close(name, unpackError(error)),
    failing: () => shard.home.failing(),
    announce(name: string, queue: AnnouncedQueue | undefined): void {
      if (queue === undefined) shard.directory.remove(name);
      else shard.directory.set({ record: queue.record, queue: reach(queue) });
    },
    announceAuth(changes: readonly Change[], isAll: boolean): void {
      if (isAll) shard.auth.load(changes);
      else shard.auth.apply(changes);
    },
    figures: (wanted: WantedFigures) => threadFigures(index, { shard, meters, watch }, wanted),
    listenTo: (interests: readonly Interest[]) => shard.events.listenTo(interests),
    tellEvents: (page: Page) => events.tell(page),
    takeUsedKeys: () => shard.auth.takeUsed(),
    // What placement asks of the storages that are here.
    storage(name: string, method: string, args: readonly unknown[]): unknown {
      const storage: PlaceableStorage = shard.storages.get(name)!;
      return invoke(storage, method, args);
    },
    changeClock: (change: ClockChange) => changeClock(clock, change),
    async listen(listening: Listening, material: TlsMaterial | undefined): Promise<void> {
      const own = makeOwnHttp();
      if (material !== undefined) own.secure(material);
      listener = await listen(own, listening);
      http = own;
    },
    secure: (material: TlsMaterial) => http?.secure(material),
    refuse(): void {
      stopping = true;
      listener?.startEnding();
      events.listeners.close(plainError("shutting_down"));
      shard.home.refuse(plainError("shutting_down"));
    },
    async stop(): Promise<void> {
      watch.stop();
      await shard.close();
      await listener?.drain();
    },
  };
}

// A queue as this thread reaches it.
function reach({ record, home }: AnnouncedQueue): QueueHandle {
  if (home === index) return shard.home.queue(record.name);
  return new RemoteQueue(record.name, idPrefixesOf(record), links.get(home)!);
}

function makeOwnHttp() {
  const { directory, limits } = shard;
  // Every thread looks queues up by itself; all else is the registry's.
  const queues = elsewhere<QueuesService>((method, args) => first.call("registry", method, args), {
    get: (name) => directory.entry(name).queue,
    record: (name) => directory.entry(name).record,
    giverOf: directory.giverOf.bind(directory),
    hasNamespaces: directory.hasNamespaces.bind(directory),
    namespaceOf: directory.namespaceOf.bind(directory),
    countIn: directory.countIn.bind(directory),
    list: directory.list.bind(directory),
  });
  const checkRunning = (): void => {
    if (stopping) throw plainError("shutting_down");
  };
  const whole = elsewhere<WholeServer>((method, args) => first.call("whole", method, args));
  const { health, metrics, changeClock: change } = whole;
  const auth: AuthService = {
    isOn: config.auth.isOn,
    state: shard.auth,
    accounts: shard.accounts,
    changes: elsewhere<AuthChanges>((method, args) => first.call("auth", method, args)),
  };
  const audit = elsewhere<Audit>((method, args) => first.call("audit", method, args));
  const overview = elsewhere<OverviewService>(whole.overview);
  const service = { queues, auth, audit, overview, clock, limits, checkRunning };
  const listeners = () => events.listeners;
  const observed = { meters, health, metrics, listeners };
  return makeHttp({ config, log, ...observed, changeClock: change, ...service });
}

// Log lines of all threads are written by the first.
function remoteLogger(): Logger {
  const at = (level: LogLevel) => (fields: object | string, message?: string) => {
    const [given, text] = typeof fields === "string" ? [{}, fields] : [fields, message ?? ""];
    void first.call("log", level, given, text).catch(() => undefined);
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } as Logger;
}
