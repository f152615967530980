// The pages of /v2/items.list: which items of a queue are wanted, from where on, and how much is looked at
// for one page. What is there is read by its place, what has ended by its id; everything else that is asked
// is looked at item by item, within a bound, so that a filter costs what it reads.

import type { ItemsListRequestSchema } from "../codec/gen/querator/v2/items_pb.ts";
import type { Decoded } from "../codec/message.ts";
import { invalidField } from "../errors.ts";
import type { Exchange } from "../http/edge.ts";
import {
  attributesOf,
  ENDED_STATES,
  type FoundItem,
  idError,
  LIVE_STATES,
  type ListedItem,
  type QueueHandle,
  stateOf,
} from "../queue/queue.ts";
import { readDuration } from "../registry/settings.ts";
import { listPrint, readCursor, toCursor } from "./cursor.ts";
import { kindAndReference, stableId, toItemV2 } from "./item-records.ts";

/** The states by which items may be listed. */
export const LISTED_STATES = [...LIVE_STATES, ...ENDED_STATES] as const;
export const ORDERS = ["oldest", "newest"] as const;

/** Items that one call looks at, whatever it is asked for. */
export const LOOKED_AT_MAX = 10_000;
/** Bytes of records in one page; an item more may come with it. */
const PAGE_BYTES = 16 * 1024 * 1024;
// Of what is looked at and is mostly not wanted, so many are read at a time.
const SIFTED = 500;

const OTHER_LIST = "it was made for another queue, partition, state, order or filter";

type ListRequest = Decoded<typeof ItemsListRequestSchema>;
type Order = (typeof ORDERS)[number];

/** What of a request is checked before it is known which queue it is about. */
export interface Wanted {
  readonly state: string;
  readonly order: Order;
  /** Only those of which this is so; undefined for all. */
  readonly filter: ((item: ListedItem & Partial<FoundItem>) => boolean) | undefined;
}

export function readWanted(request: ListRequest, now: number): Wanted {
  const { state, order, kind, reference, errorType, olderThan, newerThan } = request;
  checkOneOf(state, "state", LISTED_STATES);
  checkOneOf(order, "order", ORDERS);
  // What was produced in between.
  const until =
    olderThan === "" ? Number.POSITIVE_INFINITY : now - readAge("older_than", olderThan);
  const from = newerThan === "" ? Number.NEGATIVE_INFINITY : now - readAge("newer_than", newerThan);
  checkAges({ isNone: from > until, olderThan, newerThan });
  const isPlain = [kind, reference, errorType, olderThan, newerThan].every((each) => each === "");
  const filter = (item: ListedItem & Partial<FoundItem>): boolean => {
    if (item.createdAt > until || item.createdAt < from) return false;
    if (errorType !== "" && attributesOf(item.attributes).error?.type !== errorType) return false;
    if (kind === "" && reference === "") return true;
    const texts = kindAndReference(item.record);
    return (
      (kind === "" || texts.kind === kind) && (reference === "" || texts.reference === reference)
    );
  };
  return {
    state,
    order: order === "newest" ? order : "oldest",
    filter: isPlain ? undefined : filter,
  };
}

function readAge(field: string, given: string): number {
  const age = readDuration(given, { field, called: field, examples: "30s, 5m or 1h" });
  if (age >= 0) return age;
  throw invalidField(field, `${field} is invalid; '${given}' cannot be negative`);
}

/** Refuses two ages that no item can have at once. */
export function checkAges(of: {
  readonly isNone: boolean;
  readonly olderThan: string;
  readonly newerThan: string;
}): void {
  if (!of.isNone) return;
  const both = `both older than '${of.olderThan}' and newer than '${of.newerThan}'`;
  throw invalidField("newer_than", `newer_than is invalid; nothing is ${both}`);
}

/** Refuses what is given and is none of these. */
export function checkOneOf(given: string, field: string, of: readonly string[]): void {
  if (given === "" || of.includes(given)) return;
  throw invalidField(field, `${field} is invalid; '${given}' is none of ${of.join(", ")}`);
}

/**
 * Looks at items from the cursor on, partition by partition, until there are enough of those that are
 * wanted, or enough has been looked at.
 */
