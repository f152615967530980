// What one batch does to the names of a partition: those of items that come, move and go, and entries that end by
// themselves. A unique key is let go and taken again in one batch by what is leased, comes back or takes the place
// of another: of all that is said of one, the last counts.

import type { KeyEntry, KeyName, StoredItem } from "../storage/storage.ts";
import { attributesOf, isPlain } from "./attributes.ts";
import { inFront, keyBehind, keyUntil } from "./behind.ts";
import type { Item } from "./item.ts";
import { entriesOf, KEY, namesOf } from "./keys.ts";
import type { Due } from "./partition.ts";
import { trailLeftBy } from "./trails.ts";
import { keyHeld } from "./unique.ts";

export class Names {
  /** Complete after `finish`, as is `adds`. */
  readonly removes: KeyName[] = [];
  readonly adds: KeyEntry[] = [];
  /** When the first of `adds` that end by themselves does. */
  endAt = Number.POSITIVE_INFINITY;
  // By kind and key: an entry, or the name of one that goes.
  #unique: Map<string, KeyEntry | KeyName> | undefined;
  // What waits behind others, as it was and, by key, as it is now.
  readonly #behindBefore: Map<string, Due>;
  #behind: Map<string, StoredItem | undefined> | undefined;

  constructor(behind: Map<string, Due>) {
    this.#behindBefore = behind;
  }

  /** An item with such attributes lies under a number now, and is not leased. */
  put(attributes: string, seq: number): void {
    if (isPlain(attributes)) return;
    this.adds.push(...entriesOf(attributes, seq));
    const key = keyHeld(attributes, false);
    if (key !== "") this.take({ key, seq, until: 0, value: attributesOf(attributes).id });
    const behind = keyBehind(attributes);
    if (behind !== "") this.#set({ kind: KEY.behind, key: behind, seq, until: 0, value: "" });
  }

  /** One that was not leased is. */
  lease(attributes: string): void {
    if (isPlain(attributes)) return;
    const key = keyHeld(attributes, false);
    if (key !== keyHeld(attributes, true)) this.#letGo(KEY.unique, key);
  }

  /** One has left the partition. */
  leave(item: Pick<StoredItem, "attributes" | "createdAt">, isLeased: boolean, now: number): void {
    if (item.attributes === "") return;
    this.drop(item.attributes, isLeased);
    const trail = trailLeftBy(item, now);
    if (trail !== undefined) this.keep(trail);
  }

  /** One is there no more. */
  drop(attributes: string, isLeased: boolean): void {
    if (isPlain(attributes)) return;
    this.removes.push(...namesOf(attributes));
    const key = keyHeld(attributes, isLeased);
    if (key !== "") this.#letGo(KEY.unique, key);
    const behind = keyBehind(attributes);
    if (behind !== "" && this.nextOf(behind) === undefined) {
      throw new Error(`what waits behind '${behind}' has got its turn, and cannot leave too`);
    }
    this.passBehind(attributes);
  }

  /** One that is not leased has its unique key no more, and waits behind no other. */
  giveUp(attributes: string): void {
    const key = keyHeld(attributes, false);
    if (key !== "") this.#letGo(KEY.unique, key);
    this.passBehind(attributes);
  }

  /** An item that this batch adds may wait behind another. */
  noteBehind(item: StoredItem): void {
    const key = keyBehind(item.attributes);
    if (key !== "") this.#noteBehind(key, item);
  }

  /** One does not wait behind another any more. */
  passBehind(attributes: string): void {
    const key = keyBehind(attributes);
    if (key === "") return;
    this.#letGo(KEY.behind, key);
    this.#noteBehind(key, undefined);
  }

  /** One that this batch adds, and that can move only once it is there, is behind no other, and due at this time. */
  putInFront(item: Item, at: number, now: number): void {
    const before = item.attributes;
    this.passBehind(before);
    item.attributes = inFront(before);
    item.dueAt = at;
    const { unique, id: value } = attributesOf(item.attributes);
    const { seq } = item;
    if (unique!.while === "period") this.takeAfter(before, item, now);
    else this.take({ key: unique!.key, seq, until: 0, value });
  }

  /** An item that waited behind another, and has moved, may have the key for what is left of a time. */
  takeAfter(before: string, moved: Pick<StoredItem, "seq" | "attributes">, now: number): void {
    const key = keyBehind(before);
    const until = key === "" ? 0 : keyUntil(before);
    const { seq, attributes } = moved;
    if (until > now) this.take({ key, seq, until, value: attributesOf(attributes).id });
  }

  #noteBehind(key: string, item: StoredItem | undefined): void {
    this.#behind ??= new Map();
    this.#behind.set(key, item);
  }

  /** The item that waits behind the one with a key, and whether this batch adds it. */
  nextOf(key: string): { readonly item: StoredItem; readonly isNew: boolean } | undefined {
    const isNew = this.#behind?.has(key) === true;
    const item = isNew ? this.#behind!.get(key) : this.#behindBefore.get(key)?.item;
    return item === undefined ? undefined : { item, isNew };
  }

  /** A unique key is that of an item from now on. */
  take(entry: Omit<KeyEntry, "kind">): void {
    this.#set({ kind: KEY.unique, ...entry });
  }

  #set(entry: KeyEntry): void {
    this.#unique ??= new Map();
    this.#unique.set(`${entry.kind} ${entry.key}`, entry);
  }

  #letGo(kind: number, key: string): void {
    this.#unique ??= new Map();
    this.#unique.set(`${kind} ${key}`, { kind, key });
  }

  /** Keeps an entry until it ends. */
  keep(entry: KeyEntry): void {
    this.adds.push(entry);
    this.#noteEnd(entry);
  }

  /** Removes entries that have ended. */
  forget(ended: readonly KeyName[]): void {
    this.removes.push(...ended);
  }

  /** The commit has succeeded: memory follows. */
  apply(): void {
    if (this.#behind === undefined) return;
    for (const [key, item] of this.#behind) {
      if (item === undefined) this.#behindBefore.delete(key);
      else this.#behindBefore.set(key, { at: item.dueAt, seq: item.seq, item });
    }
  }

  finish(): void {
    if (this.#unique === undefined) return;
    for (const entry of this.#unique.values()) {
      if (!("seq" in entry)) {
        this.removes.push(entry);
        continue;
      }
      this.adds.push(entry);
      if (entry.until !== 0) this.#noteEnd(entry);
    }
  }

  #noteEnd({ until }: KeyEntry): void {
    this.endAt = Math.min(this.endAt, until);
  }
}
