// Who waits for items to end. Those who wait are known to memory only, and are told by the commit that ends
// their item, however it ends: nobody looks again and again, and where nobody waits nothing is done for it.
// How many may wait is bounded for all queues of a thread.

import type { CancelTimer, Clock } from "../clock.ts";
import { plainError, type QueueError } from "../errors.ts";

/** Items that are waited for at a time, over all queues of a thread. */
export const WATCHED_MAX = 10_000;

/** What is told of an item that is gone. */
export interface Told {
  /** As in `Ending`. */
  readonly how: string;
  readonly reason: string;
  readonly at: number;
  /** JSON as its consumer has written it; "" for none. */
  readonly result: string;
  /** Where it lay in the end, and what it was. */
  readonly partition: number;
  readonly seq: number;
  readonly createdAt: number;
  readonly attempts: number;
  readonly attributes: string;
}

interface Watcher {
  readonly id: string;
  readonly ticket: string;
  readonly resolve: (told: Told | undefined) => void;
  readonly reject: (error: QueueError) => void;
  readonly cancelTimer: CancelTimer;
}

export class Watchers {
  readonly #clock: Clock;
  // Over all queues.
  readonly #waiting: { items: number };
  readonly #byId = new Map<string, Set<Watcher>>();
  readonly #byTicket = new Map<string, Watcher>();
  #closed: QueueError | undefined;

  constructor(clock: Clock, waiting: { items: number }) {
    this.#clock = clock;
    this.#waiting = waiting;
  }

  /** How many wait. */
  get size(): number {
    return this.#byTicket.size;
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** Waits for the end of an item, which is there now; undefined if the time is over, or nobody waits any more. */
  watch(id: string, ticket: string, time: number): Promise<Told | undefined> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (this.#waiting.items >= WATCHED_MAX) return Promise.reject(plainError("overloaded"));
    const { promise, resolve, reject } = Promise.withResolvers<Told | undefined>();
    const cancelTimer = this.#clock.wakeAfter(time, () => this.drop(ticket));
    const watcher: Watcher = { id, ticket, resolve, reject, cancelTimer };
    this.#waiting.items++;
    this.#byTicket.set(ticket, watcher);
    const those = this.#byId.get(id);
    if (those === undefined) this.#byId.set(id, new Set([watcher]));
    else those.add(watcher);
    return promise;
  }

  /** Nobody waits under this ticket any more. */
  drop(ticket: string): void {
    const watcher = this.#byTicket.get(ticket);
    if (watcher !== undefined) this.#forget(watcher).resolve(undefined);
  }

  /** An item is gone, and it is durable that it is. */
  tell(id: string, told: Told): void {
    for (const watcher of this.#byId.get(id) ?? []) this.#forget(watcher).resolve(told);
  }

  /** From now on nobody may wait, and those who do are told so. */
  close(error: QueueError): void {
    this.#closed = error;
    for (const watcher of [...this.#byTicket.values()]) this.#forget(watcher).reject(error);
  }

  #forget(watcher: Watcher): Watcher {
    const { id, ticket, cancelTimer } = watcher;
    cancelTimer();
    this.#waiting.items--;
    this.#byTicket.delete(ticket);
    const those = this.#byId.get(id)!;
    those.delete(watcher);
    if (those.size === 0) this.#byId.delete(id);
    return watcher;
  }
}
