// Where queues are at home: the loops that run on this thread, over the storages that it owns. The
// registry says which of them open and close there; nothing else does.

import { type QueueError, queueError } from "../errors.ts";
import { Queue, type QueueContext, type QueueHandle } from "../queue/queue.ts";
import type { Account } from "../quotas.ts";
import { StorageAway } from "../storage/away.ts";
import type { Storage } from "../storage/storage.ts";
import type { Directory } from "./directory.ts";
import { type HomeFigures, pick, Totals, type WantedFigures } from "./figures.ts";
import { fullName, SYSTEM_NAMESPACE } from "./names.ts";
import { tellTable } from "./queue-table.ts";
import type { QueueRecord } from "./records.ts";
import { rulesOf } from "./settings.ts";

/** Partitions that do not work at present. */
export interface Failing {
  readonly partitions: number;
  /** Of how many. */
  readonly total: number;
  /** The names of the storages in which they lie. */
  readonly storages: readonly string[];
  /** What is wrong with storages, whether partitions fail for it or not. */
  readonly troubles: readonly string[];
  /** The same storage by storage, of those in which partitions lie or with which something is wrong. */
  readonly byStorage: readonly StorageHealth[];
}

/** How a storage is doing. */
export interface StorageHealth {
  readonly name: string;
  readonly failing: number;
  readonly partitions: number;
  readonly troubles: readonly string[];
}

/** A place where queues may be at home, as the registry sees it. */
export interface Home {
  /**
   * Opens a queue, which serves nothing until it is resumed. Partitions whose storage does not answer
   * are failing.
   */
  open(record: QueueRecord): Promise<QueueHandle>;
  /** Ends a queue: everything that waits is answered with the error. */
  close(name: string, error: QueueError): Promise<void>;
  failing(): Promise<Failing>;
}

export interface LocalHomeOptions {
  readonly context: Omit<QueueContext, "findIntake">;
  /** By name. */
  readonly storages: ReadonlyMap<string, Storage>;
  /** Where dead queues are looked up. */
  readonly directory: Directory;
}

// For so many queues storage is asked, whenever numbers are collected, how old what waits is that memory does not hold:
// after a start, for queues of which nobody leases. The others follow the next time.
const LOOKED_UP_MAX = 64;

export class LocalHome implements Home {
  readonly #context: QueueContext;
  readonly #storages: ReadonlyMap<string, Storage>;
  readonly #directory: Directory;
  readonly #queues = new Map<string, Queue>();
  // What queues have counted that are gone: what a sum has told once it never takes back.
  readonly #gone = new Totals();
  // Queues that are being closed, which still count.
  readonly #closing = new Set<Queue>();
  #isLookingUp = false;
  readonly #troubles = new Map<string, string>();
  #refusal: QueueError | undefined;

