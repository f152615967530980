// Does redrives: moves items out of a dead queue, back to where they came from or elsewhere, in steps of the
// dead queue's loop. Between two steps nothing is remembered but which redrives run: each step reads how far its
// redrive is, and writes that down with what it moves. So a failed commit, a restart or another server
// that takes over changes nothing but the time that it takes. How items move is in transfers.ts.

import { randomBytes } from "node:crypto";
import { type CancelTimer, MILLISECOND, SECOND } from "../clock.ts";
import { plainError, queueError } from "../errors.ts";
import type { ItemTable, KeyEntry, StoredItem } from "../storage/storage.ts";
import { type Attributes, attributesOf, withAttributes } from "./attributes.ts";
import { partitionFailing } from "./batch.ts";
import { behindFirst } from "./behind.ts";
import type { BoundItems } from "./bound-items.ts";
import type { Commits } from "./commits.ts";
import { isOnItsWay } from "./condemned.ts";
import type { Intake } from "./context.ts";
import { LOOKED_AT_MAX } from "./dead-groups.ts";
import { type Happening, happenedTo } from "./heard.ts";
import { MOVED } from "./history.ts";
import { KEY } from "./keys.ts";
import type { Loop } from "./loop.ts";
import type { Letter } from "./mailbox.ts";
import { rangesOf, run } from "./operations.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import {
  afterDeaths,
  afterStep,
  type Candidate,
  destinationOf,
  ended,
  entryOfRedrive,
  infoOf,
  isSelective,
  isWanted,
  type Page,
  type Position,
  type Redrive,
  type RedriveInfo,
  type RedriveOptions,
  redriveOf,
  type Sorted,
} from "./redrive.ts";
import { DELIVERY, Transfers } from "./transfers.ts";

/** Redrives of a queue that run at the same time, and those that have ended and are told of. */
const RUNNING_MAX = 20;
const ENDED_MAX = 20;
/** Queues to which items were sent that are told. */
const SENT_TO_MAX = 1_000;
/** How many a step looks at, and how many ids it looks for. */
const STEP = 2_000;
const IDS_STEP = 200;
const PAGE_BYTES = 16 * 1024 * 1024;
// With a rate, so many times a second.
const RATE_STEPS = 10;
// A step that comes late is made up for, so that as many move in a second as were asked for; but no more than this, or a
// redrive that could do nothing for a long time would then be as fast as it goes.
const LAG_MAX = 500 * MILLISECOND;
// What has failed is tried again after this time, doubled each time.
const BACKOFF_MIN = 50 * MILLISECOND;
const BACKOFF_MAX = 5 * SECOND;
// The loops of both queues may each wait for the other, so the first tries are given up soon. If the other
// one is only busy, the later ones wait longer for it.
const PATIENCE_MIN = 50 * MILLISECOND;
const PATIENCE_MAX = 500 * MILLISECOND;
// Of an id: microseconds since 1970.
const TIME_LETTERS = 11;

// A redriven item is none of a dead queue any more. Why its last attempt failed stays with it.
const ALIVE: Partial<Attributes> = { from: undefined, died: "" };

interface Stepped {
  /** How many it has moved; undefined if it was to move some and could not. */
  readonly moved: number | undefined;
  /** As it is then; undefined if it is not there any more. */
  readonly redrive: Redrive | undefined;
}

export class Redrives {
  readonly #loop: Loop;
  readonly #commits: Commits;
  readonly #transfers: Transfers;
  readonly #boundItems: BoundItems;
  // Those that run, by id, with what wakes each of them from its rest.
  readonly #running = new Map<string, () => void>();
  // Which reading of partition 0 was looked through for those that run.
  #lookedAt = 0;
  #isClosed = false;

  constructor(loop: Loop, commits: Commits, boundItems: BoundItems) {
    this.#loop = loop;
    this.#boundItems = boundItems;
    this.#commits = commits;
    // Its own, so that what rests because of a redrive is nothing but redrives.
    this.#transfers = new Transfers(loop.context, commits, loop);
  }

  /** What it waits for. */
  get sendsTo(): Intake | undefined {
    return this.#transfers.sendsTo;
  }

  /** How many run, as far as partition 0 was looked through for them. */
  get running(): number {
    return this.#running.size;
  }

