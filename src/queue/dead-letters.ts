// What dies and where it goes: items that were leased too often, that have expired, or that their
// consumer gave up are copied into partition 0 of the dead queue, by asking that queue's loop, and
// removed here. In one transaction if both partitions share a storage; else the copies are written
// first, each under the id of its original, so that a repetition after a crash is recognised. No
// loop waits for another for longer than a delivery may take.

import { MILLISECOND, SECOND } from "../clock.ts";
import { MESSAGES, retryLater } from "../errors.ts";
import {
  type DropReason,
  EXPIRY_SPAN,
  type ItemTable,
  type StoredItem,
} from "../storage/storage.ts";
import { type Commits, type Delivered, NOTHING_DELIVERED } from "./commits.ts";
import type { QueueContext, QueueRules } from "./context.ts";
import { type Died, retryItems } from "./endings.ts";
import type { Item } from "./item.ts";
import { diesOf, splitExpired } from "./lifecycle.ts";
import { type Delivery, type Letter, type Mailbox, NotDelivered } from "./mailbox.ts";
import type { Due, Partition } from "./partition.ts";
import { condemnedFor, PartitionBatch } from "./partition-batch.ts";
import type { RetryRequest } from "./requests.ts";

/** How long letters wait for the loop of the dead queue before the sender goes on with other work. */
export const DELIVERY_TIMEOUT = 500 * MILLISECOND;
// How long it then goes on before the next try.
const DELIVERY_RETRY = SECOND;
// What one delivery carries, unless it is one client's own request.
const LETTERS_MAX = 256;
const LETTER_BYTES_MAX = 16 * 1024 * 1024;

/** Deliveries that a batch takes in, with those of their letters that are new. */
export interface Accepted extends Delivered {
  readonly letters: readonly Letter[];
}

const NOTHING_ACCEPTED: Accepted = { ...NOTHING_DELIVERED, letters: [] };

type Seq = Pick<StoredItem, "seq">;

export class DeadLetters {
  readonly #context: QueueContext;
  readonly #mailbox: Mailbox;
  readonly #commits: Commits;

  #restsUntil = 0;

  constructor(context: QueueContext, mailbox: Mailbox, commits: Commits) {
    this.#context = context;
    this.#mailbox = mailbox;
    this.#commits = commits;
  }

  /**
   * Until when, in steady time, the dead queue is left alone after it has not taken what was sent to it;
   * 0 if it is not.
   */
  get restsUntil(): number {
    if (this.#restsUntil !== 0 && this.#restsUntil <= this.#context.clock.steady()) {
      this.#restsUntil = 0;
    }
    return this.#restsUntil;
  }

  /**
   * Looks which of the letters that other queues send here are new. One whose source is here already
   * is a repetition after a crash, and is passed over. If storage fails, all are refused.
   */
  async accept(partition: Partition, deliveries: readonly Delivery[]): Promise<Accepted> {
    if (deliveries.length === 0) return NOTHING_ACCEPTED;
    const letters = new Map<string, Letter>();
    for (const letter of deliveries.flatMap((delivery) => delivery.letters)) {
      letters.set(letter.sourceId, letter);
    }
    try {
      if (partition.stale) throw new Error("partition 0 is failing");
      const known = await partition.storage.findSources(partition.key, [...letters.keys()]);
      for (const sourceId of known.keys()) letters.delete(sourceId);
    } catch (error) {
      for (const each of deliveries) each.reject(retryLater(MESSAGES.internalRetry, error));
      return NOTHING_ACCEPTED;
    }
    const companions = deliveries.flatMap((each) => each.companion ?? []);
    return { deliveries, companions, letters: [...letters.values()] };
  }

