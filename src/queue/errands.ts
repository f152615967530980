// What a queue has to do together with others that are busy. It does not wait for them in its turn, but asks each to
// stand still for it as soon as that can, and goes on: what waits for that is put off in the mailbox. Whoever has
// come stands still until the next turn has done what it was asked for, and no longer. Those that ask a queue come
// in order; it keeps nobody waiting that waits for it in turn, see `Loop.#standStill`.

import type { Intake, Lent } from "./context.ts";

// So many microtasks after a queue has come that is known.
const KNOWN_IN = 8;

/** The queue whose errands they are. */
export interface Errand extends Intake {
  /** Whether it takes no turn until it is told to: nobody is to stand still for it meanwhile. */
  readonly isHalted: boolean;
  wake(): void;
}

export class Errands {
  readonly #own: Errand;
  // Those that were asked and have not come.
  readonly #asked = new Set<Intake>();
  // Those that have come since the turn at hand began, and before that.
  readonly #come = new Map<Intake, Lent>();
  readonly #here = new Map<Intake, Lent>();
  /** Whether what was put off may have become possible since `begin`. */
  hasNews = false;

  constructor(own: Errand) {
    this.#own = own;
  }

  /** Has a queue stand still for this one when it can: in a later turn, which it wakes. */
  ask(to: Intake): void {
    if (this.#asked.has(to) || this.#come.has(to)) return;
    this.#asked.add(to);
    const entered = to.lend!(this.#own, { isWaiting: false });
    void entered.then(
      (lent) => {
        this.#asked.delete(to);
        if (this.#own.isHalted) lent.giveBack();
        else this.#come.set(to, lent);
        this.#tell();
      },
      // It is closed: who looks for it anew finds it no more.
      () => {
        this.#asked.delete(to);
        this.#tell();
      },
    );
  }

  /** How many were asked to stand still, and how many do, for who asks what the queue is doing. */
  get counts(): { readonly asked: number; readonly come: number } {
    return { asked: this.#asked.size, come: this.#come.size + this.#here.size };
  }

  #tell(): void {
    this.hasNews = true;
    this.#own.wake();
  }

  /** A turn begins: answers whether there is news. */
  begin(): boolean {
    for (const [to, lent] of this.#come) this.#here.set(to, lent);
    this.#come.clear();
    const { hasNews } = this;
    this.hasNews = false;
    return hasNews;
  }

  /** A queue that stands still for this turn, until `dismiss` or `dismissAll`. */
  here(to: Intake): Lent | undefined {
    return this.#here.get(to);
  }

  /** Whether a queue can be waited for within the turn: it has nothing to do, or stood still until now. */
  isReady(to: Intake): boolean {
    return to.isIdle === true || this.#here.has(to);
  }

  /** A queue that stood still goes on, if it did. */
  dismiss(to: Intake): void {
    this.#here.get(to)?.giveBack();
    this.#here.delete(to);
  }

  /** What is to be sent to a queue now, which takes nothing while it stands still: if it has come it comes again. */
  async around<T>(to: Intake, send: () => Promise<T>): Promise<T> {
    // It may have come without being known to have, and would seem to wait for this one.
    for (let i = 0; i < KNOWN_IN && this.#asked.has(to); i++) await undefined;
    const lent = this.#come.get(to);
    this.#come.delete(to);
    lent?.giveBack();
    try {
      return await send();
    } finally {
      if (lent !== undefined) this.ask(to);
    }
  }

  dismissAll(): void {
    for (const lent of this.#here.values()) lent.giveBack();
    this.#here.clear();
  }

  /** No turn begins from now on. */
  halt(): void {
    this.begin();
    this.hasNews = true;
    this.dismissAll();
  }
}
