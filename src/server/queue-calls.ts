// The queues of one thread, served to another: what `RemoteQueue` calls arrives here and becomes a
// call of the queue that is at home on this thread. Plain functions of plain data, for their
// parameters and results are cloned.

import type { QueueRules } from "../queue/context.ts";
import { Item } from "../queue/item.ts";
import type { ClearOptions, ImportedItem, ListedItem } from "../queue/operations.ts";
import type { PageOptions, PendingLease, Queue, QueueStats } from "../queue/queue.ts";
import type { RetryItem } from "../queue/requests.ts";
import type { Host } from "../registry/host.ts";
import { type PackedRecords, packRecords, unpackRecords } from "../storage/rows/records.ts";

/** Items that were leased, as they travel. */
export interface PackedLease {
  readonly partition: number;
  readonly idPrefix: string;
  readonly deadline: number;
  readonly seqs: Float64Array;
  readonly attempts: Int32Array;
  readonly records: PackedRecords;
}

/** Items of a list, as they travel. */
export interface PackedItems {
  readonly items: readonly Omit<ListedItem, "record">[];
  readonly records: PackedRecords;
}

/** What one thread lets another do with the queues that are at home on it. */
export type QueueCalls = ReturnType<typeof makeQueueCalls>;

/** The calls for one other thread. */
export function makeQueueCalls(host: Host) {
  // Leases that wait, by the number that the other thread gave them.
  const leases = new Map<number, PendingLease>();

  const find = (name: string): Queue => host.queue(name);

  return {
    async produce(name: string, packed: PackedRecords, dueAts: Float64Array, deadline: number) {
      const records = unpackRecords(packed);
      const items = records.map((record, i) => new Item(record, dueAts[i]!));
      await find(name).produce(items, deadline);
    },

    async lease(
      name: string,
      lease: number,
      request: { clientId: string; batchSize: number; deadline: number },
    ): Promise<PackedLease> {
      const { clientId, batchSize, deadline } = request;
      const pending = find(name).lease(clientId, batchSize, deadline);
      leases.set(lease, pending);
      try {
        const leased = await pending.leased;
        return {
          partition: leased.partition,
          idPrefix: leased.ids.prefix,
          deadline: leased.deadline,
          seqs: Float64Array.from(leased.items, ({ seq }) => seq),
          attempts: Int32Array.from(leased.items, ({ attempts }) => attempts),
          records: packRecords(leased.records),
        };
      } finally {
        leases.delete(lease);
      }
    },

    cancelLease(lease: number): void {
      leases.get(lease)?.cancel();
    },

    async complete(name: string, partition: number, ids: readonly string[], deadline: number) {
      await find(name).complete(partition, ids, deadline);
    },

    retry: async (
      name: string,
      partition: number,
      items: readonly RetryItem[],
      deadline: number,
    ): Promise<readonly number[]> => find(name).retry(partition, items, deadline),

    async release(name: string, partition: number, items: readonly RetryItem[], deadline: number) {
      await find(name).release(partition, items, deadline);
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

    async deliver(name: string, sourceIds: readonly string[], packed: PackedRecords) {
      const records = unpackRecords(packed);
      const letters = sourceIds.map((sourceId, i) => ({ sourceId, record: records[i]! }));
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
