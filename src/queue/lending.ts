// How a loop stands still for those of other queues, so that they can plan and commit for both: one after the other,
// at the end of a turn, and each for as long as it takes. Those that do nothing else meanwhile wait for that only so
// long; the others are let in whenever that can be.

import type { Intake, LendOptions, Lent, QueueContext, Still } from "./context.ts";
import type { Mailbox, Visit } from "./mailbox.ts";
import { DELIVERY_TIMEOUT, leadsBack } from "./transfers.ts";

/** The queue that is lent. */
interface Lender extends Intake {
  readonly context: QueueContext;
  readonly still: Still;
  wake(): void;
}

export class Lending {
  readonly #own: Lender;
  readonly #mailbox: Mailbox;
  // The one that is in.
  #visit: Visit | undefined;

  constructor(own: Lender, mailbox: Mailbox) {
    this.#own = own;
    this.#mailbox = mailbox;
  }

  /** The queue for which this one stands still. */
  get to(): Intake | undefined {
    return this.#visit?.by;
  }

  async lend(by: Intake, { isWaiting }: LendOptions): Promise<Lent> {
    const entered = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    const patience = isWaiting ? DELIVERY_TIMEOUT : Number.POSITIVE_INFINITY;
    const deadline = this.#own.context.clock.steady() + patience;
    const visit: Visit = { by, isWaiting, deadline, ...entered, left: left.promise };
    if (this.#mailbox.addVisit(visit)) this.#own.wake();
    await entered.promise;
    const giveBack = (): void => {
      // At once, so that the other can wait for what this one does next.
      if (this.#visit === visit) this.#visit = undefined;
      left.resolve();
    };
    return { ...this.#own.still, giveBack };
  }

  /** Stands still for those that have asked until now, but for none that cannot go on before this queue does. */
  async standStill(): Promise<void> {
    const canEnter = ({ by, isWaiting }: Visit): boolean => isWaiting || !leadsBack(by, this.#own);
    for (let left = this.#mailbox.visitors; left > 0; left--) {
      const visit = this.#mailbox.nextVisit(canEnter);
      if (visit === undefined) return;
      this.#visit = visit;
      visit.resolve();
      await visit.left;
    }
  }
}
