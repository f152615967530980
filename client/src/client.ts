// The client: one method for each call of the server. Calls of produce, complete and retry that are made
// at the same time travel together, and so do leases; each caller sees only its own result. A client
// keeps connections but no state of queues, and can be used by a whole program.

import { utf8LengthMax } from "./bytes.ts";
import { type CallOptions, checkForm, confirmed, once, parseReply, TIMEOUT_MS } from "./call.ts";
import type {
  ClearOptions,
  ClientOptions,
  CloseOptions,
  GiveBackOptions,
  Health,
  HotOptions,
  LeaseOptions,
  ProduceOptions,
} from "./client-options.ts";
import { Connection } from "./connection.ts";
import { type ConsumedItem, type ConsumeOptions, consume } from "./consumer.ts";
import { type Duration, toMs } from "./duration.ts";
import { InvalidRequestError, isUnknownPath } from "./errors.ts";
import { type CallerOptions, type Part, WaitingItems } from "./gatherer.ts";
import { type GatheredKind, Gatherers } from "./gatherers.ts";
import {
  encodeItem,
  encodeRelease,
  encodeRetry,
  encodeRetryLease,
  type ItemRef,
  type LeasedItem,
  type ProduceItem,
  type ReleaseItem,
  type RetryItem,
} from "./items.ts";
import { Leases } from "./leases.ts";
import { type QueueDefinition, untyped } from "./queue-definition.ts";
import { Queues } from "./queues.ts";
import { decodeStats, type QueueStats, type WireStats } from "./stats.ts";
import { ScheduledItems, StoredItems } from "./stored-items.ts";
import { startTimer } from "./timer.ts";
import { TypedQueue } from "./typed-queue.ts";
import type { HandlerContext, WorkItem } from "./work-item.ts";
import { Worker } from "./worker.ts";
import type { BatchHandler, BatchOptions, Handler, WorkerOptions } from "./worker-options.ts";

// How long a server, or a proxy before it, that refused what is not of /v1 is not asked for it again.
const BELIEVED_MS = 60_000;
// Below the limits of a request's body, by more than what stands around the items.
const PRODUCE_BYTES_MAX = 4_990_000;
const ENDING_BYTES_MAX = 246_000;
const CLOSE_TIMEOUT_MS = 30_000;

// For as long as the time of a call lasts: a server that comes back is found within two seconds.
const RETRY = {
  baseMs: 100,
  capMs: 2_000,
  attemptsMax: Number.POSITIVE_INFINITY,
  attemptsMaxAtFirst: Number.POSITIVE_INFINITY,
};

/** A kind of call that ends leased items. */
interface EndingKind<T> extends GatheredKind {
  readonly encode: (ref: T) => string;
}

interface EndOptions extends Omit<CallerOptions, "until"> {
  /** Of those that do not say it themselves. */
  readonly partition: number;
  /** Of one request; until it has passed it is repeated, if `isUntilThen`, else until the lease has ended. */
  readonly requestTimeout: Duration;
  readonly isUntilThen: boolean;
}