  /** Moves items whose leases have ended, as many as one delivery may carry. */
  async buryEnded(partition: Partition, ended: readonly Item[], rules: QueueRules): Promise<void> {
    if (partition.stale) return; // the commit before this one has failed
    // Some may have been retried since in the same turn.
    const dead = ended.filter((item) => partition.leased.get(item.seq) === item);
    const letters = await this.#readLetters(partition, "items", dead, LETTERS_MAX);
    if (letters === undefined) return;
    const part = new PartitionBatch(partition, this.#context.clock.now());
    const reasons: DropReason[] = [];
    for (const item of dead.slice(0, letters.length)) {
      part.claim(item);
      part.remove(item);
      reasons.push(diesOf(item, rules, part.now) ?? "expired");
    }
    await this.#send(part, { letters, reasons }, rules);
  }

  /** Moves scheduled items that are dead, as many as one delivery may carry. */
  async buryScheduled(
    partition: Partition,
    dues: readonly Due[],
    rules: QueueRules,
  ): Promise<void> {
    if (partition.stale) return; // the commit before this one has failed
    const letters = await this.#readLetters(partition, "scheduled", dues, LETTERS_MAX);
    if (letters === undefined) return;
    const part = new PartitionBatch(partition, this.#context.clock.now());
    const leaving = dues.slice(0, letters.length);
    for (const { item } of leaving) part.removeScheduled(item);
    const reasons = leaving.map((due) => condemnedFor(due) ?? "rejected");
    await this.#send(part, { letters, reasons }, rules);
  }

  /**
   * Moves what consumers gave up, and does what else their retries ask. Into another storage in two
   * steps: once an item is condemned it goes there some day, also after a crash, when nobody knows of
   * the request any more. So the request has succeeded then, whatever becomes of the second step.
   */
  async buryRetried(
    partition: Partition,
    requests: readonly RetryRequest[],
    rules: QueueRules,
  ): Promise<void> {
    const target = this.#context.findDeadQueue(rules.deadQueue);
    const isApart = target !== undefined && target.deadStorage !== partition.storage;
    if (partition.stale || (this.restsUntil > 0 && !isApart)) {
      const { message } = partition.stale ? retryLater(MESSAGES.internalRetry) : new NotDelivered();
      for (const request of requests) this.#mailbox.answer(request, retryLater(message));
      return;
    }
    const part = new PartitionBatch(partition, this.#context.clock.now());
    const died: Died[] = [];
    for (const request of requests) {
      part.served.push(request);
      died.push(...retryItems(part, request, rules));
    }
    if (isApart) {
      await this.#condemn(part, died, rules);
      return;
    }
    const dead = died.map(({ item }) => item);
    for (const item of dead) part.remove(item);
    const reasons = died.map(({ reason }) => reason);
    const letters = await this.#readLetters(partition, "items", dead, Number.POSITIVE_INFINITY);
    if (letters === undefined) this.#commits.refuse(part, retryLater(MESSAGES.internalRetry));
    else await this.#send(part, { letters, reasons }, rules);
  }

  async #condemn(part: PartitionBatch, died: readonly Died[], rules: QueueRules): Promise<void> {
    const dues = died.map(({ item, reason }) => part.condemn(item, reason));
    part.finish();
    if (part.touched) {
      try {
        await this.#commits.write(part.of.storage, [part]);
      } catch (error) {
        this.#commits.failed([part], error);
        return;
      }
      this.#commits.follow([part]);
      await this.buryScheduled(part.of, dues, rules);
    }
    await this.#commits.serve(part);
  }

  /** Removes what has expired under the expiry that is due first; answers whether it could. */
  async buryExpired(partition: Partition, now: number, rules: QueueRules): Promise<boolean> {
    const expiry = partition.expiries.first!;
    const before = expiry.first + EXPIRY_SPAN;
    let from = Math.max(expiry.first, partition.counters.head);
    let expired: readonly StoredItem[] = [];
    let nextAt = Number.POSITIVE_INFINITY;
    try {
      while (expired.length === 0 && from < before) {
        // With their records, though most are thrown away: storage checks an item only as a whole,
        // and one that is damaged may seem to have expired.
        const limits = { limit: EXPIRY_SPAN, bytesMax: LETTER_BYTES_MAX };
        const read = { from, before, ...limits, records: true };
        const items = await partition.storage.readItems(partition.key, "items", read);
        const found = splitExpired(
          items.filter((item) => !partition.leased.has(item.seq)),
          now,
        );
        expired = found.expired;
        nextAt = Math.min(nextAt, found.nextAt);
        from = (items.at(-1)?.seq ?? before) + 1;
      }
    } catch (error) {
      this.#commits.distrust(partition, error);
      return false;
    }
    const buries = rules.deadQueue !== "";
    const leaving = buries ? expired.slice(0, LETTERS_MAX) : expired;
    const part = new PartitionBatch(partition, now);
    for (const item of leaving) part.removeWaiting(item);
    // As long as something expires, there may be more.
    part.replaceExpiry(expiry, leaving.length > 0 ? expiry.at : nextAt);
    if (!buries) part.drop("expired", leaving.length);
    const letters = buries ? leaving.map((item) => toLetter(partition, item)) : [];
    await this.#send(part, { letters, reasons: leaving.map(() => "expired" as const) }, rules);
    return true;
  }

  // Reads the first of these items, at most `limit`; undefined if storage fails.
  async #readLetters(
    partition: Partition,
    table: ItemTable,
    items: readonly Seq[],
    limit: number,
  ): Promise<readonly Letter[] | undefined> {
    const bytesMax = limit === LETTERS_MAX ? LETTER_BYTES_MAX : Number.POSITIVE_INFINITY;
    const letters: Letter[] = [];
    let bytes = 0;
    try {
      while (letters.length < Math.min(items.length, limit) && bytes < bytesMax) {
        // Items that died together mostly lie together: each run of them is one read.
        const start = letters.length;
        const from = items[start]!.seq;
        let run = 1;
        while (items[start + run]?.seq === from + run) run++;
        const found = await partition.storage.readItems(partition.key, table, {
          from,
          before: from + run,
          limit: limit - start,
          bytesMax: bytesMax - bytes,
          records: true,
        });
        if (found[0]?.seq !== from) throw new Error(`item ${from} is not in storage`);
        for (const item of found) {
          letters.push(toLetter(partition, item));
          bytes += item.record.size;
        }
      }
      return letters;
    } catch (error) {
      this.#commits.distrust(partition, error);
      return undefined;
    }
  }

  // Commits a part that removes items together with the copies of them in the dead queue.
  async #send(
    part: PartitionBatch,
    {
      letters,
      reasons,
    }: { readonly letters: readonly Letter[]; readonly reasons: readonly DropReason[] },
    rules: QueueRules,
  ): Promise<void> {
    const target = letters.length === 0 ? undefined : this.#context.findDeadQueue(rules.deadQueue);
    if (target === undefined) {
      // There is none of that name any more.
      if (letters.length > 0) for (const reason of reasons) part.drop(reason);
      await this.#commits.commit([part]);
      return;
    }
    part.finish();
    try {
      const { storage } = part.of;
      const together = target.deadStorage === storage;
      await target.deliver(letters, together ? part : undefined);
      if (!together) await this.#commits.write(storage, [part]);
    } catch (error) {
      if (error instanceof NotDelivered) this.#commits.refuse(part, retryLater(error.message));
      else this.#commits.failed([part], error);
      this.#restsUntil = this.#context.clock.steady() + DELIVERY_RETRY;
      return;
    }
    await this.#commits.succeeded([part]);
  }
}

// A copy of an item, under the id of its original.
function toLetter(partition: Partition, { seq, record }: StoredItem): Letter {
  return { sourceId: partition.ids.id(seq), record };
}
