// Items on their way from one queue into another: copies of them are put into partition 0 of that queue,
// by asking its loop, and they are taken out here. In one transaction if both partitions share a storage;
// else the copies are written first, each under the id of its original, so that a repetition after a crash
// is recognised. No loop waits for another for longer than a delivery may take. Why items move, and whether
// they should, is none of its business.

import { MILLISECOND, SECOND } from "../clock.ts";
import { plainError, retryLater } from "../errors.ts";
import { type ItemTable, type KeyEntry, NO_RECORD, type StoredItem } from "../storage/storage.ts";
import { type Attributes, attributesOf, withAttributes } from "./attributes.ts";
import { behindFirst } from "./behind.ts";
import { type Commits, type Delivered, NOTHING_DELIVERED } from "./commits.ts";
import { boundFor } from "./condemned.ts";
import type { Intake, QueueContext } from "./context.ts";
import type { Ending } from "./history.ts";
import { idOf, KEY } from "./keys.ts";
import { type Delivery, type Letter, NotDelivered } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import { takeOut } from "./take-out.ts";
import { trailFrom, trailOf } from "./trails.ts";

/** How long letters wait for the loop of the other queue before the sender goes on with other work. */
export const DELIVERY_TIMEOUT = 500 * MILLISECOND;
// How long it then goes on before the next try.
const DELIVERY_RETRY = SECOND;
// The same if the other queue waits for this one, which takes what it is sent with its next turn.
const RING_RETRY = 10 * MILLISECOND;

/** How much may move at once: what comes after the item that reaches it stays. */
export interface Load {
  readonly items: number;
  readonly bytes: number;
}

/** What one delivery carries. */
export const DELIVERY: Load = { items: 256, bytes: 16 * 1024 * 1024 };
/** All at once, which only what one client has asked for in one request may be. */
export const WHOLE: Load = { items: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY };

/** Some items, from where to where. */
export interface Transfer {
  /** In order of their numbers, all in one table. Records that memory does not hold are read. */
  readonly items: readonly StoredItem[];
  /** For each of them, why it moves. */
  readonly endings: readonly Ending[];
  readonly table: ItemTable;
  /** The commit that takes them out, with all else that it does and serves. */
  readonly from: PartitionBatch;
  readonly to: Intake;
  readonly load: Load;
  /** What the copy of each is to have in place of what its original has, beside its source. */
  readonly sets: (item: StoredItem, index: number) => Partial<Attributes>;
  /** How long it may wait for the other queue, in microseconds; DELIVERY_TIMEOUT by default. */
  readonly patience?: number;
  /** How long nothing is sent if it has not been taken, in microseconds; DELIVERY_RETRY by default. */
  readonly retry?: number;
  /**
   * Told that nothing was moved, as the other queue was too busy: the part is taken back, and what becomes of its
   * requests is left to whoever it tells. Without it they are refused.
   */
  readonly onBusy?: () => void;
  /** Told which of them move, so that more can be written in the same commit. */
  readonly onTaken?: (moved: readonly StoredItem[]) => void;
}

/** Deliveries that a batch takes in, with those of their letters that are new. */
export interface Accepted extends Delivered {
  readonly letters: readonly Letter[];
  /** What is to be written down of them in the same commit. */
  readonly entries: readonly KeyEntry[];
}

/** Who has something to say of letters that come in. */
export interface Noticing {
  /** Answers what is to be written down of new letters, which it may change. */
  notice(letters: Map<string, Letter>): Promise<readonly KeyEntry[]>;
}

/** The storage of the other queue has failed before anything was written: nothing has happened. */
export class NotTaken extends NotDelivered {
  constructor(cause: unknown) {
    super();
    const { message } = plainError("storage_unavailable");
    this.message = message;
    this.cause = cause;
  }
}

const NOTHING_ACCEPTED: Accepted = { ...NOTHING_DELIVERED, letters: [], entries: [] };

export class Transfers {
  readonly #context: QueueContext;
  readonly #commits: Commits;
  // The queue that sends.
  readonly #sender: Intake | undefined;
  /** What it waits for. */
  sendsTo: Intake | undefined;
  #restsUntil = 0;

  constructor(context: QueueContext, commits: Commits, sender?: Intake) {
    this.#context = context;
    this.#commits = commits;
    this.#sender = sender;
  }

  /**
   * Until when, in steady time, nothing is sent, because what was sent before has not been taken; 0 if
   * that is not so.
   */
  get restsUntil(): number {
    if (this.#restsUntil !== 0 && this.#restsUntil <= this.#context.clock.steady()) {
      this.#restsUntil = 0;
    }
    return this.#restsUntil;
  }

  /** Whether a queue waits for this one: to wait for it would be in vain. */
  isWaitedForBy(to: Intake): boolean {
    return this.#sender !== undefined && leadsBack(to, this.#sender);
  }

