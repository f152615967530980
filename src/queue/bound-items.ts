// Items that a complete has produced for a queue that another thread serves (produced-items.ts), or that a redrive sends
// to one whose storage is another (redrives.ts), on from where they were written to where they belong, as letters
// (transfers.ts): each gets there once, under its id. As long as their queue is not there, as it was deleted meanwhile,
// they wait for one of its name.

import { MILLISECOND, MINUTE, SECOND } from "../clock.ts";
import type { StoredItem } from "../storage/storage.ts";
import type { Attributes } from "./attributes.ts";
import type { Commits } from "./commits.ts";
import { boundFor, CROWD_RETRY, isCrowd } from "./condemned.ts";
import type { Intake, QueueContext } from "./context.ts";
import { MOVED } from "./history.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { DELIVERY, DELIVERY_TIMEOUT, Transfers } from "./transfers.ts";

// How long one whose queue is not there waits until it is looked for again.
const MISSING_RETRY = MINUTE;

// The other queue may wait for this one to take what has died there, or be busy: the first tries are given up soon, and
// made again soon. Each of these is doubled with each that has failed.
const PATIENCE_MIN = 50 * MILLISECOND;
const RETRY_MAX = SECOND;
// What has been refused so often steps aside, if it is much.
const CROWD_FAILURES = 4;

const NOTHING: Partial<Attributes> = {};

interface Refused {
  /** How often, one after the other. */
  readonly failures: number;
  /** When it has been tried again, in steady time, unless there is nothing to be tried. */
  readonly until: number;
}

export class BoundItems {
  readonly #queue: string;
  readonly #context: QueueContext;
  readonly #commits: Commits;
  // Its own, so that what rests because of a queue that takes nothing is not the way to the dead queue.
  readonly #transfers: Transfers;
  // Queues that have not taken what was sent last, and whose turn comes after that of the others.
  readonly #refusing = new Map<string, Refused>();

  constructor(queue: string, context: QueueContext, commits: Commits, sender: Intake) {
    this.#queue = queue;
    this.#context = context;
    this.#commits = commits;
    this.#transfers = new Transfers(context, commits, sender);
  }

  /** What it waits for. */
  get sendsTo(): Intake | undefined {
    return this.#transfers.sendsTo;
  }

  /** Until when, in steady time, nothing is sent; 0 if that is not so. */
  get restsUntil(): number {
    return this.#transfers.restsUntil;
  }

  /** Whether what a queue has not taken is still to be tried again, or nothing is sent at present. */
  isHeldUp(queue: string): boolean {
    // Nothing is tried again of which only the answer was lost.
    const until = this.#refusing.get(queue)?.until ?? 0;
    return until > this.#context.clock.steady() || this.#transfers.restsUntil > 0;
  }

  /** Moves those that are due on, as many for each queue as one delivery may carry. */
  async send(partition: Partition, due: readonly StoredItem[]): Promise<void> {
    for (const [queue, items] of this.#inTurn(due)) {
      // The commit before this one has failed, or the others have not taken what was sent.
      if (partition.stale || this.#transfers.restsUntil > 0) return;
      const to = this.#context.findIntake(queue);
      const part = new PartitionBatch(partition, this.#context.clock.now());
      const failures = this.#refusing.get(queue)?.failures ?? 0;
      this.#refusing.delete(queue);
      if (to === undefined) {
        const fields = { queue: this.#queue, to: queue, items: items.length };
        this.#context.log.warn(
          fields,
          "items are on their way to a queue that is not there; they wait for it",
        );
        await this.#putOff(part, items, MISSING_RETRY);
        continue;
      }
      const retry = Math.min(PATIENCE_MIN * 2 ** failures, RETRY_MAX);
      const isTaken = await this.#transfers.move({
        items: items.toSorted((a, b) => a.seq - b.seq),
        endings: items.map(() => MOVED),
        table: "scheduled",
        from: part,
        to,
        load: DELIVERY,
        // What they are bound for they keep until they are there.
        sets: () => NOTHING,
        patience: Math.min(PATIENCE_MIN * 2 ** failures, DELIVERY_TIMEOUT),
        retry,
      });
      if (isTaken) continue;
      // By then it is known what has become of the next try, which is as patient as this one has rested, or twice so.
      const until = this.#context.clock.steady() + 4 * retry;
      this.#refusing.set(queue, { failures: failures + 1, until });
      if (failures < CROWD_FAILURES || !isCrowd(due.length, partition) || partition.stale) continue;
      const aside = new PartitionBatch(partition, this.#context.clock.now());
      await this.#putOff(aside, items, CROWD_RETRY);
    }
  }

  // By their queues: of those that take nothing the one that was tried last comes last.
  #inTurn(due: readonly StoredItem[]): ReadonlyMap<string, readonly StoredItem[]> {
    const queues = Map.groupBy(due, (item) => boundFor(item)!.to);
    for (const queue of this.#refusing.keys()) {
      const items = queues.get(queue);
      if (items === undefined) continue;
      queues.delete(queue);
      queues.set(queue, items);
    }
    return queues;
  }

  async #putOff(part: PartitionBatch, items: readonly StoredItem[], time: number): Promise<void> {
    const at = part.now + time;
    for (const item of items) part.postpone({ at: item.dueAt, seq: item.seq, item }, at);
    await this.#commits.commit([part]);
  }
}
