// The statistics of a queue, as the server counts them.

import { fromText } from "./duration.ts";

/**
 * Items that the server deleted although nobody had completed them, as there was no dead queue: ever since
 * the queue was made, by why. All are 0 with a server that does not count them.
 */
export interface DroppedItems {
  /** Leased `maxAttempts` times. */
  readonly attempts: number;
  /** Not completed within `expireTimeout`. */
  readonly expired: number;
  /** Given up by their consumer. */
  readonly rejected: number;
}

export interface PartitionStats {
  readonly partition: number;
  /** Items that wait or are leased. */
  readonly total: number;
  readonly totalLeased: number;
  readonly scheduled: number;
  /** Above 0 while the partition's storage fails. */
  readonly failures: number;
  readonly averageAgeMs: number;
  readonly averageLeasedAgeMs: number;
  readonly dropped: DroppedItems;
}

export interface LogicalQueueStats {
  readonly produceWaiting: number;
  readonly leaseWaiting: number;
  readonly completeWaiting: number;
  readonly inFlight: number;
  readonly partitions: readonly PartitionStats[];
}

/** What has become of items ever since their queue was made. */
export interface QueueCounts {
  /** Taken in from producers, or imported. */
  readonly produced: number;
  /** Leases of items. */
  readonly leased: number;
  readonly completed: number;
  /** Given back after an attempt, to be tried again. */
  readonly retried: number;
  /** Given back without counting the attempt. */
  readonly released: number;
  readonly extended: number;
  /** Leases that ended by themselves. */
  readonly leaseEnds: number;
  readonly cancelled: number;
  /** Produced, and found to be there already. */
  readonly deduplicated: number;
  /** By `clear`, or one by one. */
  readonly deleted: number;
  /** Taken in from other queues, dead letters among them. */
  readonly received: number;
  /** Given to other queues, dead letters among them. */
  readonly moved: number;
  /** Dead, by why, wherever they went. */
  readonly dead: DroppedItems;
}

/** How many a second, of the last minute, or since the server has started if that was later. */
export interface QueueRates {
  readonly produced: number;
  readonly leased: number;
  readonly completed: number;
  readonly retried: number;
  readonly released: number;
  readonly extended: number;
  readonly leaseEnds: number;
  readonly cancelled: number;
  readonly deduplicated: number;
  readonly deleted: number;
  readonly received: number;
  readonly moved: number;
  /** For whatever reason. */
  readonly dead: number;
}

