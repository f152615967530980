// One partition in memory: its counters, the ready window, what is leased, and what time will do
// next. It holds what is durable and nothing else: a batch plans on top of it and changes it only
// after its commit. Memory is bounded by limits, never by what lies in storage. Written by the
// loop of its queue alone.

import { MILLISECOND, SECOND } from "../clock.ts";
import type { Limits } from "../limits.ts";
import { type Account, Share } from "../quotas.ts";
import {
  type Counters,
  type Expiry,
  NEW_COUNTERS,
  type Storage,
  type StoredItem,
  type StoredPartition,
} from "../storage/storage.ts";
import { Arrivals } from "./arrivals.ts";
import { readBehind } from "./behind.ts";
import { COUNT, countsOf, goneBack } from "./counts.ts";
import type { QueueEars } from "./heard.ts";
import type { Keeping } from "./history.ts";
import { REPEAT_KEPT } from "./idempotency.ts";
import { IdSpace } from "./ids.ts";
import { bytesOf, Grant, Item } from "./item.ts";
import { holdNew, holdStored, LeaseEnds, type Moment } from "./lease-ends.ts";
import { coveredFrom, StoredLeases } from "./lease-marks.ts";
import { LeasedItems } from "./leased-items.ts";
import type { Measures } from "./measures.ts";
import { loadNotes } from "./notes.ts";
import { OrderedWindow } from "./ordered-window.ts";
import { Pace } from "./pace.ts";
import type { Watchers } from "./watchers.ts";

// A storage that fails is asked again after this time, doubled with each failure.
const BACKOFF_MIN = 100 * MILLISECOND;
const BACKOFF_MAX = 5 * SECOND;

// After it was read it is not known whether there are keys that end by themselves. They are looked for after
// the time that the longest of them have, and not in all partitions of a server at once.
const KEYS_FIRST_LOOK = REPEAT_KEPT;
const KEYS_SPREAD = 600;

// How many entries of what is due next are held in memory for each partition.
const DUE_WINDOW = 1_024;

// How many items are looked at for the first that waits: those before it were imported as leased.
const NEXT_READ = 32;

/** Bytes of ready items in memory, shared by all partitions of a server. */
export interface ReadyBudget {
  bytes: number;
}

/** A scheduled item, as far as memory needs to know it. */
export interface Due {
  readonly at: number;
  readonly seq: number;
  readonly item: StoredItem;
}

/** An Expiry in the order of a window: `seq` is its `first`. */
export interface ExpiryEntry extends Expiry {
  readonly seq: number;
}

export function expiryEntry({ at, first }: Expiry): ExpiryEntry {
  return { at, first, seq: first };
}

export class Partition {
  readonly key: number;
  readonly number: number;
  readonly storage: Storage;
  readonly ids: IdSpace;
  readonly createdAt: number;
  readonly #limits: Limits;
  readonly #budget: ReadyBudget;

  /** What it has in the account of its namespace; undefined if that has none. */
  readonly share: Share | undefined;

  /** As durable as the last commit. */
  counters: Counters = { ...NEW_COUNTERS };
  /** Leased items by their number. */
  readonly leased = new LeasedItems();
  /** Sum of leasedAt over the leased items, in milliseconds since createdAt. */
  leasedSum = 0;
  readonly leaseEnds = new LeaseEnds();
  /** What waits behind the items that have unique keys, by key: scheduled items, which are due when those have ended. */
  readonly behind = new Map<string, Due>();
  readonly scheduled = new OrderedWindow<Due>(DUE_WINDOW);
  readonly expiries = new OrderedWindow<ExpiryEntry>(DUE_WINDOW);
  /** When a lease was extended last: a later extension has a later time, whatever the wall clock shows. */
  extendedAt = 0;
  /** When entries of keys that end by themselves are to be looked for. */
  keysEndAt = Number.POSITIVE_INFINITY;
  /** How fast its items were leased of late. */
  readonly pace = new Pace();
  /** What is measured of the queue; set by its loop. */
  measures: Measures | undefined;
  /** Since when what waits can be leased. */
  readonly #arrivals = new Arrivals();
  /** Who listens to the queue; set by its loop. */
  ears: QueueEars | undefined;
  /** Who waits for the end of an item of the queue; set by its loop. */
  watchers: Watchers | undefined;
  /** The expiry that new items may still join. */
  openExpiry: Expiry | undefined;

