// The registry of queues: their records, and where each is at home. Creating, updating and deleting
// are put in order here, one at a time, on one thread. A record is written after the partitions it names
// exist, and a deletion turns them into leftovers in one write, so that a crash between any two
// steps leaves either the queue as it was or something that the next start tidies up.

import { randomBytes as nodeRandomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { AuditLog, Deed, Note } from "../auth/audit.ts";
import type { AlsoWritten } from "../auth/records.ts";
import { type Clock, SECOND } from "../clock.ts";
import { plainError, QueueError, queueDeleted, queueError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import {
  type Happened,
  type Happening,
  happenedTo,
  type QueueHandle,
  type Repeat,
} from "../queue/queue.ts";
import type { Storage } from "../storage/storage.ts";
import { Timers } from "../timers.ts";
import { type Apply, planOf, type QueueDiff, type WantedQueue } from "./apply.ts";
import { notesOf } from "./audited.ts";
import { checkDeadQueue, type DeadQueues } from "./dead-queues.ts";
import type { Directory, ListOptions } from "./directory.ts";
import type { Failing, Home } from "./homes.ts";
import { IdempotencyKeys } from "./idempotency-keys.ts";
import { fullName, nameOf, namespaceOf } from "./names.ts";
import { type PartitionSite, Placement } from "./placement.ts";
import {
  completed,
  type PartitionPlace,
  type QueueRecord,
  QueueRecords,
  type StoredQueue,
} from "./records.ts";
import {
  checkOrder,
  checkSettings,
  type NewQueue,
  rulesOf,
  type SettingsChange,
  withLongest,
} from "./settings.ts";

// After what time storage is asked again for what it has failed to do.
const RETRY = SECOND;

export interface QueuesOptions {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly log: Logger;
  /** Where queue records are kept. */
  readonly records: Storage;
  readonly partitions: readonly PartitionSite[];
  /** Where queues may be at home; sites name them by their index. */
  readonly homes: readonly Home[];
  /** Written here, and read for this thread's requests. */
  readonly directory: Directory;
  /** Told of what has become of a queue as a whole, once that is durable. */
  readonly happened?: (happened: Happened) => void;
  /** Makes other threads know what has become of a queue, undefined if it is gone. */
  readonly tell?: (name: string, queue: AnnouncedQueue | undefined) => Promise<void>;
  /**
   * Throws if there is no such namespace, for it may have gone since a request was let in, or if it may not have so
   * many more queues.
   */
  readonly checkNamespace?: (namespace: string, more: number) => void;
  /** Where changes are noted that come with a deed. */
  readonly audit?: AuditLog;
  /** Where ids take their randomness from; a simulation gives its own. */
  readonly randomBytes?: (size: number) => Buffer;
}

/** A queue as the registry makes it known: its record, and the index of its home. */
export interface AnnouncedQueue {
  readonly record: QueueRecord;
  readonly home: number;
}

export class Queues {
  readonly #clock: Clock;
  readonly #limits: Limits;
  readonly #log: Logger;
  readonly #records: QueueRecords;
  readonly #placement: Placement;
  readonly #homes: readonly Home[];
  readonly #directory: Directory;
  readonly #happened: NonNullable<QueuesOptions["happened"]>;
  readonly #tell: NonNullable<QueuesOptions["tell"]>;
  readonly #checkNamespace: NonNullable<QueuesOptions["checkNamespace"]>;
  readonly #audit: AuditLog | undefined;
  readonly #timers: Timers;
  // Partitions of deleted queues that are still to be dropped, by the name of the queue.
  readonly #leftovers = new Map<string, readonly PartitionPlace[]>();
  readonly #repeats: IdempotencyKeys;
  // The last change of the registry; the next one waits for it.
  #changing: Promise<unknown> = Promise.resolve();
  // Queues that wait until it is settled whether they are deleted.
  readonly #held = new Set<QueueHandle>();
  // Whether storage may hold partitions that no record speaks of.
  #mayHaveStrangers = false;
  #isRetrying = false;
  #closed = false;

  private constructor(options: QueuesOptions) {
    const { clock, limits, log, homes, directory, randomBytes = nodeRandomBytes } = options;
    this.#clock = clock;
    this.#limits = limits;
    this.#log = log;
    this.#homes = homes;
    this.#directory = directory;
    this.#happened = options.happened ?? (() => undefined);
    this.#tell = options.tell ?? (async () => undefined);
    this.#checkNamespace = options.checkNamespace ?? (() => undefined);
    this.#audit = options.audit;
    this.#timers = new Timers(clock);
    this.#records = new QueueRecords(options.records);
    this.#repeats = new IdempotencyKeys(clock, this.#timers, (name) => this.#forgetRepeats(name));
    const context = { clock, log, randomBytes, timers: this.#timers };
    this.#placement = new Placement(options.partitions, context);
  }

  /**
   * Opens all queues that storage knows, and finishes what a crash left half done. Partitions in a
   * storage that is away are failing until it is back. Rejects if records cannot be read, or speak
   * of a storage that the configuration does not name.
   */
  static async open(options: QueuesOptions): Promise<Queues> {
    const queues = new Queues(options);
    await queues.#placement.open();
    const starts: QueueRecord[] = [];
    for (const [name, { queue, leftovers, repeats }] of await queues.#records.list()) {
      if (leftovers !== undefined) queues.#leftovers.set(name, leftovers);
      if (repeats !== undefined) queues.#repeats.load(name, repeats);
      if (queue !== undefined) starts.push(await queues.#checkPlaces(queue));
    }
    await Promise.all(starts.map((record) => queues.#open(record)));
    // Not before all are known, on every thread: what dies in one would find its dead queue missing.
    await Promise.all([...queues.#directory.entries()].map(({ queue }) => queue.resume()));
    await queues.#placement.tidy(queues.#places());
    await queues.#dropLeftovers();
    return queues;
  }

  // Makes sure that storages hold the partitions that a record speaks of.
  async #checkPlaces(record: QueueRecord): Promise<QueueRecord> {
    const places: PartitionPlace[] = [];
    for (const place of record.partitions) {
      const storage = this.#placement.storage(place.storage);
      if (storage === undefined) {
        throw new QueueError(
          "failed",
          `queue '${record.name}' has a partition in storage '${place.storage}', which the configuration does not name; add it to partition-storage`,
        );
      }
      if (this.#placement.holds(place) === false) {
        if (!storage.isDurable) {
          // What lay in memory is gone, as its owner chose; the queue goes on empty.
          const { name } = record;
          const made = { count: 1, storages: [place.storage], first: places.length };
          places.push(...(await this.#placement.create(name, made)));
          continue;
        }
        if (this.#records.liesIn(place.storage)) {
          throw new QueueError(
            "failed",
            `queue '${record.name}' has lost a partition: storage '${place.storage}' is not the one that it was created with; restore the data directory, or configure the storage as it was`,
          );
        }
        this.#placement.setAside(
          place.storage,
          `it is not the one that queue '${record.name}' was created with`,
        );
      }
      places.push(place);
    }
    if (places.every((place, i) => place === record.partitions[i])) return record;
    const updated = { ...record, partitions: places };
    await this.#write(record.name, { queue: updated });
    return updated;
  }

  // Opens a queue at its home: where the storage of its partitions is.
  async #open(record: QueueRecord): Promise<void> {
    const queue = await this.#homes[this.#homeOf(record)]!.open(record);
    this.#directory.set({ record, queue });
    await this.#announce(record.name);
  }

  // Tells the other threads what is known of a queue, and waits until they know it.
  async #announce(name: string): Promise<void> {
    const record = this.#directory.find(name)?.record;
    await this.#tell(name, record && { record, home: this.#homeOf(record) });
  }

  #homeOf(record: QueueRecord): number {
    return this.#placement.home(record.partitions[0]!.storage);
  }

  // Every partition that a record speaks of.
  *#places(): Iterable<PartitionPlace> {
    for (const { record } of this.#directory.entries()) yield* record.partitions;
    for (const places of this.#leftovers.values()) yield* places;
  }

  // --- looking up ---

  /** The queue of this name; `queue_not_found` if there is none. */
  get(name: string): QueueHandle {
    return this.#directory.entry(name).queue;
  }

  /** The record of a queue; `queue_not_found` if there is none. */
  record(name: string): QueueRecord {
    return this.#directory.entry(name).record;
  }

  /** The name of the queue that has given an id; undefined if none of those that there are has. */
  giverOf(id: string): string | undefined {
    return this.#directory.giverOf(id);
  }

  /** Whether there are queues in namespaces beside `_system`. */
  hasNamespaces(): boolean {
    return this.#directory.hasNamespaces();
  }

  /** The namespace that is meant by who says only the name of a queue, among those that they see. */
  namespaceOf(name: string, sees: (namespace: string) => boolean): string {
    return this.#directory.namespaceOf(name, sees);
  }

  /** How many queues a namespace has. */
  countIn(namespace: string): number {
    return this.#directory.countIn(namespace);
  }

  /** Records of a namespace in the order of their names' bytes, from `pivot` or the next one on. */
  list(options: ListOptions): readonly QueueRecord[] {
    return this.#directory.list(options);
  }

  /** The partitions of all queues that do not work at present. */
  async failing(): Promise<Failing> {
    const all = await Promise.all(this.#homes.map((home) => home.failing()));
    return {
      partitions: all.reduce((sum, { partitions }) => sum + partitions, 0),
      total: all.reduce((sum, { total }) => sum + total, 0),
      storages: [...new Set(all.flatMap(({ storages }) => storages))],
      troubles: all.flatMap(({ troubles }) => troubles),
      byStorage: all.flatMap(({ byStorage }) => byStorage),
    };
  }

  // --- changing ---

  /**
   * Makes a queue; resolves when it is durable. With a `repeat` that was done before nothing is done, and the
   * answer is that of then.
   */
  create(settings: NewQueue, repeat?: Repeat, deed?: Deed): Promise<QueueRecord> {
    return this.#changeOnce(settings.name, repeat, async () => {
      if (this.#directory.find(settings.name) !== undefined) {
        throw queueError("queue_exists", { queue_name: nameOf(settings.name) });
      }
      this.#checkNamespace(settings.namespace, 1);
      this.#checkDeadQueue(settings);
      checkSettings(settings, this.#limits);
      const whole = withLongest(settings, settings); // what a file says comes as it is
      await this.#placement.lookAgain(() => this.#places());
      const record = await this.#making(async () => {
        const made = await this.#makePartitions(whole);
        await this.#write(made.name, { queue: made }, notesOf(deed, { made }));
        return made;
      });
      await this.#open(record);
      this.#note(record.name, "queue_created");
      await this.get(record.name).resume();
      return record;
    });
  }

  // Partitions are made before the record that names them. What fails in between leaves strangers behind:
  // partitions that no record speaks of.
  async #making<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.#mayHaveStrangers = true;
      this.#retryLater();
      throw error;
    }
  }

  // Makes the partitions of a queue; answers its record, which is still to be written.
  async #makePartitions({ storages, ...settings }: NewQueue): Promise<QueueRecord> {
    const partitions = await this.#placement.create(settings.name, {
      count: settings.requestedPartitions,
      ...(storages === undefined ? {} : { storages }),
    });
    const now = this.#clock.now();
    return { ...settings, createdAt: now, updatedAt: now, changedAt: now, version: 1, partitions };
  }

  /**
   * Changes the settings of a queue that are named; `repeat` as with `create`. With `ifVersion` only if that is
   * the version of the queue.
   */
  update(
    change: SettingsChange,
    repeat?: Repeat,
    ifVersion = 0,
    deed?: Deed,
  ): Promise<QueueRecord> {
    return this.#changeOnce(change.name, repeat, async () => {
      const { record: old } = this.#directory.entry(change.name);
      if (ifVersion !== 0 && ifVersion !== old.version) {
        const detail = `queue '${nameOf(old.name)}' has version ${old.version}, not ${ifVersion}`;
        throw queueError("precondition_failed", { detail });
      }
      this.#checkDeadQueue(change);
      const record = this.#changed(old, withLongest(change, old));
      checkOrder(record); // of several mistakes this is the one that an update tells
      checkSettings(record, this.#limits);
      await this.#write(record.name, { queue: record }, notesOf(deed, { old, made: record }));
      await this.#follow(record);
      return record;
    });
  }

  // Who has read a version holds on to it until something is another: an update that is sent again is none. The
  // time that /v1 shows goes on all the same.
  #changed(old: QueueRecord, change: Partial<QueueRecord>): QueueRecord {
    const updatedAt = Math.max(this.#clock.now(), old.createdAt + 1);
    if (isDeepStrictEqual({ ...old, ...change }, old)) return { ...old, updatedAt };
    return { ...old, ...change, updatedAt, changedAt: updatedAt, version: old.version + 1 };
  }

  // The record of a queue has been written anew: the queue goes by it from now on.
  async #follow(record: QueueRecord): Promise<void> {
    const { queue } = this.#directory.entry(record.name);
    this.#directory.set({ record, queue });
    await queue.configure(rulesOf(record));
    await this.#announce(record.name);
    this.#note(record.name, "queue_updated");
  }

  /**
   * Makes the queues of a list in a namespace, and changes those that are there: all of it in one write, or
   * nothing. Answers what that is, in the order of the list; with `dryRun` it is not done.
   */
  apply(
    namespace: string,
    wanted: readonly WantedQueue[],
    dryRun: boolean,
    deed?: Deed,
  ): Promise<readonly QueueDiff[]> {
    return this.#change(async () => {
      this.#checkNamespace(namespace, 0);
      const records = (name: string) => this.#directory.find(fullName(namespace, name))?.record;
      const plan = planOf(namespace, wanted, records, this.#deadQueues(namespace), this.#limits);
      this.#checkNamespace(namespace, plan.creates.length);
      if (!dryRun) await this.#carryOut(plan, deed);
      return plan.diffs;
    });
  }

  async #carryOut({ creates, updates }: Apply, deed: Deed | undefined): Promise<void> {
    if (creates.length + updates.length === 0) return;
    const changed = updates.map(({ old, change }) => this.#changed(old, change));
    const notes = changed.flatMap((record, i) =>
      notesOf(deed, { old: updates[i]!.old, made: record }),
    );
    const made: QueueRecord[] = [];
    if (creates.length > 0) await this.#placement.lookAgain(() => this.#places());
    await this.#making(async () => {
      for (const settings of creates) made.push(await this.#makePartitions(settings));
      const ofMade = made.flatMap((record) => notesOf(deed, { made: record }));
      await this.#writeAll([...made, ...changed], [...ofMade, ...notes]);
    });
    // All must be known before one of them works: what dies in it would find its dead queue missing.
    for (const record of made) await this.#open(record);
    for (const record of changed) await this.#follow(record);
    for (const { name } of made) this.#note(name, "queue_created");
    for (const { name } of made) await this.get(name).resume();
  }

  /**
   * Deletes a queue with all its items. With `force` also one that another names as its dead queue; `repeat`
   * as with `create`.
   */
  delete(name: string, force: boolean, repeat?: Repeat, deed?: Deed): Promise<undefined> {
    return this.#changeOnce<undefined>(name, repeat, async () => {
      const { record, queue } = this.#directory.entry(name);
      const user = force ? undefined : this.#userOf(record.namespace, nameOf(name));
      if (user !== undefined) {
        throw queueError("queue_in_use", { used_by: user });
      }
      const leftovers = [...(this.#leftovers.get(name) ?? []), ...record.partitions];
      try {
        await this.#write(name, { queue: undefined, leftovers }, notesOf(deed, { old: record }));
      } catch (error) {
        // Perhaps the queue is gone at the next start: it must not take anything before that is settled.
        await queue.pause();
        this.#held.add(queue);
        throw error;
      }
      this.#leftovers.set(name, leftovers);
      this.#directory.remove(name);
      await this.#announce(name);
      await this.#homes[this.#homeOf(record)]!.close(name, queueDeleted(name));
      this.#note(name, "queue_deleted");
      await this.#dropLeftovers();
      return undefined;
    });
  }

  #note(name: string, what: Happening): void {
    this.#happened(happenedTo(name, what, this.#clock.now()));
  }

  // Drops the partitions of deleted queues, as far as their storages are there; the rest later. A
  // storage that was away may hold rows of dropped partitions that nobody else knows of any more.
  async #dropLeftovers(): Promise<void> {
    if (this.#leftovers.size === 0 && !this.#placement.isAnyAway) return;
    await this.#placement.lookAgain(() => this.#places());
    for (const [name, leftovers] of this.#leftovers) {
      const left = await this.#placement.drop(leftovers);
      if (left.length === leftovers.length) continue;
      if (left.length === 0) this.#leftovers.delete(name);
      else this.#leftovers.set(name, left);
      // If this is not written, the next start finds nothing to drop any more, and writes it.
      await this.#write(name, this.#stored(name)).catch(() => undefined);
    }
    if (this.#leftovers.size > 0 || this.#placement.isAnyAway) this.#retryLater();
  }

  // --- records ---

  // What memory holds under a name, and so what storage is to hold.
  #stored(name: string): StoredQueue {
    return {
      queue: this.#directory.find(name)?.record,
      leftovers: this.#leftovers.get(name),
      repeats: this.#repeats.of(name),
    };
  }

  async #write(name: string, stored: StoredQueue, notes: readonly Note[] = []): Promise<void> {
    this.#repeats.note(name, stored.queue);
    const whole = { ...this.#stored(name), ...stored };
    try {
      await this.#along(notes, (also) => this.#records.write(name, whole, also));
    } catch (error) {
      this.#retryLater();
      throw error;
    }
  }

  // All records in one write, or none of them.
  async #writeAll(records: readonly QueueRecord[], notes: readonly Note[]): Promise<void> {
    const all = records.map(
      (queue) => [queue.name, { ...this.#stored(queue.name), queue }] as const,
    );
    try {
      await this.#along(notes, (also) => this.#records.writeAll(all, also));
    } catch (error) {
      this.#retryLater();
      throw error;
    }
  }

  async #along(
    notes: readonly Note[],
    write: (also?: AlsoWritten) => Promise<void>,
  ): Promise<void> {
    if (this.#audit === undefined || notes.length === 0) await write();
    else await this.#audit.along(notes, write);
  }

  async #settle(): Promise<void> {
    await this.#records.settle((name) => this.#stored(name));
    await this.#audit?.settle();
    for (const queue of this.#held) await queue.resume();
    this.#held.clear();
  }

  // Does again, after a while, what storage has failed to do.
  #retryLater(): void {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    this.#timers.after(RETRY, () => {
      this.#isRetrying = false;
      this.#enqueue(async () => {
        await this.#settle();
        if (this.#mayHaveStrangers) await this.#placement.tidyAgain(() => this.#places());
        this.#mayHaveStrangers = false;
        await this.#dropLeftovers();
      }).catch(() => this.#retryLater());
    });
  }

  // Does what a key was not used for yet; the key is written with the record that is changed.
  #changeOnce<T extends QueueRecord | undefined>(
    name: string,
    repeat: Repeat | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    if (repeat === undefined) return this.#change(work);
    return this.#change(async () => {
      const known = this.#repeats.find(name, repeat);
      if (known === undefined) return this.#repeats.during(name, repeat, work);
      return (known.queue && completed(known.queue)) as T;
    });
  }

  /** Does something in order with the changes of queues, by the same rules. */
  inOrder<T>(work: () => Promise<T>): Promise<T> {
    return this.#change(work);
  }

  // Writes the record of a name without keys that have ended.
  #forgetRepeats(name: string): void {
    this.#enqueue(() => this.#write(name, this.#stored(name))).catch(() => undefined);
  }

  // What storage refuses is the client's to try again.
  async #change<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#enqueue(async () => {
        if (this.#closed) throw plainError("shutting_down");
        await this.#settle();
        return await work();
      });
    } catch (error) {
      if (error instanceof QueueError) throw error;
      this.#log.error({ err: error }, "queue records cannot be changed");
      throw plainError("storage_unavailable", error);
    }
  }

  // Changes wait for each other.
  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#changing.then(work);
    this.#changing = next.catch(() => undefined);
    return next;
  }

  #checkDeadQueue({ name, deadQueue }: Pick<SettingsChange, "name" | "deadQueue">): void {
    const named = { name: nameOf(name), ...(deadQueue !== undefined && { deadQueue }) };
    checkDeadQueue(named, this.#deadQueues(namespaceOf(name)));
  }

  // Those of a namespace, by their names there.
  #deadQueues(namespace: string): DeadQueues {
    return {
      of: (name) => this.#directory.find(fullName(namespace, name))?.record.deadQueue,
      userOf: (name, isMeant) => this.#userOf(namespace, name, isMeant),
    };
  }

  // The queue of a namespace that names this one as its dead queue.
  #userOf(namespace: string, name: string, isMeant = (_: string) => true): string | undefined {
    for (const { record } of this.#directory.entries()) {
      if (record.deadQueue !== name || record.namespace !== namespace) continue;
      const user = nameOf(record.name);
      if (isMeant(user)) return user;
    }
    return undefined;
  }

  /** Ends all queues: what waits gets the error, `queue is shutting down` by default. */
  async close(error = plainError("queue_shutting_down")): Promise<void> {
    this.#closed = true;
    this.#timers.close();
    await this.#changing;
    const closed = await Promise.allSettled(
      Array.from(this.#directory.entries(), ({ record }) =>
        this.#homes[this.#homeOf(record)]!.close(record.name, error),
      ),
    );
    const failed = closed.find((each) => each.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}
