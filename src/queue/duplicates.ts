// What is produced with a unique key: who has the key already, and what becomes of the new item then. A turn
// reads who has which of the keys that its requests ask for, in all partitions of the queue, before it plans;
// the plan goes by that and by what it has decided before. One request is one transaction: what it adds, and
// what it replaces, lies in one storage. What has no unique key comes nowhere near here.

import { invalidField, plainError, QueueError, queueError, retryLater } from "../errors.ts";
import type { ItemTable, KeyEntry, Storage, StoredItem } from "../storage/storage.ts";
import { sizeIn, type Unique, withAttributes } from "./attributes.ts";
import { type Batch, partitionFailing } from "./batch.ts";
import { BEHIND_AT, BEHIND_MAX, earliestOf, keyBehind } from "./behind.ts";
import type { Commits } from "./commits.ts";
import { isOnItsWay } from "./condemned.ts";
import type { QueueContext } from "./context.ts";
import { COUNT } from "./counts.ts";
import type { Item } from "./item.ts";
import { idOf, KEY } from "./keys.ts";
import { isLater } from "./later.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import type { Produced, ProducedItem, ProduceRequest, Refused } from "./requests.ts";
import { roomForAll, type Some } from "./room.ts";
import type { OnDuplicate, UniqueWish } from "./unique.ts";

/** The item that has a key, as it lies in storage. */
interface Holder {
  readonly partition: Partition;
  readonly id: string;
  /** When it has the key no more, whatever becomes of it; 0 for never. */
  readonly until: number;
  /** Where it is, if another can take its place: it is neither leased nor gone. Only read if that was asked. */
  readonly place: Place | undefined;
}

interface Place {
  readonly table: ItemTable;
  readonly item: StoredItem;
}

/** An item that the batch at hand is to add. */
class Arrival {
  /** The one whose place it takes. */
  replaced: Holder | undefined = undefined;
  /** Where it waits for the end of the one that has the key; undefined if it does not. */
  behind: Partition | undefined = undefined;
  /** As whoever came last has it. */
  item: Item;
  wish: UniqueWish | undefined;
  /** Where it goes; undefined until it is sure that its request is done. */
  partition: Partition | undefined = undefined;
  isPlaced = false;
  /** Whether it was placed before the first item that brought it about was told of. */
  isAhead = false;
  /** Before it is placed, which of its request it is. */
  id: string;

  constructor(index: number, item: Item, wish: UniqueWish | undefined) {
    this.id = `items[${index}]`;
    this.item = item;
    this.wish = wish;
  }

  /** Where it must lie, for the sake of others. */
  get home(): Partition | undefined {
    return this.partition ?? this.replaced?.partition ?? this.behind;
  }
}

/** What becomes of an item of a request, and which item is there then. */
interface Fate {
  readonly status: ProducedItem["status"] | "refused";
  readonly of: Arrival | Holder;
}

/** Items that ask for keys. */
export type Wanted = Pick<ProduceRequest, "items" | "unique" | "together" | "settled">;

/** What is decided of some of them. */
export interface Decided<R extends Wanted = Wanted> {
  readonly request: R;
  readonly fates: readonly Fate[];
  /** Where those go that are new, and with whose part a request is answered. */
  readonly partition: Partition;
  readonly isNothingDone: boolean;
}

/** What `Duplicates.decide` is told of items that are produced with the end of others. */
export interface Joint {
  /** Where they go, and in whose storage all of it must lie. */
  readonly home: Partition;
  /** The ids of those of the same queue that end. */
  readonly ending: ReadonlySet<string>;
}

const NONE_ENDING: ReadonlySet<string> = new Set();

/** Reads who has keys. */
export class KeyHolders {
  readonly #context: QueueContext;
  readonly #commits: Commits;

  constructor(context: QueueContext, commits: Commits) {
    this.#context = context;
    this.#commits = commits;
  }

