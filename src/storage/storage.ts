// The contract between the queue and whatever keeps its data. A storage holds ordered tables of
// records and knows no rule of the queue: it decides nothing, locks nothing and reads no clock.
// Only the loop of a queue changes that queue's partitions, one commit at a time. Every method may
// reject; the caller then does not know whether a write happened, and reads again before
// going on. One suite, test/conformance/storage.ts, says what every driver must do.
//
// What makes leases cheap: items are leased from the head in order, and whatever comes back goes to
// the tail under a new number. So everything in `items` before `head` is leased and everything from
// `head` on waits; a lease mark is a range and a deadline, whatever the number of items, and no
// payload is ever rewritten for it. The one exception are items imported as leased: each of those
// has a mark of its own, wherever it lies. A partition may have lanes: ranges of numbers, each with a
// head and a tail of its own, for which the same holds.
//
// Storage has members for the place of an item, its times and its attempts. Whatever else an item carries
// is one text, its attributes, which storage keeps and does not read. What is to be found by another name
// than its number has an entry in `keys`, written and removed in the commit of the item.

import type { OctaveTotals } from "../octaves.ts";

/** What a producer put in, opaque to everything behind HTTP. */
export class ItemRecord {
  /** What is known of it beside its payload, as its producer's dialect has written it down. */
  readonly text: string;
  /**
   * Where the payload lies, from `start` to, not including, `end`: mostly among others that came with it,
   * for in memory too a value costs more than its bytes.
   */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;

  constructor(text: string, bytes: Uint8Array, start = 0, end = bytes.length) {
    this.text = text;
    this.bytes = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.start = start;
    this.end = end;
  }

  /** The payload by itself, as a view that each call makes anew. */
  get payload(): Buffer {
    return this.bytes.subarray(this.start, this.end);
  }

  /** How many bytes it counts for wherever bytes are limited. */
  get size(): number {
    return this.text.length + this.end - this.start;
  }
}

/** The record of an item that was read without its record, or whose record memory has let go. */
export const NO_RECORD = new ItemRecord("", Buffer.alloc(0));

/** One item as storage keeps it. Times are microseconds since 1970; 0 stands for none. */
export interface StoredItem {
  /** Its place in the partition; never used twice. */
  readonly seq: number;
  readonly createdAt: number;
  readonly expireAt: number;
  /** How often it was leased before the lease mark that may cover it, or, with a deadline of its own, at all. */
  readonly attempts: number;
  /** Set if it was leased in the write that added it; the lease then began at createdAt. */
  readonly leaseDeadline: number;
  /** When it is to become leasable; set in the table `scheduled` only. */
  readonly dueAt: number;
  /** What else it carries, on one line; "" for nothing. Not asked for what is in it. */
  readonly attributes: string;
  readonly record: ItemRecord;
}

/** `items` holds what is leased or waits, `scheduled` what waits for its time, `held` what waits for its group. */
export type ItemTable = "items" | "scheduled" | "held";

/** An item on its way into `held`. */
export interface HeldItem {
  readonly group: string;
  readonly item: StoredItem;
}

/** All items from `first` to `last`, both included. */
export interface SeqRange {
  readonly first: number;
  readonly last: number;
}

/**
 * Marks a range of items as leased until `deadline`. Items with a deadline of their own keep it, unless
 * the mark is an extension. Marks may overlap: the extension that is the latest stands over all others.
 */
export interface LeaseMark extends SeqRange {
  readonly deadline: number;
  readonly leasedAt: number;
  /** When the lease was extended; 0 for a lease as it was given. */
  readonly extendedAt: number;
}

/** Takes an item out of one table and puts it into one, with the members that are given here. */
export interface Move {
  readonly from: ItemTable;
  readonly fromSeq: number;
  readonly to: ItemTable;
  readonly toSeq: number;
  readonly attempts: number;
  readonly expireAt: number;
  /** When it is to become leasable; 0 unless it moves to `scheduled`. */
  readonly dueAt: number;
  /** As they are after the move. */
  readonly attributes: string;
  /** What it waits for; "" unless it moves to `held`. */
  readonly group: string;
}

/** What is found by a name: in most cases an item. */
export interface KeyName {
  /** What the name is of; each kind has names of its own. */
  readonly kind: number;
  /** Not empty. */
  readonly key: string;
}

