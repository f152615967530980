// The calls that make, change, list and describe queues, and their records.

import { type CallOptions, type ChangeOptions, checkForm, confirmed, once, pages } from "./call.ts";
import type { Connection } from "./connection.ts";
import { type Duration, fromText, lifetimeText, NEVER, toText } from "./duration.ts";
import { decodeDate } from "./items.ts";
import { checkNames, namesOf } from "./names.ts";
import {
  decodeRetrySettings,
  encodeRetrySettings,
  type RetrySettings,
  type WireRetrySettings,
} from "./retry-settings.ts";

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
  /** When failed items are tried again whose retry says no time; at once by default. */
  readonly retry?: RetrySettings | undefined;
  /** What becomes of an item whose lease ends by itself: `retry_now`, the default, `retry_delayed` or `reject`. */
  readonly onLeaseEnd?: "retry_now" | "retry_delayed" | "reject" | undefined;
  /** For how long items are kept to be looked at that have ended; 0, the default, for not at all. */
  readonly keepCompleted?: Duration | undefined;
  /** At most so many of them in each partition; 10000 by default. */
  readonly keepMax?: number | undefined;
  /** Whether their payloads are kept as well. */
  readonly keepPayload?: boolean | undefined;
}

/** What is left out of an update stays as it is. */
export type QueueChanges = Partial<Omit<QueueSettings, "queueName">>;

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
  /** All of it; nothing of a server that has none. */
  readonly retry: RetrySettings | undefined;
  readonly onLeaseEnd: string;
  readonly keepCompletedMs: number;
  /** As the server writes it: `24h0m0s`. */
  readonly keepCompleted: string;
  readonly keepMax: number;
  readonly keepPayload: boolean;
  /** Another one after each change: see `ifVersion`. */
  readonly version: number;
  readonly createdAt: Date | undefined;
  readonly updatedAt: Date | undefined;
}

/** What an expireTimeout of `never` travels as, for the server wants a duration: a hundred years. */

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
  readonly retry?: WireRetrySettings;
  readonly on_lease_end?: string;
  readonly keep_completed?: string;
  readonly keep_max?: number;
  readonly keep_payload?: boolean;
  readonly version?: number;
  readonly if_version?: number;
}

export interface UpdateQueueOptions extends ChangeOptions {
  /** Only if the queue has this `version`: else an error of code `precondition-failed`. */
  readonly ifVersion?: number | undefined;
}

/** What `apply` does for one queue. */
export interface QueueDiff {
  readonly queueName: string;
  readonly action: "created" | "updated" | "unchanged";
  /** The settings that get another value; of a new queue those that were given. */
  readonly changes: readonly SettingDiff[];
}

/** A setting by its name in the API, such as `max_attempts`, and its values as texts. */
export interface SettingDiff {
  readonly setting: string;
  /** Not set of a new queue, or of a text that was empty. */
  readonly from?: string;
  /** Not set if it is an empty text. */
  readonly to?: string;
}

interface WireQueueDiff {
  readonly queue_name: string;
  readonly action: QueueDiff["action"];
  readonly changes?: readonly SettingDiff[];
}

export interface ListQueuesOptions extends CallOptions {
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
  async create(settings: QueueSettings, options: ChangeOptions = {}): Promise<void> {
    const { queueName, ...changes } = settings;
    await this.#made("queues.create", encode(queueName, changes), options);
  }