  /** What is known of the keys that requests ask for. A partition that cannot be asked leaves nothing to go by. */
  async lookUp(requests: readonly Wanted[], partitions: readonly Partition[]): Promise<Duplicates> {
    const replacing = new Map<string, boolean>();
    for (const { unique = [], settled } of requests) {
      if (settled) continue;
      for (const wish of unique) {
        if (wish === undefined) continue;
        const isReplacing = REPLACING.has(wish.onDuplicate) || replacing.get(wish.key) === true;
        replacing.set(wish.key, isReplacing);
      }
    }
    const failing = partitions.find(({ stale }) => stale);
    if (failing !== undefined) return new Duplicates(partitionFailing(failing), NO_HOLDERS);
    const holders = new Map<string, Holder>();
    const now = this.#context.clock.now();
    for (const partition of partitions) {
      try {
        await find(partition, replacing, now, holders);
      } catch (error) {
        this.#commits.distrust(partition, error);
        return new Duplicates(partitionFailing(partition), NO_HOLDERS);
      }
    }
    return new Duplicates(undefined, holders);
  }
}

const REPLACING: ReadonlySet<OnDuplicate> = new Set(["replace", "extend", "keep_latest"]);
const NO_HOLDERS: ReadonlyMap<string, Holder> = new Map();

// Finds those of the keys that a partition has; of the items that are to be replaced also where they are.
async function find(
  partition: Partition,
  replacing: ReadonlyMap<string, boolean>,
  now: number,
  holders: Map<string, Holder>,
): Promise<void> {
  const { storage, key: partitionKey, ids } = partition;
  const found = await storage.findKeys(partitionKey, KEY.unique, [...replacing.keys()]);
  const entries: KeyEntry[] = [];
  for (const entry of found.values()) {
    if (entry.until === 0 || entry.until > now) entries.push(entry);
  }
  const idOfEntry = ({ value, seq }: KeyEntry): string => value || ids.id(seq);
  const wanted = entries.filter(({ key }) => replacing.get(key) === true);
  // An entry that ends by itself does not follow its item, which its id does.
  const followed = wanted.filter(({ until }) => until !== 0).map(idOfEntry);
  const moved =
    followed.length === 0
      ? new Map<string, KeyEntry>()
      : await storage.findKeys(partitionKey, KEY.id, followed);
  const seqOf = (entry: KeyEntry): number =>
    (entry.until === 0 ? undefined : moved.get(idOfEntry(entry))?.seq) ?? entry.seq;
  const places = await readPlaces(partition, wanted.map(seqOf));
  for (const entry of entries) {
    const { key, until } = entry;
    // Of two, which only a clock that was set back brings about, the one that lasts longer.
    const other = holders.get(key);
    if (other !== undefined && (other.until === 0 || (until !== 0 && other.until >= until)))
      continue;
    const place = replacing.get(key) === true ? places.get(seqOf(entry)) : undefined;
    holders.set(key, { partition, id: idOfEntry(entry), until, place });
  }
}

// Items that are neither leased nor gone, by their numbers, without their records.
async function readPlaces(
  { storage, key, leased }: Partition,
  seqs: readonly number[],
): Promise<ReadonlyMap<number, Place>> {
  const places = new Map<number, Place>();
  const sorted = seqs.filter((seq) => !leased.has(seq)).sort((a, b) => a - b);
  for (const table of ["items", "scheduled"] as const) {
    for (let at = 0; at < sorted.length; ) {
      const from = sorted[at]!;
      let run = 1;
      // What was produced together lies together.
      while (sorted[at + run] === from + run) run++;
      at += run;
      const items = await storage.readItems(key, table, {
        from,
        before: from + run,
        limit: run,
        bytesMax: Number.MAX_SAFE_INTEGER,
        records: false,
      });
      for (const item of items) {
        // What is on its way to another queue is as good as gone.
        const isLeaving = table === "scheduled" && isOnItsWay(item);
        if (!isLeaving) places.set(item.seq, { table, item });
      }
    }
  }
  return places;
}

