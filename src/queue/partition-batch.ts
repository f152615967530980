// What one batch is going to do to one partition. Planning writes down changes here and leaves the
// partition as it is; after the commit `apply` brings memory to the same state, after a failed one
// `discard` takes back the few marks that planning left on items. Pure and synchronous: no clock,
// no storage, no await.

import { MILLISECOND, SECOND } from "../clock.ts";
import {
  type Counters,
  type Dropped,
  type DropReason,
  EXPIRY_SPAN,
  type Expiry,
  type HeldItem,
  type ItemRecord,
  type ItemTable,
  type KeyEntry,
  type KeyName,
  type LeaseMark,
  type Move,
  NONE_DROPPED,
  type PartitionChanges,
  type SeqRange,
  type StoredItem,
} from "../storage/storage.ts";
import { withAttributes } from "./attributes.ts";
import { expiryOf, LONG_AGO } from "./condemned.ts";
import type { QueueRules } from "./context.ts";
import { COUNT, type Counted, copyOfCounts, DEAD } from "./counts.ts";
import { Dealing } from "./dealing.ts";
import { Extensions } from "./extensions.ts";
import { type Ending, entryOfEnded, type Leaving } from "./history.ts";
import { Grant, type Item } from "./item.ts";
import { attributesAfterMove, entriesOf, idOf, KEY, namesOf } from "./keys.ts";
import { holdFrom } from "./lease-ends.ts";
import { PlannedNotes } from "./notes.ts";
import { type Due, expiryEntry, type Partition } from "./partition.ts";
import { lifetimeOf } from "./policy.ts";
import { entryOfRepeat } from "./repeat.ts";
import type { HotRequest, Produced } from "./requests.ts";
import { toRanges } from "./seq-ranges.ts";
import type { Told } from "./watchers.ts";

/** Times nearer than this are treated as now. */
const SOON = 100 * MILLISECOND;

// Nothing is held back yet.
const NONE_HELD: readonly HeldItem[] = [];
const NO_RANGES: readonly SeqRange[] = [];

// Items that expire within this time after the first of them share one expiry.
const EXPIRY_WIDTH = SECOND;

type Left = Leaving & Pick<StoredItem, "seq" | "record">;

/** What an item has once it is given back. */
export type GivenBack = Pick<StoredItem, "attempts" | "attributes">;

const NONE_SCHEDULED: readonly number[] = [];

/** Whether a time that a client gave is far enough ahead to be worth scheduling. */
export function isLater(at: number, now: number): boolean {
  return at >= now + SOON;
}

export class PartitionBatch implements PartitionChanges {
  readonly of: Partition;
  readonly now: number;
  /** Whether anything was planned. */
  touched = false;
  /** The requests that are answered once this part of the batch is durable. */
  readonly served: HotRequest<unknown>[] = [];

  readonly counters: Counters;
  /** Records that memory does not hold, of items that may end here and of which is kept how. */
  records: ReadonlyMap<number, ItemRecord> | undefined;
  /** What it takes away for good, though nobody has completed it. */
  drops: Dropped = NONE_DROPPED;
  readonly adds: Item[] = [];
  readonly addsScheduled: Item[] = [];
  readonly addsHeld = NONE_HELD;
  readonly leases: LeaseMark[] = [];
  readonly moves: Move[] = [];
  readonly removesScheduled: SeqRange[] = [];
  readonly removesHeld = NO_RANGES;
  readonly releases: number[] = [];
  readonly addsExpiry: Expiry[] = [];
  readonly removesExpiry: Expiry[] = [];
  readonly removesKey: KeyName[] = [];
  readonly addsKey: KeyEntry[] = [];

  readonly #tailBefore: number;
  // The tail after the last add. What moves to the tail comes behind it, is in storage only, and
  // so ends the ready window.
  #tailAdded: number;
  #dealing: Dealing | undefined;
  #extensions: Extensions | undefined;
  #notes: PlannedNotes | undefined;
  // What those who wait for the end of an item are told.
  #told: { readonly id: string; readonly told: Told }[] | undefined;
  readonly #ended: Item[] = [];
  readonly #movedToScheduled: Due[] = [];
  readonly #fired: Due[] = [];
  readonly #removed: number[] = [];
  #removes: readonly SeqRange[] | undefined;
  #openExpiry: Expiry | undefined;
  #dropsReady = false;
  // What `counters.counts` is replaced by with the first thing that is counted.
  #counts: number[] | undefined;
  #keysEndAt = Number.POSITIVE_INFINITY;

