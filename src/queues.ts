// The registry of queues: their records, and the loops that serve them. Creating, updating and
// deleting are put in order here, one at a time. A record is written after the partitions it names
// exist, and a deletion begins by marking the record, so that a crash between any two steps leaves
// either the queue as it was or something that the next start tidies up.

import { type CancelTimer, SECOND } from "./clock.ts";
import { formatDuration } from "./duration.ts";
import { invalid, MESSAGES, QueueError, retryLater } from "./errors.ts";
import { checkDeadQueueName } from "./names.ts";
import type { QueueContext, QueueRules } from "./queue/context.ts";
import { newIdPrefix } from "./queue/ids.ts";
import { Partition } from "./queue/partition.ts";
import { Queue } from "./queue/queue.ts";
import type { Storage, StoredPartition } from "./storage/storage.ts";

// Rows of deleted queues that one step removes from storage.
const SWEEP_STEP = 2_000;
// After what time storage is asked again for what it has failed to do.
const RETRY = SECOND;

/** Where one partition of a queue lies. */
export interface PartitionPlace {
  readonly storage: string;
  readonly key: number;
}

/** What is kept of a queue. Times and durations in microseconds. */
export interface QueueRecord {
  readonly name: string;
  readonly namespace: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly leaseTimeout: number;
  readonly expireTimeout: number;
  /** 0: any number. */
  readonly maxAttempts: number;
  /** "": none. */
  readonly deadQueue: string;
  readonly reference: string;
  readonly requestedPartitions: number;
  readonly partitions: readonly PartitionPlace[];
  /** Set while the queue is being deleted. */
  readonly deleted?: true;
}

/** What a client says when it creates or updates a queue; 0 and "" stand for not given. */
export type QueueSettings = Pick<
  QueueRecord,
  | "name"
  | "namespace"
  | "leaseTimeout"
  | "expireTimeout"
  | "maxAttempts"
  | "deadQueue"
  | "reference"
  | "requestedPartitions"
> & {
  /** The storage of each partition, in place of the shares by affinity. */
  readonly storages?: readonly string[];
};

/** A storage for partitions, with the share of them that it is to get. */
export interface PartitionStorage {
  readonly storage: Storage;
  readonly affinity: number;
}

export interface QueuesOptions {
  readonly context: Omit<QueueContext, "findDeadQueue">;
  /** Where queue records are kept. */
  readonly records: Storage;
  readonly partitions: readonly PartitionStorage[];
}

interface Entry {
  record: QueueRecord;
  readonly queue: Queue;
}

export class Queues {
  readonly #context: QueueContext;
  readonly #records: Storage;
  readonly #storages: readonly PartitionStorage[];
  readonly #entries = new Map<string, Entry>();
  // The names in the order of their bytes, which is the order of lists.
  readonly #names: string[] = [];
  // The last change of the registry; the next one waits for it.
  #changing: Promise<unknown> = Promise.resolve();
  readonly #sweeping = new Set<Storage>();
  readonly #timers = new Set<CancelTimer>();
  // Queues whose record in storage may be another than that in memory.
  readonly #doubtful = new Set<string>();
  // Queues that wait until that is settled.
  readonly #held = new Set<Queue>();
  #closed = false;

