// The statistics of a queue as they go out, and what their fields mean: /v2 says what was dropped beside
// what /v1 says.

import type { DroppedItemsSchema } from "../codec/gen/querator/v2/queue_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { formatDuration } from "../duration.ts";
import type { QueueStats } from "../queue/queue.ts";
import type { Dropped } from "../storage/storage.ts";
import {
  count,
  type FieldNote,
  type Notes,
  PARTITION,
  QUEUE_NAME,
  SIGNED_DURATION_PATTERN,
} from "./openapi/fields.ts";

const INT32_MAX = 2 ** 31 - 1;

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

/** Those of /v2. */
export function logicalStatsV2(stats: QueueStats) {
  const { partitions, ...logical } = logicalStats(stats);
  const drops = stats.partitions.map(({ dropped }) => dropped);
  return {
    ...logical,
    partitions: partitions.map((each, i) => ({ ...each, dropped: toDropped([drops[i]!]) })),
    dropped: toDropped(drops),
  };
}

// The sum, or nothing if none was dropped.
function toDropped(drops: readonly Dropped[]): Encodable<typeof DroppedItemsSchema> | undefined {
  const sum = (reason: keyof Dropped): number =>
    Math.min(
      drops.reduce((count, each) => count + each[reason], 0),
      INT32_MAX,
    );
  const dropped = { attempts: sum("attempts"), expired: sum("expired"), rejected: sum("rejected") };
  return dropped.attempts + dropped.expired + dropped.rejected === 0 ? undefined : dropped;
}

const RESPONSE = {
  queue_name: QUEUE_NAME,
  logicalQueues: {
    text: "The loops of the queue: one in this version.",
    required: "reply",
    reply: { minItems: 1 },
  },
} satisfies Notes[string];

const LOGICAL_STATS: Notes[string] = {
  produce_waiting: count("Produce requests that wait."),
  lease_waiting: count("Lease requests that wait for items."),
  complete_waiting: count("Complete and retry requests that wait."),
  in_flight: count("Produce, lease, complete and retry requests that are not answered."),
  partitions: { text: "In order of their numbers.", required: "reply", reply: { minItems: 1 } },
};
const PARTITION_STATS: Notes[string] = {
  partition: PARTITION,
  total: count("Items, leased ones included, scheduled ones not."),
  total_leased: count("Leased items."),
  failures: count("Failures of its storage in a row; 0 if it works."),
  average_age: duration("The mean time since its items were produced, a duration."),
  average_leased_age: duration("The mean time since its leases began, a duration."),
  scheduled: count("Scheduled items."),
};

/** What the fields of the replies mean. */
export const STATS_NOTES: Notes = {
  QueueStatsResponse: RESPONSE,
  QueueLogicalStats: LOGICAL_STATS,
  QueuePartitionStats: PARTITION_STATS,
  "v2.QueueStatsResponse": { queue_name: QUEUE_NAME, logical_queues: RESPONSE.logicalQueues },
  "v2.QueueLogicalStats": {
    ...LOGICAL_STATS,
    dropped: { text: "The sum over all partitions; left out if nothing was dropped." },
  },
  "v2.QueuePartitionStats": {
    ...PARTITION_STATS,
    dropped: { text: "Of this partition; left out if nothing was dropped." },
  },
  DroppedItems: {
    attempts: count("Deleted after max_attempts leases, as there was no dead queue."),
    expired: count("Deleted as they expired, and there was no dead queue."),
    rejected: count("Deleted as their consumer gave them up, and there was no dead queue."),
  },
};

function duration(text: string): FieldNote {
  return { text, required: "reply", reply: { pattern: SIGNED_DURATION_PATTERN } };
}
