// Who may use the thread for how long. Reading a body takes time in proportion to its bytes; a few
// clients that send large ones, again and again, could leave no time for anybody else. So bodies that
// are not small are read in steps, and the steps of all of them together have a share of each turn of
// the event loop: when it is used up, the others wait for later turns, in the order in which they came.
// Between two turns whatever is small is served.

import { type Clock, MILLISECOND, SystemClock } from "../clock.ts";

// Of a turn, in microseconds. A step that has begun is done to its end.
const SHARE = 10 * MILLISECOND;

/** The share of large bodies in each turn. */
export class Share {
  readonly #clock: Clock;
  #spent = 0;
  #waiting: (() => void)[] = [];
  // Those before it have been done.
  #next = 0;
  #willEnd = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Does a step: at once, or in a later turn. It must not throw. */
  do(step: () => void): void {
    if (this.#spent < SHARE && this.#waiting.length === 0) this.#take(step);
    else this.#waiting.push(step);
    this.#endLater();
  }

  /** Does work in a step of its own. */
  run<T>(work: () => Promise<T> | T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.do(() => {
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #take(step: () => void): void {
    const from = this.#clock.now();
    step();
    this.#spent += Math.max(this.#clock.now() - from, 0); // the system's clock may be put back
  }

  #endLater(): void {
    if (this.#willEnd) return;
    this.#willEnd = true;
    setImmediate(() => {
      this.#willEnd = false;
      this.#beginTurn();
    });
  }

  #beginTurn(): void {
    this.#spent = 0;
    while (this.#next < this.#waiting.length && this.#spent < SHARE) {
      const step = this.#waiting[this.#next]!;
      this.#next++;
      this.#take(step);
    }
    if (this.#next === this.#waiting.length) {
      this.#waiting = [];
      this.#next = 0;
    } else if (this.#next > WASTE_MAX) {
      this.#waiting = this.#waiting.slice(this.#next);
      this.#next = 0;
    }
    if (this.#spent > 0 || this.#waiting.length > 0) this.#endLater();
  }
}

// Places of those that have been done.
const WASTE_MAX = 1_024;

/** That of this thread. */
export const share = new Share(new SystemClock());
