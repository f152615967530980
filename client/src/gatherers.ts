// The gatherers of a client: one for each kind of call, queue and time-out, made when it is first needed.
// Those that are not used go when there are many.

import { checkDone } from "./call.ts";
import type { Connection } from "./connection.ts";
import { Gatherer, type WaitingItems } from "./gatherer.ts";

const BATCH_MAX = 1_000;
// Kept although they are idle.
const KEPT = 1_000;

export interface GatheredCall {
  /** Below /v1/. */
  readonly path: string;
  /** Of the items in one request. */
  readonly bytesMax: number;
  /** What stands before the items in the body; `]}` follows them. */
  readonly head: string;
  readonly timeoutMs: number;
  readonly isRepeatable: boolean;
  /** Where its items count while they wait. */
  readonly waiting: WaitingItems;
}

export class Gatherers {
  readonly #connection: Connection;
  readonly #all = new Map<string, Gatherer>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The gatherer of a key; `describe` tells what the calls of this key have in common. */
  of(key: string, describe: () => GatheredCall): Gatherer {
    let gatherer = this.#all.get(key);
    if (gatherer === undefined) {
      gatherer = this.#make(describe());
      forgetIdle(this.#all);
      this.#all.set(key, gatherer);
    }
    return gatherer;
  }

  #make({ path, bytesMax, head, timeoutMs, isRepeatable, waiting }: GatheredCall): Gatherer {
    return new Gatherer({
      itemsMax: BATCH_MAX,
      bytesMax,
      waiting,
      send: async (items, signal, wasRepeated) => {
        const body = await this.#connection.call({
          path,
          body: `${head}${items}]}`,
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
