// The keys with which queues were created, changed and deleted, by the names of the queues, until they end.
// They lie in the records of these names, written together with what they were used for.

import type { Clock } from "../clock.ts";
import { queueError } from "../errors.ts";
import { REPEAT_KEPT, type Repeat } from "../queue/queue.ts";
import type { Timers } from "../timers.ts";
import type { KeptRepeat } from "./records.ts";

// Of one name; those before are forgotten sooner.
const KEPT_MAX = 100;

export class KeptRepeats {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #onEnded: (name: string) => void;
  readonly #kept = new Map<string, readonly KeptRepeat[]>();

  /** `onEnded` is told of a name some of whose keys have ended, so that its record is written without them. */
  constructor(clock: Clock, timers: Timers, onEnded: (name: string) => void) {
    this.#clock = clock;
    this.#timers = timers;
    this.#onEnded = onEnded;
  }

  /** Takes over what a record holds. */
  load(name: string, kept: readonly KeptRepeat[]): void {
    this.#kept.set(name, kept);
    this.#forgetLater(name);
  }

  /** What the record of a name is to hold. */
  of(name: string): readonly KeptRepeat[] | undefined {
    return this.#kept.get(name);
  }

  /** Whether this was done already; throws a QueueError (409) if something else was, with the same key. */
  isKnown(name: string, { key, digest }: Repeat): boolean {
    const now = this.#clock.now();
    const kept = this.#kept.get(name)?.find((each) => each.key === key && each.until > now);
    if (kept === undefined) return false;
    if (kept.digest !== digest) throw queueError("idempotency_mismatch", { key });
    return true;
  }

  /** Does what writes the record of a name, which then holds the key as well; not if it fails. */
  async during(name: string, repeat: Repeat, work: () => Promise<void>): Promise<void> {
    const before = this.#kept.get(name);
    const now = this.#clock.now();
    const valid = (before ?? []).filter(({ until }) => until > now).slice(1 - KEPT_MAX);
    this.#set(name, [...valid, { ...repeat, until: now + REPEAT_KEPT }]);
    try {
      await work();
    } catch (error) {
      this.#set(name, before ?? []);
      throw error;
    }
    this.#forgetLater(name);
  }

  #set(name: string, kept: readonly KeptRepeat[]): void {
    if (kept.length === 0) this.#kept.delete(name);
    else this.#kept.set(name, kept);
  }

  #forgetLater(name: string): void {
    this.#timers.after(REPEAT_KEPT, () => {
      const now = this.#clock.now();
      const before = this.#kept.get(name) ?? [];
      const valid = before.filter(({ until }) => until > now);
      if (valid.length === before.length) return;
      this.#set(name, valid);
      this.#onEnded(name);
    });
  }
}
