// An item in memory, and the lease that may hold it. An Item is made where a request is parsed
// and lives until it is completed; its record is let go when the item is leased, so memory holds
// payloads of waiting items only. Written by the loop of its queue alone.

import { type ItemRecord, NO_RECORD, type StoredItem } from "../storage/storage.ts";
import type { Note } from "./notes.ts";

export class Item implements StoredItem {
  seq = 0;
  createdAt = 0;
  expireAt = 0;
  attempts = 0;
  leaseDeadline = 0;
  dueAt: number;
  attributes = "";
  record: ItemRecord;
  /** The lease that holds it. */
  grant: Grant | undefined = undefined;
  /** Whether the batch at hand ends its lease, or extends it, so that nothing else in that batch may end it. */
  ending = false;
  /** What is noted of it while it is leased. */
  note: Note | undefined = undefined;

  /** An item as a producer hands it in; `dueAt` 0 makes it leasable at once. */
  constructor(record: ItemRecord, dueAt: number) {
    this.record = record;
    this.dueAt = dueAt;
  }

  static stored(from: StoredItem): Item {
    const item = new Item(from.record, from.dueAt);
    item.seq = from.seq;
    item.createdAt = from.createdAt;
    item.expireAt = from.expireAt;
    item.attempts = from.attempts;
    item.leaseDeadline = from.leaseDeadline;
    item.attributes = from.attributes;
    return item;
  }

  dropRecord(): void {
    this.record = NO_RECORD;
  }
}

/**
 * All that one pass leased in one partition, or that one request extended together: items that have one
 * deadline, and one lease mark, which may cover others in between that are held otherwise.
 */
export class Grant {
  /** Wall time, which the client was told. */
  readonly deadline: number;
  readonly leasedAt: number;
  /** When it was extended, as its mark says; 0 for a lease as it was given. */
  readonly extendedAt: number;
  /** How long it was given, or extended, for. */
  readonly duration: number;
  /** Since when it holds its items in steady time, extended or not. */
  heldSince = Number.NEGATIVE_INFINITY;
  /** Until when it holds in steady time, however the wall clock is set, and for how long after that. */
  heldUntil = Number.NEGATIVE_INFINITY;
  grace = 0;
  /** Those that it holds, and some that it did; ascending. */
  items: Item[] = [];
  /** The `first` of its lease mark in storage; 0 if its items carry the deadline themselves. */
  mark = 0;
  /** How many of its items are still leased by it. */
  remaining = 0;
  /** How many of them the batch at hand takes from it. */
  ending = 0;

  constructor(
    deadline: number,
    leasedAt: number,
    extendedAt = 0,
    duration = deadline - (extendedAt === 0 ? leasedAt : extendedAt),
  ) {
    this.deadline = deadline;
    this.leasedAt = leasedAt;
    this.extendedAt = extendedAt;
    this.duration = duration;
  }

  /** Lets go of the items that it holds no more, if they are many. */
  forget(): void {
    if (this.remaining * 4 > this.items.length) return;
    this.items = this.remaining === 0 ? [] : this.items.filter((item) => item.grant === this);
  }
}

/** Roughly what a waiting item costs in memory. */
export function bytesOf(item: Item): number {
  return 200 + item.attributes.length + item.record.size;
}

/** Takes back that a leased item is to end: the batch that was to end it has failed. */
export function takeBack(item: Item): void {
  item.ending = false;
  item.grant!.ending = 0;
}
