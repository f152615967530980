// What it takes to keep how items ended, beside the entries themselves (history.ts): a turn reads the records
// of leased items before its plan ends them, as memory has let go of them; and what is more than a queue is to
// keep goes again, step by step. A queue that keeps nothing has none of this.

import type { ItemRecord, ItemTable, KeyEntry, SeqRange } from "../storage/storage.ts";
import type { Commits } from "./commits.ts";
import type { QueueContext } from "./context.ts";
import { COUNT } from "./counts.ts";
import { keptUntil } from "./history.ts";
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

/** Those of what may end in a turn, as far as they were read, and how they are read. */
export interface EndedRecords {
  readonly records: ReadonlyMap<Partition, Records> | undefined;
  readonly readRecords: () => Promise<ReadonlyMap<Partition, Records>>;
}

/** They are needed if the queue keeps what has ended, which it may have been told only since the turn began. */
export async function recordsOf(
  { records, readRecords }: EndedRecords,
  partitions: readonly Partition[],
): Promise<ReadonlyMap<Partition, Records> | undefined> {
  const isKept = partitions.some(({ keeping }) => keeping !== undefined);
  return records === undefined && isKept ? readRecords() : records;
}

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

/** Whether it keeps what has ended, or did and something of that is still there. */
export function keepsAny({ keeping, counters }: Partition): boolean {
  return keeping !== undefined || (counters.counts[COUNT.kept] ?? 0) > 0;
}

export class Keeper {
  readonly #context: QueueContext;
  readonly #commits: Commits;
  // As they are written down; those that are missing have not been read.
  readonly #passes = new Map<Partition, Pass>();

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

  /** Whether `trim` has something to do in a partition. */
  hasMore(partition: Partition): boolean {
    const { keeping, counters } = partition;
    if ((counters.counts[COUNT.kept] ?? 0) > (keeping?.max ?? 0)) return true;
    return keeping !== undefined && !isOver(this.#passes.get(partition), keeping.time);
  }

  /**
   * Takes away some of what is more than is to be kept, that of which the time is over before all, then what was
   * produced first: all of it once the queue keeps nothing any more. Then some of what was to be kept for longer than it is now. False if nothing is.
   */
  async trim(partition: Partition, now: number): Promise<boolean> {
    const { keeping, counters, storage, key } = partition;
    const kept = counters.counts[COUNT.kept] ?? 0;
    const max = keeping?.max ?? 0;
    if (kept <= max) return this.#shorten(partition, now);
    const part = new PartitionBatch(partition, now);
    try {
      const limit = Math.min(kept - max, STEP);
      // It is counted until it is swept, and must not take the place of what is still to be kept.
      const over = (await storage.readKeysDue(key, limit)).filter(({ until }) => until <= now);
      const options = { after: "", limit, order: "ascending", bytesMax: PAGE_BYTES } as const;
      part.forget(over.length > 0 ? over : await storage.listKeys(key, KEY.ended, options));
    } catch (error) {
      this.#commits.distrust(partition, error);
      return false;
    }
    // One that was imported again with its id, and has ended twice, was counted twice.
    if (part.removesKey.length === 0) part.tally(COUNT.kept, -kept);
    await this.#commits.commit([part]);
    return true;
  }

  // Goes once through all that is kept, page by page, when the time for which it is has become shorter. How far
  // that is, is written down with each page: it goes on after a restart.
  async #shorten(partition: Partition, now: number): Promise<boolean> {
    const { keeping, storage, key } = partition;
    if (keeping === undefined) return false;
    const { time } = keeping;
    const part = new PartitionBatch(partition, now);
    let last: string | undefined;
    try {
      const pass = this.#passes.get(partition) ?? (await readPass(partition));
      this.#passes.set(partition, pass);
      if (isOver(pass, time)) return false;
      const after = time < pass.time ? "" : pass.after;
      if (after !== undefined) {
        const options = { after, limit: STEP, order: "ascending", bytesMax: PAGE_BYTES } as const;
        const entries = await storage.listKeys(key, KEY.ended, options);
        last = entries.at(-1)?.key;
        const long = entries.flatMap((entry) => {
          const until = keptUntil(entry, keeping);
          return until < entry.until ? { ...entry, until } : [];
        });
        part.forget(long.filter(({ until }) => until <= now));
        for (const entry of long) if (entry.until > now) part.keep(entry);
      }
    } catch (error) {
      this.#commits.distrust(partition, error);
      return false;
    }
    const next = { time, after: last };
    part.put(entryOfPass(next));
    await this.#commits.commit([part]);
    // What could not be written is gone through again.
    this.#passes.set(partition, partition.stale ? UNKNOWN : next);
    return true;
  }
}

/** For how long what has ended was kept when it was gone through last, and behind which id it is still to be. */
interface Pass {
  readonly time: number;
  /** Undefined once it was. */
  readonly after: string | undefined;
}

// Of what an earlier version has kept, or nobody has gone through: it may be kept for any time.
const UNKNOWN: Pass = { time: Number.MAX_SAFE_INTEGER, after: undefined };

const PASS = "pass";

function isOver(pass: Pass | undefined, time: number): boolean {
  return pass?.time === time && pass.after === undefined;
}

async function readPass({ storage, key }: Partition): Promise<Pass> {
  const entry = (await storage.findKeys(key, KEY.keeping, [PASS])).get(PASS);
  return entry === undefined ? UNKNOWN : (JSON.parse(entry.value) as Pass);
}

function entryOfPass(pass: Pass): KeyEntry {
  return { kind: KEY.keeping, key: PASS, seq: 0, until: 0, value: JSON.stringify(pass) };
}
