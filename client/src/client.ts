// The client: one method for each call of the server. Calls of produce, complete and retry that are made
// at the same time travel together, and so do leases; each caller sees only its own result. A client
// keeps connections but no state of queues, and can be used by a whole program.

import { Bindings, Keys, Namespaces, Roles, Users } from "./access.ts";
import { checkHeaders, urlsOf } from "./addresses.ts";
import { Audit } from "./audit.ts";
import { utf8LengthMax } from "./bytes.ts";
import { type CallOptions, checkForm, confirmed, once, parseReply, TIMEOUT_MS } from "./call.ts";
import type {
  ClearOptions,
  ClientOptions,
  CloseOptions,
  CompleteAndProduceOptions,
  CompleteOptions,
  EndOptions,
  ExtendOptions,
  GiveBackOptions,
  Health,
  LeaseOptions,
  NextItems,
  ProduceOptions,
  RawCallOptions,
} from "./client-options.ts";
import { Connection } from "./connection.ts";
import { type ConsumedItem, type ConsumeOptions, consume } from "./consumer.ts";
import {
  type DeadGroups,
  type DeadGroupsOptions,
  deadGroups,
  type Redrive,
  type RedriveOptions,
  Redrives,
} from "./dead-letters.ts";
import { type DumpOptions, dump, type ServerDump } from "./dump.ts";
import { type Duration, toMs } from "./duration.ts";
import { failureOf, InvalidRequestError, isNotImplemented, QueueNotFoundError } from "./errors.ts";
import { type Part, WaitingItems } from "./gatherer.ts";
import { type GatheredKind, Gatherers } from "./gatherers.ts";
import {
  type DoneItem,
  type ExtendItem,
  encodeItem,
  type ItemRef,
  type LeasedItem,
  NOT_TOLD,
  type ProducedItem,
  type ProduceItem,
  type RejectItem,
  type ReleaseItem,
  type RetryItem,
} from "./items.ts";
import { type EndKind, type Extension, LeaseEnds } from "./lease-ends.ts";
import { Leases } from "./leases.ts";
import { checkNames, namesOf } from "./names.ts";
import {
  OF_COMPLETE,
  OF_END,
  OF_EXTEND,
  OF_GIVE_BACK,
  OF_LEASE,
  OF_PRODUCE,
} from "./option-names.ts";
import { produceWhole } from "./produce-whole.ts";
import { type QueueDefinition, untyped } from "./queue-definition.ts";
import { Queues } from "./queues.ts";
import { type EventOptions, type ServerEvent, serverEvents } from "./server-events.ts";
import {
  decodeStats,
  decodeStatsOfSeveral,
  type QueueStats,
  type WireStats,
  type WireStatsOfSeveral,
} from "./stats.ts";
import { StoredItems } from "./stored-items.ts";
import { startTimer } from "./timer.ts";
import { Tracing } from "./tracing.ts";
import { TypedQueue } from "./typed-queue.ts";
import type { HandlerContext, WorkItem } from "./work-item.ts";
import { Worker } from "./worker.ts";
import type { BatchHandler, BatchOptions, Handler, WorkerOptions } from "./worker-options.ts";

// Below the limit of a request's body, by more than what stands around the items.
const PRODUCE_BYTES_MAX = 4_990_000;
const CLOSE_TIMEOUT_MS = 30_000;

const OPTIONS = namesOf<ClientOptions>({
  url: true,
  urls: true,
  key: true,
  namespace: true,
  headers: true,
  requestTimeout: true,
  timeoutMargin: true,
  retry: true,
  waitingItemsMax: true,
  waitingBytesMax: true,
  now: true,
  tls: true,
  tracing: true,
  fetch: true,
});

// For as long as the time of a call lasts: a server that comes back is found within two seconds.
const RETRY = {
  baseMs: 100,
  capMs: 2_000,
  attemptsMax: Number.POSITIVE_INFINITY,
  attemptsMaxAtFirst: Number.POSITIVE_INFINITY,
};

