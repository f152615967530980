// The calls about items by what they are, whoever has leased them: one is looked up, changed, cancelled or waited
// for; many are listed, imported and deleted.

import {
  begun,
  type CallOptions,
  type ChangeOptions,
  checkForm,
  inParts,
  type KeyOptions,
  once,
  pages,
  parseReply,
  type Repeats,
  TIMEOUT_MS,
} from "./call.ts";
import type { HotOptions } from "./client-options.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toMs, toText } from "./duration.ts";
import type { ItemResult } from "./errors.ts";
import { keyOf } from "./gatherers.ts";
import {
  decodeStorageItem,
  encodeChanges,
  encodeImport,
  type ImportedItem,
  type ImportItem,
  type ItemChanges,
  type ItemState,
  type StorageItem,
  type WireStorageItem,
} from "./item-records.ts";
import { decodeDate } from "./items.ts";
import { checkNames } from "./names.ts";
import {
  OF_CANCEL_ITEM,
  OF_GET_ITEM,
  OF_LIST_ITEMS,
  OF_ONE_ITEM,
  OF_UPDATE_ITEM,
  OF_WAIT,
} from "./option-names.ts";

// Less is refused by the server.
const TIMEOUT_MIN_MS = 10;

/** Of calls about one item. */
export interface OneItemOptions extends CallOptions {
  /** Where it is looked for, and in its dead queue; by default in the queue that gave the id. */
  readonly queueName?: string | undefined;
}

export interface GetItemOptions extends OneItemOptions {
  /** With its payload, or without; with, by default. */
  readonly payload?: boolean | undefined;
}

export interface CancelItemOptions extends OneItemOptions, KeyOptions {}

export interface UpdateItemOptions extends OneItemOptions, KeyOptions {
  /** Only if it is in this state: else an error of code `precondition-failed`. */
  readonly ifState?: ItemState | undefined;
}

export interface WaitForItemOptions extends Omit<HotOptions, "onRepeat"> {
  readonly queueName?: string | undefined;
  /** With its payload, or without; with, by default. */
  readonly payload?: boolean | undefined;
}

/** Why an item is not running. */
export interface Explanation {
  readonly id: string;
  readonly state: ItemState;
  /** What is most to the point first. */
  readonly reasons: readonly ItemReason[];
  /** How many are leased before it, if it waits. */
  readonly position: number | undefined;
  /** When it is likely to be leased, by how fast the queue was of late. */
  readonly expectedAt: Date | undefined;
}

export interface ItemReason {
  /** `scheduled`, `behind`, `in_line`, `no_consumer`, `leased`, `dead` or `ended`; new ones may be added. */
  readonly code: string;
  readonly detail: string;
  /** Until when, if that is known. */
  readonly until: Date | undefined;
  /** Since when, of `no_consumer`: when somebody was there last who would have taken it. */
  readonly since: Date | undefined;
}

interface WireExplanation {
  readonly id?: string;
  readonly state?: ItemState;
  readonly reasons?: readonly {
    readonly code?: string;
    readonly detail?: string;
    readonly until?: string;
    readonly since?: string;
  }[];
  readonly position?: number;
  readonly expected_at?: string;
}

export interface ListItemsOptions extends CallOptions {
  /** All that wait or are leased if left out. */
  readonly state?: ItemState | undefined;
  /** All partitions if left out. */
  readonly partition?: number | undefined;
  /** With their payloads, or without; with, by default. */
  readonly payload?: boolean | undefined;
  readonly kind?: string | undefined;
  readonly reference?: string | undefined;
  /** Those whose last attempt failed with an error of this type. */
  readonly errorType?: string | undefined;
  /** What was produced so long ago, or longer. */
  readonly olderThan?: Duration | undefined;
  /** What was produced so long ago, or less long. */
  readonly newerThan?: Duration | undefined;
  /** What is listed first; the oldest by default. */
  readonly order?: "oldest" | "newest" | undefined;
  /** Items that one request fetches, 1000 by default. */
  readonly pageSize?: number | undefined;
}

export interface ImportOptions extends ChangeOptions {
  /** 0 if left out. */
  readonly partition?: number | undefined;
}

/** What `client.items` does. */
export class StoredItems {
  readonly #connection: Connection;
  readonly #requestTimeout: Duration;

  /** `requestTimeout` is of calls that do not say it themselves. */
  constructor(connection: Connection, requestTimeout: Duration) {
    this.#connection = connection;
    this.#requestTimeout = requestTimeout;
  }

  /** An item as it is now, or as it ended; rejects with an ItemNotFoundError if nothing is known of it. */
  async get(id: string, options: GetItemOptions = {}): Promise<StorageItem> {
    checkNames(options, OF_GET_ITEM, "items.get");
    const { queueName: queue_name, payload = true } = options;
    return this.#one("item.get", JSON.stringify({ queue_name, id, payload }), options, true);
  }

  /**
   * Takes an item away that waits or is scheduled. One that is leased is marked: whoever has it learns it with
   * the next that it tells of it, and it never comes back. Answers the item as it is then.
   */
  async cancel(id: string, options: CancelItemOptions = {}): Promise<StorageItem> {
    checkNames(options, OF_CANCEL_ITEM, "items.cancel");
    const { queueName: queue_name } = options;
    return this.#one("item.cancel", JSON.stringify({ queue_name, id }), options, "keyed");
  }

