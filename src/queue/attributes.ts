// What an item carries beside its place, its times and its attempts: one text, which storage and threads
// pass on as it is, and which only this file packs and unpacks. It is JSON, so that one who opens a file
// can read it, and "" for nearly all items, which so pay nothing. Members that this version does not know
// are kept.

import type { DropReason } from "../storage/storage.ts";
import { TRACEPARENT_LENGTH, type TraceContext } from "../trace-context.ts";

/** The trace that an item belongs to is among them. */
export interface Attributes extends TraceContext {
  /** What it was copied from, unique within its partition; "" for none. */
  readonly source: string;
  /** How often it may be leased, as imported; 0 for none. Told to those who ask, and nothing else. */
  readonly max: number;
  /** The id that it had first, if it has moved to another number since; "" if not. See `idOf`. */
  readonly id: string;
  /** Why it is to go to the dead queue, and not to be leased any more; "" if it is not. */
  readonly died: DropReason | "";
  /** By what its copy is known where it is on its way to, if not by its number or, once it was produced for that, by its id; "" if so. */
  readonly sentAs: string;
  /** The name that only one item of its queue has at a time; see unique.ts. */
  readonly unique: Unique | undefined;
  /** What it says of its retries, in place of its queue. */
  readonly retry: RetryOverrides | undefined;
  /** How long it may live, in place of what its queue says, in microseconds; 0 for as its queue says. */
  readonly expireIn: number;
  /** Why its last attempt failed. */
  readonly error: ItemError | undefined;
  /** Where it died, if it is in a dead queue. */
  readonly from: Origin | undefined;
  /** Whether it is in a dead queue whose storage is another than that where it died. */
  readonly isApart: boolean;
  /** The redrive that has put it where it is; "" for none. */
  readonly redrive: string;
  /** Where it is to be, if it is still on its way there. */
  readonly bound: Bound | undefined;
  /** How many bytes it counts for in the account of its namespace; 0 where none are counted. */
  readonly size: number;
}

/**
 * Until when a name is taken: until its item is leased, until it has ended, or for a time, whatever becomes of it. Or
 * the item waits behind the one that has the name.
 */
export interface Unique {
  readonly key: string;
  readonly while: "waiting" | "pending" | "period" | "behind";
  /** Of one that waits behind: when it is to become leasable, if that is after its turn has come. */
  readonly at?: number;
  /** Of one that waits behind: until when it has the name once its turn has come; not given for its end. */
  readonly then?: "waiting" | "period";
  /** When that period is over, in microseconds since 1970. */
  readonly until?: number;
}

/** The queue that an item is on its way to, and when it is to become leasable there; 0 for at once. */
export interface Bound {
  readonly to: string;
  readonly at: number;
}

/** What is not given is as its queue has it. Times in microseconds. */
export interface RetryOverrides {
  readonly delay?: number;
  readonly factor?: number;
  readonly maxDelay?: number;
  readonly jitter?: number;
  readonly maxAttempts?: number;
}

/** As its consumer has said it. */
export interface ItemError {
  readonly type: string;
  readonly message: string;
  readonly stack: string;
}

/** Times in microseconds since 1970. */
export interface Origin {
  readonly queue: string;
  readonly attempts: number;
  readonly createdAt: number;
  readonly diedAt: number;
  readonly reason: DropReason;
  /** What is the same of items that died alike. */
  readonly fingerprint: string;
}

export const NO_ATTRIBUTES: Attributes = Object.freeze({
  // First, for `isPlain`.
  traceparent: "",
  tracestate: "",
  source: "",
  max: 0,
  id: "",
  died: "",
  sentAs: "",
  unique: undefined,
  isApart: false,
  retry: undefined,
  expireIn: 0,
  error: undefined,
  from: undefined,
  redrive: "",
  bound: undefined,
  size: 0,
});

// Items that are looked at together mostly have the same, and one is mostly looked at several times.
let lastText = "";
let lastAttributes = NO_ATTRIBUTES;

const SIZED = '{"size":';
const TRACED = '{"traceparent":"';
const TRACE_END = TRACED.length + TRACEPARENT_LENGTH;

/** Whether an item has none, or no other than its traceparent and its size, which nothing here goes by. */
export function isPlain(text: string): boolean {
  return text === "" || isSized(text) || isTraced(text);
}

function isSized(text: string): boolean {
  return text.startsWith(SIZED) && !text.includes(",");
}

function isTraced(text: string): boolean {
  if (!text.startsWith(TRACED)) return false;
  const next = TRACE_END + 1;
  return (
    text.length === next + 1 || (text.startsWith(',"size":', next) && !text.includes(",", next + 1))
  );
}

/** The traceparent that a text says which is plain; "" for none. */
export function plainTraceparent(text: string): string {
  return text.startsWith(TRACED) ? text.slice(TRACED.length, TRACE_END) : "";
}

/** The text of an item that has this trace, and nothing else. */
export function tracedText({ traceparent, tracestate }: TraceContext): string {
  if (tracestate === "") return `${TRACED}${traceparent}"}`;
  return withAttributes("", { traceparent, tracestate });
}

/** The size that a text says. */
export function sizeIn(text: string): number {
  if (text === "") return 0;
  return isSized(text) ? Number(text.slice(SIZED.length, -1)) : attributesOf(text).size;
}

/** A text with this size. */
export function withSize(text: string, size: number): string {
  const isAlone = text === "" || isSized(text);
  return isAlone && size > 0 ? `${SIZED}${size}}` : withAttributes(text, { size });
}

/** What a text says. */
export function attributesOf(text: string): Attributes {
  if (text === "") return NO_ATTRIBUTES;
  if (text !== lastText) {
    lastAttributes = Object.freeze({ ...NO_ATTRIBUTES, ...(JSON.parse(text) as object) });
    lastText = text;
  }
  return lastAttributes;
}

/** A text with some attributes set, or taken away by the values that stand for none. */
export function withAttributes(text: string, changes: Partial<Attributes>): string {
  const all = { ...attributesOf(text), ...changes };
  const none: Readonly<Record<string, unknown>> = { ...NO_ATTRIBUTES };
  const set = Object.entries(all).filter(([name, value]) => value !== none[name]);
  return set.length === 0 ? "" : JSON.stringify(Object.fromEntries(set));
}
