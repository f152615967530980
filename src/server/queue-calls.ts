// The queues of one thread, served to another: what `RemoteQueue` calls arrives here and becomes a
// call of the queue that is at home on this thread. Plain functions of plain data, for their
// parameters and results are cloned.

import {
  type ClearOptions,
  type ImportedItem,
  type Kind,
  LeaseRequest,
  type ListedItem,
  type PageOptions,
  type Queue,
  type QueueRules,
  type QueueStats,
} from "../queue/queue.ts";
import type { Host } from "../registry/host.ts";
import { type PackedRecords, packRecords, unpackRecords } from "../storage/rows/records.ts";
import { packAnswer, unpackRequest } from "./packing.ts";

/** Items of a list, as they travel. */
export interface PackedItems {
  readonly items: readonly Omit<ListedItem, "record">[];
  readonly records: PackedRecords;
}

/** What one thread lets another do with the queues that are at home on it. */
export type QueueCalls = ReturnType<typeof makeQueueCalls>;

/** The calls for one other thread. */
export function makeQueueCalls(host: Host) {
  // Leases that wait, by the ticket that the other thread gave them.
  const leases = new Map<number, LeaseRequest>();

  const find = (name: string): Queue => host.queue(name);

  return {
    async submit(name: string, kind: Kind, ...packed: readonly unknown[]): Promise<unknown> {
      const request = unpackRequest(kind, packed);
      const answer = find(name).submit(request);
      if (!(request instanceof LeaseRequest)) return packAnswer(kind, await answer);
      leases.set(request.ticket, request);
      try {
        return packAnswer(kind, await answer);
      } finally {
        leases.delete(request.ticket);
      }
    },

    cancel(name: string, ticket: number): void {
      const lease = leases.get(ticket);
      if (lease !== undefined) find(name).cancel(lease);
    },

    giveBack: (name: string, partition: number, ids: readonly string[]) =>
      find(name).giveBack(partition, ids),

    stats: (name: string): Promise<QueueStats> => find(name).stats(),
    clear: (name: string, options: ClearOptions) => find(name).clear(options),
    reload: (name: string) => find(name).reload(),

    async list(name: string, partition: number, options: PageOptions): Promise<PackedItems> {
      return packItems(await find(name).list(partition, options));
    },

    async import(
      name: string,
      partition: number,
      imports: readonly Omit<ImportedItem, "record">[],
      packed: PackedRecords,
    ) {
      const records = unpackRecords(packed);
      const items = imports.map((each, i) => ({ ...each, record: records[i]! }));
      const results = await find(name).import(partition, items);
      return { statuses: results.map(({ status }) => status), ...packItems(results) };
    },

    delete: (name: string, partition: number, ids: readonly string[]) =>
      find(name).delete(partition, ids),
    pause: (name: string) => find(name).pause(),
    resume: (name: string) => find(name).resume(),
    configure: (name: string, rules: QueueRules) => find(name).configure(rules),

    async deliver(name: string, all: readonly string[], packed: PackedRecords) {
      const records = unpackRecords(packed);
      const letters = all.map((attributes, i) => ({ attributes, record: records[i]! }));
      await find(name).deadQueue.deliver(letters, undefined);
    },
  };
}

function packItems(items: readonly ListedItem[]): PackedItems {
  return {
    items: items.map(({ record: _, ...rest }) => rest),
    records: packRecords(items.map(({ record }) => record)),
  };
}