  constructor({ context, storages, directory }: LocalHomeOptions) {
    this.#context = {
      ...context,
      findIntake: (name) => directory.find(name)?.queue.intake,
    };
    this.#storages = storages;
    this.#directory = directory;
  }

  async open(record: QueueRecord): Promise<Queue> {
    const places = record.partitions.map((place) => ({
      ...place,
      storage: this.#storages.get(place.storage)!,
    }));
    const queue = await Queue.open(record.name, rulesOf(record), {
      places,
      context: this.#context,
      account: this.#accountOf(record),
      onFailing: (partition, err) => {
        const fields = { err, queue: record.name, partition };
        if (!(err instanceof StorageAway)) this.#context.log.warn(fields, "partition is failing");
      },
    });
    await queue.pause();
    this.#queues.set(record.name, queue);
    return queue;
  }

  #accountOf({ namespace }: QueueRecord): Account | undefined {
    return namespace === SYSTEM_NAMESPACE ? undefined : this.#context.accounts?.of(namespace);
  }

  /** The queue of this name that is at home here; a QueueError if there is none. */
  queue(name: string): Queue {
    const queue = this.#queues.get(name);
    if (queue !== undefined) return queue;
    throw this.#refusal ?? queueError("queue_not_found", { queue_name: name });
  }

  /** From now on a queue that is not there has not been deleted: the server ends. */
  refuse(error: QueueError): void {
    this.#refusal = error;
  }

  async close(name: string, error: QueueError): Promise<void> {
    const queue = this.#queues.get(name);
    this.#queues.delete(name);
    if (queue === undefined) return;
    this.#closing.add(queue);
    await queue.close(error).finally(() => {
      this.#closing.delete(queue);
      this.#gone.addCounts(queue.figures().counts);
    });
    this.#context.ears?.forget(name);
  }

  /** All queues in numbers, and those by themselves that are asked for. Nothing is counted for it. */
  figures(wanted: WantedFigures): HomeFigures {
    if (wanted.isQuiet !== true) void this.#lookUp();
    const { turns, budget, clock } = this.#context;
    const totals = new Totals();
    totals.add(this.#gone);
    for (const queue of this.#closing) totals.addCounts(queue.figures().counts);
    const own = totals.addQueues(this.#queues.values(), this.#deadQueues());
    return {
      totals: totals.told(clock.now()),
      readyBytes: budget.bytes,
      times: {
        turn: turns.times.turn.totals(),
        wait: turns.times.wait.totals(),
        run: turns.times.run.totals(),
      },
      commits: Array.from(turns.committers, ({ storage, times, sizes, failures }) => ({
        storage: storage.name,
        times: times.totals(),
        sizes: sizes.totals(),
        failures,
      })),
      queues: pick(own, wanted).map(({ queue, figures }) => ({
        name: queue.name,
        ...figures,
        ...queue.detail(),
      })),
      ...(wanted.isTable === true && {
        table: tellTable(own.map(({ queue, figures }) => ({ name: queue.name, figures }))),
      }),
    };
  }

  // Nobody waits for it, for a storage may hang: what it finds is told the next time.
  async #lookUp(): Promise<void> {
    if (this.#isLookingUp) return;
    this.#isLookingUp = true;
    try {
      let left = LOOKED_UP_MAX;
      for (const queue of [...this.#queues.values()]) {
        if (!queue.hasUnknownOldest) continue;
        if (left-- === 0) break;
        await queue.lookUpOldest();
      }
    } finally {
      this.#isLookingUp = false;
    }
  }

  // The full names of those to which others send what is dead.
  #deadQueues(): ReadonlySet<string> {
    const names = new Set<string>();
    for (const { record } of this.#directory.entries()) {
      if (record.deadQueue !== "") names.add(fullName(record.namespace, record.deadQueue));
    }
    return names;
  }

  /** Notes that something is wrong with a storage, or is not any more; answers what was known of it before. */
  noteTrouble(what: string, text: string | undefined): string | undefined {
    const before = this.#troubles.get(what);
    if (text === undefined) this.#troubles.delete(what);
    else this.#troubles.set(what, text);
    return before;
  }

  /** A storage may not hold any more what memory believes: its partitions fail until they are read anew. */
  distrust(storage: string): void {
    for (const { loop } of this.#queues.values()) loop.distrust(storage);
  }

  async failing(): Promise<Failing> {
    const found = new Map<string, { failing: number; partitions: number; troubles: string[] }>();
    const of = (name: string) => {
      const known = found.get(name) ?? { failing: 0, partitions: 0, troubles: [] };
      found.set(name, known);
      return known;
    };
    for (const queue of this.#queues.values()) {
      for (const { storage, failures } of queue.loop.partitions) {
        const health = of(storage.name);
        health.partitions++;
        if (failures > 0) health.failing++;
      }
    }
    for (const [what, text] of this.#troubles) {
      of(what.slice(0, what.lastIndexOf(" "))).troubles.push(text);
    }
    const byStorage = Array.from(found, ([name, health]) => ({ name, ...health }));
    return {
      partitions: byStorage.reduce((sum, { failing }) => sum + failing, 0),
      total: byStorage.reduce((sum, { partitions }) => sum + partitions, 0),
      storages: byStorage.filter(({ failing }) => failing > 0).map(({ name }) => name),
      troubles: [...this.#troubles.values()],
      byStorage,
    };
  }
}
