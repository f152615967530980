// The queues of one thread, for another to call: what `RemoteQueue` calls arrives here and becomes a
// call of the queue that is at home on this thread. Plain functions of plain data, for their
// parameters and results are cloned.

import {
  type Kind,
  LeaseRequest,
  type Letter,
  type Queue,
  type QueueOperations,
} from "../queue/queue.ts";
import type { LocalHome } from "../registry/homes.ts";
import { invoke } from "./link.ts";
import { packItems, unpackItems } from "./packed-items.ts";
import { packAnswer, unpackRequest } from "./packing.ts";

/** What one thread lets another do with the queues that are at home on it. */
export type QueueCalls = ReturnType<typeof makeQueueCalls>;

/** The calls for one other thread. */
export function makeQueueCalls(home: LocalHome) {
  // Leases that wait, by the ticket that the other thread gave them.
  const leases = new Map<number, LeaseRequest>();

  const find = (name: string): Queue => home.queue(name);

  return {
    async submit(name: string, kind: Kind, ...packed: readonly unknown[]): Promise<unknown> {
      const request = unpackRequest(kind, packed);
      const answer = find(name).submit(request);
      if (!(request instanceof LeaseRequest)) return packAnswer(kind, await answer);
      leases.set(request.ticket, request);
      try {
        return packAnswer(kind, await answer);
      } finally {
        leases.delete(request.ticket);
      }
    },

    cancel(name: string, ticket: number): void {
      const lease = leases.get(ticket);
      if (lease !== undefined) find(name).cancel(lease);
    },

    giveBack: (name: string, partition: number, ids: readonly string[]) =>
      find(name).giveBack(partition, ids),

    /** Whatever operators ask for. */
    async operate(name: string, method: keyof QueueOperations, args: readonly unknown[]) {
      const queue: QueueOperations = find(name);
      return packItems(await invoke(queue, method, args.map(unpackItems)));
    },

    deliver: (name: string, letters: unknown, patience: number | undefined) =>
      find(name).intake.deliver(unpackItems(letters) as readonly Letter[], undefined, { patience }),
  };
}
