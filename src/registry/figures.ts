// The queues of a thread in numbers: their sums, and some of them by themselves, those with most to do first.

import type { OctaveTotals } from "../octaves.ts";
import type { Gauges, Queue, QueueDetail, QueueFigures } from "../queue/queue.ts";
import { namespaceOf } from "./names.ts";
import type { ToldTable } from "./queue-table.ts";

/** Which queues are told by themselves. */
export interface WantedFigures {
  /** At most so many: those in which most waits and is leased. */
  readonly top: number;
  /** Of these namespaces; undefined of all. */
  readonly namespaces: readonly string[] | undefined;
  /** These whatever they have, by their full names, as far as they are of those namespaces. */
  readonly names: readonly string[];
  /** Whether storage is not asked for anything, not even for what is to be told the next time. */
  readonly isQuiet?: boolean;
  /** Whether all are told in a table as well. */
  readonly isTable?: boolean;
}

/** Sums over queues, as they travel. */
export interface ToldTotals {
  readonly queues: number;
  readonly gauges: Gauges;
  /** Items in queues that take what is dead in others. */
  readonly dead: number;
  /** How long the item has been there that is so for longest, of those that are leased next; 0 for none. */
  readonly oldestAge: number;
  /** By their places. */
  readonly counts: readonly number[];
}

/** A queue by itself. */
export interface NamedFigures extends QueueFigures, QueueDetail {
  readonly name: string;
}

/** A thread in numbers, as far as queues go. */
export interface HomeFigures {
  readonly totals: ToldTotals;
  readonly readyBytes: number;
  readonly times: Readonly<Record<"turn" | "wait" | "run", OctaveTotals>>;
  readonly commits: readonly CommitFigures[];
  readonly queues: readonly NamedFigures[];
  /** Of all queues, if it was asked for. */
  readonly table?: ToldTable;
}

/** What was committed to a storage. */
export interface CommitFigures {
  readonly storage: string;
  readonly times: OctaveTotals;
  readonly sizes: OctaveTotals;
  readonly failures: number;
}

/** A queue and its numbers. */
export interface QueueWithFigures {
  readonly queue: Queue;
  readonly figures: QueueFigures;
}

type Sums = { -readonly [K in keyof Gauges]: number };

const NOTHING: Gauges = {
  waiting: 0,
  leased: 0,
  scheduled: 0,
  held: 0,
  kept: 0,
  ready: 0,
  consumersWaiting: 0,
  inFlight: 0,
  partitions: 0,
  failing: 0,
};

/** Sums that are being made. */
export class Totals {
  readonly #gauges: Sums = { ...NOTHING };
  #counts: number[] = [];
  #queues = 0;
  #dead = 0;
  #oldestAt = 0;

  /** Adds the counts of something else. */
  addCounts(counts: readonly number[]): void {
    for (let what = 0; what < counts.length; what++) {
      this.#counts[what] = (this.#counts[what] ?? 0) + counts[what]!;
    }
  }

  add(other: Totals): void {
    this.addCounts(other.#counts);
  }

  /** Adds queues, of which some take what is dead; answers them with their numbers. */
  addQueues(queues: Iterable<Queue>, takeDead: ReadonlySet<string>): readonly QueueWithFigures[] {
    const all: QueueWithFigures[] = [];
    const names = Object.keys(NOTHING) as (keyof Gauges)[];
    for (const queue of queues) {
      const figures = queue.figures();
      const { gauges, oldestAt, counts } = figures;
      all.push({ queue, figures });
      this.#queues++;
      for (const name of names) this.#gauges[name] += gauges[name];
      this.addCounts(counts);
      if (takeDead.has(queue.name)) {
        this.#dead += gauges.waiting + gauges.leased + gauges.scheduled + gauges.held;
      }
      if (oldestAt !== 0 && (this.#oldestAt === 0 || oldestAt < this.#oldestAt)) {
        this.#oldestAt = oldestAt;
      }
    }
    return all;
  }

  /** As they are at this wall time. */
  told(now: number): ToldTotals {
    return {
      queues: this.#queues,
      gauges: { ...this.#gauges },
      dead: this.#dead,
      oldestAge: this.#oldestAt === 0 ? 0 : Math.max(now - this.#oldestAt, 0),
      counts: this.#counts,
    };
  }
}

/** Which of them are wanted by themselves. */
export function pick(
  all: readonly QueueWithFigures[],
  { top, namespaces, names }: WantedFigures,
): readonly QueueWithFigures[] {
  const seen = namespaces && new Set(namespaces);
  const may = ({ queue }: QueueWithFigures): boolean =>
    seen === undefined || seen.has(namespaceOf(queue.name));
  if (top === 0) {
    if (names.length === 0) return [];
    const named = new Set(names);
    return all.filter((each) => named.has(each.queue.name) && may(each));
  }
  const sorted = all.filter(may).sort((a, b) => busier(a, b));
  return sorted.slice(0, top);
}

function busier(a: QueueWithFigures, b: QueueWithFigures): number {
  return compareLoad({ name: a.queue.name, ...a.figures }, { name: b.queue.name, ...b.figures });
}

/** Sorts those first in which most waits and is leased; of several alike, by their names. */
export function compareLoad(
  a: Pick<NamedFigures, "name" | "gauges">,
  b: Pick<NamedFigures, "name" | "gauges">,
): number {
  const load = ({ gauges }: Pick<NamedFigures, "gauges">): number => gauges.waiting + gauges.leased;
  return load(b) - load(a) || (a.name < b.name ? -1 : 1);
}
