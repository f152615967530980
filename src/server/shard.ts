// One thread of the server: the storages that it owns, the queues at home on it, and what it knows
// of all others. A server on one thread is one shard.

import { AuthState } from "../auth/state.ts";
import { type Clock, SECOND, SystemClock } from "../clock.ts";
import type { Config, StorageConfig } from "../config/config.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import { EventHub } from "../observe/hub.ts";
import { draw, Turns } from "../queue/queue.ts";
import { Accounts } from "../quotas.ts";
import { Directory } from "../registry/directory.ts";
import { LocalHome } from "../registry/homes.ts";
import type { SlowLogs } from "../slow.ts";
import { awayStorage } from "../storage/away.ts";
import { MemoryStorage } from "../storage/memory.ts";
import type { StorageWatch } from "../storage/sqlite/log.ts";
import { openSqliteStorage } from "../storage/sqlite/sqlite.ts";
import type { Storage } from "../storage/storage.ts";

// How often a storage that is away is tried again, at most.
const STORAGE_RETRY = SECOND;

export interface ShardOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  /** What is told of what is slow; without it nothing is. */
  readonly slow?: SlowLogs;
  /** What the first thread shares of what namespaces use; not given to that one. */
  readonly accounts?: SharedArrayBuffer;
  /** Wraps each storage as it is opened: for tests that make storage fail. */
  readonly wrapStorage?: ((storage: Storage) => Storage) | undefined;
  /** Told if another server has taken a storage over: nothing of it is to be used any more. */
  readonly onLost?: ((storage: string) => void) | undefined;
}

export class Shard {
  /** By name. */
  readonly storages = new Map<string, Storage>();
  readonly directory = new Directory();
  /** Who there is, and what they may do, as this thread knows it. */
  readonly auth: AuthState;
  /** What namespaces use. */
  readonly accounts: Accounts;
  /** Where what happens here is published. */
  readonly events = new EventHub();
  readonly home: LocalHome;
  /** This thread's share of the limits. */
  readonly limits: Limits;
  readonly #options: ShardOptions;

  constructor(options: ShardOptions) {
    const { config, clock, log } = options;
    this.#options = options;
    this.accounts = new Accounts(options.accounts);
    this.auth = new AuthState(clock, this.accounts);
    this.limits = shareOf(config.limits, config.threads);
    this.home = new LocalHome({
      context: {
        accounts: this.accounts,
        clock,
        limits: this.limits,
        log,
        // Commits take their time whatever a virtual clock says.
        turns: new Turns({ pace: config.dev ? new SystemClock() : clock, slow: options.slow }),
        budget: { bytes: 0 },
        waiting: { leases: 0, items: 0 },
        random: draw,
        ears: this.events,
      },
      storages: this.storages,
      directory: this.directory,
    });
  }

  /** Opens a storage; rejects if it cannot be. */
  async openStorage(config: StorageConfig): Promise<Storage> {
    return this.#add(await this.#open(config, false));
  }

  /** Opens a storage, which may be away: it is then opened as soon as it is there. */
  async openStorageOrWait(config: StorageConfig, mustExist: boolean): Promise<Storage> {
    const known = this.storages.get(config.name);
    if (known !== undefined) return known;
    try {
      return this.#add(await this.#open(config, mustExist));
    } catch (error) {
      const { clock, log } = this.#options;
      const { name } = config;
      log.error({ err: error, storage: name }, "storage cannot be opened, and is tried again");
      return this.#add(
        awayStorage({
          name,
          location: locationOf(config),
          open: () => this.#open(config, mustExist),
          reason: error as Error,
          retryAfter: STORAGE_RETRY,
          steady: () => clock.steady(),
        }),
      );
    }
  }

  #open(config: StorageConfig, mustExist: boolean): Promise<Storage> {
    const { name } = config;
    return open(config, mustExist, {
      ...this.#options,
      watch: {
        trouble: (check, text) => this.#note(name, check, text),
        distrust: () => this.home.distrust(name),
      },
    });
  }

  // Told in the log when it begins, when it changes and when it ends, and in between by `/health`.
  #note(storage: string, check: string, text: string | undefined): void {
    const before = this.home.noteTrouble(`${storage} ${check}`, text);
    if (before === text) return;
    const { log } = this.#options;
    const fields = { storage, check, reason: text };
    if (text === undefined) log.info({ storage, check }, "storage needs no attention any more");
    else if (check === "sync") log.error(fields, "storage needs attention");
    else log.warn(fields, "storage needs attention");
  }

  #add(storage: Storage): Storage {
    const wrapped = this.#options.wrapStorage?.(storage) ?? storage;
    this.storages.set(storage.name, wrapped);
    return wrapped;
  }

  /** Closes all storages; no queue may be open any more. */
  async close(): Promise<void> {
    for (const storage of [...this.storages.values()].reverse()) await storage.close();
  }
}

/** Where a storage lies, also one that is not open: as `Storage.location` has it. */
export function locationOf({ driver, dir, postgres }: StorageConfig): string {
  if (driver === "memory") return "memory";
  return postgres?.location ?? `${driver}:${dir}`;
}

async function open(
  config: StorageConfig,
  mustExist: boolean,
  { onLost, log, watch }: ShardOptions & { readonly watch: StorageWatch },
): Promise<Storage> {
  const { name, driver, dir, file, syncInterval } = config;
  if (driver === "memory") return new MemoryStorage({ name });
  if (driver === "postgres") {
    // Loaded here, for a server without it starts sooner.
    const { openPostgres } = await import("./postgres.ts");
    return openPostgres(config, log, () => onLost?.(name));
  }
  return openSqliteStorage({ name, dir: dir!, file, syncInterval, mustExist, watch });
}

// What bounds the memory of the whole server is shared out evenly.
function shareOf(limits: Limits, threads: number): Limits {
  const share = (whole: number): number => Math.ceil(whole / threads);
  return {
    ...limits,
    waitingLeases: share(limits.waitingLeases),
    readyBytes: share(limits.readyBytes),
    requestBytes: share(limits.requestBytes),
    connections: share(limits.connections),
  };
}
