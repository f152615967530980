// The audit: who has changed what. It is written on the first thread, among the records of queues, under names that
// no other record has. An entry of a change of these records is in the same write as the change; of any other it
// is written before the change is answered. So nothing that was answered is without its entry, whenever the
// server ends. What is kept is bounded in time, number and bytes, and no entry holds a secret or a payload.

import { type Clock, HOUR, MINUTE, SECOND } from "../clock.ts";
import type { QueueError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { printable, withoutKeys } from "../printable.ts";
import type { Storage, StoredRecord } from "../storage/storage.ts";
import { Timers } from "../timers.ts";
import { KeptEntries } from "./kept-entries.ts";
import type { AlsoWritten } from "./records.ts";
import { newId } from "./secrets.ts";

/** How long an entry is kept. */
export const AUDIT_KEPT = 30 * 24 * HOUR;
/** How many are kept, and how many bytes of them. */
export const AUDIT_ENTRIES_MAX = 20_000;
const BYTES_MAX = 16 * 2 ** 20;
/** Of these so many tell what was not allowed. */
export const AUDIT_DENIED_MAX = 1_000;
// So many are noted in a minute, and each caller's same attempt once.
const DENIED_A_MINUTE = 60;

// An entry has no more than that of what it tells.
const VALUE_LENGTH_MAX = 1_024;
const TARGET_LENGTH_MAX = 512;
const CHANGES_LENGTH_MAX = 4_096;
const CHANGES_MAX = 50;

// Steps in which those that are over are taken away.
const SWEPT_AT_ONCE = 200;
const SWEEP_EVERY = HOUR;
const WRITTEN_AT_ONCE = 100;

const PREFIX = "~audit~";

/** How a change was asked for, and by whom; it goes from thread to thread. */
export interface Deed {
  readonly userId: string;
  /** "" without a key, `certificate` of who has shown one. */
  readonly keyId: string;
  readonly keyTag: string;
  /** Where the request came from; "" of what the server does by itself. */
  readonly address: string;
  readonly requestId: string;
  readonly namespace: string;
  /** The name of the call, such as `queues.delete`. */
  readonly call: string;
}

/** What the server does by itself, such as making the queues of its configuration. */
export const SERVER_DEED: Deed = {
  userId: "server",
  keyId: "",
  keyTag: "",
  address: "",
  requestId: "",
  namespace: "_system",
  call: "start",
};

/** Something that has become another; both as texts. */
export interface AuditChange {
  readonly field: string;
  /** Not set of what was not there. */
  readonly from?: string;
  /** Not set of what is there no more. */
  readonly to?: string;
}

/** `unknown`: it has failed, but something of it may have been done. */
export type Outcome = "done" | "denied" | "unknown";

/** What a deed has done; in its namespace, unless it says another. */
export interface Note {
  readonly deed: Deed;
  readonly target: string;
  readonly namespace?: string;
  readonly changes?: readonly AuditChange[];
  readonly outcome?: Outcome;
}

export interface AuditEntry extends Deed {
  /** Later ones come later in order. */
  readonly id: string;
  readonly at: number;
  /** As it was then. */
  readonly username: string;
  readonly target: string;
  readonly changes: readonly AuditChange[];
  readonly outcome: Outcome;
}

/** Which entries are wanted: those that match all that is not "" or 0. */
export interface WhichEntries {
  /** "" for those of all namespaces. */
  readonly namespace: string;
  readonly userId: string;
  readonly call: string;
  readonly target: string;
  readonly since: number;
  /** Not those of this time, or later. */
  readonly until: number;
  /** An id: only those before it. */
  readonly before: string;
  readonly limit: number;
}

/** The audit as endpoints use it, on whichever thread. */
export interface Audit {
  /** Writes down what was done; resolves when that is durable. */
  record(note: Note): Promise<void>;
  /** Notes an attempt at what is not allowed, beside other work, and not each of many. */
  deny(note: Note): Promise<void> | void;
  /** Entries, the newest first. */
  list(which: WhichEntries): Promise<readonly AuditEntry[]>;
}

export interface AuditOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly records: Storage;
  readonly usernameOf: (userId: string) => string;
}

