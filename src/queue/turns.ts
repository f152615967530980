// Puts the work of all queues of a thread into turns. Everything that arrives while the event loop
// polls is gathered, and what has arrived while that was read; then every queue with work plans one
// batch, and each storage commits all batches offered to it in one transaction. Under load one commit
// so carries what many requests brought, and a lone request waits for nothing.

import type { PartitionChanges, Storage } from "../storage/storage.ts";

/** What can be given a turn: the loop of a queue. */
export interface TurnTaker {
  /** Plans and offers its changes before its first wait, as far as it can. */
  takeTurn(): void;
}

// Requests keep arriving while those before them are read: so many times more the event loop looks
// for them, until it finds none.
const LOOKS_MAX = 4;

interface Offer {
  readonly changes: readonly PartitionChanges[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Group commit for one storage: one transaction at a time, the next gathers meanwhile. */
export class Committer {
  readonly storage: Storage;
  readonly #requestFlush: () => void;
  #offers: Offer[] = [];
  #committing = false;

  constructor(storage: Storage, requestFlush: () => void) {
    this.storage = storage;
    this.#requestFlush = requestFlush;
  }

  /** Resolves when the changes are durable; rejects if perhaps they are not. */
  commit(changes: readonly PartitionChanges[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#offers.push({ changes, resolve, reject });
    this.#requestFlush();
    return promise;
  }

  /** Writes everything that was offered, unless a transaction is under way: then after it. */
  async flush(): Promise<void> {
    if (this.#committing || this.#offers.length === 0) return;
    const offers = this.#offers;
    this.#offers = [];
    this.#committing = true;
    try {
      await this.storage.commit(offers.flatMap((offer) => offer.changes));
      for (const offer of offers) offer.resolve();
    } catch (error) {
      for (const offer of offers) offer.reject(error);
    }
    this.#committing = false;
    if (this.#offers.length > 0) this.#requestFlush();
  }
}

export class Turns {
  #takers: TurnTaker[] = [];
  readonly #committers = new Map<Storage, Committer>();
  #flushRequested = false;
  #arrivals = 0;

  /** Says that a request has arrived. */
  noteArrival(): void {
    this.#arrivals++;
  }

  /** Gives a turn soon: after everything that is ready to be read now has been read. */
  wake(taker: TurnTaker): void {
    if (this.#takers.push(taker) === 1) this.#look(LOOKS_MAX);
  }

  #look(left: number): void {
    const arrivals = this.#arrivals;
    setImmediate(() => {
      if (this.#arrivals !== arrivals && left > 0) {
        this.#look(left - 1);
        return;
      }
      const takers = this.#takers;
      this.#takers = [];
      for (const each of takers) each.takeTurn();
    });
    // In the same phase, but after the promises that the turns wait for and that are settled
    // already: a read from SQLite before the plan does not cost a transaction of its own.
    setImmediate(() => this.#flush());
  }

  /** The committer of a storage: one for all queues. */
  committer(storage: Storage): Committer {
    let committer = this.#committers.get(storage);
    if (committer === undefined) {
      committer = new Committer(storage, () => this.#requestFlush());
      this.#committers.set(storage, committer);
    }
    return committer;
  }

  #requestFlush(): void {
    if (this.#flushRequested) return;
    this.#flushRequested = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushRequested = false;
    for (const committer of this.#committers.values()) void committer.flush();
  }
}
