// What it takes to keep how items ended, beside the entries themselves (history.ts): a turn reads the records
// of leased items before its plan ends them, as memory has let go of them; and what is more than a queue is to
// keep goes again, step by step. A queue that keeps nothing has none of this.

import type { ItemRecord, ItemTable, SeqRange } from "../storage/storage.ts";
import type { Commits } from "./commits.ts";
import type { QueueContext } from "./context.ts";
import { COUNT } from "./counts.ts";
import { KEY } from "./keys.ts";
import { momentOf } from "./lease-ends.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { type ByKind, Kind } from "./requests.ts";
import { toRanges } from "./seq-ranges.ts";

export type Records = ReadonlyMap<number, ItemRecord>;

const PAGE_BYTES = 16 * 1024 * 1024;
// Leases that end by themselves in one turn, and entries that one step takes away.
const STEP = 1_000;

/** Records of items by their numbers; those that are not there are missing. */
export async function readRecords(
  { storage, key }: Partition,
  table: ItemTable,
  seqs: readonly number[],
): Promise<Records> {
  const records = new Map<number, ItemRecord>();
  for (const range of toRanges(seqs)) {
    for (let from = range.first; from <= range.last; ) {
      const items = await storage.readItems(key, table, within(range, from));
      for (const { seq, record } of items) records.set(seq, record);
      from = (items.at(-1)?.seq ?? range.last) + 1;
    }
  }
  return records;
}

function within({ last }: SeqRange, from: number) {
  return { from, before: last + 1, limit: STEP, bytesMax: PAGE_BYTES, records: true };
}

export class Keeper {
  readonly #context: QueueContext;
  readonly #commits: Commits;

  constructor(context: QueueContext, commits: Commits) {
    this.#context = context;
    this.#commits = commits;
  }

  /** The records of what the requests of a turn, or time, may end; of a partition that fails there are none. */
  async read(
    requests: ByKind,
    partitions: readonly Partition[],
  ): Promise<ReadonlyMap<Partition, Records>> {
    const found = new Map<Partition, Records>();
    for (const partition of partitions) {
      if (partition.stale || partition.keeping === undefined) continue;
      const seqs = this.#ending(requests, partition);
      if (seqs.length === 0) continue;
      try {
        found.set(partition, await readRecords(partition, "items", seqs));
      } catch (error) {
        this.#commits.distrust(partition, error);
      }
    }
    return found;
  }

  #ending(requests: ByKind, { number, ids, leased, leaseEnds }: Partition): readonly number[] {
    const seqs = new Set<number>();
    for (const { partition, ids: ending } of requests[Kind.complete]) {
      if (partition !== number) continue;
      for (const id of ending) seqs.add(ids.seq(id));
    }
    // What was cancelled ends whatever is asked.
    for (const { partition, items } of requests[Kind.retry]) {
      if (partition !== number) continue;
      for (const { id } of items) {
        if (leased.get(ids.seq(id))?.note?.cancelled === true) seqs.add(ids.seq(id));
      }
    }
    for (const { seq, note } of leaseEnds.ended(momentOf(this.#context.clock), STEP)) {
      if (note?.cancelled === true) seqs.add(seq);
    }
    return [...seqs].filter((seq) => leased.has(seq));
  }

  /** Takes away some of what is more than is to be kept, what was produced first before all; false if nothing is. */
  async trim(partition: Partition, now: number): Promise<boolean> {
    const { keeping, counters, storage, key } = partition;
    const kept = counters.counts[COUNT.kept] ?? 0;
    if (keeping === undefined || kept <= keeping.max) return false;
    const part = new PartitionBatch(partition, now);
    try {
      const limit = Math.min(kept - keeping.max, STEP);
      const options = { after: "", limit, order: "ascending", bytesMax: PAGE_BYTES } as const;
      part.forget(await storage.listKeys(key, KEY.ended, options));
    } catch (error) {
      this.#commits.distrust(partition, error);
      return false;
    }
    // One that was imported again with its id, and has ended twice, was counted twice.
    if (part.removesKey.length === 0) part.tally(COUNT.kept, -kept);
    await this.#commits.commit([part]);
    return true;
  }
}
