// Calls of one kind to one queue that travel together: while a request is under way, further calls
// gather, and what has gathered travels in the next. There are no timers: an idle gatherer sends as soon
// as the current run of the program ends. Each caller gets its own result: a request that the server
// refuses because of one item is sent again without that item's caller. What waits is bounded.

import { LeaseLostError, QueratorError, TooMuchWaitingError } from "./errors.ts";

/** One item of a call, as JSON, and the id by which the server names it. */
export interface Part {
  readonly id: string | undefined;
  readonly json: string;
  /** At most so many bytes in UTF-8. */
  readonly bytes: number;
}

export interface GathererOptions {
  /** Items of one request. */
  readonly itemsMax: number;
  /** Bytes of the items of one request. */
  readonly bytesMax: number;
  /**
   * Sends one request. `wasRepeated` is called if it is sent again after an earlier one may have been
   * done.
   */
  readonly send: (items: string, signal: AbortSignal, wasRepeated: () => void) => Promise<unknown>;
  /** What waits in the whole client, of this kind and others that share its bounds. */
  readonly waiting: WaitingItems;
}

/** Counts what waits to be sent in a client, against its bounds. */
export class WaitingItems {
  readonly #itemsMax: number;
  readonly #bytesMax: number;
  #items = 0;
  #bytes = 0;
  // Resolved, and emptied, when nothing waits any more.
  #empty: (() => void)[] = [];

  constructor(itemsMax: number, bytesMax: number) {
    this.#itemsMax = itemsMax;
    this.#bytesMax = bytesMax;
  }

  get items(): number {
    return this.#items;
  }

  add(items: number, bytes: number): void {
    // One call may always go, however big it is, when nothing else waits.
    const isFull = this.#items + items > this.#itemsMax || this.#bytes + bytes > this.#bytesMax;
    if (isFull && this.#items > 0) {
      throw new TooMuchWaitingError(
        "too-much-waiting",
        `Too much waits to be sent: ${this.#items} items, ${this.#bytes} bytes; await earlier calls` +
          ` before making more, or raise waitingItemsMax (${this.#itemsMax}) or waitingBytesMax` +
          ` (${this.#bytesMax})`,
        { retryable: true },
      );
    }
    this.#items += items;
    this.#bytes += bytes;
  }

  remove(items: number, bytes: number): void {
    this.#items -= items;
    this.#bytes -= bytes;
    if (this.#items === 0) for (const resolve of this.#empty.splice(0)) resolve();
  }

  whenEmpty(): Promise<void> {
    return this.#items === 0
      ? Promise.resolve()
      : new Promise((resolve) => this.#empty.push(resolve));
  }
}

/** A call, or the piece of one that fits into a request. */
interface Entry {
  parts: readonly Part[];
  readonly count: number;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
  isOver: boolean;
}

export class Gatherer {
  readonly #options: GathererOptions;
  // What waits, from #next on; written by add, taken by #run.
  #entries: Entry[] = [];
  #next = 0;
  #isRunning = false;
  // Of the request under way.
  #sent: Entry[] = [];
  #controller = new AbortController();

  constructor(options: GathererOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return !this.#isRunning;
  }

  /**
   * Resolves when all parts are done. They are done together if they fit into one request. If they do not
   * and some requests fail, it rejects when the others have ended. Throws if too much waits already.
   */
  add(parts: readonly Part[], signal: AbortSignal | undefined): Promise<void> {
    const { itemsMax, bytesMax, waiting } = this.#options;
    let bytes = 0;
    for (const part of parts) bytes += part.bytes + 1;
    signal?.throwIfAborted();
    waiting.add(parts.length, bytes);
    if (parts.length <= itemsMax && (bytes <= bytesMax || parts.length === 1)) {
      return this.#add(parts, bytes, signal);
    }
    const all: Promise<void>[] = [];
    let from = 0;
    let sum = 0;
    for (const [i, part] of parts.entries()) {
      if (i > from && (i - from === itemsMax || sum + part.bytes + 1 > bytesMax)) {
        all.push(this.#add(parts.slice(from, i), sum, signal));
        from = i;
        sum = 0;
      }
      sum += part.bytes + 1;
    }
    all.push(this.#add(parts.slice(from), sum, signal));
    return allOf(all);
  }

  #add(parts: readonly Part[], bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry: Entry = {
        parts,
        count: parts.length,
        bytes,
        resolve,
        reject,
        signal,
        onAbort: signal === undefined ? undefined : () => this.#abort(entry),
        isOver: false,
      };
      signal?.addEventListener("abort", entry.onAbort!, { once: true });
      this.#entries.push(entry);
      if (this.#isRunning) return;
      this.#isRunning = true;
      void this.#run();
    });
  }

  async #run(): Promise<void> {
    for (;;) {
      // Whoever calls in this run of the program, and whoever has just been answered and calls again,
      // travels in the request that is sent now. Otherwise callers fall apart into two groups that wait
      // for each other: that halved what 32 of them carried.
      await turnsOfCallers();
      if (this.#next >= this.#entries.length) break;
      const entries = this.#take();
      if (entries.length > 0) await this.#deliver(entries, false);
    }
    this.#entries = [];
    this.#next = 0;
    this.#isRunning = false;
  }

  // What fits into the next request, in the order in which it came.
  #take(): Entry[] {
    const { itemsMax, bytesMax } = this.#options;
    const entries: Entry[] = [];
    let items = 0;
    let bytes = 0;
    for (; this.#next < this.#entries.length; this.#next++) {
      const entry = this.#entries[this.#next]!;
      if (entry.isOver) continue;
      items += entry.parts.length;
      bytes += entry.bytes;
      if (entries.length > 0 && (items > itemsMax || bytes > bytesMax)) break;
      entries.push(entry);
    }
    if (this.#next > 1_000) {
      this.#entries.splice(0, this.#next);
      this.#next = 0;
    }
    return entries;
  }

