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

export interface QueueStats {
  readonly queueName: string;
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

export interface WireStats {
  readonly logical_queues?: readonly {
    readonly produce_waiting?: number;
    readonly lease_waiting?: number;
    readonly complete_waiting?: number;
    readonly in_flight?: number;
    readonly partitions?: readonly WirePartitionStats[];
  }[];
}

export function decodeStats(
  queueName: string,
  { logical_queues: logical = [] }: WireStats,
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
  return {
    queueName,
    logicalQueues: queues,
    total: sum(({ total }) => total),
    totalLeased: sum(({ totalLeased }) => totalLeased),
    scheduled: sum(({ scheduled }) => scheduled),
    dropped: {
      attempts: sum(({ dropped }) => dropped.attempts),
      expired: sum(({ dropped }) => dropped.expired),
      rejected: sum(({ dropped }) => dropped.rejected),
    },
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
