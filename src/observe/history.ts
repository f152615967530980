// What has become of a queue, of a namespace or of the server, from seven days ago until now, in a room that is known
// before: points of half a minute for the last hour, and coarser ones for longer. A point tells what was counted in its
// time, and what there was at its end. Known to memory; what is kept over a restart is put in and taken out here.

import { SECOND } from "../clock.ts";

/** How far back one may look, with the seconds between two points. */
export const SPANS = {
  "1h": { step: 30, points: 120 },
  "6h": { step: 180, points: 120 },
  "24h": { step: 600, points: 144 },
  "7d": { step: 3_600, points: 168 },
} as const;

export type Span = keyof typeof SPANS;
export const SPAN_NAMES = Object.keys(SPANS) as Span[];

/** The finest of them, in microseconds: so often there is a sample. */
export const SAMPLE_EVERY = SPANS["1h"].step * SECOND;

/** What is counted is summed up, and of what there is the last counts. */
export const SUMS = ["in", "out", "dead", "retried"] as const;
export const LEVELS = ["waiting", "leased", "scheduled"] as const;
/** Seconds; -1 where nothing was measured, and of coarser points the longest. */
export const TIMES = ["waitP50", "waitP99", "runP50", "runP99"] as const;
const COLUMNS = [...SUMS, ...LEVELS, ...TIMES];

export type HistoryColumn = (typeof COLUMNS)[number];

/** What a point is made of. */
export type Sample = Readonly<Record<HistoryColumn, number>>;

/** Columns of the same length, the oldest first. */
export type Series = Readonly<Record<HistoryColumn, number[]>> & {
  readonly step: number;
  /** When the time of each point ended, in seconds since 1970. */
  readonly at: number[];
};

const UNKNOWN = -1;
// So many columns, the first ones, are kept over a restart.
const KEPT = SUMS.length + LEVELS.length;

/** Nothing has happened, and nothing is known. */
export const NO_TIMES: Readonly<Record<(typeof TIMES)[number], number>> = {
  waitP50: UNKNOWN,
  waitP99: UNKNOWN,
  runP50: UNKNOWN,
  runP99: UNKNOWN,
};

/** The points of one span, in a ring. */
class Tier {
  readonly step: number;
  readonly points: number;
  // The number of the step that is in each place; 0 for none.
  readonly #numbers: Float64Array;
  readonly #values: Float32Array | Float64Array;

  constructor({ step, points }: (typeof SPANS)[Span], isExact: boolean) {
    this.step = step;
    this.points = points;
    this.#numbers = new Float64Array(points);
    const size = points * COLUMNS.length;
    this.#values = isExact ? new Float64Array(size) : new Float32Array(size);
  }

  /** Adds what happened until `second`, which ends a step of the finest tier. */
  add(second: number, sample: Sample): void {
    this.#addTo(Math.ceil(second / this.step), sample);
  }

