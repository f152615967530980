// What memory knows of partitions as storage has them: where their rows are, and which of their
// items are gone although their blocks are there. What is not known is read before it is used, once
// for all who ask. What was forgotten while it was read is not taken, and read again: it may be from
// before whatever put it in doubt. Writes nothing.

import { RemovedRows } from "../rows/removed-rows.ts";
import type { Row, Statement } from "./connection.ts";
import { bytesOf, int8s } from "./values.ts";

/** Runs statements in one transaction, once nothing is in doubt. */
type Read = (statements: readonly Statement[]) => Promise<readonly (readonly Row[])[]>;

export class KnownPartitions {
  readonly removed = new RemovedRows();
  readonly #read: Read;
  readonly #places = new Map<number, string>();
  // Those that are being read.
  readonly #loading = new Map<number, Promise<void>>();

  constructor(read: Read) {
    this.#read = read;
  }

  /** Where the row of a partition is that is known. */
  placeOf(key: number): string {
    return this.#places.get(key)!;
  }

  /** Notes where the row of a partition is now. */
  moved(key: number, place: string): void {
    this.#places.set(key, place);
  }

  forget(keys: readonly number[]): void {
    for (const key of keys) {
      this.#places.delete(key);
      this.#loading.delete(key);
      this.removed.reset(key);
    }
  }

  /** Reads what is not known of partitions; rejects if one is not there. */
  async know(keys: readonly number[]): Promise<void> {
    for (;;) {
      const unknown = keys.filter((key) => !this.#places.has(key));
      if (unknown.length === 0) return;
      const missing = unknown.filter((key) => !this.#loading.has(key));
      if (missing.length > 0) this.#load(missing);
      await Promise.all(unknown.map((key) => this.#loading.get(key)));
    }
  }

  /** Tells what is removed of a partition: see RemovedRows. */
  async snapshot(key: number): Promise<{ has(seq: number): boolean }> {
    // Not to be forgotten between its reading and the snapshot.
    while (!this.#places.has(key)) await this.know([key]);
    return this.removed.snapshot(key);
  }

  #load(keys: readonly number[]): void {
    const loading = this.#readRows(keys).then(
      ([places, bits]) => {
        const mine = new Set(keys.filter((key) => this.#loading.get(key) === loading));
        this.forget([...mine]);
        for (const [key, chunk, row] of bits!) {
          if (mine.has(Number(key))) {
            this.removed.load(Number(key), Number(chunk), bytesOf(row));
          }
        }
        for (const [key, place] of places!) {
          if (mine.delete(Number(key))) this.#places.set(Number(key), place!);
        }
        for (const key of mine) throw new Error(`no partition ${key} is stored`);
      },
      (error: unknown) => {
        for (const key of keys) if (this.#loading.get(key) === loading) this.#loading.delete(key);
        throw error;
      },
    );
    for (const key of keys) this.#loading.set(key, loading);
  }

  #readRows(keys: readonly number[]): Promise<readonly (readonly Row[])[]> {
    const values = [int8s(keys)];
    return this.#read([
      { text: "SELECT key, ctid FROM partitions WHERE key = ANY($1::int8[])", values },
      {
        text: "SELECT partition, chunk, bits FROM removed WHERE partition = ANY($1::int8[])",
        values,
      },
    ]);
  }
}
