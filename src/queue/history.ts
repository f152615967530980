// How items end: what becomes of each that leaves its partition for good, as all say it who take one out, so
// that one place can count it, remember it and tell it.

import { DROP_REASONS, type Dropped, type DropReason } from "../storage/storage.ts";

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
