// What a handler may throw to say what becomes of its item, beside all else, which is a failure that is tried again.

import { type Duration, toMs } from "./duration.ts";

/** Thrown by a handler: it is no use to try the item again. It goes to the dead queue, with this as its error. */
export class Fatal extends Error {
  constructor(message?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Fatal";
  }
}

/** Thrown by a handler: its item is to be tried again after this time, whatever the policy says. No failure. */
export class RetryLater extends Error {
  readonly delay: Duration;

  constructor(delay: Duration, message = "to be tried again later", options?: ErrorOptions) {
    toMs(delay, "delay");
    super(message, options);
    this.name = "RetryLater";
    this.delay = delay;
  }
}
