// Calls of one kind to one queue that travel together: while a request is under way, further calls
// gather, and what has gathered travels in the next. There are no timers: an idle gatherer sends as soon
// as the current run of the program ends. Each caller gets what became of its own items. A request that the
// server refuses as a whole because of one item is sent again without that item's caller, and one that is
// too large in halves. What waits is bounded, and each caller waits no longer than it wants to.

import {
  copyOf,
  errorOfResult,
  failureOf,
  type ItemFailure,
  type ItemResult,
  isTooLarge,
  QueratorError,
  TimeoutError,
  TooMuchWaitingError,
  tooLarge,
} from "./errors.ts";
import { ALL_DONE } from "./results.ts";

/** One item of a call, as JSON. */
export interface Part {
  /** Of an item that is leased. */
  readonly leaseId: string | undefined;
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
   * Sends one request, and repeats it while its time lasts. Answers what became of each of its items, or
   * nothing if all were done and there is no more to tell.
   */
  readonly send: (request: GatheredRequest) => Promise<readonly ItemResult[]>;
  /** Whether a call is sent, once, although its time has passed while it waited. */
  readonly sendsLate: boolean;
  /** What waits in the whole client, of this kind and others that share its bounds. */
  readonly waiting: WaitingItems;
}

export interface GatheredRequest {
  /** Asked anew for each repeat, as some callers may have left. */
  readonly items: () => string;
  /** How many that were, when it was asked last. */
  readonly count: () => number;
  readonly signal: AbortSignal;
  /** Until when it is repeated, by performance.now(). */
  readonly until: number;
  /** To be called before each repeat. */
  readonly onRepeat: (failure: QueratorError) => void;
}

/** What a caller wants beside its items. */
export interface CallerOptions {
  readonly signal?: AbortSignal | undefined;
  /** Until when its items are sent again, by performance.now(). */
  readonly until: number;
  /** Told before each repeat. */
  readonly onRepeat?: ((failure: QueratorError) => void) | undefined;
  /** Whether its items are not sent again any more, whatever `until` says. */
  readonly isGivenUp?: (() => boolean) | undefined;
  /** Told, before the call ends, of each item that the server will not give out again. */
  readonly onDead?: ((leaseId: string) => void) | undefined;
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

/** One call, of one entry or several. It ends when all of them have. */
class Caller {
  readonly options: CallerOptions;
  /** Items of the whole call. */
  readonly count: number;
  /** Entries that have not ended. */
  open = 1;
  #results: ItemResult[] | undefined;
  #failures: ItemFailure[] | undefined;
  readonly #resolve: (results: readonly ItemResult[]) => void;
  readonly #reject: (error: unknown) => void;

  constructor(
    count: number,
    options: CallerOptions,
    resolve: (results: readonly ItemResult[]) => void,
    reject: (error: unknown) => void,
  ) {
    this.count = count;
    this.options = options;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  get isInTime(): boolean {
    const { until, isGivenUp } = this.options;
    return performance.now() < until && isGivenUp?.() !== true;
  }

  /** What became of one of its items. */
  note(index: number, result: ItemResult): void {
    if (this.#results === undefined) {
      this.#results = this.count === 1 ? [result] : new Array<ItemResult>(this.count);
    }
    this.#results[index] = result;
  }

  /** One of its items was not done. */
  fail(index: number, error: unknown): void {
    this.#failures ??= [];
    this.#failures.push({ index, error });
  }

  /** One of its entries has ended. */
  end(): void {
    if (--this.open > 0) return;
    const failures = this.#failures;
    if (failures === undefined) this.#resolve(this.#results ?? ALL_DONE);
    else this.#reject(failureOf(failures.sort(byIndex), this.count));
  }
}

function byIndex(a: ItemFailure, b: ItemFailure): number {
  return a.index - b.index;
}

/** A call, or the piece of one that fits into a request. */
interface Entry {
  readonly caller: Caller;
  readonly parts: readonly Part[];
  /** Of its first item in the call. */
  readonly from: number;
  readonly bytes: number;
  onAbort: (() => void) | undefined;
  isOver: boolean;
}

export class Gatherer {
  readonly #options: GathererOptions;
  // Of one request; less than asked for once something in between has refused that much.
  #bytesMax: number;
  // What waits, from #next on; written by add, taken by #run.
  #entries: Entry[] = [];
  #next = 0;
  #isRunning = false;
  // Of the request under way.
  #sent: Entry[] = [];
  #controller = new AbortController();

  constructor(options: GathererOptions) {
    this.#options = options;
    this.#bytesMax = options.bytesMax;
  }

  get isIdle(): boolean {
    return !this.#isRunning;
  }