/** A client of one server. */
export class QueratorClient {
  readonly queues: Queues;
  readonly items: StoredItems;
  readonly redrives: Redrives;
  readonly namespaces: Namespaces;
  readonly users: Users;
  readonly keys: Keys;
  readonly roles: Roles;
  readonly bindings: Bindings;
  readonly audit: Audit;
  /** What time it is for the server, in milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds since some moment in the past, for what lasts: setting the time does not move it. */
  readonly steady: () => number;
  readonly #connection: Connection;
  readonly #requestTimeout: Duration;
  readonly #producing: WaitingItems;
  readonly #produces: GatheredKind;
  readonly #repeatableProduces: GatheredKind;
  readonly #gatherers: Gatherers;
  readonly #ends: LeaseEnds;
  readonly #leases: Leases;
  /** For workers; not there if nothing is traced. */
  readonly tracing: Tracing | undefined;

  constructor(options: ClientOptions) {
    checkNames(options, OPTIONS, "a client");
    const { key, headers = {}, requestTimeout = TIMEOUT_MS, timeoutMargin = 5_000 } = options;
    const { namespace } = options;
    const { retry, fetch, waitingItemsMax = 100_000, waitingBytesMax = 64_000_000 } = options;
    this.#requestTimeout = requestTimeout;
    toMs(requestTimeout, "requestTimeout");
    const own = {
      ...(key === undefined ? {} : { key }),
      ...(namespace === undefined ? {} : { namespace }),
    };
    checkHeaders({ ...headers, ...own });
    this.#producing = new WaitingItems(waitingItemsMax, waitingBytesMax);
    this.#produces = producesOf(this.#producing, false);
    this.#repeatableProduces = producesOf(this.#producing, true);
    this.#connection = new Connection({
      urls: urlsOf(options),
      key,
      namespace,
      headers,
      fetch,
      tls: options.tls,
      marginMs: toMs(timeoutMargin, "timeoutMargin"),
      retry: { ...RETRY, ...retry },
      now: options.now,
    });
    const connection = this.#connection;
    this.tracing = options.tracing && new Tracing(options.tracing, () => this.#connection.url);
    this.now = connection.now;
    this.steady = connection.steady;
    this.#gatherers = new Gatherers(connection);
    this.#ends = new LeaseEnds(connection, this.#gatherers, requestTimeout);
    this.#leases = new Leases(connection, (queueName, items) => this.#giveBack(queueName, items));
    this.queues = new Queues(this.#connection);
    this.items = new StoredItems(this.#connection, requestTimeout);
    this.redrives = new Redrives(connection);
    this.namespaces = new Namespaces(connection);
    this.users = new Users(connection);
    this.keys = new Keys(connection);
    this.roles = new Roles(connection);
    this.bindings = new Bindings(connection);
    this.audit = new Audit(connection);
  }

  /**
   * What happens on the server, as it happens, for as long as one reads on: also over a restart of it. What cannot be
   * told any more is told as an event of type `gap`.
   */
  events(options: EventOptions = {}): AsyncGenerator<ServerEvent, void, undefined> {
    return serverEvents(this.#connection, options);
  }

  /** Where the server is; of several addresses the one in use. */
  get url(): string {
    return this.#connection.url.href;
  }

  /**
   * Adds items; resolves when they are durable, with what each of them is from then on. More than 1000 travel
   * in several requests, in order: if one fails the others may be done. It is repeated until its time has passed,
   * under a key by which the server knows it again, so that nothing is there twice.
   */
  produce(queueName: string, item: ProduceItem, options?: ProduceOptions): Promise<ProducedItem>;
  produce(
    queueName: string,
    items: readonly ProduceItem[],
    options?: ProduceOptions,
  ): Promise<readonly ProducedItem[]>;
  async produce(
    queueName: string,
    items: ProduceItem | readonly ProduceItem[],
    options: ProduceOptions = {},
  ): Promise<ProducedItem | readonly ProducedItem[]> {
    this.#connection.checkOpen();
    checkNames(options, OF_PRODUCE, "produce");
    const produced = await this.#produce(queueName, listOf(items), options);
    return Array.isArray(items) ? produced : produced[0]!;
  }

  /**
   * Leases items; waits for the first one up to requestTimeout, and answers none when that has passed.
   * All items are of one partition. If a reply is lost, its items come back when their lease ends.
   */
  async lease(queueName: string, options: LeaseOptions = {}): Promise<LeasedItem[]> {
    const { requestTimeout = this.#requestTimeout } = options;
    this.#connection.checkOpen();
    checkNames(options, OF_LEASE, "lease");
    const { isTraced = true, signal } = options;
    const timeoutMs = toMs(requestTimeout, "requestTimeout");
    const leasing = this.#leases.lease(queueName, timeoutMs, options);
    if (this.tracing === undefined) return leasing;
    return this.tracing.receiving(queueName, leasing, { isHidden: !isTraced, signal });
  }

  /**
   * Ends leased items: they are done. Each by itself, unless `allOrNone`: if some are not leased any more it
   * rejects with the error of the first, whose `failures` are all of them, and the others are done. It is sent
   * again until the outcome is known or the time has passed: requestTimeout if it is given, else the lease of
   * items that were leased. With `produce` all of it is one transaction, and it answers what was produced; a key that
   * is taken (`onDuplicate: "reject"`) is a UniqueKeyTakenError, and nothing is done.
   */
  complete(
    queueName: string,
    items: string | DoneItem | readonly (string | DoneItem)[],
    options: CompleteAndProduceOptions,
  ): Promise<readonly ProducedItem[]>;
  complete(
    queueName: string,
    items: string | DoneItem | readonly (string | DoneItem)[],
    options?: CompleteOptions,
  ): Promise<void>;
  async complete(
    queueName: string,
    items: string | DoneItem | readonly (string | DoneItem)[],
    options: CompleteOptions | CompleteAndProduceOptions = {},
  ): Promise<unknown> {
    this.#connection.checkOpen();
    checkNames(options, OF_COMPLETE, "complete");
    const refs = resultsOf(listOf(items), options);
    if ("produce" in options && options.produce !== undefined) {
      return this.#completeAndProduce(queueName, refs, listOf(options.produce), options);
    }
    await this.#end(this.#ends.complete, queueName, refs, options);
    return undefined;
  }

  /**
   * Gives leased items back to be tried again: at once, at a time or after a delay if it is said, else by their
   * retry settings or those of their queue. It counts as an attempt. Each by itself and sent again, as complete. A
   * queue may end an item as well, by its maxAttempts or expireTimeout: see `onDead`.
   */
  async retry(
    queueName: string,
    items: RetryItem | readonly RetryItem[],
    options: GiveBackOptions = {},
  ): Promise<void> {
    this.#connection.checkOpen();
    checkNames(options, OF_GIVE_BACK, "retry");
    await this.#end(this.#ends.retry, queueName, listOf(items), options);
  }

  /**
   * Gives leased items up: they go to the dead queue, or are gone if the queue has none. Each by itself and
   * sent again, as complete.
   */
  async reject(
    queueName: string,
    items: string | RejectItem | readonly (string | RejectItem)[],
    options: EndOptions = {},
  ): Promise<void> {
    this.#connection.checkOpen();
    checkNames(options, OF_END, "reject");
    await this.#end(this.#ends.reject, queueName, listOf(items), options);
  }

  /**
   * Gives leased items back that nobody has begun: at once, at a time or after a delay, and without
   * counting the attempt. Each by itself and sent again, as complete. Rejects with a ServerError of code
   * `not-implemented` if the server knows /v1 only.
   */
  async release(
    queueName: string,
    items: ReleaseItem | readonly ReleaseItem[],
    options: EndOptions = {},
  ): Promise<void> {
    this.#connection.checkOpen();
    checkNames(options, OF_END, "release");
    await this.#end(this.#ends.release, queueName, listOf(items), options);
  }

  /**
   * Lets leases last for a time from now on, or tells how far the work is, or both; answers when each of them
   * ends. Items that were leased know it as well. Each by itself and sent again, as complete, and durable when it resolves. Rejects with a
   * ServerError of code `not-implemented` if the server knows /v1 only.
   */
  extend(queueName: string, item: string | ExtendItem, options: ExtendOptions): Promise<Date>;
  extend(
    queueName: string,
    items: readonly (string | ExtendItem)[],
    options: ExtendOptions,
  ): Promise<Date[]>;
  async extend(
    queueName: string,
    items: string | ExtendItem | readonly (string | ExtendItem)[],
    options: ExtendOptions,
  ): Promise<Date | Date[]> {
    this.#connection.checkOpen();
    checkNames(options, OF_EXTEND, "extend");
    const refs = listOf(items);
    const extensions = await this.#ends.extend(queueName, refs, options);
    const failures = extensions.flatMap(({ deadline, error }, index) => {
      return deadline === undefined ? [{ index, error }] : [];
    });
    if (failures.length > 0) throw failureOf(failures, refs.length);
    const deadlines = extensions.map(({ deadline }) => deadline!);
    return Array.isArray(items) ? deadlines : deadlines[0]!;
  }

  /** For workers: as extend, but never rejects. What became of each is in the answer. */
  async extendEach(
    queueName: string,
    items: readonly ExtendItem[],
    options: ExtendOptions,
  ): Promise<readonly Extension[]> {
    return this.#ends.extend(queueName, items, options);
  }

  /**
   * Whether the server, and what stands before it, knows /v2: without it there is no `release` and no
   * `extend`. Asks for a queue if that is not known yet; rejects if it cannot be asked.
   */
  async knowsV2(queueName: string): Promise<boolean> {
    if (this.#connection.knowsV2 === undefined) {
      await this.stats(queueName, { timeout: "5s" }).catch((error: unknown) => {
        if (!(error instanceof QueueNotFoundError)) throw error;
      });
    }
    return this.#connection.knowsV2 !== false;
  }

  /** What lies in a queue and what waits for it. */
  async stats(queueName: string, options: CallOptions = {}): Promise<QueueStats> {
    const request = { queue_name: queueName };
    const reply = await once<WireStats>(this.#connection, "queue.stats", request, options, true);
    checkForm(Array.isArray(reply.logical_queues), reply);
    return decodeStats(queueName, reply);
  }

  /** The same of several queues, 100 at most, in their order; those that are not there are left out. */
  async statsOf(
    queueNames: readonly string[],
    options: CallOptions = {},
  ): Promise<readonly QueueStats[]> {
    if (queueNames.length === 0) return [];
    const request = { queue_names: [...queueNames] };
    const reply = await once<WireStatsOfSeveral>(
      this.#connection,
      "queue.stats",
      request,
      options,
      true,
    );
    checkForm(Array.isArray(reply.queues), reply);
    return decodeStatsOfSeveral(reply);
  }

  /** What the server holds and does at this moment: for who looks for what is wrong. */
  dump(options: DumpOptions = {}): Promise<ServerDump> {
    return dump(this.#connection, options);
  }

  /** Removes items: what waits (`queue`), what is `scheduled`, with `destructive` what is leased too. */
  async clear(queueName: string, options: ClearOptions): Promise<void> {
    const { queue = false, scheduled = false, destructive = false } = options;
    const request = { queue_name: queueName, queue, scheduled, destructive };
    await confirmed(this.#connection, "queue.clear", request, options);
  }

  /** What lies in a dead queue, grouped by what died alike: the largest groups first. */
  deadGroups(queueName: string, options: DeadGroupsOptions = {}): Promise<DeadGroups> {
    return deadGroups(this.#connection, queueName, options);
  }

  /**
   * Begins to move what lies in a dead queue back to where it came from, or to another queue; answers with the
   * redrive as it is then. The server goes on with it, also after a restart: see `redrives`.
   */
  redrive(queueName: string, options: RedriveOptions = {}): Promise<Redrive> {
    return this.redrives.start(queueName, options);
  }

  /** Lets the server read the state of a queue anew from its storage. */
  async reload(queueName: string, options: CallOptions = {}): Promise<void> {
    await confirmed(this.#connection, "queue.reload", { queue_name: queueName }, options, true);
  }

  /**
   * Calls a handler for each item of a queue, with several at the same time. It starts at once, and goes
   * on until it is closed, whatever happens to the connection.
   */
  worker<T = undefined>(
    queue: string | QueueDefinition<never, T>,
    handler: BatchHandler<T>,
    options: BatchOptions,
  ): Worker<T>;
  worker<T = undefined, Result = unknown>(
    queue: string | QueueDefinition<never, T, Result, unknown>,
    handler: Handler<T, NoInfer<Result>>,
    options?: WorkerOptions,
  ): Worker<T>;
  worker<T>(
    queue: string | QueueDefinition<never, T>,
    handler: Handler<T> | BatchHandler<T>,
    options: WorkerOptions & { readonly batch?: number } = {},
  ): Worker<T> {
    const isBatch = options.batch !== undefined;
    const handle = isBatch
      ? (handler as BatchHandler<T>)
      : ([item]: readonly WorkItem<T>[], context: HandlerContext) =>
          (handler as Handler<T>)(item!, context);
    return new Worker(this, queue, handle, options);
  }

  /**
   * The items of a queue, one after the other, without end: `for await (const item of ...)`. Going on to
   * the next completes the one before; leaving the loop gives back what was not completed.
   */
  consume<T = undefined>(
    queue: string | QueueDefinition<never, T>,
    options: ConsumeOptions = {},
  ): AsyncGenerator<ConsumedItem<T>, void, undefined> {
    const definition = typeof queue === "string" ? untyped(queue) : queue;
    return consume(this, definition as QueueDefinition<never, T>, options);
  }

  /** A queue whose items have types. */
  queue<In, Out, ResultIn = unknown, ResultOut = ResultIn>(
    definition: QueueDefinition<In, Out, ResultIn, ResultOut>,
  ): TypedQueue<In, Out, ResultIn, ResultOut> {
    return new TypedQueue(this, definition, (encoding, options) =>
      this.#connection.begin(async () => this.#produce(definition.name, await encoding(), options)),
    );
  }

  /**
   * Any call of the API as docs/PROTOCOL.md has it, for what the methods leave out: `path` is what follows
   * /v2/, or begins with its version as in `v1/queue.lease`; request and reply are the JSON as it travels, a request
   * that is a text goes as it stands. Repeated as a call that changes something, unless `isRepeatable`.
   */
  async call<T = unknown>(
    path: string,
    request: object | string,
    options: RawCallOptions = {},
  ): Promise<T> {
    const { isRepeatable = false, isExact = false, signal, timeout = TIMEOUT_MS } = options;
    const { idempotencyKey: key } = options;
    if (!/^[!-~]+$/.test(path)) {
      const text = `path is invalid; got '${path}', use a form such as 'queue.stats'`;
      throw new InvalidRequestError("invalid", text);
    }
    this.#connection.checkOpen();
    const body = typeof request === "string" ? request : JSON.stringify(request);
    const timeoutMs = toMs(timeout, "timeout");
    const call = { path, body, timeoutMs, isRepeatable, key, signal };
    return parseReply<T & object>(await this.#connection.call(call), isExact);
  }

  /** How the server is; also `fail` is an answer. */
  async health({ signal, timeout = TIMEOUT_MS }: CallOptions = {}): Promise<Health> {
    const body = await this.#connection.health(toMs(timeout, "timeout"), signal);
    const health = parseReply<Health>(body);
    checkForm(["pass", "warn", "fail"].includes(health.status), health);
    return health;
  }

  /**
   * Ends the client: leases that wait reject with a ClosedError, other calls under way are waited for, then
   * connections are closed. What has not ended when the time has passed rejects with a ClosedError too.
   * Close workers before.
   */
  async close({ timeoutMs = CLOSE_TIMEOUT_MS }: CloseOptions = {}): Promise<void> {
    this.#connection.startClosing();
    const late = Promise.withResolvers<void>();
    const timer = startTimer(late.resolve, timeoutMs);
    await Promise.race([this.#whenIdle(), late.promise]);
    clearTimeout(timer);
    this.#connection.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // --- inside ---

  async #whenIdle(): Promise<void> {
    await this.#connection.whenIdle();
    await this.#leases.whenIdle();
    await Promise.all([this.#producing.whenEmpty(), this.#ends.whenIdle()]);
  }

  #end<T extends string | ItemRef>(
    kind: EndKind<T>,
    queueName: string,
    refs: readonly T[],
    options: GiveBackOptions,
  ): Promise<void> {
    const { tracing } = this;
    const end = (): Promise<void> => this.#ends.end(kind, queueName, refs, options);
    if (tracing === undefined || refs.length === 0) return end();
    return tracing.settling(kind.verb, queueName, refs, end);
  }

  #completeAndProduce(
    queueName: string,
    refs: readonly (string | DoneItem)[],
    given: readonly NextItems[],
    options: CompleteOptions,
  ): Promise<readonly ProducedItem[]> {
    const { tracing } = this;
    const complete = (next: readonly NextItems[]): Promise<readonly ProducedItem[]> =>
      this.#ends.completeAndProduce(queueName, refs, next, options);
    if (tracing === undefined) return complete(given);
    return tracing.settling("complete", queueName, refs, () =>
      tracing.sendingNext(queueName, given, complete),
    );
  }

  #produce(
    queueName: string,
    items: readonly ProduceItem[],
    options: ProduceOptions,
  ): Promise<readonly ProducedItem[]> {
    const { tracing } = this;
    if (tracing === undefined || items.length === 0) return this.#send(queueName, items, options);
    return tracing.sending(queueName, items, (traced) => this.#send(queueName, traced, options));
  }

  // Also for a client that is closing, if it was begun before.
  async #send(
    queueName: string,
    items: readonly ProduceItem[],
    options: ProduceOptions,
  ): Promise<readonly ProducedItem[]> {
    const { requestTimeout = this.#requestTimeout, signal, onRepeat } = options;
    const { mayRepeat = false, allOrNone = false, idempotencyKey: key } = options;
    const kind = mayRepeat ? this.#repeatableProduces : this.#produces;
    const parts: Part[] = [];
    for (const item of items) {
      const json = encodeItem(item);
      parts.push({ leaseId: undefined, json, bytes: utf8LengthMax(json) });
    }
    if (parts.length === 0) return [];
    const until = performance.now() + toMs(requestTimeout, "requestTimeout");
    if (allOrNone) {
      const how = { requestTimeout, until, signal, onRepeat, key };
      return produceWhole(
        this.#connection,
        queueName,
        parts.map(({ json }) => json),
        how,
      );
    }
    const gatherer =
      key === undefined
        ? this.#gatherers.of(kind, queueName, requestTimeout)
        : this.#gatherers.keyed(kind, queueName, requestTimeout, key);
    const results = await gatherer.add(parts, { until, signal, onRepeat });
    return results.length > 0 ? (results as readonly ProducedItem[]) : items.map(() => NOT_TOLD);
  }

  // Also for a client that is closing: what it has leased last goes back, uncounted if the server can.
  async #giveBack(queueName: string, items: readonly LeasedItem[]): Promise<void> {
    try {
      await this.#ends.end(this.#ends.release, queueName, items, {});
    } catch (error) {
      if (!isNotImplemented(error)) throw error;
      await this.#ends.end(this.#ends.retry, queueName, items, {});
    }
  }
}

function producesOf(waiting: WaitingItems, isRepeatable: boolean): GatheredKind {
  return {
    path: "queue.produce",
    list: "items",
    bytesMax: PRODUCE_BYTES_MAX,
    isRepeatable,
    isKeyed: !isRepeatable,
    sendsLate: false,
    waiting,
  };
}

// Each with its own result, or that of all.
function resultsOf(
  refs: readonly (string | DoneItem)[],
  { result }: CompleteOptions,
): readonly (string | DoneItem)[] {
  if (result === undefined) return refs;
  return refs.map((ref) => {
    if (typeof ref === "string") return { leaseId: ref, result };
    const { leaseId, leaseDeadlineMs = 0, result: own = result } = ref;
    return { leaseId, leaseDeadlineMs, result: own };
  });
}

function listOf<T extends object | string>(items: T | readonly T[]): readonly T[] {
  return Array.isArray(items) ? (items as readonly T[]) : [items as T];
}
