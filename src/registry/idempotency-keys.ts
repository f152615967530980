// Idempotency of the registry: the Idempotency-Keys with which queues were created, changed and deleted, by the
// names of the queues, for ten minutes. They are kept in the records of these names, and written together
// with what they were used for.

import type { Clock } from "../clock.ts";
import { queueError } from "../errors.ts";
import { REPEAT_KEPT, type Repeat } from "../queue/queue.ts";
import type { Timers } from "../timers.ts";
import type { KeptRepeat, QueueRecord } from "./records.ts";

// Of one name; those before are forgotten sooner.
const KEPT_MAX = 100;

export class IdempotencyKeys {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #onEnded: (name: string) => void;
  readonly #kept = new Map<string, readonly KeptRepeat[]>();
  // The change under way, until its record is written; there is one at a time.
  #begun: { readonly name: string; readonly repeat: Repeat } | undefined;

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

  /** What was done with this key already; throws a QueueError (409) if it was something else. */
  find(name: string, { key, digest }: Repeat): KeptRepeat | undefined {
    const now = this.#clock.now();
    const kept = this.#kept.get(name)?.find((each) => each.key === key && each.until > now);
    if (kept !== undefined && kept.digest !== digest) {
      throw queueError("idempotency_mismatch", { key });
    }
    return kept;
  }

  /**
   * Does what writes the record of a name, which then holds the key as well, and the queue as it is then; not
   * if it fails.
   */
  async during<T>(name: string, repeat: Repeat, work: () => Promise<T>): Promise<T> {
    const before = this.#kept.get(name);
    this.#begun = { name, repeat };
    try {
      const result = await work();
      this.#forgetLater(name);
      return result;
    } catch (error) {
      this.#set(name, before ?? []);
      throw error;
    } finally {
      this.#begun = undefined;
    }
  }

  /** A record is about to be written: it is to hold the key of what writes it, if it has one. */
  note(name: string, queue: QueueRecord | undefined): void {
    const begun = this.#begun;
    if (begun === undefined || begun.name !== name) return;
    this.#begun = undefined; // what is written for it later, of leftovers say, is no answer
    const now = this.#clock.now();
    const valid = (this.#kept.get(name) ?? []).filter(({ until }) => until > now);
    const until = now + REPEAT_KEPT;
    this.#set(name, [...valid.slice(1 - KEPT_MAX), { ...begun.repeat, until, queue }]);
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