  /**
   * Resolves when all parts are done, with what the server tells of each, which may be nothing. Each is done
   * or not by itself: if some are not, it rejects when all have ended. Throws if too much waits already.
   */
  add(parts: readonly Part[], options: CallerOptions): Promise<readonly ItemResult[]> {
    const { waiting } = this.#options;
    const bytes = bytesOf(parts);
    options.signal?.throwIfAborted();
    waiting.add(parts.length, bytes);
    return new Promise((resolve, reject) => {
      const caller = new Caller(parts.length, options, resolve, reject);
      for (const entry of this.#entriesOf(caller, parts, bytes)) this.#entries.push(entry);
      if (this.#isRunning) return;
      this.#isRunning = true;
      void this.#run();
    });
  }

  #entriesOf(caller: Caller, parts: readonly Part[], bytes: number): readonly Entry[] {
    const { itemsMax } = this.#options;
    const bytesMax = this.#bytesMax;
    if (parts.length <= itemsMax && (bytes <= bytesMax || parts.length === 1)) {
      return [this.#entry(caller, parts, 0, bytes)];
    }
    const entries: Entry[] = [];
    let from = 0;
    let sum = 0;
    for (const [i, part] of parts.entries()) {
      if (i > from && (i - from === itemsMax || sum + part.bytes + 1 > bytesMax)) {
        entries.push(this.#entry(caller, parts.slice(from, i), from));
        from = i;
        sum = 0;
      }
      sum += part.bytes + 1;
    }
    entries.push(this.#entry(caller, parts.slice(from), from));
    caller.open = entries.length;
    return entries;
  }

  #entry(caller: Caller, parts: readonly Part[], from: number, bytes = bytesOf(parts)): Entry {
    const { signal } = caller.options;
    const entry: Entry = { caller, parts, from, bytes, onAbort: undefined, isOver: false };
    if (signal !== undefined) {
      entry.onAbort = () => this.#abort(entry, signal.reason);
      signal.addEventListener("abort", entry.onAbort, { once: true });
    }
    return entry;
  }

  async #run(): Promise<void> {
    for (;;) {
      // Those who call in this run of the program, and those who have just been answered and call again,
      // travel in the request that is sent now. Otherwise callers fall apart into two groups that wait
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
    const { itemsMax, sendsLate } = this.#options;
    const entries: Entry[] = [];
    let items = 0;
    let bytes = 0;
    for (; this.#next < this.#entries.length; this.#next++) {
      const entry = this.#entries[this.#next]!;
      if (entry.isOver) continue;
      if (!sendsLate && !entry.caller.isInTime) {
        this.#end(entry, notSent());
        continue;
      }
      items += entry.parts.length;
      bytes += entry.bytes;
      if (entries.length > 0 && (items > itemsMax || bytes > this.#bytesMax)) break;
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
      const sent = entries;
      this.#sent = sent;
      this.#controller = new AbortController();
      let until = 0;
      for (const { caller } of sent) until = Math.max(until, caller.options.until);
      let asked: readonly Entry[] = sent;
      try {
        const results = await this.#options.send({
          items: () => {
            asked = sent.filter(({ isOver }) => !isOver);
            return jsonOf(asked);
          },
          count: () => countOf(asked),
          signal: this.#controller.signal,
          until,
          onRepeat: (failure) => {
            if (failure.uncertain) isUncertain = true;
            this.#onRepeat(sent, failure);
          },
        });
        if (results.length > 0) tell(asked, results, isUncertain);
        for (const entry of sent) this.#end(entry);
        return;
      } catch (error) {
        const rest = this.#blame(sent, asked, error);
        if (rest === undefined) {
          await this.#deliverLess(sent, error, isUncertain);
          return;
        }
        entries = rest.filter((entry) => !entry.isOver);
      }
    }
  }

  // Those who do not wait any longer hear why; the others are sent again.
  #onRepeat(sent: readonly Entry[], failure: QueratorError): void {
    for (const entry of sent) {
      if (entry.isOver) continue;
      entry.caller.options.onRepeat?.(failure);
      if (!entry.caller.isInTime) this.#end(entry, failure);
    }
    if (sent.every(({ isOver }) => isOver)) this.#controller.abort();
  }

  // Sends in two parts what was refused together, or ends it with the error.
  async #deliverLess(sent: readonly Entry[], error: unknown, isUncertain: boolean): Promise<void> {
    const entries = sent.filter(({ isOver }) => !isOver);
    const isLarge = isTooLarge(error);
    if (isLarge) this.#learnSize(entries);
    if (entries.length > 1 && (isLarge || isRefusal(error))) {
      const half = entries.length >> 1;
      await this.#deliver(entries.slice(0, half), isUncertain);
      await this.#deliver(entries.slice(half), isUncertain);
      return;
    }
    const [only] = entries;
    if (isLarge && only !== undefined && only.parts.length > 1) {
      for (const piece of this.#halves(only)) await this.#deliver([piece], isUncertain);
      return;
    }
    for (const entry of entries) this.#end(entry, isLarge ? sizeError(entry, error) : error);
  }

  // The next requests are not made larger than what may pass.
  #learnSize(entries: readonly Entry[]): void {
    let bytes = 0;
    let items = 0;
    for (const entry of entries) {
      bytes += bytesOf(entry.parts);
      items += entry.parts.length;
    }
    if (items > 1) this.#bytesMax = Math.min(this.#bytesMax, bytes >> 1);
  }

  // Two in place of an entry.
  #halves(entry: Entry): readonly Entry[] {
    const { caller, parts, from, bytes } = entry;
    const half = parts.length >> 1;
    this.#leave(entry);
    caller.open++;
    const second = this.#entry(caller, parts.slice(half), from + half);
    return [this.#entry(caller, parts.slice(0, half), from, bytes - second.bytes), second];
  }

  // Ends the caller whose item the server names, by its place among those that were asked for; answers the
  // others, or nothing if it names none.
  #blame(
    entries: readonly Entry[],
    asked: readonly Entry[],
    error: unknown,
  ): readonly Entry[] | undefined {
    if (!(error instanceof QueratorError) || error.field === undefined) return undefined;
    const [named, index] = /^(?:items|leases)\[(\d+)\]/.exec(error.field) ?? [];
    let left = Number(index);
    const culprit = asked.find(({ parts }) => {
      left -= parts.length;
      return left < 0;
    });
    if (named === undefined || culprit === undefined) return undefined;
    const own = named.replace(/\d+/, String(culprit.from + culprit.parts.length + left));
    const field = error.field.replace(named, own);
    this.#end(culprit, copyOf(error, error.message.replaceAll(named, own), { field }));
    return entries.filter((entry) => entry !== culprit);
  }