/** A client of one server. */
export class QueratorClient {
  readonly queues: Queues;
  readonly items: StoredItems;
  readonly scheduled: ScheduledItems;
  /** What time it is for the server, in milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds since some moment in the past, for what lasts: setting the time does not move it. */
  readonly steady: () => number;
  readonly #connection: Connection;
  readonly #requestTimeout: Duration;
  readonly #producing: WaitingItems;
  // What is leased is bounded by those who leased it: its end is never refused, or it would be done twice.
  readonly #ending = new WaitingItems(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  readonly #produces: GatheredKind;
  readonly #repeatableProduces: GatheredKind;
  readonly #completes: EndingKind<string | ItemRef> = {
    path: "queue.complete",
    bytesMax: ENDING_BYTES_MAX,
    head: (partition, timeout) => `"partition":${partition},"request_timeout":"${timeout}","ids":`,
    isRepeatable: true,
    sendsLate: true,
    waiting: this.#ending,
    encode: (ref) => JSON.stringify(typeof ref === "string" ? ref : ref.id),
  };
  // Under /v2 the reply tells which items are dead.
  readonly #retries: EndingKind<RetryItem> = {
    path: "v2/queue.retry",
    bytesMax: ENDING_BYTES_MAX,
    head: (partition) => `"partition":${partition},"leases":`,
    isRepeatable: true,
    sendsLate: true,
    waiting: this.#ending,
    encode: encodeRetryLease,
    deadOf,
  };
  readonly #oldRetries: EndingKind<RetryItem> = {
    path: "queue.retry",
    bytesMax: ENDING_BYTES_MAX,
    head: (partition) => `"partition":${partition},"items":`,
    isRepeatable: true,
    sendsLate: true,
    waiting: this.#ending,
    encode: (item) => encodeRetry(item, this.now()),
  };
  readonly #releases: EndingKind<ReleaseItem> = {
    path: "v2/queue.release",
    bytesMax: ENDING_BYTES_MAX,
    head: (partition, timeout) =>
      `"partition":${partition},"request_timeout":"${timeout}","leases":`,
    isRepeatable: true,
    sendsLate: true,
    waiting: this.#ending,
    encode: encodeRelease,
  };
  readonly #gatherers: Gatherers;
  readonly #leases: Leases;
  // Whether the server has what goes beyond /v1, as far as it is known. That it has not is believed for a
  // while, by performance.now(): another may answer then, or a proxy let more pass.
  #hasV2: boolean | undefined;
  #askAgainAt = 0;

  constructor(options: ClientOptions) {
    const { key, headers = {}, requestTimeout = TIMEOUT_MS, timeoutMargin = 5_000 } = options;
    const { retry, fetch, waitingItemsMax = 100_000, waitingBytesMax = 64_000_000 } = options;
    this.#requestTimeout = requestTimeout;
    toMs(requestTimeout, "requestTimeout");
    checkHeaders({ ...headers, ...(key === undefined ? {} : { key }) });
    this.#producing = new WaitingItems(waitingItemsMax, waitingBytesMax);
    this.#produces = producesOf(this.#producing, false);
    this.#repeatableProduces = producesOf(this.#producing, true);
    this.#connection = new Connection({
      urls: urlsOf(options),
      key,
      headers,
      fetch,
      marginMs: toMs(timeoutMargin, "timeoutMargin"),
      retry: { ...RETRY, ...retry },
    });
    const connection = this.#connection;
    this.now = options.now ?? (() => Date.now() + connection.aheadMs);
    this.steady = options.now ?? (() => performance.now());
    this.#gatherers = new Gatherers(connection);
    this.#leases = new Leases(connection, (queueName, items) => this.#giveBack(queueName, items));
    this.queues = new Queues(this.#connection);
    this.items = new StoredItems(this.#connection);
    this.scheduled = new ScheduledItems(this.#connection);
  }

  /** Where the server is; of several addresses the one in use. */
  get url(): string {
    return this.#connection.url.href;
  }

  /**
   * Adds items; resolves when they are durable. More than 1000 travel in several requests, in order: if
   * one fails the others may be done. Repeated only if it was surely not done, unless `mayRepeat`.
   */
  async produce(
    queueName: string,
    items: ProduceItem | readonly ProduceItem[],
    options: ProduceOptions = {},
  ): Promise<void> {
    this.#connection.checkOpen();
    await this.#produce(queueName, items, options);
  }

  /**
   * Leases items; waits for the first one up to requestTimeout, and answers none when that has passed.
   * All items are of one partition. If a reply is lost, its items come back when their lease ends.
   */
  async lease(queueName: string, options: LeaseOptions = {}): Promise<LeasedItem[]> {
    const { requestTimeout = this.#requestTimeout } = options;
    this.#connection.checkOpen();
    return this.#leases.lease(queueName, toMs(requestTimeout, "requestTimeout"), options);
  }

  /**
   * Ends leased items: they are done. All of them or, if one is not leased any more, none; more than 1000
   * travel in several requests, for each of which this holds. It is sent again until the outcome is known
   * or the time has passed: requestTimeout if it is given, else the lease of items that were leased.
   */
  async complete(
    queueName: string,
    items: string | ItemRef | readonly (string | ItemRef)[],
    options: HotOptions & { readonly partition?: number | undefined } = {},
  ): Promise<void> {
    const { requestTimeout = this.#requestTimeout, partition = 0, ...rest } = options;
    this.#connection.checkOpen();
    const isUntilThen = options.requestTimeout !== undefined;
    const how = { ...rest, partition, requestTimeout, isUntilThen };
    await this.#end(this.#completes, queueName, listOf(items), how);
  }

  /**
   * Gives leased items back: at once, at a time, or to the dead queue. All or none, and sent again, as
   * complete. A queue may end an item as well, by its maxAttempts or expireTimeout: see `onDead`.
   */
  async retry(
    queueName: string,
    items: RetryItem | readonly RetryItem[],
    options: GiveBackOptions = {},
  ): Promise<void> {
    this.#connection.checkOpen();
    await this.#retry(queueName, items, options);
  }

  /**
   * Gives leased items back that nobody has begun: at once, at a time or after a delay, and without
   * counting the attempt. All or none, as complete. Rejects with a ServerError of code `not-implemented`
   * if the server knows /v1 only.
   */
  async release(
    queueName: string,
    items: ReleaseItem | readonly ReleaseItem[],
    options: GiveBackOptions = {},
  ): Promise<void> {
    this.#connection.checkOpen();
    await this.#release(queueName, items, options);
  }

  /**
   * Whether the server has `release`: one that knows /v1 only has not. Rejects if it cannot be asked.
   */
  async canRelease(queueName: string): Promise<boolean> {
    if (this.#knowsV2 === undefined) {
      // Refused for want of leases, by a server that has it.
      const request = { queue_name: queueName, leases: [] };
      const options = { timeout: "5s" };
      try {
        await once(this.#connection, "v2/queue.release", request, options, true);
        this.#hasV2 = true;
      } catch (error) {
        if (error instanceof InvalidRequestError) this.#hasV2 = true;
        else this.#noteUnknown(error);
      }
    }
    return this.#knowsV2 === true;
  }

  /** What lies in a queue and what waits for it. */
  async stats(queueName: string, options: CallOptions = {}): Promise<QueueStats> {
    const reply = await this.#stats({ queue_name: queueName }, options);
    checkForm(Array.isArray(reply.logicalQueues), reply);
    return decodeStats(queueName, reply);
  }

  /** Removes items: what waits (`queue`), what is `scheduled`, with `destructive` what is leased too. */
  async clear(queueName: string, options: ClearOptions): Promise<void> {
    const { queue = false, scheduled = false, destructive = false } = options;
    const request = { queue_name: queueName, queue, scheduled, destructive };
    await confirmed(this.#connection, "queue.clear", request, options);
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
  worker<T = undefined>(
    queue: string | QueueDefinition<never, T>,
    handler: Handler<T>,
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
  queue<In, Out>(definition: QueueDefinition<In, Out>): TypedQueue<In, Out> {
    return new TypedQueue(this, definition, (encoding, options) =>
      this.#connection.begin(async () => this.#produce(definition.name, await encoding(), options)),
    );
  }

  /**
   * Any call of the API as docs/PROTOCOL.md has it, for what the methods leave out: `path` is what follows
   * /v1/, or begins with its version as in `v2/storage/items.import`; request and reply are the JSON as it travels. Repeated as a call that changes something, unless
   * `isRepeatable`.
   */
  async call<T = unknown>(
    path: string,
    request: object,
    options: CallOptions & { readonly isRepeatable?: boolean | undefined } = {},
  ): Promise<T> {
    const { isRepeatable = false } = options;
    if (!/^[!-~]+$/.test(path)) {
      const text = `path is invalid; got '${path}', use a form such as 'queue.stats'`;
      throw new InvalidRequestError("invalid", text);
    }
    return (await once(this.#connection, path, request, options, isRepeatable)) as T;
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
    await Promise.all([this.#producing.whenEmpty(), this.#ending.whenEmpty()]);
  }

  // Also for a client that is closing, if it was begun before.
  #produce(
    queueName: string,
    items: ProduceItem | readonly ProduceItem[],
    { requestTimeout = this.#requestTimeout, mayRepeat = false, signal, onRepeat }: ProduceOptions,
  ): Promise<void> {
    const kind = mayRepeat ? this.#repeatableProduces : this.#produces;
    const parts: Part[] = [];
    for (const item of listOf(items)) parts.push(partOf(encodeItem(item)));
    if (parts.length === 0) return Promise.resolve();
    const until = performance.now() + toMs(requestTimeout, "requestTimeout");
    const gatherer = this.#gatherers.of(kind, queueName, 0, requestTimeout);
    return gatherer.add(parts, { until, signal, onRepeat });
  }

  // A server that knows /v1 only counts less.
  async #stats(request: object, options: CallOptions): Promise<WireStats> {
    if (this.#knowsV2 !== false) {
      try {
        return await once<WireStats>(this.#connection, "v2/queue.stats", request, options, true);
      } catch (error) {
        this.#noteUnknown(error);
      }
    }
    return once<WireStats>(this.#connection, "queue.stats", request, options, true);
  }

  // Also for a client that is closing: what it has leased last goes back, uncounted if the server can.
  async #giveBack(queueName: string, items: readonly LeasedItem[]): Promise<void> {
    if (this.#knowsV2 !== false) {
      try {
        await this.#release(queueName, items);
        return;
      } catch (error) {
        this.#noteUnknown(error);
      }
    }
    await this.#retry(queueName, items);
  }

  async #release(
    queueName: string,
    items: ReleaseItem | readonly ReleaseItem[],
    { partition = 0, ...rest }: GiveBackOptions = {},
  ): Promise<void> {
    const how = { ...rest, partition, requestTimeout: TIMEOUT_MS, isUntilThen: false };
    await this.#end(this.#releases, queueName, listOf(items), how);
    this.#hasV2 = true;
  }

  get #knowsV2(): boolean | undefined {
    if (this.#hasV2 === false && performance.now() >= this.#askAgainAt) this.#hasV2 = undefined;
    return this.#hasV2;
  }

  // A server that knows /v1 only has done nothing, nor has a proxy that lets no more pass. Throws all else.
  #noteUnknown(error: unknown): void {
    if (!isUnknownPath(error)) throw error;
    this.#hasV2 = false;
    this.#askAgainAt = performance.now() + BELIEVED_MS;
  }

  // The same as an attempt.
  async #retry(
    queueName: string,
    items: RetryItem | readonly RetryItem[],
    { partition = 0, ...rest }: GiveBackOptions = {},
  ): Promise<void> {
    const how = { ...rest, partition, requestTimeout: TIMEOUT_MS, isUntilThen: false };
    const refs = listOf(items);
    if (this.#knowsV2 !== false) {
      try {
        await this.#end(this.#retries, queueName, refs, how);
        this.#hasV2 = true;
        return;
      } catch (error) {
        // What was done for other partitions all the same is passed over below.
        this.#noteUnknown(error);
      }
    }
    await this.#end(this.#oldRetries, queueName, refs, how);
  }

  // Until when the end of leased items is sent again, by performance.now(): until the last of their leases
  // has ended, if they say when that is.
  #untilOf(
    refs: readonly (string | ItemRef)[],
    requestTimeout: Duration,
    isUntilThen: boolean,
  ): number {
    let deadlineMs = 0;
    if (!isUntilThen) {
      for (const ref of refs) {
        if (typeof ref !== "string") deadlineMs = Math.max(deadlineMs, ref.leaseDeadlineMs ?? 0);
      }
    }
    if (deadlineMs > 0) return performance.now() + deadlineMs - this.now();
    return performance.now() + toMs(requestTimeout, "requestTimeout");
  }

  // Ends leased items, those of each partition together.
  #end<T extends string | ItemRef>(
    kind: EndingKind<T>,
    queueName: string,
    refs: readonly T[],
    { partition, requestTimeout, isUntilThen, ...rest }: EndOptions,
  ): Promise<void> {
    const until = this.#untilOf(refs, requestTimeout, isUntilThen);
    const options: CallerOptions = { ...rest, until };
    const partitionOf = (ref: T): number =>
      typeof ref === "string" ? partition : (ref.partition ?? partition);
    const partsOf = (some: readonly T[]): Part[] => {
      const parts: Part[] = [];
      for (const ref of some) {
        parts.push(partOf(kind.encode(ref), typeof ref === "string" ? ref : ref.id));
      }
      return parts;
    };
    const end = (number: number, parts: readonly Part[]): Promise<void> =>
      this.#gatherers.of(kind, queueName, number, requestTimeout).add(parts, options);
    if (refs.length === 0) return Promise.resolve();
    const first = partitionOf(refs[0]!);
    if (refs.every((ref) => partitionOf(ref) === first)) return end(first, partsOf(refs));
    // All of them are looked at before the first is sent.
    const groups = [...Map.groupBy(refs, partitionOf)].map(
      ([number, some]) => [number, partsOf(some)] as const,
    );
    return Promise.all(groups.map(([number, parts]) => end(number, parts))).then(() => undefined);
  }
}

function urlsOf({ url, urls }: ClientOptions): readonly URL[] {
  if (urls === undefined) return [parseUrl(url, "url")];
  if (url !== undefined) throw new InvalidRequestError("invalid", "give either url or urls");
  if (!Array.isArray(urls) || urls.length === 0) {
    throw new InvalidRequestError("invalid", "urls is invalid; it must be a list of one or more");
  }
  return urls.map((each: string | URL, i) => parseUrl(each, `urls[${i}]`));
}

function parseUrl(url: string | URL | undefined, what: string): URL {
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol)) return parsed;
  const text = `${what} is invalid; got '${url}', use a form such as 'http://localhost:2319'`;
  throw new InvalidRequestError("invalid", text);
}

function producesOf(waiting: WaitingItems, isRepeatable: boolean): GatheredKind {
  return {
    path: "queue.produce",
    bytesMax: PRODUCE_BYTES_MAX,
    head: (_, timeout) => `"request_timeout":"${timeout}","items":`,
    isRepeatable,
    sendsLate: false,
    waiting,
  };
}

function deadOf(body: string): readonly number[] {
  const reply = parseReply<{ results?: readonly { dead?: boolean }[] }>(body);
  const { results } = reply;
  checkForm(Array.isArray(results), reply);
  const dead: number[] = [];
  for (const [i, each] of results!.entries()) if (each.dead === true) dead.push(i);
  return dead;
}

function listOf<T extends object | string>(items: T | readonly T[]): readonly T[] {
  return Array.isArray(items) ? (items as readonly T[]) : [items as T];
}

function partOf(json: string, id?: string): Part {
  return { id, json, bytes: utf8LengthMax(json) };
}

// They would say where a request ends, or what becomes of its connection.
const OF_A_CONNECTION =
  /^(connection|content-length|expect|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade)$/i;

// Found out now, and not with every call.
function checkHeaders(headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) {
      const text = `headers is invalid; '${name}' cannot be the name of a header`;
      throw new InvalidRequestError("invalid", text);
    }
    if (OF_A_CONNECTION.test(name)) {
      const text = `headers is invalid; '${name}' is about the connection, which is the client's own`;
      throw new InvalidRequestError("invalid", text);
    }
    if (/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) continue;
    const what = name === "key" ? "key" : `headers['${name}']`;
    const text = `${what} is invalid; it holds characters that a header cannot carry`;
    throw new InvalidRequestError("invalid", text);
  }
}