export interface KeyEntry extends KeyName {
  /** The number of its item. */
  readonly seq: number;
  /** When it ends, if it is not to stay for as long as its item; 0 for none. */
  readonly until: number;
  /** What else is known under the name; "" for nothing. */
  readonly value: string;
}

/** None of the EXPIRY_SPAN items from `first` on expires before `at`. */
export interface Expiry {
  readonly at: number;
  readonly first: number;
}

/** How many numbers one Expiry covers. */
export const EXPIRY_SPAN = 1_000;

/** Why an item may be taken away although nobody completed it. */
export type DropReason = (typeof DROP_REASONS)[number];
export const DROP_REASONS = ["attempts", "expired", "rejected"] as const;

/** How many were taken away so, and went to no dead queue. */
export type Dropped = Readonly<Record<DropReason, number>>;

export const NONE_DROPPED: Dropped = { attempts: 0, expired: 0, rejected: 0 };

/** Lane `k` has the numbers from `k * LANE_SPAN` to, not including, `(k + 1) * LANE_SPAN`. */
export const LANE_SPAN = 2 ** 49;

/** A part of a partition in which items are leased in order, apart from what lies in the others. */
export interface Lane {
  /** From 1 to 15: lane 0 is that of the counters themselves. */
  readonly lane: number;
  /** Numbers. Items of the lane before `head` are leased, those from it on wait. */
  readonly head: number;
  readonly tail: number;
}

/** The state of a partition beside its items; written whole with every commit that touches it. */
export interface Counters {
  /** Items before it are leased, items from it on wait. */
  head: number;
  /** The number that the next item gets. */
  tail: number;
  /** Items in `items`. */
  total: number;
  /** Items in `scheduled`. */
  scheduled: number;
  /** Items in `held`. */
  held: number;
  /** Sum over `items` of createdAt, in whole milliseconds since the partition's own creation. */
  createdSum: number;
  /** Ever since the partition was made. Replaced when it changes, never written to. */
  dropped: Dropped;
  /** Those other than lane 0 that are in use. Replaced when they change, never written to. */
  lanes: readonly Lane[];
  /**
   * What else is counted, as whole numbers of which storage knows nothing; empty while nothing is.
   * Replaced when they change, never written to.
   */
  counts: readonly number[];
}

const NO_LANES: readonly Lane[] = [];
const NO_COUNTS: readonly number[] = [];

/** The state of a partition that was just made. */
export const NEW_COUNTERS: Readonly<Counters> = {
  head: 1,
  tail: 1,
  total: 0,
  scheduled: 0,
  held: 0,
  createdSum: 0,
  dropped: NONE_DROPPED,
  lanes: NO_LANES,
  counts: NO_COUNTS,
};

/** All that one batch does to one partition. Applied in the order of the members. */
export interface PartitionChanges {
  readonly partition: number;
  /** As they are after this commit. */
  readonly counters: Counters;
  /** New items, ascending. */
  readonly adds: readonly StoredItem[];
  readonly addsScheduled: readonly StoredItem[];
  readonly addsHeld: readonly HeldItem[];
  /** The `first` of lease marks that cover nothing any more, or are replaced. */
  readonly releases: readonly number[];
  readonly leases: readonly LeaseMark[];
  readonly moves: readonly Move[];
  /** Ranges to remove; numbers in them that are gone are passed over, none is yet to be given. */
  readonly removes: readonly SeqRange[];
  readonly removesScheduled: readonly SeqRange[];
  readonly removesHeld: readonly SeqRange[];
  readonly addsExpiry: readonly Expiry[];
  readonly removesExpiry: readonly Expiry[];
  readonly removesKey: readonly KeyName[];
  /** Each takes the place of the one of its name; no name twice. */
  readonly addsKey: readonly KeyEntry[];
}

/** A partition as it is found when storage is opened. */
export interface StoredPartition {
  readonly key: number;
  readonly queue: string;
  /** Its number within the queue. */
  readonly number: number;
  /** The first 18 characters of all its ids. */
  readonly idPrefix: string;
  readonly createdAt: number;
  /** Dropped: nothing may use it any more, its rows wait for `sweep`. */
  readonly dropped: boolean;
}

/** The record of a queue: a text that storage does not look into. */
export interface StoredRecord {
  readonly name: string;
  readonly record: string;
}

/** What is needed to make a partition; its key is given by the storage. */
export type NewPartition = Pick<StoredPartition, "queue" | "number" | "idPrefix" | "createdAt">;