  constructor(partition: Partition, now: number) {
    this.of = partition;
    this.now = now;
    this.counters = { ...partition.counters };
    this.#tailBefore = this.counters.tail;
    this.#tailAdded = this.counters.tail;
    this.#openExpiry = partition.openExpiry;
  }

  get partition(): number {
    return this.of.key;
  }

  /** Single items that leave, as ranges. */
  get removes(): readonly SeqRange[] {
    this.#removes ??= toRanges(this.#removed);
    return this.#removes;
  }

  /** Counts what becomes of items: that is kept if this is committed, and only then. */
  tally(what: Counted, n = 1): void {
    if (this.#counts === undefined) {
      this.#counts = copyOfCounts(this.counters.counts);
      this.counters.counts = this.#counts;
    }
    this.#counts[what]! += n;
  }

  // --- what comes in ---

  /** Adds new items at the tail; those that are due later become scheduled. */
  produce(items: readonly Item[], rules: Pick<QueueRules, "expireTimeout">): Produced {
    const expireAt = this.now + rules.expireTimeout;
    const first = this.counters.tail;
    let scheduled: number[] | undefined;
    for (const item of items) {
      item.createdAt = this.now;
      item.expireAt =
        item.attributes === "" ? expireAt : this.now + lifetimeOf(item.attributes, rules);
      if (item.dueAt !== 0) {
        if (isLater(item.dueAt, this.now)) {
          scheduled ??= [];
          scheduled.push(this.counters.tail - first);
        } else {
          item.dueAt = 0;
        }
      }
      this.add(item);
    }
    return { partition: this.of.number, first, scheduled: scheduled ?? NONE_SCHEDULED };
  }

  /** Adds an item whose times are set: one more than there were, of its producer or of another queue. */
  add(item: Item, as: Counted = COUNT.produced): void {
    this.touched = true;
    this.tally(as);
    this.#place(item);
  }