  get #home(): Partition {
    return this.#loop.partitions[0]!;
  }

  // --- what operators ask for ---

  /** Begins a redrive, or counts what it would move. */
  start(options: RedriveOptions): Promise<RedriveInfo> {
    if (options.dryRun) return this.#count(options);
    return run(this.#loop, this.#loop.partitions, async () => {
      const now = this.#loop.context.clock.now();
      const known = await this.#all();
      if (known.filter(({ state }) => state === "running").length >= RUNNING_MAX) {
        throw plainError("overloaded");
      }
      const redrive = this.#make(options, idAfter(known[0]?.id ?? "", now), now);
      const part = new PartitionBatch(this.#home, now);
      part.put(entryOfRedrive(redrive));
      const { to } = redrive;
      if (to !== "") part.put({ kind: KEY.sentTo, key: to, seq: 0, until: 0, value: "" });
      const old = known.filter(({ state }) => state !== "running").slice(ENDED_MAX);
      part.forget(old.map(({ id }) => ({ kind: KEY.redrive, key: id })));
      await this.#loop.commitAlone(part);
      this.#tell("redrive_started", redrive, now);
      this.#begin(redrive.id);
      return infoOf(redrive);
    });
  }

  /** Those that run, and the last that have ended; the newest first. */
  list(): Promise<readonly RedriveInfo[]> {
    return run(this.#loop, [this.#home], async () => {
      let isPast = ENDED_MAX;
      const all = await this.#all();
      return all.filter(({ state }) => state === "running" || isPast-- > 0).map(infoOf);
    });
  }

  /**
   * The names of the queues to which items were sent: there an item is that was here once, and is not any more.
   * Known before the first of them goes, and for as long as the queue lives: one entry for each such queue.
   */
  sentTo(): Promise<readonly string[]> {
    return run(this.#loop, [this.#home], async () => {
      const names = new Set<string>();
      for (const { storage, key, stale } of this.#loop.partitions) {
        const options = { after: "", limit: SENT_TO_MAX, order: "ascending" } as const;
        if (stale) continue;
        for (const entry of await storage.listKeys(key, KEY.sentTo, options)) names.add(entry.key);
      }
      return [...names];
    });
  }

  /** A redrive as it is now; a QueueError (404) if there is none of this id. */
  info(id: string): Promise<RedriveInfo> {
    return run(this.#loop, [this.#home], async () => infoOf(await this.#find(id)));
  }

  /** Ends a redrive where it is. One that has ended stays as it is. */
  cancel(id: string): Promise<RedriveInfo> {
    return run(this.#loop, [this.#home], async () => {
      const redrive = await this.#find(id);
      if (redrive.state !== "running") return infoOf(redrive);
      const cancelled = ended(redrive, "cancelled", this.#loop.context.clock.now());
      await this.#write(cancelled);
      return infoOf(cancelled);
    });
  }

  // --- what the loop asks for ---

  /** Whether partition 0 has been read since it was looked through. */
  get mustLook(): boolean {
    return this.#lookedAt !== this.#home.loads && !this.#home.stale;
  }

  /** Goes on with what was under way when the server ended. */
  async look(): Promise<void> {
    this.#lookedAt = this.#home.loads;
    try {
      for (const { id, state } of await this.#all()) if (state === "running") this.#begin(id);
    } catch (error) {
      this.#commits.distrust(this.#home, error);
    }
  }

  /**
   * What is to be written down of letters that come into this queue: those that redrives of it had moved have
   * died again. Answers the entries, and takes the mark of its redrive from each letter.
   */
  async notice(letters: Map<string, Letter>): Promise<readonly KeyEntry[]> {
    const died: string[] = [];
    for (const [source, letter] of letters) {
      const { redrive, from } = attributesOf(letter.attributes);
      // One that is alive is brought by a redrive of another queue, whose mark it keeps.
      if (redrive === "" || from === undefined) continue;
      died.push(redrive);
      const attributes = withAttributes(letter.attributes, { redrive: "" });
      letters.set(source, { ...letter, attributes });
    }
    if (died.length === 0) return [];
    const { storage, key } = this.#home;
    const found = await storage.findKeys(key, KEY.redrive, [...new Set(died)]);
    const now = this.#loop.context.clock.now();
    return Array.from(found.values(), (entry) => {
      const count = died.filter((id) => id === entry.key).length;
      return entryOfRedrive(afterDeaths(redriveOf(entry), count, now));
    });
  }

  #tell(what: Happening, { id, state, moved }: Redrive, at: number): void {
    const { ears, name } = this.#loop;
    if (ears?.isHeard !== true) return;
    ears.publish(happenedTo(name, what, at, { redrive: id, state, moved }));
  }

  close(): void {
    this.#isClosed = true;
    for (const wake of this.#running.values()) wake();
  }

  // --- from step to step ---

  #begin(id: string): void {
    if (this.#running.has(id)) return;
    this.#running.set(id, () => undefined);
    void this.#goOn(id).finally(() => this.#running.delete(id));
  }

  async #goOn(id: string): Promise<void> {
    let failures = 0;
    // Since when, in steady time, so many have moved.
    let since = this.#loop.context.clock.steady();
    let count = 0;
    while (!this.#isClosed) {
      let rest = 0;
      try {
        const { moved, redrive } = await this.#step(id, failures);
        if (redrive?.state !== "running") {
          if (redrive !== undefined) this.#tell("redrive_ended", redrive, redrive.endedAt);
          return;
        }
        failures = moved === undefined ? failures + 1 : 0;
        if (redrive.rate > 0) {
          count += moved ?? 0;
          rest = since + (count / redrive.rate) * SECOND - this.#loop.context.clock.steady();
          if (rest < -LAG_MAX) since -= rest + LAG_MAX;
        }
      } catch {
        failures++; // what it needs does not work at present, which is in the log
      }
      if (failures > 0) rest = Math.min(BACKOFF_MIN * 2 ** (failures - 1), BACKOFF_MAX);
      if (rest > 0) await this.#rest(id, rest);
    }
  }

  async #rest(id: string, duration: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel: CancelTimer = this.#loop.context.clock.wakeAfter(duration, resolve);
    this.#running.set(id, resolve);
    if (this.#isClosed) resolve();
    await promise;
    cancel();
  }

  // Moves some items of a redrive that are to go to one queue.
  #step(id: string, failures: number): Promise<Stepped> {
    return run(this.#loop, [this.#home], async () => {
      const redrive = await this.#read(id);
      if (redrive?.state !== "running") return { moved: 0, redrive };
      const page = await this.#page(redrive);
      const { now } = this.#moment();
      if (page === undefined) {
        const done = ended(redrive, "done", now);
        await this.#write(done);
        return { moved: 0, redrive: done };
      }
      const sorted = this.#sort(redrive, page);
      const first = sorted.movable[0];
      if (first === undefined) {
        const after = afterStep(redrive, page, sorted, new Set());
        await this.#write(after);
        return { moved: 0, redrive: after };
      }
      return this.#move({ redrive, page, sorted, first, failures });
    });
  }

  async #move(step: {
    readonly redrive: Redrive;
    readonly page: Page;
    readonly sorted: Sorted;
    readonly first: Candidate;
    readonly failures: number;
  }): Promise<Stepped> {
    const { redrive, page, sorted, first, failures } = step;
    const { partition, table, item } = first;
    const destination = destinationOf(redrive, item);
    const items = sorted.movable
      .filter((each) => each.partition === partition && each.table === table)
      .map((each) => each.item)
      .filter((each) => destinationOf(redrive, each) === destination)
      .slice(0, roomOf(redrive))
      .sort((a, b) => a.seq - b.seq);
    const { now } = this.#moment();
    const from = new PartitionBatch(partition, now);
    const to = this.#loop.context.findIntake(destination)!;
    let after = redrive;
    const note = (taken: readonly StoredItem[]): void => {
      after = afterStep(redrive, page, sorted, new Set(taken.map(({ seq }) => seq)));
      if (redrive.limit > 0 && after.moved >= redrive.limit) after = ended(after, "done", now);
      // What is next to be leased is then found at once.
      if (isAtHead(page, partition, taken)) from.passHead(taken);
      if (partition === this.#home) from.put(entryOfRedrive(after));
    };
    if (to.storage === partition.storage) {
      // It waits for this one, whose next turn takes what it has sent.
      if (this.#transfers.isWaitedForBy(to)) return { moved: 0, redrive };
      const isDone = await this.#transfers.move({
        items,
        endings: items.map(() => MOVED),
        table,
        from,
        to,
        load: DELIVERY,
        sets: () => ({ ...ALIVE, redrive: redrive.id }),
        patience: Math.min(PATIENCE_MIN * 2 ** failures, PATIENCE_MAX),
        onTaken: note,
      });
      if (!isDone) return { moved: undefined, redrive };
    } else {
      // Until it has taken what is on its way there, more would only be beyond recall.
      if (this.#boundItems.isHeldUp(destination)) return { moved: undefined, redrive };
      for (const each of behindFirst(items)) {
        const sentAs = partition.ids.id(each.seq);
        from.bind(table, each, {
          ...ALIVE,
          redrive: redrive.id,
          bound: { to: destination, at: 0 },
          sentAs,
        });
      }
      note(items);
      await this.#loop.commitAlone(from);
    }
    // Dead letters come into partition 0; of what a producer has put into another, moved and noted are two commits.
    if (partition !== this.#home) await this.#write(after);
    return { moved: after.moved - redrive.moved, redrive: after };
  }

  #sort(redrive: Redrive, { seen }: Page): Sorted {
    const movable: Candidate[] = [];
    const skipped: Candidate[] = [];
    for (const each of seen) {
      if (!isWanted(redrive, each.item)) continue;
      const to = destinationOf(redrive, each.item);
      const isLeased = each.partition.leased.has(each.item.seq);
      // A copy of it may be elsewhere already.
      const isLeaving = each.table === "scheduled" && isOnItsWay(each.item);
      const hasPlace = to !== "" && to !== this.#loop.name && !isLeaving;
      const canMove = !isLeased && hasPlace && this.#loop.context.findIntake(to) !== undefined;
      (canMove ? movable : skipped).push(each);
    }
    return { movable, skipped };
  }

  // --- what there is to be looked at ---

  async #page(redrive: Redrive): Promise<Page | undefined> {
    if (redrive.ids !== undefined) return this.#pageOfIds(redrive, redrive.ids);
    let at: Position | undefined = redrive.at;
    while (at !== undefined) {
      const partition = this.#loop.partitions[at.partition]!;
      const { table } = at;
      const from = table === "items" ? Math.max(at.seq, partition.counters.head) : at.seq;
      const before = redrive.ends[at.partition]!;
      const items = await this.#readItems(partition, table, {
        from,
        before,
        limit: isSelective(redrive) ? STEP : DELIVERY.items,
        records: redrive.kind !== "",
      });
      const last = items.at(-1);
      if (last !== undefined) {
        const seen = items
          .filter((item) => !isSentBy(redrive, item))
          .map((item) => ({ partition, table, item, id: "" }));
        return { seen, from, next: { ...at, seq: last.seq + 1 } };
      }
      at = this.#positionAfter(at);
    }
    return undefined;
  }

  #positionAfter({ partition, table }: Position): Position | undefined {
    if (table === "items") return { partition, table: "scheduled", seq: 0 };
    const next = partition + 1;
    return next < this.#loop.partitions.length
      ? { partition: next, table: "items", seq: 0 }
      : undefined;
  }

  async #pageOfIds(redrive: Redrive, ids: readonly string[]): Promise<Page | undefined> {
    if (ids.length === 0) return undefined;
    const some = ids.slice(0, IDS_STEP);
    const seen: Candidate[] = [];
    for (const partition of this.#loop.partitions) {
      const { storage, key, ids: space } = partition;
      if (partition.stale) throw partitionFailing(partition);
      const entries = await storage.findKeys(key, KEY.id, some);
      const idsBySeq = new Map<number, string>();
      for (const id of some) {
        const seq = entries.get(id)?.seq ?? space.seq(id);
        if (seq > 0) idsBySeq.set(seq, id);
      }
      for (const table of ["items", "scheduled"] as const) {
        for (const { first, last } of rangesOf(new Set(idsBySeq.keys()))) {
          const limit = last - first + 1;
          const read = { from: first, before: last + 1, limit, records: redrive.kind !== "" };
          for (const item of await this.#readItems(partition, table, read)) {
            const id = idsBySeq.get(item.seq);
            if (id !== undefined && !isSentBy(redrive, item))
              seen.push({ partition, table, item, id });
          }
        }
      }
    }
    return { seen, from: undefined, next: some.length };
  }

  async #readItems(
    partition: Partition,
    table: ItemTable,
    read: {
      readonly from: number;
      readonly before: number;
      readonly limit: number;
      readonly records: boolean;
    },
  ): Promise<readonly StoredItem[]> {
    if (partition.stale) throw partitionFailing(partition);
    const options = { ...read, bytesMax: PAGE_BYTES };
    return partition.storage.readItems(partition.key, table, options);
  }

  // Goes through the queue as a redrive would, and writes nothing. It looks at so much, and no more.
  async #count(options: RedriveOptions): Promise<RedriveInfo> {
    let redrive: Redrive | undefined;
    return run(this.#loop, this.#loop.partitions, async () => {
      const { now } = this.#moment();
      redrive ??= this.#make(options, "", now);
      const page = redrive.lookedAt < LOOKED_AT_MAX ? await this.#page(redrive) : undefined;
      if (page === undefined) return infoOf(ended(redrive, "done", now));
      const sorted = this.#sort(redrive, page);
      const room = redrive.limit > 0 ? redrive.limit - redrive.moved : sorted.movable.length;
      const taken = sorted.movable.slice(0, room).map(({ item }) => item.seq);
      redrive = afterStep(redrive, page, sorted, new Set(taken));
      const isFull = redrive.limit > 0 && redrive.moved >= redrive.limit;
      return isFull ? infoOf(ended(redrive, "done", now)) : undefined;
    });
  }

  // --- what is written down ---

  #make(options: RedriveOptions, id: string, now: number): Redrive {
    const { to, ids, fingerprint, kind, olderThan, newerThan, limit, rate, stopAt } = options;
    const { partitions } = this.#loop;
    const names = ids.length > 0 ? [...new Set(ids)] : undefined;
    const waiting = partitions.reduce(
      (sum, { counters, unleased }) => sum + unleased + counters.scheduled,
      0,
    );
    return {
      id,
      to,
      state: "running",
      moved: 0,
      lookedAt: 0,
      total: names?.length ?? waiting,
      skipped: 0,
      failed: 0,
      notFound: 0,
      startedAt: now,
      endedAt: 0,
      ids: names,
      fingerprint,
      kind,
      before: olderThan > 0 ? now - olderThan : Number.MAX_SAFE_INTEGER,
      after: newerThan > 0 ? now - newerThan : 0,
      limit,
      rate,
      stopAt,
      at: { partition: 0, table: "items", seq: 0 },
      ends: partitions.map(({ counters }) => counters.tail),
    };
  }

  // The newest first.
  async #all(): Promise<readonly Redrive[]> {
    const { storage, key } = this.#home;
    const limit = 2 * (RUNNING_MAX + ENDED_MAX);
    const entries = await storage.listKeys(key, KEY.redrive, {
      after: "",
      limit,
      order: "descending",
    });
    return entries.map(redriveOf);
  }

  async #read(id: string): Promise<Redrive | undefined> {
    const { storage, key } = this.#home;
    const entry = (await storage.findKeys(key, KEY.redrive, [id])).get(id);
    return entry === undefined ? undefined : redriveOf(entry);
  }

  async #find(id: string): Promise<Redrive> {
    const redrive = await this.#read(id);
    if (redrive === undefined) throw queueError("redrive_not_found", { id });
    return redrive;
  }

  async #write(redrive: Redrive): Promise<void> {
    const part = new PartitionBatch(this.#home, this.#loop.context.clock.now());
    part.put(entryOfRedrive(redrive));
    await this.#loop.commitAlone(part);
  }

  #moment(): { readonly now: number } {
    return { now: this.#loop.context.clock.now() };
  }
}