export async function pageOf(
  queue: QueueHandle,
  request: ListRequest,
  wanted: Wanted,
  exchange: Exchange,
) {
  const { limit, payload, partition: only } = request;
  const isWanted = filterOf(wanted);
  const print = printOf(request);
  let { partition, pivot } = startOf(queue, request, print);
  const items: ReturnType<typeof toItemV2>[] = [];
  const end = only === undefined ? queue.partitionCount : only + 1;
  for (let lookedAt = 0, bytes = 0; partition < end; ) {
    if (items.length === limit || lookedAt >= LOOKED_AT_MAX || bytes >= PAGE_BYTES) {
      return { items, nextCursor: toCursor([partition, pivot, print]) };
    }
    const left = limit - items.length;
    const page = await readPage(queue, partition, {
      pivot,
      limit: Math.min(
        isWanted === undefined ? left : Math.max(left, SIFTED),
        LOOKED_AT_MAX - lookedAt,
      ),
      wanted,
      isGone: () => exchange.isGone(),
    });
    if (page.length === 0) {
      partition++;
      pivot = "";
      continue;
    }
    for (const item of page) {
      if (items.length === limit) break;
      pivot = behind(queue, partition, item, wanted);
      lookedAt++;
      bytes += item.record.size;
      if (isWanted?.(item) !== false) items.push(toItemV2(item, { partition, payload }));
    }
  }
  return { items };
}

type PageItem = ListedItem & Partial<FoundItem>;

function isEnded(state: string): boolean {
  return ENDED_STATES.some((each) => each === state);
}

// What is left to be asked of items that are read for this state.
function filterOf({ state, filter }: Wanted): ((item: PageItem) => boolean) | undefined {
  if (state === "" || state === "held") return filter;
  const fits = (item: PageItem): boolean => {
    const own = stateOf(item);
    // What is dead waits as well, in its dead queue.
    if (state === "waiting") return own === "waiting" || (own === "dead" && item.dueAt === 0);
    return own === state;
  };
  if (filter === undefined) return state === "scheduled" ? undefined : fits;
  return (item) => fits(item) && filter(item);
}

interface Reading {
  readonly pivot: string;
  readonly limit: number;
  readonly wanted: Wanted;
  readonly isGone: () => boolean;
}

function readPage(
  queue: QueueHandle,
  partition: number,
  { pivot, limit, wanted: { state, order }, isGone }: Reading,
): Promise<readonly PageItem[]> {
  if (isEnded(state)) return queue.listEnded(partition, { after: pivot, limit, order });
  const table = state === "scheduled" || state === "held" ? state : "items";
  return queue.list(partition, { table, pivot, limit, order, isGone });
}

// Where the page behind an item begins.
function behind(
  queue: QueueHandle,
  partition: number,
  item: PageItem,
  { state, order }: Wanted,
): string {
  if (isEnded(state)) return stableId(item);
  return queue.ids(partition).id(order === "newest" ? item.seq : item.seq + 1);
}

// All that says which items the list has, and in which order.
function printOf(request: ListRequest): string {
  const { queueName, partition, state, kind, reference, errorType } = request;
  const { olderThan, newerThan } = request;
  const order = request.order === "newest" ? 1 : 0;
  const filters = [state, kind, reference, errorType, olderThan, newerThan];
  return listPrint([queueName, partition, order, ...filters]);
}

function startOf(
  queue: QueueHandle,
  { cursor, partition: only }: ListRequest,
  print: string,
): { partition: number; pivot: string } {
  if (cursor === "") return { partition: only ?? 0, pivot: "" };
  const [partition, pivot, madeFor] = readCursor(cursor, 3);
  if (madeFor !== print) throw invalidField("cursor", `cursor is invalid; ${OTHER_LIST}`);
  const isOurs =
    Number.isInteger(partition) &&
    (only === undefined ? Number(partition) < queue.partitionCount : partition === only) &&
    (pivot === "" || (typeof pivot === "string" && idError(pivot) === undefined));
  if (isOurs && Number(partition) >= 0)
    return { partition: Number(partition), pivot: String(pivot) };
  throw invalidField("cursor", "cursor is invalid; it is none of this list");
}
