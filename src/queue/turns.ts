// Puts the work of all queues of a thread into turns. First all requests that are ready to be read are
// gathered. Then every queue with work plans one batch, and each storage commits all batches that it was
// offered in one transaction. So one commit carries the work of many requests under load, and a lone
// request waits for nobody. Only where commits are slow does a turn wait for the clients that the last
// commit has answered, so that the next one carries their requests too.

import { type CancelTimer, type Clock, MILLISECOND } from "../clock.ts";
import { Octaves } from "../octaves.ts";
import type { SlowLog, SlowLogs } from "../slow.ts";
import type { PartitionChanges, Storage } from "../storage/storage.ts";

/** What takes turns: the loop of a queue. */
export interface TurnTaker {
  /** The committer of the storage in which it mostly works. */
  readonly committer: Committer;
  /** Plans and offers its changes before its first wait, as far as it can. */
  takeTurn(): void;
}

// While requests are read more may arrive. The event loop looks for them until it finds none, but not more
// than so many times.
const LOOKS_MAX = 4;

// If commits take at least SLOW_COMMIT, a turn waits for clients: until MOST of those that are expected are
// back, for the last of them may never come, and no longer than a commit takes. Where commits are faster
// the timer alone would cost more than it saves.
const SLOW_COMMIT = 0.3 * MILLISECOND;
const MOST = 4 / 5;
const WAIT_MAX = 5 * MILLISECOND;
// The weight of the last commit in the averages.
const WEIGHT = 1 / 8;

