// The one source of time. Everything that needs the time or a timer is given a Clock; nothing
// else in the program calls Date.now or setTimeout for what a user can observe. Times are whole
// microseconds since 1970 as a number (exact until the year 2255), durations are microseconds.
// A clock never runs timers early: what is due at t runs when now() >= t.

export const MICROSECOND = 1;
export const MILLISECOND = 1_000;
export const SECOND = 1_000_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

/** Cancels a timer; harmless once the timer has fired. */
export type CancelTimer = () => void;

export interface Clock {
  /** Microseconds since 1970, following the system's clock. */
  now(): number;
  /** Calls `wake` once, as soon as now() >= at; at once (but not synchronously) if that is past. */
  wakeAt(at: number, wake: () => void): CancelTimer;
}

// setTimeout overflows above 2^31-1 ms; a longer wait is made of several.
const TIMEOUT_MS_MAX = 3_600_000;

/** The system's clock, with microseconds. */
export class SystemClock implements Clock {
  // Added to the monotonic clock to give wall time. Written by now() only.
  #offset = performance.timeOrigin * 1000;

  // Date.now() knows the wall clock but only milliseconds; performance.now() knows microseconds
  // but drifts away when the wall clock is adjusted. The offset is corrected whenever the two
  // disagree about the current millisecond, so the result is never off by more than one.
  now(): number {
    const steady = performance.now() * 1000;
    const wall = Date.now() * 1000;
    const derived = steady + this.#offset;
    if (derived < wall) this.#offset = wall - steady;
    else if (derived >= wall + 1000) this.#offset = wall + 999 - steady;
    return Math.floor(steady + this.#offset);
  }

  wakeAt(at: number, wake: () => void): CancelTimer {
    let timer: NodeJS.Timeout;
    const arm = (): void => {
      const ms = Math.ceil((at - this.now()) / 1000);
      timer = setTimeout(
        () => (this.now() >= at ? wake() : arm()),
        Math.min(Math.max(ms, 0), TIMEOUT_MS_MAX),
      );
    };
    arm();
    return () => clearTimeout(timer);
  }
}

interface VirtualTimer {
  readonly at: number;
  readonly wake: () => void;
}

/** A clock that stands still or runs as it is told: for tests, and for `--dev`. */
export class VirtualClock implements Clock {
  readonly #base: Clock | undefined;
  // While running: added to the base clock's time. Written by set, advance, run and stop.
  #shift = 0;
  // While standing still: the time. Undefined while running.
  #still: number | undefined;
  readonly #timers = new Set<VirtualTimer>();
  #cancelBase: CancelTimer | undefined;

  /** With a base the clock runs along with it until it is set or advanced; without, it stands at `start`. */
  constructor(options: { base?: Clock; start?: number } = {}) {
    this.#base = options.base;
    if (options.base === undefined) this.#still = options.start ?? 1_700_000_000 * SECOND;
  }

  now(): number {
    return this.#still ?? this.#base!.now() + this.#shift;
  }

  wakeAt(at: number, wake: () => void): CancelTimer {
    const timer = { at, wake };
    this.#timers.add(timer);
    this.#arm();
    return () => {
      if (this.#timers.delete(timer)) this.#arm();
    };
  }

  /** Puts the time to `at`; from then on it stands still. Fires what has become due, in order of time. */
  set(at: number): void {
    this.#still = at;
    this.#fire();
  }

  /** Moves the time on by `duration`; from then on it stands still. */
  advance(duration: number): void {
    this.set(this.now() + duration);
  }

  /** Lets the time run on from where it is; without a base clock it keeps standing still. */
  run(): void {
    if (this.#base === undefined || this.#still === undefined) return;
    this.#shift = this.#still - this.#base.now();
    this.#still = undefined;
    this.#arm();
  }

  #arm(): void {
    this.#cancelBase?.();
    this.#cancelBase = undefined;
    let next = Number.POSITIVE_INFINITY;
    for (const timer of this.#timers) next = Math.min(next, timer.at);
    if (next === Number.POSITIVE_INFINITY) return;
    if (this.#still === undefined) {
      this.#cancelBase = this.#base!.wakeAt(next - this.#shift, () => this.#fire());
    } else if (next <= this.#still) {
      const immediate = setImmediate(() => this.#fire());
      this.#cancelBase = () => clearImmediate(immediate);
    }
  }

  #fire(): void {
    const now = this.now();
    const due = [...this.#timers].filter((timer) => timer.at <= now).sort((a, b) => a.at - b.at);
    for (const timer of due) {
      if (this.#timers.delete(timer)) timer.wake();
    }
    this.#arm();
  }
}

/** The clock of a server: with `dev` it can be put forward. */
export function makeClock(dev: boolean): Clock {
  return dev ? new VirtualClock({ base: new SystemClock() }) : new SystemClock();
}

/** What `--dev` may do to the clock: put it to a time, or by a duration, or let it run. */
export interface ClockChange {
  readonly set?: number;
  readonly advance?: number;
  readonly run?: boolean;
}

/** Changes a virtual clock; answers what time it is then. */
export function changeClock(clock: Clock, { set, advance, run }: ClockChange): number {
  const virtual = clock as VirtualClock;
  if (set !== undefined) virtual.set(set);
  if (advance !== undefined) virtual.advance(advance);
  if (run === true) virtual.run();
  return virtual.now();
}
