// The entries of the audit in memory, namespace by namespace, so that each is listed without those of others, and
// bounded: the one that has most of them gives up its oldest first. So who changes things all the time
// pushes out what they have done themselves, and nothing of others. What was not allowed is kept apart.

import type { AuditEntry, WhichEntries } from "./audit.ts";

interface Kept {
  readonly entry: AuditEntry;
  readonly bytes: number;
}

/** Some entries in the order of their ids. */
interface Group {
  readonly kept: Kept[];
  bytes: number;
}

/** What makes room. */
interface Room {
  /** Ids of what went. */
  readonly gone: readonly string[];
  /** Puts it back. */
  undo(): void;
}

export class KeptEntries {
  readonly #max: { readonly entries: number; readonly bytes: number };
  readonly #done = new Map<string, Group>();
  readonly #denied: Group = { kept: [], bytes: 0 };
  #count = 0;
  #bytes = 0;

  constructor(max: { readonly entries: number; readonly bytes: number }) {
    this.#max = max;
  }

  get deniedCount(): number {
    return this.#denied.kept.length;
  }

  /** Adds one, later than all others. */
  add(entry: AuditEntry, bytes: number): void {
    const group = this.#groupOf(entry);
    group.kept.push({ entry, bytes });
    this.#note(group, 1, bytes);
  }

  #groupOf({ namespace, outcome }: AuditEntry): Group {
    if (outcome === "denied") return this.#denied;
    let group = this.#done.get(namespace);
    if (group === undefined) {
      group = { kept: [], bytes: 0 };
      this.#done.set(namespace, group);
    }
    return group;
  }

  #note(group: Group, count: number, bytes: number): void {
    group.bytes += bytes;
    this.#count += count;
    this.#bytes += bytes;
  }

  /** Takes away as many as it takes to have room for some more; `denials` of those that were denied in any case. */
  makeRoom(count: number, bytes: number, denials: number): Room {
    const taken: (readonly [Group, Kept])[] = [];
    const take = (group: Group): void => {
      const oldest = group.kept.shift();
      if (oldest === undefined) return;
      this.#note(group, -1, -oldest.bytes);
      taken.push([group, oldest]);
    };
    for (let i = 0; i < denials; i++) take(this.#denied);
    const isFull = (): boolean =>
      this.#count + count > this.#max.entries || this.#bytes + bytes > this.#max.bytes;
    while (this.#count > 0 && isFull()) take(this.#largest());
    const undo = (): void => {
      for (const [group, oldest] of taken.reverse()) {
        group.kept.unshift(oldest);
        this.#note(group, 1, oldest.bytes);
      }
    };
    return { gone: taken.map(([, { entry }]) => entry.id), undo };
  }

  #largest(): Group {
    let largest = this.#denied;
    for (const group of this.#done.values()) if (group.bytes > largest.bytes) largest = group;
    return largest;
  }

  /** Ids of the oldest that are from before a time, at most so many. */
  before(time: number, limit: number): readonly string[] {
    const ids: string[] = [];
    for (const { kept } of this.#groups("")) {
      for (const { entry } of kept) {
        if (entry.at >= time) break;
        if (ids.push(entry.id) === limit) return ids;
      }
    }
    return ids;
  }

  /** Forgets some of those that `before` has answered. */
  remove(ids: readonly string[]): void {
    const gone = new Set(ids);
    for (const group of this.#groups("")) {
      const count = group.kept.findIndex(({ entry }) => !gone.has(entry.id));
      for (const { bytes } of group.kept.splice(0, count === -1 ? group.kept.length : count)) {
        this.#note(group, -1, -bytes);
      }
    }
    for (const [namespace, { kept }] of this.#done) {
      if (kept.length === 0) this.#done.delete(namespace);
    }
  }

  /** Entries, the newest first. */
  list(which: WhichEntries): readonly AuditEntry[] {
    const found: AuditEntry[] = [];
    for (const { kept } of this.#groups(which.namespace)) {
      let left = which.limit;
      for (let i = kept.length - 1; i >= 0 && left > 0; i--) {
        const { entry } = kept[i]!;
        if (!isWanted(entry, which)) continue;
        found.push(entry);
        left--;
      }
    }
    return found.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, which.limit);
  }

  // Those in which entries of a namespace may be, or of all.
  *#groups(namespace: string): Iterable<Group> {
    yield this.#denied;
    if (namespace === "") yield* this.#done.values();
    else if (this.#done.has(namespace)) yield this.#done.get(namespace)!;
  }
}

function isWanted(entry: AuditEntry, which: WhichEntries): boolean {
  const { namespace, userId, call, target, since, until, before } = which;
  if (namespace !== "" && entry.namespace !== namespace) return false;
  if (before !== "" && entry.id >= before) return false;
  if (entry.at < since || (until !== 0 && entry.at >= until)) return false;
  if (userId !== "" && entry.userId !== userId) return false;
  if (call !== "" && entry.call !== call) return false;
  return target === "" || entry.target === target;
}
