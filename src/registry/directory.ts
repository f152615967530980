// Which queues there are, and how each is reached, as one thread of the server knows it. The
// registry writes the one of its own thread, and every other thread follows what the registry
// announces. Lists are in the order of the bytes of names, with no sorting when they are asked for.

import { queueError } from "../errors.ts";
import { prefixOf, type QueueHandle } from "../queue/queue.ts";
import { idPrefixesOf, type QueueRecord } from "./records.ts";

export interface DirectoryEntry {
  readonly record: QueueRecord;
  readonly queue: QueueHandle;
}

/** A page of records: those of one namespace, from `pivot` or the next name on. */
export interface ListOptions {
  readonly namespace: string;
  readonly pivot: string;
  readonly limit: number;
}

export class Directory {
  readonly #entries = new Map<string, DirectoryEntry>();
  // The names in the order of their bytes.
  readonly #names: string[] = [];
  // By what ids begin with, the name of the queue that gives them.
  readonly #givers = new Map<string, string>();

  /** Adds a queue, or replaces what is known of it. */
  set(entry: DirectoryEntry): void {
    const { name } = entry.record;
    if (!this.#entries.has(name)) this.#names.splice(this.#indexOf(name), 0, name);
    this.#forgetIds(name);
    this.#entries.set(name, entry);
    for (const prefix of idPrefixesOf(entry.record)) this.#givers.set(prefix, name);
  }

  remove(name: string): void {
    this.#forgetIds(name);
    if (this.#entries.delete(name)) this.#names.splice(this.#indexOf(name), 1);
  }

  #forgetIds(name: string): void {
    const before = this.#entries.get(name);
    if (before === undefined) return;
    for (const prefix of idPrefixesOf(before.record)) this.#givers.delete(prefix);
  }

  /** The name of the queue that has given an id; undefined if none of those that there are has. */
  giverOf(id: string): string | undefined {
    return this.#givers.get(prefixOf(id));
  }

  find(name: string): DirectoryEntry | undefined {
    return this.#entries.get(name);
  }

  /** What is known of a queue; a QueueError (400) if there is none of this name. */
  entry(name: string): DirectoryEntry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    throw queueError("queue_not_found", { queue_name: name });
  }

  entries(): Iterable<DirectoryEntry> {
    return this.#entries.values();
  }

  list({ namespace, pivot, limit }: ListOptions): readonly QueueRecord[] {
    const records: QueueRecord[] = [];
    for (let i = this.#indexOf(pivot); i < this.#names.length; i++) {
      if (records.length === limit) break;
      const { record } = this.#entries.get(this.#names[i]!)!;
      if (record.namespace === namespace) records.push(record);
    }
    return records;
  }

  // Where a name stands, or would stand, among all names.
  #indexOf(name: string): number {
    const bytes = Buffer.from(name);
    let low = 0;
    for (let high = this.#names.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(Buffer.from(this.#names[middle]!), bytes) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
