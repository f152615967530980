// The names by which items are found, other than their numbers. Each is an entry in storage, written in the
// commit that adds its item, written anew when the item gets another number, and removed with it. An item
// without attributes has none.

import type { KeyEntry, KeyName, StoredItem } from "../storage/storage.ts";
import { attributesOf, isPlain, withAttributes } from "./attributes.ts";
import type { IdSpace } from "./ids.ts";

/** Kinds of names. They lie in storage: a number is never given to another kind. */
export const KEY = {
  /** What an item was copied from. */
  source: 1,
  /** The first id of an item that has moved. */
  id: 2,
  /** What a request was sent with, so that it is not done twice. */
  idempotency: 3,
  /** What only one item may have at a time. */
  unique: 4,
  /** What has become of an item that has ended, by its id. */
  ended: 5,
  /** What is noted of a leased item: that it is cancelled, or how far it is; by its number. */
  note: 6,
  /** A redrive, by its id. */
  redrive: 7,
  /** What waits for the end of the item that has a unique key, by that key. */
  behind: 8,
  /** A queue to which items were sent alive, by its name. */
  sentTo: 9,
  /** For how long what has ended was kept last, and how far what is kept has been gone through for that. */
  keeping: 12,
} as const;

/** The names of an item with such attributes. */
export function namesOf(attributes: string): readonly KeyName[] {
  if (isPlain(attributes)) return [];
  const { source, id } = attributesOf(attributes);
  const names: KeyName[] = [];
  if (source !== "") names.push({ kind: KEY.source, key: source });
  if (id !== "") names.push({ kind: KEY.id, key: id });
  return names;
}

/** The entries of an item with such attributes. */
export function entriesOf(attributes: string, seq: number): readonly KeyEntry[] {
  return namesOf(attributes).map((name) => ({ ...name, seq, until: 0, value: "" }));
}

/**
 * The id of an item, from when it was accepted until its end: where it lies if it has never moved, or what
 * it has kept.
 */
export function idOf(ids: IdSpace, item: Pick<StoredItem, "seq" | "attributes">): string {
  return attributesOf(item.attributes).id || ids.id(item.seq);
}

/** The attributes of an item once it has moved to another number. */
export function attributesAfterMove(
  ids: IdSpace,
  item: Pick<StoredItem, "seq" | "attributes">,
): string {
  const { id } = attributesOf(item.attributes);
  return id === "" ? withAttributes(item.attributes, { id: ids.id(item.seq) }) : item.attributes;
}
