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
  #isAtWork = false;
  #willEnd = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Does a step: at once, or in a later turn. It must not throw, and may ask for the next. */
  do(step: () => void): void {
    this.#waiting.push(step);
    if (!this.#isAtWork) this.#goOn();
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

  #goOn(): void {
    this.#isAtWork = true;
    while (this.#next < this.#waiting.length && this.#spent < SHARE) {
      const from = this.#clock.steady();
      this.#waiting[this.#next]!();
      this.#next++;
      this.#spent += this.#clock.steady() - from;
    }
    this.#isAtWork = false;
    if (this.#next === this.#waiting.length || this.#next > DONE_MAX) {
      this.#waiting.splice(0, this.#next);
      this.#next = 0;
    }
    if (this.#willEnd || (this.#spent === 0 && this.#waiting.length === 0)) return;
    this.#willEnd = true;
    setImmediate(() => {
      this.#willEnd = false;
      this.#spent = 0;
      this.#goOn();
    });
  }
}

// Places of those that have been done.
const DONE_MAX = 1_024;

/** That of this thread. */
export const share = new Share(new SystemClock());
