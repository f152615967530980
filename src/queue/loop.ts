// The loop of one queue: the only place where its reads and writes are put in order. Requests wait in
// the mailbox. A turn drains it, plans one batch, commits it, applies it to memory and answers; then
// the loop sleeps until there is work or the next deadline. A request is answered after its commit or
// not at all: what a failed commit was to hold gets a retryable error, and memory is read anew, for
// nobody knows what became of it.
//
// Modes: idle -> busy (a turn is under way) -> idle; paused (requests are accepted, none is
// processed); closed (every request is refused). Deadlines of requests are kept in every mode.

import { type CancelTimer, MILLISECOND, MINUTE } from "../clock.ts";
import { plainError, QueueError } from "../errors.ts";
import type { Account } from "../quotas.ts";
import type { Storage, StoredItem } from "../storage/storage.ts";
import { Batch, partitionFailing } from "./batch.ts";
import { BoundItems } from "./bound-items.ts";
import { Commits } from "./commits.ts";
import { Consumers } from "./consumers.ts";
import type {
  DeliveryOptions,
  Intake,
  LendOptions,
  Lent,
  QueueContext,
  QueueRules,
  Still,
} from "./context.ts";
import { type Burial, DeadLetters } from "./dead-letters.ts";
import { KeyHolders } from "./duplicates.ts";
import { type Errand, Errands } from "./errands.ts";
import type { QueueEars } from "./heard.ts";
import { buries, keepingOf } from "./history.ts";
import { IdempotentRequests } from "./idempotent-requests.ts";
import type { Item } from "./item.ts";
import { JointCompletes } from "./joint-completes.ts";
import { Keeper, keepsAny } from "./keeper.ts";
import { momentOf } from "./lease-ends.ts";
import { Lending } from "./lending.ts";
import { endLeases, fireScheduled, nextDue } from "./lifecycle.ts";
import { type Letter, Mailbox, type Operation } from "./mailbox.ts";
import { Measures } from "./measures.ts";
import type { Partition } from "./partition.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { maxAttemptsOf } from "./policy.ts";
import { Redrives } from "./redrives.ts";
import { type AnyHotRequest, Kind, type LeaseRequest, RetryRequest } from "./requests.ts";
import { DELIVERY_TIMEOUT, Transfers } from "./transfers.ts";
import type { Committer, TurnTaker } from "./turns.ts";
import { Watchers } from "./watchers.ts";

// Deadlines are checked at most this often, however many there are.
const SWEEP_INTERVAL = 5 * MILLISECOND;

const GIVE_BACK_TIMEOUT = MINUTE;

export class Loop implements TurnTaker, Errand {
  readonly name: string;
  readonly partitions: readonly Partition[];
  readonly context: QueueContext;
  readonly committer: Committer;
  /** Replaced by the registry when the queue is updated; each batch plans with what it finds. */
  get rules(): QueueRules {
    return this.#rules;
  }

  set rules(rules: QueueRules) {
    this.#rules = rules;
    const keeping = keepingOf(rules);
    for (const partition of this.partitions) partition.keeping = keeping;
  }

  #rules: QueueRules;

  readonly repeats: IdempotentRequests;
  readonly measures: Measures;
  /** Who waits for items to end. */
  readonly watchers: Watchers;
  /** Who listens to what happens in it. */
  readonly ears: QueueEars | undefined;
  readonly redrives: Redrives;
  /** Who has asked for items, and when last. */
  readonly consumers: Consumers;

  // The order in which partitions are chosen; see Batch.
  readonly #order: Partition[];

  readonly #mailbox: Mailbox;
  readonly #commits: Commits;
  readonly #transfers: Transfers;
  readonly #deadLetters: DeadLetters;
  readonly #keyHolders: KeyHolders;
  readonly #keeper: Keeper;
  readonly #boundItems: BoundItems;
  readonly #joint: JointCompletes;
  readonly #errands: Errands;
  readonly #lending: Lending;

  #busy = false;
  #awake = false;
  // Whether something has arrived while the turn under way was busy.
  #again = false;
  #paused = false;
  #closed = false;
  // When the turn under way has begun.
  #begunAt = 0;
  // Who waits for the turn under way to end.
  readonly #onIdle: (() => void)[] = [];

  #sweptAt = 0;
  // Two timers: one in steady time, for deadlines of requests, rests and leases that hold on, and one
  // in wall time, for what is stored.
  #steadyAt = Number.POSITIVE_INFINITY;
  #cancelSteady: CancelTimer | undefined;
  #wallAt = Number.POSITIVE_INFINITY;
  #cancelWall: CancelTimer | undefined;

