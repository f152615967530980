// The loop of one queue: the only place where its reads and writes are put in order, the only one
// with awaits and mutable state. Requests wait in the mailbox. A turn drains it, plans one batch,
// commits it, applies it to memory and answers; then the loop sleeps until there is work or the
// next deadline. A request is answered after its commit or not at all: what a failed commit was to
// hold gets a retryable error, and memory is read anew, for nobody knows what became of it.
//
// Modes: idle -> busy (a turn is under way) -> idle; paused (requests are accepted, none is
// processed); closed (every request is refused). Deadlines of requests are kept in every mode.

import { type CancelTimer, type Clock, MILLISECOND, SECOND } from "../clock.ts";
import { MESSAGES, QueueError, retryLater } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { ItemRecord, StoredItem } from "../storage/storage.ts";
import { EXPIRY_SPAN } from "../storage/storage.ts";
import { applyRetry, Batch, claimRetry } from "./batch.ts";
import { Item } from "./item.ts";
import { endLeases, fireScheduled, nextDue, splitExpired } from "./lifecycle.ts";
import {
  type AnyHotRequest,
  type Delivery,
  type Letter,
  Mailbox,
  NotDelivered,
  type Operation,
} from "./mailbox.ts";
import type { Partition, ReadyBudget } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import {
  type CompleteRequest,
  type HotRequest,
  LeaseRequest,
  type RetryRequest,
} from "./requests.ts";
import type { Turns, TurnTaker } from "./turns.ts";

// A storage that fails is asked again after this time, doubled with each failure.
const BACKOFF_MIN = 100 * MILLISECOND;
const BACKOFF_MAX = 5 * SECOND;

// How long a dead letter waits for its queue's loop before the sender goes on with other work, and
// how long that goes on before the next try.
const DELIVERY_TIMEOUT = 500 * MILLISECOND;
const DELIVERY_RETRY = SECOND;
const LETTERS_MAX = 256;

// Deadlines are checked at most this often, however many there are.
const SWEEP_INTERVAL = 5 * MILLISECOND;

/** What the record of a queue says about how its items live. Times in microseconds. */
export interface QueueRules {
  readonly leaseTimeout: number;
  readonly expireTimeout: number;
  /** 0: any number. */
  readonly maxAttempts: number;
  /** "": none. */
  readonly deadQueue: string;
}

/** What all queues of a server share. */
export interface QueueContext {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly turns: Turns;
  readonly budget: ReadyBudget;
  /** Leases that wait, over all queues. */
  readonly waiting: { leases: number };
  readonly log: Logger;
  /** Microseconds by which a lease outlives its deadline. */
  readonly leaseGrace: number;
  readonly findLoop: (queue: string) => Loop | undefined;
}

export class Loop implements TurnTaker {
  readonly name: string;
  readonly partitions: readonly Partition[];
  readonly context: QueueContext;
  /** Replaced by the registry when the queue is updated; each batch plans with what it finds. */
  rules: QueueRules;

  // The order in which partitions are chosen; see Batch.
  readonly #order: Partition[];

  readonly #mailbox: Mailbox;

  #busy = false;
  #awake = false;
  // Whether something has arrived while the turn under way was busy.
  #again = false;
  #paused = false;
  #closed = false;
  #onIdle: (() => void) | undefined;

  #sweptAt = 0;
  // Until when the dead queue is left alone, after it has not taken what was sent to it.
  #buryAt = 0;
  #timerAt = Number.POSITIVE_INFINITY;
  #cancelTimer: CancelTimer | undefined;

  constructor(
    name: string,
    rules: QueueRules,
    partitions: readonly Partition[],
    context: QueueContext,
  ) {
    this.name = name;
    this.rules = rules;
    this.partitions = partitions;
    this.context = context;
    this.#mailbox = new Mailbox(context.limits, context.waiting);
    this.#order = [...partitions];
    this.wake();
  }

  // --- what comes in ---

