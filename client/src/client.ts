// The client: one method for each call of the server. Calls of produce, complete and retry that are made
// at the same time travel together, and so do leases; each caller sees only its own result. A client
// keeps connections but no state of queues, and can be used by a whole program.

import { utf8LengthMax } from "./bytes.ts";
import { type CallOptions, once, parseReply, TIMEOUT_MS } from "./call.ts";
import type {
  ClearOptions,
  ClientOptions,
  Health,
  HotOptions,
  LeaseOptions,
  ProduceOptions,
} from "./client-options.ts";
import { Connection } from "./connection.ts";
import { type ConsumedItem, type ConsumeOptions, consume } from "./consumer.ts";
import { type Duration, toMs, toText } from "./duration.ts";
import { ClosedError, InvalidRequestError, QueratorError } from "./errors.ts";
import { Gatherer, type Part, WaitingItems } from "./gatherer.ts";
import {
  encodeItem,
  encodeRetry,
  type ItemRef,
  LeasedItem,
  type ProduceItem,
  type RetryItem,
  type WireLeasedItem,
} from "./items.ts";
import { type QueueDefinition, untyped } from "./queue-definition.ts";
import { Queues } from "./queues.ts";
import { SharedLeases } from "./shared-leases.ts";
import { decodeStats, type QueueStats, type WireStats } from "./stats.ts";
import { ScheduledItems, StoredItems } from "./stored-items.ts";
import { TypedQueue } from "./typed-queue.ts";
import type { HandlerContext, WorkItem } from "./work-item.ts";
import { Worker } from "./worker.ts";
import type { BatchHandler, BatchOptions, Handler, WorkerOptions } from "./worker-options.ts";

const BATCH_MAX = 1_000;
// Below the limits of a request's body, by more than what stands around the items.
const PRODUCE_BYTES_MAX = 4_990_000;
const ENDING_BYTES_MAX = 246_000;
// Gatherers that are kept although they are idle; beyond it those that are not used go.
const GATHERERS_KEPT = 1_000;

/** A client of one server. */
export class QueratorClient {
  readonly queues: Queues;
  readonly items: StoredItems;
  readonly scheduled: ScheduledItems;
  /** What time it is, in milliseconds since 1970. */
  readonly now: () => number;
  readonly #connection: Connection;
  readonly #requestTimeout: Duration;
  readonly #waiting: WaitingItems;
  readonly #gatherers = new Map<string, Gatherer>();
  readonly #leases = new Map<string, SharedLeases>();
  readonly #clientIds = crypto.randomUUID();
  #leaseCount = 0;
  // Aborts leases that wait, when the client is closed.
  readonly #closing = new AbortController();

