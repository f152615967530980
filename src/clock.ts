// The one source of time. Everything that needs the time or a timer is given a Clock; nothing
// else in the program calls Date.now or setTimeout for what a user can observe. A clock tells two
// things. `now` is wall time, which may step at any moment, forwards and back: it is for what is
// stored or shown, and a deadline that is stored is compared with it. `steady` only ever runs on, at
// the same rate for all threads of a process: how long something takes, lasts or waits is measured by
// it alone. Both are whole microseconds (exact until the year 2255), and so are durations. A clock
// never runs timers early.

export const MICROSECOND = 1;
export const MILLISECOND = 1_000;
export const SECOND = 1_000_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

/** Cancels a timer; harmless once the timer has fired. */
export type CancelTimer = () => void;

export interface Clock {
  /** Wall time: microseconds since 1970, following the system's clock. */
  now(): number;
  /** Microseconds since some moment in the past, the same for all threads; no change of the system's clock moves it. */
  steady(): number;
  /** Whether time stands still, so that nothing takes any. */
  readonly isStill: boolean;
  /** Calls `wake` once, when so many microseconds have passed; never synchronously. */
  wakeAfter(duration: number, wake: () => void): CancelTimer;
  /**
   * Calls `wake` once, as soon as now() >= at; at once (but not synchronously) if that is past. After a
   * step of the system's clock it may be late by a second.
   */
  wakeAt(at: number, wake: () => void): CancelTimer;
}

// setTimeout overflows above 2^31-1 ms; a longer wait is made of several.
const TIMEOUT_MS_MAX = 3_600_000;

// How often a clock looks whether the wall clock was set, while somebody waits for a wall time, and by
// how much it must have moved for that.
const LOOK_MS = 1_000;
const STEP_MIN = 10 * MILLISECOND;

/** Where a SystemClock takes its time from. */
export interface TimeSources {
  /** Wall time in milliseconds since 1970. */
  readonly wallMs: () => number;
  /** Steady time in microseconds. */
  readonly steady: () => number;
}

const SYSTEM: TimeSources = {
  wallMs: () => Date.now(),
  // Of all threads it counts from when the process began.
  steady: () => performance.now() * 1000,
};

/** A timer that waits for a wall time. */
interface WallTimer {
  readonly at: number;
  readonly wake: () => void;
  timeout: NodeJS.Timeout | undefined;
}

/** The system's clock, with microseconds. */
export class SystemClock implements Clock {
  readonly isStill = false;
  readonly #sources: TimeSources;
  // Added to steady time to give wall time. Written by now() only.
  #offset = 0;
  readonly #wallTimers = new Set<WallTimer>();
  // The offset for which the timers above were set.
  #timersOffset = 0;
  #look: NodeJS.Timeout | undefined;

  constructor(sources: Partial<TimeSources> = {}) {
    this.#sources = { ...SYSTEM, ...sources };
  }

  // The wall clock knows only milliseconds; the steady one knows microseconds, but the two drift
  // apart, or step, when the wall clock is adjusted. The offset is corrected whenever they disagree
  // about the current millisecond, so the result is never off by more than one.
  now(): number {
    const steady = this.#sources.steady();
    const wall = this.#sources.wallMs() * 1000;
    const derived = steady + this.#offset;
    if (derived < wall) this.#offset = wall - steady;
    else if (derived >= wall + 1000) this.#offset = wall + 999 - steady;
    return Math.floor(steady + this.#offset);
  }

  steady(): number {
    return Math.floor(this.#sources.steady());
  }

  wakeAfter(duration: number, wake: () => void): CancelTimer {
    const at = this.steady() + duration;
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      timer = setTimeout(() => {
        const now = this.steady();
        if (now >= at) wake();
        else arm(at - now);
      }, timeoutMs(left));
    };
    arm(duration);
    return () => clearTimeout(timer);
  }

  wakeAt(at: number, wake: () => void): CancelTimer {
    const timer: WallTimer = { at, wake, timeout: undefined };
    const left = at - this.now();
    if (this.#wallTimers.size === 0) this.#timersOffset = this.#offset;
    this.#wallTimers.add(timer);
    this.#arm(timer, left);
    this.#lookLater();
    return () => this.#drop(timer);
  }

  #arm(timer: WallTimer, left: number): void {
    clearTimeout(timer.timeout);
    timer.timeout = setTimeout(() => {
      const still = timer.at - this.now();
      if (still > 0) {
        this.#arm(timer, still);
      } else {
        this.#drop(timer);
        timer.wake();
      }
    }, timeoutMs(left));
  }

  #drop(timer: WallTimer): void {
    clearTimeout(timer.timeout);
    this.#wallTimers.delete(timer);
  }

  // Timeouts follow the steady clock. So that none sleeps on after the wall clock was set, one look a
  // second is taken for all of them; it keeps no process alive.
  #lookLater(): void {
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      if (this.#wallTimers.size === 0) return;
      const now = this.now();
      if (Math.abs(this.#offset - this.#timersOffset) >= STEP_MIN) {
        this.#timersOffset = this.#offset;
        for (const timer of this.#wallTimers) this.#arm(timer, timer.at - now);
      }
      this.#lookLater();
    }, LOOK_MS).unref();
  }
}

function timeoutMs(left: number): number {
  return Math.min(Math.max(Math.ceil(left / 1000), 0), TIMEOUT_MS_MAX);
}

interface VirtualTimer {
  readonly at: number;
  /** Whether `at` is wall time. */
  readonly isWall: boolean;
  readonly wake: () => void;
}