  /** Makes a queue unless there is one of that name, which stays as it is. True if it made one. */
  async createIfMissing(settings: QueueSettings, options: ChangeOptions = {}): Promise<boolean> {
    try {
      await this.create(settings, options);
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === "queue-exists") return false;
      throw error;
    }
  }

  /** Changes a queue. What you leave out stays as it is. */
  async update(
    name: string,
    changes: QueueChanges,
    { ifVersion, ...options }: UpdateQueueOptions = {},
  ): Promise<void> {
    const condition = ifVersion === undefined ? {} : { if_version: ifVersion };
    await this.#made("queues.update", { ...encode(name, changes), ...condition }, options);
  }

  // Answered with the record.
  async #made(path: string, request: WireQueueInfo, options: ChangeOptions): Promise<void> {
    const wire = await once<WireQueueInfo>(this.#connection, path, request, options);
    checkForm(wire.queue_name === request.queue_name, wire);
  }

  /**
   * Makes the queues of a list, and changes those that are there: all of it, or nothing. What you leave out stays
   * as it is, and so do queues that are not in the list. Answers what was done, or with `dryRun` what would be.
   */
  async apply(
    queues: readonly QueueSettings[],
    { dryRun = false, ...options }: CallOptions & { readonly dryRun?: boolean | undefined } = {},
  ): Promise<readonly QueueDiff[]> {
    const request = {
      queues: queues.map(({ queueName, ...changes }) => encode(queueName, changes)),
      dry_run: dryRun,
    };
    const call = [this.#connection, "queues.apply", request, options, dryRun] as const;
    const reply = await once<{ readonly queues?: readonly WireQueueDiff[] }>(...call);
    const { queues: diffs = [] } = reply;
    checkForm(Array.isArray(diffs) && diffs.length === queues.length, reply);
    return diffs.map(({ queue_name: queueName, action, changes = [] }) => ({
      queueName,
      action,
      changes,
    }));
  }

  /** The record of a queue; throws a QueueNotFoundError if there is none. */
  async info(name: string, options: CallOptions = {}): Promise<QueueInfo> {
    const request = { queue_name: name };
    const wire = await once<WireQueueInfo>(this.#connection, "queues.info", request, options, true);
    checkForm(typeof wire.queue_name === "string", wire);
    return decode(wire);
  }

  /** Deletes a queue with its items; one that is the dead queue of another only with `force`. */
  async delete(
    name: string,
    { force = false, ...options }: ChangeOptions & { readonly force?: boolean } = {},
  ): Promise<void> {
    await confirmed(this.#connection, "queues.delete", { queue_name: name, force }, options);
  }

  /** All queues by name, fetched page by page. */
  list(options: ListQueuesOptions = {}): AsyncGenerator<QueueInfo, void, undefined> {
    return pages<WireQueueInfo, QueueInfo>(this.#connection, "queues.list", {
      request: {},
      name: "queues",
      options,
      decode,
    });
  }
}

const SETTINGS = namesOf<QueueChanges>({
  leaseTimeout: true,
  expireTimeout: true,
  requestedPartitions: true,
  maxAttempts: true,
  deadQueue: true,
  reference: true,
  retry: true,
  onLeaseEnd: true,
  keepCompleted: true,
  keepMax: true,
  keepPayload: true,
});

function encode(name: string, changes: QueueChanges): WireQueueInfo {
  checkNames(changes, SETTINGS, "a queue");
  const { leaseTimeout, expireTimeout, maxAttempts, deadQueue, reference } = changes;
  const { requestedPartitions, retry, onLeaseEnd, keepCompleted, keepMax, keepPayload } = changes;
  return {
    queue_name: name,
    ...(leaseTimeout === undefined ? {} : { lease_timeout: toText(leaseTimeout, "leaseTimeout") }),
    ...(expireTimeout === undefined
      ? {}
      : { expire_timeout: lifetimeText(expireTimeout, "expireTimeout") }),
    ...(requestedPartitions === undefined ? {} : { requested_partitions: requestedPartitions }),
    ...(maxAttempts === undefined ? {} : { max_attempts: maxAttempts }),
    ...(deadQueue === undefined ? {} : { dead_queue: deadQueue }),
    ...(reference === undefined ? {} : { reference }),
    ...(retry === undefined ? {} : { retry: encodeRetrySettings(retry) }),
    ...(onLeaseEnd === undefined ? {} : { on_lease_end: onLeaseEnd }),
    ...(keepCompleted === undefined
      ? {}
      : { keep_completed: toText(keepCompleted, "keepCompleted") }),
    ...(keepMax === undefined ? {} : { keep_max: keepMax }),
    ...(keepPayload === undefined ? {} : { keep_payload: keepPayload }),
  };
}

function decode(wire: WireQueueInfo): QueueInfo {
  const leaseTimeout = wire.lease_timeout ?? "0s";
  const { expire_timeout: expire = "0s" } = wire;
  const expireTimeout = expire === NEVER ? "never" : expire;
  const keepCompleted = wire.keep_completed ?? "0s";
  return {
    queueName: wire.queue_name ?? "",
    leaseTimeout,
    expireTimeout,
    leaseTimeoutMs: fromText(leaseTimeout),
    expireTimeoutMs: fromText(expire === "never" ? NEVER : expire),
    requestedPartitions: wire.requested_partitions ?? 0,
    maxAttempts: wire.max_attempts ?? 0,
    deadQueue: wire.dead_queue ?? "",
    reference: wire.reference ?? "",
    retry: decodeRetrySettings(wire.retry),
    onLeaseEnd: wire.on_lease_end ?? "retry_now",
    keepCompleted,
    keepCompletedMs: fromText(keepCompleted),
    keepMax: wire.keep_max ?? 0,
    keepPayload: wire.keep_payload ?? false,
    version: Number(wire.version ?? 0),
    createdAt: decodeDate(wire.created_at),
    updatedAt: decodeDate(wire.updated_at),
  };
}