  #abort(entry: Entry, reason: unknown): void {
    this.#end(entry, reason);
    if (this.#sent.every(({ isOver }) => isOver)) this.#controller.abort();
  }

  #end(entry: Entry, error?: unknown): void {
    if (entry.isOver) return;
    this.#leave(entry);
    const { caller, parts, from, bytes } = entry;
    this.#options.waiting.remove(parts.length, bytes);
    if (error !== undefined) for (const i of parts.keys()) caller.fail(from + i, error);
    caller.end();
  }

  #leave(entry: Entry): void {
    entry.isOver = true;
    const { caller, onAbort } = entry;
    if (onAbort !== undefined) caller.options.signal!.removeEventListener("abort", onAbort);
  }
}

// A caller that awaits us through some functions of its own has gone on after so many turns of the queue
// of promises. It costs less than a microsecond, and no timer.
const TURNS = 12;

async function turnsOfCallers(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await undefined;
}

function bytesOf(parts: readonly Part[]): number {
  let bytes = 0;
  for (const part of parts) bytes += part.bytes + 1;
  return bytes;
}

function countOf(entries: readonly Entry[]): number {
  let count = 0;
  for (const { parts } of entries) count += parts.length;
  return count;
}

// What became of each item is numbered through all of the request.
function tell(
  entries: readonly Entry[],
  results: readonly ItemResult[],
  isUncertain: boolean,
): void {
  let at = 0;
  for (const { caller, parts, from, isOver } of entries) {
    for (let i = 0; i < parts.length; i++, at++) {
      if (isOver) continue;
      const result = results[at]!;
      const { leaseId } = parts[i]!;
      if (result.code === undefined) {
        caller.note(from + i, result);
        if (result.dead === true) caller.options.onDead?.(leaseId!);
        continue;
      }
      const error = errorOfResult(result, leaseId);
      // An earlier request may have ended this item. If it did not, the item is back in its queue and
      // will be leased again: nothing is lost by calling it done.
      if (!(isUncertain && error.code === "lease-ended")) caller.fail(from + i, error);
    }
  }
}

function jsonOf(entries: readonly Entry[]): string {
  let json = "";
  for (const { parts } of entries) {
    for (const part of parts) json += json === "" ? part.json : `,${part.json}`;
  }
  return json;
}

// Whether one of the items may be the reason, of which the server does not say which.
function isRefusal(error: unknown): boolean {
  if (!(error instanceof QueratorError) || error.field !== undefined) return false;
  return error.status !== undefined && (error.code === "invalid" || error.code === "content");
}

function sizeError({ caller, parts, from }: Entry, error: QueratorError): QueratorError {
  return tooLarge(error, { index: from, of: caller.count, bytes: parts[0]!.bytes });
}

// Its time has passed while requests before it were under way.
function notSent(): TimeoutError {
  const text = "Not sent in time: requests of the same queue before it were not answered";
  return new TimeoutError("timeout", text, { retryable: true });
}
