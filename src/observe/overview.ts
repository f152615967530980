// What those who run the server are shown: the server as a whole, its queues in a list, and what has become of one. All of it
// is of numbers that threads keep anyway, which are collected when somebody asks, and for the history every half a
// minute. Storage is asked for nothing. Lives on the first thread, for all of them.

import {
  type CancelTimer,
  type Clock,
  MILLISECOND,
  MINUTE,
  SECOND,
  SystemClock,
} from "../clock.ts";
import { formatDuration } from "../duration.ts";
import type { Logger } from "../log.ts";
import type { WantedFigures } from "../registry/figures.ts";
import { nameOf, namespaceOf } from "../registry/names.ts";
import { type Column, DEAD_COLUMNS, QueueTable } from "../registry/queue-table.ts";
import { NO_TIMES, SAMPLE_EVERY, type Sample, SPAN_NAMES, type Span } from "./history.ts";
import type { ThreadFigures } from "./render.ts";
import { Tracks } from "./tracks.ts";
import {
  findProblems,
  isLeft,
  type Problem,
  type QuotaUse,
  type StorageFacts,
  type StorageState,
  storageStates,
} from "./warnings.ts";

// Beside other work: so much of the time may be spent with collecting, however many look.
const SHARE = 10;
const REST_MAX = SECOND;

// What is "now" is the mean since a sample that is at least so old.
const NOW_MIN = 10 * SECOND;
// And what has been happening of late, since one that is at least so old.
const LATE_MIN = 5 * MINUTE;

// What is counted is written down so often, and of namespaces with every so manieth time. A stop waits no longer for it.
const SAVE_EVERY = MINUTE;
const SAVES_OF_NAMESPACES = 10;
const LAST_SAVE = SECOND;

const WORST_MAX = 20;
const WARNINGS_MAX = 50;
const SPARK_POINTS = 30;
// Of so many things that are wrong it is known since when they are.
const KNOWN_PROBLEMS_MAX = 1_000;

/** What can be collected. */
export interface OverviewSource {
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  readonly startedAt: number;
  readonly threads: number;
  /** What all threads tell; rejects if the server does not serve. */
  collect(wanted: WantedFigures): Promise<readonly ThreadFigures[]>;
  /** What is known of storages, at once. */
  storages(): Promise<readonly StorageFacts[]>;
  /** The queue that takes what is dead in another, by full names; "" if there is none. */
  deadQueueOf(name: string): string;
  /** The time for which items of a queue are leased, as it is written; "" if there is no such queue. */
  leaseTimeoutOf(name: string): string;
  quotas(): readonly QuotaUse[];
  isNamespace(name: string): boolean;
  /** Where the history is kept; undefined of a server that keeps nothing. */
  readonly kept: HistoryStore | undefined;
}

/** Keeps texts by names. */
export interface HistoryStore {
  read(): Promise<ReadonlyMap<string, string>>;
  /** Writes some of them, and takes away those that are gone. */
  write(texts: ReadonlyMap<string, string>, gone: readonly string[]): Promise<void>;
}

/** Whose queues are shown; undefined for those of all namespaces. */
export type Seen = readonly string[] | undefined;

/** What is asked of the list of queues. */
export interface QueuesWanted {
  readonly seen: Seen;
  readonly search: string;
  readonly sort: QueueSort;
  readonly isDescending: boolean;
  readonly from: number;
  readonly limit: number;
}

export const QUEUE_SORTS = [
  "name",
  "waiting",
  "leased",
  "scheduled",
  "dead",
  "oldest",
  "in",
  "out",
] as const;
export type QueueSort = (typeof QUEUE_SORTS)[number];

interface Snapshot {
  /** Steady. */
  readonly at: number;
  readonly table: QueueTable;
  readonly threads: readonly ThreadFigures[];
}

/** The numbers that were collected last, and those before with which they are compared. */
interface Known {
  readonly threads: readonly ThreadFigures[];
  readonly table: QueueTable;
  readonly takesDead: ReadonlySet<string>;
  readonly now: number;
  readonly steady: number;
}

