// What each namespace uses of what it may use, over all threads: in shared memory, so that what is counted on one thread
// counts on all at once, and nobody is asked. Nothing of it is stored: it is counted anew from what partitions know of
// themselves, and so a crash leaves nothing behind. Who has no namespaces has no account, and pays nothing.

import { createHash } from "node:crypto";
import { type QueueError, queueError } from "./errors.ts";

/** What a namespace may use; 0 is no limit. */
export interface Quotas {
  readonly queues: number;
  readonly items: number;
  readonly bytes: number;
  readonly requestsPerSecond: number;
  readonly itemsPerSecond: number;
  readonly waitingLeases: number;
  readonly connections: number;
}

export const NO_QUOTAS: Quotas = {
  queues: 0,
  items: 0,
  bytes: 0,
  requestsPerSecond: 0,
  itemsPerSecond: 0,
  waitingLeases: 0,
  connections: 0,
};

/** What is limited at a time, or in a second, with how errors call it. */
const TEXTS: Readonly<Record<keyof Quotas, string>> = {
  queues: "queues",
  items: "items",
  bytes: "bytes",
  requestsPerSecond: "requests a second",
  itemsPerSecond: "items a second",
  waitingLeases: "waiting leases",
  connections: "connections",
};

/** Where each is counted in the cells of an account. */
const CELL = {
  items: 0,
  bytes: 1,
  requestsPerSecond: 2,
  itemsPerSecond: 3,
  waitingLeases: 4,
  connections: 5,
} as const;

type Level = "items" | "bytes" | "waitingLeases" | "connections";
type Rate = "requestsPerSecond" | "itemsPerSecond";

// Before the accounts: a lock, and how many there are. Each account: what its name is known by, and its cells.
const HEAD_CELLS = 8;
const NAME_CELLS = 2;
const ACCOUNT_CELLS = 8;
const CELL_BYTES = 8;
const FIRST_BYTES = 4_096;
// It grows as it is needed: this is room for half a million namespaces.
const BYTES_MAX = 32 * 1024 * 1024;

// Of a microsecond: fine enough that rates come out as they were set.
const UNITS = 4_096;
const SECOND_UNITS = 1_000_000 * UNITS;
const SECOND = BigInt(SECOND_UNITS);

/** The error of who would use more than a namespace may. */
export function quotaExceeded(
  namespace: string,
  what: keyof Quotas,
  max: number,
  seconds = 1,
): QueueError {
  const details = { namespace, max, what: TEXTS[what], seconds };
  return queueError("quota_exceeded", details);
}

/** Whether an error says that a namespace has too many connections, this one with it. */
export function isOfConnections({ code, details }: QueueError): boolean {
  return code === "quota_exceeded" && details?.what === TEXTS.connections;
}

/** What one namespace uses. Its quotas are those that this thread knows. */
export class Account {
  readonly namespace: string;
  quotas: Quotas = NO_QUOTAS;
  readonly #cells: BigInt64Array<SharedArrayBuffer>;
  readonly #at: number;

  constructor(namespace: string, cells: BigInt64Array<SharedArrayBuffer>, at: number) {
    this.namespace = namespace;
    this.#cells = cells;
    this.#at = at;
  }

  // --- what there is at a time ---

