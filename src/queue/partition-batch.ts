// What one batch is going to do to one partition. Planning writes down changes here and leaves the
// partition as it is; after the commit `apply` brings memory to the same state, after a failed one
// `discard` takes back the few marks that planning left on items. Pure and synchronous: no clock,
// no storage, no await.

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
  NO_RECORD,
  NONE_DROPPED,
  type PartitionChanges,
  type SeqRange,
  type StoredItem,
} from "../storage/storage.ts";
import { type Attributes, withAttributes } from "./attributes.ts";
import { BEHIND_AT, earliestOf, inFront } from "./behind.ts";
import { expiryOf, LONG_AGO } from "./condemned.ts";
import type { QueueRules } from "./context.ts";
import { COUNT, type Counted, DEAD, PlannedCounts } from "./counts.ts";
import { Dealing } from "./dealing.ts";
import { Departures, type Left } from "./departures.ts";
import { Extensions } from "./extensions.ts";
import { HEARD, Heard } from "./heard.ts";
import { type Ending, plusOne } from "./history.ts";
import { entryOfRepeat } from "./idempotency.ts";
import { type Grant, type Item, takeBack } from "./item.ts";
import { attributesAfterMove, KEY } from "./keys.ts";
import { isLater } from "./later.ts";
import { Names } from "./names.ts";
import { PlannedNotes } from "./notes.ts";
import { type Due, expiryEntry, type Partition } from "./partition.ts";
import { PlannedExpiries } from "./planned-expiries.ts";
import { lifetimeOf } from "./policy.ts";
import type { HotRequest } from "./requests.ts";
import { toRanges } from "./seq-ranges.ts";
import { attributesAfterLease, keyHeld } from "./unique.ts";

// Nothing is held back yet.
const NONE_HELD: readonly HeldItem[] = [];
const NO_RANGES: readonly SeqRange[] = [];

type Lifetimes = Pick<QueueRules, "expireTimeout">;

/** What an item has once it is given back. */
export type GivenBack = Pick<StoredItem, "attempts" | "attributes">;
// What an item has once it lies elsewhere.
type Becomes = Pick<StoredItem, "dueAt" | "attempts" | "expireAt" | "attributes">;

export class PartitionBatch implements PartitionChanges {
  readonly of: Partition;
  readonly now: number;
  /** Whether anything was planned. */
  touched = false;
  /** The requests that are answered once this part of the batch is durable. */
  readonly requests: HotRequest<unknown>[] = [];

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
  /** Items of which what it plans ends leases because their consumers say so, however. */
  readonly ran: Item[] = [];
  /** What it tells those who listen; undefined if nobody does. */
  readonly heard: Heard | undefined;

  readonly #tailBefore: number;
  // The tail after the last add. Items that move to the tail come behind it; they are in storage only, so
  // the ready window ends before them.
  #tailAdded: number;
  #dealing: Dealing | undefined;
  #extensions: Extensions | undefined;
  #notes: PlannedNotes | undefined;
  readonly #departures: Departures;
  readonly #ended: Item[] = [];
  readonly #movedToScheduled: Due[] = [];
  readonly #fired: Due[] = [];
  readonly #removed: number[] = [];
  #removes: readonly SeqRange[] | undefined;
  readonly #expiries: PlannedExpiries;
  #dropsReady = false;
  readonly #names: Names;
  // Whether memory has let go of what waits, or is scheduled, and was replaced.
  #replacesReady = false;
  #replacedScheduled = 0;
  readonly #counts: PlannedCounts;

  constructor(partition: Partition, now: number) {
    this.of = partition;
    this.now = now;
    this.counters = { ...partition.counters };
    this.#counts = new PlannedCounts(this.counters, partition.share !== undefined);
    this.#tailBefore = this.counters.tail;
    this.#tailAdded = this.counters.tail;
    this.#names = new Names(partition.behind);
    this.#expiries = new PlannedExpiries(partition.openExpiry);
    this.heard = partition.ears?.isHeard === true ? new Heard() : undefined;
    this.#departures = new Departures(partition, now);
  }

  get partition(): number {
    return this.of.key;
  }

  get addsExpiry(): readonly Expiry[] {
    return this.#expiries.adds;
  }

  get removesExpiry(): readonly Expiry[] {
    return this.#expiries.removes;
  }

  get removesKey(): readonly KeyName[] {
    return this.#names.removes;
  }

  get addsKey(): readonly KeyEntry[] {
    return this.#names.adds;
  }

