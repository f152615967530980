// What a commit tells those who listen: what has become of which items of one partition. A batch notes it while it is
// planned, if somebody listens to its queue, and gives it away when it has been committed: numbers, and nothing that
// holds on to a payload. Who reads it makes text of it, elsewhere (observe/).

import { attributesOf } from "./attributes.ts";
import type { Ending } from "./history.ts";
import type { IdSpace } from "./ids.ts";

/** What may happen, and of what dies why. */
export const HAPPENINGS = [
  { type: "produced", reason: "" },
  { type: "received", reason: "" },
  { type: "updated", reason: "" },
  { type: "leased", reason: "" },
  { type: "extended", reason: "" },
  { type: "progress", reason: "" },
  { type: "completed", reason: "" },
  { type: "retried", reason: "" },
  { type: "released", reason: "" },
  { type: "lease_ended", reason: "" },
  { type: "cancel_requested", reason: "" },
  { type: "cancelled", reason: "" },
  { type: "deleted", reason: "" },
  { type: "moved", reason: "" },
  { type: "dead", reason: "attempts" },
  { type: "dead", reason: "rejected" },
  { type: "expired", reason: "expired" },
  { type: "queue_created", reason: "" },
  { type: "queue_updated", reason: "" },
  { type: "queue_deleted", reason: "" },
  { type: "queue_cleared", reason: "" },
  { type: "redrive_started", reason: "" },
  { type: "redrive_ended", reason: "" },
  { type: "audited", reason: "" },
] as const;

export type Happening = (typeof HAPPENINGS)[number]["type"];

const codeOf = (type: Happening, reason = ""): number =>
  HAPPENINGS.findIndex((each) => each.type === type && (reason === "" || each.reason === reason));

/** Their places in the list. */
export const HEARD = {
  produced: codeOf("produced"),
  received: codeOf("received"),
  updated: codeOf("updated"),
  leased: codeOf("leased"),
  extended: codeOf("extended"),
  progress: codeOf("progress"),
  retried: codeOf("retried"),
  released: codeOf("released"),
  leaseEnded: codeOf("lease_ended"),
  cancelRequested: codeOf("cancel_requested"),
} as const;

const ENDED = {
  completed: codeOf("completed"),
  cancelled: codeOf("cancelled"),
  deleted: codeOf("deleted"),
  moved: codeOf("moved"),
} as const;

const DIED = {
  attempts: codeOf("dead", "attempts"),
  rejected: codeOf("dead", "rejected"),
  expired: codeOf("expired"),
} as const;

/** What has happened in one partition with one commit, or to a queue as a whole: plain data, which travels between threads. */
export interface Happened {
  /** Wall time. */
  readonly at: number;
  /** The full name of the queue. */
  readonly queue: string;
  readonly partition: number;
  /** What the ids of the partition begin with; "" of what has happened to the queue. */
  readonly prefix: string;
  /** Places in `HAPPENINGS`. */
  readonly what: readonly number[];
  /** Of which items: by their numbers, or by the ids that they had first. */
  readonly ids: readonly (number | string)[];
  readonly attempts: readonly number[];
  /** What else there is to say of what has happened to a queue. */
  readonly more?: Readonly<Record<string, string | number | readonly object[]>>;
}

/** Who takes what happens in one queue. */
export interface QueueEars {
  /** The full name of the queue. */
  readonly queue: string;
  /** Whether somebody listens; else nothing is noted, and nothing published. */
  readonly isHeard: boolean;
  publish(happened: Happened): void;
}

/** The same of all queues of a thread. */
export interface Ears {
  of(queue: string): QueueEars;
  /** It is there no more. */
  forget(queue: string): void;
}

/** Something that has happened to a queue as a whole. */
export function happenedTo(
  queue: string,
  type: Happening,
  at: number,
  more?: Happened["more"],
): Happened {
  const what = [codeOf(type)];
  return {
    at,
    queue,
    partition: 0,
    prefix: "",
    what,
    ids: [""],
    attempts: [0],
    ...(more && { more }),
  };
}

/** An item, as far as it is told of. */
interface Told {
  readonly seq: number;
  readonly attempts: number;
  readonly attributes: string;
}

/** What one batch notes for one partition. */
export class Heard {
  readonly #what: number[] = [];
  readonly #items: Told[] = [];

  note(what: number, item: Told): void {
    this.#what.push(what);
    this.#items.push(item);
  }

  /** An item leaves the partition for good. */
  noteEnd(item: Told, { how, reason }: Ending): void {
    this.note(reason === "" ? ENDED[how as keyof typeof ENDED] : DIED[reason], item);
  }

  /** The commit has succeeded. */
  publish(
    {
      number,
      ids,
      ears,
    }: { readonly number: number; readonly ids: IdSpace; readonly ears: QueueEars | undefined },
    at: number,
  ): void {
    const items = this.#items;
    if (items.length === 0 || ears === undefined) return;
    ears.publish({
      at,
      queue: ears.queue,
      partition: number,
      prefix: ids.prefix,
      what: this.#what,
      ids: items.map((item) => (item.attributes === "" ? item.seq : firstIdOf(item))),
      attempts: items.map(({ attempts }) => attempts),
    });
  }
}

// A number is made the id that it stands for where the text is made.
function firstIdOf({ seq, attributes }: Told): number | string {
  return attributesOf(attributes).id || seq;
}
