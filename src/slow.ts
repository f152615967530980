// What takes long, said in the log with numbers. Of each queue, path or storage a line at once, and then at most one a
// minute, which says how many there were since; and of so many of them at a time, whatever is slow: a disk that hangs is not
// made slower by what is written of it. What is not slow costs a comparison.

import { type Clock, MILLISECOND, MINUTE, SystemClock } from "./clock.ts";
import type { Logger } from "./log.ts";

/** From when on something is slow, in microseconds; 0 if nothing ever is. */
export interface SlowTimes {
  /** A request: without the wait for items, and for its body. */
  readonly request: number;
  /** A turn of a loop: what it reads, plans and commits. */
  readonly turn: number;
  /** A transaction of a storage. */
  readonly commit: number;
}

// So many queues, paths or storages have a line of their own in a minute.
const OWN_LINES_MAX = 20;

type Fields = Readonly<Record<string, unknown>>;

/** What was not said yet of one of them. */
interface LeftOut {
  count: number;
  slowest: number;
}

/** What is slow of one sort. */
export class SlowLog {
  /** What takes so long is slow. */
  readonly limit: number;
  readonly #what: string;
  readonly #key: string;
  readonly #log: Logger;
  readonly #clock: Clock;
  // Those that were said of in this minute, and when it ends; none if none was slow.
  #told = new Map<string, LeftOut>();
  #until = Number.POSITIVE_INFINITY;
  // Of all others.
  #others: LeftOut = { count: 0, slowest: 0 };

  /** `what` is slow, `key` is the field that says of which. */
  constructor(
    { what, key, limit }: { readonly what: string; readonly key: string; readonly limit: number },
    log: Logger,
    clock: Clock,
  ) {
    this.#what = what;
    this.#key = key;
    this.limit = limit === 0 ? Number.POSITIVE_INFINITY : limit;
    this.#log = log;
    this.#clock = clock;
  }

  /** Something was slow: `fields` says what there is to say of it, if it is said. */
  note(of: string, time: number, fields: () => Fields): void {
    if (time < this.limit) return;
    this.sweep();
    const told = this.#told.get(of);
    if (told !== undefined) {
      leaveOut(told, time);
    } else if (this.#told.size >= OWN_LINES_MAX) {
      leaveOut(this.#others, time);
    } else {
      if (this.#told.size === 0) this.#until = this.#clock.steady() + MINUTE;
      this.#told.set(of, { count: 0, slowest: 0 });
      this.#log.warn({ [this.#key]: of, ms: toMs(time), ...fields() }, `a ${this.#what} was slow`);
    }
  }

  /** Says what was left out, if a minute is over. To be called now and then. */
  sweep(): void {
    if (this.#until > this.#clock.steady()) return;
    const before = this.#told;
    this.#told = new Map();
    this.#until = Number.POSITIVE_INFINITY;
    for (const [of, left] of before) {
      if (left.count === 0) continue;
      this.#tellMore({ [this.#key]: of }, left);
      // That was its line for the next minute.
      this.#told.set(of, { count: 0, slowest: 0 });
    }
    if (this.#told.size > 0) this.#until = this.#clock.steady() + MINUTE;
    if (this.#others.count > 0) this.#tellMore({}, this.#others);
    this.#others = { count: 0, slowest: 0 };
  }

  #tellMore(of: Fields, { count, slowest }: LeftOut): void {
    this.#log.warn({ ...of, count, slowest_ms: toMs(slowest) }, `more ${this.#what}s were slow`);
  }
}

function leaveOut(left: LeftOut, time: number): void {
  left.count++;
  left.slowest = Math.max(left.slowest, time);
}

/** Milliseconds, as the log has them. */
export function toMs(time: number): number {
  return Math.round(time / (MILLISECOND / 10)) / 10;
}

/** All that may be slow on a thread. */
export class SlowLogs {
  readonly requests: SlowLog;
  readonly turns: SlowLog;
  readonly commits: SlowLog;

  /** `clock` has real time: nothing is slow because a test has moved time on. */
  constructor({ request, turn, commit }: SlowTimes, log: Logger, clock: Clock = new SystemClock()) {
    this.requests = new SlowLog({ what: "request", key: "path", limit: request }, log, clock);
    this.turns = new SlowLog({ what: "turn", key: "queue", limit: turn }, log, clock);
    this.commits = new SlowLog({ what: "commit", key: "storage", limit: commit }, log, clock);
  }

  sweep(): void {
    this.requests.sweep();
    this.turns.sweep();
    this.commits.sweep();
  }
}
