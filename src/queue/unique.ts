// Unique keys: names of which a queue has one item at a time, over all its partitions. The entry of a key
// lies with its item, and is written, moved and removed in the commits of that. Only the item that has the key
// touches its entry: one whose key ends before it does, with its first lease, is without it from then on, and
// one that has it for a time leaves the entry alone, which then ends by itself. Who may have a key is decided in
// duplicates.ts.

import { HOUR, MILLISECOND } from "../clock.ts";
import { attributesOf, isPlain, type Unique, withAttributes } from "./attributes.ts";

/** How long a key may be, and how long it may be taken beyond its item, in microseconds. */
export const UNIQUE_KEY_BYTES_MAX = 255;
export const UNIQUE_FOR_MIN = MILLISECOND;
export const UNIQUE_FOR_MAX = 365 * 24 * HOUR;

/** What becomes of an item whose key is taken. */
export const ON_DUPLICATE = ["return", "reject", "replace", "extend", "keep_latest"] as const;
export type OnDuplicate = (typeof ON_DUPLICATE)[number];

/** A key as a producer asks for it. */
export interface UniqueWish extends Unique {
  /** With `period`: for how long, in microseconds; else 0. */
  readonly for: number;
  readonly onDuplicate: OnDuplicate;
}

/** The key that an item has, by its attributes and whether it is leased; "" if it has none that ends with it. */
export function keyHeld(attributes: string, isLeased: boolean): string {
  if (isPlain(attributes)) return "";
  const { unique } = attributesOf(attributes);
  if (unique === undefined || unique.while === "period" || unique.while === "behind") return "";
  return isLeased && unique.while === "waiting" ? "" : unique.key;
}

/** The attributes of an item that was leased and comes back: without a key that ended with its lease. */
export function attributesAfterLease(attributes: string): string {
  if (isPlain(attributes) || attributesOf(attributes).unique?.while !== "waiting")
    return attributes;
  return withAttributes(attributes, { unique: undefined });
}
