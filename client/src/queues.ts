// The calls that make, change, list and describe queues, and their records.

import { begun, type CallOptions, checkConfirmation, checkForm, confirmed, pages } from "./call.ts";
import type { Connection } from "./connection.ts";
import { type Duration, fromText, toText } from "./duration.ts";
import { decodeDate } from "./items.ts";

/** What a queue is made with. */
export interface QueueSettings {
  readonly queueName: string;
  /** How long a lease lasts; 1m if left out. */
  readonly leaseTimeout?: Duration | undefined;
  /**
   * How long an item may stay in the queue, at least leaseTimeout; or `never`, the default: then nothing is
   * taken away because of its age.
   */
  readonly expireTimeout?: Duration | "never" | undefined;
  /** 1 if left out. */
  readonly requestedPartitions?: number | undefined;
  /** After so many leases an item goes to the dead queue; 0, the default, for no bound. */
  readonly maxAttempts?: number | undefined;
  readonly deadQueue?: string | undefined;
  readonly reference?: string | undefined;
  readonly namespace?: string | undefined;
}

/** What is left out of an update stays as it is. */
export type QueueChanges = Partial<Omit<QueueSettings, "queueName" | "namespace">>;

/** The record of a queue; time-outs in milliseconds. */
export interface QueueInfo {
  readonly queueName: string;
  readonly leaseTimeoutMs: number;
  readonly expireTimeoutMs: number;
  /** As the server writes it: `1m0s`. */
  readonly leaseTimeout: string;
  /** The same, or `never`. */
  readonly expireTimeout: string;
  readonly requestedPartitions: number;
  readonly maxAttempts: number;
  readonly deadQueue: string;
  readonly reference: string;
  readonly namespace: string;
  readonly createdAt: Date | undefined;
  readonly updatedAt: Date | undefined;
}

/** What an expireTimeout of `never` travels as, for the server wants a duration: a hundred years. */
const NEVER = "876000h0m0s";

const DEFAULTS = { leaseTimeout: "1m", expireTimeout: "never", requestedPartitions: 1 } as const;

interface WireQueueInfo {
  readonly queue_name?: string;
  readonly created_at?: string;
  readonly updated_at?: string;
  readonly dead_queue?: string;
  readonly reference?: string;
  readonly lease_timeout?: string;
  readonly expire_timeout?: string;
  readonly max_attempts?: number;
  readonly requested_partitions?: number;
  readonly namespace?: string;
}

export interface ListQueuesOptions extends CallOptions {
  /** The name to begin with; all from the first if left out. */
  readonly from?: string | undefined;
  readonly namespace?: string | undefined;
  /** Queues that one request fetches: 1 to 65536, 1000 by default. */
  readonly pageSize?: number | undefined;
}

/** What `client.queues` does. */
export class Queues {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Makes a queue, of which a name is enough; throws a QueueExistsError if there is one of that name. */
  async create(settings: QueueSettings, options: CallOptions = {}): Promise<void> {
    const { queueName, namespace, ...changes } = settings;
    const given = { ...DEFAULTS, ...definedOf(changes) };
    const request = { ...encode(queueName, given), namespace };
    await confirmed(this.#connection, "queues.create", request, options);
  }

  /** Makes a queue unless there is one of that name, which stays as it is. True if it made one. */
  async createIfMissing(settings: QueueSettings, options: CallOptions = {}): Promise<boolean> {
    try {
      await this.create(settings, options);
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === "queue-exists") return false;
      throw error;
    }
  }

  /**
   * Changes a queue. The server replaces maxAttempts, deadQueue and reference whether they are given or
   * not; so the record is read first, and what you leave out is sent as it was. With two updates at the
   * same time the later one wins.
   */
  async update(name: string, changes: QueueChanges, options: CallOptions = {}): Promise<void> {
    await this.#connection.begin(async () => {
      const { maxAttempts, deadQueue, reference } = await this.#info(name, options);
      const request = encode(name, { maxAttempts, deadQueue, reference, ...definedOf(changes) });
      checkConfirmation(await begun(this.#connection, "queues.update", request, options));
    });
  }

  /** The record of a queue; throws a QueueNotFoundError if there is none. */
  async info(name: string, options: CallOptions = {}): Promise<QueueInfo> {
    this.#connection.checkOpen();
    return this.#info(name, options);
  }

  /** Deletes a queue with its items; one that is the dead queue of another only with `force`. */
  async delete(
    name: string,
    { force = false, ...options }: CallOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    await confirmed(this.#connection, "queues.delete", { queue_name: name, force }, options);
  }

  /** All queues of a namespace by name, fetched page by page. */
  list(options: ListQueuesOptions = {}): AsyncGenerator<QueueInfo, void, undefined> {
    const { from, namespace } = options;
    return pages<WireQueueInfo, QueueInfo>(this.#connection, "queues.list", {
      request: { namespace },
      options: { ...options, from },
      decode,
      keyOf: (info) => info.queueName,
    });
  }

  async #info(name: string, options: CallOptions): Promise<QueueInfo> {
    const request = { queue_name: name };
    const wire = await begun<WireQueueInfo>(
      this.#connection,
      "queues.info",
      request,
      options,
      true,
    );
    checkForm(typeof wire.queue_name === "string", wire);
    return decode(wire);
  }
}

function definedOf(changes: QueueChanges): QueueChanges {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}

function encode(name: string, changes: QueueChanges): WireQueueInfo {
  const { leaseTimeout, expireTimeout, maxAttempts, deadQueue, reference } = changes;
  const { requestedPartitions } = changes;
  return {
    queue_name: name,
    ...(leaseTimeout === undefined ? {} : { lease_timeout: toText(leaseTimeout, "leaseTimeout") }),
    ...(expireTimeout === undefined ? {} : { expire_timeout: expireText(expireTimeout) }),
    ...(requestedPartitions === undefined ? {} : { requested_partitions: requestedPartitions }),
    ...(maxAttempts === undefined ? {} : { max_attempts: maxAttempts }),
    ...(deadQueue === undefined ? {} : { dead_queue: deadQueue }),
    ...(reference === undefined ? {} : { reference }),
  };
}

function expireText(timeout: Duration | "never"): string {
  return timeout === "never" ? NEVER : toText(timeout, "expireTimeout");
}

function decode(wire: WireQueueInfo): QueueInfo {
  const leaseTimeout = wire.lease_timeout ?? "0s";
  const expireTimeout = wire.expire_timeout ?? "0s";
  return {
    queueName: wire.queue_name ?? "",
    leaseTimeout,
    expireTimeout: expireTimeout === NEVER ? "never" : expireTimeout,
    leaseTimeoutMs: fromText(leaseTimeout),
    expireTimeoutMs: fromText(expireTimeout),
    requestedPartitions: wire.requested_partitions ?? 0,
    maxAttempts: wire.max_attempts ?? 0,
    deadQueue: wire.dead_queue ?? "",
    reference: wire.reference ?? "",
    namespace: wire.namespace ?? "",
    createdAt: decodeDate(wire.created_at),
    updatedAt: decodeDate(wire.updated_at),
  };
}
