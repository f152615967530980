// The statistics of a queue as they go out, and what their fields mean: /v2 says what has become of items
// beside what /v1 says.

import type {
  DroppedItemsSchema,
  QueueRatesSchema,
  QueueTimesSchema,
  QueueTotalsSchema,
} from "../codec/gen/querator/v2/queue_pb.ts";
import type { Encodable } from "../codec/message.ts";
import { formatDuration } from "../duration.ts";
import { type QueueStats, type Rates, sumOfCounts, type Times } from "../queue/queue.ts";
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
  { partitions, measured }: QueueStats,
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
    rates: toRates(measured.rates),
    waitTime: measured.wait && toTimes(measured.wait),
    runTime: measured.run && toTimes(measured.run),
  };
}

// A thousandth of an item a second is one in a quarter of an hour: nobody means to see less of a minute.
function toRates(rates: Rates): Encodable<typeof QueueRatesSchema> {
  const rounded = Object.entries(rates).map(([what, rate]) => [what, Math.round(rate * 1e3) / 1e3]);
  return Object.fromEntries(rounded) as Record<keyof Rates, number>;
}

function toTimes({ count, p50, p90, p95, p99, max }: Times): Encodable<typeof QueueTimesSchema> {
  return {
    count,
    p50: formatDuration(p50),
    p90: formatDuration(p90),
    p95: formatDuration(p95),
    p99: formatDuration(p99),
    max: formatDuration(max),
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
    waiting: told("Items that wait to be leased."),
    scheduled: told("Items that wait for their time."),
    leased: told("Items that are leased."),
    held: told("Items that their group holds back: none in this version."),
    kept: told("Ended items of which is kept what became of them."),
    oldest_age: {
      text: "The time since the item was produced that is leased next, a duration: of several partitions the longest. Left out if none waits, or storage cannot tell.",
      reply: { pattern: SIGNED_DURATION_PATTERN },
    },
    counts: { text: "What has become of items.", required: "reply" },
    rates: {
      text: "How many a second: of the last minute, or since the server has started or the queue was made, if that was later.",
      required: "reply",
    },
    wait_time: {
      text: "How long items could have been leased before they were: of the last five minutes, since the server has started. Left out if nothing was leased.",
    },
    run_time: {
      text: "How long leases were held that consumers have ended by complete, retry or reject: of the last five minutes, since the server has started. Left out if there was none.",
    },
  },
  QueueRates: {
    produced: rate("Taken in from producers, or imported."),
    leased: rate("Leases of items."),
    completed: rate("Completed."),
    retried: rate("Given back after an attempt."),
    released: rate("Given back without counting the attempt."),
    extended: rate("Extensions of leases."),
    lease_ends: rate("Leases that ended by themselves."),
    cancelled: rate("Cancelled."),
    deduplicated: rate("Produced, and found to be there already."),
    deleted: rate("Deleted by queue.clear or items.delete."),
    received: rate("Taken in from other queues."),
    moved: rate("Given to other queues."),
    dead: rate("Dead, for whatever reason."),
  },
  QueueTimes: {
    count: { ...count("How many there were."), required: "reply" },
    p50: duration(
      "Half of them took no longer, a duration; as the others at most 12.5 % or 64µs too high, and never too low.",
    ),
    p90: duration("Nine out of ten took no longer."),
    p95: duration("95 out of a hundred took no longer."),
    p99: duration("99 out of a hundred took no longer."),
    max: duration("The longest, to the microsecond."),
  },
  QueueCounts: {
    produced: told("Taken in from producers, or imported."),
    leased: told("Leases of items."),
    completed: told("Completed."),
    retried: told("Given back after an attempt, to be tried again."),
    released: told("Given back without counting the attempt."),
    extended: told("Extensions of leases."),
    lease_ends: told("Leases that ended by themselves, whatever became of their items."),
    cancelled: told("Cancelled."),
    deduplicated: told("Produced, and found to be there already."),
    deleted: told("Deleted by queue.clear or items.delete."),
    received: told(
      "Taken in from other queues, dead letters among them; also what a version that did not count has left.",
    ),
    moved: told("Given to other queues, dead letters among them."),
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

// A number that is there also where it is 0.
function told(text: string): FieldNote {
  return { ...count(text), required: "reply" };
}

function rate(text: string): FieldNote {
  return { text, required: "reply", reply: { minimum: 0 } };
}

function duration(text: string): FieldNote {
  return { text, required: "reply", reply: { pattern: SIGNED_DURATION_PATTERN } };
}
