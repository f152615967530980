// The leases that one batch gives in one partition. Mostly they are one run of items from the head on, with
// one deadline, and so one mark. Leases that last for other times have a run each, one behind the other.
// Leases of some kinds only pick theirs out of the ready window, wherever they lie: what they pass over keeps
// waiting in its order, and what they pick has a mark for each stretch of consecutive numbers. So no mark ever
// begins inside of another such stretch, and one that stands over it begins before it (see StoredLeases).
// Planned, marked and applied as PartitionBatch says.

import type { LeaseMark } from "../storage/storage.ts";
import { markOf } from "./extensions.ts";
import { Grant, type Item } from "./item.ts";
import { holdNew } from "./lease-ends.ts";
import type { Partition } from "./partition.ts";

/** Items that are leased until one deadline: those of the window, and then those that the batch adds. */
class Run {
  readonly grant: Grant;
  readonly ready: Item[] = [];
  readonly added: Item[] = [];
  /**
   * What is added carries the deadline itself, and so is held by a lease without a mark, as it is after a
   * restart: by this one if the other has a mark.
   */
  grantAdded: Grant;

  constructor(grant: Grant) {
    this.grant = grant;
    this.grantAdded = grant;
  }
}

export class Dealing {
  readonly #of: Partition;
  readonly #now: number;
  // What the batch adds waits behind the window.
  readonly #adds: readonly Item[];
  readonly #runs: Run[] = [];
  #last: Run | undefined;
  // The next item from the head on that is not leased: its index in the window, and then in `adds`.
  #next = 0;
  #nextAdded = 0;
  #count = 0;
  // What was picked from the window at `next` or behind it.
  #picked: Set<Item> | undefined;
  /** Whether what the batch adds is to be leased by a later one. */
  sparesAdded = false;
  #isPicking = false;

  constructor(partition: Partition, now: number, adds: readonly Item[]) {
    this.#of = partition;
    this.#now = now;
    this.#adds = adds;
  }

  /** How many are leased. */
  get count(): number {
    return this.#count;
  }

  /** How many more could be leased. */
  get available(): number {
    const { readyCount, readyComplete, leaseRoom } = this.#of;
    const ready = readyCount - this.#next - (this.#picked?.size ?? 0);
    const added = readyComplete && !this.sparesAdded ? this.#adds.length - this.#nextAdded : 0;
    return Math.min(ready + added, leaseRoom - this.#count);
  }

  /** The item that `take` would lease. Only to be called while something is available. */
  peek(): Item {
    const { readyCount } = this.#of;
    return this.#next < readyCount ? this.#of.readyAt(this.#next) : this.#adds[this.#nextAdded]!;
  }

  /** Leases the next item from the head on. Items that were added by this very batch are written as leased. */
  take(deadline: number): Item {
    const item = this.peek();
    const last = this.#last;
    const joins = last !== undefined && !this.#isPicking && last.grant.deadline === deadline;
    const run = joins ? last : this.#begin(deadline);
    this.#isPicking = false;
    if (this.#next < this.#of.readyCount) {
      run.ready.push(item);
      this.#next++;
      if (this.#picked !== undefined) this.#passPicked(this.#picked);
    } else {
      run.added.push(item);
      this.#nextAdded++;
      item.attempts = 1;
      item.leaseDeadline = deadline;
    }
    this.#count++;
    return item;
  }

  /** Whether an item of the window, by its index, is leased by what is planned. */
  isTaken(index: number): boolean {
    return index < this.#next || this.#picked?.has(this.#of.readyAt(index)) === true;
  }

  /** Leases an item of the window that is not taken. One request picks in order of their numbers. */
  pick(item: Item, deadline: number): void {
    const last = this.#last;
    const joins =
      last !== undefined &&
      this.#isPicking &&
      last.grant.deadline === deadline &&
      last.ready.at(-1)!.seq + 1 === item.seq;
    const run = joins ? last : this.#begin(deadline);
    this.#isPicking = true;
    run.ready.push(item);
    this.#count++;
    this.#picked ??= new Set();
    this.#picked.add(item);
    this.#passPicked(this.#picked);
  }

  #begin(deadline: number): Run {
    const run = new Run(new Grant(deadline, this.#now));
    this.#runs.push(run);
    this.#last = run;
    return run;
  }

  #passPicked(picked: Set<Item>): void {
    while (this.#next < this.#of.readyCount && picked.delete(this.#of.readyAt(this.#next))) {
      this.#next++;
    }
  }

  /** Writes the marks; answers the number up to which all is leased, or undefined if that is as it was. */
  mark(leases: LeaseMark[]): number | undefined {
    for (const run of this.#runs) {
      const first = run.ready[0];
      if (first === undefined) continue;
      run.grant.mark = first.seq;
      leases.push(markOf(run.grant, first.seq, run.ready.at(-1)!.seq));
      if (run.added.length > 0) run.grantAdded = new Grant(run.grant.deadline, this.#now);
    }
    if (this.#nextAdded > 0) return this.#adds[this.#nextAdded - 1]!.seq;
    return this.#next > 0 ? this.#of.readyAt(this.#next - 1).seq : undefined;
  }

  /** The commit has succeeded, at this steady time. Answers how many of what it added is leased. */
  apply(steady: number): number {
    const partition = this.#of;
    partition.shiftReady(this.#next);
    if (this.#picked !== undefined) partition.takeReady(this.#picked);
    for (const { grant, grantAdded, ready, added } of this.#runs) {
      partition.measureWaits(ready, added.length, { now: this.#now, steady });
      for (const item of ready) {
        item.attempts++;
        item.dropRecord();
        partition.hold(item, grant);
      }
      for (const item of added) {
        item.dropRecord();
        partition.hold(item, grantAdded);
      }
    }
    partition.passWaits();
    for (const grant of this.#grants()) {
      holdNew(grant, steady);
      partition.leaseEnds.add(grant);
    }
    return this.#nextAdded;
  }

  /** Clients were told of their leases so long after `apply`. */
  noteReplies(late: number): void {
    for (const grant of this.#grants()) grant.heldUntil += late;
  }

  *#grants(): Iterable<Grant> {
    for (const { grant, grantAdded, ready, added } of this.#runs) {
      if (ready.length > 0 || grantAdded === grant) yield grant;
      if (added.length > 0 && grantAdded !== grant) yield grantAdded;
    }
  }
}
