// Which queues there are, and how each is reached, as one thread of the server knows it. The
// registry writes the one of its own thread, and every other thread follows what the registry
// announces. Lists are in the order of the bytes of names, with no sorting when they are asked for.

import { queueError } from "../errors.ts";
import { prefixOf, type QueueHandle } from "../queue/queue.ts";
import { fullName, nameOf, namespaceOf, SYSTEM_NAMESPACE } from "./names.ts";
import { idPrefixesOf, type QueueRecord } from "./records.ts";

export interface DirectoryEntry {
  readonly record: QueueRecord;
  readonly queue: QueueHandle;
}

/** A page of records: those of one namespace, from the name `pivot` or the next one on. */
export interface ListOptions {
  readonly namespace: string;
  readonly pivot: string;
  readonly limit: number;
}

export class Directory {
  // By full name.
  readonly #entries = new Map<string, DirectoryEntry>();
  // The names of each namespace in the order of their bytes.
  readonly #names = new Map<string, string[]>();
  // Which namespaces beside `_system` have a queue of a name.
  readonly #homes = new Map<string, Set<string>>();
  // By what ids begin with, the name of the queue that gives them.
  readonly #givers = new Map<string, string>();

  /** Adds a queue, or replaces what is known of it. */
  set(entry: DirectoryEntry): void {
    const { name } = entry.record;
    if (!this.#entries.has(name)) this.#addName(name);
    this.#forgetIds(name);
    this.#entries.set(name, entry);
    for (const prefix of idPrefixesOf(entry.record)) this.#givers.set(prefix, name);
  }

  remove(name: string): void {
    this.#forgetIds(name);
    if (this.#entries.delete(name)) this.#removeName(name);
  }

  #addName(full: string): void {
    const [namespace, name] = [namespaceOf(full), nameOf(full)];
    const names = this.#names.get(namespace) ?? [];
    names.splice(indexIn(names, name), 0, name);
    this.#names.set(namespace, names);
    if (namespace === SYSTEM_NAMESPACE) return;
    const homes = this.#homes.get(name) ?? new Set();
    this.#homes.set(name, homes.add(namespace));
  }

  #removeName(full: string): void {
    const [namespace, name] = [namespaceOf(full), nameOf(full)];
    const names = this.#names.get(namespace)!;
    names.splice(indexIn(names, name), 1);
    if (names.length === 0) this.#names.delete(namespace);
    const homes = this.#homes.get(name);
    homes?.delete(namespace);
    if (homes?.size === 0) this.#homes.delete(name);
  }

  /** Whether there are queues in namespaces beside `_system`. */
  hasNamespaces(): boolean {
    return this.#homes.size > 0;
  }

  /**
   * The namespace that is meant by who says only the name of a queue, among those that they see: `_system` if it has
   * one, or else the only one that has; `_system` if there is none, or more than one.
   */
  namespaceOf(name: string, sees: (namespace: string) => boolean): string {
    if (this.#entries.has(name) && sees(SYSTEM_NAMESPACE)) return SYSTEM_NAMESPACE;
    let found: string | undefined;
    for (const home of this.#homes.get(name) ?? []) {
      if (!sees(home)) continue;
      if (found !== undefined) return SYSTEM_NAMESPACE;
      found = home;
    }
    return found ?? SYSTEM_NAMESPACE;
  }

  /** How many queues a namespace has. */
  countIn(namespace: string): number {
    return this.#names.get(namespace)?.length ?? 0;
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

  /** What is known of a queue; `queue_not_found` if there is none of this name. */
  entry(name: string): DirectoryEntry {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return entry;
    throw queueError("queue_not_found", { queue_name: nameOf(name) });
  }

  entries(): Iterable<DirectoryEntry> {
    return this.#entries.values();
  }

  list({ namespace, pivot, limit }: ListOptions): readonly QueueRecord[] {
    const names = this.#names.get(namespace) ?? [];
    const from = indexIn(names, pivot);
    return names
      .slice(from, from + limit)
      .map((name) => this.#entries.get(fullName(namespace, name))!.record);
  }
}

// Where a name stands, or would stand, among others.
function indexIn(names: readonly string[], name: string): number {
  const bytes = Buffer.from(name);
  let low = 0;
  for (let high = names.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (Buffer.compare(Buffer.from(names[middle]!), bytes) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
