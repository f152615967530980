// What dies: items that were leased too often, that have expired, or that their consumer gave up. They
// move into the dead queue, or are gone for good if there is none, and are counted then by why. How they
// move is in transfers.ts.

import { plainError, retryLater } from "../errors.ts";
import {
  EXPIRY_SPAN,
  type ItemRecord,
  type ItemTable,
  NO_RECORD,
  type StoredItem,
} from "../storage/storage.ts";
import { type Attributes, attributesOf, type Origin } from "./attributes.ts";
import type { Commits } from "./commits.ts";
import type { QueueContext, QueueRules } from "./context.ts";
import { retryItems } from "./endings.ts";
import { fingerprintOf, kindOf } from "./fingerprint.ts";
import { BURIED, DROPPED } from "./history.ts";
import { type Records, readRecords } from "./keeper.ts";
import { type Dead, splitExpired } from "./lifecycle.ts";
import { type Mailbox, NotDelivered } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import type { RetryRequest } from "./requests.ts";
import { takeOut } from "./take-out.ts";
import { DELIVERY, type Load, type Transfers, WHOLE } from "./transfers.ts";

/** Items of one table of a partition that have died. */
export interface Burial {
  readonly partition: Partition;
  readonly table: ItemTable;
  readonly dead: readonly Dead[];
}

// Why it died is told of an item on its way only: its copy may be leased, and as often as its queue says.
const BEYOND_DEATH: Partial<Attributes> = { died: "", max: 0 };

export class DeadLetters {
  readonly #queue: string;
  readonly #context: QueueContext;
  readonly #mailbox: Mailbox;
  readonly #commits: Commits;
  readonly #transfers: Transfers;

  constructor(
    { name, context }: { readonly name: string; readonly context: QueueContext },
    mailbox: Mailbox,
    commits: Commits,
    transfers: Transfers,
  ) {
    this.#queue = name;
    this.#context = context;
    this.#mailbox = mailbox;
    this.#commits = commits;
    this.#transfers = transfers;
  }

  /** Moves what time has killed, as many as one delivery may carry. */
  async bury({ partition, table, dead }: Burial, rules: QueueRules): Promise<void> {
    if (partition.stale || dead.length === 0) return; // stale: the commit before this one has failed
    const part = new PartitionBatch(partition, this.#context.clock.now());
    // Some may have been retried since in the same turn.
    const isDead = ({ item }: Dead): boolean =>
      table === "scheduled" || partition.leased.get(item.seq) === item;
    await this.#bury(part, table, dead.filter(isDead), rules, DELIVERY);
  }

  /**
   * Moves what consumers gave up, and does what else their retries ask. Into another storage in two
   * steps: once an item is condemned it goes there some day, also after a crash, when nobody knows of
   * the request any more. So the request has succeeded then, whatever becomes of the second step. `records` are
   * those that were read for the turn: what was cancelled beside them ends here as well. False if they wait for the
   * next turn, as the dead queue waits for this one.
   */
  async buryRetried(
    partition: Partition,
    requests: readonly RetryRequest[],
    rules: QueueRules,
    records: Records | undefined,
  ): Promise<boolean> {
    const target = this.#context.findIntake(rules.deadQueue);
    const isApart = target !== undefined && target.storage !== partition.storage;
    if (target !== undefined && !isApart && this.#transfers.isWaitedForBy(target)) {
      for (const request of requests) this.#mailbox.defer(request);
      return false;
    }
    if (partition.stale || (this.#transfers.restsUntil > 0 && !isApart)) {
      const { message } = partition.stale ? plainError("storage_unavailable") : new NotDelivered();
      for (const request of requests) this.#mailbox.answer(request, retryLater(message));
      return true;
    }
    const part = new PartitionBatch(partition, this.#context.clock.now());
    part.records = records;
    for (const request of requests) part.requests.push(request);
    const how = { ...rules, random: this.#context.random };
    const died = requests.flatMap((request) => retryItems(part, request, how));
    if (!isApart) {
      const dead = died.map(({ item, reason, attributes }) => ({
        item: { ...item, attributes },
        reason,
      }));
      await this.#bury(part, "items", dead, rules, WHOLE);
      return true;
    }
    const dead = died.map(({ item, reason, attributes }) => ({
      item: part.condemn(item, reason, attributes).item,
      reason,
    }));
    part.finish();
    if (part.touched) {
      try {
        await this.#commits.write(part.of.storage, [part]);
      } catch (error) {
        this.#commits.failed([part], error);
        return true;
      }
      this.#commits.follow([part]);
      await this.bury({ partition, table: "scheduled", dead }, rules);
    }
    await this.#commits.serve(part);
    return true;
  }

  /** Moves what has expired under the expiry that is due first; false if it could not be read. */
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
        const limits = { limit: EXPIRY_SPAN, bytesMax: DELIVERY.bytes };
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
    const part = new PartitionBatch(partition, now);
    // As long as something expires, there may be more.
    part.replaceExpiry(expiry, expired.length > 0 ? expiry.at : nextAt);
    const dead = expired.map((item): Dead => ({ item, reason: "expired" }));
    await this.#bury(part, "items", dead, rules, DELIVERY);
    return true;
  }

  // Commits a part with which items die. Without a dead queue all of them are gone, whatever the load.
  async #bury(
    part: PartitionBatch,
    table: ItemTable,
    dead: readonly Dead[],
    rules: QueueRules,
    load: Load,
  ): Promise<void> {
    const to = dead.length === 0 ? undefined : this.#context.findIntake(rules.deadQueue);
    if (to !== undefined) {
      await this.#transfers.move({
        items: dead.map(({ item }) => item),
        endings: dead.map(({ reason }) => BURIED[reason]),
        table,
        from: part,
        to,
        load,
        sets: ({ record }, i) => ({
          ...BEYOND_DEATH,
          from: this.#originOf(dead[i]!, record, part.now),
        }),
      });
      return;
    }
    if (part.of.keeping !== undefined) {
      const seqs = dead.flatMap(({ item }) => (item.record === NO_RECORD ? item.seq : []));
      try {
        const read = await readRecords(part.of, table, seqs);
        part.records = part.records === undefined ? read : new Map([...part.records, ...read]);
      } catch (error) {
        this.#commits.distrust(part.of, error);
        this.#commits.refuse(part, plainError("storage_unavailable"));
        return;
      }
    }
    for (const { item, reason } of dead) takeOut(part, table, item, DROPPED[reason]);
    await this.#commits.commit([part]);
  }

  // Where and of what an item has died, as its copy will tell.
  #originOf({ item, reason }: Dead, { text }: ItemRecord, diedAt: number): Origin {
    const { attempts, createdAt } = item;
    const { error } = attributesOf(item.attributes);
    const fingerprint = fingerprintOf({ kind: kindOf(text), error, reason });
    return { queue: this.#queue, attempts, createdAt, diedAt, reason, fingerprint };
  }
}