  constructor(
    name: string,
    rules: QueueRules,
    partitions: readonly Partition[],
    context: QueueContext,
    account?: Account,
  ) {
    this.name = name;
    this.partitions = partitions;
    this.#rules = rules;
    this.rules = rules;
    this.context = context;
    this.committer = context.turns.committer(partitions[0]!.storage);
    this.consumers = new Consumers(context.clock.now());
    const { limits, waiting, clock } = context;
    const onLeft = (lease: LeaseRequest, given: number): void => {
      this.consumers.note(lease, clock.now(), given);
    };
    this.#mailbox = new Mailbox(limits, waiting, onLeft, account);
    this.#commits = new Commits(name, this.#mailbox, context, ({ partition, ids, items }) =>
      this.giveBack(
        partition,
        items.map(({ seq }) => ids.id(seq)),
      ),
    );
    this.#transfers = new Transfers(context, this.#commits, this);
    this.#errands = new Errands(this);
    this.#lending = new Lending(this, this.#mailbox);
    this.#deadLetters = new DeadLetters(this, {
      mailbox: this.#mailbox,
      commits: this.#commits,
      transfers: this.#transfers,
      errands: this.#errands,
    });
    this.#boundItems = new BoundItems(name, context, this.#commits, this);
    this.#joint = new JointCompletes(context, this.#mailbox, this.#errands);
    this.#keeper = new Keeper(context, this.#commits);
    this.repeats = new IdempotentRequests(context, this.#mailbox, this.#commits);
    this.watchers = new Watchers(context.clock, context.waiting);
    this.measures = new Measures(context.clock.steady(), context.turns.times);
    this.ears = context.ears?.of(name);
    for (const partition of partitions) {
      partition.watchers = this.watchers;
      partition.measures = this.measures;
      partition.ears = this.ears;
    }
    this.redrives = new Redrives(this, this.#commits);
    this.#keyHolders = new KeyHolders(context, this.#commits);
    this.#order = [...partitions];
    this.wake();
  }

  // --- what comes in ---

  /** Takes a request; its promise is settled exactly once. */
  submit<R extends AnyHotRequest>(request: R): Promise<R["result"]> {
    this.context.turns.noteArrival(this);
    if (this.#mailbox.add(request)) this.wake();
    return request.promise as Promise<R["result"]>;
  }

  /** Drops a lease whose client has gone: it loses its place and is given nothing. */
  cancel(request: LeaseRequest): void {
    this.#mailbox.answer(request, plainError("client_gone"));
  }

  /**
   * Gives back items whose client has gone before it knew that it had them: that nobody began them must
   * not be what they die of. Where leases are not counted they come back when their lease ends.
   */
  giveBack(partition: number, ids: readonly string[]): void {
    if (!this.#countsAttempts(partition, ids)) return;
    const items = ids.map((id) => ({ id, retryAt: 0, dead: false }));
    const deadline = this.context.clock.steady() + GIVE_BACK_TIMEOUT;
    const request = new RetryRequest(partition, items, deadline, { verb: "released" });
    this.submit(request).catch(() => undefined); // they come back when their lease ends
  }

  #countsAttempts(partition: number, ids: readonly string[]): boolean {
    if (this.rules.maxAttempts !== 0) return true;
    const { leased, ids: own } = this.partitions[partition]!;
    const isCounted = (item: Item | undefined): boolean =>
      item !== undefined && maxAttemptsOf(item, this.rules) !== 0;
    return ids.some((id) => isCounted(leased.get(own.seq(id))));
  }

  /** Runs an operator's work in the loop, in steps. */
  operate(operation: Operation): void {
    if (this.#mailbox.addOperation(operation)) this.wake();
  }

  get storage(): Storage {
    return this.partitions[0]!.storage;
  }

  get sendsTo(): Intake | undefined {
    const sendsTo = this.#transfers.sendsTo ?? this.#boundItems.sendsTo;
    return this.#lending.to ?? this.#joint.waitsFor ?? sendsTo ?? this.redrives.sendsTo;
  }

  deliver(
    letters: readonly Letter[],
    companion: PartitionBatch | undefined,
    { patience = DELIVERY_TIMEOUT }: DeliveryOptions = {},
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const deadline = this.context.clock.steady() + patience;
    if (this.#mailbox.addDelivery({ letters, companion, deadline, resolve, reject })) this.wake();
    return promise;
  }

  lend(by: Intake, how: LendOptions): Promise<Lent> {
    return this.#lending.lend(by, how);
  }

  get isIdle(): boolean {
    return !this.#busy && !this.#awake && !this.#paused;
  }

  get isHalted(): boolean {
    return this.#paused || this.#closed;
  }

  get still(): Still {
    const { name, partitions, rules } = this;
    return { name, partitions, rules, commits: this.#commits, keyHolders: this.#keyHolders };
  }

  /** Lease requests that wait for items. */
  get waitingLeases(): Iterable<LeaseRequest> {
    return this.#mailbox.waiting.values();
  }

  /** What waits, for statistics. */
  get counts(): Mailbox["counts"] {
    return this.#mailbox.counts;
  }

  /** Whether somebody waits who would take an item with this text, and whether somebody wants some kinds only. */
  demandFor(text: string): { readonly isWanted: boolean; readonly isPicky: boolean } {
    return { isWanted: this.#mailbox.isWanted(text), isPicky: this.#mailbox.picky > 0 };
  }

  // --- modes ---

  /** From now on no turn begins; resolves when the one under way has ended. */
  async pause(): Promise<void> {
    this.#paused = true;
    this.#arm();
    await this.#idle();
    this.#errands.halt();
  }

  resume(): void {
    this.#paused = false;
    this.wake();
  }

  /** Refuses everything from now on, answers what waits with `error`, and ends the turn under way. */
  async close(error: QueueError): Promise<void> {
    this.#closed = true;
    this.redrives.close();
    this.#cancelSteady?.();
    this.#cancelWall?.();
    this.#mailbox.close(error);
    this.watchers.close(error);
    await this.#idle();
    this.#errands.halt();
    this.#commits.close();
    for (const partition of this.partitions) partition.release();
  }

  async #idle(): Promise<void> {
    if (this.#busy) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  /** What memory holds of the partitions in a storage is not to be trusted: they are read anew. */
  distrust(storage: string): void {
    for (const partition of this.partitions) {
      if (partition.storage.name === storage) partition.distrust(this.context.clock.steady());
    }
    this.wake();
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
    this.#begunAt = this.context.turns.steady();
    void this.#turn().then(
      (progress) => this.#endTurn(progress, undefined),
      (error) => this.#fault(error),
    );
    this.#arm();
  }

  #endTurn(progress: boolean, error: QueueError | undefined): void {
    this.#busy = false;
    const { turns } = this.context;
    turns.times.turn.note(turns.steady() - this.#begunAt);
    this.#mailbox.endTurn(error);
    this.#errands.dismissAll();
    for (const resolve of this.#onIdle.splice(0)) resolve();
    if (this.#closed) return;
    const { operations, visitors } = this.#mailbox;
    const more = this.#again || operations.length > 0 || visitors > 0;
    if (more || (progress && this.#hasMore())) this.wake();
    this.#arm();
  }

  // A defect: the batch at hand fails, and memory is read anew. The loop goes on.
  #fault(error: unknown): void {
    this.context.log.error({ err: error, queue: this.name }, "queue loop failed");
    for (const partition of this.partitions) partition.distrust(this.context.clock.steady());
    this.#endTurn(false, plainError("storage_unavailable"));
  }

  #hasMore(): boolean {
    if (this.#isWorkDue()) return true;
    const hasLeases = this.#mailbox.waiting.size > 0;
    return this.partitions.some(
      (partition) =>
        !partition.stale &&
        (partition.needsDue ||
          this.#keeper.hasMore(partition) ||
          (hasLeases && partition.unleased > 0 && partition.leaseRoom > 0)),
    );
  }

  /** True if anything was done. */
  async #turn(): Promise<boolean> {
    this.#sweep();
    const usable = await this.#prepare();
    if (this.redrives.mustLook) await this.redrives.look();
    let progress = await this.#serve(usable);
    if (this.#mailbox.visitors > 0) {
      await this.#lending.standStill();
      progress = true;
    }
    const now = this.context.clock.now();
    for (const partition of usable) {
      if (partition.stale) continue;
      const expiry = partition.expiries.first;
      if (expiry !== undefined && expiry.at < now && !this.#rests(partition)) {
        const buried = await this.#deadLetters.buryExpired(partition, now, this.rules);
        progress = buried || progress;
      }
    }
    for (const partition of usable) {
      if (partition.stale || partition.keysEndAt >= now || this.#rests(partition)) continue;
      progress = (await this.repeats.sweep(partition, now)) || progress;
    }
    for (const partition of usable) {
      if (partition.stale || this.#rests(partition) || !keepsAny(partition)) continue;
      progress = (await this.#keeper.trim(partition, now)) || progress;
    }
    const operation = this.#mailbox.beginStep();
    if (operation === undefined) return progress;
    this.#mailbox.endStep(await this.#step(operation));
    return true;
  }

  // Brings memory up to what the batch needs to know; answers the partitions that can be used.
  async #prepare(): Promise<readonly Partition[]> {
    let usable: Partition[] | undefined;
    for (const partition of this.#order) {
      const wanted = Math.min(this.#mailbox.demand, this.context.limits.readyItems);
      const ready =
        partition.failures === 0 &&
        !partition.stale &&
        !partition.needsDue &&
        !partition.wantsMore &&
        !(wanted > 0 && partition.needsReady(wanted));
      if (ready) continue;
      try {
        if (partition.stale) await this.#reload(partition);
        await partition.fillDue();
        // Imported items that are leased stand among those that wait: what is read may all be leased.
        while (partition.readyCount === 0 && partition.needsReady(wanted)) {
          await partition.fillReady(wanted);
        }
        if (partition.needsReady(wanted)) await partition.fillReady(wanted);
        if (partition.wantsMore) await partition.fillReady(0);
        partition.wantsMore = false;
        if (partition.failures > 0) await this.#prove(partition);
      } catch (error) {
        if (!(error instanceof StillFailing)) this.#commits.distrust(partition, error);
        usable ??= [...this.#order];
        usable = usable.filter((each) => each !== partition);
      }
    }
    return usable ?? this.#order;
  }

  // A partition that has failed is read anew, and rests before it is; where no other can serve in
  // its place it is tried with every batch.
  async #reload(partition: Partition): Promise<void> {
    if (this.#retriesLater(partition) && this.partitions.some((each) => each.failures === 0)) {
      throw new StillFailing();
    }
    await partition.load(() => momentOf(this.context.clock));
  }

  // It works again once a commit has gone through: if no request brings one, an empty one shows it.
  async #prove(partition: Partition): Promise<void> {
    if (this.#retriesLater(partition)) return;
    const probe = new PartitionBatch(partition, this.context.clock.now());
    await this.#commits.write(partition.storage, [probe]);
    this.#commits.trust(partition);
  }

  // A healthy one has nothing to be tried again.
  #retriesLater({ retryAt }: Partition): boolean {
    return retryAt !== 0 && this.context.clock.steady() < retryAt;
  }

  // Serves everything in the mailbox, and what time has brought about, in one batch.
  async #serve(usable: readonly Partition[]): Promise<boolean> {
    const { requests, deliveries, count, named, unique } = this.#mailbox.take(
      this.#errands.begin(),
    );
    if (named > 0 && (await this.repeats.answer(requests, this.partitions))) this.wake();
    const duplicates =
      unique === 0
        ? undefined
        : await this.#keyHolders.lookUp(requests[Kind.produce], this.partitions);
    const readRecords = () => this.#keeper.read(requests, this.partitions);
    let records = this.rules.keepCompleted === 0 ? undefined : await readRecords();
    const accepted = await this.#transfers.accept(this.partitions[0]!, deliveries, this.redrives);
    // What ends is kept by what the queue says when that is planned: it may have been told otherwise meanwhile.
    if (records === undefined && this.rules.keepCompleted > 0) records = await readRecords();
    // From here to the commit nothing waits: the whole batch is planned at one moment.
    const now = this.context.clock.now();
    const { rules, partitions } = this;
    const { random } = this.context;
    const { leaseReplyBytes } = this.context.limits;
    const order = usable === this.#order ? this.#order : [...usable];
    const batch = new Batch({
      partitions,
      order,
      rules: { ...rules, leaseReplyBytes, random },
      now,
      records,
    });
    if (accepted.deliveries.length > 0) batch.takeIn(partitions[0]!, accepted);
    batch.plan(requests, this.#mailbox, duplicates);
    for (const request of batch.refused) this.#mailbox.answer(request, request.error);
    const burials: Burial[] = [];
    const departures: { readonly partition: Partition; readonly bound: readonly StoredItem[] }[] =
      [];
    for (const partition of usable) {
      if (!this.#isDue(partition, now)) continue;
      const lifecycle = { ...rules, random, buries: buries(rules) };
      const part = batch.part(partition);
      const { steady, isStill } = momentOf(this.context.clock);
      const ended = endLeases(part, lifecycle, { now, steady, isStill });
      burials.push({ partition, table: "items", dead: ended });
      const { dead, bound } = fireScheduled(part, lifecycle);
      burials.push({ partition, table: "scheduled", dead });
      if (bound.length > 0) departures.push({ partition, bound });
    }
    const progress = await this.#commits.commit(batch.parts, accepted);
    if (batch.wantsMore) this.wake();

    if (batch.joint.length > 0) {
      const own = { ...this.still, loop: this, records, readRecords };
      await this.#joint.completeAll(batch.joint, own);
    }
    if (batch.burials.size > 0) {
      await this.#deadLetters.buryRetried(batch.burials, rules, { records, readRecords });
    }
    this.#errands.dismissAll();
    for (const burial of burials) await this.#deadLetters.bury(burial, rules);
    for (const { partition, bound } of departures) await this.#boundItems.send(partition, bound);
    return progress || count > 0 || burials.length > 0;
  }

  // --- operations ---

  /** Commits one part by itself; rejects with a retryable error. For operations, within a step. */
  commitAlone(part: PartitionBatch): Promise<void> {
    return this.#commits.commitAlone(part);
  }

  async #step(operation: Operation): Promise<boolean> {
    try {
      const failing = operation.partitions.find((partition) => partition.stale);
      if (failing !== undefined) throw partitionFailing(failing);
      return await operation.step();
    } catch (error) {
      const known = error instanceof QueueError;
      if (!known) this.context.log.error({ err: error, queue: this.name }, "operation failed");
      operation.fail(known ? error : plainError("storage_unavailable", error));
      return true;
    }
  }

  // --- answers and deadlines ---

  // Whether time brings nothing about in a partition at present.
  #rests(partition: Partition): boolean {
    return this.#restsUntil > 0 || this.#retriesLater(partition);
  }

  get #restsUntil(): number {
    return Math.max(this.#transfers.restsUntil, this.#boundItems.restsUntil);
  }

  // Whether time has brought something about in a partition.
  #isDue(partition: Partition, now: number): boolean {
    const { clock } = this.context;
    const held = partition.leaseEnds.nextHeld(clock.isStill);
    const isDue =
      nextDue(partition, clock.isStill) < now ||
      (held !== Number.POSITIVE_INFINITY && held < clock.steady());
    return isDue && !this.#rests(partition);
  }

  #sweep(): void {
    const steady = this.context.clock.steady();
    if (this.#mailbox.earliest > steady) return;
    this.#sweptAt = steady;
    this.#mailbox.sweep(steady);
  }

  // Whether there is work that nobody has asked for: time has brought it about, or a failing partition
  // is to be tried again.
  #isWorkDue(): boolean {
    const now = this.context.clock.now();
    return this.partitions.some((partition) =>
      partition.failures > 0 ? !this.#rests(partition) : this.#isDue(partition, now),
    );
  }

  // Sets the timers of the loop. One that fires too early finds nothing to do and is set anew, which
  // is cheaper than moving it with every request.
  #arm(): void {
    if (this.#closed) return;
    const { clock } = this.context;
    let steadyAt = Math.max(this.#mailbox.earliest, this.#sweptAt + SWEEP_INTERVAL);
    let wallAt = Number.POSITIVE_INFINITY;
    if (!this.#busy && !this.#paused) {
      const { isStill } = clock;
      const restsUntil = this.#restsUntil;
      for (const partition of this.partitions) {
        const { failures, retryAt, leaseEnds } = partition;
        if (failures > 0 || restsUntil > 0) {
          steadyAt = Math.min(steadyAt, Math.max(retryAt, restsUntil));
        } else {
          steadyAt = Math.min(steadyAt, leaseEnds.nextHeld(isStill) + 1);
          wallAt = Math.min(wallAt, nextDue(partition, isStill) + 1);
        }
      }
    }
    if (steadyAt < this.#steadyAt) {
      this.#cancelSteady?.();
      this.#steadyAt = steadyAt;
      this.#cancelSteady = clock.wakeAfter(steadyAt - clock.steady(), () => {
        this.#steadyAt = Number.POSITIVE_INFINITY;
        this.#cancelSteady = undefined;
        this.#ring();
      });
    }
    if (wallAt < this.#wallAt) {
      this.#cancelWall?.();
      this.#wallAt = wallAt;
      this.#cancelWall = clock.wakeAt(wallAt, () => {
        this.#wallAt = Number.POSITIVE_INFINITY;
        this.#cancelWall = undefined;
        this.#ring();
      });
    }
  }

  #ring(): void {
    this.#sweep();
    if (!this.#busy && this.#isWorkDue()) this.wake();
    this.#arm();
  }
}

// A partition that has failed is not tried yet.
class StillFailing extends Error {}
