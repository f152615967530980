// From a plan to its answers: commits the parts of a batch, brings memory to the same state, and
// answers the requests that they serve. If the commit fails, memory stays as it was, every request
// gets a retryable error, and the partition is distrusted until it was read anew, for nobody knows
// what became of the commit.

import { plainError, type QueueError } from "../errors.ts";
import { NONE_DROPPED, type Storage } from "../storage/storage.ts";
import type { QueueContext } from "./context.ts";
import { DropLog } from "./drop-log.ts";
import type { Delivery, Mailbox } from "./mailbox.ts";
import type { Partition } from "./partition.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import { type HotRequest, type Leased, LeaseRequest } from "./requests.ts";

/** The letters that a batch takes into partition 0, and the parts that remove their originals. */
export interface Delivered {
  readonly deliveries: readonly Delivery[];
  readonly companions: readonly PartitionBatch[];
}

export const NOTHING_DELIVERED: Delivered = { deliveries: [], companions: [] };

export class Commits {
  readonly #queue: string;
  readonly #mailbox: Mailbox;
  readonly #context: QueueContext;
  readonly #drops: DropLog;
  // Told of items that were leased for a request that was answered otherwise in the meantime.
  readonly #onLost: (lost: Leased) => void;

  constructor(
    queue: string,
    mailbox: Mailbox,
    context: QueueContext,
    onLost: (lost: Leased) => void,
  ) {
    this.#queue = queue;
    this.#mailbox = mailbox;
    this.#context = context;
    this.#onLost = onLost;
    this.#drops = new DropLog(queue, context);
  }

  /** Nothing is committed any more. */
  close(): void {
    this.#drops.close();
  }

  /**
   * Commits parts, one transaction for each storage, and answers what they serve. Storages fail
   * apart: the requests of a part share the fate of its storage alone. True if there was
   * anything to write.
   */
  async commit(
    parts: Iterable<PartitionBatch>,
    delivered: Delivered = NOTHING_DELIVERED,
  ): Promise<boolean> {
    const groups = new Map<Storage, PartitionBatch[]>();
    for (const part of parts) {
      part.finish();
      if (!part.touched) {
        await this.serve(part);
        continue;
      }
      const group = groups.get(part.of.storage);
      if (group === undefined) groups.set(part.of.storage, [part]);
      else group.push(part);
    }
    const commits: Promise<void>[] = [];
    for (const [storage, group] of groups) {
      const takesLetters = group.some((part) => part.of.number === 0);
      const written = takesLetters ? [...group, ...delivered.companions] : group;
      commits.push(
        this.write(storage, written).then(
          () => this.succeeded(group, delivered),
          (error: unknown) => this.failed(group, error, delivered),
        ),
      );
    }
    if (commits.length === 1) await commits[0];
    else if (commits.length > 1) await Promise.all(commits);
    return commits.length > 0;
  }

  /** Commits one part that serves no request; rejects with a retryable error. */
  async commitAlone(part: PartitionBatch): Promise<void> {
    part.finish();
    try {
      await this.write(part.of.storage, [part]);
    } catch (error) {
      this.failed([part], error);
      throw plainError("storage_unavailable", error);
    }
    await this.succeeded([part]);
  }

  /** Writes finished parts in the next transaction of their storage, and does nothing else. */
  write(storage: Storage, parts: readonly PartitionBatch[]): Promise<void> {
    return this.#context.turns.committer(storage).commit(parts);
  }

  /** Parts were written: memory follows, and their requests are answered. */
  async succeeded(
    parts: readonly PartitionBatch[],
    delivered: Delivered = NOTHING_DELIVERED,
  ): Promise<void> {
    this.follow(parts);
    const { turns, clock } = this.#context;
    if (parts.some((part) => part.leasesAny)) {
      turns.afterReplies((late) => {
        if (!clock.isStill) for (const part of parts) part.noteReplies(late);
      });
    }
    for (const part of parts) {
      turns.committer(part.of.storage).noteAnswers(part.requests.length);
      await this.serve(part);
      if (part.of.number === 0) for (const delivery of delivered.deliveries) delivery.resolve();
    }
  }

  /** Parts were written: memory follows. */
  follow(parts: readonly PartitionBatch[]): void {
    const steady = this.#context.clock.steady();
    for (const part of parts) {
      this.trust(part.of);
      part.apply(steady);
      if (part.drops !== NONE_DROPPED) this.#drops.note(part.drops);
    }
  }

  /** Parts were perhaps not written. */
  failed(
    parts: readonly PartitionBatch[],
    error: unknown,
    delivered: Delivered = NOTHING_DELIVERED,
  ): void {
    const answer = plainError("storage_unavailable", error);
    for (const part of parts) {
      this.distrust(part.of, error);
      this.refuse(part, answer);
      if (part.of.number === 0) {
        for (const delivery of delivered.deliveries) delivery.reject(answer);
      }
    }
  }

  /** Gives up a part that will not be written. */
  refuse(part: PartitionBatch, error: QueueError): void {
    part.discard();
    for (const request of part.requests) {
      if (request instanceof LeaseRequest) request.undeal();
      this.#mailbox.answer(request, error);
    }
  }

  /** A storage has failed: what memory holds of the partition is no longer to be trusted. */
  distrust(partition: Partition, error: unknown): void {
    if (partition.failures === 0) {
      this.#context.log.warn(
        { err: error, queue: this.#queue, partition: partition.number },
        "partition is failing",
      );
    }
    partition.distrust(this.#context.clock.steady());
  }

  /** A commit has gone through: if the partition was failing, it works again. */
  trust(partition: Partition): void {
    if (partition.failures === 0) return;
    this.#context.log.info(
      { queue: this.#queue, partition: partition.number },
      "partition works again",
    );
    partition.trust();
  }

  /** Answers the requests of a part that memory has followed. */
  async serve(part: PartitionBatch): Promise<void> {
    for (const request of part.requests) {
      if (request.doubt !== undefined) await this.#resolveDoubt(request);
      const isLost = request.settled && request instanceof LeaseRequest && request.isDealt;
      if (isLost) this.#onLost(request.result);
      this.#mailbox.answer(request, request.error);
    }
  }

  async #resolveDoubt(request: HotRequest<unknown>): Promise<void> {
    const { partition, seq, ifWaiting } = request.doubt!;
    try {
      const found = await partition.storage.readItems(partition.key, "items", {
        from: seq,
        before: seq + 1,
        limit: 1,
        bytesMax: 1,
        records: false,
      });
      if (found.length > 0) request.error = ifWaiting;
    } catch (error) {
      request.error = plainError("storage_unavailable", error);
    }
  }
}
