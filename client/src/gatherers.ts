// The gatherers of a client: one for each kind of call, queue and time-out, made when it is first needed.
// Those that are not used go when there are many.

import type { Connection } from "./connection.ts";
import { type Duration, toMs, toText } from "./duration.ts";
import { Gatherer, type WaitingItems } from "./gatherer.ts";
import { readResults } from "./results.ts";

const BATCH_MAX = 1_000;
// Kept although they are idle: queues, and gatherers of each.
const KEPT = 1_000;
const KEPT_OF_A_QUEUE = 128;

/** What the calls of a kind have in common, whatever their queue. There is one object for each kind. */
export interface GatheredKind {
  /** Below /v2/. */
  readonly path: string;
  /** What its items are called in the request. */
  readonly list: "items" | "leases";
  /** Of the items in one request. */
  readonly bytesMax: number;
  readonly isRepeatable: boolean;
  /** Whether its requests travel under keys: see Call. */
  readonly isKeyed: boolean;
  /** Whether its calls are sent, once, although their time has passed. */
  readonly sendsLate: boolean;
  /** Where its items count while they wait. */
  readonly waiting: WaitingItems;
}

interface Kept {
  readonly kind: GatheredKind;
  readonly requestTimeout: Duration;
  readonly gatherer: Gatherer;
}

class QueueGatherers {
  all: Kept[] = [];

  get isIdle(): boolean {
    return this.all.every(({ gatherer }) => gatherer.isIdle);
  }
}

export class Gatherers {
  readonly #connection: Connection;
  readonly #queues = new Map<string, QueueGatherers>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The gatherer of the calls that can travel together. Called for each item: it finds it without making a key. */
  of(kind: GatheredKind, queueName: string, requestTimeout: Duration): Gatherer {
    let queue = this.#queues.get(queueName);
    if (queue === undefined) {
      forgetIdle(this.#queues);
      queue = new QueueGatherers();
      this.#queues.set(queueName, queue);
    }
    for (const kept of queue.all) {
      if (kept.kind === kind && kept.requestTimeout === requestTimeout) return kept.gatherer;
    }
    const gatherer = this.#make(kind, queueName, requestTimeout);
    if (queue.all.length >= KEPT_OF_A_QUEUE) {
      queue.all = queue.all.filter((kept) => !kept.gatherer.isIdle);
    }
    queue.all.push({ kind, requestTimeout, gatherer });
    return gatherer;
  }

  /** One for a call whose requests travel under a key of its caller's own: if there are several, under others made of it. */
  keyed(kind: GatheredKind, queueName: string, requestTimeout: Duration, key: string): Gatherer {
    return this.#make(kind, queueName, requestTimeout, key);
  }

  #make(kind: GatheredKind, queueName: string, requestTimeout: Duration, own?: string): Gatherer {
    const { path, list, bytesMax, isRepeatable, isKeyed, sendsLate, waiting } = kind;
    const timeoutMs = toMs(requestTimeout, "requestTimeout");
    const name = JSON.stringify(queueName);
    const startOf = (timeout: string): string =>
      `{"queue_name":${name},"request_timeout":"${timeout}","${list}":[`;
    const start = startOf(toText(requestTimeout, "requestTimeout"));
    let sent = 0;
    return new Gatherer({
      itemsMax: BATCH_MAX,
      bytesMax,
      waiting,
      sendsLate,
      send: async ({ items, count, signal, until, onRepeat }) => {
        const key = own === undefined ? undefined : keyOf(own, sent++);
        const body = await this.#connection.call({
          path,
          body: (leftMs) => {
            // Of a call that is not to be sent late the server is told how much of its time is left.
            const isShort = key === undefined && !sendsLate && leftMs < timeoutMs * 0.9;
            return `${isShort ? startOf(toText(leftMs, "requestTimeout")) : start}${items()}]}`;
          },
          timeoutMs,
          until,
          isRepeatable,
          isKeyed,
          key,
          signal,
          onRepeat,
        });
        return readResults(body, count());
      },
    });
  }
}

/** The key of one of the requests that a call is sent in: the same for the same call. */
export function keyOf(key: string, number: number): string {
  return number === 0 ? key : `${key}.${number}`;
}

/** Makes room if there are many: programs that make up names of queues must not fill memory. */
export function forgetIdle(all: Map<string, { readonly isIdle: boolean }>): void {
  if (all.size < KEPT) return;
  for (const [key, each] of all) if (each.isIdle) all.delete(key);
}