  /** Takes a request; its promise is settled exactly once. */
  submit<T>(request: HotRequest<T> & AnyHotRequest): Promise<T> {
    if (this.#mailbox.add(request)) this.wake();
    return request.promise;
  }

  /** Drops a lease whose client has gone: it loses its place and is given nothing. */
  cancel(request: LeaseRequest): void {
    this.#mailbox.answer(request, new QueueError("transport", "client has gone"));
  }

  /** Runs an operator's work in the loop, in steps. */
  operate(operation: Operation): void {
    if (this.#mailbox.addOperation(operation)) this.wake();
  }

  /**
   * Takes copies of dead items into partition 0. With a companion from the same storage, originals
   * and copies change in one commit; the caller applies the companion after this has resolved.
   */
  deliver(letters: readonly Letter[], companion: PartitionBatch | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const deadline = this.context.clock.now() + DELIVERY_TIMEOUT;
    if (this.#mailbox.addDelivery({ letters, companion, deadline, resolve, reject })) this.wake();
    return promise;
  }

  /** What waits, for statistics. */
  get counts(): Mailbox["counts"] {
    return this.#mailbox.counts;
  }

  // --- modes ---

  pause(): void {
    this.#paused = true;
    this.#arm();
  }

  resume(): void {
    this.#paused = false;
    this.wake();
  }

  /** Refuses everything from now on, answers what waits with `error`, and ends the turn under way. */
  async close(error: QueueError): Promise<void> {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#mailbox.close(error);
    if (this.#busy) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    for (const partition of this.partitions) partition.release();
  }

  // --- turns ---

  /** Asks for a turn, unless one is under way, in which case it will be seen to afterwards. */
  wake(): void {
    if (this.#awake || this.#closed) return;
    if (this.#busy || this.#paused) {
      this.#again = true;
      this.#arm();
      return;
    }
    this.#awake = true;
    this.context.turns.wake(this);
  }

  takeTurn(): void {
    this.#awake = false;
    if (this.#closed || this.#paused) return;
    this.#busy = true;
    this.#again = false;
    void this.#turn().then(
      (progress) => this.#endTurn(progress, undefined),
      (error) => this.#fault(error),
    );
    this.#arm();
  }

  #endTurn(progress: boolean, error: QueueError | undefined): void {
    this.#busy = false;
    this.#mailbox.endTurn(error);
    this.#onIdle?.();
    if (this.#closed) return;
    const more = this.#again || this.#mailbox.operations.length > 0;
    if (more || (progress && this.#hasMore())) this.wake();
    this.#arm();
  }

  // A defect: the batch at hand fails, and memory is read anew. The loop goes on.
  #fault(error: unknown): void {
    this.context.log.error({ err: error, queue: this.name }, "queue loop failed");
    for (const partition of this.partitions) this.#distrust(partition);
    this.#endTurn(false, retryLater(MESSAGES.internalRetry));
  }

  #hasMore(): boolean {
    const now = this.context.clock.now();
    if (this.#nextDue() < now) return true;
    return (
      this.#mailbox.waiting.size > 0 &&
      this.partitions.some((p) => !p.stale && p.unleased > 0 && p.leaseRoom > 0)
    );
  }

  /** Answers whether anything was done. */
  async #turn(): Promise<boolean> {
    this.#sweep();
    const usable = await this.#prepare();
    const now = this.context.clock.now();
    let progress = await this.#serve(usable, now);
    for (const partition of usable) {
      if (partition.stale || now < this.#restsUntil(partition)) continue;
      const expiry = partition.expiries.first;
      if (expiry !== undefined && expiry.at < now) {
        progress = (await this.#expire(partition, now)) || progress;
      }
    }
    const { operations } = this.#mailbox;
    const operation = operations[0];
    if (operation !== undefined) {
      progress = true;
      // It may have been ended while it was at work: by the closing of the queue.
      if ((await this.#step(operation)) && operations[0] === operation) operations.shift();
    }
    return progress;
  }

  // Brings memory up to what the batch needs to know; answers the partitions that can be used.
  async #prepare(): Promise<readonly Partition[]> {
    let usable: Partition[] | undefined;
    for (const partition of this.#order) {
      const wanted = Math.min(this.#mailbox.demand, this.context.limits.readyItems);
      const ready =
        partition.failures === 0 &&
        !partition.stale &&
        !partition.scheduled.needsFill &&
        !partition.expiries.needsFill &&
        !(wanted > 0 && partition.needsReady(wanted));
      if (ready) continue;
      try {
        if (partition.failures > 0) await this.#recover(partition);
        await partition.fillDue();
        // Imported items that are leased stand among those that wait: what is read may all be leased.
        while (partition.readyCount === 0 && partition.needsReady(wanted)) {
          await partition.fillReady(wanted);
        }
        if (partition.needsReady(wanted)) await partition.fillReady(wanted);
      } catch (error) {
        this.#failed(partition, error);
        usable ??= [...this.#order];
        usable = usable.filter((each) => each !== partition);
      }
    }
    return usable ?? this.#order;
  }

  // A partition that has failed is read anew, and rests before it is; where no other can serve in its
  // place it is tried with every batch. It works again once a commit has gone through: if no
  // request brings one, an empty one shows it.
  async #recover(partition: Partition): Promise<void> {
    const rests = this.context.clock.now() < partition.retryAt;
    if (rests && this.partitions.some((each) => each.failures === 0)) {
      if (partition.stale) throw new StillFailing();
      return;
    }
    if (partition.stale) await partition.load();
    if (rests) return;
    const probe = new PartitionBatch(partition, this.context.clock.now());
    await this.context.turns.committer(partition.storage).commit([probe]);
    this.#works(partition);
  }

  // Serves everything in the mailbox, and what time has brought about, in one batch.
  async #serve(usable: readonly Partition[], now: number): Promise<boolean> {
    const { produces, completes, retries, deliveries } = this.#mailbox.take();
    const { rules } = this;
    const { limits, leaseGrace } = this.context;
    const order = usable === this.#order ? this.#order : [...usable];
    const batch = new Batch(order, { ...rules, leaseReplyBytes: limits.leaseReplyBytes }, now);
    const delivered = await this.#planDeliveries(batch, deliveries);
    if (usable.length > 0) {
      batch.produce(produces);
      const { waiting } = this.#mailbox;
      if (waiting.size > 0) batch.lease(waiting.values());
    } else {
      for (const request of produces) this.#answer(request, retryLater(MESSAGES.internalRetry));
    }
    for (const request of completes) {
      const partition = this.#partitionOf(request);
      if (partition !== undefined) batch.complete(partition, request);
    }
    const burials: RetryRequest[] = [];
    for (const request of retries) {
      const partition = this.#partitionOf(request);
      if (partition === undefined) continue;
      if (rules.deadQueue !== "" && request.items.some((item) => item.dead)) burials.push(request);
      else batch.retry(partition, request);
    }
    const lifecycle = {
      ...rules,
      leaseGrace,
      hasDeadQueue: rules.deadQueue !== "",
    };
    const dead: Item[][] = [];
    for (const partition of usable) {
      if (now < this.#restsUntil(partition) || nextDue(partition, lifecycle) >= now) continue;
      const part = batch.part(partition);
      dead[partition.number] = [...endLeases(part, lifecycle)];
      fireScheduled(part, lifecycle);
    }
    const progress = await this.#commit([...batch.parts], delivered);

    for (const request of burials) {
      await this.#bury(this.partitions[request.partition]!, [], request);
    }
    for (const partition of usable) {
      const items = dead[partition.number];
      if (items !== undefined && items.length > 0) await this.#bury(partition, items, undefined);
    }
    const taken = produces.length + completes.length + retries.length + deliveries.length;
    return progress || taken > 0 || dead.length > 0;
  }

  #partitionOf(request: CompleteRequest | RetryRequest): Partition | undefined {
    const partition = this.partitions[request.partition]!;
    if (!partition.stale) return partition;
    const text = `partition not available; partition '${request.partition}' is failing, retry again`;
    this.#answer(request, retryLater(text));
    return undefined;
  }

  // Commits the parts, one transaction for each storage, and answers what they serve. Storages
  // fail apart: the requests of a part share the fate of its storage alone.
  async #commit(parts: readonly PartitionBatch[], delivered: Delivered): Promise<boolean> {
    const groups = new Map<Partition["storage"], PartitionBatch[]>();
    let progress = false;
    for (const part of parts) {
      part.finish();
      if (!part.touched) {
        await this.#serveAll(part);
        continue;
      }
      progress = true;
      const group = groups.get(part.of.storage);
      if (group === undefined) groups.set(part.of.storage, [part]);
      else group.push(part);
    }
    const commits: Promise<void>[] = [];
    for (const [storage, group] of groups) {
      const withCompanions = group.some((part) => part.of.number === 0)
        ? [...group, ...delivered.companions]
        : group;
      commits.push(
        this.context.turns
          .committer(storage)
          .commit(withCompanions)
          .then(
            () => this.#committed(group, delivered),
            (error: unknown) => this.#notCommitted(group, delivered, error),
          ),
      );
    }
    if (commits.length === 1) await commits[0];
    else if (commits.length > 1) await Promise.all(commits);
    return progress;
  }

  async #committed(group: readonly PartitionBatch[], delivered: Delivered): Promise<void> {
    for (const part of group) {
      if (part.of.failures > 0) this.#works(part.of);
      part.apply();
    }
    for (const part of group) {
      await this.#serveAll(part);
      if (part.of.number === 0) for (const delivery of delivered.deliveries) delivery.resolve();
    }
  }

  #notCommitted(group: readonly PartitionBatch[], delivered: Delivered, error: unknown): void {
    for (const part of group) {
      part.discard();
      this.#failed(part.of, error);
      for (const request of part.served) {
        if (request instanceof LeaseRequest) request.undeal();
        this.#answer(request, retryLater(MESSAGES.internalRetry, error));
      }
      if (part.of.number === 0) {
        const refused = retryLater(MESSAGES.internalRetry, error);
        for (const delivery of delivered.deliveries) delivery.reject(refused);
      }
    }
  }

  async #serveAll(part: PartitionBatch): Promise<void> {
    for (const request of part.served) {
      if (request.doubt !== undefined) await this.#resolveDoubt(request);
      this.#answer(request, request.error);
    }
  }

  async #resolveDoubt(request: HotRequest<unknown>): Promise<void> {
    const { partition, seq, ifWaiting } = request.doubt!;
    try {
      const found = await partition.storage.readItems(partition.key, "items", {
        from: seq,
        before: seq + 1,
        limit: 1,
        bytesMax: 1,
        records: false,
      });
      if (found.length > 0) request.error = ifWaiting;
    } catch (error) {
      request.error = retryLater(MESSAGES.internalRetry, error);
    }
  }

  // --- dead letters ---

  // Plans the copies that other queues send here. A letter whose source is here already is a
  // repetition after a crash, and is passed over.
  async #planDeliveries(batch: Batch, deliveries: readonly Delivery[]): Promise<Delivered> {
    const partition = this.partitions[0]!;
    if (deliveries.length === 0) return NOTHING_DELIVERED;
    const ids = deliveries.flatMap((delivery) => delivery.letters.map((l) => l.sourceId));
    let known: Set<string>;
    try {
      if (partition.stale) throw new Error("partition 0 is failing");
      known = new Set(await partition.storage.findSources(partition.key, ids));
    } catch (error) {
      for (const each of deliveries) each.reject(retryLater(MESSAGES.internalRetry, error));
      return NOTHING_DELIVERED;
    }
    const part = batch.part(partition);
    part.touched = true;
    for (const { sourceId, record } of deliveries.flatMap((delivery) => delivery.letters)) {
      if (known.has(sourceId)) continue;
      known.add(sourceId);
      const item = new Item(record, 0);
      item.sourceId = sourceId;
      item.createdAt = batch.now;
      item.expireAt = batch.now + this.rules.expireTimeout;
      part.add(item);
    }
    const companions = deliveries.flatMap((each) => each.companion ?? []);
    return { deliveries, companions };
  }

  // Moves leased items to the dead queue, and does what else the retry that killed them asks.
  async #bury(
    partition: Partition,
    dead: readonly Item[],
    request: RetryRequest | undefined,
  ): Promise<void> {
    if (partition.stale) {
      if (request !== undefined) this.#answer(request, retryLater(MESSAGES.internalRetry));
      return;
    }
    const now = this.context.clock.now();
    if (request !== undefined && now < this.#buryAt) {
      this.#answer(request, retryLater(new NotDelivered().message));
      return;
    }
    const part = new PartitionBatch(partition, now);
    let buried = dead.slice(0, LETTERS_MAX);
    if (request === undefined) {
      for (const item of buried) {
        part.claim(item);
        part.remove(item);
      }
    } else {
      part.served.push(request);
      const items = claimRetry(part, request);
      if (items !== undefined) {
        applyRetry(part, items, request.items);
        buried = items.filter((_, i) => request.items[i]!.dead);
      }
    }
    if (buried.length === 0) await this.#commit([part], NOTHING_DELIVERED);
    else await this.#moveToDeadQueue(part, buried);
  }

  // Commits a part that removes items together with the copies of them in the dead queue: in one
  // transaction if both share a storage, else the copies first.
  async #moveToDeadQueue(
    part: PartitionBatch,
    buried: readonly { readonly seq: number; readonly record?: ItemRecord }[],
  ): Promise<void> {
    const { of: partition } = part;
    const target = this.context.findLoop(this.rules.deadQueue);
    if (target === undefined) {
      this.context.log.warn(
        { queue: this.name, deadQueue: this.rules.deadQueue, items: buried.length },
        "dead queue does not exist; dead items were removed",
      );
      await this.#commit([part], NOTHING_DELIVERED);
      return;
    }
    part.finish();
    try {
      const letters: Letter[] = [];
      for (const { seq } of buried) {
        const read = { from: seq, before: seq + 1, limit: 1, bytesMax: 1, records: true };
        for (const item of await partition.storage.readItems(partition.key, "items", read)) {
          letters.push({ sourceId: partition.ids.id(seq), record: item.record });
        }
      }
      const together = target.partitions[0]!.storage === partition.storage;
      await target.deliver(letters, together ? part : undefined);
      if (!together) await this.context.turns.committer(partition.storage).commit([part]);
    } catch (error) {
      if (error instanceof NotDelivered) {
        part.discard();
        for (const request of part.served) this.#answer(request, retryLater(error.message));
      } else {
        this.#notCommitted([part], NOTHING_DELIVERED, error);
      }
      this.#buryAt = this.context.clock.now() + DELIVERY_RETRY;
      return;
    }
    await this.#committed([part], NOTHING_DELIVERED);
  }

