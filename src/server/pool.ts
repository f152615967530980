// The threads beside the first one: started together, each with a line to every other, and stopped
// together. What the first thread asks of the others as a whole is here; and that none of them may
// die unnoticed.

import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { MetricsRequest } from "../api/metrics.ts";
import type { Health } from "../api/pages.ts";
import type { QueuesService } from "../api/service.ts";
import type { Audit } from "../auth/audit.ts";
import type { Change } from "../auth/records.ts";
import type { AuthChanges } from "../auth/service.ts";
import type { ClockChange, WallShift } from "../clock.ts";
import type { Config } from "../config/config.ts";
import { packError, type QueueError } from "../errors.ts";
import type { Listening } from "../http/listen.ts";
import type { TlsMaterial } from "../http/secure.ts";
import type { Logger, LogLevel } from "../log.ts";
import type { Page } from "../observe/center.ts";
import type { Interest } from "../observe/hub.ts";
import type { ThreadFigures } from "../observe/render.ts";
import type { QueueHandle } from "../queue/queue.ts";
import type { WantedFigures } from "../registry/figures.ts";
import type { Failing, Home } from "../registry/homes.ts";
import type { PlaceableStorage } from "../registry/placement.ts";
import type { AnnouncedQueue } from "../registry/queues.ts";
import { idPrefixesOf, type QueueRecord } from "../registry/records.ts";
import type { EventCalls, OtherThreads } from "./events.ts";
import type { UsedKeys } from "./key-use.ts";
import { elsewhere, type Forward, invoke, Link } from "./link.ts";
import { makeQueueCalls } from "./queue-calls.ts";
import { RemoteQueue } from "./remote-queue.ts";
import type { Shard } from "./shard.ts";
import type { WorkerCalls, WorkerData } from "./worker.ts";

/** A storage of another thread, as the start line and placement know it. */
export interface StorageFacts {
  readonly name: string;
  readonly location: string;
  readonly isDurable: boolean;
}

/** What concerns the server as a whole: done by the first thread, for itself and all others. */
export interface WholeServer {
  health(): Promise<Health>;
  metrics(request: MetricsRequest): Promise<string>;
  changeClock(change: ClockChange): Promise<number>;
  overview: Forward;
}

/** What the first thread lets every other one do with it. */
export type FirstCalls = {
  opened(index: number, storages: readonly StorageFacts[]): void;
  log(level: LogLevel, fields: object, message: string): void;
  /** Calls a method of the registry, or one of `WholeServer`. */
  registry: Forward;
  whole: Forward;
  auth: Forward;
  audit: Forward;
  events: Forward;
};

export interface PoolOptions {
  readonly config: Config;
  readonly log: Logger;
  /** The first thread's shard. */
  readonly shard: Shard;
  /** What each of the other threads opens. */
  readonly storages: readonly WorkerData["storages"][];
  readonly registry: QueuesService;
  readonly whole: WholeServer;
  readonly auth: AuthChanges;
  readonly audit: Audit;
  readonly events: EventCalls;
  readonly onThread?: ((thread: Worker) => void) | undefined;
  readonly wallShift?: WallShift | undefined;
}

export class Pool implements OtherThreads {
  readonly #workers: readonly Worker[];
  readonly #links: readonly Link<WorkerCalls>[];
  /** The storages of each of the other threads. */
  readonly storages: readonly (readonly StorageFacts[])[];
  /** Resolves, with the reason, when a thread has ended that should not have. */
  readonly died: Promise<Error>;
  #stopping = false;

