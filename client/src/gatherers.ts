// The gatherers of a client: one for each kind of call, queue, partition and time-out, made when it is first needed.
// Those that are not used go when there are many.

import { checkDone } from "./call.ts";
import type { Connection } from "./connection.ts";
import { type Duration, toMs, toText } from "./duration.ts";
import { Gatherer, type WaitingItems } from "./gatherer.ts";

const BATCH_MAX = 1_000;
// Kept although they are idle: queues, and gatherers of each.
const KEPT = 1_000;
const KEPT_OF_A_QUEUE = 128;

/** What the calls of a kind have in common, whatever their queue. There is one object for each kind. */
export interface GatheredKind {
  /** Below /v1/, or with its version. */
  readonly path: string;
  /** Of the items in one request. */
  readonly bytesMax: number;
  /** What stands before the items in the body, after the name of the queue; `]}` follows them. */
  readonly head: (partition: number, timeout: string) => string;
  readonly isRepeatable: boolean;
  /** Where its items count while they wait. */
  readonly waiting: WaitingItems;
}

interface Kept {
  readonly kind: GatheredKind;
  readonly partition: number;
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
  of(kind: GatheredKind, queueName: string, partition: number, requestTimeout: Duration): Gatherer {
    let queue = this.#queues.get(queueName);
    if (queue === undefined) {
      forgetIdle(this.#queues);
      queue = new QueueGatherers();
      this.#queues.set(queueName, queue);
    }
    for (const kept of queue.all) {
      const isIt =
        kept.kind === kind &&
        kept.partition === partition &&
        kept.requestTimeout === requestTimeout;
      if (isIt) return kept.gatherer;
    }
    const gatherer = this.#make(kind, queueName, partition, requestTimeout);
    if (queue.all.length >= KEPT_OF_A_QUEUE) {
      queue.all = queue.all.filter((kept) => !kept.gatherer.isIdle);
    }
    queue.all.push({ kind, partition, requestTimeout, gatherer });
    return gatherer;
  }

  #make(
    { path, bytesMax, head, isRepeatable, waiting }: GatheredKind,
    queueName: string,
    partition: number,
    requestTimeout: Duration,
  ): Gatherer {
    const timeoutMs = toMs(requestTimeout, "requestTimeout");
    const rest = head(partition, toText(requestTimeout, "requestTimeout"));
    const start = `{"queue_name":${JSON.stringify(queueName)},${rest}[`;
    return new Gatherer({
      itemsMax: BATCH_MAX,
      bytesMax,
      waiting,
      send: async (items, signal, wasRepeated) => {
        const body = await this.#connection.call({
          path,
          body: `${start}${items}]}`,
          timeoutMs,
          isRepeatable,
          signal,
          onRepeat: (uncertain) => uncertain && wasRepeated(),
        });
        checkDone(body);
      },
    });
  }
}

/** Makes room if there are many: programs that make up names of queues must not fill memory. */
export function forgetIdle(all: Map<string, { readonly isIdle: boolean }>): void {
  if (all.size < KEPT) return;
  for (const [key, each] of all) if (each.isIdle) all.delete(key);
}