  /** Single items that leave, as ranges. */
  get removes(): readonly SeqRange[] {
    this.#removes ??= toRanges(this.#removed);
    return this.#removes;
  }

  /** Counts what becomes of items: that is kept if this is committed, and only then. */
  tally(what: Counted, n = 1): void {
    this.#counts.add(what, n);
  }

  // --- what comes in ---

  /** Adds a new item at the tail, or among the scheduled ones if it is due later. */
  enter(item: Item, rules: Lifetimes): void {
    this.begin(item, rules);
    this.add(item);
  }

  /** Gives a new item the times with which it is added. */
  begin(item: Item, rules: Lifetimes): void {
    item.createdAt = this.now;
    const { attributes } = item;
    const lifetime = attributes === "" ? rules.expireTimeout : lifetimeOf(attributes, rules);
    item.expireAt = this.now + lifetime;
    if (item.dueAt !== 0 && !isLater(item.dueAt, this.now)) item.dueAt = 0;
  }

  /** Adds an item whose times are set: one more than there were, of its producer or of another queue. */
  add(item: Item, as: Counted = COUNT.produced): void {
    this.tally(as);
    this.#put(item);
    this.heard?.note(as === COUNT.produced ? HEARD.produced : HEARD.received, item);
  }

  #put(item: Item): void {
    this.touched = true;
    this.#counts.weigh(item);
    item.seq = this.counters.tail++;
    this.#tailAdded = this.counters.tail;
    this.#names.put(item.attributes, item.seq);
    if (item.dueAt !== 0) {
      item.expireAt = expiryOf(item, item.dueAt);
      this.counters.scheduled++;
      this.addsScheduled.push(item);
      this.#names.noteBehind(item);
      return;
    }
    this.#count(item.createdAt, 1);
    this.adds.push(item);
    // What has moved before it in this commit lies before it, and the window must not begin behind that.
    if (this.moves.length > 0) this.dropReady();
  }

  /** Adds an item that is leased already, by a lease of its own. Nothing is ready until it was read anew. */
  addLeased(item: Item): void {
    this.add(item);
    this.heard?.note(HEARD.leased, item);
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
    const item = this.#leases.take(deadline);
    this.heard?.note(HEARD.leased, item);
    this.#names.lease(item.attributes);
    return item;
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
    this.heard?.note(HEARD.leased, item);
    this.#names.lease(item.attributes);
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
    this.heard?.note(HEARD.extended, item);
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
    this.heard?.note(HEARD.cancelRequested, item);
  }

  /** Notes how far a leased item is: for good, unless that was done just before. */
  noteProgress(item: Item, progress: string): void {
    this.#notes ??= new PlannedNotes();
    if (!this.#notes.progress(item, progress, this.now)) return;
    this.touched = true;
    this.heard?.note(HEARD.progress, item);
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
    this.#leave(as, how, result, true);
  }

  // All that is to be done for an item that leaves, wherever it lay and whatever has become of it.
  #leave(item: Left, ending: Ending, result = "", isLeased = false): void {
    this.#counts.unweigh(item);
    const { how, reason } = ending;
    this.heard?.noteEnd(item, ending);
    const entry = this.#departures.note(item, ending, result, this.records);
    if (entry !== undefined) {
      this.keep(entry);
      this.tally(COUNT.kept);
    }
    this.#names.leave(item, isLeased, this.now);
    const key = keyHeld(item.attributes, isLeased);
    if (key !== "") this.#promote(key);
    if (how !== "dropped") this.tally(COUNT[how]);
    if (reason === "") return;
    this.tally(DEAD[reason]);
    if (how === "dropped") {
      this.drops = plusOne(this.drops, reason);
      this.counters.dropped = plusOne(this.counters.dropped, reason);
    }
  }

  // The item that has had a key has ended: the one behind it has the key now, and may be leased. Its life begins now.
  #promote(key: string): void {
    const next = this.#names.nextOf(key);
    if (next === undefined) return;
    const { seq, createdAt, expireAt, attributes } = next.item;
    const due = { at: BEHIND_AT, seq, item: next.item };
    const expiresAt = this.now + expireAt - createdAt;
    // With its turn, or later if it says so.
    const at = Math.max(earliestOf(attributes), this.now);
    if (next.isNew) this.#names.putInFront(next.item as Item, at, this.now);
    else if (isLater(at, this.now)) this.postpone(due, at, expiresAt);
    else this.fire(due, expiresAt);
  }

  /** Puts a leased item that was claimed back, to the tail under a new number. */
  requeue(item: Item, { attempts, attributes: stays }: GivenBack = item): void {
    this.#end(item);
    const { seq, expireAt } = item;
    const attributes = attributesAfterLease(stays);
    this.#moveOn({ from: "items", seq, to: "items" }, { attempts, attributes, expireAt, dueAt: 0 });
  }

  // What gets another number keeps its names, and the id that it had first.
  #moveOn(
    {
      from,
      seq: fromSeq,
      to,
    }: { readonly from: ItemTable; readonly seq: number; readonly to: ItemTable },
    becomes: Becomes,
  ): Becomes & Pick<StoredItem, "seq"> {
    const toSeq = this.counters.tail++;
    const attributes = attributesAfterMove(this.of.ids, { ...becomes, seq: fromSeq });
    this.#names.put(attributes, toSeq);
    this.moves.push({ from, fromSeq, to, toSeq, ...becomes, attributes, group: "" });
    if (to === "items") this.#expiries.cover(toSeq, becomes.expireAt);
    return { ...becomes, attributes, seq: toSeq };
  }

  /** Puts a leased item that was claimed among the scheduled ones; it keeps its number. */
  schedule(item: Item, dueAt: number, { attempts, attributes: stays }: GivenBack = item): void {
    this.#end(item);
    const attributes = attributesAfterLease(stays);
    this.#setAside(item, { dueAt, attempts, expireAt: expiryOf(item, dueAt), attributes });
  }

  /**
   * Puts a leased item that was claimed where nobody can lease it and whence it goes to the dead
   * queue, whatever happens in between: among the scheduled ones, with the reason as an attribute.
   */
  condemn(item: Item, reason: DropReason, given = item.attributes): Due {
    this.#end(item);
    const { attempts, expireAt } = item;
    const attributes = withAttributes(attributesAfterLease(given), { died: reason });
    return this.#setAside(item, { dueAt: LONG_AGO, attempts, expireAt, attributes });
  }

  /**
   * Puts an item that is not leased there, whence it goes to another queue. Its unique key is one of this queue, and
   * has no item any more.
   */
  bind(table: ItemTable, item: StoredItem, sets: Partial<Attributes>): void {
    this.touched = true;
    const { seq, dueAt, attempts, expireAt, attributes: before } = item;
    const key = keyHeld(before, false);
    this.#names.giveUp(before);
    if (key !== "") this.#promote(key);
    const attributes = withAttributes(before, { ...sets, unique: undefined });
    const bound = { ...item, attributes, record: NO_RECORD };
    if (table === "scheduled") {
      this.postpone({ at: dueAt, seq, item: bound }, LONG_AGO);
      return;
    }
    this.#setAside(bound, { dueAt: LONG_AGO, attempts, expireAt, attributes });
    this.dropReady();
  }

  #setAside(item: StoredItem, to: Becomes): Due {
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
    this.#moveScheduled(due, { expireAt, dueAt: 0 });
    this.counters.scheduled--;
    this.#count(due.item.createdAt, 1);
  }

  /** Gives a scheduled item another time, under a new number. */
  postpone(due: Due, dueAt: number, expireAt = due.item.expireAt): void {
    const to = this.#moveScheduled(due, { expireAt, dueAt });
    this.#movedToScheduled.push({ at: dueAt, seq: to.seq, item: { ...due.item, ...to } });
  }

  #moveScheduled(due: Due, times: Pick<Becomes, "expireAt" | "dueAt">) {
    this.touched = true;
    const { seq, attempts, attributes: before } = due.item;
    this.#names.passBehind(before);
    this.#fired.push(due);
    const to = times.dueAt === 0 ? "items" : "scheduled";
    const attributes = inFront(before);
    const moved = this.#moveOn({ from: "scheduled", seq, to }, { attempts, attributes, ...times });
    this.#names.takeAfter(before, moved, this.now);
    return moved;
  }

  /** Removes an item that waits. The window is read anew afterwards. */
  removeWaiting(item: Left, how: Ending): void {
    this.touched = true;
    this.#count(item.createdAt, -1);
    this.#removed.push(item.seq);
    this.#leave(item, how);
    this.dropReady();
  }

  /** Puts another item, whose times are set, in the place of one that is not leased: behind all others. */
  replace(table: ItemTable, item: StoredItem, by: Item): void {
    const { seq, createdAt, dueAt, attributes } = item;
    // Memory lets go of it at once, so that this batch does nothing else to it.
    this.#names.drop(attributes, false);
    this.#counts.unweigh(item);
    if (table === "items") {
      this.#count(createdAt, -1);
      this.#removed.push(seq);
      this.of.removeReady(seq);
      this.#replacesReady = true;
    } else {
      this.counters.scheduled--;
      this.removesScheduled.push({ first: seq, last: seq });
      this.of.scheduled.remove({ at: dueAt, seq });
      this.#replacedScheduled++;
    }
    this.#put(by);
    this.heard?.note(HEARD.updated, by);
  }

  /** Gives a unique key to an item for a time, whatever becomes of it. */
  takeKey(entry: Omit<KeyEntry, "kind">): void {
    this.#names.take(entry);
  }

  /** Moves the head behind waiting items that have all been removed, so that no read passes their places again. */
  passHead(removed: readonly { readonly seq: number }[]): void {
    const last = removed.at(-1);
    if (last !== undefined && this.touched) this.counters.head = last.seq + 1;
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
    this.#expiries.replace(expiry, at);
  }

  // --- keys that are of no item ---

  /** Writes an entry that stays until it is removed. */
  put(entry: KeyEntry): void {
    this.touched = true;
    this.#names.adds.push(entry);
  }

  /** Keeps an entry until it ends. */
  keep(entry: KeyEntry): void {
    this.touched = true;
    this.#names.keep(entry);
  }

  /** Removes entries. */
  forget(names: readonly KeyName[]): void {
    this.touched = true;
    this.#names.forget(names);
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
    for (const request of this.requests) {
      const { repeat } = request;
      if (repeat === undefined || request.isRefused) continue;
      this.keep(entryOfRepeat(repeat, request.result as object, this.now));
    }
    for (const item of this.adds) {
      if (item.leaseDeadline === 0) this.#expiries.cover(item.seq, item.expireAt);
    }
    const leasedTo = this.#dealing?.mark(this.leases);
    const taken = this.#dealing?.count ?? 0;
    if (taken > 0) this.tally(COUNT.leased, taken);
    this.#extensions?.mark(this);
    this.#notes?.write(this.#names);
    this.#names.finish();
    if (leasedTo !== undefined) {
      this.counters.head = leasedTo + 1;
      // Expiries whose items have all been leased have nothing left to watch.
      const passed = this.counters.head - EXPIRY_SPAN;
      const first = this.of.expiries.first;
      if (first !== undefined && first.first <= passed) this.#expiries.remove(first);
    }
  }

  /** The commit has succeeded, at this steady time: memory follows. */
  apply(steady: number): void {
    const partition = this.of;
    partition.follow(this.counters, this.ran, steady);
    partition.openExpiry = this.#expiries.open;
    partition.keysEndAt = Math.min(partition.keysEndAt, this.#names.endAt);
    if (this.#dealing !== undefined) partition.pace.note(this.#dealing.count, this.now);
    const addedLeased = this.#dealing?.apply(steady) ?? 0;
    for (const item of this.#ended) partition.letGo(item);
    this.#extensions?.apply(partition, steady);
    this.#notes?.apply();
    this.#departures.apply();
    for (const item of this.addsScheduled) {
      partition.scheduled.add({ at: item.dueAt, seq: item.seq, item });
      item.dropRecord();
    }
    for (const due of this.#movedToScheduled) partition.scheduled.add(due);
    for (const due of this.#fired) partition.scheduled.remove(due);
    this.#names.apply();
    if (this.removesScheduled.length > this.#replacedScheduled) partition.scheduled.invalidate();
    for (const expiry of this.addsExpiry) partition.expiries.add(expiryEntry(expiry));
    for (const expiry of this.removesExpiry) partition.expiries.remove(expiryEntry(expiry));
    if (this.#dropsReady) partition.holdImported(this.adds, { now: this.now, steady });
    else partition.appendReady(this.adds, addedLeased, this.#tailBefore, this.#tailAdded);
    this.heard?.publish(partition, this.now);
  }

  /** Whether it grants or extends any lease. */
  get leasesAny(): boolean {
    return (this.#dealing?.count ?? 0) > 0 || this.#extensions !== undefined;
  }

  /** Clients have learned of their leases this long after `apply`. */
  noteReplies(late: number): void {
    this.#dealing?.noteReplies(late);
    this.#extensions?.noteReplies(late);
  }

  /** The commit has failed: takes the marks of the plan back, so that memory is as it was. */
  discard(): void {
    for (const item of this.#ended) takeBack(item);
    for (const item of this.#extensions?.items ?? []) takeBack(item);
    if (this.#replacesReady) this.of.dropReady();
    if (this.#replacedScheduled > 0) this.of.scheduled.invalidate();
    this.of.settle();
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
}