  /** What is kept of items that end here; undefined for nothing. */
  keeping: Keeping | undefined;
  /** Whether leases of some kinds have found none in the window, and it is to be read on for them. */
  wantsMore = false;
  /** Another number for each window that was begun anew. */
  window = 0;

  // The ready window: all items that wait, from head up to, not including, #readyEnd. The array
  // is a queue: what stands before #readyStart has been taken.
  #ready: Item[] = [];
  #readyStart = 0;
  #readyEnd = 1;
  #readyBytes = 0;

  /** Commits that failed since the last one that did not; 0 means healthy. */
  failures = 0;
  /** After a failure: when it is tried again, in steady time. */
  retryAt = 0;
  /** Memory may differ from storage: load() before use. */
  stale = true;
  /** How often it was read. */
  loads = 0;
  // What had been counted when it was read first.
  #countedFrom: readonly number[] = [];
  // When the item was produced that is leased next, where the window does not have it, and the head for which that is so.
  #nextRead = { head: 0, at: 0 };

  constructor(
    stored: Pick<StoredPartition, "key" | "number" | "idPrefix" | "createdAt">,
    context: {
      storage: Storage;
      limits: Limits;
      budget: ReadyBudget;
      account?: Account | undefined;
    },
  ) {
    this.key = stored.key;
    this.number = stored.number;
    this.createdAt = stored.createdAt;
    this.ids = new IdSpace(stored.idPrefix);
    this.storage = context.storage;
    if (context.account !== undefined) this.share = new Share(context.account);
    this.#limits = context.limits;
    this.#budget = context.budget;
  }

  /** Items that are neither leased nor scheduled. */
  get unleased(): number {
    return this.counters.total - this.leased.size;
  }

  /** How many more items may be leased. */
  get leaseRoom(): number {
    return this.#limits.leasedItems - this.leased.size;
  }