  /** Changes an item that is not leased; answers it as it is then. What waits goes to the end of the line. */
  async update(
    id: string,
    changes: ItemChanges,
    options: UpdateItemOptions = {},
  ): Promise<StorageItem> {
    checkNames(options, OF_UPDATE_ITEM, "items.update");
    const { queueName: queue_name, ifState: if_state } = options;
    const start = JSON.stringify({ queue_name, id, if_state }).slice(0, -1);
    return this.#one("item.update", `${start}${encodeChanges(changes)}}`, options, "keyed");
  }

  /**
   * Waits until an item has ended or is dead, for `requestTimeout`; answers it then, or as it is when the time has
   * passed.
   */
  async wait(id: string, options: WaitForItemOptions = {}): Promise<StorageItem> {
    checkNames(options, OF_WAIT, "items.wait");
    const { queueName: queue_name, payload = true, signal } = options;
    const { requestTimeout = this.#requestTimeout } = options;
    const timeoutMs = toMs(requestTimeout, "requestTimeout");
    this.#connection.checkOpen();
    const body = await this.#connection.call({
      path: "item.wait",
      body: (leftMs) => {
        const left = leftMs < timeoutMs ? Math.max(leftMs, TIMEOUT_MIN_MS) : timeoutMs;
        const request_timeout = toText(left, "requestTimeout");
        return JSON.stringify({ queue_name, id, payload, request_timeout });
      },
      timeoutMs,
      isRepeatable: true,
      isWait: true,
      signal,
    });
    return decodeOne(parseReply<WireStorageItem>(body), options.queueName);
  }

  /** Why an item is not running, and when it is likely to. */
  async explain(id: string, options: OneItemOptions = {}): Promise<Explanation> {
    checkNames(options, OF_ONE_ITEM, "items.explain");
    const request = { queue_name: options.queueName, id };
    const wire = await once<WireExplanation>(
      this.#connection,
      "item.explain",
      request,
      options,
      true,
    );
    const { state, reasons = [], position, expected_at: expectedAt } = wire;
    checkForm(typeof state === "string" && Array.isArray(reasons), wire);
    return {
      id: wire.id ?? id,
      state: state!,
      reasons: reasons.map(({ code = "", detail = "", until, since }) => {
        return { code, detail, until: decodeDate(until), since: decodeDate(since) };
      }),
      position: position === undefined ? undefined : Number(position),
      expectedAt: decodeDate(expectedAt),
    };
  }

  async #one(
    path: string,
    body: string,
    { queueName, signal, timeout = TIMEOUT_MS, idempotencyKey }: OneItemOptions & KeyOptions,
    repeats: Repeats,
  ): Promise<StorageItem> {
    this.#connection.checkOpen();
    const options = { signal, timeout, idempotencyKey };
    const wire = await begun<WireStorageItem>(this.#connection, path, body, options, repeats);
    return decodeOne(wire, queueName);
  }

  /**
   * The items of a queue by partition and in the order in which they will be leased, or the newest
   * first, fetched page by page. A server that knows /v1 only does not tell when what is scheduled is due.
   */
  list(
    queueName: string,
    options: ListItemsOptions = {},
  ): AsyncGenerator<StorageItem, void, undefined> {
    checkNames(options, OF_LIST_ITEMS, "items.list");
    const { state, partition, payload = true, kind, reference, errorType, order } = options;
    const { olderThan, newerThan } = options;
    return pages<WireStorageItem, StorageItem>(this.#connection, "items.list", {
      request: {
        queue_name: queueName,
        state,
        partition,
        payload,
        kind,
        reference,
        error_type: errorType,
        older_than: olderThan === undefined ? undefined : toText(olderThan, "olderThan"),
        newer_than: newerThan === undefined ? undefined : toText(newerThan, "newerThan"),
        order,
      },
      name: "items",
      options,
      decode: (wire) => decodeStorageItem(wire, queueName),
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
    const { idempotencyKey: key } = options;
    let sent = 0;
    return this.#connection.begin(() =>
      inParts(items.map(encodeImport), (some) => {
        const idempotencyKey = key === undefined ? undefined : keyOf(key, sent++);
        return this.#import(queueName, some, { ...options, idempotencyKey, isRepeatable });
      }),
    );
  }

  async #import(
    queueName: string,
    items: readonly string[],
    options: ImportOptions & { readonly isRepeatable: boolean },
  ): Promise<readonly ImportedItem[]> {
    const { partition = 0, timeout = TIMEOUT_MS, signal, isRepeatable, idempotencyKey } = options;
    const start = `{"queue_name":${JSON.stringify(queueName)},"partition":${Number(partition)}`;
    const reply = await begun<{ readonly results?: readonly ImportedItem[] }>(
      this.#connection,
      "items.import",
      `${start},"items":[${items.join()}]}`,
      { timeout, signal, idempotencyKey },
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
    options: ChangeOptions = {},
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

function decodeOne(wire: WireStorageItem, queueName: string | undefined): StorageItem {
  checkForm(typeof wire.id === "string" && typeof wire.state === "string", wire);
  return decodeStorageItem(wire, queueName);
}
