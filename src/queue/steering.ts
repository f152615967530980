// What clients do to single items that they name by their ids, whoever holds them: cancel and update. Each is
// one step of the loop: the item is looked for and what is asked is done before anything else happens, in one
// commit. A lease is never taken away: its holder is told with the next that it asks.

import { type QueueError, queueError } from "../errors.ts";
import type { ItemRecord } from "../storage/storage.ts";
import { sizeIn } from "./attributes.ts";
import { keyBehind } from "./behind.ts";
import { boundFor, isOnItsWay } from "./condemned.ts";
import { CANCELLED } from "./history.ts";
import { Item } from "./item.ts";
import { attributesAfterMove } from "./keys.ts";
import { isLater } from "./later.ts";
import {
  type FoundItem,
  foundIn,
  type ItemState,
  type Located,
  locate,
  stateOf,
} from "./lookup.ts";
import type { Loop } from "./loop.ts";
import { run } from "./operations.ts";
import { PartitionBatch } from "./partition-batch.ts";
import { lifetimeOf } from "./policy.ts";
import { roomForAll } from "./room.ts";
import { takeOut } from "./take-out.ts";
import type { Told } from "./watchers.ts";

/** What is to become of an item; what is undefined stays. Times in microseconds. */
export interface ItemChange {
  /** When it is to become leasable; 0 for at once. */
  readonly dueAt: number | undefined;
  readonly expireAt: number | undefined;
  /** The state in which it must be; "" for any. */
  readonly ifState: string;
}

/** What an item is to hold, made of what it held at this place: elsewhere it may hold something else by now. */
export interface NewContent {
  readonly ofSeq: number;
  readonly record: ItemRecord;
}

/**
 * Sees to it that an item never comes back: one that waits is removed, one that is leased is marked, and ends
 * with its lease. Answers it as it is then; nothing if there is none. One that was cancelled before is answered
 * as it is; one that has ended otherwise is refused (409).
 */
export function cancelItem(loop: Loop, id: string): Promise<readonly FoundItem[]> {
  return run(loop, [], async () => {
    const there = await locate(loop, id);
    if (there === undefined) return [];
    if ("ended" in there) {
      if (stateOf(there.ended) === "cancelled") return [there.ended];
      throw notIn(stateOf(there.ended), "cancelled");
    }
    const { partition, table, item, leased } = there;
    checkStays(there, "cancelled");
    const part = new PartitionBatch(partition, loop.context.clock.now());
    if (leased !== undefined) {
      if (leased.note?.cancelled !== true) {
        part.noteCancelled(leased);
        await loop.commitAlone(part);
      }
      return [foundIn(there)];
    }
    takeOut(part, table, item, CANCELLED);
    await loop.commitAlone(part);
    return [endedNow(there, part.now)];
  });
}

function endedNow(there: Located, now: number): FoundItem {
  return { ...foundIn(there), end: { state: "cancelled", endedAt: now, result: "" } };
}

/**
 * Changes an item that is not leased, which goes to the end of the line. Answers it as it is then; nothing if
 * there is none, and "stale" if the new content was made of an older one.
 */
export function updateItem(
  loop: Loop,
  id: string,
  { dueAt, expireAt, ifState }: ItemChange,
  [content]: readonly NewContent[],
): Promise<readonly FoundItem[] | "stale"> {
  return run(loop, [], async () => {
    const there = await locate(loop, id);
    if (there === undefined) return [];
    const state = stateOf("ended" in there ? there.ended : foundIn(there));
    if ("ended" in there || there.leased !== undefined) throw notIn(state, "changed");
    if (ifState !== "" && ifState !== state) throw otherState(state, ifState);
    const { partition, table, item } = there;
    checkStays(there, "changed");
    // Its time is when the one has ended that has its key.
    if (dueAt !== undefined && keyBehind(item.attributes) !== "") {
      const detail =
        "item cannot be moved in time; it waits for the end of the item that has its key";
      throw queueError("precondition_failed", { detail });
    }
    if (content !== undefined && content.ofSeq !== item.seq) return "stale";
    if (dueAt === undefined && expireAt === undefined && content === undefined) {
      return [foundIn(there)];
    }
    const now = loop.context.clock.now();
    const at = dueAt ?? item.dueAt;
    const record = content?.record ?? item.record;
    const next = new Item(record, isLater(at, now) ? at : 0);
    next.createdAt = item.createdAt;
    // What becomes leasable although it has expired gets its time anew, as it would have when it was due.
    const isLate = table === "scheduled" && next.dueAt === 0 && item.expireAt < now;
    const kept = isLate ? now + lifetimeOf(item.attributes, loop.rules) : item.expireAt;
    next.expireAt = expireAt ?? kept;
    next.attempts = item.attempts;
    next.attributes = attributesAfterMove(partition.ids, item);
    const more = Math.max(record.size - sizeIn(item.attributes), 0);
    const full = roomForAll([{ of: partition, items: 0, bytes: more }]);
    if (full !== undefined) throw full;
    const part = new PartitionBatch(partition, now);
    part.replace(table, item, next);
    await loop.commitAlone(part);
    // Of what is scheduled memory keeps no record.
    return [foundIn({ partition, item: { ...next, record } })];
  });
}

/**
 * Waits until an item is gone, for at most so many microseconds: "waits" if it is still there then, "absent" if
 * it is not there, or dead, to begin with.
 */
export async function watch(
  loop: Loop,
  id: string,
  { ticket, time }: { readonly ticket: string; readonly time: number },
): Promise<Told | "waits" | "absent"> {
  const { telling } = await run(loop, [], async () => {
    const there = await locate(loop, id);
    const isThere = there !== undefined && "item" in there && stateOf(foundIn(there)) !== "dead";
    // Nothing may happen to it between the look and the wait: both are in one step.
    return { telling: isThere ? loop.watchers.watch(id, ticket, time) : undefined };
  });
  if (telling === undefined) return "absent";
  return (await telling) ?? "waits";
}

function notIn(state: ItemState, verb: string): QueueError {
  return queueError("precondition_failed", { detail: `item cannot be ${verb}; it is ${state}` });
}

// A copy of it may be where it goes already: what would be done here would be done to half of it.
function checkStays({ table, item }: Located, verb: string): void {
  if (table !== "scheduled" || !isOnItsWay(item)) return;
  const to = boundFor(item);
  const where =
    to === undefined ? "dead, and on its way to the dead queue" : `on its way to '${to.to}'`;
  const detail = `item cannot be ${verb}; it is ${where}, try again when it is there`;
  throw queueError("precondition_failed", { detail });
}

function otherState(state: ItemState, wanted: string): QueueError {
  const detail = `item is in another state; it is ${state}, not ${wanted}`;
  return queueError("precondition_failed", { detail });
}