  constructor(options: ClientOptions) {
    const { key, headers = {}, requestTimeout = TIMEOUT_MS, timeoutMargin = 5_000 } = options;
    const { retry, fetch, waitingItemsMax = 100_000, waitingBytesMax = 64_000_000 } = options;
    this.#requestTimeout = requestTimeout;
    this.now = options.now ?? Date.now;
    toMs(requestTimeout, "requestTimeout");
    this.#waiting = new WaitingItems(waitingItemsMax, waitingBytesMax);
    this.#connection = new Connection({
      url: parseUrl(options.url),
      key,
      headers,
      fetch,
      marginMs: toMs(timeoutMargin, "timeoutMargin"),
      retry: { attemptsMax: 8, baseMs: 100, capMs: 5_000, ...retry },
    });
    this.queues = new Queues(this.#connection);
    this.items = new StoredItems(this.#connection);
    this.scheduled = new ScheduledItems(this.#connection);
  }

  /** Where the server is. */
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
    { signal, requestTimeout = this.#requestTimeout, mayRepeat = false }: ProduceOptions = {},
  ): Promise<void> {
    const parts = listOf(items).map((item) => partOf(encodeItem(item)));
    if (parts.length === 0) return;
    const timeout = toText(requestTimeout, "requestTimeout");
    const key = `produce ${mayRepeat} ${timeout} ${queueName}`;
    const head = `{"queue_name":${JSON.stringify(queueName)},"request_timeout":"${timeout}","items":[`;
    await this.#gather(key, {
      path: "queue.produce",
      bytesMax: PRODUCE_BYTES_MAX,
      bodyOf: (list) => `${head}${list}]}`,
      timeoutMs: toMs(requestTimeout, "requestTimeout"),
      isRepeatable: mayRepeat,
    }).add(parts, signal);
  }

  /**
   * Leases items; waits for the first one up to requestTimeout, and answers none when that has passed.
   * All items are of one partition. If a reply is lost, its items come back when their lease ends.
   */
  async lease(queueName: string, options: LeaseOptions = {}): Promise<LeasedItem[]> {
    const { batchSize = 1, clientId, signal, requestTimeout = this.#requestTimeout } = options;
    const { isShared = clientId === undefined } = options;
    this.#checkOpen();
    const timeoutMs = toMs(requestTimeout, "requestTimeout");
    if (clientId === undefined && isShared) {
      return this.#sharedLeases(queueName, timeoutMs).lease(batchSize, timeoutMs, signal);
    }
    return this.#lease({ queueName, batchSize, timeoutMs, clientId, signal });
  }

  /** Ends leased items: they are done. All of them or, if one is not leased any more, none. */
  async complete(
    queueName: string,
    items: string | ItemRef | readonly (string | ItemRef)[],
    options: HotOptions & { readonly partition?: number | undefined } = {},
  ): Promise<void> {
    const { signal, requestTimeout = this.#requestTimeout, partition = 0 } = options;
    const timeout = toText(requestTimeout, "requestTimeout");
    const timeoutMs = toMs(requestTimeout, "requestTimeout");
    const refs = listOf(items).map((item) => (typeof item === "string" ? { id: item } : item));
    await this.#end(refs, partition, (number) => {
      const head = `{"queue_name":${JSON.stringify(queueName)},"partition":${number},"request_timeout":"${timeout}","ids":[`;
      const gatherer = this.#gather(`complete ${number} ${timeout} ${queueName}`, {
        path: "queue.complete",
        bytesMax: ENDING_BYTES_MAX,
        bodyOf: (list) => `${head}${list}]}`,
        timeoutMs,
        isRepeatable: true,
      });
      return (some) =>
        gatherer.add(
          some.map(({ id }) => partOf(JSON.stringify(id), id)),
          signal,
        );
    });
  }

  /** Gives leased items back: at once, at a time, or to the dead queue. All or none, as complete. */
  async retry(
    queueName: string,
    items: RetryItem | readonly RetryItem[],
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly partition?: number | undefined;
    } = {},
  ): Promise<void> {
    const { signal, partition = 0 } = options;
    await this.#end(listOf(items), partition, (number) => {
      const head = `{"queue_name":${JSON.stringify(queueName)},"partition":${number},"items":[`;
      const gatherer = this.#gather(`retry ${number} ${queueName}`, {
        path: "queue.retry",
        bytesMax: ENDING_BYTES_MAX,
        bodyOf: (list) => `${head}${list}]}`,
        timeoutMs: TIMEOUT_MS,
        isRepeatable: true,
      });
      return (some) =>
        gatherer.add(
          some.map((item) => partOf(encodeRetry(item), item.id)),
          signal,
        );
    });
  }

  /** What lies in a queue and what waits for it. */
  async stats(queueName: string, options: CallOptions = {}): Promise<QueueStats> {
    const request = { queue_name: queueName };
    const reply = await once<WireStats>(this.#connection, "queue.stats", request, options, true);
    return decodeStats(queueName, reply);
  }

  /** Removes items: what waits (`queue`), what is `scheduled`, with `destructive` what is leased too. */
  async clear(queueName: string, options: ClearOptions): Promise<void> {
    const { queue = false, scheduled = false, destructive = false } = options;
    const request = { queue_name: queueName, queue, scheduled, destructive };
    await once(this.#connection, "queue.clear", request, options);
  }

  /** Lets the server read the state of a queue anew from its storage. */
  async reload(queueName: string, options: CallOptions = {}): Promise<void> {
    await once(this.#connection, "queue.reload", { queue_name: queueName }, options, true);
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
    return new TypedQueue(this, definition);
  }

  /**
   * Any call of the API as docs/PROTOCOL.md has it, for what the methods leave out: `path` is what follows
   * /v1/, request and reply are the JSON as it travels. Repeated as a call that changes something, unless
   * `isRepeatable`.
   */
  async call<T = unknown>(
    path: string,
    request: object,
    options: CallOptions & { readonly isRepeatable?: boolean | undefined } = {},
  ): Promise<T> {
    const { isRepeatable = false } = options;
    return once<T>(this.#connection, path, request, options, isRepeatable);
  }

  /** How the server is; also `fail` is an answer. */
  async health({ signal, timeout = TIMEOUT_MS }: CallOptions = {}): Promise<Health> {
    return parseReply(await this.#connection.health(toMs(timeout, "timeout"), signal));
  }

  /**
   * Ends the client: leases that wait reject with a ClosedError, calls under way are waited for, then
   * connections are closed. Close workers before.
   */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort(new ClosedError("closed", "The client has been closed"));
    }
    await this.#waiting.whenEmpty();
    this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
  // --- inside ---

  #gather(
    key: string,
    request: {
      readonly path: string;
      readonly bytesMax: number;
      readonly bodyOf: (items: string) => string;
      readonly timeoutMs: number;
      readonly isRepeatable: boolean;
    },
  ): Gatherer {
    this.#checkOpen();
    let gatherer = this.#gatherers.get(key);
    if (gatherer !== undefined) return gatherer;
    const { path, bytesMax, bodyOf, timeoutMs, isRepeatable } = request;
    gatherer = new Gatherer({
      itemsMax: BATCH_MAX,
      bytesMax,
      waiting: this.#waiting,
      send: (items, signal, wasRepeated) =>
        this.#connection.call({
          path,
          body: bodyOf(items),
          timeoutMs,
          isRepeatable,
          signal,
          onRepeat: (uncertain) => uncertain && wasRepeated(),
        }),
    });
    forgetIdle(this.#gatherers);
    this.#gatherers.set(key, gatherer);
    return gatherer;
  }

  // Ends leased items, those of each partition together.
  async #end<T extends ItemRef>(
    refs: readonly T[],
    partition: number,
    into: (partition: number) => (some: readonly T[]) => Promise<void>,
  ): Promise<void> {
    const first = refs[0]?.partition ?? partition;
    if (refs.every((ref) => (ref.partition ?? partition) === first)) {
      if (refs.length > 0) await into(first)(refs);
      return;
    }
    const groups = Map.groupBy(refs, (ref) => ref.partition ?? partition);
    await Promise.all([...groups].map(([number, some]) => into(number)(some)));
  }

  #sharedLeases(queueName: string, timeoutMs: number): SharedLeases {
    const key = `${timeoutMs} ${queueName}`;
    let leases = this.#leases.get(key);
    if (leases !== undefined) return leases;
    leases = new SharedLeases({
      batchMax: BATCH_MAX,
      lease: (batchSize, ms, signal) =>
        this.#lease({ queueName, batchSize, timeoutMs: ms, clientId: undefined, signal }),
      giveBack: (items) => {
        // If it fails they come back by themselves when their lease ends.
        this.retry(queueName, items).catch(() => undefined);
      },
    });
    forgetIdle(this.#leases);
    this.#leases.set(key, leases);
    return leases;
  }

  async #lease(request: {
    readonly queueName: string;
    readonly batchSize: number;
    readonly timeoutMs: number;
    readonly clientId: string | undefined;
    readonly signal: AbortSignal | undefined;
  }): Promise<LeasedItem[]> {
    const { queueName, batchSize, timeoutMs, signal } = request;
    const closing = this.#closing.signal;
    // The server takes one lease of a name at a time, and may not have seen yet that the last one ended.
    const clientId = request.clientId ?? `${this.#clientIds}-${++this.#leaseCount}`;
    try {
      const body = await this.#connection.call({
        path: "queue.lease",
        body: JSON.stringify({
          queue_name: queueName,
          batch_size: batchSize,
          client_id: clientId,
          request_timeout: toText(timeoutMs, "requestTimeout"),
        }),
        timeoutMs,
        isRepeatable: true,
        signal: signal === undefined ? closing : AbortSignal.any([signal, closing]),
      });
      const { partition = 0, items = [] } = parseReply<WireLease>(body);
      return items.map((item) => new LeasedItem(queueName, partition, item));
    } catch (error) {
      if (error instanceof QueratorError && error.code === "no-items") return [];
      throw error;
    }
  }

  #checkOpen(): void {
    this.#closing.signal.throwIfAborted();
  }
}

interface WireLease {
  readonly partition?: number;
  readonly items?: readonly WireLeasedItem[];
}

function parseUrl(url: string | URL): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol)) return parsed;
  const text = `url is invalid; got '${url}', use a form such as 'http://localhost:2319'`;
  throw new InvalidRequestError("invalid", text);
}

function listOf<T extends object | string>(items: T | readonly T[]): readonly T[] {
  return Array.isArray(items) ? (items as readonly T[]) : [items as T];
}

function partOf(json: string, id?: string): Part {
  return { id, json, bytes: utf8LengthMax(json) };
}

// Programs that make up names of queues must not fill memory with what is idle.
function forgetIdle(all: Map<string, { readonly isIdle: boolean }>): void {
  if (all.size < GATHERERS_KEPT) return;
  for (const [key, each] of all) if (each.isIdle) all.delete(key);
}
