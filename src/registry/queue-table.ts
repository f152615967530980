// All queues of a thread in few numbers each, as one block: it is made, sent to another thread and read for thousands
// of queues without an object for any of them.

import { COUNT, type QueueFigures } from "../queue/queue.ts";

/** What is told of each queue. Times are wall times, in microseconds; what is counted counts from the start of the server. */
const COLUMNS = [
  "waiting",
  "leased",
  "scheduled",
  "held",
  "partitions",
  "failing",
  "consumersWaiting",
  "oldestAt",
  "askedAt",
  "knownSince",
  "in",
  "out",
  "produced",
  "ended",
  "leases",
  "retried",
  "leaseEnds",
  "deadAttempts",
  "deadExpired",
  "deadRejected",
  "deadEver",
] as const;

export type Column = (typeof COLUMNS)[number];

const WIDTH = COLUMNS.length;
const PLACES = Object.fromEntries(COLUMNS.map((name, place) => [name, place])) as Readonly<
  Record<Column, number>
>;

/** As it travels. */
export interface ToldTable {
  /** Full names. */
  readonly names: readonly string[];
  readonly numbers: Float64Array;
}

/** Puts queues into a table. */
export function tellTable(
  queues: readonly { readonly name: string; readonly figures: QueueFigures }[],
): ToldTable {
  const numbers = new Float64Array(queues.length * WIDTH);
  for (const [row, { figures }] of queues.entries()) {
    const { gauges, oldestAt, counts, askedAt, knownSince, deadEver } = figures;
    const counted = (what: keyof typeof COUNT): number => counts[COUNT[what]] ?? 0;
    const ended = counted("completed") + counted("cancelled") + counted("deleted");
    let at = row * WIDTH;
    const put = (value: number): void => {
      numbers[at++] = value;
    };
    // In the order of the columns.
    put(gauges.waiting);
    put(gauges.leased);
    put(gauges.scheduled);
    put(gauges.held);
    put(gauges.partitions);
    put(gauges.failing);
    put(gauges.consumersWaiting);
    put(oldestAt);
    put(askedAt);
    put(knownSince);
    put(counted("produced") + counted("received"));
    put(ended + counted("moved"));
    put(counted("produced"));
    put(ended);
    put(counted("leased"));
    put(counted("retried"));
    put(counted("leaseEnds"));
    put(counted("deadAttempts"));
    put(counted("deadExpired"));
    put(counted("deadRejected"));
    put(deadEver);
  }
  return { names: queues.map(({ name }) => name), numbers };
}

/** The tables of all threads as one. */
export class QueueTable {
  /** Full names, in the order of the rows. */
  readonly names: readonly string[];
  readonly #numbers: Float64Array;
  // Rows by name, made when somebody asks for one.
  #rows: Map<string, number> | undefined;

  constructor(parts: readonly ToldTable[]) {
    this.names = parts.flatMap(({ names }) => names);
    this.#numbers = new Float64Array(this.names.length * WIDTH);
    let at = 0;
    for (const { numbers } of parts) {
      this.#numbers.set(numbers, at);
      at += numbers.length;
    }
  }

  get(row: number, column: Column): number {
    return this.#numbers[row * WIDTH + PLACES[column]]!;
  }

  /** The row of a queue; -1 if there is none of this name. */
  rowOf(name: string): number {
    this.#rows ??= new Map(this.names.map((each, row) => [each, row]));
    return this.#rows.get(name) ?? -1;
  }

  /** How much a row has counted that another table had not: of a queue that was not in it, all. */
  since(before: QueueTable, row: number, column: Column): number {
    const name = this.names[row]!;
    // Mostly it stands where it stood.
    const then = before.names[row] === name ? row : before.rowOf(name);
    const now = this.get(row, column);
    // One of this name may have been deleted, and made anew.
    const known = then === -1 ? 0 : before.get(then, column);
    return now >= known ? now - known : now;
  }

  sum(rows: readonly number[], column: Column): number {
    let sum = 0;
    for (const row of rows) sum += this.get(row, column);
    return sum;
  }

  sumSince(before: QueueTable, rows: readonly number[], column: Column): number {
    let sum = 0;
    for (const row of rows) sum += this.since(before, row, column);
    return sum;
  }
}

/** How many have died, for whatever reason. */
export const DEAD_COLUMNS = ["deadAttempts", "deadExpired", "deadRejected"] as const;