  #place(item: Item): void {
    item.seq = this.counters.tail++;
    this.#tailAdded = this.counters.tail;
    if (item.attributes !== "") this.addsKey.push(...entriesOf(item.attributes, item.seq));
    if (item.dueAt !== 0) {
      item.expireAt = expiryOf(item, item.dueAt);
      this.counters.scheduled++;
      this.addsScheduled.push(item);
      return;
    }
    this.#count(item.createdAt, 1);
    this.adds.push(item);
  }

  /** Adds an item that is leased already, by a lease of its own. Nothing is ready until it was read anew. */
  addLeased(item: Item): void {
    this.add(item);
    const { seq, leaseDeadline: deadline } = item;
    this.leases.push({ first: seq, last: seq, deadline, leasedAt: this.now, extendedAt: 0 });
    this.dropReady();
  }

  // --- leases ---

  /** How many items could be leased now. */
  get available(): number {
    return this.#leases.available;
  }

  /** The item that `take` would lease. Only to be called while something is available. */
  peek(): Item {
    return this.#leases.peek();
  }

  /** Leases the next item. */
  take(deadline: number): Item {
    this.touched = true;
    return this.#leases.take(deadline);
  }

  /** What it adds is not leased by this batch. */
  spareAdded(): void {
    this.#leases.sparesAdded = true;
  }

  /** Whether an item of the window, by its index, is leased by what is planned. */
  isTaken(index: number): boolean {
    return this.#leases.isTaken(index);
  }

  /** Leases an item of the window that is not taken, wherever it lies. */
  pick(item: Item, deadline: number): void {
    this.touched = true;
    this.#leases.pick(item, deadline);
  }

  get #leases(): Dealing {
    this.#dealing ??= new Dealing(this.of, this.now, this.adds);
    return this.#dealing;
  }

  /** A leased item, unless the batch at hand already ends its lease. */
  leased(seq: number): Item | undefined {
    const item = this.of.leased.get(seq);
    return item === undefined || item.ending ? undefined : item;
  }

  /** A leased item whose lease the batch at hand does not end, though it may extend it. */
  extendable(seq: number): Item | undefined {
    const item = this.of.leased.get(seq);
    return item?.ending === true && this.#extensions?.has(item) !== true ? undefined : item;
  }

  /** Gives the lease of an `extendable` item another deadline; of several the last stands. */
  extend(item: Item, deadline: number): void {
    this.touched = true;
    this.tally(COUNT.extended);
    this.#extensions ??= new Extensions();
    if (!item.ending) {
      item.ending = true;
      this.#takeFrom(item.grant!);
    }
    this.#extensions.set(item, deadline);
  }

  /** When the lease of an `extendable` item ends, as far as it is planned. */
  deadlineOf(item: Item): number {
    return this.#extensions?.deadlineOf(item) ?? item.grant!.deadline;
  }

  /** Notes of a leased item that it never comes back. */
  noteCancelled(item: Item): void {
    this.touched = true;
    this.#notes ??= new PlannedNotes();
    this.#notes.cancel(item, this.now);
  }

  /** Notes how far a leased item is: for good, unless that was done just before. */
  noteProgress(item: Item, progress: string): void {
    this.#notes ??= new PlannedNotes();
    if (this.#notes.progress(item, progress, this.now)) this.touched = true;
  }

  // --- what leaves ---

  /** Claims a leased item for one ending; `unclaim` takes it back. */
  claim(item: Item): void {
    item.ending = true;
  }

  unclaim(item: Item): void {
    item.ending = false;
  }

  /** Removes a leased item that was claimed. */
  remove(item: Item, how: Ending, result = "", as: Left = item): void {
    this.#end(item);
    this.#count(item.createdAt, -1);
    this.#removed.push(item.seq);
    this.#leave(as, how, result);
  }

  /** Puts another item in the place of one that is not leased: behind all others, under a new number. */
  replace(table: ItemTable, item: StoredItem, by: Item): void {
    this.touched = true;
    if (table === "items") {
      this.#count(item.createdAt, -1);
      this.#removed.push(item.seq);
    } else {
      this.counters.scheduled--;
      this.removesScheduled.push({ first: item.seq, last: item.seq });
    }
    this.removesKey.push(...namesOf(item.attributes));
    this.dropReady();
    this.#place(by);
  }

  // All that is to be done for an item that leaves, wherever it lay and whatever has become of it.
  #leave(item: Left, ending: Ending, result = ""): void {
    const { watchers, ids, keeping } = this.of;
    const { how, reason } = ending;
    if (watchers !== undefined && watchers.size > 0) {
      this.#told ??= [];
      this.#told.push({ id: idOf(ids, item), told: { how, reason, at: this.now, result } });
    }
    if (keeping !== undefined) {
      const record = this.records?.get(item.seq) ?? item.record;
      const how = { ending, record, result, keeping, now: this.now };
      const entry = entryOfEnded(idOf(ids, item), item, how);
      if (entry !== undefined) {
        this.keep(entry);
        this.tally(COUNT.kept);
      }
    }
    if (item.attributes !== "") this.removesKey.push(...namesOf(item.attributes));
    if (how !== "dropped") this.tally(COUNT[how]);
    if (reason === "") return;
    this.tally(DEAD[reason]);
    if (how === "dropped") {
      this.drops = plusOne(this.drops, reason);
      this.counters.dropped = plusOne(this.counters.dropped, reason);
    }
  }

  /** Puts a leased item that was claimed back, to the tail under a new number. */
  requeue(item: Item, { attempts, attributes: stays }: GivenBack = item): void {
    this.#end(item);
    const toSeq = this.counters.tail++;
    const { seq: fromSeq, expireAt } = item;
    const attributes = this.#moved({ seq: fromSeq, attributes: stays }, toSeq);
    const to = { toSeq, attempts, expireAt, dueAt: 0, attributes, group: "" };
    this.moves.push({ from: "items", fromSeq, to: "items", ...to });
    this.#cover(toSeq, expireAt);
  }

  // What gets another number keeps its names, and the id that it had first.
  #moved(item: Pick<StoredItem, "seq" | "attributes">, toSeq: number): string {
    const attributes = attributesAfterMove(this.of.ids, item);
    this.addsKey.push(...entriesOf(attributes, toSeq));
    return attributes;
  }

  /** Puts a leased item that was claimed among the scheduled ones; it keeps its number. */
  schedule(item: Item, dueAt: number, { attempts, attributes }: GivenBack = item): void {
    this.#setAside(item, { dueAt, attempts, expireAt: expiryOf(item, dueAt), attributes });
  }

  /**
   * Puts a leased item that was claimed where nobody can lease it and whence it goes to the dead
   * queue, whatever happens in between: among the scheduled ones, with the reason as an attribute.
   */
  condemn(item: Item, reason: DropReason, given = item.attributes): Due {
    const { attempts, expireAt } = item;
    const attributes = withAttributes(given, { died: reason });
    return this.#setAside(item, { dueAt: LONG_AGO, attempts, expireAt, attributes });
  }

  #setAside(
    item: Item,
    to: Pick<StoredItem, "dueAt" | "attempts" | "expireAt" | "attributes">,
  ): Due {
    this.#end(item);
    this.#count(item.createdAt, -1);
    this.counters.scheduled++;
    const { seq } = item;
    const move = { from: "items", fromSeq: seq, to: "scheduled", toSeq: seq } as const;
    this.moves.push({ ...move, ...to, group: "" });
    const due = { at: to.dueAt, seq, item: { ...item, ...to } };
    this.#movedToScheduled.push(due);
    return due;
  }

  /** Makes a scheduled item leasable: at the tail, under a new number. */
  fire(due: Due, expireAt: number): void {
    this.touched = true;
    const toSeq = this.counters.tail++;
    const { seq: fromSeq, attempts, createdAt } = due.item;
    const attributes = this.#moved(due.item, toSeq);
    const to = { toSeq, attempts, expireAt, dueAt: 0, attributes, group: "" };
    this.moves.push({ from: "scheduled", fromSeq, to: "items", ...to });
    this.counters.scheduled--;
    this.#count(createdAt, 1);
    this.#fired.push(due);
    this.#cover(toSeq, expireAt);
  }

  /** Removes an item that waits. The window is read anew afterwards. */
  removeWaiting(item: Left, how: Ending): void {
    this.touched = true;
    this.#count(item.createdAt, -1);
    this.#removed.push(item.seq);
    this.#leave(item, how);
    this.dropReady();
  }

  /** Moves the head behind waiting items that have all been removed, so that no read passes their places again. */
  passHead(removed: readonly { readonly seq: number }[]): void {
    const last = removed.at(-1);
    if (last !== undefined && this.touched) this.counters.head = last.seq + 1;
  }

  /** Removes an item whether it waits, is leased or is scheduled. */
  takeOut(table: ItemTable, item: StoredItem, how: Ending): void {
    const leased = table === "items" ? this.of.leased.get(item.seq) : undefined;
    if (leased !== undefined) {
      // Whatever ends a lease has claimed its item; this one's has ended by itself.
      if (!leased.ending) this.tally(COUNT.leaseEnds);
      this.claim(leased);
      this.remove(leased, how, "", item);
    } else if (table === "items") {
      this.removeWaiting(item, how);
    } else {
      this.removeScheduled(item, how);
    }
  }

  /** Removes a scheduled item. */
  removeScheduled(item: Left, how: Ending): void {
    this.touched = true;
    this.counters.scheduled--;
    this.removesScheduled.push({ first: item.seq, last: item.seq });
    this.#leave(item, how);
  }

  /** Removes an expiry, and puts one that is due at `at` in its place; infinite for none. */
  replaceExpiry(expiry: Expiry, at: number): void {
    if (at === expiry.at) return;
    this.touched = true;
    this.removesExpiry.push(expiry);
    if (at !== Number.POSITIVE_INFINITY) this.addsExpiry.push({ at, first: expiry.first });
    if (this.#openExpiry?.first === expiry.first) this.#openExpiry = undefined;
  }

  // --- keys that are of no item ---

  /** Writes an entry that stays until it is removed. */
  put(entry: KeyEntry): void {
    this.touched = true;
    this.addsKey.push(entry);
  }

  /** Keeps an entry until it ends. */
  keep(entry: KeyEntry): void {
    this.touched = true;
    this.addsKey.push(entry);
    this.#keysEndAt = Math.min(this.#keysEndAt, entry.until);
  }

  /** Removes entries. */
  forget(names: readonly KeyName[]): void {
    this.touched = true;
    this.removesKey.push(...names);
    const kept = names.filter(({ kind }) => kind === KEY.ended).length;
    if (kept > 0) this.tally(COUNT.kept, -kept);
  }

  /** Says that the ready window no longer shows what waits, so that it is read anew. */
  dropReady(): void {
    this.#dropsReady = true;
  }

  // --- the three ends of a plan ---

  /** Completes the changes once everything is planned. */
  finish(): void {
    for (const request of this.served) {
      const { repeat } = request;
      if (repeat === undefined || request.isRefused) continue;
      this.keep(entryOfRepeat(repeat, request.result as object, this.now));
    }
    for (const item of this.adds) {
      if (item.leaseDeadline === 0) this.#cover(item.seq, item.expireAt);
    }
    const leasedTo = this.#dealing?.mark(this.leases);
    const taken = this.#dealing?.count ?? 0;
    if (taken > 0) this.tally(COUNT.leased, taken);
    this.#extensions?.mark(this);
    this.#notes?.write(this);
    if (leasedTo !== undefined) {
      this.counters.head = leasedTo + 1;
      // Expiries whose items have all been leased have nothing left to watch.
      const passed = this.counters.head - EXPIRY_SPAN;
      const first = this.of.expiries.first;
      if (first !== undefined && first.first <= passed) this.removesExpiry.push(first);
    }
  }

  /** The commit has succeeded, at this steady time: memory follows. */
  apply(steady: number): void {
    const partition = this.of;
    partition.counters = this.counters;
    partition.openExpiry = this.#openExpiry;
    partition.keysEndAt = Math.min(partition.keysEndAt, this.#keysEndAt);
    const addedLeased = this.#dealing?.apply(steady) ?? 0;
    const leased = this.#dealing?.count ?? 0;
    if (leased > 0) partition.pace.note(leased, this.now);
    for (const item of this.#ended) partition.letGo(item);
    this.#extensions?.apply(partition, steady);
    this.#notes?.apply();
    for (const { id, told } of this.#told ?? []) partition.watchers?.tell(id, told);
    for (const item of this.addsScheduled) {
      partition.scheduled.add({ at: item.dueAt, seq: item.seq, item });
      item.dropRecord();
    }
    for (const due of this.#movedToScheduled) partition.scheduled.add(due);
    for (const due of this.#fired) partition.scheduled.remove(due);
    if (this.removesScheduled.length > 0) partition.scheduled.invalidate();
    for (const expiry of this.addsExpiry) partition.expiries.add(expiryEntry(expiry));
    for (const expiry of this.removesExpiry) partition.expiries.remove(expiryEntry(expiry));
    if (this.#dropsReady) this.#applyWithoutWindow(steady);
    else partition.appendReady(this.adds, addedLeased, this.#tailBefore, this.#tailAdded);
  }

  // Imported items that are leased have leases of their own, and the window is read anew.
  #applyWithoutWindow(steady: number): void {
    for (const item of this.adds) {
      if (item.grant !== undefined || item.leaseDeadline === 0) continue;
      const grant = new Grant(item.leaseDeadline, this.now);
      grant.mark = item.seq;
      item.dropRecord();
      this.of.hold(item, grant);
      holdFrom(grant, steady);
      this.of.leaseEnds.add(grant);
    }
    this.of.dropReady();
  }

  /** Whether it leases anything to those that it serves, or extends a lease. */
  get leasesAny(): boolean {
    return (this.#dealing?.count ?? 0) > 0 || this.#extensions !== undefined;
  }

  /** Clients were told of their leases so long after `apply`. */
  noteReplies(late: number): void {
    this.#dealing?.noteReplies(late);
    this.#extensions?.noteReplies(late);
  }

  /** The commit has failed: memory is as it was. */
  discard(): void {
    for (const item of this.#ended) takeBack(item);
    for (const item of this.#extensions?.items ?? []) takeBack(item);
  }

  #end(item: Item): void {
    this.touched = true;
    if (item.note !== undefined || this.#notes !== undefined) {
      this.#notes ??= new PlannedNotes();
      this.#notes.end(item);
    }
    this.#ended.push(item);
    this.#takeFrom(item.grant!);
  }

  // A mark goes with the last item that its lease holds.
  #takeFrom(grant: Grant): void {
    grant.ending++;
    if (grant.mark !== 0 && grant.ending === grant.remaining) this.releases.push(grant.mark);
  }

  #count(createdAt: number, n: 1 | -1): void {
    this.counters.total += n;
    this.counters.createdSum =
      this.counters.total === 0
        ? 0
        : this.counters.createdSum + n * this.of.sinceCreation(createdAt);
  }

  // Sees to it that an expiry covers a waiting item: the open one, if it fits, or a new one.
  #cover(seq: number, expireAt: number): void {
    const open = this.#openExpiry;
    const fits =
      open !== undefined &&
      seq >= open.first &&
      seq < open.first + EXPIRY_SPAN &&
      expireAt >= open.at &&
      expireAt <= open.at + EXPIRY_WIDTH;
    if (fits) return;
    this.#openExpiry = { at: expireAt, first: seq };
    this.addsExpiry.push(this.#openExpiry);
  }
}

function plusOne(to: Dropped, reason: DropReason): Dropped {
  return { ...to, [reason]: to[reason] + 1 };
}

function takeBack(item: Item): void {
  item.ending = false;
  item.grant!.ending = 0;
}
