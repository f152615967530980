// The statistics of a queue as they go out: what /v1 and /v2 have in common.

import { formatDuration } from "../duration.ts";
import type { QueueStats } from "../queue/queue.ts";

/** The fields of /v1 for the loop of a queue. */
export function logicalStats(stats: QueueStats) {
  const { produceWaiting, leaseWaiting, completeWaiting, inFlight } = stats;
  return {
    produceWaiting,
    leaseWaiting,
    completeWaiting,
    inFlight,
    partitions: stats.partitions.map((partition, number) => ({
      partition: number,
      total: partition.total,
      totalLeased: partition.leased,
      failures: partition.failures,
      averageAge: formatDuration(partition.averageAge),
      averageLeasedAge: formatDuration(partition.averageLeasedAge),
      scheduled: partition.scheduled,
    })),
  };
}
