// What is kept of each queue, and how it gets to storage. One record a name: the queue of that
// name, if there is one, and partitions of deleted queues of the same name that are still to be
// dropped. After a failed write nobody knows which of two records storage holds, so the name is in
// doubt, and what memory holds is written again before the next change is begun.

import { type AlsoWritten, isAuthRecord } from "../auth/records.ts";
import type { Repeat } from "../queue/queue.ts";
import type { Storage } from "../storage/storage.ts";
import { type Settings, withDefaults } from "./settings.ts";

/** Where one partition of a queue lies, and what tells it from any other. */
export interface PartitionPlace {
  readonly storage: string;
  readonly key: number;
  /** The first characters of all its ids: another partition under this key has another. */
  readonly idPrefix: string;
  readonly createdAt: number;
}

/** A queue: its settings, and what else is known of it. Times in microseconds. */
export interface QueueRecord extends Settings {
  /** The full name (names.ts); its dead queue, in the same namespace, is called by its name. */
  readonly name: string;
  readonly namespace: string;
  readonly createdAt: number;
  /** When it was last updated, also if that has changed nothing: as /v1 shows it. */
  readonly updatedAt: number;
  /** When something of it became another last. */
  readonly changedAt: number;
  /** How often it was written by whom it is for: 1 when it is made, one more with each change. */
  readonly version: number;
  readonly partitions: readonly PartitionPlace[];
}

/** A record as this version has it: what an earlier one did not know has its default. */
export function completed(record: QueueRecord): QueueRecord {
  const { version = 1, changedAt = record.updatedAt } = record;
  return { ...withDefaults(record), version, changedAt };
}

/** What the ids of a queue begin with, partition by partition. */
export function idPrefixesOf({ partitions }: QueueRecord): readonly string[] {
  return partitions.map(({ idPrefix }) => idPrefix);
}

/** What a request that changed a queue was sent with, and until when that is known. */
export interface KeptRepeat extends Repeat {
  readonly until: number;
  /** The queue as it then was; not set if it was deleted. */
  readonly queue?: QueueRecord | undefined;
}

/** What storage holds under a name; nothing at all if both are missing. */
export interface StoredQueue {
  readonly queue?: QueueRecord | undefined;
  /** Partitions of deleted queues of this name. */
  readonly leftovers?: readonly PartitionPlace[] | undefined;
  /** The keys of what was last done to queues of this name, until they end. */
  readonly repeats?: readonly KeptRepeat[] | undefined;
}

const NOTHING_ELSE: AlsoWritten = { puts: [], gone: [] };

export class QueueRecords {
  readonly #storage: Storage;
  readonly #doubtful = new Set<string>();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Whether records and these partitions lie in the same storage. */
  liesIn(storage: string): boolean {
    return this.#storage.name === storage;
  }

  /** Everything that storage holds, by name. */
  async list(): Promise<ReadonlyMap<string, StoredQueue>> {
    const stored = (await this.#storage.listQueues()).filter(({ name }) => !isAuthRecord(name));
    return new Map(stored.map(({ name, record }) => [name, parse(record)]));
  }

  /** Makes this what storage holds under a name. After a failure the name is in doubt. */
  async write(name: string, stored: StoredQueue, also = NOTHING_ELSE): Promise<void> {
    const { queue, leftovers = [], repeats = [] } = stored;
    if (queue !== undefined || leftovers.length + repeats.length > 0) {
      await this.writeAll([[name, stored]], also);
      return;
    }
    this.#doubtful.add(name);
    await this.#storage.deleteQueue(name);
    this.#doubtful.delete(name);
  }

  /**
   * The same of several names, none of which is to hold nothing, with what else is to be written: all of it is
   * written, or nothing.
   */
  async writeAll(
    all: readonly (readonly [name: string, StoredQueue])[],
    also = NOTHING_ELSE,
  ): Promise<void> {
    for (const [name] of all) this.#doubtful.add(name);
    const records = all.map(([name, stored]) => ({ name, record: JSON.stringify(packed(stored)) }));
    await this.#storage.putQueues([...records, ...also.puts], also.gone);
    for (const [name] of all) this.#doubtful.delete(name);
  }

  /** Ends all doubt: writes what memory holds under each name that is in doubt. */
  async settle(held: (name: string) => StoredQueue): Promise<void> {
    for (const name of [...this.#doubtful]) await this.write(name, held(name));
  }
}

// Without what is empty.
function packed({ queue, leftovers = [], repeats = [] }: StoredQueue): StoredQueue {
  return {
    queue,
    ...(leftovers.length > 0 && { leftovers }),
    ...(repeats.length > 0 && { repeats }),
  };
}

function parse(record: string): StoredQueue {
  const { queue, ...rest } = JSON.parse(record) as StoredQueue;
  return { queue: queue && completed(queue), ...rest };
}

/** The names of the storages in which queues have partitions, or have left some behind. */
export async function storagesInUse(records: Storage): Promise<ReadonlySet<string>> {
  return storagesOf((await new QueueRecords(records).list()).values());
}

/** The same of records that have been read. */
export function storagesOf(records: Iterable<StoredQueue>): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { queue, leftovers = [] } of records) {
    for (const { storage } of [...(queue?.partitions ?? []), ...leftovers]) names.add(storage);
  }
  return names;
}
