// Items as the server tells them, how lists of them are asked for, and what of an item stands in a column.

import { call } from "./api.ts";
import type { Tone } from "./components/controls.ts";
import type { Query } from "./router.ts";

export interface ItemError {
  readonly type?: string;
  readonly message?: string;
  readonly stack?: string;
}

/** Where an item of a dead queue comes from. */
export interface DeadSource {
  readonly queue_name: string;
  readonly attempts?: number;
  readonly created_at?: string;
  readonly died_at?: string;
  readonly reason?: string;
  readonly fingerprint?: string;
}

/** An item; what is not set is left out, and payloads are where they were asked for. */
export interface Item {
  readonly id: string;
  readonly state: string;
  readonly queue_name?: string;
  readonly partition?: number;
  readonly created_at: string;
  readonly attempts?: number;
  readonly max_attempts?: number;
  readonly lease_id?: string;
  readonly lease_deadline?: string;
  readonly enqueue_at?: string;
  readonly expire_at?: string;
  readonly ended_at?: string;
  readonly kind?: string;
  readonly reference?: string;
  readonly encoding?: string;
  readonly source_id?: string;
  readonly unique_key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly retry?: Readonly<Record<string, unknown>>;
  readonly last_error?: ItemError;
  readonly source?: DeadSource;
  readonly cancelled?: boolean;
  readonly json?: unknown;
  readonly utf8?: string;
  readonly bytes?: string;
  readonly result?: unknown;
  readonly progress?: unknown;
}

/** The states that a list may be of, those of what is alive first. */
export const STATES = [
  "waiting",
  "leased",
  "scheduled",
  "held",
  "dead",
  "completed",
  "expired",
  "cancelled",
  "rejected",
] as const;

const LIVE = new Set<string>(STATES.slice(0, 5));

/** Whether an item may still come to run, or be put back. */
export function isLive({ state }: Item): boolean {
  return LIVE.has(state);
}

export const TONES: Readonly<Record<string, Tone>> = {
  waiting: "idle",
  leased: "info",
  scheduled: "idle",
  held: "warn",
  dead: "bad",
  completed: "ok",
  expired: "warn",
  cancelled: "warn",
  rejected: "bad",
};

/** What a list may be narrowed by, beside the state: they have the names of the fields of items.list. */
export const FILTERS = ["kind", "reference", "error_type", "older_than", "newer_than"] as const;

/** Which items: the fields of items.list. */
export type Filter = Readonly<Record<string, string | number>>;

/** The filter that the address of the page says. */
export function filterOf(query: Readonly<Record<string, string>>): Filter {
  const named = ["state", ...FILTERS, "order"].filter((name) => query[name]);
  const filter = Object.fromEntries(named.map((name) => [name, query[name]!]));
  return query.partition ? { ...filter, partition: Number(query.partition) } : filter;
}

/** A query that shows all items again. */
export const NO_FILTER: Query = Object.fromEntries(
  ["state", ...FILTERS, "order", "partition", "cursor"].map((name) => [name, ""]),
);

export interface ItemPage {
  readonly items: readonly Item[];
  /** Where the list goes on; undefined at its end. */
  readonly next: string | undefined;
}

// Where a filter fits few, one call may find none: so many are made for one page.
const CALLS_MAX = 5;

/** A page of a list: it may hold fewer than `limit`, and yet not be the last. */
export async function listItems(
  queue: string,
  filter: Filter,
  {
    limit,
    cursor = "",
    payload = false,
    signal,
  }: {
    readonly limit: number;
    readonly cursor?: string;
    readonly payload?: boolean;
    readonly signal?: AbortSignal;
  },
): Promise<ItemPage> {
  const items: Item[] = [];
  let next: string | undefined = cursor;
  for (let calls = 0; calls < CALLS_MAX && next !== undefined && items.length < limit; calls++) {
    const page: { items?: Item[]; next_cursor?: string } = await call(
      "items.list",
      { queue_name: queue, ...filter, limit: limit - items.length, cursor: next, payload },
      { ...(signal && { signal }), ...(payload && { reviver: exactly }) },
    );
    items.push(...(page.items ?? []));
    next = page.next_cursor;
  }
  return { items, next };
}

const STEP = /\["([^"]*)"\]|\[(\d+)\]|\.?([^.[\]]+)/g;

/** Whether a column's path leads into the payload: those begin with `$`, others are fields of the item. */
export function isOfPayload(path: string): boolean {
  return path.startsWith("$");
}

/** What a path such as `$.order.lines[0].sku` or `headers.tenant` leads to in an item, as a text. */
export function valueAt(item: Item, path: string): string | undefined {
  const ofPayload = isOfPayload(path);
  let at: unknown = ofPayload ? payloadValue(item) : item;
  for (const [, quoted, index, name] of path.slice(ofPayload ? 1 : 0).matchAll(STEP)) {
    const step = quoted ?? index ?? name!;
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string, unknown>)[step];
  }
  if (at === undefined) return undefined;
  return typeof at === "string" ? at : JSON.stringify(at);
}

// A payload as a value: that of a text or of bytes only if it is JSON.
function payloadValue(item: Item): unknown {
  if (item.json !== undefined) return item.json;
  return jsonOf(textOf(item) ?? "");
}

/** The value of a JSON text with its numbers as they are written; undefined if it is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text, exactly);
  } catch {
    return undefined;
  }
}

const DIGITS_MAX = 15;

interface RawJson {
  readonly rawJSON: (text: string) => unknown;
}

/** For `JSON.parse`: a number of more digits than a double holds stays as it is written, where the browser can. */
export function exactly(_key: string, value: unknown, context?: { source?: string }): unknown {
  const source = context?.source;
  if (typeof value !== "number" || source === undefined || source.length <= DIGITS_MAX) {
    return value;
  }
  return (JSON as unknown as Partial<RawJson>).rawJSON?.(source) ?? value;
}

/** The bytes of a payload. */
export function bytesOf(item: Item): Uint8Array {
  if (item.bytes !== undefined) {
    return Uint8Array.from(atob(item.bytes), (each) => each.charCodeAt(0));
  }
  return new TextEncoder().encode(textOf(item) ?? "");
}

/** A payload as a text; undefined if its bytes are none. */
export function textOf(item: Item): string | undefined {
  if (item.json !== undefined) return JSON.stringify(item.json);
  if (item.bytes === undefined) return item.utf8 ?? "";
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(item));
  } catch {
    return undefined;
  }
}
