// How items end: what becomes of each that leaves its partition for good, as all say it who take one out, so
// that one place can count it, remember it and tell it; and what is kept of it for a while, if its queue says so,
// as an entry under its id that is written in the commit that ends it.

import {
  DROP_REASONS,
  type Dropped,
  type DropReason,
  type ItemRecord,
  type KeyEntry,
  type StoredItem,
} from "../storage/storage.ts";
import { attributesOf, type ItemError } from "./attributes.ts";
import type { QueueRules } from "./context.ts";
import { KEY } from "./keys.ts";

/** What has become of an item that is in its partition no more. One object for each way: none is made for an item. */
export interface Ending {
  /** `deleted` as an operator has asked; `dropped` is dead without a dead queue; `moved` into another queue. */
  readonly how: "completed" | "cancelled" | "deleted" | "dropped" | "moved";
  /** Why it died, of one that is dropped, and of one that moved into a dead queue; else "". */
  readonly reason: DropReason | "";
}

export const COMPLETED: Ending = { how: "completed", reason: "" };
export const CANCELLED: Ending = { how: "cancelled", reason: "" };
export const DELETED: Ending = { how: "deleted", reason: "" };
/** Into another queue, alive. */
export const MOVED: Ending = { how: "moved", reason: "" };

/** Dead, and gone for good: by why. */
export const DROPPED = byReason("dropped");
/** Dead, and moved into the dead queue: by why. */
export const BURIED = byReason("moved");

function byReason(how: Ending["how"]): Readonly<Record<DropReason, Ending>> {
  return Object.fromEntries(
    DROP_REASONS.map((reason): [DropReason, Ending] => [reason, { how, reason }]),
  ) as Record<DropReason, Ending>;
}

/** One more that was dropped for a reason. */
export function plusOne(to: Dropped, reason: DropReason): Dropped {
  return { ...to, [reason]: to[reason] + 1 };
}

// --- what is kept of what has ended ---

/** What a queue keeps; see `QueueRules`. Times in microseconds. */
export interface Keeping {
  readonly time: number;
  readonly max: number;
  readonly payload: boolean;
}

/** What the rules of a queue say; undefined if it keeps nothing, and then none of this costs anything. */
export function keepingOf({
  keepCompleted,
  keepMax,
  keepPayload,
}: Pick<QueueRules, "keepCompleted" | "keepMax" | "keepPayload">): Keeping | undefined {
  if (keepCompleted === 0) return undefined;
  return { time: keepCompleted, max: keepMax, payload: keepPayload };
}

/** Whether what dies must be seen to before it is gone. */
export function buries({
  deadQueue,
  keepCompleted,
}: Pick<QueueRules, "deadQueue" | "keepCompleted">): boolean {
  return deadQueue !== "" || keepCompleted > 0;
}

/** Bytes of a payload that is kept; a larger one is not. */
export const KEPT_PAYLOAD_MAX = 64 * 1024;

/** How an item ended, as it is kept under its id. */
export interface Kept {
  readonly state: "completed" | "cancelled" | "expired" | "rejected";
  /** Why it died, if it did. */
  readonly reason?: DropReason;
  readonly endedAt: number;
  readonly createdAt: number;
  readonly attempts: number;
  /** That of its record. */
  readonly text: string;
  readonly error?: ItemError;
  /** As its attributes have it; not given if there is none. */
  readonly traceparent?: string;
  readonly tracestate?: string;
  /** JSON, as its consumer has written it. */
  readonly result?: string;
  /** In base64. */
  readonly payload?: string;
}

/** An item that ends, as far as it is kept. */
export type Leaving = Pick<StoredItem, "createdAt" | "attempts" | "attributes">;

/** The entry that keeps how an item has ended; undefined if that is not kept: where it has gone, it goes on. */
export function entryOfEnded(
  id: string,
  item: Leaving,
  {
    ending,
    record,
    result,
    keeping,
    now,
  }: {
    readonly ending: Ending;
    readonly record: ItemRecord;
    readonly result: string;
    readonly keeping: Keeping;
    readonly now: number;
  },
): KeyEntry | undefined {
  const { how, reason } = ending;
  if (how === "moved" || how === "deleted") return undefined;
  const { error, traceparent, tracestate } = attributesOf(item.attributes);
  const { start, end, bytes, text } = record;
  const hasPayload = keeping.payload && end > start && end - start <= KEPT_PAYLOAD_MAX;
  const kept: Kept = {
    state: how !== "dropped" ? how : reason === "expired" ? "expired" : "rejected",
    ...(reason !== "" && { reason }),
    endedAt: now,
    createdAt: item.createdAt,
    attempts: item.attempts,
    text,
    ...(error !== undefined && { error }),
    ...(traceparent !== "" && { traceparent }),
    ...(tracestate !== "" && { tracestate }),
    ...(result !== "" && { result }),
    ...(hasPayload && { payload: bytes.toString("base64", start, end) }),
  };
  const value = JSON.stringify(kept);
  return { kind: KEY.ended, key: id, seq: 0, until: now + keeping.time, value };
}

/** Until when an entry of one that has ended is kept by what the queue says now; 0 if that is nothing. */
export function keptUntil({ value, until }: KeyEntry, keeping: Keeping | undefined): number {
  if (keeping === undefined) return 0;
  return Math.min(until, (JSON.parse(value) as Kept).endedAt + keeping.time);
}