  /**
   * Moves the first of the items, as many as the load allows, and commits the part that takes them out,
   * whose requests are answered. If that cannot be done nothing moves, they get a retryable error, and it answers
   * false.
   */
  async move(transfer: Transfer): Promise<boolean> {
    const { from, to } = transfer;
    if (this.isWaitedForBy(to)) {
      if (transfer.onBusy !== undefined) {
        from.discard();
        transfer.onBusy();
        return false;
      }
      this.#commits.refuse(from, retryLater(new NotDelivered().message));
      this.#restsUntil = this.#context.clock.steady() + RING_RETRY;
      return false;
    }
    // From here on, so that the other does not begin to wait for this one while it reads.
    this.sendsTo = to;
    try {
      return await this.#moveTo(transfer);
    } finally {
      this.sendsTo = undefined;
    }
  }

  async #moveTo(transfer: Transfer): Promise<boolean> {
    const {
      items,
      endings,
      table,
      from,
      to,
      load,
      sets,
      patience,
      retry = DELIVERY_RETRY,
    } = transfer;
    const { storage } = from.of;
    const moved = await this.#read(from.of, table, items, load);
    if (moved === undefined) {
      this.#commits.refuse(from, plainError("storage_unavailable"));
      return false;
    }
    const leaving = moved.map((item, i) => ({
      item,
      ending: endings[i]!,
      attributes: item.attributes,
    }));
    for (const { item, ending } of behindFirst(leaving)) takeOut(from, table, item, ending);
    transfer.onTaken?.(moved);
    from.finish();
    const letters = moved.map((item, i) => toLetter(from.of, item, sets(item, i)));
    const isTogether = to.storage === storage;
    let isWritten = isTogether;
    try {
      await to.deliver(letters, isTogether ? from : undefined, { patience });
      isWritten = true;
      if (!isTogether) await this.#commits.write(storage, [from]);
    } catch (error) {
      if (transfer.onBusy !== undefined && isBusy(error)) {
        from.discard();
        transfer.onBusy();
        return false;
      }
      if (error instanceof NotDelivered) this.#commits.refuse(from, retryLater(error.message));
      else if (isWritten) this.#commits.failed([from], error);
      // What has failed is the other storage: in this one nothing is in doubt.
      else this.#commits.refuse(from, plainError("storage_unavailable", error));
      this.#restsUntil = this.#context.clock.steady() + retry;
      return false;
    }
    await this.#commits.succeeded([from]);
    return true;
  }

  /**
   * Looks which of the letters that other queues send here are new. One whose source is here already
   * is a repetition after a crash, and is passed over. If storage fails, all are refused.
   */
  async accept(
    partition: Partition,
    deliveries: readonly Delivery[],
    noticing: Noticing,
  ): Promise<Accepted> {
    if (deliveries.length === 0) return NOTHING_ACCEPTED;
    const letters = new Map<string, Letter>();
    // Of those from another storage: whether it is alive.
    const apart = new Map<string, boolean>();
    for (const { letters: some, companion } of deliveries) {
      for (const letter of some) {
        const { source, redrive, from, bound } = attributesOf(letter.attributes);
        letters.set(source, letter);
        const isAlive = bound !== undefined || (redrive !== "" && from === undefined);
        if (companion === undefined) apart.set(source, isAlive);
      }
    }
    const entries: KeyEntry[] = [];
    try {
      if (partition.stale) throw new Error("partition 0 is failing");
      const sources = [...letters.keys()];
      const known = await partition.storage.findKeys(partition.key, KEY.source, sources);
      for (const source of known.keys()) letters.delete(source);
      if (apart.size > 0) entries.push(...(await this.#follow(partition, letters, apart)));
      if (letters.size > 0) entries.push(...(await noticing.notice(letters)));
      await nameApart(partition, letters);
    } catch (error) {
      const { log } = this.#context;
      log.warn(
        { err: error, partition: partition.key },
        "items of other queues cannot be taken in",
      );
      for (const each of deliveries) each.reject(new NotTaken(error));
      return NOTHING_ACCEPTED;
    }
    const companions = deliveries.flatMap((each) => each.companion ?? []);
    return { deliveries, companions, letters: [...letters.values()], entries };
  }

  // What comes from another storage may be leased and completed, or redriven, before its original is removed there.
  // If the server ends in between, it comes again, and its source is not here any more: so it leaves a
  // trail for a while. Passes over those that have left one; answers the trails of those that leave it at once.
  async #follow(
    { storage, key }: Partition,
    letters: Map<string, Letter>,
    apart: ReadonlyMap<string, boolean>,
  ): Promise<readonly KeyEntry[]> {
    const now = this.#context.clock.now();
    const known = await storage.findKeys(key, KEY.idempotency, Array.from(apart.keys(), trailOf));
    const entries: KeyEntry[] = [];
    for (const [source, isAlive] of apart) {
      const entry = known.get(trailOf(source));
      if (entry !== undefined && entry.until > now) letters.delete(source);
      const letter = letters.get(source);
      if (letter === undefined) continue;
      const attributes = withAttributes(letter.attributes, { isApart: !isAlive });
      letters.set(source, { ...letter, attributes });
      if (isAlive) entries.push(trailFrom(source, now));
    }
    return entries;
  }

  // The first of these items with their records, as many as the load allows; undefined if storage fails.
  async #read(
    partition: Partition,
    table: ItemTable,
    items: readonly StoredItem[],
    load: Load,
  ): Promise<readonly StoredItem[] | undefined> {
    const found: StoredItem[] = [];
    let bytes = 0;
    const take = (item: StoredItem): void => {
      found.push(item);
      bytes += item.record.size;
    };
    try {
      while (found.length < Math.min(items.length, load.items) && bytes < load.bytes) {
        const start = found.length;
        const next = items[start]!;
        if (next.record !== NO_RECORD) {
          take(next);
          continue;
        }
        // Items that move together mostly lie together: each run of them is one read.
        const from = next.seq;
        let run = 1;
        while (items[start + run]?.seq === from + run) run++;
        const read = await partition.storage.readItems(partition.key, table, {
          from,
          before: from + run,
          limit: load.items - start,
          bytesMax: load.bytes - bytes,
          records: true,
        });
        if (read.length === 0) throw new Error(`item ${from} is not in storage`);
        for (const { seq, record } of read) {
          const item = items[found.length]!;
          if (item.seq !== seq) throw new Error(`item ${item.seq} is not in storage`);
          take({ ...item, record });
        }
      }
      return found;
    } catch (error) {
      this.#commits.distrust(partition, error);
      return undefined;
    }
  }
}