// Whether it has moved an item already, which is on its way.
function isSentBy({ id }: Redrive, { attributes }: StoredItem): boolean {
  const { bound, redrive } = attributesOf(attributes);
  return bound !== undefined && redrive !== "" && redrive === id;
}

// As many as the next step may move.
function roomOf({ limit, moved, rate }: Redrive): number {
  const left = limit > 0 ? limit - moved : DELIVERY.items;
  const atOnce = rate > 0 ? Math.ceil(rate / RATE_STEPS) : DELIVERY.items;
  return Math.min(left, atOnce, DELIVERY.items);
}

// Whether all that waits before the last of these items is among them.
function isAtHead(
  { seen, from }: Page,
  { counters: { head }, leased }: Partition,
  taken: readonly StoredItem[],
): boolean {
  if (from === undefined || from > head || seen[0]?.table !== "items") return false;
  const waiting = seen.filter(({ item }) => !leased.has(item.seq));
  return taken.every(({ seq }, i) => waiting[i]?.item.seq === seq);
}

/** A new id, which comes behind the newest that there is: of these ids the last is the newest. */
function idAfter(newest: string, now: number): string {
  const time = Math.max(
    now,
    newest === "" ? 0 : Number.parseInt(newest.slice(0, TIME_LETTERS), 36) + 1,
  );
  const id = time.toString(36).padStart(TIME_LETTERS, "0");
  return `${id}-${randomBytes(4).toString("hex")}`;
}
