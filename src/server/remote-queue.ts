// A queue that is at home on another thread: every call travels there and back. What a request
// carries in numbers is packed, so that a batch of items costs a few objects.

import type { DeadQueue, QueueRules } from "../queue/context.ts";
import { IdSpace } from "../queue/ids.ts";
import { Item } from "../queue/item.ts";
import type { ClearOptions, ImportedItem, ImportResult, ListedItem } from "../queue/operations.ts";
import type { PageOptions, PendingLease, QueueHandle, QueueStats } from "../queue/queue.ts";
import type { Leased, RetryItem } from "../queue/requests.ts";
import { packRecords, unpackRecords } from "../storage/rows/records.ts";
import type { Link } from "./link.ts";
import type { PackedItems, PackedLease, QueueCalls } from "./queue-calls.ts";

let leases = 0;

export class RemoteQueue implements QueueHandle {
  readonly name: string;
  readonly partitionCount: number;
  readonly #link: Link<QueueCalls>;

  constructor(name: string, partitionCount: number, link: Link<QueueCalls>) {
    this.name = name;
    this.partitionCount = partitionCount;
    this.#link = link;
  }

  async produce(items: readonly Item[], deadline: number): Promise<undefined> {
    const records = packRecords(items.map(({ record }) => record));
    const dueAts = Float64Array.from(items, ({ dueAt }) => dueAt);
    await this.#link.call("produce", this.name, records, dueAts, deadline);
  }

  lease(clientId: string, batchSize: number, deadline: number): PendingLease {
    const lease = ++leases;
    const request = { clientId, batchSize, deadline };
    return {
      leased: this.#link.call("lease", this.name, lease, request).then(unpackLease),
      cancel: () => void this.#link.call("cancelLease", lease).catch(() => undefined),
    };
  }

  async complete(partition: number, ids: readonly string[], deadline: number): Promise<undefined> {
    await this.#link.call("complete", this.name, partition, ids, deadline);
  }

  retry(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
  ): Promise<readonly number[]> {
    return this.#link.call("retry", this.name, partition, items, deadline);
  }

  async release(
    partition: number,
    items: readonly RetryItem[],
    deadline: number,
  ): Promise<undefined> {
    await this.#link.call("release", this.name, partition, items, deadline);
  }

  giveBack(partition: number, ids: readonly string[]): void {
    this.#link.call("giveBack", this.name, partition, ids).catch(() => undefined);
  }

  stats(): Promise<QueueStats> {
    return this.#link.call("stats", this.name);
  }

  clear(options: ClearOptions): Promise<void> {
    return this.#link.call("clear", this.name, options);
  }

  reload(): Promise<void> {
    return this.#link.call("reload", this.name);
  }

  async list(
    partition: number,
    { isGone, ...options }: PageOptions,
  ): Promise<readonly ListedItem[]> {
    if (isGone?.() === true) return [];
    return unpackItems(await this.#link.call("list", this.name, partition, options));
  }

  async import(
    partition: number,
    items: readonly ImportedItem[],
  ): Promise<readonly ImportResult[]> {
    const records = packRecords(items.map(({ record }) => record));
    const rest = items.map(({ record: _, ...each }) => each);
    const result = await this.#link.call("import", this.name, partition, rest, records);
    return unpackItems(result).map((item, i) => ({ ...item, status: result.statuses[i]! }));
  }

  delete(partition: number, ids: readonly string[]): Promise<readonly string[]> {
    return this.#link.call("delete", this.name, partition, ids);
  }

  pause(): Promise<void> {
    return this.#link.call("pause", this.name);
  }

  resume(): Promise<void> {
    return this.#link.call("resume", this.name);
  }

  configure(rules: QueueRules): Promise<void> {
    return this.#link.call("configure", this.name, rules);
  }

  get deadQueue(): DeadQueue {
    return {
      deadStorage: undefined,
      deliver: async (letters) => {
        const sourceIds = letters.map(({ sourceId }) => sourceId);
        const records = packRecords(letters.map(({ record }) => record));
        await this.#link.call("deliver", this.name, sourceIds, records);
      },
    };
  }
}

function unpackLease({ partition, idPrefix, deadline, ...packed }: PackedLease): Leased {
  const records = unpackRecords(packed.records);
  const items = records.map((record, i) => {
    const item = new Item(record, 0);
    item.seq = packed.seqs[i]!;
    item.attempts = packed.attempts[i]!;
    return item;
  });
  return { partition, ids: new IdSpace(idPrefix), deadline, items, records };
}

function unpackItems({ items, records }: PackedItems): readonly ListedItem[] {
  const unpacked = unpackRecords(records);
  return items.map((item, i) => ({ ...item, record: unpacked[i]! }));
}
