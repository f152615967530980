// What is noted of a leased item: that it was cancelled, which its holder is yet to learn, and how far its
// holder says that it is. A note is an entry under the number of its item, so it is there after a restart,
// and goes with the lease, however that ends. An item of which nothing is noted has none of this.

import { SECOND } from "../clock.ts";
import type { KeyEntry, KeyName, Storage } from "../storage/storage.ts";
import type { Item } from "./item.ts";
import { KEY } from "./keys.ts";
import type { LeasedItems } from "./leased-items.ts";

export interface Note {
  /** It is to end, and never comes back. */
  readonly cancelled: boolean;
  /** JSON as its holder has written it; "" for none. */
  readonly progress: string;
  /** When it was written down last, as far as memory knows. */
  readonly writtenAt: number;
}

/** Progress of an item is written at most this often; what comes in between is known to memory only. */
const WRITE_INTERVAL = SECOND;

const NOTHING_NOTED: Note = { cancelled: false, progress: "", writtenAt: Number.NEGATIVE_INFINITY };

// Notes that are read at a time.
const STEP = 1_000;

/** The notes that one batch writes in one partition; see PartitionBatch. */
export class PlannedNotes {
  readonly #notes = new Map<Item, Note>();
  readonly #removed: Item[] = [];

  /** Its lease ends: so does what is noted of it. */
  end(item: Item): void {
    this.#notes.delete(item);
    if (item.note !== undefined) this.#removed.push(item);
  }

  cancel(item: Item, now: number): void {
    this.#notes.set(item, { ...this.#noteOf(item), cancelled: true, writtenAt: now });
  }

  /** Notes how far an item is; false if that was written too lately, and memory is all that knows it. */
  progress(item: Item, progress: string, now: number): boolean {
    const note = this.#noteOf(item);
    if (note.writtenAt <= now && now - note.writtenAt < WRITE_INTERVAL) {
      const next = { ...note, progress };
      // Of what this batch writes the last stands.
      if (this.#notes.has(item)) this.#notes.set(item, next);
      else item.note = next;
      return false;
    }
    this.#notes.set(item, { ...note, progress, writtenAt: now });
    return true;
  }

  #noteOf(item: Item): Note {
    return this.#notes.get(item) ?? item.note ?? NOTHING_NOTED;
  }

  write(part: { readonly addsKey: KeyEntry[]; readonly removesKey: KeyName[] }): void {
    for (const { seq } of this.#removed) part.removesKey.push({ kind: KEY.note, key: String(seq) });
    for (const [{ seq }, { cancelled, progress }] of this.#notes) {
      const value = JSON.stringify({ cancelled, progress });
      part.addsKey.push({ kind: KEY.note, key: String(seq), seq, until: 0, value });
    }
  }

  /** The commit has succeeded. */
  apply(): void {
    for (const item of this.#removed) item.note = undefined;
    for (const [item, note] of this.#notes) item.note = note;
  }
}

/** Reads what is noted of the items of a partition that are leased. */
export async function loadNotes(
  { storage, key }: { readonly storage: Storage; readonly key: number },
  leased: LeasedItems,
): Promise<void> {
  for (let after = ""; ; ) {
    const page = await storage.listKeys(key, KEY.note, { after, limit: STEP, order: "ascending" });
    for (const { seq, value } of page) {
      const item = leased.get(seq);
      if (item !== undefined) item.note = { ...NOTHING_NOTED, ...(JSON.parse(value) as object) };
    }
    if (page.length < STEP) return;
    after = page.at(-1)!.key;
  }
}
