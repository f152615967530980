// What dies: items that were leased too often, that have expired, or that their consumer gave up. They
// move into the dead queue, or are gone for good if there is none, and are counted then by why. How they
// move is in transfers.ts.

import { plainError } from "../errors.ts";
import {
  EXPIRY_SPAN,
  type ItemRecord,
  type ItemTable,
  NO_RECORD,
  type StoredItem,
} from "../storage/storage.ts";
import { type Attributes, attributesOf, type Origin } from "./attributes.ts";
import type { Commits } from "./commits.ts";
import { CROWD, CROWD_RETRY, isCrowd, putOffCondemned } from "./condemned.ts";
import type { Intake, QueueContext, QueueRules } from "./context.ts";
import { COUNT } from "./counts.ts";
import { retryItems } from "./endings.ts";
import type { Errands } from "./errands.ts";
import { fingerprintOf, kindOf } from "./fingerprint.ts";
import { BURIED, DROPPED } from "./history.ts";
import { type EndedRecords, readRecords, recordsOf } from "./keeper.ts";
import { type Dead, splitExpired } from "./lifecycle.ts";
import type { Mailbox } from "./mailbox.ts";
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
  readonly #errands: Errands;
  // Of which tables the dead queue has not taken before what was dead.
  readonly #refused = new Set<ItemTable>();

  constructor(
    { name, context }: { readonly name: string; readonly context: QueueContext },
    {
      mailbox,
      commits,
      transfers,
      errands,
    }: {
      readonly mailbox: Mailbox;
      readonly commits: Commits;
      readonly transfers: Transfers;
      readonly errands: Errands;
    },
  ) {
    this.#queue = name;
    this.#context = context;
    this.#mailbox = mailbox;
    this.#commits = commits;
    this.#transfers = transfers;
    this.#errands = errands;
  }

  /** Moves what time has killed, as many as one delivery may carry. */
  async bury({ partition, table, dead }: Burial, rules: QueueRules): Promise<void> {
    if (partition.stale || dead.length === 0) return; // stale: the commit before this one has failed
    const part = new PartitionBatch(partition, this.#context.clock.now());
    // Some may have been retried since in the same turn.
    const isDead = ({ item }: Dead): boolean =>
      table === "scheduled" || partition.leased.get(item.seq) === item;
    const isTaken = await this.#bury(part, table, dead.filter(isDead), rules, DELIVERY);
    await this.#stepAside({ partition, table, dead: dead.filter(isDead) }, isTaken);
  }

  // What the dead queue has not taken twice steps aside, if it is much: or it would keep all else that is scheduled from
  // its turn, and all other leases from their end.
  async #stepAside({ partition, table, dead }: Burial, isTaken: boolean): Promise<void> {
    const hasRefused = this.#refused.delete(table);
    if (isTaken) return;
    this.#refused.add(table);
    if (!hasRefused || partition.stale) return;
    const isMuch = table === "scheduled" ? isCrowd(dead.length, partition) : dead.length >= CROWD;
    if (!isMuch) return;
    const aside = new PartitionBatch(partition, this.#context.clock.now());
    if (table === "scheduled") {
      putOffCondemned(
        aside,
        dead.map(({ item }) => item),
        CROWD_RETRY,
      );
    } else {
      // Its lease has ended, and its way to the dead queue begins among the scheduled ones.
      for (const { item, reason } of dead) {
        const leased = partition.leased.get(item.seq)!;
        aside.claim(leased);
        aside.tally(COUNT.leaseEnds);
        aside.condemn(leased, reason);
      }
    }
    await this.#commits.commit([aside]);
  }

  /**
   * Moves what consumers gave up, and does what else their retries ask. Into another storage in two
   * steps: once an item is condemned it goes there some day, also after a crash, when nobody knows of
   * the request any more. So the request has succeeded then, whatever becomes of the second step. If the dead queue
   * is busy they are put off until it stands still for them. `records` are those that were read for the turn: what
   * was cancelled beside them ends here as well.
   */
  async buryRetried(
    burials: ReadonlyMap<Partition, readonly RetryRequest[]>,
    rules: QueueRules,
    records: EndedRecords,
  ): Promise<void> {
    const to = this.#context.findIntake(rules.deadQueue);
    // Once it has taken something it is at that: it is waited for again all the same.
    const isReady = to === undefined || this.#errands.isReady(to);
    // It takes what it is sent with its next turn.
    if (to !== undefined) this.#errands.dismiss(to);
    for (const [partition, requests] of burials) {
      if (isReady || isApart(to, partition) || partition.stale) {
        await this.#buryRetried(partition, requests, { to, rules, records });
      } else {
        this.#putOff(to!, requests);
      }
    }
  }

  async #buryRetried(
    partition: Partition,
    requests: readonly RetryRequest[],
    {
      to,
      rules,
      records,
    }: {
      readonly to: Intake | undefined;
      readonly rules: QueueRules;
      readonly records: EndedRecords;
    },
  ): Promise<void> {
    const read = await recordsOf(records, [partition]);
    if (partition.stale) {
      const error = plainError("storage_unavailable");
      for (const request of requests) this.#mailbox.answer(request, error);
      return;
    }
    const part = new PartitionBatch(partition, this.#context.clock.now());
    part.records = read?.get(partition);
    for (const request of requests) part.requests.push(request);
    const how = { ...rules, random: this.#context.random };
    const died = requests.flatMap((request) => retryItems(part, request, how));
    if (!isApart(to, partition)) {
      const dead = died.map(({ item, reason, attributes }) => ({
        item: { ...item, attributes },
        reason,
      }));
      await this.#bury(part, "items", dead, rules, WHOLE, () => {
        for (const { item } of died) part.unclaim(item);
        this.#putOff(to!, requests);
      });
      return;
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
        return;
      }
      this.#commits.follow([part]);
      await this.bury({ partition, table: "scheduled", dead }, rules);
    }
    await this.#commits.serve(part);
  }

  #putOff(to: Intake, requests: readonly RetryRequest[]): void {
    for (const request of requests) {
      request.unplan();
      this.#mailbox.putOff(request);
    }
    this.#errands.ask(to);
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
    onBusy?: () => void,
  ): Promise<boolean> {
    const to = dead.length === 0 ? undefined : this.#context.findIntake(rules.deadQueue);
    if (to !== undefined) {
      const transfer = {
        items: dead.map(({ item }) => item),
        endings: dead.map(({ reason }) => BURIED[reason]),
        table,
        from: part,
        to,
        load,
        ...(onBusy !== undefined && { onBusy }),
        sets: ({ record }: StoredItem, i: number) => ({
          ...BEYOND_DEATH,
          from: this.#originOf(dead[i]!, record, part.now),
        }),
      };
      return this.#errands.around(to, () => this.#transfers.move(transfer));
    }
    if (part.of.keeping !== undefined) {
      const seqs = dead.flatMap(({ item }) => (item.record === NO_RECORD ? item.seq : []));
      try {
        const read = await readRecords(part.of, table, seqs);
        part.records = part.records === undefined ? read : new Map([...part.records, ...read]);
      } catch (error) {
        this.#commits.distrust(part.of, error);
        this.#commits.refuse(part, plainError("storage_unavailable"));
        return false;
      }
    }
    for (const { item, reason } of dead) takeOut(part, table, item, DROPPED[reason]);
    await this.#commits.commit([part]);
    return true;
  }

  // Where and of what an item has died, as its copy will tell.
  #originOf({ item, reason }: Dead, { text }: ItemRecord, diedAt: number): Origin {
    const { attempts, createdAt } = item;
    const { error } = attributesOf(item.attributes);
    const fingerprint = fingerprintOf({ kind: kindOf(text), error, reason });
    return { queue: this.#queue, attempts, createdAt, diedAt, reason, fingerprint };
  }
}

// Whether a dead queue lies in another storage, so that what goes there is condemned first.
function isApart(to: Intake | undefined, { storage }: Partition): boolean {
  return to !== undefined && to.storage !== storage;
}
