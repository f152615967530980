// The leases of a client: each is a request that waits at the server. Those without a name of their own
// are shared. Items that come when nobody wants them any more are given back to their queue, so that they
// need not wait until their lease ends.

import { checkForm, parseReply } from "./call.ts";
import type { LeaseOptions } from "./client-options.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toText } from "./duration.ts";
import { InvalidRequestError } from "./errors.ts";
import { forgetIdle } from "./gatherers.ts";
import { LeasedItem, type WireLeasedItem } from "./items.ts";
import { SharedLeases } from "./shared-leases.ts";

const BATCH_MAX = 1_000;
// Less is refused by the server.
const TIMEOUT_MIN_MS = 10;

interface LeaseRequest {
  readonly queueName: string;
  readonly batchSize: number;
  readonly timeoutMs: number;
  readonly client: string | undefined;
  readonly leaseTimeout: Duration | undefined;
  readonly kinds: readonly string[] | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onRepeat: LeaseOptions["onRepeat"];
  readonly keepsLate?: boolean | undefined;
}

interface WireLease {
  readonly items?: readonly WireLeasedItem[];
}

export type GiveBack = (queueName: string, items: readonly LeasedItem[]) => Promise<void>;

export class Leases {
  readonly #connection: Connection;
  readonly #giveBack: GiveBack;
  readonly #shared = new Map<string, SharedLeases>();
  // What is being given back.
  readonly #late = new Set<Promise<void>>();

  constructor(connection: Connection, giveBack: GiveBack) {
    this.#connection = connection;
    this.#giveBack = giveBack;
  }

  async lease(queueName: string, timeoutMs: number, options: LeaseOptions): Promise<LeasedItem[]> {
    const { batchSize = 1, client, leaseTimeout, kinds, signal, onRepeat, keepsLate } = options;
    const { isShared = client === undefined } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > BATCH_MAX) {
      const range = `it must be a whole number from 1 to ${BATCH_MAX}`;
      const text = `batchSize is invalid; got ${batchSize}, ${range}`;
      throw new InvalidRequestError("invalid", text);
    }
    const what = { queueName, client, leaseTimeout, kinds };
    if (client !== undefined || !isShared) {
      return this.#lease({ ...what, batchSize, timeoutMs, signal, onRepeat, keepsLate });
    }
    const isPlain = leaseTimeout === undefined && kinds === undefined;
    const which = isPlain ? "" : JSON.stringify([leaseTimeout, kinds]);
    const key = `${timeoutMs} ${which} ${queueName}`;
    let shared = this.#shared.get(key);
    if (shared === undefined) {
      shared = new SharedLeases({
        batchMax: BATCH_MAX,
        lease: (request) => this.#lease({ ...what, ...request }),
        giveBack: (items) => void this.#return(queueName, items),
      });
      forgetIdle(this.#shared);
      this.#shared.set(key, shared);
    }
    return shared.lease(batchSize, timeoutMs, { signal, onRepeat });
  }

  /** Resolves when nothing is being given back. */
  async whenIdle(): Promise<void> {
    while (this.#late.size > 0) await Promise.all(this.#late);
  }

  async #lease(request: LeaseRequest): Promise<LeasedItem[]> {
    const { queueName, batchSize, timeoutMs, signal, onRepeat, keepsLate = false } = request;
    const { client, leaseTimeout, kinds } = request;
    const lasting = leaseTimeout === undefined ? undefined : toText(leaseTimeout, "leaseTimeout");
    const body = await this.#connection.call({
      path: "queue.lease",
      body: (leftMs) =>
        JSON.stringify({
          queue_name: queueName,
          batch_size: batchSize,
          client,
          lease_timeout: lasting,
          kinds,
          request_timeout: toText(
            leftMs < timeoutMs ? Math.max(leftMs, TIMEOUT_MIN_MS) : timeoutMs,
            "requestTimeout",
          ),
        }),
      timeoutMs,
      isRepeatable: true,
      isWait: true,
      signal,
      onRepeat,
    });
    const reply = parseReply<WireLease>(body);
    const { items: wires } = reply;
    // None is an empty list. A loop that asks again and again must not do so at once because of what somebody
    // else has answered.
    checkForm(Array.isArray(wires) && wires.every(isLeased), reply);
    const items = wires!.map((item) => new LeasedItem(queueName, item));
    if (items.length > 0 && (!keepsLate || !this.#connection.isOpen)) {
      await this.#checkWanted(queueName, items, signal);
    }
    return items;
  }

  async #checkWanted(
    queueName: string,
    items: readonly LeasedItem[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (signal?.aborted !== true && this.#connection.isOpen) return;
    await this.#return(queueName, items);
    signal?.throwIfAborted();
    this.#connection.checkOpen();
  }

  /** Never rejects: what cannot be given back comes back when its lease ends. */
  #return(queueName: string, items: readonly LeasedItem[]): Promise<void> {
    const returned: Promise<void> = this.#giveBack(queueName, items)
      .catch(() => undefined)
      .finally(() => this.#late.delete(returned));
    this.#late.add(returned);
    return returned;
  }
}

function isLeased(wire: WireLeasedItem): boolean {
  return typeof wire.lease_id === "string";
}