interface Offer {
  readonly changes: readonly PartitionChanges[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What a committer is doing. */
export interface CommitState {
  readonly storage: string;
  readonly isCommitting: boolean;
  /** How long the transaction under way has taken so far, in microseconds. */
  readonly time: number;
  /** Batches of partitions that wait for the next one. */
  readonly waiting: number;
  readonly failures: number;
}

/** Commits for one storage: one transaction at a time, while the next one gathers. */
export class Committer {
  readonly storage: Storage;
  readonly #requestFlush: () => void;
  readonly #returns: Returns;
  readonly #slow: SlowLog | undefined;
  #offers: Offer[] = [];
  #committing = false;
  /** How many changes commits have had: items added or moved, leases, and ranges removed. */
  readonly sizes = new Octaves();
  /** Commits that have failed. */
  failures = 0;

  constructor(storage: Storage, requestFlush: () => void, returns: Returns, slow?: SlowLog) {
    this.storage = storage;
    this.#requestFlush = requestFlush;
    this.#returns = returns;
    this.#slow = slow;
  }

  /** Resolves when the changes are durable; rejects if they may not be. */
  commit(changes: readonly PartitionChanges[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#offers.push({ changes, resolve, reject });
    this.#requestFlush();
    return promise;
  }

  /** Writes everything that was offered; if a transaction is under way, after that one. */
  async flush(): Promise<void> {
    if (this.#committing || this.#offers.length === 0) return;
    const offers = this.#offers;
    this.#offers = [];
    this.#committing = true;
    this.#returns.begin();
    const { failures } = this;
    const changes = offers.flatMap((offer) => offer.changes);
    const size = sizeOf(changes);
    this.sizes.note(size);
    try {
      await this.storage.commit(changes);
      for (const offer of offers) offer.resolve();
    } catch (error) {
      this.failures++;
      for (const offer of offers) offer.reject(error);
    }
    const time = this.#returns.end();
    this.#committing = false;
    const slow = this.#slow;
    if (slow !== undefined && time >= slow.limit) {
      slow.note(this.storage.name, time, () => ({
        partitions: changes.length,
        changes: size,
        // What could not be written meanwhile.
        waiting: this.state.waiting,
        ...(this.failures > failures && { failed: true }),
      }));
    }
    if (this.#offers.length > 0) this.#requestFlush();
  }

  /** What is under way, and what waits for that. */
  get state(): CommitState {
    const time = this.#committing ? this.#returns.sinceBegin : 0;
    const waiting = this.#offers.reduce((sum, { changes }) => sum + changes.length, 0);
    return {
      storage: this.storage.name,
      isCommitting: this.#committing,
      time,
      waiting,
      failures: this.failures,
    };
  }

  /** How long commits have taken. */
  get times(): Octaves {
    return this.#returns.times;
  }

  /** Says that a request has arrived for a queue in this storage. */
  noteArrival(): void {
    this.#returns.noteArrival();
  }

  /** Says that a commit has answered so many requests. */
  noteAnswers(count: number): void {
    this.#returns.noteAnswers(count);
  }

  /** The steady time until which turns are put off, because clients are expected back; 0 if none are. */
  get waitsUntil(): number {
    return this.#committing ? 0 : this.#returns.waitsUntil;
  }
}

/**
 * How many clients a slow commit has answered, and how many of them are back with their next request. If
 * nobody waited for them, clients that send one request after another would fall into two groups, each of
 * which waits for the commit of the other.
 */
class Returns {
  // Undefined with a virtual clock: then nobody is waited for.
  readonly #clock: Clock | undefined;
  readonly #onReturned: () => void;
  // Averages: how long a commit takes, and which part of the clients that it answers is back by the next one.
  #commitTime = 0;
  #share = 1;
  // Counted since the last commit ended. Times are steady, so that setting the wall clock delays nobody.
  #answered = 0;
  #arrived = 0;
  #endedAt = 0;
  #beganAt = 0;
  readonly times = new Octaves();

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

  /** Answers how long it has taken. */
  end(): number {
    if (this.#clock === undefined) return 0;
    this.#endedAt = this.#clock.steady();
    const time = this.#endedAt - this.#beganAt;
    this.times.note(time);
    this.#commitTime += WEIGHT * (time - this.#commitTime);
    this.#answered = 0;
    this.#arrived = 0;
    return time;
  }

  /** How long the commit under way has taken so far. */
  get sinceBegin(): number {
    return this.#clock === undefined ? 0 : Math.max(this.#clock.steady() - this.#beganAt, 0);
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

// A number for each list, so that a large batch costs no more than a small one.
function sizeOf(changes: readonly PartitionChanges[]): number {
  let size = 0;
  for (const { adds, addsScheduled, addsHeld, moves, leases, removes } of changes) {
    size += adds.length + addsScheduled.length + addsHeld.length;
    size += moves.length + leases.length + removes.length;
  }
  return size;
}

export class Turns {
  readonly #clock: Clock | undefined;
  /** How long turns have taken, with their commits; how long items have waited, and run. Of all queues of the thread. */
  readonly times = { turn: new Octaves(), wait: new Octaves(), run: new Octaves() };
  #takers: TurnTaker[] = [];
  readonly #committers = new Map<Storage, Committer>();
  #isLooking = false;
  #cancelWait: CancelTimer | undefined;
  #flushRequested = false;
  #arrivals = 0;

  /** What is told of turns and commits that are slow. */
  readonly slow: SlowLogs | undefined;

  /** `pace` is the clock by which commits are timed; without it no turn waits for clients, and none is slow. */
  constructor({
    pace,
    slow,
  }: { readonly pace?: Clock; readonly slow?: SlowLogs | undefined } = {}) {
    this.#clock = pace;
    this.slow = slow;
  }

  /** Says that a request has arrived for a queue. */
  noteArrival(taker: TurnTaker): void {
    this.#arrivals++;
    taker.committer.noteArrival();
  }

  /** The time by which turns are timed; 0 if none is. */
  steady(): number {
    return this.#clock?.steady() ?? 0;
  }

  /** All that is committed through. */
  get committers(): Iterable<Committer> {
    return this.#committers.values();
  }

  /** Gives a turn soon: once everything that is ready to be read has been read. */
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
    // In the same phase of the event loop, but after promises that are settled already: a turn that had to
    // read from SQLite before its plan still gets into this transaction.
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
   * Calls `work` once the replies that are given now have left this thread, with the time that this took.
   * It is measured by `pace`, for a virtual clock may be moved meanwhile; without `pace` replies take no time,
   * and `work` is not called.
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
      const slow = this.slow?.commits;
      committer = new Committer(storage, () => this.#requestFlush(), returns, slow);
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
