// When keys were used last: every thread notes it in memory, and now and then, and at the end, it is written down
// for all of them. After a crash the use of some minutes is not known; no request waits for it.

import type { AuthStore } from "../auth/store.ts";
import { type CancelTimer, type Clock, MINUTE, SECOND, SystemClock } from "../clock.ts";
import type { Logger } from "../log.ts";

/** Keys by their ids, with when they were used last. */
export type UsedKeys = ReadonlyMap<string, number>;

const EVERY = 5 * MINUTE;

// A stop does not wait longer for it.
const LAST_WRITE = SECOND;

export interface KeyUseOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: AuthStore;
  /** What each thread has noted since it was asked last. */
  readonly takeUsed: () => Promise<readonly UsedKeys[]>;
}

export class KeyUse {
  readonly #options: KeyUseOptions;
  #cancel: CancelTimer;

  constructor(options: KeyUseOptions) {
    this.#options = options;
    this.#cancel = this.#later();
  }

  #later(): CancelTimer {
    return this.#options.clock.wakeAfter(EVERY, () => {
      this.#cancel = this.#later();
      void this.#write();
    });
  }

  async #write(): Promise<void> {
    const { store, takeUsed, log } = this.#options;
    try {
      const used = new Map<string, number>();
      for (const each of await takeUsed()) {
        for (const [id, at] of each) used.set(id, Math.max(at, used.get(id) ?? 0));
      }
      if (used.size > 0) await store.noteUsed(used);
    } catch (err) {
      log.debug({ err }, "the use of keys could not be written down"); // it will be, with their next use
    }
  }

  /** Ends it; with `isOurs` what was not yet is written down, unless that takes long. Never rejects. */
  async end(isOurs: boolean): Promise<void> {
    this.#cancel();
    if (!isOurs) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const giveUp = new SystemClock().wakeAfter(LAST_WRITE, resolve);
    await Promise.race([this.#write(), promise]);
    giveUp();
  }
}