/** What a batch knows of the keys that its requests ask for, and decides. */
export class Duplicates {
  readonly #failing: QueueError | undefined;
  readonly #holders: ReadonlyMap<string, Holder>;
  readonly #arrivals = new Map<string, Arrival>();
  readonly #planned: Decided<ProduceRequest>[] = [];

  constructor(failing: QueueError | undefined, holders: ReadonlyMap<string, Holder>) {
    this.#failing = failing;
    this.#holders = holders;
  }

  /**
   * Decides what becomes of the items of a request, which goes by what was decided before. Answers the partition
   * for those that are new, or why nothing can be done; in the first case `finish` does it.
   */
  plan(batch: Batch, request: ProduceRequest): Partition | QueueError {
    const decided = this.decide(batch, request);
    if (decided instanceof QueueError) return decided;
    const full = roomForAll(comingOf(decided));
    if (full !== undefined) return full;
    this.#planned.push(decided);
    if (!decided.isNothingDone) this.take(decided, batch.now);
    return decided.partition;
  }

  /** Decides it, and leaves all as it is: `take` has what comes later go by it. */
  decide<R extends Wanted>(batch: Batch, request: R, joint?: Joint): Decided<R> | QueueError {
    if (this.#failing !== undefined) return this.#failing;
    const fates = this.#fatesOf(request, batch.now, joint?.ending ?? NONE_ENDING);
    const storages = storagesOf(fates);
    if (joint !== undefined) storages.add(joint.home.storage);
    if (storages.size > 1) return tooFarApart(request, fates, joint !== undefined);
    const partition = joint?.home ?? batch.choose(...storages);
    if (partition === undefined) return plainError("storage_unavailable");
    const refused = fates.filter(({ status }) => status === "refused").length;
    const isNothingDone = request.together === "listed" ? refused > 0 : refused === fates.length;
    return { request, fates, partition, isNothingDone };
  }

  /** Something is to be done: whatever is decided later goes by it. */
  take({ request, fates, partition }: Decided, now: number): void {
    for (const [index, { status, of }] of fates.entries()) {
      if (!(of instanceof Arrival) || status === "duplicate" || status === "refused") continue;
      const item = request.items[index]!;
      const wish = request.unique![index];
      const before = of.item === item ? of.replaced?.place?.item : of.item;
      if (wish?.onDuplicate === "extend") item.dueAt ||= begunAnew(before, now);
      of.item = item;
      of.wish = wish;
      of.partition ??= of.home ?? partition;
      if (wish !== undefined) this.#arrivals.set(wish.key, of);
    }
  }

  #fatesOf(request: Wanted, now: number, ending: ReadonlySet<string>): readonly Fate[] {
    const mine = new Map<string, Arrival>();
    return request.items.map((item, index): Fate => {
      const wish = request.unique![index];
      const isScheduled = isLater(item.dueAt, now);
      if (wish === undefined) {
        return {
          status: isScheduled ? "scheduled" : "created",
          of: new Arrival(index, item, wish),
        };
      }
      const { key, onDuplicate } = wish;
      const of = mine.get(key) ?? this.#arrivals.get(key) ?? this.#holder(key, now, ending);
      if (of !== undefined && onDuplicate === "reject") return { status: "refused", of };
      if (of !== undefined && !REPLACING.has(onDuplicate)) return { status: "duplicate", of };
      if (of instanceof Arrival) return { status: "replaced", of };
      if (of !== undefined) return this.#fateBeside(of, new Arrival(index, item, wish), mine);
      const arrival = new Arrival(index, item, wish);
      mine.set(key, arrival);
      return { status: isScheduled ? "scheduled" : "created", of: arrival };
    });
  }