  #addTo(number: number, sample: Sample): void {
    const place = number % this.points;
    const at = place * COLUMNS.length;
    const values = this.#values;
    if (this.#numbers[place] !== number) {
      this.#numbers[place] = number;
      values.fill(0, at, at + COLUMNS.length);
      values.fill(UNKNOWN, at + SUMS.length + LEVELS.length, at + COLUMNS.length);
    }
    let i = at;
    for (const name of SUMS) values[i++]! += sample[name];
    for (const name of LEVELS) values[i++] = sample[name];
    for (const name of TIMES) {
      values[i] = Math.max(values[i]!, sample[name]);
      i++;
    }
  }

  /** The points of the span that ends at `second`, with what has happened since the last sample in the last one. */
  read(second: number, present: Sample): Series {
    const { step, points } = this;
    const columns = Object.fromEntries(COLUMNS.map((name) => [name, [] as number[]]));
    const series = { step, at: [] as number[], ...columns } as Series;
    const last = Math.ceil(second / step);
    for (let number = Math.max(last - points + 1, 1); number < last; number++) {
      const at = this.#placeOf(number);
      if (at === undefined) continue;
      series.at.push(number * step);
      for (const [i, name] of COLUMNS.entries()) series[name].push(this.#values[at + i]!);
    }
    const at = this.#placeOf(last);
    const known = (i: number): number => (at === undefined ? UNKNOWN : this.#values[at + i]!);
    series.at.push(Math.ceil(second));
    for (const [i, name] of COLUMNS.entries()) {
      const isSum = i < SUMS.length;
      const isTime = i >= SUMS.length + LEVELS.length;
      if (isSum) series[name].push(Math.max(known(i), 0) + present[name]);
      else series[name].push(isTime ? Math.max(known(i), present[name]) : present[name]);
    }
    return series;
  }

  #placeOf(number: number): number | undefined {
    const place = number % this.points;
    return this.#numbers[place] === number ? place * COLUMNS.length : undefined;
  }

  /** The last points of a column that are there. */
  last(column: HistoryColumn, second: number, count: number): number[] {
    const found: number[] = [];
    const i = COLUMNS.indexOf(column);
    const last = Math.floor(second / this.step);
    for (let number = Math.max(last - count + 1, 1); number <= last; number++) {
      const at = this.#placeOf(number);
      if (at !== undefined) found.push(this.#values[at + i]!);
    }
    return found;
  }

  /** Its points as rows of numbers, the oldest first; times are not kept. */
  dump(): number[][] {
    const rows: number[][] = [];
    for (const number of this.#numbers.slice().sort()) {
      const at = this.#placeOf(number);
      if (number === 0 || at === undefined) continue;
      rows.push([number, ...this.#values.subarray(at, at + KEPT)]);
    }
    return rows;
  }

  /** Puts back what was dumped. */
  load(rows: readonly (readonly number[])[]): void {
    for (const [number = 0, ...values] of rows) {
      const place = number % this.points;
      if (number < this.#numbers[place]!) continue;
      this.#numbers[place] = number;
      const at = place * COLUMNS.length;
      this.#values.fill(UNKNOWN, at, at + COLUMNS.length);
      this.#values.set(values, at);
    }
  }

  /** The sum of a column over the span. */
  sum(column: (typeof SUMS)[number], second: number): number {
    let sum = 0;
    const i = COLUMNS.indexOf(column);
    const last = Math.ceil(second / this.step);
    for (let number = Math.max(last - this.points + 1, 1); number <= last; number++) {
      const at = this.#placeOf(number);
      if (at !== undefined) sum += this.#values[at + i]!;
    }
    return sum;
  }
}

/** What has become of one thing. */
export class Track {
  readonly #tiers: Readonly<Record<Span, Tier>>;
  /** When something has happened last, in seconds since 1970. */
  activeAt = 0;

  /** `isExact`: sums of it must be right to the item; else they have seven digits, in half the room. */
  constructor(isExact: boolean) {
    const tier = (span: Span): Tier => new Tier(SPANS[span], isExact);
    this.#tiers = { "1h": tier("1h"), "6h": tier("6h"), "24h": tier("24h"), "7d": tier("7d") };
  }

  /** What has happened until `second`, a whole number of steps of the finest points, and since the sample before. */
  add(second: number, sample: Sample): void {
    for (const span of SPAN_NAMES) this.#tiers[span].add(second, sample);
  }

  /** The points of a span until now; `present` is what has happened since the last sample. */
  read(span: Span, second: number, present: Sample): Series {
    return this.#tiers[span].read(second, present);
  }

  /** The last of the finest points. */
  last(column: HistoryColumn, second: number, count: number): number[] {
    return this.#tiers["1h"].last(column, second, count);
  }

  sum(span: Span, column: (typeof SUMS)[number], second: number): number {
    return this.#tiers[span].sum(column, second);
  }

  /** What is to be kept of it, as a text. */
  dump(): string {
    return JSON.stringify(
      Object.fromEntries(SPAN_NAMES.map((span) => [span, this.#tiers[span].dump()])),
    );
  }

  /** Puts back what was dumped. What cannot be read as that changes nothing: it is a history, and no more. */
  load(text: string): void {
    const kept = readDump(text);
    if (kept === undefined) return;
    for (const span of SPAN_NAMES) this.#tiers[span].load(kept[span] ?? []);
  }
}

function readDump(text: string): Partial<Record<Span, number[][]>> | undefined {
  try {
    const dump = JSON.parse(text) as Partial<Record<Span, number[][]>>;
    const isRow = (row: unknown): boolean =>
      Array.isArray(row) &&
      row.length === KEPT + 1 &&
      row.every((each) => typeof each === "number") &&
      Number.isSafeInteger(row[0]);
    const isDump = SPAN_NAMES.every((span) => dump[span]?.every(isRow) ?? true);
    return isDump ? dump : undefined;
  } catch {
    return undefined;
  }
}
