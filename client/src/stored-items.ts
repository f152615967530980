// The calls that look into storage, and change what lies there: lists, import and deletion of items.

import { begun, type CallOptions, checkForm, inParts, once, pages, TIMEOUT_MS } from "./call.ts";
import type { Connection } from "./connection.ts";
import type { ItemResult } from "./errors.ts";
import {
  decodeStorageItem,
  encodeImport,
  type ImportedItem,
  type ImportItem,
  type StorageItem,
  type WireStorageItem,
} from "./items.ts";

export interface ListItemsOptions extends CallOptions {
  /** All that wait or are leased if left out. */
  readonly state?: StorageItem["state"] | undefined;
  /** All partitions if left out. */
  readonly partition?: number | undefined;
  /** With their payloads, or without; with, by default. */
  readonly payload?: boolean | undefined;
  /** Items that one request fetches, 1000 by default. */
  readonly pageSize?: number | undefined;
}

export interface ImportOptions extends CallOptions {
  /** 0 if left out. */
  readonly partition?: number | undefined;
}

/** What `client.items` does. */
export class StoredItems {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /**
   * The items of a queue by partition and in the order in which they will be leased, fetched page by page. A
   * server that knows /v1 only does not tell when what is scheduled is due.
   */
  list(
    queueName: string,
    options: ListItemsOptions = {},
  ): AsyncGenerator<StorageItem, void, undefined> {
    const { state, partition, payload = true } = options;
    return pages<WireStorageItem, StorageItem>(this.#connection, "items.list", {
      request: { queue_name: queueName, state, partition, payload },
      name: "items",
      options,
      decode: decodeStorageItem,
    });
  }

  /**
   * Adds items as they are, under the ids that they have; one whose id or sourceId is there already is passed
   * over. Answers what became of each. Those with a later enqueueAt are scheduled. Repeatable if every item has an
   * id or a sourceId. What a proxy refuses
   * for its size is sent in parts, in order; if one of them fails, those before it are there.
   */
  async import(
    queueName: string,
    items: readonly ImportItem[],
    options: ImportOptions = {},
  ): Promise<ImportedItem[]> {
    this.#connection.checkOpen();
    const isRepeatable = items.every(({ id, sourceId }) => Boolean(id || sourceId));
    return this.#connection.begin(() =>
      inParts(items.map(encodeImport), (some) =>
        this.#import(queueName, some, { ...options, isRepeatable }),
      ),
    );
  }

  async #import(
    queueName: string,
    items: readonly string[],
    options: ImportOptions & { readonly isRepeatable: boolean },
  ): Promise<readonly ImportedItem[]> {
    const { partition = 0, timeout = TIMEOUT_MS, signal, isRepeatable } = options;
    const start = `{"queue_name":${JSON.stringify(queueName)},"partition":${Number(partition)}`;
    const reply = await begun<{ readonly results?: readonly ImportedItem[] }>(
      this.#connection,
      "items.import",
      `${start},"items":[${items.join()}]}`,
      { timeout, signal },
      isRepeatable,
    );
    const { results } = reply;
    checkForm(Array.isArray(results) && results.length === items.length, reply);
    return results!.map(({ id, status }) => ({ id, status }));
  }

  /**
   * Removes items whatever their state, by their id; ids that are unknown are passed over. Answers how many
   * were there; nothing if the server knows /v1 only, which does not tell.
   */
  async delete(
    queueName: string,
    ids: readonly string[],
    options: CallOptions = {},
  ): Promise<number | undefined> {
    const request = { queue_name: queueName, ids };
    const reply = await once<{ readonly results?: readonly ItemResult[] }>(
      this.#connection,
      "items.delete",
      request,
      options,
      true,
    );
    const { results } = reply;
    if (results === undefined && Object.keys(reply).length === 0) return undefined;
    checkForm(Array.isArray(results) && results.length === ids.length, reply);
    return results!.filter(({ ok }) => ok === true).length;
  }
}