  /** Sends entries until each has its result. Never rejects. */
  async #deliver(taken: readonly Entry[], wasRepeated: boolean): Promise<void> {
    let entries = taken.filter((entry) => !entry.isOver);
    let isUncertain = wasRepeated;
    while (entries.length > 0) {
      this.#sent = entries;
      this.#controller = new AbortController();
      const json = jsonOf(entries);
      try {
        await this.#options.send(json, this.#controller.signal, () => {
          isUncertain = true;
        });
        for (const entry of entries) this.#end(entry);
        return;
      } catch (error) {
        const rest = this.#blame(entries, error, isUncertain);
        if (rest === undefined) {
          if (entries.length === 1 || !isRefusal(error)) {
            for (const entry of entries) this.#end(entry, error);
            return;
          }
          // One of them it is, and the server does not say which.
          const half = entries.length >> 1;
          await this.#deliver(entries.slice(0, half), isUncertain);
          await this.#deliver(entries.slice(half), isUncertain);
          return;
        }
        entries = rest.filter((entry) => !entry.isOver);
      }
    }
  }

  // Ends the caller whose item the server names; answers the others, or nothing if it names none.
  #blame(entries: Entry[], error: unknown, isUncertain: boolean): Entry[] | undefined {
    if (!(error instanceof LeaseLostError) || error.itemId === undefined) return undefined;
    const id = error.itemId;
    const culprit = entries.find((entry) => entry.parts.some((part) => part.id === id));
    if (culprit === undefined) return undefined;
    if (isUncertain && error.code === "item-not-found") {
      // An earlier request may have ended this item. If it did not, the item is back in its queue and
      // will be leased again: nothing is lost by calling it done.
      culprit.parts = culprit.parts.filter((part) => part.id !== id);
      if (culprit.parts.length > 0) return entries;
      this.#end(culprit);
    } else {
      this.#end(culprit, error);
    }
    return entries.filter((entry) => entry !== culprit);
  }

  #abort(entry: Entry): void {
    this.#end(entry, entry.signal!.reason);
    if (this.#sent.every(({ isOver }) => isOver)) this.#controller.abort();
  }

  #end(entry: Entry, error?: unknown): void {
    if (entry.isOver) return;
    entry.isOver = true;
    this.#options.waiting.remove(entry.count, entry.bytes);
    entry.signal?.removeEventListener("abort", entry.onAbort!);
    if (error === undefined) entry.resolve();
    else entry.reject(error);
  }
}

// A caller that awaits us through some functions of its own has gone on after so many turns of the queue
// of promises. It costs less than a microsecond, and no timer.
const TURNS = 12;

async function turnsOfCallers(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await undefined;
}

function jsonOf(entries: readonly Entry[]): string {
  let json = "";
  for (const { parts } of entries) {
    for (const part of parts) json += json === "" ? part.json : `,${part.json}`;
  }
  return json;
}

// Texts of refusals that are about the whole request, whoever's items are in it.
const WHOLE = /^(queue|partition|request timeout|service|namespace) /;

function isRefusal(error: unknown): boolean {
  if (!(error instanceof QueratorError)) return false;
  const { status, message } = error;
  // 413 comes from a proxy that takes less than the server does.
  return status === 413 || ((status === 400 || status === 455) && !WHOLE.test(message));
}

async function allOf(pieces: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(pieces);
  const failure = results.find((result) => result.status === "rejected");
  if (failure === undefined) return;
  const done = results.filter(({ status }) => status === "fulfilled").length;
  throw done === 0 ? failure.reason : partlyDone(failure.reason, done, results.length);
}

// Whoever repeats such a call does a part of it twice, whatever the error was: it says that it may be done.
function partlyDone(error: unknown, done: number, all: number): unknown {
  if (!(error instanceof QueratorError)) return error;
  const { code, status, retryable } = error;
  const itemId = error instanceof LeaseLostError ? error.itemId : undefined;
  const ErrorClass = error.constructor as typeof QueratorError;
  const text = `Of ${all} requests of this call ${done} were done, another failed: ${error.message}`;
  return new ErrorClass(code, text, {
    ...(status === undefined ? {} : { status }),
    ...(itemId === undefined ? {} : { itemId }),
    retryable,
    uncertain: true,
    cause: error,
  });
}
