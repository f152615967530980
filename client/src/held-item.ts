// An item in the hands of a worker's handler or of a loop over a queue: it knows how long its lease lasts
// still, by a clock that nobody can set, and can be kept for longer.

import type { QueratorClient } from "./client.ts";
import { type Duration, toMs } from "./duration.ts";
import type { LeaseLostError } from "./errors.ts";
import { type ItemRef, LeasedItem } from "./items.ts";

/** What the items of one lease have in common. Times are by the client's `steady`. */
export interface Lease {
  readonly client: QueratorClient;
  readonly leasedAtMs: number;
  /** How long it was given for. */
  readonly leaseMs: number;
}

/** The lease of some items that have just come. */
export function leaseOf(client: QueratorClient, items: readonly LeasedItem[]): Lease {
  const leftMs = (items[0]?.leaseDeadlineMs ?? 0) - client.now();
  return { client, leasedAtMs: client.steady(), leaseMs: Math.max(leftMs, 0) };
}

/** Who has an item in hand. */
export interface Holder {
  /** Somebody has extended an item by hand: its lease may end sooner now. */
  moved(): void;
  /** The server says that an item is not held any more, or is cancelled. */
  refused(item: HeldItem<unknown>, error: LeaseLostError): void;
  /** Calls back when it is in hand no more. */
  whenOver(callback: () => void): void;
}

export class HeldItem<T> extends LeasedItem {
  readonly value: T;
  /** For the worker. */
  holder: Holder | undefined;
  readonly #lease: Lease;
  #endsAtMs: number;
  #isCancelled = false;

  constructor(item: LeasedItem, value: T, lease: Lease) {
    super(item.queueName, LeasedItem.wireOf(item));
    this.value = value;
    this.#lease = lease;
    this.#endsAtMs = lease.leasedAtMs + lease.leaseMs;
  }

  /** For the worker. */
  get lease(): Lease {
    return this.#lease;
  }

  /** For the worker: when its lease ends, by the client's `steady`. */
  get endsAtMs(): number {
    return this.#endsAtMs;
  }

  /** Whether somebody has cancelled it, as far as that is known: nothing more is to be done with it. */
  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  /** For the worker. */
  cancelled(): void {
    this.#isCancelled = true;
  }

  /** For the client: by what it is ended. The deadline is by the clock as it is now, which may have been set. */
  get ref(): Required<ItemRef> {
    const { client } = this.#lease;
    const leaseDeadlineMs = client.now() + this.#endsAtMs - client.steady();
    return { leaseId: this.leaseId, leaseDeadlineMs };
  }

  /**
   * Lets its lease last for a time from now on, by default as long as it was given for; answers when it ends.
   * Rejects with a LeaseLostError if it has ended already.
   */
  async extend(duration: Duration = this.#lease.leaseMs): Promise<Date> {
    const { client } = this.#lease;
    const sentAtMs = client.steady();
    const deadline = await client.extend(this.queueName, this.ref, { for: duration });
    this.extended(deadline, sentAtMs + toMs(duration, "for"));
    this.holder?.moved();
    return deadline;
  }

  /** For the client: its lease was extended, and ends then by the clock of the server, and by `steady`. */
  extended(deadline: Date, endsAtMs: number): void {
    LeasedItem.extended(this, deadline.getTime());
    this.#endsAtMs = endsAtMs;
  }
}
