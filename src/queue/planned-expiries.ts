// What a batch does to the expiries of a partition, each of which stands for up to EXPIRY_SPAN items.

import { SECOND } from "../clock.ts";
import { EXPIRY_SPAN, type Expiry } from "../storage/storage.ts";

// Items that expire within this time after the first of them share one expiry.
const EXPIRY_WIDTH = SECOND;

export class PlannedExpiries {
  readonly adds: Expiry[] = [];
  readonly removes: Expiry[] = [];
  /** The one that items which come next may share. */
  open: Expiry | undefined;

  constructor(open: Expiry | undefined) {
    this.open = open;
  }

  /** Sees to it that an expiry covers a waiting item: the open one, if it fits, or a new one. */
  cover(seq: number, expireAt: number): void {
    const { open } = this;
    const fits =
      open !== undefined &&
      seq >= open.first &&
      seq < open.first + EXPIRY_SPAN &&
      expireAt >= open.at &&
      expireAt <= open.at + EXPIRY_WIDTH;
    if (fits) return;
    this.open = { at: expireAt, first: seq };
    this.adds.push(this.open);
  }

  /** Removes one, and puts one that is due at `at` in its place; infinite for none. */
  replace(expiry: Expiry, at: number): void {
    this.remove(expiry);
    if (at !== Number.POSITIVE_INFINITY) this.adds.push({ at, first: expiry.first });
    if (this.open?.first === expiry.first) this.open = undefined;
  }

  remove(expiry: Expiry): void {
    this.removes.push(expiry);
  }
}
