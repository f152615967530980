// The calls that look into storage, and change what lies there: lists, import and deletion of items.

import {
  begun,
  type CallOptions,
  checkConfirmation,
  checkForm,
  inParts,
  once,
  pages,
} from "./call.ts";
import type { Connection } from "./connection.ts";
import { isUnknownPath } from "./errors.ts";
import {
  decodeStorageItem,
  encodeImport,
  type ImportedItem,
  type ImportItem,
  type StorageItem,
  type WireStorageItem,
} from "./items.ts";

export interface ListItemsOptions extends CallOptions {
  /** 0 if left out. */
  readonly partition?: number | undefined;
  /** The id to begin with; all from the first if left out. */
  readonly from?: string | undefined;
  /** Items that one request fetches, 1000 by default. */
  readonly pageSize?: number | undefined;
}

export interface PartitionOptions extends CallOptions {
  /** 0 if left out. */
  readonly partition?: number | undefined;
}

/** What `client.scheduled` does. */
export class ScheduledItems {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * The items of one partition by id, fetched page by page. They have their enqueueAt, unless the
   * server knows /v1 only, which does not tell it.
   */
  async *list(
    queueName: string,
    options: ListItemsOptions = {},
  ): AsyncGenerator<StorageItem, void, undefined> {
    try {
      yield* listed(this.#connection, "v2/storage/scheduled.list", queueName, options);
    } catch (error) {
      // It is the first page that is answered so, or none.
      if (!isUnknownPath(error)) throw error;
      yield* listed(this.#connection, "storage/scheduled.list", queueName, options);
    }
  }
}

function listed(
  connection: Connection,
  path: string,
  queueName: string,
  options: ListItemsOptions,
): AsyncGenerator<StorageItem, void, undefined> {
  const { partition = 0 } = options;
  return pages<WireStorageItem, StorageItem>(connection, path, {
    request: { queue_name: queueName, partition },
    options,
    decode: decodeStorageItem,
    keyOf: (item) => item.id,
  });
}

/** What `client.items` does. */
export class StoredItems {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The items of one partition that wait or are leased, by id, fetched page by page. */
  list(
    queueName: string,
    options: ListItemsOptions = {},
  ): AsyncGenerator<StorageItem, void, undefined> {
    return listed(this.#connection, "storage/items.list", queueName, options);
  }

  /**
   * Adds items as they are, under new ids; one whose sourceId is there already is passed over. Answers
   * the items as they lie in storage, in place of a duplicate the one that is there. Those with a later
   * enqueueAt are scheduled. Repeatable if every item has a sourceId. What a proxy refuses for its size is
   * sent in parts, in order; if one of them fails, those before it are there.
   */
  async import(
    queueName: string,
    items: readonly ImportItem[],
    options: PartitionOptions = {},
  ): Promise<ImportedItem[]> {
    this.#connection.checkOpen();
    return this.#connection.begin(() =>
      inParts(items.map(encodeImport), (some) => this.#import(queueName, some, options)),
    );
  }

  async #import(
    queueName: string,
    items: readonly WireStorageItem[],
    { partition = 0, ...options }: PartitionOptions,
  ): Promise<ImportedItem[]> {
    const request = { queue_name: queueName, partition, items };
    const isRepeatable = items.every(({ source_id }) => source_id !== "");
    // A server that knows /v1 only would take what is scheduled as due at once.
    const isScheduled = items.some(({ enqueue_at }) => enqueue_at !== undefined);
    const call = (path: string) =>
      begun<ImportReply>(this.#connection, path, request, options, isRepeatable);
    const reply = await newest("storage/items.import", call, !isScheduled);
    // Also those that were passed over come back.
    const { items: imported, statuses } = reply;
    checkForm(Array.isArray(imported) && imported.length === items.length, reply);
    return imported!.map((wire, i) => ({
      ...decodeStorageItem(wire),
      status: statuses?.[i] ?? statusOf(wire),
    }));
  }

  /**
   * Removes items whatever their state, scheduled ones too; ids that are unknown are passed over.
   * Answers how many were there; nothing if the server knows /v1 only, which does not tell.
   */
  async delete(
    queueName: string,
    ids: readonly string[],
    { partition = 0, ...options }: PartitionOptions = {},
  ): Promise<number | undefined> {
    const request = { queue_name: queueName, partition, ids };
    const call = (path: string) =>
      once<DeleteReply>(this.#connection, path, request, options, true);
    const reply = await newest("storage/items.delete", call);
    if ("code" in reply) {
      checkConfirmation(reply);
      return undefined;
    }
    const { deleted = 0, unknown = [] } = reply;
    checkForm(typeof deleted === "number" && deleted + unknown.length > 0, reply);
    return deleted;
  }
}

interface ImportReply {
  readonly items?: WireStorageItem[];
  readonly statuses?: ImportedItem["status"][];
}

interface DeleteReply {
  readonly deleted?: number;
  readonly unknown?: string[];
}

// What a server before /v2 told of it: one that it passed over came back as it was sent.
function statusOf({ id, enqueue_at }: WireStorageItem): ImportedItem["status"] {
  if (id === undefined) return "duplicate";
  return enqueue_at === undefined ? "created" : "scheduled";
}

// Asks /v2 first. A server that knows /v1 only says so, and has done nothing.
async function newest<T>(
  path: string,
  call: (path: string) => Promise<T>,
  mayFallBack = true,
): Promise<T> {
  try {
    return await call(`v2/${path}`);
  } catch (error) {
    if (!isUnknownPath(error) || !mayFallBack) throw error;
    return call(path);
  }
}
