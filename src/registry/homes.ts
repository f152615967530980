// Where queues are at home: the loops that run on this thread, over the storages that it owns. The
// registry says which of them open and close there; nothing else does.

import { type QueueError, queueError } from "../errors.ts";
import { Queue, type QueueContext, type QueueHandle } from "../queue/queue.ts";
import { StorageAway } from "../storage/away.ts";
import type { Storage } from "../storage/storage.ts";
import type { Directory } from "./directory.ts";
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

export class LocalHome implements Home {
  readonly #context: QueueContext;
  readonly #storages: ReadonlyMap<string, Storage>;
  readonly #queues = new Map<string, Queue>();
  readonly #troubles = new Map<string, string>();
  #refusal: QueueError | undefined;

  constructor({ context, storages, directory }: LocalHomeOptions) {
    this.#context = {
      ...context,
      findIntake: (name) => directory.find(name)?.queue.intake,
    };
    this.#storages = storages;
  }

  async open(record: QueueRecord): Promise<Queue> {
    const places = record.partitions.map((place) => ({
      ...place,
      storage: this.#storages.get(place.storage)!,
    }));
    const queue = await Queue.open(record.name, rulesOf(record), {
      places,
      context: this.#context,
      onFailing: (partition, err) => {
        const fields = { err, queue: record.name, partition };
        if (!(err instanceof StorageAway)) this.#context.log.warn(fields, "partition is failing");
      },
    });
    await queue.pause();
    this.#queues.set(record.name, queue);
    return queue;
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
    await queue?.close(error);
    this.#context.ears?.forget(name);
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
    const storages = new Set<string>();
    let partitions = 0;
    let total = 0;
    for (const queue of this.#queues.values()) {
      for (const partition of queue.loop.partitions) {
        total++;
        if (partition.failures === 0) continue;
        partitions++;
        storages.add(partition.storage.name);
      }
    }
    return {
      partitions,
      total,
      storages: [...storages],
      troubles: [...this.#troubles.values()],
    };
  }
}
