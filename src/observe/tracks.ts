// Of what there is a history: the server, namespaces and queues, each in a room of its own, and only so many of them. A
// queue gets one when something happens in it; when there are as many as may be, in the place of one in which nothing
// has happened for long.

import { SECOND } from "../clock.ts";
import { namespaceOf } from "../registry/names.ts";
import { type Column, DEAD_COLUMNS, type QueueTable } from "../registry/queue-table.ts";
import { NO_TIMES, type Sample, type Series, SPANS, type Span, SUMS, Track } from "./history.ts";
import type { ThreadFigures } from "./render.ts";

/** So many queues have a history; one has 30 KiB. */
export const TRACKED_QUEUES_MAX = 1_000;
/** And so many namespaces, with 55 KiB each. */
export const TRACKED_NAMESPACES_MAX = 100;

// So many get their place at once, those in which most happens first: others wait for the next sample.
const MADE_AT_ONCE = 100;

// In seconds. In a queue that gives up its place nothing has happened for so long.
const IDLE_MIN = 3_600;

const SERVER = "";

type Counted = Pick<Sample, (typeof SUMS)[number]>;

export class Tracks {
  readonly #server = new Track(true);
  readonly #namespaces = new Map<string, Track>();
  readonly #queues = new Map<string, Track>();
  #activeNames: readonly string[] = [];

  /** Queues in which something has happened of late: of these it is worth while to know how long items wait and run. */
  get activeNames(): readonly string[] {
    return this.#activeNames;
  }

  find(queue: string): Track | undefined {
    return this.#queues.get(queue);
  }

