// What a queue holds and does at this moment, in counts, for who looks for what is wrong: no item, no key and no text of a
// client. Told at once, without asking storage, and by a queue that hangs as well.

import { SECOND } from "../clock.ts";
import type { Intake } from "./context.ts";
import type { Errands } from "./errands.ts";
import { nextDue } from "./lifecycle.ts";
import type { Loop } from "./loop.ts";
import type { Holds, Mailbox } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import type { TurnWatch } from "./turn-watch.ts";

// Of a queue at most so many partitions are told: those that fail, and then those that hold most.
const PARTITIONS_MAX = 32;

// A turn that takes longer is something that one looks for.
const LONG_TURN = SECOND;

/** What a loop has to show of itself. */
export interface Doing {
  readonly isClosed: boolean;
  readonly isPaused: boolean;
  readonly isAwake: boolean;
  readonly turn: TurnWatch;
  readonly mailbox: Mailbox;
  readonly errands: Errands;
  readonly lentTo: Intake | undefined;
  readonly restsUntil: number;
  readonly nextAt: number;
}

/** A queue as it is; times that go by in microseconds, 0 of what is not so. */
export interface QueueDump {
  /** The full one. */
  readonly name: string;
  readonly state: string;
  readonly turnTime: number;
  readonly holds: Holds;
  readonly watchers: number;
  /** Queues by their full names; "" for none. */
  readonly waitsFor: string;
  readonly lentTo: string;
  readonly asked: number;
  readonly come: number;
  readonly rests: number;
  readonly redrives: number;
  readonly repeats: number;
  /** In wall time; 0 if it does not look by itself. */
  readonly nextDueAt: number;
  readonly partitions: readonly PartitionDump[];
  readonly partitionsLeftOut: number;
}

export interface PartitionDump {
  readonly partition: number;
  readonly storage: string;
  readonly waiting: number;
  readonly leased: number;
  readonly scheduled: number;
  readonly held: number;
  readonly ready: number;
  readonly readyBytes: number;
  readonly scheduledWindow: number;
  readonly expiryWindow: number;
  readonly behind: number;
  readonly nextDueAt: number;
  readonly failures: number;
  readonly stale: boolean;
  readonly retriesIn: number;
}

/** By what queues are sorted of which there are many: those that something is wrong with, then those that hold most. */
export interface Weight {
  readonly isTroubled: boolean;
  readonly held: number;
}

export function compareWeights(a: Weight, b: Weight): number {
  return Number(b.isTroubled) - Number(a.isTroubled) || b.held - a.held;
}

export function weightOf(loop: Loop): Weight {
  let isTroubled = loop.doing.turn.time > LONG_TURN;
  let held = loop.counts.inFlight;
  for (const partition of loop.partitions) {
    if (partition.failures > 0) isTroubled = true;
    held += heldIn(partition);
  }
  return { isTroubled, held };
}

function heldIn({ counters, unleased, leased }: Partition): number {
  return unleased + leased.size + counters.scheduled + counters.held;
}

export function dumpOf(loop: Loop): QueueDump {
  const { name, partitions, watchers, redrives, repeats, sendsTo } = loop;
  const { turn, mailbox, errands, lentTo, restsUntil, nextAt } = loop.doing;
  const { steady, isStill } = {
    steady: loop.context.clock.steady(),
    isStill: loop.context.clock.isStill,
  };
  const told = partitions.toSorted(
    (a, b) => b.failures - a.failures || heldIn(b) - heldIn(a) || a.number - b.number,
  );
  return {
    name,
    state: stateOf(loop.doing),
    turnTime: turn.time,
    holds: mailbox.holds,
    watchers: watchers.size,
    // It waits for the one for which it stands still as well, until it is given back.
    waitsFor: lentTo === undefined ? (sendsTo?.name ?? "") : "",
    lentTo: lentTo?.name ?? "",
    ...errands.counts,
    rests: Math.max(restsUntil - steady, 0),
    redrives: redrives.running,
    repeats: repeats.underWay,
    nextDueAt: timeOf(nextAt),
    partitions: told
      .slice(0, PARTITIONS_MAX)
      .sort((a, b) => a.number - b.number)
      .map((partition) => partitionDump(partition, steady, isStill)),
    partitionsLeftOut: Math.max(partitions.length - PARTITIONS_MAX, 0),
  };
}

function stateOf({ isClosed, isPaused, isAwake, turn }: Doing): string {
  if (isClosed) return "closed";
  if (turn.phase !== "") return turn.phase;
  if (isPaused) return "paused";
  return isAwake ? "awake" : "idle";
}

function partitionDump(partition: Partition, steady: number, isStill: boolean): PartitionDump {
  const { number, storage, counters, unleased, leased, retryAt } = partition;
  return {
    partition: number,
    storage: storage.name,
    waiting: unleased,
    leased: leased.size,
    scheduled: counters.scheduled,
    held: counters.held,
    ready: partition.readyCount,
    readyBytes: partition.readyBytes,
    scheduledWindow: partition.scheduled.size,
    expiryWindow: partition.expiries.size,
    behind: partition.behind.size,
    nextDueAt: timeOf(nextDue(partition, isStill)),
    failures: partition.failures,
    stale: partition.stale,
    retriesIn: retryAt === 0 ? 0 : Math.max(retryAt - steady, 0),
  };
}

function timeOf(at: number): number {
  return Number.isFinite(at) ? at : 0;
}
