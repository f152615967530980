// The two timers of a loop: one in steady time, for deadlines of requests, rests and leases that hold on, and one in wall
// time, for what is stored. One that fires too early finds nothing to do and is set anew, which is cheaper than moving
// it with every request.

import type { CancelTimer, Clock } from "../clock.ts";

export class LoopTimers {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #steadyAt = Number.POSITIVE_INFINITY;
  #cancelSteady: CancelTimer | undefined;
  #wallAt = Number.POSITIVE_INFINITY;
  #cancelWall: CancelTimer | undefined;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at these times, or sooner. */
  arm(steadyAt: number, wallAt: number): void {
    if (steadyAt < this.#steadyAt) {
      this.#cancelSteady?.();
      this.#steadyAt = steadyAt;
      this.#cancelSteady = this.#clock.wakeAfter(steadyAt - this.#clock.steady(), () => {
        this.#steadyAt = Number.POSITIVE_INFINITY;
        this.#cancelSteady = undefined;
        this.#ring();
      });
    }
    if (wallAt < this.#wallAt) {
      this.#cancelWall?.();
      this.#wallAt = wallAt;
      this.#cancelWall = this.#clock.wakeAt(wallAt, () => {
        this.#wallAt = Number.POSITIVE_INFINITY;
        this.#cancelWall = undefined;
        this.#ring();
      });
    }
  }

  /** The wall time at which it rings next for what is stored; infinite if it does not. */
  get nextAt(): number {
    return this.#wallAt;
  }

  cancel(): void {
    this.#cancelSteady?.();
    this.#cancelWall?.();
  }
}
