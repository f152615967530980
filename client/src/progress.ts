// How far the work at an item is, as its handler says: the server is told at once, and then once a second at most, of
// the last that was said. What is not told in time, or cannot be, is left out: it is a help to people, and no more.

import { LeaseLostError } from "./errors.ts";
import type { HeldItem } from "./held-item.ts";
import { encodeJson } from "./items.ts";
import { startTimer, type Timer } from "./timer.ts";

const EVERY_MS = 1_000;

export class Progress {
  readonly #item: HeldItem<unknown>;
  // What is yet to be told; nothing if that is undefined.
  #next: { readonly value: unknown } | undefined;
  // Until then nothing more is told.
  #timer: Timer | undefined;
  #isOver = false;

  constructor(item: HeldItem<unknown>) {
    this.#item = item;
  }

  /** Throws an InvalidRequestError if it is not JSON. */
  tell(value: unknown): void {
    encodeJson(value, "progress");
    if (this.#isOver) return;
    this.#next = { value };
    if (this.#timer === undefined) this.#send();
  }

  /** Nothing more is told. */
  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  #send(): void {
    const { value } = this.#next!;
    this.#next = undefined;
    this.#timer = startTimer(() => {
      this.#timer = undefined;
      if (this.#next !== undefined) this.#send();
    }, EVERY_MS);
    const { client } = this.#item.lease;
    // It never rejects.
    void client
      .extendEach(this.#item.queueName, [{ ...this.#item.ref, progress: value }], {})
      .then(([extension]) => {
        const error = extension?.error;
        if (!this.#isOver && error instanceof LeaseLostError) {
          this.#item.holder?.refused(this.#item, error);
        }
      });
  }
}
