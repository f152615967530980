// The statistics of a queue as they go out, and what their fields mean: /v2 says what has become of items
// beside what /v1 says.

import type { DroppedItemsSchema, QueueTotalsSchema } from "../codec/gen/querator/v2/queue_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { formatDuration } from "../duration.ts";
import { type QueueStats, sumOfCounts } from "../queue/queue.ts";
import { QUEUE_NAME_BYTES_MAX } from "../registry/names.ts";
import type { Dropped } from "../storage/storage.ts";
import {
  count,
  type FieldNote,
  type Notes,
  PARTITION,
  QUEUE_NAME,
  SIGNED_DURATION_PATTERN,
} from "./openapi/fields.ts";

/** How many queues one call may ask for. */
export const STATS_QUEUES_MAX = 100;

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

/** A queue in numbers: the sums over its partitions. */
export function totalsOf(
  { partitions }: QueueStats,
  now: number,
): Encodable<typeof QueueTotalsSchema> {
  const sum = (pick: (partition: QueueStats["partitions"][number]) => number): number =>
    partitions.reduce((total, each) => total + pick(each), 0);
  const { kept, deadAttempts, deadExpired, deadRejected, ...counts } = sumOfCounts(
    partitions.map((each) => each.counts),
  );
  const nexts = partitions.map((each) => each.nextCreatedAt).filter((at) => at !== 0);
  const dead = { attempts: deadAttempts, expired: deadExpired, rejected: deadRejected };
  return {
    waiting: sum(({ total, leased }) => total - leased),
    scheduled: sum(({ scheduled }) => scheduled),
    leased: sum(({ leased }) => leased),
    held: sum(({ held }) => held),
    kept,
    ...(nexts.length === 0
      ? {}
      : { oldestAge: formatDuration(Math.max(now - Math.min(...nexts), 0)) }),
    counts: { ...counts, dead: toDropped([dead]) },
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

const OPTIONAL_NAME: FieldNote = { text: "", request: { maxLength: QUEUE_NAME_BYTES_MAX } };
const LOGICAL_QUEUES: FieldNote = { text: "The loops of the queue: one in this version." };
const TOTALS: FieldNote = { text: "The sums over all partitions." };

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
  "v2.QueueStatsRequest": {
    queue_name: { ...OPTIONAL_NAME, text: `${QUEUE_NAME.text} This or queue_names is needed.` },
    queue_names: {
      text: `Several queues in one call, in place of queue_name; up to ${STATS_QUEUES_MAX}.`,
      request: { maxItems: STATS_QUEUES_MAX },
    },
  },
  "v2.QueueStatsResponse": {
    queue_name: { ...OPTIONAL_NAME, text: "The queue that was asked for by queue_name." },
    logical_queues: LOGICAL_QUEUES,
    totals: TOTALS,
    queues: { text: "Of what was asked for by queue_names: one for each, in their order." },
  },
  QueueStatsOfOne: {
    queue_name: { text: "The queue.", required: "reply" },
    logical_queues: LOGICAL_QUEUES,
    totals: TOTALS,
    code: { text: "Why there is nothing to tell of it: a code as errors have it." },
    detail: { text: "The same for people." },
  },
  QueueTotals: {
    waiting: count("Items that wait to be leased."),
    scheduled: count("Items that wait for their time."),
    leased: count("Items that are leased."),
    held: count("Items that their group holds back: none in this version."),
    kept: count("Ended items of which is kept what became of them."),
    oldest_age: {
      text: "The time since the item was produced that is leased next, a duration: of several partitions the longest. Left out if none waits, or storage cannot tell.",
      reply: { pattern: SIGNED_DURATION_PATTERN },
    },
    counts: { text: "What has become of items.", required: "reply" },
  },
  QueueCounts: {
    produced: count("Taken in from producers, or imported."),
    leased: count("Leases of items."),
    completed: count("Completed."),
    retried: count("Given back after an attempt, to be tried again."),
    released: count("Given back without counting the attempt."),
    extended: count("Extensions of leases."),
    lease_ends: count("Leases that ended by themselves, whatever became of their items."),
    cancelled: count("Cancelled."),
    deduplicated: count("Produced, and found to be there already."),
    deleted: count("Deleted by queue.clear or items.delete."),
    received: count(
      "Taken in from other queues, dead letters among them; also what was there before an earlier version began to count.",
    ),
    moved: count("Given to other queues, dead letters among them."),
    dead: { text: "Dead, by why, wherever they went; left out if none is." },
  },
  "v2.QueueLogicalStats": {
    ...LOGICAL_STATS,
    dropped: {
      text: "Deleted although nobody had completed them, as there was no dead queue: the sum over all partitions; left out if there is none.",
    },
  },
  "v2.QueuePartitionStats": {
    ...PARTITION_STATS,
    dropped: { text: "Of this partition; left out if nothing was dropped." },
  },
  DroppedItems: {
    attempts: count("After max_attempts leases."),
    expired: count("As they expired."),
    rejected: count("As their consumer gave them up."),
  },
};

function duration(text: string): FieldNote {
  return { text, required: "reply", reply: { pattern: SIGNED_DURATION_PATTERN } };
}