const NO_FIGURES: WantedFigures = { top: 0, namespaces: undefined, names: [] };

/** What the first thread answers. */
export class Overview {
  readonly #source: OverviewSource;
  readonly #tracks = new Tracks();
  // Of the last minute, and of the last ten, the oldest first.
  #recent: Snapshot[];
  #late: Snapshot[];
  // A collection that has not begun: whoever asks meanwhile shares it.
  #next: Promise<Known> | undefined;
  #freeAt = 0;
  // What takes time takes real time.
  readonly #real = new SystemClock();
  #cancel: CancelTimer = () => undefined;
  #isEnded = false;
  #savedAt = 0;
  #saves = 0;
  // Names of what is kept.
  readonly #written = new Set<string>();
  // Since when, in wall time, each thing is wrong.
  #since = new Map<string, number>();

  constructor(source: OverviewSource) {
    this.#source = source;
    // What is counted counts from the start.
    const first = { at: source.clock.steady(), table: new QueueTable([]), threads: [] };
    this.#recent = [first];
    this.#late = [first];
  }

  /** Reads what was kept, and begins to take samples. */
  async open(): Promise<void> {
    const kept = (await this.#source.kept?.read()) ?? new Map<string, string>();
    this.#tracks.load(kept);
    for (const name of kept.keys()) this.#written.add(name);
    this.#savedAt = this.#source.clock.steady();
    this.#sampleLater(0);
  }

  // At the next whole half a minute of wall time that is at least so far.
  #sampleLater(least: number): void {
    const { clock } = this.#source;
    const left = SAMPLE_EVERY - (clock.now() % SAMPLE_EVERY);
    this.#cancel = clock.wakeAfter(left < least ? left + SAMPLE_EVERY : left, () => {
      void this.#sample().finally(() => {
        // Timers may be a little early.
        if (!this.#isEnded) this.#sampleLater(SAMPLE_EVERY / 2);
      });
    });
  }

  /** Takes no more samples; with `isOurs` what was counted is written down, unless that takes long. Never rejects. */
  async end(isOurs: boolean): Promise<void> {
    this.#isEnded = true;
    this.#cancel();
    if (!isOurs || this.#source.kept === undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const giveUp = this.#real.wakeAfter(LAST_SAVE, resolve);
    await Promise.race([this.#sample().then(() => this.#save(true)), promise]);
    giveUp();
  }

  async #saveIfDue(): Promise<void> {
    const steady = this.#source.clock.steady();
    // Half a sample earlier or later is the same.
    if (this.#isEnded || steady - this.#savedAt < SAVE_EVERY - SAMPLE_EVERY / 2) return;
    this.#savedAt = steady;
    await this.#save(this.#saves++ % SAVES_OF_NAMESPACES === 0);
  }

  async #save(isAll: boolean): Promise<void> {
    const { kept, log, isNamespace } = this.#source;
    if (kept === undefined) return;
    this.#tracks.keepOnly(isNamespace);
    const texts = this.#tracks.dump(isAll);
    const gone = [...this.#written].filter((name) => name !== "" && !isNamespace(name));
    try {
      await kept.write(texts, gone);
      for (const name of texts.keys()) this.#written.add(name);
      for (const name of gone) this.#written.delete(name);
    } catch (err) {
      log.debug({ err }, "the history could not be written down"); // it will be, the next time
    }
  }

  // --- collecting ---

  /** What is so now, or was when somebody else asked who has not been answered either. */
  #collect(): Promise<Known> {
    this.#next ??= this.#collectNext();
    return this.#next;
  }

  async #collectNext(): Promise<Known> {
    const rest = Math.min(this.#freeAt - this.#real.steady(), REST_MAX);
    if (rest > 0) await new Promise<void>((resolve) => void this.#real.wakeAfter(rest, resolve));
    else await undefined; // so that all who ask at this moment share it
    this.#next = undefined;
    const begun = this.#real.steady();
    const known = await this.#ask({});
    const took = this.#real.steady() - begun;
    if (took > MILLISECOND) this.#freeAt = this.#real.steady() + took * SHARE;
    return known;
  }

  async #ask(more: Partial<WantedFigures>): Promise<Known> {
    const { clock } = this.#source;
    const threads = await this.#source.collect({ ...NO_FIGURES, ...more, isTable: true });
    const table = new QueueTable(threads.flatMap(({ home }) => home.table ?? []));
    const takesDead = new Set<string>();
    for (const name of table.names) {
      const dead = this.#source.deadQueueOf(name);
      if (dead !== "") takesDead.add(dead);
    }
    return { threads, table, takesDead, now: clock.now(), steady: clock.steady() };
  }

  async #sample(): Promise<void> {
    try {
      const known = await this.#ask({ names: this.#tracks.activeNames, isQuiet: true });
      const { now, steady, table, threads } = known;
      const every = SAMPLE_EVERY / SECOND;
      const second = Math.round(now / SAMPLE_EVERY) * every;
      const before = this.#recent.at(-1)!.table;
      this.#tracks.add(second, { table, before, threads });
      this.#noteProblems(known, await this.#source.storages());
      const snapshot = { at: steady, table, threads: threads.map(withoutQueues) };
      this.#recent = [this.#recent.at(-1)!, snapshot];
      if (steady - this.#late.at(-1)!.at >= LATE_MIN) this.#late = [this.#late.at(-1)!, snapshot];
      await this.#saveIfDue();
    } catch (err) {
      this.#source.log.debug({ err }, "no sample could be taken"); // it stops, or serves no queues
    }
  }

  #before(steady: number): Snapshot {
    const [first, last = first] = this.#recent;
    return steady - last!.at >= NOW_MIN ? last! : first!;
  }

  #lately(): Snapshot {
    return this.#late[0]!;
  }

  // --- the server ---

  /** The server, or as much of it as belongs to some namespaces. */
  async server(seen: Seen) {
    const known = await this.#collect();
    const { table, takesDead, now, steady, threads } = known;
    const { version, startedAt, threads: count } = this.#source;
    const rows = rowsOf(table, seen);
    const sum = (column: Column, of = rows): number => table.sum(of, column);
    const dead = rows.filter((row) => takesDead.has(table.names[row]!));
    const oldest = Math.min(...rows.map((row) => table.get(row, "oldestAt") || Infinity));
    const before = this.#before(steady);
    const seconds = Math.max((steady - before.at) / SECOND, 1);
    const recently = sumsSince(before.table, table, rows);
    const second = now / SECOND;
    const { windows, series } = this.#past(seen, second, rows, table);
    const facts = seen === undefined ? await this.#source.storages() : [];
    const states = storageStates(facts, threads);
    const problems = this.#problems(known, facts, states).filter(isSeen(seen));
    return {
      version,
      startedAt,
      at: now,
      mode: "serving",
      whole: seen === undefined,
      ...(seen === undefined && { threads: count }),
      storages: states,
      totals: {
        queues: rows.length,
        waiting: sum("waiting"),
        leased: sum("leased"),
        scheduled: sum("scheduled"),
        held: sum("held"),
        dead: (["waiting", "leased", "scheduled", "held"] as const).reduce(
          (total, column) => total + sum(column, dead),
          0,
        ),
        ...(oldest !== Infinity && { oldestAge: ageOf(oldest, now) }),
        consumersWaiting: sum("consumersWaiting"),
      },
      rates: {
        in: rounded(recently.in / seconds),
        out: rounded(recently.out / seconds),
        dead: rounded(recently.dead / seconds),
      },
      windows,
      series,
      worst: worstOf(problems),
      warnings: problems.slice(0, WARNINGS_MAX).map(toWarning),
    };
  }

  #past(seen: Seen, second: number, rows: readonly number[], table: QueueTable) {
    const last = this.#recent.at(-1)!.table;
    const present = sampleOf(last, table, rows);
    const tracks = this.#tracks.of(seen);
    const windows = SPAN_NAMES.map((span) => {
      const sum = (column: "in" | "out" | "dead"): number =>
        tracks.reduce((total, track) => total + track.sum(span, column, second), present[column]);
      return { span, in: sum("in"), out: sum("out"), dead: sum("dead") };
    });
    const { step, at, ...columns } = this.#tracks.read(seen, "1h", second, present);
    const { in: came, out, waiting, dead } = columns;
    return { windows, series: { step, at, in: came, out, waiting, dead } };
  }

  #problems(
    known: Known,
    facts: readonly StorageFacts[],
    states: readonly StorageState[],
  ): Problem[] {
    const late = this.#lately();
    const { deadQueueOf, leaseTimeoutOf } = this.#source;
    return findProblems({
      ...known,
      late,
      recent: this.#before(known.steady),
      lateFor: known.steady - late.at,
      facts,
      states,
      quotas: this.#source.quotas(),
      deadQueueOf: (name) => deadQueueOf.call(this.#source, name),
      leaseTimeoutOf: (name) => leaseTimeoutOf.call(this.#source, name),
      since: this.#since,
    });
  }

  #noteProblems(known: Known, facts: readonly StorageFacts[]): void {
    const problems = this.#problems(known, facts, storageStates(facts, known.threads));
    const kept = problems.slice(0, KNOWN_PROBLEMS_MAX).map(({ key }) => key);
    this.#since = new Map(kept.map((key) => [key, this.#since.get(key) ?? known.now]));
  }

  // --- queues ---

  /** A page of the queues, sorted and searched in memory. */
  async queues({ seen, search, sort, isDescending, from, limit }: QueuesWanted) {
    const known = await this.#collect();
    const { table, takesDead, now, steady } = known;
    const before = this.#before(steady);
    const seconds = Math.max((steady - before.at) / SECOND, 1);
    const wanted = search.toLowerCase();
    const rows = rowsOf(table, seen).filter(
      (row) => wanted === "" || nameOf(table.names[row]!).toLowerCase().includes(wanted),
    );
    const value = (row: number): number => {
      if (sort === "in" || sort === "out") return table.since(before.table, row, sort);
      if (sort === "dead") return table.get(row, "deadEver");
      if (sort !== "oldest") return sort === "name" ? 0 : table.get(row, sort);
      const at = table.get(row, "oldestAt");
      return at === 0 ? -1 : now - at;
    };
    sortBy(rows, value, { names: table.names, isDescending });
    const second = now / SECOND;
    const page = rows.slice(from, from + limit).map((row) => {
      const name = table.names[row]!;
      const oldestAt = table.get(row, "oldestAt");
      const came = table.since(before.table, row, "in") / seconds;
      const went = table.since(before.table, row, "out") / seconds;
      const dead = this.#source.deadQueueOf(name);
      return {
        queueName: nameOf(name),
        namespace: namespaceOf(name),
        waiting: table.get(row, "waiting"),
        leased: table.get(row, "leased"),
        scheduled: table.get(row, "scheduled"),
        held: table.get(row, "held"),
        dead: table.get(row, "deadEver"),
        ...(oldestAt !== 0 && { oldestAge: ageOf(oldestAt, now) }),
        in: rounded(came),
        out: rounded(went),
        consumersWaiting: table.get(row, "consumersWaiting"),
        state: stateOf(known, row, came + went > 0),
        spark: this.#tracks.find(name)?.last("waiting", second, SPARK_POINTS) ?? [],
        ...(dead !== "" && { deadQueue: nameOf(dead) }),
        takesDead: takesDead.has(name),
      };
    });
    return { total: rows.length, queues: page };
  }

  /** What has become of a queue; undefined if there is none of this name. */
  async history(name: string, span: Span) {
    const known = await this.#collect();
    const { table, now } = known;
    const row = table.rowOf(name);
    if (row === -1) return undefined;
    const last = this.#recent.at(-1)!.table;
    const present = { ...sampleOf(last, table, [row]), ...this.#tracks.countsOf(table, last, row) };
    const track = this.#tracks.find(name);
    const second = now / SECOND;
    const series = this.#tracks.readOne(track, span, second, present);
    return { queueName: nameOf(name), span, kept: track !== undefined, ...series };
  }
}

/** What is answered, as it travels. */
export type ServerShown = Awaited<ReturnType<Overview["server"]>>;
export type QueuesShown = Awaited<ReturnType<Overview["queues"]>>;
export type HistoryShown = Awaited<ReturnType<Overview["history"]>>;

function rowsOf({ names }: QueueTable, seen: Seen): number[] {
  const rows: number[] = [];
  const those = seen && new Set(seen);
  for (let row = 0; row < names.length; row++) {
    if (those === undefined || those.has(namespaceOf(names[row]!))) rows.push(row);
  }
  return rows;
}

function sortBy(
  rows: number[],
  value: (row: number) => number,
  { names, isDescending }: { readonly names: readonly string[]; readonly isDescending: boolean },
): void {
  const values = new Map(rows.map((row) => [row, value(row)]));
  const sign = isDescending ? -1 : 1;
  const byName = (a: number, b: number): number => {
    const [first, second] = [names[a]!, names[b]!];
    const [own, other] = [nameOf(first), nameOf(second)];
    if (own !== other) return own < other ? -1 : 1;
    return first < second ? -1 : 1;
  };
  // Of the same value those come first whose name does; only a list by name turns that round as well.
  const isByName = rows.every((row) => values.get(row) === 0);
  rows.sort((a, b) => {
    const difference = values.get(a)! - values.get(b)!;
    if (difference !== 0) return sign * difference;
    return isByName ? sign * byName(a, b) : byName(a, b);
  });
}

function sumsSince(before: QueueTable, table: QueueTable, rows: readonly number[]) {
  const sum = (column: Column): number => table.sumSince(before, rows, column);
  const dead = DEAD_COLUMNS.reduce((total, column) => total + sum(column), 0);
  return { in: sum("produced"), out: sum("ended"), dead, retried: sum("retried") };
}

/** What has happened in several queues together between two tables, and what there is in the later one. */
function sampleOf(before: QueueTable, table: QueueTable, rows: readonly number[]): Sample {
  const sum = (column: Column): number => table.sum(rows, column);
  const levels = { waiting: sum("waiting"), leased: sum("leased"), scheduled: sum("scheduled") };
  return { ...sumsSince(before, table, rows), ...levels, ...NO_TIMES };
}

function stateOf({ table, takesDead, now }: Known, row: number, isUsed: boolean): string {
  if (table.get(row, "failing") > 0) return "failing";
  if (isLeft(table, row, { now, takesDead })) return "stuck";
  const isThere = table.get(row, "waiting") + table.get(row, "leased") > 0;
  return isThere || isUsed ? "ok" : "idle";
}

// What is kept of a thread to be compared with later.
function withoutQueues({ home, ...thread }: ThreadFigures): ThreadFigures {
  const { table: _, ...rest } = home;
  return { ...thread, home: { ...rest, queues: [] } };
}

// What is of no namespace is of the whole server.
function isSeen(seen: Seen): (problem: Problem) => boolean {
  const those = seen && new Set(seen);
  return ({ namespace }) =>
    those === undefined || (namespace !== undefined && those.has(namespace));
}

// Each queue once, by what is worst of it.
function worstOf(problems: readonly Problem[]) {
  const queues = new Map<string, ReturnType<typeof toWorst>>();
  for (const problem of problems) {
    const { worst, queue, namespace } = problem;
    const name = `${namespace} ${queue}`;
    if (worst === undefined || queues.has(name)) continue;
    queues.set(name, toWorst(problem));
    if (queues.size === WORST_MAX) break;
  }
  return [...queues.values()];
}

function toWorst({ worst, queue = "", namespace = "", value, text }: Problem) {
  return { queueName: queue, namespace, what: worst, value: rounded(value), text };
}

function toWarning({ code, severity, text, queue, namespace }: Problem) {
  return {
    code,
    severity,
    text,
    ...(queue !== undefined && { queueName: queue }),
    ...(namespace !== undefined && { namespace }),
  };
}

function ageOf(at: number, now: number): string {
  return formatDuration(Math.max(now - at, 0));
}

// A thousandth of an item a second is one in a quarter of an hour.
function rounded(rate: number): number {
  return Math.round(rate * 1e3) / 1e3;
}
