// Puts the work of all queues of a thread into turns. Everything that arrives while the event loop
// polls is gathered, and what has arrived while that was read; then every queue with work plans one
// batch, and each storage commits all batches offered to it in one transaction. Under load one commit
// so carries what many requests brought, and a lone request waits for nothing. Only where commits are
// slow, the clients that one has just answered are waited for, so that the next carries theirs too.

import { type CancelTimer, type Clock, MILLISECOND } from "../clock.ts";
import type { PartitionChanges, Storage } from "../storage/storage.ts";

/** What can be given a turn: the loop of a queue. */
export interface TurnTaker {
  /** The committer of the storage in which it mostly works. */
  readonly committer: Committer;
  /** Plans and offers its changes before its first wait, as far as it can. */
  takeTurn(): void;
}

// Requests keep arriving while those before them are read: so many times more the event loop looks
// for them, until it finds none.
const LOOKS_MAX = 4;

// Clients are waited for if commits take at least so long, in microseconds: as long as a commit, at most,
// until most of those that are expected are there. The last of them may never come. Less would be spent
// on the timer alone.
const SLOW_COMMIT = 0.3 * MILLISECOND;
const MOST = 4 / 5;
const WAIT_MAX = 5 * MILLISECOND;
// How much the last commit counts in the averages.
const WEIGHT = 1 / 8;

interface Offer {
  readonly changes: readonly PartitionChanges[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Group commit for one storage: one transaction at a time, the next gathers meanwhile. */
export class Committer {
  readonly storage: Storage;
  readonly #requestFlush: () => void;
  readonly #returns: Returns;
  #offers: Offer[] = [];
  #committing = false;

  constructor(storage: Storage, requestFlush: () => void, returns: Returns) {
    this.storage = storage;
    this.#requestFlush = requestFlush;
    this.#returns = returns;
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
    this.#returns.begin();
    try {
      await this.storage.commit(offers.flatMap((offer) => offer.changes));
      for (const offer of offers) offer.resolve();
    } catch (error) {
      for (const offer of offers) offer.reject(error);
    }
    this.#returns.end();
    this.#committing = false;
    if (this.#offers.length > 0) this.#requestFlush();
  }

  /** Says that a request has arrived for a queue in this storage. */
  noteArrival(): void {
    this.#returns.noteArrival();
  }

  /** Says that a commit has answered so many requests. */
  noteAnswers(count: number): void {
    this.#returns.noteAnswers(count);
  }

  /** Until when, in steady time, turns are put off, because clients are about to come back; 0 if they are not. */
  get waitsUntil(): number {
    return this.#committing ? 0 : this.#returns.waitsUntil;
  }
}

/**
 * Whom a slow commit has answered, and how many of them have come back with their next request. In a
 * closed loop clients otherwise fall into two groups, of which one waits for the commit of the other.
 */
class Returns {
  // Undefined where time stands still at will: then nobody is waited for.
  readonly #clock: Clock | undefined;
  readonly #onReturned: () => void;
  // Averages: how long a commit takes, and what part of those answered has come back by the next.
  #commitTime = 0;
  #share = 1;
  // Since the last commit ended. Times are steady: nobody is waited for because the wall clock was set.
  #answered = 0;
  #arrived = 0;
  #endedAt = 0;
  #beganAt = 0;

  constructor(clock: Clock | undefined, onReturned: () => void) {
    this.#clock = clock;
    this.#onReturned = onReturned;
  }

  begin(): void {
    if (this.#clock === undefined) return;
    this.#beganAt = this.#clock.steady();
    if (this.#answered === 0) return;
    this.#share += WEIGHT * (Math.min(this.#arrived / this.#answered, 1) - this.#share);
  }

  end(): void {
    if (this.#clock === undefined) return;
    this.#endedAt = this.#clock.steady();
    this.#commitTime += WEIGHT * (this.#endedAt - this.#beganAt - this.#commitTime);
    this.#answered = 0;
    this.#arrived = 0;
  }

  noteAnswers(count: number): void {
    this.#answered += count;
  }

  noteArrival(): void {
    this.#arrived++;
    if (this.#arrived === this.#expected) this.#onReturned();
  }

  get #expected(): number {
    return Math.floor(this.#answered * this.#share * MOST);
  }

  get waitsUntil(): number {
    if (this.#commitTime < SLOW_COMMIT || this.#arrived >= this.#expected) return 0;
    return this.#endedAt + Math.min(this.#commitTime, WAIT_MAX);
  }
}

export class Turns {
  readonly #clock: Clock | undefined;
  #takers: TurnTaker[] = [];
  readonly #committers = new Map<Storage, Committer>();
  #isLooking = false;
  #cancelWait: CancelTimer | undefined;
  #flushRequested = false;
  #arrivals = 0;

  /** `pace` tells how long commits take; without it nobody is waited for. */
  constructor({ pace }: { readonly pace?: Clock } = {}) {
    this.#clock = pace;
  }

  /** Says that a request has arrived for a queue. */
  noteArrival(taker: TurnTaker): void {
    this.#arrivals++;
    taker.committer.noteArrival();
  }

  /** Gives a turn soon: after everything that is ready to be read now has been read. */
  wake(taker: TurnTaker): void {
    this.#takers.push(taker);
    this.#startLooking();
  }

  #startLooking(): void {
    if (this.#isLooking || this.#takers.length === 0) return;
    this.#isLooking = true;
    this.#look(LOOKS_MAX);
  }

  #look(left: number): void {
    const arrivals = this.#arrivals;
    setImmediate(() => {
      if (this.#arrivals !== arrivals && left > 0) this.#look(left - 1);
      else this.#takeTurns();
    });
    // In the same phase, but after the promises that the turns wait for and that are settled
    // already: a read from SQLite before the plan does not cost a transaction of its own.
    setImmediate(() => this.#flush());
  }

  #takeTurns(): void {
    this.#isLooking = false;
    this.#cancelWait?.();
    this.#cancelWait = undefined;
    const takers = this.#takers;
    this.#takers = [];
    const now = this.#clock?.steady() ?? Number.POSITIVE_INFINITY;
    let next = Number.POSITIVE_INFINITY;
    for (const each of takers) {
      const { waitsUntil } = each.committer;
      if (waitsUntil > now) {
        this.#takers.push(each);
        next = Math.min(next, waitsUntil);
      } else {
        each.takeTurn();
      }
    }
    if (next === Number.POSITIVE_INFINITY) return;
    this.#cancelWait = this.#clock!.wakeAfter(next - now, () => this.#startLooking());
  }

  /**
   * Does something once the replies to what is answered now have left this thread, and tells it how long
   * that took. By the pace, for a virtual clock may be put forward meanwhile; without one it takes no time.
   */
  afterReplies(work: (late: number) => void): void {
    const clock = this.#clock;
    if (clock === undefined) return;
    const from = clock.steady();
    setImmediate(() => work(clock.steady() - from));
  }

  /** The committer of a storage: one for all queues. */
  committer(storage: Storage): Committer {
    let committer = this.#committers.get(storage);
    if (committer === undefined) {
      const returns = new Returns(this.#clock, () => this.#startLooking());
      committer = new Committer(storage, () => this.#requestFlush(), returns);
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