  private constructor(options: QueuesOptions) {
    this.#context = {
      ...options.context,
      findDeadQueue: (name) => this.#entries.get(name)?.queue.loop,
    };
    this.#records = options.records;
    this.#storages = options.partitions;
  }

  /** Opens all queues that storage knows, and finishes what a crash left half done. */
  static async open(options: QueuesOptions): Promise<Queues> {
    const queues = new Queues(options);
    const stored = new Map<string, Map<number, StoredPartition>>();
    for (const { storage } of options.partitions) {
      const partitions = await storage.listPartitions();
      stored.set(storage.name, new Map(partitions.map((each) => [each.key, each])));
    }
    for (const { name, record } of await options.records.listQueues()) {
      await queues.#openRecord(name, JSON.parse(record) as QueueRecord, stored);
    }
    await queues.#tidy(stored);
    return queues;
  }

  async #openRecord(
    name: string,
    record: QueueRecord,
    stored: ReadonlyMap<string, ReadonlyMap<number, StoredPartition>>,
  ): Promise<void> {
    const places = record.partitions.map((place) => {
      const found = stored.get(place.storage)?.get(place.key);
      if (stored.has(place.storage)) return found;
      throw new QueueError(
        "failed",
        `queue '${name}' has a partition in storage '${place.storage}', which the configuration does not name; add it to partition-storage`,
      );
    });
    const partitions = places.filter((place) => place !== undefined);
    if (record.deleted === true) {
      await this.#drop(record);
      return;
    }
    if (partitions.length < places.length) {
      throw new QueueError(
        "failed",
        `queue '${name}' has lost a partition: its storage is not the one it was created with; restore the data directory, or configure the storage as it was`,
      );
    }
    await this.#start(record, partitions);
  }

  // Partitions that no record names are what is left of a queue whose creation was cut off.
  async #tidy(stored: ReadonlyMap<string, ReadonlyMap<number, StoredPartition>>): Promise<void> {
    const named = new Set<string>();
    for (const { record } of this.#entries.values()) {
      for (const { storage, key } of record.partitions) named.add(`${storage} ${key}`);
    }
    for (const { storage } of this.#storages) {
      for (const partition of stored.get(storage.name)?.values() ?? []) {
        if (partition.dropped || named.has(`${storage.name} ${partition.key}`)) continue;
        const { counters } = await storage.loadPartition(partition.key);
        if (counters.tail === 1) {
          await storage.dropPartitions([partition.key]);
        } else {
          this.#context.log.warn(
            { storage: storage.name, queue: partition.queue, partition: partition.key },
            "partition belongs to no queue that is known; left alone",
          );
        }
      }
      this.#sweep(storage);
    }
  }

  async #start(record: QueueRecord, stored: readonly StoredPartition[]): Promise<void> {
    const { limits, budget } = this.#context;
    const partitions: Partition[] = [];
    for (const [i, each] of stored.entries()) {
      const storage = this.#storage(record.partitions[i]!.storage);
      const partition = new Partition(each, { storage, limits, budget });
      try {
        await partition.load();
      } catch (err) {
        const fields = { err, queue: record.name, partition: each.number };
        this.#context.log.warn(fields, "partition is failing");
        partition.distrust(this.#context.clock.now());
      }
      partitions.push(partition);
    }
    const queue = new Queue(record.name, rulesOf(record), partitions, this.#context);
    this.#entries.set(record.name, { record, queue });
    this.#names.splice(this.#indexOf(record.name), 0, record.name);
  }

  #storage(name: string): Storage {
    return this.#storages.find(({ storage }) => storage.name === name)!.storage;
  }

  // --- looking up ---

  /** The queue of this name; a QueueError (400) if there is none. */
  get(name: string): Queue {
    return this.#entry(name).queue;
  }

  /** The record of a queue; a QueueError (400) if there is none. */
  record(name: string): QueueRecord {
    return this.#entry(name).record;
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    throw invalid(`queue does not exist; no such queue named '${name}'`);
  }

  /** Records in the order of their names' bytes, from `pivot` or the next one on. */
  list(options: { namespace: string; pivot: string; limit: number }): readonly QueueRecord[] {
    const records: QueueRecord[] = [];
    for (let i = this.#indexOf(options.pivot); i < this.#names.length; i++) {
      if (records.length === options.limit) break;
      const { record } = this.#entries.get(this.#names[i]!)!;
      if (record.namespace === options.namespace) records.push(record);
    }
    return records;
  }

  // Where a name stands, or would stand, among all names.
  #indexOf(name: string): number {
    const bytes = Buffer.from(name);
    let low = 0;
    for (let high = this.#names.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(Buffer.from(this.#names[middle]!), bytes) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // --- changing ---

  /** Makes a queue; resolves when it is durable. */
  create(settings: QueueSettings): Promise<void> {
    return this.#change(async () => {
      if (this.#entries.has(settings.name)) {
        throw invalid(`invalid queue; '${settings.name}' already exists`);
      }
      this.#checkDeadQueue(settings);
      checkSettings(settings, this.#context.limits.partitions);
      checkTimeouts(settings);

      const now = this.#context.clock.now();
      const names = settings.storages ?? this.#shares(settings.requestedPartitions);
      const made: StoredPartition[] = names.map((_, number) => {
        const idPrefix = newIdPrefix(now);
        return { key: 0, queue: settings.name, number, idPrefix, createdAt: now, dropped: false };
      });
      for (const name of new Set(names)) {
        const mine = made.filter((each) => names[each.number] === name);
        const keys = await this.#storage(name).createPartitions(mine);
        mine.forEach((each, i) => {
          made[each.number] = { ...each, key: keys[i]! };
        });
      }
      const { storages: _, ...rest } = settings;
      const partitions = made.map(({ key, number }) => ({ storage: names[number]!, key }));
      const record = { ...rest, createdAt: now, updatedAt: now, partitions };
      await this.#write(record.name, record);
      await this.#start(record, made);
    });
  }

  /** Merges settings into a queue's record: what is 0 or "" keeps its value only where wire.md says so. */
  update(settings: QueueSettings): Promise<void> {
    return this.#change(async () => {
      const entry = this.#entry(settings.name);
      this.#checkDeadQueue(settings);
      if (settings.leaseTimeout !== 0 && settings.expireTimeout !== 0) checkOrder(settings);
      const old = entry.record;
      const record: QueueRecord = {
        ...old,
        leaseTimeout: settings.leaseTimeout || old.leaseTimeout,
        expireTimeout: settings.expireTimeout || old.expireTimeout,
        requestedPartitions: settings.requestedPartitions || old.requestedPartitions,
        maxAttempts: settings.maxAttempts,
        reference: settings.reference,
        deadQueue: settings.deadQueue,
        updatedAt: Math.max(this.#context.clock.now(), old.createdAt + 1),
      };
      checkOrder(record);
      checkSettings(record, this.#context.limits.partitions);
      checkTimeouts(record);
      await this.#write(record.name, record);
      entry.record = record;
      entry.queue.configure(rulesOf(record));
    });
  }

  /** Deletes a queue with all its items. With `force` also one that another names as its dead queue. */
  delete(name: string, force: boolean): Promise<void> {
    return this.#change(async () => {
      const { record, queue } = this.#entry(name);
      const user = force ? undefined : this.#userOf(name);
      if (user !== undefined) {
        throw invalid(`queue is a dead queue; '${user}' uses it as its dead_queue`);
      }
      const marked: QueueRecord = { ...record, deleted: true };
      try {
        await this.#write(name, marked);
      } catch (error) {
        // Perhaps the queue is gone at the next start: it must not take anything before that is settled.
        queue.loop.pause();
        this.#held.add(queue);
        throw error;
      }
      this.#entries.delete(name);
      this.#names.splice(this.#indexOf(name), 1);
      await queue.close(new QueueError("failed", MESSAGES.queueShutdown));
      await this.#drop(marked);
    });
  }

  async #drop(record: QueueRecord): Promise<void> {
    for (const { storage } of this.#storages) {
      const mine = record.partitions.filter((each) => each.storage === storage.name);
      if (mine.length === 0) continue;
      await storage.dropPartitions(mine.map((each) => each.key));
      this.#sweep(storage);
    }
    await this.#write(record.name, undefined);
  }

  // --- records ---

  // Writes a record, or removes it. After a failure it is not known which one storage holds, so the
  // one that memory holds is written again until that succeeds.
  async #write(name: string, record: QueueRecord | undefined): Promise<void> {
    try {
      if (record === undefined) await this.#records.deleteQueue(name);
      else await this.#records.putQueue(name, JSON.stringify(record));
    } catch (error) {
      if (this.#doubtful.size === 0) this.#settleLater();
      this.#doubtful.add(name);
      throw error;
    }
  }

  async #settle(): Promise<void> {
    for (const name of this.#doubtful) {
      const entry = this.#entries.get(name);
      if (entry === undefined) await this.#records.deleteQueue(name);
      else await this.#records.putQueue(name, JSON.stringify(entry.record));
      this.#doubtful.delete(name);
    }
    for (const queue of this.#held) queue.loop.resume();
    this.#held.clear();
  }

  #settleLater(): void {
    this.#later(() => {
      this.#enqueue(() => this.#settle()).catch(() => this.#settleLater());
    });
  }

  // Calls back after a while, unless the registry is closed before.
  #later(work: () => void): void {
    if (this.#closed) return;
    const { clock } = this.#context;
    const cancel = clock.wakeAt(clock.now() + RETRY, () => {
      this.#timers.delete(cancel);
      work();
    });
    this.#timers.add(cancel);
  }

  // Removes the rows of dropped partitions, a few at a time, so that nobody waits for it.
  #sweep(storage: Storage): void {
    if (this.#sweeping.has(storage)) return;
    this.#sweeping.add(storage);
    const step = async (): Promise<void> => {
      if (this.#closed) return;
      try {
        if (await storage.sweep(SWEEP_STEP)) setImmediate(() => void step());
        else this.#sweeping.delete(storage);
      } catch (err) {
        this.#context.log.warn({ err, storage: storage.name }, "cannot remove deleted queues yet");
        this.#later(() => void step());
      }
    };
    setImmediate(() => void step());
  }

  // What storage refuses is the client's to try again.
  async #change(work: () => Promise<void>): Promise<void> {
    try {
      await this.#enqueue(async () => {
        if (this.#closed) throw new QueueError("failed", MESSAGES.serviceShutdown);
        await this.#settle();
        await work();
      });
    } catch (error) {
      if (error instanceof QueueError) throw error;
      this.#context.log.error({ err: error }, "queue records cannot be changed");
      throw retryLater(MESSAGES.internalRetry, error);
    }
  }

  // Changes wait for each other.
  #enqueue(work: () => Promise<void>): Promise<void> {
    const next = this.#changing.then(work);
    this.#changing = next.catch(() => undefined);
    return next;
  }

  // The queue that names this one as its dead queue.
  #userOf(name: string): string | undefined {
    for (const { record } of this.#entries.values()) {
      if (record.deadQueue === name) return record.name;
    }
    return undefined;
  }

  #checkDeadQueue({ name, deadQueue }: QueueSettings): void {
    if (deadQueue === "") return;
    checkDeadQueueName(deadQueue);
    if (deadQueue === name) throw invalid("dead_queue cannot reference itself");
    const target = this.#entries.get(deadQueue);
    if (target === undefined) {
      throw invalid(`dead_queue does not exist; '${deadQueue}' was not found, create it first`);
    }
    if (target.record.deadQueue !== "") {
      throw invalid(
        `dead_queue is invalid; '${deadQueue}' already has its own dead_queue configured`,
      );
    }
    const user = this.#userOf(name);
    if (user !== undefined) {
      throw invalid(`dead_queue is invalid; '${name}' is itself the dead_queue of '${user}'`);
    }
  }

  // Deals partitions to the storages by affinity, by largest remainder, so that none is dropped.
  #shares(count: number): readonly string[] {
    const sum = this.#storages.reduce((total, { affinity }) => total + affinity, 0);
    const shares = this.#storages.map(({ storage, affinity }) => {
      const exact = (affinity / sum) * count;
      return { name: storage.name, count: Math.floor(exact), rest: exact - Math.floor(exact) };
    });
    const left = count - shares.reduce((total, share) => total + share.count, 0);
    for (const share of [...shares].sort((a, b) => b.rest - a.rest).slice(0, left)) share.count++;
    return shares.flatMap((share) => Array<string>(share.count).fill(share.name));
  }

  /** Ends all queues: what waits gets `queue is shutting down`. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of this.#timers) cancel();
    await this.#changing;
    const error = new QueueError("failed", MESSAGES.queueShutdown);
    await Promise.all([...this.#entries.values()].map(({ queue }) => queue.close(error)));
  }
}

function rulesOf(record: QueueRecord): QueueRules {
  const { leaseTimeout, expireTimeout, maxAttempts, deadQueue } = record;
  return { leaseTimeout, expireTimeout, maxAttempts, deadQueue };
}

function checkSettings(settings: QueueSettings | QueueRecord, partitionsMax: number): void {
  if (Buffer.byteLength(settings.reference) > 2_000) {
    throw invalid("reference field is invalid; cannot be greater than '2000' characters");
  }
  if (settings.maxAttempts > 65_536) {
    throw invalid("max attempts is invalid; cannot be greater than 65536");
  }
  if (settings.maxAttempts < 0) throw invalid("max attempts is invalid; cannot be negative number");
  if (settings.requestedPartitions < 1) {
    throw invalid("partitions is invalid; cannot be less than 1");
  }
  if (settings.requestedPartitions > partitionsMax) {
    throw invalid(`partitions is invalid; cannot be greater than ${partitionsMax}`);
  }
}

function checkTimeouts(settings: QueueSettings | QueueRecord): void {
  for (const [what, timeout] of [
    ["lease", settings.leaseTimeout],
    ["expire", settings.expireTimeout],
  ] as const) {
    if (timeout < 0) throw invalid(`${what} timeout is invalid; cannot be negative`);
    if (timeout < 1) throw invalid(`${what} timeout is invalid; cannot be empty`);
  }
  checkOrder(settings);
}

function checkOrder({ leaseTimeout, expireTimeout }: QueueSettings | QueueRecord): void {
  if (leaseTimeout <= expireTimeout) return;
  throw invalid(
    `lease timeout is too long; ${formatDuration(leaseTimeout)} cannot be greater than the expire timeout ${formatDuration(expireTimeout)}`,
  );
}
