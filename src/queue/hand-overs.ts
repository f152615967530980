// Completes that produce items for another queue in the same transaction: that queue's loop is asked to add
// them, with what completes the others as a companion of its commit (see Intake), so both must lie in one
// storage. While one loop waits for another, that one takes what it is sent and does not wait for the first in
// its turn: its own wait for the next.

import { invalidField, type QueueError, retryLater } from "../errors.ts";
import { partitionFailing } from "./batch.ts";
import type { Commits } from "./commits.ts";
import type { Intake, QueueContext, QueueRules } from "./context.ts";
import { completeItems } from "./endings.ts";
import { type Mailbox, NotDelivered } from "./mailbox.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import type { CompleteRequest, Produced } from "./requests.ts";
import { leadsBack, NotTaken } from "./transfers.ts";

/** The queue whose items are completed. */
interface Sender extends Intake {
  readonly rules: QueueRules;
}

export class HandOvers {
  readonly #context: QueueContext;
  readonly #mailbox: Mailbox;
  readonly #commits: Commits;
  /** What it waits for. */
  sendsTo: Intake | undefined;

  constructor(context: QueueContext, mailbox: Mailbox, commits: Commits) {
    this.#context = context;
    this.#mailbox = mailbox;
    this.#commits = commits;
  }

  /**
   * Does what requests ask, one after the other; false if some wait for the next turn. A queue that was too busy for one
   * of them is not waited for again: the others for it are refused as well.
   */
  async sendAll(
    requests: readonly CompleteRequest[],
    partOf: (request: CompleteRequest) => PartitionBatch,
    sender: Sender,
  ): Promise<boolean> {
    const busy = new Set<Intake>();
    let isDone = true;
    for (const request of requests) {
      if (!(await this.#send(request, partOf(request), { sender, busy }))) isDone = false;
    }
    return isDone;
  }

  // Commits the part, which does nothing else; false if the request waits for the next turn.
  async #send(
    request: CompleteRequest,
    part: PartitionBatch,
    { sender, busy }: { readonly sender: Sender; readonly busy: Set<Intake> },
  ): Promise<boolean> {
    const { queue, field, items } = request.followers!.elsewhere!;
    const to = this.#context.findIntake(queue);
    if (part.of.stale) {
      this.#mailbox.answer(request, partitionFailing(part.of));
      return true;
    }
    if (to === undefined || to.storage !== part.of.storage) {
      const text = `'${queue}' lies in another storage, or is served by another thread, so that it cannot be one transaction`;
      this.#mailbox.answer(request, invalidField(field, `${field} is invalid; ${text}`));
      return true;
    }
    if (leadsBack(to, sender)) {
      this.#mailbox.defer(request);
      return false;
    }
    if (busy.has(to)) {
      this.#mailbox.answer(request, otherIsBusy());
      return true;
    }
    part.requests.push(request);
    completeItems(part, request, sender.rules);
    if (request.isRefused) {
      await this.#commits.commit([part]);
      return true;
    }
    this.sendsTo = to;
    try {
      const onPlanned = (elsewhere: Produced): void => {
        request.result = {
          ...request.result,
          produced: { ...request.result.produced, elsewhere },
        };
        part.finish();
      };
      await to.deliver([], part, { followers: { items, onPlanned } });
    } catch (error) {
      if (error instanceof NotTaken) {
        this.#commits.refuse(part, retryLater(error.message));
      } else if (error instanceof NotDelivered) {
        busy.add(to);
        this.#commits.refuse(part, otherIsBusy());
      } else {
        this.#commits.failed([part], error);
      }
      return true;
    } finally {
      this.sendsTo = undefined;
    }
    await this.#commits.succeeded([part]);
    return true;
  }
}

function otherIsBusy(): QueueError {
  return retryLater("the other queue is busy, try again");
}