/** Percentiles of the last five minutes: so many took no longer. Never too low, and at most 12.5 % too high. */
export interface QueueTimes {
  /** How many there were. */
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** A queue in numbers: its items by their state, and what has become of others. */
export interface QueueTotals {
  readonly waiting: number;
  readonly scheduled: number;
  readonly leased: number;
  /** Held back by their group. */
  readonly held: number;
  /** Ended items of which is kept what became of them. */
  readonly kept: number;
  /** How long ago the item was produced that is leased next; undefined if none waits, or it is not known. */
  readonly oldestAgeMs: number | undefined;
  /** Undefined with a server that does not count. */
  readonly counts: QueueCounts | undefined;
  /** Undefined with a server that does not measure. */
  readonly rates: QueueRates | undefined;
  /** From when items could be leased to their leases; undefined if nothing was leased of late. */
  readonly waitTime: QueueTimes | undefined;
  /** From leases to their ends by complete, retry or reject; undefined if none was ended of late. */
  readonly runTime: QueueTimes | undefined;
}

export interface QueueStats {
  readonly queueName: string;
  readonly totals: QueueTotals;
  readonly logicalQueues: readonly LogicalQueueStats[];
  /** Sums over all partitions. */
  readonly total: number;
  readonly totalLeased: number;
  readonly scheduled: number;
  readonly dropped: DroppedItems;
}

interface WirePartitionStats {
  readonly partition?: number;
  readonly total?: number;
  readonly total_leased?: number;
  readonly scheduled?: number;
  readonly failures?: number;
  readonly average_age?: string;
  readonly average_leased_age?: string;
  readonly dropped?: Partial<DroppedItems>;
}

interface WireCounts {
  readonly produced?: number;
  readonly leased?: number;
  readonly completed?: number;
  readonly retried?: number;
  readonly released?: number;
  readonly extended?: number;
  readonly lease_ends?: number;
  readonly cancelled?: number;
  readonly deduplicated?: number;
  readonly deleted?: number;
  readonly received?: number;
  readonly moved?: number;
  readonly dead?: Partial<DroppedItems>;
}

type WireRates = Omit<WireCounts, "dead"> & { readonly dead?: number };

interface WireTimes {
  readonly count?: number;
  readonly p50?: string;
  readonly p90?: string;
  readonly p95?: string;
  readonly p99?: string;
  readonly max?: string;
}

interface WireTotals {
  readonly waiting?: number;
  readonly scheduled?: number;
  readonly leased?: number;
  readonly held?: number;
  readonly kept?: number;
  readonly oldest_age?: string;
  readonly counts?: WireCounts;
  readonly rates?: WireRates;
  readonly wait_time?: WireTimes;
  readonly run_time?: WireTimes;
}

export interface WireStats {
  readonly totals?: WireTotals;
  readonly logical_queues?: readonly {
    readonly produce_waiting?: number;
    readonly lease_waiting?: number;
    readonly complete_waiting?: number;
    readonly in_flight?: number;
    readonly partitions?: readonly WirePartitionStats[];
  }[];
}

export interface WireStatsOfSeveral {
  readonly queues?: readonly (WireStats & {
    readonly queue_name?: string;
    readonly code?: string;
  })[];
}

export function decodeStatsOfSeveral({ queues = [] }: WireStatsOfSeveral): readonly QueueStats[] {
  return queues
    .filter(({ code = "" }) => code === "")
    .map((each) => decodeStats(each.queue_name ?? "", each));
}

export function decodeStats(
  queueName: string,
  { logical_queues: logical = [], totals }: WireStats,
): QueueStats {
  const queues = logical.map((each) => ({
    produceWaiting: each.produce_waiting ?? 0,
    leaseWaiting: each.lease_waiting ?? 0,
    completeWaiting: each.complete_waiting ?? 0,
    inFlight: each.in_flight ?? 0,
    partitions: (each.partitions ?? []).map(decodePartition),
  }));
  const all = queues.flatMap(({ partitions }) => partitions);
  const sum = (pick: (stats: PartitionStats) => number): number =>
    all.reduce((total, each) => total + pick(each), 0);
  const [total, totalLeased] = [sum((stats) => stats.total), sum((stats) => stats.totalLeased)];
  const scheduled = sum((stats) => stats.scheduled);
  return {
    queueName,
    // A server that tells no totals tells the same of each partition.
    totals: decodeTotals(
      totals ?? { waiting: total - totalLeased, leased: totalLeased, scheduled },
    ),
    logicalQueues: queues,
    total,
    totalLeased,
    scheduled,
    dropped: {
      attempts: sum(({ dropped }) => dropped.attempts),
      expired: sum(({ dropped }) => dropped.expired),
      rejected: sum(({ dropped }) => dropped.rejected),
    },
  };
}

function decodeTotals(wire: WireTotals): QueueTotals {
  const { oldest_age: oldestAge, counts, rates, wait_time: waitTime, run_time: runTime } = wire;
  return {
    waiting: wire.waiting ?? 0,
    scheduled: wire.scheduled ?? 0,
    leased: wire.leased ?? 0,
    held: wire.held ?? 0,
    kept: wire.kept ?? 0,
    oldestAgeMs: oldestAge === undefined ? undefined : fromText(oldestAge),
    counts: counts && decodeCounts(counts),
    rates: rates && decodeRates(rates),
    waitTime: waitTime && decodeTimes(waitTime),
    runTime: runTime && decodeTimes(runTime),
  };
}

function decodeRates(wire: WireRates): QueueRates {
  return { ...decodeNumbers(wire), dead: wire.dead ?? 0 };
}

function decodeTimes(wire: WireTimes): QueueTimes {
  return {
    count: wire.count ?? 0,
    p50Ms: fromText(wire.p50 ?? ""),
    p90Ms: fromText(wire.p90 ?? ""),
    p95Ms: fromText(wire.p95 ?? ""),
    p99Ms: fromText(wire.p99 ?? ""),
    maxMs: fromText(wire.max ?? ""),
  };
}

function decodeCounts(wire: WireCounts): QueueCounts {
  return { ...decodeNumbers(wire), dead: { attempts: 0, expired: 0, rejected: 0, ...wire.dead } };
}

// What is told of counts and of rates alike.
function decodeNumbers(wire: Omit<WireCounts, "dead">): Omit<QueueCounts, "dead"> {
  return {
    produced: wire.produced ?? 0,
    leased: wire.leased ?? 0,
    completed: wire.completed ?? 0,
    retried: wire.retried ?? 0,
    released: wire.released ?? 0,
    extended: wire.extended ?? 0,
    leaseEnds: wire.lease_ends ?? 0,
    cancelled: wire.cancelled ?? 0,
    deduplicated: wire.deduplicated ?? 0,
    deleted: wire.deleted ?? 0,
    received: wire.received ?? 0,
    moved: wire.moved ?? 0,
  };
}

function decodePartition(wire: WirePartitionStats): PartitionStats {
  return {
    partition: wire.partition ?? 0,
    total: wire.total ?? 0,
    totalLeased: wire.total_leased ?? 0,
    scheduled: wire.scheduled ?? 0,
    failures: wire.failures ?? 0,
    averageAgeMs: fromText(wire.average_age ?? ""),
    averageLeasedAgeMs: fromText(wire.average_leased_age ?? ""),
    dropped: { attempts: 0, expired: 0, rejected: 0, ...wire.dropped },
  };
}
