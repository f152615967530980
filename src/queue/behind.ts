// Items that wait for the end of the one that has their unique key (`keep_latest`): one for each key at most. They
// lie among the scheduled ones, due in a time that never comes; in the commit that ends the one before it, whatever
// ends that, such an item gets the key, and its turn. Memory holds all of a partition, as planning cannot read;
// they are bounded.

import type { Storage } from "../storage/storage.ts";
import { attributesOf, withAttributes } from "./attributes.ts";
import { KEY } from "./keys.ts";
import type { Due } from "./partition.ts";

/** When they are due: in the year 2255, about as late as a number can tell. */
export const BEHIND_AT = 9e15;

/** So many may wait behind others in a partition. */
export const BEHIND_MAX = 100_000;

const STEP = 1_000;

/** The key for which an item waits behind another; "" if it does not. */
export function keyBehind(attributes: string): string {
  const { unique } = attributesOf(attributes);
  return unique?.while === "behind" ? unique.key : "";
}

/** When an item that waits behind another is to become leasable at the earliest; 0 for with its turn. */
export function earliestOf(attributes: string): number {
  return attributesOf(attributes).unique?.at ?? 0;
}

/** The attributes of an item that has got the key for which it waited; others are left as they are. */
export function inFront(attributes: string): string {
  const { unique } = attributesOf(attributes);
  if (unique?.while !== "behind") return attributes;
  const { key, then = "pending" } = unique;
  return withAttributes(attributes, { unique: { key, while: then } });
}

/**
 * When an item that waits behind another has the key no more, whatever becomes of it: what takes the place of such an
 * item says that for itself. 0 if its key ends with it.
 */
export function keyUntil(attributes: string): number {
  return attributesOf(attributes).unique?.until ?? 0;
}

/**
 * Items that are to leave together, those that wait behind others first: else one of them would get its turn with
 * the end of the one before it, and leave as what it is no more.
 */
export function behindFirst<T extends { readonly attributes: string }>(
  items: readonly T[],
): readonly T[] {
  const behind = items.filter(({ attributes }) => keyBehind(attributes) !== "");
  if (behind.length === 0) return items;
  return [...behind, ...items.filter(({ attributes }) => keyBehind(attributes) === "")];
}

/** Reads those of a partition, by their keys. */
export async function readBehind(
  storage: Storage,
  partition: number,
): Promise<ReadonlyMap<string, Due>> {
  const behind = new Map<string, Due>();
  for (let after = ""; ; ) {
    const options = { after, limit: STEP, order: "ascending" } as const;
    const entries = await storage.listKeys(partition, KEY.behind, options);
    for (const { key, seq } of entries) {
      const one = { from: seq, before: seq + 1, limit: 1, bytesMax: 1, records: false };
      const [item] = await storage.readItems(partition, "scheduled", one);
      if (item === undefined) throw new Error(`'${key}' is known, its item is not there`);
      behind.set(key, { at: item.dueAt, seq, item });
    }
    if (entries.length < STEP) return behind;
    after = entries.at(-1)!.key;
  }
}