  /** Reads everything that memory holds anew; `moment` tells when it has been read. */
  async load(moment: () => Moment): Promise<void> {
    const state = await this.storage.loadPartition(this.key);
    if (state.idPrefix !== this.ids.prefix) {
      throw new Error(`storage '${this.storage.name}' has another partition under key ${this.key}`);
    }
    // From `head` on there are leased items only where a mark covers them.
    const ahead: StoredItem[] = [];
    for (const { first, last } of coveredFrom(state.leases, state.counters.head)) {
      const limits = { limit: last - first + 1, bytesMax: Number.MAX_SAFE_INTEGER };
      const read = { from: first, before: last + 1, ...limits, records: false };
      ahead.push(...(await this.storage.readItems(this.key, "items", read)));
    }
    const behind = await readBehind(this.storage, this.key);
    const before = new Map(Array.from(this.leased.values(), ({ seq, grant }) => [seq, grant!]));
    const at = moment();
    this.leased.clear();
    this.leasedSum = 0;
    this.leaseEnds.clear();
    this.openExpiry = undefined;
    this.scheduled.invalidate();
    this.expiries.invalidate();
    this.keysEndAt = at.now + KEYS_FIRST_LOOK + (this.key % KEYS_SPREAD) * SECOND;
    // A storage that has lost commits has forgotten numbers as well: none may be given again.
    const tail = Math.max(state.counters.tail, this.counters.tail);
    this.#arrivals.note(this.loads === 0 ? tail : this.counters.tail, at.steady);
    const counts = countsOf(state.counters);
    this.#countedFrom =
      this.loads === 0 ? counts : goneBack(this.#countedFrom, this.counters.counts, counts);
    this.counters = { ...state.counters, tail, counts };

    this.extendedAt = 0;
    for (const mark of state.leases) this.extendedAt = Math.max(this.extendedAt, mark.extendedAt);
    const leases = new StoredLeases(state.leases);
    // In order of their numbers, so that leases that end together end in the order they began.
    for (const stored of [...state.leased, ...ahead]) {
      const item = Item.stored(stored);
      const grant = leases.of(item);
      if (grant === undefined) throw new Error(`item ${item.seq} is leased without a lease`);
      if (item.leaseDeadline === 0) item.attempts++;
      if (grant.remaining === 0) {
        keepHeld(grant, before.get(item.seq), at);
        this.leaseEnds.add(grant);
      }
      this.hold(item, grant);
    }
    if (this.leased.size > 0) await loadNotes(this, this.leased);
    this.behind.clear();
    for (const [key, due] of behind) this.behind.set(key, due);
    this.dropReady();
    this.stale = false;
    this.settle();
    this.loads++;
  }

  /** Whether it is not known what is due next, so that no timer can be set for it. */
  get needsDue(): boolean {
    return this.scheduled.needsFill || this.expiries.needsFill;
  }

  /** Reads what is due next, if it is not known. */
  async fillDue(): Promise<void> {
    if (this.scheduled.needsFill) {
      const items = await this.storage.readScheduled(this.key, this.scheduled.limit);
      this.scheduled.fill(items.map((item) => ({ at: item.dueAt, seq: item.seq, item })));
    }
    if (this.expiries.needsFill) {
      const expiries = await this.storage.readExpiries(this.key, this.expiries.limit);
      this.expiries.fill(expiries.map(expiryEntry));
    }
  }

  // --- the ready window ---

  get readyCount(): number {
    return this.#ready.length - this.#readyStart;
  }

  /** What is in the window, in bytes. */
  get readyBytes(): number {
    return this.#readyBytes;
  }

  /** Whether everything that waits is in the window. */
  get readyComplete(): boolean {
    return this.#readyEnd === this.counters.tail;
  }

  readyAt(index: number): Item {
    return this.#ready[this.#readyStart + index]!;
  }

  /** Finds a waiting item; undefined if it is not in the window. */
  findReady(seq: number): Item | undefined {
    const item = this.#ready[this.#placeOf(seq)];
    return item?.seq === seq ? item : undefined;
  }

  // Where it is in the window, or would be.
  #placeOf(seq: number): number {
    let low = this.#readyStart;
    for (let high = this.#ready.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#ready[middle]!.seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Takes a waiting item out of the window, if it is there. */
  removeReady(seq: number): void {
    const index = this.#placeOf(seq);
    const item = this.#ready[index];
    if (item?.seq !== seq) return;
    const bytes = bytesOf(item);
    this.#readyBytes -= bytes;
    this.#budget.bytes -= bytes;
    this.#ready.splice(index, 1);
  }

  /** The same as far as memory knows it; 0 if it does not. */
  get knownNextAt(): number {
    if (this.readyCount > 0) return this.readyAt(0).createdAt;
    return this.#nextRead.head === this.counters.head && this.unleased > 0 ? this.#nextRead.at : 0;
  }

  /** Whether an item waits of which memory does not know it. */
  get hasUnknownNext(): boolean {
    return !this.stale && this.unleased > 0 && this.knownNextAt === 0;
  }

  /** When the item was produced that is leased next; 0 if none waits, or storage cannot tell. */
  async nextCreatedAt(): Promise<number> {
    if (this.readyCount > 0) return this.readyAt(0).createdAt;
    if (this.unleased === 0 || this.stale) return 0;
    const { head: from, tail: before } = this.counters;
    const limits = { limit: NEXT_READ, bytesMax: Number.MAX_SAFE_INTEGER };
    try {
      const read = { from, before, ...limits, records: false };
      const items = await this.storage.readItems(this.key, "items", read);
      const at = items.find(({ seq }) => !this.leased.has(seq))?.createdAt ?? 0;
      this.#nextRead = { head: from, at };
      return at;
    } catch {
      return 0; // whoever needs it will find out what is wrong
    }
  }

  /** Whether the window may be read on for what is not known to be there. */
  get mayReadOn(): boolean {
    const { readyItems, readyBytes } = this.#limits;
    const hasRoom = this.readyCount < readyItems && this.#budget.bytes < readyBytes;
    return hasRoom && !this.readyComplete && this.unleased > this.readyCount;
  }

  /** Whether it is known that no item waits under a number that lies behind the head. */
  isKnownGone(seq: number): boolean {
    return seq < this.#readyEnd && this.findReady(seq) === undefined;
  }

  /** The index in the window of the first item behind a number. */
  readyIndexAfter(seq: number): number {
    let low = this.#readyStart;
    for (let high = this.#ready.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (this.#ready[middle]!.seq <= seq) low = middle + 1;
      else high = middle;
    }
    return low - this.#readyStart;
  }

  /** Whether the window should be read on so that `wanted` items can be leased. */
  needsReady(wanted: number): boolean {
    return this.readyCount < wanted && !this.readyComplete && this.unleased > this.readyCount;
  }

  /** Reads the window on: as much as is wanted, and ahead of that as far as limits allow. */
  async fillReady(wanted: number): Promise<void> {
    const limit = Math.min(Math.max(wanted, 1_000), this.#limits.readyItems);
    const room = Math.max(this.#limits.readyBytes - this.#budget.bytes, 0);
    const items = await this.storage.readItems(this.key, "items", {
      from: Math.max(this.#readyEnd, this.counters.head),
      before: this.counters.tail,
      limit,
      bytesMax: Math.min(room, this.#limits.leaseReplyBytes),
      records: true,
    });
    for (const stored of items) {
      this.#readyEnd = stored.seq + 1;
      if (!this.leased.has(stored.seq)) this.#pushReady(Item.stored(stored));
    }
    if (items.length === 0) this.#readyEnd = this.counters.tail;
    this.#noteComplete();
    if (this.readyComplete && this.readyCount < this.unleased) {
      const missing = this.unleased - this.readyCount;
      throw new Error(`storage '${this.storage.name}' is damaged (${missing} items are missing)`);
    }
  }

  #pushReady(item: Item): void {
    const bytes = bytesOf(item);
    this.#readyBytes += bytes;
    this.#budget.bytes += bytes;
    this.#ready.push(item);
  }

  /** Takes the first `count` items out of the window. Their records must not have been dropped. */
  shiftReady(count: number): void {
    for (let i = 0; i < count; i++) {
      const bytes = bytesOf(this.#ready[this.#readyStart + i]!);
      this.#readyBytes -= bytes;
      this.#budget.bytes -= bytes;
    }
    this.#readyStart += count;
    if (this.#readyStart === this.#ready.length) {
      this.#ready = [];
      this.#readyStart = 0;
    } else if (this.#readyStart > 1_024 && this.#readyStart * 2 > this.#ready.length) {
      this.#ready = this.#ready.slice(this.#readyStart);
      this.#readyStart = 0;
    }
  }

  /** Takes items out of the window, wherever they stand in it. Their records must not have been dropped. */
  takeReady(taken: ReadonlySet<Item>): void {
    if (taken.size === 0) return;
    const ready: Item[] = [];
    for (let i = this.#readyStart; i < this.#ready.length; i++) {
      const item = this.#ready[i]!;
      if (taken.has(item)) {
        const bytes = bytesOf(item);
        this.#readyBytes -= bytes;
        this.#budget.bytes -= bytes;
      } else {
        ready.push(item);
      }
    }
    this.#ready = ready;
    this.#readyStart = 0;
  }

  /**
   * Puts new items at the end of the window, as long as there is room and it is the end of the
   * queue: `from` is the tail before they were added, `tail` the one after them.
   */
  appendReady(items: readonly Item[], start: number, from: number, tail: number): void {
    let isFull = this.#readyEnd !== from;
    for (let i = start; i < items.length && !isFull; i++) {
      isFull =
        this.readyCount >= this.#limits.readyItems || this.#budget.bytes >= this.#limits.readyBytes;
      if (isFull) break;
      this.#pushReady(items[i]!);
      this.#readyEnd = items[i]!.seq + 1;
    }
    if (!isFull) this.#readyEnd = tail;
    this.#noteComplete();
  }

  // Numbers behind the window may be those of scheduled items, or of none any more: if it holds
  // all that waits, it reaches up to the tail.
  #noteComplete(): void {
    if (this.unleased === this.readyCount) this.#readyEnd = this.counters.tail;
  }

  /** Empties the window, so that it is read anew from the head. */
  dropReady(): void {
    this.#budget.bytes -= this.#readyBytes;
    this.#readyBytes = 0;
    this.#ready = [];
    this.#readyStart = 0;
    this.#readyEnd = this.counters.head;
    this.window++;
    this.#noteComplete();
  }

  // --- leases ---

  /** Notes that a lease holds an item. */
  hold(item: Item, grant: Grant): void {
    item.grant = grant;
    grant.items.push(item);
    grant.remaining++;
    this.leased.add(item);
    this.leasedSum += this.sinceCreation(grant.leasedAt);
  }

  /** Notes new items of which some are leased already, each by a lease of its own; the window is read anew. */
  holdImported(items: readonly Item[], { now, steady }: Pick<Moment, "now" | "steady">): void {
    for (const item of items) {
      if (item.grant !== undefined || item.leaseDeadline === 0) continue;
      const grant = new Grant(item.leaseDeadline, now);
      grant.mark = item.seq;
      item.dropRecord();
      this.hold(item, grant);
      holdNew(grant, steady);
      this.leaseEnds.add(grant);
    }
    this.dropReady();
  }

  /** Notes that the lease of an item has ended. */
  letGo(item: Item): void {
    const grant = item.grant!;
    this.leased.delete(item);
    this.leasedSum =
      this.leased.size === 0 ? 0 : this.leasedSum - this.sinceCreation(grant.leasedAt);
    item.grant = undefined;
    this.#leave(item, grant);
  }

  /** Notes that another lease holds an item from now on, which began when the last one did. */
  regrant(item: Item, grant: Grant): void {
    const last = item.grant!;
    item.grant = grant;
    grant.items.push(item);
    grant.remaining++;
    this.#leave(item, last);
  }

  #leave(item: Item, grant: Grant): void {
    item.ending = false;
    grant.remaining--;
    grant.ending = 0;
    grant.forget();
    if (grant.remaining === 0) this.leaseEnds.noteEmpty();
  }

  // --- what is counted ---

  /** Has its namespace count what is there, and nothing more; not while nobody knows what that is. */
  settle(): void {
    if (this.share === undefined || this.stale) return;
    const { total, scheduled, held, counts } = this.counters;
    this.share.settle(total + scheduled + held, counts[COUNT.bytes] ?? 0);
  }

  // --- what is measured ---

  /** Adds what was counted here since the server has started, by its place. It never goes back. */
  addCountsTo(sums: number[]): void {
    const { counts } = this.counters;
    for (let what = 0; what < counts.length && what < sums.length; what++) {
      sums[what]! += counts[what]! - (this.#countedFrom[what] ?? 0);
    }
  }

  /**
   * Follows the counters that a commit has written, and measures what it has brought about; `ran` are the items
   * whose leases their consumers have ended.
   */
  follow(written: Counters, ran: readonly Item[], steady: number): void {
    const { counts, tail } = this.counters;
    this.counters = written;
    this.settle();
    this.measures?.count(counts, written.counts, steady);
    if (ran.length > 0) this.measures?.ended(ran, steady);
    if (written.tail > tail) this.#arrivals.note(tail, steady);
  }

  /** Notes how long items have waited that are leased now, and that so many more are as soon as they have come. */
  measureWaits(ready: readonly Item[], added: number, moment: Omit<Moment, "isStill">): void {
    if (this.measures === undefined) return;
    const { wait } = this.measures;
    if (added > 0) wait.note(0, added, moment.steady);
    if (ready.length === 0) return;
    this.#arrivals.measure(ready, moment, wait);
  }

  /** All that a batch has leased is measured: nothing is asked any more of what lies before the head. */
  passWaits(): void {
    this.#arrivals.forget(this.counters.head);
  }

  // --- failure ---

  /** Notes that its storage has failed, or that memory may differ from it: it is read anew later, in steady time. */
  distrust(steady: number): void {
    this.failures++;
    this.stale = true;
    const backoff = BACKOFF_MIN * 2 ** Math.min(this.failures - 1, 10);
    this.retryAt = steady + Math.min(backoff, BACKOFF_MAX);
  }

  /** Notes that a commit has shown that it works. */
  trust(): void {
    this.failures = 0;
    this.retryAt = 0;
  }

  /** Milliseconds from the making of the partition to a time: what sums of times are made of. */
  sinceCreation(time: number): number {
    return Math.floor((time - this.createdAt) / 1000);
  }

  /** Gives its memory back; the partition is not used again. */
  release(): void {
    this.dropReady();
    this.leased.clear();
    this.leaseEnds.clear();
    this.share?.settle(0, 0);
  }
}

// A lease that memory knew holds as it did, one that it did not know for what is left of it.
function keepHeld(grant: Grant, known: Grant | undefined, at: Moment): void {
  holdStored(grant, at);
  if (known?.leasedAt === grant.leasedAt) grant.heldSince = known.heldSince;
  if (known?.deadline !== grant.deadline) return;
  grant.heldUntil = known.heldUntil;
  grant.grace = known.grace;
}
