// Keeps the leases of what a worker's handlers are at: when a third of a lease has passed, it is extended, in
// one request for all that are due. One timer looks after all of them; who is done before it comes costs
// nothing but a look at it. What cannot be delivered is sent again until the lease ends.

import type { Bag, InBag } from "./bag.ts";
import type { QueratorClient } from "./client.ts";
import { isNotImplemented, LeaseLostError, QueratorError, ServerError } from "./errors.ts";
import type { HeldItem } from "./held-item.ts";
import { startTimer, type Timer } from "./timer.ts";
import type { HandlerContext } from "./work-item.ts";

// Of a lease: what is left of it when it is extended, and how much earlier than that it may be, so that more
// of them travel together, or later, if it has just begun.
const LEFT = 2 / 3;
const SLACK = 1 / 12;

/** The items of one handler. */
export interface HeldRun extends InBag {
  readonly items: readonly HeldItem<unknown>[];
  readonly context: HandlerContext;
  /** Written and read by the extender: when its leases are to be extended, by `steady`; never if infinite. */
  extendAtMs: number;
}

export interface ExtenderOptions {
  readonly client: QueratorClient;
  readonly queueName: string;
  /** Those that handlers have. */
  readonly runs: Bag<HeldRun>;
  /** How long a lease lasts from its extension on; as long as it was given for, if undefined. */
  readonly extendForMs: number | undefined;
  /** How long an item is kept since it was leased. */
  readonly extendMaxMs: number;
  readonly onRepeat: (failure: QueratorError) => void;
  /** Told of what goes wrong, and perhaps goes on to. */
  readonly report: (error: unknown) => void;
}

export class Extender {
  readonly #options: ExtenderOptions;
  readonly #end = new AbortController();
  #timer: Timer | undefined;
  // When it comes.
  #timerAtMs = Number.POSITIVE_INFINITY;
  // That the server cannot do it has been said.
  #hasTold = false;

  constructor(options: ExtenderOptions) {
    this.#options = options;
  }

  /** A handler begins: this is done for each, and most end before they are looked at again. */
  begin(run: HeldRun): void {
    const { endsAtMs, lease } = run.items[0]!;
    run.context.keeper = this;
    run.extendAtMs = endsAtMs - lease.leaseMs * LEFT;
    if (run.extendAtMs < this.#timerAtMs) this.#watch(run);
  }

  /** An item of a handler was extended by hand. */
  moved(context: HandlerContext): void {
    for (const run of this.#options.runs) if (run.context === context) this.#watch(run);
  }

  #watch(run: HeldRun): void {
    const now = this.#options.client.steady();
    let graceMs = run.items[0]!.lease.leaseMs * SLACK;
    for (const { endsAtMs } of run.items) graceMs = Math.min(graceMs, (endsAtMs - now) / 3);
    // What waited for its handler is given time to be done.
    run.extendAtMs = Math.max(this.#dueOf(run, now), now + graceMs);
    if (run.extendAtMs < this.#timerAtMs) this.#wakeAt(run.extendAtMs, now);
  }

  /** Nothing is extended any more. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = Number.NEGATIVE_INFINITY;
    this.#end.abort();
  }

  #wakeAt(atMs: number, now: number): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    this.#timer = startTimer(() => this.#look(), Math.min(Math.max(atMs - now, 1), 3_600_000));
  }

  // Extends what is due, and looks when the next is.
  #look(): void {
    const { client, runs } = this.#options;
    const now = client.steady();
    const due: HeldRun[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const run of runs) {
      const soon = now + run.items[0]!.lease.leaseMs * SLACK;
      // What was thought of it when it began may be too early.
      if (run.extendAtMs <= soon) run.extendAtMs = this.#dueOf(run, now);
      if (run.extendAtMs <= soon) due.push(run);
      else next = Math.min(next, run.extendAtMs);
    }
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (next < Number.POSITIVE_INFINITY) this.#wakeAt(next, now);
    if (due.length > 0) void this.#extend(due, now);
  }

  /** Never rejects. */
  async #extend(due: readonly HeldRun[], now: number): Promise<void> {
    const { client, queueName, onRepeat, report } = this.#options;
    const items: HeldItem<unknown>[] = [];
    for (const run of due) {
      // Until there is an answer.
      run.extendAtMs = Number.POSITIVE_INFINITY;
      for (const item of run.items) if (this.#leftOf(item, now) > 0) items.push(item);
    }
    if (items.length === 0) return;
    const refs = items.map((item) => ({ ...item.ref, for: this.#leftOf(item, now) }));
    const { signal } = this.#end;
    const extensions = await client.extendEach(queueName, refs, { signal, onRepeat });
    if (signal.aborted) return;
    const lost = new Map<HeldItem<unknown>, LeaseLostError>();
    for (const [i, { deadline, error }] of extensions.entries()) {
      const item = items[i]!;
      if (deadline !== undefined) item.extended(deadline, now + refs[i]!.for);
      else if (error instanceof LeaseLostError) lost.set(item, error);
      else if (isNotImplemented(error)) this.#tell(error as QueratorError);
      else if (!(error instanceof QueratorError && error.retryable)) report(error);
    }
    for (const run of due) {
      if (run.slot === -1) continue; // it is over
      for (const item of run.items) {
        const error = lost.get(item);
        if (error !== undefined) run.context.refused(item, error);
      }
      if (!run.context.isAborted) this.#watch(run);
    }
  }

  // When its leases are to be extended; never if they all are let go.
  #dueOf({ items }: HeldRun, now: number): number {
    const { extendForMs, extendMaxMs } = this.#options;
    let due = Number.POSITIVE_INFINITY;
    for (const { lease, endsAtMs, isCancelled } of items) {
      const ms = Math.min(extendForMs ?? lease.leaseMs, lease.leaseMs);
      const isLongEnough = endsAtMs >= lease.leasedAtMs + extendMaxMs;
      const isLetGo = isCancelled || endsAtMs <= now || isLongEnough;
      if (!isLetGo) due = Math.min(due, endsAtMs - ms * LEFT);
    }
    return due;
  }

  #tell(error: QueratorError): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    const { queueName, report } = this.#options;
    const text =
      `Leases of queue '${queueName}' cannot be extended: a handler that lasts longer than its lease loses` +
      ` its item. ${error.message}`;
    report(new ServerError("not-implemented", text, { cause: error }));
  }

  // How long the lease of an item is to last from now on; 0 if it is let go, or lasts longer as it is.
  #leftOf({ lease, endsAtMs, isCancelled }: HeldItem<unknown>, now: number): number {
    if (isCancelled) return 0;
    const { extendForMs, extendMaxMs } = this.#options;
    const ms = Math.min(extendForMs ?? lease.leaseMs, lease.leasedAtMs + extendMaxMs - now);
    return endsAtMs > now && ms > endsAtMs - now ? ms : 0;
  }
}