interface Waiting {
  readonly note: Note;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class AuditLog implements Audit {
  readonly #options: AuditOptions;
  readonly #kept = new KeptEntries({ entries: AUDIT_ENTRIES_MAX, bytes: BYTES_MAX });
  readonly #timers: Timers;
  readonly #listeners: ((entry: AuditEntry) => void)[] = [];
  // Ids of entries that a failed write may have left in storage.
  readonly #doubtful = new Set<string>();
  // What is to be written by itself, in the next of such writes.
  #waiting: Waiting[] = [];
  #inOrder: (<T>(work: () => Promise<T>) => Promise<T>) | undefined;
  // The time of the last id: none may come before it, whatever the wall clock is set to.
  #lastAt = 0;
  // Attempts of this minute that were noted.
  #denied = new Set<string>();
  #deniedUntil = 0;

  private constructor(options: AuditOptions) {
    this.#options = options;
    this.#timers = new Timers(options.clock);
  }

  /** Reads what storage holds. */
  static async open(options: AuditOptions): Promise<AuditLog> {
    const audit = new AuditLog(options);
    let count = 0;
    for (const { name, record } of await options.records.listQueues()) {
      if (!name.startsWith(PREFIX)) continue;
      const entry = { ...JSON.parse(record), id: name.slice(PREFIX.length) } as AuditEntry;
      audit.#kept.add(entry, record.length);
      audit.#lastAt = Math.max(audit.#lastAt, entry.at);
      count++;
    }
    // While the clock was set back each id was a microsecond after the one before.
    audit.#lastAt += count;
    return audit;
  }

  /** Begins to write by itself, and to take away what is over: in one order with changes of records. */
  start(inOrder: <T>(work: () => Promise<T>) => Promise<T>): void {
    this.#inOrder = inOrder;
    this.#sweepLater(SECOND);
  }

  close(): void {
    this.#timers.close();
  }

  /** Calls `listener` with every entry from now on, once it is durable. */
  onEntry(listener: (entry: AuditEntry) => void): void {
    this.#listeners.push(listener);
  }

  // --- writing ---

  /**
   * Does a write that is to hold these notes too, and not to hold what goes for them. They are known once it is done;
   * after a failure nobody knows of them. Only in order with other changes.
   */
  async along(notes: readonly Note[], write: (also: AlsoWritten) => Promise<void>): Promise<void> {
    const made = notes.map((note) => this.#make(note));
    const stored = made.map(storedOf);
    const bytes = stored.reduce((sum, { record }) => sum + record.length, 0);
    const { undo, gone } = this.#kept.makeRoom(made.length, bytes, this.#denials(made));
    const doubtful = [...this.#doubtful];
    for (const { id } of made) this.#doubtful.add(id);
    try {
      await write({ puts: stored, gone: [...gone, ...doubtful].map(nameOf) });
    } catch (error) {
      undo();
      throw error;
    }
    for (const { id } of made) this.#doubtful.delete(id);
    for (const id of doubtful) this.#doubtful.delete(id);
    for (const [i, entry] of made.entries()) {
      this.#kept.add(entry, stored[i]!.record.length);
      this.#tell(entry);
    }
  }

  // How many are to go so that there is room for those that tell what was not allowed.
  #denials(made: readonly AuditEntry[]): number {
    const more = made.filter(({ outcome }) => outcome === "denied").length;
    return Math.max(this.#kept.deniedCount + more - AUDIT_DENIED_MAX, 0);
  }

  #make({ deed, target, namespace, changes = [], outcome = "done" }: Note): AuditEntry {
    const at = this.#options.clock.now();
    this.#lastAt = Math.max(at, this.#lastAt + 1);
    const about = namespace ?? deed.namespace;
    return {
      ...deed,
      requestId: shown(deed.requestId),
      id: newId(this.#lastAt),
      at,
      username: this.#options.usernameOf(deed.userId),
      // Who was denied may have named any.
      namespace: outcome === "denied" ? shown(about) : about,
      target: shown(target, TARGET_LENGTH_MAX),
      changes: bounded(changes),
      outcome,
    };
  }

  #tell(entry: AuditEntry): void {
    const { call, target, outcome, namespace, userId, username, keyId, address } = entry;
    this.#options.log.info(
      {
        call,
        target,
        namespace,
        ...(outcome !== "done" && { outcome }),
        user: username || userId,
        ...(keyId !== "" && { key: keyId }),
        ...(address !== "" && { from: address }),
        ...(entry.requestId !== "" && { request_id: entry.requestId }),
      },
      "audit",
    );
    for (const listener of this.#listeners) listener(entry);
  }

  /** Removes from storage what failed writes may have left there. */
  async settle(): Promise<void> {
    if (this.#doubtful.size === 0) return;
    await this.along([], ({ puts, gone }) => this.#options.records.putQueues(puts, gone));
  }

  // Many that come at once are one write.
  record(note: Note): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ note, resolve, reject });
    if (this.#waiting.length === 1) this.#flush();
    return promise;
  }

  #flush(): void {
    let batch: readonly Waiting[] = [];
    const write = async (): Promise<void> => {
      batch = this.#waiting.splice(0, WRITTEN_AT_ONCE);
      if (this.#waiting.length > 0) this.#flush();
      const { records } = this.#options;
      const notes = batch.map(({ note }) => note);
      await this.along(notes, ({ puts, gone }) => records.putQueues(puts, gone));
    };
    this.#inOrder!(write).then(
      () => {
        for (const { resolve } of batch) resolve();
      },
      (error: QueueError) => {
        // Refused before its turn: then all that waits is.
        if (batch.length === 0) batch = this.#waiting.splice(0);
        for (const { reject } of batch) reject(error);
      },
    );
  }

  deny(note: Note): void {
    const now = this.#options.clock.steady();
    if (now >= this.#deniedUntil) {
      this.#denied.clear();
      this.#deniedUntil = now + MINUTE;
    }
    const { userId, keyId, call, namespace } = note.deed;
    const same = [userId, keyId, call, namespace].join("\0");
    if (this.#denied.has(same) || this.#denied.size >= DENIED_A_MINUTE) return;
    this.#denied.add(same);
    this.record({ ...note, outcome: "denied" }).catch((err: unknown) => {
      this.#options.log.debug({ err }, "an attempt at what is not allowed could not be noted");
    });
  }

  // --- reading ---

  async list(which: WhichEntries): Promise<readonly AuditEntry[]> {
    const now = this.#options.clock.now();
    return this.#kept.list({ ...which, since: Math.max(which.since, now - AUDIT_KEPT) });
  }

  // --- taking away ---

  #sweepLater(after: number): void {
    this.#timers.after(after, () => {
      void this.#sweep().then((isMore) => this.#sweepLater(isMore ? SECOND : SWEEP_EVERY));
    });
  }

  // A step of it; answers whether there is more to do.
  async #sweep(): Promise<boolean> {
    const now = this.#options.clock.now();
    const over = now - AUDIT_KEPT;
    if (this.#kept.before(over, 1).length === 0) return false;
    const { records } = this.#options;
    try {
      return await this.#inOrder!(async () => {
        const ids = this.#kept.before(over, SWEPT_AT_ONCE);
        await records.putQueues([], ids.map(nameOf));
        this.#kept.remove(ids);
        return ids.length === SWEPT_AT_ONCE;
      });
    } catch {
      return false; // it will be, in an hour
    }
  }
}

function nameOf(id: string): string {
  return `${PREFIX}${id}`;
}

function storedOf({ id, ...rest }: AuditEntry): StoredRecord {
  return { name: nameOf(id), record: JSON.stringify(rest) };
}

// --- what an entry may hold ---

function bounded(changes: readonly AuditChange[]): readonly AuditChange[] {
  const kept: AuditChange[] = [];
  let length = 0;
  for (const { field, from, to } of changes) {
    const change = {
      field,
      ...(from !== undefined && { from: shown(from) }),
      ...(to !== undefined && { to: shown(to) }),
    };
    length += field.length + (change.from?.length ?? 0) + (change.to?.length ?? 0);
    const isFull = kept.length === CHANGES_MAX || length > CHANGES_LENGTH_MAX;
    if (isFull) return [...kept, { field: "...", to: `${changes.length - kept.length} more` }];
    kept.push(change);
  }
  return kept;
}

// A text as it may be told: cut, and of a key no more than its tag.
function shown(text: string, max = VALUE_LENGTH_MAX): string {
  const safe = printable(withoutKeys(text));
  return safe.length <= max ? safe : `${safe.slice(0, max)}...`.toWellFormed();
}
