// A storage that could not be opened when the server started: every call tries to open it again,
// but not too often, and fails until that succeeds; from then on it is the storage itself.

import type { Storage } from "./storage.ts";

/** What every call of a storage that is away rejects with; its cause says why it is away. */
export class StorageAway extends Error {}

export interface AwayOptions {
  readonly name: string;
  readonly location: string;
  readonly open: () => Promise<Storage>;
  /** Why it could not be opened. */
  readonly reason: Error;
  /** Microseconds between two tries to open it. */
  readonly retryAfter: number;
  readonly steady: () => number;
}

/** Stands in for a storage until it can be opened. */
export function awayStorage(options: AwayOptions): Storage {
  const { name, location, open, retryAfter, steady } = options;
  let reason = new StorageAway(options.reason.message, { cause: options.reason });
  let opened: Storage | undefined;
  let retryAt = steady() + retryAfter;
  let opening: Promise<Storage> | undefined;

  function tryOpen(): Promise<Storage> {
    if (opened !== undefined) return Promise.resolve(opened);
    if (opening === undefined && steady() < retryAt) return Promise.reject(reason);
    opening ??= open()
      .then((storage) => {
        opened = storage;
        return storage;
      })
      .catch((error: Error) => {
        reason = new StorageAway(error.message, { cause: error });
        throw reason;
      })
      .finally(() => {
        opening = undefined;
        retryAt = steady() + retryAfter;
      });
    return opening;
  }

  return {
    name,
    location,
    isDurable: true,
    commit: async (changes) => (await tryOpen()).commit(changes),
    createPartitions: async (partitions) => (await tryOpen()).createPartitions(partitions),
    listPartitions: async () => (await tryOpen()).listPartitions(),
    dropPartitions: async (keys) => (await tryOpen()).dropPartitions(keys),
    sweep: async (limit) => (await tryOpen()).sweep(limit),
    loadPartition: async (key) => (await tryOpen()).loadPartition(key),
    readItems: async (key, table, range) => (await tryOpen()).readItems(key, table, range),
    readScheduled: async (key, limit) => (await tryOpen()).readScheduled(key, limit),
    readExpiries: async (key, limit) => (await tryOpen()).readExpiries(key, limit),
    readHeld: async (key, group, limit) => (await tryOpen()).readHeld(key, group, limit),
    findKeys: async (key, kind, keys) => (await tryOpen()).findKeys(key, kind, keys),
    listKeys: async (key, kind, options) => (await tryOpen()).listKeys(key, kind, options),
    readKeysDue: async (key, limit) => (await tryOpen()).readKeysDue(key, limit),
    putQueues: async (records, gone) => (await tryOpen()).putQueues(records, gone),
    deleteQueue: async (queue) => (await tryOpen()).deleteQueue(queue),
    listQueues: async () => (await tryOpen()).listQueues(),
    figures: async () => (await opened?.figures?.()) ?? {},
    check: async () => (await tryOpen()).check(),
    close: async () => opened?.close(),
  };
}