  // What becomes of an item that may take the place of another: of the one that waits behind the holder, if there
  // is one, or of the holder itself; or it is to wait behind that.
  #fateBeside(holder: Holder, arrival: Arrival, mine: Map<string, Arrival>): Fate {
    const { key, onDuplicate, while: until } = arrival.wish!;
    const { behind, ids } = holder.partition;
    const next = holder.until === 0 ? behind.get(key)?.item : undefined;
    const mayWait = onDuplicate === "keep_latest" && holder.until === 0 && until === "pending";
    if (next !== undefined) {
      const place = { table: "scheduled" as const, item: next };
      arrival.replaced = { ...holder, id: idOf(ids, next), place };
      arrival.behind = holder.partition;
    } else if (holder.place !== undefined) {
      arrival.replaced = holder;
    } else if (mayWait && behind.size < BEHIND_MAX) {
      arrival.behind = holder.partition;
    } else {
      return { status: mayWait ? "refused" : "duplicate", of: holder };
    }
    mine.set(key, arrival);
    return { status: arrival.replaced === undefined ? "created" : "replaced", of: arrival };
  }

  // Who has a key that nobody has asked for yet in this batch. If its item ends with it, that is the one behind it,
  // if there is one.
  #holder(key: string, now: number, ending: ReadonlySet<string>): Holder | undefined {
    const holder = this.#holders.get(key);
    if (holder === undefined) return undefined;
    const { until, id, partition } = holder;
    if (until !== 0) return until <= now ? undefined : holder;
    if (!ending.has(id)) return holder;
    const next = partition.behind.get(key)?.item;
    return next && { ...holder, id: idOf(partition.ids, next) };
  }

  /** Adds the items of all that was planned, in order, and says what became of them. */
  finish(batch: Batch): void {
    for (const decided of this.#planned) {
      const { request, partition, isNothingDone } = decided;
      const result = this.settle(batch, decided);
      const { refused = [] } = result;
      if (isNothingDone && request.together === "each") request.error = refused[0]!.error;
      request.result = result;
      batch.part(partition).requests.push(request);
    }
  }

  /** Adds those of the items that wait behind others: before these end, as they get their turn with that. */
  placeBehind(batch: Batch, { fates }: Decided): void {
    for (const { of } of fates) {
      if (!(of instanceof Arrival) || of.behind === undefined || of.isPlaced) continue;
      place(batch, of);
      of.isAhead = true;
    }
  }

  /** Adds the items of which that is decided, and says what became of them. */
  settle(batch: Batch, { request, fates, partition, isNothingDone }: Decided): Produced {
    const each: ProducedItem[] = [];
    const refused: Refused[] = [];
    for (const [index, { status, of }] of fates.entries()) {
      if (status !== "refused") {
        const isNew = of instanceof Arrival && (!of.isPlaced || of.isAhead);
        if (!isNothingDone && isNew) placeOnce(batch, of);
        else if (!isNothingDone) noteDuplicate(batch.part(partition));
        each.push({ id: of.id, status });
        continue;
      }
      const { key } = request.unique![index]!;
      refused.push({ index, error: keyTaken(key, of.id, `items[${index}].unique_key`) });
      each.push({ id: "", status: "created" });
    }
    return { partition: partition.number, first: 0, scheduled: [], each, refused };
  }
}

/** What a decision adds to partitions. */
export function comingOf({ request, fates, partition, isNothingDone }: Decided): readonly Some[] {
  if (isNothingDone || partition.share === undefined) return [];
  return fates.flatMap(({ status, of }, index): Some[] => {
    if (!(of instanceof Arrival) || status === "duplicate" || status === "refused") return [];
    const { size } = request.items[index]!.record;
    const home = of.home ?? partition;
    if (status !== "replaced") return [{ of: home, items: 1, bytes: size }];
    const before = of.replaced?.place?.item;
    const gone = before === undefined ? of.item.record.size : sizeIn(before.attributes);
    return [{ of: home, items: 0, bytes: Math.max(size - gone, 0) }];
  });
}

/** The first of those of a decision that are refused, and the key and the id for which it is. */
export function firstRefused({
  request,
  fates,
}: Decided): { readonly index: number; readonly key: string; readonly id: string } | undefined {
  const index = fates.findIndex(({ status }) => status === "refused");
  return index === -1
    ? undefined
    : { index, key: request.unique![index]!.key, id: fates[index]!.of.id };
}