  // Removes what has expired among the items of the expiry that is due first.
  async #expire(partition: Partition, now: number): Promise<boolean> {
    const expiry = partition.expiries.first!;
    const part = new PartitionBatch(partition, now);
    let waiting: StoredItem[];
    try {
      const items = await partition.storage.readItems(partition.key, "items", {
        from: expiry.first,
        before: expiry.first + EXPIRY_SPAN,
        limit: EXPIRY_SPAN,
        bytesMax: Number.MAX_SAFE_INTEGER,
        records: false,
      });
      const { head } = partition.counters;
      waiting = items.filter((item) => item.seq >= head && !partition.leased.has(item.seq));
    } catch (error) {
      this.#failed(partition, error);
      return false;
    }
    const { expired, nextAt } = splitExpired(waiting, now);
    const buries = this.rules.deadQueue !== "";
    const leaving = buries ? expired.slice(0, LETTERS_MAX) : expired;
    for (const item of leaving) part.removeWaiting(item);
    part.replaceExpiry(expiry, leaving.length < expired.length ? expiry.at : nextAt);
    if (buries && leaving.length > 0) await this.#moveToDeadQueue(part, leaving);
    else await this.#commit([part], NOTHING_DELIVERED);
    return true;
  }

  // --- operations ---

  /** Commits one part by itself; rejects with a retryable error. For operations, within a step. */
  async commitAlone(part: PartitionBatch): Promise<void> {
    part.finish();
    try {
      await this.context.turns.committer(part.of.storage).commit([part]);
    } catch (error) {
      part.discard();
      this.#failed(part.of, error);
      throw retryLater(MESSAGES.internalRetry, error);
    }
    if (part.of.failures > 0) this.#works(part.of);
    part.apply();
  }

  async #step(operation: Operation): Promise<boolean> {
    try {
      const failing = operation.partitions.find((partition) => partition.stale);
      if (failing !== undefined) {
        throw retryLater(
          `partition not available; partition '${failing.number}' is failing, retry again`,
        );
      }
      return await operation.step();
    } catch (error) {
      const known = error instanceof QueueError;
      if (!known) this.context.log.error({ err: error, queue: this.name }, "operation failed");
      operation.fail(known ? error : retryLater(MESSAGES.internalRetry, error));
      return true;
    }
  }

  // --- failure ---

  // A storage has failed: what memory holds of the partition is no longer to be trusted.
  #failed(partition: Partition, error: unknown): void {
    if (error instanceof StillFailing) return;
    if (partition.failures === 0) {
      this.context.log.warn(
        { err: error, queue: this.name, partition: partition.number },
        "partition is failing",
      );
    }
    this.#distrust(partition);
  }

  #distrust(partition: Partition): void {
    partition.failures++;
    partition.stale = true;
    const backoff = Math.min(BACKOFF_MIN * 2 ** Math.min(partition.failures - 1, 10), BACKOFF_MAX);
    partition.retryAt = this.context.clock.now() + backoff;
  }

  #works(partition: Partition): void {
    this.context.log.info(
      { queue: this.name, partition: partition.number },
      "partition works again",
    );
    partition.failures = 0;
    partition.retryAt = 0;
  }

  // Until when time brings nothing about in a partition.
  #restsUntil(partition: Partition): number {
    return Math.max(partition.retryAt, this.#buryAt);
  }

  // --- answers and deadlines ---

  #answer(request: HotRequest<unknown>, error: QueueError | undefined): void {
    this.#mailbox.answer(request, error);
  }

  #sweep(): void {
    const now = this.context.clock.now();
    if (this.#mailbox.earliest > now) return;
    this.#sweptAt = now;
    this.#mailbox.sweep(now);
  }

  // When time will bring work about, or a failing partition is tried again.
  #nextDue(): number {
    const rules = {
      ...this.rules,
      leaseGrace: this.context.leaseGrace,
      hasDeadQueue: this.rules.deadQueue !== "",
    };
    let next = Number.POSITIVE_INFINITY;
    for (const partition of this.partitions) {
      const due = partition.failures > 0 ? partition.retryAt : nextDue(partition, rules);
      next = Math.min(next, Math.max(due, this.#restsUntil(partition)));
    }
    return next;
  }

  // Sets the one timer of the loop. One that fires too early finds nothing to do and sets it anew,
  // which is cheaper than moving it with every request.
  #arm(): void {
    if (this.#closed) return;
    const deadline = Math.max(this.#mailbox.earliest, this.#sweptAt + SWEEP_INTERVAL);
    const due = this.#busy || this.#paused ? Number.POSITIVE_INFINITY : this.#nextDue() + 1;
    const at = Math.min(deadline, due);
    if (at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    this.#cancelTimer = this.context.clock.wakeAt(at, () => this.#ring());
  }

  #ring(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#cancelTimer = undefined;
    this.#sweep();
    if (!this.#busy && this.#nextDue() < this.context.clock.now()) this.wake();
    this.#arm();
  }
}

interface Delivered {
  readonly deliveries: readonly Delivery[];
  readonly companions: readonly PartitionBatch[];
}

// A partition that has failed is not tried yet.
class StillFailing extends Error {}

const NOTHING_DELIVERED: Delivered = { deliveries: [], companions: [] };
