// What one batch does to the names of a partition: those of items that come, move and go, and entries that end by
// themselves. A unique key is let go and taken again in one batch by what is leased, comes back or takes the place
// of another: of all that is said of one, the last counts.

import type { KeyEntry, KeyName } from "../storage/storage.ts";
import { attributesOf } from "./attributes.ts";
import { entriesOf, KEY, namesOf } from "./keys.ts";
import { keyHeld } from "./unique.ts";

export class Names {
  /** Complete after `finish`, as is `adds`. */
  readonly removes: KeyName[] = [];
  readonly adds: KeyEntry[] = [];
  /** When the first of `adds` that end by themselves does. */
  endAt = Number.POSITIVE_INFINITY;
  #unique: Map<string, KeyEntry | undefined> | undefined;

  /** An item with such attributes lies under a number now, and is not leased. */
  put(attributes: string, seq: number): void {
    if (attributes === "") return;
    this.adds.push(...entriesOf(attributes, seq));
    const key = keyHeld(attributes, false);
    if (key !== "") this.take({ key, seq, until: 0, value: attributesOf(attributes).id });
  }

  /** One that was not leased is. */
  lease(attributes: string): void {
    if (attributes === "") return;
    const key = keyHeld(attributes, false);
    if (key !== keyHeld(attributes, true)) this.#letGo(key);
  }

  /** One is there no more. */
  drop(attributes: string, isLeased: boolean): void {
    if (attributes === "") return;
    this.removes.push(...namesOf(attributes));
    const key = keyHeld(attributes, isLeased);
    if (key !== "") this.#letGo(key);
  }

  /** A unique key is that of an item from now on. */
  take(entry: Omit<KeyEntry, "kind">): void {
    this.#unique ??= new Map();
    this.#unique.set(entry.key, { kind: KEY.unique, ...entry });
  }

  #letGo(key: string): void {
    this.#unique ??= new Map();
    this.#unique.set(key, undefined);
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

  finish(): void {
    if (this.#unique === undefined) return;
    for (const [key, entry] of this.#unique) {
      if (entry === undefined) {
        this.removes.push({ kind: KEY.unique, key });
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
