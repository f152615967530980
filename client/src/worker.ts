// A worker leases items of one queue, calls a handler for them, and completes them or gives them back. It
// has one lease request under way at a time, for as many items as can be begun soon: those for which a
// handler is free, and as many more as will be begun in a small part of their lease. What handlers are at it
// keeps (extender.ts). It never throws: what goes wrong is an event, and it goes on.

import { fullJitter, sleep } from "./backoff.ts";
import { Bag } from "./bag.ts";
import type { QueratorClient } from "./client.ts";
import { type Duration, toMs } from "./duration.ts";
import { onEndSignal } from "./end-signals.ts";
import { deadOf, Endings } from "./endings.ts";
import { ClosedError, InvalidRequestError, ValidationError } from "./errors.ts";
import { Events } from "./events.ts";
import { Extender, type HeldRun } from "./extender.ts";
import { leaseOf } from "./held-item.ts";
import type { LeasedItem } from "./items.ts";
import { checkNames, namesOf } from "./names.ts";
import { type QueueDefinition, untyped } from "./queue-definition.ts";
import { FactsOfQueue, INVALID_AFTER_MS, noDeadQueue } from "./queue-facts.ts";
import { startTimer, type Timer } from "./timer.ts";
import type { Processing } from "./tracing.ts";
import {
  HandlerAborted,
  HandlerContext,
  type Outcome,
  type RetryWhen,
  WorkItem,
} from "./work-item.ts";
import type {
  BatchHandler,
  BatchOptions,
  WorkerCounters,
  WorkerEvents,
  WorkerOptions,
} from "./worker-options.ts";

const OPTIONS = namesOf<WorkerOptions & BatchOptions>({
  batch: true,
  concurrency: true,
  prefetch: true,
  kinds: true,
  leaseTimeout: true,
  retry: true,
  handlerTimeout: true,
  extend: true,
  extendFor: true,
  extendMax: true,
  requestTimeout: true,
  handleSignals: true,
  closeTimeout: true,
});

const BATCH_MAX = 1_000;
const CONCURRENCY_MAX = 100_000;
const RECONNECT = { baseMs: 100, capMs: 10_000 };
// Items that have been handled and whose end is not confirmed yet, however many handlers there are.
const ENDING_MAX = 1_000;
// After close gave up waiting: for giving items back.
const GIVE_BACK_MS = 5_000;
// How long a lease waits whose items must not get lost, and how long it is waited for.
const SHORT_LEASE_MS = 2_000;
const PATIENCE_MS = 3_000;
// How long it counts what a queue is like, for a server that cannot release.
const KNOWN_MS = 5_000;
// What the server takes, and how long an item is kept by default.
const EXTEND_MS_MAX = 12 * 3_600_000;

interface Run<T> extends HeldRun {
  readonly items: readonly WorkItem<T>[];
  /** When it began, by performance.now(). */
  readonly from: number;
  /** Its span, if there is one. */
  readonly processing: Processing | undefined;
  /** Its items have been given back; what it does then counts no more. */
  isAbandoned: boolean;
}

export class Worker<T = undefined> {
  readonly events = new Events<WorkerEvents>();
  readonly queueName: string;
  readonly #client: QueratorClient;
  readonly #definition: QueueDefinition<never, T>;
  readonly #handler: BatchHandler<T>;
  readonly #requestTimeout: Duration | undefined;
  readonly #handlerTimeoutMs: number | undefined;
  readonly #closeTimeoutMs: number;
  readonly #batch: number;
  // What their handler returns is no result, as there is one for each item.
  readonly #isOfBatches: boolean;
  #concurrency: number;
  // As many as handlers may have, if it is not said.
  readonly #prefetchMax: number | undefined;
  readonly #kinds: readonly string[] | undefined;
  readonly #leaseTimeout: Duration | undefined;
  // Nothing is leased, and nothing begun.
  #isPaused = false;
  readonly #endings: Endings;
  // Not there if it is not to extend.
  readonly #extender: Extender | undefined;
  #leased = 0;
  // Leased, not begun.
  #buffer: WorkItem<T>[] = [];
  // Gives back what is not begun in time.
  #bufferTimer: Timer | undefined;
  readonly #facts: FactsOfQueue;
  // Of those the ones that a server which cannot release would end for good if they were given back.
  readonly #kept = new WeakSet<WorkItem<T>>();
  // Whether items may be leased ahead that perhaps nobody begins, and until when that is known.
  #mayPrefetch = false;
  #knownUntil = 0;
  // The server cannot release, and ends items because of their leases: what it deals must arrive here.
  #isCounted = false;
  #isLearning = false;
  // That there is no dead queue for what is not valid has been said.
  #hasToldNoDeadQueue = false;
  readonly #runs = new Bag<Run<T>>();
  #running = 0;
  // Of a handler, smoothed; nothing before the first.
  #handlerMs: number | undefined;
  // Of the last lease, when it came.
  #leaseMs = 0;
  // Whom to wake when anything of the above changes; nothing if nobody waits for that.
  #changed: PromiseWithResolvers<void> | undefined;
  // Of the leases until it is paused, or closed.
  #leasing = new AbortController();
  // Whether a lease is under way, or what it brought is being looked at.
  #isLeasing = true;
  #closed: Promise<void> | undefined;
  // Nothing more is leased.
  #isEnding = false;
  // Handlers are waited for no more.
  #isClosed = false;
  // Items of which it is being found out whether they can be given back.
  #deciding = 0;
  #stopSignals: (() => void) | undefined;