// Those in which it must all be done: what a request hangs on may fail with the storage that it lies in.
function storagesOf(fates: readonly Fate[]): Set<Storage> {
  const storages = new Set<Storage>();
  for (const { of } of fates) {
    const partition = of instanceof Arrival ? of.home : undefined;
    if (partition !== undefined) storages.add(partition.storage);
  }
  return storages;
}

function tooFarApart({ unique }: Wanted, fates: readonly Fate[], isJoint: boolean): QueueError {
  // What is under way lies still in a moment.
  if (fates.some(({ of }) => of instanceof Arrival && of.partition !== undefined)) {
    return retryLater("unique keys are being taken in several storages, try again");
  }
  const index = fates.findLastIndex(({ of }) => of instanceof Arrival && of.replaced !== undefined);
  const other = isJoint
    ? "the leases that end"
    : "one that is replaced before it, produce them apart";
  return invalidField(
    `items[${index}].unique_key`,
    `items[${index}].unique_key is invalid; the item of '${unique![index]!.key}' lies in another storage than ${other}`,
  );
}

// When an item is due whose delay begins anew; 0 if it has none any more. What waits for another attempt goes on waiting.
function begunAnew(
  before: Pick<StoredItem, "dueAt" | "createdAt" | "attempts" | "attributes"> | undefined,
  now: number,
): number {
  if (before === undefined) return 0;
  const { attempts, createdAt, attributes } = before;
  const dueAt = keyBehind(attributes) === "" ? before.dueAt : earliestOf(attributes);
  if (dueAt <= now) return 0;
  if (attempts > 0) return dueAt;
  return dueAt + now - (createdAt || now);
}

function placeOnce(batch: Batch, arrival: Arrival): void {
  if (!arrival.isPlaced) place(batch, arrival);
  arrival.isAhead = false;
}

function place(batch: Batch, arrival: Arrival): void {
  const { item, wish, replaced, behind } = arrival;
  const part = batch.part(arrival.partition!);
  if (wish !== undefined) {
    const { key } = wish;
    const at = item.dueAt === 0 ? undefined : { at: item.dueAt };
    const unique: Unique =
      behind === undefined
        ? { key, while: wish.while }
        : { key, while: "behind", ...at, ...thenOf(wish, batch.now) };
    item.attributes = withAttributes(item.attributes, { unique, id: replaced?.id ?? "" });
  }
  if (behind !== undefined) item.dueAt = BEHIND_AT;
  if (replaced === undefined) {
    part.enter(item, batch.rules);
  } else {
    part.begin(item, batch.rules);
    part.replace(replaced.place!.table, replaced.place!.item, item);
    part.tally(COUNT.deduplicated);
  }
  arrival.id = replaced?.id ?? part.of.ids.id(item.seq);
  arrival.isPlaced = true;
  if (wish?.while !== "period" || behind !== undefined) return;
  const { key, for: period } = wish;
  part.takeKey({ key, seq: item.seq, until: batch.now + period, value: replaced?.id ?? "" });
}

// Until when an item has the key that waits behind another, if that is not its end: it has taken the place of one
// of `keep_latest`, which never says so, and what it says holds from its own produce on.
function thenOf({ while: then, for: period }: UniqueWish, now: number): Partial<Unique> {
  if (then === "period") return { then, until: now + period };
  return then === "waiting" ? { then } : {};
}

/** Why an item is refused whose key is that of another. */
export function keyTaken(key: string, id: string, field: string): QueueError {
  const { kind, message, code, details } = queueError("unique_key_taken", { key, id });
  return new QueueError(kind, message, { code, details, field });
}

// That there was one more is committed, though nothing else may be.
function noteDuplicate(part: PartitionBatch): void {
  part.touched = true;
  part.tally(COUNT.deduplicated);
}
