// Completes that produce items for another queue in the same transaction: that queue's loop is asked to add
// them, with what completes the others as a companion of its commit (see Intake), so both must lie in one
// storage. While one loop waits for another, that one takes what it is sent and does not wait for the first in
// its turn: its own wait for the next.

import { invalidField, retryLater } from "../errors.ts";
import { partitionFailing } from "./batch.ts";
import type { Commits } from "./commits.ts";
import type { Intake, QueueContext, QueueRules } from "./context.ts";
import { completeItems } from "./endings.ts";
import { type Mailbox, NotDelivered } from "./mailbox.ts";
import type { PartitionBatch } from "./partition-batch.ts";
import type { CompleteRequest, Produced } from "./requests.ts";

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

  /** Does what a request asks, and commits the part, which does nothing else; false if it waits for the next turn. */
  async send(request: CompleteRequest, part: PartitionBatch, sender: Sender): Promise<boolean> {
    const { queue, field, items } = request.followers!.elsewhere!;
    const to = this.#context.findIntake(queue);
    if (part.of.stale) {
      this.#mailbox.answer(request, partitionFailing(part.of));
      return true;
    }
    if (to === undefined || to.storage !== part.of.storage) {
      const text = `'${queue}' lies in another storage, so that it cannot be one transaction`;
      this.#mailbox.answer(request, invalidField(field, `${field} is invalid; ${text}`));
      return true;
    }
    if (to.sendsTo === sender) {
      this.#mailbox.defer(request);
      return false;
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
      if (error instanceof NotDelivered) this.#commits.refuse(part, retryLater(error.message));
      else this.#commits.failed([part], error);
      return true;
    } finally {
      this.sendsTo = undefined;
    }
    await this.#commits.succeeded([part]);
    return true;
  }
}