  used(what: Level): number {
    return Number(Atomics.load(this.#cells, this.#at + CELL[what]));
  }

  /** Counts some more, or fewer, whatever the quota is. */
  add(what: Level, n: number): void {
    if (n !== 0) Atomics.add(this.#cells, this.#at + CELL[what], BigInt(n));
  }

  /** Counts some more, if the quota has room for all of them; else why not. */
  take(what: Level, n: number): QueueError | undefined {
    const max = this.quotas[what];
    if (max === 0 || n <= 0) {
      this.add(what, n);
      return undefined;
    }
    const cells = this.#cells;
    const at = this.#at + CELL[what];
    const [more, most] = [BigInt(n), BigInt(max)];
    for (let now = Atomics.load(cells, at); ; ) {
      if (now + more > most) return quotaExceeded(this.namespace, what, max);
      const seen = Atomics.compareExchange(cells, at, now, now + more);
      if (seen === now) return undefined;
      now = seen;
    }
  }

  /** Throws if there may not be so many more queues than there are, which are counted by who makes them. */
  checkQueues(there: number, more: number): void {
    const max = this.quotas.queues;
    if (max > 0 && more > 0 && there + more > max) {
      throw quotaExceeded(this.namespace, "queues", max);
    }
  }

  // --- what there may be in a second ---

  /**
   * Counts some more at a steady time, if the quota has room for them; else why not, and when it will have. It is a
   * bucket that holds what may be in one second, and fills at that rate. More than it holds at once takes a full one,
   * and what is missing is waited for by those who come later.
   */
  takeRate(what: Rate, n: number, steady: number): QueueError | undefined {
    const rate = this.quotas[what];
    if (rate === 0 || n <= 0) return undefined;
    const at = this.#at + CELL[what];
    const now = BigInt(Math.trunc(steady)) * BigInt(UNITS);
    const cost = BigInt(Math.floor((n * SECOND_UNITS) / rate));
    const needed = cost < SECOND ? cost : SECOND;
    for (let full = Atomics.load(this.#cells, at); ; ) {
      // `full` is when the bucket is full again.
      const from = full > now ? full : now;
      const missing = from + needed - now - SECOND;
      if (missing > 0n) {
        return quotaExceeded(this.namespace, what, rate, Math.ceil(Number(missing) / SECOND_UNITS));
      }
      const seen = Atomics.compareExchange(this.#cells, at, full, from + cost);
      if (seen === full) return undefined;
      full = seen;
    }
  }

  /** Why not even one more is possible at a steady time; counts nothing. */
  checkRate(what: Rate, steady: number): QueueError | undefined {
    const rate = this.quotas[what];
    if (rate === 0) return undefined;
    const missing = Math.floor(this.#owed(what, steady) + SECOND_UNITS / rate - SECOND_UNITS);
    if (missing <= 0) return undefined;
    return quotaExceeded(this.namespace, what, rate, Math.ceil(missing / SECOND_UNITS));
  }

  /** Counts some that have been given already: those who come later wait for what is missing. */
  charge(what: Rate, n: number, steady: number): void {
    const rate = this.quotas[what];
    if (rate === 0 || n <= 0) return;
    const at = this.#at + CELL[what];
    const now = BigInt(Math.trunc(steady)) * BigInt(UNITS);
    const cost = BigInt(Math.floor((n * SECOND_UNITS) / rate));
    for (let full = Atomics.load(this.#cells, at); ; ) {
      const seen = Atomics.compareExchange(this.#cells, at, full, (full > now ? full : now) + cost);
      if (seen === full) return;
      full = seen;
    }
  }

  /** How much of what may be in a second is used at a steady time; 0 where that is not limited. */
  usedRate(what: Rate, steady: number): number {
    return Math.ceil((this.#owed(what, steady) * this.quotas[what]) / SECOND_UNITS);
  }

  #owed(what: Rate, steady: number): number {
    const full = Atomics.load(this.#cells, this.#at + CELL[what]);
    return Math.max(Number(full - BigInt(Math.trunc(steady)) * BigInt(UNITS)), 0);
  }
}

/**
 * What one partition has in the account of its namespace. What is to come is reserved before it is written, and what
 * was written, or was not, settles it: so at no time is there more than is counted.
 */
export class Share {
  readonly #account: Account;
  #items = 0;
  #bytes = 0;

  constructor(account: Account) {
    this.#account = account;
  }

  /** Makes room for more; else why not. */
  reserve(items: number, bytes: number): QueueError | undefined {
    const refused = this.#account.take("items", items);
    if (refused !== undefined) return refused;
    const tooLarge = this.#account.take("bytes", bytes);
    if (tooLarge !== undefined) {
      this.#account.add("items", -items);
      return tooLarge;
    }
    this.#items += items;
    this.#bytes += bytes;
    return undefined;
  }

  /** Gives another partition of the namespace what leaves this one in the write in which it comes there. */
  give(to: Share, items: number, bytes: number): void {
    this.#items -= items;
    this.#bytes -= bytes;
    to.#items += items;
    to.#bytes += bytes;
  }

  /** It holds so much now, whatever was reserved. */
  settle(items: number, bytes: number): void {
    this.#account.add("items", items - this.#items);
    this.#account.add("bytes", bytes - this.#bytes);
    this.#items = items;
    this.#bytes = bytes;
  }
}

/** The accounts of all namespaces, as one thread reaches them. */
export class Accounts {
  /** What threads share; another thread makes its own accounts of it. */
  readonly memory: SharedArrayBuffer;
  readonly #cells: BigInt64Array<SharedArrayBuffer>;
  readonly #head: Int32Array<SharedArrayBuffer>;
  readonly #known = new Map<string, Account>();
  // Those with quotas.
  readonly #limited = new Map<string, Account>();

  constructor(memory = new SharedArrayBuffer(FIRST_BYTES, { maxByteLength: BYTES_MAX })) {
    this.memory = memory;
    this.#cells = new BigInt64Array(memory);
    this.#head = new Int32Array(memory, 0, 2);
  }

  /** Whether any namespace has quotas. */
  get isAnyLimited(): boolean {
    return this.#limited.size > 0;
  }

  /** The account of a namespace that has quotas. */
  limited(namespace: string): Account | undefined {
    return this.#limited.get(namespace);
  }

  /** Those of all namespaces that have quotas. */
  allLimited(): Iterable<Account> {
    return this.#limited.values();
  }

  /** The account of a namespace. */
  of(namespace: string): Account {
    let account = this.#known.get(namespace);
    if (account === undefined) {
      account = new Account(namespace, this.#cells, this.#placeOf(namespace));
      this.#known.set(namespace, account);
    }
    return account;
  }

  /** From now on a namespace has these quotas on this thread; undefined if it is gone. */
  setQuotas(namespace: string, quotas = NO_QUOTAS): void {
    const isLimited = Object.values(quotas).some((each) => each !== 0);
    if (!isLimited && !this.#known.has(namespace)) return;
    const account = this.of(namespace);
    account.quotas = quotas;
    if (isLimited) this.#limited.set(namespace, account);
    else this.#limited.delete(namespace);
  }

  /** Nothing has quotas as far as is known. */
  forgetQuotas(): void {
    for (const account of this.#limited.values()) account.quotas = NO_QUOTAS;
    this.#limited.clear();
  }

  // Where its cells begin, on all threads. One at a time looks, and whoever is first makes it.
  #placeOf(namespace: string): number {
    const digest = createHash("sha256").update(namespace).digest();
    const name = [digest.readBigInt64LE(0), digest.readBigInt64LE(8)] as const;
    while (Atomics.compareExchange(this.#head, 0, 0, 1) !== 0);
    try {
      const count = this.#head[1]!;
      const size = NAME_CELLS + ACCOUNT_CELLS;
      for (let i = 0, at = HEAD_CELLS; i < count; i++, at += size) {
        if (this.#cells[at] === name[0] && this.#cells[at + 1] === name[1]) return at + NAME_CELLS;
      }
      const at = HEAD_CELLS + count * size;
      const end = (at + size) * CELL_BYTES;
      if (end > this.memory.byteLength) this.memory.grow(Math.min(end * 2, BYTES_MAX));
      this.#cells.set(name, at);
      this.#head[1] = count + 1;
      return at + NAME_CELLS;
    } finally {
      Atomics.store(this.#head, 0, 0);
    }
  }
}