/** A clock that stands still or runs as it is told: for tests, and for `--dev`. */
export class VirtualClock implements Clock {
  readonly #base: Clock | undefined;
  // While running: added to the base clock's times. Written by #stand and run.
  #shift = 0;
  #steadyShift = 0;
  // While standing still: the times. Undefined while running.
  #still: { readonly now: number; readonly steady: number } | undefined;
  readonly #timers = new Set<VirtualTimer>();
  #cancelBase: CancelTimer[] = [];

  /** With a base the clock runs along with it until it is set or advanced; without, it stands at `start`. */
  constructor(options: { base?: Clock; start?: number } = {}) {
    this.#base = options.base;
    if (options.base !== undefined) return;
    this.#still = { now: options.start ?? 1_700_000_000 * SECOND, steady: 0 };
  }

  now(): number {
    return this.#still?.now ?? this.#base!.now() + this.#shift;
  }

  steady(): number {
    return this.#still?.steady ?? this.#base!.steady() + this.#steadyShift;
  }

  get isStill(): boolean {
    return this.#still !== undefined;
  }

  wakeAfter(duration: number, wake: () => void): CancelTimer {
    return this.#add({ at: this.steady() + duration, isWall: false, wake });
  }

  wakeAt(at: number, wake: () => void): CancelTimer {
    return this.#add({ at, isWall: true, wake });
  }

  #add(timer: VirtualTimer): CancelTimer {
    this.#timers.add(timer);
    this.#arm();
    return () => {
      if (this.#timers.delete(timer)) this.#arm();
    };
  }

  /**
   * Puts the time to `at`; from then on it stands still. Time that was skipped has passed; set back, none
   * has. Fires what has become due, in order of time.
   */
  set(at: number, steady = this.steady() + Math.max(at - this.now(), 0)): void {
    this.#stand({ now: at, steady: Math.max(steady, this.steady()) });
  }

  /** Moves the time on by `duration`; from then on it stands still. */
  advance(duration: number): void {
    this.set(this.now() + duration);
  }

  /** What a step of the system's clock does: wall time moves, forwards or back, and no time passes. */
  step(by: number): void {
    this.#stand({ now: this.now() + by, steady: this.steady() });
  }

  #stand(still: { readonly now: number; readonly steady: number }): void {
    this.#still = still;
    this.#fire();
  }

  /** Lets the time run on from where it is; without a base clock it keeps standing still. */
  run(): void {
    if (this.#base === undefined || this.#still === undefined) return;
    this.#shift = this.#still.now - this.#base.now();
    this.#steadyShift = this.#still.steady - this.#base.steady();
    this.#still = undefined;
    this.#arm();
  }

  #arm(): void {
    for (const cancel of this.#cancelBase.splice(0)) cancel();
    let nextWall = Number.POSITIVE_INFINITY;
    let nextSteady = Number.POSITIVE_INFINITY;
    for (const { at, isWall } of this.#timers) {
      if (isWall) nextWall = Math.min(nextWall, at);
      else nextSteady = Math.min(nextSteady, at);
    }
    const fire = (): void => this.#fire();
    if (this.#still !== undefined) {
      if (nextWall > this.#still.now && nextSteady > this.#still.steady) return;
      const immediate = setImmediate(fire);
      this.#cancelBase.push(() => clearImmediate(immediate));
      return;
    }
    const base = this.#base!;
    if (nextWall !== Number.POSITIVE_INFINITY) {
      this.#cancelBase.push(base.wakeAt(nextWall - this.#shift, fire));
    }
    if (nextSteady !== Number.POSITIVE_INFINITY) {
      this.#cancelBase.push(base.wakeAfter(nextSteady - this.steady(), fire));
    }
  }

  #fire(): void {
    const now = this.now();
    const steady = this.steady();
    const lateBy = ({ at, isWall }: VirtualTimer): number => (isWall ? now : steady) - at;
    const due = [...this.#timers]
      .filter((timer) => lateBy(timer) >= 0)
      .sort((a, b) => lateBy(b) - lateBy(a));
    for (const timer of due) {
      if (this.#timers.delete(timer)) timer.wake();
    }
    this.#arm();
  }
}

/**
 * Milliseconds by which the wall clock of a server differs from the system's, in memory that its threads
 * share: for tests, which may change it at any time.
 */
export type WallShift = Float64Array<SharedArrayBuffer>;

/** The clock of a server: with `dev` it can be put forward. */
export function makeClock(dev: boolean, shift?: WallShift): Clock {
  const system = new SystemClock(
    shift === undefined ? {} : { wallMs: () => Date.now() + shift[0]! },
  );
  return dev ? new VirtualClock({ base: system }) : system;
}

/** What `--dev` may do to the clock: put it to a time, or by a duration, or let it run. */
export interface ClockChange {
  readonly set?: number;
  /** With `set`: what steady time it is then. */
  readonly steady?: number;
  readonly advance?: number;
  readonly run?: boolean;
}

/** A change that does the same to the clocks of all threads as it does to this one. */
export function sameForAll(clock: Clock, { set, advance, run = false }: ClockChange): ClockChange {
  const now = clock.now();
  const at = advance === undefined ? set : now + advance;
  if (at === undefined) return { run };
  return { set: at, steady: clock.steady() + Math.max(at - now, 0), run };
}

/** Changes a virtual clock; answers what time it is then. */
export function changeClock(clock: Clock, { set, steady, advance, run }: ClockChange): number {
  const virtual = clock as VirtualClock;
  if (set !== undefined) virtual.set(set, steady);
  if (advance !== undefined) virtual.advance(advance);
  if (run === true) virtual.run();
  return virtual.now();
}
