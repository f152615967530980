// The events of one thread on their way out: its loops ask whether somebody listens to their queue, and publish what
// they have committed. Where it goes from here is the business of the first thread (center.ts).

import type { Ears, Happened, QueueEars } from "../queue/queue.ts";
import { nameOf, namespaceOf } from "../registry/names.ts";

/** What somebody listens to. */
export interface Interest {
  /** "": queues of all namespaces. */
  readonly namespace: string;
  /** Queues by their names, whatever their namespace; none: all. */
  readonly queues: readonly string[];
  /** Whether what the audit notes is of it, which not all may know who may know the rest: "" for not. */
  readonly audit: "" | "also" | "only";
}

/** Whether what happens in a queue is of an interest; what the audit notes is of none, and has a namespace alone. */
export function concerns({ namespace, queues, audit }: Interest, queue: string): boolean {
  if (namespace !== "" && namespaceOf(queue) !== namespace) return false;
  const name = nameOf(queue);
  if (name === "") return audit !== "" && queues.length === 0;
  return audit !== "only" && (queues.length === 0 || queues.includes(name));
}

class OneQueue implements QueueEars {
  readonly queue: string;
  isHeard: boolean;
  readonly publish: (happened: Happened) => void;

  constructor(queue: string, isHeard: boolean, publish: (happened: Happened) => void) {
    this.queue = queue;
    this.isHeard = isHeard;
    this.publish = publish;
  }
}

export class EventHub implements Ears {
  readonly #queues = new Map<string, OneQueue>();
  #interests: readonly Interest[] = [];
  #take: (happened: Happened) => void = () => undefined;

  /** From now on what is published goes there. */
  connect(take: (happened: Happened) => void): void {
    this.#take = take;
  }

  of(queue: string): QueueEars {
    let one = this.#queues.get(queue);
    if (one === undefined) {
      one = new OneQueue(queue, this.#isHeard(queue), (happened) => this.#take(happened));
      this.#queues.set(queue, one);
    }
    return one;
  }

  forget(queue: string): void {
    this.#queues.delete(queue);
  }

  /** From now on this is what is listened to. */
  listenTo(interests: readonly Interest[]): void {
    this.#interests = interests;
    for (const one of this.#queues.values()) one.isHeard = this.#isHeard(one.queue);
  }

  /** Publishes something that has happened, wherever it was; for what is no batch of a loop. */
  publish(happened: Happened): void {
    if (this.#isHeard(happened.queue)) this.#take(happened);
  }

  #isHeard(queue: string): boolean {
    return this.#interests.some((interest) => concerns(interest, queue));
  }
}