/** Whether a queue waits for the sender, or for one that does, and so on: it would wait for itself. */
export function leadsBack(to: Intake, sender: Intake): boolean {
  let next = to.sendsTo;
  let known: Intake | undefined;
  for (let step = 1; next !== undefined; step++) {
    if (next === sender) return true;
    // A ring of others, as one stands still for another that sends to it: the sender is not in it.
    if (next === known) return false;
    if ((step & (step - 1)) === 0) known = next;
    next = next.sendsTo;
  }
  return false;
}

// The other queue works, but has not come to take anything.
function isBusy(error: unknown): boolean {
  return error instanceof NotDelivered && !(error instanceof NotTaken);
}

// An id names one item. A copy whose id is that of another which is here, as its original was imported with it
// meanwhile, or comes beside it, gets an id of its own.
async function nameApart(partition: Partition, letters: Map<string, Letter>): Promise<void> {
  if (letters.size === 0) return;
  const idOfLetter = ({ attributes }: Letter): string => attributesOf(attributes).id;
  const ids = Array.from(letters.values(), idOfLetter);
  const known = await partition.storage.findKeys(partition.key, KEY.id, ids);
  const taken = new Set(known.keys());
  // What has never moved has no entry: its id says where it is, if it is there.
  for (const id of ids) {
    const seq = partition.ids.seq(id);
    if (seq > 0 && (await hasNeverMoved(partition, seq))) taken.add(id);
  }
  for (const [source, letter] of letters) {
    const id = idOfLetter(letter);
    if (taken.has(id)) {
      const attributes = withAttributes(letter.attributes, { id: "" });
      letters.set(source, { ...letter, attributes });
    }
    taken.add(id);
  }
}

async function hasNeverMoved(partition: Partition, seq: number): Promise<boolean> {
  const { storage, key, counters, leased } = partition;
  const one = { from: seq, before: seq + 1, limit: 1, bytesMax: 1, records: false };
  // Of most of what comes back memory knows that it is not here: it was leased, and nothing is scheduled.
  const isGone = seq < counters.head && !leased.has(seq);
  const tables: ItemTable[] = isGone ? [] : ["items"];
  if (counters.scheduled > 0) tables.push("scheduled");
  for (const table of tables) {
    const [item] = await storage.readItems(key, table, one);
    if (item !== undefined) return attributesOf(item.attributes).id === "";
  }
  return false;
}

// A copy of an item: it keeps the id of its original, and tells where that lay.
function toLetter({ ids }: Partition, item: StoredItem, sets: Partial<Attributes>): Letter {
  const { seq, attributes, record } = item;
  const id = idOf(ids, item);
  // What waits long on its way may get other numbers: it is known again by the first. That of what was produced for
  // the other queue is its id; an id that comes there for the second time is to be told from the first.
  const { sentAs } = attributesOf(attributes);
  const source = sentAs || (boundFor(item) === undefined ? ids.id(seq) : id);
  // A unique key is one of its queue, and stays behind.
  const own = { source, id, unique: undefined, isApart: false, sentAs: "" };
  return { attributes: withAttributes(attributes, { ...sets, ...own }), record };
}
