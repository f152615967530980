// A queue in numbers that its loop keeps anyway, for whoever collects numbers again and again: told at once, without
// asking storage. What was counted counts from the start of the server, or from when the queue was made, and never goes back.

import { MINUTE, SECOND } from "../clock.ts";
import { COUNT, COUNTS, type Counts, sumOfCounts } from "./counts.ts";
import type { Loop } from "./loop.ts";
import type { Rates } from "./measures.ts";
import type { Times } from "./time-histogram.ts";

// What waits should be gone after this time, with as many consumers as are told to be needed.
const CATCH_UP = MINUTE;

const DEAD = [COUNT.deadAttempts, COUNT.deadExpired, COUNT.deadRejected] as const;

/** What there is now, in items unless it says otherwise. */
export interface Gauges {
  readonly waiting: number;
  readonly leased: number;
  readonly scheduled: number;
  readonly held: number;
  readonly kept: number;
  /** Those that wait and are in memory. */
  readonly ready: number;
  /** Lease requests that wait for items. */
  readonly consumersWaiting: number;
  /** Requests that are not answered. */
  readonly inFlight: number;
  readonly partitions: number;
  readonly failing: number;
}

/** A queue in numbers. */
export interface QueueFigures {
  readonly gauges: Gauges;
  /** Since when the item is there that is leased next, in wall time; 0 if none waits or it is not known. */
  readonly oldestAt: number;
  /** When anybody asked last for its items, in wall time; 0 for never since `knownSince`. */
  readonly askedAt: number;
  readonly knownSince: number;
  /** How many of its items have died ever since it was made. */
  readonly deadEver: number;
  /** By their places; see counts.ts. */
  readonly counts: readonly number[];
}

/** What is told of a queue beside that, where it is told of one. */
export interface QueueDetail {
  readonly wait: TimesEver;
  readonly run: TimesEver;
  readonly consumersNeeded: number;
}

/** Of the last five minutes, and ever since the start; in microseconds. */
export interface TimesEver {
  readonly recent: Times | undefined;
  readonly count: number;
  readonly sum: number;
}

/** The numbers of a queue. Asked of thousands of queues in a row: one pass, and few objects. */
export function figuresOf({
  partitions,
  consumers,
  counts: { lease, inFlight },
}: Loop): QueueFigures {
  const counts = new Array<number>(COUNTS).fill(0);
  let [waiting, leased, scheduled, held, kept, ready, failing, oldestAt] = [0, 0, 0, 0, 0, 0, 0, 0];
  let deadEver = 0;
  for (const partition of partitions) {
    const { counters, knownNextAt } = partition;
    waiting += partition.unleased;
    leased += partition.leased.size;
    scheduled += counters.scheduled;
    held += counters.held;
    kept += counters.counts[COUNT.kept] ?? 0;
    ready += partition.readyCount;
    if (partition.failures > 0) failing++;
    if (knownNextAt !== 0 && (oldestAt === 0 || knownNextAt < oldestAt)) oldestAt = knownNextAt;
    for (const what of DEAD) deadEver += counters.counts[what] ?? 0;
    partition.addCountsTo(counts);
  }
  const now = { waiting, leased, scheduled, held, kept, ready };
  const gauges = {
    ...now,
    consumersWaiting: lease,
    inFlight,
    partitions: partitions.length,
    failing,
  };
  const { lastAt: askedAt, since: knownSince } = consumers;
  return { gauges, oldestAt, askedAt, knownSince, deadEver, counts };
}

/** What is told of a single queue. */
export function detailOf(loop: Loop, steady: number): QueueDetail {
  const { wait, run } = loop.measures;
  const { rates } = loop.measures.tell(steady);
  const { waiting, leased } = figuresOf(loop).gauges;
  return {
    wait: { recent: wait.times(steady), ...wait.ever },
    run: { recent: run.times(steady), ...run.ever },
    consumersNeeded: consumersNeeded({ waiting, leased, rates, runTime: run.mean(steady) }),
  };
}

/**
 * How many consumers, each with one item at a time, keep up with what comes, and work off within a minute what
 * waits: what has to be done in a second times how long an item takes of late. As long as that is not known, one.
 */
export function consumersNeeded(of: {
  readonly waiting: number;
  readonly leased: number;
  readonly rates: Pick<Rates, "produced" | "received">;
  readonly runTime: number | undefined;
}): number {
  const { waiting, leased, rates, runTime } = of;
  const least = waiting + leased > 0 ? 1 : 0;
  if (runTime === undefined) return least;
  const perSecond = rates.produced + rates.received + waiting / (CATCH_UP / SECOND);
  return Math.max(least, Math.ceil((perSecond * runTime) / SECOND));
}

/** The same by what they count. */
export function namedCounts(counts: readonly number[]): Counts {
  return sumOfCounts([counts]);
}