/** The bounded part of a partition that memory needs before it can be used. */
export interface PartitionState {
  /** What tells it from any other partition that may have had its key. */
  readonly idPrefix: string;
  readonly counters: Counters;
  /** Items before the head of their lane, without records: all of them are leased. */
  readonly leased: readonly StoredItem[];
  /** All lease marks. */
  readonly leases: readonly LeaseMark[];
}

export interface ReadOptions {
  /** The first number wanted. */
  readonly from: number;
  /** No number from this one on. */
  readonly before: number;
  /** At most so many items. */
  readonly limit: number;
  /** Ends after the item with which the records reach so many bytes. */
  readonly bytesMax: number;
  /** False leaves out the records (NO_RECORD), and does not read them. */
  readonly records: boolean;
}

/** Which entries of a kind are wanted. */
export interface ListKeysOptions {
  /** Begins behind this name, in the order that is asked for; "" begins with the first of all. */
  readonly after: string;
  /** At most so many entries. */
  readonly limit: number;
  /** Of the names, by their bytes. */
  readonly order: "ascending" | "descending";
  /** Ends after the entry with which the values reach so many bytes; without it there is no such end. */
  readonly bytesMax?: number;
}

/** What is told of a storage to who runs it; what it does not have is left out. */
export interface StorageFigures {
  readonly dataBytes?: number;
  readonly walBytes?: number;
  /** Where it lies. */
  readonly freeBytes?: number;
  /** How long its disk took to have commits; in microseconds. */
  readonly syncs?: OctaveTotals;
  /** Batches of statements that were sent to a database. */
  readonly roundTrips?: number;
  readonly epoch?: number;
}

/** What opening a storage rejects with while another server owns what lies there. */
export class StorageTaken extends Error {}

export interface Storage {
  /** As the configuration calls it. */
  readonly name: string;
  /** What it is and where it lies, for people: `memory`, `sqlite:/var/lib/querator`. No secrets. */
  readonly location: string;
  /** Whether what was committed is there after the process has ended. */
  readonly isDurable: boolean;

  /** Makes all changes durable, or none of them. Each partition appears at most once. */
  commit(changes: readonly PartitionChanges[]): Promise<void>;

  /** Makes empty partitions, head and tail at 1; answers their keys, in order. */
  createPartitions(partitions: readonly NewPartition[]): Promise<readonly number[]>;
  listPartitions(): Promise<readonly StoredPartition[]>;
  /** Marks partitions as dropped. */
  dropPartitions(keys: readonly number[]): Promise<void>;
  /** Removes at most `limit` rows of dropped partitions, and a partition with its last; true if more is left. */
  sweep(limit: number): Promise<boolean>;
  loadPartition(key: number): Promise<PartitionState>;

  /** Items in ascending order. */
  readItems(key: number, table: ItemTable, options: ReadOptions): Promise<readonly StoredItem[]>;
  /** The scheduled items that are due next, without records, by dueAt, then seq. */
  readScheduled(key: number, limit: number): Promise<readonly StoredItem[]>;
  /** The expiries that come next, by at, then first. */
  readExpiries(key: number, limit: number): Promise<readonly Expiry[]>;
  /** The items that a group holds back, without records, in order of their numbers. */
  readHeld(key: number, group: string, limit: number): Promise<readonly StoredItem[]>;
  /** Those of the names that the partition has, by name; also what has ended, and was not removed. */
  findKeys(
    key: number,
    kind: number,
    keys: readonly string[],
  ): Promise<ReadonlyMap<string, KeyEntry>>;
  /** Entries of a kind, in order of their names; also what has ended, and was not removed. */
  listKeys(key: number, kind: number, options: ListKeysOptions): Promise<readonly KeyEntry[]>;
  /** The entries that end first, of those that end by themselves, by until. */
  readKeysDue(key: number, limit: number): Promise<readonly KeyEntry[]>;

  /** Removes records of queues, then writes others, made or replaced: all of it or, if it rejects, perhaps nothing. */
  putQueues(records: readonly StoredRecord[], gone?: readonly string[]): Promise<void>;
  deleteQueue(name: string): Promise<void>;
  /** All queue records, ascending by the bytes of their names. */
  listQueues(): Promise<readonly StoredRecord[]>;

  /** What may be told of it without looking into what it holds. */
  figures?(): Promise<StorageFigures>;
  /** Rejects if storage can not be used at present. */
  check(): Promise<void>;
  /** Frees everything; nothing may be called afterwards. */
  close(): Promise<void>;
}