  private constructor(
    workers: readonly Worker[],
    links: readonly Link<WorkerCalls>[],
    storages: readonly (readonly StorageFacts[])[],
  ) {
    this.#workers = workers;
    this.#links = links;
    this.storages = storages;
    this.died = new Promise((resolve) => {
      for (const [i, worker] of workers.entries()) {
        onEnd(worker, (error) => {
          links[i]!.close(error);
          if (!this.#stopping) resolve(error);
        });
      }
    });
  }

  /** Starts the threads; rejects, with none left, if one of them cannot start. */
  static async start(options: PoolOptions): Promise<Pool> {
    const { config, log, shard, storages, wallShift } = options;
    const ports = connect(storages.length + 1);
    const workers: Worker[] = [];
    const links: Link<WorkerCalls>[] = [];
    const opened = storages.map(() => Promise.withResolvers<readonly StorageFacts[]>());
    for (const [i, mine] of storages.entries()) {
      const index = i + 1;
      const workerData: WorkerData = {
        index,
        config: withoutFirstKey(config),
        storages: mine,
        ports: ports[index]!,
        wallShift,
        accounts: shard.accounts.memory,
      };
      const worker = new Worker(workerFile(), {
        workerData,
        transferList: [...ports[index]!.values()],
      });
      workers.push(worker);
      options.onThread?.(worker);
      onEnd(worker, opened[i]!.reject);
      links.push(
        new Link(ports[0]!.get(index)!, {
          ...makeQueueCalls(shard.home),
          registry: invoke.bind(undefined, options.registry),
          whole: invoke.bind(undefined, options.whole),
          auth: invoke.bind(undefined, options.auth),
          audit: invoke.bind(undefined, options.audit),
          events: invoke.bind(undefined, options.events),
          opened: (from: number, facts: readonly StorageFacts[]) => {
            opened[from - 1]!.resolve(facts);
          },
          log: (level: LogLevel, fields: object, message: string) => log[level](fields, message),
        }),
      );
    }
    try {
      const facts = await Promise.all(opened.map(({ promise }) => promise));
      return new Pool(workers, links, facts);
    } catch (error) {
      for (const worker of workers) await worker.terminate();
      throw error;
    }
  }

  /** The other threads as homes of queues, in the order of their indexes. */
  get homes(): readonly Home[] {
    return this.#links.map((link) => new ThreadHome(link));
  }

  /** A storage of another thread, as placement uses it. */
  storage(index: number, { name, isDurable }: StorageFacts): PlaceableStorage {
    const link = this.#links[index - 1]!;
    return elsewhere<PlaceableStorage>((method, args) => link.call("storage", name, method, args), {
      name,
      isDurable,
    });
  }

  /** Makes all other threads know what has become of a queue. */
  async announce(name: string, queue: AnnouncedQueue | undefined): Promise<void> {
    await this.#all((link) => link.call("announce", name, queue));
  }

  /** Makes all threads know of changes of who there is; `isAll`: in place of all that they know. */
  async announceAuth(changes: readonly Change[], isAll: boolean): Promise<void> {
    await this.#all((link) => link.call("announceAuth", changes, isAll));
  }

  /** Has all other threads publish what is of these interests, and nothing else. */
  async listenTo(interests: readonly Interest[]): Promise<void> {
    await this.#all((link) => link.call("listenTo", interests));
  }

  /** Gives events to a thread on which somebody listens. */
  tellEvents(thread: number, page: Page): Promise<void> {
    return this.#links[thread - 1]!.call("tellEvents", page);
  }

  /** The keys that were used on each of the other threads since this was asked last. */
  takeUsedKeys(): Promise<readonly UsedKeys[]> {
    return Promise.all(this.#links.map((link) => link.call("takeUsedKeys")));
  }

  /** What each of the other threads tells in numbers. */
  figures(wanted: WantedFigures): Promise<readonly ThreadFigures[]> {
    return Promise.all(this.#links.map((link) => link.call("figures", wanted)));
  }

  async changeClock(change: ClockChange): Promise<void> {
    await this.#all((link) => link.call("changeClock", change));
  }

  /** All other threads listen there as well, with TLS if `material` is given. */
  async listen(listening: Listening, material: TlsMaterial | undefined): Promise<void> {
    await this.#all((link) => link.call("listen", listening, material));
  }

  /** From now on they speak TLS with this. */
  async secure(material: TlsMaterial): Promise<void> {
    await this.#all((link) => link.call("secure", material));
  }

  /** From now on no other thread takes requests. */
  async refuse(): Promise<void> {
    await this.#all((link) => link.call("refuse"));
  }

  /** Closes the storages of the other threads, then their connections, then ends them. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled(this.#links.map((link) => link.call("stop")));
    for (const worker of this.#workers) await worker.terminate();
  }

  async #all(call: (link: Link<WorkerCalls>) => Promise<unknown>): Promise<void> {
    await Promise.all(this.#links.map(call));
  }
}

/** Another thread as a home of queues. */
class ThreadHome implements Home {
  readonly #link: Link<WorkerCalls>;

  constructor(link: Link<WorkerCalls>) {
    this.#link = link;
  }

  async open(record: QueueRecord): Promise<QueueHandle> {
    await this.#link.call("openQueue", record);
    return new RemoteQueue(record.name, idPrefixesOf(record), this.#link);
  }

  close(name: string, error: QueueError): Promise<void> {
    return this.#link.call("closeQueue", name, packError(error));
  }

  failing(): Promise<Failing> {
    return this.#link.call("failing");
  }
}

// Only the first thread makes it.
function withoutFirstKey(config: Config): Config {
  return { ...config, auth: { ...config.auth, bootstrapKey: undefined } };
}

// A line between every two shards: for each shard its end of the line to every other, by index.
function connect(shards: number): readonly Map<number, MessagePort>[] {
  const ports = Array.from({ length: shards }, () => new Map<number, MessagePort>());
  for (let a = 0; a < shards; a++) {
    for (let b = a + 1; b < shards; b++) {
      const { port1, port2 } = new MessageChannel();
      ports[a]!.set(b, port1);
      ports[b]!.set(a, port2);
    }
  }
  return ports;
}

// Sources run as they are, a published package runs what was built from them.
function workerFile(): URL {
  const suffix = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  return new URL(`./worker${suffix}`, import.meta.url);
}

function onEnd(worker: Worker, ended: (error: Error) => void): void {
  worker.once("error", (cause) => {
    ended(new Error(`a thread has failed: ${(cause as Error).message}`, { cause }));
  });
  worker.once("exit", (code) => ended(new Error(`a thread has ended with code ${code}`)));
}