  constructor(
    client: QueratorClient,
    queue: string | QueueDefinition<never, T>,
    handler: BatchHandler<T>,
    options: WorkerOptions & { readonly batch?: number | undefined } = {},
  ) {
    checkNames(options, OPTIONS, "a worker");
    const { concurrency = 10, batch = 1, handleSignals = false, closeTimeout = "30s" } = options;
    const { requestTimeout, handlerTimeout, prefetch, kinds, leaseTimeout } = options;
    this.#concurrency = whole(concurrency, "concurrency", 1, CONCURRENCY_MAX);
    this.#batch = whole(batch, "batch", 1, BATCH_MAX);
    this.#isOfBatches = options.batch !== undefined;
    this.#prefetchMax = prefetch === undefined ? undefined : whole(prefetch, "prefetch", 0, 1e8);
    this.#kinds = kinds;
    this.#leaseTimeout = leaseTimeout;
    if (leaseTimeout !== undefined) toMs(leaseTimeout, "leaseTimeout");
    this.#client = client;
    this.#definition =
      typeof queue === "string" ? (untyped(queue) as QueueDefinition<never, T>) : queue;
    this.queueName = this.#definition.name;
    this.#handler = handler;
    if (requestTimeout !== undefined) toMs(requestTimeout, "requestTimeout");
    this.#requestTimeout = requestTimeout;
    this.#handlerTimeoutMs =
      handlerTimeout === undefined ? undefined : toMs(handlerTimeout, "handlerTimeout");
    this.#closeTimeoutMs = toMs(closeTimeout, "closeTimeout");
    this.#facts = new FactsOfQueue(this.queueName, (name, timeout) =>
      client.queues.info(name, { timeout }),
    );
    this.#endings = new Endings({
      client,
      queueName: this.queueName,
      events: this.events,
      facts: this.#facts,
      retry: options.retry,
      onEnd: () => this.#wake(),
      onUnreleased: (item, when) => void this.#keepOrRetry(item, when),
    });
    this.#extender = this.#extenderOf(options);
    if (handleSignals) this.#stopSignals = onEndSignal(() => void this.close());
    const start = (): void =>
      queueMicrotask(async () => {
        await this.#lease();
        this.#isLeasing = false;
        this.#wake();
      });
    if (client.tracing === undefined) start();
    else client.tracing.detached(start);
  }

  #extenderOf({ extend = true, extendFor, extendMax = EXTEND_MS_MAX }: WorkerOptions) {
    const extendForMs = extendFor === undefined ? undefined : toMs(extendFor, "extendFor");
    const extendMaxMs = toMs(extendMax, "extendMax");
    if (extendForMs !== undefined && !(extendForMs >= 1 && extendForMs <= EXTEND_MS_MAX)) {
      const text = `extendFor is invalid; got '${extendFor}', it must be from 1ms to 12h`;
      throw new InvalidRequestError("invalid", text);
    }
    if (!extend) return undefined;
    return new Extender({
      client: this.#client,
      queueName: this.queueName,
      runs: this.#runs as Bag<HeldRun>,
      extendForMs,
      extendMaxMs,
      onRepeat: this.#endings.onRepeat,
      report: (error) => this.#endings.trouble(error),
    });
  }

  /** Calls a listener for each event of a name; answers what ends that. */
  on<K extends keyof WorkerEvents>(
    name: K,
    listener: (event: WorkerEvents[K]) => void,
  ): () => void {
    return this.events.on(name, listener);
  }

  get counters(): WorkerCounters {
    const { counters } = this.#endings;
    const { length: buffered } = this.#buffer;
    return { leased: this.#leased, ...counters, running: this.#running, buffered };
  }

  /** Handlers that run at the same time. It can be set while they do: those that run go on. */
  get concurrency(): number {
    return this.#concurrency;
  }

  set concurrency(handlers: number) {
    this.#concurrency = whole(handlers, "concurrency", 1, CONCURRENCY_MAX);
    this.#begin();
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Leases nothing more until it is resumed, and gives back what no handler has begun; those that run go on. */
  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    // See #close.
    if (!this.#isCounted) this.#leasing.abort();
    this.#giveBackBuffer();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#leasing.signal.aborted && !this.#isEnding) this.#leasing = new AbortController();
    this.#begin();
  }

  /**
   * Leases nothing more, gives back what no handler has begun, and waits for handlers. When the time has
   * passed, their signals are aborted and their items given back. Always resolves, within 5 seconds more;
   * if the server has not confirmed the end of some items by then, an `error` says so.
   */
  close({ timeoutMs }: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(timeoutMs ?? this.#closeTimeoutMs);
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // --- leasing ---

  async #lease(): Promise<void> {
    for (let failures = 0; !this.#isEnding; ) {
      const want = this.#isPaused ? 0 : this.#want();
      if (want <= 0) {
        await this.#change();
        continue;
      }
      const { signal } = this.#leasing;
      try {
        const items = await this.#client.lease(this.queueName, {
          batchSize: want,
          isShared: false,
          kinds: this.#kinds,
          leaseTimeout: this.#leaseTimeout,
          requestTimeout: this.#isCounted ? this.#shortTimeout() : this.#requestTimeout,
          signal,
          onRepeat: this.#endings.onRepeat,
          keepsLate: true,
          isTraced: false,
        });
        failures = 0;
        this.#endings.works();
        if (items.length > 0) await this.#take(items);
        else if (this.#running === 0) this.events.emit("idle", undefined);
      } catch (error) {
        if (this.#isEnding) return;
        // It is paused.
        if (signal.aborted) continue;
        this.#endings.trouble(error);
        // Nothing can be leased or ended any more.
        if (error instanceof ClosedError) return void this.close({ timeoutMs: 0 });
        await sleep(fullJitter(RECONNECT, ++failures), signal).catch(() => undefined);
      }
    }
  }

  // How many items to lease: what handlers can begin at once, and what waits for them only a while.
  #want(): number {
    const room = this.#concurrency * this.#batch;
    const most = room + this.#prefetch(room);
    // What travels, and as much that gathers behind it. If more waits, its end cannot be delivered, and the
    // leases of whatever is leased now would end as well.
    const endingMax = Math.min(2 * most, ENDING_MAX + this.#concurrency);
    if (this.#endings.underWay >= endingMax) return 0;
    const ahead = this.#running + this.#buffer.length;
    return Math.min(most - ahead, BATCH_MAX);
  }

  // An item that is leased ahead should be begun within a quarter of its lease.
  #prefetch(room: number): number {
    const handlerMs = this.#handlerMs;
    if (handlerMs === undefined) return 0;
    const prefetchMax = this.#prefetchMax ?? room;
    const turns = this.#leaseMs / 4 / Math.max(handlerMs, 0.01);
    const ahead = Math.max(0, Math.min(prefetchMax, Math.floor(room * (turns - 1))));
    if (ahead === 0) return 0;
    if (performance.now() >= this.#knownUntil && !this.#isLearning) void this.#learnPrefetch();
    return this.#mayPrefetch ? ahead : 0;
  }

  // What is leased ahead may have to be given back. With a server that counts that as an attempt it could
  // be the item's last one.
  async #learnPrefetch(): Promise<void> {
    this.#isLearning = true;
    const canRelease = await this.#client.knowsV2(this.queueName).catch(() => undefined);
    const facts = canRelease === false ? await this.#facts.get() : undefined;
    this.#mayPrefetch = canRelease === true || facts?.isUnbounded === true;
    this.#isCounted = canRelease === false && facts?.isUnbounded !== true;
    // A queue can be changed.
    this.#knownUntil = canRelease === true ? Infinity : performance.now() + KNOWN_MS;
    this.#isLearning = false;
    this.#wake();
  }

  async #take(items: readonly LeasedItem[]): Promise<void> {
    this.#leased += items.length;
    this.events.emit("leased", { items });
    // All of one lease, which lasts as long whatever is done to the time from now on.
    const lease = leaseOf(this.#client, items);
    this.#leaseMs = lease.leaseMs;
    for (const item of items) {
      try {
        const decoding = this.#definition.decode(item);
        const decoded = decoding instanceof Promise ? await decoding : decoding;
        if (!(decoded instanceof ValidationError)) {
          this.#buffer.push(new WorkItem(item, decoded, lease));
        } else if (this.#definition.onInvalid === "throw") this.#endings.fail(item, decoded);
        else this.#endings.fail(item, decoded, await this.#endOfInvalid(decoded));
      } catch (error) {
        // A validator with a mistake in it says nothing about the item, nor about those after it: it is no
        // attempt.
        const outcome = this.#endings.judge(item, error);
        const when = outcome.kind === "retry" ? outcome.when : { delay: INVALID_AFTER_MS };
        this.#endings.fail(item, error, { kind: "release", when });
      }
    }
    if (this.#isEnding || this.#isPaused) this.#giveBackBuffer();
    else this.#begin();
    this.#watchBuffer();
  }

  // Nothing is deleted because a schema has changed: without a dead queue it is kept for later, and that
  // does not count as an attempt.
  async #endOfInvalid(error: ValidationError): Promise<Outcome> {
    const { hasDeadQueue } = await this.#facts.get();
    if (hasDeadQueue) return deadOf(error);
    if (!this.#hasToldNoDeadQueue) {
      this.#hasToldNoDeadQueue = true;
      this.#endings.report(noDeadQueue(this.queueName, error));
    }
    return { kind: "release", when: { delay: INVALID_AFTER_MS } };
  }

  // Gives back what no handler has begun when three quarters of its lease are over: what waits until the
  // end would have been an attempt that nobody made.
  #watchBuffer(): void {
    const first = this.#buffer.find((item) => !this.#kept.has(item));
    if (this.#bufferTimer !== undefined || first === undefined) return;
    const marginMs = this.#leaseMs / 4;
    const ms = first.endsAtMs - marginMs - this.#client.steady();
    this.#bufferTimer = startTimer(
      () => {
        this.#bufferTimer = undefined;
        const until = this.#client.steady() + marginMs;
        // Handlers take longer than it seemed.
        this.#handlerMs = Math.max(this.#handlerMs ?? 0, this.#leaseMs);
        this.#giveBack((item) => item.endsAtMs <= until);
        this.#watchBuffer();
      },
      Math.min(Math.max(ms, 1), 3_600_000),
    );
  }

  // --- handling ---

  #begin(): void {
    while (!this.#isPaused && this.#runs.size < this.#concurrency && this.#buffer.length > 0) {
      const items = this.#nextItems();
      if (items.length > 0) this.#run(items);
    }
    this.#wake();
  }

  // What is expected back by now is not begun: it is, or soon will be, somebody else's.
  #nextItems(): WorkItem<T>[] {
    const items: WorkItem<T>[] = [];
    const steady = this.#client.steady();
    while (items.length < this.#batch && this.#buffer.length > 0) {
      const item = this.#buffer.shift()!;
      if (item.endsAtMs > steady) items.push(item);
      else this.#endings.lose(item);
    }
    return items;
  }

  // Without an await, of which each item would keep a frame of this in memory.
  #run(items: readonly WorkItem<T>[]): void {
    const context = new HandlerContext(items, this.#client.steady);
    const run: Run<T> = {
      items,
      context,
      from: performance.now(),
      extendAtMs: Number.POSITIVE_INFINITY,
      processing: this.#client.tracing?.processing(this.queueName, items, this.#isOfBatches),
      isAbandoned: false,
      slot: -1,
    };
    this.#runs.add(run);
    this.#extender?.begin(run);
    this.#running += items.length;
    // As an await would: whatever `then` somebody has given to the promise.
    Promise.prototype.then.call(
      this.#handle(run),
      (result: unknown) => this.#finish(run, undefined, result),
      (error: unknown) => this.#finish(run, { error }, undefined),
    );
  }

  #handle({ items, context, processing }: Run<T>): Promise<unknown> {
    try {
      const { result: ofResult } = this.#definition;
      const returned =
        processing === undefined
          ? this.#handler(items, context)
          : processing.within(() => this.#handler(items, context));
      const handling =
        ofResult === undefined || this.#isOfBatches
          ? returned
          : Promise.resolve(returned).then((result) => ofResult.check(result));
      const ms = this.#handlerTimeoutMs;
      if (ms === undefined) return Promise.resolve(handling);
      return Promise.race([handling, context.whenLate(ms)]);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #finish(run: Run<T>, failure: { readonly error: unknown } | undefined, returned: unknown): void {
    const { items, context, from, processing, isAbandoned } = run;
    context.end();
    processing?.end(failure);
    const took = performance.now() - from;
    this.#handlerMs = this.#handlerMs === undefined ? took : this.#handlerMs * 0.9 + took * 0.1;
    this.#runs.delete(run);
    this.#running -= items.length;
    const isResult = this.#definition.result !== undefined && !this.#isOfBatches;
    const result = isResult ? returned : undefined;
    if (!isAbandoned) {
      if (processing === undefined) this.#settleAll(items, failure, result);
      else processing.within(() => this.#settleAll(items, failure, result));
    }
    this.#begin();
  }

  #settleAll(
    items: readonly WorkItem<T>[],
    failure: { readonly error: unknown } | undefined,
    result: unknown,
  ): void {
    for (const item of items) this.#settle(item, failure, result);
  }

  // What a handler has decided about an item counts also if it failed afterwards.
  #settle(
    item: WorkItem<T>,
    failure: { readonly error: unknown } | undefined,
    result: unknown,
  ): void {
    // Whatever the server is told, it says that the item is cancelled, and lets it go.
    if (item.isCancelled) this.#endings.end(item, UNBEGUN);
    else if (failure !== undefined && item.outcome === undefined) {
      this.#endings.fail(item, failure.error);
    } else {
      this.#endings.end(item, item.outcome ?? { kind: "complete", result });
    }
  }

  #change(): Promise<void> {
    this.#changed ??= Promise.withResolvers();
    return this.#changed.promise;
  }

  #wake(): void {
    this.#changed?.resolve();
    this.#changed = undefined;
  }

  // --- closing ---

  async #close(timeoutMs: number): Promise<void> {
    this.#isEnding = true;
    this.#giveBackBuffer();
    this.#wake();
    // A lease that is broken off may have been dealt items, of which nobody would know.
    if (this.#isCounted)
      await this.#until(() => !this.#isLeasing, Math.min(timeoutMs, PATIENCE_MS));
    this.#leasing.abort();
    this.#giveBackBuffer();
    this.#wake();
    await this.#ended(timeoutMs);
    this.#isClosed = true;
    this.#extender?.stop();
    clearTimeout(this.#bufferTimer);
    for (const run of this.#runs) {
      run.isAbandoned = true;
      run.context.abort(new HandlerAborted("shutdown"));
      for (const item of run.items) this.#endings.end(item, item.outcome ?? UNBEGUN);
    }
    this.#runs.clear();
    await this.#ended(GIVE_BACK_MS);
    this.#endings.giveUp();
    this.#stopSignals?.();
  }

  #giveBackBuffer(): void {
    this.#giveBack(() => true);
  }

  #giveBack(isMeant: (item: WorkItem<T>) => boolean): void {
    const buffer = this.#buffer;
    this.#buffer = [];
    for (const item of buffer) {
      if (this.#kept.has(item) || !isMeant(item)) this.#buffer.push(item);
      else this.#endings.end(item, UNBEGUN);
    }
  }

  // The server cannot release. What comes back is given back as an attempt; what would not, for its last
  // attempt is this one, is kept and begun after all.
  async #keepOrRetry(item: LeasedItem, when: RetryWhen): Promise<void> {
    this.#deciding++;
    const { mayComeBack } = await this.#facts.get();
    this.#deciding--;
    if (mayComeBack(item.attempts) || !(item instanceof WorkItem) || this.#isClosed) {
      this.#endings.end(item, { kind: "retry", when });
    } else {
      this.#kept.add(item);
      this.#buffer.push(item);
      this.#begin();
    }
    this.#wake();
  }

  #shortTimeout(): number {
    const ms = toMs(this.#requestTimeout ?? SHORT_LEASE_MS, "requestTimeout");
    return Math.min(ms, SHORT_LEASE_MS);
  }

  // Resolves when nothing is in hand any more, or after a time.
  #ended(ms: number): Promise<void> {
    return this.#until(() => !this.#hasWork, ms);
  }

  async #until(isDone: () => boolean, ms: number): Promise<void> {
    let isOver = false;
    const timer = startTimer(() => {
      isOver = true;
      this.#wake();
    }, ms);
    while (!isOver && !isDone()) await this.#change();
    clearTimeout(timer);
  }

  get #hasWork(): boolean {
    const isBusy = this.#isLeasing || this.#deciding > 0;
    return isBusy || this.#runs.size + this.#buffer.length + this.#endings.underWay > 0;
  }
}

const UNBEGUN: Outcome = { kind: "release", when: {} };

function whole(value: number, what: string, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  const text = `${what} is invalid; got ${value}, it must be a whole number from ${min} to ${max}`;
  throw new InvalidRequestError("invalid", text);
}
