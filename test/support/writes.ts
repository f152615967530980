// What commits write, counted: how many records of each kind storage is given. It is the same whatever the
// driver makes of them, so that tests can say what an item costs, and benchmarks show it.

import type { PartitionChanges } from "../../src/storage/storage.ts";

type Lists = {
  [K in keyof PartitionChanges]: PartitionChanges[K] extends readonly unknown[] ? K : never;
}[keyof PartitionChanges];

const LISTS = {
  adds: true,
  addsScheduled: true,
  addsHeld: true,
  releases: true,
  leases: true,
  moves: true,
  removes: true,
  removesScheduled: true,
  removesHeld: true,
  addsExpiry: true,
  removesExpiry: true,
  removesKey: true,
  addsKey: true,
} as const satisfies Record<Lists, true>;

/** Commits, and records by their kind; those that were never written are left out. */
export type Writes = { commits?: number } & { [K in Lists]?: number };

/** Counts what commits have written. */
export function writesOf(commits: readonly (readonly PartitionChanges[])[]): Writes {
  const writes: Writes = commits.length === 0 ? {} : { commits: commits.length };
  for (const change of commits.flat()) {
    for (const list of Object.keys(LISTS) as Lists[]) {
      const { length } = change[list];
      if (length > 0) writes[list] = (writes[list] ?? 0) + length;
    }
  }
  return writes;
}

/** How many records the changes of a commit have, of all kinds together. */
export function recordsOf(changes: readonly PartitionChanges[]): number {
  let records = 0;
  for (const change of changes) {
    for (const list in LISTS) records += change[list as Lists].length;
  }
  return records;
}
