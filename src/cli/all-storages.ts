// The storages of a server as its configuration and its data directory show them, for commands that look at
// storages themselves.

import { existsSync, readdirSync } from "node:fs";
import { type Config, type StorageConfig, storageOfThread } from "../config/config.ts";

/**
 * Those that are configured, and those of a data directory that was used with more threads: of each there is
 * a file, or partitions that should be in one.
 */
export function allStorages(config: Config, inUse: ReadonlySet<string>): Iterable<StorageConfig> {
  const { queueStorage, partitionStorage, isSpread } = config;
  const storages = new Map([queueStorage, ...partitionStorage].map((each) => [each.name, each]));
  const { dir } = queueStorage;
  if (!isSpread || dir === undefined) return storages.values();
  const files = existsSync(dir) ? readdirSync(dir) : [];
  const numbers = [...files, ...inUse].flatMap((name) => {
    const [, number] = /^(?:querator|sqlite)-(\d+)(?:\.db)?$/.exec(name) ?? [];
    return number === undefined ? [] : [Number(number)];
  });
  for (const number of numbers.sort((a, b) => a - b)) {
    const storage = storageOfThread(number, queueStorage);
    storages.set(storage.name, storage);
  }
  return storages.values();
}
