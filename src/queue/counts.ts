// What has become of the items of a partition ever since it was made, in numbers that are committed with
// what they count. To storage they are a list of which it knows nothing; what stands where in it is here.
//
// Nothing appears or disappears without one of them telling it:
//   produced + received = what is there + completed + cancelled + deleted + moved + dropped
// So who puts one item in the place of another counts neither the one that comes nor the one that goes.

import type { Counters, DropReason } from "../storage/storage.ts";
import { sizeIn, withSize } from "./attributes.ts";
import type { Item } from "./item.ts";

/** Places in `Counters.counts`. They lie in storage: a place is never given to anything else. */
export const COUNT = {
  /** By producers, and imports. */
  produced: 0,
  /** From other queues. What was there before anything was counted is among them. */
  received: 1,
  leased: 2,
  completed: 3,
  /** Back after an attempt, as the consumer has asked; what died by it is not among them. */
  retried: 4,
  /** Back without having counted an attempt. */
  released: 5,
  extended: 6,
  /** Leases that nobody ended, whatever became of their items. */
  leaseEnds: 7,
  cancelled: 8,
  /** Produced, and there already. */
  deduplicated: 9,
  /** By clear, or one by one. */
  deleted: 10,
  /** To other queues, dead letters among them. */
  moved: 11,
  /** Dead, by why, wherever they went. */
  deadAttempts: 12,
  deadExpired: 13,
  deadRejected: 14,
  /** Ended ones of which is kept what became of them: these are there now. */
  kept: 15,
  /** Bytes of what is there now: only in a namespace that has an account. */
  bytes: 16,
} as const;

type Name = keyof typeof COUNT;

/** One of these places. */
export type Counted = (typeof COUNT)[Name];

/** Where it is counted that something died. */
export const DEAD: Readonly<Record<DropReason, Counted>> = {
  attempts: COUNT.deadAttempts,
  expired: COUNT.deadExpired,
  rejected: COUNT.deadRejected,
};

const NAMES = Object.keys(COUNT) as Name[];

/** How many places there are. */
export const COUNTS = NAMES.length;

/** The same numbers to be written to, with a place for all there is. What this version does not know stays. */
export function copyOfCounts(counts: readonly number[]): number[] {
  const copy = counts.slice();
  while (copy.length < NAMES.length) copy.push(0);
  return copy;
}

/** The numbers of a partition as it was read. One that an earlier version has left has been counted by nobody. */
export function countsOf({ counts, total, scheduled, held, dropped }: Counters): readonly number[] {
  if (counts.length > 0) return counts;
  const { attempts, expired, rejected } = dropped;
  const received = total + scheduled + held + attempts + expired + rejected;
  if (received === 0) return counts;
  const first = copyOfCounts(counts);
  first[COUNT.received] = received;
  first[COUNT.deadAttempts] = attempts;
  first[COUNT.deadExpired] = expired;
  first[COUNT.deadRejected] = rejected;
  return first;
}

/**
 * From which numbers on it is counted, now that a partition was read again: what storage has lost of what was
 * told, as a power cut may take it, must not show as less.
 */
export function goneBack(
  from: readonly number[],
  known: readonly number[],
  read: readonly number[],
): readonly number[] {
  const base = copyOfCounts(from);
  for (let what = 0; what < base.length; what++) {
    base[what]! -= Math.max((known[what] ?? 0) - (read[what] ?? 0), 0);
  }
  return base;
}

/** By what they count. */
export type Counts = Readonly<Record<Name, number>>;

/** The sums over partitions, by what they count. */
export function sumOfCounts(all: readonly (readonly number[])[]): Counts {
  const sum = (name: Name): number => all.reduce((n, counts) => n + (counts[COUNT[name]] ?? 0), 0);
  return Object.fromEntries(NAMES.map((name) => [name, sum(name)])) as Record<Name, number>;
}

/** What a batch counts in one partition: kept if it is committed, and only then. */
export class PlannedCounts {
  readonly #counters: Pick<Counters, "counts">;
  readonly #weighs: boolean;
  // What replaces the counts with the first thing that is counted.
  #counts: number[] | undefined;

  /** `weighs`: whether bytes are counted. */
  constructor(counters: Pick<Counters, "counts">, weighs = false) {
    this.#counters = counters;
    this.#weighs = weighs;
  }

  /** Counts the bytes of an item that comes; it says from now on how many they are. */
  weigh(item: Item): void {
    if (!this.#weighs) return;
    const { size } = item.record;
    item.attributes = withSize(item.attributes, size);
    this.add(COUNT.bytes, size);
  }

  /** The bytes of one that goes count no more. */
  unweigh({ attributes }: Pick<Item, "attributes">): void {
    if (this.#weighs) this.add(COUNT.bytes, -sizeIn(attributes));
  }

  add(what: Counted, n: number): void {
    if (this.#counts === undefined) {
      this.#counts = copyOfCounts(this.#counters.counts);
      this.#counters.counts = this.#counts;
    }
    this.#counts[what]! += n;
  }
}
