// The contract between the queue and whatever keeps its data. A storage holds ordered tables of
// records and knows no rule of the queue: it decides nothing, locks nothing and reads no clock.
// Only the loop of a queue changes that queue's partitions, one commit at a time. Every method may
// reject; whoever calls it then does not know whether a write happened, and reads again before
// going on. One suite, test/conformance/storage.ts, says what every driver must do.
//
// What makes leases cheap: items are leased from the head in order, and whatever comes back goes to
// the tail under a new number. So everything in `items` before `head` is leased and everything from
// `head` on waits; a lease mark is a range and a deadline, whatever the number of items, and no
// payload is ever rewritten for it. The one exception are items imported as leased: each of those
// has a mark of its own, wherever it lies.

/** What a producer put in, opaque to everything behind HTTP. */
export class ItemRecord {
  /** Members of a JSON object without its braces: encoding, kind and reference, those that are set. */
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
  /** What it was copied from, unique within the partition; "" for none. */
  readonly sourceId: string;
  /** As imported; 0 for none. */
  readonly maxAttempts: number;
  readonly record: ItemRecord;
}

/** `items` holds what is leased or waits, `scheduled` what waits for its time. */
export type ItemTable = "items" | "scheduled";

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

/** Takes an item out of one table and puts it into one, under another number, with other attempts. */
export interface Move {
  readonly from: ItemTable;
  readonly fromSeq: number;
  readonly to: ItemTable;
  readonly toSeq: number;
  readonly attempts: number;
  readonly expireAt: number;
  /** When it is to become leasable; 0 unless it moves to `scheduled`. */
  readonly dueAt: number;
}

/** None of the EXPIRY_SPAN items from `first` on expires before `at`. */
export interface Expiry {
  readonly at: number;
  readonly first: number;
}

/** How many numbers one Expiry covers. */
export const EXPIRY_SPAN = 1_000;

/** Why an item may be taken away although nobody completed it. */
export type DropReason = "attempts" | "expired" | "rejected";

/** How many were taken away so, and went to no dead queue. */
export type Dropped = Readonly<Record<DropReason, number>>;

export const NONE_DROPPED: Dropped = { attempts: 0, expired: 0, rejected: 0 };

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
  /** Sum over `items` of createdAt, in whole milliseconds since the partition's own creation. */
  createdSum: number;
  /** Ever since the partition was made. Replaced when it changes, never written to. */
  dropped: Dropped;
}

/** The state of a partition that was just made. */
export const NEW_COUNTERS: Readonly<Counters> = {
  head: 1,
  tail: 1,
  total: 0,
  scheduled: 0,
  createdSum: 0,
  dropped: NONE_DROPPED,
};

/** All that one batch does to one partition. Applied in the order of the members. */
export interface PartitionChanges {
  readonly partition: number;
  /** As they are after this commit. */
  readonly counters: Counters;
  /** New items, ascending. */
  readonly adds: readonly StoredItem[];
  readonly addsScheduled: readonly StoredItem[];
  /** The `first` of lease marks that cover nothing any more, or are replaced. */
  readonly releases: readonly number[];
  readonly leases: readonly LeaseMark[];
  readonly moves: readonly Move[];
  /** Ranges to remove; numbers in them that are gone are passed over, none is yet to be given. */
  readonly removes: readonly SeqRange[];
  readonly removesScheduled: readonly SeqRange[];
  readonly addsExpiry: readonly Expiry[];
  readonly removesExpiry: readonly Expiry[];
  readonly addsSource: readonly string[];
  readonly removesSource: readonly string[];
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

/** What is needed to make a partition; its key is given by the storage. */
export type NewPartition = Pick<StoredPartition, "queue" | "number" | "idPrefix" | "createdAt">;

/** The bounded part of a partition that memory needs before it can be used. */
export interface PartitionState {
  /** What tells it from any other partition that may have had its key. */
  readonly idPrefix: string;
  readonly counters: Counters;
  /** Items before head, without records: all of them are leased. */
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
  /** Removes at most `limit` rows of dropped partitions, and a partition with its last; answers whether more is left. */
  sweep(limit: number): Promise<boolean>;
  loadPartition(key: number): Promise<PartitionState>;

  /** Items in ascending order. */
  readItems(key: number, table: ItemTable, options: ReadOptions): Promise<readonly StoredItem[]>;
  /** The scheduled items that are due next, without records, by dueAt, then seq. */
  readScheduled(key: number, limit: number): Promise<readonly StoredItem[]>;
  /** The expiries that come next, by at, then first. */
  readExpiries(key: number, limit: number): Promise<readonly Expiry[]>;
  /** Those of the source ids that the partition holds, with the numbers of their items; 0 without one. */
  findSources(key: number, sourceIds: readonly string[]): Promise<ReadonlyMap<string, number>>;

  /** Writes the record of a queue, made or replaced. */
  putQueue(name: string, record: string): Promise<void>;
  deleteQueue(name: string): Promise<void>;
  /** All queue records, ascending by the bytes of their names. */
  listQueues(): Promise<readonly { readonly name: string; readonly record: string }[]>;

  /** Rejects if storage can not be used at present. */
  check(): Promise<void>;
  /** Frees everything; nothing may be called afterwards. */
  close(): Promise<void>;
}