  /** Those that together are what somebody sees: all, or some namespaces. */
  of(seen: readonly string[] | undefined): readonly Track[] {
    if (seen === undefined) return [this.#server];
    return seen.flatMap((namespace) => this.#namespaces.get(namespace) ?? []);
  }

  /** What has happened until `second`. */
  add(
    second: number,
    {
      table,
      before,
      threads,
    }: {
      readonly table: QueueTable;
      readonly before: QueueTable;
      readonly threads: readonly ThreadFigures[];
    },
  ): void {
    const sums = new Map<string, Sums>([[SERVER, newSums()]]);
    const times = timesOf(threads);
    const active: string[] = [];
    const wanting: { readonly name: string; readonly sample: Sample; readonly load: number }[] = [];
    for (const [row, name] of table.names.entries()) {
      const namespace = namespaceOf(name);
      const counted = this.countsOf(table, before, row);
      const levels = levelsOf(table, row);
      const ofServer = {
        ...counted,
        in: table.since(before, row, "produced"),
        out: table.since(before, row, "ended"),
      };
      const own = sums.get(namespace) ?? newSums();
      sums.set(namespace, own);
      addTo(own, ofServer, levels);
      addTo(sums.get(SERVER)!, ofServer, levels);
      const load = counted.in + counted.out + counted.retried + table.since(before, row, "leases");
      const track = this.#queues.get(name);
      if (track === undefined && load === 0) continue;
      const sample = { ...counted, ...levels, ...(times.get(name) ?? NO_TIMES) };
      if (track === undefined) {
        wanting.push({ name, sample, load });
        continue;
      }
      if (load > 0) {
        active.push(name);
        track.activeAt = second;
      }
      track.add(second, sample);
    }
    for (const name of this.#queues.keys()) if (table.rowOf(name) === -1) this.#queues.delete(name);
    const places = this.#free(Math.min(wanting.length, MADE_AT_ONCE), second);
    for (const { name, sample } of wanting.sort((a, b) => b.load - a.load).slice(0, places)) {
      const track = new Track(false);
      track.activeAt = second;
      track.add(second, sample);
      this.#queues.set(name, track);
      active.push(name);
    }
    this.#activeNames = active;
    for (const [name, sum] of sums) this.#trackOf(name)?.add(second, { ...sum, ...NO_TIMES });
  }

  // Makes room for so many more, as far as nothing happens in others; answers for how many there is.
  #free(wanted: number, second: number): number {
    const missing = this.#queues.size + wanted - TRACKED_QUEUES_MAX;
    if (missing <= 0) return wanted;
    const idle = [...this.#queues]
      .filter(([, { activeAt }]) => second - activeAt >= IDLE_MIN)
      .sort(([, a], [, b]) => a.activeAt - b.activeAt);
    for (const [name] of idle.slice(0, missing)) this.#queues.delete(name);
    return Math.min(TRACKED_QUEUES_MAX - this.#queues.size, wanted);
  }

  /** What is to be kept over a restart, by name: the server's, and with `isAll` those of namespaces. */
  dump(isAll: boolean): ReadonlyMap<string, string> {
    const kept = new Map([[SERVER, this.#server.dump()]]);
    if (isAll) for (const [name, track] of this.#namespaces) kept.set(name, track.dump());
    return kept;
  }

  /** Puts back what was kept. */
  load(kept: ReadonlyMap<string, string>): void {
    for (const [name, text] of kept) this.#trackOf(name)?.load(text);
  }

  /** Forgets namespaces that are no more. */
  keepOnly(isThere: (namespace: string) => boolean): void {
    for (const name of this.#namespaces.keys()) if (!isThere(name)) this.#namespaces.delete(name);
  }

  #trackOf(name: string): Track | undefined {
    if (name === SERVER) return this.#server;
    let track = this.#namespaces.get(name);
    if (track === undefined && this.#namespaces.size < TRACKED_NAMESPACES_MAX) {
      track = new Track(true);
      this.#namespaces.set(name, track);
    }
    return track;
  }

  /** What was counted in a queue between two tables. */
  countsOf(table: QueueTable, before: QueueTable, row: number): Counted {
    const since = (column: Column): number => table.since(before, row, column);
    const dead = DEAD_COLUMNS.reduce((sum, column) => sum + since(column), 0);
    return { in: since("in"), out: since("out"), dead, retried: since("retried") };
  }

  /** The points of what somebody sees, with what has happened since the last sample. */
  read(seen: readonly string[] | undefined, span: Span, second: number, present: Sample): Series {
    const tracks = this.of(seen);
    if (tracks.length === 1) return tracks[0]!.read(span, second, present);
    const none = { ...newSums(), ...NO_TIMES };
    return mergedSeries(
      [...tracks.map((track) => track.read(span, second, none)), newSeries(span, second, present)],
      span,
    );
  }

  /** The same of one, which may have no history. */
  readOne(track: Track | undefined, span: Span, second: number, present: Sample): Series {
    return track?.read(span, second, present) ?? newSeries(span, second, present);
  }
}

type Sums = { -readonly [K in keyof Omit<Sample, keyof typeof NO_TIMES>]: number };

function newSums(): Sums {
  return { in: 0, out: 0, dead: 0, retried: 0, waiting: 0, leased: 0, scheduled: 0 };
}

function addTo(sums: Sums, counted: Counted, levels: ReturnType<typeof levelsOf>): void {
  for (const what of SUMS) sums[what] += counted[what];
  sums.waiting += levels.waiting;
  sums.leased += levels.leased;
  sums.scheduled += levels.scheduled;
}

function levelsOf(table: QueueTable, row: number) {
  return {
    waiting: table.get(row, "waiting"),
    leased: table.get(row, "leased"),
    scheduled: table.get(row, "scheduled"),
  };
}

// Of the queues of which it was asked, in seconds.
function timesOf(threads: readonly ThreadFigures[]): ReadonlyMap<string, typeof NO_TIMES> {
  const seconds = (time: number | undefined): number => (time === undefined ? -1 : time / SECOND);
  const times = new Map<string, { [K in keyof typeof NO_TIMES]: number }>();
  for (const { name, wait, run } of threads.flatMap(({ home }) => home.queues)) {
    times.set(name, {
      waitP50: seconds(wait.recent?.p50),
      waitP99: seconds(wait.recent?.p99),
      runP50: seconds(run.recent?.p50),
      runP99: seconds(run.recent?.p99),
    });
  }
  return times as ReadonlyMap<string, typeof NO_TIMES>;
}

/** Nothing but the present. */
function newSeries(span: Span, second: number, present: Sample): Series {
  const columns = Object.entries(present).map(([name, value]) => [name, [value]]);
  return {
    step: SPANS[span].step,
    at: [Math.ceil(second)],
    ...Object.fromEntries(columns),
  } as Series;
}

// Added up, point by point; they tell of different namespaces.
function mergedSeries(all: readonly Series[], span: Span): Series {
  const points = new Map<number, Sums>();
  for (const series of all) {
    for (const [i, at] of series.at.entries()) {
      const sum = points.get(at) ?? newSums();
      points.set(at, sum);
      for (const name of Object.keys(sum) as (keyof Sums)[]) sum[name] += series[name][i]!;
    }
  }
  const sorted = [...points].sort(([a], [b]) => a - b);
  const columns = (Object.keys(newSums()) as (keyof Sums)[]).map((name) => [
    name,
    sorted.map(([, sum]) => sum[name]),
  ]);
  return {
    step: SPANS[span].step,
    at: sorted.map(([at]) => at),
    ...Object.fromEntries(columns),
  } as Series;
}
